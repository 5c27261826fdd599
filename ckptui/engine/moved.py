"""Tensors that are whole, but not where their index says: bytes were lost or put in before them. In a reader child.

What a copy did to line ends moves tensors too, a little more at each of them. Bytes that a bad disk or an interrupted
copy loses, and bytes that something writes into the middle, move everything behind one place equally far.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from crc32c import crc32c

from ckptui.engine.checked import Beat, Files
from ckptui.engine.partners import Budget, Piece
from ckptui.readers.source import Source

READ = 16 << 20
"""Bytes read at places where tensors might have moved to."""
TRIED = 64
"""Tensors looked for, those at the end of the file first."""
LINE_FEEDS_TRIED = 4096
"""Places where one carriage return may have stood."""
LF, CR = b"\n", b"\r"
PERIOD = 16
"""Bytes of the largest element."""


@dataclass(frozen=True, slots=True)
class Moved:
    """Where tensors moved; `count` is 0 where none is whole at another place."""

    by: int = 0
    """Bytes towards the end of the file; negative towards its beginning."""
    count: int = 0
    """Tensors that are whole there, of those that were looked for."""
    after: int = 0
    before: int = 0
    """Offsets as the index has them, between which the bytes were lost or put in."""
    steps: bool = False
    """Some have moved by less: it happened in several places."""
    between: tuple[Piece, ...] = ()
    """Tensors that are whole nowhere."""


def moved(source: Source, needed: int, pieces: Sequence[Piece], beat: Beat) -> Moved:
    """Look for tensors that have moved by as much as the file is too long or too short.

    `pieces`: everything stored in the file, by its index; of what lies beyond its end `found` is not known.
    """
    by = source.size - needed
    bad = sorted((piece for piece in pieces if piece.wrong and piece.bytes >= 4), key=lambda piece: -piece.offset)
    files, budget = Files(), Budget(READ)
    whole: list[Piece] = []
    try:
        for piece in bad[:TRIED]:
            if _repeats(source, piece, by):
                continue
            if not _holds(files, budget, source, piece, by, beat):
                break
            whole.append(piece)
        if not whole:
            return Moved()
        before = min(piece.offset for piece in whole)
        right = [piece for piece in pieces if not piece.wrong and piece.offset < before]
        after = max((piece.offset + piece.bytes for piece in right), default=0)
        between = tuple(piece for piece in bad if after <= piece.offset < before)
        steps = any(_holds(files, budget, source, piece, step, beat) for piece, step in _steps(between, by))
    finally:
        files.close()
    return Moved(by, len(whole), after, before, steps, between)


def lost_line_ends(source: Source, seen: Moved, beat: Beat) -> bool:
    """Can what is missing before the tensors that moved be the carriage returns of CRLFs?

    One of 256 line feeds follows one by chance. That a single one is missing is tried at every line feed.
    """
    lost = -seen.by
    if seen.steps:
        return True
    start, end = seen.after, seen.before - lost
    line_feeds = sum(bytes(view).count(LF) for view in source.stream(start, max(end - start, 0), 1 << 20))
    expected = line_feeds / 256
    if not line_feeds or lost > expected + 3 * math.sqrt(expected) + 1:
        return False
    if lost > 1:
        return True
    return len(seen.between) == 1 and _with_one_more(source, seen.between[0], line_feeds, beat)


def _with_one_more(source: Source, piece: Piece, line_feeds: int, beat: Beat) -> bool:
    """Is a tensor whole with a carriage return put back before one of its line feeds?"""
    if piece.encoding != "plain" or line_feeds * piece.bytes > READ << 4 or line_feeds > LINE_FEEDS_TRIED:
        return False
    data = source.pread(piece.offset, piece.bytes - 1)
    place = data.find(LF)
    crc, done = 0, 0
    while place >= 0:
        crc, done = crc32c(data[done:place], crc), place
        if crc32c(data[place:], crc32c(CR, crc)) == piece.crc:
            return True
        beat(0)
        place = data.find(LF, place + 1)
    return False


def _steps(between: Iterable[Piece], by: int) -> Iterable[tuple[Piece, int]]:
    """Tensors in between, and the smaller distances they may have moved."""
    sign = 1 if by > 0 else -1
    for piece in sorted(between, key=lambda piece: piece.bytes)[:TRIED]:
        for step in range(1, min(abs(by), TRIED)):
            yield piece, sign * step


def _repeats(source: Source, piece: Piece, by: int) -> bool:
    """Zeros, ones and the like are whole at many places, and prove none."""
    start = max(piece.offset + by, 0)
    head = source.pread(start, max(min(piece.bytes, PERIOD << 8, source.size - start), 0))
    return head[PERIOD:] == head[:-PERIOD]


def _holds(files: Files, budget: Budget, source: Source, piece: Piece, by: int, beat: Beat) -> bool:
    if piece.offset + by < 0 or piece.offset + by + piece.bytes > source.size:
        return False
    there = Piece(piece.offset + by, piece.bytes, piece.crc, piece.encoding, piece.count)
    return bool(budget.holds(files, source.path, there, beat))
