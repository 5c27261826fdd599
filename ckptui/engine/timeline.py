"""The parent's side of a timeline: saves opened one after the other, their tensors read in children, each save once.

A child keeps the values of one group of rows of the save before and goes through the saves with it; saves that are
larger than all groups together are gone through once a window of groups, so that memory stays flat.
"""

from __future__ import annotations

import functools
import itertools
import re
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Any

from ckptui.core.model import (
    Artifact,
    Finding,
    Found,
    Listing,
    Progress,
    SaveColumn,
    Tensor,
    TensorPoint,
    TimelineReport,
    TimelineRow,
)
from ckptui.engine.borrowed import Borrowed
from ckptui.engine.pool import Flag, Pool
from ckptui.engine.schedule import failure, run_scan
from ckptui.engine.stretch import Stretch
from ckptui.engine.timeline_asking import Answer, Asking, Save
from ckptui.engine.timeline_rows import FEW_BYTES, GROUP_BYTES, Groups, Part, Rows, kept_bytes, parts_of
from ckptui.engine.timeline_state import State, by_cause, changed, not_there, unchanged, whole_point
from ckptui.errors import Cancelled, CkptuiError, ReaderFailed

PROGRESS_SECONDS = 0.1
AHEAD = 2
"""Saves that are opened while another one is read."""
JUDGED = frozenset({"never-changed", "jump", "went-back", "rng-state-repeated", "non-finite"})
"""Codes that are about a run, made of all its saves together."""
Open = Callable[[Found], Listing]
"""Opens a save, and keeps nothing of it."""


@dataclass(frozen=True, slots=True)
class Followed:
    """What came of all saves, to be judged."""

    artifacts: tuple[Artifact | None, ...]
    rows: tuple[TimelineRow, ...]
    points: tuple[tuple[TensorPoint | None, ...], ...]
    findings: tuple[Finding, ...]
    newest: Listing | None
    """The listing of the newest save that was opened, without tensors: its architecture tells what is frozen."""


def follow(
    pool: Pool,
    saves: Sequence[Found],
    open_: Open,
    *,
    pattern: str | None = None,
    cancel: Flag | None = None,
    known: TimelineReport | None = None,
) -> Iterator[SaveColumn | Progress | Followed]:
    """Columns as they come, oldest save first, Progress ten times a second at most, and what came of it all last.

    Raises:
        Cancelled: `cancel` was set before the end.
    """
    course = _Course(pool, saves, open_, pattern, cancel)
    try:
        if known is not None:
            yield from course.recall(known)
        yield from course.run()
    finally:
        course.close()


class _Course:
    """One timeline under way."""

    def __init__(
        self, pool: Pool, saves: Sequence[Found], open_: Open, pattern: str | None, cancel: Flag | None
    ) -> None:
        self._pool, self._saves, self._open, self._cancel = pool, saves, open_, cancel
        self._rows = Rows(re.compile(pattern) if pattern else None)
        self._states = [State() for _ in saves]
        self._todo = list(range(len(saves)))
        self._known: set[int] = set()
        """Saves of which an earlier timeline told."""
        self._groups = Groups(min(2, pool.size))
        self._stop = threading.Event()
        self._threads = ThreadPoolExecutor(self._groups.groups + AHEAD, "ckptui-timeline")
        token = uuid.uuid4().hex
        self._asking = [
            Asking(Borrowed(pool), token, self._earlier, pool.nice > 0, self._stop) for _ in range(self._groups.groups)
        ]
        self._ahead: dict[int, Future[Listing]] = {}
        self._newest: Listing | None = None
        self._begun = self._told = time.monotonic()
        self._done = 0
        self._finished = False

    # ------------------------------------------------------------------ the course

    def recall(self, known: TimelineReport) -> Iterator[SaveColumn]:
        """Take over what an earlier timeline said of saves that are as they were."""
        still = {
            save.path: place
            for place, save in enumerate(known.saves)
            if known.artifacts[place] is not None
            and not any(point is not None and point.problem for point in (row[place] for row in known.points))
        }
        at = [unchanged(save, known, still) for save in self._saves]
        self._rows.know(known.rows)
        told = False
        for place, then in enumerate(at):
            if then is None or (place and (at[place - 1] is None or at[place - 1] != then - 1)):
                continue
            state = self._states[place]
            state.artifact = known.artifacts[then]
            for row, points in enumerate(known.points):
                point = points[then]
                if point is not None:
                    state.points[row] = point if place else replace(point, delta_l2=None, changed=None)
            path = self._saves[place].path
            state.findings = [f for f in known.findings if f.artifact == path and f.code not in JUDGED]
            self._known.add(place)
            self._todo.remove(place)
            self._done += 1
            rows = () if told else known.rows
            told = True
            yield SaveColumn(place, state.artifact, rows, dict(state.points), findings=tuple(state.findings))
        if not told:
            self._rows = Rows(self._rows.pattern)

    def run(self) -> Iterator[SaveColumn | Progress | Followed]:
        """Go through the saves, once a window."""
        self._look_ahead(-1)
        for place in self._todo:
            if place - 1 in self._known:
                self._take_note(place - 1)
            yield from self._first_look(place)
        window = 1
        while window < self._groups.windows:
            self._groups.current = window
            for place in self._todo:
                state = self._states[place]
                if state.artifact is not None and state.last_window >= window:
                    yield from self._later_look(place, window)
            window += 1
        self._finished = True
        yield self._followed()

    def close(self) -> None:
        """End what is under way, and let children go."""
        self._stop.set()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for asking in self._asking:
            asking.close(usable=self._finished)

    def _followed(self) -> Followed:
        states = self._states
        points = tuple(tuple(state.points.get(row) for state in states) for row in range(len(self._rows.rows)))
        findings = tuple(finding for state in states for finding in by_cause(state.findings))
        return Followed(
            tuple(state.artifact for state in states), tuple(self._rows.rows), points, findings, self._newest
        )

    # ------------------------------------------------------------------ one save

    def _take_note(self, place: int) -> None:
        """Which tensor is on which row in a save that is known already, for the one after it."""
        state = self._states[place]
        if state.artifact is None or state.on_row:
            return
        try:
            listing = self._open(self._saves[place])
        except CkptuiError:
            return
        mapping, _ = self._rows.take(listing, list(listing.tensors))
        state.on_row = {row: at for at, row in enumerate(mapping) if row >= 0}

    def _first_look(self, place: int) -> Iterator[SaveColumn | Progress]:
        state = self._states[place]
        try:
            listing = yield from self._opened(place)
        except Cancelled:
            raise
        except CkptuiError as error:
            state.findings = [not_there(self._saves[place]) or failure(self._saves[place].path, None, error)]
            yield SaveColumn(place, None, findings=tuple(state.findings))
            self._done += 1
            return
        tensors = list(listing.tensors)
        mapping, new = self._rows.take(listing, tensors)
        state.artifact = listing.artifact
        state.on_row = {row: at for at, row in enumerate(mapping) if row >= 0}
        state.findings = [finding for finding in listing.findings if finding.severity == "error"]
        if self._newest is None and sum(tensors[at].bytes for at in state.on_row.values()) <= FEW_BYTES:
            self._groups.groups = 1
        self._newest = replace(listing, tensors=())
        yield from self._look(place, 0, tensors, new)

    def _later_look(self, place: int, window: int) -> Iterator[SaveColumn | Progress]:
        """The same save again for another window of rows, unless it is another one by now."""
        state = self._states[place]
        try:
            listing = yield from self._opened(place)
            found = listing.artifact
            known = state.artifact
            if known is None or (found.modified, found.bytes, found.tensors) != (
                known.modified,
                known.bytes,
                known.tensors,
            ):
                raise ReaderFailed("it was written anew meanwhile", title="The save changed")
        except Cancelled:
            raise
        except CkptuiError as error:
            finding = not_there(self._saves[place]) or changed(self._saves[place], error.detail)
            if finding.code not in {known.code for known in state.findings}:
                state.findings.append(finding)
            yield SaveColumn(place, state.artifact, complete=True, findings=(finding,))
            state.last_window = window
            return
        yield from self._look(place, window, list(listing.tensors), ())

    def _look(
        self, place: int, window: int, tensors: list[Tensor], new: tuple[TimelineRow, ...]
    ) -> Iterator[SaveColumn | Progress]:
        """Have the parts of one window read, and tell what they gave."""
        state, save = self._states[place], self._saves[place]
        parts: list[list[Part]] = [[] for _ in self._asking]
        for row, at in state.on_row.items():
            for part in parts_of(row, tensors[at]):
                where, group = self._groups.slot(part, kept_bytes(tensors[at], part))
                state.last_window = max(state.last_window, where)
                if where == window:
                    parts[group].append(part)
        asked = Save(place, save.path, save.kind, tensors, state.on_row)
        futures = {
            self._threads.submit(asking.ask, asked, some): number
            for number, (asking, some) in enumerate(zip(self._asking, parts, strict=True))
            if some
        }
        if window == 0:
            self._look_ahead(place)
        yield from self._waited(list(futures))
        before = len(state.findings)
        points: dict[int, TensorPoint] = {}
        gone = False
        for future, number in futures.items():
            answer = future.result()
            state.findings += answer.findings
            gone = gone or answer.gone
            points |= self._taken(place, tensors, parts[number], answer)
        state.points |= points
        complete = window >= state.last_window
        self._done += complete
        if gone and (yield from self._vanished(place, new)):
            return
        told = by_cause(state.findings if window == 0 else state.findings[before:])
        yield SaveColumn(place, state.artifact, new, points, complete, tuple(told))

    def _vanished(self, place: int, new: tuple[TimelineRow, ...]) -> Generator[SaveColumn, None, bool]:
        """Tell that files went away under the reading; returns whether the save is to be forgotten."""
        state = self._states[place]
        finding = not_there(self._saves[place])
        if finding is None:
            state.findings.append(changed(self._saves[place], "its files were replaced or removed under the reading"))
            return False
        state.artifact, state.findings = None, [finding]
        state.points, state.good = {}, set()
        state.last_window = 0
        yield SaveColumn(place, None, new, findings=(finding,))
        return True

    def _taken(self, place: int, tensors: list[Tensor], parts: list[Part], answer: Answer) -> dict[int, TensorPoint]:
        """Points of the rows that are complete with these parts."""
        state = self._states[place]
        out = {}
        for part, found in zip(parts, answer.stretches, strict=True):
            tensor = tensors[state.on_row[part.row]]
            if not isinstance(found, str):
                state.good.add((part.row, part.number))
            if part.count == tensor.count:
                out[part.row] = whole_point([found], tensor)
                continue
            count = len(parts_of(part.row, tensor))
            pieces = state.pending.setdefault(part.row, {})
            pieces[part.number] = found
            if len(pieces) == count:
                out[part.row] = self._whole(place, tensor, [piece for _, piece in sorted(pieces.items())])
                del state.pending[part.row]
        return out

    def _whole(self, place: int, tensor: Tensor, pieces: list[Stretch | str]) -> TensorPoint:
        """The point of a tensor that was read in stretches, its checksum compared."""
        state = self._states[place]
        point = whole_point(pieces, tensor)
        expected = tensor.storage.crc32c
        if point.problem or expected is None or (not tensor.storage.big_endian and point.crc32c == expected):
            return point
        save = self._saves[place]
        for scan in run_scan(self._pool, save.path, save.kind, [tensor], stats=False, cancel=self._stop):
            if not isinstance(scan, Progress):
                wrong = [finding for finding in scan.findings if finding.code != "non-finite"]
                state.findings += wrong
                if wrong:
                    return TensorPoint(count=tensor.count, problem="its bytes fail their checksum")
        return point

    # ------------------------------------------------------------------ around it

    def _earlier(
        self, row: int, number: int, place: int
    ) -> tuple[int, Callable[[], tuple[Found, Tensor] | None]] | None:
        """The last save before `place` in which this part could be read, and how to get at its tensor."""
        for then in range(place - 1, -1, -1):
            state = self._states[then]
            point = state.points.get(row)
            told = then in self._known and point is not None and not point.problem
            if told or (row, number) in state.good:
                return then, functools.partial(self._tensor_of, then, row)
        return None

    def _tensor_of(self, place: int, row: int) -> tuple[Found, Tensor] | None:
        state, save = self._states[place], self._saves[place]
        try:
            listing = self._open(save)
        except CkptuiError:
            return None
        at = state.on_row.get(row)
        if at is None or at >= len(listing.tensors):
            return None
        return save, listing.tensors[at]

    def _opened(self, place: int) -> Generator[Progress, None, Listing]:
        future = self._ahead.pop(place, None) or self._threads.submit(self._open, self._saves[place])
        yield from self._waited([future])
        return future.result()

    def _look_ahead(self, place: int) -> None:
        """Open the next saves while this one is read."""
        for after in itertools.islice((other for other in self._todo if other > place), AHEAD):
            if after not in self._ahead:
                self._ahead[after] = self._threads.submit(self._open, self._saves[after])

    def _waited(self, futures: Sequence[Future[Any]]) -> Iterator[Progress]:
        """Wait for threads, and say how far it is on the way. Raises Cancelled."""
        while True:
            if self._cancel is not None and self._cancel.is_set():
                raise Cancelled("the timeline was taken back")
            open_ = wait(futures, timeout=PROGRESS_SECONDS).not_done
            if time.monotonic() - self._told >= PROGRESS_SECONDS:
                yield self._progress()
            if not open_:
                return

    def _progress(self) -> Progress:
        self._told = time.monotonic()
        sizes = [state.artifact.bytes for state in self._states if state.artifact is not None]
        total = sum(sizes) * len(self._saves) // max(1, len(sizes))
        done = sum(asking.bytes for asking in self._asking)
        current = self._saves[min(self._done, len(self._saves) - 1)].label if self._saves else ""
        return Progress(min(done, total), total, self._done, len(self._saves), self._told - self._begun, current)


__all__ = ["GROUP_BYTES", "Followed", "follow"]
