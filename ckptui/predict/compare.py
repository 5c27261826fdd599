"""Outputs held against each other: the rows of a prediction, and what is known from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ckptui.core.model import Probe, Run
from ckptui.core.text import number_text
from ckptui.predict.answers import Answer, kept

Array = np.ndarray[Any, Any]

ORIGINAL = "original"
FLIP_LR, FLIP_UD, TURNED = "flip-left-right", "flip-up-down", "rotate-180"
REPEAT, IN_BATCH, RELOAD, FRESH = "repeat", "in-batch", "reload", "fresh-process"
TRAINING, AGAINST, OTHER_TF = "training-mode", "against", "other-tensorflow"
ROWS = (ORIGINAL, FLIP_LR, FLIP_UD, TURNED, REPEAT, IN_BATCH, RELOAD, FRESH, TRAINING, AGAINST, OTHER_TF)
"""In the order in which a report has them."""
SAME_ANSWER = 1e-6
"""Of an output's scale: a reload within this is the same answer computed in another order."""
STILL = 1e-7
"""Of an output's scale: an input that moves it by no more leaves it as it is."""
INVARIANT = 1e-5
"""Of an output's scale: a flip that moves it less than this leaves it as it is."""
BATCH = 1e-5
"""Of an output's scale, between a batch of others and one of copies: both run the same kernels on as many rows."""
BATCH_CONTROL = 10
"""Times what the copies' own row is away from the single call, so that a model that rounds coarsely is no alarm."""
TRAINED = 1e-3
"""Of an output's scale: training mode that moves the answer by no more is not worth a word."""
VERSIONS = 1e-4
"""Of an output's scale: versions of TensorFlow that are no further apart differ by rounding alone.

Measured between 2.15.1 (Keras 2.15) and 2.21.0 (Keras 3.15), both on the CPU: 687 calls of 48 models, most of them
trained, are at most 4.3e-6 apart, all with the same best answer.
"""


@dataclass(slots=True)
class Facts:
    """Everything the runs of one image say, gathered while they come in."""

    path: str
    runs: dict[str, Run] = field(default_factory=dict)
    """By `key_of`: name, for another TensorFlow with its detail."""
    relative: dict[str, float] = field(default_factory=dict)
    """Per run: the largest difference of any output over that output's own scale."""
    scale: float = 1.0
    """Largest magnitude of the original outputs."""
    finite: bool = True
    kind: str = "float"
    """What the output on show holds: float, integer or text."""
    calls: int = 3
    """Calls with the same input that `repeat` held against each other, the original's among them."""
    mirrored: Mapping[str, bool] = field(default_factory=dict)
    """Per flip: the image equals its own flip, so that the flip can't tell anything."""
    probes: tuple[Probe, ...] = ()
    probes_moved: tuple[float, ...] = ()
    """The same relative to the scale of each output."""
    untried: bool = False
    """The input holds text beside its numbers, which no probe changes."""
    seeded: bool | None = None
    """Random, but every fresh load gives the same sequence; None where nothing is random."""
    silenced: bool | None = None
    """Random, but steady when called with `training=False`; None where nothing is random or it can't be asked."""
    carried: tuple[str, ...] = ()
    """Variables that each call changes, where the answer is the same once they are put back: state, nothing random."""
    silent_probes: tuple[Probe, ...] = ()
    """Where it is steady so: the probes called with `training=False`, held against the answer to the image so."""
    silent_moved: tuple[float, ...] = ()
    """The same relative to the scale of each output."""
    among_copies: float | None = None
    """Relative: alone against among copies of itself."""
    among_others: float | None = None
    """Relative: among copies of itself against among others."""
    among_others_by: float = 0.0
    """The same as a difference."""
    blocked: list[tuple[str, str]] = field(default_factory=list)
    """(run, what it tried) of calls that the worker's cage stopped."""
    written_anew: set[str] = field(default_factory=set)
    """Runs that were not made because the model's files are another model's by then."""
    outputs: int = 0
    """Values of the output on show, of one row where there are several."""
    unlike: bool = False
    """The other save or model gives another number of values."""
    rows: int = 1
    """Rows that went into each call together."""
    dies_at: str = ""
    """`conv2 (Conv2D)`: where a constant output stops following the input, as far as layers can be looked at."""
    partly: str = ""
    """`38 of 40 weights bound; not bound: ...` where a checkpoint did not fill the whole architecture."""

    def keep(self, run: Run) -> Run:
        """Add a row; the same."""
        self.runs[key_of(run)] = run
        return run

    @property
    def random(self) -> bool:
        """The same call twice gave different bits."""
        repeat = self.runs.get(REPEAT)
        return repeat is not None and repeat.identical is False

    @property
    def steady(self) -> bool:
        """It answered, finite and the same again: what the other judgements stand on."""
        return ORIGINAL in self.runs and not self.runs[ORIGINAL].error and not self.random and self.finite

    @property
    def constant(self) -> bool:
        """No input tried moves any output: at least two that differ from the image, flips included.

        Nothing is known where a part of the input was never changed, or there is not one value to move.
        """
        if self.kind != "text" and not self.outputs and ORIGINAL in self.runs:
            return False
        moved = [*self.probes_moved, *(self.relative.get(key_of(run), np.inf) for run in self.telling_flips())]
        return self.steady and not self.untried and len(moved) >= 2 and all(m <= STILL for m in moved)

    @property
    def constant_silenced(self) -> bool:
        """Random, and beneath that constant: with `training=False` no probe moves any output."""
        moved = self.silent_moved
        return bool(self.silenced) and not self.untried and len(moved) >= 2 and all(m <= STILL for m in moved)

    @property
    def constant_bits(self) -> bool:
        """Constant to the last bit."""
        if self.constant_silenced:
            return all(probe.identical for probe in self.silent_probes)
        flips = all(run.identical for run in self.telling_flips())
        return self.constant and flips and all(probe.identical for probe in self.probes)

    @property
    def batch_dependent(self) -> bool:
        """The rest of the batch moves the answer by more than rounding can."""
        if not self.steady or self.among_others is None or self.among_copies is None:
            return False
        return not self.among_others <= max(BATCH, BATCH_CONTROL * min(self.among_copies, BATCH))

    def telling_flips(self) -> list[Run]:
        """Flips that worked, of an image that differs from its own flip."""
        names = [name for name in (FLIP_LR, FLIP_UD, TURNED) if not self.mirrored.get(name)]
        return [self.runs[name] for name in names if name in self.runs and not self.runs[name].error]

    def changed_flips(self) -> list[str]:
        """Flips under which the best answer is another."""
        return [run.name for run in self.telling_flips() if run.top1_changed]

    def beyond(self, names: Sequence[str], limit: float) -> list[Run]:
        """Runs of these names that answered, further from the original than `limit` of an output's scale."""
        runs = [run for run in self.runs.values() if run.name in names and not run.error and not run.identical]
        return [run for run in runs if not self.relative.get(key_of(run), 0.0) <= limit]

    @property
    def trained_otherwise(self) -> bool:
        """Training mode moves the answer far enough to be seen, or to another best one."""
        run = self.runs.get(TRAINING)
        changed = run is not None and not run.error and bool(run.top1_changed)
        return changed or bool(self.beyond((TRAINING,), TRAINED))

    def differing_loads(self) -> list[Run]:
        """Reload and fresh process, where the answer moved by more than rounding can."""
        return self.beyond((RELOAD, FRESH), SAME_ANSWER)


def key_of(run: Run) -> str:
    """What tells the rows of one image apart."""
    return f"{run.name} {run.detail}" if run.name == OTHER_TF else run.name


def size_text(value: float | None) -> str:
    """A difference in few digits."""
    return number_text(value, 3)


def flat(output: Array) -> Array:
    """The output as one row, in its own dtype."""
    return np.asarray(output).reshape(-1)


def is_class(output: Array) -> bool:
    """The output is a single integer: the class itself, not a score of each."""
    return output.size == 1 and output.dtype.kind in "iu"


def best(output: Array) -> int:
    """Index of the largest value, NaN last; of a single value the class.

    A single integer is a class (ArgMax); of a single float in [0, 1] it is the side of one half it is on.
    """
    if is_class(output):
        return int(flat(output)[0])
    values = flat(output).astype(np.float64)
    if values.size == 1:
        return int(values[0] >= 0.5) if 0 <= values[0] <= 1 else 0
    return int(np.argmax(np.where(np.isnan(values), -np.inf, values))) if values.size else 0


def bests(answer: Answer) -> tuple[int, ...]:
    """The best of every row of an answer."""
    if answer.rows == 1:
        return (best(answer.main),)
    table = answer.main.reshape(answer.rows, -1)
    if table.shape[1] == 1:
        return tuple(best(row) for row in table)
    values = table.astype(np.float64)
    return tuple(np.argmax(np.where(np.isnan(values), -np.inf, values), axis=1).tolist())


def top_of(output: Array, labels: Sequence[str], count: int) -> tuple[tuple[int, str, float], ...]:
    """The `count` largest values with their labels (the index where there is none), best first, NaN last.

    Of a class it is the class.
    """
    values = flat(output).astype(np.float64)
    if is_class(output):
        place = best(output)
        return ((place, labels[place] if 0 <= place < len(labels) else str(place), float(values[0])),)[:count]
    order = _largest(np.where(np.isnan(values), -np.inf, values), count)
    return tuple((int(i), labels[i] if i < len(labels) else str(i), float(values[i])) for i in order)


def _largest(values: Array, count: int) -> Array:
    """Places of the `count` largest, best first, of equals the first first; a mask of millions is not sorted whole."""
    places = np.arange(values.size)
    if 0 < count < values.size:
        bound = np.partition(values, values.size - count)[values.size - count]
        places = np.concatenate([np.flatnonzero(values > bound), np.flatnonzero(values == bound)[:count]])
    found: Array = places[np.argsort(-values[places], kind="stable")][:count]
    return found


def original_run(answer: Answer, seconds: float, labels: Sequence[str], count: int) -> Run:
    """The row everything else is held against."""
    top = top_of(answer.shown, labels, count)
    detail = rows_text(answer.rows)
    return Run(ORIGINAL, top, kept(answer.main), None, None, seconds, detail=detail, outputs=answer.outputs())


def rows_text(rows: int) -> str:
    """What is shown of several rows; nothing for a single one."""
    return f"row 1 of {rows} is shown, all are compared" if rows > 1 else ""


def compared_run(
    name: str,
    original: Answer,
    answers: Sequence[Answer],
    seconds: float,
    labels: Sequence[str],
    count: int,
    detail: str = "",
) -> Run:
    """A row of one or more calls: shown is the one that differs most from the original."""
    apart = [original.apart(answer) for answer in answers]
    at = int(np.argmax([np.inf if np.isnan(value) else value for value in apart]))
    answer = answers[at]
    return Run(
        name,
        top_of(answer.shown, labels, count),
        kept(answer.main),
        apart[at],
        any(bests(each) != bests(original) for each in answers),
        seconds,
        identical=all(original.same_bits(each) for each in answers),
        detail=detail,
        outputs=answer.outputs(),
    )


def failed_run(name: str, why: str, detail: str = "", *, unasked: bool = False) -> Run:
    """A row that says why there is no answer; `unasked` where the model can't be asked and nothing is wrong."""
    return Run(name, (), (), None, None, 0.0, error=why, detail=detail, unasked=unasked)


def same_sequences(a: Sequence[Answer], b: Sequence[Answer]) -> bool:
    """Call by call the same bits."""
    return len(a) == len(b) > 0 and all(x.same_bits(y) for x, y in zip(a, b, strict=True))
