"""What a diff does in threads: compare all, look at one pair closely; posts messages, knows no widget."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from textual.message import Message

from ckptui.core.model import DiffReport, Histogram, Listing, Pair, Progress, Stats, Tensor, TensorScan
from ckptui.errors import Cancelled, CkptuiError
from ckptui.session import Session
from ckptui.ui.diff_rows import DiffRows, arrange, own_names
from ckptui.ui.widgets.filter_images import TripleSet
from ckptui.ui.widgets.subject import Subject, kernel_layout

Post = Callable[[Message], object]
POST_EVERY = 0.1
LARGEST_DRAWN = 16_000_000
"""Bytes of a kernel that are fetched to be drawn; there are three of each."""
BINS = 120
FEW_BINS, FEW_VALUES = 24, 400
"""A histogram of few values in many bins is a comb."""


class Compared(Message):
    """More pairs, sorted."""

    def __init__(self, rows: DiffRows, progress: Progress | None) -> None:
        super().__init__()
        self.rows = rows
        self.progress = progress


class Ended(Message):
    """The comparison is over."""

    def __init__(self, report: DiffReport | None = None, error: CkptuiError | None = None) -> None:
        super().__init__()
        self.report = report
        self.error = error


@dataclass(frozen=True, slots=True)
class Close:
    """A close look at one pair."""

    pair: Pair
    tensors: tuple[Tensor | None, Tensor | None]
    stats: tuple[Stats | None, Stats | None] = (None, None)
    histograms: tuple[Histogram, Histogram] | None = None
    subject: Subject | None = None
    """Both filters and their difference."""
    error: str = ""


class LookedClosely(Message):
    """What a close look has seen so far."""

    def __init__(self, close: Close) -> None:
        super().__init__()
        self.close = close


def compare(session: Session, a: Listing, b: Listing, post: Post, cancel: threading.Event) -> None:
    """Compare two saves; rows go out sorted, less often the longer the sorting takes."""
    pairs: list[Pair] = []
    progress: Progress | None = None
    report: DiffReport | None = None
    due = time.monotonic()
    names = own_names(a, b)
    try:
        for item in session.diff(a, b, cancel=cancel):
            if isinstance(item, Pair):
                pairs.append(item)
            elif isinstance(item, Progress):
                progress = item
            else:
                report = item
            now = time.monotonic()
            if now >= due:
                post(Compared(arrange(DiffRows(tuple(pairs), names=names)), progress))
                due = now + max(POST_EVERY, 5 * (time.monotonic() - now))
    except Cancelled:
        return
    except CkptuiError as error:
        post(Compared(arrange(DiffRows(tuple(pairs), names=names)), None))
        post(Ended(error=error))
        return
    compared = report.pairs if report is not None else tuple(pairs)
    post(Compared(arrange(DiffRows(compared, names=names)), None))
    post(Ended(report))


def look_closely(
    session: Session, sides: tuple[Listing, Listing], pair: Pair, post: Post, cancel: threading.Event
) -> None:
    """Read both tensors of a pair: numbers first, then pictures."""
    found: list[Tensor | None] = []
    close = Close(pair, (None, None))
    try:
        for listing, name in zip(sides, (pair.a, pair.b), strict=True):
            found.append(session.tensor(listing, name) if name is not None else None)
        close = replace(close, tensors=(found[0], found[1]))
        post(LookedClosely(close))
        stats = tuple(_stats(session, listing, t, cancel) for listing, t in zip(sides, found, strict=True))
        close = replace(close, stats=(stats[0], stats[1]))
        post(LookedClosely(close))
        if not cancel.is_set():
            post(LookedClosely(_pictured(session, sides, close)))
    except Cancelled:
        return
    except CkptuiError as error:
        post(LookedClosely(replace(close, error=str(error))))


def _stats(session: Session, listing: Listing, tensor: Tensor | None, cancel: threading.Event) -> Stats | None:
    if tensor is None or tensor.problem:
        return None
    for item in session.scan(listing, [tensor.name], cancel=cancel):
        if isinstance(item, TensorScan):
            return item.stats
    return None


def _pictured(session: Session, sides: tuple[Listing, Listing], close: Close) -> Close:
    """Kernels of one shape as triples, anything else with numbers as two histograms."""
    a, b = close.tensors
    if a is None or b is None or a.problem or b.problem or a.count < 2 or b.count < 2:
        return close
    if any(t.dtype in ("string", "variant", "resource") for t in (a, b)):
        return close
    if a.shape == b.shape and len(a.shape) >= 3 and max(a.bytes, b.bytes) <= LARGEST_DRAWN:
        arrays = [session.array(side, t.name, LARGEST_DRAWN) for side, t in zip(sides, (a, b), strict=True)]
        layouts = [kernel_layout(t, np.asarray(v)) for t, v in zip((a, b), arrays, strict=True)]
        if layouts[0] is not None and layouts[1] is not None:
            return replace(close, subject=Subject("filters", pictures=TripleSet(layouts[0], layouts[1])))
    bins = BINS if max(a.count, b.count) > FEW_VALUES else FEW_BINS
    both = [session.histogram(side, t.name, bins) for side, t in zip(sides, (a, b), strict=True)]
    return replace(close, histograms=(both[0], both[1]))
