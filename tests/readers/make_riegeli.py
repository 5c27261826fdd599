"""Writing Riegeli files and chunked messages for tests; only the hash is the reader's, and real files prove it."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import cramjam

from ckptui.readers.riegeli_hash import riegeli_hash
from tests.readers.make_bundle import field_bytes, varint

BLOCK = 1 << 16


def chunk_data(records: Sequence[bytes], compression: str = "") -> bytes:
    """The data of a simple chunk; compression is ``, `b` or `z`."""
    sizes, values = b"".join(varint(len(record)) for record in records), b"".join(records)

    def packed(data: bytes) -> bytes:
        if not compression:
            return data
        codec = cramjam.brotli if compression == "b" else cramjam.zstd
        return varint(len(data)) + bytes(codec.compress(data))

    packed_sizes = packed(sizes)
    return (compression or "\0").encode() + varint(len(packed_sizes)) + packed_sizes + packed(values)


def header(data: bytes, kind: str, records: int, decoded: int) -> bytes:
    """A chunk header."""
    rest = struct.pack("<4Q", len(data), riegeli_hash(data), ord(kind) | records << 8, decoded)
    return struct.pack("<Q", riegeli_hash(rest)) + rest


class Writer:
    """Lays chunks into blocks."""

    def __init__(self) -> None:
        self.out = bytearray()
        self.chunk(b"", "s", 0, 0)

    def chunk(self, data: bytes, kind: str = "r", records: int = 0, decoded: int = 0) -> None:
        start = len(self.out)
        content = header(data, kind, records, decoded) + data
        end = self._end(start, len(content))
        for byte_start in range(0, len(content)):
            if len(self.out) % BLOCK == 0:
                place = len(self.out)
                pair = struct.pack("<2Q", place - start, end - place)
                self.out += struct.pack("<Q", riegeli_hash(pair)) + pair
            self.out.append(content[byte_start])
        while len(self.out) < start + records:
            self.out.append(0)

    @staticmethod
    def _end(start: int, count: int) -> int:
        position = start
        for _ in range(count):
            if position % BLOCK == 0:
                position += 24
            position += 1
        return position


def riegeli(chunks: Sequence[Sequence[bytes]], compression: str = "") -> bytes:
    """A file of simple chunks, each a list of records."""
    writer = Writer()
    for records in chunks:
        writer.chunk(chunk_data(records, compression), "r", len(records), sum(map(len, records)))
    return bytes(writer.out)


# -- chunked messages


def step(number: int | None = None, *, index: int | None = None, key: bytes | None = None) -> bytes:
    """A FieldIndex; `key` is a serialized MapKey."""
    if number is not None:
        return field_bytes(1, field_bytes(1, number))
    if index is not None:
        return field_bytes(1, varint(3 << 3) + varint(index))
    assert key is not None
    return field_bytes(1, field_bytes(2, key))


def plan(chunk: int | None, *parts: tuple[bytes, bytes]) -> bytes:
    """A ChunkedMessage; parts are (steps, ChunkedMessage)."""
    out = b"" if chunk is None else varint(1 << 3) + varint(chunk)
    return out + b"".join(field_bytes(2, steps + field_bytes(3, message)) for steps, message in parts)


def chunked(chunks: Sequence[bytes], message: bytes, compression: str = "", sizes: Sequence[int] = ()) -> bytes:
    """A chunked file: the chunks as records, and the last one that says how they go together."""
    infos = b"".join(
        field_bytes(2, field_bytes(1, 1) + field_bytes(2, size)) for size in (sizes or [len(c) for c in chunks])
    )
    return riegeli([[*chunks, infos + field_bytes(3, message)]], compression)
