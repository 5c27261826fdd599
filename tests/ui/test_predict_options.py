"""The lines of the predict pane and its keys: options, the next image, flagged models, cancelling, any size."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from ckptui.core.model import Finding, LayerSpread, ManyImages, Move, PredictReport, Variant, WorkerState
from ckptui.errors import Flagged, ModelDoesNotLoad, UsageError
from ckptui.ui.paths import load_recent
from ckptui.ui.screens.flagged import FlaggedScreen
from ckptui.ui.screens.telling import TextScreen
from ckptui.ui.widgets.key_footer import KeyFooter
from ckptui.ui.widgets.path_input import PathInput
from ckptui.ui.widgets.predict_lines import ChoiceLine, PredictLines
from ckptui.ui.widgets.predict_pane import PredictPane
from ckptui.ui.widgets.predict_threads import PredictThreads
from tests.ui.driving import NARROW, WIDE, Bench, screen_text, settled, until
from tests.ui.fake_session import digits
from tests.ui.pane_data import RUNS, PaneSession, digit, listing_of, prediction
from tests.ui.test_predict_pane import IMAGE, PredictApp, finished, run, session_with, told

TALL = (60, 44)


def pane_of(app: PredictApp) -> PredictPane:
    return app.query_one(PredictPane)


async def opened(pilot: Pilot[None], app: PredictApp, image: str = IMAGE) -> PredictPane:
    pane = pane_of(app)
    pane.show_for(listing_of("ckpt-5", 5000), image)
    pane.start()
    await pilot.pause()
    return pane


# ------------------------------------------------------------------ options


async def test_options_fold_away_are_remembered_and_still_told() -> None:
    app = PredictApp(session_with(prediction()))
    async with app.run_test(size=TALL) as pilot:
        pane = await opened(pilot, app)
        lines = pane.query_one(PredictLines)
        assert lines.size.height == 2
        await pilot.press("ctrl+o")
        await pilot.pause()
        assert lines.size.height == 5
        assert load_recent("predict-options")[0] == "open"
        lines.choice.focus()
        await pilot.press("right")
        assert lines.choice.value == "0..1"
        await pilot.press("left", "left")
        assert lines.choice.value == "mean/std"
        await pilot.pause()
        assert pane.query_one("#predict-line-numbers").display
        lines.query_one("#predict-numbers").focus()
        await pilot.press(*"127.5/58")
        lines.path_line("against").set_path("/runs/digits/ckpt-2")
        await pilot.press("enter")
        await until(pilot, lambda: not pane.running)
        assert app.session.options[-1] == {
            "preprocess": "mean/std", "mean": (127.5,), "std": (58.0,), "against": "/runs/digits/ckpt-2",
        }  # fmt: skip
        lines.query_one("#predict-numbers").focus()
        await pilot.press("ctrl+o")
        await pilot.pause()
        assert lines.path_line("image").has_focus, "a line that is folded away does not keep the keys"
        assert "scaling mean/std 127.5/58 · against ckpt-2" in told(pane, "asked")
        # another model begins anew, the first one gets its own back
        pane.show_for(listing_of("ckpt-4", 4000), IMAGE)
        assert (lines.choice.value, lines.path_line("against").value) == ("auto", "")
        pane.show_for(listing_of("ckpt-5", 5000), IMAGE)
        assert (lines.choice.value, lines.path_line("against").path) == ("mean/std", "/runs/digits/ckpt-2")


async def test_wrong_numbers_are_words_and_nothing_runs() -> None:
    app = PredictApp(session_with(prediction()))
    async with app.run_test(size=TALL) as pilot:
        pane = await opened(pilot, app)
        pane.lines.choice.value = "mean/std"
        await pilot.press("enter")
        assert "Write mean / std" in told(pane, "state")
        assert not app.session.calls


@pytest.mark.parametrize("size", [TALL, NARROW], ids=["60x44", "80x24"])
async def test_wrong_files_are_told_by_line_and_the_keys_stay_where_they_are_mended(size: tuple[int, int]) -> None:
    app = PredictApp(session_with(prediction()))
    async with app.run_test(size=size) as pilot:
        pane = await finished(pilot, app)
        app.session.wrong = {"nope/x", "/no/such/model"}
        pane.lines.path_line("labels").focus() if pane.lines.unfolded else pane.action_options()
        await pilot.pause()
        line = pane.lines.path_line("labels")
        line.focus()
        await pilot.press(*"nope/x", "enter")
        await until(pilot, lambda: not pane.running)
        assert told(pane, "state") == "labels: no such file: nope/x"
        assert "0.94" in told(pane, "runs"), "what was there before stays"
        # what is typed next mends the line and is no command
        await pilot.press(*"nvioj")
        assert line.has_focus
        assert line.value == "nope/xnvioj"
        assert len(app.session.calls) == 1
        assert not load_recent("labels"), "what is not there is not offered again"
        # several at once, one of them folded away
        line.value = "nope/x"
        pane.lines.path_line("model").set_path("/no/such/model")
        pane.lines.path_line("image").focus()
        pane.action_options()
        await pilot.pause()
        await pilot.press("enter")
        await until(pilot, lambda: not pane.running)
        lines = told(pane, "state").splitlines()
        assert lines == ["model: no such file: /no/such/model", "labels: no such file: nope/x"]
        await pilot.pause()
        assert pane.lines.unfolded
        assert pane.lines.path_line("model").has_focus
        wrong = [each.id for each in pane.query(".predict-line") if each.has_class("-wrong")]
        assert wrong == ["predict-line-model", "predict-line-labels"]
        pane.lines.path_line("model").set_path("/runs/digits/ckpt-5")
        line.value = ""
        await pilot.pause()
        assert not pane.query(".predict-line.-wrong")
        await pilot.press("enter")
        await until(pilot, lambda: pane.results.has_focus and not pane.running)
        assert told(pane, "state") == ""


async def test_an_image_that_can_not_be_decoded_gives_its_line_the_keys_again(tmp_path: Path) -> None:
    app = PredictApp(session_with(prediction()))
    async with app.run_test(size=TALL) as pilot:
        pane = await finished(pilot, app)
        app.session.error = UsageError(f"{IMAGE} is not an image Pillow can decode", title="No image")
        pane.start()
        await until(pilot, lambda: pane.lines.path_line("image").has_focus)
        await pilot.press("enter")
        await until(pilot, lambda: "image: No image" in told(pane, "state"))
        await until(pilot, lambda: pane.lines.path_line("image").has_focus)
        # who steps through a folder goes on stepping
        pane.results.focus()
        await until(pilot, lambda: pane.results.has_focus)
        await pilot.press("enter")
        await until(pilot, lambda: len(app.session.calls) == 3 and not pane.running)
        assert pane.results.has_focus


async def test_v_and_i_add_to_what_is_on_show_and_are_seen() -> None:
    session = session_with(prediction(image=digit(28)))
    app = PredictApp(session)
    async with app.run_test(size=NARROW) as pilot:
        pane = await finished(pilot, app)
        runs, verdict = told(pane, "runs"), told(pane, "verdict")
        alone = prediction(RUNS[:1], "Restores cleanly.")
        variants = (Variant("0..1", 0, 1, ((2, "2", 0.94),), 0.0, False, True),
                    Variant("caffe", -128, 151, ((5, "5", 0.6),), 0.6, True, False))  # fmt: skip
        with_variants = replace(alone[-2], variants=variants)
        session.predictions = [*alone[:-2], with_variants, replace(alone[-1], images=(with_variants,))]
        await pilot.press("v")
        await until(pilot, lambda: "1 of 2 preprocessings" in told(pane, "variants") and not pane.running)
        await pilot.pause()
        assert (told(pane, "runs"), told(pane, "verdict")) == (runs, verdict)
        assert "1 of 2 preprocessings" in screen_text(app)
        moves = (Move("flip-left-right", False, 0.3, 0.2, 0.4, 0.5, 0.3, 0.7),
                 Move("shift-1", True, 0.02, 0.0, 0.04, 0.1, 0.0, 0.2))  # fmt: skip
        classes = (("2", 24),)
        many = ManyImages("/runs/digits/images", 24, (), "total variation", moves, 0.9, classes, "Flips matter.")
        session.predictions = [*alone[:-1], replace(alone[-1], many=many)]
        await pilot.press("i")
        await until(pilot, lambda: "Flips matter." in told(pane, "many") and not pane.running)
        await pilot.pause()
        assert "Flips matter." in screen_text(app)
        assert (told(pane, "runs"), told(pane, "verdict")) == (runs, verdict)
        assert "1 of 2 preprocessings" in told(pane, "variants")
        assert session.options == [
            {}, {"all_preprocessing": True, "runs": ()}, {"images_dir": "/runs/digits/images", "runs": ()},
        ]  # fmt: skip
        command = pane.results.told.command
        assert "--all-preprocessing" in command
        assert "--images" in command
        # of another image nothing is kept
        pane.lines.path_line("image").set_path("/runs/digits/images/three.png")
        session.predictions = [*alone[:-2], with_variants, alone[-1]]
        await pilot.press("v")
        await until(pilot, lambda: len(session.options) == 4 and not pane.running)
        assert "flip" not in told(pane, "runs")
        assert told(pane, "many") == ""


async def test_labels_found_near_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/user")
    session = session_with(prediction([replace(RUNS[0], top=((2, "two", 0.94), (5, "five", 0.06)))]))
    session.labels = "/runs/digits/labels.txt"
    app = PredictApp(session)
    async with app.run_test(size=TALL) as pilot:
        pane = await finished(pilot, app)
        await until(pilot, lambda: "labels /runs/digits/labels.txt" in told(pane, "facts"))
        assert pane.lines.path_line("labels").placeholder == "found near: /runs/digits/labels.txt"
        # where they fit no output nothing was named by them
        session.predictions = prediction()
        await pilot.press("enter")
        await until(pilot, lambda: "fresh" in told(pane, "runs") and not pane.running)
        await pilot.pause()
        assert "labels" not in told(pane, "facts")


async def test_words_of_empty_lines_are_cut_with_a_sign_and_a_note_without_room_stands_below() -> None:
    app = PredictApp(session_with(prediction()))
    async with app.run_test(size=(36, 40)) as pilot:
        pane = await finished(pilot, app)
        pane.action_options()
        await pilot.pause()
        for name in ("against", "labels"):
            line = pane.lines.path_line(name)
            assert "…" in line.placeholder or line.placeholder == line.words
            assert len(line.placeholder) < line.size.width
        pane.lines.choice.note = "0..1, the model itself does not scale"
        predicted = pane.results.told.predicted
        assert predicted is not None
        pane.results.take(replace(predicted, preprocess=pane.lines.choice.note))
        pane._draw_facts()
        await pilot.pause()
        assert pane.lines.choice.render().plain == "← auto →"
        assert "does not scale" in " ".join(told(pane, "facts").split())


async def test_what_is_not_enforced_is_readable_in_full_before_anything_ran() -> None:
    session = session_with(prediction())
    words = "it may open network connections: this kernel offers no seccomp filter"
    session.worker = WorkerState(1, "ready", 1, "2.21.0", (words,))
    app = PredictApp(session)
    async with app.run_test(size=TALL) as pilot:
        pane = await opened(pilot, app)
        await until(pilot, lambda: words in " ".join(told(pane, "details").split()))


async def test_what_auto_found_stands_beside_it() -> None:
    app = PredictApp(session_with(prediction()))
    async with app.run_test(size=TALL) as pilot:
        pane = await opened(pilot, app)
        await pilot.press("ctrl+o", "enter")
        await until(pilot, lambda: not pane.running)
        assert pane.query_one(ChoiceLine).render().plain == "← auto →  0..1"
        assert "0..1" not in told(pane, "facts")


async def test_letters_go_into_the_lines_and_are_keys_in_the_results(tmp_path: Path) -> None:
    app = PredictApp(session_with(prediction()))
    async with app.run_test(size=TALL) as pilot:
        pane = await opened(pilot, app, "")
        line = pane.query_one("#predict-image", PathInput)
        line.value = ""
        await pilot.press(*"nNvijk")
        assert line.value == "nNvijk"
        assert not app.session.calls
        line.set_path(IMAGE)
        await pilot.press("enter")
        await until(pilot, lambda: not pane.running)
        assert pane.results.has_focus
        await pilot.press("v")
        await until(pilot, lambda: len(app.session.options) == 2 and not pane.running)
        assert app.session.options[-1] == {"all_preprocessing": True, "runs": ()}
        await pilot.press("i")
        await until(pilot, lambda: len(app.session.options) == 3 and not pane.running)
        assert app.session.options[-1] == {"images_dir": "/runs/digits/images", "runs": ()}
        assert line.value.endswith("two.png")


# ------------------------------------------------------------------ the next image


async def test_the_next_image_of_the_folder_runs_at_once_and_goes_round(tmp_path: Path) -> None:
    for place in range(300):
        (tmp_path / f"i{place:03}.png").touch()
    (tmp_path / "z.txt").touch()
    (tmp_path / "evil\x1b[31m.png").touch()
    app = PredictApp(session_with(prediction()))
    async with app.run_test(size=TALL) as pilot:
        pane = await opened(pilot, app)
        line = pane.query_one("#predict-image", PathInput)
        line.set_path(str(tmp_path / "i298.png"))
        await pilot.press("ctrl+n")
        await until(pilot, lambda: len(app.session.calls) == 1 and not pane.running)
        assert app.session.calls[-1][1].endswith("/i299.png")
        await pilot.press("n")
        await until(pilot, lambda: len(app.session.calls) == 2 and not pane.running)
        assert app.session.calls[-1][1].endswith("evil\x1b[31m.png"), "opened as it is"
        assert "\x1b" not in line.value
        assert [n.message for n in app._notifications] == ["from the first image again"]
        await pilot.press("n", "N")
        await until(pilot, lambda: len(app.session.calls) >= 3 and not pane.running)
    async with PredictApp().run_test(size=TALL) as pilot:
        lonely = pilot.app.query_one(PredictPane)
        lonely.lines.path_line("image").set_path("/nowhere/at/all.png")
        lonely.action_step(1)
        await until(pilot, lambda: [n.message for n in pilot.app._notifications] == ["no other image in this folder"])


# ------------------------------------------------------------------ cancelling


class Slow(PaneSession):
    """Goes on telling after it was cancelled, as a thread may that has not looked at the flag yet."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go = threading.Event(), threading.Event()

    def predict(self, model: str, images: Any, *, cancel: Any = None, **options: Any) -> Iterator[Any]:
        self.calls.append(("predict", images[0]))
        yield from prediction()[:3]
        self.begun.set()
        self.go.wait(5)
        yield from prediction()[3:]


async def test_escape_keeps_what_is_on_show_and_nothing_late_joins_it() -> None:
    session = Slow()
    app = PredictApp(session)
    async with app.run_test(size=TALL) as pilot:
        pane = await run(pilot, app)
        await until(pilot, lambda: "original" in told(pane, "runs"))
        token = pane._token
        await pilot.press("escape")
        assert not pane.running
        assert told(pane, "state") == "stopped"
        session.go.set()
        pane.on_predict_threads_answered(PredictThreads.Answered(token, RUNS[1]))
        await until(pilot, lambda: not any(w.is_running for w in app.workers))
        await pilot.pause()
        assert "0.94" in told(pane, "runs")
        assert "flip" not in told(pane, "runs")
        assert told(pane, "verdict") == ""


# ------------------------------------------------------------------ flagged models


def flagged() -> Flagged:
    found = (
        Finding("unsafe-layer", "warning", "A layer runs code", "/m", "lambda\x1b[31m_1", detail="[/red] Python code"),
        Finding("unsafe-op", "error", "An op writes files", "/m", detail="WriteFile"),
    )
    return Flagged("it reaches outside", "--allow-flagged runs it all the same", findings=found)


class Guarded(PaneSession):
    """Refuses to run unless told otherwise."""

    def predict(self, model: str, images: Any, *, cancel: Any = None, **options: Any) -> Iterator[Any]:
        if not options.get("allow_flagged"):
            self.calls.append(("asked", model))
            raise flagged()
        yield from super().predict(model, images, cancel=cancel, **options)


@pytest.mark.parametrize("key", ["n", "escape", "enter"])
async def test_a_flagged_model_does_not_run_unless_one_says_yes(key: str) -> None:
    session = Guarded()
    app = PredictApp(session)
    async with app.run_test(size=NARROW) as pilot:
        pane = await run(pilot, app)
        await until(pilot, lambda: isinstance(app.screen, FlaggedScreen))
        words = screen_text(app)
        assert words.index("An op writes files") < words.index("A layer runs code")
        assert "error" in words
        assert "\x1b" not in words
        await pilot.press(key)
        await until(pilot, lambda: not isinstance(app.screen, FlaggedScreen))
        assert session.calls == [("asked", "/runs/digits/ckpt-5")]
        assert "not run: the model is flagged" in told(pane, "state")


async def test_yes_runs_it_and_is_remembered_for_the_files_as_they_are(tmp_path: Path) -> None:
    model = tmp_path / "m.keras"
    model.write_bytes(b"first")
    session = Guarded()
    session.predictions = prediction()
    app = PredictApp(session)
    async with app.run_test(size=TALL) as pilot:
        pane = await opened(pilot, app)
        pane.lines.path_line("model").set_path(str(model))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, FlaggedScreen))
        await pilot.press("y")
        await until(pilot, lambda: "bit-identical" in told(pane, "runs") and not pane.running)
        assert "--allow-flagged" in told(pane, "details").replace("\n", "")
        await pilot.press("enter")
        await until(pilot, lambda: len(session.options) == 2 and not pane.running)
        assert session.calls.count(("asked", str(model))) == 1, "no second question"
        model.write_bytes(b"another file")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, FlaggedScreen))


# ------------------------------------------------------------------ results


async def test_what_every_loader_said_is_readable() -> None:
    session = session_with(prediction())
    session.error = ModelDoesNotLoad("keras: Unknown layer 'A'; tf_keras: No file", "Name its layers: --architecture X")
    app = PredictApp(session)
    async with app.run_test(size=TALL) as pilot:
        pane = await finished(pilot, app)
        lines = told(pane, "state").splitlines()
        assert lines[1:5] == ["keras", "  Unknown layer 'A'", "tf_keras", "  No file"]
        assert pane.lines.needs_layers
        finding = Finding("model-does-not-load", "error", "It does not load", "/m", detail=session.error.detail)
        session.error, session.predictions = None, [PredictReport({"path": "/m"}, (), (finding,))]
        await pilot.press("enter")
        await until(pilot, lambda: "tf_keras" in told(pane, "findings"))
        assert "  Unknown layer 'A'" in told(pane, "findings").splitlines()


async def test_layers_and_the_command_are_told_below_and_copied() -> None:
    told_all = prediction()
    rows = (LayerSpread("conv1", "Conv2D", (None, 4), 0.5, 1.0, 0, True), LayerSpread("gate", "X", (), 0, 0, 1, True))
    told_all[-1] = replace(told_all[-1], layers=rows, dies_at="gate", notes=("writes are not held back here",))
    app = PredictApp(session_with(told_all))
    async with app.run_test(size=(60, 70)) as pilot:
        pane = await finished(pilot, app)
        text = pane.results.as_text()
        for words in ("the input is lost in gate", "ckptui predict /runs/digits/ckpt-5", "--json",
                      "Loads the same way each time.",
                      "writes are not held back", "given  1x16x16x1, 0 to 1, 0..1"):  # fmt: skip
            assert words in " ".join(text.split()) or words in text


async def test_the_worker_is_warmed_when_the_pane_opens_and_its_state_stands_in_the_frame() -> None:
    session = digits()
    session.predictions = prediction(image=digit(28))
    app = Bench(session)
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        await pilot.press("p")
        await until(pilot, lambda: session.warmed == 1)
        await until(pilot, lambda: "worker ready" in str(app.main.pane.border_subtitle))
        assert app.main.pane.predict.lines.path_line("image").has_focus
        assert "612 MB" in str(app.main.pane.border_subtitle)
        session.worker = WorkerState(4243, "busy", 700_000_000, "2.21.0")
        await until(pilot, lambda: "700 MB" in str(app.main.pane.border_subtitle))
        await pilot.press("enter")
        await until(pilot, lambda: app.main.pane.predict.results.told.report is not None)
        await pilot.press("Y")
        await until(pilot, lambda: isinstance(app.screen, TextScreen))
        assert "Loads the same way each time." in app.screen.text  # type: ignore[attr-defined]
        await pilot.press("escape", "escape")
        await pilot.pause()
        assert str(app.main.pane.border_subtitle) == ""
        assert not app.main.has_class("-predicting")


async def test_p_and_enter_typed_at_once_predict_though_nothing_is_loaded_yet() -> None:
    session = digits()
    session.predictions = prediction()
    app = Bench(session)
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        # as in the first second: what is asked of a pane waits
        app.main.pane.ready, app.main.pane._loading = False, True
        await pilot.press("p", "enter")
        await until(pilot, lambda: session.warmed or app.main.pane._waiting)
        assert app.main.pane.showing == "predict"
        assert not session.calls.count(("predict", "/runs/digits/run/ckpt-5 /runs/digits/images/two.png"))
        app.main.pane.ready = True
        waiting, app.main.pane._waiting = app.main.pane._waiting, {}
        for act in waiting.values():
            act()
        await until(pilot, lambda: app.main.pane.predict.results.told.report is not None)
        assert app.main.pane.predict.results.has_focus


async def test_the_footer_has_the_keys_that_get_through() -> None:
    session = digits()
    session.predictions = prediction()
    app = Bench(session)
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        await pilot.press("p")
        await until(pilot, lambda: app.main.pane.ready and app.main.pane.predict.lines.path_line("image").has_focus)
        await pilot.pause()
        footer = app.main.query_one(KeyFooter)
        assert "Ctrl+N next" in footer.render().plain
        await pilot.press("enter")
        await until(pilot, lambda: app.main.pane.predict.results.told.report is not None)
        await pilot.pause()
        line = footer.render().plain
        assert line.strip().startswith("Enter run  n next  o options  v scalings  i folder")
        assert "w why" in line
        assert "p predict" not in line
        await pilot.resize_terminal(*NARROW)
        await pilot.pause()
        assert footer.render().plain.strip().startswith("Enter run  n next  o options  v scalings  i folder")


# ------------------------------------------------------------------ sizes and looks


async def test_no_size_breaks_it() -> None:
    app = PredictApp(session_with(prediction(image=digit(28))))
    async with app.run_test(size=NARROW) as pilot:
        pane = await finished(pilot, app)
        pane.action_options()
        for size in ((1, 1), (8, 3), (20, 5), (37, 12), (200, 60), (12, 80), NARROW):
            await pilot.resize_terminal(*size)
            await pilot.pause()
        assert "original" in told(pane, "runs")


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["80x24", "120x40"])
def test_the_workbench_with_a_prediction(size: tuple[int, int], snap_compare: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("HOME", "/home/user")
    monkeypatch.chdir("/")
    session = digits()
    session.predictions = prediction(image=digit(28))
    app = Bench(session)

    async def before(pilot: Pilot[None]) -> None:
        await settled(pilot, app)
        await pilot.press("p")
        await until(pilot, lambda: app.main.pane.ready and app.main.pane.predict.lines.path_line("image").has_focus)
        await pilot.press("enter")
        await until(pilot, lambda: app.main.pane.predict.results.told.report is not None)
        await until(pilot, lambda: "worker ready" in str(app.main.pane.border_subtitle))
        await until(pilot, lambda: not app.main.pane.predict.running)
        await pilot.pause(0.2)
        assert "Loads the same way each time." in screen_text(app)

    assert snap_compare(app, terminal_size=size, run_before=before)
