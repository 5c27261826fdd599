"""Where Keras 3's `.weights.h5` keeps the variables of a Keras file. Runs in a reader child.

Groups are named by class and counted in model order (`layers/dense_1`), variables by number (`vars/0`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ckptui.readers.keras_config import Node
from ckptui.readers.keras_layout import COMPANION, Layout, Place
from ckptui.readers.keras_variables import saved_names

if TYPE_CHECKING:
    from ckptui.readers.registry import Reader

_OBJECT = re.compile(r"(?:.*/)?vars/[0-9]+")


def places(reader: Reader) -> dict[str, str]:
    """Dataset name to the path that `model.load_weights` looks for; without those it has no place for.

    A file laid out that way already keeps its paths. Of a legacy one, the architecture tells them: optimizer slots,
    metrics and variables of layers that the architecture does not explain are left out.
    """
    names = [tensor.name for tensor in reader.listing().tensors]
    plain = {name: name.replace("\\", "/") for name in names}
    if any(_OBJECT.fullmatch(path) for path in plain.values()):
        return {name: path for name, path in plain.items() if _OBJECT.fullmatch(path) and "unnamed@" not in path}
    found = _legacy(reader)
    return {} if found is None else _by_node(*found)


def _legacy(reader: Reader) -> tuple[Layout, Node] | None:
    """The layout of a legacy file and its architecture."""
    from ckptui.readers.keras_config import parse
    from ckptui.readers.keras_h5 import H5File, model_config
    from ckptui.readers.keras_layout import lay_out, style_of

    if not isinstance(reader, H5File):
        return None
    contents = reader.contents
    if contents is None:
        return None
    config, _ = model_config(contents.texts.get("model_config"), reader.path)
    root = None if config is None else parse(config)
    if root is None:
        return None
    shapes = {name: facts.shape for name, facts in contents.described.items()}
    return lay_out(shapes, contents.attributes, root, style_of(shapes, contents.attributes)), root


def _by_node(layout: Layout, root: Node) -> dict[str, str]:
    groups = _groups(root)
    found: dict[str, str] = {}
    owned: dict[Node, list[tuple[str, Place]]] = {}
    for name, place in layout.places.items():
        if place.section == "model" and place.node is not None and place.variable and place.variable != COMPANION:
            owned.setdefault(place.node, []).append((name, place))
    for node, members in owned.items():
        group = groups.get(id(node))
        numbers = _numbers(node, members)
        if group is not None and numbers is not None:
            found |= {name: f"{group}/vars/{numbers[name]}" for name, _ in members}
    return found


def _groups(root: Node) -> dict[int, str]:
    """The group of every layer, by the identity of its node."""
    found = {id(root): ""}
    stack = [root]
    while stack:
        node = stack.pop()
        base = found[id(node)]
        for child in node.children:
            if child.key:
                inside = f"layers/{child.key}" if node.is_model else child.key
                found[id(child)] = f"{base}/{inside}" if base else inside
                stack.append(child)
    return found


def _numbers(node: Node, members: list[tuple[str, Place]]) -> Mapping[str, int] | None:
    """The number of each variable in its layer; None where two would have the same, or none is known."""
    known = saved_names(node)
    variables = [place.variable for _, place in members]
    if len(set(variables)) != len(variables):
        return None
    if known:
        if not set(variables) <= set(known):
            return None
        return {name: known.index(place.variable) for name, place in members}
    ordered = sorted(members, key=lambda member: member[1].order)
    return {name: number for number, (name, _) in enumerate(ordered)}
