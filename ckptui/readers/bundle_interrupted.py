"""What is said of a save that did not finish, and which of two indexes describes the data that is there."""

from __future__ import annotations

import time
from typing import Any

from crc32c import crc32c

from ckptui.core.catalogue import make
from ckptui.core.dtypes import dtype_name
from ckptui.core.model import Finding
from ckptui.core.sayings import says
from ckptui.errors import CkptuiError
from ckptui.readers.bundle_entry import Entry, decode_entry, decode_header
from ckptui.readers.bundle_leftovers import Leftovers
from ckptui.readers.bundle_rescue import STAGES, Rescue, Stage, same_entries, stage_of
from ckptui.readers.bundle_shards import Shards
from ckptui.readers.source import Source
from ckptui.readers.sstable import Table
from ckptui.readers.sstable_block import unmask

RUNNING = 120
"""Seconds since its last change in which a half-written save may just be in progress."""
COMPARED = 16
SMALL = 1 << 16
"""Bytes of the largest tensor read to learn whose data it is."""


def interrupted(
    prefix: str, left: Leftovers, stage: Stage, spare: Rescue | None, *, over_earlier: bool = False
) -> Finding:
    """`interrupted-save`: how far it came, what it left, and what is read from that.

    `over_earlier`: a whole save has the same prefix, which the interrupted one was to replace.
    """
    words = STAGES[stage]
    detail = f"the save was {'done' if stage == 'parts-left' else 'stopped'}: {words}"
    evidence: dict[str, Any] = {"kind": "save", "stage": stage, "files": left.files[:16], "file_count": len(left.files)}
    if left.parts:
        inside = sum(bool(part.data or part.temporary_data) for part in left.parts)
        indexed = sum(bool(part.index) for part in left.parts)
        evidence |= {"parts": len(left.parts), "of": left.of, "data_in_parts": inside, "indexed": indexed}
    if spare is not None:
        detail += f"; listed from {spare.path}"
        evidence |= {"rescue": spare.path, "entries_read": len(spare.table.keys), "index_files": spare.files[:16]}
    if over_earlier:
        detail += "; the save it was to replace is whole"
        evidence["over_earlier"] = True
    if 0 <= time.time() - left.newest < RUNNING and stage != "parts-left":
        seconds = round(time.time() - left.newest)
        detail += f"; its files changed {seconds} s ago, so it may be running right now"
        evidence |= {"running": True, "seconds_ago": seconds}
    advice = None
    if spare is not None and spare.table.complete:
        advice = "Nothing is lost as far as its files tell: check its checksums, then salvage it to a complete save."
    return make("interrupted-save", prefix, detail=detail, evidence=evidence, advice=advice)


def beside_whole(
    prefix: str, table: Table, left: Leftovers, spare: Rescue | None
) -> tuple[Rescue | None, list[Finding]]:
    """Leftovers beside a whole index: of the same save, of a later one, or of one that replaced the data already."""
    stage = stage_of(left, True)
    if spare is None or not spare.table.complete:
        return None, [interrupted(prefix, left, stage, None, over_earlier=True)]
    if same_entries(table, spare.table):
        return None, [interrupted(prefix, left, "parts-left", None)]
    if stage != "index-half-written" and not (stage == "index-complete" and not left.temporary_data):
        return None, [interrupted(prefix, left, stage, None, over_earlier=True)]
    stage = "shards-renamed" if left.parts else stage
    own, other, key, entry = _whose(prefix, table, spare)
    if own or not other:
        return None, [interrupted(prefix, left, stage, None, over_earlier=True)]
    path = prefix + ".index"
    evidence = {
        "file": path,
        "rescue": spare.path,
        "compared": other,
        "tensor": key,
        **_read_by(prefix, table, entry),
    }
    detail = (
        f"{path} describes the save before; the data is that of a later one, which did not get to write its index:"
        f" {other} small tensors have the checksums of {spare.path}, none has those of the index"
    )
    advice = f"Use the index in {spare.path}; the one beside the data is of no use any more."
    mixed = make("index-data-mismatch", prefix, detail=detail, evidence=evidence, advice=advice)
    return spare, [mixed, interrupted(prefix, left, stage, spare)]


def _read_by(prefix: str, table: Table, entry: Entry | None) -> dict[str, Any]:
    """What comes of reading the data by the index of the save before, as TensorFlow does."""
    shards = Shards(prefix, decode_header(table.values[0]).shards if not table.keys[0] else 1)
    found = None if entry is None else _checksum(entry, shards)
    if entry is None or entry.crc is None or found is None:
        return {"tensorflow_says": says("checksum", prefix=prefix)}
    stored = unmask(entry.crc)
    known = {"shard": entry.shard, "bytes": entry.size, "stored": f"{stored:08d}", "calculated": found}
    return {
        "data": shards.path(entry.shard),
        "offset": entry.offset,
        "bytes": entry.size,
        "expected": stored,
        "found": found,
        "tensorflow_says": says("checksum", prefix=prefix, **known),
    }


def _whose(prefix: str, table: Table, spare: Rescue) -> tuple[int, int, str, Entry | None]:
    """Of the small tensors that two indexes tell apart: how many fit each, and one that fits the second.

    That one by its name, and by what the first index says of it.
    """
    shapes: dict[bytes, tuple[int, ...]] = {}
    before = dict(zip(table.keys, table.values, strict=True))
    differing: list[tuple[int, bytes, Entry, Entry]] = []
    for key, value in zip(spare.table.keys, spare.table.values, strict=True):
        earlier = before.get(key)
        if not key or earlier is None:
            continue
        old, new = decode_entry(earlier, shapes), decode_entry(value, shapes)
        if old.crc != new.crc and _small(old) and _small(new):
            differing.append((max(old.size, new.size), key, old, new))
    differing.sort(key=lambda item: item[:2])
    count = decode_header(table.values[0]).shards if not table.keys[0] else 1
    shards = Shards(prefix, count)
    own = other = 0
    name, entry = "", None
    for _, key, old, new in differing[:COMPARED]:
        own += _fits(old, shards)
        if _fits(new, spare.shards):
            other += 1
            if entry is None:
                name, entry = key.decode("utf-8", "backslashreplace"), old
    return own, other, name, entry


def _small(entry: Entry) -> bool:
    plain = not (entry.fault or entry.slices) and dtype_name(entry.dtype) not in ("string", "variant")
    return plain and 0 < entry.size <= SMALL and entry.offset >= 0 and entry.crc is not None


def _fits(entry: Entry, shards: Shards) -> bool:
    return entry.crc is not None and unmask(entry.crc) == _checksum(entry, shards)


def _checksum(entry: Entry, shards: Shards) -> int | None:
    """Of the bytes an entry names; None where they can't be read."""
    try:
        with Source(shards.path(entry.shard)) as source:
            return crc32c(source.pread(entry.offset, entry.size))
    except CkptuiError:
        return None
