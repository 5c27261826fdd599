"""Saves of a run that went back: the weights of an earlier one again, or counters inside that are lower."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ckptui.core import timeline
from ckptui.core.model import Finding, Found
from ckptui.core.text import TIMESTAMP, human_count
from ckptui.triage.course_jumps import counters

if TYPE_CHECKING:
    from ckptui.triage.timeline import Run

FROM_ZERO = 1.5
"""A counter that restarted holds at most so many of the run's usual intervals."""
REBUILT = "The optimizer was built anew"


def went_back_findings(run: Run, weights: Sequence[tuple[Any, ...] | None]) -> list[Finding]:
    """`weights` stands for what each save holds; None where some of it can't be read."""
    equal = timeline.returns(weights)
    lower, rebuilt = _lower(run)
    out = []
    for at, found in enumerate(equal):
        again = equal[at - 1] if at else None
        if again is not None and (found.place - again.place, found.same_as - again.same_as) == (1, 1):
            # the same course once more: told with its first save
            continue
        along = [later for later in equal[at:] if later.place - found.place == later.same_as - found.same_as]
        inside = lower.pop(found.place, []) + rebuilt.pop(found.place, [])
        detail = f"{run.label(found.place)} holds the weights of {run.label(found.same_as)}; saves between differ"
        detail += f"; counters inside: {', '.join(inside)}" if inside else ""
        evidence = {
            "save": run.label(found.place),
            "same_as": run.label(found.same_as),
            "step": run.saves[found.place].step,
            "counters": inside,
            "repeats": [[run.label(one.place), run.label(one.same_as)] for one in along],
        }
        out.append(run.finding("went-back", found.place, detail, evidence))
    for place, inside in sorted(lower.items()):
        inside = inside + rebuilt.pop(place, [])
        detail = f"counters inside {run.label(place)} are lower than they should be: {', '.join(inside)}"
        evidence = {"save": run.label(place), "step": run.saves[place].step, "counters": inside}
        title = "Counters inside went back"
        advice = "Training restarted from an earlier state, or an older save was written under this name."
        out.append(run.finding("went-back", place, detail, evidence, title=title, advice=advice))
    return [*out, *_rebuilt(run, rebuilt)]


def _lower(run: Run) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """By save what is said of its counters: those that went back, and those of optimizers that began anew."""
    lower: dict[int, list[str]] = {}
    rebuilt: dict[int, list[str]] = {}
    names = [_step(save) for save in run.saves]
    for at in counters(run):
        values = run.values(at)
        own = run.rows[at].role == "step" or "save_counter" in run.rows[at].name
        name = run.rows[at].own_name or run.rows[at].name
        fallen = timeline.falls(values)
        for place, before in fallen:
            word = f"{name} {_whole(values[before])} -> {_whole(values[place])}"
            anew = not own and _began_anew(run, values, place, before)
            (rebuilt if anew else lower).setdefault(place, []).append(word)
        for place in timeline.told_otherwise(names, values):
            if place not in rebuilt:
                word = f"{name} is {_whole(values[place])}, the name says {run.saves[place].step}"
                lower.setdefault(place, []).append(word)
    return lower, rebuilt


def _began_anew(run: Run, values: Sequence[float | None], place: int, before: int) -> bool:
    """Whether an optimizer's counter counts from zero since the save before, or its slots are others."""
    known = [value for value in values if value is not None]
    rises = [b - a for a, b in itertools.pairwise(known) if b > a]
    now = values[place]
    if now is not None and (now == 0 or (rises and now <= FROM_ZERO * statistics.median(rises))):
        return True
    slots = [run.points[at] for at, row in enumerate(run.rows) if row.role == "slot"]
    return any((points[before] is None) != (points[place] is None) for points in slots)


def _rebuilt(run: Run, rebuilt: dict[int, list[str]]) -> list[Finding]:
    if not rebuilt:
        return []
    first = min(rebuilt)
    detail = f"in {run.label(first)} the optimizer counts from the start: {', '.join(rebuilt[first])}"
    if len(rebuilt) > 1:
        detail += f"; so it does in {human_count(len(rebuilt) - 1)} more of the saves"
    evidence = {
        "save": run.label(first),
        "step": run.saves[first].step,
        "counters": rebuilt[first],
        "also_in": [run.label(place) for place in sorted(rebuilt) if place != first],
    }
    advice = (
        "Nothing to do if the model was compiled anew there, as before fine-tuning: moments and schedule start over."
    )
    return [
        run.finding(
            "went-back",
            first,
            detail,
            evidence,
            title=REBUILT,
            advice=advice,
            severity="info",
            certainty="possible",
        )
    ]


def _step(save: Found) -> float | None:
    return None if save.step is None or save.step >= TIMESTAMP else float(save.step)


def _whole(value: float | None) -> str:
    return "?" if value is None else str(int(value))
