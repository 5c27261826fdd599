"""A matrix as a heat map, and a vector as a line of bars, each in the space there is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.actions import SkipAction
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from ckptui.core.colours import diverging, normalised
from ckptui.core.filter_flags import Flag
from ckptui.core.heatmaps import strongest
from ckptui.core.pictures import layer_limit
from ckptui.core.text import human_count
from ckptui.ui.access import say
from ckptui.ui.commands import bindings_for
from ckptui.ui.widgets.cells import EIGHTHS, Drawing, Row, column, draw_levels, drawing_of
from ckptui.ui.widgets.subject import Matrix, Slices, Units

MOST_ENLARGED = 8


class Fitted(Message):
    """Another size: what a pixel or column stands for may have changed."""


class MatrixView(Widget, can_focus=True):
    """A heat map; where a pixel stands for many values it shows the strongest of them.

    Units about which there is something to say have a letter over their column or before their row.
    """

    COMMAND_SCOPE = "matrix"
    BINDINGS = bindings_for("matrix")
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "matrix-view--values",
        "matrix-view--error",
        "matrix-view--warning",
        "matrix-view--odd",
        "matrix-view--muted",
    }
    DEFAULT_CSS = """
    MatrixView {
        height: 1fr;
        min-height: 6;
        & > .matrix-view--values { color: $foreground; }
        & > .matrix-view--error { color: $error; text-style: bold; }
        & > .matrix-view--warning { color: $warning; text-style: bold; }
        & > .matrix-view--odd { color: $odd; text-style: bold; }
        & > .matrix-view--muted { color: $dim; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.matrix: Matrix | None = None
        self.slices: Slices | None = None
        self.place = 0
        """Which of the slices is on show."""
        self.units: Units | None = None
        self.selected: int | None = None
        """The marked unit that `n` went to."""
        self._rows: list[Row] = []

    def show(self, matrix: Matrix | None, slices: Slices | None = None, units: Units | None = None) -> None:
        """Draw this matrix, or the first of these slices."""
        self.matrix, self.slices, self.place = matrix, slices, 0
        self.mark(units)

    def mark(self, units: Units | None) -> None:
        """Mark these units."""
        self.units, self.selected = units, None
        self._lay_out()
        self.refresh_bindings()

    def words(self) -> list[str]:
        """Which slice it is, and what runs along the axes."""
        if self.matrix is None:
            return []
        (rows, columns), (down, across) = self.matrix.shape, self.matrix.axes
        axes = f"{human_count(rows)} {down} ↓  {human_count(columns)} {across} →"
        return [self.slices.words(self.place), axes] if self.slices is not None else [axes]

    def reduced(self) -> str:
        """How many values a pixel stands for, where it is more than one."""
        height, width = self._pixels()
        if self.matrix is None or not height or not width:
            return ""
        tall, wide = -(-self.matrix.shape[0] // height), -(-self.matrix.shape[1] // width)
        return "" if tall == wide == 1 else f"max of {tall}×{wide}"

    @property
    def _flags(self) -> Mapping[int, Flag]:
        return self.units.flags if self.units is not None else {}

    def _margin(self) -> tuple[int, int]:
        """Text rows above and columns before the picture, for marks."""
        if not self._flags or self.units is None:
            return 0, 0
        return (0, 2) if self.units.down else (1, 0)

    def _pixels(self) -> tuple[int, int]:
        """Rows and columns of pixels that fit."""
        above, before = self._margin()
        width, height = self.content_size.width - before, self.content_size.height - above
        if width < 1 or height < 1:
            return 0, 0
        return (height * 2, width) if drawing_of(self.app) is Drawing.COLOUR else (height, width // 2)

    def _lay_out(self) -> None:
        self._rows = []
        height, width = self._pixels()
        if self.matrix is not None and height and width:
            values = strongest(self.matrix.values, height, width)
            levels = normalised(values, self.matrix.limit)
            down = min(height // levels.shape[0], MOST_ENLARGED)
            right = min(width // levels.shape[1], MOST_ENLARGED)
            down, right = _even(max(down, 1), max(right, 1))
            large = levels.repeat(down, axis=0).repeat(right, axis=1)
            drawing = drawing_of(self.app)
            self._rows = draw_levels(large, diverging(large), 1, drawing, self._style("values"))
            if self._flags:
                cells = (down / 2, right) if drawing is Drawing.COLOUR else (down, right * 2)
                self._add_marks(levels.shape, cells)
        self.refresh()

    def _add_marks(self, pixels: tuple[int, int], cells: tuple[float, float]) -> None:
        """Put letters before rows or over columns; of several that share a place, the selected or the first."""
        assert self.units is not None
        assert self.matrix is not None
        axis = 0 if self.units.down else 1
        count, extent = self.matrix.shape[axis], pixels[axis]
        marks: dict[int, Segment] = {}
        for index, flag in self._flags.items():
            at = int((((index + 1) * extent - 1) // count) * cells[axis] + max(cells[axis] - 1, 0) / 2)
            if at not in marks or index == self.selected:
                style = self._style(flag.tone)
                marks[at] = Segment(flag.sign, style + Style(reverse=True) if index == self.selected else style)
        blank = Segment(" ")
        if self.units.down:
            self._rows = [[marks.get(y, blank), blank, *row] for y, row in enumerate(self._rows)]
        else:
            self._rows.insert(0, [marks.get(x, blank) for x in range(max(marks) + 1)])

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"matrix-view--{name}", partial=True)

    def on_resize(self, event: events.Resize) -> None:
        self._lay_out()
        self.post_message(Fitted())

    def notify_style_update(self) -> None:
        """Another theme: drawn anew."""
        super().notify_style_update()
        if self.is_mounted:
            self._lay_out()

    def render_line(self, y: int) -> Strip:
        row = self._rows[y] if y < len(self._rows) else []
        return Strip(row).adjust_cell_length(self.size.width).apply_style(self.rich_style)

    # ------------------------------------------------------------------ keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Slices are offered where there are several, marked units where there are some."""
        if action == "slice":
            return self.slices is not None
        return bool(self._flags) if action == "flagged" else True

    def on_key(self, event: events.Key) -> None:
        """A key of the filters that can do nothing here says why."""
        brackets = event.key in ("left_square_bracket", "right_square_bracket")
        if event.key == "z" or (brackets and self.slices is None):
            event.stop()
            say(self, "one scale only" if event.key == "z" else "one slice only")

    def action_slice(self, step: int) -> None:
        """Show the next slice; after the last, the first."""
        if self.slices is not None:
            self.place = (self.place + step) % self.slices.count
            self.matrix = self.slices.at(self.place)
            self._lay_out()
            self.post_message(Fitted())

    def action_flagged(self, step: int) -> None:
        """Go to the next marked unit; with none left the key is the screen's."""
        ahead = [index for index in self._flags if self.selected is None or (index - self.selected) * step > 0]
        if not ahead:
            raise SkipAction()
        self.selected = ahead[0] if step > 0 else ahead[-1]
        self._lay_out()
        self.post_message(Fitted())


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
        self.count = 0
        self._rows: list[Row] = []

    def show(self, vector: npt.NDArray[Any] | None, count: int | None = None) -> None:
        """Draw this vector; `count`: how many values it had before it was reduced."""
        self.vector = np.zeros(0, dtype=np.float32) if vector is None else vector
        self.limit = layer_limit(self.vector)
        self.count = self.vector.size if count is None else count
        self._lay_out()

    def words(self) -> str:
        """How many values there are, and how many a column stands for."""
        count, width = self.count, max(self.content_size.width, 1)
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
