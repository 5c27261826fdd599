"""Layers as a graph shows them, in the form of an architecture: what exports keep of configurations.

Scopes are the layers' names. A graph tells padding, strides, dilation, pool size, activation and the dtype it computes
in; the rest of a configuration is in constants, or gone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ckptui.core.layer_fields import class_of, counting
from ckptui.core.model import ArchitectureRow, Operation

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
CERTAIN = frozenset({"linear", "relu", "relu6", "elu", "selu", "tanh", "softmax", "softplus", "softsign"})
"""Activations that one op of a graph tells for sure: a sigmoid may be part of a silu."""
SCALES = "Preprocessing"
"""Class of a scope that scales or shifts the input, before the first layer with weights."""


def rows_of(operations: Sequence[Operation]) -> tuple[ArchitectureRow, ...]:
    """One row for each scope that holds an operation of a layer, in graph order."""
    scopes: dict[str, list[Operation]] = {}
    for operation in operations:
        scope = operation.name.rpartition("/")[0] or operation.name
        scopes.setdefault(scope, []).append(operation)
    again = _again(list(scopes))
    rows = []
    for scope, held in scopes.items():
        row = _row(scope.removesuffix(again).rpartition("/")[2], held)
        if row is not None:
            rows.append(row)
    return tuple(rows)


def _again(scopes: Sequence[str]) -> str:
    """`_1` where every scope ends so: the model was traced a second time, and its layers have their names with it."""
    ends = {found[0] if (found := re.search(r"_\d+$", scope)) else "" for scope in scopes if "/" in scope}
    return ends.pop() if len(ends) == 1 and len(scopes) > 1 else ""


def _row(name: str, held: Sequence[Operation]) -> ArchitectureRow | None:
    first = next((one for one in held if one.op in _CLASSES), None)
    activations = sorted({_ACTIVATIONS[one.op] for one in held if one.op in _ACTIVATIONS})
    config: dict[str, Any] = {}
    if first is None and not activations:
        ops = [one.op for one in held if one.op in ("Mul", "Add", "AddV2", "Sub", "RealDiv")]
        return ArchitectureRow(name, SCALES, config={"ops": ops}) if ops else None
    kind = _CLASSES[first.op] if first is not None else "Activation"
    if first is not None:
        config |= _told(first, spaced=any(one.op == "SpaceToBatchND" for one in held))
    if activations:
        config["activation"] = "+".join(activations)
    elif kind.startswith(_WITH_WEIGHTS):
        config["activation"] = "linear"
    return ArchitectureRow(name, kind, config=config)


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
    if isinstance(raw.get("is_training"), bool):
        config["is_training"] = raw["is_training"]
    return config


_POOLS = frozenset({"MaxPooling2D", "MaxPooling3D", "AveragePooling2D", "AveragePooling3D"})
_CONVOLUTIONS = frozenset({"Conv2D", "Conv3D", "DepthwiseConv2D", "SeparableConv2D", "Conv2DTranspose"})
_SIZES = ("padding", "strides", "dilation_rate", "pool_size")


def in_common(layer: ArchitectureRow, shown: ArchitectureRow) -> tuple[ArchitectureRow, ArchitectureRow] | None:
    """A configured layer and the same one as a graph shows it, both with nothing but what both tell for sure.

    None where that is nothing: layers of one axis are computed with two, a causal padding is a node of its own.
    """
    kind = class_of(layer.class_name)
    pools = kind in _POOLS and shown.class_name in _POOLS and kind[-2:] == shown.class_name[-2:]
    if not pools and not (kind in _CONVOLUTIONS or (kind == shown.class_name == "Dense")):
        return None
    ours = counting(kind, layer.config)
    theirs = counting(shown.class_name, shown.config)
    names = [name for name in _SIZES if name in shown.config and name in ours and name in theirs]
    if ours.get("activation") in CERTAIN and theirs.get("activation") in CERTAIN and "activation" in shown.config:
        names.append("activation")
    if kind == "SeparableConv2D":
        names = [name for name in names if name in ("padding", "strides")]
    return (
        replace(layer, class_name=kind, config={name: ours[name] for name in names}),
        replace(shown, class_name=shown.class_name if pools else kind, config={name: theirs[name] for name in names}),
    )
