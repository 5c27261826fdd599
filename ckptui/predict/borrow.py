"""A checkpoint holds weights and no model: borrow a sibling's architecture and push the values in by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ckptui.core.dtypes import ITEMSIZE
from ckptui.core.model import Listing, Role, Tensor

NOT_WEIGHTS: frozenset[Role] = frozenset({"slot", "counter", "step", "rng-state", "metric", "object-graph"})
"""Roles of tensors that are no weight of a layer."""
VALUE_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
LARGEST = 1 << 31
"""Bytes of the largest single tensor that is pushed into a model."""


class Arrays(Protocol):
    """Who can read a tensor: the session."""

    def array(self, listing: Listing, name: str, limit: int = ...) -> np.ndarray[Any, Any]:
        """The values of one tensor."""


@dataclass(frozen=True, slots=True)
class Borrowed:
    """Weights on their way into another save's architecture."""

    architecture: str
    """Path of the .keras or .h5 whose layers they go into."""
    names: tuple[tuple[str, str], ...]
    """(name to bind under, name in the checkpoint) of every weight."""
    fetch: Callable[[str], np.ndarray[Any, Any]]
    """Reads one by its name in the checkpoint."""


def borrowed_architecture(source: Arrays, listing: Listing, architecture: str | None) -> Borrowed | None:
    """How to fill `architecture` from a checkpoint; None for saves that carry their model or load as a whole."""
    if architecture is None or listing.artifact.kind != "tf-checkpoint":
        return None
    names = tuple((bind_name(tensor), tensor.name) for tensor in listing.tensors if is_weight(tensor))
    return Borrowed(architecture, names, lambda name: source.array(listing, name, LARGEST))


def is_weight(tensor: Tensor) -> bool:
    """A numeric tensor that a layer may own, whole as far as the directory tells."""
    return tensor.role not in NOT_WEIGHTS and tensor.dtype in ITEMSIZE and not tensor.problem


def bind_name(tensor: Tensor) -> str:
    """The variable's own name where the checkpoint knows it, else its key without the storage suffix."""
    return tensor.object_path or tensor.name.removesuffix(VALUE_SUFFIX)
