"""Models for every loader and what plain TensorFlow answers with them: run with a folder to write to, and two more.

Arguments: folder for the models, samples' folder, folder of the third-party models ("" where there is none).
"""

# mypy: disable-error-code="misc, untyped-decorator"
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

v1 = tf.compat.v1
Answers = dict[str, Any]


def images(*shape: int) -> Any:
    return np.random.default_rng(7).random(shape, np.float32)


def restored(prefix: Path, feeds: dict[str, Any], fetches: dict[str, str]) -> Answers:
    """What Saver.restore and Session.run give; keys of `fetches` are those of the answers."""
    with v1.Graph().as_default(), v1.Session() as session:
        saver = v1.train.import_meta_graph(f"{prefix}.meta", clear_devices=True)
        saver.restore(session, str(prefix))
        return {key: session.run(name, feeds) for key, name in fetches.items()}


def training_graph(folder: Path) -> Answers:
    """A graph with switches, a partitioned variable and a moving average, saved by a Saver."""
    prefix, x = folder / "run" / "model.ckpt-20", images(3, 6)
    with v1.Graph().as_default(), v1.Session() as session:
        given = v1.placeholder(tf.float32, [None, 6], "features")
        labels = v1.placeholder(tf.int64, [None], "labels")
        keep = v1.placeholder(tf.float32, [], "keep_prob")
        training = v1.placeholder(tf.bool, [], "is_training")
        scale = v1.placeholder_with_default(np.float32(2), [], "scale")
        cut = v1.fixed_size_partitioner(2)
        first = v1.get_variable("first/weights", [6, 5], partitioner=cut, initializer=v1.glorot_uniform_initializer(1))
        hidden = v1.nn.relu(tf.matmul(given, tf.convert_to_tensor(first)) * scale)
        hidden = v1.cond(training, lambda: hidden * 100.0, lambda: hidden)
        dropped = v1.nn.dropout(hidden, keep_prob=keep)
        second = v1.get_variable("second/weights", [5, 4], initializer=v1.glorot_uniform_initializer(2))
        bias = v1.get_variable("second/bias", [4], initializer=v1.random_uniform_initializer(seed=3), use_resource=True)
        logits = tf.add(tf.matmul(dropped, second), bias, name="logits")
        tf.nn.softmax(logits, name="answer")
        loss = v1.losses.sparse_softmax_cross_entropy(labels, logits)
        v1.summary.scalar("loss", loss)
        v1.summary.histogram("hidden", hidden)
        v1.train.AdamOptimizer().minimize(loss)
        session.run(v1.global_variables_initializer())
        saver = v1.train.Saver()
        saver.save(session, str(prefix))
        saver.save(session, str(folder / "run" / "model.ckpt-30"), write_meta_graph=False)
        meta = v1.train.export_meta_graph()
    node = next(node for node in meta.graph_def.node if node.op == "Softmax")
    node.op = "SoftmaxOfAnotherTensorFlow"
    (folder / "foreign.meta").write_bytes(meta.SerializeToString())
    feeds = {"features:0": x, "keep_prob:0": 1.0, "is_training:0": False}
    found = restored(prefix, feeds, {"run": "answer:0", "run-logits": "logits:0"})
    louder = restored(prefix, {**feeds, "scale:0": np.float32(3)}, {"run-scaled": "answer:0"})
    return {**found, **louder}


def looked_up(folder: Path) -> None:
    """A graph whose labels come from a table; the file of the table is gone."""
    words = folder / "words.txt"
    words.write_text("cat\ndog\n")
    with v1.Graph().as_default(), v1.Session() as session:
        given = v1.placeholder(tf.float32, [None, 6], "features")
        weights = v1.get_variable("weights", [6, 2], initializer=v1.glorot_uniform_initializer(1))
        scores = tf.nn.softmax(tf.matmul(given, weights), name="answer")
        lines = tf.lookup.TextFileInitializer(
            str(words), tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE
        )
        tf.identity(tf.lookup.StaticHashTable(lines, "?").lookup(tf.argmax(scores, 1)), name="label")
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        v1.train.Saver().save(session, str(folder / "looked" / "model.ckpt-1"))
    words.unlink()


class Module(tf.Module):
    """Signatures of all sorts."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = tf.Variable(images(4, 3), name="weight")

    @tf.function(input_signature=[tf.TensorSpec([None, 4], name="left"), tf.TensorSpec([], name="factor")])
    def several(self, left: Any, factor: Any) -> Answers:
        return {"scaled": self.helper(left) * factor, "most": tf.argmax(left, 1)}

    @tf.function
    def helper(self, values: Any) -> Any:
        return tf.matmul(values, self.weight)

    @tf.function(input_signature=[tf.TensorSpec([None, 4], name="used"), tf.TensorSpec([None, 4], name="unused")])
    def deaf(self, used: Any, unused: Any) -> Answers:
        # of the second only the shape is looked at, inside a function
        return {"y": self.helper(used) + self.shape_alone(unused)}

    @tf.function
    def shape_alone(self, values: Any) -> Any:
        return tf.zeros([tf.shape(values)[0], 3]) + 0 * tf.cast(tf.size(values), tf.float32)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="words")])
    def shout(self, words: Any) -> Answers:
        return {"loud": tf.strings.upper(words), "length": tf.strings.length(words)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="files")])
    def decoded(self, files: Any) -> Answers:
        def one(file: Any) -> Any:
            return tf.reduce_mean(tf.cast(tf.io.decode_png(file, 3), tf.float32), [0, 1])

        return {"mean": tf.map_fn(one, files, fn_output_signature=tf.float32)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def parsed(self, examples: Any) -> Answers:
        features = {
            "x": tf.io.FixedLenFeature([2], tf.float32),
            "d": tf.io.FixedLenFeature([], tf.int64, default_value=3),
            "v": tf.io.VarLenFeature(tf.string),
            "r": tf.io.RaggedFeature(tf.float32),
        }
        found = tf.io.parse_example(examples, features)
        total = tf.reduce_sum(found["x"], 1) + tf.cast(found["d"], tf.float32) + tf.reduce_sum(found["r"], 1)
        return {"total": total}


def signatures(folder: Path) -> Answers:
    """A SavedModel with many signatures and none called serving_default; as text too."""
    module, place = Module(), folder / "signatures"
    functions = {name: getattr(module, name) for name in ("several", "deaf", "shout", "decoded", "parsed")}
    tf.saved_model.save(module, str(place), signatures=functions)
    text = folder / "as_text"
    tf.saved_model.save(module, str(text), signatures={"serving_default": module.several})
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel()
    proto.ParseFromString((text / "saved_model.pb").read_bytes())
    (text / "saved_model.pbtxt").write_text(str(proto))
    (text / "saved_model.pb").unlink()
    loaded = tf.saved_model.load(str(place))
    png = tf.io.encode_png(np.full((2, 2, 3), 100, np.uint8)).numpy()
    (folder / "grey.png").write_bytes(png)
    several = loaded.signatures["several"](left=tf.constant(images(2, 4)), factor=tf.constant(3.0))
    return {
        "several-scaled": several["scaled"].numpy(),
        "several-most": several["most"].numpy(),
        "decoded": loaded.signatures["decoded"](files=tf.constant([png]))["mean"].numpy(),
    }


def layers(folder: Path) -> Answers:
    """Keras models: two named inputs; one whose weights fit another in part; sharded weights."""
    left, right = keras.Input((4,), name="left"), keras.Input((3,), name="right", dtype="int32")
    embedded = keras.layers.Flatten()(keras.layers.Embedding(5, 2, name="words")(right))
    joined = keras.layers.Concatenate()([keras.layers.Dense(3, name="first")(left), embedded])
    two = keras.Model({"left": left, "right": right}, [keras.layers.Dense(2, name="a")(joined), joined])
    two.save(folder / "two.keras")
    recurrent = keras.layers.LSTM(4, stateful=True, name="lstm")
    carrying = keras.Sequential([keras.Input(batch_shape=(1, 7, 5)), recurrent])
    carrying.save(folder / "stateful.keras")
    carrying.export(folder / "stateful", verbose=False, input_signature=[tf.TensorSpec((1, 7, 5), tf.float32)])
    two.save(folder / "two.h5")
    numbers = {"left": images(2, 4), "right": np.array([[0, 1, 4], [3, 2, 1]], np.int32)}
    found = {f"two-{place}": value.numpy() for place, value in enumerate(two(numbers))}

    def stack(classes: int, name: str) -> Any:
        inputs = keras.Input((8, 8, 1), name="image")
        x = keras.layers.Conv2D(4, 3, name="conv")(inputs)
        x = keras.layers.BatchNormalization(name="norm")(x)
        x = keras.layers.GlobalAveragePooling2D()(x)
        return keras.Model(inputs, keras.layers.Dense(classes, name="head")(x), name=name)

    ten, four = stack(10, "ten"), stack(4, "four")
    for model in (ten, four):
        model.set_weights([images(*weight.shape) + 0.1 for weight in model.weights])
    ten.save(folder / "ten.keras")
    (folder / "ten.json").write_text(ten.to_json())
    ten.save_weights(folder / "ten.weights.h5")
    four.save_weights(folder / "four.weights.h5")
    ten.save_weights(folder / "ten.weights.json", max_shard_size=1e-6)
    tf.train.Checkpoint(net=four).write(str(folder / "four-ckpt"))
    ten.export(folder / "ten_export", verbose=False)
    found["ten"] = ten(images(2, 8, 8, 1)).numpy()
    dense = keras.Sequential([keras.Input((784,)), keras.layers.Dense(10, activation="softmax")])
    (folder / "dense.json").write_text(dense.to_json())
    return found


def old_keras(folder: Path) -> Answers:
    """A file of Keras 2 that Keras 3 does not take, and a Lambda that neither may run."""
    import tf_keras

    inputs = tf_keras.Input((8, 8, 2))
    x = tf_keras.layers.DepthwiseConv2D(3)(inputs)
    model = tf_keras.Model(inputs, tf_keras.layers.Flatten()(x))
    model.save(folder / "old.h5")
    import h5py

    with h5py.File(folder / "old.h5", "r+") as file:
        config = file.attrs["model_config"]
        config = config.decode() if isinstance(config, bytes) else config
        assert '"dilation_rate"' in config
        file.attrs["model_config"] = config.replace('"dilation_rate"', '"groups": 1, "dilation_rate"', 1)
    pixels = tf_keras.Input((8, 8, 3))
    grey = tf.image.resize(tf.image.rgb_to_grayscale(pixels), (4, 4))
    for name, x in (("old-relu", tf.nn.relu(grey)), ("old-scaled", tf.cast(grey, tf.float32) / 255.0)):
        tf_keras.Model(pixels, tf_keras.layers.Flatten()(x)).save(folder / f"{name}.h5")
    caffe = tf_keras.applications.resnet.preprocess_input(pixels)
    tf_keras.Model(pixels, tf_keras.layers.Flatten()(caffe)).save(folder / "old-caffe.h5")
    again = tf_keras.models.load_model(folder / "old.h5", compile=False)
    marked = tf_keras.Sequential([tf_keras.layers.Lambda(lambda t: t + 1, input_shape=(2,))])
    marked.save(folder / "lambda.h5")
    return {"old": again(images(1, 8, 8, 2)).numpy()}


def main(folder: Path, samples: Path, shared: str) -> None:
    """Write the models, and `direct.npz` with the answers."""
    x = images(2, 16, 16, 1)
    fetches = {"estimator": "dense/add:0", "estimator-class": "ArgMax:0"}
    found = restored(samples / "estimator" / "model.ckpt-300", {"image:0": x}, fetches)
    if shared:
        place = Path(shared) / "estimator_model_dir" / "model.ckpt-30"
        feeds = {"IteratorGetNext:0": images(2, 12, 12, 1)}
        found.update(restored(place, feeds, {"iterator": "Softmax:0"}))
    found.update(training_graph(folder))
    looked_up(folder)
    found.update(signatures(folder))
    found.update(layers(folder))
    found.update(old_keras(folder))
    np.savez(folder / "direct.npz", **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
