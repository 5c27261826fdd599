"""Causes that lie in a save's bytes, values and neighbours, judged from findings and relations. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ckptui.core.causes import Symptom
from ckptui.core.causes_kinds import (
    UNASKED,
    UNSEEN,
    Gathered,
    Judged,
    best_of,
    cause,
    lines,
    out,
    unasked,
    where_of,
)
from ckptui.core.model import Certainty, Finding
from ckptui.core.names import OBJECT_GRAPH_KEY

DAMAGE = (
    "index-missing", "index-damaged", "shard-missing", "shard-truncated", "shard-oversized", "checksum-mismatch",
    "zero-filled", "index-data-mismatch", "duplicate-key", "entry-invalid", "graph-missing", "graph-damaged",
    "hdf5-damaged", "hdf5-not-closed", "zip-damaged", "not-a-model", "empty-file", "suspicious-blocks",
    "interrupted-save", "unreadable", "reader-crashed", "changed-while-reading", "asset-missing",
    "implausible-values", "statistics-implausible",
)  # fmt: skip
UNBOUND = (
    "weights-missing", "weights-never-saved", "shape-mismatch", "graph-variables-mismatch", "weights-unexpected",
)  # fmt: skip
LEAST_BOUND = 0.25
"""Share of an architecture's weights below which a restore is refused."""
MOST_TITLES = 5
FEW = 0.25
"""Share of a kernel's filters below which those that never moved explain no symptom of the whole model."""
SMALLEST = "no kernel's filter is near zero; biases, which can silence a filter too, are not judged by it"
WEIGHTS_ALONE = ("tf-checkpoint", "tf-checkpoint-v1", "keras-weights")
STATE = ("state-dangling", "state-stale", "state-elsewhere")
PREPARING = frozenset({"Rescaling", "Normalization", "Resizing", "CenterCrop", "InputLayer", "TextVectorization"})
"""Classes of layers that prepare an input."""


def of_weights(gathered: Gathered, shown: Sequence[Symptom]) -> Iterator[Judged]:
    """Everything that storage, values, filters and neighbours say."""
    yield from _damage(gathered)
    yield from _checkpoint(gathered)
    yield from _unbound(gathered, shown)
    yield from _values(gathered, shown)
    yield from _filters(gathered, shown)
    yield from _training(gathered)
    yield from _configuration(gathered)


def seen_factor(gathered: Gathered, shown: Sequence[Symptom], *symptoms: Symptom) -> float:
    """1 where the behaviour shows one of these symptoms, less where it does not, or was not looked at."""
    if any(symptom in shown for symptom in symptoms):
        return 1.0
    return UNSEEN if gathered.behaved else UNASKED


def _damage(gathered: Gathered) -> Iterator[Judged]:
    found = gathered.of(*DAMAGE)
    if not found:
        checked = "no damage found" if gathered.values_read else "no damage in its directory; no values were read"
        yield out("damaged-save", checked)
        return
    worst = max(found, key=lambda f: (f.severity == "error", f.tensor not in gathered.spare))
    ordered = sorted(found, key=lambda f: (f is not worst, f.severity != "error", f.tensor in gathered.spare))
    explains = 1.0 if worst.severity == "error" else 0.6
    certainty: Certainty = worst.certainty
    if all(f.tensor in gathered.spare and f.tensor for f in found):
        # an optimizer's slots are in no answer
        explains = 0.4
    yield cause(
        "damaged-save",
        certainty,
        explains,
        lines(gathered, ordered),
        ordered,
        where=where_of(gathered, ordered),
        title=f"The save is damaged: {worst.title[:1].lower()}{worst.title[1:]}",
        next_step=worst.advice,
    )


def _checkpoint(gathered: Gathered) -> Iterator[Judged]:
    found = gathered.of(*STATE)
    if found:
        worst = max(found, key=lambda f: f.severity == "error")
        yield cause(
            "wrong-checkpoint",
            worst.certainty,
            0.9 if worst.severity == "error" else 0.8,
            lines(gathered, found),
            found,
            next_step=worst.advice,
        )
        return
    verdict = str((gathered.relation or {}).get("verdict", ""))
    if verdict in ("same-run", "fine-tuned", "related"):
        reason = str((gathered.relation or {}).get("evidence", {}).get("reason", ""))
        told = (
            f"{gathered.against} is another save of these weights ({verdict}): {len(gathered.changed)} weights differ"
        )
        yield cause("wrong-checkpoint", _sure(gathered.relation), 0.8, [told, *([reason] if reason else [])])
    elif verdict == "identical":
        yield out("wrong-checkpoint", f"every weight is that of {gathered.against}, to the bit")
    elif gathered.kind.startswith("tf-checkpoint"):
        yield out("wrong-checkpoint", "the state file, where there is one, names a save that is there and the newest")
    else:
        yield unasked("wrong-checkpoint", "nothing says which save it should be", "--against SAVE")


def _sure(relation: Any) -> Certainty:
    given = str((relation or {}).get("certainty", "possible"))
    return "confirmed" if given == "confirmed" else "likely" if given == "likely" else "possible"


def _unbound(gathered: Gathered, shown: Sequence[Symptom]) -> Iterator[Judged]:
    found = gathered.of(*UNBOUND)
    refused = [f for f in gathered.of("model-does-not-load") if f.evidence.get("bound")]
    if refused and _lost(gathered, refused[0]):
        yield unasked("restore-partial", "what the damage took may be why next to nothing is bound")
        return
    if refused:
        title = "The restore binds next to nothing: the weights are those of another model"
        yield cause("restore-partial", "confirmed", 1.0, lines(gathered, refused), refused, title=title,
                    next_step=refused[0].advice, factor=UNASKED)  # fmt: skip
        return
    model = gathered.report.model if gathered.report is not None else {}
    bound = str(model.get("bound") or "")
    if not found and gathered.kind in WEIGHTS_ALONE and not bound:
        reason = "weights alone: a prediction with their architecture tells what of them binds"
        yield unasked("restore-partial", reason, "--architecture MODEL")
        return
    if not found and gathered.partly and not bound:
        yield unasked("restore-partial", gathered.partly)
        return
    if not found:
        told = f": {bound}" if bound else ""
        yield out("restore-partial", f"no weight is missing, and none has another shape{told}")
        return
    errors = [f for f in found if f.severity == "error"]
    explains = 0.9 if errors else 0.4
    # values that nothing binds are drawn anew at each load
    drawn = [f for f in gathered.of("reload-differs", "nondeterministic")]
    factor = seen_factor(gathered, shown, "constant", "unstable")
    numbers, _, left = bound.partition(" bound; ")
    yield cause(
        "restore-partial",
        best_of(*(f.certainty for f in errors or found)),
        1.0 if errors and drawn else explains,
        _once(bound, lines(gathered, errors or found)),
        [*found, *(f for f in drawn if f.code == "reload-differs")],
        where=where_of(gathered, found) or _missing(found),
        title=f"The restore bound only a part of the weights: {numbers}, {left}" if left else "",
        # a restore that binds too little is a fault whatever this image shows
        factor=max(factor, UNASKED) if errors else factor,
    )


def _lost(gathered: Gathered, refused: Finding) -> bool:
    """Whether damage alone may be why so little was bound: the names are lost, or too many of the weights."""
    damage = [f for f in gathered.of(*DAMAGE, least="error") if f.tensor]
    if any(f.tensor == OBJECT_GRAPH_KEY for f in damage):
        return True
    taken = len({f.tensor for f in damage} - gathered.spare)
    bound, total = refused.evidence["bound"]
    return bool(taken) and bound + taken >= LEAST_BOUND * total


def torn(findings: Sequence[Finding]) -> set[str]:
    """Tensors whose stored bytes are damaged: their values say nothing of the training."""
    return {f.tensor for f in findings if f.code in DAMAGE and f.severity == "error" and f.tensor}


def _once(bound: str, told: Sequence[str]) -> list[str]:
    """What was bound, and what findings say; not twice where one of them begins with it."""
    return [*([bound] if bound and not any(line.startswith(bound) for line in told) else []), *told]


def _missing(found: Sequence[Finding]) -> str | None:
    """The first weight that got no value."""
    names = [name for finding in found for name in finding.evidence.get("missing") or ()]
    return str(names[0]) if names else None


def _values(gathered: Gathered, shown: Sequence[Symptom]) -> Iterator[Judged]:
    factor = seen_factor(gathered, shown, "constant")
    found = gathered.of("non-finite")
    answered = [f for f in found if f.tensor is None]
    if answered and len(answered) == len(found) and gathered.values_read and not gathered.partly:
        yield out("weights-not-finite", "every value is finite, though the answer is not")
    else:
        seen = 1.0 if answered else factor
        yield from _kind(gathered, "weights-not-finite", ("non-finite",), 0.95, seen, "every value is finite")
    yield from _kind(gathered, "weights-zero", ("all-zero", "constant"), 0.9, factor, "no weights of one value")
    yield from _kind(gathered, "statistics-never-updated", ("statistics-at-initial",), 0.6, factor, "none at 0 and 1")
    yield from _collapsed(gathered, factor)
    yield from _unadapted(gathered, shown)


def _collapsed(gathered: Gathered, factor: float) -> Iterator[Judged]:
    """A variance of 0 multiplies by one over the root of epsilon, 30 times and more, whatever the layer is given."""
    if gathered.collapsed:
        names = list(dict.fromkeys(name for _, name in gathered.collapsed))
        told = [f"{name} is 0 throughout: no batch ever varied there" for name in names[:MOST_TITLES]]
        told += [f"and {len(names) - MOST_TITLES} more"] if len(names) > MOST_TITLES else []
        yield cause("weights-zero", "confirmed", 0.9, told, where=names[0], factor=max(factor, UNASKED),
                    title="Batch statistics have collapsed: a moving variance is 0 throughout",
                    next_step="Look at what the layer before gives, and at what wrote the statistics.")  # fmt: skip


def _kind(
    gathered: Gathered, code: str, codes: tuple[str, ...], explains: float, factor: float, clear: str
) -> Iterator[Judged]:
    found = gathered.of(*codes)
    used = [f for f in found if f.tensor not in gathered.spare] or found
    if used:
        if all(f.tensor in gathered.spare and f.tensor for f in used):
            explains *= 0.4
        certainty = best_of(*(f.certainty for f in used))
        where = where_of(gathered, used)
        yield cause(code, certainty, explains, lines(gathered, used), used, where=where, factor=factor)
    elif gathered.values_read:
        facts = lines(gathered, gathered.of(*codes, least="info"), 2)
        # what is true of a part must not be ruled out of the whole
        told = f"nothing that explains it: {'; '.join(facts)}" if facts else clear
        partly = gathered.partly
        yield unasked(code, f"{partly}; of those that could be: {told}") if partly else out(code, told)
    else:
        yield unasked(code, "the values were not read")


def _unadapted(gathered: Gathered, shown: Sequence[Symptom]) -> Iterator[Judged]:
    """A Normalization that was never adapted; the range is judged by the behaviour."""
    found = gathered.of("normalization-unadapted")
    if found:
        title = "The preprocessing in the model does nothing: a Normalization was never adapted"
        yield cause(
            "preprocessing-off",
            best_of(*(f.certainty for f in found)),
            0.85,
            lines(gathered, found),
            found,
            where=where_of(gathered, found),
            title=title,
            next_step=found[0].advice,
            factor=max(seen_factor(gathered, shown, "constant"), UNASKED),
        )


def _filters(gathered: Gathered, shown: Sequence[Symptom]) -> Iterator[Judged]:
    factor = seen_factor(gathered, shown, "constant")
    if not gathered.filters_read:
        for code in ("weights-untouched", "dead-filters"):
            yield unasked(code, "the kernels were not read filter by filter")
        return
    whole = gathered.of("at-initializer")
    untouched = whole or [f for f in gathered.of("untouched-filters") if not _few(f)]
    if untouched:
        yield cause(
            "weights-untouched",
            best_of(*(f.certainty for f in untouched)),
            0.85 if whole else 0.5,
            lines(gathered, untouched),
            untouched,
            where=where_of(gathered, untouched),
            title="" if whole else "Some weights are as their initializer drew them",
            factor=factor,
        )
    else:
        yield _trained(gathered)
    yield from _kind(gathered, "dead-filters", ("dead-filters", "constant-filters"), 0.5, factor, SMALLEST)
    for code, finding in (("symmetric-filters", "symmetric-filters"), ("duplicate-filters", "duplicate-filters")):
        found = gathered.of(finding)
        if found and not (code == "symmetric-filters" and gathered.symptom == "flip"):
            sure = best_of(*(f.certainty for f in found))
            yield cause(code, sure, 0.05, lines(gathered, found), found, where=where_of(gathered, found))


def _few(finding: Finding) -> bool:
    """Single filters that never moved among many that did: units that were dead from the start, in any training."""
    untouched, every = int(finding.evidence.get("untouched") or 0), int(finding.evidence.get("of") or 0)
    return 0 < untouched < FEW * every


def _trained(gathered: Gathered) -> Judged:
    """No kernel is as drawn as a whole; what is in part is said with its numbers."""
    looked, every = gathered.kernels
    part = lines(gathered, gathered.of("at-initializer", "untouched-filters", least="info"), 3)
    told = f"no kernel as a whole; {'; '.join(part)}" if part else "no values on the grid of an initializer's draws"
    partly = gathered.partly
    if not partly and looked < every:
        partly = f"only {looked} of {every} kernels could be looked at"
    if partly:
        return unasked("weights-untouched", f"{partly}; of those that could be: {told}")
    return out("weights-untouched", told)


def _training(gathered: Gathered) -> Iterator[Judged]:
    verdict = str((gathered.relation or {}).get("verdict", ""))
    if verdict in ("independent", "different-architecture"):
        reason = str((gathered.relation or {}).get("evidence", {}).get("reason", ""))
        yield cause(
            "other-training",
            _sure(gathered.relation),
            0.95,
            [f"against {gathered.against}: {verdict}", *([reason] if reason else [])],
        )
    elif verdict:
        yield out("other-training", f"{gathered.against} and these weights have a common past ({verdict})")
    elif gathered.strangers:
        told = [f"{path} of the same run shares nothing with it" for path, _ in gathered.strangers]
        sure: Certainty = "likely" if len(told) > 1 and not gathered.kin else "possible"
        yield cause("other-training", sure, 0.7, told, factor=UNASKED)
    elif gathered.kin:
        yield out("other-training", f"it shares its past with {gathered.kin[0]} of the same run")
    else:
        yield unasked("other-training", "there is no other save of its training beside it", "--against SAVE")


def _configuration(gathered: Gathered) -> Iterator[Judged]:
    """Settings of layers that differ from the other save's; of layers that prepare the input apart from the rest."""
    found = gathered.of("config-changed", least="info")
    shifted = gathered.of("config-changed")
    preparing = [f for f in found if _prepares(f)]
    others = [f for f in shifted if f not in preparing]
    sides = f"A is {gathered.against}, B the save asked about"
    # of another model altogether other settings are expected
    alien = (gathered.relation or {}).get("verdict") in ("independent", "different-architecture")
    factor = 0.5 if alien else 1.0
    if preparing:
        yield cause(
            "preprocessing-skew",
            best_of(*(f.certainty for f in preparing)),
            0.9,
            [*_titles(preparing), sides],
            preparing,
            factor=factor,
        )
    elif gathered.relation is not None:
        yield out("preprocessing-skew", f"{gathered.against} prepares its input alike, as far as layers tell")
    elif not (gathered.report is not None and any(i.expected is not None for i in gathered.report.images)):
        reason = "the model or the recorded answers of the other side would tell"
        yield unasked("preprocessing-skew", reason, "--against MODEL, or --expect FILE")
    if others:
        yield cause(
            "configuration-changed",
            best_of(*(f.certainty for f in others)),
            0.85,
            [*_titles(others), sides],
            others,
            factor=factor,
        )
    elif gathered.relation is not None and gathered.architecture:
        yield out("configuration-changed", f"the layers of {gathered.against} are configured alike")
    else:
        yield unasked("configuration-changed", "the model it was trained as would tell", "--against MODEL")


def _titles(findings: Sequence[Finding]) -> list[str]:
    told = [f.title for f in findings]
    return told if len(told) <= MOST_TITLES else [*told[:MOST_TITLES], f"and {len(told) - MOST_TITLES} more"]


def _prepares(finding: Finding) -> bool:
    named = [str(finding.evidence.get("class", ""))]
    return any(word in PREPARING or word.startswith("Random") for word in named)
