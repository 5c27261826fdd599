"""Configurations of layers compared: one form for every Keras, no finding where nothing says so."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ckptui.core.configs import MOST_FINDINGS, config_findings
from ckptui.core.layer_fields import counting, same_value, shown
from ckptui.core.layer_order import aligned
from ckptui.core.model import ArchitectureRow, Artifact, Finding, Listing
from ckptui.readers.keras_config import architecture_rows

Layer = dict[str, Any]


def listing(rows: Sequence[ArchitectureRow], path: str = "m.h5") -> Listing:
    return Listing(Artifact(path, "keras-h5", path, None, 0, 1, 0, 0, 0.0), (), architecture=tuple(rows))


def model(*layers: Layer, kind: str = "Sequential") -> Listing:
    return listing(architecture_rows({"class_name": kind, "config": {"name": "m", "layers": list(layers)}}, ()))


def layer(class_name: str, name: str, inbound: Any = None, **config: Any) -> Layer:
    told: Layer = {"class_name": class_name, "config": {"name": name, **config}, "name": name}
    return told if inbound is None else {**told, "inbound_nodes": inbound}


def said(a: Listing, b: Listing) -> list[str]:
    return [finding.title for finding in config_findings(a, b)]


KERAS_1 = [
    layer("Convolution2D", "c", border_mode="same", subsample=[2, 2], nb_filter=8, nb_row=3, nb_col=3, bias=True,
          activation="relu", dim_ordering="tf", batch_input_shape=[None, 8, 8, 1]),
    layer("BatchNormalization", "bn", axis=-1, epsilon=0.001, mode=0, momentum=0.9),
    layer("Dense", "d", output_dim=4, activation="softmax", bias=True, input_dim=8),
]  # fmt: skip
KERAS_2 = [
    layer("Conv2D", "c", padding="same", strides=[2, 2], filters=8, kernel_size=[3, 3], use_bias=True,
          activation="relu", data_format="channels_last", dtype="float32", dilation_rate=[1, 1], trainable=True,
          batch_input_shape=[None, 8, 8, 1], kernel_initializer={"class_name": "GlorotUniform", "config": {}}),
    layer("BatchNormalization", "bn", axis=[3], epsilon=0.0010000000474974513, momentum=0.99, center=True, scale=True,
          dtype="float32"),
    layer("LeakyReLU", "leaky", alpha=0.30000001192092896, dtype="float32"),
    layer("MaxPooling2D", "p", pool_size=[2, 2], padding="valid", strides=None, dtype="float32"),
    layer("Flatten", "f", dtype="float32"),
    layer("Dropout", "drop", rate=0.5, dtype="float32"),
    layer("Dense", "d", units=4, activation="softmax", use_bias=True, dtype="float32"),
    layer("Activation", "out", activation="swish"),
]  # fmt: skip
POLICY = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}, "registered_name": None}
KERAS_3 = [
    layer("InputLayer", "input_layer", batch_shape=[None, 8, 8, 1], dtype="float32", optional=False),
    layer("Conv2D", "c", padding="same", strides=2, filters=8, kernel_size=[3, 3], use_bias=True, groups=1,
          activation="relu", data_format="channels_last", dtype=POLICY, dilation_rate=1,
          kernel_initializer={"module": "keras.initializers", "class_name": "HeNormal", "config": {"seed": 3}},
          quantization_config=None),
    layer("BatchNormalization", "bn", axis=-1, epsilon=0.001, momentum=0.9, center=True, scale=True, dtype=POLICY,
          synchronized=False, renorm=False, trainable=False),
    layer("LeakyReLU", "leaky", negative_slope=0.3, dtype=POLICY),
    layer("MaxPooling2D", "p", pool_size=2, padding="valid", strides=2, dtype=POLICY, data_format="channels_last"),
    layer("Flatten", "f", dtype=POLICY),
    layer("Dropout", "drop", rate=0.1, dtype=POLICY, seed=3, noise_shape=None),
    layer("Dense", "d", units=4, use_bias=True, dtype=POLICY,
          activation={"module": "builtins", "class_name": "function", "config": "softmax"}),
    layer("Activation", "out", activation="silu"),
]  # fmt: skip


def test_one_model_of_three_generations_of_keras_has_no_finding() -> None:
    assert said(model(*KERAS_2), model(*KERAS_3)) == []
    assert said(model(*KERAS_3), model(*KERAS_2)) == []
    few = [KERAS_2[0], KERAS_2[1], KERAS_2[6]]
    assert said(model(*KERAS_1), model(*few)) == []
    assert said(model(*KERAS_2, kind="Functional"), model(*KERAS_3, kind="Model")) == []


CHANGES: list[tuple[str, str, Any, str]] = [
    ("c", "padding", "valid", "c: padding same against valid"),
    ("c", "strides", [1, 1], "c: strides 2 against 1"),
    ("c", "strides", [2, 1], "c: strides 2 against 2 x 1"),
    ("c", "groups", 2, "c: groups 1 against 2"),
    ("c", "activation", None, "c: activation relu against linear"),
    ("c", "activation", {"class_name": "LeakyReLU", "config": {"negative_slope": 0.1}},
     "c: activation relu against LeakyReLU(negative_slope=0.1)"),
    ("c", "dtype", "mixed_float16", "c: dtype policy float32 against mixed_float16"),
    ("c", "data_format", "channels_first", "c: data format channels_last against channels_first"),
    ("bn", "epsilon", 0.1, "bn: epsilon 0.001 against 0.1"),
    ("bn", "axis", 1, "bn: axis -1 against -3"),
    ("bn", "center", False, "bn: center yes against no"),
    ("leaky", "negative_slope", 0.01, "leaky: negative slope 0.3 against 0.01"),
    ("p", "pool_size", [2, 3], "p: pool size 2 against 2 x 3"),
    ("p", "padding", "same", "p: padding valid against same"),
    ("d", "units", 5, "d: units 4 against 5"),
    ("out", "activation", "gelu", "out: activation silu against gelu"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "field", "value", "title"), CHANGES, ids=[c[3] for c in CHANGES])
def test_a_changed_field_is_told_across_generations(name: str, field: str, value: Any, title: str) -> None:
    changed = copy.deepcopy(KERAS_3)
    next(one for one in changed if one["name"] == name)["config"][field] = value
    assert said(model(*KERAS_2), model(*changed)) == [title]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_field_that_one_side_leaves_out_says_nothing(data: st.DataObject) -> None:
    """Of most fields nobody knows what an absent one means; where Keras' default is known it is what was written."""
    less = copy.deepcopy(KERAS_3)
    for one in less:
        names = sorted(set(one["config"]) - {"name"})
        left_out = data.draw(st.integers(0, 2 ** len(names) - 1))
        for number, name in enumerate(names):
            if not left_out >> number & 1:
                continue
            # strides and padding have known defaults, and are not at them
            if (one["name"], name) not in {
                ("c", "padding"),
                ("c", "strides"),
                ("d", "activation"),
                ("c", "activation"),
            }:
                del one["config"][name]
    assert said(model(*KERAS_3), model(*less)) == []


def test_layers_are_found_where_names_are_numbered_and_others_come_between() -> None:
    rows = ["conv2d", "conv2d_1", "dense"]
    a = [layer("Conv2D", rows[0], filters=4), layer("Conv2D", rows[1], filters=8), layer("Dense", rows[2], units=2)]
    b = [
        layer("Rescaling", "rescaling_4", scale=1 / 255, offset=0.0),
        layer("Conv2D", "conv2d_1", filters=4),
        layer("Conv2D", "conv2d_2", filters=8, padding="same"),
        layer("Dense", "dense_7", units=2),
    ]
    assert said(model(*a), model(*b)) == [
        "conv2d_2: padding valid against same",
        "B starts with Rescaling(scale 0.00392157), A does not",
    ]


def test_layers_added_taken_away_and_moved_are_told() -> None:
    a = [
        layer("Dense", "one", units=3),
        layer("ReLU", "act"),
        layer("Dense", "two", units=3),
        layer("Dense", "x", units=3),
    ]
    assert said(model(*a), model(a[0], a[2], a[3])) == ["A has ReLU act, B does not"]
    assert said(model(a[0], a[2], a[3]), model(*a)) == ["B has ReLU act, A does not"]
    assert said(model(*a), model(a[0], a[2], a[1], a[3])) == [
        "act stands elsewhere: behind one against behind two"
    ] or said(model(*a), model(a[0], a[2], a[1], a[3])) == ["two stands elsewhere: behind act against behind one"]


def test_wiring_is_compared_through_what_passes_its_input_on() -> None:
    def wired(source: str, *, keras_3: bool) -> Listing:
        def from_(*names: str) -> Any:
            if keras_3:
                told = [{"class_name": "__keras_tensor__", "config": {"keras_history": [n, 0, 0]}} for n in names]
                return [{"args": [told if len(told) > 1 else told[0]], "kwargs": {}}]
            return [[[n, 0, 0, {}] for n in names]]

        return model(
            layer("InputLayer", "in", [], batch_input_shape=[None, 4]),
            layer("Dense", "a", from_("in"), units=4),
            layer("Dense", "b", from_("a"), units=4),
            layer("Dropout", "drop", from_("b"), rate=0.5),
            layer("Add", "sum", from_("drop" if source == "b" else source, "a"), dtype="float32"),
            layer("Dense", "c", from_("sum"), units=4),
            kind="Functional",
        )

    assert said(wired("b", keras_3=False), wired("b", keras_3=True)) == []
    assert said(wired("b", keras_3=False), wired("in", keras_3=True)) == ["sum: takes b, a against the input, a"]


def test_without_an_architecture_on_both_sides_there_is_no_finding() -> None:
    bare = listing(())
    assert said(bare, model(*KERAS_3)) == said(model(*KERAS_3), bare) == said(bare, bare) == []


def test_other_architectures_are_one_finding_and_many_changes_are_capped() -> None:
    a = [layer("Dense", f"a{n}", units=n) for n in range(200)]
    (title,) = said(model(*a), model(*KERAS_3))
    assert title.startswith("Other layers: ")
    b = [layer("Dense", f"a{n}", units=n + 1) for n in range(200)]
    told = said(model(*a), model(*b))
    assert len(told) == MOST_FINDINGS + 1
    assert told[-1] == "150 more layers are configured differently"


def test_a_lambda_of_another_code_is_only_possible() -> None:
    def lambdas(code: str) -> Listing:
        return model(layer("Lambda", "f", function={"class_name": "__lambda__", "config": {"code": code}}))

    assert said(lambdas("4wEA\n"), lambdas("4wEA")) == []
    (one,) = config_findings(lambdas("4wEA"), lambdas("5xEA"))
    assert (one.severity, one.certainty) == ("info", "possible")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["padding", "strides", "activation", "axis", "dtype", "function", "cell", "epsilon", "batch_shape", "mean"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["Conv2D", "RNN", "Lambda", "Normalization", "x>y", "InputLayer", "Add", "Dropout"]),
            st.text(max_size=4),
            st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=4), json_values, max_size=5),
            st.lists(st.lists(st.text(max_size=4), max_size=3).map(tuple), max_size=2).map(tuple),
        ),
        max_size=6,
    )
)
def test_whatever_a_config_holds_it_equals_itself(rows: list[tuple[str, str, Mapping[str, Any], Any]]) -> None:
    made = [ArchitectureRow(name, kind, config=config, inbound=inbound) for kind, name, config, inbound in rows]
    one, other = listing(made), listing([*made[1:], *made[:1]])
    told: list[Finding] = config_findings(one, other)
    assert all(finding.code == "config-changed" for finding in told)
    names = [(row.depth, row.name) for row in made]
    if len(set(names)) == len(names) and not _has_nan(rows):
        assert said(one, one) == []


def _has_nan(value: Any) -> bool:
    if isinstance(value, float):
        return value != value
    if isinstance(value, Mapping):
        return any(map(_has_nan, value.values()))
    return isinstance(value, (list, tuple)) and any(map(_has_nan, value))


def test_thousands_of_layers_are_aligned_in_time() -> None:
    a = [ArchitectureRow(f"dense_{n}", "Dense" if n % 3 else "ReLU") for n in range(20_000)]
    b = [ArchitectureRow(f"dense_{n}", "Dense" if n % 4 else "ReLU") for n in range(20_000)]
    begun = time.thread_time()
    fit = aligned(a, b)
    assert time.thread_time() - begun < 5
    assert len(fit.pairs) == len(set(fit.pairs))


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (1, 1.0, True),
        (0.001, 0.0010000000474974513, True),
        (True, 1, True),
        ([1, 2], [1, 2.0], True),
        ("a", "b", False),
    ],
)
def test_values_are_one_within_float32(a: Any, b: Any, same: bool) -> None:
    assert same_value(a, b) is same


def test_words_for_values_are_short() -> None:
    assert shown("x" * 100).endswith("…")
    assert (shown(True), shown(1 / 255), shown([1, 2])) == ("yes", "0.00392157", "1 x 2")
    assert counting("MaxPooling2D", {"pool_size": [2, 2], "strides": None})["strides"] == 2
