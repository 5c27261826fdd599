"""A lenient walk through a binary protobuf of known messages: forward only, through a window, never recursive.

TensorFlow refuses a whole file for one bad byte; here a bad field costs its own message and the walk goes on.
Memory stays at one window and what the gatherer keeps, whatever lengths the file claims.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from itertools import islice

from ckptui.readers.graph_facts import Gatherer, Message
from ckptui.readers.graph_reach import Callees
from ckptui.readers.graph_schema import SCHEMA, Field

WINDOW = 1 << 20
"""Bytes read at a time."""
TEXT_CAP = 1 << 24
"""Longest string that is taken in; longer ones are skipped."""
MAX_DEPTH = 100
"""Nesting protobuf itself refuses beyond."""
DEEP_FIELDS = 500_000
"""Fields walked before what is not kept (attributes, tensors) is skipped unverified."""
MAX_FIELDS = 1_000_000
"""Fields walked before the rest of the section (graph, collections, object graph) is left unread."""
MORE_FIELDS = 50_000
"""Fields each later section may still have: signatures come after the graph."""

MAX_PACKED = 1024
"""Numbers of one packed list that are kept."""
SECTION_DEPTH = 3
"""Nesting level of a meta graph's own fields."""

MAX_CONTENT = 256
"""Bytes of a tensor's values that are kept: those of scalars and of one value a channel."""
CONTENT = "tensor_content"
_SKIP = {1: 8, 5: 4}
_FLOATS = {1: ("fixed64", "<d"), 5: ("fixed32", "<f")}
"""By wire type; the fixed numbers that are kept are all floats."""
_GROUP_START, _GROUP_END = 3, 4
_GROUP = "(group)"
_LONG_NUMBER = re.compile(rb"[\x80-\xff]{10}")

PEEK = 1 << 16
"""Longest attribute whose bytes are looked through for functions before it is walked for them."""
_FUNCTION = re.compile(rb"[RJ\xd2\xca]")
"""The first byte of the tags of `AttrValue.func` and `AttrList.func`, which may be longer than they need be."""

Pread = Callable[[int, int], bytes]


def _numbers(data: bytes) -> Iterator[int]:
    """The base-128 numbers in `data`, which ends with one."""
    value = shift = 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield value & 0xFFFF_FFFF_FFFF_FFFF
            value = shift = 0


class _Bad(Exception):
    """A field that can't be walked over."""


class Walk:
    """One pass over a file's bytes."""

    def __init__(self, pread: Pread, size: int, gatherer: Gatherer, progress: Callable[[int], None] | None) -> None:
        self.pread = pread
        self.size = size
        self.gatherer = gatherer
        self.progress = progress
        self.buffer = b""
        self.base = 0
        self.fields = 0
        # One entry a nesting level: where the message ends, its fields, what is kept of it, and the field it is in.
        self.ends: list[int] = []
        self.tables: list[dict[int, Field]] = []
        self.kept: list[Message | None] = []
        self.inside: list[Field | None] = []

    def run(self, message: str) -> int:
        """Walk the whole file as one `message`; returns how many fields it had."""
        self._push(self.size, SCHEMA[message], self.gatherer.root, None)
        position, limit = 0, MAX_FIELDS
        while self.ends:
            if position >= self.ends[-1]:
                position = self.ends[-1]
                self._pop()
                continue
            self.fields += 1
            if self.fields > limit:
                self.gatherer.complete = False
                if limit >= 2 * MAX_FIELDS:
                    break
                limit = self.fields + MORE_FIELDS
                position = self._leave_section()
                continue
            try:
                position = self._field(position)
            except _Bad as bad:
                self._hurt(position, str(bad))
                position = self.ends[-1]
        return self.fields

    def _field(self, start: int) -> int:
        """Walk over one field, or into it; returns where the next one begins."""
        at = start - self.base
        if not 0 <= at <= len(self.buffer) - 24:
            at = self._fill(start)
        tag, at = self._number(at)
        number, wire = tag >> 3, tag & 7
        if not number or number >> 29:
            raise _Bad(f"field number {number}")
        field = self.tables[-1].get(number)
        if wire == 2:
            length, at = self._number(at)
            return self._length(start, self.base + at, length, field)
        if wire == 0:
            value, at = self._number(at)
            self._within(self.base + at)
            kept = self.kept[-1]
            if kept is not None and field is not None and field.kept and field.scalar == "varint":
                self.gatherer.leaf(kept, field, value)
            return self.base + at
        if wire in _SKIP:
            end = self._within(self.base + at + _SKIP[wire])
            kept = self.kept[-1]
            scalar, form = _FLOATS[wire]
            raw = self.buffer[at : at + _SKIP[wire]]
            if (
                kept is not None
                and field is not None
                and field.kept
                and field.scalar == scalar
                and len(raw) == _SKIP[wire]
            ):
                self.gatherer.leaf(kept, field, struct.unpack(form, raw)[0])
            return end
        return self._group(self.base + at, number, wire)

    def _group(self, position: int, number: int, wire: int) -> int:
        """The start (3) or end (4) of a group: none of these messages has one, but unknown fields may be groups."""
        if wire == _GROUP_START and len(self.ends) < MAX_DEPTH:
            self._push(self.ends[-1], {}, None, Field(number, _GROUP, None, "", False, False))
            return position
        open_group = self.inside[-1]
        if wire != _GROUP_END or open_group is None or (open_group.name, open_group.number) != (_GROUP, number):
            raise _Bad(f"wire type {wire}")
        for level in (self.ends, self.tables, self.kept, self.inside):
            level.pop()
        return position

    def _length(self, start: int, begin: int, length: int, field: Field | None) -> int:
        """A length-delimited field whose payload begins at `begin`."""
        limit = self.ends[-1]
        end = begin + length
        if end > limit:
            name = field.name if field else "a field"
            where = "the file" if limit == self.size else "its message"
            whole = limit == self.size
            lengths = (end, self.size) if whole else (length, limit - begin)
            self._hurt(start, f"{name} of {length} bytes runs off the end of {where}", lengths, whole)
            end = limit
            if field is None or not field.message:
                return end
        if field is None:
            return end
        if field.message:
            return self._enter(start, begin, end, field)
        if field.scalar == "string":
            self._string(start, begin, end, field)
        elif field.scalar == "bytes":
            kept = self.kept[-1]
            most = MAX_CONTENT if field.name == CONTENT else TEXT_CAP
            if kept is not None and field.kept and end - begin <= most and type(kept) is not Callees:
                self.gatherer.leaf(kept, field, self._bytes(begin, end - begin))
        elif field.repeated:
            self._packed(start, begin, end, field)
        return end

    def _packed(self, start: int, begin: int, end: int, field: Field) -> None:
        """Numbers side by side: whole ones, or the message is damaged."""
        if field.scalar == "fixed32" or field.scalar == "fixed64":
            if (end - begin) % (4 if field.scalar == "fixed32" else 8):
                self._hurt(start, f"{field.name}: {end - begin} bytes hold no whole numbers")
            elif (kept := self.kept[-1]) is not None and field.kept and end - begin <= MAX_CONTENT:
                form = _FLOATS[5 if field.scalar == "fixed32" else 1][1]
                raw = self._bytes(begin, end - begin)
                for (value,) in struct.iter_unpack(form, raw) if len(raw) == end - begin else ():
                    self.gatherer.leaf(kept, field, value)
            return
        if begin == end or end - begin > TEXT_CAP or self.fields > DEEP_FIELDS:
            return
        data = self._bytes(begin, end - begin)
        if data[-1] >= 0x80 or _LONG_NUMBER.search(data):
            self._hurt(start, f"{field.name}: a number that does not end")
            return
        kept = self.kept[-1]
        if kept is not None and field.kept:
            for value in islice(_numbers(data), MAX_PACKED):
                self.gatherer.leaf(kept, field, value)

    def _enter(self, start: int, begin: int, end: int, field: Field) -> int:
        parent = self.kept[-1]
        kept = self.gatherer.child(parent, field) if parent is not None else None
        if type(kept) is Callees and field.message == "AttrEntry" and not self._may_call(begin, end):
            kept = None
        if kept is None and self.fields > DEEP_FIELDS:
            self.gatherer.verified = False
            return end
        if len(self.ends) >= MAX_DEPTH:
            self._hurt(start, f"nested deeper than {MAX_DEPTH} messages")
            return end
        self._push(end, SCHEMA[field.message], kept, field)
        return begin

    def _may_call(self, begin: int, end: int) -> bool:
        """Whether an attribute's bytes can name a function."""
        return end - begin > PEEK or _FUNCTION.search(self._bytes(begin, end - begin)) is not None

    def _string(self, start: int, begin: int, end: int, field: Field) -> None:
        kept = self.kept[-1] if field.kept else None
        if end - begin > TEXT_CAP or (kept is None and self.fields > DEEP_FIELDS):
            return
        data = self._bytes(begin, end - begin)
        if kept is None and data.isascii():
            return
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            self._hurt(start, f"{field.name} is no UTF-8")
            text = data.decode("utf-8", "backslashreplace")
        if kept is not None:
            self.gatherer.leaf(kept, field, text)

    def _number(self, at: int) -> tuple[int, int]:
        """The base-128 number that stands at `at` in the buffer, and where the next byte stands."""
        value = shift = 0
        while at < len(self.buffer):
            byte = self.buffer[at]
            at += 1
            if byte < 0x80:
                return (value | byte << shift) & 0xFFFF_FFFF_FFFF_FFFF, at
            value |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63:
                raise _Bad("number longer than 10 bytes")
        raise _Bad("number runs off the end of the file")

    def _within(self, end: int) -> int:
        if end > self.ends[-1]:
            raise _Bad("value runs off the end of its message")
        return end

    def _fill(self, position: int) -> int:
        """Move the window to `position`; returns where that is in it."""
        self.buffer = self.pread(position, min(WINDOW, self.size - position))
        self.base = position
        if self.progress is not None:
            self.progress(position)
        return 0

    def _bytes(self, begin: int, count: int) -> bytes:
        at = begin - self.base
        if at >= 0 and at + count <= len(self.buffer):
            return self.buffer[at : at + count]
        return self.pread(begin, count)

    def _push(self, end: int, table: dict[int, Field], kept: Message | None, field: Field | None) -> None:
        self.ends.append(end)
        self.tables.append(table)
        self.kept.append(kept)
        self.inside.append(field)

    def _pop(self) -> None:
        kept, field = self.kept.pop(), self.inside.pop()
        end = self.ends.pop()
        self.tables.pop()
        if field is not None and field.name == _GROUP:
            self._hurt(end, "a group without its end")
        if kept is not None and field is not None and field.message == "NodeDef":
            self.gatherer.done(kept, field)

    def _leave_section(self) -> int:
        """Give up the part of the meta graph that is being walked; returns where the next one begins."""
        while len(self.ends) > SECTION_DEPTH:
            self._pop()
        return self.ends[-1]

    def _hurt(self, offset: int, reason: str, lengths: tuple[int, int] | None = None, of_file: bool = False) -> None:
        where = ".".join(field.name for field in self.inside if field is not None)
        self.gatherer.hurt(offset, where, reason, lengths, of_file)


def walk_wire(
    pread: Pread, size: int, gatherer: Gatherer, message: str, progress: Callable[[int], None] | None = None
) -> int:
    """Walk `size` bytes as one `message` into `gatherer`; returns the number of fields.

    `progress` is told the offset each time the window moves. Raises only what `pread` raises.
    """
    return Walk(pread, size, gatherer, progress).run(message)


def walk_bytes(data: bytes, message: str) -> Message:
    """What a gatherer keeps of `data`, a small serialized `message`; damage in it is passed over."""
    gatherer = Gatherer()
    walk_wire(lambda offset, count: data[offset : offset + count], len(data), gatherer, message)
    return gatherer.root
