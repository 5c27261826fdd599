"""Models of the same weights and one difference in a layer's configuration each. For the child that runs Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
from keras import layers as L

VARIANTS: dict[str, dict[str, Any]] = {
    "base": {},
    "padding": {"c2": {"padding": "valid"}},
    "strides": {"c1": {"strides": 2}},
    "dilation": {"c2": {"dilation_rate": 2}},
    "activation": {"c1": {"activation": "tanh"}},
    "pooling": {"pool": {"class": "AveragePooling2D"}},
    "pool_size": {"pool": {"pool_size": 4}},
    "epsilon": {"bn": {"epsilon": 1e-5}},
    "policy": {"c2": {"dtype": "mixed_bfloat16"}},
    "whole_policy": {name: {"dtype": "mixed_bfloat16"} for name in ("c1", "bn", "pool", "c2", "d")},
    "sequences": {"seq": {"return_sequences": True}},
    "rescaling": {"first": L.Rescaling(1 / 255.0)},
    "normalization": {"first": L.Normalization(mean=[0.5, 0.5], variance=[0.1, 0.2])},
    "no_activation": {"act": None},
    "size": {"size": 16},
    "residual": {"residual": "pool"},
    "training": {
        "c1": {"kernel_initializer": "he_normal", "kernel_regularizer": "l2", "trainable": False},
        "bn": {"momentum": 0.5},
        "drop": {"rate": 0.5, "seed": 4},
        "d": {"bias_constraint": "non_neg"},
        "augment": True,
    },
    "names": {"unnamed": True},
    "several": {
        "first": L.Rescaling(1 / 255.0, name="prepare"),
        "c1": {"activation": "tanh"},
        "c2": {"padding": "valid"},
        "bn": {"epsilon": 1e-2},
        "leak": {"negative_slope": 0.25},
    },
    "prepared": {"first": L.Rescaling(1 / 127.5, name="prepare")},
}


EXPORTED = ("base", "several")
"""SavedModels too, in which Keras 3 keeps no configuration."""
BOTH = ("base", "padding", "policy", "training", "names")
"""Saved as .h5 too."""


def _made(change: dict[str, Any], kind: str, name: str, **options: Any) -> Any:
    told = {**options, **(change.get(name) or {})}
    return getattr(L, told.pop("class", kind))(name=name, **told)


def pictures(change: dict[str, Any]) -> Any:
    """Convolutions of all kinds, a BatchNormalization, pooling, a residual sum and a Dense."""
    size = change.get("size", 8)
    image = keras.Input((size, size, 2), name="image")
    x = change["first"](image) if "first" in change else image
    if change.get("augment"):
        x = L.RandomFlip("horizontal")(x)
    x = _made(change, "Conv2D", "c1", filters=4, kernel_size=3, padding="same", activation="relu")(x)
    x = _made(change, "BatchNormalization", "bn")(x)
    if change.get("act", {}) is not None:
        x = _made(change, "ReLU", "act")(x)
    x = pooled = _made(change, "MaxPooling2D", "pool", pool_size=2, strides=1, padding="same")(x)
    x = _made(change, "Conv2D", "c2", filters=4, kernel_size=3, padding="same")(x)
    inner = L.Conv2D(4, 3, padding="same", name="c3")(x)
    x = L.Add(name="sum")([inner, pooled if change.get("residual") else x])
    x = L.SeparableConv2D(4, 3, padding="same")(L.SeparableConv2D(4, 3, padding="same")(x))
    x = L.Conv2D(4, 3, padding="same", dilation_rate=2, name="wide")(x)
    x = _made(change, "LeakyReLU", "leak", negative_slope=0.1)(x)
    x = _made(change, "Dropout", "drop", rate=0.1)(x)
    x = L.GlobalAveragePooling2D(name="gap")(x)
    return keras.Model(image, _made(change, "Dense", "d", units=3, activation="softmax")(x))


def numbered(_: dict[str, Any]) -> Any:
    """Layers whose names Keras numbers through the process."""
    steps = [L.Input((8, 8, 1)), L.Conv2D(4, 3), L.ReLU(), L.Conv2D(4, 3, activation="tanh"), L.Flatten(), L.Dense(2)]
    return keras.Sequential(steps)


def words(change: dict[str, Any]) -> Any:
    """An Embedding, an LSTM and a Dense."""
    tokens = keras.Input((6,), name="tokens")
    x = _made(change, "Embedding", "emb", input_dim=9, output_dim=4)(tokens)
    x = _made(change, "LSTM", "seq", units=4)(x)
    return keras.Model(tokens, L.Dense(2, name="head")(x))


def configured(folder: Path) -> None:
    """KIND-NAME.keras of every variant, some as .h5 too."""
    kinds = {"pictures": pictures, "words": words, "numbered": numbered}
    bases: dict[str, Any] = {}
    for name, change in VARIANTS.items():
        for kind, build in kinds.items():
            mine = "words" if "seq" in change else "numbered" if "unnamed" in change else "pictures"
            if name != "base" and kind != mine:
                continue
            keras.utils.set_random_seed(5)
            model = build(change)
            base = bases.setdefault(kind, model)
            if "first" not in change:
                model.set_weights(base.get_weights())
            if kind == "pictures" and name in EXPORTED:
                model.export(folder / f"export-{name}", verbose=False)
            for end in ("keras", "h5") if name in BOTH else ("keras",):
                model.save(folder / f"{kind}-{name}.{end}")
