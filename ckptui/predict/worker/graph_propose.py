"""What a training graph of TensorFlow 1 takes and gives: proposed from its structure, for the user to choose from."""

from __future__ import annotations

import re
from typing import Any

from .graph_restore import VARIABLES, before

PLACEHOLDERS = ("Placeholder", "PlaceholderV2")
WITH_DEFAULT = "PlaceholderWithDefault"
SOURCES = (
    *("IteratorGetNext", "QueueDequeueV2", "QueueDequeueManyV2", "QueueDequeueUpToV2"),
    *("QueueDequeue", "QueueDequeueMany", "QueueDequeueUpTo"),
)
"""Operations a training graph takes its batches from where it has no placeholders."""
NO_MODEL = re.compile(
    r"(^|/)(gradients(_[0-9]+)?|save(_[0-9]+)?|report_uninitialized_\w+|init(_[0-9]+)?|Initializer|Assign|read"
    r"|GradientDescent|train_op|[Oo]ptimizer(_[0-9]+)?|Adam|Momentum|RMSProp|\w*summar\w*)(/|$)"
)
"""Names of what trains, saves, starts and watches a model."""
NO_OUTPUT = re.compile(
    r"(?i)(\w*summary\w*|shape.*|size|rank|const|assign\w*|\w*apply\w*|noop|save\w*|restore\w*|assert|print\w*"
    r"|placeholder\w*|\w*entropy\w*|l2loss|isvariableinitialized|random\w*|\w*grad)"
)
"""Kinds of operations that are no answer of a model."""
WATCHERS = re.compile(r"(?i)\w*summary\w*|shape.*|size|rank|assert|print\w*|isfinite|isnan|checknumerics\w*")
"""Kinds of operations that look at an answer and hand it to nobody."""
LOSSES = re.compile(r"(?i)(^|/)(\w*entropy\w*|\w*loss\w*|accuracy\w*|metrics?|xent\w*|costs?)(_[0-9]+)?(/|$)")
"""Names of what compares answers with labels: whatever it takes is an answer."""
AVERAGES = re.compile(r"(^|/)(AssignMovingAvg\w*|ExponentialMovingAverage|moments(_[0-9]+)?)(/|$)")
"""Names of what keeps statistics while a model is trained."""
SWITCHES = (
    (re.compile(r"(?i).*keep.*(prob|rate)?.*|.*prob.*keep.*"), 1.0, "nothing is dropped"),
    (re.compile(r"(?i).*drop(_?out)?(_?(rate|prob|p))?(_[0-9]+)?"), 0.0, "nothing is dropped"),
    (
        re.compile(r"(?i).*(is_?train\w*|train(ing)?(_?(phase|mode|flag))?|phase(_?train)?|learning_phase)(_[0-9]+)?"),
        0,
        "inference",
    ),
)
"""Names of scalars that tell training from inference, their value at inference, and what that means."""
MOST = 8
LABELS = re.compile(r"(?i)(.*/)?(y_?|y_true|labels?|targets?|truth|ground_truth)(_[0-9]+)?")


def tensor_name(tensor: Any) -> str:
    """`dense/add` for the first output of an operation, `split:1` for a further one."""
    name = str(tensor.name)
    return name[:-2] if name.endswith(":0") else name


def is_scalar(tensor: Any) -> bool:
    """No axes, as far as is known."""
    return tensor.shape.rank in (None, 0)


def inference_value(tensor: Any) -> Any:
    """(value, meaning) for a scalar whose name tells that it switches training on; None for any other."""
    last = tensor_name(tensor).rpartition("/")[2]
    if not is_scalar(tensor) or tensor.dtype.name not in ("bool", "float16", "float32", "float64", "int32", "int64"):
        return None
    for name, value, meaning in SWITCHES:
        if name.fullmatch(last):
            return (bool(value) if tensor.dtype.name == "bool" else value), meaning
    return None


class Proposal:
    """Tensors that may be the inputs and the outputs of a graph."""

    def __init__(self, graph: Any, chosen: Any = ()) -> None:
        """`chosen` are the input tensors the user named: what they lead to is looked at."""
        self._operations = list(graph.get_operations())
        self._chosen = list(chosen)
        self.candidates = self._chosen or self._sources()
        self._needs: dict[str, frozenset[str]] = {}
        """By operation the inputs its values come from."""
        self._learned: set[str] = set()
        """Operations whose values come from variables too."""
        self._follow()
        outputs = self._outputs()
        self.outputs = outputs[:MOST]
        wanted: set[str] = set()
        for tensor in self.outputs:
            wanted |= self._needs[tensor.op.name]
        self.inputs = [tensor for tensor in self.candidates if tensor.name in wanted]

    def _sources(self) -> list[Any]:
        """Placeholders that are no switches; where there are none, what comes out of queues and iterators."""
        found = [
            op.outputs[0]
            for op in self._operations
            if op.type in PLACEHOLDERS and not NO_MODEL.search(op.name) and inference_value(op.outputs[0]) is None
        ]
        if not found:
            found = [tensor for op in self._operations if op.type in SOURCES for tensor in op.outputs]
        found += [
            op.outputs[0]
            for op in self._operations
            if op.type == WITH_DEFAULT and not NO_MODEL.search(op.name) and (op.outputs[0].shape.rank or 0) > 0
        ]
        return found

    def _follow(self) -> None:
        """Carry inputs along the graph; operations come in an order in which values do, loops aside."""
        sources = {tensor.name for tensor in self.candidates}
        nothing: frozenset[str] = frozenset()
        for op in self._operations:
            if NO_MODEL.search(op.name):
                # a variable's own parts count as the variable
                if op.type == "Identity" and op.inputs and op.inputs[0].op.type in VARIABLES:
                    self._learned.add(op.name)
                if op.type in ("ReadVariableOp",):
                    self._learned.add(op.name)
                continue
            needs = nothing
            for tensor in op.inputs:
                if tensor.name in sources:
                    needs |= {tensor.name}
                else:
                    needs |= self._needs.get(tensor.op.name, nothing)
                if tensor.op.name in self._learned or tensor.op.type in VARIABLES:
                    self._learned.add(op.name)
            if needs:
                self._needs[op.name] = needs

    def _outputs(self) -> list[Any]:
        """Answers, the likeliest first: they come from variables, and from no more inputs than others do."""
        found = [op for op in self._operations if op.name in self._needs and self._leaves(op)]
        learned = [op for op in found if op.name in self._learned]
        found = learned or found
        sets = {self._needs[op.name] for op in found}
        least = {one for one in sets if not any(other < one for other in sets)}
        plain = {one for one in least if not any(LABELS.fullmatch(name.rpartition(":")[0]) for name in one)}
        found = [op for op in found if self._needs[op.name] in (plain or least)]
        places = {op.name: place for place, op in enumerate(found)}
        found.sort(key=lambda op: (rank(op), -places[op.name]))
        return [op.outputs[0] for op in found]

    def _leaves(self, op: Any) -> bool:
        """An answer, or the last that comes from these inputs alone: nobody takes it, or a loss does."""
        if LOSSES.search(op.name) or AVERAGES.search(op.name):
            return False
        if not op.outputs or NO_OUTPUT.fullmatch(op.type) or op.outputs[0].dtype.name in ("resource", "variant"):
            return False
        if op.type in ("Softmax", "Sigmoid", "ArgMax"):
            return True
        takers = [taker for tensor in op.outputs for taker in tensor.consumers() if taker.name in self._needs]
        takers = [taker for taker in takers if not WATCHERS.fullmatch(taker.type) and not AVERAGES.search(taker.name)]
        if not takers or any(LOSSES.search(taker.name) for taker in takers):
            return True
        return any(self._needs[taker.name] != self._needs[op.name] for taker in takers)


def rank(op: Any) -> tuple[int, int]:
    """Probabilities first, then logits and what is called an answer, then other numbers, then classes."""
    numeric = op.outputs[0].dtype.is_floating
    if op.type == "Softmax":
        return 0, 0
    if re.search(r"(?i)(^|/)(softmax|prob\w*|predict\w*|pred|output\w*|scores?|logits?)(_[0-9]+)?(/|$)", op.name):
        return 1 if numeric else 3, 0
    return (2 if numeric else 3), 0 if op.type in ("Sigmoid", "ArgMax") else 1


def placeholders_before(tensors: Any, stops: Any) -> list[Any]:
    """Placeholders, with and without defaults, that these tensors are computed from, not past `stops`."""
    operations = before([tensor.op for tensor in tensors if tensor.name not in stops], stops)
    kinds = (*PLACEHOLDERS, WITH_DEFAULT)
    return sorted(
        (op.outputs[0] for op in operations if op.type in kinds and op.outputs[0].name not in stops),
        key=lambda t: t.name,
    )
