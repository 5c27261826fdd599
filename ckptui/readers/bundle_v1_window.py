"""Bytes of a table's block, in the file or unpacked in memory, looked at through a small window."""

from __future__ import annotations

from ckptui.readers.source import Source
from ckptui.readers.wire import WireError

WINDOW = 4096
"""Bytes read ahead; most entries of a table of small values fit several times, large values are jumped over."""


class FileBody:
    """The bytes of an uncompressed block, as they lie in the file."""

    def __init__(self, source: Source, base: int, size: int) -> None:
        self.source = source
        self.base = base
        self.size = size

    def pread(self, offset: int, count: int) -> bytes:
        """Bytes `offset` to `offset + count` of the block; raises as `Source.pread`."""
        return self.source.pread(self.base + offset, count)


class MemoryBody:
    """The bytes of a block that was unpacked."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    def pread(self, offset: int, count: int) -> bytes:
        """Bytes `offset` to `offset + count`, less where the block ends before."""
        return self.data[offset : offset + count]


class Window:
    """Reads small things from a body up to `end`, a window at a time."""

    def __init__(self, body: FileBody | MemoryBody, end: int, size: int = WINDOW) -> None:
        self.end = end
        self._body = body
        self._size = size
        self._base = 0
        self._data = b""

    def take_some(self, position: int, count: int) -> bytes:
        """`count` bytes from `position`, less where the body ends before."""
        count = min(count, self.end - position)
        if count <= 0:
            return b""
        at = position - self._base
        if at < 0 or at + count > len(self._data):
            self._base = position
            self._data = self._body.pread(position, min(max(count, self._size), self.end - position))
            at = 0
        return self._data[at : at + count]

    def take(self, position: int, count: int) -> bytes:
        """Exactly `count` bytes. Raises WireError where the body ends before."""
        data = self.take_some(position, count)
        if len(data) < count:
            raise WireError(f"{count} bytes run off the end", position)
        return data

    def startswith(self, position: int, expected: bytes) -> bool:
        """Whether `expected` stands at `position`."""
        return self.take_some(position, len(expected)) == expected

    def uvarint(self, position: int) -> tuple[int, int]:
        """The base-128 number at `position` and the position after it. Raises WireError."""
        value = shift = 0
        for place, byte in enumerate(self.take_some(position, 10)):
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >> 64:
                    raise WireError("number of more than 64 bits", position)
                return value, position + place + 1
            shift += 7
        raise WireError("number runs off the end" if self.end - position < 10 else "number too long", position)
