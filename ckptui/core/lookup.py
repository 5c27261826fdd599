"""Which tensor a user means by a name: the stored one, the variable's own, or the end of either."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence

from ckptui.core.model import Tensor, TensorPoint, TimelineRow
from ckptui.core.names import clean

MOST_NAMED = 5
"""Candidates that are named where a name fits several tensors."""
MOST_COMPARED = 20_000
"""Names that are compared letter by letter, at most."""
_OF_OPTIMIZERS = frozenset({"slot", "counter", "step"})


def meant(tensors: Iterable[Tensor], name: str) -> list[Tensor]:
    """The tensors a name can mean; one where it is clear, several where it is not, none where nothing fits.

    In this order: the stored name; the variable's own (`sequential/conv1/kernel`); the stored name without
    `/.ATTRIBUTES/...`; the end of one of them, from a slash on (`conv1/kernel`). A variable that is stored twice is
    one, and its weights go before an optimizer's slots of the same ending.
    """
    listed = list(tensors)
    end = "/" + name
    exact = next((t for t in listed if t.name == name), None)
    if exact is not None:
        return [exact]
    rules: tuple[Callable[[Tensor], bool], ...] = (
        lambda t: name in (t.object_path, clean(t.object_path)),
        lambda t: clean(t.name) == name,
        lambda t: clean(t.object_path).endswith(end) or clean(t.name).endswith(end),
    )
    for rule in rules if name else ():
        fitting = [t for t in listed if rule(t)]
        if fitting:
            weights = [t for t in fitting if t.role not in _OF_OPTIMIZERS]
            return told_once(weights or fitting)
    return []


def told_once(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors without the second copies of variables that are stored twice, in their order."""
    copies = copies_of(tensors)
    return [t for t in tensors if t.name not in copies]


def copies_of(tensors: Iterable[Tensor]) -> dict[str, str]:
    """For each tensor that repeats another the name of that one: an exported model lists many a weight twice.

    Both have the variable's own name, dtype, shape and checksum in common; where nothing vouches for the bytes, two
    variables of one name stay two. What `variables/8` holds too is the copy `_all_variables/8`.
    """
    groups: dict[tuple[object, ...], list[str]] = {}
    for t in tensors:
        if t.object_path and t.storage.crc32c is not None:
            groups.setdefault((t.object_path, t.dtype, t.shape, t.storage.crc32c), []).append(t.name)
    copies: dict[str, str] = {}
    for names in groups.values():
        if len(names) > 1:
            first = min(names, key=_as_original)
            copies.update((n, first) for n in names if n != first)
    return copies


def _as_original(name: str) -> tuple[bool, bool, int, str]:
    """A sort key: the name that of several stands for the variable itself."""
    return name.startswith("_"), "/_" in name.replace("/.ATTRIBUTES", ""), len(name), name


def copied_rows(rows: Sequence[TimelineRow], points: Sequence[Sequence[TensorPoint | None]]) -> dict[int, int]:
    """The same of a run's rows, by place: those that repeat another in every save, checksum for checksum."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for place, (row, course) in enumerate(zip(rows, points, strict=True)):
        if row.own_name == clean(row.name):
            # no name of its own
            continue
        held = tuple(None if p is None or p.problem else p.crc32c for p in course)
        if any(crc is not None for crc in held):
            groups.setdefault((row.own_name, row.dtype, row.shape, held), []).append(place)
    copies: dict[int, int] = {}
    for places in groups.values():
        if len(places) > 1:
            first = min(places, key=lambda place: _as_original(rows[place].name))
            copies.update((place, first) for place in places if place != first)
    return copies


def alike(tensors: Iterable[Tensor], name: str) -> list[str]:
    """Up to three names close to `name`, as they can be typed: a layer's variables, else by their letters."""
    listed = list(tensors)
    of_layer = dict.fromkeys(clean(t.object_path or t.name) for t in listed if name and t.layer == name)
    if of_layer:
        return list(of_layer)[:3]
    known = dict.fromkeys(n for t in listed for n in (t.object_path, clean(t.name)) if n)
    names = list(known)
    for part in sorted(name.split("/"), key=len, reverse=True) if len(names) > MOST_COMPARED else ():
        names = [n for n in known if part in n]
        if names:
            break
    del names[MOST_COMPARED:]
    # the end of a variable's name is what people type: `conv1/kernal` is closer to it than to the whole
    depth = name.count("/") + 1
    ends: dict[str, str] = {}
    for known_name in names:
        ends.setdefault("/".join(known_name.split("/")[-depth:]), known_name)
        ends[known_name] = known_name
    near = difflib.get_close_matches(name, list(ends), 6, 0.4)
    return list(dict.fromkeys(ends[n] for n in near))[:3]
