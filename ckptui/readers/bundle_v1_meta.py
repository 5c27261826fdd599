"""The records of a V1 checkpoint: the list of its tensors, and what one data record holds.

Messages: `SavedTensorSlices`, `SavedTensorSliceMeta`, `SavedSliceMeta`, `SavedSlice` of TensorFlow's
`saved_tensor_slice.proto`; the values stand in the typed field of a `TensorProto`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ckptui.readers.bundle_entry import Extent, decode_extents, decode_shape
from ckptui.readers.bundle_v1_window import FileBody, MemoryBody, Window
from ckptui.readers.wire import LENGTH, VARINT, WireError, fields, signed, uvarint

META_CAP = 1 << 26
"""Bytes of the largest list of tensors that is read."""
MAX_TENSORS = 1_000_000


@dataclass(frozen=True, slots=True)
class Listed:
    """One tensor as a file's list names it."""

    raw: bytes
    """Its name as stored."""
    dtype: int
    """The enum number."""
    shape: tuple[int, ...]
    slices: tuple[tuple[Extent, ...], ...]
    """The parts of it that this file holds."""
    fault: str = ""

    @property
    def name(self) -> str:
        r"""Its name as text; what is no UTF-8 as `\xff` escapes."""
        return self.raw.decode("utf-8", "backslashreplace")


@dataclass(slots=True)
class Meta:
    """The list of tensors of one file."""

    tensors: list[Listed] = field(default_factory=list)
    producer: int = 0
    min_consumer: int = 0
    fault: str = ""
    """Why it breaks off; what was read before is here."""


def decode_meta(value: bytes, cut: bool = False) -> Meta:
    """Read the record under the empty key, leniently; of one that is `cut`, every tensor that is named whole."""
    meta = Meta()
    try:
        if cut:
            meta.fault = "the file ends inside it"
            tag, position = uvarint(value, 0)
            _, position = uvarint(value, position)
            if tag == 1 << 3 | LENGTH:
                _slice_metas(value[position:], meta)
            return meta
        for number, kind, content in fields(value):
            if number == 1 and kind == LENGTH and not isinstance(content, int):
                _slice_metas(bytes(content), meta)
    except WireError as error:
        meta.fault = meta.fault or str(error)
    return meta


def _slice_metas(data: bytes, meta: Meta) -> None:
    for number, kind, content in fields(data):
        if kind != LENGTH or isinstance(content, int):
            continue
        if number == 1:
            if len(meta.tensors) >= MAX_TENSORS:
                meta.fault = f"more than {MAX_TENSORS} tensors"
                return
            meta.tensors.append(_listed(bytes(content)))
        elif number == 2:
            for inner, _, version in fields(content):
                if inner == 1 and isinstance(version, int):
                    meta.producer = signed(version)
                elif inner == 2 and isinstance(version, int):
                    meta.min_consumer = signed(version)


def _listed(data: bytes) -> Listed:
    name, dtype, fault = b"", 0, ""
    shape: tuple[int, ...] = ()
    slices: list[tuple[Extent, ...]] = []
    try:
        for number, kind, content in fields(data):
            if number == 3 and kind == VARINT and isinstance(content, int):
                dtype = signed(content)
            elif kind == LENGTH and not isinstance(content, int):
                if number == 1:
                    name = bytes(content)
                elif number == 2:
                    shape = decode_shape(bytes(content))
                elif number == 4:
                    slices.append(decode_extents(bytes(content)))
    except WireError as error:
        fault = str(error)
    return Listed(name, dtype, shape, tuple(slices), fault)


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of bytes in a block's body that holds values, or one value that stands alone."""

    kind: int
    """Wire type: 2 for packed values and strings, else one number."""
    offset: int
    size: int
    number: int = 0
    """The value, where it stands alone."""


def walk_fields(window: Window, position: int, end: int, most: int = 1000) -> list[tuple[int, Piece]]:
    """Every field of a message in a body, as (field number, where); values are jumped over.

    Raises WireError for what is no message, and for one of more than `most` fields.
    """
    found: list[tuple[int, Piece]] = []
    while position < end:
        if len(found) >= most:
            raise WireError(f"more than {most} fields", position)
        start = position
        tag, position = window.uvarint(position)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            value, after = window.uvarint(position)
            found.append((number, Piece(kind, position, after - position, value)))
            position = after
        elif kind == LENGTH:
            length, position = window.uvarint(position)
            found.append((number, Piece(kind, position, length)))
            position += length
        elif kind in (1, 5):
            width = 8 if kind == 1 else 4
            raw = window.take(position, width)
            found.append((number, Piece(kind, position, width, int.from_bytes(raw, "little"))))
            position += width
        else:
            raise WireError(f"wire type {kind}", start)
        if not number or position > end:
            raise WireError(f"field {number} runs off the end", start)
    return found


def value_pieces(body: FileBody | MemoryBody, offset: int, size: int, wanted: int, count: int) -> list[Piece]:
    """Where the `count` values of a data record lie: the occurrences of field `wanted` of its TensorProto, in order.

    Raises WireError for what is no such record, or has far more fields than values.
    """
    window = Window(body, offset + size)
    pieces: list[Piece] = []
    for number, saved in walk_fields(window, offset, offset + size):
        if number != 2 or saved.kind != LENGTH:
            continue
        for inner, proto in walk_fields(window, saved.offset, saved.offset + saved.size):
            if inner == 3 and proto.kind == LENGTH:
                found = walk_fields(window, proto.offset, proto.offset + proto.size, count + 1000)
                pieces += [piece for number, piece in found if number == wanted]
    return pieces
