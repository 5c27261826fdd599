"""What the runs of one image mean together, in plain words."""

from __future__ import annotations

from ckptui.core.model import Run
from ckptui.core.text import number_text
from ckptui.predict.compare import FLIP_LR, FLIP_UD, FRESH, ORIGINAL, RELOAD, Facts

FLIP_WORDS = {FLIP_LR: "a left-right flip", FLIP_UD: "an up-down flip"}
LOAD_WORDS = {RELOAD: "after reload", FRESH: "in a fresh process"}


def verdict(facts: Facts) -> str:
    """One to three sentences: how it restores, whether the answer follows the image, what flips do."""
    original = facts.runs.get(ORIGINAL)
    if original is None or original.error:
        return f"No answer: {original.error if original else 'it was never asked'}."
    if not facts.finite:
        return "The answer is not finite: NaN or infinity comes out of the model. " + restores(facts)
    if facts.random:
        return random(facts)
    return " ".join(part for part in (restores(facts), follows(facts), flips(facts)) if part)


def random(facts: Facts) -> str:
    """For a model that does not answer the same twice."""
    run = facts.runs["repeat"]
    words = f"Does not answer the same twice: the same call moves the output by up to {size(run)}"
    words += ", far enough for another top answer." if run.top1_changed else "."
    words += " Something random is live at inference, such as dropout."
    if facts.seeded:
        words += " It is seeded: every process gives the same sequence."
    if facts.silenced:
        words += " With training=False, as model.predict calls it, it is steady."
    return words + " Beside that, flips and reloads can't be judged."


def restores(facts: Facts) -> str:
    """How the model came back after a reload and in a fresh process."""
    failed = [run for name in (RELOAD, FRESH) if (run := facts.runs.get(name)) is not None and run.error]
    if failed:
        return f"Could not be loaded again {LOAD_WORDS[failed[0].name]}: {failed[0].error}."
    if facts.partly:
        return f"Restores only in part: {facts.partly}, the rest keeps the values of the architecture's own file."
    differing = facts.differing_loads()
    if differing:
        parts = " and ".join(f"{LOAD_WORDS[run.name]} (by {size(run)})" for run in differing)
        return f"Does not restore cleanly: another output {parts}."
    known = [run for name in (RELOAD, FRESH) if (run := facts.runs.get(name)) is not None]
    if not known:
        return ""
    if all(run.identical for run in known):
        return "Restores cleanly."
    largest = max(known, key=lambda run: run.max_abs_diff or 0.0)
    return f"Restores cleanly, the same to {size(largest)}."


def follows(facts: Facts) -> str:
    """Whether the answer depends on the image."""
    if facts.constant:
        tried = ", ".join(probe.name for probe in facts.probes)
        return f"But the answer does not follow the image: {tried} and the flips give the same."
    again = [LOAD_WORDS[name] for name in (RELOAD, FRESH) if _held(facts, name)]
    if not again:
        return "The answer follows the image."
    return f"The answer follows the image and is the same {' and '.join(again)}."


def flips(facts: Facts) -> str:
    """What flipping does to the best answer; a single image proves nothing."""
    telling = [run.name for run in facts.telling_flips()]
    if facts.constant:
        return ""
    if not telling:
        mirrored = any(facts.mirrored.values())
        return "The image is its own mirror image, so flips tell nothing." if mirrored else ""
    changed = facts.changed_flips()
    survived = [name for name in telling if name not in changed]
    if len(changed) == 2:
        return "It changes under both flips; one image is no proof."
    if changed and survived:
        lost, kept = FLIP_WORDS[changed[0]], FLIP_WORDS[survived[0]]
        return f"It changes under {lost}, not under {kept}; one image is no proof."
    if changed:
        return f"It changes under {FLIP_WORDS[changed[0]]}; one image is no proof."
    which = "both flips" if len(survived) == 2 else FLIP_WORDS[survived[0]]
    return f"It survives {which}; one image is no proof."


def size(run: Run) -> str:
    """How far a run is from the original, in few digits."""
    return number_text(run.max_abs_diff, 3)


def _held(facts: Facts, name: str) -> bool:
    run = facts.runs.get(name)
    return run is not None and not run.error and run not in facts.differing_loads()
