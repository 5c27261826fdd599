"""Which tensor is which across two saves."""

from __future__ import annotations

import re

import pytest

from ckptui.core.diff import match
from ckptui.core.model import Role, Tensor


def tensor(name: str, role: Role = "kernel", path: str = "", shape: tuple[int, ...] = (3, 4)) -> Tensor:
    return Tensor(name, "float32", shape, 48, role=role, object_path=path)


def names(a: list[Tensor], b: list[Tensor], pattern: str | None = None) -> list[tuple[str | None, ...]]:
    return [(x.name if x else None, y.name if y else None, how) for x, y, how in match(a, b, pattern)]


def test_equal_names_pair_in_the_order_of_the_baseline() -> None:
    a = [tensor("b"), tensor("a"), tensor("gone")]
    b = [tensor("new"), tensor("a"), tensor("b")]
    assert names(a, b) == [("b", "b", "name"), ("a", "a", "name"), ("gone", None, None), (None, "new", None)]


def test_names_that_differ_pair_by_variable_name() -> None:
    a = [tensor("layer-1/_kernel/.ATTRIBUTES/VARIABLE_VALUE", path="conv1/kernel")]
    b = [tensor("model_weights/conv1/conv1/kernel:0", path="conv1/kernel:0")]
    assert names(a, b)[0][2] == "full-name"
    assert names(a, [tensor("conv1/kernel")])[0][2] == "full-name"


def test_ambiguous_variable_names_pair_with_nobody() -> None:
    a = [tensor("x", path="conv/kernel"), tensor("y", path="conv/kernel")]
    b = [tensor("z", path="conv/kernel")]
    assert names(a, b) == [("x", None, None), ("y", None, None), (None, "z", None)]


def test_a_slot_never_pairs_with_a_weight() -> None:
    weight, slot = tensor("conv/kernel"), tensor("conv/kernel", "slot")
    assert names([weight], [slot]) == [("conv/kernel", None, None), (None, "conv/kernel", None)]
    assert names([tensor("w", path="k")], [tensor("s", "slot", path="k")])[0][1] is None
    assert names([slot], [tensor("conv/kernel", "slot")])[0][2] == "name"


def test_object_graphs_are_left_out() -> None:
    graph = tensor("_CHECKPOINTABLE_OBJECT_GRAPH", "object-graph", shape=())
    assert names([graph, tensor("a")], [graph]) == [("a", None, None)]


def test_another_shape_still_pairs() -> None:
    assert names([tensor("a")], [tensor("a", shape=(3, 5))])[0][2] == "name"


@pytest.mark.parametrize("pattern", ["conv", re.compile("^conv")])
def test_a_pattern_keeps_what_it_is_found_in(pattern: str | re.Pattern[str]) -> None:
    a = [tensor("conv/kernel"), tensor("dense/kernel"), tensor("v0", path="conv/bias")]
    b = [tensor("conv/kernel"), tensor("dense/kernel")]
    assert [m[0].name for m in match(a, b, pattern) if m[0]] == ["conv/kernel", "v0"]


def test_a_hundred_thousand_tensors_are_matched_in_linear_time() -> None:
    many = [tensor(f"layer_{i}/kernel") for i in range(100_000)]
    other = [tensor(f"block/layer_{i}/kernel", path=f"layer_{i}/kernel") for i in range(100_000)]
    matched = match(many, other)
    assert len(matched) == 100_000
    assert all(how == "full-name" for _, _, how in matched)
