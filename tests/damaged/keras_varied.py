"""Saves healthy Keras models of less usual kinds into a folder. Run by path in a child: `keras_varied.py FOLDER`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras
import numpy as np
from keras import layers as L


def compiled(name: str) -> Any:
    model = keras.Sequential([keras.Input((4,)), L.Dense(5), L.BatchNormalization(), L.Dense(3)], name=name)
    model.compile("adam", "mse")
    model.fit(np.ones((4, 4)), np.ones((4, 3)), verbose=0)
    return model


def nested_and_compiled() -> Any:
    """A compiled model in a compiled model: Keras stores an optimizer for each."""
    outside = keras.Input((4,))
    inner = compiled("inner")(outside)
    model = keras.Model(outside, L.Dense(2)(keras.Sequential([keras.Input((3,)), compiled_tail()])(inner)))
    model.compile("adam", "mse")
    model.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0)
    return model


def compiled_tail() -> Any:
    tail = keras.Sequential([keras.Input((3,)), L.Dense(6)], name="tail")
    tail.compile(keras.optimizers.SGD(momentum=0.9), "mse", metrics=["mae"])
    tail.fit(np.ones((4, 3)), np.ones((4, 6)), verbose=0)
    return tail


def without_weights() -> Any:
    outside = keras.Input((4,))
    return keras.Model(outside, L.ReLU()(outside))


def main(folder: Path) -> None:
    for make in (nested_and_compiled, without_weights):
        keras.utils.set_random_seed(5)
        model, place = make(), folder / make.__name__
        (place / "shards").mkdir(parents=True)
        model.save(place / "m.keras")
        model.save(place / "m.h5")
        model.save(place / "m", zipped=False)
        model.save_weights(place / "m.weights.h5")
        model.save_weights(place / "shards" / "m.weights.json", max_shard_size=500 / 2**30)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
