"""What a signature runs, from gathered nodes, and the layers it shows."""

from __future__ import annotations

import time
from typing import Any

from ckptui.core.graph_layers import rows_of
from ckptui.core.model import Endpoint, Operation, Signature
from ckptui.readers.graph_steps import MAX_OPERATIONS, served, take_step

SERVED = [Signature("serving_default", "predict", ("serve",), (), (Endpoint("o", "Call:0", "float32", None),))]


def node(name: str, op: str, parent: dict[str, Any] | None = None, **attributes: Any) -> dict[str, Any]:
    entries = [{"key": key, "value": value} for key, value in attributes.items()]
    return {"name": name, "op": op, "parent": {} if parent is None else parent, "attr": entries}


def call(name: str, function: str, parent: dict[str, Any] | None = None) -> dict[str, Any]:
    return node(name, "StatefulPartitionedCall", parent, f={"func": {"name": function}})


def function(name: str, home: dict[str, Any]) -> dict[str, Any]:
    return {"home": home, "signature": {"name": name}}


def test_a_signature_runs_the_functions_it_calls_and_no_others() -> None:
    graph: dict[str, Any] = {}
    library: dict[str, Any] = {}
    take_step(graph, "StatefulPartitionedCall", call("Call", "serve"))
    take_step(graph, "StatefulPartitionedCall", call("Other", "train"))
    take_step(library, "StatefulPartitionedCall", call("inner", "model", function("serve", library)))
    attributes = {"padding": {"s": b"SAME"}, "strides": {"list": {"i": [1, 2, 2, 1]}}, "T": {"type": 14}}
    model = function("model", library)
    take_step(library, "Mul", node("m/scale/mul", "Mul", model))
    take_step(library, "Conv2D", node("m/c1/Conv2D", "Conv2D", model, **attributes))
    take_step(library, "Mul", node("m/late/mul", "Mul", model))
    take_step(library, "Relu", node("m/c1/Relu", "Relu", model))
    take_step(library, "Tanh", node("m/t/Tanh", "Tanh", function("train", library)))
    found = served(graph, library, SERVED)
    assert [(one.name, one.op) for one in found] == [
        ("m/scale/mul", "Mul"),
        ("m/c1/Conv2D", "Conv2D"),
        ("m/c1/Relu", "Relu"),
    ]
    assert found[1].attributes == {"padding": "SAME", "strides": [1, 2, 2, 1], "T": "bfloat16"}
    assert [(row.name, row.class_name, dict(row.config)) for row in rows_of(found)] == [
        ("scale", "Preprocessing", {"ops": ["Mul"]}),
        ("c1", "Conv2D", {"padding": "same", "strides": [2, 2], "dtype": "bfloat16", "activation": "relu"}),
    ]


def test_functions_that_call_each_other_over_and_over_end_soon() -> None:
    graph: dict[str, Any] = {}
    library: dict[str, Any] = {}
    take_step(graph, "StatefulPartitionedCall", call("Call", "f0"))
    for n in range(60):
        for _ in range(2):
            take_step(library, "StatefulPartitionedCall", call("c", f"f{(n + 1) % 60}", function(f"f{n}", library)))
        take_step(library, "Relu", node("x/Relu", "Relu", function(f"f{n}", library)))
    begun = time.thread_time()
    assert len(served(graph, library, SERVED)) <= MAX_OPERATIONS
    assert time.thread_time() - begun < 2


def test_a_graph_traced_again_has_its_layers_names_without_the_number() -> None:
    def row(name: str, op: str) -> Operation:
        return Operation(name, op)

    again = [row("m_1/conv_1/Conv2D", "Conv2D"), row("m_1/conv_1_1/Conv2D", "Conv2D"), row("m_1/d_1/MatMul", "MatMul")]
    assert [one.name for one in rows_of(again)] == ["conv", "conv_1", "d"]
    once = [row("m/conv/Conv2D", "Conv2D"), row("m/conv_1/Conv2D", "Conv2D")]
    assert [one.name for one in rows_of(once)] == ["conv", "conv_1"]


def test_a_dilation_that_is_laid_out_in_space_says_nothing_of_padding() -> None:
    plain = {"padding": "VALID", "strides": [1, 1, 1, 1], "dilations": [1, 1, 1, 1]}
    spaced = [Operation("m/c/SpaceToBatchND", "SpaceToBatchND"), Operation("m/c/Conv2D", "Conv2D", plain)]
    (one,) = rows_of(spaced)
    assert "padding" not in one.config
    assert "dilation_rate" not in one.config
    (other,) = rows_of([Operation("c", "Conv2D", {**plain, "data_format": "NCHW", "strides": [1, 1, 3, 3]})])
    assert (other.name, other.config["strides"]) == ("c", [3, 3])
