"""The tensors of a save: 100,000 rows as easily as ten, the worst on top, statistics filling in behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import ClassVar

from textual import work
from textual.message import Message

from ckptui.core.model import Tensor, TensorScan
from ckptui.core.text import human_bytes, human_count, safe, shape_text
from ckptui.ui.fitting import left
from ckptui.ui.tensor_rows import (
    SORTS,
    Flag,
    RowsQuery,
    TensorRows,
    TensorSource,
    build_rows,
)
from ckptui.ui.widgets.row_list import Piece, RowList
from ckptui.ui.widgets.tensor_columns import (
    DTYPE_MAX,
    GAP,
    NAME_MAX,
    Column,
    Wants,
    cell_text,
    choose_columns,
    fold_text,
    padded,
)

SAMPLE = 500
"""Names that tell how wide the name column wants to be."""
FOLD_COUNT = 6
"""Cells for the number of a fold's members."""


class TensorTable(RowList):
    """Rows of one listing, after filter, sort and folds."""

    HEAD_LINES: ClassVar[int] = 1

    class Highlighted(Message):
        """The cursor is on another tensor; None on a fold or in an empty table."""

        def __init__(self, tensor: Tensor | None) -> None:
            super().__init__()
            self.tensor = tensor

    class Entered(Message):
        """Enter on a tensor."""

    class RowsChanged(Message):
        """Other rows are shown: after a filter, a sort, or another save."""

    class _Built(Message):
        def __init__(self, rows: TensorRows, keep: int | None) -> None:
            super().__init__()
            self.rows = rows
            self.keep = keep

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._source: TensorSource | None = None
        self._rows: TensorRows | None = None
        self._scans: Mapping[str, TensorScan] = {}
        self._flags: Mapping[str, Flag] = {}
        self._wants = Wants(NAME_MAX, 5, 5)
        self._inside_folds: frozenset[int] = frozenset()
        self._fitted: tuple[int, Wants, list[Column]] | None = None
        self.query_now = RowsQuery()

    # ------------------------------------------------------------------ content

    def show(self, first: TensorRows | None, scans: Mapping[str, TensorScan], flags: Mapping[str, Flag]) -> None:
        """Show a listing by its `first` rows; `scans` and `flags` are read at every drawing, as they fill."""
        self._source, self._scans, self._flags = first.source if first is not None else None, scans, flags
        self.query_now = replace(self.query_now, text="", unfolded=frozenset())
        self.moved_by_user = False
        self._take(first, None)
        if first is None:
            return
        source = first.source
        places = range(len(source))
        sample = [*islice((i for i in places if i not in source.fold_of), SAMPLE)] or places[:SAMPLE]
        names = max((len(source.shown_name(i, stored=False)) for i in sample), default=0)
        shapes = max((len(shape_text(source.tensor(i).shape)) for i in sample), default=0)
        dtypes = max((len(source.tensor(i).dtype) for i in sample), default=0)
        self._wants = Wants(min(names, NAME_MAX), shapes, self._state_width(), max(5, min(dtypes, DTYPE_MAX)))
        if self.query_now != first.query or (flags and not source.huge):
            self._rebuild()

    def learn(self, *, fresh: bool) -> None:
        """Draw new statistics; with `fresh` flags also sort anew, the cursor staying with its tensor."""
        if fresh:
            self._wants = replace(self._wants, state=self._state_width())
            self._rebuild()
        else:
            self.refresh()

    def _state_width(self) -> int:
        return max((len(flag.words) for flag in self._flags.values()), default=5)

    def ask(self, query: RowsQuery) -> None:
        """Filter, sort or fold otherwise."""
        if query != self.query_now:
            self.query_now = query
            self._rebuild()

    def _rebuild(self) -> None:
        if self._source is None:
            return
        keep = self._place if self.moved_by_user else None
        if self._source.huge:
            self._build_behind(self._source, self.query_now, dict(self._flags), keep)
        else:
            self._take(build_rows(self._source, self.query_now, self._flags), keep)

    @work(thread=True, exclusive=True, exit_on_error=False, group="rows", description="sorting")
    def _build_behind(
        self, source: TensorSource, query: RowsQuery, flags: Mapping[str, Flag], keep: int | None
    ) -> None:
        self.post_message(self._Built(build_rows(source, query, flags), keep))

    def on_tensor_table__built(self, message: _Built) -> None:
        """Rows made in a thread; those of an older question are dropped."""
        if message.rows.source is self._source and message.rows.query == self.query_now:
            self._take(message.rows, message.keep)

    def _take(self, rows: TensorRows | None, keep: int | None) -> None:
        self._rows = rows
        open_folds = [f for f in rows.folds if f.key in rows.query.unfolded] if rows is not None else []
        self._inside_folds = frozenset(place for fold in open_folds for place in fold.members)
        row = rows.row_of(keep) if rows is not None and keep is not None else None
        before = self.cursor
        self.rows_changed(row if row is not None else (None if self.moved_by_user else 0))
        if self.cursor == before:
            self.post_message(self.Highlighted(self.tensor))
        self.post_message(self.RowsChanged())

    # ------------------------------------------------------------------ what stands where

    @property
    def rows(self) -> TensorRows | None:
        """What is shown now."""
        return self._rows

    @property
    def _place(self) -> int | None:
        rows = self._rows
        if rows is None or self.cursor >= len(rows):
            return None
        place = rows.order[self.cursor]
        return place if place >= 0 else None

    @property
    def tensor(self) -> Tensor | None:
        """The tensor under the cursor."""
        place = self._place
        return self._source.tensor(place) if self._source is not None and place is not None else None

    def tensor_named(self, name: str) -> Tensor | None:
        """The tensor of that name, shown or not."""
        if self._source is None or name not in self._source.names:
            return None
        return self._source.tensor(self._source.names.index(name))

    def visible_names(self) -> list[str]:
        """Names of the tensors on the screen, those to be scanned first."""
        if self._rows is None:
            return []
        places = self._rows.order[self.first_visible : self.first_visible + self.page]
        return [self._rows.source.names[place] for place in places if place >= 0]

    def jump_to(self, name: str) -> bool:
        """Put the cursor on a tensor, taking back filter and folds that hide it; False if there is none."""
        if self._source is None or self._rows is None or name not in self._source.names:
            return False
        place = self._source.names.index(name)
        row = self._rows.row_of(place)
        if row is None:
            fold = self._source.fold_of.get(place)
            unfolded = self.query_now.unfolded | ({fold} if fold else set())
            self.query_now = replace(self.query_now, text="", unfolded=unfolded)
            self._take(build_rows(self._source, self.query_now, self._flags), place)
            row = self._rows.row_of(place)
        if row is not None:
            self.move_to(row)
        return row is not None

    def next_flagged(self, step: int, start: int | None = None) -> bool:
        """Go to the next flagged row in the direction of `step`; False if there is none on that side."""
        rows = self._rows
        if rows is None:
            return False
        index = (self.cursor if start is None else start) + step
        while 0 <= index < len(rows):
            place = rows.order[index]
            flag = self._flags.get(rows.source.names[place]) if place >= 0 else None
            if flag is not None and flag.severity != "info":
                self.move_to(index)
                return True
            index += step
        return False

    # ------------------------------------------------------------------ rows

    def row_count(self) -> int:
        return len(self._rows) if self._rows is not None else 0

    def columns(self, width: int) -> list[Column]:
        """The columns that fit."""
        if self._fitted is None or self._fitted[:2] != (width, self._wants):
            self._fitted = (width, self._wants, choose_columns(width, self._wants))
        return self._fitted[2]

    def head_pieces(self, line: int, width: int) -> Sequence[Piece]:
        pieces: list[Piece] = [(" ", "")]
        for column in self.columns(width):
            pieces += [(padded(column.head, column), "head"), (" " * GAP, "")]
        return pieces[:-1]

    def row_pieces(self, index: int, width: int) -> Sequence[Piece]:
        rows = self._rows
        assert rows is not None
        place = rows.order[index]
        if place < 0:
            return self._fold_pieces(index, width)
        source = rows.source
        tensor = source.tensor(place)
        scan = self._scans.get(tensor.name)
        flag = self._flags.get(tensor.name)
        if flag is None and tensor.problem:
            flag = Flag("error", "unreadable")
        pieces: list[Piece] = [self.cursor_cell(index)]
        for column in self.columns(width):
            if column.id == "name":
                pieces.append(self._name_piece(index, place, column, flag))
                continue
            pieces.append((" " * GAP, ""))
            if column.id == "state":
                words, style = (flag.words, flag.severity) if flag is not None else ("", "")
                pieces.append((left(words, column.width), style if style != "info" else "dim"))
                continue
            text = cell_text(column.id, tensor, scan)
            bad = text in ("nan", "inf", "−inf")
            pieces.append((padded(text, column), "error" if bad else "" if column.id == "shape" else "dim"))
        return pieces

    def _name_piece(self, index: int, place: int, column: Column, flag: Flag | None) -> Piece:
        rows = self._rows
        assert rows is not None
        folded = place in self._inside_folds
        name = safe(rows.source.shown_name(place, stored=self.query_now.stored_names))
        style = "strong" if index == self.cursor else "dim" if place in rows.source.fold_of else ""
        return left(("  " if folded else "") + name, column.width), style

    def _fold_pieces(self, index: int, width: int) -> Sequence[Piece]:
        assert self._rows is not None
        fold = self._rows.fold_at(index)
        assert fold is not None
        sign = "▾" if fold.key in self.query_now.unfolded else "▸"
        count = human_count(len(fold.members)).rjust(FOLD_COUNT)
        size = ""
        if not self._rows.source.huge:
            size = human_bytes(sum(self._rows.source.tensor(i).bytes for i in fold.members))
        text = fold_text(f"{sign} {fold.label}", count, fold.unit, size, width - 1)
        return [self.cursor_cell(index), (left(text, width - 1), "strong" if index == self.cursor else "dim")]

    # ------------------------------------------------------------------ cursor, folds, order

    def watch_cursor(self, old: int, new: int) -> None:
        super().watch_cursor(old, new)
        self.post_message(self.Highlighted(self.tensor))

    def action_choose(self) -> None:
        fold = self._rows.fold_at(self.cursor) if self._rows is not None and len(self._rows) else None
        if fold is not None:
            self.moved_by_user = True
            self.ask(replace(self.query_now, unfolded=self.query_now.unfolded ^ {fold.key}))
        elif self.tensor is not None:
            self.post_message(self.Entered())

    def filter(self, text: str) -> None:
        """Show the tensors whose name holds `text` or matches it as a regular expression."""
        if self.query_now.text and not text:
            # who looked for a tensor stays on it when all rows come back
            self.moved_by_user = True
        self.ask(replace(self.query_now, text=text))

    def next_sort(self) -> None:
        """Sort by the next of the orders."""
        place = SORTS.index(self.query_now.sort)
        self.ask(replace(self.query_now, sort=SORTS[(place + 1) % len(SORTS)]))
