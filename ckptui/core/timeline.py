"""Judging a run by the numbers of its saves: rows of norms and changes, one number a save. Pure numerics.

`docs/timeline.md` says what was measured about the limits below.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Numbers = Sequence[float | None]

JUMP = 2.0
"""An interval that moves weights this many times as far as any earlier one of its length should."""
LASTING_JUMP = 20.0
"""The same where later intervals move as far: a learning rate that was raised looks so, and stays."""
FEWEST_VALUES = 64
"""Kernels of fewer values are no evidence of a past that is shared or not."""
UNRELATED_Z = 4.0
"""cos sqrt(n) of two kernels below this: chance alone gives as much."""
REMEMBERED = 0.5
"""Cosine of neighbouring saves that a kernel must have had before, if its loss is to say something."""
SHORTER = 0.25
"""A shorter interval is expected to move weights by this power of its share: less than sqrt(steps), as weights that
wander around a minimum move no less far in a few hundred steps than in thousands."""
FEWEST_MOVES = 2
"""Earlier intervals in which a kernel moved, to be told from."""
RECENT = 3
"""Intervals before that tell whether a kernel remembers its past."""
SPARED = 5
"""Of so many later intervals one may move as far: a second fault must not hide the first."""


@dataclass(frozen=True, slots=True)
class Course:
    """One kernel over the saves of a run."""

    count: int
    l2: Numbers
    """By save; None where it can't be told: missing, unreadable, not finite."""
    delta: Numbers
    """l2 of the change since the save before; None in the first, and where one of the two can't be told."""


@dataclass(frozen=True, slots=True)
class Jump:
    """An interval that is out of line with those before it."""

    place: int
    """The save it ends with."""
    factor: float
    """How many times as far the median kernel moved as the farthest it should have."""
    unrelated: tuple[int, ...]
    """Places of the kernels that have lost their past: re-initialised."""
    judged: int
    """Kernels that could be judged."""
    lasting: bool = False
    """Later intervals move as far."""
    also: tuple[int, ...] = ()
    """Saves right after it that are out of line too: the same cause goes on, or training finds its way back."""


def jumps(courses: Sequence[Course], steps: Numbers) -> list[Jump]:
    """The saves between which the weights jumped, oldest first. `steps` by save, as far as they are known.

    The first interval in which a kernel moves is never judged: early training moves weights most. So one that was
    frozen before is left out while it has begun to move. Jumps that follow one another are one, but for kernels that
    lose their past.
    """
    rows = [course for course in courses if course.count >= FEWEST_VALUES]
    places = [at for at, course in enumerate(courses) if course.count >= FEWEST_VALUES]
    if not rows:
        return []
    l2 = np.array([[np.nan if value is None else value for value in row.l2] for row in rows])
    delta = np.array([[np.nan if value is None else value for value in row.delta] for row in rows])
    cosines = _cosines(l2, delta)
    past = cosines * np.sqrt([[row.count] for row in rows]) < UNRELATED_Z
    lengths = _lengths(steps)
    found: list[Jump] = []
    left_out: set[int] = set()
    for place in range(2, len(steps)):
        judged = np.flatnonzero(delta[:, place] > 0)
        if not judged.size:
            continue
        earlier = [other for other in range(1, place) if other not in left_out]
        later = list(range(place + 1, len(steps)))
        lost = judged[_lost(delta[judged], cosines[judged], past[judged], place, earlier[-RECENT:], lengths)]
        before = _ratios(delta[judged], place, earlier, lengths)
        before[(delta[judged][:, earlier] > 0).sum(axis=1) < FEWEST_MOVES] = np.nan
        after = _ratios(delta[judged], place, later, lengths, spared=len(later) // SPARED)
        known = before[~np.isnan(before)]
        factor = float(np.median(known)) if known.size else 0.0
        rest = float(np.median(np.where(np.isnan(after), np.inf, after)))
        jumped = factor >= JUMP and rest >= JUMP
        lasting = factor >= LASTING_JUMP and not jumped
        if jumped or lasting or lost.size:
            if not lasting:
                left_out.add(place)
            factor = factor or float(known.max(initial=0.0))
            found.append(Jump(place, factor, tuple(places[row] for row in lost), judged.size, lasting))
    return _merged(found)


def _merged(found: Sequence[Jump]) -> list[Jump]:
    """Those that directly follow another told with it."""
    out: list[Jump] = []
    for jump in found:
        last = out[-1] if out else None
        if last is not None and not jump.unrelated and jump.place == last.place + len(last.also) + 1:
            out[-1] = replace(last, also=(*last.also, jump.place))
        else:
            out.append(jump)
    return out


def _lengths(steps: Numbers) -> Array:
    """Steps of the interval that ends with each save; all alike where they are not known throughout, or do not rise."""
    known = [step for step in steps if step is not None]
    if len(known) < len(steps) or any(b <= a for a, b in itertools.pairwise(known)):
        return np.ones(len(steps))
    return np.array([1.0, *(b - a for a, b in itertools.pairwise(known))])


def _ratios(
    delta: Array, place: int, others: Sequence[int], lengths: Array, spared: int = 0, still: float = np.nan
) -> Array:
    """By row the change at `place` against the most that `others` let expect, `spared` of them left out.

    NaN where nothing lets expect anything, `still` for rows that did not move: of those nothing is known.
    A longer interval may move weights by its share of steps: drift at the most.
    """
    if len(others) <= spared:
        return np.full(delta.shape[0], np.nan)
    share = lengths[place] / lengths[list(others)]
    expected = delta[:, list(others)] * np.where(share > 1, share, share**SHORTER)
    ranked = np.sort(np.where(np.isnan(expected), -np.inf, expected), axis=1)
    most = ranked[:, -1 - spared]
    with np.errstate(all="ignore"):
        moved = np.where(most > 0, delta[:, place] / np.maximum(most, 0), np.nan)
    return np.asarray(np.where(most == 0, still, moved))


def _cosines(l2: Array, delta: Array) -> Array:
    """Between the values of each save and of the one before; NaN where it can't be told."""
    out = np.full(l2.shape, np.nan)
    with np.errstate(all="ignore"):
        # the same as (now^2 + before^2 - delta^2) / (2 now before), without squares that overflow
        ratio = l2[:, 1:] / l2[:, :-1]
        apart = delta[:, 1:] / l2[:, :-1]
        told = (ratio * ratio + 1 - apart * apart) / (2 * ratio)
    out[:, 1:] = np.where(np.isfinite(told), np.clip(told, -1.0, 1.0), np.nan)
    return out


def _lost(
    delta: Array, cosines: Array, unrelated: Array, place: int, recent: Sequence[int], lengths: Array
) -> npt.NDArray[np.bool_]:
    """Which kernels remembered their past in the saves before, and have lost it in this one."""
    if not recent:
        return np.zeros(delta.shape[0], bool)
    past = cosines[:, list(recent)]
    remembered = (np.where(np.isnan(past), np.inf, past).min(axis=1) >= REMEMBERED) & ~np.isnan(past).all(axis=1)
    ratio = _ratios(delta, place, recent, lengths, still=np.inf)
    return np.asarray(unrelated[:, place] & remembered & (ratio >= JUMP))


# ---------------------------------------------------------------------- content that comes back


@dataclass(frozen=True, slots=True)
class Return:
    """A save whose content is that of an earlier one, though saves between differ."""

    place: int
    same_as: int


def returns(content: Sequence[Hashable | None]) -> list[Return]:
    """Saves that went back, oldest first. `content` stands for what each holds; None where it can't be told.

    A save like the one directly before is none: nothing changed since.
    """
    out = []
    last: Hashable | None = None
    seen: dict[Hashable, int] = {}
    for place, held in enumerate(content):
        if held is None:
            continue
        if held != last and held in seen:
            out.append(Return(place, seen[held]))
        seen[held] = place
        last = held
    return out


def falls(values: Numbers) -> list[tuple[int, int]]:
    """(save, the last one before it that is known) wherever a counter is lower than it was."""
    out = []
    last: int | None = None
    for place, value in enumerate(values):
        if value is None:
            continue
        if last is not None:
            before = values[last]
            if before is not None and value < before:
                out.append((place, last))
        last = place
    return out


def told_otherwise(names: Numbers, counted: Numbers) -> list[int]:
    """Saves whose counter inside is lower than the step their name says, where it is equal in most of them."""
    both = [(n, c) for n, c in zip(names, counted, strict=True) if n is not None and c is not None]
    equal = sum(n == c for n, c in both)
    if equal < 2 or 3 * equal < 2 * len(both):
        return []
    return [
        place
        for place, (name, count) in enumerate(zip(names, counted, strict=True))
        if name is not None and count is not None and count < name
    ]


def repeats(states: Sequence[Hashable | None], differ: Callable[[int, int], bool]) -> list[tuple[int, int]]:
    """(earlier, later) saves with one state, `differ` being true of them: nearest pairs, oldest first."""
    out = []
    seen: dict[Hashable, list[int]] = {}
    for place, state in enumerate(states):
        if state is None:
            continue
        earlier = next((then for then in reversed(seen.get(state, [])) if differ(then, place)), None)
        if earlier is not None:
            out.append((earlier, place))
        seen.setdefault(state, []).append(place)
    return out
