"""Findings the HDF5 and Keras readers make: damage, references outside, weights against the architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ckptui.core.catalogue import make
from ckptui.core.model import Certainty, Finding, Severity, Tensor
from ckptui.core.sayings import says
from ckptui.core.text import safe, shape_text
from ckptui.readers.keras_config import Node, Shape
from ckptui.readers.keras_layout import Layout, Place
from ckptui.readers.keras_variables import expected

MAX_PER_CODE = 200
"""Findings of one code that name a tensor each; the rest is counted in one more."""
MAX_SHOWN = 20
"""Names listed in one finding's evidence."""


def note(
    code: str,
    path: str,
    detail: str,
    *,
    tensor: str | None = None,
    evidence: Mapping[str, Any] | None = None,
    severity: Severity | None = None,
    certainty: Certainty = "confirmed",
    title: str | None = None,
    advice: str | None = None,
) -> Finding:
    """A finding with the catalogue's words, `detail` first among what is particular to it."""
    return make(
        code,
        path,
        tensor,
        detail=detail,
        evidence=evidence,
        certainty=certainty,
        severity=severity,
        title=title,
        advice=advice,
    )


def limited(findings: Sequence[Finding]) -> list[Finding]:
    """At most MAX_PER_CODE findings of each code, and one that counts the rest."""
    kept: list[Finding] = []
    counts: dict[str, int] = {}
    for one in findings:
        counts[one.code] = counts.get(one.code, 0) + 1
        if counts[one.code] <= MAX_PER_CODE:
            kept.append(one)
    for one in list(kept):
        more = counts.pop(one.code, 0) - MAX_PER_CODE
        if more > 0:
            kept.append(note(one.code, one.artifact, f"{more} more like it", evidence={"count": more}))
    return kept


def listed(names: Sequence[str]) -> dict[str, Any]:
    """How many, and the first of them."""
    return {"count": len(names), "names": list(names[:MAX_SHOWN])}


def in_words(names: Sequence[str]) -> str:
    """`a, b and 3 more`, safe to show."""
    shown = ", ".join(safe(name, 120) for name in names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


def against_architecture(path: str, root: Node | None, layout: Layout, tensors: Mapping[str, Tensor]) -> list[Finding]:
    """What the architecture expects and the file does not hold, holds too much of, or holds in another shape.

    Only standard layers are judged; models never built (no weights, no input shape) are not.
    """
    findings: list[Finding] = []
    missing = [f"{layer}/{weight}" if layer else weight for layer, weight in layout.absent]
    short: list[_Short] = []
    if root is not None and layout.style != "keras-1":
        owned = owners(layout.places)
        short = _missing(root, owned, {layer for layer, _ in layout.absent})
        missing += [f"{one.layer}/{name}" for one in short for name in one.names]
        findings += _mismatched(path, root, owned, tensors)
        readable = {name for name, tensor in tensors.items() if tensor.dtype != "unknown"}
        findings += _unexpected(path, root, owned, layout, readable)
    if missing:
        detail = f"{in_words(missing)}: named by the architecture, not in the file"
        facts = listed(missing)
        if short:
            facts["layers"] = [{"layer": o.layer, "expected": o.expected, "found": o.found} for o in short[:MAX_SHOWN]]
        if short and layout.style == "objects":
            facts["tensorflow_says"] = says("layer-variables", **facts["layers"][0])
        findings.insert(0, note("weights-missing", path, detail, evidence=facts))
    return findings


class _Short(NamedTuple):
    """A layer with fewer variables than it needs."""

    layer: str
    names: list[str]
    """Those that are not there."""
    expected: int
    found: int


def owners(places: Mapping[str, Place]) -> dict[Node, list[str]]:
    """The datasets of each node, in the order of its variables."""
    owned: dict[Node, list[str]] = {}
    for name, place in places.items():
        if place.node is not None and place.section == "model":
            owned.setdefault(place.node, []).append(name)
    for names in owned.values():
        names.sort(key=lambda name: places[name].order)
    return owned


def _missing(root: Node, owned: Mapping[Node, Sequence[str]], told: set[str]) -> list[_Short]:
    if not owned and root.input_shape is None and not any(n.input_shape for n in root.walk()):
        return []
    # A layer used in two models is stored once, under the model that was saved first.
    stored = {(node.name, node.class_name) for node in owned}
    missing: list[_Short] = []
    for top in root.children:
        for node in top.walk():
            wanted = expected(node)
            have = len(owned.get(node, ()))
            if not wanted or have >= len(wanted) or top.name in told:
                continue
            if not have and (node.name, node.class_name) in stored:
                continue
            layer = node.name if not node.hidden else f"{top.name}/{node.name}"
            missing.append(_Short(layer, [variable.name for variable in wanted[have:]], len(wanted), have))
    return missing


def _mismatched(
    path: str, root: Node, owned: Mapping[Node, Sequence[str]], tensors: Mapping[str, Tensor]
) -> list[Finding]:
    findings: list[Finding] = []
    for node, names in owned.items():
        wanted = expected(node)
        if wanted is None or len(wanted) != len(names):
            continue
        for variable, name in zip(wanted, names, strict=True):
            shape = tensors[name].shape
            if tensors[name].problem or _fits(variable.shape, shape):
                continue
            told, found = shape_text(variable.shape), shape_text(shape)
            findings.append(
                note(
                    "shape-mismatch",
                    path,
                    f"{node.name}/{variable.name}: the architecture says {told}, the file {found}",
                    tensor=name,
                    evidence={
                        "expected": list(variable.shape),
                        "found": list(shape),
                        "layer": node.name,
                        "tensorflow_says": says("variable-shape"),
                    },
                )
            )
    return findings


def _fits(wanted: Shape, found: Sequence[int]) -> bool:
    return len(wanted) == len(found) and all(w is None or w == f for w, f in zip(wanted, found, strict=True))


def _unexpected(
    path: str, root: Node, owned: Mapping[Node, Sequence[str]], layout: Layout, readable: set[str]
) -> list[Finding]:
    if not all(node.standard for node in root.walk() if node.is_model):
        return []
    extra = [
        name
        for name, place in layout.places.items()
        if place.section == "model" and place.node is None and name in readable and _is_weight_of_a_layer(place)
    ]
    for node, names in owned.items():
        wanted = expected(node)
        if wanted is not None and len(names) > len(wanted):
            extra += names[len(wanted) :]
    if not extra:
        return []
    detail = f"{in_words(extra)}: in the file, not in the architecture"
    return [note("weights-unexpected", path, detail, evidence=listed(extra))]


def _is_weight_of_a_layer(place: Place) -> bool:
    return bool(place.layer) and "seed_generator" not in place.object_path
