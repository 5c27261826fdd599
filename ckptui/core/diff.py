"""Two tensors held against each other in one pass, chunk by chunk, in float64; NaN-safe.

`changed` counts elements whose bits differ (the same NaN is no change). Distances are over the elements that are
finite on both sides. Strings are identical or changed, nothing more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ckptui.core import dtypes
from ckptui.core.matching import match
from ckptui.core.model import Pair, PairStatus, Tensor
from ckptui.core.relation import RelationRow, relation

__all__ = [
    "PairAccumulator",
    "PairNumbers",
    "RelationRow",
    "chunks_of",
    "comparable",
    "match",
    "pair_of",
    "relation",
]

BLOCK = 1 << 13
"""Elements widened at a time: the temporaries stay in the cache, and BLAS starts no threads for so few."""
_ONES = np.ones(BLOCK)


@dataclass(frozen=True, slots=True)
class PairNumbers:
    """How far two tensors of one shape are apart. None where there is no such number (strings, nothing finite)."""

    count: int
    changed: int
    """Elements whose bits differ; after widening where the dtypes differ."""
    left_out: int
    """Elements not finite on at least one side: counted in `changed`, in no distance."""
    max_abs: float | None = None
    mean_abs: float | None = None
    rms: float | None = None
    relative_l2: float | None = None
    """||a - b|| / ||a||; 0.0 where both are zero, infinity where only a is."""
    cosine: float | None = None
    """Over the flattened tensor; None where one norm is zero."""
    centred_cosine: float | None = None
    """The same after each side's mean is taken off; None where one side is constant."""
    a_value: float | None = None
    """The value itself where there is only one: a step, a counter."""
    b_value: float | None = None


class PairAccumulator:
    """Takes the same stretches of both tensors one after the other."""

    def __init__(self, dtype_a: str, dtype_b: str) -> None:
        self._same = dtype_a == dtype_b
        self._kinds = (_kind(dtype_a), _kind(dtype_b))
        self._count = 0
        self._changed = 0
        self._finite = 0
        self._largest = 0.0
        self._sums = np.zeros(9)
        self._ends: tuple[Any, Any] | None = None

    def add(self, chunk_a: NDArray[Any], chunk_b: NDArray[Any]) -> None:
        """Compare the next elements: 1-D arrays of equal length, in their own dtypes (objects for strings).

        Raises ValueError when the lengths differ.
        """
        if chunk_a.shape != chunk_b.shape or chunk_a.ndim != 1:
            raise ValueError(f"chunks of {chunk_a.shape} and {chunk_b.shape} elements can't be compared")
        if self._count == 0 and chunk_a.size:
            self._ends = (chunk_a[0], chunk_b[0])
        self._count += int(chunk_a.size)
        if "other" in self._kinds or chunk_a.dtype.kind == "O" or chunk_b.dtype.kind == "O":
            self._changed += int(np.count_nonzero(chunk_a != chunk_b))
            return
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, chunk_a.size, BLOCK):
                self._add_numbers(chunk_a[start : start + BLOCK], chunk_b[start : start + BLOCK])

    def result(self) -> PairNumbers:
        """The numbers over all that was added."""
        left_out = self._count - self._finite
        if "other" in self._kinds or self._count == 0:
            return PairNumbers(self._count, self._changed, 0)
        a_value, b_value = self._values()
        if self._finite == 0:
            return PairNumbers(self._count, self._changed, left_out, a_value=a_value, b_value=b_value)
        absolute, squared = float(self._sums[0]), float(self._sums[1])
        if squared == 0 and self._largest > 0:
            squared = math.nan
        aa, bb, ab = (float(v) for v in self._sums[2:5])
        return PairNumbers(
            count=self._count,
            changed=self._changed,
            left_out=left_out,
            max_abs=_known(self._largest),
            mean_abs=_known(absolute / self._finite),
            rms=_known(math.sqrt(squared / self._finite)),
            relative_l2=_relative(squared, aa),
            cosine=1.0 if not self._changed and aa > 0 else _cosine(aa, bb, ab),
            centred_cosine=self._centred(aa, bb, ab),
            a_value=a_value,
            b_value=b_value,
        )

    def _add_numbers(self, a: NDArray[Any], b: NDArray[Any]) -> None:
        changed = 0
        if self._same:
            differ = _bits(a) != _bits(b)
            changed = int(np.count_nonzero(differ.any(axis=1) if differ.ndim > 1 else differ))
            self._changed += changed
        wide_a = _widen(a)
        wide_b = wide_a if self._same and changed == 0 else _widen(b)
        if not self._same:
            self._changed += _differing(wide_a, wide_b)
        totals = (_total(wide_a), _total(wide_b))
        if not np.isfinite(totals[0] + totals[1]):
            finite = np.isfinite(wide_a) & np.isfinite(wide_b)
            wide_a, wide_b, a, b = wide_a[finite], wide_b[finite], a[finite], b[finite]
            totals = (_total(wide_a), _total(wide_b))
        self._finite += int(wide_a.size)
        if wide_a.size == 0:
            return
        if not self._same or changed:
            distance = _distance(a, b, wide_a, wide_b, self._same)
            self._largest = max(self._largest, float(distance.max()))
            self._sums[0] += _total(distance)
            self._sums[1] += _inner(distance, distance)
        self._add_moments(wide_a, wide_b, *totals)

    def _add_moments(self, a: NDArray[Any], b: NDArray[Any], sum_a: Any, sum_b: Any) -> None:
        aa = _inner(a, a)
        self._sums[2:5] += (aa, aa, aa) if a is b else (aa, _inner(b, b), _inner(a, b))
        self._sums[5:9] += (sum_a.real, sum_a.imag, sum_b.real, sum_b.imag)

    def _centred(self, aa: float, bb: float, ab: float) -> float | None:
        n = self._finite
        if not np.isfinite(self._sums).all():
            return None
        mean_a, mean_b = complex(*self._sums[5:7]), complex(*self._sums[7:9])
        spread_a = aa - abs(mean_a) / n * abs(mean_a)
        spread_b = bb - abs(mean_b) / n * abs(mean_b)
        if not (spread_a > 1e-12 * aa and spread_b > 1e-12 * bb):
            return None
        if not self._changed:
            return 1.0
        return _cosine(spread_a, spread_b, ab - (mean_a.conjugate() * mean_b).real / n)

    def _values(self) -> tuple[float | None, float | None]:
        if self._count != 1 or self._ends is None or "complex" in self._kinds:
            return None, None
        return float(self._ends[0]), float(self._ends[1])


def pair_of(
    a: Tensor | None,
    b: Tensor | None,
    matched_by: str | None,
    numbers: PairNumbers | None = None,
    problem: str = "",
) -> Pair:
    """The row of a diff. `numbers` only where both were read; `problem`: why one could not be."""
    some = a or b
    if some is None:
        raise ValueError("a pair has at least one tensor")
    plain = Pair(
        a=a.name if a else None,
        b=b.name if b else None,
        role=some.role,
        status=_status(a, b, numbers, problem),
        matched_by=matched_by if a and b else None,
        count=some.count,
        detail=problem or _difference(a, b),
    )
    if numbers is None or plain.status in ("shape-changed", "unreadable"):
        return plain
    return Pair(
        a=plain.a,
        b=plain.b,
        role=plain.role,
        status=plain.status,
        matched_by=plain.matched_by,
        max_abs=numbers.max_abs,
        mean_abs=numbers.mean_abs,
        rms=numbers.rms,
        relative_l2=numbers.relative_l2,
        cosine=numbers.cosine,
        changed=numbers.changed,
        count=numbers.count,
        detail=", ".join(filter(None, (plain.detail, _left_out(numbers)))),
        left_out=numbers.left_out,
    )


def _left_out(numbers: PairNumbers) -> str:
    """Distances over the finite values alone must not look like all there is."""
    if not numbers.left_out or not numbers.changed:
        return ""
    return f"{numbers.left_out} value{'s' if numbers.left_out != 1 else ''} not finite, in no distance"


def comparable(a: Tensor | None, b: Tensor | None) -> bool:
    """Whether values can be held against each other: both there, of one shape, strings only with strings."""
    if a is None or b is None or a.shape != b.shape:
        return False
    return a.dtype == b.dtype or "other" not in (_kind(a.dtype), _kind(b.dtype))


def _status(a: Tensor | None, b: Tensor | None, numbers: PairNumbers | None, problem: str) -> PairStatus:
    if a is None or b is None:
        return "only-b" if a is None else "only-a"
    if a.shape != b.shape:
        return "shape-changed"
    if problem:
        return "unreadable"
    if a.dtype != b.dtype:
        return "dtype-changed"
    if numbers is None:
        return "unreadable"
    return "changed" if numbers.changed else "identical"


def _difference(a: Tensor | None, b: Tensor | None) -> str:
    if a is None or b is None:
        return ""
    if len(a.shape) != len(b.shape):
        return f"{len(a.shape)} axes against {len(b.shape)}"
    axes = [f"axis {i}: {m} against {n}" for i, (m, n) in enumerate(zip(a.shape, b.shape, strict=True)) if m != n]
    if a.dtype != b.dtype:
        axes.append(f"{a.dtype} against {b.dtype}")
    return ", ".join(axes)


def _kind(dtype: str) -> str:
    if dtypes.is_complex(dtype):
        return "complex"
    return "real" if dtypes.is_float(dtype) or dtypes.is_integer(dtype) or dtype == "bool" else "other"


def _bits(values: NDArray[Any]) -> NDArray[Any]:
    """The elements as unsigned integers: two a row for complex128."""
    flat = np.ascontiguousarray(values)
    if flat.dtype.itemsize > 8:
        return flat.view(np.uint64).reshape(flat.size, -1)
    return flat.view(np.dtype(f"u{flat.dtype.itemsize}"))


def _widen(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(np.complex128 if values.dtype.kind == "c" else np.float64)


def _differing(a: NDArray[Any], b: NDArray[Any]) -> int:
    """Widened elements that differ; NaN on both sides is no difference, plus and minus zero are one."""
    return int(np.count_nonzero((a != b) & ~(np.isnan(a) & np.isnan(b))))


def _distance(
    a: NDArray[Any], b: NDArray[Any], wide_a: NDArray[Any], wide_b: NDArray[Any], same: bool
) -> NDArray[np.float64]:
    """|a - b| in float64; of 64-bit integers exact before it is rounded."""
    if same and a.dtype.kind in "iu" and a.dtype.itemsize == 8:
        apart = np.maximum(a, b).view(np.uint64) - np.minimum(a, b).view(np.uint64)
        return np.asarray(apart.astype(np.float64))
    return np.asarray(np.abs(wide_a - wide_b))


def _inner(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Real part of <a, b>."""
    return float(np.vdot(a, b).real)


def _total(values: NDArray[Any]) -> Any:
    """The sum of a block; of complex ones too."""
    return np.dot(values, _ONES[: values.size])


def _relative(squared: float, norm: float) -> float | None:
    if not (math.isfinite(squared) and math.isfinite(norm)):
        return None
    if squared == 0:
        return 0.0
    return math.sqrt(squared / norm) if norm > 0 else math.inf


def _cosine(aa: float, bb: float, ab: float) -> float | None:
    norm = math.sqrt(aa) * math.sqrt(bb)
    if not (norm > 0 and math.isfinite(norm) and math.isfinite(ab)):
        return None
    return max(-1.0, min(1.0, ab / norm))


def _known(value: float) -> float | None:
    """None for what left the range of float64."""
    return value if math.isfinite(value) else None


def chunks_of(array: NDArray[Any], size: int = 1 << 18) -> Iterator[NDArray[Any]]:
    """An array as 1-D pieces, C order, for `PairAccumulator.add`."""
    flat = array.reshape(-1)
    for start in range(0, flat.size, size):
        yield flat[start : start + size]
