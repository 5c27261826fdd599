"""What TensorFlow itself reads in serialized Examples and encoded images, and models that take them.

Run as a script with a folder: reads `asked.npz` there, writes `told.npz` and the SavedModels `examples`, `sequences`,
`pictures`.
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

SPEC = {
    "age": tf.io.FixedLenFeature([1], tf.int64),
    "weights": tf.io.FixedLenFeature([3], tf.float32, default_value=[1.0, 1.0, 1.0]),
    "name": tf.io.FixedLenFeature([], tf.string, default_value=""),
    "ids": tf.io.VarLenFeature(tf.int64),
}


def strings(stored: Any) -> list[bytes]:
    """Byte strings kept as uint8 bytes and lengths."""
    data, ends = stored["data"].tobytes(), np.cumsum(stored["lengths"])
    return [data[end - length : end] for end, length in zip(ends, stored["lengths"], strict=True)]


class Examples(tf.Module):
    """age + sum(weights) + sum(ids) of serialized Examples."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(self, examples: Any) -> dict[str, Any]:
        parsed = tf.io.parse_example(examples, SPEC)
        total = tf.cast(parsed["age"][:, 0], tf.float32) + tf.reduce_sum(parsed["weights"], 1)
        ids = tf.reduce_sum(tf.sparse.to_dense(parsed["ids"]), 1)
        return {"total": total + tf.cast(ids, tf.float32)}


class Sequences(tf.Module):
    """length + sum(steps) of serialized SequenceExamples."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="sequences")])
    def serve(self, sequences: Any) -> dict[str, Any]:
        context = {"length": tf.io.FixedLenFeature([], tf.int64), "tags": tf.io.VarLenFeature(tf.string)}
        lists = {"steps": tf.io.FixedLenSequenceFeature([2], tf.int64), "more": tf.io.RaggedFeature(tf.float32)}
        held, steps, _ = tf.io.parse_sequence_example(sequences, context, lists)
        return {"total": held["length"] + tf.reduce_sum(steps["steps"], [1, 2])}


DATA = tf.TensorSpec([None], tf.string, name="data")


class Pictures(tf.Module):
    """Mean of the left half less the mean of the right, of encoded images."""

    def lean(self, data: Any, decode: Any) -> dict[str, Any]:
        def one(encoded: Any) -> Any:
            image = tf.ensure_shape(tf.cast(decode(encoded), tf.float32), [24, 32, 3])
            return tf.reduce_mean(image[:, :16]) - tf.reduce_mean(image[:, 16:])

        return {"lean": tf.map_fn(one, data, fn_output_signature=tf.float32)}

    @tf.function(input_signature=[DATA])
    def serve(self, data: Any) -> dict[str, Any]:
        return self.lean(data, lambda one: tf.io.decode_image(one, channels=3, expand_animations=False))

    @tf.function(input_signature=[DATA])
    def base64(self, data: Any) -> dict[str, Any]:
        return self.lean(data, lambda one: tf.io.decode_jpeg(tf.io.decode_base64(one), channels=3))

    @tf.function(input_signature=[DATA])
    def field(self, data: Any) -> dict[str, Any]:
        found = tf.io.parse_example(data, {"image": tf.io.FixedLenFeature([], tf.string)})["image"]
        return self.lean(tf.io.decode_base64(found), lambda one: tf.io.decode_png(one, channels=3))

    @tf.function(input_signature=[DATA])
    def bmp(self, data: Any) -> dict[str, Any]:
        return self.lean(data, lambda one: tf.io.decode_bmp(one, channels=3))

    @tf.function(input_signature=[DATA])
    def crop(self, data: Any) -> dict[str, Any]:
        return self.lean(data, lambda one: tf.io.decode_and_crop_jpeg(one, [0, 0, 24, 32], channels=3))


def main(folder: Path) -> None:
    asked = np.load(folder / "asked.npz")
    told: dict[str, Any] = {}
    for number, one in enumerate(strings({"data": asked["data"], "lengths": asked["lengths"]})):
        message = tf.train.Example.FromString(one)
        # Deterministic serialization sorts a map's keys; what counts is that parsing and writing again lose nothing.
        told[f"same/{number}"] = np.array(tf.train.Example.FromString(message.SerializeToString()) == message)
        for key, feature in message.features.feature.items():
            kind = feature.WhichOneof("kind")
            values = list(getattr(feature, kind).value)
            told[f"{number}/{key}/{kind}"] = np.array(values, {"bytes_list": "S", "float_list": "f4"}.get(kind, "i8"))
    sequence = tf.train.SequenceExample.FromString(asked["sequence"].tobytes())
    steps = sequence.feature_lists.feature_list["steps"].feature
    told["sequence"] = np.array([list(step.int64_list.value) for step in steps])
    told["context"] = np.array(sequence.context.feature["length"].int64_list.value)
    encoded = (folder / "turned.jpg").read_bytes()
    told["decoded"] = tf.io.decode_jpeg(encoded).numpy()
    told["loaded"] = np.asarray(keras.utils.load_img(folder / "turned.jpg"))
    told["png"] = tf.io.decode_image((folder / "image.png").read_bytes()).numpy()
    for name, module in (("examples", Examples()), ("sequences", Sequences())):
        tf.saved_model.save(module, str(folder / name), signatures=module.serve)
    pictures = Pictures()
    names = ("base64", "field", "bmp", "crop")
    functions = {"serving_default": pictures.serve, **{name: getattr(pictures, name) for name in names}}
    tf.saved_model.save(pictures, str(folder / "pictures"), signatures=functions)
    np.savez(folder / "told.npz", **told)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
