"""What the saves of a run say together: weights that never move, jumps, saves that went back, states that repeat."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ckptui.core import timeline
from ckptui.core.catalogue import make
from ckptui.core.dtypes import is_float, is_integer
from ckptui.core.model import Artifact, Finding, Found, Listing, RunFolder, TensorPoint, TimelineRow
from ckptui.core.relation_rows import NOT_WEIGHTS
from ckptui.core.text import human_count
from ckptui.triage.unchanged import unchanged_findings

NAMED = 40
"""Tensors that a finding names; it counts the rest."""
TIMESTAMP = 100_000_000
"""A step from this number on is a time: exports are named so, and hours are no measure of training."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run's numbers, as its judges ask for them."""

    folder: RunFolder
    saves: tuple[Found, ...]
    rows: tuple[TimelineRow, ...]
    points: tuple[tuple[TensorPoint | None, ...], ...]
    listing: Listing | None

    @property
    def weights(self) -> list[int]:
        """Places of the rows that training moves."""
        return [at for at, row in enumerate(self.rows) if row.role not in NOT_WEIGHTS and is_float(row.dtype)]

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
) -> list[Finding]:
    """What the points of all saves say, `listing` being the newest one's: its architecture tells what is frozen."""
    del artifacts
    known = Run(run, tuple(saves), tuple(rows), tuple(tuple(row) for row in points), listing)
    weights = _contents(known, known.weights)
    return [
        *_first_not_finite(known),
        *unchanged_findings(known),
        *_jumps(known),
        *_went_back(known, weights),
        *_repeated(known, weights),
    ]


def named(names: Sequence[str]) -> dict[str, Any]:
    """Names as evidence: some of them, and how many."""
    return {"tensors": list(names[:NAMED]), "tensor_count": len(names)}


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
            **named([run.rows[at].name for at in (*weights, *(n for n in bad if n not in weights))]),
        }
        advice = f"Go back to {run.label(place - 1)}, the last save without." if place else None
        return [run.finding("non-finite", place, detail, evidence, advice=advice)]
    return []


# ---------------------------------------------------------------------- jumps


def _jumps(run: Run) -> list[Finding]:
    kernels = [
        at
        for at in run.weights
        if run.rows[at].role in ("kernel", "embedding", "other")
        and max((p.count for p in run.points[at] if p is not None), default=0) >= timeline.FEWEST_VALUES
    ]
    courses = [timeline.Course(_count(run, at), _norms(run, at), _deltas(run, at)) for at in kernels]
    out = []
    for jump in timeline.jumps(courses, _steps(run)):
        before, after = run.label(jump.place - 1), run.label(jump.place)
        lost = [run.rows[kernels[at]].name for at in jump.unrelated]
        evidence = {
            "from": before,
            "to": after,
            "step": run.saves[jump.place].step,
            "factor": round(jump.factor, 2) if jump.factor < 1e9 else None,
            "kernels": jump.judged,
            "reinitialised": len(lost),
            "lasting": jump.lasting,
            **named(lost or _most_moved(run, kernels, jump.place)),
        }
        if lost and 2 * len(lost) >= jump.judged:
            title, how = "Training started anew between two saves", "have nothing in common with the save before"
            detail = f"from {before} to {after}: {len(lost)} of {jump.judged} kernels {how}, as after an initialisation"
        elif lost:
            title = "Layers were initialised anew between two saves"
            detail = f"from {before} to {after}: {len(lost)} of {jump.judged} kernels have nothing in common with "
            detail += f"the save before, the others go on: {', '.join(lost[:3])}{' ...' if len(lost) > 3 else ''}"
        else:
            title = None
            detail = f"from {before} to {after} the weights moved {jump.factor:.1f} times as far as ever before"
            detail += ", and go on moving so" if jump.lasting else ""
        certainty: Any = "likely" if lost or jump.factor >= 2 * timeline.JUMP else "possible"
        out.append(run.finding("jump", jump.place, detail, evidence, title=title, certainty=certainty))
    return out


def _count(run: Run, row: int) -> int:
    return max((point.count for point in run.points[row] if point is not None), default=0)


def _norms(run: Run, row: int) -> list[float | None]:
    return [None if p is None or p.problem or p.nonfinite else p.l2 for p in run.points[row]]


def _deltas(run: Run, row: int) -> list[float | None]:
    """Changes since the save directly before: those that skip a save are no interval of their own."""
    out: list[float | None] = []
    before: TensorPoint | None = None
    for point in run.points[row]:
        fit = point is not None and before is not None and not (point.problem or before.problem)
        finite = fit and point is not None and before is not None and not (point.nonfinite or before.nonfinite)
        out.append(point.delta_l2 if finite and point is not None else None)
        before = point
    return out


def _most_moved(run: Run, kernels: Sequence[int], place: int) -> list[str]:
    """Names, the ones that moved farthest for their size first."""
    moved = []
    for at in kernels:
        now, before = run.points[at][place], run.points[at][place - 1]
        if now is not None and before is not None and now.delta_l2 and before.l2:
            moved.append((now.delta_l2 / before.l2, run.rows[at].name))
    return [name for _, name in sorted(moved, reverse=True)]


def _steps(run: Run) -> list[float | None]:
    """Training steps by save: what is counted inside where that rises throughout, else what the names say."""
    for at in _counters(run):
        values = run.values(at)
        known = [value for value in values if value is not None]
        if len(known) == len(values) and all(b > a for a, b in itertools.pairwise(known)):
            return values
    steps = [save.step for save in run.saves]
    if any(step is not None and step >= TIMESTAMP for step in steps):
        return [None] * len(steps)
    return [None if step is None else float(step) for step in steps]


def _counters(run: Run) -> list[int]:
    """Rows of integers that count steps; a saver's own count of saves last."""
    counting = [
        at
        for at, row in enumerate(run.rows)
        if row.role in ("step", "counter") and is_integer(row.dtype) and not row.shape
    ]
    return sorted(counting, key=lambda at: ("save_counter" in run.rows[at].name, run.rows[at].role != "step", at))


# ---------------------------------------------------------------------- what comes back


def _went_back(run: Run, weights: Sequence[tuple[Any, ...] | None]) -> list[Finding]:
    equal = timeline.returns(weights)
    lower: dict[int, list[str]] = {}
    for at in _counters(run):
        values = run.values(at)
        for place, before in timeline.falls(values):
            word = f"{run.rows[at].own_name or run.rows[at].name} {_whole(values[before])} -> {_whole(values[place])}"
            lower.setdefault(place, []).append(word)
        for place in timeline.told_otherwise([_step(save) for save in run.saves], values):
            word = f"{run.rows[at].own_name or run.rows[at].name} is {_whole(values[place])}"
            lower.setdefault(place, []).append(f"{word}, the name says {run.saves[place].step}")
    out = []
    for at, found in enumerate(equal):
        again = equal[at - 1] if at else None
        if again is not None and (found.place - again.place, found.same_as - again.same_as) == (1, 1):
            # the same course once more: told with its first save
            continue
        along = [later for later in equal[at:] if later.place - found.place == later.same_as - found.same_as]
        counters = lower.pop(found.place, [])
        detail = f"{run.label(found.place)} holds the weights of {run.label(found.same_as)}; saves between differ"
        detail += f"; counters inside: {', '.join(counters)}" if counters else ""
        evidence = {
            "save": run.label(found.place),
            "same_as": run.label(found.same_as),
            "step": run.saves[found.place].step,
            "counters": counters,
            "repeats": [[run.label(one.place), run.label(one.same_as)] for one in along],
        }
        out.append(run.finding("went-back", found.place, detail, evidence))
    for place, counters in sorted(lower.items()):
        detail = f"counters inside {run.label(place)} are lower than they should be: {', '.join(counters)}"
        evidence = {"save": run.label(place), "step": run.saves[place].step, "counters": counters}
        title = "Counters inside went back"
        advice = "Training restarted from an earlier state, or an older save was written under this name."
        out.append(run.finding("went-back", place, detail, evidence, title=title, advice=advice))
    return out


def _step(save: Found) -> float | None:
    return None if save.step is None else float(save.step)


def _whole(value: float | None) -> str:
    return "?" if value is None else str(int(value))


def _repeated(run: Run, weights: Sequence[tuple[Any, ...] | None]) -> list[Finding]:
    """States of generators that come again although training went on."""

    def differ(one: int, other: int) -> bool:
        return weights[one] is not None and weights[other] is not None and weights[one] != weights[other]

    pairs: dict[tuple[int, int], list[str]] = {}
    for at, row in enumerate(run.rows):
        if row.role != "rng-state":
            continue
        states = [run.content(at, place) for place in range(len(run.saves))]
        if len({state for state in states if state is not None}) < 2:
            # it never drew in this run, or a model in which nothing draws
            continue
        for pair in timeline.repeats(states, differ):
            pairs.setdefault(pair, []).append(row.name)
    if not pairs:
        return []
    first = min(pairs)
    told = [[run.label(one), run.label(other)] for one, other in sorted(pairs)]
    names = list(dict.fromkeys(name for some in pairs.values() for name in some))
    detail = f"{told[0][0]} and {told[0][1]} hold the same state, their weights differ: what is drawn at random repeats"
    detail += f" (and {len(told) - 1} more pairs)" if len(told) > 1 else ""
    # between neighbours a generator that nobody asked looks the same
    apart = any(other - one > 1 for one, other in pairs)
    evidence = {"saves": told, **named(names)}
    certainty: Any = "likely" if apart else "possible"
    return [run.finding("rng-state-repeated", first[1], detail, evidence, certainty=certainty)]
