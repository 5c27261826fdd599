"""The findings that the runs of all images make together, one a code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ckptui.core.catalogue import make
from ckptui.core.model import Certainty, Finding, LayerSpread, Run
from ckptui.core.text import counted, safe
from ckptui.predict.compare import (
    FLIP_LR,
    INVARIANT,
    ORIGINAL,
    OTHER_TF,
    RELOAD,
    REPEAT,
    TRAINING,
    VERSIONS,
    Facts,
    key_of,
)
from ckptui.predict.words import listed, state_names

STATEFUL = "Reset the state before each sequence (reset_states), or build the layer with stateful=False."
"""What to do about state that each call hands on to the next."""


def findings_of(
    model: str,
    images: Sequence[Facts],
    layers: Sequence[LayerSpread] = (),
    dies_at: str | None = None,
) -> list[Finding]:
    """What the runs of all images say about the model at the path `model`.

    `layers` and `dies_at` are what a look at every layer gave where the output is constant.
    """
    answered = [f for f in images if ORIGINAL in f.runs and not f.runs[ORIGINAL].error]
    steady = [f for f in answered if f.steady]
    found = [
        _random(model, [f for f in answered if f.random]),
        _not_finite(model, [f for f in answered if not f.finite]),
        _reload(model, [f for f in steady if f.differing_loads()]),
        _batch(model, [f for f in steady if f.batch_dependent]),
        _constant(model, [f for f in answered if f.constant or f.constant_silenced], layers, dies_at),
        _versions(model, [f for f in steady if f.beyond((OTHER_TF,), VERSIONS)]),
        _training(model, [f for f in steady if f.trained_otherwise]),
        *_flips(model, [f for f in steady if not f.constant]),
    ]
    return [finding for finding in found if finding is not None]


def _names(images: Sequence[Facts]) -> list[str]:
    return [facts.path for facts in images]


def _largest(runs: Sequence[Run]) -> float:
    return max((run.max_abs_diff or 0.0 for run in runs), default=0.0)


def _random(model: str, images: Sequence[Facts]) -> Finding | None:
    if not images:
        return None
    largest = _largest([facts.runs[REPEAT] for facts in images])
    seeded = all(facts.seeded for facts in images)
    calls = max(facts.calls for facts in images)
    how = "every process gives the same sequence of calls" if seeded else "no two processes agree"
    silenced = all(facts.silenced for facts in images)
    how += "; with training=False, as model.predict calls it, it is steady" if silenced else ""
    carried = tuple(dict.fromkeys(name for facts in images for name in facts.carried))
    stateful = bool(carried) and all(facts.carried for facts in images)
    if stateful:
        named = safe(state_names(carried))
        how = f"state is carried from call to call ({named}): from the same state it answers the same"
    moved: dict[str, float] = {}
    for probe in (probe for facts in images for probe in facts.silent_probes) if silenced else ():
        moved[probe.name] = max(moved.get(probe.name, 0.0), probe.max_abs)
    evidence = {
        "max_abs": largest,
        "seeded": seeded,
        "steady_with_training_false": silenced,
        "moved_with_training_false": moved,
        "calls": calls,
        "images": _names(images),
        **({"carried_state": list(carried)} if stateful else {}),
    }
    return make(
        "nondeterministic",
        model,
        detail=f"{'three' if calls == 3 else calls} calls with the same input differ by up to {largest:.3g}; {how}",
        evidence=evidence,
        advice=STATEFUL if stateful else None,
    )


def _not_finite(model: str, images: Sequence[Facts]) -> Finding | None:
    if not images:
        return None
    return make(
        "non-finite",
        model,
        title="The answer is not finite",
        detail=f"NaN or infinity in the output of {counted(len(images), 'image')}",
        evidence={"images": _names(images)},
        advice="Check the weights for NaN first (`c`), then the range the model gets.",
    )


def _reload(model: str, images: Sequence[Facts]) -> Finding | None:
    if not images:
        return None
    runs = {run.name: run.max_abs_diff for facts in images for run in facts.differing_loads()}
    words = " and ".join("after a reload" if name == RELOAD else "in a fresh process" for name in runs)
    largest = max(value for value in runs.values() if value is not None)
    return make(
        "reload-differs",
        model,
        detail=f"{words} the output differs by up to {largest:.3g}, repeats in one process do not",
        evidence={"max_abs": largest, "runs": runs, "images": _names(images)},
    )


def _batch(model: str, images: Sequence[Facts]) -> Finding | None:
    if not images:
        return None
    largest = max(facts.among_others_by for facts in images)
    relative = max(facts.among_others or 0.0 for facts in images)
    control = max(facts.among_copies or 0.0 for facts in images)
    return make(
        "batch-dependent",
        model,
        detail=f"among other images the answer moves by up to {largest:.3g} ({relative:.2g} of its scale), "
        f"among copies of itself by {control:.2g} of it",
        evidence={"max_abs": largest, "relative": relative, "relative_among_copies": control, "images": _names(images)},
    )


def _constant(
    model: str, images: Sequence[Facts], layers: Sequence[LayerSpread], dies_at: str | None
) -> Finding | None:
    if not images:
        return None
    bits = all(facts.constant_bits for facts in images)
    # a random model's own calls tell nothing: of it the probes with training=False do
    silenced = [facts for facts in images if facts.constant_silenced]
    plain = [facts for facts in images if not facts.constant_silenced]
    probes = [probe for facts in images for probe in (facts.silent_probes if facts in silenced else facts.probes)]
    tried = list(dict.fromkeys(probe.name for probe in probes))
    flips = list(dict.fromkeys(run.name for facts in plain for run in facts.telling_flips()))
    spread = max([probe.max_abs for probe in probes] + [_largest(facts.telling_flips()) for facts in plain])
    evidence: dict[str, Any] = {
        "inputs": ["image", *flips, *tried],
        "identical_bits": bits,
        "spread": spread,
        "images": _names(images),
    }
    same = "the same bits" if bits else f"the same to {spread:.2g}"
    evidence |= {"training_false": True} if silenced else {}
    how = "with training=False, which silences what is random, " if silenced else ""
    detail = f"{how}{', '.join(['the image', *flips, *tried])} all give {same}"
    dead = next((row for row in layers if row.layer == dies_at), None)
    if dead is not None:
        evidence |= {
            "layer": dead.layer,
            "class": dead.class_name,
            "layer_spread": dead.spread,
            "zeros": dead.zeros,
            "weights": list(dead.weights),
        }
        detail += f"; the first layer whose output no longer varies is {dead.layer} ({dead.class_name})"
        detail += ", all zeros" if dead.zeros == 1 else ""
    return make("constant-output", model, detail=detail, evidence=evidence, certainty=_how_constant(images, bits))


def _how_constant(images: Sequence[Facts], bits: bool) -> Certainty:
    """A class index or a text says little; one saturated number may repeat by itself."""
    if all(facts.kind != "float" for facts in images):
        return "possible"
    return "confirmed" if bits and images[0].outputs > 1 else "likely"


def _versions(model: str, images: Sequence[Facts]) -> Finding | None:
    if not images:
        return None
    runs = [(facts, run) for facts in images for run in facts.beyond((OTHER_TF,), VERSIONS)]
    versions = {run.detail: run.max_abs_diff for _, run in runs}
    relative = max(facts.relative[key_of(run)] for facts, run in runs)
    changed = sum(bool(run.top1_changed) for _, run in runs)
    largest = _largest([run for _, run in runs])
    return make(
        "versions-differ",
        model,
        detail=f"{' and '.join(versions)} answer{'s' if len(versions) == 1 else ''} otherwise by up to {largest:.3g}, "
        f"{relative:.2g} of the output's scale; rounding between versions stays below {VERSIONS:g} of it",
        evidence={
            "versions": versions,
            "max_abs": largest,
            "relative": relative,
            "tolerance": VERSIONS,
            "top1_changed": changed,
            "images": _names(images),
        },
    )


def _training(model: str, images: Sequence[Facts]) -> Finding | None:
    if not images:
        return None
    runs = [facts.runs[TRAINING] for facts in images]
    largest, changed = _largest(runs), sum(bool(run.top1_changed) for run in runs)
    relative = max(facts.relative.get(TRAINING, 0.0) for facts in images)
    return make(
        "training-mode-differs",
        model,
        detail=f"with training=True the output differs by up to {largest:.3g}, {relative:.2g} of its scale"
        + (f"; another best answer for {counted(changed, 'image')}" if changed else ""),
        evidence={"max_abs": largest, "relative": relative, "top1_changed": changed, "images": _names(images)},
    )


def _flips(model: str, images: Sequence[Facts]) -> list[Finding | None]:
    changed = {facts.path: facts.changed_flips() for facts in images if facts.changed_flips()}
    still = [facts for facts in images if _invariant(facts)]
    made: list[Finding | None] = []
    if changed:
        flips = sorted({flip for flips in changed.values() for flip in flips})
        detail = f"{len(changed)} of {counted(len(images), 'image')}, under {listed(flips)}"
        made.append(make("flip-changes-prediction", model, detail=detail, evidence={"flips": flips, "images": changed}))
    if still:
        moved = max(facts.runs[FLIP_LR].max_abs_diff or 0.0 for facts in still)
        noise = min(max(probe.max_abs for probe in facts.probes) for facts in still)
        made.append(
            make(
                "flip-invariant",
                model,
                detail=f"a left-right flip moves the output by {moved:.3g}, noise by {noise:.3g}",
                evidence={"flip": moved, "noise": noise, "images": _names(still)},
            )
        )
    return made


def _invariant(facts: Facts) -> bool:
    run = facts.runs.get(FLIP_LR)
    if run is None or run.error or facts.mirrored.get(FLIP_LR) or run.max_abs_diff is None:
        return False
    limit = INVARIANT * facts.scale
    return run.max_abs_diff < limit and any(probe.max_abs > limit for probe in facts.probes)
