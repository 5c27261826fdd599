"""Causes that show in what a model answers, judged from a prediction, with the layer named where one is known. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ckptui.core.causes import Symptom
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
from ckptui.core.model import ArchitectureRow, Certainty, ManyImages, Move, Predicted, Run
from ckptui.core.text import number_text

AS_RECORDED = 1e-3
"""Scores within this are the recorded ones: servers print three to six digits."""
ENOUGH_IMAGES = 20
"""Images below which nothing is said of a training."""
TURN = "rotate-90"
"""The control that a flip is held against: as large a change as a flip is."""
REACTS, FOLLOWS = 0.4, 0.1
"""A flip's lower bound above this share of what the turn does, where the turn does at least that much: the bounds by
which many images are judged, measured in docs/many-images.md."""
FLIPS = ("flip-left-right", "flip-up-down", "rotate-180")
RANDOM_OPS = ("Random", "StatelessRandom", "Multinomial")


def symptoms_shown(gathered: Gathered) -> tuple[Symptom, ...]:
    """The symptoms that the prediction shows.

    A flip that changes an answer is a fact of an image: it counts where it is asked about, or over many images.
    """
    shown: list[Symptom] = []
    if gathered.has("constant-output"):
        shown.append("constant")
    many = gathered.report.many if gathered.report is not None else None
    flips = gathered.has("flip-changes-prediction") or bool(_same_unless_flipped(gathered))
    if (flips and gathered.symptom == "flip") or (many is not None and _one_sided(many)):
        shown.append("flip")
    unstable = ("nondeterministic", "reload-differs", "batch-dependent", "versions-differ", "expectation-differs")
    if any(gathered.has(code) for code in unstable):
        shown.append("unstable")
    return tuple(shown)


def of_behaviour(gathered: Gathered) -> Iterator[Judged]:
    """Everything that the answers say."""
    yield from _constant(gathered)
    yield from _range(gathered)
    yield from _flip_training(gathered)
    yield from _flip_preprocessing(gathered)
    yield from _layout(gathered)
    yield from _random(gathered)
    yield from _batch(gathered)
    yield from _reload(gathered)
    yield from _versions(gathered)
    yield from _recorded(gathered)


# ---------------------------------------------------------------------- the same for every input


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
    if report.model.get("connected") is False or (loose and not report.dies_at):
        names = ", ".join(row.name for row in loose)
        more = [f"input {names} leads to no output" if names else "the graph has no path from an input to the output"]
        yield cause("output-disconnected", "confirmed", 1.0, [*said, *more], found, where=names or None)
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
                title=f"The input ends at layer {where}: its output is the same for every input")  # fmt: skip
    yield out("output-disconnected", f"the output hangs on the input as far as {where}")


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


# ---------------------------------------------------------------------- flips


def _one_sided(many: ManyImages) -> list[Move]:
    """Flips that move the answers as a turn by 90 degrees does: no training has made the model bear them."""
    turn = next((move for move in many.moves if move.name == TURN), None)
    if many.images < ENOUGH_IMAGES or turn is None or turn.low < FOLLOWS:
        return []
    return [m for m in many.moves if m.name in FLIPS and m.low > REACTS * turn.mean]


def _flip_training(gathered: Gathered) -> Iterator[Judged]:
    many = gathered.report.many if gathered.report is not None else None
    if many is None:
        why = f" ({gathered.why_not})" if gathered.folder_asked else ""
        yield unasked(
            "one-sided-training", f"only many images tell: give --images DIR with {ENOUGH_IMAGES} or more{why}"
        )
        return
    if many.images < ENOUGH_IMAGES:
        yield unasked("one-sided-training", f"{many.images} images are too few: {ENOUGH_IMAGES} or more tell")
        return
    sided = _one_sided(many)
    controls = ", ".join(f"{move.name} {number_text(move.mean, 2)}" for move in many.moves if move.control)
    if not sided:
        flips = ", ".join(f"{move.name} {number_text(move.mean, 2)}" for move in many.moves if not move.control)
        told = f"over {many.images} images no flip moves the answer as a turn does: {flips}; controls: {controls}"
        yield out("one-sided-training", told)
        return
    evidence = [
        f"over {many.images} images {move.name} moves the answer by {number_text(move.mean, 2)} "
        f"({number_text(move.low, 2)} to {number_text(move.high, 2)}, {many.measure})"
        for move in sided
    ]
    evidence += [f"controls: {controls}", *([many.verdict] if many.verdict else [])]
    yield cause("one-sided-training", "likely", 0.8, evidence, ["flip-changes-prediction"])


def _flip_preprocessing(gathered: Gathered) -> Iterator[Judged]:
    live = [row for row in gathered.live() if kind_of(row) in ("RandomFlip", "RandomRotation", "RandAugment")]
    turned = [row for row in gathered.architecture if kind_of(row) == "Permute" and _swaps(row.config)]
    recorded = _recorded_flip(gathered)
    if recorded:
        image, run = recorded
        told = f"{image.path}: what was recorded for it is the answer to the image after {run.name}"
        yield cause("preprocessing-flips", "likely", 1.0, [told], ["expectation-differs"])
    elif live:
        turning = [f"layer {row.name} ({kind_of(row)}) is called with training=True: it turns images at inference"
                   for row in live]  # fmt: skip
        sure: Certainty = "confirmed" if gathered.has("nondeterministic") else "likely"
        yield cause("preprocessing-flips", sure, 0.8, turning, where=live[0].name)
    elif turned:
        swapping = [f"layer {row.name} (Permute) swaps height and width: {row.config.get('dims')}" for row in turned]
        yield cause("preprocessing-flips", "possible", 0.8, swapping, where=turned[0].name)
    elif any(image.expected is not None for image in gathered.answered()):
        yield out("preprocessing-flips", "no flip of an image gives what was recorded for it")
    elif gathered.architecture:
        told_out = "no layer turns images; for the code around the model give --expect with the other side's answers"
        yield unasked("preprocessing-flips", told_out)
    else:
        yield unasked("preprocessing-flips", "give --expect with the answers of the other side")


def _swaps(config: Mapping[str, Any]) -> bool:
    """A Permute of an image's height and width."""
    dims = config.get("dims")
    return isinstance(dims, (list, tuple)) and list(dims)[:2] == [2, 1]


def _recorded_flip(gathered: Gathered) -> tuple[Predicted, Run] | None:
    """An image whose recorded answer is that of one of its flips."""
    for image in gathered.answered():
        if image.expected is None or image.expected.within or not image.expected.top:
            continue
        for run in image.runs:
            if run.name in FLIPS and not run.error and same_scores(image.expected.top, run.top):
                return image, run
    return None


def same_scores(one: Sequence[tuple[int, str, float]], other: Sequence[tuple[int, str, float]]) -> bool:
    """The same best answers with the same scores, as far as recorded digits go."""
    scores = {index: score for index, _, score in other}
    shared = [(score, scores[index]) for index, _, score in one if index in scores]
    if not one or not other or one[0][0] != other[0][0] or len(shared) < min(len(one), len(other)):
        return False
    return all(abs(a - b) <= AS_RECORDED * max(1.0, abs(a)) for a, b in shared)


def _same_unless_flipped(gathered: Gathered) -> list[str]:
    """Flips that move the answer of images which all have the same one."""
    images = gathered.answered()
    outputs = {run.output for run in gathered.runs("original") if run.output}
    if len(images) < 2 or len(outputs) != 1 or gathered.has("constant-output") or gathered.has("nondeterministic"):
        return []
    return [name for name in FLIPS if any(run.identical is False and run.max_abs_diff for run in gathered.runs(name))]


def _layout(gathered: Gathered) -> Iterator[Judged]:
    moved = _same_unless_flipped(gathered)
    images = gathered.answered()
    if moved:
        told = f"{len(images)} images have the same answer to the bit; {' and '.join(moved)} changes it"
        yield cause("layout-input", "likely", 0.95, [told], where=None)
    elif gathered.has("constant-output"):
        yield out("layout-input", "no flip changes the answer either")
    elif len(images) >= 2:
        yield out("layout-input", f"{len(images)} images have different answers before any flip")
    else:
        yield unasked("layout-input", "give several different images")


# ---------------------------------------------------------------------- another answer each time


def _random(gathered: Gathered) -> Iterator[Judged]:
    found = gathered.of("nondeterministic")
    live = gathered.live_random()
    ops = [op for op in gathered.operations if op.op.startswith(RANDOM_OPS)]
    named = [f"layer {row.name} ({kind_of(row)}) is called with training=True" for row in live]
    named += [f"the served graph runs {op.op} at {op.name}" for op in ops[:3]] if not live else []
    where = live[0].name if live else ops[0].name if ops else None
    if found:
        seeded = bool(found[0].evidence.get("seeded"))
        how = "seeded: every process repeats the same sequence" if seeded else "not seeded: no two processes agree"
        what = f"{kind_of(live[0])} {live[0].name}" if live else "a random op"
        title = f"Random at inference: {what} is live, {'seeded' if seeded else 'not seeded'}"
        if not named:
            named = ["no layer's call says training=True: a custom layer or an op outside the layers draws"]
        yield cause("live-dropout", "confirmed", 1.0, [*lines(gathered, found), how, *named], found, where=where,
                    title=title)  # fmt: skip
    elif gathered.runs("repeat"):
        yield out("live-dropout", f"three calls with the same input give the same bits, for {_images(gathered)}")
    elif live:
        yield cause("live-dropout", "likely", 1.0, named, where=where, factor=UNASKED)
    else:
        yield unasked("live-dropout", f"{gathered.why_not}; a prediction would tell")


def _images(gathered: Gathered) -> str:
    count = len(gathered.answered())
    return f"{count} image{'s' if count != 1 else ''}"


def _batch(gathered: Gathered) -> Iterator[Judged]:
    found = gathered.of("batch-dependent")
    live = [row for row in gathered.live() if kind_of(row) == "BatchNormalization"]
    ops = [op for op in gathered.operations if op.attributes.get("is_training") is True]
    named = [f"layer {row.name} (BatchNormalization) is called with training=True" for row in live]
    named += [f"the served graph runs {op.op} at {op.name} with is_training" for op in ops[:3]] if not live else []
    where = live[0].name if live else ops[0].name if ops else None
    if found:
        yield cause("batch-statistics", "confirmed", 1.0, [*lines(gathered, found), *named], found, where=where)
    elif named:
        asked = bool(gathered.runs("in-batch"))
        yield cause("batch-statistics", "likely", 1.0, named, where=where, factor=UNSEEN if asked else UNASKED)
    elif gathered.runs("in-batch"):
        yield out("batch-statistics", "in a batch of others an image has the answer that it has alone")
    elif gathered.behaved:
        yield unasked("batch-statistics", "the model was not asked with an image in a batch of others")
    else:
        yield unasked("batch-statistics", f"{gathered.why_not}; a prediction would tell")


def _reload(gathered: Gathered) -> Iterator[Judged]:
    found = gathered.of("reload-differs")
    if found:
        explained = bool(gathered.of("weights-missing", "weights-never-saved"))
        yield cause("unsaved-state", "likely", 0.6 if explained else 0.9, lines(gathered, found), found)
    elif gathered.runs("reload") or gathered.runs("fresh-process"):
        if gathered.has("nondeterministic"):
            yield unasked("unsaved-state", "a model that answers at random answers so after a reload too")
        else:
            yield out("unsaved-state", "a reload and a fresh process give the same answer")
    else:
        yield unasked("unsaved-state", f"{gathered.why_not}; a prediction would tell")


def _versions(gathered: Gathered) -> Iterator[Judged]:
    found = gathered.of("versions-differ")
    if found:
        yield cause("other-tensorflow", "confirmed", 0.9, lines(gathered, found), found)
    elif rows := gathered.runs("other-tensorflow"):
        names = ", ".join(dict.fromkeys(run.detail for run in rows if run.detail))
        yield out("other-tensorflow", f"{names or 'another TensorFlow'} gives the same answer")
    else:
        yield unasked("other-tensorflow", "give --tf-python with the Python of the other environment")


def _recorded(gathered: Gathered) -> Iterator[Judged]:
    """Answers recorded elsewhere: does another preprocessing give them?"""
    held = [image for image in gathered.answered() if image.expected is not None and not image.expected.error]
    if not held:
        return
    apart = [image for image in held if image.expected is not None and not image.expected.within]
    if not apart:
        yield out("preprocessing-skew", f"{len(held)} recorded answers are given here too")
        return
    for image in apart:
        for variant in image.variants:
            assert image.expected is not None
            if not variant.chosen and same_scores(image.expected.top, variant.top):
                told = f"{image.path}: the recorded answer is given under {variant.preprocess}, not under "
                evidence = [told + image.preprocess]
                yield cause("preprocessing-skew", "likely", 1.0, evidence, ["expectation-differs"])
                return
    far = max((i.expected.max_abs_diff or 0.0) for i in apart if i.expected is not None)
    told = f"{len(apart)} of {len(held)} recorded answers differ, by up to {number_text(far)}"
    yield cause("preprocessing-skew", "possible", 0.7, [told, "no other preprocessing tried gives them"],
                ["expectation-differs"])  # fmt: skip
