"""The saves below the paths: runs, lone saves, other folders, each with a badge at the right."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from textual.geometry import Size
from textual.message import Message

from ckptui.core.report import SIGNS
from ckptui.core.text import safe
from ckptui.ui.fitting import shown
from ckptui.ui.ledger import Badge, Ledger, SaveRecord
from ckptui.ui.tree_rows import TreeRow, build_tree
from ckptui.ui.widgets.row_list import Piece, RowList

SPINNER = "◜◠◝◞◡◟"
REMOVED = "removed"
"""Beside a save that went while it is on show."""


BADGE_ROOM = 12
"""Columns for what stands around a name: fold sign, badge and its count, the scroll bar."""


COUNT_ROOM = 4
"""Columns for the number of saves behind a folder's name."""


class SaveTree(RowList):
    """Tells which save, folder or notice the cursor is on; folders open and close in place."""

    class Highlighted(Message):
        """The cursor is on another row; `row` is None when there is none."""

        def __init__(self, row: TreeRow | None) -> None:
            super().__init__()
            self.row = row

    class Entered(Message):
        """Enter on a save."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._ledger = Ledger()
        self._root = ""
        self._rows: list[TreeRow] = []
        self._toggled: set[str] = set()
        self._frame = 0

    def on_mount(self) -> None:
        self._spin = self.set_interval(0.12, self._turn, pause=True)

    # ------------------------------------------------------------------ content

    def show(self, ledger: Ledger, root: str, *, select: str | None = None) -> None:
        """Show what is known; the cursor stays with its row, or goes to the save `select`."""
        before = self.row
        self._ledger, self._root = ledger, root
        self._rebuild(select or (before.key if before else None))
        if before is None and self.row is not None:
            self.post_message(self.Highlighted(self.row))

    def forget_toggles(self) -> None:
        """Folders back to their defaults, for another path."""
        self._toggled.clear()
        self.moved_by_user = False

    def badges_changed(self) -> None:
        """Some save has another badge."""
        self._spin_if_busy()
        self.refresh()

    def _rebuild(self, key: str | None) -> None:
        self._rows = build_tree(self._ledger, self._root, self._toggled)
        place = next((i for i, row in enumerate(self._rows) if row.key == key), None)
        if place is None and key in self._ledger.saves:
            found = self._ledger.saves[key].found
            self._toggled ^= {found.run or found.folder}
            self._rows = build_tree(self._ledger, self._root, self._toggled)
            place = next((i for i, row in enumerate(self._rows) if row.key == key), None)
        self.rows_changed(place)
        self.refresh(layout=True)
        self._spin_if_busy()

    def get_content_width(self, container: Size, viewport: Size) -> int:
        """Columns that show every name whole, its badge beside it."""
        return (
            max((2 * row.depth + cell_len(safe(row.label)) for row in self._rows), default=0) + BADGE_ROOM + COUNT_ROOM
        )

    @property
    def rows(self) -> Sequence[TreeRow]:
        """What is shown now."""
        return self._rows

    @property
    def row(self) -> TreeRow | None:
        """The row under the cursor."""
        return self._rows[self.cursor] if self.cursor < len(self._rows) else None

    def select(self, path: str) -> None:
        """Put the cursor on a save, opening its folder if need be."""
        self._rebuild(path)

    def saves_in_order(self) -> list[str]:
        """Paths of all saves as the tree orders them, in closed folders too."""
        everything = {row.key for row in self._rows if row.kind == "folder" and not row.open}
        rows = build_tree(self._ledger, self._root, self._toggled ^ everything)
        return [row.key for row in rows if row.kind == "save"]

    # ------------------------------------------------------------------ rows

    def row_count(self) -> int:
        return len(self._rows)

    def row_pieces(self, index: int, width: int) -> Sequence[Piece]:
        row = self._rows[index]
        badge, style = self._badge(row)
        indent = "  " * row.depth
        sign = "" if row.kind != "folder" else "▾ " if row.open else "▸ "
        count = f" ({row.count})" if row.kind == "folder" else ""
        room = max(1, width - 1 - len(indent) - len(sign) - len(count) - len(badge) - 2)
        name = shown(row.label, room)
        name_style = (
            "dim"
            if row.kind == "notice" or badge == REMOVED
            else "strong"
            if index == self.cursor or row.is_run
            else ""
        )
        return [
            self.cursor_cell(index),
            (indent + sign, "dim"),
            (name, name_style),
            (count + " " * (room - cell_len(name)), "dim"),
            (f" {badge} ", style),
        ]

    def _badge(self, row: TreeRow) -> tuple[str, str]:
        if row.kind == "notice":
            severity = row.finding.severity if row.finding else "info"
            return SIGNS[severity], severity if severity != "info" else "dim"
        if row.kind == "save":
            record = self._ledger.saves[row.key]
            return (REMOVED, "dim") if record.gone else self._badge_text(record.badge)
        run = self._ledger.runs.get(row.key)
        findings = list(self._ledger.findings_of_run(run)) if run else []
        members = self._members(row.key)
        for record in members:
            findings += record.findings
        unopened = sum(record.phase == "failed" and not record.counts["error"] for record in members)
        for severity in ("error", "warning"):
            count = sum(f.severity == severity for f in findings) + (unopened if severity == "error" else 0)
            if count:
                return f"{SIGNS[severity]} {count}", severity
        return "", "dim"

    def cursor_cell(self, index: int) -> Piece:
        """The bar stays, thinner, beside the save on show while other panes have the keys."""
        if index == self.cursor and not self.has_focus:
            return ("▎", "accent")
        return super().cursor_cell(index)

    def _members(self, folder: str) -> list[SaveRecord]:
        return [r for r in self._ledger.saves.values() if (r.found.run or r.found.folder) == folder]

    def _badge_text(self, badge: Badge) -> tuple[str, str]:
        if badge.kind == "busy":
            return SPINNER[self._frame % len(SPINNER)], "accent"
        if badge.kind in ("error", "warning"):
            return f"{SIGNS[badge.kind]} {badge.count}", badge.kind
        if badge.kind == "ok":
            return SIGNS["ok"], "ok"
        return ("●" if badge.kind == "read" else SIGNS["unchecked"]), "dim"

    # ------------------------------------------------------------------ folders and cursor

    def watch_cursor(self, old: int, new: int) -> None:
        super().watch_cursor(old, new)
        self.post_message(self.Highlighted(self.row))

    def _show_cursor(self) -> None:
        """The name of its folder too, where that stands right above."""
        above = self.cursor - 1
        if 0 <= above < min(self.first_visible, len(self._rows)) and self._rows[above].kind == "folder":
            self.scroll_to(y=above, animate=False, force=True)
        else:
            super()._show_cursor()

    def action_choose(self) -> None:
        row = self.row
        if row is None:
            return
        if row.kind == "folder":
            self._toggle(row.key)
        else:
            self.post_message(self.Entered())

    def action_go_left(self) -> None:
        row = self.row
        if row is None:
            return
        if row.kind == "folder" and row.open:
            self._toggle(row.key)
        elif row.depth:
            self.move_to(max(i for i in range(self.cursor) if self._rows[i].kind == "folder"))

    def action_go_right(self) -> None:
        row = self.row
        if row is not None and row.kind == "folder" and not row.open:
            self._toggle(row.key)
        else:
            super().action_go_right()

    def _toggle(self, folder: str) -> None:
        self.moved_by_user = True
        self._toggled ^= {folder}
        self._rebuild(folder)

    def _spin_if_busy(self) -> None:
        if any(record.badge.kind == "busy" for record in self._ledger.saves.values()):
            self._spin.resume()
        else:
            self._spin.pause()

    def _turn(self) -> None:
        self._frame += 1
        self.refresh()
