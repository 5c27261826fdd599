"""What a listing alone gives away: checks that read no tensor bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ckptui.core.catalogue import make
from ckptui.core.model import Finding, Listing
from ckptui.core.text import safe

MAX_NAMES_SHOWN = 20
"""Hostile names listed in the evidence; the count is always complete."""


def quick(listing: Listing) -> Listing:
    """The listing with its own findings and those of the quick checks, and the status that follows.

    `ok` here means: nothing was found without reading tensor bytes.
    """
    findings = [*listing.findings, *hostile_names(listing)]
    checked = listing.with_findings(findings)
    if checked.artifact.status != "unchecked":
        return checked
    return replace(checked, artifact=replace(checked.artifact, status="ok"))


def _names(listing: Listing) -> Iterable[str]:
    names = getattr(listing.tensors, "names", None)
    return names if names is not None else (t.name for t in listing.tensors)


def hostile_names(listing: Listing) -> list[Finding]:
    """One `name-hostile` finding for all names with characters that act on terminals or hide."""
    joined = "".join(_names(listing))
    if joined.isascii() and joined.isprintable():
        return []
    odd = [name for name in _names(listing) if not (name.isascii() and name.isprintable()) and _acts(name)]
    if not odd:
        return []
    shown = [name[:80] for name in odd[:MAX_NAMES_SHOWN]]
    return [
        make(
            "name-hostile",
            listing.artifact.path,
            odd[0] if len(odd) == 1 else None,
            detail=f"{len(odd)} tensor names, for example {shown[0]}",
            evidence={"count": len(odd), "names": shown},
        )
    ]


def _acts(name: str) -> bool:
    """Would `safe` have to escape something other than a plain backslash?"""
    return safe(name.replace("\\", "/"), len(name)) != name.replace("\\", "/")
