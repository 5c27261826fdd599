"""A scrolling grid of framed filters; only what is on screen is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from rich.segment import Segment
from textual import events
from textual.actions import SkipAction
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from ckptui.ui.access import say
from ckptui.ui.commands import bindings_for
from ckptui.ui.widgets.cells import Row, drawing_of
from ckptui.ui.widgets.filter_frames import GAP, FrameStyles, Geometry, framed, geometry_of
from ckptui.ui.widgets.filter_images import FilterPictures

MOST_ZOOM = 4


@dataclass(frozen=True, slots=True)
class Look:
    """How the grid shows its filters now."""

    view: int = 0
    """0 for the first view, else the channel + 1."""
    per_filter: bool = False
    """Every filter on its own scale instead of the layer's."""
    order: str = "index"
    zoom: int = 0
    """Added to the scale that fits the kernel size."""


class FilterGrid(ScrollView, can_focus=True):
    """Filters in frames: flagged ones in the colour of their flag and with a word, the selected one heavy."""

    COMMAND_SCOPE = "gallery"
    BINDINGS = bindings_for("gallery")
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "filter-grid--frame",
        "filter-grid--index",
        "filter-grid--error",
        "filter-grid--warning",
        "filter-grid--odd",
        "filter-grid--muted",
        "filter-grid--cursor",
        "filter-grid--values",
    }
    DEFAULT_CSS = """
    FilterGrid {
        background: transparent;
        overflow-x: hidden;
        scrollbar-size-vertical: 1;
        & > .filter-grid--frame { color: $faint; }
        & > .filter-grid--index { color: $dim; }
        & > .filter-grid--error { color: $error; text-style: bold; }
        & > .filter-grid--warning { color: $warning; text-style: bold; }
        & > .filter-grid--odd { color: $odd; text-style: bold; }
        & > .filter-grid--muted { color: $dim; }
        & > .filter-grid--cursor { color: $primary; text-style: bold; }
        & > .filter-grid--values { color: $foreground; }
    }
    """
    look: reactive[Look] = reactive(Look())
    cursor: reactive[int] = reactive(0)
    """Place of the selected filter in the order shown."""

    @dataclass
    class Changed(Message):
        """Another filter, view, order or scale, or another number of filters in sight."""

        grid: FilterGrid

        @property
        def control(self) -> FilterGrid:
            return self.grid

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.pictures: FilterPictures | None = None
        self._order: Sequence[int] = ()
        self._drawn: dict[tuple[int, bool], list[Row]] = {}

    def show(self, pictures: FilterPictures | None) -> None:
        """Draw these filters from the top, in their first view and order."""
        self.pictures = pictures
        self._drawn.clear()
        first = pictures.orders[0] if pictures else "index"
        self._order = pictures.order(first) if pictures else ()
        self.set_reactive(FilterGrid.look, Look(order=first))
        self.set_reactive(FilterGrid.cursor, 0)
        self._lay_out()
        self.refresh_bindings()
        self.scroll_to(y=0, animate=False)

    def renew(self) -> None:
        """More is known about the same filters: frames, words, scale and orders may be others; the place is kept."""
        self._drawn.clear()
        self.refresh()
        self.refresh_bindings()
        self.post_message(self.Changed(self))

    @property
    def geometry(self) -> Geometry:
        """How the filters lie in the width there is."""
        size, count = (self.pictures.size, self.pictures.count) if self.pictures else ((1, 1), 0)
        width = self.scrollable_content_region.width
        return geometry_of(size, count, self.look.zoom, drawing_of(self.app), width)

    @property
    def in_sight(self) -> int:
        """Filters wholly on screen."""
        return self.geometry.in_sight(self.scroll_offset.y, self.scrollable_content_region.height)

    @property
    def selected(self) -> int | None:
        """Index of the filter under the cursor."""
        return self._order[self.cursor] if self.cursor < len(self._order) else None

    def _lay_out(self) -> None:
        geometry, height = self.geometry, self.scrollable_content_region.height
        # below the last row there is room for a part of one: at the end the upper row is whole too
        rest = height % geometry.pitch if geometry.lines > height >= geometry.pitch else 0
        self.virtual_size = Size(self.scrollable_content_region.width, geometry.lines + rest)
        self.refresh()
        self.post_message(self.Changed(self))

    # ------------------------------------------------------------------ drawing

    def render_line(self, y: int) -> Strip:
        geometry = self.geometry
        row, line = divmod(y + self.scroll_offset.y, geometry.pitch)
        segments: Row = []
        for place in range(row * geometry.per_row, min((row + 1) * geometry.per_row, len(self._order))):
            segments += self._framed(place, geometry)[line]
            segments.append(Segment(" " * GAP))
        return Strip(segments).adjust_cell_length(self.size.width).apply_style(self.rich_style)

    def _framed(self, place: int, geometry: Geometry) -> list[Row]:
        """The lines of one framed filter, drawn once per look."""
        assert self.pictures is not None
        under_cursor = place == self.cursor and self.has_focus
        index = self._order[place]
        key = (index, under_cursor)
        if key not in self._drawn:
            flag = self.pictures.flag(index)
            names = {
                "edge": flag.tone if flag else "cursor" if under_cursor else "frame",
                "label": flag.tone if flag else "cursor" if under_cursor else "index",
                "values": "values",
            }
            styles = FrameStyles(
                **{
                    part: self.get_component_rich_style(f"filter-grid--{name}", partial=True)
                    for part, name in names.items()
                }
            )
            picture = self.pictures.picture(index, self.look.view, self.look.per_filter)
            self._drawn[key] = framed(index, picture, flag, geometry, drawing_of(self.app), styles, under_cursor)
        return self._drawn[key]

    # ------------------------------------------------------------------ events

    def on_resize(self, event: events.Resize) -> None:
        self._lay_out()

    def on_click(self, event: events.Click) -> None:
        place = self.geometry.place_at(event.x, event.y + self.scroll_offset.y)
        if place < len(self._order):
            self.cursor = place

    def watch_has_focus(self, has_focus: bool) -> None:
        super().watch_has_focus(has_focus)
        self.refresh()
        self.post_message(self.Changed(self))

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self.post_message(self.Changed(self))

    def watch_cursor(self) -> None:
        """Keep the selected filter on screen; it is scrolled by whole rows."""
        geometry = self.geometry
        row, rows = self.cursor // geometry.per_row, self.scrollable_content_region.height // geometry.pitch
        first = -(-self.scroll_offset.y // geometry.pitch)
        if not first <= row < first + rows or self.scroll_offset.y % geometry.pitch:
            top = min(max(first, row - max(rows, 1) + 1), row)
            self.scroll_to(y=top * geometry.pitch, animate=False, force=True)
        self.refresh()
        self.post_message(self.Changed(self))

    def watch_look(self, before: Look, after: Look) -> None:
        self._drawn.clear()
        if self.pictures is not None and before.order != after.order:
            selected = self.selected
            self._order = self.pictures.order(after.order)
            self.cursor = 0 if selected is None else list(self._order).index(selected)
        self._lay_out()
        self.watch_cursor()

    def notify_style_update(self) -> None:
        """Another theme: every frame is drawn anew."""
        super().notify_style_update()
        self._drawn.clear()

    # ------------------------------------------------------------------ keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Other channels are offered only where there are several."""
        if action == "look" and parameters[:1] == ("view",):
            return self.pictures is not None and self.pictures.views > 1
        return True

    def on_key(self, event: events.Key) -> None:
        """A key that can do nothing here says why."""
        single = self.pictures is not None and self.pictures.views == 1
        if single and event.key in ("left_square_bracket", "right_square_bracket"):
            event.stop()
            say(self, "one channel only")

    def action_go(self, where: str) -> None:
        """Move the cursor by a filter, a row, a page or to an end; at the ends it stays."""
        geometry = self.geometry
        page = max(1, self.scrollable_content_region.height // geometry.pitch) * geometry.per_row
        last = len(self._order) - 1
        steps = {
            "left": -1,
            "right": 1,
            "up": -geometry.per_row,
            "down": geometry.per_row,
            "page-up": -page,
            "page-down": page,
            "top": -self.cursor,
            "bottom": last - self.cursor,
        }
        place = self.cursor + steps[where]
        if where.startswith("page"):
            place = min(max(place, 0), last)
        if 0 <= place <= last:
            self.cursor = place

    def action_flagged(self, step: int) -> None:
        """Go to the next flagged filter; with none left the key is the screen's."""
        place = self.cursor + step
        while self.pictures is not None and 0 <= place < len(self._order):
            flag = self.pictures.flag(self._order[place])
            if flag is not None and flag.tone != "muted":
                self.cursor = place
                return
            place += step
        raise SkipAction()

    def action_look(self, what: Literal["order", "view", "scale", "zoom"], step: int) -> None:
        """Step through orders, channels, scales or sizes."""
        if self.pictures is None:
            return
        look = self.look
        if what == "order":
            orders = self.pictures.orders
            self.look = replace(look, order=orders[(orders.index(look.order) + step) % len(orders)])
        elif what == "view":
            self.look = replace(look, view=(look.view + step) % self.pictures.views)
        elif what == "scale":
            self.look = replace(look, per_filter=not look.per_filter)
        else:
            zoom = min(max(look.zoom + step, -1), MOST_ZOOM)
            if zoom == look.zoom:
                say(self, "the largest" if step > 0 else "the smallest")
            self.look = replace(look, zoom=zoom)
