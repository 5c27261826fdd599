"""`.keras` archives: a zip of metadata.json, config.json and model.weights.h5. Runs in the reader child only.

The inner HDF5 file is read where it lies; nothing is unpacked to disk, no pickle is opened. Each damage is told by one
finding with its cause; what follows from it is kept in that finding's evidence.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ckptui.core.model import Finding, Listing, Severity, Tensor
from ckptui.core.sayings import says
from ckptui.core.text import safe
from ckptui.errors import Damaged
from ckptui.readers.hdf5_contents import Contents, Tick
from ckptui.readers.keras_archive_notes import (
    EXISTS,
    broken_archive,
    mangled_archive,
    no_archive,
    no_json,
    no_weights,
    not_hdf5,
    odd_members,
)
from ckptui.readers.keras_assets import SMALL, VOCABULARY
from ckptui.readers.keras_config import load_config
from ckptui.readers.keras_findings import limited, note
from ckptui.readers.keras_folder import KerasFolder, open_folder
from ckptui.readers.keras_members import MAX_INFLATED_BYTES, MemberCheck, Settled, is_bomb, mended, settle_members
from ckptui.readers.keras_parts import (
    KERAS_ASSETS_FROM,
    MAX_JSON_BYTES,
    NPZ_WEIGHTS,
    WEIGHTS,
    Parts,
    PartsReader,
    Weights,
    assemble,
)
from ckptui.readers.keras_root import folded, misnamed_archive, root_of
from ckptui.readers.npz_weights import NpzWeights
from ckptui.readers.source import Source
from ckptui.readers.window import Bytes, Memory
from ckptui.readers.zip_damage import Broken, MangledCopy, mangled_copy, saying, what_broke
from ckptui.readers.zip_directory import (
    STORED,
    ZIP_ERRORS,
    Directory,
    Member,
    read_directory,
    read_member,
)

if TYPE_CHECKING:
    pass

TICK_MEMBERS = 256


def open_archive(path: str | os.PathLike[str]) -> KerasArchive | KerasFolder:
    """Open a `.keras` file, or the folder Keras writes with `zipped=False`, for reading.

    Raises NoSuchPath for what is no regular file, Damaged (`empty-file`, `zip-damaged`, `zero-filled`) for what is no
    zip. Damage inside is in the listing's findings.
    """
    if os.path.isdir(path):
        return open_folder(path)
    source = Source(path)
    try:
        if not source.size:
            facts: dict[str, object] = {"file": source.path, "tensorflow_says": says("no-archive", file=source.path)}
            raise Damaged(f"{source.path} has 0 bytes{EXISTS}", code="empty-file", evidence=facts)
        return KerasArchive(source)
    except BaseException:
        source.close()
        raise


class KerasArchive(PartsReader):
    """One `.keras` file; the datasets of its inner HDF5 file are its tensors, named by their paths there."""

    def __init__(self, source: Source) -> None:
        """Raises Damaged (`zip-damaged`, `zero-filled`) for what is no archive, not even a damaged one."""
        super().__init__(source)
        self._bytes: Bytes = source
        self._copy: MangledCopy | None = None
        self._keras_says = "no-archive"
        self._broken: Broken | None = None
        self._lost: list[Settled] = []
        self._placed: Sequence[Tensor] | None = None
        self.directory = self._read_directory()
        self._check = MemberCheck(self.path, self._bytes, self._tensors)

    def verify(self, tick: Tick | None = None) -> list[Finding]:
        """Stream every member once and hold its CRC-32 against the archive's: one finding for each that differs."""
        findings: list[Finding] = []
        if self._copy is not None:
            return []
        for number, one in enumerate(settle_members(self._bytes, self.directory, len(self.directory.members))):
            if tick is not None and number % TICK_MEMBERS == 0:
                tick()
            if one.error is not None:
                findings.append(self._check.unlocated(one.error))
            elif not self._is_cut(one.member):
                found = self._check.headers(one.member, tick) or self._check.content(one.member, tick)
                findings += found
        self._source.fence()
        return limited(findings)

    # ------------------------------------------------------------------ directory

    def _read_directory(self) -> Directory:
        """The members; what broke the archive and what mangled it is noted."""
        try:
            directory = read_directory(self._source)
        except Damaged as error:
            self._copy = mangled_copy(self._source)
            if self._copy is not None and self._copy.undone is not None:
                return self._taken_back(self._copy.undone, None)
            raise no_archive(self._source, self._copy, error) from None
        settled = settle_members(self._source, directory)
        if not directory.complete or any(one.error for one in settled):
            self._copy = mangled_copy(self._source)
            if self._copy is not None and self._copy.undone is not None:
                return self._taken_back(self._copy.undone, directory)
        if not directory.complete and self._copy is None:
            self._broken = what_broke(self._source, directory)
        known = {one.member.header: one for one in settled}
        members = [known[m.header].member if m.header in known else m for m in directory.members]
        if self._broken is not None and self._broken.usable >= 0:
            members = [before(m, self._broken.usable) for m in members]
        directory.members = members
        self._lost = [one for one in settled if one.error is not None]
        return directory

    def _taken_back(self, original: Memory, mangled: Directory | None) -> Directory:
        """The directory of what a mangled copy was made from; `mangled` is what the copy itself has."""
        self._bytes = original
        self._keras_says = "no-archive" if mangled is None else saying(self._source, mangled)
        directory = read_directory(original)
        directory.members = [one.member for one in settle_members(original, directory)]
        return directory

    def _is_cut(self, member: Member) -> bool:
        """Whether the archive's own damage already says why the member is not whole."""
        return self._broken is not None and 0 <= member.available < member.stored

    def _archive_findings(self) -> tuple[Finding | None, list[Finding]]:
        """What became of the archive as a whole, and what is odd about its members."""
        root: Finding | None = None
        if self._copy is not None:
            root = mangled_archive(self.path, self._copy, self._keras_says)
        elif self._broken is not None:
            root = broken_archive(self._source, self.directory, self._broken)
        findings = [self._check.unlocated(one.error) for one in self._lost if one.error is not None]
        findings += odd_members(self.path, self.directory)
        return root, findings

    # ------------------------------------------------------------------ contents

    def _make(self, tick: Tick | None) -> Listing:
        self._placed = ()
        root, findings = self._archive_findings()
        whole = root is None
        metadata, found = self._json("metadata.json", whole)
        findings += found
        config, found = self._json("config.json", whole)
        findings += found
        for member in self.directory.members:
            if member.differs and member.name not in ("metadata.json", "config.json"):
                findings += self._check.headers(member, tick)
        weights = self._weights(whole)
        names = [member.name for member in self.directory.members]
        has_assets = len(names) >= KERAS_ASSETS_FROM
        parts = Parts(self.path, metadata, config, weights, names, has_assets, self._vocabularies())
        self._contents, self._npz = weights.contents, weights.npz
        listing, inside = assemble(parts, self._source, tick)
        self._placed = listing.tensors
        self._source.fence()
        if self._copy is not None:
            # A text copy broke every member alike.
            findings = [f for f in findings if f.code != "zip-damaged"]
        named = misnamed_archive(self.path)
        if root is not None:
            return listing.with_findings([*folded(root, [*findings, *inside], **member_evidence(weights)), *named])
        return listing.with_findings([*findings, *self._inner(inside, weights, findings, tick), *named])

    def _inner(
        self, inside: list[Finding], weights: Weights, findings: Sequence[Finding], tick: Tick | None
    ) -> list[Finding]:
        """What is wrong with the inner file: the archive's CRC-32 says whether it was so before it was archived."""
        own = next((f for f in weights.findings if f.code == "zip-damaged"), None)
        if own is not None:
            return folded(own, inside, **member_evidence(weights))
        root = root_of(inside)
        damaged = root is not None or any(f.code == "hdf5-damaged" for f in inside)
        if not damaged or weights.member is None:
            return inside
        facts = member_evidence(weights)
        told = any(f.evidence.get("member") == weights.member.name and f.code == "zip-damaged" for f in findings)
        wrong = [] if told else self._check.content(weights.member, tick)
        if wrong:
            return folded(wrong[0], inside, **facts)
        if root is None:
            return [replace(f, evidence={**f.evidence, **facts}) if f.code == "hdf5-damaged" else f for f in inside]
        detail = f"{root.detail}; the archive's CRC-32 is right: it was so before it was archived"
        return folded(
            replace(root, detail=root.detail if told else detail), [f for f in inside if f is not root], **facts
        )

    def _opened(self, tensor: Tensor) -> Contents:
        if self._contents is None and self._listing is None:
            self._contents = self._weights(False).contents
        return super()._opened(tensor)

    def _tensors(self) -> Sequence[Tensor]:
        return self.listing().tensors if self._placed is None else self._placed

    def _weights(self, whole: bool) -> Weights:
        """The inner HDF5 file (where it lies if stored, in memory if compressed) or the arrays of an `.npz`."""
        member = self.directory.find(WEIGHTS) or self.directory.find(NPZ_WEIGHTS)
        if member is None:
            return Weights(
                findings=[] if not whole else [no_weights(self.path, [m.name for m in self.directory.members])]
            )
        if member.data < 0:
            return Weights()
        if is_bomb(member):
            return Weights(findings=self._check.content(member))
        if member.problem:
            return Weights(findings=[self._check.refused(member)])
        try:
            return self._from_member(member)
        except (Damaged, *ZIP_ERRORS) as error:
            if not whole:
                return Weights(member=member)
            if getattr(error, "code", "") == "hdf5-damaged":
                return Weights(member=member, findings=[not_hdf5(self.path, member, self._bytes)])
            detail = getattr(error, "detail", "") or str(error)
            facts = {"member": member.name, **getattr(error, "evidence", {})}
            return Weights(member=member, findings=[note("zip-damaged", self.path, detail, evidence=facts)])

    def _from_member(self, member: Member) -> Weights:
        source, start, length = self._bytes, member.data, member.available
        findings: list[Finding] = []
        if member.method != STORED:
            data, problem = read_member(self._bytes, member, MAX_INFLATED_BYTES)
            if problem and not self._is_cut(member):
                findings = self._check.content(member)
            source, start, length = Memory(self.path, data), 0, len(data)
        if member.name == NPZ_WEIGHTS:
            return Weights(member=member, npz=NpzWeights(source, start, length), findings=findings)
        return Weights(Contents(source, start, length, label=WEIGHTS), member=member, findings=findings)

    def _json(self, name: str, whole: bool) -> tuple[Mapping[str, Any] | None, list[Finding]]:
        """The object in a JSON member, and what is wrong with it; a single flipped bit is taken back to read it."""
        member = self.directory.find(name)
        if member is None:
            names = [m.name for m in self.directory.members]
            return None, [no_json(self.path, name, names)] if whole else []
        if member.data < 0:
            return None, []
        findings = self._check.headers(member)
        data, problem = read_member(self._bytes, member, MAX_JSON_BYTES)
        if problem and not self._is_cut(member) and not findings:
            findings = self._check.content(member) or [self._zip_note(f"{name}: {problem}", {"member": name})]
        if not data:
            return None, findings
        undone = mended(data, member.crc32, zlib.crc32(data)) if problem and len(data) == member.size else None
        try:
            return load_config(data if undone is None else undone[0]), findings
        except Damaged as error:
            if findings or self._is_cut(member):
                return None, findings
            facts = {"file": self.path, "member": name, **error.evidence}
            return None, [self._zip_note(f"{name}: {safe(error.detail)}; its CRC-32 is right", facts)]

    def _vocabularies(self) -> dict[str, bytes]:
        """Vocabularies so small that they may hold no word, as far as they are whole."""
        small = [m for m in self.directory.members if m.name.endswith(f"/{VOCABULARY}") and m.size <= SMALL]
        read = ((m.name, *read_member(self._bytes, m, SMALL)) for m in small if m.data >= 0)
        return {name: data for name, data, problem in read if not problem}

    def _zip_note(self, detail: str, evidence: Mapping[str, Any], *, severity: Severity | None = None) -> Finding:
        return note("zip-damaged", self.path, detail, evidence=evidence, severity=severity)


def before(member: Member, usable: int) -> Member:
    """The member with only those bytes that lie before `usable`."""
    return replace(member, available=max(0, min(member.available, usable - member.data)))


def member_evidence(weights: Weights) -> dict[str, Any]:
    """Which member the weights are."""
    return {} if weights.member is None else {"member": weights.member.name}
