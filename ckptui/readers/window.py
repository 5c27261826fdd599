"""A file object h5py may read through: part of a file, never longer than its bounds, never raising.

An exception inside a file object's `readinto` leaves HDF5 in a state that ends in SIGSEGV at exit, so every failure
is kept here and raised by `check` after the h5py call.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Protocol

STEP = 1 << 20
"""Bytes moved at a time between the file and HDF5's buffer."""
MAX_HEAP_BYTES = 256 << 20
"""Largest heap collection that is looked through."""


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


FILLER = b"\xff"
"""What stands where a file has no bytes: it is no structure of HDF5's."""
BLOCK = 1 << 13
"""Bytes fetched at a time for the small reads metadata is made of."""
MAX_BLOCKS = 128
"""Blocks kept; beyond that all are dropped."""
_HEAP = b"GCOL\x01\0\0\0"
"""Start of a global heap collection, where HDF5 keeps variable-length strings."""
_OBJECT = struct.Struct("<2H4xQ")
_NAMES = b"HEAP\0\0\0\0"
"""Start of a local heap, where a group keeps its links' names."""
_NAMES_HEADER = struct.Struct("<8sQQQ")
_NO_LINKS = b"SNOD\x01\0\0\0"
"""Start of a symbol node that holds none of a group's links."""
_END_OF_FREE_LIST = 1
_NO_FREE_LIST = struct.pack("<Q", _END_OF_FREE_LIST)
_MAX_FREE_BLOCKS = 10_000
_MAX_NAMES_BYTES = 16 << 20


class Window:
    """`available` bytes of `source` from `start`, shown as a file of `declared` bytes with filler at its end.

    Heap collections that would send HDF5 round in circles are made unrecognisable, so that it gives an error
    instead; `guard(False)` shows them as they are, to read values.
    """

    def __init__(
        self,
        source: Bytes,
        start: int = 0,
        available: int | None = None,
        declared: int | None = None,
        patches: Mapping[int, bytes] | None = None,
        base: int | None = 0,
    ) -> None:
        """`patches` replace bytes at window offsets, such as a superblock's flags; the file stays as it is.

        `base` is where HDF5 counts addresses from; None for files whose addresses are not 8 bytes wide, in which
        heaps are left alone.
        """
        self.start = start
        room = max(0, source.size - start)
        self.available = room if available is None else min(available, room)
        self.declared = self.available if declared is None else declared
        self.failure: BaseException | None = None
        """The first thing that went wrong inside a callback."""
        self._base = base
        self._guarded = base is not None
        self.broken_heaps: set[int] = set()
        """Window offsets of heap collections that are hidden."""
        self.free_lists: dict[int, bytes] = {}
        """Window offsets of heads of damaged lists of free space whose heap is all there, and what is stored there."""
        self.emptied = False
        """A symbol node without links was shown."""
        self._source = source
        self._patches = dict(patches or {})
        self._at = 0
        self._blocks: dict[int, bytes] = {}

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
            if self._guarded or len(view) < BLOCK:
                self._from_blocks(view)
            else:
                self._fetch(self._at, view)
            self._at += len(view)
            return len(view)
        except BaseException as error:
            # Even a signal handler's exception must not travel through HDF5's C frames.
            if self.failure is None:
                self.failure = error
            for begin in range(0, len(buffer), STEP):
                end = min(begin + STEP, len(buffer))
                buffer[begin:end] = FILLER * (end - begin)
            return len(buffer)

    def guard(self, on: bool) -> None:
        """Hide broken heaps from now on, or show every byte as it is."""
        on = on and self._base is not None
        if on != self._guarded:
            self._guarded = on
            self._blocks.clear()

    def patch(self, at: int, data: bytes) -> None:
        """Show `data` at a window offset from now on."""
        self._patches[at] = data
        self._blocks.clear()

    def unpatch(self, at: int) -> None:
        """Show the file's own bytes again where `patch` replaced them."""
        if self._patches.pop(at, None) is not None:
            self._blocks.clear()

    def shown(self, at: int, count: int) -> bytes:
        """What HDF5 is shown at a window offset, patches and filler included; does not move."""
        buffer = bytearray(max(0, count))
        self._fetch(at, memoryview(buffer))
        return bytes(buffer)

    def check(self) -> None:
        """Raise what a callback met since the last call."""
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure

    def _from_blocks(self, view: memoryview) -> None:
        done = 0
        while done < len(view):
            at = self._at + done
            number, inside = divmod(at, BLOCK)
            block = self._blocks.get(number)
            if block is None:
                block = self._load(number * BLOCK)
                if len(self._blocks) >= MAX_BLOCKS:
                    self._blocks.clear()
                self._blocks[number] = block
            piece = block[inside : inside + len(view) - done]
            if self.broken_heaps and self._guarded:
                piece = self._hide(at, piece)
            view[done : done + len(piece)] = piece
            done += len(piece)

    def _load(self, at: int) -> bytes:
        block = bytearray(BLOCK)
        self._fetch(at, memoryview(block))
        if self._guarded:
            # A signature may begin in one block and end in the next.
            reach = bytes(block) + self.raw(at + BLOCK, len(_HEAP) - 1)
            for found in _places(reach, _HEAP):
                if not self._is_sound(at + found):
                    self.broken_heaps.add(at + found)
            self.emptied = self.emptied or _NO_LINKS in reach
            if any([self._mend_names(at + found) for found in _places(reach, _NAMES)]):
                self._fetch(at, memoryview(block))
        return bytes(block)

    def _mend_names(self, at: int) -> bool:
        """Patch a group's list of names so that it opens without its free space, which reading does not need.

        HDF5 refuses the whole group when the free list is damaged or lies behind the end of a cut-off file.
        """
        header = self.raw(at, _NAMES_HEADER.size)
        if len(header) < _NAMES_HEADER.size or at + 16 in self._patches:
            return False
        _, size, free, address = _NAMES_HEADER.unpack(header)
        segment = address + (self._base or 0)
        if self._is_free_list(segment, size, free):
            return False
        self._patches[at + 16] = _NO_FREE_LIST
        lost = segment + size - max(segment, self.available)
        if lost <= 0:
            self.free_lists[at + 16] = header[16:24]
        if 0 < lost <= _MAX_NAMES_BYTES and segment + size <= self.declared:
            # Names must end: zeros instead of filler.
            self._patches[segment + size - lost] = bytes(lost)
            self._blocks.clear()
        return True

    def _is_free_list(self, segment: int, size: int, free: int) -> bool:
        """Whether the free blocks of a heap segment all lie in it and come to an end."""
        for _ in range(_MAX_FREE_BLOCKS):
            if free == _END_OF_FREE_LIST:
                return True
            entry = self.raw(segment + free, 16) if free + 16 <= size else b""
            if len(entry) < 16:
                return False
            free, length = struct.unpack("<2Q", entry)
            if not 16 <= length <= size:
                return False
        return False

    def _fetch(self, at: int, view: memoryview) -> None:
        """The file's bytes with patches applied; filler behind the end, and where reading fails."""
        done = 0
        wanted = min(len(view), max(0, self.available - at))
        try:
            if wanted:
                for piece in self._source.stream(self.start + at, wanted, STEP):
                    view[done : done + len(piece)] = piece
                    done += len(piece)
        finally:
            for begin in range(done, len(view), STEP):
                length = min(STEP, len(view) - begin)
                view[begin : begin + length] = FILLER * length
        for offset, data in self._patches.items():
            low, high = max(offset, at), min(offset + len(data), at + len(view))
            if low < high:
                view[low - at : high - at] = data[low - offset : high - offset]

    def _hide(self, at: int, piece: bytes) -> bytes:
        """The piece with the signatures of broken heap collections overwritten."""
        shown = bytearray(piece)
        for heap in self.broken_heaps:
            low, high = max(heap, at), min(heap + len(_HEAP), at + len(piece))
            if low < high:
                shown[low - at : high - at] = FILLER * (high - low)
        return bytes(shown)

    def raw(self, at: int, count: int) -> bytes:
        """What the file holds at a window offset, without filler and patches; fewer bytes at its end."""
        wanted = min(count, max(0, self.available - at))
        return self._source.pread(self.start + at, wanted) if wanted else b""

    def _is_sound(self, at: int) -> bool:
        """Whether every object of a heap collection leads on to the next one and the last to the end.

        HDF5 File Format Specification, III.E "Disk Format: Level 1E - Global Heap".
        """
        end = at + int.from_bytes(self.raw(at + 8, 8), "little")
        if end - at > MAX_HEAP_BYTES:
            return False
        body = self.raw(at, end - at)
        whole = len(body) == end - at
        place = 16
        while place + _OBJECT.size <= len(body):
            index, _, size = _OBJECT.unpack_from(body, place)
            step = _OBJECT.size + (size + 7) // 8 * 8 if index else size
            if step < _OBJECT.size or (whole and place + step > len(body)):
                return False
            place += step
        return True


def _places(block: bytes, signature: bytes) -> Iterator[int]:
    found = block.find(signature)
    while found >= 0:
        yield found
        found = block.find(signature, found + 1)
