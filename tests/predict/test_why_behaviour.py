"""`why` with TensorFlow: every sick sample and planted model ends in its own cause, healthy ones in none."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import docs.symptoms
from ckptui.core.causes import WhyReport
from ckptui.core.model import PredictReport
from ckptui.predict import predictor as predictor_module
from ckptui.predict.client import Worker
from ckptui.session import Session
from tests import warm_tensorflow
from tests.places import ROOT, SAMPLES, needs_samples

pytestmark = [pytest.mark.tensorflow, needs_samples]

THREE = str(SAMPLES / "images" / "3.png")
MADE = (
    "healthy", "batch_statistics_export", "seeded_dropout", "unadapted", "disconnected", "half_bound", "saturated",
    "corner", "transposed", "zero_kernel", "not_finite", "random_flip", "rescaled", "random_op", "seeded_op",
    "scaled_twice", "mirrored", "one_sided", "sides",
)  # fmt: skip


@pytest.fixture(scope="module")
def session(warm: Worker) -> Iterator[Session]:
    """One session with one worker, which stands for the fresh process of each prediction too."""
    with pytest.MonkeyPatch.context() as patch, Session(cache=False) as made:
        patch.setattr(predictor_module, "Worker", lambda *args, **options: warm)
        yield made


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The planted models, with images whose upper left corner is black."""
    folder = tmp_path_factory.mktemp("planted")
    warm_tensorflow.run(["-m", "tests.predict.planted", folder, *MADE], cwd=ROOT, check=True, timeout=200)
    draw = np.random.default_rng(3)
    for number in (1, 2):
        pixels = draw.integers(0, 256, (16, 16, 1), dtype=np.uint8)
        pixels[:4, :4] = 0
        np.save(folder / f"{number}.npy", pixels)
    return folder


def asked(session: Session, path: str | Path, *images: str | Path, **options: Any) -> WhyReport:
    *_, report = session.why(str(path), [str(one) for one in images], **options)
    assert isinstance(report, WhyReport)
    states = {step.name: (step.state, step.detail) for step in report.steps}
    assert states["behaviour"][0] == "done", states
    return report


def told(report: WhyReport) -> list[tuple[str, str | None]]:
    return [(cause.code, cause.where) for cause in report.causes]


@pytest.mark.parametrize(
    ("name", "cause", "where", "finding", "shown"),
    [
        ("dead_filters", "dead-filters", "conv2/kernel", "dead-filters", ()),
        ("dropout_live", "live-dropout", "dropout", "nondeterministic", ("unstable",)),
        ("ignores_input", "dead-layer", "gate", "constant-output", ("constant",)),
        ("mirror_symmetric", "symmetric-filters", "conv1/kernel", "symmetric-filters", ()),
        ("never_adapted", "preprocessing-off", "norm/mean", "normalization-unadapted", ()),
        ("untouched_layer", "weights-untouched", "conv2/kernel", "at-initializer", ()),
    ],
)
def test_each_suspicious_sample_ends_in_its_own_cause(
    session: Session, name: str, cause: str, where: str, finding: str, shown: tuple[str, ...]
) -> None:
    report = asked(session, SAMPLES / "suspicious" / f"{name}.keras", THREE)
    assert told(report)[0] == (cause, where)
    assert finding in report.causes[0].findings
    assert report.shown == shown
    assert finding in {found.code for found in report.findings}


def test_two_rescalings_and_a_variance_of_0(session: Session, planted: Path) -> None:
    report = asked(session, planted / "scaled_twice.keras", planted / "1.npy")
    causes = {cause.code: cause for cause in report.causes}
    assert causes["preprocessing-off"].where == "inner"
    assert causes["weights-zero"].where == "bn/moving_variance"


@pytest.mark.parametrize("name", ["digits.keras", "digits_saved_model", "digits/ckpt-5", "digits.weights.h5"])
def test_a_healthy_sample_ends_in_none(session: Session, name: str) -> None:
    report = asked(session, SAMPLES / name, THREE)
    assert report.causes == ()
    assert report.shown == ()
    assert report.verdict.startswith("Nothing found; checked:")


@pytest.mark.parametrize(
    ("name", "cause", "where"),
    [
        ("batch_statistics_export", "batch-statistics", "bn"),
        ("seeded_dropout.keras", "live-dropout", "drop"),
        ("unadapted.keras", "preprocessing-off", "norm/mean"),
        ("disconnected", "output-disconnected", "image"),
        ("saturated.keras", "dead-layer", "conv1"),
        ("zero_kernel.keras", "dead-layer", "conv1"),
        ("not_finite.keras", "weights-not-finite", "conv1/kernel"),
        ("random_flip.keras", "live-dropout", "augment"),
        ("random_op", "live-dropout", "jitter/RandomStandardNormal"),
        ("seeded_op", "live-dropout", "drop/random_uniform/RandomUniform"),
    ],
)
def test_each_planted_model_ends_in_its_own_cause(
    session: Session, planted: Path, name: str, cause: str, where: str
) -> None:
    report = asked(session, planted / name, planted / "1.npy")
    assert told(report)[0] == (cause, where)
    assert report.causes[0].certainty == "confirmed"
    if "live-dropout" in cause:
        assert report.causes[0].title.endswith("is live, seeded" if "seeded" in name else "is live, not seeded")
        assert "batch-statistics" not in {one.code for one in report.causes}
    if name == "zero_kernel.keras":
        assert ("weights-zero", "conv1/kernel") in told(report)


def test_the_planted_model_without_a_fault(session: Session, planted: Path) -> None:
    assert told(asked(session, planted / "healthy.keras", planted / "1.npy")) == []


def test_weights_bound_by_half(session: Session, planted: Path) -> None:
    report = asked(
        session, planted / "half_bound.weights.h5", planted / "1.npy", architecture=str(planted / "half_bound.keras")
    )
    assert told(report)[0][0] == "restore-partial"
    assert any("4 of 6" in line for line in report.causes[0].evidence)


def test_a_corner_that_is_the_same_until_the_image_is_flipped(session: Session, planted: Path) -> None:
    report = asked(session, planted / "corner.keras", planted / "1.npy", planted / "2.npy", symptom="flip")
    assert told(report)[0][0] == "layout-input"
    assert report.shown == ("flip",)


def plain(lines: list[str]) -> list[str]:
    """Words alone, without numbers and line ends: random answers and versions differ from time to time."""
    return re.sub(r"[−\d][\d.,]*(e[−-]?\d+)?", "#", " ".join(lines)).split()


def test_a_flip_that_changes_an_answer_is_no_symptom(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    report = asked(session, SAMPLES / "digits_saved_model", THREE, symptom="flip")
    assert (report.shown, report.causes) == ((), ())
    assert len(report.images) == 4
    assert "was not seen here: 4 images have different answers before any flip. Nothing found" in report.verdict
    monkeypatch.setattr(Session, "sibling_images", lambda *_: [])
    report = asked(session, SAMPLES / "digits_saved_model", THREE, symptom="flip")
    assert (report.shown, len(report.images)) == ((), 1)
    assert "was not seen here: a flip changes its answer, but one image is no proof. Nothing found" in report.verdict


def test_axes_that_change_places(session: Session, planted: Path) -> None:
    report = asked(session, planted / "transposed.keras", planted / "1.npy", symptom="flip")
    assert told(report) == [("preprocessing-flips", "swap")]
    assert report.causes[0].certainty == "possible"


def test_a_rescaling_on_one_side_only(session: Session, planted: Path) -> None:
    report = asked(session, planted / "rescaled.keras", planted / "1.npy", against=str(planted / "healthy.keras"))
    assert told(report)[0][0] == "preprocessing-skew"
    assert report.causes[0].certainty == "confirmed"
    assert "Rescaling" in report.causes[0].evidence[0]


@pytest.mark.parametrize(("name", "sided"), [("one_sided.keras", True), ("mirrored.keras", False)])
def test_a_folder_of_images_tells_what_flips_mean(session: Session, planted: Path, name: str, sided: bool) -> None:
    report = asked(session, planted / name, planted / "1.npy", images_dir=str(planted / "sides"), symptom="flip")
    assert ("one-sided-training" in {cause.code for cause in report.causes}) == sided
    assert report.shown == (("flip",) if sided else ())
    ruled = [one.reason for one in report.ruled_out if one.code == "one-sided-training" and one.asked]
    if sided:
        assert "over 24 images flip-left-right moves the answer by 0.9" in report.causes[0].evidence[0]
    else:
        assert "over 24 images no flip moves the answer as a turn does" in ruled[0]


@pytest.fixture(scope="module")
def answers(session: Session, planted: Path) -> dict[str, tuple[float, ...]]:
    """What the model says to the image under each run and preprocessing."""
    *_, said = session.predict(str(planted / "half_bound.keras"), [str(planted / "1.npy")], all_preprocessing=True)
    assert isinstance(said, PredictReport)
    rows = {run.name: run.output for run in said.images[0].runs}
    rows |= {one.preprocess: tuple(score for _, _, score in sorted(one.top)) for one in said.images[0].variants}
    return rows


@pytest.mark.parametrize(
    ("recorded", "cause", "words"),
    [
        ("original", None, ""),
        ("flip-left-right", "preprocessing-flips", "the answer to the image after flip-left-right"),
        ("0..255", "preprocessing-skew", "is given under 0..255"),
        ("nonsense", "preprocessing-skew", "no other preprocessing tried gives them"),
    ],
)
def test_answers_recorded_elsewhere(
    session: Session, planted: Path, answers: dict[str, tuple[float, ...]], recorded: str, cause: str | None, words: str
) -> None:
    file = planted / "recorded.json"
    file.write_text(json.dumps([list(answers.get(recorded, (9.0, 9.0, 9.0)))]))
    report = asked(session, planted / "half_bound.keras", planted / "1.npy", expect=str(file))
    assert [one.code for one in report.causes[:1]] == ([cause] if cause else [])
    assert words in " ".join(report.causes[0].evidence if cause else ())


def test_the_page_of_symptoms_shows_what_is_printed(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("ckptui.diagnosing.Session", lambda: contextlib.nullcontext(session))
    page = docs.symptoms.PAGE.read_text()
    made = docs.symptoms.page()
    assert plain(made.splitlines()) == plain(page.splitlines())
    assert page.count("$ ckptui why") == 7
