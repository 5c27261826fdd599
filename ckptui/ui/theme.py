"""The colours of the workbench, one meaning each, and the plain forms for terminals that can't show symbols."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter
from textual.theme import Theme

DARK = Theme(
    name="ckptui",
    primary="#7aa2f7",
    secondary="#bb9af7",
    accent="#7aa2f7",
    error="#f7768e",
    warning="#e0af68",
    success="#9ece6a",
    foreground="#d5d9e6",
    background="#14151b",
    surface="#14151b",
    panel="#1b1d26",
    boost="#1f2230",
    dark=True,
    variables={
        "dim": "#858ba0",
        "faint": "#2d3140",
        "cursor": "#29345a",
        "cursor-blurred": "#20253a",
        "mark": "#7dcfff",
        "odd": "#bb9af7",
        "border": "#7aa2f7",
        "border-blurred": "#2d3140",
        "block-cursor-background": "#29345a",
        "block-cursor-foreground": "#d5d9e6",
        "block-cursor-text-style": "bold",
        "block-cursor-blurred-background": "#20253a",
        "input-cursor-background": "#d5d9e6",
        "input-selection-background": "#7aa2f7 35%",
        "scrollbar": "#2d3140",
        "scrollbar-hover": "#3d4358",
        "scrollbar-active": "#7aa2f7",
        "scrollbar-background": "#14151b",
        "scrollbar-background-hover": "#14151b",
        "scrollbar-background-active": "#14151b",
        "scrollbar-corner-color": "#14151b",
    },
)
"""`dim` is for what can wait, `mark` for the baseline of a diff, `odd` for duplicates; red, amber and green are for
errors, warnings and what was checked and found whole."""

_PLAIN: dict[str, str] = {
    "×": "x",
    "−": "-",
    "–": "-",
    "—": "-",
    "…": "~",
    "·": ".",
    "✖": "x",
    "▲": "!",
    "✔": "+",
    "○": "o",
    "◌": "o",
    "▼": "v",
    "┈": ".",
    "▸": ">",
    "▾": "v",
    "▌": ">",
    "→": ">",
    "↓": "v",
    "↑": "^",
    "←": "<",
    "↔": "=",
    "↕": "|",
    "Δ": "d",
    "±": "+",
    "█": "#",
    "▓": "#",
    "▒": "=",
    "░": ".",
    "▀": "=",
    "▄": "=",
    "▐": "|",
    "■": "#",
    "□": "o",
    "●": "*",
    "▏": "|",
    "▎": "|",
    "▍": "|",
    "▋": "#",
    "▊": "#",
    "▉": "#",
    "▕": "|",
    "▔": "-",
    "▁": "_",
    "▂": "_",
    "▃": ".",
    "▅": "=",
    "▆": "=",
    "▇": "#",
    "⚠": "!",
    "•": "*",
}
_LINES = {"─━╌╍┄┅┈┉═╴╶╸╺": "-", "│┃╎╏┆┇┊┋║╵╷╹╻": "|"}


def _plain_table() -> dict[int, str]:
    table = {ord(sign): plain for sign, plain in _PLAIN.items()}
    for code in range(0x2500, 0x2580):
        table[code] = "+"
    for signs, plain in _LINES.items():
        table.update({ord(sign): plain for sign in signs})
    for code in range(0x2800, 0x2900):
        table[code] = "."
    return table


PLAIN_TABLE = _plain_table()


def plain(text: str) -> str:
    """ASCII of the same width in cells: known signs by a likeness, any other character by `?`."""
    if text.isascii():
        return text
    text = text.translate(PLAIN_TABLE)
    return text if text.isascii() else "".join(c if c.isascii() else "?" * cell_len(c) for c in text)


class PlainSigns(LineFilter):
    """Turns everything drawn into ASCII, whichever widget drew it."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [Segment(plain(text), style, control) for text, style, control in segments]


def needs_plain(environment: Mapping[str, str], names: Sequence[str] = ("LC_ALL", "LC_CTYPE", "LANG")) -> bool:
    """Does the environment name a locale without UTF-8, or the Linux console, whose font lacks the signs?

    An environment that names no locale at all is taken for a bare container in a UTF-8 terminal.
    """
    if environment.get("TERM") == "linux":
        return True
    locale = next((environment[name] for name in names if environment.get(name)), "")
    return bool(locale) and "utf" not in locale.lower()


def plain_here() -> bool:
    """`needs_plain` of this process."""
    return needs_plain(os.environ)
