"""The screen that says why: asks at once, shows steps as they run, causes as cards, and leads to the tensor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot

from ckptui.core.causes import WhyReport
from ckptui.errors import ReaderHung
from ckptui.ui import why_job
from ckptui.ui.screens.flagged import FlaggedScreen
from ckptui.ui.screens.telling import TextScreen
from ckptui.ui.screens.why import WhyScreen
from ckptui.ui.why_rows import as_text, asked_words, causes_for, folded_for, lines_of, tensor_of
from ckptui.ui.widgets.key_footer import KeyFooter
from tests.ui.driving import NARROW, WIDE, Bench, at_rest, screen_text, settled, until
from tests.ui.fake_session import ROOT, RUN, SICK, digits
from tests.ui.test_snapshots import _the_same_everywhere
from tests.ui.why_fake import CAUSES, HOSTILE, REPORT, RULED_OUT

the_same_everywhere = _the_same_everywhere


def drawn(report: WhyReport = REPORT, width: int = 60, **more: Any) -> list[str]:
    lines = lines_of(report, more.get("symptom"), frozenset(more.get("unfolded", ())), width)
    return ["".join(text for text, _ in line.pieces) for line in lines]


# ---------------------------------------------------------------- lines


@pytest.mark.parametrize("width", [24, 40, 76, 118])
def test_a_card_says_everything_and_no_line_is_too_long(width: int) -> None:
    lines = drawn(width=width, unfolded=("ruled-out", "not-asked"))
    assert max(map(cell_len, lines)) <= max(width, 27)
    words = " ".join(" ".join(lines).split())
    for cause in CAUSES[:2]:
        for part in (cause.title, cause.next_step, cause.certainty, cause.where, cause.findings[0]):
            assert str(part).split()[0] in words
    if width >= 76:
        assert "12 of 10,240 values of dense/kernel are NaN" in words
        assert "every checksum holds" in words
        assert "→ on the command line: ckptui why … --tf-python PYTHON" in words
    assert "\x1b" not in words
    assert "\u202e" not in words


def test_folds_are_closed_and_counted_and_symptoms_choose() -> None:
    lines = drawn()
    assert any("▸ Ruled out (3)" in line for line in lines)
    assert any("▸ Could not be asked (1)" in line for line in lines)
    assert not any("three calls" in line for line in lines)
    assert [c.code for c in causes_for(REPORT, "constant")] == ["output-disconnected", "non-finite-weights"]
    assert [c.code for c in causes_for(REPORT, "flip")] == ["one-sided-training"]
    assert [r.code for r in folded_for(REPORT, "flip", "ruled-out")] == ["half-written"]
    assert folded_for(REPORT, "flip", "not-asked") == []
    flip = drawn(symptom="flip")
    assert flip[0].split()[0] == "1"
    assert "one-sided" in flip[0] + flip[1]
    assert not any("asked" in line for line in flip)
    assert "No cause was found" in drawn(replace(REPORT, causes=()))[0]


def test_what_is_copied_is_the_whole_cause() -> None:
    assert as_text(CAUSES[1], REPORT, None) == (
        "Weights hold values that are not finite (likely)\n  12 of 10,240 values of dense/kernel are NaN\n"
        "  -> Restore dense/kernel from ckpt-4\n  in dense/kernel"
    )
    assert as_text(RULED_OUT[1], REPORT, None) == "The save is half written: every checksum holds"
    assert as_text("ruled-out", REPORT, "flip") == "The save is half written: every checksum holds"


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        ("--images DIR", "i asks with all images of the folder"),
        ("--against SAVE", "m on that save marks it as A, then w here and r"),
        ("--expect FILE", "on the command line: ckptui why … --expect FILE"),
        (
            "--against MODEL, or --expect FILE",
            "m on that save marks it as A, then w here and r; or on the command line: ckptui why … --expect FILE",
        ),
        ("--architecture MODEL", "p asks for its layers"),
        ("leave out --no-predict", "leave out --no-predict"),
        ("Export it anew\x1b", "Export it anew\\x1b"),
        ("", ""),
    ],
)
def test_options_are_keys_in_front_of_a_screen(ask: str, words: str) -> None:
    assert asked_words(ask) == words


def test_the_tensor_of_a_cause_is_found_by_name_variable_or_layer() -> None:
    listing = digits().listings[SICK]
    assert tensor_of(listing, "dense/kernel") == "dense/kernel"
    named = replace(listing.tensors[0], name="_vars/0", object_path="head/kernel", layer="model/head")
    other = replace(listing, tensors=(named,))
    assert [tensor_of(other, where) for where in ("_vars/0", "head/kernel", "model/head", "head")] == ["_vars/0"] * 4
    assert tensor_of(other, "elsewhere") is None


# ---------------------------------------------------------------- the screen


async def opened(pilot: Pilot[None], app: Bench, *keys: str) -> WhyScreen:
    await settled(pilot, app)
    for key in (*keys, "w"):
        await pilot.press(key)
        await pilot.pause()
    await until(pilot, lambda: any(isinstance(screen, WhyScreen) for screen in app.screen_stack))
    await pilot.pause()
    return next(screen for screen in app.screen_stack if isinstance(screen, WhyScreen))


async def answered(pilot: Pilot[None], app: Bench, *keys: str) -> WhyScreen:
    screen = await opened(pilot, app, *keys)
    await until(pilot, lambda: screen.report is not None)
    await pilot.pause()
    return screen


async def test_w_asks_at_once_about_the_save_under_the_cursor() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        # from the table, the tree, the findings
        for keys in ((), ("shift+tab",), ("2",)):
            app.fake.asked_why.clear()
            await answered(pilot, app, *keys)
            assert app.fake.asked_why == [(SICK, (), False)], keys
            shown = screen_text(app)
            for words in (
                "Why  ckpt-5",
                "image two.png",
                "Causes 3",
                "It gives the same prediction",
                "constant ● seen",
            ):
                assert words in shown, words
            assert shown.index(CAUSES[0].title) < shown.index(CAUSES[1].title)
            assert "\x1b[31m" not in shown
            assert "[/x]" in shown
            await pilot.press("escape")
            await until(pilot, lambda: app.screen is app.main)


async def test_the_image_of_the_predict_pane_goes_before_those_beside() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        await pilot.press("p")
        await until(pilot, lambda: app.main.pane.showing == "predict" and app.main.focus_area == "pane")
        line = app.main.pane.query_one("#predict-image")
        line.set_path("/pictures/cat.png")  # type: ignore[attr-defined]
        await pilot.pause()
        # w is a letter there
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(app.screen, WhyScreen))
        await until(pilot, lambda: app.fake.asked_why)
        assert app.fake.asked_why == [(SICK, ("/pictures/cat.png",), False)]


async def test_steps_are_shown_as_they_run_and_escape_takes_them_back() -> None:
    app = Bench()
    app.fake.why_hold.clear()
    async with app.run_test(size=WIDE) as pilot:
        screen = await opened(pilot, app)
        await until(pilot, lambda: "reloading" in screen_text(app))
        shown = screen_text(app)
        assert "✔ storage" in shown
        assert "12 values are NaN" in shown
        assert "many-images" not in shown
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.main)
        await until(pilot, app.fake.why_cancelled.is_set)
        assert screen.report is None


async def test_keys_choose_the_symptom_and_enter_unfolds() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        screen = await answered(pilot, app)
        for key, title, count in (("2", CAUSES[2].title[:20], 1), ("1", CAUSES[0].title, 2), ("3", CAUSES[1].title, 1)):
            await pilot.press(key)
            await pilot.pause()
            assert screen.list.cause is not None
            assert screen.list.cause.title.startswith(title)
            assert f"Causes {count}" in screen_text(app)
        await pilot.press("s")
        assert screen.symptom is None
        await pilot.press("s")
        assert screen.symptom == "constant"
        await pilot.press("0", "G", "k", "enter")
        await pilot.pause()
        assert screen.list.entry == "ruled-out"
        assert "three calls give the same bits" in screen_text(app)
        await pilot.press("enter")
        await pilot.pause()
        assert "three calls give the same bits" not in screen_text(app)
        # asked once: choosing among what was found asks nothing anew
        assert len(app.fake.asked_why) == 1
        await pilot.press("r")
        await until(pilot, lambda: len(app.fake.asked_why) == 2)


async def test_enter_on_a_cause_goes_to_its_tensor_and_one_without_a_place_says_so() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        screen = await answered(pilot, app, "2")
        await pilot.press("j", "j", "enter")
        await pilot.pause()
        assert app.screen is screen
        await pilot.press("k", "enter")
        await until(pilot, lambda: app.screen is app.main)
        await until(pilot, lambda: app.main.view.table.tensor is not None)
        assert app.main.view.table.tensor is not None
        assert app.main.view.table.tensor.name == "dense/kernel"
        assert (app.main.view.tab, app.main.focus_area) == ("tensors", "tensors")


async def test_escape_after_looking_comes_back_to_the_answer_and_w_finds_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = Bench()
    monkeypatch.setattr(why_job, "file_identity", lambda path: ((1, 1, 1, 1),))
    async with app.run_test(size=NARROW) as pilot:
        screen = await answered(pilot, app)
        await pilot.press("G", "k", "enter", "1", "j", "enter")
        await until(pilot, lambda: app.screen is app.main and app.main.view.table.tensor is not None)
        # further in, and step by step back
        await pilot.press("enter")
        await until(pilot, lambda: app.main.focus_area == "pane")
        await pilot.press("escape")
        await until(pilot, lambda: app.main.focus_area == "tensors")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, WhyScreen) and app.screen.report is not None)
        again = app.screen
        assert isinstance(again, WhyScreen)
        assert again is not screen
        assert len(app.fake.asked_why) == 1, "nothing was asked anew"
        assert (again.symptom, again.list.cause) == ("constant", CAUSES[1])
        assert again.list.unfolded == {"ruled-out"}
        assert "r asks anew" in screen_text(app)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.main)
        await pilot.press("w")
        await until(pilot, lambda: isinstance(app.screen, WhyScreen) and app.screen.report is not None)
        assert len(app.fake.asked_why) == 1
        await pilot.press("r")
        await until(pilot, lambda: len(app.fake.asked_why) == 2)
        await until(pilot, lambda: getattr(app.screen, "report", None) is not None)
        assert "r asks anew" not in screen_text(app)
        # whoever left by Esc is not taken back there
        await pilot.press("escape", "escape")
        await until(pilot, lambda: app.screen is app.main and app.main.focus_area == "saves")


async def test_another_file_is_asked_about_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Bench()
    stamps = iter([((1, 1, 1, 1),), ((1, 1, 1, 2),), (None,), (None,)])
    monkeypatch.setattr(why_job, "file_identity", lambda path: next(stamps))
    async with app.run_test(size=WIDE) as pilot:
        await answered(pilot, app)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.main)
        await pilot.press("w")
        await until(pilot, lambda: len(app.fake.asked_why) == 2)
        # where no file tells whether it is the same nothing is kept
        for count in (3, 4):
            await until(pilot, lambda: getattr(app.screen, "report", None) is not None)
            await pilot.press("escape")
            await until(pilot, lambda: app.screen is app.main)
            await pilot.press("w")
            await until(pilot, lambda count=count: len(app.fake.asked_why) == count)  # type: ignore[misc]


async def test_i_asks_with_the_folder_of_the_image_where_it_holds_enough(tmp_path: Path) -> None:
    app = Bench()
    few, many = tmp_path / "few", tmp_path / "many"
    for folder, count in ((few, 19), (many, 20)):
        folder.mkdir()
        (folder / "notes.txt").touch()
        for place in range(count):
            (folder / f"{place}.png").touch()
    app.fake.why_report = replace(REPORT, images=(str(few / "0.png"),))
    async with app.run_test(size=WIDE) as pilot:
        screen = await answered(pilot, app)
        await pilot.press("i")
        await until(pilot, lambda: any("only 19 images" in n.message for n in app._notifications))
        assert screen.report is not None
        screen.images = (str(many / "0.png"),)
        await pilot.press("i")
        await until(pilot, lambda: len(app.fake.asked_why) == 2)
        assert app.fake.why_options == [{}, {"images_dir": str(many)}]


async def test_the_marked_save_is_what_it_is_held_against() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        app.main.ledger.mark = f"{RUN}/ckpt-2"
        await answered(pilot, app)
        assert app.fake.why_options == [{"against": f"{RUN}/ckpt-2"}]
        assert "against ckpt-2" in screen_text(app)


async def test_the_footer_and_help_say_what_enter_does_and_only_where_it_does() -> None:
    app = Bench()
    app.fake.why_hold.clear()
    async with app.run_test(size=NARROW) as pilot:
        screen = await opened(pilot, app)
        await until(pilot, lambda: "reloading" in screen_text(app))
        assert "Enter" not in screen.query_one(KeyFooter).render().plain
        app.fake.why_hold.set()
        await until(pilot, lambda: screen.report is not None)
        await pilot.pause()
        assert "Enter go there" in screen.query_one(KeyFooter).render().plain
        await pilot.press("j", "j")
        await pilot.pause()
        assert "Enter" not in screen.query_one(KeyFooter).render().plain, "this cause lies nowhere"
        for words in ("Enter unfold", "Enter fold"):
            while not isinstance(screen.list.entry, str):
                await pilot.press("j")
            await pilot.pause()
            assert words in screen.query_one(KeyFooter).render().plain
            await pilot.press("enter")
            await pilot.pause()
        await pilot.press("question_mark")
        await pilot.pause()
        shown = screen_text(app)
        assert "In the answer to why" in shown
        assert "Go to the layer or tensor of the cause" in shown.split("Signs")[0]


async def test_a_layer_without_weights_is_found_among_the_layers() -> None:
    app = Bench()
    app.fake.why_report = replace(REPORT, causes=(replace(CAUSES[0], where="input"),))
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        await pilot.press("shift+tab")
        app.main.save_tree.select(f"{ROOT}/digits.keras")
        await pilot.pause()
        await answered(pilot, app)
        await pilot.press("enter")
        await until(pilot, lambda: app.main.current == f"{ROOT}/digits.keras" and app.main.view.tab == "architecture")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, WhyScreen))


async def test_a_save_that_is_not_on_show_is_opened_for_the_jump() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        await pilot.press("shift+tab")
        app.main.save_tree.select(f"{RUN}/ckpt-2")
        await pilot.pause()
        await answered(pilot, app)
        assert app.fake.asked_why[0][0] == f"{RUN}/ckpt-2"
        await pilot.press("j", "enter")
        await until(pilot, lambda: app.main.current == f"{RUN}/ckpt-2" and app.main.view.table.tensor is not None)
        await until(pilot, lambda: getattr(app.main.view.table.tensor, "name", "") == "dense/kernel")


async def test_a_save_that_can_not_be_opened_is_asked_about_too() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        await pilot.press("shift+tab")
        app.main.save_tree.select(f"{ROOT}/broken/truncated.h5")
        await pilot.pause()
        await answered(pilot, app)
        assert app.fake.asked_why[0][0] == f"{ROOT}/broken/truncated.h5"


async def test_y_copies_and_the_text_can_be_selected(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Bench()
    copied: list[str] = []
    async with app.run_test(size=WIDE) as pilot:
        await answered(pilot, app)
        monkeypatch.setattr(app, "copy_to_clipboard", copied.append)
        await pilot.press("y")
        assert copied == [as_text(CAUSES[0], REPORT, None)]
        await pilot.press("Y")
        await until(pilot, lambda: isinstance(app.screen, TextScreen))


async def test_a_flagged_model_runs_only_after_a_yes() -> None:
    app = Bench()
    app.fake.why_flagged = True
    async with app.run_test(size=WIDE) as pilot:
        await opened(pilot, app)
        await until(pilot, lambda: isinstance(app.screen, FlaggedScreen))
        assert "The graph writes files" in screen_text(app)
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, WhyScreen))
        assert "1 op reaches outside" in screen_text(app)
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, FlaggedScreen))
        await pilot.press("y")
        await until(pilot, lambda: isinstance(app.screen, WhyScreen) and app.screen.report is not None)
        assert [allowed for _, _, allowed in app.fake.asked_why] == [False, False, True]


async def test_a_failure_is_said_in_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Bench()

    def why(*_: Any, **__: Any) -> Any:
        raise ReaderHung(f"no progress for 4 s {HOSTILE}")

    monkeypatch.setattr(app.fake, "why", why)
    async with app.run_test(size=NARROW) as pilot:
        screen = await opened(pilot, app)
        await until(pilot, lambda: not screen.running)
        await pilot.pause()
        shown = screen_text(app)
        assert "Reader hung" in shown
        assert "\x1b[31m" not in shown
        await pilot.press("y", "enter", "s", "j", "G", "escape")
        await until(pilot, lambda: app.screen is app.main)


async def test_every_card_can_be_reached_and_read_in_a_low_terminal() -> None:
    app = Bench()
    long = replace(CAUSES[0], evidence=tuple(f"fact {n} of a long list" for n in range(30)))
    app.fake.why_report = replace(REPORT, causes=(long, *CAUSES[1:]))
    async with app.run_test(size=NARROW) as pilot:
        screen = await answered(pilot, app)
        seen = ""
        for _ in range(12):
            seen += screen_text(app)
            await pilot.press("down")
            await pilot.pause()
        missing = [n for n in range(30) if f"fact {n} of" not in seen]
        assert missing == []
        assert CAUSES[1].title in seen
        assert screen.list.entry == "not-asked"
        for _ in range(6):
            await pilot.press("up")
        await pilot.pause()
        assert screen.list.cause == long


@pytest.mark.parametrize(
    ("moment", "size"),
    [("answer", NARROW), ("answer", WIDE), ("unfolded", NARROW), ("running", WIDE)],
    ids=["answer-80x24", "answer-120x40", "unfolded-80x24", "running-120x40"],
)
def test_scene(moment: str, size: tuple[int, int], snap_compare: Any) -> None:
    """The screen looks as it did."""
    app = Bench()

    async def run(pilot: Pilot[None]) -> None:
        await settled(pilot, app)
        await at_rest(pilot, app)
        if moment == "running":
            app.fake.why_hold.clear()
        await pilot.press("w")
        await until(pilot, lambda: isinstance(app.screen, WhyScreen))
        screen = app.screen
        assert isinstance(screen, WhyScreen)
        if moment == "running":
            await until(pilot, lambda: "reloading" in screen._doing)
            screen._turn = lambda: "⠹"  # type: ignore[method-assign]
            screen._begun["behaviour"] += 1e6
            await pilot.pause(0.2)
            return
        await until(pilot, lambda: screen.report is not None)
        if moment == "unfolded":
            await pilot.press("G", "enter", "k", "enter")
        await at_rest(pilot, app)

    assert snap_compare(app, terminal_size=size, run_before=run)
