"""Which magnitudes no training makes, and which bit is named for them; every float dtype, both signs, few values."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptui.core.implausible import RATIO, Implausible, judge, odd_value, restored
from ckptui.core.peaks import Peaks, peaks_of

DTYPES = [np.float16, np.float32, np.float64, ml_dtypes.bfloat16]
Array = np.ndarray[Any, Any]


def flipped(array: Array, at: int, bit: int) -> Array:
    """A copy with one bit of one value flipped."""
    copy: Array = array.copy()
    bits = copy.reshape(-1).view(f"u{array.itemsize}")
    bits[at] ^= bits.dtype.type(1 << bit)
    return copy


def judged(array: Array, role: str = "kernel") -> Implausible | None:
    finite = int(np.isfinite(array.astype(np.float64)).sum())
    return judge(peaks_of(array), array.dtype.name, finite, role)


def weights(dtype: Any, count: int, scale: float = 0.1, seed: int = 1) -> Array:
    drawn: Array = np.random.default_rng(seed).normal(0, scale, count)
    return drawn.astype(dtype)


def shows(before: Array, after: Array, at: int) -> bool:
    """Not finite, or beyond 20 times the largest magnitude there was."""
    value = float(after[at])
    return not math.isfinite(value) or abs(value) > RATIO * float(np.abs(before.astype(np.float64)).max())


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
def test_every_flip_that_shows_is_named_by_its_bit(dtype: Any) -> None:
    rng = np.random.default_rng(7)
    array = weights(dtype, 3000)
    size = array.itemsize * 8
    visible = 0
    for at, bit in zip(rng.integers(0, array.size, 10_000), rng.integers(0, size, 10_000), strict=True):
        after = flipped(array, at, bit)
        if not shows(array, after, at):
            continue
        visible += 1
        peaks = peaks_of(after)
        if math.isfinite(after[at]):
            odd = judge(peaks, array.dtype.name, array.size, "kernel")
            assert odd is not None
            assert (odd.at, odd.value) == (at, float(after[at]))
            flip = odd.flip
        else:
            assert peaks.odd_at == at
            flip = odd_value(peaks, array.dtype.name, array.size - 1)
        assert flip is not None
        assert (flip.bit, flip.value) == (bit, float(array[at])), (at, bit)
    assert visible > 100
    print(f"{np.dtype(dtype).name}: {visible} of 10,000 flips show, all found with their bit")


@pytest.mark.parametrize("scale", [1e-4, 0.01, 1.0, 30.0])
def test_whatever_the_scale_of_the_weights(scale: float) -> None:
    """Weights and biases of every scale: the bit is right where the value was of the order of the rest."""
    rng = np.random.default_rng(3)
    array = weights(np.float32, 5000, scale)
    named = 0
    for at in rng.integers(0, array.size, 400):
        for bit in range(23, 31):
            after = flipped(array, int(at), bit)
            if not shows(array, after, int(at)):
                continue
            peaks = peaks_of(after)
            finite = math.isfinite(after[at])
            odd = judged(after) if finite else None
            flip = odd.flip if odd is not None else odd_value(peaks, "float32", array.size - 1)
            assert flip is not None
            if abs(array[at]) > 0.03 * scale:
                assert flip.bit == bit
            named += 1
    assert named >= 400


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_the_named_bit_is_one_of_those_that_bring_the_value_back(data: st.DataObject) -> None:
    array = weights(np.float32, data.draw(st.integers(4, 40)), seed=data.draw(st.integers(0, 1000)))
    at = data.draw(st.integers(0, array.size - 1))
    seen = [bit for bit in range(31) if shows(array, flipped(array, at, bit), at)]
    bit = data.draw(st.sampled_from(seen))
    after = flipped(array, at, bit)
    odd = judged(after)
    assert odd is not None
    assert odd.flip is not None
    second = float(np.partition(np.abs(after), -2)[-2])
    candidates = [(odd.flip.bit, odd.flip.value), *odd.flip.others]
    assert (bit, float(array[at])) in candidates
    for where, value in candidates:
        back = flipped(after, at, where)
        assert float(back[at]) == value
        assert abs(value) <= 8 * second


def test_weights_as_they_are_raise_no_alarm() -> None:
    rng = np.random.default_rng(0)
    counts = 0
    for count in (4, 5, 7, 10, 32, 1000):
        for _ in range(2000):
            assert judged(rng.normal(size=count).astype("f4"), "bias") is None
            counts += 1
    print(f"0 of {counts} tensors of independent normals are judged implausible")


@pytest.mark.parametrize(
    ("count", "role", "most"), [(2, "bias", 1e-3), (3, "bias", 1e-3), (2, "slot", 1e-3), (3, "slot", 1e-3)]
)
def test_two_or_three_values_are_far_apart_by_chance(count: int, role: str, most: float) -> None:
    drawn = np.random.default_rng(5).normal(size=(20_000, count)).astype("f4")
    drawn = drawn**2 if role == "slot" else drawn
    alarms = sum(judged(row, role) is not None for row in drawn)
    print(f"{count} values of a {role}: {alarms} alarms in 20,000")
    assert alarms <= most * 20_000


@pytest.mark.parametrize("count", [2, 3, 7, 9])
def test_a_flipped_exponent_is_found_in_the_smallest_tensors(count: int) -> None:
    array = weights(np.float32, count, 0.3)
    for at in range(count):
        after = flipped(array, at, 30)
        odd = judged(after, "bias")
        assert odd is not None
        assert (odd.at, odd.certainty) == (at, "likely")
        assert odd.flip is not None
        assert odd.flip.bit == 30


def test_a_planted_value_has_no_bit_and_is_less_sure() -> None:
    array = weights(np.float32, 500)
    # 0x49ffff80: taking any one bit off its exponent leaves far more, or far less, than the others have
    array[17] = 2**20 - 4
    odd = judged(array)
    assert odd is not None
    assert (odd.at, odd.value, odd.certainty) == (17, 2**20 - 4, "likely")
    assert odd.flip is None or abs(odd.flip.value) < 1e-20


def test_a_value_alone_is_judged_only_where_one_bit_explains_it_beyond_doubt() -> None:
    for value in (1.0, -3e-5, 32768.0, 6e9, 1e15):
        assert judged(np.array([value], "f4"), "other") is None
    after = flipped(np.array([0.37], "f4"), 0, 30)
    odd = judged(after, "bias")
    assert odd is not None
    assert (odd.second, odd.ratio, odd.certainty) == (None, None, "likely")
    assert odd.flip is not None
    assert (odd.flip.bit, odd.flip.value) == (30, float(np.float32(0.37)))
    # what stands for "no value", and a scale that doubled for long
    assert judged(np.array([np.finfo("f4").min], "f4"), "other") is None
    assert judged(np.array([2.0**66], "f4"), "counter") is None


@pytest.mark.parametrize("bit", range(23, 31))
def test_a_bit_in_zeros_is_found(bit: int) -> None:
    after = flipped(np.zeros(100, "f4"), 41, bit)
    odd = judged(after, "bias")
    assert odd is not None
    assert (odd.at, odd.second, odd.ratio) == (41, 0.0, None)
    assert odd.flip is not None
    assert (odd.flip.bit, odd.flip.value, odd.flip.others) == (bit, 0.0, ())
    assert not odd.modest


def test_a_bit_of_the_mantissa_in_zeros_is_no_error() -> None:
    after = flipped(np.zeros(100, "f4"), 41, 5)
    odd = judged(after, "kernel")
    assert odd is not None
    assert odd.modest
    # averages of gradients end so
    assert judged(after, "slot") is None


@pytest.mark.parametrize("value", [1.0, 0.5, 0.37, -3.0, 100.0])
def test_one_value_among_zeros_may_be_meant(value: float) -> None:
    array = np.zeros(50, "f4")
    array[3] = value
    assert judged(array, "bias") is None
    few = np.array([0, 2, 0], "f4")
    assert judged(few, "bias") is None
    assert judged(np.zeros(9, "f4"), "bias") is None


@pytest.mark.parametrize("role", ["metric", "counter", "step"])
def test_counts_may_have_any_ratio(role: str) -> None:
    assert judged(np.array([1, 2, 0, 5, 1e9] * 3 + [1e13], "f4"), role) is None
    assert judged(np.array([0] * 30 + [2], "f4"), role) is None


def test_statistics_of_raw_data_are_a_doubt_and_no_error() -> None:
    columns = np.array([28.6, 2.4, 0.47, 1_425.0, 10.4, 2.1, 35.6, 119.5, 1.28e6, 7.0], "f4")
    odd = judged(columns, "moving-variance")
    assert odd is not None
    assert (odd.certainty, odd.modest) == ("possible", True)
    flip = judged(flipped(np.abs(weights(np.float32, 64, 1.0)), 9, 30), "moving-variance")
    assert flip is not None
    assert (flip.certainty, flip.modest) == ("confirmed", False)


def test_other_dtypes_and_nothing_are_not_judged() -> None:
    assert judge(Peaks(), "float32", 0) is None
    assert judge(Peaks(1e9, 0, 1.0, 5), "float8_e5m2", 10) is None
    assert odd_value(Peaks(), "float32", 0) is None
    assert restored(0x7FC00000, "float32", 1e-9, 100) is None


@pytest.mark.parametrize("sign", [0, 1 << 31])
def test_the_nan_of_arithmetic_is_a_flipped_bit_only_among_values_as_large(sign: int) -> None:
    usual = Peaks(odd_at=0, odd_bits=0x7FC00000 | sign)
    assert odd_value(usual, "float32", 0) is None
    assert odd_value(replace(usual, largest=0.3, at=1, second=0.2, bits=1), "float32", 99) is None
    among = odd_value(replace(usual, largest=-1.7, at=1, second=1.2, bits=1), "float32", 99)
    assert among is not None
    assert (among.bit, abs(among.value)) == (30, 1.5)
    # any other NaN, and infinity, no arithmetic makes of finite weights without a trace
    flip = odd_value(Peaks(odd_at=0, odd_bits=0x7FC00001 | sign), "float32", 0)
    assert flip is not None
    assert flip.bit == 30


def test_a_nan_beside_a_second_damaged_value() -> None:
    array = weights(np.float32, 300, 0.8)
    array[5] = 1.25
    after = flipped(flipped(array, 5, 30), 9, 30)
    assert math.isnan(after[5])
    flip = odd_value(peaks_of(after), "float32", 299)
    assert flip is not None
    assert (flip.bit, flip.value) == (30, 1.25)


def test_an_ordinary_value_among_biases_next_to_nothing_is_none() -> None:
    biases = np.array([2.0e-8, -1.1e-8, -0.002, 0.7e-8, 1.3e-8, 0.2e-8], "f4")
    assert judged(biases, "bias") is None
    assert judged(flipped(biases, 0, 30), "bias") is not None
