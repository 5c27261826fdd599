"""Two saves held against each other: tensors matched here, values compared in reader children."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ckptui.core.diff import comparable, pair_of
from ckptui.core.matching import Match, match
from ckptui.core.model import DiffReport, Finding, Listing, Pair, Progress, Tensor
from ckptui.core.relation import RelationRow, relation
from ckptui.engine.facts import unpack
from ckptui.engine.items import Done, run_items
from ckptui.engine.pool import Flag, Pool
from ckptui.errors import Cancelled, CkptuiError, ReaderFailed

TASK_BYTES = 32 << 20
TASK_PAIRS = 500
PROGRESS_SECONDS = 0.1


@dataclass(slots=True)
class _Rows:
    """The rows of a diff while they come in, each at its place."""

    matched: Sequence[Match]
    rows: dict[int, RelationRow] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def take(self, place: int, doc: Any, error: CkptuiError | None) -> Pair:
        """Note the answer for the pair at `place`; what can't be understood makes it unreadable."""
        a, b, by = self.matched[place]
        try:
            if error is not None:
                raise error
            row = RelationRow(
                unpack(doc["pair"], Pair), doc["centred_cosine"], doc["a_value"], doc["b_value"], doc.get("log_ratio")
            )
            self.findings += [unpack(finding, Finding) for finding in doc["findings"]]
        except (CkptuiError, KeyError, TypeError) as refused:
            problem = refused if isinstance(refused, CkptuiError) else ReaderFailed("it gave no row")
            row = RelationRow(pair_of(a, b, by, None, f"{problem.title}: {problem.detail}"))
        self.rows[place] = row
        return row.pair


def compare_saves(
    pool: Pool, a: Listing, b: Listing, *, pattern: str | None = None, cancel: Flag | None = None
) -> Iterator[Pair | Progress | DiffReport]:
    """Pairs as they come, Progress ten times a second at most, and the DiffReport last.

    Every checksum of both saves' compared tensors is verified on the way.

    Raises:
        Cancelled: `cancel` was set before the end.
        CkptuiError: one of the saves can't be opened any more.
    """
    rows = _Rows(match(list(a.tensors), list(b.tensors), re.compile(pattern) if pattern else None))
    compared = [n for n, (one, other, _) in enumerate(rows.matched) if _readable(one, other)]
    for place, (one, other, by) in enumerate(rows.matched):
        if not _readable(one, other):
            problem = next((t.problem for t in (one, other) if t is not None and t.problem), "")
            pair = pair_of(one, other, by, None, problem if one and other else "")
            rows.rows[place] = RelationRow(pair)
            yield pair
    args = {
        "a": {"path": a.artifact.path, "kind": a.artifact.kind},
        "b": {"path": b.artifact.path, "kind": b.artifact.kind},
        "check": True,
    }
    items = [[one.name, other.name, by] for one, other, by in (rows.matched[n] for n in compared) if one and other]
    sizes = [_size(rows.matched[n]) for n in compared]
    begun = last = time.monotonic()
    done = done_bytes = 0
    for item in run_items(pool, "diff", args, items, _tasks(sizes), cancel=cancel):
        if isinstance(item, Done):
            done_bytes += item.bytes
        else:
            done += 1
            yield rows.take(compared[item.key], item.doc, item.error)
        if (now := time.monotonic()) - last >= PROGRESS_SECONDS:
            last = now
            yield Progress(done_bytes, sum(sizes), done, len(items), now - begun)
    if cancel is not None and cancel.is_set():
        raise Cancelled("the comparison was taken back")
    ordered = [rows.rows[place] for place in sorted(rows.rows)]
    yield DiffReport(
        a.artifact, b.artifact, tuple(row.pair for row in ordered), relation(ordered), tuple(rows.findings)
    )


def _readable(one: Tensor | None, other: Tensor | None) -> bool:
    return one is not None and other is not None and comparable(one, other) and not (one.problem or other.problem)


def _size(matched: Match) -> int:
    return sum(tensor.bytes for tensor in matched[:2] if tensor is not None)


def _tasks(sizes: Sequence[int]) -> list[list[int]]:
    """Neighbours together in tasks of about 32 MB; the largest tasks first."""
    tasks: list[list[int]] = []
    size = 0
    for place, more in enumerate(sizes):
        if not tasks or size + more > TASK_BYTES or len(tasks[-1]) >= TASK_PAIRS:
            tasks.append([])
            size = 0
        tasks[-1].append(place)
        size += more
    return sorted(tasks, key=lambda task: -sum(sizes[n] for n in task))
