"""What is known of each save while a timeline is made, and words about saves that change meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ckptui.core.catalogue import make
from ckptui.core.model import Artifact, Finding, Found, Tensor, TensorPoint, TimelineReport
from ckptui.engine.opened import identity
from ckptui.engine.stretch import Stretch, joined, point_of


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


def changed(save: Found, detail: str) -> Finding:
    """A save that somebody writes while it is read."""
    return make("changed-while-reading", save.path, detail=detail)
