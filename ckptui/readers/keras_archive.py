"""`.keras` archives: a zip of metadata.json, config.json and model.weights.h5. Runs in the reader child only.

The inner HDF5 file is read where it lies; nothing is unpacked to disk, no pickle is opened.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ckptui.core.model import ArchitectureRow, Artifact, Finding, Kind, Listing, Severity, Storage, Tensor
from ckptui.core.names import step_of
from ckptui.core.text import human_bytes, safe
from ckptui.errors import Damaged
from ckptui.readers.hdf5_contents import Contents, Tick
from ckptui.readers.keras_config import load_config, parse, rows, text_of
from ckptui.readers.keras_findings import in_words, limited, listed, note
from ckptui.readers.keras_h5 import Built, Hdf5Reader, build
from ckptui.readers.keras_layout import Layout, promised_paths
from ckptui.readers.keras_unsafe import unsafe_layers
from ckptui.readers.source import Source
from ckptui.readers.window import Memory
from ckptui.readers.zip_directory import (
    STORED,
    ZIP_ERRORS,
    Directory,
    Member,
    checksum,
    leaves_folder,
    locate,
    read_directory,
    read_member,
)

if TYPE_CHECKING:
    pass

MAX_JSON_BYTES = 32 << 20
MAX_INFLATED_BYTES = 1 << 30
"""Largest compressed inner HDF5 file that is unpacked into memory."""
BOMB_RATIO = 1000
WEIGHTS = "model.weights.h5"
PICKLED_WEIGHTS = "model.weights.npz"


def open_archive(path: str | os.PathLike[str]) -> KerasArchive:
    """Open a `.keras` file for reading.

    Raises NoSuchPath for what is no regular file, Damaged (`empty-file`, `zip-damaged`) for what is no zip. Damage
    inside is in the listing's findings.
    """
    source = Source(path)
    try:
        if not source.size:
            raise Damaged(f"{source.path} has 0 bytes", code="empty-file", evidence={"file": source.path})
        return KerasArchive(source, read_directory(source))
    except BaseException:
        source.close()
        raise


class KerasArchive(Hdf5Reader):
    """One `.keras` file; the datasets of its inner HDF5 file are its tensors, named by their paths there."""

    def __init__(self, source: Source, directory: Directory) -> None:
        super().__init__(source, None)
        self.directory = directory

    @property
    def kind(self) -> Kind:
        """Always `keras-archive`."""
        return "keras-archive"

    def verify(self, tick: Tick | None = None) -> list[Finding]:
        """Stream every member once and hold its CRC-32 against the archive's: one finding for each that differs."""
        findings: list[Finding] = []
        for member in self.directory.members:
            if member.size > BOMB_RATIO * max(member.stored, 1) and member.size > MAX_INFLATED_BYTES:
                what = f"declares {human_bytes(member.size)} packed into {human_bytes(member.stored)}: not read"
                findings.append(self._zip_note(f"{safe(member.name, 120)} {what}", {"member": member.name}))
                continue
            try:
                found = checksum(self._source, member, tick)
            except Damaged as error:
                findings.append(self._zip_note(error.detail, error.evidence))
                continue
            if found != member.crc32:
                detail = (
                    f"{safe(member.name, 120)}: CRC-32 {found:08x}, the archive says {member.crc32:08x}; "
                    "some of its bytes changed after it was written"
                )
                facts = {
                    "member": member.name,
                    "expected": f"{member.crc32:08x}",
                    "found": f"{found:08x}",
                    "file": self.path,
                }
                findings.append(self._zip_note(detail, facts))
        self._source.fence()
        return limited(findings)

    def _make(self, tick: Tick | None) -> Listing:
        findings = self._directory_findings()
        metadata, found = self._json("metadata.json", required=False)
        findings += found
        config, found = self._json("config.json", required=True)
        findings += found
        self._contents, found = self._weights()
        findings += found
        if self._contents is None:
            built = self._without_weights(config)
        else:
            root = parse(config) if config is not None else None
            self._contents.promised = promised_paths(root) if root is not None else []
            self._contents.read(tick)
            findings += self._contents.findings
            built = build(self._contents, config, self.path)
        self._source.fence()
        label = os.path.basename(self.path)
        artifact = Artifact(
            path=self.path,
            kind=self.kind,
            label=label,
            step=step_of(label),
            bytes=self._source.size,
            shards=1,
            tensors=len(built.tensors),
            parameters=built.parameters,
            modified=self._source.modified,
            writer=_writer(metadata),
        )
        listing = Listing(artifact, built.tensors, (), (), built.architecture)
        return listing.with_findings([*findings, *built.findings])

    def _opened(self, tensor: Tensor) -> Contents:
        if self._contents is None and self._listing is None:
            self._contents, _ = self._weights()
        return super()._opened(tensor)

    def _weights(self) -> tuple[Contents | None, list[Finding]]:
        """The inner HDF5 file: where it lies if stored, in memory if compressed."""
        member = self.directory.find(WEIGHTS)
        if member is None:
            return None, []
        findings: list[Finding] = []
        try:
            member = locate(self._source, member)
            if member.problem:
                return None, [self._zip_note(f"{WEIGHTS}: {member.problem}", {"member": WEIGHTS})]
            if member.method == STORED:
                return Contents(self._source, member.data, member.available, label=WEIGHTS), findings
            data, problem = read_member(self._source, member, MAX_INFLATED_BYTES)
            if problem:
                findings.append(self._zip_note(f"{WEIGHTS}: {problem}", {"member": WEIGHTS}))
            if not data:
                return None, findings
            return Contents(Memory(self.path, data), label=WEIGHTS), findings
        except Damaged as error:
            code = "hdf5-damaged" if error.code == "hdf5-damaged" else "zip-damaged"
            return None, [*findings, note(code, self.path, error.detail, evidence=error.evidence)]

    def _without_weights(self, config: Mapping[str, Any] | None) -> Built:
        """What is left to show where there is no inner HDF5 file: the architecture, and names of pickled arrays."""
        findings: list[Finding] = []
        tensors: tuple[Tensor, ...] = ()
        table: tuple[ArchitectureRow, ...] = ()
        if config is not None:
            root = parse(config)
            table = () if root is None else rows(root, {})
            findings += limited(unsafe_layers(config, self.path))
        pickled = self.directory.find(PICKLED_WEIGHTS)
        if pickled is not None:
            tensors = self._pickled(pickled)
            findings.append(
                note(
                    "unsupported-format",
                    self.path,
                    f"{PICKLED_WEIGHTS} holds {len(tensors)} pickled arrays: unpickling would run code",
                    evidence={"member": PICKLED_WEIGHTS, **listed([t.name for t in tensors])},
                    title="Weights stored as pickles",
                    advice="Load the model where you trust it and save it again with weights_format='h5'.",
                )
            )
        elif self.directory.find(WEIGHTS) is None:
            detail = f"the archive has no {WEIGHTS}: {in_words([m.name for m in self.directory.members])}"
            names = listed([m.name for m in self.directory.members])
            findings.insert(0, note("weights-missing", self.path, detail, evidence=names))
        return Built(Layout("none", {}), tensors, table, findings)

    def _pickled(self, member: Member) -> tuple[Tensor, ...]:
        """A row for each array of a `.npz`, by name only."""
        try:
            found = locate(self._source, member)
            if found.method != STORED:
                return ()
            inner = read_directory(self._source, found.data, found.available)
        except (Damaged, *ZIP_ERRORS):
            return ()
        return tuple(
            Tensor(
                name=one.name.removesuffix(".npy"),
                dtype="pickle",
                shape=(),
                bytes=one.size,
                storage=Storage("none"),
                problem="stored as a pickle, which is never opened here",
            )
            for one in inner.members
        )

    def _directory_findings(self) -> list[Finding]:
        findings: list[Finding] = []
        directory = self.directory
        if not directory.complete:
            findings.append(self._cut_off())
        if directory.duplicates:
            detail = f"{in_words(directory.duplicates)}: more than one member of that name, readers may take either"
            findings.append(self._zip_note(detail, listed(directory.duplicates), warning=True))
        outside = [m.name for m in directory.members if leaves_folder(m.name)]
        if outside:
            detail = f"{in_words(outside)}: unpacking would write outside the target folder"
            title = "A name that leaves the folder it is unpacked to"
            advice = "Nothing is unpacked here; do not unpack it elsewhere."
            facts = listed(outside)
            findings.append(note("name-hostile", self.path, detail, evidence=facts, title=title, advice=advice))
        return findings

    def _cut_off(self) -> Finding:
        last = self.directory.members[-1]
        missing = max(0, last.stored - last.available)
        facts: dict[str, Any] = {"reason": self.directory.reason, "file": self.path}
        told = f"{len(self.directory.members)} members found by their own headers"
        if missing:
            facts |= {
                "member": last.name,
                "expected": last.data + last.stored,
                "found": self._source.size,
                "bytes_missing": missing,
            }
            told += f"; {safe(last.name, 120)} lacks {missing} of its {last.stored} bytes"
        return self._zip_note(f"its directory at the end is gone ({self.directory.reason}): {told}", facts)

    def _json(self, name: str, *, required: bool) -> tuple[Mapping[str, Any] | None, list[Finding]]:
        member = self.directory.find(name)
        if member is None:
            if not required:
                return None, []
            return None, [self._zip_note(f"{name} is missing", {"member": name})]
        data, problem = read_member(self._source, member, MAX_JSON_BYTES)
        findings = [self._zip_note(f"{name}: {problem}", {"member": name})] if problem else []
        if not data:
            return None, findings
        try:
            return load_config(data), findings
        except Damaged as error:
            return None, [*findings, self._zip_note(f"{name}: {safe(error.detail)}", {"member": name})]

    def _zip_note(self, detail: str, evidence: Mapping[str, Any], *, warning: bool = False) -> Finding:
        severity: Severity | None = "warning" if warning else None
        return note("zip-damaged", self.path, detail, evidence=evidence, severity=severity)


def _writer(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    if metadata is None:
        return {}
    told = {"keras": text_of(metadata.get("keras_version")), "saved": text_of(metadata.get("date_saved"))}
    return {key: value for key, value in told.items() if value}
