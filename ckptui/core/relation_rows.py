"""A pair of a diff with what the relation of two saves is judged by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ckptui.core.model import Pair, Tensor
from ckptui.core.names import clean, layer_of

KERNELS = frozenset({"kernel", "embedding"})
COUNTERS = frozenset({"counter", "step"})
COMPARED = frozenset({"identical", "changed", "dtype-changed"})
NOT_WEIGHTS = frozenset({"slot", "counter", "step", "rng-state", "metric", "object-graph"})


def of_weights(a: Tensor | None, b: Tensor | None) -> bool:
    """Whether a pair is of the model's weights, and not of what only its training needs."""
    some = a or b
    return some is not None and some.role not in NOT_WEIGHTS


def not_its_bytes(pair: Pair) -> bool:
    """Whether two tensors were paired by their bytes, and the bytes differ: their checksums are the same by chance."""
    return pair.matched_by == "content" and pair.status == "changed"


@dataclass(frozen=True, slots=True)
class RelationRow:
    """One pair of a diff with the evidence that does not go into its row."""

    pair: Pair
    centred_cosine: float | None = None
    a_value: float | None = None
    """The value itself, of scalars."""
    b_value: float | None = None
    log_ratio: Mapping[str, float] | None = None
    """Of second moments (slots of floats, none below 0): what `ratios.LogRatios` says of at most 65,536 strided
    values; only `negative` where a value is below 0 on either side. None for all other pairs."""
    sampled: int = 0
    """The cosine is over so many values, evenly spread; 0: over all."""
    own_name: str = ""
    """The variable's own name where a save knows one: `adam/conv1_kernel_velocity`."""
    layer: str = ""
    """The friendly name of its layer; empty: by the pair's names."""
    shape: tuple[int, ...] | None = None
    """Of a tensor without a partner."""

    @property
    def values(self) -> int:
        """How many values the cosine is over."""
        return self.sampled or self.pair.count or 0

    @property
    def stored(self) -> str:
        """A stored name."""
        return self.pair.a or self.pair.b or ""

    @property
    def in_layer(self) -> str:
        """The friendly name of its layer, or its own name where it has none."""
        return self.layer or layer_of(self.stored, self.own_name) or clean(self.stored)


def described(row: RelationRow, a: Tensor | None, b: Tensor | None) -> RelationRow:
    """The row with what its tensors say about themselves."""
    there = [tensor for tensor in (a, b) if tensor is not None]
    own = next((tensor.object_path for tensor in there if tensor.object_path), "")
    layer = next((tensor.layer for tensor in there if tensor.layer), "")
    shape = there[0].shape if len(there) == 1 else None
    return replace(row, own_name=own, layer=layer, shape=shape)
