"""Predictions beside plain TensorFlow: warm calls in turn with it, cold starts, a folder of images."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.measure import in_turn
from ckptui.core.model import ManyImages
from ckptui.predict.answers import Feed
from ckptui.predict.client import Worker
from ckptui.predict.image import ImageReader, form_of
from ckptui.predict.labels import Labels
from ckptui.predict.loading import Loaded, Order
from ckptui.predict.many import many_images
from ckptui.predict.recipe import Recipe

Row = tuple[str, str, str, str]

SAMPLES = Path(__file__).resolve().parents[1] / "sample_models"
CALLS = 4
"""Calls a turn: short turns, so that what else the machine does meets both sides."""
TURNS = 5
"""Turns a round; the median of all their calls counts."""

PLAIN = """
import os, sys, time
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow as tf
path, shape = sys.argv[1], [int(n) for n in sys.argv[2].split(",")]
batch = np.random.default_rng(0).random(shape, dtype=np.float32)
if os.path.isdir(path):
    function = tf.saved_model.load(path).signatures["serving_default"]
    name = next(iter(function.structured_input_signature[1]))
    call = lambda: [value.numpy() for value in function(**{name: tf.constant(batch)}).values()]
else:
    model = tf.keras.models.load_model(path, compile=False)
    call = lambda: model(tf.constant(batch)).numpy()
call()
print("ready", flush=True)
for line in sys.stdin:
    taken = []
    for _ in range(int(line)):
        begin = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begin)
    print(*taken, flush=True)
"""

MAKE = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
model = keras.applications.InceptionV3(weights=None)
model.save(sys.argv[1] + "/inception.keras")
model.export(sys.argv[1] + "/inception", verbose=False)
"""

COLD = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow as tf
from PIL import Image
image = Image.open(sys.argv[2]).convert("L").resize((16, 16), Image.Resampling.BILINEAR)
batch = (np.asarray(image, np.float32) / 255)[None, :, :, None]
print(tf.keras.models.load_model(sys.argv[1], compile=False)(batch).numpy())
"""

OWN_COLD = """
import sys
from ckptui.core.model import Run
from ckptui.session import Session
session = Session()
for told in session.predict(sys.argv[1], [sys.argv[2]]):
    if isinstance(told, Run):
        break
session.close()
"""


def warm(worker: Worker, what: str, path: Path, kind: str, shape: tuple[int, ...], rounds: int) -> Row:
    """A call through the worker against the same call in a process of its own, in turns."""
    command = [sys.executable, "-c", PLAIN, str(path), ",".join(map(str, shape))]
    batch = np.random.default_rng(0).random(shape, dtype=np.float32)
    model = Loaded(worker, Order(str(path), kind))
    model.ensure()
    model.call(Feed.of(batch))
    own, plain = [], []
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        for _ in range(rounds * TURNS):
            for _ in range(CALLS):
                begin = time.perf_counter()
                model.call(Feed.of(batch))
                own.append(time.perf_counter() - begin)
            process.stdin.write(f"{CALLS}\n")
            process.stdin.flush()
            plain += [float(word) for word in process.stdout.readline().split()]
        process.stdin.close()
    ours, theirs = statistics.median(own) * 1000, statistics.median(plain) * 1000
    return (
        f"warm prediction, {what}",
        f"{ours:.1f} ms",
        f"the same call in plain TensorFlow: {theirs:.1f} ms",
        f"{ours / theirs:.2f} x ({ours - theirs:+.1f} ms; goal {1.2 * theirs + 20:.1f} ms)",
    )


def cold(rounds: int) -> Row:
    """From process start to the first answer."""
    model, image = str(SAMPLES / "digits.keras"), str(SAMPLES / "images" / "2.png")
    commands: dict[str, Sequence[str]] = {
        "own": [sys.executable, "-c", OWN_COLD, model, image],
        "plain": [sys.executable, "-c", COLD, model, image],
    }
    costs = in_turn(commands, rounds)
    own, plain = costs["own"].seconds, costs["plain"].seconds
    beside = f"a script with TensorFlow and Pillow, whole process: {plain:.2f} s"
    return "first answer of digits.keras, cold process", f"{own:.2f} s", beside, f"{own / plain:.2f} x"


def folder_of_images(worker: Worker, folder: Path, count: int = 200) -> Row:
    """Many images with all their changes against the calls alone."""
    from PIL import Image

    draw = np.random.default_rng(0)
    folder.mkdir()
    for place in range(count):
        Image.fromarray(draw.integers(0, 256, (16, 16), dtype=np.uint8)).save(folder / f"{place:04d}.png")
    model, reader = Loaded(worker, Order(str(SAMPLES / "digits.keras"), "keras-archive")), ImageReader()
    try:
        model.ensure()
        recipe = Recipe(form_of(model.facts["inputs"]), "0..1", "0..1")
        reader.decode(str(folder / "0000.png"))
        begin = time.perf_counter()
        told = list(many_images(model, str(folder), recipe, reader, Labels()))
        own = time.perf_counter() - begin
    finally:
        reader.close()
    assert any(isinstance(item, ManyImages) and item.images == count for item in told)
    batch = Feed.of(draw.random((32, 16, 16, 1), dtype=np.float32))
    begin = time.perf_counter()
    for _ in range(count * 10 // 32):
        model.call(batch)
    calls = time.perf_counter() - begin
    return (
        f"{count} images of 16 x 16 as they are and under 9 changes",
        f"{count / own:.0f} images a second",
        f"the calls alone, 32 pictures each: {count / calls:.0f} images a second",
        f"{own / calls:.1f} x",
    )


def predict_rows(folder: Path, rounds: int) -> list[Row]:
    """All of it; InceptionV3 is made in `folder`, with weights as they are initialized."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    place = folder / "predict"
    place.mkdir()
    subprocess.run([sys.executable, "-c", MAKE, str(place)], check=True, capture_output=True)
    digits, large = (1, 16, 16, 1), (1, 299, 299, 3)
    worker = Worker()
    try:
        rows = [
            warm(worker, "digits.keras", SAMPLES / "digits.keras", "keras-archive", digits, rounds),
            warm(worker, "InceptionV3 .keras", place / "inception.keras", "keras-archive", large, rounds),
            warm(worker, "InceptionV3 SavedModel", place / "inception", "saved-model", large, rounds),
            folder_of_images(worker, place / "images"),
        ]
    finally:
        worker.close()
    return [*rows, cold(rounds)]


def main() -> None:
    """These rows alone, as a Markdown table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as folder:
        rows = predict_rows(Path(folder), rounds)
    for row in (("what", "ckptui", "beside", "ratio"), ("---",) * 4, *rows):
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
