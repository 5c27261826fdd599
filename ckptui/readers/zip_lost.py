"""Lost sectors in the values of an archive's stored member, looked for where its checksum is wrong.

A disk or a copy loses whole sectors of the *file*. Weights may be zero on purpose, so zeros alone prove nothing: with
a wrong CRC-32 beside them they are what happened, most likely.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ckptui.core.model import Tensor
from ckptui.readers.hdf5_contents import Tick
from ckptui.readers.window import Bytes
from ckptui.readers.zeros import SECTOR

MOST_ZEROS = 0.5
"""Of a tensor's sectors; with more, zeros are what it is made of."""
_STEP = 1 << 20


class Lost(NamedTuple):
    """Zeros from one sector border of the file to another."""

    tensor: str
    offset: int
    """In the file."""
    bytes: int


def lost_sectors(source: Bytes, tensors: Sequence[Tensor], begin: int, end: int, tick: Tick | None) -> list[Lost]:
    """The longest run of lost sectors of each tensor whose values lie between `begin` and `end` in the file.

    A tensor of zeros alone, or mostly of zeros, has none.
    """
    found: list[Lost] = []
    for tensor in tensors:
        segment = tensor.storage.segment
        if segment is None or segment.offset < begin or segment.offset + segment.bytes > end:
            continue
        first = -(-segment.offset // SECTOR) * SECTOR
        count = (segment.offset + segment.bytes - first) // SECTOR
        sectors = list(_zero_sectors(source, first, count, tick))
        runs = list(_runs(sectors))
        if runs and len(sectors) <= MOST_ZEROS * max(2, count):
            at, size = max(runs, key=lambda run: run[1])
            found.append(Lost(tensor.name, at, size))
    return found


def _zero_sectors(source: Bytes, first: int, count: int, tick: Tick | None) -> Iterator[int]:
    """Offsets of the sectors that hold nothing but zeros."""
    for at in range(first, first + count * SECTOR, _STEP):
        if tick is not None:
            tick()
        raw = source.pread(at, min(_STEP, first + count * SECTOR - at))
        words = np.frombuffer(raw, "<u8", len(raw) // SECTOR * (SECTOR // 8)).reshape(-1, SECTOR // 8)
        yield from (at + SECTOR * int(number) for number in np.flatnonzero(~words.any(axis=1)))


def _runs(sectors: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(offset, bytes) of neighbouring sectors taken together."""
    begin = size = 0
    for at in sectors:
        if size and at != begin + size:
            yield begin, size
            size = 0
        begin = begin if size else at
        size += SECTOR
    if size:
        yield begin, size
