"""The bottom line: the keys that do something now, drawn from the declared commands."""

from __future__ import annotations

from rich.cells import cell_len
from textual.content import Content
from textual.keys import key_to_character
from textual.screen import Screen
from textual.widget import Widget

from ckptui.ui.commands import Command, available, key_text

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
        commands = [c for c, _ in available(self.screen) if c.rank and not self._typed(c.keys[0])]
        pinned = [_entry(c) for c in sorted((c for c in commands if c.pinned), key=lambda c: c.rank)]
        others = sorted((c for c in commands if not c.pinned), key=lambda c: (area not in c.areas, c.rank))
        right = Content(SPACE).join(pinned)
        room = self.size.width - 2 - cell_len(right.plain)
        while pinned and room < 0:
            pinned.pop(0)
            right = Content(SPACE).join(pinned)
            room = self.size.width - 2 - cell_len(right.plain)
        left = Content()
        for command in others:
            entry = _entry(command)
            longer = left + SPACE + entry if left.plain else entry
            if cell_len(longer.plain) + len(SPACE) > room:
                continue
            left = longer
        gap = self.size.width - 2 - cell_len(left.plain) - cell_len(right.plain)
        return Content.assemble(" ", left, " " * max(gap, 0), right, " ")

    def _typed(self, key: str) -> bool:
        """Would the key be a letter of the line that has the keys?"""
        focused = self.screen.focused
        return focused is not None and focused.check_consume_key(key, key_to_character(key))


def _entry(command: Command) -> Content:
    return Content.assemble((key_text(command.keys[0]), "bold $primary"), (f" {command.label}", "$dim"))
