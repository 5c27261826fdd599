"""What Keras 2 wrote about a model inside its SavedModel: version, architecture, initializers.

Since Keras 2.5 in `keras_metadata.pb` (`saved_metadata.proto`), before that in the object graph's root object.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ckptui.core.model import ArchitectureRow, Finding, Tensor
from ckptui.errors import Damaged
from ckptui.readers.graph_facts import Message
from ckptui.readers.keras_config import architecture_rows, load_config
from ckptui.readers.keras_unsafe import unsafe_layers
from ckptui.readers.keras_variables import initializer_of, variable_of

TAGGED = frozenset({"__tuple__", "TensorShape"})
"""Class names of lists that JSON can't tell apart otherwise."""


def root_metadata(saved: Message, in_graphs: Iterable[str]) -> Mapping[str, Any]:
    """The JSON about the root model, from a gathered KerasMetadata or object graphs' texts; empty without one."""
    texts = [node.get("metadata", "") for node in saved.get("nodes", ()) if node.get("node_path") == "root"]
    text = next((text for text in [*texts, *in_graphs] if text), "")
    if not text:
        return {}
    try:
        return load_config(text)
    except Damaged:
        return {}


def root_config(metadata: Mapping[str, Any]) -> dict[str, Any] | None:
    """The root model's {"class_name", "config"}; None for a model without one (subclassed)."""
    config = metadata.get("model_config")
    if not isinstance(config, dict) or "config" not in config:
        config = {"class_name": metadata.get("class_name"), "config": metadata.get("config")}
    return _untagged(config) if isinstance(config.get("config"), dict) else None


def architecture(
    config: dict[str, Any], tensors: Sequence[Tensor], path: str
) -> tuple[tuple[ArchitectureRow, ...], Sequence[Tensor], list[Finding]]:
    """The layers, the tensors with the initializers their layers name, findings about layers with code."""
    rows = architecture_rows(config, tensors)
    return rows, _with_initializers(tensors, rows), unsafe_layers(config, path)


def _untagged(config: dict[str, Any]) -> dict[str, Any]:
    """The config with tagged lists as plain lists; changes it in place."""
    stack: list[Any] = [config]
    while stack:
        holder = stack.pop()
        for key, value in list(holder.items() if isinstance(holder, dict) else enumerate(holder)):
            if isinstance(value, dict) and value.get("class_name") in TAGGED and isinstance(value.get("items"), list):
                value = holder[key] = value["items"]
            if isinstance(value, (dict, list)):
                stack.append(value)
    return config


def _with_initializers(tensors: Sequence[Tensor], rows: Sequence[ArchitectureRow]) -> Sequence[Tensor]:
    owners = {name: row for row in rows for name in row.weights if row.config}
    if not owners:
        return tensors
    out = []
    for tensor in tensors:
        row = owners.get(tensor.name)
        if row is not None:
            last = (tensor.object_path or tensor.name).rpartition("/")[2]
            named = initializer_of(row.config, variable_of(last))
            tensor = replace(tensor, initializer=named, layer_class=row.class_name)
        out.append(tensor)
    return out
