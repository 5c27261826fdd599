"""Keras architectures from their JSON: layers in model order, nested models and wrappers, output shapes.

Reads what Keras 1, 2 and 3 and tf-keras write (`model_config` of an .h5, `config.json` of a .keras). Nothing named
in a config is imported. Input is untrusted: sizes, depth and counts are bounded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ckptui.core.model import ArchitectureRow, Tensor
from ckptui.core.names import is_weight
from ckptui.errors import Damaged

MAX_CONFIG_BYTES = 32 << 20
MAX_LAYERS = 50_000
MAX_SOURCES = 4096
"""Values of a layer's inbound nodes that are looked at for names."""
MAX_DEPTH = 40
"""Models nested in models, wrappers included."""

Shape = tuple[int | None, ...]

_WRAPPED = {"TimeDistributed": ("layer",), "Bidirectional": ("forward_layer", "backward_layer")}
_RECURRENT = {
    "LSTM": "LSTMCell",
    "GRU": "GRUCell",
    "SimpleRNN": "SimpleRNNCell",
    "ConvLSTM1D": "ConvLSTM1DCell",
    "ConvLSTM2D": "ConvLSTM2DCell",
    "ConvLSTM3D": "ConvLSTM3DCell",
}
_STANDARD_MODELS = frozenset({"Sequential", "Functional", "Model"})
_KERAS_1_CLASSES = {
    "Convolution1D": "Conv1D",
    "Convolution2D": "Conv2D",
    "Convolution3D": "Conv3D",
    "Deconvolution2D": "Conv2DTranspose",
    "SeparableConvolution2D": "SeparableConv2D",
}


@dataclass(slots=True, eq=False)
class Node:
    """A layer or model of an architecture. Compared by identity: a name may occur twice."""

    name: str
    class_name: str
    config: Mapping[str, Any]
    depth: int = 0
    """How many models and wrappers it stands in; 0 for the root's own layers."""
    module: str = ""
    key: str = ""
    """What Keras 3's weight files call it among its siblings: `dense_1`, `forward_layer`, `cell`."""
    is_model: bool = False
    standard: bool = True
    """For a model: Keras' own class, so that the config tells all its layers."""
    children: list[Node] = field(default_factory=list)
    """A model's layers in order, a wrapper's inner layers, a recurrent layer's cell."""
    inbound: list[Any] = field(default_factory=list)
    input_shape: Shape | None = None
    """What the layer was built for, where its build_config or the shapes before it tell."""
    output_shape: Shape | None = None
    _by_key: dict[str, Node] = field(default_factory=dict, repr=False)
    _by_name: dict[str, list[Node]] = field(default_factory=dict, repr=False)

    @property
    def hidden(self) -> bool:
        """A recurrent layer's cell: its weights belong to the layer's own row."""
        return self.key == "cell"

    def child(self, key: str) -> Node | None:
        """The child a weight file calls `key`."""
        if not self._by_key and self.children:
            self._by_key = {child.key: child for child in reversed(self.children)}
        return self._by_key.get(key)

    def named(self, name: str) -> list[Node]:
        """The layers called `name` below this node: its own if there are any, else those further down; no cells."""
        if not self._by_name and self.children:
            deep = [one for one in self.walk() if one is not self and not one.hidden]
            own = {child.name for child in self.children}
            for one in [*self.children, *(one for one in deep if one.name not in own)]:
                if not one.hidden:
                    self._by_name.setdefault(one.name, []).append(one)
        return self._by_name.get(name, [])

    def walk(self) -> Iterator[Node]:
        """This node and all below it, in model order."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.children))


def load_config(text: str | bytes) -> Mapping[str, Any]:
    """The JSON object in `text`; raises Damaged for what is too large, too deep, no JSON, or no object."""
    if len(text) > MAX_CONFIG_BYTES:
        raise Damaged(f"a config of {len(text)} bytes", evidence={"found": len(text), "cap": MAX_CONFIG_BYTES})
    try:
        value = json.loads(text)
    except RecursionError:
        raise Damaged("a config nested too deep to be one") from None
    except (ValueError, MemoryError) as error:
        raise Damaged(f"a config that is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise Damaged("a config that is no JSON object")
    return value


def snake_case(name: str) -> str:
    """Keras' own conversion of class names to group names: `Conv2D` to `conv2d`, `PReLU` to `p_re_lu`."""
    name = re.sub(r"\W+", "", name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def mapping(value: Any) -> Mapping[str, Any]:
    """`value` if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def text_of(value: Any) -> str:
    """`value` if it is a string, else an empty one."""
    return value if isinstance(value, str) else ""


def as_shape(value: Any) -> Shape | None:
    """A shape of integers and nulls, or None for anything else."""
    if not isinstance(value, (list, tuple)) or len(value) > 64:
        return None
    if any(not (d is None or (isinstance(d, int) and not isinstance(d, bool) and d >= 0)) for d in value):
        return None
    return tuple(value)


def parse(config: Mapping[str, Any]) -> Node | None:
    """The architecture as a tree whose root is the model; None where the config holds no layers at all."""
    root = _node(config, -1, [MAX_LAYERS])
    if root is None or not root.is_model:
        return None
    from ckptui.readers.keras_shapes import infer

    infer(root)
    return root


def _node(entry: Any, depth: int, left: list[int]) -> Node | None:
    entry = mapping(entry)
    class_name = text_of(entry.get("class_name"))
    left[0] -= 1
    if not class_name or depth > MAX_DEPTH or left[0] < 0:
        return None
    raw = entry.get("config")
    config = {"layers": raw} if isinstance(raw, list) else mapping(raw)
    node = Node(
        name=text_of(config.get("name")) or text_of(entry.get("name")),
        class_name=_KERAS_1_CLASSES.get(class_name, class_name),
        config=config,
        depth=depth,
        module=text_of(entry.get("module")),
        inbound=entry["inbound_nodes"] if isinstance(entry.get("inbound_nodes"), list) else [],
    )
    built = mapping(entry.get("build_config")).get("input_shape")
    node.input_shape = as_shape(built if built is not None else config.get("build_input_shape"))
    layers = config.get("layers")
    if isinstance(layers, list) and layers and all(_looks_like_layer(one) for one in layers):
        node.is_model = True
        node.standard = class_name in _STANDARD_MODELS
        node.children = [n for n in (_node(one, depth + 1, left) for one in layers) if n is not None]
        _number(node)
        return node
    _add_parts(node, left)
    return node


def _looks_like_layer(entry: Any) -> bool:
    return isinstance(entry, dict) and "class_name" in entry and "config" in entry


def _number(model: Node) -> None:
    """Give a model's layers the names Keras 3 weight files use: class name, counted per class in model order."""
    used: dict[str, int] = {}
    for child in model.children:
        if ".ops." in child.module or (model.class_name == "Sequential" and child.class_name == "InputLayer"):
            continue
        name = snake_case(child.class_name)
        seen = used.get(name)
        used[name] = 0 if seen is None else seen + 1
        child.key = name if seen is None else f"{name}_{used[name]}"


def _add_parts(node: Node, left: list[int]) -> None:
    """Inner layers of wrappers and the cell of recurrent layers, under their attribute names."""
    for key in _WRAPPED.get(node.class_name, ()):
        entry = node.config.get("backward_layer") if key == "backward_layer" else None
        inner = _node(entry or node.config.get("layer"), node.depth + 1, left)
        if inner is None:
            continue
        if node.class_name == "Bidirectional" and not entry:
            # Keras 3 stores the forward layer under its new name, Keras 2 under the one it was given.
            inner.name = f"{key.removesuffix('_layer')}_{inner.name.removeprefix('forward_')}"
        inner.key = key
        node.children.append(inner)
    cell_class = _RECURRENT.get(node.class_name)
    if cell_class:
        cell = Node(snake_case(cell_class), cell_class, node.config, node.depth + 1, key="cell")
        node.children.append(cell)


def architecture_rows(config: Mapping[str, Any], tensors: Sequence[Tensor]) -> tuple[ArchitectureRow, ...]:
    """The layers of a Keras config in model order, with the tensors that bear their names.

    A model or wrapper has a row of its own with the parameters of all it holds; what it holds follows one level
    deeper. Output shapes are those the config allows to be computed, None elsewhere.
    """
    root = parse(config)
    if root is None:
        return ()
    by_name: dict[str, list[Node]] = {}
    for node in root.walk():
        by_name.setdefault(node.name, []).append(node)
    owned: dict[Node, list[Tensor]] = {}
    for tensor in tensors:
        nodes = by_name.get(tensor.layer) or by_name.get(tensor.layer.rpartition("/")[2])
        if nodes and tensor.role not in ("slot", "counter"):
            owned.setdefault(nodes[0], []).append(tensor)
    return rows(root, owned)


def rows(root: Node, owned: Mapping[Node, Sequence[Tensor]]) -> tuple[ArchitectureRow, ...]:
    """One row for each layer below `root`, tensors already assigned to nodes."""
    own: dict[Node, int] = {}
    total: dict[Node, int] = {}
    order = [node for node in root.walk() if node is not root]
    for node in order:
        weights = [t for t in owned.get(node, ()) if not t.problem and is_weight(t.role, t.dtype)]
        own[node] = sum(t.count for t in weights)
    for node in reversed(order):
        total[node] = own[node] + sum(total[child] for child in node.children)
    live = _live(root)
    return tuple(_row(node, total[node], owned, node in live) for node in order if not node.hidden)


def _live(root: Node) -> set[Node]:
    """Layers that a call tells to train, those inside a model or wrapper that is told so included."""
    found: set[Node] = set()
    for node in root.walk():
        if node not in found and told_to_train(node.inbound):
            found.update(node.walk())
    return found


def told_to_train(inbound: Sequence[Any]) -> bool:
    """Whether a call among a layer's inbound nodes has `training: true`.

    Keras 3 has it in the call's `kwargs`, Keras 2 in the mapping that is the fourth part of a source.
    """
    left = MAX_SOURCES
    stack: list[Any] = list(inbound[:MAX_SOURCES])
    while stack and left > 0:
        left -= 1
        item = stack.pop()
        if isinstance(item, dict):
            if item.get("training") is True:
                return True
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item[:MAX_SOURCES])
    return False


def _row(node: Node, parameters: int, owned: Mapping[Node, Sequence[Tensor]], live: bool) -> ArchitectureRow:
    holders = [node, *(child for child in node.children if child.hidden)]
    trainable = node.config.get("trainable")
    return ArchitectureRow(
        name=node.name,
        class_name=node.class_name,
        depth=node.depth,
        output_shape=node.output_shape,
        parameters=parameters,
        weights=tuple(t.name for holder in holders for t in owned.get(holder, ())),
        config={} if node.is_model else node.config,
        trainable=trainable if isinstance(trainable, bool) else None,
        inbound=sources(node.inbound),
        live=live,
    )


def sources(inbound: Sequence[Any]) -> tuple[tuple[str, ...], ...]:
    """Of each call of a layer the names of the layers it takes its inputs from, in order.

    Keras 1 and 2 write `["name", node, tensor, arguments]`, Keras 3 has the same three as `keras_history`.
    """
    calls = []
    left = MAX_SOURCES
    for call in inbound[:MAX_SOURCES]:
        names: list[str] = []
        stack = [call]
        while stack and left > 0:
            left -= 1
            item = stack.pop()
            if isinstance(item, dict):
                stack.extend(reversed(item.values()))
            elif isinstance(item, list):
                if len(item) >= 3 and isinstance(item[0], str) and type(item[1]) is int and type(item[2]) is int:
                    names.append(item[0])
                    item = item[3:]
                stack.extend(reversed(item))
        calls.append(tuple(names))
    return tuple(calls) if left > 0 and any(calls) else ()
