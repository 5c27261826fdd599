"""What becomes of each tensor of a damaged save: recovered, repairable, unverified or lost, and what that rests on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ckptui.core.dtypes import ITEMSIZE, is_complex, is_float
from ckptui.core.model import Finding, Tensor, TensorScan
from ckptui.core.salvage import Outcome, Repair, SalvageItem

PLAUSIBLE_SHARE = 0.9
"""Of the values of a tensor that no checksum vouches for, this share must look like weights."""
_WITHOUT_NAN = frozenset({"float4_e2m1fn"})

_UNNAMED = re.compile(r"(?:^|/)unnamed@[0-9]+(?:/|$)")
"""What a dataset is called that was found by its header, where no link says its name."""

Proof = Mapping[str, Any]
"""See `engine.stored.prove`."""


def item_of(tensor: Tensor, outcome: Outcome, reason: str = "", **evidence: Any) -> SalvageItem:
    """A tensor and what becomes of it."""
    source = None if outcome == "lost" else tensor
    return SalvageItem(tensor.name, tensor.dtype, tensor.shape, tensor.bytes, outcome, reason, evidence, source)


def gone(name: str) -> SalvageItem:
    """A tensor that the object graph knows and the index has no entry for any more."""
    reason = "its entry in the index is gone; only the object graph knows its name"
    return SalvageItem(name, "", (), 0, "lost", reason)


def needs_proof(tensor: Tensor, scan: TensorScan) -> bool:
    """Whether its parts are to be looked at one by one: a wrong checksum, or tiles of which some may be whole."""
    return scan.checksum == "mismatch" or (scan.checksum == "unread" and tensor.storage.encoding == "slices")


def misfit(tensor: Tensor) -> str:
    """Why an entry can't describe its bytes, whatever their checksum says; empty where it can."""
    itemsize = ITEMSIZE.get(tensor.dtype)
    if itemsize is None:
        return "" if tensor.dtype in ("string", "variant") else f"values of dtype {tensor.dtype} can't be written"
    if min(tensor.shape, default=0) < 0:
        return "its shape has a negative dimension"
    if tensor.storage.encoding == "plain" and tensor.bytes != tensor.count * itemsize:
        return f"{tensor.bytes} bytes stored, shape and dtype need {tensor.count * itemsize}"
    return ""


def judge_bundle(tensor: Tensor, scan: TensorScan, proof: Proof | None, *, repair: bool) -> SalvageItem:
    """A tensor whose entry, in whatever state the index is, gives a checksum of its own.

    `proof` where `needs_proof` asks for one; `repair`: flipped bits are to be turned back.
    """
    wrong = misfit(tensor)
    if wrong:
        return item_of(tensor, "lost", wrong)
    if scan.checksum == "ok":
        return item_of(tensor, "recovered", vouched="crc32c")
    if scan.checksum == "none":
        if not tensor.count and not tensor.bytes:
            return item_of(tensor, "recovered", vouched="it has no values")
        return item_of(tensor, "unverified", "its entry has no checksum", vouched=False)
    if proof is not None:
        if tensor.storage.encoding == "slices":
            return _tiled(tensor, proof["parts"], scan.findings, repair=repair)
        if proof["parts"]:
            return _one_piece(tensor, proof["parts"][0], scan.findings, repair=repair)
    return item_of(tensor, "lost", tensor.problem or _said(scan.findings) or "its bytes can't be read")


def _said(findings: Sequence[Finding]) -> str:
    """What the worst finding about a tensor says, in its own words."""
    errors = [f for f in findings if f.severity == "error"]
    return errors[0].detail or errors[0].title if errors else ""


def _why(findings: Sequence[Finding], part: Mapping[str, Any]) -> str:
    codes = {f.code: f for f in findings}
    for code, words in (("zero-filled", "zeros where its data should be"), ("checksum-mismatch", "")):
        if code in codes and words:
            return words
    return part["reason"] or f"stored checksum {part['expected']}, its bytes give {part['found']}"


def _zeros(findings: Sequence[Finding]) -> bool:
    return any(f.code == "zero-filled" for f in findings)


def _one_piece(tensor: Tensor, part: Mapping[str, Any], findings: Sequence[Finding], *, repair: bool) -> SalvageItem:
    sums = {"expected": part["expected"], "found": part["found"]}
    if part["found"] is not None and part["found"] == part["expected"]:
        return item_of(tensor, "recovered", vouched="crc32c")
    if any(f.code == "index-data-mismatch" for f in findings):
        return item_of(tensor, "lost", "its bytes are those of another save", **sums)
    if part["flip"] is None or _zeros(findings):
        return item_of(tensor, "lost", _why(findings, part), **sums)
    return _mended(tensor, [part], sums, repair=repair)


def _mended(
    tensor: Tensor, parts: Sequence[Mapping[str, Any]], evidence: Mapping[str, Any], *, repair: bool
) -> SalvageItem:
    """A tensor with one flipped bit in each of `parts`."""
    flips = [dict(part["flip"]) for part in parts]
    chance = min(1.0, sum(flip["coincidence"] for flip in flips))
    first = flips[0]
    where = f"bit {first['bit']} of byte {first['offset']} of {first['file']}"
    reason = f"one flipped bit explains its checksum: {where}; by coincidence with probability {chance:.2g}"
    facts = {**evidence, "flip": first if len(flips) == 1 else flips, "coincidence": chance}
    made = item_of(tensor, "repaired" if repair else "repairable", reason, **facts)
    repairs = tuple(Repair(part["part"], part["flip"]["byte"], part["flip"]["bit"]) for part in parts)
    return replace(made, repairs=repairs)


def _tiled(
    tensor: Tensor, parts: Sequence[Mapping[str, Any]], findings: Sequence[Finding], *, repair: bool
) -> SalvageItem:
    """A partitioned tensor: whole, mended, or with NaN where tiles are lost.

    A dtype without NaN has nothing to mark a hole with, so such a tensor is lost with its first tile.
    """
    whole = {p["part"] for p in parts if p["found"] is not None and p["found"] == p["expected"]}
    flipped = [p for p in parts if p["part"] not in whole and p["flip"] is not None]
    bad = [p for p in parts if p["part"] not in whole and p["flip"] is None]
    slices = tensor.storage.slices
    sizes = [_count(tile.shape) for tile in slices]
    if sum(sizes) != tensor.count:
        return item_of(tensor, "lost", tensor.problem or "its tiles do not cover it", tiles=len(slices))
    holes = {p["part"] for p in bad} | (set() if repair else {p["part"] for p in flipped})
    covered = 1 - sum(sizes[number] for number in holes) / max(1, tensor.count)
    facts: dict[str, Any] = {"tiles": len(slices), "tiles_whole": len(slices) - len(holes), "covered": covered}
    if not bad and not flipped:
        return item_of(tensor, "recovered", vouched="crc32c", **facts)
    if not bad:
        return _mended(tensor, flipped, {"tiles": len(slices)}, repair=repair)
    first = bad[0]
    why = first["reason"] or f"stored checksum {first['expected']}, the bytes of a tile give {first['found']}"
    if not holes < set(range(len(slices))):
        return item_of(tensor, "lost", f"none of its {len(slices)} tiles is whole: {why}", **facts)
    if not (is_float(tensor.dtype) or is_complex(tensor.dtype)) or tensor.dtype in _WITHOUT_NAN:
        reason = f"{len(holes)} of its {len(slices)} tiles are lost, and {tensor.dtype} has no NaN to mark them: {why}"
        return item_of(tensor, "lost", reason, **facts)
    reason = f"{len(holes)} of its {len(slices)} tiles are lost; {1 - covered:.1%} of its values are NaN: {why}"
    mended = [p for p in flipped if p["part"] not in holes]
    made = item_of(tensor, "unverified", reason, **facts, lost_tiles=sorted(holes))
    repairs = tuple(Repair(p["part"], p["flip"]["byte"], p["flip"]["bit"]) for p in mended)
    return replace(made, holes=tuple(sorted(holes)), repairs=repairs)


def _count(shape: Sequence[int]) -> int:
    total = 1
    for extent in shape:
        total *= extent
    return total


def judge_unchecked(tensor: Tensor, scan: TensorScan, vouched: str | bool) -> SalvageItem:
    """A tensor of a format that has no checksum for each tensor: what reads to its end is recovered.

    `vouched` names what stands behind the bytes (the checksum of an archive's member), False where nothing does.
    """
    if scan.checksum == "unread" or tensor.problem:
        return item_of(tensor, "lost", tensor.problem or _said(scan.findings) or "it can't be read")
    if scan.checksum == "mismatch":
        return item_of(tensor, "lost", _said(scan.findings) or "its checksum does not hold")
    if tensor.dtype not in ITEMSIZE and tensor.dtype != "string":
        return item_of(tensor, "lost", f"values of dtype {tensor.dtype} can't be written")
    if _UNNAMED.search(tensor.name):
        return item_of(tensor, "unverified", "its values read, but the name of its group is lost", vouched=vouched)
    return item_of(tensor, "recovered", vouched="crc32c" if scan.checksum == "ok" else vouched)


def judge_layout(tensor: Tensor, proof: Proof, layout: str, *, graph: str = "") -> SalvageItem:
    """A tensor whose place is that of a sibling's: the parts' `expected` are the sibling's checksums.

    `graph`: what vouches for it as an object graph, where it is one that parses.
    """
    wrong = tensor.problem or misfit(tensor)
    parts = proof["parts"]
    reasons = [part["reason"] for part in parts if part["reason"]]
    if wrong or reasons:
        return item_of(tensor, "lost", wrong or reasons[0])
    if parts and all(part["expected"] is not None and part["expected"] == part["found"] for part in parts):
        return item_of(tensor, "recovered", vouched=f"the same bytes as in {layout}")
    if not parts and not tensor.count:
        return item_of(tensor, "recovered", vouched="it has no values")
    if graph:
        return item_of(tensor, "recovered", vouched=graph)
    if tensor.dtype == "string":
        return item_of(tensor, "unverified", "only its lengths have a checksum of their own", vouched="length checksum")
    if tensor.dtype == "variant" and parts and parts[0]["found"] is not None:
        return item_of(tensor, "recovered", vouched="the checksums of its elements")
    reason = f"its place is taken from {layout}; no checksum vouches for its values"
    share = proof["plausible"]
    facts: dict[str, Any] = {"vouched": False, "plausible": share}
    if share is not None and share < PLAUSIBLE_SHARE:
        reason += f"; only {share:.0%} of them look like weights"
        facts["warning"] = "implausible values: the layout may not be this save's"
    return item_of(tensor, "unverified", reason, **facts)


def doubted(item: SalvageItem, reason: str) -> SalvageItem:
    """A recovered tensor of which something else is in doubt: its name, or which of two entries is meant."""
    if item.outcome != "recovered":
        return item
    return replace(item, outcome="unverified", reason=reason)
