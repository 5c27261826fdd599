"""Small trainings in numpy, with faults planted on wish: how healthy and faulty runs move their weights."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from ckptui.core.timeline import Course

Weights = list[npt.NDArray[np.float64]]
SIZES = (20, 48, 32, 8)
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda epoch: 1.0,
    "cosine": lambda epoch: 0.5 * (1 + np.cos(np.pi * min(epoch / 14, 1))) + 1e-4,
    "warm restarts": lambda epoch: 0.5 * (1 + np.cos(np.pi * (epoch % 5) / 5)) + 1e-4,
    "warm-up": lambda epoch: min(1.0, (epoch + 0.02) / 3),
    "steps down": lambda epoch: 10.0 ** -((epoch >= 6) + (epoch >= 10)),
}


def train(
    seed: int,
    optimizer: str,
    rate: float,
    saved: Sequence[int],
    schedule: Callable[[float], float] = SCHEDULES["constant"],
    fault: tuple[str, int] = ("", 0),
    steps: int = 20,
) -> list[Weights]:
    """The weights after each epoch of `saved` of a dense net that learns what another one answers."""
    rng = np.random.default_rng(seed)

    def fresh() -> Weights:
        return [rng.normal(0, np.sqrt(2 / a), (a, b)) for a, b in itertools.pairwise(SIZES)]

    weights, teacher = fresh(), fresh()
    inputs = rng.normal(size=(1000, SIZES[0]))
    answers = np.argmax(_forward(teacher, inputs)[-1] + 0.5 * rng.normal(size=(1000, SIZES[-1])), axis=1)
    first, second = [w * 0 for w in weights], [w * 0 for w in weights]
    out, step = [], 0
    for epoch in range(1, max(saved) + 1):
        kind = fault[0] if fault[1] == epoch else ""
        if kind == "restart":
            weights, step = fresh(), 0
            first, second = [w * 0 for w in weights], [w * 0 for w in weights]
        elif kind == "layer":
            weights[1] = fresh()[1]
        elif kind == "scaled":
            weights = [w * 1.5 for w in weights]
        for number in range(steps):
            step += 1
            burst = 100 if kind == "rate" and number < steps // 4 else 1
            lr = rate * burst * schedule(epoch - 1 + number / steps)
            for k, slope in enumerate(_slopes(weights, inputs, answers, rng)):
                if optimizer == "sgd":
                    weights[k] = weights[k] - lr * slope
                    continue
                first[k] = 0.9 * first[k] + 0.1 * slope
                second[k] = 0.999 * second[k] + 0.001 * slope * slope
                scale = np.sqrt(second[k] / (1 - 0.999**step)) + 1e-7
                weights[k] = weights[k] - lr * first[k] / (1 - 0.9**step) / scale
        if epoch in saved:
            out.append([w.copy() for w in weights])
    return out


def _forward(weights: Weights, inputs: npt.NDArray[np.float64]) -> list[npt.NDArray[np.float64]]:
    layers = [inputs]
    for k, w in enumerate(weights):
        z = layers[-1] @ w
        layers.append(np.maximum(z, 0) if k < len(weights) - 1 else z)
    return layers


def _slopes(
    weights: Weights, inputs: npt.NDArray[np.float64], answers: npt.NDArray[np.int64], rng: np.random.Generator
) -> Weights:
    chosen = rng.integers(0, len(inputs), 32)
    layers = _forward(weights, inputs[chosen])
    odds = np.exp(layers[-1] - layers[-1].max(axis=1, keepdims=True))
    error = odds / odds.sum(axis=1, keepdims=True)
    error[np.arange(32), answers[chosen]] -= 1
    error /= 32
    out = []
    for k in reversed(range(len(weights))):
        out.append(np.clip(layers[k].T @ error, -1e3, 1e3))
        error = (error @ weights[k].T) * (layers[k] > 0)
    return out[::-1]


def courses(saves: Sequence[Weights]) -> list[Course]:
    """What a timeline knows of these saves."""
    out = []
    for k, kernel in enumerate(saves[0]):
        norms = [float(np.linalg.norm(save[k])) for save in saves]
        moved = [None, *(float(np.linalg.norm(b[k] - a[k])) for a, b in itertools.pairwise(saves))]
        out.append(Course(kernel.size, norms, moved))
    return out
