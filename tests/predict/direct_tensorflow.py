"""What plain TensorFlow answers, without ckptui: run with the samples' folder, an .npz to write, models to plant."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from tests.predict.planted import plant


def main(samples: Path, output: str) -> None:
    """Answers for digit 2 by every format, a checkpoint's weights by name, the time of a warm call.

    Beside the output it saves `seeded.keras`, whose dropout is live and starts from a fixed seed.
    """
    with Image.open(samples / "images" / "2.png") as image:
        pixels = np.asarray(image.convert("L").resize((16, 16), Image.Resampling.BILINEAR), np.float32)
    batch = (pixels / 255)[None, :, :, None]
    model = keras.saving.load_model(samples / "digits.keras")
    found = {
        "keras": model(batch, training=False).numpy(),
        "flip-left-right": model(batch[:, :, ::-1], training=False).numpy(),
        "flip-up-down": model(batch[:, ::-1], training=False).numpy(),
        "h5": keras.saving.load_model(samples / "digits.h5", compile=False)(batch).numpy(),
    }
    serve = tf.saved_model.load(str(samples / "digits_saved_model")).signatures["serving_default"]
    found["saved"] = next(iter(serve(tf.constant(batch)).values())).numpy()
    begin = time.perf_counter()
    for _ in range(20):
        model(batch, training=False).numpy()
    found["seconds"] = np.array((time.perf_counter() - begin) / 20)
    tf.train.Checkpoint(model=model).restore(str(samples / "digits" / "ckpt-1")).expect_partial()
    found["checkpoint"] = model(batch, training=False).numpy()
    inputs = keras.Input((16, 16, 1), name="image")
    dropped = keras.layers.Dropout(0.5, seed=11)(keras.layers.Flatten()(inputs), training=True)
    keras.Model(inputs, keras.layers.Dense(3)(dropped)).save(Path(output).with_name("seeded.keras"))
    found.update({"weight:" + weight.path: weight.numpy() for weight in model.weights})
    np.savez(output, **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
    plant(Path(sys.argv[2]).parent, *sys.argv[3:])
