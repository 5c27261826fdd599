"""What is asked of one block of values: extremes, sums, zeros, a wider copy; by numkong, or by numpy without it.

Measured on blocks of 256 kB: numkong finds both extremes in one pass, sums float32 values and their squares in float64
in one more, and widens halves and floats of eight bits ten times as fast as numpy. Sums of float64 are BLAS's here,
which is twice as fast; sums of integers of up to 32 bits are numkong's only where they can't saturate. Its sums of
halves are kept in float32, so halves are widened first.
"""

from __future__ import annotations

import functools
import importlib
import math
import threading
from typing import Any

import numpy as np

from ckptui.core.histogram import BLOCK

Array = np.ndarray[Any, Any]
Look = tuple[float, float, float, float]
"""Smallest, largest, sum, sum of squares."""

_ROW = 256
_EXACT_SQUARES = 1 << 63
_NUMKONG_NAMES = {
    "float16": "float16",
    "bfloat16": "bfloat16",
    "float8_e4m3fn": "e4m3",
    "float8_e5m2": "e5m2",
}


_ZERO = {char: np.zeros((), char) for char in np.typecodes["AllInteger"] + "efd"}
"""Of each dtype, so that no Python number has to be looked at."""


class _Scratch(threading.local):
    """Buffers for one block, kept between tensors: fresh ones would cost a page fault per 4 kB each time."""

    def __init__(self) -> None:
        self.wide = np.empty(BLOCK)
        self.single = np.empty(BLOCK, np.float32)
        self.mask = np.empty(BLOCK, bool)
        self.ones = np.ones(_ROW)


_scratch = _Scratch()


class NumpyPasses:
    """By numpy alone. Blocks are 1-D, contiguous, in native byte order, of 1 to BLOCK elements.

    What is said to be scratch is overwritten by the next call in the same thread.
    """

    name = "numpy"

    def extremes(self, block: Array) -> tuple[Any, Any]:
        """Smallest and largest of integers or finite floats."""
        return np.minimum.reduce(block).item(), np.maximum.reduce(block).item()

    def look(self, block: Array) -> Look | None:
        """All four numbers of a float32 block; None where a value is not finite."""
        with np.errstate(invalid="ignore"):
            low, high = self.extremes(block)
        if not (math.isfinite(low) and math.isfinite(high)):
            return None
        wide = self.doubles(block)
        return low, high, total(wide), float(np.dot(wide, wide))

    def look_at_doubles(self, block: Array) -> Look | None:
        """All four numbers of a float64 block; None where the squares have no finite sum."""
        with np.errstate(over="ignore", invalid="ignore"):
            squares = float(np.dot(block, block))
        return (*self.extremes(block), total(block), squares) if math.isfinite(squares) else None

    def exact_sums(self, block: Array, magnitude: int) -> tuple[int, int] | None:
        """Exact sum and sum of squares of integers up to `magnitude`; None where they are not to be had so."""
        del block, magnitude
        return None

    def zeros(self, block: Array) -> int:
        """How many are zero: comparing first is six times faster than `count_nonzero` on floats."""
        if block.dtype.kind in "iu":
            return block.size - int(np.count_nonzero(block))
        mask = _scratch.mask[: block.size]
        np.equal(block, _ZERO[block.dtype.char], out=mask)
        return int(np.count_nonzero(mask))

    def doubles(self, block: Array) -> Array:
        """A copy as float64; scratch."""
        wide = _scratch.wide[: block.size]
        np.copyto(wide, block)
        return wide

    def singles(self, block: Array, dtype_name: str) -> Array | None:
        """Halves, or floats of eight bits, as float32, exactly; scratch. None for dtypes it can't widen."""
        wide = _scratch.single[: block.size]
        if dtype_name == "float16":
            np.copyto(wide, block)
        elif dtype_name == "bfloat16":
            bits = wide.view(np.uint32)
            np.copyto(bits, block.view(np.uint16))
            np.left_shift(bits, 16, out=bits)
        else:
            return None
        return wide


class NumkongPasses(NumpyPasses):
    """The same with numkong where it is faster and as exact."""

    name = "numkong"

    def __init__(self, numkong: Any) -> None:
        """`numkong`: the module; see `fastest` for how it is tried out first."""
        self._minmax, self._moments = numkong.minmax, numkong.moments
        self._sum, self._astype, self._from_pointer = numkong.sum, numkong.astype, numkong.from_pointer

    def extremes(self, block: Array) -> tuple[Any, Any]:
        low, _, high, _ = self._minmax(block)
        return low, high

    def look(self, block: Array) -> Look | None:
        summed, squares = self._moments(block)
        # squares of float32 fit float64: only what is not finite makes their sum so
        if not math.isfinite(squares):
            return None
        low, _, high, _ = self._minmax(block)
        return low, high, summed, squares

    def exact_sums(self, block: Array, magnitude: int) -> tuple[int, int] | None:
        # two smallest integers of 16 bits side by side overflow its pairwise products
        if magnitude * magnitude * block.size >= _EXACT_SQUARES or (magnitude == 1 << 15 and block.itemsize == 2):
            return None
        summed, squares = self._moments(block)
        return int(summed), int(squares)

    def zeros(self, block: Array) -> int:
        mask = _scratch.mask[: block.size]
        np.equal(block, _ZERO[block.dtype.char], out=mask)
        return int(self._sum(mask.view(np.uint8)))

    def doubles(self, block: Array) -> Array:
        wide = _scratch.wide[: block.size]
        if block.dtype.kind in "iu" and block.dtype.itemsize != 4:
            np.copyto(wide, block)
        else:
            self._astype(block, "float64", out=wide)
        return wide

    def singles(self, block: Array, dtype_name: str) -> Array | None:
        known = _NUMKONG_NAMES.get(dtype_name)
        if known is None:
            return None
        wide = _scratch.single[: block.size]
        # numpy has no code for these dtypes that another library could read from the buffer
        there = self._from_pointer(block.ctypes.data, (block.size,), known, owner=block)
        self._astype(there, "float32", out=wide)
        return wide


def total(wide: Array) -> float:
    """The sum of a float64 block; rows by BLAS, which is twice as fast as `sum` and as exact."""
    rows = wide.size // _ROW
    if rows < 8:
        return float(np.add.reduce(wide))
    body = wide[: rows * _ROW].reshape(rows, _ROW)
    summed = np.add.reduce(np.dot(body, _scratch.ones))
    return float(summed if rows * _ROW == wide.size else summed + np.add.reduce(wide[rows * _ROW :]))


@functools.cache
def fastest() -> NumpyPasses:
    """Numkong's passes where it is installed and gives what is expected of it, else numpy's."""
    try:
        passes = NumkongPasses(importlib.import_module("numkong"))
        return passes if _as_expected(passes) else NumpyPasses()
    except Exception:
        # another version may have other names or other arguments; the numbers are the same without it
        return NumpyPasses()


def _as_expected(passes: NumkongPasses) -> bool:
    """Do the calls mean what they meant when this was written? Every code of the narrow dtypes, a few sums."""
    plain = NumpyPasses()
    values = np.linspace(-3, 5, 999).astype(np.float32)
    found, wanted = passes.look(values), plain.look(values)
    if found is None or wanted is None or found[:2] != wanted[:2]:
        return False
    if any(abs(a - b) > 1e-9 for a, b in zip(found, wanted, strict=True)):
        return False
    values[500] = np.nan
    numbers = np.arange(-300, 700, dtype=np.int32)
    exact = int(numbers.sum()), int((numbers.astype(np.int64) ** 2).sum())
    if passes.look(values) is not None or passes.exact_sums(numbers, 700) != exact or passes.zeros(numbers) != 1:
        return False
    return all(_widens(passes, name) for name in _NUMKONG_NAMES)


def _widens(passes: NumkongPasses, name: str) -> bool:
    """Is every code of a dtype widened to the value it stands for?"""
    from ckptui.core import dtypes

    dtype = dtypes.np_dtype(name)
    if dtype.kind == "u":
        return True
    codes = np.arange(1 << 8 * dtype.itemsize).astype(f"u{dtype.itemsize}").view(dtype)
    for start in range(0, codes.size, BLOCK):
        block = codes[start : start + BLOCK]
        wide = passes.singles(block, name)
        if wide is None or not np.array_equal(wide, block.astype(np.float32), equal_nan=True):
            return False
    return True
