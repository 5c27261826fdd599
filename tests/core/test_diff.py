"""Pairs of tensors: numbers against plain numpy, NaN, dtypes, edges; hypothesis finds the odd arrays."""

from __future__ import annotations

import json
import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from ckptui.core.diff import PairAccumulator, PairNumbers, chunks_of, comparable, pair_of
from ckptui.core.model import Tensor
from tests.core.draws import normal


def compared(
    a: NDArray[Any], b: NDArray[Any], dtypes: tuple[str, str] = ("float32", "float32"), size: int = 7
) -> PairNumbers:
    pair = PairAccumulator(*dtypes)
    for one, other in zip(chunks_of(a, size), chunks_of(b, size), strict=True):
        pair.add(one, other)
    return pair.result()


def test_numbers_are_those_of_plain_numpy() -> None:
    a, b = normal((50, 40)), normal((50, 40), seed=1)
    got = compared(a, b, size=333)
    wide_a, wide_b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    apart = wide_a - wide_b
    assert got.count == 2000
    assert got.changed == 2000
    assert got.left_out == 0
    assert got.max_abs == np.abs(apart).max()
    assert got.mean_abs == pytest.approx(np.abs(apart).mean(), rel=1e-12)
    assert got.rms == pytest.approx(np.sqrt((apart**2).mean()), rel=1e-12)
    assert got.relative_l2 == pytest.approx(np.linalg.norm(apart) / np.linalg.norm(wide_a), rel=1e-12)
    cosine = wide_a @ wide_b / np.linalg.norm(wide_a) / np.linalg.norm(wide_b)
    assert got.cosine == pytest.approx(cosine, abs=1e-12)
    assert got.centred_cosine == pytest.approx(np.corrcoef(wide_a, wide_b)[0, 1], abs=1e-12)


def test_equal_tensors_are_identical_to_the_bit() -> None:
    a = normal((30, 3))
    got = compared(a, a.copy())
    assert (got.changed, got.max_abs, got.relative_l2, got.cosine, got.centred_cosine) == (0, 0.0, 0.0, 1.0, 1.0)


def test_the_same_nan_is_no_change_and_distances_leave_it_out() -> None:
    a = normal((20,))
    a[3] = np.nan
    a[7] = np.inf
    same = compared(a, a.copy())
    assert (same.changed, same.left_out, same.max_abs, same.cosine) == (0, 2, 0.0, 1.0)
    b = a.copy()
    b[3] = 1.0
    b[5] += np.float32(0.5)
    got = compared(a, b)
    assert (got.changed, got.left_out) == (2, 2)
    assert got.max_abs == pytest.approx(0.5, rel=1e-6)


def test_another_nan_is_a_change() -> None:
    a = np.array([0x7FC00000], np.uint32).view(np.float32)
    b = np.array([0x7FC00001], np.uint32).view(np.float32)
    got = compared(a, b)
    assert (got.changed, got.left_out, got.max_abs, got.cosine) == (1, 1, None, None)


def test_minus_zero_is_a_change_without_distance() -> None:
    got = compared(np.zeros(3, np.float32), -np.zeros(3, np.float32))
    assert (got.changed, got.max_abs, got.relative_l2, got.cosine) == (3, 0.0, 0.0, None)


def test_zero_norms_have_documented_values() -> None:
    zeros, ones = np.zeros(4, np.float32), np.ones(4, np.float32)
    assert (compared(zeros, ones).relative_l2, compared(zeros, ones).cosine) == (math.inf, None)
    assert (compared(ones, zeros).relative_l2, compared(ones, zeros).cosine) == (1.0, None)
    assert (compared(zeros, zeros).relative_l2, compared(zeros, zeros).cosine) == (0.0, None)
    assert compared(ones, ones * 2).cosine == pytest.approx(1.0)
    assert compared(ones, ones * 2).centred_cosine is None


def test_an_empty_tensor_is_identical_and_has_no_numbers() -> None:
    assert compared(np.zeros(0, np.float32), np.zeros(0, np.float32)) == PairNumbers(0, 0, 0)


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (np.float64, "float64"),
        (np.float16, "float16"),
        (ml_dtypes.bfloat16, "bfloat16"),
        (ml_dtypes.float8_e5m2, "float8_e5m2"),
        (np.int8, "int8"),
        (np.uint8, "quint8"),
        (ml_dtypes.int4, "int4"),
        (np.int32, "int32"),
        (np.bool_, "bool"),
    ],
)
def test_every_numeric_dtype_is_widened(dtype: Any, name: str) -> None:
    a = np.array([0, 1, 1, 0, 1]).astype(dtype)
    b = np.array([0, 1, 0, 1, 1]).astype(dtype)
    got = compared(a, b, (name, name))
    assert (got.changed, got.max_abs) == (2, 1.0)
    assert got.rms == pytest.approx(math.sqrt(0.4))


def test_large_integers_are_subtracted_exactly() -> None:
    a = np.array([2**62, -(2**63), 5], np.int64)
    b = np.array([2**62 + 1, 2**63 - 1, 5], np.int64)
    got = compared(a, b, ("int64", "int64"))
    assert (got.changed, got.max_abs) == (2, float(2**64 - 1))
    assert compared(a[:1], b[:1], ("int64", "int64")).max_abs == 1.0
    assert compared(np.array([3], np.uint64), np.array([2**64 - 1], np.uint64), ("uint64",) * 2).max_abs == 2.0**64


def test_other_dtypes_are_compared_by_value() -> None:
    a = normal((100,))
    rounded = a.astype(ml_dtypes.bfloat16)
    assert compared(rounded.astype(np.float32), rounded, ("float32", "bfloat16")).changed == 0
    got = compared(a, rounded, ("float32", "bfloat16"))
    assert 90 < got.changed <= 100
    assert got.cosine == pytest.approx(1.0, abs=1e-4)
    nan = np.array([np.nan], np.float32)
    assert compared(nan, nan.astype(np.float64), ("float32", "float64")).changed == 0


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_numbers_have_distances_too(dtype: str) -> None:
    a = np.array([1 + 1j, 2, 3j]).astype(dtype)
    b = np.array([1 + 1j, 2, 3j + 4]).astype(dtype)
    got = compared(a, b, (dtype, dtype))
    assert (got.changed, got.max_abs) == (1, 4.0)
    assert got.relative_l2 == pytest.approx(4 / math.sqrt(15))
    assert got.cosine == pytest.approx(15 / math.sqrt(15 * 31))


def test_strings_are_identical_or_changed() -> None:
    a = np.array([b"x", b"y", b""], object)
    b = np.array([b"x", b"z", b""], object)
    got = compared(a, b, ("string", "string"))
    assert (got.count, got.changed, got.max_abs, got.cosine) == (3, 1, None, None)
    assert compared(a, a, ("string", "string")).changed == 0


def test_scalars_give_their_values() -> None:
    got = compared(np.array([1000], np.int64), np.array([2000], np.int64), ("int64", "int64"))
    assert (got.a_value, got.b_value, got.max_abs) == (1000.0, 2000.0, 1000.0)


@pytest.mark.parametrize("scale", [1e300, 1e200, 1e154, 1e-154, 1e-200, 1e-300, 1e-320])
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_squares_beyond_float64_are_summed_all_the_same(scale: float, dtype: str) -> None:
    usual_a, usual_b = normal((50,)).astype(dtype), normal((50,), seed=1).astype(dtype)
    usual = compared(usual_a, usual_b, (dtype, dtype))
    got = compared(usual_a * scale, usual_b * scale, (dtype, dtype))
    rough = 1e-2 if scale < 1e-308 else 1e-9
    assert got.relative_l2 == pytest.approx(usual.relative_l2, rel=rough)
    assert got.cosine == pytest.approx(usual.cosine, abs=rough)
    assert usual.rms is not None
    assert usual.mean_abs is not None
    assert got.rms == pytest.approx(usual.rms * scale, rel=rough)
    assert got.mean_abs == pytest.approx(usual.mean_abs * scale, rel=rough)


def test_extremes_beside_usual_values() -> None:
    names = ("float64", "float64")
    tiny = compared(np.array([1.0, 1e-300]), np.array([1.0, 2e-300]), names)
    assert (tiny.relative_l2, tiny.cosine) == pytest.approx((1e-300, 1.0), rel=1e-9)
    assert tiny.rms == pytest.approx(1e-300 / math.sqrt(2), rel=1e-9)
    huge = compared(np.array([1.7e308, 1.0] * 5), np.array([-1.7e308, 1.0] * 5), names, 2)
    assert (huge.max_abs, huge.rms) == (math.inf, math.inf)
    assert huge.mean_abs == pytest.approx(1.7e308)
    assert (huge.relative_l2, huge.cosine) == pytest.approx((2.0, -1.0))
    apart = compared(np.array([1e-300, 2e-300]), np.array([1e300, 2e300]), names)
    assert apart.cosine == pytest.approx(1.0)
    assert apart.relative_l2 == math.inf
    assert compared(np.zeros(3), np.full(3, 1e-300), names).relative_l2 == math.inf


def test_pieces_keep_what_is_beyond_float64_and_what_appeared() -> None:
    a, b = np.array([1e300, -1e300, 1.0, 2.0]), np.array([2e300, 1e300, math.nan, math.inf])
    whole = compared(a, b, ("float64", "float64"))
    joined = PairAccumulator("float64", "float64")
    for part in (slice(0, 2), slice(2, 4)):
        piece = PairAccumulator("float64", "float64")
        piece.add(a[part], b[part])
        joined.absorb(json.loads(json.dumps(piece.state())))
    got = joined.result()
    assert got.appeared == whole.appeared == (1, 1)
    assert (got.relative_l2, got.rms) == pytest.approx((whole.relative_l2, whole.rms))


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "complex64"])
def test_zeros_that_differ_in_their_sign_are_called_so(dtype: str) -> None:
    shown = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    a, b = np.array([0.0, 1.0], shown), np.array([-0.0, 1.0], shown)
    tensor = Tensor("w", dtype, (2,), 8)
    pair = pair_of(tensor, tensor, "name", compared(a, b, (dtype, dtype)))
    assert (pair.status, pair.changed, pair.max_abs, pair.detail) == ("changed", 1, 0.0, "only the sign of zero")
    assert compared(a, a, (dtype, dtype)).remarks == []
    assert compared(a, b + 1, (dtype, dtype)).remarks == []


def test_chunks_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match="can't be compared"):
        PairAccumulator("float32", "float32").add(np.zeros(3, np.float32), np.zeros(4, np.float32))


FLOATS = arrays.arrays(
    np.float32, st.integers(1, 40), elements=st.floats(width=32, allow_nan=True, allow_infinity=True)
)


@settings(max_examples=150, deadline=None)
@given(FLOATS, st.data())
def test_any_arrays_any_chunks_give_the_same_numbers(a: NDArray[np.float32], data: st.DataObject) -> None:
    b = data.draw(arrays.arrays(np.float32, a.shape, elements=st.floats(width=32)))
    b = np.where(np.random.default_rng(0).random(a.shape) < 0.5, a, b)
    whole, pieces = compared(a, b, size=1000), compared(a, b, size=3)
    bits = int((a.view(np.uint32) != b.view(np.uint32)).sum())
    assert whole.changed == pieces.changed == bits
    assert whole.max_abs == pieces.max_abs
    assert whole.rms == pytest.approx(pieces.rms)
    finite = np.isfinite(a) & np.isfinite(b)
    assert whole.left_out == int((~finite).sum())
    if finite.any():
        assert whole.max_abs == np.abs(a[finite].astype(np.float64) - b[finite]).max()
    assert whole.cosine is None or -1.0 <= whole.cosine <= 1.0


def tensor(shape: tuple[int, ...] = (2, 2), dtype: str = "float32") -> Tensor:
    return Tensor("k", dtype, shape, 16, role="kernel")


def test_the_status_of_a_pair_follows_from_what_was_seen() -> None:
    same, other = PairNumbers(4, 0, 0, max_abs=0.0), PairNumbers(4, 2, 0, max_abs=1.0)
    assert pair_of(tensor(), tensor(), "name", same).status == "identical"
    assert pair_of(tensor(), tensor(), "name", other).status == "changed"
    assert pair_of(tensor(), tensor(dtype="bfloat16"), "name", other).status == "dtype-changed"
    shapes = pair_of(tensor(), tensor((2, 3)), "name")
    assert (shapes.status, shapes.detail) == ("shape-changed", "axis 1: 2 against 3")
    assert pair_of(tensor(), tensor((2, 3, 1)), "name").detail == "2 axes against 3"
    lone = pair_of(tensor(), None, "name")
    assert (lone.status, lone.matched_by, lone.count) == ("only-a", None, 4)
    assert pair_of(None, tensor(), None).status == "only-b"
    unread = pair_of(tensor(), tensor(), "name", problem="shard cut off")
    assert (unread.status, unread.detail, unread.max_abs) == ("unreadable", "shard cut off", None)
    assert pair_of(tensor(), tensor(), "name").status == "unreadable"


def test_only_equal_shapes_of_comparable_dtypes_are_compared() -> None:
    assert comparable(tensor(), tensor(dtype="int8"))
    assert not comparable(tensor(), tensor((4,)))
    assert not comparable(tensor(), tensor(dtype="string"))
    assert comparable(tensor(dtype="string"), tensor(dtype="string"))
    assert not comparable(tensor(), None)


def test_a_pair_says_how_many_values_are_in_no_distance() -> None:
    tensor = Tensor("w", "float32", (4,), 16)
    one, other = np.array([1, 2, 3, 4], "f4"), np.array([1, np.nan, 3, np.inf], "f4")
    numbers = PairAccumulator("float32", "float32")
    numbers.add(one, other)
    pair = pair_of(tensor, tensor, "name", numbers.result())
    assert (pair.left_out, pair.changed, pair.relative_l2) == (2, 2, 0.0)
    assert pair.detail == "NaN appeared in 1 value, inf appeared in 1 value, 2 values not finite, in no distance"
    assert "left_out" not in pair.to_json()
