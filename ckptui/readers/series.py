"""Names that differ from save to save in their step only."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from ckptui.core.model import Found
from ckptui.core.names import natural_key, step_of

CHECKPOINTS = ("tf-checkpoint", "tf-checkpoint-v1")

_DIGITS = re.compile(r"[0-9]+")
_METRIC = re.compile(r"[0-9]+\.[0-9]+")
_COUNTED = re.compile(
    r"(?i)(?:.*[^a-z])?(?:epochs?|ep|(?:global_?)?steps?|iter|iteration|ckpt|cp|checkpoints?|weights?)[-_.= ]?"
)
_STEP_WORD = re.compile(r"(?:^|[^A-Za-z0-9]|epochs?|steps?|ep|iter|iteration|ckpt|cp)$", re.IGNORECASE)


def series_of(found: Found) -> tuple[str, str] | None:
    """What stays the same from save to save: the name before the step, and the suffix; None without a step."""
    name = found.label
    step = found.step
    if step is None:
        return None
    suffix = "" if found.kind in CHECKPOINTS else _suffix(name)
    places = [m for m in _DIGITS.finditer(name) if len(m[0]) <= 18 and int(m[0]) == step]
    if not places:
        return None
    after_word = [m for m in places if _STEP_WORD.search(name[: m.start()])]
    place = (after_word or places)[0]
    # what was measured may stand before the step: `acc0.93_epoch5.h5`
    return _METRIC.sub("#", name[: place.start()]), suffix


def counts_steps(stem: str) -> bool:
    """Whether what stands before a number says that it is a step: `epoch_`, `weights.`, but not `data-`."""
    return _COUNTED.fullmatch(stem) is not None


def series_of_name(name: str) -> tuple[str, str] | None:
    """The series that a checkpoint of this name would belong to."""
    return series_of(Found("", "tf-checkpoint", name, "", step_of(name)))


def in_order(saves: Sequence[Found]) -> list[Found]:
    """Oldest first: by step where names carry one, else by time."""
    return sorted(saves, key=lambda s: (s.step is not None, s.step or 0, s.modified, natural_key(s.label)))


def _suffix(name: str) -> str:
    lower = name.lower()
    return ".weights.h5" if lower.endswith(".weights.h5") else os.path.splitext(lower)[1]
