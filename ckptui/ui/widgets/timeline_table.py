"""The tensors of a run over its saves: axis and curves pinned above, a sparkline a row, the worst on top."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from rich.style import Style
from textual import events
from textual.message import Message

from ckptui.core.model import Scalars
from ckptui.core.text import human_count, number_text, safe
from ckptui.ui.fitting import fit_name, left, right
from ckptui.ui.timeline_cells import (
    GAP,
    Cell,
    Fit,
    axis,
    chosen_curves,
    curve_rows,
    fit,
    labels,
    placed,
    spark,
)
from ckptui.ui.timeline_rows import MEASURE_WORDS, MEASURES, SORTS, Course, CourseQuery, CourseRows, Track
from ckptui.ui.timeline_rows import arrange as arranged
from ckptui.ui.widgets.row_list import Piece, RowList

SAMPLE = 500
"""Names that tell how wide their column wants to be."""
STATE_LEAST, STATE_MOST = 5, 22
NAME_WANTED = 20
TALL, TALLEST = 20, 34
"""Lines from which curves are three lines high, and from which there are three of them."""


class TimelineTable(RowList):
    """Rows under one cursor, saves under another: up and down go through tensors, left and right through saves."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"row-list--first", "row-list--pick", "row-list--here"}

    class Highlighted(Message):
        """The row cursor is on another tensor; None on a fold or without rows."""

        def __init__(self, track: Track | None) -> None:
            super().__init__()
            self.track = track

    class AxisMoved(Message):
        """The axis cursor is on another save."""

    class SaveEntered(Message):
        """Enter on the save under the axis cursor."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.course: Course | None = None
        self.rows = CourseRows()
        self.query_now = CourseQuery()
        self.place = 0
        """The save under the axis cursor."""
        self.mark: int | None = None
        """The save that is A."""
        self.axis_moved = False
        """The user has moved the axis cursor; until then it stays on the newest save told."""
        self._curves: list[tuple[Scalars, list[tuple[float, float]]]] = []
        self._aligned: tuple[object, ...] | None = None
        self._drawn: dict[tuple[object, ...], list[list[Cell]]] = {}
        self._wants = (NAME_WANTED, STATE_LEAST)
        self._fitted: tuple[tuple[object, ...], Fit] | None = None

    # ------------------------------------------------------------------ content

    def show(self, course: Course | None, place: int = 0, mark: int | None = None) -> None:
        """Show a run as far as it is told, the axis cursor on a save."""
        before = self.course
        self.course = course
        if before is None or course is None or before.run.path != course.run.path:
            self.query_now = replace(self.query_now, unfolded=frozenset())
            self.moved_by_user = self.axis_moved = False
            self.rows = CourseRows()
            self._wants = (NAME_WANTED, STATE_LEAST)
        self.place, self.mark = place, mark
        self._curves, self._aligned = [], None
        self.scroll_to(y=0, animate=False, force=True) if not self.moved_by_user else None
        self.grew()

    def grew(self) -> None:
        """More of the run is told: sort anew, the cursor staying with its tensor once the user has moved it."""
        track = self.track
        self._arrange(track.row.name if track is not None and self.moved_by_user else None)

    def _arrange(self, keep: str | None) -> None:
        course = self.course
        self.rows = arranged(course, self.query_now) if course is not None else CourseRows()
        if course is not None:
            names = max((len(t.name) for t in course.tracks[:SAMPLE] if t.row.role != "slot"), default=0)
            flags = (course.tracks[place].flag for place in self.rows.order if place >= 0)
            states = max((len(flag.words) for flag in flags if flag is not None), default=0)
            # columns only grow, so that nothing jumps to and fro while a timeline fills
            self._wants = (names, max(min(states, STATE_MOST), self._wants[1]))
        self._align_curves()
        places = self.rows.order
        tracks = course.tracks if course is not None else []
        row = next((n for n, i in enumerate(places) if i >= 0 and tracks[i].row.name == keep), None) if keep else None
        before = self.cursor
        self.rows_changed(row if row is not None else (None if self.moved_by_user else 0))
        if self.cursor == before:
            self.post_message(self.Highlighted(self.track))

    def _align_curves(self) -> None:
        course = self.course
        if course is None:
            return
        key = (course.scalars, tuple(map(course.step, range(len(course)))))
        if key == self._aligned:
            return
        self._aligned, self._drawn = key, {}
        saves = course.with_steps()
        chosen = [(curve, placed(curve, saves)) for curve in chosen_curves(course.scalars)]
        self._curves = [(curve, points) for curve, points in chosen if points]

    def ask(self, query: CourseQuery) -> None:
        """Sort, fold or measure otherwise."""
        track = self.track
        fold = self.rows.fold_at(self.cursor) if self.rows.order else None
        resorted = query.sort != self.query_now.sort
        self.query_now = query
        self._arrange(track.row.name if track is not None and not resorted else None)
        if resorted:
            # what was sorted for is on top
            self.rows_changed(0)
            self.scroll_to(y=0, animate=False, force=True)
            return
        if fold is not None and fold in self.rows.folds:
            self.cursor = self.rows.order.index(-1 - self.rows.folds.index(fold))

    @property
    def track(self) -> Track | None:
        """The tensor under the row cursor."""
        place = self.rows.order[self.cursor] if self.cursor < len(self.rows.order) else -1
        return self.course.tracks[place] if self.course is not None and place >= 0 else None

    def pick(self, mark: int | None) -> None:
        """Another save is A."""
        self.mark = mark
        self.refresh()

    # ------------------------------------------------------------------ the pinned lines

    @property
    def curve_height(self) -> int:
        """Lines of one curve."""
        return 3 if self.size.height >= TALL else 2

    @property
    def curves(self) -> list[tuple[Scalars, list[tuple[float, float]]]]:
        """The curves there is room for."""
        return self._curves[: 3 if self.size.height >= TALLEST else 2 if self.size.height >= TALL else 1]

    @property
    def head_lines(self) -> int:
        """Steps, axis, curves, column heads."""
        return 3 + len(self.curves) * self.curve_height if self.course is not None else 0

    def fit(self, width: int) -> Fit:
        """The columns for this width."""
        saves = len(self.course) if self.course is not None else 0
        key = (width, saves, self._wants)
        if self._fitted is None or self._fitted[0] != key:
            self._fitted = (key, fit(width, saves, *self._wants))
        return self._fitted[1]

    def head_pieces(self, line: int, width: int) -> Sequence[Piece]:
        course = self.course
        assert course is not None
        columns = self.fit(width)
        margin = 1 + columns.name + 1
        text, ticks = labels(course, columns.scale, width - margin)
        if line == 0:
            return [(left(" step", margin), "head"), (text, "head")]
        if line == 1:
            cells = axis(course, columns.scale, ticks, self.place, self.mark, plain=self.plain)
            return [(" " * margin, ""), *joined(cells), ("  " + self._save_words(width - margin - len(cells)), "dim")]
        if line == self.head_lines - 1:
            return [(self._head_words(columns), "head")]
        number, part = divmod(line - 2, self.curve_height)
        curve, points = self.curves[number]
        rows = self._curve_rows(number, columns)
        return [
            (self._curve_label(curve, points, part, margin), "dim"),
            *joined(self._ruled(rows[part], columns)),
            ("  " + self._value_here(points) if part == 0 else "", ""),
        ]

    def _curve_rows(self, number: int, columns: Fit) -> list[list[Cell]]:
        """A curve as it was drawn for this width before."""
        key = (number, columns.scale, self.curve_height, self.plain)
        if key not in self._drawn:
            points = self._curves[number][1]
            self._drawn[key] = curve_rows(points, columns.scale, self.curve_height, plain=self.plain)
        return self._drawn[key]

    def _save_words(self, room: int) -> str:
        """The save under the axis cursor, in what room there is beside the axis."""
        assert self.course is not None
        words = self.course.label(self.place, max(room - GAP, 0))
        return words if room > GAP + 3 else ""

    def _head_words(self, columns: Fit) -> str:
        measure = MEASURE_WORDS[self.query_now.measure]
        room = columns.scale.width + 1
        if len(measure) > room:
            measure = self.query_now.measure if len(self.query_now.measure) <= room else ""
        words = " " + left("name", columns.name) + " " + left(measure, room)
        if columns.last:
            words += " " + right("last Δ", columns.last)
        return words + (" " * (GAP if columns.last else 1) + left("state", columns.state) if columns.state else "")

    def _curve_label(self, curve: Scalars, points: Sequence[tuple[float, float]], part: int, width: int) -> str:
        """Its name above, its smallest and largest value at the foot and the top of the curve."""
        values = [v for _, v in points if v - v == 0]
        top, foot = part == 0, part == self.curve_height - 1
        number = number_text(max(values) if top else min(values), 3) if values and (top or foot) else ""
        room = width - len(number) - 3
        words = fit_name(safe(f"{curve.source}/{curve.tag}" if curve.source else curve.tag), room) if top else ""
        return " " + left(words, max(room, 0)) + " " + number + " "

    def _value_here(self, points: Sequence[tuple[float, float]]) -> str:
        """The curve's value nearest to the save under the axis cursor."""
        nearest = min(points, key=lambda point: abs(point[0] - self.place))
        return number_text(nearest[1], 4) if abs(nearest[0] - self.place) <= 1 else ""

    @property
    def plain(self) -> bool:
        """Only ASCII can be drawn."""
        return bool(getattr(self.app, "ascii_only", False))

    # ------------------------------------------------------------------ rows

    def row_count(self) -> int:
        return len(self.rows.order)

    def row_pieces(self, index: int, width: int) -> Sequence[Piece]:
        place = self.rows.order[index]
        assert self.course is not None
        columns = self.fit(width)
        if place < 0:
            return self._fold_pieces(index, width)
        track = self.course.tracks[place]
        grey = track.never_changed and track.flag is not None
        name = ("  " if place in self.rows.inside else "") + safe(track.name)
        style = "strong" if index == self.cursor else "dim" if grey else ""
        pieces: list[Piece] = [self.cursor_cell(index), (left(fit_name(name, columns.name), columns.name), style)]
        cells = spark(self.course, track, self.query_now.measure, columns.scale, plain=self.plain)
        pieces += [(" ", ""), *joined(self._ruled(cells, columns))]
        if columns.last:
            pieces.append((" " * GAP + right(change_words(track), columns.last), "dim" if grey else ""))
        if columns.state:
            flag = track.flag
            tone = "dim" if flag is None or flag.severity == "info" else flag.severity
            pieces.append((" " * GAP + left(flag.words if flag is not None else "", columns.state), tone))
        return pieces

    def _ruled(self, cells: Sequence[Cell], columns: Fit) -> list[Cell]:
        """The column of the save under the axis cursor stands out."""
        first = columns.scale.column_of(self.place)
        here = range(first, first + columns.scale.each)
        return [
            (char, f"{'strong' if style == 'accent' else style} here" if x in here else style)
            for x, (char, style) in enumerate(cells)
        ]

    def _fold_pieces(self, index: int, width: int) -> Sequence[Piece]:
        fold = self.rows.fold_at(index)
        assert fold is not None
        sign = "▾" if fold.key in self.query_now.unfolded else "▸"
        text = f"{sign} {fold.key}  {human_count(len(fold.members))}"
        return [self.cursor_cell(index), (left(text, width - 1), "strong" if index == self.cursor else "dim")]

    def style_of(self, name: str) -> Style:
        """Names of several styles, apart by blanks, are one over the other."""
        first, _, rest = name.partition(" ")
        style = super().style_of(first)
        return style + self.style_of(rest) if rest else style

    # ------------------------------------------------------------------ cursors and order

    def watch_cursor(self, old: int, new: int) -> None:
        super().watch_cursor(old, new)
        self.post_message(self.Highlighted(self.track))

    def go_to(self, place: int) -> None:
        """Put the axis cursor on a save."""
        count = len(self.course) if self.course is not None else 0
        place = max(0, min(place, count - 1))
        if place != self.place:
            self.place = place
            self.refresh()
            self.post_message(self.AxisMoved())

    def action_go_left(self) -> None:
        self._walk(-1)

    def action_go_right(self) -> None:
        self._walk(1)

    def _walk(self, step: int) -> None:
        self.axis_moved = True
        self.go_to(self.place + step)

    def action_choose(self) -> None:
        fold = self.rows.fold_at(self.cursor) if self.rows.order else None
        if fold is not None:
            self.moved_by_user = True
            self.ask(replace(self.query_now, unfolded=self.query_now.unfolded ^ {fold.key}))
        elif self.course is not None:
            self.post_message(self.SaveEntered())

    def next_sort(self) -> None:
        """Sort by the next of the orders."""
        place = SORTS.index(self.query_now.sort)
        self.ask(replace(self.query_now, sort=SORTS[(place + 1) % len(SORTS)]))

    def next_measure(self) -> None:
        """Draw the next of change, norm, values not finite."""
        place = MEASURES.index(self.query_now.measure)
        self.ask(replace(self.query_now, measure=MEASURES[(place + 1) % len(MEASURES)]))

    def next_flagged(self, step: int) -> bool:
        """Go to the next row with a warning or an error, round the table; False if there is none."""
        if self.course is None:
            return False
        order = self.rows.order
        count = len(order)
        for away in range(1, count + 1):
            index = (self.cursor + step * away) % count
            flag = self.course.tracks[order[index]].flag if order[index] >= 0 else None
            if flag is not None and flag.severity != "info":
                self.move_to(index)
                return True
        return False

    def on_click(self, event: events.Click) -> None:
        """A click above the rows goes to the save there, a second one opens it."""
        if self.course is None or event.y >= self.head_lines:
            return super().on_click(event)
        columns = self.fit(self.scrollable_content_region.width)
        column = event.x - (2 + columns.name)
        if 0 <= column < columns.scale.width:
            self.axis_moved = True
            place = columns.scale.places_at(column)[0]
            if place == self.place and event.chain > 1:
                self.post_message(self.SaveEntered())
            self.go_to(place)
        return None


def joined(cells: Sequence[Cell]) -> list[Piece]:
    """Neighbours of one style as one piece."""
    pieces: list[Piece] = []
    for char, style in cells:
        if pieces and pieces[-1][1] == style:
            pieces[-1] = (pieces[-1][0] + char, style)
        else:
            pieces.append((char, style))
    return pieces


def change_words(track: Track) -> str:
    """The relative change of its newest save, in few columns; a dash where there is nothing to compare."""
    # numpy comes with it; whoever draws this has it
    from ckptui.ui.diff_rows import change_text

    value = track.relative[track.last] if track.last >= 0 else None
    return change_text(None if value is None or value != value else value)
