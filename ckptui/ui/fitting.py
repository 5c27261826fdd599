"""Fitting text into terminal cells: safe first, then measured in cells, never cut at its end."""

from __future__ import annotations

from rich.cells import cell_len

from ckptui.core.text import middle, safe


def shown(text: str, width: int) -> str:
    """Untrusted text made harmless and shortened in its middle to at most `width` cells."""
    return fit_middle(safe(text), width)


def fit_middle(text: str, width: int) -> str:
    """Shorten to `width` cells by taking out the middle; wide characters count two."""
    if text.isascii():
        return middle(text, width)
    if cell_len(text) <= width:
        return text
    if width <= 1:
        return "…"[:width]
    tail_room = width // 2
    head_room = width - 1 - tail_room
    return _start(text, head_room) + "…" + _start(text[::-1], tail_room)[::-1]


def fit_end(text: str, width: int) -> str:
    """Shorten a sentence to `width` cells by taking away its end."""
    return text if cell_len(text) <= width else _start(text, max(width - 1, 0)).rstrip() + "…"


def fit_name(name: str, width: int) -> str:
    """Shorten a variable's name to `width` cells so that layers stay apart: `batch…_4_1/moving_mean`.

    What comes after the last slash and the end of the layer are kept longest: numbers stand there.
    """
    layer, slash, leaf = name.rpartition("/")
    room = width - cell_len(leaf) - 1
    if cell_len(name) <= width or not slash:
        return fit_middle(name, width)
    if room < LEAST_LAYER:
        if width < 3 * LEAST_LAYER:
            return fit_middle(name, width)
        leaf = fit_middle(leaf, width - 1 - LEAST_LAYER)
        room = width - cell_len(leaf) - 1
    tail = min(room - 2, max(LAYER_END, room // 2))
    return f"{_start(layer, room - 1 - tail)}…{_start(layer[::-1], tail)[::-1]}/{leaf}"


LEAST_LAYER, LAYER_END = 6, 8
"""Cells below which a layer is not shortened by itself, and what is left of its end."""


def _start(text: str, width: int) -> str:
    used = 0
    for place, char in enumerate(text):
        used += cell_len(char)
        if used > width:
            return text[:place]
    return text


def left(text: str, width: int) -> str:
    """Padded on the right to exactly `width` cells; too long loses its middle."""
    text = fit_middle(text, width)
    return text + " " * (width - cell_len(text))


def right(text: str, width: int) -> str:
    """Padded on the left to exactly `width` cells; too long loses its middle."""
    text = fit_middle(text, width)
    return " " * (width - cell_len(text)) + text


TIE = "\u00a0"
"""Stands for a space at which no line is broken, until the lines are made."""


def tied(text: str) -> str:
    """A number with its unit, or anything else that is to stay on one line."""
    return text.replace(" ", TIE)


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most `width` cells, broken at spaces where there are any, but not where words are `tied`."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            while cell_len(word) > width > 0:
                if line:
                    lines.append(line)
                    line = ""
                piece = _start(word, width) or word[0]
                lines.append(piece)
                word = word[len(piece) :]
            joined = f"{line} {word}" if line else word
            if line and cell_len(joined) > width:
                lines.append(line)
                line = word
            else:
                line = joined
        lines.append(line)
    return [line.replace(TIE, " ") for line in lines]
