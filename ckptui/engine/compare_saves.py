"""Two saves held against each other: tensors matched here, values compared in reader children."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ckptui.core.diff import PairNumbers, pair_of
from ckptui.core.matching import Match, repeats
from ckptui.core.model import Artifact, DiffReport, Finding, Listing, Pair, Progress, Tensor, TensorScan
from ckptui.core.relation import RelationRow, relation
from ckptui.core.relation_rows import described, not_its_bytes, of_weights
from ckptui.engine import pairing
from ckptui.engine.facts import unpack
from ckptui.engine.items import Done, Outcome, run_items
from ckptui.engine.pair_pieces import PairParts, stretches
from ckptui.engine.pool import Flag, Pool
from ckptui.engine.schedule import not_cached, run_scan
from ckptui.errors import Cancelled, CkptuiError, ReaderCrashed, ReaderFailed, ReaderHung

TASK_BYTES = 32 << 20
TASK_PAIRS = 500
FIRST_TASK_BYTES = 4 << 20
FIRST_TASK_PAIRS = 100
"""The first task is small: its rows are on the screen while the largest pairs are read."""
PROGRESS_SECONDS = 0.1
_EVIDENCE = ("centred_cosine", "a_value", "b_value", "log_ratio")


@dataclass(slots=True)
class _Rows:
    """The rows of a diff while they come in, each at its place."""

    matched: Sequence[Match]
    paths: tuple[str, str]
    """Of both saves."""
    rows: dict[int, RelationRow] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    crashed: list[int] = field(default_factory=list)
    """Places of pairs whose reader failed: which side is to blame is not known yet."""
    again: dict[int, str] = field(init=False)
    """Of pairs with the second copy of a variable: whose copy it is."""

    def __post_init__(self) -> None:
        self.again = repeats(self.matched)

    def take(self, place: int, doc: Any, error: CkptuiError | None) -> Pair:
        """Note the answer for the pair at `place`; what can't be understood makes it unreadable."""
        a, b, by = self.matched[place]
        try:
            if error is not None:
                raise error
            pair = unpack(_with_own_names(doc["pair"], a, b), Pair)
            row = self._row(a, b, pair, *(_number(doc[name]) for name in _EVIDENCE))
            found = [unpack(finding, Finding) for finding in doc["findings"]]
            self.findings += [finding for finding in found if not self._told(a, b, finding)]
        except (CkptuiError, KeyError, TypeError) as refused:
            problem = refused if isinstance(refused, CkptuiError) else ReaderFailed("it gave no row")
            if isinstance(problem, (ReaderCrashed, ReaderHung)):
                self.crashed.append(place)
            row = self._row(a, b, pair_of(a, b, by, None, f"{problem.title}: {problem.detail}"))
        return self._kept(place, row)

    def _told(self, a: Tensor | None, b: Tensor | None, finding: Finding) -> bool:
        """Whether the directory of its save has told this already: it is among the listing's findings."""
        if finding.code in ("changed-while-reading", "checksum-mismatch"):
            return False
        sides = zip(self.paths, (a, b), strict=True)
        return any(
            t is not None and t.problem and (path, t.name) == (finding.artifact, finding.tensor) for path, t in sides
        )

    def put(self, place: int, numbers: PairNumbers) -> Pair:
        """Note the numbers of a pair that was compared in pieces."""
        a, b, _ = self.matched[place]
        pair = pair_of(*self.matched[place], numbers)
        return self._kept(place, self._row(a, b, pair, *(getattr(numbers, name) for name in _EVIDENCE)))

    def lone(self, place: int) -> Pair:
        """Note a tensor that has no partner."""
        a, b, by = self.matched[place]
        self.rows[place] = row = self._row(a, b, pair_of(a, b, by))
        return row.pair

    def parted(self, place: int) -> list[Pair]:
        """The rows of a pair as they stand: two where it was paired by bytes that differ after all."""
        pair = self.rows[place].pair
        if not not_its_bytes(pair):
            return [pair]
        a, b, _ = self.matched[place]
        self.rows[place] = first = self._row(a, None, pair_of(a, None, None))
        self.rows[len(self.matched) + place] = second = self._row(None, b, pair_of(None, b, None))
        return [first.pair, second.pair]

    def _row(self, a: Tensor | None, b: Tensor | None, pair: Pair, *evidence: Any) -> RelationRow:
        return described(RelationRow(pair, *evidence), a, b)

    def _kept(self, place: int, row: RelationRow) -> Pair:
        if place in self.again:
            words = "; ".join(filter(None, (row.pair.detail, self.again[place])))
            row = replace(row, pair=replace(row.pair, detail=words))
        self.rows[place] = row
        return row.pair


def _with_own_names(doc: Any, a: Tensor | None, b: Tensor | None) -> Any:
    """The row a child sent, with the names that are here already: of 100,000 rows every string counts.

    Raises ReaderFailed for a row about other tensors.
    """
    names = [a and a.name, b and b.name]
    if not isinstance(doc, list) or doc[1:3] != names:
        raise ReaderFailed("it answered for another pair")
    return [doc[0], *names, *doc[3:]]


def _number(value: Any) -> Any:
    """A number, a mapping of such, or None. Raises TypeError for anything else."""
    if isinstance(value, dict):
        return {str(key): _number(item) for key, item in value.items()}
    if value is not None and type(value) not in (int, float):
        raise TypeError("no number")
    return value


class _Work:
    """What children are asked for: pairs whole, huge ones in pieces, and once more whole if need be."""

    def __init__(self, matched: Sequence[Match], places: Sequence[int], *, split: bool) -> None:
        self._matched = matched
        self.items: list[list[Any]] = []
        self.places: list[int] = []
        """Of each item, the place of its pair."""
        self.tasks: list[list[int]] = []
        """Places in `items`."""
        self._parts: dict[int, PairParts] = {}
        self._number: dict[int, int] = {}
        """Of each item that is a piece: which."""
        for task in tasks_of([_size(matched[place]) for place in places]):
            self._plan([places[n] for n in task], split=split)

    def _plan(self, task: list[int], *, split: bool) -> None:
        if len(task) == 1 and split:
            a, b, _ = self._matched[task[0]]
            cut = stretches(a, b) if a and b else []
            if cut and a and b:
                self._parts[task[0]] = PairParts(a, b, cut)
                for number, stretch in enumerate(cut):
                    self._number[len(self.items)] = number
                    self.tasks.append([self._add(task[0], *stretch)])
                return
        self.tasks.append([self._add(place) for place in task])

    def _add(self, place: int, *stretch: int) -> int:
        a, b, by = self._matched[place]
        self.items.append([a.name if a else None, b.name if b else None, by, *stretch])
        self.places.append(place)
        return len(self.items) - 1

    def take(self, outcome: Outcome, rows: _Rows) -> Pair | None:
        """The row that this completes, if it does; pairs whose pieces do not fit together are asked for anew."""
        place = self.places[outcome.key]
        if outcome.key not in self._number:
            return rows.take(place, outcome.doc, outcome.error)
        parts = self._parts[place]
        parts.answers[self._number[outcome.key]] = outcome.doc
        if not parts.all_here:
            return None
        numbers = parts.joined()
        del self._parts[place]
        if numbers is not None:
            return rows.put(place, numbers)
        self.tasks.append([self._add(place)])
        return None


def compare_saves(
    pool: Pool,
    a: Listing,
    b: Listing,
    *,
    pattern: str | None = None,
    weights: bool = False,
    cancel: Flag | None = None,
) -> Iterator[Pair | Progress | DiffReport]:
    """Pairs as they come, Progress ten times a second at most, and the DiffReport last.

    `weights`: of the model's weights alone. Every checksum of both saves' paired tensors is verified on the way, also
    of those whose shapes differ.

    Raises:
        Cancelled: `cancel` was set before the end.
        CkptuiError: one of the saves can't be opened any more.
    """
    matched = yield from pairing.pairing(pool, a, b, re.compile(pattern) if pattern else None, cancel)
    kept = [one for one in matched if not weights or of_weights(*one[:2])]
    rows = _Rows(kept, (a.artifact.path, b.artifact.path))
    paired = []
    for place, (one, other, _) in enumerate(rows.matched):
        if one is not None and other is not None:
            paired.append(place)
        else:
            yield rows.lone(place)
    yield from _compared(pool, (a.artifact, b.artifact), rows, paired, cancel)
    if cancel is not None and cancel.is_set():
        raise Cancelled("the comparison was taken back")
    for place in rows.crashed:
        rows.findings += _blamed(pool, a, b, rows.matched[place], cancel)
    ordered = [rows.rows[place] for place in sorted(rows.rows)]
    yield DiffReport(
        a.artifact, b.artifact, tuple(row.pair for row in ordered), relation(ordered), tuple(rows.findings)
    )


def _compared(
    pool: Pool, saves: tuple[Artifact, Artifact], rows: _Rows, paired: Sequence[int], cancel: Flag | None
) -> Iterator[Pair | Progress]:
    args: dict[str, Any] = {"check": True}
    args |= {side: {"path": save.path, "kind": save.kind} for side, save in zip("ab", saves, strict=True)}
    if pool.nice > 0 and paired:
        read = [tensor for place in paired for tensor in rows.matched[place][:2] if tensor is not None]
        args["drop"] = not_cached(pool, read, cancel)
    work = _Work(rows.matched, paired, split=pool.size > 1)
    total = sum(_size(rows.matched[place]) for place in paired)
    begun = last = time.monotonic()
    done = done_bytes = 0
    current = ""
    while work.tasks:
        tasks, work.tasks = work.tasks, []
        for item in run_items(pool, "diff", args, work.items, tasks, cancel=cancel):
            if isinstance(item, Done):
                done_bytes += item.bytes
                current = item.current or current
            else:
                if work.take(item, rows) is not None:
                    done += 1
                    yield from rows.parted(work.places[item.key])
            if (now := time.monotonic()) - last >= PROGRESS_SECONDS:
                last = now
                yield Progress(min(done_bytes, total), total, done, len(paired), now - begun, current)
        if cancel is not None and cancel.is_set():
            break


def _blamed(pool: Pool, a: Listing, b: Listing, matched: Match, cancel: Flag | None) -> Iterator[Finding]:
    """What reading each side of a pair by itself finds, after the two together have ended their reader."""
    for listing, tensor in zip((a, b), matched[:2], strict=True):
        if tensor is None:
            continue
        save = listing.artifact
        for item in run_scan(pool, save.path, save.kind, [tensor], stats=False, cancel=cancel):
            if isinstance(item, TensorScan):
                yield from (finding for finding in item.findings if finding.code == "reader-crashed")


def _size(matched: Match) -> int:
    return sum(tensor.bytes for tensor in matched[:2] if isinstance(tensor, Tensor))


def tasks_of(sizes: Sequence[int]) -> list[list[int]]:
    """Places of pairs as tasks: a small one of the first pairs, then the largest first, neighbours together."""
    tasks: list[list[int]] = []
    size = 0
    for place, more in enumerate(sizes):
        first = len(tasks) < 2
        most_bytes, most = (FIRST_TASK_BYTES, FIRST_TASK_PAIRS) if first else (TASK_BYTES, TASK_PAIRS)
        if not tasks or size + more > most_bytes or len(tasks[-1]) >= most:
            tasks.append([])
            size = 0
        tasks[-1].append(place)
        size += more
    by_size = sorted(tasks, key=lambda task: -sum(sizes[n] for n in task))
    quick = next((task for task in tasks if sum(sizes[n] for n in task) <= FIRST_TASK_BYTES), None)
    return by_size if quick is None else [quick, *(task for task in by_size if task is not quick)]
