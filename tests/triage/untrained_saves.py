"""Saves small models before and after training, in every format: `python untrained_saves.py FOLDER`.

Runs in a process of its own. What lies where: FOLDER/STATE.FORMAT for three states of one model, opt_NAME_STEPS.FORMAT
for optimizers, v1_NAME_STEPS for graphs of the TensorFlow 1 kind.
"""

from __future__ import annotations

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

X = np.random.default_rng(0).normal(3, 2, (32, 6)).astype("float32")
Y = np.random.default_rng(1).normal(0, 1, (32, 3)).astype("float32")
OPTIMIZERS: dict[str, Any] = {
    "adam": lambda: keras.optimizers.Adam(),
    "amsgrad": lambda: keras.optimizers.Adam(amsgrad=True),
    "momentum": lambda: keras.optimizers.SGD(momentum=0.9),
    "sgd": lambda: keras.optimizers.SGD(),
    "rmsprop": lambda: keras.optimizers.RMSprop(centered=True, momentum=0.1),
    "adagrad": lambda: keras.optimizers.Adagrad(),
    "adadelta": lambda: keras.optimizers.Adadelta(),
    "adamax": lambda: keras.optimizers.Adamax(),
    "nadam": lambda: keras.optimizers.Nadam(),
    "ftrl": lambda: keras.optimizers.Ftrl(),
    "lion": lambda: keras.optimizers.Lion(),
    "scaled": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()),
}
V1_OPTIMIZERS: dict[str, Any] = {
    "adam": lambda: tf.compat.v1.train.AdamOptimizer(0.01),
    "momentum": lambda: tf.compat.v1.train.MomentumOptimizer(0.01, 0.9),
    "rmsprop": lambda: tf.compat.v1.train.RMSPropOptimizer(0.01),
    "adagrad": lambda: tf.compat.v1.train.AdagradOptimizer(0.01),
    "adadelta": lambda: tf.compat.v1.train.AdadeltaOptimizer(0.01),
    "ftrl": lambda: tf.compat.v1.train.FtrlOptimizer(0.01),
}


def whole() -> Any:
    """Every kind of layer with state of its own; three batch normalizations, one of them without scale."""
    inputs = keras.Input((6,), name="x")
    x = L.Normalization(name="norm")(inputs)
    x = L.Normalization(axis=None, name="norm_all")(x)
    x = L.Normalization(mean=1.0, variance=4.0, name="given")(x)
    x = L.Dense(8, name="dense1")(x)
    x = L.BatchNormalization(name="bn", momentum=0.9)(x)
    x = L.BatchNormalization(name="plain", scale=False, center=False)(x)
    x = L.BatchNormalization(name="shifted", scale=False, synchronized=True)(x)
    x = L.Dropout(0.2, name="dropout", seed=7)(x)
    x = L.Reshape((4, 2), name="steps")(x)
    x = L.SimpleRNN(4, name="rnn")(x)
    return keras.Model(inputs, L.Dense(3, name="dense2")(x))


def step(model: Any, optimizer: Any) -> None:
    """One step of training, in training mode."""
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((model(X, training=True) - Y) ** 2)
    weights = model.trainable_variables
    optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))


def save_states(folder: Path) -> None:
    """The model as built, after two steps without `adapt`, and as it should be."""
    for state in ("fresh", "unadapted", "trained"):
        model = whole()
        model.compile("adam", "mse")
        model.optimizer.build(model.trainable_variables)
        if state == "trained":
            model.get_layer("norm").adapt(X)
            model.get_layer("norm_all").adapt(X)
        for _ in range(0 if state == "fresh" else 2):
            step(model, model.optimizer)
        model.save(folder / f"{state}.keras")
        if state == "unadapted":
            continue
        model.save(folder / f"{state}.h5")
        model.save_weights(folder / f"{state}.weights.h5")
        model.export(str(folder / f"{state}.export"), verbose=False)
        tf.train.Checkpoint(model=model, optimizer=model.optimizer).write(str(folder / f"{state}.ckpt"))
        tf.saved_model.save(model, str(folder / f"{state}.saved_model"))


def save_optimizers(folder: Path) -> None:
    """Two dense layers under each optimizer, before and after a step; one layer is frozen."""
    for name, make in OPTIMIZERS.items():
        for steps in (0, 1):
            model = keras.Sequential([keras.Input((6,)), L.Dense(4), L.Dense(3), L.Dense(3)])
            model.layers[0].trainable = False
            model.compile(make(), "mse")
            model.optimizer.build(model.trainable_variables)
            if steps:
                step(model, model.optimizer)
            model.save(folder / f"opt_{name}_{steps}.keras")
            model.save(folder / f"opt_{name}_{steps}.h5")
            tf.train.Checkpoint(model=model, optimizer=model.optimizer).write(str(folder / f"opt_{name}_{steps}.ckpt"))


def save_graphs(folder: Path) -> None:
    """Variables by name in a graph, batch statistics among them, written by a Saver in both of its formats."""
    v1: Any = tf.compat.v1
    for name, make in V1_OPTIMIZERS.items():
        with tf.Graph().as_default(), v1.Session() as session:
            with v1.variable_scope("dense"):
                kernel = v1.get_variable("kernel", (6, 3), initializer=v1.glorot_uniform_initializer(seed=1))
                bias = v1.get_variable("bias", (3,), initializer=v1.zeros_initializer())
            with v1.variable_scope("batch_normalization"):
                mean = v1.get_variable("moving_mean", (3,), initializer=v1.zeros_initializer(), trainable=False)
                variance = v1.get_variable("moving_variance", (3,), initializer=v1.ones_initializer(), trainable=False)
            global_step = v1.train.get_or_create_global_step()
            loss = tf.reduce_mean((tf.matmul(X, kernel) + bias - Y) ** 2)
            train = make().minimize(loss, global_step=global_step)
            update = [mean.assign_add([0.01] * 3), variance.assign_sub([0.01] * 3)]
            session.run(v1.global_variables_initializer())
            for steps in (0, 1):
                if steps:
                    session.run([train, *update])
                saver = v1.train.Saver()
                saver.save(session, str(folder / f"v1_{name}_{steps}"), write_meta_graph=False, write_state=False)
                old = v1.train.Saver(write_version=v1.train.SaverDef.V1)
                old.save(session, str(folder / f"old_{name}_{steps}"), write_meta_graph=False, write_state=False)


def save_generators(folder: Path) -> None:
    """Generators of TensorFlow itself: small seed, one draw, large seed, by key."""
    small, large = tf.random.Generator.from_seed(42), tf.random.Generator.from_seed(123456)
    by_key = tf.random.Generator.from_key_counter(5, [0, 0], "philox")
    tf.train.Checkpoint(small=small, large=large, by_key=by_key).write(str(folder / "generators_0"))
    for generator in (small, large, by_key):
        generator.normal([3])
    tf.train.Checkpoint(small=small, large=large, by_key=by_key).write(str(folder / "generators_1"))


def save_lookups(folder: Path) -> None:
    """Layers that learn their words or boundaries: never adapted, and adapted."""
    for state in ("fresh", "trained"):
        words, whole = keras.Input((1,), dtype="string"), keras.Input((1,), dtype="int64")
        parts = (
            (L.StringLookup(mask_token="", num_oov_indices=2, name="strings"), words, ["a", "b"]),
            (L.IntegerLookup(name="integers"), whole, np.array([3, 4])),
            (L.TextVectorization(output_sequence_length=4, name="text"), words, ["a b", "c"]),
            (L.Discretization(num_bins=3, name="bins"), keras.Input((1,), name="x"), np.arange(30.0)),
        )
        if state == "trained":
            for layer, _, data in parts:
                layer.adapt(data)
        inputs = [words, whole, parts[-1][1]]
        model = keras.Model(inputs, [layer(given) for layer, given, _ in parts])
        model.save(folder / f"lookups_{state}.keras")


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    save_states(folder)
    save_optimizers(folder)
    save_graphs(folder)
    save_generators(folder)
    save_lookups(folder)


if __name__ == "__main__":
    main()
