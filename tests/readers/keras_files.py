"""Makes small Keras files of every layout with h5py and zipfile, without Keras."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Weights = Mapping[str, Mapping[str, np.ndarray]]
"""Layer to variable to values, in model order."""

UNIFORM = {"class_name": "GlorotUniform", "config": {"seed": None}}
ZEROS = {"class_name": "Zeros", "config": {}}


def layer(class_name: str, name: str, **config: Any) -> dict[str, Any]:
    """A layer entry as Keras 2 writes it."""
    return {"class_name": class_name, "name": name, "config": {"name": name, **config}}


def sequential(*layers: dict[str, Any], name: str = "sequential") -> dict[str, Any]:
    return {"class_name": "Sequential", "config": {"name": name, "layers": list(layers)}}


def digits_config() -> dict[str, Any]:
    """Input 8x8x1, a 3x3 convolution of 4 filters, batch normalization, a dense layer of 10."""
    return sequential(
        layer("InputLayer", "input_1", batch_input_shape=[None, 8, 8, 1], dtype="float32"),
        layer(
            "Conv2D",
            "conv1",
            filters=4,
            kernel_size=[3, 3],
            strides=[1, 1],
            padding="valid",
            data_format="channels_last",
            dilation_rate=[1, 1],
            use_bias=True,
            kernel_initializer=UNIFORM,
            bias_initializer=ZEROS,
        ),
        layer("BatchNormalization", "bn1", axis=[3], center=True, scale=True, moving_mean_initializer=ZEROS),
        layer("Flatten", "flat", data_format="channels_last"),
        layer("Dense", "logits", units=10, use_bias=True, kernel_initializer=UNIFORM, bias_initializer=ZEROS),
    )


def digits_weights(seed: int = 7) -> dict[str, dict[str, np.ndarray]]:
    """Values for `digits_config`."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype("f4")

    return {
        "input_1": {},
        "conv1": {"kernel": draw(3, 3, 1, 4), "bias": draw(4)},
        "bn1": {
            "gamma": draw(4),
            "beta": draw(4),
            "moving_mean": draw(4),
            "moving_variance": np.abs(draw(4)),
        },
        "flat": {},
        "logits": {"kernel": draw(144, 10), "bias": draw(10)},
    }


def write_layers(group: h5py.Group, weights: Weights, suffix: str = ":0") -> None:
    """`layer_names`, `weight_names` and the datasets, as Keras 2 (suffix `:0`) and 3 (none) write them."""
    group.attrs["layer_names"] = [name.encode() for name in weights]
    for name, variables in weights.items():
        made = group.create_group(name)
        names = [f"{name}/{variable}{suffix}" for variable in variables]
        made.attrs["weight_names"] = [n.encode() for n in names]
        for path, values in zip(names, variables.values(), strict=True):
            made.create_dataset(path, data=values)


def legacy_model(path: Path, config: Mapping[str, Any] | None = None, weights: Weights | None = None) -> Path:
    """A whole-model `.h5` of Keras 2.15 with optimizer weights."""
    weights = digits_weights() if weights is None else weights
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.15.0"
        file.attrs["backend"] = "tensorflow"
        file.attrs["model_config"] = json.dumps(digits_config() if config is None else config)
        write_layers(file.create_group("model_weights"), weights)
        slots = file.create_group("optimizer_weights")
        slots.attrs["weight_names"] = [b"iteration:0", b"Adam/m/conv1/kernel:0", b"Adam/v/conv1/kernel:0"]
        slots.create_dataset("iteration:0", data=np.int64(12))
        for slot in ("m", "v"):
            slots.create_dataset(f"Adam/{slot}/conv1/kernel:0", data=np.zeros((3, 3, 1, 4), "f4"))
    return path


def object_weights(path: Path | Any, groups: Mapping[str, tuple[str, Sequence[np.ndarray]]]) -> None:
    """A Keras 3 `.weights.h5`: group path to (the object's name, its variables); no name for Keras 2.15."""
    with h5py.File(path, "w") as file:
        for group, (name, values) in groups.items():
            made = file.create_group(f"{group}/vars" if group else "vars")
            if name:
                made.attrs["name"] = name
            for number, one in enumerate(values):
                made.create_dataset(str(number), data=one)


def digits_groups() -> dict[str, tuple[str, Sequence[np.ndarray]]]:
    """`digits_weights` as Keras 3 groups them, with an optimizer."""
    weights = digits_weights()
    kernel = weights["conv1"]["kernel"]
    return {
        "layers/conv2d": ("conv1", list(weights["conv1"].values())),
        "layers/batch_normalization": ("bn1", list(weights["bn1"].values())),
        "layers/flatten": ("flat", []),
        "layers/dense": ("logits", list(weights["logits"].values())),
        "optimizer": ("adam", [np.int64(3), np.float32(1e-3), np.zeros_like(kernel), np.zeros_like(kernel)]),
        "": ("sequential", []),
    }


def archive(
    path: Path,
    groups: Mapping[str, tuple[str, Sequence[np.ndarray]]] | None = None,
    config: Any = None,
    *,
    compression: int = zipfile.ZIP_STORED,
    prefix: bytes = b"",
) -> Path:
    """A `.keras` file; `config` may be a JSON value or raw bytes."""
    inner = path.with_suffix(".inner.h5")
    object_weights(inner, digits_groups() if groups is None else groups)
    config = digits_config() if config is None else config
    with path.open("wb") as raw:
        raw.write(prefix)
        with zipfile.ZipFile(raw, "w", compression) as made:
            made.writestr("metadata.json", json.dumps({"keras_version": "3.15.1", "date_saved": "2026-01-01"}))
            made.writestr("config.json", config if isinstance(config, bytes) else json.dumps(config))
            made.write(inner, "model.weights.h5")
    inner.unlink()
    return path
