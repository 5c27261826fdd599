"""Blocks of a file that look lost or doubled inside a tensor whose format has no checksum.

A disk, a network file system or a full disk loses whole sectors of a *file*; training knows nothing of where those
begin. So a run of zeros, or a stretch that repeats another one, which begins and ends on sectors of the file and on no
border that the tensor's shape has, was not computed. Layers of zeros, pruned kernels, empty rows, padding, repeated
rows and inflated kernels all end on borders of the shape, or are everywhere in the tensor.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np

from ckptui.core.catalogue import make
from ckptui.core.model import Finding, Segment, Tensor
from ckptui.engine.checked import Beat
from ckptui.errors import CkptuiError
from ckptui.readers.source import Source
from ckptui.readers.zeros import SECTOR

PAGE = 4096
NEIGHBOURS = 3
"""Data may have this many zero bytes of its own beside a lost sector."""
MOST_ZEROS = 0.05
"""Of the elements outside the runs; a tensor with more zeros than that is sparse by nature."""
MOST_REPEATED = 0.25
"""Of a tensor's sectors; with more, repetition is what it is made of."""
FEWEST_VALUES = 16
"""Distinct words of 4 bytes a repeated sector must hold at least to be more than a pattern."""
MAX_SECTORS = 1 << 22
"""Sectors of one tensor that are watched for repetition: 2 GB of values."""
MAX_RUNS = 200
MOST_ZERO_RUNS = 1 << 14
"""Runs of zero sectors in one tensor; with more, they are its own."""
_STEP = 1 << 20
_PARTS = (1, 2, 3, 4, 6, 8)
"""Gates, heads and groups split an axis into so many parts."""
_SAMPLED = (3, 20, 41)
"""Words of 8 bytes of a sector that are looked at first."""

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """A suspicious stretch, in file offsets."""

    kind: Literal["zeros", "repeated"]
    offset: int
    bytes: int
    block: int
    """4096 where it begins and ends on pages, 512 where on sectors."""
    copy_of: int = -1
    """File offset of the bytes it repeats."""
    to_end: bool = False
    """Zeros that go on to the end of the file."""


class BlockWatch:
    """Takes a segment's bytes as they come by and remembers which sectors deserve a second look."""

    def __init__(self, segment: Segment, most: int = MAX_SECTORS) -> None:
        """Of the first `most` sectors it is noted what they hold."""
        self.segment = segment
        self._most = most
        self._at = segment.offset
        self._rest = b""
        self.zeros: list[list[int]] = []
        """[begin, end) of neighbouring sectors that hold only zeros; empty again where they are too many."""
        self.sparse = False
        """Zero sectors lie in so many places that they are the tensor's own."""
        self._keys: list[Array] = []
        self._first = -(-segment.offset // SECTOR) * SECTOR
        self._sectors = 0

    def add(self, view: memoryview) -> None:
        """The next bytes; anything may be done with `view` afterwards."""
        begin = self._at
        self._at += len(view)
        raw = self._rest + bytes(view) if self._rest else view
        begin -= len(self._rest)
        skip = max(0, min(len(raw), self._first - begin)) if not self._sectors else 0
        whole = (len(raw) - skip) // SECTOR
        sectors = np.frombuffer(raw, "<u8", whole * (SECTOR // 8), skip).reshape(whole, SECTOR // 8)
        if whole:
            self._look(sectors)
        self._rest = bytes(raw[skip + whole * SECTOR :])

    def _look(self, sectors: Array) -> None:
        sampled = [sectors[:, word] for word in _SAMPLED]
        empty = np.flatnonzero((sampled[0] | sampled[1] | sampled[2]) == 0)
        if empty.size and not self.sparse:
            self._note_zeros(empty[~sectors[empty].any(axis=1)])
        if self._sectors < self._most:
            self._keys.append(sampled[0] * np.uint64(0x9E3779B97F4A7C15) + sampled[1] + (sampled[2] << np.uint64(17)))
        self._sectors += len(sectors)

    def _note_zeros(self, empty: Array) -> None:
        """Merge sectors, counted from the next one on, into the runs so far."""
        first = self._first + self._sectors * SECTOR
        for part in np.split(empty, np.flatnonzero(np.diff(empty) > 1) + 1):
            if part.size:
                begin, end = first + int(part[0]) * SECTOR, first + (int(part[-1]) + 1) * SECTOR
                if self.zeros and self.zeros[-1][1] == begin:
                    self.zeros[-1][1] = end
                else:
                    self.zeros.append([begin, end])
        if len(self.zeros) > MOST_ZERO_RUNS:
            self.sparse, self.zeros = True, []

    def keys(self) -> Array:
        """A number for each whole sector so far, uint64: alike where sectors may be."""
        if len(self._keys) > 1:
            self._keys = [np.concatenate(self._keys)]
        return self._keys[0] if self._keys else np.empty(0, np.uint64)

    def take_keys(self, pieces: Sequence[bytes]) -> None:
        """Take the keys of sectors that others have seen, as bytes, front to back."""
        for piece in pieces:
            if self._sectors < self._most:
                self._keys.append(np.frombuffer(piece, np.uint64))
            self._sectors += len(piece) // 8

    def repeats(self) -> list[tuple[int, int]]:
        """(offset, offset of the earlier sector) for sectors that may repeat an earlier one; empty for many."""
        keys = self.keys()
        ordered = np.sort(keys)
        again = ordered[1:][ordered[1:] == ordered[:-1]]
        del ordered
        if not 0 < len(again) <= MOST_REPEATED * len(keys) + 1:
            return []
        places = np.flatnonzero(np.isin(keys, np.unique(again), kind="sort"))
        _, first, back = np.unique(keys[places], return_index=True, return_inverse=True)
        earlier = places[first][back]
        later = earlier < places
        offsets = (self._first + found[later] * SECTOR for found in (places, earlier))
        return list(zip(*(found.tolist() for found in offsets), strict=True))


def watchable(source: Source, segment: Segment) -> bool:
    """Whether a tensor is large enough, and in no archive: its members have checksums of their own."""
    return segment.bytes >= 2 * SECTOR and source.pread(0, 4) != b"PK\x03\x04"


def suspicious(source: Source, watch: BlockWatch, shape: Sequence[int], itemsize: int, beat: Beat) -> list[Run]:
    """The runs of a segment that no training and no writer made; `watch` has seen all its bytes.

    A tensor of zeros alone gives none.
    """
    judge = _Judge(source, watch.segment, shape, itemsize, beat)
    runs = [*judge.zeros(watch.zeros), *judge.repeated(watch.repeats())]
    return runs[:MAX_RUNS]


class _Judge:
    def __init__(self, source: Source, segment: Segment, shape: Sequence[int], itemsize: int, beat: Beat) -> None:
        self.source = source
        self.segment = segment
        self.itemsize = itemsize
        self.beat = beat
        self.end = segment.offset + segment.bytes
        self.borders = _borders(shape, itemsize)

    def zeros(self, lost: Sequence[Sequence[int]]) -> Iterator[Run]:
        """Maximal runs of zero bytes around the runs of whole zero sectors."""
        runs = [self._widen(first, last) for first, last in lost]
        runs = [run for run in runs if run[1] - run[0] < self.segment.bytes]
        if not runs or self._zero_share(runs) > MOST_ZEROS:
            return
        for begin, end in runs:
            found = self._lost(begin, end)
            if found is not None:
                yield found

    def _widen(self, begin: int, end: int) -> tuple[int, int]:
        """The whole run of zero bytes that holds these sectors; at most a sector more at either end."""
        low = max(self.segment.offset, begin - SECTOR)
        before = self.source.pread(low, begin - low)
        after = self.source.pread(end, min(SECTOR, self.end - end))
        return begin - (len(before) - len(before.rstrip(b"\0"))), end + (len(after) - len(after.lstrip(b"\0")))

    def _lost(self, begin: int, end: int) -> Run | None:
        """The run if it begins and ends on sectors of the file, and not on the tensor's own borders."""
        to_end = end == self.end and self._only_zeros(end, self.source.size)
        starts = self._on_sector(begin, begin == self.segment.offset, up=True)
        ends = to_end or self._on_sector(end, end == self.end, up=False)
        own = self._explained(begin, end)
        if own or not ends or not (starts or (to_end and end - begin >= PAGE)):
            return None
        first, last = -(-begin // SECTOR) * SECTOR, end // SECTOR * SECTOR
        paged = first % PAGE == 0 and (to_end or last % PAGE == 0)
        return Run("zeros", begin, end - begin, PAGE if paged else SECTOR, to_end=to_end)

    def _on_sector(self, at: int, edge: bool, *, up: bool) -> bool:
        """Whether a run's begin (`up`) or end can be a sector's, with zeros of the data's own beside it."""
        over = -at % SECTOR if up else at % SECTOR
        if over <= NEIGHBOURS:
            return True
        if not edge:
            return False
        # The sector goes on outside the tensor: then that part of it is lost too.
        low, high = (at - at % SECTOR, at) if up else (at, at + -at % SECTOR)
        return high <= self.source.size and self._only_zeros(low, high)

    def _only_zeros(self, begin: int, end: int) -> bool:
        steps = range(begin, end, _STEP)
        return all(not self.source.pread(at, min(_STEP, end - at)).strip(b"\0") for at in steps)

    def _explained(self, begin: int, end: int) -> bool:
        """Whether a run lies between borders that the tensor's shape has, zero bytes of its neighbours added."""
        first, last = begin - self.segment.offset, end - self.segment.offset
        near = range(NEIGHBOURS + 1)
        return any((first + step) % border == 0 for border in self.borders for step in near) and any(
            (last - step) % border == 0 for border in self.borders for step in near
        )

    def _zero_share(self, runs: list[tuple[int, int]]) -> float:
        """Share of zero elements outside the runs; what lies inside is not read again."""
        zero = total = 0
        kind = np.dtype(f"u{self.itemsize}" if self.itemsize in (1, 2, 4, 8) else "u1")
        begin = self.segment.offset
        for stop, following in [*runs, (self.end, self.end)]:
            # whole elements only: one that a run cuts through belongs to neither
            begin += (self.segment.offset - begin) % kind.itemsize
            size = max(0, stop - begin) // kind.itemsize * kind.itemsize
            for view in self.source.stream(begin, size, _STEP):
                values = np.frombuffer(view, kind, len(view) // kind.itemsize)
                zero += values.size - int(np.count_nonzero(values))
                total += values.size
                self.beat(0)
            begin = following
        return zero / max(1, total)

    # ------------------------------------------------------------------ repetition

    def repeated(self, pairs: list[tuple[int, int]]) -> Iterator[Run]:
        """Runs of sectors that equal earlier ones, with other bytes before and behind both."""
        runs: list[list[int]] = []
        for at, source in pairs:
            if runs and at == runs[-1][1] and at - source == runs[-1][2]:
                runs[-1][1] = at + SECTOR
            else:
                runs.append([at, at + SECTOR, at - source])
        for begin, end, distance in runs[: 8 * MAX_RUNS]:
            if not self._explained(begin, end) and self._is_copy(begin, end, distance):
                paged = begin % PAGE == 0 and end % PAGE == 0 and distance % PAGE == 0
                yield Run("repeated", begin, end - begin, PAGE if paged else SECTOR, begin - distance)

    def _is_copy(self, begin: int, end: int, distance: int) -> bool:
        for at in range(begin, end, _STEP):
            size = min(_STEP, end - at)
            here = self.source.pread(at, size)
            if here != self.source.pread(at - distance, size):
                return False
            words = np.frombuffer(here, "<u4")
            if np.unique(words[: 1 << 14]).size < FEWEST_VALUES:
                return False
        return self._differ(begin - 8, distance) and self._differ(end, distance)

    def _differ(self, at: int, distance: int) -> bool:
        """Whether the eight bytes next to a run differ from those next to what it repeats."""
        if at < self.segment.offset or at + 8 > self.end or at - distance < 0:
            return True
        here, there = (np.frombuffer(self.source.pread(place, 8), "u1") for place in (at, at - distance))
        return int((here == there).sum()) <= 8 - self.itemsize if self.itemsize < 8 else bool((here != there).any())


def _borders(shape: Sequence[int], itemsize: int) -> list[int]:
    """Bytes between the borders a tensor's shape has: rows of every axis, and equal parts of each axis."""
    found = set()
    for axis, extent in enumerate(shape):
        stride = prod(shape[axis + 1 :]) * itemsize
        if stride > itemsize:
            found.add(stride)
        found.update(stride * (extent // part) for part in _PARTS if extent % part == 0)
    return sorted(border for border in found if border > itemsize)


def block_findings(
    artifact: str, tensor: Tensor, source: Source, watch: BlockWatch, itemsize: int, beat: Beat
) -> list[Finding]:
    """`zero-filled` for zeros up to the file's end, one `suspicious-blocks` for all other runs of the tensor."""
    runs: list[Run] = []
    with contextlib.suppress(CkptuiError):
        runs = suspicious(source, watch, tensor.shape, itemsize, beat)
    found = [_to_the_end(artifact, tensor, run, source, itemsize) for run in runs if run.to_end]
    rest = [run for run in runs if not run.to_end]
    if rest:
        first = rest[0]
        facts = [_facts(run, watch.segment, itemsize) for run in rest[:20]]
        what = "zeros" if first.kind == "zeros" else f"a repetition of the bytes at {first.copy_of}"
        detail = f"{first.bytes} bytes from {first.offset} on are {what}, from one block of the file to another"
        if len(rest) > 1:
            detail += f"; {len(rest)} such runs"
        evidence = {"file": source.path, **facts[0], "runs": facts, "count": len(rest)}
        told = make("suspicious-blocks", artifact, tensor.name, detail=detail, evidence=evidence, certainty="likely")
        found.append(told)
    return found


def _facts(run: Run, segment: Segment, itemsize: int) -> dict[str, Any]:
    first = (run.offset - segment.offset) // itemsize
    last = -(-(run.offset + run.bytes - segment.offset) // itemsize)
    facts: dict[str, Any] = {
        "kind": run.kind,
        "offset": run.offset,
        "bytes": run.bytes,
        "block": run.block,
        "elements": [first, last],
    }
    return facts | ({"copy_of": run.copy_of} if run.copy_of >= 0 else {})


def _to_the_end(artifact: str, tensor: Tensor, run: Run, source: Source, itemsize: int) -> Finding:
    assert tensor.storage.segment is not None
    size = source.size - run.offset
    detail = f"only zeros from byte {run.offset} to the end of the file ({size} bytes)"
    facts = {"file": source.path, **_facts(run, tensor.storage.segment, itemsize), "bytes": size}
    return make("zero-filled", artifact, tensor.name, detail=detail, evidence=facts, certainty="likely")
