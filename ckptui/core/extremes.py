"""Sums of squares beyond the range of float64: of values below 1e-154, whose squares vanish, and above 1e154.

A block whose sums show such values is summed once more, scaled by a power of two, which changes no bit of a value. What
is left out of the scaled sums, blocks of other magnitudes, is less than the rounding of what is in them.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np

Array = np.ndarray[Any, Any]

POWER = 600
"""Binary places by which values are scaled: 2^600 is 4e180."""
LEAST = 2.0**-780
"""Sum of squares below which a block is summed again, and of which less than 1 % of its digits are lost so far."""
MOST = 2.0**780


class Sums(Protocol):
    """The sums that are kept here: of squares, of products, of squared distances; and of distances."""

    squared: float
    aa: float
    bb: float
    ab: float
    up_squared: float
    up_aa: float
    up_bb: float
    up_ab: float
    down_squared: float
    down_aa: float
    down_bb: float
    down_ab: float
    down_absolute: float


def add_extremes(sums: Sums, a: Array, b: Array, found: tuple[float, float, float]) -> None:
    """Add a block of float64 values whose plain sums were `found` (|a|^2, |b|^2, |a - b|^2), where these need it."""
    if min(found) < LEAST and (a.any() or b.any()):
        aa, bb, ab, squared, _ = _scaled(a, b, POWER)
        # what is of usual size is in the plain sums
        sums.up_aa += aa if found[0] < LEAST else 0.0
        sums.up_bb += bb if found[1] < LEAST else 0.0
        sums.up_ab += ab if max(found[:2]) < LEAST else 0.0
        sums.up_squared += squared if found[2] < LEAST else 0.0
    if not max(found) < MOST:
        aa, bb, ab, squared, absolute = _scaled(a, b, -POWER)
        sums.down_aa += aa
        sums.down_bb += bb
        sums.down_ab += ab
        sums.down_squared += squared
        sums.down_absolute += absolute


def _scaled(a: Array, b: Array, power: int) -> tuple[float, float, float, float, float]:
    with np.errstate(all="ignore"):
        if power > 0:
            # of neighbouring values the distance is exact before it is scaled, and too small after
            apart = np.ldexp(a - b, power)
        one, other = np.ldexp(a, power), np.ldexp(b, power)
        if power < 0:
            apart = one - other
        pairs = ((one, one), (other, other), (one, other), (apart, apart))
        aa, bb, ab, squared = (float(np.dot(left, right)) for left, right in pairs)
        return aa, bb, ab, squared, float(np.absolute(apart).sum())


def norm_of(plain: float, up: float, down: float) -> tuple[float, int]:
    """The root of a sum of squares as a number and a power of two, whichever of the sums holds it."""
    if not plain < MOST:
        return math.sqrt(down), POWER
    if plain < LEAST:
        return math.sqrt(up), -POWER
    return math.sqrt(plain), 0


def product_of(sums: Sums) -> tuple[float, int]:
    """<a, b> as a number and a power of two, on the scale of both norms."""
    if max(sums.aa, sums.bb) < LEAST:
        return sums.up_ab, -2 * POWER
    return (sums.ab, 0) if math.isfinite(sums.ab) else (sums.down_ab, 2 * POWER)


def ratio(one: tuple[float, int], other: tuple[float, int]) -> float:
    """One over the other; infinity where it leaves the range of float64."""
    try:
        return math.ldexp(one[0] / other[0], one[1] - other[1])
    except OverflowError:
        return math.inf
