"""One image on its way through the runs: as the model gets it, flipped, beside probes; its rows and facts."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from ckptui.core.model import Predicted, Probe, Run
from ckptui.errors import CkptuiError
from ckptui.predict import compare
from ckptui.predict.answers import Answer, Feed
from ckptui.predict.compare import FLIP_LR, FLIP_UD, FRESH, ORIGINAL, RELOAD, REPEAT, Facts
from ckptui.predict.image import Form, Picture, batch_of, preprocess, preview_of
from ckptui.predict.labels import Labels
from ckptui.predict.loading import Loaded
from ckptui.predict.words import verdict

Array = np.ndarray[Any, Any]

CALLS = 3
"""Calls with the same input: a seeded generator shows only in the sequence of several."""
ROWS = (ORIGINAL, FLIP_LR, FLIP_UD, REPEAT, RELOAD, FRESH)


class Subject:
    """An image, its batches and everything the model said about it."""

    def __init__(self, path: str, labels: Labels, top: int) -> None:
        self.path = path
        self.facts = Facts(path)
        self.failed: CkptuiError | None = None
        """Why there is no answer at all."""
        self._all_labels = labels
        self._labels: tuple[str, ...] = ()
        self._top = top
        self._picture: Picture | None = None
        self._form: Form | None = None
        self._how = self._words = ""
        self._values: Array = np.zeros((0, 0, 0), np.float32)
        self._original = Answer(())
        self._sequence: Sequence[Answer] = ()

    def prepare(self, picture: Picture, form: Form, how: str, words: str) -> None:
        """Turn the decoded image into what the model gets."""
        self._picture, self._form, self._how = picture, form, how
        self._words = "none, the file holds the input itself" if picture.raw else words
        self._values = self._scaled(picture.pixels)
        flips = {FLIP_LR: self._values[:, ::-1], FLIP_UD: self._values[::-1]}
        self.facts.mirrored = {name: np.array_equal(self._values, flip) for name, flip in flips.items()}

    def _scaled(self, pixels: Array) -> Array:
        assert self._picture is not None
        return pixels if self._picture.raw else preprocess(pixels, self._how)

    def fail(self, error: CkptuiError) -> Run:
        """No answer for this image: the row that says why."""
        self.failed = error
        return self._keep(compare.failed_run(ORIGINAL, str(error)))

    def _feed(self, values: Array) -> Feed:
        assert self._form is not None
        return Feed.of(batch_of(values, self._form))

    def _keep(self, run: Run) -> Run:
        self.facts.runs[run.name] = run
        return run

    def original(self, model: Loaded, cancel: threading.Event | None) -> Run:
        """The image as it is."""
        outputs, seconds = model.call(self._feed(self._values), 1, cancel)
        self._original = outputs[0]
        self.facts.finite = self._original.finite
        self.facts.scale = self._original.scale
        self.facts.outputs = int(self._original.main.size)
        self._labels = self._all_labels.fitting(self.facts.outputs)
        return self._keep(compare.original_run(self._original, seconds, self._labels, self._top))

    def flipped(self, model: Loaded, name: str, cancel: threading.Event | None) -> Run:
        """The image flipped after preprocessing."""
        values = self._values[:, ::-1] if name == FLIP_LR else self._values[::-1]
        return self._compared(name, *model.call(self._feed(values), 1, cancel))

    def repeated(self, model: Loaded, cancel: threading.Event | None) -> Run:
        """The same call again, so that there are three in all."""
        return self._compared(REPEAT, *model.call(self._feed(self._values), CALLS - 1, cancel))

    def probed(self, model: Loaded, cancel: threading.Event | None) -> None:
        """Noise and the negative: does anything move the output?"""
        if self.facts.random or self._picture is None:
            return
        pixels = self._picture.pixels
        draw = np.random.default_rng(0)
        noise: Array
        negative: Array
        if self._picture.raw:
            low, high = float(np.min(pixels, initial=0)), float(np.max(pixels, initial=1))
            noise = np.asarray(draw.uniform(low, high, pixels.shape), np.float32)
            negative = np.subtract(low + high, pixels).astype(np.float32)
        else:
            noise = np.asarray(draw.integers(0, 256, pixels.shape, dtype=np.uint8))
            negative = np.invert(pixels)
        probes = []
        for name, values in (("noise", noise), ("the negative", negative)):
            output = model.call(self._feed(self._scaled(values)), 1, cancel)[0][0]
            probes.append(Probe(name, self._original.apart(output), self._original.same_bits(output)))
        self.facts.probes = tuple(probes)

    def silenced(self, model: Loaded, cancel: threading.Event | None) -> None:
        """For a random Keras model: is it steady when called with `training=False`, as `model.predict` does?"""
        if self.facts.random and model.takes_training:
            outputs, _ = model.call(self._feed(self._values), 2, cancel, training=False)
            self.facts.silenced = outputs[0].same_bits(outputs[1])

    def again(self, model: Loaded, name: str, cancel: threading.Event | None) -> Run:
        """The image through a model loaded anew; three calls where answers are random, to compare sequences."""
        calls = CALLS if self.facts.random else 1
        outputs, seconds = model.call(self._feed(self._values), calls, cancel)
        if self.facts.random:
            if self._sequence:
                self.facts.seeded = compare.same_sequences(self._sequence, outputs)
            self._sequence = outputs
        return self._compared(name, outputs, seconds)

    def not_again(self, name: str, error: CkptuiError) -> Run:
        """The row of a load that failed."""
        return self._keep(compare.failed_run(name, str(error)))

    def _compared(self, name: str, outputs: Sequence[Answer], seconds: float) -> Run:
        run = compare.compared_run(name, self._original, outputs, seconds, self._labels, self._top)
        return self._keep(run)

    def predicted(self) -> Predicted:
        """What is known by now, as a whole."""
        runs = tuple(self.facts.runs[name] for name in ROWS if name in self.facts.runs)
        words = verdict(self.facts) if runs else ""
        if self._picture is None or self._form is None:
            return Predicted(self.path, self._words, (), 0.0, 0.0, runs, words)
        batch = self._feed(self._values).first
        finite: Array = batch[np.isfinite(batch)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
        preview, size = preview_of(self._picture)
        return Predicted(self.path, self._words, tuple(batch.shape), low, high, runs, words, preview, size)
