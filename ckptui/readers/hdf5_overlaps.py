"""Datasets that claim bytes of others: a flipped bit in the address of one, which nothing else gives away."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ckptui.readers.hdf5_structures import ENTRY_BYTES, Structures, What
from ckptui.readers.hdf5_types import Described

MAX_FOUND = 200
MAX_HEADER_BYTES = 1 << 16
MAX_FOLLOWED = 20_000
"""Pointers of groups that are followed."""
STRUCTURE = "a structure of the file"


@dataclass(frozen=True, slots=True)
class Overlap:
    """Bytes that two parts of a file claim."""

    name: str
    """The dataset that is in the wrong place, as far as that can be told."""
    other: str
    """Another dataset, or STRUCTURE."""
    offset: int
    bytes: int


def structure_places(structures: Structures, root: int, leaf: int, inner: int) -> Iterator[tuple[int, int]]:
    """(window offset, size) of every structure of the groups under the header at `root`, as far as that is sure.

    `leaf` and `inner` are the superblock's K of symbol nodes and B-tree nodes, which are as large as they can get.
    """
    sizes: dict[What, int] = {"tree": 32 + 32 * inner, "node": 8 + 2 * leaf * ENTRY_BYTES, "heap": 32, "header": 16}
    waiting, seen, followed = [root], {root}, 0
    while waiting and followed < MAX_FOLLOWED:
        for pointer in structures.group_pointers(waiting.pop()):
            followed += 1
            size = sizes[pointer.what]
            if pointer.what == "header":
                size += min(int.from_bytes(structures.read(pointer.to + 8, 4), "little"), MAX_HEADER_BYTES)
            yield structures.base + pointer.to, size
            if pointer.what == "heap" and structures.is_heap(pointer.to):
                raw = structures.read(pointer.to, 32)
                yield structures.base + int.from_bytes(raw[24:], "little"), int.from_bytes(raw[8:16], "little")
            if pointer.what == "header" and pointer.to not in seen:
                seen.add(pointer.to)
                waiting.append(pointer.to)


def overlaps(described: Mapping[str, Described], marks: Iterable[tuple[int, int]]) -> Iterator[Overlap]:
    """Every pair of datasets with common bytes, and every dataset that has a structure among its bytes.

    `marks` are (file offset, size) of structures. Two names of one dataset are listed once and are no pair.
    """
    order = [
        (facts.storage.segment.offset, facts.storage.segment.bytes, name)
        for name, facts in described.items()
        if facts.storage.segment is not None and facts.storage.segment.bytes
    ]
    order += [(at, size, "") for at, size in marks]
    order.sort()
    last = (-1, 0, "")
    found = 0
    for at, size, name in order:
        end = last[0] + last[1]
        if at < end and (name or last[2]) and found < MAX_FOUND:
            found += 1
            # Data are laid down at multiples of 8: what is not, is where it does not belong.
            names = (name, last[2]) if name and (not last[2] or (at % 8 and not last[0] % 8)) else (last[2], name)
            yield Overlap(names[0], names[1] or STRUCTURE, at, min(end, at + size) - at)
        if at + size > end:
            last = (at, size, name)
