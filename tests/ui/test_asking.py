"""Windows that ask for a path stay open, text and all, until the answer will do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from ckptui.errors import NoSuchPath
from ckptui.ui.screens.asking import ExportScreen, OpenScreen
from ckptui.ui.widgets.path_input import PathInput
from tests.ui.driving import NARROW, Bench, screen_text, settled, until


async def asked(pilot: Pilot[None], app: Bench, key: str, text: str) -> PathInput:
    """A window opened with `key`, with `text` for an answer."""
    await settled(pilot, app)
    await pilot.press(key)
    await until(pilot, lambda: isinstance(app.screen, (OpenScreen, ExportScreen)))
    await pilot.pause()
    line = app.screen.query_one(PathInput)
    line.value = text
    await pilot.press("enter")
    return line


async def test_a_path_that_is_not_there_leaves_the_open_window_and_the_workbench_as_they_are() -> None:
    app = Bench()

    def nothing(path: str) -> Any:
        raise NoSuchPath(path, "Check the [/red] spelling")

    async with app.run_test(size=NARROW) as pilot:
        app.fake.resolve = nothing  # type: ignore[attr-defined]
        line = await asked(pilot, app, "o", "/nowhere")
        saves = list(app.main.ledger.saves)
        await until(pilot, lambda: "No such file or folder: /nowhere" in screen_text(app))
        assert isinstance(app.screen, OpenScreen)
        assert line.value == "/nowhere"
        assert list(app.main.ledger.saves) == saves
        await pilot.press("x")
        assert "No such file" not in screen_text(app)


async def test_a_folder_is_opened_without_asking_whether_it_is_a_save(tmp_path: Path) -> None:
    app = Bench()
    async with app.run_test(size=NARROW) as pilot:
        await asked(pilot, app, "o", str(tmp_path))
        await until(pilot, lambda: app.screen is app.main)
        assert list(app.main.paths) == [str(tmp_path)]


@pytest.mark.parametrize(("name", "words"), [("there.npz", "choose another name"), ("no/x.npz", "There is no folder")])
async def test_an_export_that_can_not_be_written_is_said_inside_its_window(
    name: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "there.npz").write_bytes(b"")
    app = Bench()
    async with app.run_test(size=NARROW) as pilot:
        line = await asked(pilot, app, "e", str(tmp_path / name))
        await pilot.pause()
        assert isinstance(app.screen, ExportScreen)
        assert words in " ".join(screen_text(app).split())
        assert "--" not in screen_text(app)
        assert line.value.endswith(name)


async def test_the_choice_is_told_by_its_shape() -> None:
    app = Bench()
    async with app.run_test(size=NARROW) as pilot:
        await asked(pilot, app, "e", "no suffix")
        assert screen_text(app).count("(•)") == 1
        assert screen_text(app).count("( )") == 1
