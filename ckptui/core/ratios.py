"""How second moments moved from one save to the other: quantiles of ln(b / a) over a strided sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

SAMPLE = 1 << 16
"""Elements of a tensor that are looked at, at most."""
TINY = 1e-30
"""Second moments below are left out: float32 keeps fewer and fewer digits of them."""
_QUANTILES = {"q01": 0.01, "q05": 0.05, "q16": 0.16, "q50": 0.5, "q84": 0.84, "q95": 0.95, "q99": 0.99}


class LogRatios:
    """Gathers ln(b / a) of every n-th element, where both are above `TINY`.

    Halves and bfloat16 are passed over: how they decay is lost in rounding.
    """

    def __init__(self, count: int, start: int = 0) -> None:
        """`count`: elements of the whole tensor; `start`: the place in it of the first that will be given."""
        self._stride = max(1, -(-count // SAMPLE))
        self._next = -start % self._stride
        self._parts: list[Array] = []
        self._negative = 0

    def add(self, a: Array, b: Array) -> None:
        """Take the next elements: 1-D arrays of equal length."""
        first, self._next = self._next, (self._next - a.size) % self._stride
        if self._negative or first >= a.size or min(a.dtype.itemsize, b.dtype.itemsize) < 4:
            return
        one, other = (values[first :: self._stride].astype(np.float64) for values in (a, b))
        self._negative = int(np.count_nonzero(one < 0) + np.count_nonzero(other < 0))
        if self._negative:
            self._parts = []
            return
        there = np.isfinite(one) & np.isfinite(other) & (one > TINY) & (other > TINY)
        self._parts.append((np.log(other[there]) - np.log(one[there])).astype(np.float32))

    def state(self) -> tuple[int, bytes]:
        """What `absorb` takes in another process: values below 0, and the logarithms as little-endian float32."""
        return self._negative, b"".join(part.astype("<f4").tobytes() for part in self._parts)

    def absorb(self, negative: int, logarithms: bytes) -> None:
        """Take what was gathered from another stretch. Raises ValueError for what is no number of float32."""
        self._negative += negative
        part = np.frombuffer(logarithms, "<f4")
        if sum(p.size for p in self._parts) + part.size > SAMPLE or not np.isfinite(part).all():
            raise ValueError("more logarithms than a sample has, or some that are not finite")
        self._parts.append(part)

    def result(self) -> Mapping[str, float] | None:
        """See `relation.RelationRow.log_ratio`; None where there was nothing to gather."""
        if self._negative:
            return {"values": 0, "negative": self._negative}
        found = np.concatenate([*self._parts, np.empty(0, np.float32)]).astype(np.float64)
        if not found.size:
            return None
        told: dict[str, float] = {
            "values": found.size,
            "negative": 0,
            "min": float(found.min()),
            "max": float(found.max()),
        }
        cuts = np.quantile(found, list(_QUANTILES.values()))
        return told | {name: float(cut) for name, cut in zip(_QUANTILES, cuts, strict=True)}
