"""Writing a sorted string table, as TensorFlow writes the `.index` of a checkpoint.

Layout: LevelDB's `table_format.md`, blocks uncompressed, 256 KiB each, restarts every 16 entries.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from crc32c import crc32c

from ckptui.readers.sstable_block import TRAILER, mask
from ckptui.readers.sstable_ends import FOOTER, MAGIC
from ckptui.readers.wire import encode_uvarint

BLOCK = 1 << 18
"""Bytes of entries after which a block ends."""
INTERVAL = 16
"""Entries from one restart to the next."""


class _Block:
    """One block being filled."""

    def __init__(self, interval: int) -> None:
        self._interval = interval
        self._body = bytearray()
        self._restarts: list[int] = []
        self._last = b""
        self._entries = 0

    @property
    def size(self) -> int:
        """Bytes it would take now, without its trailer."""
        return len(self._body) + 4 * max(1, len(self._restarts)) + 4

    def add(self, key: bytes, value: bytes) -> None:
        """Append an entry; keys come in order."""
        shared = 0
        if self._entries % self._interval == 0:
            self._restarts.append(len(self._body))
        else:
            shared = _common(self._last, key)
        lengths = (shared, len(key) - shared, len(value))
        self._body += b"".join(map(encode_uvarint, lengths)) + key[shared:] + value
        self._last = key
        self._entries += 1

    def finish(self) -> bytes:
        """Body, restart array, type byte and checksum."""
        restarts = self._restarts or [0]
        body = bytes(self._body) + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts)) + b"\0"
        return body + struct.pack("<I", mask(crc32c(body)))


def table(entries: Iterable[tuple[bytes, bytes]]) -> Iterator[bytes]:
    """A whole table, piece by piece; `entries` are (key, value) with keys strictly increasing.

    Raises:
        ValueError: two keys are equal or out of order.
    """
    offset = 0
    index = _Block(1)
    block = _Block(INTERVAL)
    last: bytes | None = None
    waiting = b""
    for key, value in entries:
        if last is not None and key <= last:
            raise ValueError(f"key {key[:80]!r} after {last[:80]!r}")
        if waiting and last is not None:
            index.add(_between(last, key), waiting)
            waiting = b""
        block.add(key, value)
        last = key
        if block.size >= BLOCK:
            raw = block.finish()
            waiting, block = _handle(offset, raw), _Block(INTERVAL)
            offset += len(raw)
            yield raw
    if not waiting or last is None:
        raw = block.finish()
        waiting = _handle(offset, raw)
        offset += len(raw)
        yield raw
    index.add(_after(last or b""), waiting)
    empty = _Block(1).finish()
    tail = index.finish()
    yield empty + tail
    handles = _handle(offset, empty) + _handle(offset + len(empty), tail)
    yield handles.ljust(FOOTER - len(MAGIC), b"\0") + MAGIC


def _handle(offset: int, raw: bytes) -> bytes:
    return encode_uvarint(offset) + encode_uvarint(len(raw) - TRAILER)


def _common(a: bytes, b: bytes) -> int:
    """Length of the common beginning."""
    shortest = min(len(a), len(b))
    for place in range(shortest):
        if a[place] != b[place]:
            return place
    return shortest


def _between(low: bytes, high: bytes) -> bytes:
    """A short key from `low` on and before `high`."""
    at = _common(low, high)
    if at < min(len(low), len(high)) and low[at] < 0xFF and low[at] + 1 < high[at]:
        return low[:at] + bytes([low[at] + 1])
    return low


def _after(key: bytes) -> bytes:
    """A short key not before `key`."""
    for at, byte in enumerate(key):
        if byte != 0xFF:
            return key[:at] + bytes([byte + 1])
    return key
