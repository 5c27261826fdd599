"""The workbench as one uses it: the first minute, moving, filtering, flags, folders, panes."""

from __future__ import annotations

import pytest
from textual import events
from textual.widgets import Input

from ckptui.core.model import Found
from ckptui.errors import NoSuchPath
from ckptui.ui.screens.telling import ErrorScreen, TextScreen
from ckptui.ui.widgets.about_panel import facts
from ckptui.ui.widgets.findings_panel import FindingsList
from ckptui.ui.widgets.header import HeaderLine
from tests.ui.driving import NARROW, WIDE, Bench, at_rest, screen_text, settled, until
from tests.ui.fake_session import ROOT, RUN, SICK, FakeSession, digits


async def test_it_opens_on_the_newest_save_with_its_worst_tensor_on_top() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        assert app.main.current == SICK
        table = app.main.view.table
        assert table.has_focus
        assert table.cursor == 0
        assert table.tensor is not None
        assert table.tensor.name == "conv2/bias"
        text = screen_text(app)
        assert "NaN 12" in text
        assert "5 untouched" in text


async def test_only_the_save_on_show_is_scanned_the_others_get_their_quick_badges() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        await at_rest(pilot, app)
        assert {path for path, _ in app.fake.scanned if path != SICK} == set()
        saves = {item.path for item in app.fake.found if isinstance(item, Found)}
        assert set(app.fake.opened) == saves
        kinds = {path: record.badge.kind for path, record in app.main.ledger.saves.items()}
        assert kinds[SICK] == "error"
        assert kinds[f"{ROOT}/broken/truncated.h5"] == "error"
        assert kinds[f"{RUN}/ckpt-4"] == "unchecked"


async def test_the_visible_tensors_are_scanned_first() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        wanted = app.fake.scanned[0][1]
        assert wanted[0] == "conv2/bias"
        assert "OPTIMIZER_SLOT" not in wanted[9]


async def test_a_large_save_is_scanned_only_when_asked() -> None:
    session = digits()
    session.settings = type(session.settings)(auto_scan_bytes=1000)
    app = Bench(session)
    async with app.run_test(size=WIDE) as pilot:
        await until(pilot, lambda: app.main.record is not None and app.main.record.phase == "quick")
        await at_rest(pilot, app)
        assert all(names == ("conv2/bias",) for _, names in session.scanned), "only the tensor on show"
        await pilot.press("c")
        await settled(pilot, app)
        assert len(session.scanned[-1][1]) == 28


async def test_of_a_large_save_what_was_kept_is_told_at_once() -> None:
    session = digits()
    session.settings = type(session.settings)(auto_scan_bytes=1000)
    session.kept[SICK] = 1.0
    app = Bench(session)
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        record = app.main.ledger.saves[SICK]
        assert (record.phase, record.kept_since) == ("checked", 1.0)
        del session.kept[SICK]
        await pilot.press("c")
        await settled(pilot, app)
        assert record.kept_since is None


async def test_leaving_a_save_stops_its_scan_and_c_stops_it_too() -> None:
    session = digits()
    session.gate.clear()
    app = Bench(session)
    async with app.run_test(size=WIDE) as pilot:
        await until(pilot, lambda: session.scanned)
        record = app.main.record
        assert record is not None
        assert record.badge.kind in ("busy", "error")
        await pilot.press("c")
        await until(pilot, lambda: record.phase == "quick")
        await pilot.press("c")
        await until(pilot, lambda: record.phase == "checking")
        app.main.save_tree.select(f"{RUN}/ckpt-4")
        app.main.open_save(f"{RUN}/ckpt-4")
        assert record.phase == "quick"
        session.gate.set()
        await settled(pilot, app)
        assert not record.scans


async def test_keys_are_answered_while_a_scan_runs_and_the_header_tells_how_far_it_is() -> None:
    session = digits()
    session.gate.clear()
    app = Bench(session)
    async with app.run_test(size=WIDE) as pilot:
        await until(pilot, lambda: session.scanned)
        await pilot.press("j", "j")
        assert app.main.view.table.cursor == 2
        assert "check" in app.main.query_one(HeaderLine).render().plain
        session.gate.set()
        await settled(pilot, app)
        assert app.main.query_one(HeaderLine).job is None
        assert app.main.query_one(HeaderLine).totals == (3, 3)


async def test_a_cursor_the_user_moved_stays_with_its_tensor_when_findings_come() -> None:
    session = digits()
    session.gate.clear()
    app = Bench(session)
    async with app.run_test(size=WIDE) as pilot:
        await until(pilot, lambda: session.scanned)
        await pilot.press("G", "k", "k")
        before = app.main.view.table.tensor
        session.gate.set()
        await settled(pilot, app)
        assert before is not None
        assert app.main.view.table.tensor == before


async def test_vi_keys_and_arrows_move_and_stop_at_the_ends() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        table = app.main.view.table
        for key, cursor in (("k", 0), ("j", 1), ("down", 2), ("up", 1), ("G", 11), ("j", 11), ("g", 0)):
            await pilot.press(key)
            assert table.cursor == cursor, key
        await pilot.press("pagedown")
        assert table.cursor == 11
        await pilot.press("home")
        assert table.cursor == 0


async def test_the_filter_works_while_one_types_and_esc_takes_it_back() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        await pilot.press("slash", *"conv1")
        await pilot.pause()
        table = app.main.view.table
        assert table.rows is not None
        assert len(table.rows) == 6
        assert "6 of 28" in screen_text(app)
        await pilot.press("enter")
        assert table.has_focus
        await pilot.press("escape")
        assert len(table.rows) == 12
        assert not any(child.display for child in app.main.view.filter_bar.children)


@pytest.mark.parametrize("size", [WIDE, (80, 24)])
async def test_escape_leaves_the_filters_first_and_then_the_names_looked_for(size: tuple[int, int]) -> None:
    app = Bench()
    async with app.run_test(size=size) as pilot:
        await settled(pilot, app)
        await pilot.press("slash", *"conv2/kernel", "enter")
        table = app.main.view.table
        assert table.rows is not None
        found = table.tensor
        assert found is not None
        await pilot.press("f")
        await until(pilot, lambda: app.main.focus_region == "pane")
        await pilot.press("escape")
        assert app.main.focus_region == "view"
        assert app.main.view.filter_bar.text == "conv2/kernel"
        await pilot.press("escape")
        assert app.main.view.filter_bar.text == ""
        assert len(table.rows) == 12
        assert table.tensor == found


async def test_letters_typed_into_the_filter_are_no_commands() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        await pilot.press("slash", *"qdm?")
        assert app.main.view.filter_bar.text == "qdm?"
        assert app.main.ledger.mark is None
        assert app.screen is app.main


async def test_a_fold_opens_with_enter_and_closes_again() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        table = app.main.view.table
        await pilot.press("G", "k", "enter")
        assert table.row_count() == 28
        assert table.tensor is None
        await pilot.press("enter")
        assert table.row_count() == 12


async def test_sort_goes_round_and_names_can_be_shown_as_stored() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        table = app.main.view.table
        sorts = []
        for _ in range(4):
            await pilot.press("s")
            sorts.append(table.query_now.sort)
        assert sorts == ["name", "size", "order", "worst"]
        await pilot.press("v")
        assert table.query_now.stored_names


async def test_n_walks_the_flagged_tensors_and_on_into_other_saves() -> None:
    session = digits()
    session.add(
        f"{ROOT}/other", "tf-checkpoint", {"a": session.values[SICK]["conv1/bias"]},
        findings=[session.scan_findings[SICK, "dense/kernel"].__class__("all-zero", "warning", "t", "x", "a")],
    )  # fmt: skip
    app = Bench(session)
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        await at_rest(pilot, app)
        names = []
        for _ in range(5):
            assert app.main.view.table.tensor is not None
            names.append(app.main.view.table.tensor.name)
            await pilot.press("n")
        assert names[:2] == ["conv2/bias", "dense/kernel"]
        assert set(names) == {
            "conv2/bias",
            "dense/kernel",
            "conv1/kernel",
            "bn1/moving_mean",
            "bn1/moving_variance",
        }
        await until(pilot, lambda: app.main.current == f"{ROOT}/other" and app.main.view.table.tensor)
        await pilot.press("N")
        await until(pilot, lambda: app.main.current == SICK and app.main.view.table.cursor == 4)


async def test_enter_on_a_finding_goes_to_its_tensor() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        await pilot.press("2")
        assert isinstance(app.focused, FindingsList)
        await pilot.press("j", "enter")
        await pilot.pause()
        assert app.main.view.tab == "tensors"
        assert app.main.view.table.tensor is not None
        assert app.main.view.table.tensor.name == "dense/kernel"


async def test_a_finding_hidden_by_a_filter_or_fold_is_found_all_the_same() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        table = app.main.view.table
        table.filter("dense")
        assert table.jump_to("conv1/kernel/.OPTIMIZER_SLOT/optimizer/adam/m")
        assert table.tensor is not None
        assert table.tensor.role == "slot"
        assert not table.jump_to("no such tensor")


async def test_enter_on_a_layer_goes_to_its_first_tensor() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        app.main.save_tree.select(f"{ROOT}/digits.keras")
        await until(pilot, lambda: app.main.current == f"{ROOT}/digits.keras")
        await settled(pilot, app)
        await pilot.press("3")
        await pilot.press("j", "enter")
        await pilot.pause()
        assert app.main.view.table.tensor is not None
        assert app.main.view.table.tensor.name == "conv1/kernel"


async def test_mark_is_shown_and_taken_back() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        await pilot.press("m")
        await pilot.pause()
        assert "A = ckpt-5" in screen_text(app)
        await pilot.press("m")
        await pilot.pause()
        assert "A = ckpt-5" not in screen_text(app)


@pytest.mark.parametrize("size", [NARROW, WIDE])
async def test_tab_goes_round_the_panes_and_nothing_is_lost(size: tuple[int, int]) -> None:
    app = Bench()
    async with app.run_test(size=size) as pilot:
        await settled(pilot, app)
        seen = []
        for _ in range(8):
            seen.append(app.main.focus_area)
            region = app.main.query_one({"saves": "#saves", "tensors": "#view", "pane": "#pane"}[seen[-1]])
            assert region.display
            await pilot.press("tab")
        assert {"saves", "tensors", "pane"} == set(seen)


async def test_below_110_columns_one_region_is_shown_and_resizing_brings_all_back() -> None:
    app = Bench()
    async with app.run_test(size=NARROW) as pilot:
        await settled(pilot, app)
        shown = [name for name in ("saves", "view", "pane") if app.main.query_one(f"#{name}").display]
        assert shown == ["view"]
        await pilot.resize_terminal(120, 40)
        await pilot.pause()
        assert all(app.main.query_one(f"#{name}").display for name in ("saves", "view", "pane"))


async def test_left_and_right_go_to_the_neighbouring_pane() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        await pilot.press("h")
        assert app.main.save_tree.has_focus
        await pilot.press("l")
        assert app.main.view.table.has_focus


async def test_folders_open_and_close_in_the_tree() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        tree = app.main.save_tree
        await pilot.press("h")
        count = tree.row_count()
        await pilot.press("h", "h")
        assert tree.row_count() == count - 5
        await pilot.press("enter")
        assert tree.row_count() == count


async def test_a_save_that_cannot_be_opened_says_why_and_what_to_do() -> None:
    app = Bench()
    async with app.run_test(size=NARROW) as pilot:
        await settled(pilot, app)
        app.main.save_tree.select(f"{ROOT}/broken/truncated.h5")
        await until(pilot, lambda: app.main.current == f"{ROOT}/broken/truncated.h5")
        await at_rest(pilot, app)
        text = screen_text(app)
        assert "its header promises" in text
        assert "Copy the file again" in text
        for action in ("export", "check", "predict", "mark", "filter"):
            assert not app.main.check_action(action, ())


async def test_a_notice_is_a_dim_row_that_explains_itself() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        await pilot.press("h", "G")
        await until(pilot, lambda: "ckptui does not read TFLite" in screen_text(app))


async def test_an_empty_folder_says_so_and_offers_to_open_another() -> None:
    app = Bench(FakeSession())
    async with app.run_test(size=NARROW) as pilot:
        await until(pilot, lambda: "No saves here" in screen_text(app))
        await pilot.press("j", "n", "s", "m", "d", "enter", "f", "c", "e", "2")
        assert app.screen is app.main
        await pilot.press("o")
        await pilot.pause()
        assert isinstance(app.screen.focused, Input)


async def test_a_path_that_is_not_there_gets_a_window_with_what_to_do() -> None:
    session = digits()
    app = Bench(session)
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)

        def nothing(*args: object, **options: object) -> object:
            raise NoSuchPath("/nowhere [/red]", "Check the path")

        session.find = nothing  # type: ignore[method-assign,assignment]
        app.main.look(["/nowhere"])
        await until(pilot, lambda: isinstance(app.screen, ErrorScreen))
        await pilot.pause()
        assert "/nowhere [/red]" in screen_text(app)
        await pilot.press("escape")
        assert app.screen is app.main


async def test_rescan_finds_new_saves_and_keeps_the_mark() -> None:
    session = digits()
    app = Bench(session)
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        await pilot.press("m")
        session.add(f"{ROOT}/late.keras", "keras-archive", {}, modified=500_000.0)
        await pilot.press("r")
        await until(pilot, lambda: app.main.current == f"{ROOT}/late.keras")
        assert app.main.ledger.mark == SICK


async def test_copy_sends_what_is_under_the_cursor_and_can_show_it_alone() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        await pilot.press("y")
        assert app.clipboard == "conv2/bias"
        await pilot.press("2", "y")
        assert app.clipboard.startswith("shard-truncated (error, confirmed)")
        await pilot.press("h", "y")
        assert app.clipboard == SICK
        await pilot.press("Y")
        await pilot.pause()
        assert isinstance(app.screen, TextScreen)
        assert SICK in screen_text(app)


async def test_leaving_stops_the_jobs_and_closes_the_session() -> None:
    session = digits()
    session.gate.clear()
    app = Bench(session)
    async with app.run_test(size=WIDE) as pilot:
        await until(pilot, lambda: session.scanned)
        await pilot.press("q")
    assert session.closed


async def test_ctrl_c_leaves_from_the_filter_too() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        await pilot.press("slash", "a", "ctrl+c")
        await pilot.pause()
        assert not app.is_running or app._exit


async def test_about_names_what_was_checked_and_what_has_no_checksum() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        await pilot.press("5")
        await pilot.pause()
        assert app.main.record is not None
        assert "27 of 28 tensors read; 27 of 27 checksums agree" in facts(app.main.record, 200).plain
        app.main.save_tree.select(f"{ROOT}/digits.h5")
        await until(pilot, lambda: app.main.current == f"{ROOT}/digits.h5")
        await settled(pilot, app)
        assert "HDF5 stores" in screen_text(app)
        record = app.main.record
        assert record is not None
        assert record.badge.kind == "read"


async def test_no_size_is_too_small() -> None:
    app = Bench()
    sizes = [(1, 1), (2, 2), (9, 40), (200, 1), (14, 6), (111, 4), (3, 60), (80, 24)]
    async with app.run_test(size=NARROW) as pilot:
        await settled(pilot, app)
        for key in ("tab", "2", "question_mark"):
            await pilot.press(key)
            for width, height in sizes:
                await pilot.resize_terminal(width, height)
        await pilot.press("escape", "1")
        await pilot.pause()
        assert "conv2/bias" in screen_text(app)


async def test_letters_typed_right_after_the_filter_key_are_the_filter() -> None:
    app = Bench()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot, app)
        for key, character in (("slash", "/"), ("q", "q"), ("e", "e"), ("o", "o"), ("p", "p")):
            # all at once, as a fast hand over a slow line types them
            app.post_message(events.Key(key, character))
        await pilot.pause(0.3)
        assert app.main.view.filter_bar.text == "qeop"
        assert app.screen is app.main
