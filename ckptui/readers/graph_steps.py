"""The nodes of a graph that tell how layers are configured, and which of them a signature runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ckptui.core.dtypes import dtype_name
from ckptui.core.model import Operation, Signature
from ckptui.core.random_ops import RANDOM
from ckptui.readers.graph_constants import (
    ARITHMETIC,
    PASSING,
    Constants,
    Values,
    take_arguments,
    take_constant,
    take_passing,
)

CONVOLUTIONS = frozenset(
    {"Conv2D", "Conv3D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "Conv3DBackpropInputV2", "Conv"}
)
MATRICES = frozenset({"MatMul", "BatchMatMulV2", "Einsum"})
POOLS = frozenset({"MaxPool", "MaxPoolV2", "MaxPool3D", "AvgPool", "AvgPool3D"})
ACTIVATIONS = frozenset(
    {"Relu", "Relu6", "Elu", "Selu", "LeakyRelu", "Tanh", "Sigmoid", "Softmax", "Softplus", "Softsign", "Erf"}
)
PLAIN = ARITHMETIC | frozenset({"ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic"})
"""How an input is prepared; of no interest behind the first layer with weights."""
NORMS = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"})
_SPACED = frozenset({"SpaceToBatchND"})
_CALLS = frozenset({"StatefulPartitionedCall", "PartitionedCall"})
WITH_INPUTS = ARITHMETIC | PASSING | _CALLS
"""Ops of which it matters what they take."""
EPSILON = "/batchnorm/add"
"""The node that adds a batch normalisation's epsilon where that is no op of its own."""
STEPS = CONVOLUTIONS | MATRICES | POOLS | ACTIVATIONS | PLAIN | NORMS | _SPACED | _CALLS | RANDOM

MAX_STEPS = 50_000
"""How many nodes of a meta graph are remembered."""
MAX_OPERATIONS = 20_000
MAX_CALLS = 40
"""Functions that call each other in a chain."""
_WORDS = ("padding", "data_format")
_LISTS = ("strides", "dilations", "ksize")
_TYPES = ("T",)
_SEEDS = ("seed", "seed2")
_FLOATS = ("epsilon", "alpha")
_UNWRITTEN = {"LeakyRelu": {"alpha": 0.2}, **{op: {"epsilon": 1e-4} for op in NORMS}}
"""Values of attributes that an export leaves out, from the definitions of the ops."""
_TRAINING = ("gradients/", "gradient_tape/", "training/", "train/", "save/", "GradientTape/")
"""Scopes that a trainer's graph has besides the model."""
_INITIAL = ("Initializer", "random_uniform", "random_normal", "truncated_normal")
"""Where a graph draws the first values of its variables."""

Step = tuple[str, str, dict[str, Any], str, tuple[str, ...]]
"""(name, op, attributes, name of the function called, inputs)"""


def take_step(home: dict[str, Any], op: str, node: Mapping[str, Any]) -> None:
    """Remember a gathered node under the function it stands in (empty: the graph itself), in `home["steps"]`."""
    name, function = node.get("name", ""), _function_of(home, node)
    steps: dict[str, list[Step]] = home.setdefault("steps", {})
    counted = home.setdefault("steps_taken", [0, set()])
    if counted[0] >= MAX_STEPS or name.startswith(_TRAINING):
        return
    late = function in counted[1] and not name.endswith(EPSILON)
    if op in PLAIN and (late or any(part in name for part in _INITIAL)):
        return
    if op in CONVOLUTIONS or op in MATRICES:
        counted[1].add(function)
    values = {entry.get("key"): entry.get("value", {}) for entry in node.get("attr", ())}
    told: dict[str, Any] = dict(_UNWRITTEN.get(op, {}))
    for key in _WORDS:
        if isinstance(text := values.get(key, {}).get("s"), bytes):
            told[key] = text.decode("utf-8", "backslashreplace")
    for key in _LISTS:
        if numbers := values.get(key, {}).get("list", {}).get("i"):
            told[key] = [n - (1 << 64) if n >> 63 else n for n in numbers[:8]]
    for key in _TYPES:
        if number := values.get(key, {}).get("type"):
            told[key] = dtype_name(number)
    for key in _FLOATS:
        if isinstance(number := values.get(key, {}).get("f"), float):
            told[key] = number
    if op in RANDOM:
        told |= _seeds(values)
    if "b" in values.get("is_training", {}):
        told["is_training"] = bool(values["is_training"]["b"])
    called = values.get("f", {}).get("func", {}).get("name", "") if op in _CALLS else ""
    counted[0] += 1
    inputs = tuple(node.get("input", ()))
    steps.setdefault(function, []).append((name, op, told, called, inputs))


def _seeds(values: Mapping[str, Any]) -> dict[str, int]:
    """The seeds an op has as attributes."""
    found = {key: values.get(key, {}).get("i") for key in _SEEDS}
    return {key: n - (1 << 64) if n >> 63 else n for key, n in found.items() if isinstance(n, int)}


def take_helper(home: dict[str, Any], op: str, node: Mapping[str, Any]) -> None:
    """Remember a small constant, or, before the first layer with weights, what stands between one and a step."""
    if node.get("name", "").startswith(_TRAINING):
        return
    function = _function_of(home, node)
    if op == "Const":
        take_constant(home, function, node)
    elif function not in home.get("steps_taken", (0, ()))[1]:
        take_passing(home, function, op, node)


def _function_of(home: dict[str, Any], node: Mapping[str, Any]) -> str:
    """Name of the function a node stands in, whose arguments are noted; empty for the graph itself."""
    parent = node["parent"]
    if "home" not in parent:
        return ""
    take_arguments(home, parent)
    return str(parent.get("signature", {}).get("name", ""))


def served(
    graph: Mapping[str, Any], library: Mapping[str, Any], signatures: Sequence[Signature]
) -> tuple[Operation, ...]:
    """What the serving signature runs, in graph order: the functions it calls, or the graph itself in TF1 exports.

    There random ops are left out: which of them draw the first values of variables, and which an answer, the graph's
    wiring alone would tell.
    """
    top: dict[str, list[Step]] = graph.get("steps", {})
    inside: dict[str, list[Step]] = library.get("steps", {})
    nodes = top.get("", [])
    wanted = next((one for one in signatures if one.name == "serving_default"), next(iter(signatures), None))
    ends = {end.tensor.partition(":")[0] for end in wanted.outputs} if wanted is not None else set()
    start = [step for step in nodes if step[0] in ends and step[3]]
    run = _Run(inside, Constants(graph, library))
    return tuple(run.operations(start or [step for step in nodes if step[1] not in RANDOM], "", {}, 0))


class _Run:
    """The steps of a graph with those of called functions in their place."""

    def __init__(self, inside: Mapping[str, list[Step]], constants: Constants) -> None:
        self._inside = inside
        self._constants = constants
        self._left = MAX_OPERATIONS
        """Steps that are looked at in all."""

    def operations(
        self, steps: Sequence[Step], function: str, bound: Mapping[str, Values], depth: int
    ) -> Iterator[Operation]:
        """`bound`: the constants among the arguments of `function`."""
        for name, op, told, called, inputs in steps:
            self._left -= 1
            if self._left < 0:
                return
            if called and depth < MAX_CALLS:
                given = self._constants.arguments(called, inputs, function, bound)
                yield from self.operations(self._inside.get(called, ()), called, given, depth + 1)
            elif not called:
                more = self._constants.operand(inputs, function, bound) if op in ARITHMETIC else {}
                yield Operation(name, op, {**told, **more})
