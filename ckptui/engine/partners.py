"""Another index for this data, another data file for this index: pairs in which the checksums come out right.

Runs in a reader child. Bytes are read only as far as they decide: an index costs no data at all where it describes
the same layout, another data file is left at its first wrong checksum, small tensors first.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from ckptui.core.dtypes import dtype_name
from ckptui.core.model import Encoding, Segment, Storage
from ckptui.core.shard_facts import Partner
from ckptui.engine.checked import Beat, Files, Verdict, check_bytes
from ckptui.errors import CkptuiError
from ckptui.readers.bundle_index import BundleIndex
from ckptui.readers.sstable import read_table
from ckptui.readers.sstable_block import unmask

CANDIDATES = 48
"""Other saves tried."""
READ_LIMIT = 256 << 20
"""Bytes of other pairings read for one data file."""
SEARCH_SECONDS = 10.0
"""After that no further index is opened."""
INDEX_CAP = 1 << 26
PROOFS = 8
"""Tensors that must be whole before a file is taken for another shard."""
SHARD_NAME = re.compile(r"(.*)\.data-([0-9]{5,18})-of-([0-9]{5,18})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a data file under one checksum."""

    offset: int
    bytes: int
    crc: int
    """As the save's index has it, unmasked."""
    encoding: Encoding
    """`plain`, `strings` or `variant`."""
    count: int
    """Elements."""
    found: int | None = None
    """What the bytes give: `crc` where it is right, None where that is not known."""

    @property
    def wrong(self) -> bool:
        """The bytes do not give `crc`, or nobody knows."""
        return self.found != self.crc


class Budget:
    """Bytes that may still be read, and until when."""

    def __init__(self, left: int, seconds: float = SEARCH_SECONDS) -> None:
        self.left = left
        self._end = time.monotonic() + seconds

    @property
    def spent(self) -> bool:
        """No time is left to begin with another candidate."""
        return time.monotonic() > self._end

    def holds(self, files: Files, path: str, piece: Piece, beat: Beat) -> bool | None:
        """Does the checksum hold over the bytes of `path`? None where that would cost more than is left."""
        if piece.bytes > self.left:
            return None
        self.left -= piece.bytes
        storage = Storage(piece.encoding, Segment(path, piece.offset, piece.bytes), piece.crc)
        verdict = Verdict()
        try:
            check_bytes(files, storage, piece.count, verdict, lambda done: beat(0))
        except CkptuiError:
            return False
        return not verdict.mismatches


def other_indexes(prefix: str) -> Iterator[tuple[str, str]]:
    """(index file, its prefix) of saves that could have written this data: leftovers first, then the nearest names."""
    folder, base = os.path.split(prefix)
    part = f"{prefix}_temp/part-00000-of-00001"
    if os.path.isfile(part + ".index"):
        yield part + ".index", part
    for name in _nearest(folder, base, re.compile(re.escape(base) + r"\.index\.tempstate[0-9]+")):
        yield os.path.join(folder, name), prefix
    for name in _nearest(folder, base, re.compile(r".*\.index", re.DOTALL)):
        if name != f"{base}.index":
            yield os.path.join(folder, name), os.path.join(folder, name.removesuffix(".index"))
    for other in _exports(folder, base):
        yield f"{other}.index", other


def _nearest(folder: str, base: str, pattern: re.Pattern[str]) -> list[str]:
    """Names in `folder` that match, the number in them closest to that of `base` first."""
    try:
        names = [name for name in os.listdir(folder or ".") if pattern.fullmatch(name)]
    except OSError:
        return []
    number = _number(base)
    return sorted(names, key=lambda name: (abs(_number(name.split(".index")[0]) - number), name))[:CANDIDATES]


def _exports(folder: str, base: str) -> list[str]:
    """The variables of the other SavedModels beside the one whose variables these are."""
    if (os.path.basename(folder), base) != ("variables", "variables"):
        return []
    model = Path(folder).absolute().parent
    try:
        beside = sorted(path for path in model.parent.iterdir() if path != model)
    except OSError:
        return []
    return [str(path / "variables/variables") for path in beside if (path / "variables/variables.index").is_file()][
        :CANDIDATES
    ]


def _number(name: str) -> int:
    digits = re.findall(r"[0-9]+", name)
    return int(digits[-1][:18]) if digits else 0


_ENCODINGS: dict[str, Encoding] = {"string": "strings", "variant": "variant"}


def pieces_of(index_file: str, prefix: str, shard: int, shards: int) -> list[Piece]:
    """What an index says about one of its data files; nothing where it can't be read or has another number of them."""
    try:
        index = BundleIndex(prefix, index_file, read_table(index_file, INDEX_CAP))
    except CkptuiError:
        return []
    if index.header.shards != shards:
        return []
    found = []
    for entry in index.entries[index.first :]:
        if entry.fault or entry.slices or entry.shard != shard or entry.crc is None or min(entry.shape, default=0) < 0:
            continue
        encoding = _ENCODINGS.get(dtype_name(entry.dtype), "plain")
        found.append(Piece(entry.offset, entry.size, unmask(entry.crc), encoding, prod(entry.shape)))
    return found


def with_other_index(
    files: Files, data: str, pieces: Sequence[Piece], others: Iterable[tuple[str, str]], budget: Budget, beat: Beat
) -> Partner | None:
    """The index under which the most checksums of this data hold, if they are more than under its own."""
    shard, shards = _shard_of(data)
    known = {(piece.offset, piece.bytes, piece.encoding): piece.found for piece in pieces if piece.found is not None}
    best: Partner | None = None
    own = sum(not piece.wrong for piece in pieces)
    for index_file, prefix in others:
        if budget.spent:
            break
        theirs = pieces_of(index_file, prefix, shard, shards)
        beat(0)
        right = 0
        for number, piece in enumerate(sorted(theirs, key=lambda piece: piece.bytes)):
            crc = known.get((piece.offset, piece.bytes, piece.encoding))
            right += crc == piece.crc if crc is not None else bool(budget.holds(files, data, piece, beat))
            if number >= 8 and right * 8 < number:
                break
        partner = Partner(index_file, data, right, len(theirs))
        if partner.complete and right > own:
            return partner
        if right > own and (best is None or right > best.right):
            best = partner
    return best


def with_other_data(
    files: Files, data: str, index_file: str, pieces: Sequence[Piece], others: Iterable[str], budget: Budget, beat: Beat
) -> Partner | None:
    """The other data file in which every checksum of this index holds that fails here, as far as may be read."""
    bad = sorted((piece for piece in pieces if piece.wrong), key=lambda piece: piece.bytes)
    good = sorted((piece for piece in pieces if not piece.wrong), key=lambda piece: piece.bytes)
    for other in others:
        outcomes: list[bool] = []
        for piece in (*bad, *good):
            holds = budget.holds(files, other, piece, beat)
            if holds is None:
                break
            outcomes.append(holds)
            if not holds and len(outcomes) <= len(bad):
                break
        if outcomes and all(outcomes[: len(bad)]):
            same = _same_bytes(index_file, SHARD_NAME.sub(r"\1.index", other))
            return Partner(index_file, other, sum(outcomes), len(outcomes), same)
    return None


def other_data_files(data: str, indexes: Iterable[tuple[str, str]]) -> list[str]:
    """The data files of other saves that stand for this one there and have its size."""
    match = SHARD_NAME.fullmatch(data)
    if match is None:
        return []
    end = data[len(match[1]) :]
    found = []
    for _, prefix in indexes:
        other = prefix + end
        try:
            if other != data and os.path.isfile(other) and os.path.getsize(other) == os.path.getsize(data):
                found.append(other)
        except OSError:
            continue
    return found


def same_data(files: Files, data: str, others: Sequence[str]) -> str:
    """Another data file that is this one: the same inode, or the same first and last megabyte and size."""
    ends = _ends(files, data)
    for other in others:
        try:
            if os.path.samefile(data, other) or (ends is not None and _ends(files, other) == ends):
                return other
        except OSError:
            continue
    return ""


def other_shard(files: Files, data: str, index_file: str, budget: Budget, beat: Beat) -> str:
    """The name this data file should bear, where it holds what the save's own index has in another shard."""
    match = SHARD_NAME.fullmatch(data)
    if match is None:
        return ""
    own, count = _shard_of(data)
    for number in range(min(count, CANDIDATES)):
        if number == own or budget.spent:
            continue
        theirs = [piece for piece in pieces_of(index_file, match[1], number, count) if piece.bytes >= 4]
        theirs = sorted(theirs, key=lambda piece: piece.bytes)[:PROOFS]
        if theirs and all(budget.holds(files, data, piece, beat) for piece in theirs):
            return f"{match[1]}.data-{number:05d}-of-{count:05d}"
    return ""


def _ends(files: Files, path: str) -> tuple[bytes, bytes] | None:
    try:
        source = files.get(path)
        length = min(source.size, 1 << 20)
        return source.pread(0, length), source.pread(source.size - length, length)
    except CkptuiError:
        return None


def _same_bytes(a: str, b: str) -> bool:
    try:
        if os.path.getsize(a) != os.path.getsize(b) or os.path.getsize(a) > INDEX_CAP:
            return False
        return Path(a).read_bytes() == Path(b).read_bytes()
    except OSError:
        return False


def _shard_of(data: str) -> tuple[int, int]:
    match = SHARD_NAME.fullmatch(data)
    return (int(match[2]), int(match[3])) if match else (-1, -1)
