"""The commands over whole trees: which saves are there (`ls`), and whether they are any good (`check`)."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ckptui import tree_output
from ckptui.core.model import Artifact, Finding, Listing
from ckptui.gathering import each_save, open_one, scan_all
from ckptui.output import Answer
from ckptui.session import Session, checked_listing


def list_saves(paths: Sequence[str]) -> Answer:
    """`ckptui ls`."""
    artifacts: list[Artifact] = []
    findings: list[Finding] = []
    with Session() as session:
        for item in each_save(session, paths):
            if isinstance(item, Finding):
                findings.append(item)
                continue
            artifact, _, told = open_one(session, item)
            artifacts.append(artifact)
            findings += told
    return Answer(
        lambda: tree_output.ls_document(artifacts, findings), lambda: tree_output.ls_text(artifacts, findings), findings
    )


def check(paths: Sequence[str], *, quick: bool) -> Answer:
    """`ckptui check`: one pass over every save."""
    started = time.monotonic()
    artifacts: list[Artifact] = []
    findings: list[Finding] = []
    checked: dict[str, str] = {}
    totals = {"tensors_checked": 0, "tensors_unreadable": 0, "bytes_read": 0}
    with Session() as session:
        for item in each_save(session, paths):
            if isinstance(item, Finding):
                findings.append(item)
                continue
            artifact, listing, told = open_one(session, item)
            checked[artifact.path] = "directory and entries; no tensor bytes" if listing else "could not be opened"
            if listing is not None and not quick:
                listing = _full_check(session, listing, totals, checked)
                artifact, told = listing.artifact, list(listing.findings)
            artifacts.append(artifact)
            findings += told
    severities = [f.severity for f in findings]
    summary = {
        **{name: severities.count(name) for name in ("error", "warning", "info")},
        "artifacts": len(artifacts),
        **totals,
        "seconds": round(time.monotonic() - started, 3),
    }
    return Answer(
        lambda: tree_output.check_document(artifacts, findings, summary),
        lambda: tree_output.check_text(artifacts, findings, summary, checked),
        findings,
    )


def _full_check(session: Session, listing: Listing, totals: dict[str, int], checked: dict[str, str]) -> Listing:
    scans, findings = scan_all(session, listing, None, stats=False)
    findings += session.verify(listing)
    totals["tensors_checked"] += sum(s.checksum != "unread" for s in scans)
    totals["tensors_unreadable"] += sum(s.checksum == "unread" for s in scans)
    totals["bytes_read"] += sum(s.bytes for s in scans)
    compared = sum(s.checksum in ("ok", "mismatch") for s in scans)
    bare = sum(s.checksum == "none" for s in scans)
    words = [f"{compared} checksums"] if compared else []
    if listing.artifact.kind == "keras-archive":
        words.append("checksums of the archive's members")
    elif bare:
        words.append(f"{bare} tensors without checksum: flipped bits can't be seen")
    if compared or bare:
        words.append("non-finite values")
    checked[listing.artifact.path] = ", ".join(words) or "directory and entries; no tensor could be read"
    return checked_listing(listing, findings)
