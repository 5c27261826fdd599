"""A flipped bit is found from the checksums alone, against bits really flipped."""

from __future__ import annotations

import random
import time
import zlib

import pytest
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptui.core.bitflip import ORDER, ZIP, Flip, coincidence, find_flip, find_flips

SIZES = (1, 2, 3, 4, 5, 7, 8, 63, 64, 1000, 4096, 65_537, 1_000_000)


def flipped(data: bytes, byte: int, bit: int) -> bytes:
    changed = bytearray(data)
    changed[byte] ^= 1 << bit
    return bytes(changed)


@pytest.mark.parametrize("size", SIZES)
def test_a_bit_really_flipped_is_found(size: int) -> None:
    draw = random.Random(size)
    data = draw.randbytes(size)
    right = crc32c(data)
    places = {(0, 0), (0, 7), (size - 1, 0), (size - 1, 7)}
    places |= {(draw.randrange(size), draw.randrange(8)) for _ in range(60)}
    for byte, bit in places:
        assert find_flip(right, crc32c(flipped(data, byte, bit)), size) == Flip(byte, bit)


def test_every_bit_of_a_small_tensor() -> None:
    data = random.Random(3).randbytes(100)
    right = crc32c(data)
    for byte in range(100):
        for bit in range(8):
            assert find_flip(right, crc32c(flipped(data, byte, bit)), 100) == Flip(byte, bit)


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=1, max_size=300), st.data())
def test_any_bytes(data: bytes, draw: st.DataObject) -> None:
    byte = draw.draw(st.integers(0, len(data) - 1))
    bit = draw.draw(st.integers(0, 7))
    assert find_flip(crc32c(data), crc32c(flipped(data, byte, bit)), len(data)) == Flip(byte, bit)


def test_other_damage_has_no_such_bit() -> None:
    draw = random.Random(5)
    data = draw.randbytes(400)
    right = crc32c(data)
    # two bits are an even number of terms: never one flipped bit
    for _ in range(200):
        (a, b) = draw.sample(range(3200), 2)
        changed = flipped(flipped(data, a // 8, a % 8), b // 8, b % 8)
        assert find_flip(right, crc32c(changed), 400) is None
    # overwritten bytes: a chance of 3,200 in 2**32 each
    assert not any(find_flip(right, crc32c(draw.randbytes(400)), 400) for _ in range(500))


def test_equal_checksums_and_no_bytes_have_none() -> None:
    assert find_flip(7, 7, 100) is None
    assert find_flip(1, 0, 0) is None


def behind(tail: int) -> int:
    """CRC-32C difference of one flipped bit, the lowest of a byte with `tail` bytes of any content behind it."""

    # zeros behind the flipped byte, as powers of the step over one zero byte: squaring its matrix
    def apply(matrix: list[int], word: int) -> int:
        out = 0
        for bit in range(32):
            if word >> bit & 1:
                out ^= matrix[bit]
        return out

    start = crc32c(b"\x01") ^ crc32c(b"\x00")
    one = [crc32c(b"\x00", 1 << bit) ^ crc32c(b"\x00", 0) for bit in range(32)]
    while tail:
        if tail & 1:
            start = apply(one, start)
        one = [apply(one, word) for word in one]
        tail >>= 1
    return start


@pytest.mark.parametrize("size", [10_000_000, 200_000_000, ORDER // 8])
def test_large_tensors_by_algebra(size: int) -> None:
    draw = random.Random(size)
    for byte in (0, size - 1, draw.randrange(size), draw.randrange(size)):
        assert find_flip(behind(size - 1 - byte), 0, size) == Flip(byte, 0)


def test_beyond_the_order_no_place_is_certain() -> None:
    size = 3 << 30
    byte = 1_234_567_890
    difference = behind(size - 1 - byte)
    assert find_flip(difference, 0, size) is None
    found = find_flips(difference, 0, size)
    assert Flip(byte, 0) in found
    assert len(found) in (size * 8 // ORDER, size * 8 // ORDER + 1)
    for flip in found:
        assert (flip.byte * 8 + flip.bit - byte * 8) % ORDER == 0


def test_gigabytes_take_milliseconds() -> None:
    find_flips(1, 0, 3 << 30)
    started = time.process_time()
    for _ in range(5):
        find_flips(behind(99), 0, 3 << 30)
    assert (time.process_time() - started) / 5 < 0.2


def test_coincidence_is_bits_in_the_checksums() -> None:
    assert coincidence(1 << 20) == 2**23 / 2**32
    assert coincidence(1) == 8 / 2**32
    assert coincidence(1 << 40) == 1.0


@pytest.mark.parametrize("size", [1, 5, 100, 20_000, 3_000_000])
def test_the_checksum_of_zip_archives_gives_its_flip_too(size: int) -> None:
    rng = random.Random(size)
    data = rng.randbytes(size)
    for _ in range(4):
        at, bit = rng.randrange(size), rng.randrange(8)
        changed = flipped(data, at, bit)
        assert find_flip(zlib.crc32(data), zlib.crc32(changed), size, ZIP) == Flip(at, bit)
    assert find_flips(zlib.crc32(data), zlib.crc32(data), size, ZIP) == ()
