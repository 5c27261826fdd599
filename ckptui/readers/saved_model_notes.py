"""Findings about a SavedModel's files."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ckptui.core.model import Finding
from ckptui.errors import ChangedWhileReading, Damaged, Unreadable
from ckptui.readers.folder import Folder
from ckptui.readers.graph_facts import Damage
from ckptui.readers.notices import notice

PROTO_LIMIT = 1 << 31
"""Bytes from which protobuf itself refuses a message."""
SHOWN = 20


def damaged(folder: str, path: str, damage: Damage, nodes: int) -> Finding:
    """The graph's bytes contradict their format; `nodes` could be counted all the same."""
    more = f"; {damage.count - 1} more places follow" if damage.count > 1 else ""
    where = f" in {damage.where}" if damage.where else ""
    return notice(
        "graph-damaged",
        folder,
        f"{_name(path)} at byte {damage.offset}{where}: {damage.reason}{more}",
        {
            "file": path,
            "offset": damage.offset,
            "where": damage.where,
            "places": damage.count,
            "nodes_read": nodes,
        },
    )


def no_meta_graph(folder: str, path: str) -> Finding:
    """Well-formed, and nothing in it."""
    return notice("graph-damaged", folder, f"{_name(path)} holds no meta graph", {"file": path})


def too_long(folder: str, path: str, size: int) -> Finding:
    """More bytes than protobuf takes: TensorFlow can't load it."""
    detail = f"{_name(path)} has {size} bytes; protobuf refuses 2 GiB and more"
    return notice("graph-damaged", folder, detail, {"file": path, "bytes": size, "limit": PROTO_LIMIT})


def not_whole(folder: str, path: str) -> Finding:
    """A cap ended the walk."""
    return notice(
        "unsupported-format",
        folder,
        f"{_name(path)} holds more than is looked at: counts of nodes and ops are lower bounds",
        {"file": path},
        title="A graph too large to be looked at whole",
        advice="Flagged ops may be missing from the findings; the variables are complete.",
    )


def chunked(folder: str, path: str) -> Finding:
    """saved_model.cpb."""
    return notice(
        "unsupported-format",
        folder,
        "saved_model.cpb is a chunked graph (Riegeli records): recognised, not read; the variables are readable",
        {"format": "chunked SavedModel", "file": path},
        title="A chunked graph",
        advice="Load it with TensorFlow and save it again without chunks to look at its signatures.",
    )


def changed(folder: str, error: ChangedWhileReading) -> Finding:
    """A file of the export was written to meanwhile."""
    title = "The file changed while it was read"
    return Finding("changed-while-reading", "warning", title, folder, detail=error.detail, advice=error.hint)


def refused(folder: str, path: str, error: Damaged) -> Finding:
    """The graph's file can't be read, or is larger than what is read of a text graph."""
    code = "unreadable" if isinstance(error, Unreadable) else "unsupported-format"
    return notice(code, folder, error.detail, {"file": path, **error.evidence})


def variables_missing(folder: str, prefix: str) -> Finding:
    """The graph restores variables, and there are none."""
    detail = "the graph has variables or restores some; variables/variables.index is not there"
    return notice("index-missing", folder, detail, {"prefix": prefix})


def assets(folder: Folder, names: Sequence[str]) -> list[Finding]:
    """Asset files that are missing, and names that lead out of assets/, which are not followed."""
    outside = [name for name in names if os.path.basename(name) != name or name in (".", "..") or "\0" in name]
    missing = [n for n in names if n not in outside and not os.path.isfile(folder.join(f"assets/{n}"))]
    findings = []
    if missing:
        findings.append(
            notice(
                "graph-damaged",
                folder.path,
                f"{len(missing)} of {len(names)} assets are not in assets/: {', '.join(missing[:3])}",
                {"asset": missing[:SHOWN], "count": len(missing)},
                severity="warning",
                title="Files the graph reads are missing",
                advice="Copy assets/ from where the export was made.",
            )
        )
    if outside:
        findings.append(
            Finding(
                "external-reference",
                "warning",
                "The graph names assets outside assets/",
                folder.path,
                detail=", ".join(outside[:3]),
                evidence={"asset": outside[:SHOWN]},
                advice="ckptui does not follow them: know the author before you load this model.",
            )
        )
    return findings


def _name(path: str) -> str:
    return os.path.basename(path)
