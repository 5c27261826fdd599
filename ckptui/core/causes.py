"""The vocabulary of `why`: symptoms, causes with their evidence, what was ruled out, what could not be asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ckptui.core.vocabulary import Certainty, Finding, jsonable

Symptom = Literal["constant", "flip", "unstable"]
SYMPTOMS: Mapping[Symptom, str] = {
    "constant": "the same prediction for every input",
    "flip": "the same prediction unless the image is flipped",
    "unstable": "another prediction from run to run, after a reload or an export",
}


@dataclass(frozen=True, slots=True)
class Cause:
    """Something that explains a symptom, with its evidence."""

    code: str
    """Stable name of the cause: `output-disconnected`, `dead-layer`, `live-dropout`, ..."""
    title: str
    symptoms: tuple[Symptom, ...]
    certainty: Certainty
    score: float
    """Rank among the causes, 0 to 1 and no probability: how much of the symptom it explains, times how sure it is,
    times how far the symptom was seen (see docs/symptoms.md)."""
    evidence: tuple[str, ...]
    """One fact a line, with its numbers."""
    next_step: str
    findings: tuple[str, ...] = ()
    """Codes of the findings it rests on."""
    where: str | None = None
    """The layer or tensor it lies in."""

    def to_json(self) -> dict[str, Any]:
        return {
            "cause": self.code,
            "title": self.title,
            "symptoms": list(self.symptoms),
            "certainty": self.certainty,
            "score": jsonable(self.score),
            "evidence": list(self.evidence),
            "next_step": self.next_step,
            "findings": list(self.findings),
            "where": self.where,
        }


@dataclass(frozen=True, slots=True)
class RuledOut:
    """A cause that the checks speak against, or could not ask about."""

    code: str
    title: str
    symptoms: tuple[Symptom, ...]
    reason: str
    asked: bool = True
    """False: nothing here can tell; the reason says what is missing."""
    ask: str = ""
    """What to give on the command line so that it is asked: `--images DIR`."""

    def to_json(self) -> dict[str, Any]:
        return {
            "cause": self.code,
            "title": self.title,
            "symptoms": list(self.symptoms),
            "reason": self.reason,
            "asked": self.asked,
            "ask": self.ask,
        }


@dataclass(frozen=True, slots=True)
class WhyStep:
    """A group of checks that begins or has ended."""

    name: str
    """storage | values | filters | run | behaviour | many-images"""
    state: Literal["running", "done", "failed", "skipped"]
    detail: str = ""
    """What it found, why it failed or was left out."""
    seconds: float = 0.0
    ask: str = ""
    """What to give on the command line so that it is taken."""

    def to_json(self) -> dict[str, Any]:
        told = {"name": self.name, "state": self.state, "detail": self.detail, "seconds": self.seconds}
        return {**told, "ask": self.ask}


@dataclass(frozen=True, slots=True)
class WhyReport:
    """The whole answer of `why`."""

    model: Mapping[str, Any]
    """{"path", "kind", "label"}; after a prediction all of the predict document's `model`."""
    symptom: Symptom | None
    """The one asked for; None: all three."""
    shown: tuple[Symptom, ...]
    """The symptoms that were really seen."""
    causes: tuple[Cause, ...]
    """Ranked, the likeliest first."""
    ruled_out: tuple[RuledOut, ...]
    steps: tuple[WhyStep, ...]
    findings: tuple[Finding, ...] = ()
    images: tuple[str, ...] = ()
    verdict: str = ""
    notes: tuple[str, ...] = field(default=())

    @property
    def behaved(self) -> bool:
        """The model was asked and answered."""
        return any(step.name == "behaviour" and step.state == "done" for step in self.steps)


def standing(cause: Cause, report: WhyReport) -> str:
    """In words how a cause stands to what was seen; ranks follow it."""
    wanted = report.symptom
    if not cause.symptoms:
        return "a fact beside"
    if wanted is not None and wanted not in cause.symptoms:
        return "explains another symptom"
    if any(one in report.shown for one in cause.symptoms if wanted in (None, one)):
        return "explains what was seen"
    return "would explain it, not seen" if report.behaved else "would explain it, the model was not asked"
