"""One thing to predict on its way through the runs: as it is, changed, beside others; its rows and facts."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ckptui.core.model import Expectation, Predicted, Probe, Run, Variant
from ckptui.core.text import counted
from ckptui.errors import Blocked, ChangedWhileReading, CkptuiError
from ckptui.predict import compare
from ckptui.predict.answers import Answer, Feed
from ckptui.predict.compare import ORIGINAL, REPEAT, ROWS, TRAINING, Facts
from ckptui.predict.labels import Labels
from ckptui.predict.loading import Loaded
from ckptui.predict.material import FLIPS, PROBES, ImageMaterial, Material
from ckptui.predict.words import verdict

CALLS = 3
"""Calls with the same input, at least."""
MORE_CALLS = 16
"""Calls at most, while they agree: what throws a coin, as a live `RandomFlip` does, falls alike in one of 32,768."""
REPEAT_SECONDS = 0.15
"""What calls that agree may take together."""
SEQUENCE = (6, 2.0)
"""Calls of a random model in each load, at least, and the seconds that up to `MORE_CALLS` may take: a seeded generator
shows only in a sequence, and three answers out of two agree in every eighth pair of sequences by chance."""


class Subject:
    """An image or a set of arrays, and everything the model said about it."""

    def __init__(self, path: str, labels: Labels, top: int) -> None:
        self.path = path
        self.facts = Facts(path)
        self.failed: CkptuiError | None = None
        """Why there is no answer at all."""
        self.material: Material | None = None
        self.answer = Answer(())
        """The model's answer to it as it is."""
        self.variants: tuple[Variant, ...] = ()
        self.expected: Expectation | None = None
        self._all_labels = labels
        self.labels: tuple[str, ...] = ()
        self.top = top
        self._sequences: list[Sequence[Answer]] = []

    def prepare(self, material: Material) -> None:
        """What the model is to get."""
        self.material = material
        self.facts.mirrored, self.facts.untried = material.mirrored, material.untried

    def fail(self, error: CkptuiError) -> Run:
        """No answer for this one: the row that says why."""
        self.failed = error
        self._note(ORIGINAL, error)
        return self.facts.keep(compare.failed_run(ORIGINAL, str(error)))

    def feed(self) -> Feed:
        """What the model gets as it is."""
        assert self.material is not None
        return self.material.original()

    def original(self, model: Loaded, cancel: threading.Event | None) -> Run:
        """As it is."""
        answers, seconds = self._call(model, self.feed(), 1, cancel)
        self.answer = answers[0]
        facts = self.facts
        facts.finite, facts.scale, facts.kind = self.answer.finite, self.answer.scale, self.answer.kind
        facts.outputs, facts.rows = int(self.answer.shown.size), self.answer.rows
        self.labels = self._all_labels.fitting(facts.outputs)
        return self.facts.keep(compare.original_run(self.answer, seconds, self.labels, self.top))

    def _call(
        self, model: Loaded, feed: Feed, calls: int, cancel: threading.Event | None, training: bool | None = None
    ) -> tuple[list[Answer], float]:
        """Its answers; of an image that had to fill a batch of fixed size those of the first row.

        Rows that were given together are told apart.
        """
        answers, seconds = model.call(feed, calls, cancel, training=training)
        if isinstance(self.material, ImageMaterial) and feed.rows > 1:
            answers = [answer.row(0, feed.rows) for answer in answers]
        else:
            shapes = [entry.get("shape") or [0] for entry in model.facts.get("inputs") or ()]
            batched = bool(shapes) and all(shape[0] is None or shape[0] == -1 for shape in shapes)
            answers = [answer.in_rows(feed, batched) for answer in answers]
        return answers, seconds

    def called(self, model: Loaded, feed: Feed, cancel: threading.Event | None, training: bool | None = None) -> Answer:
        """The answer to one call with another feed."""
        return self._call(model, feed, 1, cancel, training)[0][0]

    def flips(self) -> list[str]:
        """The flips that make sense for it."""
        assert self.material is not None
        return [name for name in FLIPS if name in self.material.mirrored]

    def changed(self, model: Loaded, name: str, cancel: threading.Event | None) -> Run | None:
        """Flipped or turned; None where that makes no sense for this material."""
        assert self.material is not None
        feed = self.material.changed(name)
        return None if feed is None else self.compared(name, *self._call(model, feed, 1, cancel))

    def repeated(self, model: Loaded, cancel: threading.Event | None) -> Run:
        """The same call again, so that there are three in all, and more while they agree and are quick."""
        answers, seconds = self._call(model, self.feed(), CALLS - 1, cancel)
        more = min(MORE_CALLS, int(REPEAT_SECONDS / max(seconds, 1e-6))) - CALLS
        if more > 0 and all(self.answer.same_bits(answer) for answer in answers):
            answers += self._call(model, self.feed(), more, cancel)[0]
        self.facts.calls = 1 + len(answers)
        return self.compared(REPEAT, answers, seconds)

    def trained(self, model: Loaded, cancel: threading.Event | None) -> Run:
        """Called with `training=True`; the model is left as it was."""
        return self.compared(TRAINING, *self._call(model, self.feed(), 1, cancel, training=True))

    def probed(self, model: Loaded, cancel: threading.Event | None) -> None:
        """Inputs that have nothing to do with it: does anything move the output?"""
        if not self.facts.random:
            self.facts.probes, self.facts.probes_moved = _moves(self, model, self.answer, cancel)

    def silenced(self, model: Loaded, cancel: threading.Event | None) -> None:
        """Of a model that does not answer the same twice: what makes it so?

        State that calls hand on: from the same state it answers the same. A random Keras model may be steady when
        called with `training=False`, as `model.predict` does.
        """
        if self.facts.random and not model.facts.get("random"):
            # where random operations reach an output a state that moves is their seed
            answers, names = model.held(self.feed(), _sequence_calls(self.facts), cancel)
            if names and all(answers[0].same_bits(answer) for answer in answers):
                self.facts.carried, model.carries = names, True
                return
        if self.facts.random and model.takes_training:
            answers, _ = self._call(model, self.feed(), 2, cancel, training=False)
            self.facts.silenced = answers[0].same_bits(answers[1])
            if self.facts.silenced and answers[0].finite:
                moves = _moves(self, model, answers[0], cancel, training=False)
                self.facts.silent_probes, self.facts.silent_moved = moves

    def again(self, model: Loaded, name: str, cancel: threading.Event | None) -> Run:
        """Through a model loaded anew; several calls where answers are random, to compare sequences."""
        answers, seconds = self._call(model, self.feed(), _sequence_calls(self.facts), cancel)
        if self.facts.random:
            if self._sequences:
                self.facts.seeded = compare.same_sequences(self._sequences[0], answers)
            self._sequences.append(answers)
        return self.compared(name, answers, seconds)

    def elsewhere(self, model: Loaded, name: str, feed: Feed, detail: str, cancel: threading.Event | None) -> Run:
        """Through another model, or under another TensorFlow."""
        answers, seconds = self._call(model, feed, 1, cancel)
        theirs, ours = int(answers[0].shown.size), int(self.answer.shown.size)
        if theirs == ours:
            return self.compared(name, answers, seconds, detail)
        # what the first model's outputs are called says nothing about another number of them
        if name == compare.AGAINST:
            self.facts.unlike = True
        detail += f", {counted(theirs, 'value')} against {ours}"
        return self.compared(name, answers, seconds, detail, labels=())

    def not_run(self, name: str, error: CkptuiError | str, detail: str = "") -> Run:
        """The row of a run that failed."""
        self._note(name, error)
        return self.facts.keep(compare.failed_run(name, str(error), detail))

    def unasked(self, name: str, why: str) -> Run:
        """The row of a run that has no meaning for this model."""
        return self.facts.keep(compare.failed_run(name, why, unasked=True))

    def _note(self, name: str, error: CkptuiError | str) -> None:
        """What more than a row is to be said of."""
        if isinstance(error, Blocked):
            self.facts.blocked.append((name, error.detail))
        elif isinstance(error, ChangedWhileReading):
            self.facts.written_anew.add(name)

    def compared(
        self,
        name: str,
        answers: Sequence[Answer],
        seconds: float,
        detail: str = "",
        labels: Sequence[str] | None = None,
    ) -> Run:
        """The row of answers held against the original's; `labels` where they are not its own."""
        labels = self.labels if labels is None else labels
        run = compare.compared_run(name, self.answer, answers, seconds, labels, self.top, detail)
        apart = [self.answer.relative(answer) for answer in answers]
        self.facts.relative[compare.key_of(run)] = float("nan") if np.isnan(apart).any() else max(apart)
        return self.facts.keep(run)

    def predicted(self) -> Predicted:
        """What is known by now, as a whole."""
        runs = tuple(sorted(self.facts.runs.values(), key=lambda run: ROWS.index(run.name)))
        known = Predicted(self.path, "", (), 0.0, 0.0, runs, verdict(self.facts) if runs else "")
        material = self.material
        if material is None:
            return known
        shape, low, high = material.range()
        return replace(
            known,
            preprocess=material.words,
            shape=shape,
            low=low,
            high=high,
            preview=material.preview,
            preview_size=material.preview_size,
            probes=self.facts.probes,
            variants=self.variants,
            expected=self.expected,
        )


def _sequence_calls(facts: Facts) -> int:
    """The same number in every load, so that a generator which images share stands at the same place in each."""
    if not facts.random:
        return 1
    fewest, most_seconds = SEQUENCE
    return min(MORE_CALLS, max(fewest, int(most_seconds / max(facts.runs[REPEAT].seconds, 1e-6))))


def _moves(
    subject: Subject, model: Loaded, original: Answer, cancel: threading.Event | None, training: bool | None = None
) -> tuple[tuple[Probe, ...], tuple[float, ...]]:
    """Every probe held against `original`, the answer to the material in the same mode; the same in scales."""
    probes, moved = [], []
    for name in PROBES:
        feed = subject.material.changed(name) if subject.material is not None else None
        if feed is None:
            continue
        answer = subject.called(model, feed, cancel, training)
        probes.append(Probe(name, original.apart(answer), original.same_bits(answer)))
        # whether anything of it follows the input is asked of all outputs, also where one was named
        moved.append(original.relative(answer, alone=False))
    return tuple(probes), tuple(moved)
