"""The vocabulary of salvage: what survives of a damaged save, tensor by tensor. Frozen, without behaviour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ckptui.core.vocabulary import Artifact, Finding, Tensor, jsonable

SCHEMA = "ckptui/salvage/1"

Outcome = Literal["recovered", "repaired", "repairable", "unverified", "lost"]
Method = Literal["index", "walked-index", "repaired-index", "part-index", "layout", "directory"]
Target = Literal["checkpoint", ".npz", ".safetensors", ".weights.h5"]

OUTCOMES: tuple[Outcome, ...] = ("recovered", "repaired", "repairable", "unverified", "lost")
WRITTEN: frozenset[Outcome] = frozenset({"recovered", "repaired", "unverified"})
"""Outcomes of tensors that a salvaged file holds."""


@dataclass(frozen=True, slots=True)
class Repair:
    """One flipped bit that explains a checksum, and where it is."""

    part: int
    """Number of the tile in `storage.slices`; -1 for a tensor in one piece."""
    byte: int
    """From the first stored byte of the tensor or tile on."""
    bit: int
    """0 is the lowest bit of the byte."""


@dataclass(frozen=True, slots=True)
class SalvageItem:
    """What becomes of one tensor."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int
    """Bytes stored in the source for it."""
    outcome: Outcome
    reason: str = ""
    """Why it is not simply recovered, in words; empty where it is."""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """What vouches for it or speaks against it: `vouched`, `expected`, `found`, `flip`, `covered`, ..."""
    source: Tensor | None = None
    """Where its values lie; None where there is nothing to read."""
    repairs: tuple[Repair, ...] = ()
    """Flipped bits to be turned back on the way out."""
    holes: tuple[int, ...] = ()
    """Numbers of the tiles that are lost; their values become NaN."""

    def to_json(self) -> dict[str, Any]:
        """A row of `tensors` in the documents of `ckptui salvage`."""
        return {
            "name": self.name,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "bytes": self.bytes,
            "outcome": self.outcome,
            "reason": self.reason,
            "evidence": jsonable(dict(self.evidence)),
        }


def summary(items: Sequence[SalvageItem]) -> dict[str, int]:
    """How many tensors have each outcome, and the stored bytes of those that a salvaged file holds."""
    counts: dict[str, int] = dict.fromkeys(OUTCOMES, 0)
    for item in items:
        counts[item.outcome] += 1
    return {**counts, "bytes": sum(item.bytes for item in items if item.outcome in WRITTEN)}


@dataclass(frozen=True, slots=True)
class SalvagePlan:
    """What can be brought back from a save, before anything is written."""

    artifact: Artifact
    items: tuple[SalvageItem, ...]
    """One for each tensor known by name, in the order of the save's directory."""
    method: Method
    """How names and places were found: `index`; `walked-index` (its blocks read one after another); `repaired-index`
    (with a flipped bit of a block turned back, which the block's checksum tells); `part-index` (left by an interrupted
    save); `layout` (a sibling's index); `directory` (formats whose own directory was read)."""
    layout: str = ""
    """Path of the sibling whose layout was used."""
    findings: tuple[Finding, ...] = ()
    """Everything found in the damaged save."""
    targets: tuple[Target, ...] = ("checkpoint",)
    """Formats that it can be written as."""
    unnamed: int | None = 0
    """Tensors of which not even a name is left; None where nobody can tell how many."""
    notes: tuple[str, ...] = ()
    """What a user should know before restoring."""
    places: Mapping[str, str] = field(default_factory=dict)
    """For a `.weights.h5`: tensor name to the dataset path that Keras expects it at."""
    stamps: Mapping[str, tuple[int, int, int, int]] = field(default_factory=dict)
    """Device, inode, size and time of every file read for the plan."""

    @property
    def summary(self) -> dict[str, int]:
        """See `summary`."""
        return summary(self.items)

    @property
    def writable(self) -> tuple[SalvageItem, ...]:
        """The tensors that would be written."""
        return tuple(item for item in self.items if item.outcome in WRITTEN)

    def to_json(self) -> dict[str, Any]:
        """The document of a salvage that wrote nothing."""
        return document(self, None, ())


@dataclass(frozen=True, slots=True)
class SalvageReport:
    """What was written."""

    plan: SalvagePlan
    """With the outcome that each tensor really had."""
    output: str
    """What a user restores from: the checkpoint's prefix or the file."""
    target: Target
    files: tuple[str, ...]
    """Every file made, the report too."""
    bytes: int
    """Of all of them but the report."""

    def to_json(self) -> dict[str, Any]:
        """The document of `ckptui salvage`, as it lies in the report beside what was written."""
        return document(self.plan, self.output, self.files)


def document(plan: SalvagePlan, output: str | None, files: Sequence[str]) -> dict[str, Any]:
    """The JSON document `ckptui/salvage/1`; `output` is null while nothing is written."""
    return {
        "schema": SCHEMA,
        "artifact": plan.artifact.to_json(),
        "output": output,
        "files": list(files),
        "method": plan.method,
        "layout": plan.layout,
        "targets": list(plan.targets),
        "unnamed": plan.unnamed,
        "notes": list(plan.notes),
        "tensors": [item.to_json() for item in plan.items],
        "summary": plan.summary,
        "findings": [finding.to_json() for finding in plan.findings],
    }
