"""The picture of a tensor under its words: what was found, the scale, and filters, heat map, bars or values."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

import numpy as np
from rich.cells import cell_len
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget

from ckptui.core.colours import diverging
from ckptui.core.pictures import scale_ends
from ckptui.core.text import number_text
from ckptui.ui.fitting import TIE, fit_middle, tied, wrap
from ckptui.ui.widgets.cells import Drawing, drawing_of, shade
from ckptui.ui.widgets.filter_grid import FilterGrid
from ckptui.ui.widgets.matrix_view import BarLine, Fitted, MatrixView
from ckptui.ui.widgets.reflow import Words, wrapped
from ckptui.ui.widgets.subject import Line, Subject

RAMP_COLUMNS, SHORT_RAMP = 15, 9
IN_WORDS = (("↔", "left-right"), ("↕", "up-down"), ("↻", "turned"), ("⤡", "transposed"))
"""Flips, where there are no signs for them."""
CLIPPED = ", largest "
"""Stands between the ends of a scale and the largest of the values beyond it."""
NARROW = 42
"""Below this width the scale is a short one."""
FLIP = re.compile("([↔↕↻⤡]|left-right|up-down|turned|transposed) ")
"""What stays on one line with its number."""
SELECTED_LINES = 2
"""For the words about the selected filter, on a narrow pane."""
WIDE = 64
"""From this width two lines of words share one."""


class Gallery(Vertical):
    """Draws one subject at a time."""

    DEFAULT_CSS = """
    Gallery {
        height: 1fr;
        & > Static { height: auto; }
        & > #gallery-scale { margin-bottom: 1; }
        & > #gallery-values { height: 1fr; min-height: 3; }
        & > FilterGrid { height: 1fr; min-height: 5; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.subject: Subject | None = None
        self._summary: tuple[Line, ...] = ()

    def compose(self) -> ComposeResult:
        yield Words(id="gallery-summary")
        yield Words(id="gallery-scale")
        yield FilterGrid(id="gallery-filters")
        yield MatrixView(id="gallery-matrix")
        yield BarLine(id="gallery-bars")
        with VerticalScroll(id="gallery-values"):
            yield Words(id="gallery-text")

    def on_mount(self) -> None:
        self.show(None)

    @property
    def grid(self) -> FilterGrid:
        """The grid of filters, whether there are any or not."""
        return self.query_one(FilterGrid)

    @property
    def focus_target(self) -> Widget:
        """What takes keys of what is shown."""
        matrix = self.query_one(MatrixView)
        return self.grid if self.grid.display else matrix if matrix.display else self.query_one("#gallery-values")

    def show(self, subject: Subject | None, summary: tuple[Line, ...] | None = None) -> None:
        """Draw this subject; `summary` takes the place of its own."""
        self.subject = subject
        plan = subject.plan if subject else "nothing"
        self.grid.display = self.grid.can_focus = plan == "filters"
        matrix, bars = self.query_one(MatrixView), self.query_one(BarLine)
        matrix.display, bars.display = plan == "matrix", plan == "bars"
        text = subject.text if subject and plan in ("values", "nothing") else ""
        values = self.query_one("#gallery-values")
        values.display = values.can_focus = bool(text)
        self.query_one("#gallery-text", Words).say(Content(text))
        self.grid.show(subject.pictures if subject else None)
        if subject is None:
            matrix.show(None)
            bars.show(None)
        else:
            matrix.show(subject.matrix, subject.slices, subject.units)
            bars.show(subject.vector, subject.values)
        self.summarise(summary if summary is not None else subject.summary if subject else ())
        self.call_after_refresh(self._show_scale)

    def learn(self, subject: Subject) -> None:
        """The same values, about which more is known: nothing moves but the words."""
        self.subject = subject
        if subject.matrix is not None:
            self.query_one(MatrixView).mark(subject.units)
        elif subject.pictures is not None:
            self.grid.renew()
        self.summarise(subject.summary)
        self._show_scale()

    def summarise(self, lines: tuple[Line, ...]) -> None:
        """Say what was found, in words."""
        self._summary = lines
        words = self.query_one("#gallery-summary", Words)
        words.display = bool(lines)
        width = self.content_size.width
        told = [Content.assemble(*line) for line in lines]
        if width >= WIDE:
            told = [Content.styled("  ·  ", "$dim").join(told)]
        words.say(Content("\n").join(part for line in told for part in wrapped(line, width)))

    def on_filter_grid_changed(self, event: FilterGrid.Changed) -> None:
        event.stop()
        self._show_scale()

    def on_fitted(self, event: Fitted) -> None:
        event.stop()
        self._show_scale()

    def on_resize(self) -> None:
        self.summarise(self._summary)
        self.call_after_refresh(self._show_scale)

    def _show_scale(self) -> None:
        """The scale with its two ends, and what the pixels are."""
        if not self.content_size.width:
            # told again as soon as there is room
            return
        scale = self.query_one("#gallery-scale", Words)
        subject = self.subject
        lines: list[Content] = []
        if subject is not None and subject.pictures is not None:
            lines = self._filter_words()
        elif subject is not None and subject.matrix is not None:
            matrix, ends = self.query_one(MatrixView), scale_ends(subject.matrix.limit, subject.matrix.largest)
            lines = self._scale_lines(ends, matrix.words(), matrix.reduced())
            if matrix.selected is not None and matrix.units is not None:
                lines += self._selected_lines(matrix.units.describe(matrix.selected))
        elif subject is not None and subject.vector is not None:
            bars = self.query_one(BarLine)
            lines = [self._dim(f"±{number_text(bars.limit, 2)} · {bars.words()}")]
        scale.display = bool(lines)
        scale.say(Content("\n").join(lines))

    def _filter_words(self) -> list[Content]:
        grid = self.grid
        assert grid.pictures is not None
        look, pictures = grid.look, grid.pictures
        count, sight = pictures.count, grid.in_sight
        shown = f"{sight} of {count} shown" if sight < count else f"all {count} shown"
        words = [pictures.view_words(look.view)]
        if look.order != "index":
            words.append(f"by {look.order}")
        lines = self._scale_lines(pictures.scale_words(look.view, look.per_filter), words, shown)
        if grid.has_focus and grid.selected is not None:
            # as many lines for every filter: the grid must not jump while one moves through it
            most = 1 if self.content_size.width >= WIDE else SELECTED_LINES
            told = self._selected_lines(pictures.describe(grid.selected), most)
            lines += [*told, *[Content("")] * (most - len(told))]
        return lines

    def _selected_lines(self, parts: Sequence[str], most: int = SELECTED_LINES) -> list[Content]:
        """What there is to say about the selected filter, on so many lines; what can wait is left out."""
        width = max(self.content_size.width, 1)
        if drawing_of(self.app) is Drawing.ASCII:
            parts = [functools.reduce(lambda text, named: text.replace(*named), IN_WORDS, part) for part in parts]
        parts = [FLIP.sub(lambda found: f"{found[1]}{TIE}", part) for part in parts]
        if most == 1 and len(parts) > 2 and cell_len(" · ".join(parts)) > width:
            # the norm can wait: flips are what one line is short of
            parts = [parts[0], *parts[2:]]
        told = wrap(" · ".join(tied(part) if cell_len(part) <= width else part for part in parts), width)
        told = told[:most]
        return [Content.styled(line.removeprefix("· ").removesuffix(" ·"), "$foreground") for line in told]

    def _dim(self, text: str) -> Content:
        return Content.styled(fit_middle(text, max(self.content_size.width, 1)), "$dim")

    def _scale_lines(self, ends: str, words: Sequence[str], shown: str) -> list[Content]:
        """The colour scale, what its ends mean, what is drawn, and at the right how much is on screen."""
        width = self.content_size.width
        ramp = ramp_content(drawing_of(self.app), RAMP_COLUMNS if width >= NARROW else SHORT_RAMP)
        room = width - ramp.cell_length - 2
        together = "  ·  ".join((ends, *words))
        lines: list[Content] = []
        if cell_len(ends) > room and CLIPPED in ends:
            ends, _, clipped = ends.partition(CLIPPED)
            words = [f"{CLIPPED.removeprefix(', ')}{clipped}", *words]
        if cell_len(together) + cell_len(shown) + 2 > room:
            # without the last word it may go onto one line
            brief = shown.removesuffix(" shown")
            shown = brief if cell_len(together) + cell_len(brief) + 2 <= room else shown
        if cell_len(together) + cell_len(shown) + 2 <= room:
            ends = together
        else:
            if cell_len(ends) + cell_len(shown) + 2 > room:
                words, shown = [*words, shown], ""
            whole = " · ".join(words)
            lines += [self._dim(line) for line in ([whole] if cell_len(whole) <= width else words)]
        gap = max(room - cell_len(ends) - cell_len(shown), 2)
        return [Content.assemble(ramp, "  ", (ends, "$dim"), " " * gap, (shown, "$foreground")), *lines]


def ramp_content(drawing: Drawing, columns: int = RAMP_COLUMNS) -> Content:
    """The scale from below to above zero, in colours or in shades."""
    levels = np.linspace(-1, 1, columns, dtype=np.float32)
    if drawing is Drawing.COLOUR:
        return Content.assemble(*((" ", f"on #{pixel:06x}") for pixel in diverging(levels).tolist()))
    return Content("".join(shade(float(level), drawing) for level in levels[::2]))
