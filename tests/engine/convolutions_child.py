"""Saves a layer of every class with filters in every format, by the installed Keras. Run by path in a child.

Arguments: FOLDER. Layers have names that say nothing (`a`, `b`, ...); FOLDER/expected.json maps each to its class and,
per variable, [cells, channels, filters] and the filters as Keras' class means its axes, which is what the test expects.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras
import numpy as np
import tensorflow as tf
from keras import layers as L

IMAGE, LINE, VOLUME = (8, 8, 4), (12, 4), (6, 6, 6, 4)
CLASSES: list[tuple[str, tuple[int, ...], Any, tuple[str, ...]]] = [
    ("Conv2D", IMAGE, lambda n: L.Conv2D(6, 3, name=n), ("plain",)),
    ("Conv2D, even", IMAGE, lambda n: L.Conv2D(6, (2, 4), name=n), ("plain",)),
    ("Conv2D, groups", IMAGE, lambda n: L.Conv2D(6, 3, groups=2, name=n), ("plain",)),
    ("Conv2D, one filter", IMAGE, lambda n: L.Conv2D(1, 3, name=n), ("plain",)),
    ("Conv2D, square", (8, 8, 6), lambda n: L.Conv2D(6, 3, name=n), ("plain",)),
    ("DepthwiseConv2D, 2", IMAGE, lambda n: L.DepthwiseConv2D(3, depth_multiplier=2, name=n), ("depthwise",)),
    ("DepthwiseConv2D", IMAGE, lambda n: L.DepthwiseConv2D(3, name=n), ("depthwise",)),
    ("DepthwiseConv2D, no bias", IMAGE, lambda n: L.DepthwiseConv2D(3, use_bias=False, name=n), ("depthwise",)),
    ("SeparableConv2D", IMAGE, lambda n: L.SeparableConv2D(6, 3, depth_multiplier=2, name=n), ("depthwise", "plain")),
    ("Conv2DTranspose", IMAGE, lambda n: L.Conv2DTranspose(6, 3, name=n), ("transposed",)),
    ("Conv2DTranspose, square", (8, 8, 6), lambda n: L.Conv2DTranspose(6, 3, name=n), ("transposed",)),
    ("Conv2DTranspose, no bias", IMAGE, lambda n: L.Conv2DTranspose(6, 3, use_bias=False, name=n), ("transposed",)),
    ("Conv1D", LINE, lambda n: L.Conv1D(6, 3, name=n), ("plain",)),
    ("SeparableConv1D", LINE, lambda n: L.SeparableConv1D(6, 3, name=n), ("depthwise", "plain")),
    ("DepthwiseConv1D", LINE, lambda n: L.DepthwiseConv1D(3, name=n), ("depthwise",)),
    ("Conv1DTranspose", LINE, lambda n: L.Conv1DTranspose(6, 3, name=n), ("transposed",)),
    ("Conv3D", VOLUME, lambda n: L.Conv3D(6, 3, name=n), ("plain",)),
    ("Conv3DTranspose", VOLUME, lambda n: L.Conv3DTranspose(6, (2, 3, 3), name=n), ("transposed",)),
    ("ConvLSTM1D", (2, *LINE), lambda n: L.ConvLSTM1D(6, 3, name=n), ("plain", "plain")),
    ("ConvLSTM2D", (2, *IMAGE), lambda n: L.ConvLSTM2D(6, 3, name=n), ("plain", "plain")),
    ("Dense", (12,), lambda n: L.Dense(6, name=n), ("dense",)),
    (
        "EinsumDense",
        LINE,
        lambda n: L.EinsumDense("abc,cde->abde", output_shape=(None, 3, 5), bias_axes="de", name=n),
        ("projection",),
    ),
]


def filters(kernel: Any, axes: str) -> Any:
    """[filters, cells, channels]."""
    if axes == "dense":
        return kernel.T[:, None]
    if axes == "projection":
        return kernel.reshape(kernel.shape[0], -1).T[:, None]
    places = kernel.shape[:-2]
    if axes == "depthwise":
        return np.moveaxis(kernel, (-2, -1), (0, 1)).reshape(-1, int(np.prod(places)), 1)
    if axes == "transposed":
        kernel = np.swapaxes(kernel, -1, -2)
    return np.moveaxis(kernel, -1, 0).reshape(kernel.shape[-1], int(np.prod(places)), -1)


def main(folder: Path) -> None:
    keras.utils.set_random_seed(1)
    inputs, outputs, expected = [], [], []
    for number, (class_name, shape, make, axes) in enumerate(CLASSES):
        name = f"l{number}"
        given = keras.Input(shape, name=f"i{number}")
        layer = make(name)
        inputs.append(given)
        outputs.append(L.Flatten()(layer(given)))
        for meant, weight in zip(axes, layer.weights, strict=False):
            values = weight.numpy()
            one = filters(values.astype(np.float64), meant)
            places = [] if meant in ("dense", "projection") else list(values.shape[:-2])
            norms = np.sqrt((one**2).sum(axis=(1, 2)))
            expected.append([class_name, f"{weight.path}", list(values.shape), places, one.shape[2], norms.tolist()])
    model = keras.Model(inputs, L.Concatenate()(outputs))
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / "m.keras")
    model.save(folder / "m.h5")
    model.save_weights(folder / "m.weights.h5")
    tf.train.Checkpoint(model=model).write(str(folder / "ck"))
    model.export(str(folder / "sm"), verbose=False)
    (folder / "expected.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
