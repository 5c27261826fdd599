"""Reading a table that has lost its directory: block after block from byte 0, each recognised by its own end.

A plain block ends with the offsets of the entries that repeat no prefix, and their count; a snappy block ends where
its declared size is unpacked. Writers put the empty metaindex block after the last data block: there it ends.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from crc32c import crc32c

from ckptui.readers.snappy import DAMAGED_SNAPPY, unpack_prefix
from ckptui.readers.sstable_block import MAX_KEY, TRAILER, Budget, Entries, parse_block, unmask
from ckptui.readers.wire import WireError, uvarint

METAINDEX = bytes.fromhex("0000000001000000 00 c0f2a1b0")
"""An empty block (no entry, one restart, type 0, checksum): a landmark, for it stands once in every table."""
_EMPTY_BLOCK = METAINDEX[:9]


@dataclass(slots=True)
class WalkedBlock:
    """One block met on the way."""

    offset: int
    entries: Entries
    end: int = 0
    """The first byte after what was read of it."""
    closed: bool = False
    """Its own end was met."""
    stored: int | None = None
    """The checksum in its trailer, unmasked; None where there is no trailer."""
    computed: int | None = None

    @property
    def proved(self) -> bool:
        """Its checksum vouches for its entries."""
        return self.closed and self.stored == self.computed and not self.entries.problem


@dataclass(slots=True)
class Walk:
    """All blocks met, and how far they reach."""

    blocks: list[WalkedBlock] = field(default_factory=list)
    stopped: int = 0
    """The first byte that belongs to no block read."""
    reached_end: bool = False
    """The metaindex block was met: these are all the data blocks there were."""


def walk(data: bytes, budget: Budget) -> Walk:
    """Walk `data` from its start; every byte is looked at a bounded number of times."""
    outcome = Walk()
    while outcome.stopped < len(data):
        start = outcome.stopped
        if data.startswith(_EMPTY_BLOCK, start):
            outcome.reached_end = True
            break
        block = _plain(data, start, budget) if data[start] == 0 else _packed(data, start, budget)
        if block.entries.keys:
            outcome.blocks.append(block)
        outcome.stopped = block.end
        if not block.closed:
            break
    return outcome


def _plain(data: bytes, start: int, budget: Budget) -> WalkedBlock:
    """The uncompressed block at `start`, up to its end or to the first entry that can't be one."""
    entries = Entries()
    block = WalkedBlock(start, entries)
    starts: set[int] = set()
    position, key, end = start, b"", len(data)
    while True:
        if entries.keys and data.startswith(b"\0\0\0\0", position):
            closing = _restarts_end(data, position, starts)
            if closing is not None:
                _close(data, block, closing, 0)
                return block
        try:
            shared, body = uvarint(data, position, end)
            unshared, body = uvarint(data, body, end)
            length, body = uvarint(data, body, end)
        except WireError:
            break
        if shared > len(key) or body + unshared + length > end or shared + unshared > MAX_KEY:
            break
        following = key[:shared] + data[body : body + unshared]
        if (entries.keys and following <= key) or not (following or length):
            break
        if budget.entries <= 0 or budget.key_bytes < len(following):
            break
        budget.entries -= 1
        budget.key_bytes -= len(following)
        if not shared:
            starts.add(position - start)
        key = following
        entries.keys.append(key)
        entries.values.append(data[body + unshared : body + unshared + length])
        position = body + unshared + length
    entries.problem = "an entry that can't be one"
    block.end = position
    return block


def _restarts_end(data: bytes, position: int, starts: set[int]) -> int | None:
    """Where the restart array at `position` ends, if it is the one the entries call for."""
    for index in range(len(starts) + 1):
        raw = data[position : position + 4]
        position += 4
        value = int.from_bytes(raw, "little")
        if len(raw) < 4:
            return None
        # Entry number i starts at 3 i at the earliest, so a value equal to its own index is the count.
        if index and value == index:
            return position
        if value not in starts:
            return None
    return None


def _close(data: bytes, block: WalkedBlock, end: int, kind: int) -> None:
    """Read the trailer of a block whose body ends at `end`."""
    block.closed = True
    block.end = min(end + TRAILER, len(data))
    if end + TRAILER <= len(data):
        block.stored = unmask(int.from_bytes(data[end + 1 : end + TRAILER], "little"))
        block.computed = crc32c(data[block.offset : end + 1])
    if data[end : end + 1] != bytes([kind]):
        block.entries.problem = block.entries.problem or "the trailer does not fit its block"


def _packed(data: bytes, start: int, budget: Budget) -> WalkedBlock:
    """The snappy block at `start`; its packed size is known only by unpacking it."""
    nothing = WalkedBlock(start, Entries(), start)
    try:
        declared, body = uvarint(data, start)
    except WireError:
        return nothing
    if not 0 < declared <= min(budget.unpacked, 22 * (len(data) - start)):
        return nothing
    budget.unpacked -= declared
    unpacked = unpack_prefix(data, body, declared)
    block = WalkedBlock(start, parse_block(unpacked.data, budget), unpacked.end)
    if unpacked.whole:
        _close(data, block, unpacked.end, 1)
    else:
        block.entries.problem = DAMAGED_SNAPPY
    return block
