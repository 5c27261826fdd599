"""Run in a child: answers, one JSON line for each on stdin, what TensorFlow and Keras read from a file."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
from typing import Any

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="", TF_ENABLE_ONEDNN_OPTS="0")

import numpy as np
import tensorflow as tf


def digest(value: Any) -> str:
    """A hash of a tensor's bytes; of length-prefixed elements for strings."""
    array = np.asarray(value, object) if isinstance(value, bytes) else np.asarray(value)
    if array.dtype == object:
        items = [bytes(item) for item in array.reshape(-1)]
        return hashlib.sha256(b"".join(len(item).to_bytes(8, "little") + item for item in items)).hexdigest()
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def read(prefix: str) -> dict[str, Any]:
    """Every tensor of a checkpoint but variants: shape and digest."""
    reader = tf.train.load_checkpoint(prefix)
    dtypes = reader.get_variable_to_dtype_map()
    return {
        name: [shape, dtypes[name].name, None if dtypes[name] == tf.variant else digest(reader.get_tensor(name))]
        for name, shape in reader.get_variable_to_shape_map().items()
    }


def bundles(prefixes: list[str]) -> list[list[str]]:
    """What opening and reading says: [prefix, "", message] and for each tensor [prefix, name, message or digest]."""
    said = []
    for prefix in prefixes:
        try:
            reader = tf.train.load_checkpoint(prefix)
            names = sorted(reader.get_variable_to_shape_map())
        except Exception as error:
            said.append([prefix, "", f"{type(error).__name__}: {error}"])
            continue
        said.append([prefix, "", ""])
        for name in names:
            try:
                said.append([prefix, name, f"sha256 {digest(reader.get_tensor(name))}"])
            except Exception as error:
                said.append([prefix, name, f"{type(error).__name__}: {error}"])
    return said


def latest(folder: str) -> list[Any]:
    """What `latest_checkpoint` returns, and what it logs or raises meanwhile."""
    said: list[str] = []
    keep = logging.Handler()
    keep.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    tf.get_logger().addHandler(keep)
    found = None
    try:
        found = tf.train.latest_checkpoint(folder)
    except Exception as error:
        said.append(f"{type(error).__name__}: {error}")
    tf.get_logger().removeHandler(keep)
    return [found, said]


def import_meta_graph(path: str) -> str:
    """What importing a meta graph raises."""
    try:
        with tf.Graph().as_default():
            tf.compat.v1.train.import_meta_graph(path)
    except Exception as error:
        return f"{type(error).__name__} {error}"
    return ""


def train(folder: str) -> list[str]:
    """Two steps of a small model with its optimizer, a vocabulary table and a counter, by a CheckpointManager."""
    tf.keras.utils.set_random_seed(5)
    model = built()
    table = tf.Variable(["a", "bb", "", "ccc"], name="words")
    checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer, words=table)
    manager = tf.train.CheckpointManager(checkpoint, folder, max_to_keep=5)
    images, labels = np.random.rand(32, 8, 8, 1).astype("f"), np.arange(32) % 10
    saves = []
    for _ in range(2):
        model.fit(images, labels, epochs=1, batch_size=16, verbose=0)
        saves.append(manager.save())
    return saves


def built() -> Any:
    model = tf.keras.Sequential(
        [
            tf.keras.Input((8, 8, 1)),
            tf.keras.layers.Conv2D(4, 3, name="conv1"),
            tf.keras.layers.BatchNormalization(name="bn1"),
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dense(10, name="logits"),
        ]
    )
    model.compile("adam", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def restore(prefix: str, expect_partial: bool) -> dict[str, str]:
    """A fresh object tree restored from a checkpoint of `train`: digests of its weights."""
    tf.keras.utils.set_random_seed(99)
    model = built()
    table = tf.Variable(["", "", "", ""], name="words")
    checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer, words=table)
    status = checkpoint.restore(prefix)
    if expect_partial:
        status.expect_partial()
    else:
        status.assert_existing_objects_matched()
    return {w.path.partition("/")[2]: digest(w.numpy()) for w in model.weights} | {"words": digest(table.numpy())}


def version_1(folder: str) -> str:
    """A folder with a checkpoint in the format of the first Saver."""
    place = f"{folder}/v1"
    os.mkdir(place)
    graph = tf.Graph()
    with graph.as_default():
        tf.compat.v1.get_variable("dense/kernel", initializer=np.arange(12, dtype="f4").reshape(3, 4))
        tf.compat.v1.get_variable("step", initializer=np.int64(7))
        saver = tf.compat.v1.train.Saver(write_version=tf.compat.v1.train.SaverDef.V1)
        with tf.compat.v1.Session() as session:
            session.run(tf.compat.v1.global_variables_initializer())
            saver.save(session, f"{place}/model.ckpt", write_meta_graph=False)
    return place


def sharded(folder: str) -> str:
    """A checkpoint in several shards, a variable cut into tiles over them."""
    big = tf.train.Checkpoint(
        a=tf.Variable(tf.reshape(tf.range(2000, dtype=tf.float32), (100, 20)), name="a"),
        b=tf.Variable(tf.ones((7, 3), tf.bfloat16), name="b"),
    )
    policy = tf.train.experimental.MaxShardSizePolicy(max_shard_size=3000)
    return str(big.write(f"{folder}/sharded", tf.train.CheckpointOptions(experimental_sharding_callback=policy)))


def keras_files(folder: str) -> list[str]:
    """A model as .keras, legacy .h5 and .weights.h5, with a recurrent layer and a nested model; their digests."""
    tf.keras.utils.set_random_seed(7)
    inner = tf.keras.Sequential(
        [tf.keras.Input((6,)), tf.keras.layers.Dense(5), tf.keras.layers.Dense(4)], name="inner"
    )
    image = tf.keras.Input((12, 6), name="series")
    x = tf.keras.layers.LSTM(6, name="memory")(image)
    x = tf.keras.layers.BatchNormalization(name="bn")(x)
    x = inner(x)
    out = tf.keras.layers.Dense(3, name="head")(x)
    model = tf.keras.Model(image, out, name="whole")
    for variable in model.weights:
        variable.assign(np.random.rand(*variable.shape).astype("f"))
    model.save(f"{folder}/model.keras")
    model.save(f"{folder}/model.h5")
    model.save_weights(f"{folder}/model.weights.h5")
    return [digest(w.numpy()) for w in model.weights]


def bfloat16_file(folder: str) -> list[str]:
    """A small model of bfloat16 weights as .keras and .weights.h5."""
    model = tf.keras.Sequential([tf.keras.Input((6,)), tf.keras.layers.Dense(5, dtype="bfloat16", name="d")])
    model.save(f"{folder}/half.keras")
    model.save_weights(f"{folder}/half.weights.h5")
    return [digest(w.numpy()) for w in model.weights]


def load_weights(architecture: str, weights: str, skip_mismatch: bool) -> list[str]:
    """A model whose weights were all set to 0.5, then loaded: their digests."""
    model = tf.keras.models.load_model(architecture, compile=False)
    for variable in model.weights:
        variable.assign(tf.fill(variable.shape, tf.cast(0.5, variable.dtype)))
    model.load_weights(weights, skip_mismatch=skip_mismatch)
    return [digest(w.numpy()) for w in model.weights]


def predict(architecture: str, weights: str) -> list[list[float]]:
    """Answers of a model and of the same with other weights loaded, to one input."""
    model = tf.keras.models.load_model(architecture, compile=False)
    x = np.random.default_rng(0).random((1, *model.inputs[0].shape[1:])).astype("f")
    first = model(x).numpy()
    for variable in model.weights:
        variable.assign(np.zeros(variable.shape, "f"))
    model.load_weights(weights)
    return [first.reshape(-1).tolist(), model(x).numpy().reshape(-1).tolist()]


JOBS = (
    read,
    bundles,
    latest,
    import_meta_graph,
    train,
    restore,
    version_1,
    sharded,
    keras_files,
    bfloat16_file,
    load_weights,
    predict,
)
WORK = {job.__name__: job for job in JOBS}


def main() -> None:
    """Answer until the input ends."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        name, arguments = json.loads(line)
        try:
            answer = {"ok": WORK[name](*arguments)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    main()
