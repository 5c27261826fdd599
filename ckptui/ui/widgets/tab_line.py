"""One line of tabs with counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual import events
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget


@dataclass(frozen=True, slots=True)
class Tab:
    """One tab."""

    id: str
    label: str
    count: int | None = None
    """Shown behind the label; None where nothing is counted."""
    severity: str = ""
    """Colours the count: `error`, `warning` or empty."""

    @property
    def text(self) -> str:
        """Label and count."""
        return self.label if self.count is None else f"{self.label} {self.count:,}"


class TabLine(Widget):
    """Draws tabs and tells which was clicked; keys are the screen's business."""

    tabs: reactive[Sequence[Tab]] = reactive(())
    active: reactive[str] = reactive("")

    class Picked(Message):
        """A tab was clicked."""

        def __init__(self, tab: str) -> None:
            super().__init__()
            self.tab = tab

    def render(self) -> Content:
        """All tabs, or the active one and as many as fit after it."""
        return Content.assemble(*(part for tab in self._fitting() for part in self._entry(tab)))

    def _fitting(self) -> list[Tab]:
        tabs = list(self.tabs)
        while len(tabs) > 1 and sum(len(t.text) + 3 for t in tabs) > self.size.width + 1:
            drop = next((t for t in reversed(tabs) if t.id != self.active), tabs[-1])
            tabs.remove(drop)
        return tabs

    def _entry(self, tab: Tab) -> list[Content | tuple[str, str]]:
        on = tab.id == self.active
        if on:
            return [(f" {tab.text} ", "bold underline $primary"), (" ", "")]
        count = "" if tab.count is None else f" {tab.count:,}"
        style = f"${tab.severity}" if tab.severity else "$dim"
        return [(f" {tab.label}", "$dim"), (f"{count} ", style), (" ", "")]

    def on_click(self, event: events.Click) -> None:
        """Find the tab under the pointer."""
        place = 0
        for tab in self._fitting():
            place += len(tab.text) + 3
            if event.x < place:
                self.post_message(self.Picked(tab.id))
                return
