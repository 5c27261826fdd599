"""Causes as cards under a cursor, what was ruled out and what could not be asked in folds below."""

from __future__ import annotations

from collections.abc import Sequence

from ckptui.core.causes import Cause, Symptom, WhyReport
from ckptui.ui.why_rows import Entry, Fold, Line, Piece, lines_of
from ckptui.ui.widgets.row_list import RowList

WAITING = Line((("  Causes are ranked once every check has spoken", "dim"),))
GAVE_UP = Line((("  No causes: the checks did not come to an end", "dim"),))


class WhyList(RowList):
    """Lines of the answer; the cursor goes from card to card."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.report: WhyReport | None = None
        self.symptom: Symptom | None = None
        self.unfolded: frozenset[Fold] = frozenset()
        self._lines: list[Line] = []
        self._nothing = WAITING
        """What stands here while there is no answer."""

    # ------------------------------------------------------------------ what is shown

    def show(
        self,
        report: WhyReport | None,
        symptom: Symptom | None,
        keep: Entry | None = None,
        unfolded: frozenset[Fold] | None = None,
    ) -> None:
        """The causes of that symptom, the cursor on the first, or on `keep`."""
        self.report, self.symptom = report, symptom
        self.unfolded = self.unfolded if unfolded is None else unfolded
        self._nothing = WAITING
        self._arrange(keep)

    def give_up(self) -> None:
        """No answer comes any more."""
        self._nothing = GAVE_UP
        self._arrange(self.entry)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What Enter does is the screen's: it knows where a cause leads."""
        return action != "choose"

    def toggle(self, fold: Fold) -> None:
        """Open or close a fold."""
        self.unfolded ^= {fold}
        self._arrange(fold)
        self.screen.refresh_bindings()
        if fold in self.unfolded and self.cursor - self.first_visible > self.page // 2:
            # what came out is to be seen
            self.scroll_to(y=self.cursor, animate=False, force=True)

    @property
    def entry(self) -> Entry | None:
        """What the cursor stands on."""
        return self._lines[self.cursor].entry if 0 <= self.cursor < len(self._lines) else None

    @property
    def cause(self) -> Cause | None:
        """The cause under the cursor."""
        return self.entry if isinstance(self.entry, Cause) else None

    def _arrange(self, keep: Entry | None) -> None:
        """Lines for the width there is; the cursor stays on `keep`."""
        width = self.scrollable_content_region.width
        report = self.report
        self._lines = [self._nothing] if report is None else lines_of(report, self.symptom, self.unfolded, width)
        heads = [place for place, line in enumerate(self._lines) if line.head]
        kept = [place for place in heads if keep is not None and self._lines[place].entry == keep]
        self.rows_changed((kept or heads or [0])[0])
        if not kept:
            self.scroll_to(y=0, animate=False, force=True)

    def on_resize(self) -> None:
        """Other lines; the cursor stays on its card."""
        self._arrange(self.entry)

    # ------------------------------------------------------------------ rows

    def row_count(self) -> int:
        return len(self._lines)

    def selectable(self, index: int) -> bool:
        return self._lines[index].head

    def row_pieces(self, index: int, width: int) -> Sequence[Piece]:
        line = self._lines[index]
        here = line.head and index == self.cursor and self.has_focus
        if not here or not line.pieces:
            return line.pieces
        (text, style), *rest = line.pieces
        return [self.cursor_cell(index), (text[1:], style), *rest]

    def _show_cursor(self) -> None:
        """The whole card, where it fits."""
        last = self.cursor
        while (
            last + 1 < len(self._lines) and self._lines[last + 1].entry is not None and not self._lines[last + 1].head
        ):
            last += 1
        top, page = self.first_visible, self.page
        if self.cursor < top or last - self.cursor >= page:
            # what comes before the first card is not to be lost above it
            first = (
                0 if self.cursor < page and not any(line.head for line in self._lines[: self.cursor]) else self.cursor
            )
            self.scroll_to(y=first, animate=False, force=True)
        elif last >= top + page:
            self.scroll_to(y=last - page + 1, animate=False, force=True)

    def action_move(self, where: str) -> None:
        """From card to card; where a card is longer than the screen, down it first."""
        step = {"down": 1, "up": -1}.get(where)
        heads = [place for place, line in enumerate(self._lines) if line.head]
        if step is None or not heads:
            super().action_move(where)
            return
        further = [place for place in heads if (place > self.cursor if step > 0 else place < self.cursor)]
        following = (further[0] if step > 0 else further[-1]) if further else None
        top, page = self.first_visible, self.page
        end = len(self._lines) if following is None else following
        if step > 0 and end > top + page and (following is None or following - self.cursor > page):
            self.scroll_to(y=min(top + page - 1, len(self._lines) - page), animate=False, force=True)
        elif following is not None:
            self.move_to(following, step)
        elif step < 0:
            self.scroll_to(y=0, animate=False, force=True)
