"""Mending old-style groups in memory: signatures put right, pointers led back to the one structure they can mean.

Nothing is written to the file: HDF5 is shown the mended bytes through the window, and every byte shown otherwise than
it is stored becomes a `Fault`. A pointer is only mended where a copy of it says so, where the right target is one bit
away, or where exactly one structure is left that nothing points to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ckptui.readers.hdf5_structures import CALLED, SIGNATURES, Found, Pointer, Structures, What
from ckptui.readers.hdf5_walk import to_path
from ckptui.readers.window import Window

MAX_ROUNDS = 12
"""Times everything is followed again after something was mended."""
MAX_FAULTS = 1000
MAX_NODES = 1 << 20
MAX_NAMES_BYTES = 16 << 20
MAX_NAME_BYTES = 1 << 16

SAYINGS: dict[What, str] = {
    "tree": "b-tree",
    "node": "symbol-node",
    "heap": "local-heap",
    "header": "object-header",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """Bytes of a structure that can't be what was written."""

    what: What | Literal["superblock"]
    at: int
    """Window offset of the bytes."""
    owner: int
    """Address of the object header of the group (or object) it belongs to; -1 where that is not known."""
    expected: str
    """Hex; empty where it is not known."""
    found: str
    told: str
    """What is wrong, in words, after the name of the structure."""
    saying: str
    mended: bool = True


def mend(structures: Structures, found: Found, root: Pointer | None, lost_from: int | None) -> list[Fault]:
    """Mend what can be mended; the faults, mended or not, in file order.

    `root` is the superblock's pointer to the root group's header. Pointers to `lost_from` (a window offset: a cut, a
    tail of zeros) and beyond are not at fault.
    """
    return _Mending(structures, found, root, lost_from).run()


class _Mending:
    def __init__(self, structures: Structures, found: Found, root: Pointer | None, lost_from: int | None) -> None:
        self.structures = structures
        self.window: Window = structures.window
        self.base = structures.base
        self.found = found
        self.root = root
        self.lost_from = self.window.declared if lost_from is None else lost_from
        self.relinks = lost_from is None
        self.faults: list[Fault] = []
        self.entries: dict[int, int] = {}
        """Object header address to the entry that leads to it."""

    def run(self) -> list[Fault]:
        broken: list[Pointer] = []
        for _ in range(MAX_ROUNDS):
            pointers = self._pointers()
            broken = [p for p in pointers if not self._holds(p)]
            if not any([self._force(p) for p in broken]) and not self._relink(broken, pointers):
                break
        for pointer in broken:
            if not self._holds(pointer) and len(self.faults) < MAX_FAULTS:
                self._give_up(pointer)
        return sorted(self.faults, key=lambda fault: fault.at)

    def _pointers(self) -> list[Pointer]:
        pointers = [self.root] if self.root is not None else []
        for header in sorted(self.found.places["header"]):
            pointers += self.structures.group_pointers(header)
        self.entries = {p.to: p.at - 8 for p in pointers if p.what == "header" and p is not self.root}
        return pointers

    def _holds(self, pointer: Pointer) -> bool:
        """Whether what it points to is there, or lost with everything behind the cut."""
        if pointer.to in self.found.places[pointer.what]:
            return True
        lies = self.base + pointer.to
        if self.lost_from <= lies < self.window.declared and pointer.to % 8 == 0:
            return True
        return self.structures.is_there(pointer.what, pointer.to)

    def _force(self, pointer: Pointer) -> bool:
        """Put a damaged signature right, if what follows makes sense behind it."""
        address, what = pointer.to, pointer.what
        wanted = SIGNATURES[what] + (b"\x01\0" if what == "node" else b"\0" * 4 if what == "heap" else b"")
        stored = self.structures.read(address, len(wanted))
        if len(stored) < len(wanted) or stored == wanted or address % 8 or address in self.found.places[what]:
            return False
        at = self.base + address
        self.window.patch(at, wanted)
        if not self._makes_sense(what, address):
            self.window.unpatch(at)
            return False
        self.found.places[what].add(address)
        owner = address if what == "header" else pointer.owner
        told = f"begins with {stored.hex()}, not {wanted.hex()}"
        self.faults.append(Fault(what, at, owner, wanted.hex(), stored.hex(), told, SAYINGS[what]))
        return True

    def _makes_sense(self, what: What, address: int) -> bool:
        structures = self.structures
        if what == "tree":
            found = structures.tree(address)
            children = found[1] if found is not None else []
            return bool(children) and all(
                structures.is_there("tree" if found and found[0] else "node", to) for _, to in children
            )
        if what == "node":
            entries = structures.entries(address)
            return bool(entries) and any(header in self.found.places["header"] for _, _, header, _ in entries or ())
        if what == "heap":
            return structures.is_heap(address)
        return structures.is_dataset(address) or structures.symbol_table(address) is not None

    def _relink(self, broken: list[Pointer], pointers: list[Pointer]) -> bool:
        """Lead one broken pointer to where it must have led; True where one was mended."""
        if not self.relinks:
            return False
        taken = {(p.what, p.to) for p in pointers}
        for pointer in broken:
            if self._holds(pointer):
                continue
            places = self.found.places[pointer.what]
            if pointer is self.root:
                places = {place for place in places if self.structures.symbol_table(place) is not None}
            orphans = [place for place in places if (pointer.what, place) not in taken]
            near = [place for place in orphans if (place ^ pointer.to).bit_count() == 1]
            rivals = sum(other.what == pointer.what for other in broken)
            told = self._copy_of(pointer)
            choice = [told] if told in orphans else near if near else orphans if rivals == 1 else []
            if len(choice) == 1:
                self._point(pointer, choice[0])
                return True
        return False

    def _copy_of(self, pointer: Pointer) -> int | None:
        """What the parent's entry says of a group's B-tree or heap."""
        entry = self.entries.get(pointer.owner)
        message = self.structures.symbol_table(pointer.owner)
        if entry is None or message is None or pointer.at not in (message.at, message.at + 8):
            return None
        cached = self.structures.cached(entry)
        return None if cached is None else cached[0 if pointer.at == message.at else 1]

    def _point(self, pointer: Pointer, to: int) -> None:
        stored, wanted = (number.to_bytes(8, "little") for number in (pointer.to, to))
        at = self.base + pointer.at
        self.window.patch(at, wanted)
        if pointer is self.root:
            self.root = Pointer(pointer.at, to, pointer.what, pointer.owner)
        told = f"is looked for at {pointer.to}, it is at {to}"
        saying = SAYINGS[pointer.what]
        owner = to if pointer.what == "header" else pointer.owner
        self.faults.append(Fault(pointer.what, at, owner, wanted.hex(), stored.hex(), told, saying))

    def _give_up(self, pointer: Pointer) -> None:
        stored = self.structures.read(pointer.to, 8)
        at = self.base + pointer.to
        beyond = not stored
        told = f"is looked for at {pointer.to}, beyond the end" if beyond else f"at {pointer.to} does not parse"
        owner = pointer.to if pointer.what == "header" else pointer.owner
        self.faults.append(
            Fault(
                pointer.what,
                self.base + pointer.at if beyond else at,
                owner,
                "" if beyond else SIGNATURES[pointer.what].hex(),
                pointer.to.to_bytes(8, "little").hex() if beyond else stored.hex(),
                told,
                "address-overflow" if beyond else SAYINGS[pointer.what],
                mended=False,
            )
        )


def names_of(structures: Structures, root: int, prefix: str = "") -> dict[int, str]:
    """The path of every object that links lead to, by the address of its header; through damaged headers too.

    `prefix` is the path of `root` itself. Where a name is lost, `unnamed` stands for it.
    """
    paths: dict[int, str] = {root: prefix}
    message = structures.symbol_table(root)
    tables = [(root, *_pair(message.data))] if message is not None else []
    for owner, tree, heap in tables:
        names = _heap_names(structures, heap)
        above = paths[owner] + "/" if paths[owner] else ""
        for entry, name_at, header, _ in _entries_under(structures, tree):
            if header in paths:
                continue
            name = names(name_at)
            paths[header] = above + (to_path(name) if name else unnamed(structures.base + header))
            own, cached = structures.symbol_table(header), structures.cached(entry)
            if own is not None:
                tables.append((header, *_pair(own.data)))
            elif cached is not None:
                tables.append((header, *cached))
    return paths


def unnamed(at: int) -> str:
    """What an object is called whose name is lost: by where its header lies in the HDF5 file."""
    return f"unnamed@{at}"


def _pair(data: bytes) -> tuple[int, int]:
    return int.from_bytes(data[:8], "little"), int.from_bytes(data[8:16], "little")


def _entries_under(structures: Structures, tree: int) -> list[tuple[int, int, int, int]]:
    found: list[tuple[int, int, int, int]] = []
    waiting, seen = [tree], {tree}
    while waiting:
        at = waiting.pop()
        entries = structures.entries(at)
        if entries is not None:
            found += entries
            continue
        node = structures.tree(at)
        for _, child in reversed(node[1] if node is not None else []):
            if child not in seen and len(seen) < MAX_NODES:
                seen.add(child)
                waiting.append(child)
    return found


def _heap_names(structures: Structures, heap: int) -> Callable[[int], bytes]:
    names = b""
    if structures.is_heap(heap):
        raw = structures.read(heap, 32)
        size, segment = int.from_bytes(raw[8:16], "little"), int.from_bytes(raw[24:32], "little")
        names = structures.read(segment, min(size, MAX_NAMES_BYTES))

    def name(offset: int) -> bytes:
        text, end, _ = names[offset : offset + MAX_NAME_BYTES].partition(b"\0")
        return text if end and offset and b"/" not in text and text not in (b".", b"..") else b""

    return name


def called(fault: Fault) -> str:
    """The structure's name in words."""
    return "superblock" if fault.what == "superblock" else CALLED[fault.what]
