"""Where a model stops following its input: the layer after which nothing varies any more, and in what way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ckptui.core.model import LayerSpread
from ckptui.core.text import safe

CONSTANT = 1e-6
"""A spread of this share of the scale, or less, is rounding."""
ALL_FLAT = 0.999
"""Share of values on the edges of the activation from which a layer counts as saturated."""
INPUT = "InputLayer"
ENDS = frozenset({"relu", "relu6", "sigmoid", "hard_sigmoid", "tanh", "softsign", "softmax"})
"""Activations whose output can become one value for every input."""

How = Literal["dead", "saturated", "constant", "not finite", "disconnected"]


@dataclass(frozen=True, slots=True)
class Death:
    """The layer a model's input gets lost at."""

    layer: str
    """Empty for `disconnected`: no layer takes what varies."""
    how: How
    """dead: all zeros; saturated: on the edges of its activation; constant: the same values whatever it is given;
    not finite: the first with NaN or infinity; disconnected: no layer on the way is given anything that varies."""
    words: str
    weights: tuple[str, ...] = ()


def varies(row: LayerSpread) -> bool:
    """Its output differs between the probes by more than rounding; NaN in every probe is no difference."""
    return row.spread > CONSTANT * row.scale


def where_it_dies(rows: Sequence[LayerSpread], output: str | None = None) -> str | None:
    """The layer after which nothing on any way to the output varies; None where the output follows the input.

    `rows` are in the order of the calls; `output` restricts the question to one output of the model.
    """
    death = death_of(rows, output)
    return death.layer or None if death is not None else None


def death_of(rows: Sequence[LayerSpread], output: str | None = None) -> Death | None:
    """As `where_it_dies`, with the way it died."""
    path = ways_to(rows, output)
    ends = [place for place in path if rows[place].outputs and (output is None or output in rows[place].outputs)]
    ends = ends or path[-1:]
    if not ends or any(varies(rows[place]) for place in ends):
        return None
    frontier = [place for place in path if rows[place].fed and not varies(rows[place])]
    if not frontier:
        if not any(varies(row) for row in rows):
            return None
        return Death("", "disconnected", "no layer on the way to the output is given what varies")
    # With several branches the input lives on until the last of them has died.
    place = frontier[-1]
    if not rows[place].finite:
        place = next((p for p in path if not rows[p].finite and all(rows[s].finite for s in rows[p].sources)), place)
    row = rows[place]
    how, words = how_it_died(row)
    return Death(row.layer, how, words, row.weights)


def dead_branches(rows: Sequence[LayerSpread]) -> tuple[Death, ...]:
    """Layers that lose the input while the model goes on following it by another way, in the order of their calls.

    Layers with weights, and activations: plain functions give the same for every input by their nature, such as a
    shape, a mask or a position. What a dead layer is followed by is dead with it and is not told again.
    """
    if death_of(rows) is not None:
        return ()
    lost: set[int] = set()
    found = []
    for place in ways_to(rows, None):
        row = rows[place]
        if not row.fed or varies(row) or not row.finite:
            continue
        lost.add(place)
        if (row.weights or row.activation in ENDS or row.class_name == "Rescaling") and not lost & set(row.sources):
            found.append(Death(row.layer, *how_it_died(row), row.weights))
    return tuple(found)


def unreached(rows: Sequence[LayerSpread]) -> tuple[str, ...]:
    """Inputs of a graph of layers from which no way leads to an output; empty where the ways are not told."""
    if not any(row.outputs for row in rows):
        return ()
    path = set(ways_to(rows, None))
    return tuple(row.layer for place, row in enumerate(rows) if row.class_name == INPUT and place not in path)


def how_it_died(row: LayerSpread) -> tuple[How, str]:
    """The kind of a layer that no longer varies, and a sentence."""
    if not row.finite:
        return "not finite", f"{row.layer} gives NaN or infinity"
    if row.flat >= ALL_FLAT and row.activation not in ("relu6",):
        return "saturated", f"{row.layer} is saturated: its {row.activation} stays at its ends whatever it is given"
    if row.zeros >= 1.0:
        return "dead", f"{row.layer} is dead: every value it gives is 0"
    return "constant", f"{row.layer} gives the same values whatever it is given"


def ways_to(rows: Sequence[LayerSpread], output: str | None) -> list[int]:
    """Places of the rows on any way to the output, in order; all where no row says that it gives it."""
    waiting = [place for place, row in enumerate(rows) if (output in row.outputs if output else row.outputs)]
    if not waiting:
        return list(range(len(rows)))
    found: set[int] = set()
    while waiting:
        place = waiting.pop()
        if place not in found:
            found.add(place)
            waiting += [source for source in rows[place].sources if 0 <= source < place]
    return sorted(found)


def spread_of(row: Mapping[str, Any]) -> LayerSpread:
    """A row of the worker's answer; every text made harmless."""
    spread = row["spread"]
    return LayerSpread(
        layer=safe(str(row["layer"])),
        class_name=safe(str(row["class"])),
        shape=tuple(None if extent is None else int(extent) for extent in row["shape"]),
        spread=float("inf") if spread is None else float(spread),
        scale=float(row["scale"]),
        zeros=float(row["zeros"]),
        finite=bool(row["finite"]),
        weights=tuple(safe(str(name)) for name in row["weights"]),
        fed=bool(row["fed"]),
        sources=tuple(int(place) for place in row["sources"]),
        outputs=tuple(safe(str(name)) for name in row["outputs"]),
        activation=safe(str(row["activation"])),
        flat=float(row["flat"]),
    )
