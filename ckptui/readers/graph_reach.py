"""What runs when a signature is called, and what only stands in the graph: nodes by their inputs, functions by name.

Edges: data and control inputs between the nodes of the graph itself; from a node to every function that an attribute of
it names (`PartitionedCall`, `If`, `While`, `Case`, datasets), and to the function its op is named after (TF1's Defun).
A function counts as a whole once it is called: what of it has effects runs there whether or not its results are used.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

WRITING = frozenset({"SaveV2", "MergeV2Checkpoints"})
READING = frozenset({"RestoreV2"})
SAVER_OPS = frozenset({"Save", "SaveSlices", "Restore", "RestoreSlice"})
"""The V1 saver's own."""
CHECKPOINT_OPS = WRITING | READING | SAVER_OPS

HOLDERS = frozenset({"AttrEntry", "AttrValue", "AttrList", "NameAttrList"})
"""Messages in which an attribute may name a function."""
MAX_PLACES = 5
"""Nodes of an op that are told by name."""
MAX_SIGNATURES = 20
"""Signatures that are followed one by one, to tell which of them reach something."""


class Callees(dict[str, Any]):
    """Stands for attributes of a node of which only the functions they name are kept, in `names`."""


@dataclass(slots=True)
class Library:
    """The functions, by their numbers in the order in which they are walked."""

    names: list[str | Mapping[str, Any]] = field(default_factory=list)
    """Their names, or where a name comes after the nodes the gathered signature that will have it."""
    holders: dict[str, array[int]] = field(default_factory=dict)
    """Op, or function that an attribute names, to the functions in which a node has it."""
    found: list[tuple[str, str, int]] = field(default_factory=list)
    """(op, node, function) of CHECKPOINT_OPS."""

    def leading(self, gradients: Iterable[Mapping[str, Any]]) -> dict[str, set[str]]:
        """The functions from which some of `found` is reached, each with those that it calls on the way there."""
        names = [name if isinstance(name, str) else str(name.get("name", "")) for name in self.names]
        graded: dict[str, list[str]] = {}
        for entry in gradients:
            graded.setdefault(entry.get("gradient_func", ""), []).append(entry.get("function_name", ""))
        todo = [names[number] for _, _, number in self.found]
        known: dict[str, set[str]] = {name: set() for name in todo}
        while todo:
            name = todo.pop()
            for caller in (*(names[number] for number in self.holders.get(name, ())), *graded.get(name, ())):
                if caller not in known:
                    known[caller] = set()
                    todo.append(caller)
                known[caller].add(name)
        return known

    def nodes(self) -> dict[str, list[tuple[str, str]]]:
        """`found` by the functions' names: (op, `name (in function)`)."""
        inside: dict[str, list[tuple[str, str]]] = {}
        for op, node, number in self.found:
            name = self.names[number]
            name = name if isinstance(name, str) else str(name.get("name", ""))
            inside.setdefault(name, []).append((op, f"{node} (in {name})"))
        return inside


@dataclass(slots=True)
class Wiring:
    """The nodes of the graph itself, by the hashes of their names: names would cost ten times the memory."""

    starts: dict[int, int] = field(default_factory=dict)
    """Node to the place in `wires` where the number of its inputs stands, and behind it those."""
    wires: array[int] = field(default_factory=lambda: array("q"))
    holders: dict[str, array[int]] = field(default_factory=dict)
    """Op, or function that an attribute names, to the nodes that have it."""
    found: list[tuple[str, str]] = field(default_factory=list)
    """(op, node) of CHECKPOINT_OPS."""

    def before(self, ends: Iterable[int]) -> set[int]:
        """The nodes `ends` and all they are computed from or wait for."""
        seen, todo = set(), list(ends)
        while todo:
            node = todo.pop()
            if node in seen:
                continue
            seen.add(node)
            place = self.starts.get(node)
            if place is not None:
                todo.extend(self.wires[place + 1 : place + 1 + self.wires[place]])
        return seen


@dataclass(frozen=True, slots=True)
class Reached:
    """Nodes of one op that signatures reach."""

    total: int
    places: tuple[str, ...]
    """`name` or `name (in function)` of the first ones."""
    signatures: tuple[str, ...]
    """Those that reach one."""


def callees_of(node: dict[str, Any]) -> Callees:
    """Where the functions that a node's attributes name are put."""
    found: Callees | None = node.get("callees")
    if found is None:
        found = node["callees"] = Callees(names=[])
    return found


def take_input(node: dict[str, Any], reference: str) -> None:
    """Remember one input of a node of the graph itself."""
    if "home" not in node["parent"]:
        node.setdefault("wires", array("q")).append(_key(reference))


def take_node(home: dict[str, Any], op: str, node: dict[str, Any]) -> None:
    """Remember where a gathered node leads, in `home["wiring"]` or, of a function's, in `home["called"]`."""
    parent = node["parent"]
    leads = [op]
    if "callees" in node:
        leads += node["callees"]["names"]
    if "attr" in node and op != "Const":
        leads += _functions(node["attr"])
    if "home" in parent:
        _take_inside(home, parent, leads, node)
    else:
        _take_wired(home, leads, node)


def _take_inside(home: dict[str, Any], parent: dict[str, Any], leads: list[str], node: Mapping[str, Any]) -> None:
    """`parent`: the gathered function."""
    library: Library | None = home.get("called")
    if library is None:
        library = home["called"] = Library()
    number = parent.get("number")
    if number is None:
        number = parent["number"] = len(library.names)
        signature = parent.setdefault("signature", {})
        library.names.append(signature.get("name") or signature)
    for lead in leads:
        holders = library.holders.get(lead)
        if holders is None:
            library.holders[lead] = array("q", (number,))
        elif holders[-1] != number:
            holders.append(number)
    if leads[0] in CHECKPOINT_OPS:
        library.found.append((leads[0], node.get("name", ""), number))


def _take_wired(home: dict[str, Any], leads: list[str], node: Mapping[str, Any]) -> None:
    wiring: Wiring | None = home.get("wiring")
    if wiring is None:
        wiring = home["wiring"] = Wiring()
    name, wires = node.get("name", ""), node.get("wires", ())
    key = _key(name)
    wiring.starts[key] = len(wiring.wires)
    wiring.wires.append(len(wires))
    wiring.wires.extend(wires)
    for lead in leads:
        holders = wiring.holders.get(lead)
        if holders is None:
            holders = wiring.holders[lead] = array("q")
        holders.append(key)
    if leads[0] in CHECKPOINT_OPS:
        wiring.found.append((leads[0], name))


def _key(reference: str) -> int:
    """The node of `mul/y:0`, `mul/y` or `^mul/y`."""
    return hash(reference.lstrip("^").partition(":")[0])


def _functions(attributes: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The functions that gathered attributes name, those that are handed to functions too."""
    todo = list(attributes)
    while todo:
        value = todo.pop().get("value", {})
        for named in (value.get("func"), *value.get("list", {}).get("func", ())):
            if named:
                yield named.get("name", "")
                todo += named.get("attr", ())


def reached(
    graph: Mapping[str, Any], library: Mapping[str, Any], signatures: Mapping[str, Iterable[str]]
) -> dict[str, Reached]:
    """CHECKPOINT_OPS that run when one of the signatures is called; `signatures`: name to the tensors it gives."""
    wiring: Wiring = graph.get("wiring") or Wiring()
    called: Library = library.get("called") or Library()
    if not (wiring.found or called.found):
        return {}
    leading, inside = called.leading(library.get("gradient", ())), called.nodes()

    def run(tensors: Iterable[str]) -> Iterator[tuple[str, str]]:
        nodes = wiring.before(_key(tensor) for tensor in tensors if tensor)
        yield from ((op, name) for op, name in wiring.found if _key(name) in nodes)
        todo = [name for name in leading if not nodes.isdisjoint(wiring.holders.get(name, ()))]
        seen: set[str] = set()
        while todo:
            name = todo.pop()
            if name not in seen:
                seen.add(name)
                todo.extend(leading[name])
                yield from inside.get(name, ())

    totals: dict[str, list[str]] = {}
    for op, place in run(tensor for tensors in signatures.values() for tensor in tensors):
        totals.setdefault(op, []).append(place)
    if not totals:
        return {}
    ops = {name: {op for op, _ in run(signatures[name])} for name in list(signatures)[:MAX_SIGNATURES]}
    return {
        op: Reached(len(places), tuple(sorted(places)[:MAX_PLACES]), tuple(name for name in ops if op in ops[name]))
        for op, places in totals.items()
    }
