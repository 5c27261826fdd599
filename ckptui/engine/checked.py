"""Stored bytes with their checksums verified on the way past; runs in a reader child.

Plain tensors: CRC-32C over the bytes. Strings and variants: the running forms of TensorFlow's tensor_bundle.cc, in
flat memory however long the length table is.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from crc32c import crc32c

from ckptui.core.model import Segment, Slice, Storage, Tensor
from ckptui.errors import Damaged
from ckptui.readers.source import Source

if TYPE_CHECKING:
    import numpy as np

CHUNK = 1 << 19
"""Bytes read, checksummed and counted at a time: they stay in the second-level cache."""
_TABLE_PIECE = 4096
Beat = Callable[[int], None]
"""Called with the bytes just done."""


@runtime_checkable
class BlockReader(Protocol):
    """A reader of a format whose checksums stand over blocks that several tensors share."""

    def checksums(self, tensor: Tensor, beat: Beat) -> Iterator[tuple[int, int, Segment, str]]:
        """(stored, computed, the bytes it is over, its name) for each block of a tensor."""
        ...


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A stored checksum that its bytes do not give."""

    expected: int | None
    """Unmasked; None where what is stored can't be told from what lies around it."""
    found: int | None
    """None where a damaged length leaves nothing to take a checksum of."""
    segment: Segment
    part: str = ""
    """`lengths`, `element 3`, `tile 2`; empty for the whole tensor."""
    reason: str = ""
    """Why no checksum could be taken."""


@dataclass(slots=True)
class Verdict:
    """What the checksums of one tensor said."""

    verified: int = 0
    """Checksums compared."""
    mismatches: list[Mismatch] = field(default_factory=list)
    bytes: int = 0

    def compare(self, expected: int | None, found: int, segment: Segment, part: str = "") -> None:
        """Note one comparison; None where nothing is stored to compare with."""
        if expected is None:
            return
        self.verified += 1
        if expected != found:
            self.mismatches.append(Mismatch(expected, found, segment, part))

    def unreadable(self, segment: Segment, part: str, reason: str) -> None:
        """Note a length among the bytes that can't be right: they are not those that were stored."""
        self.verified += 1
        self.mismatches.append(Mismatch(None, None, segment, part, reason))


class Files:
    """The files one request reads, each opened once and fenced on demand."""

    def __init__(self, drop: frozenset[str] = frozenset()) -> None:
        """`drop`: files that were not in the page cache before, whose pages are let go at the end."""
        self._open: dict[str, Source] = {}
        self._drop = drop

    def get(self, path: str) -> Source:
        """The open file. Raises NoSuchPath, Unreadable."""
        source = self._open.get(path)
        if source is None:
            source = self._open[path] = Source(path)
        return source

    def fence(self, storage: Storage) -> None:
        """Raise ChangedWhileReading unless the files that `storage` names are as they were when opened."""
        segments = [tile.segment for tile in storage.slices]
        for path in {s.file for s in (*segments, storage.segment) if s is not None}:
            self.get(path).fence()

    def close(self) -> None:
        """Close all files."""
        for path, source in self._open.items():
            if path in self._drop:
                source.drop_cache()
            source.close()
        self._open = {}


def plain(
    files: Files,
    segment: Segment,
    expected: int | None,
    verdict: Verdict,
    beat: Beat,
    part: str = "",
    chunk: int = CHUNK,
) -> Iterator[memoryview]:
    """The bytes of a segment in pieces of `chunk`, on one buffer; the checksum is compared at the end.

    Raises Damaged (`shard-truncated`), Unreadable, ChangedWhileReading, NoSuchPath.
    """
    crc = 0
    for view in files.get(segment.file).stream(segment.offset, segment.bytes, chunk):
        if expected is not None:
            crc = crc32c(view, crc)
        yield view
        verdict.bytes += len(view)
        beat(len(view))
    verdict.compare(expected, crc, segment, part)


class _Misfit(Damaged):
    """A length among the bytes that can't be right, whatever the entry says."""


class _Cursor:
    """Consumes a segment front to back: small items as values, long runs only through the checksum."""

    def __init__(self, files: Files, segment: Segment, verdict: Verdict, beat: Beat) -> None:
        self._views = plain(files, segment, None, verdict, beat)
        self._view = memoryview(b"")
        self._segment = segment
        self.left = segment.bytes

    def _fill(self) -> None:
        if not len(self._view):
            self._view = next(self._views, memoryview(b""))
            if not len(self._view):
                raise _Misfit(f"{self._segment.bytes} bytes are too few for what their lengths say")

    def _skip(self, count: int) -> None:
        self._view = self._view[count:]
        self.left -= count
        if not len(self._view) and not self.left:
            # runs the generator to its end, so that the last piece is counted
            self._view = next(self._views, memoryview(b""))

    def byte(self) -> int:
        self._fill()
        value = self._view[0]
        self._skip(1)
        return value

    def varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self.byte()
            value |= (byte & 127) << shift
            if byte < 128:
                if value >> 64:
                    break
                return value
        raise _Misfit("a length that is no 64-bit number")

    def short_run(self, most: int) -> np.ndarray:
        """The next one-byte varints, at most `most`; empty where a longer one or nothing comes next."""
        import numpy as np

        if self.left:
            self._fill()
        head = np.frombuffer(self._view[: min(most, _TABLE_PIECE)], np.uint8)
        longer = np.flatnonzero(head & 128)
        run = head[: longer[0]] if longer.size else head
        copy: np.ndarray = run.copy()
        if copy.size:
            self._skip(copy.size)
        return copy

    def checksum(self, order: str = "<") -> tuple[int, bytes]:
        """A stored, masked checksum: unmasked, and its four bytes; `order` is the writer's."""
        raw = bytes(self.byte() for _ in range(4))
        rotated = (struct.unpack(order + "I", raw)[0] - 0xA282EAD8) & 0xFFFFFFFF
        return (rotated >> 17 | rotated << 15) & 0xFFFFFFFF, raw

    def feed(self, count: int, crc: int) -> int:
        """`crc` carried on over the next `count` bytes."""
        while count:
            self._fill()
            piece = self._view[:count]
            crc = crc32c(piece, crc)
            count -= len(piece)
            self._skip(len(piece))
        return crc


def check_strings(files: Files, storage: Storage, count: int, verdict: Verdict, beat: Beat) -> None:
    """Verify a string tensor of `count` elements: its length table, then its content.

    A big-endian writer's numbers, lengths and their checksum, were checksummed and stored in its own order.

    Raises Damaged (`entry-invalid`) where lengths that pass their own checksum do not fill the segment.
    """
    segment = _segment_of(storage)
    order = ">" if storage.big_endian else "<"
    if count > segment.bytes - 4:
        raise Damaged(f"{count} strings can't lie in {segment.bytes} bytes")
    cursor = _Cursor(files, segment, verdict, beat)
    try:
        crc, total = _lengths(cursor, count, order)
        stored, raw = cursor.checksum(order)
    except _Misfit as error:
        verdict.unreadable(segment, "lengths", error.detail)
        cursor.feed(cursor.left, 0)
        return
    verdict.compare(stored, crc, segment, "lengths")
    if verdict.mismatches:
        cursor.feed(cursor.left, 0)
        return
    if total != cursor.left:
        raise Damaged(f"the strings have {total} bytes, {cursor.left} are there")
    crc = cursor.feed(total, crc32c(raw, crc))
    verdict.compare(storage.crc32c, crc, segment)


def _lengths(cursor: _Cursor, count: int, order: str) -> tuple[int, int]:
    """Checksum and sum of the next `count` lengths, checksummed as numbers of byte order `order`."""
    crc, total, left = 0, 0, count
    while left:
        run = cursor.short_run(left)
        if run.size:
            crc = crc32c(run.astype(order + "u4").tobytes(), crc)
            total += int(run.sum(dtype="u8"))
            left -= run.size
            continue
        length = cursor.varint()
        crc = crc32c(struct.pack(order + ("I" if length <= 0xFFFFFFFF else "Q"), length), crc)
        total += length
        left -= 1
    return crc, total


def check_variants(files: Files, storage: Storage, count: int, verdict: Verdict, beat: Beat) -> None:
    """Verify a variant tensor of `count` elements; raises Damaged (`entry-invalid`) where it can't hold so many.

    The first writers of variants counted eight bytes for each length, however few they wrote: their entries are that
    much too long.
    """
    segment = _segment_of(storage)
    if count * 5 > segment.bytes:
        raise Damaged(f"{count} variants can't lie in {segment.bytes} bytes")
    cursor = _Cursor(files, segment, verdict, beat)
    order = ">" if storage.big_endian else "<"
    crc = overcounted = 0
    for number in range(count):
        try:
            before = cursor.left
            length = cursor.varint()
            overcounted += 8 - (before - cursor.left)
            if length > cursor.left - 4:
                raise _Misfit(f"element {number} says {length} bytes, {cursor.left} are left")
        except _Misfit as error:
            verdict.unreadable(segment, f"element {number}", error.detail)
            cursor.feed(cursor.left, 0)
            return
        crc = cursor.feed(length, crc32c(struct.pack(order + "Q", length), crc))
        stored, raw = cursor.checksum(order)
        verdict.compare(stored, crc, segment, f"element {number}")
        if verdict.mismatches:
            cursor.feed(cursor.left, 0)
            return
        crc = crc32c(raw, crc)
    if cursor.left == overcounted:
        cursor.feed(cursor.left, 0)
    if cursor.left:
        raise Damaged(f"{cursor.left} bytes are left after the last element")
    verdict.compare(storage.crc32c, crc, segment)


def check_bytes(files: Files, storage: Storage, count: int, verdict: Verdict, beat: Beat) -> None:
    """Verify every checksum of a stored tensor without looking at its values; `count` is of its elements.

    Raises as `plain`, `check_strings` and `check_variants`.
    """
    if storage.encoding == "strings":
        check_strings(files, storage, count, verdict, beat)
    elif storage.encoding == "variant":
        check_variants(files, storage, count, verdict, beat)
    elif storage.encoding == "slices":
        for number, tile in enumerate(storage.slices):
            for _ in plain(files, tile.segment, tile.crc32c, verdict, beat, f"tile {number}"):
                pass
    elif storage.segment is not None:
        for _ in plain(files, storage.segment, storage.crc32c, verdict, beat):
            pass


def check_blocks(reader: object, tensor: Tensor, verdict: Verdict, beat: Beat) -> None:
    """Compare the checksums of the blocks a tensor lies in, where its reader knows such. Raises what reading raises."""
    if isinstance(reader, BlockReader):
        for stored, computed, segment, part in reader.checksums(tensor, beat):
            verdict.compare(stored, computed, segment, part)


def place_in(tile: Slice, shape: tuple[int, ...]) -> Callable[[int], int]:
    """Turns a flat index of a tile into the flat index of the whole tensor of `shape`; C order both."""

    def place(index: int) -> int:
        whole, rest = 0, index
        stride = 1
        for start, extent, size in zip(reversed(tile.start), reversed(tile.shape), reversed(shape), strict=True):
            whole += (start + rest % max(extent, 1)) * stride
            rest //= max(extent, 1)
            stride *= size
        return whole

    return place


def _segment_of(storage: Storage) -> Segment:
    if storage.segment is None:
        raise Damaged("the entry names no bytes")
    return storage.segment
