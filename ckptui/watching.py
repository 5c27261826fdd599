"""Saves as they come, are written anew and go while a training runs. Nothing on the writer's side is touched.

What happened is found by looking again into the folders of saves and comparing with what was known. A save is told
when it is whole and nothing of it changed for a second; one that is not whole when nobody wrote to it for two minutes.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ckptui.core.model import Finding, Found, RunFolder, Watched
from ckptui.readers.discover import resolve
from ckptui.readers.folder_events import FolderEvents
from ckptui.readers.leftovers import RUNNING
from ckptui.readers.notices import notice
from ckptui.readers.numbered import as_member
from ckptui.readers.resolving import strip_slashes
from ckptui.readers.run_of import folder_of, named_run
from ckptui.readers.watched_folder import Stamps, View, look, mark_of, may_be_a_save, passing, stamps_of, whole

SETTLE = 1.0
"""Seconds without a change after which a whole save is told."""
GONE = 1.0
"""Seconds after which a save that is not there is told to be gone: one that is replaced is away for a moment."""
APART = 0.4
"""Seconds between two looks into the same folder, at least."""
POLL, REASSURE = 2.0, 5.0
"""Seconds between looks at the times of all folders: without and with notices from the system."""
MOST_FOLDERS = 500
"""Folders watched; the system gives a user notices of some thousands."""
MOST_WALKED = 20_000
"""Folders that are walked for saves, when watching begins and below a folder that is new."""


@dataclass(slots=True)
class _Waiting:
    """A save that is to be told when it has settled."""

    folder: str
    stamps: Stamps
    since: float


def watch(
    paths: Sequence[str | os.PathLike[str]],
    cancel: threading.Event,
    known: Sequence[Found] | None = None,
    *,
    polling: bool = False,
) -> Iterator[Watched]:
    """What changes among the saves below `paths` (folders, saves, a run's own path); ends soon after `cancel`.

    `known`: saves that the caller has; what differs from them is told first. Without, the saves that are there when
    watching begins are taken as known. `polling`: never ask the system for notices.

    Raises NoSuchPath or NotASave for a path that is nothing to watch.
    """
    watcher = Watcher([os.fspath(path) for path in paths], cancel, known, polling=polling)
    try:
        yield from watcher.changes()
    finally:
        watcher.close()


class Watcher:
    """What is known of the saves below some paths, and how it changes."""

    def __init__(
        self, paths: Sequence[str], cancel: threading.Event, known: Sequence[Found] | None, *, polling: bool
    ) -> None:
        self._cancel = cancel
        self._polling = polling
        self._known = known
        self._roots: list[str] = []
        self._only: set[str] = set()
        """Saves or runs that alone are wanted of a folder."""
        self._limited: set[str] = set()
        """The folders of those."""
        for path in paths:
            self._add(path)
        self._views: dict[str, View] = {}
        self._looked: dict[str, float] = {}
        self._told: dict[str, tuple[Found, Stamps]] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._missing: dict[str, float] = {}
        self._runs: dict[str, RunFolder] = {}
        self._dirty: set[str] = set()
        self._made: set[str] = set()
        """Folders that came while watching."""
        self._events: FolderEvents | None = None
        self._listed: list[str] = []
        self._checked = 0.0

    def close(self) -> None:
        """End the notices."""
        if self._events is not None:
            self._events.close()

    def changes(self) -> Iterator[Watched]:
        """What happened, until the cancel."""
        first = self._begin()
        if first is not None:
            yield first
        while not self._cancel.is_set():
            for folder, name in self._wait():
                if self._worth_a_look(folder, name):
                    self._dirty.add(folder)
            news = self._step(time.monotonic())
            if news is not None and not self._cancel.is_set():
                yield news

    # ------------------------------------------------------------------ folders

    def _add(self, path: str) -> None:
        if os.path.isdir(path):
            self._roots.append(strip_slashes(path))
            return
        run = named_run(path)
        if run is not None:
            folder, name = os.path.dirname(run.path), run.path
        else:
            found = resolve(path)
            folder, name = found.folder, found.path
        self._roots.append(folder or ".")
        self._limited.add(folder or ".")
        self._only.add(name)

    def _begin(self) -> Watched | None:
        """Walk everything once; the notices begin before the looks, so that nothing falls between."""
        for folder in self._walk(self._roots):
            self._look(folder, time.monotonic())
        self._listen()
        for folder in self._listed:
            self._look(folder, time.monotonic())
        now = time.monotonic()
        known = {found.path: found for found in self._known or ()}
        for folder, view in self._views.items():
            for path, found in view.saves.items():
                stamps = view.stamps[path]
                if not self._wanted(folder, found):
                    continue
                if (self._known is None or path in known) and whole(found, stamps):
                    self._told[path] = found, stamps
                else:
                    self._waiting[path] = _Waiting(folder, stamps, now)
                    if path in known and found.findings:
                        # told as it is; told again when it is whole
                        self._told[path] = known[path], stamps
        for path, found in known.items():
            if path not in self._told and path not in self._waiting:
                self._told[path] = found, ()
                self._missing[path] = now
        self._runs = self._runs_now()
        self._checked = now
        beyond = len([view for view in self._views.values() if view.saves]) - MOST_FOLDERS
        return Watched(findings=(_too_many(self._roots[0], beyond),)) if beyond > 0 else None

    def _walk(self, roots: Sequence[str]) -> Iterator[str]:
        """Folders from `roots` down, each looked into when the next is asked for."""
        todo, walked = list(reversed(roots)), 0
        while todo and walked < MOST_WALKED and not self._cancel.is_set():
            folder = todo.pop()
            walked += 1
            yield folder
            view = self._views.get(folder)
            if view is not None and folder not in self._limited:
                todo += reversed(view.folders)

    def _look(self, folder: str, now: float) -> None:
        self._looked[folder] = now
        self._dirty.discard(folder)
        self._views[folder] = look(folder)

    def _listen(self) -> None:
        """Ask for notices about the folders that matter now, if they are others than before."""
        wanted: dict[str, None] = dict.fromkeys(self._roots)
        with_saves = [view for view in self._views.values() if view.saves or view.runs]
        with_saves.sort(key=lambda view: max((found.modified for found in view.saves.values()), default=0.0))
        for view in reversed(with_saves):
            wanted[view.path] = None
            above = os.path.dirname(view.path)
            if above in self._views:
                wanted[above] = None
            for found in view.saves.values():
                if found.kind == "saved-model":
                    wanted[os.path.join(found.path, "variables")] = None
        wanted.update(dict.fromkeys(sorted(self._made)))
        listed = [folder for folder in wanted if os.path.isdir(folder)][:MOST_FOLDERS]
        if self._events is None or listed != self._listed:
            if self._events is not None:
                self._events.close()
            before = self._events is not None
            fresh = set(listed) - set(self._listed)
            self._listed = listed
            self._events = FolderEvents(listed, self._cancel, polling=self._polling)
            if before:
                # what happened meanwhile was told by nobody
                self._dirty.update(f for f in self._listed if f in fresh or self._moved_on(f))

    def _wait(self) -> list[tuple[str, str]]:
        assert self._events is not None
        busy = self._waiting or self._missing or self._dirty
        pause = POLL if self._events.polled else REASSURE
        notices = self._events.wait(APART if busy else min(pause, 1.0))
        now = time.monotonic()
        if now - self._checked >= pause:
            self._checked = now
            self._dirty.update(folder for folder in self._views if self._watched(folder) and self._moved_on(folder))
        return notices

    def _watched(self, folder: str) -> bool:
        return folder in self._listed or folder in self._roots

    def _moved_on(self, folder: str) -> bool:
        """Whether times say that a folder is no longer as it was seen."""
        view = self._views.get(folder)
        if view is None:
            return os.path.isdir(folder) and os.path.basename(folder) != "variables"
        if mark_of(folder) != view.mark or stamps_of(s[0] for s in view.hopeful) != view.hopeful:
            return True
        return any(stamps_of(s[0] for s in stamps) != stamps for stamps in view.stamps.values())

    def _worth_a_look(self, folder: str, name: str) -> bool:
        """Whether a notice may be about a save: not the log that a training writes, once it was seen."""
        view = self._views.get(folder)
        if view is None:
            above = os.path.dirname(folder)
            if above in self._views:
                # inside a save
                self._dirty.add(above)
            return False
        if not name or may_be_a_save(name):
            return True
        if passing(name):
            return False
        path = os.path.join(folder, name)
        return name not in view.names or path in view.saves or not os.path.lexists(path)

    # ------------------------------------------------------------------ saves

    def _wanted(self, folder: str, found: Found) -> bool:
        return folder not in self._limited or found.path in self._only or found.run in self._only

    def _step(self, now: float) -> Watched | None:
        """Look where something may have happened, and tell what has settled."""
        busy = {waiting.folder for waiting in self._waiting.values()}
        self._dirty.update(folder for folder in busy if self._moved_on(folder))
        moved = {folder for folder in self._dirty if now - self._looked.get(folder, 0.0) >= APART}
        for folder in sorted(moved):
            self._renew(folder, now)
        appeared, changed = self._settled(now)
        gone = self._lost(now)
        runs: tuple[RunFolder, ...] = ()
        told = bool(appeared or changed or gone)
        # a state file that names a save not yet told is told with it
        if told or (moved and not self._waiting and not self._missing):
            before, self._runs = self._runs, self._runs_now()
            runs = tuple(run for path, run in self._runs.items() if _differs(before.get(path), run))
            runs += tuple(replace(run, saves=()) for path, run in before.items() if path not in self._runs)
        if moved:
            self._listen()
        if told or runs:
            return Watched(tuple(appeared), tuple(changed), tuple(gone), runs)
        return None

    def _renew(self, folder: str, now: float) -> None:
        """Look again into a folder, and into those below that are new; forget those that are gone."""
        before = self._views.get(folder)
        self._look(folder, now)
        view = self._views[folder]
        if folder not in self._limited:
            known = set(before.folders) if before is not None else set()
            fresh = [below for below in view.folders if below not in known or below not in self._views]
            for below in self._walk(fresh):
                self._look(below, now)
                self._made.add(below)
                self._compare(below, now)
            lost = known - set(view.folders)
            for below in [path for path in self._views if any(f"{path}/".startswith(f"{up}/") for up in lost)]:
                self._forget(below, now)
        if view.mark is None and folder not in self._roots:
            self._forget(folder, now)
        self._compare(folder, now)
        above = os.path.dirname(folder) or "."
        if above in self._views and (before is None or before.saves.keys() != view.saves.keys()):
            # it may be one of the numbered folders of a run
            self._dirty.add(above)

    def _forget(self, folder: str, now: float) -> None:
        self._views[folder] = View(folder)
        self._compare(folder, now)
        del self._views[folder]
        self._made.discard(folder)

    def _compare(self, folder: str, now: float) -> None:
        """Note which saves of a folder differ from what was told, and since when."""
        view = self._views.get(folder)
        saves = view.saves if view is not None else {}
        stamps_by_path = view.stamps if view is not None else {}
        for path, found in saves.items():
            if not self._wanted(folder, found):
                continue
            self._missing.pop(path, None)
            stamps = stamps_by_path[path]
            told = self._told.get(path)
            waiting = self._waiting.get(path)
            if told is not None and told[1] == stamps and not (waiting and told[0].findings):
                self._waiting.pop(path, None)
            elif waiting is None or waiting.stamps != stamps:
                self._waiting[path] = _Waiting(folder, stamps, now)
        for path, (found, _) in self._told.items():
            if path not in saves and _lies_in(found, path, folder):
                self._missing.setdefault(path, now)
                self._waiting.pop(path, None)
        for path in [p for p, waiting in self._waiting.items() if waiting.folder == folder and p not in saves]:
            del self._waiting[path]

    def _settled(self, now: float) -> tuple[list[Found], list[Found]]:
        appeared, changed = [], []
        for path, waiting in list(self._waiting.items()):
            if now - waiting.since < SETTLE or waiting.folder in self._dirty:
                continue
            view = self._views[waiting.folder]
            found = view.saves[path]
            complete = whole(found, waiting.stamps)
            if not complete and now - waiting.since < RUNNING:
                continue
            del self._waiting[path]
            run = max((run for run in self._all_runs() if path in run.saves), key=_size, default=None)
            found = replace(found, run="") if run is None else as_member(found, run, folder_of(run))
            told = self._told.get(path)
            self._told[path] = found, waiting.stamps
            if told is None or (told[0].findings and complete):
                appeared.append(found)
            elif told[1] != waiting.stamps:
                changed.append(found)
        return appeared, changed

    def _lost(self, now: float) -> list[str]:
        gone = []
        for path, since in list(self._missing.items()):
            there = any(os.path.lexists(stamp[0]) for stamp in self._told[path][1])
            if now - since >= (RUNNING if there else GONE):
                del self._missing[path], self._told[path]
                gone.append(path)
        return gone

    # ------------------------------------------------------------------ runs

    def _all_runs(self) -> Iterator[RunFolder]:
        for view in self._views.values():
            yield from view.runs

    def _runs_now(self) -> dict[str, RunFolder]:
        """The runs with those of their saves that were told."""
        out: dict[str, RunFolder] = {}
        larger = {path for run in self._all_runs() if len(run.saves) > 1 for path in run.saves}
        for folder, view in self._views.items():
            for run in view.runs:
                if len(run.saves) == 1 and run.saves[0] in larger:
                    # one step of a run of numbered folders
                    continue
                if folder in self._limited and run.path not in self._only:
                    continue
                saves = tuple(path for path in run.saves if path in self._told)
                if saves:
                    out[run.path] = replace(run, saves=saves)
        return out


def _lies_in(found: Found, path: str, folder: str) -> bool:
    return found.folder == folder or path == folder


def _differs(before: RunFolder | None, now: RunFolder) -> bool:
    if before is None:
        return True
    return (before.saves, before.latest, _codes(before)) != (now.saves, now.latest, _codes(now))


def _size(run: RunFolder) -> int:
    return len(run.saves)


def _codes(run: RunFolder) -> list[str]:
    return sorted(finding.code for finding in run.findings)


def _too_many(path: str, beyond: int) -> Finding:
    return notice(
        "unreadable",
        path,
        f"{beyond} folders with saves are not watched: those with the oldest saves",
        severity="info",
        title="More folders than can be watched",
        advice="Name the folder of the run to watch it.",
    )
