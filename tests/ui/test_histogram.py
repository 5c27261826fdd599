"""Histograms: bins to columns without losing a value, axes that say where zero is, and two laid over each other."""

from __future__ import annotations

import numpy as np
import pytest
from textual.app import ComposeResult

from ckptui.core.model import Histogram
from ckptui.ui.widgets.histogram import HistogramView, OverlaidHistograms, axis_text, resampled, shares
from tests.ui.cells_at import line, text
from tests.ui.pane_data import PaneApp

BELL = Histogram(-1.0, 1.0, (1, 4, 9, 16, 16, 9, 4, 1))


class HistogramApp(PaneApp):
    """Both widgets."""

    CSS = "HistogramView { width: 40; height: 6; } OverlaidHistograms { width: 40; height: 7; }"

    def compose(self) -> ComposeResult:
        yield HistogramView()
        yield OverlaidHistograms()


def drawn(view: HistogramView | OverlaidHistograms) -> list[str]:
    return [text(view, y).ljust(40) for y in range(view.size.height)]


@pytest.mark.parametrize("columns", [1, 3, 8, 40, 200])
def test_no_value_is_lost_between_bins_and_columns(columns: int) -> None:
    assert resampled(BELL, columns, -1.0, 1.0).sum() == pytest.approx(60)
    assert resampled(BELL, columns, -2.0, 3.0).sum() == pytest.approx(60)


def test_a_single_value_is_one_column() -> None:
    heights = resampled(Histogram(0.5, 0.5, (7,)), 10, 0.0, 1.0)
    assert heights.tolist() == [0, 0, 0, 0, 0, 7, 0, 0, 0, 0]


def test_log_counts_raise_what_is_rare() -> None:
    heights = np.array([1.0, 1000.0])
    assert shares(heights, logarithmic=True)[0] > shares(heights, logarithmic=False)[0] * 50
    assert shares(np.zeros(3), logarithmic=False).tolist() == [0, 0, 0]


def test_the_axis_names_both_ends_and_zero_where_it_lies_between_them() -> None:
    axis = axis_text(-1.0, 3.0, 40)
    assert axis.startswith("−1")
    assert axis.endswith("3")
    assert axis.index("0") == 10
    assert "0" not in axis_text(1.0, 3.0, 40)
    assert axis_text(0.5, 0.5, 40) == "every value is 0.5"


def test_a_narrow_axis_keeps_its_ends_apart() -> None:
    assert axis_text(-0.123, 0.456, 4).split() == ["−0.123", "0.456"]


async def test_columns_grow_from_the_foot_in_eighths_and_anything_that_exists_shows() -> None:
    app = HistogramApp()
    async with app.run_test(size=(60, 20)) as pilot:
        view = app.query_one(HistogramView)
        view.histogram = Histogram(-1.0, 1.0, (100_000, *([0] * 38), 1))
        await pilot.pause()
        rows = drawn(view)
        assert rows[0][0] == "█"
        assert rows[0][39] == " "
        assert rows[4][39] == "▁", "one value among 100,000 is not nothing"
        assert rows[4][20] == " "
        assert rows[5].strip().startswith("−1")


async def test_nothing_finite_is_said() -> None:
    app = HistogramApp()
    async with app.run_test(size=(60, 20)) as pilot:
        view = app.query_one(HistogramView)
        view.histogram = Histogram(0.0, 0.0, (), outside=12)
        await pilot.pause()
        assert "no finite values" in "\n".join(drawn(view))


async def test_two_histograms_show_what_only_one_has_and_what_both_have() -> None:
    app = HistogramApp()
    async with app.run_test(size=(60, 20)) as pilot:
        view = app.query_one(OverlaidHistograms)
        view.show((Histogram(0.0, 2.0, (10, 10)), Histogram(1.0, 3.0, (10, 10))))
        await pilot.pause()
        colours = [line(view, 3)[x][1].color for x in (2, 20, 37)]
        assert len({str(colour) for colour in colours}) == 3
        assert text(view, 6).startswith("0")
        assert text(view, 6).endswith("3")


async def test_without_colours_they_stand_one_above_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = HistogramApp()
    async with app.run_test(size=(60, 20)) as pilot:
        view = app.query_one(OverlaidHistograms)
        view.show((Histogram(0.0, 2.0, (10, 0)), Histogram(0.0, 2.0, (0, 10))))
        await pilot.pause()
        rows = drawn(view)
        assert rows[2].startswith("A █")
        assert rows[5].startswith("B  ")
        assert rows[5].rstrip().endswith("█")
