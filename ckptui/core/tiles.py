"""Numbers of a tensor stored in tiles, from those of its tiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ckptui.core.model import Stats
from ckptui.core.peaks import Peaks

Place = Callable[[int], int]
"""Turns a tile's own flat index into the whole tensor's; keeps their order."""

_COUNTS = ("finite", "nan", "posinf", "neginf", "zeros")


def combine(parts: Sequence[tuple[Stats, Place]], count: int) -> Stats:
    """Stats of a tensor of `count` elements from those of its tiles.

    Each tile comes with a function that turns its own flat index into the whole tensor's.
    """
    known = [(stats, place) for stats, place in parts if stats.finite is not None]
    if not known:
        return Stats(count)
    full = [stats for stats, _ in known if stats.finite]
    sums = {name: sum(getattr(stats, name) for stats, _ in known) for name in _COUNTS}
    if not full:
        return Stats(count, **sums)
    low = min(stats.min for stats in full if stats.min is not None)
    high = max(stats.max for stats in full if stats.max is not None)
    finite = sums["finite"]
    shares = [(stats.finite or 0) / finite for stats in full]
    means = [stats.mean or 0.0 for stats in full]
    mean = math.fsum(share * one for share, one in zip(shares, means, strict=True))
    roots = [math.sqrt(share) for share in shares]
    within = [root * (stats.std or 0.0) for root, stats in zip(roots, full, strict=True)]
    between = [root * (one - mean) for root, one in zip(roots, means, strict=True)]
    return Stats(
        count=count,
        **sums,
        min=low,
        max=high,
        argmin=min(place(stats.argmin or 0) for stats, place in known if stats.finite and stats.min == low),
        argmax=min(place(stats.argmax or 0) for stats, place in known if stats.finite and stats.max == high),
        mean=mean,
        std=math.hypot(*within, *between),
        l2=math.hypot(*(stats.l2 or 0.0 for stats in full)),
    )


def combine_peaks(parts: Sequence[tuple[Peaks | None, Place]]) -> Peaks | None:
    """Peaks of a tensor from those of its tiles, each with its place; None where none of them has any."""
    known = [(peaks, place) for peaks, place in parts if peaks is not None]
    if not known:
        return None
    odd = [(place(peaks.odd_at), peaks.odd_bits) for peaks, place in known if peaks.odd_at is not None]
    odd_at, odd_bits = min(odd, key=lambda one: one[0]) if odd else (None, None)
    there = [
        (-abs(peaks.largest), place(peaks.at), peaks)
        for peaks, place in known
        if peaks.largest is not None and peaks.at is not None
    ]
    if not there:
        return Peaks(odd_at=odd_at, odd_bits=odd_bits)
    there.sort(key=lambda one: one[:2])
    at, first = there[0][1:]
    others = [-magnitude for magnitude, _, _ in there[1:]]
    others += [first.second] if first.second is not None else []
    return Peaks(first.largest, at, max(others, default=None), first.bits, odd_at, odd_bits)
