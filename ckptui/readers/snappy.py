"""Raw snappy, for bytes the fast decoder refuses: unpack what comes before the damage, and tell where it ends.

Format: google/snappy `format_description.txt`. A preamble with the unpacked size, then literals and copies.
"""

from __future__ import annotations

from dataclasses import dataclass

DAMAGED_SNAPPY = "compressed bytes that make no sense from some point on"


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What came out, and where in the packed bytes it ended."""

    data: bytes
    end: int
    """Position after the last packed byte used."""
    whole: bool
    """All the declared bytes came out."""


def unpack_prefix(packed: bytes, position: int, declared: int) -> Unpacked:
    """Unpack from `position` (after the preamble) until `declared` bytes are out or an element is impossible."""
    out = bytearray()
    end = len(packed)
    while position < end and len(out) < declared:
        tag = packed[position]
        kind = tag & 3
        extra = _extra_bytes(tag)
        body = position + 1 + extra
        if body > end:
            break
        number = int.from_bytes(packed[position + 1 : body], "little")
        if kind == 0:
            length = (number if extra else tag >> 2) + 1
            if body + length > end or len(out) + length > declared:
                break
            out += packed[body : body + length]
            position = body + length
            continue
        if kind == 1:
            length, back = (tag >> 2 & 7) + 4, (tag >> 5 << 8) | number
        else:
            length, back = (tag >> 2) + 1, number
        if not 0 < back <= len(out) or len(out) + length > declared:
            break
        if back >= length:
            out += out[-back : len(out) - back + length]
        else:
            pattern = bytes(out[-back:])
            out += (pattern * (length // back + 1))[:length]
        position = body
    return Unpacked(bytes(out), position, len(out) == declared)


def _extra_bytes(tag: int) -> int:
    """Bytes between an element's tag and what follows it."""
    kind = tag & 3
    if kind == 0:
        return max(0, (tag >> 2) - 59)
    return (1, 2, 4)[kind - 1]
