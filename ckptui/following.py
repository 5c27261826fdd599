"""A run over time: the part of a session that follows its saves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ckptui.engine.pool import Pool


class Following(Protocol):
    """What these use cases stand on."""

    @property
    def pool(self) -> Pool: ...


class TimelineUseCases:
    """The part of a session that goes through the saves of a run."""
