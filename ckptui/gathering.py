"""The saves a command works on: found, opened, scanned; what fails becomes a finding and does not stop the rest."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ckptui.core.model import (
    Artifact,
    Finding,
    Found,
    Listing,
    Progress,
    RunFolder,
    Status,
    Tensor,
    TensorScan,
    worst_status,
)
from ckptui.core.text import safe
from ckptui.errors import Cancelled, CkptuiError, NotASave, ReaderFailed, UsageError
from ckptui.narrator import Course, Narrator
from ckptui.session import Session

NAMES_SHOWN = 5


@dataclass(slots=True)
class Tree:
    """What lies below some paths."""

    saves: list[Found] = field(default_factory=list)
    runs: list[RunFolder] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    """Those that belong to no single save: of state files, leftovers, folders."""
    passed_over: list[str] = field(default_factory=list)
    """Of several paths those that are no save: `check *` is no slip of the pen."""

    @property
    def notes(self) -> list[str]:
        """What to say about them."""
        if not self.passed_over:
            return []
        names = ", ".join(safe(path) for path in self.passed_over[:NAMES_SHOWN])
        more = len(self.passed_over) - NAMES_SHOWN
        return [f"passed over, no saves: {names}" + (f" and {more} more" if more > 0 else "")]


def gather(session: Session, paths: Sequence[str]) -> Tree:
    """Look for everything below `paths`; two paths that lead to the same save give it once.

    Raises:
        NoSuchPath: one of the paths is not there.
        NotASave: nothing below them is a save, or worth a warning.
    """
    tree = Tree()
    seen: set[str] = set()
    narrator = Narrator()
    try:
        for item in _find(session, paths, tree.passed_over):
            if isinstance(item, RunFolder):
                tree.runs.append(item)
                tree.findings += item.findings
            elif isinstance(item, Finding):
                tree.findings.append(item)
            elif (real := os.path.realpath(item.path)) not in seen:
                seen.add(real)
                tree.saves.append(item)
                if len(tree.saves) % 100 == 0:
                    narrator.tell(f"looking  {len(tree.saves)} saves")
    finally:
        narrator.close()
    if not tree.saves and all(finding.severity == "info" for finding in tree.findings):
        raise NotASave(
            ", ".join(paths),
            "A save is a checkpoint (.index and .data files), a SavedModel folder, or a .keras or .h5 file",
        )
    return tree


def _find(session: Session, paths: Sequence[str], passed_over: list[str]) -> Iterator[Found | RunFolder | Finding]:
    """Walk folders; take anything else as the save it belongs to, as every other command does.

    Of several paths one that is no save is noted in `passed_over`; a single one is an error.
    """
    for path in paths:
        if os.path.isdir(path):
            yield from session.find([path])
            continue
        try:
            yield session.resolve(path)
        except NotASave:
            if len(paths) == 1:
                raise
            passed_over.append(path)


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
    findings = found.findings or (unopened(found, error),)
    return Listing(unopened_artifact(found, worst_status(findings)), (), tuple(findings))


def unopened_artifact(found: Found, status: Status = "error") -> Artifact:
    """What can be said of a save that can't be opened."""
    return Artifact(
        path=found.path,
        kind=found.kind,
        label=found.label,
        step=found.step,
        bytes=_size(found.path),
        shards=0,
        tensors=0,
        parameters=0,
        modified=found.modified,
        status=status,
    )


def unopened(found: Found, error: CkptuiError) -> Finding:
    """The finding about a save that could not be opened."""
    gone = "reader-crashed" if isinstance(error, ReaderFailed) else "changed-while-reading"
    code = getattr(error, "code", None) or gone
    return Finding(
        code=code,
        # a save that a clean-up removes meanwhile is no damage
        severity="warning" if code == "changed-while-reading" else "error",
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
    session: Session,
    listing: Listing,
    names: Sequence[str] | None,
    *,
    stats: bool,
    anew: bool = False,
    course: Course | None = None,
) -> tuple[list[TensorScan], list[Finding]]:
    """Every tensor's scan in the order of the listing, and all findings; `course`: it is one of many saves.

    `anew`: nothing kept of earlier scans will do.
    """
    narrator = Narrator()
    scans: dict[str, TensorScan] = {}
    findings: list[Finding] = []
    try:
        for item in session.scan(listing, names, stats=stats, anew=anew):
            if isinstance(item, Progress):
                if course is None:
                    narrator.progress(listing.artifact.label, item)
                else:
                    course.progress(item)
            elif isinstance(item, Finding):
                findings.append(item)
            else:
                scans[item.name] = item
    finally:
        narrator.close()
    ordered = [scans[t.name] for t in listing.tensors if t.name in scans]
    return ordered, [*(f for s in ordered for f in s.findings), *findings]


def regular(match: str | None) -> None:
    """Raises UsageError for what is no regular expression, before anything is opened."""
    if match is not None:
        try:
            re.compile(match)
        except (re.error, OverflowError) as error:
            raise UsageError(f"--match {match!r}: {error}", "It takes a Python regular expression") from error


def require_match(tensors: Iterable[Tensor], match: str | None, path: str, *, own: bool = False) -> list[str]:
    """Names of the tensors in which the regular expression is found (`own`: or in the variable's own); all without one.

    Raises:
        UsageError: there are tensors and it matches none: a slip of the pen must not look like "nothing found".
    """
    listed = list(tensors)

    def found(tensor: Tensor) -> bool:
        return match is None or bool(re.search(match, tensor.name) or (own and re.search(match, tensor.object_path)))

    chosen = [t.name for t in listed if found(t)]
    if listed and not chosen:
        raise UsageError(f"no tensor of {path} matches {match!r}", "`ckptui show` lists the names")
    return chosen
