"""The causes that `why` tells apart, what is gathered to judge them, and how a judgement is written down. Pure.

What is gathered may have holes: no prediction, no second save, no folder of images. A judge that lacks what it needs
says so (`unasked`) and what would tell; it never takes a hole for an all-clear.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ckptui.core.causes import Cause, RuledOut, Symptom
from ckptui.core.causes_cut import unread
from ckptui.core.config_sides import TRAINING_ONLY
from ckptui.core.layer_fields import class_of
from ckptui.core.names import clean
from ckptui.core.predictions import Predicted, PredictReport, Run
from ckptui.core.vocabulary import ArchitectureRow, Certainty, Finding, Operation

Judged = Cause | RuledOut


@dataclass(frozen=True, slots=True)
class Kind:
    """A cause that can be told: its stable code, one line, and the symptoms it explains."""

    code: str
    title: str
    symptoms: tuple[Symptom, ...]
    next_step: str


_C: tuple[Symptom, ...] = ("constant",)
_F: tuple[Symptom, ...] = ("flip",)
_U: tuple[Symptom, ...] = ("unstable",)
_ALL: tuple[Symptom, ...] = ("constant", "flip", "unstable")

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        kind.code: kind
        for kind in (
            Kind(
                "damaged-save",
                "The save is damaged, or was written by half",
                _ALL,
                "`ckptui check` names every bad tensor; take another save, or bring back what survives with "
                "`ckptui salvage`.",
            ),
            Kind(
                "output-disconnected",
                "The output is not connected to the input",
                _C,
                "Look at the code that builds or exports the model: the answer is computed without the input.",
            ),
            Kind(
                "dead-layer",
                "A dead or saturated layer lets nothing of the input through",
                _C,
                "Look at this layer's configuration and at the weights before it (`ckptui filters`, `ckptui show`).",
            ),
            Kind(
                "weights-not-finite",
                "Weights are NaN or infinite",
                _C,
                "The training diverged before this save: take an earlier one (`ckptui timeline` shows the first bad).",
            ),
            Kind(
                "weights-zero",
                "Weights of one value: zero, or a constant",
                _C,
                "Check that this layer was restored and trained.",
            ),
            Kind(
                "weights-untouched",
                "Weights are as their initializer drew them",
                _C,
                "Check the restore's status object (`assert_consumed`), `trainable`, and the layer's path to the loss.",
            ),
            Kind(
                "statistics-never-updated",
                "Batch statistics were never updated",
                _C,
                "Train with training=True, or restore the moving mean and variance with the weights.",
            ),
            Kind(
                "preprocessing-off",
                "What the model gets is not what it was trained on",
                _C,
                "Feed the range of the training; call adapt() on a Normalization before saving.",
            ),
            Kind(
                "restore-partial",
                "The restore bound only a part of the weights",
                _ALL,
                "Restore with assert_consumed() or by_name=False; compare names and shapes with `ckptui show`.",
            ),
            Kind(
                "dead-filters",
                "Filters that add nothing to the answer",
                _C,
                "`ckptui filters` lists them; look at regularisation, and at masks.",
            ),
            Kind(
                "one-sided-training",
                "The training data showed one side only",
                _F,
                "Train with flipped images too, if a flipped image should mean the same.",
            ),
            Kind(
                "preprocessing-flips",
                "The preprocessing flips or transposes the image",
                _F,
                "Compare the axes and their order in the code that reads images for training and for serving.",
            ),
            Kind(
                "layout-input",
                "The model sees a part of the image that is the same until its layout changes",
                _F,
                "Look at what is cropped, resized or indexed before the first layer with weights.",
            ),
            Kind(
                "live-dropout",
                "A random layer or op is live at inference",
                _U,
                "Export or call with training=False; take `training=True` out of the layer's call.",
            ),
            Kind(
                "batch-statistics",
                "Batch statistics are taken from the images at hand",
                _U,
                "Export with training=False, so that the moving mean and variance are used.",
            ),
            Kind(
                "wrong-checkpoint",
                "A wrong or stale checkpoint is restored",
                _U,
                "Restore by the save's own path; `ckptui check` on the folder says which save is the newest good one.",
            ),
            Kind(
                "other-training",
                "Weights of another training",
                _U,
                "Look where this save came from; `ckptui diff RUN SAVE` says which save of a run it was made from.",
            ),
            Kind(
                "preprocessing-skew",
                "Training and serving prepare their input differently",
                _U,
                "Let the model prepare its own input (Rescaling, Normalization), or prepare alike on both sides.",
            ),
            Kind(
                "configuration-changed",
                "The layers are configured otherwise",
                _U,
                "`ckptui diff` names each setting; rebuild the model from the configuration it was trained with.",
            ),
            Kind(
                "other-tensorflow",
                "Another TensorFlow answers otherwise",
                _U,
                "Predict with the version that trained the model.",
            ),
            Kind(
                "unsaved-state",
                "State that is not in the file decides the answer",
                _U,
                "Look for variables that no save holds, and for tables or files the model reads while it loads.",
            ),
            Kind(
                "symmetric-filters",
                "A fact of the weights, and no fault: mirror-symmetric filters",
                (),
                "Nothing to do: symmetric filters make an answer survive flips, they never make it flip.",
            ),
            Kind(
                "duplicate-filters",
                "A fact of the weights: filters that repeat others",
                (),
                "Check how the kernel was initialised or widened.",
            ),
        )
    }
)
WEIGHT: Mapping[Certainty, float] = {"confirmed": 1.0, "likely": 0.7, "possible": 0.4}
UNSEEN = 0.3
"""What is left of a suspicion where the behaviour was looked at and does not show its symptom."""
UNASKED = 0.6
"""Where the behaviour was not looked at."""
UNPREDICTED = "no prediction was made"
"""Why only the answers of a model would tell; why there are none is said once, in the verdict."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """All that was found out about a model, by the steps of `why`."""

    path: str
    kind: str
    findings: tuple[Finding, ...] = ()
    """Of storage, values, filters, the run and the prediction."""
    layers: Mapping[str, str] = field(default_factory=dict)
    """Layer of each tensor that a finding is about."""
    names: Mapping[str, str] = field(default_factory=dict)
    """What people call these tensors: `conv1/kernel`."""
    spare: frozenset[str] = frozenset()
    """Those of them that no answer is computed from: slots, counters, metrics."""
    architecture: tuple[ArchitectureRow, ...] = ()
    operations: tuple[Operation, ...] = ()
    report: PredictReport | None = None
    unpredicted: str = ""
    """Why there is no prediction, in few words."""
    predict_by: str = ""
    """What to give on the command line so that there is one."""
    death: tuple[str, str] = ("", "")
    """(how, in words) the input gets lost in the layers: dead, saturated, constant, not finite, disconnected."""
    ending: tuple[str, ...] = ()
    """The range of each weight of the layer where the input ends, in words."""
    far_off: tuple[str, str] | None = None
    """(layer, in words): the bias that lies far beyond every other of the save, where there is one."""
    collapsed: tuple[tuple[str, str], ...] = ()
    """(layer, tensor) of each moving variance that is 0 throughout."""
    branches: tuple[tuple[str, str], ...] = ()
    """(layer, in words): layers that lose the input while the answer follows it by another way."""
    unreached: tuple[str, ...] = ()
    """Inputs from which, by the calls of the layers that were looked at, no way leads to an output."""
    normalizing: tuple[str, ...] = ()
    """Layers that keep batch statistics."""
    relation: Mapping[str, Any] | None = None
    """{"verdict", "certainty", "evidence"} to the save that was named beside it."""
    against: str = ""
    changed: tuple[str, ...] = ()
    """Weights that differ from it."""
    strangers: tuple[tuple[str, str], ...] = ()
    """(save, certainty): neighbours of the run with which it shares nothing."""
    kin: tuple[str, ...] = ()
    """Neighbours of the run with which it shares something."""
    symptom: Symptom | None = None
    values_read: bool = True
    filters_read: bool = True
    read: tuple[int, int] = (0, 0)
    """How many tensors could be read, of how many that are listed."""
    kernels: tuple[int, int] = (0, 0)
    """How many kernels were looked at, of how many that are listed."""
    folder_asked: bool = False
    """Many images were given."""

    def of(self, *codes: str, least: str = "warning") -> list[Finding]:
        """Findings with one of these codes, of `least` severity or worse."""
        rank = {"info": 0, "warning": 1, "error": 2}
        return [f for f in self.findings if f.code in codes and rank[f.severity] >= rank[least]]

    def has(self, code: str) -> bool:
        """A finding with this code, whatever its severity."""
        return any(f.code == code for f in self.findings)

    def place(self, finding: Finding) -> str:
        """What people call the tensor a finding is about."""
        return self.names.get(finding.tensor or "", "") or clean(finding.tensor or "")

    def answered(self) -> list[Predicted]:
        """Images with an answer."""
        images = self.report.images if self.report is not None else ()
        return [image for image in images if any(run.name == "original" and not run.error for run in image.runs)]

    def runs(self, name: str) -> list[Run]:
        """The rows of one name that worked, over all images."""
        return [run for image in self.answered() for run in image.runs if run.name == name and not run.error]

    @property
    def behaved(self) -> bool:
        """The model has answered something."""
        return bool(self.answered()) or (self.report is not None and self.report.many is not None)

    @property
    def unjudged(self) -> str:
        """Why the answers, though there are some, say nothing of changes between calls; empty where one of them does.

        Those that are random or not finite are held against nothing: no finding about them is no all-clear.
        """
        reasons: dict[str, str] = {}
        answered = self.answered()
        for finding in self.of("nondeterministic", "non-finite"):
            if finding.tensor is None:
                drawn = "carried from call to call" if finding.evidence.get("carried_state") else "random"
                why = drawn if finding.code == "nondeterministic" else "not finite"
                named = finding.evidence.get("images") or range(len(answered))
                reasons |= {str(image): why for image in named}
        if not reasons or len(reasons) < len(answered):
            return ""
        return f"the answer is {' or '.join(dict.fromkeys(reasons.values()))}: it can't be judged"

    @property
    def silent_moves(self) -> dict[str, float]:
        """How far each probe moves the answer of a random model called with training=False, where it is steady so."""
        moves: dict[str, float] = {}
        for finding in self.of("nondeterministic"):
            moves |= dict(finding.evidence.get("moved_with_training_false") or {})
        return moves

    @property
    def why_not(self) -> str:
        """Why nothing is known of its behaviour."""
        return self.unpredicted or "the model gave no answer"

    @property
    def partly(self) -> str:
        """Why nothing can be said of all of the values; empty where every tensor was read."""
        return unread(self.path, self.read, self.findings)

    def live(self) -> list[ArchitectureRow]:
        """Layers that a call tells to train."""
        return [row for row in self.architecture if row.live]

    def live_random(self) -> list[ArchitectureRow]:
        """Those of them that are random in training: by their class, or by a dropout that a recurrent layer has."""
        drawing = TRAINING_ONLY - {"Identity"}
        own = ("dropout", "recurrent_dropout")
        live = self.live()
        return [row for row in live if class_of(row.class_name) in drawing or any(map(row.config.get, own))]


def cause(
    code: str,
    certainty: Certainty,
    explains: float,
    evidence: Sequence[str],
    findings: Sequence[Finding] | Sequence[str] = (),
    *,
    where: str | None = None,
    title: str = "",
    next_step: str = "",
    factor: float = 1.0,
) -> Cause:
    """A cause of this kind. `explains`: how much of its symptom, 0 to 1; `factor`: `UNSEEN` or `UNASKED`, 1 if seen."""
    kind = KINDS[code]
    codes = dict.fromkeys(f if isinstance(f, str) else f.code for f in findings)
    return Cause(
        code,
        title or kind.title,
        kind.symptoms,
        certainty,
        round(explains * WEIGHT[certainty] * factor, 3),
        tuple(evidence),
        next_step or kind.next_step,
        tuple(codes),
        where,
    )


def out(code: str, reason: str) -> RuledOut:
    """The checks speak against it."""
    kind = KINDS[code]
    return RuledOut(code, kind.title, kind.symptoms, reason)


def unasked(code: str, reason: str, ask: str = "") -> RuledOut:
    """Nothing here could tell, for this reason; `ask`: the option that would."""
    kind = KINDS[code]
    return RuledOut(code, kind.title, kind.symptoms, reason, asked=False, ask=ask)


def lines(gathered: Gathered, findings: Sequence[Finding], most: int = 4) -> list[str]:
    """One line of evidence for each finding; of many the first few."""
    told: list[str] = []
    for finding in findings:
        place = gathered.place(finding)
        text = finding.detail or finding.title
        # a reader may have said which tensor it is already
        for name in {place, clean(finding.tensor or "")} - {""}:
            text = text.removeprefix(f"{name}: ")
        line = f"{place}: {text}" if place else text
        if line not in told:
            told.append(line)
    return told if len(told) <= most else [*told[:most], f"and {len(told) - most} more"]


def where_of(gathered: Gathered, findings: Sequence[Finding]) -> str | None:
    """The layer or tensor of the first finding that has one."""
    return next((gathered.place(f) for f in findings if f.tensor), None)


def best_of(*levels: Certainty) -> Certainty:
    """The surest of these."""
    return max(levels, key=lambda level: WEIGHT[level], default="possible")


def of_kind(judged: Iterator[Judged]) -> tuple[list[Cause], list[RuledOut]]:
    """Causes and what was ruled out, apart."""
    causes: list[Cause] = []
    others: list[RuledOut] = []
    for item in judged:
        if isinstance(item, Cause):
            causes.append(item)
        else:
            others.append(item)
    return causes, others
