"""Output shapes of standard Keras layers, computed from their configs alone and carried through a model's graph.

What is not known stays None: custom layers, Lambdas, ops whose arguments the config does not give.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ckptui.readers.keras_config import Node, Shape, as_shape, mapping
from ckptui.readers.keras_layer_shapes import layer_outputs

MAX_PASSES = 60
"""Rounds over a model's layers: their order is nearly topological, so that one or two are enough."""
MAX_REFERENCES = 10_000
"""Input tensors read of one call."""

Reference = tuple[str, int, int]
"""(layer name, call number, output number)."""
Outputs = list[Shape | None]


def infer(root: Node) -> None:
    """Fill `input_shape` and `output_shape` of every node below `root` where the config allows."""
    _model(root, None)


def _model(model: Node, given: Shape | None) -> Outputs:
    """The output shapes of a model called on `given`; its own input layers go first."""
    if model.class_name == "Sequential" or not any(child.inbound for child in model.children):
        outputs = _sequential(model, given)
    else:
        outputs = _Graph(model, given).run()
    model.output_shape = outputs[0] if len(outputs) == 1 else None
    return outputs


def _sequential(model: Node, given: Shape | None) -> Outputs:
    shape = given or model.input_shape
    for child in model.children:
        if shape is None:
            shape = _declared_input(child) or child.input_shape
        outputs = _call(child, [shape])
        child.output_shape = shape = outputs[0] if len(outputs) == 1 else None
    return [shape]


def _declared_input(node: Node) -> Shape | None:
    for key in ("batch_shape", "batch_input_shape"):
        shape = as_shape(node.config.get(key))
        if shape is not None:
            return shape
    tail = as_shape(node.config.get("input_shape"))
    return None if tail is None else (None, *tail)


def _call(node: Node, inputs: Sequence[Shape | None]) -> Outputs:
    """The outputs of one call, with the input shape noted at the node (the first call's stays)."""
    if node.class_name == "InputLayer":
        return [_declared_input(node) or (inputs[0] if inputs else None)]
    first = inputs[0] if inputs else None
    if node.input_shape is None:
        node.input_shape = first
    elif first is None:
        inputs = [node.input_shape, *inputs[1:]]
        first = node.input_shape
    if node.is_model:
        return _model(node, first)
    if node.class_name == "TimeDistributed" and node.children:
        return _time_distributed(node, first)
    if node.class_name == "Bidirectional" and node.children:
        return _bidirectional(node, first)
    for cell in node.children:
        cell.input_shape = first
    return layer_outputs(node.class_name, node.config, inputs)


def _time_distributed(node: Node, shape: Shape | None) -> Outputs:
    inner = node.children[0]
    outputs = _call(inner, [None if shape is None else (shape[0], *shape[2:])])
    inner.output_shape = outputs[0] if len(outputs) == 1 else None
    if shape is None or inner.output_shape is None or len(shape) < 2:
        return [None]
    return [(*shape[:2], *inner.output_shape[1:])]


def _bidirectional(node: Node, shape: Shape | None) -> Outputs:
    for inner in node.children:
        outputs = _call(inner, [shape])
        inner.output_shape = outputs[0] if len(outputs) == 1 else None
    one = node.children[0].output_shape
    if one is None:
        return [None]
    mode = node.config.get("merge_mode", "concat")
    if mode == "concat":
        last = one[-1]
        return [(*one[:-1], None if last is None else 2 * last)]
    return [one] if mode in ("sum", "mul", "ave") else [None]


class _Graph:
    """Shapes through the calls (`inbound_nodes`) of a functional model."""

    def __init__(self, model: Node, given: Shape | None) -> None:
        self.model = model
        self.given = given
        self.known: dict[Reference, Shape] = {}
        self.calls: list[tuple[Node, int, list[Reference]]] = []
        for child in model.children:
            if not child.inbound:
                self.calls.append((child, 0, []))
            for number, call in enumerate(child.inbound):
                self.calls.append((child, number, [r for r, _ in self._references(call)]))

    def run(self) -> Outputs:
        waiting = self.calls
        for _ in range(MAX_PASSES):
            later = [call for call in waiting if not self._try(*call)]
            if not later or len(later) == len(waiting):
                break
            waiting = later
        for child, number, _ in self.calls:
            self._note(child, number)
        outputs = list(_plain_references(self.model.config.get("output_layers")))
        return [self.known.get(one) for one in outputs] or [None]

    def _references(self, call: Any) -> Iterator[tuple[Reference, Shape | None]]:
        if isinstance(call, dict):
            for reference, shape in _keras_3_tensors(call):
                if shape is not None:
                    self.known.setdefault(reference, shape)
                yield reference, shape
        else:
            for reference in _plain_references(call):
                yield reference, None

    def _try(self, child: Node, number: int, references: list[Reference]) -> bool:
        """Compute one call's outputs once all its inputs are known."""
        if not references and child.class_name == "InputLayer":
            inputs: list[Shape | None] = [self.given]
        else:
            inputs = [self.known.get(one) for one in references]
            if any(shape is None for shape in inputs) or not inputs:
                return False
        for index, shape in enumerate(_call(child, inputs)):
            if shape is not None:
                self.known.setdefault((child.name, number, index), shape)
        return True

    def _note(self, child: Node, number: int) -> None:
        """The row's shape: that of the only output, where all calls agree."""
        shape = self.known.get((child.name, number, 0))
        single = (child.name, number, 1) not in self.known
        agrees = number == 0 or child.output_shape == shape
        child.output_shape = shape if single and agrees else None


def _keras_3_tensors(call: Mapping[str, Any]) -> Iterator[tuple[Reference, Shape | None]]:
    """Every `__keras_tensor__` in a call's args and kwargs, in order, with the shape written beside it."""
    stack: list[Any] = [call.get("kwargs"), call.get("args")]
    for _ in range(MAX_REFERENCES):
        if not stack:
            return
        value = stack.pop()
        if isinstance(value, list):
            stack.extend(reversed(value))
        elif isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
            config = mapping(value.get("config"))
            for reference in _plain_references(config.get("keras_history")):
                yield reference, as_shape(config.get("shape"))
        elif isinstance(value, dict):
            stack.extend(reversed(list(value.values())))


def _plain_references(value: Any) -> Iterator[Reference]:
    """`["conv", 0, 0]` or lists of such, as Keras 1 and 2 write calls and all versions write a model's outputs."""
    stack = [value]
    for _ in range(MAX_REFERENCES):
        if not stack:
            return
        one = stack.pop()
        if not isinstance(one, list):
            continue
        if len(one) >= 3 and isinstance(one[0], str) and isinstance(one[1], int) and isinstance(one[2], int):
            yield one[0], one[1], one[2]
        else:
            stack.extend(reversed(one))
