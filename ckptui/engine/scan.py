"""One pass over a tensor's bytes: checksum, statistics or the cheap test for non-finite values, and what they mean.

Runs in a reader child. Checksum and statistics are taken from the same piece while it is in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal, Protocol

import numpy as np

from ckptui.core import dtypes
from ckptui.core.catalogue import CODES, make
from ckptui.core.model import Finding, Segment, Stats, Tensor, TensorScan
from ckptui.core.stats import StatsAccumulator, combine, nonfinite_in
from ckptui.engine import checked
from ckptui.engine.blocks import BlockWatch, block_findings, watchable
from ckptui.engine.checked import Beat, Files, Verdict
from ckptui.errors import ChangedWhileReading, CkptuiError, Damaged

Array = np.ndarray[Any, Any]

READER_CHUNK = 1 << 20
"""Bytes asked of a reader at a time where only the reader knows the layout."""
_ALIKE = 16
"""A tensor whose first values are all equal is looked at in full, so that `check` finds constant ones."""
_COUNTED = ("finite", "nan", "posinf", "neginf")
_ALWAYS_IN_FULL = frozenset({"moving-mean", "moving-variance"})
"""Roles that are small, and judged by their extremes even without `stats`."""


class ChunkReader(Protocol):
    """What a scan needs of a reader."""

    def chunks(self, tensor: Tensor, chunk_bytes: int) -> Iterator[Array]: ...


class ValueSink:
    """Takes a tensor's values: all statistics, or only what `check` needs of them."""

    def __init__(self, dtype: str, stats: bool) -> None:
        self._dtype = dtype
        wanted = stats and not dtypes.is_complex(dtype)
        self._full: StatsAccumulator | None = StatsAccumulator(dtype) if wanted else None
        self._may_be_nonfinite = dtypes.is_float(dtype) or dtypes.is_complex(dtype)
        self._count = self._nan = self._posinf = self._neginf = 0

    def add(self, chunk: Array) -> None:
        """Take the next values, 1-D."""
        if self._full is None and not self._count and _alike(chunk):
            self._full = StatsAccumulator(self._dtype)
        if self._full is not None:
            self._full.add(chunk)
            return
        self._count += chunk.size
        if self._may_be_nonfinite and nonfinite_in(chunk):
            with np.errstate(invalid="ignore"):
                wide = chunk.astype(np.complex128 if chunk.dtype.kind == "c" else np.float64)
            nan = np.isnan(wide)
            infinite = np.isinf(wide) & ~nan
            negative = int(np.count_nonzero(wide.real[infinite] == -np.inf))
            self._nan += int(np.count_nonzero(nan))
            self._neginf += negative
            self._posinf += int(np.count_nonzero(infinite)) - negative

    @property
    def complete(self) -> bool:
        """Whether `result` holds every number the dtype has, and not only counts."""
        return self._full is not None or dtypes.is_complex(self._dtype)

    def result(self) -> Stats:
        """The numbers; of the cheap test (and of complex values) the counts."""
        if self._full is not None:
            return self._full.result()
        bad = (self._nan, self._posinf, self._neginf)
        return Stats(self._count, self._count - sum(bad), *bad)


class Scanner:
    """Scans tensors of one artifact."""

    def __init__(
        self, artifact: str, reader: ChunkReader, files: Files, beat: Beat, *, stats: bool, check: bool
    ) -> None:
        """`artifact`: the path its findings name; without `check` no checksum is taken."""
        self._artifact = artifact
        self._reader = reader
        self._files = files
        self._beat = beat
        self._stats = stats
        self._check = check
        self._watch: BlockWatch | None = None
        """Over the tensor at hand, where nothing else vouches for its bytes."""

    def scan(self, tensor: Tensor) -> TensorScan:
        """Never raises for damage: it becomes findings."""
        verdict = Verdict()
        self._watch = None
        try:
            stats, complete = self._values(tensor, verdict)
            self._files.fence(tensor.storage)
        except CkptuiError as error:
            if verdict.mismatches and isinstance(error, Damaged):
                # bytes that fail their checksum need make no sense: that is not a second kind of damage
                return TensorScan(tensor.name, None, "mismatch", tuple(self.mismatches(tensor, verdict)), verdict.bytes)
            # what the directory already tells is in the listing's findings: it is not told twice
            known = bool(tensor.problem) and not isinstance(error, ChangedWhileReading)
            told = () if known else (self.trouble(tensor, error),)
            wrong = isinstance(error, Damaged) and error.code == "checksum-mismatch"
            return TensorScan(tensor.name, None, "mismatch" if wrong else "unread", told, verdict.bytes)
        findings = self.mismatches(tensor, verdict) + self._blocks(tensor)
        if stats is not None:
            findings += self._about_values(tensor, stats, findings)
        word: Literal["ok", "mismatch", "none"] = "none"
        if verdict.verified:
            word = "mismatch" if verdict.mismatches else "ok"
        if dtypes.is_complex(tensor.dtype) and stats is not None:
            stats = Stats(stats.count)
        return TensorScan(tensor.name, stats if complete else None, word, tuple(findings), verdict.bytes)

    def mismatches(self, tensor: Tensor, verdict: Verdict) -> list[Finding]:
        """A finding for every checksum that was wrong."""
        from ckptui.engine.mismatches import looked_at
        from ckptui.triage.causes import mismatch_finding

        return [
            mismatch_finding(self._artifact, tensor.name, looked_at(self._files, tensor, wrong, self._beat))
            for wrong in verdict.mismatches
        ]

    def trouble(self, tensor: Tensor, error: CkptuiError) -> Finding:
        """The finding for bytes that could not be read."""
        evidence = dict(error.evidence) if isinstance(error, Damaged) else {}
        if isinstance(error, ChangedWhileReading):
            code = "changed-while-reading"
        elif isinstance(error, Damaged) and error.code in CODES:
            return make(error.code, self._artifact, tensor.name, detail=error.detail, evidence=evidence)
        else:
            code = "entry-invalid"
        title = None if code == "changed-while-reading" else error.title
        return make(code, self._artifact, tensor.name, detail=error.detail, evidence=evidence, title=title)

    # ------------------------------------------------------------------ values

    def _values(self, tensor: Tensor, verdict: Verdict) -> tuple[Stats | None, bool]:
        """What the values said, and whether that is all there is to say."""
        storage = tensor.storage
        if storage.encoding == "plain" and storage.segment is not None:
            return self._plain(tensor, storage.segment, verdict)
        if storage.encoding == "slices":
            return self._slices(tensor, verdict)
        if storage.encoding in ("strings", "variant"):
            if self._check:
                checked.check_bytes(self._files, storage, tensor.count, verdict, self._beat)
            return Stats(tensor.count), True
        if tensor.problem:
            raise Damaged(tensor.problem)
        if storage.encoding == "none":
            return Stats(tensor.count), True
        if storage.encoding == "v1" and self._check:
            checked.check_blocks(self._reader, tensor, verdict, self._beat)
        sink = self._sink(tensor)
        for chunk in self._reader.chunks(tensor, READER_CHUNK):
            sink.add(chunk)
            verdict.bytes += chunk.nbytes
            self._beat(chunk.nbytes)
        if tensor.dtype == "string":
            return Stats(tensor.count), True
        return sink.result(), sink.complete

    def _sink(self, tensor: Tensor) -> ValueSink:
        return ValueSink(tensor.dtype, self._stats or tensor.role in _ALWAYS_IN_FULL)

    def _plain(self, tensor: Tensor, segment: Segment, verdict: Verdict) -> tuple[Stats | None, bool]:
        dtype = stored_dtype(tensor)
        expected = tensor.storage.crc32c if self._check else None
        sink = None
        if dtype is not None and tensor.count * dtype.itemsize == segment.bytes:
            sink = self._sink(tensor)
        if self._check and expected is None and watchable(self._files.get(segment.file), segment):
            self._watch = BlockWatch(segment)
        for view in checked.plain(self._files, segment, expected, verdict, self._beat):
            if sink is not None:
                sink.add(np.frombuffer(view, dtype))
            if self._watch is not None:
                self._watch.add(view)
        return (None, False) if sink is None else (sink.result(), sink.complete)

    def _blocks(self, tensor: Tensor) -> list[Finding]:
        """What the watched bytes look like, in their places in the file."""
        dtype = stored_dtype(tensor)
        if self._watch is None or dtype is None:
            return []
        source = self._files.get(self._watch.segment.file)
        return block_findings(self._artifact, tensor, source, self._watch, dtype.itemsize, self._beat)

    def _slices(self, tensor: Tensor, verdict: Verdict) -> tuple[Stats | None, bool]:
        dtype = stored_dtype(tensor)
        parts = []
        complete = True
        for number, tile in enumerate(tensor.storage.slices):
            expected = tile.crc32c if self._check else None
            sink = self._sink(tensor)
            part = f"tile {number}"
            for view in checked.plain(self._files, tile.segment, expected, verdict, self._beat, part):
                if dtype is not None and len(view) % dtype.itemsize == 0:
                    sink.add(np.frombuffer(view, dtype))
            parts.append((sink.result(), checked.place_in(tile, tensor.shape)))
            complete = complete and sink.complete
        total = sum(stats.count for stats, _ in parts)
        if total != tensor.count:
            # tiles with holes, or none at all: half a tensor has no statistics
            return None, False
        if any(stats.finite is not None and stats.zeros is None for stats, _ in parts):
            # of some tile only what is not finite was counted
            counts = {name: sum(getattr(stats, name) or 0 for stats, _ in parts) for name in _COUNTED}
            return Stats(total, **counts), complete
        return combine(parts, total), complete

    # ------------------------------------------------------------------ meaning

    def _about_values(self, tensor: Tensor, stats: Stats, damage: list[Finding]) -> list[Finding]:
        from ckptui.triage.values import value_findings

        found = value_findings(self._artifact, tensor, stats, None)
        if damage:
            # what a damaged tensor looks like says nothing about the training, but NaN is NaN
            found = [f for f in found if f.code == "non-finite" and not _made_by_flip(damage, stats)]
        return found


def stored_dtype(tensor: Tensor) -> np.dtype[Any] | None:
    """How one stored element of a plain or sliced tensor is to be read; None for dtypes without a fixed size."""
    if tensor.storage.npy_dtype:
        return np.dtype(tensor.storage.npy_dtype)
    if tensor.dtype not in dtypes.ITEMSIZE:
        return None
    dtype = dtypes.np_dtype(tensor.dtype)
    return dtype.newbyteorder(">") if tensor.storage.big_endian else dtype


def _made_by_flip(damage: list[Finding], stats: Stats) -> bool:
    """Is the one value that is not finite the one whose bit is flipped? It was a number before."""
    bad = (stats.nan or 0) + (stats.posinf or 0) + (stats.neginf or 0)
    values = [flip.get("value_found") for f in damage if (flip := f.evidence.get("flipped_bit")) is not None]
    flat = [part for value in values for part in (value if isinstance(value, list) else [value])]
    return 0 < bad <= sum(isinstance(part, float) and not math.isfinite(part) for part in flat)


def _alike(chunk: Array) -> bool:
    if chunk.dtype.kind in "Oc" or not chunk.size:
        return False
    raw = chunk[:_ALIKE].tobytes()
    return raw == raw[: chunk.dtype.itemsize] * min(chunk.size, _ALIKE)
