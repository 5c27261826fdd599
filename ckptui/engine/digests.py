"""A save as a digest, and a digest held against a save or another digest; the bytes are read in reader children."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

from ckptui.core.digest import MOST_SAMPLES, Digest, TensorDigest, samples_each
from ckptui.core.matching import Contents, match_listings
from ckptui.core.model import DiffReport, Finding, Listing, Pair, Progress, Tensor
from ckptui.core.relation_rows import of_weights
from ckptui.engine.facts import unpack
from ckptui.engine.items import Done, Outcome, neighbours_together, run_items
from ckptui.engine.pool import Flag, Pool
from ckptui.engine.schedule import failure, not_cached
from ckptui.errors import Cancelled, CkptuiError, ReaderFailed

TASK_BYTES = 32 << 20
TASK_TENSORS = 500
PROGRESS_SECONDS = 0.1
_WORDS = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


def digest_save(
    pool: Pool, listing: Listing, names: Sequence[str] | None = None, *, cancel: Flag | None = None
) -> Iterator[Progress | Digest]:
    """Progress ten times a second at most, and the Digest last; `names` None means all tensors.

    Every checksum is verified on the way. A tensor that can't be read is in the digest, with its problem.

    Raises:
        Cancelled: `cancel` was set before the end.
        CkptuiError: the save can't be opened any more.
    """
    wanted = None if names is None else frozenset(names)
    tensors = [t for t in listing.tensors if wanted is None or t.name in wanted]
    kept = {n: TensorDigest(t, None, None, problem=t.problem) for n, t in enumerate(tensors) if t.problem}
    asked = [n for n in range(len(tensors)) if n not in kept]
    told: dict[int, list[Finding]] = {}
    args: dict[str, Any] = {
        "path": listing.artifact.path,
        "kind": listing.artifact.kind,
        "most": samples_each(len(listing.tensors)),
    }
    if pool.nice > 0 and asked:
        args["drop"] = not_cached(pool, [tensors[n] for n in asked], cancel)
    sizes = [tensors[n].bytes for n in asked]
    begun = last = time.monotonic()
    done = done_bytes = 0
    for item in run_items(pool, "digests", args, [tensors[n].name for n in asked], _tasks(sizes), cancel=cancel):
        if isinstance(item, Done):
            done_bytes += item.bytes
        else:
            done += 1
            place = asked[item.key]
            kept[place], told[place] = _taken(listing.artifact.path, tensors[place], item)
        if (now := time.monotonic()) - last >= PROGRESS_SECONDS:
            last = now
            yield Progress(done_bytes, sum(sizes), done, len(asked), now - begun)
    if cancel is not None and cancel.is_set():
        raise Cancelled("the digest was taken back")
    found = [finding for place in sorted(told) for finding in told[place]]
    whole = listing.with_findings([*listing.findings, *found])
    ordered = tuple(kept[place] for place in sorted(kept))
    yield Digest(whole.artifact, ordered, listing.architecture, tuple(whole.findings), listing.operations)


def compare_with_digest(
    pool: Pool,
    a: Listing | Digest,
    b: Listing | Digest,
    *,
    pattern: str | None = None,
    weights: bool = False,
    cancel: Flag | None = None,
) -> Iterator[Pair | Progress | DiffReport]:
    """The diff of two saves of which one or both are digests; a save is read once, and hashed the same way.

    `weights`: of the model's weights alone.

    Raises as `digest_save`.
    """
    from ckptui.core.digest_diff import relation_of, rows_of

    listings = [side.listing if isinstance(side, Digest) else side for side in (a, b)]
    wanted = re.compile(pattern) if pattern else None
    names = _names(listings, wanted)
    sides: list[Digest] = []
    findings: list[Finding] = []
    for number, side in enumerate((a, b)):
        if isinstance(side, Digest):
            sides.append(side)
            findings += side.findings
            continue
        for item in digest_save(pool, side, names[number], cancel=cancel):
            if isinstance(item, Progress):
                yield item
            else:
                sides.append(item)
                findings += item.findings[len(side.findings) :]
    first, second = ({one.tensor.name: one for one in side.tensors} for side in sides)
    known = {(n, one.tensor.name): one.crc32c for n, side in enumerate(sides) for one in side.tensors}
    matched = match_listings(listings[0], listings[1], wanted, Contents(known))
    rows = rows_of([one for one in matched if not weights or of_weights(*one[:2])], first, second)
    yield from (row.pair for row in rows)
    yield DiffReport(
        sides[0].artifact, sides[1].artifact, tuple(row.pair for row in rows), relation_of(rows), tuple(findings)
    )


def _names(listings: Sequence[Listing], wanted: re.Pattern[str] | None) -> list[list[str] | None]:
    """Of each side the tensors to be hashed: those that a pattern keeps, and those whose bytes may decide pairs."""
    if wanted is None:
        return [None, None]
    contents = Contents()
    matched = match_listings(listings[0], listings[1], wanted, contents)
    asked = [[name for number, name in contents.wanted if number == side] for side in (0, 1)]
    ours = [one.name for one, _, _ in matched if one is not None]
    theirs = [other.name for _, other, _ in matched if other is not None]
    return [[*ours, *asked[0]], [*theirs, *asked[1]]]


def _taken(path: str, tensor: Tensor, outcome: Outcome) -> tuple[TensorDigest, list[Finding]]:
    """What a child answered, checked: it may have been taken over by the file it reads."""
    doc = outcome.doc
    try:
        if outcome.error is not None:
            raise outcome.error
        findings = [unpack(finding, Finding) for finding in doc["findings"]]
        if doc["problem"]:
            return TensorDigest(tensor, None, None, problem=str(doc["problem"])), findings
        samples = tuple(_WORDS[v] if isinstance(v, str) else v for v in doc["samples"])
        hashed, crc, norm, bad = doc["hash"], doc["crc32c"], doc["l2"], doc["nonfinite"]
        fine = (
            isinstance(hashed, str)
            and re.fullmatch("[0-9a-f]{64}", hashed)
            and type(crc) is int
            and type(bad) in (int, type(None))
            and len(samples) <= MOST_SAMPLES
            and all(type(v) in (int, float) for v in samples)
        )
        if not fine:
            raise ReaderFailed("it gave no digest")
        norm = _WORDS[norm] if isinstance(norm, str) else None if norm is None else float(norm)
        return TensorDigest(tensor, hashed, crc, norm, bad, samples), findings
    except CkptuiError as refused:
        return TensorDigest(tensor, None, None, problem=f"{refused.title}: {refused.detail}"), [
            failure(path, tensor.name, refused)
        ]
    except (KeyError, TypeError, ValueError):
        return _taken(path, tensor, Outcome(outcome.key, error=ReaderFailed("it gave no digest")))


def _tasks(sizes: Sequence[int]) -> list[list[int]]:
    """The largest tasks first."""
    tasks = neighbours_together(sizes, TASK_BYTES, TASK_TENSORS)
    return sorted(tasks, key=lambda task: -sum(sizes[n] for n in task))
