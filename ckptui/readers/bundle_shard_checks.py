"""Findings about data files: missing, empty, cut, longer than they should be, something else, or nobody's."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ckptui.core.catalogue import make
from ckptui.core.model import Finding
from ckptui.core.sayings import says
from ckptui.readers.bundle_entry import Entry
from ckptui.readers.bundle_look import Foreign, foreign
from ckptui.readers.bundle_shards import Shards, shard_files
from ckptui.readers.siblings import names_with

NAMED = 20
"""Tensors named by a finding about a whole file."""
FILES = 8


@dataclass(slots=True)
class Lost:
    """The tensors of one data file that is not there, or is something else."""

    names: list[str] = field(default_factory=list)
    """The first of them."""
    count: int = 0
    end: int = 0
    """Bytes the file needs."""

    def add(self, entry: Entry, name: Callable[[], str]) -> None:
        """One more tensor."""
        self.count += 1
        self.end = max(self.end, entry.offset + entry.size)
        if len(self.names) < NAMED:
            self.names.append(name())


def missing(shards: Shards, lost: Mapping[int, Lost]) -> list[Finding]:
    """One `shard-missing` per file that is not there, with what could be renamed to it."""
    if not shards.reasons:
        return []
    there = shard_files(shards.prefix)
    others = [path for path, (_, of) in there.items() if of != shards.count]
    found = []
    for number, reason in sorted(shards.reasons.items()):
        if shards.unfinished and number not in lost:
            continue
        path, gone = shards.path(number), lost.get(number, Lost())
        evidence: dict[str, Any] = {
            "file": path,
            "shards": shards.count,
            "tensors": gone.count,
            "names": gone.names,
            "reason": reason,
            "expected": gone.end,
            "tensorflow_says": says("no-shard", file=path),
        }
        advice = None
        if others:
            evidence["other_files"] = others[:FILES]
        other = _to_rename(number, gone.end, {other: there[other][0] for other in others})
        if other is not None:
            evidence["rename"] = {"from": other, "to": path}
            advice = (
                f"Rename {other} to {path}: it has exactly the bytes that the index needs; then check its checksums."
            )
        beside = _longer_names(path)
        if beside:
            evidence["beside"] = beside
        detail = f"{path}: {reason}; {gone.count} tensors lie in it"
        found.append(make("shard-missing", shards.prefix, detail=detail, evidence=evidence, advice=advice))
    return found


def _to_rename(number: int, end: int, others: Mapping[str, int]) -> str | None:
    """The file of another sharding that has the missing one's number and exactly its bytes, or alone has these."""
    fitting = []
    for path, place in others.items():
        try:
            size = os.stat(path).st_size
        except OSError:
            continue
        if size == end and size:
            fitting.append((place != number, path))
    fitting.sort()
    if not fitting or (fitting[0][0] and len(fitting) > 1):
        return None
    return fitting[0][1]


def _longer_names(path: str) -> list[str]:
    """Files whose names begin with that of a missing one: unfinished downloads, archives of it."""
    folder, base = os.path.split(path)
    return [os.path.join(folder, name) for name in names_with(folder, base) if name != base][:FILES]


def look_at_misfits(shards: Shards, ends: Mapping[int, int]) -> dict[int, Foreign]:
    """What the data files are whose size is not the one the index needs, where their first bytes tell."""
    found = {}
    for number, end in ends.items():
        size = shards.sizes[number]
        if end and size != end:
            other = foreign(shards.path(number), size, end)
            if other is not None:
                found[number] = other
    return found


def no_data(number: int, other: Foreign, shards: Shards, lost: Lost) -> Finding:
    """`empty-file` or `not-a-model`: the file where a shard should be."""
    path, size = shards.path(number), shards.sizes[number]
    empty = not size
    evidence: dict[str, Any] = {
        "file": path,
        "looks_like": other.looks_like,
        "expected": lost.end,
        "found": size,
        "bytes_missing": max(0, lost.end - size),
        "tensors": lost.count,
        "names": lost.names,
        **other.facts,
    }
    short = size < lost.end
    evidence["tensorflow_says"] = says("short-shard" if short else "checksum", prefix=shards.prefix, shard=number)
    what = "is empty" if empty else f"is no tensor data: found instead: {other.looks_like}"
    detail = f"{path} {what}; the index needs {lost.end} bytes, {lost.count} tensors lie in it"
    advice = "Run `git lfs pull` to fetch the real file." if other.looks_like == "git-lfs pointer" else None
    if "size" in other.facts:
        fits = "as many as" if other.facts["size"] == lost.end else "not as many as"
        detail += f"; the real file has {other.facts['size']} bytes, {fits} the index needs"
    code = "empty-file" if empty else "not-a-model"
    return make(code, shards.prefix, detail=detail, evidence=evidence, advice=advice)


def truncated(entry: Entry, name: str, shards: Shards, ends: Mapping[int, int]) -> Finding:
    """`shard-truncated`: one tensor that the cut costs."""
    size, path = shards.sizes[entry.shard], shards.path(entry.shard)
    gone = min(entry.offset + entry.size - size, entry.size)
    detail = (
        f"{path} has {size} bytes, the index needs {ends[entry.shard]};"
        f" {gone} of this tensor's {entry.size} are missing"
    )
    evidence = {
        "file": path,
        "expected": ends[entry.shard],
        "found": size,
        "bytes_missing": gone,
        "offset": entry.offset,
        "bytes": entry.size,
        "tensorflow_says": says("short-shard"),
    }
    return make("shard-truncated", shards.prefix, name, detail=detail, evidence=evidence)


def oversized(shards: Shards, ends: Mapping[int, int], others: Sequence[int] = ()) -> list[Finding]:
    """A finding per shard with bytes after its last tensor; true only where no entry is lost or wrong.

    `others`: shards that were found to be something else.
    """
    found = []
    for number, size in sorted(shards.sizes.items()):
        end = ends.get(number, 0)
        if size > end and number not in others:
            evidence = {
                "file": shards.path(number),
                "offset": end,
                "expected": end,
                "found": size,
                "bytes_extra": size - end,
            }
            detail = f"{shards.path(number)} has {size} bytes, the last tensor ends at {end}"
            found.append(make("shard-oversized", shards.prefix, detail=detail, evidence=evidence))
    return found


def orphans(shards: Shards) -> list[Finding]:
    """`orphan-shard`: data files of this prefix that its index does not call for, where all it calls for are there."""
    if shards.reasons:
        return []
    extra = [path for path, (number, of) in shard_files(shards.prefix).items() if of != shards.count or number >= of]
    if not extra:
        return []
    sizes = 0
    for path in extra:
        try:
            sizes += os.stat(path).st_size
        except OSError:
            continue
    evidence = {"files": extra[:FILES], "file_count": len(extra), "bytes": sizes, "shards": shards.count}
    detail = (
        f"{len(extra)} data files beside it are not of its {shards.count} shards, {extra[0]} among them:"
        " left by an earlier save with other sharding, or their index was replaced"
    )
    return [make("orphan-shard", shards.prefix, detail=detail, evidence=evidence)]
