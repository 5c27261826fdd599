"""The commands over whole trees: which saves are there (`ls`), and whether they are any good (`check`)."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from ckptui import rewriting, tree_output
from ckptui.core.model import Artifact, Finding, Found, Listing, RunFolder
from ckptui.core.naming import PLAIN, Naming, naming_of
from ckptui.core.report import SEEN_BITS
from ckptui.core.runs import RunVerdict
from ckptui.errors import Cancelled, CkptuiError
from ckptui.gathering import gather, open_one, scan_all, unopened
from ckptui.narrator import Course, Narrator
from ckptui.output import Answer
from ckptui.session import Session, checked_listing
from ckptui.triage.runs import corrected, judge_run

OPENED = "directory and entries; no tensor bytes"
REFUSED = "could not be opened"


@dataclass(slots=True)
class Pass:
    """What one pass over many saves came to so far."""

    artifacts: list[Artifact] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    words: dict[str, str] = field(default_factory=dict)
    """What was checked of each save, by path."""
    naming: Naming = PLAIN
    """What the layers call the tensors that something was found of."""
    verified: dict[str, bool] = field(default_factory=dict)
    """Whether every tensor of a save was read, by path."""
    tensors_checked: int = 0
    tensors_unreadable: int = 0
    bytes_read: int = 0

    def add(self, other: Pass) -> None:
        """Take what another pass came to."""
        self.artifacts += other.artifacts
        self.findings += other.findings
        self.words |= other.words
        self.naming |= other.naming
        self.verified |= other.verified
        self.tensors_checked += other.tensors_checked
        self.tensors_unreadable += other.tensors_unreadable
        self.bytes_read += other.bytes_read

    def judge(self, runs: Sequence[RunFolder]) -> list[RunVerdict]:
        """The verdict on each run; what state files should name instead is put right in the findings."""
        statuses = {artifact.path: artifact.status for artifact in self.artifacts}
        verdicts = [judge_run(run, statuses, self.verified) for run in runs]
        self.findings = corrected(self.findings, verdicts)
        return verdicts


def list_saves(paths: Sequence[str]) -> Answer:
    """`ckptui ls`."""
    done = Pass()
    with Session() as session:
        tree = gather(session, paths)
        done.findings += tree.findings
        course = _course(tree.saves, quick=True)
        for place, found in enumerate(tree.saves):
            course.start(place, found.label)
            artifact, _, told = open_one(session, found)
            session.forget(found.path)
            done.artifacts.append(artifact)
            done.findings += told
        course.narrator.close()
    runs = done.judge(tree.runs)
    return Answer(
        lambda: tree_output.ls_document(done.artifacts, done.findings, runs),
        lambda: tree_output.ls_text(done.artifacts, done.findings, runs),
        done.findings,
        notes=tree.notes,
    )


def check(paths: Sequence[str], *, quick: bool) -> Answer:
    """`ckptui check`: one pass over every save; one that can't be opened or read does not stop the rest."""
    started, began = time.monotonic(), time.time()
    done = Pass()
    with Session() as session:
        tree = gather(session, paths)
        done.findings += tree.findings
        course = _course(tree.saves, quick=quick)
        try:
            for place, found in enumerate(tree.saves):
                course.start(place, found.label)
                done.add(_check_settled(session, found, None if quick else course, began))
        finally:
            course.narrator.close()
    runs = done.judge(tree.runs)
    severities = [f.severity for f in done.findings]
    summary = {
        **{name: severities.count(name) for name in ("error", "warning", "info")},
        "artifacts": len(done.artifacts),
        "tensors_checked": done.tensors_checked,
        "tensors_unreadable": done.tensors_unreadable,
        "bytes_read": done.bytes_read,
        "seconds": round(time.monotonic() - started, 3),
    }
    return Answer(
        lambda: tree_output.check_document(done.artifacts, done.findings, summary, runs),
        lambda: tree_output.check_text(done.artifacts, done.findings, summary, done.words, runs, done.naming),
        done.findings,
        notes=tree.notes,
    )


def _check_settled(session: Session, found: Found, course: Course | None, began: float) -> Pass:
    """Check one save; where it looks damaged and was written to since `began`, look again until it holds still."""
    for attempt in range(1, rewriting.ATTEMPTS + 1):
        now = time.time()
        one = Pass()
        _check_one(session, found, one, course)
        hurt = any(finding.severity == "error" or finding.code == "changed-while-reading" for finding in one.findings)
        if not hurt or not rewriting.in_motion(found.path, began):
            return one
        began = now
        if attempt < rewriting.ATTEMPTS:
            time.sleep(rewriting.PAUSE)
            try:
                found = rewriting.found_again(found)
            except CkptuiError:
                break
    artifact, one.findings = rewriting.unsettled(one.artifacts[0], one.findings)
    one.artifacts = [artifact]
    return one


def _check_one(session: Session, found: Found, done: Pass, course: Course | None) -> None:
    """Open one save and, given a course, read all of it; add what that came to."""
    artifact, listing, told = open_one(session, found)
    done.words[artifact.path] = OPENED if listing else REFUSED
    if listing is not None and course is not None:
        try:
            listing = _full_check(session, listing, done, course)
        except Cancelled:
            raise
        except CkptuiError as error:
            # one save's reader gave up in the middle
            listing = checked_listing(listing, [unopened(found, error)])
            done.words[artifact.path] = "reading it was given up"
            done.tensors_unreadable += len(listing.tensors)
        artifact, told = listing.artifact, list(listing.findings)
    if listing is not None:
        done.naming |= naming_of(artifact.path, listing.tensors, told, alone=False)
    session.forget(found.path)
    done.artifacts.append(artifact)
    done.findings += told


def _full_check(session: Session, listing: Listing, done: Pass, course: Course) -> Listing:
    path = listing.artifact.path
    scans, findings = scan_all(session, listing, None, stats=False, anew=True, course=course)
    findings += session.verify(listing, anew=True)
    unread = sum(s.checksum == "unread" for s in scans)
    done.tensors_checked += len(scans) - unread
    done.tensors_unreadable += unread
    done.bytes_read += sum(s.bytes for s in scans)
    done.verified[path] = not unread and len(scans) == len(listing.tensors)
    compared = sum(s.checksum in ("ok", "mismatch") for s in scans)
    bare = sum(s.checksum == "none" for s in scans)
    words = [f"{compared} checksums"] if compared else []
    if listing.artifact.kind == "keras-archive" and listing.artifact.writer.get("form") != "folder":
        words.append("checksums of the archive's members")
    elif bare:
        words.append(f"{bare} tensors without checksum ({SEEN_BITS})")
    if compared or bare:
        words.append("non-finite and implausible values")
    if listing.artifact.kind == "meta-graph":
        words.append("the graph, which has no checksum")
    done.words[path] = ", ".join(words) or "directory and entries; no tensor could be read"
    return checked_listing(listing, findings)


def _course(saves: Sequence[Found], *, quick: bool) -> Course:
    """Progress through these saves; their sizes are asked for only where somebody watches."""
    narrator = Narrator()
    counted = narrator.live and not quick
    return Course(narrator, _sizes(saves) if counted else [1] * len(saves), bytes_count=counted)


def _sizes(saves: Sequence[Found]) -> list[int]:
    """Bytes of each save as its file names tell; a folder is listed once."""
    folders: dict[str, dict[str, int]] = {}
    return [_size(found, folders) for found in saves]


def _size(found: Found, folders: dict[str, dict[str, int]]) -> int:
    place, stem = os.path.split(found.path)
    if found.kind == "saved-model":
        place, stem = os.path.join(found.path, "variables"), "variables"
    if place not in folders:
        folders[place] = _shards(place or ".")
    return folders[place].get(stem, 0) or _file_size(found.path)


def _shards(place: str) -> dict[str, int]:
    """Bytes of the data shards in a folder, by prefix."""
    sizes: dict[str, int] = {}
    try:
        with os.scandir(place) as entries:
            for entry in entries:
                stem, dot, _ = entry.name.rpartition(".data-")
                if dot:
                    sizes[stem] = sizes.get(stem, 0) + entry.stat().st_size
    except OSError:
        pass
    return sizes


def _file_size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
