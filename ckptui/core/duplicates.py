"""Filters that repeat an earlier one: to the bit, or in direction, where chance does not explain it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ckptui.core.chance import beta_cdf
from ckptui.core.layout import KernelLayout

NEAR = 0.999
"""Cosine above which two filters point the same way."""
FEWEST_OF_FILTER = 9
"""Values a filter needs before a near duplicate counts."""
MOST_FILTERS = 8192
"""Filters compared with each other; more (large vocabularies) are looked through for exact duplicates only."""
PROJECTED = 64
"""Dimensions long filters are projected to before they are compared."""
BLOCK = 1024
"""Filters compared with all at a time."""
FINEST = 1e-13
"""Square of the smallest angle between two filters of float32 that is believed."""
EXPECTED = 1e-2
"""Pairs chance may give in the layer before near duplicates stop counting."""
FEW_LEVELS = 16
"""Magnitudes up to which weights count as quantised to levels."""
FREE_BITS = 20
"""Bits of surprise two equal filters need after counting how many pairs there are."""


def duplicates(layout: KernelLayout, energy: NDArray[np.float64], candidates: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each filter the first filter it repeats, -1 for none.

    `energy` is the sum of squares per filter; only `candidates` (finite, neither zero nor constant) are compared.
    """
    first = np.full(layout.filters, -1, np.int64)
    if layout.values < 2 or int(candidates.sum()) < 2:
        return first
    if not _surprising(layout, int(candidates.sum())):
        return first
    _exact(layout, energy, candidates, first)
    fine = layout.matrix.dtype.itemsize > 1
    if fine and layout.values >= FEWEST_OF_FILTER and layout.filters <= MOST_FILTERS:
        _near(layout, energy, candidates, first)
    return first


def _surprising(layout: KernelLayout, filters: int) -> bool:
    """Equal bits mean something only where so many equal bits are not to be expected among so many pairs."""
    some = layout.matrix[:, :: max(1, layout.filters // 64)].ravel()[:4096]
    return layout.values * _digits(some) - 2 * math.log2(filters) >= FREE_BITS


def _digits(some: NDArray[Any]) -> float:
    """Bits of surprise of two equal values among these: fewer where few different ones occur."""
    digits = float({2: 8, 1: 3}.get(some.dtype.itemsize, 20))
    distinct = np.unique(some).size
    return min(digits, math.log2(distinct)) if distinct < some.size // 2 else digits


def constants_surprise(layout: KernelLayout, constant: NDArray[np.bool_]) -> bool:
    """Whether chance does not explain that filters are `constant`, one value throughout.

    Measured by the values of the filters that are not: in a layer of few levels, as of a binary or ternary network,
    a filter of one level is nothing special.
    """
    count = int(constant.sum())
    if not count:
        return False
    varied = np.flatnonzero(~constant)
    some = layout.matrix[:, varied[:: max(1, varied.size // 64)]].ravel()[:4096]
    some = some[some != 0]
    if not some.size:
        # nothing but constant filters, and zeros
        some = layout.matrix[:1, constant].ravel()[:1]
    elif np.unique(np.abs(some)).size <= FEW_LEVELS:
        return False
    return (layout.values - 1) * _digits(some) - math.log2(layout.filters) >= FREE_BITS


def _exact(
    layout: KernelLayout, energy: NDArray[np.float64], candidates: NDArray[np.bool_], first: NDArray[np.int64]
) -> None:
    """Equal bits have equal sums of squares: only those are looked at."""
    index = np.flatnonzero(candidates)
    _, groups, sizes = np.unique(energy[index], return_inverse=True, return_counts=True)
    seen: dict[bytes, int] = {}
    for i in index[sizes[groups] > 1]:
        bits = np.ascontiguousarray(layout.matrix[:, i]).tobytes()
        earlier = seen.setdefault(bits, int(i))
        if earlier != i:
            first[i] = earlier


def _near(
    layout: KernelLayout, energy: NDArray[np.float64], candidates: NDArray[np.bool_], first: NDArray[np.int64]
) -> None:
    """Directions compared block by block; long filters by a random projection, then checked in full."""
    index = np.flatnonzero(candidates & (first < 0))
    if index.size < 2:
        return
    long = layout.values > 4 * PROJECTED
    directions = _projected(layout, index) if long else _unit(layout.matrix[:, index])
    found = np.full(layout.filters, -1, np.int64)
    threshold = np.float32(0.98 if long else NEAR)
    for start in range(0, index.size, BLOCK):
        block = directions[:, start : start + BLOCK]
        cosine = block.T @ directions[:, : start + block.shape[1]]
        rows, columns = np.nonzero(cosine > threshold)
        earlier = columns < rows + start
        for row, column in zip(rows[earlier] + start, columns[earlier], strict=True):
            one, other = int(index[row]), int(index[column])
            if found[one] < 0 and (not long or _cosine(layout, energy, one, other) > NEAR):
                found[one] = found[other] if found[other] >= 0 else other
    alike = np.flatnonzero(found >= 0)
    if alike.size == 0:
        return
    dimensions = np.minimum(_spread(layout, alike), _spread(layout, found[alike]))
    dimensions = np.minimum(dimensions, _dimensions(directions[:, found[index] < 0]))
    pairs = index.size * (index.size - 1) / 2.0
    for i, spread in zip(alike, dimensions, strict=True):
        if _tail(_cosine(layout, energy, int(i), int(found[i])), float(spread)) * pairs <= EXPECTED:
            first[i] = found[i]


def _unit(columns: NDArray[Any]) -> NDArray[np.float32]:
    wide = columns.astype(np.float32)
    largest = np.abs(wide).max(axis=0)
    wide /= np.where(largest > 0, largest, 1)
    norm = np.sqrt(np.einsum("vf,vf->f", wide, wide))
    return np.asarray(wide / np.where(norm > 0, norm, 1), dtype=np.float32)


def _projected(layout: KernelLayout, index: NDArray[np.int64]) -> NDArray[np.float32]:
    """Random signs keep angles well enough to throw out every pair that is not nearly parallel."""
    draw = np.random.default_rng(5)
    signs = 2 * draw.integers(0, 2, (PROJECTED, layout.values), dtype=np.int8) - np.int8(1)
    out = np.zeros((PROJECTED, layout.filters), np.float32)
    step = max(1, (1 << 21) // layout.filters)
    for start in range(0, layout.values, step):
        rows = layout.matrix[start : start + step].astype(np.float32, copy=False)
        out += signs[:, start : start + step].astype(np.float32) @ rows
    return _unit(out[:, index])


def _dimensions(directions: NDArray[np.float32]) -> float:
    """How many dimensions filters that repeat no other spread over.

    Trained depthwise kernels fill few of theirs: two alike are no surprise there. With hardly any filter left that
    is not a repetition the dimensions are all there are.
    """
    some = directions[:, :: max(1, directions.shape[1] // 1024)]
    count = some.shape[1]
    if count < 2:
        return float(len(some))
    gram = some.T @ some if count <= len(some) else some @ some.T
    squared_cosine = (float(np.square(gram).sum()) - count) / (count * (count - 1.0))
    usual = (1.0 + 3.0 * math.sqrt(4.0 / (count * (count - 1.0)))) / len(some)
    return float(len(some) if squared_cosine < usual else 1.0 / squared_cosine)


def _spread(layout: KernelLayout, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    """Over how many of its values each chosen filter is spread: one for a single spike, all for normal weights."""
    spread = np.empty(chosen.size)
    step = max(1, (1 << 20) // layout.values)
    for start in range(0, chosen.size, step):
        squares = np.square(layout.matrix[:, chosen[start : start + step]].astype(np.float64))
        squares /= squares.max(axis=0)
        # the fourth moment of normal weights is three times the square of their variance
        alike = np.square(squares.sum(axis=0)) / np.square(squares).sum(axis=0)
        spread[start : start + step] = np.minimum(np.count_nonzero(squares, axis=0), 3.0 * alike - 2.0)
    return spread


def _tail(cosine: float, dimensions: float) -> float:
    """P(a cosine this large) of two random directions; what float32 can't tell from 1 is no closer than that."""
    if dimensions <= 1.0:
        return 1.0
    sine_squared = max(1.0 - cosine * cosine, FINEST)
    return 0.5 * beta_cdf(sine_squared, (dimensions - 1.0) / 2.0, 0.5)


def _cosine(layout: KernelLayout, energy: NDArray[np.float64], one: int, other: int) -> float:
    norm = math.sqrt(float(energy[one]) * float(energy[other]))
    if not (norm > 0 and math.isfinite(norm)):
        return 0.0
    a = layout.matrix[:, one].astype(np.float64)
    return float(a @ layout.matrix[:, other].astype(np.float64)) / norm
