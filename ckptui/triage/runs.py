"""Which save of a run is the newest good one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ckptui.core.model import Finding, RunFolder, Status
from ckptui.core.runs import RunVerdict


def judge_run(run: RunFolder, statuses: Mapping[str, Status], verified: Mapping[str, bool]) -> RunVerdict:
    """The verdict on a run from what is known of its saves.

    `statuses`: of the saves that were looked at, by path. `verified`: whether their bytes were read and checked.
    A save with an error is no good one, and neither is one that nobody looked at; warnings do not stop a restore.
    """
    good = [path for path in run.saves if statuses.get(path) in ("ok", "warning")]
    newest = good[-1] if good else ""
    return RunVerdict(
        path=run.path,
        label=run.label,
        saves=run.saves,
        latest=run.latest,
        state=run.state,
        newest_good=newest,
        verified=bool(newest) and verified.get(newest, False),
        damaged=tuple(path for path in run.saves if statuses.get(path) == "error"),
        unchecked=tuple(path for path in run.saves if statuses.get(path, "unchecked") == "unchecked"),
        leftovers=run.leftovers,
        stated=run.stated,
    )


def corrected(findings: Sequence[Finding], verdicts: Sequence[RunVerdict]) -> list[Finding]:
    """The findings with what state files should name instead, now that the saves were looked at.

    Names alone made it the newest whole save; a look inside may have shown that to be damaged.
    """
    by_state = {verdict.state: verdict for verdict in verdicts if verdict.state}
    out = []
    for finding in findings:
        verdict = by_state.get(finding.artifact) if "newest" in finding.evidence else None
        if verdict is not None and verdict.newest_good != (finding.evidence["newest"] or ""):
            good = verdict.newest_good
            advice = f"Restore by path: {good} is the newest good save here." if good else "No save here is good."
            finding = replace(finding, evidence={**finding.evidence, "newest": good or None}, advice=advice)
        out.append(finding)
    return out
