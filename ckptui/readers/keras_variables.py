"""The variables standard Keras layers create, in the order they are saved, and their initializers.

Order is that of `layer.weights`: trainable first. Shapes hold None where the input shape is not known.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ckptui.readers.keras_config import Node, Shape, mapping, snake_case, text_of
from ckptui.readers.keras_layer_shapes import channels_first, option, window

Config = Mapping[str, Any]

_INITIALIZER_KEYS = {
    "depthwise_kernel": "depthwise_initializer",
    "pointwise_kernel": "pointwise_initializer",
    "recurrent_kernel": "recurrent_initializer",
}
_ATTENTION_PART = re.compile(r"_?(query|key|value|output)_dense")
_SHORT_KEYS = {"w": "kernel", "b": "bias", "u": "recurrent_kernel"}
_KERAS_1_INITIALIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "uniform": ("RandomUniform", {"minval": -0.05, "maxval": 0.05}),
    "normal": ("RandomNormal", {"mean": 0.0, "stddev": 0.05}),
    "zero": ("Zeros", {}),
    "one": ("Ones", {}),
}


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable a layer creates."""

    name: str
    shape: Shape


def variables(class_name: str, config: Config, input_shape: Shape | None) -> tuple[Variable, ...] | None:
    """What a standard layer saves; None for classes not known here, and for configs that make no sense.

    `input_shape` includes the batch axis.
    """
    make = _MAKERS.get(class_name)
    if make is None:
        return None
    try:
        return tuple(make(config, input_shape))
    except (TypeError, ValueError, LookupError, ArithmeticError):
        return None


def _altered(config: Config) -> bool:
    """Quantised layers and LoRA adapters save more, and other shapes, than the class alone tells."""
    policy = config.get("dtype")
    name = str(mapping(mapping(policy).get("config")).get("name") or mapping(policy).get("class_name") or policy)
    quantised = any(word in name.lower() for word in ("int8", "int4", "float8", "gptq", "awq", "quant"))
    return quantised or bool(config.get("lora_rank")) or config.get("quantization_config") is not None


def guess_names(group: str, shapes: Sequence[tuple[int, ...]]) -> tuple[str, ...]:
    """Variable names from a weight file's group (`batch_normalization_3`) and shapes, without a config.

    Where more than one reading is possible a variable that they call differently has an empty name; empty as a whole
    where they agree on none.
    """
    if _ATTENTION_PART.fullmatch(group) and len(shapes) <= 2:
        return ("kernel", "bias")[: len(shapes)]
    class_name = class_of(group)
    if class_name is not None:
        readings = [names for names in _readings(class_name) if len(names) == len(shapes)]
        agreed = tuple(names[0] if len(set(names)) == 1 else "" for names in zip(*readings, strict=True))
        return agreed if any(agreed) else ()
    if len(shapes) == 2 and len(shapes[0]) >= 2 and shapes[1] == shapes[0][-1:]:
        return ("kernel", "bias")
    return ()


def class_of(group: str) -> str | None:
    """The standard class whose weights a file keeps in a group of this name; None for any other name."""
    stem, _, number = group.rpartition("_")
    known = _classes_by_group()
    return known.get(group) or (known.get(stem) if number.isdigit() else None)


@lru_cache
def _classes_by_group() -> dict[str, str]:
    return {snake_case(name): name for name in (*_MAKERS, *_NAMES)}


@lru_cache
def _readings(class_name: str) -> frozenset[tuple[str, ...]]:
    """Every list of variable names a class can save, over the switches that add or drop one."""
    listed = _NAMES.get(class_name)
    if listed is not None:
        return frozenset({listed, listed[:-1]} if listed[-1] == "bias" else {listed})
    found = set()
    for switches in ({}, {"use_bias": False}, {"center": False}, {"scale": False}, {"center": False, "scale": False}):
        sized = {"filters": 1, "units": 1, "output_dim": 1, "input_dim": 1, "kernel_size": 1, **switches}
        for rank in (1, 2, 3):
            made = variables(class_name, {**sized, "kernel_size": [1] * rank}, None)
            if made is not None:
                found.add(tuple(v.name for v in made))
    return frozenset(found)


def initializer_of(config: Config, variable: str) -> dict[str, Any] | None:
    """The initializer a config names for a variable, as {"class_name", "config"}; None where it names none."""
    if variable == "bias" and config.get("unit_forget_bias"):
        return None
    key = _INITIALIZER_KEYS.get(variable, f"{variable}_initializer")
    named = config.get(key)
    if named is None and variable == "kernel":
        named = config.get("depthwise_initializer") or config.get("init")
    if isinstance(named, str) and named:
        known = _KERAS_1_INITIALIZERS.get(named)
        if known is not None:
            return {"class_name": known[0], "config": dict(known[1])}
        parts = named.split("_") if named.islower() else [named]
        return {"class_name": "".join(p[:1].upper() + p[1:] for p in parts), "config": {}}
    class_name = text_of(mapping(named).get("class_name"))
    if not class_name:
        return None
    return {"class_name": class_name, "config": dict(mapping(mapping(named).get("config")))}


def variable_of(last: str) -> str:
    """The variable in the last part of a weight name: `kernel` of `kernel:0` and of Keras 1's `dense_1_W`."""
    bare = last.rpartition(":")[0] if last.rpartition(":")[2].isdigit() and ":" in last else last
    stem, _, tail = bare.rpartition("_")
    if stem and tail.lower() in _SHORT_KEYS:
        return _SHORT_KEYS[tail.lower()]
    for name in ("running_mean", "running_std"):
        if bare.endswith("_" + name):
            return "moving_mean" if name == "running_mean" else "moving_variance"
    for name in ("gamma", "beta"):
        if stem and tail == name:
            return name
    return bare


def _last(shape: Shape | None) -> int | None:
    return shape[-1] if shape else None


def _channels(config: Config, shape: Shape | None) -> int | None:
    if not shape:
        return None
    return shape[1] if channels_first(config) and len(shape) > 2 else shape[-1]


def _bias(config: Config, size: int | None) -> list[Variable]:
    return [Variable("bias", (size,))] if option(config, "use_bias", "bias", default=True) else []


def _dense(config: Config, shape: Shape | None) -> list[Variable]:
    units = int(option(config, "units", "output_dim"))
    return [Variable("kernel", (_last(shape), units)), *_bias(config, units)]


def _conv(rank: int) -> Callable[[Config, Shape | None], list[Variable]]:
    def make(config: Config, shape: Shape | None) -> list[Variable]:
        filters = int(option(config, "filters", "nb_filter"))
        groups = int(option(config, "groups", default=1))
        channels = _channels(config, shape)
        inner = None if channels is None else channels // groups
        kernel = (*window(config, rank), inner, filters)
        return [Variable("kernel", kernel), *_bias(config, filters)]

    return make


def _transposed(rank: int) -> Callable[[Config, Shape | None], list[Variable]]:
    def make(config: Config, shape: Shape | None) -> list[Variable]:
        filters = int(config["filters"])
        kernel = (*window(config, rank), filters, _channels(config, shape))
        return [Variable("kernel", kernel), *_bias(config, filters)]

    return make


def _depthwise(rank: int) -> Callable[[Config, Shape | None], list[Variable]]:
    def make(config: Config, shape: Shape | None) -> list[Variable]:
        channels = _channels(config, shape)
        multiplier = int(option(config, "depth_multiplier", default=1))
        out = None if channels is None else channels * multiplier
        kernel = (*window(config, rank), channels, multiplier)
        return [Variable("kernel", kernel), *_bias(config, out)]

    return make


def _separable(rank: int) -> Callable[[Config, Shape | None], list[Variable]]:
    def make(config: Config, shape: Shape | None) -> list[Variable]:
        channels = _channels(config, shape)
        multiplier = int(option(config, "depth_multiplier", default=1))
        filters = int(option(config, "filters", "nb_filter"))
        out = None if channels is None else channels * multiplier
        return [
            Variable("depthwise_kernel", (*window(config, rank), channels, multiplier)),
            Variable("pointwise_kernel", (*(1,) * rank, out, filters)),
            *_bias(config, filters),
        ]

    return make


def _along(config: Config, shape: Shape | None) -> Shape:
    """Shape of a normalization's gamma: the extents of its axes."""
    axes = config.get("axis", -1)
    axes = list(axes) if isinstance(axes, (list, tuple)) else [axes]
    return tuple(None if shape is None else shape[int(axis)] for axis in axes)


def _normalization(moving: bool) -> Callable[[Config, Shape | None], list[Variable]]:
    def make(config: Config, shape: Shape | None) -> list[Variable]:
        along = _along(config, shape)
        names = [n for n, switch in (("gamma", "scale"), ("beta", "center")) if config.get(switch, True)]
        if moving:
            names += ["moving_mean", "moving_variance"]
        return [Variable(name, along) for name in names]

    return make


def _embedding(config: Config, shape: Shape | None) -> list[Variable]:
    return [Variable("embeddings", (int(config["input_dim"]), int(config["output_dim"])))]


def _cell(gates: int) -> Callable[[Config, Shape | None], list[Variable]]:
    def make(config: Config, shape: Shape | None) -> list[Variable]:
        units = int(option(config, "units", "output_dim"))
        wide = gates * units
        made = [Variable("kernel", (_last(shape), wide)), Variable("recurrent_kernel", (units, wide))]
        if not config.get("use_bias", True):
            return made
        # Configs older than the option come from layers without it.
        twice = gates == 3 and config.get("reset_after", False)
        return [*made, Variable("bias", (2, wide) if twice else (wide,))]

    return make


_MAKERS: dict[str, Callable[[Config, Shape | None], list[Variable]]] = {
    "Dense": _dense,
    "Conv1D": _conv(1),
    "Conv2D": _conv(2),
    "Conv3D": _conv(3),
    "Conv1DTranspose": _transposed(1),
    "Conv2DTranspose": _transposed(2),
    "Conv3DTranspose": _transposed(3),
    "DepthwiseConv1D": _depthwise(1),
    "DepthwiseConv2D": _depthwise(2),
    "SeparableConv1D": _separable(1),
    "SeparableConv2D": _separable(2),
    "BatchNormalization": _normalization(moving=True),
    "LayerNormalization": _normalization(moving=False),
    "Embedding": _embedding,
    "LSTMCell": _cell(4),
    "GRUCell": _cell(3),
    "SimpleRNNCell": _cell(1),
}


_NAMES: dict[str, tuple[str, ...]] = {
    "PReLU": ("alpha",),
    "Normalization": ("mean", "variance", "count"),
    "GroupNormalization": ("gamma", "beta"),
    "RMSNormalization": ("scale",),
    "EinsumDense": ("kernel", "bias"),
    "ConvLSTM1DCell": ("kernel", "recurrent_kernel", "bias"),
    "ConvLSTM2DCell": ("kernel", "recurrent_kernel", "bias"),
    "ConvLSTM3DCell": ("kernel", "recurrent_kernel", "bias"),
}
"""Classes whose names are known and whose number or shapes of variables are not judged."""


def expected(node: Node) -> tuple[Variable, ...] | None:
    """The variables a node itself creates (a recurrent layer's are its cell's); None where that can't be told."""
    if node.is_model or any(child.hidden for child in node.children) or _altered(node.config):
        return None
    return variables(node.class_name, node.config, node.input_shape)


def saved_names(node: Node) -> tuple[str, ...]:
    """The names of a node's own variables in the order they are saved, quantised or not; empty if not known."""
    if node.class_name in _NAMES:
        return _NAMES[node.class_name]
    return tuple(v.name for v in variables(node.class_name, node.config, node.input_shape) or ())
