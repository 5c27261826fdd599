"""One message out of the chunks it was split into: `saved_model.cpb` back to the bytes of a saved_model.pb.

The last record says how the others go together: `ChunkMetadata`, `ChunkedMessage`, `ChunkedField`, `FieldIndex` of
TensorFlow's `chunk.proto`. Done on the wire format, without a schema: a path of field numbers, indices and map keys
leads to where a chunk belongs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ckptui.errors import Damaged
from ckptui.readers.riegeli import damaged, read_records
from ckptui.readers.source import Source
from ckptui.readers.wire import FIXED32, FIXED64, LENGTH, VARINT, WireError, encode_uvarint, fields

MAX_FIELDS = 1_000_000
"""Chunked fields of one message."""
MAX_DEPTH = 64
MAX_INDEX = 2_000_000
"""Elements of a repeated field that a path may ask for."""
MERGED_CAP = 1 << 29
"""Bytes of the largest merged message."""

Key = tuple[str, int | bytes]
"""A step of a path: (`field`, number), (`index`, place) or (`key`, the serialized key field of a map entry)."""


@dataclass(slots=True)
class Plan:
    """A ChunkedMessage: a chunk of its own, and the chunks that belong into it."""

    chunk: int | None = None
    parts: list[tuple[list[Key], Plan]] = field(default_factory=list)


@dataclass(slots=True)
class Node:
    """A message that is being put together: its fields in order, parsed only where a path leads."""

    entries: list[list[int | bytes | Node]] = field(default_factory=list)
    """[field number, wire type, value]."""

    def find(self, number: int) -> list[list[int | bytes | Node]]:
        """The occurrences of a field."""
        return [entry for entry in self.entries if entry[0] == number]

    def add(self, number: int, value: bytes | Node = b"") -> list[int | bytes | Node]:
        """A further occurrence of a field."""
        entry: list[int | bytes | Node] = [number, LENGTH, value]
        self.entries.append(entry)
        return entry


def merged_saved_model(path: str, tick: Callable[[int], None] | None = None) -> bytes:
    """The serialized message that a chunked file stands for, at most `MERGED_CAP` bytes.

    Raises:
        Damaged: `graph-damaged` or `unsupported-format`, see `riegeli.read_records`.
        NoSuchPath, ChangedWhileReading: as `Source`.
    """
    with Source(path) as source:
        records = read_records(source, tick)
        source.fence()
    if not records:
        raise damaged(path, "no record", 0)
    try:
        sizes, plan = _metadata(records[-1])
    except WireError as error:
        raise damaged(path, f"its last record does not say how the chunks go together: {error.detail};", 0) from None
    chunks = records[:-1]
    if len(sizes) != len(chunks):
        raise damaged(path, "records that are not as many as it says", 0, expected=len(sizes), found=len(chunks))
    for number, (size, chunk) in enumerate(zip(sizes, chunks, strict=True)):
        if size != len(chunk):
            raise damaged(path, f"record {number} has another size than it says", 0, expected=size, found=len(chunk))
    try:
        merged = _Merger(chunks, tick).message(plan, 0)
    except WireError as error:
        raise damaged(path, f"its chunks do not go together: {error.reason};", 0) from None
    if len(merged) > MERGED_CAP:
        raise Damaged(f"{path}: {len(merged)} bytes", code="unsupported-format")
    return merged


# ---------------------------------------------------------------------- the plan


def _metadata(record: bytes) -> tuple[list[int], Plan]:
    """Sizes of all chunks, and how they go together."""
    sizes: list[int] = []
    plan = Plan()
    for number, kind, value in fields(record):
        if number == 2 and kind == LENGTH and not isinstance(value, int):
            size = 0
            for inner, _, content in fields(value):
                if inner == 2 and isinstance(content, int):
                    size = content
            sizes.append(size)
        elif number == 3 and kind == LENGTH and not isinstance(value, int):
            plan = _plan(bytes(value), 0)
    return sizes, plan


def _plan(data: bytes, depth: int) -> Plan:
    if depth > MAX_DEPTH:
        raise WireError("chunks nested too deep", 0)
    plan = Plan()
    for number, kind, value in fields(data):
        if number == 1 and isinstance(value, int):
            plan.chunk = value
        elif number == 2 and kind == LENGTH and not isinstance(value, int):
            if len(plan.parts) >= MAX_FIELDS:
                raise WireError(f"more than {MAX_FIELDS} chunked fields", 0)
            plan.parts.append(_part(bytes(value), depth))
    return plan


def _part(data: bytes, depth: int) -> tuple[list[Key], Plan]:
    path: list[Key] = []
    plan = Plan()
    for number, kind, value in fields(data):
        if kind != LENGTH or isinstance(value, int):
            continue
        if number == 1:
            path.append(_step(bytes(value)))
        elif number == 3:
            plan = _plan(bytes(value), depth + 1)
    return path, plan


def _step(data: bytes) -> Key:
    """A FieldIndex; an absent value is field or index 0."""
    for number, _, value in fields(data):
        if number == 1 and isinstance(value, int):
            return "field", value
        if number == 3 and isinstance(value, int):
            return "index", value
        if number == 2 and not isinstance(value, int):
            return "key", _map_key(bytes(value))
    raise WireError("a step of a path without a kind", 0)


def _map_key(data: bytes) -> bytes:
    """The key as field 1 of a map entry writes it."""
    for number, kind, value in fields(data):
        if number == 1 and not isinstance(value, int):
            return b"\x0a" + encode_uvarint(len(value)) + bytes(value)
        if kind == VARINT and isinstance(value, int):
            return b"\x08" + encode_uvarint(value)
    raise WireError("a map key without a value", 0)


# ---------------------------------------------------------------------- merging


class _Merger:
    """Puts chunks into messages."""

    def __init__(self, chunks: list[bytes], tick: Callable[[int], None] | None) -> None:
        self._chunks = chunks
        self._tick = tick
        self._used = 0

    def message(self, plan: Plan, depth: int) -> bytes:
        """The serialized message a plan stands for."""
        own = b""
        if plan.chunk is not None:
            if plan.chunk >= len(self._chunks):
                raise WireError(f"chunk {plan.chunk} of {len(self._chunks)}", 0)
            own = self._chunks[plan.chunk]
            self._used += len(own)
            if self._used > MERGED_CAP:
                raise WireError("chunks that are used more than once", 0)
        if not plan.parts:
            return own
        root: Node | None = None
        pieces = [own]
        # a message goes before what belongs into it: its own chunk has places kept for its elements
        for path, part in sorted(plan.parts, key=lambda item: item[0]):
            if self._tick is not None:
                self._tick(self._used)
            content = self.message(part, depth + 1)
            if not path:
                # without a path a chunk is more of the same message
                if root is None:
                    pieces.append(content)
                else:
                    root.entries += _parsed(content).entries
                continue
            if root is None:
                root = _parsed(b"".join(pieces))
            _put(root, path, content)
        return b"".join(pieces) if root is None else _written(root)


def _put(root: Node, path: list[Key], content: bytes) -> None:
    """Put `content` where `path` leads, making what is not there on the way."""
    node, place = root, 0
    while True:
        kind, number = path[place]
        if kind != "field" or not isinstance(number, int) or not number:
            raise WireError("a path that does not begin with a field", 0)
        place += 1
        step = path[place] if place < len(path) else None
        if step is not None and step[0] == "index":
            place += 1
            entry = _element(node, number, step[1])
        elif step is not None and step[0] == "key":
            place += 1
            entry = _of_map(node, number, step[1])
        else:
            known = node.find(number)
            entry = known[-1] if known else node.add(number)
        if place == len(path):
            entry[1:] = [LENGTH, _raw(entry[2]) + content]
            return
        entry[1], entry[2] = LENGTH, _opened(entry[2])
        inner = entry[2]
        assert isinstance(inner, Node)
        node = inner


def _element(node: Node, number: int, index: int | bytes) -> list[int | bytes | Node]:
    if not isinstance(index, int) or index > MAX_INDEX:
        raise WireError(f"element {index!r} of a repeated field", 0)
    known = node.find(number)
    while len(known) <= index:
        known.append(node.add(number))
    return known[index]


def _of_map(node: Node, number: int, key: int | bytes) -> list[int | bytes | Node]:
    """The value of a map entry with this key; made where there is none."""
    assert isinstance(key, bytes)
    wanted = _parsed(key).entries[0]
    for entry in node.find(number):
        opened = _opened(entry[2])
        if any(item == wanted for item in opened.entries):
            entry[2] = opened
            break
    else:
        opened = _parsed(key)
        node.add(number, opened)
    values = opened.find(2)
    return values[-1] if values else opened.add(2)


def _opened(value: int | bytes | Node) -> Node:
    if isinstance(value, Node):
        return value
    if isinstance(value, int):
        raise WireError("a path that leads into a number", 0)
    return _parsed(value)


def _raw(value: int | bytes | Node) -> bytes:
    if isinstance(value, Node):
        return _written(value)
    return b"" if isinstance(value, int) else value


def _parsed(data: bytes) -> Node:
    return Node([[n, kind, value if isinstance(value, int) else bytes(value)] for n, kind, value in fields(data)])


def _written(node: Node) -> bytes:
    out = []
    for number, kind, value in node.entries:
        assert isinstance(number, int)
        assert isinstance(kind, int)
        out.append(encode_uvarint(number << 3 | kind))
        if isinstance(value, int):
            width = {FIXED32: 4, FIXED64: 8}.get(kind)
            out.append(encode_uvarint(value) if width is None else value.to_bytes(width, "little"))
        else:
            body = _raw(value)
            out += [encode_uvarint(len(body)), body]
    return b"".join(out)
