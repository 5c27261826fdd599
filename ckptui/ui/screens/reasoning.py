"""From the main screen to the answer to why, on to what a cause lies in, and back."""

from __future__ import annotations

from functools import partial

from ckptui.core.text import safe
from ckptui.ui.access import session_of
from ckptui.ui.screens.watching import Watching
from ckptui.ui.widgets.architecture_panel import ArchitecturePanel


class Reasoning(Watching):
    """Opens the screen that says why, and remembers the way back to it."""

    @property
    def focus_area(self) -> str:
        """Which part of the screen has the keys: `saves`, `pane`, or the tab on show."""
        raise NotImplementedError

    def action_why(self) -> None:
        """The screen opens for a save that can't be opened too: damage is a cause."""
        record = self.ledger.saves.get(self.target or "")
        if record is not None:
            self.came_from = self.focus_region
            self._ask_why(record.found.path, record.found.label)

    def _ask_why(self, path: str, label: str) -> None:
        # numpy is not needed before it is asked for
        from ckptui.ui.screens.why import WhyScreen
        from ckptui.ui.why_kept import Asking

        mark = self.ledger.mark
        asking = Asking(self.pane.image, mark if mark is not None and mark != path else "")
        self.looking_for = None
        screen = WhyScreen(session_of(self), path, label, asking, self.whys)
        self.app.push_screen(screen, partial(self._to_cause, path))

    def back_to_why(self) -> bool:
        """Go back to the answer whose cause was looked at; False if none was, or another save is on show."""
        path, self.looking_for = self.looking_for, None
        record = self.ledger.saves.get(path or "")
        if record is None or path != self.current:
            return False
        self._ask_why(record.found.path, record.found.label)
        return True

    def _to_cause(self, path: str, where: str | None) -> None:
        """Go to the tensor that a cause lies in, or to the first of its layer."""
        if where is None:
            return
        self.looking_for = path
        if path != self.current:
            self.open_save(path)
        self.when_open(partial(self._show_cause, where))

    def _show_cause(self, where: str) -> None:
        from ckptui.ui.why_rows import tensor_of

        listing = self.record.listing if self.record is not None else None
        name = tensor_of(listing, where) if listing is not None else None
        if name is not None:
            self._jump(name)
        elif listing is not None and self.view.query_one(ArchitecturePanel).jump_to(where):
            # a layer without weights
            self.view.tab = "architecture"
            self.show_region("view")
        else:
            self.say(f"no tensor or layer of this save is called {safe(where, 40)}; Esc goes back to why", 4)
            return
        self.say("Esc goes back to why", 3)

    def show_region(self, region: str) -> None:
        """Bring a pane to the front and give it the keys."""
        raise NotImplementedError

    def _jump(self, tensor: str | None) -> None:
        """Put the cursor on a tensor of the save on show."""
        raise NotImplementedError
