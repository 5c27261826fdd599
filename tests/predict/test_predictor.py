"""Predictions with the real TensorFlow: bit for bit what a plain call answers, and each sick model named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui.core.model import Artifact, Kind, Listing, Predicted, PredictReport, Run, Tensor
from ckptui.errors import Cancelled, Damaged, ModelDoesNotLoad, UsageError, WorkerFailed
from ckptui.predict import course as course_module
from ckptui.predict import predictor as predictor_module
from ckptui.predict.answers import Feed
from ckptui.predict.borrow import Borrowed, borrowed_architecture
from ckptui.predict.client import Worker
from ckptui.predict.labels import Labels
from ckptui.predict.loading import Loaded, Order
from ckptui.predict.predictor import Predictor
from ckptui.predict.subject import Subject
from tests.places import CORPUS, ROOT, SAMPLES, needs_corpus, needs_samples

pytestmark = [pytest.mark.tensorflow, needs_samples]

TWO = str(SAMPLES / "images" / "2.png")
RUNS = [
    "original",
    "flip-left-right",
    "flip-up-down",
    "rotate-180",
    "repeat",
    "in-batch",
    "reload",
    "fresh-process",
    "training-mode",
]


def listing(path: str | Path, kind: Kind) -> Listing:
    return Listing(Artifact(str(path), kind, "m", None, 0, 1, 0, 0, 0.0), ())


class Answer:
    """Everything a prediction yields, sorted."""

    def __init__(self, told: list[Any]) -> None:
        self.lines = [item for item in told if isinstance(item, str)]
        self.runs = [item for item in told if isinstance(item, Run)]
        self.early = [item for item in told if isinstance(item, Predicted) and not item.runs]
        assert isinstance(told[-1], PredictReport)
        self.report = told[-1]
        self.codes = [finding.code for finding in self.report.findings]

    def run(self, name: str, image: int = 0) -> Run:
        return next(run for run in self.report.images[image].runs if run.name == name)


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What plain TensorFlow answers in a process of its own."""
    output = tmp_path_factory.mktemp("direct") / "answers.npz"
    script = str(ROOT / "tests" / "predict" / "direct_tensorflow.py")
    subprocess.run([sys.executable, script, str(SAMPLES), str(output)], check=True, capture_output=True, timeout=120)
    return np.load(output)


@pytest.fixture(scope="module")
def healthy(predictor: Predictor) -> Answer:
    images = [TWO, str(SAMPLES / "images" / "8.png"), str(SAMPLES / "labels.txt")]
    return Answer(list(predictor.predict(listing(SAMPLES / "digits.keras", "keras-archive"), images)))


def test_a_healthy_model_gives_every_run_and_restores_cleanly(healthy: Answer) -> None:
    first = healthy.report.images[0]
    assert [run.name for run in first.runs] == RUNS
    assert healthy.run("original").top[0][:2] == (2, "two")
    assert len(healthy.run("original").top) == 5
    for name in ("repeat", "reload", "fresh-process"):
        assert healthy.run(name).identical
        assert healthy.run(name).max_abs_diff == 0
    assert first.verdict.startswith("Restores cleanly. The answer follows the image")
    assert (first.shape, first.preprocess, first.low, first.high) == ((1, 16, 16, 1), "0..1", 0, 1)
    assert len(first.preview) == 16 * 16 * 3
    assert healthy.codes == ["training-mode-differs", "flip-changes-prediction"]


def test_the_answers_are_bit_for_bit_those_of_a_plain_call(healthy: Answer, direct: Any) -> None:
    for name, wanted in (("original", "keras"), ("flip-left-right",) * 2, ("flip-up-down",) * 2):
        assert np.array_equal(np.array(healthy.run(name).output, np.float32), direct[wanted][0])


def test_what_happens_is_told_as_it_happens(healthy: Answer) -> None:
    assert healthy.lines[:2] == ["starting TensorFlow", "loading digits.keras"]
    assert "reloading" in healthy.lines
    assert [image.path for image in healthy.early] == [TWO, str(SAMPLES / "images" / "8.png")]
    assert [run.name for run in healthy.runs[:5]] == RUNS[:5]


def test_one_file_that_is_no_image_costs_only_itself(healthy: Answer) -> None:
    bad = healthy.report.images[2]
    assert [run.name for run in bad.runs] == ["original"]
    assert "is not an image Pillow can decode" in bad.runs[0].error
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
    assert time.monotonic() - begin < 1
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
    with pytest.raises(UsageError, match=r"labels\.txt is not an image"):
        list(made.predict(save, [str(SAMPLES / "labels.txt"), str(tmp_path / "missing.png")]))
    assert all(worker.pid is None for worker in made._workers.values())
    cancelled = threading.Event()
    told = made.predict(save, [str(tmp_path / "missing.png"), TWO], cancel=cancelled)
    assert next(iter(told)) == "starting TensorFlow", "one usable image is enough"
    cancelled.set()
    with pytest.raises(Cancelled):
        list(told)
    made.close()


def loaded(worker: Worker, path: Path, kind: str, **options: Any) -> Loaded:
    model = Loaded(worker, Order(str(path), kind, **options))
    model.ensure()
    return model


def batch() -> np.ndarray[Any, Any]:
    from PIL import Image

    with Image.open(TWO) as image:
        pixels = np.array(image, np.float32)
    pixels /= np.float32(255)
    return pixels[None, :, :, None]


@pytest.mark.parametrize(
    ("name", "kind", "wanted", "options"),
    [
        ("digits.h5", "keras-h5", "h5", {}),
        ("digits_saved_model", "saved-model", "saved", {}),
        ("digits_saved_model", "saved-model", "saved", {"signature": "serve"}),
        ("digits.weights.h5", "keras-weights", "keras", {"architecture": str(SAMPLES / "digits.h5")}),
    ],
)
def test_every_format_answers_like_a_plain_call(
    worker: Worker, direct: Any, name: str, kind: str, wanted: str, options: dict[str, Any]
) -> None:
    outputs, _ = loaded(worker, SAMPLES / name, kind, **options).call(Feed.of(batch()))
    assert outputs[0].main.tobytes() == direct[wanted].tobytes()


def test_a_model_is_loaded_by_content_whatever_its_suffix(worker: Worker, direct: Any, tmp_path: Path) -> None:
    for name, kind, odd in (("digits.h5", "keras-h5", "h5.keras"), ("digits.keras", "keras-archive", "zip.h5")):
        (tmp_path / odd).write_bytes((SAMPLES / name).read_bytes())
        outputs, _ = loaded(worker, tmp_path / odd, kind).call(Feed.of(batch()))
        assert outputs[0].main.tobytes() == direct["h5" if kind == "keras-h5" else "keras"].tobytes()


def test_a_model_whose_file_changed_is_loaded_again_and_one_that_did_not_is_not(worker: Worker, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes((SAMPLES / "digits.keras").read_bytes())
    model = loaded(worker, path, "keras-archive")
    before = model.facts
    model.ensure()
    assert model.facts is before
    path.write_bytes((SAMPLES / "suspicious" / "ignores_input.keras").read_bytes())
    model.ensure()
    assert model.facts is not before
    assert loaded(worker, SAMPLES / "digits.keras", "keras-archive").facts["weights"] == 10
    with pytest.raises(WorkerFailed, match="another model"):
        model.call(Feed.of(batch()))


def borrowed(direct: Any, leave_out: str = "") -> Borrowed:
    names = [name for name in direct.files if name.startswith("weight:") and name != f"weight:{leave_out}"]
    pairs = tuple((name.removeprefix("weight:"), name) for name in names)
    return Borrowed(str(SAMPLES / "digits.keras"), pairs, lambda name: direct[name])


def reading(weights: Borrowed) -> Callable[[str], np.ndarray[Any, Any]]:
    """Reads like `weights`, but one tensor is damaged."""

    def fetch(name: str) -> np.ndarray[Any, Any]:
        if name == "cut off":
            raise Damaged("cut off")
        return weights.fetch(name)

    return fetch


def test_a_checkpoint_borrows_a_siblings_layers_and_answers_like_a_restore(worker: Worker, direct: Any) -> None:
    prefix, architecture = SAMPLES / "digits" / "ckpt-1", str(SAMPLES / "digits.keras")
    options = {"architecture": architecture, "weights": borrowed(direct)}
    model = loaded(worker, prefix, "tf-checkpoint", **options)
    assert model.bound is not None
    assert model.bound.words == "10 of 10 weights bound"
    assert model.call(Feed.of(batch()))[0][0].main.tobytes() == direct["checkpoint"].tobytes()


def test_weights_a_checkpoint_lacks_and_values_without_a_place_are_named(worker: Worker, direct: Any) -> None:
    weights = borrowed(direct, leave_out="conv2/kernel")
    wrong = (("nowhere/kernel", "weight:dense/bias"), ("conv2/kernel", "weight:dense/bias"))
    partial = Borrowed(weights.architecture, weights.names + wrong, weights.fetch)
    options = {"architecture": weights.architecture, "weights": partial}
    bound = loaded(worker, SAMPLES / "digits" / "ckpt-1", "tf-checkpoint", **options).bound
    assert bound is not None
    assert (bound.bound, bound.total, bound.missing) == (9, 10, ("conv2/kernel",))
    assert "no weight of that name" in bound.refused[0]
    assert "shape [10], the model's is [3, 3, 32, 24]" in bound.refused[1]
    broken = Borrowed(weights.architecture, (*weights.names, ("conv2/kernel", "cut off")), reading(weights))
    again = loaded(worker, SAMPLES / "digits" / "ckpt-1", "tf-checkpoint", **{**options, "weights": broken}).bound
    assert again is not None
    assert again.refused == ("conv2/kernel: Damaged: cut off",)
    strangers = Borrowed(weights.architecture, wrong[:1], weights.fetch)
    with pytest.raises(ModelDoesNotLoad, match=r"only 0 of 10 weights bound: .*another model"):
        loaded(
            worker,
            SAMPLES / "digits" / "ckpt-1",
            "tf-checkpoint",
            architecture=weights.architecture,
            weights=strangers,
        )


def test_a_batch_of_the_wrong_shape_is_refused_in_words(worker: Worker) -> None:
    model = loaded(worker, SAMPLES / "digits.keras", "keras-archive")
    with pytest.raises(UsageError, match="the model refuses the image"):
        model.call(Feed.of(np.zeros((1, 3, 3, 7), np.float32)))
    assert model.call(Feed.of(batch()))[0][0].main.shape == (1, 10)


def test_an_unknown_signature_or_output_is_told_with_those_there_are(worker: Worker) -> None:
    with pytest.raises(UsageError, match=r"called train\. There are: serve, serving_default"):
        loaded(worker, SAMPLES / "digits_saved_model", "saved-model", signature="train")
    with pytest.raises(UsageError, match="no output is called logits"):
        loaded(worker, SAMPLES / "digits_saved_model", "saved-model", output="logits").call(Feed.of(batch()))


@needs_corpus
def test_an_export_the_new_loader_chokes_on_is_loaded_in_a_session(worker: Worker) -> None:
    model = loaded(worker, CORPUS / "mlperf-kws-savedmodel", "saved-model")
    assert model.facts["loader"] == "tf.compat.v1.saved_model.load"
    assert "add_slot" in model.facts["others"][0]
    output = model.call(Feed.of(np.zeros((1, 49, 10, 1), np.float32)))[0][0].main
    assert output.ravel()[:3].tolist() == pytest.approx([0.02484, 0.02942, 0.01517], abs=1e-5)


def test_a_warm_prediction_costs_little_more_than_the_plain_call(worker: Worker, direct: Any) -> None:
    model = loaded(worker, SAMPLES / "digits.keras", "keras-archive")
    x = Feed.of(batch())
    model.call(x)
    spent = []
    for _ in range(20):
        begin = time.perf_counter()
        model.call(x)
        spent.append(time.perf_counter() - begin)
    assert sorted(spent)[len(spent) // 2] < 3 * float(direct["seconds"]) + 0.05


class Reader:
    """Stands for the session: gives arrays by name."""

    def array(self, listing: Listing, name: str, limit: int = 0) -> np.ndarray[Any, Any]:
        return np.full(2, len(name))


def test_only_weights_are_borrowed_and_bound_under_their_own_names() -> None:
    suffix = "/.ATTRIBUTES/VARIABLE_VALUE"
    tensors = (
        Tensor("a" + suffix, "float32", (2,), 8, role="kernel", object_path="conv1/kernel"),
        Tensor("conv1/bias", "float32", (2,), 8, role="bias"),
        Tensor("step" + suffix, "int64", (), 8, role="step"),
        Tensor("m" + suffix, "float32", (2,), 8, role="slot", object_path="adam/conv1_kernel_momentum"),
        Tensor("_CHECKPOINTABLE_OBJECT_GRAPH", "string", (), 99, role="object-graph"),
        Tensor("hurt", "float32", (2,), 8, role="kernel", problem="cut off"),
        Tensor("words", "string", (2,), 8),
    )
    save = Listing(listing("ckpt-1", "tf-checkpoint").artifact, tensors)
    weights = borrowed_architecture(Reader(), save, "m.keras")
    assert weights is not None
    assert weights.names == (("conv1/kernel", "a" + suffix), ("conv1/bias", "conv1/bias"))
    assert weights.fetch("conv1/bias").tolist() == [10, 10]
    assert borrowed_architecture(Reader(), save, None) is None
    assert borrowed_architecture(Reader(), listing("m.h5", "keras-h5"), "m.keras") is None
