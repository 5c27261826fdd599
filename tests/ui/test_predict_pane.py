"""The predict pane: Enter predicts, rows come as they are done, and only real faults look like faults."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from textual.app import ComposeResult
from textual.pilot import Pilot

from ckptui.core.model import Finding, Run
from ckptui.errors import ModelDoesNotLoad, UsageError
from ckptui.ui.paths import candidates, completed, harmless, load_recent, remember, short_path
from ckptui.ui.prediction_words import (
    damage_lines,
    judged,
    place_words,
    run_lines,
    scale_of,
    score_text,
    share_of,
    top_lines,
)
from ckptui.ui.widgets.cells import Drawing
from ckptui.ui.widgets.image_view import ImageStrip, fitted, image_of
from ckptui.ui.widgets.path_input import PathInput
from ckptui.ui.widgets.predict_pane import PredictPane
from tests.ui.cells_at import background, line, text
from tests.ui.driving import until
from tests.ui.pane_data import RUNS, PaneApp, PaneSession, digit, listing_of, prediction, run_of

NARROW, WIDE = (80, 24), (56, 40)
IMAGE = "/runs/digits/images/two.png"


class PredictApp(PaneApp):
    """A predict pane in a frame."""

    CSS = "PredictPane { border: round $border-blurred; padding: 0 1; }"

    def compose(self) -> ComposeResult:
        yield PredictPane()


def told(pane: PredictPane, part: str) -> str:
    return str(pane.query_one(f"#predict-{part}").render())


async def run(pilot: Pilot[None], app: PaneApp) -> PredictPane:
    pane = app.query_one(PredictPane)
    pane.show_for(listing_of("ckpt-5", 5000), IMAGE)
    pane.start()
    await pilot.pause()
    await pilot.press("enter")
    return pane


async def finished(pilot: Pilot[None], app: PaneApp) -> PredictPane:
    pane = await run(pilot, app)
    await until(pilot, lambda: not pane.running)
    await pilot.pause()
    return pane


def session_with(predictions: list[Any]) -> PaneSession:
    session = PaneSession()
    session.predictions = predictions
    return session


# ------------------------------------------------------------------ words


@pytest.mark.parametrize(
    ("run", "words", "style"),
    [
        (RUNS[0], "", "$dim"),
        (RUNS[1], "Δ 0.76 another answer", "$accent"),
        (run_of("flip-up-down", 2, 0.9, 0.06), "Δ 0.06", "$dim"),
        (RUNS[3], "bit-identical", "$success"),
        (RUNS[4], "same to 8e−7", "$success"),
        (run_of("repeat", 2, 0.9, 8e-7), "Δ 8e−7 differs", "$error"),
        (run_of("repeat", 5, 0.9, 0.4), "Δ 0.4 another answer", "$error"),
        (run_of("reload", 2, 0.9, 0.01), "Δ 0.01 differs", "$error"),
        (run_of("fresh-process", 5, 0.9, 0.5), "Δ 0.5 another answer", "$error"),
        (run_of("in-batch", 2, 0.9, 0.2), "Δ 0.2 differs", "$error"),
        (run_of("against", 5, 0.9, 0.5), "Δ 0.5 another answer", "$accent"),
        (run_of("training-mode", 2, 0.9, 0.06), "Δ 0.06", "$dim"),
        (run_of("reload", 2, 0.9, None, error="\x1b[31mUnknown layer"), "\\x1b[31mUnknown layer", "$error"),
    ],
)
def test_only_what_must_not_change_is_an_alarm(run: Run, words: str, style: str) -> None:
    verdict = judged(run, 1.0)
    assert (verdict.words, verdict.style) == (words, style)


def test_the_scale_is_that_of_the_original_and_survives_nan() -> None:
    assert scale_of(RUNS) == pytest.approx(0.94)
    assert scale_of([replace(RUNS[0], output=(float("nan"), -3.0, float("inf")))]) == 3.0
    assert scale_of([]) == 1.0


def test_scores_that_are_no_probabilities_are_drawn_against_the_largest() -> None:
    logits = [replace(RUNS[0], top=((2, "2", 8.0),)), replace(RUNS[1], top=((5, "5", -4.0),))]
    assert share_of(8.0, logits) == 1.0
    assert share_of(-4.0, logits) == 0.5
    assert share_of(0.7, RUNS) == 0.7
    assert score_text(0.944) == "0.94"
    assert [score_text(score) for score in (0.00119, 0.004, 1e-5, 0.0)] == ["0.001", "0.004", "0.00", "0.00"]
    assert score_text(-12.5) == "−12.5"
    assert score_text(float("nan")) == "nan"


@pytest.mark.parametrize("width", [35, 38, 42, 50, 78, 120])
@pytest.mark.parametrize("label", ["2", "zero", "a label that goes on and on"])
def test_no_row_is_longer_than_the_pane_and_words_go_before_bars(width: int, label: str) -> None:
    runs = [replace(run, top=((2, label, run.top[0][2]),)) for run in RUNS]
    lines = run_lines(runs, width, Drawing.COLOUR)
    assert len(lines) == len(RUNS)
    assert max(each.cell_length for each in lines) <= width
    if label == "2" and width >= 42:
        assert "another answer" in lines[1].plain
        assert ("█" in lines[0].plain) == (width > 42)
    if label == "zero":
        assert "zero" in lines[0].plain
    assert ("another answer" in lines[1].plain) or ("changed" in lines[1].plain)


async def test_a_long_path_keeps_its_end_in_sight_where_the_keys_are_elsewhere() -> None:
    app = PredictApp()
    async with app.run_test(size=(40, 30)) as pilot:
        line = app.query_one("#predict-model", PathInput)
        line.set_path("/runs/a/very/long/folder/with/a/long/name/digits.keras")
        app.set_focus(None)
        await pilot.pause()
        assert text(line, 0).endswith("digits.keras")
        assert "…" in text(line, 0)
        line.focus()
        await until(pilot, lambda: line.scroll_offset.x > 0)
        assert "digits.keras" in text(line, 0)


def test_hostile_labels_are_escaped_in_rows_and_bars() -> None:
    hostile = replace(RUNS[0], top=((1, "\x1b]0;x\x07[/b]", 0.9), (0, "cat\u202e", 0.1)))
    for each in (*run_lines([hostile], 60, Drawing.COLOUR), *top_lines(hostile, 60, Drawing.COLOUR)):
        assert "\x1b" not in each.plain
        assert "\u202e" not in each.plain


# ------------------------------------------------------------------ pictures of the image


def test_a_preview_of_the_wrong_size_is_no_picture() -> None:
    assert image_of(b"abc", (1, 1)) is not None
    assert image_of(b"abc", (2, 1)) is None
    assert image_of(b"", (0, 0)) is None
    assert image_of(b"abc", (-1, -1)) is None


def test_small_images_grow_by_whole_numbers_and_large_ones_keep_their_proportions() -> None:
    assert fitted((8, 8), 20, 24) == (16, 16)
    assert fitted((16, 16), 20, 24) == (16, 16)
    assert fitted((100, 200), 20, 24) == (10, 20)
    assert fitted((1, 5000), 20, 24) == (1, 20)


async def test_the_three_pictures_are_the_image_and_its_two_flips() -> None:
    app = PredictApp(session_with(prediction()))
    async with app.run_test(size=(80, 60)) as pilot:
        pane = await finished(pilot, app)
        strip = pane.query_one(ImageStrip)
        images = [np.asarray(image) for _, image in strip.pictures]
        assert np.array_equal(images[1], images[0][:, ::-1])
        assert np.array_equal(images[2], images[0][::-1])
        assert text(strip, 0).split("  ")[0] == "original"
        colours = [background(style) for _, style in line(strip, 1)]
        assert 0x141414 in colours


# ------------------------------------------------------------------ running


async def test_enter_predicts_at_once_with_the_save_under_the_cursor_and_the_image_beside_it() -> None:
    app = PredictApp(session_with(prediction()))
    async with app.run_test(size=WIDE) as pilot:
        pane = await finished(pilot, app)
        assert app.session.calls == [("predict", f"/runs/digits/ckpt-5 {IMAGE}")]
        rows = told(pane, "runs")
        assert [row.split("  ")[0].strip() for row in rows.splitlines()][:3] == [
            "original",
            "flip ↔",
            "flip ↕",
        ]
        assert rows.count("another answer") == 2
        assert rows.count("bit-identical") == 2
        assert told(pane, "verdict").startswith("Loads the same way each time.")
        assert "architecture of digits.keras" in told(pane, "facts")
        assert "1×16×16×1 · 0 to 1 · 0..1" in told(pane, "facts")


async def test_rows_appear_one_by_one_and_the_state_line_says_what_goes_on() -> None:
    session = session_with(prediction())
    session.hold.clear()
    app = PredictApp(session)
    async with app.run_test(size=WIDE) as pilot:
        pane = await run(pilot, app)
        await until(pilot, lambda: "starting TensorFlow" in told(pane, "state"))
        assert pane.running
        session.hold.set()
        await until(pilot, lambda: not pane.running)
        assert "bit-identical" in told(pane, "runs")


async def test_escape_stops_and_a_late_answer_is_never_shown() -> None:
    session = session_with(prediction())
    session.hold.clear()
    app = PredictApp(session)
    async with app.run_test(size=WIDE) as pilot:
        pane = await run(pilot, app)
        await until(pilot, lambda: pane.running)
        await pilot.press("escape")
        assert not pane.running
        assert "stopped" in told(pane, "state")
        pane.on_predict_threads_answered(PredictPane.Answered(0, RUNS[0]))
        session.hold.set()
        await pilot.pause(0.1)
        assert "0.94" not in told(pane, "runs")


async def test_escape_is_the_screens_when_nothing_runs() -> None:
    app = PredictApp()
    async with app.run_test(size=WIDE):
        pane = app.query_one(PredictPane)
        assert pane.check_action("stop", ()) is False
        assert pane.check_action("run", ()) is True


async def test_a_model_that_does_not_load_is_words_with_a_hint_and_the_next_run_works() -> None:
    session = session_with(prediction())
    session.error = ModelDoesNotLoad("Unknown layer '[/red]\x1b'", "Give its architecture")
    app = PredictApp(session)
    async with app.run_test(size=WIDE) as pilot:
        pane = await finished(pilot, app)
        assert "Unknown layer '[/red]\\x1b'" in told(pane, "state")
        assert "Give its architecture" in told(pane, "state")
        session.error = None
        await pilot.press("enter")
        await until(pilot, lambda: "bit-identical" in told(pane, "runs"))


async def test_a_checkpoint_without_a_model_beside_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PaneSession, "sibling_model", lambda self, path: None)
    app = PredictApp()
    async with app.run_test(size=WIDE) as pilot:
        pane = app.query_one(PredictPane)
        pane.show_for(listing_of("ckpt-5", 5000), IMAGE)
        await until(pilot, lambda: "weights only" in told(pane, "facts"))


async def test_weights_without_a_model_ask_for_layers_in_a_line_of_the_pane(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def predict(self: PaneSession, *args: Any, **options: Any) -> Any:
        given.append(options.get("architecture"))
        raise UsageError("ckpt-5 holds weights and no model", "Name its layers: --architecture ARTIFACT")

    monkeypatch.setattr(PaneSession, "sibling_model", lambda self, path: "digits.keras")
    monkeypatch.setattr(PaneSession, "predict", predict)
    app = PredictApp()
    async with app.run_test(size=WIDE) as pilot:
        pane = await run(pilot, app)
        await until(pilot, lambda: "in the line `layers`" in " ".join(told(pane, "state").split()))
        assert "--" not in told(pane, "state")
        layers = pane.query_one("#predict-layers", PathInput)
        assert layers.region.height == 1
        layers.value = "/models/a.keras"
        layers.focus()
        await pilot.press("enter")
        await until(pilot, lambda: given == [None, "/models/a.keras"])


def test_an_image_from_elsewhere_is_told_with_its_folder() -> None:
    assert place_words("/pics/cat.png", "/runs/a/ckpt-1", 60) == "image from /pics"
    assert place_words("/runs/images/cat.png", "/runs/a/ckpt-1", 60) == ""
    assert place_words("/runs/a/cat.png", "/runs/a/ckpt-1", 60) == ""
    assert len(place_words("/" + "long/" * 40 + "cat.png", "/runs/a/ckpt-1", 40)) <= 40


async def test_another_save_takes_the_answers_of_the_one_before_away() -> None:
    app = PredictApp(session_with(prediction()))
    async with app.run_test(size=WIDE) as pilot:
        pane = await finished(pilot, app)
        pane.show_for(listing_of("ckpt-4", 4000), IMAGE)
        await pilot.pause()
        assert "bit-identical" not in told(pane, "runs")
        assert pane.query_one("#predict-model", PathInput).path == "/runs/digits/ckpt-4"


async def test_a_damaged_save_is_told_beside_the_verdict_and_no_other_saves_errors_are() -> None:
    damage = Finding("implausible-values", "error", "Implausible values", "/runs/digits/digits.keras", "conv2/kernel")
    elsewhere = replace(damage, artifact="/runs/digits/other.keras", title="Not of this save")
    app = PredictApp(session_with(prediction()))
    async with app.run_test(size=WIDE) as pilot:
        pane = app.query_one(PredictPane)
        pane.show_for(listing_of("ckpt-5", 5000), IMAGE, [elsewhere, damage])
        pane.action_run()
        await until(pilot, lambda: pane.results.told.report is not None and not pane.running)
        *_, words = told(pane, "verdict").splitlines()
        assert words.startswith("✖ But the save itself: Implausible values, conv2")
        # what one said yes to is no damage
        report = pane.results.told.report
        assert report is not None
        flagged = [{"code": damage.code, "severity": "error", "detail": "", "name": ""}]
        pane.results.told.report = replace(report, model={**report.model, "flagged": flagged})
        pane.results.draw()
        assert "the save itself" not in told(pane, "verdict")
        pane.results.told.report = report
        # one row, however much there is to tell
        long = [
            replace(damage, title="Data of several tensors do not fit what the index says of them " + n) for n in "ab"
        ]
        width = pane.results.width
        (line,) = damage_lines("/runs/digits/digits.keras", long, (), width)
        assert line.plain.endswith("…, and 1 more")
        assert line.cell_length <= width
        # what the prediction itself tells is not told twice
        pane.results.told.report = replace(report, findings=(damage,))
        pane.results.draw()
        assert "the save itself" not in told(pane, "verdict")


# ------------------------------------------------------------------ paths


def test_completion_offers_folders_first_then_files_of_the_kind(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in ("image1.png", "image2.png", "image.txt", ".hidden.png"):
        (tmp_path / name).touch()
    found = candidates(f"{tmp_path}/im", (".png",))
    assert [path.removeprefix(f"{tmp_path}/") for path in found] == ["images/", "image1.png", "image2.png"]
    assert completed(f"{tmp_path}/im", found) == f"{tmp_path}/image"
    assert candidates(f"{tmp_path}/", (".png",))[0].endswith("images/")
    assert not any(".hidden" in path for path in candidates(f"{tmp_path}/", (".png",)))
    assert candidates(f"{tmp_path}/nothing/here") == []


def test_paths_are_shown_short_and_harmless() -> None:
    assert short_path("/home/ann/x.png", "/home/ann", "/tmp") == "~/x.png"
    assert short_path("/tmp/runs/x.png", "/home/ann", "/tmp") == "runs/x.png"
    assert short_path("/etc/x.png", "/home/ann", "/tmp") == "/etc/x.png"
    assert harmless(["a.png", "b\x1b[31m.png", "c\u202e.png"]) == ["a.png"]


def test_recent_paths_are_remembered_newest_first_and_once() -> None:
    for path in ("/a.png", "/b.png", "/a.png"):
        remember("images", path)
    remember("models", "/m.keras")
    assert load_recent("images") == ["/a.png", "/b.png"]
    assert load_recent("models") == ["/m.keras"]


def test_a_spoilt_or_missing_memory_is_no_error(tmp_path: Path) -> None:
    file = tmp_path / "state" / "ckptui" / "recent.json"
    assert load_recent("images") == []
    file.parent.mkdir(parents=True)
    for spoilt in ("", "[1]", '{"images": 5}', '{"images": [1, "/a.png"]}', "\x00"):
        file.write_text(spoilt)
        assert load_recent("images") in ([], ["/a.png"])
    remember("images", "/b.png")
    assert load_recent("images") == ["/b.png"]


async def test_tab_completes_and_several_ways_to_go_on_are_offered(tmp_path: Path) -> None:
    for name in ("two.png", "twelve.png"):
        (tmp_path / name).touch()
    app = PredictApp()
    async with app.run_test(size=WIDE) as pilot:
        pane = app.query_one(PredictPane)
        line = pane.query_one("#predict-image", PathInput)
        line.value = f"{tmp_path}/t"
        pane.start()
        await pilot.pause()
        line.cursor_position = len(line.value)
        await pilot.press("tab")
        await until(pilot, lambda: line.value == f"{tmp_path}/tw")
        await until(pilot, lambda: "twelve.png  two.png" in told(pane, "offered"))
        await pilot.press("o", "tab")
        await until(pilot, lambda: line.value == f"{tmp_path}/two.png")
        assert line.path == os.path.join(tmp_path, "two.png")
        assert line.has_focus


async def test_a_hostile_file_name_is_shown_escaped_and_opened_as_it_is() -> None:
    app = PredictApp()
    async with app.run_test(size=WIDE) as pilot:
        line = app.query_one("#predict-image", PathInput)
        line.set_path("/runs/evil\x1b]0;x\x07.png")
        await pilot.pause()
        assert line.value == "/runs/evil\\x1b]0;x\\x07.png"
        assert line.path == "/runs/evil\x1b]0;x\x07.png"


async def test_arrows_bring_back_recent_images() -> None:
    app = PredictApp()
    async with app.run_test(size=WIDE) as pilot:
        for path in ("/old.png", "/new.png"):
            remember("images", path)
        pane = app.query_one(PredictPane)
        pane.show_for(listing_of("ckpt-5", 5000), None)
        line = pane.query_one("#predict-image", PathInput)
        assert line.path == "/new.png", "the last used, where none lies beside the save"
        pane.start()
        await pilot.pause()
        await pilot.press("up", "up")
        assert line.path == "/old.png"
        await pilot.press("down")
        assert line.path == "/new.png"


async def test_the_image_used_last_in_the_folder_goes_before_the_first_one_in_it() -> None:
    for path in ("/runs/digits/images/seven.png", "/elsewhere/cat.png"):
        remember("images", path)
    app = PredictApp()
    async with app.run_test(size=WIDE):
        pane = app.query_one(PredictPane)
        pane.show_for(listing_of("ckpt-5", 5000), IMAGE)
        assert pane.query_one("#predict-image", PathInput).path == "/runs/digits/images/seven.png"


# ------------------------------------------------------------------ looks


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["80x24", "56x40"])
def test_it_looks_as_before(size: tuple[int, int], snap_compare: Any) -> None:
    app = PredictApp(session_with(prediction(image=digit(28))))

    async def before(pilot: Pilot[None]) -> None:
        await finished(pilot, app)
        app.set_focus(None)
        await pilot.pause()

    assert snap_compare(app, terminal_size=size, run_before=before)
