"""Models of an image and of numbers beside it, as .keras and as SavedModel, and what plain TensorFlow answers.

Run as a script with a folder: it holds `img.npy` and `meta.npy`, and gets the models and `answers.npz`. It also gets
a model that asks for far more memory than a machine has to give.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers


class Hungry(tf.Module):
    """Holds a GB more at every step."""

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3], tf.float32, name="img")])
    def serve(self, img: tf.Tensor) -> dict[str, tf.Tensor]:
        kept = tf.TensorArray(tf.float32, size=20, clear_after_read=False)
        for step in tf.range(20):
            kept = kept.write(step, tf.random.uniform([1 << 28]) + tf.reduce_sum(img))
        return {"y": tf.reshape(tf.reduce_sum(kept.stack()), [1, 1])}


def main(folder: Path) -> None:
    keras.utils.set_random_seed(3)
    img, meta = keras.Input((8, 8, 3), name="img"), keras.Input((4,), name="meta")
    seen = layers.Flatten()(layers.Conv2D(4, 3, activation="relu")(img))
    mixed = layers.Concatenate()([seen, layers.Dense(6, activation="tanh")(meta)])
    model = keras.Model({"img": img, "meta": meta}, layers.Dense(5, activation="softmax", name="y")(mixed))
    model.save(folder / "two.keras")
    model.export(folder / "two", verbose=False)
    feeds = {name: np.load(folder / f"{name}.npy") for name in ("img", "meta")}
    loaded = keras.saving.load_model(folder / "two.keras", compile=False)
    signature = tf.saved_model.load(str(folder / "two")).signatures["serving_default"]
    tensors = {name: tf.constant(values) for name, values in feeds.items()}
    answers = {"two.keras": loaded(tensors).numpy(), "two": next(iter(signature(**tensors).values())).numpy()}
    np.savez(folder / "answers.npz", **answers)
    hungry = Hungry()
    tf.saved_model.save(hungry, str(folder / "hungry"), signatures={"serving_default": hungry.serve})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
