"""What the one checksum over all weights of an archive leaves of them when it does not hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ckptui.core.model import Finding
from ckptui.core.salvage import Repair, SalvageItem
from ckptui.triage.salvage import doubted

WEIGHTS = ("model.weights.h5", "model.weights.npz")


def judge_archive(items: Sequence[SalvageItem], findings: Sequence[Finding], *, repair: bool) -> list[SalvageItem]:
    """The tensors of an archive after its members were held against their CRC-32.

    A single flipped bit that explains the checksum makes the tensor it lies in repairable and clears the others. One
    that lies in no tensor's values may have changed where a tensor is looked for, so that nothing vouches for any;
    lost sectors cost their tensors. `repair`: flipped bits are to be turned back.
    """
    wrong = next((f for f in findings if _is_mismatch(f)), None)
    if wrong is None:
        return list(items)
    flip = wrong.evidence.get("flipped_bit")
    if isinstance(flip, dict) and wrong.tensor is not None:
        chance = float(flip["coincidence"])
        vouched = f"the archive's CRC-32 but for one flipped bit; by coincidence with probability {chance:.2g}"
        return [
            _flipped(item, wrong, flip, repair) if item.name == wrong.tensor else _vouched(item, vouched)
            for item in items
        ]
    zeroed = set(wrong.evidence.get("tensors", {}).get("names", ())) if wrong.code == "zero-filled" else set[str]()
    reason = f"the CRC-32 of {wrong.evidence['member']} does not agree, and nothing says what that did to it"
    return [_lost(item) if item.name in zeroed else doubted(item, reason) for item in items]


def _is_mismatch(finding: Finding) -> bool:
    """Whether it says that all bytes of the weights are there and not those that were written."""
    facts = finding.evidence
    sums = isinstance(facts.get("expected"), str) and isinstance(facts.get("found"), str)
    return finding.code in ("zip-damaged", "zero-filled") and facts.get("member") in WEIGHTS and sums


def _vouched(item: SalvageItem, what: str) -> SalvageItem:
    return replace(item, evidence={**item.evidence, "vouched": what}) if item.outcome == "recovered" else item


def _lost(item: SalvageItem) -> SalvageItem:
    if item.outcome != "recovered":
        return item
    return replace(item, outcome="lost", reason="zeros where its data should be", source=None)


def _flipped(item: SalvageItem, finding: Finding, flip: dict[str, Any], repair: bool) -> SalvageItem:
    """The tensor that the bit lies in."""
    storage = None if item.source is None else item.source.storage
    segment = None if storage is None else storage.segment
    if item.outcome != "recovered" or storage is None or segment is None:
        return item
    if storage.encoding != "plain" or storage.npy_dtype:
        return doubted(item, "one of its bits is flipped")
    byte, bit = int(flip["file_offset"]) - segment.offset, int(flip["bit"])
    chance = float(flip["coincidence"])
    reason = (
        f"one flipped bit explains the archive's checksum: bit {bit} of byte {flip['file_offset']} of {segment.file}; "
        f"by coincidence with probability {chance:.2g}"
    )
    facts = {
        "expected": finding.evidence["expected"],
        "found": finding.evidence["found"],
        "flip": {"file": segment.file, "offset": flip["file_offset"], "byte": byte, "bit": bit, "coincidence": chance},
        "coincidence": chance,
    }
    return replace(
        item,
        outcome="repaired" if repair else "repairable",
        reason=reason,
        evidence=facts,
        repairs=(Repair(-1, byte, bit),),
    )
