"""Normals as TensorFlow draws them: which filters and rows still hold the pairs that were drawn together.

Box-Muller makes two normals at a time, r sin v and r cos v with v = 2 pi k 2^-23 rounded to float32 (2^-52 in
float64), and they become neighbours in C order. So the angle of two neighbours shows k, whatever their scale; any
change of one of them takes it off. Normals cut off at two standard deviations are drawn in groups of four, and a
value thrown away parts the rest of its group: about one pair in ten is lost.

A single value says nothing: 2^46 pairs of draws fall on fewer than 2^28 floats, so every value is a possible one.
A filter is told only where its neighbour in C order (for most kernels the next filter) is untouched as well.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ckptui.core.chance import binomial_tail

TOLERANCE = 0.1
"""Distance of an angle, in steps of the grid of angles, up to which a pair counts as drawn together."""
CHANCE = 2 * TOLERANCE
"""Share of moved pairs within that distance."""
FRESH = {"normal": (0.995, 0.99), "truncated": (0.895, 0.86), "shifted": (0.75, 0.75), "shifted truncated": (0.6, 0.55)}
"""Share of pairs on the grid when nothing moved, at least: of a tensor, and of one filter, for truncated pairs are
parted more often in the second half of a group; `shifted`: with a mean other than zero, which costs digits."""
FAMILY_WISE = 1e-4
"""Chance, over all filters or rows of a tensor, up to which they are named."""
PARTED = 1e-6
"""Chance of so many pairs off the grid below which a filter counts as moved."""
NEAR = 0.87
"""Share of the pairs on the grid that are twice as near when nothing moved, at least; a last digit changed shows."""
DOUBTFUL = 1e-3
"""Chance of so few of them, or of so many pairs off the grid, below which a filter is not named."""
LOOKED_AT = 256
"""Pairs of a filter looked at before it is named."""
FEWEST_PAIRS = 5
"""Pairs a filter or row needs to be called untouched: ten values."""
RUNS, RUN_LENGTH = 8, 512
"""Places a tensor's neighbouring pairs are taken from first, and values at each."""
GLANCES = (16, 64)
"""Pairs of each filter and row looked at first, and of those that passed."""
GLANCE_SHARE = 0.6
"""Share of them that must be on the grid."""
BLOCK = 1 << 15
"""Values tested at a time."""
WORST_ROUNDING = 0.3
"""Steps of the grid by which the rounding of a value may turn the angle; such pairs are left out."""

_WIDE = np.longdouble if np.finfo(np.longdouble).nmant > 60 else None


@dataclass(frozen=True, slots=True)
class Order:
    """How a tensor's values were drawn."""

    offset: int = 0
    """Values before the first pair."""
    cosine_first: bool = False
    mean: float = 0.0

    def angles(self, first: NDArray[Any], second: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[Any]]:
        """(nearest multiple k of the angle's step, distance from it in steps) of pairs; same shape.

        The distance is NaN where a pair can't tell: zeros, equal magnitudes, values that are not finite.
        """
        narrow = first.dtype.type
        wide = np.float64 if narrow is np.float32 else _WIDE
        if wide is None:
            return np.zeros(first.shape), np.full(first.shape, np.nan)
        bits = 23 if narrow is np.float32 else 52
        sines, cosines = (second, first) if self.cosine_first else (first, second)
        sines, cosines = sines.astype(wide), cosines.astype(wide)
        if self.mean:
            centre = wide(narrow(self.mean))
            sines -= centre
            cosines -= centre
        turn = wide(2.0) * np.arctan2(wide(0.0), wide(-1.0))
        angles = np.arctan2(sines, cosines)
        angles[angles < 0] += turn
        scale = turn * wide(2.0) ** -bits
        steps = np.rint(angles / scale).astype(np.float64)
        drawn = (steps * (2.0 * math.pi * 2.0**-bits)).astype(narrow)
        distances = np.abs(angles - drawn) / scale
        vague = ~np.isfinite(distances) | (sines == 0) | (cosines == 0) | (np.abs(sines) == np.abs(cosines))
        if self.mean:
            rounding = np.spacing(np.maximum(np.abs(first), np.abs(second)))
            vague |= rounding > WORST_ROUNDING * scale * np.hypot(sines, cosines)
        distances[vague] = np.nan
        return steps, distances


@dataclass(frozen=True, slots=True)
class PairMembers:
    """How much of a tensor is normals as drawn."""

    whole: bool
    """Every filter and every row is, as far as pairs can tell."""
    share: float
    """Share of the pairs looked at that is on the grid of angles."""
    tested: int
    """How many those are."""
    p_value: float
    """Chance of so many."""
    columns: NDArray[np.bool_]
    """Per index of the last axis: untouched, beyond chance."""
    rows: NDArray[np.bool_]
    """The same per index of the middle axis."""
    named_chance: float
    """Chance that any of them is named wrongly."""


def find_pairs(cube: NDArray[Any], mean: float, law: str) -> PairMembers | None:
    """Hold a float32 or float64 tensor, [places, rows, columns] in C order, against the grid of angles.

    `law`: one of `FRESH`. None where there are too few pairs.
    """
    of_tensor, fresh = FRESH[law]
    rows, columns = cube.shape[1:]
    flat = cube.reshape(-1)
    order, share, tested, unlike = _order_of(flat, mean)
    if tested < 2 * FEWEST_PAIRS:
        return None
    if columns == 1:
        cube = flat.reshape(1, 1, -1)
    kept = cube.reshape(-1, cube.shape[-1])
    few = round(tested * unlike)
    p_value = min(1.0, 4.0 * binomial_tail(round(share * few), few, CHANCE))
    nobody = PairMembers(False, share, tested, p_value, np.zeros(columns, bool), np.zeros(rows, bool), 0.0)
    if share < GLANCE_SHARE and not _any_alive(kept, cube.shape[1], order):
        return nobody
    by_column, by_row = _tally(kept, order)
    by_row = by_row.reshape(2, -1, cube.shape[1]).sum(axis=1)
    hits, pairs = int(by_column[0].sum()), int(by_column[1].sum())
    if flat.size <= RUNS * RUN_LENGTH:  # all pairs were looked at, those from one row to the next too
        hits, pairs = round(share * tested), tested
    share = hits / max(1, pairs)
    moved_columns, moved_rows = _moved(by_column, fresh), _moved(by_row, fresh)
    least = pairs - most_misses(pairs, 1.0 - of_tensor)
    if hits >= least and not moved_columns.any() and not moved_rows.any():
        few = max(1, round(min(pairs, 1 << 16) * unlike))
        p_value = min(1.0, 4.0 * binomial_tail(round(share * few), few, CHANCE))
        return PairMembers(True, share, pairs, p_value, np.ones(columns, bool), np.ones(rows, bool), 0.0)
    if columns == 1:
        return nobody
    edges, worst = _named(by_column, ~moved_columns, fresh, kept, order, across=False)
    named = edges.copy()
    named[1:] |= edges[:-1]
    of_rows, also = _named(by_row, ~moved_rows, fresh, kept, order, across=True)
    return PairMembers(False, share, pairs, p_value, named, of_rows, max(worst, also))


def _order_of(flat: NDArray[Any], mean: float) -> tuple[Order, float, int, float]:
    """(order that puts most pairs of a sample on the grid, that share, how many pairs, share of unlike ones)."""
    if flat.size > RUNS * RUN_LENGTH:
        starts = np.linspace(0, flat.size - RUN_LENGTH, RUNS).astype(np.int64) // 4 * 4
        flat = np.concatenate([flat[s : s + RUN_LENGTH] for s in starts])
    best: tuple[float, int, Order, NDArray[np.float64]] | None = None
    for offset in (0, 1):
        for cosine_first in (False, True):
            order = Order(offset, cosine_first, mean)
            even = flat[offset:][: (flat.size - offset) // 2 * 2]
            steps, distances = order.angles(even[0::2], even[1::2])
            on = distances < TOLERANCE
            tested = int(np.isfinite(distances).sum())
            share = float(on.sum()) / max(1, tested)
            if best is None or share > best[0] + 0.02:
                best = share, tested, order, steps[on]
    assert best is not None
    share, tested, order, steps = best
    return order, share, tested, np.unique(steps).size / max(1, steps.size)


def _edges(width: int, order: Order, odd_row: int) -> slice:
    """Columns a pair begins in, in even or odd rows."""
    first = (order.offset - odd_row * width) % 2
    return slice(first, first + (width - first) // 2 * 2, 2)


def _tally(matrix: NDArray[Any], order: Order) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """([hits, pairs] per column that a pair begins in, the same per row of the matrix)."""
    height, width = matrix.shape
    by_column = np.zeros((2, width), np.int64)
    by_row = np.zeros((2, height), np.int64)
    turns = 1 + width % 2
    step = max(1, BLOCK // width) * turns
    for start in range(0, height, step):
        stop = min(height, start + step)
        for odd in range(turns):
            first = start + (odd - start) % turns
            rows, at = slice(first, stop, turns), _edges(width, order, odd)
            block = matrix[rows]
            _, distances = order.angles(block[:, at], block[:, at.start + 1 : at.stop : 2])
            for row, counted in enumerate((distances < TOLERANCE, np.isfinite(distances))):
                by_column[row, at] += counted.sum(axis=0)
                by_row[row, rows] += counted.sum(axis=1)
    return by_column, by_row


def _any_alive(matrix: NDArray[Any], rows: int, order: Order) -> bool:
    """Whether a few pairs of some column or row look untouched: what trained kernels are let off with."""
    width = matrix.shape[1]
    edges = np.arange(width - 1) if width % 2 else np.arange(order.offset, width - 1, 2)
    for across, alive in ((False, edges), (True, np.arange(rows))):
        for most in GLANCES:
            _, distances = order.angles(*_some(matrix, rows, alive, order, across, most))
            hits = (distances < TOLERANCE).sum(axis=0)
            alive = alive[hits >= np.maximum(FEWEST_PAIRS, GLANCE_SHARE * np.isfinite(distances).sum(axis=0))]
            if not alive.size:
                break
        if alive.size:
            return True
    return False


def _some(
    matrix: NDArray[Any], rows: int, chosen: NDArray[np.int64], order: Order, across: bool, most: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """First and second values of some pairs, [pairs, chosen]; across: of rows, else of neighbouring columns."""
    height, width = matrix.shape
    if across:
        places = height // rows
        at = np.unique(np.linspace(0, places * (width // 2) - 1, most).astype(np.int64))
        row = (at // max(1, width // 2))[:, None] * rows + chosen[None, :]
        column = 2 * (at % max(1, width // 2))[:, None] + (order.offset - row * width) % 2
        row, column = np.broadcast_arrays(row, column)
        column = np.minimum(column, width - 2)
    else:
        turns = 1 + width % 2
        at = np.unique(np.linspace(0, max(0, height // turns - 1), most).astype(np.int64))
        if turns == 1:
            row, column = np.broadcast_arrays(at[:, None], chosen[None, :])
        else:
            row = np.minimum(at[:, None] * turns + (chosen[None, :] - order.offset) % 2, height - 1)
            column = np.broadcast_to(chosen[None, :], row.shape)
    return matrix[row, column], matrix[row, column + 1]


@functools.lru_cache(maxsize=4096)
def most_misses(pairs: int, rate: float) -> int:
    """Pairs off the grid that chance still explains in an untouched filter."""
    low, high = 0, pairs
    while low < high:
        middle = (low + high) // 2
        if binomial_tail(middle + 1, pairs, rate) < PARTED:
            high = middle
        else:
            low = middle + 1
    return low


def _moved(counted: NDArray[np.int64], fresh: float) -> NDArray[np.bool_]:
    """Columns or rows with more pairs off the grid than drawing explains."""
    hits, pairs = counted
    sizes, where = np.unique(pairs, return_inverse=True)
    allowed = np.array([most_misses(int(n), 1.0 - fresh) for n in sizes])
    return np.asarray(pairs - hits > allowed[where])


def _named(
    counted: NDArray[np.int64],
    fresh: NDArray[np.bool_],
    rate: float,
    matrix: NDArray[Any],
    order: Order,
    across: bool,
) -> tuple[NDArray[np.bool_], float]:
    """(untouched beyond chance, chance that one of them is not); `rate`: share on the grid when nothing moved."""
    named = np.zeros(fresh.shape, bool)
    worst = 0.0
    chosen = np.flatnonzero(fresh & (counted[0] >= FEWEST_PAIRS))
    if not chosen.size:
        return named, worst
    step = max(1, (1 << 20) // LOOKED_AT)
    for start in range(0, chosen.size, step):
        part = chosen[start : start + step]
        steps, distances = order.angles(*_some(matrix, fresh.size if across else 1, part, order, across, LOOKED_AT))
        on = distances < TOLERANCE
        near = (distances < TOLERANCE / 2).sum(axis=0)
        for place, index in enumerate(part):
            seen = steps[on[:, place], place]
            far = seen.size - int(near[place])
            if not order.mean and binomial_tail(far, seen.size, 1.0 - NEAR) < DOUBTFUL:
                continue
            unlike = np.unique(seen).size / max(1, seen.size)
            hits, pairs = (round(float(n) * unlike) for n in counted[:, index])
            chance = binomial_tail(hits, pairs, CHANCE) * fresh.size if hits >= FEWEST_PAIRS else 1.0
            if chance < FAMILY_WISE and binomial_tail(pairs - hits, pairs, 1.0 - rate) >= DOUBTFUL:
                named[index] = True
                worst = max(worst, chance)
    return named, worst
