"""What a run of saves comes to: which of them is the newest good one, and whether the state file leads there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RunVerdict:
    """One run, judged by what is known of its saves. Paths; empty ones are unknown or not there."""

    path: str
    """The run's folder, or a pattern or state file in it where the folder holds several runs."""
    label: str
    saves: tuple[str, ...]
    """Oldest first."""
    latest: str = ""
    """The save the state file names, if that is there."""
    state: str = ""
    """The state file."""
    newest_good: str = ""
    """The newest save without an error."""
    verified: bool = False
    """The bytes of the newest good save were read and checked; else names, sizes and index only."""
    damaged: tuple[str, ...] = ()
    """Saves with an error, oldest first."""
    unchecked: tuple[str, ...] = ()
    """Saves nothing is known of yet, oldest first."""
    leftovers: tuple[str, ...] = ()
    """What saves, copies and clean-ups that did not end left."""
    stated: str = ""
    """The latest save as it stands in the state file."""

    @property
    def misled(self) -> bool:
        """The state file leads to another save than the newest good one, or to none."""
        return bool(self.state and self.newest_good) and self.latest != self.newest_good

    def to_json(self) -> dict[str, Any]:
        """The run as the commands print it; null for what is not there."""
        return {
            "path": self.path,
            "label": self.label,
            "saves": list(self.saves),
            "latest": self.latest or None,
            "state": self.state or None,
            "newest_good": self.newest_good or None,
            "verified": self.verified,
            "damaged": list(self.damaged),
            "leftovers": list(self.leftovers),
        }
