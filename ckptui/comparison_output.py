"""What the commands that compare print: two saves held against each other, as a document and as text."""

from __future__ import annotations

from typing import Any

from ckptui.core.model import DiffReport, jsonable
from ckptui.core.report import table
from ckptui.core.text import number_text, safe
from ckptui.output import findings_json, findings_text


def diff_document(report: DiffReport) -> dict[str, Any]:
    """`ckptui/diff/1`."""
    return {
        "schema": "ckptui/diff/1",
        "a": report.a.to_json(),
        "b": report.b.to_json(),
        "pairs": [p.to_json() for p in report.pairs],
        "summary": report.summary,
        "relation": jsonable(dict(report.relation)),
        "findings": findings_json(report.findings),
    }


def diff_text(report: DiffReport) -> list[str]:
    """Changed pairs by relative change, lone ones, and a count of the identical."""
    summary = report.summary
    pairs = sorted(report.pairs, key=lambda p: -(p.relative_l2 if p.relative_l2 is not None else -1.0))
    rows = [
        [
            safe(p.a or p.b or ""),
            p.status,
            number_text(p.relative_l2),
            number_text(p.max_abs),
            number_text(p.cosine),
            f"{p.changed} of {p.count}" if p.changed is not None else safe(p.detail),
        ]
        for p in pairs
        if p.status != "identical"
    ]
    lines = [f"A  {safe(report.a.path)}", f"B  {safe(report.b.path)}", ""]
    if rows:
        lines += [
            *table(["name", "status", "rel. L2", "max abs", "cosine", "changed"], rows, right=(2, 3, 4)),
            "",
        ]
    lines.append(", ".join(f"{count} {name}" for name, count in summary.items() if count) or "nothing to compare")
    relation = report.relation
    lines.append(f"relation: {relation['verdict']} ({relation['certainty']})")
    told = findings_text(report.findings)
    return [*lines, *([""] if told else []), *told]
