"""The first block of an HDF5 file, read without the HDF5 library: version, state flags, declared end.

HDF5 File Format Specification, II.A "Disk Format: Level 0A - Format Signature and Superblock".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ckptui.readers.window import Bytes

if TYPE_CHECKING:
    import numpy as np

SIGNATURE = b"\x89HDF\r\n\x1a\n"
CHECKSUMMED = 2
"""The first superblock version with a checksum."""
_MAX_PREFIXES = 40
"""Signature positions tried: 0, 512, 1024, 2048, ... 2^48."""


@dataclass(frozen=True, slots=True)
class Superblock:
    """What the first block says, and what it would take to open the file in spite of it."""

    at: int
    """Position of the signature: 0, or the size of the user block before it."""
    version: int
    flags: int
    """File consistency flags: bit 0 open for writing, bit 2 for single-writer access; 0 after a clean close."""
    end: int
    """Where the file should end, counted from the window's start; -1 where unreadable."""
    raw: bytes
    """The block as it stands, checksum included from version 2 on."""
    flags_at: int
    end_at: int
    width: int
    """Bytes of an address."""
    lengths: int
    """Bytes of a length."""
    shift: int
    """Added to a stored address to get a position."""

    @property
    def root(self) -> int:
        """Address of the root group's object header in versions with a checksum; -1 in others."""
        at = self.end_at + self.width
        return int.from_bytes(self.raw[at : at + self.width], "little") if self.version >= CHECKSUMMED else -1

    def patches(self, *, flags: int | None = None, end: int | None = None) -> dict[int, bytes]:
        """Replacement bytes (by window offset) that set the flags or the end of file, checksum made to fit."""
        block = bytearray(self.raw)
        if flags is not None:
            block[self.flags_at] = flags
        if end is not None:
            block[self.end_at : self.end_at + self.width] = (end - self.shift).to_bytes(self.width, "little")
        if self.version >= CHECKSUMMED:
            block[-4:] = lookup3(bytes(block[:-4])).to_bytes(4, "little")
        return {self.at: bytes(block)}


def find_superblock(source: Bytes, start: int = 0, length: int | None = None) -> Superblock | None:
    """The superblock in `length` bytes from `start`, or None where no signature stands at a legal position."""
    room = source.size - start if length is None else min(length, source.size - start)
    at = 0
    for _ in range(_MAX_PREFIXES):
        if at + len(SIGNATURE) > room:
            return None
        if source.pread(start + at, len(SIGNATURE)) == SIGNATURE:
            return parse_superblock(source.pread(start + at, min(256, room - at)), at)
        at = at * 2 if at else 512
    return None


def parse_superblock(block: bytes, at: int) -> Superblock:
    """The fields of the superblock whose bytes are `block`, found at window offset `at`."""
    version = block[8] if len(block) > 8 else -1
    if version >= CHECKSUMMED:
        width, flags_at, base_at = (block[9] if len(block) > 9 else 8), 11, 12
        end_at = base_at + 2 * width
        size = base_at + 4 * width + 4
        flags = block[11] if len(block) > 11 else 0
        lengths = block[10] if len(block) > 10 else 8
    else:
        width, flags_at = (block[13] if len(block) > 13 else 8), 20
        base_at = 28 if version == 1 else 24
        end_at = base_at + 2 * width
        size = end_at + width
        flags = int.from_bytes(block[20:24], "little")
        lengths = block[14] if len(block) > 14 else 8
    if width not in (2, 4, 8) or len(block) < size:
        return Superblock(at, version, flags, -1, block[:size], flags_at, end_at, width, lengths, 0)
    base = int.from_bytes(block[base_at : base_at + width], "little")
    end = int.from_bytes(block[end_at : end_at + width], "little")
    # HDF5 trusts the position it found the signature at over the stored base address.
    shift = at - base
    return Superblock(at, version, flags, end + shift, block[:size], flags_at, end_at, width, lengths, shift)


def lookup3(data: bytes) -> int:
    """Bob Jenkins' lookup3 `hashlittle` with seed 0: HDF5's metadata checksum."""
    mask = 0xFFFFFFFF
    a = b = c = (0xDEADBEEF + len(data)) & mask
    at = 0
    rest = len(data)
    while rest > 12:
        a = (a + int.from_bytes(data[at : at + 4], "little")) & mask
        b = (b + int.from_bytes(data[at + 4 : at + 8], "little")) & mask
        c = (c + int.from_bytes(data[at + 8 : at + 12], "little")) & mask
        for shift in (4, 6, 8, 16, 19, 4):
            a = ((a - c) ^ _turn(c, shift)) & mask
            c = (c + b) & mask
            a, b, c = b, c, a
        at += 12
        rest -= 12
    if not rest:
        return c
    tail = data[at:].ljust(12, b"\0")
    a = (a + int.from_bytes(tail[:4], "little")) & mask
    b = (b + int.from_bytes(tail[4:8], "little")) & mask
    c = (c + int.from_bytes(tail[8:], "little")) & mask
    for shift in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _turn(b, shift)) & mask
        a, b, c = b, c, a
    # Seven turns of three registers leave the sum in `b`.
    return b


def lookup3_rows(rows: np.ndarray) -> np.ndarray:
    """`lookup3` of every row of a uint8 array (rows, bytes), as uint32."""
    import numpy as np

    count, size = rows.shape
    padded = np.zeros((count, max(1, -(-size // 12)) * 12), np.uint8)
    padded[:, :size] = rows
    words = padded.view("<u4")
    a = b = c = np.full(count, (0xDEADBEEF + size) & 0xFFFFFFFF, np.uint32)

    def turn(value: np.ndarray, by: int) -> np.ndarray:
        turned: np.ndarray = (value << np.uint32(by)) | (value >> np.uint32(32 - by))
        return turned

    if not size:
        return c
    for at in range(0, words.shape[1], 3):
        a, b, c = a + words[:, at], b + words[:, at + 1], c + words[:, at + 2]
        if at + 3 < words.shape[1]:
            for shift in (4, 6, 8, 16, 19, 4):
                a = (a - c) ^ turn(c, shift)
                c = c + b
                a, b, c = b, c, a
    for shift in (14, 11, 25, 16, 4, 14, 24):
        c = (c ^ b) - turn(b, shift)
        a, b, c = b, c, a
    return b


def _turn(value: int, by: int) -> int:
    return ((value << by) | (value >> (32 - by))) & 0xFFFFFFFF
