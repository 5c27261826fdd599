"""Pixels to terminal cells: two pixels a cell where there are colours, sign and shade where there are not."""

from __future__ import annotations

import time
from enum import Enum
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.app import App

from ckptui.core.colours import GAP, Levels, Pixels

Row = list[Segment]


class Drawing(Enum):
    """What the terminal can show."""

    COLOUR = "colour"
    """256 colours or more: half blocks."""
    SHADES = "shades"
    """16 colours or none: a sign and one of ░▒▓█ a value."""
    ASCII = "ascii"
    """No UTF-8: a sign and one of .:*#."""


SHADES: dict[Drawing, str] = {Drawing.SHADES: "░▒▓█", Drawing.ASCII: ".:*#"}
RAMPS: dict[Drawing, str] = {Drawing.SHADES: " ░▒▓█", Drawing.ASCII: " .:-=+*#%@"}
EIGHTHS = " ▁▂▃▄▅▆▇█"
NEAR_ZERO = 0.02
"""Levels nearer to zero are drawn as zero where only shades tell them apart."""


def drawing_of(app: App[Any]) -> Drawing:
    """What the app's terminal can show, by its settings, `NO_COLOR` and its colour system."""
    if getattr(app, "ascii_only", False):
        return Drawing.ASCII
    if app.no_color or app.console.color_system not in ("256", "truecolor"):
        return Drawing.SHADES
    return Drawing.COLOUR


@lru_cache(4096)
def _style(foreground: int, background: int) -> Style:
    return Style(color=_colour(foreground), bgcolor=_colour(background))


@lru_cache(4096)
def _colour(value: int) -> Color | None:
    if value == GAP:
        return None
    return Color.from_rgb(value >> 16, value >> 8 & 255, value & 255)


def half_blocks(pixels: Pixels) -> list[Row]:
    """Draw (h, w) pixels in w columns and h/2 rows, the upper pixel of a cell as its half block.

    A gap leaves the background as it is; so does the lower half of an odd last row.
    """
    if pixels.shape[0] % 2:
        pixels = np.vstack([pixels, np.full((1, pixels.shape[1]), GAP, dtype=np.int32)])
    return [_half_block_row(pixels[y], pixels[y + 1]) for y in range(0, len(pixels), 2)]


def _half_block_row(upper: Pixels, lower: Pixels) -> Row:
    """One row of cells; equal neighbours become one segment."""
    row: Row = []
    run: tuple[int, int] | None = None
    length = 0
    for pair in [*zip(upper.tolist(), lower.tolist(), strict=True), None]:
        if pair == run:
            length += 1
            continue
        if run is not None:
            row.append(_half_block(run[0], run[1], length))
        run, length = pair, 1
    return row


def _half_block(upper: int, lower: int, length: int) -> Segment:
    if upper == lower:
        return Segment(" " * length, _style(GAP, lower))
    if upper == GAP:
        return Segment("▄" * length, _style(lower, GAP))
    return Segment("▀" * length, _style(upper, lower))


def shade(level: float, drawing: Drawing) -> str:
    """Two characters for one level: its sign and how large it is; `!!` for what is not finite, blanks for a gap."""
    if level != level:
        return "!!"
    if level in (float("inf"), float("-inf")):
        return "  "
    if abs(level) < NEAR_ZERO:
        return " ·" if drawing is Drawing.SHADES else " 0"
    ramp = SHADES[drawing]
    strength = min(int(abs(level) * len(ramp)), len(ramp) - 1)
    minus = "−" if drawing is Drawing.SHADES else "-"
    return ("+" if level > 0 else minus) + ramp[strength]


def shade_rows(levels: Levels, drawing: Drawing, style: Style) -> list[Row]:
    """Draw (h, w) levels in 2w columns and h rows of signs and shades."""
    return [[Segment("".join(shade(float(v), drawing) for v in line), style)] for line in levels]


def ramp_rows(luminance: npt.NDArray[Any], drawing: Drawing, style: Style) -> list[Row]:
    """Draw (h, w) brightness of 0 .. 1 in 2w columns and h rows, light as full."""
    ramp = RAMPS[drawing]
    steps = np.clip((luminance * len(ramp)).astype(int), 0, len(ramp) - 1)
    return [[Segment("".join(ramp[s] * 2 for s in line), style)] for line in steps.tolist()]


def enlarged(grid: npt.NDArray[Any], scale: int) -> npt.NDArray[Any]:
    """Repeat every pixel `scale` times along both axes."""
    return grid if scale == 1 else grid.repeat(scale, axis=0).repeat(scale, axis=1)


def cell_extent(height: int, width: int, scale: int, drawing: Drawing) -> tuple[int, int]:
    """Rows and columns that (height, width) pixels take."""
    if drawing is Drawing.COLOUR:
        return -(-height * scale // 2), width * scale
    return height, width * 2


def draw_levels(levels: Levels, pixels: Pixels, scale: int, drawing: Drawing, style: Style) -> list[Row]:
    """Draw a picture: its `pixels` in half blocks, or without colours its `levels` in shades of `style`."""
    if drawing is Drawing.COLOUR:
        return half_blocks(enlarged(pixels, scale))
    return shade_rows(levels, drawing, style)


def column(eighths: int, row: int, drawing: Drawing) -> str:
    """The character of a bar `eighths` high in text row `row`, counted from its foot."""
    left = eighths - row * 8
    if left <= 0:
        return " "
    if drawing is Drawing.ASCII:
        return "#" if left >= 8 else ":" if left >= 4 else "."
    return EIGHTHS[min(left, 8)]


def bar(share: float, width: int, drawing: Drawing) -> str:
    """A lying bar of `share` (0 .. 1) of `width` columns, in eighths of a column; padded to `width`."""
    share = min(max(share, 0.0), 1.0) if share == share else 0.0
    eighths = max(round(share * width * 8), 1 if share > 0 else 0)
    full, rest = divmod(eighths, 8)
    if drawing is Drawing.ASCII:
        return ("#" * (full + (rest >= 4))).ljust(width)[:width] if eighths >= 4 else ".".ljust(width)
    return ("█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")).ljust(width)


def area_average(image: npt.NDArray[Any], height: int, width: int) -> npt.NDArray[Any]:
    """Fit (h, w, ...) into (height, width, ...): shrink by the mean of a pixel's part, enlarge by repeating."""
    for axis, size in ((0, height), (1, width)):
        have = image.shape[axis]
        if size < have:
            edges = np.arange(size) * have // size
            counts = np.diff([*edges, have]).reshape([-1 if a == axis else 1 for a in range(image.ndim)])
            image = np.add.reduceat(image.astype(np.float64), edges, axis=axis) / counts
        elif size > have:
            image = np.take(image, np.arange(size) * have // size, axis=axis)
    return image


SPINNERS = {Drawing.ASCII: "|/-\\"}
SPIN_SECONDS = 0.1


def spinner(drawing: Drawing) -> str:
    """The sign of something that goes on, as it looks at this moment."""
    signs = SPINNERS.get(drawing, "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
    return signs[int(time.monotonic() / SPIN_SECONDS) % len(signs)]
