"""One block of a sorted string table: its checksum, its compression, its prefix-compressed entries.

A block is `entry* restart_offset* restart_count`, followed by a trailer of one type byte and a masked CRC-32C over
both. Layout: LevelDB's `table_format.md`; the masking too.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from dataclasses import dataclass, field

from crc32c import crc32c

from ckptui.readers.snappy import DAMAGED_SNAPPY, unpack_prefix
from ckptui.readers.wire import WireError, uvarint

TRAILER = 5
"""Type byte and masked checksum after every block."""
MAX_KEY = 1 << 16
"""A longer key is taken for damage: no writer makes one, and shared prefixes would multiply it."""
MASK_DELTA = 0xA282EAD8


@dataclass(slots=True)
class Budget:
    """What one table may still cost; a table that would cost more is cut there, and says so."""

    entries: int = 2_000_000
    key_bytes: int = 1 << 27
    unpacked: int = 1 << 29


@dataclass(frozen=True, slots=True)
class Handle:
    """Where a block lies; `size` is without its trailer."""

    offset: int
    size: int

    @property
    def end(self) -> int:
        """The first byte after the trailer."""
        return self.offset + self.size + TRAILER


@dataclass(slots=True)
class Entries:
    """What a block holds, in its order; `problem` says why that may not be everything."""

    keys: list[bytes] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)
    problem: str = ""


@dataclass(frozen=True, slots=True)
class RawBlock:
    """A block's unpacked body and what its trailer says of it."""

    body: bytes
    stored: int
    """The checksum the file stores, unmasked."""
    computed: int
    problem: str = ""

    @property
    def proved(self) -> bool:
        """The checksum vouches for every byte of the body."""
        return self.stored == self.computed and not self.problem


def unmask(masked: int) -> int:
    """The plain CRC-32C of a stored, masked one."""
    rotated = (masked - MASK_DELTA) & 0xFFFFFFFF
    return (rotated >> 17) | (rotated << 15) & 0xFFFFFFFF


def mask(crc: int) -> int:
    """The form in which a CRC-32C is stored."""
    return (((crc >> 15) | (crc << 17)) + MASK_DELTA) & 0xFFFFFFFF


def parse_handle(value: bytes) -> Handle | None:
    """The handle an index entry holds; None for what is none."""
    try:
        offset, position = uvarint(value, 0)
        size, position = uvarint(value, position)
    except WireError:
        return None
    return Handle(offset, size) if position == len(value) else None


def load_block(data: bytes, handle: Handle, budget: Budget) -> RawBlock:
    """The block at `handle`, which must lie inside `data`; a wrong checksum is told, not raised."""
    stop = handle.offset + handle.size
    body, kind = data[handle.offset : stop], data[stop]
    stored = unmask(int.from_bytes(data[stop + 1 : stop + TRAILER], "little"))
    computed = crc32c(data[stop : stop + 1], crc32c(body))
    problem = ""
    if kind == 1:
        body, problem = _unpack(body, budget)
    elif kind != 0:
        problem = f"compression type {kind}"
    elif stored != computed:
        problem = "checksum mismatch"
    if not problem and stored != computed:
        problem = "checksum mismatch"
    return RawBlock(body, stored, computed, problem)


def _unpack(body: bytes, budget: Budget) -> tuple[bytes, str]:
    """A snappy body unpacked, as far as it goes, and why it went no further."""
    try:
        declared, start = uvarint(body, 0)
    except WireError:
        return b"", "compressed block without a size"
    # Three packed bytes make at most 64: a larger claim is a lie, and nothing is allocated for it.
    if declared > 22 * len(body) or declared > budget.unpacked:
        return b"", f"compressed block claims {declared} bytes from {len(body)}"
    budget.unpacked -= declared
    import cramjam

    try:
        return bytes(cramjam.snappy.decompress_raw(body)), ""
    except cramjam.DecompressionError:
        return unpack_prefix(body, start, declared).data, DAMAGED_SNAPPY


def parse_block(body: bytes, budget: Budget) -> Entries:
    """Every entry that can be told; after a bad one the walk takes up again at the next restart offset."""
    found = Entries()
    restarts = _restart_array(body)
    if restarts is None:
        found.problem = "the restart array does not fit its block"
        end = len(body)
    else:
        end = len(body) - 4 - 4 * len(restarts)
    starts: list[int] = []
    stop, problem = _entries(body, 0, end, found, starts, budget)
    if restarts is None:
        return found
    if stop == end and not problem:
        expected = {0} if not starts else set(starts)
        if not expected.issuperset(restarts) or (starts and restarts[:1] != (0,)):
            found.problem = "restart offsets that are no entry's"
        return found
    found.problem = problem
    ordered = sorted(set(restarts))
    while stop < end and budget.entries > 0 and budget.key_bytes > 0:
        following = bisect_right(ordered, stop)
        if following == len(ordered) or ordered[following] >= end:
            break
        stop, _ = _entries(body, ordered[following], end, found, starts, budget)
    return found


def _restart_array(body: bytes) -> tuple[int, ...] | None:
    """The offsets at the block's end, or None where their count can't be true."""
    if len(body) < 4:
        return None
    count = int.from_bytes(body[-4:], "little")
    start = len(body) - 4 - 4 * count
    # Every restart is an entry of at least three bytes; an empty block has one restart all the same.
    if start < 0 or count > max(1, start // 3):
        return None
    return struct.unpack_from(f"<{count}I", body, start)


def _entries(
    body: bytes, position: int, end: int, found: Entries, starts: list[int], budget: Budget
) -> tuple[int, str]:
    """Append the entries of body[position:end]; returns where the walk stopped and why (empty at the end)."""
    keys, values = found.keys, found.values
    key = b""
    key_bytes = budget.key_bytes
    first = len(keys)
    problem = ""
    for _ in range(budget.entries):
        if position + 3 > end:
            problem = "an entry runs off the end" if position < end else ""
            break
        shared, unshared, length = body[position], body[position + 1], body[position + 2]
        start = position + 3
        if (shared | unshared | length) > 0x7F:
            try:
                shared, start = uvarint(body, position, end)
                unshared, start = uvarint(body, start, end)
                length, start = uvarint(body, start, end)
            except WireError as error:
                problem = error.reason
                break
        middle = start + unshared
        stop = middle + length
        if shared > len(key) or stop > end or shared + unshared > MAX_KEY:
            problem = "an entry's lengths do not fit"
            break
        if shared:
            key = key[:shared] + body[start:middle]
        elif unshared or (not keys and length):
            starts.append(position)
            key = body[start:middle]
        else:
            problem = "an empty key"
            break
        key_bytes -= len(key)
        if key_bytes < 0:
            problem = "keys of more bytes than any model has"
            break
        keys.append(key)
        values.append(body[middle:stop])
        position = stop
    else:
        problem = "more entries than any model has" if position < end else ""
    budget.entries -= len(keys) - first
    budget.key_bytes = key_bytes
    return position, problem
