"""Findings from the numbers of one tensor: its statistics and its filters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ckptui.core.catalogue import make
from ckptui.core.dtypes import is_float
from ckptui.core.model import Certainty, Filter, Finding, Layer, Severity, Stats, Tensor
from ckptui.core.peaks import Peaks
from ckptui.core.text import human_count, number_text
from ckptui.triage.magnitudes import implausible_findings, one_odd

Row = tuple[Tensor, Stats | None]
"""A tensor and what one pass over its values said, where there was one."""

MOST_LISTED = 64
"""Filter numbers put into the evidence of one finding."""
FLAT_ROLES = ("kernel", "embedding")
"""Roles in which zero or constant values mean a fault: biases and statistics start so."""
PAIRED = 0.9
"""Share of neighbouring values that fit together in an untouched tensor of truncated normals."""
_UNUSED_ROWS = "Some embedding rows never came up in training"
UNREACHED_ROWS = 0.25
"""Share of inputs whose weights never moved from which a dense or convolution kernel gets a finding."""


def value_findings(
    artifact_path: str,
    tensor: Tensor,
    stats: Stats | None,
    layer: Layer | None = None,
    siblings: Sequence[Row] | None = None,
    *,
    peaks: Peaks | None = None,
    vouched: bool = False,
) -> list[Finding]:
    """What one tensor's numbers speak for, worst first.

    `layer`: its filters, where they were analysed. `siblings`: tensors of the same layer with their statistics; a
    bias or slot that is exactly zero there makes a distribution fresh from the initializer `possible`. `peaks`: the
    largest magnitudes of a floating-point tensor, from the pass that gave `stats`. `vouched`: its checksum holds.
    """
    found: list[Finding] = []
    if stats is not None:
        found += _from_stats(artifact_path, tensor, stats, peaks, vouched=vouched)
    if layer is not None and not any(f.code in ("all-zero", "constant") for f in found):
        found += _from_layer(artifact_path, tensor, layer, siblings or ())
    return found


def _from_stats(path: str, tensor: Tensor, stats: Stats, peaks: Peaks | None, *, vouched: bool) -> list[Finding]:
    bad = {"nan": stats.nan or 0, "posinf": stats.posinf or 0, "neginf": stats.neginf or 0}
    total = sum(bad.values())
    if total:
        parts = [f"{human_count(n)} {word}" for word, n in zip(("NaN", "+inf", "-inf"), bad.values(), strict=True) if n]
        odd = one_odd(tensor, stats, peaks)
        detail = f"{', '.join(parts)} among {human_count(stats.count)} values{odd.words}"
        evidence = {**bad, "count": stats.count, **odd.evidence}
        name, title, advice = tensor.name, odd.title, odd.advice
        return [make("non-finite", path, name, detail=detail, evidence=evidence, title=title, advice=advice)]
    found = []
    if peaks is not None:
        found += implausible_findings(path, tensor, stats, peaks, vouched=vouched)
    if tensor.role == "moving-variance" and stats.min is not None and stats.min < 0:
        detail = f"smallest variance {number_text(stats.min)}; a variance is never below 0"
        evidence = {"min": stats.min, "argmin": stats.argmin}
        found.append(make("statistics-implausible", path, tensor.name, detail=detail, evidence=evidence))
    if tensor.role in FLAT_ROLES and stats.count > 1 and is_float(tensor.dtype):
        if stats.zeros == stats.count:
            detail = f"all {human_count(stats.count)} values are 0"
            found.append(make("all-zero", path, tensor.name, detail=detail, evidence={"count": stats.count}))
        elif stats.min is not None and stats.min == stats.max:
            detail = f"all {human_count(stats.count)} values are {number_text(stats.min)}"
            evidence = {"value": stats.min, "count": stats.count}
            found.append(make("constant", path, tensor.name, detail=detail, evidence=evidence))
    return found


def _from_layer(path: str, tensor: Tensor, layer: Layer, siblings: Sequence[Row]) -> list[Finding]:
    """The initializer first; a layer that never moved needs no word on symmetry by chance."""
    found = _initializer(path, tensor, layer, siblings)
    counts, of = layer.counts, f"of {human_count(layer.filters)} {_noun(tensor, layer)}"
    if layer.flagged_symmetric:
        found.append(_symmetric(path, tensor, layer, of))
    if counts.get("duplicate"):
        repeated = [f for f in layer.detail if f.duplicate_of is not None]
        detail = f"{human_count(counts['duplicate'])} {of} repeat an earlier one"
        evidence = _listed(layer, "duplicate", repeated)
        evidence["pairs"] = [[f.index, f.duplicate_of] for f in repeated[:MOST_LISTED]]
        found.append(make("duplicate-filters", path, tensor.name, detail=detail, evidence=evidence))
    if layer.flagged_constant and tensor.role != "embedding" and _not_told(layer):
        flat = [f for f in layer.detail if f.constant]
        detail = f"{human_count(counts['constant'])} {of} have one value throughout, other than 0"
        evidence = _listed(layer, "constant", flat)
        found.append(make("constant-filters", path, tensor.name, detail=detail, evidence=evidence))
    dead = counts.get("dead", 0)
    padding = tensor.role == "embedding" and dead == 1 and bool(layer.detail) and layer.detail[0].dead
    if dead and not padding:
        detail = f"{human_count(dead)} {of} have under a thousandth of the median norm"
        if counts.get("zero"):
            detail += f", {human_count(counts['zero'])} of them are all zero"
        evidence = _listed(layer, "dead", [f for f in layer.detail if f.dead])
        evidence["all_zero"] = counts.get("zero", 0)
        found.append(make("dead-filters", path, tensor.name, detail=detail, evidence=evidence))
    return found


def _initializer(path: str, tensor: Tensor, layer: Layer, siblings: Sequence[Row]) -> list[Finding]:
    said = layer.initializer
    word, match = said.get("verdict"), said.get("match")
    certainty: Certainty = said.get("certainty", "possible")
    witness = witness_of(tensor, siblings)
    if word == "undecided" and said.get("test") == "shape" and match and witness:
        word, certainty = "at-initializer", "possible"
    evidence: dict[str, Any] = {
        key: said.get(key) for key in ("match", "on_grid", "chance", "p_value", "test") if said.get(key) is not None
    }
    if witness:
        evidence["also"] = witness
    if word == "at-initializer":
        detail = _shown_by(said)
        stepped = next((other.role for other, stats in siblings if has_moved(other, stats)), "")
        if stepped:
            detail += f"; its {stepped} has moved, so the optimizer ran"
            evidence["moved"] = stepped
        if witness:
            detail += f"; {witness}"
        return [make("at-initializer", path, tensor.name, detail=detail, evidence=evidence, certainty=certainty)]
    return _partly(path, tensor, layer, evidence, certainty) if word == "partly" else []


def _partly(
    path: str, tensor: Tensor, layer: Layer, evidence: Mapping[str, Any], certainty: Certainty
) -> list[Finding]:
    """Filters by number; else inputs no gradient came through; else single values."""
    untouched = layer.counts.get("untouched", 0)
    rows = int(layer.initializer.get("rows", 0))
    told = {**evidence, "untouched": untouched, "of": layer.filters, "rows": rows}
    as_drawn = "as TensorFlow draws normals" if evidence.get("test") == "pairs" else "exactly as drawn"
    severity: Severity | None = None
    title = None
    if untouched:
        detail = f"{human_count(untouched)} of {human_count(layer.filters)} {_noun(tensor, layer)} are {as_drawn}"
        told = {**told, **_listed(layer, "untouched", [f for f in layer.detail if f.untouched])}
        if tensor.role == "embedding" and untouched < layer.filters / 2:
            severity, title = "info", _UNUSED_ROWS
    elif rows:
        if rows < UNREACHED_ROWS * layer.channels:
            return []
        severity, title = "info", "Weights of some inputs are untouched since the initializer"
        detail = f"the weights of {human_count(rows)} of {human_count(layer.channels)} inputs are {as_drawn}"
    else:
        detail = f"{_share(evidence)}; which {_noun(tensor, layer)} can't be told"
        share, chance = float(evidence.get("on_grid", 0.0)), float(evidence.get("chance", 0.0))
        fresh = PAIRED if evidence.get("test") == "pairs" else 1.0
        title = "Some values are untouched since the initializer"
        if (share - chance) / (fresh - chance) < 0.5:
            severity = "info"
            title = _UNUSED_ROWS if tensor.role == "embedding" else title
    return [
        make(
            "untouched-filters",
            path,
            tensor.name,
            detail=detail,
            evidence=told,
            certainty=certainty,
            severity=severity,
            title=title,
        )
    ]


def _symmetric(path: str, tensor: Tensor, layer: Layer, of: str) -> Finding:
    count, expected = layer.symmetric_varied, layer.expected_symmetric or 0.0
    found = [f for f in layer.detail if f.mirrored > 0]
    every = len(found) >= min(count, len(layer.detail))
    by_chance = f"{expected:.0f}" if every and expected >= 0.5 else "none"
    told = f"{human_count(count if every else len(found))} {of} {'' if every else 'exactly '}mirror-symmetric"
    detail = f"{told}; chance gives {by_chance}"
    evidence = {
        "symmetric": count,
        "of": layer.filters,
        "filters": [f.index for f in found[:MOST_LISTED]],
        "expected_symmetric": layer.expected_symmetric,
        "p_value": layer.symmetry_p_value,
        "pooled": {flip: dict(numbers) for flip, numbers in layer.symmetry.items()},
    }
    return make("symmetric-filters", path, tensor.name, detail=detail, evidence=evidence)


def _shown_by(said: Mapping[str, Any]) -> str:
    """The test that spoke, and the initializer, in words."""
    match = said.get("match") or "an initializer"
    if said.get("test") == "shape":
        # a float32 that was tried on the grid and is not there was drawn by something else, if by anything
        other = ", but not as TensorFlow draws them" if said.get("chance") is not None else ""
        return f"the values are spread as {match} spreads them{other}"
    words = {
        "grid": "every value lies exactly on the grid of random draws",
        "pairs": _share(said),
        "lattice": "the values are evenly spread and small ones have no digits of their own",
        "orthogonal": "the matrix is orthogonal to rounding",
        "value": "every value is the initial one",
    }.get(str(said.get("test")), "the values are initial ones")
    return f"{words} ({match})"


def _share(said: Mapping[str, Any]) -> str:
    """How many values look drawn, and how many would by chance."""
    share, chance = float(said.get("on_grid") or 0.0), float(said.get("chance") or 0.0)
    if said.get("test") == "pairs":
        return f"{share:.0%} of neighbouring values fit together as TensorFlow draws normals; chance gives {chance:.0%}"
    return f"{share:.0%} of the values are exactly as drawn; chance gives {chance:.0%}"


def witness_of(tensor: Tensor, siblings: Sequence[Row]) -> str:
    """What else beside a kernel never moved, in words; empty for nothing, or where one of them moved.

    A bias that is exactly 0; every slot 0; gamma 1 and beta 0 of its own layer or of the normalization behind it.
    """
    rows = [(other, stats) for other, stats in siblings if other.name != tensor.name]
    if any(has_moved(other, stats) for other, stats in rows):
        return ""
    slots = [_is_flat(stats, 0) for other, stats in rows if other.role == "slot"]
    if slots and all(slots):
        return "its optimizer slots are exactly 0 too"
    if any(_is_flat(stats, 0) for other, stats in rows if other.role == "bias"):
        return "the layer's bias is exactly 0 too"
    scales = [_is_flat(stats, 1) for other, stats in rows if other.role == "gamma"]
    shifts = [_is_flat(stats, 0) for other, stats in rows if other.role == "beta"]
    if not (shifts or scales) or not all(scales + shifts):
        return ""
    layer = next(other.layer for other, _ in rows if other.role in ("gamma", "beta"))
    parts = [
        *(["gamma is exactly 1"] if scales else []),
        *(["beta exactly 0" if scales else "beta is exactly 0"] if shifts else []),
    ]
    whose = "the layer's" if layer == tensor.layer else f"{layer}'s"
    return f"{whose} {' and '.join(parts)} too"


def has_moved(other: Tensor, stats: Stats | None) -> bool:
    """Whether a tensor beside a kernel is no longer what it started as.

    A bias or slot may start at any one value; a gamma or beta that is no longer 1 or 0 throughout has been stepped.
    """
    if stats is None or not stats.count:
        return False
    if other.role == "slot":
        return stats.min != stats.max
    if other.role == "bias":
        return stats.min != stats.max or (stats.count == 1 and not _is_flat(stats, 0))
    return other.role in ("beta", "gamma") and not _is_flat(stats, float(other.role == "gamma"))


def _is_flat(stats: Stats | None, value: float) -> bool:
    """Every value of a tensor is this one."""
    if stats is None or not stats.count or stats.nan or stats.posinf or stats.neginf:
        return False
    return stats.min == stats.max == value


def _not_told(layer: Layer) -> bool:
    """Whether the constant value is not what the config's initializer gives."""
    said = layer.initializer
    return not (said.get("verdict") == "at-initializer" and said.get("match") in ("constant", "ones"))


def _noun(tensor: Tensor, layer: Layer) -> str:
    return "filters" if layer.kernel else "rows" if tensor.role == "embedding" else "units"


def _listed(layer: Layer, key: str, chosen: Sequence[Filter]) -> dict[str, Any]:
    """{key: how many, "of": of how many, "filters": which}, the last cut to 64."""
    return {
        key: layer.counts.get(key, 0),
        "of": layer.filters,
        "filters": [f.index for f in chosen[:MOST_LISTED]],
    }
