"""Run in a child: writes bundles with TensorFlow, and says what TensorFlow reads from them and from others.

Usage: python tensorflow_bundles.py FOLDER [PREFIX...]; a JSON line per bundle goes to FOLDER/answers.jsonl.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="", TF_ENABLE_ONEDNN_OPTS="0")

import numpy as np
import tensorflow as tf

DTYPES = """
    float32 float64 int32 uint8 int16 int8 string complex64 int64 bool qint8 quint8 qint32 bfloat16 qint16 quint16
    uint16 complex128 float16 uint32 uint64 float8_e5m2 float8_e4m3fn float8_e4m3fnuz float8_e4m3b11fnuz
    float8_e5m2fnuz int4 uint4 int2 uint2 float4_e2m1fn
"""


def digest(value: Any) -> str:
    """A hash of a tensor's bytes; of length-prefixed elements for strings."""
    array = np.asarray(value, object) if isinstance(value, bytes) else np.asarray(value)
    if array.dtype == object:
        items = [bytes(item) for item in array.reshape(-1)]
        return hashlib.sha256(b"".join(len(item).to_bytes(8, "little") + item for item in items)).hexdigest()
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


LIMITS = {"int4": 8, "uint4": 16, "int2": 2, "uint2": 4, "float4_e2m1fn": 16, "bool": 2}
"""Dtypes of less than a byte: bytes below this are values."""


def tensor_of(name: str, shape: tuple[int, ...]) -> tf.Tensor:
    """A tensor of any dtype with made-up bits."""
    count = int(np.prod(shape))
    if name == "string":
        texts = [b"", b"a\x00b", b"x" * 300, "é".encode(), b"\xff", b"tail"]
        return tf.constant(texts[:count], tf.string, shape)
    dtype = getattr(tf, name, None) or getattr(tf.dtypes.experimental, name)
    content = np.arange(count * dtype.size, dtype=np.uint8)
    if name in LIMITS:
        content %= LIMITS[name]
    values = content.view(dtype.as_numpy_dtype).reshape(shape)
    try:
        return tf.constant(values, dtype=dtype)
    except (TypeError, ValueError):
        return tf.bitcast(tf.constant(values.astype(values.dtype.name.lstrip("q"))), dtype)


def save_dtypes(folder: Path) -> None:
    """Every dtype TensorFlow can save: a 2x3, a scalar and an empty tensor of each."""
    names, tensors = [], []
    for name in DTYPES.split():
        for label, shape in ("whole", (2, 3)), ("scalar", ()), ("empty", (0, 4)):
            try:
                tensors.append(tensor_of(name, shape))
            except Exception as error:
                print(f"no {name}: {error}", file=sys.stderr)
                break
            names.append(f"{name}/{label}")
    tf.raw_ops.SaveV2(
        prefix=str(folder / "dtypes"), tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors
    )


def save_model(folder: Path) -> None:
    """A trained Keras model and its optimizer by a CheckpointManager, an export, a bundle in several shards."""
    tf.keras.utils.set_random_seed(1)
    model = tf.keras.Sequential(
        [
            tf.keras.Input((8, 8, 1)),
            tf.keras.layers.Conv2D(4, 3, name="conv1"),
            tf.keras.layers.BatchNormalization(name="bn1"),
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dropout(0.5, name="drop"),
            tf.keras.layers.Dense(10, name="logits"),
        ]
    )
    model.compile("adam", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    images, labels = np.random.rand(32, 8, 8, 1).astype("f"), np.arange(32) % 10
    model.fit(images, labels, epochs=1, batch_size=16, verbose=0)
    checkpoint = tf.train.Checkpoint(
        model=model, optimizer=model.optimizer, step=tf.Variable(7, dtype=tf.int64, name="step")
    )
    manager = tf.train.CheckpointManager(checkpoint, str(folder / "run"), max_to_keep=3)
    manager.save()
    model.fit(images, labels, epochs=1, batch_size=16, verbose=0)
    manager.save()
    model.export(str(folder / "exported"), verbose=False)
    big = tf.train.Checkpoint(
        a=tf.Variable(tf.reshape(tf.range(2000, dtype=tf.float32), (100, 20)), name="a"),
        b=tf.Variable(tf.ones((7, 3), tf.bfloat16), name="b"),
    )
    options = tf.train.CheckpointOptions(
        experimental_sharding_callback=tf.train.experimental.MaxShardSizePolicy(max_shard_size=3000)
    )
    big.write(str(folder / "sharded"), options=options)


def save_v1(folder: Path) -> None:
    """A Saver's checkpoint with a variable cut by a partitioner."""
    graph = tf.Graph()
    with graph.as_default():
        tf.compat.v1.get_variable(
            "table/embeddings",
            (11, 3),
            partitioner=tf.compat.v1.fixed_size_partitioner(4),
            initializer=tf.compat.v1.random_normal_initializer(seed=1),
        )
        tf.compat.v1.get_variable("dense/kernel", (3, 2))
        tf.compat.v1.train.get_or_create_global_step()
        saver = tf.compat.v1.train.Saver()
        with tf.compat.v1.Session(graph=graph) as session:
            session.run(tf.compat.v1.global_variables_initializer())
            saver.save(session, str(folder / "model.ckpt"), global_step=30)


def answer(prefix: str) -> dict[str, Any]:
    """What `tf.train.load_checkpoint` makes of every tensor of a bundle."""
    try:
        reader = tf.train.load_checkpoint(prefix)
        shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    except Exception as error:
        return {"prefix": prefix, "error": f"{type(error).__name__}: {error}"[:300]}
    tensors = {}
    for name in shapes:
        try:
            value = None if dtypes[name] == tf.variant else digest(reader.get_tensor(name))
        except Exception as error:
            value = f"{type(error).__name__}: {error}"[:200]
        tensors[name] = [dtypes[name].name, list(shapes[name]), value]
    return {"prefix": prefix, "tensors": tensors}


def main(arguments: list[str]) -> None:
    folder = Path(arguments[0])
    folder.mkdir(exist_ok=True)
    save_dtypes(folder)
    save_model(folder)
    save_v1(folder)
    made = [str(path)[: -len(".index")] for path in sorted(folder.rglob("*.index"))]
    with open(folder / "answers.jsonl", "w") as out:
        for prefix in [*made, *arguments[1:]]:
            out.write(json.dumps(answer(prefix)) + "\n")
            out.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
