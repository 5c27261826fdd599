"""A full check of every save in the tree, one after the other, behind whatever is on show."""

from __future__ import annotations

from ckptui.core.model import Found
from ckptui.core.text import human_count
from ckptui.ui import messages
from ckptui.ui.ledger import SaveRecord
from ckptui.ui.screens.feeding import Feeding
from ckptui.ui.widgets.header import HeaderLine


class Sweeping(Feeding):
    """Starts the sweep, takes it back, and keeps count of it in the header."""

    def action_check_all(self) -> None:
        """The save on show first, then the newest of each run before older ones; a second press stops it."""
        if "sweep" in self._cancels:
            self.stop("sweep")
            self.query_one(HeaderLine).job = None
            self.say("The check of all saves was stopped; what was found stays", 4)
            return
        waiting = self._unchecked()
        if not waiting:
            self.say("Every save here was checked", 4)
            return
        self.stop("check")
        record = self.record
        if record is not None and record.phase == "checking":
            record.phase = "quick"
        self.run_check_all(waiting, self.begin("sweep"))

    def _unchecked(self) -> list[Found]:
        records = [r for r in self.ledger.saves.values() if not r.read and r.phase != "failed"]
        return [r.found for r in sorted(records, key=self._urgency)]

    def _urgency(self, record: SaveRecord) -> tuple[bool, int, float]:
        """Sorts the save on show first, then by how many newer ones its run has, then by time."""
        run = self.ledger.run_of(record.found.path)
        place = run.saves[::-1].index(record.found.path) if run and record.found.path in run.saves else 0
        return record is not self.record, place, -record.found.modified

    def on_swept(self, message: messages.Swept) -> None:
        """So many saves are done; the header says so unless the save on show has its own check."""
        record = self.record
        if record is None or record.phase != "checking":
            words = f"check {message.done + 1}/{human_count(message.total)}"
            self.query_one(HeaderLine).job = (words, message.progress)

    def on_sweep_ended(self, message: messages.SweepEnded) -> None:
        """All saves were read; the row under the cursor may know more now."""
        self._cancels.pop("sweep", None)
        record = self.record
        if record is None or record.phase != "checking":
            self.query_one(HeaderLine).job = None
        words = f"{human_count(message.done)} saves read"
        errors = sum(r.status == "error" for r in self.ledger.saves.values())
        if errors:
            words += f", {human_count(errors)} with errors"
        self.say(words, 6)
        row = self.save_tree.row
        if row is not None and row.kind == "folder":
            self._highlight(row)
        self.refresh_bindings()
