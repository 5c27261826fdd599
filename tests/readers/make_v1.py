"""Writing V1 checkpoints for tests; an encoder made apart from the reader's decoder."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ckptui.core.dtypes import NUMBERS
from tests.readers import make_bundle as mb

FLOATS = {"float32": (5, "<f4"), "float64": (6, "<f8"), "complex64": (9, "<c8"), "complex128": (12, "<c16")}
VARINTS = {"int64": 10, "bool": 11, "float16": 13, "bfloat16": 13, "uint32": 16, "uint64": 17}
Extents = Sequence[tuple[int, int]]


def full(rank: int) -> list[tuple[int, int]]:
    """The slice that is the whole."""
    return [(0, -1)] * rank


def tensor_proto(value: Any, dtype: str) -> bytes:
    """A TensorProto with the typed field of `dtype` alone, packed."""
    if dtype == "string":
        return b"".join(mb.field_bytes(8, item) for item in np.asarray(value, object).reshape(-1))
    array = np.asarray(value)
    if dtype in FLOATS:
        number, form = FLOATS[dtype]
        raw = array.astype(form).tobytes()
    else:
        number = VARINTS.get(dtype, 7)
        plain = array.view(np.uint16) if dtype in ("float16", "bfloat16") else array
        raw = b"".join(mb.varint(int(item)) for item in plain.reshape(-1).tolist())
    return mb.field_bytes(number, raw) if raw else b""


def slice_meta(name: str | bytes, dtype: int, shape: Sequence[int], slices: Sequence[Extents]) -> bytes:
    """A SavedSliceMeta."""
    raw = name.encode() if isinstance(name, str) else name
    out = mb.field_bytes(1, raw) + mb.field_bytes(2, mb.shape_proto(shape)) + mb.field_bytes(3, dtype)
    return out + b"".join(mb.field_bytes(4, mb.slice_proto(extents)) for extents in slices)


def meta_record(metas: Sequence[bytes], producer: int = 1, min_consumer: int = 0) -> bytes:
    """The record under the empty key."""
    version = mb.field_bytes(1, producer) + (mb.field_bytes(2, min_consumer) if min_consumer else b"")
    return mb.field_bytes(1, b"".join(mb.field_bytes(1, meta) for meta in metas) + mb.field_bytes(2, version))


def data_record(name: str | bytes, extents: Extents, proto: bytes) -> bytes:
    """The record of one slice."""
    raw = name.encode() if isinstance(name, str) else name
    slice_ = mb.slice_proto(extents)
    saved = mb.field_bytes(1, raw) + mb.field_bytes(2, slice_) + mb.field_bytes(3, proto)
    return mb.field_bytes(2, saved)


def key(name: str | bytes, extents: Extents) -> bytes:
    """The key of one slice's record."""
    raw = name.encode() if isinstance(name, str) else name
    out = b"\0" + mb.ordered_string(raw) + mb.ordered_number(len(extents))
    return out + b"".join(mb.ordered_signed(start) + mb.ordered_signed(length) for start, length in extents)


def dtype_of(value: Any) -> str:
    """TensorFlow's name of what numpy holds."""
    array = np.asarray(value)
    return "string" if array.dtype == object or array.dtype.kind == "S" else str(array.dtype)


class Parts:
    """A partitioned tensor: the whole array, where it is cut, and which cuts to leave out of the file."""

    def __init__(self, array: Any, cuts: Sequence[Extents], left_out: Sequence[int] = ()) -> None:
        self.array = np.asarray(array)
        self.cuts = cuts
        self.left_out = left_out


def records(tensors: Mapping[Any, Any], dtypes: Mapping[Any, str] | None = None) -> list[tuple[bytes, bytes]]:
    """All records of a file, sorted; names are str or bytes."""
    metas: list[bytes] = []
    out: list[tuple[bytes, bytes]] = []
    for name, value in tensors.items():
        array = value.array if isinstance(value, Parts) else np.asarray(value)
        dtype = (dtypes or {}).get(name) or dtype_of(array)
        cuts = value.cuts if isinstance(value, Parts) else [full(array.ndim)]
        kept = [c for n, c in enumerate(cuts) if not (isinstance(value, Parts) and n in value.left_out)]
        metas.append(slice_meta(name, NUMBERS[dtype], array.shape, kept))
        for cut in kept:
            where = tuple(slice(None) if n < 0 else slice(s, s + n) for s, n in cut)
            piece = np.ascontiguousarray(array[where]) if array.ndim else array
            out.append((key(name, cut), data_record(name, cut, tensor_proto(piece, dtype))))
    return [(b"", meta_record(metas)), *sorted(out)]


def v1_file(tensors: Mapping[Any, Any], dtypes: Mapping[Any, str] | None = None, **options: Any) -> bytes:
    """A whole V1 checkpoint file; `options` are those of `make_bundle.table`."""
    return mb.table(records(tensors, dtypes), **options)


def unpacked_floats(values: Sequence[float]) -> bytes:
    """float_val, one field a value."""
    return b"".join(mb.varint(5 << 3 | 5) + struct.pack("<f", value) for value in values)
