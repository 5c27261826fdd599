"""A bundle without an index, laid out as a sibling's index says: the same model saved again has the same order.

Names, dtypes, shapes, offsets and sizes are the sibling's. A checksum of the sibling says nothing of bytes that have
been trained since, so none is claimed; it is kept aside, for a tensor that still has it is proved after all. Strings
and variants tell their own length, so what follows them is moved to where they end here.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod

from crc32c import crc32c

from ckptui.core.dtypes import dtype_name
from ckptui.core.model import Finding
from ckptui.core.text import safe
from ckptui.errors import Damaged, NoSuchPath
from ckptui.readers.bundle import Bundle
from ckptui.readers.bundle_checks import entry_fault, finding
from ckptui.readers.bundle_entry import Entry
from ckptui.readers.bundle_index import BundleIndex
from ckptui.readers.bundle_leftovers import leftovers
from ckptui.readers.bundle_rescue import data_paths
from ckptui.readers.bundle_shards import Shards, shard_files
from ckptui.readers.source import Source
from ckptui.readers.sstable import Table, read_table
from ckptui.readers.sstable_block import unmask
from ckptui.readers.values import decode_lengths
from ckptui.readers.wire import WireError, uvarint

MAX_COUNTED = 1_000_000
"""Strings of one tensor whose lengths are read to learn its size."""
TABLE_PIECE = 1 << 24
"""Bytes of a length table that are read."""


@dataclass(slots=True)
class Fit:
    """How a sibling's layout and one data file agree."""

    expected: int
    """Bytes the layout needs."""
    found: int
    """Bytes of the file."""
    moved: dict[str, int] = field(default_factory=dict)
    """Strings and variants that are longer or shorter here, by how many bytes."""
    doubtful: dict[str, str] = field(default_factory=dict)
    """Strings and variants that do not lie where the layout puts them, and why; what follows them is doubtful too."""

    @property
    def whole(self) -> bool:
        """Every byte of the file has its place, and every length that could be proved is right."""
        return self.expected == self.found and not self.doubtful


class BorrowedBundle(Bundle):
    """A bundle whose directory is a sibling's."""

    def __init__(self, prefix: str, index: BundleIndex, findings: list[Finding], sibling: Bundle) -> None:
        """`index`: the sibling's, with the places corrected and without checksums."""
        super().__init__(prefix, index, findings)
        self.sibling = sibling.path
        self.fits: dict[int, Fit] = {}
        """By shard."""
        self.sibling_crcs: dict[str, int] = {}
        """The checksum that the sibling's tensor of that name has, unmasked; of a tensor in one piece."""
        self.sibling_tile_crcs: dict[str, tuple[int | None, ...]] = {}
        """The same of partitioned tensors: one for each of `storage.slices`, in their order."""


def open_bundle_with_layout(prefix: str, sibling_prefix: str) -> BorrowedBundle:
    """The data files of `prefix`, described by the index of `sibling_prefix`.

    No tensor of it has a checksum (`storage.crc32c` is None). What can't lie where the sibling says has a `problem`.

    Raises:
        NoSuchPath: `prefix` has no data file, or the sibling no index.
        Damaged: nothing can be read from the sibling's index, or it calls for another number of data files.
        ChangedWhileReading: one of the files is being written.
    """
    path = sibling_prefix + ".index"
    table = read_table(path)
    sibling = Bundle(sibling_prefix, BundleIndex(sibling_prefix, path, table), [])
    if not sibling.names:
        raise Damaged(f"nothing can be read from {path}", code="index-damaged", evidence={"file": path})
    count = sibling.index.header.shards
    shards = _shards(prefix, count, path)
    borrowed = Table(keys=table.keys, values=table.values, unproved=table.unproved, complete=table.complete)
    index = BundleIndex(prefix, path, borrowed, shards=shards)
    entries = [entry._replace(crc=None) for entry in sibling.index.entries]
    bundle = BorrowedBundle(prefix, index, [], sibling)
    for number in sorted(shards.sizes):
        bundle.fits[number] = _lay_out(index, entries, number, shards)
    index.entries = entries
    _keep_checksums(bundle, sibling)
    bundle._findings += _told(bundle, path)
    return bundle


def _shards(prefix: str, count: int, layout: str) -> Shards:
    """The data files of `prefix`, of which the layout has `count`."""
    there, paths = shard_files(prefix), data_paths(leftovers(prefix), count)
    if not there and not paths:
        raise NoSuchPath(prefix)
    if not paths and all(of != count for _, of in there.values()):
        found = sorted({of for _, of in there.values()})
        raise Damaged(
            f"{layout} describes {count} data files, {prefix} has names that say {found[0]}",
            code="index-data-mismatch",
            evidence={"file": layout, "expected": count, "found": found[0]},
        )
    shards = Shards(prefix, count, paths=paths)
    shards.look_at_all()
    return shards


def _lay_out(index: BundleIndex, entries: list[Entry], number: int, shards: Shards) -> Fit:
    """Move the entries of one shard to where they lie in it; changes `entries` and the index's doubts."""
    inside = [
        position
        for position, entry in enumerate(entries)
        if position >= index.first and entry.shard == number and not entry.slices and not entry_fault(entry)
    ]
    inside.sort(key=lambda position: (entries[position].offset, entries[position].size))
    fit = Fit(max((entries[p].offset + entries[p].size for p in inside), default=0), shards.sizes[number])
    shift = 0
    with Source(shards.path(number)) as source:
        for position in inside:
            entry = entries[position] = entries[position]._replace(offset=entries[position].offset + shift)
            if dtype_name(entry.dtype) not in ("string", "variant"):
                continue
            size = _own_size(source, entry, index.header.big_endian)
            name = index.label(position)
            if size is None:
                fit.doubtful[name] = index.doubts[position] = "its lengths are not where the layout puts it"
            elif size != entry.size:
                fit.moved[name] = size - entry.size
                shift += size - entry.size
                entries[position] = entry._replace(size=size)
        source.fence()
    fit.expected += shift
    if fit.doubtful and fit.expected != fit.found:
        _doubt_the_rest(index, inside)
    return fit


def _doubt_the_rest(index: BundleIndex, inside: list[int]) -> None:
    """Where a size can't be told and the whole does not fit, nobody knows where the tensors behind it lie."""
    first = next(place for place, position in enumerate(inside) if position in index.doubts)
    name = safe(index.label(inside[first]), 200)
    for position in inside[first + 1 :]:
        index.doubts.setdefault(position, f"it lies behind {name}, whose length is not known")


def _own_size(source: Source, entry: Entry, big_endian: bool) -> int | None:
    """Bytes a string or variant tensor takes by its own lengths; None where their checksum does not hold."""
    count = prod(entry.shape)
    if count > MAX_COUNTED or entry.offset > source.size:
        return None
    if dtype_name(entry.dtype) == "variant":
        return _variant_size(source, entry.offset, count, big_endian)
    if not count:
        return entry.size
    head = source.pread(entry.offset, min(10 * count + 4, TABLE_PIECE, source.size - entry.offset))
    try:
        lengths, end, _, holds = decode_lengths(head, count, big_endian)
    except Damaged:
        return None
    size = end + sum(lengths)
    return size if holds and entry.offset + size <= source.size else None


def _variant_size(source: Source, start: int, count: int, big_endian: bool) -> int | None:
    """Each element is its length, its bytes, and the checksum over all that came before."""
    position, crc = start, 0
    for _ in range(count):
        head = source.pread(position, min(10, source.size - position))
        try:
            length, used = uvarint(head, 0)
        except WireError:
            return None
        body = position + used
        if body + length + 4 > source.size:
            return None
        crc = crc32c(struct.pack(">Q" if big_endian else "<Q", length), crc)
        for piece in source.stream(body, length):
            crc = crc32c(piece, crc)
        stored = source.pread(body + length, 4)
        if unmask(int.from_bytes(stored, "big" if big_endian else "little")) != crc:
            return None
        crc = crc32c(stored, crc)
        position = body + length + 4
    return position - start


def _keep_checksums(bundle: BorrowedBundle, sibling: Bundle) -> None:
    index = sibling.index
    for position, name in zip(index.positions, index.names, strict=True):
        entry = index.entry(position)
        if entry.slices:
            tiles, _ = index.tiles_of(name, entry)
            bundle.sibling_tile_crcs[name] = tuple(_crc(index.entry(tile.position)) for tile in tiles)
            continue
        crc = _crc(entry)
        if crc is not None:
            bundle.sibling_crcs[name] = crc


def _crc(entry: Entry) -> int | None:
    return None if entry.crc is None else unmask(entry.crc)


def _told(bundle: BorrowedBundle, path: str) -> Iterable[Finding]:
    """That the index is not this save's own, and which files it does not fit."""
    own = bundle.path + ".index"
    state = "can't be read" if os.path.lexists(own) else "is not there"
    sizes = [{"file": bundle.index.shards.path(n), "expected": f.expected, "found": f.found} for n, f in _few(bundle)]
    evidence: dict[str, object] = {"file": own, "layout": path, "entries_read": len(bundle.names), "data": sizes}
    detail = f"{own} {state}; the places of its tensors are those of {path}, no checksum vouches for their values"
    if not all(fit.whole for fit in bundle.fits.values()):
        detail += "; that layout does not fit"
    yield finding("index-missing", bundle.path, detail, evidence=evidence)
    for number, fit in bundle.fits.items():
        for name, reason in fit.doubtful.items():
            facts = {"file": bundle.index.shards.path(number), "layout": path}
            yield finding("entry-invalid", bundle.path, reason, tensor=name, evidence=facts)


def _few(bundle: BorrowedBundle) -> list[tuple[int, Fit]]:
    return list(bundle.fits.items())[:100]
