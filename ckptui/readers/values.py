"""Tensor values from the places their `Storage` names: elements, strings, variants, and tiles put together.

Layouts: TensorFlow's `tensor_bundle.cc`. Sizes are held against the entry before anything is allocated.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING, Any

from crc32c import crc32c

from ckptui.core.dtypes import np_dtype
from ckptui.core.model import Segment, Slice, Tensor
from ckptui.errors import Damaged, NoSuchPath
from ckptui.readers.source import Source
from ckptui.readers.sstable_block import unmask
from ckptui.readers.wire import WireError, uvarint

if TYPE_CHECKING:
    import numpy as np

MAX_ITEMS = 20_000_000
"""Strings or variants of one tensor that are held at a time."""
BAND = 1 << 24
"""Bytes of a partitioned tensor put together at a time."""


def raw_chunks(tensor: Tensor, chunk: int = 1 << 20) -> Iterator[memoryview]:
    """The stored bytes in order, in views of at most `chunk` bytes on one buffer that the next step overwrites.

    For a partitioned tensor: the bytes of the whole, in C order, as if it had been stored in one piece.

    Raises:
        Damaged: the file is missing (`shard-missing`), too short (`shard-truncated`), or tiles leave holes.
        ChangedWhileReading: the file is not what it was when it was opened.
    """
    if tensor.storage.encoding == "slices":
        for rows in _bands(tensor, chunk):
            flat = rows.reshape(-1).view("u1").data
            for start in range(0, len(flat), chunk):
                yield flat[start : start + chunk]
        return
    segment = tensor.storage.segment
    if segment is not None:
        with _open(segment) as source:
            yield from source.stream(segment.offset, segment.bytes, chunk)
            source.fence()


def element_chunks(tensor: Tensor, chunk: int = 1 << 20) -> Iterator[np.ndarray[Any, Any]]:
    """The elements as 1-D arrays in native byte order, about `chunk` bytes each; each step reuses the buffer.

    Strings and variants come as one object array of bytes. Raises as `raw_chunks`, and Damaged where the bytes are
    not as many as shape and dtype need.
    """
    import numpy as np

    if tensor.storage.encoding in ("strings", "variant"):
        yield array_of(tensor).reshape(-1)
        return
    dtype = _element(tensor)
    if tensor.storage.encoding == "slices":
        for rows in _bands(tensor, chunk):
            yield _native(rows.reshape(-1), tensor)
        return
    _check_size(tensor, dtype.itemsize)
    whole = max(1, chunk // dtype.itemsize) * dtype.itemsize
    for view in raw_chunks(tensor, whole):
        yield _native(np.frombuffer(view, dtype), tensor)


def array_of(tensor: Tensor) -> np.ndarray[Any, Any]:
    """All values, in the tensor's shape and native byte order; strings and variants as an object array of bytes.

    Raises as `element_chunks`.
    """
    import numpy as np

    encoding = tensor.storage.encoding
    if encoding in ("strings", "variant"):
        raw = stored_bytes(tensor)
        items = decode_strings(raw, tensor.count)[0] if encoding == "strings" else decode_variants(raw, tensor.count)
        flat = np.empty(tensor.count, object)
        flat[:] = items
        return _shaped(flat, tensor.shape)
    dtype = _element(tensor)
    if encoding == "slices":
        bands = list(_bands(tensor, BAND))
        joined = np.concatenate(bands) if bands else np.empty(0, dtype)
        return _shaped(_native(joined, tensor), tensor.shape)
    _check_size(tensor, dtype.itemsize)
    segment = tensor.storage.segment
    if segment is None or not segment.bytes:
        return _shaped(np.empty(0, dtype), tensor.shape)
    with _open(segment) as source:
        source.check_bounds(segment.offset, segment.bytes)
        out = np.empty(tensor.count, dtype)
        source.read_into(segment.offset, out.view("u1").data)
        source.fence()
    return _shaped(_native(out, tensor), tensor.shape)


def stored_bytes(tensor: Tensor) -> bytes:
    """The bytes of a tensor that lies in one piece. Raises as `raw_chunks`."""
    segment = tensor.storage.segment
    if segment is None:
        return b""
    with _open(segment) as source:
        data = source.pread(segment.offset, segment.bytes)
        source.fence()
    return data


def decode_strings(raw: bytes, count: int, big_endian: bool = False) -> tuple[list[bytes], int, bool]:
    """The strings of a tensor, the running checksum of what was read, and whether the length table holds.

    Layout: `count` varint lengths, their masked CRC-32C, the strings. The checksum runs over each length as a
    4-byte (from 2**32 on 8-byte) number, then the stored checksum, then the strings. Numbers and stored checksum are
    in the writer's byte order. The first writers knew 4-byte lengths alone, which gives the same bytes.

    Raises:
        Damaged: the lengths do not fit into `raw`.
    """
    if not raw and count == 0:
        return [], 0, True
    lengths, body, crc, lengths_hold = decode_lengths(raw, count, big_endian)
    if body + sum(lengths) > len(raw):
        raise Damaged(f"strings of {sum(lengths)} bytes in {len(raw) - body}")
    items = []
    end = body
    for length in lengths:
        items.append(raw[end : end + length])
        end += length
    return items, crc32c(raw[body - 4 : end], crc), lengths_hold


def decode_lengths(raw: bytes, count: int, big_endian: bool = False) -> tuple[list[int], int, int, bool]:
    """The lengths of a string tensor, where its strings begin, the lengths' checksum, and whether it holds.

    Raises:
        Damaged: the table does not fit into `raw`.
    """
    if not 0 <= count <= min(len(raw), MAX_ITEMS):
        raise Damaged(f"{count} strings in {len(raw)} bytes")
    position, lengths = 0, []
    try:
        for _ in range(count):
            length, position = uvarint(raw, position)
            lengths.append(length)
    except WireError as error:
        raise Damaged(f"the length table of {count} strings breaks off: {error.detail}") from None
    body = position + 4
    if body > len(raw):
        raise Damaged(f"the length table of {count} strings breaks off")
    order = ">" if big_endian else "<"
    narrow, wide = struct.Struct(order + "I"), struct.Struct(order + "Q")
    crc = crc32c(b"".join((narrow if length <= 0xFFFFFFFF else wide).pack(length) for length in lengths))
    stored = int.from_bytes(raw[position:body], "big" if big_endian else "little")
    return lengths, body, crc, unmask(stored) == crc


def decode_variants(raw: bytes, count: int) -> list[bytes]:
    """The serialized elements of a variant tensor. Raises Damaged where the lengths do not fit into `raw`."""
    if not 0 <= count <= min(len(raw), MAX_ITEMS):
        raise Damaged(f"{count} variants in {len(raw)} bytes")
    position, items = 0, []
    for number in range(count):
        try:
            length, position = uvarint(raw, position)
        except WireError as error:
            raise Damaged(f"variant {number}: {error.detail}") from None
        if position + length + 4 > len(raw):
            raise Damaged(f"variant {number} of {length} bytes runs off the end")
        items.append(raw[position : position + length])
        position += length + 4
    return items


def _open(segment: Segment) -> Source:
    try:
        return Source(segment.file)
    except NoSuchPath as error:
        detail = error.detail if error.detail != segment.file else f"{segment.file} is not there"
        raise Damaged(detail, code="shard-missing", evidence={"file": segment.file}) from None


def _element(tensor: Tensor) -> np.dtype[Any]:
    """One element's dtype, in native byte order whatever the file's."""
    try:
        return np_dtype(tensor.dtype)
    except KeyError:
        raise Damaged(f"{tensor.name}: values of dtype {tensor.dtype} can't be read") from None


def _native(stored: np.ndarray[Any, Any], tensor: Tensor) -> np.ndarray[Any, Any]:
    """Stored elements in native byte order; the halves of complex numbers are swapped each for itself."""
    return stored if tensor.storage.big_endian == (sys.byteorder == "big") else stored.byteswap()


def _check_size(tensor: Tensor, itemsize: int) -> None:
    if min(tensor.shape, default=0) < 0:
        raise Damaged(f"{tensor.name}: negative dimension {min(tensor.shape)}")
    segment = tensor.storage.segment
    stored, needed = segment.bytes if segment else 0, tensor.count * itemsize
    if stored != needed:
        raise Damaged(
            f"{tensor.name}: {stored} bytes stored, shape and dtype need {needed}",
            evidence={"expected": needed, "found": stored},
        )


def _shaped(flat: np.ndarray[Any, Any], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    try:
        return flat.reshape(shape)
    except ValueError as error:
        raise Damaged(f"no array has the shape {shape[:8]}: {error}") from None


def _bands(tensor: Tensor, chunk: int) -> Iterator[np.ndarray[Any, Any]]:
    """A partitioned tensor from its first row to its last, about `chunk` bytes of rows at a time, as stored.

    The rows of a tile lie one after another, so a band needs one read per tile that it crosses.
    """
    import numpy as np

    dtype = _element(tensor)
    shape = tensor.shape or (1,)
    tiles = [tile if tensor.shape else _row(tile) for tile in tensor.storage.slices]
    row = prod(shape[1:])
    if sum(prod(tile.shape) for tile in tiles) < shape[0] * row:
        raise Damaged(f"{tensor.name}: its tiles do not cover it")
    step = max(1, chunk // (max(1, row) * dtype.itemsize))
    waiting = sorted(tiles, key=lambda tile: tile.start, reverse=True)
    active: list[Slice] = []
    sources: dict[str, Source] = {}
    try:
        for tile in tiles:
            _check_tile(tile, shape, dtype.itemsize, sources)
        if not row:
            return
        for first in range(0, shape[0], step):
            last = min(first + step, shape[0])
            while waiting and waiting[-1].start[0] < last:
                active.append(waiting.pop())
            band = np.zeros((last - first, *shape[1:]), dtype)
            seen = np.zeros(band.shape, bool)
            copied = sum(_copy_rows(tile, band, seen, first, sources) for tile in active)
            if copied != band.size or not seen.all():
                raise Damaged(f"{tensor.name}: its tiles do not cover rows {first} to {last} exactly")
            active = [tile for tile in active if tile.start[0] + tile.shape[0] > last]
            yield band
        for source in sources.values():
            source.fence()
    finally:
        for source in sources.values():
            source.close()


def _row(tile: Slice) -> Slice:
    """A scalar's only tile, as the only row of a vector."""
    return Slice((0,), (1,), tile.segment, tile.crc32c)


def _check_tile(tile: Slice, shape: tuple[int, ...], itemsize: int, sources: dict[str, Source]) -> None:
    """The tile lies inside the whole, and its bytes inside their file, which is open from here on."""
    inside = len(tile.start) == len(tile.shape) == len(shape) and all(
        start >= 0 and extent >= 0 and start + extent <= size
        for start, extent, size in zip(tile.start, tile.shape, shape, strict=True)
    )
    if not inside or tile.segment.bytes != prod(tile.shape) * itemsize:
        raise Damaged(f"a tile of shape {tile.shape} at {tile.start} does not fit")
    segment = tile.segment
    if segment.file not in sources:
        sources[segment.file] = _open(segment)
    sources[segment.file].check_bounds(segment.offset, segment.bytes)


def _copy_rows(
    tile: Slice,
    band: np.ndarray[Any, Any],
    seen: np.ndarray[Any, Any],
    first: int,
    sources: dict[str, Source],
) -> int:
    """Copy what a tile has of `band`, the rows of the whole from `first` on, and mark it; elements copied."""
    import numpy as np

    low = max(first, tile.start[0])
    high = min(first + len(band), tile.start[0] + tile.shape[0])
    width = prod(tile.shape[1:])
    if low >= high or not width:
        return 0
    size = width * band.itemsize
    data = sources[tile.segment.file].pread(tile.segment.offset + (low - tile.start[0]) * size, (high - low) * size)
    where = (
        slice(low - first, high - first),
        *(slice(s, s + n) for s, n in zip(tile.start[1:], tile.shape[1:], strict=True)),
    )
    seen[where] = True
    band[where] = np.frombuffer(data, band.dtype).reshape(high - low, *tile.shape[1:])
    return (high - low) * width
