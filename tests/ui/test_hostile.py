"""Names from files never reach the terminal as anything but visible text, whichever widget shows them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace

from textual.geometry import Region

from ckptui.core.model import ArchitectureRow, Endpoint, Finding, Found, Role, RunFolder, Signature
from ckptui.errors import Damaged
from ckptui.ui.screens.telling import ErrorScreen, TextScreen
from ckptui.ui.widgets.reflow import Reflow
from tests.ui.driving import Bench, at_rest, screen_text, until
from tests.ui.fake_session import FakeSession
from tests.ui.pane_data import Array, kernel

NAMES = [
    "conv\x1b]52;c;aGVsbG8=\x07/kernel",
    "conv\x1b]0;title\x1b\\/kernel",
    "conv\x1b[31m/kernel",
    "conv\x9b31m/kernel",
    "conv\x1b[6n/kernel",
    "conv\x1b[?1049l/kernel",
    "[/nope]/kernel",
    "[/",
    "[@click=app.quit]here[/]/kernel",
    "[bold red]/kernel[/bold red]",
    "\u202elenrek/vnoc",
    "a\u200b\u2066b/kernel",
    "line\nbreak/kernel",
    "back\x08\x08\x08space",
    "nul\x00/kernel",
    "tab\t\r/kernel",
    "zalgo" + "\u0301" * 30,
    "\ud800surrogate",
    "\ue000private",
    "👩‍👩‍👧‍👦" * 10,
    "漢字" * 40,
    "x" * 5000,
    "$error bold",
    "\\[escaped]",
    "",
]


def leaks(text: str) -> list[str]:
    """Characters a terminal might act on; line ends between lines are ours."""
    return [c for c in text.replace("\n", "") if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn")]


def a_session(names: Sequence[str]) -> FakeSession:
    """One save whose tensors, findings, layers and signatures have these names, and saves and folders so named."""
    session = FakeSession()
    path = "/r/run/ckpt-1"
    findings = [
        Finding("non-finite", "error", n, path, n, detail=n, evidence={n: n, "list": [n]}, advice=n) for n in names
    ]
    values: dict[str, tuple[Array, Role]] = {n: (kernel(1, (3, 3, 1, 4)), "kernel") for n in names}
    listing = session.add(path, "saved-model", values, modified=9000.0, findings=findings)
    layers = tuple(ArchitectureRow(n, n, weights=(n,)) for n in names)
    ends = tuple(Endpoint(n, n, n, (None,)) for n in names)
    signatures = (Signature(names[0], names[1], tuple(names), ends, ends),)
    artifact = replace(listing.artifact, label=names[0], writer={n: n for n in names})
    session.listings[path] = replace(listing, artifact=artifact, architecture=layers, signatures=signatures)
    for name in names:
        folder = f"/r/{name}"
        session.found.append(Found(f"{folder}/a", "hdf5", name, folder))
        session.found.append(RunFolder(folder, name, (), findings=(findings[0],)))
        session.found.append(Finding("unsupported-format", "info", name, f"/r/{name}.tflite", detail=name))
        session.open_errors[f"{folder}/a"] = Damaged(name, hint=name)
    return session


def detail_text(app: Bench) -> str:
    """What the detail of the finding under the cursor draws."""
    text = app.main.view.findings.query_one(Reflow)
    return "\n".join(strip.text for strip in text.render_lines(Region(0, 0, *text.size)))


async def test_hostile_names_leak_nothing_and_run_nothing() -> None:
    app = Bench(a_session(NAMES), ["/r"])
    async with app.run_test(size=(140, 60)) as pilot:
        await until(pilot, lambda: app.main.record is not None and app.main.record.listing is not None)
        await at_rest(pilot, app)
        seen = [screen_text(app)]
        for key in ("s", "v", "5", "4", "3", "G", "m", "2", *["j"] * len(NAMES)):
            await pilot.press(key)
            seen.append(screen_text(app) if key != "j" else detail_text(app))
        await pilot.press("shift+tab")
        for _ in range(12):
            await pilot.press("j")
            await pilot.pause(0.07)
        seen.append(screen_text(app))
        everything = "\n".join(NAMES)
        for window in (ErrorScreen(Damaged(everything, hint=everything)), TextScreen(everything)):
            await app.push_screen(window)
            seen.append(screen_text(app))
            app.pop_screen()
        assert leaks("".join(seen)) == []
        assert app.is_running
        assert "[@click=" in seen[0]
        assert "\\x1b[31m" in "".join(seen)


async def test_a_tensor_with_a_hostile_name_is_inspected_like_any_other() -> None:
    app = Bench(a_session(NAMES), ["/r"])
    async with app.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: app.main.record is not None and app.main.record.listing is not None)
        for _ in NAMES[:8]:
            await at_rest(pilot, app)
            assert leaks(screen_text(app)) == []
            await pilot.press("j")
