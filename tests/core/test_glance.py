"""What `check` sees of values: every one that is not finite, whether all are alike, and the peaks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptui.core import dtypes
from ckptui.core.glance import STEP_BYTES, Glance
from ckptui.core.model import Stats
from ckptui.core.peaks import Peaks, PeakWatch, peaks_of
from ckptui.core.stats import stats_of
from ckptui.core.tiles import combine_peaks
from tests.core.plain_stats import KNOWN, assert_same

Array = np.ndarray[Any, Any]

WATCHED = ("float16", "bfloat16", "float32", "float64")


def glance(array: Array, name: str, pieces: int = 1) -> Glance:
    found = Glance(name)
    for piece in np.array_split(array.reshape(-1), pieces):
        found.add(piece)
    return found


def wide_of(array: Array) -> Array:
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


@pytest.mark.parametrize("name", KNOWN)
def test_any_bits_are_counted_as_numpy_counts_them(name: str) -> None:
    dtype = dtypes.np_dtype(name)

    @settings(max_examples=40, deadline=None)
    @given(st.binary(min_size=dtype.itemsize, max_size=dtype.itemsize * 90), st.integers(1, 3), st.booleans())
    def check(data: bytes, pieces: int, one: bool) -> None:
        if name == "bool":
            data = bytes(b & 1 for b in data)
        if name == "float4_e2m1fn":
            # a byte's upper half holds nothing: ml_dtypes minds it where it converts, and not where it compares
            data = bytes(b & 15 for b in data)
        array = np.frombuffer(data[: len(data) // dtype.itemsize * dtype.itemsize], dtype)
        if one:
            array = np.repeat(array[:1], array.size)
        with np.errstate(all="ignore"):
            wide = wide_of(array)
            odd = dtypes.is_float(name) or dtypes.is_complex(name)
            bad = np.flatnonzero(~np.isfinite(wide)) if odd else np.zeros(0, np.intp)
            alike = not len(bad) and not dtypes.is_complex(name) and bool((array == array[0]).all())
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            found = glance(array, name, pieces)
        assert found.complete == alike
        result = found.result()
        assert (result.count, result.finite) == (array.size, array.size - len(bad))
        if alike:
            assert_same(result, stats_of(array, name))
        else:
            nan = int(np.isnan(wide).sum()) if len(bad) else 0
            down = int((wide.real[np.isinf(wide) & ~np.isnan(wide)] == -np.inf).sum()) if len(bad) else 0
            assert (result.nan, result.neginf, result.posinf) == (nan, down, len(bad) - nan - down)
            assert result.zeros is None

    check()


@pytest.mark.parametrize("name", KNOWN)
def test_one_odd_value_among_many_is_seen(name: str) -> None:
    if not (dtypes.is_float(name) or dtypes.is_complex(name)):
        assert glance(np.frombuffer(b"\1" * 1600, dtypes.np_dtype(name)), name).result().finite
        return
    dtype = dtypes.np_dtype(name)
    clean = np.ones(3 * STEP_BYTES // dtype.itemsize // 2, dtype)
    for bad in (np.nan, np.inf, -np.inf):
        with np.errstate(all="ignore"):
            value = np.array([bad]).astype(dtype)
            if np.isfinite(wide_of(value))[0]:
                continue
        for place in (0, 7, clean.size - 1):
            dirty = clean.copy()
            dirty[place] = value[0]
            result = glance(dirty, name).result()
            assert result.count - (result.finite or 0) == 1


def test_large_finite_values_are_not_taken_for_infinite() -> None:
    for name, value in (("float32", 3e38), ("float64", 1e308), ("float16", 60000.0), ("bfloat16", 3e38)):
        for sign in (1, -1):
            array = np.full(5000, sign * value).astype(dtypes.np_dtype(name))
            array[7] = 1
            result = glance(array, name).result()
            assert (result.finite, result.nan) == (5000, 0)


@pytest.mark.parametrize("name", ["float32", "bfloat16", "int64", "bool", "float8_e4m3fn"])
def test_a_change_in_the_last_place_ends_alikeness(name: str) -> None:
    array = np.zeros(STEP_BYTES + 3, dtypes.np_dtype(name))
    assert_same(glance(array, name, 2).result(), stats_of(array, name))
    array[-1] = 1
    assert not glance(array, name).complete


def test_zeros_of_both_signs_are_all_zero() -> None:
    for name in ("float32", "float16", "bfloat16", "float8_e5m2"):
        array = np.array([0.0, -0.0, -0.0, 0.0]).astype(dtypes.np_dtype(name))
        result = glance(array, name).result()
        assert (result.zeros, result.min, result.max) == (4, 0, 0)
        assert math.copysign(1, result.min or 0) == 1


def test_nothing_of_nothing() -> None:
    assert Glance("float32").result() == Stats(0)
    assert not Glance("float32").complete
    assert glance(np.zeros(5, "S3"), "string").result() == Stats(5, 5, 0, 0, 0)


@pytest.mark.parametrize("name", WATCHED)
def test_peaks_are_those_of_the_whole(name: str) -> None:
    dtype = dtypes.np_dtype(name)

    @settings(max_examples=50, deadline=None)
    @given(st.binary(min_size=dtype.itemsize, max_size=dtype.itemsize * 60), st.integers(1, 4), st.booleans())
    def check(data: bytes, pieces: int, swapped: bool) -> None:
        array = np.frombuffer(data[: len(data) // dtype.itemsize * dtype.itemsize], dtype)
        if array.size > 20:
            # long enough for the pass of long pieces too
            array = np.tile(array, 2 * 2048 // array.size + 1)
        with np.errstate(all="ignore"):
            wanted = peaks_of(array)
        if swapped and dtype.isbuiltin == 1:
            array = array.astype(dtype.newbyteorder(">"))
        watch = PeakWatch()
        found = Glance(name, watch)
        for piece in np.array_split(array, pieces):
            found.add(piece)
        assert watch.result() == wanted

    check()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([1.0, -2.0, 2.0, -60.0, 0.0, math.nan, math.inf, 60.0]), min_size=12, max_size=12),
    st.integers(0, 3),
    st.integers(0, 4),
)
def test_peaks_of_tiles_combine_to_those_of_the_whole(values: list[float], row: int, column: int) -> None:
    whole = np.array(values, np.float32).reshape(3, 4)
    parts = []
    for rows in (slice(0, row), slice(row, 3)):
        for columns in (slice(0, column), slice(column, 4)):
            tile = whole[rows, columns]
            spot = np.arange(12).reshape(3, 4)[rows, columns].reshape(-1)
            parts.append((peaks_of(tile), lambda n, spot=spot: int(spot[n])))
    found, wanted = combine_peaks(parts), peaks_of(whole)
    # of values with equal magnitude in several tiles the first is named
    assert found == wanted


def test_tiles_without_peaks_have_none_together() -> None:
    assert combine_peaks([(None, int)]) is None
    assert combine_peaks([]) is None
    assert combine_peaks([(None, int), (Peaks(odd_at=3, odd_bits=9), lambda n: n + 10)]) == Peaks(odd_at=13, odd_bits=9)
