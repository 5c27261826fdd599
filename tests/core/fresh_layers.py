"""Run by path with TensorFlow: layers as initializers leave them, after one step, and with planted filters.

`python fresh_layers.py OUT.npz` writes each array as `KIND|NAME|ROLE|CONFIG`, CONFIG as JSON of the initializer.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras
import numpy as np
import tensorflow as tf

NAMES = (
    "glorot_uniform",
    "he_uniform",
    "lecun_uniform",
    "random_uniform",
    "glorot_normal",
    "he_normal",
    "lecun_normal",
    "random_normal",
    "truncated_normal",
    "orthogonal",
)
Arrays = dict[str, Any]


def config_of(initializer: Any) -> str:
    told = keras.saving.serialize_keras_object(initializer)
    return json.dumps({"class_name": told["class_name"], "config": told["config"]})


def key(kind: str, name: str, role: str, initializer: Any) -> str:
    return "|".join((kind, name, role, config_of(initializer)))


def kernels_of(model: Any) -> dict[str, Any]:
    return {layer.name: layer.kernel for layer in model.layers if hasattr(layer, "kernel")}


def network(name: str) -> Any:
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(16, 3, padding="same", kernel_initializer=name, name=f"conv_{name}")(image)
    x = keras.layers.DepthwiseConv2D(
        3, padding="same", depthwise_initializer=name, activation="tanh", name=f"depthwise_{name}"
    )(x)
    x = keras.layers.Conv2D(24, 3, strides=2, kernel_initializer=name, activation="tanh", name=f"second_{name}")(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(10, kernel_initializer=name, name=f"dense_{name}")(x)
    return keras.Model(image, x)


def step(model: Any, optimizer: Any, data: Any) -> None:
    with tf.GradientTape() as tape:
        answer = model(data[0], training=True)
        loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(data[1], answer, from_logits=True))
    optimizer.apply_gradients(
        zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True)
    )


def fresh_and_stepped(out: Arrays, data: Any) -> None:
    for name in NAMES:
        model = network(name)
        initializer = keras.initializers.get(name)
        for layer, kernel in kernels_of(model).items():
            out[key("fresh", layer, "kernel", initializer)] = np.array(kernel)
        step(model, keras.optimizers.SGD(0.01), data)
        for layer, kernel in kernels_of(model).items():
            out[key("stepped", layer, "kernel", initializer)] = np.array(kernel)


def planted(out: Arrays, data: Any) -> None:
    """Three filters and two embedding rows put back to where they were drawn, after training."""
    model = network("glorot_uniform")
    second = model.get_layer("second_glorot_uniform").kernel
    before = np.array(second)
    optimizer = keras.optimizers.Adam(1e-3)
    run = tf.function(lambda: step(model, optimizer, data))
    optimizer.build(model.trainable_variables)
    for _ in range(200):
        run()
    after = np.array(second)
    after[..., [2, 7, 11]] = before[..., [2, 7, 11]]
    initializer = keras.initializers.get("glorot_uniform")
    out[key("planted", "second", "kernel", initializer)] = after
    table = keras.layers.Embedding(50, 16)
    table.build()
    rows = np.array(table.embeddings)
    initializer = keras.initializers.get("uniform")
    out[key("fresh", "embedding", "embedding", initializer)] = rows
    noise = np.random.default_rng(0).normal(size=rows.shape).astype(np.float32) * np.float32(1e-3)
    noise[[4, 40]] = 0
    out[key("planted", "embedding", "embedding", initializer)] = rows + noise


def other_writers(out: Arrays) -> None:
    glorot = keras.initializers.get("glorot_uniform")
    out[key("fresh", "xla", "kernel", glorot)] = np.array(
        tf.function(lambda: glorot((3, 3, 16, 32)), jit_compile=True)()
    )
    out[key("fresh", "tf1", "kernel", glorot)] = np.array(tf.compat.v1.initializers.glorot_uniform()((3, 3, 16, 32)))
    wide = keras.initializers.RandomUniform(-0.3, 0.7)
    out[key("fresh", "lopsided", "kernel", wide)] = np.array(wide((64, 32)))
    scaled = keras.initializers.VarianceScaling(1 / 3, "fan_out", "uniform")
    out[key("fresh", "scaled", "kernel", scaled)] = np.array(scaled((64, 32)))
    out[key("fresh", "float64", "kernel", glorot)] = np.array(glorot((64, 32), dtype="float64"))
    attention = keras.layers.MultiHeadAttention(4, 16)
    attention.build((None, 10, 48), (None, 10, 48))
    for part in (attention.query_dense, attention.output_dense):
        out[key("fresh", f"attention/{part.name}", "kernel", part.kernel_initializer)] = np.array(part.kernel)
    lstm = keras.layers.LSTM(24)
    lstm.build((None, 5, 12))
    out[key("fresh", "lstm/kernel", "kernel", lstm.cell.kernel_initializer)] = np.array(lstm.cell.kernel)
    out[key("fresh", "lstm/recurrent_kernel", "kernel", lstm.cell.recurrent_initializer)] = np.array(
        lstm.cell.recurrent_kernel
    )
    half = tf.cast(glorot((3, 3, 16, 32)), tf.bfloat16)
    out[key("half", "bfloat16", "kernel", glorot)] = np.array(tf.cast(half, tf.float32))


def main(path: str) -> None:
    keras.utils.set_random_seed(3)
    draw = np.random.default_rng(0)
    data = (draw.normal(size=(64, 8, 8, 3)).astype(np.float32), draw.integers(0, 10, 64))
    out: Arrays = {}
    fresh_and_stepped(out, data)
    planted(out, data)
    other_writers(out)
    mobile = keras.applications.MobileNetV2(weights=None)
    for layer in mobile.layers:
        for weight in layer.weights:
            if len(weight.shape) == 4:
                initializer = keras.initializers.get("glorot_uniform")
                out[key("mobile", weight.path, "kernel", initializer)] = np.array(weight)
    np.savez(path, **out)


if __name__ == "__main__":
    main(sys.argv[1])
