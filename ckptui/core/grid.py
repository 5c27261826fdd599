"""Is a value still what TensorFlow's random generator drew? Exact tests for uniform initializers.

A float32 uniform is u = k 2^-23 (k < 2^23) stretched to [low, high): w = u (high - low) + low, rounded after
the product and the sum, or once where both are fused; as written down in TensorFlow's `random_distributions.h`.
Any later change of a weight takes it off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 15
"""Values tested at a time: temporaries stay in the cache."""
BITS: dict[Any, int] = {np.float32: 23, np.float64: 52}
"""Random bits TensorFlow puts in a uniform of that dtype."""
ENOUGH = 1 << 14
"""Moved values that make a chance rate: few values are moved several times."""
COARSE_BITS = 8
"""A mantissa that ends in so many zero bits was rounded to fewer digits than float32 has."""


@dataclass(frozen=True, slots=True)
class UniformGrid:
    """One uniform initializer: where its draws can lie."""

    low: float
    high: float
    fused: bool = False
    """Product and sum rounded once (XLA, fused multiply-add) instead of one after the other."""
    extra_bits: int = 0
    """Random bits beyond TensorFlow's own; PyTorch draws one more."""

    def contains(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """For each float32 or float64 value: whether a fresh draw can be exactly this. Same shape."""
        return self._each(values, (self.fused,))

    def either(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """The same under one rounding or the other."""
        return self._each(values, (False, True))

    def _each(self, values: NDArray[Any], roundings: tuple[bool, ...]) -> NDArray[np.bool_]:
        kind = values.dtype.type
        levels = 2.0 ** (BITS[kind] + self.extra_bits)
        low, high = kind(self.low), kind(self.high)
        width = kind(high - low)
        hits = np.zeros(values.shape, bool)
        if not width > 0:
            return hits
        # a difference of the limits can be off by a rounding where they are not of one size
        shifts = (0.0,) if low == -high and kind is np.float32 else (0.0, -2.0, -1.0, 1.0, 2.0)
        flat, out = values.reshape(-1), hits.reshape(-1)
        with np.errstate(invalid="ignore", over="ignore"):
            for start in range(0, flat.size, BLOCK):
                part = flat[start : start + BLOCK]
                steps = part.astype(np.float64)
                steps -= float(low)
                steps *= levels / float(width)
                np.rint(steps, out=steps)
                found = out[start : start + BLOCK]
                for shift in shifts:
                    for fused in roundings:
                        found |= _drawn(steps + shift if shift else steps, levels, width, low, fused) == part
                found &= steps >= 0
                found &= steps < levels
        return hits

    def chance(self, values: NDArray[Any]) -> float:
        """Share of the values that are on the grid after moving by a few roundings: what chance gives."""
        values = values[:: max(1, values.size // ENOUGH)]
        rounds = max(1, min(32, ENOUGH // max(1, values.size)))
        nudged = [nudge(values, seed) for seed in range(rounds)]
        return float(np.mean([self.contains(n).mean() for n in nudged])) if nudged[0].size else 1.0


def _drawn(steps: NDArray[np.float64], levels: float, width: Any, low: Any, fused: bool) -> NDArray[Any]:
    """What the generator makes of these random bits."""
    unit = steps * (1.0 / levels)
    if fused:
        unit *= float(width)
        unit += float(low)
        return unit.astype(type(low))
    drawn = unit.astype(type(low))
    drawn *= width
    drawn += low
    return drawn


def nudge(values: NDArray[Any], seed: int = 7) -> NDArray[Any]:
    """The values moved by 3 to 1000 units in the last place, up or down; fixed seed, zeros left out."""
    moved = np.ascontiguousarray(values.reshape(-1))
    moved = moved[moved != 0]
    as_bits = moved.view(np.dtype(f"i{moved.dtype.itemsize}"))
    draw = np.random.default_rng(seed)
    steps = draw.integers(3, 1000, moved.size) * (2 * draw.integers(0, 2, moved.size) - 1)
    return np.asarray((as_bits + steps.astype(as_bits.dtype)).view(moved.dtype))


def is_coarse(values: NDArray[Any]) -> bool:
    """Whether most values were rounded to few digits (half precision, quantised): no grid test applies."""
    flat = np.ascontiguousarray(values.reshape(-1))
    flat = flat[flat != 0]
    if flat.size == 0:
        return True
    as_bits = flat.view(np.dtype(f"u{flat.dtype.itemsize}"))
    mask = as_bits.dtype.type((1 << COARSE_BITS) - 1)
    return float(((as_bits & mask) == 0).mean()) > 0.5 or np.unique(flat).size < flat.size // 2


def on_lattice(values: NDArray[Any]) -> bool:
    """Whether all are multiples of the rounding step of the largest one: a difference of larger numbers.

    u (high - low) + low with low = -high leaves small values no digits of their own, whatever the limit; a change
    of the weights gives them some.
    """
    wide = values.reshape(-1).astype(np.float64)
    digits = np.finfo(values.dtype).nmant + 1
    scaled = np.ldexp(wide, digits - int(np.frexp(np.abs(wide).max())[1]) + 1)
    return bool(np.isfinite(wide).all() and (scaled == np.rint(scaled)).all())


def lattice_chance(values: NDArray[Any]) -> float:
    """Chance that moved values of these sizes lie on such a lattice: half for each binade below the top."""
    wide = values.reshape(-1).astype(np.float64)
    exponents = np.frexp(wide[wide != 0])[1]
    below = np.maximum(0, int(exponents.max(initial=-1)) - exponents - 1) if exponents.size else exponents
    return float(2.0 ** -min(1000.0, float(below.sum())))
