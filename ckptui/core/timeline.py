"""Judging a run by the numbers of its saves: rows of norms and changes, one number a save. Pure numerics.

`docs/timeline.md` says what was measured about the limits below.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import median

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


def jumps(courses: Sequence[Course], steps: Numbers) -> list[Jump]:
    """The saves between which the weights jumped, oldest first. `steps` by save, as far as they are known.

    The first interval is never judged: early training moves weights most.
    """
    saves = len(steps)
    lengths = _lengths(steps)
    found: list[Jump] = []
    left_out: set[int] = set()
    for place in range(2, saves):
        judged = [row for row, course in enumerate(courses) if _judged(course, place)]
        if not judged:
            continue
        earlier = [other for other in range(1, place) if other not in left_out]
        later = list(range(place + 1, saves))
        lost = tuple(row for row in judged if _unrelated(courses[row], place, earlier, lengths))
        before = [_ratio(courses[row], place, earlier, lengths) for row in judged]
        after = [_ratio(courses[row], place, later, lengths, spared=len(later) // SPARED) for row in judged]
        known = [ratio for ratio in before if ratio is not None]
        factor = median(known) if len(earlier) > 1 and known else 0.0
        rest = median(ratio if ratio is not None else math.inf for ratio in after)
        jumped = factor >= JUMP and rest >= JUMP
        lasting = factor >= LASTING_JUMP and not jumped
        if jumped or lasting or lost:
            left_out.add(place)
            found.append(Jump(place, factor or max(known, default=0.0), lost, len(judged), lasting))
    return found


def _judged(course: Course, place: int) -> bool:
    return course.count >= FEWEST_VALUES and bool(course.delta[place]) and course.l2[place - 1] is not None


def _lengths(steps: Numbers) -> list[float]:
    """Steps of the interval that ends with each save; all alike where they are not known throughout, or do not rise."""
    known = [step for step in steps if step is not None]
    if len(known) < len(steps) or any(b <= a for a, b in zip(known, known[1:], strict=False)):
        return [1.0] * len(steps)
    return [1.0, *(b - a for a, b in zip(known, known[1:], strict=False))]


def _expected(delta: float, length: float, wanted: float) -> float:
    """How far an interval of `wanted` steps may move what one of `length` moved by `delta`: drift at the most."""
    share = wanted / length
    return delta * (share if share > 1 else share**SHORTER)


def _ratio(
    course: Course, place: int, others: Sequence[int], lengths: Sequence[float], spared: int = 0
) -> float | None:
    """The change at `place` against the most that others let expect, `spared` of them left out; None without others."""
    delta = course.delta[place]
    expected = sorted(
        _expected(change, lengths[other], lengths[place])
        for other in others
        if (change := course.delta[other]) is not None
    )
    if delta is None or len(expected) <= spared:
        return None
    most = expected[-1 - spared]
    return delta / most if most > 0 else math.inf


def cosine(course: Course, place: int) -> float | None:
    """Between the values of a save and of the one before; None where it can't be told."""
    now, before, delta = course.l2[place], course.l2[place - 1], course.delta[place]
    if not now or not before or delta is None:
        return None
    # the same as (now^2 + before^2 - delta^2) / (2 now before), without squares that overflow
    ratio = now / before
    apart = delta / before
    return max(-1.0, min(1.0, (ratio * ratio + 1 - apart * apart) / (2 * ratio)))


def _unrelated(course: Course, place: int, earlier: Sequence[int], lengths: Sequence[float]) -> bool:
    """Whether a kernel that remembered its past in the saves before has lost it in this one."""
    now = cosine(course, place)
    if now is None or now * math.sqrt(course.count) >= UNRELATED_Z:
        return False
    recent = earlier[-RECENT:]
    past = [known for other in recent if (known := cosine(course, other)) is not None]
    ratio = _ratio(course, place, recent, lengths)
    return bool(past) and min(past) >= REMEMBERED and ratio is not None and ratio >= JUMP


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
