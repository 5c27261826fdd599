"""Draws `docs/screenshot.svg`: the workbench on the sample models, as somebody would see it after a few keys."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from textual.pilot import Pilot

from ckptui.session import Session
from ckptui.ui.app import Workbench
from ckptui.ui.screens.main import MainScreen

ROOT = Path(__file__).resolve().parents[1]
SIZE = (132, 42)
SAVE = "suspicious/dead_filters.keras"
FONT = "DejaVu Sans Mono, Menlo, Consolas, Liberation Mono, monospace"


async def until(pilot: Pilot[None], true: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for the workbench."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError("the workbench did not come to rest")
        await pilot.pause(0.05)


def main_screen(app: Workbench) -> MainScreen:
    """The workbench's own screen."""
    screen = app.screen_stack[0]
    assert isinstance(screen, MainScreen)
    return screen


async def draw(session: Session) -> str:
    """Open the sample models, go to a sick save, press `n`, and draw that."""
    app = Workbench(["sample_models"], session)
    async with app.run_test(size=SIZE) as pilot:
        main = main_screen(app)
        await until(pilot, lambda: main.record is not None and main.record.phase == "checked")
        path = next(path for path in main.ledger.saves if path.endswith(SAVE))
        main.save_tree.select(path)
        main.open_save(path)
        await until(pilot, lambda: main.record is not None and main.record.phase == "checked")
        await pilot.press("n")
        await until(pilot, lambda: not any(worker.is_running for worker in app.workers))
        await pilot.pause(0.5)
        await until(pilot, lambda: not any(worker.is_running for worker in app.workers))
        await pilot.pause(0.5)
        return app.export_screenshot(title="ckptui sample_models")


def portable(svg: str) -> str:
    """No web fonts, and spaces kept by every viewer."""
    svg = re.sub(r"@font-face *{[^}]*}", "", svg)
    svg = re.sub(r"font-family: *[^;]+;", f"font-family: {FONT};", svg)
    return svg.replace("<text ", '<text xml:space="preserve" ')


def main() -> None:
    """Draw and write."""
    os.chdir(ROOT)
    os.environ.update(HOME=str(ROOT), TERM="xterm-256color", COLORTERM="truecolor", LC_ALL="C.UTF-8")
    with Session(attended=True) as session:
        svg = asyncio.run(draw(session))
    target = ROOT / "docs" / "screenshot.svg"
    target.write_text(portable(svg), "utf-8")


if __name__ == "__main__":
    main()
