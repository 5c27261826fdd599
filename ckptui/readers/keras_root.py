"""One cause, told once: what follows from an archive's damage is kept with the cause and not reported beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ckptui.core.model import Finding
from ckptui.readers.keras_findings import MAX_SHOWN

_DAMAGE = frozenset({"hdf5-damaged", "hdf5-not-closed", "zero-filled", "not-a-model", "empty-file"})
"""What a reader of HDF5 says to bytes that are not as they were written."""
_CONSEQUENCES = frozenset({"weights-missing", "weights-unexpected", "shape-mismatch"})
"""What an architecture says to weights that can't all be read."""


def root_of(findings: Sequence[Finding]) -> Finding | None:
    """The finding that says what happened to an HDF5 file as a whole: the first error about no single tensor."""
    return next((f for f in findings if f.severity == "error" and f.tensor is None and f.code in _DAMAGE), None)


def folded(root: Finding, findings: Sequence[Finding], **evidence: Any) -> list[Finding]:
    """`root` first, then what is not already said by it.

    Findings about the file as a whole become `consequences` in the root's evidence; those about single tensors stay,
    under the root's code. `evidence` is added to each of them.
    """
    told: list[str] = []
    kept: list[Finding] = []
    lost: list[str] = []
    missing: list[str] = []
    for one in findings:
        if one is root:
            continue
        if one.code in _DAMAGE and one.tensor is None:
            told.append(one.detail)
        elif one.code in _CONSEQUENCES:
            told.append(one.detail)
            missing += one.evidence.get("names", []) if one.code == "weights-missing" else []
        elif one.code in _DAMAGE:
            lost.append(one.tensor or "")
            if one.tensor != root.tensor:
                kept.append(replace(one, code=root.code, evidence={**one.evidence, **evidence}))
        else:
            kept.append(one)
    facts: dict[str, Any] = {**root.evidence, **evidence}
    if told:
        facts["consequences"] = told[:MAX_SHOWN]
    if lost:
        facts["tensors_lost"] = {"count": len(lost), "names": lost[:MAX_SHOWN]}
    if missing:
        facts["weights_missing"] = {"count": len(missing), "names": missing[:MAX_SHOWN]}
    return [replace(root, evidence=facts), *kept]
