"""What `ckptui filters` prints for people: a line a kernel, or a line a filter of one kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ckptui.core.model import Filter, Finding, Layer
from ckptui.core.names import clean
from ckptui.core.report import table
from ckptui.core.text import human_count, number_text, safe
from ckptui.output import findings_text

MOST_NAMED = 6
"""Filters named by number in the line of their kernel."""
_FLIPS = {
    "left_right": "left-right",
    "up_down": "up-down",
    "rotate_180": "180°",
    "transpose": "transposed",
    "front_back": "front-back",
}
_FLAGS: dict[str, tuple[str, Callable[[Filter], bool]]] = {
    "nonfinite": ("not finite", lambda f: f.nonfinite),
    "zero": ("zero", lambda f: f.zero),
    "dead": ("dead", lambda f: f.dead and not f.zero),
    "constant": ("constant", lambda f: f.constant),
    "duplicate": ("duplicate", lambda f: f.duplicate_of is not None),
    "untouched": ("untouched", lambda f: f.untouched),
}
"""By key of `Layer.counts`: the word, and which filters it is about."""


def filters_text(layers: Sequence[Layer], findings: Sequence[Finding]) -> list[str]:
    """One line a kernel: what its filters look like, beside what chance gives."""
    rows = [
        [
            safe(clean(layer.tensor)),
            _size(layer),
            str(layer.filters),
            _initializer(layer),
            _symmetry(layer),
            ", ".join(_flags(layer)),
        ]
        for layer in layers
    ]
    told = findings_text(findings)
    if not rows:
        return told or ["no kernels or embeddings"]
    lines = table(["kernel", "size", "filters", "initializer", "symmetric", "flagged"], rows, right=(2,))
    return [*lines, *([""] if told else []), *told]


def kernel_text(layer: Layer, findings: Sequence[Finding]) -> list[str]:
    """One kernel, a line a filter."""
    lines = [safe(layer.tensor), f"  {_size(layer)}, {_of(layer)}, {_initializer(layer)}"]
    if layer.expected_symmetric is not None:
        lines.append(f"  mirror-symmetric: {_symmetry(layer)}; p = {number_text(layer.symmetry_p_value, 2)}")
        lines += [
            f"  {_FLIPS.get(flip, flip) + ', all filters':<24} mean r {numbers['mean_r']:+.2f}, z {numbers['z']:+.1f}"
            for flip, numbers in layer.symmetry.items()
        ]
    flips = [flip for flip in _FLIPS if any(getattr(f, flip) is not None for f in layer.detail)]
    rows = [
        [str(f.index), number_text(f.l2, 4), *(_r(getattr(f, flip)) for flip in flips), ", ".join(_words(f))]
        for f in layer.detail
    ]
    headers = ["filter", "norm", *(_FLIPS[flip] for flip in flips), "flagged"]
    lines += ["", *table(headers, rows, right=range(2 + len(flips)))]
    if len(layer.detail) < layer.filters:
        lines.append(
            f"{human_count(len(layer.detail))} of {human_count(layer.filters)}, all that are flagged among them"
        )
    told = findings_text(findings)
    return [*lines, *([""] if told else []), *told]


def _size(layer: Layer) -> str:
    return "×".join(map(str, layer.kernel)) or "dense"


def _of(layer: Layer) -> str:
    inputs = "1 input" if layer.channels == 1 else f"{human_count(layer.channels)} inputs"
    return f"{human_count(layer.filters)} filters of {inputs}"


def _initializer(layer: Layer) -> str:
    """The verdict, and whose numbers they are where they are an initializer's."""
    word = str(layer.initializer.get("verdict", ""))
    match = layer.initializer.get("match")
    return f"{match}" if word == "at-initializer" and match else word


def _symmetry(layer: Layer) -> str:
    """`12, chance 1`; chance alone says nothing where there are none."""
    if layer.expected_symmetric is None:
        return "–"
    count = layer.counts.get("symmetric", 0)
    if not count:
        return "0"
    chance = layer.expected_symmetric
    by_chance = "0" if chance < 0.01 else number_text(chance, 2)
    return f"{count}, chance {by_chance}"


def _flags(layer: Layer) -> list[str]:
    """`6 zero: 3 7 11 15 19 23`; all filters of a kernel need no numbers."""
    parts = []
    if layer.flagged_symmetric:
        parts.append(_named("mirrored", [f.index for f in layer.detail if f.mirrored > 0], layer.filters))
    for key, (word, is_so) in _FLAGS.items():
        count = layer.counts.get(key, 0) - (layer.counts.get("zero", 0) if key == "dead" else 0)
        if key == "untouched" and count == layer.filters:
            continue
        if count > 0:
            parts.append(_named(word, [f.index for f in layer.detail if is_so(f)], layer.filters, count))
    return parts


def _named(word: str, which: Sequence[int], of: int, count: int | None = None) -> str:
    count = len(which) if count is None else count
    if count == of:
        return f"all {word}"
    more = " …" if count > MOST_NAMED else ""
    return f"{human_count(count)} {word}: {' '.join(map(str, which[:MOST_NAMED]))}{more}"


def _words(one: Filter) -> list[str]:
    words = [word for key, (word, is_so) in _FLAGS.items() if is_so(one) and key != "duplicate"]
    if one.duplicate_of is not None:
        words.append(f"repeats {one.duplicate_of}")
    if one.mirrored:
        words.append("mirror-symmetric" if one.mirrored > 0 else "antisymmetric")
    return words


def _r(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}"
