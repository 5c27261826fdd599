"""What an image meets first in a Keras model: classes of the first layers, with the numbers that scale it."""

from __future__ import annotations

from typing import Any

from .layer_graph import graph_of, steps_of, symbols

FIRST_LAYERS = 8
MOST_NUMBERS = 4096
ARITHMETIC = {
    "truedivide": "divide",
    "truediv": "divide",
    "realdiv": "divide",
    "divide": "divide",
    "div": "divide",
    "subtract": "subtract",
    "sub": "subtract",
    "multiply": "multiply",
    "mul": "multiply",
    "scalar_mul": "multiply",
    "add": "add",
    "addv2": "add",
    "biasadd": "add",
    "bias_add": "add",
}
"""Keras 3 classes and TensorFlow functions of plain arithmetic, lowered, and what they do."""
SLICES = ("getitem", "_slice_helper", "__getitem__", "slicingoplambda", "stridedslice", "strided_slice")
FLIPS = ("flip", "reverse", "reverse_v2", "reversev2", "flip_left_right", "flip_up_down")
SHAPES = ("shape", "shape_v2", "shapen", "rank", "size", "size_v2")
"""What computes with the extents of an image and not with its values."""
WRAPPED = ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer")
"""Layers that Keras 2 makes of a TensorFlow function (the last one before TensorFlow 2.4, of an operation)."""


def first_layers(model: Any) -> list[dict[str, Any]]:
    """`{"class", ...}` of the first layers an image meets, nested models opened.

    A Rescaling has `scale` and `offset`, a Normalization `mean`, `variance`, `unadapted` (mean 0 and variance 1: it
    saw no data) and `invert`, lists of numbers; arithmetic in front has `op` (divide, subtract, multiply, add),
    `constant` and `reversed` (the constant stands first); a slice `reverses` where it turns an axis round. What
    Keras 2 wrapped has the `function` it calls: `resize`, `truediv`.
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
        seen: set[int] = set()
        steps: list[Any] = []
        extents: set[str] = set()
        for step in steps_of(graph):
            if step.operation is None or id(step.operation) in seen:
                continue
            seen.add(id(step.operation))
            if called_name(step.operation).lower() in SHAPES or (step.takes and extents.issuperset(step.takes)):
                extents.update(step.gives)
                continue
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
        if entry["class"] in WRAPPED:
            entry["function"] = called_name(layer)
        entry.update(arithmetic(layer, step))
    return {key: value for key, value in entry.items() if value is not None}


def called_name(layer: Any) -> str:
    """The function or operation that Keras 2 wrapped, else the class: `truediv`, `Conv2D`."""
    class_name = type(layer).__name__
    if class_name not in WRAPPED:
        return class_name
    node = getattr(layer, "node_def", None)
    symbol = getattr(layer, "symbol", None)
    name = getattr(node, "op", None) or symbol or getattr(getattr(layer, "function", None), "__name__", None)
    return name.rsplit(".", 1)[-1] if isinstance(name, str) and name else class_name


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
    name = called_name(layer).lower()
    given = operands(layer, step)
    if name in SLICES or name in FLIPS:
        return {"reverses": name in FLIPS or turns(given) or (len(given) == 4 and -1 in (numbers(given[3]) or ()))}
    op = ARITHMETIC.get(name)
    # a list of tensors, as an Add of two layers takes it, is what it holds
    parts = [part for one in given for part in (symbols([one]) if flat_symbols(one) else [one])]
    constants = [(place, numbers(part)) for place, part in enumerate(parts) if not flat_symbols(part)]
    constants = [(place, values) for place, values in constants if values]
    if op is None or len(parts) != 2 or len(constants) != 1:
        return {}
    place, values = constants[0]
    return {"op": op, "constant": values, "reversed": place == 0}


def operands(layer: Any, step: Any) -> list[Any]:
    """What the operation is called with, in its order: tensors as symbols, constants as they are."""
    args, kwargs = step.symbolic()
    for word in ("name", "data_format"):
        kwargs.pop(word, None)
    given = [*args, *kwargs.values()]
    constants = getattr(layer, "constants", None)
    if isinstance(constants, dict):
        given = symbols(given)
        for place in sorted(constants):
            given.insert(place, constants[place])
    return given


def flat_symbols(value: Any) -> bool:
    """Whether a tensor of the graph is in it."""
    return any(hasattr(part, "_keras_history") for part in symbols([value]))


def turns(value: Any) -> bool:
    """Whether a slice in it steps back by one; one of Keras 2 is a dictionary once it was saved."""
    if isinstance(value, slice):
        return bool(value.step == -1)
    if isinstance(value, dict):
        return value.get("step") == -1 or any(turns(part) for part in value.values())
    return isinstance(value, (list, tuple)) and any(turns(part) for part in value)


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
