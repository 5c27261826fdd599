"""What `ckptui filters` prints for people: a line a kernel, or a line a filter of one kernel."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence

from ckptui.core.lookup import copies_of
from ckptui.core.model import Filter, Finding, Layer, Tensor
from ckptui.core.names import clean
from ckptui.core.naming import naming_of, own_names
from ckptui.core.report import SIGNS, table, worst_first
from ckptui.core.text import human_count, middle, number_text, safe
from ckptui.output import findings_text
from ckptui.session import FILTERED

ENOUGH = 10_000
"""Columns where nobody counts them."""
LEAST_NAME = 20
"""Columns a name keeps however narrow the screen is."""
MOST_WIDER = 24
LEAST_FLAGGED = 14
STORED = "stored as"
_MATRICES = (
    ("lstm", "LSTM"), ("gru", "GRU"), ("rnn", "RNN"), ("attention", "attention"), ("einsum", "einsum"),
    ("dense", "dense"),
)  # fmt: skip
"""Part of a layer's class or name, and the word for its kernel."""
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


def filters_text(
    layers: Sequence[Layer], findings: Sequence[Finding], tensors: Iterable[Tensor] = (), path: str = "", width: int = 0
) -> list[str]:
    """One line a kernel: what its filters look like, beside what chance gives.

    `tensors` tell what the layers call theirs. The name a file stores a kernel by stands last, shortened in its middle
    to `width` columns (0: those of the terminal, all it needs in a pipe).
    """
    naming = naming_of(path, tensors, findings)
    known = {t.name: t for t in tensors}
    shown, copies = _once(layers, copies_of(t for t in known.values() if t.role in FILTERED))
    own = own_names(known[layer.tensor] for layer in shown if layer.tensor in known)
    told = findings_text(findings, naming)
    if not shown:
        return told or ["no kernels or embeddings"]
    # worst last: that is the sign that stays
    flagged = {f.tensor: SIGNS[f.severity] for f in reversed(worst_first(findings)) if f.tensor}
    rows = [
        [
            *([flagged.get(layer.tensor, "")] if flagged else []),
            safe(own.get(layer.tensor) or clean(layer.tensor)),
            _size(layer, known.get(layer.tensor)),
            _count(layer, known.get(layer.tensor)),
            _initializer(layer),
            _symmetry(layer),
            ", ".join(_flags(layer)),
            safe(clean(layer.tensor)),
        ]
        for layer in shown
    ]
    headers = [
        *([""] if flagged else []),
        "kernel",
        "size",
        "filters",
        "initializer",
        "symmetric",
        "flagged",
        STORED,
    ]
    name = headers.index("kernel")
    if all(row[name] == row[-1] for row in rows):
        headers, rows = headers[:-1], [row[:-1] for row in rows]
    _fit(headers, rows, name, width or shutil.get_terminal_size((ENOUGH, 24)).columns)
    total = _total(shown, known, copies, sum(layer.tensor in flagged for layer in shown))
    lines = table(headers, rows, right=(headers.index("filters"),))
    return [*lines, "", *told, *([""] if told else []), total]


def _once(layers: Sequence[Layer], copies: Mapping[str, str]) -> tuple[list[Layer], int]:
    """The layers without second copies of kernels that are judged alike, and how many those are."""
    judged = {layer.tensor: (layer.counts, layer.initializer) for layer in layers}
    again = {
        layer.tensor
        for layer in layers
        if copies.get(layer.tensor) in judged and judged[copies[layer.tensor]] == judged[layer.tensor]
    }
    return [layer for layer in layers if layer.tensor not in again], len(again)


def _fit(headers: list[str], rows: list[list[str]], name: int, width: int) -> None:
    """Shorten names in their middle so that the verdicts stay on the screen; where no room is left for it, the stored
    name goes: the other is enough to ask for a kernel."""
    widths = [max(len(h), *(len(row[i]) for row in rows)) for i, h in enumerate(headers)]
    if headers[-1] == STORED:
        room = width - sum(widths[:-1]) - 2 * (len(headers) - 1)
        if room < min(LEAST_NAME, widths[-1]):
            for cells in (headers, *rows):
                cells.pop()
            widths.pop()
        for row in rows if headers[-1] == STORED else ():
            row[-1] = middle(row[-1], room)
    flagged = headers.index("flagged")
    if headers[-1] != STORED:
        # of what is flagged the first words stay; its numbers may go on in the next line
        beside = sum(w for i, w in enumerate(widths) if i not in (name, flagged)) + min(widths[flagged], LEAST_FLAGGED)
        names = _apart([row[name] for row in rows], max(width - beside - 2 * (len(headers) - 1), LEAST_NAME))
        for row, text in zip(rows, names, strict=True):
            row[name] = text


def _apart(names: Sequence[str], width: int) -> list[str]:
    """Names in `width` columns, or in the few more that tell them apart; their ends go before their beginnings."""
    cuts = [_end(name, width) for name in names]
    for wider in range(width, width + MOST_WIDER):
        tried = [_end(name, wider) for name in names]
        if len(set(tried)) == len(set(names)):
            return tried
    return cuts


def _end(name: str, width: int) -> str:
    """A name in `width` columns, two thirds of it its end."""
    tail = (width - 1) * 2 // 3
    return name if len(name) <= width else f"{name[: width - 1 - tail]}…{name[-tail:]}"


def _total(shown: Sequence[Layer], known: Mapping[str, Tensor], copies: int, flagged: int) -> str:
    """`94 kernels, 1 embedding, 3 with findings`."""
    embeddings = sum(layer.tensor in known and known[layer.tensor].role == "embedding" for layer in shown)
    kernels = len(shown) - embeddings
    parts = [f"{human_count(kernels)} kernel{'s' if kernels != 1 else ''}"] if kernels else []
    parts += [f"{human_count(embeddings)} embedding{'s' if embeddings != 1 else ''}"] if embeddings else []
    parts += [f"{human_count(copies)} of them stored twice"] if copies else []
    return ", ".join([*parts, f"{human_count(flagged)} with findings" if flagged else "nothing found"])


def kernel_text(layer: Layer, findings: Sequence[Finding], tensor: Tensor | None = None, path: str = "") -> list[str]:
    """One kernel, a line a filter."""
    lines = [safe(layer.tensor)]
    if tensor is not None and tensor.object_path and tensor.object_path != tensor.name:
        lines.append(f"  variable {safe(tensor.object_path)}")
    lines.append(f"  {_size(layer, tensor)}, {_of(layer, tensor)}, {_initializer(layer)}")
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
    headers = [_noun(layer, tensor), "norm", *(_FLIPS[flip] for flip in flips), "flagged"]
    lines += ["", *table(headers, rows, right=range(2 + len(flips)))]
    if len(layer.detail) < layer.filters:
        lines.append(
            f"{human_count(len(layer.detail))} of {human_count(layer.filters)}, all that are flagged among them"
        )
    told = findings_text(findings, naming_of(path, [tensor] if tensor else [], findings))
    return [*lines, *([""] if told else []), *told]


def tensor_lines(layer: Layer, tensor: Tensor) -> list[str]:
    """What `show` says of one kernel or embedding: whether it was trained, and which filters are flagged."""
    nothing = "all untouched" if layer.initializer.get("verdict") == "at-initializer" else "none flagged"
    flags = ", ".join(_flags(layer)) or nothing
    return [
        f"  weights    {verdict_words(layer)}",
        f"  filters    {_of(layer, tensor)}: {flags}",
    ]


def verdict_words(layer: Layer) -> str:
    """What the values say about the training, in words."""
    said = layer.initializer
    word, match, certainty = said.get("verdict"), said.get("match"), str(said.get("certainty", ""))
    sure = f" ({certainty})" if certainty and certainty != "confirmed" else ""
    if word == "at-initializer":
        return f"untouched since the initializer{f', {match}' if match else ''}{sure}"
    if word == "partly":
        return f"partly untouched since the initializer: {_part(layer).removesuffix(' untouched')}{sure}"
    return "trained" if word == "trained" else "trained or not: nothing here tells"


def _size(layer: Layer, tensor: Tensor | None = None) -> str:
    """`3×3`; for what has no extent in space what it is."""
    if layer.kernel:
        return "×".join(map(str, layer.kernel))
    if tensor is None:
        return "matrix"
    if tensor.role == "embedding":
        return "embedding"
    classes = tensor.layer_class.lower()
    path = f"{tensor.object_path or tensor.name}".lower()
    # a checkpoint tells no class: there the variable's name has to do
    return next((word for part, word in _MATRICES if part in (classes or path)), "matrix")


def _noun(layer: Layer, tensor: Tensor | None) -> str:
    if tensor is not None and tensor.role == "embedding":
        return "row"
    return "filter" if layer.kernel else "unit"


def _count(layer: Layer, tensor: Tensor | None) -> str:
    rows = " rows" if tensor is not None and tensor.role == "embedding" else ""
    return human_count(layer.filters) + rows


def _of(layer: Layer, tensor: Tensor | None = None) -> str:
    noun = _noun(layer, tensor)
    each = "value" if noun == "row" else "input"
    plural = "s" if layer.channels != 1 else ""
    many = "s" if layer.filters != 1 else ""
    return f"{human_count(layer.filters)} {noun}{many} of {human_count(layer.channels)} {each}{plural}"


def _part(layer: Layer) -> str:
    """What of a kernel is untouched."""
    if count := layer.counts.get("untouched", 0):
        return f"{human_count(count)} of {human_count(layer.filters)}"
    if rows := int(layer.initializer.get("rows", 0) or 0):
        return f"{human_count(rows)} input{'s' if rows != 1 else ''} untouched"
    share = layer.initializer.get("on_grid")
    return f"{share * 100:.0f} % on the grid" if isinstance(share, float) else "some values"


def _initializer(layer: Layer) -> str:
    """The verdict, and whose numbers they are where they are an initializer's."""
    word = str(layer.initializer.get("verdict", ""))
    match, certainty = layer.initializer.get("match"), layer.initializer.get("certainty", "confirmed")
    if word == "at-initializer" and match:
        return str(match) + ("" if certainty == "confirmed" else f" ({certainty})")
    return f"partly: {_part(layer)}" if word == "partly" else word


def _symmetry(layer: Layer) -> str:
    """`12, chance 1`; chance alone says nothing where there are none."""
    if layer.expected_symmetric is None:
        return "–"
    count = layer.counts.get("symmetric", 0)
    if not count:
        return "0"
    chance = layer.expected_symmetric
    by_chance = "none" if chance < 0.05 else number_text(chance, 2)
    return f"{human_count(count)}, chance {by_chance}"


def _flags(layer: Layer) -> list[str]:
    """`6 dead, all zero: 3 7 11 15 19 23`; all filters of a kernel need no numbers."""
    parts = []
    zeros, dead = layer.counts.get("zero", 0), layer.counts.get("dead", 0)
    if layer.flagged_symmetric:
        parts.append(_named("mirrored", [f.index for f in layer.detail if f.mirrored > 0], layer.filters))
    for key, (word, is_so) in _FLAGS.items():
        # zeros are dead beside filters that live; in a kernel of zeros nobody is
        count = layer.counts.get(key, 0) - (zeros if key == "dead" else 0)
        if key == "zero" and zeros == dead:
            word = "dead, all zero"
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
