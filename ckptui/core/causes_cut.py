"""What damage to a save's own directory means: what it lists may be short, and no loader may open it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ckptui.core.vocabulary import Finding

DIRECTORY = ("zip-damaged", "hdf5-damaged", "index-damaged", "index-missing", "empty-file", "not-a-model")
"""Damage of the save as a whole after which its list of tensors may be short."""
NEEDED = {
    "index-missing": "nothing loads a checkpoint without its index",
    "graph-missing": "nothing loads a SavedModel without its graph",
    "empty-file": "nothing loads an empty file",
}
"""What a loader can't do without."""


def _whole(path: str, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Errors that are about the save itself: none of its tensors, and no other save of its folder."""
    return (f for f in findings if f.severity == "error" and not f.tensor and f.artifact == path)


def unread(path: str, read: tuple[int, int], findings: Sequence[Finding]) -> str:
    """Why nothing can be said of all values, where `read` are the tensors read, of all; empty where every one was."""
    done, every = read
    told = f"only {done} of {every} tensors could be read" if done < every else ""
    cut = any(f.code in DIRECTORY for f in _whole(path, findings))
    lost = "what the damaged part of the file held can't be told" if cut else ""
    return ", and ".join(part for part in (told, lost) if part)


def cut_off(path: str, kind: str, findings: Sequence[Finding]) -> str:
    """Why no loader opens a save that lacks a part, in words; empty where one might.

    Keras and HDF5 refuse a file that ends too early; a checkpoint can't be read without its index, a SavedModel not
    without its graph.
    """
    for finding in _whole(path, findings):
        short = finding.code in ("zip-damaged", "hdf5-damaged") and "bytes_missing" in finding.evidence
        if short and kind.startswith("keras"):
            return "no loader opens a file that ends too early"
        if finding.code in NEEDED:
            return NEEDED[finding.code]
    return ""
