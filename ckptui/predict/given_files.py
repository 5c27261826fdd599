"""Files of arrays that users give: `.npy`, `.npz`, JSON and plain bytes, read within bounds. Nothing is unpickled.

Runs in the image child, whose memory is limited. NumPy's format: numpy.lib.format, versions 1 to 3.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ckptui.core.text import human_bytes
from ckptui.errors import CkptuiError, UsageError
from ckptui.readers.npz_weights import MAX_HEADER, read_header
from ckptui.readers.source import Source, read_whole
from ckptui.readers.zip_directory import read_directory, read_member

Array = np.ndarray[Any, Any]

MAX_BYTES = 512 << 20
"""Of one file, and of one member unpacked."""
MAX_JSON = 64 << 20
MAX_MEMBERS = 1000
MAX_STRINGS = 1 << 20
NPY, NPZ = b"\x93NUMPY", b"PK"
BLANK = b" \t\r\n\xef\xbb\xbf"


def kind_of(path: str) -> str:
    """`npy`, `npz`, `json`, or `other` for an image or any other bytes, by the first bytes and the suffix.

    Raises NoSuchPath for what is no regular file, UsageError for one that is too large.
    """
    with Source(path) as source:
        head = source.pread(0, min(64, source.size))
        size = source.size
    kind = "other"
    if head.startswith(NPY):
        kind = "npy"
    elif head.startswith(NPZ):
        kind = "npz"
    elif path.lower().endswith(".json") or head.lstrip(BLANK)[:1] in (b"{", b"["):
        kind = "json"
    cap = MAX_JSON if kind == "json" else MAX_BYTES
    if size > cap:
        raise UsageError(f"{path} has {human_bytes(size)}, at most {human_bytes(cap)} are read")
    return kind


def read_bytes(path: str, cap: int = MAX_BYTES) -> bytes:
    """All bytes of a regular file; raises UsageError where they can't be had."""
    try:
        return read_whole(path, cap)
    except CkptuiError as error:
        raise UsageError(error.detail, error.hint, title=error.title) from None


def read_npy(path: str) -> Array:
    """The array of an `.npy`; raises UsageError for objects, lies about its size, anything that is none."""
    return array_of(read_bytes(path), path)


def array_of(data: bytes, what: str) -> Array:
    """The array in the bytes of an `.npy`; strings as an array of bytes objects."""
    try:
        descr, order, shape, start = read_header(data[: MAX_HEADER + 12])
        if "O" in descr:
            raise UsageError(f"{what} holds Python objects, a pickle, which is never opened", "Save plain numbers")
        dtype = np.dtype(descr)
    except (ValueError, TypeError, SyntaxError) as error:
        raise UsageError(f"{what} is no readable .npy: {error}") from None
    if dtype.kind not in "biufcSUV" or dtype.fields is not None or (dtype.kind == "V" and dtype.itemsize > 2):
        raise UsageError(f"{what} holds {dtype}: neither numbers nor strings")
    size = math.prod(shape) * dtype.itemsize
    if size > len(data) - start:
        raise UsageError(f"{what} declares {list(shape)} {dtype}, {size} bytes; {len(data) - start} are there")
    if dtype.kind in "SU" and math.prod(shape) > MAX_STRINGS:
        raise UsageError(f"{what} holds more than {MAX_STRINGS} strings")
    if not size:
        return np.zeros(shape, dtype)
    flat = np.frombuffer(data, dtype, math.prod(shape), start)
    array: Array = flat.reshape(shape[::-1]).T if order == "F" else flat.reshape(shape)
    return strings(array) if dtype.kind in "SU" else array


def strings(array: Array) -> Array:
    """Text as an array of bytes objects, UTF-8."""
    flat = np.empty(array.size, dtype=object)
    for place, item in enumerate(array.reshape(-1).tolist()):
        flat[place] = item if isinstance(item, bytes) else item.encode("utf-8", "surrogatepass")
    placed: Array = flat.reshape(array.shape)
    return placed


def read_npz(path: str) -> dict[str, Array]:
    """The arrays of an `.npz` by name; raises UsageError for a damaged or hostile one, naming the member."""
    try:
        with Source(path) as source:
            directory = read_directory(source)
            if len(directory.members) > MAX_MEMBERS:
                raise UsageError(f"{path} has {len(directory.members)} members, at most {MAX_MEMBERS} are read")
            found: dict[str, Array] = {}
            room = MAX_BYTES
            for member in directory.members:
                what = f"{member.name} in {path}"
                data, problem = read_member(source, member, room)
                if problem:
                    raise UsageError(f"{what} can't be read: {problem}")
                room -= len(data)
                found[member.name.removesuffix(".npy")] = array_of(data, what)
            return found
    except UsageError:
        raise
    except CkptuiError as error:
        raise UsageError(error.detail, error.hint, title=error.title) from None
