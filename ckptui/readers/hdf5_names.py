"""Names of links: read without the HDF5 library, and led back to what they must be where one bit is flipped.

HDF5 File Format Specification, III.D (local heap), III.C (symbol table entries).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

from ckptui.readers.hdf5_intake import USUAL
from ckptui.readers.hdf5_mend import Fault
from ckptui.readers.hdf5_structures import Structures
from ckptui.readers.hdf5_walk import to_bytes, to_path

MAX_NODES = 1 << 20
MAX_NAMES_BYTES = 16 << 20
MAX_NAME_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class NameFault(Fault):
    """A name that is another one than was written."""

    name: str = ""
    """As it must have been."""


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


def mend_names(structures: Structures, root: int, known: Iterable[tuple[str, str]]) -> list[Fault]:
    """Turn back the one flipped bit of a name that makes it one Keras has there; the faults.

    `known` are groups, by the path the file gives them, and paths that must exist in them. A name is only touched
    where the known one is missing beside it.
    """
    wanted: dict[str, set[str]] = {}
    for group, inside in known:
        parts = inside.split("/")
        for depth, part in enumerate(parts):
            above = "/".join(parts[:depth])
            wanted.setdefault(f"{group}/{above}".strip("/"), set()).add(part)
    faults: list[Fault] = []
    tables = [(root, "")]
    for owner, path in tables:
        message = structures.symbol_table(owner)
        if message is None or len(tables) > MAX_NODES:
            continue
        tree, heap = _pair(message.data)
        entries, names = _entries_under(structures, tree), _heap_names(structures, heap)
        read = [to_path(names(entry[1])) for entry in entries]
        there = set(read)
        numbered = path == "vars" or path.endswith("/vars")
        numbers = {str(number) for number in range(len(entries))} if numbered else set()
        missing = (wanted.get(path, set()) | numbers | (USUAL if not path else {"vars"})) - there
        segment = int.from_bytes(structures.read(heap + 24, 8), "little")
        if missing and wanted.get(path) and not there & wanted[path]:
            moved = _moved_back(structures, heap, segment, [entry[1] for entry in entries], wanted[path], owner)
            if moved is not None:
                faults.append(moved)
                read = [to_path(_heap_names(structures, heap)(entry[1])) for entry in entries]
                missing = set()
        if not structures.is_heap(heap):
            missing = set()
        # Where several places of names are wrong no single bit is to blame, and the next best name is another's.
        lost = len(wanted.get(path, set()) - there)
        for index, (entry, name_at, header, _) in enumerate(entries):
            name = read[index]
            twin = name in read[max(0, index - 1) : index] or name in read[index + 1 : index + 2]
            fits = name in wanted.get(path, ()) or name.isdecimal()
            if missing and (not fits or twin):
                # Links stand in order, which tells which of two with one name is another.
                fitting = {one for one in missing if not twin or _ascend([*read[:index], one, *read[index + 1 :]])}
                near = _one_bit_off(name_at) if lost < 2 else ()
                meant = [(one, at) for at in near if (one := to_path(names(at))) in fitting]
                fault = _turned_back(structures, segment + name_at, fitting, owner)
                if fault is None and len(meant) == 1:
                    fault = _led_back(structures, entry, name_at, meant[0], owner)
                if fault is not None:
                    faults.append(fault)
                    name = read[index] = fault.name
                    missing.discard(name)
            tables.append((header, f"{path}/{name}" if path else name))
    return faults


def _ascend(names: list[str]) -> bool:
    return all(a < b for a, b in pairwise(to_bytes(name) for name in names))


def _turned_back(structures: Structures, address: int, missing: Iterable[str], owner: int) -> NameFault | None:
    for name in sorted(missing):
        wanted = to_bytes(name) + b"\0"
        stored = structures.read(address, len(wanted))
        if len(stored) < len(wanted):
            continue
        differ = int.from_bytes(stored, "little") ^ int.from_bytes(wanted, "little")
        if differ.bit_count() != 1:
            continue
        place = (differ.bit_length() - 1) // 8
        at = structures.base + address + place
        structures.window.patch(at, wanted[place : place + 1])
        told = f"one flipped bit in a name: {name} is meant"
        right, found = wanted[place : place + 1].hex(), stored[place : place + 1].hex()
        return NameFault("heap", at, owner, right, found, told, "no-layer-group", name=name)
    return None


def _moved_back(
    structures: Structures, heap: int, segment: int, offsets: list[int], wanted: set[str], owner: int
) -> Fault | None:
    """The heap's address of its names, one bit off, put right where all known names stand at the right place."""
    at = structures.base + heap + 24
    found = []
    for right in (segment ^ 1 << bit for bit in range(64)):
        structures.window.patch(at, right.to_bytes(8, "little"))
        names = _heap_names(structures, heap)
        if offsets and all(to_path(names(offset)) in wanted for offset in offsets):
            found.append(right)
        structures.window.unpatch(at)
    if len(found) != 1:
        return None
    structures.window.patch(at, found[0].to_bytes(8, "little"))
    expected, stored = (number.to_bytes(8, "little").hex() for number in (found[0], segment))
    told = f"its names are looked for at {segment}, they are at {found[0]}"
    return Fault("heap", at, owner, expected, stored, told, "local-heap")


def _one_bit_off(offset: int) -> list[int]:
    return [offset ^ 1 << bit for bit in range(25)]


def _led_back(structures: Structures, entry: int, stored: int, meant: tuple[str, int], owner: int) -> NameFault:
    """The entry's offset of its name, one bit off, put right."""
    name, offset = meant
    right, found = offset.to_bytes(8, "little"), stored.to_bytes(8, "little")
    structures.window.patch(structures.base + entry, right)
    told = f"one flipped bit in the place of a name: {name} is meant"
    at = structures.base + entry
    return NameFault("node", at, owner, right.hex(), found.hex(), told, "no-layer-group", name=name)


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
