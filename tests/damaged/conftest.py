"""One TensorFlow for all tests of this folder: importing it takes seconds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ckptui.session import Session
from tests import warm_tensorflow
from tests.places import ROOT

Oracle = Callable[..., Any]


@pytest.fixture(scope="session")
def tensorflow() -> Iterator[Oracle]:
    """Asks TensorFlow in a child: `tensorflow("read", prefix)`; raises AssertionError with its own words."""
    script = Path(__file__).with_name("tensorflow_oracle.py")
    child, stdin, stdout = warm_tensorflow.talking([script])

    def ask(work: str, *arguments: Any) -> Any:
        stdin.write(json.dumps([work, arguments]) + "\n")
        stdin.flush()
        answer = json.loads(stdout.readline())
        assert "ok" in answer, answer["error"]
        return answer["ok"]

    yield ask
    stdin.close()
    child.wait()
    stdout.close()


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SavedModels and Keras 3 checkpoints that TensorFlow wrote; nobody changes them."""
    folder = tmp_path_factory.mktemp("exports") / "all"
    job = ["-m", "tests.damaged.tensorflow_exports", "make", folder]
    done = warm_tensorflow.run(job, cwd=ROOT, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.fixture(scope="session")
def shared_session() -> Iterator[Session]:
    """One session, so that reader children are started once."""
    with Session() as session:
        yield session
