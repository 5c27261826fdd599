"""Stats against numpy in float64, and against exact integers and fractions where float64 is not enough."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ckptui.core import dtypes
from ckptui.core.model import Stats
from ckptui.core.stats import BLOCK, StatsAccumulator, histogram, stats_of
from ckptui.core.tiles import combine
from tests.core.plain_stats import REAL, assert_same, expected, in_pieces

Array = np.ndarray[Any, Any]


@pytest.mark.parametrize("name", REAL)
def test_every_bit_pattern_of_a_dtype_gives_numpys_numbers(name: str) -> None:
    dtype = dtypes.np_dtype(name)

    @settings(max_examples=30, deadline=None)
    @given(data=st.binary(min_size=dtype.itemsize, max_size=dtype.itemsize * 200), pieces=st.integers(1, 4))
    def check(data: bytes, pieces: int) -> None:
        if name == "bool":
            data = bytes(b & 1 for b in data)
        array = np.frombuffer(data[: len(data) // dtype.itemsize * dtype.itemsize], dtype)
        with np.errstate(all="ignore"):
            assert_same(in_pieces(array, name, pieces), expected(array))

    check()


@pytest.mark.parametrize("name", ["float32", "float64", "float16", "bfloat16"])
def test_ordinary_weights_of_many_blocks_give_numpys_numbers(name: str) -> None:
    rng = np.random.default_rng(1)
    array = rng.normal(0.01, 0.1, 3 * BLOCK + 17).astype(dtypes.np_dtype(name))
    assert_same(in_pieces(array, name, 5), expected(array))


@pytest.mark.parametrize("name", ["int8", "uint8", "int16", "int32", "uint32", "int64", "uint64", "bool"])
def test_integers_of_many_blocks_are_exact(name: str) -> None:
    dtype = dtypes.np_dtype(name)
    rng = np.random.default_rng(2)
    array = np.frombuffer(rng.bytes((BLOCK + 99) * dtype.itemsize), "u1" if name == "bool" else dtype)
    array = (array & 1).astype(bool) if name == "bool" else array
    assert_same(stats_of(array, name), expected(array))


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(allow_nan=True, allow_infinity=True)),
    st.integers(1, 5),
)
def test_float64_of_any_magnitude(array: Array, pieces: int) -> None:
    with np.errstate(all="ignore"):
        assert_same(in_pieces(array, "float64", pieces), expected(array))


def test_a_large_mean_does_not_eat_the_deviation() -> None:
    array = np.random.default_rng(3).normal(1e6, 1e3, 200_000).astype(np.float32)
    assert_same(stats_of(array, "float32"), expected(array))
    wide = np.random.default_rng(3).normal(1e6, 1e-3, 200_000)
    found, wanted = stats_of(wide, "float64"), expected(wide)
    assert found.std == pytest.approx(wanted.std, rel=1e-10)


def test_squares_of_float64_extremes_neither_overflow_nor_vanish() -> None:
    for magnitude in (1e200, 1e-200, 5e-324, 1e300):
        array = np.array([magnitude, -2 * magnitude, 0.0, magnitude])
        assert_same(stats_of(array, "float64"), expected(array))
    found = stats_of(np.array([1.7e308, 1.7e308, -1.7e308, -1.7e308]), "float64")
    assert found.mean == 0.0
    assert found.std == pytest.approx(1.7e308)
    assert found.l2 == math.inf


def test_magnitudes_that_grow_from_piece_to_piece_are_merged_on_one_scale() -> None:
    array = np.array([1e-250] * 3 + [1e-3, 7.0] + [1e250, -3e250])
    assert_same(in_pieces(array, "float64", 7), expected(array))
    assert_same(in_pieces(array[::-1].copy(), "float64", 7), expected(array[::-1]))


def test_the_deviation_of_a_constant_is_exactly_zero() -> None:
    for name in ("float32", "float64", "bfloat16", "int64"):
        array = np.full(2 * BLOCK + 5, 0.1 if name != "int64" else 2**62 + 1).astype(dtypes.np_dtype(name))
        found = in_pieces(array, name, 3)
        assert found.std == 0.0
        assert found.min == found.max
        assert found.mean == float(array[0])


def test_64_bit_integers_far_from_zero_keep_their_deviation() -> None:
    rng = np.random.default_rng(4)
    for base, dtype in ((-(2**62), "int64"), (2**64 - 100_000, "uint64")):
        array = np.array([base + int(v) for v in rng.integers(0, 10, 66_000)], dtype)
        assert_same(in_pieces(array, dtype, 3), expected(array))


def test_the_first_of_equal_extremes_is_named_across_pieces() -> None:
    array = np.array([3, 1, 9, 1, 9, 2], np.float32)
    found = in_pieces(array, "float32", 3)
    assert (found.argmin, found.argmax) == (1, 2)


def test_extremes_are_found_beside_nan_and_infinity() -> None:
    array = np.array([np.nan, np.inf, 2.0, -np.inf, -5.0, np.nan, 2.0], np.float32)
    found = stats_of(array, "float32")
    assert (found.nan, found.posinf, found.neginf, found.finite) == (2, 1, 1, 3)
    assert (found.min, found.argmin, found.max, found.argmax) == (-5.0, 4, 2.0, 2)


def test_nothing_finite_leaves_the_numbers_out() -> None:
    found = stats_of(np.full(5, np.nan, np.float32), "float32")
    assert found == Stats(5, 0, 5, 0, 0, 0)


@pytest.mark.parametrize("name", ["string", "variant", "resource", "complex64", "complex128", "#99"])
def test_dtypes_without_order_are_only_counted(name: str) -> None:
    assert stats_of(np.zeros(7, np.complex64), name) == Stats(7)


@pytest.mark.parametrize("name", [*REAL, "string"])
def test_an_empty_tensor_has_no_numbers(name: str) -> None:
    assert StatsAccumulator(name).result() == Stats(0)


@pytest.mark.parametrize("name", ["float32", "float64", "float16", "int32", "int64", "uint16"])
def test_big_endian_elements_give_the_same_numbers(name: str) -> None:
    array = np.random.default_rng(5).integers(0, 200, 1000).astype(dtypes.np_dtype(name))
    assert stats_of(array.astype(array.dtype.newbyteorder(">")), name) == stats_of(array, name)


def test_a_shape_does_not_matter() -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    assert stats_of(array, "float32") == stats_of(array.reshape(-1), "float32")


def test_a_histogram_counts_every_finite_value_once() -> None:
    array = np.random.default_rng(6).normal(size=200_000).astype(np.float32)
    array[:3] = np.nan, np.inf, -np.inf
    found = histogram(array, 64)
    finite = array[3:].astype(np.float64)
    assert (found.low, found.high) == (finite.min(), finite.max())
    assert found.outside == 3
    assert sum(found.counts) == finite.size
    wanted, _ = np.histogram(finite, 64)
    assert np.abs(np.array(found.counts) - wanted).max() <= 2


def test_a_histogram_of_extremes_constants_and_nothing() -> None:
    assert histogram(np.array([-1.7e308, 1.7e308]), 4).counts == (1, 0, 0, 1)
    assert histogram(np.full(9, 0.5, np.float32), 4).counts == (0, 0, 9, 0)
    assert histogram(np.full(9, np.nan), 4).counts == ()
    assert histogram(np.full(9, np.nan), 4).outside == 9
    assert histogram(np.zeros(0), 4).counts == ()
    assert histogram(np.array([b"a"], object), 4).counts == ()
    assert sum(histogram(np.arange(10, dtype=np.int64), 5).counts) == 10
    assert sum(histogram(np.arange(10).astype(ml_dtypes.bfloat16), 5).counts) == 10


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_tiles_combine_to_the_stats_of_the_whole(dtype: str) -> None:
    whole = np.random.default_rng(8).normal(3, 50, (7, 9)).astype(dtype)
    whole[5, 2] = whole[1, 7] = whole.max()
    cuts = [
        (slice(0, 3), slice(0, 4)),
        (slice(0, 3), slice(4, 9)),
        (slice(3, 7), slice(0, 9)),
        (slice(0, 0), slice(0, 9)),
    ]
    parts = []
    for rows, columns in cuts:
        tile = whole[rows, columns]

        def place(index: int, rows: slice = rows, columns: slice = columns, width: int = tile.shape[1]) -> int:
            return int((index // width + rows.start) * 9 + index % width + columns.start)

        parts.append((stats_of(tile, dtype), place))
    assert_same(combine(parts, whole.size), expected(whole))


def test_tiles_without_a_finite_value_and_without_numbers_combine() -> None:
    nan = stats_of(np.full(3, np.nan, np.float32), "float32")
    two = stats_of(np.array([2, np.inf], np.float32), "float32")
    found = combine([(nan, lambda n: n), (two, lambda n: n + 3)], 5)
    assert (found.nan, found.posinf, found.finite, found.min, found.argmin, found.std) == (3, 1, 1, 2, 3, 0)
    assert combine([(nan, lambda n: n)], 3) == nan
    assert combine([(Stats(3), lambda n: n)], 3) == Stats(3)
    assert combine([], 3) == Stats(3)
