"""Protocol buffers without a schema: walk a message's fields on bounded bytes, and say where the walk fails.

Unknown fields, fields out of order, packed and unpacked scalars are all the caller's to accept: nothing here
judges field numbers. Works on bytes and, without copying, on memoryviews.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TypeAlias

from ckptui.errors import Damaged

Buffer: TypeAlias = bytes | memoryview
Value: TypeAlias = int | bytes | memoryview
Field: TypeAlias = tuple[int, int, Value]
"""(field number, wire type, value): an int for wire types 0, 1 and 5, a slice of the buffer for 2."""

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


class WireError(Damaged):
    """A message that can't be walked further; `offset` is where, `reason` why."""

    def __init__(self, reason: str, offset: int) -> None:
        super().__init__(f"{reason} at byte {offset}", evidence={"offset": offset})
        self.reason = reason
        self.offset = offset


def uvarint(buffer: Buffer, position: int, end: int | None = None) -> tuple[int, int]:
    """Read an unsigned base-128 number of at most 64 bits; returns it and the position after it."""
    stop = len(buffer) if end is None else end
    start = position
    value = shift = 0
    while position < stop:
        byte = buffer[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                raise WireError("number of more than 64 bits", start)
            return value, position
        shift += 7
        if shift > 63:
            raise WireError("number longer than 10 bytes", start)
    raise WireError("number runs off the end", start)


def encode_uvarint(value: int) -> bytes:
    """The canonical base-128 form of `value`, 0 <= value < 2**64."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def signed(value: int) -> int:
    """A varint read as int64 (and int32 or enum, which are stored sign-extended)."""
    return value - (1 << 64) if value >> 63 else value


def fields(buffer: Buffer) -> Iterator[Field]:
    """Walk every field of a message; raises WireError at the first byte that is none."""
    position, end = 0, len(buffer)
    while position < end:
        start = position
        tag = buffer[position]
        if tag < 0x80:
            position += 1
        else:
            tag, position = uvarint(buffer, position, end)
        number, kind = tag >> 3, tag & 7
        if number == 0 or number >> 29:
            raise WireError(f"field number {number}", start)
        value: Value
        if kind == VARINT:
            value, position = uvarint(buffer, position, end)
        elif kind == LENGTH:
            length, position = uvarint(buffer, position, end)
            if length > end - position:
                raise WireError(f"field {number} of {length} bytes runs off the end", start)
            value = buffer[position : position + length]
            position += length
        elif kind in (FIXED32, FIXED64):
            width = 4 if kind == FIXED32 else 8
            if width > end - position:
                raise WireError(f"field {number} runs off the end", start)
            value = int.from_bytes(buffer[position : position + width], "little")
            position += width
        else:
            raise WireError(f"wire type {kind}", start)
        yield number, kind, value


def varints(value: Value) -> list[int]:
    """One occurrence of a repeated varint field: packed (LEN) or a single number; raises WireError."""
    if isinstance(value, int):
        return [value]
    position, out = 0, []
    while position < len(value):
        number, position = uvarint(value, position)
        out.append(number)
    return out


def text(value: Value) -> str:
    r"""A string field's text; what is no UTF-8 becomes `\xff` escapes, an int its digits."""
    return str(value) if isinstance(value, int) else bytes(value).decode("utf-8", "backslashreplace")


def float32(bits: int) -> float:
    """The float of a FIXED32 value."""
    return float(struct.unpack("<f", struct.pack("<I", bits))[0])


def float64(bits: int) -> float:
    """The double of a FIXED64 value."""
    return float(struct.unpack("<d", struct.pack("<Q", bits))[0])
