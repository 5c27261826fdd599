"""Frames around filters: how many fit, and the cells of one."""

from __future__ import annotations

from dataclasses import dataclass

from rich.segment import Segment
from rich.style import Style

from ckptui.core.filter_flags import Flag
from ckptui.core.pictures import Picture
from ckptui.ui.widgets.cells import Drawing, Row, cell_extent, draw_levels

LEAST_INNER = 6
"""Columns inside a frame at least: a flag's word has to fit."""
GAP = 0
"""Columns between frames."""
SIGNS: dict[tuple[bool, bool], str] = {
    (False, False): "╭─╮│╰╯",
    (False, True): "┏━┓┃┗┛",
    (True, False): "+-+|++",
    (True, True): "#=#H##",
}
"""By (ASCII only, heavy): corner, edge, corner, side, lower corners."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """How a number of equal pictures lie in rows of frames."""

    count: int
    scale: int
    """Screen pixels a weight takes along each axis, where pixels are drawn."""
    rows: int
    """Text rows inside a frame."""
    inner: int
    """Columns inside a frame."""
    per_row: int

    @property
    def pitch(self) -> int:
        """Text rows from one row of frames to the next."""
        return self.rows + 2

    @property
    def lines(self) -> int:
        """Text rows of all frames."""
        return -(-self.count // self.per_row) * self.pitch

    def place_at(self, x: int, y: int) -> int:
        """Place in the order of the frame at a cell of the whole grid."""
        return y // self.pitch * self.per_row + min(x // (self.inner + 2 + GAP), self.per_row - 1)

    def in_sight(self, top: int, height: int) -> int:
        """Frames wholly within `height` lines from `top`."""
        first, end = -(-top // self.pitch), (top + height) // self.pitch
        return max(0, min(end * self.per_row, self.count) - first * self.per_row)


def geometry_of(size: tuple[int, int], count: int, zoom: int, drawing: Drawing, width: int) -> Geometry:
    """Lay `count` pictures of `size` (height, width) into `width` columns; small kernels are drawn larger."""
    edge = size[0] if size[0] > 1 else size[1]
    scale = max(1, (3 if edge <= 2 else 2 if edge <= 5 else 1) + zoom)
    rows, columns = cell_extent(*size, scale, drawing)
    inner = max(columns, LEAST_INNER)
    return Geometry(count, scale, rows, inner, max(1, (width + GAP) // (inner + 2 + GAP)))


@dataclass(frozen=True, slots=True)
class FrameStyles:
    """The styles of one frame."""

    edge: Style
    label: Style
    values: Style
    """For terminals without colours: signs and shades."""


def framed(
    index: int,
    picture: Picture,
    flag: Flag | None,
    geometry: Geometry,
    drawing: Drawing,
    styles: FrameStyles,
    heavy: bool,
) -> list[Row]:
    """The lines of one framed filter: its index in the upper edge, the word of its flag in the lower."""
    signs = SIGNS[drawing is Drawing.ASCII, heavy]
    inner = geometry.inner
    body = draw_levels(picture.levels, picture.pixels, geometry.scale, drawing, styles.values)
    side = Segment(signs[3], styles.edge)
    lines = [_rule(signs[0] + signs[1] + signs[2], str(index), inner, styles)]
    lines += [[side, *_padded(content, inner), side] for content in body]
    lines.append(_rule(signs[4] + signs[1] + signs[5], flag.word if flag else "", inner, styles))
    return lines


def _padded(content: Row, inner: int) -> Row:
    """Content in the middle of `inner` columns."""
    pad = inner - sum(len(segment.text) for segment in content)
    if pad <= 0:
        return content
    return [Segment(" " * (pad // 2)), *content, Segment(" " * (pad - pad // 2))]


def _rule(signs: str, text: str, inner: int, styles: FrameStyles) -> Row:
    """An edge of a frame with a text in it."""
    text = text[:inner]
    rest = inner - len(text)
    return [
        Segment(signs[0], styles.edge),
        Segment(text, styles.label),
        Segment(signs[1] * rest + signs[2], styles.edge),
    ]
