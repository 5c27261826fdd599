"""Commands are declared once, and everything that offers them offers only what can be done."""

from __future__ import annotations

from collections import Counter

import pytest
from textual.command import CommandPalette

from ckptui.ui.commands import COMMANDS, available, in_scope, key_text
from ckptui.ui.screens.help import HelpScreen, help_text, here, reach
from ckptui.ui.widgets.filter_grid import FilterGrid
from ckptui.ui.widgets.key_footer import KeyFooter
from tests.ui.driving import NARROW, WIDE, Bench, at_rest, screen_text, settled, until

SCOPES = sorted({command.scope for command in COMMANDS})


def test_no_command_is_declared_twice() -> None:
    assert [name for name, count in Counter(c.id for c in COMMANDS).items() if count > 1] == []


@pytest.mark.parametrize("scope", SCOPES)
def test_a_key_means_one_thing_in_a_scope(scope: str) -> None:
    keys = Counter(key for command in in_scope(scope) for key in command.keys)
    assert [key for key, count in keys.items() if count > 1] == []


def test_help_lists_every_command_with_its_keys() -> None:
    words = help_text(100).plain.replace("\n", " ")
    for command in COMMANDS:
        assert key_text(command.keys[0]) in words
        assert command.help.split()[0] in words


def test_help_fits_its_width() -> None:
    for width in (40, 60, 78):
        assert max(len(line) for line in help_text(width).plain.split("\n")) <= width


async def test_every_command_of_the_shell_has_its_action() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        nodes = {"app": app, "main": app.main, "list": app.main.view.table}
        for command in COMMANDS:
            node = nodes.get(command.scope)
            if node is not None:
                name = command.action.partition("(")[0]
                assert hasattr(node, f"action_{name}") or name in ("quit", "command_palette"), command.id


@pytest.mark.parametrize("size", [(40, 20), (60, 20), NARROW, (109, 30), WIDE, (200, 50)])
async def test_the_footer_shows_whole_entries_and_pins_help_and_quit(size: tuple[int, int]) -> None:
    app = Bench()
    async with app.run_test(size=size) as pilot:
        await settled(pilot, app)
        line = app.main.query_one(KeyFooter).render().plain
        assert len(line) <= size[0]
        assert line.rstrip().endswith("Tab pane  ? help  q quit")
        words = line.replace("Tab pane  ? help  q quit", "").strip()
        entries = [entry for entry in words.split("  ") if entry.strip()]
        offered = {f"{offer.shown} {offer.command.label}" for offer in available(app.main)}
        assert {entry.strip() for entry in entries} <= offered
        assert entries


async def test_the_footer_puts_first_what_the_focus_can_do() -> None:
    app = Bench()
    async with app.run_test(size=NARROW) as pilot:
        await settled(pilot, app)
        await pilot.press("2")
        await pilot.pause()
        assert app.main.query_one(KeyFooter).render().plain.strip().startswith("Enter open")


async def test_while_one_types_no_letter_is_offered_as_a_key() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        await pilot.press("slash")
        await pilot.pause()
        keys = {offer.key for offer in available(app.main)}
        assert not {key for key in keys if len(key) == 1 or key == "question_mark"}
        line = app.main.query_one(KeyFooter).render().plain
        assert line.strip().startswith("Enter keep  Esc clear")
        assert line.rstrip().endswith("Tab pane  F1 help  Ctrl+C quit")


async def test_diff_is_offered_only_with_something_to_compare() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        assert app.main.check_action("diff", ())
        app.main.save_tree.select("/runs/digits/digits.keras")
        app.main.open_save("/runs/digits/digits.keras")
        await settled(pilot, app)
        assert not app.main.check_action("diff", ())


async def test_the_palette_offers_what_can_be_done_and_runs_it() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        await pilot.press("ctrl+p")
        assert isinstance(app.screen, CommandPalette)
        await pilot.press(*"findings")
        await pilot.pause(0.4)
        await pilot.press("enter")
        await pilot.pause(0.2)
        assert app.main.view.tab == "findings"


async def test_help_opens_over_everything_and_closes() -> None:
    app = Bench()
    async with app.run_test(size=NARROW) as pilot:
        await settled(pilot, app)
        await pilot.press("question_mark")
        assert isinstance(app.screen, HelpScreen)
        assert "Go to the next flagged" in screen_text(app)
        await pilot.press("escape")
        assert len(app.screen_stack) == 1


async def test_help_in_the_prediction_has_only_the_keys_that_work_there() -> None:
    app = Bench()
    async with app.run_test(size=(120, 60)) as pilot:
        await settled(pilot, app)
        await pilot.press("p")
        await until(pilot, lambda: app.main.pane.ready and app.main.pane.predict.lines.path_line("image").has_focus)
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(app.screen, HelpScreen))
        text = help_text(100, here(app.main), reach(app.main)).plain
        assert text.startswith("In the prediction")
        assert "Predict this image" in text
        for elsewhere in ("axis", "filter on the left", "heat map", "next row", "In a diff"):
            assert elsewhere not in text, elsewhere
    whole = help_text(100).plain
    assert whole.index("In the timeline") < whole.index("cursor of the axis to the save before, as")


async def test_p_and_w_stay_in_a_narrow_footer_where_tensors_are_flagged() -> None:
    app = Bench()
    async with app.run_test(size=NARROW) as pilot:
        await settled(pilot, app)
        await pilot.pause()
        line = app.main.query_one(KeyFooter).render().plain
        assert line.strip().startswith("n next flagged  p predict  w why")
        await pilot.press("h")
        await pilot.pause()
        assert "p predict  w why" in app.main.query_one(KeyFooter).render().plain


async def test_the_footer_of_the_filters_has_their_keys_and_no_others() -> None:
    app = Bench()
    async with app.run_test(size=NARROW) as pilot:
        await settled(pilot, app)
        await at_rest(pilot, app)
        app.main.view.table.jump_to("conv2/kernel")
        await pilot.press("f")
        await until(pilot, lambda: isinstance(app.focused, FilterGrid))
        await pilot.pause()
        line = app.main.query_one(KeyFooter).render().plain
        assert line.strip().startswith("n flagged  [ ] channel  Esc back  s sort  z scale  ")
        assert "/ filter" not in line
        assert not any(offer.command.id == "log-counts" for offer in available(app.main))
        await pilot.press("x")
        assert [n.message for n in app._notifications] == ["no histogram in view"]
        await pilot.press("f")
        await pilot.pause()
        assert any(offer.command.id == "log-counts" for offer in available(app.main))
