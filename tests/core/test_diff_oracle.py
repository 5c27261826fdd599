"""Pairs of every dtype against numpy in float64, exactly summed: any codes, any chunks, any block size."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ckptui.core import diff, dtypes
from ckptui.core.diff import PairAccumulator, PairNumbers, chunks_of
from ckptui.core.distances import BLOCK, quick
from ckptui.core.ratios import SAMPLE, LogRatios

Array = NDArray[Any]

REAL = sorted(name for name in dtypes.ITEMSIZE if not dtypes.is_complex(name))
FLOATS = [name for name in REAL if dtypes.is_float(name)]
CLOSE = 1e-12


def compared(a: Array, b: Array, names: tuple[str, str], size: int = 1 << 18) -> PairNumbers:
    pair = PairAccumulator(*names)
    for one, other in zip(chunks_of(a, size), chunks_of(b, size), strict=True):
        pair.add(one, other)
    return pair.result()


def check(got: PairNumbers, a: Array, b: Array, *, same: bool) -> None:
    """Hold all numbers against exactly rounded sums of float64 values."""
    with np.errstate(all="ignore"):
        wide = a.astype(np.float64), b.astype(np.float64)
    finite = np.isfinite(wide[0]) & np.isfinite(wide[1])
    x, y = wide[0][finite], wide[1][finite]
    if same:
        changed = (a.view(f"u{a.itemsize}") != b.view(f"u{b.itemsize}")).sum()
    else:
        changed = ((wide[0] != wide[1]) & ~(np.isnan(wide[0]) & np.isnan(wide[1]))).sum()
    assert (got.count, got.changed, got.left_out) == (a.size, changed, (~finite).sum())
    if not x.size:
        assert got.max_abs is got.rms is got.cosine is None
        return
    apart = np.abs(x - y)
    aa, bb, dd = (math.fsum(v * v) for v in (x, y, apart))
    assert got.max_abs == apart.max()
    assert got.mean_abs == pytest.approx(math.fsum(apart) / x.size, rel=CLOSE)
    assert got.rms == pytest.approx(math.sqrt(dd / x.size), rel=CLOSE)
    if aa:
        assert got.relative_l2 == pytest.approx(math.sqrt(dd / aa), rel=CLOSE)
    if aa and bb:
        assert got.cosine == pytest.approx(math.fsum(x * y) / math.sqrt(aa) / math.sqrt(bb), abs=CLOSE)


def any_values(name: str, count: int, draw: np.random.Generator) -> Array:
    """Any codes there are: NaN with any bits, infinities, subnormals; of four bits a byte each."""
    dtype = dtypes.np_dtype(name)
    raw = draw.integers(0, 256, count * dtype.itemsize, np.uint8)
    if name == "bool":
        raw &= 1
    elif name.endswith(("int4", "int2")) or name.startswith("float4"):
        raw &= 3 if name.endswith("int2") else 15
    values = raw.view(dtype)
    if name in ("float32", "float64"):
        # squares of float64 beyond its range have rules of their own
        values = np.where(draw.random(count) < 0.9, draw.normal(size=count).astype(dtype), values)
        if name == "float64":
            values = np.where(np.isfinite(values) & (np.abs(values) > 1e100), dtype.type(1e100), values)
            values = np.where((np.abs(values) < 1e-100) & (values != 0), dtype.type(1e-100), values)
    return np.asarray(values)


@pytest.mark.parametrize("name", REAL)
def test_any_codes_of_any_dtype_give_the_numbers_of_float64(name: str) -> None:
    draw = np.random.default_rng(len(name))
    for count in (1, 2, 63, 1000, 70_001 if dtypes.ITEMSIZE[name] == 2 or name == "float32" else 9001):
        a, b = any_values(name, count, draw), any_values(name, count, draw)
        b = np.where(draw.random(count) < 0.3, a, b).astype(a.dtype)
        got = compared(a, b, (name, name), size=65_000)
        if dtypes.ITEMSIZE[name] == 8 and dtypes.is_integer(name):
            exact = max(abs(int(x) - int(y)) for x, y in zip(a.tolist(), b.tolist(), strict=True))
            assert (got.max_abs, got.changed) == (float(exact), int((a != b).sum()))
            continue
        check(got, a, b, same=True)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(FLOATS), st.sampled_from(FLOATS), st.integers(0, 2**32), st.integers(1, 300))
def test_any_two_float_dtypes_are_compared_as_float64(one: str, other: str, seed: int, count: int) -> None:
    draw = np.random.default_rng(seed)
    a, b = any_values(one, count, draw), any_values(other, count, draw)
    with np.errstate(all="ignore"):
        b = np.where(draw.random(count) < 0.5, a.astype(b.dtype), b).astype(b.dtype)
    check(compared(a, b, (one, other), size=77), a, b, same=one == other)


@pytest.mark.parametrize("share", [1.0, 0.01])
@pytest.mark.parametrize("mean", [0.0, 0.1, 1.0, 100.0])
@pytest.mark.parametrize("step", [0, 1e-8, 1e-7, 1e-5, 3e-4, 1e-3, 0.1, 30])
def test_a_step_of_any_size_is_measured_exactly(step: float, mean: float, share: float) -> None:
    draw = np.random.default_rng(3)
    for scale in (1.0, 1e-20, 1e18):
        a = ((draw.normal(size=70_000) + mean) * scale).astype(np.float32)
        moved = draw.normal(size=a.size) * step * scale * (draw.random(a.size) < share)
        b = (a + moved).astype(np.float32)
        check(compared(a, b, ("float32", "float32")), a, b, same=True)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_numpy_alone_gives_the_same(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(5)
    a, b = any_values(dtype, 20_000, draw), any_values(dtype, 20_000, draw)
    with_numkong = compared(a, b, (dtype, dtype))
    assert quick() is not None
    monkeypatch.setattr(diff, "quick", lambda: None)
    check(compared(a, b, (dtype, dtype)), a, b, same=True)
    assert compared(a, b, (dtype, dtype)).changed == with_numkong.changed


def test_distances_beyond_float32_and_among_subnormals() -> None:
    large = np.full(70_000, 3e38, np.float32)
    check(compared(large, -large, ("float32",) * 2), large, -large, same=True)
    assert compared(large, -large, ("float32",) * 2).max_abs == 2 * float(np.float32(3e38))
    draw = np.random.default_rng(1)
    tiny = [draw.integers(0, 1 << 12, 70_000).astype(np.uint32).view(np.float32) for _ in "ab"]
    check(compared(tiny[0], tiny[1], ("float32",) * 2), *tiny, same=True)
    halves = [np.array([65504, -65504, 6e-8, np.inf], np.float16), np.array([-65504, 65504, -6e-8, 1], np.float16)]
    check(compared(halves[0], halves[1], ("float16",) * 2), *halves, same=True)
    assert compared(halves[0], halves[1], ("float16",) * 2).max_abs == 131008.0


def test_ties_of_the_largest_distance_once_rounded_are_looked_at_one_by_one() -> None:
    # both are 1.5 as float32; the second block's is larger
    a, b = np.zeros(2 * BLOCK, np.float32), np.zeros(2 * BLOCK, np.float32)
    a[7], b[7] = 1.5, np.float32(1e-9)
    a[BLOCK + 5], b[BLOCK + 5] = 1.5, np.float32(-1e-9)
    assert compared(a, b, ("float32",) * 2).max_abs == 1.5 + float(np.float32(1e-9))


def test_bytes_of_bool_that_are_neither_0_nor_1_are_true() -> None:
    a = np.array([0, 1, 2, 255], np.uint8).view(bool)
    b = np.array([0, 2, 2, 0], np.uint8).view(bool)
    got = compared(a, b, ("bool", "bool"))
    assert (got.changed, got.max_abs, got.mean_abs) == (2, 1.0, 0.25)


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_values_that_are_not_finite_are_left_out(dtype: str) -> None:
    a = np.array([1 + 2j, complex(np.nan, 1), complex(1, np.inf), 4], dtype)
    b = np.array([1 - 2j, complex(np.nan, 1), 5, 4], dtype)
    got = compared(a, b, (dtype, dtype))
    assert (got.changed, got.left_out, got.max_abs) == (2, 2, 4.0)


def test_integers_of_64_bits_are_told_apart_where_float64_has_one_value_for_both() -> None:
    a, b = np.array([2**63 - 1, -1], np.int64), np.array([2**63, 2**64 - 1], np.uint64)
    assert compared(a, b, ("int64", "uint64")).changed == 2
    near = np.array([2**53, 2**53 + 1], np.int64)
    assert (compared(near[:1], near[1:], ("int64",) * 2).changed, compared(near, near, ("int64",) * 2).changed) == (
        1,
        0,
    )


# ---------------------------------------------------------------------- rounding


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [("float32", "bfloat16"), ("float64", "float32"), ("float32", "float16"), ("bfloat16", "float16")],
)
def test_a_copy_in_another_dtype_is_told_to_be_one(wide: str, narrow: str) -> None:
    draw = np.random.default_rng(2)
    a = draw.normal(0, 0.05, 20_000).astype(dtypes.np_dtype(wide))
    a[5] = np.nan
    b = a.astype(dtypes.np_dtype(narrow))
    assert compared(a, b, (wide, narrow)).rounding == f"every value of B is A's, rounded to {narrow}"
    if dtypes.ITEMSIZE[wide] != dtypes.ITEMSIZE[narrow]:
        assert compared(b, a, (narrow, wide)).rounding == f"every value of A is B's, rounded to {narrow}"
    b[: b.size // 4] += b.dtype.type(1)
    assert compared(a, b, (wide, narrow), size=1000).rounding in (
        "",
        f"75 % of B's values are A's, rounded to {narrow}",
    )
    told = compared(a[::-1], b[::-1], (wide, narrow)).rounding
    assert told == f"75 % of B's values are A's, rounded to {narrow}"
    other = draw.normal(size=a.size).astype(b.dtype)
    assert compared(a, other, (wide, narrow)).rounding == ""


def test_values_that_both_dtypes_have_need_no_rounding() -> None:
    a = np.arange(100, dtype=np.float32)
    got = compared(a, a.astype(np.float64), ("float32", "float64"))
    assert (got.changed, got.rounding) == (0, "")
    assert compared(a, a.astype(np.int32), ("float32", "int32")).rounding == ""


# ---------------------------------------------------------------------- pieces


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 3000), st.integers(1, 2999), st.integers(0, 2**32), st.sampled_from(["float32", "bfloat16"]))
def test_pieces_add_up_to_the_whole(count: int, cut: int, seed: int, name: str) -> None:
    draw = np.random.default_rng(seed)
    a, b = (np.abs(any_values(name, count, draw)) for _ in "ab")
    whole = PairAccumulator(name, name, ratios=LogRatios(count))
    whole.add(a, b)
    joined = PairAccumulator(name, name, ratios=LogRatios(count))
    for start, end in ((0, min(cut, count)), (min(cut, count), count)):
        part = PairAccumulator(name, name, ratios=LogRatios(count, start))
        part.add(a[start:end], b[start:end])
        joined.absorb(part.state())
    one, other = whole.result(), joined.result()
    assert (one.count, one.changed, one.left_out, one.max_abs) == (
        other.count,
        other.changed,
        other.left_out,
        other.max_abs,
    )
    for field in ("mean_abs", "rms", "relative_l2", "cosine", "centred_cosine"):
        assert getattr(other, field) == pytest.approx(getattr(one, field), rel=1e-9, abs=1e-12)
    assert one.log_ratio == other.log_ratio


def test_a_state_that_makes_no_sense_is_refused() -> None:
    pair = PairAccumulator("float32", "float32")
    pair.add(np.ones(4, np.float32), np.zeros(4, np.float32))
    state = pair.state()
    nonsense: tuple[dict[str, Any], ...] = (
        {"count": "4"},
        {"changed": 5},
        {"totals": {}},
        {"totals": {**state["totals"], "aa": "1"}},
        {"count": -1},
    )
    for wrong in nonsense:
        with pytest.raises((TypeError, KeyError, ValueError)):
            PairAccumulator("float32", "float32").absorb({**state, **wrong})


# ---------------------------------------------------------------------- second moments


def test_ratios_of_second_moments_are_quantiles_of_a_strided_sample() -> None:
    draw = np.random.default_rng(4)
    a = np.exp(draw.normal(size=300_000)).astype(np.float32)
    b = (a * np.exp(draw.normal(0.5, 0.1, a.size))).astype(np.float32)
    a[0] = b[5] = 0
    pair = PairAccumulator("float32", "float32", ratios=LogRatios(a.size))
    for one, other in zip(chunks_of(a, 7777), chunks_of(b, 7777), strict=True):
        pair.add(one, other)
    told = pair.result().log_ratio
    assert told is not None
    stride = -(-a.size // SAMPLE)
    there = (a[::stride] > 0) & (b[::stride] > 0)
    expected = np.log(b[::stride][there].astype(np.float64) / a[::stride][there])
    assert (told["values"], told["negative"]) == (expected.size, 0)
    for name, cut in (("min", 0), ("q01", 0.01), ("q05", 0.05), ("q16", 0.16), ("q50", 0.5), ("q84", 0.84)):
        assert told[name] == pytest.approx(np.quantile(expected, cut), abs=1e-6)


def test_first_moments_have_values_below_zero_and_no_ratios() -> None:
    draw = np.random.default_rng(4)
    a = draw.normal(size=1000).astype(np.float32)
    pair = PairAccumulator("float32", "float32", ratios=LogRatios(a.size))
    pair.add(a, a + 1)
    assert pair.result().log_ratio == {"values": 0, "negative": int((a < 0).sum() + (a + 1 < 0).sum())}
    plain = PairAccumulator("float32", "float32")
    plain.add(a, a + 1)
    assert plain.result().log_ratio is None
