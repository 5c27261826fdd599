"""Random generators that never drew: dropout, noise and augmentation that never ran in training mode.

Two states are understood. Keras' SeedGenerator keeps [seed, counter] and adds 1 to the counter for
each draw (an unordered draw changes it too). TensorFlow's Generator keeps Philox' [counter, counter, key]; `from_seed`
puts the seed where the counter starts, and a draw moves it by multiples of 256.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from ckptui.core.catalogue import make
from ckptui.core.dtypes import is_float
from ckptui.core.model import Finding, Stats
from ckptui.core.names import clean
from ckptui.core.text import human_count
from ckptui.triage.values import Row

PHILOX_DRAW = 256
"""The least a draw moves Philox' counter by."""
_TENSORFLOW = re.compile(r"(?i)(.*/)?(_?state_?var)(_[0-9]+)?")
_OWNED = re.compile(r"(?:^|/)_?(?:seed|random)_generator")
_LISTED = re.compile(r"(.*variables/)([0-9]+)")
"""A variable in an export's list: its place there follows the layers'."""
_RECURRENT = "recurrent_kernel"


class State(NamedTuple):
    """What a generator's numbers say."""

    row: Row
    drew: bool
    seed: int | None


def generator_findings(path: str, rows: Sequence[Row], *, untrained: bool = False) -> list[Finding]:
    """`generator-unused` for each generator still at its start; `untrained`: the optimizer never stepped either.

    Recurrent cells have one whether they drop anything or not: theirs say nothing.
    """
    states = [state for row in rows if row[0].role == "rng-state" and (state := _state(row)) is not None]
    idle = [state for state in states if not state.drew]
    if not idle:
        return []
    cells = _Cells(rows)
    found = []
    for state in idle:
        tensor = state.row[0]
        if cells.own(tensor.name, tensor.object_path):
            continue
        detail = "its counter is where it started"
        if state.seed is not None:
            detail = f"seed {state.seed}, and the counter is where it started"
        if moved := sum(other.drew for other in states):
            detail += f"; {human_count(moved)} of {human_count(len(states))} generators of this save did draw"
        evidence: dict[str, Any] = {"seed": state.seed, "generators": len(states), "drew": moved}
        if untrained:
            evidence["also"] = "the optimizer never stepped"
            detail += "; the optimizer never stepped either"
        found.append(make("generator-unused", path, tensor.name, detail=detail, evidence=evidence))
    return found


def _state(row: Row) -> State | None:
    """Whether the generator drew; None where its numbers don't tell."""
    tensor, stats = row
    if stats is None or is_float(tensor.dtype) or stats.min is None:
        return None
    of_tensorflow = any(_TENSORFLOW.fullmatch(clean(name)) for name in (tensor.name, tensor.object_path))
    if of_tensorflow and tensor.shape == (3,):
        low, high, key = (_element(stats, place) for place in range(3))
        if low is None or high is None:
            return None
        # a larger start may be the seed itself
        return State(row, False, key or low) if high == 0 and 0 <= low < PHILOX_DRAW else None
    if not of_tensorflow and tensor.shape == (2,):
        seed, counter = _element(stats, 0), _element(stats, 1)
        return State(row, counter != 0, seed) if counter is not None else None
    return None


def _element(stats: Stats, place: int) -> int | None:
    """One of at most three numbers, from their statistics; None where those don't give it."""
    if stats.min is None or stats.max is None or stats.argmin is None or stats.argmax is None:
        return None
    if place == stats.argmin or stats.min == stats.max:
        return int(stats.min)
    if place == stats.argmax:
        return int(stats.max)
    if stats.count > 3:
        return None
    zeros = (stats.zeros or 0) - (stats.min == 0) - (stats.max == 0)
    return 0 if zeros > 0 else None


class _Cells:
    """Which generators belong to recurrent cells."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._kernels: set[str] = set()
        """Paths before the recurrent kernels, stored and the variables' own."""
        self._own: dict[str, str] = {}
        """The variables' own paths by place in an export's list."""
        for tensor, _ in rows:
            for name in (clean(tensor.name), tensor.object_path):
                before, _, last = name.rpartition("/")
                if last == _RECURRENT:
                    self._kernels.add(before)
            if _LISTED.fullmatch(clean(tensor.name)):
                self._own[clean(tensor.name)] = tensor.object_path

    def own(self, name: str, object_path: str) -> bool:
        """Whether a cell owns this generator: by the path before it, or by its place behind the cell's weights."""
        if not self._kernels:
            return False
        for path in (clean(name), object_path):
            owner = _OWNED.split(path)[0]
            if owner != path and owner in self._kernels:
                return True
        listed = _LISTED.fullmatch(clean(name))
        if listed is None:
            return False
        before = self._own.get(f"{listed[1]}{int(listed[2]) - 1}", "")
        return before.rpartition("/")[0] in self._kernels
