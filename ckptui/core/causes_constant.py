"""Why an answer is the same for every input: where the input gets lost, by a prediction and the layers. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ckptui.core.causes_kinds import (
    UNASKED,
    UNPREDICTED,
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
from ckptui.core.model import ArchitectureRow, Finding
from ckptui.core.text import number_text

FLIPS = ("flip-left-right", "flip-up-down", "rotate-180")
PRESSED = 1 / 64
"""A Rescaling that multiplies by this or less makes small numbers of pixels: one does, two undo the image."""
NEARLY = 0.01
"""Answers to different images within this share of their scale are the same for all that matters."""
SURE = 0.99
"""Probabilities above this say that images of one kind get one answer."""
MOST_BRANCHES = 4
"""Layers that are told one by one."""
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
    if not found:
        yield from _not_constant(gathered, closed, loose_inputs(gathered))
        return
    loose = [row.name for row in unreached_inputs(gathered.architecture)]
    report = gathered.report
    assert report is not None
    said = lines(gathered, found)
    cut = _unconnected(report.model)
    if cut or gathered.death[0] == "disconnected" or (loose and not report.dies_at):
        names = ", ".join(cut or loose)
        more = f"nothing of input {names} but its shape gets to an output" if names else gathered.death[1]
        yield cause("output-disconnected", "confirmed", 1.0, [*said, more], found, where=names or None)
        return
    where = report.dies_at or (closed[0][0].name if closed else None)
    if where is None:
        yield _somewhere(gathered, said, found)
        yield unasked("output-disconnected", "the path from input to output can't be followed in this model")
        return
    evidence = [*said, *_dies(gathered, where), *gathered.ending]
    evidence += [words for row, words in closed if row.name == where]
    bare = where.rpartition("/")[2]
    about = [f for f in gathered.of("all-zero", "constant", "non-finite", "at-initializer", "dead-filters")
             if gathered.layers.get(f.tensor or "") in (where, bare)]  # fmt: skip
    evidence += [f"its weights: {line}" for line in lines(gathered, about)]
    yield cause("dead-layer", best_of(*(f.certainty for f in found)), 1.0, evidence, [*found, *about], where=where,
                title=f"The input ends at layer {where}: {HOW.get(gathered.death[0], HOW['constant'])}")  # fmt: skip
    if loose:
        yield _loose(loose, "")
    else:
        yield out("output-disconnected", f"the output hangs on the input as far as {where}")


def _somewhere(gathered: Gathered, said: Sequence[str], found: Sequence[Finding]) -> Judged:
    """The input gets lost, and no layer can be called: a bias far beyond all others says where, if there is one."""
    both = "nothing between input and output could be looked at layer by layer"
    if not gathered.far_off:
        title = "Nothing of the input reaches the output"
        return cause("dead-layer", "likely", 0.8, [*said, both], found, title=title)
    where, words = gathered.far_off
    title = f"Nothing of the input reaches the output: it most likely ends at {where}"
    return cause("dead-layer", "likely", 0.9, [*said, both, words], found, where=where, title=title)


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
            elif row.flat >= 0.5 and row.activation:
                told[0] += f"; {100 * row.flat:.4g} % of its values lie at the ends of its {row.activation}"
            if place:
                before = rows[place - 1]
                told.append(f"layer {before.layer} before it still varies by {number_text(before.spread)}")
            return told
    return []


def _not_constant(
    gathered: Gathered, closed: Sequence[tuple[ArchitectureRow, str]], loose: Sequence[str]
) -> Iterator[Judged]:
    moved = _largest_move(gathered)
    tried = gathered.unjudged or "no other input was tried"
    missing = tried if gathered.behaved else UNPREDICTED
    reason = f"the answer follows its input: {moved}" if moved else ""
    factor = UNSEEN if gathered.behaved and not gathered.unjudged else UNASKED
    if loose:
        yield _loose(loose, moved)
    elif moved:
        yield out("output-disconnected", reason)
    else:
        yield unasked("output-disconnected", missing, gathered.predict_by)
    arising = [f for f in gathered.of("non-finite") if f.tensor is None]
    if arising and gathered.values_read and not any(f.tensor for f in gathered.of("non-finite")):
        yield _arising(gathered, arising)
    elif closed and not moved:
        row, words = closed[0]
        yield cause("dead-layer", "likely", 1.0, [words], where=row.name, factor=factor)
    elif gathered.branches:
        yield _branches(gathered)
    elif moved:
        yield out("dead-layer", reason)
    else:
        yield unasked("dead-layer", missing, gathered.predict_by)


def _arising(gathered: Gathered, found: Sequence[Finding]) -> Judged:
    """NaN or infinity that no weight holds: it is computed, by the first layer that gives it where that is known."""
    rows = gathered.report.layers if gathered.report is not None else ()
    row = next((row for row in rows if not row.finite), None)
    evidence = [*lines(gathered, found), "every weight is finite: it arises on the way"]
    if row is None:
        title = "NaN or infinity arises on the way to the output"
        return cause("dead-layer", "likely", 0.9, evidence, found, title=title)
    evidence.append(f"layer {row.layer} ({row.class_name}) is the first that gives it")
    title = f"NaN or infinity arises at layer {row.layer}"
    return cause("dead-layer", "confirmed", 1.0, evidence, found, where=row.layer, title=title)


def _loose(names: Sequence[str], moved: str) -> Judged:
    """Inputs that lead to no output: a fault of the wiring, whatever the others do."""
    several = len(names) > 1
    told = f"input{'s' if several else ''} {', '.join(names)} lead{'' if several else 's'} to no output"
    evidence = [told, *([f"another input does: {moved}"] if moved else [])]
    title = f"Input {', '.join(names)} is not connected to any output"
    where = ", ".join(names)
    return cause("output-disconnected", "confirmed", 0.9, evidence, where=where, title=title, factor=UNASKED)


def _branches(gathered: Gathered) -> Judged:
    """Layers that lose the input beside a way on which it lives on: a fact of the model, and no constant answer."""
    names = [name for name, _ in gathered.branches]
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    words = [words for _, words in gathered.branches[:MOST_BRANCHES]]
    if len(names) > MOST_BRANCHES:
        words.append(f"and {len(names) - MOST_BRANCHES} more")
    words += [*gathered.ending, "the answer follows its input by another way"]
    title = f"A branch of the model lets nothing of the input through: it ends at layer {names[0]}{more}"
    return cause("dead-layer", "likely", 0.8, words, where=names[0], title=title, factor=UNSEEN)


def _largest_move(gathered: Gathered) -> str:
    """The probe or flip that moves an answer most, and how far; empty where none does, or none can be judged."""
    moves = list(gathered.silent_moves.items())
    ending = " with training=False" if moves else ""
    if not gathered.unjudged:
        spoiled = gathered.has("nondeterministic") or any(f.tensor is None for f in gathered.of("non-finite"))
        images = gathered.answered()
        moves += [(p.name, p.max_abs) for image in images for p in image.probes if not p.identical]
        if not spoiled:
            moves += [(r.name, r.max_abs_diff) for name in FLIPS for r in gathered.runs(name) if r.max_abs_diff]
    moves = [(name, far) for name, far in moves if math.isfinite(far) and far > 0]
    if not moves:
        return ""
    name, far = max(moves, key=lambda move: move[1])
    return f"{name} moves it by {number_text(far)}{ending}"


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
        elif config.get("activation") == "softmax" and 1 in (config.get("units"), config.get("filters")):
            found.append((row, f"layer {row.name} ({kind}) is a softmax over one unit: that is 1 whatever it is given"))
    return found


def loose_inputs(gathered: Gathered) -> list[str]:
    """Inputs that lead to no output, by the layers' wiring, by their calls or by the graph that is served."""
    names = [row.name for row in unreached_inputs(gathered.architecture)]
    names += gathered.unreached
    connected = gathered.report.model.get("connected") if gathered.report is not None else None
    if isinstance(connected, Mapping):
        names += [str(name) for name, reached in connected.items() if not reached]
    return list(dict.fromkeys(names))


def unreached_inputs(rows: Sequence[ArchitectureRow]) -> list[ArchitectureRow]:
    """Inputs of a functional model that lead to no layer at all; empty where the wiring is not told."""
    top = [row for row in rows if row.depth == 0]
    used = {name for row in top for call in row.inbound for name in call}
    inputs = [row for row in top if kind_of(row) == "InputLayer"]
    if not used or len(top) == len(inputs):
        return []
    return [row for row in inputs if row.name not in used]


def nearly_constant(gathered: Gathered) -> float | None:
    """How far the answers to several images are apart, as a share of their scale, where that is next to nothing.

    None where it is more, where best answers differ, where the model is certain (images of one kind get the same then)
    and where nobody says that the answers are all the same: images may well be alike.
    """
    if gathered.symptom != "constant" or gathered.unjudged or gathered.has("constant-output"):
        return None
    if any(image.path.startswith("noise-") for image in gathered.answered()):
        # one noise is as good as another: it is no image that somebody showed the model
        return None
    runs = [run for image in gathered.answered() for run in image.runs if run.name == "original" and run.output]
    outputs = [run.output for run in runs]
    if (
        len(outputs) < 2
        or len({len(output) for output in outputs}) > 1
        or len({run.top[:1] and run.top[0][0] for run in runs}) > 1
    ):
        return None
    scale = max(abs(value) for output in outputs for value in output)
    shares = all(0 <= value <= 1 for output in outputs for value in output)
    if not math.isfinite(scale) or scale == 0 or (shares and scale > SURE):
        return None
    apart = max(max(values) - min(values) for values in zip(*outputs, strict=True)) / scale
    return apart if apart < NEARLY else None


def _hardly(gathered: Gathered, apart: float) -> Judged:
    """The answer follows other inputs, and hardly these images: their range is the first thing to look at."""
    images = gathered.answered()
    moved = _largest_move(gathered)
    told = [
        f"the answers to {len(images)} images lie within {number_text(apart, 2)} of their scale, the best is the same"
    ]
    told += [f"it does follow other inputs: {moved}"] if moved else []
    best: dict[str, set[int]] = {}
    for variant in (v for image in images for v in image.variants if not v.chosen and v.top):
        best.setdefault(variant.preprocess, set()).add(variant.top[0][0])
    several = [name for name, classes in best.items() if len(classes) > 1]
    told += [f"under {name} the images have different best answers" for name in several]
    return cause("preprocessing-off", "likely" if several else "possible", 0.9, told,
                 title="The answer hardly follows these images: their range may not be the one of the training",
                 next_step="Compare the values that get to the first weights with those of the training.")  # fmt: skip


def scaled_twice(gathered: Gathered) -> tuple[list[str], str] | None:
    """Rescaling layers one behind the other that press 0..255 together twice, in words, and the last of them.

    By the calls of the layers, where these were looked at.
    """
    scales = {row.name: row.config.get("scale") for row in gathered.architecture if kind_of(row) == "Rescaling"}
    rows = gathered.report.layers if gathered.report is not None else ()
    chain: dict[int, list[tuple[str, float]]] = {}
    for place, row in enumerate(rows):
        behind = max((chain[source] for source in row.sources if source in chain), key=len, default=[])
        scale = scales.get(row.layer.rpartition("/")[2]) if row.class_name == "Rescaling" else None
        if type(scale) in (int, float) and 0 < abs(float(str(scale))) <= PRESSED:
            behind = [*behind, (row.layer, float(str(scale)))]
        if len(behind) > 1:
            told = [f"layer {name} (Rescaling) multiplies by {number_text(by)}" for name, by in behind]
            return [*told, "one behind the other: of 0..255 next to nothing is left"], behind[-1][0]
        # beyond a layer with weights another range begins
        if behind and not row.weights:
            chain[place] = behind
    return None


def _range(gathered: Gathered) -> Iterator[Judged]:
    """The same answer for all, but another one in another range: the range saturates something."""
    if gathered.of("normalization-unadapted"):
        return
    found = gathered.of("constant-output")
    if twice := scaled_twice(gathered):
        told, where = twice
        yield cause("preprocessing-off", "likely", 0.9, told, found, where=where,
                    factor=1.0 if found or nearly_constant(gathered) is not None else UNASKED,
                    title="The model scales its input twice",
                    next_step="Leave one Rescaling out: in the model, or in the code around it.")  # fmt: skip
        return
    variants = [v for image in gathered.answered() for v in image.variants if not v.chosen and not v.error]
    if found and variants and not gathered.unjudged:
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
        yield unasked("preprocessing-off", UNPREDICTED, gathered.predict_by)
    elif (apart := nearly_constant(gathered)) is not None:
        yield _hardly(gathered, apart)
    elif gathered.unjudged and (found or not gathered.silent_moves):
        yield unasked("preprocessing-off", gathered.unjudged)
    else:
        words = gathered.answered()[0].preprocess if gathered.answered() else ""
        yield out("preprocessing-off", f"no unadapted layer; the model gets {words}" if words else "no unadapted layer")
