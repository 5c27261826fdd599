"""An optimizer that never stepped: every slot is where it starts."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ckptui.core.catalogue import make
from ckptui.core.dtypes import is_float
from ckptui.core.model import Certainty, Finding, Tensor
from ckptui.core.names import clean
from ckptui.core.text import human_count, number_text
from ckptui.triage.values import Row

_COPIES = re.compile(r"(?i).*(ExponentialMovingAverage|_average)(_[0-9]+)?")
"""Averages of the weights themselves: they start as the weights do."""
_STARTS_ABOVE = re.compile(r"(?i)(.*[/_])?(accumulators?|adagrad|adagradda|ftrl|proximaladagrad|rmsprop)(_[0-9]+)?")
"""Slots whose optimizer may start them above 0: Adagrad's and Ftrl's accumulators, TensorFlow 1's RMSProp."""
_STEPS = re.compile(r"_?iter(ation)?s?")
_USUAL_START = 0.1
"""Keras' and TensorFlow's own `initial_accumulator_value`."""


def slot_findings(path: str, rows: Sequence[Row]) -> list[Finding]:
    """`slots-at-zero` where every slot was read and none ever moved: frozen layers leave single ones so.

    Zeros beside a step counter above 0 are no proof: SGD keeps momenta at 0 that it does not use.
    """
    slots = [row for row in rows if _is_slot(row[0])]
    values = [_only_value(row) for row in slots]
    if not slots or None in values:
        return []
    steps = _steps(rows)
    if steps:
        return []
    above = {value for value in values if value}
    if above and not _starts_so(slots, values, above, steps):
        return []
    zero = sum(value == 0 for value in values)
    detail = f"all {human_count(len(slots))} optimizer slots are exactly 0"
    if above:
        start = number_text(next(iter(above)))
        where = f"{human_count(zero)} at 0, the others at {start}" if zero else f"at {start}"
        detail = f"all {human_count(len(slots))} optimizer slots are as they start: {where}"
    if steps == 0:
        detail += ", and it counts 0 steps"
    evidence = {"slots": len(slots), "zero": zero, "initial": next(iter(above), 0), "iterations": steps}
    certainty: Certainty = "likely" if above and steps is None else "confirmed"
    return [make("slots-at-zero", path, None, detail=detail, evidence=evidence, certainty=certainty)]


def _is_slot(tensor: Tensor) -> bool:
    if tensor.role != "slot" or not tensor.shape or not is_float(tensor.dtype) or not tensor.count:
        # scalars are an optimizer's own: Nadam's product, a loss scale
        return False
    return not any(_COPIES.fullmatch(clean(name)) for name in (tensor.name, tensor.object_path))


def _only_value(row: Row) -> float | None:
    """The one value that all of a slot's elements have; None for several, for NaN and for a slot that was not read."""
    stats = row[1]
    if stats is None or not stats.count or stats.min is None or stats.finite != stats.count or stats.min != stats.max:
        return None
    return float(stats.min)


def _starts_so(slots: Sequence[Row], values: Sequence[float | None], above: set[float], steps: int | None) -> bool:
    """Whether one value above 0 in all slots that are not at 0 is where their optimizer starts them."""
    if len(above) > 1 or min(above) < 0:
        return False
    named = all(
        any(_STARTS_ABOVE.fullmatch(clean(name)) for name in (slot.name, slot.object_path))
        or "accumulator" in slot.name
        for (slot, _), value in zip(slots, values, strict=True)
        if value
    )
    usual = abs(next(iter(above)) - _USUAL_START) < 1e-3
    return steps == 0 if not named else steps == 0 or usual or len(slots) > 1


def _steps(rows: Sequence[Row]) -> int | None:
    """The most steps that an optimizer in the save counts; None where none is kept."""
    counted = [
        int(stats.min)
        for tensor, stats in rows
        if stats is not None and stats.min is not None and _counts_steps(tensor)
    ]
    return max(counted, default=None)


def _counts_steps(tensor: Tensor) -> bool:
    if tensor.role != "counter" or tensor.shape or is_float(tensor.dtype):
        return False
    names = (tensor.object_path, clean(tensor.name))
    if any(_STEPS.fullmatch(name.rpartition("/")[2]) for name in names if name):
        return True
    return clean(tensor.name).endswith("/vars/0")
