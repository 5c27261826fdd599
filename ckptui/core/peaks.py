"""The two largest magnitudes of a tensor, and its first value that is not finite, from a pass in pieces.

What `implausible.py` judges by. A block costs more than the comparison of its extremes only where it holds one of
the two largest magnitudes so far.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Peaks:
    """What stands out of one floating-point tensor."""

    largest: float | None = None
    """The finite value of the largest magnitude, with its sign; None without a finite value."""
    at: int | None = None
    """Its flat C-order index (the first, where several are alike)."""
    second: float | None = None
    """The next magnitude, equal ones counted; None where there is no second finite value."""
    bits: int | None = None
    """The stored bits of `largest`, as an unsigned integer of the dtype's size."""
    odd_at: int | None = None
    """Flat index of the first value that is not finite."""
    odd_bits: int | None = None
    """Its stored bits."""


class PeakWatch:
    """Peaks of float16, bfloat16, float32 or float64 elements that come in blocks, in order."""

    def __init__(self) -> None:
        self._largest = self._second = -1.0
        self._value = 0.0
        self._at = self._bits = 0
        self._odd_at: int | None = None
        self._odd_bits: int | None = None

    def add(self, block: Array, start: int, low: float, high: float) -> None:
        """Take a 1-D block in native byte order whose first element has flat index `start`.

        `low` and `high` are its smallest and largest value; where it holds NaN or infinity, one of them shows it.
        """
        magnitude = max(-low, high)
        if math.isfinite(low) and math.isfinite(high):
            if magnitude > self._second:
                self._take(np.abs(block), block, start)
            return
        finite = np.isfinite(block)
        if self._odd_at is None:
            first = int(finite.argmin())
            self._odd_at, self._odd_bits = start + first, _bits(block, first)
        if finite.any():
            self._take(np.where(finite, np.abs(block), np.array(-1, block.dtype)), block, start)

    def result(self) -> Peaks:
        """The peaks so far."""
        odd = {"odd_at": self._odd_at, "odd_bits": self._odd_bits}
        if self._largest < 0:
            return Peaks(**odd)
        return Peaks(self._value, self._at, self._second if self._second >= 0 else None, self._bits, **odd)

    def _take(self, magnitudes: Array, block: Array, start: int) -> None:
        """Merge a block's two largest magnitudes; those below zero do not count."""
        first = int(magnitudes.argmax())
        largest = float(magnitudes[first])
        magnitudes[first] = -1
        following = float(magnitudes.max())
        if largest > self._largest:
            self._second = max(self._largest, following)
            self._largest, self._value, self._at = largest, float(block[first]), start + first
            self._bits = _bits(block, first)
        else:
            self._second = max(self._second, largest)


def _bits(block: Array, place: int) -> int:
    return int.from_bytes(block[place : place + 1].tobytes(), "little" if _LITTLE else "big")


_LITTLE = np.little_endian


def peaks_of(array: Array) -> Peaks:
    """Peaks of a whole array of any shape, in C order."""
    watch = PeakWatch()
    flat = np.ascontiguousarray(array).reshape(-1)
    if flat.size:
        finite = flat[np.isfinite(flat)]
        whole = finite.size == flat.size
        low, high = (float(flat.min()), float(flat.max())) if whole else (-math.inf, math.inf)
        watch.add(flat, 0, low, high)
    return watch.result()
