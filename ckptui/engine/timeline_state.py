"""What is known of each save while a timeline is made, and words about saves that change meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ckptui.core.catalogue import make
from ckptui.core.model import Artifact, Finding, Found, Tensor, TensorPoint, TimelineReport
from ckptui.core.text import human_count
from ckptui.engine.opened import identity
from ckptui.engine.stretch import Stretch, joined, point_of

NAMED = 20
"""Tensors that a finding about several names."""


@dataclass(slots=True)
class State:
    """What is known of one save so far."""

    artifact: Artifact | None = None
    on_row: dict[int, int] = field(default_factory=dict)
    """Place of the tensor in the listing, by row; empty for what was known before."""
    points: dict[int, TensorPoint] = field(default_factory=dict)
    good: set[tuple[int, int]] = field(default_factory=set)
    """Parts that were read well."""
    pending: dict[int, dict[int, Stretch | str]] = field(default_factory=dict)
    """Stretches of large tensors, by row and part, while others are still to come; a word where it failed."""
    last_window: int = 0
    findings: list[Finding] = field(default_factory=list)


def whole_point(pieces: Sequence[Stretch | str], tensor: Tensor) -> TensorPoint:
    whole = [piece for piece in pieces if not isinstance(piece, str)]
    if len(whole) < len(pieces):
        word = next(piece for piece in pieces if isinstance(piece, str))
        return TensorPoint(count=tensor.count, problem=word)
    return point_of(joined(whole))


def unchanged(save: Found, known: TimelineReport, places: Mapping[str, int]) -> int | None:
    """Where the earlier timeline had this save, if it is as it was then."""
    place = places.get(save.path)
    if place is None or known.saves[place].modified != save.modified:
        return None
    return place


def not_there(save: Found) -> Finding | None:
    """A word about a save that was rotated away while the timeline was made, no damage; None where it is there."""
    if save.findings or any(stamp is not None for stamp in identity(save.path)):
        return None
    return make(
        "changed-while-reading",
        save.path,
        detail=f"{save.label} was there when the run was listed, and is not any more",
        severity="info",
        title="Removed while the timeline was made",
        advice="Nothing to do: savers remove old saves as new ones come.",
    )


def by_cause(findings: Sequence[Finding]) -> list[Finding]:
    """One finding for a save and a cause: those of single tensors are put together, named in the evidence.

    Where one is about the whole file, what its tensors suffer from the same belongs to it.
    """
    groups: dict[tuple[str, ...], list[Finding]] = {}
    whole = {(f.artifact, f.code) for f in findings if f.tensor is None and f.severity == "error"}
    for finding in findings:
        key: tuple[str, ...] = (finding.artifact, finding.code)
        if key not in whole or finding.severity != "error":
            key = (*key, finding.title, finding.severity, finding.certainty)
        groups.setdefault(key, []).append(finding)
    return [finding for group in groups.values() for finding in _put_together(group)]


def _put_together(group: Sequence[Finding]) -> list[Finding]:
    whole = [finding for finding in group if finding.tensor is None]
    tensors = list(dict.fromkeys(finding.tensor for finding in group if finding.tensor is not None))
    if not tensors or len(group) == 1:
        return list(group)
    first = whole[0] if whole else group[0]
    known = first.evidence.get("tensors", ())
    if isinstance(known, list) and known:
        # put together before, of another part of the save
        tensors = list(dict.fromkeys([*known, *tensors]))
    evidence = {**first.evidence, "tensors": tensors[:NAMED], "tensor_count": len(tensors)}
    detail = first.detail
    if not whole and len(tensors) > 1:
        detail = f"{human_count(len(tensors))} tensors, {tensors[0]} among them: {detail}"
    return [
        replace(first, tensor=None if whole or len(tensors) > 1 else first.tensor, detail=detail, evidence=evidence),
        *whole[1:],
    ]


def changed(save: Found, detail: str) -> Finding:
    """A save that somebody writes while it is read."""
    return make("changed-while-reading", save.path, detail=detail)
