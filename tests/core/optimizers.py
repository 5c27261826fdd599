"""Small trainings in numpy, float32 as TensorFlow does them: what an optimizer's slots and counters become."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ckptui.core.model import Pair, PairStatus, Role
from ckptui.core.ratios import LogRatios
from ckptui.core.relation import RelationRow

F32 = NDArray[np.float32]
LAYERS = ("first", "second", "third")
SIZES = (64, 48, 32, 10)
NAMES = {
    "adam": ("adam/{}_kernel_momentum", "adam/{}_kernel_velocity"),
    "adamw": ("adamw/{}_kernel_momentum", "adamw/{}_kernel_velocity"),
    "rmsprop": ("rmsprop/{}_kernel_velocity",),
    "adagrad": ("adagrad/{}_kernel_accumulator",),
    "sgd-momentum": ("SGD/{}_kernel_momentum",),
    "sgd": (),
}


@dataclass
class Save:
    """Weights and slots by name, and how many steps the optimizer has taken."""

    optimizer: str
    step: int
    weights: dict[str, F32]
    slots: dict[str, F32] = field(default_factory=dict)


def data(seed: int = 3, count: int = 1500) -> tuple[F32, NDArray[np.int64]]:
    """Ten patterns in noise, a fifth of the labels wrong: gradients never end."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 10, count)
    images = draw.normal(size=(10, SIZES[0]))[labels] * 0.5 + draw.normal(size=(count, SIZES[0]))
    wrong = draw.random(count) < 0.2
    labels[wrong] = draw.integers(0, 10, int(wrong.sum()))
    return images.astype(np.float32), labels


def fresh(seed: int) -> dict[str, F32]:
    """Glorot-uniform kernels."""
    draw = np.random.default_rng(seed)
    out = {}
    for name, shape in zip(LAYERS, itertools.pairwise(SIZES), strict=True):
        limit = np.sqrt(6 / sum(shape))
        out[name] = draw.uniform(-limit, limit, shape).astype(np.float32)
    return out


def train(
    optimizer: str,
    weights: dict[str, F32],
    order: int,
    steps: Sequence[int],
    *,
    rate: float = 1e-3,
    frozen: Sequence[str] = (),
    slow: Sequence[str] = (),
    beta_2: float = 0.999,
    slots: dict[str, F32] | None = None,
    batch: int = 32,
) -> dict[int, Save]:
    """Saves after each of `steps`; `order` seeds the order of the data. `slow` layers learn at a thousandth."""
    images, labels = data()
    draw = np.random.default_rng(order)
    weights = {name: value.copy() for name, value in weights.items()}
    kept = dict(slots or {})
    out: dict[int, Save] = {}
    for step in range(max(steps) + 1):
        if step in steps:
            copies = ({name: value.copy() for name, value in some.items()} for some in (weights, kept))
            out[step] = Save(optimizer, step, *copies)
        chosen = draw.choice(len(images), batch, replace=False)
        gradients = _gradients(weights, images[chosen], labels[chosen])
        for name, gradient in gradients.items():
            if name in frozen:
                continue
            change = _UPDATES[optimizer](kept, name, gradient, step + 1, beta_2)
            if optimizer == "adamw":
                weights[name] -= np.float32(rate * 0.1) * weights[name]
            weights[name] -= np.float32(rate * (1e-3 if name in slow else 1)) * change
    return out


def rows(a: Save, b: Save) -> list[RelationRow]:
    """What a diff of the two would tell a relation."""
    out = [_row(name, "kernel", a.weights.get(name), b.weights.get(name)) for name in _union(a.weights, b.weights)]
    for name in _union(a.slots, b.slots):
        out.append(_row(name, "slot", a.slots.get(name), b.slots.get(name)))
    status: PairStatus = "identical" if a.step == b.step else "changed"
    pair = Pair("optimizer/iterations", "optimizer/iterations", "counter", status, "name", count=1)
    return [*out, RelationRow(pair, None, float(a.step), float(b.step))]


def _union(a: dict[str, F32], b: dict[str, F32]) -> list[str]:
    return list(dict.fromkeys([*a, *b]))


def _row(name: str, role: Role, a: F32 | None, b: F32 | None) -> RelationRow:
    stored = f"{name}/kernel" if role == "kernel" else name
    if a is None or b is None:
        there = b if a is None else a
        assert there is not None
        status: PairStatus = "only-b" if a is None else "only-a"
        return RelationRow(
            Pair(None if a is None else stored, None if b is None else stored, role, status, count=there.size)
        )
    if a.shape != b.shape:
        return RelationRow(Pair(stored, stored, role, "shape-changed", "name", count=a.size))
    wide_a, wide_b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    same = bool((a.view(np.uint32) == b.view(np.uint32)).all())
    pair = Pair(
        stored,
        stored,
        role,
        "identical" if same else "changed",
        "name",
        relative_l2=float(np.linalg.norm(wide_a - wide_b) / np.linalg.norm(wide_a)) if wide_a.any() else None,
        changed=int((a != b).sum()),
        count=a.size,
    )
    spread = wide_a.std() > 0 and wide_b.std() > 0
    cosine = float(np.corrcoef(wide_a, wide_b)[0, 1]) if spread else None
    ratios = None
    if role == "slot":
        gathered = LogRatios(a.size)
        gathered.add(a.ravel(), b.ravel())
        ratios = gathered.result()
    return RelationRow(pair, cosine, log_ratio=ratios)


def _gradients(weights: dict[str, F32], images: F32, labels: NDArray[np.int64]) -> dict[str, F32]:
    names = list(weights)
    inputs = [images]
    for name in names[:-1]:
        inputs.append(np.maximum(inputs[-1] @ weights[name], 0))
    logits = inputs[-1] @ weights[names[-1]]
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    chances[np.arange(len(labels)), labels] -= 1
    back = chances / np.float32(len(labels))
    found: dict[str, F32] = {}
    for name, given in zip(reversed(names), reversed(inputs), strict=True):
        found[name] = (given.T @ back).astype(np.float32)
        back = (back @ weights[name].T) * (given > 0)
    return found


def _adam(slots: dict[str, F32], name: str, g: F32, step: int, beta_2: float, family: str = "adam") -> F32:
    first, second = (word.format(name) for word in NAMES[family])
    m, v = slots.get(first, np.zeros_like(g)), slots.get(second, np.zeros_like(g))
    slots[first] = m = m + (g - m) * np.float32(1 - 0.9)
    slots[second] = v = v + (np.square(g) - v) * np.float32(1 - beta_2)
    scale = np.float32(np.sqrt(1 - beta_2**step) / (1 - 0.9**step))
    return np.asarray(scale * m / (np.sqrt(v) + np.float32(1e-7)), dtype=np.float32)


def _adamw(slots: dict[str, F32], name: str, g: F32, step: int, beta_2: float) -> F32:
    return _adam(slots, name, g, step, beta_2, "adamw")


def _rmsprop(slots: dict[str, F32], name: str, g: F32, step: int, beta_2: float) -> F32:
    key = NAMES["rmsprop"][0].format(name)
    v = slots.get(key, np.zeros_like(g))
    slots[key] = v = np.float32(0.9) * v + np.float32(1 - 0.9) * np.square(g)
    return np.asarray(g / (np.sqrt(v) + np.float32(1e-7)), dtype=np.float32)


def _adagrad(slots: dict[str, F32], name: str, g: F32, step: int, beta_2: float) -> F32:
    key = NAMES["adagrad"][0].format(name)
    slots[key] = v = slots.get(key, np.full_like(g, 0.1)) + np.square(g)
    return np.asarray(10 * g / np.sqrt(v), dtype=np.float32)


def _momentum(slots: dict[str, F32], name: str, g: F32, step: int, beta_2: float) -> F32:
    key = NAMES["sgd-momentum"][0].format(name)
    slots[key] = m = np.float32(0.9) * slots.get(key, np.zeros_like(g)) - g
    return np.asarray(-10 * m, dtype=np.float32)


def _plain(slots: dict[str, F32], name: str, g: F32, step: int, beta_2: float) -> F32:
    return np.asarray(30 * g, dtype=np.float32)


_UPDATES: dict[str, Callable[[dict[str, F32], str, F32, int, float], F32]] = {
    "adam": _adam,
    "adamw": _adamw,
    "rmsprop": _rmsprop,
    "adagrad": _adagrad,
    "sgd-momentum": _momentum,
    "sgd": _plain,
}
