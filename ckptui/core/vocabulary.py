"""The vocabulary of saves: what every reader produces and what is found in it. Frozen, without behaviour.

Every class here has one JSON form (`to_json`), the stable contract of the commands. Numbers that are not finite
become the strings "nan", "inf" and "-inf".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Kind = Literal[
    "tf-checkpoint",
    "tf-checkpoint-v1",
    "meta-graph",
    "saved-model",
    "keras-h5",
    "keras-weights",
    "keras-archive",
    "hdf5",
]
Role = Literal[
    "kernel",
    "bias",
    "gamma",
    "beta",
    "moving-mean",
    "moving-variance",
    "embedding",
    "slot",
    "counter",
    "step",
    "rng-state",
    "metric",
    "object-graph",
    "other",
]
Status = Literal["ok", "warning", "error", "unchecked"]
Severity = Literal["error", "warning", "info"]
Certainty = Literal["confirmed", "likely", "possible"]
Encoding = Literal["plain", "strings", "variant", "slices", "hdf5", "v1", "none"]
PairStatus = Literal["identical", "changed", "shape-changed", "dtype-changed", "only-a", "only-b", "unreadable"]

SEVERITY_RANK: dict[str, int] = {"info": 0, "warning": 1, "error": 2}


def jsonable(value: Any) -> Any:
    """Turn `value` into plain JSON data: non-finite floats to strings, tuples to lists, bytes to escaped text."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        if math.isnan(value):
            return "nan"
        if math.isinf(value):
            return "inf" if value > 0 else "-inf"
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(v) for v in value]
    if hasattr(value, "to_json"):
        return value.to_json()
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        return jsonable(value.item())
    if hasattr(value, "tolist"):
        return jsonable(value.tolist())
    return str(value)


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of bytes in one file."""

    file: str
    """Path of the file that holds the bytes."""
    offset: int
    """First byte, from the start of the file."""
    bytes: int
    """How many."""


@dataclass(frozen=True, slots=True)
class Slice:
    """One tile of a partitioned tensor: where it goes, and where its bytes lie."""

    start: tuple[int, ...]
    """First index along each axis."""
    shape: tuple[int, ...]
    """Extent along each axis, full dimensions resolved."""
    segment: Segment
    crc32c: int | None
    """CRC-32C of the tile's bytes, unmasked; None where nothing vouches for it."""


@dataclass(frozen=True, slots=True)
class Storage:
    """How a tensor's values are written down, enough to read them without asking the format again."""

    encoding: Encoding
    """`plain`: C-order elements; `strings`, `variant`: the bundle's own layouts; `slices`: tiles; `hdf5`: only through
    h5py (chunked, filtered, compact); `none`: no bytes exist."""
    segment: Segment | None = None
    crc32c: int | None = None
    """CRC-32C of the stored bytes, unmasked (for strings: of the running form); None where the format has none."""
    big_endian: bool = False
    slices: tuple[Slice, ...] = ()
    npy_dtype: str = ""
    """numpy dtype string (`<f4`) of one stored element where it differs from the tensor's own dtype."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named array in an artifact. Names are what the file says, nothing stripped."""

    name: str
    dtype: str
    """TensorFlow's name (`float32`, `bfloat16`, `string`, `int4`, ...); `#99` for a number no one knows."""
    shape: tuple[int, ...]
    bytes: int
    """Bytes stored in the file for it."""
    layer: str = ""
    """The friendly layer name: `conv1`."""
    role: Role = "other"
    object_path: str = ""
    """The variable's own name where the file knows one (`conv1/kernel`): the graph's full_name or Keras' path."""
    storage: Storage = Storage("none")
    problem: str = ""
    """Why it can't be read, as far as the directory tells; empty when nothing speaks against it."""
    initializer: Mapping[str, Any] | None = None
    """The layer config's initializer for this tensor, where the artifact has a config: {"class_name", "config"}."""
    layer_class: str = ""
    """Keras' class of the layer (`Conv2DTranspose`, `LSTMCell`), where a config or the file's groups tell it."""

    @property
    def count(self) -> int:
        """Number of elements; Python ints, so a hostile shape can't overflow."""
        return math.prod(self.shape)

    def to_json(self) -> dict[str, Any]:
        seg = self.storage.segment
        return {
            "name": self.name,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "bytes": self.bytes,
            "layer": self.layer,
            "role": self.role,
            "object_path": self.object_path,
            "location": {
                "file": seg.file if seg else None,
                "offset": seg.offset if seg else None,
                "bytes": seg.bytes if seg else self.bytes,
                "crc32c": self.storage.crc32c,
            },
        }


@dataclass(frozen=True, slots=True)
class Artifact:
    """One save on disk."""

    path: str
    """What a user would type: checkpoint prefix, SavedModel folder, or file."""
    kind: Kind
    label: str
    """Short name for lists: `ckpt-3000`, `digits.keras`."""
    step: int | None
    bytes: int
    """All files of the save together."""
    shards: int
    tensors: int
    parameters: int
    """Elements of the model's weights: no slots, counters, RNG states, metrics, object graphs; a weight stored twice
    counts once."""
    modified: float
    """Seconds since the epoch: the newest of its files."""
    writer: Mapping[str, Any] = field(default_factory=dict)
    """Who wrote it, as far as the files say: `tensorflow`, `keras`, `producer`, ..."""
    status: Status = "unchecked"

    def to_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "kind": self.kind,
            "label": self.label,
            "step": self.step,
            "bytes": self.bytes,
            "shards": self.shards,
            "tensors": self.tensors,
            "parameters": self.parameters,
            "modified": self.modified,
            "writer": jsonable(dict(self.writer)),
            "status": self.status,
        }


@dataclass(frozen=True, slots=True)
class Finding:
    """A fact worth a user's attention, with what it rests on. Codes: docs/findings.md."""

    code: str
    severity: Severity
    title: str
    """One line: what is wrong."""
    artifact: str = ""
    """Path of the artifact (or file) it is about."""
    tensor: str | None = None
    certainty: Certainty = "confirmed"
    detail: str = ""
    """What was expected and what was found, in words."""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """The same in numbers: expected, found, offset, bytes_missing, file, ..."""
    advice: str = ""
    """What to do next."""

    def to_json(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "severity": self.severity,
            "certainty": self.certainty,
            "artifact": self.artifact,
            "tensor": self.tensor,
            "title": self.title,
            "detail": self.detail,
            "evidence": jsonable(dict(self.evidence)),
            "advice": self.advice,
        }


def finding_from_json(doc: Mapping[str, Any]) -> Finding:
    """The inverse of `Finding.to_json`."""
    return Finding(**{k: doc[k] for k in doc if k in Finding.__dataclass_fields__})


@dataclass(frozen=True, slots=True)
class Stats:
    """The numbers of one tensor, from one pass. min, max, mean, std (population) and l2 are over the finite values.

    None where the dtype has no such number (complex, string: count only) or the tensor is empty.
    """

    count: int
    finite: int | None = None
    nan: int | None = None
    posinf: int | None = None
    neginf: int | None = None
    zeros: int | None = None
    min: float | int | None = None
    max: float | int | None = None
    argmin: int | None = None
    """Flat C-order index of the first smallest value."""
    argmax: int | None = None
    mean: float | None = None
    std: float | None = None
    l2: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {name: jsonable(getattr(self, name)) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One named input or output of a signature."""

    name: str
    tensor: str
    """Graph tensor name (`serving_default_x:0`)."""
    dtype: str
    shape: tuple[int | None, ...] | None
    """None for unknown rank; None inside for an unknown dimension."""
    encoding: Literal["dense", "sparse", "composite"] = "dense"
    """`sparse`: COO, `tensor` holds the values; `composite`: ragged and others, `tensor` is the first component."""
    components: tuple[str, ...] = ()
    """Graph tensor names of all parts where the encoding is not dense."""

    def to_json(self) -> dict[str, Any]:
        shape = None if self.shape is None else list(self.shape)
        doc: dict[str, Any] = {"name": self.name, "tensor": self.tensor, "dtype": self.dtype, "shape": shape}
        if self.encoding != "dense":
            doc |= {"encoding": self.encoding, "components": list(self.components)}
        return doc


@dataclass(frozen=True, slots=True)
class Signature:
    """A callable entry point of one meta graph of a SavedModel."""

    name: str
    method: str
    tags: tuple[str, ...]
    """Tags of the meta graph it belongs to."""
    inputs: tuple[Endpoint, ...]
    outputs: tuple[Endpoint, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "method": self.method,
            "tags": list(self.tags),
            "inputs": [e.to_json() for e in self.inputs],
            "outputs": [e.to_json() for e in self.outputs],
        }


@dataclass(frozen=True, slots=True)
class ArchitectureRow:
    """One layer of a Keras architecture, in model order."""

    name: str
    class_name: str
    depth: int = 0
    """How many models it is nested in."""
    output_shape: tuple[int | None, ...] | None = None
    """Where the config gives it; None elsewhere."""
    parameters: int = 0
    weights: tuple[str, ...] = ()
    """Names of its tensors in this artifact."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """The layer's own config (initializers, padding, strides, activation, ...)."""
    trainable: bool | None = None
    inbound: tuple[tuple[str, ...], ...] = ()
    """Names of the layers each of its calls takes its inputs from; empty where the config does not tell (layers of a
    Sequential follow each other)."""
    live: bool = False
    """A call of it, or of the model around it, says `training=True`: what it does in training it does always."""

    def to_json(self) -> dict[str, Any]:
        return {
            "layer": self.name,
            "class": self.class_name,
            "depth": self.depth,
            "output_shape": None if self.output_shape is None else list(self.output_shape),
            "parameters": self.parameters,
            "weights": list(self.weights),
            "trainable": self.trainable,
            "config": jsonable(dict(self.config)),
            "inbound": [list(names) for names in self.inbound],
        }


@dataclass(frozen=True, slots=True)
class Operation:
    """One step of a graph that a layer's configuration shows in."""

    name: str
    """The node's, with the scopes it stands in: `model/conv1/Conv2D`."""
    op: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """`padding`, `strides`, `dilations`, `ksize`, `data_format`, `is_training`, `T`, `epsilon`, `alpha`, as far as it
    has them. Of arithmetic with a constant: `operand` (its values), `operand_first`, `of` (the other input). Of an op
    that draws random numbers: `seed`, `seed2`."""

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "op": self.op, "attributes": jsonable(dict(self.attributes))}


@dataclass(frozen=True, slots=True)
class Listing:
    """All that an artifact says about itself without one tensor byte being read."""

    artifact: Artifact
    tensors: Sequence[Tensor]
    """May be lazy: indexing decodes an entry."""
    findings: tuple[Finding, ...] = ()
    signatures: tuple[Signature, ...] = ()
    architecture: tuple[ArchitectureRow, ...] = ()
    operations: tuple[Operation, ...] = ()
    """What its graph computes to answer, where it has one: convolutions, pooling, activations, random numbers, in graph
    order."""
    order: tuple[str, ...] = ()
    """Stored names in the order in which the save lists the model's variables, then the optimizer's; empty where only
    the names could tell it."""

    def with_findings(self, findings: Sequence[Finding]) -> Listing:
        """The same listing with these findings and the status that follows from them (never better than before)."""
        return replace(
            self,
            findings=tuple(findings),
            artifact=replace(self.artifact, status=worst_status(findings, self.artifact.status)),
        )


def worst_status(findings: Sequence[Finding], floor: Status = "unchecked") -> Status:
    """`error` or `warning` if such a finding exists, else `floor`."""
    rank = max((SEVERITY_RANK[f.severity] for f in findings), default=0)
    if rank == 2:
        return "error"
    if rank == 1:
        return "warning"
    return floor
