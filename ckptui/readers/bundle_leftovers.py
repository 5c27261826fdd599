"""What a save that did not finish leaves beside its prefix: temporary data and index files, parts not yet merged.

A low-level save writes `PREFIX.data-00000-of-00001.tempstateN`, renames it, writes `PREFIX.index.tempstateN`, renames
that. `Checkpoint.save` and a sharded Saver do so for each shard under `PREFIX_temp/part-III-of-NNN`, then rename the
parts' data to PREFIX's own shards, write `PREFIX.index` in place from the parts' indexes, and remove the folder.
Source: `BundleWriter`, `MergeBundles` (tensor_bundle.cc) and MergeV2Checkpoints (save_restore_v2_ops.cc) of TensorFlow.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from ckptui.readers.siblings import names_with

_DATA = r"\.data-([0-9]{5,10})-of-([0-9]{5,10})"
_TEMPORARY = re.compile(rf"(?:(\.index)|{_DATA})\.tempstate[0-9]{{1,20}}")
_PART = re.compile(rf"part-([0-9]{{5,10}})-of-([0-9]{{5,10}})(?:(\.index)|{_DATA})(\.tempstate[0-9]{{1,20}})?")
_FOLDER = re.compile(r"_temp(?:_[0-9a-f]{32})?")

Place = tuple[int, int]
"""(shard, of how many), as a file name has it."""


@dataclass(slots=True)
class Part:
    """One `part-III-of-NNN` of a temporary folder: a small bundle of its own."""

    prefix: str
    number: int
    index: str = ""
    temporary_index: str = ""
    """Not renamed yet; the newest of several."""
    data: dict[Place, str] = field(default_factory=dict)
    temporary_data: dict[Place, str] = field(default_factory=dict)

    def where(self, place: Place) -> str:
        """The file with a shard's bytes; empty where it is not here any more."""
        return self.data.get(place) or self.temporary_data.get(place, "")


@dataclass(slots=True)
class Leftovers:
    """The temporary files of one prefix."""

    prefix: str
    temporary_index: list[str] = field(default_factory=list)
    """`PREFIX.index.tempstateN`, the newest first."""
    temporary_data: dict[Place, str] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    """In order of their numbers."""
    of: int = 0
    """How many parts the save has."""
    files: list[str] = field(default_factory=list)
    """Everything found, sorted."""
    newest: float = 0.0
    """When the last of them was written, in seconds since the epoch."""

    def __bool__(self) -> bool:
        return bool(self.files)


def leftovers(prefix: str) -> Leftovers:
    """Look beside `prefix`; a folder that can't be listed holds nothing."""
    folder, base = os.path.split(prefix)
    found = Leftovers(prefix)
    ages: list[tuple[float, str]] = []
    groups: dict[int, dict[int, Part]] = {}
    newest: dict[int, float] = {}
    for name in names_with(folder, base):
        rest, path = name[len(base) :], os.path.join(folder, name)
        match = _TEMPORARY.fullmatch(rest)
        if match:
            age = _modified(path)
            found.files.append(path)
            found.newest = max(found.newest, age)
            if match[1]:
                ages.append((age, path))
            else:
                found.temporary_data[int(match[2]), int(match[3])] = path
        elif _FOLDER.fullmatch(rest) and os.path.isdir(path) and not os.path.islink(path):
            _look_inside(path, groups, newest)
    found.temporary_index = [path for _, path in sorted(ages, reverse=True)]
    if groups:
        found.of = max(groups, key=lambda of: newest[of])
        found.parts = [part for _, part in sorted(groups[found.of].items())]
        found.newest = max(found.newest, newest[found.of])
        for part in found.parts:
            named = [part.index, part.temporary_index, *part.data.values(), *part.temporary_data.values()]
            found.files += [path for path in named if path]
    found.files.sort()
    return found


def _look_inside(folder: str, groups: dict[int, dict[int, Part]], newest: dict[int, float]) -> None:
    """Take the parts in a temporary folder, by how many their names say there are."""
    for entry in _entries(folder):
        match = _PART.fullmatch(entry.name)
        if not match:
            continue
        number, of = int(match[1]), int(match[2])
        path = os.path.join(folder, entry.name)
        prefix = os.path.join(folder, f"part-{match[1]}-of-{match[2]}")
        part = groups.setdefault(of, {}).setdefault(number, Part(prefix, number))
        newest[of] = max(newest.get(of, 0.0), _modified(entry.path))
        if match[3] and match[6]:
            part.temporary_index = path
        elif match[3]:
            part.index = path
        else:
            table = part.temporary_data if match[6] else part.data
            table[int(match[4]), int(match[5])] = path


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _modified(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0
