"""A Keras model from its parts, whether they are members of a `.keras` archive or files of a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ckptui.core.model import ArchitectureRow, Artifact, Finding, Kind, Listing, Tensor
from ckptui.core.names import is_weight, step_of
from ckptui.readers.hdf5_contents import Contents, Tick
from ckptui.readers.keras_assets import empty_vocabularies, missing_assets
from ckptui.readers.keras_config import parse, rows, text_of
from ckptui.readers.keras_findings import limited, listed, note
from ckptui.readers.keras_h5 import CHUNK_BYTES, Hdf5Reader, build
from ckptui.readers.keras_layout import promised_paths
from ckptui.readers.keras_unsafe import unsafe_layers
from ckptui.readers.npz_weights import NpzWeights
from ckptui.readers.source import Source
from ckptui.readers.zip_headers import Member

if TYPE_CHECKING:
    import numpy as np

KERAS_ASSETS_FROM = 4
"""Members an archive, or entries a folder, must have for Keras to look for assets at all."""
MAX_JSON_BYTES = 32 << 20
WEIGHTS = "model.weights.h5"
NPZ_WEIGHTS = "model.weights.npz"


@dataclass(slots=True)
class Weights:
    """What holds the values: an HDF5 file, the arrays of an `.npz`, or nothing."""

    contents: Contents | None = None
    npz: NpzWeights | None = None
    member: Member | None = None
    """The archive's member it is; None in a folder."""
    findings: list[Finding] = field(default_factory=list)


class PartsReader(Hdf5Reader):
    """A model in parts, whose weights are the datasets of an HDF5 file or the arrays of an `.npz`."""

    def __init__(self, source: Source) -> None:
        super().__init__(source, None)
        self._npz: NpzWeights | None = None
        """Where the weights are no HDF5 file; known once it is listed."""

    @property
    def kind(self) -> Kind:
        """Always `keras-archive`."""
        return "keras-archive"

    def chunks(self, tensor: Tensor, chunk_bytes: int = CHUNK_BYTES) -> Iterator[np.ndarray]:
        """Values in C order as 1-D native arrays; raises Damaged, ChangedWhileReading."""
        if self.listing() and self._npz is not None:
            self._source.fence()
            return self._npz.chunks(tensor, chunk_bytes)
        return super().chunks(tensor, chunk_bytes)

    def array(self, tensor: Tensor) -> np.ndarray:
        """The whole tensor; raises as `chunks`, UsageError if too large."""
        if self.listing() and self._npz is not None:
            return self._npz.array(tensor)
        return super().array(tensor)


@dataclass(slots=True)
class Parts:
    """The parts of one model."""

    path: str
    """The archive or the folder."""
    metadata: Mapping[str, Any] | None
    config: Mapping[str, Any] | None
    weights: Weights
    names: Sequence[str]
    """Members of the archive, or files below the folder."""
    has_assets: bool
    """Whether Keras looks for assets."""
    vocabularies: Mapping[str, bytes] = field(default_factory=dict)
    """Contents of the small ones among the vocabularies, by member."""


def assemble(parts: Parts, source: Source, tick: Tick | None) -> tuple[Listing, list[Finding]]:
    """The listing, without findings, and the findings about weights, architecture and assets."""
    findings = list(parts.weights.findings)
    root = parse(parts.config) if parts.config is not None else None
    tensors: tuple[Tensor, ...] = ()
    table: tuple[ArchitectureRow, ...] = ()
    contents, npz = parts.weights.contents, parts.weights.npz
    if contents is not None:
        contents.promised = promised_paths(root) if root is not None else []
        contents.read(tick)
        built = build(contents, parts.config, parts.path)
        tensors, table = built.tensors, built.architecture
        findings += [*contents.findings, *built.findings]
    else:
        if root is not None:
            table = rows(root, {})
        if npz is not None:
            tensors = npz.tensors
            findings += _about_arrays(parts.path, npz)
        if parts.config is not None:
            findings += limited(unsafe_layers(parts.config, parts.path))
    findings += missing_assets(parts.path, root, set(parts.names), parts.has_assets)
    findings += empty_vocabularies(parts.path, root, parts.vocabularies)
    label = os.path.basename(os.path.abspath(parts.path))
    artifact = Artifact(
        path=parts.path,
        kind="keras-archive",
        label=label,
        step=step_of(label),
        bytes=source.size,
        shards=1,
        tensors=len(tensors),
        parameters=sum(t.count for t in tensors if not t.problem and is_weight(t.role, t.dtype)),
        modified=source.modified,
        writer=_writer(parts.metadata),
    )
    return Listing(artifact, tensors, (), (), table), findings


def _about_arrays(path: str, npz: NpzWeights) -> list[Finding]:
    pickled = npz.pickled
    findings = []
    if pickled:
        findings.append(
            note(
                "unsupported-format",
                path,
                f"model.weights.npz holds {len(pickled)} pickled arrays: unpickling would run code",
                evidence={"member": "model.weights.npz", **listed(pickled)},
                severity="warning",
                title="Weights stored as pickles",
                advice="Load the model where you trust it and save it again with weights_format='h5'.",
            )
        )
    unread = [t for t in npz.tensors if t.problem and t.name not in set(pickled)]
    for tensor in unread:
        facts = {"member": "model.weights.npz"}
        findings.append(
            note("zip-damaged", path, f"{tensor.name}: {tensor.problem}", tensor=tensor.name, evidence=facts)
        )
    return limited(findings)


def _writer(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    if metadata is None:
        return {}
    told = {"keras": text_of(metadata.get("keras_version")), "saved": text_of(metadata.get("date_saved"))}
    return {key: value for key, value in told.items() if value}
