"""A run over time in terminal cells: which column stands for which saves, sparklines, the axis, curves. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor, isfinite, isnan, nan

from ckptui.core.curves import aligned, importance
from ckptui.core.model import Found, Scalars
from ckptui.core.text import step_text
from ckptui.ui.timeline_rows import BROKEN, FIRST, SAME, UNREAD, UNTOLD, Course, Measure, Track, finite_span

BLOCKS, PLAIN_BLOCKS = "▁▂▃▄▅▆▇", ".:-=+*#"
"""No full block: rows would run into each other."""
BARS_APART = 3
"""Columns a save takes from which the last of them stays free."""
MOST_EACH = 4
"""Columns one save takes at most."""
GAP = 2
LAST = 8
NAME_LEAST, NAME_USUAL, NAME_MOST = 10, 20, 30
AXIS_LEAST = 8

OTHER = 3
"""What `importance` gives curves that are no loss and no learning rate."""

Cell = tuple[str, str]
"""One character and the name of its style."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Saves along columns: several columns a save, one, or several saves a column."""

    saves: int
    width: int
    each: int
    """Columns a save takes; 1 where several share one."""

    @property
    def binned(self) -> bool:
        """Do several saves share a column?"""
        return self.saves > self.width

    def column_of(self, place: float) -> int:
        """The first column of a save; between saves of a fractional place."""
        if self.binned:
            return min(floor(place * self.width / self.saves), self.width - 1)
        return min(floor(place * self.each), self.width - 1)

    def places_at(self, column: int) -> range:
        """The saves that share a column."""
        if self.binned:
            first, end = (ceil(c * self.saves / self.width) for c in (column, column + 1))
            return range(first, end)
        return range(column // self.each, column // self.each + 1)


def scale_for(saves: int, room: int) -> Scale:
    """As many columns a save as there is room for, at most `MOST_EACH`."""
    room = max(room, 1)
    if not saves:
        return Scale(0, 0, 1)
    if saves > room:
        return Scale(saves, room, 1)
    each = min(room // saves, MOST_EACH)
    return Scale(saves, saves * each, each)


@dataclass(frozen=True, slots=True)
class Fit:
    """Widths of the columns: name, the saves, the last change and the state (0 for one left out)."""

    name: int
    scale: Scale
    last: int
    state: int


def fit(width: int, saves: int, names: int, state: int) -> Fit:
    """What fits `width` whole. A column that does not is dropped: the last change first, the state at the end.

    `names`, `state`: cells they want.
    """
    wanted = min(max(names, NAME_LEAST), NAME_MOST)
    enough = max(min(saves, 3 * AXIS_LEAST), AXIS_LEAST + GAP) + GAP
    for last, states in ((LAST, state), (0, state), (0, 0)):
        rest = width - 2 - (last + GAP if last else 0) - (states + GAP if states else 0)
        # names of usual length are whole before the saves of a long run get more than a few columns
        name = max(min(wanted, rest - enough), min(wanted, NAME_USUAL, rest - 2 * AXIS_LEAST - 1), NAME_LEAST)
        axis = rest - name - 1
        if axis >= min(enough - GAP, AXIS_LEAST if not last else 2 * AXIS_LEAST) or not states:
            scale = scale_for(saves, axis)
            spare = max(axis - max(scale.width, AXIS_LEAST), 0)
            return Fit(min(name + spare, wanted), scale, last, states)
    raise AssertionError("unreachable")


# ------------------------------------------------------------------ sparklines


def spark(course: Course, track: Track, measure: Measure, scale: Scale, *, plain: bool) -> list[Cell]:
    """One cell a column; of saves that share one, the worst: not finite, unreadable, else the largest."""
    height = _heights(track, measure)
    blocks = PLAIN_BLOCKS if plain else BLOCKS
    first = track.first(BROKEN)
    cells: list[Cell] = []
    for column in range(scale.width):
        if scale.each >= BARS_APART and (column + 1) % scale.each == 0:
            cells.append((" ", ""))
            continue
        places = scale.places_at(column)
        states = [track.told[place] for place in places]
        if BROKEN in states:
            opening = first in places and (scale.binned or column % scale.each == 0)
            cells.append(("!", "first" if opening else "error"))
        elif UNREAD in states:
            cells.append(("×", "error"))
        elif not any(states):
            cells.append((" ", ""))
        else:
            cells.append(_level_cell(track, places, height, blocks, measure))
    return cells


def _level_cell(track: Track, places: range, height: Callable[[int], float], blocks: str, measure: Measure) -> Cell:
    event = next((track.events[place] for place in places if place in track.events), "")
    grey = "dim" if track.flag is not None and track.never_changed else "accent"
    style = event if event in ("error", "warning") else grey
    heights = [h for h in (height(place) for place in places) if not isnan(h)]
    if not heights:
        return ("─" if any(track.told[p] == FIRST for p in places) else " ", "dim")
    largest = max(heights)
    if largest <= 0 and measure != "norm":
        return ("·", style if event else "dim")
    return (blocks[min(max(ceil(largest * len(blocks)) - 1, 0), len(blocks) - 1)], style)


def _heights(track: Track, measure: Measure) -> Callable[[int], float]:
    """The height of a save's bar as a share of the row's highest; nan where it has none."""
    if measure == "non-finite":
        count = max(track.count, 1)
        return lambda place: track.nonfinite[place] / count if track.told[place] != UNTOLD else nan
    if measure == "norm":
        span = finite_span(track.norm)
        if span is None:
            return lambda place: nan
        low, high = span
        if high <= low:
            return lambda place: nan if isnan(track.norm[place]) else 0.5
        return lambda place: (track.norm[place] - low) / (high - low)
    top = (finite_span(track.change) or (0.0, 0.0))[1]

    def change(place: int) -> float:
        value = track.change[place]
        if isnan(value) and track.told[place] == SAME:
            return 0.0
        return value if isnan(value) else min(value / top, 1.0) if top > 0 else 0.0

    return change


# ------------------------------------------------------------------ the axis


def labels(course: Course, scale: Scale, width: int) -> tuple[str, list[int]]:
    """Steps above the saves, as many as stand apart, and the columns they stand over; first and last if they fit."""
    line = [" "] * width
    ticks: list[int] = []
    count = len(course)
    places = [p for p in (0, count - 1, *range(count)) if 0 <= p < count]
    for place in dict.fromkeys(places):
        step = course.step(place)
        text = step_text(step) if step is not None else course.label(place)
        column = scale.column_of(place)
        start = min(column, max(width - len(text), 0))
        end = start + len(text)
        if end <= width and all(char == " " for char in line[max(start - GAP, 0) : end + GAP]):
            line[start:end] = text
            ticks.append(column)
    return "".join(line), ticks


def axis(
    course: Course, scale: Scale, ticks: Sequence[int], cursor: int, mark: int | None, *, plain: bool
) -> list[Cell]:
    """The line of the saves: unread ones dotted, `!` where values are not finite, `×` for one that can't be read.

    `▲` where the run did something worth a word: it jumped, or went back.
    """
    cells: list[Cell] = []
    for column in range(scale.width):
        places = scale.places_at(column)
        told = [course.told[place] for place in places]
        opening = scale.binned or column % scale.each == 0
        if mark in places and opening:
            cells.append(("A", "pick cursor" if cursor in places else "pick"))
        elif cursor in places and opening:
            cells.append(("▼", "accent strong"))
        elif 2 in told:
            cells.append(("×", "error"))
        elif any(course.broken[place] for place in places):
            cells.append(("!", "error"))
        elif opening and any(place in course.events for place in places):
            cells.append(("▲", "warning"))
        elif 0 in told:
            cells.append(("." if plain else "┈", "dim"))
        else:
            cells.append(("┴" if column in ticks else "─", "dim"))
    return cells


# ------------------------------------------------------------------ curves of event files


def placed(curve: Scalars, saves: Sequence[Found]) -> list[tuple[float, float]]:
    """A curve's points at fractional places among the saves; those beyond the axis are left out.

    Which of its steps belong to which save is for `aligned` to say; between those, places go with the steps.
    """
    told = aligned(replace(curve, values=tuple(map(float, curve.steps))), saves)
    anchors: list[tuple[float, int]] = []
    for place, step in enumerate(told):
        if step is not None and (not anchors or step > anchors[-1][0]):
            anchors.append((step, place))
    if not anchors:
        return []
    points = ((_place_of(step, anchors), value) for step, value in zip(curve.steps, curve.values, strict=True))
    return [(place, value) for place, value in points if -0.5 <= place <= len(saves) - 0.5]


def _place_of(step: float, anchors: Sequence[tuple[float, int]]) -> float:
    """Between the saves around it in proportion; outside them by the nearest interval."""
    if len(anchors) == 1:
        return float(anchors[0][1]) if step == anchors[0][0] else nan
    after = min(max(bisect_right(anchors, (step, len(anchors))), 1), len(anchors) - 1)
    (start, first), (end, second) = anchors[after - 1], anchors[after]
    return first + (step - start) / (end - start) * (second - first)


def curve_rows(points: Sequence[tuple[float, float]], scale: Scale, height: int, *, plain: bool) -> list[list[Cell]]:
    """A curve in `height` rows of braille (`*` where it is `plain`), `!` where a value is not finite."""
    across, down = (1, 1) if plain else (2, 4)
    columns, rows = scale.width * across, height * down
    sums: dict[int, list[float]] = {}
    broken: set[int] = set()
    for place, value in points:
        middle = (place + 0.5) * (scale.width / scale.saves) * across
        column = min(max(floor(middle), 0), columns - 1)
        if isfinite(value):
            sums.setdefault(column, []).append(value)
        else:
            broken.add(column // across)
    heights = _dots({column: sum(v) / len(v) for column, v in sums.items()}, columns, rows)
    cells: list[list[Cell]] = [[(" ", "")] * scale.width for _ in range(height)]
    bits = [[0] * scale.width for _ in range(height)]
    for column, (low, high) in heights.items():
        for dot in range(low, high + 1):
            bits[height - 1 - dot // down][column // across] |= 1 if plain else _BRAILLE[column % 2][3 - dot % 4]
    for y, line in enumerate(bits):
        for x, bit in enumerate(line):
            if bit:
                cells[y][x] = ("*" if plain else chr(0x2800 + bit), "accent")
    for x in broken:
        cells[height - 1][x] = ("!", "error")
    return cells


_BRAILLE = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Bits of a braille sign's dots: left column from above, right column from above (Unicode block 2800)."""


def _dots(values: dict[int, float], columns: int, rows: int) -> dict[int, tuple[int, int]]:
    """From which dot to which each column is drawn, counted from below; columns between points join them."""
    if not values:
        return {}
    low, high = min(values.values()), max(values.values())
    spread = high - low
    dots = {c: round((v - low) / spread * (rows - 1)) if spread > 0 else rows // 2 for c, v in values.items()}
    drawn: dict[int, tuple[int, int]] = {}
    before: int | None = None
    for column in sorted(dots):
        if before is None:
            drawn[column] = (dots[column], dots[column])
        else:
            for between in range(before + 1, column + 1):
                ends = [
                    dots[before] + (dots[column] - dots[before]) * (c - before) / (column - before)
                    for c in (between - 1, between)
                ]
                start, end = round(ends[0]), round(ends[1])
                start += (end > start) - (end < start)
                drawn[between] = (min(start, end), max(start, end))
        before = column
    return drawn


def chosen_curves(curves: Sequence[Scalars]) -> list[Scalars]:
    """Those worth a place: losses and the learning rate, the most telling first; of equal ones the first."""
    chosen = sorted((curve for curve in curves if curve.steps and importance(curve)[0] < OTHER), key=importance)
    first = {(curve.steps, curve.values): curve for curve in reversed(chosen)}
    return [curve for curve in chosen if first[curve.steps, curve.values] is curve]
