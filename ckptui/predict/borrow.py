"""Saves that hold weights and no model: which model they go into, and which of its weights each value is.

The model is a sibling's architecture, paired by `core.matching`, or a TensorFlow 1 checkpoint's own graph in a `.meta`,
whose saver knows the names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from crc32c import crc32c

from ckptui.core.dtypes import ITEMSIZE
from ckptui.core.matching import match_listings
from ckptui.core.model import Artifact, Listing, Role, Tensor
from ckptui.core.names import layer_of, natural_key, role_of, step_of
from ckptui.errors import Damaged

NOT_WEIGHTS: frozenset[Role] = frozenset({"slot", "counter", "step", "rng-state", "metric", "object-graph"})
"""Roles of tensors that are no weight of a layer."""
VALUE_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
LARGEST = 1 << 31
"""Bytes of the largest single tensor that is pushed into a model."""
WHOLE: frozenset[str] = frozenset({"keras-archive", "keras-h5", "saved-model"})
"""Kinds that carry their model; another architecture is used for them only where one is named."""
CHECKPOINTS: frozenset[str] = frozenset({"tf-checkpoint", "tf-checkpoint-v1"})
BUNDLES: frozenset[str] = CHECKPOINTS | {"saved-model"}
"""Kinds with a checksum for every tensor."""
SOURCES: frozenset[str] = WHOLE | CHECKPOINTS | {"keras-weights", "hdf5"}
"""Kinds whose tensors may go into another save's model."""


SHARDS = re.compile(r"(-[0-9?]{5}-of-[0-9]{5}|\.index|\.meta)$")
"""How the files of a checkpoint end after its prefix; the first version has its shards alone."""


class Arrays(Protocol):
    """Who can read a tensor: the session."""

    def array(self, listing: Listing, name: str, limit: int = ...) -> np.ndarray[Any, Any]:
        """The values of one tensor."""


@dataclass(frozen=True, slots=True)
class Borrowed:
    """Weights on their way into a model that is not in their save."""

    architecture: str
    """Path of the save, or Keras config, whose layers they go into; empty with `meta`."""
    names: tuple[tuple[str, str], ...]
    """(name to bind under, name in the save) of every weight, for want of a listing."""
    fetch: Callable[[str], np.ndarray[Any, Any]]
    """Reads one by its name in the save."""
    listing: Listing | None = None
    """The save itself: its weights are paired with the model's."""
    meta: str = ""
    """Path of the `.meta` whose graph they go into, names as its saver has them."""
    spare: bool = False
    """The save carries its model: they are needed only where no loader can read its variables."""

    @property
    def model(self) -> str:
        """The file the model comes from."""
        return self.architecture or self.meta

    def plan(self, weights: Sequence[Sequence[Any]]) -> tuple[list[tuple[str, str]], list[str]]:
        """(weight of the model, name in the save) of all that belong together, and what is left of the save's weights.

        `weights` are (name, dtype, shape). A graph takes what it needs: nothing of its checkpoint counts as left.
        """
        if self.listing is None:
            return list(self.names), []
        if self.spare:
            # what the model does not use is not refused: a value for it may be there all the same
            return [(tensor.name, tensor.name) for tensor in self.listing.tensors if tensor.dtype in ITEMSIZE], []
        if self.meta:
            there = {tensor.name for tensor in self.listing.tensors}
            return [(name, name) for name, *_ in weights if name in there], []
        pairs = paired(self.listing, weights)
        placed = {stored for _, stored in pairs}
        left = [tensor.name for tensor in self.listing.tensors if is_weight(tensor) and tensor.name not in placed]
        firsts: dict[str, str] = {}
        for weight, stored in pairs:
            firsts.setdefault(weight, stored)
        return list(firsts.items()), left


def borrowed_architecture(source: Arrays, listing: Listing, architecture: str | None) -> Borrowed | None:
    """How to fill a model from a save: the architecture's, else a checkpoint's own graph, else a SavedModel's.

    None for Keras files, which carry their model, and where there is neither.
    """
    kind = listing.artifact.kind
    stored = {tensor.name: tensor for tensor in listing.tensors} if kind in BUNDLES else {}

    def fetch(name: str) -> np.ndarray[Any, Any]:
        values = source.array(listing, name, LARGEST)
        if name in stored:
            check(stored[name], values)
        return values

    if architecture is not None and kind in SOURCES:
        names = tuple((bind_name(tensor), tensor.name) for tensor in listing.tensors if is_weight(tensor))
        return Borrowed(architecture, names, fetch, listing)
    if kind == "saved-model":
        return Borrowed("", (), fetch, listing, spare=True)
    meta = meta_beside(listing.artifact.path) if kind in CHECKPOINTS else None
    return Borrowed("", (), fetch, listing, meta) if meta is not None else None


def check(tensor: Tensor, values: np.ndarray[Any, Any]) -> None:
    """Raises Damaged for values that are not what was written, by the checksum beside them: TensorFlow takes none."""
    place = tensor.storage
    plain = place.encoding == "plain" and not (place.big_endian or place.npy_dtype)
    if plain and place.crc32c is not None and values.nbytes == tensor.bytes:
        found = crc32c(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
        if found != place.crc32c:
            raise Damaged(f"its checksum is wrong: {found:#010x}, stored {place.crc32c:#010x}")


def needs_layers(path: str, kind: str) -> bool:
    """A save of weights alone whose model has to come from another save: it has no graph beside it."""
    return kind == "keras-weights" or (kind in CHECKPOINTS and meta_beside(path) is None)


def meta_beside(path: str) -> str | None:
    """The `.meta` of a checkpoint: its own, else that of the save of its run whose step is nearest."""
    path = SHARDS.sub("", path)
    own = path + ".meta"
    if os.path.isfile(own):
        return own
    folder, stem = os.path.dirname(path) or ".", os.path.basename(path)
    try:
        names = sorted(
            (e.name for e in os.scandir(folder) if e.name.endswith(".meta") and e.is_file()), key=natural_key
        )
    except OSError:
        return None
    run = stem.rstrip("0123456789")
    alike = [name for name in names if name.removesuffix(".meta").rstrip("0123456789") == run]
    step = step_of(stem)
    if not alike or step is None:
        return None
    return os.path.join(folder, min(alike, key=lambda name: abs((step_of(name.removesuffix(".meta")) or 0) - step)))


def paired(listing: Listing, weights: Sequence[Sequence[Any]]) -> list[tuple[str, str]]:
    """(weight of the model, name in the save), by names, then by the order of layers; see `core.matching`.

    A variable that the save stores twice is in it twice, its first copy first.
    """
    mine = listing_of(weights)
    theirs = [tensor for tensor in listing.tensors if tensor.dtype in ITEMSIZE and not tensor.problem]
    own = Listing(listing.artifact, theirs, architecture=listing.architecture, order=listing.order)
    return [(two.name, one.name) for one, two, _ in match_listings(own, mine) if one is not None and two is not None]


def listing_of(weights: Sequence[Sequence[Any]]) -> Listing:
    """A loaded model's weights, (name, dtype, shape) in its order, as if they were a save."""
    tensors = []
    for name, dtype, shape in weights:
        extents = tuple(max(int(extent), 0) for extent in shape)
        role = role_of(str(name), str(dtype), extents, str(name))
        tensors.append(
            Tensor(str(name), str(dtype), extents, 0, layer=layer_of(str(name)), role=role, object_path=str(name))
        )
    artifact = Artifact("", "keras-archive", "", None, 0, 0, len(tensors), 0, 0.0)
    return Listing(artifact, tensors, order=tuple(tensor.name for tensor in tensors))


def is_weight(tensor: Tensor) -> bool:
    """A numeric tensor that a layer may own, whole as far as the directory tells."""
    return tensor.role not in NOT_WEIGHTS and tensor.dtype in ITEMSIZE and not tensor.problem


def bind_name(tensor: Tensor) -> str:
    """The variable's own name where the checkpoint knows it, else its key without the storage suffix."""
    return tensor.object_path or tensor.name.removesuffix(VALUE_SUFFIX)
