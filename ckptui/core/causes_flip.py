"""Why an answer changes when the image is flipped: training, preprocessing, layout. Pure.

Mirror-symmetric filters are no cause of it: they make an answer survive flips.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ckptui.core.causes_kinds import (
    UNPREDICTED,
    Gathered,
    Judged,
    cause,
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


TURNING_FUNCTIONS = {
    "flip_left_right": "mirrors the image from left to right",
    "flip_up_down": "mirrors the image upside down",
    "rot90": "turns the image by 90 degrees",
    "transpose": "swaps height and width",
}
"""Functions of `tf.image`, by what they do."""
IMAGE_AXES = 4
CERTAIN = 5e-3
"""A score as near to 0 or 1 as this is what any model that is certain gives."""


def of_flips(gathered: Gathered) -> Iterator[Judged]:
    """What flips of one image and of many say."""
    yield from _flip_training(gathered)
    yield from _flip_preprocessing(gathered)
    yield from _layout(gathered)


def one_sided(many: ManyImages) -> list[Move]:
    """Flips that move the answers as a turn by 90 degrees does: no training has made the model bear them."""
    turn = next((move for move in many.moves if move.name == TURN), None)
    if many.images < ENOUGH_IMAGES or turn is None or turn.low < FOLLOWS:
        return []
    return [m for m in many.moves if m.name in FLIPS and m.low > REACTS * turn.mean]


def _flip_training(gathered: Gathered) -> Iterator[Judged]:
    many = gathered.report.many if gathered.report is not None else None
    if many is None:
        if gathered.folder_asked:
            yield unasked("one-sided-training", UNPREDICTED, gathered.predict_by)
        else:
            reason = f"one image can't tell, {ENOUGH_IMAGES} or more in a folder do"
            yield unasked("one-sided-training", reason, "--images DIR")
        return
    if many.images < ENOUGH_IMAGES:
        yield unasked("one-sided-training", f"{many.images} images are too few: {ENOUGH_IMAGES} or more tell")
        return
    sided = one_sided(many)
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
    turned = turning_layers(gathered.architecture)
    recorded = _recorded_flip(gathered)
    if recorded:
        image, run = recorded
        told = f"{image.path}: what was recorded for it is the answer to the image after {run.name}"
        sure: Certainty = "likely" if tells(gathered) else "possible"
        yield cause("preprocessing-flips", sure, 1.0, [told], ["expectation-differs"])
    elif live:
        turning = [f"layer {row.name} ({kind_of(row)}) is called with training=True: it turns images at inference"
                   for row in live]  # fmt: skip
        sure = "confirmed" if gathered.has("nondeterministic") else "likely"
        yield cause("preprocessing-flips", sure, 0.8, turning, where=live[0].name)
    elif turned:
        swapping = [f"layer {row.name} ({kind_of(row)}) {words}" for row, words in turned]
        yield cause("preprocessing-flips", "possible", 0.8, swapping, where=turned[0][0].name)
    elif any(image.expected is not None for image in gathered.answered()):
        yield out("preprocessing-flips", "no flip of an image gives what was recorded for it")
    elif gathered.architecture:
        told_out = "no layer turns images; the code around the model shows in answers recorded on the other side"
        yield unasked("preprocessing-flips", told_out, "--expect FILE")
    else:
        yield unasked("preprocessing-flips", "answers recorded on the other side would tell", "--expect FILE")


def turning_layers(rows: Sequence[ArchitectureRow]) -> list[tuple[ArchitectureRow, str]]:
    """Layers that turn or mirror the image itself, each with what it does: those before the first with weights.

    Further on they arrange features: heads of an attention, channels that are shuffled.
    """
    images: set[str] = set()
    found, before = [], ""
    for row in (row for row in rows if row.depth == 0):
        shape = row.config.get("batch_shape") or row.config.get("batch_input_shape")
        sources = {name for call in row.inbound for name in call} or {before} - {""}
        if shape is not None:
            image = isinstance(shape, (list, tuple)) and len(shape) == IMAGE_AXES
        else:
            # the first layer of a model whose input's shape is not told may well get an image
            image = sources <= images
        if image and not row.parameters and not row.weights:
            images.add(row.name)
            words = _turns(row)
            found += [(row, words)] if words else []
        before = row.name
    return found


def _turns(row: ArchitectureRow) -> str:
    """What a layer or a plain function does to the two sides of an image [batch, height, width, channels]; or ""."""
    kind, config = kind_of(row), row.config
    axes = {"Permute": ("dims", [[2, 1, 3]]), "Transpose": ("axes", [[0, 2, 1, 3]])}.get(kind)
    if axes is not None and list(config.get(axes[0]) or ()) in axes[1]:
        return f"swaps height and width: {config.get(axes[0])}"
    if kind == "Swapaxes" and {config.get("axis1"), config.get("axis2")} in ({1, 2}, {-3, -2}, {1, -2}, {2, -3}):
        return "swaps height and width"
    if kind == "Rot90" and isinstance(config.get("k"), int) and config["k"] % 4:
        return f"turns the image by {90 * (config['k'] % 4)} degrees"
    if kind == "Flip":
        axis = config.get("axis")
        along = {axis} if isinstance(axis, int) else set(axis) if isinstance(axis, (list, tuple)) else {1, 2}
        return f"mirrors the image along axis {axis}" if along & {1, 2, -2, -3} else ""
    function = str(config.get("function") or "")
    return TURNING_FUNCTIONS.get(function.rpartition("image.")[2], "") if "image." in function else ""


def _recorded_flip(gathered: Gathered) -> tuple[Predicted, Run] | None:
    """An image whose recorded answer is that of one of its flips, where that flip explains every one that differs.

    A single one that fits among others that do not fits by chance: a model that is certain gives few answers.
    """
    apart = [
        image for image in gathered.answered()
        if image.expected is not None and image.expected.top and not image.expected.within
    ]  # fmt: skip
    for name in FLIPS:
        fitting = [(i, r) for i in apart for r in i.runs if r.name == name and not r.error and _as_recorded(i, r)]
        if fitting and len(fitting) == len(apart):
            return fitting[0]
    return None


def tells(gathered: Gathered) -> bool:
    """What is recorded and differs is more than one answer of a model that is certain: such fit by chance."""
    apart = [image.expected.top for image in gathered.answered() if image.expected and not image.expected.within]
    return len(apart) > 1 or any(min(abs(s), abs(s - 1)) > CERTAIN for top in apart for _, _, s in top)


def _as_recorded(image: Predicted, run: Run) -> bool:
    return image.expected is not None and same_scores(image.expected.top, run.top)


def same_scores(one: Sequence[tuple[int, str, float]], other: Sequence[tuple[int, str, float]]) -> bool:
    """The same best answers with the same scores, as far as recorded digits go."""
    scores = {index: score for index, _, score in other}
    shared = [(score, scores[index]) for index, _, score in one if index in scores]
    if not one or not other or one[0][0] != other[0][0] or len(shared) < min(len(one), len(other)):
        return False
    return all(abs(a - b) <= AS_RECORDED * max(1.0, abs(a)) for a, b in shared)


def same_unless_flipped(gathered: Gathered) -> list[str]:
    """Flips that move the answer of images which all have the same one."""
    images = gathered.answered()
    outputs = {run.output for run in gathered.runs("original") if run.output}
    if len(images) < 2 or len(outputs) != 1 or gathered.has("constant-output") or gathered.has("nondeterministic"):
        return []
    if gathered.unjudged:
        return []
    return [name for name in FLIPS if any(run.identical is False and run.max_abs_diff for run in gathered.runs(name))]


def flip_seen(gathered: Gathered) -> bool:
    """The symptom itself: answers that are the same but for a flip, or one recorded for the flipped image."""
    return bool(same_unless_flipped(gathered)) or _recorded_flip(gathered) is not None


def flip_unseen(gathered: Gathered) -> str:
    """What speaks against the symptom, or why the images at hand can't tell; empty where nothing more is to say."""
    images, many = gathered.answered(), gathered.report.many if gathered.report is not None else None
    if gathered.unjudged or (many is not None and many.images >= ENOUGH_IMAGES):
        return gathered.unjudged
    if len(images) == 1:
        moves = "a flip changes its answer, but " if gathered.has("flip-changes-prediction") else ""
        return f"{moves}one image is no proof"
    if len({run.output for run in gathered.runs("original")}) > 1:
        return f"{len(images)} images have different answers before any flip"
    return ""


def _layout(gathered: Gathered) -> Iterator[Judged]:
    moved = same_unless_flipped(gathered)
    images = gathered.answered()
    if moved:
        told = f"{len(images)} images have the same answer to the bit; {' and '.join(moved)} changes it"
        yield cause("layout-input", "likely", 0.95, [told], where=None)
    elif gathered.unjudged:
        yield unasked("layout-input", gathered.unjudged)
    elif gathered.has("constant-output"):
        yield out("layout-input", "no flip changes the answer either")
    elif len(images) >= 2 and len({run.output for run in gathered.runs("original")}) == 1:
        yield out("layout-input", f"no flip changes the answer, the same for {len(images)} images, either")
    elif len(images) >= 2:
        yield out("layout-input", f"{len(images)} images have different answers before any flip")
    else:
        yield unasked("layout-input", "several different images would tell", "two or more IMAGES")
