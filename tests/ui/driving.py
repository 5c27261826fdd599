"""Driving the workbench without a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from textual.app import App
from textual.pilot import Pilot

from ckptui.ui.app import Workbench
from ckptui.ui.screens.main import MainScreen
from tests.ui.fake_session import ROOT, FakeSession, digits

WIDE, NARROW = (120, 40), (80, 24)


class Bench(Workbench):
    """The workbench on a made-up session, the same in every environment."""

    def __init__(self, session: FakeSession | None = None, paths: Sequence[str] = (ROOT,), ascii: bool = False) -> None:
        self.fake = session or digits()
        super().__init__(paths, self.fake, ascii)  # type: ignore[arg-type]
        self.ascii_only = ascii
        self.set_class(ascii, "-ascii")

    @property
    def main(self) -> MainScreen:
        """The main screen, below any window."""
        screen = self.screen_stack[0]
        assert isinstance(screen, MainScreen)
        return screen


async def until(pilot: Pilot[None], true: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for threads and messages until something holds; fails when it never does."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        await pilot.pause(0.02)


async def settled(pilot: Pilot[None], app: Bench) -> None:
    """Wait until a save is open and checked, or has failed."""
    await until(pilot, lambda: app.main.record is not None and app.main.record.phase in ("checked", "failed"))
    await pilot.pause()


async def at_rest(pilot: Pilot[None], app: Bench) -> None:
    """Wait until no job runs and what they told is drawn."""
    for _ in range(2):
        await pilot.pause(0.1)
        await until(pilot, lambda: not any(worker.is_running for worker in app.workers))
    await pilot.pause()


def screen_text(app: App[Any]) -> str:
    """What is drawn, as lines of text."""
    update = app.screen._compositor.render_update(full=True)
    lines = ("".join(strip.text for strip in line) for line in getattr(update, "strips"))  # noqa: B009
    return "\n".join(line.rstrip() for line in lines)
