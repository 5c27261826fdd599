"""A kernel filter by filter: untouched, symmetric, dead, repeated, zero, constant, not finite.

Everything is counted over all filters; details are kept for at most 4,096 of them, the noteworthy first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ckptui.core.duplicates import constants_surprise, duplicates
from ckptui.core.initializers import verdict
from ckptui.core.layout import KernelLayout, layout_of
from ckptui.core.model import Filter, Layer
from ckptui.core.symmetry import DEPTH, FLIPS, as_number, correlations, flips_of, judge

MOST_DETAILS = 4096
"""Filters described one by one, at most."""
DEAD = 1e-3
"""Norm, as a share of the layer's median, below which a filter counts as dead."""


@dataclass(slots=True)
class _Numbers:
    """What one pass over the columns says about each filter; arrays of length `filters`."""

    energy: NDArray[np.float64]
    """Sum of squares of the finite values."""
    nonfinite: NDArray[np.bool_]
    constant: NDArray[np.bool_]
    """One value throughout, not zero."""
    r: dict[str, NDArray[np.float64]]
    """Mirror correlation per flip."""


@np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore")
def analyse(
    array: NDArray[Any],
    name: str,
    layer: str = "",
    role: str = "kernel",
    initializer: Mapping[str, Any] | None = None,
    object_path: str = "",
    *,
    corroborated: bool = False,
    axes: str = "",
) -> Layer | None:
    """Judge every filter of a kernel or row of an embedding; `initializer` is {"class_name", "config"} if known.

    None where there are no filters to look at: another role, fewer than two axes, no floating point, nothing in it.
    `corroborated`: see `initializers.verdict`; `axes`: how the kernel's axes are meant, from `layout.axes_of`.
    """
    if not _is_real(array):
        return None
    layout = layout_of(array, role, name, layer, object_path, axes=axes)
    if layout is None:
        return None
    numbers = _measure(layout)
    zero = (numbers.energy == 0) & ~numbers.nonfinite
    plain = ~(zero | numbers.constant | numbers.nonfinite)
    repeated = duplicates(layout, numbers.energy, plain)
    l2 = np.sqrt(numbers.energy)
    dead = _dead(l2, zero, numbers.nonfinite)
    said = verdict(array, role, initializer, layout=layout, corroborated=corroborated)
    # exact zeros lie on every initializer's grid: a zeroed filter is not an untouched one
    untouched = _untouched(said.verdict, said.filters, layout.filters) & ~zero
    flips = flips_of(layout.kernel)
    symmetry = judge(numbers.r, layout, flips, numbers.constant)
    counts = {
        "untouched": untouched,
        "zero": zero,
        "constant": numbers.constant,
        "duplicate": repeated >= 0,
        "nonfinite": numbers.nonfinite,
        "dead": dead,
    }
    return Layer(
        tensor=name,
        layer=layer,
        kernel=tuple(int(k) for k in layout.kernel),
        channels=layout.channels,
        filters=layout.filters,
        initializer=said.to_json(),
        counts={
            "untouched": int(untouched.sum()),
            "symmetric": symmetry.symmetric,
            "antisymmetric": symmetry.antisymmetric,
            **{key: int(mask.sum()) for key, mask in counts.items() if key != "untouched"},
        },
        expected_symmetric=symmetry.expected,
        symmetry_p_value=symmetry.p_value,
        symmetry=symmetry.pooled,
        detail=_detail(counts, numbers.r, l2, repeated, symmetry.mirrored),
        flagged_symmetric=symmetry.flagged,
        flagged_constant=constants_surprise(layout, numbers.constant),
    )


def _detail(
    masks: Mapping[str, NDArray[np.bool_]],
    r: Mapping[str, NDArray[Any]],
    l2: NDArray[Any],
    repeated: NDArray[Any],
    mirrored: NDArray[np.int8],
) -> tuple[Filter, ...]:
    """The filters that are listed one by one."""
    flags = np.logical_or.reduce([*masks.values(), mirrored != 0])
    return tuple(
        Filter(
            index=i,
            l2=float(l2[i]),
            **{flip: as_number(r[flip][i]) if flip in r else None for flip in (*FLIPS, DEPTH)},
            untouched=bool(masks["untouched"][i]),
            zero=bool(masks["zero"][i]),
            constant=bool(masks["constant"][i]),
            nonfinite=bool(masks["nonfinite"][i]),
            dead=bool(masks["dead"][i]),
            duplicate_of=int(repeated[i]) if repeated[i] >= 0 else None,
            mirrored=int(mirrored[i]),
        )
        for i in _shown(flags)
    )


def _is_real(array: NDArray[Any]) -> bool:
    """Floating point numpy or ml_dtypes knows: the latter's have kind V, and widen."""
    return array.dtype.kind == "f" or (array.dtype.kind == "V" and "float" in array.dtype.name)


def _measure(layout: KernelLayout) -> _Numbers:
    flips = flips_of(layout.kernel)
    numbers = _Numbers(
        energy=np.zeros(layout.filters),
        nonfinite=np.zeros(layout.filters, bool),
        constant=np.zeros(layout.filters, bool),
        r={flip.name: np.full(layout.filters, np.nan) for flip in flips},
    )
    for start, columns in layout.blocks():
        wide = columns.astype(np.float64)
        part = slice(start, start + wide.shape[1])
        with np.errstate(over="ignore"):
            energy = np.add.reduce(np.square(wide), axis=0)
        odd = ~np.isfinite(energy)
        if odd.any():
            numbers.nonfinite[part] = odd & ~np.isfinite(wide).all(axis=0)
            energy[odd] = _finite_energy(wide[:, odd])
        numbers.energy[part] = energy
        if layout.values > 1:
            numbers.constant[part] = (wide[0] != 0) & (wide[-1] == wide[0]) & _flat(wide)
        for flip, r in correlations(wide, layout.channels, flips).items():
            numbers.r[flip][part] = r
    return numbers


def _finite_energy(wide: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of squares over the finite values only; what overflows is the largest number there is."""
    with np.errstate(over="ignore"):
        energy = np.square(np.where(np.isfinite(wide), wide, 0.0)).sum(axis=0)
    return np.asarray(np.minimum(energy, np.finfo(np.float64).max))


def _flat(wide: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Columns that hold one value: looked at in full only where a few rows agree."""
    agree: NDArray[np.bool_] = (wide[:: max(1, len(wide) // 8)] == wide[0]).all(axis=0)
    index = np.flatnonzero(agree)
    agree[index] = (wide[:, index] == wide[0, index]).all(axis=0)
    return agree


def _dead(l2: NDArray[np.float64], zero: NDArray[np.bool_], nonfinite: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Almost no weight beside the others; in a layer of zeros nobody is."""
    living = l2[~zero & ~nonfinite]
    if living.size == 0:
        return np.zeros(l2.shape, bool)
    return np.asarray((l2 < DEAD * np.median(living)) & ~nonfinite)


def _untouched(word: str, filters: NDArray[np.bool_] | None, count: int) -> NDArray[np.bool_]:
    if word == "at-initializer":
        return np.ones(count, bool)
    if word == "partly" and filters is not None and filters.size == count:
        return filters
    return np.zeros(count, bool)


def _shown(flags: NDArray[np.bool_]) -> list[int]:
    """All filters, or the flagged ones and then the first of the rest."""
    if flags.size <= MOST_DETAILS:
        return list(range(flags.size))
    order = np.argsort(~flags, kind="stable")[:MOST_DETAILS]
    return sorted(int(i) for i in order)
