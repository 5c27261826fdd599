"""The salvage window on real damaged saves: what it shows before it writes, and what is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from ckptui.session import Session
from ckptui.ui.app import Workbench
from ckptui.ui.screens.main import MainScreen
from ckptui.ui.screens.salvaging import SalvageScreen, Tick, proposal
from ckptui.ui.widgets.path_input import PathInput
from ckptui.ui.widgets.salvage_list import SalvageList
from tests.places import SAMPLES, needs_samples
from tests.ui.driving import screen_text, until

pytestmark = needs_samples


@asynccontextmanager
async def window(folder: Path, size: tuple[int, int] = (120, 40)) -> AsyncIterator[tuple[Pilot[None], SalvageScreen]]:
    """The window over the one save in `folder`, with its preview."""
    with Session(attended=True) as session:
        app = Workbench((str(folder),), session, False)
        async with app.run_test(size=size) as pilot:
            main = app.screen_stack[0]
            assert isinstance(main, MainScreen)
            await until(pilot, lambda: main.record is not None and main.record.phase in ("checked", "failed"), 30)
            if main.record is not None and main.record.status != "error":
                await pilot.press("n")
                await until(pilot, lambda: main.record is not None and main.record.status == "error")
            await pilot.press("S")
            await until(pilot, lambda: isinstance(app.screen, SalvageScreen))
            screen = app.screen
            assert isinstance(screen, SalvageScreen)
            await until(pilot, lambda: screen.plan is not None, 30)
            await pilot.pause()
            yield pilot, screen


def words(screen: SalvageScreen, name: str) -> str:
    """What a line of the window says."""
    return str(screen.query_one(name, Static).render())


async def test_it_shows_what_would_come_back_and_writes_nothing_by_itself(tmp_path: Path) -> None:
    shutil.copytree(SAMPLES / "broken" / "flipped_bit", tmp_path / "run")
    before = sorted(tmp_path.rglob("*"))
    async with window(tmp_path / "run") as (pilot, screen):
        text = screen_text(screen.app)
        assert "11 of 12 tensors come back" in text
        assert screen.query_one(SalvageList).items[0].outcome == "repairable"
        assert "one flipped bit explains its checksum" in words(screen, "#salvage-reason")
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(screen.app.screen, SalvageScreen))
    assert sorted(tmp_path.rglob("*")) == before


async def test_the_flipped_bit_is_turned_back_only_when_ticked(tmp_path: Path) -> None:
    shutil.copytree(SAMPLES / "broken" / "flipped_bit", tmp_path / "run")
    async with window(tmp_path / "run") as (pilot, screen):
        screen.query_one(Tick).value = True
        await until(pilot, lambda: "12 of 12 tensors come back" in words(screen, "#salvage-summary"))
        line = screen.query_one("#salvage-path", PathInput)
        line.set_path(str(tmp_path / "back"))
        line.focus()
        await pilot.press("enter")
        await until(pilot, lambda: screen.report is not None, 30)
        assert "Written" in words(screen, "#salvage-summary")
        assert "load_checkpoint" in words(screen, "#salvage-summary")
    report = json.loads((tmp_path / "back.salvage.json").read_text())
    assert (report["summary"]["repaired"], report["summary"]["lost"]) == (1, 0)
    assert (tmp_path / "back.index").stat().st_size


@pytest.mark.parametrize("beside", [True, False])
async def test_a_target_that_will_not_do_is_said_inside_the_window(beside: bool, tmp_path: Path) -> None:
    shutil.copytree(SAMPLES / "broken" / "flipped_bit", tmp_path / "run")
    target = tmp_path / "run" / "back" if beside else tmp_path / "taken"
    (tmp_path / "taken.index").write_bytes(b"")
    async with window(tmp_path / "run", (80, 24)) as (pilot, screen):
        line = screen.query_one("#salvage-path", PathInput)
        line.set_path(str(target))
        line.focus()
        await pilot.press("enter")
        await until(
            pilot,
            lambda: "folder" in words(screen, "#salvage-problem") or "exists" in words(screen, "#salvage-problem"),
        )
        assert screen.report is None
        assert line.path == str(target)
        text = screen_text(screen.app)
        assert "come back" in text
        assert "Esc close" in text
    assert not list((tmp_path / "run").glob("back*"))


async def test_a_lost_index_asks_for_a_layout(tmp_path: Path) -> None:
    shutil.copytree(SAMPLES / "broken" / "missing_index", tmp_path / "run")
    async with window(tmp_path / "run") as (_, screen):
        assert screen.plan is not None
        assert screen.plan.method == "layout"
        assert Path(screen.plan.layout).name == "ckpt-1"
        assert screen.query_one("#salvage-layout", PathInput).path == screen.plan.layout


def test_the_proposal_never_lies_beside_the_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ckptui.core.model import Found

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    found = Found(str(tmp_path / "ckpt-1"), "tf-checkpoint", "ckpt-1", str(tmp_path))
    assert Path(proposal(found)).parent != tmp_path
    elsewhere = Found("/nowhere/model.weights.h5", "keras-weights", "model.weights.h5", "/nowhere")
    assert proposal(elsewhere) == str(tmp_path / "model-salvaged")
