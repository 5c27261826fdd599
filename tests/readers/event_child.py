"""Run by path with TensorFlow: event files as it writes them, and what its own reader finds in them.

`python event_child.py FOLDER`: writes below FOLDER, and `oracle.json` there.
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

V1 = tf.compat.v1


def scalars_of(path: str) -> list[tuple[str, int, float, str]]:
    """(tag, step, wall, value) of every event with one number, as TensorFlow reads them."""
    out = []
    for event in V1.train.summary_iterator(path):
        for value in event.summary.value:
            kind = value.WhichOneof("value")
            if kind == "simple_value":
                number = value.simple_value
            elif kind == "tensor":
                array = tf.make_ndarray(value.tensor)
                if array.ndim or array.dtype.kind in "OSU":
                    continue
                number = float(array)
            else:
                continue
            # JSON has no NaN that every reader takes
            out.append((value.tag, event.step, event.wall_time, repr(float(number))))
    return out


def events_read(path: Path, data: bytes) -> int:
    """How many events TensorFlow reads of a file of these bytes before it gives up."""
    path.write_bytes(data)
    count = 0
    try:
        for _ in V1.train.summary_iterator(str(path)):
            count += 1
    except tf.errors.DataLossError:
        pass
    return count


def scalar(tag: str, value: Any, step: int) -> None:
    """What `tf.summary.scalar` writes, which needs TensorBoard: a tensor with the name of its plugin."""
    plugin = V1.SummaryMetadata.PluginData(plugin_name="scalars")
    tf.summary.write(tag, value, step, metadata=V1.SummaryMetadata(plugin_data=plugin, data_class=1))


def other(tag: str, value: Any, step: int, plugin: str) -> None:
    """A tensor of another plugin."""
    data = V1.SummaryMetadata.PluginData(plugin_name=plugin)
    tf.summary.write(tag, value, step, metadata=V1.SummaryMetadata(plugin_data=data))


def write_kinds(folder: Path) -> None:
    """Scalars of every type, between histograms, images and texts."""
    with tf.summary.create_file_writer(str(folder)).as_default():
        for step in range(6):
            scalar("loss", 1.0 / (step + 1), step)
            for dtype in ("float16", "bfloat16", "float64", "int32", "int64", "uint8"):
                scalar(f"as/{dtype}", tf.cast(3 * step + 1, dtype), step)
            other("weights", tf.zeros((30, 3), tf.float64), step, "histograms")
            other("note", tf.constant("words"), step, "text")
            other("picture", tf.constant(["4", "4", "x" * 2000]), step, "images")
        for step, value in ((6, np.nan), (7, np.inf), (8, 0.0)):
            scalar("loss", value, step)
        tf.summary.write("plain", tf.constant(7.5), step=9)


def write_old(folder: Path) -> None:
    """TF1's writer: simple values, a graph before them."""
    with tf.Graph().as_default() as graph:
        V1.placeholder(tf.float32, name="x")
        writer = V1.summary.FileWriter(str(folder), graph)
    for step in range(0, 50, 10):
        values = [V1.Summary.Value(tag=tag, simple_value=step / 7) for tag in ("loss", "global_step/sec")]
        writer.add_summary(V1.Summary(value=values), step)
    writer.close()


class Curves(keras.callbacks.Callback):  # type: ignore[misc]
    """What Keras' TensorBoard callback writes at the end of an epoch: steps from 0, a folder for the validation."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.writers = {name: tf.summary.create_file_writer(str(folder / name)) for name in ("train", "validation")}

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        for key, value in (logs or {}).items():
            name = "validation" if key.startswith("val_") else "train"
            with self.writers[name].as_default():
                scalar("epoch_" + key.removeprefix("val_"), value, epoch)
        with self.writers["train"].as_default():
            scalar("epoch_learning_rate", float(self.model.optimizer.learning_rate), epoch)


def train(folder: Path) -> None:
    """Keras: curves beside epoch files."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.compile("adam", "mse")
    x, y = np.ones((8, 4), "f4"), np.zeros((8, 2), "f4")
    callbacks = [
        Curves(folder / "logs"),
        keras.callbacks.ModelCheckpoint(str(folder / "saves" / "cp-{epoch:04d}.weights.h5"), save_weights_only=True),
    ]
    (folder / "saves").mkdir()
    model.fit(x, y, validation_data=(x, y), epochs=4, verbose=0, callbacks=callbacks)


def main(folder: Path) -> None:
    write_kinds(folder / "kinds")
    write_old(folder / "old")
    (folder / "keras").mkdir()
    train(folder / "keras")
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*tfevents*")):
        found[os.path.relpath(path, folder)] = scalars_of(str(path))
    small = folder / "small"
    with tf.summary.create_file_writer(str(small)).as_default():
        for step in range(4):
            scalar("loss", float(step), step)
    (made,) = small.iterdir()
    data = made.read_bytes()
    scratch = folder / "scratch"
    cuts = [events_read(scratch, data[:size]) for size in range(len(data))]
    flips = [
        events_read(scratch, data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]) for at in range(len(data))
    ]
    scratch.unlink()
    oracle = {"scalars": found, "small": os.path.relpath(made, folder), "cuts": cuts, "flips": flips}
    (folder / "oracle.json").write_text(json.dumps(oracle))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
