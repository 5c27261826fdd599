"""Layers as a graph shows them, in the form of an architecture: what exports keep of configurations.

Scopes are the layers' names. A graph tells padding, strides, dilation, pool size, activation, the dtype it computes in,
and, from small constants, how the input is scaled and what a batch normalisation adds; the rest of a configuration is
gone. Where an op can't tell what its layer was made with (a dilated convolution is an unpadded one between two
rearrangements), the field is left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ckptui.core.graph_scales import scaling
from ckptui.core.layer_fields import same_value
from ckptui.core.model import ArchitectureRow, Operation
from ckptui.core.random_ops import RANDOM

_CLASSES = {
    "Conv2D": "Conv2D", "Conv3D": "Conv3D", "DepthwiseConv2dNative": "DepthwiseConv2D",
    "Conv2DBackpropInput": "Conv2DTranspose", "Conv3DBackpropInputV2": "Conv3DTranspose", "Conv": "Conv2D",
    "MatMul": "Dense", "BatchMatMulV2": "Dense", "Einsum": "Dense",
    "MaxPool": "MaxPooling2D", "MaxPoolV2": "MaxPooling2D", "MaxPool3D": "MaxPooling3D",
    "AvgPool": "AveragePooling2D", "AvgPool3D": "AveragePooling3D",
    "FusedBatchNorm": "BatchNormalization", "FusedBatchNormV2": "BatchNormalization",
    "FusedBatchNormV3": "BatchNormalization",
    "ResizeBilinear": "Resizing", "ResizeBicubic": "Resizing", "ResizeNearestNeighbor": "Resizing",
}  # fmt: skip
_ACTIVATIONS = {
    "Relu": "relu", "Relu6": "relu6", "Elu": "elu", "Selu": "selu", "LeakyRelu": "leaky_relu", "Tanh": "tanh",
    "Sigmoid": "sigmoid", "Softmax": "softmax", "Softplus": "softplus", "Softsign": "softsign", "Erf": "gelu",
}  # fmt: skip
_WITH_WEIGHTS = ("Conv", "Dense", "DepthwiseConv")
_SEPARABLE = ["separable_conv2d", "depthwise"]
SCALES = "Preprocessing"
"""Class of a scope that scales or shifts the input, before the first layer with weights."""


def rows_of(operations: Sequence[Operation], *, as_traced: bool = False) -> tuple[ArchitectureRow, ...]:
    """One row for each scope that holds an operation of a layer, in graph order; `as_traced`: under its very name."""
    scopes: dict[str, list[Operation]] = {}
    spaces = frozenset(one.name.rpartition("/")[0] for one in operations if one.op == "SpaceToBatchND")
    for operation in operations:
        if operation.op != "SpaceToBatchND" and operation.op not in RANDOM:
            scopes.setdefault(_scope(operation), []).append(operation)
    again = "" if as_traced else _again(list(scopes))
    rows = []
    for scope, held in scopes.items():
        row = _row(scope.removesuffix(again).rpartition("/")[2], held, spaces)
        if row is not None:
            rows.append(row)
    return tuple(rows)


def _scope(operation: Operation) -> str:
    """The scope of the layer that an operation is part of: without what a layer has within itself."""
    path = operation.name.split("/")
    inner = 2 if path[-2:] in (_SEPARABLE, ["batchnorm", "add"]) else 1
    return "/".join(path[:-inner]) or operation.name


def _spaced(operation: Operation, spaces: frozenset[str]) -> bool:
    """Whether an op runs between two rearrangements, which do the padding."""
    return operation.name in spaces or operation.name.rpartition("/")[0] in spaces


def _again(scopes: Sequence[str]) -> str:
    """`_1` where every scope ends so: the model was traced a second time, and its layers have their names with it."""
    ends = {found[0] if (found := re.search(r"_\d+$", scope)) else "" for scope in scopes if "/" in scope}
    return ends.pop() if len(ends) == 1 and len(scopes) > 1 else ""


def _row(name: str, held: Sequence[Operation], spaces: frozenset[str]) -> ArchitectureRow | None:
    # of a separable convolution the depthwise part has the layer's own padding and strides
    first = next((one for one in held if one.op == "DepthwiseConv2dNative"), None)
    first = first or next((one for one in held if one.op in _CLASSES), None)
    activations = sorted({_ACTIVATIONS[one.op] for one in held if one.op in _ACTIVATIONS})
    config: dict[str, Any] = {}
    if first is None and not activations:
        return _of_arithmetic(name, held)
    kind = _CLASSES[first.op] if first is not None else "Activation"
    if first is not None:
        config |= _agreed([_told(one, spaced=_spaced(one, spaces)) for one in held if one.op == first.op])
        if kind == "DepthwiseConv2D" and any(one.op == "Conv2D" for one in held):
            kind = "SeparableConv2D"
    slopes = {one.attributes.get("alpha") for one in held if one.op == "LeakyRelu"}
    if len(slopes) == 1 and type(slope := slopes.pop()) is float:
        config["negative_slope"] = slope
    if activations:
        config["activation"] = "+".join(activations)
    elif kind.startswith(_WITH_WEIGHTS):
        config["activation"] = "linear"
    return ArchitectureRow(name, kind, config=config)


def _of_arithmetic(name: str, held: Sequence[Operation]) -> ArchitectureRow | None:
    """A batch normalisation computed step by step, or how the input is scaled."""
    added = next((one.attributes for one in held if one.name.endswith("/batchnorm/add")), None)
    if added is not None:
        epsilon = added.get("operand")
        if isinstance(epsilon, list) and len(epsilon) == 1 and added.get("T") == "float32":
            return ArchitectureRow(name, "BatchNormalization", config={"epsilon": epsilon[0]})
        return ArchitectureRow(name, "BatchNormalization")
    steps = [one for one in held if one.op in ("Mul", "Add", "AddV2", "Sub", "RealDiv")]
    return ArchitectureRow(name, SCALES, config=scaling(steps)) if steps else None


def _agreed(told: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What several ops of one scope have in common; where they differ, none of them speaks for a layer."""
    return {name: value for name, value in told[0].items() if all(same_value(one.get(name), value) for one in told[1:])}


def _told(operation: Operation, *, spaced: bool) -> dict[str, Any]:
    """The attributes under Keras' names; batch and channel axes left out."""
    raw = operation.attributes
    config: dict[str, Any] = {}
    padding, layout = raw.get("padding"), raw.get("data_format") or "NHWC"
    if isinstance(padding, str) and padding in ("SAME", "VALID") and not spaced:
        config["padding"] = padding.lower()
    for ours, theirs in (("strides", "strides"), ("dilation_rate", "dilations"), ("pool_size", "ksize")):
        sizes = raw.get(theirs)
        if isinstance(sizes, (list, tuple)) and len(sizes) > 2 and not (spaced and ours == "dilation_rate"):
            config[ours] = list(sizes[2:] if str(layout).startswith("NC") else sizes[1:-1])
    if isinstance(raw.get("T"), str):
        config["dtype"] = raw["T"]
    for plain in ("is_training", "epsilon"):
        if isinstance(raw.get(plain), (bool, float)):
            config[plain] = raw[plain]
    return config
