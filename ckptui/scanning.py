"""One pass over a save in reader children, and what its tensors tell together."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ckptui.core.model import Finding, Listing, Progress, Stats, TensorScan

if TYPE_CHECKING:
    from ckptui.engine.pool import Pool


def scan_anew(
    pool: Pool,
    listing: Listing,
    names: Sequence[str] | None,
    *,
    stats: bool,
    cancel: threading.Event | None,
    first: Sequence[str],
) -> Iterator[TensorScan | Progress | Finding]:
    """Read the bytes of these tensors (None: all); see `Session.scan`."""
    from ckptui.engine.root_causes import root_causes
    from ckptui.engine.schedule import run_scan
    from ckptui.triage.layers import layer_findings

    wanted = None if names is None else set(names)
    tensors = [t for t in listing.tensors if wanted is None or t.name in wanted]
    artifact = listing.artifact
    scanned: dict[str, Stats | None] = {}
    bad: dict[str, TensorScan] = {}
    problems = {t.name: t.problem for t in tensors if t.problem}
    for item in run_scan(
        pool, artifact.path, artifact.kind, tensors, stats=stats, check=True, first=first, cancel=cancel
    ):
        if isinstance(item, TensorScan):
            scanned[item.name] = item.stats
            if item.checksum == "mismatch":
                bad[item.name] = item
            if item.checksum == "unread" and not item.findings:
                item = _explained(item, listing, problems.get(item.name, ""))
        yield item
    if names is None and len(scanned) == len(tensors):
        yield from root_causes(pool, listing, bad, cancel)
        # bytes that fail their checksum say nothing about a training
        rows = [(t, None if t.name in bad else scanned[t.name]) for t in tensors]
        yield from layer_findings(artifact.path, rows, listing.architecture)


def _explained(scan: TensorScan, listing: Listing, problem: str) -> TensorScan:
    """A scan of a tensor that is not read, with the reason if no finding of the listing gives it."""
    for finding in listing.findings:
        if finding.tensor == scan.name or (finding.tensor is None and finding.severity == "error"):
            return scan
    from ckptui.core.catalogue import make

    path, title = listing.artifact.path, "Values ckptui does not read"
    if listing.artifact.kind == "tf-checkpoint":
        # a bundle has no values that are merely unusual: its entry contradicts itself or its files
        return replace(scan, findings=(make("entry-invalid", path, scan.name, detail=problem),))
    return replace(scan, findings=(make("unsupported-format", path, scan.name, detail=problem, title=title),))
