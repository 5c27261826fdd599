"""What an image meets first in a Keras model: classes of the first layers, with the numbers that scale it."""

from __future__ import annotations

from typing import Any

from .layer_graph import graph_of, steps_of, symbols

FIRST_LAYERS = 8
MOST_NUMBERS = 4096
ARITHMETIC = {
    "truedivide": "divide",
    "truediv": "divide",
    "divide": "divide",
    "div": "divide",
    "subtract": "subtract",
    "sub": "subtract",
    "multiply": "multiply",
    "mul": "multiply",
    "add": "add",
    "addv2": "add",
    "biasadd": "add",
    "bias_add": "add",
}
"""Keras 3 classes and TensorFlow functions of plain arithmetic, lowered, and what they do."""


def first_layers(model: Any) -> list[dict[str, Any]]:
    """`{"class", ...}` of the first layers an image meets, nested models opened.

    A Rescaling has `scale` and `offset`, a Normalization `mean`, `variance`, `unadapted` (mean 0 and variance 1: it
    saw no data) and `invert`, lists of numbers; arithmetic in front has `op` (divide, subtract, multiply, add),
    `constant` and `reversed` (the constant stands first); a slice `reverses` where it turns an axis round.
    """
    found: list[dict[str, Any]] = []
    waiting: list[Any] = [(model, None)]
    while waiting and len(found) < FIRST_LAYERS:
        layer, step = waiting.pop(0)
        inner = opened(layer)
        if inner:
            waiting = inner + waiting
            continue
        found.append(facts_of(layer, step))
    return found


def opened(layer: Any) -> list[Any]:
    """What is inside, in the order of its calls, as (layer, call or None); nothing where it is a layer of its own."""
    graph = graph_of(layer)
    if graph is not None:
        seen, steps = set(), []
        for step in steps_of(graph):
            if step.operation is not None and id(step.operation) not in seen:
                seen.add(id(step.operation))
                steps.append((step.operation, step))
        return steps
    return [(part, None) for part in getattr(layer, "layers", None) or []]


def facts_of(layer: Any, step: Any) -> dict[str, Any]:
    """One layer's entry."""
    entry: dict[str, Any] = {"class": type(layer).__name__, "name": str(getattr(layer, "name", ""))}
    if entry["class"] == "Rescaling":
        for key in ("scale", "offset"):
            entry[key] = numbers(getattr(layer, key, None))
    elif entry["class"] == "Normalization":
        entry.update(normalization(layer))
    elif step is not None and not step.is_input:
        entry.update(arithmetic(layer, step))
    return {key: value for key, value in entry.items() if value is not None}


def normalization(layer: Any) -> dict[str, Any]:
    """Mean and variance from the layer's weights, else from its configuration."""
    found: dict[str, Any] = {"invert": bool(getattr(layer, "invert", False))}
    for key in ("mean", "variance"):
        values = [getattr(layer, name, None) for name in ("adapt_" + key, key, "input_" + key)]
        listed = [numbers(value) for value in values]
        found[key] = next((entry for entry in listed if entry), None)
    mean, variance = found["mean"], found["variance"]
    if mean and variance:
        found["unadapted"] = all(value == 0 for value in mean) and all(value == 1 for value in variance)
    return found


def arithmetic(layer: Any, step: Any) -> dict[str, Any]:
    """What a plain operation does to the image, where the graph keeps its constant."""
    symbol = getattr(layer, "symbol", None)
    name = symbol.rsplit(".", 1)[-1] if isinstance(symbol, str) else type(layer).__name__
    args, kwargs = step.symbolic()
    for word in ("name", "data_format"):
        kwargs.pop(word, None)
    operands = symbols([list(args), kwargs])
    if name.lower() in ("getitem", "_slice_helper", "__getitem__", "slicingoplambda"):
        turned = [part for part in operands if isinstance(part, slice) and part.step == -1]
        return {"reverses": bool(turned)}
    op = ARITHMETIC.get(name.lower())
    constants = [(place, numbers(part)) for place, part in enumerate(operands) if not hasattr(part, "_keras_history")]
    constants = [(place, values) for place, values in constants if values]
    if op is None or len(operands) != 2 or len(constants) != 1:
        return {}
    place, values = constants[0]
    return {"op": op, "constant": values, "reversed": place == 0}


def numbers(value: Any) -> list[float] | None:
    """A number, a list or a tensor as a flat list; None for anything else and for more than a layer needs."""
    import numpy as np

    if value is None or isinstance(value, (str, bytes, bool)):
        return None
    try:
        array = np.asarray(value.numpy() if hasattr(value, "numpy") else value)
        if array.dtype.kind not in "iuf" and array.dtype.name != "bfloat16":
            return None
        flat = array.astype(np.float64).reshape(-1)
    except (TypeError, ValueError, AttributeError, NotImplementedError):
        return None
    return [float(number) for number in flat] if 0 < flat.size <= MOST_NUMBERS and np.isfinite(flat).all() else None
