"""How far an export is from the saves of a run, and which of them is nearest.

Weights drift from save to save, so that of many saves only a few need to be compared: some spread over the run, then
those around the best.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ckptui.core.model import DiffReport, Listing, Pair, Progress, Tensor
from ckptui.engine.compare_saves import compare_saves
from ckptui.engine.pool import Flag, Pool
from ckptui.errors import CkptuiError

MOST_COMPARED = 8
SPREAD = 4

Side = tuple[Listing, Sequence[Tensor]]
"""A save, and the weights of it that count."""


@dataclass(frozen=True, slots=True)
class Distance:
    """How far one save is from the export."""

    place: int
    """Among the saves given."""
    relative_l2: float | None
    """||save - export|| / ||save|| over the weights that differ, all together; None where no number can be had."""
    best: bool
    """None so far was nearer."""


def nearest(
    pool: Pool, sides: Sequence[Side], export: Listing, weights: Sequence[Tensor], cancel: Flag | None = None
) -> Iterator[Progress | Distance]:
    """Distances of a few saves, the nearest marked as they come.

    Raises:
        Cancelled: `cancel` was set before the end.
        CkptuiError: the export can't be opened any more.
    """
    known: dict[int, float] = {}
    best: int | None = None
    target = replace(export, tensors=tuple(weights))
    place = _next(known, best, len(sides))
    while place is not None:
        listing, own = sides[place]
        report: DiffReport | None = None
        try:
            for item in compare_saves(pool, replace(listing, tensors=tuple(own)), target, cancel=cancel):
                if isinstance(item, DiffReport):
                    report = item
                elif isinstance(item, Progress):
                    yield item
        except CkptuiError:
            if cancel is not None and cancel.is_set():
                raise
        known[place] = math.inf
        if report is not None:
            relative = _apart(report.pairs)
            known[place] = math.inf if relative is None else relative
            better = best is None or known[place] <= known[best]
            best = place if better else best
            yield Distance(place, relative, better)
        place = _next(known, best, len(sides))


def _next(known: dict[int, float], best: int | None, count: int) -> int | None:
    """The save to compare next: all of a few; of many some spread evenly, then halfway to the best's neighbours."""
    if len(known) >= min(count, MOST_COMPARED):
        return None
    if count <= MOST_COMPARED:
        return len(known)
    for part in range(SPREAD):
        place = part * (count - 1) // (SPREAD - 1)
        if place not in known:
            return place
    centre = best if best is not None else count - 1
    below = max((n for n in known if n < centre), default=-1)
    above = min((n for n in known if n > centre), default=count)
    gaps = [(centre - below, (centre + below) // 2), (above - centre, (centre + above + 1) // 2)]
    for gap, place in sorted(gaps, reverse=True):
        if gap > 1 and 0 <= place < count and place not in known:
            return place
    return None


def _apart(pairs: Sequence[Pair]) -> float | None:
    """The distance over the weights that differ, by the norm of the save's; None where nothing can be compared."""
    squares = norms = 0.0
    compared = False
    for pair in pairs:
        compared = compared or pair.changed is not None
        if pair.changed and pair.rms is not None and pair.relative_l2 and math.isfinite(pair.relative_l2):
            square = pair.rms * pair.rms * (pair.count or 0)
            squares += square
            norms += square / pair.relative_l2**2
    if norms > 0:
        return math.sqrt(squares / norms)
    return 0.0 if compared else None
