"""What two models are fed, in which order their layers stand, and from which layers they take their inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ckptui.core.catalogue import make
from ckptui.core.config_sides import CODE, TRAINING_ONLY, Side, change, kind_of, name_of
from ckptui.core.layer_fields import shown
from ckptui.core.layer_order import Aligned
from ckptui.core.model import ArchitectureRow, Finding

_COMMUTE = frozenset({"Add", "Multiply", "Average", "Maximum", "Minimum"})


def input_shapes(path: str, one: Side, other: Side) -> Iterator[Finding]:
    """Inputs of another shape than their partners; inputs of another number are told by what takes them."""
    shapes = _inputs(one), _inputs(other)
    if len(shapes[0]) != len(shapes[1]):
        return
    for number, (a, b) in enumerate(zip(*shapes, strict=True)):
        apart = len(a[1]) != len(b[1]) or any(
            m is not None and n is not None and m != n for m, n in zip(a[1], b[1], strict=True)
        )
        if apart:
            # an axis without a size takes what comes: no other answer follows from that
            differs = change("input shape", list(a[1]), list(b[1]))
            which = f" {number + 1}" if len(shapes[0]) > 1 else ""
            yield make(
                CODE,
                path,
                title=f"Input{which}: shape {shown(list(a[1]))} against {shown(list(b[1]))}",
                evidence={"layer": b[0], "class": "InputLayer", "changes": [differs]},
            )


def _inputs(side: Side) -> list[tuple[str, tuple[Any, ...]]]:
    """Name and shape, without the batch, of each input as far as it is known."""
    rows = side.inputs or side.every[:1]
    out = []
    for row in rows:
        shape = next((row.config[name] for name in ("batch_shape", "batch_input_shape") if name in row.config), None)
        if isinstance(shape, (list, tuple)) and shape and all(n is None or type(n) is int for n in shape):
            out.append((row.name, tuple(shape[1:])))
    return out


def moved(path: str, one: Side, other: Side, fit: Aligned) -> Iterator[Finding]:
    """Layers at another place in the order; where both configs tell the wiring, that says it better."""
    both = any(row.inbound for row in one.every) and any(row.inbound for row in other.every)
    for left, right in () if both else fit.moved:
        a, b = one.rows[left], other.rows[right]
        before = [name_of(rows[place - 1]) if place else "the input" for rows, place in
                  ((one.rows, left), (other.rows, right))]  # fmt: skip
        yield make(
            CODE,
            path,
            title=f"{name_of(b)} stands elsewhere: behind {before[0]} against behind {before[1]}",
            evidence={
                "layer": b.name,
                "layer_a": a.name,
                "class": kind_of(b),
                "changes": [change("place", left, right)],
            },
        )


def wired(path: str, one: Side, other: Side, fit: Aligned) -> Iterator[Finding]:
    """Layers that take their inputs from other layers than their partners do."""
    ours, theirs = _sources(one), _sources(other)
    number = {left: n for n, (left, _) in enumerate(fit.pairs)}, {right: n for n, (_, right) in enumerate(fit.pairs)}
    for left, right in fit.pairs:
        a, b = one.rows[left], other.rows[right]
        from_a, from_b = _numbers(a, ours.get(left), number[0]), _numbers(b, theirs.get(right), number[1])
        if from_a is None or from_b is None or from_a == from_b:
            continue
        named = [
            [name_of(side.rows[place]) if place >= 0 else "the input" for call in calls for place in call]
            for side, calls in ((one, ours[left]), (other, theirs[right]))
        ]
        words = [", ".join(names[:4]) for names in named]
        yield make(
            CODE,
            path,
            title=f"{name_of(b)}: takes {words[0]} against {words[1]}",
            detail=f"{kind_of(b)} {name_of(b)}: its input comes from other layers",
            evidence={"layer": b.name, "layer_a": a.name, "class": kind_of(b), "changes": [change("inputs", *named)]},
        )


def _sources(side: Side) -> dict[int, list[list[int]]]:
    """Place of a layer to those its calls take, -1 - n for input n; what passes its input on is seen through.

    Only of layers of the model itself whose sources are all known.
    """
    places = {row.name: n for n, row in enumerate(side.rows) if row.depth == 0}
    inputs = {row.name: -1 - n for n, row in enumerate(side.inputs)}
    passed = {
        row.name: row.inbound[0][0]
        for row in side.every
        if row.depth == 0 and kind_of(row) in TRAINING_ONLY and len(row.inbound) == 1 and len(row.inbound[0]) == 1
    }
    out: dict[int, list[list[int]]] = {}
    for row in side.every:
        place = places.get(row.name)
        if row.depth or not row.inbound or place is None:
            continue
        calls = [[_through(name, passed) for name in call] for call in row.inbound]
        if all(name in places or name in inputs for call in calls for name in call):
            out[place] = [[places[name] if name in places else inputs[name] for name in call] for call in calls]
    return out


def _through(name: str, passed: Mapping[str, str]) -> str:
    seen = set()
    while name in passed and name not in seen:
        seen.add(name)
        name = passed[name]
    return name


def _numbers(row: ArchitectureRow, calls: Sequence[Sequence[int]] | None, number: Mapping[int, int]) -> Any:
    """The calls by pair numbers, so that both sides compare; None where a source has no partner (told elsewhere)."""
    if calls is None or any(place >= 0 and place not in number for call in calls for place in call):
        return None
    told = [[number[place] if place >= 0 else place for place in call] for call in calls]
    return sorted(sorted(call) if kind_of(row) in _COMMUTE else call for call in told)
