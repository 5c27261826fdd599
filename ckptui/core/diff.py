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
from ckptui.core.extremes import POWER, norm_of, product_of, ratio
from ckptui.core.matching import match
from ckptui.core.pair_rows import APPEARED, comparable, kind_of, pair_of
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
    appeared: tuple[int, int] = (0, 0)
    """Elements that are finite in A and, in B, NaN or infinite."""
    floats: bool = False
    """Of one float or complex dtype on both sides."""
    rounding: str = ""
    """How much of the difference between two dtypes is rounding."""

    @property
    def remarks(self) -> list[str]:
        """What a row should say beside its numbers."""
        words = [
            f"{kind}{APPEARED}{count:,} value{'s' if count != 1 else ''}"
            for kind, count in zip(("NaN", "inf"), self.appeared, strict=True)
            if count
        ]
        words += [self.rounding] if self.rounding else []
        if self.sign_only:
            words.append("only the sign of zero")
        if self.left_out and self.changed:
            # distances over the finite values alone must not look like all there is
            words.append(f"{self.left_out} value{'s' if self.left_out != 1 else ''} not finite, in no distance")
        return words

    @property
    def sign_only(self) -> bool:
        """Bits differ, no value does."""
        return self.floats and self.changed > 0 and self.max_abs == 0 and not self.left_out


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
        self._appeared = [0, 0]
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
                count=self._count,
                changed=self._changed,
                left_out=left_out,
                a_value=a_value,
                b_value=b_value,
                appeared=(self._appeared[0], self._appeared[1]),
                rounding=rounding,
            )
        apart = norm_of(totals.squared, totals.up_squared, totals.down_squared)
        norms = [
            norm_of(getattr(totals, n), getattr(totals, f"up_{n}"), getattr(totals, f"down_{n}")) for n in ("aa", "bb")
        ]
        mean = (totals.absolute, 0) if math.isfinite(totals.absolute) else (totals.down_absolute, POWER)
        same = not self._changed and norms[0][0] > 0
        return PairNumbers(
            count=self._count,
            changed=self._changed,
            left_out=left_out,
            max_abs=totals.largest,
            mean_abs=ratio(mean, (totals.finite, 0)),
            rms=ratio(apart, (math.sqrt(totals.finite), 0)),
            relative_l2=_relative(apart, norms[0]),
            cosine=1.0 if same else _cosine_of(product_of(totals), norms[0], norms[1]),
            centred_cosine=self._centred(),
            a_value=a_value,
            b_value=b_value,
            log_ratio=ratios,
            appeared=(self._appeared[0], self._appeared[1]),
            floats=self._same and (dtypes.is_float(self._dtypes[0]) or self._family == "complex"),
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
            "appeared": list(self._appeared),
            "logarithms": base64.b64encode(logarithms).decode("ascii"),
        }

    def absorb(self, state: Any) -> None:
        """Take what another one has added of the same tensors. Raises TypeError, KeyError or ValueError."""
        totals = state["totals"]
        numbers = [totals[field.name] for field in fields(Totals)]
        counts = [state[name] for name in ("count", "changed", "negative")]
        counts += [totals["finite"], *(state["rounded"] or ()), *state["appeared"]]
        if any(type(number) not in (int, float) for number in numbers) or any(type(n) is not int for n in counts):
            raise TypeError("a number")
        if min(counts) < 0 or state["changed"] > state["count"] or totals["finite"] > state["count"]:
            raise ValueError("more than there are")
        self._count += state["count"]
        self._changed += state["changed"]
        self._appeared = [own + more for own, more in zip(self._appeared, state["appeared"], strict=True)]
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
            finite = self._finite(one, other)
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
            wide = (a, b) if {a.dtype.kind, b.dtype.kind} <= {"i", "u"} else (_wide(a), _wide(b))
            changed = self._differing((a, b), wide, finite=False)
        self._changed += changed
        if self._family == "complex":
            a, b = a.astype(np.complex128), b.astype(np.complex128)
            add = self._totals.complexes
            if not add(a, b):
                finite = self._finite(a, b)
                if finite.any():
                    add(a[finite], b[finite])
            return
        exact = _integers_apart(a, b) if changed and self._same else None
        if not self._totals.some_doubles(a, b, exact):
            finite = self._finite(_wide(a), _wide(b))
            if finite.any():
                self._totals.some_doubles(a[finite], b[finite], None)

    def _finite(self, a: Array, b: Array) -> Array:
        """Which elements are finite on both sides; those that are in A alone are counted."""
        ours, theirs = np.isfinite(a), np.isfinite(b)
        if a is not b:
            lost = b[ours & ~theirs]
            nans = int(np.isnan(lost).sum())
            self._appeared[0] += nans
            self._appeared[1] += lost.size - nans
        return np.asarray(ours & theirs)

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


def _integers_apart(a: Array, b: Array) -> Array | None:
    """|a - b| of 64-bit integers, exact before it is rounded to float64; None for other dtypes."""
    if a.dtype.kind not in "iu" or a.dtype.itemsize != 8:
        return None
    apart = np.maximum(a, b).view(np.uint64) - np.minimum(a, b).view(np.uint64)
    return np.asarray(apart.astype(np.float64))


def _relative(apart: tuple[float, int], norm: tuple[float, int]) -> float:
    """Of the norm of the distance to that of A."""
    if apart[0] == 0:
        return 0.0
    return ratio(apart, norm) if norm[0] > 0 else math.inf


def _cosine_of(product: tuple[float, int], a: tuple[float, int], b: tuple[float, int]) -> float | None:
    if not (a[0] > 0 and b[0] > 0):
        return None
    digits, power = math.frexp(product[0])
    cosine = math.ldexp(digits / a[0] / b[0], power + product[1] - a[1] - b[1])
    return max(-1.0, min(1.0, cosine)) if math.isfinite(cosine) else None


def _cosine(aa: float, bb: float, ab: float) -> float | None:
    norm = math.sqrt(aa) * math.sqrt(bb)
    if not (norm > 0 and math.isfinite(norm) and math.isfinite(ab)):
        return None
    return max(-1.0, min(1.0, ab / norm))


def chunks_of(array: Array, size: int = 1 << 18) -> Iterator[Array]:
    """An array as 1-D pieces, C order, for `PairAccumulator.add`."""
    flat = array.reshape(-1)
    yield from (flat[start : start + size] for start in range(0, flat.size, size))
