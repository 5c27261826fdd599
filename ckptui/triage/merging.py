"""One cause, one finding: what a look at names and first bytes said, put together with what the reader says."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from ckptui.core.model import Finding

ABSENT = ("index-missing", "shard-missing", "graph-missing", "orphan-shard")
"""What a reader says of a file that is still being copied under another name."""
FOREIGN = ("not-a-model", "empty-file")
"""What first bytes say of a whole file; a reader that parses it all the same only says where it stumbled."""
STUMBLED = (
    "index-damaged", "hdf5-damaged", "zip-damaged", "graph-damaged", "entry-invalid", "weights-missing", "zero-filled"
)  # fmt: skip


def merged(seen: Sequence[Finding], told: Sequence[Finding]) -> tuple[Finding, ...]:
    """`seen` before the save was opened and `told` by its reader, each cause once.

    A reader's finding of the same code stands, with the evidence of both. A copy that did not end takes the place of
    the file that is missing for it, and a file that is something else the place of where its parser stumbled.
    """
    ours, theirs = list(seen), list(told)
    for finding in seen:
        if finding.code in STUMBLED and any(_explains(other) for other in theirs):
            ours.remove(finding)  # a guess from first bytes, and the reader knows better
            continue
        same = [at for at, other in enumerate(theirs) if _same(finding, other)]
        if same:
            at = same[0]
            theirs[at] = replace(theirs[at], evidence={**finding.evidence, **theirs[at].evidence})
            ours.remove(finding)
            continue
        if any(_looked_closer(finding, other) for other in theirs):
            ours.remove(finding)
            continue
        taken = [other for other in theirs if _replaces(finding, other)]
        if taken:
            known = {name: value for other in taken for name, value in other.evidence.items()}
            lost = sum(other.tensor is not None for other in taken)
            known |= {"tensors_unreadable": lost} if lost else {}
            detail = finding.detail + "".join(f"; {other.detail}" for other in taken if finding.code not in FOREIGN)
            ours[ours.index(finding)] = replace(
                finding,
                severity="error" if any(other.severity == "error" for other in taken) else finding.severity,
                detail=detail,
                evidence={**known, **finding.evidence},
            )
            theirs = [other for other in theirs if other not in taken]
    return (*ours, *theirs)


def _explains(other: Finding) -> bool:
    return other.code in (*FOREIGN, "zero-filled") and other.tensor is None and other.severity == "error"


def _same(finding: Finding, other: Finding) -> bool:
    """Of leftovers a save has its own and its folder others."""
    return finding.code == other.code and (finding.code != "interrupted-save" or finding.artifact == other.artifact)


def _replaces(finding: Finding, other: Finding) -> bool:
    """Whether `other` is only what the cause in `finding` looks like to a reader."""
    if finding.code == "interrupted-save" and finding.evidence.get("kind") == "copy":
        return other.code in ABSENT and finding.evidence.get("belongs_to") in _files(other)
    # a text copy broke every part of the file alike
    everywhere = bool(finding.evidence.get("text_mangled"))
    return finding.code in FOREIGN and other.code in (*FOREIGN, *STUMBLED) and (everywhere or other.tensor is None)


def _looked_closer(finding: Finding, other: Finding) -> bool:
    """Whether `other` is what a reader of the index found behind a first look that only saw it is not right."""
    read = str(other.evidence.get("file", "")).endswith(".index") and other.severity == "error"
    return finding.code in ("index-damaged", "index-missing") and read and other.code in (*FOREIGN, "zero-filled")


def _files(finding: Finding) -> set[str]:
    """Names of the files a finding says are not there."""
    named = finding.evidence.get("file")
    names = {os.path.basename(named)} if isinstance(named, str) else set()
    if finding.code == "graph-missing":
        names |= {"saved_model.pb", "saved_model.pbtxt", "saved_model.cpb"}
    if finding.code == "index-missing":
        names.add(os.path.basename(finding.artifact) + ".index")
    return names
