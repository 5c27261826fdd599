"""A block with one flipped bit: which one, from its checksum, and the block as it was written.

The checksum covers body and type byte. A flip in the checksum itself shows as one wrong bit of its stored form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ckptui.readers.sstable_block import TRAILER, Budget, Handle, RawBlock, load_block, mask


@dataclass(frozen=True, slots=True)
class Mended:
    """A block read with one bit turned back."""

    block: RawBlock
    offset: int
    """Of the byte with the flipped bit, in the file."""
    bit: int
    coincidence: float
    """The chance that other damage looks like this."""

    @property
    def facts(self) -> dict[str, Any]:
        """For evidence."""
        return {"flipped": {"offset": self.offset, "bit": self.bit, "coincidence": self.coincidence}}

    @property
    def words(self) -> str:
        """What was found."""
        return f"bit {self.bit} of byte {self.offset} is flipped"


def mend(data: bytes, handle: Handle, block: RawBlock, budget: Budget) -> Mended | None:
    """The block at `handle` with its flipped bit turned back; None where one bit does not explain its checksum."""
    from ckptui.core.bitflip import coincidence, find_flip

    if block.stored == block.computed:
        return None
    size = handle.size + 1
    masked = int.from_bytes(data[handle.end - 4 : handle.end], "little") ^ mask(block.computed)
    if masked.bit_count() == 1:
        place, bit = divmod(masked.bit_length() - 1, 8)
        place += size
    else:
        flip = find_flip(block.stored, block.computed, size)
        if flip is None:
            return None
        place, bit = flip.byte, flip.bit
    raw = bytearray(data[handle.offset : handle.end])
    raw[place] ^= 1 << bit
    mended = load_block(bytes(raw), Handle(0, handle.size), budget)
    assert len(raw) == handle.size + TRAILER
    return Mended(mended, handle.offset + place, bit, coincidence(size)) if mended.proved else None
