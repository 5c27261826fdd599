"""The same terminal and the same home for every screen test."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from textual.app import App
from textual.pilot import Pilot

ROUNDS = 5
"""Times that what is still queued is waited for: a screen that always has something to do is not waited for."""


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A terminal with true colours and UTF-8; recent paths go to a folder of their own."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def has_work(app: App[Any]) -> bool:
    """Whether a message or a callback waits for its widget."""
    pumps = [app, *app.screen.walk_children(with_self=True)]
    return any(pump.message_queue_size or pump._next_callbacks for pump in pumps)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause ends when nothing is queued any more.

    Textual takes a process that used no processor for 20 ms for an idle one: on a busy machine it may have been
    waiting for its turn.
    """
    plain = Pilot.pause

    async def pause(self: Pilot[Any], delay: float | None = None) -> None:
        await plain(self, delay)
        for _ in range(ROUNDS if delay is None else 0):
            await asyncio.sleep(0)
            if not self.app.is_running or not self.app.screen_stack or not has_work(self.app):
                return
            await self._wait_for_screen()
            if self.app.is_running and self.app.screen_stack:
                self.app.screen._on_timer_update()

    monkeypatch.setattr(Pilot, "pause", pause)
