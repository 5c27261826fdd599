"""TensorBundles: PREFIX.index and its data shards, as every TensorFlow since 2016 writes checkpoints.

The index is read and proved at once; its records are decoded when somebody looks at them. The object graph, which
gives variables their own names, is read from its shard at the first need.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from ckptui.core.model import Artifact, Finding, Kind, Listing, Tensor, worst_status
from ckptui.core.names import step_of
from ckptui.errors import Damaged, NoSuchPath, Unreadable
from ckptui.readers.bundle_checks import capped, finding, index_findings
from ckptui.readers.bundle_graph import GraphOfBundle
from ckptui.readers.bundle_index import BundleIndex
from ckptui.readers.bundle_interrupted import beside_whole, interrupted
from ckptui.readers.bundle_leftovers import Leftovers, leftovers
from ckptui.readers.bundle_look import index_missing, is_whole, no_table, text_copy, unusable
from ckptui.readers.bundle_origin import origin
from ckptui.readers.bundle_rescue import Rescue, candidates, continues, rescue, stage_of
from ckptui.readers.bundle_shards import shard_files
from ckptui.readers.bundle_tensors import BundleTensors
from ckptui.readers.sstable import Table, read_table

if TYPE_CHECKING:
    import numpy as np

GRAPH_AT_ONCE = 1 << 20
"""Bytes of an object graph that is read even for a listing in a hurry."""


class Bundle:
    """One bundle. Nothing stays open between calls."""

    kind: Kind = "tf-checkpoint"

    def __init__(self, prefix: str, index: BundleIndex, findings: list[Finding]) -> None:
        """`findings`: what opening it gave away."""
        self.path = prefix
        self.index = index
        self.graph = GraphOfBundle(index)
        self._findings = findings

    @property
    def names(self) -> list[str]:
        """All tensor names, without decoding anything."""
        return self.index.names

    def listing(self, *, count: bool = True) -> Listing:
        """Everything index, file sizes and object graph say, without a tensor byte being read.

        Without `count` no record is decoded: `parameters` is 0, entries are not checked (a tensor looked at tells
        its own problem all the same), and a large object graph is left alone: layer and role come from the keys.
        """
        index = self.index
        hurry = not count and self.graph.size > GRAPH_AT_ONCE
        tensors = BundleTensors(index, (lambda: None) if hurry else self.graph.get)
        findings = [*self._findings, *index.findings]
        if count:
            with _collector_resting():
                parameters = tensors.parameters()
            findings += self.graph.findings
            if index.table.keys:
                findings += index.verdicts.findings
        else:
            parameters = 0
            index.shards.look_at_all()
        findings = list(capped(findings, self.path))
        return Listing(self._artifact(tensors, parameters, findings), tensors, tuple(findings))

    def chunks(self, tensor: Tensor, chunk_bytes: int = 1 << 20) -> Iterator[np.ndarray[Any, Any]]:
        """The elements as 1-D arrays in native byte order; see `values.element_chunks`."""
        from ckptui.readers.values import element_chunks

        _require_bytes(tensor)
        return element_chunks(tensor, chunk_bytes)

    def array(self, tensor: Tensor) -> np.ndarray[Any, Any]:
        """All values; see `values.array_of`."""
        from ckptui.readers.values import array_of

        _require_bytes(tensor)
        return array_of(tensor)

    def close(self) -> None:
        """Nothing is open; here for the sake of every reader's interface."""

    def _artifact(self, tensors: BundleTensors, parameters: int, findings: list[Finding]) -> Artifact:
        index = self.index
        folder, base = os.path.split(self.path)
        label = base or os.path.basename(os.path.abspath(folder or "."))
        size, modified = index.table.size, index.shards.modified
        if size:
            with suppress(OSError, ValueError):
                modified = max(modified, os.stat(index.path).st_mtime)
        return Artifact(
            path=self.path,
            kind=self.kind,
            label=label,
            step=step_of(label),
            bytes=size + sum(index.shards.sizes.values()),
            shards=max(0, index.header.shards),
            tensors=len(tensors),
            parameters=parameters,
            modified=modified,
            writer=origin(index.header, index.names),
            status=worst_status(findings),
        )


def _require_bytes(tensor: Tensor) -> None:
    """Raise Damaged for a tensor whose bytes are nowhere."""
    if tensor.problem and tensor.storage.encoding == "none":
        raise Damaged(f"{tensor.name}: {tensor.problem}")


@contextmanager
def _collector_resting() -> Iterator[None]:
    """No garbage collection inside: a hundred thousand new records hold no cycle, and looking costs a third."""
    awake = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if awake:
            gc.enable()


def open_bundle(prefix: str) -> Bundle:
    """The bundle with this prefix; the empty file name (`DIR/`) is a legal one.

    Without a readable index, what an interrupted save left behind stands in for it, and a finding says so. It is
    enough that `PREFIX_temp/part-*` or a `.tempstate` file is there.

    Raises:
        NoSuchPath: neither an index, nor a data file, nor a temporary file has this prefix.
        ChangedWhileReading: the index is being written.
    """
    path = prefix + ".index"
    left = leftovers(prefix)
    table, findings = _read_index(prefix, path, left)
    shards = None
    if left:
        spare, told = _from_leftovers(prefix, path, table, findings, left)
        findings += told
        if spare is not None:
            if not is_whole(table):
                findings = [*index_findings(table, path, prefix), *findings]
            path, table, shards = spare.path, spare.table, spare.shards
            # that a temporary index breaks off is what the interruption did
            table.problems = [problem for problem in table.problems if problem.cause != "truncated"]
    return Bundle(prefix, BundleIndex(prefix, path, table, shards=shards), findings)


def _read_index(prefix: str, path: str, left: Leftovers) -> tuple[Table, list[Finding]]:
    """The table of the index, or an empty one and the reason."""
    try:
        table = read_table(path)
    except NoSuchPath:
        if os.path.lexists(path):
            return Table(complete=False), [unusable(prefix, path)]
        if not left and not shard_files(prefix):
            raise
        return Table(complete=False), [index_missing(prefix, path, left, candidates(left))]
    except Unreadable as error:
        return Table(complete=False), [finding("unreadable", prefix, error.detail, evidence=error.evidence)]
    if is_whole(table):
        return table, []
    undone = text_copy(prefix, path)
    if undone is not None:
        return undone[0], [undone[1]]
    instead = no_table(prefix, path, table)
    return (table, []) if instead is None else (Table(complete=False), [instead])


def _from_leftovers(
    prefix: str, path: str, table: Table, findings: list[Finding], left: Leftovers
) -> tuple[Rescue | None, list[Finding]]:
    """The directory to use instead of `table`, if any, and what the leftovers say of the save."""
    spare = rescue(left)
    if is_whole(table):
        return beside_whole(prefix, table, left, spare)
    if spare is not None and table.keys and not continues(table, spare.table):
        spare = None
    final = os.path.lexists(path)
    return spare, [interrupted(prefix, left, stage_of(left, final), spare)]
