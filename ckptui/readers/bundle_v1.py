"""V1 checkpoints: tables that hold the values themselves, as TensorFlow's Saver wrote them until 2016 and still can.

One file, or `PREFIX-00000-of-00002` and its fellows, named together as `PREFIX-?????-of-00002`. The listing comes from
the list of tensors and the headers of the records; values are decoded when somebody asks, and every block of a file has
a checksum.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

from ckptui.core.catalogue import make
from ckptui.core.dtypes import dtype_name
from ckptui.core.model import Artifact, Finding, Kind, Listing, Segment, Slice, Storage, Tensor, worst_status
from ckptui.core.names import is_weight, layer_of, role_of, step_of
from ckptui.core.sayings import says
from ckptui.errors import CkptuiError, Damaged, NoSuchPath, NoSuchTensor
from ckptui.readers.bundle_checks import capped, entry_fault, header_findings
from ckptui.readers.bundle_entry import Entry, Extent, Header
from ckptui.readers.bundle_tiles import Placed, overlap, place
from ckptui.readers.bundle_v1_file import V1File
from ckptui.readers.bundle_v1_meta import Listed
from ckptui.readers.bundle_v1_names import PATTERN, files_of, foreign
from ckptui.readers.bundle_v1_records import Record
from ckptui.readers.bundle_v1_values import Part, least_bytes, tensor_chunks
from ckptui.readers.source import Source

if TYPE_CHECKING:
    import numpy as np

_UNKNOWN = 0
"""The dtype number of a tensor that no list describes."""


@dataclass(slots=True)
class _Gathered:
    """One tensor, from the lists of all files."""

    listed: Listed
    parts: list[Part] = field(default_factory=list)
    problem: str = ""
    stored: int = 0


class BundleV1:
    """One V1 checkpoint; its files stay open until `close`."""

    kind: Kind = "tf-checkpoint-v1"

    def __init__(self, path: str) -> None:
        """Open every file there is; raises NoSuchPath where none is."""
        self.path = path
        self.findings: list[Finding] = []
        self.files: list[V1File] = []
        self._sources: list[Source] = []
        self._sizes: list[tuple[int, float]] = []
        self._shards_missing = False
        self._tensors: dict[bytes, _Gathered] = {}
        self._by_name: dict[str, _Gathered] = {}
        self._listing: Listing | None = None
        paths, expected = files_of(path)
        if not any(map(os.path.exists, paths)):
            raise NoSuchPath(path)
        try:
            for one in paths:
                self._open(one, expected)
            self._gather()
        except BaseException:
            self.close()
            raise

    def listing(self) -> Listing:
        """Everything lists and record headers say, without a value being decoded."""
        if self._listing is None:
            self._listing = self._list()
            self._fence()
        return self._listing

    def chunks(self, tensor: Tensor, chunk_bytes: int = 1 << 20) -> Iterator[np.ndarray[Any, Any]]:
        """The values as 1-D arrays in native byte order, about `chunk_bytes` each; strings as one object array.

        Raises:
            NoSuchTensor: the save has none of that name.
            Damaged: it can't be read: see its `problem`.
            ChangedWhileReading: a file is not what it was.
        """
        found = self._named(tensor)
        if found.problem:
            raise Damaged(found.problem)
        try:
            yield from tensor_chunks(tensor, found.parts, chunk_bytes)
        except Damaged as error:
            if all(file.list_proved for file in self.files):
                raise
            detail = f"the list of tensors is damaged, and does not fit what is stored: {error.detail}"
            raise Damaged(detail, code="index-damaged", evidence=error.evidence) from None
        self._fence()

    def array(self, tensor: Tensor) -> np.ndarray[Any, Any]:
        """All values in the tensor's shape; raises as `chunks`."""
        import numpy as np

        pieces = list(self.chunks(tensor))
        if not pieces:
            from ckptui.core.dtypes import np_dtype

            return np.empty(tensor.shape, np_dtype(tensor.dtype))
        whole = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        return whole.reshape(tensor.shape)

    def checksums(self, tensor: Tensor, beat: Callable[[int], None]) -> Iterator[tuple[int, int, Segment, str]]:
        """(stored, computed, bytes it is over, `block 3`) for every block that the tensor lies in; each is read once.

        Raises what reading raises.
        """
        found = self._named(tensor)
        several = len(self.files) > 1
        for file in self.files:
            blocks = {part.record.block for part in found.parts if part.table is file.table}
            for number in sorted(blocks):
                sums = file.table.checksum(number, beat)
                if sums is not None:
                    where = f"block {number}" + (f" of {os.path.basename(file.path)}" if several else "")
                    yield *sums, file.segment(number), where

    def verify(self, beat: Callable[[int], None] = lambda _: None) -> list[Finding]:
        """Findings from the blocks that hold no tensor of the listing."""
        found: list[Finding] = []
        for file in self.files:
            parts = [part for gathered in self._tensors.values() for part in gathered.parts]
            read = {part.record.block for part in parts if part.table is file.table}
            found += file.verify(read, beat)
        self._fence()
        return found

    def close(self) -> None:
        """Close the files; doing it twice is harmless."""
        for source in self._sources:
            source.close()

    def _fence(self) -> None:
        for source in self._sources:
            source.fence()

    def _named(self, tensor: Tensor) -> _Gathered:
        if not self._by_name:
            self._by_name = {found.listed.name: found for found in reversed(self._tensors.values())}
        found = self._by_name.get(tensor.name)
        if found is not None:
            return found
        raise NoSuchTensor(f"{tensor.name} in {self.path}")

    # ------------------------------------------------------------------ opening

    def _open(self, path: str, expected: int) -> None:
        """Take one file in, or say why it can't be."""
        try:
            source = Source(path)
        except NoSuchPath:
            if path == self.path:
                raise
            self._missing(path, expected)
            return
        except Damaged as error:
            self.findings.append(
                make("unreadable", self.path, detail=error.detail, evidence=dict(error.evidence) | {"file": path})
            )
            return
        self._sources.append(source)
        self._sizes.append((source.size, source.modified))
        strange = foreign(path, self.path, source.size)
        if strange is not None:
            self._shards_missing = True
            self.findings.append(strange)
            return
        self.files.append(V1File(source, self.path))

    def _missing(self, path: str, expected: int) -> None:
        self._shards_missing = True
        there = sorted(os.path.basename(name) for name in files_of(self.path)[0] if os.path.exists(name))
        detail = f"{path} is not there: {len(there)} of {expected} files are"
        evidence = {
            "file": path,
            "shards": expected,
            "expected": expected,
            "found": len(there),
            "other_files": there[:8],
            "tensorflow_says": says("v1-tensor"),
        }
        self.findings.append(make("shard-missing", self.path, detail=detail, evidence=evidence))

    # ------------------------------------------------------------------ tensors

    def _gather(self) -> None:
        """Bring the lists of all files together, and find the records they name."""
        for file in self.files:
            self._take_file(file)
        for found in self._tensors.values():
            if not found.problem:
                self._check_cover(found)

    def _take_file(self, file: V1File) -> None:
        self.findings += file.findings
        if file.meta.min_consumer > 1:
            header = Header(1, False, file.meta.producer, file.meta.min_consumer)
            self.findings += header_findings(header, file.path, self.path)
        listed: set[tuple[bytes, tuple[Extent, ...]]] = set()
        lost: list[Finding] = []
        at_least = 0
        for tensor in file.meta.tensors:
            found = self._tensors.setdefault(tensor.raw, _Gathered(tensor))
            fault = self._listed_fault(file, tensor, found.listed)
            listed.update((tensor.raw, extents) for extents in tensor.slices)
            if fault:
                found.problem = found.problem or fault
                continue
            for extents in tensor.slices or ((),) * (not tensor.shape):
                told, missing = self._take_slice(file, found, extents)
                lost += [told] if told is not None else []
                at_least += missing
        if file.cause is not None:
            names = {finding.tensor for finding in lost}
            whole = file.lost_file_finding(len(names), at_least + 48)
            self.findings += [whole] if whole is not None and (not lost or file.meta.fault) else []
        self.findings += lost
        self.findings += file.unlisted(listed)
        if not file.has_list:
            self._take_unlisted(file)

    def _listed_fault(self, file: V1File, tensor: Listed, first: Listed) -> str:
        """Why the list can't be right about a tensor; a finding too, unless its block is known to be damaged."""
        fault = tensor.fault or entry_fault(Entry(tensor.dtype, tensor.shape, slices=((),)))
        if not fault and (tensor.shape, tensor.dtype) != (first.shape, first.dtype):
            fault = "the files of the checkpoint give it different shapes or dtypes"
        if fault and file.list_proved:
            evidence = {"file": file.path, "dtype": dtype_name(tensor.dtype), "shape": list(tensor.shape[:16])}
            self.findings.append(make("entry-invalid", self.path, tensor.name, detail=fault, evidence=evidence))
        return fault

    def _take_slice(self, file: V1File, found: _Gathered, extents: tuple[Extent, ...]) -> tuple[Finding | None, int]:
        """Note where one slice lies; returns the finding if it is lost with its file, and the bytes it needs."""
        tensor = found.listed
        where = place(extents, tensor.shape)
        if where is None:
            if file.list_proved:
                detail = f"its part {extents[:8]} does not lie inside {tensor.shape[:8]}"
                self.findings.append(
                    make("entry-invalid", self.path, tensor.name, detail=detail, evidence={"file": file.path})
                )
            found.problem = found.problem or "a part of it does not lie inside it"
            return None, 0
        dtype = dtype_name(tensor.dtype)
        needed = least_bytes(dtype, prod(where[1]))
        record, told = file.locate(tensor.raw, extents, needed)
        if told is None and record is None:
            found.problem = found.problem or "the list of tensors is damaged, and no record is where it says"
        elif told is None and record is not None and record.size < needed:
            told = self._too_short(file, tensor.name, record, dtype, prod(where[1]))
            found.problem = found.problem or told.detail
        elif told is not None:
            found.problem = found.problem or told.detail
        if record is not None and told is None:
            found.parts.append(Part(*where, file.table, record))
            found.stored += record.size
        if told is not None and file.cause is not None and told.code == file.cause.code:
            return told, int(told.evidence.get("bytes_missing", 0))
        self.findings += [told] if told is not None else []
        return None, 0

    def _too_short(self, file: V1File, name: str, record: Record, dtype: str, count: int) -> Finding:
        if not file.table.proved(record.block):
            return file.mismatch(name, record.block)
        least = least_bytes(dtype, count)
        evidence = {"file": file.path, "expected": least, "found": record.size, "dtype": dtype}
        if not file.list_proved:
            return make("index-damaged", self.path, name, detail="the list gives it another size", evidence=evidence)
        detail = f"{count} values of {dtype} can't lie in {record.size} bytes"
        return make("entry-invalid", self.path, name, detail=detail, evidence=evidence)

    def _take_unlisted(self, file: V1File) -> None:
        """Without a list, names are known from the records' keys; nothing tells dtype and shape."""
        for (raw, _), record in file.places.items():
            found = self._tensors.setdefault(raw, _Gathered(Listed(raw, _UNKNOWN, (), ())))
            found.problem = "the list that gives its dtype and shape is lost"
            found.stored += record.size

    def _check_cover(self, found: _Gathered) -> None:
        """The parts of a tensor make it up exactly; which they are known not to do where files are missing."""
        tensor = found.listed
        if len(found.parts) == 1 and found.parts[0].shape == tensor.shape:
            return
        covered, count = sum(prod(part.shape) for part in found.parts), prod(tensor.shape)
        placed = [Placed(part.start, part.shape, number) for number, part in enumerate(found.parts)]
        if covered == count and found.parts and not overlap(placed):
            return
        twice = covered > count or (covered == count and bool(found.parts))
        if twice:
            detail = "parts of it are stored twice" if len(found.parts) > 1 else "its parts overlap"
        else:
            detail = f"its parts cover {covered} of {count} elements ({100 * covered / max(count, 1):.0f} %)"
        found.problem = detail
        explained = self._shards_missing or any(file.cause or not file.list_proved for file in self.files)
        if twice or not explained:
            evidence: dict[str, Any] = {
                "expected": count,
                "found": covered,
                "fraction": covered / max(count, 1),
            }
            code = "duplicate-key" if twice else "entry-invalid"
            self.findings.append(make(code, self.path, tensor.name, detail=detail, evidence=evidence))

    # ------------------------------------------------------------------ listing

    def _list(self) -> Listing:
        tensors = tuple(self._tensor(found) for found in self._tensors.values())
        parameters = sum(t.count for t in tensors if not t.problem and is_weight(t.role, t.dtype))
        findings = tuple(capped(self.findings, self.path))
        producers = {file.meta.producer for file in self.files if file.meta.producer}
        writer: dict[str, Any] = {"format": "v1-table", "generation": "TF1 Saver, write_version V1"}
        if producers:
            writer["producer"] = max(producers)
        label = os.path.basename(self.path)
        artifact = Artifact(
            path=self.path,
            kind=self.kind,
            label=label,
            step=step_of(label.partition(PATTERN)[0]),
            bytes=sum(size for size, _ in self._sizes),
            shards=len(self._sizes),
            tensors=len(tensors),
            parameters=parameters,
            modified=max((modified for _, modified in self._sizes), default=0.0),
            writer=writer,
            status=worst_status(findings),
        )
        return Listing(artifact, tensors, findings)

    def _tensor(self, found: _Gathered) -> Tensor:
        listed = found.listed
        name, dtype = listed.name, dtype_name(listed.dtype)
        slices = tuple(Slice(part.start, part.shape, _segment(part), None) for part in found.parts)
        if len(found.parts) == 1 and found.parts[0].shape == listed.shape:
            storage = Storage("v1", slices[0].segment)
        else:
            storage = Storage("v1", slices=slices)
        return Tensor(
            name=name,
            dtype=dtype,
            shape=listed.shape,
            bytes=found.stored,
            layer=layer_of(name),
            role=role_of(name, dtype, listed.shape),
            storage=storage,
            problem=found.problem,
        )


def _segment(part: Part) -> Segment:
    """The bytes of a part's record; of one in a compressed block, the block."""
    block = part.table.blocks[part.record.block]
    body = part.table.body(part.record.block)
    base = getattr(body, "base", None)
    if base is None:
        return Segment(part.table.source.path, block.handle.offset, block.handle.size)
    return Segment(part.table.source.path, base + part.record.offset, part.record.size)


def open_v1(path: str) -> BundleV1:
    """The V1 checkpoint at a path: one file, or the pattern its files share.

    Raises:
        NoSuchPath: no file of it is there.
        CkptuiError: the system refuses the bytes.
    """
    try:
        return BundleV1(path)
    except OSError as error:
        raise CkptuiError(f"{path}: {error}") from None
