"""One tensor over the saves of its run: what it is, what the save under the axis cursor says, a heat map of values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from ckptui.core.model import Histogram
from ckptui.core.text import human_count, number_text, safe, shape_text
from ckptui.ui.commands import bindings_for
from ckptui.ui.fitting import fit_middle, fit_name, left, right, wrap
from ckptui.ui.timeline_cells import Scale, labels, scale_for
from ckptui.ui.timeline_rows import SAME, Course, Track, point_words

SHADES, PLAIN_SHADES = " ░▒▓█", " .:*#"
LABEL = 9
LEAST_HEAT = 4
DETAIL_LINES = 4
"""Lines of what is said of the save under the axis cursor."""


class HeatOverSaves(Widget, can_focus=True):
    """Saves across, values from large to small down, shade for how many of a save's values lie there."""

    COMMAND_SCOPE = "history"
    BINDINGS = bindings_for("history")
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "heat--above",
        "heat--below",
        "heat--zero",
        "heat--dim",
        "heat--strong",
        "heat--error",
        "heat--warning",
        "heat--pick",
        "heat--here",
    }
    DEFAULT_CSS = """
    HeatOverSaves {
        height: 1fr;
        & > .heat--above { color: $primary; }
        & > .heat--below { color: $mark; }
        & > .heat--zero { color: $dim; }
        & > .heat--dim { color: $dim; }
        & > .heat--strong { text-style: bold; }
        & > .heat--error { color: $error; text-style: bold; }
        & > .heat--warning { color: $warning; }
        & > .heat--pick { color: $mark; text-style: bold; }
        & > .heat--here { color: $primary; text-style: bold; }
    }
    """

    class Walked(Message):
        """The keys of the timeline's cursors: another save, or another tensor."""

        def __init__(self, *, save: int = 0, tensor: str = "") -> None:
            super().__init__()
            self.save = save
            self.tensor = tensor

    class Left(Message):
        """Back to the timeline."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.course: Course | None = None
        self.track: Track | None = None
        self.place = 0
        self.mark: int | None = None
        self.histograms: Sequence[Histogram | None] = ()
        self.words = ""
        """Why there is no heat map, or that it is being read."""
        self._rows: list[list[Segment]] = []

    # ------------------------------------------------------------------ content

    def show(self, course: Course | None, track: Track | None, place: int, mark: int | None) -> None:
        """Say what is known of a tensor; the heat map of another one goes."""
        if course is not self.course or track is not self.track:
            self.histograms, self.words = (), ""
        self.course, self.track, self.place, self.mark = course, track, place, mark
        self._lay_out()

    def learn(self, histograms: Sequence[Histogram | None], words: str = "") -> None:
        """The histograms of the tensor on show, one a save, or why there are none."""
        self.histograms, self.words = histograms, words
        self._lay_out()

    def on_resize(self, event: events.Resize) -> None:
        self._lay_out()

    def notify_style_update(self) -> None:
        """Another theme: drawn anew."""
        super().notify_style_update()
        if self.is_mounted:
            self._lay_out()

    # ------------------------------------------------------------------ keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Without a run there is nowhere to go."""
        return self.course is not None if action in ("save", "tensor") else True

    def action_save(self, step: int) -> None:
        self.post_message(self.Walked(save=step))

    def action_tensor(self, where: str) -> None:
        self.post_message(self.Walked(tensor=where))

    def action_back(self) -> None:
        self.post_message(self.Left())

    # ------------------------------------------------------------------ drawing

    def _lay_out(self) -> None:
        width, height = self.content_size
        self._rows = []
        if self.course is not None and self.track is not None and width > LABEL + 1:
            facts = self._facts(width)
            self._rows = facts + self._heat(width, height - len(facts))
        elif width:
            words = "A row's values over the saves are shown here." if self.course is not None else ""
            self._rows = [[Segment(line, self._style("dim"))] for line in wrap(words, width)]
        self.refresh()

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"heat--{name}", partial=True)

    def _facts(self, width: int) -> list[list[Segment]]:
        """Name, shape, state, and what the save under the axis cursor says."""
        course, track = self.course, self.track
        assert course is not None
        assert track is not None
        lines = [[Segment(fit_name(safe(track.name), width), self._style("strong"))]]
        shape = f"{shape_text(track.row.shape)}  {safe(track.row.dtype)}"
        lines.append([Segment(fit_middle(shape, width), self._style("dim"))])
        flag = track.flag
        if flag is not None:
            style = self._style(flag.severity if flag.severity != "info" else "dim")
            lines.append([Segment(fit_middle(flag.words, width), style)])
        for finding in [f for f in track.findings if self.place not in course.events or f.code == "never-changed"][:2]:
            lines += [[Segment(line)] for line in wrap(safe(finding.title, 300), width)[:3]]
        lines.append([Segment("")])
        lines.append([Segment(fit_middle(course.label(self.place, width), width), self._style("here"))])
        norm, change = track.norm[self.place], track.change[self.place]
        words = f"norm {number_text(norm)}" if norm == norm else ""
        if change == change and track.told[self.place] != SAME:
            words += f"  change {number_text(change, 3)}"
        lines += [[Segment(line)] for line in wrap(words, width) if line]
        more = point_words(course, track, self.place)
        lines += [[Segment(line, self._style("dim"))] for line in wrap(more, width) if line]
        for finding in course.events.get(self.place, ()):
            style = self._style(finding.severity if finding.severity != "info" else "dim")
            lines += [[Segment(line, style)] for line in wrap(safe(finding.title, 200), width)[:2]]
            lines += [[Segment(line)] for line in wrap(safe(finding.detail, 400), width)[:DETAIL_LINES] if line]
        lines.append([Segment("")])
        return lines

    def _heat(self, width: int, height: int) -> list[list[Segment]]:
        assert self.course is not None
        known = [h for h in self.histograms if h is not None and any(h.counts)]
        if not known or height < LEAST_HEAT + 2:
            words = self.words or ("no finite values" if self.histograms else "")
            return [[Segment(line, self._style("dim"))] for line in wrap(words, width)] if words else []
        low, high = known[0].low, known[0].high
        scale = scale_for(len(self.course), width - LABEL - 1)
        bins = len(known[0].counts)
        rows = max(min(height - 3, bins), LEAST_HEAT)
        heat = [self._column(scale, x, rows) for x in range(scale.width)]
        top = max((v for column in heat if column is not None for v in column), default=0.0)
        zero = int(high / (high - low) * rows) if low < 0 < high else -1
        lines = [self._head(scale)]
        for y in range(rows):
            lines.append(self._line(heat, y, rows, zero, top, low, high))
        text, _ = labels(self.course, scale, width - LABEL - 1)
        lines.append([Segment(" " * (LABEL + 1) + text, self._style("dim"))])
        notes = f"{human_count(rows)} ranges of values ↓  saves →"
        if scale.binned:
            notes += f"  {human_count(scale.saves)} saves in {human_count(scale.width)} columns"
        lines += [[Segment(line, self._style("dim"))] for line in wrap(notes, width)[: height - len(lines)]]
        return lines

    def _column(self, scale: Scale, x: int, rows: int) -> list[float] | None:
        """The share of a save's values in each of `rows` ranges, largest values first; None where it has none.

        Of saves that share a column the newest that was read.
        """
        for place in reversed(scale.places_at(x)):
            histogram = self.histograms[place] if place < len(self.histograms) else None
            if histogram is None or not any(histogram.counts):
                continue
            total = sum(histogram.counts)
            bins = len(histogram.counts)
            column = [0.0] * rows
            for n, count in enumerate(histogram.counts):
                column[rows - 1 - n * rows // bins] += count / total
            return column
        return None

    def _head(self, scale: Scale) -> list[Segment]:
        """Over the columns: where the axis cursor and A are, and which saves have values that are not finite."""
        cells: list[Segment] = []
        for x in range(scale.width):
            places = scale.places_at(x)
            opening = scale.binned or x % scale.each == 0
            outside = any(
                (h := self.histograms[p]) is not None and h.outside for p in places if p < len(self.histograms)
            )
            if self.mark in places and opening:
                cells.append(Segment("A", self._style("pick")))
            elif self.place in places and opening:
                cells.append(Segment("▼", self._style("here")))
            elif outside:
                cells.append(Segment("!", self._style("error")))
            else:
                cells.append(Segment(" "))
        return [Segment(" " * (LABEL + 1)), *cells]

    def _line(
        self, heat: Sequence[list[float] | None], y: int, rows: int, zero: int, top: float, low: float, high: float
    ) -> list[Segment]:
        """One range of values over the saves, its edge labelled at both ends and at zero."""
        edge = high if y == 0 else low if y == rows - 1 else None
        label = number_text(edge, 3) if edge is not None else "0" if y == zero else ""
        shades = PLAIN_SHADES if getattr(self.app, "ascii_only", False) else SHADES
        ink = self._style("zero" if y == zero else "above" if y < zero or (zero < 0 and high > 0) else "below")
        cells: list[Segment] = [Segment(right(label, LABEL), self._style("dim"))]
        cells.append(Segment("┼" if y == zero else "│", self._style("dim")))
        text = ""
        for column in heat:
            share = column[y] / top if column is not None and top > 0 else 0.0
            # the square root, so that thin tails can be told from nothing
            step = 0 if share <= 0 else min(int(share**0.5 * (len(shades) - 1)) + 1, len(shades) - 1)
            text += ("┄" if y == zero else " ") if not step else shades[step]
        cells.append(Segment(left(text, len(heat)), ink))
        return cells

    def render_line(self, y: int) -> Strip:
        row = self._rows[y] if y < len(self._rows) else []
        return Strip(row).adjust_cell_length(self.size.width).apply_style(self.rich_style)
