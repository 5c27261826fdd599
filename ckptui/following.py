"""A run over time: the part of a session that follows its saves."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from ckptui.core.model import (
    Finding,
    Found,
    Histogram,
    Kind,
    Listing,
    Progress,
    RunFolder,
    SaveColumn,
    Scalars,
    TimelineReport,
    TimelineRow,
    TimelineStart,
    Watched,
)

if TYPE_CHECKING:
    from ckptui.engine.pool import Pool


class Following(Protocol):
    """What these use cases stand on."""

    @property
    def pool(self) -> Pool: ...

    def open(self, path: str, kind: Kind | None = None, found: Found | None = None) -> Listing: ...

    def has_open(self, path: str) -> bool: ...

    def forget(self, path: str) -> None: ...

    def saves_of(self, run: RunFolder) -> tuple[Found, ...]: ...

    def curves(
        self, run: RunFolder, cancel: threading.Event | None = None
    ) -> tuple[tuple[Scalars, ...], tuple[Finding, ...]]: ...


class TimelineUseCases:
    """The part of a session that goes through the saves of a run."""

    def run_at(self, path: str | os.PathLike[str]) -> RunFolder:
        """The run a user means by a path: its folder, its own pattern or state file, or one of its saves.

        Raises:
            UsageError: the folder holds several runs; the hint names them.
            NoSuchPath, NotASave: nothing is there, or no run.
        """
        from ckptui.readers.run_of import run_at

        return run_at(path)

    def run_or_none(self, path: str | os.PathLike[str]) -> RunFolder | None:
        """The run of at least two saves that a path means; None where it means one save. Raises UsageError."""
        from ckptui.readers.run_of import run_or_none

        return run_or_none(path)

    def saves_of(self, run: RunFolder) -> tuple[Found, ...]:
        """The saves of a run that are there now, oldest first, with kind, step and time."""
        from ckptui.readers.run_of import saves_of

        return saves_of(run)

    def scalars(self, run: RunFolder, cancel: threading.Event | None = None) -> tuple[Scalars, ...]:
        """Curves of the event files of a run: loss and learning rate first."""
        return self.curves(run, cancel)[0]

    def curves(
        self, run: RunFolder, cancel: threading.Event | None = None
    ) -> tuple[tuple[Scalars, ...], tuple[Finding, ...]]:
        """The same with what is wrong with the event files."""
        from ckptui.readers.event_files import curves_of

        curves = curves_of(run, cancel.is_set if cancel is not None else bool)
        return curves.scalars, curves.findings

    def watch(
        self, paths: Sequence[str], cancel: threading.Event, known: Sequence[Found] | None = None
    ) -> Iterator[Watched]:
        """What changes among the saves below `paths`, as it happens; ends within half a second of `cancel`.

        `known`: saves that the caller has; what is no longer as it was then is told first. Blocks; nothing is read but
        names, sizes and first bytes, nothing is locked.
        """
        from ckptui.watching import watch

        yield from watch(paths, cancel, known)

    def timeline(
        self: Following,
        run: RunFolder,
        *,
        pattern: str | None = None,
        cancel: threading.Event | None = None,
        known: TimelineReport | None = None,
    ) -> Iterator[TimelineStart | SaveColumn | Progress | TimelineReport]:
        """All saves of a run over time: a column a save as it is read, oldest first; the report comes last.

        Each save's bytes are read once, its checksums compared on the way. `pattern` keeps tensors in whose name it is
        found. Of saves that `known` tells of, and that are as they were, no column is read again: it comes at once.

        Raises:
            Cancelled: `cancel` was set before the end.
        """
        from ckptui.engine.timeline import Followed, follow

        saves = self.saves_of(run)
        yield TimelineStart(run, saves)

        def opened(found: Found) -> Listing:
            had = self.has_open(found.path)
            listing = self.open(found.path, found=found)
            if not had:
                # hundreds of listings would not stay flat
                self.forget(found.path)
            return listing

        told: Followed | None = None
        for item in follow(self.pool, saves, opened, pattern=pattern, cancel=cancel, known=known):
            if isinstance(item, Followed):
                told = item
            else:
                yield item
        assert told is not None
        # what judges needs numpy, and the first save need not wait for it
        from ckptui.triage.timeline import course_findings

        scalars, about_events = self.curves(run, cancel)
        judged = course_findings(run, saves, told.artifacts, told.rows, told.points, told.newest, scalars)
        # a save's own finding may stand among the run's too
        every = {(f.code, f.artifact, f.tensor, f.detail): f for f in (*run.findings, *told.findings)}
        findings = (*every.values(), *judged, *about_events)
        yield TimelineReport(run, saves, told.artifacts, told.rows, told.points, scalars, findings)

    def history(
        self: Following,
        run: RunFolder | Sequence[Found],
        row: TimelineRow,
        saves: Sequence[Found] | None = None,
        *,
        bins: int = 40,
        cancel: threading.Event | None = None,
    ) -> tuple[Histogram | None, ...]:
        """The values of one row over the saves (given, or the run's), one histogram a save over one common range.

        Counted are at most 65,536 evenly spread values of each save: `Histogram.sampled` says how many where those
        are not all. None for a save that has no such tensor or can't be read.

        Raises:
            Cancelled: `cancel` was set before the end.
        """
        from ckptui.engine.histories import histories

        chosen = saves if saves is not None else self.saves_of(run) if isinstance(run, RunFolder) else run
        return histories(self.pool, chosen, row, bins, cancel)
