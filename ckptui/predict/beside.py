"""An input among others in one batch, which should not move its answer: what batch statistics show in."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from ckptui.core.model import Run
from ckptui.core.text import counted
from ckptui.errors import UsageError
from ckptui.predict import compare
from ckptui.predict.answers import Feed
from ckptui.predict.compare import IN_BATCH
from ckptui.predict.loading import Loaded
from ckptui.predict.material import Material
from ckptui.predict.subject import Subject

ONE_ANSWER = "one answer for the whole batch: nothing to hold against"


def batched(subject: Subject, others: Sequence[Material], model: Loaded, cancel: threading.Event | None) -> Run:
    """In the first row of a batch of others, beside a batch as large of copies of itself.

    The copies are the control: the kernels of a batch round otherwise than those of a single row.
    """
    assert subject.material is not None
    batch, alone = subject.material.among(others), subject.feed()
    if batch is None and subject.answer.rows > 1:
        return _first_of_rows(subject, alone, model, cancel)
    if batch is None or batch.rows < 2 or alone.rows not in (1, batch.rows):
        return subject.unasked(IN_BATCH, "no batch of others: its size is fixed, or the input has no batch axis")
    rows = batch.rows
    copies = alone if alone.rows == rows else _repeated(alone, rows)
    (whole,), seconds = model.call(batch, 1, cancel)
    (control,), _ = model.call(copies, 1, cancel)
    if not whole.main.ndim or whole.main.shape[0] != rows:
        text = whole.named[whole.chosen][1].dtype.kind in "OSU"
        what = "the answer is text: no difference to measure" if text else ONE_ANSWER
        return subject.unasked(IN_BATCH, what)
    row, same = whole.row(0, rows), control.row(0, rows)
    subject.facts.among_copies = subject.answer.relative(same)
    subject.facts.among_others = same.relative(row)
    subject.facts.among_others_by = same.apart(row)
    detail = f"among {counted(rows - 1, 'other')}; {compare.size_text(subject.answer.apart(same))} among copies"
    return subject.compared(IN_BATCH, [row], seconds, detail)


def _first_of_rows(subject: Subject, given: Feed, model: Loaded, cancel: threading.Event | None) -> Run:
    """Of rows that were given together the first: alone against among the rest, copies the control as ever."""
    rows, facts = given.rows, subject.facts
    first = Feed(tuple((name, values[:1]) for name, values in given.parts))
    try:
        (alone,), seconds = model.call(first, 1, cancel)
    except UsageError:
        return subject.unasked(IN_BATCH, f"it takes {rows} rows and no single one")
    (control,), _ = model.call(_repeated(first, rows), 1, cancel)
    single, same, row = alone.row(0, 1), control.row(0, rows), subject.answer.row(0, rows)
    facts.among_copies, facts.among_others = single.relative(same), same.relative(row)
    facts.among_others_by = same.apart(row)
    detail = f"row 1 alone against among all {rows}; {compare.size_text(single.apart(same))} among copies"
    run = compare.compared_run(IN_BATCH, single, [row], seconds, subject.labels, subject.top, detail)
    facts.relative[IN_BATCH] = single.relative(row)
    return facts.keep(run)


def _repeated(feed: Feed, rows: int) -> Feed:
    return Feed(tuple((name, np.repeat(values, rows, axis=0)) for name, values in feed.parts))
