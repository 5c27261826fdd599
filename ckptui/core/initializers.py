"""Is a kernel still what its initializer made? A verdict with the chance rate it rests on.

`at-initializer`: every value is one the generator draws (`grid`), or the angles of neighbours are (`pairs`),
confirmed at a chance below 1e-9 with 20 values and more; `partly`: some filters or rows of ten values and more are,
at a chance below 1e-4 over all of them, or more single values than chance gives; `trained`: no more than chance
gives, confirmed where the config names a uniform initializer; `undecided`: nothing could be tested.

Without a grid (half precision, another framework, a limit nobody told) the shape of the distribution says at most
`possible`, and only beside a witness, for it passes layers that were trained for thousands of steps. A witness that
never moved also makes `trained` no more than `possible`: something else may have drawn the values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ckptui.core.families import LIMITS, TRUNCATED_STD, Family, families_of, fits, likely_limits
from ckptui.core.grid import (
    UniformGrid,
    is_coarse,
    lattice_chance,
    on_lattice,
)
from ckptui.core.layout import KernelLayout, layout_of
from ckptui.core.membership import Members, find_members
from ckptui.core.normals import CHANCE, FRESH, find_pairs, most_misses

SAMPLE = 65_536
"""Values a distribution is judged by, at most."""
CONFIRMED = 1e-9
"""Chance of the evidence up to which an exact test counts as confirmed."""
BEYOND_CHANCE = 1e-6
"""Chance up to which an exact test counts at all."""
FEWEST_VALUES = 20
"""Values other than zero a tensor needs for a verdict."""
TRUNCATED_REACH = 2.0 / 0.87962566103423978
"""Largest magnitude of a normal cut off at two, over its standard deviation."""
ROUNDED = 2.0
"""Deviation from orthogonality, in epsilons of the dtype, that rounding alone makes at most."""
SCATTERED = 0.1
"""Share of values on a grid for no reason of chance from which a tensor counts as partly untouched."""

Word = Literal["at-initializer", "partly", "trained", "undecided"]
Sure = Literal["confirmed", "likely", "possible"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What can be said about a tensor and its initializer."""

    verdict: Word
    match: str | None = None
    """Keras' name of the initializer the values agree with."""
    certainty: Sure = "possible"
    on_grid: float | None = None
    """Share of values (for normals: of neighbouring pairs) on the grid of draws; None without a test."""
    p_value: float | None = None
    """Chance of so many; None without a test."""
    test: str = "none"
    """`grid`, `pairs`, `lattice`, `orthogonal`, `value` or `shape`; `none`: nothing could be tested."""
    chance: float | None = None
    """Share on the grid that moved values of this tensor have."""
    filters: NDArray[np.bool_] | None = field(default=None, compare=False)
    """Per filter: untouched. None where filters can't be told apart."""
    rows: tuple[int, ...] = ()
    """Input channels (rows of a dense kernel) that are untouched in a kernel that was trained."""

    def to_json(self) -> dict[str, Any]:
        """`Layer.initializer`; lists of rows are bounded."""
        return {
            "verdict": self.verdict,
            "match": self.match,
            "certainty": self.certainty,
            "on_grid": self.on_grid,
            "p_value": self.p_value,
            "test": self.test,
            "chance": self.chance,
            "rows": len(self.rows),
        }


@np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore")
def verdict(
    array: NDArray[Any],
    role: str = "kernel",
    config: Mapping[str, Any] | None = None,
    *,
    layout: KernelLayout | None = None,
    corroborated: bool = False,
    shape: tuple[int, ...] | None = None,
) -> Verdict:
    """Judge a tensor by its own values; `config` is {"class_name", "config"} of its initializer where known.

    `corroborated`: something else in the layer never moved (a bias or all slots 0, gamma 1 and beta 0), which lifts
    a distribution of the right shape from `undecided` or `trained` to `at-initializer`, possible. `shape`: the
    tensor's, where `array` is a part of its values. No error for odd configs, dtypes or values.
    """
    said = _from_values(array, role, config, layout, shape, corroborated)
    if corroborated and said.test == "orthogonal":
        return replace(said, certainty="likely")
    if not corroborated or said.verdict != "trained" or role not in ("kernel", "embedding"):
        return said
    said = replace(said, certainty="possible")
    sample = array.reshape(-1)[:: math.ceil(array.size / SAMPLE)]
    # any initializer Keras draws by may be meant: another framework has limits of its own
    told, known = families_of(shape or array.shape, role, config)
    others = families_of(shape or array.shape, role, None)[0] if known else []
    drawn = _by_shape(sample, [*told, *others], corroborated)
    if drawn.verdict != "at-initializer":
        return said
    return replace(said, verdict="at-initializer", match=drawn.match, p_value=drawn.p_value, test="shape", filters=None)


def _from_values(
    array: NDArray[Any],
    role: str,
    config: Mapping[str, Any] | None,
    layout: KernelLayout | None,
    shape: tuple[int, ...] | None,
    corroborated: bool,
) -> Verdict:
    """The verdict of the first test that speaks; `corroborated` counts only where nothing but the shape is left."""
    if array.size == 0 or array.dtype.kind in "OSUbiuc":
        return Verdict("undecided")
    families, known = families_of(shape or array.shape, role, config)
    flat = array.reshape(-1)
    if bool((flat[:SAMPLE] == flat[0]).all()) and bool((flat == flat[0]).all()):
        return _constant(float(flat[0]), role, families[0] if known else None)
    if role not in ("kernel", "embedding"):
        return Verdict("trained", certainty="likely", test="value")
    layout = layout or layout_of(array, role)
    sample = flat[:: math.ceil(flat.size / SAMPLE)]
    if array.dtype not in (np.float32, np.float64) or is_coarse(sample[:4096]):
        return _structured(array, families) or _by_shape(sample, families, corroborated)
    uniforms = [f for f in families if f.law == "uniform"]
    grids = _grids(uniforms, array.dtype)
    members = find_members(array, sample, layout, [g for _, g in grids]) if grids else None
    family, grid = grids[members.best] if members is not None else (families[0], None)
    found = _from_members(members, family, len(grids)) if members is not None else None
    found = found or _by_pairs(array, sample, layout, families, known) or _structured(array, families)
    if found is not None:
        return found
    if members is None or grid is None:
        return Verdict("trained", None, "likely") if _testable(sample, families) else Verdict("undecided")
    other = _on_lattice(array, sample, known)
    if other is None or other.certainty != "confirmed":
        other = _finer(array, sample, grid, family) or other
    return other or _scattered(members, family, len(grids), known)


def _grids(uniforms: list[Family], dtype: np.dtype[Any]) -> list[tuple[Family, UniformGrid]]:
    """Each limit in both roundings; for float64 also as float32 has it, which is what TensorFlow casts from."""
    grids = []
    for family in uniforms:
        limits = [(family.low, family.high)]
        if dtype == np.float64:
            limits.append((float(np.float32(family.low)), float(np.float32(family.high))))
        grids += [(family, UniformGrid(low, high, fused)) for low, high in limits for fused in (False, True)]
    return grids


def _on_lattice(array: NDArray[Any], sample: NDArray[Any], known: bool) -> Verdict | None:
    """A uniform of a limit nobody told: evenly spread, and small values without digits of their own."""
    flat = array.reshape(-1)
    if np.count_nonzero(sample) < FEWEST_VALUES or not on_lattice(sample[:4096]):
        return None
    p_value = lattice_chance(sample)
    high = float(np.abs(sample).max())
    spread = Family("random_uniform", "uniform", -high, high)
    if p_value >= CONFIRMED or fits(np.sort(sample[:4096].astype(np.float64)), spread) < 1e-3:
        return None
    if not all(on_lattice(np.append(part, high).astype(flat.dtype)) for part in _parts(flat)):
        return None
    for family, grid in [] if known else _grids(likely_limits(array.shape, float(np.abs(flat).max())), array.dtype):
        if grid.contains(sample[:64]).all() and grid.contains(array).all():
            rate = grid.chance(sample)
            chance = min(1.0, LIMITS * rate ** float(np.unique(sample[:SAMPLE]).size))
            if chance < CONFIRMED:
                return Verdict("at-initializer", family.match, "confirmed", 1.0, chance, "grid", rate)
    return Verdict("at-initializer", spread.match, "possible" if known else "likely", None, p_value, "lattice")


def _parts(flat: NDArray[Any]) -> list[NDArray[Any]]:
    """Views of bounded length."""
    return [flat[start : start + SAMPLE] for start in range(0, flat.size, SAMPLE)]


def _testable(sample: NDArray[Any], families: list[Family]) -> bool:
    """Whether the tests for normals or orthogonal matrices would have seen an untouched tensor."""
    if np.count_nonzero(sample) < FEWEST_VALUES or sample.dtype != np.float32:
        return False
    return any(f.law in ("normal", "truncated", "orthogonal") for f in families)


def _scattered(members: Members, family: Family, tried: int, known: bool) -> Verdict:
    """Neither the tensor nor a nameable part is on the grid: chance, or single values that never moved."""
    p_value = min(1.0, members.p_value * tried)
    plain = Verdict("undecided", None, "possible", members.share, p_value, "grid", members.chance)
    if members.distinct < FEWEST_VALUES:
        return plain
    if members.lift > SCATTERED and p_value < BEYOND_CHANCE:
        return replace(plain, verdict="partly", match=family.match, certainty="likely", filters=members.filters)
    return replace(plain, verdict="trained", certainty="confirmed" if known else "likely", filters=members.filters)


def _finer(array: NDArray[Any], sample: NDArray[Any], grid: UniformGrid, family: Family) -> Verdict | None:
    """The grid of a generator that draws one bit more, as PyTorch's does: another framework, same limits."""
    finer = replace(grid, extra_bits=1)
    if not (finer.contains(sample[:4096]).all() and finer.contains(array).all()):
        return None
    rate = finer.chance(sample)
    p_value = rate ** float(np.count_nonzero(sample))
    return (
        Verdict("at-initializer", family.match, "possible", 1.0, p_value, "grid", rate) if p_value < CONFIRMED else None
    )


def _constant(value: float, role: str, told: Family | None) -> Verdict:
    name = {0.0: "zeros", 1.0: "ones"}.get(value, "constant" if math.isfinite(value) else None)
    if told is not None and told.law == "constant" and np.float32(told.low) == np.float32(value):
        word: Word = "at-initializer" if role in ("kernel", "embedding") else "undecided"
        return Verdict(word, told.match, "likely", test="value")
    return Verdict("undecided", name, test="value")


def _from_members(members: Members, family: Family, tried: int) -> Verdict | None:
    """The verdict where the whole tensor or some filters or rows are on the grid."""
    p_value = min(1.0, members.p_value * tried)
    if members.whole:
        enough = members.distinct >= FEWEST_VALUES and p_value < CONFIRMED
        word: Word = "at-initializer" if enough else "undecided"
        sure: Sure = "confirmed" if enough else "possible"
        return Verdict(word, family.match, sure, 1.0, p_value, "grid", members.chance, members.filters)
    if not members.filters.any() and not members.rows:
        return None
    tail = min(1.0, members.named_chance * tried)
    # more on the grid than the named ones and chance account for: another limit may explain it
    named = max(float(members.filters.mean()), len(members.rows) / max(1, members.inputs))
    return Verdict(
        "partly",
        family.match,
        "confirmed" if members.lift < named + SCATTERED else "likely",
        members.share,
        tail,
        "grid",
        members.chance,
        members.filters,
        members.rows,
    )


def _cube(array: NDArray[Any], layout: KernelLayout | None) -> tuple[NDArray[Any], bool]:
    """([places, rows, columns] in C order, whether filters are rows): embeddings, and kernels that end in inputs."""
    if layout is None:
        return array.reshape(1, -1, 1), False
    if layout.by_rows:
        return array.reshape(1, layout.filters, -1), True
    first = np.ascontiguousarray(layout.matrix[0])
    ends_in_inputs = layout.channels > 1 and first.tobytes() != array.reshape(-1)[: first.size].tobytes()
    axes = (layout.filters, layout.channels) if ends_in_inputs else (layout.channels, layout.filters)
    return array.reshape(layout.cells, *axes), ends_in_inputs


def _by_pairs(
    array: NDArray[Any], sample: NDArray[Any], layout: KernelLayout | None, families: list[Family], known: bool
) -> Verdict | None:
    """The angle of neighbours: where the values are normals as drawn, or some filters or rows are."""
    normals = [f for f in families if f.law in ("normal", "truncated")]
    if not normals:
        return None
    mean = normals[0].low
    law = "normal" if known and normals[0].law == "normal" else "truncated"
    law = {"normal": "shifted", "truncated": "shifted truncated"}[law] if mean else law
    cube, by_rows = _cube(array, layout)
    found = find_pairs(cube, mean, law)
    if found is None:
        return Verdict("undecided") if known else None
    centred = sample[np.isfinite(sample)].astype(np.float64) - mean
    root = float(np.sqrt(np.mean(np.square(centred))))
    reach = TRUNCATED_REACH * (1.0 + 2.5 / math.sqrt(centred.size))
    truncated = bool(float(np.abs(centred).max()) <= reach * root)
    match = _normal_name(normals, root, truncated, centred.size // 2)
    rows = (found.columns if by_rows else found.rows) if layout is not None and not layout.by_rows else found.rows[:0]
    filters = found.rows if by_rows else found.columns
    if layout is None or filters.size != layout.filters or layout.channels != rows.size:
        rows = rows[:0]
    # an angle forgives a change in the last digit: what is named by pairs alone is likely, no more
    told = Verdict("partly", match, "likely", found.share, found.p_value, "pairs", CHANCE)
    parted = round((1.0 - found.share) * found.tested) > most_misses(found.tested, 1.0 - FRESH["normal"][0])
    if found.whole and (truncated or mean or not parted):
        word: Word = "at-initializer" if found.p_value < BEYOND_CHANCE else "undecided"
        sure: Sure = (
            "confirmed" if found.p_value < CONFIRMED else "likely" if found.p_value < BEYOND_CHANCE else "possible"
        )
        return replace(told, verdict=word, certainty=sure, filters=filters)
    if not found.whole and filters.any() and not filters.all():
        return replace(told, p_value=found.named_chance, filters=filters)
    if not found.whole and rows.any() and not rows.all():
        nobody = np.zeros(filters.shape, bool)
        return replace(told, p_value=found.named_chance, filters=nobody, rows=tuple(map(int, np.flatnonzero(rows))))
    if found.p_value < BEYOND_CHANCE and found.share - CHANCE > SCATTERED * (1.0 - CHANCE):
        return told
    if known and _testable(sample, families):
        # among normals a filter is told with its neighbour only: nobody can be sure of every single one
        return replace(told, verdict="trained", match=None)
    return None


def _normal_name(normals: list[Family], root: float, truncated: bool, pairs: int) -> str:
    """The family whose standard deviation the values have, within five standard errors; or the one told."""
    told = {f.match for f in normals}
    if len(told) == 1:
        return told.pop() or "random_normal"
    law = "truncated" if truncated else "normal"
    shrink = TRUNCATED_STD if truncated else 1.0
    misses = {abs(root / (f.high * shrink) - 1.0): f.match for f in reversed(normals) if f.law == law}
    nearest = min(misses, default=math.inf)
    named = misses[nearest] if nearest < 2.5 / math.sqrt(pairs) else None
    return named or ("truncated_normal" if truncated else "random_normal")


def _structured(array: NDArray[Any], families: list[Family]) -> Verdict | None:
    """Identity and orthogonal matrices, which no gradient step leaves as they are."""
    laws = {f.law: f for f in families}
    rows = math.prod(array.shape[:-1])
    matrix = array.reshape(rows, array.shape[-1]) if array.ndim > 1 else array.reshape(-1, 1)
    least = min(matrix.shape)
    if "identity" in laws and array.ndim == 2 and least > 1 and np.count_nonzero(matrix[0]) == 1:
        diagonal = np.diagonal(matrix)
        if np.count_nonzero(matrix) == least and bool((diagonal == diagonal[0]).all()):
            return Verdict("at-initializer", "identity", "likely", test="value")
    plain = array.dtype in (np.float32, np.float64) and least > 1 and array.size >= FEWEST_VALUES
    if "orthogonal" in laws and plain and _orthogonal(matrix):
        # a step of an epsilon leaves it orthogonal
        return Verdict("at-initializer", "orthogonal", "possible", test="orthogonal")
    return None


def _orthogonal(matrix: NDArray[Any]) -> bool:
    """Whether the shorter side's vectors are orthogonal and of one length, to rounding: a few, then all at once.

    Fresh ones deviate by half an epsilon in the mean of squares; a step that moves values by one already shows.
    """
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    few = tall[:, :: max(1, tall.shape[1] // 8)].astype(np.float64)
    gram = few.T @ few
    gain = float(np.diagonal(gram).mean())
    if not (math.isfinite(gain) and gain > 0):
        return False
    near = ROUNDED * float(np.finfo(matrix.dtype).eps) * gain
    if not float(np.sqrt(np.mean(np.square(gram - gain * np.eye(len(gram)))))) < 2 * near:
        return False
    probe = np.random.default_rng(7).choice((-1.0, 1.0), tall.shape[1])
    back = np.zeros(tall.shape[1])
    step = max(1, (1 << 20) // tall.shape[1])
    for start in range(0, tall.shape[0], step):
        block = tall[start : start + step].astype(np.float64)
        back += block.T @ (block @ probe)
    return float(np.sqrt(np.mean(np.square(back - gain * probe)))) < near * math.sqrt(tall.shape[1])


def _by_shape(sample: NDArray[Any], families: list[Family], corroborated: bool) -> Verdict:
    """Half precision and quantised values: only the distribution is left, which proves nothing by itself.

    Not even that they were trained: a layer without a config could not be told apart there.
    """
    values = np.sort(sample[:: math.ceil(sample.size / 4096)].astype(np.float64))
    if values.size < FEWEST_VALUES or not np.isfinite(values).all():
        return Verdict("undecided")
    for family in families:
        if family.law not in ("uniform", "normal", "truncated"):
            continue
        tail = fits(values, family)
        if tail > 1e-3:
            word: Word = "at-initializer" if corroborated else "undecided"
            return Verdict(word, family.match, "possible", None, tail, "shape")
    return Verdict("undecided", test="shape")
