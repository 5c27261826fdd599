"""A run over time as the screen keeps it: the points of every tensor, its state word, which rows are shown. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import isfinite, nan
from typing import Literal

from ckptui.core.model import (
    SEVERITY_RANK,
    Artifact,
    Finding,
    Found,
    RunFolder,
    SaveColumn,
    Scalars,
    Severity,
    TensorPoint,
    TimelineReport,
    TimelineRow,
    TimelineStart,
)
from ckptui.core.names import natural_key
from ckptui.core.report import state_word
from ckptui.core.text import human_count, safe
from ckptui.ui.fitting import fit_middle
from ckptui.ui.naming import without_tail
from ckptui.ui.tensor_rows import Flag

Sort = Literal["worst", "change", "name", "order"]
SORTS: tuple[Sort, ...] = ("worst", "change", "name", "order")
SORT_WORDS: dict[Sort, str] = {
    "worst": "worst first",
    "change": "largest last change first",
    "name": "by name",
    "order": "as in the file",
}
Measure = Literal["change", "norm", "non-finite"]
MEASURES: tuple[Measure, ...] = ("change", "norm", "non-finite")
MEASURE_WORDS: dict[Measure, str] = {
    "change": "change per save",
    "norm": "norm",
    "non-finite": "values not finite",
}

UNTOLD, FIRST, SAME, CHANGED, BROKEN, UNREAD = range(6)
"""What a save says of a tensor: nothing so far; there, with nothing to compare; same bits; other bits; values that
are not finite; unreadable."""

_FOLDS = {
    "slot": "optimizer",
    "counter": "counters",
    "step": "counters",
    "metric": "metrics",
    "object-graph": "bookkeeping",
    "rng-state": "bookkeeping",
}
NEVER = "never changed"
OF_COURSE = frozenset({"jump", "went-back", "never-changed", "rng-state-repeated"})
"""Codes of what only the whole run tells, not one save."""
ENOUGH_COMPARED = 3
"""Comparisons after which a tensor that never changed goes under its fold while a timeline still fills."""
SHORT_LABEL = 14


class Track:
    """One tensor over the saves: what each save says of it, and what that comes to."""

    __slots__ = (
        "change", "count", "events", "findings", "flag", "last", "nonfinite", "norm", "relative", "row", "signs",
        "told",
    )  # fmt: skip

    def __init__(self, row: TimelineRow, saves: int) -> None:
        self.row = row
        self.told = bytearray(saves)
        """By save one of `UNTOLD` .. `UNREAD`."""
        self.norm = array("d", [nan]) * saves
        self.change = array("d", [nan]) * saves
        """||this - the one before||; nan where there is nothing to compare with."""
        self.relative = array("d", [nan]) * saves
        """The same by the norm of the one before."""
        self.nonfinite = array("q", [0]) * saves
        self.count = 0
        self.last = -1
        """The newest save that tells of it."""
        self.signs: dict[int, str] = {}
        """`NaN` or `inf`, by save, where a finding says which."""
        self.events: dict[int, Severity] = {}
        """Saves at which something happened that a finding tells of."""
        self.findings: tuple[Finding, ...] = ()
        """What is said of it over the whole run."""
        self.flag: Flag | None = None

    @property
    def name(self) -> str:
        """What people call it; untrusted."""
        return self.row.own_name or without_tail(self.row.name)

    def take(self, place: int, point: TensorPoint) -> None:
        """What one save says; saves come in order, oldest first, or again."""
        self.norm[place] = nan if point.l2 is None else point.l2
        self.change[place] = nan if point.delta_l2 is None else point.delta_l2
        self.nonfinite[place] = point.nonfinite
        self.count = max(self.count, point.count)
        self.relative[place] = self._relative(place)
        if point.problem:
            state = UNREAD
        elif point.nonfinite:
            state = BROKEN
        elif point.changed is None:
            state = FIRST
        else:
            state = CHANGED if point.changed else SAME
        self.told[place] = state
        self.last = max(self.last, place)

    def _relative(self, place: int) -> float:
        change = self.change[place]
        before = next((v for v in reversed(self.norm[:place]) if v == v), nan)
        if change != change or before != before:
            return nan
        return change / before if before > 0 else 0.0 if change == 0 else float("inf")

    def first(self, state: int) -> int | None:
        """The first save in this state."""
        place = self.told.find(state)
        return place if place >= 0 else None

    @property
    def compared(self) -> int:
        """How many times it was held against the save before."""
        return self.told.count(SAME) + self.told.count(CHANGED)

    @property
    def never_changed(self) -> bool:
        """Every comparison so far found the same bits, and there was one."""
        return bool(self.told.count(SAME)) and not self.told.count(CHANGED) and not self.told.count(BROKEN)


@dataclass(frozen=True, slots=True)
class Fold:
    """Tensors that take one row until they are asked for."""

    key: str
    members: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CourseQuery:
    """What the user asked to see."""

    sort: Sort = "worst"
    measure: Measure = "change"
    unfolded: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class CourseRows:
    """The rows in order: places of tracks, or -1 - n for fold n."""

    order: tuple[int, ...] = ()
    folds: tuple[Fold, ...] = ()
    inside: frozenset[int] = frozenset()
    """Places that are shown below an open fold."""

    def fold_at(self, row: int) -> Fold | None:
        """The fold a row stands for, if it does."""
        place = self.order[row] if row < len(self.order) else 0
        return self.folds[-1 - place] if place < 0 else None


class Course:
    """A run over time as far as it is told. One job fills it, the screen reads it; places never change."""

    def __init__(self, start: TimelineStart) -> None:
        self.run: RunFolder = start.run
        self.saves: tuple[Found, ...] = start.saves
        self.places = {found.path: place for place, found in enumerate(start.saves)}
        count = len(start.saves)
        self.artifacts: list[Artifact | None] = [None] * count
        self.told = bytearray(count)
        """1 for a save that is read, 2 for one that can't be."""
        self.broken = bytearray(count)
        """1 for a save with a value that is not finite."""
        self.tracks: list[Track] = []
        self.scalars: tuple[Scalars, ...] = ()
        self.findings: tuple[Finding, ...] = ()
        self.events: dict[int, list[Finding]] = {}
        """What happened at a save, by its place: the weights jumped, or went back."""
        self.report: TimelineReport | None = None
        """All of it, once the timeline is through."""
        self._by_name: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.saves)

    @property
    def done(self) -> int:
        """How many saves were read, or found unreadable."""
        return len(self.told) - self.told.count(0)

    def label(self, place: int, width: int = SHORT_LABEL) -> str:
        """A save in few columns, made harmless: its name, or its step where the name is long."""
        found = self.saves[place]
        name = safe(found.label)
        if len(name) > width and found.step is not None:
            return fit_middle(f"step {found.step}", width)
        return fit_middle(name, width)

    def step(self, place: int) -> int | None:
        """Of a save: from its name, or from what it says itself once it is read."""
        found, artifact = self.saves[place], self.artifacts[place]
        return found.step if found.step is not None or artifact is None else artifact.step

    def with_steps(self) -> tuple[Found, ...]:
        """The saves, each with its step as far as it is known."""
        return tuple(replace(found, step=self.step(place)) for place, found in enumerate(self.saves))

    # ------------------------------------------------------------------ what is told

    def add_rows(self, rows: Iterable[TimelineRow]) -> None:
        """Tensors met for the first time."""
        for row in rows:
            self._by_name[row.name] = len(self.tracks)
            self.tracks.append(Track(row, len(self.saves)))

    def take(self, column: SaveColumn) -> None:
        """What one save adds."""
        self.add_rows(column.new_rows)
        self.artifacts[column.place] = column.artifact
        for finding in column.findings:
            place = self._by_name.get(finding.tensor or "")
            if finding.code == "non-finite" and place is not None:
                self.tracks[place].signs[column.place] = sign_of(finding)
        for index, point in column.points.items():
            track = self.tracks[index]
            track.take(column.place, point)
            self.broken[column.place] |= point.nonfinite > 0
            track.flag = self.judge(track)
        if column.complete:
            self.told[column.place] = 2 if column.artifact is None else 1

    def judged(self, findings: Sequence[Finding]) -> None:
        """What the whole course comes to: jumps, saves that went back, tensors never trained."""
        self.findings = tuple(findings)
        self.events = {}
        of_tensor: dict[int, list[Finding]] = {}
        for finding in findings:
            at = self.places.get(finding.artifact)
            if at is not None and finding.code in OF_COURSE:
                self.events.setdefault(at, []).append(finding)
            for name in tensors_of(finding):
                place = self._by_name.get(name)
                if place is not None:
                    of_tensor.setdefault(place, []).append(finding)
        for place, track in enumerate(self.tracks):
            track.events.clear()
            for finding in of_tensor.get(place, ()):
                at = self.places.get(finding.artifact)
                if finding.code == "non-finite" and finding.tensor is not None and at is not None:
                    track.signs[at] = sign_of(finding)
                elif at is not None and finding.code != "non-finite":
                    track.events[at] = finding.severity
            track.findings = tuple(of_tensor.get(place, ()))
            track.flag = self.judge(track)

    def finish(self, report: TimelineReport) -> None:
        """The timeline is through."""
        self.scalars = report.scalars or self.scalars
        self.judged(report.findings)
        self.report = report

    # ------------------------------------------------------------------ words

    def judge(self, track: Track) -> Flag | None:
        """The state words of a tensor: the gravest thing, and how many more there are."""
        flags: list[Flag] = []
        bad = track.first(BROKEN)
        if bad is not None:
            since = all(state in (BROKEN, UNTOLD, UNREAD) for state in track.told[bad:])
            sign = track.signs.get(bad, "NaN")
            flags.append(Flag("error", f"{sign} {'since' if since else 'at'} {self.label(bad)}"))
        unread = track.first(UNREAD)
        if unread is not None:
            flags.append(Flag("error", f"unreadable at {self.label(unread)}"))
        for finding in sorted(track.findings, key=lambda f: -SEVERITY_RANK[f.severity]):
            if not (finding.code == "non-finite" and bad is not None):
                flags.append(Flag(finding.severity, self._event_words(finding)))
        if not flags:
            return Flag("info", NEVER) if track.never_changed else None
        words = list(dict.fromkeys(flag.words for flag in flags))
        severity = max((flag.severity for flag in flags), key=lambda s: SEVERITY_RANK[s])
        more = f" +{len(words) - 1}" if len(words) > 1 else ""
        return Flag(severity, words[0] + more)

    def _event_words(self, finding: Finding) -> str:
        """`jump at ckpt-400`, `went back at ckpt-5`, `never changed`."""
        place = self.places.get(finding.artifact)
        words = state_word(finding)
        return f"{words} at {self.label(place)}" if place is not None and finding.code != "never-changed" else words


def tensors_of(finding: Finding) -> list[str]:
    """The tensor a finding is about, or those it names for evidence; untrusted."""
    if finding.tensor is not None:
        return [finding.tensor]
    named = finding.evidence.get("tensors", ())
    return [name for name in named if isinstance(name, str)] if isinstance(named, (list, tuple)) else []


def sign_of(finding: Finding) -> str:
    """What kind of value is not finite: `NaN`, or `inf` where there is no NaN."""
    return "inf" if not finding.evidence.get("nan", 1) else "NaN"


def arrange(course: Course, query: CourseQuery) -> CourseRows:
    """Sort and fold. A tensor about which there is a warning or an error never hides in a fold."""
    tracks = course.tracks
    complete = course.report is not None
    rest: list[int] = []
    groups: dict[str, list[int]] = {key: [] for key in [NEVER, *dict.fromkeys(_FOLDS.values())]}
    for place in _sorted(tracks, query.sort):
        track = tracks[place]
        key = _FOLDS.get(track.row.role, "")
        if not key and track.never_changed and (complete or track.compared >= ENOUGH_COMPARED):
            key = NEVER
        grave = track.flag is not None and track.flag.severity != "info"
        (rest if grave or not key else groups[key]).append(place)
    order, folds, inside = list(rest), [], set()
    for key, members in groups.items():
        if len(members) == 1 and key != NEVER:
            order += members
        elif members:
            folds.append(Fold(key, tuple(members)))
            order.append(-len(folds))
            if key in query.unfolded:
                order += members
                inside.update(members)
    return CourseRows(tuple(order), tuple(folds), frozenset(inside))


def _sorted(tracks: Sequence[Track], sort: Sort) -> Sequence[int]:
    places = range(len(tracks))
    if sort == "worst":
        return sorted(places, key=lambda i: _badness(tracks[i]))
    if sort == "change":
        return sorted(places, key=lambda i: -last_change(tracks[i]))
    if sort == "name":
        return sorted(places, key=lambda i: natural_key(tracks[i].name))
    return places


def _badness(track: Track) -> tuple[int, int]:
    """Errors first, then warnings; of each what came first in the run."""
    if track.flag is None or track.flag.severity == "info":
        return 0, 0
    firsts = [p for p in (track.first(BROKEN), track.first(UNREAD), *track.events) if p is not None]
    return -SEVERITY_RANK[track.flag.severity], min(firsts, default=0)


def last_change(track: Track) -> float:
    """The relative change of its newest save; -1 where there is none."""
    value = track.relative[track.last] if track.last >= 0 else nan
    return value if value == value else -1.0


def point_words(course: Course, track: Track, place: int) -> str:
    """What one save says of a tensor, in a line."""
    state = track.told[place]
    if state == UNTOLD:
        return "not there" if course.told[place] == 1 else "the save can't be read" if course.told[place] else "…"
    if state == UNREAD:
        return "unreadable"
    words = []
    if track.nonfinite[place]:
        words.append(f"{human_count(track.nonfinite[place])} of {human_count(track.count)} values not finite")
    if state == SAME:
        words.append("same bits as before")
    return " · ".join(words)


def finite_span(values: Iterable[float]) -> tuple[float, float] | None:
    """Smallest and largest finite value; None without any."""
    kept = [v for v in values if isfinite(v)]
    return (min(kept), max(kept)) if kept else None
