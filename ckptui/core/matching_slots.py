"""What optimizers keep: slots paired by the weight they serve and what they hold of it, counters by what they count.

Names tell both in most formats: `adam/conv1_kernel_momentum` (Keras 3), `Adam/m/conv1/kernel` (2.11 on),
`Adam/conv1/kernel/m` (before), `conv1/kernel/Adam_1` (TF1), `conv1/kernel/.OPTIMIZER_SLOT/optimizer/m` (object graphs
before 2.11). A `.keras` file has a list without names: its order is that of the checkpoint's list, or follows from the
order of the trainable weights. Orders: keras/src/optimizers, `build` of each.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence

from ckptui.core.matching_order import along
from ckptui.core.matching_served import Served, SlotNames
from ckptui.core.matching_sides import Pairing, Side, kind_of, listed, own_name
from ckptui.core.model import Tensor
from ckptui.core.names import clean

_AGAIN = re.compile(r"(?<=[a-z])_[0-9]{1,9}$")
_SCALED = "loss_scale_optimizer"
_TOGETHER = (
    ("first", "second"),
    ("first", "norm"),
    ("accumulated_grad", "accumulated_delta_var"),
    ("accumulator", "linear"),
)
"""Slots that are made together for one variable after the other; all others are made kind by kind."""
_BEFORE = ("average", "gradient_accumulator")
"""Slots that any optimizer may have, made before its own, kind by kind."""
_IN_TURN = ("second", "first", "average_gradient")
"""RMSprop makes its slots kind by kind, in this order."""
_COUNTERS = {
    "iter": "iteration",
    "iterations": "iteration",
    "_iterations": "iteration",
    "_learning_rate": "learning_rate",
    "current_learning_rate": "learning_rate",
    "_current_learning_rate": "learning_rate",
    "lr": "learning_rate",
    "good_steps": "step_counter",
    "current_loss_scale": "dynamic_scale",
    "_u_product": "u_product",
    "variable": "u_product",
}
"""What counters mean, by their names; Nadam leaves its product without one, and Keras calls it `variable`."""


def pair_slots(state: Pairing) -> None:
    """Pair the slots of both sides that no stored name has paired, once the weights are."""
    left, right = state.lone("slot")
    if not left or not right:
        return
    state.unique((left, right), lambda side, t: own_name(t) or None, "full-name", lambda a, b: a.shape == b.shape)
    told = SlotNames(state.left), SlotNames(state.right)

    def key(side: Side, t: Tensor) -> Hashable:
        found = told[side.number].of(t)
        if found is None or side.number:
            return found
        partner = state.partner.get(found[0])
        return None if partner is None else (partner[0].name, found[1])

    state.unique(state.lone("slot"), key, "weight-path", lambda a, b: True)
    lists = _lists(state.left), _lists(state.right)
    for mine, theirs in _same_lists(*lists):
        _by_place(state, mine, theirs)
    for side, unnamed in enumerate(lists):
        _by_listing(state, side, unnamed)
    for side, other in ((0, 1), (1, 0)):
        for places in lists[side].values():
            _by_model_order(state, side, places, told[other])


# ---------------------------------------------------------------------- lists without names


def _lists(side: Side) -> dict[str, dict[int, Tensor]]:
    """The numbered lists of optimizers: slots by place, second copies left out."""
    found: dict[str, dict[int, Tensor]] = {}
    for t in side.tensors:
        if kind_of(t) == "slot" and t.name not in side.copies:
            told = listed(t.name)
            if told is not None:
                found.setdefault(told[0], {})[told[1]] = t
    return found


def drop_shifted(state: Pairing) -> None:
    """Take back pairs by stored name in numbered lists that disagree in length and in shapes: the places mean other
    variables there. What is missing at the end, or could not be read, is no disagreement."""
    left, right = _lists(state.left), _lists(state.right)
    for name in left.keys() & right.keys():
        mine, theirs = left[name], right[name]
        both = mine.keys() & theirs.keys()
        alike = len(mine) == len(theirs) and (mine.keys() == theirs.keys() or not _unnamed(mine))
        if alike or (not _unnamed(mine) and all(mine[place].shape == theirs[place].shape for place in both)):
            continue
        for place in both:
            t, other = mine[place], theirs[place]
            if state.back.get(other.name) is t and not (own_name(t) and own_name(other)):
                state.part(t)


def _same_lists(
    left: Mapping[str, dict[int, Tensor]], right: Mapping[str, dict[int, Tensor]]
) -> list[tuple[dict[int, Tensor], dict[int, Tensor]]]:
    """Lists that belong to one optimizer: of one name, or the only ones."""
    if len(left) == len(right) == 1:
        return [(next(iter(left.values())), next(iter(right.values())))]
    return [(left[name], right[name]) for name in left if name in right]


def _unnamed(places: Mapping[int, Tensor]) -> bool:
    """Whether a list is what one process counted (`Variable_104`): elsewhere it begins at another number."""
    return "/vars/" not in (name := next(iter(places.values())).name) and "/_variables/" not in name


def _by_place(state: Pairing, mine: Mapping[int, Tensor], theirs: Mapping[int, Tensor]) -> None:
    """Pair equal places where all of both lists agree in shape, and no pair made by names says otherwise."""
    if len(mine) != len(theirs) or (mine.keys() != theirs.keys() and not (_unnamed(mine) and _unnamed(theirs))):
        return
    pairs = [(mine[one], theirs[other]) for one, other in zip(sorted(mine), sorted(theirs), strict=True)]
    for t, other in pairs:
        told = state.partner.get(t.name)
        if t.shape != other.shape or (told is not None and told[0].name != other.name):
            return
    if all(own_name(t) and own_name(other) for t, other in pairs):
        return
    for t, other in pairs:
        if t.name not in state.partner and other.name not in state.back:
            state.pair(t, other, "layer-order")


def _by_listing(state: Pairing, side: int, lists: Mapping[str, dict[int, Tensor]]) -> None:
    """Pair a list without names with what the other save lists in its order, by name: both list counters first.

    Both must be as long, and agree in all shapes and in all pairs that are made already.
    """
    here, there = (state.left, state.right) if side == 0 else (state.right, state.left)
    named = [there.by_name[name] for name in there.order if name in there.by_name]
    named = [t for t in named if kind_of(t) in ("slot", "counter")]
    if len(lists) != 1 or not named or not all(own_name(t) for t in named):
        return
    head = next(iter(lists)).removesuffix("/inner_optimizer")
    whole = {place[1]: t for t in here.tensors if (place := listed(t.name)) is not None and place[0] == head}
    if len(whole) != len(named) or any(own_name(t) for t in whole.values()):
        return
    pairs: list[tuple[Tensor, Tensor]] = []
    for (_, t), other in zip(sorted(whole.items()), named, strict=True):
        first = here.by_name[here.copies.get(t.name, t.name)]
        one, two = (first, other) if side == 0 else (other, first)
        told = state.partner.get(one.name)
        if kind_of(one) != kind_of(two) or one.shape != two.shape or (told is not None and told[0].name != two.name):
            return
        pairs.append((one, two))
    for one, two in pairs:
        if one.name not in state.partner and two.name not in state.back:
            state.pair(one, two, "layer-order")


def _by_model_order(state: Pairing, side: int, places: Mapping[int, Tensor], named: SlotNames) -> None:
    """Pair a list without names with slots whose names tell what they serve, by the order of the model's weights."""
    lone = state.lone("slot")
    slots = [places[place] for place in sorted(places)]
    free = {t.name for t in lone[side]}
    if not slots or any(t.name not in free or own_name(t) for t in slots):
        return
    served: dict[Served, Tensor] = {}
    for t in lone[1 - side]:
        told = named.of(t)
        if told is not None:
            served[told] = t
    weights = {weight for weight, _ in served}
    kinds = sorted({kind for _, kind in served})
    if len(slots) != len(served) or len(slots) != len(weights) * len(kinds):
        return
    optimizer = slots[0].object_path.rpartition("/")[0].lower()
    fitting: list[list[Tensor]] = []
    for layout in _layouts(kinds, in_turn=optimizer.startswith(("rm_sprop", "rmsprop"))):
        order = _trained(state, side, weights, _shapes_of(slots, layout, len(weights)))
        others = [served[told] for told in _spread(order, layout)] if order else []
        if others and all(t.shape == slot.shape for t, slot in zip(others, slots, strict=True)):
            fitting.append(others)
    for slot, t in zip(slots, fitting[0], strict=True) if fitting else ():
        one, other = (slot, t) if side == 0 else (t, slot)
        state.pair(one, other, "layer-order")


Layout = Sequence[tuple[str, ...]]
"""Turns: in each, the kinds that are made together for one variable after the other."""


def _layouts(kinds: Sequence[str], *, in_turn: bool) -> list[Layout]:
    """How an optimizer with slots of these kinds lists them, the likelier way first; none where that is not known."""
    before = [(kind,) for kind in _BEFORE if kind in kinds]
    own = [kind for kind in kinds if kind not in _BEFORE]
    together = next((pair for pair in _TOGETHER if set(pair) <= set(own)), ())
    rest = [(kind,) for kind in own if kind not in together]
    found: list[Layout] = []
    if len(rest) < 2:
        found.append([*before, *([together] if together else ()), *rest])
    if len(own) > 1 and set(own) <= set(_IN_TURN):
        found.append([*before, *((kind,) for kind in _IN_TURN if kind in own)])
    return found[::-1] if in_turn else found


def _spread(weights: Sequence[str], layout: Layout) -> list[Served]:
    return [(weight, kind) for turn in layout for weight in weights for kind in turn]


def _shapes_of(slots: Sequence[Tensor], layout: Layout, weights: int) -> list[tuple[int, ...]]:
    """The shapes of the weights that a list of slots in this layout serves."""
    step = len(layout[0])
    return [slot.shape for slot in slots[: weights * step : step]]


def _trained(state: Pairing, side: int, wanted: set[str], shapes: Sequence[tuple[int, ...]]) -> list[str]:
    """The weights on the other side that have slots, in the model's order as either side tells it; else nothing."""
    here, there = (state.left, state.right) if side == 0 else (state.right, state.left)
    if wanted <= there.place.keys() and _certain(there, wanted):
        return sorted(wanted, key=lambda name: there.place[name])
    if side == 0:
        partner = {name: other.name for name, (other, _) in state.partner.items()}
    else:
        partner = {name: one.name for name, one in state.back.items()}
    mine = {partner[name]: name for name in here.place if name in partner and partner[name] in wanted}
    if mine.keys() == wanted and _certain(here, set(mine.values())):
        return sorted(wanted, key=lambda name: here.place[mine[name]])
    names = {t.name: partner.get(t.name, "") for t in here.weights}, {t.name: t.name for t in there.weights}
    for whole, name in zip((here, there), names, strict=True):
        weights = [t for t in whole.weights if name[t.name] in wanted]
        order = along(whole, weights, [""] * len(shapes), lambda place, t: t.shape == shapes[place])
        if order:
            return [name[t.name] for t in order]
    return []


def _certain(side: Side, names: set[str]) -> bool:
    """Whether the architecture orders these weights: within a layer of parts only some files do."""
    for row in side.architecture:
        parts = {name.rpartition("/vars/")[0] for name in row.weights if name in names}
        if len(parts) > 1:
            return False
    return True


# ---------------------------------------------------------------------- counters


def pair_counters(state: Pairing) -> None:
    """Pair what counts the same: iterations with iterations, learning rates with learning rates."""
    lone = state.lone("counter")
    if not all(lone):
        return
    state.unique(lone, lambda side, t: own_name(t) or None, "full-name")
    meanings = _counters(state.left), _counters(state.right)

    def key(side: Side, t: Tensor) -> Hashable:
        return meanings[side.number].get(t.name)

    def by(one: Tensor, other: Tensor) -> str:
        return "weight-path" if own_name(one) and own_name(other) else "layer-order"

    state.unique(lone, key, by, lambda a, b: a.shape == b.shape)

    def bare(side: Side, t: Tensor) -> Hashable:
        told = meanings[side.number].get(t.name)
        return None if told is None else told[1:]

    state.unique(state.lone("counter"), bare, by, lambda a, b: a.shape == b.shape)


def _counters(side: Side) -> dict[str, tuple[bool, str, bool]]:
    """By stored name (kept by an optimizer inside another, what it counts, integers)."""
    found: dict[str, tuple[bool, str, bool]] = {}
    outer: set[str] = set()
    scaled = any(t.object_path.startswith(_SCALED) for t in side.tensors if kind_of(t) == "counter")
    for t in side.tensors:
        place = listed(t.name)
        if place is not None and place[0].endswith("/inner_optimizer"):
            outer.add(place[0].rpartition("/")[0])
    for t in side.tensors:
        if kind_of(t) != "counter" or t.name in side.copies:
            continue
        own, place = own_name(t), listed(t.name)
        whole = "float" not in t.dtype
        inner = "inner_optimizer/" in t.name or (scaled and "/" in own and not own.startswith(_SCALED))
        leaf = _AGAIN.sub("", (own or clean(t.name)).rpartition("/")[2])
        if own or place is None:
            found[t.name] = inner, _COUNTERS.get(leaf, leaf), whole
        elif place[1] < 2:
            found[t.name] = inner, "iteration" if whole else "learning_rate", whole
        elif place[0] in outer and place[1] < 4:
            found[t.name] = inner, "step_counter" if whole else "dynamic_scale", whole
        elif t.object_path.startswith("nadam"):
            found[t.name] = inner, "u_product", whole
    return found
