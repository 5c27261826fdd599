"""Findings from several tensors of a save together: layers that never ran or adapted, an optimizer without a step.

Every judgement compares exact initial values: one update in training takes them off, so no threshold is needed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from ckptui.core.catalogue import make
from ckptui.core.dtypes import is_float
from ckptui.core.model import ArchitectureRow, Finding
from ckptui.core.names import clean
from ckptui.core.text import human_count, number_text
from ckptui.triage.generators import generator_findings
from ckptui.triage.slots import slot_findings
from ckptui.triage.values import Row

Place = tuple[str, str]
"""Where a variable belongs: the path before its stored name, the path before its own."""

FLAT = ("variables", "trainable_variables", "non_trainable_variables", "_all_variables")
"""Lists that an export keeps all variables in, beside the layers' own: what they hold can be there twice."""
_TRIO = {"mean": "mean", "adapt_mean": "mean", "variance": "variance", "adapt_variance": "variance", "count": "count"}
_TRIO_BY_NUMBER = {"0": "mean", "1": "variance", "2": "count"}


def layer_findings(
    artifact_path: str, rows: Iterable[Row], architecture: Sequence[ArchitectureRow] = ()
) -> list[Finding]:
    """What only several tensors say together, from all rows of one save.

    `architecture`: its layers, where a config is saved; a class there goes before what names suggest. A tensor without
    statistics takes the findings that would need it.
    """
    rows = list(rows)
    found: list[Finding] = []
    for place, pair in _batch_statistics(rows).items():
        found += _statistics_at_initial(artifact_path, place, pair, found)
    found += _normalizations(artifact_path, rows, architecture)
    found += _discretizations(artifact_path, architecture)
    slots = slot_findings(artifact_path, rows)
    return found + slots + generator_findings(artifact_path, rows, untrained=bool(slots))


def _place(row: Row) -> Place:
    return clean(row[0].name).rpartition("/")[0], row[0].object_path.rpartition("/")[0]


def _flatness(place: Place) -> int:
    """0 for a layer's own variables, more for a list that repeats them: those are told of last, and once."""
    last = place[0].rpartition("/")[2]
    return FLAT.index(last) + 1 if last in FLAT else 0


# ---------------------------------------------------------------------- BatchNormalization


def _batch_statistics(rows: Sequence[Row]) -> dict[Place, dict[str, Row]]:
    """Moving mean and variance of every layer that has both."""
    layers: dict[Place, dict[str, Row]] = defaultdict(dict)
    for row in rows:
        if row[0].role in ("moving-mean", "moving-variance"):
            layers[_place(row)][row[0].role] = row
    return {place: layers[place] for place in sorted(layers, key=_flatness) if len(layers[place]) == 2}


def _statistics_at_initial(path: str, place: Place, pair: dict[str, Row], told: Sequence[Finding]) -> list[Finding]:
    if not (_all_at(pair["moving-mean"], 0) and _all_at(pair["moving-variance"], 1)):
        return []
    mean, variance = pair["moving-mean"][0], pair["moving-variance"][0]
    name = mean.layer
    if _flatness(place) and any(finding.evidence["layer"] == name for finding in told):
        return []
    detail = f"all {human_count(mean.count)} moving means are 0 and all moving variances 1"
    evidence = {"layer": name, "count": mean.count, "variance": variance.name}
    return [make("statistics-at-initial", path, mean.name, detail=detail, evidence=evidence)]


def _all_at(row: Row, value: float) -> bool:
    """Whether every value of a tensor was read, is a number, and is this one."""
    stats = row[1]
    return stats is not None and stats.count > 0 and stats.finite == stats.count and stats.min == stats.max == value


# ---------------------------------------------------------------------- Normalization


def _normalizations(path: str, rows: Sequence[Row], architecture: Sequence[ArchitectureRow]) -> list[Finding]:
    """Layers that keep mean, variance and count: still at their start, or with a variance that can't be.

    Keras 2 counts the samples it adapted to, Keras 3 leaves the count at 0 for ever: only a count above 0 says
    something.
    """
    sure = {weight for layer in architecture if layer.class_name == "Normalization" for weight in layer.weights}
    found: list[Finding] = []
    told: set[str] = set()
    for place, parts in sorted(_trios(rows, sure).items(), key=lambda item: _flatness(item[0])):
        name = parts["mean"][0].layer
        if _flatness(place) and name in told:
            continue
        made = _judged(path, name, parts)
        found += made
        told |= {name} if made else set()
    return found


def _trios(rows: Sequence[Row], sure: set[str]) -> dict[Place, dict[str, Row]]:
    """Mean, variance and count of every layer whose names, numbers and shapes make it a Normalization.

    `sure`: weights of layers that the architecture calls so. Without a count nothing else tells one.
    """
    named: dict[Place, dict[str, Row]] = defaultdict(dict)
    numbered: dict[Place, dict[str, Row]] = defaultdict(dict)
    for row in rows:
        tensor = row[0]
        if tensor.role not in ("other", "metric", "counter"):
            continue
        last = clean(tensor.name).rpartition("/")[2]
        own = tensor.object_path.rpartition("/")[2]
        word = _TRIO.get(own) or _TRIO.get(last)
        if word:
            named[_place(row)].setdefault(word, row)
        elif last in _TRIO_BY_NUMBER and not own and _place(row)[0].endswith("/vars"):
            numbered[_place(row)][_TRIO_BY_NUMBER[last]] = row
    trios = {place: parts for place, parts in named.items() if _is_trio(parts, sure)}
    return trios | {place: parts for place, parts in numbered.items() if "count" in parts and _is_trio(parts, sure)}


def _is_trio(parts: dict[str, Row], sure: set[str]) -> bool:
    if "mean" not in parts or "variance" not in parts:
        return False
    mean, variance = parts["mean"][0], parts["variance"][0]
    if mean.shape != variance.shape or not (is_float(mean.dtype) and is_float(variance.dtype)):
        return False
    if "count" not in parts:
        return mean.name in sure
    count = parts["count"][0]
    return not count.shape and not is_float(count.dtype)


def _judged(path: str, name: str, parts: dict[str, Row]) -> list[Finding]:
    mean, (variance, variances) = parts["mean"][0], parts["variance"]
    if variances is not None and variances.min is not None and variances.min < 0:
        detail = f"smallest variance {number_text(variances.min)}; a variance is never below 0"
        evidence = {"layer": name, "min": variances.min, "argmin": variances.argmin}
        return [make("statistics-implausible", path, variance.name, detail=detail, evidence=evidence)]
    if not (_all_at(parts["mean"], 0) and _all_at(parts["variance"], 1)):
        return []
    if "count" in parts and not _all_at(parts["count"], 0):
        return []
    places = f" in all {human_count(mean.count)} places" if mean.count > 1 else ""
    detail = f"mean 0 and variance 1{places}: inputs pass as they are"
    evidence = {"layer": name, "count": mean.count, "variance": variance.name}
    return [make("normalization-unadapted", path, mean.name, detail=detail, evidence=evidence)]


def _discretizations(path: str, architecture: Sequence[ArchitectureRow]) -> list[Finding]:
    """Discretizations that wait for `adapt`: their boundaries lie in the config, before Keras 3 among the weights."""
    waiting = [
        layer
        for layer in architecture
        if layer.class_name == "Discretization"
        and layer.config.get("num_bins") is not None
        and layer.config.get("bin_boundaries", 0) is None
        and not layer.weights
    ]
    if not waiting:
        return []
    names = [layer.name for layer in waiting]
    told = ", ".join(f"{layer.name} ({layer.config['num_bins']} bins)" for layer in waiting)
    detail = f"without boundaries: {told}"
    evidence = {"layer": names[0], "layers": names}
    title = "A Discretization layer was never adapted"
    return [make("normalization-unadapted", path, detail=detail, evidence=evidence, title=title)]
