"""A magnitude no training makes, and which one flipped bit would have made it. Pure.

In 4,326 tensors of trained models and their optimizers the largest magnitude is at most 6.1 times the second largest;
beyond 20 times it is implausible. A bit k of the exponent that flips up multiplies by 2**2**k: of the bits that would
bring the value back among the others, the one is named whose value is the likeliest in such a tensor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ckptui.core.peaks import Peaks
from ckptui.core.vocabulary import Certainty

RATIO = 20.0
"""Largest over second largest magnitude beyond which a value is implausible."""
_FEW = {2: 4096.0, 3: 64.0, 4: 40.0}
"""The same for tensors so small that their values are far apart by chance: under 1 in 1,000 for independent normals."""
_FEW_SLOTS = {2: 4096.0**2, 3: 4096.0, **dict.fromkeys(range(4, 10), 100.0)}
"""And for slots, which hold squares and what single last steps left: up to 83 was seen in two values, 12 in four."""
_ENOUGH = 10
"""Values from which the ratio speaks for itself; of fewer one bit must explain it, or the next ratio be passed."""
_NEGLIGIBLE = 1e-6
"""Beside magnitudes under this one, a few steps of Adam alone make an ordinary value stand out."""
_WITHOUT_BIT = 1000.0
_WITHIN = 8.0
"""What is given back may be this many times the largest of the others: more was never seen in a whole tensor."""
_FORMATS = {"float16": (5, 10), "bfloat16": (8, 7), "float32": (8, 23), "float64": (11, 52)}
"""Bits of the exponent and of the mantissa."""
_COUNTING = frozenset({"metric", "counter", "step", "rng-state", "object-graph"})
"""Roles whose values count things: any ratio is theirs."""
_OF_DATA = frozenset({"moving-mean", "moving-variance", "other"})
"""Roles that may hold statistics of raw data, whose columns have any scale."""
_SCALES = 2.0**40
"""No two columns of data are further apart than this: a ratio, whatever the values are."""
_BEYOND = 2.0**64
"""A magnitude that needs nothing to be compared with."""
_BEYOND_COUNTS = 2.0**100
"""The same for counts; a loss scale is doubled again and again."""
_USUAL = (2.0**-40, 2.0**24)
"""Magnitudes a value without others to compare with may have had."""
_FAR_BELOW = 2.0**-20
"""A value given back that is smaller than this, against the others, was rarely there."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What one flipped bit gives back."""

    bit: int
    """Within the value, 0 for the lowest bit of the mantissa; of a float32, 30 is the exponent's highest."""
    value: float
    """With the bit turned back."""
    others: tuple[tuple[int, float], ...] = ()
    """(bit, value) of the other single bits that would give a value within the tensor's range, the likelier first."""


@dataclass(frozen=True, slots=True)
class Implausible:
    """One value that stands out of its tensor."""

    at: int
    """Flat C-order index."""
    value: float
    second: float | None
    """The largest magnitude beside it; None where there is no other value."""
    ratio: float | None
    """|value| over `second`; None where that is 0 or missing."""
    flip: Restored | None
    """The bit; None where no single bit explains the value."""
    certainty: Certainty
    modest: bool = False
    """Too small to change an answer, or of a scale that statistics of raw data may have."""


def judge(peaks: Peaks, dtype: str, count: int, role: str = "other") -> Implausible | None:
    """The finite value of a tensor that no training makes, if it has one.

    `count`: its finite values; `dtype`: float16, bfloat16, float32 or float64, others are never judged. Tensors of one
    value, or of zeros but for one, have nothing to compare with: only what a single flipped bit explains counts there.
    """
    if peaks.largest is None or peaks.at is None or peaks.bits is None or dtype not in _FORMATS:
        return None
    if not peaks.second:
        return _alone(peaks, dtype, count, role)
    ratio = abs(peaks.largest) / peaks.second
    if ratio <= _least(role, count):
        return None
    if count < _ENOUGH and peaks.second < _NEGLIGIBLE and abs(peaks.largest) < 1.0:
        # of a few biases one may have had all the gradient there was
        return None
    flip = restored(peaks.bits, dtype, peaks.second, count)
    sure = flip is not None and not far_below(flip, peaks.second)
    if count < _ENOUGH and not sure and ratio < (_SCALES if count < 4 else _WITHOUT_BIT):
        return None
    of_data = role in _OF_DATA and ratio < _SCALES
    certainty: Certainty = "possible" if of_data else "confirmed" if sure and count >= _ENOUGH else "likely"
    return Implausible(peaks.at, peaks.largest, peaks.second, ratio, flip, certainty, of_data)


def far_below(flip: Restored, second: float) -> bool:
    """Whether what a bit gives back is so small against the others that the value may as well have been written so."""
    return 0 < abs(flip.value) < _FAR_BELOW * second


def odd_value(peaks: Peaks, dtype: str, count: int, role: str = "other") -> Restored | None:
    """What one flipped bit makes of the only value of a tensor that is not finite; None where no bit explains it.

    `count`: the finite values beside it.
    """
    if peaks.odd_bits is None or dtype not in _FORMATS:
        return None
    largest = abs(peaks.largest or 0.0)
    if largest and judge(peaks, dtype, count, role) is not None:
        # a second damaged value is no measure
        largest = peaks.second or 0.0
    found = restored(peaks.odd_bits, dtype, largest, count + 1) if largest else _unmeasured(peaks.odd_bits, dtype)
    if found is not None and abs(found.value) > largest and _by_arithmetic(peaks.odd_bits, dtype):
        return None
    return found


def _by_arithmetic(bits: int, dtype: str) -> bool:
    """Is it the NaN that arithmetic itself writes, of either sign? A flip makes it of 1.5 only."""
    exponent, mantissa = _FORMATS[dtype]
    usual = ((1 << exponent) - 1) << mantissa | 1 << (mantissa - 1)
    return bits & ~(1 << (exponent + mantissa)) == usual


def restored(bits: int, dtype: str, largest: float, count: int) -> Restored | None:
    """The most plausible of the values that differ from `bits` in one bit and lie within the tensor's range.

    `largest`: the largest magnitude of the others, above 0; `count`: how many values the tensor has. None where no bit
    gives a finite value up to 8 times `largest`.
    """
    fits = []
    for bit, value in _neighbours(bits, dtype):
        share = abs(value) / largest
        if share <= _WITHIN:
            fits.append((_likelihood(share, count), bit, value))
    return _best(fits) if fits else None


def _best(fits: list[tuple[float, int, float]]) -> Restored:
    """The likeliest of (likelihood, bit, value)."""
    (_, bit, value), *others = sorted(fits, reverse=True)
    return Restored(bit, value, tuple((bit, value) for _, bit, value in others))


def _likelihood(share: float, count: int) -> float:
    """Logarithm (base 2) of how often a tensor's value has this share of the largest other one, but for a constant.

    Per binary order of magnitude, among normal values whose largest of `count` is where it is to be expected.
    """
    if not share:
        return -math.inf
    largest = math.sqrt(2 * math.log(max(count, 4)))
    return math.log2(share) - (share * largest) ** 2 / (2 * math.log(2))


def _least(role: str, count: int) -> float:
    """The ratio beyond which a value is implausible."""
    if role in _COUNTING:
        return _BEYOND
    return (_FEW_SLOTS if role == "slot" else _FEW).get(count, RATIO)


def _alone(peaks: Peaks, dtype: str, count: int, role: str) -> Implausible | None:
    """A value among zeros, or the only one."""
    assert peaks.largest is not None
    assert peaks.at is not None
    assert peaks.bits is not None
    magnitude = abs(peaks.largest)
    if magnitude >= (_BEYOND if role not in _COUNTING else _BEYOND_COUNTS) and not _marker(peaks.bits, dtype):
        flip = _unmeasured(peaks.bits, dtype)
        if flip is not None:
            return Implausible(peaks.at, peaks.largest, peaks.second, None, flip, "likely")
        return None
    if peaks.second is None or not magnitude or role in _COUNTING:
        return None
    exponent, mantissa = _FORMATS[dtype]
    unsigned = peaks.bits & ~(1 << exponent + mantissa)
    if unsigned & (unsigned - 1):
        return None
    bit = unsigned.bit_length() - 1
    tiny = bit < mantissa
    usual = magnitude >= _USUAL[0]
    if (tiny and (role == "slot" or count < _ENOUGH)) or (usual and count < _ENOUGH):
        # moving averages of gradients decay to such values, and a 2 beside a few zeros is a number like others
        return None
    value = math.copysign(0.0, peaks.largest)
    return Implausible(peaks.at, peaks.largest, 0.0, None, Restored(bit, value), "likely", tiny)


def _marker(bits: int, dtype: str) -> bool:
    """The largest finite number of a dtype stands for something else."""
    exponent, mantissa = _FORMATS[dtype]
    return bits & ~(1 << exponent + mantissa) == (1 << exponent + mantissa) - (1 << mantissa) - 1


def _unmeasured(bits: int, dtype: str) -> Restored | None:
    """The bit that gives back a usual magnitude, where the others are zeros or none."""
    low, high = _USUAL
    fits = [(-abs(math.log2(abs(v))), bit, v) for bit, v in _neighbours(bits, dtype) if low <= abs(v) <= high]
    return _best(fits) if fits else None


def _neighbours(bits: int, dtype: str) -> list[tuple[int, float]]:
    """(bit, value) of every finite value that differs in one bit, the sign's left out: it changes no magnitude."""
    exponent, mantissa = _FORMATS[dtype]
    size = 1 + exponent + mantissa
    flipped = np.array([bits ^ 1 << bit for bit in range(size - 1)], f"u{size // 8}")
    wide = dtype == "bfloat16"
    values = (flipped.astype(np.uint32) << 16).view(np.float32) if wide else flipped.view(dtype)
    return [(bit, float(value)) for bit, value in enumerate(values) if np.isfinite(value)]
