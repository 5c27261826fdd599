"""The signature asked for, checked against what the save's own directory lists, before any TensorFlow starts."""

from __future__ import annotations

from collections.abc import Iterable

from ckptui.core.model import Listing
from ckptui.core.text import safe
from ckptui.errors import UsageError

DEFAULT = "serving_default"
"""The signature the worker calls when none is named, tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY."""
TOLD = 20
"""How many known names a message lists."""


def check_signature(listing: Listing, wanted: str | None) -> None:
    """Raises UsageError with the known names where the worker is sure to find no, or no single, signature to call.

    With several meta graphs the loader decides which one counts, so only what is wrong in all of them is refused;
    a SavedModel that lists no signature at all is left to the loader.
    """
    path = safe(listing.artifact.path)
    if listing.artifact.kind != "saved-model":
        if wanted is not None:
            raise UsageError(f"{path} is no SavedModel and has no signatures", "Leave out --signature")
        return
    graphs: dict[tuple[str, ...], set[str]] = {}
    for signature in listing.signatures:
        graphs.setdefault(signature.tags, set()).add(signature.name)
    known = set().union(*graphs.values())
    if wanted is not None:
        if known and wanted not in known:
            raise UsageError(f"{path} has no signature called {safe(wanted)}", f"There are: {_listed(known)}")
    elif graphs and all(len(names) > 1 and DEFAULT not in names for names in graphs.values()):
        hint = f"Name one with --signature: {_listed(known)}"
        raise UsageError(f"{path} has several signatures and none called {DEFAULT}", hint)


def _listed(names: Iterable[str]) -> str:
    """The names in order, the first of very many."""
    ordered = [safe(name, 200) for name in sorted(names)]
    more = f" and {len(ordered) - TOLD} more" if len(ordered) > TOLD else ""
    return ", ".join(ordered[:TOLD]) + more
