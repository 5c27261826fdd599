"""Writing tensors out: `.npz`, `.safetensors` or one `.npy`, streamed so that memory stays flat.

numpy's and safetensors' own writers hold every array at once; these write the same bytes member by member. The file
appears under its name only when it is complete.
"""

from __future__ import annotations

import io
import json
import os
import struct
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ckptui.core.model import Listing, Tensor
from ckptui.engine.requests import raw, strings
from ckptui.errors import CkptuiError, UsageError

if TYPE_CHECKING:
    from ckptui.session import Session

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

STRING_LIMIT = 1 << 30
"""Bytes of the largest string tensor that is taken out whole."""

SUFFIXES = (".npz", ".safetensors", ".npy")
"""What can be written, by the name of the target."""

SAFETENSORS_HEADER_LIMIT = 100_000_000
"""Readers of safetensors refuse a longer header."""

ZIP_NAME_LIMIT = 65_000
"""A zip member's name must fit a 16-bit length."""


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


def check_target(listing: Listing, count: int, target: str, *, force: bool = False) -> None:
    """Look at where `count` tensors are to be written, before anything is read.

    Raises:
        UsageError: unknown suffix, several tensors for `.npy`, the target exists or lies inside the save.
    """
    place = Path(target).absolute()
    source = Path(listing.artifact.path).resolve()
    if place.suffix not in SUFFIXES:
        raise UsageError(f"{target} ends in none of {', '.join(SUFFIXES)}", "The suffix chooses the format")
    if place.suffix == ".npy" and count != 1:
        raise UsageError(f"a .npy holds one tensor, {count} were chosen", "Narrow --match, or write a .npz")
    if not place.parent.is_dir():
        raise UsageError(f"the folder {place.parent} does not exist", "Create it, or choose another")
    if source.is_dir() and source in (place.parent.resolve(), *place.parent.resolve().parents):
        raise UsageError(f"{target} lies inside the save", "ckptui never writes into what it looks at")
    if place.resolve() == source or str(place.resolve()).startswith(f"{source}.data-"):
        raise UsageError(f"{target} is the save itself", "Choose another file")
    if os.path.lexists(place) and (place.is_dir() or not force):
        raise UsageError(f"{target} exists", "Choose another name, or --force")


def write_tensors(
    session: Session, listing: Listing, tensors: Sequence[Tensor], target: str, *, force: bool = False
) -> Written:
    """Write `tensors` of a save to `target`; its suffix chooses the format.

    In an `.npz` the member is the tensor's name; dtypes numpy lacks keep their raw bits as unsigned integers; a
    string tensor becomes its bytes (uint8) and `NAME//offsets` (int64, one more than strings).

    Raises:
        UsageError: the target won't do (see `check_target`), or the format can hold none of the tensors.
    """
    check_target(listing, len(tensors), target, force=force)
    suffix = Path(target).suffix
    written = Written()
    kept = []
    for tensor in tensors:
        reason = refusal(tensor, suffix)
        if reason:
            written.left_out.append((tensor.name, reason))
        else:
            kept.append(tensor)
    if not kept:
        name, reason = written.left_out[0]
        raise UsageError(f"{name}: {reason}" if len(tensors) == 1 else f"a {suffix} can hold none of these tensors")
    writers = {".npz": _write_npz, ".safetensors": _write_safetensors, ".npy": _write_npy}
    with _Pending(target, force) as out:
        writers[suffix](session, listing, kept, out, written)
        written.bytes = out.tell()
    return written


class _Pending:
    """A temporary file beside the target that takes its name only after a complete write."""

    def __init__(self, target: str, force: bool) -> None:
        self._target, self._force = target, force

    def __enter__(self) -> IO[bytes]:
        folder = os.path.dirname(os.path.abspath(self._target))
        try:
            handle, self._name = tempfile.mkstemp(prefix=".ckptui-", suffix=".part", dir=folder)
        except OSError as error:
            reason = error.strerror or str(error)
            raise UsageError(f"nothing can be written in {folder}: {reason}", "Choose another folder") from error
        self._file = os.fdopen(handle, "w+b")
        return self._file

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._file.flush()
                os.fsync(self._file.fileno())
                mask = os.umask(0)
                os.umask(mask)
                os.chmod(self._name, 0o666 & ~mask)
            self._file.close()
            if kind is None:
                self._publish()
        finally:
            if os.path.exists(self._name):
                os.unlink(self._name)

    def _publish(self) -> None:
        if self._force:
            os.replace(self._name, self._target)
            return
        try:
            # A link fails where a rename would silently replace a file that appeared meanwhile.
            os.link(self._name, self._target)
        except FileExistsError as error:
            raise UsageError(f"{self._target} exists", "Choose another name, or --force") from error
        except OSError:
            os.replace(self._name, self._target)


def _numpy_descr(tensor: Tensor) -> str:
    """The dtype a `.npy` header gets: numpy's own, or unsigned integers of the same width."""
    import numpy as np

    from ckptui.core.dtypes import np_dtype

    dtype = np.dtype(np_dtype(tensor.dtype))
    # 1: numpy's own; 2: registered from outside, as ml_dtypes does, some of them under numpy's kinds
    return dtype.str if dtype.isbuiltin == 1 else f"<u{dtype.itemsize}"


def _npy_header(descr: str, shape: tuple[int, ...]) -> bytes:
    from numpy.lib import format as npy

    buffer = io.BytesIO()
    npy.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def _check_length(tensor: Tensor, sent: int, expected: int) -> None:
    if sent != expected:
        raise CkptuiError(f"{tensor.name}: {sent} bytes came, {expected} were announced", title="Export stopped")


def _stream(session: Session, listing: Listing, tensor: Tensor, out: IO[bytes], expected: int) -> None:
    sent = 0
    for block in raw(session.pool, listing.artifact.path, listing.artifact.kind, tensor.name):
        out.write(block)
        sent += len(block)
    _check_length(tensor, sent, expected)


def _expected(tensor: Tensor, descr: str) -> int:
    import numpy as np

    return tensor.count * np.dtype(descr).itemsize


def _members(
    session: Session, listing: Listing, tensor: Tensor
) -> Iterator[tuple[str, str, tuple[int, ...], bytes | None]]:
    """(member name, descr, shape, bytes or None to stream) for one tensor of an `.npz`."""
    if tensor.dtype == "string":
        artifact = listing.artifact
        both = strings(session.pool, artifact.path, artifact.kind, tensor.name, STRING_LIMIT)
        text, offsets = bytes(both[0]), bytes(both[1])
        yield tensor.name, "|u1", (len(text),), text
        yield f"{tensor.name}//offsets", "<i8", (len(offsets) // 8,), offsets
    else:
        yield tensor.name, _numpy_descr(tensor), tensor.shape, None


def _write_npz(session: Session, listing: Listing, tensors: Sequence[Tensor], out: IO[bytes], written: Written) -> None:
    used: set[str] = set()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for tensor in tensors:
            members = list(_members(session, listing, tensor))
            if not used.isdisjoint(member[0] for member in members):
                written.left_out.append((tensor.name, "another member has its name"))
                continue
            for name, descr, shape, raw in members:
                used.add(name)
                expected = len(raw) if raw is not None else _expected(tensor, descr)
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=expected > 1 << 30) as member:
                    member.write(_npy_header(descr, shape))
                    if raw is not None:
                        member.write(raw)
                    else:
                        _stream(session, listing, tensor, member, expected)
            written.tensors += 1


def _write_safetensors(
    session: Session, listing: Listing, tensors: Sequence[Tensor], out: IO[bytes], written: Written
) -> None:
    from ckptui.core.dtypes import ITEMSIZE

    header: dict[str, object] = {"__metadata__": {"source": Path(listing.artifact.path).name}}
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
        _stream(session, listing, tensor, out, size)
        written.tensors += 1


def _write_npy(session: Session, listing: Listing, tensors: Sequence[Tensor], out: IO[bytes], written: Written) -> None:
    tensor = tensors[0]
    descr = _numpy_descr(tensor)
    out.write(_npy_header(descr, tensor.shape))
    _stream(session, listing, tensor, out, _expected(tensor, descr))
    written.tensors = 1
