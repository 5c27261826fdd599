"""Findings from several tensors of a save together: statistics never updated, an optimizer that never stepped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from ckptui.core.catalogue import make
from ckptui.core.dtypes import is_float
from ckptui.core.model import Finding
from ckptui.core.text import human_count
from ckptui.triage.values import Row


def layer_findings(artifact_path: str, rows: Iterable[Row]) -> list[Finding]:
    """What only several tensors say together: statistics never updated, an optimizer that never stepped."""
    layers: dict[str, dict[str, Row]] = defaultdict(dict)
    slots: list[Row] = []
    for tensor, stats in rows:
        if tensor.role in ("moving-mean", "moving-variance"):
            layers[tensor.layer][tensor.role] = (tensor, stats)
        elif tensor.role == "slot" and is_float(tensor.dtype):
            slots.append((tensor, stats))
    found = []
    for name, pair in layers.items():
        if len(pair) == 2:
            found += _statistics_at_initial(artifact_path, name, pair["moving-mean"], pair["moving-variance"])
    return found + _slots_at_zero(artifact_path, slots)


def _statistics_at_initial(path: str, name: str, mean: Row, variance: Row) -> list[Finding]:
    (mean_tensor, mean_stats), (variance_tensor, variance_stats) = mean, variance
    if mean_stats is None or variance_stats is None or not mean_stats.count:
        return []
    if mean_stats.zeros != mean_stats.count or (variance_stats.min, variance_stats.max) != (1, 1):
        return []
    if (variance_stats.nan, variance_stats.posinf, variance_stats.neginf) != (0, 0, 0):
        return []
    detail = f"all {human_count(mean_stats.count)} moving means are 0 and all moving variances 1"
    evidence = {"layer": name, "count": mean_stats.count, "variance": variance_tensor.name}
    return [make("statistics-at-initial", path, mean_tensor.name, detail=detail, evidence=evidence)]


def _slots_at_zero(path: str, slots: Sequence[Row]) -> list[Finding]:
    """Only where every slot was read and all are zero: frozen layers leave single ones so."""
    read = [(tensor, stats) for tensor, stats in slots if stats is not None and stats.count]
    if not read or len(read) < len([t for t, _ in slots if t.count]):
        return []
    if any(stats.zeros != stats.count for _, stats in read):
        return []
    detail = f"all {human_count(len(read))} optimizer slots are exactly 0"
    return [make("slots-at-zero", path, None, detail=detail, evidence={"slots": len(read)})]
