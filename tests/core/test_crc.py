"""CRCs of pieces put together against the CRC of the whole, by the library that checks every tensor."""

from __future__ import annotations

import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from ckptui.core.crc import combined, of_bytes, of_repeated


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_two_pieces_give_the_crc_of_the_whole(a: bytes, b: bytes) -> None:
    assert combined(crc32c(a), crc32c(b), len(b)) == crc32c(a + b)


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=12))
def test_many_pieces_give_the_crc_of_the_whole(pieces: list[bytes]) -> None:
    crc = 0
    for piece in pieces:
        crc = combined(crc, crc32c(piece), len(piece))
    assert crc == crc32c(b"".join(pieces))


@pytest.mark.parametrize("count", [1, 4095, 1 << 16, (1 << 24) + 5])
def test_long_pieces(count: int) -> None:
    b = bytes(range(256)) * (count // 256 + 1)
    assert combined(crc32c(b"first"), crc32c(b[:count]), count) == crc32c(b"first" + b[:count])


def test_zeros_of_terabytes_are_added_in_two_ways() -> None:
    size = 3 << 40
    half = combined(crc32c(b"\x01"), 0, size)
    assert combined(half, 0, size) == combined(crc32c(b"\x01"), 0, 2 * size)


def test_a_length_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        combined(1, 2, -1)


@given(st.binary(min_size=1, max_size=16), st.integers(0, 3000))
def test_an_element_written_again_and_again(element: bytes, count: int) -> None:
    assert of_repeated(element, count) == crc32c(element * count)
    assert of_bytes(element) == crc32c(element)
