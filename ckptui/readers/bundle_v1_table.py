"""A table on disk read where it is needed: its directory, the records of its blocks by their headers, block checksums.

V1 checkpoints keep their values in the table itself, so it may have gigabytes: nothing here holds more than a window
of it. Layout: LevelDB's `table_format.md`. Where the directory is lost, the blocks are walked from the first byte.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

from crc32c import crc32c

from ckptui.errors import Damaged
from ckptui.readers.bundle_v1_records import Body, Walked, block_records, entries_of
from ckptui.readers.bundle_v1_window import FileBody, MemoryBody
from ckptui.readers.snappy import unpack_prefix
from ckptui.readers.source import Source
from ckptui.readers.sstable_block import TRAILER, Budget, Handle, load_block, parse_block, parse_handle, unmask
from ckptui.readers.sstable_ends import FOOTER, MAGIC, Problem, footer_numbers
from ckptui.readers.sstable_walk import METAINDEX
from ckptui.readers.wire import WireError, encode_uvarint, uvarint

INDEX_CAP = 1 << 26
"""Bytes of the largest index block that is read."""
PACKED_CAP = 1 << 26
"""Bytes of the largest compressed block that is unpacked; writers make blocks of 256 KiB and one value."""
TAIL = 1 << 16
"""How far from the end a footer is looked for behind appended bytes."""
CHECK_PIECE = 1 << 18
_EMPTY_BLOCK = METAINDEX[:9]


@dataclass(frozen=True, slots=True)
class DataBlock:
    """Where one data block lies."""

    number: int
    handle: Handle
    separator: bytes | None
    """No key in the block is greater; None where no index block says so."""
    whole: bool = True
    """Its trailer is there."""
    packed: bool | None = None
    """Whether a walk found it compressed; None where its type byte tells."""


class LazyTable:
    """One table file; problems are collected, not raised."""

    def __init__(self, source: Source) -> None:
        """Read footer and index block, or walk. Raises only what reading bytes raises."""
        self.source = source
        self.size = source.size
        self.blocks: list[DataBlock] = []
        self.problems: list[Problem] = []
        self.walked = False
        """Found block by block, because footer or index block can't be trusted."""
        self.stopped = source.size
        """Where a walk could tell no more; the file's size where all was read."""
        self.cut_off = False
        """The file ends where it should go on."""
        self._known: dict[int, Walked] = {}
        self._sums: dict[int, tuple[int, int] | None] = {}
        self._bodies: dict[int, Body] = {}
        if not self._by_directory():
            self._by_walking()
            # a file that ends as tables end has lost nothing of its end
            self.cut_off = self.cut_off and not (self.size >= FOOTER and source.pread(self.size - 8, 8) == MAGIC)

    # ------------------------------------------------------------------ blocks

    def body(self, number: int) -> Body:
        """The unpacked body of a block. Raises Damaged for a compressed one that can't be unpacked."""
        known = self._bodies.get(number)
        if known is not None:
            return known
        block = self.blocks[number]
        offset, size = block.handle.offset, block.handle.size
        kind = self.source.pread(offset + size, 1)[0] if block.packed is None else int(block.packed)
        if kind == 0:
            body: Body = FileBody(self.source, offset, size)
        elif kind == 1:
            if size > PACKED_CAP:
                raise Damaged(f"a compressed block of {size} bytes, at most {PACKED_CAP} are unpacked")
            raw = self.source.pread(offset, size + TRAILER)
            loaded = load_block(raw, Handle(0, size), Budget(unpacked=PACKED_CAP))
            if loaded.problem and not loaded.body:
                raise Damaged(loaded.problem)
            body = MemoryBody(loaded.body)
            self._bodies.clear()
        else:
            raise Damaged(f"compression type {kind}")
        self._bodies[number] = body
        return body

    def checksum(self, number: int, beat: Callable[[int], None] = lambda _: None) -> tuple[int, int] | None:
        """Stored and computed CRC-32C of a block and its type byte, unmasked; None for one without trailer."""
        if number not in self._sums:
            block = self.blocks[number]
            if not block.whole:
                self._sums[number] = None
                return None
            offset, size = block.handle.offset, block.handle.size
            computed = 0
            for view in self.source.stream(offset, size + 1, CHECK_PIECE):
                computed = crc32c(view, computed)
                beat(len(view))
            stored = unmask(int.from_bytes(self.source.pread(offset + size + 1, 4), "little"))
            self._sums[number] = stored, computed
        return self._sums[number]

    def proved(self, number: int) -> bool:
        """A block's checksum vouches for it; reads the whole block the first time."""
        sums = self.checksum(number)
        return sums is not None and sums[0] == sums[1]

    def records(self, number: int) -> Walked:
        """The records of a block, by their headers alone; values are skipped over."""
        known = self._known.get(number)
        if known is None:
            try:
                known = block_records(self.body(number), number)
            except Damaged as error:
                known = Walked(problem=error.detail)
            self._known[number] = known
        return known

    def block_for(self, key: bytes) -> int | None:
        """The number of the block where `key` belongs; None where no index block tells."""
        separators = [block.separator for block in self.blocks]
        if not separators or None in separators:
            return None
        place = bisect_left([s for s in separators if s is not None], key)
        return place if place < len(separators) else None

    # ------------------------------------------------------------------ the directory

    def _by_directory(self) -> bool:
        """Take the blocks from the index block; False where its word does not count."""
        if self.size < FOOTER:
            self.problems.append(Problem("footer", 0, f"{self.size} bytes are less than a footer"))
            return False
        start = self._footer_start()
        if start is None:
            return False
        numbers = footer_numbers(self.source.pread(start, FOOTER - len(MAGIC)), 0)
        if numbers is None or numbers[2] + numbers[3] + TRAILER > start or numbers[3] > INDEX_CAP:
            self.problems.append(Problem("footer", start, "its block handles make no sense"))
            return False
        meta, index = Handle(numbers[0], numbers[1]), Handle(numbers[2], numbers[3])
        if not self._take_index(index):
            return False
        self._check_layout(start, numbers, meta, index)
        return True

    def _footer_start(self) -> int | None:
        """Where the footer begins: at the end, or before appended bytes."""
        if self.source.pread(self.size - 8, 8) == MAGIC:
            return self.size - FOOTER
        window = min(self.size, TAIL)
        tail = self.source.pread(self.size - window, window)
        last = tail.rfind(MAGIC)
        if last >= 40:
            start = self.size - window + last - 40
            numbers = footer_numbers(tail, last - 40)
            if numbers is not None and numbers[2] + numbers[3] + TRAILER == start and numbers[3] <= INDEX_CAP:
                extra = self.size - start - FOOTER
                self.problems.append(Problem("footer", start, f"{extra} bytes follow the footer"))
                return start
        self.problems.append(Problem("footer", self.size - FOOTER, "no table ends here: the magic number is wrong"))
        return None

    def _take_index(self, index: Handle) -> bool:
        raw = self.source.pread(index.offset, index.size + TRAILER)
        block = load_block(raw, Handle(0, index.size), Budget())
        entries = parse_block(block.body, Budget()) if block.proved else None
        reason = block.problem or (entries.problem if entries else "")
        found: list[DataBlock] = []
        if entries is not None and not reason:
            floor = 0
            for separator, value in zip(entries.keys, entries.values, strict=True):
                handle = parse_handle(value)
                if handle is None or handle.offset < floor or handle.end > index.offset:
                    reason = "block handles that overlap or leave the file"
                    break
                floor = handle.end
                found.append(DataBlock(len(found), handle, separator))
        if reason:
            sums = (block.stored, block.computed) if block.stored != block.computed else (None, None)
            self.problems.append(Problem("index block", index.offset, reason, *sums))
            return False
        self.blocks = found
        return True

    def _check_layout(self, start: int, numbers: list[int], meta: Handle, index: Handle) -> None:
        """What no reader needs, but every writer writes the same way."""
        canonical = b"".join(map(encode_uvarint, numbers)).ljust(FOOTER - len(MAGIC), b"\0")
        if canonical != self.source.pread(start, FOOTER - len(MAGIC)):
            reason = "the padding is not zero, or a number is not in its shortest form"
            self.problems.append(Problem("footer", start, reason, cosmetic=True))
        floor = 0
        for block in self.blocks:
            if block.handle.offset != floor:
                reason = f"{block.handle.offset - floor} bytes before this block belong to none"
                self.problems.append(Problem("data block", block.handle.offset, reason, cosmetic=True))
            floor = block.handle.end
        if meta.offset != floor or meta.end != index.offset or index.end != start:
            reason = "its handles leave bytes between the last blocks unused, or point elsewhere"
            self.problems.append(Problem("footer", start, reason, cosmetic=True))
        if meta.end > index.offset or meta.size > INDEX_CAP:
            return
        raw = load_block(self.source.pread(meta.offset, meta.size + TRAILER), Handle(0, meta.size), Budget())
        reason = raw.problem or parse_block(raw.body, Budget()).problem
        if reason:
            differ = raw.stored != raw.computed
            stored, computed = (raw.stored, raw.computed) if differ else (None, None)
            self.problems.append(Problem("metaindex block", meta.offset, reason, stored, computed, cosmetic=True))

    # ------------------------------------------------------------------ walking

    def _by_walking(self) -> None:
        """Find the data blocks one after another from byte 0, each recognised by its own end."""
        self.walked = True
        position = 0
        while position < self.size:
            if self._starts_with(position, _EMPTY_BLOCK):
                self._after_metaindex(position)
                return
            number = len(self.blocks)
            first = self.source.pread(position, 1)[0]
            found = self._walk_plain(position, number) if first == 0 else self._walk_packed(position, number)
            if found is None:
                self.stopped = position
                return
            walked, end = found
            whole = end + TRAILER <= self.size
            if walked.records:
                handle = Handle(position, end - position)
                self.blocks.append(DataBlock(number, handle, None, whole and not walked.problem, first != 0))
                self._known[number] = walked
            if walked.problem or not whole:
                self.stopped = position + walked.stopped
                self.cut_off = walked.cut or not walked.problem
                return
            position = end + TRAILER
        self.stopped = self.size
        self.cut_off = True

    def _starts_with(self, position: int, expected: bytes) -> bool:
        """Whether `expected` stands there, or as much of it as the file still has."""
        count = min(len(expected), self.size - position)
        return self.source.pread(position, count) == expected[:count]

    def _walk_plain(self, start: int, number: int) -> tuple[Walked, int]:
        walked = Walked()
        body = FileBody(self.source, start, self.size - start)
        for record, closed in entries_of(body, 0, body.size, number, walked, directory=False):
            if closed is not None:
                return walked, start + closed
            walked.records.append(record)
        return walked, self.size

    def _walk_packed(self, start: int, number: int) -> tuple[Walked, int] | None:
        head = self.source.pread(start, min(10, self.size - start))
        try:
            declared, begin = uvarint(head, 0)
        except WireError:
            return None
        if not 0 < declared <= PACKED_CAP:
            return None
        packed = self.source.pread(start, min(self.size - start, begin + declared + declared // 6 + 32))
        unpacked = unpack_prefix(packed, begin, declared)
        if not unpacked.whole:
            return None
        walked = block_records(MemoryBody(unpacked.data), number)
        return walked, start + unpacked.end

    def _after_metaindex(self, position: int) -> None:
        """All data blocks are told; whether the file is cut off or its end is damaged shows in what follows."""
        index = position + len(METAINDEX)
        self.stopped = position
        if index >= self.size:
            self.cut_off = True
            return
        walked = Walked()
        body = FileBody(self.source, index, self.size - index)
        closed: int | None = None
        for record, end in entries_of(body, 0, body.size, 0, walked, directory=False):
            if end is not None:
                closed = end
                break
            walked.records.append(record)
        if closed is None:
            self.cut_off = walked.cut or not walked.problem
            return
        self.cut_off = index + closed + TRAILER + FOOTER > self.size
