"""The headers of a zip archive read byte by byte: local ones, end record, and where the two directories disagree.

APPNOTE.TXT 6.3.10, sections 4.3.7 (local header), 4.3.12 (central directory), 4.3.16 (end record), 4.5.3 (zip64).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from ckptui.errors import Damaged
from ckptui.readers.window import Bytes

STORED, DEFLATED = 0, 8
ENCRYPTED = 1
SIZES_FOLLOW = 8
"""Flag: sizes and checksum stand behind the data, the header has zeros."""
MAX_MEMBERS = 200_000
CENTRAL_BYTES = 46
"""Of a central directory's entry, without its name."""
END_BYTES = 22
"""Of the end record, without a comment."""
END_SIGNATURE = b"PK\x05\x06"
CENTRAL_SIGNATURE = b"PK\x01\x02"
LOCAL_SIGNATURE = b"PK\x03\x04"

_LOCAL = struct.Struct("<4s5H3I2H")
_END = struct.Struct("<4s4H2IH")
_ZIP64 = 1
_UNKNOWN = 0xFFFFFFFF
_UTF8 = 0x800
_MAX_COMMENT = 0xFFFF
_METHODS = {
    9: "deflate64",
    12: "bzip2",
    14: "LZMA",
    93: "zstd",
    95: "xz",
}
"""Methods other archivers use; Keras writes 0 (stored) only."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file inside the archive."""

    name: str
    method: int
    flags: int
    crc32: int
    stored: int
    """Bytes it takes in the archive; for a cut-off one, as declared."""
    size: int
    """Bytes it has once unpacked."""
    header: int
    """Position of its local header."""
    data: int = -1
    """Position of its bytes; -1 until `locate` has looked at the local header."""
    available: int = -1
    """Bytes that are really there."""
    unfinished: bool = False
    """Its local header was never completed: sizes and checksum are not to be had."""
    differs: Mapping[str, tuple[object, object]] = field(default_factory=dict)
    """What directory and local header say differently: field to (directory, header)."""

    @property
    def problem(self) -> str:
        """Why its bytes can't be used at all; empty if nothing speaks against it."""
        if self.flags & ENCRYPTED:
            return "it is encrypted"
        if self.method not in (STORED, DEFLATED):
            known = f" ({_METHODS[self.method]})" if self.method in _METHODS else ""
            return f"compression method {self.method}{known} is neither stored nor deflated"
        return ""

    @property
    def foreign(self) -> bool:
        """Whether it is compressed in a way that exists but is not read here: no damage."""
        return self.method in _METHODS


@dataclass(frozen=True, slots=True)
class End:
    """The end record."""

    at: int
    """Its position in the archive's bytes."""
    entries: int
    directory_bytes: int
    directory_at: int
    """As it says; what stands before the archive shifts it."""


def local_header(source: Bytes, at: int, end: int, *, strict: bool = True) -> Member | None:
    """The member whose local header is at `at`; None where none is. `strict` False does without the signature."""
    if at < 0 or at + _LOCAL.size > end:
        return None
    fields = _LOCAL.unpack(source.pread(at, _LOCAL.size))
    signature, _, flags, method, _, _, crc, stored, size, name_length, extra_length = fields
    if strict and signature != LOCAL_SIGNATURE:
        return None
    data = at + _LOCAL.size + name_length + extra_length
    if data > end:
        return None
    raw = source.pread(at + _LOCAL.size, name_length + extra_length)
    name = raw[:name_length].decode("utf-8" if flags & _UTF8 else "cp437", "surrogateescape")
    # The directory's names end at a NUL: what the standard library does to them.
    name = name.partition("\0")[0]
    if _UNKNOWN in (stored, size):
        stored, size = _wide_sizes(raw[name_length:], stored, size)
    return Member(name, method, flags, crc, stored, size, at, data, min(stored, end - data))


def walk(source: Bytes, start: int, end: int) -> Iterator[Member]:
    """Members found by going from local header to local header, from `start` on; the last may be cut off."""
    at = start
    for _ in range(MAX_MEMBERS):
        try:
            member = local_header(source, at, end)
        except Damaged:
            return
        if member is None:
            return
        member = _unfinished(source, member, end)
        yield member
        if member.unfinished or member.available < member.stored:
            return
        at = member.data + member.stored


def _unfinished(source: Bytes, member: Member, end: int) -> Member:
    """The member as it was meant where its writer was stopped before it came back to complete the header."""
    if member.stored or member.crc32 or member.data >= end or source.pread(member.data, 2) == b"PK":
        return member
    room = end - member.data
    # A file added whole has its size in the header from the beginning, a stream has not.
    size = member.size if member.size and member.method == STORED else room
    return replace(member, stored=size, size=size, available=min(size, room), unfinished=True)


def find_end(source: Bytes, start: int, end: int) -> End | None:
    """The last end record in the bytes from `start` to `end`; None where there is none."""
    reach = min(end - start, END_BYTES + _MAX_COMMENT)
    tail = source.pread(end - reach, reach)
    place = tail.rfind(END_SIGNATURE)
    if place < 0 or place + END_BYTES > len(tail):
        return None
    _, _, _, _, entries, size, offset, _ = _END.unpack_from(tail, place)
    return End(end - reach + place, entries, size, offset)


def settle(member: Member, found: Member, behind: int) -> Member:
    """The directory's `member` with what its local header `found` says, and a note of each disagreement.

    `behind` is where the next member's header or the directory begins: of two sizes the one that ends there is taken.
    """
    mine = (member.name, member.method, member.flags, member.crc32, member.stored, member.size)
    if mine == (found.name, found.method, found.flags, found.crc32, found.stored, found.size):
        return replace(member, data=found.data, available=found.available)
    follow = bool(found.flags & SIZES_FOLLOW)
    pairs = {"name": (member.name, found.name), "method": (member.method, found.method)}
    pairs["flags"] = (member.flags, found.flags)
    if not (follow and not found.crc32):
        pairs["crc32"] = (member.crc32, found.crc32)
    if not (follow and not found.stored and not found.size):
        pairs["stored"] = (member.stored, found.stored)
        pairs["size"] = (member.size, found.size)
    differs = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    data = found.data
    if not differs:
        return replace(member, data=data, available=found.available)
    stored, size, method = member.stored, member.size, member.method
    if "stored" in differs and data + stored != behind and data + found.stored == behind:
        stored = found.stored
    if "method" in differs:
        method = STORED if size == stored or found.size == stored else DEFLATED
    if method == STORED:
        size = stored
    elif "size" in differs and size < stored // 2000:
        size = found.size
    flags = member.flags & found.flags if "flags" in differs else member.flags
    return replace(member, method=method, flags=flags, stored=stored, size=size, data=data, differs=differs)


def _wide_sizes(extra: bytes, stored: int, size: int) -> tuple[int, int]:
    """Sizes from the zip64 extra field where the header's own are full."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == _ZIP64:
            values = [
                int.from_bytes(extra[i : i + 8], "little")
                for i in range(at + 4, min(at + 4 + length, len(extra)) - 7, 8)
            ]
            if size == _UNKNOWN and values:
                size = values.pop(0)
            if stored == _UNKNOWN and values:
                stored = values.pop(0)
            break
        at += 4 + length
    return stored, size
