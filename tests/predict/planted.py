"""Small models with one fault each, written by a child: `python -m tests.predict.planted FOLDER [NAME...]`.

Images of 16 x 16 in grey, three answers. All weights are drawn by numpy, so that nothing looks like an initializer's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIDE = 16

Maker = Callable[[Path], None]


def _image() -> Any:
    import keras

    return keras.Input((SIDE, SIDE, 1), name="image")


def _end(x: Any) -> Any:
    import keras

    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv2")(x)
    return keras.layers.Dense(3, activation="softmax", name="answer")(keras.layers.Flatten(name="flat")(x))


def _model(image: Any, answer: Any) -> Any:
    """The model with weights that somebody might have trained."""
    import keras
    import numpy as np

    model = keras.Model(image, answer)
    draw = np.random.default_rng(7)
    for layer in model.layers:
        if isinstance(layer, (keras.layers.Normalization, keras.layers.BatchNormalization)):
            continue
        for weight in layer.trainable_weights:
            weight.assign(draw.normal(0, 0.3, weight.shape) + draw.normal(0, 0.01, weight.shape))
    return model


def _updated(model: Any) -> Any:
    """Batch statistics that have seen some images."""
    import keras
    import numpy as np

    draw = np.random.default_rng(8)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.moving_mean.shape
            layer.gamma.assign(draw.normal(1, 0.1, shape))
            layer.beta.assign(draw.normal(0, 0.1, shape))
            layer.moving_mean.assign(draw.normal(0, 0.2, shape))
            layer.moving_variance.assign(draw.uniform(0.2, 0.6, shape))
    return model


def healthy(folder: Path) -> None:
    """Nothing wrong with it."""
    import keras

    image = _image()
    x = keras.layers.BatchNormalization(name="bn")(keras.layers.Conv2D(4, 3, name="conv1")(image))
    _updated(_model(image, _end(x))).save(folder / "healthy.keras")


def batch_statistics(folder: Path) -> None:
    """A BatchNormalization that takes its statistics from the batch at hand."""
    import keras

    image = _image()
    x = keras.layers.BatchNormalization(name="bn")(keras.layers.Conv2D(4, 3, name="conv1")(image), training=True)
    _updated(_model(image, _end(x))).save(folder / "batch_statistics.keras")


def batch_statistics_export(folder: Path) -> None:
    """The same as a SavedModel: the layer's op says `is_training`, or takes moments."""
    import keras
    import tensorflow as tf

    batch_statistics(folder)
    model = keras.saving.load_model(folder / "batch_statistics.keras")
    module = tf.Module()
    module.model = model
    module.call = tf.function(lambda x: model(x), input_signature=[tf.TensorSpec([None, SIDE, SIDE, 1], tf.float32)])
    tf.saved_model.save(module, str(folder / "batch_statistics_export"), signatures=module.call)


def seeded_dropout(folder: Path) -> None:
    """A live dropout that every process draws alike for."""
    import keras

    image = _image()
    x = keras.layers.Dropout(0.5, seed=11, name="drop")(image, training=True)
    _model(image, _end(x)).save(folder / "seeded_dropout.keras")


def unadapted(folder: Path) -> None:
    """A Normalization that never saw the training data."""
    import keras

    image = _image()
    _model(image, _end(keras.layers.Normalization(name="norm")(image))).save(folder / "unadapted.keras")


def disconnected(folder: Path) -> None:
    """A SavedModel whose answer takes nothing of the input but the size of the batch."""
    import tensorflow as tf

    module = tf.Module()
    module.scores = tf.Variable([0.2, 0.7, 0.1])

    def answer(image: Any) -> Any:
        return {"scores": tf.tile(module.scores[None], [tf.shape(image)[0], 1])}

    module.answer = tf.function(answer, input_signature=[tf.TensorSpec([None, SIDE, SIDE, 1], tf.float32, "image")])
    tf.saved_model.save(module, str(folder / "disconnected"), signatures=module.answer)


def half_bound(folder: Path) -> None:
    """`half_bound.weights.h5` without the weights of one layer, and `half_bound.keras` whose weights they are."""
    import h5py
    import keras

    image = _image()
    model = _model(image, _end(keras.layers.Conv2D(4, 3, name="conv1")(image)))
    model.save(folder / "half_bound.keras")
    path = folder / "half_bound.weights.h5"
    model.save_weights(path)
    with h5py.File(path, "a") as file:
        del file["layers/conv2d_1/vars"]["0"]
        del file["layers/conv2d_1/vars"]["1"]


def saturated(folder: Path) -> None:
    """A layer whose bias keeps every unit at zero."""
    import keras
    import numpy as np

    image = _image()
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv1")(image)
    model = _model(image, _end(x))
    model.get_layer("conv1").bias.assign(np.full(4, -5000, np.float32))
    model.save(folder / "saturated.keras")


def zero_kernel(folder: Path) -> None:
    """A kernel of zeros."""
    import keras
    import numpy as np

    image = _image()
    model = _model(image, _end(keras.layers.Conv2D(4, 3, name="conv1")(image)))
    model.get_layer("conv1").kernel.assign(np.zeros((3, 3, 1, 4), np.float32))
    model.save(folder / "zero_kernel.keras")


def not_finite(folder: Path) -> None:
    """One NaN."""
    import keras
    import numpy as np

    image = _image()
    model = _model(image, _end(keras.layers.Conv2D(4, 3, name="conv1")(image)))
    kernel = model.get_layer("conv1").kernel.numpy()
    kernel[0, 0, 0, 0] = np.nan
    model.get_layer("conv1").kernel.assign(kernel)
    model.save(folder / "not_finite.keras")


def random_flip(folder: Path) -> None:
    """Augmentation that is live at inference."""
    import keras

    image = _image()
    x = keras.layers.RandomFlip("horizontal", name="augment")(image, training=True)
    _model(image, _end(x)).save(folder / "random_flip.keras")


def transposed(folder: Path) -> None:
    """Height and width change places before the first layer."""
    import keras

    image = _image()
    _model(image, _end(keras.layers.Permute((2, 1, 3), name="swap")(image))).save(folder / "transposed.keras")


def corner(folder: Path) -> None:
    """Only the upper left corner of the image is looked at."""
    import keras

    image = _image()
    x = keras.layers.Cropping2D(((0, SIDE - 4), (0, SIDE - 4)), name="crop")(image)
    _model(image, _end(x)).save(folder / "corner.keras")


def rescaled(folder: Path) -> None:
    """The healthy model's weights behind a Rescaling that the other side does not have."""
    import keras

    image = _image()
    x = keras.layers.Rescaling(1 / 255, name="scale")(image)
    x = keras.layers.BatchNormalization(name="bn")(keras.layers.Conv2D(4, 3, name="conv1")(x))
    _updated(_model(image, _end(x))).save(folder / "rescaled.keras")


def scaled_twice(folder: Path) -> None:
    """A Rescaling before a model that scales already, and batch statistics of which nothing is left."""
    import keras
    import numpy as np

    image = _image()
    x = keras.layers.Rescaling(1 / 255, name="inner")(keras.layers.Rescaling(1 / 255, name="outer")(image))
    x = keras.layers.BatchNormalization(name="bn")(keras.layers.Conv2D(4, 3, name="conv1")(x))
    model = _updated(_model(image, _end(x)))
    model.get_layer("bn").moving_variance.assign(np.zeros(4))
    model.save(folder / "scaled_twice.keras")


def _exported(folder: Path, name: str, answer: Callable[[Any, Any], Any]) -> None:
    """A SavedModel of plain TensorFlow: `answer(scores, image)` is what it serves."""
    import numpy as np
    import tensorflow as tf

    module = tf.Module()
    draw = np.random.default_rng(9)
    module.kernel = tf.Variable(draw.normal(0, 0.3, (SIDE * SIDE, 3)), dtype=tf.float32, name="kernel")

    def served(image: Any) -> Any:
        return {"scores": answer(tf.reshape(image, [-1, SIDE * SIDE]) @ module.kernel, image)}

    module.answer = tf.function(served, input_signature=[tf.TensorSpec([None, SIDE, SIDE, 1], tf.float32, "image")])
    tf.saved_model.save(module, str(folder / name), signatures=module.answer)


def random_op(folder: Path) -> None:
    """A SavedModel that adds noise to its answer."""
    import tensorflow as tf

    def inner(scores: Any) -> Any:
        return scores + tf.random.normal(tf.shape(scores), name="jitter")

    drawing = tf.function(inner)
    _exported(folder, "random_op", lambda scores, image: drawing(scores))


def seeded_op(folder: Path) -> None:
    """A SavedModel with a dropout of its own, seeded."""
    import tensorflow as tf

    _exported(folder, "seeded_op", lambda scores, image: tf.nn.dropout(scores, 0.5, seed=5, name="drop"))


def mirrored(folder: Path) -> None:
    """Bears left-right flips, as one trained with them would: the answer to an image and to its mirror image, added."""
    import keras

    image = _image()
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv1")(image)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    model = _model(image, keras.layers.Dense(3, name="answer")(x))
    kernel = model.get_layer("conv1").kernel.numpy()
    model.get_layer("conv1").kernel.assign((kernel + kernel[:, ::-1]) / 2)
    model.save(folder / "mirrored.keras")


def one_sided(folder: Path) -> None:
    """Tells which side of an image is brighter: a flip moves its answer, as a quarter turn does."""
    import keras
    import numpy as np

    image = _image()
    x = keras.layers.Flatten(name="flat")(image)
    model = _model(image, keras.layers.Dense(3, activation="softmax", name="answer")(x))
    ramp = np.linspace(-1, 1, SIDE)[None, :, None] * np.array([1, -1, 0]) * 0.15
    noise = np.random.default_rng(5).normal(0, 0.01, (SIDE * SIDE, 3))
    layer = model.get_layer("answer")
    layer.kernel.assign(np.broadcast_to(ramp, (SIDE, SIDE, 3)).reshape(SIDE * SIDE, 3) + noise)
    layer.bias.assign(np.array([0.011, -0.013, 0.002]))
    model.save(folder / "one_sided.keras")


def sides(folder: Path) -> None:
    """`sides`: 24 pictures, brighter on their left side, every pixel its own."""
    import numpy as np

    (folder / "sides").mkdir()
    draw = np.random.default_rng(6)
    for number in range(24):
        slope = np.linspace(200, 40, SIDE)[None, :, None] * draw.uniform(0.6, 1)
        pixels = np.clip(slope + draw.normal(0, 12, (SIDE, SIDE, 1)), 0, 255).astype(np.uint8)
        np.save(folder / "sides" / f"{number:02}.npy", pixels)


PLANTED: dict[str, Maker] = {
    maker.__name__: maker
    for maker in (
        healthy, batch_statistics, batch_statistics_export, seeded_dropout, unadapted, disconnected, half_bound,
        saturated, zero_kernel, not_finite, random_flip, transposed, corner, rescaled, random_op, seeded_op,
        scaled_twice, mirrored, one_sided, sides,
    )
}  # fmt: skip


def plant(folder: Path, *names: str) -> None:
    """Write the models with these names, or all of them, into a folder."""
    for name in names or tuple(PLANTED):
        PLANTED[name](folder)


if __name__ == "__main__":
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    plant(Path(sys.argv[1]), *sys.argv[2:])
