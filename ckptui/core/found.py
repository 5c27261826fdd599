"""What a look through folders meets, before anything is read: saves, runs, and what is to be said of a run."""

from __future__ import annotations

from dataclasses import dataclass

from ckptui.core.vocabulary import Finding, Kind


@dataclass(frozen=True, slots=True)
class Found:
    """A save met while looking through folders, before anything in it is read."""

    path: str
    kind: Kind
    label: str
    folder: str
    """The folder a tree shows it under (for a SavedModel: the parent of its own folder)."""
    step: int | None = None
    run: str = ""
    """Path of the run folder it belongs to; empty when it stands alone."""
    latest: bool = False
    """The run's `checkpoint` state file names it as the latest."""
    modified: float = 0.0
    findings: tuple[Finding, ...] = ()
    """Why it can't be opened, where the look at its first bytes already tells."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A folder with successive saves of one training."""

    path: str
    label: str
    saves: tuple[str, ...]
    """Paths of its saves, oldest first."""
    latest: str = ""
    """Path of the save its state file names, if that save is there."""
    state: str = ""
    """Path of its state file; empty where it has none."""
    stated: str = ""
    """The latest save as it stands in the state file."""
    leftovers: tuple[str, ...] = ()
    """Paths of what saves, copies and clean-ups that did not end left in it."""
    findings: tuple[Finding, ...] = ()
    """state-dangling, state-stale, state-elsewhere, interrupted-save, ..."""
