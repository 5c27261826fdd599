"""Outputs held against each other: the rows of a prediction, and the findings they make together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ckptui.core.catalogue import make
from ckptui.core.model import Finding, Probe, Run
from ckptui.predict.answers import Answer, kept

Array = np.ndarray[Any, Any]

ORIGINAL = "original"
FLIP_LR, FLIP_UD = "flip-left-right", "flip-up-down"
REPEAT, RELOAD, FRESH = "repeat", "reload", "fresh-process"
SAME_ANSWER = 1e-6
"""Of the output's scale: a reload within this is the same answer computed in another order."""
INVARIANT = 1e-5
"""Of the output's scale: a flip that moves the output less than this leaves it as it is."""


@dataclass(slots=True)
class Facts:
    """Everything the runs of one image say, gathered while they come in."""

    path: str
    runs: dict[str, Run] = field(default_factory=dict)
    scale: float = 1.0
    """Largest magnitude of the original output."""
    finite: bool = True
    mirrored: Mapping[str, bool] = field(default_factory=dict)
    """Per flip: the image equals its own flip, so that the flip can't tell anything."""
    probes: tuple[Probe, ...] = ()
    seeded: bool | None = None
    """Random, but every fresh load gives the same sequence; None where nothing is random."""
    silenced: bool | None = None
    """Random, but steady when called with `training=False`; None where nothing is random or it can't be asked."""
    outputs: int = 0
    partly: str = ""
    """`38 of 40 weights bound` where a checkpoint did not fill the whole architecture."""

    @property
    def random(self) -> bool:
        """The same call twice gave different bits."""
        repeat = self.runs.get(REPEAT)
        return repeat is not None and repeat.identical is False

    @property
    def constant(self) -> bool:
        """No input tried moves the output: at least two that differ from the image, flips included."""
        moved = [probe.max_abs for probe in self.probes]
        moved += [r.max_abs_diff for r in self.telling_flips() if r.max_abs_diff is not None]
        limit = 0.1 * SAME_ANSWER * self.scale
        return not self.random and self.finite and len(moved) >= 2 and all(m <= limit for m in moved)

    @property
    def constant_bits(self) -> bool:
        """Constant to the last bit."""
        flips = all(run.identical for run in self.telling_flips())
        return self.constant and flips and all(probe.identical for probe in self.probes)

    def telling_flips(self) -> list[Run]:
        """Flips that worked, of an image that differs from its own flip."""
        names = [name for name in (FLIP_LR, FLIP_UD) if not self.mirrored.get(name)]
        return [self.runs[name] for name in names if name in self.runs and not self.runs[name].error]

    def changed_flips(self) -> list[str]:
        """Flips under which the best answer is another."""
        return [run.name for run in self.telling_flips() if run.top1_changed]

    def differing_loads(self) -> list[Run]:
        """Reload and fresh process, where the answer moved by more than rounding can."""
        runs = [self.runs[name] for name in (RELOAD, FRESH) if name in self.runs]
        limit = SAME_ANSWER * self.scale
        return [r for r in runs if r.max_abs_diff is not None and not r.identical and not r.max_abs_diff <= limit]


def flat(output: Array) -> Array:
    """The output as one row, in its own dtype."""
    return np.asarray(output).reshape(-1)


def best(output: Array) -> int:
    """Index of the largest value, NaN last; for a single value in [0, 1] the side of one half it is on."""
    values = flat(output).astype(np.float64)
    if values.size == 1:
        return int(values[0] >= 0.5) if 0 <= values[0] <= 1 else 0
    return int(np.argmax(np.where(np.isnan(values), -np.inf, values))) if values.size else 0


def top_of(output: Array, labels: Sequence[str], count: int) -> tuple[tuple[int, str, float], ...]:
    """The `count` largest values with their labels (the index where there is none), best first, NaN last."""
    values = flat(output).astype(np.float64)
    order = np.argsort(-np.where(np.isnan(values), -np.inf, values), kind="stable")[:count]
    return tuple((int(i), labels[i] if i < len(labels) else str(i), float(values[i])) for i in order)


def original_run(answer: Answer, seconds: float, labels: Sequence[str], count: int) -> Run:
    """The row everything else is held against."""
    top = top_of(answer.main, labels, count)
    return Run(ORIGINAL, top, kept(answer.main), None, None, seconds, outputs=answer.outputs())


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
        top_of(answer.main, labels, count),
        kept(answer.main),
        apart[at],
        any(best(each.main) != best(original.main) for each in answers),
        seconds,
        identical=all(original.same_bits(each) for each in answers),
        detail=detail,
        outputs=answer.outputs(),
    )


def failed_run(name: str, why: str, detail: str = "") -> Run:
    """A row that says why there is no answer."""
    return Run(name, (), (), None, None, 0.0, error=why, detail=detail)


def same_sequences(a: Sequence[Answer], b: Sequence[Answer]) -> bool:
    """Call by call the same bits."""
    return len(a) == len(b) > 0 and all(x.same_bits(y) for x, y in zip(a, b, strict=True))


def findings_of(model: str, images: Sequence[Facts]) -> list[Finding]:
    """What the runs of all images say about the model, one finding a code."""
    answered = [f for f in images if ORIGINAL in f.runs and not f.runs[ORIGINAL].error]
    found = [
        _random(model, [f for f in answered if f.random]),
        _not_finite(model, [f for f in answered if not f.finite]),
        _reload(model, [f for f in answered if not f.random and f.differing_loads()]),
        _constant(model, [f for f in answered if f.constant]),
        *_flips(model, [f for f in answered if not f.random and not f.constant and f.finite]),
    ]
    return [finding for finding in found if finding is not None]


def _names(images: Sequence[Facts]) -> list[str]:
    return [facts.path for facts in images]


def _random(model: str, images: Sequence[Facts]) -> Finding | None:
    if not images:
        return None
    largest = max(facts.runs[REPEAT].max_abs_diff or 0.0 for facts in images)
    seeded = all(facts.seeded for facts in images)
    how = "every process gives the same sequence of three calls" if seeded else "no two processes agree"
    silenced = all(facts.silenced for facts in images)
    how += "; with training=False, as model.predict calls it, it is steady" if silenced else ""
    evidence = {
        "max_abs": largest,
        "seeded": seeded,
        "steady_with_training_false": silenced,
        "calls": 3,
        "images": _names(images),
    }
    return make(
        "nondeterministic",
        model,
        detail=f"three calls with the same input differ by up to {largest:.3g}; {how}",
        evidence=evidence,
    )


def _not_finite(model: str, images: Sequence[Facts]) -> Finding | None:
    if not images:
        return None
    return make(
        "non-finite",
        model,
        title="The answer is not finite",
        detail=f"NaN or infinity in the output of {len(images)} image(s)",
        evidence={"images": _names(images)},
        advice="Check the weights for NaN first (`c`), then the range the model gets.",
    )


def _reload(model: str, images: Sequence[Facts]) -> Finding | None:
    if not images:
        return None
    runs = {run.name: run.max_abs_diff for facts in images for run in facts.differing_loads()}
    words = " and ".join("after a reload" if name == RELOAD else "in a fresh process" for name in runs)
    largest = max(value for value in runs.values() if value is not None)
    return make(
        "reload-differs",
        model,
        detail=f"{words} the output differs by up to {largest:.3g}, repeats in one process do not",
        evidence={"max_abs": largest, "runs": runs, "images": _names(images)},
    )


def _constant(model: str, images: Sequence[Facts]) -> Finding | None:
    if not images:
        return None
    bits = all(facts.constant_bits for facts in images)
    tried = sorted({probe.name for facts in images for probe in facts.probes})
    several = images[0].outputs > 1
    return make(
        "constant-output",
        model,
        detail=f"the image, its flips and {', '.join(tried)} all give {'the same bits' if bits else 'the same'}",
        evidence={"inputs": ["image", "flips", *tried], "identical_bits": bits, "images": _names(images)},
        certainty="confirmed" if bits and several else "likely",
    )


def _flips(model: str, images: Sequence[Facts]) -> list[Finding | None]:
    changed = {facts.path: facts.changed_flips() for facts in images if facts.changed_flips()}
    still = [facts for facts in images if _invariant(facts)]
    made: list[Finding | None] = []
    if changed:
        flips = sorted({flip for flips in changed.values() for flip in flips})
        detail = f"{len(changed)} of {len(images)} image(s), under {' and '.join(flips)}"
        made.append(make("flip-changes-prediction", model, detail=detail, evidence={"flips": flips, "images": changed}))
    if still:
        moved = max(facts.runs[FLIP_LR].max_abs_diff or 0.0 for facts in still)
        noise = min(max(probe.max_abs for probe in facts.probes) for facts in still)
        made.append(
            make(
                "flip-invariant",
                model,
                detail=f"a left-right flip moves the output by {moved:.3g}, noise by {noise:.3g}",
                evidence={"flip": moved, "noise": noise, "images": _names(still)},
            )
        )
    return made


def _invariant(facts: Facts) -> bool:
    run = facts.runs.get(FLIP_LR)
    if run is None or run.error or facts.mirrored.get(FLIP_LR) or run.max_abs_diff is None:
        return False
    limit = INVARIANT * facts.scale
    return run.max_abs_diff < limit and any(probe.max_abs > limit for probe in facts.probes)
