"""Where Keras puts which variable in an HDF5 file: legacy `.h5` (Keras 1 to 3) and `.weights.h5` (from 2.13 on).

Works on dataset paths and group attributes alone; the architecture, where there is one, settles names and order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ckptui.core.model import Role
from ckptui.core.names import layer_of, role_of
from ckptui.readers.keras_config import Node
from ckptui.readers.keras_variables import class_of, guess_names, saved_names, variable_of

Section = Literal["model", "optimizer", "metric", "other"]
Style = Literal["legacy", "keras-1", "objects", "none"]
"""`legacy`: layer_names, weight_names; `keras-1`: layer_k/param_j; `objects`: groups with `vars/0`, `vars/1`."""

_CONTAINERS = frozenset({"layers", "_layer_checkpoint_dependencies"})
_METRICS = frozenset({"metrics", "_metrics", "_compile_metrics", "loss_tracker"})
_OBJECT_VARIABLE = re.compile(r"(?:(.*)[/\\])?vars[/\\]([0-9]+)")
_LAYER_K = re.compile(r"(?:model_weights/)?layer_([0-9]+)/param_([0-9]+)")
_NUMBER = re.compile(r":[0-9]+$")
_QUANTISATION = re.compile(r".*_(scale|zero|scale_\d+|amax_history\w*)|g_idx")
"""Companions of a quantised kernel."""
COMPANION = "(companion)"
"""Stands for a variable a layer saves beyond its own: scales of a quantised kernel, adapters."""
TOP_LEVEL = "top_level_model_weights"


@dataclass(slots=True)
class Place:
    """What a dataset is in the model."""

    section: Section = "other"
    layer: str = ""
    object_path: str = ""
    variable: str = ""
    node: Node | None = None
    order: int = 0
    """Position among the layer's variables as the file counts them."""
    class_name: str = ""
    """The layer's class by the name of its group, where there is no architecture."""


@dataclass(slots=True)
class Attributes:
    """What the groups' attributes say, by group path."""

    layer_names: dict[str, list[str]] = field(default_factory=dict)
    weight_names: dict[str, list[str]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    """`name` of `.../vars` groups: the layer's own name (Keras 3)."""
    numbered: bool = False
    """The root counts its layers (`nb_layers`): Keras 1 and before."""


@dataclass(slots=True)
class Layout:
    """How a file is laid out and what each dataset is."""

    style: Style
    places: dict[str, Place]
    absent: list[tuple[str, str]] = field(default_factory=list)
    """(layer, weight) named by attributes without a dataset behind it."""
    order: tuple[str, ...] = ()
    """The datasets that attributes name, in their order: the model's, then the optimizer's."""


def promised_paths(root: Node) -> list[str]:
    """The groups a `.weights.h5` of this architecture has, in the order Keras 3 writes them."""
    found: list[str] = []
    stack = [(root, "")]
    while stack:
        node, path = stack.pop()
        found.append(f"{path}/vars" if path else "vars")
        inside = "layers/" if node.is_model else ""
        below = [(child, f"{path}/{inside}{child.key}" if path else inside + child.key) for child in node.children]
        stack.extend(reversed([one for one in below if one[0].key]))
    return found


def style_of(names: Iterable[str], attributes: Attributes) -> Style:
    """Which of Keras' layouts the datasets follow, `none` for any other HDF5 file."""
    if attributes.numbered:
        return "keras-1"
    if attributes.layer_names:
        return "legacy"
    return "objects" if any(_OBJECT_VARIABLE.fullmatch(name) for name in names) else "none"


def lay_out(shapes: Mapping[str, tuple[int, ...]], attributes: Attributes, root: Node | None, style: Style) -> Layout:
    """A place for every dataset in `shapes` (path to shape)."""
    if style == "legacy":
        layout = _Legacy(shapes, attributes, root).layout()
    elif style == "keras-1":
        layout = Layout(style, _numbered_layers(shapes, root))
    elif style == "objects":
        layout = Layout(style, _Objects(shapes, attributes, root).places())
    else:
        layout = Layout(style, {name: Place(layer=layer_of(name)) for name in shapes})
    _make_unique(layout.places)
    return layout


def role(name: str, dtype: str, shape: Sequence[int], place: Place) -> Role:
    """The role of a placed dataset."""
    if place.section == "metric":
        return "metric"
    if place.section == "optimizer":
        return "slot" if shape else "counter"
    if place.variable == COMPANION or _QUANTISATION.fullmatch(place.variable):
        return "other"
    path = place.object_path
    if place.variable:
        # Keras 1 writes `bn_1_running_mean` where the others write `bn_1/moving_mean`.
        path = f"{path.rpartition('/')[0] or place.layer}/{place.variable}"
    return role_of(name, dtype, shape, path)


class _Legacy:
    """`layer_names` on the root or `/model_weights`, `weight_names` on each layer's group."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], attributes: Attributes, root: Node | None) -> None:
        self.shapes = shapes
        self.attributes = attributes
        self.root = root
        self.found: dict[str, Place] = {}
        self.absent: list[tuple[str, str]] = []

    def layout(self) -> Layout:
        prefix = "model_weights" if "model_weights" in self.attributes.layer_names else ""
        names = self.attributes.layer_names.get(prefix, [])
        for layer in [*names, TOP_LEVEL]:
            group = f"{prefix}/{layer}" if prefix else layer
            for order, weight in enumerate(self.attributes.weight_names.get(group, [])):
                self._weight(group, "" if layer == TOP_LEVEL else layer, weight, order)
        for weight in self.attributes.weight_names.get("optimizer_weights", []):
            self._optimizer(f"optimizer_weights/{weight}", weight)
        listed = tuple(self.found)
        for name in self.shapes:
            if name not in self.found:
                self._unnamed(name, prefix)
        return Layout("legacy", self.found, self.absent, listed)

    def _weight(self, group: str, layer: str, weight: str, order: int) -> None:
        path = f"{group}/{weight}"
        if path not in self.shapes:
            self.absent.append((layer, weight))
            return
        own = _NUMBER.sub("", weight)
        # Keras 3 puts the model's name before its layers': `sequential/dense/kernel`.
        at = f"/{own}".find(f"/{layer}/") if layer else -1
        own = own[at:] if at > 0 else own
        node = self._node(layer, own)
        leaf = node.name if node is not None and _inside_model(self.root, layer, node) else layer
        self.found[path] = Place("model", leaf, own, variable_of(own.rpartition("/")[2]), node, order)

    def _node(self, layer: str, weight: str) -> Node | None:
        if self.root is None:
            return None
        node = _top(self.root, layer)
        for part in weight.split("/")[:-1]:
            if node is None:
                return None
            node = _below(node, part) or node
        while node is not None and len(node.children) == 1 and not node.is_model:
            node = node.children[0]
        return node

    def _optimizer(self, path: str, weight: str) -> None:
        if path not in self.shapes:
            self.absent.append(("optimizer_weights", weight))
        else:
            own = _NUMBER.sub("", weight)
            self.found[path] = Place("optimizer", layer_of("", own), own)

    def _unnamed(self, name: str, prefix: str) -> None:
        if name.startswith("optimizer_weights/"):
            self._optimizer(name, name.removeprefix("optimizer_weights/"))
        elif prefix and not name.startswith(prefix + "/"):
            self.found[name] = Place(layer=layer_of(name))
        else:
            layer, _, weight = name.removeprefix(prefix + "/").partition("/")
            own = _NUMBER.sub("", weight)
            self.found[name] = Place("model", layer, own, variable_of(own.rpartition("/")[2]), order=-1)


def _inside_model(root: Node | None, layer: str, node: Node) -> bool:
    """Whether `node` sits in a nested model, so that its own name says more than the outermost layer's."""
    top = _top(root, layer)
    return top is not None and top.is_model and not node.hidden


def _top(root: Node | None, layer: str) -> Node | None:
    """The root model's own layer called `layer`."""
    found = root.named(layer) if root is not None else []
    return found[0] if found and found[0].depth == 0 else None


def _below(node: Node, name: str) -> Node | None:
    """The node called `name` under `node`: a direct child, else the only one at any depth."""
    found = node.named(name)
    return found[0] if len(found) == 1 or (found and found[0].depth == node.depth + 1) else None


def _numbered_layers(shapes: Mapping[str, tuple[int, ...]], root: Node | None) -> dict[str, Place]:
    """Keras 1 and before: `layer_3/param_0`, counted in model order."""
    nodes = [] if root is None else root.children
    found: dict[str, Place] = {}
    for name in shapes:
        match = _LAYER_K.fullmatch(name)
        if match is None:
            own = _NUMBER.sub("", name.removeprefix("optimizer_weights/"))
            section: Section = "optimizer" if name.startswith("optimizer_weights/") else "other"
            found[name] = Place(section, layer_of("", own), own if section == "optimizer" else "")
            continue
        number, order = int(match[1][:9]), int(match[2][:9])
        node = nodes[number] if number < len(nodes) else None
        layer = node.name if node is not None and node.name else f"layer_{match[1]}"
        known = saved_names(node) if node is not None else ()
        variable = known[order] if order < len(known) else ""
        path = f"{layer}/{variable}" if variable else ""
        found[name] = Place("model", layer, path, variable, node, order)
    return found


@dataclass(slots=True)
class _Trail:
    """Where a group's path led."""

    node: Node | None
    """The node it belongs to: itself or, where `exact` is False, the layer it is some part of."""
    exact: bool = True
    names: list[str] = field(default_factory=list)


class _Objects:
    """`layers/dense_1/vars/0`: groups named by class and attribute, variables by number."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], attributes: Attributes, root: Node | None) -> None:
        self.shapes, self.attributes, self.root = shapes, attributes, root
        self.groups: dict[str, list[tuple[int, str]]] = {}
        for name in shapes:
            match = _OBJECT_VARIABLE.fullmatch(name)
            if match is not None:
                self.groups.setdefault(match[1] or "", []).append((int(match[2][:9]), name))

    def places(self) -> dict[str, Place]:
        found: dict[str, Place] = {}
        for group, members in self.groups.items():
            members.sort()
            parts = [part for part in re.split(r"[/\\]", group) if part]
            section = _section(parts)
            for place, (order, name) in zip(self._group(parts, section, members), members, strict=True):
                place.order = order
                found[name] = place
        for name in self.shapes:
            if name not in found:
                found[name] = Place(layer=layer_of(name))
        return found

    def _group(self, parts: list[str], section: Section, members: Sequence[tuple[int, str]]) -> list[Place]:
        if section == "optimizer":
            own = self._own_name(parts) or parts[-1]
            return [Place(section, "", f"{own}/{order}") for order, _ in members]
        if section == "metric":
            return [Place(section, parts[-1]) for _ in members]
        found = self._trail(parts)
        names = found.names
        layer = names[0] if names else ""
        if any("seed_generator" in part for part in parts):
            names = [name for name in names if "seed_generator" not in name]
            path = "/".join([*names, "seed_generator_state"])
            return [Place(section, layer, path, "seed_generator_state") for _ in members]
        variables = self._variables(parts, found.node if found.exact else None, members)
        class_name = class_of(_group_name(parts)) if found.node is None else ""
        return [
            Place(
                section,
                layer,
                "" if v == COMPANION else "/".join([*names, v or str(order)]),
                v,
                found.node,
                class_name=class_name or "",
            )
            for v, (order, _) in zip(variables, members, strict=True)
        ]

    def _variables(self, parts: list[str], node: Node | None, members: Sequence[tuple[int, str]]) -> Sequence[str]:
        shapes = [self.shapes[name] for _, name in members]
        known = saved_names(node) if node is not None else ()
        if known:
            return [known[order] if order < len(known) else COMPANION for order, _ in members]
        readings = (guess_names(group, shapes) for group in (_group_name(parts), self._own_name(parts)))
        guessed = next((names for names in readings if names), ())
        whole = [order for order, _ in members] == list(range(len(members)))
        return guessed if guessed and whole else [""] * len(members)

    def _trail(self, parts: Sequence[str]) -> _Trail:
        """Follow a group's path through the architecture, noting the names from the innermost model's layer on."""
        trail = _Trail(self.root)
        for index, part in enumerate(parts):
            if part in _CONTAINERS:
                trail.names.clear()
                continue
            own = self._own_name(parts[: index + 1])
            inside = trail.node
            if inside is not None and trail.exact:
                named = [c for c in inside.named(own) if own and c.depth == inside.depth + 1]
                child = named[0] if len(named) == 1 else inside.child(part)
                # An unknown part of a layer (attention's `query_dense`) still belongs to that layer.
                trail.exact = child is not None
                trail.node = child if child is not None or inside.is_model else inside
                own = own or (child.name if child is not None else "")
            if own or not self.attributes.names:
                # Where objects carry names, a group without one is a list or attribute on the way.
                trail.names.append(own or part)
        if not trail.names and parts:
            trail.names.append(parts[-1])
        return trail

    def _own_name(self, parts: Sequence[str]) -> str:
        """What the file calls the object of a group; empty where it does not say."""
        return self.attributes.names.get("/".join([*parts, "vars"]), "")


def _group_name(parts: Sequence[str]) -> str:
    """The last part of a group's path; of a recurrent layer's `cell` with its class: `lstm_cell`."""
    if len(parts) > 1 and parts[-1] == "cell":
        return re.sub(r"_[0-9]+$", "", parts[-2]) + "_cell"
    return parts[-1] if parts else ""


def _section(parts: Sequence[str]) -> Section:
    """What a group is part of: the model, or what `compile` gave to it or to a model nested in it."""
    own = list(parts)
    while own and own[0] in _CONTAINERS and len(own) > 2:
        own = own[2:]
    if own and own[0] == "optimizer":
        return "optimizer"
    return "metric" if own and own[0] in _METRICS else "model"


def _make_unique(places: Mapping[str, Place]) -> None:
    """Two variables with one object path (`dense/kernel` in two nested models) get their group's path before it."""
    seen: dict[str, list[str]] = {}
    for name, place in places.items():
        if place.object_path:
            seen.setdefault(place.object_path, []).append(name)
    for path, names in seen.items():
        if len(names) > 1:
            for name in names:
                group = re.split(r"/vars/|\\vars\\", name)[0] if "vars" in name else name.rpartition("/")[0]
                places[name].object_path = f"{group}/{path.rpartition('/')[2]}"
