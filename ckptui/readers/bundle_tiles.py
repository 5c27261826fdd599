"""Partitioned tensors of a bundle: which tiles belong to which tensor, where they go, and whether they cover it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod

from ckptui.readers.bundle_entry import Entry, Extent
from ckptui.readers.ordered_code import KeyFault, slice_key

MAX_COMPARED = 1000
"""Tiles of one tensor up to which each is held against each other one."""


@dataclass(slots=True)
class Tiles:
    """The entries of an index that are tiles, by the tensor they belong to."""

    by_name: dict[str, dict[tuple[Extent, ...], int]] = field(default_factory=dict)
    """Tensor name to {extents: entry position}."""
    owners: dict[int, str] = field(default_factory=dict)
    """Entry position of a tile to the name of its tensor."""


@dataclass(frozen=True, slots=True)
class Placed:
    """One tile of a tensor, full dimensions resolved."""

    start: tuple[int, ...]
    shape: tuple[int, ...]
    position: int
    """Of its entry."""


def find_tiles(keys: list[bytes]) -> Tiles:
    """Tell tile keys from tensor names; they start with a zero byte, so they follow the header."""
    tiles = Tiles()
    for position, key in enumerate(keys):
        if not key.startswith(b"\0"):
            if key:
                break
            continue
        try:
            name, extents = slice_key(key)
        except KeyFault:
            continue
        owner = name.decode("utf-8", "backslashreplace")
        tiles.by_name.setdefault(owner, {})[extents] = position
        tiles.owners[position] = owner
    return tiles


def place(extents: tuple[Extent, ...], shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Start and extent of a tile in a tensor of `shape`, or None where it does not lie inside."""
    if len(extents) != len(shape):
        return None
    start = tuple(first for first, _ in extents)
    extent = tuple(size if length < 0 else length for (_, length), size in zip(extents, shape, strict=True))
    for (first, length), wide, size in zip(extents, extent, shape, strict=True):
        if first < 0 or (length < 0 and first) or first + wide > size:
            return None
    return start, extent


def place_tiles(
    entry: Entry, own: dict[tuple[Extent, ...], int], record: Callable[[int], Entry]
) -> tuple[list[Placed], str]:
    """The tiles of a partitioned tensor and why it can't be put together; empty where it can.

    `entry` is the tensor's own, `own` the tiles that the index has for it, `record` an entry by position.
    """
    placed: list[Placed] = []
    problem = ""
    for extents in entry.slices:
        position = own.get(extents)
        where = place(extents, entry.shape)
        if where is None:
            problem = problem or f"its tile {extents[:8]} does not lie inside it"
        elif position is None:
            problem = problem or f"its tile at {where[0]} is not in the index"
        elif record(position).shape != where[1] or record(position).dtype != entry.dtype:
            problem = problem or f"its tile at {where[0]} has another shape or dtype"
        else:
            placed.append(Placed(*where, position))
    if not problem:
        covered, count = sum(prod(tile.shape) for tile in placed), prod(entry.shape)
        if covered < count:
            problem = f"its tiles cover {covered} of {count} elements"
        elif covered > count or overlap(placed):
            problem = "its tiles overlap"
    return placed, problem


def overlap(placed: list[Placed]) -> bool:
    """Whether any two tiles share an element; False for more than MAX_COMPARED tiles, which are not compared."""
    if len(placed) > MAX_COMPARED:
        return False
    for index, one in enumerate(placed):
        for other in placed[:index]:
            if all(
                max(a, b) < min(a + n, b + m)
                for a, b, n, m in zip(one.start, other.start, one.shape, other.shape, strict=True)
            ):
                return True
    return False
