"""A plan carried out: the tensors that survive, written as a complete checkpoint or file, and the report."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from ckptui.array_files import Written, refusal, write_npz, write_safetensors
from ckptui.core.model import Progress, Tensor
from ckptui.core.names import OBJECT_GRAPH_KEY
from ckptui.core.salvage import SalvageItem, SalvagePlan, SalvageReport
from ckptui.engine.pool import Pool
from ckptui.engine.stored import encoded
from ckptui.errors import Cancelled, ChangedWhileReading, CkptuiError, Damaged, UsageError
from ckptui.readers.values import decode_strings
from ckptui.salvage.bundle_writer import BundleWriter
from ckptui.salvage.fetching import Fetcher
from ckptui.salvage.graph_edit import without
from ckptui.salvage.planning import stamps_of
from ckptui.salvage.publishing import SHARD, Pending, refused
from ckptui.salvage.targets import Place, look_at
from ckptui.salvage.weights_writer import WeightsWriter, WriterFailed

PROGRESS_SECONDS = 0.1


def with_repairs(plan: SalvagePlan) -> SalvagePlan:
    """The plan with every flipped bit to be turned back."""
    return replace(
        plan, items=tuple(replace(i, outcome="repaired") if i.outcome == "repairable" else i for i in plan.items)
    )


def salvage(
    pool: Pool,
    plan: SalvagePlan,
    target: str,
    *,
    repair_bits: bool = False,
    cancel: threading.Event | None = None,
) -> Iterator[Progress | SalvageReport]:
    """See `Session.salvage`."""
    artifact = plan.artifact
    place = look_at(target, artifact.path, artifact.kind)
    if repair_bits:
        plan = with_repairs(plan)
    if place.target not in plan.targets:
        hint = f"It can be written as {' or '.join(plan.targets)}"
        raise UsageError(f"a {artifact.kind} like this can't become a {place.target}", hint)
    if not plan.writable:
        raise nothing_left(plan)
    _unchanged(plan)
    clock = _Clock(sum(item.bytes for item in plan.writable), len(plan.writable))
    stop = _Stop(cancel)
    job = _Job(pool, plan, place, stop, clock)
    with Pending(place.folder) as pending:
        yield from _watched(lambda: job.write(pending), clock, stop)
        pending.publish(job.order)
    assert job.made is not None
    yield job.made


def _watched(work: Callable[[], None], clock: _Clock, stop: _Stop) -> Iterator[Progress]:
    """Carry out `work` in a thread and tell how far it is; what it raises is raised here."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            # carried over to the consumer's thread
            failed.append(error)

    thread = threading.Thread(target=run, name="ckptui-salvage", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(PROGRESS_SECONDS)
            yield clock.progress()
    finally:
        stop.set()
        thread.join()
    if failed:
        raise failed[0]


def nothing_left(plan: SalvagePlan) -> UsageError:
    """The error of a plan that would write nothing."""
    repairable = plan.summary["repairable"]
    if repairable:
        hint = f"{repairable} tensors need one bit turned back: --repair-bits"
    elif plan.artifact.kind in ("tf-checkpoint", "saved-model") and plan.unnamed is None and not plan.layout:
        hint = "Name another save of the same model: --layout SIBLING"
    else:
        hint = "Copy the files again from where they were written"
    return UsageError(f"nothing can be recovered from {plan.artifact.path}", hint)


def _unchanged(plan: SalvagePlan) -> None:
    """Raise ChangedWhileReading unless every file of the save is the one that was planned on."""
    now = stamps_of(plan.artifact.path, plan.items)
    for file, stamp in plan.stamps.items():
        if now.get(file) != stamp:
            raise ChangedWhileReading(f"{file} is not what it was when the salvage was planned", "Plan it again")


class _Stop(threading.Event):
    """Set when the consumer goes away, or when the user takes the salvage back."""

    def __init__(self, other: threading.Event | None) -> None:
        super().__init__()
        self._other = other

    def is_set(self) -> bool:
        return super().is_set() or (self._other is not None and self._other.is_set())


def _place(item: SalvageItem) -> tuple[str, int]:
    """Where a tensor lies: they are read and written in the order in which the save has them."""
    assert item.source is not None
    storage = item.source.storage
    segment = storage.segment or (storage.slices[0].segment if storage.slices else None)
    return ("", 0) if segment is None else (segment.file, segment.offset)


class _Clock:
    """How far the writing is."""

    def __init__(self, total_bytes: int, total: int) -> None:
        self._total_bytes, self._total = total_bytes, total
        self._begun = time.monotonic()
        self.bytes = self.done = 0
        self.current = ""

    def beat(self, name: str, count: int) -> None:
        """Bytes of a tensor have come."""
        self.current = name
        self.bytes += count

    def progress(self) -> Progress:
        seconds = time.monotonic() - self._begun
        done = min(self.bytes, self._total_bytes)
        return Progress(done, self._total_bytes, self.done, self._total, seconds, self.current)


class _Job:
    """One salvage being written."""

    def __init__(self, pool: Pool, plan: SalvagePlan, place: Place, stop: threading.Event, clock: _Clock) -> None:
        self._plan, self._place, self._clock, self._stop = plan, place, clock, stop
        self._items = {item.name: item for item in plan.items}
        self._chosen = sorted(plan.writable, key=_place)
        names, artifact = [item.name for item in self._chosen], plan.artifact
        self._fetcher = Fetcher(pool, artifact.path, artifact.kind, self._items, names, stop, clock.beat)
        self._size = 0
        self.order: list[str] = []
        """The names to be given, in that order: what makes a save of the files comes last."""
        self.made: SalvageReport | None = None

    def write(self, pending: Pending) -> None:
        """Write the files and the report under temporary names.

        Raises:
            Cancelled, ChangedWhileReading, UsageError (nothing could be written after all), CkptuiError (the disk).
        """
        try:
            if self._place.target == "checkpoint":
                self._checkpoint(pending)
            elif self._place.target == ".weights.h5":
                self._weights(pending)
            else:
                self._arrays(pending)
            _unchanged(self._plan)
            self._report(pending)
        except OSError as error:
            raise refused(error, self._place.folder) from error
        if self._stop.is_set():
            raise Cancelled("salvage")

    def _report(self, pending: Pending) -> None:
        plan = replace(self._plan, items=tuple(self._items.values()))
        if not plan.writable:
            raise nothing_left(plan)
        place = self._place
        self.order.insert(len(self.order) - 1, place.report)
        self.made = SalvageReport(plan, place.path, place.target, tuple(sorted(self.order)), self._size)
        file = pending.file(place.report)
        file.write(json.dumps(self.made.to_json(), indent=1, allow_nan=False).encode() + b"\n")

    # ------------------------------------------------------------------ a checkpoint

    def _checkpoint(self, pending: Pending) -> None:
        shard, index = self._place.path + SHARD, self._place.path + ".index"
        writer = BundleWriter(pending.file(shard))
        graph = self._items.get(OBJECT_GRAPH_KEY)
        for item in self._chosen:
            if item is not graph:
                self._tensor(writer, item)
        if graph is not None and graph in self._plan.writable:
            # the last, as every writer has it: by now it is known what is lost
            self._graph(writer, graph)
        out = pending.file(index)
        size = 0
        for piece in writer.index():
            out.write(piece)
            size += len(piece)
        self._size = writer.size + size
        self.order = [shard, index]

    def _tensor(self, writer: BundleWriter, item: SalvageItem) -> None:
        try:
            for piece in self._fetcher.stored(item.name):
                writer.write(piece)
            writer.commit(item.name, item.dtype, item.shape, self._fetcher.size, self._fetcher.crc)
        except (Cancelled, ChangedWhileReading):
            raise
        except (CkptuiError, ValueError) as error:
            writer.discard()
            self._lose(item, error.detail if isinstance(error, CkptuiError) else str(error))
        self._clock.done += 1

    def _graph(self, writer: BundleWriter, item: SalvageItem) -> None:
        """The object graph, without what is lost: a restore fails on a key that is not there."""
        absent = {name for name, other in self._items.items() if other.outcome in ("lost", "repairable")}
        # a table is one key in the graph and two in the index, `-keys` and `-values`
        lost = absent | {name.rpartition("-")[0] for name in absent if name.endswith(("-keys", "-values"))}
        if not lost:
            self._tensor(writer, item)
            return
        try:
            raw = b"".join(map(bytes, self._fetcher.stored(item.name)))
            strings, _, _ = decode_strings(raw, 1)
            edited, dropped = without(strings[0], lost)
        except (Damaged, IndexError) as error:
            self._lose(item, str(error))
            return
        stored, crc = encoded([edited])
        writer.write(stored)
        writer.commit(item.name, item.dtype, item.shape, len(stored), crc)
        if dropped:
            self._items[item.name] = replace(item, evidence={**item.evidence, "attributes_dropped": dropped})
        self._clock.done += 1

    def _lose(self, item: SalvageItem, reason: str) -> None:
        """A tensor that is not in what is written."""
        self._items[item.name] = replace(item, outcome="lost", reason=reason, source=None, repairs=(), holes=())

    # ------------------------------------------------------------------ one file

    def _arrays(self, pending: Pending) -> None:
        suffix, written = self._place.target, Written()
        tensors: list[Tensor] = []
        for item in self._chosen:
            assert item.source is not None
            reason = refusal(item.source, suffix)
            if reason:
                self._lose(item, f"not written: {reason}")
            else:
                tensors.append(item.source)
        out = pending.file(self._place.path)
        if suffix == ".npz":
            write_npz(self._fetcher, tensors, out, written)
        elif tensors:
            write_safetensors(self._fetcher, tensors, out, written, self._plan.artifact.label)
        for name, reason in written.left_out:
            self._lose(self._items[name], f"not written: {reason}")
        out.flush()
        self._size = out.tell()
        self.order = [self._place.path]

    def _weights(self, pending: Pending) -> None:
        file = pending.file(self._place.path)
        with WeightsWriter(pending.path(self._place.path)) as writer:
            for item in self._chosen:
                path = self._plan.places.get(item.name)
                if path is None:
                    self._lose(item, "not written: Keras has no place for it in a .weights.h5")
                    continue
                try:
                    writer.dataset(path, item.dtype, item.shape, self._fetcher.stored(item.name))
                except (Cancelled, ChangedWhileReading, WriterFailed):
                    raise
                except CkptuiError as error:
                    self._lose(item, error.detail)
                self._clock.done += 1
        self._size = os.fstat(file.fileno()).st_size
        self.order = [self._place.path]
