"""Make the sample saves: a small CNN trained on scikit-learn's digits, in every format, then spoilt copies.

Needs tensorflow, scikit-learn, h5py and pillow: `python sample_models/make_samples.py`. It replaces what lies
beside it and writes SHA256SUMS. All is seeded; TensorFlow's own bytes still differ from version to version.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import h5py
import keras
import numpy as np
import tensorflow as tf
from keras import layers
from PIL import Image
from sklearn.datasets import load_digits

HERE = Path(__file__).resolve().parent
FOLDERS = ("digits", "digits_saved_model", "estimator", "suspicious", "broken", "images")
CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SIDE = 16
"""Pixels: the 8x8 digits are doubled, so that two poolings leave something to look at."""
SEED = 20
HELD_OUT = 360
BATCH = 32

Data = tuple[np.ndarray, np.ndarray]


def digits() -> tuple[Data, Data, np.ndarray]:
    """Training and held-out set ([n, 16, 16, 1] float32 in 0..1, labels), the held-out pixels as uint8."""
    bunch = load_digits()
    order = np.random.default_rng(SEED).permutation(len(bunch.target))
    pixels = np.rint(bunch.images[order] * 255 / 16).astype(np.uint8)
    size = (SIDE, SIDE)
    grown = np.stack([np.asarray(Image.fromarray(p).resize(size, Image.Resampling.BILINEAR)) for p in pixels])
    x = (grown.astype(np.float32) / 255)[..., None]
    y = bunch.target[order].astype(np.int64)
    return (x[HELD_OUT:], y[HELD_OUT:]), (x[:HELD_OUT], y[:HELD_OUT]), grown[:HELD_OUT]


def cnn(filters: tuple[int, int] = (32, 24), *, live_dropout: bool = False, gate: bool = False) -> Any:
    """conv1 - bn1 - relu - pool - conv2 - pool - dense; `gate` multiplies by zero in the middle."""
    inputs = keras.Input((SIDE, SIDE, 1), name="image")
    x = layers.Conv2D(filters[0], 3, padding="same", name="conv1")(inputs)
    x = layers.BatchNormalization(name="bn1", momentum=0.9)(x)
    x = layers.Activation("relu", name="relu1")(x)
    x = layers.MaxPooling2D(name="pool1")(x)
    if gate:
        x = layers.Rescaling(0.0, name="gate")(x)
    x = layers.Conv2D(filters[1], 3, padding="same", activation="relu", name="conv2")(x)
    x = layers.MaxPooling2D(name="pool2")(x)
    x = layers.Flatten(name="flatten")(x)
    if live_dropout:
        x = layers.Dropout(0.3, name="dropout")(x, training=True)
    outputs = layers.Dense(10, activation="softmax", name="dense")(x)
    return keras.Model(inputs, outputs, name="digits")


def train(model: Any, data: Data, epochs: int, callbacks: tuple[Any, ...] = ()) -> None:
    """Adam on the cross-entropy; the optimizer lives on from call to call."""
    if not model.compiled:
        model.compile(optimizer=keras.optimizers.Adam(2e-3), loss="sparse_categorical_crossentropy")
    model.fit(*data, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=list(callbacks))


def accuracy(model: Any, data: Data) -> float:
    """Share of right answers."""
    return float((np.asarray(model(data[0], training=False)).argmax(axis=1) == data[1]).mean())


def expect(what: str, share: float, least: float, most: float = 1.0) -> None:
    """Print an accuracy and stop the run when it lies outside its bounds."""
    print(f"{what:42s} accuracy {share:.3f}")
    if not least <= share <= most:
        raise SystemExit(f"{what}: expected an accuracy of {least} to {most}, got {share:.3f}")


def without_optimizer(model: Any, **options: Any) -> Any:
    """The same weights in a model that was never compiled: a third of the bytes."""
    bare = cnn(**options)
    bare.set_weights(model.get_weights())
    return bare


def make_run(train_set: Data, held_out: Data) -> Any:
    """Five saves by a CheckpointManager with training between, then the final model in every other format."""
    keras.utils.set_random_seed(SEED)
    model = cnn()
    model.compile(optimizer=keras.optimizers.Adam(2e-3), loss="sparse_categorical_crossentropy")
    model.optimizer.build(model.trainable_variables)
    step = tf.Variable(0, dtype=tf.int64, name="step")
    checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer, step=step)
    manager = tf.train.CheckpointManager(checkpoint, str(HERE / "digits"), max_to_keep=5)
    for _ in range(5):
        train(model, train_set, epochs=2)
        step.assign(int(model.optimizer.iterations))
        path = manager.save()
        expect(f"digits/{Path(path).name}", accuracy(model, held_out), 0.6)
    share = accuracy(model, held_out)
    expect("the final model", share, 0.95)
    model.save(HERE / "digits.keras")
    model.save(HERE / "digits.h5")
    model.save_weights(HERE / "digits.weights.h5")
    model.export(str(HERE / "digits_saved_model"), verbose=False)
    check_restores(model, held_out, share)
    return model


def check_restores(model: Any, held_out: Data, share: float) -> None:
    """Every format gives back the accuracy that went in."""
    for name in ("digits.keras", "digits.h5"):
        expect(name, accuracy(keras.saving.load_model(HERE / name), held_out), share, share)
    fresh = cnn()
    fresh.load_weights(HERE / "digits.weights.h5")
    expect("digits.weights.h5", accuracy(fresh, held_out), share, share)
    fresh = cnn()
    restored = tf.train.Checkpoint(model=fresh).restore(str(HERE / "digits" / "ckpt-5"))
    restored.assert_existing_objects_matched()
    expect("digits/ckpt-5 restored", accuracy(fresh, held_out), share, share)
    serve = tf.saved_model.load(str(HERE / "digits_saved_model")).signatures["serving_default"]
    answer = next(iter(serve(tf.constant(held_out[0])).values())).numpy()
    expect("digits_saved_model", float((answer.argmax(axis=1) == held_out[1]).mean()), share, share)
    assert np.array_equal(model.get_weights()[0], fresh.get_weights()[0])


def graph_cnn(x: Any) -> Any:
    """The TF1 way: variables by name in a graph, a small strided CNN, logits out."""
    v1 = tf.compat.v1

    def variable(name: str, shape: tuple[int, ...], zeros: bool = False) -> Any:
        draw = v1.zeros_initializer() if zeros else v1.glorot_uniform_initializer(seed=SEED)
        return v1.get_variable(name, shape, initializer=draw, use_resource=False)

    for layer, shape in (("conv1", (3, 3, 1, 16)), ("conv2", (3, 3, 16, 16))):
        with v1.variable_scope(layer):
            x = tf.nn.conv2d(x, variable("kernel", shape), strides=2, padding="SAME")
            x = tf.nn.relu(tf.nn.bias_add(x, variable("bias", shape[-1:], zeros=True)))
    with v1.variable_scope("dense"):
        flat = tf.reshape(x, [-1, 256])
        return tf.matmul(flat, variable("kernel", (256, 10))) + variable("bias", (10,), zeros=True)


def make_estimator(train_set: Data, held_out: Data) -> None:
    """A model_dir as `tf.compat.v1.train.Saver` leaves it: three steps, each with its `.meta`."""
    v1 = tf.compat.v1
    target = HERE / "estimator"
    target.mkdir()
    draw = np.random.default_rng(SEED)
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(SEED)
        image = v1.placeholder(tf.float32, [None, SIDE, SIDE, 1], name="image")
        label = v1.placeholder(tf.int64, [None], name="label")
        logits = graph_cnn(image)
        guess = tf.argmax(logits, axis=1)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=label, logits=logits)
        global_step = v1.train.get_or_create_global_step()
        optimizer = v1.train.AdamOptimizer(5e-3)
        update = optimizer.minimize(tf.reduce_mean(losses), global_step=global_step)
        saver = v1.train.Saver(max_to_keep=5, save_relative_paths=True)
        session.run(v1.global_variables_initializer())
        for step in range(1, 301):
            rows = draw.integers(0, len(train_set[1]), BATCH)
            session.run(update, {image: train_set[0][rows], label: train_set[1][rows]})
            if step % 100 == 0:
                saver.save(session, str(target / "model.ckpt"), global_step=step)
        share = float((session.run(guess, {image: held_out[0]}) == held_out[1]).mean())
        expect("estimator/model.ckpt-300", share, 0.9)
        saver.restore(session, str(target / "model.ckpt-300"))
        again = float((session.run(guess, {image: held_out[0]}) == held_out[1]).mean())
        expect("estimator/model.ckpt-300 restored", again, share, share)


class MirrorFirstLayer(keras.callbacks.Callback):  # type: ignore[misc]
    """Makes every filter of `conv1` equal to its left-right mirror image after each batch."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Replace the kernel by the mean of itself and its mirror image, exact in float32."""
        kernel = self.model.get_layer("conv1").kernel
        kernel.assign((kernel + kernel[:, ::-1]) / 2)


def make_suspicious(train_set: Data, held_out: Data, trained: Any) -> None:
    """Models that load and predict, each with one thing wrong."""
    target = HERE / "suspicious"
    target.mkdir()

    def keep(name: str, model: Any, least: float, most: float = 1.0, **options: bool) -> None:
        bare = without_optimizer(model, **options)
        bare.save(target / name)
        expect(f"suspicious/{name}", accuracy(bare, held_out), least, most)

    keras.utils.set_random_seed(SEED + 1)
    mirrored = cnn()
    train(mirrored, train_set, 8, (MirrorFirstLayer(),))
    kernel = mirrored.get_layer("conv1").kernel.numpy()
    assert np.array_equal(kernel, kernel[:, ::-1])
    keep("mirror_symmetric.keras", mirrored, 0.93)

    keras.utils.set_random_seed(SEED + 2)
    frozen = cnn()
    frozen.get_layer("conv2").trainable = False
    train(frozen, train_set, 8)
    keep("untouched_layer.keras", frozen, 0.93)

    keras.utils.set_random_seed(SEED + 3)
    dead = cnn()
    kill_filters(dead)
    train(dead, train_set, 8)
    keep("dead_filters.keras", dead, 0.93)

    keras.utils.set_random_seed(SEED + 4)
    live = cnn(live_dropout=True)
    train(live, train_set, 8)
    keep("dropout_live.keras", live, 0.85, live_dropout=True)

    keep("ignores_input.keras", trained, 0.0, 0.2, gate=True)
    make_never_adapted(train_set, held_out)


def never_adapted() -> Any:
    """A small model whose Normalization saw no data and whose frozen BatchNormalization takes no statistics."""
    inputs = keras.Input((SIDE, SIDE, 1), name="image")
    x = layers.Normalization(name="norm")(inputs)
    x = layers.Conv2D(8, 3, strides=4, activation="relu", name="conv")(x)
    x = layers.BatchNormalization(name="bn", trainable=False)(x)
    x = layers.Dropout(0.1, name="dropout")(layers.Flatten(name="flatten")(x))
    return keras.Model(inputs, layers.Dense(10, activation="softmax", name="dense")(x), name="digits")


def make_never_adapted(train_set: Data, held_out: Data) -> None:
    """The same, trained as it is."""
    keras.utils.set_random_seed(SEED + 5)
    model, bare = never_adapted(), never_adapted()
    train(model, train_set, 8)
    bare.set_weights(model.get_weights())
    bare.save(HERE / "suspicious" / "never_adapted.keras")
    expect("suspicious/never_adapted.keras", accuracy(bare, held_out), 0.8)


def kill_filters(model: Any) -> None:
    """Six filters of conv2 become zero, four of conv1 are shut by their normalisation.

    Behind a ReLU neither gets a gradient any more, so training leaves both where they are.
    """
    conv2, bn1 = model.get_layer("conv2"), model.get_layer("bn1")
    kernel, bias = conv2.get_weights()
    kernel[..., [3, 7, 11, 15, 19, 23]] = 0
    conv2.set_weights([kernel, bias])
    gamma, beta, mean, variance = bn1.get_weights()
    gamma[[5, 11, 17, 29]] = 0
    beta[[5, 11, 17, 29]] = -1
    bn1.set_weights([gamma, beta, mean, variance])


def two_saves(folder: Path, model: Any) -> bytes:
    """Save ckpt-1 and ckpt-2 in `folder`, a noisy step between; the bytes of ckpt-2's shard."""
    manager = tf.train.CheckpointManager(tf.train.Checkpoint(model=model), str(folder), max_to_keep=5)
    manager.save()
    for weight in model.trainable_variables:
        weight.assign_add(keras.random.normal(weight.shape, stddev=1e-3, seed=SEED))
    manager.save()
    return (folder / "ckpt-2.data-00000-of-00001").read_bytes()


def make_broken(train_set: Data) -> None:
    """Copies of small saves, each damaged in one way; ckpt-1 stays whole, ckpt-2 is hurt."""
    target = HERE / "broken"
    target.mkdir()
    keras.utils.set_random_seed(SEED + 5)
    model = cnn((16, 8))
    train(model, train_set, 2)
    small = without_optimizer(model, filters=(16, 8))

    def spoil(name: str, change: Callable[[bytes], bytes | None]) -> Path:
        folder = target / name
        data = change(two_saves(folder, small))
        if data is not None:
            (folder / "ckpt-2.data-00000-of-00001").write_bytes(data)
        return folder

    def flip_bit(data: bytes) -> bytes:
        at = len(data) * 3 // 4
        return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]

    (spoil("missing_index", lambda data: None) / "ckpt-2.index").unlink()
    spoil("truncated_shard", lambda data: data[: len(data) * 3 // 5])
    spoil("flipped_bit", flip_bit)
    spoil("zero_filled_tail", lambda data: data[:-4096] + bytes(4096))
    for name, named in (("stale_state_file", "ckpt-1"), ("dangling_state_file", "ckpt-7")):
        folder = spoil(name, lambda data: None)
        state = (folder / "checkpoint").read_text().split("\n")
        state[0] = f'model_checkpoint_path: "{named}"'
        (folder / "checkpoint").write_text("\n".join(state))
    for name in ("truncated.h5", "truncated.keras"):
        small.save(target / name)
        data = (target / name).read_bytes()
        (target / name).write_bytes(data[: len(data) * 3 // 5])


def flip_in_h5() -> None:
    """A copy of digits.h5 in which one bit of a weight is flipped: the exponent's highest, in a small value."""
    target = HERE / "broken" / "implausible_value.h5"
    shutil.copyfile(HERE / "digits.h5", target)
    with h5py.File(target) as file:
        kernel = file["model_weights/conv2/conv2/kernel"]
        start, values = kernel.id.get_offset(), kernel[()].ravel()
    # little-endian float32: bit 30 is bit 6 of the last byte
    at = start + 4 * int(np.abs(values).argsort()[len(values) // 4]) + 3
    data = bytearray(target.read_bytes())
    data[at] ^= 0x40
    target.write_bytes(data)


def make_images(held_out: Data, pixels: np.ndarray, model: Any) -> None:
    """The first held-out image of each digit that the model knows, as 16x16 grey PNG, and the class names."""
    target = HERE / "images"
    target.mkdir()
    answers = np.asarray(model(held_out[0], training=False)).argmax(axis=1)
    for digit in range(10):
        row = int(np.flatnonzero((held_out[1] == digit) & (answers == digit))[0])
        Image.fromarray(pixels[row]).save(target / f"{digit}.png", optimize=True)
    names = "".join(f"{name}\n" for name in CLASSES)
    for folder in (HERE, target):
        (folder / "labels.txt").write_text(names)


def outputs() -> Iterator[Path]:
    """Every file made here, in a stable order."""
    skip = {Path(__file__).name, "SHA256SUMS"}
    for path in sorted(HERE.rglob("*")):
        if path.is_file() and path.name not in skip and "__pycache__" not in path.parts:
            yield path


def main() -> None:
    """Clear the old outputs, make the new ones, sum them up."""
    for name in FOLDERS:
        shutil.rmtree(HERE / name, ignore_errors=True)
    for old in HERE.glob("digits.*"):
        old.unlink()
    tf.config.experimental.enable_op_determinism()
    train_set, held_out, pixels = digits()
    model = make_run(train_set, held_out)
    make_estimator(train_set, held_out)
    make_suspicious(train_set, held_out, model)
    make_broken(train_set)
    flip_in_h5()
    make_images(held_out, pixels, model)
    files = list(outputs())
    sums = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(HERE).as_posix()}\n" for p in files]
    (HERE / "SHA256SUMS").write_text("".join(sums))
    print(f"{len(files)} files, {sum(p.stat().st_size for p in files) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
