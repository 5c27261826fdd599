"""The records of one block of a table, by their headers alone: keys, and where the values lie.

Entries and restart array: LevelDB's `table_format.md`. Values are jumped over, so a block may be of any size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ckptui.readers.bundle_v1_window import FileBody, MemoryBody, Window
from ckptui.readers.sstable_block import MAX_KEY
from ckptui.readers.wire import WireError

MAX_RECORDS = 2_000_000
RESTARTS_CAP = 1 << 26
"""Bytes of the largest restart array that is read."""

Body = FileBody | MemoryBody


@dataclass(frozen=True, slots=True)
class Record:
    """One entry of a block: its key, and where its value lies in the block's body."""

    key: bytes
    block: int
    offset: int
    size: int
    cut: int = 0
    """Bytes of the value that the end of the file leaves missing."""


@dataclass(slots=True)
class Walked:
    """What a walk along a block's entries met."""

    records: list[Record] = field(default_factory=list)
    stopped: int = 0
    """Where in the body it ended."""
    problem: str = ""
    cut: bool = False
    """A value reaches beyond the end of the file."""


def block_records(body: Body, number: int) -> Walked:
    """The records of a block whose size is known; after a bad one the walk takes up again at the next restart."""
    walked = Walked()
    count = int.from_bytes(body.pread(body.size - 4, 4), "little") if body.size >= 4 else -1
    end = body.size - 4 - 4 * count
    if count < 0 or end < 0 or count > max(1, end // 3):
        walked.problem = "the restart array does not fit its block"
        count, end = 0, body.size
    restarts: list[int] = []
    position = 0
    while True:
        piece = Walked()
        walked.records += (record for record, _ in entries_of(body, position, end, number, piece, directory=True))
        if not piece.problem:
            return walked
        walked.problem = walked.problem or piece.problem
        if count and not restarts:
            raw = body.pread(end, min(4 * count, RESTARTS_CAP))
            restarts = sorted({int.from_bytes(raw[i : i + 4], "little") for i in range(0, len(raw), 4)})
        following = next((place for place in restarts if piece.stopped < place < end), None)
        if following is None or len(walked.records) >= MAX_RECORDS:
            return walked
        position = following


def entries_of(
    body: Body, position: int, end: int, number: int, walked: Walked, *, directory: bool
) -> Iterator[tuple[Record, int | None]]:
    """The entries from `position` on; with `directory` up to `end`, else up to the restart array they call for.

    A second value that is not None is where the body ends, found by its restart array. Why the walk stopped
    earlier is left in `walked`.
    """
    window = Window(body, end)
    restarts: list[int] = []
    key, told = b"", 0
    begun = position
    while position < end:
        walked.stopped = position
        if told >= MAX_RECORDS:
            walked.problem = "more entries than any model has"
            return
        if not directory and told and window.startswith(position, b"\0\0\0\0"):
            closed = _restarts_end(window, position, restarts)
            if closed is not None:
                yield Record(b"", number, 0, 0), closed
                return
        if not directory and told and _cut_restarts(window, position, end, len(restarts)):
            walked.problem, walked.cut = "the file ends inside the block's restart array", True
            return
        try:
            shared, start = window.uvarint(position)
            unshared, start = window.uvarint(start)
            length, start = window.uvarint(start)
        except WireError as error:
            walked.problem, walked.cut = error.reason, not directory and end - position < 12
            return
        if shared > len(key) or shared + unshared > MAX_KEY or not (unshared or (told == 0 and length)):
            walked.problem = "an entry's lengths do not fit"
            return
        if start + unshared + length > end:
            walked.problem, walked.cut = "an entry runs off the end", not directory
            if not directory and start + unshared <= end:
                # its name is known, its bytes are not all there
                following = key[:shared] + window.take(start, unshared)
                if following > key or not key:
                    missing = start + unshared + length - end
                    walked.records.append(Record(following, number, start + unshared, length, missing))
            return
        following = key[:shared] + window.take(start, unshared)
        if following <= key and told:
            walked.problem = "a key out of order"
            return
        if not shared:
            restarts.append(position - begun)
        key = following
        told += 1
        position = start + unshared + length
        yield Record(key, number, start + unshared, length), None
    walked.stopped = position
    if not directory:
        walked.problem, walked.cut = "the block does not end", True


def _cut_restarts(window: Window, position: int, end: int, entries: int) -> bool:
    """The file ends in what can be the restart array of a block with so many entries that repeat no prefix."""
    left = end - position
    return left < 4 * (entries + 1) and window.take_some(position, min(left, 4)) == bytes(min(left, 4))


def _restarts_end(window: Window, position: int, restarts: list[int]) -> int | None:
    """Where the body ends whose restart array is at `position`, if it is the one these entries call for."""
    expected = set(restarts)
    for index in range(len(restarts) + 1):
        raw = window.take_some(position, 4)
        if len(raw) < 4:
            return None
        position += 4
        value = int.from_bytes(raw, "little")
        # Entry number i starts at 3 i at the earliest, so a value equal to its own index is the count.
        if index and value == index:
            return position
        if value not in expected:
            return None
    return None
