"""One file of a V1 checkpoint: its list of tensors, where each one's record lies, and what speaks against the file.

A file's only checksums stand over whole blocks. Where a record is not what it should be, its block is read and
proved, so that damage is told from a contradiction in what was written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ckptui.core.catalogue import make
from ckptui.core.model import Finding, Segment
from ckptui.core.sayings import says
from ckptui.core.text import safe
from ckptui.errors import Damaged
from ckptui.readers.bundle_entry import Extent
from ckptui.readers.bundle_v1_meta import META_CAP, Meta, decode_meta
from ckptui.readers.bundle_v1_records import Record
from ckptui.readers.bundle_v1_table import LazyTable
from ckptui.readers.ordered_code import KeyFault, encode_slice_key, slice_key
from ckptui.readers.source import Source
from ckptui.readers.sstable import Problem
from ckptui.readers.zeros import trailing_zeros

PROVE_AT_ONCE = 1 << 26
"""Bytes of a first block, which holds the list of tensors, that is proved before anything is listed."""
ZERO_TAIL = 48
"""Zero bytes at a file's end that no table has: its last eight are the magic number."""

BAD_MAGIC = "not an sstable (bad magic number)"
TOO_SHORT = "file is too short to be an sstable"
Place = tuple[bytes, tuple[Extent, ...]]
"""A tensor's raw name and the extents of a slice of it."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why records of a file are gone: the finding that each tensor among them gets."""

    code: str
    detail: str
    evidence: dict[str, Any]


class V1File:
    """One table of a V1 checkpoint."""

    def __init__(self, source: Source, artifact: str) -> None:
        """`artifact`: the path its findings name. Raises only what reading bytes raises."""
        self.artifact = artifact
        self.path = source.path
        self.table = LazyTable(source)
        self.findings: list[Finding] = []
        self.places: dict[Place, Record] = {}
        self.loose: list[Record] = []
        """Records whose key names no slice."""
        self.meta = Meta()
        self.has_list = False
        self.cause: Cause | None = None
        """Why what can't be found is gone; None where nothing says that anything is."""
        self.told: set[int] = set()
        """Blocks whose damage a finding tells already."""
        self.list_proved = False
        """The block with the list of tensors is as its checksum says, or too large to be read for that."""
        self._take_directory()
        self._take_list()
        self._take_records()

    # ------------------------------------------------------------------ what the file holds

    def _take_list(self) -> None:
        if not self.table.blocks:
            return
        first = self.table.blocks[0]
        small = first.handle.size <= PROVE_AT_ONCE
        self.list_proved = self.table.proved(0) if small else first.whole
        records = self.table.records(0).records
        if records and not records[0].key and records[0].size <= META_CAP:
            there = records[0].size - records[0].cut
            try:
                self.meta = decode_meta(self.table.body(0).pread(records[0].offset, there), bool(records[0].cut))
                self.has_list = True
            except Damaged as error:
                self.meta = Meta(fault=error.detail)
        sums = self.table.checksum(0) if small else None
        if sums is not None and sums[0] != sums[1]:
            reason = "checksum mismatch in the block with the list of tensors: nothing vouches for names and shapes"
            saying = says("v1-table", file=self.path, reason="block checksum mismatch")
            self._index_damaged(Problem("data block", first.handle.offset, reason, *sums), saying)
            self.told.add(0)
        elif self.meta.fault and self.list_proved:
            self._index_damaged(Problem("data block", 0, f"the list of tensors breaks off: {self.meta.fault}"))
        elif not self.has_list and self.list_proved:
            reason = "the list of tensors is missing: names are known from their records, shapes are not"
            saying = says("v1-no-list", file=self.path)
            self._index_damaged(Problem("data block", first.handle.offset, reason), saying)

    def _take_records(self) -> None:
        for block in self.table.blocks:
            for record in self.table.records(block.number).records:
                if not record.key:
                    continue
                try:
                    self.places.setdefault(slice_key(record.key), record)
                except KeyFault:
                    self.loose.append(record)

    # ------------------------------------------------------------------ damage of the whole file

    def _take_directory(self) -> None:
        """Findings about footer, index and metaindex block; and the cause of what is missing, where there is one."""
        table = self.table
        if not table.walked:
            for problem in table.problems:
                self._index_damaged(problem)
            return
        reason = BAD_MAGIC if table.size >= 48 else TOO_SHORT
        said = {"tensorflow_says": says("v1-table", file=self.path, reason=reason)}
        zeros = trailing_zeros(table.source, most=table.source.size)
        if zeros >= ZERO_TAIL:
            start = table.size - zeros
            detail = f"{self.path}: its last {zeros} bytes, from {start} on, are zeros; the list of blocks lay there"
            evidence = {"file": self.path, "offset": start, "bytes": zeros, "found": "zeros", **said}
            self.cause = Cause("zero-filled", detail, evidence)
        elif table.cut_off:
            detail = f"{self.path} ends at byte {table.size}, before its list of blocks"
            evidence = {"file": self.path, "found": table.size, "offset": table.stopped, **said}
            self.cause = Cause("shard-truncated", detail, evidence)
        else:
            for problem in table.problems:
                self._index_damaged(problem, says("v1-table", file=self.path, reason=reason))
            if table.problems and table.stopped < table.size and not self._at_metaindex():
                where = f"from byte {table.stopped} of {table.size} on nothing can be told apart"
                evidence = {"file": self.path, "where": "data block", "offset": table.stopped, "found": table.size}
                self.cause = Cause("index-damaged", f"{self.path}: {where}", evidence)

    def _at_metaindex(self) -> bool:
        end = self.table.blocks[-1].handle.end if self.table.blocks else 0
        return self.table.stopped == end

    def lost_file_finding(self, tensors: int, at_least: int) -> Finding | None:
        """The finding about the file as a whole, where its end is gone.

        `tensors` were lost with it, which need `at_least` bytes.
        """
        if self.cause is None:
            return None
        evidence = dict(self.cause.evidence) | {"tensors_lost": tensors}
        if self.cause.code == "shard-truncated":
            evidence |= {"expected": self.table.size + at_least, "bytes_missing": at_least, "at_least": True}
        known = self.has_list and not self.meta.fault
        lost = f"{tensors or 'no'} tensors are lost" if known else "the list of tensors is lost too"
        detail = f"{self.cause.detail}; {lost}"
        return make(self.cause.code, self.artifact, detail=detail, evidence=evidence)

    def _index_damaged(self, problem: Problem, saying: str = "") -> None:
        evidence: dict[str, Any] = {
            "file": self.path,
            "where": problem.where,
            "offset": problem.offset,
            "reason": problem.reason,
        }
        if problem.expected is not None:
            evidence |= {"expected": problem.expected, "found": problem.found}
        if problem.cosmetic:
            evidence["cosmetic"] = True
        elif saying:
            evidence["tensorflow_says"] = saying
        self.findings.append(
            make(
                "index-damaged",
                self.artifact,
                detail=f"{self.path}: {problem.where} at byte {problem.offset} of {self.table.size}: {problem.reason}",
                evidence=evidence,
                severity="warning" if problem.cosmetic else None,
                title="The file is damaged where no reader looks" if problem.cosmetic else None,
            )
        )

    # ------------------------------------------------------------------ one slice

    def locate(self, raw: bytes, extents: tuple[Extent, ...], needed: int) -> tuple[Record | None, Finding | None]:
        """The record of a slice that the list names; where it can't be read, the finding that says why.

        `needed`: bytes that its values take at least.
        """
        name = raw.decode("utf-8", "backslashreplace")
        record = self.places.get((raw, extents))
        if record is not None:
            block = self.table.blocks[record.block]
            if block.whole and not record.cut:
                return record, None
            return record, self._lost(name, record, needed)
        if self.cause is not None:
            return None, self._lost(name, None, needed)
        number = self.table.block_for(encode_slice_key(raw, extents))
        if number is not None and not self.table.proved(number):
            return None, self.mismatch(name, number)
        if not self.list_proved:
            return None, None
        detail = "the list of tensors names it, no record holds its values"
        evidence = {"file": self.path, "expected": "a record", "found": None, **_not_found(name)}
        return None, make("entry-invalid", self.artifact, name, detail=detail, evidence=evidence)

    def _lost(self, name: str, record: Record | None, needed: int) -> Finding:
        """A tensor that went with the end of the file."""
        cause = self.cause or Cause("index-damaged", f"{self.path}: its block has no checksum", {"file": self.path})
        evidence = dict(cause.evidence)
        cut_off = cause.code == "shard-truncated"
        if record is None:
            detail = f"{cause.detail}; nothing of this tensor is left"
            if cut_off:
                evidence |= {"expected": self.table.size + needed, "bytes_missing": needed, "at_least": True}
            return make(cause.code, self.artifact, name, detail=detail, evidence=evidence)
        start = self.table.blocks[record.block].handle.offset + record.offset
        evidence |= {"offset": start, "bytes": record.size}
        if record.cut:
            evidence |= {"expected": start + record.size, "bytes_missing": record.cut}
            detail = f"{cause.detail}; {record.cut} of the {record.size} bytes of this tensor's record are missing"
        else:
            detail = f"{cause.detail}; this tensor's bytes are there, the checksum that vouched for them is not"
            evidence["bytes_missing"] = 0
        return make(cause.code, self.artifact, name, detail=detail, evidence=evidence)

    def mismatch(self, name: str, number: int) -> Finding:
        """A tensor in a block that is not what its checksum says."""
        self.told.add(number)
        sums = self.table.checksum(number) or (0, 0)
        segment = self.segment(number)
        evidence = {
            "expected": sums[0],
            "found": sums[1],
            "file": segment.file,
            "offset": segment.offset,
            "bytes": segment.bytes,
            "part": f"block {number}",
            **_not_found(name),
        }
        detail = (
            f"stored checksum {sums[0]}, the bytes give {sums[1]} (block {number}): {segment.bytes} bytes from "
            f"{segment.offset} of {segment.file}"
        )
        return make("checksum-mismatch", self.artifact, name, detail=detail, evidence=evidence)

    def segment(self, number: int) -> Segment:
        """The bytes that a block's checksum is taken over: the block and its type byte."""
        handle = self.table.blocks[number].handle
        return Segment(self.path, handle.offset, handle.size + 1)

    def unlisted(self, listed: set[Place]) -> list[Finding]:
        """Records of no tensor that the list names; none where list or block are damaged."""
        if not (self.has_list and self.list_proved) or self.meta.fault:
            return []
        found = []
        for place, record in self.places.items():
            if place in listed or not self.table.blocks[record.block].whole or not self.table.proved(record.block):
                continue
            name = place[0].decode("utf-8", "backslashreplace")
            start = self.table.blocks[record.block].handle.offset + record.offset
            evidence = {"file": self.path, "offset": start, "bytes": record.size, "expected": None, "found": "a record"}
            detail = f"a record of {record.size} bytes, which the list of tensors does not name: {safe(name, 200)}"
            found.append(make("entry-invalid", self.artifact, name, detail=detail, evidence=evidence))
        for record in self.loose:
            if self.table.blocks[record.block].whole and self.table.proved(record.block):
                start = self.table.blocks[record.block].handle.offset + record.offset
                evidence = {"file": self.path, "offset": start, "bytes": record.size, "key": record.key[:64].hex()}
                detail = f"a record of {record.size} bytes whose key names no tensor"
                found.append(make("entry-invalid", self.artifact, detail=detail, evidence=evidence))
        return found

    def verify(self, read: set[int], beat: Callable[[int], None]) -> list[Finding]:
        """Prove the blocks that no tensor's check reads; `read`: those it does."""
        found = []
        for block in self.table.blocks:
            sums = None if block.number in read | self.told else self.table.checksum(block.number, beat)
            if sums is not None and sums[0] != sums[1]:
                reason = "checksum mismatch in a block that holds no listed tensor"
                known = len(self.findings)
                self._index_damaged(Problem("data block", block.handle.offset, reason, *sums))
                found += self.findings[known:]
                del self.findings[known:]
        return found


def _not_found(name: str) -> dict[str, str]:
    return {"tensorflow_says": says("v1-tensor", tensor=name)}
