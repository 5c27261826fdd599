"""Changes of a picture that are no flip, for comparison: what moves an answer by how much. Pixels in, pixels out."""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np

from ckptui.predict.material import FLIPS, changed_pixels

Array = np.ndarray[Any, Any]

CONTROLS = ("shift-1", "noise", "brightness", "rotate-15", "rotate-90", "shear")
CHANGES = (*FLIPS, *CONTROLS)

NOISE = 0.05
"""Standard deviation of the noise, as a share of the pixels' range."""
BRIGHTER = 0.1
"""What is added, as a share of the range."""
DEGREES = 15.0
SHEAR = 0.2
"""Columns a row moves for each row it lies below the middle."""


def changed(pixels: Array, name: str) -> Array:
    """[h, w, c] under the flip or control called `name`, in its shape and dtype.

    The range is 0..255 for uint8 and the array's own otherwise. What lies outside the picture is its nearest edge.
    Raises KeyError for a change there is not.
    """
    if name in FLIPS:
        flipped = changed_pixels(pixels, name)
        assert flipped is not None
        return flipped
    return _MADE[name](pixels)


def shift(pixels: Array) -> Array:
    """One column to the right; the first column stays."""
    return np.concatenate([pixels[:, :1], pixels[:, :-1]], axis=1)


def noise(pixels: Array) -> Array:
    """Normal noise on every value, drawn from a seed that the pixels give: another picture, other noise."""
    low, high = value_range(pixels)
    draw = np.random.default_rng(zlib.crc32(np.ascontiguousarray(pixels).tobytes()))
    return _as(pixels.astype(np.float64) + draw.normal(0.0, NOISE * (high - low), pixels.shape), pixels)


def brightness(pixels: Array) -> Array:
    """Every value higher by the same amount, cut off at the top of the range."""
    low, high = value_range(pixels)
    return _as(pixels.astype(np.float64) + BRIGHTER * (high - low), pixels)


def rotate(pixels: Array) -> Array:
    """Turned by 15 degrees about the middle, anticlockwise as it is looked at."""
    turn = math.radians(DEGREES)
    return affine(pixels, ((math.cos(turn), math.sin(turn)), (-math.sin(turn), math.cos(turn))))


def quarter_turn(pixels: Array) -> Array:
    """Turned by 90 degrees anticlockwise; one that is not square is stretched back to its own shape."""
    height, width = pixels.shape[:2]
    if height == width:
        return np.ascontiguousarray(np.rot90(pixels))
    down, across = max(height - 1, 1), max(width - 1, 1)
    return affine(pixels, ((0.0, down / across), (-across / down, 0.0)))


def shear(pixels: Array) -> Array:
    """Rows moved sideways, the more the farther they are from the middle."""
    return affine(pixels, ((1.0, 0.0), (-SHEAR, 1.0)))


def affine(pixels: Array, matrix: tuple[tuple[float, float], tuple[float, float]]) -> Array:
    """Sampled bilinearly at `matrix` times the position, both (row, column) from the middle.

    Positions outside take the nearest pixel of the edge.
    """
    height, width = pixels.shape[:2]
    rows = np.arange(height, dtype=np.float64)[:, None] - (height - 1) / 2
    columns = np.arange(width, dtype=np.float64)[None, :] - (width - 1) / 2
    (a, b), (c, d) = matrix
    y = np.clip(a * rows + b * columns + (height - 1) / 2, 0, height - 1)
    x = np.clip(c * rows + d * columns + (width - 1) / 2, 0, width - 1)
    top, left = np.floor(y).astype(np.intp), np.floor(x).astype(np.intp)
    down, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    v, u = (y - top)[..., None], (x - left)[..., None]
    values = pixels.astype(np.float64)
    upper = values[top, left] * (1 - u) + values[top, right] * u
    lower = values[down, left] * (1 - u) + values[down, right] * u
    return _as(upper * (1 - v) + lower * v, pixels)


def value_range(pixels: Array) -> tuple[float, float]:
    """0 and 255 for uint8, else the lowest and highest finite value; 0 and 1 where they are the same or none."""
    if pixels.dtype == np.uint8:
        return 0.0, 255.0
    finite = pixels[np.isfinite(pixels)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return (low, high) if high > low else (0.0, 1.0)


def own_mirror(pixels: Array, flip: str) -> bool:
    """The flip changes the picture no more than a shift by one pixel does: it is next to its own mirror image."""
    values = pixels.astype(np.float64)
    flipped = np.abs(values - changed(pixels, flip)).mean()
    return bool(flipped <= np.abs(values - shift(pixels)).mean())


def _as(values: Array, like: Array) -> Array:
    if like.dtype == np.uint8:
        return np.clip(np.floor(values + 0.5), 0, 255).astype(np.uint8)
    low, high = value_range(like)
    return np.asarray(np.clip(values, low, high)).astype(like.dtype)


_MADE = {
    "shift-1": shift,
    "noise": noise,
    "brightness": brightness,
    "rotate-15": rotate,
    "rotate-90": quarter_turn,
    "shear": shear,
}
