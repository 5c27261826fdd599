"""Giving a group its names back when the heap that holds them is cut off or zero-filled.

Old-style groups (what Keras writes) keep their links in a B-tree of symbol nodes and the links' names in a local heap
that moves towards the end of the file as the group grows. Names are laid down in the order the links were made, each
padded to 8 bytes: model order or, in later versions of Keras, sorted. So the names Keras' own attributes promise must
lie at offsets that can be computed, and a symbol node lists its links sorted by name. Names are given back only where
exactly one order fits both.

HDF5 File Format Specification, III.A.1 (B-trees), III.B (symbol nodes), III.D (local heap), IV.A.1.a (object header).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from ckptui.readers.window import Window

MAX_NODES = 20_000
MAX_PROMISED = 200_000
MAX_HEADER_BLOCKS = 64
MAX_SEGMENT_BYTES = 16 << 20
_HEADER = struct.Struct("<BxHII4x")
_MESSAGE = struct.Struct("<HHB3x")
_TREE = struct.Struct("<4sBBH16x")
_NODE = struct.Struct("<4sBxH")
_HEAP = struct.Struct("<4s4xQQQ")
_ENTRY_BYTES = 40
_PAIR = struct.Struct("<2Q")
_SYMBOL_TABLE, _CONTINUED = 0x11, 0x10
_FIRST_NAME = 8
"""Offset of the first name: the heap begins with an empty string."""


def restore_names(window: Window, base: int, header: int, promised: Sequence[bytes]) -> bool:
    """Write the promised names over the lost heap of the group whose object header is at `header`.

    Addresses count from `base`. False, and nothing changed, unless every surviving link fits a promised name.
    """
    found = _symbol_table(window, base, base + header)
    if found is None:
        return False
    tree, heap = (base + address for address in found)
    raw = window.raw(heap, _HEAP.size)
    if len(raw) < _HEAP.size or raw[:4] != b"HEAP":
        return False
    _, size, _, segment = _HEAP.unpack(raw)
    segment += base
    if size > MAX_SEGMENT_BYTES:
        return False
    nodes = _link_offsets(window, base, tree)
    there = window.raw(segment, size)
    if not nodes or any(there[offset : offset + 1].strip(b"\0") for node in nodes for offset in node):
        return False
    # Keras 3 sorts the layers and puts a group of its own behind them.
    orders = [promised, sorted(promised), [*sorted(promised[:-1]), *promised[-1:]]]
    fitting = [names for names in (_laid_out(order, size) for order in orders) if fit(nodes, names)]
    readings = {tuple(names[offset] for node in nodes for offset in node) for names in fitting}
    if len(readings) != 1:
        return False
    content = bytearray(size)
    for offset, name in fitting[-1].items():
        content[offset : offset + len(name)] = name
    window.patch(segment, bytes(content))
    return True


def fit(nodes: Sequence[Sequence[int]], names: Mapping[int, bytes]) -> bool:
    """Whether every link has a name, and the links of each node are sorted by it."""
    for node in nodes:
        found = [names.get(offset, b"") for offset in node]
        if not all(found) or any(a >= b for a, b in pairwise(found)):
            return False
    return True


def _laid_out(promised: Iterable[bytes], size: int) -> dict[int, bytes]:
    """Where each name stands in a heap it was put into in this order."""
    names: dict[int, bytes] = {}
    at = _FIRST_NAME
    for name, _ in zip(promised, range(MAX_PROMISED), strict=False):
        end = at + (len(name) // 8 + 1) * 8
        if end > size:
            break
        names[at] = name
        at = end
    return names


def _symbol_table(window: Window, base: int, at: int) -> tuple[int, int] | None:
    """B-tree and heap addresses from an object header of version 1; None where it has none."""
    raw = window.raw(at, _HEADER.size)
    if len(raw) < _HEADER.size:
        return None
    version, _, _, length = _HEADER.unpack(raw)
    if version != 1:
        return None
    blocks = [(at + _HEADER.size, length)]
    for start, size in blocks:
        for kind, data in _messages(window.raw(start, min(size, 1 << 20))):
            if len(data) < _PAIR.size or kind not in (_SYMBOL_TABLE, _CONTINUED):
                continue
            first, second = _PAIR.unpack_from(data)
            if kind == _SYMBOL_TABLE:
                return first, second
            if len(blocks) < MAX_HEADER_BLOCKS:
                blocks.append((base + first, second))
    return None


def _messages(body: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, data) of the messages in one block of an object header."""
    place = 0
    while place + _MESSAGE.size <= len(body):
        kind, size, _ = _MESSAGE.unpack_from(body, place)
        place += _MESSAGE.size
        yield kind, body[place : place + size]
        place += size


def _link_offsets(window: Window, base: int, tree: int) -> list[list[int]]:
    """For each symbol node that survives, the heap offsets of its links' names."""
    nodes: list[list[int]] = []
    waiting, seen = [tree], {tree}
    while waiting and len(seen) < MAX_NODES:
        at = waiting.pop()
        head = window.raw(at, _TREE.size)
        if head[:4] == b"SNOD" and len(head) >= _NODE.size:
            _, _, used = _NODE.unpack(head[: _NODE.size])
            body = window.raw(at + _NODE.size, used * _ENTRY_BYTES)
            whole = range(0, len(body) - _ENTRY_BYTES + 1, _ENTRY_BYTES)
            nodes.append([int.from_bytes(body[i : i + 8], "little") for i in whole])
        elif head[:4] == b"TREE" and len(head) == _TREE.size:
            _, kind, _, used = _TREE.unpack(head)
            body = window.raw(at + _TREE.size, used * 16) if kind == 0 else b""
            for i in range(8, len(body) - 7, 16):
                child = base + int.from_bytes(body[i : i + 8], "little")
                if child not in seen:
                    seen.add(child)
                    waiting.append(child)
    return [node for node in nodes if node]
