"""Tensors paired by what they are called: stored names, own names, paths modulo prefixes and process-wide counts."""

from __future__ import annotations

import re
from collections.abc import Hashable

from ckptui.core.matching_sides import Kind, Pairing, Side, kind_of, own_name, roles_agree
from ckptui.core.model import Tensor
from ckptui.core.names import clean

_COUNTED = re.compile(r"(.+?)(?:_([0-9]{1,9}))?")
CLASSES = frozenset(
    {
        *("activation", "add", "additive_attention", "attention", "batch_normalization", "bidirectional"),
        *("category_encoding", "concatenate", "conv1d", "conv1d_transpose", "conv2d", "conv2d_transpose", "conv3d"),
        *("conv3d_transpose", "conv_lstm1d", "conv_lstm2d", "conv_lstm3d", "dense", "depthwise_conv1d"),
        *("depthwise_conv2d", "discretization", "dot", "dropout", "einsum_dense", "embedding", "functional", "gru"),
        *("gru_cell", "group_normalization", "group_query_attention", "layer_normalization", "locally_connected1d"),
        *("locally_connected2d", "lstm", "lstm_cell", "model", "multi_head_attention", "normalization", "p_re_lu"),
        *("rms_normalization", "rnn", "separable_conv1d", "separable_conv2d", "seed_generator", "sequential"),
        *("simple_rnn", "simple_rnn_cell", "spectral_normalization", "stacked_rnn_cells", "string_lookup"),
        *("time_distributed", "unit_normalization"),
    }
)
"""How Keras names a layer by itself, before the number it counts up in one process."""
_ANYWHERE = frozenset({"vars", "layers", "variables", "model", "_operations", "_layers"})


def same_names(state: Pairing) -> None:
    """Pair equal stored names, unless the variables' own names or their kinds differ."""
    right, left_side, right_side = state.right.by_name, state.left, state.right
    renamed = bool(left_side.renamed or right_side.renamed)
    for one in left_side.tensors:
        other = right.get(one.name)
        if other is None:
            continue
        # most are alike in all of this: what follows is slow
        alike = one.role == other.role and one.dtype == other.dtype and one.role != "slot"
        if not alike and kind_of(one) != kind_of(other):
            continue
        if one.object_path != other.object_path:
            mine, theirs = own_name(one), own_name(other)
            if mine != theirs and mine and theirs:
                continue
        if renamed and left_side.called(one) != right_side.called(other):
            continue
        state.partner[one.name] = other, "name"
        state.back[other.name] = one


def renumber(left: Side, right: Side) -> bool:
    """Find layers that Keras counted from another number: `conv2d`, `conv2d_1` here, `conv2d_7`, `conv2d_8` there.

    They are renamed on both sides where each side has as many and, in order, each holds variables of the same names
    and shapes. Names that users gave (`block_2`) are renamed only where no number occurs on both sides.
    """
    counted = _counted(left), _counted(right)
    names: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for stem in counted[0].keys() & counted[1].keys():
        mine, theirs = counted[0][stem], counted[1][stem]
        if len(mine) != len(theirs) or mine.keys() == theirs.keys():
            continue
        if stem not in CLASSES and mine.keys() & theirs.keys():
            continue
        order = sorted(mine), sorted(theirs)
        if any(mine[m][1] != theirs[n][1] for m, n in zip(*order, strict=True)):
            continue
        for found, numbers, told in zip((mine, theirs), order, names, strict=True):
            told.update((found[number][0], f"{stem}#{rank}") for rank, number in enumerate(numbers))
    left.rename(names[0])
    right.rename(names[1])
    return bool(names[0])


def _counted(side: Side) -> dict[str, dict[int, tuple[str, set[Hashable]]]]:
    """By stem and number: the part of the name, and (own name, shape) of the variables below it."""
    found: dict[str, dict[int, tuple[str, set[Hashable]]]] = {}
    below: dict[str, list[set[Hashable]]] = {}
    for t in side.weights:
        head, _, leaf = side.plain(t).rpartition("/")
        if head not in below:
            below[head] = []
            for part in head.split("/") if head else ():
                match = _COUNTED.fullmatch(part)
                stem, number = (match[1], int(match[2] or 0)) if match else (part, 0)
                below[head].append(found.setdefault(stem, {}).setdefault(number, (part, set()))[1])
        for variables in below[head]:
            variables.add((leaf, t.shape))
    return found


def own_names(state: Pairing) -> None:
    """Pair equal own names that are borne once on each side, or once with their shape."""
    lone = _of_common_names(state, "weight", "text", "rng-state", "metric")

    def by(one: Tensor, other: Tensor) -> str:
        return "full-name" if state.left.plain(one) == state.right.plain(other) else "layer-order"

    told = by if state.left.renamed or state.right.renamed else "full-name"
    state.unique(lone, lambda side, t: side.called(t), told)
    lone = _of_common_names(state, "weight", "text", "rng-state", "metric")
    if all(lone):
        state.unique(lone, lambda side, t: (side.called(t), t.shape, t.role), told)
        # what a role is guessed from differs between formats
        state.unique(lone, lambda side, t: side.called(t), told, lambda one, other: one.shape == other.shape)


def _of_common_names(state: Pairing, *kinds: Kind) -> tuple[list[Tensor], list[Tensor]]:
    """What is lone on both sides under names that both sides have."""
    lone = state.lone(*kinds)
    left, right = ([side.called(t) for t in group] for side, group in zip((state.left, state.right), lone, strict=True))
    both = set(left).intersection(right)
    if not both:
        return [], []
    return (
        [t for t, name in zip(lone[0], left, strict=True) if name in both],
        [t for t, name in zip(lone[1], right, strict=True) if name in both],
    )


def stored_names(state: Pairing) -> None:
    """Pair equal stored names whose own names differ, where neither own name is known to the other save."""
    lone = state.lone("weight", "text", "rng-state", "metric")
    if not all(lone):
        return
    known = [{path(side, t) for t in side.tensors} for side in (state.left, state.right)]

    def strange(one: Tensor, other: Tensor) -> bool:
        return path(state.left, one) not in known[1] and path(state.right, other) not in known[0]

    state.unique(lone, lambda side, t: (t.name, kind_of(t)), "name", strange)


def path(side: Side, tensor: Tensor) -> str:
    """The name to compare without the model's own, all parts joined: optimizers join theirs so too."""
    name = side.called(tensor)
    if side.root:
        name = name.removeprefix(side.renamed.get(side.root[:-1], side.root[:-1]) + "/")
    return name.replace("/", "_")


def whole_paths(state: Pairing) -> None:
    """Pair equal paths, the model's own name left out."""
    lone = state.lone("weight", "rng-state", "metric")
    if all(lone):
        state.unique(lone, path, "weight-path")
    lone = state.lone("weight", "rng-state", "metric")
    if all(lone) and not _strangers(state, lone):
        state.unique(lone, lambda side, t: (path(side, t), t.shape, t.role), "weight-path")


def _strangers(state: Pairing, lone: tuple[list[Tensor], list[Tensor]]) -> bool:
    known = {path(state.left, t) for t in lone[0]}
    return known.isdisjoint(path(state.right, t) for t in lone[1])


def ends_of_paths(state: Pairing) -> None:
    """Pair paths of which one is the other's end, then what subclassed models keep in attributes of one name."""
    _ends(state)
    state.unique(state.lone("weight"), _attribute, "weight-path", alike)


def alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and roles_agree(one, other)


def _ends(state: Pairing) -> None:
    """`sequential/c1/kernel` is `c1/kernel` where no other of that shape ends so."""
    lone = state.lone("weight", "rng-state")
    if not all(lone):
        return
    whole: list[dict[tuple[str, tuple[int, ...], Kind], Tensor | None]] = [{}, {}]
    ends: list[dict[tuple[str, tuple[int, ...], Kind], Tensor | None]] = [{}, {}]
    for side, tensors, full, tails in zip((state.left, state.right), lone, whole, ends, strict=True):
        for t in tensors:
            parts = side.called(t).split("/")
            for start in range(max(len(parts) - 1, 1)):
                key = "_".join(parts[start:]), t.shape, kind_of(t)
                for found in (full, tails) if start == 0 else (tails,):
                    found[key] = None if key in found else t
    for short, long in ((0, 1), (1, 0)):
        for key, brief in whole[short].items():
            other = ends[long].get(key)
            if brief is None or other is None or ends[short].get(key) is not brief:
                continue
            one, two = (brief, other) if short == 0 else (other, brief)
            if one.name not in state.partner and two.name not in state.back and roles_agree(one, two):
                state.pair(one, two, "weight-path")


def _attribute(side: Side, tensor: Tensor) -> Hashable:
    """Where a subclassed model keeps a variable, by the attributes' names: `encoder/first/kernel`; else None."""
    parts = clean(tensor.name).split("/")
    leaf = (own_name(tensor) or parts[-1]).rpartition("/")[2].removeprefix("_")
    layers = parts[:-2] if parts[-2:-1] == ["vars"] else parts[:-1]
    if layers[:1] == ["model"]:
        layers = layers[1:]
    if not layers or leaf.isdigit() or any(part in _ANYWHERE or part.isdigit() for part in layers):
        return None
    return "/".join([*layers, leaf]), tensor.shape


def layer_of(side: Side, tensor: Tensor) -> str:
    """What tells a tensor's layer from all others of the save."""
    own = own_name(tensor)
    if own and own not in side.doubtful and "/" in own:
        return own.rpartition("/")[0]
    stored = clean(tensor.name)
    head, _, last = stored.rpartition("/")
    layer, _, place = tensor.object_path.rpartition("/")
    if layer and place.isdigit():
        return layer
    if last.isdigit() and not head.endswith("vars"):
        return stored
    return head.removesuffix("/vars") or stored
