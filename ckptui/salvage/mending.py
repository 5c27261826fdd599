"""Flipped bits of an index, found by the checksums of its blocks and turned back in memory."""

from __future__ import annotations

import struct
from typing import Any

from ckptui.core.bitflip import coincidence, find_flip
from ckptui.readers.source import read_whole
from ckptui.readers.sstable import CAP, Problem, Table, parse_table
from ckptui.salvage.table_writer import mask

MOST_BLOCKS = 64
"""Damaged blocks that are looked at; an index with more is damaged in another way."""
Mended = tuple[Table, dict[bytes, dict[str, Any]]]


def mend(path: str, table: Table) -> Mended | None:
    """The table with the flipped bits of its blocks turned back, and the keys whose entries that changed.

    A key that only the mended table has, or whose record differs, comes with its flip: {"file", "offset", "bit",
    "coincidence"}. None where no block's checksum is explained by one bit. A flip in a stored checksum itself changes
    no key.

    Raises:
        ChangedWhileReading, NoSuchPath, Unreadable: the index is not what it was.
    """
    wrong = [p for p in table.problems if p.expected is not None and p.found is not None and not p.cosmetic]
    if not wrong or len(wrong) > MOST_BLOCKS:
        return None
    data = bytearray(read_whole(path, CAP))
    flips = [flip for problem in wrong if (flip := _turn_back(data, problem)) is not None]
    if not flips:
        return None
    mended = parse_table(bytes(data))
    if sum(map(len, mended.unproved)) >= sum(map(len, table.unproved)) and not table.walked:
        return None
    before = dict(zip(table.keys, table.values, strict=True))
    pairs = zip(mended.keys, mended.values, strict=True)
    return mended, {key: {"file": path, **flips[0]} for key, value in pairs if before.get(key) != value}


def _turn_back(data: bytearray, problem: Problem) -> dict[str, Any] | None:
    """Turn back the bit of a block that its checksum tells; changes `data`. None where one bit explains nothing."""
    assert problem.expected is not None
    assert problem.found is not None
    stored = mask(problem.expected)
    end = data.find(struct.pack("<I", stored), problem.offset)
    if end < 0:
        return None
    difference = stored ^ mask(problem.found)
    if difference.bit_count() == 1:
        # the checksum itself was hit: the block is as it was written
        byte, bit = divmod(difference.bit_length() - 1, 8)
        data[end + byte] ^= 1 << bit
        return {"offset": end + byte, "bit": bit, "coincidence": 32 / 2**32}
    size = end - problem.offset
    flip = find_flip(problem.expected, problem.found, size)
    if flip is None:
        return None
    data[problem.offset + flip.byte] ^= flip.mask
    return {"offset": problem.offset + flip.byte, "bit": flip.bit, "coincidence": coincidence(size)}
