"""The save on show: its check fills the table behind the cursor, and the inspector follows."""

from __future__ import annotations

from dataclasses import replace

from ckptui.core.text import safe
from ckptui.ui import messages
from ckptui.ui.access import session_of
from ckptui.ui.ledger import SaveRecord
from ckptui.ui.screens.looking import Looking
from ckptui.ui.widgets.findings_panel import FindingsPanel
from ckptui.ui.widgets.header import HeaderLine
from ckptui.ui.widgets.tensor_table import TensorTable


class Feeding(Looking):
    """Keeps every widget true to what is known of the save on show."""

    def show_record(self, record: SaveRecord) -> None:
        self.view.show(record, self.findings_of(record), self.name_of(record))
        self.land()
        self.save_tree.badges_changed()
        self.refresh_bindings()
        assert record.listing is not None
        limit = session_of(self).settings.auto_scan_bytes
        if record.phase != "checked" and (record.known or record.listing.artifact.bytes < limit):
            self.check(record, anew=False)

    def land(self) -> None:
        """Where no row is flagged, `n` and `N` end at the gravest finding of the save itself."""
        step, self._landing = self._landing, 0
        if not step:
            return
        table = self.view.table
        if not (self.view.showing_save and table.next_flagged(step, -1 if step > 0 else table.row_count())):
            if self.view.showing_save:
                self.view.tab = "findings"
            self.view.findings.rows.move_to(0)
        if self.focus_region == "view":
            self.view.focus_target.focus()

    def check(self, record: SaveRecord, *, anew: bool = True) -> None:
        """Read every byte of the save on show, the visible rows' tensors first.

        Unless it is to be `anew`, what was kept of an earlier check of the same files will do.
        """
        if record.listing is None:
            return
        record.phase = "checking"
        self.query_one(HeaderLine).job = ("check", None)
        self.save_tree.badges_changed()
        self.run_check(record.listing, self.view.table.visible_names(), self.begin("check"), anew)

    def on_scanned(self, message: messages.Scanned) -> None:
        """Statistics and findings of some tensors."""
        record = self.ledger.saves.get(message.path)
        if record is None:
            return
        record.scans.update((scan.name, scan) for scan in message.scans)
        fresh = record.learn(message.findings)
        if fresh:
            self.count()
            self.save_tree.badges_changed()
        if record is not self.record:
            return
        if record.phase == "checking":
            self.query_one(HeaderLine).job = (message.step, message.progress)
        self.view.learn(record, self.findings_of(record), fresh=fresh)
        if fresh:
            self.pane.learn(message.path, self.findings_of(record))
        tensor = self.view.tensor_here
        told = {scan.name for scan in message.scans} | {finding.tensor for finding in message.findings}
        if tensor is not None and tensor.name in told:
            self._inspect()

    def on_scan_ended(self, message: messages.ScanEnded) -> None:
        """The check is over; only a complete one earns a tick."""
        record = self.ledger.saves.get(message.path)
        if record is None:
            return
        if message.complete:
            record.phase, record.read, record.kept_since = "checked", True, message.kept_since
        elif record is self.record:
            record.phase = "quick"
        if message.error is not None:
            self.notify(safe(str(message.error)), severity="error", markup=False)
        self.save_tree.badges_changed()
        if record is self.asked:
            self.asked = None
            if message.complete:
                self.say(record.outcome, 6)
        if record is self.record:
            self.query_one(HeaderLine).job = None
            self.view.learn(record, self.findings_of(record), fresh=False)
        self.refresh_bindings()

    # ------------------------------------------------------------------ the tensor under the cursor

    def on_tensor_table_highlighted(self, message: TensorTable.Highlighted) -> None:
        """The inspector follows the cursor."""
        self._inspect()
        self.refresh_bindings()

    def on_findings_panel_highlighted(self, message: FindingsPanel.Highlighted) -> None:
        """It follows the cursor among the findings too."""
        if self.view.tab == "findings":
            self._inspect()

    def _inspect(self) -> None:
        record, tensor = self.record, self.view.tensor_here
        if record is None or record.listing is None or tensor is None:
            self.pane.clear()
        else:
            listing = replace(record.listing, findings=tuple(record.findings))
            self.pane.show_tensor(listing, tensor, record.scans.get(tensor.name))
