"""Layers of two saves whose configuration differs: padding, activation, stride, pooling, dtype policy change no tensor.

Told from the architectures two saves carry; where one carries none there is no evidence, and no finding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ckptui.core.catalogue import make
from ckptui.core.layer_fields import class_of, counting, policy, same_value, shown
from ckptui.core.layer_order import Aligned, aligned, numbered
from ckptui.core.model import ArchitectureRow, Finding, Listing

CODE = "config-changed"
POLICY = "dtype policy"
MOST_FINDINGS = 50
"""Changed layers that are told one by one."""
FEW_ALIKE = 0.5
"""Share of the layers that must have a partner, or the architectures differ as a whole."""
FEW_OF_ONE_POLICY = 3
"""Layers up to which another dtype policy is told of each; of more it was set for the whole model."""
MOST_SHOWN = 16
"""Values of a list that go into the evidence."""
_TRAINING_ONLY = frozenset(
    {"Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "AlphaDropout", "GaussianDropout",
     "GaussianNoise", "ActivityRegularization", "RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation",
     "RandomContrast", "RandomBrightness", "RandomCrop", "RandomHeight", "RandomWidth", "RandomShear",
     "RandomErasing", "RandomGrayscale", "RandomHue", "RandomSaturation", "RandomSharpness", "RandomColorJitter",
     "RandomGaussianBlur", "RandomInvert", "RandomPosterization", "RandomColorDegeneration", "RandomApply",
     "RandomPerspective", "RandomElasticTransform", "RandAugment", "MixUp", "CutMix", "AugMix",
     "Identity"}
)  # fmt: skip
"""Pass their input on as it is when a model answers."""
_PREPROCESSING = frozenset(
    {"Rescaling", "Normalization", "Resizing", "CenterCrop", "TextVectorization", "StringLookup", "IntegerLookup",
     "Hashing", "HashedCrossing", "Discretization", "CategoryEncoding", "Lambda", "Equalization", "Solarization"}
)  # fmt: skip
_COMMUTE = frozenset({"Add", "Multiply", "Average", "Maximum", "Minimum"})
_OPS = frozenset({"TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer", "ClassMethod", "InstanceMethod"})
"""Calls of plain functions: every version of Keras has its own form of them."""
_TOLD_FIRST = ("activation", "padding", "strides", "pool_size")


@dataclass(frozen=True, slots=True)
class _Side:
    """The layers of one save that a finding can be about."""

    rows: tuple[ArchitectureRow, ...]
    inputs: tuple[ArchitectureRow, ...]
    every: tuple[ArchitectureRow, ...]


def config_findings(a: Listing, b: Listing) -> list[Finding]:
    """`config-changed` for each layer whose answer would differ with the same weights, in B's terms, in model order.

    Evidence: {"layer", "class", "changes": [{"field", "a", "b"}]}. Empty where one of the saves has no architecture.
    """
    one, other = _side(a), _side(b)
    if not one.rows or not other.rows:
        return []
    path = b.artifact.path
    fit = aligned(one.rows, other.rows)
    if len(fit.pairs) < FEW_ALIKE * max(len(one.rows), len(other.rows)):
        return [_unlike(path, one, other, fit)]
    found = [*_input_shapes(path, one, other), *_layers(path, one, other, fit), *_lone(path, one, other, fit)]
    found += [*_moved(path, one, other, fit), *_wired(path, one, other, fit)]
    if len(found) <= MOST_FINDINGS:
        return found
    more = len(found) - MOST_FINDINGS
    title = f"{more} more layers are configured differently"
    return [*found[:MOST_FINDINGS], make(CODE, path, title=title, evidence={"layer": "", "class": "", "more": more})]


def _side(listing: Listing) -> _Side:
    every = () if listing.artifact.kind == "meta-graph" else listing.architecture
    rows = tuple(
        row
        for row in every
        if class_of(row.class_name) not in _TRAINING_ONLY | {"InputLayer"} and row.class_name not in _OPS
    )
    inputs = tuple(row for row in every if class_of(row.class_name) == "InputLayer" and row.depth == 0)
    return _Side(rows, inputs, every)


# ---------------------------------------------------------------------- pairs


def _layers(path: str, one: _Side, other: _Side, fit: Aligned) -> Iterator[Finding]:
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
            "changes": [_change(POLICY, before, after)],
        },
    )


def _changes(a: ArchitectureRow, b: ArchitectureRow) -> list[dict[str, Any]]:
    classes = class_of(a.class_name), class_of(b.class_name)
    if classes[0] != classes[1]:
        if {"Sequential", "Functional"} >= set(classes) or not (a.config and b.config):
            return []
        return [_change("class", *classes)]
    left = counting(classes[0], a.config, _rank(a))
    right = counting(classes[1], b.config, _rank(b))
    names = [*_TOLD_FIRST, *(name for name in left if name not in _TOLD_FIRST)]
    changes = [
        _change(name, left[name], right[name])
        for name in names
        if name in left and name in right and not same_value(left[name], right[name])
    ]
    policies = policy(classes[0], a.config), policy(classes[1], b.config)
    if policies[0] is not None and policies[1] is not None and policies[0] != policies[1]:
        changes.append(_change(POLICY, *policies))
    return changes


def _change(field: str, a: Any, b: Any) -> dict[str, Any]:
    return {"field": field, "a": a, "b": b}


def _rank(row: ArchitectureRow) -> int | None:
    return None if row.output_shape is None else len(row.output_shape)


def _changed(path: str, a: ArchitectureRow, b: ArchitectureRow, changes: Sequence[Mapping[str, Any]]) -> Finding:
    words = [_words(change) for change in changes]
    code_alone = all(change["field"] == "function" for change in changes)
    name = _name(b)
    renamed = f", in A {_name(a)}" if _name(a) != name else ""
    detail = f"{_class(b)} {name}{renamed}: {'; '.join(words)}"
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
            "class": _class(b),
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


def _name(row: ArchitectureRow) -> str:
    return row.name or f"a {_class(row)}"


def _class(row: ArchitectureRow) -> str:
    return class_of(row.class_name)


# ---------------------------------------------------------------------- what only one has


def _lone(path: str, one: _Side, other: _Side, fit: Aligned) -> Iterator[Finding]:
    for side, places, has, lacks in ((one, fit.only_a, "A", "B"), (other, fit.only_b, "B", "A")):
        for place in places:
            row = side.rows[place]
            begins = has + " starts with" if _begins(side.rows, place) else has + " has"
            what = _described(row)
            behind = next((_name(r) for r in reversed(side.rows[:place]) if r.depth == row.depth), "")
            where = f", behind {behind}" if behind else ""
            yield make(
                CODE,
                path,
                title=f"{begins} {what}, {lacks} does not",
                detail=f"{_class(row)} {_name(row)}{where}: the other save has no such layer",
                evidence={
                    "layer": row.name,
                    "class": _class(row),
                    "only_in": has.lower(),
                    "changes": [_change("layer", what if has == "A" else None, what if has == "B" else None)],
                },
                advice=_SKEW if _class(row) in _PREPROCESSING else None,
            )


_SKEW = "One of the models prepares its input itself: what comes before it must do so for the other, and only there."


def _begins(rows: Sequence[ArchitectureRow], place: int) -> bool:
    """Whether a preprocessing layer stands before all others."""
    return all(_class(row) in _PREPROCESSING for row in rows[: place + 1])


def _described(row: ArchitectureRow) -> str:
    """`Rescaling(scale 0.00392157)`, `ReLU act`: the class, what is not as usual, the name somebody gave it."""
    usual = counting(_class(row), {}, None)
    kept = [
        f"{name.replace('_', ' ')} {shown(value, 24)}"
        for name, value in counting(_class(row), row.config, _rank(row)).items()
        if name != "data_format" and not (name in usual and same_value(usual[name], value))
    ]
    own = "" if numbered(row) else f" {row.name}"
    return f"{_class(row)}({', '.join(kept[:3])}){own}" if kept else f"{_class(row)}{own}"


def _unlike(path: str, one: _Side, other: _Side, fit: Aligned) -> Finding:
    return make(
        CODE,
        path,
        title=f"Other layers: {len(fit.pairs)} of A's {len(one.rows)} and B's {len(other.rows)} are the same",
        detail="The architectures differ as a whole: their layers are not compared one by one",
        evidence={
            "layer": "",
            "class": "",
            "changes": [_change("layers", len(one.rows), len(other.rows))],
            "same": len(fit.pairs),
        },
    )


# ---------------------------------------------------------------------- inputs, order and wiring


def _input_shapes(path: str, one: _Side, other: _Side) -> Iterator[Finding]:
    shapes = _inputs(one), _inputs(other)
    if len(shapes[0]) != len(shapes[1]):
        return
    for number, (a, b) in enumerate(zip(*shapes, strict=True)):
        differs = len(a[1]) != len(b[1]) or any(
            m is not None and n is not None and m != n for m, n in zip(a[1], b[1], strict=True)
        )
        if differs:
            # an axis without a size takes what comes: no other answer follows from that
            change = _change("input shape", list(a[1]), list(b[1]))
            which = f" {number + 1}" if len(shapes[0]) > 1 else ""
            yield make(
                CODE,
                path,
                title=f"Input{which}: shape {shown(list(a[1]))} against {shown(list(b[1]))}",
                evidence={"layer": b[0], "class": "InputLayer", "changes": [change]},
            )


def _inputs(side: _Side) -> list[tuple[str, tuple[Any, ...]]]:
    """Name and shape, without the batch, of each input as far as it is known."""
    rows = side.inputs or side.every[:1]
    out = []
    for row in rows:
        shape = next((row.config[name] for name in ("batch_shape", "batch_input_shape") if name in row.config), None)
        if isinstance(shape, (list, tuple)) and shape and all(n is None or type(n) is int for n in shape):
            out.append((row.name, tuple(shape[1:])))
    return out


def _moved(path: str, one: _Side, other: _Side, fit: Aligned) -> Iterator[Finding]:
    wired = any(row.inbound for row in one.every) and any(row.inbound for row in other.every)
    for left, right in () if wired else fit.moved:
        a, b = one.rows[left], other.rows[right]
        before = [_name(rows[place - 1]) if place else "the input" for rows, place in
                  ((one.rows, left), (other.rows, right))]  # fmt: skip
        yield make(
            CODE,
            path,
            title=f"{_name(b)} stands elsewhere: behind {before[0]} against behind {before[1]}",
            evidence={
                "layer": b.name,
                "layer_a": a.name,
                "class": _class(b),
                "changes": [_change("place", left, right)],
            },
        )


def _wired(path: str, one: _Side, other: _Side, fit: Aligned) -> Iterator[Finding]:
    """Layers that take their inputs from other layers than their partners do."""
    ours, theirs = _sources(one), _sources(other)
    number = {left: n for n, (left, _) in enumerate(fit.pairs)}, {right: n for n, (_, right) in enumerate(fit.pairs)}
    for left, right in fit.pairs:
        a, b = one.rows[left], other.rows[right]
        from_a, from_b = _numbers(a, ours.get(left), number[0]), _numbers(b, theirs.get(right), number[1])
        if from_a is None or from_b is None or from_a == from_b:
            continue
        named = [
            [_name(side.rows[place]) if place >= 0 else "the input" for call in calls for place in call]
            for side, calls in ((one, ours[left]), (other, theirs[right]))
        ]
        words = [", ".join(names[:4]) for names in named]
        yield make(
            CODE,
            path,
            title=f"{_name(b)}: takes {words[0]} against {words[1]}",
            detail=f"{_class(b)} {_name(b)}: its input comes from other layers",
            evidence={"layer": b.name, "layer_a": a.name, "class": _class(b), "changes": [_change("inputs", *named)]},
        )


def _sources(side: _Side) -> dict[int, list[list[int]]]:
    """Place of a layer to those its calls take, -1 - n for input n; what passes its input on is seen through.

    Only of layers of the model itself whose sources are all known.
    """
    places = {row.name: n for n, row in enumerate(side.rows) if row.depth == 0}
    inputs = {row.name: -1 - n for n, row in enumerate(side.inputs)}
    passed = {
        row.name: row.inbound[0][0]
        for row in side.every
        if row.depth == 0 and _class(row) in _TRAINING_ONLY and len(row.inbound) == 1 and len(row.inbound[0]) == 1
    }
    out: dict[int, list[list[int]]] = {}
    for row in side.every:
        place = places.get(row.name)
        if row.depth or not row.inbound or place is None:
            continue
        calls = [[_through(name, passed) for name in call] for call in row.inbound]
        if all(name in places or name in inputs for call in calls for name in call):
            out[place] = [[places[name] if name in places else inputs[name] for name in call] for call in calls]
    return out


def _through(name: str, passed: Mapping[str, str]) -> str:
    seen = set()
    while name in passed and name not in seen:
        seen.add(name)
        name = passed[name]
    return name


def _numbers(row: ArchitectureRow, calls: Sequence[Sequence[int]] | None, number: Mapping[int, int]) -> Any:
    """The calls by pair numbers, so that both sides compare; None where a source has no partner (told elsewhere)."""
    if calls is None or any(place >= 0 and place not in number for call in calls for place in call):
        return None
    told = [[number[place] if place >= 0 else place for place in call] for call in calls]
    return sorted(sorted(call) if _class(row) in _COMMUTE else call for call in told)
