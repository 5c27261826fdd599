"""One cause, told once: what follows from an archive's damage is kept with the cause and not reported beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ckptui.core.model import Finding
from ckptui.core.sayings import says
from ckptui.readers.keras_findings import MAX_SHOWN, note

_DAMAGE = frozenset({"hdf5-damaged", "hdf5-not-closed", "zero-filled", "not-a-model", "empty-file"})
"""What a reader of HDF5 says to bytes that are not as they were written."""
_CONSEQUENCES = frozenset({"weights-missing", "weights-unexpected", "shape-mismatch"})
"""What an architecture says to weights that can't all be read."""


def root_of(findings: Sequence[Finding]) -> Finding | None:
    """The finding that says what happened to an HDF5 file as a whole: the first error about no single tensor."""
    return next((f for f in findings if f.severity == "error" and f.tensor is None and f.code in _DAMAGE), None)


def misnamed(path: str) -> list[Finding]:
    """A warning for HDF5 content under the name of an archive; Keras wrote such files before there were archives."""
    if not path.lower().endswith(".keras"):
        return []
    detail = "its content is HDF5, which Keras wrote under this name before 2.13 and does not load from it today"
    return [
        note(
            "not-a-model",
            path,
            detail + "; Keras says the file is not found, but it is there",
            evidence={"looks_like": "HDF5 file", "file": path, "tensorflow_says": says("no-archive", file=path)},
            severity="warning",
            title="An HDF5 file under the name of a .keras archive",
            advice="Rename it to .h5: everything in it can be read.",
        )
    ]


def misnamed_archive(path: str) -> list[Finding]:
    """A warning for an archive under the name of an HDF5 file, which Keras goes by; all of it is read here."""
    if not path.lower().endswith((".h5", ".hdf5")):
        return []
    return [
        note(
            "not-a-model",
            path,
            "its content is a .keras archive; Keras goes by the name and looks for HDF5",
            evidence={"looks_like": ".keras archive", "file": path, "tensorflow_says": says("no-signature")},
            severity="warning",
            title="A .keras archive under the name of an HDF5 file",
            advice="Rename it to .keras: everything in it can be read.",
        )
    ]


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
