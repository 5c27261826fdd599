"""Text that is laid out anew for the width it gets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget
from textual.widgets import Static

from ckptui.ui.fitting import TIE, left, wrap

Span = tuple[str, str] | str


class Reflow(Widget):
    """A text made by a function of the width; as high as its lines, asked for before every layout."""

    def __init__(self, make: Callable[[int], Content], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._make = make
        self._made: tuple[int, Content] | None = None

    def show(self, make: Callable[[int], Content]) -> None:
        """Other words."""
        self._make, self._made = make, None
        self.refresh(layout=True)

    def content_at(self, width: int) -> Content:
        """The words for a width."""
        if self._made is None or self._made[0] != width:
            self._made = (width, self._make(width))
        return self._made[1]

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many lines as there are at this width."""
        return self.content_at(width).plain.count("\n") + 1

    def render(self) -> Content:
        """The words for the width there is."""
        return self.content_at(self.content_size.width)


class Words(Static):
    """Words without markup that are laid out anew only where their lines may be more or fewer: layouts are dear."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
        self._said: Content | None = None

    def say(self, content: Content) -> None:
        """Other words, if they are others."""
        said = self._said
        if said is not None and said.is_same(content):
            return
        self._said = content
        # what stands there may have been laid out for another width: its height counts, not its lines
        settled = said is not None and self._lines_that_fit() == self.content_size.height
        if settled:
            self.clear_cached_dimensions()
        self.update(content, layout=not settled)
        # a layout that was under way takes the words before, and the wish for another one with it
        self.call_after_refresh(self._settle)

    def _lines_that_fit(self) -> int | None:
        """How many lines the words are; None where one is to be broken."""
        lines = self._said.split("\n") if self._said is not None else []
        return len(lines) if all(line.cell_length <= self.content_size.width for line in lines) else None

    def _settle(self) -> None:
        lines = self._lines_that_fit()
        if self.display and lines is not None and lines != self.content_size.height:
            self.refresh(layout=True)


def two_columns(rows: Sequence[tuple[str, str]], name_width: int, width: int, style: str) -> list[Span]:
    """Names in `style`, their values beside them, further lines of a value under its first; made safe already."""
    parts: list[Span] = []
    for name, value in rows:
        first, *more = wrap(value, max(8, width - name_width)) or [""]
        parts += [(left(name, name_width), style), first, "\n"]
        for line in more:
            parts += [" " * name_width, line, "\n"]
    return parts


def wrapped(line: Content, width: int) -> list[Content]:
    """One line with its colours as lines of at most `width` cells; what is `tied` stays together."""
    text = line.plain.replace(TIE, " ")
    whole, lines, start = Content(text, spans=list(line.spans)), [], 0
    for part in wrap(line.plain, max(width, 1)):
        start = text.find(part, start)
        lines.append(whole[start : start + len(part)])
        start += len(part)
    return lines
