"""Predictions with the real TensorFlow: bit for bit what a plain call answers, and each sick model named."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui.core.model import Kind, Run
from ckptui.errors import Cancelled, UsageError
from ckptui.predict import course as course_module
from ckptui.predict import predictor as predictor_module
from ckptui.predict.client import Worker
from ckptui.predict.labels import Labels
from ckptui.predict.loading import Loaded, Order
from ckptui.predict.predictor import Predictor
from ckptui.predict.rivals import Against
from ckptui.predict.subject import Subject
from ckptui.predict.wish import Wish
from tests.places import SAMPLES, needs_samples
from tests.predict.asking import RUNS, TWO, Answer, listing

pytestmark = [pytest.mark.tensorflow, needs_samples]


def test_a_healthy_model_gives_every_run_and_restores_cleanly(healthy: Answer) -> None:
    first = healthy.report.images[0]
    assert [run.name for run in first.runs] == RUNS
    assert healthy.run("original").top[0][:2] == (2, "two")
    assert len(healthy.run("original").top) == 5
    for name in ("repeat", "reload", "fresh-process"):
        assert healthy.run(name).identical
        assert healthy.run(name).max_abs_diff == 0
    assert first.verdict.startswith("Loads the same way each time. The answer follows the image")
    assert (first.shape, first.low, first.high) == ((1, 16, 16, 1), 0, 1)
    assert first.preprocess == "0..1, the model itself does not scale"
    assert len(first.preview) == 16 * 16 * 3
    assert healthy.codes == ["flip-changes-prediction"]


def test_the_answers_are_bit_for_bit_those_of_a_plain_call(healthy: Answer, direct: Any) -> None:
    for name, wanted in (("original", "keras"), ("flip-left-right",) * 2, ("flip-up-down",) * 2):
        assert np.array_equal(np.array(healthy.run(name).output, np.float32), direct[wanted][0])


def test_what_happens_is_told_as_it_happens(healthy: Answer) -> None:
    assert next(line for line in healthy.lines if line != "starting TensorFlow") == "loading digits.keras"
    assert "reloading" in healthy.lines
    assert [image.path for image in healthy.early] == [TWO, str(SAMPLES / "images" / "8.png")]
    assert [run.name for run in healthy.runs[:5]] == RUNS[:5]


def test_one_file_that_is_no_image_costs_only_itself(healthy: Answer) -> None:
    bad = healthy.report.images[2]
    assert [run.name for run in bad.runs] == ["original"]
    assert "is no image: PNG, JPEG" in bad.runs[0].error
    assert bad.verdict.startswith("No answer")
    assert healthy.run("fresh-process", 1).identical


def test_the_report_names_the_loader_the_input_and_the_versions(healthy: Answer) -> None:
    model = healthy.report.model
    assert model["loader"].startswith("keras ")
    assert model["input"] == {"name": "image", "dtype": "float32", "shape": [None, 16, 16, 1]}
    assert model["tensorflow"]
    assert model["output"] == "dense"


@pytest.mark.usefixtures("one_process")
def test_live_dropout_is_found_by_its_repeats(predictor: Predictor) -> None:
    path = SAMPLES / "suspicious" / "dropout_live.keras"
    answer = Answer(list(predictor.predict(listing(path, "keras-archive"), [TWO])))
    assert answer.codes == ["nondeterministic"]
    evidence = answer.report.findings[0].evidence
    assert evidence["max_abs"] > 0
    assert evidence["seeded"] is False
    assert evidence["steady_with_training_false"] is True
    assert answer.run("repeat").identical is False
    assert answer.report.images[0].verdict.startswith("Does not answer the same twice")


@pytest.mark.usefixtures("two_processes")
def test_live_dropout_with_a_fixed_seed_is_told_apart(predictor: Predictor, direct: Any) -> None:
    path = Path(direct.fid.name).with_name("seeded.keras")
    answer = Answer(list(predictor.predict(listing(path, "keras-archive"), [TWO])))
    assert answer.codes == ["nondeterministic"]
    assert answer.report.findings[0].evidence["seeded"] is True
    assert "every process gives the same sequence" in answer.report.images[0].verdict


def test_a_fresh_process_that_fails_is_a_row_with_the_reason() -> None:
    order = Order(str(SAMPLES / "digits.keras"), "keras-archive")
    subject = Subject(TWO, Labels(), 5)
    (run,) = course_module.again([subject], "fresh-process", Loaded(Worker("/nowhere/python"), order), None)
    assert run.name == "fresh-process"
    assert "can't be started: /nowhere/python" in run.error
    assert run.max_abs_diff is None


@pytest.mark.usefixtures("one_process")
def test_a_model_that_ignores_its_input_is_found_by_its_probes(predictor: Predictor) -> None:
    path = SAMPLES / "suspicious" / "ignores_input.keras"
    answer = Answer(list(predictor.predict(listing(path, "keras-archive"), [TWO])))
    assert answer.codes == ["constant-output"]
    assert answer.run("flip-left-right").identical
    assert "does not follow the image" in answer.report.images[0].verdict


@pytest.mark.usefixtures("one_process")
def test_a_damaged_model_is_a_report_with_what_the_loader_said(predictor: Predictor) -> None:
    for name, kind in (("truncated.keras", "keras-archive"), ("truncated.h5", "keras-h5")):
        answer = Answer(list(predictor.predict(listing(SAMPLES / "broken" / name, kind), [TWO])))  # type: ignore[arg-type]
        assert answer.codes == ["model-does-not-load"]
        assert answer.report.images == ()
        assert answer.report.findings[0].detail.startswith("keras: ")


def test_a_cancelled_prediction_ends_at_once_and_the_next_one_works(predictor: Predictor) -> None:
    cancel = threading.Event()
    save = listing(SAMPLES / "digits.keras", "keras-archive")
    told = predictor.predict(save, [TWO], cancel=cancel)
    assert next(told).startswith("loading")  # type: ignore[union-attr]
    cancel.set()
    begin = time.monotonic()
    with pytest.raises(Cancelled):
        list(told)
    assert time.monotonic() - begin < 3
    worker = predictor._workers[None, False]
    worker.start()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    told = predictor.predict(save, [TWO])
    assert any(isinstance(item, Run) and item.top[0][1] == "two" for item in told)
    told.close()  # type: ignore[attr-defined]


@pytest.mark.usefixtures("one_process")
def test_an_abandoned_prediction_leaves_its_turn_to_the_next(predictor: Predictor) -> None:
    told = predictor.predict(listing(SAMPLES / "digits.keras", "keras-archive"), [TWO])
    next(told)
    told.close()  # type: ignore[attr-defined]
    assert predictor._turn.acquire(timeout=1)
    predictor._turn.release()


@pytest.mark.parametrize("kind", ["tf-checkpoint", "keras-weights", "meta-graph", "hdf5"])
def test_a_save_without_a_model_is_refused_before_tensorflow_starts(kind: Kind) -> None:
    made = Predictor()
    with pytest.raises(UsageError, match=r"--architecture|Predict with"):
        list(made.predict(listing("/x/ckpt-1", kind), [TWO]))
    with pytest.raises(UsageError, match="no image is given"):
        list(made.predict(listing("/x/ckpt-1", kind), []))
    assert not made._workers


def test_images_of_which_none_can_be_decoded_are_refused_before_tensorflow_starts(tmp_path: Path) -> None:
    made = Predictor()
    save = listing(SAMPLES / "digits.keras", "keras-archive")
    with pytest.raises(UsageError, match=r"labels\.txt is no image"):
        list(made.predict(save, [str(SAMPLES / "labels.txt"), str(tmp_path / "missing.png")]))
    assert all(worker.pid is None for worker in made._workers.values())
    cancelled = threading.Event()
    told = made.predict(save, [str(tmp_path / "missing.png"), TWO], cancel=cancelled)
    assert next(iter(told)) == "starting TensorFlow", "one usable image is enough"
    cancelled.set()
    with pytest.raises(Cancelled):
        list(told)
    made.close()


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize(
    ("name", "kind", "code", "evidence"),
    [
        ("batch_statistics.keras", "keras-archive", "batch-dependent", {}),
        ("disconnected", "saved-model", "constant-output", {"identical_bits": True, "spread": 0.0}),
        ("saturated.keras", "keras-archive", "constant-output", {"layer": "conv1", "class": "Conv2D", "zeros": 1.0}),
        ("not_finite.keras", "keras-archive", "non-finite", {}),
        ("healthy.keras", "keras-archive", "", {}),
        ("rescaled.keras", "keras-archive", "", {}),
    ],
)
def test_each_planted_fault_is_found_and_nothing_else(
    predictor: Predictor, planted: Path, name: str, kind: Kind, code: str, evidence: dict[str, Any]
) -> None:
    answer = Answer(list(predictor.predict(listing(planted / name, kind), [TWO])))
    errors = [finding for finding in answer.report.findings if finding.severity != "info"]
    assert [finding.code for finding in errors] == ([code] if code else [])
    for finding in errors:
        assert {key: finding.evidence[key] for key in evidence} == evidence
        print(f"{name}: {finding.detail}")
    print(f"{name}: {answer.report.images[0].verdict}")


@pytest.mark.usefixtures("one_process")
def test_beside_the_model_stand_its_export_another_python_every_preprocessing_and_recorded_answers(
    predictor: Predictor, direct: Any, tmp_path: Path
) -> None:
    np.save(tmp_path / "recorded.npy", direct["keras"])
    wish = Wish(all_preprocessing=True, expect=str(tmp_path / "recorded.npy"), tf_python=(sys.executable,) * 2)
    predictor._workers[sys.executable, False] = predictor._workers[None, False]
    export = Against(listing(SAMPLES / "digits_saved_model", "saved-model"))
    told = predictor.predict(listing(SAMPLES / "digits.keras", "keras-archive"), [TWO], wish=wish, against=export)
    answer = Answer(list(told))
    del predictor._workers[sys.executable, False]
    assert np.array_equal(np.array(answer.run("against").output, np.float32), direct["saved"][0])
    assert answer.run("against").detail == "digits_saved_model"
    assert answer.run("other-tensorflow").identical
    assert answer.run("other-tensorflow").detail.startswith("TensorFlow ")
    image = answer.report.images[0]
    assert image.expected is not None
    assert (image.expected.identical, image.expected.within) == (True, True)
    assert [row.preprocess for row in image.variants if row.chosen] == ["0..1"]
    assert "versions-differ" not in answer.codes
    assert answer.report.model["sandbox"].keys() == {"network", "writes", "programs"}
    print(image.verdict)


def test_the_warm_worker_tells_its_state(predictor: Predictor, healthy: Answer) -> None:
    assert healthy.report
    state = predictor.state()
    assert (state.state, state.tensorflow) == ("ready", healthy.report.model["tensorflow"])
    assert state.memory > 100 << 20
    predictor.warm_up()
    assert predictor.state().pid == state.pid, "it runs already"
    assert Predictor().state().state == "none"


class Slow:
    """A worker that takes its time to import TensorFlow."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.pid: int | None = None
        self.memory = 0
        self.settling = False
        self.asked = threading.Event()
        self.go = threading.Event()

    def hello(self, cancel: threading.Event | None = None) -> dict[str, Any]:
        self.pid = 1
        self.asked.set()
        self.go.wait(10)
        return {"tensorflow": "2.21.0", "cage": {}}

    def close(self) -> None:
        self.pid = None


def test_warming_up_returns_at_once_and_a_prediction_that_waits_for_it_can_be_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(predictor_module, "Worker", Slow)
    made, cancel = Predictor(), threading.Event()
    begin = time.monotonic()
    made.warm_up()
    made.warm_up()
    slow: Any = made._workers[None, False]
    assert slow.asked.wait(60)
    assert made.state().state == "starting"
    told = made.predict(listing(SAMPLES / "digits.keras", "keras-archive"), [TWO], cancel=cancel)
    assert next(told) == "starting TensorFlow"
    cancel.set()
    with pytest.raises(Cancelled):
        list(told)
    # it never starts before it is told to
    assert time.monotonic() - begin < 60
    slow.go.set()
    while made.state().state == "starting":
        time.sleep(0.01)
    assert (made.state().state, made.state().tensorflow) == ("ready", "2.21.0")
    assert made.state().sandbox, "nothing was reported as enforced"
    made.close()


def test_of_several_pythons_the_first_predicts_and_a_single_one_stands_beside_our_own() -> None:
    made = Predictor()
    both = [worker().python for worker in made._others(Wish(tf_python=("/a/python", "/b/python")))]
    assert both == ["/b/python"]
    assert [worker().python for worker in made._others(Wish(tf_python=("/a/python",)))] == [sys.executable]
    assert made._others(Wish(tf_python=(sys.executable,))) == []
    assert made._others(Wish()) == []


@pytest.mark.usefixtures("one_process")
def test_a_folder_of_images_needs_no_image_beside_it(predictor: Predictor) -> None:
    wish = Wish(images_dir=str(SAMPLES / "images"))
    answer = Answer(list(predictor.predict(listing(SAMPLES / "digits.keras", "keras-archive"), [], wish=wish)))
    many = answer.report.many
    assert many is not None
    assert many.images == len(list((SAMPLES / "images").glob("*.png")))
    assert answer.report.images == ()
    assert answer.report.layers == ()
    assert "constant-output" not in answer.codes
    dead = SAMPLES / "suspicious" / "ignores_input.keras"
    assert "constant-output" in Answer(list(predictor.predict(listing(dead, "keras-archive"), [], wish=wish))).codes
