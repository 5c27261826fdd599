"""Mirror correlation of filters, and how much of it chance explains.

r = <w, F w> / <w, w> over the cells a flip F moves. For independent normal weights (1 + r) / 2 ~ Beta(m / 2, m / 2)
with m mirrored pairs of values. With few pairs the weights' own distribution matters: there the null is simulated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ckptui.core.chance import binomial_tail, mirror_tail
from ckptui.core.layout import KernelLayout

FLIPS = ("left_right", "up_down", "rotate_180", "transpose")
SYMMETRIC = 0.95
"""Mirror correlation from which a filter counts as symmetric; its negative counts as antisymmetric."""
EXACT = 0.9999
"""Mirror correlation of exact symmetry."""
BITWISE = 1.0 - 1e-12
"""Mirror correlation only equal values reach."""
FLAGGED = 1e-6
"""Chance up to which a layer is called symmetric."""
FEW_PAIRS = 9
"""Mirrored pairs below which the null is simulated from the layer's own values."""
SIMULATED_VALUES = 1 << 18
"""Values shuffled for the simulation, at most."""
PRODUCTS = 1 << 20
"""Values multiplied at a time."""


@dataclass(frozen=True, slots=True)
class Flip:
    """A reflection of a kernel: which cells trade places."""

    name: str
    first: NDArray[np.int64]
    """One cell of each mirrored pair."""
    second: NDArray[np.int64]
    """Its mirror image."""


def flips_of(kernel: tuple[int, ...]) -> list[Flip]:
    """The flips that move a cell of a [k], [h, w] or [d, h, w] kernel.

    A one-dimensional kernel flips left-right only; of a volume the image plane flips, slice by slice.
    """
    cells = np.arange(math.prod(kernel)).reshape(kernel)
    if not kernel:
        return []
    moved = {"left_right": cells[..., ::-1]}
    if len(kernel) > 1:
        moved["up_down"] = cells[..., ::-1, :]
        moved["rotate_180"] = cells[..., ::-1, ::-1]
        if kernel[-1] == kernel[-2]:
            moved["transpose"] = np.swapaxes(cells, -1, -2)
    found = []
    for name, image in moved.items():
        first = cells.ravel()[cells.ravel() < image.ravel()]
        if first.size:
            found.append(Flip(name, first, image.ravel()[first]))
    return found


def correlations(block: NDArray[np.float64], channels: int, flips: list[Flip]) -> dict[str, NDArray[np.float64]]:
    """r of every filter under every flip; `block` is [cells x channels, filters]. NaN where nothing moves."""
    cells = block.reshape(-1, channels, block.shape[1])
    energy = np.einsum("kcf,kcf->kf", cells, cells)
    result = {}
    for flip in flips:
        step = max(1, PRODUCTS // max(1, cells[0].size))
        inner = np.zeros(block.shape[1])
        for start in range(0, flip.first.size, step):
            one, other = flip.first[start : start + step], flip.second[start : start + step]
            inner += np.einsum("kcf,kcf->f", cells[one], cells[other])
        norm = energy[flip.first].sum(axis=0) + energy[flip.second].sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            r = 2.0 * inner / norm
        r[~(norm > 0) | ~np.isfinite(norm)] = np.nan
        result[flip.name] = np.clip(r, -1.0, 1.0)
    return result


@dataclass(frozen=True, slots=True)
class Symmetry:
    """What a layer's mirror correlations mean together."""

    symmetric: int
    antisymmetric: int
    expected: float | None
    """Symmetric filters chance gives; None where no flip moves a cell."""
    p_value: float | None
    """Chance of at least as many."""
    flagged: bool
    """Chance does not explain the symmetric filters, constant ones left out."""
    pooled: Mapping[str, Mapping[str, float]]
    """Per flip {"mean_r", "z"} over all filters: z in standard deviations of the null."""


def judge(
    r: Mapping[str, NDArray[np.float64]], layout: KernelLayout, flips: list[Flip], constant: NDArray[np.bool_]
) -> Symmetry:
    """Hold the filters' correlations against chance. `constant` marks filters that are symmetric for being flat.

    Flagged at p < 1e-6: of as many filters with r >= 0.95, or, where the weights are not coarsely rounded, of as
    many with r >= 0.9999 or with equal bits (so one exactly mirrored filter of three pairs is enough).
    """
    if not flips:
        return Symmetry(0, 0, None, None, False, {})
    stacked = np.stack([r[f.name] for f in flips])
    best = np.max(np.where(np.isnan(stacked), -2.0, stacked), axis=0)
    worst = np.min(np.where(np.isnan(stacked), 2.0, stacked), axis=0)
    judged = best > -2.0
    trials = int(judged.sum())
    symmetric = int((best >= SYMMETRIC).sum())
    rate = chance_of_some(layout, flips)
    uneven = best[~constant]
    p_value = binomial_tail(symmetric, trials, rate)
    tails = [binomial_tail(int((uneven >= SYMMETRIC).sum()), trials, rate)]
    if not _coarse(layout):
        for threshold in (EXACT, BITWISE):
            tails.append(binomial_tail(int((uneven >= threshold).sum()), trials, _union(threshold, layout, flips)))
    return Symmetry(
        symmetric=symmetric,
        antisymmetric=int((worst <= -SYMMETRIC).sum()),
        expected=rate * trials,
        p_value=p_value,
        flagged=min(tails) < FLAGGED,
        pooled={f.name: _pool(r[f.name], f.first.size * layout.channels) for f in flips},
    )


def chance_of_some(layout: KernelLayout, flips: list[Flip]) -> float:
    """P(r >= 0.95 for some flip) of one filter of independent weights.

    By Beta and a union bound over the flips that differ; with fewer than nine mirrored pairs by simulation.
    """
    union = _union(SYMMETRIC, layout, flips)
    if min(f.first.size for f in flips) * layout.channels >= FEW_PAIRS:
        return union
    return max(_simulated(layout, flips), min(union, 1.0 / SIMULATED_VALUES))


def _union(threshold: float, layout: KernelLayout, flips: list[Flip]) -> float:
    seen = {(f.first.tobytes(), f.second.tobytes()): f.first.size for f in flips}
    return min(1.0, sum(mirror_tail(threshold, pairs * layout.channels) for pairs in seen.values()))


def _simulated(layout: KernelLayout, flips: list[Flip]) -> float:
    """Every filter with its own values in random places, over and over: any law, any scale, no place special."""
    whole = layout.matrix[:, :: max(1, layout.filters * layout.values // SIMULATED_VALUES)].astype(np.float64)
    whole = whole[:, np.isfinite(whole).all(axis=0) & whole.any(axis=0)]
    if whole.shape[1] == 0:
        return 1.0
    filters = SIMULATED_VALUES // layout.values
    made = whole[:, np.arange(filters) % whole.shape[1]]
    made = np.random.default_rng(11).permuted(made, axis=0)
    r = correlations(made, layout.channels, flips)
    with np.errstate(invalid="ignore"):
        some = np.logical_or.reduce([r[f.name] >= SYMMETRIC for f in flips])
    return float(some.mean())


def _coarse(layout: KernelLayout) -> bool:
    """Whether equal values are nothing special: half precision, or few distinct values."""
    if layout.matrix.dtype.itemsize < 4:
        return True
    some = layout.matrix[:, :: max(1, layout.filters // 64)].ravel()[:4096]
    some = some[some != 0]
    magnitudes = np.unique(np.abs(some)).size
    return bool(magnitudes < some.size // 8)


def _pool(r: NDArray[np.float64], pairs: int) -> dict[str, float]:
    """The null's r has mean 0 and variance 1 / (pairs + 1)."""
    known = r[~np.isnan(r)]
    if known.size == 0:
        return {"mean_r": 0.0, "z": 0.0}
    mean = float(known.mean())
    return {"mean_r": mean, "z": mean * math.sqrt(known.size * (pairs + 1.0))}


def as_number(value: Any) -> float | None:
    """A correlation for people: None for NaN."""
    return None if math.isnan(value) else float(value)
