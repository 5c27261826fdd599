"""What the saves of a run say together: weights that never move, jumps, saves that went back, states that repeat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ckptui.core.catalogue import make
from ckptui.core.dtypes import is_float
from ckptui.core.lookup import copied_rows
from ckptui.core.model import Artifact, Finding, Found, Listing, RunFolder, Scalars, TensorPoint, TimelineRow
from ckptui.core.relation_rows import NOT_WEIGHTS
from ckptui.core.text import human_count
from ckptui.triage.course_jumps import jump_findings
from ckptui.triage.course_returns import went_back_findings
from ckptui.triage.course_states import repeated_findings
from ckptui.triage.unchanged import unchanged_findings

NAMED = 40
"""Tensors that a finding names; it counts the rest."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run's numbers, as its judges ask for them."""

    folder: RunFolder
    saves: tuple[Found, ...]
    rows: tuple[TimelineRow, ...]
    points: tuple[tuple[TensorPoint | None, ...], ...]
    listing: Listing | None
    copies: Mapping[int, int] = field(default_factory=dict)
    """Rows that repeat another in every save, and which."""

    @property
    def weights(self) -> list[int]:
        """Places of the rows that training moves; a weight that is stored twice counts once."""
        return [
            at
            for at, row in enumerate(self.rows)
            if row.role not in NOT_WEIGHTS and is_float(row.dtype) and at not in self.copies
        ]

    def content(self, row: int, place: int) -> tuple[int, int] | None:
        """What stands for the content of a tensor in a save; None where it is not there or can't be read."""
        point = self.points[row][place]
        return None if point is None or point.problem or point.crc32c is None else (point.crc32c, point.count)

    def values(self, row: int) -> list[float | None]:
        """The value of a scalar over the saves."""
        return [None if point is None or point.problem else point.value for point in self.points[row]]

    def label(self, place: int) -> str:
        """What a save is called."""
        return self.saves[place].label

    def named(self, names: Sequence[str]) -> dict[str, Any]:
        """Names as evidence: some of them, and how many."""
        return {"tensors": list(names[:NAMED]), "tensor_count": len(names)}

    def finding(self, code: str, place: int | None, detail: str, evidence: dict[str, Any], **more: Any) -> Finding:
        """A finding about the run, or about one save of it."""
        path = self.folder.path if place is None else self.saves[place].path
        return make(code, path, None, detail=detail, evidence=evidence, **more)


def course_findings(
    run: RunFolder,
    saves: Sequence[Found],
    artifacts: Sequence[Artifact | None],
    rows: Sequence[TimelineRow],
    points: Sequence[Sequence[TensorPoint | None]],
    listing: Listing | None = None,
    scalars: Sequence[Scalars] = (),
) -> list[Finding]:
    """What the points of all saves say, `listing` being the newest one's: its architecture tells what is frozen.

    `scalars`: curves of event files, of which a learning rate tells why weights jump.
    """
    del artifacts
    known = Run(run, tuple(saves), tuple(rows), tuple(tuple(row) for row in points), listing, copied_rows(rows, points))
    weights = _contents(known, known.weights)
    return [
        *_first_not_finite(known),
        *unchanged_findings(known),
        *jump_findings(known, scalars),
        *went_back_findings(known, weights),
        *repeated_findings(known, weights),
    ]


def _contents(run: Run, rows: Sequence[int]) -> list[tuple[Any, ...] | None]:
    """What stands for the weights of each save; None for saves of which some can't be read."""
    out: list[tuple[Any, ...] | None] = []
    for place in range(len(run.saves)):
        there = [(row, run.content(row, place)) for row in rows if run.points[row][place] is not None]
        whole = bool(there) and all(content is not None for _, content in there)
        out.append(tuple(there) if whole else None)
    return out


def _first_not_finite(run: Run) -> list[Finding]:
    """One finding for the first save in which values are not finite."""
    for place in range(len(run.saves)):
        bad = [
            at
            for at, row in enumerate(run.rows)
            if row.role != "metric" and (point := run.points[at][place]) is not None and point.nonfinite
        ]
        if not bad:
            continue
        weights = [at for at in bad if run.rows[at].role not in NOT_WEIGHTS]
        since = sum(
            any((point := row[later]) is not None and point.nonfinite for row in run.points)
            for later in range(place, len(run.saves))
        )
        step = run.saves[place].step
        what = f"{human_count(len(bad))} {'tensor' if len(bad) == 1 else 'tensors'}"
        detail = f"first in {run.label(place)}: {what}"
        detail += "" if weights else " of the optimizer, no weight"
        detail += f"; {human_count(since)} of {human_count(len(run.saves))} saves have such values"
        evidence = {
            "save": run.label(place),
            "step": step,
            "weights": len(weights),
            "saves": since,
            "last_finite": run.label(place - 1) if place else None,
            **run.named([run.rows[at].name for at in (*weights, *(n for n in bad if n not in weights))]),
        }
        advice = f"Go back to {run.label(place - 1)}, the last save without." if place else None
        return [run.finding("non-finite", place, detail, evidence, advice=advice)]
    return []
