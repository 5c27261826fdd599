"""The right of the screen: the inspector of a tensor, or a prediction."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import ContentSwitcher

from ckptui.ui.widgets.inspector import Inspector
from ckptui.ui.widgets.predict_pane import PredictPane

TITLES = {"inspector": "Inspector", "predict": "Predict"}


class SidePane(Vertical):
    """Holds both and shows one."""

    showing: reactive[str] = reactive("inspector")

    def compose(self) -> ComposeResult:
        with ContentSwitcher(initial="inspector", id="pane-switch"):
            yield Inspector(id="inspector")
            yield PredictPane(id="predict")

    @property
    def inspector(self) -> Inspector:
        """All about one tensor."""
        return self.query_one(Inspector)

    @property
    def predict(self) -> PredictPane:
        """One image through one model."""
        return self.query_one(PredictPane)

    def watch_showing(self, showing: str) -> None:
        """Show the other."""
        self.border_title = Content(TITLES[showing])
        if self.is_mounted:
            self.query_one("#pane-switch", ContentSwitcher).current = showing

    @property
    def focus_targets(self) -> list[Widget]:
        """What can take keys in what is shown, in order."""
        shown = self.query_one(f"#{self.showing}")
        return [w for w in shown.walk_children(Widget, with_self=True) if w.focusable]
