"""Meta graphs (`.meta`): the graph a TF1 Saver writes beside each checkpoint, walked without TensorFlow.

One serialized MetaGraphDef, without framing or checksum (`meta_graph.proto`). It stores no tensors of its own: what it
tells are its variables, its signatures and collections, who wrote it, and which ops reach outside it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from ckptui.core.dtypes import dtype_name
from ckptui.core.model import ArchitectureRow, Artifact, Finding, Kind, Listing, Tensor, worst_status
from ckptui.core.names import is_weight, natural_key, role_of, step_of
from ckptui.core.sayings import says
from ckptui.errors import ChangedWhileReading, CkptuiError, Damaged, NoSuchTensor
from ckptui.readers.graph_causes import CAP, binary_cause, one_bit_apart
from ckptui.readers.graph_facts import Damage, Gatherer
from ckptui.readers.graph_ops import PRINT_OPS, WATCHED, unsafe_ops
from ckptui.readers.graph_wire import walk_wire
from ckptui.readers.notices import notice
from ckptui.readers.signatures import INTERNAL, MetaGraph, meta_graph
from ckptui.readers.sniff import sniff
from ckptui.readers.source import Source, read_whole

if TYPE_CHECKING:
    import numpy as np

SUFFIX = ".meta"
SHOWN = 20
MAX_ROWS = 20_000
"""Variables that are listed; the count in `writer` is of all."""


class MetaGraphFile:
    """One meta graph, walked on opening."""

    kind: Kind = "meta-graph"

    def __init__(self, path: str, progress: Callable[[int], None] | None = None) -> None:
        """Raises NoSuchPath, Unreadable, ChangedWhileReading."""
        self.path = path
        self.findings: list[Finding] = []
        self.graph = MetaGraph()
        self.whole = False
        """Every byte was walked, and nothing speaks against one."""
        with Source(path) as source:
            self._size, self._modified = source.size, source.modified
            self._walk(source, progress)
            source.fence()

    def _walk(self, source: Source, progress: Callable[[int], None] | None) -> None:
        seen = sniff(self.path)
        if not source.size:
            self.findings.append(empty(self.path, self.path))
            return
        if seen.kind is None and seen.looks_like:
            self.findings.append(_foreign(self.path, source.size, seen.looks_like))
            return
        gatherer = Gatherer(WATCHED, PRINT_OPS)
        walk_wire(source.pread, source.size, gatherer, "MetaGraphDef", progress)
        self.graph = meta_graph(gatherer.root)
        self.whole = gatherer.damage is None and gatherer.complete
        if gatherer.damage is not None:
            self.findings.append(_damaged(self.path, source.size, gatherer.damage, self.graph))
        self.findings += unsafe_ops(self.graph, self.path)

    def listing(self) -> Listing:
        """The graph's variables as architecture, its signatures, its writer; no tensors."""
        rows = tuple(self._rows())
        label = os.path.basename(self.path)
        artifact = Artifact(
            path=self.path,
            kind=self.kind,
            label=label,
            step=step_of(label),
            bytes=self._size,
            shards=1,
            tensors=0,
            parameters=sum(row.parameters for row in rows),
            modified=self._modified,
            writer=self._writer(),
            status=worst_status(self.findings),
        )
        signatures = tuple(s for s in self.graph.signatures if s.name not in INTERNAL)
        return Listing(artifact, (), tuple(self.findings), signatures, rows, self.graph.operations)

    def _writer(self) -> dict[str, Any]:
        graph = self.graph
        facts: dict[str, Any] = {
            "tensorflow": graph.tensorflow,
            "git": graph.git,
            "producer": graph.producer,
            "nodes": graph.nodes,
            "variables": len(graph.declared),
            "collections": list(graph.collections),
        }
        return {name: value for name, value in facts.items() if value not in ("", None, [])}

    def _rows(self) -> Iterator[ArchitectureRow]:
        """One row a variable: its name, its dtype, its shape."""
        for name in sorted(self.graph.declared, key=natural_key)[:MAX_ROWS]:
            kinds = self.graph.declared[name]
            number, shape = next(iter(kinds)) if len(kinds) == 1 else (0, None)
            dtype = dtype_name(number) if number else "unknown"
            known = shape is not None and None not in shape
            sizes = tuple(size or 0 for size in shape or ())
            weight = known and is_weight(role_of(name, dtype, sizes), dtype)
            yield ArchitectureRow(
                name=name,
                class_name=f"{dtype} variable",
                output_shape=shape,
                parameters=prod(sizes) if weight else 0,
                config={"dtype": dtype},
            )

    def chunks(self, tensor: Tensor, chunk_bytes: int = 1 << 20) -> Iterator[np.ndarray[Any, Any]]:
        """Raises NoSuchTensor: a meta graph has none."""
        raise NoSuchTensor(f"{tensor.name} in {self.path}")

    def array(self, tensor: Tensor) -> np.ndarray[Any, Any]:
        """Raises NoSuchTensor: a meta graph has none."""
        raise NoSuchTensor(f"{tensor.name} in {self.path}")

    def close(self) -> None:
        """Nothing stays open."""


def open_meta_graph(path: str) -> MetaGraphFile:
    """The meta graph in a file.

    Raises:
        NoSuchPath: nothing is there.
        Unreadable, ChangedWhileReading: the system refuses its bytes, or they change meanwhile.
    """
    return MetaGraphFile(path)


def empty(artifact: str, path: str) -> Finding:
    """A .meta of no bytes: TensorFlow takes it for a graph without a node."""
    return notice("empty-file", artifact, f"{os.path.basename(path)} has 0 bytes", {"file": path, "found": 0})


def _foreign(path: str, size: int, looks_like: str) -> Finding:
    evidence = {"file": path, "looks_like": looks_like, "bytes": size}
    return notice("not-a-model", path, f"{os.path.basename(path)}: found instead: {looks_like}", evidence)


def _damaged(path: str, size: int, damage: Damage, graph: MetaGraph) -> Finding:
    data: bytes | None = None
    if size <= CAP:
        try:
            data = read_whole(path, CAP)
        except CkptuiError:
            data = None
    cause, _ = binary_cause(data, size, damage, 0)
    evidence: dict[str, Any] = {
        "file": path,
        "offset": damage.offset,
        "where": damage.where,
        "places": damage.count,
        "nodes_read": graph.nodes,
    }
    if damage.expected is not None:
        evidence |= {"expected": damage.expected, "found": damage.found}
    evidence |= cause.evidence
    evidence["tensorflow_says"] = says("meta-wire")
    detail = f"{os.path.basename(path)} {cause.detail}"
    return notice(cause.code, path, detail, evidence, title=cause.title, advice=cause.advice)


# ---------------------------------------------------------------------- beside a checkpoint


def beside(path: str) -> str:
    """The .meta of the checkpoint at `path`, V1 or V2; empty where there is none."""
    candidate = path.partition("-?????-of-")[0] + SUFFIX
    return candidate if os.path.isfile(candidate) else ""


def check_beside(path: str, kind: str, progress: Callable[[int], None] | None = None) -> list[Finding]:
    """What speaks against the .meta of a checkpoint, as findings about the checkpoint; nothing where there is none."""
    meta = beside(path)
    if not meta:
        return []
    try:
        reader = MetaGraphFile(meta, progress)
    except ChangedWhileReading as error:
        title = "The file changed while it was read"
        return [notice("changed-while-reading", path, error.detail, {"file": meta}, title=title)]
    except Damaged as error:
        return [notice("unreadable", path, error.detail, {**error.evidence, "file": meta})]
    except CkptuiError:
        return []
    told = [f for f in reader.findings if f.code != "unsafe-op"]
    found = [
        notice(f.code, path, f.detail, {**f.evidence, "file": meta}, severity=f.severity, title=f.title) for f in told
    ]
    mismatch = _mismatch(path, kind, meta, reader) if reader.whole else None
    return found if mismatch is None else [*found, mismatch]


def _mismatch(path: str, kind: str, meta: str, reader: MetaGraphFile) -> Finding | None:
    """The graph restores keys, or declares variables, that the checkpoint does not have so; only what is certain."""
    missing, differing, stored = _misfits(path, kind, reader.graph)
    if not missing and not differing:
        return None
    spare = stored.difference(reader.graph.restored)
    other = one_bit_apart(missing[0], sorted(spare)) if len(missing) == 1 and not differing else None
    if other is not None:
        return _flipped(path, meta, missing[0], other)
    evidence: dict[str, Any] = {"file": meta, "restored": len(reader.graph.restored)}
    reasons = []
    if missing:
        more = f" and {len(missing) - 2} more" if len(missing) > 2 else ""
        reasons.append(f"its graph restores {', '.join(missing[:2])}{more}, which the checkpoint does not have")
        evidence |= {"missing": missing[:SHOWN], "missing_count": len(missing)}
        evidence["tensorflow_says"] = says("no-key", tensor=missing[0])
    if differing:
        first = differing[0]
        reasons.append(f"{first['tensor']} is {first['found']} in the checkpoint, {first['expected']} in the graph")
        told = [{key: item[key] for key in ("tensor", "expected", "found")} for item in differing[:SHOWN]]
        evidence |= {"tensors": told, "differing_count": len(differing)}
    return notice(
        "graph-variables-mismatch",
        path,
        f"{os.path.basename(meta)}: {'; '.join(reasons)}",
        evidence,
        severity="warning",
        title="The .meta beside the checkpoint is another graph's",
        advice="The tensors are not affected: restore them into the program that made them, or copy the right .meta.",
    )


def _flipped(path: str, meta: str, found: str, expected: str) -> Finding:
    detail = f"{os.path.basename(meta)} restores {found}, the checkpoint has {expected}: one bit of the name is flipped"
    evidence = {
        "file": meta,
        "expected": expected,
        "found": found,
        "tensorflow_says": says("no-key", tensor=found),
    }
    return notice("graph-damaged", path, detail, evidence, title="A name in the graph has a flipped bit")


def _misfits(path: str, kind: str, graph: MetaGraph) -> tuple[list[str], Sequence[dict[str, Any]], set[str]]:
    """Keys that are restored and not stored, variables that are stored otherwise, and all names stored."""
    if kind == "tf-checkpoint":
        from ckptui.readers.bundle import open_bundle
        from ckptui.readers.saved_model_checks import misfits

        bundle = open_bundle(path)
        fits = misfits([graph], bundle)
        return fits.missing, fits.differing, set(bundle.names)
    from ckptui.readers.bundle_v1 import open_v1

    table = open_v1(path)
    try:
        listing = table.listing()
        stored = {tensor.name for tensor in listing.tensors}
        missing = [] if listing.findings else [key for key in graph.restored if key not in stored]
        return missing, (), stored
    finally:
        table.close()
