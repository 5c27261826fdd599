"""Initializers as TensorFlow computes them, in numpy, for tests that need no TensorFlow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ckptui.core.families import fans

Floats = NDArray[np.float32]


def glorot_limit(shape: tuple[int, ...]) -> float:
    """GlorotUniform's limit."""
    fan_in, fan_out = fans(shape)
    return math.sqrt(6.0 / (fan_in + fan_out))


def fresh_uniform(shape: tuple[int, ...], limit: float | None = None, seed: int = 0, fused: bool = False) -> Floats:
    """k 2^-23 stretched to plus and minus the limit, in float32."""
    high = np.float32(glorot_limit(shape) if limit is None else limit)
    width = np.float32(high - -high)
    steps = np.random.default_rng(seed).integers(0, 1 << 23, shape)
    if fused:
        wide = steps * 2.0**-23 * float(width) - float(high)
        return wide.astype(np.float32)
    unit = (steps * 2.0**-23).astype(np.float32)
    return np.asarray(unit * width - high, dtype=np.float32)


def moved(weights: NDArray[Any], scale: float = 1e-3, seed: int = 1) -> Floats:
    """The same after something like an optimizer step."""
    noise = np.random.default_rng(seed).normal(size=weights.shape) * scale
    return np.asarray(weights + noise.astype(np.float32), dtype=np.float32)


def normal(shape: tuple[int, ...], seed: int = 0, scale: float = 0.1) -> Floats:
    """Weights that look trained: no trace of an initializer."""
    return (np.random.default_rng(seed).normal(size=shape) * scale).astype(np.float32)


def fresh_normal(
    shape: tuple[int, ...], scale: float = 0.05, seed: int = 0, truncated: bool = False, dtype: type = np.float32
) -> NDArray[Any]:
    """Box-Muller as TensorFlow does it: pairs r sin v, r cos v; truncated ones in groups of four, drawn anew."""
    draw = np.random.default_rng(seed)
    size = math.prod(shape)
    if truncated:
        groups = _pairs(draw, 4 * (size // 4 + 1), dtype).reshape(-1, 8)
        first = np.argsort(np.abs(groups) >= 2, axis=1, kind="stable")[:, :4]
        values = np.take_along_axis(groups, first, axis=1)
        assert float(np.abs(values).max()) < 2
    else:
        values = _pairs(draw, size // 2 + 1, dtype)
    return np.asarray(values.reshape(-1)[:size] * dtype(scale), dtype=dtype).reshape(shape)


def _pairs(draw: np.random.Generator, count: int, dtype: type) -> NDArray[Any]:
    bits = 23 if dtype is np.float32 else 52
    unit = np.maximum(draw.integers(0, 1 << bits, count) * 2.0**-bits, 1e-7).astype(dtype)
    angle: NDArray[Any] = np.asarray(2 * math.pi * (draw.integers(0, 1 << bits, count) * 2.0**-bits), dtype=dtype)
    radius = np.sqrt(dtype(-2) * np.log(unit))
    return np.stack((np.sin(angle) * radius, np.cos(angle) * radius), axis=1)
