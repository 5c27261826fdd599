"""Run in a child: writes SavedModels and Keras 3 checkpoints with TensorFlow, or says what TensorFlow makes of some.

Usage: make FOLDER; load FOLDER... (a JSON line for each); parse (a graph in hexadecimal a line, one JSON answer).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="", TF_ENABLE_ONEDNN_OPTS="0")

import keras
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from keras import layers
from tensorflow.core.protobuf import saved_model_pb2

v1 = tf.compat.v1
IMAGES = np.arange(40, dtype=np.float32).reshape(8, 5) / 40


# ---------------------------------------------------------------------- exports


def affine(rows: int = 2, start: float = 0.5, name: str = "kernel") -> tf.Module:
    """Two variables and a function of them."""
    module = tf.Module()
    module.kernel = tf.Variable(np.full((rows, 3), start, np.float32), name=name)
    module.bias = tf.Variable(np.full(3, start, np.float32), name="bias")
    module.call = tf.function(
        lambda x: x @ module.kernel + module.bias, input_signature=[tf.TensorSpec([None, rows], name="x")]
    )
    return module


def lookup(folder: Path) -> tf.Module:
    """A table that reads its words from an asset."""
    words = folder / "vocab.txt"
    words.write_text("a\nb\n")
    where, what = tf.lookup.TextFileIndex.LINE_NUMBER, tf.lookup.TextFileIndex.WHOLE_LINE
    start = tf.lookup.TextFileInitializer(str(words), tf.string, what, tf.int64, where)
    module = tf.Module()
    module.table = tf.lookup.StaticHashTable(start, -1)
    module.call = tf.function(lambda x: module.table.lookup(x), input_signature=[tf.TensorSpec([None], tf.string)])
    return module


def export_v1(folder: str, *, as_text: bool = False, tags: tuple[str, ...] = ("serve",)) -> None:
    """What a Session and a SavedModelBuilder write; further tags become further meta graphs."""
    builder = v1.saved_model.Builder(folder)
    for number, tag in enumerate(tags):
        with v1.Graph().as_default(), v1.Session() as session:
            x = v1.placeholder(tf.float32, (None, 2), "x")
            kernel = v1.get_variable("dense/kernel", (2, 3), use_resource=len(tags) > 1)
            v1.get_variable("table", (7, 2), use_resource=False, partitioner=v1.fixed_size_partitioner(2))
            y = tf.matmul(x, kernel, name="y")
            session.run(v1.global_variables_initializer())
            signature = v1.saved_model.predict_signature_def({"x": x}, {"y": y})
            if number:
                builder.add_meta_graph([tag], {"serving_default": signature})
            else:
                builder.add_meta_graph_and_variables(session, [tag], {"serving_default": signature})
    builder.save(as_text=as_text)


def make_exports(folder: Path) -> None:
    """One folder per kind of export."""
    tf.saved_model.save(affine(), str(folder / "affine"))
    tf.saved_model.save(affine(start=0.25), str(folder / "trained"))
    tf.saved_model.save(affine(rows=4), str(folder / "wider"))
    tf.saved_model.save(affine(name="weight"), str(folder / "renamed"))
    other = tf.Module()
    other.gain = tf.Variable([1.0], name="gain")
    tf.saved_model.save(other, str(folder / "other"))
    tf.saved_model.save(tf.Module(), str(folder / "bare"))
    tf.saved_model.save(lookup(folder), str(folder / "lookup"))
    model = keras.Sequential([keras.Input((5,)), layers.Dense(4), layers.BatchNormalization(), layers.Dropout(0.5)])
    model.compile("adam", "mse")
    model.fit(IMAGES, np.zeros((8, 4), "f"), verbose=0)
    tf.saved_model.save(model, str(folder / "keras"))
    model.export(str(folder / "keras_export"), verbose=False)
    listed = Listed()
    listed(IMAGES)
    tf.saved_model.save(listed, str(folder / "keras_listed"))
    export_v1(str(folder / "v1"))
    export_v1(str(folder / "v1_text"), as_text=True)
    export_v1(str(folder / "v1_two"), tags=("train", "serve"))


# ---------------------------------------------------------------------- models whose layers hide


class Listed(keras.Model):
    """Layers in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = [layers.Dense(4, name="first"), layers.Dense(2, name="second")]

    def call(self, x: Any) -> Any:
        for block in self.blocks:
            x = block(x)
        return x


class Keyed(keras.Model):
    """Layers in a dictionary, one of them with moving statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = {"a": layers.Dense(4), "b": layers.BatchNormalization()}

    def call(self, x: Any) -> Any:
        return self.parts["b"](self.parts["a"](x))


class Half(keras.Model):
    """A head of its own, and layers in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = [layers.Dense(4), layers.BatchNormalization()]
        self.head = layers.Dense(1, name="head")

    def call(self, x: Any) -> Any:
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class Loose(layers.Layer):
    """Variables in a list."""

    def build(self, shape: Any) -> None:
        self.parts = [self.add_weight(shape=(shape[-1], 3), name="w0"), self.add_weight(shape=(3,), name="w1")]

    def call(self, x: Any) -> Any:
        return x @ self.parts[0] + self.parts[1]


class Nested(keras.Model):
    """A layer that keeps its variables in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.loose = Loose()
        self.out = layers.Dense(2)

    def call(self, x: Any) -> Any:
        return self.out(self.loose(x))


class Proper(keras.Model):
    """Every layer an attribute, some of them without weights."""

    def __init__(self) -> None:
        super().__init__()
        self.flat = layers.Flatten()
        self.dense = layers.Dense(4)
        self.norm = layers.BatchNormalization()
        self.act = layers.Activation("relu")
        self.drop = layers.Dropout(0.5)

    def call(self, x: Any, training: bool = False) -> Any:
        x = self.norm(self.dense(self.flat(x)), training=training)
        return self.drop(self.act(x), training=training)


def trained(model: keras.Model) -> keras.Model:
    """The model after one step of Adam."""
    target = np.zeros(model(IMAGES).shape, "f")
    model.compile("adam", "mse")
    model.fit(IMAGES, target, verbose=0)
    return model


def make_checkpoints(folder: Path) -> None:
    """Checkpoints of models whose layers hide, and of models where nothing does."""
    for kind in (Listed, Keyed, Half, Nested, Proper):
        name = kind.__name__.lower()
        model = kind()
        model(IMAGES)
        tf.train.Checkpoint(model=model).write(str(folder / name))
        model = trained(kind())
        tf.train.Checkpoint(model=model, optimizer=model.optimizer).write(str(folder / f"{name}_optimizer"))
        tf.train.Checkpoint(model).write(str(folder / f"{name}_compiled"))
    model = Listed()
    model(IMAGES)
    tf.train.Checkpoint(model=model, step=tf.Variable(7, dtype=tf.int64)).save(str(folder / "listed_step"))
    tf.train.Checkpoint(model).save(str(folder / "listed_root"))
    tf.train.Checkpoint(model=Proper()).write(str(folder / "unbuilt"))
    blank = keras.Sequential([keras.Input((5,)), layers.Dropout(0.5), layers.ReLU()])
    tf.train.Checkpoint(model=blank).write(str(folder / "weightless"))
    plain = keras.Sequential([keras.Input((5,)), layers.Dense(4, trainable=False), layers.Dense(2)])
    plain.compile("sgd", "mse")
    plain.fit(IMAGES, np.zeros((8, 2), "f"), verbose=0)
    tf.train.Checkpoint(model=plain, optimizer=plain.optimizer).write(str(folder / "sequential_optimizer"))
    module = tf.Module()
    module.items = [tf.Variable(1.0), layers.Dense(2)]
    loose = {"a": tf.Variable(2.0)}
    tf.train.Checkpoint(module=module, loose=loose, optimizer=keras.optimizers.Adam()).write(str(folder / "module"))
    optimizer = trained(Proper()).optimizer
    tf.train.Checkpoint(optimizer=optimizer).write(str(folder / "optimizer_only"))
    again = Listed()
    again(IMAGES)
    tf.train.Checkpoint(model=again).read(str(folder / "listed")).assert_consumed()
    same = bool(np.array_equal(again.blocks[0].get_weights()[0], model.blocks[0].get_weights()[0]))
    (folder / "restored.json").write_text(json.dumps({"consumed": True, "same": same}))


# ---------------------------------------------------------------------- what TensorFlow says


def told(folder: str) -> dict[str, str]:
    """What `tf.saved_model.load` says about a folder; empty where it loads."""
    try:
        tf.saved_model.load(folder)
    except Exception as error:
        return {"folder": folder, "error": type(error).__name__, "text": str(error)}
    return {"folder": folder, "error": "", "text": ""}


def parsed(proto: bytes) -> list[Any] | None:
    """What protobuf reads in a graph: tags, version, nodes, functions, objects, signatures; None where it refuses."""
    try:
        graphs = saved_model_pb2.SavedModel.FromString(proto).meta_graphs
    except DecodeError:
        return None
    return [
        [
            list(graph.meta_info_def.tags),
            graph.meta_info_def.tensorflow_version,
            len(graph.graph_def.node),
            len(graph.graph_def.library.function),
            len(graph.object_graph_def.nodes),
            sorted(name for name in graph.signature_def if name and not name.startswith("__saved_model_")),
        ]
        for graph in graphs
    ]


def hashes(lengths: list[int]) -> dict[int, str]:
    """TensorFlow's own FarmHash fingerprint of bytes(i * 7 % 251 for i in range(length))."""
    out = {}
    for length in lengths:
        data = tf.constant([[i * 7 % 251 for i in range(length)]], tf.uint8, (1, length))
        out[length] = tf.raw_ops.Fingerprint(data=data, method="farmhash64").numpy().tobytes()[::-1].hex()
    return out


def main(arguments: list[str]) -> None:
    job, *paths = arguments
    if job == "load":
        for path in paths:
            print(json.dumps(told(path)), flush=True)
        return
    if job == "parse":
        print(json.dumps([parsed(bytes.fromhex(line.strip())) for line in sys.stdin]))
        return
    folder = Path(paths[0])
    (folder / "checkpoints").mkdir(parents=True)
    make_exports(folder)
    make_checkpoints(folder / "checkpoints")
    (folder / "farmhash.json").write_text(json.dumps(hashes([*range(200), 1000, 4096])))


if __name__ == "__main__":
    main(sys.argv[1:])
