"""Looking at single cells of what is drawn."""

from __future__ import annotations

from collections.abc import Iterable

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget


def cells(segments: Iterable[Segment]) -> list[tuple[str, Style]]:
    """Every character with its style; only for text of single-width characters."""
    return [(char, segment.style or Style.null()) for segment in segments for char in segment.text]


def line(widget: Widget, y: int) -> list[tuple[str, Style]]:
    """The cells of one line of a widget that draws lines."""
    strip: Strip = widget.render_line(y)
    return cells(strip)


def text(widget: Widget, y: int) -> str:
    """The characters of one line."""
    return "".join(char for char, _ in line(widget, y)).rstrip()


def foreground(style: Style) -> int:
    """0xRRGGBB of a cell's ink; -1 for none."""
    return _packed(style.color.get_truecolor()) if style.color is not None else -1


def background(style: Style) -> int:
    """0xRRGGBB behind a cell; -1 for none."""
    return _packed(style.bgcolor.get_truecolor()) if style.bgcolor is not None else -1


def _packed(triplet: tuple[int, int, int]) -> int:
    red, green, blue = triplet
    return red << 16 | green << 8 | blue
