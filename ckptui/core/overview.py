"""Values too many to hold, as a small heat map: one pass over a stream, in flat memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ckptui.core.heatmaps import places
from ckptui.core.pictures import layer_limit

Array = npt.NDArray[Any]


class Overview:
    """A matrix that comes as a stream; a pixel holds the strongest value of its block, or nan if one is nan."""

    def __init__(self, rows: int, columns: int, height: int, width: int) -> None:
        """A matrix of (rows, columns), of at least one value, for at most (height, width) pixels."""
        self._columns = columns
        self._down, self._right = places(rows, height), places(columns, width)
        self._low = np.full((self._down.size, self._right.size), np.inf, np.float32)
        self._high = -self._low
        self._at = 0

    def add(self, chunk: Array) -> None:
        """Take the next values, a 1-D array of any real dtype."""
        with np.errstate(over="ignore"):
            values = np.asarray(chunk).astype(np.float32)
        while values.size:
            row, column = divmod(self._at, self._columns)
            whole = values.size // self._columns if not column else 0
            taken = whole * self._columns or min(values.size, self._columns - column)
            self._block(row, column, values[:taken].reshape(max(whole, 1), -1))
            values, self._at = values[taken:], self._at + taken

    def _block(self, row: int, column: int, block: Array) -> None:
        """Rows from `row`, columns from `column`."""
        top, down = _edges(self._down, row, block.shape[0])
        left, right = _edges(self._right, column, block.shape[1])
        place = np.s_[top : top + down.size, left : left + right.size]
        for kept, strongest in ((self._low, np.minimum), (self._high, np.maximum)):
            # rows first: they are long
            small = strongest.reduceat(strongest.reduceat(block, down, axis=0), right, axis=1)
            kept[place] = strongest(kept[place], small)

    def result(self) -> tuple[Array, float]:
        """The heat map of float32 and the magnitude of full colour; where no value came there is nan.

        Pixels stand for many values: on the scale of single ones all would have full colour.
        """
        values = np.where(np.abs(self._high) >= np.abs(self._low), self._high, self._low)
        values[self._low > self._high] = np.nan
        return values, layer_limit(values)


def _edges(firsts: npt.NDArray[np.intp], start: int, count: int) -> tuple[int, npt.NDArray[np.intp]]:
    """The pixel of `start`, and where in start .. start + count it and the following pixels begin."""
    begin = int(np.searchsorted(firsts, start, "right")) - 1
    end = int(np.searchsorted(firsts, start + count, "left"))
    return begin, np.maximum(firsts[begin:end] - start, 0)
