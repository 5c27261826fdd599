"""A scan of a whole save: tensors cut into tasks, visible ones first, results and progress merged as they come."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from ckptui.core.catalogue import CODES, make
from ckptui.core.model import Progress, Tensor, TensorScan
from ckptui.engine.facts import unpack
from ckptui.engine.items import Done, Outcome, run_items
from ckptui.engine.pieces import Item, Parts, pieces_of
from ckptui.engine.pool import DEFAULT_IDLE_TIMEOUT, Flag, Pool
from ckptui.errors import CkptuiError, Damaged, ReaderFailed

TASK_BYTES = 32 << 20
TASK_TENSORS = 500
FIRST_TASK_BYTES = 8 << 20
"""Tasks for rows on the screen are smaller: their numbers are waited for."""
ALONE_BYTES = 8 << 20
"""Tensors from this size on are a task of their own."""
PROGRESS_SECONDS = 0.1


def plan(tensors: Sequence[Tensor], first: Sequence[str] = ()) -> list[list[int]]:
    """Places in `tensors`, grouped into tasks: those named in `first` in their order, then the largest first.

    Small ones share a task, neighbours in the file together.
    """
    wanted = {name: rank for rank, name in enumerate(first)}
    ahead = sorted((n for n, t in enumerate(tensors) if t.name in wanted), key=lambda n: wanted[tensors[n].name])
    taken = set(ahead)
    rest = [n for n in range(len(tensors)) if n not in taken]
    large = sorted((n for n in rest if tensors[n].bytes >= ALONE_BYTES), key=lambda n: -tensors[n].bytes)
    small = sorted((n for n in rest if tensors[n].bytes < ALONE_BYTES), key=lambda n: _place(tensors[n]))
    return [
        *_grouped(tensors, ahead, FIRST_TASK_BYTES),
        *([n] for n in large),
        *_grouped(tensors, small, TASK_BYTES),
    ]


def _place(tensor: Tensor) -> tuple[str, int]:
    segment = tensor.storage.segment
    return ("", 0) if segment is None else (segment.file, segment.offset)


def _grouped(tensors: Sequence[Tensor], places: Sequence[int], most: int) -> Iterator[list[int]]:
    group: list[int] = []
    size = 0
    for place in places:
        if group and (size + tensors[place].bytes > most or len(group) >= TASK_TENSORS):
            yield group
            group, size = [], 0
        group.append(place)
        size += tensors[place].bytes
    if group:
        yield group


def run_scan(
    pool: Pool,
    path: str,
    kind: str,
    tensors: Sequence[Tensor],
    *,
    stats: bool = True,
    check: bool = True,
    first: Sequence[str] = (),
    cancel: Flag | None = None,
    idle_timeout: float = DEFAULT_IDLE_TIMEOUT,
) -> Iterator[TensorScan | Progress]:
    """One pass over `tensors` of a save: a TensorScan each, as they come, and Progress ten times a second at most.

    Without `stats` only what `check` needs is worked out of the values. Ends early without a word when `cancel` is
    set. A tensor whose reader crashes twice or hangs gets a `reader-crashed` finding.

    Raises:
        CkptuiError: the save can't be opened any more.
    """
    clock = _Clock(sum(t.bytes for t in tensors), len(tensors))
    args: dict[str, Any] = {"path": path, "kind": kind, "stats": stats, "check": check}
    if pool.nice > 0 and tensors:
        args["drop"] = not_cached(pool, tensors, cancel)
    work = _Work(path, tensors, plan(tensors, first), check=check, split=pool.size > 1)
    while work.tasks:
        tasks, work.tasks = work.tasks, []
        for item in run_items(pool, "scan", args, work.items, tasks, cancel=cancel, idle_timeout=idle_timeout):
            if isinstance(item, Done):
                clock.bytes += item.bytes
                clock.current = item.current or clock.current
            else:
                scan = work.take(item)
                if scan is not None:
                    clock.done += 1
                    yield scan
            if clock.due():
                yield clock.progress()
        if cancel is not None and cancel.is_set():
            break
    yield clock.progress()


class _Work:
    """What children are asked for: whole tensors by name, huge ones in pieces, and once more whole if need be."""

    def __init__(
        self, path: str, tensors: Sequence[Tensor], tasks: Sequence[list[int]], *, check: bool, split: bool
    ) -> None:
        self._path, self._check = path, check
        self._tensors = tensors
        self.items: list[str | Item] = [t.name for t in tensors]
        self.tasks: list[list[int]] = []
        """Places in `items`."""
        self._parts: dict[int, tuple[int, int]] = {}
        """Of each piece, by its place in `items`: the place of its tensor, and which piece it is."""
        self._split: dict[int, Parts] = {}
        for task in tasks:
            pieces = pieces_of(tensors[task[0]]) if split and len(task) == 1 else []
            if pieces:
                self._divide(task[0], pieces)
            else:
                self.tasks.append(task)

    def _divide(self, place: int, pieces: list[Item]) -> None:
        self._split[place] = Parts(self._tensors[place], pieces)
        for number, piece in enumerate(pieces):
            self._parts[len(self.items)] = place, number
            self.tasks.append([len(self.items)])
            self.items.append(piece)

    def take(self, outcome: Outcome) -> TensorScan | None:
        """The scan that this completes, if it does; tensors whose pieces do not fit together are asked for anew."""
        if outcome.key not in self._parts:
            return _scan_of(self._path, self._tensors[outcome.key].name, outcome)
        place, number = self._parts[outcome.key]
        parts = self._split[place]
        parts.take(number, outcome.doc)
        if not parts.all_here:
            return None
        found = parts.joined(self._path, check=self._check)
        del self._split[place]
        if found is None:
            self.tasks.append([place])
        return found


def _scan_of(path: str, name: str, outcome: Outcome) -> TensorScan:
    error = outcome.error
    if error is None:
        try:
            found = unpack(outcome.doc, TensorScan)
            if found.name == name:
                return found
            error = ReaderFailed(f"it answered for {found.name}")
        except ReaderFailed as refused:
            error = refused
    return TensorScan(name, None, "unread", (failure(path, name, error),))


def failure(path: str, tensor: str | None, error: CkptuiError) -> Any:
    """The finding for a tensor whose reader failed: `reader-crashed`, or what a damage says of itself."""
    code = getattr(error, "code", "reader-crashed")
    evidence = dict(getattr(error, "evidence", {}) or {})
    if isinstance(error, ReaderFailed) and error.stderr:
        evidence["stderr"] = error.stderr[-500:]
    if code not in CODES:
        code = "entry-invalid"
    # what is damaged has the catalogue's title; how a reader failed has its own
    title = None if isinstance(error, Damaged) else error.title
    return make(code, path, tensor, title=title, detail=error.detail, evidence=evidence)


def not_cached(pool: Pool, tensors: Sequence[Tensor], cancel: Flag | None) -> list[str]:
    """Files of which nothing was in the page cache before: their pages are let go after the scan."""
    files = {t.storage.segment.file for t in tensors if t.storage.segment is not None}
    files |= {tile.segment.file for t in tensors for tile in t.storage.slices}
    try:
        doc = pool.call("absent", {"files": sorted(files)}, cancel=cancel).doc
    except CkptuiError:
        return []
    return [file for file in doc if isinstance(file, str)] if isinstance(doc, list) else []


class _Clock:
    """Counts what is done and says when it is time to say so."""

    def __init__(self, total_bytes: int, total: int) -> None:
        self._total_bytes, self._total = total_bytes, total
        self._begun = self._last = time.monotonic()
        self.bytes = 0
        self.done = 0
        self.current = ""

    def due(self) -> bool:
        """True ten times a second at most."""
        now = time.monotonic()
        if now - self._last < PROGRESS_SECONDS:
            return False
        self._last = now
        return True

    def progress(self) -> Progress:
        seconds = time.monotonic() - self._begun
        done_bytes = min(self.bytes, self._total_bytes)
        return Progress(done_bytes, self._total_bytes, self.done, self._total, seconds, self.current)
