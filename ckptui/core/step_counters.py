"""What the counters of two saves say about the steps between them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ckptui.core.names import clean
from ckptui.core.relation_rows import COUNTERS, RelationRow

_OPTIMIZERS_OWN = re.compile(r"(?:^|/)_?(?:iterations?|iter)(?:_[0-9]+)?$|(?:^|/)optimizer\d*/(?:vars|_variables)/0$")
_GLOBAL = re.compile(r"(?:^|/)global_step$")
_LOOSE = re.compile(r"step|iter|save_counter|epoch|counter")
_NO_STEPS = re.compile(r"good_steps|dynamic_scale|steps_per|/(?:vars|_variables)/|step_counter")
_POWER = re.compile(r"(?:^|/)beta2_power(?:_[0-9]+)?$")
_RATE = re.compile(r"(?:^|/)(?:beta_2|rho)$")
_SMALLEST_POWER = 1e-35
_USUAL = math.log(0.999)


@dataclass(frozen=True, slots=True)
class Clock:
    """What the counters of two saves say about the steps between them."""

    steps: float = 0.0
    """From A to B, by the optimizer's own counter, else by the global step; 0 where there is none."""
    begun: float = 0.0
    """Steps that the earlier save has behind it."""
    logarithm: float | None = None
    """ln of what Adam's moments keep over these steps, where TF1's `beta2_power` says it."""
    decay: float | None = None
    """beta_2 or rho, where a save holds it."""
    exact: bool = False
    """The steps are counted by the optimizer, or by TensorFlow's global step."""
    forward: bool = False
    backward: bool = False
    earlier: bool = False
    """Every counter of B is lower than, or equal to, A's, and none has started anew at 0."""
    equal: bool = False
    """There are steps, and they are the same."""
    unbegun: bool = False
    """B counts no step, A does."""


def read_clock(rows: Sequence[RelationRow]) -> Clock:
    """The steps between two saves, and how they are known."""
    counters = [r for r in rows if r.pair.role in COUNTERS and both(r)]
    steps = [_numbers(r) for r in counters if _whole(r) and _counts(r)]
    logarithm, decay = _logarithm(counters), _rate(counters)
    found: list[tuple[float, float]] = []
    for pattern in (_OPTIMIZERS_OWN, _GLOBAL):
        found = found or [_numbers(r) for r in counters if _whole(r) and _named(r, pattern)]
    exact = bool(found) or logarithm is not None
    # of several optimizers the one that took most steps: its bound is the weakest, and breaks for none of them
    between = max((b - a for a, b in found or steps), key=abs, default=0.0)
    if logarithm is not None and not found:
        between = round(logarithm / _USUAL)
    return Clock(
        steps=between,
        begun=min((min(pair) for pair in found or steps), default=math.inf if exact else 0.0),
        logarithm=logarithm if between and (logarithm or 0) * between < 0 else None,
        decay=decay,
        exact=exact,
        forward=bool(steps) and all(b >= a for a, b in steps) and any(b > a for a, b in steps),
        backward=bool(steps) and any(b < a for a, b in steps),
        earlier=bool(steps) and all(0 < b <= a for a, b in steps) and any(b < a for a, b in steps),
        equal=bool(steps) and all(a == b and a > 0 for a, b in (found or steps)),
        unbegun=bool(steps) and all(b == 0 for _, b in (found or steps)) and any(a > 0 for a, _ in (found or steps)),
    )


def _logarithm(counters: Iterable[RelationRow]) -> float | None:
    """ln of B's `beta2_power` over A's; None where one has been rounded away, or there are several that differ."""
    found = []
    for a, b in (_numbers(r) for r in counters if _named(r, _POWER)):
        if not (_SMALLEST_POWER < a < 1 and _SMALLEST_POWER < b < 1):
            return None
        found.append(math.log(b) - math.log(a))
    if not found or max(found) - min(found) > 1e-3 * abs(found[0]):
        return None
    return found[0] or None


def _rate(counters: Iterable[RelationRow]) -> float | None:
    """beta_2 or rho, where a save holds one as a number and both agree."""
    found = {_numbers(r) for r in counters if _named(r, _RATE)}
    if len(found) != 1:
        return None
    a, b = found.pop()
    return a if a == b and 0 < a < 1 else None


def both(row: RelationRow) -> bool:
    """Whether a scalar has a finite value on both sides."""
    return all(v is not None and math.isfinite(v) for v in (row.a_value, row.b_value))


def _numbers(row: RelationRow) -> tuple[float, float]:
    return row.a_value or 0.0, row.b_value or 0.0


def _whole(row: RelationRow) -> bool:
    return all(value >= 0 and value == int(value) for value in _numbers(row))


def _named(row: RelationRow, pattern: re.Pattern[str]) -> bool:
    return any(pattern.search(clean(name).lower()) for name in (row.own_name, row.stored) if name)


def _counts(row: RelationRow) -> bool:
    """Counters that go up with training; learning rates and decay rates do not."""
    if _named(row, _OPTIMIZERS_OWN):
        return True
    return _named(row, _LOOSE) and not _named(row, _NO_STEPS)
