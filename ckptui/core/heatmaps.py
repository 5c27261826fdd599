"""A matrix too large for its place: reduced so that nothing strong is lost."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ckptui.core.layout import KernelLayout
from ckptui.core.pictures import SAMPLE, layer_limit

Array = npt.NDArray[Any]
PIECE = 1 << 20
"""Values widened to float32 at a time."""


def strongest(values: Array, height: int, width: int) -> Array:
    """Shrink (h, w) so that a pixel holds the value of largest magnitude in its block, or nan if one is nan."""
    rows, columns = values.shape
    return _strongest(values, places(rows, height), places(columns, width))


def _strongest(values: Array, down: npt.NDArray[np.intp], right: npt.NDArray[np.intp]) -> Array:
    low, high = values, values
    for axis, edges in ((0, down), (1, right)):
        low = np.minimum.reduceat(low, edges, axis=axis)
        high = np.maximum.reduceat(high, edges, axis=axis)
    result: Array = np.where(np.abs(high) >= np.abs(low), high, low)
    return result


def places(count: int, most: int) -> npt.NDArray[np.intp]:
    """The first of the `count` values each of at most `most` pixels stands for."""
    pixels = min(most, count)
    return np.arange(pixels) * count // pixels


def reduced(matrix: Array, height: int, width: int) -> tuple[Array, float, float]:
    """A matrix of any float dtype as at most (height, width) of float32, its limit and its largest finite magnitude.

    The limit is `layer_limit` of all values, sampled evenly from 2^20 values on. Only pieces are widened.
    """
    rows, columns = matrix.shape
    down, right = places(rows, height), places(columns, width)
    edges = [*down.tolist(), rows]
    result = np.empty((down.size, right.size), np.float32)
    largest = 0.0
    together = max(1, PIECE // max(1, columns * -(-rows // down.size)))
    for start in range(0, len(result), together):
        stop = min(start + together, len(result))
        piece = np.asarray(matrix[edges[start] : edges[stop]]).astype(np.float32)
        largest = max(largest, float(np.abs(piece[np.isfinite(piece)]).max(initial=0.0)))
        result[start:stop] = _strongest(piece, down[start:stop] - edges[start], right)
    flat = matrix.reshape(-1) if matrix.flags.c_contiguous else matrix.ravel(order="K")
    sample = np.asarray(flat[:: max(flat.size // SAMPLE, 1)]).astype(np.float32)
    if sample.size < flat.size:
        sample = np.append(sample, np.float32(largest))
    return result, layer_limit(sample), largest


def unit_matrix(layout: KernelLayout) -> Array:
    """Rows and columns as they are drawn: units are columns, the entries of an embedding are rows."""
    return layout.matrix.T if layout.by_rows else layout.matrix
