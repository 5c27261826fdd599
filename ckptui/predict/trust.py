"""Whether a model may run: what its listing flags, and what the worker's cage keeps from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ckptui.core.catalogue import make
from ckptui.core.model import Finding, Listing
from ckptui.core.text import counted, safe
from ckptui.errors import Flagged
from ckptui.predict.compare import Facts

FLAGS = ("unsafe-op", "unsafe-layer", "external-reference")
"""Codes of findings that someone has to have seen before a model runs."""
TOLD = 3
"""Things it tried that a detail lists."""
KEPT_FROM = ("network", "writes", "programs")
"""What a cage keeps from a model, as the worker's hello names it."""


def flags_of(listing: Listing) -> tuple[Finding, ...]:
    """What in this save reaches outside or carries code, as warning or error; infos are in every save."""
    return tuple(f for f in listing.findings if f.code in FLAGS and f.severity != "info")


def damage_of(listing: Listing) -> tuple[Finding, ...]:
    """What the quick check of this save found wrong with it, as warning or error; it reads no values."""
    return tuple(f for f in listing.findings if f.code not in FLAGS and f.severity != "info")


def sandbox_of(cage: Mapping[str, Any]) -> dict[str, Any]:
    """`sandbox` of the predict document: per thing whether the worker is kept from it."""
    return {name: bool(cage.get(name)) for name in KEPT_FROM}


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
            f"{counted(len(found), 'finding')} in {places}: {codes}",
            "Know who made it; --allow-flagged runs it all the same",
            findings=tuple(found.values()),
        )
    return tuple(found.values())


def blocked_finding(model: str, tried: Sequence[str], runs: Sequence[str] = ()) -> Finding:
    """`unsafe-op` for a model that tried what the worker may not do; `tried` says what, `runs` in which."""
    return make(
        "unsafe-op",
        model,
        title="The model tried what it may not do",
        detail="; ".join(list(dict.fromkeys(tried))[:TOLD]),
        evidence={"blocked": True, "runs": list(dict.fromkeys(runs))},
        severity="error",
    )


def blocked_findings(model: str, images: Sequence[Facts]) -> list[Finding]:
    """The same for the runs of images; none where nothing was blocked."""
    blocked = [(name, words) for facts in images for name, words in facts.blocked]
    return [blocked_finding(model, [words for _, words in blocked], [name for name, _ in blocked])] if blocked else []
