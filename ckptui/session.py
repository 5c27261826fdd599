"""The use cases: what screens and commands ask for. Blocking and thread-safe; decides, draws nothing.

Bounded pure-Python reading (discovery, checkpoint index, state file) happens here; everything that parses HDF5 or a
graph or passes over tensor bytes runs in reader children, predictions in the worker.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ckptui.comparison import ComparisonUseCases
from ckptui.config import Settings, load_settings
from ckptui.core.model import (
    Finding,
    Found,
    Kind,
    Layer,
    Listing,
    Progress,
    RunFolder,
    Status,
    Tensor,
    TensorScan,
    worst_status,
)
from ckptui.core.runs import RunVerdict
from ckptui.diagnosis import DiagnosisUseCases
from ckptui.engine.use_cases import ValueUseCases
from ckptui.following import TimelineUseCases
from ckptui.predict.use_cases import PredictUseCases
from ckptui.recall import Recall
from ckptui.salvage.use_cases import SalvageUseCases

if TYPE_CHECKING:
    from ckptui.engine.pool import Pool
    from ckptui.predict.predictor import Predictor

IN_PROCESS: frozenset[str] = frozenset({"tf-checkpoint", "tf-checkpoint-v1"})
"""Kinds whose listing is bounded pure Python, read without a child."""


VERIFIED: frozenset[str] = frozenset({"keras-archive", "tf-checkpoint-v1"})
"""Kinds with checksums beside those of single tensors."""
WITH_GRAPHS: frozenset[str] = frozenset({"tf-checkpoint"})
"""Kinds that may have a meta graph beside them."""

NAMES_FIRST = 20_000
"""With more tensors than this a screen gets the names first; entries are decoded when they are seen."""


@runtime_checkable
class Uncounted(Protocol):
    """A reader that can list names without decoding every entry for a count of parameters."""

    def listing(self, *, count: bool = True) -> Listing: ...


FILTERED = ("kernel", "embedding")
"""Roles of the tensors that are looked at filter by filter."""


class Session(ComparisonUseCases, DiagnosisUseCases, PredictUseCases, SalvageUseCases, TimelineUseCases, ValueUseCases):
    """Everything one run of ckptui knows and has running."""

    def __init__(self, *, attended: bool = False, settings: Settings | None = None, cache: bool = True) -> None:
        """`cache`: results kept of earlier scans may be told, and new ones are kept."""
        self.settings = settings or load_settings()
        self._kept = Recall(self.settings) if cache else Recall(None)
        self.attended = attended
        """A screen is attached: children run at nice 10 and give way."""
        self._lock = threading.RLock()
        self._pool: Pool | None = None
        self._predictor: Predictor | None = None
        self._listings: dict[str, tuple[tuple[Any, ...], Listing]] = {}

    @property
    def predictor(self) -> Predictor:
        """Who keeps the workers, made when first needed; no worker runs before it is asked for one."""
        with self._lock:
            if self._predictor is None:
                from ckptui.predict.predictor import Predictor

                self._predictor = Predictor(nice=10 if self.attended else 0)
            return self._predictor

    @property
    def pool(self) -> Pool:
        """The reader children, started when first needed."""
        with self._lock:
            if self._pool is None:
                from ckptui.engine.pool import Pool

                self._pool = Pool(size=self.settings.processes or None, nice=10 if self.attended else 0)
            return self._pool

    def close(self) -> None:
        """End every child; the session can't be used afterwards."""
        with self._lock:
            pool, self._pool = self._pool, None
            predictor, self._predictor = self._predictor, None
        if pool is not None:
            pool.close()
        if predictor is not None:
            predictor.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # ------------------------------------------------------------------ finding and opening

    def find(
        self, paths: Sequence[str], cancel: threading.Event | None = None
    ) -> Iterator[Found | RunFolder | Finding]:
        """Walk `paths` for saves, runs and notices, in the order they are met.

        Raises:
            NoSuchPath, NotASave: a path does not exist, or is a device, socket or FIFO.
        """
        from ckptui.readers.discover import discover

        for item in discover(paths):
            if cancel is not None and cancel.is_set():
                return
            yield item

    def resolve(self, argument: str) -> Found:
        """The one save a user means by a path: prefix, `.index`, shard, folder or file.

        Raises:
            NoSuchPath, NotASave: nothing is there, or nothing that looks like a save.
        """
        from ckptui.readers.discover import resolve

        return resolve(argument)

    def open(self, path: str, kind: Kind | None = None, found: Found | None = None) -> Listing:
        """The listing of a save with the findings of its quick checks; cached while its files stay as they are.

        Raises:
            CkptuiError: there is no save, or its reader failed as a whole.
        """
        if found is None and kind is None:
            found = self.resolve(path)
        if found is not None:
            path, kind = found.path, found.kind
        assert kind is not None
        identity = _identity(path)
        with self._lock:
            cached = self._listings.get(path)
        if cached is not None and cached[0] == identity:
            return cached[1]
        from ckptui.triage.merging import merged
        from ckptui.triage.quick import quick

        listing = self._read_listing(path, kind)
        checked = quick(replace(listing, findings=merged(found.findings if found else (), listing.findings)))
        with self._lock:
            self._listings[path] = (identity, checked)
        return checked

    def has_open(self, path: str) -> bool:
        """Whether the listing of a save is kept."""
        with self._lock:
            return path in self._listings

    def forget(self, path: str) -> None:
        """Let go of the listing of a save that is done with."""
        with self._lock:
            self._listings.pop(path, None)

    def _read_listing(self, path: str, kind: Kind) -> Listing:
        if kind in IN_PROCESS:
            from ckptui.readers.registry import open_reader

            reader = open_reader(path, kind)
            try:
                names = getattr(reader, "names", ())
                if self.attended and len(names) > NAMES_FIRST and isinstance(reader, Uncounted):
                    return reader.listing(count=False)
                return reader.listing()
            finally:
                reader.close()
        from ckptui.engine.requests import open_listing

        return open_listing(self.pool, path, kind)

    # ------------------------------------------------------------------ values

    def scan(
        self,
        listing: Listing,
        names: Sequence[str] | None = None,
        *,
        stats: bool = True,
        cancel: threading.Event | None = None,
        first: Sequence[str] = (),
        anew: bool = False,
    ) -> Iterator[TensorScan | Progress | Finding]:
        """One pass over the bytes: checksums, non-finite values and, if wanted, all statistics.

        What was kept of an earlier pass over the same files takes its place, unless it is to be `anew`. `names` None
        means all; `first` are wanted before the rest (visible rows). After a whole save come the findings
        that several tensors give together: batch statistics never updated, an optimizer without a step; and anew, to
        take the place of what was told first, the scans of tensors whose checksums fail for one common reason.
        """
        from ckptui.scanning import scan_anew

        def read() -> Iterator[TensorScan | Progress | Finding]:
            return scan_anew(self.pool, listing, names, stats=stats, cancel=cancel, first=first)

        yield from self._kept.scan(listing, names, read, stats=stats, anew=anew, cancel=cancel)

    def remembers(self, listing: Listing) -> bool:
        """Whether what a scan of the whole save said was kept, and the files are still those it read."""
        return self._kept.knows(listing)

    def kept_since(self, listing: Listing) -> float | None:
        """When the bytes were read of which the last whole scan of this save told; None where that was this scan."""
        return self._kept.told(listing.artifact.path)

    def verify(self, listing: Listing, *, anew: bool = False) -> list[Finding]:
        """What no single tensor's check reads: members of a .keras archive, blocks of a V1 checkpoint, a .meta."""
        from ckptui.engine.requests import verify

        path, kind = listing.artifact.path, listing.artifact.kind
        if kind in VERIFIED or (kind in WITH_GRAPHS and os.path.isfile(path + ".meta")):
            return self._kept.verify(listing, lambda: verify(self.pool, path, kind), anew=anew)
        return []

    def make_ready(self, path: str) -> None:
        """Have the reader children open a large save while its listing is read; returns at once.

        Raises:
            NoSuchPath, NotASave: nothing is there, or nothing that looks like a save.
        """
        from ckptui.engine.kernels import make_ready

        found = self.resolve(path)
        make_ready(self.pool, found.path, found.kind)

    def layers(
        self,
        listing: Listing,
        names: Sequence[str] | None = None,
        cancel: threading.Event | None = None,
        *,
        anew: bool = False,
    ) -> Iterator[Layer | Finding]:
        """Filters of every kernel and embedding (or of those named), and what is worth a user's attention."""
        from ckptui.engine.kernels import look_at_layers

        wanted = None if names is None else set(names)
        chosen = [t for t in listing.tensors if (t.role in FILTERED if wanted is None else t.name in wanted)]

        def read(some: Sequence[Tensor]) -> Iterator[Layer | Finding]:
            return look_at_layers(self.pool, listing.artifact, some, cancel)

        yield from self._kept.layers(listing, chosen, read, anew=anew, cancel=cancel)

    # ------------------------------------------------------------------ neighbours

    def sibling_model(self, path: str, looked: list[str] | None = None) -> str | None:
        """The undamaged .keras or .h5 nearby whose weights fit this save best; None where nothing fits.

        `looked` gets what was looked at and how much of it fits: `digits.keras: 3 of 8 weights fit`.
        """
        from ckptui.neighbours import best_of, models_near

        near = models_near(self, path)
        if looked is not None:
            looked += [model.words for model in near]
        return best_of(near)

    def sibling_images(self, path: str) -> list[str]:
        """Images beside the save or up to two folders above, there or in an `images` folder; sorted by name."""
        from ckptui.neighbours import images_near

        return images_near(path)


def _identity(path: str) -> tuple[Any, ...]:
    """What changes when a save's directory changes: device, inode, size, time of its main files."""
    from ckptui.readers.keras_shard_map import more_files

    facts: list[Any] = []
    for name in (
        path,
        *more_files(path),
        f"{path}.index",
        f"{path}/.index",
        f"{path}/saved_model.pb",
        f"{path}/variables/variables.index",
        path.replace("-?????-of-", "-00000-of-"),
    ):
        try:
            info = os.stat(name)
        except OSError:
            facts.append(None)
        else:
            facts.append((info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns))
    return tuple(facts)


def checked_listing(listing: Listing, findings: Sequence[Finding]) -> Listing:
    """The listing after a full check: its own and these findings, one for each damage, and the status they give."""
    from ckptui.core.settling import settled

    merged = settled(listing.findings, findings)
    status = worst_status(merged, "ok")
    return replace(listing, findings=tuple(merged), artifact=replace(listing.artifact, status=status))


def judge_run(run: RunFolder, statuses: Mapping[str, Status], verified: Mapping[str, bool]) -> RunVerdict:
    """Which save of a run is the newest good one; see `triage.runs.judge_run`."""
    from ckptui.triage import runs

    return runs.judge_run(run, statuses, verified)
