"""Counts of a tensor's finite values in equal bins, and its quantiles."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from ckptui.core.model import Histogram
from ckptui.core.results import QUANTILES

Array = np.ndarray[Any, Any]

SAMPLE = 65_536
"""Values quantiles are taken of, at most."""

BLOCK = 1 << 16
"""Elements worked on at a time: a float64 copy of them stays in the second-level cache."""


class HistogramAccumulator:
    """Counts in equal bins between two extremes that a first pass found."""

    def __init__(self, low: float, high: float, bins: int) -> None:
        """`low` and `high` are finite; all values go into the middle bin where they are equal."""
        self._low, self._high, self._bins = float(low), float(high), bins
        self._counts = np.zeros(bins, np.int64)
        self._outside = 0

    def add(self, chunk: Array) -> None:
        """Count the elements of a 1-D array; those that are not finite count as outside."""
        width = self._high / 2 - self._low / 2
        for start in range(0, chunk.size, BLOCK):
            wide = chunk[start : start + BLOCK].astype(np.float64)
            finite = wide[np.isfinite(wide)]
            self._outside += wide.size - finite.size
            if width <= 0:
                self._counts[self._bins // 2] += finite.size
                continue
            # halves, so that the span of float64 extremes does not overflow
            place = ((finite / 2 - self._low / 2) / width * self._bins).astype(np.int64)
            self._counts += np.bincount(np.clip(place, 0, self._bins - 1), minlength=self._bins)

    def result(self) -> Histogram:
        """The histogram so far."""
        counts = tuple(int(n) for n in self._counts)
        return Histogram(self._low, self._high, counts, self._outside)


class Sample:
    """Every n-th element of a stream of known length, few enough to be sorted."""

    def __init__(self, count: int) -> None:
        """`count`: elements of the whole stream; of up to `SAMPLE` all are kept."""
        self._step = max(1, -(-count // SAMPLE))
        self._next = 0
        self._kept: list[Array] = []

    def add(self, chunk: Array) -> None:
        """Keep what falls on a step of a 1-D array."""
        self._kept.append(chunk[self._next :: self._step].astype(np.float64))
        self._next = (self._next - chunk.size) % self._step

    def values(self) -> Array:
        """What was kept, in float64."""
        return np.concatenate([np.empty(0), *self._kept])

    def quantiles(self) -> tuple[tuple[float, ...], int]:
        """`QUANTILES` of the finite values kept, linearly between neighbours; and how many there are, 0 for all."""
        kept = self.values()
        finite = kept[np.isfinite(kept)]
        if not finite.size:
            return (), 0
        # halves, so that the distance of float64 extremes does not overflow
        values = np.quantile(finite / 2, QUANTILES) * 2
        return tuple(values.tolist()), finite.size if self._step > 1 else 0


def extremes(chunks: Iterable[Array]) -> tuple[float, float] | None:
    """The smallest and largest finite value of a stream of 1-D arrays; None where there is none."""
    low, high = math.inf, -math.inf
    for chunk in chunks:
        if chunk.dtype.kind in "cOSU":
            continue
        for start in range(0, chunk.size, BLOCK):
            block = chunk[start : start + BLOCK].astype(np.float64)
            finite = block[np.isfinite(block)]
            if finite.size:
                low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    return None if low > high else (low, high)


def histogram_of(chunks: Iterable[Array], span: tuple[float, float] | None, bins: int, count: int) -> Histogram:
    """The histogram of a stream of 1-D arrays of `count` elements between its extremes, with quantiles.

    Without bins where there is nothing to count: strings, complex numbers, no finite value.
    """
    if span is None:
        outside = sum(chunk.size for chunk in chunks if chunk.dtype.kind not in "cOSU")
        return Histogram(0.0, 0.0, (), outside)
    accumulator, sample = HistogramAccumulator(*span, bins), Sample(count)
    for chunk in chunks:
        accumulator.add(chunk)
        sample.add(chunk)
    quantiles, sampled = sample.quantiles()
    return replace(accumulator.result(), quantiles=quantiles, sampled=sampled)


def histogram(array: Array, bins: int = 64) -> Histogram:
    """Counts of the finite values of `array` in `bins` equal bins from its minimum to its maximum."""
    flat = [array.reshape(-1)]
    return histogram_of(flat, extremes(flat), bins, array.size)
