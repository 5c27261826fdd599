"""Histograms in block characters: one, or two laid over each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.reactive import reactive
from textual.strip import Strip
from textual.widget import Widget

from ckptui.core.model import Histogram
from ckptui.core.text import number_text
from ckptui.ui.fitting import fit_middle
from ckptui.ui.widgets.cells import Drawing, Row, column, drawing_of

LETTER = 2
"""Columns of `A` and `B` beside histograms that no colour tells apart."""
Heights = npt.NDArray[np.float64]


def resampled(histogram: Histogram, columns: int, low: float, high: float) -> Heights:
    """Counts in `columns` equal parts of low .. high; a bin that is cut lends each part its share."""
    counts = np.asarray(histogram.counts, dtype=np.float64)
    if not counts.size or columns <= 0:
        return np.zeros(max(columns, 0))
    if histogram.high <= histogram.low:
        place = 0.5 if high <= low else (histogram.low - low) / (high - low)
        heights = np.zeros(columns)
        heights[min(int(place * columns), columns - 1)] = counts.sum()
        return heights
    edges = np.linspace(histogram.low, histogram.high, counts.size + 1)
    below = np.concatenate([[0.0], np.cumsum(counts)])
    wanted = np.linspace(low, high, columns + 1)
    return np.diff(np.interp(wanted, edges, below))


def shares(heights: Heights, *, logarithmic: bool) -> Heights:
    """Heights as shares of the highest."""
    scaled = np.log1p(heights) if logarithmic else heights
    top = float(scaled.max(initial=0.0))
    return scaled / top if top > 0 else scaled


def axis_text(low: float, high: float, width: int, note: str = "") -> str:
    """The axis under a histogram: its two ends, 0 where it lies between them, a note where there is room."""
    left, right = number_text(low, 3), number_text(high, 3)
    if low == high:
        return fit_middle(f"every value is {left}", width)
    line = [" "] * max(width, len(left) + len(right) + 1)
    line[: len(left)] = left
    line[len(line) - len(right) :] = right
    if low < 0 < high:
        place = min(int(-low / (high - low) * len(line)), len(line) - 1)
        if all(char == " " for char in line[max(place - 1, 0) : place + 2]):
            line[place] = "0"
    text = "".join(line)
    gap = text.rfind(" " * (len(note) + 4))
    if note and gap >= 0:
        text = text[: gap + 2] + note + text[gap + 2 + len(note) :]
    return text


class HistogramView(Widget):
    """One histogram over the width there is, its axis beneath; log counts on demand."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"histogram--bar", "histogram--axis"}
    DEFAULT_CSS = """
    HistogramView {
        height: 5;
        & > .histogram--bar { color: $primary; }
        & > .histogram--axis { color: $dim; }
    }
    """
    histogram: reactive[Histogram | None] = reactive(None)
    logarithmic: reactive[bool] = reactive(False)

    def render_line(self, y: int) -> Strip:
        width, height = self.content_size
        strip = Strip(self._row(y, width, height - 1))
        return strip.adjust_cell_length(width).apply_style(self.rich_style)

    def _row(self, y: int, width: int, rows: int) -> Row:
        histogram = self.histogram
        axis = self.get_component_rich_style("histogram--axis", partial=True)
        if histogram is None or not any(histogram.counts):
            note = "no finite values" if histogram is not None else ""
            return [Segment(note if y == rows else "", axis)]
        if y >= rows:
            note = "log counts" if self.logarithmic else ""
            return [Segment(axis_text(histogram.low, histogram.high, width, note), axis)]
        heights = shares(resampled(histogram, width, histogram.low, histogram.high), logarithmic=self.logarithmic)
        drawing = drawing_of(self.app)
        text = "".join(column(_eighths(share, rows), rows - 1 - y, drawing) for share in heights.tolist())
        return [Segment(text, self.get_component_rich_style("histogram--bar", partial=True))]


def _eighths(share: float, rows: int) -> int:
    """Eighths of a row; what exists at all gets one."""
    return max(math.floor(share * rows * 8 + 0.5), 1) if share > 0 else 0


class OverlaidHistograms(Widget):
    """Two histograms on one axis: where only A reaches, where only B does, and where both do.

    Without colours they stand one above the other, each beside its letter.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "overlaid--a",
        "overlaid--b",
        "overlaid--both",
        "overlaid--axis",
    }
    DEFAULT_CSS = """
    OverlaidHistograms {
        height: 8;
        & > .overlaid--a { color: $mark; }
        & > .overlaid--b { color: $secondary; }
        & > .overlaid--both { color: $dim; }
        & > .overlaid--axis { color: $dim; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.pair: tuple[Histogram, Histogram] | None = None
        self._rows: list[Row] = []

    def show(self, pair: tuple[Histogram, Histogram] | None) -> None:
        """Draw A and B."""
        self.pair = pair
        self._lay_out()

    def on_resize(self, event: events.Resize) -> None:
        self._lay_out()

    def _lay_out(self) -> None:
        self._rows = []
        width, height = self.content_size
        drawable = [h for h in self.pair or () if any(h.counts)]
        if self.pair is not None and len(drawable) == 2 and width and height > 2:
            low = min(h.low for h in drawable)
            high = max(h.high for h in drawable)
            coloured = drawing_of(self.app) is Drawing.COLOUR
            margin = 0 if coloured else LETTER
            both = [shares(resampled(h, width - margin, low, high), logarithmic=False) for h in self.pair]
            self._rows = self._overlaid(both, height - 1) if coloured else self._stacked(both, height - 1)
            axis = " " * margin + axis_text(low, high, width - margin)
            self._rows.append([Segment(axis, self._style("axis"))])
        self.refresh()

    def _overlaid(self, both: Sequence[Heights], rows: int) -> list[Row]:
        """Half blocks: two steps of height a row."""
        steps = [[_steps(share, rows * 2) for share in heights.tolist()] for heights in both]
        return [
            [self._cell(a, b, 2 * (rows - y) - 1, 2 * (rows - y) - 2) for a, b in zip(steps[0], steps[1], strict=True)]
            for y in range(rows)
        ]

    def _cell(self, a: int, b: int, upper: int, lower: int) -> Segment:
        names = ["both" if min(a, b) > s else "a" if a > s else "b" if b > s else "" for s in (upper, lower)]
        if not names[1]:
            return Segment(" ")
        below = self._style(names[1])
        if not names[0]:
            return Segment("▄", below)
        if names[0] == names[1]:
            return Segment("█", below)
        return Segment("▄", below + self._as_background(names[0]))

    def _as_background(self, name: str) -> Style:
        return Style(bgcolor=self._style(name).color)

    def _stacked(self, both: Sequence[Heights], rows: int) -> list[Row]:
        drawing = drawing_of(self.app)
        lines: list[Row] = []
        for name, heights, share_of_rows in zip("ab", both, (rows // 2, rows - rows // 2), strict=True):
            for y in range(share_of_rows):
                text = "".join(column(_eighths(s, share_of_rows), share_of_rows - 1 - y, drawing) for s in heights)
                letter = name.upper() if y == share_of_rows - 1 else ""
                lines.append([Segment(letter.ljust(LETTER), self._style("axis")), Segment(text, self._style(name))])
        return lines

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"overlaid--{name}", partial=True)

    def render_line(self, y: int) -> Strip:
        row = self._rows[y] if y < len(self._rows) else []
        return Strip(row).adjust_cell_length(self.size.width).apply_style(self.rich_style)


def _steps(share: float, most: int) -> int:
    return max(round(share * most), 1) if share > 0 else 0
