"""One predictor with its warm worker for all tests of this folder: importing TensorFlow takes seconds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui.predict import predictor as predictor_module
from ckptui.predict.client import Worker
from ckptui.predict.predictor import Predictor
from tests.places import ROOT, SAMPLES
from tests.predict.asking import TWO, Answer, listing

MODELS = ("batch_statistics", "disconnected", "saturated", "not_finite", "half_bound", "healthy", "rescaled")


@pytest.fixture(scope="package")
def predictor() -> Iterator[Predictor]:
    made = Predictor()
    yield made
    made.close()


@pytest.fixture
def worker(predictor: Predictor, healthy: Answer) -> Worker:
    """The predictor's own warm worker: importing TensorFlow once is enough."""
    assert healthy.report
    return predictor._workers[None, False]


@pytest.fixture
def one_process(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The warm worker stands in for the fresh process, where a test claims nothing about that."""
    monkeypatch.setattr(predictor_module, "Worker", lambda *args, **options: worker)
    monkeypatch.setattr(worker, "close", lambda: None)


@pytest.fixture(scope="package")
def direct(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What plain TensorFlow answers in a process of its own."""
    output = tmp_path_factory.mktemp("direct") / "answers.npz"
    command = [sys.executable, "-m", "tests.predict.direct_tensorflow", str(SAMPLES), str(output), *MODELS]
    subprocess.run(command, check=True, capture_output=True, timeout=120, cwd=ROOT)
    return np.load(output)


@pytest.fixture(scope="package")
def planted(direct: Any) -> Path:
    """The folder of planted models, written by the same child."""
    return Path(direct.fid.name).parent


@pytest.fixture(scope="package")
def healthy(predictor: Predictor) -> Answer:
    images = [TWO, str(SAMPLES / "images" / "8.png"), str(SAMPLES / "labels.txt")]
    return Answer(list(predictor.predict(listing(SAMPLES / "digits.keras", "keras-archive"), images)))
