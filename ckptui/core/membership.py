"""Which filters and which input rows of a kernel lie wholly on an initializer's grid.

A look at sixteen values of each filter throws out all but one in a billion of the moved ones, so a trained kernel
costs next to nothing; only what passes is tested value by value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ckptui.core.chance import binomial_tail
from ckptui.core.grid import UniformGrid
from ckptui.core.layout import KernelLayout

FEWEST_OF_FILTER = 10
"""Distinct values other than zero a filter or row needs to be called untouched by itself."""
GLANCE = 16
"""Values of each filter looked at first."""
PROBE = 1024
"""Values the grids are compared by."""
DISTINCT = 64
"""Values of a filter looked through for distinct ones."""
FAMILY_WISE = 1e-4
"""Chance, over all filters of the tensor, up to which filters are named."""
GATHER = 1 << 20
"""Values gathered at a time."""


@dataclass(frozen=True, slots=True)
class Members:
    """How much of a tensor lies on the best of several grids."""

    best: int
    """Index of that grid."""
    whole: bool
    """Every value of the tensor is on it."""
    share: float
    """Share of the sample's values other than zero."""
    chance: float
    """The same for moved values."""
    p_value: float
    """Chance of that share, for this grid alone."""
    distinct: int
    """Distinct values other than zero in the sample."""
    filters: NDArray[np.bool_]
    """Per filter: wholly on the grid, beyond chance."""
    rows: tuple[int, ...]
    """Input channels wholly on the grid while the tensor is not."""
    inputs: int
    """Input channels there are."""
    named_chance: float
    """Chance that any filter or row is named wrongly."""

    @property
    def lift(self) -> float:
        """Share of values that are on the grid for a reason."""
        return (self.share - self.chance) / max(1e-9, 1.0 - self.chance)


def find_members(
    array: NDArray[Any], sample: NDArray[Any], layout: KernelLayout | None, grids: list[UniformGrid]
) -> Members:
    """Hold a float32 or float64 tensor against every grid; `sample` is a strided part of it."""
    sample = sample[sample != 0]
    few = sample[:: max(1, sample.size // PROBE)]
    whole = _whole(array, few, sample, grids)
    columns = layout.matrix if layout is not None else array.reshape(-1, 1)
    by_input = _inputs(layout) if whole is None else None
    alive = [] if whole is not None else list(zip(_glances(columns, grids), _glances(by_input, grids), strict=True))
    if whole is not None:
        best = whole
    else:
        shares = [float(grid.contains(few).mean()) if few.size else 0.0 for grid in grids]
        best = max(range(len(grids)), key=lambda i: (alive[i][0].size + alive[i][1].size, shares[i]))
    grid = grids[best]
    rate = grid.chance(sample)
    hits = int(grid.contains(sample).sum())
    filters = np.zeros(columns.shape[1], bool)
    rows_on: tuple[int, ...] = ()
    named = 0.0
    if whole is not None:
        filters[:] = True
    else:
        passing, rows = alive[best]
        named, kept = _wholly(columns, passing, grid, rate)
        filters[kept] = True
        if by_input is not None:
            also, kept = _wholly(by_input, rows, grid, rate)
            rows_on, named = tuple(int(i) for i in kept), named + also
    return Members(
        best=best,
        whole=whole is not None,
        share=hits / max(1, sample.size),
        chance=rate,
        p_value=binomial_tail(hits, sample.size, rate),
        distinct=int(np.unique(sample).size),
        filters=filters,
        rows=rows_on,
        inputs=by_input.shape[-1] if by_input is not None else 0,
        named_chance=named,
    )


def _inputs(layout: KernelLayout | None) -> NDArray[Any] | None:
    """The kernel with a column for each input channel: [cells, filters, channels]; None without channels."""
    if layout is None or layout.by_rows or layout.channels < 2:
        return None
    return np.asarray(layout.matrix.reshape(layout.cells, layout.channels, layout.filters).transpose(0, 2, 1))


def _whole(array: NDArray[Any], few: NDArray[Any], sample: NDArray[Any], grids: list[UniformGrid]) -> int | None:
    """Index of the first grid that all values are on."""
    for index, grid in enumerate(grids):
        for part in (few, sample, array):
            if not part.size or not grid.contains(part).all():
                break
        else:
            return index
    return None


def _glances(columns: NDArray[Any] | None, grids: list[UniformGrid]) -> list[NDArray[np.int64]]:
    """Per grid: the columns (last axis) whose first few spread values are all on it."""
    nobody = np.zeros(0, np.int64)
    height = 0 if columns is None else columns.size // max(1, columns.shape[-1])
    if columns is None or height < FEWEST_OF_FILTER:
        return [nobody for _ in grids]
    places = np.unique(np.linspace(0, height - 1, GLANCE).astype(np.int64))
    first = np.ascontiguousarray(_lines(columns, places[::4]))
    rest = _lines(columns, np.setdiff1d(places, places[::4]))
    near: dict[tuple[float, float], NDArray[np.int64]] = {}
    alive = []
    for grid in grids:
        limits = grid.low, grid.high
        if limits not in near:
            near[limits] = np.flatnonzero(grid.either(first).all(axis=0))
        chosen = near[limits]
        for lines in (first, rest):
            if chosen.size:
                chosen = chosen[grid.contains(np.ascontiguousarray(lines[:, chosen])).all(axis=0)]
        alive.append(chosen)
    return alive


def _lines(columns: NDArray[Any], places: NDArray[np.int64]) -> NDArray[Any]:
    """One value of each column from each place, [places, columns]."""
    return np.asarray(columns[np.unravel_index(places, columns.shape[:-1])])


def _wholly(
    columns: NDArray[Any], chosen: NDArray[np.int64], grid: UniformGrid, rate: float
) -> tuple[float, NDArray[np.int64]]:
    """(chance of any wrong name, the chosen columns that are on the grid with every value, beyond chance)."""
    height = columns.size // max(1, columns.shape[-1])
    kept: list[int] = []
    worst = 0.0
    step = max(1, GATHER // max(1, height))
    for start in range(0, chosen.size, step):
        part = chosen[start : start + step]
        values = columns[..., part].reshape(-1, part.size)
        on = grid.contains(np.ascontiguousarray(values)).all(axis=0)
        counted = _distinct(values)
        chance = rate ** counted.astype(np.float64) * columns.shape[-1]
        good = on & (counted >= FEWEST_OF_FILTER) & (chance < FAMILY_WISE)
        kept.extend(int(i) for i in part[good])
        worst = max(worst, float(chance[good].max(initial=0.0)))
    return worst, np.asarray(kept, dtype=np.int64)


def _distinct(values: NDArray[Any]) -> NDArray[np.int64]:
    """Distinct values other than zero among the first few of each column that are not zero."""
    spread = values[:: max(1, len(values) // DISTINCT)]
    ordered = np.sort(spread, axis=0)
    new = np.ones(ordered.shape, bool)
    new[1:] = ordered[1:] != ordered[:-1]
    counted: NDArray[np.int64] = (new & (ordered != 0)).sum(axis=0)
    return counted
