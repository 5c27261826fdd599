"""The index of a save that did not finish, put together from what it left, and how far that save had come.

Parts are merged as TensorFlow's MergeBundles does it: in order, a shard numbered when the first entry names it, the
tiles of a partitioned tensor gathered. The data is read where it lies: in the temporary folder, or renamed already.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Literal

from ckptui.errors import CkptuiError
from ckptui.readers.bundle_entry import decode_entry, decode_header
from ckptui.readers.bundle_leftovers import Leftovers, Part, Place
from ckptui.readers.bundle_shards import Shards, shard_files
from ckptui.readers.sstable import Problem, Table, read_table
from ckptui.readers.wire import LENGTH, WireError, encode_uvarint, fields

Stage = Literal[
    "data-being-written",
    "data-complete",
    "index-being-written",
    "index-complete",
    "parts-not-merged",
    "shards-being-renamed",
    "shards-renamed",
    "index-half-written",
    "parts-left",
]
STAGES: dict[Stage, str] = {
    "data-being-written": "its data was being written",
    "data-complete": "its data is whole, no index was begun",
    "index-being-written": "its index was being written",
    "index-complete": "its index is whole, but not renamed",
    "parts-not-merged": "every part is whole, none is merged",
    "shards-being-renamed": "some of its data files have their final names",
    "shards-renamed": "all data files have their final names, the index was not begun",
    "index-half-written": "its final index was being written",
    "parts-left": "it is whole, only its temporary files were not removed",
}
"""How far a save had come, to be said after "the save stopped here:"."""


@dataclass(slots=True)
class Rescue:
    """A directory for the data of an interrupted save."""

    table: Table
    path: str
    """The index file; of several parts the pattern of their names."""
    shards: Shards
    files: list[str] = field(default_factory=list)
    """The index files it was put together from."""


def stage_of(left: Leftovers, final: bool) -> Stage:
    """How far the save had come that left these; `final`: something stands where its final index belongs."""
    if not left.parts:
        if left.temporary_index:
            return "index-complete" if any(map(_is_whole, left.temporary_index)) else "index-being-written"
        return "data-being-written" if left.temporary_data else "data-complete"
    if len(left.parts) < left.of and not final:
        return "data-being-written"
    if not all(part.index for part in left.parts):
        begun = [part for part in left.parts if not part.index]
        if any(not (part.temporary_index or part.data) for part in begun):
            return "data-being-written"
        if all(part.temporary_index and _is_whole(part.temporary_index) for part in begun):
            return "index-complete"
        return "index-being-written" if any(part.temporary_index for part in begun) else "data-complete"
    inside = sum(bool(part.data or part.temporary_data) for part in left.parts)
    if inside:
        return "parts-not-merged" if inside == len(left.parts) else "shards-being-renamed"
    return "index-half-written" if final else "shards-renamed"


def rescue(left: Leftovers) -> Rescue | None:
    """The index that can be had from leftovers; None where none can be read.

    Merged parts count before a temporary index; what is whole before what is not.
    """
    merged = _from_parts(left)
    if merged is not None and merged.table.complete:
        return merged
    tables = [(path, table) for path in left.temporary_index if (table := _read(path)) is not None and table.keys]
    whole = [(path, table) for path, table in tables if _whole(table)]
    if not whole and merged is not None:
        return merged
    for path, table in whole or tables:
        count = decode_header(table.values[0]).shards if not table.keys[0] else 1
        return Rescue(table, path, Shards(left.prefix, count, paths=_placed(left, count)), [path])
    return None


def candidates(left: Leftovers) -> list[str]:
    """The index files among leftovers, the parts' first."""
    return [path for part in left.parts if (path := part.index or part.temporary_index)] + left.temporary_index


def data_paths(left: Leftovers, count: int) -> dict[int, str]:
    """Where the shards of a bundle of `count` lie that have not got their final names, as far as names tell."""
    paths = _placed(left, count)
    if left.parts and left.of == count:
        for part in left.parts:
            inside = part.where((0, 1))
            if inside:
                paths[part.number] = inside
    return paths


def same_entries(one: Table, other: Table) -> bool:
    """Whether two tables describe the same tensors with the same checksums."""
    if one.keys != other.keys:
        return False
    shapes: dict[bytes, tuple[int, ...]] = {}
    pairs = zip(one.keys, one.values, other.values, strict=True)
    return all(a == b or decode_entry(a, shapes) == decode_entry(b, shapes) for key, a, b in pairs if key)


def continues(table: Table, spare: Table) -> bool:
    """Whether what is left of `table` is the beginning of `spare`: no proved entry differs, and half of all agree."""
    known = dict(zip(spare.keys, spare.values, strict=True))
    guessed = {position for span in table.unproved for position in span}
    shapes: dict[bytes, tuple[int, ...]] = {}
    agreed = 0
    for position, (key, value) in enumerate(zip(table.keys, table.values, strict=True)):
        other = known.get(key)
        same = other is not None and (not key or decode_entry(value, shapes) == decode_entry(other, shapes))
        if not same and position not in guessed:
            return False
        agreed += same
    return 2 * agreed >= len(table.keys)


def _placed(left: Leftovers, count: int) -> dict[int, str]:
    """Shards of a low-level save that still have a temporary name, and no final one."""
    there = set(shard_files(left.prefix).values()) if left.temporary_data else set()
    return {
        number: path for (number, of), path in left.temporary_data.items() if of == count and (number, of) not in there
    }


def _from_parts(left: Leftovers) -> Rescue | None:
    tables: list[tuple[Part, Table]] = []
    files = []
    for part in left.parts:
        path = part.index or part.temporary_index
        table = _read(path) if path else None
        if table is not None and table.keys:
            tables.append((part, table))
            files.append(path)
    if not tables:
        return None
    all_there = len(tables) == left.of
    merge = _Merge(by_number=not all_there)
    for part, table in tables:
        merge.add(part, table)
    merged = merge.table(left.of)
    merged.complete = all_there and all(table.complete for _, table in tables)
    count = max(1, len(merge.places) if all_there else left.of)
    paths = {number: inside for (part, place), number in merge.sources() if (inside := part.where(place))}
    path = files[0] if left.of == 1 else os.path.join(os.path.dirname(files[0]), f"part-*-of-{left.of:05d}.index")
    return Rescue(merged, path, Shards(left.prefix, count, paths=paths, unfinished=not all_there), files)


class _Merge:
    """Gathers the entries of part indexes under the numbers their shards have in the whole."""

    def __init__(self, by_number: bool) -> None:
        """`by_number`: parts are missing, so a shard has its part's number."""
        self.places: dict[tuple[int, Place], int] = {}
        self._parts: dict[int, Part] = {}
        self._by_number = by_number
        self._entries: dict[bytes, bytes] = {}
        self._unproved: set[bytes] = set()
        self._header = b""
        self._problems: list[Problem] = []
        self._size = 0

    def add(self, part: Part, table: Table) -> None:
        """Take the next part."""
        self._parts[part.number] = part
        self._size += table.size
        self._problems += [problem for problem in table.problems if not problem.cosmetic]
        guessed = {position for span in table.unproved for position in span}
        shards = 1
        shapes: dict[bytes, tuple[int, ...]] = {}
        for position, (key, value) in enumerate(zip(table.keys, table.values, strict=True)):
            if not key:
                shards = decode_header(value).shards
                self._header = self._header or value
                continue
            if position in guessed:
                self._unproved.add(key)
            known = self._entries.get(key)
            entry = decode_entry(value, shapes)
            if known is not None:
                if entry.slices and decode_entry(known, shapes).slices:
                    self._entries[key] = known + _slices(value)
                else:
                    self._problems.append(Problem("key", 0, "stands in two parts", duplicate=key))
                continue
            place = (part.number, (entry.shard, shards))
            number = self.places.setdefault(place, part.number if self._by_number else len(self.places))
            # of a number that stands twice in a message the last one counts
            self._entries[key] = value if entry.shard == number else value + b"\x18" + encode_uvarint(number)

    def sources(self) -> list[tuple[tuple[Part, Place], int]]:
        """Which file of which part each shard is."""
        return [((self._parts[part], place), number) for (part, place), number in self.places.items()]

    def table(self, of: int) -> Table:
        """All entries in order, under one header."""
        count = of if self._by_number else len(self.places)
        keys = sorted(self._entries)
        header = [b""] if self._header else []
        values = [self._header + b"\x08" + encode_uvarint(count)] if self._header else []
        merged = Table(header + keys, values + [self._entries[key] for key in keys], size=self._size)
        merged.unproved = [range(p, p + 1) for p, key in enumerate(merged.keys) if key in self._unproved]
        merged.problems = self._problems
        return merged


def _slices(value: bytes) -> bytes:
    """The tiles that a record lists, as they stand."""
    out = b""
    try:
        for number, kind, content in fields(value):
            if number == 7 and kind == LENGTH and not isinstance(content, int):
                out += b"\x3a" + encode_uvarint(len(content)) + bytes(content)
    except WireError:
        return out
    return out


def _whole(table: Table) -> bool:
    return bool(table.keys) and all(problem.cosmetic for problem in table.problems)


def _is_whole(path: str) -> bool:
    table = _read(path)
    return table is not None and _whole(table)


def _read(path: str) -> Table | None:
    try:
        return read_table(path)
    except CkptuiError:
        return None
