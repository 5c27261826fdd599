"""A matrix as a heat map, and a vector as a line of bars, each in the space there is."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from ckptui.core.colours import diverging, normalised
from ckptui.core.heatmaps import strongest
from ckptui.core.pictures import layer_limit
from ckptui.core.text import human_count
from ckptui.ui.widgets.cells import EIGHTHS, Drawing, Row, column, draw_levels, drawing_of
from ckptui.ui.widgets.subject import Matrix

MOST_ENLARGED = 8


class Fitted(Message):
    """Another size: what a pixel or column stands for may have changed."""


class MatrixView(Widget):
    """A heat map; where a pixel stands for many values it shows the strongest of them."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"matrix-view--values"}
    DEFAULT_CSS = """
    MatrixView {
        height: 1fr;
        min-height: 6;
        & > .matrix-view--values { color: $foreground; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.matrix: Matrix | None = None
        self._rows: list[Row] = []

    def show(self, matrix: Matrix | None) -> None:
        """Draw this matrix."""
        self.matrix = matrix
        self._lay_out()

    def words(self) -> str:
        """What runs along the axes."""
        if self.matrix is None:
            return ""
        (rows, columns), (down, across) = self.matrix.shape, self.matrix.axes
        return f"{human_count(rows)} {down} ↓  {human_count(columns)} {across} →"

    def reduced(self) -> str:
        """How many values a pixel stands for, where it is more than one."""
        height, width = self._pixels()
        if self.matrix is None or not height or not width:
            return ""
        tall, wide = -(-self.matrix.shape[0] // height), -(-self.matrix.shape[1] // width)
        return "" if tall == wide == 1 else f"max of {tall}×{wide}"

    def _pixels(self) -> tuple[int, int]:
        """Rows and columns of pixels that fit."""
        drawing = drawing_of(self.app)
        width, height = self.content_size
        return (height * 2, width) if drawing is Drawing.COLOUR else (height, width // 2)

    def _lay_out(self) -> None:
        self._rows = []
        height, width = self._pixels()
        if self.matrix is not None and height and width:
            values = strongest(self.matrix.values, height, width)
            levels = normalised(values, self.matrix.limit)
            down = min(height // levels.shape[0], MOST_ENLARGED)
            right = min(width // levels.shape[1], MOST_ENLARGED)
            down, right = _even(max(down, 1), max(right, 1))
            levels = levels.repeat(down, axis=0).repeat(right, axis=1)
            style = self.get_component_rich_style("matrix-view--values", partial=True)
            self._rows = draw_levels(levels, diverging(levels), 1, drawing_of(self.app), style)
        self.refresh()

    def on_resize(self, event: events.Resize) -> None:
        self._lay_out()
        self.post_message(Fitted())

    def render_line(self, y: int) -> Strip:
        row = self._rows[y] if y < len(self._rows) else []
        return Strip(row).adjust_cell_length(self.size.width).apply_style(self.rich_style)


def _even(down: int, right: int) -> tuple[int, int]:
    """Square pixels, unless one axis has no room to grow: then the other grows to four times at most."""
    if min(down, right) > 1:
        return min(down, right), min(down, right)
    return min(down, 4), min(right, 4)


class BarLine(Widget):
    """The values of a vector as bars on both sides of zero; where they don't fit, the strongest of each column."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"bar-line--above", "bar-line--below", "bar-line--broken"}
    DEFAULT_CSS = """
    BarLine {
        height: 1fr;
        min-height: 4;
        max-height: 9;
        & > .bar-line--above { color: $primary; }
        & > .bar-line--below { color: $mark; }
        & > .bar-line--broken { color: $error; text-style: bold; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.vector: npt.NDArray[Any] = np.zeros(0, dtype=np.float32)
        self.limit = 0.0
        self._rows: list[Row] = []

    def show(self, vector: npt.NDArray[Any] | None) -> None:
        """Draw this vector."""
        self.vector = np.zeros(0, dtype=np.float32) if vector is None else vector
        self.limit = layer_limit(self.vector)
        self._lay_out()

    def words(self) -> str:
        """How many values there are, and how many a column stands for."""
        count, width = self.vector.size, max(self.content_size.width, 1)
        text = f"{human_count(count)} values →"
        return text if count <= width else f"{text} · strongest of {-(-count // width)}"

    def _lay_out(self) -> None:
        self._rows = []
        width, height = self.content_size
        if self.vector.size and width and height:
            values = strongest(self.vector.reshape(1, -1), 1, width)[0]
            wide = max(1, min(width // values.size, 3))
            levels = normalised(values, self.limit).tolist()
            negative, positive = any(v < 0 for v in levels), any(v > 0 for v in levels)
            above = height if not negative else height // 2 if positive else 0
            for y in range(height):
                self._rows.append([self._cell(level, y, above, height, wide) for level in levels])
        self.refresh()

    def _cell(self, level: float, y: int, above: int, height: int, wide: int) -> Segment:
        """The cell of one bar in text row `y`, of which `above` lie over zero."""
        if level != level:
            return Segment("!" * wide, self._style("broken"))
        drawing = drawing_of(self.app)
        if y < above:
            eighths = round(max(level, 0.0) * above * 8)
            return Segment(column(eighths, above - 1 - y, drawing) * wide, self._style("above"))
        eighths = round(max(-level, 0.0) * (height - above) * 8)
        filled = min(max(eighths - (y - above) * 8, 0), 8)
        if filled in (0, 8) or drawing is Drawing.ASCII:
            return Segment(column(eighths, y - above, drawing) * wide, self._style("below"))
        # A block that hangs from the top of its cell is the rest of the cell in reverse.
        return Segment(EIGHTHS[8 - filled] * wide, self._style("below") + Style(reverse=True))

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"bar-line--{name}", partial=True)

    def on_resize(self, event: events.Resize) -> None:
        self._lay_out()
        self.post_message(Fitted())

    def render_line(self, y: int) -> Strip:
        row = self._rows[y] if y < len(self._rows) else []
        return Strip(row).adjust_cell_length(self.size.width).apply_style(self.rich_style)
