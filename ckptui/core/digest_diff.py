"""Two digests held against each other: hashes tell what changed, the values kept how far it is apart.

What was sampled is an estimate: it goes into words and into the relation, never into a number that says it is exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ckptui.core import dtypes
from ckptui.core.diff import PairAccumulator, PairNumbers, comparable, pair_of
from ckptui.core.digest import MOST_SAMPLES, TensorDigest, sample_places
from ckptui.core.matching import Match, repeats
from ckptui.core.ratios import LogRatios
from ckptui.core.relation import relation
from ckptui.core.relation_rows import RelationRow, described, not_its_bytes

FEWEST_ESTIMATED = 16
"""Values from which a distance is estimated."""


def rows_of(
    matched: Sequence[Match], a: Mapping[str, TensorDigest], b: Mapping[str, TensorDigest]
) -> list[RelationRow]:
    """The rows of a diff, in the order of `matched`; `a` and `b` by stored name."""
    again = repeats(matched)
    rows = []
    apart: list[Match] = []
    for place, one in enumerate(matched):
        row = _row(one, a, b)
        if not_its_bytes(row.pair):
            apart.append((None, one[1], None))
            one = one[0], None, None
            row = _row(one, a, b)
        words = "; ".join(filter(None, (row.pair.detail, again.get(place, ""))))
        rows.append(described(replace(row, pair=replace(row.pair, detail=words)), *one[:2]))
    return rows + [described(_row(one, a, b), *one[:2]) for one in apart]


def relation_of(rows: Sequence[RelationRow]) -> dict[str, Any]:
    """`relation`, with `sampled` in the evidence and no more than `likely` where it rests on samples."""
    said = relation(rows)
    sampled = [row.sampled for row in rows if row.sampled and row.pair.role in ("kernel", "embedding")]
    if not sampled or said["verdict"] == "identical":
        return said
    certainty = "likely" if said["certainty"] == "confirmed" else said["certainty"]
    return {**said, "certainty": certainty, "evidence": {**said["evidence"], "sampled": sum(sampled)}}


def _row(matched: Match, left: Mapping[str, TensorDigest], right: Mapping[str, TensorDigest]) -> RelationRow:
    a, b, by = matched
    one = left.get(a.name) if a is not None else None
    other = right.get(b.name) if b is not None else None
    problem = next((side.problem for side in (one, other) if side is not None and side.problem), "")
    if one is None or other is None or problem or not comparable(a, b):
        return RelationRow(pair_of(a, b, by, None, problem if a and b else ""))
    if one.hash is None or other.hash is None:
        return RelationRow(pair_of(a, b, by, None, "the digest has no hash of it"))
    same = one.hash == other.hash and one.tensor.dtype == other.tensor.dtype
    numbers, sampled = _numbers(one, other)
    whole = numbers is not None and numbers.count == one.tensor.count
    if same:
        return _unchanged(matched, one, numbers)
    if whole and numbers is not None:
        if not numbers.changed and one.tensor.dtype == other.tensor.dtype:
            # bits of NaN differ, which no number shows
            numbers = replace(numbers, changed=max(1, one.nonfinite or 0))
        values = numbers.centred_cosine, numbers.a_value, numbers.b_value
        return RelationRow(pair_of(a, b, by, numbers), *values, log_ratio=numbers.log_ratio)
    pair = pair_of(a, b, by, PairNumbers(one.tensor.count, 1, 0))
    words = [pair.detail, _estimate(numbers, one.tensor.count) if numbers is not None else ""]
    pair = replace(pair, changed=None, detail="; ".join(filter(None, words)))
    cosine = numbers.centred_cosine if numbers is not None else None
    ratios = numbers.log_ratio if numbers is not None else None
    return RelationRow(pair, cosine, log_ratio=ratios, sampled=sampled if cosine is not None else 0)


def _unchanged(matched: Match, one: TensorDigest, numbers: PairNumbers | None) -> RelationRow:
    """Equal hashes: all numbers are known but the value of what has only one."""
    count = one.tensor.count
    a, b, by = matched
    if one.nonfinite is None or count == one.nonfinite:
        known = PairNumbers(count, 0, one.nonfinite or 0)
    else:
        cosine = 1.0 if one.l2 else None
        known = PairNumbers(count, 0, one.nonfinite, 0.0, 0.0, 0.0, 0.0, cosine)
    pair = pair_of(a, b, by, known)
    if numbers is None:
        return RelationRow(pair)
    return RelationRow(pair, numbers.centred_cosine, numbers.a_value, numbers.b_value, numbers.log_ratio)


def _numbers(one: TensorDigest, other: TensorDigest) -> tuple[PairNumbers | None, int]:
    """How far the values are apart that both kept, and how many those are; None where there are none."""
    import numpy as np

    count = one.tensor.count
    names = one.tensor.dtype, other.tensor.dtype
    if not one.samples or not other.samples or any(name not in dtypes.ITEMSIZE for name in names):
        return None, 0
    places = [sample_places(count, _kept(len(side.samples), count)) for side in (one, other)]
    common = np.intersect1d(places[0], places[1], assume_unique=True)
    values = [
        _as(side.samples, name)[np.searchsorted(place, common)]
        for side, name, place in zip((one, other), names, places, strict=True)
    ]
    slots = one.tensor.role == other.tensor.role == "slot" and all(map(dtypes.is_float, names)) and count > 1
    accumulator = PairAccumulator(*names, ratios=LogRatios(int(common.size)) if slots else None)
    accumulator.add(*values)
    return accumulator.result(), int(common.size)


def _kept(samples: int, count: int) -> int:
    return MOST_SAMPLES if samples == count else samples


def _as(samples: Sequence[float | int], dtype: str) -> Any:
    """The values in their own dtype again. What a stranger wrote that does not fit is cut to it."""
    import numpy as np

    shown = dtypes.np_dtype(dtype)
    with np.errstate(all="ignore"):
        if dtypes.is_float(dtype):
            return np.array([float(value) for value in samples], np.float64).astype(shown)
        whole = [int(value) if math.isfinite(value) else 0 for value in samples]
        if dtype == "uint64":
            return np.array([value % (1 << 64) for value in whole], np.uint64)
        wrapped = [(value + (1 << 63)) % (1 << 64) - (1 << 63) for value in whole]
        return np.array(wrapped, np.int64).astype(shown)


def _estimate(numbers: PairNumbers, count: int) -> str:
    """`about 3.2 % apart, from 256 of 4,608 values`."""
    apart = numbers.relative_l2
    if numbers.count < FEWEST_ESTIMATED or apart is None or not math.isfinite(apart):
        return ""
    basis = f"from {numbers.count:,} of {count:,} values"
    if not numbers.changed:
        return f"few values changed: none of {numbers.count:,} looked at, of {count:,}"
    return f"about {_percent(apart)} apart, {basis}"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 10 else f"{share:.2g} times its norm"
