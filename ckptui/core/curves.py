"""Curves over a training: keeping them small, putting the important first, and reading them off at saves."""

from __future__ import annotations

import bisect
import itertools
import math
import statistics
from array import array
from collections.abc import Iterator, Sequence

from ckptui.core.model import Found, Scalars

POINTS = 10_000
"""Points of a curve that are kept; of longer ones every second, fourth, eighth, ..."""
Times = list[tuple[float, int]]
"""(seconds since the epoch, place) of the points of a curve, in order of time."""
_LOSS = ("loss", "epoch_loss", "total_loss", "train_loss", "batch_loss", "epoch_val_loss", "val_loss")
_RATE = ("learning_rate", "epoch_learning_rate", "lr", "epoch_lr", "batch_learning_rate")


class Curve:
    """The points of one tag, as they come; thinned evenly where they are too many.

    The last point and the first of every stretch that is not finite are always kept.
    """

    def __init__(self) -> None:
        self.steps, self.walls, self.values = array("q"), array("d"), array("d")
        self._stride = 1
        self._count = 0
        self._last: tuple[int, float, float] | None = None
        self._finite = True

    def add(self, step: int, wall: float, value: float, cap: int = POINTS) -> None:
        """Take the next point; `step` fits 64 bits with sign."""
        finite = math.isfinite(value)
        wanted = self._count % self._stride == 0 or (self._finite and not finite)
        self._finite = finite
        self._count += 1
        self._last = None if wanted else (step, wall, value)
        if wanted:
            self.steps.append(step)
            self.walls.append(wall)
            self.values.append(value)
            if len(self.steps) > cap:
                self._halve()

    def __iter__(self) -> Iterator[tuple[int, float, float]]:
        """(step, wall, value) in the order they came."""
        yield from zip(self.steps, self.walls, self.values, strict=True)
        if self._last is not None:
            yield self._last

    def _halve(self) -> None:
        self._stride *= 2
        values = self.values
        last = len(values) - 1
        keep = [
            i
            for i, value in enumerate(values)
            if i % 2 == 0 or i == last or (not math.isfinite(value) and math.isfinite(values[i - 1]))
        ]
        if len(keep) > 0.9 * len(values):
            # every other value is not finite: no stretch is worth more than the next
            keep = [i for i in keep if i % 2 == 0 or i == last]
        self.steps = array("q", [self.steps[i] for i in keep])
        self.walls = array("d", [self.walls[i] for i in keep])
        self.values = array("d", [values[i] for i in keep])


def importance(curve: Scalars) -> tuple[int, int, int, str, str]:
    """A sort key: the loss first, then the learning rate, other losses, the rest; the training's before others'."""
    tag = curve.tag.lower()
    last = tag.rpartition("/")[2]
    if last in _LOSS:
        rank = 0
    elif last in _RATE:
        rank = 1
    else:
        rank = 2 if "loss" in tag else 3
    folder = curve.source.rpartition("/")[2]
    away = 2 if any(word in folder for word in ("val", "eval", "test")) else int(folder not in ("", "train"))
    return rank, away, _LOSS.index(last) if rank == 0 else 0, curve.tag, curve.source


def is_rate(curve: Scalars) -> bool:
    """Whether a curve tells the learning rate."""
    return curve.tag.lower().rpartition("/")[2] in _RATE


def aligned(curve: Scalars, saves: Sequence[Found]) -> tuple[float | None, ...]:
    """The curve's value at each save; None where it has none there.

    A save is looked up by its step where both count alike. Where they don't (epochs in names, batches in the curve)
    the time the save was written decides, if it lies within the curve's. Keras numbers epochs from 0 in curves and
    from 1 in file names; the times tell which of both counts holds, else the tag `epoch_...` does.
    """
    nothing = (None,) * len(saves)
    if not curve.steps or not saves:
        return nothing
    timely = _timely(curve, saves)
    times = sorted(zip(curve.walls, range(len(curve.walls)), strict=True)) if timely else []
    offset = _offset(curve, saves, times)
    if offset is not None:
        return tuple(_at_step(curve, save.step + offset) if save.step is not None else None for save in saves)
    return tuple(_at_time(curve, times, save.modified) for save in saves) if timely else nothing


def _timely(curve: Scalars, saves: Sequence[Found]) -> bool:
    """Whether the saves were written while the curve was, each at its own time."""
    if len(curve.walls) != len(curve.steps):
        return False
    first, last = min(curve.walls), max(curve.walls)
    slack = max(60.0, 0.1 * (last - first))
    times = [save.modified for save in saves if first - slack <= save.modified <= last + slack]
    if 2 * len(times) < len(saves) or not times:
        return False
    spread = max(times) - min(times)
    # a copy made right after the training gives all of them one time
    return len(saves) == 1 or len(curve.walls) == 1 or spread > 0.2 * (last - first) * (1 - 1 / len(saves))


def _offset(curve: Scalars, saves: Sequence[Found], times: Times) -> int | None:
    """What to add to a save's step to get the curve's; None where they count different things."""
    known = [save for save in saves if save.step is not None]
    steps = [save.step for save in known if save.step is not None]
    if not steps:
        return None
    epochs = curve.tag.rpartition("/")[2].startswith("epoch_")
    offsets = (-1, 0) if epochs else (0, -1) if _gap(curve.steps) <= 1 else (0,)
    first, last = min(curve.steps), max(curve.steps)
    reach = max(_gap(curve.steps), 1.0)
    if times:
        errors = {}
        for offset in offsets:
            apart = [
                abs(curve.steps[times[_nearest_time(times, save.modified)][1]] - step - offset)
                for save, step in zip(known, steps, strict=True)
            ]
            errors[offset] = statistics.median(apart)
        best = min(offsets, key=lambda offset: errors[offset])
        return best if errors[best] <= max(1.0 if epochs else 1.5 * reach, 0.05 * (last - first)) else None
    if epochs:
        return 0 if min(steps) == 0 and max(steps) <= last else -1
    # the newest save is near the end of a curve that counts the same
    return 0 if 0.5 * last <= max(steps) <= last + reach else None


def _gap(steps: Sequence[float]) -> float:
    """The usual distance of neighbours; 0 for a single point."""
    return statistics.median(b - a for a, b in itertools.pairwise(steps)) if len(steps) > 1 else 0.0


def _at_step(curve: Scalars, step: int) -> float | None:
    place = _nearest(curve.steps, step)
    return curve.values[place] if abs(curve.steps[place] - step) <= max(_gap(curve.steps), 0.0) else None


def _nearest(ordered: Sequence[float], wanted: float) -> int:
    at = bisect.bisect_left(ordered, wanted)
    if at == len(ordered) or (at and wanted - ordered[at - 1] <= ordered[at] - wanted):
        return at - 1
    return at


def _nearest_time(times: Times, wall: float) -> int:
    at = bisect.bisect_left(times, (wall, -1))
    if at == len(times) or (at and wall - times[at - 1][0] <= times[at][0] - wall):
        return at - 1
    return at


def _at_time(curve: Scalars, times: Times, wall: float) -> float | None:
    """The nearest point in time; None further away than the curve's own points are from each other."""
    time, place = times[_nearest_time(times, wall)]
    usual = _gap([time for time, _ in times])
    return curve.values[place] if abs(time - wall) <= max(60.0, 3 * usual) else None
