"""The saves a command works on: found, opened, scanned; what fails becomes a finding and does not stop the rest."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from ckptui.core.model import Artifact, Finding, Found, Listing, Progress, RunFolder, TensorScan, worst_status
from ckptui.errors import Cancelled, CkptuiError, ReaderFailed
from ckptui.narrator import Narrator
from ckptui.session import Session, require_save


def each_save(session: Session, paths: Sequence[str]) -> Iterator[Found | Finding]:
    """The saves below `paths`, and findings that belong to no single save."""
    found: dict[str, Found] = {}
    for item in _find(session, paths):
        if isinstance(item, Found):
            # two arguments may lead to the same save
            if found.setdefault(os.path.realpath(item.path), item) is item:
                yield item
        elif isinstance(item, RunFolder):
            yield from item.findings
        else:
            yield item
    require_save(list(found.values()), paths)


def _find(session: Session, paths: Sequence[str]) -> Iterator[Found | RunFolder | Finding]:
    """Walk folders; take anything else as the save it belongs to, as every other command does."""
    for path in paths:
        if os.path.isdir(path):
            yield from session.find([path])
        else:
            yield session.resolve(path)


def open_one(session: Session, found: Found) -> tuple[Artifact, Listing | None, list[Finding]]:
    """Open one save of many; a save that can't be opened at all becomes an artifact with the reason."""
    try:
        listing = session.open(found.path, found=found)
        return listing.artifact, listing, list(listing.findings)
    except CkptuiError as error:
        listing = _bare(found, error)
        return listing.artifact, None, list(listing.findings)


def listing_of(session: Session, path: str) -> Listing:
    """The save a path stands for; what looks like one and can't be opened is one without tensors, and the reason.

    Raises:
        NoSuchPath, NotASave: nothing is there that looks like a save.
    """
    found = session.resolve(path)
    try:
        return session.open(found.path, found=found)
    except Cancelled:
        raise
    except CkptuiError as error:
        return _bare(found, error)


def _bare(found: Found, error: CkptuiError) -> Listing:
    """The listing of a save that can't be opened at all."""
    findings = found.findings or (_unopened(found, error),)
    artifact = Artifact(
        path=found.path,
        kind=found.kind,
        label=found.label,
        step=found.step,
        bytes=_size(found.path),
        shards=0,
        tensors=0,
        parameters=0,
        modified=found.modified,
        status=worst_status(findings),
    )
    return Listing(artifact, (), tuple(findings))


def _unopened(found: Found, error: CkptuiError) -> Finding:
    gone = "reader-crashed" if isinstance(error, ReaderFailed) else "changed-while-reading"
    code = getattr(error, "code", None) or gone
    return Finding(
        code=code,
        severity="error",
        title=error.title,
        artifact=found.path,
        detail=error.detail,
        evidence=getattr(error, "evidence", {}),
        advice=error.hint,
    )


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def scan_all(
    session: Session, listing: Listing, names: Sequence[str] | None, *, stats: bool
) -> tuple[list[TensorScan], list[Finding]]:
    """Every tensor's scan in the order of the listing, and all findings."""
    narrator = Narrator()
    scans: dict[str, TensorScan] = {}
    findings: list[Finding] = []
    try:
        for item in session.scan(listing, names, stats=stats):
            if isinstance(item, Progress):
                narrator.progress(listing.artifact.label, item)
            elif isinstance(item, Finding):
                findings.append(item)
            else:
                scans[item.name] = item
    finally:
        narrator.close()
    ordered = [scans[t.name] for t in listing.tensors if t.name in scans]
    return ordered, [*(f for s in ordered for f in s.findings), *findings]
