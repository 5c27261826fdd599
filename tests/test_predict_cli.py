"""`ckptui predict` up to the worker, and what it prints: the call looked at first, the question, the tables."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pexpect
import pytest
from PIL import Image

from ckptui import predicting
from ckptui.core.model import (
    Expectation,
    Finding,
    LayerSpread,
    ManyImages,
    Move,
    Output,
    Predicted,
    PredictReport,
    Probe,
    Run,
    Variant,
)
from ckptui.errors import Flagged
from ckptui.narrator import Narrator
from ckptui.predict.wish import Wish
from ckptui.predict_call import flagged_lines
from ckptui.predict_output import predict_document, predict_text
from ckptui.why_output import why_document, why_text
from tests.contract import problems
from tests.places import ROOT, SAMPLES, needs_samples
from tests.readers.protos import graph, meta_graph, node, saved_model_proto
from tests.test_contract import told
from tests.ui.why_fake import REPORT

IMAGE = str(SAMPLES / "images" / "3.png")
KERAS = str(SAMPLES / "digits.keras")


# ---------------------------------------------------------------- the call, looked at before TensorFlow starts


@pytest.fixture
def no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever would start TensorFlow fails the test."""

    def refuse(*_: Any, **__: Any) -> Iterator[Any]:
        raise AssertionError("a worker would start")

    monkeypatch.setattr("ckptui.session.Session.predict", refuse)


@needs_samples
@pytest.mark.usefixtures("no_worker")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no image is given"),
        (("nowhere.png",), "nowhere.png"),
        ((IMAGE, "--labels", "nowhere.txt"), "--labels nowhere.txt"),
        ((IMAGE, "--labels", "/"), "Name a file, not a folder"),
        ((IMAGE, "--expect", "nowhere.json"), "--expect nowhere.json"),
        ((IMAGE, "--architecture", "nowhere.keras"), "nowhere.keras"),
        ((IMAGE, "--against", "nowhere.keras"), "nowhere.keras"),
        ((IMAGE, "--against", IMAGE), "looks like a save"),
        ((IMAGE, "--tf-python", "/nowhere/python"), "--tf-python /nowhere/python"),
        ((IMAGE, "--tf-python", sys.executable, "--tf-python", "/"), "--tf-python /"),
        (("--images", "nowhere"), "--images nowhere"),
        (("--images", IMAGE), "Name a folder"),
        (("--input", "x=nowhere.npy"), "--input x=nowhere.npy"),
        (("--input", "nowhere.npy"), "Write NAME=FILE"),
        (("--input", f"x={IMAGE}", "--input", f"x={KERAS}"), "given twice"),
        ((IMAGE, "--mean", "1"), "go together"),
        ((IMAGE, "--std", "1"), "go together"),
        ((IMAGE, "--mean", "1", "--std", "0"), "not above 0"),
        ((IMAGE, "--mean", "nan", "--std", "1"), "not finite"),
        ((IMAGE, "--mean", "one", "--std", "1"), "no list of numbers"),
        ((IMAGE, "--mean", "1,2,3", "--std", "1,2"), "3 numbers and --std 2"),
        ((IMAGE, "--mean", ",".join("1" * 17), "--std", "1"), "17 numbers"),
        ((IMAGE, "--mean", "1", "--std", "1", "--preprocess", "caffe"), "exclude --preprocess"),
        ((IMAGE, "--preprocess", "mean/std"), "--preprocess"),
        ((IMAGE, "--top", "0"), "--top"),
    ],
)
def test_slips_of_the_pen_cost_no_start_of_tensorflow(arguments: tuple[str, ...], words: str) -> None:
    code, out, err = told("predict", KERAS, *arguments, "--json")
    document = json.loads(out)
    assert code == 2
    assert problems(document) == []
    assert words in err
    assert len(err.splitlines()) == 1


@needs_samples
def test_every_option_reaches_the_session_by_the_names_of_a_wish(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: dict[str, Any] = {}

    def predict(_: Any, model: str, images: list[str], **options: Any) -> Iterator[PredictReport]:
        seen.update(options, model=model, images=images)
        yield PredictReport({"path": model, "kind": "keras-archive", "loader": "", "tensorflow": ""}, ())

    monkeypatch.setattr("ckptui.session.Session.predict", predict)
    file = tmp_path / "x.json"
    file.write_text("{}")
    call = [
        "predict", KERAS, IMAGE, "--images", str(tmp_path), "--mean", "-1,2,3", "--std", "4", "--all-preprocessing",
        "--input", f"x={file}", "--labels", str(file), "--top", "3", "--signature", "s", "--output", "o",
        "--architecture", KERAS, "--against", KERAS, "--expect", str(file), "--tf-python", sys.executable,
        "--tf-python", sys.executable, "--allow-flagged", "--gpu",
    ]  # fmt: skip
    assert told(*call)[0] == 0
    assert (seen.pop("model"), seen.pop("images")) == (KERAS, [IMAGE])
    wish = Wish(**seen)
    assert wish == Wish(
        "mean/std", (-1.0, 2.0, 3.0), (4.0,), True, (f"x={file}",), str(tmp_path), str(file), 3, "s", "o", KERAS,
        KERAS, str(file), (sys.executable, sys.executable), True, True,
    )  # fmt: skip
    seen.clear()
    assert told("predict", KERAS, IMAGE)[0] == 0
    assert Wish(**{name: seen[name] for name in seen if name not in ("model", "images")}) == Wish()


# ---------------------------------------------------------------- the question


def flagged_model(folder: Path) -> Path:
    """A SavedModel whose graph writes a file."""
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(
        saved_model_proto(meta_graph(graph(node("w\x1b[31m", "WriteFile"), node("p", "PyFunc"))))
    )
    return folder


@pytest.fixture
def flagged(tmp_path: Path) -> tuple[str, str]:
    """A model that reaches outside, and an image."""
    image = tmp_path / "a.png"
    Image.new("L", (4, 4)).save(image)
    return str(flagged_model(tmp_path / "model")), str(image)


def test_without_a_terminal_a_flagged_model_does_not_run(flagged: tuple[str, str]) -> None:
    started = time.monotonic()
    code, out, err = told("predict", *flagged)
    assert (code, out) == (2, "")
    assert "--allow-flagged" in err
    assert "WriteFile" in err
    assert len(err.splitlines()) == 1
    code, out, _ = told("predict", *flagged, "--json")
    assert code == 2
    assert problems(json.loads(out)) == []
    assert "--allow-flagged" in json.loads(out)["hint"]
    # two calls, and no TensorFlow was started for them
    print(f"two refusals in {time.monotonic() - started:.2f} s")
    assert time.monotonic() - started < 10


def test_on_a_terminal_the_question_shows_what_was_found(flagged: tuple[str, str]) -> None:
    child = pexpect.spawn(
        sys.executable, ["-m", "ckptui", "predict", *flagged], timeout=60, encoding="utf-8", dimensions=(40, 200),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        child.expect(r"Run it all the same\? \[y/N\] ")
        shown = child.before or ""
        assert "unsafe-op" in shown
        assert "WriteFile" in shown
        assert "PyFunc" in shown
        assert "\x1b[31m" not in shown
        child.sendline("n")
        child.expect(pexpect.EOF)
        assert "--allow-flagged" in (child.before or "")
    finally:
        child.close()
    assert child.exitstatus == 2


class Typed:
    """A terminal on which somebody types."""

    encoding = "utf-8"

    def __init__(self, words: str = "") -> None:
        self.words, self.shown = words, ""

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        return self.words

    def write(self, text: str) -> None:
        self.shown += text

    def flush(self) -> None:
        pass


FOUND = Finding("unsafe-op", "error", "The graph writes files", "m", None, evidence={"op": "WriteFile"})


@needs_samples
@pytest.mark.parametrize(
    ("typed", "runs"), [("y\n", True), ("YES\n", True), ("\n", False), ("", False), ("no\n", False)]
)
def test_only_a_yes_runs_it(typed: str, runs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed: list[bool] = []

    def predict(_: Any, model: str, images: list[str], **options: Any) -> Iterator[PredictReport]:
        allowed.append(bool(options.get("allow_flagged")))
        if not allowed[-1]:
            raise Flagged("1 op reaches outside: WriteFile", "Pass --allow-flagged", findings=(FOUND,))
        yield PredictReport({"path": model, "kind": "saved-model", "loader": "", "tensorflow": ""}, ())

    monkeypatch.setattr("ckptui.session.Session.predict", predict)
    terminal = Typed()
    monkeypatch.setattr(sys, "stdin", Typed(typed))
    monkeypatch.setattr(sys, "stderr", terminal)
    if runs:
        predicting.predict(KERAS, [IMAGE], {})
    else:
        with pytest.raises(Flagged):
            predicting.predict(KERAS, [IMAGE], {})
    assert allowed == [False, True][: 1 + runs]
    assert all(line in terminal.shown for line in flagged_lines("1 op reaches outside: WriteFile", [FOUND]))
    terminal.shown = ""
    with pytest.raises(Flagged):
        predicting.predict(KERAS, [IMAGE], {}, may_ask=False)
    assert "?" not in terminal.shown


# ---------------------------------------------------------------- what is printed

HOSTILE = "a\x1b[31m\u202eb"
FLAGGED = [{"code": "unsafe-op", "severity": "error", "detail": "WriteFile reaches files", "name": "WriteFile"}]


def whole_report() -> PredictReport:
    """Everything a report can hold, names that act on terminals among them."""
    top = ((3, "three", 0.9), (8, HOSTILE, 0.1))
    nan = float("nan")
    runs = (
        Run("original", top, (0.1, 0.9), None, None, 0.01, outputs=(Output("text", "string", (1,), (), (HOSTILE,)),)),
        Run("flip-left-right", top, (0.2, 0.8), 0.1, True, 0.01, identical=False),
        Run("repeat", top, (0.1, 0.9), 0.0, False, 0.01, identical=True),
        Run("against", top, (0.3, 0.7), nan, False, 0.01, detail=f"ckpt-4 {HOSTILE}", identical=False),
        Run("other-tensorflow", (), (), None, None, 0.0, f"it died {HOSTILE}", detail="TensorFlow 2.15.1"),
    )
    image = Predicted(
        f"i{HOSTILE}.png", "0..1", (1, 8, 8, 1), 0.0, 1.0, runs, "It follows.",
        probes=(Probe("zeros", 0.5, False), Probe("noise", 0.0, True)),
        variants=(
            Variant("0..1", 0.0, 1.0, top, 0.0, False, True),
            Variant("caffe", -123.7, 151.1, top, 0.7, True),
            Variant("torch", 0.0, 0.0, (), None, None, error=f"3 channels {HOSTILE}"),
        ),
        expected=Expectation(f"e{HOSTILE}.json", 0.25, True, False, False, ((8, "eight", 0.9),)),
    )  # fmt: skip
    text = Predicted("texts.json", "as given", (2,), nan, nan, (Run("original", (), (), None, None, 0.1),))
    failed = Predicted("b.png", "", (), 0, 0, (Run("original", (), (), None, None, 0.0, "no"),), f"No {HOSTILE}")
    moves = (
        Move("shift-1", True, 0.02, 0.01, 0.03, 0.0, 0.0, 0.05),
        Move("flip-left-right", False, 0.4, 0.3, 0.5, 0.25, 0.1, 0.4),
    )
    many = ManyImages(
        f"d{HOSTILE}", 24, tuple(f"{n}: {HOSTILE}" for n in range(7)), "total variation", moves, 0.7,
        tuple((f"c{n}{HOSTILE}", 9 - n) for n in range(9)), "A flip moves it more.",
    )  # fmt: skip
    layers = (
        LayerSpread("conv", "Conv2D", (None, 8, 8, 4), 1.5, 2.0, 0.25, True, ("conv/kernel",)),
        LayerSpread(f"dense{HOSTILE}", "Dense", (None, 10), 0.0, 1.0, 1.0, False, ()),
    )
    model = {
        "path": f"m{HOSTILE}", "kind": "saved-model", "loader": "compat.v1", "tensorflow": "2.21.0", "keras": "3.15",
        "others": [f"TF2 loader: no {HOSTILE}", "x" * 500], "bound": "38 of 40 bound; not bound: a, b",
        "sandbox": {"network": True, "writes": False}, "flagged": FLAGGED, "signature": None,
        "input": {"name": "x", "dtype": "float32", "shape": [None, 8, 8, 1]}, "output": "probabilities",
        "inputs": [
            {"name": "x", "dtype": "float32", "shape": [None, 8]}, {"name": "y", "dtype": "string", "shape": []},
        ],
        "outputs": ["probabilities", "logits"], "architecture": "a.keras",
    }  # fmt: skip
    return PredictReport(model, (image, text, failed), (FOUND,), many, layers, layers[1].layer, (f"no {HOSTILE}",))


def test_what_ran_though_flagged_is_named() -> None:
    flags = [{"code": "unsafe-op", "name": f"Op{n}{HOSTILE}"} for n in (1, 2, 1)] + [{"code": "external-reference"}]
    text = "\n".join(predict_text(replace(whole_report(), model={**whole_report().model, "flagged": flags}), 200))
    assert "run though flagged: external-reference, unsafe-op (Op1" in text
    assert (text.count("Op1"), text.count("Op2")) == (1, 1)
    assert not set(HOSTILE) & set(text) & set("\x1b\u202e\x07")


def test_the_whole_document_keeps_the_contract() -> None:
    report = whole_report()
    document = json.loads(json.dumps(predict_document(report), allow_nan=False))
    assert problems(document) == []
    assert document["images"][0]["preprocessings"][1]["preprocess"] == "caffe"
    assert document["dies_at"] == report.layers[1].layer
    assert document["many"]["moves"][1]["interval"] == [0.3, 0.5]
    document["images"][0]["runs"][2]["max_abs_diff"] = 0.5
    document["many"]["moves"][1]["mean"] = 0.6
    document["dies_at"] = "elsewhere"
    assert len(problems(document)) == 3


def test_the_text_says_all_of_it_and_nothing_acts_on_the_terminal() -> None:
    lines = predict_text(whole_report(), 100)
    text = "\n".join(lines)
    assert "\x1b" not in text
    assert "\u202e" not in text
    for words in (
        "TensorFlow 2.21.0", "before it  TF2 loader: no", "38 of 40 bound; not bound: a, b",
        "not enforced on this machine: no writing outside its own folder", "run though flagged: unsafe-op (WriteFile)",
        "outputs  probabilities (on show), logits", "architecture of a.keras", "bit-identical", "TensorFlow 2.15.1",
        "zeros 0.5, noise bit-identical", "0..1 *", "eight 0.9  differs, by 0.25, another answer", "It follows.",
        "left out: 4", "… and 2 more left out", "0.3 to 0.5", "25%", "10% to 40%", "<- dies here", "c7a",
        "✖ unsafe-op",
    ):  # fmt: skip
        assert words in text, words
    # flips stand before the controls
    assert text.index("flip-left-right    ") < text.index("shift-1")
    # what one recorded as the answer lies under its image, before the verdict
    assert text.index("recorded in") < text.index("It follows.")
    # one word of 200 characters is not broken; nothing else is wider than the page
    assert [line for line in lines if len(line) > 100] == [line for line in lines if "xxxx" in line]


@pytest.mark.parametrize("width", [80, 100, 132])
def test_tables_and_sentences_fit_the_page(width: int) -> None:
    whole, run = whole_report(), Run("in-batch", ((3, "three", 0.9),), (0.9,), 4.7e-11, False, 0.3)
    others = Run("original", (), (), None, None, 0.0, "the model refuses the image: " + "words " * 30)
    label = replace(run, name="reload", top=((0, "a_label_of_forty_characters_or_a_bit_more", 0.5),), top1_changed=True)
    rows = (replace(run, detail="among 3 others; 4.7e-11 among copies"), others, label)
    seconds = {"start": 5.12, "load": 0.41, "runs": 2.0, "reload": 0.03, "fresh": 1.2, "all": 8.8}
    report = replace(
        whole, images=(replace(whole.images[0], runs=rows, preprocess="0..1, " + "words " * 20),),
        model={**whole.model, "others": [], "seconds": seconds, "labels": "near/labels.txt"},
    )  # fmt: skip
    lines = predict_text(report, width)
    assert [line for line in lines if len(line) > width] == []
    text = "\n".join(lines)
    assert "took 8.8 s: starting TensorFlow 5.1 s, loading 0.4 s, runs 2.0 s" in text
    assert "labels of near/labels.txt" in text
    # no row's time stands alone in a line
    assert not [line for line in lines if re.fullmatch(r"\s*[\d.]+ s", line)]
    assert "left out: torch (3 channels" in text
    assert [line for line in why_text(REPORT, width) if len(line) > width] == []


def test_a_folder_of_images_is_no_image_and_starts_nothing(no_worker: None, tmp_path: Path) -> None:
    code, _, err = told("predict", KERAS, IMAGE, str(tmp_path))
    assert code == 2
    assert f"--images {tmp_path}" in err


@needs_samples
def test_a_broken_image_among_others_is_told_with_its_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = str(tmp_path / "broken.png")
    Path(broken).write_bytes(b"none")
    lost = Run("original", (), (), None, None, 0.0, f"the bytes are no image: {broken}")
    images = (whole_report().images[0], Predicted(broken, "", (), 0, 0, (lost,), "No answer."))

    def predict(*_: Any, **__: Any) -> Iterator[PredictReport]:
        yield replace(whole_report(), images=images, findings=())

    monkeypatch.setattr("ckptui.session.Session.predict", predict)
    code, out, err = told("predict", KERAS, IMAGE, broken, "--json")
    assert code == 0
    assert err == f"ckptui: no answer for {broken}: the bytes are no image\n"
    assert json.loads(out)["images"][1]["runs"][0]["error"] == f"the bytes are no image: {broken}"


@needs_samples
def test_images_that_are_not_there_are_all_named_and_nothing_starts(no_worker: None, tmp_path: Path) -> None:
    lost = [str(tmp_path / name) for name in ("lost.png", "gone.png")]
    code, out, err = told("predict", KERAS, lost[0], IMAGE, lost[1])
    assert (code, out) == (2, "")
    assert f"{lost[0]}, {lost[1]}" in err
    assert IMAGE not in err
    assert "Nothing was run" in err
    code, out, _ = told("predict", KERAS, IMAGE, lost[0], "--json")
    assert (code, json.loads(out)["schema"]) == (2, "ckptui/error/1")
    code, out, err = told("why", KERAS, IMAGE, lost[0])
    assert (code, out) == (2, "")
    assert lost[0] in err


def test_seconds_are_counted_while_somebody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Typed()
    monkeypatch.setattr(sys, "stderr", terminal)
    narrator = Narrator()
    narrator.wait("starting TensorFlow")
    deadline = time.monotonic() + 60
    while "starting TensorFlow  1 s" not in terminal.shown and time.monotonic() < deadline:
        time.sleep(0.02)
    narrator.tell("loading")
    shown = terminal.shown
    time.sleep(1.2)
    assert "starting TensorFlow  1 s" in shown
    assert terminal.shown == shown
    narrator.close()


def test_the_document_of_why_keeps_the_contract() -> None:
    document = json.loads(json.dumps(why_document(REPORT), allow_nan=False))
    assert problems(document) == []
    document["causes"].reverse()
    document["steps"][0]["state"] = "running"
    document["ruled_out"][0]["cause"] = document["causes"][0]["cause"]
    document["causes"][1]["evidence"] = []
    assert len(problems(document)) == 4


@needs_samples
@pytest.mark.tensorflow
def test_a_run_taken_back_by_ctrl_c_is_130_and_leaves_no_child() -> None:
    child = pexpect.spawn(
        sys.executable, ["-m", "ckptui", "predict", KERAS, IMAGE], timeout=60, encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        child.expect("starting TensorFlow")
        group = os.getpgid(child.pid)
        time.sleep(0.3)
        started = time.monotonic()
        child.sendintr()
        child.expect(pexpect.EOF)
        child.wait()
        took = time.monotonic() - started
    finally:
        child.close()
    assert child.exitstatus == 130
    assert took < 10
    deadline = time.monotonic() + 30
    while _alive(group) and time.monotonic() < deadline:
        time.sleep(0.05)
    print(f"gone {took:.2f} s after Ctrl+C")
    assert _alive(group) == []


def _alive(session: int) -> list[str]:
    """Processes of that terminal's session, ended ones not counted."""
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                fields = (place / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(place.name)
    return found
