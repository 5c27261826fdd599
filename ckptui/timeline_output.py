"""What `ckptui timeline` prints: one line a save while they are read, then every tensor over the saves."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ckptui.core.lookup import copied_rows
from ckptui.core.model import (
    Artifact,
    Finding,
    Found,
    SaveColumn,
    Scalars,
    TensorPoint,
    TimelineReport,
    TimelineRow,
    TimelineStart,
    jsonable,
)
from ckptui.core.names import clean
from ckptui.core.report import STATE_WORDS_OF_ROLES, state_word, table, worst_first
from ckptui.core.text import human_count, middle, number_text, safe, shape_text, shorten_name, step_text
from ckptui.output import findings_json, findings_text

STATE_ROLES = frozenset({*STATE_WORDS_OF_ROLES, "object-graph"})
"""Roles of what is no weight: not in a save's line, and without a row of its own."""
LEVELS = "▁▂▃▄▅▆▇█"
SAME, BROKEN, UNREAD, ABSENT = "_", "!", "×", " "
COURSE = 34
"""Columns of a course; with more saves several share one."""
WIDTH, NAME, LABEL, TAG = 100, 24, 36, 34
FEW_NAMES = 3
MOST_CURVES = 8
FLAGS = 3
UNREADABLE = "unreadable"
TOLD_ALREADY = ("non-finite",)
"""Codes whose counts have a column of their own."""


def timeline_document(report: TimelineReport, bare: Callable[[Found], Artifact]) -> dict[str, Any]:
    """`ckptui/timeline/1`; numbers are null where a save lacks a tensor or it can't be read."""
    artifacts = [one or bare(found) for one, found in zip(report.artifacts, report.saves, strict=True)]
    return {
        "schema": "ckptui/timeline/1",
        "saves": [artifact.to_json() for artifact in artifacts],
        "tensors": [_tensor_json(row, points) for row, points in zip(report.rows, report.points, strict=True)],
        "scalars": [curve.to_json() for curve in report.scalars],
        "findings": findings_json(report.findings),
    }


def _tensor_json(row: TimelineRow, points: Sequence[TensorPoint | None]) -> dict[str, Any]:
    read = [point if point is not None and not point.problem else None for point in points]
    return {
        "name": row.name,
        "shape": list(row.shape),
        "l2": [jsonable(p.l2) if p else None for p in read],
        "delta_l2": [jsonable(p.delta_l2) if p else None for p in read],
        "nonfinite": [p.nonfinite if p else None for p in read],
    }


# ------------------------------------------------------------------ a line a save


@dataclass(slots=True)
class _Sums:
    """One save, all its weights together, while its columns come in."""

    squares: float = 0.0
    moved: float = 0.0
    before: float = 0.0
    """Squared norm before of what `moved` is of."""
    compared: int = 0
    changed: int = 0
    """Elements of weights whose bits differ from the save before."""
    weights: int = 0
    """Weights that have numbers."""
    finite: int = 0
    """Their finite values."""
    broken: int = 0
    """Their others."""
    nonfinite: int = 0
    unread: int = 0
    seen: set[tuple[Any, ...]] = field(default_factory=set)
    """Weights told, by name and content: a save may hold one twice."""
    began: list[str] = field(default_factory=list)
    """Layers of which a weight changed for the first time."""
    findings: list[Finding] = field(default_factory=list)


class SaveLines:
    """The lines of the saves, each as soon as all of its columns are in."""

    def __init__(self, start: TimelineStart) -> None:
        self._saves = start.saves
        self._rows: list[TimelineRow] = []
        self._norms: dict[int, float] = {}
        """By row, of the last save in which it could be read."""
        self._rested: dict[int, bool] = {}
        """By row: whether it never changed so far."""
        self._sums = _Sums()
        self._label = max((len(_label(found)) for found in start.saves), default=4)
        self.losses: Sequence[float | None] | None = None
        """By save, where event files tell it; None while nobody knows."""
        self._with_loss = True

    def head(self, run: str) -> list[str]:
        """What is followed, and what the columns are."""
        saves = self._saves
        steps = [found.step for found in saves if found.step is not None]
        span = f", step {step_text(min(steps))} to {step_text(max(steps))}" if steps else ""
        self._with_loss = self.losses is None or any(loss is not None for loss in self.losses)
        cells = ("save", "step", "norm", "change", "not finite", "loss", "")
        return [f"{safe(run)}  {len(saves)} save{'s' if len(saves) != 1 else ''}{span}", "", self._line(*cells)]

    def take(self, column: SaveColumn) -> list[str]:
        """The save's line, once this is the last of its columns."""
        self._rows += column.new_rows
        sums = self._sums
        sums.findings += column.findings
        for place, point in column.points.items():
            self._add(self._rows[place], place, point)
        if not column.complete:
            return []
        self._sums = _Sums()
        return [self._told(column, sums)]

    def _add(self, row: TimelineRow, place: int, point: TensorPoint) -> None:
        sums = self._sums
        sums.nonfinite += point.nonfinite
        sums.unread += bool(point.problem)
        if row.role in STATE_ROLES:
            return
        held = (row.own_name, row.shape, row.dtype, point.crc32c)
        if point.crc32c is not None and not point.problem:
            if held in sums.seen:
                return
            sums.seen.add(held)
        sums.weights += point.l2 is not None
        sums.finite += point.count - point.nonfinite if point.l2 is not None else 0
        sums.broken += point.nonfinite
        sums.changed += point.changed or 0
        self._follow(row, place, point)
        if point.delta_l2 is not None and place in self._norms:
            sums.moved += point.delta_l2**2
            sums.before += self._norms[place] ** 2
            sums.compared += 1
        if point.l2 is not None:
            sums.squares += point.l2**2
            self._norms[place] = point.l2

    def _follow(self, row: TimelineRow, place: int, point: TensorPoint) -> None:
        """Note which weights rest, and which of those begin to move: layers that are unfrozen."""
        if point.changed is None:
            return
        if point.changed == 0:
            self._rested.setdefault(place, True)
        elif self._rested.get(place):
            layer = safe(shorten_name(row.layer or _name(row), NAME))
            if layer not in self._sums.began:
                self._sums.began.append(layer)
            self._rested[place] = False
        else:
            self._rested[place] = False

    def _told(self, column: SaveColumn, sums: _Sums) -> str:
        found = self._saves[column.place]
        loss = self.losses[column.place] if self.losses and column.place < len(self.losses) else None
        change = _share(sums.moved, sums.before) if sums.compared else None
        lost = bool(sums.broken) and not sums.finite
        words = []
        if column.artifact is None:
            words.append("can't be opened")
        elif sums.compared and not sums.changed:
            words.append("no weight changed")
        if sums.began:
            more = f" and {human_count(len(sums.began) - FEW_NAMES)} more" if len(sums.began) > FEW_NAMES else ""
            words.append(f"{', '.join(sums.began[:FEW_NAMES])}{more} began to move")
        if sums.broken:
            words.append("no finite value left" if lost else "norm of the finite part")
        if sums.unread:
            words.append(f"{sums.unread} unreadable, not in the norm" if sums.weights else UNREADABLE)
        told = [f for f in worst_first(sums.findings) if f.severity != "info" and f.code not in TOLD_ALREADY]
        flags = list(dict.fromkeys(map(state_word, told)))[:FLAGS]
        words += [flag for flag in flags if not (flag == UNREADABLE and sums.unread)]
        return self._line(
            _label(found),
            str(found.step) if found.step is not None else "",
            number_text(math.sqrt(sums.squares)) if sums.weights and not lost else "–",
            number_text(change),
            human_count(sums.nonfinite) if sums.nonfinite else "",
            number_text(loss) if loss is not None else "",
            ", ".join(dict.fromkeys(words)),
        )

    def _line(self, *cells: str) -> str:
        save, step, norm, change, broken, loss, words = cells
        numbers = f"{step:>9}  {norm:>9}  {change:>9}  {broken:>10}" + (f"  {loss:>9}" if self._with_loss else "")
        return f"{save.ljust(max(self._label, 4))}  {numbers}  {words}".rstrip()


def _label(found: Found) -> str:
    return safe(middle(found.label, LABEL))


def _share(moved: float, before: float) -> float:
    return math.sqrt(moved / before) if before > 0 else 0.0 if moved == 0 else math.inf


# ------------------------------------------------------------------ every tensor over the saves


def tensors_text(report: TimelineReport, *, in_full: bool = False) -> list[str]:
    """Courses of the weights (`in_full`: of everything), the rest counted, curves, findings."""
    shown: list[tuple[TimelineRow, Sequence[TensorPoint | None]]] = []
    still: list[TimelineRow] = []
    states: Counter[str] = Counter()
    copies = copied_rows(report.rows, report.points)
    for place, (row, points) in enumerate(zip(report.rows, report.points, strict=True)):
        if place in copies and row.role not in STATE_ROLES:
            continue
        if row.role in STATE_ROLES and not in_full:
            states[STATE_WORDS_OF_ROLES.get(row.role, row.role)] += 1
        elif _never_changed(points):
            still.append(row)
        else:
            shown.append((row, points))
    lines = _courses(shown, report.saves)
    twice = sum(report.rows[place].role not in STATE_ROLES for place in copies)
    if twice:
        what = "tensor is a copy" if twice == 1 else "tensors are copies"
        lines += ["", f"{human_count(twice)} {what} of those above and counted once (--json has all)"]
    if still:
        names = [safe(shorten_name(_name(row), NAME)) for row in still]
        more = f" and {human_count(len(names) - FEW_NAMES)} more" if len(names) > FEW_NAMES else ""
        lines += ["", f"never changed: {', '.join(names[:FEW_NAMES])}{more}"]
    if states:
        told = ", ".join(f"{human_count(n)} {word}{'s' if n != 1 else ''}" for word, n in states.most_common())
        lines += ["", f"training state, not shown: {told}  (--match shows it)"]
    lines += _curves(report.scalars)
    told_findings = findings_text(report.findings)
    return [*lines, *([""] if told_findings else []), *told_findings]


def _name(row: TimelineRow) -> str:
    return row.own_name or clean(row.name)


def _never_changed(points: Sequence[TensorPoint | None]) -> bool:
    """Compared at least once, and always the same bits."""
    told = [p.changed for p in points if p is not None and p.changed is not None]
    return bool(told) and not any(told) and not any(p.nonfinite or p.problem for p in points if p is not None)


def _courses(rows: Sequence[tuple[TimelineRow, Sequence[TensorPoint | None]]], saves: Sequence[Found]) -> list[str]:
    if not rows:
        return []
    cells = []
    for row, points in rows:
        norms = [p.l2 for p in points if p is not None and p.l2 is not None]
        ends = f"{number_text(norms[0])} → {number_text(norms[-1])}" if norms else "–"
        cells.append(
            [safe(_name(row)), middle(shape_text(row.shape), 14), course(points), ends, _broken(points, saves)]
        )
    rest = sum(max(map(len, column)) + 2 for column in list(zip(*cells, strict=True))[1:4])
    cells = [[shorten_name(name, max(WIDTH - rest, NAME)), *others] for name, *others in cells]
    several = math.ceil(len(saves) / COURSE)
    shared = f", {several} saves a column" if several > 1 else ""
    head = [
        f"change since the save before, each tensor on its own scale{shared}",
        f"{SAME} same bits   {BROKEN} not finite   {UNREAD} unreadable",
    ]
    return ["", *head, "", *table(["tensor", "shape", "change", "norm", ""], cells, right=(1,))]


def _broken(points: Sequence[TensorPoint | None], saves: Sequence[Found]) -> str:
    """Since which save values are not finite."""
    first = next((place for place, p in enumerate(points) if p is not None and p.nonfinite), None)
    return "" if first is None else f"not finite: {_label(saves[first])}"


def course(points: Sequence[TensorPoint | None]) -> str:
    """Relative change per save, one sign a save, or the largest of several neighbours."""
    levels: list[float | str] = []
    norm: float | None = None
    for point in points:
        levels.append(_level(point, norm))
        if point is not None and point.l2 is not None:
            norm = point.l2
    top = max((v for v in levels if isinstance(v, float) and math.isfinite(v)), default=0.0)
    each = max(math.ceil(len(levels) / COURSE), 1)
    return "".join(_sign(levels[start : start + each], top) for start in range(0, len(levels), each))


def _level(point: TensorPoint | None, norm: float | None) -> float | str:
    if point is None:
        return ABSENT
    if point.problem:
        return UNREAD
    if point.nonfinite:
        return BROKEN
    if point.changed == 0:
        return SAME
    if point.delta_l2 is None or norm is None:
        return ABSENT
    return point.delta_l2 / norm if norm > 0 else math.inf


def _sign(levels: Iterable[float | str], top: float) -> str:
    """The worst of some saves: not finite, unreadable, else the largest change."""
    some = list(levels)
    for sign in (BROKEN, UNREAD):
        if sign in some:
            return sign
    numbers = [v for v in some if isinstance(v, float)]
    if not numbers:
        return SAME if SAME in some else ABSENT
    return _block(max(numbers), 0.0, top)


def _block(value: float, low: float, high: float) -> str:
    if not math.isfinite(value):
        return LEVELS[-1]
    share = (value - low) / (high - low) if high > low else 0.0
    return LEVELS[min(int(share * len(LEVELS)), len(LEVELS) - 1)]


def _curves(scalars: Sequence[Scalars]) -> list[str]:
    """The curves of event files, a line each."""
    rows = []
    for curve in scalars[:MOST_CURVES]:
        finite = [v for v in curve.values if math.isfinite(v)]
        if not finite:
            continue
        low, high = min(finite), max(finite)
        each = max(math.ceil(len(curve.values) / COURSE), 1)
        parts = [curve.values[start : start + each] for start in range(0, len(curve.values), each)]
        drawn = "".join(
            _block(sum(part) / len(part), low, high) if all(map(math.isfinite, part)) else BROKEN for part in parts
        )
        span = f"step {step_text(curve.steps[0])} to {step_text(curve.steps[-1])}"
        ends = f"{number_text(curve.values[0])} → {number_text(curve.values[-1])}"
        rows.append([_curve_name(curve), drawn, ends, span])
    more = len(scalars) - MOST_CURVES
    told = [f"… and {human_count(more)} more curves (--json has all)"] if more > 0 else []
    return ["", *table(["event files", "", "first → last", ""], rows), *told] if rows else []


def _curve_name(curve: Scalars) -> str:
    """`logs/train: epoch_loss`; where that is too long the folders above go first, the tag last."""
    folder = curve.source.rpartition("/")[2]
    names = [f"{where}: {curve.tag}" for where in (curve.source, folder) if where]
    return safe(next((name for name in names if len(name) <= TAG), middle(curve.tag, TAG)))
