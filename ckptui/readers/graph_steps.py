"""The nodes of a graph that tell how layers are configured, and which of them a signature runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ckptui.core.dtypes import dtype_name
from ckptui.core.model import Operation, Signature

CONVOLUTIONS = frozenset(
    {"Conv2D", "Conv3D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "Conv3DBackpropInputV2", "Conv"}
)
MATRICES = frozenset({"MatMul", "BatchMatMulV2", "Einsum"})
POOLS = frozenset({"MaxPool", "MaxPoolV2", "MaxPool3D", "AvgPool", "AvgPool3D"})
ACTIVATIONS = frozenset(
    {"Relu", "Relu6", "Elu", "Selu", "LeakyRelu", "Tanh", "Sigmoid", "Softmax", "Softplus", "Softsign", "Erf"}
)
PLAIN = frozenset({"Mul", "Add", "AddV2", "Sub", "RealDiv", "ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic"})
"""How an input is prepared; of no interest behind the first layer with weights."""
NORMS = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"})
_SPACED = frozenset({"SpaceToBatchND"})
_CALLS = frozenset({"StatefulPartitionedCall", "PartitionedCall"})
STEPS = CONVOLUTIONS | MATRICES | POOLS | ACTIVATIONS | PLAIN | NORMS | _SPACED | _CALLS

MAX_STEPS = 50_000
"""How many nodes of a meta graph are remembered."""
MAX_OPERATIONS = 20_000
MAX_CALLS = 40
"""Functions that call each other in a chain."""
_WORDS = ("padding", "data_format")
_LISTS = ("strides", "dilations", "ksize")
_TYPES = ("T",)
_TRAINING = ("gradients/", "gradient_tape/", "training/", "train/", "save/", "GradientTape/")
"""Scopes that a trainer's graph has besides the model."""
_INITIAL = ("Initializer", "random_uniform", "random_normal", "truncated_normal")
"""Where a graph draws the first values of its variables."""

Step = tuple[str, str, dict[str, Any], str]
"""(name, op, attributes, name of the function called)"""


def take_step(home: dict[str, Any], op: str, node: Mapping[str, Any]) -> None:
    """Remember a gathered node under the function it stands in (empty: the graph itself), in `home["steps"]`."""
    name, parent = node.get("name", ""), node["parent"]
    function = parent.get("signature", {}).get("name", "") if "home" in parent else ""
    steps: dict[str, list[Step]] = home.setdefault("steps", {})
    counted = home.setdefault("steps_taken", [0, set()])
    if counted[0] >= MAX_STEPS or name.startswith(_TRAINING):
        return
    if op in PLAIN and (function in counted[1] or any(part in name for part in _INITIAL)):
        return
    if op in CONVOLUTIONS or op in MATRICES:
        counted[1].add(function)
    values = {entry.get("key"): entry.get("value", {}) for entry in node.get("attr", ())}
    told: dict[str, Any] = {}
    for key in _WORDS:
        if isinstance(text := values.get(key, {}).get("s"), bytes):
            told[key] = text.decode("utf-8", "backslashreplace")
    for key in _LISTS:
        if numbers := values.get(key, {}).get("list", {}).get("i"):
            told[key] = [n - (1 << 64) if n >> 63 else n for n in numbers[:8]]
    for key in _TYPES:
        if number := values.get(key, {}).get("type"):
            told[key] = dtype_name(number)
    if "b" in values.get("is_training", {}):
        told["is_training"] = bool(values["is_training"]["b"])
    called = values.get("f", {}).get("func", {}).get("name", "") if op in _CALLS else ""
    counted[0] += 1
    steps.setdefault(function, []).append((name, op, told, called))


def served(
    graph: Mapping[str, Any], library: Mapping[str, Any], signatures: Sequence[Signature]
) -> tuple[Operation, ...]:
    """What the serving signature runs, in graph order: the functions it calls, or the graph itself in TF1 exports."""
    top: dict[str, list[Step]] = graph.get("steps", {})
    inside: dict[str, list[Step]] = library.get("steps", {})
    nodes = top.get("", [])
    wanted = next((one for one in signatures if one.name == "serving_default"), next(iter(signatures), None))
    ends = {end.tensor.partition(":")[0] for end in wanted.outputs} if wanted is not None else set()
    start = [step for step in nodes if step[0] in ends and step[3]]
    run = _run(start or nodes, inside, 0, [MAX_OPERATIONS])
    return tuple(Operation(name, op, told) for name, op, told, _ in run)


def _run(steps: Sequence[Step], inside: Mapping[str, list[Step]], depth: int, left: list[int]) -> Iterator[Step]:
    """The steps with those of called functions in their place; `left` of them are looked at in all."""
    for step in steps:
        left[0] -= 1
        if left[0] < 0:
            return
        called = step[3]
        if not called:
            yield step
        elif depth < MAX_CALLS:
            yield from _run(inside.get(called, ()), inside, depth + 1, left)
