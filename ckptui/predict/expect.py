"""An answer held against the one recorded for the same image, as far as the recorded digits go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ckptui.core.catalogue import make
from ckptui.core.model import Expectation, Finding
from ckptui.core.text import counted, safe
from ckptui.predict.answers import Answer, largest_difference
from ckptui.predict.compare import BATCH, best, top_of
from ckptui.predict.recorded import MAIN, Recorded, Row

Array = np.ndarray[Any, Any]

ROUNDING = BATCH
"""Of an output's scale: what another machine's kernels may add to the recorded digits."""


def expectation(recorded: Recorded, row: Row | None, answer: Answer, labels: Sequence[str], count: int) -> Expectation:
    """How far the answer is from its row; `count` best of the recorded one are kept."""
    if row is None:
        return _failed(recorded, "no answer is recorded for this image")
    if row.label:
        place = best(answer.main)
        known = {labels[place] if place < len(labels) else str(place), str(place)}
        same = row.label in known
        top = ((labels.index(row.label), safe(row.label), 1.0),) if row.label in labels else ()
        return Expectation(recorded.path, None, not same, same, same, top)
    pairs = _pairs(row, answer)
    if not pairs:
        have = ", ".join(f"{safe(name)} with {values.size} values" for name, values in answer.named)
        there = ", ".join(f"{safe(n) + ' with ' if n else ''}{values.size} values" for n, values in row.values.items())
        return _failed(recorded, f"recorded: {there}; the model gives {have}")
    shown, kept = pairs[0]
    if shown.size > 1 and kept.size == 1:
        place = int(kept[0])
        same = place == best(shown)
        name = labels[place] if 0 <= place < len(labels) else str(place)
        return Expectation(recorded.path, None, not same, same, same, ((place, name, 1.0),))
    apart = max(largest_difference(ours.astype(np.float64), theirs.astype(np.float64)) for ours, theirs in pairs)
    identical = all(np.array_equal(ours, theirs.astype(ours.dtype), equal_nan=True) for ours, theirs in pairs)
    within = identical or all(_within(recorded, ours, theirs) for ours, theirs in pairs)
    changed = best(shown) != best(kept) and not within
    return Expectation(recorded.path, apart, changed, identical, within, top_of(kept, labels, count))


def _failed(recorded: Recorded, why: str) -> Expectation:
    return Expectation(recorded.path, None, None, False, False, error=why)


def _pairs(row: Row, answer: Answer) -> list[tuple[Array, Array]]:
    """(ours, recorded) of every output that is recorded, the one on show first; none where nothing fits."""
    ours = {name: values.reshape(-1) for name, values in answer.named if values.dtype.kind not in "OSU"}
    shown = answer.named[answer.chosen][0]
    recorded = dict(row.values)
    if len(recorded) == 1 and not recorded.keys() & ours.keys():
        recorded = {shown: next(iter(recorded.values()))}
    names = sorted(recorded.keys() & ours.keys(), key=lambda name: (name != shown, name))
    pairs = [(ours[name], recorded[name].reshape(-1)) for name in names if name != MAIN or len(names) == 1]
    index = len(pairs) == 1 and pairs[0][1].size == 1
    return pairs if all(a.size == b.size for a, b in pairs) or index else []


def _within(recorded: Recorded, ours: Array, theirs: Array) -> bool:
    """Every value equal to half a unit of its last recorded digit, and what kernels round."""
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    finite = b[np.isfinite(b)]
    slack = recorded.unit(b) * (1 + 1e-9) + ROUNDING * float(np.abs(finite).max(initial=0.0))
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        return bool(np.all(same | (np.abs(a - b) <= slack)))


def findings(model: str, recorded: Recorded, held: Sequence[tuple[str, Expectation]]) -> list[Finding]:
    """`expectation-differs` over all images; one without a usable row is told in its own place alone."""
    differing = [(path, e) for path, e in held if not e.within and not e.error]
    if not differing:
        return []
    largest = max((e.max_abs_diff or 0.0 for _, e in differing), default=0.0)
    changed = sum(bool(e.top1_changed) for _, e in differing)
    judged = sum(not e.error for _, e in held)
    answer = "answers" if len(differing) == 1 else "answer"
    digits = "" if recorded.decimals is None else f", written with {recorded.decimals} digits after the point"
    return [
        make(
            "expectation-differs",
            model,
            detail=f"{len(differing)} of {counted(judged, 'image')} {answer} otherwise than recorded in "
            f"{safe(recorded.path)}{digits}: by up to {largest:.3g}, {changed} with another best answer",
            evidence={
                "file": recorded.path,
                "max_abs": largest,
                "top1_changed": changed,
                "decimals": recorded.decimals,
                "significant": recorded.significant,
                "rounding": ROUNDING,
                "images": [path for path, _ in differing],
            },
        )
    ]
