"""What the commands print: the JSON documents of the contract, and the same as tables for people."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ckptui.core.model import (
    SEVERITY_RANK,
    Artifact,
    Finding,
    Histogram,
    Layer,
    Listing,
    Stats,
    Tensor,
)
from ckptui.core.naming import PLAIN, Naming, naming_of, without_copies
from ckptui.core.report import finding_lines, table, worst_first
from ckptui.core.text import human_bytes, human_count, middle, number_text, safe, shape_text


@dataclass(slots=True)
class Answer:
    """What a command came to: both faces, each made only if it is printed, and what the exit code rests on."""

    document: Callable[[], dict[str, Any]]
    text: Callable[[], Iterable[str]]
    findings: Sequence[Finding] = ()
    """Known when the document or the text is: where it streams, at its end."""
    differs: bool = False
    """`diff` found a difference."""
    notes: list[str] = field(default_factory=list)
    """Lines for stderr."""
    streams: bool = False
    """The lines of the text come while the command is at work, and are printed as they come."""


STATUS_WORDS = {"ok": "ok", "warning": "warning", "error": "ERROR", "unchecked": "–"}


def findings_json(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """All findings as JSON, worst first."""
    return [f.to_json() for f in worst_first(findings)]


MOST_ALIKE = 5
"""Findings of one code in one save that are printed in full; the rest are counted."""


def findings_text(findings: Sequence[Finding], naming: Naming = PLAIN) -> list[str]:
    """Findings for people, worst first; of many alike only the first few. Nothing when there are none."""
    lines: list[str] = []
    findings = without_copies(findings, naming)
    alike = Counter((f.code, f.artifact, f.severity) for f in findings)
    shown: Counter[tuple[str, str, str]] = Counter()
    told: dict[tuple[str, str, str], list[str]] = {}
    for finding in _save_by_save(findings):
        kind = (finding.code, finding.artifact, finding.severity)
        shown[kind] += 1
        if shown[kind] <= MOST_ALIKE:
            head, *rest = finding_lines(finding, naming=naming)
            lines += [head] if told.get(kind) == rest else [head, *rest]
            told[kind] = rest
        elif shown[kind] == alike[kind]:
            lines.append(f"    … and {alike[kind] - MOST_ALIKE} more {finding.code} here (--json lists all)")
    return lines


def _save_by_save(findings: Sequence[Finding]) -> list[Finding]:
    """Worst first; of each severity one save after the other, and what explains the whole save before its tensors."""
    place = {path: number for number, path in enumerate(dict.fromkeys(f.artifact for f in findings))}
    return sorted(
        worst_first(findings),
        key=lambda f: (-SEVERITY_RANK[f.severity], place[f.artifact], f.tensor is not None),
    )


def artifact_lines(artifact: Artifact) -> list[str]:
    """The head of every page about one save."""
    writer = "  ".join(f"{safe(str(k))} {safe(str(v), 200)}" for k, v in artifact.writer.items() if v)
    facts: list[str] = [artifact.kind]
    if artifact.step is not None:
        facts.append(f"step {artifact.step}")
    facts.append(human_bytes(artifact.bytes))
    if artifact.shards:
        facts.append(f"{artifact.shards} shard{'s' if artifact.shards != 1 else ''}")
    facts.append(f"{human_count(artifact.tensors)} tensors")
    facts.append(f"{human_count(artifact.parameters)} parameters")
    return [safe(artifact.path), "  ".join(facts), *([f"written by  {writer}"] if writer else [])]


def show_document(
    listing: Listing,
    tensors: Sequence[Tensor],
    extra: Mapping[str, Any] | None = None,
    findings: Sequence[Finding] | None = None,
) -> dict[str, Any]:
    """`ckptui/show/1`; `extra` carries stats and histogram of a single tensor."""
    return {
        "schema": "ckptui/show/1",
        "artifact": listing.artifact.to_json(),
        "tensors": [t.to_json() for t in tensors],
        "signatures": [s.to_json() for s in listing.signatures],
        "architecture": [row.to_json() for row in listing.architecture],
        **(extra or {}),
        "findings": findings_json(listing.findings if findings is None else findings),
    }


def tensor_rows(tensors: Iterable[Tensor]) -> list[str]:
    """Name, dtype, shape, size, role and the variable's own name."""
    rows = [
        [
            safe(t.name),
            safe(t.dtype),
            shape_text(t.shape),
            human_bytes(t.bytes),
            t.role,
            safe(t.object_path if t.object_path != t.name else "") + (f"  ({safe(t.problem)})" if t.problem else ""),
        ]
        for t in tensors
    ]
    return table(["name", "dtype", "shape", "size", "role", "variable"], rows, right=(2, 3))


def show_text(listing: Listing) -> list[str]:
    """Everything a save says about itself."""
    lines = [*artifact_lines(listing.artifact), "", *tensor_rows(listing.tensors)]
    for signature in listing.signatures:
        lines += [
            "",
            f"signature {safe(signature.name)}  [{safe(', '.join(signature.tags))}]  {safe(signature.method)}",
        ]
        for word, endpoints in (("in ", signature.inputs), ("out", signature.outputs)):
            lines += [
                f"  {word}  {safe(e.name)}  {e.dtype}  {shape_text(e.shape)}  {safe(e.tensor)}" for e in endpoints
            ]
    if listing.architecture:
        rows = [
            [
                "  " * row.depth + safe(row.name),
                safe(row.class_name),
                shape_text(row.output_shape) if row.output_shape is not None else "",
                human_count(row.parameters),
                ", ".join(safe(middle(w, 40)) for w in row.weights),
            ]
            for row in listing.architecture
        ]
        lines += ["", *table(["layer", "class", "output shape", "parameters", "weights"], rows, right=(3,))]
    told = findings_text(listing.findings, naming_of(listing.artifact.path, listing.tensors, listing.findings))
    return [*lines, *([""] if told else []), *told]


def tensor_text(
    tensor: Tensor, stats: Stats | None, histogram: Histogram | None, looked: Iterable[str] = ()
) -> list[str]:
    """All about one tensor; `looked`: lines on its filters."""
    where = tensor.storage.segment
    lines = [
        safe(tensor.name),
        f"  {tensor.dtype}  {shape_text(tensor.shape)}  {human_bytes(tensor.bytes)}  {tensor.role}",
    ]
    if tensor.object_path and tensor.object_path != tensor.name:
        lines.append(f"  variable   {safe(tensor.object_path)}")
    if tensor.layer:
        lines.append(f"  layer      {safe(tensor.layer)}")
    if where:
        lines.append(f"  bytes      {where.offset} to {where.offset + where.bytes} of {safe(where.file)}")
    crc = tensor.storage.crc32c
    lines.append("  crc32c     " + ("none in this format" if crc is None else f"{crc:08x}"))
    if tensor.problem:
        lines.append(f"  problem    {safe(tensor.problem)}")
    if stats is not None:
        lines += [f"  {name:<10} {text}" for name, text in _stat_items(stats, tensor.shape)]
    if histogram is not None and any(histogram.counts):
        lines.append(f"  histogram  {bars(histogram.counts)}")
        lines.append(f"             {number_text(histogram.low)} to {number_text(histogram.high)}")
    return [*lines, *looked]


def bars(counts: Sequence[int]) -> str:
    """A histogram in one line of block characters."""
    top = max(counts, default=0)
    blocks = " ▁▂▃▄▅▆▇█"
    return "".join(blocks[0 if not c else max(1, round(c / top * 8))] for c in counts)


def _stat_items(stats: Stats, shape: Sequence[int]) -> list[tuple[str, str]]:
    """Names and numbers; where the smallest and the largest lie as an index along each axis."""
    found: list[tuple[str, str]] = []
    for name in Stats.__dataclass_fields__:
        value = getattr(stats, name)
        if name in ("argmin", "argmax") and value is not None and len(shape) > 1:
            found.append((name, index_text(value, shape)))
        else:
            found.append((name, number_text(value, 7)))
    return found


def index_text(flat: int, shape: Sequence[int]) -> str:
    """`[2,0,2,8]`: the index along each axis of an element counted in C order."""
    places: list[str] = []
    for extent in reversed(shape):
        flat, place = divmod(flat, max(extent, 1))
        places.append(str(place))
    return f"[{','.join(reversed(places))}]"


def stats_document(
    artifact: Artifact, rows: Sequence[tuple[Tensor, Stats | None]], findings: Sequence[Finding]
) -> dict[str, Any]:
    """`ckptui/stats/1`; the stats of a tensor that can't be read are null."""
    tensors = [{**t.to_json(), "stats": s.to_json() if s else None} for t, s in rows]
    return {
        "schema": "ckptui/stats/1",
        "artifact": artifact.to_json(),
        "tensors": tensors,
        "findings": findings_json(findings),
    }


def stats_text(rows: Sequence[tuple[Tensor, Stats | None]], findings: Sequence[Finding]) -> list[str]:
    """The numbers of every tensor."""
    cells = [
        [
            safe(t.name),
            shape_text(t.shape),
            *(number_text(getattr(s, name)) if s else "–" for name in ("mean", "std", "min", "max", "l2")),
            *(("" if not value else str(value)) for value in ((s.zeros, s.nan) if s else (None, None))),
        ]
        for t, s in rows
    ]
    headers = ["name", "shape", "mean", "std", "min", "max", "l2", "zeros", "nan"]
    path = next((f.artifact for f in findings if f.tensor), "")
    told = findings_text(findings, naming_of(path, (t for t, _ in rows), findings))
    return [*table(headers, cells, right=range(1, 9)), *([""] if told else []), *told]


def filters_document(artifact: Artifact, layers: Sequence[Layer], findings: Sequence[Finding]) -> dict[str, Any]:
    """`ckptui/filters/1`."""
    return {
        "schema": "ckptui/filters/1",
        "artifact": artifact.to_json(),
        "layers": [layer.to_json() for layer in layers],
        "findings": findings_json(findings),
    }


def json_pieces(document: Mapping[str, Any]) -> Iterator[str]:
    """A document as JSON, long lists item by item: a whole text of it would take as much memory again.

    `json.dump` would do the same five times slower: only `json.dumps` has an encoder in C.
    """
    mark = "{"
    for key, value in document.items():
        yield f"{mark}{json.dumps(key)}: "
        mark = ", "
        if isinstance(value, list) and value:
            for number, item in enumerate(value):
                yield (", " if number else "[") + json.dumps(item, allow_nan=False)
            yield "]"
        else:
            yield json.dumps(value, allow_nan=False)
    yield "}" if document else "{}"
