"""What a closer look leaves of findings told before: one cause for each damage.

A quick look tells what sizes and a directory show; the pass over the bytes knows more, and what all bad tensors
together show comes last. A later finding takes the place of an earlier one that blamed something else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ckptui.core.model import Finding
from ckptui.core.names import OBJECT_GRAPH_KEY

BYTES = frozenset({"checksum-mismatch", "zero-filled", "index-data-mismatch"})
"""Codes that say why the bytes of a tensor are not those that were stored: one of them a tensor."""

SENSELESS = frozenset({"text_mangled", "shift", "every_checksum_wrong"})
"""Evidence of it."""

Key = tuple[str, str | None, str]


def key_of(finding: Finding) -> Key:
    """What makes two findings the same: code and tensor; without a tensor the file or member they speak of."""
    if finding.tensor is not None:
        return finding.code, finding.tensor, str(finding.evidence.get("part", ""))
    return finding.code, None, str(finding.evidence.get("member") or finding.evidence.get("file") or "")


def senseless(finding: Finding) -> bool:
    """Are the bytes where this tensor should be some other bytes altogether? Numbers made of them say nothing."""
    return not SENSELESS.isdisjoint(finding.evidence)


class Closer:
    """Later findings, and which earlier ones they leave nothing of."""

    def __init__(self, later: Iterable[Finding]) -> None:
        self._codes: set[tuple[str, str]] = set()
        self._tensors: set[str] = set()
        self._senseless: set[str] = set()
        self._mangled: set[object] = set()
        for finding in later:
            if finding.tensor is not None:
                self._codes.add((finding.code, finding.tensor))
                if finding.code in BYTES:
                    self._tensors.add(finding.tensor)
                if senseless(finding):
                    self._senseless.add(finding.tensor)
            elif finding.evidence.get("text_mangled") or "shift" in finding.evidence:
                self._mangled.add(finding.evidence.get("file"))

    @property
    def mangled(self) -> bool:
        """Is there one about a whole file that replaces others about it?"""
        return bool(self._mangled)

    @property
    def idle(self) -> bool:
        """Nothing earlier can be affected."""
        return not (self._codes or self._mangled)

    def replaces(self, earlier: Finding) -> bool:
        """Is this told better by now?"""
        tensor = earlier.tensor
        if tensor is None:
            # a copy that rewrote line ends made the file longer: nobody appended to it
            return earlier.code == "shard-oversized" and earlier.evidence.get("file") in self._mangled
        if (earlier.code, tensor) in self._codes or (earlier.code == "non-finite" and tensor in self._senseless):
            return True
        if tensor in self._tensors:
            # a graph whose bytes are damaged makes no sense for that reason
            return earlier.code in BYTES or (earlier.code == "entry-invalid" and tensor == OBJECT_GRAPH_KEY)
        return False


def settled(earlier: Sequence[Finding], later: Sequence[Finding]) -> list[Finding]:
    """Both, without what the later ones replace and without what was told before about no tensor."""
    closer = Closer(later)
    kept = list(earlier) if closer.idle else [finding for finding in earlier if not closer.replaces(finding)]
    known = {key_of(finding) for finding in kept if finding.tensor is None}
    return [*kept, *(finding for finding in later if finding.tensor is not None or key_of(finding) not in known)]
