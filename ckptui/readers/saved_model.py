"""A SavedModel folder: its graph's facts by walking, its variables as a checkpoint, without TensorFlow.

Layout and field numbers: TensorFlow's `saved_model.proto`, `constants.py` and `fingerprint.proto`, and Keras 2's
`saved_metadata.proto`. A damaged graph costs itself only: what can be walked is told, and the variables are read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ckptui.core.model import (
    ArchitectureRow,
    Artifact,
    Finding,
    Kind,
    Listing,
    Operation,
    Segment,
    Signature,
    Tensor,
    worst_status,
)
from ckptui.core.names import step_of
from ckptui.errors import ChangedWhileReading, CkptuiError, Damaged, NoSuchPath, NotASave
from ckptui.readers import saved_model_notes as notes
from ckptui.readers.folder import (
    SAVED_MODEL_FOLDERS,
    Folder,
    is_saved_model,
    read_folder,
)
from ckptui.readers.graph_causes import CAP, Cause, binary_cause, graph_finding, text_cause, walk_again
from ckptui.readers.graph_facts import Gatherer, Message
from ckptui.readers.graph_ops import PRINT_OPS, READS_FILES, WATCHED, unsafe_ops
from ckptui.readers.graph_wire import walk_bytes, walk_wire
from ckptui.readers.leftovers import SAVED_MODEL_TRACES, SHARD
from ckptui.readers.pbtxt import TEXT_CAP, walk_text
from ckptui.readers.signatures import INTERNAL, MetaGraph, meta_graph
from ckptui.readers.sniff import SAVED_MODEL_FILES, sniff
from ckptui.readers.source import Source, read_whole
from ckptui.readers.v1_found import SHARD_V1

if TYPE_CHECKING:
    import numpy as np

    from ckptui.readers.bundle import Bundle
    from ckptui.readers.bundle_v1 import BundleV1
    from ckptui.readers.fingerprint import Fingerprint, Verdict

SIDE_FILE_CAP = 1 << 26
"""Bytes of keras_metadata.pb and fingerprint.pb that are read."""

Progress = Callable[[int], None]


def open_saved_model(path: str | os.PathLike[str], progress: Progress | None = None) -> SavedModel:
    """Open a SavedModel folder; `progress` is told byte offsets while a large graph is walked.

    Raises:
        NoSuchPath: the folder is not there.
        NotASave: it holds neither a graph nor traces of one.
    """
    where = os.fspath(path)
    try:
        folder = read_folder(where)
    except (FileNotFoundError, NotADirectoryError):
        raise NoSuchPath(where) from None
    except (OSError, ValueError) as error:
        raise NotASave(f"{where} can't be looked into: {error}") from None
    if not is_saved_model(folder):
        raise NotASave(f"{where} holds no saved_model.pb, nor anything an export leaves")
    return SavedModel(folder, progress)


class SavedModel:
    """A SavedModel whose graph was walked on opening; the variables are read on demand."""

    kind: Kind = "saved-model"

    def __init__(self, folder: Folder, progress: Progress | None = None) -> None:
        self.path = folder.path
        self.folder = folder
        self._prefix = folder.join("variables/variables")
        self.findings: list[Finding] = []
        """About the graph and the folder; those about the variables are in the listing too."""
        self.meta_graphs: tuple[MetaGraph, ...] = ()
        self._graph_read = False
        self._graph_whole = False
        self._graph_size = 0
        self._verdict: Verdict = "" if self.fingerprint.readable else "unreadable"
        self._progress = progress
        self._read_graph()
        self.bundle: Bundle | None = self._open_variables()
        self.v1: BundleV1 | None = None if self.bundle is not None else self._open_v1_variables()
        """The variables of a SavedModel of 2016, which are a V1 checkpoint."""
        self._check_graphs()

    @property
    def signatures(self) -> tuple[Signature, ...]:
        """The callable signatures of all meta graphs, without TensorFlow's internal ones."""
        return tuple(s for graph in self.meta_graphs for s in graph.signatures if s.name not in INTERNAL)

    @property
    def writer(self) -> dict[str, Any]:
        """Who wrote it, as far as the graph, the fingerprint and Keras' metadata say."""
        first = self.meta_graphs[0] if self.meta_graphs else MetaGraph()
        fingerprint = self.fingerprint.facts
        facts: dict[str, Any] = {
            "tensorflow": first.tensorflow,
            "git": first.git,
            "producer": first.producer,
            "keras": self._keras.get("keras_version"),
            "fingerprint_producer": fingerprint.get("version", {}).get("producer"),
            "fingerprint_uuid": fingerprint.get("uuid"),
            "fingerprint": self._verdict,
        }
        return {name: value for name, value in facts.items() if value not in ("", None)}

    def listing(self) -> Listing:
        """Everything the folder says without a tensor byte being read."""
        stored = self.bundle or self.v1
        variables = stored.listing() if stored is not None else None
        findings = list(self.findings)
        tensors: Sequence[Tensor] = ()
        if variables is not None:
            tensors = variables.tensors
            findings += [notes.of_variables(self.path, self._prefix, finding) for finding in variables.findings]
        rows, tensors, code_findings = self._architecture(tensors)
        findings += code_findings
        size, modified = _files(self.folder)
        label = os.path.basename(os.path.abspath(self.path))
        artifact = Artifact(
            path=self.path,
            kind=self.kind,
            label=label,
            step=step_of(label) if label.isdigit() else None,
            bytes=size,
            shards=variables.artifact.shards if variables is not None else 0,
            tensors=len(tensors),
            parameters=variables.artifact.parameters if variables is not None else 0,
            modified=modified,
            writer=self.writer,
            status=worst_status(findings),
        )
        return Listing(artifact, tensors, tuple(findings), self.signatures, rows, _operations(self.meta_graphs))

    def chunks(self, tensor: Tensor, chunk_bytes: int = 1 << 20) -> Iterator[np.ndarray[Any, Any]]:
        """The elements of a variable as 1-D arrays in native byte order; see `values.element_chunks`."""
        from ckptui.readers.values import element_chunks

        return self.v1.chunks(tensor, chunk_bytes) if self.v1 is not None else element_chunks(tensor, chunk_bytes)

    def array(self, tensor: Tensor) -> np.ndarray[Any, Any]:
        """All values of a variable; see `values.array_of`."""
        from ckptui.readers.values import array_of

        return self.v1.array(tensor) if self.v1 is not None else array_of(tensor)

    def checksums(self, tensor: Tensor, beat: Progress) -> Iterator[tuple[int, int, Segment, str]]:
        """Checksums of the blocks of a V1 checkpoint; see `BundleV1.checksums`."""
        return self.v1.checksums(tensor, beat) if self.v1 is not None else iter(())

    def close(self) -> None:
        """Let go of variables that are a V1 checkpoint; nothing else stays open."""
        if self.v1 is not None:
            self.v1.close()

    # ------------------------------------------------------------------ the graph

    def _read_graph(self) -> None:
        name = next((name for name in SAVED_MODEL_FILES if name in self.folder.files), None)
        if name is None:
            self.findings.append(notes.no_graph(self.folder))
            return
        path = self.folder.join(name)
        seen = sniff(path)
        if seen.code is not None or seen.kind != self.kind:
            self.findings += notes.not_a_graph(self.path, path, seen)
            return
        gatherer = _gatherer()
        try:
            if name.endswith(".cpb"):
                self._walk_chunked(path, gatherer)
            elif name.endswith(".pb"):
                self._walk_binary(path, gatherer)
            else:
                walk_text(read_whole(path, TEXT_CAP), gatherer, "SavedModel", self._progress)
        except ChangedWhileReading as error:
            self.findings.append(notes.changed(self.path, error))
        except Damaged as error:
            self.findings.append(notes.refused(self.path, path, error))
            return
        self._graph_read = True
        self._take_in(gatherer, path)

    def _walk_binary(self, path: str, gatherer: Gatherer) -> None:
        with Source(path) as source:
            if source.size >= notes.PROTO_LIMIT:
                self.findings.append(notes.too_long(self.path, path, source.size))
            self._graph_size = source.size
            walk_wire(source.pread, source.size, gatherer, "SavedModel", self._progress)
            source.fence()

    def _walk_chunked(self, path: str, gatherer: Gatherer) -> None:
        """A graph in chunks, put together in memory."""
        from ckptui.readers.riegeli_merge import merged_saved_model

        data = merged_saved_model(path, self._progress)
        self.findings.append(notes.chunked(self.path, path))
        self._graph_size = len(data)
        walk_wire(lambda offset, count: data[offset : offset + count], len(data), gatherer, "SavedModel")

    def _take_in(self, gatherer: Gatherer, path: str) -> None:
        damage = gatherer.damage
        count = len(gatherer.root.get("meta_graphs", ()))
        cause = Cause("graph-damaged", "")
        if damage is not None and path.endswith(".pb"):
            cause, undone = binary_cause(_whole(path), self._graph_size, damage, count)
            gatherer = (walk_again(undone, _gatherer) if undone is not None else None) or gatherer
        elif damage is not None:
            cause = text_cause(_whole(path) or b"", damage)
        self.meta_graphs = tuple(meta_graph(message) for message in gatherer.root.get("meta_graphs", ()))
        if damage is not None:
            self.findings.append(graph_finding(self.path, path, damage, cause, self.meta_graphs))
        elif not self.meta_graphs:
            self.findings.append(notes.no_meta_graph(self.path, path))
        if not gatherer.complete:
            self.findings.append(notes.not_whole(self.path, path))
        self._graph_whole = damage is None and gatherer.complete

    def _check_graphs(self) -> None:
        for graph in self.meta_graphs:
            self.findings += unsafe_ops(graph, self.path)
        names = sorted({name for graph in self.meta_graphs for name in graph.assets})
        read = any(not READS_FILES.isdisjoint(graph.ops) for graph in self.meta_graphs)
        self.findings += notes.assets(self.folder, names, read)
        if self.bundle is not None:
            self._check_variables(self.bundle)
        elif self.v1 is None and any(graph.needs_variables for graph in self.meta_graphs):
            why = "the graph has variables or restores some"
            self.findings.append(notes.variables_missing(self.folder, self._prefix, why))
        elif self.v1 is None and not self._graph_read and self.fingerprint.checkpoint is not None:
            why = "fingerprint.pb was made with an index"
            self.findings.append(notes.variables_missing(self.folder, self._prefix, why))

    def _check_variables(self, bundle: Bundle) -> None:
        """Whether graph, index and fingerprint are of one export."""
        from ckptui.readers.fingerprint import verdict
        from ckptui.readers.saved_model_checks import Misfits, is_whole, misfits, mismatch

        graph = next((name for name in SAVED_MODEL_FILES if name in self.folder.files), "saved_model.pb")
        binary = self.folder.join(graph) if self._graph_whole and graph.endswith(".pb") else ""
        found = 0
        if is_whole(bundle):
            self._verdict, found = verdict(self.fingerprint, bundle.index.path, binary)
        fits = misfits(self.meta_graphs, bundle) if self._graph_whole else Misfits()
        paths = {
            "graph": self.folder.join(graph),
            "index": f"{self._prefix}.index",
            "fingerprint": self.folder.join("fingerprint.pb"),
        }
        finding = mismatch(self.path, paths, fits, self.fingerprint, found, self._verdict)
        if finding is not None:
            self.findings.append(finding)

    # ------------------------------------------------------------------ variables

    def _open_variables(self) -> Bundle | None:
        names = notes.names_in(self.folder.join("variables")) if "variables" in self.folder.folders else []
        shards = (found for name in names if (found := SHARD.fullmatch(name)) is not None)
        if "variables.index" not in names and not any(found[1] == "variables" for found in shards):
            return None
        from ckptui.readers.bundle import open_bundle

        try:
            return open_bundle(self._prefix)
        except ChangedWhileReading as error:
            self.findings.append(notes.changed(self.path, error))
            return None

    def _open_v1_variables(self) -> BundleV1 | None:
        """Variables as SavedModels of 2016 have them."""
        inside = self.folder.join("variables")
        for name in notes.names_in(inside):
            path = os.path.join(inside, name)
            if sniff(path).kind != "tf-checkpoint-v1":
                continue
            from ckptui.readers.bundle_v1 import open_v1

            sharded = SHARD_V1.fullmatch(name)
            whole = os.path.join(inside, f"{sharded[1]}-?????-of-{sharded[3]}") if sharded else path
            try:
                return open_v1(whole)
            except ChangedWhileReading as error:
                self.findings.append(notes.changed(self.path, error))
                return None
        return None

    # ------------------------------------------------------------------ Keras

    def _side_file(self, name: str, message: str) -> Message:
        """A small protobuf beside the graph; empty when it is absent or unreadable, TensorFlow ignores it too."""
        if name not in self.folder.files:
            return {}
        try:
            return walk_bytes(read_whole(self.folder.join(name), SIDE_FILE_CAP), message)
        except (Damaged, ChangedWhileReading, NoSuchPath):
            return {}

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """What fingerprint.pb says; nothing where there is none."""
        from ckptui.readers.fingerprint import Fingerprint, read_fingerprint

        there = "fingerprint.pb" in self.folder.files
        return read_fingerprint(self.folder.join("fingerprint.pb")) if there else Fingerprint()

    @cached_property
    def _keras(self) -> Mapping[str, Any]:
        """What Keras 2 wrote about the root model; empty where it wrote nothing."""
        in_graphs = [graph.keras_metadata for graph in self.meta_graphs if graph.keras_metadata]
        saved = self._side_file("keras_metadata.pb", "KerasMetadata")
        if not saved and not in_graphs:
            return {}
        from ckptui.readers.keras_metadata import root_metadata

        return root_metadata(saved, in_graphs)

    def _architecture(
        self, tensors: Sequence[Tensor]
    ) -> tuple[tuple[ArchitectureRow, ...], Sequence[Tensor], list[Finding]]:
        if not self._keras:
            return (), tensors, []
        from ckptui.readers.keras_metadata import architecture, root_config

        config = root_config(self._keras)
        return ((), tensors, []) if config is None else architecture(config, tensors, self.path)


def _operations(graphs: Sequence[MetaGraph]) -> tuple[Operation, ...]:
    """Of the meta graph that is served, else of the first."""
    return next((graph.operations for graph in graphs if "serve" in graph.tags), graphs[0].operations if graphs else ())


def _whole(path: str) -> bytes | None:
    """The bytes of a damaged graph; None where they are too many, or can't be read again."""
    try:
        return read_whole(path, CAP)
    except CkptuiError:
        return None


def _gatherer() -> Gatherer:
    return Gatherer(WATCHED, PRINT_OPS)


def _files(folder: Folder) -> tuple[int, float]:
    """Bytes of all files of the export, and when the newest of them was written."""
    todo = [folder.join(name) for name in SAVED_MODEL_FOLDERS if name in folder.folders]
    entries = [folder.files[n] for n in (*SAVED_MODEL_FILES, *SAVED_MODEL_TRACES) if n in folder.files]
    while todo:
        try:
            inner = read_folder(todo.pop())
        except OSError:
            continue
        todo += [inner.join(name) for name in inner.folders]
        entries += inner.files.values()
    total, newest = 0, 0.0
    for entry in entries:
        try:
            status = entry.stat()
        except OSError:
            continue
        total, newest = total + status.st_size, max(newest, status.st_mtime)
    return total, newest
