"""A bundle's index taken in: header, names, tiles, records, and what speaks against them."""

from __future__ import annotations

from functools import cached_property

from ckptui.core.model import Finding
from ckptui.core.sayings import says
from ckptui.readers.bundle_checks import (
    Verdicts,
    check_entries,
    entry_fault,
    finding,
    header_findings,
    index_findings,
    shard_fault,
)
from ckptui.readers.bundle_entry import Entry, Header, decode_entry, decode_header
from ckptui.readers.bundle_shard_checks import orphans, oversized
from ckptui.readers.bundle_shards import Shards, shard_files
from ckptui.readers.bundle_tiles import Placed, Tiles, find_tiles, place_tiles
from ckptui.readers.sstable import Table


class BundleIndex:
    """Names at once, records when asked for. A position counts entries of the table, a number counts tensors."""

    def __init__(self, prefix: str, path: str, table: Table, *, shards: Shards | None = None) -> None:
        """`path`: the file that `table` was read from; `shards`: where the data lies, if not under its final names."""
        self.prefix = prefix
        self.path = path
        self.table = table
        self._shapes: dict[bytes, tuple[int, ...]] = {}
        self.header_findings: list[Finding] = []
        self.doubts: dict[int, str] = {}
        """Position of an entry to why its place is not known, though nothing in it is wrong by itself."""
        self.first = 1 if table.keys and not table.keys[0] else 0
        """Position of the first entry after the header."""
        self.header: Header = decode_header(table.values[0]) if self.first else self._guessed_header()
        self.guessed: frozenset[int] = frozenset(position for span in table.unproved for position in span)
        """Positions of entries that no checksum vouches for."""
        if self.first and 0 in self.guessed:
            self.header = self._believable_header()
        self.own_shards = shards is None
        """The data lies under its final names, and the index is this save's own."""
        self.shards = shards or Shards(prefix, self.header.shards)
        self.tiles: Tiles = find_tiles(table.keys)
        self.positions: list[int] = []
        """Position of each tensor's entry."""
        self.names: list[str] = []
        """Name of each tensor, in index order."""
        self._take_names()
        if self.first:
            self.header_findings = header_findings(self.header, path, prefix)

    def _guessed_header(self) -> Header:
        """Without a header record the file names must tell the number of shards."""
        if self.table.keys:
            detail = "the header record is gone: the number of shards is read off the file names"
            evidence = {"file": self.path, "where": "header", "offset": 0, "reason": "no header record"}
            self.header_findings = [finding("index-damaged", self.prefix, detail, evidence=evidence)]
        counts = [of for _, of in shard_files(self.prefix).values()]
        return Header(shards=max(set(counts), key=counts.count) if counts else 1)

    def _believable_header(self) -> Header:
        """Where no checksum vouches for the header, a complete set of files tells better how many shards there are."""
        counts: dict[int, int] = {}
        for _, of in shard_files(self.prefix).values():
            counts[of] = counts.get(of, 0) + 1
        whole = [of for of, count in counts.items() if of == count]
        if len(whole) == 1 and counts.get(self.header.shards) != self.header.shards:
            return self.header._replace(shards=whole[0])
        return self.header

    def _take_names(self) -> None:
        keys, owners = self.table.keys, self.tiles.owners
        twice = {problem.duplicate for problem in self.table.problems if problem.duplicate is not None}
        if not owners and not twice:
            self.positions = list(range(self.first, len(keys)))
            self.names = [key.decode("utf-8", "backslashreplace") for key in keys[self.first :]]
            return
        seen: set[bytes] = set()
        for position in range(self.first, len(keys)):
            key = keys[position]
            if position in owners or key in seen:
                continue
            if key in twice:
                seen.add(key)
            self.positions.append(position)
            self.names.append(key.decode("utf-8", "backslashreplace"))

    # ------------------------------------------------------------------ records

    @cached_property
    def entries(self) -> list[Entry]:
        """Every record by its position; an empty one holds the header's place."""
        shapes = self._shapes
        decoded = [decode_entry(value, shapes) for value in self.table.values[self.first :]]
        return [Entry()] * self.first + decoded

    def entry(self, position: int) -> Entry:
        """One record, decoded alone as long as not all are needed."""
        known: list[Entry] | None = self.__dict__.get("entries")
        if known is not None:
            return known[position]
        return decode_entry(self.table.values[position], self._shapes)

    def tiles_of(self, name: str, entry: Entry) -> tuple[list[Placed], str]:
        """The tiles of a partitioned tensor, and why it can't be put together."""
        return place_tiles(entry, self.tiles.by_name.get(name, {}), self.entry)

    def label(self, position: int) -> str:
        """The name of the tensor that an entry belongs to."""
        owner = self.tiles.owners.get(position)
        return self.table.keys[position].decode("utf-8", "backslashreplace") if owner is None else owner

    def problem(self, position: int) -> str:
        """Why an entry's bytes can't be read: from all checks where they are made, else from its own numbers."""
        known: Verdicts | None = self.__dict__.get("verdicts")
        if known is not None:
            return known.problems.get(position, "")
        entry = self.entry(position)
        return entry_fault(entry) or shard_fault(entry, self.shards) or self.doubts.get(position, "")

    def is_foreign(self, shard: int) -> bool:
        """Whether a data file was found to be something else, as far as checks are made."""
        known: Verdicts | None = self.__dict__.get("verdicts")
        return known is not None and shard in known.foreign

    # ------------------------------------------------------------------ checks

    @cached_property
    def verdicts(self) -> Verdicts:
        """What speaks against each entry, and the findings made of it."""
        self.shards.look_at_all()
        positions = [*self.positions, *self.tiles.owners]
        verdicts = check_entries(self.entries, positions, self.label, self.shards)
        for position, doubt in self.doubts.items():
            verdicts.problems.setdefault(position, doubt)
        self._check_tiles(verdicts)
        if self.guessed:
            # what a record says that no checksum vouches for is the index's damage, not the tensor's
            doubtful = {self.label(position) for position in self.guessed}
            verdicts.findings = [item for item in verdicts.findings if item.tensor not in doubtful]
        all_there = self.table.complete and len(positions) == len(self.entries) - self.first and not self.guessed
        if all_there and not any(item.code == "entry-invalid" for item in verdicts.findings):
            verdicts.findings += oversized(self.shards, verdicts.ends, list(verdicts.foreign))
        if self.own_shards and self.first and 0 not in self.guessed and not self.header_findings:
            verdicts.findings += orphans(self.shards)
        return verdicts

    def _check_tiles(self, verdicts: Verdicts) -> None:
        owned = set()
        for position, name in zip(self.positions, self.names, strict=True):
            entry = self.entries[position]
            if not entry.slices:
                continue
            owned.add(name)
            if position in verdicts.invalid:
                continue
            _, problem = self.tiles_of(name, entry)
            if problem:
                verdicts.problems[position] = problem
                evidence = {"shape": list(entry.shape[:16]), "tiles": len(entry.slices)}
                if "cover" in problem or "not in the index" in problem:
                    evidence["tensorflow_says"] = says("slices", tensor=name)
                verdicts.findings.append(finding("entry-invalid", self.prefix, problem, tensor=name, evidence=evidence))
        for name, tiles in self.tiles.by_name.items():
            if name not in owned:
                detail = f"{len(tiles)} tiles, but no entry for the tensor they belong to"
                verdicts.findings.append(finding("entry-invalid", self.prefix, detail, tensor=name))

    @property
    def findings(self) -> list[Finding]:
        """What the table and the header give away, before any other record is decoded."""
        return [*index_findings(self.table, self.path, self.prefix), *self.header_findings]
