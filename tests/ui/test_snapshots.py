"""What the screens look like, at the two sizes that matter. `pytest --snapshot-update` after a wanted change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.ui.driving import NARROW, WIDE, Bench, at_rest, settled

SCENES: dict[str, tuple[Sequence[tuple[int, int]], Sequence[str]]] = {
    "tensors": ((NARROW, WIDE), ()),
    "findings": ((NARROW, WIDE), ("2",)),
    "filter": ((WIDE,), ("slash", *"conv")),
    "filters": ((NARROW, WIDE), ("n", "n", "f")),
    "saves": ((NARROW,), ("shift+tab", "m")),
    "about": ((NARROW,), ("5",)),
    "help": ((NARROW,), ("question_mark",)),
    "export": ((NARROW,), ("e",)),
}


@pytest.fixture(autouse=True)
def _the_same_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A true-colour terminal, a fixed zone, no colours switched off."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("HOME", "/home/user")
    monkeypatch.chdir("/")
    monkeypatch.delenv("NO_COLOR", raising=False)


def scene(app: Bench, keys: Sequence[str]) -> Any:
    """Keys pressed one by one on a settled screen, cursors not blinking."""

    async def run(pilot: Pilot[None]) -> None:
        await settled(pilot, app)
        await at_rest(pilot, app)
        for key in keys:
            await pilot.press(key)
            await pilot.pause()
        for line in app.screen.query("Input"):
            line.cursor_blink = False  # type: ignore[attr-defined]
        await at_rest(pilot, app)

    return run


@pytest.mark.parametrize(
    ("name", "size"),
    [pytest.param(name, s, id=f"{name}-{s[0]}x{s[1]}") for name, (sizes, _) in SCENES.items() for s in sizes],
)
def test_scene(name: str, size: tuple[int, int], snap_compare: Any) -> None:
    """The scene looks as it did."""
    app = Bench()
    assert snap_compare(app, terminal_size=size, run_before=scene(app, SCENES[name][1]))


def test_plain_signs(snap_compare: Any) -> None:
    """With `--ascii` nothing but ASCII is drawn."""
    app = Bench(ascii=True)
    assert snap_compare(app, terminal_size=NARROW, run_before=scene(app, ()))
