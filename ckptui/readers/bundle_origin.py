"""Who wrote a bundle, as far as its keys tell: a bundle carries no version of TensorFlow, no time and no name."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from ckptui.core.names import OBJECT_GRAPH_KEY
from ckptui.readers.bundle_entry import Header

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def origin(header: Header, names: Sequence[str]) -> dict[str, Any]:
    """`format`, `generation` and what the header says; `names` in index order."""
    style, generation = _generation(names)
    if not names:
        return {"producer": header.producer} if header.producer else {}
    found: dict[str, Any] = {"format": style, "generation": generation, "producer": header.producer}
    if header.min_consumer:
        found["min_consumer"] = header.min_consumer
    if header.big_endian:
        found["byte_order"] = "big"
    return found


def _generation(names: Sequence[str]) -> tuple[str, str]:
    if not _has(names, OBJECT_GRAPH_KEY):
        if _has(names, "global_step"):
            return "tf1-names", "TF1 Saver or Estimator"
        return "tf1-names", "TF1 Saver, or a low-level save"
    if _any_starts(names, "_all_variables/") and _any_starts(names, "variables/"):
        return "tf2-object-graph", "Keras 3 model.export"
    keras = ""
    if any("layer_with_weights-" in name for name in names):
        keras = ", Keras 2 model"
    elif any("_operations/" in name or "_trainable_variables/" in name for name in names):
        keras = ", Keras 3 model"
    if _has(names, "save_counter" + _VALUE):
        return "tf2-object-graph", "TF2 Checkpoint.save or CheckpointManager" + keras
    return "tf2-object-graph", "TF2 Checkpoint.write, save_weights or SavedModel variables" + keras


def _has(names: Sequence[str], name: str) -> bool:
    place = bisect_left(names, name)
    return place < len(names) and names[place] == name


def _any_starts(names: Sequence[str], start: str) -> bool:
    place = bisect_left(names, start)
    return place < len(names) and names[place].startswith(start)
