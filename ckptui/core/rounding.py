"""How much of the difference between two floating dtypes rounding explains: is one side the other's, rounded?"""

from __future__ import annotations

from typing import Any

import numpy as np

from ckptui.core import dtypes
from ckptui.core.distances import quick

Array = np.ndarray[Any, Any]

_LEAST = 0.5
"""Share of values that must be the other's, rounded, for it to be looked for any longer, and to be told."""
_BLOCK = 1 << 14


class Rounding:
    """Counts elements of the narrower side that are what rounding makes of the wider one's."""

    def __init__(self, dtype_a: str, dtype_b: str) -> None:
        """Two different dtypes of floats; TensorFlow's names."""
        self._wide_first = not dtypes.ITEMSIZE[dtype_a] < dtypes.ITEMSIZE[dtype_b]
        self._narrow = dtype_b if self._wide_first else dtype_a
        self.seen = 0
        self.rounded = 0
        self.given_up = False

    @staticmethod
    def between(dtype_a: str, dtype_b: str) -> Rounding | None:
        """None for dtypes among which rounding explains nothing."""
        if dtype_a == dtype_b or not (dtypes.is_float(dtype_a) and dtypes.is_float(dtype_b)):
            return None
        if any(dtypes.np_dtype(name).kind == "u" for name in (dtype_a, dtype_b)):
            return None
        return Rounding(dtype_a, dtype_b)

    def add(self, a: Array, b: Array) -> None:
        """Take the next elements: 1-D arrays of equal length, in their own dtypes."""
        wide, narrow = (a, b) if self._wide_first else (b, a)
        for start in range(0, wide.size, _BLOCK):
            if self.given_up:
                return
            self._look(wide[start : start + _BLOCK], narrow[start : start + _BLOCK])

    def _look(self, wide: Array, narrow: Array) -> None:
        rounded = self._round(wide, narrow.dtype)
        codes = np.dtype(f"u{narrow.itemsize}")
        same = rounded.view(codes) == narrow.view(codes)
        if not same.all():
            # NaN may have any bits
            rest = np.flatnonzero(wide != wide)
            same[rest] = narrow[rest] != narrow[rest]
        self.seen += wide.size
        self.rounded += int(np.count_nonzero(same))
        self.given_up = self.rounded < _LEAST * self.seen

    def _round(self, wide: Array, dtype: np.dtype[Any]) -> Array:
        """To the nearest, ties to even."""
        passes = quick()
        if passes is not None and wide.dtype == np.float32 and self._narrow in ("float16", "bfloat16"):
            return passes.narrowed(wide, self._narrow)
        return wide.astype(dtype)

    def absorb(self, seen: int, rounded: int) -> None:
        """Take what was counted over other elements."""
        self.seen += seen
        self.rounded += rounded
        self.given_up = self.given_up or self.rounded < _LEAST * self.seen

    def told(self, changed: int) -> str:
        """One clause for the row of a diff; empty where rounding explains nothing. `changed`: values that differ."""
        if not self.seen or self.given_up or not changed:
            return ""
        wide, narrow = ("A", "B") if self._wide_first else ("B", "A")
        if self.rounded == self.seen:
            return f"every value of {narrow} is {wide}'s, rounded to {self._narrow}"
        share = min(99.99, 100 * self.rounded / self.seen)
        return f"{share:.4g} % of {narrow}'s values are {wide}'s, rounded to {self._narrow}"
