"""A diff as it is to be shown: which pairs, in which order, what counts as a difference, and how many in words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from ckptui.core.model import DiffReport, Listing, Pair
from ckptui.core.report import PAIR_STATUSES, STATE_WORDS_OF_ROLES
from ckptui.core.text import human_count, number_text

STATUS_WORDS: dict[str, str] = {
    "shape-changed": "other shape",
    "dtype-changed": "other dtype",
    "only-a": "only in A",
    "only-b": "only in B",
}
FEW_STATES = 8
"""Up to so many rows of training state are shown one by one."""
CONFIG = "config-changed"


@dataclass(frozen=True, slots=True)
class DiffView:
    """A diff and how it is to be shown."""

    report: DiffReport
    a: Listing
    b: Listing
    only: tuple[str, ...] = ()
    """Statuses whose pairs are shown; all of them where empty. The summary and the relation are of all pairs."""
    fail_above: float | None = None
    in_full: bool = False
    """Rows of training state are what was asked for."""
    weights: bool = False
    """The model's weights alone were compared."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """What stands for a save that is not at hand: `A` -> `digest a.json`."""

    @property
    def pairs(self) -> list[Pair]:
        """The pairs shown."""
        return [pair for pair in self.report.pairs if not self.only or pair.status in self.only]

    @property
    def shown(self) -> list[Pair]:
        """The pairs that get a row, the worst first: all but identical ones, and these too where they are asked for."""
        pairs = [pair for pair in self.pairs if pair.status != "identical" or "identical" in self.only]
        return sorted(pairs, key=lambda p: (PAIR_STATUSES.index(p.status), -apart(p)))


def apart(pair: Pair) -> float:
    """How far a pair is apart for sorting and for thresholds: infinity where no number tells."""
    if pair.status == "identical":
        return 0.0
    change = pair.relative_l2
    return math.inf if change is None or not math.isfinite(change) or pair.left_out else change


def is_difference(pair: Pair, above: float | None) -> bool:
    """Whether a pair counts as one: everything but identical ones, and distances that are not above the threshold."""
    if pair.status == "identical":
        return False
    return above is None or pair.status not in ("changed", "dtype-changed") or apart(pair) > above


def summary_words(view: DiffView) -> str:
    """`14 changed, 2 only in A, 14 identical (not shown)`."""
    counts = view.report.summary
    words = []
    for status in PAIR_STATUSES:
        if counts[status]:
            hidden = bool(view.only) and status not in view.only
            hidden = hidden or (status == "identical" and "identical" not in view.only)
            shown = " (not shown)" if hidden else ""
            words.append(f"{human_count(counts[status])} {STATUS_WORDS.get(status, status)}{shown}")
    return ", ".join(words) or "nothing to compare"


def threshold_words(view: DiffView) -> str:
    """How many pairs count as a difference where small ones don't."""
    count = sum(is_difference(p, view.fail_above) for p in view.report.pairs)
    above = number_text(view.fail_above)
    if not count:
        return f"no difference above {above}"
    return f"{human_count(count)} difference{'s' if count != 1 else ''} above {above}"


def state_words(view: DiffView) -> str:
    """Why two saves with the same weights are no less a difference; empty where something else differs, or nothing."""
    pairs = view.report.pairs
    apart = [p for p in pairs if is_difference(p, view.fail_above)]
    others = [p for p in pairs if p.role not in STATE_WORDS_OF_ROLES]
    configured = any(f.code == CONFIG and f.severity != "info" for f in view.report.findings)
    if configured or not apart or not others or any(p.role not in STATE_WORDS_OF_ROLES for p in apart):
        return ""
    counts = Counter((STATE_WORDS_OF_ROLES[p.role], p.status) for p in apart)
    words = [
        f"{human_count(count)} {word}{'s' if count != 1 else ''} {STATUS_WORDS.get(status, status)}"
        for (word, status), count in counts.most_common(FEW_STATES)
    ]
    alike = "the weights are identical" if view.fail_above is None else "no weight differs by more"
    return f"{alike}; what differs is training state: {', '.join(words)} (--weights leaves it out)"
