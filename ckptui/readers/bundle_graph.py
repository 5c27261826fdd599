"""The object graph of a bundle, read from its shard, bounded and proved."""

from __future__ import annotations

from bisect import bisect_left

from ckptui.core.model import Finding
from ckptui.core.names import OBJECT_GRAPH_KEY
from ckptui.errors import CkptuiError, Damaged
from ckptui.readers.bundle_checks import finding
from ckptui.readers.bundle_index import BundleIndex
from ckptui.readers.object_graph import ObjectGraph, parse
from ckptui.readers.source import Source
from ckptui.readers.sstable_block import unmask
from ckptui.readers.unsaved import never_saved
from ckptui.readers.values import decode_strings
from ckptui.readers.wire import WireError, uvarint

CAP = 1 << 26
"""Bytes of the largest object graph that is read."""


class GraphOfBundle:
    """Reads the graph at the first call of `get`, and keeps what is wrong with it."""

    def __init__(self, index: BundleIndex) -> None:
        self._index = index
        self._graph: ObjectGraph | None = None
        self._done = False
        self.findings: list[Finding] = []
        key = OBJECT_GRAPH_KEY.encode()
        place = bisect_left(index.table.keys, key)
        here = place < len(index.table.keys) and index.table.keys[place] == key
        self._position = place if here else None

    @property
    def size(self) -> int:
        """Bytes stored for the graph; 0 where there is none."""
        return max(0, self._index.entry(self._position).size) if self._position is not None else 0

    def get(self) -> ObjectGraph | None:
        """The graph, or None where the bundle has none or it can't be read at all."""
        if not self._done:
            self._done = True
            self._graph = self._read()
        return self._graph

    def _read(self) -> ObjectGraph | None:
        index = self._index
        if self._position is None or index.problem(self._position):
            return None
        entry = index.entry(self._position)
        path = index.shards.path(entry.shard)
        if entry.size > CAP:
            self._tell(f"object graph of {entry.size} bytes, at most {CAP} are read: names come from the keys alone")
            return None
        try:
            with Source(path) as source:
                raw = source.pread(entry.offset, entry.size)
                source.fence()
        except CkptuiError:
            return None
        data, crc = _content(raw, index.header.big_endian)
        graph = parse(data)
        stored = None if entry.crc is None else unmask(entry.crc)
        if stored is not None and crc != stored:
            read = len(graph.names)
            detail = f"the object graph is damaged; the names of {read} variables could still be read from it"
            self._tell(
                detail,
                {"file": path, "offset": entry.offset, "bytes": entry.size, "expected": stored, "found": crc},
            )
        elif graph.problem:
            self._tell(f"the object graph makes no sense: {graph.problem}", {"file": path, "reason": graph.problem})
        elif index.table.complete and not index.table.problems:
            self.findings += never_saved(graph, index.prefix, index.names)
        return graph

    def _tell(self, detail: str, evidence: dict[str, object] | None = None) -> None:
        code = "checksum-mismatch" if evidence and "expected" in evidence else "entry-invalid"
        title = "" if code == "checksum-mismatch" else "The object graph can't be read"
        self.findings.append(
            finding(code, self._index.prefix, detail, tensor=OBJECT_GRAPH_KEY, evidence=evidence, title=title)
        )


def _content(raw: bytes, big_endian: bool) -> tuple[bytes, int | None]:
    """The one string in `raw` and the checksum of the whole; where its length is damaged, all that follows it."""
    try:
        items, crc, holds = decode_strings(raw, 1, big_endian)
        if holds and items:
            return items[0], crc
    except Damaged:
        pass
    try:
        _, start = uvarint(raw, 0)
    except WireError:
        start = 0
    return raw[start + 4 :], None
