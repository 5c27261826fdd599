"""What is kept of the answers to many images: a few numbers an image, sums over all, never the answers themselves."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ckptui.core.catalogue import make
from ckptui.core.intervals import wilson
from ckptui.core.model import Finding, ManyImages
from ckptui.predict.compare import best
from ckptui.predict.controls import CHANGES, own_mirror
from ckptui.predict.flip_judgement import LEFT_RIGHT, UP_DOWN, WORDS, Moved, judged
from ckptui.predict.image import Picture
from ckptui.predict.labels import Labels

Array = np.ndarray[Any, Any]

VARIATION, SHARE = "total variation", "share of the spread"
CONSTANT = 1e-7
"""Largest difference, as a share of the largest magnitude, between answers that are all the same."""
STEADY = 1e-5
"""The same for two calls with the same images."""
SUMS = 1e-3
"""How far the sum of probabilities may be from 1; float16 needs it."""


class Tally:
    """Adds up answers, image by image, in float64."""

    def __init__(self, labels: Labels, model: str, folder: str) -> None:
        self.images = 0
        self.sample: tuple[Picture, Array]
        """The first picture and its answer."""
        self.probed: float | None = None
        """Where all answers agree: how far noise and other such pictures move them."""
        self._labels, self._model, self._folder = labels, model, folder
        self._shape: tuple[int, ...] = ()
        self._distinct: set[bytes] = set()
        self._bits: set[bytes] = set()
        self._low = self._high = self._mean = self._squares = np.zeros(0)
        self._rows, self._unit = True, True
        """All answers so far are probabilities; all are single values between 0 and 1."""
        self._shaken = 0.0
        """Largest difference any change made."""
        self._unsteady = 0.0
        self._halves: dict[str, list[float]] = {name: [] for name in CHANGES}
        self._lengths: dict[str, list[float]] = {name: [] for name in CHANGES}
        self._other: dict[str, list[bool]] = {name: [] for name in CHANGES}
        self._mirrors: dict[str, int] = dict.fromkeys(WORDS, 0)
        self._best: collections.Counter[int] = collections.Counter()

    def add(self, picture: Picture, pixels: bytes, rows: Mapping[str, Array]) -> str:
        """Count the answers to one image, by the name of the change, `""` for none; why not, where they can't be."""
        usual = rows[""]
        if any(not np.isfinite(row).all() for row in rows.values()):
            return "the answer is not finite"
        if not self.images:
            self._begin(picture, usual)
        if any(row.shape != self._shape for row in rows.values()):
            return "the answer has another shape than the first image's"
        self.images += 1
        self._distinct.add(pixels)
        if len(self._bits) < 2:
            self._bits.add(usual.tobytes())
        self._low, self._high = np.minimum(self._low, usual), np.maximum(self._high, usual)
        step = usual - self._mean
        self._mean = self._mean + step / self.images
        self._squares = self._squares + step * (usual - self._mean)
        for row in rows.values():
            self._look(row)
        self._best[best(usual)] += 1
        for flip in WORDS:
            self._mirrors[flip] += own_mirror(picture.pixels, flip)
        if "again" in rows:
            self._unsteady = max(self._unsteady, float(np.abs(rows["again"] - usual).max(initial=0.0)))
        for name in CHANGES:
            self._moved(name, usual, rows[name])
        return ""

    def _begin(self, picture: Picture, usual: Array) -> None:
        self.sample, self._shape = (picture, usual), usual.shape
        self._low = self._high = usual
        self._mean = self._squares = np.zeros_like(usual)

    def _look(self, row: Array) -> None:
        single = row.size == 1
        self._unit = self._unit and single and bool((row >= 0).all() and (row <= 1).all())
        whole = not single and row.ndim > 0 and row.shape[-1] > 1 and bool((row >= 0).all())
        self._rows = self._rows and whole and bool((np.abs(row.sum(axis=-1) - 1) < SUMS).all())

    def _moved(self, name: str, usual: Array, row: Array) -> None:
        apart = np.abs(row - usual)
        self._shaken = max(self._shaken, float(apart.max(initial=0.0)))
        last = usual.shape[-1] if usual.ndim else 1
        # (p, 1 - p) of a single probability moves by twice what p moves
        self._halves[name].append(float(apart.sum() / (apart.size / last) / (1 if apart.size == 1 else 2)))
        self._lengths[name].append(float(np.sqrt((apart**2).sum())))
        self._other[name].append(best(usual) != best(row))

    @property
    def probabilities(self) -> bool:
        """The output is a distribution for each image, or one probability."""
        return self._rows or self._unit

    @property
    def spread(self) -> float:
        """Largest difference of one value between the answers to two images."""
        return float((self._high - self._low).max(initial=0.0))

    @property
    def scale(self) -> float:
        """Largest magnitude of any answer."""
        return float(max(np.abs(self._high).max(initial=0.0), np.abs(self._low).max(initial=0.0)))

    @property
    def constant(self) -> bool:
        """All answers to two or more different images agree, under every change too."""
        limit = CONSTANT * self.scale
        return len(self._distinct) > 1 and max(self.spread, self._shaken) <= limit

    @property
    def dead(self) -> bool:
        """Constant, and neither noise nor blank pictures move it."""
        return self.constant and self.probed is not None and self.probed <= CONSTANT * self.scale

    @property
    def steady(self) -> bool:
        """The same images asked twice had the same answers."""
        return self._unsteady <= STEADY * self.scale

    @property
    def _several(self) -> bool:
        """There is such a thing as a best answer."""
        return self._unit or int(np.prod(self._shape)) > 1

    def moved(self) -> Moved:
        """Every image's moves in the measure that fits the outputs."""
        taken = self._halves if self.probabilities else self._lengths
        changes = {name: np.array(values) for name, values in taken.items()}
        if not self.probabilities:
            # the root mean square distance between the answers to two of the images
            between = float(np.sqrt(2 * self._squares.sum() / max(self.images - 1, 1)))
            changes = {name: values / (between or 1.0) for name, values in changes.items()}
        else:
            changes = {name: np.clip(values, 0.0, 1.0) for name, values in changes.items()}
        others = {name: np.array(values) & self._several for name, values in self._other.items()}
        mirrors = {flip: count / max(self.images, 1) for flip, count in self._mirrors.items()}
        return Moved(changes, others, self.probabilities, mirrors)

    def verdict(self, moved: Moved) -> str:
        """What all of it means, or why it means nothing."""
        if self.dead:
            return f"All {self.images} images have the same answer, and so have noise and blank ones."
        if self.spread <= CONSTANT * self.scale and len(self._distinct) > 1:
            what = "though other pictures move it" if self.constant else "though changes of them move it"
            return f"All {self.images} images have the same answer, {what}: flips tell nothing."
        if not self.steady:
            return f"The same images asked twice differ by {self._unsteady:.3g}: the moves hold that noise, no verdict."
        if len(self._shape) >= 3:
            return "The output is a map that a flip moves along: numbers, no verdict."
        return judged(moved)

    def result(self, failed: Sequence[str], notes: Sequence[str]) -> ManyImages:
        """The section of the report."""
        moved = self.moved()
        words = self.verdict(moved)
        words += alike_mirrored(moved.mirrors)
        words = " ".join([words, *(f"{note[0].upper()}{note[1:]}." for note in notes)])
        names = self._labels.fitting(int(np.prod(self._shape)))
        counts = self._best.most_common() if self._several else []
        classes = tuple((names[i] if i < len(names) and not self._unit else str(i), count) for i, count in counts)
        measure = VARIATION if self.probabilities else SHARE
        path = self._folder
        return ManyImages(path, self.images, tuple(failed), measure, moved.moves(), self.spread, classes, words)

    def findings(self) -> list[Finding]:
        """Answers that never differ; best answers that flips change."""
        if self.dead:
            return [self._constant_finding()]
        moved, shares = self.moved(), {}
        for flip in WORDS if self.steady else ():
            hits = int(moved.other_best[flip].sum())
            if hits:
                shares[flip] = {"share": hits / self.images, "interval": list(wilson(hits, self.images))}
        if not shares:
            return []
        listed = [f"{entry['share']:.0%} under {WORDS[flip]}" for flip, entry in shares.items()]
        return [
            make(
                "flip-changes-prediction",
                self._model,
                detail=f"another best answer for {' and '.join(listed)}, of {self.images} images",
                evidence={"images": self.images, "folder": self._folder, "shares": shares, "flips": list(shares)},
                advice="See the verdict over many images beside the controls.",
            )
        ]

    def _constant_finding(self) -> Finding:
        bits = len(self._bits) == 1
        return make(
            "constant-output",
            self._model,
            detail=(
                f"{len(self._distinct)} different images have the same answer: spread {self.spread:.3g}, "
                f"largest value {self.scale:.3g}"
            ),
            evidence={
                "images": self.images,
                "distinct": len(self._distinct),
                "spread": self.spread,
                "scale": self.scale,
                "probes": self.probed,
                "identical_bits": bits,
            },
            certainty="confirmed" if bits and int(np.prod(self._shape)) > 1 else "likely",
        )


def alike_mirrored(mirrors: Mapping[str, float]) -> str:
    """A sentence on the images whose flips tell nothing, because they are hardly changed by them."""
    flips = {LEFT_RIGHT: "a left-right flip", UP_DOWN: "an up-down flip"}
    shares = [f"{share:.0%}" for share in mirrors.values() if share]
    named = [flips[name] for name, share in mirrors.items() if share]
    if not shares:
        return ""
    more = f" and {shares[1]} under {named[1]}" if len(shares) > 1 else ""
    return f" {shares[0]} of the images hardly change under {named[0]}{more}: those say nothing about that flip."
