"""TensorFlow 2's object graph inside a bundle: which variable a checkpoint key belongs to, and what it is for.

The graph is a serialized `TrackableObjectGraph`: nodes refer to each other by position, may have several parents
and may form cycles, so nothing here recurses. Node identity, not key text, tells slots from weights: Keras 3 stores
trainable weights under the optimizer's own path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ckptui.core.model import Role
from ckptui.core.names import is_weight_name
from ckptui.readers.graph_paths import whole_paths
from ckptui.readers.wire import WireError, fields, text, uvarint

MAX_NODES = 1_000_000
MAX_EDGES = 4_000_000
MAX_WORDS = 6
"""Words that a slot's own name may have after the weight's: `accumulated_delta_var`."""

VARIABLE = "VARIABLE_VALUE"
"""The attribute name under which variables are stored."""
_COUNTER_CHILDREN = ("_iterations", "iterations", "_learning_rate", "learning_rate", "_current_learning_rate")


@dataclass(slots=True)
class GraphNode:
    """One trackable object."""

    children: Sequence[tuple[str, int]] = ()
    """(local name, node id)"""
    attributes: Sequence[tuple[str, str, str]] = ()
    """(attribute name, variable's own name, checkpoint key)"""
    slots: Sequence[tuple[int, str, int]] = ()
    """(node id of the variable, slot name, node id of the slot)"""

    def child(self, name: str) -> int | None:
        """The node id of a child by local name."""
        for local, target in self.children:
            if local == name:
                return target
        return None

    @property
    def key(self) -> str:
        """The checkpoint key of its variable; empty for what is none."""
        return next((key for name, _, key in self.attributes if name == VARIABLE), "")

    @property
    def full_name(self) -> str:
        """The variable's own name; empty for what is none."""
        return next((full for name, full, _ in self.attributes if name == VARIABLE), "")


_NOTHING = GraphNode()
"""Shared by all empty nodes, so that a graph of nothing else stays small."""


@dataclass(slots=True)
class ObjectGraph:
    """What the graph says about checkpoint keys."""

    nodes: list[GraphNode] = field(default_factory=list)
    problem: str = ""
    """The first place that makes no sense; what could be read around it is here."""
    names: dict[str, str] = field(default_factory=dict)
    """Checkpoint key to the variable's own name."""
    roles: dict[str, Role] = field(default_factory=dict)
    """Checkpoint keys whose role the graph decides: slots and counters."""
    originals: dict[str, str] = field(default_factory=dict)
    """Checkpoint key of a slot to the own name of the variable it serves."""
    model_name: str = ""
    """The first part of every weight's own name, where all share one: `sequential` of `sequential/a/kernel`."""


def parse(data: bytes) -> ObjectGraph:
    """Read a serialized graph, leniently; `problem` tells where it does not hold."""
    graph = ObjectGraph()
    nodes = graph.nodes
    left = MAX_EDGES
    try:
        for number, kind, value in fields(data):
            if number != 1 or kind != 2 or isinstance(value, int):
                continue
            if len(nodes) >= MAX_NODES or left <= 0:
                graph.problem = graph.problem or f"more than {len(nodes)} objects"
                break
            if not value:
                nodes.append(_NOTHING)
                continue
            body = bytes(value)
            node = _usual_node(body)
            if node is None:
                node, fault = _any_node(body)
                if fault:
                    graph.problem = graph.problem or f"object {len(nodes)}: {fault}"
            left -= len(node.children) + len(node.attributes) + len(node.slots)
            nodes.append(node)
    except WireError as error:
        graph.problem = graph.problem or str(error)
    _name(graph)
    if len(set(graph.names.values())) < len(graph.names):
        _lengthen(graph)
    _find_slots(graph)
    return graph


def _usual_node(data: bytes) -> GraphNode | None:
    """A node of children and one attribute exactly as TensorFlow writes them; None where a byte is otherwise.

    A large model has a hundred thousand nodes: this takes a third of the time of `_any_node`.
    """
    children: list[tuple[str, int]] = []
    attribute: tuple[str, str, str] | None = None
    position, end = 0, len(data)
    try:
        while position < end:
            tag, length = data[position], data[position + 1]
            start = position + 2
            if length > 0x7F:
                length, start = uvarint(data, position + 1, end)
            position = start + length
            if position > end:
                return None
            if tag == 0x0A:
                target = 0
                if data[start] == 0x08:
                    target, start = uvarint(data, start + 1, position)
                if data[start] != 0x12 or data[start + 1] > 0x7F or start + 2 + data[start + 1] != position:
                    return None
                children.append((data[start + 2 : position].decode(), target))
            elif tag == 0x12 and attribute is None:
                attribute = _usual_attribute(data, start, position)
                if attribute is None:
                    return None
            elif tag != 0x2A:
                return None
    except (IndexError, UnicodeDecodeError, WireError):
        return None
    return GraphNode(children, () if attribute is None else (attribute,))


def _usual_attribute(data: bytes, start: int, end: int) -> tuple[str, str, str] | None:
    """Name, own name and key, in this order; None where the bytes are otherwise."""
    parts = []
    for tag in (0x0A, 0x12, 0x1A):
        if data[start] != tag:
            return None
        length, start = uvarint(data, start + 1, end)
        parts.append(data[start : start + length].decode())
        start += length
    return (parts[0], parts[1], parts[2]) if start == end else None


def _any_node(data: bytes) -> tuple[GraphNode, str]:
    """A node with its fields in any order, and the first place that makes no sense."""
    children, attributes, slots = [], [], []
    fault = ""
    try:
        for number, kind, value in fields(data):
            if kind != 2 or isinstance(value, int) or number > 3:
                continue
            body = bytes(value)
            if number == 1:
                target, name = _message(body, (1, 2))
                children.append((_text(name), _number(target)))
            elif number == 2:
                name, full, key = _message(body, (1, 2, 3))
                attributes.append((_text(name), _text(full), _text(key)))
            else:
                original, name, slot = _message(body, (1, 2, 3))
                slots.append((_number(original), _text(name), _number(slot)))
    except WireError as error:
        fault = str(error)
    return GraphNode(children, attributes, slots), fault


def _message(data: bytes, numbers: tuple[int, ...]) -> list[int | bytes | memoryview | None]:
    """The last value of each wanted field."""
    found: list[int | bytes | memoryview | None] = [None] * len(numbers)
    for number, _, value in fields(data):
        if number in numbers:
            found[numbers.index(number)] = value
    return found


def _text(value: int | bytes | memoryview | None) -> str:
    return "" if value is None else text(value)


def _number(value: int | bytes | memoryview | None) -> int:
    return value if isinstance(value, int) else 0


def _name(graph: ObjectGraph) -> None:
    for node in graph.nodes:
        for name, full, key in node.attributes:
            if name == VARIABLE and key:
                graph.names[key] = full


def _lengthen(graph: ObjectGraph) -> None:
    """Give variables that share a name their whole ones, where the optimizer knows them."""
    for target, name in whole_paths(graph.nodes, MAX_EDGES).items():
        node = graph.nodes[target]
        node.attributes = [(kind, name if kind == VARIABLE else full, key) for kind, full, key in node.attributes]
    _name(graph)


def _find_slots(graph: ObjectGraph) -> None:
    """Tell what optimizers keep for themselves from the weights they only refer to."""
    by_joined: dict[str, str] | None = None
    done: set[int] = set()
    left = MAX_EDGES
    for node in graph.nodes:
        for original, _, slot in node.slots:
            _assign_slot(graph, slot, _at(graph, original).full_name)
        variables = node.child("_variables")
        counters = {target for name, target in node.children if name in _COUNTER_CHILDREN}
        if variables is None or not counters or variables in done:
            continue
        done.add(variables)
        own = _at(graph, variables).children
        weights = {target for _, target in _at(graph, node.child("_trainable_variables")).children}
        left -= len(own) + len(weights)
        if left < 0:
            break
        for target in counters:
            key = _at(graph, target).key
            if key:
                graph.roles[key] = "counter"
        if by_joined is None:
            by_joined = {full.replace("/", "_"): full for full in graph.names.values()}
        for _, target in own:
            if target not in weights and target not in counters:
                _assign_slot(graph, target, _served(_at(graph, target).full_name, by_joined))
    graph.model_name = _common_first(graph)


def _assign_slot(graph: ObjectGraph, node: int, original: str) -> None:
    key = _at(graph, node).key
    if key:
        graph.roles[key] = "slot"
        if original:
            graph.originals[key] = original


def _served(full_name: str, by_joined: dict[str, str]) -> str:
    """The variable a Keras 3 slot serves: `conv1/kernel` for `adam/conv1_kernel_momentum`."""
    joined = full_name[full_name.find("/") + 1 :]
    for _ in range(MAX_WORDS):
        cut = joined.rfind("_")
        if cut < 0:
            break
        joined = joined[:cut]
        if joined in by_joined:
            return by_joined[joined]
    return ""


def _at(graph: ObjectGraph, node: int | None) -> GraphNode:
    return graph.nodes[node] if node is not None and 0 <= node < len(graph.nodes) else _NOTHING


def _common_first(graph: ObjectGraph) -> str:
    """The model's name, where every weight's own name has three parts or more and starts with it."""
    first = ""
    for key, full in graph.names.items():
        if key in graph.roles or not is_weight_name(full):
            continue
        head, _, rest = full.partition("/")
        if "/" not in rest or (first and head != first):
            return ""
        first = head
    return first
