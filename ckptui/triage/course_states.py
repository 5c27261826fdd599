"""States of random generators that come again although training went on."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ckptui.core import timeline
from ckptui.core.crc import of_bytes
from ckptui.core.dtypes import ITEMSIZE
from ckptui.core.model import Finding, TimelineRow
from ckptui.core.text import human_count

if TYPE_CHECKING:
    from ckptui.triage.timeline import Run

FEWEST_SAVES = 3
"""Saves with one and the same state, from which on it is worth a word."""
_EXACT = 2.0**53


def repeated_findings(run: Run, weights: Sequence[tuple[Any, ...] | None]) -> list[Finding]:
    """`weights` stands for what each save holds; None where some of it can't be read."""

    def differ(one: int, other: int) -> bool:
        return weights[one] is not None and weights[other] is not None and weights[one] != weights[other]

    pairs: dict[tuple[int, int], list[str]] = {}
    still: list[int] = []
    moving = 0
    for at, row in enumerate(run.rows):
        if row.role != "rng-state":
            continue
        states = [run.content(at, place) for place in range(len(run.saves))]
        if len({state for state in states if state is not None}) < 2:
            if not _never_drew(row, [p.l2 for p in run.points[at] if p is not None], states):
                still.append(at)
            continue
        moving += 1
        for pair in timeline.repeats(states, differ):
            pairs.setdefault(pair, []).append(row.name)
    out = [_pairs(run, pairs)] if pairs else []
    # where one draws and another does not, that one is not in use: dropout in a part that runs in inference mode
    return out if moving else [*out, *_all_alike(run, still, weights)]


def _pairs(run: Run, pairs: dict[tuple[int, int], list[str]]) -> Finding:
    first = min(pairs)
    told = [[run.label(one), run.label(other)] for one, other in sorted(pairs)]
    names = list(dict.fromkeys(name for some in pairs.values() for name in some))
    detail = f"{told[0][0]} and {told[0][1]} hold the same state, their weights differ: what is drawn at random repeats"
    detail += f" (and {len(told) - 1} more pairs)" if len(told) > 1 else ""
    # between neighbours a generator that nobody asked looks the same
    apart = any(other - one > 1 for one, other in pairs)
    evidence = {"saves": told, **run.named(names)}
    certainty: Any = "likely" if apart else "possible"
    return run.finding("rng-state-repeated", first[1], detail, evidence, certainty=certainty)


def _all_alike(run: Run, rows: Sequence[int], weights: Sequence[tuple[Any, ...] | None]) -> list[Finding]:
    """Generators with one state in every save of a training whose weights differ from save to save."""
    names, most = [], 0
    for at in rows:
        places = [place for place in range(len(run.saves)) if run.content(at, place) is not None]
        held = [weights[place] for place in places]
        trained = None not in held and all(a != b for a, b in itertools.pairwise(held))
        if len(places) >= FEWEST_SAVES and trained:
            names.append(run.rows[at].name)
            most = max(most, len(places))
    if not names:
        return []
    what = f"{names[0]} is" if len(names) == 1 else f"{human_count(len(names))} generator states are"
    detail = f"{what} the same in all {human_count(most)} saves, while the weights differ in each: what is drawn at "
    detail += "random repeats from save to save, or nothing was drawn since it was made"
    evidence = {"saves": [], "saves_alike": most, **run.named(names)}
    return [run.finding("rng-state-repeated", None, detail, evidence, certainty="possible")]


def _never_drew(row: TimelineRow, norms: Sequence[float | None], states: Sequence[tuple[int, int] | None]) -> bool:
    """Whether a state is as a generator starts: its counter at zero, and nothing but the seed in it.

    A SeedGenerator of Keras holds [seed, counter] of 32 bits, a Generator of TensorFlow [counter.., key] of 64: of
    either the norm is the seed then, and the checksum proves it.
    """
    state = next((state for state in states if state is not None), None)
    norm = next((norm for norm in norms if norm is not None), None)
    if state is None or norm is None:
        return True
    crc, count = state
    if norm >= _EXACT or norm != int(norm) or not 0 < count <= 16:
        return False
    size = ITEMSIZE.get(row.dtype, 0)
    place = 0 if size == 4 else count - 1
    bits = 8 * size
    for seed in (int(norm), -int(norm)):
        raw = [bytes(size)] * count
        raw[place] = (seed % (1 << bits)).to_bytes(size, "little") if bits else b""
        if of_bytes(b"".join(raw)) == crc:
            return True
    return False
