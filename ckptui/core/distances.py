"""Sums over two blocks of values side by side: what they are apart, and what each of them is.

Measured on blocks of 256 kB: numkong takes sums, squares and squared distances of float32 values in float64, one pass
each; a sum of float32 in float64 is exact as long as its terms are within 29 binary places of it. So are these:

* max |a - b|: rounding keeps order, so the largest distance is among those that are largest rounded to float32.
* sum |a - b| = 2 sum max(a, b) - sum a - sum b. What cancels there is held against the bound below, and where too
  much would, those in float32 are summed: most are exact then, and the others are taken one by one.
* <a, b> = (|a|^2 + |b|^2 - |a - b|^2) / 2, while both norms are of one order.
"""

from __future__ import annotations

import functools
import importlib
import math
import threading
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ckptui.core import dtypes
from ckptui.core.extremes import LEAST, MOST, add_extremes
from ckptui.core.passes import fastest, total

Array = np.ndarray[Any, Any]

BLOCK = 1 << 16
"""Elements of float32 taken at a time: both sides and what is worked out of them fit the second-level cache."""
DOUBLES = 1 << 13
"""Elements of float64 taken at a time."""
_CANCELLED = 2.0**-11
"""Least share of sqrt(n) |a| that sum |a - b| has, or it is had otherwise: above, less than 1e-12 of it is lost."""
_EXACT = np.float32(0.4)
"""Share of |a| up to which a - b in float32 is exact; 0.5 but for what rounding does to the share itself."""
_ALIKE_NORMS = 2.0**8
"""Ratio of the squared norms up to which <a, b> is worked out of them."""
_DERIVED = 1 << 12
"""Elements from which a dot product is worth saving."""


def _apart(count: int, dtype: Any, number: int) -> Array:
    """A buffer whose place within a page is its own: stores that alias loads 4 kB away cost a third of the speed."""
    size = count * np.dtype(dtype).itemsize
    raw = np.empty(size + (2 << 12), np.uint8)
    start = -raw.ctypes.data % 4096 + number * 576
    return raw[start : start + size].view(dtype)


class _Scratch(threading.local):
    """Buffers for one block, kept between tensors: fresh ones would cost a page fault per 4 kB each time."""

    def __init__(self) -> None:
        self.single = _apart(BLOCK, np.float32, 1)
        self.other = _apart(BLOCK, np.float32, 6)
        self.wide_a = _apart(DOUBLES, np.float64, 2)
        self.wide_b = _apart(DOUBLES, np.float64, 3)
        self.distance = _apart(DOUBLES, np.float64, 4)
        self.mask = _apart(BLOCK, bool, 5)


_scratch = _Scratch()


class Quick:
    """The passes of numkong that are wanted here, on 1-D contiguous float32 blocks."""

    def __init__(self, numkong: Any) -> None:
        self.moments, self.minmax = numkong.moments, numkong.minmax
        self.sum, self.squared_distance, self.dot = numkong.sum, numkong.sqeuclidean, numkong.dot
        self.bytes_apart = numkong.hamming
        self._astype, self._from_pointer = numkong.astype, numkong.from_pointer

    def narrowed(self, block: Array, name: str) -> Array:
        """A float32 block rounded to `float16` or `bfloat16`, as codes."""
        codes = np.empty(block.size, np.uint16)
        # numpy has no code for bfloat16 that another library could read from the buffer
        there = self._from_pointer(codes.ctypes.data, codes.shape, name, owner=codes)
        self._astype(block, name, out=there)
        return codes

    def as_expected(self) -> bool:
        """Do the calls mean what they meant when this was written, and are they in float64?"""
        one, other = np.linspace(-3, 5, 999).astype(np.float32), np.linspace(2, -1, 999).astype(np.float32)
        wide, beside = one.astype(np.float64), other.astype(np.float64)
        apart = wide - beside
        wanted = (wide.sum(), apart @ apart, wide @ beside, wide @ wide)
        found = (self.sum(one), self.squared_distance(one, other), self.dot(one, other), self.moments(one)[1])
        if not all(math.isclose(a, b, rel_tol=1e-13) for a, b in zip(found, wanted, strict=True)):
            return False
        # ties, subnormals, and what float16 has no number for
        spread = np.arange(0x30000000, 0x48800000, 0x1800, dtype=np.uint32).view(np.float32)
        for name in ("float16", "bfloat16"):
            with np.errstate(all="ignore"):
                rounded = spread.astype(dtypes.np_dtype(name)).view(np.uint16)
            if not np.array_equal(self.narrowed(spread, name), rounded):
                return False
        codes = one.view(np.uint8), other.view(np.uint8)
        return bool(self.bytes_apart(codes[0], codes[0].copy()) == 0 < self.bytes_apart(*codes))


@functools.cache
def quick() -> Quick | None:
    """Numkong's passes where it is installed and gives what is expected of it."""
    try:
        passes = Quick(importlib.import_module("numkong"))
        return passes if fastest().name == "numkong" and passes.as_expected() else None
    except Exception:
        # another version may have other names or other arguments; numpy gives the same numbers
        return None


@dataclass(slots=True)
class Totals:
    """Sums over the elements that are finite on both sides."""

    finite: int = 0
    largest: float = 0.0
    """Of |a - b|."""
    absolute: float = 0.0
    """Sum of |a - b|."""
    squared: float = 0.0
    """Sum of |a - b|^2."""
    aa: float = 0.0
    bb: float = 0.0
    ab: float = 0.0
    """Real part of <a, b>."""
    a_real: float = 0.0
    a_imaginary: float = 0.0
    b_real: float = 0.0
    b_imaginary: float = 0.0
    up_squared: float = 0.0
    """These and those below: sums of scaled values, see `extremes`."""
    up_aa: float = 0.0
    up_bb: float = 0.0
    up_ab: float = 0.0
    down_squared: float = 0.0
    down_aa: float = 0.0
    down_bb: float = 0.0
    down_ab: float = 0.0
    down_absolute: float = 0.0
    record: float = 0.0
    """The largest distance so far, rounded to float32."""

    def add(self, other: Totals) -> None:
        """Take what was summed over other elements."""
        self.largest = max(self.largest, other.largest)
        self.record = max(self.record, other.record)
        for name in _SUMMED:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def sums_are_finite(self) -> bool:
        """Whether none of the sums has left the range of float64."""
        return all(math.isfinite(getattr(self, name)) for name in _SUMMED)

    # ------------------------------------------------------------------ float32

    def alike_singles(self, a: Array, passes: Quick) -> bool:
        """Add a block of float32 that is the same on both sides; False, and nothing added, if not all is finite."""
        summed, squares = passes.moments(a)
        if not math.isfinite(squares):
            return False
        self._moments(a.size, squares, squares, squares, summed, summed)
        return True

    def singles(self, a: Array, b: Array, passes: Quick) -> bool | None:
        """Add a block of float32, 1 to BLOCK elements: whether each value differs from its partner.

        None, and nothing added, where not all are finite.
        """
        sum_a, aa = passes.moments(a)
        sum_b, bb = passes.moments(b)
        # squares of float32 fit float64: only what is not finite makes their sum so
        if not math.isfinite(aa + bb):
            return None
        size = a.size
        rest = _scratch.single[:size]
        np.subtract(a, b, out=rest)
        np.absolute(rest, out=rest)
        low, _, high, _ = passes.minmax(rest)
        if high == math.inf:
            self.doubles(a, b)
            return bool(low > 0)
        if high >= self.record and high > 0:
            self._beat(a, b, rest, high)
        squared = passes.squared_distance(a, b)
        if size < _DERIVED or not aa < _ALIKE_NORMS * bb or not bb < _ALIKE_NORMS * aa:
            ab = passes.dot(a, b)
        else:
            ab = (aa + bb - squared) / 2
        if high > 0:
            self.absolute += self._distances(a, b, rest, passes, (sum_a + sum_b, max(aa, bb), squared))
            self.squared += squared
        self._moments(size, aa, bb, ab, sum_a, sum_b)
        return bool(low > 0)

    def _beat(self, a: Array, b: Array, rounded: Array, high: float) -> None:
        """The largest distance of a block whose rounded ones reach or beat the record."""
        self.record = high
        places = np.flatnonzero(rounded == high)
        apart = a[places].astype(np.float64) - b[places].astype(np.float64)
        self.largest = max(self.largest, float(np.absolute(apart).max()))

    @staticmethod
    def _distances(a: Array, b: Array, rounded: Array, passes: Quick, sums: tuple[float, float, float]) -> float:
        """Sum of |a - b|. `rounded`: these as float32; `sums`: of both sides, the larger squared norm, and squared
        distances.
        """
        both, norm, squared = sums
        # sum |a - b| <= sqrt(n) |a - b|: known to be too little without a look
        if squared > _CANCELLED * _CANCELLED * norm:
            larger = _scratch.other[: a.size]
            np.maximum(a, b, out=larger)
            found: float = 2 * passes.sum(larger) - both
            if found > _CANCELLED * math.sqrt(a.size * norm):
                return found
        return _near_distances(a, b, rounded, passes)

    # ------------------------------------------------------------------ float64 and complex

    def doubles(self, a: Array, b: Array) -> None:
        """Add finite real values of any dtype that float64 can take."""
        for start in range(0, a.size, DOUBLES):
            self.some_doubles(a[start : start + DOUBLES], b[start : start + DOUBLES], exact=None)

    def some_doubles(self, a: Array, b: Array, exact: Array | None) -> bool:
        """Add at most DOUBLES real values; `exact`: their distances, where they are known better than in float64.

        False, and nothing added, where not all are finite.
        """
        alike = a is b
        wide_a = _wide(a, _scratch.wide_a)
        wide_b = wide_a if alike else _wide(b, _scratch.wide_b)
        aa = float(np.dot(wide_a, wide_a))
        bb = aa if alike else float(np.dot(wide_b, wide_b))
        if not math.isfinite(aa + bb) and not (np.isfinite(wide_a).all() and np.isfinite(wide_b).all()):
            return False
        summed = total(wide_a)
        if alike:
            if not LEAST < aa < MOST:
                add_extremes(self, wide_a, wide_a, (aa, aa, 0.0))
            self._moments(a.size, aa, aa, aa, summed, summed)
            return True
        distance = _distance(wide_a, wide_b) if exact is None else exact
        squared = self._spread(distance)
        if not (min(aa, bb, squared) > LEAST and max(aa, bb, squared) < MOST):
            add_extremes(self, wide_a, wide_b, (aa, bb, squared))
        self._moments(a.size, aa, bb, float(np.dot(wide_a, wide_b)), summed, total(wide_b))
        return True

    def complexes(self, a: Array, b: Array) -> bool:
        """Add complex128 values; False, and nothing added, where not all are finite."""
        totals = complex(a.sum()), complex(b.sum())
        if not np.isfinite(totals[0] + totals[1]) and not (np.isfinite(a).all() and np.isfinite(b).all()):
            return False
        squared = self._spread(np.absolute(a - b))
        aa, bb, ab = (float(np.vdot(one, other).real) for one, other in ((a, a), (b, b), (a, b)))
        if not (min(aa, bb, squared) > LEAST and max(aa, bb, squared) < MOST):
            parts = [np.ascontiguousarray(one).view(np.float64) for one in (a, b)]
            add_extremes(self, parts[0], parts[1], (aa, bb, squared))
        self._moments(a.size, aa, bb, ab, totals[0].real, totals[1].real)
        self.a_imaginary += totals[0].imag
        self.b_imaginary += totals[1].imag
        return True

    def _spread(self, distance: Array) -> float:
        """Add distances; their squares' sum."""
        squared = float(np.dot(distance, distance))
        self.largest = max(self.largest, float(np.maximum.reduce(distance)))
        self.absolute += total(distance)
        self.squared += squared
        return squared

    def _moments(self, size: int, aa: float, bb: float, ab: float, sum_a: float, sum_b: float) -> None:
        self.finite += size
        self.aa += aa
        self.bb += bb
        self.ab += ab
        self.a_real += sum_a
        self.b_real += sum_b


_SUMMED = tuple(field.name for field in fields(Totals) if field.name not in ("largest", "record"))


def _near_distances(a: Array, b: Array, rounded: Array, passes: Quick) -> float:
    """Sum of |a - b| from the distances in float32, which are exact where the values are within a factor of two.

    Sterbenz, Floating-Point Computation, 1974. The others are taken one by one.
    """
    limit, far = _scratch.other[: a.size], _scratch.mask[: a.size]
    np.absolute(a, out=limit)
    np.multiply(limit, _EXACT, out=limit)
    np.greater(rounded, limit, out=far)
    summed: float = passes.sum(rounded)
    if passes.sum(far.view(np.uint8)):
        places = np.flatnonzero(far)
        apart = a[places].astype(np.float64) - b[places].astype(np.float64)
        summed += float((np.absolute(apart) - rounded[places]).sum())
    return summed


def _wide(values: Array, scratch: Array) -> Array:
    if values.dtype == np.float64:
        return values
    wide = scratch[: values.size]
    np.copyto(wide, values, casting="unsafe")
    return wide


def _distance(a: Array, b: Array) -> Array:
    """|a - b| in float64, of at most DOUBLES values; scratch."""
    apart = _scratch.distance[: a.size]
    if a.dtype != np.float64:
        a, b = _wide(a, _scratch.wide_a), _wide(b, _scratch.wide_b)
    np.subtract(a, b, out=apart)
    return np.asarray(np.absolute(apart, out=apart))


def count_apart(a: Array, b: Array, passes: Quick | None) -> int:
    """How many elements of two blocks of one dtype, at most BLOCK of them, differ."""
    mask = _scratch.mask[: a.size]
    np.not_equal(a, b, out=mask)
    return int(np.count_nonzero(mask)) if passes is None else int(passes.sum(mask.view(np.uint8)))
