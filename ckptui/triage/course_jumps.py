"""Saves of a run between which the weights jumped, and what happened there."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ckptui.core import timeline
from ckptui.core.curves import aligned, is_rate
from ckptui.core.dtypes import is_float, is_integer
from ckptui.core.model import Finding, Scalars, TensorPoint
from ckptui.core.text import TIMESTAMP, human_count

if TYPE_CHECKING:
    from ckptui.triage.timeline import Run

RAISED = 1.5
"""A learning rate that grew by this factor is told beside a jump."""
_RATE = "learning_rate"
FEW = 3


def jump_findings(run: Run, scalars: Sequence[Scalars] = ()) -> list[Finding]:
    """One finding for each cause: the saves after it that are out of line too are in its evidence."""
    kernels = [
        at
        for at in run.weights
        if run.rows[at].role in ("kernel", "embedding", "other") and _count(run, at) >= timeline.FEWEST_VALUES
    ]
    courses = [timeline.Course(_count(run, at), _norms(run, at), _deltas(run, at)) for at in kernels]
    return [_finding(run, jump, kernels, scalars) for jump in timeline.jumps(courses, steps_of(run))]


def _finding(run: Run, jump: timeline.Jump, kernels: Sequence[int], scalars: Sequence[Scalars]) -> Finding:
    before, after = run.label(jump.place - 1), run.label(jump.place)
    lost = [run.rows[kernels[at]].name for at in jump.unrelated]
    rate = _raised_rate(run, jump.place, scalars)
    began = [run.rows[at].name for at in kernels if _began(run, at, jump.place)]
    evidence = {
        "from": before,
        "to": after,
        "step": run.saves[jump.place].step,
        "factor": round(jump.factor, 2) if jump.factor < 1e9 else None,
        "kernels": jump.judged,
        "reinitialised": len(lost),
        "lasting": jump.lasting,
        "also_in": [run.label(place) for place in jump.also],
        "learning_rate": list(rate) if rate else None,
        "began_to_move": began[:FEW],
        **run.named(lost or _most_moved(run, kernels, jump.place)),
    }
    if lost and 2 * len(lost) >= jump.judged:
        title, how = "Training started anew between two saves", "have nothing in common with the save before"
        detail = f"from {before} to {after}: {len(lost)} of {jump.judged} kernels {how}, as after an initialisation"
    elif lost:
        title = "Layers were initialised anew between two saves"
        detail = f"from {before} to {after}: {len(lost)} of {jump.judged} kernels have nothing in common with "
        detail += f"the save before, the others go on: {', '.join(lost[:FEW])}{' ...' if len(lost) > FEW else ''}"
    else:
        title = None
        detail = f"from {before} to {after} the weights moved {_times(jump.factor)} as far as ever before"
        detail += ", and go on moving so" if jump.lasting else ""
    if rate:
        detail += f"; the learning rate went from {rate[0]:.4g} to {rate[1]:.4g} between them"
    if began:
        detail += f"; {', '.join(began[:FEW])} began to move (unfrozen)"
    if jump.also:
        detail += f"; {human_count(len(jump.also))} more {'saves' if len(jump.also) > 1 else 'save'} right after "
        detail += "moved out of line too"
    certainty: Any = "likely" if lost or jump.factor >= 2 * timeline.JUMP else "possible"
    return run.finding("jump", jump.place, detail, evidence, title=title, certainty=certainty)


def _times(factor: float) -> str:
    return f"{factor:.1f} times" if factor < 1e4 else f"{factor:.0e} times"


def _raised_rate(run: Run, place: int, scalars: Sequence[Scalars]) -> tuple[float, float] | None:
    """The learning rate before and at a save, where it was raised: inside the saves, else in the event files."""
    inside = [
        run.values(at)
        for at, row in enumerate(run.rows)
        if is_float(row.dtype) and not row.shape and (_RATE in row.name or _RATE in row.own_name)
    ]
    # optimizers of Keras hold their count of steps first, then their rate
    inside += [
        run.values(at)
        for at, row in enumerate(run.rows)
        if row.role == "counter" and is_float(row.dtype) and row.own_name.rpartition("/")[2] == "1"
    ]
    for values in (*inside, *(aligned(curve, run.saves) for curve in scalars if is_rate(curve))):
        before, now = values[place - 1], values[place]
        if before is not None and now is not None and 0 < RAISED * before <= now and math.isfinite(now):
            return before, now
    return None


def _began(run: Run, row: int, place: int) -> bool:
    """Whether a tensor that never changed before moves for the first time."""
    earlier = [p.changed for p in run.points[row][:place] if p is not None and p.changed is not None]
    now = run.points[row][place]
    return bool(earlier) and not any(earlier) and now is not None and bool(now.changed)


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


def steps_of(run: Run) -> list[float | None]:
    """Training steps by save: what is counted inside where that rises throughout, else what the names say."""
    for at in counters(run):
        values = run.values(at)
        known = [value for value in values if value is not None]
        if len(known) == len(values) and all(b > a for a, b in itertools.pairwise(known)):
            return values
    steps = [save.step for save in run.saves]
    if any(step is not None and step >= TIMESTAMP for step in steps):
        return [None] * len(steps)
    return [None if step is None else float(step) for step in steps]


def counters(run: Run) -> list[int]:
    """Rows of integers that count steps; a saver's own count of saves last."""
    counting = [
        at
        for at, row in enumerate(run.rows)
        if row.role in ("step", "counter") and is_integer(row.dtype) and not row.shape
    ]
    return sorted(counting, key=lambda at: ("save_counter" in run.rows[at].name, run.rows[at].role != "step", at))
