"""How a graph scales and shifts what comes in: the constants of its arithmetic as one factor and one offset."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ckptui.core.layer_fields import same_value
from ckptui.core.model import Operation

MOST_VALUES = 16
FULL = ("float32", "float64")
"""Dtypes in which a constant says what it was made from; narrower ones round it."""
_LEAST = 1e-7
"""What Keras divides by at least."""


def scaling(steps: Sequence[Operation]) -> dict[str, Any]:
    """{"scale", "offset"} of steps that follow each other, x scale + offset; their `ops` where that is not clear."""
    scale, offset = [1.0], [0.0]
    before = ""
    for step in steps:
        told = step.attributes
        number: Any = told.get("operand")
        follows = not before or told.get("of") == before
        before = step.name
        if not follows or not _numbers(number) or told.get("T") not in FULL:
            return {"ops": [one.op for one in steps]}
        done = _taken(step.op, number, told.get("operand_first") is True, scale, offset)
        if done is None:
            return {"ops": [one.op for one in steps]}
        scale, offset = done
    return {"scale": as_one(scale), "offset": as_one(offset)}


def configured(kind: str, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The same of a Rescaling, or a Normalization with mean and variance in its config; None where it is not clear."""
    if kind == "Rescaling":
        scale, offset = _flat(config.get("scale", 1.0)), _flat(config.get("offset", 0.0))
    elif kind == "Normalization" and not config.get("invert"):
        mean, variance = _flat(config.get("mean")), _flat(config.get("variance"))
        if not mean or not variance or min(variance) < 0:
            return None
        scale = [1 / max(math.sqrt(value), _LEAST) for value in variance]
        offset = _each(lambda m, s: -m * s, mean, scale) or []
    else:
        return None
    return {"scale": as_one(scale), "offset": as_one(offset)} if scale and offset else None


def as_one(values: Sequence[float]) -> Any:
    """One number for all channels where they agree."""
    return values[0] if all(same_value(value, values[0]) for value in values) else list(values)


def _taken(op: str, number: list[float], first: bool, scale: list[float], offset: list[float]) -> Any:
    """Scale and offset after one step; None where no such numbers say what it does."""
    if op == "Sub":
        number = number if first else [-value for value in number]
        if first:
            scale, offset = [-value for value in scale], [-value for value in offset]
    if op == "RealDiv":
        if first or 0 in number:
            return None
        number = [1 / value for value in number]
    if op in ("Add", "AddV2", "Sub"):
        moved = _each(lambda value, more: value + more, offset, number)
        return None if moved is None else (scale, moved)
    grown = [_each(lambda value, factor: value * factor, values, number) for values in (scale, offset)]
    return None if None in grown else grown


def _each(function: Any, one: Sequence[float], other: Sequence[float]) -> list[float] | None:
    """Both value by value, a single one with all of the other's."""
    if len(one) != len(other) and 1 not in (len(one), len(other)):
        return None
    count = max(len(one), len(other))
    return [function(one[n % len(one)], other[n % len(other)]) for n in range(count)]


def _numbers(value: Any) -> bool:
    return (
        isinstance(value, list)
        and 0 < len(value) <= MOST_VALUES
        and all(type(item) in (int, float) and math.isfinite(item) for item in value)
    )


def _flat(raw: Any) -> list[float]:
    """The numbers of a config's field: one, or lists around a list of them; empty for anything else."""
    for _ in range(6):
        if isinstance(raw, (list, tuple)) and len(raw) == 1 and isinstance(raw[0], (list, tuple)):
            raw = raw[0]
    values = list(raw) if isinstance(raw, (list, tuple)) else [raw]
    return [float(value) for value in values] if _numbers(values) else []
