"""Sorted string tables: the container of `.index` files. Every checksum is verified; damage costs only what it hit.

Layout (LevelDB's table format): data blocks, one metaindex block, one index block of handles, a 48-byte footer.
When footer or index block can't be trusted, the data blocks are walked from the start of the file instead.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from itertools import islice
from operator import lt
from typing import Any

from ckptui.readers.source import Source
from ckptui.readers.sstable_block import TRAILER, Budget, Handle, RawBlock, load_block, parse_block, parse_handle
from ckptui.readers.sstable_ends import FOOTER, MAGIC, Footer, Problem, find_footer, landmark
from ckptui.readers.sstable_mend import Mended, mend
from ckptui.readers.sstable_walk import METAINDEX, Walk, WalkedBlock, walk

__all__ = ["CAP", "FOOTER", "MAGIC", "Problem", "Table", "parse_table", "read_table"]

CAP = 1 << 29
"""Bytes of the largest table that is read; it is read whole."""
ZERO_RUN = 64
"""Zeros in a damaged block that are told as such: no block holds that many."""


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
        table.problems.append(Problem("file", 0, "the file is empty", cause="empty"))
        table.complete = False
        return table
    budget = Budget()
    footer, trouble = find_footer(data)
    if trouble is not None:
        table.problems.append(trouble)
    handles = _read_index(data, footer, table, budget) if footer else None
    if footer is None or handles is None:
        if trouble is not None and data.endswith(MAGIC):
            _tell_from_landmark(data, table, budget)
        _walk_all(data, table, budget)
    else:
        end = _check_layout(data, footer, table, budget)
        _read_blocks(data, handles, end, table, budget)
    _check_order(table)
    return table


def _read_index(data: bytes, footer: Footer, table: Table, budget: Budget) -> list[tuple[bytes, Handle]] | None:
    """The index block's separators and handles, or None where its word does not count.

    A block with one flipped bit counts once the bit is turned back.
    """
    block = load_block(data, footer.index, budget)
    if block.proved:
        handles, reason = _handles(block, footer, budget)
        if handles is None:
            table.problems.append(Problem("index block", footer.index.offset, reason))
        return handles
    if _tell_from_landmark(data, table, budget, footer):
        return None
    mended = mend(data, footer.index, block, budget)
    sums = _checksums(block.stored, block.computed)
    if mended is not None:
        handles, _ = _handles(mended.block, footer, budget)
        if handles is not None:
            table.problems.append(_flipped("index block", footer.index, mended, sums))
            return handles
    table.problems.append(Problem("index block", footer.index.offset, block.problem, *sums))
    return None


def _handles(block: RawBlock, footer: Footer, budget: Budget) -> tuple[list[tuple[bytes, Handle]] | None, str]:
    """What an index block holds, or None and why it can't be."""
    entries = parse_block(block.body, budget)
    if entries.problem:
        return None, entries.problem
    floor = 0
    handles: list[tuple[bytes, Handle]] = []
    for key, value in zip(entries.keys, entries.values, strict=True):
        handle = parse_handle(value)
        if handle is None or handle.offset < floor or handle.end > footer.index.offset:
            return None, "block handles that overlap or leave the file"
        floor = handle.end
        handles.append((key, handle))
    return handles, ""


def _tell_from_landmark(data: bytes, table: Table, budget: Budget, footer: Footer | None = None) -> bool:
    """Whether the index block is whole where it always stands, so that the footer's handle of it is to blame."""
    start = len(data) - FOOTER if footer is None else footer.start
    found = table.problems[-1].facts.get("found") if footer is None else [footer.index.offset, footer.index.size]
    handle = landmark(data, start)
    if handle is None or (footer is not None and handle == footer.index) or not load_block(data, handle, budget).proved:
        return False
    facts: dict[str, Any] = {"expected": [handle.offset, handle.size]}
    if found is not None:
        facts["found"] = found
    reason = "the footer's handle of the index block is wrong"
    told = [problem for problem in table.problems if problem.where != "footer" or problem.cause == "appended"]
    table.problems = [*told, Problem("footer", start, reason, cause="flipped", facts=facts)]
    return True


def _flipped(where: str, handle: Handle, mended: Mended, sums: tuple[int | None, int | None]) -> Problem:
    return Problem(where, handle.offset, mended.words, *sums, cause="flipped", facts=mended.facts)


def _checksums(stored: int, computed: int) -> tuple[int | None, int | None]:
    """Both checksums where they differ, else nothing to tell."""
    return (stored, computed) if stored != computed else (None, None)


def _check_layout(data: bytes, footer: Footer, table: Table, budget: Budget) -> int:
    """What no reader needs but every writer writes the same way: metaindex, padding, no gaps.

    Returns where the data blocks end.
    """
    meta, index = footer.meta, footer.index
    if meta.end != index.offset and data.endswith(METAINDEX, 0, index.offset):
        place = index.offset - len(METAINDEX)
        facts = {"expected": [place, len(METAINDEX) - TRAILER], "found": [meta.offset, meta.size]}
        reason = "the footer's handle of the metaindex block is wrong"
        table.problems.append(Problem("footer", footer.start, reason, cosmetic=True, facts=facts))
        return place
    if meta.end != index.offset or index.end != footer.start:
        reason = "its handles leave bytes between the last blocks unused"
        table.problems.append(Problem("footer", footer.start, reason, cosmetic=True))
    elif not footer.canonical:
        reason = "the padding is not zero, or a number is not in its shortest form"
        table.problems.append(Problem("footer", footer.start, reason, cosmetic=True))
    if meta.end > index.offset:
        return meta.offset
    block = load_block(data, meta, budget)
    reason = block.problem or parse_block(block.body, budget).problem
    if reason:
        sums = _checksums(block.stored, block.computed)
        table.problems.append(Problem("metaindex block", meta.offset, reason, *sums, cosmetic=True))
    return meta.offset


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
        mended = None if block.proved else mend(data, handle, block, budget)
        entries = parse_block((mended.block if mended else block).body, budget)
        first = len(table.keys)
        table.keys += entries.keys
        table.values += entries.values
        reason = block.problem or entries.problem
        if not reason and entries.keys and not _bounds_hold(previous, entries.keys, separator, position):
            reason = "keys outside the bounds that the index block gives"
        previous = separator
        if reason:
            table.unproved.append(range(first, len(table.keys)))
            table.complete = table.complete and not entries.problem and bool(entries.keys)
            table.problems.append(_block_problem(data, handle, block, mended, reason))
    if handles and floor != end:
        reason = f"the last block ends at {floor}, the metaindex block begins at {end}"
        table.problems.append(Problem("data block", floor, reason, cosmetic=True))


def _block_problem(data: bytes, handle: Handle, block: RawBlock, mended: Mended | None, reason: str) -> Problem:
    sums = _checksums(block.stored, block.computed)
    if mended is not None:
        return _flipped("data block", handle, mended, sums)
    zeros = _zeros(data, handle) if sums[0] is not None else None
    if zeros is None:
        return Problem("data block", handle.offset, reason, *sums)
    start, count = zeros
    facts = {"zero_run": {"offset": start, "bytes": count}}
    reason = f"{count} bytes from {start} on are zeros"
    return Problem("data block", handle.offset, reason, *sums, cause="zero-filled", facts=facts)


def _zeros(data: bytes, handle: Handle) -> tuple[int, int] | None:
    """The first long run of zeros in a block: offset and length."""
    start = data.find(bytes(ZERO_RUN), handle.offset, handle.end)
    if start < 0:
        return None
    rest = data[start : handle.end]
    return start, len(rest) - len(rest.lstrip(b"\0"))


def _bounds_hold(previous: bytes, keys: list[bytes], separator: bytes, position: int) -> bool:
    return keys[-1] <= separator and (position == 0 or keys[0] > previous)


def _walk_all(data: bytes, table: Table, budget: Budget) -> None:
    """Fill `table` block by block from the start of the file."""
    table.walked = True
    outcome = walk(data[: _written(data, table)], budget)
    for block in outcome.blocks:
        first = len(table.keys)
        table.keys += block.entries.keys
        table.values += block.entries.values
        if not block.proved:
            table.unproved.append(range(first, len(table.keys)))
    table.complete = outcome.reached_end
    known = next((place for place, problem in enumerate(table.problems) if not problem.cosmetic), None)
    if known is not None and table.problems[known].cause in ("truncated", "zero-filled"):
        # that the last block breaks off is no damage of its own
        table.problems[known] = _up_to(table.problems[known], outcome, len(data))
        table.problems += [_walked(block) for block in outcome.blocks if block.stored is not None and not block.proved]
        return
    table.problems += [_walked(block) for block in outcome.blocks if not block.proved]
    if not outcome.reached_end and not any(not block.proved for block in outcome.blocks):
        reason = f"from byte {outcome.stopped} of {len(data)} on nothing can be told apart"
        if known is None:
            table.problems.append(Problem("file", outcome.stopped, reason))
        else:
            worse = table.problems[known]
            table.problems[known] = replace(worse, reason=f"{worse.reason}; {reason}")


def _written(data: bytes, table: Table) -> int:
    """Bytes before a zero-filled tail: an entry that reaches into it is none."""
    lost = (problem.offset for problem in table.problems if problem.cause == "zero-filled")
    return min(lost, default=len(data))


def _up_to(problem: Problem, outcome: Walk, size: int) -> Problem:
    """The end's problem, with how far entries could be read."""
    if outcome.reached_end:
        return replace(problem, reason=f"{problem.reason}; all entries are before that")
    if outcome.stopped >= size:
        return problem
    facts = {**problem.facts, "entries_end": outcome.stopped}
    return replace(problem, reason=f"{problem.reason}; entries could be read up to byte {outcome.stopped}", facts=facts)


def _walked(block: WalkedBlock) -> Problem:
    reason = block.entries.problem or "checksum mismatch"
    return Problem("data block", block.offset, reason, block.stored, block.computed)


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
