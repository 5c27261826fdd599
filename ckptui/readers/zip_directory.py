"""What a zip holds and where, and its members' bytes, in bounded memory. Nothing is ever extracted to disk.

The directory is read by the standard library; where it is gone (a cut-off file) the local headers are walked, and
where it lies, members are bounded by what they declare. APPNOTE.TXT 6.3.10, sections 4.3 and 4.5.3.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from ckptui.core.text import safe
from ckptui.errors import Damaged
from ckptui.readers.window import Bytes

ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OSError,
    ValueError,
    struct.error,
    LookupError,
)
"""What `zipfile` raises for damaged archives (5,652 mutants tried); struct.error and KeyError besides."""

MAX_DIRECTORY_BYTES = 16 << 20
MAX_MEMBERS = 200_000
STEP = 1 << 20
TICK_EVERY = 32
STORED, DEFLATED = 0, 8
_LOCAL = struct.Struct("<4s5H3I2H")
_LOCAL_SIGNATURE = b"PK\x03\x04"
_ZIP64 = 1
_UNKNOWN = 0xFFFFFFFF
_ENCRYPTED = 1
_SIZES_FOLLOW = 8
_UTF8 = 0x800


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

    @property
    def problem(self) -> str:
        """Why its bytes can't be used at all; empty if nothing speaks against it."""
        if self.flags & _ENCRYPTED:
            return "it is encrypted"
        if self.method not in (STORED, DEFLATED):
            return f"compression method {self.method} is neither stored nor deflated"
        return ""


@dataclass(slots=True)
class Directory:
    """The members, in file order; of members with one name the last is the one readers use."""

    members: list[Member]
    complete: bool = True
    """False where the central directory is gone and local headers had to do."""
    reason: str = ""
    """Why it is not complete."""
    duplicates: list[str] = field(default_factory=list)

    def find(self, name: str) -> Member | None:
        """The last member called `name`."""
        return next((m for m in reversed(self.members) if m.name == name), None)


class _Bounded:
    """The few file methods `zipfile` needs to read a directory, with a cap on every read."""

    def __init__(self, source: Bytes, start: int, length: int) -> None:
        self._source = source
        self._start = start
        self._length = length
        self._at = 0

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        base = (0, self._at, self._length)[whence]
        if base + offset < 0:
            raise ValueError("a position before the start")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, count: int = -1) -> bytes:
        rest = max(0, self._length - self._at)
        wanted = rest if count < 0 else min(count, rest)
        if wanted > MAX_DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"a directory of {wanted} bytes")
        data = self._source.pread(self._start + self._at, wanted)
        self._at += wanted
        return data


def read_directory(source: Bytes, start: int = 0, length: int | None = None) -> Directory:
    """The members of the zip in `length` bytes from `start`.

    Raises Damaged (`zip-damaged`) where there is neither a central directory nor a single local header.
    """
    room = source.size - start if length is None else length
    try:
        with zipfile.ZipFile(_Bounded(source, start, room)) as opened:
            infos = opened.infolist()
    except (*ZIP_ERRORS, Damaged) as error:
        members = list(_local_headers(source, start, room))
        if not members:
            told = f"{source.path} is no zip archive: {error}"
            raise Damaged(told, code="zip-damaged", evidence={"file": source.path}) from None
        return Directory(members, complete=False, reason=str(error))
    members = [
        Member(
            info.filename,
            info.compress_type,
            info.flag_bits,
            info.CRC,
            info.compress_size,
            info.file_size,
            start + info.header_offset,
        )
        for info in infos[:MAX_MEMBERS]
    ]
    counted = Counter(member.name for member in members)
    return Directory(members, duplicates=sorted(name for name, count in counted.items() if count > 1))


def locate(source: Bytes, member: Member) -> Member:
    """The member with the position of its bytes, from its local header; raises Damaged where that is wrong."""
    if member.data >= 0:
        return member
    try:
        found = _local_header(source, member.header, source.size)
    except Damaged:
        found = None
    if found is None:
        raise _damaged(source, member, f"no local header at {member.header}")
    if found.name != member.name:
        raise _damaged(source, member, f"its local header names {safe(found.name, 80)}")
    room = max(0, source.size - found.data)
    return replace(member, data=found.data, available=min(member.stored, room))


def stream(source: Bytes, member: Member) -> Iterator[bytes | memoryview]:
    """The member's unpacked bytes in pieces of at most STEP, never more than it declares.

    Raises Damaged when they end early, go on beyond the declared size, or are no deflate stream.
    """
    member = locate(source, member)
    if member.problem:
        raise _damaged(source, member, member.problem)
    pieces = _stored(source, member) if member.method == STORED else _inflated(source, member)
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > member.size:
            raise _damaged(source, member, f"it holds more than the {member.size} bytes it declares")
        yield piece
    if total < member.size:
        raise _damaged(source, member, f"it ends after {total} of {member.size} bytes", found=total)


def _stored(source: Bytes, member: Member) -> Iterator[memoryview]:
    if member.available:
        yield from source.stream(member.data, member.available, STEP)


def _inflated(source: Bytes, member: Member) -> Iterator[bytes]:
    machine = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for piece in _stored(source, member):
            rest = bytes(piece)
            while rest and not machine.eof:
                out = machine.decompress(rest, STEP)
                rest = machine.unconsumed_tail
                if out:
                    yield out
    except zlib.error as error:
        raise _damaged(source, member, f"its deflate stream is damaged: {error}") from None


def read_member(source: Bytes, member: Member, cap: int) -> tuple[bytes, str]:
    """A member's bytes as far as they go, and what is wrong with them (empty if they are whole and verified).

    Never takes more than `cap` bytes of memory: a member that declares more gives nothing.
    """
    if member.size > cap:
        return b"", f"it declares {member.size} bytes, at most {cap} are read"
    parts: list[bytes] = []
    crc = 0
    try:
        for piece in stream(source, member):
            parts.append(bytes(piece))
            crc = zlib.crc32(piece, crc)
    except Damaged as error:
        return b"".join(parts), error.detail.partition(": ")[2] or error.detail
    if crc != member.crc32:
        return b"".join(parts), f"its CRC-32 is {crc:08x}, the archive says {member.crc32:08x}"
    return b"".join(parts), ""


def checksum(source: Bytes, member: Member, tick: Callable[[], None] | None = None) -> int:
    """CRC-32 of the member's bytes, in one streaming pass with `tick` now and then; raises as `stream` does."""
    crc = 0
    for number, piece in enumerate(stream(source, member)):
        crc = zlib.crc32(piece, crc)
        if tick is not None and number % TICK_EVERY == 0:
            tick()
    return crc


def leaves_folder(name: str) -> bool:
    """Whether unpacking a member of this name could write outside the target folder."""
    parts = re.split(r"[/\\]", name)
    return name.startswith(("/", "\\")) or ".." in parts or bool(re.match(r"[A-Za-z]:", name))


def _local_headers(source: Bytes, start: int, room: int) -> Iterator[Member]:
    """Members found by going from local header to local header, from the first byte on."""
    at = start
    for _ in range(MAX_MEMBERS):
        try:
            member = _local_header(source, at, start + room)
        except Damaged:
            return
        if member is None:
            return
        yield member
        if member.available < member.stored or (member.flags & _SIZES_FOLLOW and not member.stored):
            return
        at = member.data + member.stored


def _local_header(source: Bytes, at: int, end: int) -> Member | None:
    if at < 0 or at + _LOCAL.size > end:
        return None
    fields = _LOCAL.unpack(source.pread(at, _LOCAL.size))
    signature, _, flags, method, _, _, crc, stored, size, name_length, extra_length = fields
    if signature != _LOCAL_SIGNATURE:
        return None
    data = at + _LOCAL.size + name_length + extra_length
    if data > end:
        return None
    raw = source.pread(at + _LOCAL.size, name_length + extra_length)
    name = raw[:name_length].decode("utf-8" if flags & _UTF8 else "cp437", "surrogateescape")
    # The directory's names end at a NUL and use forward slashes: what the standard library does to them.
    name = name.partition("\0")[0]
    if _UNKNOWN in (stored, size):
        stored, size = _wide_sizes(raw[name_length:], stored, size)
    if not stored and not size and data < end and source.pread(data, 2) != b"PK":
        # A writer that was stopped had not come back to fill in the sizes: what is there belongs to this member.
        stored = size = end - data
    return Member(name, method, flags, crc, stored, size, at, data, min(stored, end - data))


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


def _damaged(source: Bytes, member: Member, what: str, found: int | None = None) -> Damaged:
    facts: dict[str, object] = {"file": source.path, "member": member.name, "offset": member.header}
    if found is not None:
        facts |= {"expected": member.size, "found": found, "bytes_missing": member.size - found}
    return Damaged(f"{safe(member.name, 120)}: {what}", code="zip-damaged", evidence=facts)
