"""An image and numbers beside it, from the options to the answer; a model that wants more memory than there is."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ckptui.errors import OutOfMemory, UsageError
from ckptui.predict.answers import Feed
from ckptui.predict.client import Worker
from ckptui.predict.loading import Loaded, Order
from ckptui.predict.predictor import Predictor
from ckptui.predict.wish import Wish
from tests import warm_tensorflow
from tests.places import ROOT
from tests.predict.asking import Answer, listing

pytestmark = pytest.mark.tensorflow

PIXELS = np.random.default_rng(8).integers(0, 256, (8, 8, 3), dtype=np.uint8)
META = np.random.default_rng(9).normal(size=(1, 4)).astype(np.float32)
KINDS: Any = [("two.keras", "keras-archive"), ("two", "saved-model")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("two")
    Image.fromarray(PIXELS).save(made / "a.png")
    np.save(made / "img.npy", PIXELS[None].astype(np.float32) / np.float32(255))
    np.save(made / "meta.npy", META)
    warm_tensorflow.run(["-m", "tests.predict.two_inputs", made], cwd=ROOT, check=True, timeout=200)
    return made


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_an_image_and_numbers_by_name_are_answered_as_tensorflow_does(
    folder: Path, predictor: Predictor, one_process: None, monkeypatch: pytest.MonkeyPatch, name: str, kind: Any
) -> None:
    monkeypatch.chdir(folder)
    expected = np.load("answers.npz")[name]
    save = listing(folder / name, kind)
    ways: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
        (("img=a.png", "meta=meta.npy"), ()),
        (("meta=meta.npy", "img=img.npy"), ()),
        (("meta=meta.npy",), ("a.png",)),
    ]
    for given, images in ways:
        wish = Wish(input=given, runs=("original",), preprocess="0..1")
        answer = Answer(list(predictor.predict(save, images, wish=wish)))
        assert answer.run("original").error == ""
        got = np.array(answer.run("original").output, np.float32)
        assert got.tobytes() == expected.tobytes(), (given, images)
    with pytest.raises(UsageError, match="it has 2 inputs, img takes the image") as caught:
        list(predictor.predict(save, ["a.png"], wish=Wish(runs=("original",))))
    assert "Say --input img=a.png --input meta=FILE" in caught.value.hint
    print(f"{name}: {len(ways)} ways of giving an image and numbers, each bit for bit")


def test_a_model_that_wants_more_memory_than_it_may_is_ended(folder: Path) -> None:
    """It holds a GB more at every step; TensorFlow alone holds a little more than half a GB."""
    worker = Worker(memory=1 << 30)
    hungry = Loaded(worker, Order(str(folder / "hungry"), "saved-model"))
    hungry.ensure()
    begin = time.monotonic()
    with pytest.raises(OutOfMemory, match=r"it needed more than 1\.0 GB and was killed"):
        hungry.call(Feed.of(np.zeros((1, 8, 8, 3), np.float32)))
    print(f"ended {time.monotonic() - begin:.1f} s after it was called")
    assert worker.pid is None
    worker.close()
