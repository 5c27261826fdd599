"""The check of all saves, and what a run's row says before and after it."""

from __future__ import annotations

from textual.pilot import Pilot

from ckptui.session import Session
from ckptui.ui.app import Workbench
from ckptui.ui.screens.main import MainScreen
from tests.places import SAMPLES, needs_samples
from tests.ui.driving import WIDE, screen_text, until

pytestmark = needs_samples


def main_of(app: Workbench) -> MainScreen:
    """The main screen, below any window."""
    main = app.screen_stack[0]
    assert isinstance(main, MainScreen)
    return main


async def swept(pilot: Pilot[None], app: Workbench) -> None:
    """Press C and wait until every save that can be opened is checked."""
    main = main_of(app)
    await until(pilot, lambda: main._walked and main.record is not None, 20)
    await pilot.press("C")
    await until(pilot, lambda: all(r.read or r.phase == "failed" for r in main.ledger.saves.values()), 60)
    await pilot.pause(0.2)


async def test_every_save_is_read_and_the_run_says_which_is_good() -> None:
    with Session(attended=True) as session:
        app = Workbench((str(SAMPLES / "broken" / "flipped_bit"),), session, False)
        async with app.run_test(size=WIDE) as pilot:
            await swept(pilot, app)
            main = main_of(app)
            statuses = {r.found.label: r.status for r in main.ledger.saves.values()}
            assert statuses["ckpt-2"] == "error"
            row = next(i for i, row in enumerate(main.save_tree._rows) if row.is_run)
            main.show_region("saves")
            main.save_tree.move_to(row)
            await pilot.pause(0.4)
            text = screen_text(app)
            good = "ckpt-1" if "ckpt-1" in statuses else ""
            assert (f"Newest good save  {good}" if good else "No save of this run is good") in text


async def test_no_badge_changes_when_a_save_is_looked_at_afterwards() -> None:
    with Session(attended=True, cache=False) as session:
        app = Workbench((str(SAMPLES / "suspicious"),), session, False)
        async with app.run_test(size=WIDE) as pilot:
            await swept(pilot, app)
            main = main_of(app)
            saves = main.ledger.saves
            badges, totals = {path: record.badge for path, record in saves.items()}, main.ledger.totals()
            flagged = {r.found.label for r in saves.values() if r.badge.kind == "warning"}
            assert flagged >= {"dead_filters.keras", "mirror_symmetric.keras", "untouched_layer.keras"}
            for path, record in saves.items():
                main.save_tree.select(path)
                main.open_save(path)
                await until(pilot, lambda record=record: record.phase == "checked", 20)  # type: ignore[misc]
            assert {path: record.badge for path, record in saves.items()} == badges
            assert main.ledger.totals() == totals


async def test_a_second_press_stops_it_and_keeps_what_was_found() -> None:
    with Session(attended=True) as session:
        app = Workbench((str(SAMPLES),), session, False)
        async with app.run_test(size=WIDE) as pilot:
            main = main_of(app)
            await until(pilot, lambda: main._walked and main.record is not None, 20)
            await pilot.press("C", "C")
            await until(pilot, lambda: not any(w.group == "sweep" and w.is_running for w in app.workers), 20)
            assert any(not r.read for r in main.ledger.saves.values())
            await pilot.press("C")
            await until(pilot, lambda: "sweep" in main._cancels, 5)
