"""All that was gathered, judged: the symptoms shown, the causes ranked, what was ruled out, a verdict. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ckptui.core.causes import SYMPTOMS, Cause, RuledOut, Symptom
from ckptui.core.causes_constant import nearly_constant, of_constant
from ckptui.core.causes_flip import flip_seen, flip_unseen, of_flips, one_sided
from ckptui.core.causes_kinds import Gathered, lines, of_kind
from ckptui.core.causes_unstable import of_repeats
from ckptui.core.causes_weights import of_weights

BESIDE = 0.2
"""What a cause of another symptom keeps of its score where one symptom is asked about; never more than its causes."""


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
    for judged in (of_constant(gathered), of_flips(gathered), of_repeats(gathered), of_weights(gathered, shown)):
        some, more = of_kind(judged)
        causes += some
        others += more
    wanted = gathered.symptom
    if wanted is not None:
        most = min((one.score for one in causes if wanted in one.symptoms), default=1.0)
        causes = [
            one if wanted in one.symptoms else replace(one, score=round(min(one.score, most) * BESIDE, 3))
            for one in causes
        ]
        others = [one for one in others if wanted in one.symptoms]
    ranked = sorted(_merged(causes), key=lambda one: -one.score)
    named = {one.code for one in ranked}
    ruled = {one.code: one for one in others if one.code not in named}
    kept = [*ruled.values(), *_symmetry(gathered)]
    kept.sort(key=lambda one: not one.asked)
    return Judgement(shown, tuple(ranked), tuple(kept), _verdict(gathered, shown, ranked, checked))


def symptoms_shown(gathered: Gathered) -> tuple[Symptom, ...]:
    """The symptoms that the prediction shows.

    A flip that changes the answer to one image is a fact of that image. It takes images whose answers are the same
    until they are flipped, or many.
    """
    shown: list[Symptom] = []
    same = gathered.has("constant-output") or nearly_constant(gathered) is not None
    if same or any(f.tensor is None for f in gathered.of("non-finite")):
        # NaN is one answer for all, too
        shown.append("constant")
    many = gathered.report.many if gathered.report is not None else None
    if (gathered.symptom == "flip" and flip_seen(gathered)) or (many is not None and one_sided(many)):
        shown.append("flip")
    unstable = ("nondeterministic", "reload-differs", "batch-dependent", "versions-differ", "expectation-differs")
    if any(gathered.has(code) for code in unstable):
        shown.append("unstable")
    return tuple(shown)


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
    if not found or gathered.symptom != "flip":
        # asked about all, they are told as the fact they are
        return []
    reason = f"{lines(gathered, found, 1)[0]}: such filters make an answer survive flips, they never make it flip"
    return [RuledOut("symmetric-filters", "Mirror-symmetric filters", ("flip",), reason)]


def _verdict(gathered: Gathered, shown: Sequence[Symptom], causes: Sequence[Cause], checked: Sequence[str]) -> str:
    """What was seen and the first cause; the cause comes first where nothing could be asked."""
    wanted = gathered.symptom
    seen = ""
    if wanted is not None and wanted not in shown:
        why = "was not seen here" if gathered.behaved else f"could not be looked for: {gathered.why_not}"
        more = flip_unseen(gathered) if gathered.behaved and wanted == "flip" else ""
        why += f": {more}" if more else ""
        seen = f"The symptom ({SYMPTOMS[wanted]}) {why}."
    elif shown:
        seen = f"Seen: {'; '.join(SYMPTOMS[symptom] for symptom in shown)}."
    elif not gathered.behaved:
        seen = f"No prediction was made: {gathered.why_not}."
    told = _first(causes, wanted, checked)
    parts = [seen, told] if gathered.behaved else [told, seen]
    return " ".join(part for part in parts if part)


def _first(causes: Sequence[Cause], wanted: Symptom | None, checked: Sequence[str]) -> str:
    """The likeliest cause in a sentence, or that there is none."""
    first = next((one for one in causes if one.symptoms and (wanted is None or wanted in one.symptoms)), None)
    if first is not None:
        where = f", {first.where}" if first.where and first.where not in first.title else ""
        sure = {"confirmed": "", "likely": "Likely: ", "possible": "Possibly: "}[first.certainty]
        return f"{sure}{first.title}{where}."
    looked = f"; checked: {', '.join(checked)}." if checked else "."
    if causes and wanted is None:
        return f"Nothing found that explains a symptom{looked} {causes[0].title}."
    return f"Nothing found{looked}"
