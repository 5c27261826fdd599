"""Saves small models with the installed Keras into a folder, and what Keras says of them as facts.json.

Run by path in a process of its own: `python keras_saves.py FOLDER`.
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
from keras import layers as L


def vision() -> Any:
    """Most image layers, branches, and two ops that are no layers."""
    image = keras.Input((32, 32, 3), name="image")
    x = L.ZeroPadding2D(1)(image)
    x = L.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    x = L.ReLU()(L.BatchNormalization()(x))
    x = L.SeparableConv2D(16, 3, padding="same")(L.DepthwiseConv2D(3, depth_multiplier=2)(x))
    y = L.Conv2D(16, 1, dilation_rate=2, groups=4)(x)
    x = L.Concatenate()([L.Add()([x, y]), y])
    x = L.MaxPooling2D(3, strides=2, padding="same")(L.UpSampling2D(2)(x))
    x = L.LayerNormalization()(L.Conv2DTranspose(4, 3, strides=2, padding="same")(x))
    x = L.GlobalAveragePooling2D(keepdims=True)(L.Cropping2D(((1, 2), (3, 4)))(x))
    x = L.Flatten()(L.Permute((2, 1))(L.Reshape((2, 2))(L.Flatten()(x))))
    x = L.GaussianNoise(0.1)(L.Dropout(0.5)(x)) * 2.0 + 1
    model = keras.Model(image, L.Dense(10, activation="softmax", name="probs")(x))
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def text() -> Any:
    """Embeddings, recurrent layers, wrappers, attention."""
    words = keras.Input((12,), dtype="int32")
    x = L.Embedding(50, 8)(words)
    x = L.Bidirectional(L.LSTM(6, return_sequences=True))(x)
    x = L.TimeDistributed(L.Dense(5))(x)
    x = L.Conv1D(7, 3, padding="causal")(x)
    x = L.MultiHeadAttention(2, 4)(x, x)
    x = L.PReLU()(L.SimpleRNN(2)(L.RepeatVector(4)(L.GRU(3)(x))))
    return keras.Model(words, x)


def nested() -> Any:
    """Models in models, and a layer that is called twice."""
    inner = keras.Sequential([L.Input((8,)), L.Dense(4), L.Dense(3)], name="inner")
    deep = keras.Sequential([L.Dense(2), L.BatchNormalization(scale=False)], name="deep")
    outer = keras.Sequential([L.Input((3,)), L.Dense(4), deep])
    vector = keras.Input((8,))
    twice = L.Dense(2)
    x = twice(twice(outer(inner(vector))))
    return keras.Model(vector, [x, x])


def plain() -> Any:
    """A Sequential without an input layer, built by its first call."""
    model = keras.Sequential([L.Conv2D(4, 3), L.Flatten(), L.Dense(10, name="last.layer")])
    model.compile(keras.optimizers.SGD(momentum=0.9), "mse")
    model.build((None, 9, 9, 1))
    model.optimizer.build(model.trainable_variables)
    return model


def half() -> Any:
    model = keras.Sequential([L.Input((4,)), L.Dense(3, dtype="bfloat16")])
    model.layers[0].bias.assign([0.5, -1.25, 3])
    return model


def quantised() -> Any:
    model = keras.Sequential([L.Input((8,)), L.Dense(6), L.Dense(3)])
    model.quantize("int8")
    return model


def scaled() -> Any:
    model = keras.Sequential([L.Input((4,)), L.Dense(3)])
    model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()), "mse")
    model.optimizer.build(model.trainable_variables)
    return model


class Subclassed(keras.Model):  # type: ignore[misc]
    """Layers in attributes and lists."""

    def __init__(self) -> None:
        super().__init__()
        self.first = L.Dense(3)
        self.blocks = [L.Dense(3), [L.Dense(2, name="deep")]]

    def call(self, x: Any) -> Any:
        return self.blocks[1][0](self.blocks[0](self.first(x)))


def facts(model: Any) -> list[dict[str, Any]]:
    """Each layer's output shape, parameters and weights, nested models one level deeper."""
    told = []
    for one in model.layers:
        try:
            shape: Any = list(one.output.shape)
        except (AttributeError, ValueError):
            shape = None
        told.append(
            {
                "name": one.name,
                "shape": shape,
                "parameters": one.count_params(),
                "weights": [[w.path, list(w.shape), str(w.dtype)] for w in one.weights],
                "layers": facts(one) if hasattr(one, "layers") else [],
            }
        )
    return told


def main(folder: Path) -> None:
    keras.utils.set_random_seed(1)
    told: dict[str, Any] = {"keras": keras.__version__, "models": {}}
    for make in (vision, text, nested, plain, half, quantised, scaled):
        model, name = make(), make.__name__
        model.save(folder / f"{name}.keras")
        model.save(folder / f"{name}.h5")
        model.save_weights(folder / f"{name}.weights.h5")
        values = {w.path: float(np.asarray(w, "f4").sum(dtype="f8")) for w in model.weights}
        told["models"][name] = {"layers": facts(model), "sums": values, "parameters": model.count_params()}
    model = Subclassed()
    model(np.zeros((1, 3)))
    model.save(folder / "subclassed.keras")
    keras.Sequential([L.Dense(3), L.Dense(2)]).save(folder / "unbuilt.keras")
    (folder / "facts.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
