"""What an HDF5 dataset is: TensorFlow's dtype name, shape, where its bytes lie, and why it can't be read.

Runs in the reader child only. Nothing here reads a value; sizes are judged as declared, in Python's integers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from ckptui.core.dtypes import ITEMSIZE
from ckptui.core.model import Segment, Storage
from ckptui.core.text import human_bytes, safe
from ckptui.readers.hdf5_walk import HDF5_ERRORS, reason, text_attribute, to_path

MAX_ELEMENT_BYTES = 16 << 20
"""Largest single element (a fixed-length string) that is read."""
MAX_CHUNK_BYTES = 256 << 20
"""Largest chunk that is decompressed in one go."""
BOMB_BYTES = 4 << 30
BOMB_RATIO = 1000
"""A dataset that declares more than BOMB_BYTES and BOMB_RATIO times what it stores is not read; nor by Keras."""
MAX_CHUNKS_CHECKED = 200_000

_BUILT_IN_FILTERS = frozenset({1, 2, 3, 5, 6, 32000})
"""deflate, shuffle, fletcher32, n-bit, scale-offset, and h5py's own lzf."""
_SZIP = 4
_FILTER_NAMES = {
    4: "szip",
    32001: "blosc",
    32004: "lz4",
    32008: "bitshuffle",
    32013: "zfp",
    32015: "zstd",
    32026: "blosc2",
}
_INTEGER_SIZES = (1, 2, 4, 8)
_FLOAT_FIELDS = {
    (15, 10, 5, 0, 10): "float16",
    (31, 23, 8, 0, 23): "float32",
    (63, 52, 11, 0, 52): "float64",
    (15, 7, 8, 0, 7): "bfloat16",
}
"""Sign position, exponent position and size, mantissa position and size."""


@dataclass(frozen=True, slots=True)
class Extent:
    """Which bytes of which file stand behind an open HDF5 file."""

    path: str
    """The file a segment names."""
    start: int | None
    """Position of HDF5's byte 0 in that file; None where it is not in a file (inflated)."""
    available: int
    """Bytes that exist, counted from HDF5's byte 0."""
    cut: bool = False
    """The file ends before its declared end, so that chunks must be looked at one by one."""
    legacy_keras: bool = False
    """Opaque 2-byte elements are bfloat16: what Keras' legacy .h5 makes of them, without saying so."""
    zeros: bool = False
    """From `available` on the file goes on, with zeros where data was."""


@dataclass(frozen=True, slots=True)
class Element:
    """The element type of a dataset."""

    dtype: str
    size: int
    """Stored bytes of one element, `dims` included."""
    plain: bool = False
    """The stored bytes are the values, once put in order."""
    big_endian: bool = False
    dims: tuple[int, ...] = ()
    """Extra trailing axes of an array type."""
    problem: str = ""
    flipped: bool = False
    """Stored with one bit of the type's description off; taken for what it must have been."""


@dataclass(frozen=True, slots=True)
class Described:
    """All a listing needs to know of a dataset."""

    dtype: str
    shape: tuple[int, ...]
    bytes: int
    storage: Storage
    problem: str = ""
    code: str = ""
    """Finding code of the problem; empty when it is only a fact about the type."""
    evidence: Mapping[str, Any] = field(default_factory=dict)


def describe(dataset: Any, extent: Extent) -> Described:
    """The facts of an open low-level dataset id; damage becomes a `problem`, never an exception."""
    try:
        return _describe(dataset, extent)
    except HDF5_ERRORS as error:
        return Described("unknown", (), 0, Storage("none"), reason(error), "hdf5-damaged")


def _describe(dataset: Any, extent: Extent) -> Described:
    import h5py

    h5d = h5py.h5d

    plist = dataset.get_create_plist()
    element = element_of(dataset, extent.legacy_keras)
    shape = (*_space_shape(dataset.get_space()), *element.dims)
    stored = int(dataset.get_storage_size())
    layout = plist.get_layout()

    def bad(problem: str, code: str, **evidence: Any) -> Described:
        return Described(element.dtype, shape, stored, Storage("none"), problem, code, evidence)

    outside = _outside(plist, layout)
    if outside:
        return bad(f"{outside[0]} {safe(outside[1])}, not followed", "external-reference", target=outside[1])
    if element.problem:
        return bad(element.problem, "")
    size = element.size // math.prod(element.dims) if element.dims else element.size
    declared = math.prod(shape) * size
    too_much = _too_much(plist, layout, element, declared, stored)
    if too_much:
        return bad(too_much, "entry-invalid", expected=declared, found=stored)
    missing = _missing_filter(plist)
    if missing:
        return bad(f"needs the HDF5 filter {missing}", "unsupported-format", filter=missing)
    if layout == h5d.CONTIGUOUS and stored:
        offset = int(dataset.get_offset())
        if offset + stored > extent.available:
            return bad(**_beyond(offset + stored, extent, min(stored, offset + stored - extent.available)))
        if stored < declared or (element.plain and stored != declared):
            return bad(f"stores {stored} of {declared} bytes", "entry-invalid", expected=declared, found=stored)
        if element.plain and extent.start is not None:
            segment = Segment(extent.path, extent.start + offset, declared)
            storage = Storage("plain", segment, big_endian=element.big_endian)
            if element.flipped:
                told = f"one bit in the description of its type is off; read as {element.dtype}"
                return Described(element.dtype, shape, stored, storage, "", "hdf5-damaged", {"told": told})
            return Described(element.dtype, shape, stored, storage)
    elif layout == h5d.CHUNKED and (extent.cut or extent.zeros):
        lost, end = _lost_chunks(dataset, extent.available)
        if lost:
            return bad(**_beyond(end, extent, lost))
    return Described(element.dtype, shape, stored, Storage("hdf5"))


def _beyond(end: int, extent: Extent, lost: int) -> dict[str, Any]:
    where = f"its last {human_bytes(lost)} lie in the zeros at the end of the file"
    return {
        "problem": where if extent.zeros else f"lies beyond the end of the file: {human_bytes(lost)} missing",
        "code": "hdf5-damaged",
        "expected": end,
        "found": extent.available,
        "bytes_missing": lost,
        "file": extent.path,
    }


def _space_shape(space: Any) -> tuple[int, ...]:
    import h5py

    h5s = h5py.h5s

    if space.get_simple_extent_type() == h5s.NULL:
        return (0,)
    return tuple(int(d) for d in space.get_simple_extent_dims())


def _outside(plist: Any, layout: int) -> tuple[str, str] | None:
    """What kind of other file holds the values, and its name; None where the file itself does."""
    import h5py

    h5d = h5py.h5d

    if layout == h5d.VIRTUAL:
        names = {to_path(_raw(plist.get_virtual_filename(i))) for i in range(min(plist.get_virtual_count(), 20))}
        return "virtual dataset over", ", ".join(sorted(names))
    if layout == h5d.CONTIGUOUS and plist.get_external_count():
        return "values stored in", to_path(_raw(plist.get_external(0)[0]))
    return None


def _raw(name: str | bytes) -> bytes:
    return name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")


def _too_much(plist: Any, layout: int, element: Element, declared: int, stored: int) -> str:
    import h5py

    h5d = h5py.h5d

    if element.size > MAX_ELEMENT_BYTES:
        return f"one element takes {human_bytes(element.size)}"
    if declared > BOMB_BYTES and declared > BOMB_RATIO * stored:
        return f"declares {human_bytes(declared)} and stores {human_bytes(stored)}"
    if layout == h5d.CHUNKED:
        chunk = math.prod(int(d) for d in plist.get_chunk()) * element.size
        if chunk > MAX_CHUNK_BYTES:
            return f"a single chunk takes {human_bytes(chunk)} of memory"
    return ""


def _missing_filter(plist: Any) -> str:
    """The name of the first filter this HDF5 can't undo; no plug-in is searched for or loaded."""
    import h5py

    h5z = h5py.h5z

    for index in range(plist.get_nfilters()):
        number, _, _, name = plist.get_filter(index)
        if number in _BUILT_IN_FILTERS or (number == _SZIP and h5z.filter_avail(_SZIP)):
            continue
        told = safe(to_path(_raw(name)), 80)
        return f"{_FILTER_NAMES.get(number, told or 'unknown')} (number {number})"
    return ""


def _lost_chunks(dataset: Any, available: int) -> tuple[int, int]:
    """Bytes of chunks that end beyond `available`, and the end of the last one."""
    lost, end = 0, 0
    for index in range(min(dataset.get_num_chunks(), MAX_CHUNKS_CHECKED)):
        info = dataset.get_chunk_info(index)
        over = info.byte_offset + info.size - available
        if over > 0:
            lost += min(over, info.size)
            end = max(end, info.byte_offset + info.size)
    return lost, end


def element_of(dataset: Any, legacy_keras: bool = False) -> Element:
    """The element type of an open dataset; raises one of HDF5_ERRORS for a broken one."""
    import h5py

    h5t = h5py.h5t

    kind = dataset.get_type()
    dims: tuple[int, ...] = ()
    whole = kind.get_size()
    while kind.get_class() == h5t.ARRAY:
        dims = (*dims, *(int(d) for d in kind.get_array_dims()))
        kind = kind.get_super()
    opaque = kind.get_class() == h5t.OPAQUE
    element = _opaque(dataset, kind, legacy_keras) if opaque else _element(kind)
    return replace(element, size=whole, plain=element.plain and not dims, dims=dims)


def _element(kind: Any) -> Element:
    import h5py

    h5t = h5py.h5t

    family = kind.get_class()
    size = int(kind.get_size())
    if family == h5t.INTEGER:
        return _integer(kind, size)
    if family == h5t.FLOAT:
        return _float(kind, size)
    if family == h5t.STRING:
        return Element("string", size)
    if family == h5t.ENUM:
        return _enum(kind, size)
    if family == h5t.BITFIELD and size in _INTEGER_SIZES:
        return Element(f"uint{8 * size}", size)
    if family == h5t.COMPOUND:
        return _compound(kind, size)
    names = {
        h5t.REFERENCE: ("reference", "references to other objects hold no numbers"),
        h5t.VLEN: ("variable-length", "lists of varying length have no shape"),
        h5t.TIME: ("time", "HDF5's time type can't be read"),
    }
    dtype, problem = names.get(family, ("unknown", f"a type of class {family}"))
    return Element(dtype, size, problem=problem)


def _integer(kind: Any, size: int) -> Element:
    import h5py

    h5t = h5py.h5t

    signed = kind.get_sign() == h5t.SGN_2
    if size not in _INTEGER_SIZES:
        return Element("integer", size, problem=f"integers of {size} bytes")
    full = kind.get_precision() == 8 * size and kind.get_offset() == 0
    order = kind.get_order()
    plain = full and order in (h5t.ORDER_LE, h5t.ORDER_BE)
    name = f"{'int' if signed else 'uint'}{8 * size}"
    return Element(name, size, plain, big_endian=order == h5t.ORDER_BE and size > 1)


def _float(kind: Any, size: int) -> Element:
    import h5py

    h5t = h5py.h5t

    order = kind.get_order()
    facts = (*(int(one) for one in kind.get_fields()), int(kind.get_ebias()))
    if order not in (h5t.ORDER_LE, h5t.ORDER_BE):
        return Element(str(kind.dtype), size)
    for fields, name in _FLOAT_FIELDS.items():
        if ITEMSIZE[name] != size:
            continue
        usual = (*fields, (1 << (fields[2] - 1)) - 1)
        off = sum((a ^ b).bit_count() for a, b in zip(facts, usual, strict=True))
        if off <= 1:
            # One bit off is no type anybody has: HDF5 would scale or cut every value by it.
            return Element(name, size, plain=True, big_endian=order == h5t.ORDER_BE, flipped=bool(off))
        if facts[:-1] == fields:
            return Element(name, size, big_endian=order == h5t.ORDER_BE)
    return Element(str(kind.dtype), size)


def _enum(kind: Any, size: int) -> Element:
    base = _element(kind.get_super())
    if size == 1 and base.dtype == "int8" and _members(kind) == {b"FALSE": 0, b"TRUE": 1}:
        return Element("bool", 1, plain=True)
    return base


def _members(kind: Any) -> dict[bytes, int]:
    count = kind.get_nmembers()
    if count != 2:
        return {}
    return {kind.get_member_name(i): kind.get_member_value(i) for i in range(count)}


def _compound(kind: Any, size: int) -> Element:
    if kind.get_nmembers() == 2:
        parts = [_element(kind.get_member_type(i)) for i in range(2)]
        names = [kind.get_member_name(i) for i in range(2)]
        half = parts[0].size
        if names == [b"r", b"i"] and parts[0] == parts[1] and parts[0].dtype in ("float32", "float64"):
            packed = size == 2 * half and [kind.get_member_offset(i) for i in range(2)] == [0, half]
            name = "complex64" if half == 4 else "complex128"
            return Element(name, size, packed and parts[0].plain, parts[0].big_endian)
    dtype = kind.dtype
    if dtype.hasobject:
        return Element("compound", size, problem="records with strings, lists or references inside")
    return Element("compound", size)


def _opaque(dataset: Any, kind: Any, legacy_keras: bool) -> Element:
    size = int(kind.get_size())
    named = text_attribute(dataset, "dtype")
    if named in _opaque_names(size):
        return Element(named, size, plain=True)
    if size == 2 and legacy_keras:
        return Element("bfloat16", 2, plain=True)
    return Element("opaque", size)


@lru_cache
def _opaque_names(size: int) -> frozenset[str]:
    """Dtypes numpy lacks, which h5py therefore writes as bytes without meaning."""
    return frozenset(
        name
        for name, bytes_each in ITEMSIZE.items()
        if bytes_each == size and name.startswith(("bfloat", "float8", "float4"))
    )
