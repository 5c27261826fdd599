"""How two saves are related, by what their kernels share beyond chance.

z = cosine of the centred kernels x sqrt(values) is a standard normal for independent kernels. Biases, gammas and
statistics agree between independent trainings too: they say nothing and are left out. That two saves have a common
past is as far as kernels go; that they are of one run takes an optimizer's counters and slots (`moments`), that one was
fine-tuned from the other takes layers that stand still or were replaced. What each word rests on: docs/relation.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from ckptui.core.kinship import Evidence, gather
from ckptui.core.model import Pair
from ckptui.core.moments import Moments
from ckptui.core.relation_rows import COMPARED, NOT_WEIGHTS, RelationRow

__all__ = ["RelationRow", "relation"]

MATCHING_SHARE = 0.5
"""Share of kernels with a partner of the same shape below which two saves are of different architectures."""
SURE_VALUES = 1000
"""Values of all kernels together from which their independence is certain: a cosine of 0.13 would show in them."""
SOME_VALUES = 256
MOST_LAYERS = 3
ROUNDED = 2.0**-8
"""Relative distance that rounding to bfloat16 explains."""

Word = Literal["identical", "same-run", "fine-tuned", "related", "independent", "different-architecture"]
Certainty = Literal["confirmed", "likely", "possible"]
_Told = tuple[Word, Certainty, str]


def relation(rows: Sequence[RelationRow]) -> dict[str, Any]:
    """{"verdict", "certainty", "evidence"} for all pairs of a diff; `evidence` has the numbers and a `reason`.

    Judged by kernels and embeddings of 64 values and more: |z| < 4 everywhere is `independent` (or
    `different-architecture` where most kernels have no partner); beyond, a common ancestor is certain, and
    counters with optimizer slots make it `same-run`, frozen or replaced layers `fine-tuned`, nothing `related`.
    """
    once = _once(rows)
    weights = [row.pair for row in once if row.pair.role not in NOT_WEIGHTS]
    evidence = gather(once)
    word, certainty, reason = _judged(weights, evidence)
    return {"verdict": word, "certainty": certainty, "evidence": evidence.facts(reason)}


def _once(rows: Sequence[RelationRow]) -> list[RelationRow]:
    """Without pairs of a tensor that is already in one: second copies, as exports keep them."""
    seen: set[tuple[str, str]] = set()
    kept = []
    for row in rows:
        sides = {(side, name) for side, name in (("a", row.pair.a), ("b", row.pair.b)) if name is not None}
        if not sides & seen:
            kept.append(row)
        seen |= sides
    return kept


def _judged(weights: list[Pair], evidence: Evidence) -> _Told:
    equal = _equal(weights, evidence)
    if equal is not None:
        return equal
    if not evidence.z:
        return _without_kernels(weights, evidence)
    return _doubted(_with_kernels(evidence), evidence)


def _with_kernels(evidence: Evidence) -> _Told:
    strange = evidence.lone > MATCHING_SHARE * (evidence.lone + len(evidence.z))
    if evidence.largest < evidence.threshold and not evidence.frozen:
        return _unrelated(evidence, strange=strange)
    return _related(evidence)


def _doubted(told: _Told, evidence: Evidence) -> _Told:
    """The same, less sure where weights are alone that may well be each other's partners."""
    if not evidence.unpaired:
        return told
    word, certainty, reason = told
    surely: Certainty = "possible" if word in ("same-run", "fine-tuned", "different-architecture") else "likely"
    if certainty == "possible":
        surely = certainty
    return word, surely, f"{reason}; {evidence.unpaired_words}"


def _equal(weights: list[Pair], evidence: Evidence) -> _Told | None:
    """All weights the same, as far as they can be read."""
    read = [pair for pair in weights if pair.status != "unreadable"]
    if not read:
        return None
    if all(pair.status == "identical" for pair in read):
        if len(read) == len(weights):
            return "identical", "confirmed", f"every weight has the same bits ({len(weights)} of {len(weights)})"
        lost = len(weights) - len(read)
        return "identical", "possible", f"every weight that can be read has the same bits; {lost} can't be read"
    if not all(pair.status in ("identical", "dtype-changed") for pair in read):
        return None
    if all(pair.changed == 0 for pair in read):
        sure: Certainty = "likely" if len(read) == len(weights) else "possible"
        return "identical", sure, "every weight has the same values, some in another dtype"
    if evidence.z and all(pair.relative_l2 is not None and pair.relative_l2 <= ROUNDED for pair in read):
        return "related", "confirmed", "every weight has the same values as far as a narrower dtype can hold them"
    return None


def _without_kernels(weights: list[Pair], evidence: Evidence) -> _Told:
    """Nothing to compute with: other shapes under the same names say more than names that differ."""
    if not weights:
        return "related", "possible", "no weights were compared"
    if evidence.unpaired and not evidence.lone:
        return "related", "possible", f"no kernels were compared: {evidence.unpaired_words}"
    if any(pair.status == "shape-changed" for pair in weights):
        return "different-architecture", "likely", f"no kernel has a partner of its shape{evidence.missing_words}"
    if evidence.lone or not any(pair.status in (*COMPARED, "unreadable") for pair in weights):
        reason = f"no kernel of one save is named in the other{evidence.missing_words}"
        return "different-architecture", "possible", reason
    if evidence.unreadable:
        return "related", "possible", "names and shapes agree, but no kernel can be read on both sides"
    if evidence.undefined:
        return "related", "possible", "names and shapes agree, but the kernels are constant or not finite"
    return "related", "possible", "names and shapes agree, too few kernel values to say more"


def _unrelated(evidence: Evidence, *, strange: bool) -> _Told:
    beyond = f"largest |z| {evidence.largest:.1f}, {evidence.threshold:.1f} would be beyond chance"
    if strange:
        reason = f"most kernels have no partner of their shape{evidence.missing_words}; the others share nothing"
        return "different-architecture", "confirmed", f"{reason} ({beyond})"
    values = evidence.values
    whole = not evidence.unreadable and not evidence.undefined
    if len(evidence.z) > 1 and values >= SURE_VALUES and whole:
        return "independent", "confirmed", f"no kernel shares more than chance gives ({beyond})"
    few = f"{len(evidence.z)} kernels" if len(evidence.z) > 1 else "only one kernel"
    rest = "" if whole else ", others can't be read, are constant or not finite"
    reason = f"no kernel shares more than chance gives ({beyond}); {few} with {values} values could be compared{rest}"
    return "independent", "likely" if values >= SOME_VALUES else "possible", reason


def _related(evidence: Evidence) -> _Told:
    """A common ancestor is certain: which kind."""
    shared = evidence.shared_words
    moments = evidence.moments
    clock = evidence.clock
    if moments.word == "kept" and not evidence.lone:
        first, last = ("A", "B") if clock.steps > 0 else ("B", "A")
        reason = f"the second moments of the optimizer kept what {first} had: {last} continues {first}"
        return "same-run", "likely", f"{shared}; {reason}, {_steps(clock.steps)} later{evidence.frozen_words}"
    fit = evidence.slots_fit and not evidence.lone and moments.word != "broken" and not evidence.thawed
    if fit and (clock.forward or clock.earlier):
        if clock.forward:
            order, doubt = "the counters went on", "two trainings from one initialisation"
        else:
            order = "B's counters are lower, so that B would be the earlier save"
            doubt = "training that began anew from A's weights, or two trainings from one initialisation,"
        reason = f"{shared}; the optimizer's slots share a past too and {order}, but {doubt} can look like that"
        reason += evidence.frozen_words
        return "same-run", "possible", reason
    if clock.unbegun:
        reason = "B's counter is at 0: no step was trained from A to it. It is where A began, or was compiled anew"
        return "related", evidence.kin_certainty, f"{shared}; {reason}{evidence.missing_words}"
    tuned = _fine_tuned(evidence)
    if tuned is not None:
        return tuned
    if moments.word == "broken":
        return "related", "confirmed", f"{shared}; {_broken(moments, clock.steps)}"
    if clock.equal:
        reason = "both saves say the same step and their weights differ: two trainings, or one of them was changed"
        return "related", "confirmed", f"{shared}; {reason}"
    if clock.backward:
        reason = "the counters start anew, as they do when training goes on from loaded weights"
        return "fine-tuned", "possible", f"{shared}; {reason}"
    reason = "one run, or two trainings from one initialisation: no counters and slots tell which"
    return "related", evidence.kin_certainty, f"{shared}; {reason}"


def _fine_tuned(evidence: Evidence) -> _Told | None:
    """What layers that stand still, or have no partner, say."""
    shared = evidence.shared_words
    if evidence.frozen and evidence.frozen < len(evidence.z):
        reason = f"some layers are identical to the bit while others were trained{evidence.frozen_words}"
        return "fine-tuned", "likely", f"{shared}; {reason}"
    if evidence.frozen and evidence.lone:
        if evidence.only_in_a:
            return "related", "confirmed", f"all kernels in both saves are identical{evidence.missing_words}"
        return (
            "fine-tuned",
            "likely",
            f"all kernels in both saves are identical, others are new{evidence.missing_words}",
        )
    if evidence.frozen:
        return "related", "confirmed", "all kernels are identical; only weights that are no kernels differ"
    if evidence.lone:
        return "fine-tuned", "likely", f"{shared}, and some layers were replaced{evidence.missing_words}"
    if evidence.near_frozen_layers:
        still = ", ".join(evidence.near_frozen_layers[:MOST_LAYERS])
        return "fine-tuned", "possible", f"{shared}; layers that hardly moved while others did: {still}"
    return None


def _broken(moments: Moments, steps: float) -> str:
    rate = f"{moments.decay:g}" if moments.decay is not None else "?"
    said = f"beta_2 or rho {rate}, the default, is assumed" if moments.assumed else f"decay {rate} a step"
    share = 100 * moments.below / max(1, moments.values)
    part = f"at least {share:.0f} %" if share >= 1 else "some"
    first, last = ("A", "B") if steps > 0 else ("B", "A")
    return (
        f"{part} of the optimizer's second moments in {last} are lower than {first}'s can have become in "
        f"{_steps(steps)} ({said}): not one run going on, but two trainings from one past, or a new optimizer"
    )


def _steps(steps: float) -> str:
    count = abs(steps)
    return f"{count:.0f} step" + ("" if count == 1 else "s")
