"""What the commands of the main screen do, and which of them can be done now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from textual.widgets import Input

from ckptui.core.text import human_count, safe
from ckptui.ui import messages
from ckptui.ui.access import session_of
from ckptui.ui.screens.asking import ExportScreen, OpenScreen
from ckptui.ui.screens.reasoning import Reasoning
from ckptui.ui.screens.telling import ErrorScreen, TextScreen, as_error
from ckptui.ui.widgets.findings_panel import as_text

NEEDS_SAVE = {"filter", "sort", "names", "show_tab"}
"""Actions that make sense only with a save on show."""
NEEDS_FILES = {"mark", "diff", "predict", "check", "export", "filters", "salvage", "why"}
"""Actions that read the save: none of them for one that was removed."""
CAN_WAIT = {"mark", "predict", "check", "export", "filters"}
"""Actions for the save under the cursor, carried out once it is open."""


TAKES_LETTERS = frozenset({"filter", "open", "export", "predict"})
"""Actions whose keys go before a widget's own: not while one types."""


class Actions(Reasoning):
    """One method per command; none waits."""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer only what can be done; letters typed into a line are no commands."""
        if action in TAKES_LETTERS and isinstance(self.focused, Input):
            return False
        record = self.ledger.saves.get(self.target or "")
        is_open = record is not None and record is self.record and record.listing is not None
        if record is not None and record.gone and action in NEEDS_FILES:
            return False
        if action == "why":
            return record is not None and not (isinstance(self.focused, Input) and self.focus_region != "pane")
        if action == "salvage":
            return record is not None and record.phase != "unread"
        if action == "check_all":
            return bool(self.ledger.saves)
        if action in CAN_WAIT:
            return record is not None and record.phase != "failed"
        if action in NEEDS_SAVE:
            return is_open or (parameters == ("timeline",) and (record is not None or self.run_here is not None))
        if action == "diff":
            failed = record is not None and record.phase == "failed"
            return self._baseline() is not None and not failed
        if action in ("next_flagged", "previous_flagged"):
            return bool(self.ledger.saves)
        if action in ("copy", "show_text"):
            return bool(self._text_here())
        return True

    # ------------------------------------------------------------------ looking

    def action_filter(self) -> None:
        self.view.tab = "tensors"
        self.show_region("view")
        self.view.filter_bar.begin()

    def action_sort(self) -> None:
        self.view.tab = "tensors"
        self.view.table.next_sort()

    def action_names(self) -> None:
        table = self.view.table
        table.ask(replace(table.query_now, stored_names=not table.query_now.stored_names))

    def action_show_tab(self, tab: str) -> None:
        if self.timeline_alone and tab != "timeline":
            self.view.tab = tab
            self._leave_timeline()
            return
        if tab == "timeline" and self.target is not None and self.target != self.current:
            self.open_save(self.target)
        self.view.tab = tab
        if tab == "timeline":
            self._open_timeline()
        self.show_region("view")
        self._inspect()

    def _open_timeline(self) -> None:
        """Where no save is open, the run's timeline shows alone; one that is being opened comes with its tab."""
        if not self.view.showing_save and (self.record is None or self.record.phase == "failed"):
            self.view.show_timeline_alone()
        if self.view.showing == "timeline":
            self.show_timeline()

    @property
    def timeline_alone(self) -> bool:
        """A timeline is on show, and no save with it."""
        return self.view.showing == "timeline" and not self.view.showing_save

    def _leave_timeline(self) -> None:
        """Back to what the row under the tree's cursor shows."""
        if self.record is not None:
            self._show_failure(self.record)
        else:
            self._highlight(self.save_tree.row)
        self.show_region("view")

    def why_not(self, action: str) -> str:
        """Why an action that answers its key can do nothing here; empty if it can."""
        if action == "predict" and self.focus_region == "pane" and self.pane.showing == "predict":
            return "this is the prediction"
        if action == "salvage":
            there = self.ledger.saves.get(self.target or "")
            if there is None or there.status == "error":
                return ""
            if there.phase == "checking":
                return "nothing to salvage so far; its check is still running"
            if not there.read:
                return "nothing to salvage so far: only its directory was looked at; c reads every byte"
            return "nothing to salvage: every byte was read, no damage was found"
        if action.startswith(("next_flagged", "previous_flagged")):
            return "" if any(map(self._flagged, self.ledger.saves)) else ", ".join(["nothing flagged", *self._unread()])
        record = self.record
        if action != "filters" or record is None or record.listing is None or self.target != self.current:
            return ""
        tensor = self.view.tensor_here
        if tensor is None:
            return "no filters: no tensor under the cursor"
        if tensor.problem:
            return "no filters: the tensor can't be read"
        if tensor.role in ("kernel", "embedding"):
            return ""
        if tensor.role in ("other", "rng-state"):
            return "no filters: not a kernel"
        return f"no filters: {'an' if tensor.role[0] in 'aeio' else 'a'} {tensor.role.replace('-', ' ')}"

    def action_filters(self) -> None:
        self.when_open(self._filters)

    def _filters(self) -> None:
        words = self.why_not("filters")
        if words:
            self.say(words)
            return
        self._inspect()
        self.pane.showing = "inspector"
        self.pane.look_now()
        self.show_region("pane")
        self.pane.show_filters()

    def action_next_flagged(self) -> None:
        self._to_flagged(1)

    def action_previous_flagged(self) -> None:
        self._to_flagged(-1)

    def _to_flagged(self, step: int) -> None:
        """Within the save on show, then on to the next save with findings, round the tree."""
        if words := self.why_not("next_flagged"):
            self.say(words)
            return
        if self.view.showing_save and self.view.tab == "tensors" and self.view.table.next_flagged(step):
            self.show_region("view")
            return
        order = self.save_tree.saves_in_order()[::step]
        start = order.index(self.current) + 1 if self.current in order else 0
        for place, path in enumerate([*order[start:], *order[:start]]):
            if self._flagged(path):
                if place >= len(order) - start:
                    words = "from the start again" if step > 0 else "from the end again"
                    self.say(", ".join([words, *self._unread()]))
                self._landing = step
                self.save_tree.moved_by_user = True
                self.view.tab = "tensors"
                self.save_tree.select(path)
                self.open_save(path)
                self.show_region("view")
                return

    def _unread(self) -> list[str]:
        """That there may be more: how many saves no check has read, and the key that does, unless it is at it."""
        waiting = [r for r in self.ledger.saves.values() if not r.read and r.phase != "failed"]
        busy = [r for r in waiting if r.phase in ("opening", "checking")]
        count = len(waiting) - len(busy)
        if not count:
            return ["the check is still running"] if busy else []
        words = f"{human_count(count)} save{'s' if count != 1 else ''} not read yet"
        return [words if "sweep" in self._cancels else f"{words}: C reads {'them all' if count != 1 else 'it'}"]

    def _flagged(self, path: str) -> bool:
        return self.ledger.saves[path].badge.kind in ("error", "warning")

    # ------------------------------------------------------------------ comparing

    def action_mark(self) -> None:
        self.ledger.mark = None if self.ledger.mark == self.target else self.target
        self.show_mark()
        self.refresh_bindings()

    def show_mark(self) -> None:
        """Show which save is A."""
        raise NotImplementedError

    def _baseline(self) -> str | None:
        """A for the save under the cursor: the marked one, else the previous of its run."""
        path = self.target
        if path is None:
            return None
        mark = self.ledger.mark
        return mark if mark is not None and mark != path else self.ledger.previous(path)

    def action_diff(self) -> None:
        self.when_open(self._diff)

    def _diff(self) -> None:
        baseline = self._baseline()
        if baseline is not None and self.current is not None:
            self.run_open_both(self.ledger.saves[baseline].found, self.ledger.saves[self.current].found)

    def on_ready_to_diff(self, message: messages.ReadyToDiff) -> None:
        """Both sides are open."""
        # numpy comes with it: not before it is wanted
        from ckptui.ui.screens.diff import DiffScreen

        self.app.push_screen(DiffScreen(session_of(self), message.a, message.b))

    # ------------------------------------------------------------------ doing

    def action_predict(self) -> None:
        """The pane takes the keys before the save is open: Enter typed meanwhile is meant for it."""
        came_from = self.focus_region
        self.when_open(self._offer_images)
        record = self.record
        if record is not None and (record.listing is not None or record.phase == "opening"):
            self.came_from = came_from
            self.pane.showing = "predict"
            self.show_region("pane")
            self.pane.expect_model()

    def _offer_images(self) -> None:
        if self.current is not None:
            self.run_find_images(self.current)

    def given_up(self, act: Callable[[], None]) -> None:
        """A prediction was asked of a save that can't be opened: what was on show before is back."""
        if act == self._offer_images and self.pane.showing == "predict":
            self.pane.showing = self.pane_here
            if self.focus_region == "pane":
                self.show_region(self.came_from)

    def on_images_found(self, message: messages.ImagesFound) -> None:
        """The pane offers the save under the cursor and the first image beside it."""
        record = self.record
        if record is None or record.listing is None or message.path != self.current:
            return
        image = message.images[0] if message.images else None
        self.pane.show_model(record.listing, image, self.findings_of(record), self.ledger.mark)

    def action_check(self) -> None:
        record = self.record
        if record is None or self.target != self.current or record.phase == "opening":
            self.when_open(self._check)
        elif record.phase == "checking":
            self.stop("check")
            self.say("The check was stopped")
        else:
            self._check()

    def _check(self) -> None:
        """Go through the save on show; a small one is being checked already when it opens."""
        record = self.record
        if record is not None:
            self.asked = record
            if record.phase != "checking":
                self.check(record)

    def action_export(self) -> None:
        self.when_open(self._ask_target)

    def _ask_target(self) -> None:
        record = self.record
        if record is None or record.listing is None:
            return
        tensor = self.view.table.tensor
        rows = self.view.table.rows
        filtered = [rows.source.names[i] for i in rows.order if i >= 0] if rows and rows.query.text else None
        screen = ExportScreen(record.listing.artifact.label, tensor.name if tensor else None, filtered)
        self.app.push_screen(screen, self._export)

    def _export(self, choice: tuple[str, list[str] | None] | None) -> None:
        record = self.record
        if choice is not None and record is not None and record.listing is not None:
            target, names = choice
            self.run_export(record.listing, names, target, self.begin("export"))

    def action_salvage(self) -> None:
        """The window opens for a save that can't be opened too: that is what it is for."""
        record = self.ledger.saves.get(self.target or "")
        words = self.why_not("salvage")
        if words:
            self.say(words, 4)
        elif record is not None:
            # numpy is not needed before it is asked for
            from ckptui.ui.screens.salvaging import SalvageScreen

            self.app.push_screen(SalvageScreen(record.found))

    def on_exported(self, message: messages.Exported) -> None:
        """A file was written."""
        left_out = f", {message.left_out} left out" if message.left_out else ""
        self.say(f"{message.count} tensors{left_out} → {safe(message.target)}", 5)

    def action_open(self) -> None:
        self.app.push_screen(OpenScreen(self.root), self._open)

    def _open(self, path: str | None) -> None:
        if path:
            self.look([path])

    def action_rescan(self) -> None:
        self.look(self.paths)

    # ------------------------------------------------------------------ copying

    def _text_here(self) -> str:
        """What `y` copies: the finding, the answers, the tensor's name, or the path under the cursor."""
        area = self.focus_area
        finding = self.view.findings.rows.finding
        tensor = self.view.table.tensor
        if area == "findings" and finding is not None:
            return as_text(finding)
        if area == "pane" and self.pane.showing == "predict" and self.pane.ready:
            return self.pane.predict.results.as_text()
        if area in ("tensors", "pane") and tensor is not None:
            return tensor.name
        row = self.save_tree.row
        return row.key if row is not None else ""

    def action_copy(self) -> None:
        text = self._text_here()
        if text:
            self.app.copy_to_clipboard(text)
            first = text.splitlines()[0] if text.splitlines() else text
            words = f"Sent to the clipboard: {safe(first, 60)}\nY shows it, to select it with the mouse"
            self.say(words, 4)

    def action_show_text(self) -> None:
        text = self._text_here()
        if text:
            self.app.push_screen(TextScreen(text))

    def failed(self, error: BaseException) -> None:
        """A window with what, where and what to do."""
        if isinstance(self.app.screen, ErrorScreen):
            self.notify(safe(str(as_error(error))), severity="error", markup=False)
        else:
            self.app.push_screen(ErrorScreen(error))
