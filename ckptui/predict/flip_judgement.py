"""What the moves of many answers under flips and controls mean together, and when they mean nothing.

docs/many-images.md has the figures behind the bounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ckptui.core.intervals import mean_interval, wilson
from ckptui.core.model import Move
from ckptui.core.text import counted
from ckptui.predict.controls import CONTROLS

Array = np.ndarray[Any, Any]

LEFT_RIGHT, UP_DOWN, TURN = "flip-left-right", "flip-up-down", "rotate-90"
WORDS = {LEFT_RIGHT: "left-right flips", UP_DOWN: "up-down flips"}
OTHER = {LEFT_RIGHT: UP_DOWN, UP_DOWN: LEFT_RIGHT}
LEAST_IMAGES = 20
SURVIVES = 0.25
"""A flip's mean is below this share of another large change's, ..."""
CLEAR = 0.6
"""... and the upper bound of its interval below this share of the other's lower bound."""
REACTS = 0.3
"""The lower bound of a flip's mean is above this share of what a turn by 90 degrees does."""
FOLLOWS = 0.1
"""The largest lower bound is above this: the answer follows the picture's layout at all."""
MOSTLY = 0.5
"""Share of images next to their own mirror image from which on a flip tells nothing."""


@dataclass(frozen=True, slots=True)
class Moved:
    """How far each change moved the answer to each image, all in the same order of images."""

    changes: Mapping[str, Array]
    """By name of the change: float64 [images], total variations in 0..1 or shares of the spread."""
    other_best: Mapping[str, Array]
    """By name of the change: bool [images], another best answer."""
    probabilities: bool
    mirrors: Mapping[str, float] = field(default_factory=dict)
    """Per flip, the share of images next to their own mirror image."""

    @property
    def images(self) -> int:
        """How many."""
        return len(next(iter(self.changes.values()), ()))

    def mean(self, name: str) -> tuple[float, float, float]:
        """Mean and its interval of one change."""
        mean, low, high = mean_interval(self.changes[name], (0.0, 1.0) if self.probabilities else None)
        return mean, max(low, 0.0), high

    def moves(self) -> tuple[Move, ...]:
        """The rows of the report."""
        found = []
        for name in self.changes:
            hits = int(self.other_best[name].sum())
            share = hits / self.images if self.images else float("nan")
            found.append(Move(name, name in CONTROLS, *self.mean(name), share, *wilson(hits, self.images)))
        return tuple(found)


def judged(moved: Moved) -> str:
    """A sentence or two on what the flips say of the training, or why they say nothing."""
    if moved.images < LEAST_IMAGES:
        return f"{counted(moved.images, 'image')}: numbers only, a verdict on training takes {LEAST_IMAGES}."
    means = {name: moved.mean(name) for name in (LEFT_RIGHT, UP_DOWN, TURN)}
    if max(low for _, low, _ in means.values()) < FOLLOWS:
        return f"The answer hardly follows the layout of the picture, so flips tell nothing. {_listed(means)}."
    blind = [name for name in WORDS if moved.mirrors.get(name, 0.0) > MOSTLY]
    if blind:
        names = " and ".join(WORDS[name] for name in blind)
        return f"Most images look almost the same when mirrored: nothing is said about {names}."
    alone = [name for name in WORDS if _below(means[name], means[OTHER[name]]) and _below(means[name], means[TURN])]
    if alone:
        return _one_sided(alone[0], moved, means)
    if all(_below(means[name], means[TURN]) for name in WORDS):
        return (
            "Survives both flips as it does no turn by 90 degrees: trained with both flips, on pictures that come all "
            f"these ways round, or mirror-symmetric by construction. {_listed(means)}."
        )
    if all(means[name][1] > REACTS * means[TURN][0] for name in WORDS):
        return (
            "Reacts to both flips as to a turn by 90 degrees: nothing points to training with flipped images. "
            f"{_listed(means)}."
        )
    return f"{_gap(moved, LEFT_RIGHT)}: not plain enough for a verdict. {_listed(means)}."


def _below(one: tuple[float, float, float], other: tuple[float, float, float]) -> bool:
    return one[0] < SURVIVES * other[0] and one[2] < CLEAR * other[1]


def _one_sided(name: str, moved: Moved, means: Mapping[str, tuple[float, float, float]]) -> str:
    return (
        f"Survives {WORDS[name]} as it does no other large change: trained with {WORDS[name]}, on pictures that come "
        f"both ways round, or mirror-symmetric by construction. {_gap(moved, name)}. {_listed(means)}."
    )


def _gap(moved: Moved, name: str) -> str:
    """The difference of both flips, taken image by image."""
    apart = moved.changes[OTHER[name]] - moved.changes[name]
    mean, low, high = mean_interval(apart, (-1.0, 1.0) if moved.probabilities else None)
    if mean < 0:
        name, mean, low, high = OTHER[name], -mean, -high, -low
    return f"{WORDS[OTHER[name]].capitalize()} move the answer by {mean:.2f} more ({low:.2f} to {high:.2f})"


def _listed(means: Mapping[str, tuple[float, float, float]]) -> str:
    """`Mean moves: left-right 0.03 (0.02 to 0.06), ...`."""
    short = {LEFT_RIGHT: "left-right", UP_DOWN: "up-down", TURN: "turned by 90"}
    told = (f"{short[name]} {mean:.2f} ({low:.2f} to {high:.2f})" for name, (mean, low, high) in means.items())
    return "Mean moves: " + ", ".join(told)
