"""A TensorFlow checkpoint, written tensor by tensor: one data shard, then the index that describes it.

Messages and layout: `tensor_bundle.proto` and `tensor_shape.proto` of TensorFlow. Values are little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import IO

from ckptui.core.dtypes import NUMBERS
from ckptui.readers.sstable_block import mask
from ckptui.readers.wire import encode_uvarint
from ckptui.salvage.table_writer import table

Chunk = bytes | bytearray | memoryview

HEADER = b"\x08\x01\x1a\x02\x08\x01"
"""BundleHeaderProto: one shard, little-endian, producer version 1."""


def entry(dtype: str, shape: Sequence[int], offset: int, size: int, crc: int) -> bytes:
    """A BundleEntryProto in shard 0; `crc` unmasked. Raises KeyError for a dtype TensorFlow has no number for."""
    dims = b"".join(_message(2, b"\x08" + encode_uvarint(size) if size else b"") for size in shape)
    out = b"\x08" + encode_uvarint(NUMBERS[dtype]) + _message(2, dims)
    if offset:
        out += b"\x20" + encode_uvarint(offset)
    if size:
        out += b"\x28" + encode_uvarint(size)
    return out + b"\x35" + struct.pack("<I", mask(crc))


def _message(number: int, body: bytes) -> bytes:
    return bytes([number << 3 | 2]) + encode_uvarint(len(body)) + body


class BundleWriter:
    """Takes tensors one after another; keeps their entries, not their values."""

    def __init__(self, data: IO[bytes]) -> None:
        """`data`: the data shard, open for writing and empty."""
        self._data = data
        self._offset = 0
        self._entries: dict[bytes, bytes] = {}

    @property
    def size(self) -> int:
        """Bytes of the shard so far."""
        return self._offset

    def write(self, chunk: Chunk) -> None:
        """Append bytes of the tensor under way. Raises OSError."""
        self._data.write(chunk)

    def commit(self, name: str, dtype: str, shape: Sequence[int], size: int, crc: int) -> None:
        """The `size` bytes written since the last commit are this tensor; `crc` as an entry has it, unmasked.

        Raises:
            ValueError: a tensor of that name was written before, or the name is no text that can be stored.
        """
        key = key_of(name)
        if not key or key in self._entries:
            raise ValueError(f"the name {name!r} is taken")
        self._entries[key] = entry(dtype, shape, self._offset, size, crc)
        self._offset += size

    def discard(self) -> None:
        """Take back what was written since the last commit. Raises OSError."""
        self._data.flush()
        self._data.seek(self._offset)
        self._data.truncate()

    def index(self) -> Iterator[bytes]:
        """The index file of everything committed, piece by piece."""
        return table(self._sorted())

    def _sorted(self) -> Iterable[tuple[bytes, bytes]]:
        yield b"", HEADER
        yield from sorted(self._entries.items())


def key_of(name: str) -> bytes:
    """The index key of a tensor's name."""
    return name.encode("utf-8", "backslashreplace")
