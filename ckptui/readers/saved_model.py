"""A SavedModel folder: its graph's facts by walking, its variables as a checkpoint, without TensorFlow.

Layout and field numbers: TensorFlow's `saved_model.proto`, `constants.py` and `fingerprint.proto`, and Keras 2's
`saved_metadata.proto`. A damaged graph costs itself only: what can be walked is told, and the variables are read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ckptui.core.model import ArchitectureRow, Artifact, Finding, Listing, Signature, worst_status
from ckptui.core.names import step_of
from ckptui.errors import ChangedWhileReading, Damaged, NoSuchPath, NotASave, Unreadable
from ckptui.readers.folder import (
    SAVED_MODEL_FOLDERS,
    SAVED_MODEL_TRACES,
    SHARD,
    SHARD_V1,
    Folder,
    graph_missing,
    is_saved_model,
    read_folder,
)
from ckptui.readers.graph_facts import Gatherer, Message
from ckptui.readers.graph_ops import PRINT_OPS, WATCHED, unsafe_ops
from ckptui.readers.graph_wire import walk_wire
from ckptui.readers.notices import notice, sniffed
from ckptui.readers.pbtxt import TEXT_CAP, walk_text
from ckptui.readers.signatures import INTERNAL, MetaGraph, meta_graph
from ckptui.readers.sniff import SAVED_MODEL_FILES, sniff
from ckptui.readers.source import Source, read_whole

if TYPE_CHECKING:
    from ckptui.readers.bundle import Bundle

PROTO_LIMIT = 1 << 31
"""Bytes beyond which protobuf itself refuses a message."""
SIDE_FILE_CAP = 1 << 26
"""Bytes of keras_metadata.pb and fingerprint.pb that are read."""
MISSING_SHOWN = 20

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

    kind = "saved-model"

    def __init__(self, folder: Folder, progress: Progress | None = None) -> None:
        self.path = folder.path
        self.folder = folder
        self.findings: list[Finding] = []
        self.meta_graphs: tuple[MetaGraph, ...] = ()
        self._graph_read = False
        self._progress = progress
        self._read_graph()
        self._fingerprint = self._side_file("fingerprint.pb", "FingerprintDef")
        self.bundle: Bundle | None = self._open_variables()
        self._check_graphs()

    @property
    def signatures(self) -> tuple[Signature, ...]:
        """The callable signatures of all meta graphs, without TensorFlow's internal ones."""
        return tuple(s for graph in self.meta_graphs for s in graph.signatures if s.name not in INTERNAL)

    @property
    def writer(self) -> dict[str, Any]:
        """Who wrote it, as far as the graph, the fingerprint and Keras' metadata say."""
        first = self.meta_graphs[0] if self.meta_graphs else MetaGraph()
        facts: dict[str, Any] = {
            "tensorflow": first.tensorflow,
            "git": first.git,
            "producer": first.producer,
            "keras": self._keras.get("keras_version"),
            "fingerprint_producer": self._fingerprint.get("version", {}).get("producer"),
        }
        return {name: value for name, value in facts.items() if value not in ("", None)}

    def listing(self) -> Listing:
        """Everything the folder says without a tensor byte being read."""
        variables = self.bundle.listing() if self.bundle is not None else None
        findings = list(self.findings)
        tensors = variables.tensors if variables is not None else ()
        if variables is not None:
            findings += [
                replace(f, artifact=self.path, evidence={"file": f.artifact, **f.evidence})
                for f in variables.findings
            ]
        sizes, modified = _files(self.folder)
        label = os.path.basename(os.path.abspath(self.path))
        artifact = Artifact(
            path=self.path,
            kind="saved-model",
            label=label,
            step=step_of(label) if label.isdigit() else None,
            bytes=sizes,
            shards=variables.artifact.shards if variables is not None else 0,
            tensors=len(tensors),
            parameters=variables.artifact.parameters if variables is not None else 0,
            modified=modified,
            writer=self.writer,
            status=worst_status(findings),
        )
        rows, layer_findings = self._architecture(tensors)
        return Listing(artifact, tensors, (*findings, *layer_findings), self.signatures, rows)

    def close(self) -> None:
        """Close the variables' files."""
        if self.bundle is not None:
            self.bundle.close()

    # ------------------------------------------------------------------ the graph

    def _read_graph(self) -> None:
        name = next((name for name in SAVED_MODEL_FILES if name in self.folder.files), None)
        if name is None:
            self.findings.append(graph_missing(self.path))
            return
        path = self.folder.join(name)
        if name.endswith(".cpb"):
            self.findings.append(_chunked(self.path, path))
            return
        seen = sniff(path)
        if seen.code is not None:
            self.findings += sniffed(self.path, seen)
            return
        gatherer = Gatherer(WATCHED, PRINT_OPS)
        try:
            if name.endswith(".pb"):
                self._walk_binary(path, gatherer)
            else:
                walk_text(read_whole(path, TEXT_CAP), gatherer, "SavedModel", self._progress)
        except ChangedWhileReading as error:
            self.findings.append(_changed(self.path, error))
        except Damaged as error:
            code = "unreadable" if isinstance(error, Unreadable) else "unsupported-format"
            self.findings.append(notice(code, self.path, error.detail, {"file": path, **error.evidence}))
            return
        self._graph_read = True
        self._take_in(gatherer, path)

    def _walk_binary(self, path: str, gatherer: Gatherer) -> None:
        with Source(path) as source:
            if source.size >= PROTO_LIMIT:
                detail = f"{name_of(path)} has {source.size} bytes; protobuf refuses 2 GiB and more"
                evidence = {"file": path, "bytes": source.size, "limit": PROTO_LIMIT}
                self.findings.append(notice("graph-damaged", self.path, detail, evidence))
            walk_wire(source.pread, source.size, gatherer, "SavedModel", self._progress)
            source.fence()

    def _take_in(self, gatherer: Gatherer, path: str) -> None:
        self.meta_graphs = tuple(meta_graph(message) for message in gatherer.root.get("meta_graphs", ()))
        damage = gatherer.damage
        if damage is not None:
            more = f"; {damage.count - 1} more places follow" if damage.count > 1 else ""
            where = f" in {damage.where}" if damage.where else ""
            detail = f"{name_of(path)} at byte {damage.offset}{where}: {damage.reason}{more}"
            evidence = {
                "file": path,
                "offset": damage.offset,
                "where": damage.where,
                "places": damage.count,
                "nodes": sum(graph.nodes + graph.function_nodes for graph in self.meta_graphs),
            }
            self.findings.append(notice("graph-damaged", self.path, detail, evidence))
        elif not self.meta_graphs:
            detail = f"{name_of(path)} holds no meta graph"
            self.findings.append(notice("graph-damaged", self.path, detail, {"file": path}))
        if not gatherer.complete:
            self.findings.append(_too_large(self.path, path))

    def _check_graphs(self) -> None:
        for graph in self.meta_graphs:
            self.findings += unsafe_ops(graph, self.path)
        self._check_assets()
        if not self._graph_read or self.bundle is not None or self._v1_variables():
            return
        if any(graph.needs_variables for graph in self.meta_graphs):
            detail = "the graph has variables or restores some; variables/variables.index is not there"
            self.findings.append(notice("index-missing", self.path, detail, {"prefix": self._prefix()}))

    def _check_assets(self) -> None:
        names = sorted({name for graph in self.meta_graphs for name in graph.assets})
        outside = [name for name in names if os.path.basename(name) != name or name in ("", ".", "..")]
        missing = [
            n for n in names if n not in outside and not os.path.isfile(self.folder.join(f"assets/{n}"))
        ]
        if missing:
            detail = f"{len(missing)} of {len(names)} assets are not in assets/: {', '.join(missing[:3])}"
            evidence = {"asset": missing[:MISSING_SHOWN], "count": len(missing)}
            self.findings.append(
                notice(
                    "graph-damaged",
                    self.path,
                    detail,
                    evidence,
                    severity="warning",
                    title="Files the graph reads are missing",
                    advice="Copy assets/ from where the export was made.",
                )
            )
        if outside:
            self.findings.append(_outside(self.path, outside))

    # ------------------------------------------------------------------ variables

    def _prefix(self) -> str:
        return self.folder.join("variables/variables")

    def _open_variables(self) -> Bundle | None:
        if "variables" not in self.folder.folders:
            return None
        names = _names(self.folder.join("variables"))
        shards = [n for n in names if (found := SHARD.fullmatch(n)) is not None and found[1] == "variables"]
        if "variables.index" in names or shards:
            from ckptui.readers.bundle import open_bundle

            return open_bundle(self._prefix())
        return None

    def _v1_variables(self) -> bool:
        """Whether the variables are a V1 checkpoint, as SavedModels of 2016 have; noted as a finding then."""
        inside = self.folder.join("variables")
        for name in _names(inside):
            path = os.path.join(inside, name)
            if sniff(path).kind != "tf-checkpoint-v1":
                continue
            sharded = SHARD_V1.fullmatch(name)
            pattern = f"{sharded[1]}-?????-of-{sharded[3]}" if sharded else name
            self.findings.append(
                notice(
                    "unsupported-format",
                    self.path,
                    f"variables/{pattern} is a V1 checkpoint: recognised, not read yet",
                    {"format": "V1 checkpoint", "file": path},
                    title="The variables are a V1 checkpoint",
                )
            )
            return True
        return False

    # ------------------------------------------------------------------ Keras

    def _side_file(self, name: str, message: str) -> Message:
        """A small protobuf beside the graph; empty when it is absent or unreadable, TensorFlow ignores it too."""
        if name not in self.folder.files:
            return {}
        gatherer = Gatherer()
        try:
            data = read_whole(self.folder.join(name), SIDE_FILE_CAP)
        except (Damaged, ChangedWhileReading, NoSuchPath):
            return {}
        walk_wire(lambda offset, count: data[offset : offset + count], len(data), gatherer, message)
        return gatherer.root

    @cached_property
    def _keras(self) -> Mapping[str, Any]:
        """What Keras 2 wrote about the root model: from keras_metadata.pb, before 2.5 from the object graph."""
        nodes = self._side_file("keras_metadata.pb", "KerasMetadata").get("nodes", ())
        texts = [node.get("metadata", "") for node in nodes if node.get("node_path") == "root"]
        texts += [graph.keras_metadata for graph in self.meta_graphs]
        text = next((text for text in texts if text), "")
        if not text:
            return {}
        from ckptui.readers.keras_config import load_config

        try:
            return load_config(text)
        except Damaged:
            return {}

    def _architecture(self, tensors: Any) -> tuple[tuple[ArchitectureRow, ...], list[Finding]]:
        metadata = self._keras
        config = metadata.get("model_config")
        if not isinstance(config, dict) or "config" not in config:
            config = {"class_name": metadata.get("class_name"), "config": metadata.get("config")}
        if not isinstance(config.get("config"), dict):
            return (), []
        from ckptui.readers.keras_config import architecture_rows
        from ckptui.readers.keras_unsafe import unsafe_layers

        return architecture_rows(config, tensors), unsafe_layers(config, self.path)


def name_of(path: str) -> str:
    """The file's own name."""
    return os.path.basename(path)


def _chunked(folder: str, path: str) -> Finding:
    return notice(
        "unsupported-format",
        folder,
        "saved_model.cpb is a chunked graph (Riegeli records): recognised, not read; the variables are readable",
        {"format": "chunked SavedModel", "file": path},
        title="A chunked graph",
        advice="Load it with TensorFlow and save it again without chunks to look at its signatures.",
    )


def _changed(folder: str, error: ChangedWhileReading) -> Finding:
    return Finding(
        "changed-while-reading",
        "warning",
        "The file changed while it was read",
        folder,
        detail=error.detail,
        advice=error.hint,
    )


def _too_large(folder: str, path: str) -> Finding:
    return notice(
        "unsupported-format",
        folder,
        f"{name_of(path)} holds more than is looked at: counts of nodes and ops are lower bounds",
        {"file": path},
        title="A graph too large to be looked at whole",
        advice="Flagged ops may be missing from the findings; the variables are complete.",
    )


def _outside(folder: str, names: list[str]) -> Finding:
    return Finding(
        "external-reference",
        "warning",
        "The graph names assets outside assets/",
        folder,
        detail=", ".join(names[:3]),
        evidence={"asset": names[:MISSING_SHOWN]},
        advice="ckptui does not follow them: know the author before you load this model.",
    )


def _names(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


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
