"""Event files made by hand: records, events, summaries."""

from __future__ import annotations

import struct
from pathlib import Path

import crc32c

from ckptui.readers.sstable_block import mask
from ckptui.readers.wire import encode_uvarint


def framed(data: bytes) -> bytes:
    """One record: length, its checksum, the data, their checksum."""
    length = struct.pack("<Q", len(data))
    return b"".join(
        (
            length,
            struct.pack("<I", mask(crc32c.crc32c(length))),
            data,
            struct.pack("<I", mask(crc32c.crc32c(data))),
        )
    )


def message(number: int, data: bytes) -> bytes:
    """A field with bytes."""
    return encode_uvarint(number << 3 | 2) + encode_uvarint(len(data)) + data


def event(step: int, *, wall: float = 0.0, tail: bytes = b"") -> bytes:
    """An event; a step is written as it would be by anyone, negative ones in ten bytes."""
    return b"\x09" + struct.pack("<d", wall) + b"\x10" + encode_uvarint(step & (1 << 64) - 1) + tail


def simple(tag: str, value: float) -> bytes:
    """A summary with one TF1 scalar."""
    return message(5, message(1, message(1, tag.encode()) + b"\x15" + struct.pack("<f", value)))


def tensor(tag: str, proto: bytes, plugin: str = "scalars") -> bytes:
    """A summary with one tensor."""
    metadata = message(9, message(1, message(1, plugin.encode()))) if plugin else b""
    return message(5, message(1, message(1, tag.encode()) + metadata + message(8, proto)))


def scalar_file(path: Path, rows: list[tuple[int, float, float]], tag: str = "loss") -> Path:
    """An event file of (step, wall, value) rows, with the version record that each begins with."""
    path.parent.mkdir(parents=True, exist_ok=True)
    records = [framed(event(0, tail=message(3, b"brain.Event:2")))]
    records += [framed(event(step, wall=wall, tail=simple(tag, value))) for step, wall, value in rows]
    path.write_bytes(b"".join(records))
    return path
