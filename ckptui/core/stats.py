"""The numbers of one tensor from one pass: counts, extremes, mean, standard deviation, norm.

Sums accumulate in float64. Every block's mean and squared deviations are merged into the running ones (Chan,
Golub, LeVeque 1979), so a large mean does not eat the deviation; a power of two keeps squares of extreme float64
values in range.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from ckptui.core import dtypes
from ckptui.core.histogram import BLOCK, HistogramAccumulator, histogram
from ckptui.core.model import Stats
from ckptui.core.passes import Look, NumpyPasses, fastest, total
from ckptui.core.peaks import PeakWatch

__all__ = [
    "BLOCK",
    "HistogramAccumulator",
    "StatsAccumulator",
    "histogram",
    "stats_of",
]

Array = np.ndarray[Any, Any]
_Family = Literal["single", "double", "half", "eight", "integer", "bool", "code", "none"]

_FAR_LARGE = 2.0**500
_FAR_SMALL = 2.0**-480
_SHIFT = 600
"""Binary exponent by which values beyond the two limits above are scaled before they are squared."""
_RECENTRED = 0.01
"""Share of the squares that the squared deviations have at least, or the values are summed again around a pivot:
the mean squared is then under 100 variances."""
_EXACT_TOTAL = 1 << 46
"""Magnitude up to which the int64 sum of one block can't overflow."""
_EIGHT = ("float8_e4m3fn", "float8_e5m2")
"""Floats of eight bits that numkong widens; values of the others are counted by their codes."""


@functools.lru_cache(maxsize=64)
def _family(name: str, widens_eight: bool) -> _Family:
    """How a dtype's values are worked on; `none` for strings, complex and whatever has no numpy type here."""
    size = dtypes.ITEMSIZE.get(name)
    if size is None or dtypes.is_complex(name):
        return "none"
    shown = dtypes.np_dtype(name)
    packed = name in ("int4", "int2", "uint4", "uint2")
    if shown.kind == "u" and (dtypes.is_float(name) or packed):
        # the installed ml_dtypes lacks it: these are raw bits
        return "none"
    if name == "bool":
        return "bool"
    if not dtypes.is_float(name):
        return "code" if packed else "integer"
    if size == 1:
        return "eight" if name in _EIGHT and widens_eight else "code"
    return "half" if size == 2 else "single" if size == 4 else "double"


def _byte_values(dtype: np.dtype[Any]) -> Array:
    """What each of the 256 bytes means in a one-byte dtype, as float64."""
    return np.arange(256, dtype=np.uint8).view(dtype).astype(np.float64)


class StatsAccumulator:
    """Stats of a tensor whose elements come in pieces, in order."""

    def __init__(self, dtype_name: str, peaks: PeakWatch | None = None, passes: NumpyPasses | None = None) -> None:
        """`dtype_name` is TensorFlow's; for complex, strings and unknown dtypes only elements are counted.

        `peaks` is told every block of a float dtype of 2 bytes or more; `passes` are the fastest where left out.
        """
        self._passes = passes or fastest()
        self._name = dtype_name
        self._family = _family(dtype_name, self._passes.name == "numkong")
        self._dtype = None if self._family == "none" else dtypes.np_dtype(dtype_name)
        self._integral = self._dtype is not None and not dtypes.is_float(dtype_name)
        self._peaks = peaks
        self._count = self._finite = self._zeros = 0
        self._nan = self._posinf = self._neginf = 0
        self._low: float | int | None = None
        self._high: float | int | None = None
        self._low_at = self._high_at = 0
        self._pivot: float | int | None = None
        self._away = self._deviations = 0.0
        self._total = 0
        self._exponent = 0
        if self._family == "code":
            self._codes = np.zeros(256, np.int64)
            self._first = np.full(256, -1, np.int64)

    def add(self, chunk: Array) -> None:
        """Take the next elements: a 1-D array of the dtype named (either byte order), of any length."""
        if self._dtype is None:
            self._count += chunk.size
            return
        chunk = dtypes.native(chunk, self._dtype)
        take = _TAKE[self._family]
        if 0 < chunk.size <= BLOCK:
            take(self, chunk)
            self._count += chunk.size
            return
        for start in range(0, chunk.size, BLOCK):
            block = chunk[start : start + BLOCK]
            take(self, block)
            self._count += block.size

    def result(self) -> Stats:
        """The numbers so far; everything but the count is None for an empty tensor or a dtype without them."""
        if not self._count or self._dtype is None:
            return Stats(self._count)
        if self._family == "code":
            self._merge_codes()
        mean: float | None = None
        std: float | None = None
        norm: float | None = None
        if self._finite:
            scaled = self._total / self._finite if self._integral else float(self._pivot or 0) + self._away
            mean = _unscaled(scaled, self._exponent)
            std = _unscaled(math.sqrt(self._deviations / self._finite), self._exponent)
            norm = _unscaled(math.sqrt(self._deviations + self._finite * scaled * scaled), self._exponent)
        return Stats(
            count=self._count,
            finite=self._finite,
            nan=self._nan,
            posinf=self._posinf,
            neginf=self._neginf,
            zeros=self._zeros,
            min=self._low,
            max=self._high,
            argmin=self._low_at if self._finite else None,
            argmax=self._high_at if self._finite else None,
            mean=mean,
            std=std,
            l2=norm,
        )

    # ------------------------------------------------------------------ floating point

    def _add_singles(self, block: Array) -> None:
        seen = self._passes.look(block)
        if self._peaks is not None:
            self._peaks.add(block, self._count, *(seen[:2] if seen else (-math.inf, math.inf)))
        self._take_singles(block, seen)

    def _add_narrow(self, block: Array) -> None:
        """Halves and floats of eight bits, as float32."""
        wide = self._passes.singles(block, self._name)
        assert wide is not None
        seen = self._passes.look(wide)
        if self._peaks is not None and self._family == "half":
            self._peaks.add(block, self._count, *(seen[:2] if seen else (-math.inf, math.inf)))
        self._take_singles(wide, seen)

    def _take_singles(self, block: Array, seen: Look | None) -> None:
        places = None
        if seen is None:
            block, places = self._count_nonfinite(block)
            seen = self._passes.look(block) if block.size else None
            if seen is None:
                return
        low, high, summed, squares = seen
        self._extremes(block, low, high, places)
        if low <= 0 <= high:
            self._zeros += self._passes.zeros(block)
        self._moments(block, low, high, summed, squares)

    def _add_doubles(self, block: Array) -> None:
        seen = self._passes.look_at_doubles(block)
        if seen is None:
            with np.errstate(all="ignore"):
                self._add_odd_doubles(block)
            return
        low, high, summed, squares = seen
        if self._peaks is not None:
            self._peaks.add(block, self._count, low, high)
        self._take_doubles(block, low, high, None, summed, squares)

    def _add_odd_doubles(self, block: Array) -> None:
        """Not all are finite, or only their squares have no finite sum."""
        low, high = float(np.minimum.reduce(block)), float(np.maximum.reduce(block))
        if self._peaks is not None:
            self._peaks.add(block, self._count, low, high)
        places = None
        if not (math.isfinite(low) and math.isfinite(high)):
            block, places = self._count_nonfinite(block)
            if not block.size:
                return
            low, high = float(np.minimum.reduce(block)), float(np.maximum.reduce(block))
        self._take_doubles(block, low, high, places, total(block), float(np.dot(block, block)))

    def _take_doubles(
        self, block: Array, low: float, high: float, places: Array | None, summed: float, squares: float
    ) -> None:
        self._extremes(block, low, high, places)
        if low <= 0 <= high:
            self._zeros += self._passes.zeros(block)
        self._rescale()
        if self._exponent:
            with np.errstate(all="ignore"):
                block = np.ldexp(block, self._exponent)
            low, high = math.ldexp(low, self._exponent), math.ldexp(high, self._exponent)
            summed, squares = total(block), float(np.dot(block, block))
        self._moments(block, low, high, summed, squares)

    def _count_nonfinite(self, block: Array) -> tuple[Array, Array]:
        """Count what is no number; the others, and their indices in the block."""
        self._nan += int(np.count_nonzero(block != block))
        self._posinf += int(np.count_nonzero(block == math.inf))
        self._neginf += int(np.count_nonzero(block == -math.inf))
        places = np.flatnonzero(np.isfinite(block))
        return block[places], places

    def _extremes(self, block: Array, low: float | int, high: float | int, places: Array | None) -> None:
        """Merge a block's extremes; only one that beats the record is searched for. `places`: indices in the piece."""
        if self._low is None or low < self._low:
            self._low = low
            at = int(block.argmin())
            self._low_at = self._count + (at if places is None else int(places[at]))
        if self._high is None or high > self._high:
            self._high = high
            at = int(block.argmax())
            self._high_at = self._count + (at if places is None else int(places[at]))

    def _moments(self, block: Array, low: float | int, high: float | int, summed: float, squares: float) -> None:
        """Merge a block of finite values by its sum and its sum of squares, or by those of what is left of a pivot."""
        size = block.size
        mean = summed / size
        if self._pivot is None:
            self._pivot = low if low == high else mean
        if low == high:
            self._merge(size, low - self._pivot, 0.0)
            return
        deviations, away = squares - summed * mean, mean - self._pivot
        if deviations < _RECENTRED * squares:
            wide = self._passes.doubles(block)
            np.subtract(wide, self._pivot, out=wide)
            rest, squares = total(wide), float(np.dot(wide, wide))
            away = rest / size
            deviations = squares - rest * away
            if deviations < _RECENTRED * squares:
                # far from the pivot of the first block: once more around its own mean
                np.subtract(wide, away, out=wide)
                rest, squares = total(wide), float(np.dot(wide, wide))
                deviations = squares - rest * (rest / size)
                away += rest / size
        self._merge(size, away, max(deviations, 0.0))

    def _merge(self, count: int, away: float, deviations: float) -> None:
        """Merge a block: its mean, as a difference to the pivot, and its sum of squared deviations."""
        both = self._finite + count
        delta = away - self._away
        self._deviations += deviations + delta * delta * (self._finite * count / both)
        self._away += delta * (count / both)
        self._finite = both

    def _rescale(self) -> None:
        """Choose the power of two that keeps the squares of all magnitudes so far finite and normal."""
        magnitude = max(-(self._low or 0.0), self._high or 0.0)
        if magnitude == 0:
            return
        wanted = -_SHIFT if magnitude > _FAR_LARGE else _SHIFT if magnitude < _FAR_SMALL else 0
        change = wanted - self._exponent
        if change:
            self._away = math.ldexp(self._away, change)
            self._pivot = None if self._pivot is None else math.ldexp(self._pivot, change)
            self._deviations = math.ldexp(self._deviations, 2 * change)
            self._exponent = wanted

    # ------------------------------------------------------------------ integers

    def _add_integers(self, block: Array) -> None:
        low, high = self._passes.extremes(block)
        self._extremes(block, low, high, None)
        if low <= 0 <= high:
            self._zeros += self._passes.zeros(block)
        magnitude = max(-low, high)
        if magnitude >= _EXACT_TOTAL:
            self._add_far_integers(block, low, high)
            return
        longest = block.dtype.itemsize == 8
        sums: tuple[int, float] | None = None if longest else self._passes.exact_sums(block, magnitude)
        if sums is None:
            wide = self._passes.doubles(block)
            # a float64 holds every partial sum of 2**16 elements of 32 bits exactly
            whole = int(np.add.reduce(block, dtype=np.int64)) if longest else int(total(wide))
            sums = whole, float(np.dot(wide, wide))
        self._total += sums[0]
        self._moments(block, low, high, *sums)

    def _add_far_integers(self, block: Array, low: int, high: int) -> None:
        """64-bit integers whose sum may not fit 64 bits, nor their differences float64."""
        upper = int(np.add.reduce(block >> 32, dtype=np.int64))
        lower = int(np.add.reduce(block & 0xFFFFFFFF, dtype=np.int64))
        whole = (upper << 32) + lower
        self._total += whole
        pivot = whole // block.size
        if self._pivot is None:
            self._pivot = pivot
        if max(high - pivot, pivot - low) < 1 << 53:
            # differences that float64 holds exactly; wrapping subtraction is right whenever the result fits
            away = (block - block.dtype.type(pivot)).view(np.int64).astype(np.float64)
        else:
            away = block.astype(np.float64) - float(pivot)
        rest = float(np.add.reduce(away))
        deviations = float(np.dot(away, away)) - rest * rest / block.size
        self._merge(block.size, (pivot - self._pivot) + rest / block.size, max(deviations, 0.0))

    # ------------------------------------------------------------------ one byte an element

    def _add_bools(self, block: Array) -> None:
        """True is 1; any byte but 0 is true."""
        seen = block.view(np.uint8) != 0
        true = int(np.count_nonzero(seen))
        self._extremes(seen, int(true == block.size), int(true > 0), None)
        self._zeros += block.size - true
        self._finite += block.size
        self._total += true
        self._deviations = self._total * (self._finite - self._total) / self._finite

    def _add_codes(self, block: Array) -> None:
        codes = block.view(np.uint8)
        counts = np.bincount(codes, minlength=256)
        for code in np.flatnonzero((counts > 0) & (self._first < 0)):
            self._first[code] = self._count + int((codes == code).argmax())
        self._codes += counts

    def _merge_codes(self) -> None:
        """Work out everything from how often each byte value occurs; may be repeated."""
        assert self._dtype is not None
        values = _byte_values(self._dtype)
        counts = self._codes
        self._nan = int(counts[np.isnan(values)].sum())
        self._posinf = int(counts[np.isposinf(values)].sum())
        self._neginf = int(counts[np.isneginf(values)].sum())
        self._zeros = int(counts[values == 0].sum())
        there = np.isfinite(values) & (counts > 0)
        self._finite = int(counts[there].sum())
        if not self._finite:
            return
        seen, often = values[there], counts[there].astype(np.float64)
        low, high = float(seen.min()), float(seen.max())
        self._low_at = int(self._first[there & (values == low)].min())
        self._high_at = int(self._first[there & (values == high)].min())
        self._low, self._high = (int(low), int(high)) if self._integral else (low, high)
        summed = math.fsum(seen * often)
        self._total = int(summed)
        self._away = summed / self._finite
        self._deviations = math.fsum(often * (seen - self._away) ** 2)


_TAKE: dict[_Family, Callable[[StatsAccumulator, Array], None]] = {
    "single": StatsAccumulator._add_singles,
    "double": StatsAccumulator._add_doubles,
    "half": StatsAccumulator._add_narrow,
    "eight": StatsAccumulator._add_narrow,
    "integer": StatsAccumulator._add_integers,
    "bool": StatsAccumulator._add_bools,
    "code": StatsAccumulator._add_codes,
}


def _unscaled(value: float, exponent: int) -> float:
    """`value` without the scale; infinity where it exceeds float64."""
    try:
        return math.ldexp(value, -exponent)
    except OverflowError:
        return math.copysign(math.inf, value)


def stats_of(array: Array, dtype_name: str) -> Stats:
    """Stats of a whole array of any shape, in C order."""
    accumulator = StatsAccumulator(dtype_name)
    accumulator.add(array.reshape(-1))
    return accumulator.result()
