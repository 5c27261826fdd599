"""Keras architectures: layers in order, shapes through the graph, nested models, hostile configs."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from ckptui.core.model import ArchitectureRow, Tensor
from ckptui.errors import Damaged
from ckptui.readers.keras_config import architecture_rows, load_config, parse, snake_case
from ckptui.readers.keras_layer_shapes import layer_outputs
from ckptui.readers.keras_unsafe import unsafe_layers
from ckptui.readers.keras_variables import guess_names, initializer_of, variables
from tests.places import CORPUS, needs_corpus
from tests.readers.keras_files import digits_config, layer, sequential


def shapes(config: dict[str, Any]) -> dict[str, tuple[int | None, ...] | None]:
    return {row.name: row.output_shape for row in architecture_rows(config, ())}


IMAGE = (None, 28, 30, 3)

LAYERS: list[tuple[str, dict[str, Any], tuple[int | None, ...], tuple[int | None, ...] | None]] = [
    ("Conv2D", {"filters": 8, "kernel_size": [3, 3]}, IMAGE, (None, 26, 28, 8)),
    (
        "Conv2D",
        {"filters": 8, "kernel_size": 3, "padding": "same", "strides": [2, 2]},
        IMAGE,
        (None, 14, 15, 8),
    ),
    ("Conv2D", {"filters": 8, "kernel_size": 3, "dilation_rate": [2, 2]}, IMAGE, (None, 24, 26, 8)),
    ("Conv2D", {"filters": 8, "kernel_size": 3}, (None, None, None, 3), (None, None, None, 8)),
    (
        "Conv2D",
        {"filters": 8, "kernel_size": 3, "data_format": "channels_first"},
        (None, 3, 28, 30),
        (None, 8, 26, 28),
    ),
    ("Conv1D", {"filters": 4, "kernel_size": [5], "padding": "causal"}, (None, 20, 2), (None, 20, 4)),
    ("Conv3D", {"filters": 4, "kernel_size": [3, 3, 3]}, (None, 9, 9, 9, 1), (None, 7, 7, 7, 4)),
    (
        "Conv2D",
        {"nb_filter": 8, "nb_row": 3, "nb_col": 5, "border_mode": "valid", "dim_ordering": "tf"},
        IMAGE,
        (None, 26, 26, 8),
    ),
    ("DepthwiseConv2D", {"kernel_size": [3, 3], "depth_multiplier": 2}, IMAGE, (None, 26, 28, 6)),
    ("SeparableConv2D", {"filters": 5, "kernel_size": [3, 3]}, IMAGE, (None, 26, 28, 5)),
    (
        "Conv2DTranspose",
        {"filters": 5, "kernel_size": 3, "strides": 2, "padding": "same"},
        IMAGE,
        (None, 56, 60, 5),
    ),
    ("Conv2DTranspose", {"filters": 5, "kernel_size": 3, "strides": 2}, IMAGE, (None, 57, 61, 5)),
    ("MaxPooling2D", {"pool_size": [2, 2], "strides": [2, 2]}, (None, 7, 9, 4), (None, 3, 4, 4)),
    (
        "AveragePooling2D",
        {"pool_size": [3, 3], "strides": None, "padding": "same"},
        (None, 7, 9, 4),
        (None, 3, 3, 4),
    ),
    ("GlobalAveragePooling2D", {}, IMAGE, (None, 3)),
    ("GlobalMaxPooling2D", {"keepdims": True}, IMAGE, (None, 1, 1, 3)),
    ("Flatten", {}, (None, 4, 5, 6), (None, 120)),
    ("Flatten", {}, (None, None, 5), (None, None)),
    ("Dense", {"units": 10}, (None, 7, 4), (None, 7, 10)),
    ("BatchNormalization", {}, IMAGE, IMAGE),
    ("Reshape", {"target_shape": [2, -1]}, (None, 12), (None, 2, 6)),
    ("Permute", {"dims": [2, 1]}, (None, 3, 4), (None, 4, 3)),
    ("RepeatVector", {"n": 5}, (None, 3), (None, 5, 3)),
    ("ZeroPadding2D", {"padding": [[1, 2], [3, 4]]}, IMAGE, (None, 31, 37, 3)),
    ("ZeroPadding1D", {"padding": [1, 2]}, (None, 5, 3), (None, 8, 3)),
    ("Cropping2D", {"cropping": 2}, IMAGE, (None, 24, 26, 3)),
    ("UpSampling2D", {"size": [2, 3]}, IMAGE, (None, 56, 90, 3)),
    ("Embedding", {"input_dim": 99, "output_dim": 16}, (None, 12), (None, 12, 16)),
    ("LSTM", {"units": 6, "return_sequences": True}, (None, 12, 3), (None, 12, 6)),
    ("GRU", {"units": 6}, (None, 12, 3), (None, 6)),
    ("LSTM", {"units": 6, "return_state": True}, (None, 12, 3), None),
    ("Resizing", {"height": 10, "width": 12}, IMAGE, (None, 10, 12, 3)),
    ("Lambda", {}, IMAGE, None),
    ("MadeUp", {"units": 3}, IMAGE, None),
    # What makes no sense gives no shape and no exception.
    ("Conv2D", {"filters": "many", "kernel_size": [3, 3]}, IMAGE, None),
    ("Conv2D", {"filters": 8, "kernel_size": [3]}, IMAGE, None),
    ("MaxPooling2D", {"strides": [0, 0]}, IMAGE, None),
    ("Reshape", {"target_shape": "x"}, IMAGE, None),
    ("Permute", {"dims": [9]}, IMAGE, None),
    ("Dense", {}, IMAGE, None),
    ("Conv2D", {"filters": 8, "kernel_size": [3, 3]}, (None, 3), None),
]


@pytest.mark.parametrize(("name", "config", "given", "wanted"), LAYERS)
def test_output_shape_of_a_layer(
    name: str, config: dict[str, Any], given: tuple[int | None, ...], wanted: tuple[int | None, ...] | None
) -> None:
    assert layer_outputs(name, config, [given]) == [wanted]


def test_merging_layers_broadcast_and_concatenate() -> None:
    assert layer_outputs("Add", {}, [(None, 4, 1), (None, 1, 5)]) == [(None, 4, 5)]
    assert layer_outputs("Add", {}, [(None, 4), (None, 5)]) == [None]
    assert layer_outputs("Concatenate", {"axis": -1}, [(None, 4, 1), (None, 4, 5)]) == [(None, 4, 6)]
    assert layer_outputs("Concatenate", {"axis": 1}, [(None, None, 5), (None, 4, 5)]) == [(None, None, 5)]


def test_keras_2_functional_graph_is_followed_through_branches_and_shared_layers() -> None:
    def call(*names: str) -> list[Any]:
        return [[name, 0, 0, {}] for name in names]

    config = {
        "class_name": "Model",
        "config": {
            "name": "m",
            "layers": [
                layer("InputLayer", "a", batch_input_shape=[None, 8]) | {"inbound_nodes": []},
                layer("InputLayer", "b", batch_input_shape=[None, 8]) | {"inbound_nodes": []},
                layer("Dense", "shared", units=4) | {"inbound_nodes": [call("a"), call("b")]},
                layer("Concatenate", "both", axis=-1)
                | {"inbound_nodes": [[["shared", 0, 0, {}], ["shared", 1, 0, {}]]]},
                layer("Dense", "out", units=2) | {"inbound_nodes": [call("both")]},
            ],
            "input_layers": [["a", 0, 0], ["b", 0, 0]],
            "output_layers": [["out", 0, 0]],
        },
    }
    assert shapes(config) == {
        "a": (None, 8),
        "b": (None, 8),
        "shared": (None, 4),
        "both": (None, 8),
        "out": (None, 2),
    }


def test_keras_3_graph_uses_the_shapes_written_beside_its_tensors() -> None:
    def tensor(name: str, shape: list[int | None]) -> dict[str, Any]:
        return {
            "class_name": "__keras_tensor__",
            "config": {"shape": shape, "dtype": "float32", "keras_history": [name, 0, 0]},
        }

    config = {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "config": {
            "name": "m",
            "layers": [
                layer("InputLayer", "a", batch_shape=[None, 8]) | {"inbound_nodes": []},
                layer("MyLayer", "odd") | {"inbound_nodes": [{"args": [tensor("a", [None, 8])], "kwargs": {}}]},
                layer("Dense", "out", units=2)
                | {"inbound_nodes": [{"args": [tensor("odd", [None, 5, 3])], "kwargs": {}}]},
            ],
            "output_layers": [["out", 0, 0]],
        },
    }
    assert shapes(config) == {"a": (None, 8), "odd": (None, 5, 3), "out": (None, 5, 2)}


def test_nested_models_and_wrappers_have_rows_of_their_own_one_level_deeper() -> None:
    inner = sequential(
        layer("InputLayer", "in", batch_shape=[None, 8]), layer("Dense", "inside", units=3), name="inner"
    )
    lstm = layer("LSTM", "lstm", units=5, return_sequences=True)
    config = sequential(
        layer("InputLayer", "x", batch_shape=[None, 8]),
        inner,
        layer("RepeatVector", "rep", n=7),
        layer("Bidirectional", "bi", layer=lstm, merge_mode="concat"),
        layer("TimeDistributed", "td", layer=layer("Dense", "each", units=2)),
    )
    tensors = [
        Tensor("1", "float32", (8, 3), 96, layer="inside", role="kernel"),
        Tensor("2", "float32", (3,), 12, layer="inside", role="bias"),
        Tensor("3", "float32", (10, 2), 80, layer="each", role="kernel"),
        Tensor("4", "float32", (10, 2), 80, layer="each", role="slot"),
    ]
    rows = architecture_rows(config, tensors)
    assert [(r.name, r.depth, r.output_shape, r.parameters) for r in rows] == [
        ("x", 0, (None, 8), 0),
        ("inner", 0, (None, 3), 27),
        ("in", 1, (None, 8), 0),
        ("inside", 1, (None, 3), 27),
        ("rep", 0, (None, 7, 3), 0),
        ("bi", 0, (None, 7, 10), 0),
        ("forward_lstm", 1, (None, 7, 5), 0),
        ("backward_lstm", 1, (None, 7, 5), 0),
        ("td", 0, (None, 7, 2), 20),
        ("each", 1, (None, 2), 20),
    ]
    assert rows[3].weights == ("1", "2")


def test_rows_say_class_config_and_trainable() -> None:
    config = sequential(layer("Dense", "d", units=3, trainable=False, batch_input_shape=[None, 4]))
    assert architecture_rows(config, ()) == (
        ArchitectureRow(
            name="d",
            class_name="Dense",
            output_shape=(None, 3),
            config={"name": "d", "units": 3, "trainable": False, "batch_input_shape": [None, 4]},
            trainable=False,
        ),
    )


@pytest.mark.parametrize(
    ("class_name", "group"),
    [
        ("Conv2D", "conv2d"),
        ("PReLU", "p_re_lu"),
        ("RMSprop", "rm_sprop"),
        ("GRU", "gru"),
        ("LSTMCell", "lstm_cell"),
    ],
)
def test_group_names_follow_kerass_own_conversion(class_name: str, group: str) -> None:
    assert snake_case(class_name) == group


def test_variables_honour_the_switches_of_a_layer() -> None:
    def names(class_name: str, shape: tuple[int | None, ...], **config: Any) -> list[Any]:
        return [(v.name, v.shape) for v in variables(class_name, config, shape) or ()]

    assert names("Dense", (None, 7), units=3, use_bias=False) == [("kernel", (7, 3))]
    assert names("BatchNormalization", (None, 9, 9, 5), axis=[3], scale=False) == [
        ("beta", (5,)),
        ("moving_mean", (5,)),
        ("moving_variance", (5,)),
    ]
    assert names("Conv2D", (None, 9, 9, 6), filters=4, kernel_size=[3, 3], groups=2)[0][1] == (3, 3, 3, 4)
    assert names("GRUCell", (None, 4, 6), units=2, reset_after=True)[2] == ("bias", (2, 6))
    assert names("GRUCell", (None, 4, 6), units=2)[2] == ("bias", (6,))
    assert variables("Dense", {"units": None}, None) is None


def test_names_are_guessed_only_where_one_reading_is_possible() -> None:
    assert guess_names("dense_4", [(3, 4), (4,)]) == ("kernel", "bias")
    assert guess_names("batch_normalization", [(4,)] * 4) == (
        "gamma",
        "beta",
        "moving_mean",
        "moving_variance",
    )
    assert guess_names("batch_normalization", [(4,)] * 3) == ("", "moving_mean", "moving_variance")
    assert guess_names("batch_normalization", [(4,)] * 2) == ("moving_mean", "moving_variance")
    assert guess_names("layer_normalization", [(4,)]) == ()
    assert guess_names("my_block", [(3, 4), (4,)]) == ("kernel", "bias")
    assert guess_names("my_block", [(3, 4), (3,)]) == ()


def test_initializers_of_every_spelling() -> None:
    new = {
        "module": "keras.initializers",
        "class_name": "HeNormal",
        "config": {"seed": 1},
        "registered_name": None,
    }
    assert initializer_of({"kernel_initializer": new}, "kernel") == {
        "class_name": "HeNormal",
        "config": {"seed": 1},
    }
    assert initializer_of({"init": "he_normal"}, "kernel") == {"class_name": "HeNormal", "config": {}}
    assert initializer_of({"init": "uniform"}, "kernel") == {
        "class_name": "RandomUniform",
        "config": {"minval": -0.05, "maxval": 0.05},
    }
    assert initializer_of({"bias_initializer": "zeros"}, "bias") == {"class_name": "Zeros", "config": {}}
    # A forget gate biased to one is no plain zeros bias.
    assert initializer_of({"bias_initializer": "zeros", "unit_forget_bias": True}, "bias") is None
    assert initializer_of({}, "kernel") is None
    assert initializer_of({"kernel_initializer": 5}, "kernel") is None


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":', "3", "", b"\xff\xfe{"])
def test_what_is_no_config_is_refused_in_words(text: str | bytes) -> None:
    with pytest.raises(Damaged):
        load_config(text)


def test_hostile_configs_cost_neither_time_nor_an_exception() -> None:
    loop: dict[str, Any] = layer("Dense", "a", units=1)
    for _ in range(200):
        loop = sequential(loop)
    endless = {
        "class_name": "Functional",
        "config": {
            "layers": [
                layer("Dense", f"d{i}", units=1) | {"inbound_nodes": [[[f"d{(i + 1) % 400}", 0, 0, {}]]]}
                for i in range(400)
            ],
            "output_layers": "nothing",
        },
    }
    odd = sequential(*[{"class_name": "Dense", "config": 7, "inbound_nodes": 5}] * 3)
    for config in (loop, endless, odd, {"class_name": "Sequential", "config": {"layers": [3]}}, {}):
        architecture_rows(config, ())
        unsafe_layers(config, "x")
    huge = layer("Dense", "a", units=10**400, batch_input_shape=[None, 10**400])
    assert architecture_rows(sequential(huge), ())[0].output_shape == (None, 10**400)


FLAGGED: list[tuple[dict[str, Any], str, str]] = [
    (layer("Lambda", "l", function=["4wEAAA==", None, None]), "error", "lambda-bytecode"),
    (
        layer("Lambda", "l", function={"class_name": "__lambda__", "config": {"code": "x"}}),
        "error",
        "lambda-bytecode",
    ),
    (layer("Lambda", "l", function="relu"), "warning", "lambda-name"),
    (layer("TFSMLayer", "l", filepath="/tmp/x"), "error", "saved-model-layer"),
    (layer("TorchModuleWrapper", "l"), "error", "torch-module"),
    (layer("StringLookup", "l", vocabulary="/etc/passwd"), "error", "vocabulary-path"),
    (layer("Dense", "l", units=1) | {"module": "os"}, "error", "foreign-module"),
    (layer("Dense", "l", units=1) | {"module": "keras_hub.layers"}, "warning", "foreign-module"),
    (layer("eval", "l") | {"module": "builtins"}, "error", "foreign-module"),
    (layer("MyLayer", "l") | {"module": None, "registered_name": "pkg>MyLayer"}, "warning", "custom-class"),
    ({"class_name": "function", "module": "keras.utils", "config": "get_file"}, "error", "gadget"),
    (layer("TFOpLambda", "l", function="io.write_file"), "error", "tf-op"),
]


@pytest.mark.parametrize(("entry", "severity", "rule"), FLAGGED)
def test_what_would_run_code_is_flagged_at_any_depth(entry: dict[str, Any], severity: str, rule: str) -> None:
    deep = sequential(sequential(layer("TimeDistributed", "td", layer=entry)))
    found = unsafe_layers({"module": "keras", **deep}, "m.keras")
    assert [(f.code, f.severity, f.evidence["rule"]) for f in found] == [("unsafe-layer", severity, rule)]


def test_ordinary_configs_are_not_flagged() -> None:
    assert not unsafe_layers(digits_config(), "m")
    keras_3 = layer("Dense", "d", activation="relu") | {"module": "keras.layers", "registered_name": None}
    builtin = {
        "module": "builtins",
        "class_name": "function",
        "config": "relu",
        "registered_name": "function",
    }
    assert not unsafe_layers(sequential(keras_3, layer("Activation", "a", activation=builtin)), "m")
    assert not unsafe_layers(sequential(layer("StringLookup", "s", vocabulary=["a", "b"])), "m")
    assert not unsafe_layers(sequential(layer("TFOpLambda", "s", function="cast")), "m")


@needs_corpus
def test_corpus_archives_have_their_architecture() -> None:
    path = Path(CORPUS / "mnist-cnn-keras/model.keras")
    config = json.loads(zipfile.ZipFile(path).read("config.json"))
    assert [row.output_shape for row in architecture_rows(config, ())] == [
        (None, 28, 28, 1),
        (None, 26, 26, 32),
        (None, 13, 13, 32),
        (None, 11, 11, 64),
        (None, 5, 5, 64),
        (None, 1600),
        (None, 1600),
        (None, 128),
        (None, 10),
    ]
    root = parse(config)
    assert root is not None
    assert [child.key for child in root.children][-2:] == ["dense", "dense_1"]
