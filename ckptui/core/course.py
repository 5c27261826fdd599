"""The vocabulary of a run over time: what its saves come to, one after the other. Frozen, without behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ckptui.core.found import Found, RunFolder
from ckptui.core.vocabulary import Artifact, Finding, Role, jsonable


@dataclass(frozen=True, slots=True)
class TensorPoint:
    """One tensor in one save, and what became of it since the save before (the last one in which it was readable)."""

    l2: float | None = None
    """Over the finite values; None for strings and what can't be read."""
    delta_l2: float | None = None
    """||this - the one before|| over what is finite in both; None in the first save, or where shape or dtype differ."""
    changed: int | None = None
    """Elements whose bits differ from the save before; None where there is nothing to compare with."""
    nonfinite: int = 0
    count: int = 0
    crc32c: int | None = None
    """Of the elements in C order and little-endian, unmasked: equal content, equal number."""
    value: float | None = None
    """The value itself where there is only one: a step, a counter."""
    problem: str = ""
    """Why it could not be read."""


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """One tensor over the saves of a run."""

    name: str
    """As stored in the newest save that has it."""
    shape: tuple[int, ...]
    dtype: str
    role: Role
    layer: str = ""
    own_name: str = ""
    """What people call it: `conv1/kernel`."""


@dataclass(frozen=True, slots=True)
class TimelineStart:
    """The saves that a timeline goes through, before any of them is opened."""

    run: RunFolder
    saves: tuple[Found, ...]
    """Oldest first."""


@dataclass(frozen=True, slots=True)
class SaveColumn:
    """What one save adds to a timeline. Of large saves several of these come, each with other rows."""

    place: int
    """Which save, counted from 0 in `TimelineStart.saves`."""
    artifact: Artifact | None
    """None where it can't be opened."""
    new_rows: tuple[TimelineRow, ...] = ()
    """Rows met for the first time; they follow those known so far."""
    points: Mapping[int, TensorPoint] = field(default_factory=dict)
    """By place of the row."""
    complete: bool = True
    """All of the save's tensors are told."""
    findings: tuple[Finding, ...] = ()
    """What its reading found: checksums, values that are not finite, why it can't be opened."""


@dataclass(frozen=True, slots=True)
class Scalars:
    """One curve of the event files beside a run: the loss, the learning rate."""

    tag: str
    """`loss`, `epoch_accuracy`, ..."""
    source: str
    """Folder of the event files under the run's: empty for the run's own, `eval`, `train`, `validation`, ..."""
    steps: tuple[int, ...]
    values: tuple[float, ...]
    walls: tuple[float, ...] = ()
    """Seconds since the epoch."""

    def to_json(self) -> dict[str, Any]:
        return {
            "tag": self.tag,
            "source": self.source,
            "steps": list(self.steps),
            "values": jsonable(self.values),
            "walls": list(self.walls),
        }


@dataclass(frozen=True, slots=True)
class TimelineReport:
    """A run over time, tensor by tensor."""

    run: RunFolder
    saves: tuple[Found, ...]
    artifacts: tuple[Artifact | None, ...]
    """Of each save; None where it can't be opened."""
    rows: tuple[TimelineRow, ...]
    points: tuple[tuple[TensorPoint | None, ...], ...]
    """By row, then by save; None where the save has no such tensor."""
    scalars: tuple[Scalars, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Watched:
    """What changed below the paths that are watched."""

    appeared: tuple[Found, ...] = ()
    """Saves that are new, or complete only now."""
    changed: tuple[Found, ...] = ()
    """Saves written anew under the same name."""
    gone: tuple[str, ...] = ()
    """Paths of saves that are no longer there."""
    runs: tuple[RunFolder, ...] = ()
    """Runs as they are now, where one of them changed."""
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """One save of a run held against an export by its weights."""

    path: str
    step: int | None
    identical: int
    """Weights of the export whose bits this save has too."""
    weights: int
    """Weights of the export that have a partner in this save."""
    relative_l2: float | None = None
    """How far the others are apart, all weights together; None where that was not worked out."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Which save of a run an export was made from."""

    run: str
    answer: str
    """`yes` | `no`"""
    save: str | None
    """The save it was made from; else the nearest; None where none has partners for its weights."""
    step: int | None
    weights: int
    """Weights of the export."""
    candidates: tuple[Candidate, ...] = ()
    """Oldest first."""
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "answer": self.answer,
            "save": self.save,
            "step": self.step,
            "weights": self.weights,
            "reason": self.reason,
            "candidates": [
                {name: jsonable(getattr(c, name)) for name in c.__dataclass_fields__} for c in self.candidates
            ],
        }
