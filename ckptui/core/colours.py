"""The diverging scale of weights: blue below zero, grey at zero, orange above; and the colours of flags.

The only module with colour literals: a scale of data must look the same under every theme.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.int32]
"""Rows of 0xRRGGBB; `GAP` where nothing is drawn."""
Levels = npt.NDArray[np.float32]
"""Rows of -1 .. 1; nan for a value that is not finite, inf where nothing is drawn."""

GAP = -1
NOT_FINITE = 0xFF2E88
STOPS: tuple[tuple[float, tuple[int, int, int]], ...] = (
    (-1.0, (66, 132, 255)),
    (-0.5, (63, 106, 190)),
    (0.0, (68, 71, 79)),
    (0.5, (176, 101, 55)),
    (1.0, (255, 133, 51)),
)
"""Zero is a grey no theme uses as background, so a dead filter is a grey square and not a hole."""


def pack(rgb: npt.NDArray[Any]) -> Pixels:
    """Turn (..., 3) channels of 0 .. 255 into 0xRRGGBB."""
    wide = rgb.astype(np.int32)
    packed: Pixels = (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]
    return packed


def diverging(levels: Levels) -> Pixels:
    """Colour levels of -1 .. 1, clipped; nan gets the colour of what is not finite, inf stays a gap."""
    places = [place for place, _ in STOPS]
    finite = np.where(np.isfinite(levels), levels, 0.0)
    channels = [np.interp(finite, places, [colour[c] for _, colour in STOPS]) for c in range(3)]
    pixels = pack(np.rint(np.stack(channels, axis=-1)))
    pixels[np.isnan(levels)] = NOT_FINITE
    pixels[np.isinf(levels)] = GAP
    return pixels


def signed_rgb(levels: Levels) -> Pixels:
    """Colour (..., 3) levels of -1 .. 1 as red, green and blue around mid grey: no weight is grey, not black."""
    finite = np.where(np.isfinite(levels), np.clip(levels, -1.0, 1.0), 0.0)
    pixels = pack(np.rint(finite * 119.0 + 128.0))
    pixels[np.isnan(levels).any(axis=-1)] = NOT_FINITE
    pixels[np.isinf(levels).any(axis=-1)] = GAP
    return pixels


def normalised(values: npt.NDArray[Any], limit: float) -> Levels:
    """Divide by `limit` and clip to -1 .. 1; what is not finite becomes nan, and a limit of 0 gives zeros."""
    values = np.asarray(values, dtype=np.float32)
    finite = np.isfinite(values)
    scale = limit if limit > 0 else 1.0
    levels = np.clip(np.where(finite, values, 0.0) / np.float32(scale), -1.0, 1.0)
    result: Levels = np.where(finite, levels, np.nan).astype(np.float32)
    return result
