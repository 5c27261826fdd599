"""Why a stored checksum and its bytes disagree: what one look at the bytes of one tensor tells. Pure.

Several causes leave the same wrong checksum. They are told apart in this order: one flipped bit, zeros where data
should be (or a hole, which the file system never had data for), anything else. What only all bad tensors of a save
tell together is in `saves_apart`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ckptui.core.catalogue import make
from ckptui.core.model import Finding, Segment
from ckptui.core.sayings import says

UNLIKELY = 0.05
"""A flipped bit that other damage shows by chance less often than this is taken for the cause."""
_SHARD = re.compile(r"(.*)\.data-([0-9]{5,})-of-[0-9]{5,}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Mismatched:
    """One wrong checksum and what the bytes under it look like."""

    segment: Segment
    expected: int | None
    """Unmasked; None where a damaged length hides where it stands."""
    found: int | None
    part: str = ""
    reason: str = ""
    flips: tuple[Mapping[str, Any], ...] = ()
    """Every bit that would explain it, as evidence; see `engine.flips`."""
    zeros: Segment | None = None
    """The longest run of zeros that looks lost."""
    holes: tuple[Segment, ...] = ()
    """Stretches the file system has no data for."""
    zero_sectors: bool = False
    """Every byte of the sectors this lies in is zero."""


def mismatch_finding(artifact: str, tensor: str, wrong: Mismatched) -> Finding:
    """`zero-filled` or `checksum-mismatch`, with the evidence for its cause."""
    segment = wrong.segment
    evidence: dict[str, Any] = {
        "expected": wrong.expected,
        "found": wrong.found,
        "file": segment.file,
        "offset": segment.offset,
        "bytes": segment.bytes,
    }
    if saying := _saying(tensor, wrong):
        evidence["tensorflow_says"] = saying
    if wrong.part:
        evidence["part"] = wrong.part
    if wrong.part.startswith("tile "):
        # TensorFlow 2.21 reads tiles behind a check that ends the process
        evidence["tensorflow_aborts"] = True
    part = f" ({wrong.part})" if wrong.part else ""
    where = f"{segment.bytes} bytes from {segment.offset} of {segment.file}"
    if wrong.found is None:
        detail = f"{wrong.reason or 'its lengths can not be right'}{part}: {where}"
    else:
        detail = f"stored checksum {wrong.expected}, the bytes give {wrong.found}{part}: {where}"
    if wrong.zeros is not None and not _explained_by_flip(wrong):
        return _zero_filled(artifact, tensor, wrong, wrong.zeros, evidence, detail)
    return _flipped(artifact, tensor, wrong, evidence, detail)


def _explained_by_flip(wrong: Mismatched) -> bool:
    """One bit explains it, and that is neither chance nor a whole sector of zeros."""
    return len(wrong.flips) == 1 and wrong.flips[0]["coincidence"] < UNLIKELY and not wrong.zero_sectors


def _flipped(artifact: str, tensor: str, wrong: Mismatched, evidence: dict[str, Any], detail: str) -> Finding:
    """`checksum-mismatch`, and the flipped bit where there is one."""
    title = advice = None
    if len(wrong.flips) == 1:
        flip = dict(wrong.flips[0])
        evidence["flipped_bit"] = flip
        detail += f"; {_flip_words(flip, wrong.segment.file)}"
        if _explained_by_flip(wrong):
            title = "One bit of it is flipped"
            advice = "Restore this tensor from another save, or let `ckptui salvage --repair-bits` flip the bit back."
            if wrong.part.startswith("block "):
                # a V1 checkpoint: the bit may lie in a neighbour, and salvage turns none back
                title = "One bit of the block it lies in is flipped"
                advice = "Restore the tensors of this block from another save; the others are not affected."
    elif wrong.flips:
        evidence["flipped_bit_candidates"] = [dict(flip) for flip in wrong.flips]
        detail += f"; one flipped bit would explain it, in any of {len(wrong.flips)} places"
    return make("checksum-mismatch", artifact, tensor, detail=detail, evidence=evidence, title=title, advice=advice)


def _flip_words(flip: Mapping[str, Any], file: str) -> str:
    sure = flip["coincidence"] < UNLIKELY
    words = (
        f"bit {flip['bit']} of byte {flip['offset']} of {file} {'is' if sure else 'may be'} flipped"
        f" ({flip['byte_found']:#04x}, was {flip['byte_repaired']:#04x}"
    )
    words += f"; other damage looks so in one case of {max(1, round(1 / max(flip['coincidence'], 1e-12)))})"
    if flip.get("part"):
        words += f", in its {flip['part']}"
    if flip.get("element") is not None:
        words += f": element {flip['element']} is {flip['value_found']}, was {flip['value_repaired']}"
    return words


def _zero_filled(
    artifact: str, tensor: str, wrong: Mismatched, zeros: Segment, evidence: dict[str, Any], detail: str
) -> Finding:
    evidence["zero_run"] = {"offset": zeros.offset, "bytes": zeros.bytes}
    detail += f"; {zeros.bytes} of them, from {zeros.offset} on, are zero"
    holes = [hole for hole in wrong.holes if _overlap(hole, zeros)]
    if holes:
        evidence |= {"sparse": True, "holes": [{"offset": hole.offset, "bytes": hole.bytes} for hole in holes]}
        detail += "; the file system has no data there: they were never written, or lost"
    whole = zeros.bytes == wrong.segment.bytes
    sure = whole or bool(holes)
    return make(
        "zero-filled", artifact, tensor, detail=detail, evidence=evidence, certainty="confirmed" if sure else "likely"
    )


def _overlap(a: Segment, b: Segment) -> bool:
    return a.offset < b.offset + b.bytes and b.offset < a.offset + a.bytes


def _saying(tensor: str, wrong: Mismatched) -> str:
    """What TensorFlow prints for a tensor of a checkpoint; of lengths out of range its numbers vary."""
    if wrong.part.startswith("block "):
        return says("v1-tensor", tensor=tensor)
    shard = _SHARD.fullmatch(wrong.segment.file)
    if shard is None:
        return ""
    known: dict[str, object] = {}
    if wrong.expected is not None and wrong.found is not None:
        # printf's %08u
        known = {"stored": f"{wrong.expected:08d}", "calculated": wrong.found}
    if wrong.part == "lengths":
        return says("length-checksum", **{**known, "stored": wrong.expected} if known else {})
    return says("checksum", prefix=shard[1], shard=int(shard[2]), bytes=wrong.segment.bytes, **known)
