"""One huge tensor read by several children: each takes a piece, the parent puts their answers together.

Only what is whole is put together: pieces that do not give the stored checksum, that fail, that come from different
states of the file, or in which sectors look lost or doubled are not judged here. Such a tensor is scanned once more,
by one child, which says what is wrong as for any other.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from ckptui.core import dtypes
from ckptui.core.crc import combined
from ckptui.core.model import Segment, Stats, Tensor, TensorScan
from ckptui.engine.facts import pack, unpack
from ckptui.errors import Damaged, ReaderFailed
from ckptui.readers.zeros import SECTOR

if TYPE_CHECKING:
    from ckptui.core.peaks import Peaks
    from ckptui.engine.scan import Scanner

SPLIT_BYTES = 64 << 20
"""Tensors from this size on are split."""
PIECE_BYTES = 32 << 20
MOST_PIECES = 4096
PAGE = 4096
_PEAKS = ("largest", "at", "second", "bits", "odd_at", "odd_bits")
_COUNTS = ("finite", "nan", "posinf", "neginf")

Item = tuple[str, int, int]
"""Tensor, and the first byte and the bytes of a piece within it."""


def pieces_of(tensor: Tensor) -> list[Item]:
    """The pieces of a tensor, front to back; empty for one that is not split.

    They begin on pages of the file where its elements allow it, so that its sectors lie in one piece each.
    """
    segment, size = tensor.storage.segment, dtypes.ITEMSIZE.get(tensor.dtype, 0)
    plain = tensor.storage.encoding == "plain" and not tensor.storage.npy_dtype and not tensor.problem
    if segment is None or not plain or not size or segment.bytes < max(SPLIT_BYTES, 2 * PAGE):
        return []
    if tensor.count * size != segment.bytes:
        return []
    # the larger the fewer requests, as long as the last piece keeps nobody waiting
    wanted = max(PIECE_BYTES, min(2 * PIECE_BYTES, segment.bytes // 16), -(-segment.bytes // MOST_PIECES))
    step = -(-wanted // PAGE) * PAGE
    first = step - segment.offset % PAGE
    if first % size:
        if tensor.storage.crc32c is None:
            return []
        first = step
    starts = [0, *range(first, segment.bytes, step)]
    ends = [*starts[1:], segment.bytes]
    return [(tensor.name, start, end - start) for start, end in zip(starts, ends, strict=True)]


# ---------------------------------------------------------------------- in a child


def scan_piece(scanner: Scanner, tensor: Tensor, start: int, count: int) -> dict[str, Any]:
    """What bytes `start` to `start + count` of a plain tensor give; raises what reading raises."""
    import numpy as np
    from crc32c import crc32c

    from ckptui.engine import checked
    from ckptui.engine.blocks import MAX_SECTORS, BlockWatch, watchable
    from ckptui.engine.scan import stored_dtype

    whole, dtype = tensor.storage.segment, stored_dtype(tensor)
    if whole is None or dtype is None or not 0 <= start <= start + count <= whole.bytes:
        raise Damaged(f"{tensor.name} has no bytes {start} to {start + count}")
    files, vouched = scanner.files, tensor.storage.crc32c is not None and scanner.check
    segment = Segment(whole.file, whole.offset + start, count)
    source = files.get(segment.file)
    sink = scanner.sink(tensor)
    watch = None
    if scanner.check and not vouched and watchable(source, whole):
        watch = BlockWatch(segment, MAX_SECTORS - start // SECTOR)
    crc = 0
    for view in checked.plain(files, segment, None, checked.Verdict(), scanner.beat):
        if vouched:
            crc = crc32c(view, crc)
        sink.add(np.frombuffer(view, dtype))
        if watch is not None:
            watch.add(view)
    files.fence(tensor.storage)
    peaks = sink.peaks
    return {
        "crc": crc,
        "stats": pack(sink.result()),
        "complete": sink.complete,
        "peaks": None if peaks is None else [getattr(peaks, name) for name in _PEAKS],
        "sectors": None if watch is None else base64.b64encode(watch.keys().tobytes()).decode("ascii"),
        "zeros": 0 if watch is None else len(watch.zeros) + watch.sparse,
        "stamp": list(source.stamp),
    }


# ---------------------------------------------------------------------- in the parent


@dataclass(slots=True)
class _Piece:
    stats: Stats
    complete: bool
    peaks: Peaks | None
    crc: int
    sectors: bytes
    zeros: int
    stamp: tuple[int, ...]


@dataclass(slots=True)
class Parts:
    """The answers for the pieces of one tensor, as they come."""

    tensor: Tensor
    items: list[Item]
    pieces: dict[int, _Piece | None] = field(default_factory=dict)
    """By place in `items`; None for an answer that makes no sense."""

    def take(self, number: int, doc: Any) -> None:
        """Note the answer for one piece."""
        try:
            self.pieces[number] = _piece(doc)
        except (ReaderFailed, KeyError, TypeError, ValueError):
            self.pieces[number] = None

    @property
    def all_here(self) -> bool:
        """Every piece has an answer."""
        return len(self.pieces) == len(self.items)

    def joined(self, artifact: str, *, check: bool) -> TensorScan | None:
        """The scan of the whole tensor; None where anything is odd. `artifact`: the path findings name."""
        pieces = [piece for _, piece in sorted(self.pieces.items()) if piece is not None]
        if len(pieces) < len(self.items):
            return None
        if len({piece.stamp for piece in pieces}) != 1 or any(piece.zeros for piece in pieces):
            return None
        tensor, size = self.tensor, dtypes.ITEMSIZE[self.tensor.dtype]
        if any(piece.stats.count * size != item[2] for piece, item in zip(pieces, self.items, strict=True)):
            return None
        expected = tensor.storage.crc32c if check else None
        if expected is not None and self._crc(pieces) != expected:
            return None
        if check and expected is None and _repeats(pieces):
            return None
        return _told(artifact, tensor, pieces, [item[1] // size for item in self.items], vouched=expected is not None)

    def _crc(self, pieces: Sequence[_Piece]) -> int:
        crc = pieces[0].crc
        for piece, (_, _, count) in zip(pieces[1:], self.items[1:], strict=True):
            crc = combined(crc, piece.crc, count)
        return crc


def _told(artifact: str, tensor: Tensor, pieces: Sequence[_Piece], firsts: list[int], *, vouched: bool) -> TensorScan:
    from ckptui.core.tiles import combine_peaks
    from ckptui.triage.values import value_findings

    places = [first.__add__ for first in firsts]
    stats, complete = _numbers(tensor, pieces, firsts)
    peaks = combine_peaks([(piece.peaks, place) for piece, place in zip(pieces, places, strict=True)])
    findings = value_findings(artifact, tensor, stats, None, peaks=peaks, vouched=vouched)
    if dtypes.is_complex(tensor.dtype):
        stats = Stats(stats.count)
    read = sum(piece.stats.count for piece in pieces) * dtypes.ITEMSIZE[tensor.dtype]
    word: Literal["ok", "none"] = "ok" if vouched else "none"
    return TensorScan(tensor.name, stats if complete else None, word, tuple(findings), read)


def _numbers(tensor: Tensor, pieces: Sequence[_Piece], firsts: Sequence[int]) -> tuple[Stats, bool]:
    """Stats of the whole, and whether they are all there are, as one sink would have them."""
    from ckptui.core.tiles import combine

    all_stats = [piece.stats for piece in pieces]
    counted = any(stats.finite is not None and stats.zeros is None for stats in all_stats)
    alike = len({(stats.min, stats.max) for stats in all_stats}) == 1 and all_stats[0].min == all_stats[0].max
    complete = all(piece.complete for piece in pieces)
    if counted:
        counts = {name: sum(getattr(stats, name) or 0 for stats in all_stats) for name in _COUNTS}
        return Stats(tensor.count, **counts), complete
    parts = [(stats, first.__add__) for stats, first in zip(all_stats, firsts, strict=True)]
    found = combine(parts, tensor.count)
    if alike and found.min is not None:
        found = replace(found, mean=float(found.min), std=0.0)
    return found, complete


def _repeats(pieces: Sequence[_Piece]) -> bool:
    """Whether sectors of the whole may repeat each other."""
    from ckptui.engine.blocks import BlockWatch

    if not any(piece.sectors for piece in pieces):
        return False
    watch = BlockWatch(Segment("", 0, 0))
    watch.take_keys([piece.sectors for piece in pieces])
    return bool(watch.repeats())


def _piece(doc: Any) -> _Piece:
    """A child's answer. Raises ReaderFailed, KeyError, TypeError or ValueError for anything else."""
    peaks: Peaks | None = None
    if doc["peaks"] is not None:
        from ckptui.core.peaks import Peaks

        facts = dict(zip(_PEAKS, doc["peaks"], strict=True))
        for name, value in facts.items():
            known = (int, float) if name in ("largest", "second") else (int,)
            if value is not None and type(value) not in known:
                raise TypeError(name)
        peaks = Peaks(**facts)
    numbers = (doc["crc"], doc["zeros"], *doc["stamp"])
    if any(type(number) is not int for number in numbers) or type(doc["complete"]) is not bool:
        raise TypeError("a number")
    sectors = base64.b64decode(doc["sectors"] or "", validate=True)
    stats = unpack(doc["stats"], Stats)
    return _Piece(stats, doc["complete"], peaks, doc["crc"], sectors, doc["zeros"], tuple(doc["stamp"]))
