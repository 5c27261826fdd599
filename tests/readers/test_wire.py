"""Walking protobufs without a schema."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptui.readers.wire import (
    Buffer,
    Field,
    WireError,
    encode_uvarint,
    fields,
    float32,
    float64,
    signed,
    text,
    uvarint,
    varints,
)
from tests.readers.make_bundle import field_bytes, varint


@given(st.integers(0, (1 << 64) - 1), st.binary(max_size=3))
def test_varints_come_back(value: int, tail: bytes) -> None:
    raw = varint(value)
    assert encode_uvarint(value) == raw
    assert uvarint(raw + tail, 0) == (value, len(raw))
    assert uvarint(memoryview(b"x" + raw), 1) == (value, len(raw) + 1)


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_negative_numbers_are_stored_as_64_bits(value: int) -> None:
    assert signed(uvarint(varint(value), 0)[0]) == value


@pytest.mark.parametrize("raw", [b"", b"\x80", b"\xff" * 9, b"\xff" * 11, b"\xff" * 9 + b"\x02"])
def test_numbers_that_run_off_or_overflow_are_refused(raw: bytes) -> None:
    with pytest.raises(WireError) as caught:
        uvarint(raw, 0)
    assert caught.value.offset == 0


MESSAGE = (
    field_bytes(1, 150) + field_bytes(2, b"abc") + b"\x1d\x01\0\0\0" + b"\x21" + bytes(range(8)) + field_bytes(2, b"")
)


def test_every_wire_type_is_walked() -> None:
    assert list(fields(MESSAGE)) == [
        (1, 0, 150),
        (2, 2, b"abc"),
        (3, 5, 1),
        (4, 1, 0x0706050403020100),
        (2, 2, b""),
    ]


def fields_until_error(buffer: Buffer) -> tuple[list[Field], WireError | None]:
    """The fields before the first byte that is none, and what stopped the walk."""
    found: list[Field] = []
    try:
        for field in fields(buffer):
            found.append(field)
    except WireError as error:
        return found, error
    return found, None


def test_views_are_walked_without_copies() -> None:
    view = memoryview(MESSAGE)
    values = [value for number, _, value in fields(view) if number == 2]
    assert all(isinstance(value, memoryview) and value.obj is MESSAGE for value in values)


@pytest.mark.parametrize(
    ("raw", "offset"),
    [
        (b"\x08", 1),
        (b"\x00\x01", 0),
        (b"\x0b", 0),
        (b"\x0c", 0),
        (b"\x0f\x00", 0),
        (b"\x12\x05abc", 0),
        (b"\x1d\x01\x02", 0),
        (b"\x21\x01", 0),
        (b"\x08\x01\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 2),
    ],
)
def test_the_first_bad_byte_is_named(raw: bytes, offset: int) -> None:
    found, error = fields_until_error(raw)
    assert error is not None
    assert error.offset == offset
    assert error.evidence["offset"] == offset
    with pytest.raises(WireError):
        list(fields(raw))
    assert len(found) == (1 if offset == 2 else 0)


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_a_wire_error(raw: bytes) -> None:
    buffers: tuple[Buffer, ...] = (raw, memoryview(raw))
    for buffer in buffers:
        found, error = fields_until_error(buffer)
        assert error is not None or sum(1 for _ in fields(buffer)) == len(found)


def test_repeated_numbers_packed_or_not() -> None:
    assert varints(b"\x01\x96\x01\x00") == [1, 150, 0]
    assert varints(7) == [7]
    with pytest.raises(WireError):
        varints(b"\x01\x80")


def test_text_of_any_bytes_shows() -> None:
    assert text("é".encode()) == "é"
    assert text(b"a\xffb") == "a\\xffb"
    assert text(5) == "5"


def test_floats_are_read_from_their_bits() -> None:
    assert float32(struct.unpack("<I", struct.pack("<f", 0.15625))[0]) == 0.15625
    assert float64(struct.unpack("<Q", struct.pack("<d", -2.5))[0]) == -2.5
