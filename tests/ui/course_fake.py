"""How a made-up session follows runs: timelines of made-up values, curves, a watcher told what to say."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ckptui.core.model import (
    Finding,
    Found,
    Histogram,
    Listing,
    Progress,
    RunFolder,
    SaveColumn,
    Scalars,
    TensorPoint,
    TimelineReport,
    TimelineRow,
    TimelineStart,
    Watched,
)
from ckptui.errors import CkptuiError


def _l2(values: Any) -> float:
    finite = values[np.isfinite(values)].astype(np.float64)
    return float(np.sqrt((finite**2).sum()))


def point_of(values: Any, before: Any) -> TensorPoint:
    """What one save says of a tensor."""
    nonfinite = int((~np.isfinite(values)).sum()) if values.dtype.kind == "f" else 0
    if before is None or before.shape != values.shape:
        return TensorPoint(_l2(values), nonfinite=nonfinite, count=values.size)
    apart = np.asarray(values, np.float64) - np.asarray(before, np.float64)
    changed = int((np.asarray(values) != np.asarray(before)).sum())
    return TensorPoint(_l2(values), _l2(apart), changed, nonfinite, values.size)


class CourseSession:
    """Follows runs of saves held in memory; `course_gate` cleared holds a timeline before its next save."""

    found: list[Found | RunFolder | Finding]
    listings: dict[str, Listing]
    values: dict[str, Any]
    open_errors: dict[str, CkptuiError]

    def _begin_courses(self) -> None:
        self.course_gate = threading.Event()
        self.course_gate.set()
        self.timelines: list[tuple[str, bool]] = []
        """Runs whose timelines were asked for, and whether something was known of them."""
        self.read_for_course: list[str] = []
        self.histories: list[str] = []
        self.curves: tuple[Scalars, ...] = ()
        self.course_findings: tuple[Finding, ...] = ()
        self.prepared: list[SaveColumn] = []
        """Columns that are told instead of those worked out from values."""
        self.news: queue.Queue[Watched] = queue.Queue()
        self.watched: list[Sequence[str]] = []

    def saves_of(self, run: RunFolder) -> tuple[Found, ...]:
        by_path = {item.path: item for item in self.found if isinstance(item, Found)}
        return tuple(by_path[path] for path in run.saves)

    def timeline(
        self,
        run: RunFolder,
        *,
        pattern: str | None = None,
        cancel: threading.Event | None = None,
        known: TimelineReport | None = None,
    ) -> Iterator[TimelineStart | SaveColumn | Progress | TimelineReport]:
        saves = self.saves_of(run)
        self.timelines.append((run.path, known is not None))
        yield TimelineStart(run, saves)
        if self.prepared:
            for column in self.prepared:
                self.course_gate.wait(5)
                if cancel is not None and cancel.wait(0.003):
                    return
                yield column
            artifacts = tuple(column.artifact for column in self.prepared)
            told = self.prepared[0].new_rows
            table = tuple(tuple(column.points.get(row) for column in self.prepared) for row in range(len(told)))
            yield TimelineReport(run, saves, artifacts, told, table)
            return
        rows: list[TimelineRow] = []
        places: dict[str, int] = {}
        columns: list[dict[int, TensorPoint]] = []
        earlier = {found.path for found in known.saves} if known is not None else set()
        for place, found in enumerate(saves):
            while found.path not in earlier and not self.course_gate.wait(0.01):
                if cancel is not None and cancel.is_set():
                    return
            if found.path not in earlier:
                self.read_for_course.append(found.path)
            if found.path in self.open_errors:
                columns.append({})
                yield SaveColumn(place, None)
                continue
            new = [t for t in self.listings[found.path].tensors if t.name not in places]
            added = tuple(TimelineRow(t.name, t.shape, t.dtype, t.role, t.layer, t.object_path) for t in new)
            for row in added:
                places[row.name] = len(places)
            rows += added
            before = self.values[saves[place - 1].path] if place else {}
            points = {
                places[name]: point_of(values, before[name][0] if name in before else None)
                for name, (values, _) in self.values[found.path].items()
            }
            columns.append(points)
            yield SaveColumn(place, self.listings[found.path].artifact, added, points)
            yield Progress(place + 1, len(saves), place + 1, len(saves), 1.0)
        artifacts = tuple(
            None if found.path in self.open_errors else self.listings[found.path].artifact for found in saves
        )
        table = tuple(tuple(column.get(row) for column in columns) for row in range(len(rows)))
        yield TimelineReport(run, saves, artifacts, tuple(rows), table, self.curves, self.course_findings)

    def scalars(self, run: RunFolder, cancel: threading.Event | None = None) -> tuple[Scalars, ...]:
        return self.curves

    def history(
        self,
        run: RunFolder,
        row: TimelineRow,
        saves: Sequence[Found] | None = None,
        *,
        bins: int = 40,
        cancel: threading.Event | None = None,
    ) -> tuple[Histogram | None, ...]:
        self.histories.append(row.name)
        chosen = saves if saves is not None else self.saves_of(run)
        arrays = [self.values[s.path].get(row.name) if s.path not in self.open_errors else None for s in chosen]
        finite = [a[0][np.isfinite(a[0])] for a in arrays if a is not None]
        if not finite:
            return (None,) * len(chosen)
        low, high = float(min(f.min() for f in finite)), float(max(f.max() for f in finite))
        out: list[Histogram | None] = []
        for array in arrays:
            if array is None:
                out.append(None)
                continue
            kept = array[0][np.isfinite(array[0])]
            counts = np.histogram(kept, bins, (low, high))[0]
            out.append(Histogram(low, high, tuple(counts.tolist()), array[0].size - kept.size))
        return tuple(out)

    def watch(
        self, paths: Sequence[str], cancel: threading.Event, known: Sequence[Found] | None = None
    ) -> Iterator[Watched]:
        self.watched.append(tuple(paths))
        while not cancel.is_set():
            try:
                yield self.news.get(timeout=0.05)
            except queue.Empty:
                continue
