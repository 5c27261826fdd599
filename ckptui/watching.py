"""Saves as they come, are written anew and go while a training runs. Nothing on the writer's side is touched.

What happened is found by looking again into the folders of saves and comparing with what was known. A save is told
when it is whole and nothing of it changed for a second; one that is not whole when nobody wrote to it for two minutes.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ckptui.core.model import Finding, Found, RunFolder, Watched
from ckptui.readers.discover import resolve
from ckptui.readers.folder_watch import FolderWatch
from ckptui.readers.leftovers import RUNNING
from ckptui.readers.notices import notice
from ckptui.readers.numbered import as_member
from ckptui.readers.resolving import strip_slashes
from ckptui.readers.run_of import folder_of, named_run
from ckptui.readers.watched_folder import Stamps, View, whole

SETTLE = 1.0
"""Seconds without a change after which a whole save is told."""
GONE = 1.0
"""Seconds after which a save that is not there is told to be gone: one that is replaced is away for a moment."""


@dataclass(frozen=True, slots=True)
class _Told:
    """A save the caller knows of."""

    found: Found
    folder: str
    """Where it was seen: its folder, or itself where it is one."""
    stamps: Stamps

    @property
    def broken(self) -> bool:
        """It was told although something was wrong with it: when that is over it appears."""
        return any(f.severity == "error" or f.code == "interrupted-save" for f in self.found.findings)


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
        self._known = known
        self._folders = FolderWatch(cancel, polling=polling)
        self._only: set[str] = set()
        """Saves or runs that alone are wanted of a folder."""
        for path in paths:
            self._add(path)
        self._told: dict[str, _Told] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._missing: dict[str, float] = {}
        self._runs: dict[str, RunFolder] = {}

    def close(self) -> None:
        """End the notices."""
        self._folders.close()

    def check(self) -> None:
        """Look at the times of all folders, for what the system did not tell."""
        self._folders.check()

    def changes(self) -> Iterator[Watched]:
        """What happened, until the cancel."""
        first = self.begin()
        if first is not None:
            yield first
        while not self._cancel.is_set():
            self._folders.wait(busy=bool(self._waiting or self._missing))
            news = self.step(time.monotonic())
            if news is not None and not self._cancel.is_set():
                yield news

    def _add(self, path: str) -> None:
        if os.path.isdir(path):
            self._folders.roots.append(strip_slashes(path))
            return
        run = named_run(path)
        if run is not None:
            folder, name = folder_of(run), run.path
        else:
            found = resolve(path)
            folder, name = found.folder, found.path
        self._folders.roots.append(folder or ".")
        if run is None or all((os.path.dirname(path) or ".") == (folder or ".") for path in run.saves):
            self._folders.limited.add(folder or ".")
        self._only.add(name)

    def begin(self) -> Watched | None:
        """Take what is there as known, or what the caller has."""
        beyond = self._folders.begin()
        now = time.monotonic()
        known = {found.path: found for found in self._known or ()}
        for folder, view in self._folders.views.items():
            for path, found in view.saves.items():
                if self._wanted(folder, found):
                    self._take(folder, found, view.stamps[path], known, now)
        for path, found in known.items():
            if path not in self._told and path not in self._waiting:
                self._told[path] = _Told(found, found.path if os.path.isdir(path) else found.folder, ())
                self._missing[path] = now
        self._runs = self._runs_now()
        return Watched(findings=(_too_many(self._folders.roots[0], beyond),)) if beyond else None

    def _take(self, folder: str, found: Found, stamps: Stamps, known: Mapping[str, Found], now: float) -> None:
        path = found.path
        if (self._known is None or path in known) and whole(found, stamps):
            self._told[path] = _Told(found, folder, stamps)
        else:
            self._waiting[path] = _Waiting(folder, stamps, now)
            if path in known:
                # told as it was; told again when it is whole
                self._told[path] = _Told(known[path], folder, stamps)

    # ------------------------------------------------------------------ saves

    def _wanted(self, folder: str, found: Found) -> bool:
        return folder not in self._folders.limited or found.path in self._only or found.run in self._only

    def step(self, now: float) -> Watched | None:
        """Look where something may have happened, and tell what has settled."""
        folders = self._folders
        busy = {waiting.folder for waiting in self._waiting.values()} - folders.dirty
        folders.dirty.update(filter(folders.moved_on, busy))
        due = folders.due(now)
        for folder in due:
            self._renew(folder, now)
        appeared, changed = self._settled(now)
        gone = self._lost(now)
        runs: tuple[RunFolder, ...] = ()
        told = bool(appeared or changed or gone)
        # a state file that names a save not yet told is told with it
        if told or (due and not self._waiting and not self._missing):
            before, self._runs = self._runs, self._runs_now()
            runs = tuple(run for path, run in self._runs.items() if _differs(before.get(path), run))
            runs += tuple(replace(run, saves=()) for path, run in before.items() if path not in self._runs)
        if due:
            folders.listen()
        if told or runs:
            return Watched(tuple(appeared), tuple(changed), tuple(gone), runs)
        return None

    def _renew(self, folder: str, now: float) -> None:
        """Look again into a folder, and into those below that are new; forget those that are gone."""
        folders = self._folders
        before = folders.views.get(folder, View(folder))
        view = folders.look(folder)
        if view.closed:
            # nobody can say what became of its saves
            folders.views[folder] = replace(before, mark=view.mark)
            return
        if folder not in folders.limited:
            fresh = [below for below in view.folders if below not in before.folders or below not in folders.views]
            for inner in folders.look_below(fresh):
                self._compare(inner, now)
            lost = set(before.folders) - set(view.folders)
            for path in [path for path in folders.views if any(f"{path}/".startswith(f"{up}/") for up in lost)]:
                self._forget(path, now)
        self._compare(view, now)
        if view.mark is None and folder not in folders.roots:
            self._forget(folder, now)
        above = os.path.dirname(folder) or "."
        if above in folders.views and before.saves.keys() != view.saves.keys():
            # it may be one of the numbered folders of a run
            folders.dirty.add(above)

    def _forget(self, folder: str, now: float) -> None:
        self._compare(View(folder), now)
        self._folders.forget(folder)

    def _compare(self, view: View, now: float) -> None:
        """Note which saves of a folder differ from what was told, and since when."""
        folder, saves = view.path, view.saves
        for path, found in saves.items():
            if not self._wanted(folder, found):
                continue
            self._missing.pop(path, None)
            stamps = view.stamps[path]
            told = self._told.get(path)
            waiting = self._waiting.get(path)
            if told is not None and told.stamps == stamps and not (waiting and told.broken):
                self._waiting.pop(path, None)
            elif waiting is None or waiting.stamps != stamps:
                self._waiting[path] = _Waiting(folder, stamps, now)
        for path, told in self._told.items():
            if told.folder == folder and path not in saves:
                self._missing.setdefault(path, now)
        for path in [p for p, waiting in self._waiting.items() if waiting.folder == folder and p not in saves]:
            del self._waiting[path]

    def _settled(self, now: float) -> tuple[list[Found], list[Found]]:
        appeared, changed = [], []
        for path, waiting in list(self._waiting.items()):
            if now - waiting.since < SETTLE or waiting.folder in self._folders.dirty:
                continue
            view = self._folders.views[waiting.folder]
            found = view.saves[path]
            complete = whole(found, waiting.stamps)
            if not complete and now - waiting.since < RUNNING:
                continue
            del self._waiting[path]
            run = max((run for run in self._all_runs() if path in run.saves), key=_size, default=None)
            found = replace(found, run="") if run is None else as_member(found, run, folder_of(run))
            told = self._told.get(path)
            self._told[path] = _Told(found, waiting.folder, waiting.stamps)
            if told is None or (told.broken and complete):
                appeared.append(found)
            elif told.stamps != waiting.stamps:
                changed.append(found)
        return appeared, changed

    def _lost(self, now: float) -> list[str]:
        gone = []
        for path, since in list(self._missing.items()):
            there = any(os.path.lexists(stamp[0]) for stamp in self._told[path].stamps)
            if now - since >= (RUNNING if there else GONE):
                del self._missing[path], self._told[path]
                gone.append(path)
        return gone

    # ------------------------------------------------------------------ runs

    def _all_runs(self) -> Iterator[RunFolder]:
        for view in self._folders.views.values():
            yield from view.runs

    def _runs_now(self) -> dict[str, RunFolder]:
        """The runs with those of their saves that were told."""
        out: dict[str, RunFolder] = {}
        larger = {path for run in self._all_runs() if len(run.saves) > 1 for path in run.saves}
        for folder, view in self._folders.views.items():
            for run in view.runs:
                if len(run.saves) == 1 and run.saves[0] in larger:
                    # one step of a run of numbered folders
                    continue
                if folder in self._folders.limited and run.path not in self._only:
                    continue
                saves = tuple(path for path in run.saves if path in self._told)
                before = self._runs.get(run.path)
                if len(saves) > 1 or saves == run.saves or (saves and (run.state or before)):
                    latest = run.latest if run.latest in self._told else before.latest if before else ""
                    out[run.path] = replace(run, saves=saves, latest=latest)
        return out


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
