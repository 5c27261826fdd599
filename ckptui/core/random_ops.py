"""TensorFlow's ops that draw random numbers, by name, and whether what they draw is told by the graph. Pure.

The names are those of TensorFlow's op registry, version 2.21 and older.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ckptui.core.text import safe
from ckptui.core.vocabulary import Operation

SEEDED = frozenset(
    {
        "RandomUniform", "RandomUniformInt", "RandomStandardNormal", "TruncatedNormal", "ParameterizedTruncatedNormal",
        "RandomShuffle", "RandomGamma", "RandomPoisson", "RandomPoissonV2", "Multinomial", "RandomCrop",
        "SampleDistortedBoundingBox", "SampleDistortedBoundingBoxV2",
    }
)  # fmt: skip
"""Draw from a state of their own. With attributes `seed` and `seed2` both 0 the process chooses the seed, otherwise
every process draws the same sequence."""
GENERATOR = frozenset(
    {
        "StatefulUniform", "StatefulUniformInt", "StatefulUniformFullInt", "StatefulStandardNormalV2",
        "StatefulTruncatedNormal", "StatefulRandomBinomial",
    }
)  # fmt: skip
"""Draw from a generator that is a variable of the model."""
STATELESS = frozenset(
    {
        "StatelessRandomUniform", "StatelessRandomUniformV2", "StatelessRandomUniformInt",
        "StatelessRandomUniformIntV2", "StatelessRandomUniformFullInt", "StatelessRandomUniformFullIntV2",
        "StatelessRandomNormal", "StatelessRandomNormalV2", "StatelessTruncatedNormal", "StatelessTruncatedNormalV2",
        "StatelessParameterizedTruncatedNormal", "StatelessMultinomial", "StatelessRandomBinomial",
        "StatelessRandomGammaV2", "StatelessRandomGammaV3", "StatelessRandomPoisson",
        "StatelessSampleDistortedBoundingBox", "StatelessShuffle", "RandomIndexShuffle",
    }
)  # fmt: skip
"""Draw what the seed among their inputs says: another number each time only where that is another one each time."""
RANDOM = SEEDED | GENERATOR | STATELESS


def drawn(operation: Operation) -> str:
    """Where its numbers come from, in words."""
    if operation.op in STATELESS:
        return "its seed is one of its inputs: a seed that stays the same draws the same"
    if operation.op in GENERATOR:
        return "it draws from a generator that the model keeps"
    seeds = [int(operation.attributes.get(name, 0)) for name in ("seed", "seed2")]
    if not any(seeds):
        return "not seeded: no two processes agree"
    return f"seeded with {seeds[0]} and {seeds[1]}: every process repeats the same sequence"


def with_seen(operations: Sequence[Operation], model: Mapping[str, Any] | None) -> tuple[Operation, ...]:
    """The operations a save's own graph tells, and those that a loaded model's `random` facts name besides."""
    names = {operation.name for operation in operations}
    seen = [entry for entry in (model or {}).get("random") or () if entry.get("op") in RANDOM]
    more = [entry for entry in seen if entry.get("name") not in names]
    return (*operations, *map(_operation, more))


def _operation(entry: Mapping[str, Any]) -> Operation:
    seeds = {key: entry[key] for key in ("seed", "seed2") if key in entry}
    return Operation(safe(str(entry["name"])), str(entry["op"]), seeds)
