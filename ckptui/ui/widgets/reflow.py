"""Text that is laid out anew for the width it gets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual import events
from textual.content import Content
from textual.widgets import Static

from ckptui.ui.fitting import left, wrap

Span = tuple[str, str] | str


class Reflow(Static):
    """A static text made by a function of the width."""

    def __init__(self, make: Callable[[int], Content], *, id: str | None = None) -> None:
        super().__init__("", id=id, markup=False)
        self._make = make
        self._width = 0

    def show(self, make: Callable[[int], Content]) -> None:
        """Other words."""
        self._make = make
        self._draw()

    def on_resize(self, event: events.Resize) -> None:
        if event.size.width != self._width:
            self._width = event.size.width
            self._draw()

    def _draw(self) -> None:
        self.update(self._make(self._width or 80))


def two_columns(rows: Sequence[tuple[str, str]], name_width: int, width: int, style: str) -> list[Span]:
    """Names in `style`, their values beside them, further lines of a value under its first; made safe already."""
    parts: list[Span] = []
    for name, value in rows:
        first, *more = wrap(value, max(8, width - name_width)) or [""]
        parts += [(left(name, name_width), style), first, "\n"]
        for line in more:
            parts += [" " * name_width, line, "\n"]
    return parts
