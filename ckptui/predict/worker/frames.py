"""Frames on a pipe: a length-prefixed JSON document, then the raw bytes of the arrays it names.

Both ends use this module. A frame is `magic, bytes of JSON, bytes of arrays` (16 bytes, little-endian), the JSON,
and the arrays one after another in C order; the document's `arrays` lists `[dtype, shape]` of each. Lengths are
checked against each other and against the caps before anything is allocated.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from typing import Any

HEAD = struct.Struct("<4sIQ")
MAGIC = b"ckW1"
MAX_JSON = 16 << 20
MAX_ARRAYS = 4 << 30

PLAIN = {"bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"} | {
    "float16",
    "float32",
    "float64",
    "complex64",
    "complex128",
}
EXTENDED = {"bfloat16": 2, "float8_e4m3fn": 1, "float8_e5m2": 1}
"""dtypes numpy learns from ml_dtypes, with their bytes."""

if sys.byteorder != "little":
    raise ImportError("the protocol writes arrays as they lie in memory: little-endian machines only")


class FrameError(Exception):
    """What came through the pipe is no frame."""


def dtype_of(name: str) -> Any:
    """The numpy dtype called `name`; raises FrameError for any the protocol does not carry."""
    import numpy as np

    if name in PLAIN:
        return np.dtype(name)
    if name in EXTENDED:
        try:
            import ml_dtypes

            return np.dtype(getattr(ml_dtypes, name))
        except ImportError:
            tensorflow = sys.modules.get("tensorflow")
            if tensorflow is not None and hasattr(tensorflow, name):
                return np.dtype(getattr(tensorflow, name).as_numpy_dtype)
    raise FrameError("no dtype " + repr(name)[:60] + " here")


def encode(doc: dict[str, Any], arrays: Any = ()) -> list[Any]:
    """The pieces of a frame, ready to be written one after another; arrays are not copied when contiguous."""
    if not len(arrays):
        return _pieces(doc, [], [])
    import numpy as np

    plain = [np.asarray(a, order="C") for a in arrays]
    native = [a if a.dtype.isnative else a.astype(a.dtype.newbyteorder("=")) for a in plain]
    for array in native:
        if array.dtype.name not in PLAIN and array.dtype.name not in EXTENDED:
            raise FrameError("an array of " + array.dtype.name + " can't be sent")
    described = [[a.dtype.name, list(a.shape)] for a in native]
    return _pieces(doc, described, [a.reshape(-1).view(np.uint8).data for a in native if a.nbytes])


def _pieces(doc: dict[str, Any], described: list[Any], bodies: list[Any]) -> list[Any]:
    text = json.dumps(dict(doc, arrays=described), allow_nan=False).encode("utf-8")
    total = sum(body.nbytes for body in bodies)
    if len(text) > MAX_JSON or total > MAX_ARRAYS:
        raise FrameError("a message of %d + %d bytes is too large" % (len(text), total))
    return [HEAD.pack(MAGIC, len(text), total), text, *bodies]


def head(raw: bytes) -> tuple[int, int]:
    """Bytes of JSON and of arrays that follow; raises FrameError where `raw` starts no frame."""
    magic, text, arrays = HEAD.unpack(raw)
    if magic != MAGIC:
        raise FrameError("expected a frame, found " + repr(bytes(raw))[:80])
    if text > MAX_JSON or arrays > MAX_ARRAYS:
        raise FrameError("a frame of %d + %d bytes is too large" % (text, arrays))
    return text, arrays


def decode(text: Any, body: Any) -> tuple[dict[str, Any], list[Any]]:
    """The document and its arrays (views of `body`); raises FrameError where they contradict each other."""
    try:
        doc = json.loads(bytes(text).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise FrameError("the message is no JSON: " + str(error)) from error
    if not isinstance(doc, dict) or not isinstance(doc.get("arrays"), list):
        raise FrameError("the message is no document")
    arrays, offset = [], 0
    for entry in doc.pop("arrays"):
        import numpy as np

        name, shape = _described(entry)
        dtype = dtype_of(name)
        size = int(dtype.itemsize)
        for extent in shape:
            size *= extent
        if offset + size > len(body):
            raise FrameError("an array reaches %d bytes past its message" % (offset + size - len(body)))
        flat = np.frombuffer(body, np.uint8, size, offset)
        arrays.append(flat.view(dtype).reshape(shape) if size else np.zeros(shape, dtype))
        offset += size
    if offset != len(body):
        raise FrameError("%d bytes belong to no array" % (len(body) - offset))
    return doc, arrays


def _described(entry: Any) -> tuple[str, list[int]]:
    if isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str) and isinstance(entry[1], list):
        whole = all(isinstance(d, int) and not isinstance(d, bool) and 0 <= d < 2**40 for d in entry[1])
        if whole and len(entry[1]) <= 32:
            return entry[0], entry[1]
    raise FrameError("an array is not described")


class FrameBuffer:
    """Collects bytes as they come and gives whole frames."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> None:
        """Add what was read."""
        self._bytes += data

    def take(self) -> tuple[dict[str, Any], list[Any]] | None:
        """The next frame; None while it is not all there. Raises FrameError at anything else."""
        if not MAGIC.startswith(bytes(self._bytes[: len(MAGIC)])):
            raise FrameError("expected a frame, found " + repr(bytes(self._bytes[:60])))
        if len(self._bytes) < HEAD.size:
            return None
        text, arrays = head(bytes(self._bytes[: HEAD.size]))
        end = HEAD.size + text + arrays
        if len(self._bytes) < end:
            return None
        middle = HEAD.size + text
        frame = decode(self._bytes[HEAD.size : middle], bytes(self._bytes[middle:end]))
        del self._bytes[:end]
        return frame


def read_exactly(fd: int, size: int) -> bytearray | None:
    """`size` bytes from a blocking pipe; None when it ends before."""
    data = bytearray(size)
    view, filled = memoryview(data), 0
    while filled < size:
        got = os.readv(fd, [view[filled : filled + (1 << 20)]])
        if got == 0:
            return None
        filled += got
    return data


def read_frame(fd: int) -> tuple[dict[str, Any], list[Any]] | None:
    """The next frame of a blocking pipe; None at its end."""
    start = read_exactly(fd, HEAD.size)
    if start is None:
        return None
    text_bytes, array_bytes = head(bytes(start))
    text = read_exactly(fd, text_bytes)
    body = read_exactly(fd, array_bytes)
    if text is None or body is None:
        return None
    return decode(text, body)


def write_frame(fd: int, doc: dict[str, Any], arrays: Any = ()) -> None:
    """Write one frame to a blocking pipe."""
    for piece in encode(doc, arrays):
        view = memoryview(piece)
        while view.nbytes:
            view = view[os.write(fd, view[: 1 << 20]) :]
