"""What stands below the runs, and what the lines ask for: words that fit, harmless, and true to the numbers."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest
from textual.content import Content

from ckptui.core.model import Expectation, Finding, LayerSpread, ManyImages, Move, Probe, Variant, WorkerState
from ckptui.predict.image import PREPROCESS
from ckptui.predict_output import run_lines as run_table
from ckptui.ui.prediction_details import (
    belongs,
    expected_lines,
    layer_lines,
    loader_lines,
    loaders_said,
    many_lines,
    model_lines,
    probe_lines,
    spread_share,
    variant_lines,
    worker_line,
)
from ckptui.ui.prediction_request import MEAN_STD, PREPROCESSINGS, PredictRequest, file_identity, numbers_of
from ckptui.ui.prediction_words import finding_lines, kept, run_lines, verdict_lines
from ckptui.ui.widgets.cells import Drawing
from ckptui.ui.widgets.predict_lines import offered_words
from tests.ui.pane_data import RUNS, run_of

EVIL = "\x1b]0;x\x07[/red]\u202eevil"
LAYERS = (
    LayerSpread("input", "InputLayer", (None, 16, 16, 1), 1.0, 1.0, 0.2, True),
    LayerSpread("conv1", "Conv2D", (None, 14, 14, 32), 0.3, 3.0, 0.5, True, ("conv1/kernel",)),
    LayerSpread("gate", "Rescaling", (None, 14, 14, 32), 0.0, 0.0, 1.0, True, ("gate/scale",)),
    LayerSpread("dense", "Dense", (None, 10), 0.0, 0.4, 0.0, True, ("dense/kernel",)),
)
VARIANTS = (
    Variant("0..1", 0.0, 1.0, ((2, "two", 0.94),), 0.0, False, chosen=True),
    Variant("-1..1", -1.0, 1.0, ((5, "five", 0.7),), 0.76, True),
    Variant("caffe", -123.7, 151.1, (), None, None, error="three channels are wanted"),
)
MANY = ManyImages(
    "/pics", 24, (f"{EVIL}: no image",), "total variation",
    (
        Move("flip-left-right", False, 0.42, 0.31, 0.53, 0.5, 0.3, 0.7),
        Move("shift-1", True, 0.02, 0.01, 0.03, 0, 0, 0.1),
    ),
    0.9, (("two", 20), (EVIL, 4)), "A left-right flip moves the answer far more than any control.",
)  # fmt: skip


def plain(lines: list[Content]) -> list[str]:
    return [line.plain for line in lines]


@pytest.mark.parametrize("width", [16, 20, 35, 42, 60, 120])
@pytest.mark.parametrize("drawing", [Drawing.COLOUR, Drawing.ASCII])
def test_no_line_is_longer_than_the_pane_and_none_is_dangerous(width: int, drawing: Drawing) -> None:
    hostile = [replace(row, layer=EVIL * 3, weights=(EVIL,)) for row in LAYERS]
    findings = (Finding("all-zero", "warning", EVIL, "/x", EVIL),)
    runs = [run_of("reload", 2, 0.9, None, error=EVIL * 20), replace(run_of("against", 2, 0.9, 0.1), detail=EVIL)]
    parts = [
        layer_lines(hostile, EVIL * 3, findings, width, drawing),
        layer_lines(LAYERS, "gate", (), width, drawing),
        probe_lines((Probe(EVIL, 0.2, False), Probe("zeros", 0.0, True)), width, drawing),
        [*variant_lines([replace(VARIANTS[0], preprocess=EVIL, top=((0, EVIL, 0.5),)), *VARIANTS], width, drawing)],
        many_lines(MANY, width, drawing),
        model_lines(
            {"others": [f"{EVIL}: {EVIL * 9}"], "signature": EVIL, "input": {"name": EVIL}}, [EVIL], EVIL, width
        ),
        run_lines([RUNS[0], *runs], width, drawing),
        finding_lines((Finding("a", "error", "A title", "/x", detail=EVIL * 9, advice=EVIL),), width),
        [worker_line(WorkerState(1, "ready", 1 << 30, EVIL, (EVIL,)), width)],
    ]
    for lines in parts:
        assert lines
        for line in lines:
            assert "\x1b" not in line.plain
            assert "\u202e" not in line.plain
    titles = ("preprocessing", "the input is lost", "images, ", "does anything", "what the loaders", "the same as")
    for lines in parts[1:2] + parts[4:7]:
        for line in lines if width >= 35 else ():
            assert line.cell_length <= width or any(title in line.plain for title in titles), line.plain


def test_the_layer_where_the_input_ends_is_marked_with_what_is_known_of_its_weights() -> None:
    findings = (
        Finding("all-zero", "warning", "All values are zero", "/x", "gate/scale"),
        Finding("constant", "warning", "Another layer's", "/x", "dense/kernel"),
    )
    lines = layer_lines(LAYERS, "gate", findings, 80, Drawing.COLOUR)
    words = plain(lines)
    assert words[0] == "the input is lost in gate"
    assert words[3].startswith("gate")
    assert "no change" in words[3]
    assert "100% zeros" in words[3]
    assert "All values are zero: gate/scale" in words[4]
    assert not any("Another layer's" in line for line in words)
    assert lines[3].spans[0].style == "$error bold"
    assert [spread_share(row) > 0 for row in LAYERS] == [True, True, False, False]


def test_spreads_are_drawn_on_a_logarithmic_axis() -> None:
    row = LAYERS[0]
    assert spread_share(row) == 1.0
    assert spread_share(replace(row, spread=1e-9)) == 0.02
    assert spread_share(replace(row, spread=1e-4)) == pytest.approx(5 / 9)
    assert spread_share(replace(row, finite=False)) == 0.0


def test_a_weight_belongs_to_its_layer_by_either_name() -> None:
    row = replace(LAYERS[1], weights=("conv1/kernel:0",))
    assert belongs("layers/conv1/vars/0", row)
    assert belongs("model/conv1/kernel:0", row)
    assert not belongs("conv10/kernel", row)


def test_variants_say_which_of_them_changes_the_answer() -> None:
    words = plain(variant_lines(VARIANTS, 70, Drawing.COLOUR))
    assert words[0] == "1 of 2 preprocessings changes the answer"
    assert "as above" in words[1]
    assert "another answer" in words[2]
    assert "−1…1" in words[2]
    assert words[3].startswith("left out: caffe (")
    assert "three channels are wanted" in words[3]
    assert plain(variant_lines(VARIANTS[:1], 70, Drawing.COLOUR))[0] == "no preprocessing changes it"


def test_many_images_begin_with_what_they_mean_and_mark_controls() -> None:
    words = plain(many_lines(MANY, 90, Drawing.COLOUR))
    assert words[0].startswith("A left-right flip moves")
    assert "24 images" in words[1]
    assert "0.420 0.310…0.530" in words[2]
    assert "50% change" in words[2]
    assert "shift-1 (control)" in words[3]


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        (None, []),
        (Expectation("/e", 0.0, False, True, True), ["the recorded answer, bit-identical"]),
        (Expectation("/e", 0.3, True, False, False), ["the recorded answer differs by 0.3, another answer"]),
        (Expectation("/e", None, None, False, False, error=EVIL), None),
    ],
)
def test_recorded_answers(expected: Expectation | None, words: list[str] | None) -> None:
    said = plain(expected_lines(expected))
    assert said == words if words is not None else "\x1b" not in said[0]


def test_every_loader_has_its_own_lines() -> None:
    text = "keras: Unknown layer: 'Foo'; and more; tf_keras 2.21.0: No; tf.compat.v1.saved_model.load: Bad magic: 3"
    assert loaders_said(text) == [
        "keras: Unknown layer: 'Foo'; and more",
        "tf_keras 2.21.0: No",
        "tf.compat.v1.saved_model.load: Bad magic: 3",
    ]
    assert plain(loader_lines(loaders_said(text), 30)) == [
        "keras", "  Unknown layer: 'Foo'; and", "  more", "tf_keras 2.21.0", "  No",
        "tf.compat.v1.saved_model.load", "  Bad magic: 3",
    ]  # fmt: skip
    assert plain(loader_lines(["no name " * 9], 40))[0].startswith("no name")


def test_the_worker_says_state_and_memory_first_and_drops_what_does_not_fit() -> None:
    state = WorkerState(4242, "loading", 612_000_000, "2.21.0", ("the network is not blocked", "b"))
    whole = "worker loading the model  612 MB  2 limits not enforced  TF 2.21.0  pid 4242"
    assert worker_line(state, 90).plain == whole
    assert worker_line(state, 40).plain == "worker loading the model  612 MB"
    assert worker_line(WorkerState(None, "none"), 90).plain == "worker not running"
    starting = replace(state, state="starting")
    assert "not enforced" not in worker_line(starting, 90).plain, "it has set no limits yet"


def test_rows_keep_their_order_and_two_saves_of_one_name_stay_apart() -> None:
    runs = kept(kept(list(RUNS[3:]), RUNS[0]), RUNS[1])
    assert [run.name for run in runs] == ["original", "flip-left-right", "repeat", "reload", "fresh-process"]
    old = run_of("other-tensorflow", 2, 0.94, 0.1, detail="TensorFlow 2.15.1")
    new = run_of("other-tensorflow", 2, 0.94, 0.0, detail="TensorFlow 2.18.0")
    runs = kept(kept(kept([RUNS[0]], old), new), replace(old, max_abs_diff=0.2))
    assert [(run.detail, run.max_abs_diff) for run in runs[1:]] == [
        ("TensorFlow 2.18.0", 0.0),
        ("TensorFlow 2.15.1", 0.2),
    ]
    words = plain(run_lines(runs, 80, Drawing.COLOUR))
    assert words[1].startswith("TF 2.18.0")
    other = run_of("against", 2, 0.94, 0.1, detail="/runs/digits/ckpt-2")
    assert plain(run_lines([RUNS[0], other], 80, Drawing.COLOUR))[1].startswith("against ckpt-2")


def test_a_long_reason_is_wrapped_beside_its_name() -> None:
    failed = run_of("reload", 2, 0.9, None, error="word " * 60)
    lines = plain(run_lines([RUNS[0], failed], 40, Drawing.COLOUR))
    assert lines[1].startswith("reload")
    assert [line[:7].strip() for line in lines[2:]] == [""] * 3
    assert lines[-1].endswith("…")


def test_a_run_that_has_no_meaning_for_the_model_is_no_error() -> None:
    failed = run_of("in-batch", 0, 1.0, None, top=(), error="one answer for the whole batch: nothing to hold against")
    for run, style in ((failed, "$error"), (replace(failed, unasked=True), "$dim")):
        (line,) = run_lines([run], 80, Drawing.COLOUR)
        assert style in {str(span.style) for span in line.spans}
    assert replace(failed, unasked=True).to_json() == failed.to_json()


def test_labels_with_one_beginning_and_one_end_stay_apart() -> None:
    original, flipped = RUNS[0], RUNS[1]
    tops = [((n, f"class 000{n} ラベル", 0.5), (n + 4, f"class 000{n + 4} ラベル", 0.2)) for n in (1, 2)]
    rows = [replace(run, top=top) for run, top in zip((original, flipped), tops, strict=True)]
    lines = plain(run_lines(rows, 60, Drawing.COLOUR))
    assert ["…0001 ラベル" in lines[0], "…0002 ラベル" in lines[1]] == [True, True]
    assert [line.split()[2] for line in run_table(rows, 80)[1:]] == ["0001", "0002"]
    long = [replace(run, top=((n, f"a photo of kind{n} in the studio", 0.5),)) for n, run in enumerate(rows)]
    assert [line.split()[1] for line in run_table(long, 80)[1:]] == ["…kind0…", "…kind1…"]


def test_sentences_that_name_a_fault_stand_out() -> None:
    lines = verdict_lines(
        "Loads the same way each time. But the answer does not follow the image: zeros give the same. It dies at gate."
    )
    assert plain(lines) == [
        "Loads the same way each time.",
        "The answer does not follow the image: zeros give the same.",
        "It dies at gate.",
    ]  # fmt: skip
    assert [line.spans[0].style for line in lines] == ["bold", "$error bold", "$dim"]
    assert verdict_lines("") == []


# ------------------------------------------------------------------ what is asked for


def test_the_preprocessings_are_those_of_the_engine() -> None:
    assert (*PREPROCESS, MEAN_STD) == PREPROCESSINGS


def test_only_what_was_asked_for_becomes_an_option() -> None:
    assert PredictRequest("/m.keras", "/i.png").options() == {}
    asked = PredictRequest(
        "/m.keras", "/i.png", MEAN_STD, ((127.5,), (58.0, 57.0, 57.5)), against="/b", labels="/l.txt",
        architecture="/a.h5", all_preprocessing=True, images_dir="/pics",
    )  # fmt: skip
    assert asked.options() == {
        "preprocess": "mean/std", "mean": (127.5,), "std": (58.0, 57.0, 57.5), "against": "/b", "labels": "/l.txt",
        "architecture": "/a.h5", "all_preprocessing": True, "images_dir": "/pics",
    }  # fmt: skip


def test_the_command_line_is_quoted_and_understood_by_the_command() -> None:
    from ckptui.arguments import group

    asked = PredictRequest("/m; rm -rf x.keras", "-i.png", "-1..1", against="/b c", all_preprocessing=True)
    words = shlex.split(asked.command(allow_flagged=True))
    assert words[:4] == ["ckptui", "predict", "/m; rm -rf x.keras", "./-i.png"]
    for each in (asked, PredictRequest("/m", "/i", MEAN_STD, ((-1.5, 2.0), (3.0,)))):
        command = group.commands["predict"]
        context = command.make_context("predict", shlex.split(each.command())[2:])
        assert context.params["as_json"] is True
    assert context.params["mean"] == (-1.5, 2.0)
    assert context.params["std"] == (3.0,)


def test_numbers_for_mean_and_std() -> None:
    assert numbers_of("127.5/127.5") == ((127.5,), (127.5,))
    assert numbers_of("1, 2 3 / 4") == ((1.0, 2.0, 3.0), (4.0,))
    for wrong in ("", "1", "/", "1/0", "1/-2", "a/b", "nan/1", "1 2/1 2 3", "1/inf", "1/" + "2 " * 17):
        with pytest.raises(ValueError, match=r"mean|std|number|Pixels"):
            numbers_of(wrong)


def test_a_file_has_another_identity_once_it_is_written_anew(tmp_path: object) -> None:
    from pathlib import Path

    file = Path(str(tmp_path)) / "m.keras"
    assert set(file_identity(str(file))) == {None}
    file.write_bytes(b"one")
    before = file_identity(str(file))
    assert before == file_identity(str(file))
    assert set(before) != {None}
    file.write_bytes(b"three")
    assert file_identity(str(file)) != before
    assert set(file_identity("\0")) == {None}


def test_names_offered_are_whole_and_the_rest_is_counted() -> None:
    names = [f"image_{place:04}.png" for place in range(40)]
    words = offered_words(names, 5000, 50)
    lines = words.split("\n")
    assert len(lines) == 3
    assert max(map(len, lines)) <= 50
    shown = sum(line.count(".png") for line in lines)
    assert lines[-1].endswith(f"+{5000 - shown}")
    assert offered_words(["a.png", "b.png"], 2, 50) == "a.png  b.png"
