"""Run by path with TensorFlow: whole models as their initializers leave them, and after one step of an optimizer.

`python fresh_models.py FOLDER` saves them below FOLDER and prints one JSON line for each kernel judged from arrays:
{"model", "kind", "name", "shape", "known", "changed", "verdict", "certainty", "match", "named", "wrong"}; the last two
are how many filters and rows are named in a kernel that changed, and how many values of theirs are not as before.
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

from ckptui.core.initializers import Verdict, verdict
from ckptui.core.layout import KernelLayout, layout_of

MODELS = {
    "InceptionV3": (75, keras.optimizers.SGD(1e-3)),
    "ResNet50": (32, keras.optimizers.AdamW(1e-4)),
    "MobileNetV2": (32, keras.optimizers.Adam(1e-3)),
    "EfficientNetB0": (32, keras.optimizers.SGD(1e-2)),
}


def kernels(model: Any) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Per name: the variable and its initializer's config."""
    found = {}
    for layer in model.layers:
        for weight in layer.weights:
            if weight.path.endswith("kernel"):
                depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
                own = layer.depthwise_initializer if depthwise else layer.kernel_initializer
                told = keras.saving.serialize_keras_object(own)
                found[weight.path] = weight, {"class_name": told["class_name"], "config": told["config"]}
    return found


def tell(model: str, kind: str, rows: dict[str, tuple[Any, dict[str, Any]]], before: dict[str, Any]) -> None:
    for name, (variable, config) in rows.items():
        array = np.array(variable)
        for known in (False, True):
            said = verdict(array, "kernel", config if known else None, layout=layout_of(array, "kernel", name))
            changed = float((array != before[name]).mean()) if before else 0.0
            facts: dict[str, Any] = {"model": model, "kind": kind, "name": name, "shape": array.shape, "known": known}
            named, wrong = wrongly(said, layout_of(array != before[name], "kernel", name)) if before else (0, 0)
            facts |= {"named": named, "wrong": wrong}
            told = {"verdict": said.verdict, "certainty": said.certainty, "match": said.match, "changed": changed}
            print(json.dumps({**facts, **told}))


def wrongly(said: Verdict, moved: KernelLayout | None) -> tuple[int, int]:
    """(filters and rows named, values of theirs that moved)."""
    if moved is None or said.verdict != "partly" or said.filters is None:
        return 0, 0
    inputs = moved.matrix.reshape(moved.cells, moved.channels, moved.filters)[:, list(said.rows)]
    return int(said.filters.sum()) + len(said.rows), int(moved.matrix[:, said.filters].sum() + inputs.sum())


def main(folder: Path) -> None:
    keras.utils.set_random_seed(11)
    draw = np.random.default_rng(0)
    for name, (side, optimizer) in MODELS.items():
        include = {"input_shape": (side, side, 3), "classes": 1000}
        model = getattr(keras.applications, name)(weights=None, **include)
        rows = kernels(model)
        tell(name, "fresh", rows, {})
        if name in ("InceptionV3", "EfficientNetB0"):
            model.save_weights(folder / f"{name}.weights.h5")
        if name in ("ResNet50", "EfficientNetB0"):
            model.save(folder / f"{name}.keras")
        if name == "MobileNetV2":
            tf.train.Checkpoint(model=model).write(str(folder / f"{name}-ckpt"))
        before = {path: np.array(variable) for path, (variable, _) in rows.items()}
        images = draw.normal(size=(2, side, side, 3)).astype(np.float32) * 50 + 120
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(
                keras.losses.sparse_categorical_crossentropy(draw.integers(0, 1000, 2), model(images, training=True))
            )
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        tell(name, "stepped", rows, before)
        keras.backend.clear_session()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
