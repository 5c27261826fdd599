"""Whether an optimizer's second moments in one save can have become those in another.

Adam keeps v, a running mean of squared gradients: v' = r v + (1 - r) g^2, with r = beta_2. A square is never negative,
so k steps later every single element is at least r^k of what it was, whatever the data were. RMSprop does the same with
rho; the accumulators of Adagrad and Ftrl only grow (r = 1). Another training, even one from the same initial weights,
saw its gradients in another order, and breaks the bound in many elements, unless k is so large, or the first save so
early, that the bound says nothing. So the bound speaks only where the values come close to it: how many would lie
below is estimated by carrying their own distribution on as a normal one. Method and figures: docs/relation.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

FEWEST_VALUES = 64
"""Values of a slot that its quantiles need."""
EXPECTED = 30.0
"""Values that should lie below the bound in another training, before none seen there means anything."""
SHARE = 1e-3
"""Of all values: fewer below the bound are no sign of another training."""
DEEP = 0.02, 0.1
"""How far below the bound (in ln, and as a share of the bound) one value alone says that it is broken."""
LONGEST = 60.0
"""ln of the bound past which float32 would have lost the values anyway."""
SLOWEST = 0.8
"""No optimizer is set to forget faster: a lower bound that would fit is none."""

_QUANTILES = {"q01": 0.01, "q05": 0.05, "q16": 0.16, "q50": 0.5, "q84": 0.84, "q95": 0.95, "q99": 0.99}
_Z = {"q01": -2.3263, "q05": -1.6449, "q16": -0.9945, "q50": 0.0, "q84": 0.9945, "q95": 1.6449, "q99": 2.3263}
_LOWER = (("q01", "q05"), ("q05", "q16"), ("q16", "q50"))
_FEWEST_PAIRS = 2

Word = Literal["kept", "broken", "open", "none"]


@dataclass(frozen=True, slots=True)
class Slot:
    """How one slot variable moved between two saves."""

    name: str
    """Its own name where the save knows one (`adam/conv1_kernel_velocity`), else the stored one."""
    ratio: Mapping[str, float]
    """What `ratios.LogRatios` says: quantiles of ln(B / A)."""


@dataclass(frozen=True, slots=True)
class Moments:
    """What the second moments of two saves say about one having become the other."""

    word: Word
    """`kept`: B's are what A's must have become at least, and close enough for it to count; `broken`: they are not;
    `open`: the bound holds, as it might by chance; `none`: there are none, or nothing says how they decay."""
    slots: int = 0
    values: int = 0
    below: float = 0.0
    """Values below the bound: at least so many, by the quantiles."""
    expected: float = 0.0
    """Values that another training would have there."""
    deepest: float | None = None
    """ln of the lowest value over the bound; below 0 where it is broken."""
    decay: float | None = None
    """The bound on one step: beta_2, rho; 1 for sums. Of the slots with the fastest decay."""
    assumed: bool = False
    """The decay is the optimizer's default: no save says it."""

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def judge(slots: Sequence[Slot], steps: float, logarithm: float | None = None, decay: float | None = None) -> Moments:
    """What slots say about B being A after `steps` more steps (fewer than 0: A being B after as many).

    Args:
        logarithm: ln of the bound over all the steps, where the save tells it (the ratio of two `beta2_power`).
        decay: beta_2 or rho of one step where a save tells it; None for the optimizer's default, by its name.
    """
    told = [(slot, known) for slot in slots if (known := _decay(slot.name)) is not None and _usable(slot.ratio)]
    if not told or steps == 0:
        return Moments("none")
    ratios = [slot.ratio if steps > 0 else _reversed(slot.ratio) for slot, _ in told]
    rates = [default if default == 1.0 or decay is None else decay for _, default in told]
    bounds = [abs(steps) * math.log(rate) if logarithm is None or rate == 1.0 else -abs(logarithm) for rate in rates]
    below = expected = 0.0
    deep = False
    for ratio, bound in zip(ratios, bounds, strict=True):
        slack = _rounding(abs(steps), bound)
        if ratio["min"] < bound - slack:
            below += _below(ratio, bound - slack)
            deep = deep or ratio["min"] < bound - slack - max(DEEP[0], DEEP[1] * abs(bound))
        if -LONGEST < bound < 0:
            # sums start at 0.1 in every training, and what has hardly grown lies at the bound in all of them
            expected += _expected(ratio, bound, slack)
    values = sum(ratio["values"] for ratio in ratios)
    assumed = logarithm is None and decay is None and min(rates) < 1.0
    word: Word = "open"
    if deep or below > SHARE * values:
        word = "open" if assumed and _fits_another(ratios, abs(steps)) else "broken"
    elif below == 0 and expected >= EXPECTED:
        word = "kept"
    deepest = min(ratio["min"] - bound for ratio, bound in zip(ratios, bounds, strict=True))
    return Moments(word, len(told), int(values), below, expected, deepest, min(rates), assumed)


def _fits_another(ratios: Sequence[Mapping[str, float]], steps: float) -> bool:
    """Whether all values stop short at one lower bound, as they do where beta_2 is not the default."""
    bound = min(ratio["min"] for ratio in ratios)
    if not steps * math.log(SLOWEST) < bound < 0:
        return False
    return sum(_expected(ratio, bound, _rounding(steps, bound)) for ratio in ratios) >= EXPECTED


def _usable(ratio: Mapping[str, float]) -> bool:
    """All there and finite: a child's answer is checked for no more than being a mapping."""
    names = ("values", "min", "max", *_QUANTILES)
    numbers = [ratio.get(name) for name in names]
    if not all(isinstance(number, (int, float)) and math.isfinite(number) for number in numbers):
        return False
    return ratio["values"] >= FEWEST_VALUES and not ratio.get("negative")


def _reversed(ratio: Mapping[str, float]) -> dict[str, float]:
    """ln(a / b) of what was ln(b / a)."""
    mirror = {"min": "max", "max": "min", "q01": "q99", "q05": "q95", "q16": "q84", "q50": "q50", "q84": "q16"}
    found = {name: -ratio[other] for name, other in mirror.items()}
    return found | {"q95": -ratio["q05"], "q99": -ratio["q01"], "values": ratio["values"]}


def _rounding(steps: float, bound: float) -> float:
    """How far below the bound float32 may take a value: half a unit a step, and 1 - beta_2 as a float32."""
    return 3e-7 + 1.2e-7 * min(steps, 1e5) + 2e-5 * min(abs(bound), LONGEST)


def _below(ratio: Mapping[str, float], bound: float) -> float:
    """At least so many values lie below: as the highest quantile there says, one where none does."""
    share = max((part for name, part in _QUANTILES.items() if ratio[name] < bound), default=0.0)
    return max(1.0, share * ratio["values"])


def _expected(ratio: Mapping[str, float], bound: float, slack: float) -> float:
    """Values that would lie below the bound were it none: the least that any two neighbouring quantiles give.

    Values that lie at the bound itself had no gradient since; so it may be in a training that went its own way from a
    common save. They say nothing, and a slot that is full of them neither.
    """
    edge = bound + 10 * slack
    estimates = []
    for low, high in _LOWER:
        if ratio[low] <= edge:
            continue
        deviation = (ratio[high] - ratio[low]) / (_Z[high] - _Z[low])
        if deviation <= slack:
            return 0.0
        middle = ratio[high] - _Z[high] * deviation
        estimates.append(ratio["values"] * 0.5 * math.erfc((middle - bound) / deviation / math.sqrt(2)))
    return min(estimates) if len(estimates) >= _FEWEST_PAIRS else 0.0


_SUMS = re.compile(r"adagrad|ftrl|/\.optimizer_slot/[^/]+/accumulator/")
_ROOT_MEANS = re.compile(r"rm_?s_?prop|/\.optimizer_slot/[^/]+/rms/")
_DELTAS = re.compile(r"adadelta|/\.optimizer_slot/[^/]+/accum_(?:grad|var)/")
_MOMENTS = re.compile(r"n?adam|lamb(?![a-z])|/\.optimizer_slot/[^/]+/(?:v|vhat)/")
_UNKNOWN = re.compile(r"adafactor|muon|lion")


def _decay(name: str) -> float | None:
    """The least share of a second moment that is left after one step, by the optimizer's default; None: not known."""
    low = name.lower()
    if _UNKNOWN.search(low):
        return None
    for pattern, decay in ((_SUMS, 1.0), (_ROOT_MEANS, 0.9), (_DELTAS, 0.95), (_MOMENTS, 0.999)):
        if pattern.search(low):
            return decay
    return None
