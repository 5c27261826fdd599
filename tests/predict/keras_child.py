"""Keras models of every shape, made, called and watched in one process: run as a script with a folder to write.

It writes `facts.json` (what `KerasModel` says and does, beside what plain Keras answers) and the models that the
tests of the real worker load.
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
from keras import layers

from ckptui.predict.worker.errors import Refused
from ckptui.predict.worker.first_layers import first_layers
from ckptui.predict.worker.keras_model import KerasModel
from ckptui.predict.worker.saved_model import SignatureModel, walked
from ckptui.predict.worker.snapshot import restart_randomness, variables_of

DRAW = np.random.default_rng(5)
Facts = dict[str, Any]


def wrapped(model: Any) -> KerasModel:
    return KerasModel(tf, model, "keras")


def kept(model: Any, folder: Path, name: str) -> KerasModel:
    """Saved, and loaded as the worker loads it."""
    model.save(folder / name)
    return wrapped(keras.saving.load_model(folder / name, compile=False))


def probes(*shape: int) -> Any:
    return DRAW.random((5, *shape), np.float32)


def same(a: Any, b: Any) -> bool:
    return bool(np.asarray(a).tobytes() == np.asarray(b).tobytes() and np.asarray(a).dtype == np.asarray(b).dtype)


def structures(folder: Path) -> Facts:
    """Inputs and outputs in dicts, lists and nested; fed by name, in order, against plain Keras."""
    found: Facts = {}
    zed, alpha = keras.Input((4,), name="zed"), keras.Input((3,), name="alpha")
    mixed = layers.Concatenate()([layers.Dense(2, name="one")(zed), layers.Dense(3, name="two")(alpha)])
    built = {
        "dict": ({"zed": zed, "alpha": alpha}, {"y": layers.Dense(2, name="head")(mixed), "b": [mixed]}),
        "list": ([zed, alpha], [mixed, layers.Dense(1, name="last")(mixed)]),
        "nested": ({"pair": [zed, alpha]}, mixed),
    }
    x, y = probes(4)[:2], probes(3)[:2]
    for name, (inputs, outputs) in built.items():
        model = kept(keras.Model(inputs, outputs), folder, name + ".keras")
        plain = model.model({"dict": {"zed": x, "alpha": y}, "list": [x, y], "nested": {"pair": [x, y]}}[name])
        flat = [np.asarray(value) for value in keras.tree.flatten(plain)]
        ends = [end["name"] for end in model.describe()["inputs"]]
        by_name = model.call([(ends[1], y), (ends[0], x)] if ends[0] != "alpha" else [(ends[0], y), (ends[1], x)])
        order = {"zed": x, "alpha": y}
        in_order = model.call([(None, order.get(end, (x, y)[place])) for place, end in enumerate(ends)])
        values = {key: np.asarray(value) for key, value in in_order}
        found[name] = {
            "inputs": ends,
            "outputs": [key for key, _ in by_name],
            "described": model.describe()["outputs"],
            "same": sorted(v.tobytes() for v in values.values()) == sorted(v.tobytes() for v in flat),
            "by_name": all(same(a[1], b[1]) for a, b in zip(by_name, in_order, strict=True)),
        }
        found[name]["refused"] = refusal(lambda model=model: model.call([(None, x)]))
    return found


def refusal(call: Any) -> str:
    try:
        call()
    except Refused as error:
        return f"{error.kind}: {error.detail}"
    return ""


def moving() -> Any:
    """Statistics that move, dropout that draws, an image that is turned at random."""
    inputs = keras.Input((8, 8, 1), name="image")
    x = layers.RandomFlip(seed=3)(inputs)
    x = layers.BatchNormalization(momentum=0.5, name="bn")(layers.Conv2D(4, 3, name="conv")(x))
    x = layers.Dropout(0.5, seed=7, name="drop")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(3)(layers.Dropout(0.3, seed=1)(x, training=True)))


def training(folder: Path) -> Facts:
    """What a call with training=True, and the look at the layers, leave behind."""
    model = kept(moving(), folder, "moving.keras")
    x = probes(8, 8, 1)[:2]
    before = {variable.path: np.array(variable.numpy()) for variable in variables_of(model.model)}
    trained = [np.asarray(model.call([(None, x)], training=True)[0][1]) for _ in range(2)]
    rows = model.layers([(None, x)])
    after = {variable.path: np.array(variable.numpy()) for variable in variables_of(model.model)}
    disturbed = [np.asarray(model.call([(None, x)])[0][1]) for _ in range(3)]
    fresh = wrapped(keras.saving.load_model(folder / "moving.keras", compile=False))
    calm = [np.asarray(fresh.call([(None, x)])[0][1]) for _ in range(3)]
    fresh.model(x, training=True)
    moved = [v.path for v in variables_of(fresh.model) if not same(v.numpy(), before.get(v.path, 0))]
    return {
        "variables": len(before),
        "same": all(same(before[name], after[name]) for name in before),
        "repeats": same(trained[0], trained[1]),
        "training_differs": not same(trained[0], calm[0]),
        "sequence": [same(a, b) for a, b in zip(disturbed, calm, strict=True)],
        "random": not same(calm[0], calm[1]),
        "moves_otherwise": len(moved),
        "rows": [row["layer"] for row in rows],
    }


def kernels() -> Facts:
    """Kernels cached by seed go on where they stopped, until a load starts them anew."""

    def draw() -> list[float]:
        return [float(tf.random.uniform((), seed=4)) for _ in range(3)]

    restart_randomness(tf)
    first, second = draw(), draw()
    restart_randomness(tf)
    return {"goes_on": first != second, "restarts": first == draw()}


def dead_relu() -> Any:
    inputs = keras.Input((6,), name="x")
    x = layers.Dense(4, activation="relu", name="alive")(inputs)
    x = layers.Dense(4, activation="relu", name="relu_dead", bias_initializer=keras.initializers.Constant(-1e3))(x)
    return keras.Model(inputs, layers.Dense(2, name="head")(x))


def zero_kernel() -> Any:
    inputs = keras.Input((6,), name="x")
    x = layers.Dense(4, name="cut", kernel_initializer="zeros", bias_initializer="ones")(inputs)
    return keras.Model(inputs, layers.Dense(2, activation="softmax", name="head")(x))


def saturated() -> Any:
    inputs = keras.Input((6,), name="x")
    bias = keras.initializers.Constant(1e4)
    x = layers.Dense(4, activation="sigmoid", name="full", bias_initializer=bias)(inputs)
    return keras.Model(inputs, layers.Dense(2, name="head")(x))


def not_a_number() -> Any:
    inputs = keras.Input((6,), name="x")
    x = layers.Dense(4, name="fine")(inputs)
    x = layers.Dense(4, name="nan", kernel_initializer=keras.initializers.Constant(float("nan")))(x)
    return keras.Model(inputs, layers.Dense(2, name="head")(layers.ReLU()(x)))


def residual() -> Any:
    """A dead branch beside a living one."""
    inputs = keras.Input((6,), name="x")
    dead = layers.Dense(6, activation="relu", name="branch", bias_initializer=keras.initializers.Constant(-1e3))
    x = layers.Add(name="join")([layers.Dense(6, name="living")(inputs), dead(inputs)])
    return keras.Model(inputs, layers.Dense(2, name="head")(x))


def two_branches() -> Any:
    """Both die; the second later."""
    inputs = keras.Input((6,), name="x")
    early = layers.Rescaling(0.0, name="early")(inputs)
    late = layers.Rescaling(0.0, name="late")(layers.Dense(6, name="between")(layers.Dense(6)(inputs)))
    return keras.Model(inputs, layers.Dense(2, name="head")(layers.Add()([early, late])))


def nested_and_shared() -> Any:
    """A model within a model, one layer called twice, and the death inside."""
    a, b = keras.Input((6,), name="a"), keras.Input((6,), name="b")
    inner_in = keras.Input((6,), name="inner_in")
    inner = keras.Model(inner_in, layers.Rescaling(0.0, name="gate")(layers.Dense(6, name="d")(inner_in)), name="inner")
    shared = layers.Dense(6, name="shared")
    x = layers.Add()([inner(shared(a)), inner(shared(b))])
    tail = keras.Sequential([keras.Input((6,)), layers.Dense(3, name="t")], name="tail")
    return keras.Model([a, b], layers.Dense(2, name="head")(tail(x)))


def live_dropout_over_nothing() -> Any:
    """Random numbers after the death: other masks for other probes would look alive."""
    inputs = keras.Input((6,), name="x")
    x = layers.Dense(64, name="cut", kernel_initializer="zeros", bias_initializer="ones")(inputs)
    return keras.Model(inputs, layers.Dense(2, name="head")(layers.Dropout(0.5, seed=2)(x, training=True)))


class Own(keras.Model):
    """A model whose own call decides."""

    def __init__(self, gate: float) -> None:
        super().__init__()
        self.first = layers.Dense(6, name="first")
        self.gate = layers.Rescaling(gate, name="gate")
        self.head = layers.Dense(2, name="head")

    @tf.function
    def call(self, inputs: Any) -> Any:
        return self.head(self.gate(self.first(inputs["x"])) + 1.0)


class Bare(keras.Model):
    """No layers at all."""

    def call(self, inputs: Any) -> Any:
        return inputs * 2.0


def watched(folder: Path) -> Facts:
    """Rows of every model that dies somewhere, and of those that live."""
    makers: dict[str, Any] = {
        "dead_relu": dead_relu,
        "zero_kernel": zero_kernel,
        "saturated": saturated,
        "not_a_number": not_a_number,
        "residual": residual,
        "two_branches": two_branches,
        "nested_and_shared": nested_and_shared,
        "live_dropout_over_nothing": live_dropout_over_nothing,
    }
    found: Facts = {}
    for name, maker in makers.items():
        model = wrapped(maker())
        ends = [end["name"] for end in model.describe()["inputs"]]
        found[name] = model.layers([(end, probes(6)) for end in ends])
    for name, gate in (("own_dead", 0.0), ("own_alive", 1.0)):
        own = Own(gate)
        own({"x": probes(6)})
        found[name] = wrapped(own).layers([("x", probes(6))])
        found[name + "_inputs"] = wrapped(own).describe()["inputs"]
    bare = Bare()
    bare(probes(6))
    found["bare"] = refusal(lambda: wrapped(bare).layers([(None, probes(6))]))
    found["one_probe"] = refusal(lambda: wrapped(dead_relu()).layers([(None, probes(6)[:1])]))
    return found


def numbers_of_a_layer() -> Facts:
    """Spread, scale and zeros of a layer beside numpy in float64 on Keras' own activations."""
    inputs = keras.Input((12, 12, 3), name="x")
    x = layers.Conv2D(8, 3, activation="relu", name="conv")(inputs)
    model = wrapped(keras.Model(inputs, layers.Dense(3, name="head")(layers.GlobalMaxPooling2D()(x))))
    batch = probes(12, 12, 3)
    row = next(row for row in model.layers([(None, batch)]) if row["layer"] == "conv")
    part = keras.Model(inputs, x)
    truth = np.concatenate([np.asarray(part(batch[k : k + 1])) for k in range(5)]).astype(np.float64)
    return {
        "spread": [row["spread"], float((truth.max(axis=0) - truth.min(axis=0)).max())],
        "scale": [row["scale"], float(np.abs(truth).max())],
        "zeros": [row["zeros"], float((truth == 0).mean())],
        "weights": row["weights"],
        "shape": row["shape"],
    }


def firsts() -> Facts:
    """What stands in front of an image."""
    image = keras.Input((4, 4, 3), name="image")

    def said(x: Any) -> Any:
        return wrapped(keras.Model(image, layers.Flatten()(x))).describe()["first"]

    adapted = layers.Normalization(mean=[0.5, 0.4, 0.3], variance=[0.04, 0.05, 0.06])
    inner_in = keras.Input((4, 4, 3))
    inner = keras.Model(inner_in, layers.Conv2D(1, 1)(layers.Rescaling(1 / 127.5, offset=-1.0)(inner_in)))
    return {
        "rescaling": said(layers.Rescaling(1 / 255)(image)),
        "normalization": said(adapted(image)),
        "unadapted": said(layers.Normalization()(image)),
        "nested": said(inner(image)),
        "operations": said(1.0 - (2.0 * (image / 255.0) - np.array([1.0, 2.0, 3.0], np.float32))),
        "turned": said(image[..., ::-1]),
        "sequential": wrapped(
            keras.Sequential([keras.Input((4, 4, 3)), layers.Rescaling(1 / 255), layers.Flatten()])
        ).describe()["first"],
    }


class Reaching(tf.Module):
    """A signature that does something else beside answering."""

    def __init__(self, act: Any) -> None:
        super().__init__()
        self.act = act

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def serve(self, x: Any) -> Any:
        return {"y": x * 2.0 + tf.cast(self.act(), tf.float32)}


def reaching(folder: Path) -> None:
    """SavedModels that write and connect when they are called."""
    target = str(folder / "target")

    def after(operation: Any) -> Any:
        with tf.control_dependencies([operation]):
            return tf.constant(0.0)

    def connect() -> Any:
        service = tf.data.experimental.service.distribute("parallel_epochs", "grpc://127.0.0.1:5999")
        return tf.data.Dataset.range(3).apply(service).reduce(tf.constant(0, tf.int64), lambda a, b: a + b)

    acts: dict[str, Any] = {
        "write": lambda: after(tf.io.write_file(target + "/written.txt", "x")),
        "print": lambda: after(tf.print("x", output_stream="file://" + target + "/printed.txt")),
        "save": lambda: after(
            tf.raw_ops.SaveV2(prefix=target + "/ck", tensor_names=["a"], shape_and_slices=[""], tensors=[tf.ones(2)])
        ),
        "overwrite": lambda: after(tf.io.write_file(target + "/there.txt", "changed")),
        "connect": connect,
        "read": lambda: tf.strings.length(tf.io.read_file(target + "/there.txt")),
    }
    for name, act in acts.items():
        module = Reaching(act)
        tf.saved_model.save(module, str(folder / ("reach_" + name)), signatures={"serving_default": module.serve})


class Learned(layers.Layer):
    """Multiplies by a weight: no scaling of pixels."""

    def build(self, _: Any) -> None:
        self.factor = self.add_weight(shape=(), initializer=keras.initializers.Constant(0.02), name="factor")

    def call(self, x: Any) -> Any:
        return x * self.factor


def exported(folder: Path) -> Facts:
    """Models by what stands in front, as Keras has them and as a signature of one SavedModel; random signatures."""
    adapted = layers.Normalization(mean=[128.0, 126.0, 124.0], variance=[5480.0, 5460.0, 5560.0])
    unadapted = layers.Normalization(mean=[0.0] * 3, variance=[1.0] * 3)
    fronts: dict[str, Any] = {
        "signed": layers.Rescaling(1 / 127.5, -1.0),
        "adapted": adapted,
        "unadapted": unadapted,
        "both": lambda x: layers.Rescaling(1 / 255)(unadapted(layers.Resizing(6, 6)(x))),
        "divided": lambda x: (x - 127.5) / 127.5,
        "caffe": keras.applications.resnet50.preprocess_input,
        "grey": lambda x: keras.ops.image.rgb_to_grayscale(x) / 255.0,
        "mean": lambda x: keras.ops.mean(x, -1, keepdims=True) / 255.0,
        "plain": lambda x: x,
        "batch": layers.BatchNormalization(),
        "learned": Learned(),
    }
    module, signatures = tf.Module(), {}
    told: Facts = {}
    module.kept = []
    spec = tf.TensorSpec([None, 8, 8, 3], name="x")
    for name, front in fronts.items():
        inputs = keras.Input((8, 8, 3), name="x")
        model = keras.Model(inputs, layers.Conv2D(2, 3)(front(inputs)))
        module.kept.append(model)
        signatures[name] = tf.function(lambda x, model=model: {"y": model(x)}, input_signature=[spec])
        told[name] = [first_layers(model)]
    bodies: dict[str, Any] = {
        "branch": lambda x: tf.cond(tf.reduce_mean(x) > 0, lambda: x + tf.random.normal(tf.shape(x)), lambda: x),
        "loop": lambda x: tf.while_loop(
            lambda n, _: n < 3, lambda n, y: (n + 1, y + tf.random.uniform(tf.shape(y), seed=3)), (tf.constant(0), x)
        )[1],
        "case": lambda x: tf.switch_case(tf.shape(x)[0] % 2, [lambda: x, lambda: tf.nn.dropout(x, 0.3)]),
        "untaken": lambda x: tf.cond(tf.constant(False), lambda: tf.nn.dropout(x, 0.5), lambda: x),
    }
    for name, body in bodies.items():
        signatures[name] = tf.function(lambda x, body=body: {"y": body(x) * 2.0}, input_signature=[spec])
    place = str(folder / "exported")
    tf.saved_model.save(module, place, signatures=signatures)
    loaded = SignatureModel(tf, place, "plain")
    for name in signatures:
        facts = walked(place, name, lambda label, slot, name=name: variable_of(loaded, name, label, slot))
        told.setdefault(name, []).append({key: facts[key] for key in ("first", "random")})
    return told


def variable_of(loaded: Any, signature: str, name: str, slot: Any) -> Any:
    """The same as of a load of that signature alone."""
    loaded._function = loaded._keep.signatures[signature]
    return loaded._variable(name, slot)


def main(folder: Path) -> None:
    """Everything, into one document."""
    facts = {
        "structures": structures(folder),
        "training": training(folder),
        "kernels": kernels(),
        "watched": watched(folder),
        "numbers": numbers_of_a_layer(),
        "firsts": firsts(),
        "exported": exported(folder),
    }
    reaching(folder)
    (folder / "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
