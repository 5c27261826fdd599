"""Arrays in one file: `.npz` and `.safetensors`, streamed so that memory stays flat.

numpy's and safetensors' own writers hold every array at once; these write the same bytes member by member.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Protocol

from ckptui.core.model import Tensor
from ckptui.errors import CkptuiError, UsageError

Chunk = bytes | bytearray | memoryview

SAFETENSORS_DTYPES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
    "float8_e5m2": "F8_E5M2",
    "float8_e4m3fn": "F8_E4M3",
    "complex64": "C64",
}
"""TensorFlow's dtype names and what the safetensors header calls them; the format has no strings."""

SAFETENSORS_HEADER_LIMIT = 100_000_000
"""Readers of safetensors refuse a longer header."""

ZIP_NAME_LIMIT = 65_000
"""A zip member's name must fit a 16-bit length."""


class Values(Protocol):
    """Where the values come from."""

    def elements(self, tensor: Tensor) -> Iterator[Chunk]:
        """The element bytes of a tensor of a fixed-size dtype: C order, little-endian."""
        ...

    def strings(self, tensor: Tensor) -> tuple[Chunk, Chunk]:
        """All bytes of a string tensor, and the int64 offset of each string and of the end."""
        ...


@dataclass(slots=True)
class Written:
    """What an export came to."""

    tensors: int = 0
    bytes: int = 0
    left_out: list[tuple[str, str]] = field(default_factory=list)
    """(tensor, reason)"""


def refusal(tensor: Tensor, suffix: str) -> str:
    """Why a file of this suffix can't hold the tensor; empty if it can."""
    from ckptui.core.dtypes import ITEMSIZE

    try:
        length = len(tensor.name.encode())
    except UnicodeEncodeError:
        return "its name is no Unicode text"
    if suffix == ".safetensors":
        if tensor.name == "__metadata__":
            return "safetensors keeps this name for itself"
        return "" if tensor.dtype in SAFETENSORS_DTYPES else f"safetensors has no {tensor.dtype}"
    if suffix == ".npz" and ("\0" in tensor.name or length > ZIP_NAME_LIMIT):
        return "its name can't be a zip member"
    if tensor.dtype == "string":
        return "a .npy holds no strings, a .npz does" if suffix == ".npy" else ""
    return "" if tensor.dtype in ITEMSIZE else f"a {tensor.dtype} has no array form"


def numpy_descr(tensor: Tensor) -> str:
    """The dtype a `.npy` header gets: numpy's own, or unsigned integers of the same width."""
    import numpy as np

    from ckptui.core.dtypes import np_dtype

    dtype = np.dtype(np_dtype(tensor.dtype))
    # 1: numpy's own; 2: registered from outside, as ml_dtypes does, some of them under numpy's kinds
    return dtype.str if dtype.isbuiltin == 1 else f"<u{dtype.itemsize}"


def npy_header(descr: str, shape: tuple[int, ...]) -> bytes:
    """The header of a C-ordered array in NumPy's own format, version 1.0 (numpy.lib.format)."""
    from numpy.lib import format as npy

    buffer = io.BytesIO()
    npy.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def check_length(tensor: Tensor, sent: int, expected: int) -> None:
    """Raise CkptuiError unless as many bytes came as the header says."""
    if sent != expected:
        raise CkptuiError(f"{tensor.name}: {sent} bytes came, {expected} were announced", title="Export stopped")


def stream(values: Values, tensor: Tensor, out: IO[bytes], expected: int) -> None:
    """Write the elements of a tensor, which must be `expected` bytes."""
    sent = 0
    for block in values.elements(tensor):
        out.write(block)
        sent += len(block)
    check_length(tensor, sent, expected)


def expected_bytes(tensor: Tensor, descr: str) -> int:
    """Bytes that the elements take under a `.npy` header's dtype."""
    import numpy as np

    return tensor.count * np.dtype(descr).itemsize


def _members(values: Values, tensor: Tensor) -> Iterator[tuple[str, str, tuple[int, ...], bytes | None]]:
    """(member name, descr, shape, bytes or None to stream) for one tensor of an `.npz`."""
    if tensor.dtype == "string":
        text, offsets = map(bytes, values.strings(tensor))
        yield tensor.name, "|u1", (len(text),), text
        yield f"{tensor.name}//offsets", "<i8", (len(offsets) // 8,), offsets
    else:
        yield tensor.name, numpy_descr(tensor), tensor.shape, None


def write_npz(values: Values, tensors: Sequence[Tensor], out: IO[bytes], written: Written) -> None:
    """A zip of one `.npy` a tensor; strings as their bytes (uint8) and `NAME//offsets` (int64)."""
    used: set[str] = set()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for tensor in tensors:
            members = list(_members(values, tensor))
            if not used.isdisjoint(member[0] for member in members):
                written.left_out.append((tensor.name, "another member has its name"))
                continue
            for name, descr, shape, raw in members:
                used.add(name)
                expected = len(raw) if raw is not None else expected_bytes(tensor, descr)
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=expected > 1 << 30) as member:
                    member.write(npy_header(descr, shape))
                    if raw is not None:
                        member.write(raw)
                    else:
                        stream(values, tensor, member, expected)
            written.tensors += 1


def write_safetensors(values: Values, tensors: Sequence[Tensor], out: IO[bytes], written: Written, source: str) -> None:
    """A safetensors file; `source` is kept in its metadata."""
    from ckptui.core.dtypes import ITEMSIZE

    header: dict[str, object] = {"__metadata__": {"source": source}}
    chosen: list[tuple[Tensor, int]] = []
    offset = 0
    for tensor in tensors:
        code = SAFETENSORS_DTYPES[tensor.dtype]
        if tensor.name in header:
            written.left_out.append((tensor.name, "another tensor has its name"))
            continue
        size = tensor.count * ITEMSIZE[tensor.dtype]
        header[tensor.name] = {"dtype": code, "shape": list(tensor.shape), "data_offsets": [offset, offset + size]}
        chosen.append((tensor, size))
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > SAFETENSORS_HEADER_LIMIT:
        raise UsageError("the names are longer than safetensors allows", "Narrow --match, or write a .npz")
    out.write(struct.pack("<Q", len(text)) + text)
    for tensor, size in chosen:
        stream(values, tensor, out, size)
        written.tensors += 1
