"""Saves small models with the installed Keras, and says what Keras says to damaged ones. Run by path in a child.

Takes one JSON line a job on stdin: ["make", [FOLDER]] saves; ["load", [FILE...]] prints one JSON line a file, {"path",
"error", "text", "sums"}; ["weights", [MAP...]] the same for weights loaded into the tiny model; ["configured",
[FOLDER]] saves models that differ in one layer's configuration; ["forms", [FOLDER]] saves models in every form. `done`
ends a job.
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
from keras import layers as L
from keras.src.saving import saving_lib
from keras_configured import configured


def tiny() -> Any:
    keras.utils.set_random_seed(3)
    layers = [L.Input((4,)), L.Dense(5, name="hidden"), L.BatchNormalization(name="norm"), L.Dense(3, name="head")]
    model = keras.Sequential(layers, name="tiny")
    model.compile(keras.optimizers.SGD(momentum=0.9), "mse")
    model.optimizer.build(model.trainable_variables)
    for number, one in enumerate(model.optimizer.variables[2:]):
        one.assign(np.linspace(0.1 * number, 1, int(np.prod(one.shape))).reshape(one.shape))
    return model


def make(folder: Path) -> None:
    model = tiny()
    model.save(folder / "tiny.keras")
    model.save(folder / "folder", zipped=False)
    model.save_weights(folder / "whole.weights.h5")
    (folder / "shards").mkdir()
    model.save_weights(folder / "shards" / "w.weights.json", max_shard_size=200 / 2**30)
    saving_lib.save_model(model, folder / "npz.keras", weights_format="npz")
    words, numbers = keras.Input((1,), dtype="string"), keras.Input((1,), dtype="int64")
    text, ints = L.TextVectorization(name="texts", output_sequence_length=4), L.IntegerLookup(name="ints")
    text.adapt(np.array(["the cat", "a dog"]))
    ints.adapt(np.array([3, 4, 5]))
    listed = L.StringLookup(vocabulary=["x", "y"], name="listed")
    keras.Model([words, numbers], [text(words), ints(numbers), listed(words)]).save(folder / "lookup.keras")
    bare = keras.Sequential([L.Input((2,)), L.Dense(1, name="d")], name="bare")
    bare.save(folder / "bare.keras")


def told(path: str, load: Any) -> None:
    answer: dict[str, Any] = {"path": path, "error": "", "text": "", "sums": []}
    try:
        model = load(path)
        answer["sums"] = [float(np.asarray(w, "f8").sum()) for w in model.weights]
    except Exception as error:
        answer |= {"error": type(error).__name__, "text": str(error)}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def with_weights(path: str) -> Any:
    model = tiny()
    model.load_weights(path)
    return model


def main() -> None:
    """Do every job of stdin."""
    for line in sys.stdin:
        what, paths = json.loads(line)
        if what == "make":
            make(Path(paths[0]))
        elif what == "configured":
            configured(Path(paths[0]))
        elif what == "forms":
            import keras_forms

            keras_forms.make(Path(paths[0]))
        else:
            for path in paths:
                told(path, keras.models.load_model if what == "load" else with_weights)
        sys.stdout.write("\ndone\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
