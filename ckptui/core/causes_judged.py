"""All that was gathered, judged: the symptoms shown, the causes ranked, what was ruled out, a verdict. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ckptui.core.causes import SYMPTOMS, Cause, RuledOut, Symptom
from ckptui.core.causes_behaviour import of_behaviour, symptoms_shown
from ckptui.core.causes_kinds import Gathered, lines, of_kind
from ckptui.core.causes_weights import of_weights

BESIDE = 0.2
"""What a cause of another symptom keeps of its score where one symptom is asked about."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What `why` comes to, without its steps."""

    shown: tuple[Symptom, ...]
    causes: tuple[Cause, ...]
    ruled_out: tuple[RuledOut, ...]
    verdict: str


def judge(gathered: Gathered, checked: Sequence[str] = ()) -> Judgement:
    """Rank the causes. `checked`: in words what was looked at, for a verdict without a cause."""
    shown = symptoms_shown(gathered)
    causes: list[Cause] = []
    others: list[RuledOut] = []
    for judged in (of_behaviour(gathered), of_weights(gathered, shown)):
        some, more = of_kind(judged)
        causes += some
        others += more
    wanted = gathered.symptom
    if wanted is not None:
        causes = [one if wanted in one.symptoms else replace(one, score=round(one.score * BESIDE, 3)) for one in causes]
        others = [one for one in others if wanted in one.symptoms]
    ranked = sorted(_merged(causes), key=lambda one: -one.score)
    named = {one.code for one in ranked}
    ruled = {one.code: one for one in others if one.code not in named}
    kept = [*ruled.values(), *_symmetry(gathered)]
    kept.sort(key=lambda one: not one.asked)
    return Judgement(shown, tuple(ranked), tuple(kept), _verdict(gathered, shown, ranked, checked))


def _merged(causes: Sequence[Cause]) -> list[Cause]:
    """One cause a code: the evidence of all, the score and words of the strongest."""
    best: dict[str, Cause] = {}
    for one in sorted(causes, key=lambda one: -one.score):
        first = best.get(one.code)
        if first is None:
            best[one.code] = one
        else:
            more = tuple(line for line in one.evidence if line not in first.evidence)
            findings = tuple(dict.fromkeys((*first.findings, *one.findings)))
            best[one.code] = replace(first, evidence=(*first.evidence, *more), findings=findings)
    return list(best.values())


def _symmetry(gathered: Gathered) -> list[RuledOut]:
    """Symmetric filters are what a flip does not change: never why it changes something."""
    found = gathered.of("symmetric-filters")
    if not found or gathered.symptom not in (None, "flip"):
        return []
    reason = f"{lines(gathered, found, 1)[0]}: such filters make an answer survive flips, they never make it flip"
    return [RuledOut("symmetric-filters", "Mirror-symmetric filters", ("flip",), reason)]


def _verdict(gathered: Gathered, shown: Sequence[Symptom], causes: Sequence[Cause], checked: Sequence[str]) -> str:
    seen = "; ".join(SYMPTOMS[symptom] for symptom in shown)
    wanted = gathered.symptom
    real = [one for one in causes if one.symptoms and (wanted is None or wanted in one.symptoms)]
    parts = []
    if wanted is not None and wanted not in shown:
        why = "was not seen here" if gathered.behaved else f"could not be looked for: {gathered.why_not}"
        parts.append(f"The symptom ({SYMPTOMS[wanted]}) {why}.")
    elif seen:
        parts.append(f"Seen: {seen}.")
    elif not gathered.behaved:
        parts.append(f"No prediction was made: {gathered.why_not}.")
    if real:
        first = real[0]
        where = f", {first.where}" if first.where and first.where not in first.title else ""
        sure = {"confirmed": "", "likely": "likely ", "possible": "possibly "}[first.certainty]
        parts.append(f"{sure}{first.title}{where}."[:1].upper() + f"{sure}{first.title}{where}."[1:])
    elif causes and wanted is None:
        parts.append(f"Nothing found that explains a symptom. {causes[0].title}: {causes[0].evidence[0]}.")
    else:
        what = "; checked: " + ", ".join(checked) if checked else ""
        parts.append(f"Nothing found{what}.")
    return " ".join(parts)
