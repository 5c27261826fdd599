"""OrderedCode keys against an encoder made apart, and against bytes that TensorFlow wrote."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptui.readers import ordered_code
from ckptui.readers.ordered_code import KeyFault
from tests.readers.make_bundle import ordered_number, ordered_signed, ordered_string, slice_key

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)


@pytest.mark.parametrize(
    ("value", "raw"),
    [
        (0, "80"),
        (63, "bf"),
        (65, "c041"),
        (128, "c080"),
        (8064, "df80"),
        (8192, "e02000"),
        (1 << 20, "f0100000"),
        (-1, "7f"),
    ],
)
def test_numbers_that_tensorflow_wrote(value: int, raw: str) -> None:
    assert ordered_code.signed(bytes.fromhex(raw), 0) == (value, len(raw) // 2)
    assert ordered_signed(value).hex() == raw


@given(INT64, st.binary(max_size=3))
def test_signed_numbers_come_back(value: int, tail: bytes) -> None:
    raw = ordered_signed(value)
    assert ordered_code.signed(raw + tail, 0) == (value, len(raw))


@given(INT64, INT64)
def test_byte_order_is_value_order(a: int, b: int) -> None:
    assert (a < b) == (ordered_signed(a) < ordered_signed(b))


@given(st.integers(0, (1 << 64) - 1), st.binary(max_size=40))
def test_unsigned_numbers_and_strings_come_back(number: int, string: bytes) -> None:
    raw = ordered_number(number) + ordered_string(string)
    value, position = ordered_code.unsigned(raw, 0)
    assert value == number
    assert ordered_code.string(raw, position) == (string, len(raw))


extents = st.lists(st.tuples(st.integers(0, 1 << 62), st.integers(-1, 1 << 62)), max_size=8)


@given(st.text(max_size=30).filter(lambda name: name.isprintable()), extents)
def test_tile_keys_come_back(name: str, tile: list[tuple[int, int]]) -> None:
    assert ordered_code.slice_key(slice_key(name, tile)) == (name.encode(), tuple(tile))


@given(st.binary(max_size=60))
def test_other_keys_are_refused_without_harm(key: bytes) -> None:
    try:
        name, tile = ordered_code.slice_key(b"\0" + key)
    except KeyFault:
        return
    assert len(name) + len(tile) <= len(key)


@pytest.mark.parametrize(
    "raw", [b"", b"\x01\x00x", b"\x00w", b"\x00w\x00\x01\x02\xff\xff", b"\x00w\x00\x01\x01\x80\x80"]
)
def test_keys_that_end_early_or_late_are_refused(raw: bytes) -> None:
    with pytest.raises(KeyFault):
        ordered_code.slice_key(raw)
    with pytest.raises(KeyFault):
        ordered_code.slice_key(slice_key("w", [(0, 2)]) + b"x")
