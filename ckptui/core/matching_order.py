"""In which order a save lists its layers, and a layer its variables, as far as the save tells."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ckptui.core.matching_names import CLASSES, layer_of
from ckptui.core.matching_served import SlotNames
from ckptui.core.matching_sides import Side, kind_of, listed, own_name
from ckptui.core.model import Tensor
from ckptui.core.names import clean, natural_key

_LEAVES = (
    *("kernel", "depthwise_kernel", "pointwise_kernel", "recurrent_kernel", "embeddings", "gamma", "bias", "beta"),
    *("mean", "variance", "moving_mean", "moving_variance", "count"),
)
"""The order in which layers make their variables, as far as any has several of these."""
_RANK = {leaf: rank for rank, leaf in enumerate(_LEAVES)}
_NORMS = frozenset({"gamma", "beta", "moving-mean", "moving-variance"})
_COUNTED = re.compile(r"(.*?)([0-9]{0,9})")
MOST_WAYS = 1000
"""Beginnings of an order that are followed at a time."""
MOST_KINDS = 100
"""Kinds of layers side by side whose order is looked for."""
MOST_DEEP = 30
"""Layers inside one another, at most."""


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
    def telling(self) -> list[Tensor]:
        """The tensors whose bytes tell it from others: the largest, all of one size."""
        most = max(t.count for t in self.tensors)
        return [t for t in self.tensors if t.count == most]


def leaf_of(tensor: Tensor) -> str:
    """What the variable is called in its layer; empty where the save only numbers it."""
    leaf = (own_name(tensor) or clean(tensor.name)).rpartition("/")[2].removeprefix("_")
    return "" if leaf.isdigit() else leaf


def within(tensor: Tensor) -> Any:
    """What sorts the variables of a layer, for want of anything better."""
    return _RANK.get(leaf_of(tensor), len(_RANK)), natural_key(tensor.name)


def numbered_in(tensor: Tensor) -> tuple[str, int] | None:
    """(list, place) of a weight that its save numbers: `conv/vars/0`, `variables/7`."""
    head, _, last = clean(tensor.name).rpartition("/")
    return (head, int(last[:9])) if last.isascii() and last.isdigit() else None


def ranks(side: Side) -> Mapping[str, int]:
    """By stored name a weight's rank among all, or among those with slots; empty where the save tells none."""
    if side.ranks is None:
        side.ranks = {name: rank for rank, name in enumerate(side.order)} or _as_served(side)
    return side.ranks


def _as_served(side: Side) -> dict[str, int]:
    """The order of the trainable weights: that in which an optimizer lists slots whose names tell what they serve."""
    slots: list[tuple[str, int, Tensor]] = []
    for t in side.tensors:
        if kind_of(t) == "slot" and t.name not in side.copies and own_name(t):
            place = listed(t.name)
            if place is not None:
                slots.append((*place, t))
    found: dict[str, int] = {}
    names = SlotNames(side) if slots else None
    for *_, t in sorted(slots, key=lambda slot: slot[:2]):
        served = names.of(t) if names is not None else None
        if served is not None:
            found.setdefault(served[0], len(found))
    return found


def in_layer(side: Side, tensors: Sequence[Tensor]) -> list[Tensor] | None:
    """Variables of one layer in the order in which it made them; None where the save does not tell it."""
    if len(tensors) < 2:
        return list(tensors)
    places = [numbered_in(t) for t in tensors]
    if all(place is not None and places[0] is not None and place[0] == places[0][0] for place in places):
        return sorted(tensors, key=lambda t: numbered_in(t) or ("", 0))
    told = ranks(side)
    if all(t.name in told for t in tensors):
        return sorted(tensors, key=lambda t: told[t.name])
    leaves = {leaf_of(t) for t in tensors}
    return sorted(tensors, key=within) if leaves <= _RANK.keys() and len(leaves) == len(tensors) else None


def layer_ids(side: Side) -> dict[str, str]:
    """By stored name what tells a weight's layer from all others of the save.

    Where only a list numbers the variables, a layer begins where its variables start again.
    """
    if side.layers is not None:
        return side.layers
    found = side.layers = {}
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


def numbered(group: Sequence[Layer]) -> tuple[str, ...] | None:
    """The stems that all names share, where their numbers tell them apart; else None."""
    told = [layer.numbers for layer in group]
    stems = {stem for stem, _ in told}
    return stems.pop() if len(stems) == 1 and len(set(told)) == len(told) else None


def number(layer: Layer) -> Any:
    """What sorts layers that are `numbered`."""
    return layer.numbers[1]


def counted(name: str) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """The words of a name, and the numbers behind each: `block_1/dense_13` is block (1,), dense (13,)."""
    words: list[str] = []
    numbers: list[tuple[int, ...]] = []
    for token in name.replace("/", "_/").split("_"):
        match = _COUNTED.fullmatch(token)
        stem, digits = (match[1], match[2]) if match else (token, "")
        if stem or not words:
            words.append(stem)
            numbers.append(())
        if digits:
            numbers[-1] += (int(digits),)
    return tuple(words), tuple(numbers)


# ---------------------------------------------------------------------- layers laid along a list

Fits = Callable[[int, Tensor], bool]
"""Whether a weight may stand at a place of a list."""


def along(side: Side, weights: Sequence[Tensor], leaves: Sequence[str], fits: Fits) -> list[Tensor]:
    """The one order of layers in which each weight fits its place; layers of a kind in order of their numbers.

    A layer's own variables come first, then those of its parts, as `Layer.variables` of Keras 3 lists them. `leaves`
    has what the list calls each place; empty strings where it does not. Empty where there is no such order, or more
    than one.
    """
    if len(leaves) != len(weights):
        return []
    layers = layers_among(side, weights)
    laying = _Laying(side, leaves, fits)
    rank = ranks(side)
    first = {id(layer): min((rank[t.name] for t in layer.tensors if t.name in rank), default=-1) for layer in layers}
    if min(first.values(), default=-1) >= 0:
        found = laying.in_turn(sorted(layers, key=lambda layer: first[id(layer)]))
        if found is not None:
            return found
    ways = laying.ways(_tree(layers), 0)
    return ways[0] if len(ways) == 1 and laying.budget >= 0 else []


@dataclass(slots=True)
class _Part:
    """A layer, or the model, with what is inside of it."""

    own: list[Tensor] = field(default_factory=list)
    parts: dict[str, _Part] = field(default_factory=dict)

    def queues(self) -> list[list[_Part]]:
        """The parts, those of one kind in the order of their numbers."""
        found: dict[Hashable, list[tuple[Any, _Part]]] = {}
        for name, part in self.parts.items():
            words, numbers = counted(name)
            found.setdefault(words, []).append((numbers, part))
        told: list[list[_Part]] = []
        for group in found.values():
            if len({numbers for numbers, _ in group}) == len(group):
                told.append([part for _, part in sorted(group, key=lambda one: one[0])])
            else:
                told += [[part] for _, part in group]
        return told


def _tree(layers: Sequence[Layer]) -> _Part:
    root = _Part()
    for layer in layers:
        part = root
        for name in layer.name.split("/", MOST_DEEP):
            part = part.parts.setdefault(name, _Part())
        part.own += layer.tensors
    return root


class _Laying:
    """Layers laid along one list."""

    def __init__(self, side: Side, leaves: Sequence[str], fits: Fits) -> None:
        self._side, self._leaves, self._fits = side, leaves, fits
        self.budget = 100 * len(leaves) + 10_000
        """Steps that may still be taken: names can be made so that there are very many ways."""
        self._known: dict[tuple[int, int], list[list[Tensor]]] = {}

    def in_turn(self, layers: Sequence[Layer]) -> list[Tensor] | None:
        """The weights of these layers, one after the other; None where they do not fit."""
        found: list[Tensor] = []
        for layer in layers:
            placed = self._placed(layer.tensors, len(found))
            if placed is None:
                return None
            found += placed
        return found

    def ways(self, part: _Part, start: int) -> list[list[Tensor]]:
        """The ways to lay a part from `start` on; two at most."""
        key = id(part), start
        if key not in self._known:
            own = self._placed(part.own, start)
            self._known[key] = [] if own is None else self._merged(part.queues(), own, start + len(own))
        return self._known[key]

    def _merged(self, queues: Sequence[Sequence[_Part]], own: list[Tensor], start: int) -> list[list[Tensor]]:
        if not queues:
            return [own]
        if len(queues) > MOST_KINDS:
            return []
        begun: dict[tuple[int, ...], tuple[int, list[_Way]]] = {(0,) * len(queues): (start, [(None, own)])}
        for _ in range(sum(map(len, queues))):
            longer: dict[tuple[int, ...], tuple[int, list[_Way]]] = {}
            for used, (place, before) in begun.items():
                for n, queue in enumerate(queues):
                    self.budget -= 1
                    if used[n] == len(queue) or self.budget < 0:
                        continue
                    for laid in self.ways(queue[used[n]], place):
                        more = (*used[:n], used[n] + 1, *used[n + 1 :])
                        _, known = longer.setdefault(more, (place + len(laid), []))
                        known += [(way, laid) for way in before][: 2 - len(known)]
            begun = longer
            if len(begun) > MOST_WAYS:
                return []
        return [_unrolled(way) for _, every in begun.values() for way in every][:2]

    def _placed(self, tensors: Sequence[Tensor], start: int) -> list[Tensor] | None:
        """One layer's own weights in the order of the list: by what both call them, else in the layer's own order."""
        leaves = self._leaves[start : start + len(tensors)]
        if len(leaves) < len(tensors):
            return None
        called = {leaf_of(t): t for t in tensors}
        order: list[Tensor] | None
        if "" not in called and len(called) == len(tensors) and all(leaves):
            order = [called[leaf] for leaf in leaves] if called.keys() == set(leaves) else None
        else:
            order = in_layer(self._side, tensors)
        fits = order is not None and all(self._fits(start + n, t) for n, t in enumerate(order))
        return order if fits else None


_Way = tuple[Any, list[Tensor]]
"""(the way up to here or None, the next weights in their order)"""


def _unrolled(way: _Way | None) -> list[Tensor]:
    pieces: list[list[Tensor]] = []
    while way is not None:
        pieces.append(way[1])
        way = way[0]
    return [t for piece in reversed(pieces) for t in piece]
