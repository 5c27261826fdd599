"""What is said of a value no training makes, and of a single NaN that one flipped bit explains."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ckptui.core import dtypes
from ckptui.core.catalogue import make
from ckptui.core.implausible import Implausible, Restored, far_below, judge, odd_value
from ckptui.core.model import Certainty, Finding, Stats, Tensor
from ckptui.core.names import clean
from ckptui.core.peaks import Peaks
from ckptui.core.text import number_text

_LESS_SURE: dict[Certainty, Certainty] = {"confirmed": "likely", "likely": "possible", "possible": "possible"}
_OF_COLUMNS = ("mean", "variance")
"""What a Normalization layer calls its numbers: those of raw data, each column with a scale of its own."""
_COMPARE = (
    "One flipped bit shows like this: compare with another copy of the file (`ckptui diff`), or take an earlier save. "
    "Without a checksum `ckptui salvage` turns no bit back."
)
_PLANTED = "Compare with another copy of the file (`ckptui diff`) or with an earlier save."
_IN_MEMORY = "It was saved so: take an earlier save, and let the memory of the machine that wrote it be tested."
_UNCHECKED = "Let `ckptui check` compare its checksum: that tells damage from what was saved so."


def implausible_findings(path: str, tensor: Tensor, stats: Stats, peaks: Peaks, *, vouched: bool) -> list[Finding]:
    """`implausible-values` for the one finite value that stands out, if there is one.

    `vouched`: the tensor's stored checksum was compared, and holds.
    """
    odd = judge(peaks, tensor.dtype, stats.finite or 0, _role(tensor))
    if odd is None:
        return []
    evidence: dict[str, Any] = {
        "index": unravelled(odd.at, tensor.shape),
        "flat_index": odd.at,
        "value": odd.value,
        "second": odd.second,
        "ratio": odd.ratio,
        "count": stats.count,
        "flipped_bit": None if odd.flip is None else flip_evidence(tensor, odd.at, peaks.bits or 0, odd.flip),
    }
    if tensor.storage.segment is not None:
        evidence["file"] = tensor.storage.segment.file
    detail = f"{number_text(odd.value)} at {evidence['index']}, {_beside(odd)}"
    believed = odd.flip is not None and not far_below(odd.flip, odd.second or 0.0)
    if odd.flip is None:
        detail += "; no single flipped bit explains it: it may have been written so"
    else:
        detail += f"; {_turned_back(evidence['flipped_bit'])}"
        if not believed:
            detail += ", far below the others: it may have been written so"
    certainty = odd.certainty
    if vouched:
        certainty = _LESS_SURE[certainty]
        detail += "; its checksum holds, so the file is as it was written: the value was wrong in memory before"
        evidence["checksum_holds"] = True
    if odd.modest:
        detail += "; " + ("it is too small to matter" if not odd.ratio else "statistics of raw data may look so too")
    advice = _IN_MEMORY if vouched else _UNCHECKED if _has_checksum(tensor) else _PLANTED
    if believed and not vouched and not _has_checksum(tensor):
        advice = _COMPARE
    return [
        make(
            "implausible-values",
            path,
            tensor.name,
            detail=detail,
            evidence=evidence,
            certainty=certainty,
            severity="warning" if odd.modest else None,
            title=_title(odd, evidence, believed),
            advice=advice,
        )
    ]


@dataclass(frozen=True, slots=True)
class OneOdd:
    """What is to be said besides of the only value of a tensor that is not finite."""

    evidence: Mapping[str, Any] = field(default_factory=dict)
    words: str = ""
    """To follow the count."""
    title: str | None = None
    advice: str | None = None


def one_odd(tensor: Tensor, stats: Stats, peaks: Peaks | None) -> OneOdd:
    """Its place, and the flipped bit that explains it, if one does; nothing where several are not finite.

    Where the format stores a checksum, that one says whether a bit is flipped.
    """
    bad = (stats.nan or 0) + (stats.posinf or 0) + (stats.neginf or 0)
    if bad != 1 or peaks is None or peaks.odd_at is None or peaks.odd_bits is None:
        return OneOdd()
    index = unravelled(peaks.odd_at, tensor.shape)
    evidence: dict[str, Any] = {"index": index, "flat_index": peaks.odd_at}
    flip = odd_value(peaks, tensor.dtype, stats.finite or 0, _role(tensor))
    if flip is None or _has_checksum(tensor):
        return OneOdd(evidence, f", at {index}")
    evidence["flipped_bit"] = turned = flip_evidence(tensor, peaks.odd_at, peaks.odd_bits, flip)
    value = math.nan if stats.nan else math.inf if stats.posinf else -math.inf
    title = f"A value that is no number: {_in_short(value, evidence)}"
    return OneOdd(evidence, f", at {index}; {_turned_back(turned)}", title, _COMPARE)


def unravelled(flat: int, shape: tuple[int, ...]) -> list[int]:
    """The index along each axis of a flat C-order index; empty for a scalar."""
    index = []
    for extent in reversed(shape):
        flat, place = divmod(flat, max(extent, 1))
        index.append(place)
    return index[::-1]


def flip_evidence(tensor: Tensor, at: int, bits: int, flip: Restored) -> dict[str, Any]:
    """`bit` (within the value), `value` given back, `others` that would do, and the byte where the file shows it."""
    doc: dict[str, Any] = {"bit": flip.bit, "value": flip.value}
    storage, size = tensor.storage, dtypes.ITEMSIZE[tensor.dtype]
    number = flip.bit // 8
    found = bits >> 8 * number & 0xFF
    doc |= {"bit_of_byte": flip.bit % 8, "byte_found": found, "byte_repaired": found ^ 1 << flip.bit % 8}
    segment = storage.segment
    if storage.encoding == "plain" and segment is not None and segment.bytes == tensor.count * size:
        big = storage.big_endian or storage.npy_dtype.startswith(">")
        doc["offset"] = segment.offset + at * size + (size - 1 - number if big else number)
        doc["file"] = segment.file
    doc["others"] = [{"bit": bit, "value": value} for bit, value in flip.others]
    return doc


def _in_short(value: float, evidence: Mapping[str, Any]) -> str:
    """What, where and, if one bit explains it, what was there: all that fits one line."""
    flip = evidence.get("flipped_bit")
    words = f"{number_text(value)} at {evidence['index']}"
    return words if flip is None else f"{words}, with bit {flip['bit']} turned back {number_text(flip['value'])}"


def _title(odd: Implausible, evidence: dict[str, Any], believed: bool) -> str:
    """A bit is named only where what it gives back could have stood among the others."""
    place = f"{number_text(odd.value)} at {evidence['index']}"
    if odd.certainty == "possible":
        return f"A value far from all others: {place}"
    if not believed:
        return f"A value no training makes: {place}; it may have been written so"
    return f"A value no training makes: {_in_short(odd.value, evidence)}"


def _beside(odd: Implausible) -> str:
    if odd.ratio is not None:
        return f"{number_text(odd.ratio, 2)} times the next largest magnitude, {number_text(odd.second)}"
    return "the only value" if odd.second is None else "the only one that is not 0"


def _turned_back(flip: dict[str, Any]) -> str:
    words = f"bit {flip['bit']} turned back gives {number_text(flip['value'])}"
    if "offset" in flip:
        words += f" (byte {flip['offset']} of the file: {flip['byte_found']:#04x}, was {flip['byte_repaired']:#04x})"
    if flip["others"]:
        one = len(flip["others"]) == 1
        words += f"; {len(flip['others'])} other bit{'' if one else 's'} would do, less likely"
    return words


def _role(tensor: Tensor) -> str:
    """The tensor's role; what a Normalization layer keeps of raw data counts as counting, any ratio is its own."""
    last = clean(tensor.object_path or tensor.name).rpartition("/")[2]
    return "metric" if tensor.role == "other" and last in _OF_COLUMNS else tensor.role


def _has_checksum(tensor: Tensor) -> bool:
    """Whether a checksum of the tensor's own bytes is stored."""
    storage = tensor.storage
    return storage.crc32c is not None or storage.encoding == "v1" or any(s.crc32c is not None for s in storage.slices)
