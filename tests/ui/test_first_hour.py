"""What a newcomer does in the first hour: keys in quick succession, ways back, what is where."""

from __future__ import annotations

import pytest

from ckptui.ui.screens import looking
from ckptui.ui.screens.asking import ExportScreen
from ckptui.ui.screens.diff import DiffScreen
from tests.ui.driving import WIDE, Bench, at_rest, screen_text, settled, until
from tests.ui.fake_session import RUN, SICK

BEFORE = f"{RUN}/ckpt-4"


@pytest.fixture
def _slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cursor rests long before a save is opened by itself."""
    monkeypatch.setattr(looking, "OPEN_DELAY", 60.0)


@pytest.mark.usefixtures("_slow")
async def test_diff_right_after_moving_compares_the_save_under_the_cursor() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        await pilot.press("h", "j", "d")
        await until(pilot, lambda: isinstance(app.screen, DiffScreen))
        screen = app.screen
        assert isinstance(screen, DiffScreen)
        assert screen.b.artifact.path == BEFORE
        assert app.main.current == BEFORE


@pytest.mark.usefixtures("_slow")
async def test_filters_check_and_export_right_after_moving_wait_until_the_save_is_open() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        await at_rest(pilot, app)
        await pilot.press("h", "j", "e")
        await until(pilot, lambda: isinstance(app.screen, ExportScreen))
        screen = app.screen
        assert isinstance(screen, ExportScreen)
        assert screen.label == "ckpt-4"
        await pilot.press("escape", "j", "c")
        await until(pilot, lambda: app.main.current == f"{RUN}/ckpt-3")
        await settled(pilot, app)
        await pilot.press("j", "f")
        await until(pilot, lambda: app.main.current == f"{RUN}/ckpt-2")
        await until(pilot, lambda: app.main.focus_area == "pane" or app._notifications)


@pytest.mark.usefixtures("_slow")
async def test_mark_right_after_moving_marks_the_save_under_the_cursor() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        await pilot.press("h", "j", "m")
        assert app.main.ledger.mark == BEFORE
        assert app.main.current == SICK


async def test_filters_of_a_bias_is_answered_in_words() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        app.main.view.table.jump_to("conv1/bias")
        await pilot.press("f")
        await pilot.pause()
        assert [n.message for n in app._notifications] == ["no filters: a bias"]
        assert app.main.focus_area == "tensors"
        assert "f filters" not in screen_text(app)


async def test_leaving_a_prediction_goes_back_to_where_it_was_asked_for() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        for keys, area in (((), "tensors"), (("h",), "saves")):
            await pilot.press(*keys, "p")
            await until(pilot, lambda: app.main.pane.showing == "predict" and app.main.focus_area == "pane")
            await pilot.press("escape")
            await pilot.pause()
            assert app.main.focus_area == area
            assert app.main.pane.showing == "inspector"
