"""Many small tensors of a save at a time: neighbours are read at once, their numbers worked out side by side.

A tensor costs a dozen calls of numpy when it is taken by itself, whatever its size. What is out of the ordinary here
(a checksum that fails, values that are not finite or leave the range, a file that ends too early) is left to be read
by itself, which finds the right words for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from crc32c import crc32c

from ckptui.core import dtypes
from ckptui.core.model import Segment, Storage
from ckptui.engine import checked
from ckptui.engine.facts import TensorColumns
from ckptui.engine.stretch import Stretch
from ckptui.errors import CkptuiError

Array = np.ndarray[Any, Any]

SMALL_BYTES = 64 << 10
"""Tensors of up to so many bytes are taken together."""
BATCH_BYTES = 2 << 20
"""Of one batch; temporaries take a few times as much."""
GAP_BYTES = 16 << 10
"""Bytes between two tensors that are read along."""
FEWEST = 4
_FLOATS = frozenset({"float16", "bfloat16", "float32", "float64"})
_SMALL, _LARGE = 1e-280, 1e300
"""Between these a sum of squares has lost nothing."""


@dataclass(frozen=True, slots=True)
class _Small:
    """One tensor that can be taken with others."""

    item: int
    """Its place among the request's items."""
    key: str
    dtype: str
    count: int
    segment: Segment
    crc: int | None
    before: Array | None


def batched(
    items: Sequence[Any],
    columns: TensorColumns,
    files: checked.Files,
    kept: dict[str, Array],
    beat: Callable[[int], None],
) -> dict[int, Stretch]:
    """Numbers of the items that could be taken together, by place among `items`; `kept` holds their values then.

    An item is [key, place of the tensor, first element, elements, before], `before` being None or "kept" here.
    """
    found: dict[int, Stretch] = {}
    for group in _groups(items, columns, kept):
        for run in _runs(group):
            if len(run) >= FEWEST:
                found |= _numbers(run, files, kept, beat)
    return found


def _groups(items: Sequence[Any], columns: TensorColumns, kept: Mapping[str, Array]) -> Iterator[list[_Small]]:
    """Small tensors of one dtype and file, with and without something to compare them with."""
    groups: dict[tuple[str, str, bool], list[_Small]] = {}
    plain = columns.plain_rows()
    for number, (key, place, first, count, before) in enumerate(items):
        row = plain[place]
        if row is None or first or isinstance(before, list):
            continue
        dtype, total, segment, crc = row
        if dtype not in _FLOATS or count != total or not 0 < segment.bytes <= SMALL_BYTES:
            continue
        if segment.bytes != count * dtypes.ITEMSIZE[dtype]:
            continue
        held = kept.get(key) if before == "kept" else None
        if held is not None and (held.size != count or held.dtype != dtypes.np_dtype(dtype)):
            continue
        small = _Small(number, key, dtype, count, segment, crc, held)
        groups.setdefault((dtype, segment.file, held is not None), []).append(small)
    yield from groups.values()


def _runs(group: list[_Small]) -> Iterator[list[_Small]]:
    """Neighbours in the file, in order of their places."""
    run: list[_Small] = []
    start = end = 0
    for small in sorted(group, key=lambda one: one.segment.offset):
        at, stop = small.segment.offset, small.segment.offset + small.segment.bytes
        if run and not (end <= at <= end + GAP_BYTES and stop - start <= BATCH_BYTES):
            yield run
            run = []
        if not run:
            start = at
        run.append(small)
        end = stop
    if run:
        yield run


def _numbers(
    run: list[_Small], files: checked.Files, kept: dict[str, Array], beat: Callable[[int], None]
) -> dict[int, Stretch]:
    first, last = run[0].segment, run[-1].segment
    span = Segment(first.file, first.offset, last.offset + last.bytes - first.offset)
    try:
        raw = b"".join(bytes(view) for view in checked.plain(files, span, None, checked.Verdict(), lambda _: None))
        files.fence(Storage("plain", span))
    except CkptuiError:
        return {}
    crcs = []
    pieces = []
    sound = []
    dtype = dtypes.np_dtype(run[0].dtype)
    whole = memoryview(raw)
    for small in run:
        at = small.segment.offset - span.offset
        piece = whole[at : at + small.segment.bytes]
        crc = crc32c(piece)
        if small.crc is not None and crc != small.crc:
            continue
        crcs.append(crc)
        sound.append(small)
        pieces.append(np.frombuffer(piece, dtype))
    if not sound:
        return {}
    starts = np.cumsum([0, *(small.count for small in sound[:-1])])
    flat = np.concatenate(pieces)
    if not flat.dtype.isnative:
        return {}
    befores = [small.before for small in sound]
    told = _told(
        flat, np.concatenate([b for b in befores if b is not None]) if befores[0] is not None else None, starts
    )
    out = {}
    for place, small in enumerate(sound):
        numbers = told[place]
        if numbers is None:
            continue
        norm, distance, changed = numbers
        start = int(starts[place])
        values = flat[start : start + small.count]
        kept[small.key] = values
        beat(small.segment.bytes)
        value = float(values[0]) if small.count == 1 else None
        out[small.item] = Stretch(small.count, norm, distance, changed, 0, crcs[place], small.segment.bytes, value)
    return out


def _told(flat: Array, before: Array | None, starts: Array) -> list[tuple[float, float | None, int | None] | None]:
    """By tensor its norm, distance and changed elements; None where squares lose something."""
    with np.errstate(all="ignore"):
        wide = flat.astype(np.float64)
        norms = _norms(wide, starts)
        if before is None:
            return [None if norm is None else (norm, None, None) for norm in norms]
        kind = np.dtype(f"u{flat.dtype.itemsize}")
        differ = flat.view(kind) != before.view(kind)
        changed = np.add.reduceat(differ, starts, dtype=np.int64).tolist()
        distances = _norms(wide - before.astype(np.float64), starts)
    out: list[tuple[float, float | None, int | None] | None] = []
    for norm, distance, count in zip(norms, distances, changed, strict=True):
        if norm is None or distance is None:
            out.append(None)
        else:
            out.append((norm, distance, count))
    return out


def _norms(wide: Array, starts: Array) -> list[float | None]:
    """l2 of each stretch; None where a value is not finite or its square leaves the range."""
    squares = np.add.reduceat(wide * wide, starts)
    out: list[float | None] = [math.sqrt(s) if _SMALL < s < _LARGE else None for s in squares.tolist()]
    if None in out:
        largest = np.maximum.reduceat(np.abs(wide), starts).tolist()
        out = [0.0 if norm is None and top == 0.0 else norm for norm, top in zip(out, largest, strict=True)]
    return out
