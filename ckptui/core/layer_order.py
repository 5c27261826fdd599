"""Which layer of one architecture is which of another: by name, else by order and class.

Names that Keras numbers (`conv2d_3`) count through a process and not through a model: they say no more than the class.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from ckptui.core.layer_fields import class_of
from ckptui.core.model import ArchitectureRow

MOST_ALIGNED = 400
"""Layers of one side, without what both begin and end with, that are aligned; more are paired by name and place."""

Key = tuple[int, str, str]


@dataclass(frozen=True, slots=True)
class Aligned:
    """Places in the two lists of layers given."""

    pairs: tuple[tuple[int, int], ...]
    """In A's order."""
    only_a: tuple[int, ...]
    only_b: tuple[int, ...]
    moved: tuple[tuple[int, int], ...]
    """Pairs (by name) whose order differs from that of the others."""


def numbered(row: ArchitectureRow) -> bool:
    """Whether a layer has the name that Keras gives of itself: its class and perhaps a number."""
    bare = re.sub(r"_\d+$", "", row.name)
    return not row.name or bare.replace("_", "") == row.class_name.rpartition(">")[2].lower().replace("_", "")


def aligned(a: Sequence[ArchitectureRow], b: Sequence[ArchitectureRow]) -> Aligned:
    """The layers of `a` and `b` paired."""
    names = _shared_names(a, b)
    left, right = ([_key(row, names) for row in rows] for rows in (a, b))
    begin = _same(left, right)
    end = _same(left[begin:][::-1], right[begin:][::-1])
    pairs = [(n, n) for n in range(begin)]
    pairs += [(len(a) - n, len(b) - n) for n in range(end, 0, -1)]
    middle_a, middle_b = range(begin, len(a) - end), range(begin, len(b) - end)
    pairs += _middle(left, right, middle_a, middle_b)
    moved = _by_name(left, right, pairs)
    left_out = (set(range(len(a))), set(range(len(b))))
    for one, other in (*pairs, *moved):
        left_out[0].discard(one)
        left_out[1].discard(other)
    more = _by_place(a, b, pairs, *left_out)
    pairs = sorted([*pairs, *moved, *more])
    only_a = sorted(left_out[0] - {one for one, _ in more})
    only_b = sorted(left_out[1] - {other for _, other in more})
    return Aligned(tuple(pairs), tuple(only_a), tuple(only_b), tuple(sorted(moved)))


def _shared_names(a: Sequence[ArchitectureRow], b: Sequence[ArchitectureRow]) -> frozenset[tuple[int, str]]:
    """(depth, name) of the layers somebody named, once on each side."""
    counts = [Counter((row.depth, row.name) for row in rows if not numbered(row)) for rows in (a, b)]
    return frozenset(name for name, count in counts[0].items() if count == 1 and counts[1].get(name) == 1)


def _key(row: ArchitectureRow, names: frozenset[tuple[int, str]]) -> Key:
    if (row.depth, row.name) in names:
        return row.depth, "name", row.name
    return row.depth, "class", class_of(row.class_name)


def _same(left: Sequence[Key], right: Sequence[Key]) -> int:
    count = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        count += 1
    return count


def _middle(left: Sequence[Key], right: Sequence[Key], in_a: range, in_b: range) -> list[tuple[int, int]]:
    if max(len(in_a), len(in_b)) > MOST_ALIGNED:
        return []
    matcher = SequenceMatcher(None, left[in_a.start : in_a.stop], right[in_b.start : in_b.stop], autojunk=False)
    return [
        (in_a.start + block.a + n, in_b.start + block.b + n)
        for block in matcher.get_matching_blocks()
        for n in range(block.size)
    ]


def _by_name(left: Sequence[Key], right: Sequence[Key], pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Layers of one name that the common order left out."""
    known = {one for one, _ in pairs}
    places = {key: place for place, key in enumerate(right) if key[1] == "name"}
    return [(n, places[key]) for n, key in enumerate(left) if n not in known and key in places]


def _by_place(
    a: Sequence[ArchitectureRow],
    b: Sequence[ArchitectureRow],
    pairs: Sequence[tuple[int, int]],
    lone_a: set[int],
    lone_b: set[int],
) -> list[tuple[int, int]]:
    """Between the same two paired layers as many lone ones on both sides: another class, or another name, in place."""
    out = []
    fences = [(-1, -1), *sorted(pairs), (len(a), len(b))]
    for (a_from, b_from), (a_to, b_to) in itertools.pairwise(fences):
        if b_to <= b_from:
            continue
        ours = [n for n in range(a_from + 1, a_to) if n in lone_a]
        theirs = [n for n in range(b_from + 1, b_to) if n in lone_b]
        if ours and len(ours) == len(theirs):
            out += [pair for pair in zip(ours, theirs, strict=True) if a[pair[0]].depth == b[pair[1]].depth]
    return out
