"""All keys, drawn from the declared commands."""

from __future__ import annotations

from itertools import groupby
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen

from ckptui.core.report import SIGNS
from ckptui.ui.commands import COMMANDS, Command, key_text
from ckptui.ui.widgets.reflow import Reflow, two_columns

KEYS_WIDTH = 17
PLACES: dict[str, str] = {
    "inspector": "In the inspector",
    "gallery": "In the filters",
    "predict": "In the prediction",
    "diff": "In a diff",
}
LEGEND = (
    (SIGNS["error"], "$error", "errors"),
    (SIGNS["warning"], "$warning", "warnings"),
    (SIGNS["ok"], "$success", "every byte was read, and every checksum agrees"),
    ("●", "$dim", "every byte was read; no checksum vouches for them"),
    (SIGNS["unchecked"], "$dim", "only the directory was looked at"),
)


class HelpScreen(ModalScreen[None]):
    """Keys by group, and what the signs mean."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,q,question_mark,f1", "dismiss", "close"),
        Binding("down,j", "scroll(1)", "down"),
        Binding("up,k", "scroll(-1)", "up"),
        Binding("pagedown,space", "scroll(15)", "page down"),
        Binding("pageup", "scroll(-15)", "page up"),
    ]

    def compose(self) -> ComposeResult:
        with Vertical(classes="window -tall") as window:
            window.border_title = Content("Keys")
            window.border_subtitle = Content("↑↓ scroll  Esc close")
            with VerticalScroll(can_focus=False):
                yield Reflow(help_text)

    def action_scroll(self, lines: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)


def help_text(width: int) -> Content:
    """Every command under its heading, then the signs, laid out for `width`."""
    parts: list[tuple[str, str] | str] = []
    for heading, commands in _by_heading():
        parts += [(heading, "bold $primary"), "\n"]
        rows = [("  " + " ".join(key_text(key) for key in c.keys), c.help) for c in commands]
        parts += [*two_columns(rows, KEYS_WIDTH, width, "bold"), "\n"]
    parts += [("Signs", "bold $primary"), "\n"]
    for sign, style, words in LEGEND:
        parts += two_columns([("  " + sign, words)], KEYS_WIDTH, width, style)
    return Content.assemble(*parts)


def _by_heading() -> list[tuple[str, list[Command]]]:
    def heading(command: Command) -> str:
        return PLACES.get(command.scope, command.group)

    order = list(dict.fromkeys(heading(command) for command in COMMANDS))
    ranked = sorted(COMMANDS, key=lambda command: order.index(heading(command)))
    return [(name, list(group)) for name, group in groupby(ranked, key=heading)]
