"""What all bad tensors of a data file tell together: another save's bytes, a text-mode copy, a wrong file. Pure.

In this order: what a text copy left; tensors that have moved; a pair of index and data in which every checksum holds;
without such a pair the look of the bytes. A flipped bit or lost zeros explain a tensor better than another save does,
unless a pair speaks for it: two saves one step apart may differ in one bit of a counter.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from ckptui.core.catalogue import make
from ckptui.core.model import Finding
from ckptui.core.names import step_of
from ckptui.core.settling import BYTES
from ckptui.core.shard_facts import Partner, ShardFacts
from ckptui.readers import mangled
from ckptui.triage.causes import UNLIKELY

NEARLY_ALL = 0.8
"""Share of wrong checksums from which on a data file looks like another save's."""
LIKE_WEIGHTS = 0.95
"""Share of sane numbers in weights; random bytes have a quarter."""
FEW_OTHERS = 0.5
MOVED = "Copy the file again from where it was written; what has moved is whole, but TensorFlow reads it where it was."

SWAPPED = "Shards of this save bear each other's names: rename them as their bytes say, or copy them again."
WRONG_FILE = (
    "Every tensor of this data file fails its checksum: it is not the file that this index was written for."
    " Fetch the data file of this save, or the index of the save these data belong to."
)


def explained(finding: Finding) -> bool:
    """Do its own bytes say why the checksum is wrong?"""
    if finding.code == "zero-filled":
        return True
    flip = finding.evidence.get("flipped_bit")
    return isinstance(flip, Mapping) and float(flip.get("coincidence", 1.0)) < UNLIKELY


def retold(artifact: str, facts: ShardFacts, findings: Sequence[Finding]) -> tuple[list[Finding], list[Finding]]:
    """The findings about tensors of this file as they are to be told now, and what is to be told about the file.

    `findings`: those with one of the codes in `BYTES`, all of this file.
    """
    if facts.mangling:
        return [_with(finding, text_mangled=True) for finding in findings], [_mangled(artifact, facts, findings)]
    if facts.shift:
        return [_shifted(finding, facts) for finding in findings], _oversized(artifact, facts)
    if facts.swapped:
        more = {"same_as": facts.same_as, "every_checksum_wrong": True}
        words = f"; this file holds the bytes of {facts.same_as}"
        told = [_with(finding, advice=SWAPPED, **more) for finding in findings]
        return [replace(finding, detail=finding.detail + words) for finding in told], []
    partner, certainty = _other_save(facts)
    if partner is not None or certainty:
        counters = {counted.tensor: counted.value for counted in facts.counters}
        return [_mismatch(finding, facts, partner, certainty, counters) for finding in findings], []
    told = list(findings)
    if facts.other_data is not None:
        told = [_with(finding, good_copy=facts.other_data.data) for finding in told]
    elif facts.checksums > 1 and facts.wrong == facts.checksums and facts.unexplained == facts.wrong:
        told = [_with(f, advice=WRONG_FILE, every_checksum_wrong=True) for f in told]
    if facts.same_as:
        told = [_with(finding, same_as=facts.same_as) for finding in told]
    return told, []


def _other_save(facts: ShardFacts) -> tuple[Partner | None, str]:
    """(the pair that proves it or speaks for it, how sure): certainty is empty where it is no mix of two saves."""
    if facts.other_index is not None and facts.other_index.complete:
        return facts.other_index, "confirmed"
    data = facts.other_data
    if data is not None and data.complete and _is_other_save(facts, data):
        return data, "confirmed"
    if data is not None or not facts.may_be_another or not facts.unexplained:
        return None, ""
    index = facts.other_index
    if index is not None and index.of - index.right < FEW_OTHERS * facts.wrong:
        return index, "likely"
    nearly_all = facts.wrong >= NEARLY_ALL * facts.checksums and (facts.plausible or 0.0) >= LIKE_WEIGHTS
    sane = facts.plausible is None or facts.plausible >= LIKE_WEIGHTS
    counted = bool(facts.counters) and facts.scattered and sane
    likely = facts.wrong >= 2 and facts.size == facts.needed and (nearly_all or counted)
    return None, "likely" if likely else ""


def _is_other_save(facts: ShardFacts, data: Partner) -> bool:
    """Are these data another save's, and not a damaged copy of those in which all checksums hold?"""
    if not facts.may_be_another:
        return False
    if not data.same_index:
        return True
    if facts.wrong <= len(facts.counters):
        # one index under two names: copied with the data, unless the names are of different steps
        return None not in (here := _step(facts.file), there := _step(data.data)) and here != there
    # both may be copies of one save, one of them damaged, unless these bytes make sense too
    return (facts.plausible or 0.0) >= LIKE_WEIGHTS


def _step(data: str) -> int | None:
    return step_of(os.path.basename(data).partition(".data-")[0])


def _mismatch(
    finding: Finding, facts: ShardFacts, partner: Partner | None, certainty: str, counters: Mapping[str, int]
) -> Finding:
    evidence: dict[str, Any] = {key: value for key, value in finding.evidence.items() if key not in _OF_ONE}
    evidence["modified"] = {"index": facts.index_modified, "data": facts.modified}
    if finding.tensor is not None and finding.tensor in counters:
        evidence["value_found"] = counters[finding.tensor]
    if facts.counters:
        evidence["counters"] = {counted.tensor: counted.value for counted in facts.counters}
    detail = f"{facts.wrong} of {facts.checksums} checksums of {facts.file} are wrong"
    advice = None
    if partner is not None:
        evidence["matches"] = {"index": partner.index, "data": partner.data, "score": partner.score}
        detail += f"; with {partner.index} over {partner.data} {partner.score} hold"
        other = partner.data if partner.data != facts.file else partner.index
        advice = f"Put together what belongs together: {other} is the other half of {_half(facts, partner)}."
    if facts.same_as:
        evidence["same_as"] = facts.same_as
        detail += f"; the data are those of {facts.same_as}"
    elif partner is None:
        detail += "; the values are sane and no flipped bit, zeros or text copy explain them"
    return make(
        "index-data-mismatch",
        finding.artifact,
        finding.tensor,
        detail=detail,
        evidence=evidence,
        certainty="confirmed" if certainty == "confirmed" else "likely",
        advice=advice,
    )


def _shifted(finding: Finding, facts: ShardFacts) -> Finding:
    """The bytes are not gone, or not all: something was lost or put in before them."""
    if finding.evidence["offset"] < facts.shift_after:
        return finding
    shift = {"bytes": facts.shift, "after": facts.shift_after, "before": facts.shift_before}
    told = _with(finding, shift=shift, advice=MOVED)
    return replace(told, detail=f"{finding.detail}; {_shift_words(facts)}")


def _shift_words(facts: ShardFacts) -> str:
    between = f"between {facts.shift_after} and {facts.shift_before}"
    if facts.shift < 0:
        return f"{-facts.shift} bytes were lost {between}, and what lies behind has moved to the front"
    return f"{facts.shift} bytes were put in {between}, and what lies behind has moved to the end"


def _oversized(artifact: str, facts: ShardFacts) -> list[Finding]:
    """Of a file that is too long: not at its end, where TensorFlow would pass over them."""
    if facts.shift < 0:
        return []
    evidence = {
        "file": facts.file,
        "offset": facts.shift_after,
        "expected": facts.needed,
        "found": facts.size,
        "bytes_extra": facts.shift,
        "shift": {"bytes": facts.shift, "after": facts.shift_after, "before": facts.shift_before},
    }
    detail = f"{facts.file} has {facts.size} bytes, the index needs {facts.needed}: {_shift_words(facts)}"
    title = "Bytes were put into the middle of a data shard"
    return [make("shard-oversized", artifact, detail=detail, evidence=evidence, title=title, advice=MOVED)]


_OF_ONE = frozenset({"flipped_bit", "flipped_bit_candidates", "zero_run", "holes", "sparse"})
"""Evidence for another cause."""


def _half(facts: ShardFacts, partner: Partner) -> str:
    return facts.file if partner.data == facts.file else partner.index


def _mangled(artifact: str, facts: ShardFacts, findings: Iterable[Finding]) -> Finding:
    # facts crossed a pipe as plain text, the kind of a copy too
    words = mangled.WORDS[cast(mangled.Mangling, facts.mangling)]
    evidence: dict[str, Any] = {
        "file": facts.file,
        "looks_like": "checkpoint data after a text-mode copy",
        "text_mangled": True,
        "mangling": facts.mangling,
        "reversible": facts.reversible,
        "expected": facts.needed,
        "found": facts.size,
        "proved": facts.proved,
        "of": facts.checksums,
    }
    saying = next((f.evidence["tensorflow_says"] for f in findings if "tensorflow_says" in f.evidence), None)
    if saying is not None:
        evidence["tensorflow_says"] = saying
    detail = f"{facts.file} is a copy with {words}: {facts.size} bytes, the index needs {facts.needed}"
    if facts.reversible:
        detail += "; nothing is lost, the copy can be taken back"
    if facts.proved:
        detail += f", after which {facts.proved} of its {facts.checksums} checksums hold"
    return make(
        "not-a-model",
        artifact,
        detail=detail,
        evidence=evidence,
        title="A copy took the data for text",
        advice="Copy the file again in binary mode (rsync, scp; `binary` in FTP).",
    )


def _with(finding: Finding, *, advice: str | None = None, **more: Any) -> Finding:
    return replace(finding, evidence={**finding.evidence, **more}, advice=advice or finding.advice)


__all__ = ["BYTES", "explained", "retold"]
