"""A run over time: the part of a session that follows its saves."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from ckptui.core.model import Finding, Found, RunFolder, Scalars, Watched

if TYPE_CHECKING:
    from ckptui.engine.pool import Pool


class Following(Protocol):
    """What these use cases stand on."""

    @property
    def pool(self) -> Pool: ...


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

    def watch(self, paths: Sequence[str], cancel: threading.Event) -> Iterator[Watched]:
        """What changes among the saves below `paths`, as it happens; ends within half a second of `cancel`.

        Blocks; nothing is read but names, sizes and first bytes, nothing is locked.
        """
        from ckptui.watching import watch

        yield from watch(paths, cancel)
