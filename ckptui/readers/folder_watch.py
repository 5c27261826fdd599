"""Folders that are watched: what the last look into each found, and which of them are due for another."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence

from ckptui.readers.folder_events import FolderEvents
from ckptui.readers.watched_folder import View, look, mark_of, may_be_a_save, passing, stamps_of

APART = 0.4
"""Seconds between two looks into the same folder, at least."""
RATIO = 10
"""Of a folder that takes long: times as long between two looks."""
LONGEST = 5.0
POLL, REASSURE = 2.0, 5.0
"""Seconds between looks at the times of all folders: without and with notices from the system."""
MOST_FOLDERS = 500
"""Folders watched; the system gives a user notices of some thousands."""
MOST_WALKED = 20_000
"""Folders that are walked for saves, when watching begins and below a folder that is new."""


class FolderWatch:
    """The folders below some roots that hold saves, or may soon."""

    def __init__(self, cancel: threading.Event, *, polling: bool) -> None:
        self.roots: list[str] = []
        self.limited: set[str] = set()
        """Roots of which only some saves are wanted: nothing below them is looked into."""
        self.views: dict[str, View] = {}
        self.dirty: set[str] = set()
        """Folders in which something happened since the last look."""
        self._cancel = cancel
        self._polling = polling
        self._rest: dict[str, float] = {}
        """Until when a folder is left alone."""
        self._made: set[str] = set()
        """Folders that came while watching."""
        self._events: FolderEvents | None = None
        self._listed: list[str] = []
        self._next = 0.0

    def close(self) -> None:
        """End the notices."""
        if self._events is not None:
            self._events.close()

    def begin(self) -> int:
        """Walk everything once, and ask for notices before the last look; returns how many folders are left out."""
        for folder in self._walk(self.roots):
            self.look(folder)
        beyond = self.listen()
        for folder in self._listed:
            if folder in self.views:
                self.look(folder)
        return beyond

    def look(self, folder: str) -> View:
        """Look into a folder now."""
        self.dirty.discard(folder)
        began = time.thread_time()
        view = self.views[folder] = look(folder)
        spent = time.thread_time() - began
        # a look that costs much is not taken often
        self._rest[folder] = time.monotonic() + min(max(APART, RATIO * spent), LONGEST)
        return view

    def look_below(self, folders: Sequence[str]) -> Iterator[View]:
        """Look into folders that are new, and into those below them."""
        for folder in self._walk(folders):
            self._made.add(folder)
            yield self.look(folder)

    def forget(self, folder: str) -> None:
        """Let go of a folder that is no longer there."""
        self.views.pop(folder, None)
        self._rest.pop(folder, None)
        self._made.discard(folder)
        self.dirty.discard(folder)

    def due(self, now: float) -> list[str]:
        """Folders to be looked into again; those looked into a moment ago have to wait."""
        return sorted(folder for folder in self.dirty if now >= self._rest.get(folder, 0.0))

    def moved_on(self, folder: str) -> bool:
        """Whether times say that a folder is no longer as it was seen."""
        view = self.views.get(folder)
        if view is None:
            return False
        if mark_of(folder) != view.mark or stamps_of(s[0] for s in view.hopeful) != view.hopeful:
            return True
        return any(stamps_of(s[0] for s in stamps) != stamps for stamps in view.stamps.values())

    def listen(self) -> int:
        """Ask for notices about the folders that matter now, if they are others than before; returns those left out."""
        wanted: dict[str, None] = dict.fromkeys(self.roots)
        with_saves = [view for view in self.views.values() if view.saves or view.runs]
        with_saves.sort(key=lambda view: max((found.modified for found in view.saves.values()), default=0.0))
        for view in reversed(with_saves):
            wanted[view.path] = None
            above = os.path.dirname(view.path)
            if above in self.views:
                wanted[above] = None
            for found in view.saves.values():
                if found.kind == "saved-model":
                    wanted[os.path.join(found.path, "variables")] = None
        matter = len(wanted)
        # the others may be given a first save
        wanted.update(dict.fromkeys((*sorted(self._made), *self.views)))
        there = [folder for folder in wanted if os.path.isdir(folder)]
        listed = there[:MOST_FOLDERS]
        if self._events is None or listed != self._listed:
            again = self._events is not None
            self.close()
            fresh = set(listed) - set(self._listed)
            self._listed = listed
            self._events = FolderEvents(listed, self._cancel, polling=self._polling)
            if again:
                # what happened meanwhile was told by nobody
                self.dirty.update(f for f in listed if f in self.views and (f in fresh or self.moved_on(f)))
        return max(matter - MOST_FOLDERS, 0)

    def wait(self, *, busy: bool) -> None:
        """Until something may have happened, a second at most; `busy`: something is to be told soon."""
        assert self._events is not None
        for folder, name in self._events.wait(APART if busy or self.dirty else 1.0):
            self._noticed(folder, name)
        if time.monotonic() >= self._next:
            began = time.thread_time()
            self.check()
            spent = time.thread_time() - began
            self._next = time.monotonic() + max(POLL if self._events.polled else REASSURE, RATIO * spent)

    def check(self) -> None:
        """Mark the folders of which times say that something happened."""
        watched = [folder for folder in {*self._listed, *self.roots} if folder in self.views]
        self.dirty.update(filter(self.moved_on, watched))

    def _noticed(self, folder: str, name: str) -> None:
        """Mark a folder, if the notice may be about a save: not the log that a training writes, once it was seen."""
        view = self.views.get(folder)
        if view is None:
            # inside a save
            above = os.path.dirname(folder)
            if above in self.views:
                self.dirty.add(above)
        elif not name or may_be_a_save(name):
            self.dirty.add(folder)
        elif not passing(name):
            path = os.path.join(folder, name)
            if name not in view.names or path in view.saves or not os.path.lexists(path):
                self.dirty.add(folder)

    def _walk(self, roots: Sequence[str]) -> Iterator[str]:
        """Folders from `roots` down, each looked into when the next is asked for."""
        todo, walked = list(reversed(roots)), 0
        while todo and walked < MOST_WALKED and not self._cancel.is_set():
            folder = todo.pop()
            walked += 1
            yield folder
            view = self.views.get(folder)
            if view is not None and folder not in self.limited:
                todo += reversed(view.folders)
