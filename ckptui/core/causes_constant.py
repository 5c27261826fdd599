"""Why an answer is the same for every input: where the input gets lost, by a prediction and the layers. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ckptui.core.causes_kinds import (
    UNASKED,
    UNSEEN,
    Gathered,
    Judged,
    best_of,
    cause,
    lines,
    out,
    unasked,
)
from ckptui.core.config_sides import kind_of
from ckptui.core.model import ArchitectureRow
from ckptui.core.text import number_text

FLIPS = ("flip-left-right", "flip-up-down", "rotate-180")
HOW = {
    "dead": "it gives nothing but zeros",
    "saturated": "it is saturated",
    "constant": "its output is the same for every input",
    "not finite": "its output is not finite",
}
"""How a layer loses the input."""


def of_constant(gathered: Gathered) -> Iterator[Judged]:
    """Whether the answer follows its input, and where it stops to."""
    yield from _constant(gathered)
    yield from _range(gathered)


def _constant(gathered: Gathered) -> Iterator[Judged]:
    found = gathered.of("constant-output")
    closed = closed_layers(gathered.architecture)
    loose = unreached_inputs(gathered.architecture)
    if not found:
        yield from _not_constant(gathered, closed, loose)
        return
    report = gathered.report
    assert report is not None
    said = lines(gathered, found)
    cut = _unconnected(report.model)
    if cut or gathered.death[0] == "disconnected" or (loose and not report.dies_at):
        names = ", ".join(cut or [row.name for row in loose])
        more = f"nothing of input {names} but its shape gets to an output" if names else gathered.death[1]
        yield cause("output-disconnected", "confirmed", 1.0, [*said, more], found, where=names or None)
        return
    where = report.dies_at or (closed[0][0].name if closed else None)
    if where is None:
        both = "nothing between input and output could be looked at layer by layer"
        yield cause("dead-layer", "likely", 0.8, [*said, both], found, title="Nothing of the input reaches the output")
        yield unasked("output-disconnected", "the path from input to output can't be followed in this model")
        return
    evidence = [*said, *_dies(gathered, where), *(words for row, words in closed if row.name == where)]
    bare = where.rpartition("/")[2]
    about = [f for f in gathered.of("all-zero", "constant", "non-finite", "at-initializer", "dead-filters")
             if gathered.layers.get(f.tensor or "") in (where, bare)]  # fmt: skip
    evidence += [f"its weights: {line}" for line in lines(gathered, about)]
    yield cause("dead-layer", best_of(*(f.certainty for f in found)), 1.0, evidence, [*found, *about], where=where,
                title=f"The input ends at layer {where}: {HOW.get(gathered.death[0], HOW['constant'])}")  # fmt: skip
    yield out("output-disconnected", f"the output hangs on the input as far as {where}")


def _unconnected(model: Mapping[str, Any]) -> list[str]:
    """The inputs, where the graph could be followed and none of them gets to an output."""
    connected = model.get("connected")
    if not isinstance(connected, Mapping) or not connected or any(connected.values()):
        return []
    return [str(name) for name in connected]


def _dies(gathered: Gathered, where: str) -> list[str]:
    """What the activations of the layer and of the one before it say."""
    report = gathered.report
    rows = report.layers if report is not None else ()
    for place, row in enumerate(rows):
        if row.layer == where:
            told = [f"layer {row.layer} ({row.class_name}): its output varies by {number_text(row.spread)}"]
            if not row.finite:
                told = [f"layer {row.layer} ({row.class_name}): its output is not finite"]
            elif row.zeros == 1:
                told[0] += ", and is 0 throughout"
            if place:
                before = rows[place - 1]
                told.append(f"layer {before.layer} before it still varies by {number_text(before.spread)}")
            return told
    return []


def _not_constant(
    gathered: Gathered, closed: Sequence[tuple[ArchitectureRow, str]], loose: Sequence[ArchitectureRow]
) -> Iterator[Judged]:
    moved = _largest_move(gathered)
    if moved is not None:
        name, far = moved
        reason = f"the answer follows its input: {name} moves it by {number_text(far)}"
        yield out("output-disconnected", reason)
        yield out("dead-layer", reason)
        return
    missing = gathered.why_not if not gathered.behaved else "no other input was tried"
    factor = UNSEEN if gathered.behaved else UNASKED
    if closed:
        row, words = closed[0]
        yield cause("dead-layer", "likely", 1.0, [words], where=row.name, factor=factor)
    else:
        yield unasked("dead-layer", f"{missing}; a prediction would tell")
    if loose:
        names = ", ".join(row.name for row in loose)
        yield cause(
            "output-disconnected", "likely", 1.0, [f"input {names} leads to no output"], where=names, factor=factor
        )
    else:
        yield unasked("output-disconnected", f"{missing}; a prediction would tell")


def _largest_move(gathered: Gathered) -> tuple[str, float] | None:
    """The probe or flip that moves an answer most; None where nothing else was tried, or nothing moves it."""
    moves = [(p.name, p.max_abs) for image in gathered.answered() for p in image.probes if not p.identical]
    moves += [(r.name, r.max_abs_diff) for name in FLIPS for r in gathered.runs(name) if r.max_abs_diff]
    return max(moves, key=lambda move: move[1], default=None)


def closed_layers(rows: Sequence[ArchitectureRow]) -> list[tuple[ArchitectureRow, str]]:
    """Layers whose configuration lets nothing through, each with the reason in words."""
    found = []
    for row in rows:
        kind, config = kind_of(row), row.config
        scale = config.get("scale")
        scales = scale if isinstance(scale, list) else [scale]
        if kind == "Rescaling" and all(type(s) in (int, float) and s == 0 for s in scales):
            found.append((row, f"layer {row.name} (Rescaling) multiplies by 0"))
        elif kind.endswith("Dropout") and config.get("rate") == 1 and row.live:
            found.append((row, f"layer {row.name} ({kind}) drops everything"))
    return found


def unreached_inputs(rows: Sequence[ArchitectureRow]) -> list[ArchitectureRow]:
    """Inputs of a functional model that lead to no layer at all; empty where the wiring is not told."""
    top = [row for row in rows if row.depth == 0]
    used = {name for row in top for call in row.inbound for name in call}
    inputs = [row for row in top if kind_of(row) == "InputLayer"]
    if not used or len(top) == len(inputs):
        return []
    return [row for row in inputs if row.name not in used]


def _range(gathered: Gathered) -> Iterator[Judged]:
    """The same answer for all, but another one in another range: the range saturates something."""
    if gathered.of("normalization-unadapted"):
        return
    found = gathered.of("constant-output")
    variants = [v for image in gathered.answered() for v in image.variants if not v.chosen and not v.error]
    if found and variants:
        moved = [v for v in variants if v.max_abs_diff]
        if moved:
            best = max(moved, key=lambda v: v.max_abs_diff or 0)
            image = gathered.answered()[0]
            evidence = [
                f"under {image.preprocess} ({number_text(image.low)} to {number_text(image.high)}) every input gives "
                "the same",
                f"under {best.preprocess} ({number_text(best.low)} to {number_text(best.high)}) the answer is another, "
                f"by {number_text(best.max_abs_diff)}",
            ]
            yield cause("preprocessing-off", "possible", 0.9, evidence, found)
        else:
            yield out("preprocessing-off", f"{len(variants)} other preprocessings give the same answer too")
    elif not gathered.behaved:
        yield unasked("preprocessing-off", f"{gathered.why_not}; a prediction would tell")
    else:
        words = gathered.answered()[0].preprocess if gathered.answered() else ""
        yield out("preprocessing-off", f"no unadapted layer; the model gets {words}" if words else "no unadapted layer")
