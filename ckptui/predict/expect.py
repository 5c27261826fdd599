"""An answer held against the one recorded for the same image, as far as the recorded digits go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ckptui.core.catalogue import make
from ckptui.core.model import Expectation, Finding
from ckptui.core.text import counted, safe
from ckptui.errors import UsageError
from ckptui.predict.answers import Answer, largest_difference
from ckptui.predict.compare import BATCH, best, bests, top_of
from ckptui.predict.recorded import MAIN, Recorded, Row

Array = np.ndarray[Any, Any]

MISSING = "no answer is recorded for this image"
MAX_CLASS = 1 << 31
ROUNDING = BATCH
"""Of an output's scale: what another machine's kernels may add to the recorded digits."""


def expectation(recorded: Recorded, row: Row | None, answer: Answer, labels: Sequence[str], count: int) -> Expectation:
    """How far the answer is from its row; `count` best of the recorded one are kept."""
    if row is None:
        return _failed(recorded, MISSING)
    if row.label:
        place = best(answer.shown)
        known = {labels[place] if place < len(labels) else str(place), str(place)}
        same = row.label in known
        top = ((labels.index(row.label), safe(row.label), 1.0),) if row.label in labels else ()
        return Expectation(recorded.path, None, not same, same, same, top)
    pairs = _pairs(row, answer)
    if not pairs:
        have = ", ".join(f"{safe(name)} with {values.size} values" for name, values in answer.named)
        there = ", ".join(f"{safe(n) + ' with ' if n else ''}{values.size} values" for n, values in row.values.items())
        if len(answer.named) == len(row.values) == 1:
            (values,) = row.values.values()
            return _failed(recorded, f"{counted(values.size, 'value')} against {answer.named[0][1].size}")
        return _failed(recorded, f"recorded: {there}; the model gives {have}")
    shown, kept = pairs[0]
    if shown.size > 1 and kept.size == 1:
        if not _is_index(kept):
            return _failed(recorded, f"1 value against {shown.size}, and {kept[0]:g} is no class")
        place = int(kept[0])
        same = place == best(shown)
        name = labels[place] if 0 <= place < len(labels) else str(place)
        return Expectation(recorded.path, None, not same, same, same, ((place, name, 1.0),))
    apart = max(largest_difference(ours.astype(np.float64), theirs.astype(np.float64)) for ours, theirs in pairs)
    with np.errstate(invalid="ignore", over="ignore"):
        identical = all(_equal(ours, theirs) for ours, theirs in pairs)
    within = identical or all(_within(recorded, ours, theirs) for ours, theirs in pairs)
    if shown.dtype.kind in "iu" and all(map(_is_index, kept)):
        # classes, as the model gives them
        kept = kept.astype(np.int64)
    changed = not within and _bests(shown, answer.rows) != _bests(kept, answer.rows)
    first = kept[: kept.size // answer.rows]
    return Expectation(recorded.path, apart, changed, identical, within, top_of(first, labels, count))


def _is_index(value: Array) -> bool:
    """A whole number that can count classes."""
    number = float(value if not value.shape else value[0])
    return number.is_integer() and 0 <= number < MAX_CLASS


def _bests(values: Array, rows: int) -> tuple[int, ...]:
    return bests(Answer((("", values.reshape(rows, -1)),), rows=rows))


def _equal(ours: Array, theirs: Array) -> bool:
    """Equal once the recorded values are in the dtype of ours; an integer output equals whole numbers alone."""
    if ours.dtype.kind in "iub":
        return np.array_equal(ours.astype(np.float64), theirs.astype(np.float64))
    return np.array_equal(ours, theirs.astype(ours.dtype), equal_nan=True)


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


def check_compared(recorded: Recorded, held: Sequence[Expectation | None]) -> None:
    """Raise UsageError where the file holds no answer for anything that was predicted."""
    if all(e is None or e.error == MISSING for e in held):
        raise UsageError(
            f"{safe(recorded.path)} holds no answer for {'this image' if len(held) == 1 else 'any of these images'}",
            "Its answers are found by path, else by file name, else by their place",
            title="Nothing to compare",
        )


def findings(model: str, recorded: Recorded, held: Sequence[tuple[str, Expectation]]) -> list[Finding]:
    """`expectation-differs` over all images: other values, another number of them, none recorded."""
    differing = [(path, e) for path, e in held if not e.within and not e.error]
    unlike = [(path, e) for path, e in held if e.error and e.error != MISSING]
    missing = [path for path, e in held if e.error == MISSING]
    if not differing and not unlike and not missing:
        return []
    largest = max((e.max_abs_diff or 0.0 for _, e in differing), default=0.0)
    changed = sum(bool(e.top1_changed) for _, e in differing)
    judged = sum(not e.error for _, e in held)
    where, said = safe(recorded.path), []
    if differing:
        answer = "answers" if len(differing) == 1 else "answer"
        digits = "" if recorded.decimals is None else f", written with {recorded.decimals} digits after the point"
        said.append(
            f"{len(differing)} of {counted(judged, 'image')} {answer} otherwise than recorded in "
            f"{where}{digits}: by up to {largest:.3g}, {changed} with another best answer"
        )
    if unlike:
        said.append(f"the answer in {where} to {counted(len(unlike), 'image')} does not fit: {unlike[0][1].error}")
    if missing:
        said.append(f"no answer is recorded in {where} for {counted(len(missing), 'image')}: {safe(missing[0])}")
    evidence: dict[str, Any] = {
        "file": recorded.path,
        "max_abs": largest,
        "top1_changed": changed,
        "decimals": recorded.decimals,
        "significant": recorded.significant,
        "rounding": ROUNDING,
        "images": [path for path, _ in differing],
    }
    evidence |= {"mismatched": {path: e.error for path, e in unlike}} if unlike else {}
    evidence |= {"missing": missing} if missing else {}
    detail = "; ".join(said)
    if differing or unlike:
        return [make("expectation-differs", model, detail=detail, evidence=evidence)]
    title, advice = "No answer is recorded for some images", "Record them too, or predict the recorded ones alone."
    found = make(
        "expectation-differs", model, detail=detail, evidence=evidence, severity="warning", title=title, advice=advice
    )
    return [found]
