"""Whether the files of a SavedModel belong together: fingerprint.pb, the graph, and the index of the variables.

fingerprint.pb keeps FarmHash's `Fingerprint64` of variables.index (`checkpoint_hash`, TensorFlow 2.11 and later).
Every graph that has variables keeps the checkpoint keys it restores in a constant of its saver, and their dtypes and
shapes in its variable nodes. TensorFlow itself compares neither hash nor graph before it restores.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ckptui.core.dtypes import dtype_name
from ckptui.core.model import Finding
from ckptui.core.names import OBJECT_GRAPH_KEY
from ckptui.core.sayings import says
from ckptui.readers.bundle import Bundle
from ckptui.readers.fingerprint import Fingerprint, Verdict
from ckptui.readers.graph_causes import one_bit_apart
from ckptui.readers.notices import notice
from ckptui.readers.signatures import MetaGraph

SHOWN = 20

_ONLY_HASH = (
    ", while its signatures are this graph's: the variables were exchanged, or written again; names and shapes fit, so "
    "TensorFlow loads them without a word"
)


@dataclass(slots=True)
class Misfits:
    """Where a graph and the index of its variables contradict each other."""

    missing: list[str] = field(default_factory=list)
    """Keys the graph restores and the index lacks."""
    objects: bool = False
    """Whether the export is object-based, so that TensorFlow restores objects, not keys."""
    differing: list[dict[str, Any]] = field(default_factory=list)
    """Tensors with another shape or dtype than the graph's variable of that name."""
    flipped: tuple[str, str] | None = None
    """A missing key and the stored one that differs from it in a single bit."""


def misfits(graphs: Iterable[MetaGraph], bundle: Bundle) -> Misfits:
    """Hold what the graphs restore against what the index stores; only what is certain counts."""
    result = Misfits()
    if not is_whole(bundle):
        return result
    graphs = list(graphs)
    result.objects = any(graph.objects for graph in graphs)
    stored = set(bundle.names)
    shapes = _shapes(bundle)
    own = bundle.graph.get()
    known = stored.union(own.names if own is not None else ())
    for graph in graphs:
        # What the variables' own object graph promises belongs to this export, whether it was stored or not.
        result.missing += [key for key in graph.restored if key not in known and key not in result.missing]
        if graph.restored:
            result.differing += _differing(graph, shapes, result.differing)
    if len(result.missing) == 1 and not result.differing:
        spare = stored.difference(*(graph.restored for graph in graphs))
        other = one_bit_apart(result.missing[0], spare)
        result.flipped = (result.missing[0], other) if other is not None else None
    return result


def mismatch(
    folder: str, paths: Mapping[str, str], fits: Misfits, fingerprint: Fingerprint, found: int, state: Verdict
) -> Finding | None:
    """One finding for all that speaks against graph, variables and fingerprint being of one export.

    `paths`: where `graph`, `index` and `fingerprint` lie.
    """
    if fits.flipped is not None and state != "differs":
        key, stored = fits.flipped
        detail = f"the graph restores {key}, the variables have {stored}: one bit of the graph's name is flipped"
        return notice(
            "graph-damaged",
            folder,
            detail,
            {"file": paths["graph"], "expected": stored, "found": key, "tensorflow_says": says("no-key", tensor=key)},
            title="A name in the graph has a flipped bit",
        )
    if not fits.missing and not fits.differing and state != "differs":
        return None
    evidence: dict[str, Any] = {"file": paths["index"], "files": dict(paths)}
    reasons = []
    if fits.missing:
        reasons.append(f"the graph restores {_some(fits.missing)}, which the index does not have")
        evidence |= {"missing": fits.missing[:SHOWN], "missing_count": len(fits.missing)}
        evidence["tensorflow_says"] = _restore_says(fits)
    if fits.differing:
        first = fits.differing[0]
        reasons.append(f"{first['tensor']} is {first['found']} in the index, {first['expected']} in the graph")
        told = [{key: item[key] for key in ("tensor", "name", "expected", "found")} for item in fits.differing[:SHOWN]]
        evidence |= {"tensors": told, "differing_count": len(fits.differing)}
        if not fits.missing:
            evidence["tensorflow_says"] = says("variable-tensor-shape", **first["says"])
    if state == "differs":
        reasons.append(
            f"fingerprint.pb was made with an index of hash {fingerprint.checkpoint}, variables.index has {found}"
        )
        evidence |= {"expected": str(fingerprint.checkpoint), "found": str(found)}
    only_hash = not fits.missing and not fits.differing
    finding = notice(
        "graph-variables-mismatch",
        folder,
        "; ".join(reasons) + (_ONLY_HASH if only_hash else ""),
        {**evidence, "fingerprint": state or "says nothing"},
        title="The variables are not those the export was made with" if only_hash else None,
    )
    return replace(finding, certainty="likely") if only_hash else finding


def is_whole(bundle: Bundle) -> bool:
    """Whether the index is the save's own and nothing at all speaks against it."""
    index = bundle.index
    own = index.path == f"{bundle.path}.index"
    return own and index.table.complete and not index.table.problems and not index.header_findings


def _shapes(bundle: Bundle) -> dict[str, set[tuple[str, str, int, tuple[int, ...]]]]:
    """A variable's own name to (key, that name, dtype number, shape) of every tensor that has it.

    In an object-based checkpoint the object graph has the names; elsewhere the keys are names.
    """
    graph = bundle.graph.get()
    index = bundle.index
    found: dict[str, set[tuple[str, str, int, tuple[int, ...]]]] = {}
    for position, key in zip(index.positions, index.names, strict=True):
        name = graph.names.get(key, "") if graph is not None else key
        entry = index.entry(position)
        if name and not entry.fault:
            found.setdefault(name, set()).add((key, name, entry.dtype, tuple(entry.shape)))
    return found


def _differing(
    graph: MetaGraph, shapes: Mapping[str, set[tuple[str, str, int, tuple[int, ...]]]], known: Sequence[Any]
) -> list[dict[str, Any]]:
    """Variables whose name stands for exactly one thing on either side, and not for the same."""
    restored = set(graph.restored)
    told = {item["tensor"] for item in known}
    found: list[dict[str, Any]] = []
    for name, kinds in graph.declared.items():
        stored = shapes.get(name, set())
        # several variables of one name become `Variable`, `Variable_1` in the graph: which is which it does not tell
        if len(kinds) != 1 or len(stored) != 1 or f"{name}_1" in graph.declared:
            continue
        (dtype, shape), (key, own, is_dtype, is_shape) = next(iter(kinds)), next(iter(stored))
        if key not in restored or key in told or shape is None or None in shape or not dtype:
            continue
        if (dtype, shape) != (is_dtype, is_shape):
            found.append(
                {
                    "tensor": key,
                    "name": own,
                    "expected": f"{dtype_name(dtype)} {list(shape)}",
                    "found": f"{dtype_name(is_dtype)} {list(is_shape)}",
                    "says": {"stored": is_shape, "expected": shape, "name": f"{own}:0"},
                }
            )
    return found


def _restore_says(fits: Misfits) -> str:
    if not fits.objects:
        return says("no-key", tensor=fits.missing[0])
    return says("unbound", count=sum(1 for key in fits.missing if key != OBJECT_GRAPH_KEY))


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return ", ".join(names[:2]) + more
