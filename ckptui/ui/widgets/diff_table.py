"""The table of a diff: pairs by how far they are apart, identical ones under one row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ckptui.core.model import Pair
from ckptui.core.text import human_count, number_text, safe
from ckptui.ui.diff_rows import (
    FOLD_WORDS,
    IDENTICAL,
    STATUS_STYLES,
    STATUS_WORDS,
    DiffRows,
    change_text,
    share,
)
from ckptui.ui.fitting import fit_middle, fit_name, left, right
from ckptui.ui.widgets.cells import bar, drawing_of
from ckptui.ui.widgets.row_list import Piece, RowList

LEAST_NAME, WANTED_NAME, STATUS, BAR, CHANGE, COSINE, LARGEST = 20, 36, 11, 10, 8, 9, 9


@dataclass(frozen=True, slots=True)
class Columns:
    """Widths of the columns that fit; 0 for those left out."""

    name: int
    status: int
    bar: int
    change: int
    cosine: int
    largest: int


def columns_for(width: int, *, told: bool = True, longest: int = 0) -> Columns:
    """Drop whole columns until the name has room: cosine, then the largest change, then the bar.

    `told`: there is a status worth a column of its own; `longest`: characters of the longest name.
    """
    status = {"status": STATUS} if told else {}
    wanted = {**status, "change": CHANGE, "bar": BAR, "largest": LARGEST, "cosine": COSINE}
    chosen: dict[str, int] = {}
    room = width - 2
    for name, size in wanted.items():
        least = LEAST_NAME if name in ("status", "change", "bar") else max(LEAST_NAME, min(longest, WANTED_NAME))
        if room - size - 2 >= least:
            room -= size + 2
            chosen[name] = size
    sizes = {name: chosen.get(name, 0) for name in ("status", "change", "bar", "largest", "cosine")}
    return Columns(name=max(room, 1), **sizes)


class DiffTable(RowList):
    """Draws the rows on screen; 100,000 cost no more than a few."""

    HEAD_LINES = 1

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.rows = DiffRows(())

    @property
    def pair(self) -> Pair | None:
        """The pair under the cursor; None on the fold and without rows."""
        place = self.rows.order[self.cursor] if self.cursor < len(self.rows.order) else IDENTICAL
        return self.rows.pairs[place] if place >= 0 else None

    @property
    def fold(self) -> int | None:
        """The fold under the cursor, if it is one."""
        place = self.rows.order[self.cursor] if self.cursor < len(self.rows.order) else 0
        return place if place < 0 else None

    def show(self, rows: DiffRows) -> None:
        """Show these rows; the cursor stays with its pair once the user has moved it."""
        before = self.pair
        self.rows = rows
        cursor = 0
        if self.moved_by_user and before is not None:
            places = (n for n, i in enumerate(rows.order) if i >= 0 and rows.pairs[i] is before)
            cursor = next(places, min(self.cursor, max(len(rows.order) - 1, 0)))
        self.rows_changed(cursor)

    def row_count(self) -> int:
        return len(self.rows.order)

    def _columns(self, width: int) -> Columns:
        # that all rows have changed needs no column: the names have a use for its room
        shown = self.rows.present if self.rows.status is None else ()
        return columns_for(width, told=any(s not in ("changed", "identical") for s in shown), longest=self.rows.longest)

    def head_pieces(self, line: int, width: int) -> Sequence[Piece]:
        columns = self._columns(width)
        words = " " + left("name", columns.name)
        for text, size in (("", columns.bar), ("change", columns.change), ("largest", columns.largest)):
            words += "  " + right(text, size) if size else ""
        words += "  " + right("cosine", columns.cosine) if columns.cosine else ""
        words += "  " + left("status", columns.status) if columns.status else ""
        return [(words, "head")]

    def row_pieces(self, index: int, width: int) -> Sequence[Piece]:
        place = self.rows.order[index]
        if place < 0:
            return self._fold_pieces(index, place)
        pair = self.rows.pairs[place]
        columns = self._columns(width)
        style = STATUS_STYLES[pair.status]
        name_style = "dim" if pair.status == "identical" else "strong" if index == self.cursor else ""
        pieces: list[Piece] = [self.cursor_cell(index)]
        pieces.append((left(fit_name(safe(self.rows.name(pair)), columns.name), columns.name), name_style))
        if pair.relative_l2 is None and pair.detail:
            room = sum(size + 2 for size in (columns.bar, columns.change, columns.largest, columns.cosine) if size)
            pieces.append(("  " + left(fit_middle(safe(pair.detail), max(room - 2, 0)), max(room - 2, 0)), "dim"))
        else:
            pieces += self._number_pieces(pair, columns)
        if columns.status:
            pieces.append(("  " + left(STATUS_WORDS[pair.status], columns.status), style or "dim"))
        return pieces

    def _number_pieces(self, pair: Pair, columns: Columns) -> list[Piece]:
        pieces: list[Piece] = []
        if columns.bar:
            length = share(pair.relative_l2, self.rows.largest)
            pieces.append(("  " + bar(length, columns.bar, drawing_of(self.app)), "accent"))
        if columns.change:
            style = "dim" if pair.status == "identical" else ""
            pieces.append(("  " + right(change_text(pair.relative_l2), columns.change), style))
        if columns.largest:
            pieces.append(("  " + right(number_text(pair.max_abs, 3), columns.largest), "dim"))
        if columns.cosine:
            pieces.append(("  " + right(number_text(pair.cosine, 5), columns.cosine), "dim"))
        return pieces

    def _fold_pieces(self, index: int, fold: int) -> Sequence[Piece]:
        count = self.rows.folded.get(fold, 0)
        sign = "▾" if fold in self.rows.unfolded else "▸"
        return [self.cursor_cell(index), (f"{sign} {human_count(count)} {FOLD_WORDS[fold]}", "dim")]
