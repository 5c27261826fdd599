"""The numbers of one tensor from one pass: counts, extremes, mean, standard deviation, norm.

Sums accumulate in float64. Every block's mean and squared deviations are merged into the running ones (Chan,
Golub, LeVeque 1979), so a large mean does not eat the deviation; a power of two keeps squares of extreme float64
values in range.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from ckptui.core import dtypes
from ckptui.core.histogram import BLOCK, HistogramAccumulator, histogram
from ckptui.core.model import Stats

__all__ = [
    "BLOCK",
    "HistogramAccumulator",
    "StatsAccumulator",
    "combine",
    "histogram",
    "nonfinite_in",
    "stats_of",
    "widened",
]

Array = np.ndarray[Any, Any]
_Family = Literal["float", "half", "byte", "integer", "none"]

_FAR_LARGE = 2.0**500
_FAR_SMALL = 2.0**-480
_COUNTS = ("finite", "nan", "posinf", "neginf", "zeros")
_ROW = 256
_SHIFT = 600
"""Binary exponent by which values beyond the two limits above are scaled before they are squared."""


class _Scratch(threading.local):
    """Buffers for one block, kept between tensors: fresh ones would cost a page fault per 4 kB each time."""

    def __init__(self) -> None:
        self.wide = np.empty(BLOCK)
        self.mask = np.empty(BLOCK, bool)
        self.ones = np.ones(_ROW)


_scratch = _Scratch()


def _total(wide: Array) -> float:
    """The sum of a float64 block; rows by BLAS, which is twice as fast as `sum` and as exact."""
    rows = wide.size // _ROW
    if rows < 8:
        return float(np.add.reduce(wide))
    body = wide[: rows * _ROW].reshape(rows, _ROW)
    total = np.add.reduce(np.dot(body, _scratch.ones))
    return float(total if rows * _ROW == wide.size else total + np.add.reduce(wide[rows * _ROW :]))


def _family(name: str) -> _Family:
    """How a dtype's values are worked on; `none` for strings, complex and whatever has no numpy type here."""
    size = dtypes.ITEMSIZE.get(name)
    if size is None or dtypes.is_complex(name):
        return "none"
    shown = dtypes.np_dtype(name)
    raw_bits = shown.kind == "u" and (dtypes.is_float(name) or name in ("int4", "int2", "uint4", "uint2"))
    if raw_bits:
        return "none"
    if size == 1:
        return "byte"
    if dtypes.is_float(name):
        return "half" if size == 2 else "float"
    return "integer"


def widened(block: Array) -> Array:
    """Float16 and bfloat16 elements as float32, exactly."""
    if block.dtype.name != "bfloat16":
        return block.astype(np.float32)
    bits = block.view(np.uint16).astype(np.uint32)
    return np.left_shift(bits, 16, out=bits).view(np.float32)


def nonfinite_in(chunk: Array) -> bool:
    """Is any element NaN or infinite? Reads once, faster than `isfinite`; any dtype, complex too."""
    kind, size = chunk.dtype.kind, chunk.dtype.itemsize
    if kind in "iubOSU" or not chunk.size:
        return False
    if kind == "c":
        return nonfinite_in(chunk.view(f"f{size // 2}"))
    if chunk.dtype.byteorder == ">":
        chunk = chunk.astype(chunk.dtype.newbyteorder("="))
    # asking a dtype for its name takes as long as looking at the values of a small piece
    if kind == "f" and size in (4, 8):
        with np.errstate(all="ignore"):
            square = np.dot(chunk, chunk)
        return not math.isfinite(square) and not bool(np.isfinite(chunk).all())
    if size == 2:
        exponent = 0x7C00 if kind == "f" else 0x7F80
        return int(np.bitwise_and(chunk.view(np.uint16), 0x7FFF).max()) >= exponent
    if size == 1:
        finite = np.isfinite(_byte_values(chunk.dtype))
        return not bool(finite.all()) and not bool(finite[chunk.view(np.uint8)].all())
    return not bool(np.isfinite(chunk).all())


def _byte_values(dtype: np.dtype[Any]) -> Array:
    """What each of the 256 bytes means in a one-byte dtype, as float64."""
    codes = np.arange(256, dtype=np.uint8)
    values: Array = codes != 0 if dtype.kind == "b" else codes.view(dtype)
    return values.astype(np.float64)


class StatsAccumulator:
    """Stats of a tensor whose elements come in pieces, in order."""

    def __init__(self, dtype_name: str) -> None:
        """`dtype_name` is TensorFlow's; for complex, strings and unknown dtypes only elements are counted."""
        self._family = _family(dtype_name)
        self._exact = self._family in ("byte", "integer") and not dtypes.is_float(dtype_name)
        self._wide_integer = self._exact and dtypes.ITEMSIZE[dtype_name] == 8
        self._dtype = None if self._family == "none" else dtypes.np_dtype(dtype_name)
        self._count = self._finite = self._zeros = 0
        self._nan = self._posinf = self._neginf = 0
        self._low: float | int | None = None
        self._high: float | int | None = None
        self._low_at = self._high_at = 0
        self._pivot: float | int | None = None
        self._away = self._deviations = 0.0
        self._total = 0
        self._exponent = 0
        self._codes = np.zeros(256, np.int64)
        self._first = np.full(256, -1, np.int64)

    def add(self, chunk: Array) -> None:
        """Take the next elements: a 1-D array of the dtype named (either byte order), of any length."""
        if self._dtype is None:
            self._count += chunk.size
            return
        with np.errstate(all="ignore"):
            for start in range(0, chunk.size, BLOCK):
                block = np.ascontiguousarray(chunk[start : start + BLOCK])
                if block.dtype.byteorder == ">":
                    block = block.astype(block.dtype.newbyteorder("="))
                if self._family == "byte":
                    self._add_bytes(block)
                elif self._family == "integer":
                    self._add_integers(block)
                else:
                    self._add_floats(widened(block) if self._family == "half" else block)
                self._count += block.size

    def result(self) -> Stats:
        """The numbers so far; everything but the count is None for an empty tensor or a dtype without them."""
        if not self._count or self._dtype is None:
            return Stats(self._count)
        if self._family == "byte":
            self._merge_codes()
        mean: float | None = None
        std: float | None = None
        norm: float | None = None
        if self._finite:
            scaled = self._total / self._finite if self._exact else float(self._pivot or 0) + self._away
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

    def _add_floats(self, block: Array) -> None:
        low = float(np.minimum.reduce(block))
        high = float(np.maximum.reduce(block))
        if math.isfinite(low) and math.isfinite(high):
            self._add_finite(block, low, high, None)
            return
        self._nan += int(np.count_nonzero(block != block))
        self._posinf += int(np.count_nonzero(block == math.inf))
        self._neginf += int(np.count_nonzero(block == -math.inf))
        places = np.flatnonzero(np.isfinite(block))
        if places.size:
            finite = block[places]
            low, high = float(np.minimum.reduce(finite)), float(np.maximum.reduce(finite))
            self._add_finite(finite, low, high, places)

    def _add_finite(self, block: Array, low: float, high: float, places: Array | None) -> None:
        """Take finite values with their extremes; `places` are their indices where others stood between."""
        self._extremes(block, low, high, places)
        if low <= 0 <= high:
            self._zeros += self._zeros_in(block)
        self._moments(block, low, high)

    def _extremes(self, block: Array, low: float | int, high: float | int, places: Array | None) -> None:
        if self._low is None or low < self._low:
            self._low = low
            at = int(block.argmin())
            self._low_at = self._count + (at if places is None else int(places[at]))
        if self._high is None or high > self._high:
            self._high = high
            at = int(block.argmax())
            self._high_at = self._count + (at if places is None else int(places[at]))

    def _zeros_in(self, block: Array) -> int:
        """How many are zero: comparing first is six times faster than `count_nonzero` on floats."""
        if block.dtype.kind in "iu":
            return block.size - int(np.count_nonzero(block))
        mask = _scratch.mask[: block.size]
        np.equal(block, 0, out=mask)
        return int(np.count_nonzero(mask))

    def _moments(self, block: Array, low: float, high: float) -> float:
        """Merge the mean and the squared deviations of finite values into the running ones; the sum, scaled."""
        wide = _scratch.wide[: block.size]
        np.copyto(wide, block)
        if block.dtype.itemsize == 8 and block.dtype.kind == "f":
            self._rescale(max(-low, high))
            if self._exponent:
                np.ldexp(wide, self._exponent, out=wide)
        if self._pivot is None:
            self._pivot = float(wide[0]) if low == high else float(np.add.reduce(wide)) / block.size
        if low == high:
            self._merge(block.size, float(wide[0]) - self._pivot, 0.0)
            return float(wide[0]) * block.size
        total, squares = _total(wide), float(np.dot(wide, wide))
        mean = total / block.size
        deviations, away = squares - total * mean, mean - self._pivot
        if deviations < 0.01 * squares:
            np.subtract(wide, self._pivot, out=wide)
            rest, squares = _total(wide), float(np.dot(wide, wide))
            away = rest / block.size
            deviations = squares - rest * away
        self._merge(block.size, away, max(deviations, 0.0))
        return total

    def _merge(self, count: int, away: float, deviations: float) -> None:
        """Merge a block: its mean, as a difference to the pivot, and its sum of squared deviations."""
        both = self._finite + count
        delta = away - self._away
        self._deviations += deviations + delta * delta * (self._finite * count / both)
        self._away += delta * (count / both)
        self._finite = both

    def _rescale(self, magnitude: float) -> None:
        """Choose the power of two that keeps the squares of all magnitudes so far finite and normal."""
        if self._low is not None and self._high is not None:
            magnitude = max(magnitude, -self._low, self._high)
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
        low, high = int(np.minimum.reduce(block)), int(np.maximum.reduce(block))
        self._extremes(block, low, high, None)
        if low <= 0 <= high:
            self._zeros += self._zeros_in(block)
        if not self._wide_integer:
            # a float64 holds every partial sum of 2**16 elements of 32 bits exactly
            self._total += int(self._moments(block, low, high))
            return
        upper = int(np.add.reduce(block >> 32, dtype=np.int64))
        lower = int(np.add.reduce(block & 0xFFFFFFFF, dtype=np.int64))
        total = (upper << 32) + lower
        self._total += total
        pivot = total // block.size
        if self._pivot is None:
            self._pivot = pivot
        if max(high - pivot, pivot - low) < 1 << 53:
            # differences that float64 holds exactly; wrapping subtraction is right whenever the result fits
            away = (block - block.dtype.type(pivot)).view(np.int64).astype(np.float64)
        else:
            away = block.astype(np.float64) - float(pivot)
        rest = float(np.add.reduce(away))
        deviations = float(np.dot(away, away)) - rest * rest / block.size
        self._merge(block.size, (pivot - int(self._pivot)) + rest / block.size, max(deviations, 0.0))

    # ------------------------------------------------------------------ one byte an element

    def _add_bytes(self, block: Array) -> None:
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
        self._low, self._high = (int(low), int(high)) if self._exact else (low, high)
        total = math.fsum(seen * often)
        self._total = int(total)
        self._away = total / self._finite
        self._deviations = math.fsum(often * (seen - self._away) ** 2)


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


def combine(parts: Sequence[tuple[Stats, Callable[[int], int]]], count: int) -> Stats:
    """Stats of a tensor of `count` elements from those of its tiles.

    Each tile comes with a function that turns its own flat index into the whole tensor's.
    """
    known = [(stats, place) for stats, place in parts if stats.finite is not None]
    if not known:
        return Stats(count)
    full = [stats for stats, _ in known if stats.finite]
    sums = {name: sum(getattr(stats, name) for stats, _ in known) for name in _COUNTS}
    if not full:
        return Stats(count, **sums)
    low = min(stats.min for stats in full if stats.min is not None)
    high = max(stats.max for stats in full if stats.max is not None)
    finite = sums["finite"]
    shares = [(stats.finite or 0) / finite for stats in full]
    means = [stats.mean or 0.0 for stats in full]
    mean = math.fsum(share * one for share, one in zip(shares, means, strict=True))
    roots = [math.sqrt(share) for share in shares]
    within = [root * (stats.std or 0.0) for root, stats in zip(roots, full, strict=True)]
    between = [root * (one - mean) for root, one in zip(roots, means, strict=True)]
    return Stats(
        count=count,
        **sums,
        min=low,
        max=high,
        argmin=min(place(stats.argmin or 0) for stats, place in known if stats.finite and stats.min == low),
        argmax=min(place(stats.argmax or 0) for stats, place in known if stats.finite and stats.max == high),
        mean=mean,
        std=math.hypot(*within, *between),
        l2=math.hypot(*(stats.l2 or 0.0 for stats in full)),
    )
