"""Sorted string tables: the container of `.index` files. Every checksum is verified; damage costs only what it hit.

Layout (LevelDB's table format): data blocks, one metaindex block, one index block of handles, a 48-byte footer.
When footer or index block can't be trusted, the data blocks are walked from the start of the file instead.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from itertools import islice
from operator import lt

from ckptui.readers.source import Source
from ckptui.readers.sstable_block import Budget, Handle, load_block, parse_block
from ckptui.readers.sstable_walk import walk
from ckptui.readers.wire import WireError, encode_uvarint, uvarint

FOOTER = 48
MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")
CAP = 1 << 29
"""Bytes of the largest table that is read; it is read whole."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One contradiction in a table."""

    where: str
    """`file`, `footer`, `index block`, `metaindex block`, `data block` or `key`."""
    offset: int
    """File offset of the block, footer or first byte concerned."""
    reason: str
    expected: int | None = None
    """The checksum the file stores, unmasked."""
    found: int | None = None
    """The checksum its bytes have."""
    cosmetic: bool = False
    """Nothing a reader needs is touched."""
    duplicate: bytes | None = None
    """The key, where the trouble is that it stands twice."""


@dataclass(slots=True)
class Table:
    """What a table holds, in file order, and what is wrong with it."""

    keys: list[bytes] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)
    unproved: list[range] = field(default_factory=list)
    """Positions of entries that no checksum vouches for."""
    problems: list[Problem] = field(default_factory=list)
    size: int = 0
    """Bytes of the file."""
    walked: bool = False
    """Read block by block from the start, because footer or index block can't be trusted."""
    complete: bool = True
    """As far as the file tells, no entry is lost."""


@dataclass(frozen=True, slots=True)
class _Footer:
    start: int
    """Where it begins: the file's end less 48, unless bytes follow it."""
    meta: Handle
    index: Handle
    canonical: bool
    """The handles are in shortest form and the padding is zero."""


def read_table(path: str | os.PathLike[str], cap: int = CAP) -> Table:
    """The table in a file; raises NoSuchPath, Unreadable or ChangedWhileReading, and nothing for damage."""
    with Source(path) as source:
        if source.size > cap:
            reason = f"{source.size} bytes, more than the {cap} that are read"
            return Table(problems=[Problem("file", 0, reason)], size=source.size, complete=False)
        data = source.pread(0, source.size)
        source.fence()
    return parse_table(data)


def parse_table(data: bytes) -> Table:
    """The table in `data`; never raises for what it holds, and takes time and memory bounded by its length."""
    table = Table(size=len(data))
    if not data:
        table.problems.append(Problem("file", 0, "the file is empty"))
        table.complete = False
        return table
    budget = Budget()
    footer = _find_footer(data, table)
    handles = _read_index(data, footer, table, budget) if footer else None
    if footer is None or handles is None:
        _walk_all(data, table, budget)
    else:
        _check_layout(data, footer, table, budget)
        _read_blocks(data, handles, footer.meta.offset, table, budget)
    _check_order(table)
    return table


def _find_footer(data: bytes, table: Table) -> _Footer | None:
    """The footer whose index block its checksum vouches for: at the end, else before appended bytes."""
    end = len(data)
    if end < FOOTER:
        table.problems.append(Problem("footer", 0, f"{end} bytes are less than a footer"))
        return None
    if data.endswith(MAGIC):
        footer = _parse_footer(data, end - FOOTER)
        if footer is None:
            table.problems.append(Problem("footer", end - FOOTER, "its block handles make no sense"))
        return footer
    last = data.rfind(MAGIC)
    earlier = _parse_footer(data, last - 40) if last >= 40 else None
    if earlier is not None and _vouched(data, earlier):
        extra = end - earlier.start - FOOTER
        table.problems.append(Problem("footer", earlier.start, f"{extra} bytes follow the footer"))
        return earlier
    table.problems.append(Problem("footer", end - FOOTER, "no table ends here: the magic number is wrong"))
    footer = _parse_footer(data, end - FOOTER)
    return footer if footer is not None and _vouched(data, footer) else None


def _parse_footer(data: bytes, start: int) -> _Footer | None:
    """The footer at `start`, or None where its handles leave the file."""
    stop = start + FOOTER - len(MAGIC)
    numbers, position = [], start
    try:
        for _ in range(4):
            number, position = uvarint(data, position, stop)
            numbers.append(number)
    except WireError:
        return None
    index = Handle(numbers[2], numbers[3])
    if index.end > start:
        return None
    canonical = b"".join(map(encode_uvarint, numbers)).ljust(FOOTER - len(MAGIC), b"\0") == data[start:stop]
    return _Footer(start, Handle(numbers[0], numbers[1]), index, canonical)


def _vouched(data: bytes, footer: _Footer) -> bool:
    return load_block(data, footer.index, Budget()).proved


def _read_index(data: bytes, footer: _Footer, table: Table, budget: Budget) -> list[tuple[bytes, Handle]] | None:
    """The index block's separators and handles, or None where its word does not count."""
    block = load_block(data, footer.index, budget)
    entries = parse_block(block.body, budget) if block.proved else None
    reason = block.problem or (entries.problem if entries else "")
    handles: list[tuple[bytes, Handle]] = []
    if entries is not None and not reason:
        floor = 0
        for key, value in zip(entries.keys, entries.values, strict=True):
            handle = _handle(value)
            if handle is None or handle.offset < floor or handle.end > footer.index.offset:
                reason = "block handles that overlap or leave the file"
                break
            floor = handle.end
            handles.append((key, handle))
    if not reason:
        return handles
    table.problems.append(
        Problem("index block", footer.index.offset, reason, *_checksums(block.stored, block.computed))
    )
    return None


def _handle(value: bytes) -> Handle | None:
    try:
        offset, position = uvarint(value, 0)
        size, position = uvarint(value, position)
    except WireError:
        return None
    return Handle(offset, size) if position == len(value) else None


def _checksums(stored: int, computed: int) -> tuple[int | None, int | None]:
    """Both checksums where they differ, else nothing to tell."""
    return (stored, computed) if stored != computed else (None, None)


def _check_layout(data: bytes, footer: _Footer, table: Table, budget: Budget) -> None:
    """What no reader needs but every writer writes the same way: metaindex, padding, no gaps."""
    meta, index = footer.meta, footer.index
    if not footer.canonical:
        reason = "the padding is not zero, or a number is not in its shortest form"
        table.problems.append(Problem("footer", footer.start, reason, cosmetic=True))
    if meta.end != index.offset or index.end != footer.start:
        reason = "its handles leave bytes between the last blocks unused"
        table.problems.append(Problem("footer", footer.start, reason, cosmetic=True))
    if meta.end > index.offset:
        return
    block = load_block(data, meta, budget)
    reason = block.problem or parse_block(block.body, budget).problem
    if reason:
        sums = _checksums(block.stored, block.computed)
        table.problems.append(Problem("metaindex block", meta.offset, reason, *sums, cosmetic=True))


def _read_blocks(data: bytes, handles: list[tuple[bytes, Handle]], end: int, table: Table, budget: Budget) -> None:
    """Every data block by its handle; a damaged one gives what parses, unproved."""
    floor = 0
    previous = b""
    for position, (separator, handle) in enumerate(handles):
        if handle.offset != floor:
            reason = f"{handle.offset - floor} bytes before this block belong to none"
            table.problems.append(Problem("data block", handle.offset, reason, cosmetic=True))
        floor = handle.end
        block = load_block(data, handle, budget)
        first = len(table.keys)
        entries = parse_block(block.body, budget)
        table.keys += entries.keys
        table.values += entries.values
        reason = block.problem or entries.problem
        if not reason and entries.keys and not _bounds_hold(previous, entries.keys, separator, position):
            reason = "keys outside the bounds that the index block gives"
        previous = separator
        if reason:
            table.unproved.append(range(first, len(table.keys)))
            table.complete = table.complete and not entries.problem and bool(entries.keys)
            sums = _checksums(block.stored, block.computed)
            table.problems.append(Problem("data block", handle.offset, reason, *sums))
    if handles and floor != end:
        reason = f"the last block ends at {floor}, the metaindex block begins at {end}"
        table.problems.append(Problem("data block", floor, reason, cosmetic=True))


def _bounds_hold(previous: bytes, keys: list[bytes], separator: bytes, position: int) -> bool:
    return keys[-1] <= separator and (position == 0 or keys[0] > previous)


def _walk_all(data: bytes, table: Table, budget: Budget) -> None:
    """Fill `table` block by block from the start of the file."""
    table.walked = True
    outcome = walk(data, budget)
    for block in outcome.blocks:
        first = len(table.keys)
        table.keys += block.entries.keys
        table.values += block.entries.values
        if block.proved:
            continue
        table.unproved.append(range(first, len(table.keys)))
        reason = block.entries.problem or "checksum mismatch"
        table.problems.append(Problem("data block", block.offset, reason, block.stored, block.computed))
    table.complete = outcome.reached_end
    if not outcome.reached_end:
        reason = f"from byte {outcome.stopped} of {len(data)} on nothing can be told apart"
        table.problems.append(Problem("file", outcome.stopped, reason))


def _check_order(table: Table) -> None:
    """Keys increase strictly: tells keys that stand twice and the first out of order, among proved entries.

    Among entries nothing vouches for, a second copy of a key is garbage and goes.
    """
    keys = table.keys
    if all(map(lt, keys, islice(keys, 1, None))):
        return
    guessed = bytearray(len(keys))
    for span in table.unproved:
        guessed[span.start : span.stop] = b"\1" * len(span)
    proved = {key for key, guess in zip(keys, guessed, strict=True) if not guess}
    seen: set[bytes] = set()
    twice: list[bytes] = []
    kept: list[int] = []
    last = b""
    in_order = True
    for position, key in enumerate(keys):
        if guessed[position]:
            if key not in proved and key not in seen:
                kept.append(position)
        else:
            kept.append(position)
            if key in seen:
                twice.append(key)
            elif key < last and in_order:
                in_order = False
                table.problems.append(Problem("key", 0, f"the key of entry {position} is out of order"))
            last = key
        seen.add(key)
    table.problems += [Problem("key", 0, "stands twice", duplicate=key) for key in twice]
    _keep(table, kept, guessed)


def _keep(table: Table, kept: list[int], guessed: bytearray) -> None:
    """Reduce the table to these positions."""
    table.unproved = []
    for position, old in enumerate(kept):
        if not guessed[old]:
            continue
        if table.unproved and table.unproved[-1].stop == position:
            table.unproved[-1] = range(table.unproved[-1].start, position + 1)
        else:
            table.unproved.append(range(position, position + 1))
    table.keys = [table.keys[old] for old in kept]
    table.values = [table.values[old] for old in kept]
