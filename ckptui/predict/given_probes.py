"""Probes of plain arrays: other numbers that have nothing to do with those given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ckptui.predict.material import SEED, between
from ckptui.predict.recipe import extent

Array = np.ndarray[Any, Any]


def probe(values: Array, name: str) -> Array | None:
    """Other numbers of the same shape and dtype; whole numbers stay within the range seen, so that ids stay valid."""
    if values.dtype.kind == "b":
        made = {"zeros": np.zeros_like(values), "ones": np.ones_like(values), "the negative": ~values}
        if name in made:
            return made[name]
    draw = np.random.default_rng(SEED)
    if name == "shuffled":
        return _shuffled(values, draw)
    if name == "noise" and values.dtype.kind == "b":
        return np.asarray(draw.integers(0, 2, values.shape)).astype(bool)
    if values.dtype.kind == "c":
        return np.zeros_like(values) if name == "zeros" else None
    if values.dtype.kind in "iu":
        return _whole_probe(values, name, draw)
    low, high = extent(values)
    low, high = min(low, 0.0), max(high, 1.0)
    plain = values.astype(np.float64)
    floats: dict[str, Callable[[], Array]] = {
        "zeros": lambda: np.zeros(values.shape),
        "ones": lambda: np.ones(values.shape),
        "noise": lambda: between(low, high, np.asarray(draw.random(values.shape))),
        "the negative": lambda: np.asarray(low + high - plain),
    }
    return floats[name]().astype(values.dtype) if name in floats else None


def _drawn(draw: np.random.Generator, low: float, high: float, shape: tuple[int, ...]) -> Array:
    """Numbers between the two, whose distance may be beyond float64."""
    if np.isfinite(float(high) - float(low)):
        return np.asarray(draw.uniform(low, high, shape))
    part = draw.uniform(size=shape)
    return np.asarray(low * (1 - part) + high * part)


def _whole_probe(values: Array, name: str, draw: np.random.Generator) -> Array | None:
    low, high = values.min(), values.max()
    if name in ("zeros", "ones"):
        return np.full_like(values, low if name == "zeros" else high)
    if name == "noise":
        return np.asarray(draw.integers(low, high, values.shape, dtype=values.dtype, endpoint=True))
    # low + high may not fit the dtype; the distance to high does, as its unsigned twin.
    return (low + (high - values)).astype(values.dtype) if name == "the negative" else None


def _shuffled(values: Array, draw: np.random.Generator) -> Array | None:
    """Every row's values in another order, the same for all rows."""
    if not values.ndim:
        return None
    flat = values.reshape(values.shape[0], -1) if values.ndim > 1 else values.reshape(1, -1)
    order = draw.permutation(flat.shape[1])
    if np.array_equal(order, np.arange(len(order))):
        order = order[::-1]
    moved: Array = flat[:, order].reshape(values.shape)
    return moved
