"""The end of a sorted string table: its footer, and what became of it where there is none.

Layout: LevelDB's `table_format.md`. A table that ends in its magic number has its end; one that does not was cut,
filled with zeros, added to, or has damage in these last bytes alone, and each leaves other traces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ckptui.readers.sstable_block import TRAILER, Budget, Handle, load_block
from ckptui.readers.sstable_walk import METAINDEX
from ckptui.readers.wire import WireError, encode_uvarint, uvarint

FOOTER = 48
MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")
ZERO_TAIL = FOOTER
"""Zeros at the end of a file from which on a write was lost; a cut footer ends in fewer."""
Cause = Literal["", "flipped", "truncated", "zero-filled", "appended", "empty"]


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
    cause: Cause = ""
    """What happened, where that can be told."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """More of it: `bytes_missing`, `bytes_extra`, `zero_run`, `flipped`."""


@dataclass(frozen=True, slots=True)
class Footer:
    """The last 48 bytes of a table."""

    start: int
    """Where it begins: the file's end less 48, unless bytes follow it."""
    meta: Handle
    index: Handle
    canonical: bool
    """The handles are in shortest form and the padding is zero."""


def find_footer(data: bytes) -> tuple[Footer | None, Problem | None]:
    """The footer whose index block its checksum vouches for, and what is wrong with the table's end."""
    end = len(data)
    if end >= FOOTER and data.endswith(MAGIC):
        footer = parse_footer(data, end - FOOTER)
        if footer is None:
            numbers = footer_numbers(data, end - FOOTER)
            facts: dict[str, Any] = {"found": numbers[2:]} if numbers else {}
            reason = "the footer's block handles make no sense"
            return None, Problem("footer", end - FOOTER, reason, cause="flipped", facts=facts)
        return footer, None
    last = data.rfind(MAGIC)
    earlier = parse_footer(data, last - 40) if last >= 40 else None
    if earlier is not None and _vouched(data, earlier):
        return earlier, _appended(data, earlier.start + FOOTER)
    zeros = end - len(data.rstrip(b"\0"))
    if zeros >= ZERO_TAIL:
        reason = f"the last {zeros} bytes are zeros"
        facts = {"zero_run": {"offset": end - zeros, "bytes": zeros}}
        return None, Problem("file", end - zeros, reason, cause="zero-filled", facts=facts)
    footer = parse_footer(data, end - FOOTER) if end >= FOOTER else None
    if footer is not None and footer.index.end == footer.start and _vouched(data, footer):
        facts = {"expected": MAGIC.hex(), "found": data[-8:].hex()}
        return footer, Problem("footer", end - 8, "the magic number is wrong", cause="flipped", facts=facts)
    return None, _cut(data)


def parse_footer(data: bytes, start: int) -> Footer | None:
    """The footer at `start`, or None where its handles leave the file."""
    numbers = footer_numbers(data, start)
    if numbers is None:
        return None
    index = Handle(numbers[2], numbers[3])
    if index.end > start:
        return None
    written = b"".join(map(encode_uvarint, numbers)).ljust(FOOTER - len(MAGIC), b"\0")
    return Footer(start, Handle(numbers[0], numbers[1]), index, written == data[start : start + len(written)])


def footer_numbers(data: bytes, start: int) -> list[int] | None:
    """Offset and size of the metaindex block and of the index block, as the footer at `start` has them; or None."""
    numbers, position = [], start
    try:
        for _ in range(4):
            number, position = uvarint(data, position, start + FOOTER - len(MAGIC))
            numbers.append(number)
    except WireError:
        return None
    return numbers


def landmark(data: bytes, start: int) -> Handle | None:
    """The index block of a table whose footer begins at `start`, by the metaindex block that stands before it."""
    meta = data.rfind(METAINDEX, 0, start)
    if meta < 0:
        return None
    handle = Handle(meta + len(METAINDEX), start - meta - len(METAINDEX) - TRAILER)
    return handle if handle.size > 0 else None


def _vouched(data: bytes, footer: Footer) -> bool:
    return load_block(data, footer.index, Budget()).proved


def _appended(data: bytes, end: int) -> Problem:
    extra = len(data) - end
    facts: dict[str, Any] = {"expected": end, "found": len(data), "bytes_extra": extra}
    what = "zeros" if not any(data[end:]) else "bytes"
    return Problem("footer", end, f"{extra} {what} follow the footer", cause="appended", facts=facts)


def _cut(data: bytes) -> Problem:
    """A table whose end is not there; how many bytes are missing can be told where its index block is whole."""
    end = len(data)
    facts: dict[str, Any] = {"found": end}
    meta = data.rfind(METAINDEX)
    if meta >= 0:
        facts["bytes_missing"] = max(1, FOOTER - (end - meta - len(METAINDEX)))
        known = _index_end(data, meta + len(METAINDEX))
        if known is not None and known + FOOTER > end:
            facts |= {"expected": known + FOOTER, "bytes_missing": known + FOOTER - end}
    elif end < FOOTER:
        facts["bytes_missing"] = FOOTER - end
    reason = f"{end} bytes are less than a footer" if end < FOOTER else "the file is cut off: it has no footer"
    return Problem("file", end, reason, cause="truncated", facts=facts)


def _index_end(data: bytes, start: int) -> int | None:
    """The first byte after a whole index block that begins at `start`; None where it is not whole."""
    from ckptui.readers.sstable_walk import walk

    outcome = walk(data[start:], Budget())
    first = outcome.blocks[0] if outcome.blocks else None
    return start + first.end if first is not None and first.proved else None
