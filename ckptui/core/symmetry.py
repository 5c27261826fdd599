"""Mirror correlation of filters, and how much of it chance explains.

r = <w, F w> / <w, w> over the cells a flip F moves. For independent normal weights (1 + r) / 2 ~ Beta(m / 2, m / 2)
with m mirrored pairs of values. With few pairs the weights' own distribution matters: there the null is simulated.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ckptui.core.chance import binomial_tail, mirror_tail
from ckptui.core.layout import KernelLayout

FLIPS = ("left_right", "up_down", "rotate_180", "transpose")
DEPTH = "front_back"
"""The flip that volumes have besides: along their first axis."""
SYMMETRIC = 0.95
"""Mirror correlation from which a filter counts as symmetric; its negative counts as antisymmetric."""
EXACT = 0.9999
"""Mirror correlation of exact symmetry."""
DIGITS = 20
"""Bits of surprise of two equal weights of full precision."""
FLAGGED = 1e-6
"""Chance up to which a layer is called symmetric."""
FEW_PAIRS = 9
"""Mirrored pairs below which the null is simulated from the layer's own values."""
SIMULATED_VALUES = 1 << 18
"""Values shuffled for the simulation, at most."""
ENOUGH_HITS = 20
"""Symmetric filters a simulation needs before its rate is taken as it is."""
ALIKE = 0.9
"""Cosine, of either sign, from which two symmetric filters count as one."""
MOST_COMPARED = 1024
"""Symmetric filters compared with each other, at most."""
STEPS = 64
"""Numbers of filters that are tried when it is asked how many are too many."""
FEW_LEVELS = 16
"""Magnitudes up to which weights count as quantised to levels: signs are then all that varies."""
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

    A one-dimensional kernel flips left-right only. Of a volume the image plane flips slice by slice, and the order of
    the slices (`front_back`).
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
    if len(kernel) > 2:
        moved[DEPTH] = cells[::-1]
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
    mirrored: NDArray[np.int8]
    """Per filter: 1 for symmetric, -1 for antisymmetric beyond chance, 0 for neither; constant filters are neither."""
    pooled: Mapping[str, Mapping[str, float]]
    """Per flip {"mean_r", "z"} over all filters: z in standard deviations of the null."""

    @property
    def flagged(self) -> bool:
        """Whether chance does not explain the symmetric filters, constant ones left out."""
        return bool((self.mirrored > 0).any())


def judge(
    r: Mapping[str, NDArray[np.float64]], layout: KernelLayout, flips: list[Flip], constant: NDArray[np.bool_]
) -> Symmetry:
    """Hold the filters' correlations against chance. `constant` marks filters that are symmetric for being flat.

    Filters count as mirrored at p < 1e-6: of as many with r >= 0.95, or, where the weights are not coarsely rounded,
    of as many with r >= 0.9999 or with equal bits (so one exactly mirrored filter of three pairs is enough).
    """
    if not flips:
        return Symmetry(0, 0, None, None, np.zeros(layout.filters, np.int8), {})
    stacked = np.stack([r[f.name] for f in flips])
    best = np.max(np.where(np.isnan(stacked), -2.0, stacked), axis=0)
    worst = np.min(np.where(np.isnan(stacked), 2.0, stacked), axis=0)
    trials = int((best > -2.0).sum())
    symmetric = int((best >= SYMMETRIC).sum())
    chance = chance_of_some(layout, flips)
    mirrored = np.zeros(layout.filters, np.int8)
    for sign, most, bound in ((-1, -worst, chance.antisymmetric_at_most), (1, best, chance.at_most)):
        mirrored[_Nulls(layout, flips, trials, bound).beyond(np.where(constant, -2.0, most), sign)] = sign
    return Symmetry(
        symmetric=symmetric,
        antisymmetric=int((worst <= -SYMMETRIC).sum()),
        expected=chance.rate * trials,
        p_value=binomial_tail(symmetric, trials, chance.rate),
        mirrored=mirrored,
        pooled={f.name: _pool(r[f.name], f.first.size * layout.channels) for f in flips},
    )


@dataclass(frozen=True, slots=True)
class _Nulls:
    """What chance gives in one layer, at every threshold."""

    layout: KernelLayout
    flips: list[Flip]
    trials: int
    rate: float
    """P(r >= 0.95 for some flip), not too low."""

    def beyond(self, best: NDArray[np.float64], sign: int) -> NDArray[np.bool_]:
        """Filters whose largest correlation (-2 for none), of this sign, chance does not explain."""
        chosen = np.flatnonzero(best >= SYMMETRIC)
        found = np.zeros(best.shape, bool)
        if chosen.size == 0:
            return found
        pairs = self._pairs(chosen)
        first = _unlike(self.layout.matrix[:, chosen])
        apart = self._most(pairs[first], self.rate, SYMMETRIC)
        # whoever is like those that count is as symmetric as they are
        kept = pairs >= pairs[first][apart].min(initial=np.inf)
        if not kept.all() and not _coarse(self.layout):
            exact = best[chosen] >= EXACT
            kept[exact] |= self._most(pairs[exact], 0.0, EXACT)
            kept |= self._equal(chosen, sign)
        elif not kept.all() and self._fewest >= FEW_PAIRS:
            kept |= self._equal_levels(chosen, sign)
        found[chosen[kept]] = True
        return found

    def _equal(self, chosen: NDArray[np.int64], sign: int) -> NDArray[np.bool_]:
        """Filters that equal an image of theirs to the bit, in more pairs than chance gives all filters together."""
        equal = np.zeros(chosen.size, np.int64)
        for _, part, one, other in self._mirrored(chosen):
            same = (one == (other if sign > 0 else -other)).all(axis=(0, 1))
            equal[part] = np.maximum(equal[part], np.where(same, np.count_nonzero(one, axis=(0, 1)), 0))
        for least in np.unique(equal[equal > 0]):
            rate = min(1.0, len(self.flips) * 2.0 ** -min(1000.0, float(least) * DIGITS))
            if binomial_tail(int((equal >= least).sum()), self.trials, rate) < FLAGGED:
                return np.asarray(equal >= least)
        return np.zeros(chosen.size, bool)

    def _equal_levels(self, chosen: NDArray[np.int64], sign: int) -> NDArray[np.bool_]:
        """The same for weights of few levels, where equal bits are less of a surprise: how much, each filter tells.

        Copies count one by one: whoever repeats a filter repeats its symmetry, and both are findings.
        """
        rates = np.ones(chosen.size)
        alike = np.array([_matching(self.layout.matrix[:, i], sign) for i in chosen])
        for flip, part, one, other in self._mirrored(chosen):
            same = (one == (other if sign > 0 else -other)).all(axis=(0, 1))
            pairs = flip.first.size * self.layout.channels
            by_chance = np.minimum(1.0, len(self.flips) * alike[part] ** pairs)
            rates[part] = np.where(same, np.minimum(rates[part], by_chance), rates[part])
        for rate in np.unique(rates[rates < 1])[::-1]:
            if binomial_tail(int((rates <= rate).sum()), self.trials, float(rate)) < FLAGGED:
                return np.asarray(rates <= rate)
        return np.zeros(chosen.size, bool)

    def _mirrored(self, chosen: NDArray[np.int64]) -> Iterator[tuple[Flip, slice, NDArray[Any], NDArray[Any]]]:
        """(flip, places in `chosen`, cells, their mirror images), [pairs, channels, some filters], bit by bit."""
        step = max(1, PRODUCTS // self.layout.values)
        for start in range(0, chosen.size, step):
            part = slice(start, start + step)
            cells = self.layout.matrix[:, chosen[part]].reshape(-1, self.layout.channels, chosen[part].size)
            for flip in self.flips:
                yield flip, part, cells[flip.first], cells[flip.second]

    def _most(self, pairs: NDArray[np.float64], least: float, threshold: float) -> NDArray[np.bool_]:
        """The most filters that are too many at p < 1e-6, those with many pairs first; `least`: their rate at least."""
        ordered = np.sort(pairs)[::-1]
        steps = np.unique(np.linspace(1, ordered.size, min(STEPS, ordered.size)).astype(int))
        for count in steps[::-1]:
            share = float(ordered[count - 1]) / self._fewest
            rate = max(least, _union(threshold, self.layout, self.flips, share))
            if binomial_tail(int(count), self.trials, rate) < FLAGGED:
                return np.asarray(pairs >= ordered[count - 1])
        return np.zeros(pairs.shape, bool)

    @property
    def _fewest(self) -> int:
        return min(f.first.size for f in self.flips) * self.layout.channels

    def _pairs(self, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
        """Mirrored pairs of each filter, as if all weights were alike: few where it lives on a few large weights.

        Where chance is simulated from the layer's own values, it knows of them: there it is the number of pairs.
        """
        pairs = np.full(chosen.size, float(self._fewest))
        if self._fewest < FEW_PAIRS:
            return pairs
        step = max(1, PRODUCTS // self.layout.values)
        for start in range(0, chosen.size, step):
            squares = np.square(self.layout.matrix[:, chosen[start : start + step]].astype(np.float64))
            squares /= squares.max(axis=0)
            # three times: the fourth moment of normal weights is three times the square of their variance
            counting = 3.0 * np.square(squares.sum(axis=0)) / np.square(squares).sum(axis=0)
            pairs[start : start + step] *= np.minimum(1.0, counting / self.layout.values)
        return np.asarray(np.maximum(pairs, 1.0))


def _matching(values: NDArray[Any], sign: int) -> float:
    """Chance that two of a filter's values, drawn from all of them, are equal (or each other's negative)."""
    levels, counts = np.unique(values.astype(np.float64), return_counts=True)
    shares = dict(zip(levels.tolist(), (counts / values.size).tolist(), strict=True))
    return float(sum(share * shares.get(sign * level, 0.0) for level, share in shares.items()))


def _unlike(columns: NDArray[Any]) -> NDArray[np.int64]:
    """The filters that are not nearly parallel to an earlier one.

    Filters of trained depthwise kernels may all be one profile: that it is symmetric is one coincidence, not many.
    """
    count = min(columns.shape[1], MOST_COMPARED)
    if len(columns) < FEW_PAIRS or count < 2:
        return np.arange(columns.shape[1])
    wide = columns[:, :count].astype(np.float64)
    wide /= np.abs(wide).max(axis=0)
    wide /= np.sqrt(np.square(wide).sum(axis=0))
    alike = np.abs(wide.T @ wide) > ALIKE
    first: list[int] = []
    for i in range(count):
        if not alike[i, first].any():
            first.append(i)
    return np.concatenate([np.asarray(first, np.int64), np.arange(count, columns.shape[1])])


@dataclass(frozen=True, slots=True)
class Chance:
    """How often one filter of independent weights is symmetric under some flip: r >= 0.95."""

    rate: float
    at_most: float
    """A bound that is hardly too low."""
    antisymmetric_at_most: float


def chance_of_some(layout: KernelLayout, flips: list[Flip]) -> Chance:
    """By Beta and a union bound over the flips that differ; with fewer than nine mirrored pairs by simulation.

    Where a simulation saw few symmetric filters, its bound is three more.
    """
    union = max(_union(SYMMETRIC, layout, flips), _by_signs(layout, flips))
    if min(f.first.size for f in flips) * layout.channels >= FEW_PAIRS:
        return Chance(union, union, union)
    hits, opposite, draws = _simulated(layout, flips)
    enough = hits >= ENOUGH_HITS
    bounds = [
        count / draws if count >= ENOUGH_HITS else max(union, (count + 3.0) / draws) for count in (hits, opposite)
    ]
    return Chance(hits / draws if enough else max(hits / draws, min(union, 1.0 / draws)), *bounds)


def _union(threshold: float, layout: KernelLayout, flips: list[Flip], share: float = 1.0) -> float:
    """Chance of any flip by Beta; `share` of the pairs count."""
    counts = [max(1.0, pairs * layout.channels * share) for pairs in _distinct(flips)]
    return min(1.0, sum(mirror_tail(threshold, pairs) for pairs in counts))


def _distinct(flips: list[Flip]) -> list[int]:
    """The number of mirrored pairs of every flip that is not another under a second name."""
    seen = {(f.first.tobytes(), f.second.tobytes()): f.first.size for f in flips}
    return list(seen.values())


def _by_signs(layout: KernelLayout, flips: list[Flip]) -> float:
    """The same for weights of few levels, as those of binary and ternary networks: that the signs agree."""
    some = np.abs(_sample(layout))
    if np.unique(some).size > FEW_LEVELS:
        return 0.0
    share = (1.0 + SYMMETRIC) / 2.0
    counts = [pairs * layout.channels for pairs in _distinct(flips)]
    return min(1.0, sum(binomial_tail(math.ceil(share * pairs), pairs, 0.5) for pairs in counts))


def _simulated(layout: KernelLayout, flips: list[Flip]) -> tuple[int, int, int]:
    """(symmetric, antisymmetric, all): filters with their own values in random places; any law, any scale."""
    whole = layout.matrix[:, :: max(1, layout.filters * layout.values // SIMULATED_VALUES)].astype(np.float64)
    # one value throughout is symmetric wherever it lies: that says nothing of the others
    whole = whole[:, np.isfinite(whole).all(axis=0) & (whole != whole[0]).any(axis=0)]
    if whole.shape[1] == 0:
        return 1, 1, 1
    filters = SIMULATED_VALUES // layout.values
    made = whole[:, np.arange(filters) % whole.shape[1]]
    made = np.random.default_rng(11).permuted(made, axis=0)
    r = correlations(made, layout.channels, flips)
    with np.errstate(invalid="ignore"):
        some = np.logical_or.reduce([r[f.name] >= SYMMETRIC for f in flips])
        opposite = np.logical_or.reduce([r[f.name] <= -SYMMETRIC for f in flips])
    return int(some.sum()), int(opposite.sum()), filters


def _sample(layout: KernelLayout) -> NDArray[Any]:
    """Some of the weights other than zero."""
    some = layout.matrix[:, :: max(1, layout.filters // 64)].ravel()[:4096]
    return np.asarray(some[some != 0])


def _coarse(layout: KernelLayout) -> bool:
    """Whether equal values are nothing special: half precision, or few distinct values."""
    if layout.matrix.dtype.itemsize < 4:
        return True
    some = _sample(layout)
    magnitudes = np.unique(np.abs(some)).size
    return bool(magnitudes < some.size // 8 or (magnitudes <= FEW_LEVELS and magnitudes < some.size // 4))


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
