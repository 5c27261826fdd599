"""One predictor with its warm worker for all tests of this folder: importing TensorFlow takes seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui.predict import predictor as predictor_module
from ckptui.predict.client import Worker
from ckptui.predict.predictor import Predictor
from tests import warm_tensorflow
from tests.places import ROOT, SAMPLES
from tests.predict.asking import TWO, Answer, listing

MODELS = ("batch_statistics", "disconnected", "saturated", "not_finite", "half_bound", "healthy", "rescaled")


class Kept(Worker):
    """Outlives the prediction it is the fresh process of: each would import TensorFlow anew."""

    def close(self) -> None:
        """Not yet."""

    def end(self) -> None:
        """Now."""
        super().close()


@pytest.fixture(scope="package")
def warm() -> Iterator[Kept]:
    """The worker all modules of this folder ask."""
    made = Kept()
    yield made
    made.end()


@pytest.fixture(scope="package")
def second() -> Iterator[Kept]:
    """Another process, for runs that claim something about one."""
    made = Kept()
    yield made
    made.end()


@pytest.fixture(scope="package")
def predictor(warm: Kept) -> Iterator[Predictor]:
    made = Predictor()
    made._workers[None, False] = warm
    yield made
    made.close()


@pytest.fixture
def worker(warm: Kept) -> Worker:
    """The predictor's own warm worker: importing TensorFlow once is enough."""
    return warm


@pytest.fixture
def one_process(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The warm worker stands in for the fresh process, where a test claims nothing about that."""
    monkeypatch.setattr(predictor_module, "Worker", lambda *args, **options: worker)


@pytest.fixture
def two_processes(second: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fresh process is the one another test has started."""
    monkeypatch.setattr(predictor_module, "Worker", lambda *args, **options: second)


@pytest.fixture(scope="package")
def direct(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What plain TensorFlow answers in a process of its own."""
    output = tmp_path_factory.mktemp("direct") / "answers.npz"
    command = ["-m", "tests.predict.direct_tensorflow", SAMPLES, output, *MODELS]
    warm_tensorflow.run(command, check=True, timeout=120, cwd=ROOT)
    return np.load(output)


@pytest.fixture(scope="package")
def planted(direct: Any) -> Path:
    """The folder of planted models, written by the same child."""
    return Path(direct.fid.name).parent


@pytest.fixture(scope="package")
def healthy(predictor: Predictor, second: Kept) -> Answer:
    images = [TWO, str(SAMPLES / "images" / "8.png"), str(SAMPLES / "labels.txt")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predictor_module, "Worker", lambda *args, **options: second)
        return Answer(list(predictor.predict(listing(SAMPLES / "digits.keras", "keras-archive"), images)))
