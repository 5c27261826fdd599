"""The commands that hold saves against each other: two of them (`diff`)."""

from __future__ import annotations

from dataclasses import replace

from ckptui import comparison_output
from ckptui.core.model import DiffReport, Progress
from ckptui.gathering import listing_of, regular, require_match
from ckptui.narrator import Narrator
from ckptui.output import Answer
from ckptui.session import Session


def diff(a: str, b: str, match: str | None) -> Answer:
    """`ckptui diff`."""
    regular(match)
    narrator = Narrator()
    report: DiffReport | None = None
    with Session() as session:
        first, second = listing_of(session, a), listing_of(session, b)
        require_match([*first.tensors, *second.tensors], match, f"{a} or {b}")
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
    return Answer(
        lambda: comparison_output.diff_document(done),
        lambda: comparison_output.diff_text(done),
        done.findings,
        differs=differs,
    )
