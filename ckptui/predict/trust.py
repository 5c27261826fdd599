"""Whether a model may run: what its listing flags, and what the worker's cage keeps from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ckptui.core.model import Finding, Listing
from ckptui.core.text import safe
from ckptui.errors import Flagged

FLAGS = ("unsafe-op", "unsafe-layer", "external-reference")
"""Codes of findings that someone has to have seen before a model runs."""
NEEDED = {
    "network": "the worker's network can't be taken away here",
    "writes": "the worker can't be kept from writing outside its own folder here",
    "programs": "the worker can't be kept from starting programs here",
}
"""What a cage keeps from a model, and the words where it could not."""


def flags_of(listing: Listing) -> tuple[Finding, ...]:
    """What in this save reaches outside or carries code, as warning or error; infos are in every save."""
    return tuple(f for f in listing.findings if f.code in FLAGS and f.severity != "info")


def sandbox_of(cage: Mapping[str, Any]) -> dict[str, Any]:
    """`sandbox` of the predict document: per thing whether the worker is kept from it."""
    return {
        "network": bool(cage.get("seccomp")),
        "writes": bool(cage.get("landlock")),
        "programs": bool(cage.get("seccomp")) and not cage.get("gpu"),
    }


def not_enforced(cage: Mapping[str, Any]) -> tuple[str, ...]:
    """What could not be enforced on this machine, a sentence each; nothing where the worker never said."""
    if not cage:
        return ()
    kept = sandbox_of(cage)
    return tuple(words for name, words in NEEDED.items() if not kept[name])


def allowed(listings: Sequence[Listing], allow: bool) -> tuple[Finding, ...]:
    """What is flagged in all of them, each finding once.

    Raises Flagged where there is something and `allow` is not set.
    """
    found: dict[tuple[str, str, str | None, str], Finding] = {}
    for listing in listings:
        found.update({(f.code, f.artifact, f.tensor, f.detail): f for f in flags_of(listing)})
    if found and not allow:
        codes = ", ".join(sorted({finding.code for finding in found.values()}))
        places = ", ".join(safe(path) for path in sorted({finding.artifact for finding in found.values()}))
        raise Flagged(
            f"{len(found)} finding{'s' if len(found) > 1 else ''} in {places}: {codes}",
            "Know who made it; --allow-flagged runs it all the same",
            findings=tuple(found.values()),
        )
    return tuple(found.values())
