"""Object headers with a checksum (version 2, written by h5py with `libver="latest"`): verified, and found by it.

HDF5 File Format Specification, IV.A.1.b "Version 2 Data Object Header Prefix".
"""

from __future__ import annotations

from collections.abc import Callable

from ckptui.readers.hdf5_mend import Fault
from ckptui.readers.hdf5_structures import MAX_FOUND, MAX_SCANNED, SCAN_STEP, Structures
from ckptui.readers.hdf5_superblock import lookup3, lookup3_rows

SIGNATURE = b"OHDR"
MAX_MENDED_BYTES = 1024
"""Largest header in which the one flipped bit is looked for."""
MAX_BYTES = 1 << 20
_TIMES, _PHASES = 0x20, 0x10
_LONGEST_PREFIX = 34


def length_of(prefix: bytes) -> int:
    """Bytes of a header's first block without the checksum behind it, from its first bytes; 0 for what is none."""
    if len(prefix) < 6 or prefix[:5] != SIGNATURE + b"\x02":
        return 0
    flags = prefix[5]
    place = 6 + (16 if flags & _TIMES else 0) + (4 if flags & _PHASES else 0)
    width = 1 << (flags & 3)
    if len(prefix) < place + width:
        return 0
    return place + width + int.from_bytes(prefix[place : place + width], "little")


def header_fault(structures: Structures, address: int) -> Fault | None:
    """What is wrong with the checksummed header at `address`; a single flipped bit is mended in memory.

    The right bit is the only one that makes the stored checksum fit: chance finds one in 2**32.
    """
    raw = structures.read(address, _LONGEST_PREFIX)
    like = sum(a == b for a, b in zip(raw[:4], SIGNATURE, strict=False)) >= 3
    if not like:
        return None
    at = structures.base + address
    size = length_of(raw)
    if 0 < size <= MAX_BYTES:
        body = structures.read(address, size + 4)
        stored = int.from_bytes(body[size:], "little")
        counted = lookup3(body[:size])
        if len(body) == size + 4 and stored == counted:
            return None
    else:
        stored = counted = 0
    bit = _flipped_bit(structures.read(address, MAX_MENDED_BYTES + 4))
    if bit is None:
        told = f"has the checksum {counted:08x}, it says {stored:08x}" if size else f"begins with {raw[:6].hex()}"
        expected, found = (f"{stored:08x}", f"{counted:08x}") if size else (SIGNATURE.hex(), raw[:4].hex())
        return Fault("header", at, address, expected, found, told, "object-header", mended=False)
    byte = raw[bit // 8] if bit // 8 < len(raw) else structures.read(address + bit // 8, 1)[0]
    right = byte ^ 1 << bit % 8
    structures.window.patch(at + bit // 8, bytes([right]))
    told = f"has one flipped bit: its checksum fits with {right:02x} in place of {byte:02x}"
    where = at + bit // 8
    return Fault("header", where, address, f"{right:02x}", f"{byte:02x}", told, "object-header")


def _flipped_bit(raw: bytes) -> int | None:
    """The one bit of a header that, turned, makes its checksum right; None where none or several do."""
    import numpy as np

    by_size: dict[int, list[int]] = {}
    data = bytearray(raw)
    for bit in range(8 * min(len(data), _LONGEST_PREFIX)):
        data[bit // 8] ^= 1 << bit % 8
        size = length_of(bytes(data[:_LONGEST_PREFIX]))
        data[bit // 8] ^= 1 << bit % 8
        if 0 < size <= len(data) - 4:
            by_size.setdefault(size, []).append(bit)
    own = length_of(raw[:_LONGEST_PREFIX])
    if 0 < own <= len(raw) - 4:
        by_size.setdefault(own, []).extend(range(8 * _LONGEST_PREFIX, 8 * (own + 4)))
    found = []
    for size, bits in by_size.items():
        turned = np.array([bit for bit in bits if bit < 8 * (size + 4)], dtype=np.int64)
        rows = np.tile(np.frombuffer(raw[: size + 4], np.uint8), (len(turned), 1))
        rows[np.arange(len(turned)), turned // 8] ^= (1 << turned % 8).astype(np.uint8)
        stored = np.ascontiguousarray(rows[:, size:]).view("<u4").reshape(-1)
        found += turned[lookup3_rows(rows[:, :size]) == stored].tolist()
    return found[0] if len(found) == 1 else None


def headers_with_checksum(structures: Structures, tick: Callable[[], None]) -> list[int]:
    """Addresses of all headers whose checksum is right."""
    window, found = structures.window, list[int]()
    for at in range(0, min(window.available, MAX_SCANNED), SCAN_STEP):
        tick()
        raw = window.shown(at, min(SCAN_STEP + len(SIGNATURE) - 1, window.available - at))
        place = raw.find(SIGNATURE)
        while place >= 0 and len(found) < MAX_FOUND:
            address = at + place - structures.base
            size = length_of(structures.read(address, _LONGEST_PREFIX))
            if 0 < size <= MAX_BYTES:
                body = structures.read(address, size + 4)
                if len(body) == size + 4 and lookup3(body[:size]) == int.from_bytes(body[size:], "little"):
                    found.append(address)
            place = raw.find(SIGNATURE, place + 1)
    return found
