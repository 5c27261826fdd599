"""What a command of the workbench is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """One thing a key does."""

    id: str
    """Stable name, for keymaps."""
    scope: str
    """Who carries it out: `app`, `main`, `list`, `gallery`, `matrix`, `inspector`, `predict`, `diff`, ..."""
    action: str
    """Textual action, parameters included."""
    keys: tuple[str, ...]
    """Textual key names; the first is the one shown."""
    label: str
    """Two words at most, for the footer."""
    help: str
    """One sentence, for the help screen and the palette."""
    group: str
    """Heading it stands under in the help screen."""
    areas: tuple[str, ...] = ()
    """Focus areas in which the footer puts it first."""
    rank: int = 0
    """Place in the footer, small first; 0 keeps it out."""
    pinned: bool = False
    """Always at the right end of the footer."""
    both: str = ""
    """What the footer shows instead of the first key: this one and that of its opposite."""
    not_in: tuple[str, ...] = ()
    """Focus areas in which the footer leaves it out."""


MOVING, LOOKING, COMPARING, DOING, WORKBENCH = "Moving", "Looking", "Comparing", "Doing", "Workbench"
