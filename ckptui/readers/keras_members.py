"""Findings about the members of a `.keras` archive: headers that disagree, checksums that do not match, and why.

A CRC-32 covers a member as a whole; where one flipped bit explains the difference, its place names the tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ckptui.core.bitflip import ZIP, Flip, coincidence, find_flip
from ckptui.core.model import Finding, Severity, Tensor
from ckptui.core.sayings import says
from ckptui.core.text import human_bytes, safe
from ckptui.errors import Damaged
from ckptui.readers.hdf5_contents import Tick
from ckptui.readers.keras_findings import note
from ckptui.readers.window import Bytes
from ckptui.readers.zip_directory import STORED, Directory, checksum, locate
from ckptui.readers.zip_headers import ENCRYPTED, Member, walk
from ckptui.readers.zip_lost import lost_sectors

MAX_INFLATED_BYTES = 1 << 30
"""Largest compressed inner HDF5 file that is unpacked into memory."""
BOMB_RATIO = 1000
MAX_SETTLED = 1000
"""Members whose local headers are looked at before anything is read; a full check looks at all."""
KNOWN = ("metadata.json", "config.json", "model.weights.h5", "model.weights.npz")
_NOT_FOUND = {
    "metadata.json": "",
    "config.json": "zip-member",
    "model.weights.h5": "no-weights-member",
    "model.weights.npz": "no-weights-member",
}
"""What Keras says where its directory does not name a member; nothing for the one it can do without."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A member as it is read, and what is wrong with its headers."""

    member: Member
    error: Damaged | None = None
    """Why it can't be read at all."""


def settle_members(source: Bytes, directory: Directory, limit: int = MAX_SETTLED) -> list[Settled]:
    """Every member with the position of its bytes; one whose directory entry is damaged under its own name."""
    settled: list[Settled] = []
    names = {member.name for member in directory.members}
    walked: list[Member] | None = None
    for member in directory.members[:limit]:
        behind = directory.behind.get(member.header, -1)
        try:
            one = locate(source, member, behind)
        except Damaged as error:
            if walked is None:
                walked = list(walk(source, _first_header(directory), source.size))
            elsewhere = next((m for m in walked if m.name == member.name), None)
            if elsewhere is None:
                settled.append(Settled(member, error))
                continue
            differs = {"header": (member.header, elsewhere.header)}
            one = replace(locate(source, replace(member, header=elsewhere.header)), differs=differs)
        own = one.differs.get("name", ("", ""))[1]
        if own in KNOWN and own not in names and member.name not in KNOWN:
            one = replace(one, name=str(own))
        settled.append(Settled(one))
    return settled


def _first_header(directory: Directory) -> int:
    """Where local headers begin: what stands before an archive is none of it."""
    good = [m.header for m in directory.members if m.header >= 0]
    return 0 if 0 in good or not good else min(good)


class MemberCheck:
    """Findings about single members of one archive."""

    def __init__(self, path: str, source: Bytes, tensors: Callable[[], Sequence[Tensor]]) -> None:
        """`tensors` gives what lies in the archive, to name what a flipped bit hit."""
        self._path = path
        self._source = source
        self._tensors = tensors

    def unlocated(self, error: Damaged) -> Finding:
        """A member whose local header is not where the directory says."""
        facts = {**error.evidence, "tensorflow_says": says("zip-header")}
        return self._note(error.detail, facts)

    def headers(self, member: Member, tick: Tick | None = None) -> list[Finding]:
        """What directory and local header say differently: at most one finding."""
        differs = dict(member.differs)
        if not differs:
            return []
        crcs = differs.get("crc32")
        severity: Severity = "warning"
        told = ", ".join(f"{name} {_shown(name, a)} and {_shown(name, b)}" for name, (a, b) in differs.items())
        detail = f"{safe(member.name, 120)}: directory and local header disagree: {told}"
        facts: dict[str, Any] = {
            "file": self._path,
            "member": member.name,
            "offset": member.header,
            "differs": {name: [_shown(name, a), _shown(name, b)] for name, (a, b) in differs.items()},
        }
        found = self._computed(member, tick)
        if found is None or found not in (crcs or (member.crc32,)):
            # Its bytes are damaged, or can't be read: that finding is the one that counts.
            return []
        facts["bytes_whole"] = True
        detail += "; its bytes are whole"
        key = self._keras_says(member, differs, found)
        if key:
            severity = "error"
            names = [_shown("name", name) for name in differs.get("name", ("", ""))]
            facts["tensorflow_says"] = says(key, member=member.name, directory=names[0], header=names[1])
        return [self._note(detail, facts, severity=severity)]

    def _keras_says(self, member: Member, differs: Mapping[str, tuple[object, object]], crc: int) -> str:
        """The key of what Keras says to headers that disagree over whole bytes; empty where it reads on."""
        if "header" in differs or "signature" in differs:
            return "zip-header"
        if "name" in differs:
            if differs["name"][0] in KNOWN or member.name not in KNOWN:
                return "zip-names"
            # The directory's name is the damaged one: Keras does not find the member.
            return _NOT_FOUND[member.name]
        if "data" in differs or ("crc32" in differs and differs["crc32"][0] != crc):
            return "zip-crc"
        if "flags" in differs and int(str(differs["flags"][0])) & ENCRYPTED:
            return "zip-encrypted"
        if "method" in differs and differs["method"][0] != member.method:
            return "zip-method"
        if "size" in differs and int(str(differs["size"][0])) < member.size:
            return "zip-crc"
        return "zip-crc" if "stored" in differs and differs["stored"][0] != member.stored else ""

    def _computed(self, member: Member, tick: Tick | None) -> int | None:
        if member.problem or is_bomb(member):
            return None
        try:
            return checksum(self._source, member, tick)
        except Damaged:
            return None

    def content(self, member: Member, tick: Tick | None = None) -> list[Finding]:
        """Stream the member and hold its CRC-32 against the archive's: at most one finding."""
        if member.unfinished or not (member.size or member.stored or member.crc32):
            return []
        if is_bomb(member):
            what = f"declares {human_bytes(member.size)} packed into {human_bytes(member.stored)}: not read"
            facts = {"member": member.name, "expected": member.size, "found": member.stored, "file": self._path}
            return [self._note(f"{safe(member.name, 120)} {what}", facts)]
        if member.problem:
            return [self.refused(member)]
        try:
            found = checksum(self._source, member, tick)
        except Damaged as error:
            facts = {"file": self._path, **error.evidence, "member": member.name}
            if "deflate" in error.detail:
                facts["tensorflow_says"] = says("zip-deflate")
            return [self._note(error.detail, facts)]
        stored = member.differs.get("crc32", (member.crc32, member.crc32))
        return [] if found in stored else [self._mismatch(member, found, tick)]

    def refused(self, member: Member) -> Finding:
        """A member that is encrypted, or compressed in a way that is not read."""
        facts: dict[str, Any] = {"file": self._path, "member": member.name, "offset": member.header}
        detail = f"{safe(member.name, 120)}: {member.problem}"
        if not member.flags & ENCRYPTED and member.foreign:
            title = "An archive compressed in a way ckptui does not read"
            advice = "Pack its members again without compression, as Keras does."
            facts["method"] = member.method
            return note(
                "unsupported-format", self._path, detail, evidence=facts, severity="warning", title=title, advice=advice
            )
        key = "zip-encrypted" if member.flags & ENCRYPTED else "zip-method"
        facts |= {"method": member.method, "flags": member.flags, "tensorflow_says": says(key, member=member.name)}
        return self._note(detail, facts)

    def _mismatch(self, member: Member, found: int, tick: Tick | None) -> Finding:
        facts: dict[str, Any] = {
            "file": self._path,
            "member": member.name,
            "expected": f"{member.crc32:08x}",
            "found": f"{found:08x}",
            "offset": member.data,
            "bytes": member.size,
            "tensorflow_says": says("zip-crc", member=member.name),
        }
        told = f"{safe(member.name, 120)}: CRC-32 {found:08x}, the archive says {member.crc32:08x}"
        flip = find_flip(member.crc32, found, member.size, ZIP) if member.method == STORED else None
        if flip is None:
            return self._zeroed(member, told, facts, tick) or self._note(
                f"{told}; some of its bytes changed after it was written", facts
            )
        at = member.data + flip.byte
        facts["flipped_bit"] = {
            "member_offset": flip.byte,
            "file_offset": at,
            "bit": flip.bit,
            "coincidence": coincidence(member.size),
        }
        tensor = self.hit(at)
        where = f"in {safe(tensor, 200)}" if tensor else f"at byte {flip.byte} of it, in no tensor's values"
        detail = f"{told}; one flipped bit explains it: bit {flip.bit} of byte {at} of the file, {where}"
        return self._note(detail, facts, tensor=tensor)

    def _zeroed(self, member: Member, told: str, facts: Mapping[str, Any], tick: Tick | None) -> Finding | None:
        """The finding for a member with lost sectors in its tensors; None where there are none."""
        if member.method != STORED or not member.name.startswith("model.weights"):
            return None
        runs = lost_sectors(self._source, self._tensors(), member.data, member.data + member.available, tick)
        if not runs:
            return None
        most = max(runs, key=lambda run: run.bytes)
        names = [run.tensor for run in runs]
        where = safe(most.tensor, 200) + (f" and {len(runs) - 1} more" if len(runs) > 1 else "")
        detail = f"{told}; {most.bytes} bytes from {most.offset} on are zeros, from one sector to another, in {where}"
        evidence = {
            **facts,
            "zero_run": {"offset": most.offset, "bytes": most.bytes},
            "tensors": {"count": len(names), "names": names[:20]},
        }
        return note("zero-filled", self._path, detail, tensor=most.tensor, evidence=evidence, certainty="likely")

    def hit(self, at: int) -> str | None:
        """The tensor whose values hold this byte of the file."""
        for tensor in self._tensors():
            segment = tensor.storage.segment
            if segment is not None and segment.offset <= at < segment.offset + segment.bytes:
                return tensor.name
        return None

    def _note(
        self, detail: str, evidence: Mapping[str, Any], *, tensor: str | None = None, severity: Severity | None = None
    ) -> Finding:
        return note("zip-damaged", self._path, detail, tensor=tensor, evidence=evidence, severity=severity)


def is_bomb(member: Member) -> bool:
    """Whether it declares so much more than it takes that no model is in it."""
    return member.size > BOMB_RATIO * max(member.stored, 1) and member.size > MAX_INFLATED_BYTES


def mended(data: bytes, stored: int, found: int) -> tuple[bytes, Flip] | None:
    """The bytes with the one bit taken back that explains their CRC-32; None where no single bit does."""
    flip = find_flip(stored, found, len(data), ZIP)
    if flip is None:
        return None
    changed = bytearray(data)
    changed[flip.byte] ^= flip.mask
    return bytes(changed), flip


def _shown(name: str, value: object) -> Any:
    if name == "crc32" and isinstance(value, int):
        return f"{value:08x}"
    return safe(value, 120) if isinstance(value, str) else value
