"""A configured model held against the graph of an export: which layer is which scope, and what both tell for sure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ckptui.core.graph_layers import SCALES
from ckptui.core.graph_scales import configured
from ckptui.core.layer_fields import class_of, counting
from ckptui.core.model import ArchitectureRow

CERTAIN = frozenset({"linear", "relu", "relu6", "elu", "selu", "tanh", "softmax", "softplus", "softsign"})
"""Activations that one op of a graph tells for sure: a sigmoid may be part of a silu."""
LEAST_EPSILON = 1.1e-5
"""Fused batch normalisations take no smaller one, whatever the layer says."""
_POOLS = frozenset({"MaxPooling2D", "MaxPooling3D", "AveragePooling2D", "AveragePooling3D"})
_CONVOLUTIONS = frozenset(
    {"Conv2D", "Conv3D", "DepthwiseConv2D", "SeparableConv2D", "Conv2DTranspose", "Conv3DTranspose"}
)
_SIZES = ("padding", "strides", "dilation_rate", "pool_size")

Two = tuple[ArchitectureRow, ArchitectureRow]


def partners(layers: Sequence[ArchitectureRow], shown: Sequence[ArchitectureRow]) -> Iterator[Two]:
    """Layers and the scopes of a graph that are certainly theirs, both reduced to what both tell for sure."""
    for layer, scope in _by_name(layers, shown):
        pair = in_common(layer, scope)
        if pair is not None:
            yield pair


def in_common(layer: ArchitectureRow, shown: ArchitectureRow) -> Two | None:
    """A configured layer and the same one as a graph shows it, both with nothing but what both tell for sure.

    None where that is nothing: layers of one axis are computed with two, a causal padding is a node of its own.
    """
    kind = class_of(layer.class_name)
    ours, theirs = _told(kind, layer, shown)
    if not ours or not theirs:
        return None
    # a pool of another kind is a finding; other classes compute the same in another way, or not at all
    other = kind in _POOLS and shown.class_name in _POOLS
    return (
        replace(layer, class_name=kind, config=ours),
        replace(shown, class_name=shown.class_name if other else kind, config=theirs),
    )


def _told(kind: str, layer: ArchitectureRow, shown: ArchitectureRow) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of both the fields that both tell."""
    ours, theirs = counting(kind, layer.config), counting(shown.class_name, shown.config)
    names: list[str] = []
    if kind in ("Rescaling", "Normalization") and shown.class_name == SCALES:
        return configured(kind, layer.config) or {}, {
            n: shown.config[n] for n in ("scale", "offset") if n in shown.config
        }
    if kind in _POOLS and shown.class_name in _POOLS and kind[-2:] == shown.class_name[-2:]:
        names = [*_SIZES]
    elif kind == shown.class_name and kind in _CONVOLUTIONS:
        names = ["padding", "strides"] if kind == "SeparableConv2D" else [*_SIZES]
        names += _activation(ours, theirs)
    elif kind == shown.class_name == "Dense":
        names = _activation(ours, theirs)
    elif kind == shown.class_name == "BatchNormalization":
        numbers = [side.get("epsilon") for side in (ours, theirs)]
        names = ["epsilon"] if all(isinstance(n, float) and n > LEAST_EPSILON for n in numbers) else []
    elif kind == "LeakyReLU" and shown.class_name == "Activation":
        names = ["negative_slope"]
    names = [name for name in names if name in shown.config and name in ours and name in theirs]
    return {name: ours[name] for name in names}, {name: theirs[name] for name in names}


def _activation(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    return ["activation"] if {ours.get("activation"), theirs.get("activation")} <= CERTAIN else []


def _by_name(layers: Sequence[ArchitectureRow], shown: Sequence[ArchitectureRow]) -> Iterator[Two]:
    """Layers with the scopes that can be no other layer's.

    A model that is traced a second time has other names: `conv_1` stands for `conv` then, or for itself. Each scope
    that can be only one layer takes it, until that settles no more. How the input is scaled needs no name where there
    is one such layer, and one such scope.
    """
    counts = Counter(row.name for row in layers)
    by_name = {row.name: row for row in layers if counts[row.name] == 1}
    seen = Counter(row.name for row in shown)
    open_ = {
        row.name: {name for name in (row.name, re.sub(r"_\d+$", "", row.name)) if name in by_name}
        for row in shown
        if seen[row.name] == 1
    }
    scopes = {row.name: row for row in shown}
    holders: dict[str, set[str]] = {}
    for scope, names in open_.items():
        for name in names:
            holders.setdefault(name, set()).add(scope)
    ready = [scope for scope, names in open_.items() if len(names) == 1]
    taken = set()
    while ready:
        scope = ready.pop()
        if not open_[scope]:
            continue
        (name,) = open_[scope]
        if name in taken:
            continue
        taken.add(name)
        yield by_name[name], scopes[scope]
        for other in holders[name] - {scope}:
            open_[other].discard(name)
            if len(open_[other]) == 1:
                ready.append(other)
    preparing = [row for row in layers if class_of(row.class_name) == "Rescaling"]
    scales = [row for row in shown if row.class_name == SCALES]
    if len(preparing) == len(scales) == 1 and preparing[0].name not in taken:
        yield preparing[0], scales[0]
