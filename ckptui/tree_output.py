"""What `ls` and `check` print: the saves of a tree, what is wrong, and what to restore."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ckptui.core.model import Artifact, Finding, jsonable
from ckptui.core.report import counts_text, table
from ckptui.core.text import human_bytes, human_count, safe
from ckptui.output import STATUS_WORDS, findings_json, findings_text


def ls_document(artifacts: Sequence[Artifact], findings: Sequence[Finding]) -> dict[str, Any]:
    """`ckptui/ls/1`."""
    return {
        "schema": "ckptui/ls/1",
        "artifacts": [a.to_json() for a in artifacts],
        "findings": findings_json(findings),
    }


def ls_text(artifacts: Sequence[Artifact], findings: Sequence[Finding]) -> list[str]:
    """One line a save, then what is wrong."""
    rows = [
        [
            safe(a.path),
            a.kind,
            "" if a.step is None else str(a.step),
            human_bytes(a.bytes),
            human_count(a.tensors),
            human_count(a.parameters),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(a.modified)) if a.modified else "",
            STATUS_WORDS[a.status],
        ]
        for a in artifacts
    ]
    headers = ["path", "kind", "step", "size", "tensors", "parameters", "modified", "quick check"]
    lines = table(headers, rows, right=(2, 3, 4, 5))
    told = findings_text(findings)
    return [*lines, *([""] if told else []), *told]


def check_document(
    artifacts: Sequence[Artifact], findings: Sequence[Finding], summary: Mapping[str, Any]
) -> dict[str, Any]:
    """`ckptui/check/1`."""
    return {
        "schema": "ckptui/check/1",
        "artifacts": [a.to_json() for a in artifacts],
        "summary": jsonable(dict(summary)),
        "findings": findings_json(findings),
    }


def check_text(
    artifacts: Sequence[Artifact],
    findings: Sequence[Finding],
    summary: Mapping[str, Any],
    checked: Mapping[str, str],
) -> list[str]:
    """The verdict of each save with what was checked, then the findings. Never "healthy" without saying how far."""
    rows = [[STATUS_WORDS[a.status], safe(a.path), checked.get(a.path, "")] for a in artifacts]
    told = findings_text(findings)
    seconds = summary["seconds"]
    speed = f"{human_bytes(summary['bytes_read'] / seconds)}/s" if seconds else ""
    total = counts_text(findings) or "nothing found"
    return [
        *table(["status", "save", "what was checked"], rows),
        "",
        *told,
        *([""] if told else []),
        f"{len(artifacts)} {'save' if len(artifacts) == 1 else 'saves'}, "
        f"{human_count(summary['tensors_checked'])} tensors, "
        f"{human_bytes(summary['bytes_read'])} read in {seconds:.1f} s ({speed}): {total}",
    ]
