"""The second look at data files whose checksums are wrong: text-mode copies, other saves' bytes. In a reader child."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ckptui.core import dtypes
from ckptui.core.model import Segment, Tensor
from ckptui.core.shard_facts import CountedValue, ShardFacts
from ckptui.engine import partners
from ckptui.engine.checked import Beat, Files
from ckptui.engine.facts import pack
from ckptui.engine.moved import Moved, moved
from ckptui.engine.partners import Budget, Piece
from ckptui.engine.scan import stored_dtype
from ckptui.engine.textcopies import copied
from ckptui.errors import CkptuiError

if TYPE_CHECKING:
    from ckptui.engine.child import Call
    from ckptui.engine.opened import OpenReader
    from ckptui.engine.ops import Args, Items

SAMPLED_TENSORS = 24
SAMPLED_BYTES = 1 << 14
"""Of each of them."""
MOST_COUNTERS = 8
SMALLEST_SANE, LARGEST_SANE = 1e-12, 1e6
"""Between these lie the magnitudes of weights; a quarter of random float32 bit patterns does."""
LARGEST_COUNT = 1 << 40


@dataclass(frozen=True, slots=True)
class Wrong:
    """The checksums that failed."""

    parts: Mapping[tuple[str, str], tuple[int | None, bool]]
    """(tensor, part) to what the bytes give, and whether a flipped bit or zeros explain it."""
    names: Mapping[str, bool]

    def of(self, tensor: Tensor, part: str) -> tuple[int | None, bool] | None:
        """What is known of a wrong checksum; None where it was right."""
        if (tensor.name, part) in self.parts:
            return self.parts[tensor.name, part]
        if tensor.storage.encoding in ("strings", "variant") and tensor.name in self.names:
            # a part of it failed, so what the whole gives was never worked out
            return None, self.names[tensor.name]
        return None


def causes(call: Call, args: Args, items: Items, opened: Callable[[], OpenReader]) -> Any:
    """ShardFacts of every file in `files`; `wrong`: [tensor, part, found, explained] of each wrong checksum."""
    save = opened()
    parts = {(name, part): (found, explained) for name, part, found, explained in args["wrong"]}
    wrong = Wrong(parts, {name: explained for name, _, _, explained in args["wrong"]})
    files = Files()
    try:
        held = _held(save.listing.tensors, set(args["files"]))
        return pack([_facts(files, held[file], file, wrong, items.beat) for file in args["files"] if file in held])
    finally:
        files.close()


Held = list[tuple[Tensor, str, Segment, int | None, int]]
"""(tensor, part, bytes, stored checksum, elements) of one file."""


def _held(tensors: Iterable[Tensor], files: set[str]) -> dict[str, Held]:
    """What lies in each file."""
    found: dict[str, Held] = {}
    for tensor in tensors:
        storage = tensor.storage
        for number, tile in enumerate(storage.slices):
            if tile.segment.file in files:
                count = int(np.prod(tile.shape, dtype=object))
                row = (tensor, f"tile {number}", tile.segment, tile.crc32c, count)
                found.setdefault(tile.segment.file, []).append(row)
        if storage.segment is not None and storage.segment.file in files:
            row = (tensor, "", storage.segment, storage.crc32c, tensor.count)
            found.setdefault(storage.segment.file, []).append(row)
    return found


def _facts(files: Files, held: Held, file: str, wrong: Wrong, beat: Beat) -> ShardFacts:
    source = files.get(file)
    pieces, bad, beyond = [], [], []
    for tensor, part, segment, crc, count in held:
        if crc is None:
            continue
        encoding = tensor.storage.encoding if tensor.storage.encoding != "slices" else "plain"
        if segment.offset + segment.bytes > source.size:
            beyond.append(Piece(segment.offset, segment.bytes, crc, encoding, count))
            continue
        verdict = wrong.of(tensor, part)
        found = crc if verdict is None else verdict[0]
        pieces.append(Piece(segment.offset, segment.bytes, crc, encoding, count, found))
        if verdict is not None:
            bad.append((tensor, segment, verdict[1]))
    match = partners.SHARD_NAME.fullmatch(file)
    prefix = match[1] if match else file
    needed = max((segment.offset + segment.bytes for _, _, segment, _, _ in held), default=0)
    plausible, high = _sampled(files, bad)
    shift = moved(source, needed, [*pieces, *beyond], beat) if source.size != needed else Moved()
    copy = copied(source, needed, pieces, len(held) - len(pieces), high, shift, beat)
    counters = tuple(_counters(files, bad))
    facts = ShardFacts(
        file=file,
        index=f"{prefix}.index",
        size=source.size,
        needed=needed,
        modified=source.modified,
        index_modified=_modified(f"{prefix}.index"),
        checksums=len(pieces),
        wrong=len(bad),
        unexplained=sum(not explained for _, _, explained in bad),
        counters_explained=sum(explained and any(c.tensor == t.name for c in counters) for t, _, explained in bad),
        scattered=_scattered(pieces),
        plausible=plausible,
        counters=counters,
        mangling=copy.kind,
        reversible=copy.reversible,
        proved=copy.proved,
        shift=0 if copy.kind else shift.by,
        shifted=shift.count,
        shift_after=shift.after,
        shift_before=shift.before,
    )
    return facts if copy.kind or shift.count or not bad else _with_partners(files, facts, pieces, prefix, beat)


def _with_partners(files: Files, facts: ShardFacts, pieces: Sequence[Piece], prefix: str, beat: Beat) -> ShardFacts:
    indexes = list(partners.other_indexes(prefix))
    data = partners.other_data_files(facts.file, indexes)
    budget = Budget(partners.READ_LIMIT)
    shard = partners.other_shard(files, facts.file, facts.index, budget, beat) if facts.unexplained else ""
    if shard:
        return replace(facts, same_as=shard, swapped=True)
    same_as = partners.same_data(files, facts.file, data)
    other_index = partners.with_other_index(files, facts.file, pieces, indexes, budget, beat)
    other_data = None
    if other_index is None or not other_index.complete:
        other_data = partners.with_other_data(files, facts.file, facts.index, pieces, data, budget, beat)
    return replace(facts, same_as=same_as, other_index=other_index, other_data=other_data)


def _scattered(pieces: Sequence[Piece]) -> bool:
    """Does anything that holds, and is more than a few bytes, lie between two that do not?"""
    ordered = sorted((piece for piece in pieces if piece.bytes), key=lambda piece: piece.offset)
    places = [n for n, piece in enumerate(ordered) if piece.wrong]
    return bool(places) and any(not piece.wrong for piece in ordered[places[0] : places[-1]])


def _modified(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


# ---------------------------------------------------------------------- values


def _counters(files: Files, bad: Sequence[tuple[Tensor, Segment, bool]]) -> Iterable[CountedValue]:
    """Scalars that count something and whose stored value still could be a count."""
    told = 0
    for tensor, segment, _ in bad:
        dtype = stored_dtype(tensor)
        if dtype is None or tensor.count != 1 or dtype.kind not in "iu" or tensor.role not in ("counter", "step"):
            continue
        try:
            value = int(np.frombuffer(files.get(segment.file).pread(segment.offset, dtype.itemsize), dtype)[0])
        except (CkptuiError, ValueError):
            continue
        if 0 <= value < LARGEST_COUNT and told < MOST_COUNTERS:
            told += 1
            yield CountedValue(tensor.name, value)


def _sampled(files: Files, bad: Sequence[tuple[Tensor, Segment, bool]]) -> tuple[float | None, tuple[int, int]]:
    """Share of sane floating-point numbers under wrong checksums; and (bytes not zero, those with an eighth bit)."""
    sane = total = filled = high = 0
    chosen = [row for row in bad if dtypes.is_float(row[0].dtype) and dtypes.ITEMSIZE[row[0].dtype] >= 2]
    step = max(1, len(chosen) // SAMPLED_TENSORS)
    for tensor, segment, _ in chosen[::step][:SAMPLED_TENSORS]:
        dtype = stored_dtype(tensor)
        if dtype is None:
            continue
        count = min(segment.bytes, SAMPLED_BYTES) // dtype.itemsize * dtype.itemsize
        try:
            raw = files.get(segment.file).pread(segment.offset, count)
        except CkptuiError:
            continue
        data = np.frombuffer(raw, np.uint8)
        filled += int(np.count_nonzero(data))
        high += int(np.count_nonzero(data & 128))
        if dtype.itemsize == 2 and dtype.name == "float16":
            continue
        with np.errstate(all="ignore"):
            size = np.abs(np.frombuffer(raw, dtype).astype(np.float64))
        size = size[size != 0]
        total += size.size
        sane += int(np.count_nonzero((size > SMALLEST_SANE) & (size < LARGEST_SANE)))
    return (sane / total if total else None), (filled, high)
