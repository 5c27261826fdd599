"""Roles, layers and steps from names as real savers write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptui.core.names import clean, is_weight, is_weight_name, layer_of, natural_key, role_of, step_of

VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
MATRIX = (3, 4)
VECTOR = (4,)

ROLES = [
    # TF1 Saver and Estimator
    ("conv1/kernel", "float32", (3, 3, 1, 2), "", "kernel", "conv1"),
    ("conv1/kernel/Adam", "float32", (3, 3, 1, 2), "", "slot", "conv1"),
    ("conv1/kernel/Adam_1", "float32", (3, 3, 1, 2), "", "slot", "conv1"),
    ("conv1/kernel/Momentum", "float32", (3, 3, 1, 2), "", "slot", "conv1"),
    ("conv1/kernel/ExponentialMovingAverage", "float32", (3, 3, 1, 2), "", "slot", "conv1"),
    ("beta1_power", "float32", (), "", "counter", ""),
    ("global_step", "int64", (), "", "step", ""),
    ("bn1/moving_mean", "float32", VECTOR, "", "moving-mean", "bn1"),
    ("conv/BatchNorm/moving_variance", "float32", VECTOR, "", "moving-variance", "conv/BatchNorm"),
    ("bn/beta_1", "float32", VECTOR, "", "beta", "bn"),
    ("W_conv1", "float32", (5, 5, 1, 32), "", "kernel", "conv1"),
    ("b_conv1", "float32", (32,), "", "bias", "conv1"),
    ("Variable", "float32", (5, 5, 1, 32), "", "kernel", ""),
    ("table/embeddings", "float32", MATRIX, "", "embedding", "table"),
    # Keras 2, TF2 object paths
    (f"model/layer_with_weights-2/kernel{VALUE}", "float32", MATRIX, "", "kernel", "layer_with_weights-2"),
    (f"optimizer/_variables/3{VALUE}", "float32", MATRIX, "Adam/m/conv1/kernel", "slot", "conv1"),
    (f"a/kernel/.OPTIMIZER_SLOT/optimizer/m{VALUE}", "float32", MATRIX, "", "slot", "a"),
    (f"a/kernel/.OPTIMIZER_SLOT/optimizer/m{VALUE}", "float32", MATRIX, "Adam/a/kernel/m", "slot", "a"),
    (f"optimizer/iter{VALUE}", "int64", (), "Adam/iter", "counter", "Adam"),
    (f"optimizer/beta_1{VALUE}", "float32", (), "Adam/beta_1", "counter", "Adam"),
    (f"save_counter{VALUE}", "int64", (), "save_counter", "counter", ""),
    (f"step{VALUE}", "int64", (), "step", "step", ""),
    (f"keras_api/metrics/0/total{VALUE}", "float32", (), "total", "metric", None),
    (f"keras_api/metrics/1/true_positives{VALUE}", "float32", (200,), "true_positives", "metric", None),
    # Keras 3
    (f"optimizer/_trainable_variables/0{VALUE}", "float32", MATRIX, "conv1/kernel", "kernel", "conv1"),
    (f"optimizer/_trainable_variables/0{VALUE}", "float32", MATRIX, "", "kernel", None),
    (f"optimizer/_variables/3{VALUE}", "float32", MATRIX, "adam/conv1_kernel_momentum", "slot", "conv1"),
    (f"optimizer/_learning_rate{VALUE}", "float32", (), "adam/learning_rate", "counter", "adam"),
    (f"variables/6{VALUE}", "uint32", (2,), "seed_generator/seed_generator_state", "rng-state", "seed_generator"),
    ("optimizer/vars/0", "int64", (), "", "counter", None),
    ("optimizer/vars/3", "float32", MATRIX, "", "slot", None),
    ("layers/dense/vars/0", "float32", MATRIX, "", "kernel", "layers/dense"),
    # what stateful layers hand on
    (f"layer_with_weights-0/keras_api/states/1{VALUE}", "float32", MATRIX, "lstm/Variable", "other", "lstm"),
    (f"_all_variables/5{VALUE}", "float32", MATRIX, "sequential/lstm/rnn_state", "other", "sequential/lstm"),
    (f"cell/hidden_state{VALUE}", "float32", MATRIX, "", "other", "cell"),
    ("rnn/initial_state_1", "float32", MATRIX, "", "other", "rnn"),
    ("state/kernel", "float32", MATRIX, "", "kernel", "state"),
    ("states/estates", "float32", MATRIX, "", "kernel", "states"),
    # Keras HDF5
    ("model_weights/hidden/hidden/kernel:0", "float32", MATRIX, "", "kernel", "hidden"),
    ("optimizer_weights/Adam/m/conv1/kernel:0", "float32", MATRIX, "", "slot", None),
    ("optimizer_weights/training/Adam/Variable:0", "float32", MATRIX, "", "slot", None),
    # names that only look alike
    ("_CHECKPOINTABLE_OBJECT_GRAPH", "string", (), "", "object-graph", ""),
    ("sequential/momentum/kernel", "float32", MATRIX, "", "kernel", "sequential/momentum"),
    ("norms/scale", "float32", VECTOR, "", "gamma", "norms"),
    ("adapter/kernel", "float32", MATRIX, "", "kernel", "adapter"),
    ("words", "string", VECTOR, "", "other", ""),
]


@pytest.mark.parametrize(("name", "dtype", "shape", "full_name", "role", "layer"), ROLES)
def test_role_and_layer_of_names_that_savers_write(
    name: str, dtype: str, shape: tuple[int, ...], full_name: str, role: str, layer: str | None
) -> None:
    assert role_of(name, dtype, shape, full_name) == role
    if layer is not None:
        assert layer_of(name, full_name) == layer


@given(st.text(max_size=60), st.sampled_from(["float32", "string", "#99"]), st.text(max_size=40))
def test_any_name_has_a_role_and_a_layer(name: str, dtype: str, full_name: str) -> None:
    for shape in ((), (3,), (3, 4)):
        assert role_of(name, dtype, shape, full_name)
    assert isinstance(layer_of(name, full_name), str)


def test_what_counts_as_a_parameter() -> None:
    assert is_weight("kernel", "int8")
    assert is_weight("other", "float32")
    assert not is_weight("other", "int64")
    assert not is_weight("slot", "float32")
    assert not is_weight("object-graph", "string")


def test_weight_names_end_like_weights() -> None:
    assert is_weight_name("sequential/conv1/kernel")
    assert not is_weight_name("Adam/conv1/kernel/m")
    assert not is_weight_name("step")


def test_stored_names_lose_what_the_format_added() -> None:
    assert clean(f"a/b{VALUE}") == "a/b"
    assert clean("dense/kernel:0") == "dense/kernel"


@pytest.mark.parametrize(
    ("label", "step"),
    [
        ("ckpt-3000", 3000),
        ("model.ckpt-10", 10),
        ("weights.05-0.56.hdf5", 5),
        ("fer2013_mini_XCEPTION.102-0.66.hdf5", 102),
        ("weights-improvement-10-0.85.h5", 10),
        ("epoch_12.keras", 12),
        ("model-epoch05.h5", 5),
        ("cp-0010.ckpt", 10),
        ("step=100.h5", 100),
        ("model.20.h5", 20),
        ("model_050.weights.h5", 50),
        ("1700000000", 1700000000),
        ("ckpt", None),
        ("digits.keras", None),
        ("resnet50.h5", None),
        ("resnet_50", None),
        ("mnist_v2.h5", None),
        ("recipe12.h5", None),
        ("", None),
        ("ckpt-" + "9" * 400, None),
    ],
)
def test_step_in_a_save_name(label: str, step: int | None) -> None:
    assert step_of(label) == step


def test_numbers_sort_by_value_whatever_their_length() -> None:
    names = ["layer_10/b", "layer_2/b", "layer_2/a", "layer_" + "1" * 5000, "layer_02/a", "Layer_1"]
    assert sorted(names, key=natural_key)[:4] == ["Layer_1", "layer_2/a", "layer_02/a", "layer_2/b"]
    assert max(names, key=natural_key) == "layer_" + "1" * 5000
