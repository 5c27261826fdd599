"""Object graphs: names, slots and counters by node identity; damaged, cyclic and made to hurt."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptui.readers import object_graph
from ckptui.readers.object_graph import parse
from tests.readers.make_bundle import Node, field_bytes, graph_payload

VALUE = "VARIABLE_VALUE"
TAIL = f"/.ATTRIBUTES/{VALUE}"


def variable(full_name: str, path: str) -> Node:
    return Node(attributes=[(VALUE, full_name, path + TAIL)])


def keras3() -> list[Node]:
    """A layer and its Adam as Keras 3 lays them out: weights stored under the optimizer."""
    return [
        Node({"model": 1, "optimizer": 2, "save_counter": 3}),
        Node({"_operations": 4}),
        Node({"_variables": 5, "_trainable_variables": 6, "_iterations": 7, "_learning_rate": 8}),
        variable("save_counter", "save_counter"),
        Node({"0": 9}),
        Node({"0": 7, "1": 8, "2": 10, "3": 11, "4": 14}),
        Node({"0": 12}),
        variable("adam/iteration", "optimizer/_iterations"),
        variable("adam/learning_rate", "optimizer/_learning_rate"),
        Node({"_kernel": 12, "moving_mean": 13}),
        variable("adam/net_bn_1_kernel_momentum", "optimizer/_variables/2"),
        variable("adam/net_bn_1_kernel_velocity", "optimizer/_variables/3"),
        variable("net/bn_1/kernel", "optimizer/_trainable_variables/0"),
        variable("net/bn_1/moving_mean", "model/_operations/0/moving_mean"),
        variable("adam/nobody_knows", "optimizer/_variables/4"),
    ]


def test_weights_under_the_optimizer_are_no_slots() -> None:
    graph = parse(graph_payload(keras3()))
    assert graph.problem == ""
    assert graph.names["optimizer/_trainable_variables/0" + TAIL] == "net/bn_1/kernel"
    assert graph.roles == {
        "optimizer/_iterations" + TAIL: "counter",
        "optimizer/_learning_rate" + TAIL: "counter",
        "optimizer/_variables/2" + TAIL: "slot",
        "optimizer/_variables/3" + TAIL: "slot",
        "optimizer/_variables/4" + TAIL: "slot",
    }
    assert graph.originals == {
        "optimizer/_variables/2" + TAIL: "net/bn_1/kernel",
        "optimizer/_variables/3" + TAIL: "net/bn_1/kernel",
    }
    assert graph.model_name == "net"


def subclassed(slots: list[tuple[str, int]]) -> list[Node]:
    """Two dense layers and a normalization of a model `sub`, whose paths TensorFlow cut to `sub/kernel`."""
    weights = {"0": 4, "1": 5, "2": 6}
    return [
        Node({"alpha": 1, "zeta": 2, "norm": 3, "optimizer": 8}),
        Node({"_kernel": 4}),
        Node({"_kernel": 5}),
        Node({"gamma": 6, "moving_mean": 7}),
        variable("sub/kernel", "alpha/_kernel"),
        variable("sub/kernel", "zeta/_kernel"),
        variable("sub/gamma", "norm/gamma"),
        variable("sub/moving_mean", "norm/moving_mean"),
        Node({"_variables": 9, "_trainable_variables": 10, "_iterations": 11}),
        Node({"0": 11, **{str(n + 1): 12 + n for n in range(len(slots))}}),
        Node(weights),
        variable("adam/iteration", "optimizer/_iterations"),
        *[variable(f"adam/sub_{name}_momentum", f"optimizer/_variables/{n}") for name, n in slots],
    ]


def test_names_cut_short_are_told_by_the_slots() -> None:
    slots = [("dense_1_kernel", 1), ("dense_kernel", 2), ("batch_normalization_gamma", 3)]
    graph = parse(graph_payload(subclassed(slots)))
    assert graph.names["alpha/_kernel" + TAIL] == "sub/dense_1/kernel"
    assert graph.names["zeta/_kernel" + TAIL] == "sub/dense/kernel"
    assert graph.names["norm/gamma" + TAIL] == "sub/batch_normalization/gamma"
    assert graph.names["norm/moving_mean" + TAIL] == "sub/batch_normalization/moving_mean"
    assert graph.originals["optimizer/_variables/1" + TAIL] == "sub/dense_1/kernel"
    assert graph.model_name == "sub"


@pytest.mark.parametrize(
    "slots", [[("dense_bias", 1), ("dense_kernel", 2), ("norm_gamma", 3)], [("dense_kernel", 1)], []]
)
def test_slots_in_another_order_rename_nothing(slots: list[tuple[str, int]]) -> None:
    graph = parse(graph_payload(subclassed(slots)))
    assert graph.names["alpha/_kernel" + TAIL] == graph.names["zeta/_kernel" + TAIL] == "sub/kernel"


def test_slots_of_many_optimizers_cost_their_entries() -> None:
    long = {str(n): 3 for n in range(20_000)} | {"9" * 5000: 3}
    optimizers = [Node({"_variables": 1, "_trainable_variables": 1, "_iterations": 2})] * 2000
    nodes = [Node({"a": 2}), Node(long), variable("x/k", "x"), variable("x/k", "y"), *optimizers]
    begun = time.thread_time()
    assert parse(graph_payload(nodes)).names == {"x" + TAIL: "x/k", "y" + TAIL: "x/k"}
    assert time.thread_time() - begun < 5


def test_slot_variables_of_older_optimizers() -> None:
    slot = "v/.OPTIMIZER_SLOT/opt/m"
    nodes = [
        Node({"v": 1, "opt": 2}),
        variable("dense/kernel", "v"),
        Node({"iter": 3}, slots=[(1, "m", 4), (1, "gone", 99)]),
        variable("Adam/iter", "opt/iter"),
        variable("Adam/dense/kernel/m", slot),
    ]
    graph = parse(graph_payload(nodes))
    assert graph.roles == {slot + TAIL: "slot"}
    assert graph.originals == {slot + TAIL: "dense/kernel"}
    assert graph.model_name == ""


def test_cycles_shared_children_and_dangling_ids_are_harmless() -> None:
    nodes = [
        Node({"self": 0, "child": 1, "gone": 1 << 40}),
        Node({"parent": 0, "_variables": 0, "_iterations": 77}),
    ]
    graph = parse(graph_payload(nodes))
    assert graph.nodes[0].child("child") == 1
    assert graph.nodes[0].child("absent") is None
    assert (graph.problem, graph.roles) == ("", {})


def test_fields_in_any_order_and_unknown_ones_are_read() -> None:
    attribute = field_bytes(3, b"k" + TAIL.encode()) + field_bytes(1, VALUE.encode()) + field_bytes(2, b"a/kernel")
    child = field_bytes(2, b"name") + field_bytes(1, 1)
    node = field_bytes(9, 5) + field_bytes(2, attribute) + field_bytes(1, child)
    graph = parse(field_bytes(7, b"?") + field_bytes(1, node) + field_bytes(1, b""))
    assert graph.names == {"k" + TAIL: "a/kernel"}
    assert graph.nodes[0].children == [("name", 1)]


def test_a_damaged_node_costs_itself_only() -> None:
    payload = bytearray(graph_payload(keras3()))
    start = payload.index(b"adam/iteration")
    payload[start - 2] = 0x0B
    graph = parse(bytes(payload))
    assert "object 7" in graph.problem
    assert len(graph.nodes) == 15
    assert graph.names["model/_operations/0/moving_mean" + TAIL] == "net/bn_1/moving_mean"


@pytest.mark.parametrize("cut", range(0, 900, 37))
def test_a_cut_graph_keeps_what_comes_before(cut: int) -> None:
    payload = graph_payload(keras3())
    graph = parse(payload[:cut])
    whole = parse(payload)
    assert set(graph.names) <= set(whole.names)
    assert graph.problem or len(graph.nodes) < len(whole.nodes) or cut >= len(payload)


@given(st.binary(max_size=300), st.integers(0, 600))
def test_no_bytes_raise(patch: bytes, start: int) -> None:
    parse(patch)
    payload = bytearray(graph_payload(keras3()))
    payload[start : start + len(patch)] = patch
    parse(bytes(payload))


def test_names_that_are_no_text_are_shown_escaped() -> None:
    attribute = field_bytes(1, VALUE.encode()) + field_bytes(2, b"a\xff") + field_bytes(3, b"k")
    assert parse(field_bytes(1, field_bytes(2, attribute))).names == {"k": "a\\xff"}


def test_graphs_of_nothing_but_empty_objects_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_graph, "MAX_NODES", 1000)
    graph = parse(b"\x0a\x00" * 5000)
    assert len(graph.nodes) == 1000
    assert "1000 objects" in graph.problem


def test_many_optimizers_over_one_long_list_cost_one() -> None:
    count = 2000
    owners = [Node({"_variables": 1, "_trainable_variables": 2, "_iterations": 3}) for _ in range(count)]
    listing = Node({str(i): 4 + i for i in range(count)})
    variables = [variable("adam/" + "_" * 900, f"v/{i}") for i in range(count)]
    nodes = [Node(), listing, Node(), variable("adam/iteration", "i"), *variables, *owners]
    payload = graph_payload(nodes)
    start = time.thread_time()
    graph = parse(payload)
    assert len(graph.roles) == count + 1
    assert time.thread_time() - start < 2
