"""Answers to why that are kept while the program runs, and what of an answer is said otherwise in front of a screen."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field

from ckptui.core.causes import Symptom, WhyReport
from ckptui.ui.prediction_request import Identity
from ckptui.ui.why_rows import Entry, Fold

ENOUGH_IMAGES = 20
"""Images of a folder from which on they tell what one can't."""


@dataclass(frozen=True, slots=True)
class Asking:
    """What a question is asked with."""

    image: str = ""
    against: str = ""
    """The save marked as A."""
    folder: str = ""
    """Of images."""

    def words(self) -> str:
        """What it is asked with beside the save itself; empty where that is nothing."""
        parts = [os.path.basename(self.image)] if self.image else []
        parts += [f"A {os.path.basename(self.against.rstrip('/'))}"] if self.against else []
        return " and ".join(parts)


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer, and how one looked at it when one left."""

    report: WhyReport
    identity: Identity
    """Of the save's files before anything of them was read."""
    asking: Asking
    symptom: Symptom | None = None
    entry: Entry | None = None
    unfolded: frozenset[Fold] = frozenset()
    when: float = field(default_factory=time.time)

    def words(self, now: Asking) -> str:
        """That it is kept, since when, and what asking anew would ask with that this was not."""
        also = f", with {now.words()}" if now.words() and (now.image, now.against) != self.seen_with else ""
        return f"kept since {time.strftime('%H:%M', time.localtime(self.when))}; r asks anew{also}"

    @property
    def seen_with(self) -> tuple[str, str]:
        """Image and other save of this answer."""
        return self.asking.image, self.asking.against
