"""A tolerant walk through a text-format protobuf of known messages, into the same gatherer as the binary walk.

Grammar: protobuf's "Text Format Language Specification". Unknown fields are skipped with what they hold; the first
place that is no text proto ends the walk, and what was read before it stands.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable

from ckptui.readers.graph_facts import Gatherer, Message
from ckptui.readers.graph_schema import BY_NAME, DT_NAMES, Field

TEXT_CAP = 1 << 26
"""Bytes of the largest text graph that is read."""
MAX_DEPTH = 100
MAX_TOKENS = 2_000_000
"""Fields after which the rest of a text graph is left unread."""
NO_FIELD = "a SavedModel has no field "
_TOLD_EVERY = 50_000

_SKIP = re.compile(rb"(?:[\s,;]+|\#[^\n]*)*")
_NAME = re.compile(rb"[A-Za-z_][A-Za-z0-9_]*|\[[^\]\n]*\]")
_STRING = re.compile(rb"\"((?:[^\"\\\n]|\\.)*)\"|'((?:[^'\\\n]|\\.)*)'")
_WORD = re.compile(rb"-?\s*[A-Za-z0-9_.+]+(?:[eE][-+]?[0-9]+)?")
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_LETTERS = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}
_BRACKETS = {b"{": b"}", b"<": b">"}


class _Syntax(Exception):
    """Not a text proto from `position` on."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(reason)
        self.position = position
        self.reason = reason


class _Walk:
    def __init__(self, data: bytes, gatherer: Gatherer, progress: Callable[[int], None] | None) -> None:
        self.data = data
        self.gatherer = gatherer
        self.progress = progress
        # One entry a nesting level: fields by name (None inside the unknown), what is kept, closing bracket.
        self.tables: list[dict[str, Field] | None] = []
        self.kept: list[Message | None] = []
        self.inside: list[Field | None] = []
        self.closing: list[bytes] = []

    def run(self, message: str) -> None:
        self._push(BY_NAME[message], self.gatherer.root, None, b"")
        position, count = 0, 0
        try:
            while True:
                position = self._skip(position)
                if position >= len(self.data):
                    if len(self.closing) > 1:
                        raise _Syntax(position, "the text ends inside a message")
                    return
                if self.data[position : position + 1] == self.closing[-1]:
                    self._pop()
                    position += 1
                    continue
                count += 1
                if count > MAX_TOKENS:
                    self.gatherer.complete = False
                    return
                if self.progress is not None and not count % _TOLD_EVERY:
                    self.progress(position)
                position = self._field(position)
        except _Syntax as wrong:
            where = ".".join(field.name for field in self.inside if field is not None)
            self.gatherer.hurt(wrong.position, where, wrong.reason)
            while len(self.closing) > 1:
                self._pop()

    def _field(self, position: int) -> int:
        found = _NAME.match(self.data, position)
        if found is None:
            raise _Syntax(position, "no field name")
        table = self.tables[-1]
        field = table.get(found[0].decode("ascii", "replace")) if table is not None else None
        if field is None and len(self.closing) == 1:
            name = found[0].decode("ascii", "replace")[:40]
            self.gatherer.hurt(position, "", NO_FIELD + name)
        position = self._skip(found.end())
        colon = self.data[position : position + 1] == b":"
        if colon:
            position = self._skip(position + 1)
        first = self.data[position : position + 1]
        if first in _BRACKETS:
            return self._enter(position + 1, first, field)
        if not colon:
            raise _Syntax(position, "neither a value nor a message")
        if first == b"[":
            return self._list(position + 1, field)
        return self._value(position, field)

    def _list(self, position: int, field: Field | None) -> int:
        """`[1, 2]`; a list of messages is read as those messages, its brackets as blanks."""
        while True:
            position = self._skip(position)
            first = self.data[position : position + 1]
            if first == b"]":
                return position + 1
            if first in _BRACKETS:
                raise _Syntax(position, "a list of messages")
            position = self._value(position, field)

    def _enter(self, position: int, bracket: bytes, field: Field | None) -> int:
        if len(self.closing) >= MAX_DEPTH:
            raise _Syntax(position, f"nested deeper than {MAX_DEPTH} messages")
        parent = self.kept[-1]
        kept = None
        if field is not None and field.message and parent is not None:
            kept = self.gatherer.child(parent, field)
        table = BY_NAME[field.message] if field is not None and field.message else None
        self._push(table, kept, field, _BRACKETS[bracket])
        return position

    def _value(self, position: int, field: Field | None) -> int:
        kept = self.kept[-1]
        wanted = field is not None and field.kept and field.scalar is not None and kept is not None
        pieces: list[bytes] = []
        start = position
        found = _STRING.match(self.data, position)
        while found is not None:
            position = found.end()
            if wanted:
                pieces.append(found[1] if found[1] is not None else found[2])
            found = _STRING.match(self.data, self._skip(position))
        if position == start:
            word = _WORD.match(self.data, position)
            if word is None:
                raise _Syntax(position, "no value")
            position = word.end()
            pieces.append(word[0])
        if wanted and field is not None and kept is not None:
            self._leaf(kept, field, start, pieces)
        return position

    def _leaf(self, kept: Message, field: Field, start: int, pieces: list[bytes]) -> None:
        if field.scalar in ("string", "bytes"):
            raw = b"".join(_ESCAPE.sub(_unescape, piece) for piece in pieces)
            text = raw if field.scalar == "bytes" else raw.decode("utf-8", "backslashreplace")
            self.gatherer.leaf(kept, field, text)
            return
        if field.scalar in ("fixed32", "fixed64"):
            with contextlib.suppress(ValueError):
                self.gatherer.leaf(kept, field, float(b"".join(pieces).decode("ascii", "replace").rstrip("fF")))
            return
        number = _number(b"".join(pieces).decode("ascii", "replace"))
        if number is None:
            self.gatherer.hurt(start, field.name, "no number")
        else:
            self.gatherer.leaf(kept, field, number)

    def _skip(self, position: int) -> int:
        found = _SKIP.match(self.data, position)
        return found.end() if found else position

    def _push(self, table: dict[str, Field] | None, kept: Message | None, field: Field | None, closing: bytes) -> None:
        self.tables.append(table)
        self.kept.append(kept)
        self.inside.append(field)
        self.closing.append(closing)

    def _pop(self) -> None:
        kept, field = self.kept.pop(), self.inside.pop()
        self.tables.pop()
        self.closing.pop()
        if kept is not None and field is not None:
            self.gatherer.done(kept, field)


def walk_text(data: bytes, gatherer: Gatherer, message: str, progress: Callable[[int], None] | None = None) -> None:
    """Walk a text proto as one `message` into `gatherer`; `progress` is told the offset now and then."""
    _Walk(data, gatherer, progress).run(message)


def _unescape(found: re.Match[bytes]) -> bytes:
    octal, hexadecimal, short, long, letter = found.groups()
    if octal:
        return bytes([int(octal, 8) & 0xFF])
    if hexadecimal:
        return bytes([int(hexadecimal, 16)])
    if short or long:
        code = int(short or long, 16)
        return chr(code).encode("utf-8", "replace") if code < 0x110000 else b"?"
    return _LETTERS.get(letter, letter)


def _number(word: str) -> int | None:
    """An integer, a boolean or a DataType name as a field's number; None for anything else."""
    bare = word.replace(" ", "")
    if bare in ("true", "True", "t"):
        return 1
    if bare in ("false", "False", "f"):
        return 0
    if bare.startswith("DT_"):
        base = bare.removesuffix("_REF")
        if base in DT_NAMES:
            return DT_NAMES.index(base) + (100 if base != bare else 0)
        return None
    enumerated = {"LEGACY": 0, "V1": 1, "V2": 2}.get(bare)
    if enumerated is not None:
        return enumerated
    try:
        value = int(bare, 0) if len(bare) < 40 else 0
    except ValueError:
        return None
    return value % (1 << 64)
