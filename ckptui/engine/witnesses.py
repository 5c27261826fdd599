"""Tensors beside a kernel that tell whether its layer ever moved: biases, slots, the normalization behind it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ckptui.core.model import Tensor
from ckptui.engine.opened import OpenReader

SMALL = 1 << 20
"""Largest bias, beta or gamma, in bytes, that is read for its witness."""
_WORDS = re.compile(r"[A-Za-z0-9]+")
_CONVOLUTIONS = frozenset(
    {"conv", "convolution", "dwconv", "depthwise", "pointwise", "separable", "conv2d", "conv1d", "conv3d", "dense"}
)
_NORMALIZATIONS = frozenset({"bn", "batch", "batchnorm", "batchnormalization", "norm", "normalization"})
_NUMBERED = re.compile(r"(?:^|/)(?:_operations|_layers|layers|layer|layer_with_weights)[-/]([0-9]+)(?:/|$)")


def beside(opened: OpenReader, tensor: Tensor) -> list[Tensor]:
    """Bias, beta, gamma and slots of the kernel's own layer; without a bias, also the normalization that follows."""
    own = [
        other
        for other in opened.neighbours(tensor)
        if (other.role in ("bias", "beta", "gamma") and other.bytes <= SMALL)
        or (other.role == "slot" and other.bytes <= max(SMALL, 2 * tensor.bytes))
    ]
    if any(other.role == "bias" for other in own):
        return own
    return own + following(tensor, opened.listing.tensors)


def following(tensor: Tensor, tensors: Iterable[Tensor]) -> list[Tensor]:
    """Gamma and beta of the normalization behind a kernel, by its number in the model, else by its name.

    Empty unless exactly one layer fits and has a value for each of the kernel's outputs.
    """
    if not tensor.layer or not tensor.shape:
        return []
    outputs = {tensor.shape[-1], tensor.shape[-1] * tensor.shape[-2] if len(tensor.shape) > 2 else 0}
    layers: dict[str, list[Tensor]] = {}
    for other in tensors:
        if other.role in ("gamma", "beta") and other.layer and other.layer != tensor.layer:
            layers.setdefault(other.layer, []).append(other)
    fitting = {name: parts for name, parts in layers.items() if all(p.shape in {(n,) for n in outputs} for p in parts)}
    number = _number(tensor)
    found = [parts for parts in fitting.values() if number is not None and _number(parts[0]) == number + 1]
    if not found:
        stem = _stem(tensor.layer)
        found = [parts for name, parts in fitting.items() if _stem(name) == stem and _is_normalization(name)]
    return found[0] if len(found) == 1 else []


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORDS.findall(name.replace("_", " "))]


def _stem(name: str) -> tuple[str, ...]:
    """A layer's name without the words for what it is: `block1a_dwconv` and `block1a_bn` have one stem."""
    return tuple(word for word in _words(name) if word not in _CONVOLUTIONS | _NORMALIZATIONS)


def _is_normalization(name: str) -> bool:
    return any(word in _NORMALIZATIONS for word in _words(name))


def _number(tensor: Tensor) -> int | None:
    """Place of the layer in its model, where the name in the file or the object path counts."""
    for path in (tensor.object_path, tensor.name):
        found = _NUMBERED.search(path or "")
        if found:
            return int(found[1])
    return None
