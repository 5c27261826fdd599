"""A list of one-line rows drawn through Textual's line API: only what is visible is ever made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from ckptui.ui.commands import bindings_for

Piece = tuple[str, str]
"""Text and the name of its style (`""`, `dim`, `error`, ...); text from files has gone through `safe`."""


class RowList(ScrollView, can_focus=True):
    """Rows under a cursor. A subclass says how many rows there are and what each shows."""

    COMMAND_SCOPE = "list"
    BINDINGS = bindings_for("list")
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "row-list--cursor",
        "row-list--blurred",
        "row-list--head",
        "row-list--strong",
        "row-list--dim",
        "row-list--error",
        "row-list--warning",
        "row-list--info",
        "row-list--ok",
        "row-list--accent",
        "row-list--mark",
        "row-list--odd",
    }
    HEAD_LINES: ClassVar[int] = 0
    """Lines pinned above the rows."""

    cursor: reactive[int] = reactive(0, repaint=False)
    """Index of the row under the cursor."""

    class Moved(Message):
        """The cursor stands on another row."""

        def __init__(self, rows: RowList, index: int) -> None:
            super().__init__()
            self.rows = rows
            self.index = index

        @property
        def control(self) -> RowList:
            """The list whose cursor moved."""
            return self.rows

    class Chosen(Moved):
        """Enter or a second click on a row."""

    class Leave(Message):
        """Left or right, with nothing to open or close: go to the pane on that side."""

        def __init__(self, step: int) -> None:
            super().__init__()
            self.step = step

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._style_cache: dict[str, Style] = {}
        self.moved_by_user = False
        """The user has taken the cursor somewhere; until then it may follow what is worst or newest."""

    # ------------------------------------------------------------------ what a subclass says

    def row_count(self) -> int:
        """How many rows there are."""
        raise NotImplementedError

    def row_pieces(self, index: int, width: int) -> Sequence[Piece]:
        """What row `index` shows in `width` cells."""
        raise NotImplementedError

    def head_pieces(self, line: int, width: int) -> Sequence[Piece]:
        """What a pinned line shows."""
        return ()

    @property
    def head_lines(self) -> int:
        """How many lines are pinned above the rows now."""
        return self.HEAD_LINES

    def selectable(self, index: int) -> bool:
        """Can the cursor stand on this row?"""
        return True

    # ------------------------------------------------------------------ drawing

    def rows_changed(self, cursor: int | None = None) -> None:
        """Take note of other rows; the cursor goes to `cursor`, or stays within them."""
        count = self.row_count()
        self.virtual_size = Size(self.scrollable_content_region.width, count + self.head_lines)
        target = self.cursor if cursor is None else cursor
        target = max(0, min(target, count - 1))
        if target == self.cursor:
            self._show_cursor()
        else:
            self.cursor = target
        self.refresh()

    def style_of(self, name: str) -> Style:
        """The theme's style of a piece."""
        style = self._style_cache.get(name)
        if style is None:
            style = self.get_component_rich_style(f"row-list--{name}", partial=True) if name else Style.null()
            self._style_cache[name] = style
        return style

    def notify_style_update(self) -> None:
        """Forget styles of the theme before."""
        self._style_cache.clear()
        super().notify_style_update()

    def render_line(self, y: int) -> Strip:
        """One line of the screen."""
        width = self.scrollable_content_region.width
        base = self.rich_style
        if y < self.head_lines:
            return self._strip(self.head_pieces(y, width), width, base)
        index = round(self.scroll_y) + y - self.head_lines
        if index >= self.row_count():
            return Strip.blank(width, base)
        if index == self.cursor and self.selectable(index):
            base += self.style_of("cursor" if self.has_focus else "blurred")
        return self._strip(self.row_pieces(index, width), width, base)

    def _strip(self, pieces: Sequence[Piece], width: int, base: Style) -> Strip:
        segments = [Segment(text, base + self.style_of(name) if name else base) for text, name in pieces]
        return Strip(segments).adjust_cell_length(width, base)

    def cursor_cell(self, index: int) -> Piece:
        """The first cell of a row: where the cursor is, for screens that can't show its colour."""
        return ("▌", "accent") if index == self.cursor and self.has_focus else (" ", "")

    # ------------------------------------------------------------------ the cursor

    @property
    def page(self) -> int:
        """Rows that fit at a time."""
        return max(1, self.scrollable_content_region.height - self.head_lines)

    @property
    def first_visible(self) -> int:
        """Index of the topmost visible row."""
        return round(self.scroll_y)

    def watch_cursor(self, old: int, new: int) -> None:
        """Draw the two lines anew and tell."""
        self._show_cursor()
        for index in (old, new):
            line = index - self.first_visible + self.head_lines
            if self.head_lines <= line < self.size.height:
                self.refresh(Region(0, line, self.size.width, 1))
        self.post_message(self.Moved(self, new))

    def _show_cursor(self) -> None:
        top = self.first_visible
        page = self.page
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, force=True)
        elif self.cursor >= top + page:
            self.scroll_to(y=self.cursor - page + 1, animate=False, force=True)

    def move_to(self, index: int, step: int = 1) -> None:
        """Put the cursor on the first selectable row at or beyond `index`, in the direction of `step`."""
        count = self.row_count()
        if not count:
            return
        index = max(0, min(index, count - 1))
        while 0 <= index < count and not self.selectable(index):
            index += step
        if 0 <= index < count:
            self.moved_by_user = True
            self.cursor = index

    def action_move(self, where: str) -> None:
        """Down, up, a page of either, top or bottom."""
        last = self.row_count() - 1
        places = {
            "down": (self.cursor + 1, 1),
            "up": (self.cursor - 1, -1),
            "page-down": (self.cursor + self.page, 1),
            "page-up": (self.cursor - self.page, -1),
            "top": (0, 1),
            "bottom": (last, -1),
        }
        self.move_to(*places[where])

    def action_choose(self) -> None:
        if self.row_count():
            self.post_message(self.Chosen(self, self.cursor))

    def action_go_left(self) -> None:
        self.post_message(self.Leave(-1))

    def action_go_right(self) -> None:
        self.post_message(self.Leave(1))

    def on_resize(self) -> None:
        """Keep the cursor in sight."""
        self.rows_changed()

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        """A click moves the cursor, a second one opens."""
        index = event.y + self.first_visible - self.head_lines
        if event.y >= self.head_lines and index < self.row_count() and self.selectable(index):
            self.moved_by_user = True
            if index == self.cursor and event.chain > 1:
                self.action_choose()
            self.cursor = index
