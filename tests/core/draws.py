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
