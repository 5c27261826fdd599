"""`why` without TensorFlow: storage and values name their cause, what can't be asked stops nothing."""

from __future__ import annotations

import contextlib
import io
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ckptui.cli import run
from ckptui.core.causes import Cause, Symptom, WhyReport, WhyStep
from ckptui.core.model import PredictReport, Progress
from ckptui.errors import Cancelled, Flagged, UsageError, WorkerFailed
from ckptui.session import Session
from ckptui.why_output import cause_lines
from tests.contract import problems
from tests.places import CORPUS, SAMPLES, needs_corpus, needs_samples

pytestmark = needs_samples
STEPS = ["storage", "values", "filters", "run", "behaviour", "many-images"]


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Session(cache=False) as made:
        yield made


def asked(session: Session, path: str, *, predict: bool = False, **options: Any) -> WhyReport:
    items = list(session.why(str(SAMPLES / path), predict=predict, **options))
    report = items[-1]
    assert isinstance(report, WhyReport)
    running = [item.name for item in items if isinstance(item, WhyStep) and item.state == "running"]
    assert running == [step.name for step in report.steps] == STEPS
    assert not [item for item in items[:-1] if isinstance(item, WhyReport)]
    return report


def codes(report: WhyReport) -> list[str]:
    return [cause.code for cause in report.causes]


@pytest.mark.parametrize(
    ("name", "cause", "finding"),
    [
        ("dead_filters", "dead-filters", "dead-filters"),
        ("dropout_live", "live-dropout", None),
        ("ignores_input", "dead-layer", None),
        ("mirror_symmetric", "symmetric-filters", "symmetric-filters"),
        ("never_adapted", "preprocessing-off", "normalization-unadapted"),
        ("untouched_layer", "weights-untouched", "at-initializer"),
    ],
)
def test_a_suspicious_sample_without_its_answers(session: Session, name: str, cause: str, finding: str | None) -> None:
    report = asked(session, f"suspicious/{name}.keras")
    assert codes(report)[0] == cause
    assert report.causes[0].findings == ((finding,) if finding else ())


@pytest.mark.parametrize(
    ("name", "cause", "finding"),
    [
        ("flipped_bit", "damaged-save", "checksum-mismatch"),
        ("truncated_shard", "damaged-save", "shard-truncated"),
        ("zero_filled_tail", "damaged-save", "zero-filled"),
        ("missing_index", "damaged-save", "index-missing"),
        ("missing_index/ckpt-2", "damaged-save", "index-missing"),
        ("truncated.h5", "damaged-save", "hdf5-damaged"),
        ("truncated.keras", "damaged-save", "zip-damaged"),
        ("implausible_value.h5", "damaged-save", "implausible-values"),
        ("stale_state_file", "wrong-checkpoint", "state-stale"),
        ("dangling_state_file", "wrong-checkpoint", "state-dangling"),
    ],
)
def test_damage_is_named_first(session: Session, name: str, cause: str, finding: str) -> None:
    report = asked(session, f"broken/{name}")
    assert codes(report)[0] == cause
    assert report.causes[0].findings[0] == finding
    assert "other-training" not in codes(report)


@pytest.mark.parametrize(
    "name", ["digits.keras", "digits.h5", "digits_saved_model", "digits/ckpt-5", "digits.weights.h5", "estimator"]
)
def test_nothing_is_found_in_a_healthy_save(session: Session, name: str) -> None:
    report = asked(session, name)
    assert report.causes == ()
    assert report.verdict.startswith("Nothing found; checked: its directory, the values of ")
    assert not [step for step in report.steps if step.state == "failed"]


def test_zeros_of_a_damaged_save_are_no_collapsed_statistics(session: Session, tmp_path: Path) -> None:
    for end in ("index", "data-00000-of-00001"):
        data = (SAMPLES / f"digits/ckpt-5.{end}").read_bytes()
        kept = len(data) // 8 if end != "index" else len(data)
        (tmp_path / f"ckpt-5.{end}").write_bytes(data[:kept] + bytes(len(data) - kept))
    report = asked(session, str(tmp_path / "ckpt-5"))
    assert codes(report) == ["damaged-save"]


def test_the_save_it_should_be(session: Session) -> None:
    report = asked(session, "digits/ckpt-4", against=str(SAMPLES / "digits/ckpt-5"), symptom="unstable")
    assert codes(report) == ["wrong-checkpoint"]
    assert "same-run" in report.causes[0].evidence[0]
    same = asked(session, "digits.keras", against=str(SAMPLES / "digits.h5"))
    assert same.causes == ()
    other = asked(session, "digits.keras", against=str(SAMPLES / "suspicious/never_adapted.keras"))
    assert codes(other)[0] == "other-training"


def test_a_step_that_fails_stops_nothing(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Iterator[Any]:
        raise WorkerFailed("no TensorFlow in this Python")
        yield

    def dead(*_: Any, **__: Any) -> Iterator[Any]:
        raise RuntimeError("a fault")
        yield

    monkeypatch.setattr(Session, "predict", broken)
    monkeypatch.setattr(Session, "layers", dead)
    report = asked(session, "suspicious/never_adapted.keras", predict=True)
    states = {step.name: step.state for step in report.steps}
    assert states["filters"] == states["behaviour"] == "failed"
    assert codes(report)[0] == "preprocessing-off"
    assert "no TensorFlow in this Python" in report.verdict
    untold = [one.reason for one in report.ruled_out if one.code == "live-dropout"]
    assert untold
    # said once, in the verdict
    assert untold == ["no prediction was made"]


def test_a_missing_image_leaves_out_the_answers(session: Session, tmp_path: Path) -> None:
    report = asked(session, "suspicious/dead_filters.keras", predict=True, images=[str(tmp_path / "no.png")])
    behaviour = next(step for step in report.steps if step.name == "behaviour")
    assert behaviour.state == "skipped"
    assert "no such image" in behaviour.detail
    assert codes(report) == ["dead-filters"]


def test_images_beside_the_model_then_noise(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Sequence[str]] = []

    def predict(_: Session, model: str, images: Sequence[str], **options: Any) -> Iterator[Any]:
        assert all(Image.open(path).getpixel((0, 0)) is not None for path in images)
        tried.append(images)
        raise UsageError("enough")
        yield

    monkeypatch.setattr(Session, "predict", predict)
    report = asked(session, "digits.keras", predict=True)
    assert [Path(path).name for path in tried[-1]] == ["0.png", "2.png", "5.png", "7.png"]
    assert "those beside the model" in report.notes[0]
    monkeypatch.setattr(Session, "sibling_images", lambda *_: [])
    tried.clear()
    report = asked(session, "digits.keras", predict=True)
    assert [Path(path).name for path in tried[0]] == ["noise-1.bmp", "noise-2.bmp"]
    assert not Path(tried[0][0]).exists()
    assert "noise" in report.notes[0]


def test_one_image_gets_company_where_answers_that_are_the_same_are_looked_for(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[list[str]] = []

    def predict(_: Session, model: str, images: Sequence[str], **options: Any) -> Iterator[Any]:
        tried.append([Path(path).name for path in images])
        raise UsageError("enough")
        yield

    monkeypatch.setattr(Session, "predict", predict)
    two = [str(SAMPLES / "images/2.png")]
    report = asked(session, "digits.keras", predict=True, images=two)
    assert tried[-1] == ["2.png", "0.png", "4.png", "7.png"]
    assert report.notes[0] == "further images, from beside the model: 0.png, 4.png, 7.png"
    asked(session, "digits.keras", predict=True, images=two, symptom="flip")
    assert tried[-1] == ["2.png", "0.png", "4.png", "7.png"]
    for more in ({"symptom": "unstable"}, {"symptom": "flip", "expect": "a.json"}, {"expect": "answers.json"}):
        report = asked(session, "digits.keras", predict=True, images=two, **more)
        assert tried[-1] == ["2.png"]
        assert report.notes == ()
    asked(session, "digits.keras", predict=True, images=two * 4)
    assert tried[-1] == ["2.png"] * 4


@pytest.mark.parametrize("name", ["truncated.keras", "truncated.h5", "truncated_shard/ckpt-2"])
def test_what_could_not_be_read_is_not_ruled_out(session: Session, name: str) -> None:
    report = asked(session, f"broken/{name}")
    whole = {"weights-not-finite", "weights-zero", "statistics-never-updated", "weights-untouched", "dead-filters"}
    told = {one.code: one for one in report.ruled_out if one.code in whole | {"restore-partial"}}
    assert set(told) == whole | {"restore-partial"}
    read = {"truncated.keras": "only 6 of 7", "truncated.h5": "only 6 of 9", "truncated_shard/ckpt-2": "only 9 of 12"}
    assert not [one.code for one in told.values() if one.asked]
    assert all(told[code].reason.startswith(f"{read[name]} tensors could be read") for code in whole)
    assert told["weights-not-finite"].reason.endswith("of those that could be: every value is finite")


@pytest.mark.parametrize("name", ["truncated.keras", "truncated.h5", "missing_index/ckpt-2"])
def test_what_no_loader_opens_is_not_tried(session: Session, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "predict", lambda *_, **__: pytest.fail("it was tried"))
    report = asked(session, f"broken/{name}", predict=True)
    behaviour = next(step for step in report.steps if step.name == "behaviour")
    assert behaviour.state == "skipped"
    assert "load" in behaviour.detail
    assert behaviour.ask == "`ckptui predict` tries it all the same"
    assert behaviour.detail in report.verdict


@pytest.mark.parametrize("name", ["flipped_bit", "truncated_shard/ckpt-2", "zero_filled_tail", "implausible_value.h5"])
def test_what_may_load_is_tried(session: Session, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def predict(*_: Any, **__: Any) -> Iterator[Any]:
        raise WorkerFailed("it was tried")
        yield

    monkeypatch.setattr(Session, "predict", predict)
    assert "it was tried" in asked(session, f"broken/{name}", predict=True).verdict


def test_a_part_as_drawn_is_not_ruled_out_of_the_whole(session: Session) -> None:
    report = asked(session, "suspicious/dead_filters.keras")
    told = next(one for one in report.ruled_out if one.code == "weights-untouched")
    assert told.asked
    assert told.reason.startswith("no kernel as a whole; conv1/kernel: 26% of the values are exactly as drawn")
    assert "dense/kernel: the weights of 103 of 384 inputs are exactly as drawn" in told.reason


@pytest.mark.parametrize("name", ["suspicious/mirror_symmetric.keras", "broken/truncated.keras"])
@pytest.mark.usefixtures("one_session")
def test_nothing_is_said_twice(name: str) -> None:
    _, out, _ = called(str(SAMPLES / name), *([] if "truncated" in name else ["--no-predict"]))
    text = " ".join(out.split())
    once = {
        "suspicious/mirror_symmetric.keras": ["32 of 32 filters", "make an answer survive flips"],
        "broken/truncated.keras": ["no loader opens a file", "Keras says the file is not found", "can't be opened"],
    }
    assert {words: text.count(words) for words in once[name]} == dict.fromkeys(once[name], 1)
    assert "layers/dense: layers/dense" not in text
    assert " 1 findings" not in text
    assert "score" not in text


@pytest.mark.usefixtures("one_session")
def test_options_are_said_by_the_command_alone() -> None:
    _, out, _ = called(str(SAMPLES / "digits.keras"), "--no-predict", "--json")
    document = json.loads(out)
    unasked = [one for one in document["ruled_out"] if not one["asked"]]
    assert {"--images DIR", "--expect FILE", "--against SAVE", "leave out --no-predict"} <= {o["ask"] for o in unasked}
    assert not [one for one in (*unasked, *document["steps"]) if "--" in one.get("reason", "") + one.get("detail", "")]
    _, out, _ = called(str(SAMPLES / "digits.keras"), "--no-predict")
    assert "20 or more in a folder do; give --images DIR" in " ".join(out.split())


def test_a_flagged_model_asks_before_anything_slow(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from ckptui.core.catalogue import make

    plain = session.open(str(SAMPLES / "digits.keras"))
    flagged = replace(plain, findings=(make("unsafe-layer", plain.artifact.path),))
    monkeypatch.setattr(Session, "open", lambda *_, **__: flagged)
    told: list[Any] = []
    with pytest.raises(Flagged) as caught:
        told.extend(session.why(str(SAMPLES / "digits.keras")))
    assert "--allow-flagged" in caught.value.hint
    assert caught.value.findings
    for item in session.why(str(SAMPLES / "digits.keras"), predict=False):
        told.append(item)
    assert isinstance(told[-1], WhyReport)


def test_it_can_be_cancelled(session: Session) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        list(session.why(str(SAMPLES / "digits/ckpt-5"), predict=False, cancel=cancel))


@pytest.fixture
def one_session(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands share the readers of this module: starting them is most of what a call takes."""
    monkeypatch.setattr("ckptui.diagnosing.Session", lambda: contextlib.nullcontext(session))


def called(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(["why", *arguments])
    return code, out.getvalue(), err.getvalue()


@pytest.mark.parametrize("symptom", [None, "constant", "flip", "unstable"])
@pytest.mark.usefixtures("one_session")
def test_the_document(symptom: Symptom | None) -> None:
    more = ["--symptom", symptom] if symptom else []
    code, out, _ = called(str(SAMPLES / "broken/flipped_bit"), "--no-predict", "--json", *more)
    document = json.loads(out)
    assert code == 1
    assert problems(document) == []
    keys = ["schema", "model", "symptom", "shown", "causes", "ruled_out", "steps", "images", "verdict", "findings"]
    assert set(keys) <= set(document)
    assert document["symptom"] == symptom
    assert document["causes"][0]["cause"] == "damaged-save"
    assert [step["name"] for step in document["steps"]] == STEPS
    assert called(str(SAMPLES / "broken/flipped_bit"), "--no-predict", "--json", "--fail-on", "never")[0] == 0


@pytest.mark.usefixtures("one_session")
def test_the_text_begins_with_the_verdict() -> None:
    code, out, _ = called(str(SAMPLES / "suspicious/untouched_layer.keras"), "--no-predict")
    assert code == 0
    lines = out.splitlines()
    assert lines[2].startswith("Weights are as their initializer drew them, conv2/kernel.")
    heads = ["1  Weights are as their initializer drew them", "Ruled out", "Not asked", "Steps"]
    assert [lines.index(head) for head in heads] == sorted(lines.index(head) for head in heads)
    assert max(map(len, lines[: lines.index("Steps")])) <= 100
    assert called(str(SAMPLES / "suspicious/untouched_layer.keras"), "--no-predict", "--fail-on", "warning")[0] == 1


@pytest.mark.usefixtures("one_session")
def test_what_can_not_be_done_is_exit_2(tmp_path: Path) -> None:
    assert called(str(tmp_path / "nothing"))[0] == 2
    assert called(str(SAMPLES / "digits.keras"), "--symptom", "sleepy")[0] == 2
    code, out, err = called(str(SAMPLES / "digits.keras"), "--against", str(tmp_path / "no"), "--json")
    assert (code, json.loads(out)["schema"]) == (2, "ckptui/error/1")
    assert len(err.splitlines()) == 1


def test_names_are_made_harmless() -> None:
    bad = Cause("dead-layer", "a\x1b[31m", ("constant",), "likely", 0.5, ("b\u202e",), "c\x07", (), "d\x1b")
    text = "\n".join(cause_lines(1, bad, "not seen", 100))
    assert not set("\x1b\u202e\x07") & set(text)


def test_progress_is_told(session: Session) -> None:
    told = list(session.why(str(SAMPLES / "digits/ckpt-5"), predict=False))
    assert any(isinstance(item, Progress) for item in told)
    assert not any(isinstance(item, PredictReport) for item in told)


@needs_corpus
@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("fer2013-sequence/fer2013_mini_XCEPTION.102-0.66.hdf5", {"dead-filters": 0.3}),
        ("face-classification/tiny_XCEPTION_KDEF.hdf5", {}),
        ("mnist-cnn-keras/model.keras", {}),
        ("mlperf-tiny/pretrainedResnet.h5", {}),
        ("tfjs-savedmodels/model_multi_output", {}),
    ],
)
def test_real_models_have_no_cause(session: Session, name: str, most: dict[str, float]) -> None:
    report = asked(session, str(CORPUS / name))
    print(name, [(cause.code, cause.where, cause.score) for cause in report.causes], report.verdict)
    assert {cause.code: cause.score for cause in report.causes} == most
