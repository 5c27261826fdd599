"""What the pairs of a diff tell about a common past, gathered before it is judged (`relation`)."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist, median
from typing import Any, Literal

from ckptui.core.moments import Moments, Slot, judge
from ckptui.core.names import clean
from ckptui.core.relation_rows import COMPARED, COUNTERS, KERNELS, NOT_WEIGHTS, RelationRow
from ckptui.core.step_counters import Clock, both, read_clock

FEWEST_VALUES = 64
"""Values a kernel needs to say something."""
RELATED_Z = 4.0
"""|z| from which a common ancestor is certain."""
FEW_KERNELS = 20
"""With more kernels than this chance gives larger z: the threshold goes up so that the chance of one stays the same."""
NEAR_FROZEN = 50.0
"""A layer moved hardly where the others moved so many times as far."""
FEWEST_STEPS = 10
"""Steps after which trainings that begin with the same batches, at other learning rates, have other moments."""
FEWEST_OTHERS = 2
MOST_NAMES = 20

Certainty = Literal["confirmed", "likely", "possible"]


@dataclass(frozen=True)
class Kernels:
    """What the kernels of two saves share."""

    rows: tuple[RelationRow, ...]

    @cached_property
    def kernels(self) -> list[RelationRow]:
        """Kernels and embeddings large enough to say something."""
        return [r for r in self.rows if r.pair.role in KERNELS and r.values >= FEWEST_VALUES]

    @cached_property
    def told(self) -> list[tuple[RelationRow, float]]:
        """Those with a cosine."""
        return [
            (r, r.centred_cosine)
            for r in self.kernels
            if r.pair.status in COMPARED and r.centred_cosine is not None and math.isfinite(r.centred_cosine)
        ]

    @cached_property
    def z(self) -> list[float]:
        return [cosine * math.sqrt(row.values) for row, cosine in self.told]

    @property
    def values(self) -> int:
        return sum(row.values for row, _ in self.told)

    @property
    def largest(self) -> float:
        return max((abs(z) for z in self.z), default=0.0)

    @property
    def threshold(self) -> float:
        """|z| that chance does not give among so many kernels."""
        if len(self.z) <= FEW_KERNELS:
            return RELATED_Z
        tail = (1 - NormalDist().cdf(RELATED_Z)) * FEW_KERNELS / len(self.z)
        return -NormalDist().inv_cdf(tail)

    @cached_property
    def frozen(self) -> int:
        """Kernels identical to the bit; constant ones are not counted."""
        return sum(row.pair.status == "identical" for row, _ in self.told)

    @cached_property
    def undefined(self) -> int:
        """Kernels without a cosine: constant, or nothing finite on both sides."""
        return sum(r.pair.status in COMPARED for r in self.kernels) - len(self.told)

    @cached_property
    def unreadable(self) -> int:
        return sum(r.pair.status == "unreadable" for r in self.rows if r.pair.role in KERNELS)

    @cached_property
    def lone(self) -> int:
        """Kernels that have no partner of their shape, and can't have one."""
        return sum(
            r.pair.status == "shape-changed"
            or (r.pair.status in ("only-a", "only-b") and (r.pair.role, r.shape) not in self._alike)
            for r in self.kernels
        )

    @cached_property
    def unpaired(self) -> int:
        """Weights that are alone on both sides and alike in shape and role: which are partners, nothing tells.

        That they stand alone says nothing about the past of a save.
        """
        return self._alike.total()

    @cached_property
    def _alike(self) -> Counter[tuple[str, tuple[int, ...] | None]]:
        """Role and shape of the weights that stand alone on both sides, with how many there are on each."""
        alone: dict[str, Counter[tuple[str, tuple[int, ...] | None]]] = {"only-a": Counter(), "only-b": Counter()}
        for row in self.rows:
            if row.pair.status in alone and row.shape is not None and row.pair.role not in NOT_WEIGHTS:
                alone[row.pair.status][row.pair.role, row.shape] += 1
        return alone["only-a"] & alone["only-b"]

    @property
    def unpaired_words(self) -> str:
        many = "" if self.unpaired == 1 else "s"
        return f"{self.unpaired} weight{many} could not be paired: which of those alike is whose, nothing tells"

    @property
    def only_in_a(self) -> bool:
        """Kernels have no partner, all of them on A's side."""
        return all(
            r.pair.status not in ("only-b", "shape-changed") or (r.pair.role, r.shape) in self._alike
            for r in self.kernels
        )


@dataclass(frozen=True)
class Layers(Kernels):
    """The same, layer by layer."""

    @cached_property
    def layers(self) -> dict[str, list[tuple[RelationRow, float]]]:
        found: dict[str, list[tuple[RelationRow, float]]] = {}
        for row, cosine in self.told:
            found.setdefault(row.in_layer, []).append((row, cosine))
        return found

    @cached_property
    def frozen_layers(self) -> list[str]:
        """Layers whose kernels are identical while others were trained."""
        if self.frozen == len(self.told):
            return []
        return [name for name, rows in self.layers.items() if all(r.pair.status == "identical" for r, _ in rows)]

    @cached_property
    def near_frozen_layers(self) -> list[str]:
        """Layers that moved far less than the others."""
        moved = {
            name: max(r.pair.relative_l2 for r, _ in rows if r.pair.relative_l2 is not None)
            for name, rows in self.layers.items()
            if name not in self.frozen_layers and any(r.pair.relative_l2 is not None for r, _ in rows)
        }
        near = []
        for name, distance in moved.items():
            others = [other for key, other in moved.items() if key != name]
            if len(others) >= FEWEST_OTHERS and distance * NEAR_FROZEN < median(others):
                near.append(name)
        return near

    @cached_property
    def replaced_layers(self) -> list[str]:
        """Layers whose kernels have another shape, or that only B has."""
        return _each(r.in_layer for r in self.kernels if r.pair.status in ("shape-changed", "only-b"))

    @cached_property
    def unlike_layers(self) -> list[str]:
        """Layers that share nothing beyond chance while others do."""
        if self.largest < self.threshold:
            return []
        return [
            name
            for name, rows in self.layers.items()
            if all(abs(cosine) * math.sqrt(r.values) < RELATED_Z for r, cosine in rows)
        ]

    def missing(self, status: str, *, own: bool = False) -> list[str]:
        """Weights that only one side has, or of another shape: stored names, or what people call them."""
        lone = [r for r in self.rows if r.pair.status == status and r.pair.role not in NOT_WEIGHTS]
        return [clean(r.own_name or r.stored) if own else r.stored for r in lone]


@dataclass(frozen=True)
class Evidence(Layers):
    """All that a relation is judged by."""

    @cached_property
    def clock(self) -> Clock:
        return read_clock(self.rows)

    @cached_property
    def moments(self) -> Moments:
        """What second moments say; a break is none where the steps are counted by who knows what."""
        slots = [Slot(r.own_name or r.stored, r.log_ratio) for r in self.rows if r.pair.role == "slot" and r.log_ratio]
        found = judge(slots, self.clock.steps, self.clock.logarithm, self.clock.decay)
        doubtful = found.word == "broken" and not self.clock.exact
        if doubtful or (found.word == "kept" and self.clock.begun < FEWEST_STEPS):
            return Moments("open", found.slots, found.values, found.below, found.expected, found.deepest, found.decay)
        return found

    @cached_property
    def slots_z(self) -> float | None:
        """The larger of the medians of z of first and of second moments."""
        kinds: dict[bool, list[float]] = {}
        for row in self.rows:
            if row.pair.role == "slot" and row.centred_cosine is not None and row.values >= FEWEST_VALUES:
                second = row.log_ratio is not None and not row.log_ratio.get("negative")
                kinds.setdefault(second, []).append(abs(row.centred_cosine) * math.sqrt(row.values))
        return max((median(found) for found in kinds.values()), default=None)

    @property
    def slots_fit(self) -> bool:
        return self.slots_z is not None and self.slots_z >= RELATED_Z

    @cached_property
    def thawed(self) -> bool:
        """A frozen layer was trained before: A has slots for it that B lacks."""
        lost = {r.in_layer for r in self.rows if r.pair.role == "slot" and r.pair.status == "only-a"}
        # slots know the layer with the model's name before it: `sequential_conv1`
        return any(re.search(rf"(?:^|[/_]){re.escape(name)}$", layer) for name in self.frozen_layers for layer in lost)

    @property
    def kin_certainty(self) -> Certainty:
        """Of a common past: one kernel just past the threshold among many is less than all of them."""
        beyond = sum(abs(z) >= RELATED_Z for z in self.z)
        if beyond > 1 or len(self.z) <= 2 or self.largest >= 2 * RELATED_Z:
            return "confirmed"
        return "likely"

    @property
    def shared_words(self) -> str:
        if len(self.z) == 1:
            return f"the kernel shares more than chance allows (z {self.z[0]:.1f})"
        smallest = min(self.z, key=abs)
        if abs(smallest) >= RELATED_Z:
            return f"every kernel shares more than chance allows (smallest z {smallest:.1f})"
        beyond = sum(abs(z) >= RELATED_Z for z in self.z)
        return f"{beyond} of {len(self.z)} kernels share more than chance allows (largest |z| {self.largest:.1f})"

    @property
    def frozen_words(self) -> str:
        parts = [f"identical in {_listed(self.frozen_layers)}"] if self.frozen_layers else []
        if self.near_frozen_layers:
            parts.append(f"hardly moved: {_listed(self.near_frozen_layers)}")
        return f" ({'; '.join(parts)})" if parts else ""

    @property
    def missing_words(self) -> str:
        parts = [
            f"{words}: {_listed(names)}"
            for words, names in (
                ("only in A", self.missing("only-a", own=True)),
                ("only in B", self.missing("only-b", own=True)),
                ("of another shape", self.missing("shape-changed", own=True)),
            )
            if names
        ]
        return f" ({'; '.join(parts)})" if parts else ""

    def facts(self, reason: str) -> dict[str, Any]:
        """The numbers, as they go into a document."""
        cosines = [cosine for _, cosine in self.told]
        only_a, only_b, other = (self.missing(status) for status in ("only-a", "only-b", "shape-changed"))
        counters = [r for r in self.rows if r.pair.role in COUNTERS and both(r)]
        return {
            "reason": reason,
            "kernels_compared": len(self.told),
            "kernels_without_partner": self.lone,
            "kernels_identical": self.frozen,
            "weights_not_paired": self.unpaired,
            "kernels_undefined": self.undefined,
            "kernels_unreadable": self.unreadable,
            "min_cosine": min(cosines, default=None),
            "max_cosine": max(cosines, default=None),
            "smallest_z": min(self.z, default=None),
            "largest_abs_z": self.largest if self.z else None,
            "slots_z": self.slots_z,
            "steps": self.clock.steps or None,
            "moments": self.moments.to_json() if self.moments.word != "none" else None,
            "frozen_layers": self.frozen_layers[:MOST_NAMES],
            "near_frozen_layers": self.near_frozen_layers[:MOST_NAMES],
            "replaced_layers": self.replaced_layers[:MOST_NAMES],
            "unlike_layers": self.unlike_layers[:MOST_NAMES],
            "missing_in_a": only_b[:MOST_NAMES],
            "missing_in_b": only_a[:MOST_NAMES],
            "other_shape": other[:MOST_NAMES],
            "missing": {"in_a": len(only_b), "in_b": len(only_a), "other_shape": len(other)},
            "counters": [{"name": r.pair.a, "a": r.a_value, "b": r.b_value} for r in counters[:8]],
        }


def gather(rows: Sequence[RelationRow]) -> Evidence:
    """The evidence in the rows of a diff."""
    return Evidence(tuple(rows))


def _each(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _listed(names: Sequence[str], most: int = 3) -> str:
    """`a, b, c and 4 more`."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
