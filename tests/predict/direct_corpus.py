"""What plain TensorFlow answers for the models of the corpus: run as a script with a JSON of cases, an image, an .npz.

No part of ckptui is imported. Each case is loaded by the calls TensorFlow's and Keras' own pages show.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["KERAS_BACKEND"] = "tensorflow"
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from tests.predict.corpus_feeds import arrays_for, takes_image

v1 = tf.compat.v1
Ends = list[dict[str, Any]]
Call = Callable[[dict[str, Any]], dict[str, Any]]
Model = tuple[str, Ends, Call]
"""Who loaded it, its inputs, a call by input names."""


def listed(shape: Any) -> list[int | None] | None:
    return None if shape.rank is None else shape.as_list()


def of_keras(model: Any, loader: str, training: bool | None = None) -> Model:
    """A functional or sequential model, called as a function; its outputs by their place."""
    ends = [{"name": i.name, "dtype": tf.as_dtype(i.dtype).name, "shape": list(i.shape)} for i in model.inputs]

    def call(given: dict[str, Any]) -> dict[str, Any]:
        (values,) = given.values()
        x = tf.constant(values)
        answer = model(x) if training is None else model(x, training=training)
        several = answer if isinstance(answer, (list, tuple)) else [answer]
        return {str(place): value.numpy() for place, value in enumerate(several)}

    return loader, ends, call


def by_keras(path: str, training: bool | None) -> Model:
    try:
        return of_keras(keras.models.load_model(path, compile=False), "keras", training)
    except Exception:
        import tf_keras

        return of_keras(tf_keras.models.load_model(path, compile=False), "tf_keras")


def by_signature(path: str, signature: str) -> Model:
    try:
        function = tf.saved_model.load(path).signatures[signature]
    except Exception:
        return by_session(path, signature)
    specs = function.structured_input_signature[1]
    ends = [{"name": n, "dtype": s.dtype.name, "shape": listed(s.shape)} for n, s in specs.items()]

    def call(given: dict[str, Any]) -> dict[str, Any]:
        answer = function(**{name: tf.constant(value) for name, value in given.items()})
        return {name: value.numpy() for name, value in answer.items()}

    return "tf.saved_model.load", ends, call


def by_session(path: str, signature: str) -> Model:
    session = v1.Session(graph=v1.Graph())
    with session.graph.as_default():
        meta = v1.saved_model.load(session, ["serve"], path)
    definition = meta.signature_def[signature]
    ends = []
    for name, info in definition.inputs.items():
        # what the graph takes: an old export's signature may say otherwise
        tensor = session.graph.get_tensor_by_name(info.name)
        ends.append({"name": name, "dtype": tensor.dtype.name, "shape": listed(tensor.shape)})

    def call(given: dict[str, Any]) -> dict[str, Any]:
        fetch = {name: info.name for name, info in definition.outputs.items()}
        return dict(session.run(fetch, {definition.inputs[name].name: value for name, value in given.items()}))

    return "tf.compat.v1.saved_model.load", ends, call


def by_meta(path: str) -> Model:
    """A TensorFlow 1 checkpoint through its own graph."""
    session = v1.Session(graph=v1.Graph())
    with session.graph.as_default():
        v1.train.import_meta_graph(path + ".meta").restore(session, path)
    image = session.graph.get_tensor_by_name("image:0")
    ends = [{"name": "image", "dtype": "float32", "shape": listed(image.shape)}]
    fetch = {name: name + ":0" for name in ("ArgMax", "dense/add")}
    return "tf.compat.v1 graph", ends, lambda given: dict(session.run(fetch, {image: given["image"]}))


def into(architecture: str, path: str, kind: str) -> Model:
    """Weights alone in the layers of another save."""
    model = keras.models.load_model(architecture, compile=False)
    if kind == "keras-weights":
        model.load_weights(path)
    else:
        tf.train.Checkpoint(model=model).restore(path).expect_partial()
    return of_keras(model, "keras")


def loaded(case: dict[str, Any]) -> Model:
    path, kind = case["path"], case["kind"]
    if case["architecture"]:
        return into(case["architecture"], path, kind)
    if kind == "saved-model":
        return by_signature(path, case["signature"])
    return by_meta(path) if kind == "tf-checkpoint" else by_keras(path, case["training"])


def pixels_for(image: str, end: dict[str, Any]) -> Any:
    """The image at the model's size, 0..1."""
    _, height, width, channels = end["shape"]
    with Image.open(image) as opened:
        fitted = opened.convert("L" if channels == 1 else "RGB").resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(fitted, np.float32).reshape(1, height, width, channels) / np.float32(255)


def main(cases: str, image: str, output: str) -> None:
    """Answers of every case: `number/feed/output` in the .npz, loaders and what failed in `facts`."""
    found: dict[str, Any] = {}
    facts: dict[str, Any] = {}
    for number, case in enumerate(json.loads(Path(cases).read_text())):
        try:
            loader, ends, call = loaded(case)
        except Exception as error:
            facts[str(number)] = {"failed": type(error).__name__}
            continue
        feeds = arrays_for(case["name"], ends)
        for given in feeds:
            try:
                answers = {"given": call(given)}
                break
            except Exception as error:
                facts[str(number)] = {"loader": loader, "failed": type(error).__name__}
        else:
            continue
        if takes_image(ends):
            answers["image"] = call({ends[0]["name"]: pixels_for(image, ends[0]).astype(ends[0]["dtype"])})
        facts[str(number)] = {"loader": loader, "feeds": sorted(answers)}
        for feed, values in answers.items():
            found.update({f"{number}/{feed}/{name}": value for name, value in values.items()})
    plain: dict[str, Any] = {key: np.asarray(value) for key, value in found.items()}
    plain = {key: value.astype("S") if value.dtype == object else value for key, value in plain.items()}
    np.savez(output, facts=np.array(json.dumps(facts)), **plain)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3])
