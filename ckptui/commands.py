"""What each command does with the session; the printing and the exit code are the command line's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ckptui import output
from ckptui.core.model import (
    Finding,
    Layer,
    Listing,
    Stats,
    Tensor,
    TensorScan,
)
from ckptui.core.naming import naming_of
from ckptui.core.settling import settled
from ckptui.core.text import human_bytes, safe
from ckptui.errors import UsageError
from ckptui.gathering import listing_of, regular, require_match, scan_all
from ckptui.output import Answer
from ckptui.session import FILTERED, Session, checked_listing

if TYPE_CHECKING:
    from ckptui.sheet.writing import SheetRequest


def show(path: str, name: str | None) -> Answer:
    """`ckptui show`."""
    with Session() as session:
        listing = listing_of(session, path)
        if name is None:
            return Answer(
                lambda: output.show_document(listing, listing.tensors),
                lambda: output.show_text(listing),
                listing.findings,
            )
        tensor = session.tensor(listing, name)
        name = tensor.name
        findings = [f for f in listing.findings if f.tensor in (None, name)]
        stats: Stats | None = None
        # filters of a kernel that fails its checksum are no evidence
        sound = False
        for item in session.scan(listing, [name], anew=True):
            if isinstance(item, TensorScan):
                stats, sound = item.stats, item.checksum in ("ok", "none")
                findings = settled(findings, item.findings)
        histogram = None
        if stats is not None and stats.finite and stats.min is not None:
            histogram = session.histogram(listing, name)
        looked, more = _filters_of(session, listing, tensor) if stats is not None and sound else ([], [])
        told = {f.code for f in findings if f.tensor == name}
        findings = settled(findings, [f for f in more if f.code not in told])
    extra = {
        "stats": stats.to_json() if stats else None,
        "histogram": histogram.to_json() if histogram else None,
    }
    said = output.findings_text(findings, naming_of(listing.artifact.path, [tensor], findings))
    text = [*output.tensor_text(tensor, stats, histogram, looked), *([""] if said else []), *said]
    return Answer(lambda: output.show_document(listing, [tensor], extra, findings), lambda: text, findings)


def _filters_of(session: Session, listing: Listing, tensor: Tensor) -> tuple[list[str], list[Finding]]:
    """Whether a kernel or embedding was trained and which filters are flagged, in lines, and what that found."""
    from ckptui.filter_output import tensor_lines

    lines: list[str] = []
    findings: list[Finding] = []
    for item in session.layers(listing, [tensor.name], anew=True) if tensor.role in FILTERED else ():
        if isinstance(item, Layer):
            lines = tensor_lines(item, tensor)
        else:
            findings.append(item)
    return lines, findings


def stats(path: str, match: str | None, *, cache: bool = True) -> Answer:
    """`ckptui stats`."""
    regular(match)
    with Session(cache=cache) as session:
        listing = listing_of(session, path)
        names = set(require_match(listing.tensors, match, path))
        scans, findings = scan_all(session, listing, None if match is None else sorted(names), stats=True)
    numbers = {s.name: s.stats for s in scans if s.checksum != "unread"}
    rows = [(t, numbers.get(t.name)) for t in listing.tensors if t.name in names]
    checked = checked_listing(listing, findings)
    return Answer(
        lambda: output.stats_document(checked.artifact, rows, checked.findings),
        lambda: output.stats_text(rows, checked.findings),
        checked.findings,
    )


def export(path: str, match: str | None, target: str, *, force: bool) -> Answer:
    """`ckptui export`: what reads and passes its checksum."""
    from ckptui.export import check_target, write_tensors

    regular(match)
    with Session() as session:
        listing = session.open(path)
        names = require_match(listing.tensors, match, path)
        check_target(listing, len(names), target, force=force)
        scans, found = scan_all(session, listing, None if match is None else names, stats=False, anew=True)
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
    naming = naming_of(checked.artifact.path, listing.tensors, checked.findings)
    text = [f"{written.tensors} tensors, {human_bytes(written.bytes)} -> {safe(target)}"]
    return Answer(
        lambda: document,
        lambda: [*text, *output.findings_text(checked.findings, naming)],
        checked.findings,
        notes=notes,
    )


def filters(path: str, tensor: str | None, png: str | None = None, *, cache: bool = True, **look: Any) -> Answer:
    """`ckptui filters`; with `png` they are drawn into that file too, `look` is how (see `sheet.writing`)."""
    layers: list[Layer] = []
    notes: list[str] = []
    sheet = _sheet(png, look)
    with Session(cache=cache) as session:
        session.make_ready(path)
        listing = listing_of(session, path)
        if sheet is not None:
            sheet.check(listing)
        if tensor is not None:
            tensor = session.tensor(listing, tensor).name
        chosen = [t.name for t in listing.tensors if (t.role in FILTERED if tensor is None else t.name == tensor)]
        # filters of a kernel that fails its checksum are no evidence: the checksums are part of the answer
        _, findings = scan_all(session, listing, chosen, stats=False)
        told = {(f.code, f.tensor) for f in findings}
        for item in session.layers(listing, chosen):
            if isinstance(item, Layer):
                layers.append(item)
            elif (item.code, item.tensor) not in told:
                # the scan has looked at the values too, and knows where in the file they are
                findings.append(item)
        checked = checked_listing(listing, findings)
        # a kernel that can't be read has findings of its own, and is not one without filters
        if tensor is not None and not layers and all(f.tensor != tensor for f in checked.findings):
            raise UsageError(f"{tensor} has no filters", "Kernels and embeddings have; `ckptui show` tells the roles")
        if sheet is not None:
            from ckptui.sheet.writing import write_sheet

            notes.append(write_sheet(session, checked, layers, chosen, sheet))
    return Answer(
        lambda: output.filters_document(checked.artifact, layers, checked.findings),
        lambda: _filters_text(layers, checked, alone=tensor is not None),
        checked.findings,
        notes=notes,
    )


def _filters_text(layers: list[Layer], listing: Listing, *, alone: bool) -> list[str]:
    from ckptui import filter_output

    path, findings = listing.artifact.path, listing.findings
    if alone and len(layers) == 1:
        tensor = next((t for t in listing.tensors if t.name == layers[0].tensor), None)
        return filter_output.kernel_text(layers[0], findings, tensor, path)
    return filter_output.filters_text(layers, findings, listing.tensors, path)


def _sheet(png: str | None, look: Mapping[str, Any]) -> SheetRequest | None:
    """The image asked for, if any. Raises UsageError where it is only said how it should look."""
    given = {name: value for name, value in look.items() if value}
    if png is None:
        if given:
            option = "--" + next(iter(given)).replace("_", "-")
            raise UsageError(f"{option} is about the image", "Name one with --png FILE")
        return None
    from ckptui.sheet.writing import SheetRequest

    return SheetRequest(png, **given)
