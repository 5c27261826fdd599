"""What a layer's tensors are called where people read: `c2/kernel`, beside the name the file stores it by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ckptui.core.lookup import copies_of
from ckptui.core.model import Finding, Tensor
from ckptui.core.names import clean

Place = tuple[str, str]
"""(artifact's path, tensor's stored name)."""


@dataclass(frozen=True, slots=True)
class Naming:
    """How findings name what they are about."""

    save: str = ""
    """The only save of the page: its path is not repeated in every line."""
    own: Mapping[Place, str] = field(default_factory=dict)
    """What a tensor's layer calls it, where the stored name does not say that."""
    copies: Mapping[Place, str] = field(default_factory=dict)
    """For the second copy of a variable the stored name of the first."""

    def __or__(self, other: Naming) -> Naming:
        """Both, for a page on several saves."""
        return Naming("", {**self.own, **other.own}, {**self.copies, **other.copies})


PLAIN = Naming()
"""Paths and stored names as they are."""


def own_names(tensors: Iterable[Tensor]) -> dict[str, str]:
    """By stored name the variable's own from its layer on, `c2/kernel`; the whole where that is not unique."""
    listed = [t for t in tensors if t.object_path]
    short = {t.name: _from_layer(clean(t.object_path), t.layer) for t in listed}
    whole = {t.name: clean(t.object_path) for t in listed}
    # a variable stored twice is one
    meanings = Counter(name for name, _ in {(short[n], whole[n]) for n in whole})
    return {name: text if meanings[text] == 1 else whole[name] for name, text in short.items()}


def naming_of(path: str, tensors: Iterable[Tensor], findings: Iterable[Finding], *, alone: bool = True) -> Naming:
    """How these findings about the save at `path` name its tensors. `alone`: the page is about no other save."""
    about = {f.tensor for f in findings if f.tensor is not None and f.artifact == path}
    listed = [t for t in tensors if t.name in about] if about else []
    own = {(path, name): text for name, text in own_names(listed).items() if not said_in(text, name)}
    return Naming(path if alone else "", own, {(path, n): first for n, first in copies_of(listed).items()})


def said_in(own: str, stored: str) -> bool:
    """Whether the stored name ends in the own one already."""
    return ("/" + clean(stored)).endswith("/" + own)


def without_copies(findings: Iterable[Finding], naming: Naming) -> list[Finding]:
    """The findings without those that say of a variable's second copy what is said of the first."""
    listed = list(findings)
    told: set[tuple[Any, ...]] = {(f.artifact, f.tensor, f.code, f.detail) for f in listed}

    def again(finding: Finding) -> bool:
        first = naming.copies.get((finding.artifact, finding.tensor or ""))
        return first is not None and (finding.artifact, first, finding.code, finding.detail) in told

    return [f for f in listed if not again(f)]


def _from_layer(path: str, layer: str) -> str:
    if layer:
        place = f"/{path}".find(f"/{layer}/")
        if place >= 0:
            return path[place:]
    return path
