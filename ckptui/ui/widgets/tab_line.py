"""One line of tabs with counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
    short: str = ""
    """The label where there is no room for all tabs; empty where it is short enough."""

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
        """All tabs, with short labels or closer together where that helps; else the active one and as many as fit."""
        tabs, gap, padded = self._fitting()
        return Content(" " * (not padded)) + Content(gap).join([self._entry(tab, padded) for tab in tabs])

    def _fitting(self) -> tuple[list[Tab], str, bool]:
        """The tabs, what stands between them, and whether each has a blank on both sides or only the active one."""
        tabs = list(self.tabs)
        while True:
            for padded in (True, False):
                text = 1 - padded + sum(self._width(tab, padded) for tab in tabs)
                for gap in (2, 1, 0) if padded else (2, 1):
                    if text + gap * (len(tabs) - 1) <= self.size.width or len(tabs) <= 1:
                        return tabs, " " * gap, padded
                if padded and any(tab.short for tab in tabs):
                    break
            else:
                tabs.remove(next((tab for tab in reversed(tabs) if tab.id != self.active), tabs[-1]))
                continue
            tabs = [replace(tab, label=tab.short or tab.label, short="") for tab in tabs]

    def _width(self, tab: Tab, padded: bool) -> int:
        return len(tab.text) + 2 * (padded or tab.id == self.active)

    def _entry(self, tab: Tab, padded: bool) -> Content:
        if tab.id == self.active:
            return Content.styled(f" {tab.text} ", "bold underline $primary")
        count = "" if tab.count is None else f" {tab.count:,}"
        style = f"${tab.severity}" if tab.severity else "$dim"
        pad = " " * padded
        return Content.assemble((f"{pad}{tab.label}", "$dim"), (f"{count}{pad}", style))

    def on_click(self, event: events.Click) -> None:
        """Find the tab under the pointer."""
        tabs, gap, padded = self._fitting()
        place = 1 - padded
        for tab in tabs:
            place += self._width(tab, padded) + len(gap)
            if event.x < place:
                self.post_message(self.Picked(tab.id))
                return
