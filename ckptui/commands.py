"""What each command does with the session; the printing and the exit code are the command line's."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from ckptui import output
from ckptui.core.model import (
    Artifact,
    DiffReport,
    Finding,
    Found,
    Layer,
    Listing,
    PredictReport,
    Progress,
    Run,
    RunFolder,
    Stats,
    Tensor,
    TensorScan,
    worst_status,
)
from ckptui.core.text import human_bytes, safe
from ckptui.errors import Cancelled, CkptuiError, NoSuchPath, ReaderFailed, UsageError
from ckptui.narrator import Narrator
from ckptui.output import Answer
from ckptui.session import FILTERED, Session, checked_listing, require_save


def _each_save(session: Session, paths: Sequence[str]) -> Iterator[Found | Finding]:
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


def _open(session: Session, found: Found) -> tuple[Artifact, Listing | None, list[Finding]]:
    """Open one save of many; a save that can't be opened at all becomes an artifact with the reason."""
    try:
        listing = session.open(found.path, found=found)
        return listing.artifact, listing, list(listing.findings)
    except CkptuiError as error:
        listing = _bare(found, error)
        return listing.artifact, None, list(listing.findings)


def _listing(session: Session, path: str) -> Listing:
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


def list_saves(paths: Sequence[str]) -> Answer:
    """`ckptui ls`."""
    artifacts: list[Artifact] = []
    findings: list[Finding] = []
    with Session() as session:
        for item in _each_save(session, paths):
            if isinstance(item, Finding):
                findings.append(item)
                continue
            artifact, _, told = _open(session, item)
            artifacts.append(artifact)
            findings += told
    return Answer(
        lambda: output.ls_document(artifacts, findings), lambda: output.ls_text(artifacts, findings), findings
    )


def show(path: str, name: str | None) -> Answer:
    """`ckptui show`."""
    with Session() as session:
        listing = _listing(session, path)
        if name is None:
            return Answer(
                lambda: output.show_document(listing, listing.tensors),
                lambda: output.show_text(listing),
                listing.findings,
            )
        tensor = session.tensor(listing, name)
        findings = [f for f in listing.findings if f.tensor in (None, name)]
        stats: Stats | None = None
        for item in session.scan(listing, [name]):
            if isinstance(item, TensorScan):
                stats = item.stats
                findings += item.findings
        histogram = None
        if stats is not None and stats.finite and stats.min is not None:
            histogram = session.histogram(listing, name)
    extra = {
        "stats": stats.to_json() if stats else None,
        "histogram": histogram.to_json() if histogram else None,
    }
    text = [*output.tensor_text(tensor, stats, histogram), *output.findings_text(findings)]
    return Answer(lambda: output.show_document(listing, [tensor], extra, findings), lambda: text, findings)


def _scan(
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


def _regular(match: str | None) -> None:
    """Raises UsageError for what is no regular expression, before anything is opened."""
    if match is not None:
        try:
            re.compile(match)
        except (re.error, OverflowError) as error:
            raise UsageError(f"--match {match!r}: {error}", "It takes a Python regular expression") from error


def _require_match(tensors: Iterable[Tensor], match: str | None, path: str) -> list[str]:
    """Names of the tensors in which the regular expression is found; all without one.

    Raises:
        UsageError: there are tensors and it matches none: a slip of the pen must not look like "nothing found".
    """
    names = [t.name for t in tensors]
    chosen = names if match is None else [name for name in names if re.search(match, name)]
    if names and not chosen:
        raise UsageError(f"no tensor of {path} matches {match!r}", "`ckptui show` lists the names")
    return chosen


def stats(path: str, match: str | None) -> Answer:
    """`ckptui stats`."""
    _regular(match)
    with Session() as session:
        listing = _listing(session, path)
        names = set(_require_match(listing.tensors, match, path))
        scans, findings = _scan(session, listing, None if match is None else sorted(names), stats=True)
    numbers = {s.name: s.stats for s in scans if s.checksum != "unread"}
    rows = [(t, numbers.get(t.name)) for t in listing.tensors if t.name in names]
    checked = checked_listing(listing, findings)
    return Answer(
        lambda: output.stats_document(checked.artifact, rows, checked.findings),
        lambda: output.stats_text(rows, checked.findings),
        checked.findings,
    )


def check(paths: Sequence[str], *, quick: bool) -> Answer:
    """`ckptui check`: one pass over every save."""
    started = time.monotonic()
    artifacts: list[Artifact] = []
    findings: list[Finding] = []
    checked: dict[str, str] = {}
    totals = {"tensors_checked": 0, "tensors_unreadable": 0, "bytes_read": 0}
    with Session() as session:
        for item in _each_save(session, paths):
            if isinstance(item, Finding):
                findings.append(item)
                continue
            artifact, listing, told = _open(session, item)
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
        lambda: output.check_document(artifacts, findings, summary),
        lambda: output.check_text(artifacts, findings, summary, checked),
        findings,
    )


def _full_check(session: Session, listing: Listing, totals: dict[str, int], checked: dict[str, str]) -> Listing:
    scans, findings = _scan(session, listing, None, stats=False)
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


def export(path: str, match: str | None, target: str, *, force: bool) -> Answer:
    """`ckptui export`: what reads and passes its checksum."""
    from ckptui.export import check_target, write_tensors

    _regular(match)
    with Session() as session:
        listing = session.open(path)
        names = _require_match(listing.tensors, match, path)
        check_target(listing, len(names), target, force=force)
        scans, found = _scan(session, listing, None if match is None else names, stats=False)
        good = {s.name for s in scans if s.checksum not in ("mismatch", "unread")}
        readable = [t for t in listing.tensors if t.name in good]
        if not readable:
            raise UsageError(f"no tensor of {path} can be read", "`ckptui check` says why")
        written = write_tensors(session, listing, readable, target, force=force)
    bad = [(s.name, "it does not read, or fails its checksum") for s in scans if s.name not in good]
    notes = [f"left out {len(bad)} tensors that do not read or fail their checksum"] if bad else []
    notes += [f"left out {safe(name)}: {reason}" for name, reason in written.left_out]
    checked = checked_listing(listing, found)
    document = {
        "schema": "ckptui/export/1",
        "artifact": checked.artifact.to_json(),
        "file": target,
        "tensors": written.tensors,
        "bytes": written.bytes,
        "left_out": [{"tensor": name, "reason": reason} for name, reason in [*bad, *written.left_out]],
        "findings": output.findings_json(checked.findings),
    }
    text = [f"{written.tensors} tensors, {human_bytes(written.bytes)} -> {safe(target)}"]
    return Answer(
        lambda: document,
        lambda: [*text, *output.findings_text(checked.findings)],
        checked.findings,
        notes=notes,
    )


def diff(a: str, b: str, match: str | None) -> Answer:
    """`ckptui diff`."""
    _regular(match)
    narrator = Narrator()
    report: DiffReport | None = None
    with Session() as session:
        first, second = _listing(session, a), _listing(session, b)
        _require_match([*first.tensors, *second.tensors], match, f"{a} or {b}")
        try:
            for item in session.diff(first, second, pattern=match):
                if isinstance(item, Progress):
                    narrator.progress("diff", item)
                elif isinstance(item, DiffReport):
                    report = item
        finally:
            narrator.close()
    assert report is not None
    done = replace(report, findings=(*first.findings, *second.findings, *report.findings))
    differs = any(p.status != "identical" for p in done.pairs)
    return Answer(lambda: output.diff_document(done), lambda: output.diff_text(done), done.findings, differs=differs)


def filters(path: str, tensor: str | None) -> Answer:
    """`ckptui filters`."""
    layers: list[Layer] = []
    with Session() as session:
        listing = _listing(session, path)
        if tensor is not None:
            session.tensor(listing, tensor)
        chosen = [t.name for t in listing.tensors if (t.role in FILTERED if tensor is None else t.name == tensor)]
        # filters of a kernel that fails its checksum are no evidence: the checksums are part of the answer
        _, findings = _scan(session, listing, chosen, stats=False)
        for item in session.layers(listing, chosen):
            if isinstance(item, Finding):
                findings.append(item)
            else:
                layers.append(item)
    if tensor is not None and not layers:
        raise UsageError(f"{tensor} has no filters", "Kernels and embeddings have; `ckptui show` tells the roles")
    checked = checked_listing(listing, findings)
    return Answer(
        lambda: output.filters_document(checked.artifact, layers, checked.findings),
        lambda: output.filters_text(layers, checked.findings),
        checked.findings,
    )


def predict(model: str, images: Iterable[str], options: dict[str, Any]) -> Answer:
    """`ckptui predict`."""
    wanted = list(images)
    # TensorFlow takes seconds to start, too long for a slip of the pen; of several, a missing one is told in its place
    if not any(map(os.path.exists, wanted)):
        raise NoSuchPath(", ".join(wanted), "Name at least one PNG, JPEG, GIF, BMP, WebP or .npy")
    narrator = Narrator()
    report: PredictReport | None = None
    with Session() as session:
        if "architecture" in options:
            options["architecture"] = session.resolve(options["architecture"]).path
        try:
            for item in session.predict(model, wanted, **options):
                if isinstance(item, str):
                    narrator.tell(item)
                elif isinstance(item, Run):
                    narrator.tell(f"{item.name} done")
                elif isinstance(item, PredictReport):
                    report = item
        finally:
            narrator.close()
    assert report is not None
    done = report
    failed = [image for image in done.images if all(run.error for run in image.runs)]
    notes = [f"no answer for {safe(image.path)}" for image in failed]
    return Answer(lambda: output.predict_document(done), lambda: output.predict_text(done), done.findings, notes=notes)
