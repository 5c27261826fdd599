"""What becomes of each tensor of a damaged save: the lost ones first."""

from __future__ import annotations

from collections.abc import Sequence

from ckptui.core.salvage import OUTCOMES, Outcome, SalvageItem
from ckptui.core.text import safe
from ckptui.ui.fitting import left, shown
from ckptui.ui.naming import without_tail
from ckptui.ui.widgets.row_list import Piece, RowList

STYLES: dict[Outcome, str] = {
    "recovered": "ok",
    "repaired": "ok",
    "repairable": "warning",
    "unverified": "warning",
    "lost": "error",
}
_ORDER: tuple[Outcome, ...] = ("lost", "repairable", "unverified", "repaired", "recovered")
_WORD = max(map(len, OUTCOMES))


ROOM_FOR_REASONS = 90
"""Columns from which a row has room for the reason too; the one under the cursor is told in full elsewhere."""


class SalvageList(RowList):
    """One row per tensor: its outcome, its name, and why it is not simply recovered."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.items: list[SalvageItem] = []

    def show(self, items: Sequence[SalvageItem]) -> None:
        """Show these, what did not come back first, each kind in the order of the save."""
        self.items = sorted(items, key=lambda item: _ORDER.index(item.outcome))
        self.rows_changed(0)

    @property
    def item(self) -> SalvageItem | None:
        """The tensor under the cursor."""
        return self.items[self.cursor] if self.cursor < len(self.items) else None

    def row_count(self) -> int:
        return len(self.items)

    def row_pieces(self, index: int, width: int) -> Sequence[Piece]:
        item = self.items[index]
        room = max(0, width - _WORD - 4)
        reason = safe(item.reason) if width >= ROOM_FOR_REASONS else ""
        name_room = room if not reason else min(room, max(16, room * 2 // 5))
        pieces: list[Piece] = [
            self.cursor_cell(index),
            (left(item.outcome, _WORD) + "  ", STYLES[item.outcome]),
            (
                left(shown(without_tail(item.name), name_room), name_room) + "  ",
                "strong" if index == self.cursor else "",
            ),
        ]
        if reason and room - name_room > 8:
            pieces.append((shown(reason, room - name_room - 2), "dim"))
        return pieces
