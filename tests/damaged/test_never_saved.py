"""Weights that a checkpoint was meant to hold and does not: told from the object graph, never called corrupt."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui.core.model import Finding
from ckptui.readers import unsaved
from ckptui.readers.bundle import open_bundle
from ckptui.readers.object_graph import parse
from ckptui.readers.unsaved import never_saved
from tests.readers.make_bundle import Node, graph_payload, strings, write_bundle

KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
TAIL = "/.ATTRIBUTES/VARIABLE_VALUE"


def findings(prefix: Path | str) -> list[Finding]:
    return [f for f in open_bundle(str(prefix)).listing().findings if f.code == "weights-never-saved"]


def written(folder: Path, nodes: list[Node], **tensors: Any) -> str:
    """A checkpoint of these objects; `tensors` by key without its tail."""
    content = {name + TAIL: value for name, value in tensors.items()}
    return write_bundle(folder / "ckpt", {**content, KEY: strings([graph_payload(nodes)], ())})


def variable(name: str, key: str) -> Node:
    return Node(attributes=[("VARIABLE_VALUE", name, key + TAIL)])


def optimizer_of(weights: list[tuple[str, str]]) -> tuple[list[Node], dict[str, Any]]:
    """A model without children, a built Adam that trains `weights` (layer, own name), and what is stored."""
    count = len(weights)
    first_slot, first_weight = 9, 9 + count
    rows = {str(place): first_slot + place for place in range(count)}
    trained = {str(place): first_weight + place for place in range(count)}
    nodes = [
        Node({"model": 1, "optimizer": 2}),
        Node({"optimizer": 2}),
        Node({"_variables": 3, "_trainable_variables": 4, "_iterations": 5, "_learning_rate": 6, "_momentums": 7}),
        Node({"0": 5, "1": 6, **{str(2 + place): first_slot + place for place in range(count)}}),
        Node(trained),
        variable("adam/iteration", "optimizer/_iterations"),
        variable("adam/learning_rate", "optimizer/_learning_rate"),
        Node(rows),
        Node(),
    ]
    stored: dict[str, Any] = {"optimizer/_iterations": np.int64(3), "optimizer/_learning_rate": np.float32(0.1)}
    for place, (layer, own) in enumerate(weights):
        leaf = own.rpartition("/")[2]
        nodes.append(variable(f"adam/{layer}_{leaf}_momentum", f"optimizer/_variables/{2 + place}"))
        stored[f"optimizer/_variables/{2 + place}"] = np.zeros(2, np.float32)
    for place, (_, own) in enumerate(weights):
        nodes.append(variable(own, f"optimizer/_trainable_variables/{place}"))
        stored[f"optimizer/_trainable_variables/{place}"] = np.ones(2, np.float32)
    return nodes, stored


# ---------------------------------------------------------------------- bytes made here


def test_statistics_are_gone_when_only_the_optimizer_has_the_weights(tmp_path: Path) -> None:
    nodes, stored = optimizer_of([("net_bn_1", "net/gamma"), ("net_bn_1", "net/beta"), ("net_dense", "net/kernel")])
    (found,) = findings(written(tmp_path, nodes, **stored))
    assert (found.severity, found.certainty) == ("error", "confirmed")
    assert found.evidence["node"] == "model"
    assert found.evidence["optimizer"] == "optimizer"
    assert (found.evidence["trained"], found.evidence["only_in_optimizer"]) == (3, 3)
    assert found.evidence["weights"] == ["net/gamma", "net/beta", "net/kernel"]
    assert found.evidence["layers"] == ["net_bn_1", "net_dense"]
    assert found.evidence["not_in_file"] == ["net_bn_1/moving_mean", "net_bn_1/moving_variance"]
    assert "not in the file" in found.advice
    assert "corrupt" not in f"{found.title} {found.detail} {found.advice}".lower()


def test_without_statistics_it_is_a_warning(tmp_path: Path) -> None:
    nodes, stored = optimizer_of([("net_dense", "net/kernel"), ("net_dense", "net/bias")])
    (found,) = findings(written(tmp_path, nodes, **stored))
    assert (found.severity, found.certainty) == ("warning", "likely")
    assert found.evidence["not_in_file"] == []
    assert found.title == "Weights are in the file through the optimizer only"


def test_weights_that_the_model_reaches_are_no_finding(tmp_path: Path) -> None:
    nodes, stored = optimizer_of([("net_dense", "net/kernel")])
    nodes[1] = Node({"optimizer": 2, "dense": 8})
    nodes[8] = Node({"_kernel": 10})
    assert findings(written(tmp_path, nodes, **stored)) == []


def test_an_optimizer_alone_promises_no_model(tmp_path: Path) -> None:
    nodes, stored = optimizer_of([("net_bn", "net/gamma")])
    nodes[0] = Node({"optimizer": 2})
    assert findings(written(tmp_path, nodes, **stored)) == []


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("model", True),
        ("my_encoder", True),
        ("generator2", True),
        ("flatten", False),
        ("aug", False),
        ("layer-2", False),
    ],
)
def test_something_tracked_as_a_model_is_expected_to_have_weights(tmp_path: Path, name: str, told: bool) -> None:
    nodes = [Node({name: 1, "step": 2}), Node(), variable("step", "step")]
    found = findings(written(tmp_path, nodes, step=np.int64(7)))
    assert [(f.severity, f.certainty, f.evidence["node"]) for f in found] == [("error", "likely", name)] * told


def test_a_file_without_one_variable(tmp_path: Path) -> None:
    counter = variable("save_counter", "save_counter")
    (empty,) = findings(
        written(tmp_path, [Node({"model": 1, "save_counter": 2}), Node(), counter], save_counter=np.int64(1))
    )
    assert (empty.severity, empty.certainty, empty.evidence["variables"]) == ("error", "likely", 0)
    (tmp_path / "b").mkdir()
    (layered,) = findings(written(tmp_path / "b", [Node({"model": 1}), Node({"dense": 2, "drop": 3}), Node(), Node()]))
    assert (layered.severity, layered.certainty) == ("warning", "possible")
    assert layered.evidence["without_variables"] == ["model/dense", "model/drop"]


def test_a_checkpoint_of_nothing_is_no_error(tmp_path: Path) -> None:
    nodes = [Node({"save_counter": 1}), variable("save_counter", "save_counter")]
    prefix = written(tmp_path, nodes, save_counter=np.int64(1))
    [finding] = findings(prefix)
    assert (finding.code, finding.severity, finding.certainty) == ("weights-never-saved", "warning", "possible")


def test_a_functional_model_without_weights_has_none(tmp_path: Path) -> None:
    nodes = [Node({"model": 1}), Node({"_operations": 2}), Node({"0": 3}), Node()]
    assert findings(written(tmp_path, nodes)) == []


def test_state_that_is_no_variable_counts(tmp_path: Path) -> None:
    nodes = [Node({"model": 1}), Node(attributes=[("ITERATOR", "", "model/.ATTRIBUTES/ITERATOR")])]
    assert findings(written(tmp_path, nodes)) == []


def test_a_variable_without_a_value(tmp_path: Path) -> None:
    nodes = [Node({"a": 1, "b": 2}), variable("a", "a"), variable("b", "b")]
    (found,) = findings(written(tmp_path, nodes, a=np.float32(1)))
    assert (found.tensor, found.evidence["not_in_file"]) == (f"b{TAIL}", [f"b{TAIL}"])
    assert found.evidence["tensorflow_says"] == f"Key b{TAIL} not found in checkpoint"


def test_a_damaged_index_or_graph_is_not_judged(tmp_path: Path) -> None:
    prefix = written(tmp_path, [Node({"model": 1}), Node()])
    data = tmp_path / "ckpt.data-00000-of-00001"
    whole = data.read_bytes()
    data.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert findings(prefix) == []
    data.write_bytes(whole)
    assert len(findings(prefix)) == 1
    index = tmp_path / "ckpt.index"
    flipped = bytearray(index.read_bytes())
    flipped[20] ^= 1
    index.write_bytes(flipped)
    assert findings(prefix) == []


def test_large_and_cyclic_graphs_cost_little() -> None:
    ring = [Node({"next": (n + 1) % 50_000, "model": n // 2}) for n in range(50_000)]
    graph = parse(graph_payload(ring))
    start = time.process_time()
    never_saved(graph, "x", [KEY])
    assert time.process_time() - start < 2
    graph.nodes *= 1 + unsaved.MAX_NODES // len(graph.nodes)
    assert never_saved(graph, "x", [KEY]) == []


# ---------------------------------------------------------------------- written by TensorFlow and Keras 3

ONLY_OPTIMIZER = "Weights are in the file through the optimizer only"
NEVER = "Weights of the model were never saved"
KERAS: dict[str, tuple[str, str, str] | None] = {
    "listed": ("error", "likely", NEVER),
    "keyed": ("error", "likely", NEVER),
    "half": None,
    "nested": None,
    "proper": None,
    "listed_optimizer": ("warning", "likely", ONLY_OPTIMIZER),
    "keyed_optimizer": ("error", "confirmed", NEVER),
    "half_optimizer": ("error", "confirmed", NEVER),
    "nested_optimizer": ("warning", "likely", ONLY_OPTIMIZER),
    "proper_optimizer": None,
    "listed_compiled": ("warning", "likely", ONLY_OPTIMIZER),
    "keyed_compiled": ("error", "confirmed", NEVER),
    "half_compiled": ("error", "confirmed", NEVER),
    "nested_compiled": ("warning", "likely", ONLY_OPTIMIZER),
    "proper_compiled": None,
    "listed_step-1": ("error", "likely", NEVER),
    "listed_root-1": ("error", "likely", NEVER),
    "unbuilt": ("warning", "possible", NEVER),
    "weightless": None,
    "sequential_optimizer": None,
    "module": None,
    "optimizer_only": None,
}
"""What is told of each checkpoint. Without an optimizer nothing in the files of `half` and `nested` gives them away."""


def test_real_checkpoints_are_told_as_they_are(exports: Path) -> None:
    folder = exports / "checkpoints"
    assert {path.name.removesuffix(".index") for path in folder.glob("*.index")} == set(KERAS)
    told = {}
    for name in KERAS:
        found = findings(folder / name)
        assert len(found) <= 1
        told[name] = (found[0].severity, found[0].certainty, found[0].title) if found else None
    assert told == KERAS


def test_keras_restores_such_a_checkpoint_without_a_word_and_without_the_weights(exports: Path) -> None:
    assert json.loads((exports / "checkpoints" / "restored.json").read_text()) == {"consumed": True, "same": False}


def test_the_layers_and_what_is_gone_are_named(exports: Path) -> None:
    (found,) = findings(exports / "checkpoints" / "half_optimizer")
    dense, norm = found.evidence["layers"]
    assert "dense" in dense
    assert "batch_normalization" in norm
    assert found.evidence["not_in_file"] == [f"{norm}/moving_mean", f"{norm}/moving_variance"]
    assert (found.evidence["trained"], found.evidence["only_in_optimizer"]) == (6, 4)
    (nested,) = findings(exports / "checkpoints" / "nested_optimizer")
    assert nested.evidence["without_variables"] == ["model/loose"]
    assert [name.rpartition("/")[2] for name in nested.evidence["weights"]] == ["w0", "w1"]


def test_exports_of_the_same_models_hold_everything(exports: Path) -> None:
    for name in ("keras", "keras_export", "keras_listed"):
        assert findings(exports / name / "variables" / "variables") == []
    names = open_bundle(str(exports / "keras_listed" / "variables" / "variables")).names
    assert sum(name.startswith("blocks/") for name in names) == 4
