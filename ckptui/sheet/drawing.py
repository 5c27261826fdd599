"""The sheet itself: a plan and the values it asked for become an image."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from PIL import Image

from ckptui import __version__
from ckptui.core.colours import GAP, Levels, Pixels, diverging, normalised, signed_rgb
from ckptui.core.filter_flags import Flag
from ckptui.core.heatmaps import places
from ckptui.core.pictures import layer_limit
from ckptui.core.text import number_text
from ckptui.engine.pictures import Values
from ckptui.errors import CkptuiError
from ckptui.sheet.canvas import Canvas, width_of
from ckptui.sheet.planning import (
    FRAME,
    HEADER,
    INNER,
    LABEL,
    LANE,
    LINE,
    MARGIN,
    REASON_BOX,
    SCALE,
    TITLE,
    WIDTH,
    Block,
    Plan,
    kind_of,
    label_of,
    scale_facts,
)
from ckptui.sheet.words import title_facts

RAMP = 161
"""Pixels of the scale: zero lies on the one in the middle."""
SMALL, NORMAL, LARGE = 12, 13, 20
NAME = 15

Mask = npt.NDArray[np.bool_]
Drawn = Mapping[str, Values | CkptuiError]
"""By tensor: the values to draw, or why there are none."""


def draw(plan: Plan, drawn: Drawn, tell: Callable[[int], None] = lambda done: None) -> Image.Image:
    """The image of a plan; `tell` is called with the number of blocks done."""
    canvas = Canvas(WIDTH, plan.height)
    _header(canvas, plan)
    y = plan.top
    for done, block in enumerate(plan.blocks):
        tell(done)
        _block(canvas, y, block, drawn.get(block.tensor.name), plan.per_filter)
        y += block.height
    for line in plan.footer:
        canvas.text(MARGIN, y, line, "dim", most=INNER)
        y += LINE
    return canvas.image


def _header(canvas: Canvas, plan: Plan) -> None:
    own = f"ckptui {__version__}  filters"
    canvas.text(WIDTH - MARGIN, MARGIN + 6, own, "dim", right=True)
    canvas.text(MARGIN, MARGIN, plan.title, size=LARGE, most=INNER - width_of(own, NORMAL) - 24, middle=True)
    canvas.text(MARGIN, MARGIN + 32, plan.facts, "dim", most=INNER)
    y = MARGIN + HEADER
    for line in plan.notes:
        _told(canvas, y, line.tone, line.text)
        y += LINE
    for place, (flag, count) in enumerate(plan.legend):
        x = MARGIN + (place % 2) * (INNER // 2)
        row = y + place // 2 * LINE
        canvas.frame(x, row + 2, 13, 13, flag.tone, 2)
        end = canvas.text(x + 22, row, flag.word, flag.tone)
        words = f"{count} filter{'s' if count != 1 else ''}: {flag.meaning}"
        canvas.text(max(end + 10, x + 66), row, words, "dim", most=INNER // 2 - 80)


def _told(canvas: Canvas, y: int, tone: str, text: str) -> None:
    """A line of words; a finding's severity stands before it."""
    x = MARGIN
    if tone in ("error", "warning", "info"):
        x = canvas.text(x, y, tone, tone) + 8
    canvas.text(x, y, text, "dim" if tone == "dim" else "plain", most=WIDTH - MARGIN - x)


def _block(canvas: Canvas, y: int, block: Block, values: Values | CkptuiError | None, per_filter: bool) -> None:
    canvas.bar(MARGIN, y - 10, INNER, 1, "faint")
    facts = title_facts(block.tensor, block.layer)
    room = INNER - width_of(facts, NORMAL) - 40
    end = canvas.text(MARGIN, y, block.tensor.name, size=NAME, most=max(room, INNER // 3), middle=True)
    canvas.text(end + 16, y + 2, facts, "dim", most=WIDTH - MARGIN - end - 16)
    y += TITLE
    for line in block.lines:
        _told(canvas, y, line.tone, line.text)
        y += LINE
    if not isinstance(values, Values):
        reason = f"not drawn: {values}" if values is not None else "not drawn"
        canvas.hatch(MARGIN, y + 4, INNER, REASON_BOX - 8, "error")
        canvas.text(MARGIN + 12, y + 12, reason, most=INNER - 24)
    elif block.grid is not None:
        _scale(canvas, y, block, values, per_filter)
        _filters(canvas, y + SCALE, block, values, per_filter)
    else:
        _scale(canvas, y, block, values, False)
        _heat_map(canvas, y + SCALE, block, values)


# ------------------------------------------------------------------ the scale


def _scale(canvas: Canvas, y: int, block: Block, values: Values, per_filter: bool) -> None:
    """The colours with both ends and zero, what is drawn, and at the right how much of it."""
    coloured = values.planes.ndim == 4
    levels = np.linspace(-1, 1, RAMP, dtype=np.float32)[None, :]
    pixels = signed_rgb(np.stack([levels] * 3, axis=-1)) if coloured else diverging(levels)
    limit = number_text(values.limit, 3)
    low, high = ("-1", "1") if per_filter else (f"-{limit}", limit) if values.limit > 0 else ("", "0")
    x = MARGIN + width_of(low, SMALL) + 6
    canvas.text(MARGIN, y + 3, low, "dim", SMALL)
    canvas.pixels(x, y + 3, pixels, 12, 1, np.zeros(pixels.shape, bool))
    canvas.bar(x + RAMP // 2, y + 15, 1, 4, "dim")
    end = canvas.text(x + RAMP + 6, y + 3, high, "dim", SMALL)
    words = [_view_words(block, values)]
    if per_filter:
        words.insert(0, "of each filter's own largest weight")
    elif values.largest > values.limit > 0:
        words.insert(0, f"larger ones in full colour, up to {number_text(values.largest, 3)}")
    shown = scale_facts(block)
    canvas.text(WIDTH - MARGIN, y + 3, shown, "plain", SMALL, right=True)
    room = WIDTH - MARGIN - width_of(shown, SMALL) - 24 - end - 18
    canvas.text(end + 18, y + 3, "; ".join(words), "dim", SMALL, most=room)


def _view_words(block: Block, values: Values) -> str:
    if block.grid is None or values.planes.ndim == 4:
        return "the weights" if block.grid is None else "3 channels as red, green and blue; mid grey is 0"
    if values.share is None:
        return "the weights; grey is 0"
    channels = block.layer.channels if block.layer is not None else 0
    return f"first component of {channels} channels ({values.share:.0%} of the energy); grey is 0"


# ------------------------------------------------------------------ filters


def _filters(canvas: Canvas, y: int, block: Block, values: Values, per_filter: bool) -> None:
    grid = block.grid
    assert grid is not None
    assert block.layer is not None
    depth = block.layer.kernel[0] if len(block.layer.kernel) == 3 else 1
    pixels, broken = coloured(values, per_filter, depth)
    wide, high = grid.width * grid.scale + 2 * FRAME, grid.height * grid.scale + 2 * FRAME
    for place, index in enumerate(block.picks):
        left = MARGIN + place % grid.columns * grid.pitch
        top = y + place // grid.columns * grid.row_height
        flag = block.flags.get(index)
        canvas.text(left, top - 1, label_of(index, block.flags), flag.tone if flag else "dim", SMALL)
        canvas.frame(left, top + LABEL, wide, high, flag.tone if flag else "frame", 2 if flag else 1)
        inner = left + FRAME, top + LABEL + FRAME
        canvas.pixels(*inner, pixels[place], grid.scale, grid.scale, broken[place])


def coloured(values: Values, per_filter: bool, depth: int) -> tuple[Pixels, Mask]:
    """Filters (n, h, w[, 3]) as (n, h, w) of 0xRRGGBB, and which of them are not finite; slices are parted by gaps."""
    planes = values.planes
    if per_filter:
        levels: Levels = np.stack([normalised(plane, layer_limit(plane)) for plane in planes])
    else:
        levels = normalised(planes, values.limit)
    broken: Mask = np.asarray(np.isnan(levels).any(axis=-1) if levels.ndim == 4 else np.isnan(levels))
    pixels = signed_rgb(levels) if levels.ndim == 4 else diverging(levels)
    if depth > 1:
        slices = np.arange(1, depth) * (pixels.shape[2] // depth)
        return np.insert(pixels, slices, GAP, axis=2), np.insert(broken, slices, False, axis=2)
    return pixels, broken


# ------------------------------------------------------------------ heat maps


def _heat_map(canvas: Canvas, y: int, block: Block, values: Values) -> None:
    """A matrix, marks beside the units that are flagged, and below which these are."""
    heat = block.heat
    assert heat is not None
    levels = normalised(values.planes.T if heat.turned else values.planes, values.limit)
    left, top = MARGIN + LANE, y + LANE
    canvas.pixels(left, top, diverging(levels), heat.down, heat.right, np.isnan(levels))
    high, wide = heat.rows * heat.down, heat.columns * heat.right
    canvas.frame(left - 1, top - 1, wide + 2, high + 2, "frame")
    shown, full, each = (
        (heat.rows, heat.full[0], heat.down) if heat.by_rows else (heat.columns, heat.full[1], heat.right)
    )
    firsts = places(full, shown)
    # the gravest last: where two units share a pixel its mark stays
    for index, flag in sorted(block.flags.items(), key=lambda one: _gravity(one[1])):
        place = (int(np.searchsorted(firsts, index, side="right")) - 1) * each
        place, thick = place - max(3 - each, 0) // 2, max(each, 3)
        if heat.by_rows:
            canvas.bar(MARGIN, top + place, LANE - 3, thick, flag.tone)
        else:
            canvas.bar(left + place, y, thick, LANE - 3, flag.tone)
    y = top + high + 6
    for flag, units in block.listed:
        end = canvas.text(left, y, flag.word, flag.tone)
        canvas.text(end + 8, y, f"{heat.names[0 if heat.by_rows else 1]} {units}", "dim", most=WIDTH - MARGIN - end - 8)
        y += LINE


def _gravity(flag: Flag) -> int:
    return ("muted", "odd", "warning", "error").index(kind_of(flag).tone)
