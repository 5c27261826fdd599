"""The rows of a diff: which are shown, in which order, and the words and numbers of one pair. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from rich.cells import cell_len

from ckptui.core.model import Artifact, Finding, Listing, Pair, PairStatus, Stats, Tensor
from ckptui.core.report import PAIR_STATUSES
from ckptui.core.text import human_count, number_text, safe, shape_text, step_text
from ckptui.ui.fitting import fit_middle, left, right
from ckptui.ui.naming import STORED_TAIL, own_name

Order = Literal["change", "largest", "cosine", "name"]
ORDERS: tuple[Order, ...] = ("change", "largest", "cosine", "name")
ORDER_WORDS: dict[Order, str] = {
    "change": "by relative change",
    "largest": "by largest change",
    "cosine": "by cosine",
    "name": "by name",
}
STATUS_WORDS: dict[PairStatus, str] = {
    "unreadable": "unreadable",
    "shape-changed": "other shape",
    "dtype-changed": "other dtype",
    "changed": "changed",
    "only-a": "only in A",
    "only-b": "only in B",
    "identical": "identical",
}
STATUS_STYLES: dict[PairStatus, str] = {
    "unreadable": "error",
    "shape-changed": "warning",
    "dtype-changed": "warning",
    "changed": "",
    "only-a": "mark",
    "only-b": "odd",
    "identical": "dim",
}
"""Names of row styles."""
IDENTICAL, STATE = -1, -2
"""Stand in the order for the rows that fold: pairs that are identical; what changes with every step of training."""
FOLD_WORDS: dict[int, str] = {IDENTICAL: "identical", STATE: "optimizer slots and counters changed"}
STATE_ROLES = frozenset({"slot", "counter", "step", "rng-state", "metric", "object-graph"})
LEAST_LABEL = 8
HUGE = 10_000
"""Saves with more tensors keep their stored names: a lazy listing is not decoded as a whole for nicer ones."""


@dataclass(frozen=True, slots=True)
class DiffRows:
    """Pairs in the order shown; made in a thread, handed to the table as a whole."""

    pairs: Sequence[Pair]
    order: tuple[int, ...] = ()
    """Places in `pairs`, and `FOLD`."""
    by: Order = "change"
    status: PairStatus | None = None
    """Only pairs of this status."""
    unfolded: frozenset[int] = frozenset()
    """Folds whose pairs are shown one by one."""
    counts: Mapping[PairStatus, int] = field(default_factory=dict)
    folded: Mapping[int, int] = field(default_factory=dict)
    """How many pairs each fold holds."""
    largest: float = 0.0
    """The largest finite relative change of a weight, for the bars; 1 at most."""
    names: Mapping[str, str] = field(default_factory=dict)
    """The variables' own names by stored name, where they differ."""
    longest: int = 0
    """Characters of the longest name shown."""

    @property
    def present(self) -> tuple[PairStatus, ...]:
        """Statuses that exist."""
        return tuple(s for s in PAIR_STATUSES if self.counts.get(s))

    def name(self, pair: Pair) -> str:
        """What a pair is called: the candidate's tensor, or the lone one."""
        stored = pair_name(pair)
        return self.names.get(stored) or stored.removesuffix(STORED_TAIL)


def pair_name(pair: Pair) -> str:
    """The stored name of the candidate's tensor, or of the lone one."""
    return pair.b if pair.b is not None else pair.a or ""


def own_names(*listings: Listing) -> dict[str, str]:
    """The variables' own names where they differ from the stored ones."""
    found: dict[str, str] = {}
    for listing in listings:
        if len(listing.tensors) <= HUGE:
            found.update((t.name, t.object_path) for t in listing.tensors if t.object_path not in ("", t.name))
    return found


def fold_of(pair: Pair) -> int | None:
    """The fold a pair goes into; None for what every reader of a diff wants to see."""
    if pair.status == "identical":
        return IDENTICAL
    return STATE if pair.status == "changed" and pair.role in STATE_ROLES else None


def arrange(rows: DiffRows) -> DiffRows:
    """Sort and filter: what can't be compared first, then by the order asked for, identical ones last."""
    pairs = rows.pairs
    ranks = np.array([PAIR_STATUSES.index(pair.status) for pair in pairs], dtype=np.int8)
    counts = {status: int((ranks == i).sum()) for i, status in enumerate(PAIR_STATUSES)}
    changes = np.array([_number(pair.relative_l2) for pair in pairs])
    folds = np.array([fold_of(pair) or 0 for pair in pairs])
    weights = changes[np.isfinite(changes) & (folds != STATE)]
    order = [int(i) for i in _sorted(rows, ranks, changes)]
    folded = {fold: int((folds == fold).sum()) for fold in (STATE, IDENTICAL)}
    if rows.status is not None:
        order = [i for i in order if pairs[i].status == rows.status]
    else:
        shown = [i for i in order if not folds[i]]
        for fold, count in folded.items():
            members = [i for i in order if folds[i] == fold] if fold in rows.unfolded else []
            shown += [fold, *members] if count else []
        order = shown
    largest = min(float(weights.max(initial=0.0)), 1.0) or 1.0
    longest = max((len(rows.name(pairs[i])) for i in order if i >= 0), default=0)
    return replace(rows, order=tuple(order), counts=counts, folded=folded, largest=largest, longest=longest)


def _number(value: float | None) -> float:
    """NaN is as far off as can be; no number at all is no change."""
    if value is None:
        return 0.0
    return float("inf") if value != value else value


def _sorted(rows: DiffRows, ranks: Any, changes: Any) -> Sequence[int]:
    pairs = rows.pairs
    if rows.by == "name":
        names = [rows.name(pair) for pair in pairs]
        return sorted(range(len(pairs)), key=names.__getitem__)
    if rows.by == "largest":
        keys = -np.array([_number(pair.max_abs) for pair in pairs])
    elif rows.by == "cosine":
        keys = np.array([2.0 if pair.cosine is None else pair.cosine for pair in pairs])
    else:
        keys = -changes
    found: list[int] = np.lexsort((keys, ranks)).tolist()
    return found


def share(change: float | None, largest: float) -> float:
    """How long the bar of a relative change is: the square root, so that small changes stay visible."""
    if change is None or largest <= 0:
        return 0.0
    if change != change:
        return 1.0
    return float(min(change / largest, 1.0) ** 0.5)


def change_text(value: float | None) -> str:
    """A relative change in few columns: per cent where it is large enough to read so."""
    if value is None:
        return "–"
    if value != value or value in (float("inf"),):
        return number_text(value)
    if value == 0:
        return "0"
    if 0.0001 <= value < 10:
        return f"{value:.2%}"
    return number_text(value, 2)


# ------------------------------------------------------------------ the two saves in words


def save_words(artifact: Artifact, width: int = 1000) -> str:
    """`ckpt-2  step 2000`; a label too long for `width` cells loses its middle."""
    step = f"  step {step_text(artifact.step)}" if artifact.step is not None else ""
    return f"{fit_middle(safe(artifact.label), max(width - cell_len(step), LEAST_LABEL))}{step}"


def both_saves(a: Artifact, b: Artifact, width: int) -> tuple[str, str]:
    """Both in words that fit `width` cells together; the longer one loses its middle first."""
    words = save_words(a), save_words(b)
    sizes = [cell_len(word) for word in words]
    if sum(sizes) <= width:
        return words
    first = min(sizes[0], max(width // 2, width - sizes[1]))
    return save_words(a, first), save_words(b, width - first)


def config_words(findings: Sequence[Finding]) -> str:
    """What differs in the layers' configurations, the first in full; empty where nothing does."""
    told = [f for f in findings if f.code == "config-changed"]
    if not told:
        return ""
    more = f"  and {human_count(len(told) - 1)} more" if len(told) > 1 else ""
    return f"{safe(told[0].detail or told[0].title)}{more}"


def summary_pieces(counts: Mapping[PairStatus, int]) -> list[tuple[str, str]]:
    """`14 changed`, `2 only in A`, ...: words and row styles."""
    return [(f"{human_count(counts[s])} {STATUS_WORDS[s]}", STATUS_STYLES[s]) for s in PAIR_STATUSES if counts.get(s)]


# ------------------------------------------------------------------ one pair in numbers


def pair_title(pair: Pair, a: Tensor | None = None, b: Tensor | None = None) -> str:
    """Both names where they differ; the variables' own ones where the files know them."""
    names = [
        own_name(tensor) if tensor is not None else name.removesuffix(STORED_TAIL)
        for name, tensor in ((pair.a, a), (pair.b, b))
        if name is not None
    ]
    return " → ".join(safe(name) for name in dict.fromkeys(names))


def pair_subtitle(pair: Pair, a: Tensor | None, b: Tensor | None) -> str:
    """Shapes, types, and how the two were matched."""
    kinds = [f"{shape_text(t.shape)} {safe(t.dtype)}" for t in (a, b) if t is not None]
    both = kinds[0] if len(set(kinds)) == 1 else " → ".join(kinds)
    matched = f" · matched by {pair.matched_by.replace('-', ' ')}" if pair.matched_by else ""
    return f"{both}{matched}"


def number_lines(a: Stats | None, b: Stats | None, width: int) -> list[str]:
    """The numbers of both tensors side by side, under A and B."""
    column = min(max((width - 8) // 2, 8), 12)
    lines = [" " * 6 + right("A", column) + right("B", column)]
    if all(stats is None or stats.count == 1 for stats in (a, b)):
        values = [stats.min if stats is not None else None for stats in (a, b)]
        return [lines[0], left("value", 6) + "".join(right(number_text(v), column) for v in values)]
    for name in ("mean", "std", "min", "max", "zeros", "nan"):
        values = [getattr(stats, name) if stats is not None else None for stats in (a, b)]
        if name in ("nan", "zeros") and not any(values):
            continue
        label = "NaN" if name == "nan" else name
        lines.append(left(label, 6) + "".join(right(number_text(v), column) for v in values))
    return lines


def side_by_side(first: Sequence[str], second: Sequence[str], width: int) -> list[str]:
    """Two blocks of lines beside each other where they fit, else one under the other with a blank line between."""
    widest = max((cell_len(line) for line in first), default=0)
    if widest + 4 + max((cell_len(line) for line in second), default=0) > width:
        return [*first, "", *second] if first and second else [*first, *second]
    rows = max(len(first), len(second))
    padded = [*first, *[""] * (rows - len(first))], [*second, *[""] * (rows - len(second))]
    return [f"{left(a, widest + 4)}{b}" for a, b in zip(*padded, strict=True)]


def distance_lines(pair: Pair, width: int) -> list[str]:
    """How far the two are apart."""
    lines = []
    if pair.relative_l2 is not None:
        cosine = f"   cosine {number_text(pair.cosine, 6)}" if pair.cosine is not None else ""
        lines.append(f"{left('apart', 10)}{change_text(pair.relative_l2)}{cosine}")
    if pair.max_abs is not None:
        lines.append(f"{left('max |Δ|', 10)}{number_text(pair.max_abs)}   mean |Δ| {number_text(pair.mean_abs)}")
    if pair.changed is not None and pair.count:
        share_of = f" ({pair.changed / pair.count:.1%})"
        lines.append(f"{left('changed', 10)}{human_count(pair.changed)} of {human_count(pair.count)}{share_of}")
    return [fit_middle(line, width) for line in lines]
