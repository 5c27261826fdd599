"""Layers of two saves whose configuration differs: padding, activation, stride, pooling, dtype policy change no tensor.

Told from the architectures two saves carry; where one carries none there is no evidence, and no finding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ckptui.core import graph_layers
from ckptui.core.catalogue import make
from ckptui.core.config_sides import CODE, Side, change, kind_of, layers_of, name_of, side_of
from ckptui.core.config_wiring import input_shapes, moved, wired
from ckptui.core.graph_partners import partners
from ckptui.core.layer_fields import class_of, counting, policy, same_value, shown
from ckptui.core.layer_order import Aligned, aligned, numbered
from ckptui.core.model import ArchitectureRow, Finding, Listing

POLICY = "dtype policy"
MOST_FINDINGS = 50
"""Changed layers that are told one by one."""
FEW_ALIKE = 0.5
"""Share of the layers that must have a partner, or the architectures differ as a whole."""
FEW_OF_ONE_POLICY = 3
"""Layers up to which another dtype policy is told of each; of more it was set for the whole model."""
MOST_SHOWN = 16
"""Values of a list that go into the evidence."""
_PREPROCESSING = frozenset(
    {graph_layers.SCALES, "Rescaling", "Normalization", "Resizing", "CenterCrop", "TextVectorization", "StringLookup",
     "IntegerLookup", "Hashing", "HashedCrossing", "Discretization", "CategoryEncoding", "Lambda",
     "Equalization", "Solarization"}
)  # fmt: skip
_TOLD_FIRST = ("activation", "padding", "strides", "pool_size")


def config_findings(a: Listing, b: Listing) -> list[Finding]:
    """`config-changed` for each layer whose answer would differ with the same weights, in B's terms, in model order.

    Evidence: {"layer", "class", "changes": [{"field", "a", "b"}]}. Empty where one of the saves has no architecture.
    """
    path = b.artifact.path
    if (a.artifact.kind == "meta-graph") != (b.artifact.kind == "meta-graph"):
        # a graph for training is not the one that is served
        return []
    layers = layers_of(a), layers_of(b)
    if layers[0] and layers[1]:
        one, other = side_of(layers[0]), side_of(layers[1])
    elif a.operations and b.operations:
        one, other = side_of(graph_layers.rows_of(a.operations)), side_of(graph_layers.rows_of(b.operations))
    else:
        return _across(path, a, b)
    if not one.rows or not other.rows:
        return []
    fit = aligned(one.rows, other.rows)
    if len(fit.pairs) < FEW_ALIKE * max(len(one.rows), len(other.rows)):
        return [_unlike(path, one, other, fit)]
    found = [*input_shapes(path, one, other), *_layers(path, one, other, fit), *_lone(path, one, other, fit)]
    found += [*moved(path, one, other, fit), *wired(path, one, other, fit)]
    if len(found) <= MOST_FINDINGS:
        return found
    more = len(found) - MOST_FINDINGS
    title = f"{more} more layers are configured differently"
    return [*found[:MOST_FINDINGS], make(CODE, path, title=title, evidence={"layer": "", "class": "", "more": more})]


def _across(path: str, a: Listing, b: Listing) -> list[Finding]:
    """An architecture against a graph: layers of one name, by what both tell for sure."""
    sides = [layers_of(side) or graph_layers.rows_of(side.operations, as_traced=True) for side in (a, b)]
    layers, shown = sides if layers_of(a) else sides[::-1]
    order = {row.name: place for place, row in enumerate(layers)}
    found = []
    for layer, scope in sorted(partners(layers, shown), key=lambda pair: order[pair[0].name]):
        one, other = (layer, scope) if layers_of(a) else (scope, layer)
        changes = _changes(one, other)
        if changes:
            found.append(_changed(path, one, replace(other, name=layer.name), changes))
    return found[:MOST_FINDINGS]


# ---------------------------------------------------------------------- pairs


def _layers(path: str, one: Side, other: Side, fit: Aligned) -> Iterator[Finding]:
    pairs = [(one.rows[left], other.rows[right]) for left, right in fit.pairs]
    told = [(a, b, changes) for a, b in pairs if (changes := _changes(a, b))]
    policies: dict[tuple[str, str], list[str]] = {}
    for _, b, changes in told:
        if changes[-1]["field"] == POLICY:
            policies.setdefault((changes[-1]["a"], changes[-1]["b"]), []).append(b.name)
    common = {change: names for change, names in policies.items() if len(names) > FEW_OF_ONE_POLICY}
    for (before, after), names in common.items():
        yield _policy(path, before, after, names)
    for a, b, changes in told:
        last = changes[-1]
        rest = changes[:-1] if last["field"] == POLICY and (last["a"], last["b"]) in common else changes
        if rest:
            yield _changed(path, a, b, rest)


def _policy(path: str, before: str, after: str, names: Sequence[str]) -> Finding:
    return make(
        CODE,
        path,
        title=f"dtype policy {before} against {after} in {len(names)} layers",
        detail=f"{', '.join(names[:8])}{' and more' if len(names) > 8 else ''}",
        evidence={
            "layer": "",
            "class": "",
            "layers": list(names[:MOST_FINDINGS]),
            "changes": [change(POLICY, before, after)],
        },
    )


def _changes(a: ArchitectureRow, b: ArchitectureRow) -> list[dict[str, Any]]:
    classes = class_of(a.class_name), class_of(b.class_name)
    if classes[0] != classes[1]:
        if {"Sequential", "Functional"} >= set(classes) or not (a.config and b.config):
            return []
        return [change("class", *classes)]
    left = counting(classes[0], a.config, _rank(a))
    right = counting(classes[1], b.config, _rank(b))
    names = [*_TOLD_FIRST, *(name for name in left if name not in _TOLD_FIRST)]
    changes = [
        change(name, left[name], right[name])
        for name in names
        if name in left and name in right and not same_value(left[name], right[name])
    ]
    policies = policy(classes[0], a.config), policy(classes[1], b.config)
    if policies[0] is not None and policies[1] is not None and policies[0] != policies[1]:
        changes.append(change(POLICY, *policies))
    return changes


def _rank(row: ArchitectureRow) -> int | None:
    return None if row.output_shape is None else len(row.output_shape)


def _changed(path: str, a: ArchitectureRow, b: ArchitectureRow, changes: Sequence[Mapping[str, Any]]) -> Finding:
    words = [_words(change) for change in changes]
    code_alone = all(change["field"] == "function" for change in changes)
    name = name_of(b)
    renamed = f", in A {name_of(a)}" if name_of(a) != name else ""
    detail = f"{kind_of(b)} {name}{renamed}: {'; '.join(words)}"
    if code_alone:
        detail += ". The code of a Lambda holds line numbers too: it may do the same"
    return make(
        CODE,
        path,
        title=f"{name}: {', '.join(words[:3])}{' and more' if len(words) > 3 else ''}",
        detail=detail,
        evidence={
            "layer": b.name,
            "layer_a": a.name,
            "class": kind_of(b),
            "changes": [{**change, "a": _short(change["a"]), "b": _short(change["b"])} for change in changes],
        },
        certainty="possible" if code_alone else "confirmed",
        severity="info" if code_alone else None,
    )


def _words(change: Mapping[str, Any]) -> str:
    if change["field"] == "class":
        return f"{change['a']} against {change['b']}"
    return f"{str(change['field']).replace('_', ' ')} {shown(change['a'])} against {shown(change['b'])}"


def _short(value: Any) -> Any:
    return value[:MOST_SHOWN] if isinstance(value, list) else value


# ---------------------------------------------------------------------- what only one has


def _lone(path: str, one: Side, other: Side, fit: Aligned) -> Iterator[Finding]:
    for side, places, has, lacks in ((one, fit.only_a, "A", "B"), (other, fit.only_b, "B", "A")):
        for place in places:
            row = side.rows[place]
            begins = has + " starts with" if _begins(side.rows, place) else has + " has"
            what = _described(row)
            behind = next((name_of(r) for r in reversed(side.rows[:place]) if r.depth == row.depth), "")
            where = f", behind {behind}" if behind else ""
            yield make(
                CODE,
                path,
                title=f"{begins} {what}, {lacks} does not",
                detail=f"{kind_of(row)} {name_of(row)}{where}: the other save has no such layer",
                evidence={
                    "layer": row.name,
                    "class": kind_of(row),
                    "only_in": has.lower(),
                    "changes": [change("layer", what if has == "A" else None, what if has == "B" else None)],
                },
                advice=_SKEW if kind_of(row) in _PREPROCESSING else None,
            )


_SKEW = "One of the models prepares its input itself: what comes before it must do so for the other, and only there."


def _begins(rows: Sequence[ArchitectureRow], place: int) -> bool:
    """Whether a preprocessing layer stands before all others."""
    return all(kind_of(row) in _PREPROCESSING for row in rows[: place + 1])


def _described(row: ArchitectureRow) -> str:
    """`Rescaling(scale 0.00392157)`, `ReLU act`: the class, what is not as usual, the name somebody gave it."""
    if row.class_name == graph_layers.SCALES:
        scale, offset = (row.config.get(name) for name in ("scale", "offset"))
        how = f"x {shown(scale, 24)} + {shown(offset, 24)}" if scale is not None and offset is not None else ""
        return f"{row.name} ({how or ', '.join(map(str, row.config.get('ops', ())))})"
    usual = counting(kind_of(row), {}, None)
    kept = [
        f"{name.replace('_', ' ')} {shown(value, 24)}"
        for name, value in counting(kind_of(row), row.config, _rank(row)).items()
        if name != "data_format" and not (name in usual and same_value(usual[name], value))
    ]
    own = "" if numbered(row) else f" {row.name}"
    return f"{kind_of(row)}({', '.join(kept[:3])}){own}" if kept else f"{kind_of(row)}{own}"


def _unlike(path: str, one: Side, other: Side, fit: Aligned) -> Finding:
    return make(
        CODE,
        path,
        title=f"Other layers: {len(fit.pairs)} of A's {len(one.rows)} and B's {len(other.rows)} are the same",
        detail="The architectures differ as a whole: their layers are not compared one by one",
        evidence={
            "layer": "",
            "class": "",
            "changes": [change("layers", len(one.rows), len(other.rows))],
            "same": len(fit.pairs),
        },
    )
