"""Two saves held against each other: the part of a session that compares."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from ckptui.core.model import DiffReport, Listing, Pair, Progress

if TYPE_CHECKING:
    from ckptui.engine.pool import Pool


class Comparing(Protocol):
    """What these use cases stand on."""

    @property
    def pool(self) -> Pool: ...


class ComparisonUseCases:
    """The part of a session that compares saves."""

    def diff(
        self: Comparing,
        a: Listing,
        b: Listing,
        *,
        pattern: str | None = None,
        cancel: threading.Event | None = None,
    ) -> Iterator[Pair | Progress | DiffReport]:
        """Hold candidate `b` against baseline `a`, tensor by tensor; the report comes last."""
        from ckptui.engine.compare_saves import compare_saves

        yield from compare_saves(self.pool, a, b, pattern=pattern, cancel=cancel)
