"""A superblock that contradicts itself, put right in memory: signature, versions, sizes, addresses, checksum.

HDF5 File Format Specification, II.A. What h5py and Keras write leaves little room: addresses and lengths of 8 bytes,
no driver information, no file-wide free space. Version 2 and later carry a checksum, which finds a single flipped bit.
"""

from __future__ import annotations

from dataclasses import dataclass

from ckptui.readers.hdf5_superblock import CHECKSUMMED, SIGNATURE, Superblock, lookup3, parse_superblock
from ckptui.readers.window import Bytes

_UNDEFINED = b"\xff" * 8
_MAX_PREFIXES = 40
_ALIKE = 6
"""Bytes of the signature that must be right where the signature itself is damaged."""
_OLD_BYTES = 96
_NEW_BYTES = 48
_MAX_K = 1024
_CACHE_TYPES = (b"\0\0\0\0", b"\x01\0\0\0")
KNOWN_FLAGS = 7
"""Open for writing, closed properly, open for one writer and many readers."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """Bytes of a superblock that can't be what was written."""

    at: int
    """Window offset."""
    expected: bytes
    found: bytes
    told: str


def near_superblock(source: Bytes, start: int, length: int) -> Superblock | None:
    """The superblock behind a damaged signature; None where nothing looks like one."""
    at = 0
    for _ in range(_MAX_PREFIXES):
        if at + _OLD_BYTES > length:
            return None
        raw = source.pread(start + at, min(256, length - at))
        alike = sum(a == b for a, b in zip(raw, SIGNATURE, strict=False))
        if _ALIKE <= alike < len(SIGNATURE) and (_looks_old(raw) or raw[9:11] == b"\x08\x08"):
            return parse_superblock(SIGNATURE + raw[8:], at)
        at = at * 2 if at else 512
    return None


def mended(stored: bytes, at: int) -> tuple[bytes, list[Flaw]]:
    """The superblock that stands at window offset `at` with its flaws put right, and what they are.

    Flags are not judged, nor is the end of the file in versions without a checksum.
    """
    raw = SIGNATURE + stored[8:]
    flaws = [Flaw(at, SIGNATURE, stored[:8], "the signature")] if stored[:8] != SIGNATURE else []
    if _looks_old(raw) and not holds(raw):
        fixed, found = _old(raw, at)
    elif len(raw) >= _NEW_BYTES and (raw[8] >= CHECKSUMMED or raw[9:11] == b"\x08\x08") and not holds(raw):
        fixed, found = _new(raw, at)
    else:
        fixed, found = raw[:_OLD_BYTES], []
    return fixed, [*flaws, *found]


def made(root: int, end: int) -> bytes:
    """A superblock of version 0 as h5py writes it, for `end` bytes whose root group's header is at `root`."""
    sizes = b"\0" * 5 + b"\x08\x08\0" + b"\x04\0\x10\0" + bytes(4)
    entry = bytes(8) + root.to_bytes(8, "little") + bytes(24)
    return SIGNATURE + sizes + bytes(8) + _UNDEFINED + end.to_bytes(8, "little") + _UNDEFINED + entry


def node_sizes(block: Superblock) -> list[Flaw]:
    """Node sizes of version 0 one bit away from those every h5py file has; to be tried where groups can't be read."""
    flaws = []
    for place, usual in ((16, 4), (18, 16)) if block.version == 0 else ():
        stored = block.raw[place : place + 2]
        if (int.from_bytes(stored, "little") ^ usual).bit_count() == 1:
            flaws.append(Flaw(block.at + place, usual.to_bytes(2, "little"), stored, "the size of a group's nodes"))
    return flaws


def _looks_old(raw: bytes) -> bool:
    """Whether most of what a superblock of version 0 always has is there."""
    signs = (raw[8:9] == b"\0", raw[13:14] == b"\x08", raw[14:15] == b"\x08", raw[32:40] == _UNDEFINED)
    return len(raw) >= _OLD_BYTES and sum((*signs, raw[48:56] == _UNDEFINED)) >= 4


def _old(raw: bytes, at: int) -> tuple[bytes, list[Flaw]]:
    """Version 0: every field with one possible value."""
    base = int.from_bytes(raw[24:32], "little")
    leaf, inner = (int.from_bytes(raw[place : place + 2], "little") for place in (16, 18))
    right = {
        8: (b"\0" * 5, "the version numbers"),
        13: (b"\x08\x08\0", "the size of addresses and lengths"),
        16: (raw[16:18] if 0 < leaf <= _MAX_K else b"\x04\0", "the size of symbol nodes"),
        18: (raw[18:20] if 0 < inner <= _MAX_K else b"\x10\0", "the size of B-tree nodes"),
        20: (bytes([raw[20] & KNOWN_FLAGS, 0, 0, 0]), "the flags"),
        24: (raw[24:32] if base in (0, at) else at.to_bytes(8, "little"), "the base address"),
        32: (_UNDEFINED, "the address of free space"),
        72: (raw[72:76] if raw[72:76] in _CACHE_TYPES else _CACHE_TYPES[1], "the root's entry"),
        48: (_UNDEFINED, "the address of driver information"),
    }
    fixed = bytearray(raw[:_OLD_BYTES])
    flaws = []
    for place, (wanted, told) in right.items():
        stored = raw[place : place + len(wanted)]
        if stored != wanted:
            fixed[place : place + len(wanted)] = wanted
            flaws.append(Flaw(at + place, wanted, stored, told))
    return bytes(fixed), flaws


def holds(raw: bytes) -> bool:
    """Whether the checksum of a superblock of version 2 or later fits."""
    return lookup3(raw[: _NEW_BYTES - 4]) == int.from_bytes(raw[_NEW_BYTES - 4 : _NEW_BYTES], "little")


def _new(raw: bytes, at: int) -> tuple[bytes, list[Flaw]]:
    """Version 2 and 3: the one bit that makes the checksum fit; else the checksum is made to fit what stands there."""
    data = bytearray(raw[:_NEW_BYTES])
    for bit in range(8 * len(SIGNATURE), 8 * _NEW_BYTES):
        place, mask = bit // 8, 1 << bit % 8
        data[place] ^= mask
        if holds(bytes(data)):
            told = "one flipped bit: the checksum fits with it turned back"
            return bytes(data), [Flaw(at + place, bytes(data[place : place + 1]), raw[place : place + 1], told)]
        data[place] ^= mask
    stored, counted = bytes(data[-4:]), lookup3(bytes(data[:-4])).to_bytes(4, "little")
    told = "the checksum does not match"
    return bytes(data[:-4]) + counted, [Flaw(at + _NEW_BYTES - 4, counted, stored, told)]
