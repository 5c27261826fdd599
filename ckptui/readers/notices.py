"""Findings that discovery makes from names and first bytes alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckptui.core.model import Finding, Severity
from ckptui.readers.sniff import Sniff

_E: Severity = "error"
_W: Severity = "warning"
_I: Severity = "info"
_RECOPY = "Copy the file again from where it was written and compare sizes; keep this copy until then."

_SAYS: dict[str, tuple[Severity, str, str]] = {
    "not-a-model": (_E, "The content is not what the name promises", "Fetch the real file."),
    "empty-file": (_E, "The file is empty", _RECOPY),
    "zip-damaged": (_E, "The .keras archive is damaged", _RECOPY),
    "hdf5-damaged": (_E, "The HDF5 file is damaged", _RECOPY),
    "index-damaged": (
        _E,
        "The index is damaged",
        "What still parses is listed, each tensor's own checksum decides what is whole.",
    ),
    "index-missing": (
        _E,
        "The .index file is missing",
        "Look for PREFIX_temp/part-*.index or PREFIX.index.tempstate*: with one of them nothing is lost.",
    ),
    "graph-missing": (
        _E,
        "A SavedModel without its saved_model.pb",
        "Export again, or read the weights from variables/.",
    ),
    "graph-damaged": (_E, "The graph can't be read completely", _RECOPY),
    "unreadable": (_E, "Can't be read", "Look at its permissions and at the disk or mount it lies on."),
    "unsupported-format": (_I, "A format ckptui does not read", "Use that format's own tools."),
    "interrupted-save": (
        _W,
        "Leftovers of a save that did not finish",
        "Use the last complete save; the leftovers can be removed once no writer is running.",
    ),
    "state-dangling": (
        _E,
        "The state file names a save that is not there",
        "Point `checkpoint` at a save that exists.",
    ),
    "state-stale": (
        _W,
        "Newer saves exist than the state file names",
        "latest_checkpoint returns the older one: restore by path.",
    ),
    "state-elsewhere": (
        _W,
        "The state file points outside its folder",
        "After a move, make the paths in `checkpoint` relative.",
    ),
    "unsafe-op": (
        _E,
        "The graph holds an op that reaches outside",
        "Know the author before you run this model.",
    ),
}


def notice(
    code: str,
    path: str,
    detail: str = "",
    evidence: Mapping[str, Any] | None = None,
    *,
    severity: Severity | None = None,
    title: str | None = None,
    advice: str | None = None,
) -> Finding:
    """A finding of one of the codes above about `path`."""
    usual, words, next_step = _SAYS[code]
    return Finding(
        code=code,
        severity=severity or usual,
        title=title or words,
        artifact=path,
        detail=detail,
        evidence=dict(evidence or {}),
        advice=next_step if advice is None else advice,
    )


def sniffed(path: str, seen: Sniff) -> tuple[Finding, ...]:
    """The finding a look at a file's bytes deserves; none where nothing speaks against it."""
    if seen.code is None:
        return ()
    title = seen.looks_like if seen.code == "unsupported-format" else None
    detail = seen.reason
    if seen.looks_like == "git-lfs pointer" and "size" in seen.evidence:
        detail += f"; the real file has {seen.evidence['size']} bytes"
    if seen.code == "unsupported-format":
        detail = "recognised by its first bytes, not read"
    advice = "Run `git lfs pull` to fetch the real file." if seen.looks_like == "git-lfs pointer" else None
    return (notice(seen.code, path, detail, seen.evidence, title=title, advice=advice),)


def v1_notice(path: str) -> Finding:
    """V1 checkpoints are recognised, not read."""
    return notice(
        "unsupported-format",
        path,
        "V1 checkpoints are recognised, not read yet",
        {"format": "V1 checkpoint"},
        title="A V1 checkpoint",
        advice="Save it again with a Saver of write_version V2 to look inside.",
    )
