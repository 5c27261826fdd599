"""Why a SavedModel's graph can't be read: cut off, zeros, a text-mode copy, bytes after its end, or plainly wrong.

The wire format has no checksum. What tells causes apart: lengths that ask for more bytes than the file has, runs of
zeros where a field must begin, and line feeds, of which every graph has many because 0x0a is the tag of field 1.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ckptui.core.model import Certainty, Finding
from ckptui.core.sayings import says
from ckptui.readers import mangled
from ckptui.readers.graph_facts import Damage, Gatherer
from ckptui.readers.graph_wire import walk_wire
from ckptui.readers.notices import notice
from ckptui.readers.pbtxt import NO_FIELD
from ckptui.readers.signatures import MetaGraph
from ckptui.readers.wire import LENGTH, WireError, uvarint
from ckptui.readers.zeros import SECTOR

CAP = 1 << 26
"""Bytes of the largest damaged graph that is read whole for its cause."""
ZERO_RUN = 64
"""Zeros in a row, where a field must begin, that are told as such."""
MANY = 8
"""Line ends from which on their kind proves something."""
MANY_LINES = 200
"""Line feeds of which none follows a carriage return. In exports one in 40 to 400 does: lengths of 13 before a tag."""
LONG = 1000
"""Bytes from which on a graph holds lengths above 127."""
TEXT_ENDS = "the text ends inside a message"
_CUT_NUMBER = "number runs off the end of the file"
_OWN_FIELDS = frozenset({0x08, 0x12})
"""Tags of `saved_model_schema_version` and `meta_graphs`."""
REPLACED = "\ufffd".encode()
"""What a decoder puts in place of what is no text."""


@dataclass(frozen=True, slots=True)
class Cause:
    """What one finding says."""

    code: str
    detail: str
    title: str | None = None
    evidence: dict[str, Any] = field(default_factory=dict)
    certainty: Certainty = "confirmed"
    advice: str | None = None


def binary_cause(data: bytes | None, size: int, damage: Damage, graphs: int) -> tuple[Cause, bytes | None]:
    """Why a binary graph of `size` bytes can't be read, and its bytes as they were where that can be undone.

    `data` is None for a file that is too large to look at whole; `graphs` counts the meta graphs that were found.
    """
    if data is not None:
        mangled = _mangled(data, damage)
        if mangled is not None:
            return mangled
    if graphs and not damage.reason.startswith(("meta_graphs ", _CUT_NUMBER)):
        ends = damage.offset if data is None or not damage.where else _end_of_graphs(data)
        if not damage.where or ends <= damage.offset:
            return _appended(data, size, ends), None
    if data is not None:
        zeros = _zeros(data, damage.offset)
        if zeros is not None:
            return zeros, None
    if damage.of_file and damage.expected is not None:
        return _cut(size, damage, damage.expected), None
    title = "The graph is cut off" if damage.reason.startswith(_CUT_NUMBER) else None
    return Cause("graph-damaged", _plain(damage), title), None


def text_cause(data: bytes, damage: Damage) -> Cause:
    """Why a text graph can't be read."""
    first = data.find(b"\0")
    zeros = _zeros(data, first) if first >= 0 else None
    if zeros is not None:
        # Text holds none, and what they interrupted began before them.
        return zeros
    cut = damage.reason == TEXT_ENDS or (damage.count == 1 and b"\n" not in data[damage.offset :])
    if not cut:
        begin = data.rfind(b"\n", 0, damage.offset) + 1
        facts = {"line": data.count(b"\n", 0, begin) + 1, "column": damage.offset - begin + 1}
        return Cause("graph-damaged", _plain(damage), None, facts)
    detail = f"ends at byte {len(data)} inside {damage.where or 'a field'}: {damage.reason}"
    return Cause("graph-damaged", detail, "The graph is cut off", {"cut": True, "found": len(data)})


def graph_finding(folder: str, path: str, damage: Damage, cause: Cause, graphs: Sequence[MetaGraph]) -> Finding:
    """The finding of a damaged graph, with what could still be read of it."""
    facts: dict[str, Any] = {
        "file": path,
        "offset": damage.offset,
        "where": damage.where,
        "places": damage.count,
        "nodes_read": sum(graph.nodes + graph.function_nodes for graph in graphs),
        "functions_read": sum(graph.functions for graph in graphs),
        "signatures_read": sum(len(graph.signatures) for graph in graphs),
    }
    if damage.expected is not None:
        facts |= {"expected": damage.expected, "found": damage.found}
    facts |= cause.evidence
    facts["tensorflow_says"] = _says(path, damage, cause)
    detail = f"{os.path.basename(path)} {cause.detail}"
    finding = notice(cause.code, folder, detail, facts, title=cause.title, advice=cause.advice)
    return replace(finding, certainty=cause.certainty)


def one_bit_apart(name: str, others: Iterable[str]) -> str | None:
    """The first of `others` that differs from `name` in a single bit: what a flip made of it, or it of that."""
    raw = name.encode("utf-8", "surrogatepass")
    for other in others:
        there = other.encode("utf-8", "surrogatepass")
        if len(there) == len(raw):
            odd = [a ^ b for a, b in zip(raw, there, strict=True) if a != b]
            if len(odd) == 1 and odd[0].bit_count() == 1:
                return other
    return None


def walk_again(data: bytes, make: Callable[[], Gatherer]) -> Gatherer | None:
    """What bytes that were put right hold; None where they are no graph either."""
    gatherer = make()
    walk_wire(lambda offset, count: data[offset : offset + count], len(data), gatherer, "SavedModel")
    return gatherer if gatherer.damage is None and gatherer.root.get("meta_graphs") else None


def _says(path: str, damage: Damage, cause: Cause) -> str:
    if path.endswith("txt"):
        known = damage.reason.startswith(NO_FIELD) and "line" in cause.evidence
        field = {"name": damage.reason.removeprefix(NO_FIELD), **cause.evidence}
        return says("graph-text-field", file=path, **field) if known else says("graph-text", file=path)
    return says("graph-utf8" if damage.reason.endswith("no UTF-8") else "graph-wire", file=path)


def _plain(damage: Damage) -> str:
    more = f"; {damage.count - 1} more places follow" if damage.count > 1 else ""
    where = f" in {damage.where}" if damage.where else ""
    return f"at byte {damage.offset}{where}: {damage.reason}{more}"


def _mangled(data: bytes, damage: Damage) -> tuple[Cause, bytes | None] | None:
    """A text-mode copy, and the bytes before it."""
    pairs = mangled.all_crlf(data)
    if pairs:
        undone = mangled.undo_crlf(data)
        if pairs >= MANY or walk_again(undone, Gatherer) is not None:
            detail = f"has its line feeds turned into CRLF by a text-mode copy: {pairs} bytes too many"
            return _text(detail, {"expected": len(undone), "found": len(data), "line_ends": pairs}), undone
    lines = data.count(b"\n")
    if damage.inside and lines >= MANY_LINES and b"\r\n" not in data:
        facts = {"text_mangled": True, "line_ends": lines, "found": len(data)}
        if damage.of_file and damage.expected is not None and 0 < damage.expected - len(data) <= lines:
            facts["expected"] = damage.expected
        cause = _text("has its CRLFs turned into line feeds by a text-mode copy: none is left", facts)
        return replace(cause, certainty="likely"), None
    if len(data) >= LONG and any(data):
        undone_utf8 = None if data.isascii() else mangled.undo_utf8(data)
        if undone_utf8 is not None and walk_again(undone_utf8, Gatherer) is not None:
            detail = f"had its bytes re-encoded as UTF-8 text: {len(data) - len(undone_utf8)} bytes too many"
            return _text(detail, {"expected": len(undone_utf8), "found": len(data)}), undone_utf8
        if data.isascii():
            return _text("holds no byte above 127: a copy stripped the eighth bits", {}), None
        if data.count(REPLACED) >= MANY:
            return _text("was copied as UTF-8 text: what was no text is lost", {"replaced": data.count(REPLACED)}), None
    return None


def _text(detail: str, evidence: dict[str, Any]) -> Cause:
    title, advice = "The graph was copied as text", "Copy the file again in binary mode."
    return Cause("not-a-model", detail, title, {"text_mangled": True, **evidence}, advice=advice)


def _zeros(data: bytes, place: int) -> Cause | None:
    """A run of zeros around `place`."""
    if place >= len(data) or data[place]:
        return None
    start = len(data[:place].rstrip(b"\0"))
    end = len(data) - len(data[place:].lstrip(b"\0"))
    if end - start < min(ZERO_RUN, len(data)):
        return None
    what = f"holds {end - start} zeros from byte {start} on" if end - start < len(data) else "holds nothing but zeros"
    what += ", to its end" if start and end == len(data) else ""
    facts = {"offset": start, "bytes": end - start, "tail": end == len(data), "aligned": start % SECTOR == 0}
    return Cause("zero-filled", what, None, facts)


def _cut(size: int, damage: Damage, expected: int) -> Cause:
    """The file ends before its own lengths say so."""
    missing = expected - size
    facts: dict[str, Any] = {"bytes_missing": missing}
    name = damage.reason.partition(" ")[0]
    detail = f"ends at byte {size}, {name} at byte {damage.offset} goes on to {expected}: "
    detail += f"{missing} bytes are missing" if missing > 1 else "1 byte is missing"
    if damage.count == 1 and not missing & (missing - 1):
        # Everything inside fits, and one flipped bit of the length would say the same.
        facts["one_bit"] = True
        return Cause(
            "graph-damaged", detail + ", or one bit of that length is wrong", "The graph is cut off", facts, "likely"
        )
    return Cause("graph-damaged", detail, "The graph is cut off", facts)


def _end_of_graphs(data: bytes) -> int:
    """Where the fields that every SavedModel has end: the schema version and meta graphs, one after the other."""
    place = 0
    with contextlib.suppress(WireError):
        while place < len(data):
            tag, at = uvarint(data, place)
            if tag not in _OWN_FIELDS:
                break
            value, at = uvarint(data, at)
            at += value if tag & 7 == LENGTH else 0
            if at > len(data):
                break
            place = at
    return place


def _appended(data: bytes | None, size: int, ends: int) -> Cause:
    """Bytes after the last meta graph that are no field."""
    extra = size - ends
    what = "zeros" if data is not None and not any(data[ends:]) else "bytes"
    detail = f"has {extra} {what} after the end of its graph at byte {ends}; the graph before them is whole"
    facts = {"offset": ends, "expected": ends, "found": size, "bytes_extra": extra}
    advice = f"A copy of the first {ends} bytes is the whole graph; look who appended the rest."
    return Cause("graph-damaged", detail, "Bytes after the end of the graph", facts, advice=advice)
