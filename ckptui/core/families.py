"""Which initializer a tensor may have been drawn by: from its layer's config, else from its shape."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ckptui.core.chance import kolmogorov_tail

Law = Literal["uniform", "truncated", "normal", "constant", "identity", "orthogonal"]

TRUNCATED_STD = 0.87962566103423978
"""Standard deviation of a unit normal cut off at two; Keras divides by it in VarianceScaling."""
LIMITS = 20
"""Limits `likely_limits` tries, at most, for kernels of two and four axes."""
_ALIASES = {"uniform": "random_uniform", "normal": "random_normal", "zero": "zeros", "one": "ones"}
_SCALING: dict[str, tuple[float, str, str]] = {
    "glorot_uniform": (1.0, "fan_avg", "uniform"),
    "he_uniform": (2.0, "fan_in", "uniform"),
    "lecun_uniform": (1.0, "fan_in", "uniform"),
    "glorot_normal": (1.0, "fan_avg", "truncated_normal"),
    "he_normal": (2.0, "fan_in", "truncated_normal"),
    "lecun_normal": (1.0, "fan_in", "truncated_normal"),
}


@dataclass(frozen=True, slots=True)
class Family:
    """One initializer with the numbers that matter for a shape."""

    match: str | None
    """Keras' snake-case name; None for one Keras does not ship."""
    law: Law
    low: float = 0.0
    """Lower limit (uniform), mean (normals), value (constant), gain (identity, orthogonal)."""
    high: float = 0.0
    """Upper limit (uniform), standard deviation before truncation (normals)."""


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """(fan in, fan out) as Keras' `compute_fans` has them, for depthwise and transposed kernels too."""
    if not shape:
        return 1, 1
    if len(shape) == 1:
        return shape[0], shape[0]
    field = math.prod(shape[:-2])
    return shape[-2] * field, shape[-1] * field


def families_of(shape: Sequence[int], role: str, config: Mapping[str, Any] | None) -> tuple[list[Family], bool]:
    """The initializers to try for a tensor, and whether the config names the one it had.

    A Keras config is {"class_name", "config"}, Keras 1 to 3. Without one, or with one Keras does not ship, all
    that Keras draws by default is to be tried.
    """
    told = from_config(shape, config)
    if told:
        return told, True
    guesses = [family for name, recipe in _SCALING.items() for family in _scaled(shape, name, recipe, {})]
    uniforms = [Family("random_uniform", "uniform", -limit, limit) for limit in (0.05, 0.1, 1.0)]
    uniforms.append(Family("random_uniform", "uniform", 0.0, 1.0))
    others = [
        Family("random_normal", "normal", 0.0, 0.05),
        Family("truncated_normal", "truncated", 0.0, 0.05),
        Family("orthogonal", "orthogonal", 1.0),
        Family("identity", "identity", 1.0),
    ]
    return ([*uniforms, *guesses] if role == "embedding" else [*guesses, *uniforms]) + others, False


def likely_limits(shape: Sequence[int], largest: float) -> list[Family]:
    """Uniforms whose limit is VarianceScaling's for a common scale, or a round number just above the largest value."""
    scaled = [
        family
        for scale in (1.0 / 3.0, 0.5, 1.0, 2.0)
        for mode in ("fan_in", "fan_out", "fan_avg")
        for family in _scaled(shape, "variance_scaling", (scale, mode, "uniform"), {})
        if family.high >= largest
    ]
    if not largest > 0:
        return scaled
    decade = math.floor(math.log10(largest))
    steps = [10.0 ** (decade - digits) for digits in range(3)]
    rounded = dict.fromkeys(float(f"{math.ceil(largest / step) * step:.3g}") for step in steps)
    return scaled + [Family("random_uniform", "uniform", -high, high) for high in rounded if high >= largest]


def from_config(shape: Sequence[int], config: Mapping[str, Any] | None) -> list[Family]:
    """The family a config names; several where fans can be counted in several ways, none where it is unknown."""
    if not isinstance(config, Mapping):
        return []
    options = config.get("config")
    options = options if isinstance(options, Mapping) else {}
    name = _snake(config.get("class_name"))
    if name in _SCALING:
        return _scaled(shape, name, _SCALING[name], options)
    if name == "variance_scaling":
        return _variance_scaling(shape, options)
    family = _plain(shape, name, options)
    return [family] if family is not None else []


def _plain(shape: Sequence[int], name: str, options: Mapping[str, Any]) -> Family | None:
    """Initializers whose numbers do not depend on the shape."""
    if name == "random_uniform":
        low, high = _number(options.get("minval"), -0.05), _number(options.get("maxval"), 0.05)
        return Family(name, "uniform", low, high) if high > low else None
    if name in ("random_normal", "truncated_normal"):
        mean, std = _number(options.get("mean"), 0.0), _number(options.get("stddev"), 0.05)
        return Family(name, "normal" if name == "random_normal" else "truncated", mean, std) if std > 0 else None
    if name in ("zeros", "ones"):
        return Family(name, "constant", float(name == "ones"))
    if name == "constant":
        return Family(name, "constant", _number(options.get("value"), 0.0))
    if name == "identity":
        return Family(name, "identity", _number(options.get("gain"), 1.0))
    if name == "orthogonal":
        one_vector = min(math.prod(shape[:-1]), shape[-1]) == 1 if shape else True
        return Family(name, "normal", 0.0, 1.0) if one_vector else Family(name, "orthogonal", 1.0)
    return None


def _variance_scaling(shape: Sequence[int], options: Mapping[str, Any]) -> list[Family]:
    scale = _number(options.get("scale"), 1.0)
    mode, distribution = options.get("mode", "fan_in"), options.get("distribution", "truncated_normal")
    if not (scale > 0 and isinstance(mode, str) and isinstance(distribution, str)):
        return []
    recipe = (scale, mode, "truncated_normal" if distribution == "normal" else distribution)
    names = {known: name for name, known in _SCALING.items()}
    return _scaled(shape, names.get(recipe, "variance_scaling"), recipe, options)


def _scaled(
    shape: Sequence[int], match: str, recipe: tuple[float, str, str], options: Mapping[str, Any]
) -> list[Family]:
    """Keras' VarianceScaling for a shape, one family for each way to count its fans."""
    scale, mode, distribution = recipe
    families = []
    for fan_in, fan_out in _fan_pairs(shape, options):
        fan = {"fan_in": fan_in, "fan_out": fan_out}.get(mode, (fan_in + fan_out) / 2.0)
        variance = scale / max(1.0, fan)
        if distribution == "uniform":
            limit = math.sqrt(3.0 * variance)
            families.append(Family(match, "uniform", -limit, limit))
        elif distribution == "untruncated_normal":
            families.append(Family(match, "normal", 0.0, math.sqrt(variance)))
        else:
            families.append(Family(match, "truncated", 0.0, math.sqrt(variance) / TRUNCATED_STD))
    return families


def _fan_pairs(shape: Sequence[int], options: Mapping[str, Any]) -> list[tuple[int, int]]:
    """(fan in, fan out): over the axes the config names, else by shape.

    The projections of attention have three axes, and newer Keras counts their fans over the real inputs and
    outputs without saying so in the attention layer's config: both ways are tried.
    """
    axes = [options.get("input_axes"), options.get("output_axes")]
    if all(isinstance(a, (list, tuple)) and all(_is_axis(i, len(shape)) for i in a) for a in axes):
        fan_in, fan_out = (math.prod(shape[i] for i in a) for a in axes if a is not None)
        return [(fan_in, fan_out)]
    pairs = [fans(shape)]
    if len(shape) == 3:
        first, middle, last = shape
        pairs += [(first, middle * last), (first * middle, last)]
    return list(dict.fromkeys(pairs))


def _is_axis(value: Any, rank: int) -> bool:
    return isinstance(value, int) and -rank <= value < rank


def _number(value: Any, default: float) -> float:
    """A finite float from untrusted JSON, else the default."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return default
    try:
        number = float(value)
    except OverflowError:
        return default
    return number if math.isfinite(number) else default


def _snake(name: Any) -> str:
    """`GlorotUniform` to `glorot_uniform`; empty for what is no name."""
    if not isinstance(name, str):
        return ""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name[:64]).lower()
    return _ALIASES.get(snake, snake)


def fits(values: NDArray[np.float64], family: Family) -> float:
    """P(a Kolmogorov-Smirnov distance this large) of sorted values; 0.0 beyond the family's limits."""
    largest = float(np.abs(values).max())
    if family.law == "uniform":
        if values[0] < family.low - largest * 2.0**-8 or values[-1] > family.high + largest * 2.0**-8:
            return 0.0
        expected = np.clip((values - family.low) / (family.high - family.low), 0.0, 1.0)
    else:
        z = (values - family.low) / (family.high * math.sqrt(2.0))
        expected = np.array([0.5 * (1.0 + math.erf(v)) for v in z])
        if family.law == "truncated":
            if largest > abs(family.low) + 2.0 * family.high * (1.0 + 2.0**-8):
                return 0.0
            tail = 0.5 * math.erfc(math.sqrt(2.0))
            expected = np.clip((expected - tail) / (1.0 - 2.0 * tail), 0.0, 1.0)
    steps = np.arange(values.size + 1) / values.size
    distance = max(float((steps[1:] - expected).max()), float((expected - steps[:-1]).max()))
    return kolmogorov_tail(distance, values.size)
