"""What a zip holds and where, and its members' bytes, in bounded memory. Nothing is ever extracted to disk.

The directory is read by the standard library; where it is gone or damaged the local headers are walked, and where it
lies, members are bounded by what they declare. APPNOTE.TXT 6.3.10, sections 4.3 and 4.5.3.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

from ckptui.core.text import safe
from ckptui.errors import Damaged
from ckptui.readers.window import Bytes
from ckptui.readers.zip_headers import (
    CENTRAL_SIGNATURE,
    DEFLATED,
    LOCAL_SIGNATURE,
    MAX_MEMBERS,
    STORED,
    Member,
    find_end,
    local_header,
    settle,
    walk,
)

__all__ = ["DEFLATED", "STORED", "ZIP_ERRORS", "Directory", "Member"]

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
STEP = 1 << 20
TICK_EVERY = 32
FEWER = "its directory names"
"""Begins the reason of a directory that lost members."""


@dataclass(slots=True)
class Directory:
    """The members, in file order; of members with one name the last is the one readers use."""

    members: list[Member]
    complete: bool = True
    """False where the central directory is gone or damaged and local headers had to do."""
    reason: str = ""
    """Why it is not complete, in the standard library's words."""
    duplicates: list[str] = field(default_factory=list)
    behind: dict[int, int] = field(default_factory=dict)
    """Where the bytes of the member with this header must end: at the next header, or at the directory."""

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
            begins = start + opened.start_dir
        if not infos and source.pread(start, min(4, room)) == b"PK\x03\x04":
            raise zipfile.BadZipFile("an empty directory")
    except (*ZIP_ERRORS, Damaged) as error:
        members = list(walk(source, start, start + room))
        if not members:
            told = f"{source.path} is no zip archive: {error}"
            raise Damaged(told, code="zip-damaged", evidence={"file": source.path}) from None
        return Directory(members, complete=False, reason=str(error))
    listed = _more_than_listed(source, start, start + room, [start + info.header_offset for info in infos])
    if listed:
        return Directory(listed, complete=False, reason=f"{FEWER} {len(infos)} of {len(listed)} members")
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
    headers = sorted({*(member.header for member in members), begins})
    twice = sorted(name for name, count in counted.items() if count > 1)
    return Directory(members, duplicates=twice, behind=dict(pairwise(headers)))


def _more_than_listed(source: Bytes, start: int, end: int, headers: list[int]) -> list[Member]:
    """The members by their own headers where the directory lost some: the end record counts more than it lists."""
    record = find_end(source, start, end)
    if record is None or record.entries in (len(headers), 0xFFFF) or not headers:
        return []
    first = start if start in headers or min(headers) < start else min(headers)
    walked = list(walk(source, first, end))
    return walked if len(walked) > len(headers) else []


def locate(source: Bytes, member: Member, behind: int = -1) -> Member:
    """The member with the position of its bytes and what its local header says differently.

    `behind` is where its bytes must end, if that is known. Raises Damaged where there is no local header.
    """
    if member.data >= 0:
        return member
    try:
        found = local_header(source, member.header, source.size)
        lost = found is None
        if found is None:
            # One damaged byte in the signature leaves the rest of the header as it was.
            found = local_header(source, member.header, source.size, strict=False)
            found = found if found is not None and found.name == member.name else None
    except Damaged:
        found = None
    if found is None:
        raise _damaged(source, member, f"no local header at {member.header}")
    settled = settle(member, found, behind)
    data = settled.data
    if data + settled.stored > behind >= 0 and _is_header(source, behind):
        # A damaged name or extra length in the local header moves where the bytes seem to begin.
        begins = behind - settled.stored
        if begins >= member.header + 30:
            data = begins
            settled = replace(settled, differs={**settled.differs, "data": (begins, found.data)})
    if lost:
        settled = replace(settled, differs={**settled.differs, "signature": ("PK\\x03\\x04", "other bytes")})
    available = min(settled.stored, max(0, source.size - data))
    if (settled.data, settled.available) == (data, available):
        return settled
    return replace(settled, data=data, available=available)


def _is_header(source: Bytes, at: int) -> bool:
    """Whether a member or the directory really begins there: a damaged directory may say so of any place."""
    return at + 4 <= source.size and source.pread(at, 4) in (LOCAL_SIGNATURE, CENTRAL_SIGNATURE)


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
    if crc != member.crc32 and not member.unfinished:
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


def _damaged(source: Bytes, member: Member, what: str, found: int | None = None) -> Damaged:
    facts: dict[str, object] = {"file": source.path, "member": member.name, "offset": member.header}
    if found is not None:
        facts |= {"expected": member.size, "found": found, "bytes_missing": member.size - found}
    return Damaged(f"{safe(member.name, 120)}: {what}", code="zip-damaged", evidence=facts)
