"""The numbers of a tensor the plain way, and how close to them ours must be."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from ckptui.core import dtypes
from ckptui.core.model import Stats
from ckptui.core.passes import NumpyPasses
from ckptui.core.stats import StatsAccumulator

Array = np.ndarray[Any, Any]


def known(name: str) -> bool:
    """Whether the installed ml_dtypes has it; otherwise elements show as their raw bits."""
    special = dtypes.is_float(name) or name in ("int4", "uint4", "int2", "uint2")
    return not (special and dtypes.np_dtype(name).kind == "u")


REAL = sorted(name for name in dtypes.ITEMSIZE if not dtypes.is_complex(name) and known(name))
KNOWN = sorted(name for name in dtypes.ITEMSIZE if known(name))


def expected(array: Array) -> Stats:
    """The plain way: everything as float64 at once (integers exactly)."""
    flat = array.reshape(-1)
    exact = flat.dtype.kind in "iub" or flat.dtype.name in ("int4", "uint4", "int2", "uint2")
    if exact:
        whole = [int(v) for v in flat]
        low, high = min(whole), max(whole)
        total, squares = sum(whole), sum(v * v for v in whole)
        mean = Fraction(total, len(whole))
        variance = Fraction(len(whole) * squares - total * total, len(whole) ** 2)
        return Stats(
            len(whole), len(whole), 0, 0, 0, whole.count(0), low, high, whole.index(low), whole.index(high),
            float(mean), math.sqrt(variance), math.sqrt(squares),
        )  # fmt: skip
    wide = flat.astype(np.float64)
    nan, up, down = int(np.isnan(wide).sum()), int(np.isposinf(wide).sum()), int(np.isneginf(wide).sum())
    finite = wide[np.isfinite(wide)]
    counts = (wide.size, finite.size, nan, up, down, int((wide == 0).sum()))
    if not finite.size:
        return Stats(*counts)
    biggest = float(np.abs(finite).max()) or 1.0
    scaled = finite / biggest
    mean_scaled = math.fsum(scaled) / finite.size
    least, most = float(finite.min()), float(finite.max())
    return Stats(
        *counts, least, most, int(np.flatnonzero(wide == least)[0]), int(np.flatnonzero(wide == most)[0]),
        mean_scaled * biggest,
        math.sqrt(math.fsum((scaled - mean_scaled) ** 2) / finite.size) * biggest,
        math.sqrt(math.fsum(scaled * scaled)) * biggest,
    )  # fmt: skip


def assert_same(found: Stats, wanted: Stats) -> None:
    for name in ("count", "finite", "nan", "posinf", "neginf", "zeros", "min", "max", "argmin", "argmax"):
        assert getattr(found, name) == getattr(wanted, name), name
    if wanted.mean is None:
        assert found.mean is None
        assert found.std is None
        assert found.l2 is None
        return
    assert wanted.min is not None
    assert wanted.max is not None
    assert wanted.std is not None
    assert wanted.l2 is not None
    assert found.mean is not None
    biggest = max(abs(float(wanted.min)), abs(float(wanted.max)))
    assert abs(found.mean - wanted.mean) <= 1e-12 * biggest
    # float64 can't tell a spread from rounding below 1e-15 of the largest magnitude
    assert found.std == pytest.approx(wanted.std, rel=1e-10, abs=1e-15 * biggest)
    assert found.l2 == pytest.approx(wanted.l2, rel=1e-10)


def in_pieces(array: Array, name: str, pieces: int, passes: NumpyPasses | None = None) -> Stats:
    accumulator = StatsAccumulator(name, passes=passes)
    for piece in np.array_split(array.reshape(-1), pieces):
        accumulator.add(piece)
    return accumulator.result()
