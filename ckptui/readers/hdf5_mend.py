"""Mending old-style groups in memory: signatures put right, pointers led back to the one structure they can mean.

Nothing is written to the file: HDF5 is shown the mended bytes through the window, and every byte shown otherwise than
it is stored becomes a `Fault`. A pointer is only mended where a copy of it says so, where the right target is one bit
away, or where exactly one structure is left that nothing points to.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from ckptui.readers.hdf5_structures import CALLED, ENTRY_BYTES, SIGNATURES, Found, Pointer, Structures, What
from ckptui.readers.window import Window

MAX_ROUNDS = 12
"""Times everything is followed again after something was mended."""
MAX_FAULTS = 1000
MAX_FORGOTTEN = 64
UNDEFINED = (1 << 64) - 1

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
    """Which of `core.sayings` HDF5 answers with; empty where it says nothing."""
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
        self.owners: dict[int, int] = {}
        """B-tree or symbol node to the object header of its group."""
        self.entries: dict[int, int] = {}
        """Object header address to the entry that leads to it."""

    def run(self) -> list[Fault]:
        broken: list[Pointer] = []
        for _ in range(MAX_ROUNDS):
            pointers = self._pointers()
            broken = [p for p in pointers if not self._holds(p)]
            counted = self._count(broken) | self._links() | self._doubled(pointers)
            if (
                not counted
                and not any([self._force(p) or self._resize(p) for p in broken])
                and not self._relink(broken, pointers)
            ):
                break
        for pointer in broken:
            if not self._holds(pointer) and len(self.faults) < MAX_FAULTS:
                self._give_up(pointer)
        self._emptied()
        self._spaces()
        return sorted(self.faults, key=lambda fault: fault.at)

    def _pointers(self) -> list[Pointer]:
        pointers = [self.root] if self.root is not None else []
        for header in sorted(self.found.places["header"]):
            pointers += self.structures.group_pointers(header)
        self.owners = {p.to: p.owner for p in pointers if p.what != "header"}
        self.entries = {p.to: p.at - 8 for p in pointers if p.what == "header" and p is not self.root}
        return pointers

    def _count(self, broken: list[Pointer]) -> bool:
        """Put right how many children a node says it has; True where one was mended."""
        done = False
        at_fault = {pointer.at for pointer in broken}
        layouts: tuple[tuple[What, int, int], ...] = (("tree", 16, 32), ("node", ENTRY_BYTES, 16))
        for what, width, first in layouts:
            for address in sorted(self.found.places[what]):
                children = self.structures.pointers_in(what, address)
                wrong = [n for n, at in enumerate(children) if at in at_fault]
                good = wrong[0] if wrong else len(children)
                one_bit = (len(children) ^ good).bit_count() == 1
                most = 2 * len(wrong) > len(children) - good
                if wrong and most and one_bit and self._is_empty(children[good:]):
                    done |= self._set_count(what, address, len(children), good)
                elif not wrong and self.relinks:
                    more = self._forgotten(what, address + first + width * len(children), width)
                    if more and ((len(children) + more) ^ len(children)).bit_count() == 1:
                        done |= self._set_count(what, address, len(children), len(children) + more)
        return done

    def _emptied(self) -> None:
        """Tell of symbol nodes without a link: HDF5 frees a node with its last link, so theirs were lost."""
        for address in sorted(self.found.places["node"] & self.owners.keys()):
            at = self.base + address + 6
            if not self.structures.pointers_in("node", address) and at + 2 < self.lost_from:
                told = "says that it has no links: all of them are lost"
                self.faults.append(Fault("node", at, self.owners[address], "", "0000", told, "", False))

    def _spaces(self) -> None:
        """Tell of lists of free space that HDF5 would refuse a group for; readers need none, and are shown none."""
        for at, stored in sorted(self.window.free_lists.items()):
            address = at - self.base - 16
            if address in self.owners and at < self.lost_from:
                told = "its list of free space leads nowhere"
                expected = (1).to_bytes(8, "little").hex()
                self.faults.append(Fault("heap", at, self.owners[address], expected, stored.hex(), told, "free-list"))

    def _is_empty(self, slots: list[int]) -> bool:
        """Whether slots a node counts were never used: a single one holds no address then."""
        return len(slots) > 1 or int.from_bytes(self.structures.read(slots[0], 8), "little") in (0, UNDEFINED)

    def _links(self) -> bool:
        """Put right entries that say they are a soft link, or nothing known, and lead to an object all the same."""
        done = False
        for header, entry in self.entries.items():
            raw = self.structures.read(entry + 16, 4)
            kind = int.from_bytes(raw, "little")
            if kind in (0, 1) or len(raw) < 4 or header not in self.found.places["header"]:
                continue
            right = b"\x01\0\0\0" if self.structures.symbol_table(header) is not None else bytes(4)
            at = self.base + entry + 16
            self.window.patch(at, right)
            told = f"an entry says it is a link of type {kind}, it leads to an object"
            self.faults.append(Fault("node", at, header, right.hex(), raw.hex(), told, "symbol-node"))
            done = True
        return done

    def _doubled(self, pointers: list[Pointer]) -> bool:
        """Of two entries that lead to one object, lead back the one that is a bit away from one nothing leads to."""
        members = [pointer for pointer in pointers if pointer.what == "header"]
        counts = Counter(pointer.to for pointer in members)
        for pointer in members if self.relinks else ():
            if counts[pointer.to] < 2 or pointer is self.root:
                continue
            near = [
                place
                for place in self.found.places["header"]
                if (place ^ pointer.to).bit_count() == 1 and not counts[place] and self._fits_entry(pointer, place)
            ]
            if len(near) == 1:
                self._point(pointer, near[0])
                return True
        return False

    def _forgotten(self, what: What, slot: int, width: int) -> int:
        """How many pointers to something that nothing else points to follow the last one a node counts.

        HDF5 zeroes the rest of a node when it takes an entry out.
        """
        wanted = ("node", "tree") if what == "tree" else ("header",)
        count = 0
        while count < MAX_FORGOTTEN:
            to = int.from_bytes(self.structures.read(slot + count * width, 8), "little")
            known = to in self.owners or to in self.entries
            if known or not any(to in places for kind, places in self.found.places.items() if kind in wanted):
                break
            count += 1
        return count

    def _set_count(self, what: What, address: int, stored: int, right: int) -> bool:
        at = self.base + address + 6
        self.window.patch(at, right.to_bytes(2, "little"))
        told = f"says that it has {stored} children, {right} are there"
        expected, found = (number.to_bytes(2, "little").hex() for number in (right, stored))
        self.faults.append(Fault(what, at, self.owners.get(address, -1), expected, found, told, SAYINGS[what]))
        return True

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
        if what != "header" and sum(a == b for a, b in zip(stored, SIGNATURES[what], strict=False)) < 2:
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

    def _resize(self, pointer: Pointer) -> bool:
        """Turn back the bit that makes a heap's names longer than the file."""
        raw = self.structures.read(pointer.to, 16)
        if pointer.what != "heap" or len(raw) < 16 or raw[:4] != SIGNATURES["heap"]:
            return False
        at, stored = self.base + pointer.to + 8, int.from_bytes(raw[8:], "little")
        right = stored & ~(1 << stored.bit_length() - 1) if stored else 0
        self.window.patch(at, right.to_bytes(8, "little"))
        if not right or not self.structures.is_heap(pointer.to):
            self.window.unpatch(at)
            return False
        told = f"says that its names take {stored} bytes, they take {right}"
        expected, found = right.to_bytes(8, "little").hex(), raw[8:].hex()
        self.faults.append(Fault("heap", at, pointer.owner, expected, found, told, "local-heap"))
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
            if pointer.what == "header" and pointer is not self.root:
                orphans = [place for place in orphans if self._fits_entry(pointer, place)]
            near = [place for place in orphans if (place ^ pointer.to).bit_count() == 1]
            rivals = sum(other.what == pointer.what for other in broken)
            told = self._copy_of(pointer)
            choice = [told] if told in orphans else near if near else orphans if rivals == 1 else []
            if len(choice) == 1:
                self._point(pointer, choice[0])
                return True
        return False

    def _fits_entry(self, pointer: Pointer, header: int) -> bool:
        """Whether an entry can mean this header: a group's B-tree and heap stand in the entry too."""
        cached = self.structures.cached(pointer.at - 8)
        message = self.structures.symbol_table(header)
        if cached is None or message is None:
            return cached is None and message is None and self.structures.is_dataset(header)
        return message.data[:16] == b"".join(number.to_bytes(8, "little") for number in cached)

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


def called(fault: Fault) -> str:
    """The structure's name in words."""
    return "superblock" if fault.what == "superblock" else CALLED[fault.what]
