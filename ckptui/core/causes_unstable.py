"""Why an answer is another one each time: what is random, what hangs on the batch, the load or the place. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

from ckptui.core.causes_flip import AS_RECORDED, CERTAIN, same_scores, tells
from ckptui.core.causes_kinds import (
    UNASKED,
    UNPREDICTED,
    UNSEEN,
    Gathered,
    Judged,
    cause,
    lines,
    out,
    unasked,
)
from ckptui.core.config_sides import kind_of
from ckptui.core.model import Certainty, Predicted
from ckptui.core.random_ops import RANDOM, STATELESS, drawn
from ckptui.core.text import number_text

ENOUGH_CERTAIN = 3
"""Images with certain answers alone that have to agree on an order of classes."""
MOST_CLASSES = 6
MOST_OPS = 3
"""Ops that are told by name."""


def of_repeats(gathered: Gathered) -> Iterator[Judged]:
    """What calls that should agree say."""
    yield from _random(gathered)
    yield from _batch(gathered)
    yield from _reload(gathered)
    yield from _versions(gathered)
    yield from _recorded(gathered)


def _random(gathered: Gathered) -> Iterator[Judged]:
    found = gathered.of("nondeterministic")
    live = gathered.live_random()
    # those whose seed comes from outside last: it may stay the same
    ops = sorted((op for op in gathered.operations if op.op in RANDOM), key=lambda op: op.op in STATELESS)
    named = [f"layer {row.name} ({kind_of(row)}) is called with training=True" for row in live]
    named += [f"the served graph runs {op.op} at {op.name}; {drawn(op)}" for op in ops[:MOST_OPS]]
    named += [f"and {len(ops) - MOST_OPS} more random ops"] if len(ops) > MOST_OPS else []
    where = live[0].name if live else ops[0].name if ops else None
    if found and not carried(gathered):
        seeded = bool(found[0].evidence.get("seeded"))
        how = "seeded: every process repeats the same sequence" if seeded else "not seeded: no two processes agree"
        what = f"{kind_of(live[0])} {live[0].name}" if live else ops[0].op if ops else "a random op"
        title = f"Random at inference: {what} is live, {'seeded' if seeded else 'not seeded'}"
        if not named:
            named = ["no layer's call says training=True: a custom layer or an op outside the layers draws"]
        # of a graph that training wrote the finding says where the one for serving is
        instead = found[0].advice if found[0].evidence.get("graph") else ""
        named = ["it is the graph of a .meta, which training wrote"] if instead and not live and not ops else named
        yield cause("live-dropout", "confirmed", 1.0, [*lines(gathered, found), how, *named], found, where=where,
                    title=title, next_step=instead)  # fmt: skip
    elif found:
        yield out("live-dropout", "from the same state the same input gets the same answer: nothing is drawn")
    elif _agreed_by_chance(gathered):
        told = "calls with the same input agreed by chance; calls that should give the same answer differ"
        title = f"Random at inference: {kind_of(live[0])} {live[0].name} is live, not seeded"
        apart = gathered.of("reload-differs", "batch-dependent")
        yield cause("live-dropout", "confirmed", 1.0, [told, *lines(gathered, apart), *named], apart, where=where,
                    title=title)  # fmt: skip
    elif gathered.runs("repeat") and gathered.unjudged:
        # NaN repeats itself, whatever is drawn beneath it
        yield unasked("live-dropout", gathered.unjudged)
    elif gathered.runs("repeat"):
        yield out("live-dropout", f"calls with the same input give the same bits, for {_images(gathered)}")
    elif live or ops:
        sure: Certainty = "likely" if live or ops[0].op not in STATELESS else "possible"
        yield cause("live-dropout", sure, 1.0, named, where=where, factor=UNASKED)
    else:
        yield unasked("live-dropout", UNPREDICTED, gathered.predict_by)


def carried(gathered: Gathered) -> list[str]:
    """Variables that calls change and whose values alone make the next answer another one."""
    states = [finding.evidence.get("carried_state") or [] for finding in gathered.of("nondeterministic")]
    return [str(name) for names in states for name in names] if states and all(states) else []


def _agreed_by_chance(gathered: Gathered) -> bool:
    """A live layer that throws a coin, as RandomFlip does, may fall alike three times: other calls show it then."""
    unseeded = [row for row in gathered.live_random() if row.config.get("seed") is None]
    if not unseeded or gathered.has("nondeterministic") or gathered.unjudged:
        return False
    batch = gathered.has("batch-dependent") and not gathered.normalizing
    return gathered.has("reload-differs") or batch


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
        if not named and gathered.normalizing:
            named = [f"layers with batch statistics: {', '.join(gathered.normalizing[:6])}"]
            where = gathered.normalizing[0] if len(gathered.normalizing) == 1 else None
        random = gathered.has("nondeterministic") or _agreed_by_chance(gathered)
        if random and not named and not gathered.normalizing:
            # drawn for each image of a batch: another place in it is another draw
            yield unasked("batch-statistics", "the model answers at random, alone and in a batch")
            return
        sure: Certainty = "likely" if random else "confirmed"
        yield cause("batch-statistics", sure, 1.0, [*lines(gathered, found), *named], found, where=where)
    elif named:
        asked = bool(gathered.runs("in-batch"))
        yield cause("batch-statistics", "likely", 1.0, named, where=where, factor=UNSEEN if asked else UNASKED)
    elif gathered.runs("in-batch") and gathered.unjudged:
        yield unasked("batch-statistics", gathered.unjudged)
    elif gathered.runs("in-batch"):
        yield out("batch-statistics", "in a batch of others an image has the answer that it has alone")
    elif gathered.behaved:
        yield unasked("batch-statistics", "the model was not asked with an image in a batch of others")
    else:
        yield unasked("batch-statistics", UNPREDICTED, gathered.predict_by)


def _reload(gathered: Gathered) -> Iterator[Judged]:
    found = gathered.of("reload-differs")
    drawn = gathered.of("nondeterministic")
    if names := carried(gathered):
        more = f" and {len(names) - MOST_OPS} more" if len(names) > MOST_OPS else ""
        told = f"each call changes {', '.join(names[:MOST_OPS])}{more}"
        title = f"State is carried from call to call: {names[0]}"
        step = "Reset the state before each sequence (reset_states), or build the layer with stateful=False."
        yield cause("unsaved-state", "confirmed", 1.0, [*lines(gathered, drawn), told], drawn, where=names[0],
                    title=title, next_step=step)  # fmt: skip
        return
    seeded = all(finding.evidence.get("seeded") for finding in drawn)
    if found and (not seeded or _agreed_by_chance(gathered)):
        # calls for one image may agree by chance
        yield unasked("unsaved-state", "a model that answers at random answers so after a reload too")
    elif found and not (drawn and gathered.unjudged):
        explained = bool(gathered.of("weights-missing", "weights-never-saved"))
        yield cause("unsaved-state", "likely", 0.6 if explained else 0.9, lines(gathered, found), found)
    elif drawn and seeded:
        yield out("unsaved-state", "every load gives the same sequence of random answers")
    elif gathered.unjudged:
        yield unasked("unsaved-state", gathered.unjudged)
    elif gathered.runs("reload") or gathered.runs("fresh-process"):
        yield out("unsaved-state", "a reload and a fresh process give the same answer")
    else:
        yield unasked("unsaved-state", UNPREDICTED, gathered.predict_by)


def _versions(gathered: Gathered) -> Iterator[Judged]:
    found = gathered.of("versions-differ")
    if found:
        yield cause("other-tensorflow", "confirmed", 0.9, lines(gathered, found), found)
    elif (rows := gathered.runs("other-tensorflow")) and gathered.unjudged:
        yield unasked("other-tensorflow", gathered.unjudged)
    elif rows:
        names = ", ".join(dict.fromkeys(run.detail for run in rows if run.detail))
        yield out("other-tensorflow", f"{names or 'another TensorFlow'} gives the same answer")
    else:
        yield unasked("other-tensorflow", "one TensorFlow alone was asked", "--tf-python PYTHON")


def _recorded(gathered: Gathered) -> Iterator[Judged]:
    """Answers recorded elsewhere: does another preprocessing give them?"""
    held = [image for image in gathered.answered() if image.expected is not None and not image.expected.error]
    if not held:
        return
    apart = [image for image in held if image.expected is not None and not image.expected.within]
    if not apart:
        yield out("preprocessing-skew", f"{len(held)} recorded answers are given here too")
        return
    for name in dict.fromkeys(v.preprocess for image in apart for v in image.variants if not v.chosen):
        # one that fits among others that do not fits by chance
        if all(_under(image, name) for image in apart):
            of = f"{apart[0].path}: the recorded answer is" if len(apart) == 1 else f"{len(apart)} recorded answers are"
            evidence = [f"{of} given under {name}, not under {apart[0].preprocess}"]
            alike: Certainty = "likely" if tells(gathered) else "possible"
            yield cause("preprocessing-skew", alike, 1.0, evidence, ["expectation-differs"])
            return
    if classes := relabelled(held):
        evidence = [f"the recorded scores are those given here, under other classes: {_moved(classes)}"]
        sure: Certainty = "likely" if _telling(held) else "possible"
        yield cause("preprocessing-skew", sure, 1.0, evidence, ["expectation-differs"],
                    title="The classes stand in another order on the other side",
                    next_step="Compare the order of labels (class_indices) of training and serving.")  # fmt: skip
        return
    far = max((i.expected.max_abs_diff or 0.0) for i in apart if i.expected is not None)
    told = f"{len(apart)} of {len(held)} recorded answers differ, by up to {number_text(far)}"
    yield cause("preprocessing-skew", "possible", 0.7, [told, "no other preprocessing tried gives them"],
                ["expectation-differs"])  # fmt: skip


def _under(image: Predicted, preprocess: str) -> bool:
    """The recorded answer is the one under this preprocessing."""
    there = image.expected.top if image.expected is not None else ()
    return any(v.preprocess == preprocess and same_scores(there, v.top) for v in image.variants)


def _pairs(image: Predicted) -> list[tuple[int, int, float]]:
    """(class here, class in the record, score) of the best answers whose score is no other's; empty where they differ.

    The scores have to be the same ones, best first, as far as recorded digits go.
    """
    here = next((run.top for run in image.runs if run.name == "original"), ())
    there = image.expected.top if image.expected is not None else ()
    scores = [score for _, _, score in here]
    near = [AS_RECORDED * max(1.0, abs(score)) for score in scores]
    if len(here) != len(there) or any(abs(t[2] - s) > n for t, s, n in zip(there, scores, near, strict=True)):
        return []
    gaps = [math.inf, *(a - b for a, b in itertools.pairwise(scores)), math.inf]
    alone = [min(gaps[place : place + 2]) > 2 * far for place, far in enumerate(near)]
    return [(h[0], t[0], h[2]) for h, t, lone in zip(here, there, alone, strict=True) if lone]


def relabelled(images: Sequence[Predicted]) -> dict[int, int]:
    """Class here to class in the record, of those that moved, where every image has the same scores under other ones.

    Empty where the scores differ, where two images contradict each other, and where too few stand alone to tell:
    answers of one image that are certain look alike in any order.
    """
    every = [_pairs(image) for image in images]
    classes: dict[int, int] = {}
    for pairs in every:
        if not pairs or any(classes.setdefault(here, there) != there for here, there, _ in pairs):
            return {}
    if len(classes) < 2 or len(set(classes.values())) < len(classes):
        return {}
    if not _telling(images) and len(every) < ENOUGH_CERTAIN:
        return {}
    return {here: there for here, there in sorted(classes.items()) if here != there}


def _telling(images: Sequence[Predicted]) -> bool:
    """Two scores and more are neither 0 nor 1 nor next to them: that these agree is no chance."""
    scores = [score for image in images for _, _, score in _pairs(image)]
    return sum(min(abs(score), abs(score - 1)) > CERTAIN for score in scores) > 1


def _moved(classes: Mapping[int, int]) -> str:
    """`2 here is 0 there, ...`."""
    told = [f"{here} here is {there} there" for here, there in itertools.islice(classes.items(), MOST_CLASSES)]
    return ", ".join(told) + (f" and {len(classes) - MOST_CLASSES} more" if len(classes) > MOST_CLASSES else "")
