"""A file object h5py may read through: part of a file, never longer than its bounds, never raising.

An exception inside a file object's `readinto` leaves HDF5 in a state that ends in SIGSEGV at exit, so every failure
is kept here and raised by `check` after the h5py call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

STEP = 1 << 20
"""Bytes moved at a time between the file and HDF5's buffer."""


class Bytes(Protocol):
    """What a window reads from: `Source`, or `Memory` for inflated archive members."""

    path: str
    size: int

    def pread(self, offset: int, count: int) -> bytes: ...

    def stream(self, offset: int, count: int, chunk: int = ...) -> Iterator[memoryview]: ...

    def fence(self) -> None: ...


class Memory:
    """Bytes already in memory, readable like a file."""

    def __init__(self, path: str, data: bytes) -> None:
        self.path = path
        self.size = len(data)
        self._data = data

    def pread(self, offset: int, count: int) -> bytes:
        """`count` bytes from `offset`; fewer beyond the end."""
        return self._data[offset : offset + count]

    def stream(self, offset: int, count: int, chunk: int = STEP) -> Iterator[memoryview]:
        """`count` bytes from `offset` as views of at most `chunk` bytes."""
        view = memoryview(self._data)[offset : offset + count]
        for at in range(0, len(view), chunk):
            yield view[at : at + chunk]

    def fence(self) -> None:
        """Memory does not change."""


FILLER = 0xFF
"""What stands where a file has no bytes. Zeros make HDF5 1.14 search a heap for ever; 0xFF is never a structure."""


class Window:
    """`available` bytes of `source` from `start`, shown as a file of `declared` bytes with filler at its end."""

    def __init__(
        self,
        source: Bytes,
        start: int = 0,
        available: int | None = None,
        declared: int | None = None,
        patches: Mapping[int, bytes] | None = None,
    ) -> None:
        """`patches` replace bytes at window offsets, such as a superblock's flags; the file stays as it is."""
        self.start = start
        room = max(0, source.size - start)
        self.available = room if available is None else min(available, room)
        self.declared = self.available if declared is None else declared
        self.failure: BaseException | None = None
        """The first thing that went wrong inside a callback."""
        self._source = source
        self._patches = dict(patches or {})
        self._at = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move as files do; nothing is checked before a read."""
        base = (0, self._at, self.declared)[whence] if whence in (0, 1, 2) else 0
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        """The current position."""
        return self._at

    def read(self, count: int = -1) -> bytes:
        """At most `count` bytes from here; h5py asks only whether a `read` exists."""
        rest = max(0, self.declared - self._at)
        buffer = bytearray(rest if count < 0 else min(count, rest))
        self.readinto(buffer)
        return bytes(buffer)

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill `buffer` completely: with the file's bytes, with filler where there are none or reading fails."""
        try:
            view = memoryview(buffer)
            self._fill(view)
            self._patch(view)
            self._at += len(view)
            return len(view)
        except BaseException as error:
            # Even a signal handler's exception must not travel through HDF5's C frames.
            if self.failure is None:
                self.failure = error
            return len(buffer)

    def check(self) -> None:
        """Raise what a callback met since the last call."""
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure

    def _fill(self, view: memoryview) -> None:
        done = 0
        wanted = min(len(view), max(0, self.available - self._at))
        try:
            if wanted:
                for piece in self._source.stream(self.start + self._at, wanted, STEP):
                    view[done : done + len(piece)] = piece
                    done += len(piece)
        finally:
            for at in range(done, len(view), STEP):
                length = min(STEP, len(view) - at)
                view[at : at + length] = bytes([FILLER]) * length

    def _patch(self, view: memoryview) -> None:
        for offset, data in self._patches.items():
            low = max(offset, self._at)
            high = min(offset + len(data), self._at + len(view))
            if low < high:
                view[low - self._at : high - self._at] = data[low - offset : high - offset]
