"""The course of a prediction with models that are functions of numpy: every row, every way one can fail."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui.core.model import Finding, LayerSpread, Predicted, PredictReport, Run
from ckptui.errors import Blocked, Cancelled, CkptuiError, ModelDoesNotLoad, UsageError, WorkerFailed
from ckptui.predict import beside, rivals
from ckptui.predict import course as course_module
from ckptui.predict.answers import Answer, Feed
from ckptui.predict.course import Course
from ckptui.predict.given import GivenMaterial, Part
from ckptui.predict.image import Picture, form_of
from ckptui.predict.labels import Labels
from ckptui.predict.loading import Order
from ckptui.predict.material import ImageMaterial
from ckptui.predict.recipe import recipe_of
from ckptui.predict.recorded import read_recorded
from ckptui.predict.subject import Subject
from ckptui.predict.wish import Wish
from tests.predict.asking import listing

Array = np.ndarray[Any, Any]
Function = Callable[[Array], Array]

DRAW = np.random.default_rng(3)
WEIGHTS = DRAW.normal(0, 1, (48, 3))
CAGE = {name: True for name in ("writes", "network", "programs", "core", "parent_death")}
VERSIONS = {"tensorflow": "2.21.0", "keras": "3", "python": "3.11", "cage": {**CAGE, "landlock": 7}}


def follows(x: Array) -> Array:
    """Three probabilities that follow the image, row by row."""
    scores = np.exp(x.reshape(len(x), -1)[:, :48].astype(np.float64) @ WEIGHTS / 4)
    made: Array = (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)
    return made


def of_batch(x: Array) -> Array:
    """The answer hangs on the mean of the batch, as with batch statistics."""
    return follows(x - x.mean(axis=0, keepdims=True) * 0.5)


def constant(x: Array) -> Array:
    """The same for everything."""
    return np.tile(np.array([[0.2, 0.7, 0.1]], np.float32), (len(x), 1))


@dataclass
class FakeWorker:
    """A process that can die."""

    python: str = "/env/bin/python"
    pid: int | None = 1
    versions: dict[str, Any] = field(default_factory=lambda: dict(VERSIONS))
    closed: bool = False
    function: Function = follows

    def hello(self, cancel: Any = None) -> dict[str, Any]:
        if isinstance(self.versions, CkptuiError):
            raise self.versions
        return self.versions

    def close(self) -> None:
        self.closed = True


@dataclass
class FakeModel:
    """Stands for `Loaded`: `function` answers, `fail` says which call does not."""

    worker: FakeWorker = field(default_factory=FakeWorker)
    order: Order = field(default_factory=lambda: Order("m.keras", "keras-archive"))
    function: Function = follows
    shape: tuple[int | None, ...] = (None, 4, 4, 3)
    training: bool = True
    fail: Callable[[Feed, int], None] | None = None
    loading: CkptuiError | None = None
    loads: int = 0
    calls: int = 0
    bound: Any = None
    rows: tuple[LayerSpread, ...] = ()

    @property
    def facts(self) -> dict[str, Any]:
        inputs = [{"name": "image", "dtype": "float32", "shape": list(self.shape)}]
        return {"inputs": inputs, "outputs": ["scores"], "training": self.training, "layers": bool(self.rows)}

    @property
    def takes_training(self) -> bool:
        return self.training

    def ensure(self, cancel: threading.Event | None = None, *, again: bool = False) -> None:
        self.loads += 1
        self.worker.pid = 1
        if self.loading is not None:
            raise self.loading

    def call(
        self, feed: Feed, calls: int = 1, cancel: threading.Event | None = None, *, training: bool | None = None
    ) -> tuple[list[Answer], float]:
        if cancel is not None and cancel.is_set():
            raise Cancelled("stopped")
        self.calls += 1
        if self.fail is not None:
            self.fail(feed, self.calls)
        values = feed.first * 0.9 if training else feed.first
        return [Answer((("scores", self.function(values)),)) for _ in range(calls)], 0.01

    def layers(
        self, feed: Feed, cancel: threading.Event | None = None, *, training: bool | None = None
    ) -> tuple[LayerSpread, ...]:
        assert feed.rows > 4
        return self.rows


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are drawn by their path, `bad` ones can't be decoded; models loaded anew are those of their worker."""

    def made(wish: Wish, images: Any, facts: Any, reader: Any, cancel: Any = None) -> Iterator[Any]:
        form = form_of(facts["inputs"])
        recipe = recipe_of(wish, facts, form)
        for path in images:
            if "bad" in path:
                yield path, UsageError("no image", title="No image")
                continue
            pixels = np.random.default_rng(len(path) + ord(path[0])).integers(0, 256, (4, 4, 3)).astype(np.uint8)
            yield ImageMaterial(Picture(path, pixels, False, (4, 4)), recipe)

    def loaded(worker: FakeWorker, order: Order) -> FakeModel:
        return FakeModel(worker, order, worker.function)

    monkeypatch.setattr(course_module, "materials_of", made)
    monkeypatch.setattr(rivals, "materials_of", made)
    monkeypatch.setattr(course_module, "Loaded", loaded)
    monkeypatch.setattr(rivals, "Loaded", loaded)


def begun(model: FakeModel, images: list[str], wish: Wish | None = None, **more: Any) -> Course:
    fresh: Any = FakeWorker(function=model.function)
    reader: Any = None
    loaded: Any = model
    made = Course(model.order, images, wish or Wish(), Labels(), reader, loaded, fresh, dict(VERSIONS))
    for name, value in more.items():
        setattr(made, name, value)
    return made


def report(course: Course) -> PredictReport:
    *_, last = course.run()
    assert isinstance(last, PredictReport)
    return last


def rows(report: PredictReport, image: int = 0) -> dict[str, Run]:
    return {run.name: run for run in report.images[image].runs}


pytestmark = pytest.mark.usefixtures("pictures")


def test_a_healthy_model_has_every_row_and_no_alarm() -> None:
    told = list(begun(FakeModel(), ["a.png", "bb.png"]).run())
    last = told[-1]
    assert isinstance(last, PredictReport)
    assert [run.name for run in last.images[0].runs] == [
        "original", "flip-left-right", "flip-up-down", "rotate-180", "repeat", "in-batch", "reload", "fresh-process",
        "training-mode",
    ]  # fmt: skip
    assert all(f.severity == "info" for f in last.findings)
    assert rows(last)["in-batch"].detail.startswith("among 4 others; 0 among copies")
    assert [probe.name for probe in last.images[0].probes] == ["zeros", "ones", "noise", "the negative", "shuffled"]
    early = [item for item in told if isinstance(item, Predicted) and not item.runs]
    assert [item.path for item in early] == ["a.png", "bb.png"]
    assert last.model["sandbox"] == {"network": True, "writes": True, "programs": True}
    assert last.notes == ()


def test_labels_asked_for_that_are_too_few_are_told() -> None:
    found = report(begun(FakeModel(), ["a.png", "bb.png"], Wish(runs=()), labels=Labels(("a", "b"), True)))
    assert found.notes == ("2 labels for 3 outputs",)


def test_only_the_rows_asked_for_are_run() -> None:
    model = FakeModel()
    found = report(begun(model, ["a.png"], Wish(runs=())))
    assert list(rows(found)) == ["original"]
    assert (model.calls, model.loads) == (1, 1)
    assert not found.images[0].probes
    some = report(begun(FakeModel(), ["a.png"], Wish(runs=("repeat", "reload"))))
    assert list(rows(some)) == ["original", "repeat", "reload"]


def test_what_the_listing_says_is_damaged_and_where_the_time_went_are_told() -> None:
    torn = Finding("hdf5-damaged", "error", "The HDF5 file is damaged", "m.h5")
    found = report(begun(FakeModel(), ["a.png"], damage=(torn,)))
    assert torn in found.findings
    seconds = found.model["seconds"]
    assert {"load", "runs", "reload", "fresh", "all"} <= set(seconds)
    assert sum(value for name, value in seconds.items() if name != "all") <= seconds["all"] + 0.01
    lost = report(begun(FakeModel(loading=ModelDoesNotLoad("no loader")), ["a.png"], damage=(torn,)))
    assert [finding.code for finding in lost.findings] == ["hdf5-damaged", "model-does-not-load"]


def test_batch_statistics_are_seen_among_others_and_not_among_copies() -> None:
    found = report(begun(FakeModel(function=of_batch), ["a.png"]))
    (finding,) = [f for f in found.findings if f.severity != "info"]
    assert finding.code == "batch-dependent"
    assert finding.evidence["relative"] > 0.01
    assert finding.evidence["relative_among_copies"] < 1e-6
    assert rows(found)["repeat"].identical
    print(f"among others {finding.evidence['relative']:.3g}, among copies {finding.evidence['relative_among_copies']}")


@pytest.mark.parametrize(("function", "dependent"), [(of_batch, True), (follows, False)])
def test_of_rows_given_together_the_first_is_asked_alone(function: Function, dependent: bool) -> None:
    rows = np.random.default_rng(1).normal(1.0, 1.0, (5, 4, 4, 3)).astype(np.float32)
    model: Any = FakeModel(function=function)
    subject = Subject("rows.npy", Labels(), 3)
    subject.prepare(GivenMaterial("rows.npy", [Part("image", rows, True)], ""))
    subject.original(model, None)
    run = beside.batched(subject, [], model, None)
    assert not run.error
    alone, among = function(rows[:1])[0].astype(float), function(rows)[0].astype(float)
    assert run.max_abs_diff == pytest.approx(float(np.abs(alone - among).max()), abs=1e-9)
    assert (subject.facts.batch_dependent, run.identical) == (dependent, not dependent)

    def fail(feed: Feed, _: int) -> None:
        if feed.rows == 1:
            raise UsageError("takes five", title="The model can't take this")

    model.fail = fail
    assert "takes 5 rows and no single one" in beside.batched(subject, [], model, None).error


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x: np.asarray(x.sum()), "one answer for the whole batch: nothing to hold against"),
        (lambda x: np.array([b"text"] * len(x), object), "the answer is text: no difference to measure"),
    ],
)
def test_an_output_that_has_no_row_to_hold_against_is_told_as_nothing_wrong(answer: Function, words: str) -> None:
    model: Any = FakeModel(function=answer)
    subject = Subject("rows.npy", Labels(), 3)
    recipe = recipe_of(Wish(), {}, form_of([{"name": "x", "dtype": "float32", "shape": [None, 4, 4, 3]}]))
    picture = Picture("rows.npy", np.ones((4, 4, 3), np.uint8), False, (4, 4))
    subject.prepare(ImageMaterial(picture, recipe))
    subject.original(model, None)
    run = beside.batched(subject, [], model, None)
    assert run.unasked
    assert run.error == words


def test_a_fixed_batch_size_is_a_row_that_says_so() -> None:
    found = report(begun(FakeModel(shape=(1, 4, 4, 3)), ["a.png"]))
    assert "its size is fixed" in rows(found)["in-batch"].error
    assert all(f.severity == "info" for f in found.findings)


def test_a_batch_the_model_refuses_costs_its_row_alone() -> None:
    def fail(feed: Feed, _: int) -> None:
        if feed.rows > 1:
            raise UsageError("takes one", title="The model can't take this image")

    found = rows(report(begun(FakeModel(fail=fail), ["a.png"])))
    assert "takes one" in found["in-batch"].error
    assert [name for name, run in found.items() if run.error] == ["in-batch"]


def test_a_worker_that_dies_of_one_run_is_started_again_for_the_next() -> None:
    model = FakeModel()

    def fail(_: Feed, calls: int) -> None:
        if calls == 3:
            model.worker.pid = None
            raise WorkerFailed("it was killed by SIGKILL")

    model.fail = fail
    found = rows(report(begun(model, ["a.png"])))
    assert [name for name, run in found.items() if run.error] == ["flip-up-down"]
    assert model.loads == 3, "at first, after its death, and for the reload"


def test_an_image_that_fails_costs_itself_and_none_at_all_is_the_error() -> None:
    found = report(begun(FakeModel(), ["bad.png", "a.png"]))
    assert [bool(image.runs[0].error) for image in found.images] == [True, False]
    assert found.images[0].verdict.startswith("No answer")
    with pytest.raises(UsageError, match="no image"):
        report(begun(FakeModel(), ["bad.png"]))


def test_a_model_that_does_not_load_is_a_report() -> None:
    found = report(begun(FakeModel(loading=ModelDoesNotLoad("keras: bad magic")), ["a.png"]))
    assert [f.code for f in found.findings] == ["model-does-not-load"]
    assert found.images == ()


def test_what_the_cage_stops_is_a_finding_whenever_it_happens() -> None:
    def fail(_: Feed, calls: int) -> None:
        raise Blocked("the model tried to write /x")

    (finding,) = report(begun(FakeModel(fail=fail), ["a.png"])).findings
    assert (finding.code, finding.severity) == ("unsafe-op", "error")
    assert "tried to write /x" in finding.detail
    assert finding.evidence["runs"] == ["original"]
    (finding,) = report(begun(FakeModel(loading=Blocked("the model tried to open a socket")), ["a.png"])).findings
    assert (finding.code, finding.evidence["runs"]) == ("unsafe-op", ["load"])


def test_what_the_cage_stops_while_probing_is_told_though_no_row_shows_it() -> None:
    def fail(feed: Feed, calls: int) -> None:
        if not feed.first.any():
            raise Blocked("the model tried to write /x")

    found = report(begun(FakeModel(fail=fail), ["a.png"]))
    assert all(not run.error for run in found.images[0].runs)
    (finding,) = [finding for finding in found.findings if finding.code == "unsafe-op"]
    assert finding.evidence == {"blocked": True, "runs": ["probes"]}
    assert finding.detail == "the model tried to write /x"


def test_a_constant_answer_names_the_layer_where_it_dies() -> None:
    layers = (
        LayerSpread("image", "InputLayer", (None, 4), 1.0, 1.0, 0.0, True, fed=False),
        LayerSpread("conv1", "Conv2D", (None, 4), 0.5, 1.0, 0.0, True, ("conv1/kernel",), sources=(0,)),
        LayerSpread("relu", "ReLU", (None, 4), 0.0, 0.0, 1.0, True, sources=(1,)),
        LayerSpread("dense", "Dense", (None, 3), 0.0, 1.0, 0.0, True, (), False, (2,), ("scores",)),
    )
    found = report(begun(FakeModel(function=constant, rows=layers), ["a.png"]))
    (finding,) = found.findings
    assert finding.code == "constant-output"
    assert (finding.certainty, finding.evidence["spread"]) == ("confirmed", 0)
    assert (finding.evidence["layer"], finding.evidence["class"]) == ("relu", "ReLU")
    assert found.dies_at == "relu"
    assert found.layers == layers
    assert "It dies at relu (ReLU)." in found.images[0].verdict
    assert report(begun(FakeModel(function=constant), ["a.png"])).dies_at is None


def test_another_save_answers_beside_the_first_and_its_failure_is_a_row() -> None:
    other = rivals.Against(listing("/x/ckpt-2", "keras-archive"))
    course = begun(FakeModel(), ["a.png"], against=other)
    course.fresh.function = lambda x: follows(x * 0.5)  # type: ignore[attr-defined]
    found = report(course)
    run = rows(found)["against"]
    assert run.detail == "ckpt-2"
    assert run.max_abs_diff is not None
    assert run.max_abs_diff > 0.001
    assert "ckpt-2 differs by" in found.images[0].verdict


@pytest.mark.parametrize("at", ["reloading", "loading in a fresh process", "under /old/python"])
def test_a_model_written_anew_meanwhile_is_no_instability(at: str, tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    path.write_bytes(b"one")
    model = FakeModel(order=Order(str(path), "keras-archive"))
    old = FakeWorker("/old/python", versions={"tensorflow": "2.4.1"})
    course = begun(model, ["a.png"], others=[lambda: old])
    found = None
    for told in course.run():
        if told == at:
            path.write_bytes(b"another")
            model.function = course.fresh.function = old.function = lambda x: follows(x * 0.5)  # type: ignore[attr-defined]
        found = told
    assert isinstance(found, PredictReport)
    assert all(finding.severity == "info" for finding in found.findings)
    runs = rows(found)
    later = ["reload", "fresh-process", "other-tensorflow"]
    first = next(place for place, name in enumerate(["reloading", "loading in", "under"]) if at.startswith(name))
    assert ["written anew" in runs[name].error for name in later] == [place >= first for place in range(3)]
    assert all(runs[name].identical for name in later[:first])


@pytest.mark.parametrize("after", ["original", "flip-left-right", "repeat", "in-batch", "training-mode"])
def test_a_worker_that_dies_takes_no_model_written_anew_for_the_first(after: str, tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    path.write_bytes(b"one")
    model = FakeModel(order=Order(str(path), "keras-archive"))
    course = begun(model, ["a.png"])
    fresh: Any = course.fresh

    def die(_: Feed, calls: int) -> None:
        path.write_bytes(b"another")
        model.function = fresh.function = lambda x: follows(x * 0.5)
        model.fail, model.worker.pid = None, None
        raise WorkerFailed("it was killed by SIGKILL")

    order = []
    for told in course.run():
        if isinstance(told, Run):
            order.append(told)
            if told.name == after:
                model.fail = die
    assert isinstance(told, PredictReport)
    assert all(finding.severity == "info" for finding in told.findings)
    died = [run.name for run in order if "SIGKILL" in run.error]
    anew = [run.name for run in order if "written anew" in run.error]
    # probes come after `repeat` and the reload after `training-mode`: what dies then makes no row, or all of them
    assert len(died) == (1 if after not in ("repeat",) else 0)
    last = [run.name for run in order].index(died[0] if died else after)
    assert [run.name for run in order[last + 1 :]] == anew
    assert all(run.identical for run in order[: last + 1] if run.name in ("repeat", "in-batch"))
    verdict = told.images[0].verdict
    assert verdict.startswith("The model was written anew before every run was made: run it again.")
    assert "Could not be loaded again" not in verdict or died == ["reload"]


def test_images_of_a_folder_are_not_put_through_a_model_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    path.write_bytes(b"one")
    model = FakeModel(order=Order(str(path), "keras-archive"))
    course = begun(model, ["a.png"], Wish(images_dir=str(tmp_path)))
    for told in course.run():
        if isinstance(told, Run) and told.name == "training-mode":
            path.write_bytes(b"another")
            model.worker.pid = None
    assert isinstance(told, PredictReport)
    assert told.many is None
    assert "were not asked: Changed while reading" in " ".join(told.notes)


def test_every_other_python_is_a_row_and_one_that_lacks_tensorflow_says_so() -> None:
    same = FakeWorker("/same/python", function=lambda x: follows(x) * np.float32(1 + 1e-7))
    old = FakeWorker("/old/python", versions={"tensorflow": "2.4.1"}, function=lambda x: follows(x * 0.9))
    broken = FakeWorker("/none/python", versions=WorkerFailed("no TensorFlow"))  # type: ignore[arg-type]
    makers: list[Callable[[], FakeWorker]] = [lambda: same, lambda: old, lambda: broken]
    found = report(begun(FakeModel(), ["a.png"], others=makers))
    runs = {run.detail: run for run in found.images[0].runs if run.name == "other-tensorflow"}
    assert list(runs) == ["TensorFlow 2.21.0 in /same/python", "TensorFlow 2.4.1", "/none/python"]
    assert "no TensorFlow" in runs["/none/python"].error
    (finding,) = [f for f in found.findings if f.code == "versions-differ"]
    assert list(finding.evidence["versions"]) == ["TensorFlow 2.4.1"]
    assert same.closed
    assert old.closed
    assert broken.closed


def test_every_preprocessing_is_a_row_of_its_own(tmp_path: Path) -> None:
    found = report(begun(FakeModel(), ["a.png"], Wish(all_preprocessing=True)))
    variants = {row.preprocess: row for row in found.images[0].variants}
    assert [name for name, row in variants.items() if row.chosen] == ["0..1"]
    assert variants["0..1"].max_abs_diff == 0
    assert set(variants) >= {"0..1", "-1..1", "0..255", "caffe", "torch"}
    changing = [name for name, row in variants.items() if row.top1_changed]
    matters = [f for f in found.findings if f.code == "preprocessing-matters"]
    assert [sorted(f.evidence["changing"]) for f in matters] == ([sorted(changing)] if changing else [])
    assert changing, "0..255 saturates it"


def test_recorded_answers_are_held_against_the_original(tmp_path: Path) -> None:
    path = tmp_path / "recorded.npy"
    first = report(begun(FakeModel(), ["a.png", "bb.png"]))
    np.save(path, np.array([image.runs[0].output for image in first.images], np.float32))
    found = report(begun(FakeModel(), ["a.png", "bb.png"], recorded=read_recorded(str(path))))
    assert [image.expected.identical for image in found.images if image.expected] == [True, True]
    assert "expectation-differs" not in [f.code for f in found.findings]
    other = begun(FakeModel(function=constant), ["a.png", "bb.png"], recorded=read_recorded(str(path)))
    assert "expectation-differs" in [f.code for f in report(other).findings]
    (tmp_path / "other.json").write_text('{"elsewhere.png": [0.1, 0.2, 0.7]}')
    with pytest.raises(UsageError, match="holds no answer for this image"):
        report(begun(FakeModel(), ["a.png"], recorded=read_recorded(str(tmp_path / "other.json"))))


def test_it_can_be_cancelled_at_every_step() -> None:
    steps = len(list(begun(FakeModel(), ["a.png"]).run()))
    ended = 0
    for step in range(1, steps - 2):
        cancel = threading.Event()
        told = begun(FakeModel(), ["a.png"], cancel=cancel).run()
        for _ in range(step):
            next(told)
        cancel.set()
        try:
            list(told)
        except Cancelled:
            ended += 1
    print(f"{ended} of {steps - 3} steps ended as cancelled")
    assert ended == steps - 3


def test_a_save_of_a_later_keras_is_told_so_in_its_row() -> None:
    class Refuses(FakeModel):
        def ensure(self, cancel: threading.Event | None = None, *, again: bool = False) -> None:
            raise ModelDoesNotLoad("keras: TypeError: Could not deserialize class 'Functional'")

    older = FakeWorker(versions={**VERSIONS, "tensorflow": "2.15.1", "keras": "2.15.0"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rivals, "Loaded", Refuses)
        row = rows(report(begun(FakeModel(), ["a.png"], others=[lambda: older], saved_by="3.15.1")))["other-tensorflow"]
        plain = rows(report(begun(FakeModel(), ["a.png"], others=[lambda: older], saved_by="2.4.0")))
    assert (row.error, row.detail) == ("saved by Keras 3.15.1, which Keras 2.15.0 can't read", "TensorFlow 2.15.1")
    assert "Could not deserialize" in plain["other-tensorflow"].error
    lost = begun(FakeModel(loading=ModelDoesNotLoad("no loader")), ["a.png"], saved_by="3.15.1")
    lost.versions["keras"] = "2.15.0"
    assert report(lost).findings[0].detail.startswith("saved by Keras 3.15.1, which Keras 2.15.0 can't read; no loader")
