"""Weights that no name pairs: whole layers by role, shape, dtype and order, or by what their bytes are."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any

from ckptui.core.dtypes import is_float
from ckptui.core.matching_names import alike
from ckptui.core.matching_order import (
    Layer,
    along,
    in_layer,
    layer_ids,
    layers_among,
    leaf_of,
    number,
    numbered,
    numbered_in,
    within,
)
from ckptui.core.matching_sides import Kind, Pairing, Side, roles_agree
from ckptui.core.model import Tensor
from ckptui.core.names import natural_key

TOLD_BY_CONTENT: tuple[Kind, ...] = ("slot", "rng-state", "metric")
"""What equal bytes pair besides weights."""


def in_order(state: Pairing) -> None:
    """Pair layers that have variables of the same roles, shapes and dtypes; then with dtypes of another width, then
    where one file tells no roles."""
    for key in (_exact, _widened, _shapes):
        lone = state.lone("weight")
        if not all(lone) or {t.shape for t in lone[0]}.isdisjoint(t.shape for t in lone[1]):
            return
        groups: list[dict[Hashable, list[Layer]]] = [{}, {}]
        for side, tensors, found in zip((state.left, state.right), lone, groups, strict=True):
            for layer in layers_among(side, tensors):
                told = key(layer)
                if told is not None:
                    found.setdefault(told, []).append(layer)
        nameless = key is _shapes
        for told, mine in groups[0].items():
            theirs = groups[1].get(told)
            if theirs and (not nameless or any(_roleless(layer) for layer in (*mine, *theirs))):
                for one, other, by in _paired(state, mine, theirs):
                    _pair_layers(state, one, other, by)


def companions(state: Pairing) -> None:
    """Pair what is left of layers whose other variables are paired, all with one layer, by role and shape."""
    lone = state.lone("weight")
    if not all(lone):
        return
    left, right = layer_ids(state.left), layer_ids(state.right)
    layers: list[dict[str, set[str]]] = [{}, {}]
    for name, (other, _) in state.partner.items():
        if name in left and other.name in right:
            layers[0].setdefault(left[name], set()).add(right[other.name])
            layers[1].setdefault(right[other.name], set()).add(left[name])
    both = {
        mine: theirs
        for mine, (theirs, *more) in ((m, tuple(t)) for m, t in layers[0].items())
        if not more and layers[1][theirs] == {mine}
    }

    def key(side: Side, t: Tensor) -> Hashable:
        layer = right[t.name] if side.number else both.get(left[t.name])
        return None if layer is None else (layer, t.role, t.shape)

    state.unique(lone, key, "layer-order", alike)


def _exact(layer: Layer) -> Hashable:
    return tuple(sorted((t.role, t.shape, t.dtype) for t in layer.tensors))


def _widened(layer: Layer) -> Hashable:
    return tuple(sorted((t.role, t.shape, "float" if is_float(t.dtype) else t.dtype) for t in layer.tensors))


def _shapes(layer: Layer) -> Hashable:
    return tuple(sorted((t.shape, t.dtype) for t in layer.tensors))


def _roleless(layer: Layer) -> bool:
    return any(t.role == "other" for t in layer.tensors)


def _place_of(side: Side) -> Callable[[Layer], Any]:
    """What sorts a save's layers as it orders them."""

    def place(layer: Layer) -> Any:
        places = [side.place[t.name] for t in layer.tensors if t.name in side.place]
        if places:
            return 0, min(places), ()
        if layer.ordered:
            return 1, 0, natural_key(layer.name)
        return 1, 0, natural_key(min(layer.tensors, key=within).name)

    return place


def _paired(state: Pairing, mine: list[Layer], theirs: list[Layer]) -> list[tuple[Layer, Layer, str]]:
    """Layers of one signature held against each other: in order, unless bytes say otherwise."""
    if len(mine) == len(theirs) == 1:
        return [(mine[0], theirs[0], "layer-order")] if mine[0].placed or theirs[0].placed else []
    sure = _by_content(state, mine, theirs)
    order = _order(state, mine, theirs)
    if order is not None:
        mine, theirs = (sorted(group, key=key) for group, key in zip((mine, theirs), order, strict=True))
        place = {id(layer): n for n, layer in enumerate(theirs)}
        if all(place[id(sure[id(layer)])] == n for n, layer in enumerate(mine) if id(layer) in sure):
            return [(one, other, "layer-order") for one, other in zip(mine, theirs, strict=True)]
    found = [(layer, sure[id(layer)], "content") for layer in mine if id(layer) in sure]
    taken = {id(other) for _, other, _ in found}
    rest = [layer for layer in mine if id(layer) not in sure], [layer for layer in theirs if id(layer) not in taken]
    if len(rest[0]) == len(rest[1]) == 1:
        found.append((rest[0][0], rest[1][0], "layer-order"))
    return found


def _by_content(state: Pairing, mine: list[Layer], theirs: list[Layer]) -> dict[int, Layer]:
    """By id of a layer the one whose largest tensors have the same bytes, where only one on each side has them."""
    told: list[dict[Hashable, Layer | None]] = [{}, {}]
    for side, group, found in zip((state.left, state.right), (mine, theirs), told, strict=True):
        for layer in group:
            crcs = [state.contents.of(side.number, t) for t in layer.telling]
            if None not in crcs:
                key = tuple(sorted(crc for crc in crcs if crc is not None))
                found[key] = None if key in found else layer
    pairs = ((layer, told[1].get(key)) for key, layer in told[0].items())
    return {id(one): other for one, other in pairs if one is not None and other is not None}


_Key = Callable[[Layer], Any]


def _order(state: Pairing, mine: list[Layer], theirs: list[Layer]) -> tuple[_Key, _Key] | None:
    """What sorts both sides the same way; None where they have no order in common."""
    if len(mine) != len(theirs):
        return None
    stems = [numbered(group) for group in (mine, theirs)]
    if stems[0] is not None and stems[0] == stems[1]:
        return number, number
    keys: list[_Key] = []
    for side, group, stem in zip((state.left, state.right), (mine, theirs), stems, strict=True):
        if all(layer.ordered for layer in group):
            keys.append(_place_of(side))
        elif stem is not None:
            keys.append(number)
        else:
            return None
    return keys[0], keys[1]


def _pair_layers(state: Pairing, one: Layer, other: Layer, by: str) -> None:
    """Pair the variables of two layers that correspond: by role and shape, or by shape where roles are not told."""
    for told in (lambda t: (t.role, t.shape), lambda t: t.shape):
        groups: dict[Hashable, tuple[list[Tensor], list[Tensor]]] = {}
        for place, tensors in enumerate((one.tensors, other.tensors)):
            for t in tensors:
                if t.name not in (state.back if place else state.partner):
                    groups.setdefault(told(t), ([], []))[place].append(t)
        for mine, theirs in groups.values():
            if len(mine) == len(theirs):
                for a, b, equal in _within_layers(state, mine, theirs):
                    if by == "content" and not equal:
                        equal = _same_bytes(state, a, b)
                    state.pair(a, b, "content" if equal else "layer-order")


def _same_bytes(state: Pairing, one: Tensor, other: Tensor) -> bool:
    crcs = state.contents.of(0, one), state.contents.of(1, other)
    return crcs[0] is not None and crcs[0] == crcs[1] and one.dtype == other.dtype


def _within_layers(state: Pairing, mine: list[Tensor], theirs: list[Tensor]) -> Iterator[tuple[Tensor, Tensor, bool]]:
    """Variables of one shape in two layers that correspond: by what they are called, their bytes, their order.

    The last of three: whether their bytes are known to be the same.
    """
    if len(mine) == 1:
        yield mine[0], theirs[0], False
        return
    leaves = [{leaf_of(t): t for t in group} for group in (mine, theirs)]
    if leaves[0].keys() == leaves[1].keys() and len(leaves[0]) == len(mine) and "" not in leaves[0]:
        yield from ((t, leaves[1][leaf], False) for leaf, t in leaves[0].items())
        return
    crcs = [[state.contents.of(place, t) for t in group] for place, group in enumerate((mine, theirs))]
    sure = [
        (place, crcs[1].index(crc))
        for place, crc in enumerate(crcs[0])
        if crc is not None and crcs[0].count(crc) == crcs[1].count(crc) == 1
    ]
    yield from ((mine[place], theirs[there], True) for place, there in sure)
    taken = [{pair[n] for pair in sure} for n in (0, 1)]
    rest = [
        [t for n, t in enumerate(group) if n not in gone] for group, gone in zip((mine, theirs), taken, strict=True)
    ]
    one, other = in_layer(state.left, rest[0]), in_layer(state.right, rest[1])
    if one is not None and other is not None:
        yield from ((a, b, False) for a, b in zip(one, other, strict=True))


def by_list(state: Pairing) -> None:
    """Pair weights that one save only numbers, in the order of the model, with the layers of the other.

    So exports of subclassed models do: `variables/7` is `sub/kernel`, whatever the layer. Equal bytes go first.
    """
    lone = state.lone("weight")
    if not all(lone):
        return
    for side, there in ((state.left, state.right), (state.right, state.left)):
        numbers = {place[0] for place in map(numbered_in, lone[side.number]) if place is not None}
        for head in sorted(numbers):
            if head and "/" not in head:
                by_content(state, "weight")
                _along(state, side, there, head)


def _along(state: Pairing, side: Side, there: Side, head: str) -> None:
    """Lay the other save's layers along a list of all weights, and pair what is alone of both."""
    places = {place[1]: t for t in side.weights if (place := numbered_in(t)) is not None and place[0] == head}
    if len(places) != len(side.weights):
        return
    row = [places[place] for place in sorted(places)]
    order = along(there, there.weights, [leaf_of(t) for t in row], lambda place, t: alike(row[place], t))
    pairs = [(a, b) if side.number == 0 else (b, a) for a, b in zip(row, order, strict=False)]
    for a, b in pairs:
        told = state.partner.get(a.name)
        if (told is not None and told[0].name != b.name) or state.back.get(b.name, a).name != a.name:
            return
    for a, b in pairs:
        if a.name not in state.partner:
            state.pair(a, b, "layer-order")


def states_in_order(state: Pairing) -> None:
    """Pair states of random generators that differ by a number in their names alone, as many on each side."""
    lone = state.lone("rng-state")
    groups: dict[Hashable, tuple[list[Tensor], list[Tensor]]] = {}
    for place, (side, tensors) in enumerate(zip((state.left, state.right), lone, strict=True)):
        for t in tensors:
            leaf = side.called(t).rpartition("/")[2]
            groups.setdefault((leaf, t.shape, t.dtype), ([], []))[place].append(t)
    for mine, theirs in groups.values():
        if len(mine) == len(theirs) == 1:
            state.pair(mine[0], theirs[0], "layer-order")


def by_content(state: Pairing, kind: Kind) -> None:
    """Pair what is left of a kind and has the same bytes, where one tensor on each side has them."""
    lone = state.lone(kind)
    if not all(lone):
        return
    there = [{(t.shape, t.dtype) for t in tensors} for tensors in lone]
    told: list[dict[tuple[tuple[int, ...], str, int], Tensor | None]] = [{}, {}]
    for place, tensors in enumerate(lone):
        for t in tensors:
            if (t.shape, t.dtype) in there[1 - place]:
                crc = state.contents.of(place, t)
                if crc is not None:
                    key = t.shape, t.dtype, crc
                    told[place][key] = None if key in told[place] else t
    for key, one in told[0].items():
        other = told[1].get(key)
        if one is not None and other is not None and roles_agree(one, other):
            state.pair(one, other, "content")
