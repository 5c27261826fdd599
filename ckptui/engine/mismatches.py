"""A second look at the bytes under a wrong checksum: flipped bits, zeros, holes. Runs in a reader child."""

from __future__ import annotations

import contextlib
from typing import Any

from ckptui.core.model import Segment, Tensor
from ckptui.engine.checked import Beat, Files, Mismatch
from ckptui.engine.flips import Flipped, flipped_bits
from ckptui.engine.zeros import zero_run
from ckptui.errors import CkptuiError
from ckptui.readers.source import Source
from ckptui.readers.zeros import SECTOR
from ckptui.triage.causes import UNLIKELY, Mismatched

MANY_HOLES = 64
"""Holes of one tensor that are told."""


def looked_at(files: Files, tensor: Tensor, wrong: Mismatch, beat: Beat) -> Mismatched:
    """What the bytes under a mismatch look like. Never raises for what can't be read any more: it is left out."""
    segment = wrong.segment
    facts: dict[str, Any] = {}
    with contextlib.suppress(CkptuiError):
        source = files.get(segment.file)
        flips = _flips(source, tensor, wrong)
        holes = _holes(source, segment)
        facts = {"flips": tuple(flip.to_json() for flip in flips), "holes": tuple(holes)}
        all_zero = _all_zero(source, segment, holes)
        if all_zero:
            facts["zeros"] = segment
            facts["zero_sectors"] = not flips or _zero_sectors(source, segment)
        elif len(flips) != 1 or flips[0].coincidence >= UNLIKELY:
            facts["zeros"] = zero_run(source, segment, beat)
    return Mismatched(segment, wrong.expected, wrong.found, wrong.part, wrong.reason, **facts)


def _flips(source: Source, tensor: Tensor, wrong: Mismatch) -> list[Flipped]:
    from ckptui.engine.scan import stored_dtype

    # a block of a V1 table holds whole records, not elements side by side
    dtype = None if tensor.storage.encoding == "v1" else stored_dtype(tensor)
    return flipped_bits(source, tensor, wrong, dtype)


def _holes(source: Source, segment: Segment) -> list[Segment]:
    found = []
    for offset, count in source.holes(segment.offset, segment.bytes):
        found.append(Segment(segment.file, offset, count))
        if len(found) >= MANY_HOLES:
            break
    return found


def _all_zero(source: Source, segment: Segment, holes: list[Segment]) -> bool:
    """One hole over all, or a few bytes that are all zero."""
    if any(hole.bytes == segment.bytes for hole in holes):
        return segment.bytes > 0
    return 0 < segment.bytes <= SECTOR and not any(source.pread(segment.offset, segment.bytes))


def _zero_sectors(source: Source, segment: Segment) -> bool:
    """Are the sectors that a segment touches zero from end to end? A bit alone does not do that to its neighbours."""
    if segment.bytes > SECTOR:
        return True
    start = segment.offset // SECTOR * SECTOR
    end = min(-(-(segment.offset + segment.bytes) // SECTOR) * SECTOR, source.size)
    return not any(source.pread(start, end - start))
