"""TensorFlow event files: records with checksums, events, and the scalars in them. Bounded in time and memory.

Framing (TFRecord): uint64 length, masked CRC-32C of those eight bytes, data, masked CRC-32C of the data, little-endian.
The data is an `Event` message: 1 wall_time, 2 step, 5 summary; a `Summary.Value`: 1 tag, 2 simple_value, 8 tensor,
9 metadata (tensorflow/core/util/event.proto, framework/summary.proto, framework/tensor.proto).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import crc32c

from ckptui.readers.source import Source
from ckptui.readers.sstable_block import unmask
from ckptui.readers.wire import (
    FIXED32,
    FIXED64,
    LENGTH,
    VARINT,
    Buffer,
    Value,
    WireError,
    fields,
    float32,
    float64,
    signed,
    text,
    varints,
)

HEADER, TRAILER = 12, 4
CHUNK = 1 << 20
HEAD = 64
"""Bytes of a large record that tell what it is about."""
LARGE = 1 << 16
"""A record of more bytes is looked at before it is read."""
LARGEST = 1 << 24
"""A record of more bytes is passed over: no scalar is that large."""
TAG_BYTES = 1000
_FORMATS = {1: "<f", 2: "<d", 3: "<i", 4: "<B", 5: "<h", 6: "<b", 9: "<q", 10: "<?", 19: "<e", 22: "<I", 23: "<Q"}
"""struct's letter for TensorFlow's numbers of element types."""
BFLOAT16 = 14
HALF_VAL = 13


@dataclass(slots=True)
class Trouble:
    """What was wrong in a file; a torn last record is nothing wrong."""

    bad: int = 0
    """Records whose bytes fail their checksum; they are passed over."""
    first_bad: int = 0
    """Where the first of them begins."""
    stopped: int | None = None
    """Where a length failed its own checksum: nothing behind it can be found."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value of one tag."""

    tag: str
    step: int
    wall: float
    value: float


def records(source: Source, trouble: Trouble, cancelled: Callable[[], bool] = bool) -> Iterator[Buffer]:
    """The data of each record, in order; valid until the next is asked for.

    Large records that hold no summary are passed over unread. Ends without a word at a record that the file ends in.

    Raises:
        ChangedWhileReading, Unreadable: the file became shorter, or the system refuses it.
    """
    place, size = 0, source.size
    start, window = 0, memoryview(b"")
    while place + HEADER <= size:
        if place + HEADER > start + len(window):
            if cancelled():
                return
            start, window = place, memoryview(source.pread(place, min(CHUNK, size - place)))
        at = place - start
        length, length_crc = struct.unpack_from("<QI", window, at)
        if crc32c.crc32c(window[at : at + 8]) != unmask(length_crc):
            trouble.stopped = place
            return
        end = place + HEADER + length + TRAILER
        if end > size:
            return
        if length > LARGE and not _worth_reading(source, place + HEADER, length):
            place = end
            continue
        if end > start + len(window):
            if cancelled():
                return
            start, window = place, memoryview(source.pread(place, min(max(CHUNK, end - place), size - place)))
            at = 0
        data = window[at + HEADER : at + HEADER + length]
        (data_crc,) = struct.unpack_from("<I", window, at + HEADER + length)
        if crc32c.crc32c(data) == unmask(data_crc):
            # slices of bytes are taken faster than views, large ones are not worth a copy
            yield bytes(data) if length <= LARGE else data
        else:
            trouble.first_bad = trouble.first_bad if trouble.bad else place
            trouble.bad += 1
        place = end


def _worth_reading(source: Source, offset: int, length: int) -> bool:
    """Whether a large record begins like an event with a summary."""
    if length > LARGEST:
        return False
    head = source.pread(offset, min(HEAD, length))
    try:
        for number, _, _ in fields(head):
            if number > 2:
                return number == 5
    except WireError as error:
        # the summary runs off the end of the look
        return error.offset < len(head) and head[error.offset] == 5 << 3 | LENGTH
    return False


def scalars(event: Buffer) -> list[Scalar]:
    """The scalars of one event; an event that contradicts its format has none."""
    wall, step, found = 0.0, 0, []
    try:
        for number, kind, value in fields(event):
            if number == 1 and kind == FIXED64 and isinstance(value, int):
                wall = float64(value)
            elif number == 2 and kind == VARINT and isinstance(value, int):
                step = signed(value)
            elif number == 5 and not isinstance(value, int):
                for inner, _, item in fields(value):
                    if inner == 1 and not isinstance(item, int):
                        pair = _value(item)
                        if pair is not None:
                            found.append(pair)
    except WireError:
        return []
    return [Scalar(tag, step, wall, number) for tag, number in found]


def _value(message: Buffer) -> tuple[str, float] | None:
    """Tag and number of a `Summary.Value`; None for images, histograms, texts and whatever else."""
    tag, number, tensor, plugin = "", None, None, ""
    for field, kind, value in fields(message):
        if field == 1 and not isinstance(value, int):
            if len(value) > TAG_BYTES:
                return None
            tag = text(value)
        elif field == 2 and kind == FIXED32 and isinstance(value, int):
            number = float32(value)
        elif field == 8 and not isinstance(value, int):
            tensor = value
        elif field == 9 and not isinstance(value, int):
            plugin = _plugin(value)
        elif field in (4, 5, 6):
            return None
    if number is None and tensor is not None and plugin in ("", "scalars"):
        number = _number(tensor)
    return None if number is None or not tag else (tag, number)


def _plugin(metadata: Buffer) -> str:
    for field, _, value in fields(metadata):
        if field == 1 and not isinstance(value, int):
            for inner, _, name in fields(value):
                if inner == 1 and not isinstance(name, int):
                    return text(name[:TAG_BYTES])
    return ""


def _number(tensor: Buffer) -> float | None:
    """The value of a `TensorProto` with one number; None for more, and for other types."""
    dtype, count, content = 0, 1, None
    listed: list[tuple[int, int, Value]] = []
    for field, kind, value in fields(tensor):
        if field == 1 and isinstance(value, int):
            dtype = value
        elif field == 2 and not isinstance(value, int):
            count *= _elements(value)
        elif field == 4 and not isinstance(value, int):
            content = value
        elif field in (5, 6, 7, 10, 11, HALF_VAL, 16, 17):
            listed.append((field, kind, value))
    if count != 1 or (dtype != BFLOAT16 and dtype not in _FORMATS):
        return None
    if content is not None and len(content):
        return _from_content(dtype, content)
    # proto3 leaves out what is zero
    return _from_list(dtype, *listed[-1]) if listed else 0.0


def _elements(shape: Buffer) -> int:
    count = 1
    for field, _, dim in fields(shape):
        if field == 3:
            return 0
        if field == 2 and not isinstance(dim, int):
            sizes = [signed(size) for number, _, size in fields(dim) if number == 1 and isinstance(size, int)]
            count = count if sizes[-1:] == [1] else 0
    return count


def _from_content(dtype: int, content: Buffer) -> float | None:
    if dtype == BFLOAT16:
        return _bfloat16(content[0] | content[1] << 8) if len(content) == 2 else None
    form = _FORMATS[dtype]
    return float(struct.unpack(form, content)[0]) if len(content) == struct.calcsize(form) else None


def _from_list(dtype: int, field: int, kind: int, value: Value) -> float | None:
    """The one number of a `*_val` field, packed or not."""
    if field in (5, 6):
        width = 4 if field == 5 else 8
        bits = value if isinstance(value, int) else int.from_bytes(value, "little") if len(value) == width else None
        if bits is None or (isinstance(value, int) and kind != (FIXED32 if field == 5 else FIXED64)):
            return None
        return float32(bits) if field == 5 else float64(bits)
    if not isinstance(value, int) and len(value) > 10:
        return None
    numbers = varints(value)
    if len(numbers) != 1:
        return None
    if field == HALF_VAL:
        bits = numbers[0] & 0xFFFF
        return _bfloat16(bits) if dtype == BFLOAT16 else float(struct.unpack("<e", struct.pack("<H", bits))[0])
    return float(numbers[0] if field in (16, 17) else signed(numbers[0]))


def _bfloat16(bits: int) -> float:
    return float32(bits << 16)
