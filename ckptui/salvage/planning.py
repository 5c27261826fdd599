"""What can be brought back from a save: every tensor looked at and judged, nothing written."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from ckptui.core.model import Finding, Found, Kind, Listing, Progress, Tensor, TensorScan, worst_status
from ckptui.core.names import OBJECT_GRAPH_KEY
from ckptui.core.salvage import SalvageItem, SalvagePlan, Target
from ckptui.core.settling import settled
from ckptui.engine.pool import Pool
from ckptui.errors import CkptuiError, UsageError
from ckptui.readers.bundle import Bundle
from ckptui.salvage.directories import View, find_layout, has_files, layout_view, like, missing_from, own_view
from ckptui.salvage.proving import Proof, places_of, prove
from ckptui.triage import salvage as judge
from ckptui.triage.archives import judge_archive

KERAS: frozenset[str] = frozenset({"keras-h5", "keras-weights", "keras-archive"})
BUNDLES: frozenset[str] = frozenset({"tf-checkpoint", "saved-model"})
NO_GRAPH = (
    "The object graph is lost: Checkpoint.restore has nothing to go by; tf.train.load_checkpoint reads every "
    "tensor by its name"
)


class Saves(Protocol):
    """What planning needs of the session."""

    @property
    def pool(self) -> Pool: ...

    def resolve(self, argument: str) -> Found: ...

    def open(self, path: str, kind: Kind | None = None, found: Found | None = None) -> Listing: ...

    def scan(
        self,
        listing: Listing,
        names: Sequence[str] | None = None,
        *,
        stats: bool = True,
        cancel: threading.Event | None = None,
    ) -> Iterator[TensorScan | Progress | Finding]: ...

    def verify(self, listing: Listing) -> list[Finding]: ...


@dataclass(slots=True)
class _Scanned:
    """What one pass over a listing's tensors came to."""

    scans: dict[str, TensorScan] = field(default_factory=dict)
    """By tensor: a scan that comes anew takes the place of the one before."""
    of_files: list[Finding] = field(default_factory=list)

    @property
    def findings(self) -> list[Finding]:
        """About tensors, as they were told last, then about files."""
        return [*(finding for scan in self.scans.values() for finding in scan.findings), *self.of_files]


def _after(listing: Listing, findings: Sequence[Finding]) -> Listing:
    """The listing after a full check, each cause told once, and the status that follows."""
    merged = settled(listing.findings, findings)
    artifact = replace(listing.artifact, status=worst_status(merged, "ok"))
    return replace(listing, findings=tuple(merged), artifact=artifact)


def plan(
    saves: Saves,
    path: str,
    *,
    layout: str | None = None,
    repair_bits: bool = False,
    cancel: threading.Event | None = None,
) -> Iterator[Progress | SalvagePlan]:
    """See `Session.plan_salvage`."""
    found = saves.resolve(path)
    if layout is not None and found.kind not in BUNDLES:
        raise UsageError(f"a {found.kind} has no use for --layout", "It is for checkpoints whose index is lost")
    if found.kind in BUNDLES and (found.kind != "saved-model" or has_files(bundle_prefix(found.path, found.kind))):
        yield from _plan_bundle(saves, found, layout, repair_bits, cancel)
    else:
        yield from _plan_other(saves, found, repair_bits, cancel)


def bundle_prefix(path: str, kind: Kind) -> str:
    """The checkpoint in a save: itself, or a SavedModel's variables."""
    return os.path.join(path, "variables", "variables") if kind == "saved-model" else path


def _scan(saves: Saves, listing: Listing, cancel: threading.Event | None) -> Iterator[Progress | _Scanned]:
    done = _Scanned()
    for item in saves.scan(listing, stats=False, cancel=cancel):
        if isinstance(item, Progress):
            yield item
        elif isinstance(item, Finding):
            done.of_files.append(item)
        else:
            done.scans[item.name] = item
    yield done


# ---------------------------------------------------------------------- checkpoints


def _plan_bundle(
    saves: Saves,
    found: Found,
    layout: str | None,
    repair: bool,
    cancel: threading.Event | None,
) -> Iterator[Progress | SalvagePlan]:
    prefix = bundle_prefix(found.path, found.kind)
    listing, outer = _listings(saves, found, prefix)
    view = own_view(prefix)
    sibling = None if layout is None else bundle_prefix(*_layout_of(saves, layout, found))
    borrowed = layout_view(prefix, sibling) if sibling is not None else None
    if borrowed is None and (view is None or not view.complete):
        borrowed = find_layout(prefix)
    items: list[SalvageItem] = []
    scanned = _Scanned()
    used = ""
    if view is not None:
        for step in _scan(saves, listing, cancel):
            if isinstance(step, _Scanned):
                scanned = step
            else:
                yield step
        items = _judge_view(saves, found, listing, view, scanned, repair, cancel)
    if borrowed is not None and (view is None or not view.complete):
        tensors = list(borrowed.bundle.listing().tensors) if view is None else missing_from(view, borrowed)
        more = _judge_layout(saves, found, borrowed, tensors, cancel)
        used = borrowed.borrowed.sibling if borrowed.borrowed and more else ""
        items = [item for item in items if item.name not in {one.name for one in more}] + more
    chosen = view or borrowed
    if chosen is None:
        raise UsageError(f"nothing says what lies in the data of {prefix}", _no_layout(prefix))
    items = _with_graph(saves, found, prefix, sibling, items, cancel)
    whole = _after(listing.with_findings([*outer, *listing.findings]), scanned.findings)
    yield _finish(found, whole, chosen, items, used)


def _listings(saves: Saves, found: Found, prefix: str) -> tuple[Listing, tuple[Finding, ...]]:
    """The listing of the checkpoint, and what is wrong with the SavedModel around it."""
    if found.kind != "saved-model":
        return saves.open(found.path, found=found), ()
    try:
        around = saves.open(found.path, found=found)
    except CkptuiError:
        return saves.open(prefix, "tf-checkpoint"), ()
    inside = saves.open(prefix, "tf-checkpoint")
    seen = {(f.code, f.tensor) for f in inside.findings}
    outer = tuple(f for f in around.findings if (f.code, f.tensor) not in seen)
    return replace(inside, artifact=around.artifact), outer


def _layout_of(saves: Saves, layout: str, found: Found) -> tuple[str, Kind]:
    sibling = saves.resolve(layout)
    if sibling.kind not in BUNDLES:
        raise UsageError(f"{layout} is a {sibling.kind}", "--layout takes another checkpoint of the same model")
    if os.path.realpath(sibling.path) == os.path.realpath(found.path):
        raise UsageError(f"{layout} is the save itself", "--layout takes another checkpoint of the same model")
    return sibling.path, sibling.kind


def _no_layout(prefix: str) -> str:
    return f"Name another save of the same model: --layout SIBLING; none beside {prefix} fits its data to the byte"


def _judge_view(
    saves: Saves,
    found: Found,
    listing: Listing,
    view: View,
    scanned: _Scanned,
    repair: bool,
    cancel: threading.Event | None,
) -> list[SalvageItem]:
    """Every tensor of an index, by its own checksum."""
    tensors = list(view.bundle.listing().tensors)
    no_scan = TensorScan("", None, "unread")
    scans = {t.name: scanned.scans.get(t.name, no_scan) for t in tensors}
    proofs = prove(saves.pool, found, [t for t in tensors if judge.needs_proof(t, scans[t.name])], cancel)
    twice = {f.tensor for f in listing.findings if f.code == "duplicate-key"}
    items = []
    for tensor in tensors:
        item = judge.judge_bundle(tensor, scans[tensor.name], proofs.get(tensor.name), repair=repair)
        if tensor.name in twice:
            item = judge.doubted(item, "its name stands twice in the index")
        items.append(item)
    return _against_graph(view, items)


def _against_graph(view: View, items: list[SalvageItem]) -> list[SalvageItem]:
    """Hold entries that no checksum vouches for against the object graph, and add what only the graph knows."""
    keys = _graph_keys(view.bundle, items)
    if not keys:
        return items
    checked = []
    for item in items:
        if item.name in view.unproved:
            if item.name == OBJECT_GRAPH_KEY or not keys.isdisjoint(_keys_of(item.name)):
                item = replace(item, evidence={**item.evidence, "entry": "in a damaged block; the graph has its name"})
            else:
                item = judge.doubted(item, "its entry is in a damaged block, and the object graph has no such name")
        checked.append(item)
    if view.complete and not view.unproved:
        # a graph also names what is never saved: variables without a value, tables of another kind
        return checked
    known = {key for item in items for key in _keys_of(item.name)}
    return checked + [judge.gone(key) for key in sorted(keys - known)]


def _keys_of(name: str) -> set[str]:
    """The keys under which an object graph may know a tensor: a table's two tensors stand under one."""
    return {name, name.removesuffix("-keys"), name.removesuffix("-values")}


def _graph_keys(bundle: Bundle, items: Sequence[SalvageItem]) -> set[str]:
    """All checkpoint keys of an object graph that is whole; none without one."""
    if not any(item.name == OBJECT_GRAPH_KEY and item.outcome == "recovered" for item in items):
        return set()
    graph = bundle.graph.get()
    if graph is None or graph.problem:
        return set()
    return {key for node in graph.nodes for _, _, key in node.attributes if key}


def _judge_layout(
    saves: Saves, found: Found, view: View, tensors: Sequence[Tensor], cancel: threading.Event | None
) -> list[SalvageItem]:
    """Tensors whose places are a sibling's, held against the sibling's checksums."""
    bundle = view.borrowed
    assert bundle is not None
    readable = [t for t in tensors if not t.problem]
    proofs = prove(
        saves.pool, found, [_expecting(t, bundle.sibling_crcs, bundle.sibling_tile_crcs) for t in readable], cancel
    )
    graph = bundle.graph.get()
    sound = graph is not None and not graph.problem and graph.nodes
    keys = (
        {key for node in graph.nodes for _, _, key in node.attributes if key} if graph is not None and sound else set()
    )
    missing = keys - {key for tensor in tensors for key in _keys_of(tensor.name)}
    items = []
    for tensor in tensors:
        words = ""
        if tensor.name == OBJECT_GRAPH_KEY and sound and not missing:
            words = f"its length checksum, and it parses: each of its {len(keys)} keys is a tensor of the layout"
        proof: Proof = proofs.get(tensor.name, {"parts": [], "plausible": None})
        items.append(judge.judge_layout(tensor, proof, bundle.sibling, graph=words))
    return items


def _expecting(tensor: Tensor, crcs: dict[str, int], tiles: dict[str, tuple[int | None, ...]]) -> Tensor:
    """The tensor with the sibling's checksums, to be compared with."""
    storage = tensor.storage
    slices = storage.slices
    if tensor.name in tiles and len(tiles[tensor.name]) == len(slices):
        slices = tuple(replace(t, crc32c=crc) for t, crc in zip(slices, tiles[tensor.name], strict=True))
    return replace(tensor, storage=replace(storage, crc32c=crcs.get(tensor.name), slices=slices))


def _with_graph(
    saves: Saves,
    found: Found,
    prefix: str,
    layout: str | None,
    items: list[SalvageItem],
    cancel: threading.Event | None,
) -> list[SalvageItem]:
    """In place of a lost object graph, that of a sibling with the very same tensors.

    It lies last in the data, so whatever cuts a file off takes it first; and without it nothing restores.
    """
    place = next((n for n, item in enumerate(items) if item.name == OBJECT_GRAPH_KEY and item.outcome == "lost"), None)
    if place is None:
        return items
    mine = {(item.name, item.dtype, item.shape) for item in items}
    for bundle in like(prefix, layout):
        tensors = list(bundle.listing().tensors)
        graph = next((tensor for tensor in tensors if tensor.name == OBJECT_GRAPH_KEY), None)
        if graph is None or {(t.name, t.dtype, t.shape) for t in tensors} != mine:
            continue
        if all(item.outcome == "lost" for item in items):
            # names without a value are no save
            return items
        parts = prove(saves.pool, found, [graph], cancel).get(OBJECT_GRAPH_KEY, {"parts": []})["parts"]
        if parts and parts[0]["found"] is not None and parts[0]["found"] == parts[0]["expected"]:
            reason = f"it is lost; this one is from {bundle.path}, which has the same tensors"
            taken = judge.item_of(graph, "unverified", reason, vouched=False, taken_from=bundle.path)
            return [*items[:place], taken, *items[place + 1 :]]
    return items


def _finish(found: Found, listing: Listing, view: View, items: list[SalvageItem], layout: str) -> SalvagePlan:
    graph = next((item for item in items if item.name == OBJECT_GRAPH_KEY), None)
    notes = []
    if graph is not None and graph.outcome in ("lost", "repairable"):
        notes.append(NO_GRAPH if graph.outcome == "lost" else "The object graph holds a flipped bit: see --repair-bits")
    if graph is not None and "taken_from" in graph.evidence:
        notes.append(f"The object graph is lost; in its place stands that of {graph.evidence['taken_from']}")
    if graph is not None and graph.outcome not in ("lost", "repairable") and any(_absent(i) for i in items):
        notes.append(
            "What is lost was taken out of the object graph too, so that restore(...).expect_partial() brings back the "
            "rest"
        )
    return SalvagePlan(
        artifact=listing.artifact,
        items=tuple(items),
        method=view.method,
        layout=layout,
        findings=listing.findings,
        targets=("checkpoint", ".npz", ".safetensors"),
        unnamed=0 if view.complete or layout or (graph is not None and graph.outcome == "recovered") else None,
        notes=tuple(notes),
        stamps=stamps_of(found.path, items),
    )


def _absent(item: SalvageItem) -> bool:
    return item.outcome in ("lost", "repairable")


# ---------------------------------------------------------------------- other formats


def _plan_other(
    saves: Saves, found: Found, repair: bool, cancel: threading.Event | None
) -> Iterator[Progress | SalvagePlan]:
    listing = saves.open(found.path, found=found)
    scanned = _Scanned()
    for step in _scan(saves, listing, cancel):
        if isinstance(step, _Scanned):
            scanned = step
        else:
            yield step
    told: list[Finding] = []
    vouched: str | bool = False
    if found.kind == "keras-archive" and listing.tensors:
        try:
            told = saves.verify(listing)
            vouched = False if any(f.severity == "error" for f in told) else "the archive's CRC-32"
        except CkptuiError:
            vouched = False
    if any(f.severity == "error" and f.tensor is None for f in listing.findings):
        vouched = False
    items = [
        judge.judge_unchecked(t, scanned.scans.get(t.name, TensorScan(t.name, None, "unread")), vouched)
        for t in listing.tensors
    ]
    whole = _after(listing, [*scanned.findings, *told])
    items = judge_archive(items, whole.findings, repair=repair)
    targets: tuple[Target, ...] = ("checkpoint", ".npz", ".safetensors")
    places: dict[str, str] = {}
    if found.kind in KERAS and items:
        places = places_of(saves.pool, found)
        targets = (*targets, ".weights.h5") if places else targets
    yield SalvagePlan(
        artifact=whole.artifact,
        items=tuple(items),
        method="directory",
        findings=whole.findings,
        targets=targets,
        unnamed=None if any(f.severity == "error" and f.tensor is None for f in listing.findings) else 0,
        places=places,
        stamps=stamps_of(found.path, items),
    )


def stamps_of(path: str, items: Sequence[SalvageItem]) -> dict[str, tuple[int, int, int, int]]:
    """Device, inode, size and time of every file that the values of `items` lie in."""
    files = {path}
    for item in items:
        if item.source is not None:
            storage = item.source.storage
            files |= {s.file for s in (storage.segment, *(t.segment for t in storage.slices)) if s is not None}
    found: dict[str, Any] = {}
    for file in sorted(files):
        try:
            facts = os.stat(file)
        except OSError:
            continue
        if not os.path.isdir(file):
            found[file] = (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns)
    return found
