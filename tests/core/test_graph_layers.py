"""Layers as graphs show them: scales of the input, ops that can't tell their layer's padding, names traced again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptui.core.graph_layers import rows_of
from ckptui.core.graph_partners import partners
from ckptui.core.graph_scales import configured, scaling
from ckptui.core.model import ArchitectureRow, Operation


def step(name: str, op: str, **attributes: Any) -> Operation:
    return Operation(name, op, {"T": "float32", **attributes})


def by(name: str, op: str, *operand: float, of: str = "x", first: bool = False) -> Operation:
    return step(name, op, operand=list(operand), operand_first=first, of=of)


def layer(name: str, kind: str, **config: Any) -> ArchitectureRow:
    return ArchitectureRow(name, kind, config=config)


NUMBER = st.floats(-1e3, 1e3).filter(lambda value: abs(value) > 1e-3)


@given(st.lists(st.tuples(st.sampled_from(["Mul", "AddV2", "Sub", "RealDiv"]), NUMBER, st.booleans()), max_size=5))
def test_a_chain_of_arithmetic_is_one_factor_and_one_offset(chain: list[tuple[str, float, bool]]) -> None:
    x = np.array([0.25, 3.0])
    steps, y = [], x
    for number, (op, value, first) in enumerate(chain):
        first = first and op != "RealDiv"
        steps.append(by(f"s/{number}", op, value, of=f"s/{number - 1}" if number else "x", first=first))
        y = {"Mul": y * value, "AddV2": y + value, "Sub": value - y if first else y - value, "RealDiv": y / value}[op]
    told = scaling(steps)
    assert told["scale"] * x + told["offset"] == pytest.approx(y, rel=1e-9, abs=1e-6)


@pytest.mark.parametrize(
    "steps",
    [
        [by("s/a", "Mul", 2), by("s/b", "AddV2", 1, of="elsewhere")],
        [step("s/a", "Mul")],
        [by("s/a", "RealDiv", 1, first=True)],
        [by("s/a", "RealDiv", 0)],
        [by("s/a", "Mul", 1, 2), by("s/b", "AddV2", 1, 2, 3, of="s/a")],
        [by("s/a", "Mul", float("nan"))],
        [Operation("s/a", "Mul", {"T": "half", "operand": [0.5], "of": "x"})],
        [step("s/a", "Mul", operand="2", of=3)],
    ],
)
def test_what_is_no_factor_and_offset_is_told_by_its_ops_alone(steps: list[Operation]) -> None:
    assert scaling(steps) == {"ops": [one.op for one in steps]}


def test_what_prepares_the_input_is_compared_with_the_layers_numbers() -> None:
    graph = rows_of([by("m/r_1/mul", "Mul", np.float32(1 / 255).item()), by("m/r_1/add", "AddV2", 0.0, of="m/r_1/mul")])
    ((ours, theirs),) = partners([layer("r", "Rescaling", scale=1 / 255)], graph)
    assert ours.config["scale"] == pytest.approx(theirs.config["scale"], rel=1e-6)
    # under another name too, while there is but one
    assert len(list(partners([layer("other", "Rescaling", scale=1 / 255)], graph))) == 1
    assert not list(partners([layer("one", "Rescaling"), layer("two", "Rescaling")], graph))
    assert configured("Normalization", {"mean": [[[3.0, 3.0]]], "variance": [4.0, 4.0]}) == {
        "scale": 0.5,
        "offset": -1.5,
    }
    assert configured("Normalization", {"mean": None, "variance": None}) is None
    assert configured("Normalization", {"mean": 1.0, "variance": 1.0, "invert": True}) is None
    assert configured("Rescaling", {"scale": "large"}) is None


def test_a_separable_convolution_is_told_by_its_depthwise_part() -> None:
    sizes = {"strides": [1, 2, 2, 1]}
    graph = rows_of(
        [
            step("m/s_1/separable_conv2d/depthwise", "DepthwiseConv2dNative", padding="SAME", **sizes),
            step("m/s_1/separable_conv2d", "Conv2D", padding="VALID", strides=[1, 1, 1, 1]),
            step("m/d_1/separable_conv2d/SpaceToBatchND", "SpaceToBatchND"),
            step("m/d_1/separable_conv2d/depthwise", "DepthwiseConv2dNative", padding="VALID", strides=[1, 1, 1, 1]),
            step("m/d_1/separable_conv2d", "Conv2D", padding="VALID", strides=[1, 1, 1, 1]),
            step("m/c_1/convolution/SpaceToBatchND", "SpaceToBatchND"),
            step("m/c_1/convolution", "Conv2D", padding="VALID", strides=[1, 1, 1, 1]),
        ]
    )
    assert [(row.name, row.class_name, row.config.get("padding"), row.config["strides"]) for row in graph] == [
        ("s", "SeparableConv2D", "same", [2, 2]),
        ("d", "SeparableConv2D", None, [1, 1]),
        ("c", "Conv2D", None, [1, 1]),
    ]
    same = layer("s", "SeparableConv2D", padding="same", strides=2)
    assert [set(theirs.config) for _, theirs in partners([same], graph)] == [{"padding", "strides"}]
    # another class under the name computes something else
    assert not list(partners([layer("s", "Conv2D", padding="valid"), layer("c", "Conv2DTranspose")], graph))


def test_ops_of_one_scope_that_differ_speak_for_no_layer() -> None:
    (row,) = rows_of(
        [
            step("b/one", "Conv2D", padding="SAME", strides=[1] * 4),
            step("b/two", "Conv2D", padding="VALID", strides=[1] * 4),
        ]
    )
    assert "padding" not in row.config
    assert row.config["strides"] == [1, 1]


def test_names_traced_again_are_told_apart_by_what_is_left() -> None:
    layers = [layer(name, "Conv2D", strides=n, activation="linear") for n, name in enumerate(["c", "c_1"], 1)]
    graph = [layer("c_1", "Conv2D", strides=1), layer("c_1_2", "Conv2D", strides=2)]
    assert [(a.name, b.name) for a, b in sorted(partners(layers, graph), key=lambda pair: pair[0].name)] == [
        ("c", "c_1"),
        ("c_1", "c_1_2"),
    ]
    # nothing tells whose it is
    assert not list(partners(layers, graph[:1]))


def test_epsilon_and_slope() -> None:
    graph = rows_of(
        [
            by("m/bn/batchnorm/add", "AddV2", 0.01, of="m/bn/ReadVariableOp"),
            step("m/fused/FusedBatchNormV3", "FusedBatchNormV3", epsilon=1.001e-5, is_training=False),
            Operation("m/l/LeakyRelu", "LeakyRelu", {"alpha": 0.25}),
        ]
    )
    layers = [
        layer("bn", "BatchNormalization", epsilon=1e-3),
        layer("fused", "BatchNormalization", epsilon=1e-6),
        layer("l", "LeakyReLU", alpha=0.1),
    ]
    told = {a.name: (dict(a.config), dict(b.config)) for a, b in partners(layers, graph)}
    assert told == {
        "bn": ({"epsilon": 1e-3}, {"epsilon": 0.01}),
        "l": ({"negative_slope": 0.1}, {"negative_slope": 0.25}),
    }
