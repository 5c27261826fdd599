"""What the runs of one image mean together, in plain words."""

from __future__ import annotations

from collections.abc import Sequence

from ckptui.core.model import Run
from ckptui.core.text import safe
from ckptui.predict.compare import (
    AGAINST,
    FLIP_LR,
    FLIP_UD,
    FRESH,
    ORIGINAL,
    OTHER_TF,
    RELOAD,
    REPEAT,
    SAME_ANSWER,
    TURNED,
    VERSIONS,
    Facts,
    rows_text,
    size_text,
)

FLIP_WORDS = {FLIP_LR: "a left-right flip", FLIP_UD: "an up-down flip", TURNED: "a turn by 180 degrees"}
STATES = 3
"""Variables that hold a state, told by name."""
AGAIN = "run it again"
LOAD_WORDS = {RELOAD: "after reload", FRESH: "in a fresh process"}


def verdict(facts: Facts) -> str:
    """A few sentences: how it restores, whether the answer follows the image alone, what flips and others do."""
    original = facts.runs.get(ORIGINAL)
    if original is None or original.error:
        return _joined(f"No answer: {original.error if original else 'it was never asked'}.", meanwhile(facts))
    rows = f"R{rows_text(facts.rows)[1:]}." if facts.rows > 1 else ""
    if not facts.finite:
        nan = "The answer is not finite: NaN or infinity comes out of the model."
        return _joined(nan, restores(facts), rows, meanwhile(facts))
    if facts.random:
        return _joined(random(facts), rows, meanwhile(facts))
    begin = (meanwhile(facts), rows, restores(facts), follows(facts), batch(facts), flips(facts))
    return _joined(*begin, against(facts), versions(facts))


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def random(facts: Facts) -> str:
    """For a model that does not answer the same twice."""
    run = facts.runs[REPEAT]
    words = f"Does not answer the same twice: the same call moves the output by up to {size(run)}"
    words += ", far enough for another top answer." if run.top1_changed else "."
    if facts.carried:
        words += f" State is carried from call to call ({safe(state_names(facts.carried))}): from the same state it"
        words += " answers the same."
        words += f" Restored only in part: {facts.partly}." if facts.partly else ""
        return words + " Beside that, flips, batches and reloads can't be judged."
    words += " Something random is live at inference, such as dropout."
    if facts.seeded:
        words += " It is seeded: every process gives the same sequence."
    if facts.silenced:
        words += " With training=False, as model.predict calls it, it is steady"
        words += ", and the same for every input." if facts.constant_silenced else "."
    words += f" Restored only in part: {facts.partly}." if facts.partly else ""
    return words + " Beside that, flips, batches and reloads can't be judged."


def state_names(names: Sequence[str]) -> str:
    """The first of the variables that hold a state, and how many more there are."""
    more = f" and {len(names) - STATES} more" if len(names) > STATES else ""
    return ", ".join(names[:STATES]) + more


def meanwhile(facts: Facts) -> str:
    """Whether the model was written anew before every run was made."""
    return f"The model was written anew before every run was made: {AGAIN}." if facts.written_anew else ""


def restores(facts: Facts) -> str:
    """How the model came back after a reload and in a fresh process."""
    loads = [run for name in (RELOAD, FRESH) if name not in facts.written_anew and (run := facts.runs.get(name))]
    failed = [run for run in loads if run.error]
    if failed:
        return f"Could not be loaded again {LOAD_WORDS[failed[0].name]}: {failed[0].error}."
    if facts.partly:
        return f"Restores only in part: {facts.partly}."
    differing = facts.differing_loads()
    if differing and facts.finite:
        parts = " and ".join(f"{LOAD_WORDS[run.name]} (by {size(run)})" for run in differing)
        return f"Does not load the same way each time: another output {parts}."
    if not loads:
        return ""
    if not facts.finite:
        same = all(run.identical for run in loads)
        return "It is the same after reload and in a fresh process." if same and len(loads) == 2 else ""
    if all(run.identical for run in loads):
        return "Loads the same way each time."
    largest = max(loads, key=lambda run: run.max_abs_diff or 0.0)
    return f"Loads the same way each time, to {size(largest)}."


def follows(facts: Facts) -> str:
    """Whether the answer depends on the image."""
    if facts.constant:
        tried = [probe.name for probe in facts.probes] + [FLIP_WORDS[run.name] for run in facts.telling_flips()]
        words = f"But the answer does not follow the image: {listed(tried)} give the same."
        return f"{words} It dies at {facts.dies_at}." if facts.dies_at else words
    again = [LOAD_WORDS[name] for name in (RELOAD, FRESH) if _held(facts, name)]
    moved = bool(facts.probes) or any(run.max_abs_diff for run in facts.telling_flips())
    if not moved:
        return f"The answer is the same {' and '.join(again)}." if again else ""
    if not again:
        return "The answer follows the image."
    return f"The answer follows the image and is the same {' and '.join(again)}."


def batch(facts: Facts) -> str:
    """Whether the rest of the batch moves the answer."""
    if not facts.batch_dependent:
        return ""
    by = size_text(facts.among_others_by)
    return f"But it depends on the rest of the batch: among other images it moves by {by}, among copies it does not."


def flips(facts: Facts) -> str:
    """What flipping does to the best answer; a single image proves nothing."""
    telling = [run.name for run in facts.telling_flips()]
    if facts.constant or facts.kind == "text":
        return ""
    if not telling:
        mirrored = any(facts.mirrored.values())
        return "The image is its own mirror image, so flips tell nothing." if mirrored else ""
    changed = facts.changed_flips()
    survived = [FLIP_WORDS[name] for name in telling if name not in changed]
    lost = [FLIP_WORDS[name] for name in changed]
    if lost and survived:
        return f"It changes under {listed(lost)}, not under {listed(survived)}; one image is no proof."
    if lost:
        return f"It changes under {listed(lost)}; one image is no proof."
    return f"It survives {listed(survived)}; one image is no proof."


def against(facts: Facts) -> str:
    """How the other save or model answers."""
    run = facts.runs.get(AGAINST)
    if run is None or run.error:
        return ""
    if facts.unlike:
        return f"{run.detail}: they can't be compared."
    if run.identical:
        return f"{run.detail} gives the same bits."
    if not facts.beyond((AGAINST,), SAME_ANSWER):
        return f"{run.detail} gives the same to {size(run)}."
    other = " and another top answer" if run.top1_changed else ", the top answer is the same"
    return f"{run.detail} differs by {size(run)}{other}."


def versions(facts: Facts) -> str:
    """How other versions of TensorFlow answer."""
    runs = [run for run in facts.runs.values() if run.name == OTHER_TF and not run.error]
    if not runs:
        return ""
    differing = facts.beyond((OTHER_TF,), VERSIONS)
    parts = []
    if differing:
        parts.append(_joined(*(f"{run.detail} answers otherwise, by {size(run)}." for run in differing)))
    same = [run for run in runs if run not in differing]
    if same:
        how = "the same bits" if all(run.identical for run in same) else f"the same to {size(max(same, key=_by))}"
        parts.append(f"{listed([run.detail for run in same])} give{'s' if len(same) == 1 else ''} {how}.")
    return _joined(*parts)


def size(run: Run) -> str:
    """How far a run is from the original, in few digits."""
    return size_text(run.max_abs_diff)


def _by(run: Run) -> float:
    return run.max_abs_diff or 0.0


def listed(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)


def _held(facts: Facts, name: str) -> bool:
    run = facts.runs.get(name)
    return run is not None and not run.error and run not in facts.differing_loads()
