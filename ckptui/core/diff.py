"""Two tensors held against each other in one pass, chunk by chunk, in float64; NaN-safe.

`changed` counts elements whose bits differ (the same NaN is no change). Distances are over the elements that are
finite on both sides. Strings are identical or changed, nothing more.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ckptui.core import dtypes
from ckptui.core.distances import BLOCK, DOUBLES, Totals, count_apart, quick
from ckptui.core.matching import match
from ckptui.core.pair_rows import comparable, kind_of, pair_of
from ckptui.core.passes import fastest
from ckptui.core.ratios import LogRatios
from ckptui.core.relation import RelationRow, relation
from ckptui.core.rounding import Rounding

__all__ = [
    "PairAccumulator",
    "PairNumbers",
    "RelationRow",
    "chunks_of",
    "comparable",
    "match",
    "pair_of",
    "relation",
]

Array = NDArray[Any]
_Family = Literal["single", "double", "complex", "other"]

_WIDENED = frozenset({"float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"})
"""Dtypes that `passes.singles` widens."""
_LONGER = frozenset({"float64", "int32", "uint32", "qint32", "int64", "uint64"})
"""Real dtypes that float32 can't take."""
_GLIMPSE = 64
"""Bytes looked at before a whole block is tested for being the same."""


@dataclass(frozen=True, slots=True)
class PairNumbers:
    """How far two tensors of one shape are apart. None where there is no such number (strings, nothing finite)."""

    count: int
    changed: int
    """Elements whose bits differ; after widening where the dtypes differ."""
    left_out: int
    """Elements not finite on at least one side: counted in `changed`, in no distance."""
    max_abs: float | None = None
    mean_abs: float | None = None
    rms: float | None = None
    relative_l2: float | None = None
    """||a - b|| / ||a||; 0.0 where both are zero, infinity where only a is."""
    cosine: float | None = None
    """Over the flattened tensor; None where one norm is zero."""
    centred_cosine: float | None = None
    """The same after each side's mean is taken off; None where one side is constant."""
    a_value: float | None = None
    """The value itself where there is only one: a step, a counter."""
    b_value: float | None = None
    log_ratio: Mapping[str, float] | None = None
    """See `relation.RelationRow`."""
    rounding: str = ""
    """How much of the difference between two dtypes is rounding."""

    @property
    def remarks(self) -> list[str]:
        """What a row should say beside its numbers."""
        words = [self.rounding] if self.rounding else []
        if self.left_out and self.changed:
            # distances over the finite values alone must not look like all there is
            words.append(f"{self.left_out} value{'s' if self.left_out != 1 else ''} not finite, in no distance")
        return words


class PairAccumulator:
    """Takes the same stretches of both tensors one after the other."""

    def __init__(self, dtype_a: str, dtype_b: str, *, ratios: LogRatios | None = None) -> None:
        """TensorFlow's names of both dtypes; `ratios` is told all elements too."""
        self._dtypes = dtype_a, dtype_b
        self._same = dtype_a == dtype_b
        self._quick = quick()
        self._family = _family(self._dtypes, single=self._quick is not None)
        self._count = 0
        self._changed = 0
        self._totals = Totals()
        self._ratios = ratios
        self._rounding = Rounding.between(dtype_a, dtype_b)
        self._ends: tuple[Any, Any] | None = None

    def add(self, chunk_a: Array, chunk_b: Array) -> None:
        """Compare the next elements: 1-D arrays of equal length, in their own dtypes (objects for strings).

        Raises ValueError when the lengths differ.
        """
        if chunk_a.shape != chunk_b.shape or chunk_a.ndim != 1:
            raise ValueError(f"chunks of {chunk_a.shape} and {chunk_b.shape} elements can't be compared")
        if self._count == 0 and chunk_a.size:
            self._ends = (chunk_a[0], chunk_b[0])
        self._count += int(chunk_a.size)
        if self._family == "other" or chunk_a.dtype.kind == "O" or chunk_b.dtype.kind == "O":
            self._changed += int(np.count_nonzero(chunk_a != chunk_b))
            return
        chunk_a, chunk_b = dtypes.native(chunk_a, _plain(chunk_a)), dtypes.native(chunk_b, _plain(chunk_b))
        take, step = (self._add_singles, BLOCK) if self._family == "single" else (self._add_doubles, DOUBLES)
        with np.errstate(all="ignore"):
            if self._ratios is not None:
                self._ratios.add(chunk_a, chunk_b)
            if self._rounding is not None:
                self._rounding.add(chunk_a, chunk_b)
            if 0 < chunk_a.size <= step:
                take(chunk_a, chunk_b)
                return
            for start in range(0, chunk_a.size, step):
                take(chunk_a[start : start + step], chunk_b[start : start + step])

    def result(self) -> PairNumbers:
        """The numbers over all that was added."""
        totals = self._totals
        if self._family == "other" or self._count == 0:
            return PairNumbers(self._count, self._changed, 0)
        left_out = self._count - totals.finite
        a_value, b_value = self._values()
        ratios = None if self._ratios is None else self._ratios.result()
        rounding = "" if self._rounding is None else self._rounding.told(self._changed)
        if totals.finite == 0:
            return PairNumbers(
                self._count, self._changed, left_out, a_value=a_value, b_value=b_value, rounding=rounding
            )
        squared = math.nan if totals.squared == 0 and totals.largest > 0 else totals.squared
        same = not self._changed and totals.aa > 0
        return PairNumbers(
            count=self._count,
            changed=self._changed,
            left_out=left_out,
            max_abs=_known(totals.largest),
            mean_abs=_known(totals.absolute / totals.finite),
            rms=_known(math.sqrt(squared / totals.finite)),
            relative_l2=_relative(squared, totals.aa),
            cosine=1.0 if same else _cosine(totals.aa, totals.bb, totals.ab),
            centred_cosine=self._centred(),
            a_value=a_value,
            b_value=b_value,
            log_ratio=ratios,
            rounding=rounding,
        )

    # ------------------------------------------------------------------ pieces of one tensor

    def state(self) -> dict[str, Any]:
        """All that was added, as JSON data for `absorb` in another process."""
        negative, logarithms = (0, b"") if self._ratios is None else self._ratios.state()
        return {
            "count": self._count,
            "changed": self._changed,
            "totals": asdict(self._totals),
            "rounded": None if self._rounding is None else [self._rounding.seen, self._rounding.rounded],
            "negative": negative,
            "logarithms": base64.b64encode(logarithms).decode("ascii"),
        }

    def absorb(self, state: Any) -> None:
        """Take what another one has added of the same tensors. Raises TypeError, KeyError or ValueError."""
        totals = state["totals"]
        numbers = [totals[field.name] for field in fields(Totals)]
        counts = [state["count"], state["changed"], state["negative"], totals["finite"], *(state["rounded"] or ())]
        if any(type(number) not in (int, float) for number in numbers) or any(type(n) is not int for n in counts):
            raise TypeError("a number")
        if min(counts) < 0 or state["changed"] > state["count"] or totals["finite"] > state["count"]:
            raise ValueError("more than there are")
        self._count += state["count"]
        self._changed += state["changed"]
        self._totals.add(Totals(*numbers))
        if self._rounding is not None:
            seen, rounded = state["rounded"]
            self._rounding.absorb(seen, rounded)
        if self._ratios is not None:
            self._ratios.absorb(state["negative"], base64.b64decode(state["logarithms"], validate=True))

    # ------------------------------------------------------------------ blocks

    def _add_singles(self, a: Array, b: Array) -> None:
        """A block that float32 can take on both sides."""
        passes = self._quick
        assert passes is not None
        same_bits = self._same and _alike(a, b, passes)
        one = _single(a, self._dtypes[0], 0)
        if same_bits and self._totals.alike_singles(one, passes):
            return
        other = one if same_bits else _single(b, self._dtypes[1], 1)
        apart = None if same_bits else self._totals.singles(one, other, passes)
        if not same_bits:
            self._changed += a.size if apart else self._differing((a, b), (one, other), finite=apart is not None)
        if apart is None:
            finite = np.isfinite(one) & np.isfinite(other)
            one, other = one[finite], other[finite]
            if one.size:
                self._totals.singles(one, other, passes)

    def _add_doubles(self, a: Array, b: Array) -> None:
        """A block for which float32 is too narrow."""
        if self._same:
            changed = _bits_apart(a, b)
            if not changed:
                b = a
        else:
            wide = (a, b) if _integers(a, b) else (_wide(a), _wide(b))
            changed = self._differing((a, b), wide, finite=False)
        self._changed += changed
        if self._family == "complex":
            a, b = a.astype(np.complex128), b.astype(np.complex128)
            add = self._totals.complexes
            if not add(a, b):
                finite = np.isfinite(a) & np.isfinite(b)
                if finite.any():
                    add(a[finite], b[finite])
            return
        exact = _integers_apart(a, b) if changed and self._same else None
        if not self._totals.some_doubles(a, b, exact):
            finite = np.isfinite(_wide(a)) & np.isfinite(_wide(b))
            if finite.any():
                self._totals.some_doubles(a[finite], b[finite], None)

    def _differing(self, block: tuple[Array, Array], wide: tuple[Array, Array], *, finite: bool) -> int:
        """Elements that differ: in their bits, or in value (where NaN is one value) if the dtypes differ."""
        if self._same:
            return count_apart(_bits(block[0]), _bits(block[1]), self._quick)
        if finite:
            return count_apart(*wide, self._quick)
        a, b = wide
        return int(np.count_nonzero((a != b) & ~((a != a) & (b != b))))

    # ------------------------------------------------------------------ results

    def _centred(self) -> float | None:
        totals = self._totals
        n = totals.finite
        if not totals.sums_are_finite():
            return None
        mean_a, mean_b = complex(totals.a_real, totals.a_imaginary), complex(totals.b_real, totals.b_imaginary)
        spread_a = totals.aa - abs(mean_a) / n * abs(mean_a)
        spread_b = totals.bb - abs(mean_b) / n * abs(mean_b)
        if not (spread_a > 1e-12 * totals.aa and spread_b > 1e-12 * totals.bb):
            return None
        if not self._changed:
            return 1.0
        return _cosine(spread_a, spread_b, totals.ab - (mean_a.conjugate() * mean_b).real / n)

    def _values(self) -> tuple[float | None, float | None]:
        if self._count != 1 or self._ends is None or self._family == "complex":
            return None, None
        return float(self._ends[0]), float(self._ends[1])


def _family(names: tuple[str, str], *, single: bool) -> _Family:
    kinds = {kind_of(name) for name in names}
    if "other" in kinds or any(_raw(name) for name in names):
        return "other"
    if "complex" in kinds:
        return "complex"
    return "single" if single and not _LONGER & set(names) else "double"


def _raw(name: str) -> bool:
    """Whether the installed ml_dtypes lacks it: elements are then shown as their codes."""
    return name not in ("uint8", "uint16", "uint32", "uint64", "quint8", "quint16") and (
        name in dtypes.ITEMSIZE and dtypes.np_dtype(name).kind == "u" and dtypes.np_dtype(name).isbuiltin == 1
    )


def _plain(values: Array) -> np.dtype[Any]:
    return values.dtype if values.dtype.isnative else values.dtype.newbyteorder("=")


def _single(block: Array, name: str, side: int) -> Array:
    """A block as float32, exactly; scratch of its side."""
    if block.dtype == np.float32:
        return block
    if name == "bool":
        return np.asarray(block.view(np.uint8) != 0, np.float32)
    wide = fastest().singles(block, name) if name in _WIDENED else None
    if wide is None:
        return block.astype(np.float32)
    # the other side's needs the same buffer
    return np.array(wide) if side == 0 else np.asarray(wide)


def _alike(a: Array, b: Array, passes: Any) -> bool:
    """Whether a block has the same bits on both sides."""
    one, other = a.view(np.uint8), b.view(np.uint8)
    if one[:_GLIMPSE].tobytes() != other[:_GLIMPSE].tobytes():
        return False
    return not passes.bytes_apart(one, other)


def _bits(values: Array) -> Array:
    return np.asarray(values).view(np.dtype(f"u{values.dtype.itemsize}"))


def _bits_apart(a: Array, b: Array) -> int:
    """Elements whose bits differ, of any size."""
    if a.dtype.itemsize <= 8:
        return int(np.count_nonzero(_bits(a) != _bits(b)))
    return int(np.count_nonzero((a.view(np.uint64) != b.view(np.uint64)).reshape(a.size, -1).any(axis=1)))


def _wide(values: Array) -> Array:
    return values.astype(np.complex128 if values.dtype.kind == "c" else np.float64)


def _integers(a: Array, b: Array) -> bool:
    return a.dtype.kind in "iu" and b.dtype.kind in "iu"


def _integers_apart(a: Array, b: Array) -> Array | None:
    """|a - b| of 64-bit integers, exact before it is rounded to float64; None for other dtypes."""
    if a.dtype.kind not in "iu" or a.dtype.itemsize != 8:
        return None
    apart = np.maximum(a, b).view(np.uint64) - np.minimum(a, b).view(np.uint64)
    return np.asarray(apart.astype(np.float64))


def _relative(squared: float, norm: float) -> float | None:
    if not (math.isfinite(squared) and math.isfinite(norm)):
        return None
    if squared == 0:
        return 0.0
    return math.sqrt(squared / norm) if norm > 0 else math.inf


def _cosine(aa: float, bb: float, ab: float) -> float | None:
    norm = math.sqrt(aa) * math.sqrt(bb)
    if not (norm > 0 and math.isfinite(norm) and math.isfinite(ab)):
        return None
    return max(-1.0, min(1.0, ab / norm))


def _known(value: float) -> float | None:
    """None for what left the range of float64."""
    return value if math.isfinite(value) else None


def chunks_of(array: Array, size: int = 1 << 18) -> Iterator[Array]:
    """An array as 1-D pieces, C order, for `PairAccumulator.add`."""
    flat = array.reshape(-1)
    for start in range(0, flat.size, size):
        yield flat[start : start + size]
