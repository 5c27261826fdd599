"""The numbers of a stretch of a tensor, as a reader child gives them, and of several put together: no arrays here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ckptui.core.crc import combined
from ckptui.core.model import TensorPoint


@dataclass(frozen=True, slots=True)
class Stretch:
    """The numbers of a tensor, or of a stretch of its elements."""

    count: int
    norm: float | None = None
    """l2 of the finite values; None for what has no numbers, and where it leaves the range of float64."""
    distance: float | None = None
    """l2 of the difference where both sides are finite; None where there was nothing to compare with."""
    changed: int | None = None
    nonfinite: int = 0
    crc32c: int | None = None
    """Of the elements, little-endian, in C order."""
    bytes: int = 0
    """How many that checksum is over."""
    value: float | None = None


def joined(stretches: Sequence[Stretch]) -> Stretch:
    """The numbers of a whole tensor from those of its stretches, front to back; at least one."""
    if len(stretches) == 1:
        return stretches[0]
    crc, size = stretches[0].crc32c, stretches[0].bytes
    for part in stretches[1:]:
        crc = None if crc is None or part.crc32c is None else combined(crc, part.crc32c, part.bytes)
        size += part.bytes
    changed = [part.changed for part in stretches]
    return Stretch(
        sum(part.count for part in stretches),
        hypot([part.norm for part in stretches]),
        hypot([part.distance for part in stretches]),
        None if None in changed else sum(n for n in changed if n is not None),
        sum(part.nonfinite for part in stretches),
        crc,
        size,
    )


def point_of(numbers: Stretch, problem: str = "") -> TensorPoint:
    """What a timeline keeps of these numbers. Where nothing is finite there is no distance, rather than one of 0."""
    lost = 0 < numbers.count == numbers.nonfinite
    return TensorPoint(
        numbers.norm,
        None if lost else numbers.distance,
        numbers.changed,
        numbers.nonfinite,
        numbers.count,
        numbers.crc32c,
        numbers.value,
        problem,
    )


def hypot(norms: Sequence[float | None]) -> float | None:
    """The norm of pieces laid end to end; None where one has none, or the whole leaves float64."""
    known = [norm for norm in norms if norm is not None]
    return in_range(math.hypot(*known)) if len(known) == len(norms) else None


def in_range(value: float) -> float | None:
    """None for what left the range of float64."""
    return value if math.isfinite(value) else None
