"""The diff screen: rows as they come, worst first, identical ones folded, and one pair closely."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from textual.pilot import Pilot

from ckptui.core.model import DiffReport, Finding, Listing, Pair, Progress
from ckptui.core.report import relation_words
from ckptui.errors import ReaderHung
from ckptui.ui.diff_rows import (
    IDENTICAL,
    STATE,
    DiffRows,
    arrange,
    both_saves,
    change_text,
    config_words,
    distance_lines,
    number_lines,
    pair_name,
    pair_subtitle,
    pair_title,
    save_words,
    share,
    side_by_side,
    summary_pieces,
)
from ckptui.ui.fitting import fit_middle, fit_name
from ckptui.ui.screens import diff
from ckptui.ui.screens.diff import DiffScreen
from ckptui.ui.widgets.diff_table import columns_for
from ckptui.ui.widgets.filter_images import TripleSet
from ckptui.ui.widgets.histogram import OverlaidHistograms
from tests.ui.cells_at import text
from tests.ui.driving import until
from tests.ui.pane_data import (
    HOSTILE,
    PAIRS,
    VALUES,
    PaneApp,
    PaneSession,
    diff_sides,
    listing_of,
    pair_of,
    scan_of,
    tensor_of,
)

NARROW, WIDE = (80, 24), (120, 40)


def names(rows: DiffRows) -> list[str]:
    folds = {IDENTICAL: "-- identical", STATE: "-- state"}
    return [folds[i] if i < 0 else pair_name(rows.pairs[i]) for i in rows.order]


async def opened(pilot: Pilot[None], app: PaneApp) -> DiffScreen:
    a, b = diff_sides(app.session)
    screen = DiffScreen(app.session, a, b)  # type: ignore[arg-type]
    await app.push_screen(screen)
    await until(pilot, lambda: screen.table.rows.pairs)
    return screen


async def looked(pilot: Pilot[None], screen: DiffScreen) -> None:
    """Wait until the pair under the cursor was looked at closely."""
    await until(pilot, lambda: screen.view.gallery.subject is not None or overlaid(screen).pair is not None)
    # words and pictures make room for each other in several layouts
    await pilot.pause(0.2)
    await pilot.pause()


def overlaid(screen: DiffScreen) -> OverlaidHistograms:
    return screen.query_one(OverlaidHistograms)


def told(screen: DiffScreen, part: str) -> str:
    return str(screen.query_one(f"#{part}").render())


def table_text(screen: DiffScreen) -> list[str]:
    return [text(screen.table, y) for y in range(screen.table.size.height)]


# ------------------------------------------------------------------ rows


def test_what_cannot_be_compared_comes_first_and_identical_ones_are_folded_last() -> None:
    rows = arrange(DiffRows(PAIRS))
    assert names(rows) == [
        "lost/kernel",
        "head/kernel",
        "conv1/bias",
        "conv1/kernel",
        "conv2/kernel",
        "old/bias",
        "new/bias",
        "-- identical",
    ]
    unfolded = arrange(replace(rows, unfolded=frozenset({IDENTICAL})))
    assert names(unfolded)[-3:] == ["-- identical", "dense/kernel", "rgb/kernel"]


def test_a_change_that_is_nan_or_infinite_is_the_largest() -> None:
    pairs = (
        pair_of("a", "changed", 0.5),
        pair_of("b", "changed", float("nan")),
        pair_of("c", "changed", float("inf")),
    )
    rows = arrange(DiffRows(pairs))
    assert set(names(rows)[:2]) == {"b", "c"}
    assert rows.largest == 0.5


def test_only_one_status_and_other_orders() -> None:
    rows = arrange(DiffRows(PAIRS, status="identical"))
    assert names(rows) == ["dense/kernel", "rgb/kernel"]
    by_name = arrange(DiffRows(PAIRS, by="name"))
    assert names(by_name)[0] == "conv1/bias"
    assert names(by_name)[-1] == "-- identical"
    by_cosine = arrange(DiffRows(PAIRS, by="cosine", status="changed"))
    assert names(by_cosine) == ["conv1/bias", "conv1/kernel", "conv2/kernel"]


def test_slots_and_counters_do_not_crowd_out_the_weights() -> None:
    state = (
        pair_of("optimizer/v/0", "changed", 3.0, role="slot"),
        pair_of("step", "changed", 0.2, role="step"),
        pair_of("optimizer/v/1", "shape-changed", role="slot", detail="4 → 5"),
    )
    rows = arrange(DiffRows((*PAIRS, *state)))
    assert names(rows)[-2:] == ["-- state", "-- identical"]
    assert "optimizer/v/1" in names(rows), "what can't be compared is never folded"
    assert rows.folded == {STATE: 2, IDENTICAL: 2}
    assert rows.largest == 0.9, "the bars are those of weights"
    assert names(arrange(replace(rows, unfolded=frozenset({STATE}))))[-4:-1] == [
        "-- state",
        "optimizer/v/0",
        "step",
    ]


def test_rows_are_called_by_the_variables_own_names() -> None:
    stored = "model/_operations/2/_kernel/.ATTRIBUTES/VARIABLE_VALUE"
    rows = DiffRows((pair_of(stored, "changed", 0.1),))
    assert rows.name(rows.pairs[0]) == "model/_operations/2/_kernel"
    assert replace(rows, names={stored: "conv1/kernel"}).name(rows.pairs[0]) == "conv1/kernel"


def test_a_counter_is_one_value_on_each_side() -> None:
    step = scan_of("step", VALUES["step"][0]).stats
    assert [line.split() for line in number_lines(step, step, 60)] == [["A", "B"], ["value", "5000", "5000"]]


def test_an_empty_diff_has_no_rows() -> None:
    assert names(arrange(DiffRows(()))) == []


def test_100000_pairs_are_sorted_in_well_under_a_second() -> None:
    pairs = tuple(pair_of(f"layer{i}/kernel", "changed", i / 1e5) for i in range(100_000))
    began = time.thread_time()
    rows = arrange(DiffRows(pairs))
    assert time.thread_time() - began < 1.5
    assert names(rows)[0] == "layer99999/kernel"


def test_small_changes_have_bars_too() -> None:
    assert share(0.01, 1.0) == pytest.approx(0.1)
    assert share(5.0, 1.0) == 1.0
    assert share(float("nan"), 1.0) == 1.0
    assert share(None, 1.0) == share(0.1, 0.0) == 0.0


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "–"), (0.0, "0"), (0.124, "12.40%"), (1.5, "150.00%"), (3e-7, "3.0e−7"), (float("nan"), "nan")],
)
def test_changes_in_few_columns(value: float | None, words: str) -> None:
    assert change_text(value) == words


def test_the_relation_says_how_sure_it_is_and_why() -> None:
    relation = {"verdict": "same-run", "certainty": "likely", "evidence": {"reason": "counters went on"}}
    assert relation_words(relation) == ("The same run (likely)", "counters went on")
    assert relation_words({"verdict": "identical", "certainty": "confirmed"}) == ("Identical weights", "")
    assert relation_words({}) == ("", "")


def test_the_summary_leaves_out_what_does_not_exist() -> None:
    counts = arrange(DiffRows(PAIRS)).counts
    assert counts is not None
    words = [words for words, _ in summary_pieces(counts)]
    assert words[0] == "1 unreadable"
    assert words[-1] == "2 identical"
    assert not any("dtype" in each for each in words)


def test_a_pair_under_two_names_shows_both() -> None:
    pair = pair_of("conv2d/kernel", "changed", 0.1, b="layers/conv2d/vars/0", matched_by="weight-path")
    assert pair_title(pair) == "conv2d/kernel → layers/conv2d/vars/0"
    array, _ = VALUES["conv1/bias"]
    small, large = tensor_of("x", array), tensor_of("x", np.zeros((64,), np.float16))
    assert pair_subtitle(pair, small, large) == "32 float32 → 64 float16 · matched by weight path"


def test_numbers_of_both_stand_under_a_and_b_and_beside_the_distances_where_there_is_room() -> None:
    stats = scan_of("conv1/bias", VALUES["conv1/bias"][0]).stats
    numbers = number_lines(stats, None, 60)
    assert numbers[0].split() == ["A", "B"]
    assert numbers[1].split() == ["mean", "−0.001621", "–"]
    apart = distance_lines(pair_of("conv1/bias", "changed", 0.5), 60)
    assert apart[0].startswith("apart     50.00%")
    assert len(side_by_side(apart, numbers, 100)) == len(numbers)
    assert len(side_by_side(apart, numbers, 50)) == len(numbers) + len(apart) + 1


@pytest.mark.parametrize("width", [24, 40, 58, 78, 120])
def test_columns_are_dropped_whole_before_the_name_gets_too_narrow(width: int) -> None:
    for told in (True, False):
        columns = columns_for(width, told=told, longest=34)
        sizes = [columns.status, columns.bar, columns.change, columns.largest, columns.cosine]
        assert 2 + columns.name + sum(size + 2 for size in sizes if size) == width
        assert columns.name >= 20
        assert columns.name >= 34 or not (columns.largest or columns.cosine)
        assert bool(columns.status) == (told and width >= 40)


def test_shortened_names_keep_what_tells_layers_apart() -> None:
    names = [f"batch_normalization_{n}_1/moving_variance" for n in range(15)]
    for width in range(26, 45):
        short = [fit_name(name, width) for name in names]
        assert len(set(short)) == len(names)
        assert all(len(name) <= width and name.endswith("/moving_variance") for name in short)
    assert fit_name("dense/bias", 30) == "dense/bias"
    assert fit_name("a" * 50, 20) == fit_middle("a" * 50, 20)


def test_both_saves_keep_their_steps_where_room_is_short() -> None:
    a, b = (listing_of(f"fer2013_mini_XCEPTION.{n}.hdf5", n).artifact for n in (107, 110))
    words = both_saves(a, b, 60)
    assert sum(map(len, words)) <= 60
    assert [word.split()[-2:] for word in words] == [["step", "107"], ["step", "110"]]
    assert both_saves(a, b, 100) == (save_words(a), save_words(b))


def test_a_changed_configuration_is_told_in_one_line() -> None:
    found = [
        Finding("config-changed", "warning", "Configuration differs", detail="c2: padding same against valid"),
        Finding("config-changed", "warning", "Configuration differs", detail="c3: strides"),
        Finding("checksum-mismatch", "error", "Checksum"),
    ]
    assert config_words(found) == "c2: padding same against valid  and 1 more"
    assert config_words(found[2:]) == ""


# ------------------------------------------------------------------ on screen


async def test_it_shows_both_saves_their_relation_and_the_rows_worst_first() -> None:
    app = PaneApp()
    async with app.run_test(size=WIDE) as pilot:
        screen = await opened(pilot, app)
        await until(pilot, lambda: "same run" in told(screen, "diff-relation"))
        assert " A  ckpt-2  step 2,000" in told(screen, "diff-saves")
        assert " B  ckpt-5  step 5,000" in told(screen, "diff-saves")
        assert "3 changed" in told(screen, "diff-summary")
        lines = table_text(screen)
        assert lines[1].startswith("▌lost/kernel")
        assert lines[1].endswith("unreadable")
        assert "64×10 → 64×100" in lines[2]
        assert "▸ 2 identical" in lines[8]


async def test_a_kernel_is_shown_as_both_filters_and_their_difference() -> None:
    app = PaneApp()
    async with app.run_test(size=WIDE) as pilot:
        screen = await opened(pilot, app)
        await pilot.press("down", "down", "down")
        await looked(pilot, screen)
        assert screen.table.pair is not None
        assert screen.table.pair.b == "conv1/kernel"
        subject = screen.view.gallery.subject
        assert subject is not None
        assert isinstance(subject.pictures, TripleSet)
        numbers = told(screen, "pair-numbers")
        assert "12.40%" in numbers
        assert "mean" in numbers
        same = subject.pictures.flag(3)
        assert same is not None
        assert same.word == "same"


async def test_anything_else_is_shown_as_two_histograms_on_one_axis() -> None:
    app = PaneApp()
    async with app.run_test(size=WIDE) as pilot:
        screen = await opened(pilot, app)
        await pilot.press("down", "down")
        await looked(pilot, screen)
        assert overlaid(screen).display
        assert overlaid(screen).pair is not None
        assert not screen.view.gallery.display
        assert "■ A" in told(screen, "pair-legend")


async def test_rows_passed_over_quickly_are_never_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diff, "SETTLED", 1.0)
    app = PaneApp()
    async with app.run_test(size=WIDE) as pilot:
        screen = await opened(pilot, app)
        await pilot.press("down", "down", "down", "down")
        await looked(pilot, screen)
        assert {name for _, name in app.session.calls} == {"conv2/kernel"}


async def test_enter_on_the_fold_unfolds_and_f_and_s_filter_and_sort() -> None:
    app = PaneApp()
    async with app.run_test(size=WIDE) as pilot:
        screen = await opened(pilot, app)
        await pilot.press("end", "enter")
        assert screen.table.rows.unfolded == {IDENTICAL}
        await pilot.press("x")
        assert not screen.table.rows.unfolded
        await pilot.press("f")
        assert screen.table.rows.status == "unreadable"
        assert names(screen.table.rows) == ["lost/kernel"]
        title = screen.query_one("#diff-rows").border_title
        assert title is not None
        assert "only unreadable" in title
        for _ in range(len(screen.table.rows.present)):
            await pilot.press("f")
        assert screen.table.rows.status is None
        await pilot.press("s", "s", "s")
        assert screen.table.rows.by == "name"


async def test_narrow_screens_show_one_pane_at_a_time_and_escape_goes_back_step_by_step() -> None:
    app = PaneApp()
    async with app.run_test(size=NARROW) as pilot:
        screen = await opened(pilot, app)
        assert not screen.query_one("#diff-pair").display
        await pilot.press("down", "down", "down", "enter")
        await looked(pilot, screen)
        assert screen.query_one("#diff-pair").display
        assert not screen.query_one("#diff-rows").display
        await pilot.press("escape")
        assert screen.query_one("#diff-rows").display
        assert screen.table.has_focus
        await pilot.press("tab")
        assert screen.query_one("#diff-pair").display
        await pilot.press("tab", "escape")
        assert not isinstance(app.screen, DiffScreen)


class Streaming(PaneSession):
    """Hands out pairs one at a time, when told."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Semaphore(0)
        self.cancelled = False

    def diff(self, a: Listing, b: Listing, **options: Any) -> Iterator[Pair | Progress | DiffReport]:
        for number, pair in enumerate(self.pairs):
            while not self.gate.acquire(timeout=0.01):
                if options["cancel"].is_set():
                    self.cancelled = True
                    return
            yield pair
            yield Progress(number + 1, len(self.pairs), number + 1, len(self.pairs), 1.0)
            time.sleep(0.11)
        yield DiffReport(a.artifact, b.artifact, tuple(self.pairs), self.relation)


async def test_rows_appear_while_the_rest_is_being_compared_and_the_cursor_stays_with_its_pair() -> None:
    session = Streaming()
    app = PaneApp(session)
    async with app.run_test(size=WIDE) as pilot:
        session.gate.release(2)
        screen = await opened(pilot, app)
        await until(pilot, lambda: len(screen.table.rows.pairs) == 2)
        assert names(screen.table.rows) == ["conv1/bias", "conv1/kernel"]
        assert "% read" in told(screen, "diff-summary")
        await pilot.press("down")
        session.gate.release(7)
        await until(pilot, lambda: "same run" in told(screen, "diff-relation"))
        assert screen.table.pair is not None
        assert screen.table.pair.b == "conv1/kernel"
        assert screen.table.cursor == 3
        assert "% read" not in told(screen, "diff-summary")


async def test_closing_takes_the_comparison_back() -> None:
    session = Streaming()
    app = PaneApp(session)
    async with app.run_test(size=WIDE) as pilot:
        session.gate.release(1)
        await opened(pilot, app)
        await pilot.press("escape")
        await until(pilot, lambda: session.cancelled)


async def test_a_comparison_that_fails_says_why_and_keeps_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(self: PaneSession, a: Listing, b: Listing, **options: Any) -> Iterator[Pair]:
        yield self.pairs[0]
        raise ReaderHung("no progress for 4 s in conv2/kernel")

    monkeypatch.setattr(PaneSession, "diff", hang)
    app = PaneApp()
    async with app.run_test(size=WIDE) as pilot:
        screen = await opened(pilot, app)
        await until(pilot, lambda: "no progress for 4 s" in told(screen, "diff-relation"))
        assert names(screen.table.rows) == ["conv1/kernel"]


async def test_a_pair_that_cannot_be_read_closely_says_so() -> None:
    app = PaneApp()
    async with app.run_test(size=WIDE) as pilot:
        screen = await opened(pilot, app)
        await until(pilot, lambda: "lost/kernel" in told(screen, "pair-numbers"))


async def test_100000_rows_are_drawn_no_slower_than_a_few() -> None:
    session = PaneSession()
    app = PaneApp(session)
    async with app.run_test(size=WIDE) as pilot:
        screen = await opened(pilot, app)
        pairs = tuple(pair_of(f"layer{i}/kernel", "changed", i / 1e5) for i in range(100_000))
        screen.table.show(arrange(DiffRows(pairs)))
        await pilot.press("end")
        await pilot.pause()
        began = time.thread_time()
        for y in range(screen.table.size.height):
            screen.table.render_line(y)
        assert time.thread_time() - began < 0.2
        assert "layer0/kernel" in "\n".join(table_text(screen))


async def test_many_rows_are_sorted_in_a_thread_and_the_key_is_free_at_once() -> None:
    app = PaneApp()
    async with app.run_test(size=WIDE) as pilot:
        screen = await opened(pilot, app)
        await until(pilot, lambda: screen._ended)
        pairs = tuple(pair_of(f"layer{i}/kernel", "changed", i / 1e5) for i in range(20_000))
        screen.table.show(arrange(DiffRows(pairs)))
        began = time.thread_time()
        screen.action_sort()
        assert time.thread_time() - began < 0.05
        await until(pilot, lambda: screen.table.rows.by == "largest")
        screen.action_status()
        await until(pilot, lambda: screen.table.rows.status == "changed")


async def test_hostile_names_are_escaped_in_the_table_and_the_pane() -> None:
    session = PaneSession()
    app = PaneApp(session)
    async with app.run_test(size=(200, 40)) as pilot:
        screen = await opened(pilot, app)
        screen.table.show(arrange(DiffRows((pair_of(HOSTILE, "changed", 0.1),))))
        await pilot.press("home")
        screen._follow()
        await looked(pilot, screen)
        drawn = "\n".join(table_text(screen)) + told(screen, "pair-title")
        assert "\x1b" not in drawn
        assert "\u202e" not in drawn
        assert "[@click=app.quit]" in drawn


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["80x24", "120x40"])
@pytest.mark.parametrize("row", [2, 3], ids=["bias", "kernel"])
def test_it_looks_as_before(size: tuple[int, int], row: int, snap_compare: Any) -> None:
    app = PaneApp()

    async def before(pilot: Pilot[None]) -> None:
        screen = await opened(pilot, app)
        await until(pilot, lambda: screen._ended)
        await pilot.press(*["down"] * row)
        await looked(pilot, screen)
        if size == NARROW and row == 3:
            await pilot.press("enter")
            await looked(pilot, screen)

    assert snap_compare(app, terminal_size=size, run_before=before)
