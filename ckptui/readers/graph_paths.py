"""Names that TensorFlow cut short, found again by what the optimizer calls its slots.

Keras 3 stores `sub/kernel` for every kernel of a subclassed model `Sub`, whatever the layer. Its optimizer names slots
after the whole path: `adam/sub_dense_5_kernel_momentum` serves the variable at the same place in its list of trainable
ones. So that variable is `sub/dense_5/kernel`, and so are its neighbours in the same layer: `sub/dense_5/bias`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol


class Node(Protocol):
    """What is asked of a node of an object graph."""

    children: Sequence[tuple[str, int]]

    @property
    def full_name(self) -> str: ...

    def child(self, name: str) -> int | None: ...


def whole_paths(nodes: Sequence[Node], budget: int) -> dict[int, str]:
    """The whole names of variables cut so short that they share one, by node; `budget`: list entries looked at."""
    seen = Counter(node.full_name for node in nodes)
    seen.pop("", None)
    if not any(count > 1 for count in seen.values()):
        return {}
    found: dict[int, str] = {}
    done: set[int] = set()
    for node in nodes:
        own, trained = node.child("_variables"), node.child("_trainable_variables")
        if own is None or trained is None or own in done or not max(own, trained) < len(nodes):
            continue
        done.add(own)
        weights, kept = _listed(nodes[trained]), _listed(nodes[own])
        budget -= len(weights) + len(kept)
        if budget < 0:
            break
        served = frozenset(weights)
        slots = [flat for flat in (_flat(nodes, target) for target in kept if target not in served) if flat]
        found.update(_by_slots(nodes, [target for target in weights if target < len(nodes)], slots))
    cut = {_head(nodes[target]) for target in found if seen[nodes[target].full_name] > 1}
    renamed = {target: name for target, name in found.items() if _head(nodes[target]) in cut}
    return renamed | _neighbours(nodes, renamed)


def _head(node: Node) -> str:
    return node.full_name.rpartition("/")[0]


def _listed(node: Node) -> list[int]:
    """The node ids of a list's items, in order."""
    named = [(name, target) for name, target in node.children if name.isascii() and name.isdigit() and len(name) < 10]
    numbered = [(int(name), target) for name, target in named]
    return [target for _, target in sorted(numbered)]


def _flat(nodes: Sequence[Node], target: int) -> str:
    """What a slot is called behind its optimizer's name; empty for counters."""
    name = nodes[target].full_name.rpartition("/")[2] if target < len(nodes) else ""
    return "" if name in ("iteration", "learning_rate") else name


def _by_slots(nodes: Sequence[Node], weights: Sequence[int], slots: Sequence[str]) -> Mapping[int, str]:
    """The whole name of each weight, where the slots are listed in the order of the weights."""
    for step in range(1, len(slots) // max(len(weights), 1) + 1):
        found: dict[int, str] = {}
        for place, target in enumerate(weights):
            root, _, leaf = nodes[target].full_name.rpartition("/")
            begin, end = root.replace("/", "_") + "_", f"_{leaf}_"
            slot = slots[place * step]
            cut = slot.rfind(end)
            if not root or not slot.startswith(begin) or cut < len(begin) - 1:
                break
            middle = slot[len(begin) : cut]
            found[target] = f"{root}/{middle}/{leaf}" if middle else nodes[target].full_name
        else:
            return found
    return {}


def _neighbours(nodes: Sequence[Node], renamed: Mapping[int, str]) -> dict[int, str]:
    """The names of variables that hang on the same object as a renamed one and began as it did."""
    found: dict[int, str] = {}
    for node in nodes if renamed else ():
        members = [target for name, target in node.children if not name.isdigit() and target < len(nodes)]
        paths = {
            (nodes[t].full_name.rpartition("/")[0], renamed[t].rpartition("/")[0]) for t in members if t in renamed
        }
        if len(paths) != 1:
            continue
        short, whole = paths.pop()
        for target in members:
            head, _, leaf = nodes[target].full_name.rpartition("/")
            if target not in renamed and leaf and head == short:
                found[target] = f"{whole}/{leaf}"
    return found
