"""Results of scans kept for the next time the same files are looked at, so that coming back costs nothing.

What is kept holds only as long as every file of the save is the one that was read, and was made by this very code. A
pass that was stopped, that a reader's crash or a writer disturbed, or over files that had just changed is not kept.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ckptui import __version__
from ckptui.config import Settings, cache_folder
from ckptui.core.model import Finding, Layer, Listing, Progress, Tensor, TensorScan
from ckptui.engine.facts import pack, unpack
from ckptui.engine.identity import Identity, identity_of, listing_digest, surroundings
from ckptui.engine.pool import Flag
from ckptui.engine.store import Records, Store
from ckptui.errors import ReaderFailed

FORMAT = 1
PASSING = frozenset({"changed-while-reading", "reader-crashed", "unreadable"})
"""Findings about a moment, not about a file."""

Scanned = Iterator[TensorScan | Progress | Finding]
Looked = Iterator[Layer | Finding]


@dataclass(frozen=True, slots=True)
class _Visit:
    """One look at a save: what its files were just before."""

    key: str
    head: bytes
    identity: Identity
    began: float


@dataclass(slots=True)
class _Pass:
    """What a pass over a save has told so far."""

    scans: dict[str, TensorScan] = field(default_factory=dict)
    """The first of each tensor."""
    more: list[TensorScan | Finding] = field(default_factory=list)
    """What the tensors told together, in order."""

    def take(self, item: TensorScan | Progress | Finding) -> None:
        if isinstance(item, TensorScan) and item.name not in self.scans:
            self.scans[item.name] = item
        elif not isinstance(item, Progress):
            self.more.append(item)

    @property
    def lasting(self) -> bool:
        """Nothing of it is about a moment only."""
        items = [*self.scans.values(), *self.more]
        return all(_lasting(f) for item in items for f in ((item,) if isinstance(item, Finding) else item.findings))


class Recall:
    """Results kept in the user's cache folder. Thread-safe."""

    def __init__(self, settings: Settings | None) -> None:
        """Without `settings` nothing is read and nothing kept."""
        self._settings = settings if settings is not None and settings.cache and settings.cache_bytes else None
        self._lock = threading.RLock()
        self._told: dict[str, float] = {}
        self._digest: tuple[Sequence[Tensor], str] | None = None
        self._entry: tuple[str, tuple[int, int] | None, Records] | None = None

    def told(self, path: str) -> float | None:
        """When the bytes were read of which the last whole scan of `path` told; None where that was this scan."""
        return self._told.get(path)

    def knows(self, listing: Listing) -> bool:
        """Whether all statistics of a save are kept."""
        visit = self._visit(listing)
        return visit is not None and ("all-stats", "") in self._records(visit)

    # ------------------------------------------------------------------ scans

    def scan(
        self,
        listing: Listing,
        names: Sequence[str] | None,
        read: Callable[[], Scanned],
        *,
        stats: bool,
        anew: bool,
        cancel: Flag | None,
    ) -> Scanned:
        """What is kept of a scan of `names` (None: all), else what `read` gives, which is kept."""
        mode, path = "stats" if stats else "check", listing.artifact.path
        visit = self._visit(listing)
        if visit is not None and not anew:
            kept = self._kept_scan(visit, listing, names, mode)
            if kept is not None:
                yield from kept
                return
        if names is None:
            self._told.pop(path, None)
        told = _Pass()
        for item in read():
            told.take(item)
            yield item
        wanted = [t.name for t in listing.tensors] if names is None else list(dict.fromkeys(names))
        stopped = cancel is not None and cancel.is_set()
        if visit is None or stopped or len(told.scans) != len(wanted) or not told.lasting:
            if visit is not None and anew and names is None and not stopped:
                # whatever was kept, the bytes did not bear it out
                self._forget(visit)
            return
        if names is None:
            self._keep_whole(visit, listing, told, mode, anew=anew)
        elif not anew:
            self._keep(visit, listing, _records(mode, told.scans.values()))

    def _kept_scan(
        self, visit: _Visit, listing: Listing, names: Sequence[str] | None, mode: str
    ) -> list[TensorScan | Progress | Finding] | None:
        records = self._records(visit)
        total = sum(t.bytes for t in listing.tensors) if names is None else 0
        wanted = [t.name for t in listing.tensors] if names is None else list(dict.fromkeys(names))
        try:
            found: list[TensorScan | Progress | Finding] = []
            for name in wanted:
                scan = unpack(json.loads(records[mode, name]), TensorScan)
                if scan.name != name:
                    return None
                found.append(scan)
            found.append(Progress(total, total, len(wanted), len(wanted), 0.0))
            if names is None:
                whole = json.loads(records["all-" + mode, ""])
                at, around = float(whole["at"]), whole["around"]
                if around and around != surroundings(listing.artifact.path):
                    return None
                found += [_scan_or_finding(doc) for doc in whole["more"]]
                self._told[listing.artifact.path] = at
        except (KeyError, ValueError, TypeError, RecursionError, ReaderFailed):
            return None
        return found

    def _keep_whole(self, visit: _Visit, listing: Listing, told: _Pass, mode: str, *, anew: bool) -> None:
        mismatch = any(scan.checksum == "mismatch" for scan in told.scans.values())
        around = surroundings(listing.artifact.path) if mismatch else ""
        if around is None:
            return
        before = self._records(visit)
        if anew:
            sound = {name for name, scan in told.scans.items() if scan.checksum == "ok"}
            before = _proven(before, sound) if len(sound) == len(told.scans) else {}
        before = {key: doc for key, doc in before.items() if key[0] not in (mode, "all-" + mode)}
        whole = {"at": visit.began, "around": around, "more": [pack(item) for item in told.more]}
        records = {**before, **_records(mode, told.scans.values(), unread=True), ("all-" + mode, ""): _json(whole)}
        self._keep(visit, listing, records, behind=False)

    # ------------------------------------------------------------------ filters and whole saves

    def layers(
        self,
        listing: Listing,
        tensors: Sequence[Tensor],
        read: Callable[[Sequence[Tensor]], Looked],
        *,
        anew: bool,
        cancel: Flag | None,
    ) -> Looked:
        """What is kept about the filters of `tensors`, else what `read` gives for those it is not kept of."""
        visit = self._visit(listing)
        kept = self._kept_layers(visit, tensors) if visit is not None and not anew else {}
        missing = [t for t in tensors if t.name not in kept]
        fresh: dict[str, list[Layer | Finding]] = {t.name: [] for t in missing}
        waiting = [t.name for t in tensors]

        def gathered() -> Looked:
            strange = False
            for item in read(missing) if missing else ():
                fresh.get(item.tensor or "", []).append(item)
                strange = strange or item.tensor not in fresh
                yield item
            if visit is not None and missing and not strange and not (cancel is not None and cancel.is_set()):
                docs = {("layers", name): _json(items) for name, items in fresh.items() if _stays(items)}
                self._keep(visit, listing, docs)

        # who asks for one may turn away after the first answer
        for item in list(gathered()) if len(missing) == 1 else gathered():
            while item.tensor in waiting and waiting[0] != item.tensor:
                yield from kept.get(waiting.pop(0), ())
            yield item
        for name in waiting:
            yield from kept.get(name, ())

    def _kept_layers(self, visit: _Visit, tensors: Sequence[Tensor]) -> dict[str, list[Layer | Finding]]:
        records = self._records(visit)
        kept: dict[str, list[Layer | Finding]] = {}
        for tensor in tensors:
            doc = records.get(("layers", tensor.name))
            if doc is None:
                continue
            try:
                kept[tensor.name] = [_layer_or_finding(item) for item in json.loads(doc)]
            except (ValueError, TypeError, RecursionError, ReaderFailed):
                continue
        return kept

    def verify(self, listing: Listing, read: Callable[[], list[Finding]], *, anew: bool) -> list[Finding]:
        """What is kept of the checks over whole files, else what `read` gives."""
        visit = self._visit(listing)
        if visit is not None and not anew:
            try:
                return [unpack(doc, Finding) for doc in json.loads(self._records(visit)["verify", ""])]
            except (KeyError, ValueError, TypeError, RecursionError, ReaderFailed):
                pass
        found = read()
        if visit is not None and all(map(_lasting, found)):
            self._keep(visit, listing, {("verify", ""): _json(found)})
        return found

    # ------------------------------------------------------------------ entries

    def _visit(self, listing: Listing) -> _Visit | None:
        """None where nothing is kept, or the files of the save can't be told."""
        if self._settings is None:
            return None
        began = time.time()
        identity = identity_of(listing)
        if identity is None:
            return None
        path = listing.artifact.path
        key = hashlib.sha256(
            repr((path, os.path.abspath(path), listing.artifact.kind)).encode("utf-8", "surrogatepass")
        )
        facts = (FORMAT, code_stamp(), path, identity.digest, self._listing_digest(listing))
        return _Visit(key.hexdigest()[:40], _json(facts), identity, began)

    def _listing_digest(self, listing: Listing) -> str:
        with self._lock:
            if self._digest is None or self._digest[0] is not listing.tensors:
                self._digest = listing.tensors, listing_digest(listing)
            return self._digest[1]

    def _records(self, visit: _Visit) -> Records:
        """What is kept of these very files; empty for nothing."""
        store = self._store()
        if store is None:
            return {}
        with self._lock:
            version = store.version(visit.key)
            if self._entry is None or self._entry[:2] != (visit.key, version):
                found = store.read(visit.key) if version is not None else None
                self._entry = visit.key, version, found or {}
            records = self._entry[2]
        return records if records.get(("head", "")) == visit.head else {}

    def _keep(self, visit: _Visit, listing: Listing, records: Records, *, behind: bool = True) -> None:
        """Keep what was read, if the files are those they were and had been left alone before."""
        store = self._store()
        if store is None or not records or not visit.identity.settled(visit.began):
            return
        if identity_of(listing) != visit.identity:
            return
        with self._lock:
            known = bool(self._records(visit))
            if not (behind and known and store.write(visit.key, records, behind=True)):
                # documents that a save has no room for any more make a new beginning
                store.write(visit.key, {("head", ""): visit.head, **records})
            self._entry = None

    def _forget(self, visit: _Visit) -> None:
        store = self._store()
        if store is not None:
            store.remove(visit.key)

    def _store(self) -> Store | None:
        settings = self._settings
        try:
            return None if settings is None else Store(cache_folder() / "results", settings.cache_bytes)
        except RuntimeError:
            # a user without a home
            return None


@functools.cache
def code_stamp() -> str:
    """The version of ckptui, and what changes when one of the files changes that results are made by."""
    digest = hashlib.sha256()
    here = Path(__file__).parent
    for folder in (here, *(here / name for name in ("core", "engine", "readers", "triage"))):
        try:
            with os.scandir(folder) as entries:
                files = sorted((entry.name, entry.stat()) for entry in entries if entry.name.endswith(".py"))
        except OSError:
            continue
        for name, info in files:
            digest.update(repr((name, info.st_size, info.st_mtime_ns)).encode("utf-8", "surrogatepass"))
    return f"{__version__} {digest.hexdigest()[:16]}"


def _json(value: Any) -> bytes:
    return json.dumps(pack(value), separators=(",", ":")).encode("ascii")


def _records(mode: str, scans: Iterable[TensorScan], *, unread: bool = False) -> Records:
    """A document a scan. Why a tensor is unread may be told with the rest of the save only."""
    return {(mode, scan.name): _json(scan) for scan in scans if unread or scan.checksum != "unread"}


def _proven(records: Records, sound: set[str]) -> Records:
    """Those about tensors whose bytes their checksums vouch for, now and when the records were made."""
    kept: Records = {}
    for (tag, name), doc in records.items():
        if tag in ("stats", "check"):
            try:
                if name not in sound or json.loads(doc)[3] != "ok":
                    return {}
            except (ValueError, LookupError, TypeError, RecursionError):
                return {}
        if tag != "verify":
            kept[tag, name] = doc
    return kept


def _lasting(finding: Finding) -> bool:
    """Is it about the file, and not about a moment or a reader's accident?"""
    return finding.code not in PASSING and not {"errno", "stderr"} & finding.evidence.keys()


def _stays(items: Sequence[Layer | Finding]) -> bool:
    return all(_lasting(item) for item in items if isinstance(item, Finding))


def _scan_or_finding(doc: Any) -> TensorScan | Finding:
    found = unpack(doc)
    if not isinstance(found, (TensorScan, Finding)):
        raise ReaderFailed(f"a kept {type(found).__name__}")
    return found


def _layer_or_finding(doc: Any) -> Layer | Finding:
    found = unpack(doc)
    if not isinstance(found, (Layer, Finding)):
        raise ReaderFailed(f"a kept {type(found).__name__}")
    return found
