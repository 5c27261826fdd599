"""From paths to saves: what lies below them, which one is open, and the badges of all."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from textual.content import Content

from ckptui.core.model import Finding
from ckptui.core.text import safe
from ckptui.errors import CkptuiError
from ckptui.session import judge_run
from ckptui.ui import messages
from ckptui.ui.ledger import Ledger, SaveRecord
from ckptui.ui.run_words import run_words
from ckptui.ui.screens.working import Working
from ckptui.ui.tree_rows import TreeRow, common_root
from ckptui.ui.widgets.header import HeaderLine
from ckptui.ui.widgets.save_tree import SaveTree
from ckptui.ui.widgets.save_view import SaveView
from ckptui.ui.widgets.side_pane import SidePane

if TYPE_CHECKING:
    from ckptui.ui.why_kept import Kept

SETTLE = 0.12
"""Seconds after the first save is met until the cursor goes to the newest, if the walk has not ended before."""
OPEN_DELAY = 0.06
"""Seconds the cursor stays on a save before it is opened: a key held down opens none on the way."""


class Looking(Working):
    """Finds saves, opens the one under the cursor, and badges the others."""

    def __init__(self, paths: Sequence[str]) -> None:
        super().__init__()
        self.paths = tuple(paths)
        self.root = common_root(paths)
        self.ledger = Ledger()
        self.current: str | None = None
        """Path of the save on show."""
        self._settled = False
        self._walked = False
        self._landing = 0
        """Step of `n` or `N` that brought us to another save: land on its first or last flagged tensor."""
        self.asked: SaveRecord | None = None
        """The save whose check the user asked for: it ends with words."""
        self.came_from = "view"
        """Region that had the keys when a prediction was asked for: leaving it goes back there."""
        self.whys: dict[str, Kept] = {}
        """Answers to why, by the path of the save."""
        self.looking_for: str | None = None
        """The save whose cause one is looking at: the way back leads to its answer."""
        self._then: Callable[[], None] | None = None
        """What was asked of the save on show before it was open."""

    @property
    def record(self) -> SaveRecord | None:
        """The save on show."""
        return self.ledger.saves.get(self.current) if self.current is not None else None

    @property
    def target(self) -> str | None:
        """Path of the save the commands are for: under the tree's cursor, even if it is not on show yet."""
        row = self.save_tree.row
        if not self._settled or row is None:
            return self.current
        return row.key if row.kind == "save" else None

    def when_open(self, act: Callable[[], None]) -> None:
        """Do it for the save under the tree's cursor: now, or as soon as it is open; never if it can't be."""
        path = self.target
        if path is None:
            return
        self.open_save(path)
        record = self.ledger.saves[path]
        if record.phase == "opening":
            self._then = act
        elif record.listing is not None:
            act()

    def _give_up(self) -> None:
        then, self._then = self._then, None
        if then is not None:
            self.given_up(then)

    def given_up(self, act: Callable[[], None]) -> None:
        """What was asked of a save comes to nothing: it can't be opened, or was left before it was."""

    @property
    def save_tree(self) -> SaveTree:
        """The saves."""
        return self.query_one(SaveTree)

    @property
    def view(self) -> SaveView:
        """The save on show."""
        return self.query_one(SaveView)

    @property
    def pane(self) -> SidePane:
        """Inspector or prediction."""
        return self.query_one(SidePane)

    def findings_of(self, record: SaveRecord) -> tuple[Finding, ...]:
        """Its own and its run's."""
        return self.ledger.all_findings(record.found.path)

    def count(self) -> None:
        """Errors and warnings so far, for the header."""
        self.query_one(HeaderLine).totals = self.ledger.totals()

    def name_of(self, record: SaveRecord) -> str:
        """`zero_filled_tail/ckpt-2`: its label, after the folder the tree shows it in."""
        found = record.found
        folder = os.path.abspath(found.run or found.folder)
        if not found.run and folder == os.path.abspath(self.root):
            return safe(found.label)
        return safe(f"{os.path.basename(folder)}/{found.label}")

    # ------------------------------------------------------------------ what the next layer does

    @property
    def focus_region(self) -> str:
        """Which region has the keys: `saves`, `view` or `pane`."""
        raise NotImplementedError

    def show_record(self, record: SaveRecord) -> None:
        """Show a save that is open."""
        raise NotImplementedError

    def land(self) -> None:
        """Put the cursor where `n` or `N` wanted it."""
        raise NotImplementedError

    # ------------------------------------------------------------------ finding saves

    def look(self, paths: Sequence[str]) -> None:
        """Begin anew with these paths."""
        for group in ("open", "quick", "check"):
            self.stop(group)
        self.paths, self.root = tuple(paths), common_root(paths)
        mark, self.ledger = self.ledger.mark, Ledger()
        self.ledger.mark = mark
        self.current, self._settled, self._walked = None, False, False
        self.save_tree.forget_toggles()
        self.save_tree.show(self.ledger, self.root)
        header = self.query_one(HeaderLine)
        header.path, header.totals, header.job = self.root, (0, 0), ("looking", None)
        self.run_find(self.paths, self.begin("find"))

    def on_saves_found(self, message: messages.SavesFound) -> None:
        """More rows in the tree; the cursor goes to the newest save unless the user has moved it."""
        first = not self.ledger.saves
        self.ledger.add(message.items)
        if message.last:
            self._walked = True
            self.query_one(HeaderLine).job = None
        self.root = common_root(self.paths, (r.found.folder for r in self.ledger.saves.values()))
        self.save_tree.show(self.ledger, self.root)
        self.count()
        if message.last:
            self._settle()
            self.walked()
        elif first and self.ledger.saves:
            self.set_timer(SETTLE, lambda: None if self._settled else self._settle())

    def walked(self) -> None:
        """All saves are met."""

    def _settle(self) -> None:
        self._settled = True
        if self.ledger.mark not in self.ledger.saves:
            self.ledger.mark = None
        newest = self.ledger.newest()
        if newest is None and self._walked:
            self._nothing_here()
        elif newest is not None and not self.save_tree.moved_by_user:
            self.save_tree.select(newest)
            self._highlight(self.save_tree.row)
        elif self.current is None:
            self._highlight(self.save_tree.row)

    def _nothing_here(self) -> None:
        words = Content.assemble(
            ("No saves here\n\n", "bold"),
            (safe(", ".join(self.paths)), "$dim"),
            "\n\nA save is a checkpoint (.index and .data files), a SavedModel folder, or a .keras or .h5 file.\n",
            ("o", "bold $primary"),
            " opens another path.",
        )
        self.view.message(words)

    # ------------------------------------------------------------------ the cursor in the tree

    def on_save_tree_highlighted(self, message: SaveTree.Highlighted) -> None:
        """Open what the cursor rests on."""
        if self._settled:
            row = message.row
            self._open_timer = self.set_timer(OPEN_DELAY, lambda: self._rest_on(row))

    def _rest_on(self, row: TreeRow | None) -> None:
        if row is not None and self.save_tree.row is not None and row.key == self.save_tree.row.key:
            self._highlight(row)

    def _highlight(self, row: TreeRow | None) -> None:
        if row is None:
            return
        if row.key != self.current:
            self._landing = 0
        if row.kind == "save":
            self.open_save(row.key)
            return
        self._leave()
        title = safe(row.label)
        if row.kind == "notice" and row.finding is not None:
            self.view.show_findings([row.finding], title)
        else:
            run = self.ledger.runs.get(row.key)
            count = f"{row.count} save{'s' if row.count != 1 else ''}"
            if run is not None:
                head = run_words(judge_run(run, *self.ledger.known_of(run)))
                self.view.show_findings(self.ledger.findings_of_run(run), f"{title}  {count}", head)
            else:
                self.view.message(Content.assemble((title, "bold"), (f"\n\n{count}", "$dim")), title)
        self.refresh_bindings()

    def _leave(self) -> None:
        """Stop what runs for the save on show."""
        self.stop("open")
        self.stop("check")
        self._give_up()
        record = self.record
        if record is not None:
            if record.phase in ("opening", "checking"):
                record.phase = "quick" if record.listing is not None else "unread"
            if record.rows is not None and record.rows.source.huge:
                record.rows = None
            if record.gone:
                del self.ledger.saves[record.found.path]
                self.save_tree.show(self.ledger, self.root)
        self.current = None
        self.query_one(HeaderLine).job = None
        self.pane.clear()
        self.save_tree.badges_changed()

    def open_save(self, path: str) -> None:
        """Show a save; it is opened in a thread if it is not yet."""
        if path == self.current:
            if self.ledger.saves[path].phase != "opening":
                self.land()
            return
        self._leave()
        self.current = path
        record = self.ledger.saves[path]
        if record.listing is not None:
            self.show_record(record)
            return
        if record.error is not None:
            self._show_failure(record)
            return
        record.phase = "opening"
        self.view.message(Content.styled("Opening …", "$dim"), self.name_of(record))
        self.save_tree.badges_changed()
        self.run_open(record.found, self.begin("open"))

    def on_opened(self, message: messages.Opened) -> None:
        """A listing is here."""
        record = self.ledger.saves.get(message.path)
        if record is None:
            return
        record.rows, record.phase, record.known = message.rows, "quick", message.known
        record.opened(message.rows.source.listing.findings)
        if message.path == self.current:
            self.show_record(record)
            then, self._then = self._then, None
            if then is not None:
                then()
        self.count()
        self._badge_others()

    def on_open_failed(self, message: messages.OpenFailed) -> None:
        """A save stays closed, and its row says why."""
        record = self.ledger.saves.get(message.path)
        if record is None:
            return
        record.phase, record.error = "failed", message.error
        self.count()
        self.save_tree.badges_changed()
        if record is self.record:
            self._show_failure(record)
            self._badge_others()

    def _show_failure(self, record: SaveRecord) -> None:
        assert record.error is not None
        self._give_up()
        self.view.failure(record.error, self.findings_of(record), self.name_of(record))
        self.land()
        self.refresh_bindings()

    def _badge_others(self) -> None:
        if self._walked and "quick" not in self._cancels:
            waiting = [r.found for r in self.ledger.saves.values() if r.phase == "unread" and not r.findings]
            self.run_quick(waiting, self.begin("quick"))

    def on_quick_checked(self, message: messages.QuickChecked) -> None:
        """Badges for saves that are not on show."""
        for path, result in message.results.items():
            record = self.ledger.saves.get(path)
            if record is None:
                continue
            if isinstance(result, CkptuiError):
                record.phase, record.error = "failed", result
                continue
            record.opened(result)
            if record.phase == "unread":
                record.phase = "quick"
        self.count()
        self.save_tree.badges_changed()
