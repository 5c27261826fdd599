"""Values of a V1 checkpoint: numbers and strings out of the typed fields of serialized TensorProtos, piece by piece.

Which field a dtype uses: TensorFlow's `saved_tensor_slice_util.h` and `tensor.proto`. Sizes are held against the
record before anything is allocated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from ckptui.core.dtypes import ITEMSIZE, np_dtype
from ckptui.core.model import Segment, Slice, Storage, Tensor
from ckptui.errors import Damaged
from ckptui.readers.bundle_v1_meta import Piece, value_pieces
from ckptui.readers.bundle_v1_records import Record
from ckptui.readers.bundle_v1_table import LazyTable
from ckptui.readers.bundle_v1_window import FileBody, MemoryBody
from ckptui.readers.values import element_chunks
from ckptui.readers.wire import LENGTH, WireError

if TYPE_CHECKING:
    import numpy as np

FIELDS: dict[str, int] = {
    "float32": 5,
    "float64": 6,
    "int32": 7,
    "int16": 7,
    "int8": 7,
    "uint8": 7,
    "uint16": 7,
    "qint8": 7,
    "quint8": 7,
    "qint16": 7,
    "quint16": 7,
    "qint32": 7,
    "string": 8,
    "complex64": 9,
    "int64": 10,
    "bool": 11,
    "complex128": 12,
    "float16": 13,
    "bfloat16": 13,
    "uint32": 16,
    "uint64": 17,
}
"""Field of TensorProto that holds the values of a dtype."""
RAW = frozenset({"float32", "float64", "complex64", "complex128"})
"""Dtypes whose packed form is their elements as they are; all others are base-128 numbers."""
ASSEMBLED = 1 << 28
"""Bytes of the largest partitioned tensor of base-128 numbers that is put together; it is held as a whole."""
MAX_LOOSE = 5_000_000
"""Strings, or numbers that each have a field of their own, of one part; each costs an object."""
_LONGEST = 10
"""Bytes of the longest base-128 number."""


@dataclass(frozen=True, slots=True)
class Part:
    """One slice of a tensor: where it goes, and the record that holds it."""

    start: tuple[int, ...]
    shape: tuple[int, ...]
    table: LazyTable
    record: Record


def least_bytes(dtype: str, count: int) -> int:
    """The fewest bytes a record of `count` values of a dtype can have."""
    if dtype in RAW:
        return count * ITEMSIZE[dtype]
    return 2 * count if dtype == "string" else count


def part_chunks(part: Part, dtype: str, chunk: int) -> Iterator[np.ndarray[Any, Any]]:
    """The values of one part as 1-D arrays in native byte order, about `chunk` bytes each.

    Raises Damaged where they are not as many as the shape needs, or no values at all.
    """
    count = prod(part.shape)
    body, pieces = _pieces(part, dtype, count)
    told = 0
    if dtype == "string":
        yield _strings(body, pieces, count)
        return
    for array in _raw(body, pieces, dtype, chunk) if dtype in RAW else _numbers(body, pieces, dtype, chunk):
        told += array.size
        if told > count:
            break
        yield array
    if told != count:
        raise Damaged(f"{told} values are stored, the shape needs {count}", evidence={"expected": count, "found": told})


def tensor_chunks(tensor: Tensor, parts: list[Part], chunk: int) -> Iterator[np.ndarray[Any, Any]]:
    """The values of a tensor in C order; parts are put together. Raises Damaged."""
    if len(parts) == 1 and parts[0].shape == tensor.shape:
        yield from part_chunks(parts[0], tensor.dtype, chunk)
        return
    tiles = _plain_tiles(tensor, parts)
    if tiles is not None:
        whole = Tensor(tensor.name, tensor.dtype, tensor.shape, tensor.bytes, storage=Storage("slices", slices=tiles))
        yield from element_chunks(whole, chunk)
        return
    yield _assembled(tensor, parts).reshape(-1)


def _pieces(part: Part, dtype: str, count: int) -> tuple[FileBody | MemoryBody, list[Piece]]:
    if dtype not in FIELDS:
        raise Damaged(f"values of dtype {dtype} can't stand in a V1 checkpoint")
    record = part.record
    if record.size < least_bytes(dtype, count):
        raise Damaged(f"{count} values of {dtype} can't lie in {record.size} bytes")
    body = part.table.body(record.block)
    try:
        return body, value_pieces(body, record.offset, record.size, FIELDS[dtype], min(count, MAX_LOOSE))
    except WireError as error:
        raise Damaged(f"the record can't be read: {error.detail}") from None


def _raw(body: FileBody | MemoryBody, pieces: list[Piece], dtype: str, chunk: int) -> Iterator[np.ndarray[Any, Any]]:
    import numpy as np

    element = np_dtype(dtype)
    step = max(1, chunk // element.itemsize) * element.itemsize
    loose: list[bytes] = []
    for piece in pieces:
        if piece.kind != LENGTH:
            loose.append(body.pread(piece.offset, piece.size))
            continue
        if piece.size % element.itemsize:
            raise Damaged(f"{piece.size} bytes hold no whole number of {dtype} values")
        for start in range(0, piece.size, step):
            raw = body.pread(piece.offset + start, min(step, piece.size - start))
            yield np.frombuffer(raw, element.newbyteorder("<")).astype(element, copy=False)
    joined = b"".join(loose)
    if len(joined) % element.itemsize:
        raise Damaged(f"{len(joined)} bytes hold no whole number of {dtype} values")
    if joined:
        yield np.frombuffer(joined, element.newbyteorder("<")).astype(element, copy=False)


def _numbers(
    body: FileBody | MemoryBody, pieces: list[Piece], dtype: str, chunk: int
) -> Iterator[np.ndarray[Any, Any]]:
    import numpy as np

    step = max(1, chunk // ITEMSIZE[dtype])
    loose: list[int] = []
    for piece in pieces:
        if piece.kind != LENGTH:
            loose.append(piece.number)
            continue
        rest = b""
        for start in range(0, piece.size, step):
            raw = rest + body.pread(piece.offset + start, min(step, piece.size - start))
            values, used = _varints(raw)
            rest = raw[used:]
            if len(rest) > _LONGEST:
                raise Damaged("a number longer than 10 bytes")
            yield _cast(values, dtype)
        if rest:
            raise Damaged("the last number does not end")
    if loose:
        yield _cast(np.array(loose, np.uint64), dtype)


def _varints(raw: bytes) -> tuple[np.ndarray[Any, Any], int]:
    """The base-128 numbers in `raw` and how many bytes they take; an unfinished last one is left."""
    import numpy as np

    data = np.frombuffer(raw, np.uint8)
    ends = np.flatnonzero(data < 0x80)
    if not ends.size:
        return np.empty(0, np.uint64), 0
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    longest = int(lengths.max())
    if longest > _LONGEST:
        raise Damaged("a number longer than 10 bytes")
    values = (data[starts] & 0x7F).astype(np.uint64)
    for place in range(1, longest):
        more = np.flatnonzero(lengths > place)
        values[more] |= (data[starts[more] + place] & 0x7F).astype(np.uint64) << np.uint64(7 * place)
    return values, int(ends[-1]) + 1


def _cast(values: np.ndarray[Any, Any], dtype: str) -> np.ndarray[Any, Any]:
    """64-bit patterns as values of a dtype: halves by their bits, negatives by their sign."""
    import numpy as np

    element = np_dtype(dtype)
    if dtype in ("float16", "bfloat16"):
        bits: np.ndarray[Any, Any] = values.astype(np.uint16)
        return bits.view(element)
    if dtype.startswith(("uint", "quint", "bool")):
        return values.astype(element)
    return values.view(np.int64).astype(element)


def _strings(body: FileBody | MemoryBody, pieces: list[Piece], count: int) -> np.ndarray[Any, Any]:
    import numpy as np

    if len(pieces) != count:
        raise Damaged(
            f"{len(pieces)} strings are stored, the shape needs {count}",
            evidence={"expected": count, "found": len(pieces)},
        )
    flat = np.empty(count, object)
    flat[:] = [body.pread(piece.offset, piece.size) for piece in pieces]
    return flat


def _plain_tiles(tensor: Tensor, parts: list[Part]) -> tuple[Slice, ...] | None:
    """The parts as tiles whose elements lie plainly in their file; None where one does not."""
    if tensor.dtype not in RAW:
        return None
    tiles = []
    for part in parts:
        body, pieces = _pieces(part, tensor.dtype, prod(part.shape))
        if not isinstance(body, FileBody) or len(pieces) != 1 or pieces[0].kind != LENGTH:
            return None
        segment = Segment(part.table.source.path, body.base + pieces[0].offset, pieces[0].size)
        tiles.append(Slice(part.start, part.shape, segment, None))
    return tuple(tiles)


def _assembled(tensor: Tensor, parts: list[Part]) -> np.ndarray[Any, Any]:
    """A partitioned tensor put together in memory."""
    import numpy as np

    strings = tensor.dtype == "string"
    covered = sum(prod(part.shape) for part in parts)
    if covered != tensor.count:
        raise Damaged(f"its parts cover {covered} of {tensor.count} elements")
    size = tensor.count * (8 if strings else ITEMSIZE.get(tensor.dtype, 8))
    if size > ASSEMBLED:
        raise Damaged(f"{size} bytes in parts, at most {ASSEMBLED} are put together", code="unsupported-format")
    out = np.empty(tensor.shape, object if strings else np_dtype(tensor.dtype))
    for part in parts:
        pieces = list(part_chunks(part, tensor.dtype, 1 << 20))
        where = tuple(slice(s, s + n) for s, n in zip(part.start, part.shape, strict=True))
        if pieces:
            out[where] = np.concatenate(pieces).reshape(part.shape)
    return out
