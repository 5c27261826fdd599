"""What is left of a save where its bytes stay behind: names, shapes, hashes and a few values of every tensor.

Two digests made on two boxes tell what changed between the saves without one of them being copied. Hashes are over the
elements and not over how a format lays them down, so that the same values in an `.h5` and in a checkpoint agree:

* numbers: the elements in C order, little-endian, as wide as the dtype (`array.tobytes()`); bits as they are;
* strings: of each item its length as eight little-endian bytes, then the item.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from ckptui.core.model import ArchitectureRow, Artifact, Finding, Listing, Operation, Tensor, jsonable

if TYPE_CHECKING:
    import numpy as np

SCHEMA = "ckptui/digest/1"
MOST_SAMPLES = 256
"""Values of a tensor that are kept as they are."""
FEWEST_SAMPLES = 16
SAMPLE_BUDGET = 1 << 20
"""Values kept of all tensors together: with more than 4,096 of them fewer are kept of each."""
_SPREAD = 0x9E3779B1
"""2^32 over the golden ratio: its multiples spread evenly, whatever the shape of a tensor."""


@dataclass(frozen=True, slots=True)
class TensorDigest:
    """One tensor: what identifies its values, and a few of them."""

    tensor: Tensor
    hash: str | None
    """SHA-256 of the elements in hexadecimal, see above; None where they could not be read."""
    crc32c: int | None
    """CRC-32C of the same bytes, unmasked."""
    l2: float | None = None
    """Over the finite values; None for strings, complex and empty tensors, and what can't be read."""
    nonfinite: int | None = None
    """Values that are NaN or infinite; None where there is no such thing."""
    samples: tuple[float | int, ...] = ()
    """The values at `sample_places`; all of them where there are few. Empty for strings and complex."""
    problem: str = ""
    """Why it could not be read."""

    def to_json(self) -> dict[str, Any]:
        return {
            **self.tensor.to_json(),
            "layer_class": self.tensor.layer_class,
            "hash": None if self.hash is None else f"sha256:{self.hash}",
            "crc32c": self.crc32c,
            "l2": jsonable(self.l2),
            "nonfinite": self.nonfinite,
            "samples": [value if type(value) is int else jsonable(value) for value in self.samples],
            "problem": self.problem,
        }


@dataclass(frozen=True, slots=True)
class Digest:
    """A whole save, small enough for a mail."""

    artifact: Artifact
    tensors: tuple[TensorDigest, ...]
    architecture: tuple[ArchitectureRow, ...] = ()
    findings: tuple[Finding, ...] = ()
    operations: tuple[Operation, ...] = ()

    @property
    def listing(self) -> Listing:
        """The save as far as a listing goes; no byte of it can be read."""
        return Listing(
            self.artifact,
            tuple(one.tensor for one in self.tensors),
            self.findings,
            architecture=self.architecture,
            operations=self.operations,
        )

    def to_json(self) -> dict[str, Any]:
        """The document; the same for the same save, whose own path is the only absolute one in it."""
        folder = str(PurePath(self.artifact.path).parent).rstrip("/") + "/"
        findings = []
        for finding in self.findings:
            doc = _relative(finding.to_json(), folder)
            findings.append({**doc, "artifact": finding.artifact} if finding.artifact == self.artifact.path else doc)
        return {
            "schema": SCHEMA,
            "artifact": self.artifact.to_json(),
            "tensors": [_relative(one.to_json(), folder) for one in self.tensors],
            "architecture": [row.to_json() for row in self.architecture],
            "operations": [operation.to_json() for operation in self.operations],
            "findings": findings,
        }


def samples_each(tensors: int) -> int:
    """How many values are kept of each of so many tensors: a power of two."""
    each = MOST_SAMPLES
    while each > FEWEST_SAMPLES and each * tensors > SAMPLE_BUDGET:
        each //= 2
    return each


def sample_places(count: int, most: int) -> np.ndarray[Any, Any]:
    """The flat C-order indices of the values kept, rising: all where there are at most `most`, a power of two.

    Else one out of each of `most` equal stretches, at another place in each: a fixed stride would meet the same
    channels of a kernel again and again. Fewer places are a part of more.
    """
    import numpy as np

    if count <= most:
        return np.arange(count, dtype=np.int64)
    number = np.arange(0, MOST_SAMPLES, MOST_SAMPLES // most)
    starts = np.array([n * count // MOST_SAMPLES for n in number.tolist()], np.int64)
    ends = np.array([(n + 1) * count // MOST_SAMPLES for n in number.tolist()], np.int64)
    share = (number * _SPREAD % (1 << 32)) / float(1 << 32)
    inside = (share * np.maximum(ends - starts - 1, 0)).astype(np.int64)
    return np.asarray(starts + inside)


def _relative(value: Any, folder: str) -> Any:
    """JSON data with every path below `folder` told from there."""
    if isinstance(value, str):
        return value.removeprefix(folder) if folder.startswith("/") else value
    if isinstance(value, Mapping):
        return {key: _relative(item, folder) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_relative(item, folder) for item in value]
    return value
