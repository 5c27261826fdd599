"""What the screens look like, at the two sizes that matter. `pytest --snapshot-update` after a wanted change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from textual.pilot import Pilot

from ckptui.core.model import Finding, Scalars
from tests.ui.driving import NARROW, WIDE, Bench, at_rest, settled, until
from tests.ui.fake_session import RUN, FakeSession, digits

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
            if key == "t":
                # what comes after is meant for the timeline, and its axis is there only once it has begun
                await until(pilot, lambda: app.main.timeline.course is not None and not app.main.timeline.filling)
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


def trained() -> FakeSession:
    """The run of five saves with a loss beside it, and what its timeline has to say."""
    session = digits()
    steps = tuple(range(0, 5001, 50))
    session.curves = (
        Scalars("loss", "", steps, tuple(0.2 + 2 / (1 + s / 700) + 0.05 * (s % 150 == 0) for s in steps)),
        Scalars("loss", "validation", (1000, 2000, 3000, 4000, 5000), (1.4, 0.9, 0.7, 0.75, 0.9)),
        Scalars("learning_rate", "", steps, tuple(0.001 if s < 3000 else 0.0001 for s in steps)),
    )
    jumped = {"tensors": ["conv2/kernel"], "tensor_count": 1}
    detail = "from ckpt-2 to ckpt-3 the weights moved 40.2 times as far as ever before"
    session.course_findings = (
        Finding(
            "jump", "warning", "An unusual jump between two saves", f"{RUN}/ckpt-3", detail=detail, evidence=jumped
        ),
        Finding("never-changed", "warning", "Trained in no save", RUN, evidence={"tensors": ["bn1/moving_mean"]}),
    )
    return session


@pytest.mark.parametrize("size", [NARROW, WIDE, (200, 50)], ids=lambda size: f"{size[0]}x{size[1]}")
def test_timeline(size: tuple[int, int], snap_compare: Any) -> None:
    """The run over its saves, A and the save under the cursor on the axis, the values of the worst tensor."""
    app = Bench(trained())
    assert snap_compare(app, terminal_size=size, run_before=scene(app, ("t", "left", "left", "left", "m", "right")))


def test_timeline_in_plain_signs(snap_compare: Any) -> None:
    """With `--ascii` the timeline still shows what broke where."""
    app = Bench(trained(), ascii=True)
    assert snap_compare(app, terminal_size=WIDE, run_before=scene(app, ("t", "left")))


def test_plain_signs(snap_compare: Any) -> None:
    """With `--ascii` nothing but ASCII is drawn."""
    app = Bench(ascii=True)
    assert snap_compare(app, terminal_size=NARROW, run_before=scene(app, ()))
