"""Findings about a SavedModel's files."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ckptui.core.model import Finding
from ckptui.core.sayings import says
from ckptui.errors import ChangedWhileReading, CkptuiError, Damaged, Unreadable
from ckptui.readers.folder import Folder
from ckptui.readers.graph_causes import CAP, one_bit_apart, walk_again
from ckptui.readers.graph_facts import Gatherer
from ckptui.readers.leftovers import SAVED_MODEL_TRACES
from ckptui.readers.notices import notice, sniffed
from ckptui.readers.sniff import Sniff
from ckptui.readers.source import read_whole

PROTO_LIMIT = 1 << 31
"""Bytes from which protobuf itself refuses a message."""
SHOWN = 20
_DRAFT = re.compile(r"saved_model\.(?:pb|pbtxt)\.tmp[0-9a-f]*")
"""The name under which a graph is written before it is renamed."""


def no_meta_graph(folder: str, path: str) -> Finding:
    """Well-formed, and nothing in it."""
    evidence = {"file": path, "tensorflow_says": says("empty-graph")}
    return notice("graph-damaged", folder, f"{_name(path)} holds no meta graph", evidence)


def no_graph(folder: Folder) -> Finding:
    """No saved_model.pb, and how far the export had come: it writes variables, assets, graph, fingerprint in turn."""
    expected = folder.join("saved_model.pb")
    evidence: dict[str, Any] = {"expected": expected}
    written = [name for name in SAVED_MODEL_TRACES if name in folder.files]
    drafts = sorted(name for name in folder.files if _DRAFT.fullmatch(name))
    inside = names_in(folder.join("variables")) if "variables" in folder.folders else []
    parts = [name for name in inside if name.startswith("variables_temp") or ".tempstate" in name]
    if written:
        stage = "finished"
        detail = f"{written[0]} is written after saved_model.pb: it was there, and was lost or not copied"
    elif drafts:
        stage = "graph"
        whole = _is_graph(folder.join(drafts[0]))
        evidence |= {"drafts": [folder.join(name) for name in drafts], "draft_whole": whole}
        detail = f"the export ended while it wrote the graph: {drafts[0]} "
        detail += "reads whole; as saved_model.pb it is the graph" if whole else "is not whole"
    elif parts:
        stage = "variables"
        detail = f"the export ended while it wrote the variables: variables/{parts[0]} is left of that"
    else:
        stage = "assets" if "assets" in folder.folders else "variables"
        detail = "the export ended after its variables and before its graph, or the copy left saved_model.pb out"
    evidence |= {"stage": stage, "tensorflow_says": says("no-graph", folder=folder.path)}
    return notice("graph-missing", folder.path, detail, evidence)


def not_a_graph(folder: str, path: str, seen: Sniff) -> tuple[Finding, ...]:
    """Findings about a file whose first bytes are no graph's."""
    if seen.code is None:
        facts = {"looks_like": seen.looks_like, "bytes": seen.size}
        seen = replace(seen, code="not-a-model", reason=f"found instead: {seen.looks_like}", evidence=facts)
    text = "empty-graph" if seen.code == "empty-file" else ("graph-text" if path.endswith("txt") else "graph-wire")
    more = {"file": path, "tensorflow_says": says(text, file=path)} if seen.code != "unreadable" else {"file": path}
    return tuple(replace(finding, evidence={**finding.evidence, **more}) for finding in sniffed(folder, seen))


def of_variables(folder: str, prefix: str, finding: Finding) -> Finding:
    """A finding about the variables as one about the whole SavedModel, with what loading it says."""
    evidence = {"file": finding.artifact, **finding.evidence}
    if finding.code == "index-missing":
        evidence["tensorflow_says"] = says("no-variables", prefix=prefix)
    return replace(finding, artifact=folder, evidence=evidence)


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
    """saved_model.cpb: read here, and not by TensorFlow's Python loader."""
    return notice(
        "unsupported-format",
        folder,
        "saved_model.cpb is a graph in chunks (Riegeli records); tf.saved_model.load looks for saved_model.pb alone",
        {"format": "chunked SavedModel", "file": path, "tensorflow_says": says("no-graph", folder=folder)},
        title="A chunked graph",
        advice="Load it with the C++ loader, or save it again without chunks, if Python is to load it.",
    )


def changed(folder: str, error: ChangedWhileReading) -> Finding:
    """A file of the export was written to meanwhile."""
    title = "The file changed while it was read"
    return Finding("changed-while-reading", "warning", title, folder, detail=error.detail, advice=error.hint)


def refused(folder: str, path: str, error: Damaged) -> Finding:
    """The graph's file can't be read, or is larger than what is read of a text graph."""
    if error.code == "graph-damaged":
        # of a chunked graph: its hashes tell what no other graph can
        evidence = {"file": path, **error.evidence, "tensorflow_says": says("no-graph", folder=folder)}
        return notice(error.code, folder, error.detail, evidence)
    code = "unreadable" if isinstance(error, Unreadable) else "unsupported-format"
    return notice(code, folder, error.detail, {"file": path, **error.evidence})


def variables_missing(folder: Folder, prefix: str, why: str) -> Finding:
    """The graph restores variables, and there are none."""
    there = "variables/variables.index" if "variables" in folder.folders else "the folder variables/"
    evidence = {
        "prefix": prefix,
        "expected": f"{prefix}.index",
        "tensorflow_says": says("no-variables", prefix=prefix),
    }
    return notice("index-missing", folder.path, f"{why}; {there} is not there", evidence)


def assets(folder: Folder, names: Sequence[str], read: bool) -> list[Finding]:
    """Asset files that are missing, and names that lead out of assets/, which are not followed.

    `read`: the graph has ops that read files, so that it fails without them.
    """
    outside = [name for name in names if os.path.basename(name) != name or name in (".", "..") or "\0" in name]
    missing = [n for n in names if n not in outside and not os.path.isfile(folder.join(f"assets/{n}"))]
    findings = []
    spare = set(names_in(folder.join("assets"))).difference(names) if len(missing) == 1 else set()
    other = one_bit_apart(missing[0], sorted(spare)) if missing else None
    if other is not None:
        findings.append(_asset_flipped(folder, missing[0], other))
    elif missing:
        findings.append(_asset_missing(folder, missing, len(names), read))
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


def _asset_missing(folder: Folder, missing: Sequence[str], count: int, read: bool) -> Finding:
    expected = folder.join(f"assets/{missing[0]}")
    evidence: dict[str, Any] = {"expected": expected, "asset": list(missing[:SHOWN]), "count": len(missing)}
    detail = f"{len(missing)} of {count} assets are not in assets/: {', '.join(missing[:3])}"
    if read:
        evidence["tensorflow_says"] = says("no-asset", file=expected)
    else:
        detail += "; no op of the graph reads files, so it loads without"
    return notice(
        "asset-missing",
        folder.path,
        detail,
        evidence,
        severity=None if read else "warning",
        title="Files the graph names are missing",
        advice="Copy assets/ from where the export was made: it is written before saved_model.pb.",
    )


def _asset_flipped(folder: Folder, name: str, other: str) -> Finding:
    evidence = {
        "file": folder.join("saved_model.pb"),
        "expected": other,
        "found": name,
        "tensorflow_says": says("no-asset", file=folder.join(f"assets/{name}")),
    }
    detail = f"the graph reads assets/{name}, assets/{other} is there: one bit of the graph's name is flipped"
    return notice("graph-damaged", folder.path, detail, evidence, title="A name in the graph has a flipped bit")


def names_in(path: str) -> list[str]:
    """Names in a folder, sorted; none where it can't be looked into."""
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def _is_graph(path: str) -> bool:
    try:
        return walk_again(read_whole(path, CAP), Gatherer) is not None
    except CkptuiError:
        return False


def _name(path: str) -> str:
    return os.path.basename(path)
