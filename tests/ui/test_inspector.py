"""The inspector: facts of a tensor, what is read and when, and how it looks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from textual.app import ComposeResult
from textual.pilot import Pilot

from ckptui.core.model import Layer, Stats, Storage, Tensor, TensorScan
from ckptui.errors import ReaderCrashed
from ckptui.ui.fitting import TIE
from ckptui.ui.widgets.facts import Facts, headline, tensor_facts
from ckptui.ui.widgets.histogram import HistogramView
from ckptui.ui.widgets.inspector import LARGEST_DRAWN, Inspector
from tests.ui.driving import until
from tests.ui.pane_data import (
    HOSTILE,
    LAYERS,
    VALUES,
    PaneApp,
    PaneSession,
    listing_of,
    scan_of,
    tensor_of,
)

NARROW, WIDE = (80, 24), (48, 40)


class InspectorApp(PaneApp):
    """An inspector in a frame."""

    CSS = "Inspector { border: round $border-blurred; padding: 0 1; }"

    def compose(self) -> ComposeResult:
        yield Inspector()


def tensor(name: str) -> Tensor:
    array, role = VALUES[name]
    return tensor_of(name, array, role)


def facts_text(name: str, scan: TensorScan | None, layer: Layer | None = None) -> dict[str, str]:
    return {fact.label: fact.value.replace(TIE, " ") for fact in tensor_facts(tensor(name), scan, layer)}


async def look(pilot: Pilot[None], app: PaneApp, name: str, *, read: bool = True) -> Inspector:
    inspector = app.query_one(Inspector)
    inspector.show_tensor(listing_of("ckpt-5", 5000), tensor(name))
    if read:
        await until(pilot, lambda: inspector.gallery.subject is not None)
        await pilot.pause()
        await pilot.pause()
    return inspector


# ------------------------------------------------------------------ facts


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("conv1/kernel", "3×3 kernel · 1 → 32 · float32 · 1.2 kB"),
        ("dense/kernel", "kernel · 1024 → 10 · float32 · 41.0 kB"),
        ("conv1/bias", "bias · 32 · float32 · 128 B"),
        ("step", "step · scalar · int64 · 8 B"),
    ],
)
def test_the_headline_says_what_it_is_and_how_large(name: str, words: str) -> None:
    assert headline(tensor(name)).replace(TIE, " ") == words


def test_extremes_come_with_the_index_numpy_would_use() -> None:
    array, _ = VALUES["conv1/kernel"]
    at = ",".join(str(int(i)) for i in np.unravel_index(int(array.argmin()), array.shape))
    facts = facts_text("conv1/kernel", scan_of("conv1/kernel", array))
    assert facts["min"].endswith(f" at [{at}]")
    assert facts["zeros"] == "9 of 288, all finite"


def test_before_anything_is_read_there_are_dashes_and_no_verdict() -> None:
    facts = facts_text("conv1/kernel", None)
    assert facts["min"] == "–"
    assert "not checked yet" in facts["checksum"]
    assert "trained" not in facts


@pytest.mark.parametrize(
    ("checksum", "words", "style"),
    [
        ("ok", "ok   crc32c 4f1a09c2", "$success"),
        ("mismatch", "mismatch   crc32c 4f1a09c2", "$error bold"),
        ("unread", "the bytes can't be read", "$error bold"),
        ("none", "none in this format", "$dim"),
    ],
)
def test_a_checksum_is_called_ok_only_where_it_was_checked(checksum: Any, words: str, style: str) -> None:
    scan = TensorScan("conv1/kernel", None, checksum)
    fact = next(f for f in tensor_facts(tensor("conv1/kernel"), scan, None) if f.label == "checksum")
    assert (fact.value, fact.style) == (words, style)


@pytest.mark.parametrize(
    ("initializer", "words"),
    [
        ({"verdict": "partly", "certainty": "confirmed"}, "27 of 32 moved"),
        (
            {"verdict": "at-initializer", "match": "glorot_uniform", "certainty": "confirmed"},
            "no: still glorot_uniform",
        ),
        (
            {"verdict": "at-initializer", "match": "he_normal", "certainty": "possible"},
            "no: still he_normal (possible)",
        ),
        ({"verdict": "partly", "certainty": "likely", "rows": 4}, "27 of 32 moved (likely)"),
        (
            {"verdict": "trained", "certainty": "likely"},
            "looks so: not as TensorFlow draws it (likely)",
        ),
        (
            {"verdict": "trained", "certainty": "possible"},
            "looks so: not as TensorFlow draws it (possible)",
        ),
        ({"verdict": "undecided", "certainty": "possible"}, "can't be told from the values"),
    ],
)
def test_the_trained_line_says_how_sure_it_is(initializer: dict[str, Any], words: str) -> None:
    layer = replace(LAYERS["conv1/kernel"], initializer=initializer)
    assert facts_text("conv1/kernel", None, layer)["trained"] == words


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"rows": 103, "on_grid": 0.37}, "looks so, but for 103 inputs"),
        ({"rows": 0, "on_grid": 0.26}, "looks so, 26% of its values not for sure"),
        ({}, "partly"),
    ],
)
def test_partly_trained_without_an_untouched_filter_names_what_is_left(facts: dict[str, Any], words: str) -> None:
    initializer = {"verdict": "partly", "certainty": "confirmed", **facts}
    layer = replace(LAYERS["conv2/kernel"], initializer=initializer)
    assert facts_text("conv2/kernel", None, layer)["trained"] == words


async def test_findings_are_told_once_above_the_gallery_or_in_a_line() -> None:
    app = InspectorApp()
    async with app.run_test(size=WIDE) as pilot:
        inspector = await look(pilot, app, "conv1/kernel", read=False)
        lines = inspector.query_one("#inspector-findings")
        assert "5 of 32 filters are untouched" in str(lines.render())
        await look(pilot, app, "conv1/kernel")
        await until(pilot, lambda: not lines.display)
        summary = inspector.gallery.query_one("#gallery-summary")
        assert "5 untouched" in str(summary.render())


def test_values_that_are_not_finite_are_counted_by_kind() -> None:
    stats = Stats(count=10, finite=7, nan=2, posinf=1, neginf=0, zeros=0, min=0.0, max=1.0, mean=0.5, std=0.1)
    facts = facts_text("conv1/kernel", TensorScan("conv1/kernel", stats, "ok"))
    assert facts["not finite"] == "2 NaN, 1 +inf"
    nothing = Stats(count=2, finite=0, nan=2, posinf=0, neginf=0, zeros=0)
    assert facts_text("conv1/kernel", TensorScan("conv1/kernel", nothing, "ok"))["not finite"] == "2 NaN"


def test_whole_numbers_are_not_said_to_be_finite() -> None:
    facts = facts_text("step", scan_of("step", VALUES["step"][0]))
    assert "finite" not in facts["zeros"]
    assert facts["max"] == "5000"


# ------------------------------------------------------------------ on screen


async def test_it_reads_scan_histogram_and_picture_once_the_cursor_rests() -> None:
    app = InspectorApp()
    async with app.run_test(size=WIDE) as pilot:
        inspector = await look(pilot, app, "conv1/kernel")
        assert app.session.calls == [("array", "conv1/kernel"), ("scan", "conv1/kernel")], "the picture comes first"
        assert inspector.query_one(HistogramView).histogram is not None
        assert inspector.gallery.grid.display
        labels = {fact.label: fact.value for fact in inspector.query_one(Facts).facts}
        assert labels["trained"] == "27 of 32 moved"


async def test_rows_passed_over_quickly_are_never_read() -> None:
    app = InspectorApp()
    async with app.run_test(size=WIDE) as pilot:
        for name in ("conv1/kernel", "conv1/bias", "rgb/kernel"):
            await look(pilot, app, name, read=False)
        await look(pilot, app, "dense/kernel")
        assert {name for _, name in app.session.calls} == {"dense/kernel"}


async def test_a_scan_that_comes_later_changes_the_numbers_and_reads_nothing_again() -> None:
    app = InspectorApp()
    async with app.run_test(size=WIDE) as pilot:
        inspector = await look(pilot, app, "conv1/kernel")
        before = list(app.session.calls)
        subject = inspector.gallery.subject
        scan = TensorScan("conv1/kernel", None, "mismatch")
        inspector.show_tensor(listing_of("ckpt-5", 5000), tensor("conv1/kernel"), scan)
        await pilot.pause(0.2)
        labels = {fact.label: fact.value for fact in inspector.query_one(Facts).facts}
        assert labels["checksum"].startswith("mismatch")
        assert app.session.calls == before
        assert inspector.gallery.subject is subject


async def test_a_scan_that_is_known_is_not_made_again() -> None:
    app = InspectorApp()
    async with app.run_test(size=WIDE) as pilot:
        inspector = app.query_one(Inspector)
        known = scan_of("conv1/bias", VALUES["conv1/bias"][0])
        inspector.show_tensor(listing_of("ckpt-5", 5000), tensor("conv1/bias"), known)
        await until(pilot, lambda: inspector.gallery.subject is not None)
        assert app.session.calls == [("array", "conv1/bias")]


async def test_a_crash_of_the_reader_is_words_in_the_pane() -> None:
    session = PaneSession()
    session.error = ReaderCrashed("SIGSEGV in conv1/kernel")
    app = InspectorApp(session)
    async with app.run_test(size=WIDE) as pilot:
        inspector = await look(pilot, app, "conv1/kernel")
        assert inspector.gallery.subject is not None
        assert "SIGSEGV in conv1/kernel" in inspector.gallery.subject.text


async def test_a_tensor_too_large_to_be_fetched_comes_as_a_reduced_picture_with_all_its_numbers() -> None:
    app = InspectorApp()
    async with app.run_test(size=WIDE) as pilot:
        inspector = app.query_one(Inspector)
        huge = replace(tensor("dense/kernel"), bytes=LARGEST_DRAWN + 1)
        inspector.show_tensor(listing_of("ckpt-5", 5000), huge)
        await until(pilot, lambda: inspector.gallery.subject is not None)
        await until(pilot, lambda: inspector.gallery.subject.matrix is not None)  # type: ignore[union-attr]
        assert inspector.gallery.subject is not None
        assert inspector.gallery.subject.matrix is not None
        assert inspector.gallery.subject.matrix.shape == (1024, 10)
        assert ("array", "dense/kernel") not in app.session.calls
        assert ("overview", "dense/kernel") in app.session.calls
        assert inspector.query_one(HistogramView).histogram is not None
        assert "quantiles" in str(inspector.query_one(Facts).render())


async def test_bytes_that_do_not_exist_are_not_asked_for() -> None:
    app = InspectorApp()
    async with app.run_test(size=WIDE) as pilot:
        inspector = app.query_one(Inspector)
        lost = replace(tensor("conv1/bias"), storage=Storage("none"), problem="shard 1 is missing")
        inspector.show_tensor(listing_of("ckpt-5", 5000), lost)
        await until(pilot, lambda: inspector.gallery.subject is not None)
        assert app.session.calls == []
        assert "shard 1 is missing" in str(inspector.query_one(Facts).render())


async def test_hostile_names_are_shown_escaped_and_are_no_markup() -> None:
    app = InspectorApp()
    async with app.run_test(size=(120, 40)) as pilot:
        inspector = await look(pilot, app, HOSTILE)
        title = str(inspector.query_one("#inspector-title").render())
        assert "\x1b" not in title
        assert "\\x1b]52;c;aGk=\\x07[/red][@click=app.quit]\\u202eevil/kernel" in title


async def test_f_gives_the_gallery_the_whole_pane_and_the_keys_and_takes_them_back() -> None:
    app = InspectorApp()
    async with app.run_test(size=NARROW) as pilot:
        inspector = await look(pilot, app, "conv1/kernel")
        app.set_focus(None)
        inspector.show_filters()
        await pilot.pause()
        assert inspector.gallery.grid.has_focus
        assert inspector.gallery.grid.size.height >= 14
        inspector.show_filters()
        await pilot.pause()
        assert not inspector.only_filters
        inspector.show_filters()
        await look(pilot, app, "conv1/bias")
        assert not inspector.only_filters, "a vector has no filters to show alone"


async def test_clearing_takes_late_answers_with_it() -> None:
    app = InspectorApp()
    async with app.run_test(size=WIDE) as pilot:
        inspector = await look(pilot, app, "conv1/kernel")
        await look(pilot, app, "rgb/kernel", read=False)
        inspector.clear()
        await pilot.pause(0.3)
        assert inspector.gallery.subject is None
        assert "No tensor selected" in str(inspector.query_one("#inspector-title").render())


async def test_x_draws_log_counts() -> None:
    app = InspectorApp()
    async with app.run_test(size=WIDE) as pilot:
        inspector = await look(pilot, app, "conv1/bias")
        inspector.focus()
        await pilot.press("x")
        assert inspector.query_one(HistogramView).logarithmic


# ------------------------------------------------------------------ pictures


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("conv1/kernel", NARROW),
        ("conv1/kernel", WIDE),
        ("rgb/kernel", WIDE),
        ("dense/kernel", WIDE),
        ("conv1/bias", NARROW),
        ("names", WIDE),
    ],
    ids=lambda value: value.replace("/", "-") if isinstance(value, str) else f"{value[0]}x{value[1]}",
)
def test_it_looks_as_before(name: str, size: tuple[int, int], snap_compare: Any) -> None:
    app = InspectorApp()

    async def before(pilot: Pilot[None]) -> None:
        await look(pilot, app, name)
        app.set_focus(None)
        await pilot.pause()

    assert snap_compare(app, terminal_size=size, run_before=before)
