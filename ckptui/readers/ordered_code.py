"""OrderedCode, the key encoding whose byte order is value order: how the tiles of partitioned tensors are named.

Layout: Google's `ordered_code.cc` as used by TensorFlow's `EncodeTensorNameSlice`.
"""

from __future__ import annotations

from ckptui.errors import Damaged

MAX_RANK = 254
"""TensorFlow's own limit."""
_ESCAPED = {0: b"\x00\xff", 0xFF: b"\xff\x00"}


class KeyFault(Damaged):
    """Bytes that are no OrderedCode."""


def unsigned(key: bytes, position: int) -> tuple[int, int]:
    """A non-negative integer: one byte of length, then big-endian bytes."""
    if position >= len(key):
        raise KeyFault("the key ends inside a number")
    length = key[position]
    stop = position + 1 + length
    if length > 8 or stop > len(key):
        raise KeyFault("a number does not fit its key")
    return int.from_bytes(key[position + 1 : stop], "big"), stop


def string(key: bytes, position: int) -> tuple[bytes, int]:
    """A byte string ended by `00 01`, with `00 ff` for 00 and `ff 00` for ff."""
    out = bytearray()
    end = len(key)
    while position + 1 < end:
        byte = key[position]
        if 0 < byte < 0xFF:
            out.append(byte)
            position += 1
            continue
        escape = key[position + 1]
        position += 2
        if byte == 0 and escape == 1:
            return bytes(out), position
        if (byte, escape) not in ((0, 0xFF), (0xFF, 0)):
            break
        out.append(byte)
    raise KeyFault("a string has no end in its key")


def signed(key: bytes, position: int) -> tuple[int, int]:
    """A signed integer: the sign bit, as many equal bits as there are further bytes, the payload."""
    head = key[position : position + 10]
    if not head:
        raise KeyFault("the key ends inside a number")
    negative = head[0] < 0x80
    if negative:
        head = bytes(byte ^ 0xFF for byte in head)
    bits = int.from_bytes(head.ljust(10, b"\0"), "big")
    length = 80 - (~bits & ((1 << 80) - 1)).bit_length()
    if not 1 <= length <= 10 or length > len(head):
        raise KeyFault("a number does not fit its key")
    value = (bits >> (80 - 8 * length)) & ((1 << (7 * length - 1)) - 1)
    if value >> 63:
        raise KeyFault("a number of more than 64 bits")
    return (~value if negative else value), position + length


def slice_key(key: bytes) -> tuple[bytes, tuple[tuple[int, int], ...]]:
    """The tensor name and the (start, length) of each dimension; length -1 is the whole dimension.

    Raises KeyFault for what is no such key.
    """
    marker, position = unsigned(key, 0)
    if marker != 0:
        raise KeyFault("no tile's key")
    name, position = string(key, position)
    rank, position = unsigned(key, position)
    if rank > MAX_RANK:
        raise KeyFault(f"rank {rank}")
    extents = []
    for _ in range(rank):
        start, position = signed(key, position)
        length, position = signed(key, position)
        extents.append((start, length))
    if position != len(key):
        raise KeyFault("bytes after a tile's key")
    return name, tuple(extents)


def encode_slice_key(name: bytes, extents: tuple[tuple[int, int], ...]) -> bytes:
    """The key of a tile: the inverse of `slice_key`."""
    escaped = b"".join(_ESCAPED.get(byte, bytes([byte])) for byte in name)
    rank = len(extents)
    head = b"\0" + escaped + b"\0\1" + (bytes([1, rank]) if rank else b"\0")
    return head + b"".join(_encode_signed(number) for extent in extents for number in extent)


def _encode_signed(value: int) -> bytes:
    plain = ~value if value < 0 else value
    length = max(1, -(-(plain.bit_length() + 1) // 7))
    bits = ((1 << length) - 1) << (7 * length) | plain
    raw = bits.to_bytes(length, "big")
    return bytes(byte ^ 0xFF for byte in raw) if value < 0 else raw
