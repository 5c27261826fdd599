"""Which initializer a tensor may have been drawn by: from its layer's config, else from its shape."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Law = Literal["uniform", "truncated", "normal", "constant", "identity", "orthogonal"]

TRUNCATED_STD = 0.87962566103423978
"""Standard deviation of a unit normal cut off at two; Keras divides by it in VarianceScaling."""
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

    Without a config, or with one Keras does not ship, all that Keras draws by default is to be tried.
    """
    told = from_config(shape, config)
    if told is not None:
        return [told], True
    guesses = [scaled(shape, name, *_SCALING[name]) for name in _SCALING]
    uniforms = [Family("random_uniform", "uniform", -limit, limit) for limit in (0.05, 0.1, 1.0)]
    if len(shape) == 3:
        guesses += [
            Family("glorot_uniform", "uniform", -limit, limit) for limit in _projection_limits(tuple(shape))
        ]
    others = [
        Family("random_normal", "normal", 0.0, 0.05),
        Family("truncated_normal", "truncated", 0.0, 0.05),
        Family("orthogonal", "orthogonal", 1.0),
        Family("identity", "identity", 1.0),
    ]
    return ([*uniforms, *guesses] if role == "embedding" else [*guesses, *uniforms]) + others, False


def from_config(shape: Sequence[int], config: Mapping[str, Any] | None) -> Family | None:
    """The family a Keras config {"class_name", "config"} names, Keras 1 to 3; None where it does not tell."""
    if not isinstance(config, Mapping):
        return None
    options = config.get("config")
    options = options if isinstance(options, Mapping) else {}
    name = _snake(config.get("class_name"))
    if name in _SCALING:
        return scaled(shape, name, *_SCALING[name], options=options)
    if name == "variance_scaling":
        return _variance_scaling(shape, options)
    if name == "random_uniform":
        return _uniform(options)
    if name in ("random_normal", "truncated_normal"):
        std = _number(options.get("stddev"), 0.05)
        mean = _number(options.get("mean"), 0.0)
        law: Law = "normal" if name == "random_normal" else "truncated"
        return Family(name, law, mean, std) if std > 0 else None
    if name in ("zeros", "ones"):
        return Family(name, "constant", float(name == "ones"))
    if name == "constant":
        return Family(name, "constant", _number(options.get("value"), 0.0))
    if name in ("identity", "orthogonal"):
        return Family(name, "identity" if name == "identity" else "orthogonal", _number(options.get("gain"), 1.0))
    return None


def scaled(
    shape: Sequence[int],
    match: str | None,
    scale: float,
    mode: str,
    distribution: str,
    options: Mapping[str, Any] | None = None,
) -> Family:
    """Keras' VarianceScaling for a shape; `options` may name the axes the fans are counted over."""
    fan_in, fan_out = _fans_over(shape, options or {})
    fan = {"fan_in": fan_in, "fan_out": fan_out}.get(mode, (fan_in + fan_out) / 2.0)
    variance = scale / max(1.0, fan)
    if distribution == "uniform":
        limit = math.sqrt(3.0 * variance)
        return Family(match, "uniform", -limit, limit)
    if distribution == "untruncated_normal":
        return Family(match, "normal", 0.0, math.sqrt(variance))
    return Family(match, "truncated", 0.0, math.sqrt(variance) / TRUNCATED_STD)


def _variance_scaling(shape: Sequence[int], options: Mapping[str, Any]) -> Family | None:
    scale = _number(options.get("scale"), 1.0)
    mode, distribution = options.get("mode", "fan_in"), options.get("distribution", "truncated_normal")
    if not (scale > 0 and isinstance(mode, str) and isinstance(distribution, str)):
        return None
    distribution = "truncated_normal" if distribution == "normal" else distribution
    names = {recipe: name for name, recipe in _SCALING.items()}
    match = names.get((scale, mode, distribution), "variance_scaling")
    return scaled(shape, match, scale, mode, distribution, options)


def _uniform(options: Mapping[str, Any]) -> Family | None:
    low, high = _number(options.get("minval"), -0.05), _number(options.get("maxval"), 0.05)
    return Family("random_uniform", "uniform", low, high) if high > low else None


def _fans_over(shape: Sequence[int], options: Mapping[str, Any]) -> tuple[int, int]:
    axes = [options.get("input_axes"), options.get("output_axes")]
    if not all(isinstance(a, (list, tuple)) and all(_is_axis(i, len(shape)) for i in a) for a in axes):
        return fans(shape)
    fan_in, fan_out = (math.prod(shape[i] for i in a) for a in axes if a is not None)
    return fan_in, fan_out


def _is_axis(value: Any, rank: int) -> bool:
    return isinstance(value, int) and -rank <= value < rank


def _projection_limits(shape: tuple[int, ...]) -> list[float]:
    """Limits of the projections of attention, whose fans newer Keras counts over their real axes."""
    first, middle, last = shape
    sums = (first + middle * last, first * middle + last)
    return [math.sqrt(6.0 / max(1, total)) for total in sums]


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
