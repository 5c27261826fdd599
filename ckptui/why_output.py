"""What `ckptui why` prints: its document, and the same for people: verdict, causes, what was ruled out, the steps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ckptui.core.causes import SYMPTOMS, Cause, RuledOut, WhyReport, WhyStep, standing
from ckptui.core.model import jsonable
from ckptui.core.text import safe
from ckptui.output import findings_json
from ckptui.page import flowing, folded, page_width

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


def why_text(report: WhyReport, width: int | None = None) -> list[str]:
    """The verdict first; then causes, what speaks against the others, what was not asked, and the steps.

    Folded to `width` columns, the terminal's where it is None.
    """
    page = page_width() if width is None else width
    model = report.model
    facts = [safe(str(model.get(key) or "")) for key in ("path", "kind")]
    facts += [f"TensorFlow {safe(str(model['tensorflow']))}"] if model.get("tensorflow") else []
    lines = flowing([fact for fact in facts if fact], page, "why  ", "     ")
    if report.symptom is not None:
        lines.append(f"     asked: {SYMPTOMS[report.symptom]}")
    lines += ["", *folded(safe(report.verdict), page)]
    for number, cause in enumerate(report.causes, 1):
        lines += ["", *cause_lines(number, cause, standing(cause, report), page)]
    lines += _others("Ruled out", [one for one in report.ruled_out if one.asked], page)
    lines += _others("Not asked", [one for one in report.ruled_out if not one.asked], page)
    lines += ["", "Steps", *step_lines(report.steps, page, report.verdict, _loaders(report))]
    lines += [line for note in report.notes for line in folded(safe(note), page, "  ")]
    return lines


def cause_lines(number: int, cause: Cause, stands: str, width: int) -> list[str]:
    """One cause: what, how sure, how it stands to what was seen, where; its evidence; what to do next."""
    facts = [cause.certainty, stands, *([safe(cause.where)] if cause.where else [])]
    lines = folded(safe(f"{number}  {cause.title}"), width, "", "   ")
    lines += flowing([cause.code, f"({', '.join(facts)})"], width, "   ", "     ")
    for evidence in cause.evidence:
        lines += folded(safe(f"- {evidence}"), width, "   ", "     ")
    lines += folded(safe(f"next: {cause.next_step}"), width, "   ", "         ")
    return lines


def _others(title: str, items: Sequence[RuledOut], width: int) -> list[str]:
    """Those with one reason share its line; how to ask about them stands behind it."""
    alike: dict[str, list[str]] = {}
    for one in items:
        alike.setdefault(_asked(one.reason, one.ask), []).append(one.title)
    told = [
        line
        for reason, titles in alike.items()
        for line in folded(safe(f"{'; '.join(titles)}: {reason}"), width, "  ", "    ")
    ]
    return ["", title, *told] if told else []


def _asked(reason: str, ask: str) -> str:
    """A reason and what to do about it: `...; give --images DIR`. A sentence of its own stays one."""
    if not ask or ask[0].isupper():
        return f"{reason}. {ask}" if ask else reason
    return f"{reason}; {ask}" if ask.startswith(("`", "leave")) else f"{reason}; give {ask}"


def _loaders(report: WhyReport) -> list[str]:
    """What each of several loaders said that refused the model."""
    refused = next((found for found in report.findings if found.code == "model-does-not-load"), None)
    return [str(said) for said in (refused.evidence.get("loaders") if refused is not None else None) or ()]


def step_lines(steps: Iterable[WhyStep], width: int, verdict: str = "", loaders: Sequence[str] = ()) -> list[str]:
    """Every step with how long it took and what it found, folded beside its name; not what the verdict says already.

    What each of the `loaders` said has lines of its own.
    """
    told = []
    whole = "; ".join(loaders)
    for step in steps:
        said = step.state in ("failed", "skipped") and step.detail and step.detail in verdict
        under: list[str] = []
        if said:
            words = "see above"
        elif whole and whole in step.detail:
            words = step.detail.partition(whole)[0].rstrip()
            under = [*loaders, *([step.ask] if step.ask else [])]
        else:
            words = _asked(step.detail, step.ask)
        words = STATE_WORDS[step.state] + safe(words, 400)
        told.append((step.name, f"{step.seconds:.1f} s", words, [safe(one, 400) for one in under]))
    names = max((len(name) for name, *_ in told), default=0)
    times = max((len(seconds) for _, seconds, *_ in told), default=0)
    lines: list[str] = []
    for name, seconds, words, more in told:
        head = f"  {name:<{names}}  {seconds:>{times}}"
        indent = " " * (len(head) + 2)
        lines += folded(words, width, f"{head}  ", indent) or [head]
        for one in more:
            lines += folded(one, width, indent, indent + "  ")
    return lines
