"""What a newcomer does in the first hour: keys in quick succession, ways back, what is where."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from ckptui.core.model import Finding
from ckptui.errors import NotASave
from ckptui.ui.messages import Scanned
from ckptui.ui.screens import looking
from ckptui.ui.screens.asking import ExportScreen
from ckptui.ui.screens.diff import DiffScreen
from ckptui.ui.screens.help import help_text, here
from tests.ui.driving import NARROW, WIDE, Bench, at_rest, screen_text, settled, until
from tests.ui.fake_session import ROOT, RUN, SICK, FakeSession, digits
from tests.ui.pane_data import prediction

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


@pytest.mark.parametrize("opens", [True, False], ids=["opens", "fails"])
async def test_enter_typed_while_a_save_opens_is_meant_for_its_prediction(
    opens: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, gate = digits(), threading.Event()
    session.predictions = prediction()
    open_now = session.open

    def held(path: str, *args: Any, **options: Any) -> Any:
        gate.wait(20)
        if not opens:
            raise NotASave("damaged", path)
        return open_now(path, *args, **options)

    app = Bench(session)
    async with app.run_test(size=NARROW) as pilot:
        await settled(pilot, app)
        await pilot.press("h")
        monkeypatch.setattr(session, "open", held)
        await pilot.press("j", "p", "enter")
        await until(pilot, lambda: app.main.record is not None and app.main.record.phase == "opening")
        assert app.main.pane.showing == "predict"
        gate.set()
        if opens:
            await until(pilot, lambda: app.main.pane.ready and app.main.pane.predict.results.told.report is not None)
            # what its check tells later joins the answers on show
            late = Finding("late", "error", "Told late", BEFORE)
            app.main.post_message(Scanned(BEFORE, findings=(late,)))
            await until(pilot, lambda: late in app.main.pane.predict.results.told.findings)
            assert [path for kind, path in session.calls if kind == "predict"] == [f"{BEFORE} {ROOT}/images/two.png"]
        else:
            await until(pilot, lambda: app.main.pane.showing == "inspector")
            assert app.main.focus_region == "saves"
            assert not any(kind == "predict" for kind, _ in session.calls)


async def test_the_title_names_the_folder_and_the_tree_marks_the_save_on_show() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        assert str(app.main.view.border_title).startswith("run/ckpt-5  step 5000  ")
        assert any("▎" in line and "ckpt-5" in line for line in screen_text(app).splitlines())
        await pilot.resize_terminal(34, 20)
        await pilot.pause()
        title = str(app.main.view.border_title)
        assert len(title) <= 30
        assert title.endswith("  step 5000  340 kB") or "…" in title


async def test_folders_show_their_count_and_keep_their_badge_when_open() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        lines = screen_text(app).splitlines()
        assert any("▾ run (5)" in line and "✖ 2" in line for line in lines)
        await at_rest(pilot, app)
        assert any("▾ broken (1)" in line and "✖ 1" in line for line in screen_text(app).splitlines())


async def test_a_check_asked_for_ends_with_words() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        assert not app._notifications
        await pilot.press("c")
        await until(pilot, lambda: app._notifications)
        assert [n.message for n in app._notifications] == ["27 of 28 tensors read, 5 findings"]


async def test_n_ends_at_a_finding_where_no_tensor_is_flagged_and_says_when_it_goes_round() -> None:
    app = Bench()
    async with app.run_test(size=WIDE, notifications=True) as pilot:
        await settled(pilot, app)
        await at_rest(pilot, app)
        for _ in range(5):
            await pilot.press("n")
        await until(pilot, lambda: app.main.record is not None and app.main.record.phase == "failed")
        await pilot.press("n")
        await until(pilot, lambda: app.main.current == SICK)
        words = [n.message for n in app._notifications]
        assert words == ["from the start again, 7 saves not read yet: C reads them all"]
        assert app.main.view.table.cursor == 0
        await until(pilot, lambda: words[0] in screen_text(app))
        (line,) = [y for y, text in enumerate(screen_text(app).splitlines()) if words[0] in text]
        assert line == WIDE[1] - 2, "it covers the lower edge of the panes, no row"
        for _ in range(12):
            await pilot.press("n")
        assert [n.message for n in app._notifications] == words


async def test_n_says_that_nothing_is_flagged_and_how_much_was_not_read() -> None:
    session = FakeSession()
    for name in ("a", "b", "c"):
        session.add(f"{ROOT}/{name}", "tf-checkpoint", {"w": (np.ones((4, 4), np.float32), "kernel")})
    app = Bench(session)
    async with app.run_test(size=NARROW) as pilot:
        await settled(pilot, app)
        await pilot.press("n", "N")
        assert [n.message for n in app._notifications] == ["nothing flagged, 2 saves not read yet: C reads them all"]
        assert "next flagged" not in screen_text(app)


async def test_a_pattern_that_is_none_leaves_what_was_typed_whole() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        await pilot.press("slash", *"conv1/kernel[")
        await pilot.pause()
        text = screen_text(app)
        assert "conv1/kernel[" in text
        await pilot.resize_terminal(40, 20)
        await pilot.pause()
        assert "conv1/kernel[" in screen_text(app)


async def test_help_begins_with_the_keys_of_where_one_is_then_the_signs() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        for keys, first in ((("h",), "In the saves"), (("l",), "In the tensors"), (("2",), "In the findings")):
            await pilot.press(*keys)
            lines = help_text(100, here(app.screen)).plain.splitlines()
            assert [line for line in lines if line and line[0] != " "][:3] == [first, "Signs", "Moving"]
            await pilot.press("question_mark")
            await pilot.pause()
            assert first in screen_text(app)
            await pilot.press("escape")
