"""One pass over a tensor's bytes: checksum, statistics or the cheap test for non-finite values, and what they mean.

Runs in a reader child. Checksum and statistics are taken from the same piece while it is in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Literal, Protocol

import numpy as np

from ckptui.core import dtypes
from ckptui.core.catalogue import CODES, make
from ckptui.core.glance import Glance
from ckptui.core.model import Finding, Segment, Stats, Tensor, TensorScan
from ckptui.core.peaks import Peaks, PeakWatch
from ckptui.core.settling import BYTES
from ckptui.core.stats import StatsAccumulator
from ckptui.core.tiles import combine, combine_peaks
from ckptui.engine import checked
from ckptui.engine.blocks import BlockWatch, block_findings, watchable
from ckptui.engine.checked import Beat, Files, Verdict
from ckptui.errors import ChangedWhileReading, CkptuiError, Damaged

Array = np.ndarray[Any, Any]

READER_CHUNK = 1 << 20
"""Bytes asked of a reader at a time where only the reader knows the layout."""
WATCHED = frozenset({"float16", "bfloat16", "float32", "float64"})
"""Dtypes whose largest magnitudes are watched: of those with fewer bits any value is plausible."""
_COUNTED = ("finite", "nan", "posinf", "neginf")
_ALWAYS_IN_FULL = frozenset({"moving-mean", "moving-variance", "rng-state"})
"""Roles that are small, and judged by their extremes even without `stats`."""
_VARIANCE = "/variance"
"""What a Normalization calls its variance: judged by its smallest value."""


class ChunkReader(Protocol):
    """What a scan needs of a reader."""

    def chunks(self, tensor: Tensor, chunk_bytes: int) -> Iterator[Array]: ...


class ValueSink:
    """Takes a tensor's values: all statistics, or only what `check` needs of them."""

    def __init__(self, dtype: str, stats: bool) -> None:
        self._complex = dtypes.is_complex(dtype)
        self._watch = PeakWatch() if dtype in WATCHED else None
        self._taker: StatsAccumulator | Glance
        if stats and not self._complex:
            self._taker = StatsAccumulator(dtype, self._watch)
        else:
            self._taker = Glance(dtype, self._watch)
        self.add: Callable[[Array], None] = self._taker.add
        """Take the next values, 1-D."""

    @property
    def complete(self) -> bool:
        """Whether `result` holds every number the dtype has, and not only counts."""
        return self._complex or isinstance(self._taker, StatsAccumulator) or self._taker.complete

    def result(self) -> Stats:
        """The numbers; of the cheap test (and of complex values) the counts, unless all values are alike."""
        return self._taker.result()

    @property
    def peaks(self) -> Peaks | None:
        """The largest magnitudes of real floats of two bytes or more; None for other dtypes."""
        return None if self._watch is None else self._watch.result()


class Scanner:
    """Scans tensors of one artifact."""

    def __init__(
        self, artifact: str, reader: ChunkReader, files: Files, beat: Beat, *, stats: bool, check: bool
    ) -> None:
        """`artifact`: the path its findings name; without `check` no checksum is taken."""
        self._artifact = artifact
        self._reader = reader
        self.files = files
        self.beat = beat
        self._stats = stats
        self.check = check
        self._watch: BlockWatch | None = None
        """Over the tensor at hand, where nothing else vouches for its bytes."""
        self._peaks: Peaks | None = None
        """Of the tensor at hand."""

    def scan(self, tensor: Tensor) -> TensorScan:
        """Never raises for damage: it becomes findings."""
        verdict = Verdict()
        self._watch = self._peaks = None
        try:
            stats, complete = self._values(tensor, verdict)
            self.files.fence(tensor.storage)
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
            vouched = verdict.verified > 0 and not verdict.mismatches
            findings += self._about_values(tensor, stats, findings, vouched)
        word: Literal["ok", "mismatch", "none"] = "none"
        if verdict.verified:
            word = "mismatch" if verdict.mismatches else "ok"
        if dtypes.is_complex(tensor.dtype) and stats is not None:
            stats = Stats(stats.count)
        return TensorScan(tensor.name, stats if complete else None, word, tuple(findings), verdict.bytes)

    def mismatches(self, tensor: Tensor, verdict: Verdict) -> list[Finding]:
        """A finding for every checksum that was wrong."""
        if not verdict.mismatches:
            return []
        from ckptui.engine.mismatches import looked_at
        from ckptui.triage.causes import mismatch_finding

        return [
            mismatch_finding(self._artifact, tensor.name, looked_at(self.files, tensor, wrong, self.beat))
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
            if self.check:
                checked.check_bytes(self.files, storage, tensor.count, verdict, self.beat)
            return Stats(tensor.count), True
        if tensor.problem:
            raise Damaged(tensor.problem)
        if storage.encoding == "none":
            return Stats(tensor.count), True
        if storage.encoding == "v1" and self.check:
            checked.check_blocks(self._reader, tensor, verdict, self.beat)
        sink = self.sink(tensor)
        for chunk in self._reader.chunks(tensor, READER_CHUNK):
            sink.add(chunk)
            verdict.bytes += chunk.nbytes
            self.beat(chunk.nbytes)
        if tensor.dtype == "string":
            return Stats(tensor.count), True
        self._peaks = sink.peaks
        return sink.result(), sink.complete

    def sink(self, tensor: Tensor) -> ValueSink:
        """What takes the values of a tensor, or of a part of it."""
        small = tensor.role in _ALWAYS_IN_FULL or tensor.object_path.endswith(_VARIANCE)
        return ValueSink(tensor.dtype, self._stats or small)

    def _plain(self, tensor: Tensor, segment: Segment, verdict: Verdict) -> tuple[Stats | None, bool]:
        dtype = stored_dtype(tensor)
        expected = tensor.storage.crc32c if self.check else None
        sink = None
        if dtype is not None and tensor.count * dtype.itemsize == segment.bytes:
            sink = self.sink(tensor)
        if self.check and expected is None and watchable(self.files.get(segment.file), segment):
            self._watch = BlockWatch(segment)
        for view in checked.plain(self.files, segment, expected, verdict, self.beat):
            if sink is not None:
                sink.add(np.frombuffer(view, dtype))
            if self._watch is not None:
                self._watch.add(view)
        if sink is None:
            return None, False
        self._peaks = sink.peaks
        return sink.result(), sink.complete

    def _blocks(self, tensor: Tensor) -> list[Finding]:
        """What the watched bytes look like, in their places in the file."""
        dtype = stored_dtype(tensor)
        if self._watch is None or dtype is None:
            return []
        source = self.files.get(self._watch.segment.file)
        return block_findings(self._artifact, tensor, source, self._watch, dtype.itemsize, self.beat)

    def _slices(self, tensor: Tensor, verdict: Verdict) -> tuple[Stats | None, bool]:
        dtype = stored_dtype(tensor)
        parts, peaks = [], []
        complete = True
        for number, tile in enumerate(tensor.storage.slices):
            expected = tile.crc32c if self.check else None
            sink = self.sink(tensor)
            part = f"tile {number}"
            for view in checked.plain(self.files, tile.segment, expected, verdict, self.beat, part):
                if dtype is not None and len(view) % dtype.itemsize == 0:
                    sink.add(np.frombuffer(view, dtype))
            place = checked.place_in(tile, tensor.shape)
            parts.append((sink.result(), place))
            peaks.append((sink.peaks, place))
            complete = complete and sink.complete
        total = sum(stats.count for stats, _ in parts)
        if total != tensor.count:
            # tiles with holes, or none at all: half a tensor has no statistics
            return None, False
        self._peaks = combine_peaks(peaks)
        if any(stats.finite is not None and stats.zeros is None for stats, _ in parts):
            # of some tile only what is not finite was counted
            counts = {name: sum(getattr(stats, name) or 0 for stats, _ in parts) for name in _COUNTED}
            return Stats(total, **counts), complete
        return combine(parts, total), complete

    # ------------------------------------------------------------------ meaning

    def _about_values(self, tensor: Tensor, stats: Stats, damage: list[Finding], vouched: bool) -> list[Finding]:
        from ckptui.triage.values import value_findings

        found = value_findings(self._artifact, tensor, stats, None, peaks=self._peaks, vouched=vouched)
        if damage:
            # what a damaged tensor looks like says nothing about the training, but NaN is NaN
            kept = {"non-finite"} if any(f.code in BYTES for f in damage) else {"non-finite", "implausible-values"}
            found = [f for f in found if f.code in kept and not _made_by_flip(damage, stats)]
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
