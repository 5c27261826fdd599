"""Small pictures side by side in half blocks, as a model sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from rich.segment import Segment
from textual import events
from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget

from ckptui.core.colours import pack
from ckptui.ui.fitting import left
from ckptui.ui.widgets.cells import Drawing, Row, area_average, drawing_of, enlarged, half_blocks, ramp_rows

Image = npt.NDArray[np.uint8]
BETWEEN = 2
LEAST_ROWS, MOST_ROWS = 6, 14
"""Text rows of a picture: a quarter of the screen, within these."""
LEAST_PIXELS = 12
"""Across or down a picture, before the last ones are left out."""
LUMINANCE = (0.299, 0.587, 0.114)


def image_of(preview: bytes, size: tuple[int, int]) -> Image | None:
    """(height, width, 3) of 8-bit RGB rows; None where the bytes are not as many as the size says."""
    width, height = size
    if width <= 0 or height <= 0 or len(preview) != width * height * 3:
        return None
    return np.frombuffer(preview, dtype=np.uint8).reshape(height, width, 3)


def fitted(shape: tuple[int, int], columns: int, rows: int) -> tuple[int, int]:
    """Height and width of an image of `shape` in `columns` by `rows` pixels; enlarged by whole numbers only."""
    height, width = shape
    if height <= rows and width <= columns:
        scale = max(1, min(rows // height, columns // width))
        return height * scale, width * scale
    scale_down = min(rows / height, columns / width)
    return max(1, round(height * scale_down)), max(1, round(width * scale_down))


class ImageStrip(Widget):
    """Pictures of one size under their titles."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"image-strip--title", "image-strip--shades"}
    DEFAULT_CSS = """
    ImageStrip {
        height: auto;
        & > .image-strip--title { color: $dim; }
        & > .image-strip--shades { color: $foreground; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.pictures: Sequence[tuple[str, Image]] = ()
        self._lines: list[Row] = []

    def show(self, pictures: Sequence[tuple[str, Image]]) -> None:
        """Draw these (title, image) pairs."""
        self.pictures = pictures
        self._lines = []
        self.refresh(layout=True)

    def _shown(self, width: int) -> Sequence[tuple[str, Image]]:
        """The pictures there is room for: better one that can be recognized than three that can't."""
        for count in range(len(self.pictures), 1, -1):
            height, wide, _ = self._pixels(width, count)
            natural = self.pictures[0][1].shape
            if min(height, wide) >= min(LEAST_PIXELS, *natural[:2]):
                return self.pictures[:count]
        return self.pictures[:1]

    def _pixels(self, width: int, count: int) -> tuple[int, int, int]:
        """Height and width of one of `count` pictures in pixels, and the columns it takes."""
        image = self.pictures[0][1]
        room = (width - BETWEEN * (count - 1)) // count
        coloured = drawing_of(self.app) is Drawing.COLOUR
        rows = min(max(self.screen.size.height // 4, LEAST_ROWS), MOST_ROWS)
        across, down = (room, rows * 2) if coloured else (room // 2, rows)
        height, wide = fitted(image.shape[:2], max(across, 1), down)
        return height, wide, wide if coloured else wide * 2

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many rows as the pictures take in this width, and one for their titles."""
        if not self.pictures or width <= 0:
            return 0
        height = self._pixels(width, len(self._shown(width)))[0]
        return 1 + (-(-height // 2) if drawing_of(self.app) is Drawing.COLOUR else height)

    def on_resize(self, event: events.Resize) -> None:
        self._lines = []

    def _draw(self) -> list[Row]:
        pictures = self._shown(self.content_size.width)
        height, wide, columns = self._pixels(self.content_size.width, len(pictures))
        pitch = max(columns, *(len(title) for title, _ in pictures)) + BETWEEN
        style = self.get_component_rich_style("image-strip--title", partial=True)
        lines: list[Row] = [[Segment(left(title, pitch), style) for title, _ in pictures]]
        gap = Segment(" " * (pitch - columns))
        for rows in zip(*(self._body(image, height, wide) for _, image in pictures), strict=True):
            lines.append([segment for row in rows for segment in (*row, gap)])
        return lines

    def _body(self, image: Image, height: int, wide: int) -> list[Row]:
        drawing = drawing_of(self.app)
        if drawing is Drawing.COLOUR:
            whole = height // image.shape[0]
            if whole >= 1 and image.shape[0] * whole == height:
                return half_blocks(pack(enlarged(image, whole)))
            return half_blocks(pack(np.rint(area_average(image, height, wide))))
        shades = self.get_component_rich_style("image-strip--shades", partial=True)
        small: npt.NDArray[Any] = area_average(image, height, wide) @ np.array(LUMINANCE) / 255
        return ramp_rows(small, drawing, shades)

    def render_line(self, y: int) -> Strip:
        if self.pictures and not self._lines and self.content_size.width:
            self._lines = self._draw()
        row = self._lines[y] if y < len(self._lines) else []
        return Strip(row).adjust_cell_length(self.size.width).apply_style(self.rich_style)
