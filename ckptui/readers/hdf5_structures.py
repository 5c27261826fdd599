"""The structures of old-style HDF5 groups (what h5py and Keras write) found and read without the HDF5 library.

Addresses count from the file's base address; the window's offsets from its start.
HDF5 File Format Specification, III.A.1 (B-trees), III.B (symbol nodes), III.C (entries), III.D (local heap),
IV.A.1.a (object headers), IV.A.2 (messages).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from ckptui.readers.window import Window

What = Literal["tree", "node", "heap", "header"]

SIGNATURES: dict[What, bytes] = {"tree": b"TREE", "node": b"SNOD", "heap": b"HEAP", "header": b"\x01\0"}
"""How each structure begins; an object header of version 1 with its version and a reserved byte."""
SIGNED: tuple[What, ...] = ("tree", "node", "heap")
CALLED: dict[What, str] = {
    "tree": "B-tree node",
    "node": "symbol table node",
    "heap": "local heap",
    "header": "object header",
}

SYMBOL_TABLE, CONTINUED = 0x11, 0x10
DATASPACE, DATATYPE, LAYOUT = 0x01, 0x03, 0x08
MAX_MESSAGES = 10_000
MAX_HEADER_BLOCKS = 64
MAX_HEADER_BYTES = 1 << 20
MAX_USED = 8192
"""Children of one B-tree node and entries of one symbol node; writers use at most 32 and 8."""
MAX_FOUND = 200_000
"""Structures of one sort that are kept."""
SCAN_STEP = 1 << 22
MAX_SCANNED = 16 << 30
ENTRY_BYTES = 40
_HEADER = struct.Struct("<BxHII4x")
_MESSAGE = struct.Struct("<HHB3x")
_TREE = struct.Struct("<4sBBH16x")
_NODE = struct.Struct("<4sBxH")
_HEAP = struct.Struct("<4s4xQQQ")
_LARGEST_TYPE = 0x20
_CACHED_GROUP = 1


@dataclass(frozen=True, slots=True)
class Message:
    """One message of an object header."""

    kind: int
    at: int
    """Address of its data."""
    data: bytes


@dataclass(frozen=True, slots=True)
class Pointer:
    """Eight bytes that say where a structure is."""

    at: int
    """Address of the pointer itself."""
    to: int
    what: What
    owner: int
    """Address of the object header of the group it belongs to; -1 where that is not known."""


@dataclass(slots=True)
class Found:
    """Addresses of everything that looks like a structure."""

    places: dict[What, set[int]] = field(
        default_factory=lambda: {"tree": set(), "node": set(), "heap": set(), "header": set()}
    )


class Structures:
    """Reads structures through a window; what does not parse is None or empty, never an exception."""

    def __init__(self, window: Window, base: int, tick: Callable[[], None] = lambda: None) -> None:
        self.window = window
        self.base = base
        self._tick = tick

    def read(self, address: int, count: int) -> bytes:
        """What the window shows at an address, at most to the end of what exists."""
        at = self.base + address
        if at < 0 or address >= 1 << 62:
            return b""
        return self.window.shown(at, min(count, max(0, self.window.available - at)))

    def messages(self, address: int) -> list[Message] | None:
        """The messages of an object header of version 1; None where the header contradicts itself."""
        raw = self.read(address, _HEADER.size)
        if len(raw) < _HEADER.size or raw[:2] != SIGNATURES["header"] or any(raw[12:]):
            return None
        _, count, links, length = _HEADER.unpack(raw)
        if not 0 < length <= MAX_HEADER_BYTES or count > MAX_MESSAGES or links > MAX_MESSAGES or length % 8:
            return None
        found: list[Message] = []
        blocks = [(address + _HEADER.size, length)]
        for start, size in blocks:
            body = self.read(start, min(size, MAX_HEADER_BYTES))
            place = 0
            while place + _MESSAGE.size <= len(body) and len(found) < count:
                kind, size, _ = _MESSAGE.unpack_from(body, place)
                place += _MESSAGE.size
                data = body[place : place + size]
                if kind > _LARGEST_TYPE or len(data) < size or size % 8:
                    return None
                found.append(Message(kind, start + place, data))
                if kind == CONTINUED and len(data) >= 16 and len(blocks) < MAX_HEADER_BLOCKS:
                    blocks.append((_number(data, 0), _number(data, 8)))
                place += size
        return found if found else None

    def is_dataset(self, address: int) -> bool:
        """Whether an object header has what every dataset has."""
        kinds = {message.kind for message in self.messages(address) or ()}
        return {DATASPACE, DATATYPE, LAYOUT} <= kinds

    def symbol_table(self, address: int) -> Message | None:
        """The message with B-tree and heap address of an old-style group; None for anything else."""
        found = (m for m in self.messages(address) or () if m.kind == SYMBOL_TABLE and len(m.data) >= 16)
        return next(found, None)

    def tree(self, address: int) -> tuple[int, list[tuple[int, int]]] | None:
        """Level, and (address of the pointer, address of the child) of a B-tree node of a group."""
        head = self.read(address, _TREE.size)
        if len(head) < _TREE.size:
            return None
        signature, kind, level, used = _TREE.unpack(head)
        if signature != SIGNATURES["tree"] or kind or level > 16 or used > MAX_USED:
            return None
        body = self.read(address + _TREE.size, used * 16 + 8)
        if len(body) < used * 16 + 8:
            return None
        start = address + _TREE.size + 8
        return level, [(start + 16 * n, _number(body, 8 + 16 * n)) for n in range(used)]

    def entries(self, address: int) -> list[tuple[int, int, int, int]] | None:
        """(address of the entry, offset of the name, address of the object, cache type) of a symbol node."""
        head = self.read(address, _NODE.size)
        if len(head) < _NODE.size:
            return None
        signature, version, used = _NODE.unpack(head)
        body = self.read(address + _NODE.size, used * ENTRY_BYTES)
        if signature != SIGNATURES["node"] or version != 1 or used > MAX_USED or len(body) < used * ENTRY_BYTES:
            return None
        start = address + _NODE.size
        places = range(0, used * ENTRY_BYTES, ENTRY_BYTES)
        return [(start + at, _number(body, at), _number(body, at + 8), _number(body, at + 16, 4)) for at in places]

    def is_heap(self, address: int) -> bool:
        """Whether a local heap begins here whose names lie in the file."""
        raw = self.read(address, _HEAP.size)
        if len(raw) < _HEAP.size or raw[:8] != SIGNATURES["heap"] + bytes(4):
            return False
        _, size, _, segment = _HEAP.unpack(raw)
        return int(size) <= self.window.declared and self.base + int(segment + size) <= self.window.declared

    def is_there(self, what: What, address: int) -> bool:
        """Whether a structure of this sort begins at the address and makes sense."""
        if what == "tree":
            return self.tree(address) is not None
        if what == "node":
            return self.entries(address) is not None
        return self.is_heap(address) if what == "heap" else self.messages(address) is not None

    def group_pointers(self, owner: int) -> Iterator[Pointer]:
        """Every pointer of the group whose object header is at `owner`: to its heap, B-tree, nodes and members."""
        message = self.symbol_table(owner)
        if message is None:
            return
        yield Pointer(message.at + 8, _number(message.data, 8), "heap", owner)
        waiting, seen = [Pointer(message.at, _number(message.data, 0), "tree", owner)], set[int]()
        while waiting:
            pointer = waiting.pop()
            yield pointer
            if pointer.to in seen or len(seen) > MAX_FOUND:
                continue
            seen.add(pointer.to)
            if pointer.what == "tree":
                found = self.tree(pointer.to)
                level, children = found if found is not None else (0, [])
                below: What = "tree" if level else "node"
                waiting += [Pointer(at, to, below, owner) for at, to in children]
            else:
                for at, _, header, _ in self.entries(pointer.to) or ():
                    yield Pointer(at + 8, header, "header", owner)

    def pointers_in(self, what: What, address: int) -> list[int]:
        """Addresses of the pointers to the children of a B-tree node or to the members of a symbol node."""
        if what == "tree":
            found = self.tree(address)
            return [at for at, _ in found[1]] if found is not None else []
        return [entry[0] + 8 for entry in self.entries(address) or ()]

    def cached(self, entry: int) -> tuple[int, int] | None:
        """B-tree and heap address a parent's entry keeps of a group, beside the group's own."""
        raw = self.read(entry, ENTRY_BYTES)
        if len(raw) < ENTRY_BYTES or _number(raw, 16, 4) != _CACHED_GROUP:
            return None
        return _number(raw, 24), _number(raw, 32)

    def scan(self) -> Found:
        """Look through the whole window for structures at addresses divisible by 8."""
        import numpy as np

        found = Found()
        marks = {int.from_bytes(SIGNATURES[what], "little"): what for what in SIGNED}
        first = -self.base % 8
        for at in range(first, min(self.window.available, MAX_SCANNED), SCAN_STEP):
            self._tick()
            raw = self.window.shown(at, min(SCAN_STEP + 8, self.window.available - at) // 8 * 8)
            words = np.frombuffer(raw, "<u8")
            low = words.astype("<u4")
            # version 1, a reserved zero, then a link count of less than 65536; next the size, next to four zeros
            heads = ((words & np.uint64(0xFFFF_0000_0000_FFFF)) == 1) & (words >> np.uint64(32) > 0)
            heads[:-1] &= (words[1:] >> np.uint64(32) == 0) & (words[1:] % np.uint64(8) == 0) & (words[1:] > 0)
            hits = heads
            for mark in marks:
                hits = hits | (low == mark)
            for index in np.flatnonzero(hits[: SCAN_STEP // 8]).tolist():
                what: What = marks.get(int(low[index]), "header")
                address = at + index * 8 - self.base
                places = found.places[what]
                if len(places) < MAX_FOUND and self.is_there(what, address):
                    places.add(address)
        return found


def structure_from(window: Window, at: int) -> tuple[int, int] | None:
    """(offset, size) of the first bytes from a window offset on that begin a structure; None where none does."""
    raw = window.shown(at, min(SCAN_STEP, max(0, window.available - at)))
    starts = [raw.find(mark) for mark in (b"TREE", b"SNOD", b"HEAP\0\0\0\0", b"GCOL\x01\0\0\0", b"OHDR\x02")]
    places = [start for start in starts if start >= 0]
    return (at + min(places), 8) if places else None


def _number(data: bytes, at: int, width: int = 8) -> int:
    return int.from_bytes(data[at : at + width], "little")
