"""Weights that are the same in all saves of a run: frozen, not trained, or nothing changed at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ckptui.core.model import Finding
from ckptui.core.names import clean
from ckptui.core.text import human_count

if TYPE_CHECKING:
    from ckptui.triage.timeline import Run

_STATISTICS = ("moving-mean", "moving-variance")
_GIVEN = frozenset({"mean", "variance", "count", "scale"})
"""What a Normalization holds: adapted before training, and constant then."""
_FIXED_CLASSES = frozenset({"Normalization", "Rescaling", "Discretization", "TextVectorization", "StringLookup"})

WORDS: dict[str, tuple[str, str]] = {
    "frozen": ("Frozen over the whole run", "their layers are configured as not trainable"),
    "no-slots": ("Frozen over the whole run", "the optimizer has no slots for them, but for the weights that changed"),
    "untrained": ("Never changed, though the optimizer has slots for them", "no gradient reached them"),
    "statistics": ("Batch statistics were never updated", "while weights of the model changed"),
    "unknown": ("Never changed over the run", "frozen, or no gradient reached them: the saves don't tell which"),
}
_ADVICE = {
    "frozen": "Nothing to do if that is meant; else set `trainable` before the model is compiled.",
    "no-slots": "Nothing to do if that is meant; else check `trainable`, and which variables the optimizer is given.",
    "untrained": "Look for a layer without a path to the loss, a dead activation before it, or a stopped gradient.",
    "statistics": "The layers ran in inference mode while training: check `training=` and `trainable` of their model.",
    "unknown": "Check `trainable`, and whether the layers are connected to the loss.",
}


def unchanged_findings(run: Run) -> list[Finding]:
    """One finding for each reason why weights are the same in all saves that have them."""
    followed = {row: seen for row in run.weights if len(seen := _contents(run, row)) > 1}
    same = [row for row, seen in followed.items() if len(set(seen)) == 1]
    if not followed:
        return []
    if len(same) == len(followed):
        return [_nothing_changed(run, same)]
    changed = [row for row in followed if row not in set(same)]
    reasons: dict[str, list[int]] = {}
    for row in same:
        reason = _reason(run, row, changed)
        if reason:
            reasons.setdefault(reason, []).append(row)
    return [_finding(run, reason, rows) for reason, rows in reasons.items()]


def _contents(run: Run, row: int) -> list[Any]:
    all_ = (run.content(row, place) for place in range(len(run.saves)))
    return [content for content in all_ if content is not None]


def _reason(run: Run, row: int, changed: Sequence[int]) -> str:
    """Why a weight never changed; empty for what is constant by its nature."""
    fact = run.rows[row]
    peers = [other for other in changed if run.rows[other].layer == fact.layer and fact.layer]
    count = max(point.count for point in run.points[row] if point is not None)
    norms = {point.l2 for point in run.points[row] if point is not None}
    if _is_given(run, row) or (fact.role == "other" and count < 2):
        return ""
    trainable = _trainable(run).get(fact.name)
    if fact.role in _STATISTICS:
        trained = any(run.rows[other].role in ("gamma", "beta") for other in peers)
        affine = any(run.rows[at].role in ("gamma", "beta") and run.rows[at].layer == fact.layer for at in run.weights)
        if trained or not (affine or trainable is False):
            return "statistics"
    if trainable is False:
        return "frozen"
    if fact.role in ("bias", "beta") and norms == {0.0} and peers:
        # nothing pulls on it: a bias that a normalisation or a softmax cancels
        return ""
    slots = _has_slots(run, row)
    if slots is None or not any(_has_slots(run, other) for other in changed):
        return "unknown"
    return "untrained" if slots else "no-slots"


def _is_given(run: Run, row: int) -> bool:
    own = clean(run.rows[row].own_name).rpartition("/")[2]
    named = run.rows[row].role == "other" and own in _GIVEN
    return named or _classes(run).get(run.rows[row].name) in _FIXED_CLASSES


def _trainable(run: Run) -> Mapping[str, bool | None]:
    """Of weights by name, as the architecture of the newest save says."""
    layers = run.listing.architecture if run.listing is not None else ()
    return {name: layer.trainable for layer in layers for name in layer.weights}


def _classes(run: Run) -> Mapping[str, str]:
    layers = run.listing.architecture if run.listing is not None else ()
    return {name: layer.class_name for layer in layers for name in layer.weights}


def _has_slots(run: Run, row: int) -> bool | None:
    """Whether the optimizer keeps something of a weight's shape for its layer; None where slots don't tell layers."""
    fact = run.rows[row]
    slots = [other for other in run.rows if other.role == "slot" and other.layer and other.shape]
    if not slots or not fact.layer:
        return None
    near = [slot for slot in slots if slot.layer == fact.layer]
    if any(slot.shape == fact.shape for slot in near):
        return True
    shapes = {run.rows[at].shape for at in run.weights if run.rows[at].layer == fact.layer}
    # of a factored optimizer no slot has the shape of a weight
    return bool(near) and not any(slot.shape in shapes for slot in near)


def _nothing_changed(run: Run, rows: Sequence[int]) -> Finding:
    saves = sum(any(run.content(row, place) is not None for row in rows) for place in range(len(run.saves)))
    moved = [
        row.name
        for at, row in enumerate(run.rows)
        if row.role in ("slot", "counter", "step") and len(set(_contents(run, at))) > 1
    ]
    advice = _ADVICE["unknown"]
    if any(run.rows[at].role == "slot" for at in range(len(run.rows)) if run.rows[at].name in moved):
        why = "the optimizer's slots did: it steps, and moves nothing; look for a learning rate of 0"
    elif moved:
        why = "counters did: the weights that are trained are not those that are saved, or the learning rate is 0"
    else:
        why = "neither did anything else: they are copies of one save"
        advice = "Look at what writes the saves: it runs without training between, or one save was copied."
    detail = f"all {human_count(len(rows))} weights are the same in {human_count(saves)} saves; {why}"
    evidence = {"reason": "nothing-changed", "saves": saves, "moved": moved[:40], **_named(run, rows)}
    title = "The weights never changed at all"
    return run.finding("never-changed", None, detail, evidence, title=title, advice=advice)


def _finding(run: Run, reason: str, rows: Sequence[int]) -> Finding:
    title, why = WORDS[reason]
    layers = list(dict.fromkeys(run.rows[row].layer or run.rows[row].name for row in rows))
    saves = max(len(_contents(run, row)) for row in rows)
    some = ", ".join(layers[:3]) + (f" and {human_count(len(layers) - 3)} more" if len(layers) > 3 else "")
    what = "tensor is" if len(rows) == 1 else "tensors are"
    detail = f"{human_count(len(rows))} {what} the same in all {human_count(saves)} saves ({some}): {why}"
    evidence = {
        "reason": reason,
        "saves": saves,
        "layers": layers[:40],
        "layer_count": len(layers),
        **_named(run, rows),
    }
    certainty: Any = "likely" if reason in ("no-slots", "untrained") else "confirmed"
    return run.finding(
        "never-changed", None, detail, evidence, title=title, advice=_ADVICE[reason], certainty=certainty
    )


def _named(run: Run, rows: Sequence[int]) -> dict[str, Any]:
    names = [run.rows[row].name for row in rows]
    return {"tensors": names[:40], "tensor_count": len(names)}
