"""What `ls` and `check` print: the saves of a tree, what is wrong, and what to restore."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ckptui.core.model import Artifact, Finding, jsonable
from ckptui.core.naming import PLAIN, Naming, without_copies
from ckptui.core.report import counts_text, table
from ckptui.core.runs import RunVerdict
from ckptui.core.text import human_bytes, human_count, safe
from ckptui.output import STATUS_WORDS, findings_json, findings_text

RUNS_SHOWN = 200
"""Runs that are told one by one; of more, those where something is wrong come first."""
NAMES_SHOWN = 5
NOT_LOOKED_AT = "not looked at: whether the weights were trained (`ckptui filters SAVE` tells)"
"""What no check of bytes can say: sound weights may be untouched ones."""


def runs_text(runs: Sequence[RunVerdict]) -> list[str]:
    """For each run the newest good save, where its state file leads, and what to restore if that differs."""
    ordered = sorted(runs, key=lambda run: not (run.misled or run.damaged or not run.newest_good))
    lines = [line for run in ordered[:RUNS_SHOWN] for line in _run_lines(run)]
    if len(runs) > RUNS_SHOWN:
        lines.append(f"… and {len(runs) - RUNS_SHOWN} more runs (--json lists all)")
    return lines


def _run_lines(run: RunVerdict) -> list[str]:
    """One line where all is well, else a block that ends with the save to restore."""
    how = "its bytes were checked" if run.verified else "as far as names, sizes and index tell"
    head = f"run {safe(run.path)}: {len(run.saves)} {'save' if len(run.saves) == 1 else 'saves'}"
    newest = f"newest good save {_name(run.newest_good)} ({how})" if run.newest_good else "no save of it is good"
    leads = run.newest_good and run.newest_good == run.saves[-1] and not run.misled
    if leads and not (run.damaged or run.leftovers):
        return [f"{head}, {newest}" + (f", as {_name(run.state)} says" if run.state else "")]
    lines = [head, f"    {newest}"]
    if run.state:
        same = ", the same" if run.latest and run.latest == run.newest_good else ""
        lines.append(f"    {_name(run.state)} names {safe(run.stated) if run.stated else 'no save'}{same}")
    if run.damaged:
        lines.append(f"    with errors: {_some(run.damaged[::-1])}")
    if run.leftovers:
        lines.append(f"    leftovers: {_some(run.leftovers)}")
    if run.newest_good and not leads:
        lines.append(f"    restore this: {safe(run.newest_good)}")
    return lines


def _some(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - NAMES_SHOWN} more" if len(paths) > NAMES_SHOWN else ""
    return ", ".join(map(_name, paths[:NAMES_SHOWN])) + more


def _name(path: str) -> str:
    return safe(os.path.basename(path.rstrip("/")) or path)


def ls_document(
    artifacts: Sequence[Artifact], findings: Sequence[Finding], runs: Sequence[RunVerdict]
) -> dict[str, Any]:
    """`ckptui/ls/1`."""
    return {
        "schema": "ckptui/ls/1",
        "artifacts": [a.to_json() for a in artifacts],
        "runs": [run.to_json() for run in runs],
        "findings": findings_json(findings),
    }


def ls_text(artifacts: Sequence[Artifact], findings: Sequence[Finding], runs: Sequence[RunVerdict]) -> list[str]:
    """One line a save, then what is wrong, then which save of each run is the newest good one."""
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
    judged = runs_text(runs)
    return [*lines, *([""] if told else []), *told, *([""] if judged else []), *judged]


def check_document(
    artifacts: Sequence[Artifact],
    findings: Sequence[Finding],
    summary: Mapping[str, Any],
    runs: Sequence[RunVerdict],
) -> dict[str, Any]:
    """`ckptui/check/1`."""
    return {
        "schema": "ckptui/check/1",
        "artifacts": [a.to_json() for a in artifacts],
        "summary": jsonable(dict(summary)),
        "runs": [run.to_json() for run in runs],
        "findings": findings_json(findings),
    }


def check_text(
    artifacts: Sequence[Artifact],
    findings: Sequence[Finding],
    summary: Mapping[str, Any],
    checked: Mapping[str, str],
    runs: Sequence[RunVerdict],
    naming: Naming = PLAIN,
) -> list[str]:
    """The verdict of each save with what was checked, then the findings. Never "healthy" without saying how far."""
    rows = [[STATUS_WORDS[a.status], safe(a.path), checked.get(a.path, "")] for a in artifacts]
    if len(artifacts) == 1:
        naming = replace(naming, save=artifacts[0].path)
    findings = without_copies(findings, naming)
    told = findings_text(findings, naming)
    seconds = summary["seconds"]
    speed = f" ({human_bytes(summary['bytes_read'] / seconds)}/s)" if seconds else ""
    amount = f"{human_bytes(summary['bytes_read'])} read in {seconds:.1f} s{speed}"
    if not summary["bytes_read"]:
        amount = f"no tensor bytes read, {seconds:.1f} s"
    total = counts_text(findings) or "nothing found"
    judged = runs_text(runs)
    return [
        *table(["status", "save", "what was checked"], rows),
        "",
        *told,
        *([""] if told else []),
        *judged,
        *([""] if judged else []),
        *([NOT_LOOKED_AT] if summary["bytes_read"] and any(a.parameters for a in artifacts) else []),
        f"{len(artifacts)} {'save' if len(artifacts) == 1 else 'saves'}, "
        f"{human_count(summary['tensors_checked'])} tensors, "
        f"{amount}: {total}",
    ]
