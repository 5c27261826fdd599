"""What an image meets first in a saved graph: the arithmetic that scales it, in the words of `first_layers`.

The input is followed through what leaves its values as they are (casts, reshapes, resizes, calls of functions) up to
the first layer with weights. What can't be followed for sure is told as nothing.
"""

from __future__ import annotations

from typing import Any

from .graph_random import chosen
from .graph_values import Known, Values
from .graph_walk import LOOPS, SHAPE_ONLY, Scope, Walk, split

FIRST_LAYERS = 8
MOST_STEPS = 20_000
ARITHMETIC = {
    "Mul": "multiply",
    "RealDiv": "divide",
    "Div": "divide",
    "Sub": "subtract",
    "Add": "add",
    "AddV2": "add",
    "BiasAdd": "add",
}
PASSING = frozenset(
    {"Identity", "Cast", "StopGradient", "PreventGradient", "Snapshot", "EnsureShape", "CheckNumerics", "DeepCopy"}
    | {"PlaceholderWithDefault", "Reshape", "Squeeze", "ExpandDims", "Transpose", "BroadcastTo", "Tile"}
    | {"Pad", "PadV2", "MirrorPad", "ResizeBilinear", "ResizeBicubic", "ResizeNearestNeighbor", "ResizeArea"}
    | {"ScaleAndTranslate", "CropAndResize", "ImageProjectiveTransformV2", "ImageProjectiveTransformV3"}
    | {"StridedSlice", "Slice", "GatherV2", "Split", "SplitV", "Unpack", "ReverseV2", "SpaceToBatchND"}
    | {"SpaceToDepth", "ClipByValue", "Maximum", "Minimum", "FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars"}
    | {"Switch", "RefSwitch", "Enter", "ExtractImagePatches", "Select", "SelectV2"}
)
"""Operations that hand on the values of an image they take, moved, sized or cut, from one of their places."""
FROM_PLACE = {"Split": (1,), "Maximum": (0, 1), "Minimum": (0, 1), "Select": (1, 2), "SelectV2": (1, 2)}
"""Where they take it, if that is not their first input."""
JOINING = frozenset({"Pack", "ConcatV2", "Concat", "Merge", "RefMerge", "IdentityN"})
"""The same for operations that take it anywhere, along with others."""
PARTING = frozenset({"Split", "SplitV", "Unpack", "StridedSlice", "Slice", "GatherV2"})
"""Operations that may leave each channel to its own arithmetic."""
COLOURS = 3
NEAR_ONE = 0.01
"""How far from one the weights of red, green and blue may add up: 0.2989, 0.587 and 0.114 make 0.9999."""
WATCHING = SHAPE_ONLY | {"Assert", "Print", "PrintV2", "ImageSummary", "ImageSummaryV2", "HistogramSummary", "NoOp"}
NORMS = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "BatchNormWithGlobalNormalization"})
LAYERS = frozenset(
    {
        "Conv2D",
        "Conv3D",
        "Conv",
        "DepthwiseConv2dNative",
        "Conv2DBackpropInput",
        "Conv3DBackpropInputV2",
        "_FusedConv2D",
    }
    | {"MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum", "_FusedMatMul"}
    | {"MaxPool", "MaxPoolV2", "MaxPool3D", "AvgPool", "AvgPool3D", "Relu", "Relu6", "Elu", "Selu", "LeakyRelu"}
    | {"Tanh", "Sigmoid", "Softmax", "Softplus", "Softsign"}
)
"""Operations that are a layer of their own: in front of them the image is what it was."""

Place = Any
"""(scope, node, output or None for any of them): a tensor."""


class Meeting:
    """One operation that does something to the image, or may."""

    def __init__(self, scope: Scope, node: Any, order: str, parted: bool) -> None:
        self.scope = scope
        self.node = node
        self.order = order
        self.parted = parted
        self.kind = "unknown"
        """arithmetic, layer, or unknown."""
        self.op = ""
        self.constant: Known | None = None
        self.turned = False

    def entry(self, constants: Any) -> dict[str, Any]:
        """Arithmetic as `first_layers` tells it."""
        return {"class": str(self.node.op), "op": self.op, "constant": constants, "reversed": self.turned}


class Follower:
    """Follows one input."""

    def __init__(self, walk: Walk, values: Values) -> None:
        self._walk = walk
        self._values = values
        self._steps = 0
        self._turned = False

    def first(self, start: str) -> list[dict[str, Any]]:
        """`{"class", ...}` of what the tensor `start` meets; nothing where that does not tell."""
        places: list[Place] = [(Scope(self._walk.top, None, "", 0, 0), *split(start), False)]
        found: list[dict[str, Any]] = []
        while len(found) < FIRST_LAYERS:
            turned, self._turned = self._turned, False
            meetings = self._meetings(places)
            if self._turned:
                found.append({"class": "Reverse", "reverses": True})
            self._turned = turned
            same = agreed(meetings)
            if same is None:
                layer = ending(meetings)
                if layer is not None:
                    return [*found, {"class": layer}]
                # an input that is written or compared somewhere else has told what it has told
                return found if any("reverses" not in entry for entry in found) else []
            entry, places = self._entry(meetings, same)
            found.append(entry)
        return found

    def _entry(self, meetings: list[Meeting], constants: Any) -> tuple[dict[str, Any], list[Place]]:
        """One step of arithmetic, or the two of a Rescaling or a Normalization, and where it leads."""
        head = meetings[0]
        places = [(one.scope, str(one.node.name), None, False) for one in meetings]
        if head.turned or head.op not in ("multiply", "subtract"):
            return head.entry(constants), places
        following = self._meetings(list(places))
        second = agreed(following)
        after = following[0] if second is not None else None
        if after is None or after.turned or self._turned:
            self._turned = False
            return head.entry(constants), places
        further = [(one.scope, str(one.node.name), None, False) for one in following]
        if head.op == "multiply" and str(after.node.op) == "AddV2":
            return {"class": "Rescaling", "scale": constants, "offset": second}, further
        assert after.constant is not None
        if head.op == "subtract" and after.op == "divide" and after.constant.kinds >= {"Sqrt", "Maximum"}:
            entry = {"class": "Normalization", "invert": False}
            if constants and second:
                variance = [value * value for value in second]
                variance *= len(constants) if len(variance) == 1 else 1
                mean = constants * (len(variance) if len(constants) == 1 else 1)
                entry["mean"], entry["variance"] = mean, variance
                entry["unadapted"] = all(value == 0 for value in mean) and all(value == 1 for value in variance)
            return entry, further
        return head.entry(constants), places

    def _meetings(self, places: list[Place]) -> list[Meeting]:
        """What the tensors meet, those followed that only take them on."""
        waiting, seen, found, known = list(places), set(), [], set()
        while waiting:
            scope, source, output, parted = waiting.pop()
            self._steps += 1
            if (id(scope), source, output) in seen:
                continue
            if self._steps > MOST_STEPS:
                return []
            seen.add((id(scope), source, output))
            for taker, place, told in scope.body.takers.get(source, ()):
                if output is not None and told != output:
                    continue
                node = scope.body.nodes[taker]
                onward = self._onward(scope, node, place)
                if onward is not None:
                    waiting.extend((*step, parted or node.op in PARTING) for step in onward)
                elif (id(scope), taker) not in known:
                    known.add((id(scope), taker))
                    found.append(self._met(Meeting(scope, node, told, parted), place))
            for place, told in scope.body.results.get(source, ()):
                if scope.caller is not None and (output is None or told == output):
                    waiting.append((scope.caller, scope.call, self._walk.called_output(scope, place), parted))
        return sorted(found, key=lambda one: one.order)

    def _onward(self, scope: Scope, node: Any, place: int) -> list[Any] | None:
        """Where an operation hands the image on to; None for one that does something to it."""
        if node.op in WATCHING:
            return []
        if self._walk.calls(node):
            if node.op in LOOPS:
                return None
            inner = self._walk.entered(scope, node, place)
            return [(one, one.body.args[at], "0") for one, at in inner if self._taken(scope, node, one)]
        if node.op == "IdentityN":
            return [(scope, str(node.name), str(place))]
        if node.op in JOINING:
            return [(scope, str(node.name), None)]
        if node.op in ("Mean", "MatMul", "Mul"):
            return self._greyed(scope, node, place)
        if node.op not in PASSING:
            return None
        if place not in FROM_PLACE.get(str(node.op), (0,)):
            return None
        if node.op in ("Maximum", "Minimum") and self._values.of(scope, node.input[1 - place]) is None:
            return None
        self._turned = self._turned or self._turns(scope, node)
        return [(scope, str(node.name), None)]

    def _greyed(self, scope: Scope, node: Any, place: int) -> list[Any] | None:
        """Past the mean of the channels, or their sum by weights that add up to one; None for any other arithmetic.

        As `tf.image.rgb_to_grayscale` and `tf.reduce_mean(x, -1)` make grey: values stay in their range.
        """
        if node.op == "Mean":
            return [(scope, str(node.name), None)] if place == 0 and self._channels(scope, node) else None
        other = str(node.input[1 - place])
        if node.op == "MatMul":
            # the weights are made a column first
            made = scope.constant(other)
            other = str(made.input[0]) if made is not None and made.op == "Reshape" else other
        weights = self._values.of(scope, other)
        if weights is None or weights.trained or weights.array is None or weights.array.size != COLOURS:
            return None
        if not (weights.array >= 0).all() or abs(float(weights.array.sum()) - 1) > NEAR_ONE:
            return None
        if node.op == "MatMul":
            return [(scope, str(node.name), None)] if place == 0 else None
        takers = scope.body.takers.get(str(node.name), ())
        sums = [scope.body.nodes[name] for name, at, _ in takers if at == 0]
        if not sums or len(sums) < len(takers) or str(node.name) in scope.body.results:
            return None
        added = all(one.op == "Sum" and self._channels(scope, one) for one in sums)
        return [(scope, str(one.name), None) for one in sums] if added else None

    def _channels(self, scope: Scope, node: Any) -> bool:
        """Whether a reduction is one over the last axis of images alone."""
        axes = self._values.of(scope, str(node.input[1]))
        return axes is not None and axes.array is not None and axes.array.reshape(-1).tolist() in ([-1], [3])

    def _taken(self, scope: Scope, node: Any, inner: Scope) -> bool:
        """Whether a branch may be the one that runs."""
        branch = chosen(scope, node, self._values)
        return branch is None or inner.body is self._walk.body(branch)

    def _turns(self, scope: Scope, node: Any) -> bool:
        """Whether it turns an axis round."""
        if node.op == "ReverseV2":
            # one that is chosen or not is augmentation
            takers = [scope.body.nodes[taker].op for taker, _, _ in scope.body.takers.get(str(node.name), ())]
            return not any(op.startswith("Select") for op in takers)
        steps = self._values.of(scope, node.input[3]) if node.op == "StridedSlice" and len(node.input) > 3 else None
        return steps is not None and steps.array is not None and bool((steps.array == -1).any())

    def _met(self, met: Meeting, place: int) -> Meeting:
        """What it does to the image."""
        op, inputs = str(met.node.op), [str(entry) for entry in met.node.input if not entry.startswith("^")]
        if op in NORMS or op in LAYERS:
            met.kind = "layer"
        elif op in ARITHMETIC and len(inputs) == 2:
            met.constant = self._values.of(met.scope, inputs[1 - place])
            met.op, met.turned = ARITHMETIC[op], place == 1
            if met.constant is None:
                return met
            made = met.constant.kinds
            root = made >= {"Sqrt", "Maximum"}
            learnt = met.constant.trained and not root
            # the mean of a Normalization may be a variable too: its division tells
            met.kind = "layer" if "Rsqrt" in made or (learnt and not self._normalizes(met)) else "arithmetic"
        return met

    def _normalizes(self, met: Meeting) -> bool:
        """A subtraction whose difference is divided by the root of a variance."""
        if met.op != "subtract" or met.turned:
            return False
        for taker, place, _ in met.scope.body.takers.get(str(met.node.name), ()):
            node = met.scope.body.nodes[taker]
            if node.op == "RealDiv" and place == 0:
                divisor = self._values.of(met.scope, str(node.input[1]))
                return divisor is not None and divisor.kinds >= {"Sqrt", "Maximum"}
        return False


def agreed(meetings: list[Meeting]) -> Any:
    """The constants of one and the same arithmetic; None where there is another, or anything else."""
    if not meetings or any(one.kind != "arithmetic" for one in meetings):
        return None
    head = meetings[0]
    if any((one.op, one.turned) != (head.op, head.turned) for one in meetings):
        return None
    several = [one.constant.numbers() if one.constant is not None else None for one in meetings]
    if all(numbers == several[0] for numbers in several):
        return several[0] or []
    if all(one.parted for one in meetings) and all(numbers and len(numbers) == 1 for numbers in several):
        return [numbers[0] for numbers in several if numbers]
    return None


def ending(meetings: list[Meeting]) -> str | None:
    """The layer that an image meets as it is; None where it meets none, or some arithmetic besides."""
    if any(one.kind == "arithmetic" for one in meetings):
        return None
    layers = [one for one in meetings if one.kind == "layer"]
    if not layers:
        return None
    norm = layers[0].node.op in NORMS or (layers[0].constant is not None and "Rsqrt" in layers[0].constant.kinds)
    return "BatchNormalization" if norm else str(layers[0].node.op)


def first_of(walk: Walk, inputs: dict[str, str], values: Values) -> dict[str, list[dict[str, Any]]]:
    """What each input meets, by name, those left out of which nothing is told."""
    found = ((name, Follower(walk, values).first(reference)) for name, reference in inputs.items())
    return {name: entries for name, entries in found if entries}
