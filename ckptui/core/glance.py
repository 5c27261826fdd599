"""What `check` asks of a tensor's values: which are not finite, whether all are alike, the largest magnitudes.

One pass for each extreme of a block, at the speed of memory: NaN propagates through both. Halves and floats of eight
bits are ordered by their stored bits, without being widened.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from ckptui.core import dtypes
from ckptui.core.model import Stats
from ckptui.core.passes import fastest
from ckptui.core.peaks import PeakWatch

Array = np.ndarray[Any, Any]

_FOUR_BITS = ("int4", "uint4", "int2", "uint2", "float4_e2m1fn")
"""One element a byte, in its low bits."""
_FEW = 2048
STEP_BYTES = 1 << 19
"""Looked at in one piece: stays in the second-level cache."""


class Glance:
    """Counts and extremes of a tensor whose elements come in pieces, in order."""

    def __init__(self, dtype_name: str, peaks: PeakWatch | None = None) -> None:
        """`dtype_name` is TensorFlow's. `peaks` is told every block of a float dtype of 2 bytes or more."""
        self._complex = dtypes.is_complex(dtype_name)
        self._float = dtypes.is_float(dtype_name)
        self._dtype = dtypes.np_dtype(dtype_name) if dtype_name in dtypes.ITEMSIZE else None
        if self._dtype is not None and self._float and self._dtype.kind == "u":
            # the installed ml_dtypes lacks it: these are raw bits
            self._float, self._dtype = False, None
        self._peaks = peaks
        self._passes = fastest()
        self._bits: _SignAndMagnitude | None = None
        self._widened: np.dtype[Any] | None = None
        if self._dtype is not None and dtype_name in _FOUR_BITS:
            self._widened = np.dtype(np.float32)
        elif self._float and self._dtype is not None and self._dtype.itemsize < 4:
            self._bits = _by_bits(self._dtype)
        self._alike = self._dtype is not None and not self._complex
        self._value: Any = None
        self._count = self._nan = self._posinf = self._neginf = 0

    def add(self, chunk: Array) -> None:
        """Take the next elements: a 1-D array of the dtype named (either byte order), of any length."""
        if self._dtype is None or not (self._float or self._complex or self._alike):
            self._count += chunk.size
            return
        chunk = dtypes.native(chunk, self._dtype)
        if self._float and 0 < chunk.size <= _FEW and self._dtype.itemsize >= 4 and self._look_briefly(chunk):
            self._count += chunk.size
            return
        step = STEP_BYTES // self._dtype.itemsize
        with np.errstate(all="ignore"):
            for start in range(0, chunk.size, step):
                block = chunk[start : start + step]
                self._look(block)
                self._count += block.size

    @property
    def complete(self) -> bool:
        """Whether `result` holds every number: so it does where all values are alike."""
        return self._alike and self._value is not None

    def result(self) -> Stats:
        """All numbers where all values are alike, else only the counts of what is not finite."""
        if self.complete:
            value = self._value if self._float else int(self._value)
            return _stats_of_one(value + 0, self._count)
        if not self._count:
            return Stats(0)
        bad = (self._nan, self._posinf, self._neginf)
        return Stats(self._count, self._count - sum(bad), *bad)

    def _look_briefly(self, block: Array) -> bool:
        """Of few values all numbers are had in less time than numpy takes to be called; False for odd ones."""
        assert self._dtype is not None
        seen = self._passes.look(block) if self._dtype.itemsize == 4 else self._passes.look_at_doubles(block)
        if seen is None:
            return False
        low, high = seen[:2]
        if self._peaks is not None:
            self._peaks.add(block, self._count, low, high)
        self._compare(low, high)
        return True

    def _look(self, block: Array) -> None:
        if self._complex:
            parts = block.view(f"f{block.dtype.itemsize // 2}")
            low, high = np.minimum.reduce(parts), np.maximum.reduce(parts)
        elif self._bits is not None:
            low, high = self._bits.extremes(block)
        elif self._widened is not None:
            wide = block.astype(self._widened)
            low, high = wide.min().item(), wide.max().item()
        else:
            low, high = np.minimum.reduce(block).item(), np.maximum.reduce(block).item()
        if self._float and self._peaks is not None:
            self._peaks.add(block, self._count, low, high)
        if (self._float or self._complex) and not (math.isfinite(low) and math.isfinite(high)):
            self._alike = False
            self._count_nonfinite(block)
        else:
            self._compare(low, high)

    def _compare(self, low: Any, high: Any) -> None:
        """Is it all one value still?"""
        if self._alike:
            self._value = low if self._value is None else self._value
            self._alike = low == high == self._value

    def _count_nonfinite(self, block: Array) -> None:
        wide = block if block.dtype.kind in "cf" else block.astype(np.float32)
        nan = np.isnan(wide)
        infinite = np.isinf(wide) & ~nan
        negative = int(np.count_nonzero(wide.real[infinite] == -np.inf))
        self._nan += int(np.count_nonzero(nan))
        self._neginf += negative
        self._posinf += int(np.count_nonzero(infinite)) - negative


class _SignAndMagnitude:
    """Order of a float dtype of one or two bytes, by its bits: a sign, then a magnitude that grows with the value."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        size = dtype.itemsize
        self._dtype = dtype
        self._unsigned, self._signed = np.dtype(f"u{size}"), np.dtype(f"i{size}")
        self._sign = 1 << (8 * size - 1)
        codes = np.arange(2 * self._sign).astype(self._unsigned).view(dtype)
        finite = np.isfinite(codes.astype(np.float32))
        positive, negative = finite[: self._sign], finite[self._sign :]
        self._limit = int(np.count_nonzero(positive))
        """Magnitudes from here on are not finite."""
        self._lone = not bool(negative[0])
        """The code of -0 stands for NaN."""

    def extremes(self, block: Array) -> tuple[float, float]:
        """Smallest and largest value; NaN for both where one is not finite."""
        signed = block.view(self._signed)
        code = int(np.maximum.reduce(block.view(self._unsigned)))
        high = int(np.maximum.reduce(signed))
        below = code >= self._sign
        if high >= self._limit or (below and code - self._sign >= self._limit):
            return math.nan, math.nan
        if below and self._lone and int(np.minimum.reduce(signed)) == -self._sign:
            return math.nan, math.nan
        low = code if below else int(np.minimum.reduce(signed))
        if high < 0:
            # all are below zero: the smallest magnitude is the largest value
            high = int(np.minimum.reduce(signed)) + 2 * self._sign
        return self._value(low), self._value(high)

    def _value(self, code: int) -> float:
        return float(np.array([code], self._unsigned).view(self._dtype)[0])


@functools.cache
def _by_bits(dtype: np.dtype[Any]) -> _SignAndMagnitude:
    return _SignAndMagnitude(dtype)


def _stats_of_one(value: float | int, count: int) -> Stats:
    """Stats of `count` elements that are all `value`."""
    return Stats(
        count=count,
        finite=count,
        nan=0,
        posinf=0,
        neginf=0,
        zeros=count if value == 0 else 0,
        min=value,
        max=value,
        argmin=0,
        argmax=0,
        mean=float(value),
        std=0.0,
        l2=abs(float(value)) * math.sqrt(count),
    )
