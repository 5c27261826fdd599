"""Five models, all their variables random, each saved in every form that TensorFlow and Keras know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

L = keras.layers


def functional() -> Any:
    """Blocks of equal shapes, made in another order than they stand in the model."""
    image = keras.Input((6, 6, 1))
    answer = L.Dense(3, name="answer")
    x = L.Conv2D(4, 3, padding="same")(image)
    x = L.BatchNormalization()(x)
    x = L.BatchNormalization()(L.Conv2D(4, 3, padding="same")(L.Conv2D(4, 3, padding="same")(x)))
    x = L.Dropout(0.2)(L.GlobalAveragePooling2D()(x))
    return keras.Model(image, answer(L.Dense(4)(L.Dense(4)(x))))


def sequential() -> Any:
    layers = [L.Conv2D(4, 3), L.Conv2D(4, 3), L.GlobalAveragePooling2D(), L.Dense(4, name="hidden"), L.Dense(4)]
    return keras.Sequential([keras.Input((6, 6, 1)), *layers, L.Dense(3)])


class Mixer(keras.layers.Layer):
    """Two weights of one shape, named otherwise than the attributes that keep them; layers in a list and a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.many = [L.Dense(4), L.Dense(4)]
        self.named = {"a": L.Dense(4)}

    def build(self, shape: Any) -> None:
        self.w = self.add_weight(shape=(4, 4), name="w")
        self.v = self.add_weight(shape=(4, 4), name="kernel")
        for layer in (*self.many, *self.named.values()):
            layer.build(shape)

    def call(self, x: Any) -> Any:
        for layer in (*self.many, *self.named.values()):
            x = layer(x)
        return x @ self.w @ self.v


class Subclassed(keras.Model):
    """Layers in attributes whose names sort otherwise than the layers were made."""

    def __init__(self) -> None:
        super().__init__()
        self.first = L.Conv2D(4, 3)
        self.second = L.Conv2D(4, 3)
        self.norm = L.BatchNormalization()
        self.flat = L.GlobalAveragePooling2D()
        self.zeta = L.Dense(4)
        self.alpha = L.Dense(4)
        self.blocks = [Mixer(), Mixer()]
        self.out = L.Dense(3)

    def call(self, image: Any, training: bool = False) -> Any:
        x = self.norm(self.second(self.first(image)), training=training)
        x = self.alpha(self.zeta(self.flat(x)))
        for block in self.blocks:
            x = block(x)
        return self.out(x)


def nested(inner_name: str = "inner_conv") -> Any:
    """A model and a Sequential inside a model."""
    inside = keras.Input((6, 6, 4))
    inner = keras.Model(inside, L.BatchNormalization()(L.Conv2D(4, 3, padding="same", name=inner_name)(inside)))
    blocks = keras.Sequential([L.Conv2D(4, 3, padding="same"), L.Conv2D(4, 3, padding="same")])
    image = keras.Input((6, 6, 1))
    x = blocks(inner(L.Conv2D(4, 3, padding="same", name="conv")(image)))
    return keras.Model(image, L.Dense(3)(L.Dense(4)(L.GlobalAveragePooling2D()(x))))


def namesakes() -> Any:
    """The inner convolution bears the outer one's name."""
    return nested("conv")


MODELS = {
    "functional": functional,
    "sequential": sequential,
    "subclassed": Subclassed,
    "nested": nested,
    "namesakes": namesakes,
}


TRACED = {"functional": ("saved", "export"), "subclassed": ("saved", "export"), "nested": ("export",)}
"""What takes longer than all the rest, where it shows something of its own."""


def make(folder: Path) -> None:
    """`folder/MODEL/`: ckpt-1, alone, m.keras, m.weights.h5, m.h5, and saved/, export/ where these are told.

    Keras would give layers of one name one dataset in an `.h5`: there is none of namesakes.
    """
    random = np.random.default_rng(0)
    for name, build in MODELS.items():
        model = build()
        # nothing is fitted: that would take longer than all but the exports
        model(np.zeros((1, 6, 6, 1), "f4"))
        model.compile(keras.optimizers.Adam(0.01), "mse", run_eagerly=True)
        model.optimizer.build(model.trainable_variables)
        for variable in (*model.variables, *model.optimizer.variables):
            if "float" in variable.dtype and variable.shape:
                variable.assign(random.normal(size=variable.shape))
        model.optimizer.iterations.assign(2)
        place = folder / name
        place.mkdir()
        tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(str(place / "ckpt"))
        tf.train.Checkpoint(model).write(str(place / "alone"))
        if "saved" in TRACED.get(name, ()):
            tf.saved_model.save(model, str(place / "saved"))
        if "export" in TRACED.get(name, ()):
            model.export(str(place / "export"), verbose=False)
        if name != "namesakes":
            model.save(place / "m.h5")
        model.save(place / "m.keras")
        model.save_weights(place / "m.weights.h5")
        weights = [variable.numpy() for variable in model.variables if "seed" not in variable.path]
        np.savez(place / "weights.npz", *weights)
