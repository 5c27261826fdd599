"""All keys, drawn from the declared commands."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen, Screen

from ckptui.core.report import SIGNS
from ckptui.ui.command import Command
from ckptui.ui.commands import COMMANDS, available, carriers, key_text
from ckptui.ui.widgets.reflow import Reflow, two_columns

KEYS_WIDTH = 17
PLACES: dict[str, str] = {
    "matrix": "In a heat map",
    "inspector": "In the inspector",
    "gallery": "In the filters",
    "predict": "In the prediction",
    "predict-choice": "In the line `scaling`",
    "timeline": "In the timeline",
    "history": "In the values over the saves",
    "filter": "In the filter's line",
    "diff": "In a diff",
    "why": "In the answer to why",
}
AREAS: dict[str, str] = {
    "saves": "In the saves",
    "tensors": "In the tensors",
    "findings": "In the findings",
}
Section = tuple[str, list[Command]]
"""A heading and the commands under it."""
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

    def __init__(self, below: Screen[Any] | None = None) -> None:
        super().__init__()
        self._here = here(below) if below is not None else ()
        self._reach = reach(below) if below is not None else None

    def compose(self) -> ComposeResult:
        with Vertical(classes="window -tall") as window:
            window.border_title = Content("Keys")
            window.border_subtitle = Content("↑↓ scroll  Esc close")
            with VerticalScroll(can_focus=False):
                yield Reflow(lambda width: help_text(width, self._here, self._reach))

    def action_scroll(self, lines: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)


def here(screen: Screen[Any]) -> Sequence[Section]:
    """The keys of the part of `screen` that has the focus: its own, else those its footer puts first."""
    places = [PLACES[scope] for scope, _ in carriers(screen) if scope in PLACES]
    if places:
        sections = dict(_by_heading())
        return [(place, sections[place]) for place in places]
    area = str(getattr(screen, "focus_area", ""))
    offers = [offer.command for offer in available(screen) if area in offer.command.areas]
    return [(AREAS[area], sorted(offers, key=lambda c: c.rank))] if area in AREAS and offers else []


def reach(screen: Screen[Any]) -> Collection[str] | None:
    """The scopes whose keys do something where the focus is; None where it is in no place of its own: all are told."""
    scopes = {scope for scope, _ in carriers(screen)}
    return scopes if scopes & PLACES.keys() else None


def help_text(width: int, first: Sequence[Section] = (), reach: Collection[str] | None = None) -> Content:
    """What is needed `first`, the signs, then every other command under its heading, laid out for `width`.

    With `reach` only commands of those scopes are told.
    """
    rest = [section for section in _by_heading(reach) if section not in first]
    parts: list[tuple[str, str] | str] = [*_section_parts(first, width)]
    parts += [("Signs", "bold $primary"), "\n"]
    for sign, style, words in LEGEND:
        parts += two_columns([("  " + sign, words)], KEYS_WIDTH, width, style)
    return Content.assemble(*parts, "\n", *_section_parts(rest, width))


def _section_parts(sections: Sequence[Section], width: int) -> Iterator[tuple[str, str] | str]:
    for heading, commands in sections:
        yield from ((heading, "bold $primary"), "\n")
        rows = [("  " + " ".join(key_text(key) for key in c.keys), c.help) for c in commands]
        yield from two_columns(rows, KEYS_WIDTH, width, "bold")
        yield "\n"


def _by_heading(scopes: Collection[str] | None = None) -> list[Section]:
    def heading(command: Command) -> str:
        return PLACES.get(command.scope, command.group)

    told = [command for command in COMMANDS if scopes is None or command.scope in scopes]
    order = list(dict.fromkeys(heading(command) for command in told))
    ranked = sorted(told, key=lambda command: order.index(heading(command)))
    return [(name, list(group)) for name, group in groupby(ranked, key=heading)]
