"""How two saves are related, by what their kernels share beyond chance.

z = cosine of the centred kernels x sqrt(values) is a standard normal for independent kernels. Biases, gammas and
statistics agree between independent trainings too: they say nothing and are left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ckptui.core.model import Pair

FEWEST_VALUES = 64
"""Values a kernel needs to say something."""
RELATED_Z = 4.0
"""|z| from which a common ancestor is certain."""
MATCHING_SHARE = 0.5
"""Share of kernels with a partner of the same shape below which two saves are of different architectures."""
KERNELS = frozenset({"kernel", "embedding"})
COUNTERS = frozenset({"counter", "step"})
COMPARED = frozenset({"identical", "changed", "dtype-changed"})
NOT_WEIGHTS = frozenset({"slot", "counter", "step", "rng-state", "metric", "object-graph"})

Word = Literal["identical", "same-run", "fine-tuned", "related", "independent", "different-architecture"]


@dataclass(frozen=True, slots=True)
class RelationRow:
    """One pair of a diff with the evidence that does not go into its row."""

    pair: Pair
    centred_cosine: float | None = None
    a_value: float | None = None
    """The value itself, of scalars."""
    b_value: float | None = None
    log_ratio: Mapping[str, float] | None = None
    """Of second moments (slots of floats, none below 0): ln(b / a) over at most 65,536 strided values where both are
    above 0, as `values` (how many), `min`, `q01`, `q05`, `q16`, `q50`, `q84`; and `negative`, values below 0 on either
    side, which is then all there is. None for all other pairs."""
    sampled: int = 0
    """The cosine is over so many values, evenly spread; 0: over all."""

    @property
    def values(self) -> int:
        """How many values the cosine is over."""
        return self.sampled or self.pair.count or 0


@dataclass(frozen=True, slots=True)
class _Evidence:
    compared: int
    frozen: int
    z: tuple[float, ...]
    cosines: tuple[float, ...]
    lone: int
    slots_z: float | None
    forward: bool
    backward: bool
    earlier: bool
    """Every counter of B is lower than, or equal to, A's, and none has started anew at 0."""
    counters: tuple[tuple[str, float, float], ...]

    @property
    def largest(self) -> float:
        return max((abs(z) for z in self.z), default=0.0)

    def facts(self, reason: str) -> dict[str, Any]:
        return {
            "reason": reason,
            "kernels_compared": self.compared,
            "kernels_without_partner": self.lone,
            "kernels_identical": self.frozen,
            "min_cosine": min(self.cosines, default=None),
            "max_cosine": max(self.cosines, default=None),
            "smallest_z": min(self.z, default=None),
            "largest_abs_z": self.largest if self.z else None,
            "slots_z": self.slots_z,
            "counters": [{"name": name, "a": a, "b": b} for name, a, b in self.counters[:8]],
        }


def relation(rows: Sequence[RelationRow]) -> dict[str, Any]:
    """{"verdict", "certainty", "evidence"} for all pairs of a diff.

    Judged by kernels and embeddings of 64 values and more: |z| < 4 everywhere is `independent` (or
    `different-architecture` where most kernels have no partner); beyond, a common ancestor is certain, and
    counters with optimizer slots make it `same-run`, frozen or replaced layers `fine-tuned`, nothing `related`.
    """
    weights = [r.pair for r in rows if r.pair.role not in NOT_WEIGHTS]
    evidence = _gather(rows)
    if weights and all(p.status == "identical" for p in weights):
        return _said("identical", "confirmed", evidence, "every weight has the same bits")
    if evidence.compared == 0:
        return _without_kernels(weights, evidence)
    strange = evidence.lone > MATCHING_SHARE * (evidence.lone + evidence.compared)
    if evidence.largest < RELATED_Z and not evidence.frozen:
        if strange:
            reason = "most kernels have no partner of their shape, the others share nothing beyond chance"
            return _said("different-architecture", "confirmed", evidence, reason)
        sure = "confirmed" if evidence.compared > 1 else "likely"
        return _said("independent", sure, evidence, "no kernel shares more than chance gives")
    return _related(evidence)


def _related(evidence: _Evidence) -> dict[str, Any]:
    """A common ancestor is certain: which kind."""
    if evidence.slots_z is not None and evidence.slots_z >= RELATED_Z and not evidence.lone:
        if evidence.forward:
            reason = "kernels and optimizer slots share a past, and the counters went on"
            return _said("same-run", "likely", evidence, reason)
        if evidence.earlier:
            reason = "kernels and optimizer slots share a past, and B's counters are lower: B is the earlier save"
            return _said("same-run", "likely", evidence, reason)
    if evidence.frozen and evidence.frozen < evidence.compared:
        return _said("fine-tuned", "likely", evidence, "some kernels are identical to the bit, others were trained")
    if evidence.lone:
        return _said("fine-tuned", "likely", evidence, "kernels share a past, some layers were replaced")
    if evidence.backward:
        reason = "kernels share a past, and the counters start anew"
        return _said("fine-tuned", "possible", evidence, reason)
    reason = "kernels share a past: the same run, or two trainings from one initialisation"
    return _said("related", "confirmed", evidence, reason)


def _without_kernels(weights: list[Pair], evidence: _Evidence) -> dict[str, Any]:
    """Nothing to compute with: other shapes under the same names say more than names that differ."""
    if not weights:
        return _said("related", "possible", evidence, "no weights were compared")
    if any(p.status == "shape-changed" for p in weights):
        return _said("different-architecture", "likely", evidence, "no kernel has a partner of its shape")
    if evidence.lone or not any(p.status in COMPARED for p in weights):
        return _said("different-architecture", "possible", evidence, "no kernel of one save is named in the other")
    return _said("related", "possible", evidence, "names and shapes agree, too few kernel values to say more")


def _said(word: Word, certainty: str, evidence: _Evidence, reason: str) -> dict[str, Any]:
    return {"verdict": word, "certainty": certainty, "evidence": evidence.facts(reason)}


def _gather(rows: Sequence[RelationRow]) -> _Evidence:
    kernels = [r for r in rows if r.pair.role in KERNELS and (r.pair.count or 0) >= FEWEST_VALUES]
    told = [r for r in kernels if r.pair.status in COMPARED]
    known = [(r.centred_cosine, r.pair.count or 0) for r in told if r.centred_cosine is not None]
    slots = [
        abs(r.centred_cosine) * math.sqrt(r.pair.count or 0)
        for r in rows
        if r.pair.role == "slot" and r.centred_cosine is not None and (r.pair.count or 0) >= FEWEST_VALUES
    ]
    counters = tuple(
        (r.pair.a or "", r.a_value, r.b_value)
        for r in rows
        if r.pair.role in COUNTERS and r.a_value is not None and r.b_value is not None
    )
    steps = [(a, b) for name, a, b in counters if _counts(name)]
    return _Evidence(
        compared=len(known),
        frozen=sum(r.pair.status == "identical" and r.centred_cosine is not None for r in told),
        z=tuple(c * math.sqrt(n) for c, n in known),
        cosines=tuple(c for c, _ in known),
        lone=sum(r.pair.status in ("only-a", "only-b", "shape-changed") for r in kernels),
        slots_z=sorted(slots)[len(slots) // 2] if slots else None,
        forward=bool(steps) and all(b >= a for a, b in steps) and any(b > a for a, b in steps),
        backward=bool(steps) and any(b < a for a, b in steps),
        earlier=bool(steps) and all(0 < b <= a for a, b in steps) and any(b < a for a, b in steps),
        counters=counters,
    )


def _counts(name: str) -> bool:
    """Counters that go up with training; learning rates and decay rates do not."""
    return any(word in name.lower() for word in ("step", "iter", "save_counter"))
