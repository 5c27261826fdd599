"""What `ckptui why` prints: its document, and the same for people: verdict, causes, what was ruled out, the steps."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from ckptui.core.causes import SYMPTOMS, Cause, RuledOut, WhyReport, WhyStep
from ckptui.core.model import jsonable
from ckptui.core.report import table
from ckptui.core.text import safe
from ckptui.output import findings_json

WIDTH = 100
"""Columns that text is folded to."""
STATE_WORDS = {"done": "", "failed": "failed: ", "skipped": "left out: ", "running": "running"}


def why_document(report: WhyReport) -> dict[str, Any]:
    """`ckptui/why/1`."""
    return {
        "schema": "ckptui/why/1",
        "model": jsonable(dict(report.model)),
        "symptom": report.symptom,
        "shown": list(report.shown),
        "verdict": report.verdict,
        "causes": [cause.to_json() for cause in report.causes],
        "ruled_out": [ruled.to_json() for ruled in report.ruled_out],
        "steps": [step.to_json() for step in report.steps],
        "images": list(report.images),
        "notes": list(report.notes),
        "findings": findings_json(report.findings),
    }


def why_text(report: WhyReport) -> list[str]:
    """The verdict first; then causes, what speaks against the others, what was not asked, and the steps."""
    model = report.model
    head = f"why  {safe(str(model.get('path', '')))}  {safe(str(model.get('kind', '')))}"
    if model.get("tensorflow"):
        head += f"  TensorFlow {safe(str(model['tensorflow']))}"
    lines = [head]
    if report.symptom is not None:
        lines.append(f"     asked: {SYMPTOMS[report.symptom]}")
    lines += ["", *_folded(report.verdict, "", "")]
    for number, cause in enumerate(report.causes, 1):
        lines += ["", *cause_lines(number, cause)]
    lines += _others("Ruled out", [one for one in report.ruled_out if one.asked])
    lines += _others("Not asked", [one for one in report.ruled_out if not one.asked])
    lines += ["", "Steps", *step_lines(report.steps)]
    lines += [line for note in report.notes for line in _folded(note, "  ", "  ")]
    return lines


def cause_lines(number: int, cause: Cause) -> list[str]:
    """One cause: what, how sure, where; its evidence; what to do next."""
    facts = [cause.certainty, f"score {cause.score:.2f}", *([safe(cause.where)] if cause.where else [])]
    lines = _folded(f"{number}  {cause.title}", "", "   ")
    lines.append(f"   {cause.code}  ({', '.join(facts)})")
    for evidence in cause.evidence:
        lines += _folded(f"- {evidence}", "   ", "     ")
    lines += _folded(f"next: {cause.next_step}", "   ", "         ")
    return lines


def _others(title: str, items: Sequence[RuledOut]) -> list[str]:
    """Those with one reason share its line."""
    alike: dict[str, list[str]] = {}
    for one in items:
        alike.setdefault(one.reason, []).append(one.title)
    told = [
        line for reason, titles in alike.items() for line in _folded(f"{'; '.join(titles)}: {reason}", "  ", "    ")
    ]
    return ["", title, *told] if told else []


def step_lines(steps: Iterable[WhyStep]) -> list[str]:
    """Every step with what it found and how long it took."""
    rows = [
        [step.name, f"{step.seconds:.1f} s", f"{STATE_WORDS[step.state]}{safe(step.detail, 200)}"] for step in steps
    ]
    # a table without its head: three columns speak for themselves
    return [f"  {line}" for line in table(["", "", ""], rows, right=(1,))[1:]]


def _folded(text: str, first: str, rest: str) -> list[str]:
    """The text, made harmless, folded to the page."""
    return textwrap.wrap(
        safe(text), WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )
