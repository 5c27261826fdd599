"""Which tensor of one save is the other save's which, by the strongest evidence there is.

In this order: equal stored names (`name`); equal own names of the variables (`full-name`); equal paths but for the
model's name, or of which one ends in the other (`weight-path`); layers of the same roles, shapes and dtypes in model
order (`layer-order`); the same bytes (`content`), which win over the order. What two candidates fit stays alone.
Weights, slots, counters, states of random generators and metrics each pair among themselves; object graphs never.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ckptui.core import matching_layers, matching_names, matching_slots
from ckptui.core.matching_sides import Contents, Pairing, Side, variable_name
from ckptui.core.model import Listing, Tensor
from ckptui.core.names import natural_key

__all__ = ["Contents", "Match", "match", "match_listings", "repeats", "variable_name"]

Match = tuple[Tensor | None, Tensor | None, str | None]
"""(baseline's, candidate's, matched by); one side and the last are None where a tensor stands alone.

A variable that one save stores twice is in two of them with its one partner.
"""


def match(a: Sequence[Tensor], b: Sequence[Tensor], pattern: str | re.Pattern[str] | None = None) -> list[Match]:
    """Pair the tensors of two saves: A's order, then what only B has. Object graphs are left out.

    `pattern` keeps pairs of which it is found in a stored name or a variable's own.
    """
    return _matched(Side(0, a), Side(1, b), pattern, Contents())


def match_listings(
    a: Listing, b: Listing, pattern: str | re.Pattern[str] | None = None, contents: Contents | None = None
) -> list[Match]:
    """The same for two listings, whose architectures tell the order of layers.

    `contents` is what is known of the tensors' bytes; whose bytes would decide more is then in its `wanted`.
    """
    left, right = (Side(n, save.tensors, save.architecture, save.order) for n, save in enumerate((a, b)))
    return _matched(left, right, pattern, Contents() if contents is None else contents)


def repeats(matched: Sequence[Match]) -> dict[int, str]:
    """By place in `matched`, of a tensor held against its partner a second time: whose copy it is, in words."""
    places: dict[tuple[int, str], list[int]] = {}
    for place, (one, other, _) in enumerate(matched):
        if one is not None and other is not None:
            places.setdefault((0, one.name), []).append(place)
            places.setdefault((1, other.name), []).append(place)
    told: dict[int, str] = {}
    for (side, _), found in places.items():
        if len(found) > 1:
            others = ((place, matched[place][1] if side == 0 else matched[place][0]) for place in found)
            names = {place: t.name for place, t in others if t is not None}
            first = min(found, key=lambda place: (names[place].startswith("_"), natural_key(names[place])))
            told.update((place, f"{names[place]} is {names[first]} stored again") for place in found if place != first)
    return told


def _matched(left: Side, right: Side, pattern: str | re.Pattern[str] | None, contents: Contents) -> list[Match]:
    state = _by_names(left, right, contents)
    if _some_left(left, state.partner) and _some_left(right, state.back):
        if all(state.lone("weight")) and matching_names.renumber(left, right):
            state = _by_names(left, right, contents)
        _pair_the_rest(state)
    copies, more = _second_copies(state)
    matched: list[Match] = []
    for tensor in left.tensors:
        found = state.partner.get(tensor.name)
        if found is None:
            matched.append(copies.get(tensor.name) or (tensor, None, None))
        else:
            matched += [(tensor, *found), *more.get(tensor.name, ())]
    held = {m[1].name for m in matched if m[1] is not None}
    matched.extend((None, t, None) for t in right.tensors if t.name not in held)
    return _kept(matched, pattern)


def _by_names(left: Side, right: Side, contents: Contents) -> Pairing:
    state = Pairing(left, right, contents)
    matching_names.same_names(state)
    if _some_left(left, state.partner) or _some_left(right, state.back):
        matching_slots.drop_shifted(state)
    if _some_left(left, state.partner) and _some_left(right, state.back):
        matching_names.own_names(state)
        matching_names.whole_paths(state)
    return state


def _some_left(side: Side, paired: Mapping[str, object]) -> bool:
    return len(paired) < len(side.tensors)


def _pair_the_rest(state: Pairing) -> None:
    matching_names.ends_of_paths(state)
    matching_names.stored_names(state)
    matching_layers.companions(state)
    matching_layers.by_list(state)
    matching_layers.in_order(state)
    matching_layers.by_content(state, "weight")
    matching_layers.states_in_order(state)
    matching_slots.pair_counters(state)
    matching_slots.pair_slots(state)
    for kind in matching_layers.TOLD_BY_CONTENT:
        matching_layers.by_content(state, kind)


def _second_copies(state: Pairing) -> tuple[dict[str, Match], dict[str, list[Match]]]:
    """What is stored twice: by name on the left its match; and by name on the left further matches of that tensor.

    Copies pair with copies of the partner as long as there are any, then with the partner itself.
    """
    lone = [
        {t.name for t in side.tensors if t.name not in paired} if _some_left(side, paired) else set()
        for side, paired in ((state.left, state.partner), (state.right, state.back))
    ]
    groups: list[dict[str, list[str]]] = [{}, {}]
    for side, found, free in zip((state.left, state.right), groups, lone, strict=True):
        for name, original in (side.copies if free else {}).items():
            if name in free:
                found.setdefault(original, []).append(name)
    if not any(groups):
        return {}, {}
    copies: dict[str, Match] = {}
    more: dict[str, list[Match]] = {}
    for name, (other, by) in state.partner.items():
        mine = sorted(groups[0].get(name, ()), key=natural_key)
        theirs = sorted(groups[1].get(other.name, ()), key=natural_key)
        for place in range(max(len(mine), len(theirs))):
            two = state.right.by_name[theirs[place]] if place < len(theirs) else other
            if place < len(mine):
                copies[mine[place]] = state.left.by_name[mine[place]], two, by
            else:
                more.setdefault(name, []).append((state.left.by_name[name], two, by))
    return copies, more


def _kept(matched: list[Match], pattern: str | re.Pattern[str] | None) -> list[Match]:
    if pattern is None:
        return matched
    wanted = re.compile(pattern)
    return [m for m in matched if any(t and (wanted.search(t.name) or wanted.search(t.object_path)) for t in m[:2])]
