"""What became of a zip archive: cut off, never finished, zeros at its end, a damaged directory, a mangled copy.

Each cause is told by what it leaves: a cut archive is shorter than its own headers add up to, one with zeros at its
end or with a damaged directory is not. APPNOTE.TXT 6.3.10, 4.3; CRC-32 as in 4.4.7.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ckptui.core.text import human_bytes, safe
from ckptui.errors import Damaged
from ckptui.readers import mangled
from ckptui.readers.mangled import Mangling
from ckptui.readers.window import Bytes, Memory
from ckptui.readers.zeros import trailing_zeros
from ckptui.readers.zip_directory import FEWER, ZIP_ERRORS, Directory, locate, read_directory, stream
from ckptui.readers.zip_headers import (
    CENTRAL_BYTES,
    CENTRAL_SIGNATURE,
    END_BYTES,
    Member,
    find_end,
)

ZERO_TAIL = 64
"""Zeros an archive must end in to be called zero-filled: its end record alone has 22 bytes, some of them zero."""
MAX_UNDONE = 256 << 20
"""Largest mangled copy that is taken back in memory."""
SAMPLE = 1 << 20
SAMPLE_OF_ZEROS = 4096
MAX_PROVED = 64
"""Members whose checksums prove that a mangled copy was taken back."""

Cause = Literal["cut", "unfinished", "zeros", "directory"]


@dataclass(frozen=True, slots=True)
class Broken:
    """Why an archive has no directory, and what its headers say about the rest."""

    cause: Cause
    detail: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    usable: int = -1
    """Bytes of the file that can be trusted to be what was written; -1 for all that are there."""


def what_broke(source: Bytes, directory: Directory, start: int = 0) -> Broken:
    """The cause of an archive without a directory; `directory` holds what its local headers gave."""
    last = directory.members[-1]
    ends = last.data + last.stored
    needs = ends + sum(CENTRAL_BYTES + len(m.name.encode("utf-8", "surrogateescape")) for m in directory.members)
    needs += END_BYTES
    facts: dict[str, Any] = {"file": source.path, "reason": directory.reason}
    told = f"{len(directory.members)} members found by their own headers"
    zeros = trailing_zeros(source, start)
    if zeros >= ZERO_TAIL and source.size >= needs:
        return _zeros(source, directory.members, zeros, facts)
    if last.unfinished or source.size < needs:
        facts |= {"expected": needs, "found": source.size, "bytes_missing": max(0, needs - source.size)}
        lost = last.stored - last.available
        if lost:
            facts |= {"member": last.name, "member_expected": last.stored, "member_found": last.available}
            told += f"; {safe(last.name, 120)} has {last.available} of its {last.stored} bytes"
        elif not last.unfinished:
            facts |= {"offset": ends}
            told += f"; all of them are whole, the directory behind them (from {ends}) is not"
        if last.unfinished:
            facts |= {"member": last.name, "interrupted": True}
            told += f"; the header of {safe(last.name, 120)} was never completed: its writer was stopped"
        missing = f"at least {human_bytes(facts['bytes_missing'])} missing" if facts["bytes_missing"] else "cut off"
        return Broken("unfinished" if last.unfinished else "cut", f"{missing}: {told}", facts)
    at = _damaged_directory_at(source, directory.members, ends)
    facts |= {"offset": at, "directory": ends}
    detail = f"its directory is damaged at byte {at} ({directory.reason}); {told}, all of them whole"
    return Broken("directory", detail, facts)


def _zeros(source: Bytes, members: Sequence[Member], zeros: int, facts: dict[str, Any]) -> Broken:
    begins = source.size - zeros
    facts |= {"offset": begins, "bytes": zeros, "expected": source.size, "found": begins}
    detail = f"only zeros from byte {begins} to the end ({human_bytes(zeros)})"
    hit = next((m for m in members if m.data <= begins < m.data + m.stored), None)
    if hit is not None:
        facts |= {"member": hit.name, "member_expected": hit.stored, "member_found": begins - hit.data}
        detail += f"; {safe(hit.name, 120)} has {begins - hit.data} of its {hit.stored} bytes before them"
    return Broken("zeros", detail, facts, usable=begins)


def _damaged_directory_at(source: Bytes, members: Sequence[Member], begins: int) -> int:
    """Where the directory first says something else than the members' own headers, or is no directory."""
    at = begins
    for member in members:
        name = member.name.encode("utf-8", "surrogateescape")
        if at + CENTRAL_BYTES + len(name) > source.size:
            return at
        raw = source.pread(at, CENTRAL_BYTES + len(name))
        if not raw.startswith(CENTRAL_SIGNATURE) or raw[CENTRAL_BYTES:] != name:
            return at
        lengths = [int.from_bytes(raw[place : place + 2], "little") for place in (28, 30, 32)]
        at += CENTRAL_BYTES + sum(lengths)
    return at


def saying(source: Bytes, directory: Directory) -> str:
    """The key of what Keras says to an archive whose directory can't be read."""
    end = find_end(source, 0, source.size)
    if end is None:
        return "no-archive"
    if directory.reason.startswith(FEWER):
        return "zip-member"
    if "central directory" in directory.reason:
        return "zip-directory"
    return "zip-header"


@dataclass(frozen=True, slots=True)
class MangledCopy:
    """A copy that was taken for text."""

    kind: Mangling
    evidence: Mapping[str, Any]
    undone: Memory | None = None
    """The original bytes, proved by every member's CRC-32; None where they can't be had."""


def mangled_copy(source: Bytes) -> MangledCopy | None:
    """What a text-mode or text-encoding copy did to the archive; None where nothing speaks for one.

    Ask only about an archive whose offsets or checksums are wrong. Looks at SAMPLE bytes and, where they speak for
    it, reads it whole, MAX_UNDONE bytes at most.
    """
    data = source.pread(0, min(source.size, SAMPLE))
    if not any(data[:SAMPLE_OF_ZEROS]) or not _possible(mangled.count(data), data):
        return None
    data = source.pread(0, min(source.size, MAX_UNDONE))
    counts = mangled.count(data)
    likely = mangled.verdict(counts)
    facts: dict[str, Any] = {"file": source.path, "bytes": source.size, **counts.to_json()}
    if len(data) == source.size:
        for kind in ("crlf", "utf-8"):
            possible = counts.crlf and not counts.bare_lf if kind == "crlf" else counts.valid_utf8 and counts.high
            original = mangled.undo(kind, data) if possible else None
            if original is not None and _is_whole(Memory(source.path, original)):
                facts |= {"text_mangled": kind, "undone": True, "expected": len(original), "found": source.size}
                return MangledCopy(kind, facts, Memory(source.path, original))
    if likely is None and counts.size >= mangled.ENOUGH and mangled.seven_bit(counts):
        likely = "seven-bit"
    if likely is None and b"HDF\n\x1a\n" in data and not counts.crlf:
        likely = "lf"
    if likely is None:
        return None
    return MangledCopy(likely, {**facts, "text_mangled": likely, "undone": False})


def _possible(counts: mangled.Counts, data: bytes) -> bool:
    """Whether a sample leaves it open that the whole was mangled: undamaged archives seldom get beyond this."""
    if mangled.verdict(counts) is not None or (counts.crlf and not counts.bare_lf):
        return True
    return (counts.valid_utf8 and counts.high > 0) or mangled.seven_bit(counts) or b"HDF\n\x1a\n" in data


def _is_whole(memory: Memory) -> bool:
    """Whether the bytes are an archive with every checksum right."""
    try:
        directory = read_directory(memory)
        if not directory.complete or not directory.members:
            return False
        for member in directory.members[:MAX_PROVED]:
            crc = 0
            for piece in stream(memory, locate(memory, member)):
                crc = zlib.crc32(piece, crc)
            if crc != member.crc32:
                return False
    except (Damaged, *ZIP_ERRORS):
        return False
    return True
