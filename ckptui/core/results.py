"""The vocabulary of results: what comparing, judging, scanning and predicting come to. Frozen, without behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ckptui.core.course import Origin
from ckptui.core.vocabulary import Artifact, Finding, PairStatus, Role, Stats, jsonable


@dataclass(frozen=True, slots=True)
class Pair:
    """Two tensors held against each other, or one that has no partner."""

    a: str | None
    b: str | None
    role: Role
    status: PairStatus
    matched_by: str | None = None
    """`name` | `full-name` | `weight-path` | `layer-order` | `content`; None for a lone tensor."""
    max_abs: float | None = None
    mean_abs: float | None = None
    rms: float | None = None
    relative_l2: float | None = None
    cosine: float | None = None
    changed: int | None = None
    """Elements whose bits differ."""
    count: int | None = None
    detail: str = ""
    """Which axis changed, why it can't be read, how many values are in no distance, ..."""
    left_out: int = 0
    """Values that are not finite on one side at least: in `changed` where they differ, in no distance."""

    def to_json(self) -> dict[str, Any]:
        return {name: jsonable(getattr(self, name)) for name in self.__dataclass_fields__ if name != "left_out"}


_FLIPS = ("left_right", "up_down", "rotate_180", "transpose")


@dataclass(frozen=True, slots=True)
class Filter:
    """One output channel of a convolution kernel and what it looks like."""

    index: int
    l2: float
    left_right: float | None
    up_down: float | None
    rotate_180: float | None
    transpose: float | None
    untouched: bool
    zero: bool
    constant: bool
    nonfinite: bool
    duplicate_of: int | None
    dead: bool = False
    mirrored: int = 0
    """1: symmetric, -1: antisymmetric under some flip, beyond what chance explains."""
    front_back: float | None = None
    """Of volumes: mirror correlation along the first axis."""

    def to_json(self) -> dict[str, Any]:
        plain = ("untouched", "zero", "constant", "nonfinite", "duplicate_of", "dead", "mirrored")
        doc = {name: jsonable(getattr(self, name)) for name in ("index", "l2", *_FLIPS)}
        doc.update((name, getattr(self, name)) for name in plain)
        if self.front_back is not None:
            doc["front_back"] = jsonable(self.front_back)
        return doc


@dataclass(frozen=True, slots=True)
class Layer:
    """A kernel, filter by filter, with what chance would give beside what was counted."""

    tensor: str
    layer: str
    kernel: tuple[int, ...]
    """[k], [h, w] or [d, h, w]; empty for dense kernels and embeddings."""
    channels: int
    filters: int
    initializer: Mapping[str, Any]
    """{"verdict", "match", "certainty", "on_grid", "p_value"}"""
    counts: Mapping[str, int]
    """untouched, symmetric, antisymmetric, zero, constant, duplicate, nonfinite, dead"""
    expected_symmetric: float | None
    symmetry_p_value: float | None
    symmetry: Mapping[str, Mapping[str, float]]
    """Per flip: {"mean_r", "z"}."""
    detail: tuple[Filter, ...] = ()
    flagged_symmetric: bool = False
    """Chance does not explain the symmetric filters: the only case in which they are framed or reported."""
    flagged_constant: bool = False
    """Chance does not explain the filters of one value."""

    @property
    def symmetric_varied(self) -> int:
        """Symmetric filters without the constant ones, which any flip leaves as they are."""
        flat = self.counts.get("constant", 0) if self.symmetry else 0
        return max(0, self.counts.get("symmetric", 0) - flat)

    def to_json(self) -> dict[str, Any]:
        return {
            "tensor": self.tensor,
            "layer": self.layer,
            "kernel": list(self.kernel),
            "channels": self.channels,
            "filters": self.filters,
            "initializer": jsonable(dict(self.initializer)),
            "counts": dict(self.counts),
            "expected_symmetric": jsonable(self.expected_symmetric),
            "symmetry_p_value": jsonable(self.symmetry_p_value),
            "symmetry": jsonable(dict(self.symmetry)),
            "flagged_symmetric": self.flagged_symmetric,
            "detail": [f.to_json() for f in self.detail],
        }


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a long job is."""

    done_bytes: int
    total_bytes: int
    done: int
    """Tensors finished."""
    total: int
    seconds: float
    current: str = ""

    @property
    def rate(self) -> float:
        """Bytes per second so far."""
        return self.done_bytes / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """At the rate so far; None before a fiftieth is done: the first bytes pay for starting up."""
        if self.rate <= 0 or self.done_bytes * 50 < self.total_bytes:
            return None
        return (self.total_bytes - self.done_bytes) / self.rate


@dataclass(frozen=True, slots=True)
class TensorScan:
    """What one pass over a tensor's bytes said."""

    name: str
    stats: Stats | None
    checksum: Literal["ok", "mismatch", "none", "unread"]
    """`none`: the format stores no checksum; `unread`: the bytes could not be read."""
    findings: tuple[Finding, ...] = ()
    bytes: int = 0
    """Bytes read."""


QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of finite values in equal bins."""

    low: float
    high: float
    counts: tuple[int, ...]
    outside: int = 0
    """Values that are not finite."""
    quantiles: tuple[float, ...] = ()
    """The values at the shares `QUANTILES` of the finite ones; empty where there are none."""
    sampled: int = 0
    """Of so many values, evenly spread, are the quantiles; 0: of all."""

    def to_json(self) -> dict[str, Any]:
        return {
            "low": jsonable(self.low),
            "high": jsonable(self.high),
            "counts": list(self.counts),
            "outside": self.outside,
            "quantiles": jsonable({str(share): v for share, v in zip(QUANTILES, self.quantiles, strict=False)}),
            "sampled": self.sampled,
        }


@dataclass(frozen=True, slots=True)
class DiffReport:
    """Baseline `a` against candidate `b`."""

    a: Artifact
    b: Artifact
    pairs: tuple[Pair, ...]
    relation: Mapping[str, Any]
    """{"verdict", "certainty", "evidence"}"""
    findings: tuple[Finding, ...] = ()
    origin: Origin | None = None
    """Where one side was given as a run: which of its saves the other was made from."""

    @property
    def summary(self) -> dict[str, int]:
        """How many pairs have each status."""
        names = ("identical", "changed", "shape-changed", "dtype-changed", "only-a", "only-b", "unreadable")
        counts = dict.fromkeys(names, 0)
        for pair in self.pairs:
            counts[pair.status] += 1
        return counts
