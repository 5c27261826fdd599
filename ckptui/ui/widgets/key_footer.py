"""The bottom line: the keys that do something now, drawn from the declared commands."""

from __future__ import annotations

from rich.cells import cell_len
from textual.content import Content
from textual.screen import Screen
from textual.widget import Widget

from ckptui.ui.commands import Offer, available

SPACE = "  "


class KeyFooter(Widget):
    """Shows what fits whole; the pinned keys stand at the right."""

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._changed)

    def _changed(self, screen: Screen[object]) -> None:
        self.refresh()

    def render(self) -> Content:
        """The keys for the width there is."""
        area = str(getattr(self.screen, "focus_area", ""))
        offers = sorted((o for o in available(self.screen) if o.command.rank), key=lambda o: o.command.rank)
        pinned = [_entry(o) for o in offers if o.command.pinned]
        others = [o for o in offers if not o.command.pinned and area not in o.command.not_in]
        others.sort(key=lambda o: area not in o.command.areas)
        right = Content(SPACE).join(pinned)
        room = self.size.width - 2 - cell_len(right.plain)
        while pinned and room < 0:
            pinned.pop(0)
            right = Content(SPACE).join(pinned)
            room = self.size.width - 2 - cell_len(right.plain)
        left = Content()
        for offer in others:
            entry = _entry(offer)
            longer = left + SPACE + entry if left.plain else entry
            if cell_len(longer.plain) + len(SPACE) > room:
                continue
            left = longer
        gap = self.size.width - 2 - cell_len(left.plain) - cell_len(right.plain)
        return Content.assemble(" ", left, " " * max(gap, 0), right, " ")


def _entry(offer: Offer) -> Content:
    return Content.assemble((offer.shown, "bold $primary"), (f" {offer.label}", "$dim"))
