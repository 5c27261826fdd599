"""Weights that no name pairs: whole layers by role, shape, dtype and order, or by what their bytes are."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ckptui.core.dtypes import is_float
from ckptui.core.matching_names import CLASSES, alike, layer_of
from ckptui.core.matching_sides import Kind, Pairing, Side, own_name, roles_agree
from ckptui.core.model import Tensor
from ckptui.core.names import clean, natural_key

_LEAVES = (
    *("kernel", "depthwise_kernel", "pointwise_kernel", "recurrent_kernel", "embeddings", "gamma", "bias", "beta"),
    *("mean", "variance", "moving_mean", "moving_variance", "count"),
)
"""The order in which layers make their variables, as far as any has several of these."""
_NORMS = frozenset({"gamma", "beta", "moving-mean", "moving-variance"})
_COUNTED = re.compile(r"(.*?)([0-9]{0,9})")
MOST_WAYS = 1000
"""Beginnings of an order that are followed at a time."""
TOLD_BY_CONTENT: tuple[Kind, ...] = ("slot", "rng-state", "metric")
"""What equal bytes pair besides weights."""


@dataclass(slots=True)
class Layer:
    """Weights that belong together."""

    name: str
    tensors: list[Tensor] = field(default_factory=list)
    nameless: bool = False
    """The save tells no own names for it, or one for many."""
    ordered: bool = False
    """The save tells its place in the model, and not only in an alphabet."""

    @property
    def placed(self) -> bool:
        """Whether its place or a name that Keras made tells more than a name that somebody gave it."""
        return self.ordered or self.name.rpartition("/")[2].rstrip("_0123456789") in CLASSES or self.nameless

    @property
    def numbers(self) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
        """The words of its name, and the numbers behind them."""
        return counted(self.name)

    @property
    def telling(self) -> Tensor:
        """The tensor whose bytes tell it from others: the largest."""
        return max(self.tensors, key=lambda t: (t.count, t.name))


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


def layer_ids(side: Side) -> dict[str, str]:
    """By stored name what tells a weight's layer from all others of the save.

    Where only a list numbers the variables, a layer begins where its variables start again.
    """
    found: dict[str, str] = {}
    lists: dict[str, list[tuple[int, Tensor]]] = {}
    for t in side.weights:
        name = found[t.name] = layer_of(side, t)
        head, _, last = name.rpartition("/")
        if last.isdigit() and name == clean(t.name):
            lists.setdefault(head, []).append((int(last[:9]), t))
    for members in lists.values():
        leaves: set[str] = set()
        before, first, norm = -2, "", False
        for number, t in sorted(members, key=lambda member: member[0]):
            leaf = own_name(t).rpartition("/")[2] or t.role
            if number != before + 1 or leaf in leaves or (t.role in _NORMS) != norm:
                leaves, first, norm = set(), found[t.name], t.role in _NORMS
            leaves.add(leaf)
            found[t.name], before = first, number
    return found


def layers_among(side: Side, tensors: Sequence[Tensor]) -> list[Layer]:
    """Tensors gathered by layer, with what orders them."""
    ids = layer_ids(side)
    layers: dict[str, Layer] = {}
    for t in tensors:
        layers.setdefault(ids[t.name], Layer(ids[t.name])).tensors.append(t)
    for layer in layers.values():
        first = layer.tensors[0]
        layer.ordered = first.name in side.place or layer.name.rpartition("/")[2].isdigit()
        layer.nameless = "/.ATTRIBUTES/" in first.name and own_name(first) in side.doubtful
        layer.nameless = layer.nameless or ("/vars/" in first.name and not own_name(first))
    return list(layers.values())


def _place_of(side: Side) -> Callable[[Layer], Any]:
    """What sorts a save's layers as it orders them."""

    def place(layer: Layer) -> Any:
        places = [side.place[t.name] for t in layer.tensors if t.name in side.place]
        if places:
            return 0, min(places), ()
        if layer.ordered:
            return 1, 0, natural_key(layer.name)
        return 1, 0, natural_key(min(layer.tensors, key=_within).name)

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
    """By id of a layer the one whose largest tensor has the same bytes, where only one on each side has them."""
    told: list[dict[int, Layer | None]] = [{}, {}]
    for side, group, found in zip((state.left, state.right), (mine, theirs), told, strict=True):
        for layer in group:
            crc = state.contents.of(side.number, layer.telling)
            if crc is not None:
                found[crc] = None if crc in found else layer
    pairs = ((layer, told[1].get(crc)) for crc, layer in told[0].items())
    return {id(one): other for one, other in pairs if one is not None and other is not None}


_Key = Callable[[Layer], Any]


def _order(state: Pairing, mine: list[Layer], theirs: list[Layer]) -> tuple[_Key, _Key] | None:
    """What sorts both sides the same way; None where they have no order in common."""
    if len(mine) != len(theirs):
        return None
    stems = [numbered(group) for group in (mine, theirs)]
    if stems[0] is not None and stems[0] == stems[1]:
        return _number, _number
    keys: list[_Key] = []
    for side, group, stem in zip((state.left, state.right), (mine, theirs), stems, strict=True):
        if all(layer.ordered for layer in group):
            keys.append(_place_of(side))
        elif stem is not None:
            keys.append(_number)
        else:
            return None
    return keys[0], keys[1]


def numbered(group: Sequence[Layer]) -> tuple[str, ...] | None:
    """The stems that all names share, where their numbers tell them apart; else None."""
    told = [layer.numbers for layer in group]
    stems = {stem for stem, _ in told}
    return stems.pop() if len(stems) == 1 and len(set(told)) == len(told) else None


def counted(name: str) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """The words of a name, and the numbers behind each: `block_1/dense_13` is block (1,), dense (13,)."""
    words: list[str] = []
    numbers: list[tuple[int, ...]] = []
    for token in name.replace("/", "_/").split("_"):
        match = _COUNTED.fullmatch(token)
        stem, number = (match[1], match[2]) if match else (token, "")
        if stem or not words:
            words.append(stem)
            numbers.append(())
        if number:
            numbers[-1] += (int(number),)
    return tuple(words), tuple(numbers)


def _number(layer: Layer) -> Any:
    return layer.numbers[1]


def _pair_layers(state: Pairing, one: Layer, other: Layer, by: str) -> None:
    """Pair the variables of two layers that correspond: by role and shape, several of these in their usual order."""
    free = list(other.tensors)
    for told in (lambda t: (t.role, t.shape), lambda t: t.shape):
        groups: dict[Hashable, tuple[list[Tensor], list[Tensor]]] = {}
        for place, tensors in enumerate((one.tensors, free)):
            for t in tensors:
                if t.name not in (state.back if place else state.partner):
                    groups.setdefault(told(t), ([], []))[place].append(t)
        for mine, theirs in groups.values():
            if len(mine) == len(theirs):
                for a, b in zip(sorted(mine, key=_within), sorted(theirs, key=_within), strict=True):
                    state.pair(a, b, by)


def order_by_shapes(weights: Sequence[Tensor], ids: Mapping[str, str], shapes: Sequence[tuple[int, ...]]) -> list[str]:
    """The order of layers in which their weights have these shapes, layers of equal shapes in order of their numbers.

    Empty where there is none, or more than one.
    """
    layers: dict[str, Layer] = {}
    for t in sorted(weights, key=_within):
        layers.setdefault(ids[t.name], Layer(ids[t.name])).tensors.append(t)
    groups: dict[tuple[tuple[int, ...], ...], list[Layer]] = {}
    for layer in layers.values():
        groups.setdefault(tuple(t.shape for t in layer.tensors), []).append(layer)
    if any(len(group) > 1 and numbered(group) is None for group in groups.values()):
        return []
    kinds = list(groups)
    ways: dict[tuple[int, ...], list[tuple[int, ...]]] = {(0,) * len(kinds): [()]}
    for _ in range(len(layers)):
        longer: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
        for used, orders in ways.items():
            start = sum(count * len(kind) for count, kind in zip(used, kinds, strict=True))
            for n, kind in enumerate(kinds):
                if used[n] < len(groups[kind]) and tuple(shapes[start : start + len(kind)]) == kind:
                    more = (*used[:n], used[n] + 1, *used[n + 1 :])
                    longer[more] = [*longer.get(more, ()), *((*order, n) for order in orders)][:2]
        ways = longer
        if len(ways) > MOST_WAYS:
            return []
    found = [order for orders in ways.values() for order in orders]
    if len(found) != 1:
        return []
    queues = [iter(sorted(groups[kind], key=_number)) for kind in kinds]
    return [t.name for n in found[0] for t in next(queues[n]).tensors]


def _within(tensor: Tensor) -> Any:
    return _leaf_rank(tensor), natural_key(tensor.name)


def _leaf_rank(tensor: Tensor) -> int:
    leaf = (own_name(tensor) or clean(tensor.name)).rpartition("/")[2].removeprefix("_")
    return _LEAVES.index(leaf) if leaf in _LEAVES else len(_LEAVES)


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
    told: list[dict[Hashable, Tensor | None]] = [{}, {}]
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
