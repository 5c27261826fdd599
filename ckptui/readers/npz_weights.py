"""`model.weights.npz` of a `.keras` archive: plain arrays where there are any; pickles are named and never opened.

Keras writes one 0-d object array a layer, which is a pickle. NumPy's format: numpy.lib.format, versions 1 to 3.
"""

from __future__ import annotations

import ast
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ckptui.core.dtypes import ITEMSIZE, np_dtype
from ckptui.core.model import Segment, Storage, Tensor
from ckptui.core.names import layer_of, role_of
from ckptui.core.text import human_bytes, safe
from ckptui.errors import Damaged, UsageError
from ckptui.readers.hdf5_contents import ARRAY_STEP, MAX_ARRAY_BYTES
from ckptui.readers.keras_members import is_bomb
from ckptui.readers.window import Bytes, Memory
from ckptui.readers.zip_directory import STORED, ZIP_ERRORS, Member, locate, read_directory, stream

if TYPE_CHECKING:
    import numpy as np

MAX_HEADER = 10_000
"""Bytes of a header that is still read: what NumPy itself trusts."""
PICKLED = "stored as a pickle, which is never opened here"
_MAGIC = b"\x93NUMPY"


@dataclass(frozen=True, slots=True)
class Array:
    """One array of the archive."""

    member: Member
    head: int
    """Bytes of its own header."""
    order: str
    """`C` or `F`."""
    descr: str


class NpzWeights:
    """The arrays of an `.npz` that lies in `length` bytes of `source` from `start`."""

    def __init__(self, source: Bytes, start: int, length: int) -> None:
        """Raises Damaged (`zip-damaged`) where there is no archive."""
        self._source = source
        self._on_disk = not isinstance(source, Memory)
        self.arrays: dict[str, Array] = {}
        self.tensors: tuple[Tensor, ...] = ()
        found: list[Tensor] = []
        for one in read_directory(source, start, length).members:
            found.append(self._row(one))
        self.tensors = tuple(found)

    @property
    def pickled(self) -> list[str]:
        """Names of the members that are pickles."""
        return [t.name for t in self.tensors if t.problem == PICKLED]

    def _row(self, member: Member) -> Tensor:
        name = member.name.removesuffix(".npy")
        try:
            located = locate(self._source, member)
            if located.problem or is_bomb(located):
                return _unread(name, member, located.problem or "it declares far more than it takes")
            head = b""
            for piece in stream(self._source, located):
                head += bytes(piece[: MAX_HEADER + 12 - len(head)])
                if len(head) >= MAX_HEADER:
                    break
            descr, order, shape, length = read_header(head)
        except (Damaged, *ZIP_ERRORS) as error:
            return _unread(name, member, getattr(error, "detail", "") or f"its header can't be read: {error}")
        if "O" in descr:
            return _unread(name, member, PICKLED, dtype="pickle")
        dtype = _tf_dtype(descr)
        if dtype not in ITEMSIZE:
            return _unread(name, member, f"NumPy's type {safe(descr, 40)} is no tensor's")
        size = math.prod(shape) * ITEMSIZE[dtype]
        if size != located.size - length:
            return _unread(name, member, f"its shape takes {size} bytes, {located.size - length} are there")
        self.arrays[name] = Array(located, length, order, descr)
        plain = located.method == STORED and order == "C" and self._on_disk
        segment = Segment(self._source.path, located.data + length, size) if plain else None
        return Tensor(
            name=name,
            dtype=dtype,
            shape=shape,
            bytes=size,
            layer=layer_of(name),
            role=role_of(name, dtype, shape),
            storage=Storage("plain" if plain else "hdf5", segment, big_endian=descr.startswith(">")),
        )

    def chunks(self, tensor: Tensor, chunk_bytes: int) -> Iterator[np.ndarray]:
        """Values in C order, 1-D, native order; raises Damaged."""
        import numpy as np

        array = self.arrays.get(tensor.name)
        if array is None:
            raise Damaged(f"{safe(tensor.name)}: {tensor.problem or 'it is not there'}")
        kind = np_dtype(tensor.dtype).newbyteorder(">" if tensor.storage.big_endian else "=")
        if array.order == "F":
            raw = b"".join(bytes(piece) for piece in stream(self._source, array.member))[array.head :]
            turned = np.frombuffer(raw, kind).reshape(tensor.shape[::-1]).T
            yield np.ascontiguousarray(turned).reshape(-1).astype(kind.newbyteorder("="), copy=False)
            return
        left, skip = b"", array.head
        step = max(kind.itemsize, chunk_bytes - chunk_bytes % kind.itemsize)
        for piece in stream(self._source, array.member):
            left += bytes(piece[skip:])
            skip = max(0, skip - len(piece))
            while len(left) >= step:
                yield np.frombuffer(left[:step], kind).astype(kind.newbyteorder("="), copy=False)
                left = left[step:]
        if left:
            yield np.frombuffer(left, kind).astype(kind.newbyteorder("="), copy=False)

    def array(self, tensor: Tensor) -> np.ndarray:
        """The whole tensor with its shape; raises as `chunks` does, UsageError for more than fits in memory."""
        import numpy as np

        if tensor.bytes > MAX_ARRAY_BYTES:
            raise UsageError(f"{safe(tensor.name)} holds {human_bytes(tensor.bytes)}, too much for memory at once")
        pieces = list(self.chunks(tensor, ARRAY_STEP))
        return np.concatenate(pieces or [np.zeros(0, np_dtype(tensor.dtype))]).reshape(tensor.shape)


def read_header(head: bytes) -> tuple[str, str, tuple[int, ...], int]:
    """(descr, order, shape, bytes) of an array's header; raises ValueError for what is none."""
    if not head.startswith(_MAGIC) or len(head) < 12:
        raise ValueError("no NumPy array")
    wide = head[6] >= 2
    length = struct.unpack_from("<I" if wide else "<H", head, 8)[0]
    begins = 12 if wide else 10
    if length > MAX_HEADER or begins + length > len(head):
        raise ValueError(f"a header of {length} bytes")
    text = head[begins : begins + length].decode("utf-8" if head[6] >= 3 else "latin-1")
    try:
        told = ast.literal_eval(text.strip())
    except (SyntaxError, MemoryError, RecursionError, TypeError) as error:
        raise ValueError(f"no header: {error}") from None
    if not isinstance(told, dict) or not isinstance(told.get("descr"), str):
        raise ValueError("no plain array")
    shape = told.get("shape")
    if not isinstance(shape, tuple) or not all(type(one) is int and one >= 0 for one in shape) or len(shape) > 64:
        raise ValueError("no shape")
    return told["descr"], "F" if told.get("fortran_order") is True and len(shape) > 1 else "C", shape, begins + length


def _tf_dtype(descr: str) -> str:
    """TensorFlow's name of a NumPy type string; empty for what is no number."""
    import numpy as np

    try:
        kind = np.dtype(descr)
    except TypeError:
        return ""
    return str(kind.newbyteorder("=").name) if kind.kind in "biufc" else ""


def _unread(name: str, member: Member, problem: str, dtype: str = "unknown") -> Tensor:
    return Tensor(name, dtype, (), member.size, storage=Storage("none"), problem=problem)
