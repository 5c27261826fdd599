"""Which tensor of each save goes on which row of a timeline, and which rows are read together."""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ckptui.core.dtypes import ITEMSIZE
from ckptui.core.matching import match
from ckptui.core.model import Listing, Tensor, TimelineRow
from ckptui.core.names import clean

GROUP_BYTES = 40 << 20
"""Values that one child keeps of the save before."""
FEW_BYTES = 2 << 20
"""Saves of up to so many bytes are read by one child: handing them out costs more than it brings."""
PART_BYTES = 32 << 20
"""Larger tensors are followed stretch by stretch."""

_CARVED = re.compile(r"(?:^|/)unnamed@\d+$")
"""What a reader calls a dataset that it found without a way to it: no name that another save has."""
_OPTIMIZER = frozenset({"slot", "counter", "step", "rng-state"})


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a row's tensor that is read at a time."""

    row: int
    number: int
    first: int
    count: int
    stream: bool = False
    """Too large to be kept, and not to be cut: read beside the save before."""

    @property
    def key(self) -> str:
        """What its values are kept under."""
        return f"{self.row}.{self.number}"


def parts_of(row: int, tensor: Tensor) -> list[Part]:
    """The stretches a tensor is read in: one, unless it is large."""
    size = ITEMSIZE.get(tensor.dtype, 0)
    total = tensor.count * size
    if total <= GROUP_BYTES:
        return [Part(row, 0, 0, tensor.count)]
    if tensor.storage.encoding != "plain":
        return [Part(row, 0, 0, tensor.count, stream=True)]
    step = PART_BYTES // size
    return [
        Part(row, number, first, min(step, tensor.count - first))
        for number, first in enumerate(range(0, tensor.count, step))
    ]


def kept_bytes(tensor: Tensor, part: Part) -> int:
    """What is kept of a part until the next save."""
    return 0 if part.stream else part.count * ITEMSIZE.get(tensor.dtype, 0) or min(tensor.bytes, 1 << 20)


@dataclass(slots=True)
class Groups:
    """Parts by window and group: a child goes through all saves with one group, then with the next."""

    groups: int
    """Groups that are worked on at a time: one a child."""
    current: int = 0
    """The window at work: no part can come into an earlier one."""
    windows: int = 1
    _slots: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    _sizes: dict[tuple[int, int], int] = field(default_factory=dict)

    def slot(self, part: Part, size: int) -> tuple[int, int]:
        """Window and group of a part, chosen when it is met first."""
        key = (part.row, part.number)
        known = self._slots.get(key)
        if known is not None:
            return known
        window = self.current
        while True:
            sizes = [self._sizes.get((window, group), 0) for group in range(self.groups)]
            lightest = min(range(self.groups), key=sizes.__getitem__)
            if sizes[lightest] + size <= GROUP_BYTES or not any(sizes):
                break
            window += 1
        self.windows = max(self.windows, window + 1)
        self._slots[key] = window, lightest
        self._sizes[window, lightest] = sizes[lightest] + max(size, 1)
        return window, lightest

    def known(self, part: Part) -> tuple[int, int] | None:
        """Window and group of a part that was met; None for others."""
        return self._slots.get((part.row, part.number))


@dataclass(slots=True)
class Rows:
    """The rows of a timeline, and which tensor of each save is on which."""

    pattern: re.Pattern[str] | None = None
    rows: list[TimelineRow] = field(default_factory=list)
    _latest: list[Tensor] = field(default_factory=list)
    """Tensors of the save taken last that are on a row."""
    _row_of: dict[str, int] = field(default_factory=dict)
    """Of those, by name."""
    _ever: dict[str, int] = field(default_factory=dict)
    """Rows by every name they ever had."""
    _listing: Listing | None = None

    def know(self, rows: Sequence[TimelineRow]) -> None:
        """Begin with rows of an earlier timeline, in their places."""
        self.rows = list(rows)
        for place, row in enumerate(rows):
            self._ever.setdefault(row.name, place)

    def take(self, listing: Listing, tensors: Sequence[Tensor]) -> tuple[array[int], tuple[TimelineRow, ...]]:
        """The row of each of `tensors` (-1: none), which are the listing's, and rows met for the first time."""
        wanted = [place for place, tensor in enumerate(tensors) if self._is_wanted(tensor)]
        first: dict[str, int] = {}
        for place in reversed(wanted):
            # a name that stands twice in an index counts once
            first[tensors[place].name] = place
        chosen = sorted(first.values())
        partners = self._partners(listing, [tensors[place] for place in chosen])
        out = array("q", [-1]) * len(tensors)
        taken: set[int] = set()
        later: list[int] = []
        for place in chosen:
            row = partners.get(tensors[place].name)
            if row is None or row in taken:
                later.append(place)
                continue
            taken.add(row)
            out[place] = row
        before = len(self.rows)
        for place in later:
            out[place] = self._returned_or_new(tensors[place], taken)
        for place in chosen:
            self._rename(out[place], tensors[place])
        self._latest = [tensors[place] for place in chosen]
        self._row_of = {tensors[place].name: out[place] for place in chosen}
        self._listing = replace(listing, tensors=self._latest, findings=(), signatures=())
        return out, tuple(self.rows[before:])

    def _is_wanted(self, tensor: Tensor) -> bool:
        if tensor.role == "object-graph" or _CARVED.search(tensor.name):
            return False
        pattern = self.pattern
        return pattern is None or bool(pattern.search(tensor.name) or pattern.search(tensor.object_path))

    def _partners(self, listing: Listing, tensors: Sequence[Tensor]) -> dict[str, int]:
        """The row of each tensor by name, as far as the save before tells."""
        earlier = self._latest
        alike = len(earlier) == len(tensors) and all(
            one.name == other.name and one.shape == other.shape and one.role == other.role
            for one, other in zip(earlier, tensors, strict=True)
        )
        if alike or not earlier:
            return dict(self._row_of)
        out: dict[str, int] = {}
        for one, other, _ in _matched(self._listing, replace(listing, tensors=tensors), earlier, tensors):
            if one is not None and other is not None and one.name in self._row_of:
                out[other.name] = self._row_of[one.name]
        return out

    def _returned_or_new(self, tensor: Tensor, taken: set[int]) -> int:
        """The row of a tensor that was missing for a while, by a name it had; else one of its own."""
        row = self._ever.get(tensor.name)
        if row is not None and row not in taken:
            known = self.rows[row]
            if known.shape == tensor.shape and (known.role in _OPTIMIZER) == (tensor.role in _OPTIMIZER):
                taken.add(row)
                return row
        self.rows.append(row_of(tensor))
        taken.add(len(self.rows) - 1)
        return len(self.rows) - 1

    def _rename(self, place: int, tensor: Tensor) -> None:
        """A row is called what its newest save calls it."""
        self._ever[tensor.name] = place
        row = self.rows[place]
        if (row.name, row.shape, row.dtype, row.layer) != (tensor.name, tensor.shape, tensor.dtype, tensor.layer):
            self.rows[place] = row_of(tensor)


def _matched(
    before: Listing | None, now: Listing, earlier: Sequence[Tensor], tensors: Sequence[Tensor]
) -> Sequence[tuple[Tensor | None, Tensor | None, str | None]]:
    from ckptui.core import matching

    whole = getattr(matching, "match_listings", None)
    if whole is not None and before is not None:
        found: Sequence[tuple[Tensor | None, Tensor | None, str | None]] = whole(before, now, None)
        return found
    return match(earlier, tensors)


def row_of(tensor: Tensor) -> TimelineRow:
    """The row a tensor begins."""
    own = clean(tensor.object_path or tensor.name)
    return TimelineRow(tensor.name, tensor.shape, tensor.dtype, tensor.role, tensor.layer, own)
