"""After a full scan: have a child look again at data files with wrong checksums, and tell what they show together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from ckptui.core.model import Finding, Listing, TensorScan
from ckptui.core.settling import senseless
from ckptui.core.shard_facts import ShardFacts
from ckptui.engine.facts import unpack
from ckptui.engine.pool import Flag, Pool, twice
from ckptui.errors import Cancelled, CkptuiError, ReaderFailed
from ckptui.triage.saves_apart import BYTES, explained, retold

KINDS = frozenset({"tf-checkpoint", "saved-model"})
SIZES = frozenset({"shard-truncated", "shard-oversized"})
MOST = 200_000
"""Wrong checksums told to the child."""
TIMEOUT = 20.0
"""Seconds without a sign of life."""


def root_causes(
    pool: Pool, listing: Listing, bad: Mapping[str, TensorScan], cancel: Flag | None = None
) -> Iterator[TensorScan | Finding]:
    """New scans in the place of those in `bad`, and findings about whole data files.

    `bad`: scans with wrong checksums, by tensor. Says nothing where the child fails: what was told stays true.
    """
    if listing.artifact.kind not in KINDS:
        return
    by_file: dict[str, list[Finding]] = {}
    for scan in bad.values():
        for finding in scan.findings:
            if finding.code in BYTES and "file" in finding.evidence:
                by_file.setdefault(str(finding.evidence["file"]), []).append(finding)
    for finding in listing.findings:
        if finding.code in SIZES and "file" in finding.evidence:
            by_file.setdefault(str(finding.evidence["file"]), [])
    told_of = {str(f.evidence.get("file")) for f in listing.findings if f.code in ("not-a-model", "empty-file")}
    by_file = {file: findings for file, findings in by_file.items() if file not in told_of}
    if not by_file:
        return
    now: dict[int, Finding] = {}
    for facts in _asked(pool, listing, by_file, cancel):
        findings = by_file.get(facts.file, [])
        replaced, about_file = retold(listing.artifact.path, facts, findings)
        now |= {id(old): new for old, new in zip(findings, replaced, strict=True) if new is not old}
        yield from about_file
    for name, scan in bad.items():
        if any(id(finding) in now for finding in scan.findings):
            told = tuple(now.get(id(finding), finding) for finding in scan.findings)
            if any(map(senseless, told)):
                told = tuple(finding for finding in told if finding.code != "non-finite")
            yield dataclasses.replace(scan, name=name, findings=told)


def _asked(pool: Pool, listing: Listing, by_file: Mapping[str, list[Finding]], cancel: Flag | None) -> list[ShardFacts]:
    """What the child finds out about these files."""
    wrong: list[list[Any]] = [
        [f.tensor, f.evidence.get("part", ""), f.evidence.get("found"), explained(f)]
        for findings in by_file.values()
        for f in findings
    ]
    args = {
        "path": listing.artifact.path,
        "kind": listing.artifact.kind,
        "files": list(by_file),
        "wrong": wrong[:MOST],
    }
    try:
        doc = twice(lambda: pool.call("causes", args, cancel=cancel, idle_timeout=TIMEOUT)).doc
        return [unpack(item, ShardFacts) for item in (doc if isinstance(doc, list) else [])]
    except (Cancelled, ReaderFailed):
        return []
    except CkptuiError:
        # gone or replaced meanwhile; the scan has told what it saw
        return []
