"""What a timeline does in threads: go through saves, read curves and histograms; posts messages, knows no widget."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from textual.message import Message

from ckptui.core.model import (
    Histogram,
    RunFolder,
    SaveColumn,
    Scalars,
    TimelineReport,
    TimelineRow,
    TimelineStart,
)
from ckptui.errors import Cancelled, CkptuiError
from ckptui.session import Session
from ckptui.ui.timeline_rows import Course

Post = Callable[[Message], object]
POST_EVERY = 0.2
BINS = 48


class CourseBegan(Message):
    """The saves of a run are known; none is read yet."""

    def __init__(self, course: Course) -> None:
        super().__init__()
        self.course = course


class CourseGrew(Message):
    """More of the run is told."""

    def __init__(self, course: Course) -> None:
        super().__init__()
        self.course = course


class CourseEnded(Message):
    """The timeline of a run is through, or failed."""

    def __init__(self, run: str, course: Course | None, error: CkptuiError | None = None) -> None:
        super().__init__()
        self.run = run
        self.course = course
        self.error = error


class CurvesRead(Message):
    """Curves of the event files beside a run."""

    def __init__(self, run: str, scalars: tuple[Scalars, ...]) -> None:
        super().__init__()
        self.run = run
        self.scalars = scalars


class HistoryRead(Message):
    """One tensor's values over the saves: a histogram each, all over one range."""

    def __init__(
        self, course: Course, row: TimelineRow, histograms: Sequence[Histogram | None], problem: str = ""
    ) -> None:
        super().__init__()
        self.course = course
        self.row = row
        self.histograms = histograms
        self.problem = problem
        """Why there are none."""


def follow(session: Session, run: RunFolder, known: TimelineReport | None, post: Post, cancel: threading.Event) -> None:
    """Go through the saves of a run; what `known` tells of them is not read again, and stays on show until told."""
    course: Course | None = None
    begun = ended = False
    posted = time.monotonic()
    try:
        for item in session.timeline(run, cancel=cancel, known=known):
            if cancel.is_set():
                return
            if isinstance(item, TimelineStart):
                course = Course(item)
            elif course is not None and isinstance(item, SaveColumn):
                course.take(item)
            elif course is not None and isinstance(item, TimelineReport):
                course.finish(item)
            if course is not None and not begun and (known is None or time.monotonic() - posted >= POST_EVERY):
                course.judged(known.findings if known is not None else ())
                post(CourseBegan(course))
                begun, posted = True, time.monotonic()
            elif course is not None and begun and time.monotonic() - posted >= POST_EVERY:
                post(CourseGrew(course))
                posted = time.monotonic()
    except Cancelled:
        ended = True
    except CkptuiError as error:
        ended = True
        if not cancel.is_set():
            post(CourseEnded(run.path, course, error))
    else:
        ended = True
        if not cancel.is_set():
            post(CourseEnded(run.path, course))
    finally:
        if not ended and not cancel.is_set():
            # what else went wrong has a window of its own; the timeline can be asked for again
            post(CourseEnded(run.path, None))


def read_curves(session: Session, run: RunFolder, post: Post, cancel: threading.Event) -> None:
    """Read the event files beside a run; without any there is nothing to tell."""
    try:
        scalars = session.scalars(run, cancel)
    except CkptuiError:
        # a curve is an extra: the timeline tells the rest
        return
    if scalars and not cancel.is_set():
        post(CurvesRead(run.path, tuple(scalars)))


def read_history(session: Session, course: Course, row: TimelineRow, post: Post, cancel: threading.Event) -> None:
    """Read one tensor in every save."""
    try:
        histograms = session.history(course.run, row, course.saves, bins=BINS, cancel=cancel)
    except Cancelled:
        return
    except CkptuiError as error:
        if not cancel.is_set():
            post(HistoryRead(course, row, (), str(error)))
        return
    if not cancel.is_set():
        post(HistoryRead(course, row, tuple(histograms)))
