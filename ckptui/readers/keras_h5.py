"""Keras models and weights in HDF5 files, and any other HDF5 file. Runs in the reader child only.

`keras-h5` has an architecture, `keras-weights` only weights (legacy layer groups or Keras 3's `.weights.h5`).
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from ckptui.core.model import ArchitectureRow, Artifact, Finding, Kind, Listing, Tensor
from ckptui.core.names import is_weight, step_of
from ckptui.core.text import safe
from ckptui.errors import Damaged
from ckptui.readers.hdf5_contents import Contents, Tick
from ckptui.readers.hdf5_types import Described
from ckptui.readers.keras_config import Node, load_config, parse, rows
from ckptui.readers.keras_findings import against_architecture, limited, note, owners
from ckptui.readers.keras_layout import Layout, Place, lay_out, role, style_of
from ckptui.readers.keras_root import misnamed
from ckptui.readers.keras_unsafe import unsafe_layers
from ckptui.readers.keras_variables import initializer_of
from ckptui.readers.source import Source

if TYPE_CHECKING:
    import numpy as np

CHUNK_BYTES = 1 << 20
_R = TypeVar("_R", bound="Hdf5Reader")


def open_h5(path: str | os.PathLike[str]) -> H5File:
    """Open an HDF5 file for reading; nothing is locked.

    Raises NoSuchPath for what is no regular file, Damaged (`empty-file`, `hdf5-damaged`) without an HDF5 signature.
    Damage behind the signature is in the listing's findings.
    """
    source = Source(path)
    try:
        if not source.size:
            raise Damaged(f"{source.path} has 0 bytes", code="empty-file", evidence={"file": source.path})
        return H5File(source, Contents(source))
    except BaseException:
        source.close()
        raise


class Hdf5Reader(ABC):
    """What a file with HDF5 in it offers: its listing, made once, and the values behind it."""

    def __init__(self, source: Source, contents: Contents | None) -> None:
        self.path = source.path
        self._source = source
        self._contents = contents
        self._listing: Listing | None = None

    @property
    def kind(self) -> Kind:
        """What the content is."""
        return self.listing().artifact.kind

    def listing(self, tick: Tick | None = None) -> Listing:
        """Datasets, architecture and findings, without reading a value; `tick` is called now and then.

        Raises ChangedWhileReading.
        """
        if self._listing is None:
            self._listing = self._make(tick)
        return self._listing

    def chunks(self, tensor: Tensor, chunk_bytes: int = CHUNK_BYTES) -> Iterator[np.ndarray]:
        """Values in C order as 1-D native arrays; raises Damaged, ChangedWhileReading."""
        return self._opened(tensor).chunks(tensor, chunk_bytes)

    def array(self, tensor: Tensor) -> np.ndarray:
        """The whole tensor; strings as an object array of bytes. Raises as `chunks`, UsageError if too large."""
        return self._opened(tensor).array(tensor)

    def close(self) -> None:
        """Close the file; doing it twice is harmless."""
        if self._contents is not None:
            self._contents.close()
        self._source.close()

    def __enter__(self: _R) -> _R:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _opened(self, tensor: Tensor) -> Contents:
        if self._contents is None:
            raise Damaged(f"{safe(tensor.name)}: {tensor.problem or 'there are no weights'}")
        return self._contents

    @property
    def contents(self) -> Contents | None:
        """The HDF5 structure behind it; None where there is none."""
        return self._contents

    @abstractmethod
    def _make(self, tick: Tick | None) -> Listing:
        """The listing, from scratch."""


class H5File(Hdf5Reader):
    """One HDF5 file on disk; every dataset is a tensor, named by its path."""

    def __init__(self, source: Source, contents: Contents) -> None:
        super().__init__(source, contents)
        self._inside = contents

    def _make(self, tick: Tick | None) -> Listing:
        contents = self._inside
        contents.read(tick)
        findings: list[Finding] = []
        config, problem = model_config(contents.texts.get("model_config"), self.path)
        findings += [] if contents.explains else problem
        built = build(contents, config, self.path)
        findings += built.findings
        artifact = Artifact(
            path=self.path,
            kind=_kind(contents, built.layout),
            label=os.path.basename(self.path),
            step=step_of(os.path.basename(self.path)),
            bytes=self._source.size,
            shards=1,
            tensors=len(built.tensors),
            parameters=built.parameters,
            modified=self._source.modified,
            writer=_writer(contents),
        )
        return Listing(artifact, built.tensors, (), (), built.architecture, order=built.layout.order).with_findings(
            [*contents.findings, *findings, *misnamed(self.path)]
        )


class Built:
    """What a file's contents and an architecture make together."""

    def __init__(
        self,
        layout: Layout,
        tensors: tuple[Tensor, ...],
        architecture: tuple[ArchitectureRow, ...],
        findings: list[Finding],
    ) -> None:
        self.layout = layout
        self.tensors = tensors
        self.architecture = architecture
        self.findings = findings

    @property
    def parameters(self) -> int:
        """Elements of the model's weights."""
        return sum(t.count for t in self.tensors if not t.problem and is_weight(t.role, t.dtype))


def build(contents: Contents, config: Mapping[str, Any] | None, path: str) -> Built:
    """Tensors with layers, roles and initializers, the architecture's rows, and what does not fit together."""
    root = parse(config) if config is not None else None
    shapes = {name: facts.shape for name, facts in contents.described.items()}
    layout = lay_out(shapes, contents.attributes, root, style_of(shapes, contents.attributes))
    tensors = {name: tensor_of(name, contents.described[name], layout.places[name]) for name in shapes}
    findings = contents.unsupported()
    against = limited(against_architecture(path, root, layout, tensors))
    for finding in against:
        # What damage costs is in the finding about the damage: the save itself lacks nothing.
        if finding.code != "weights-missing" or not contents.missed(finding.evidence):
            findings.append(finding)
    if config is not None:
        findings += limited(unsafe_layers(config, path))
    table = _table(root, layout, tensors)
    return Built(layout, tuple(tensors.values()), table, findings)


def tensor_of(name: str, facts: Described, place: Place) -> Tensor:
    """The row of a dataset: what it is in the file, and what it is in the model."""
    initializer = None
    if place.node is not None and place.section == "model" and place.variable:
        initializer = initializer_of(place.node.config, place.variable)
    return Tensor(
        name=name,
        dtype=facts.dtype,
        shape=facts.shape,
        bytes=facts.bytes,
        layer=place.layer,
        role=role(name, facts.dtype, facts.shape, place),
        object_path=place.object_path,
        storage=facts.storage,
        problem=facts.problem,
        initializer=initializer,
        layer_class=place.node.class_name if place.node is not None else place.class_name,
    )


def _table(root: Node | None, layout: Layout, tensors: Mapping[str, Tensor]) -> tuple[ArchitectureRow, ...]:
    if root is None:
        return ()
    owned = {node: [tensors[n] for n in names] for node, names in owners(layout.places).items()}
    return rows(root, owned)


def model_config(text: str | bytes | None, path: str) -> tuple[Mapping[str, Any] | None, list[Finding]]:
    """The parsed architecture, or None and a finding that says why it can't be read."""
    if text is None:
        return None, []
    try:
        return load_config(text), []
    except Damaged as error:
        detail = f"model_config: {safe(error.detail)}"
        title = "The architecture can't be read"
        return None, [note("hdf5-damaged", path, detail, evidence=error.evidence, title=title)]


def _kind(contents: Contents, layout: Layout) -> Kind:
    if "model_config" in contents.texts or "model_config" in contents.unreadable:
        return "keras-h5"
    return "hdf5" if layout.style == "none" else "keras-weights"


def _writer(contents: Contents) -> dict[str, Any]:
    writer: dict[str, Any] = {}
    if "keras_version" in contents.texts:
        writer["keras"] = contents.texts["keras_version"]
    elif contents.attributes.names:
        # Only Keras 3 names the objects whose variables it saves.
        writer["keras"] = "3"
    if "backend" in contents.texts:
        writer["backend"] = contents.texts["backend"]
    return writer
