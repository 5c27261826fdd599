"""Zeros where data should be: after a crash or a full disk they begin and end on sectors of the file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ckptui.core.model import Segment
from ckptui.engine.checked import CHUNK, Beat
from ckptui.readers.source import Source
from ckptui.readers.zeros import SECTOR

_BEFORE = 4
"""Data may end in this many zero bytes of its own, less one, before a lost sector."""
_SHORTEST_TAIL = 16
_GROUP = 64
"""Bytes looked at together: every run of twice as many holds one such group in full."""
_EIGHT_TRUE = 0x0101010101010101
_LOOSE_TAIL = 64
"""A tail this long that goes on after the tensor was lost, wherever it begins."""


@dataclass(slots=True)
class _Run:
    """Zero bytes without a gap, in file offsets."""

    start: int
    end: int


def zero_run(source: Source, segment: Segment, beat: Beat) -> Segment | None:
    """The longest run of zeros in `segment` that looks lost and not stored; None where there is none.

    It is the whole segment; or begins at most three bytes before a sector border of the file and ends likewise or
    with the segment; or goes on behind the segment. Meant for a segment whose checksum is wrong: weights may be
    zero on purpose.
    """
    end = segment.offset + segment.bytes
    goes_on = _only_zeros(source, end)
    best: _Run | None = None
    for run in _runs(source, segment, beat):
        first = -(-run.start // SECTOR) * SECTOR
        whole = run.start == segment.offset and run.end == end
        begins = run.start == segment.offset or first - run.start < _BEFORE
        ends = run.end == end or run.end % SECTOR < _BEFORE
        long_enough = run.end - first >= (_SHORTEST_TAIL if run.end == end else SECTOR)
        tail = goes_on and run.end == end and run.end - run.start >= _LOOSE_TAIL
        lost = whole or tail or (begins and ends and long_enough)
        if lost and (best is None or run.end - run.start > best.end - best.start):
            best = run
    return None if best is None else Segment(segment.file, best.start, best.end - best.start)


def _only_zeros(source: Source, offset: int) -> bool:
    """Are the next page's bytes, as far as the file has any, all zero?"""
    return not any(source.pread(offset, max(0, min(4096, source.size - offset))))


def _runs(source: Source, segment: Segment, beat: Beat) -> Iterator[_Run]:
    """All runs of zeros that are a candidate: a quarter sector or longer, or up to either end."""
    open_run = segment.offset
    position = segment.offset
    end = segment.offset + segment.bytes
    for view in source.stream(segment.offset, segment.bytes, CHUNK):
        data = np.frombuffer(view, np.uint8)
        zero_groups = _zero_groups(data)
        if not zero_groups.all() or data[zero_groups.size * _GROUP :].any():
            if zero_groups.size and not zero_groups.any():
                # no long run inside: the first and the last byte bound those that reach in from either side
                first = int(np.flatnonzero(data[:_GROUP])[0])
                last = data.size - 1 - int(np.flatnonzero(data[: -2 * _GROUP - 1 : -1])[0])
                edges, starts = np.array([position + first]), np.array([open_run])
                open_run = position + last + 1
            else:
                edges = np.flatnonzero(data).astype(np.int64) + position
                starts = np.concatenate(([open_run], edges[:-1] + 1))
                open_run = int(edges[-1]) + 1
            for n in np.flatnonzero(edges - starts >= SECTOR // 4):
                yield _Run(int(starts[n]), int(edges[n]))
        position += len(view)
        beat(0)
    if end > open_run:
        yield _Run(open_run, end)


def _zero_groups(data: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which whole groups of bytes are all zero."""
    zero_words = data[: data.size // _GROUP * _GROUP].view(np.uint64) == 0
    return np.asarray(zero_words.view(np.uint64) == _EIGHT_TRUE)
