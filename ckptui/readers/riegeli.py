"""Riegeli record files, the container of chunked SavedModels (`saved_model.cpb`): records out of simple chunks.

Layout: `riegeli_records_file_format.md` of google/riegeli. Blocks of 64 KiB begin with a header that interrupts the
chunks; header and data of each chunk have a HighwayHash-64. Transposed chunks are recognised, not read.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ckptui.errors import Damaged
from ckptui.readers.riegeli_hash import riegeli_hash
from ckptui.readers.source import Source
from ckptui.readers.wire import WireError, uvarint

BLOCK = 1 << 16
BLOCK_HEADER = 24
CHUNK_HEADER = 40
FILE_CAP = 1 << 28
"""Bytes of the largest file that is read."""
DECODED_CAP = 1 << 29
"""Bytes of all records together."""
HASHED_CAP = 2 << 20
"""Bytes of chunks whose hash is compared; it takes a second a megabyte."""
MAX_RECORDS = 2_000_000


@dataclass(frozen=True, slots=True)
class Chunk:
    """The header of one chunk."""

    offset: int
    """Where it begins in the file."""
    data_size: int
    data_hash: int
    kind: str
    """`s` signature, `m` metadata, `p` padding, `r` simple, `t` transposed."""
    records: int
    decoded: int


def damaged(path: str, reason: str, offset: int, **evidence: object) -> Damaged:
    """The error for bytes that contradict the format."""
    facts = {"file": path, "offset": offset, **evidence}
    return Damaged(f"{path}: {reason} at byte {offset}", code="graph-damaged", evidence=facts)


def unread(path: str, reason: str) -> Damaged:
    """The error for what is whole as far as one can tell, and not read."""
    return Damaged(f"{path}: {reason}", code="unsupported-format", evidence={"file": path, "format": "Riegeli records"})


def read_records(source: Source, tick: Callable[[int], None] | None = None) -> list[bytes]:
    """All records of a file, in order; `tick` is told offsets on the way.

    Raises:
        Damaged: `graph-damaged` with the offset for a file that is cut off, a wrong hash, sizes that do not fit;
            `unsupported-format` for transposed chunks, an unknown compression, or more bytes than are read.
    """
    path = source.path
    if source.size > FILE_CAP:
        raise unread(path, f"{source.size} bytes, {FILE_CAP} at most are read")
    out: list[bytes] = []
    decoded = hashed = 0
    for chunk, data in _chunks(source):
        if tick is not None:
            tick(chunk.offset)
        if chunk.kind in "smp":
            continue
        hashed += len(data)
        if hashed <= HASHED_CAP and riegeli_hash(data) != chunk.data_hash:
            found = riegeli_hash(data)
            raise damaged(
                path, "a chunk that is not what its hash says", chunk.offset, expected=chunk.data_hash, found=found
            )
        if chunk.kind != "r":
            raise unread(path, "transposed chunks are not read" if chunk.kind == "t" else f"chunk type {chunk.kind!r}")
        decoded += chunk.decoded
        if decoded > DECODED_CAP or len(out) + chunk.records > MAX_RECORDS:
            raise unread(path, f"more than {DECODED_CAP} bytes or {MAX_RECORDS} records")
        out += _simple(path, chunk, data)
    return out


def _chunks(source: Source) -> Iterator[tuple[Chunk, bytes]]:
    """Every chunk and its data; headers are proved, data is not."""
    position = 0
    while position < source.size:
        start = position
        header, position = _read(source, position, CHUNK_HEADER)
        stored, size, data_hash, kind, decoded = struct.unpack("<5Q", header)
        found = riegeli_hash(header[8:])
        if stored != found:
            raise damaged(
                source.path, "a chunk header that is not what its hash says", start, expected=stored, found=found
            )
        chunk = Chunk(start, size, data_hash, chr(kind & 0xFF), kind >> 8, decoded)
        data, position = _read(source, position, size)
        yield chunk, data
        # positions name records, so a chunk is at least as long as it has records
        floor = start + chunk.records
        inside = floor % BLOCK
        position = max(position, floor + (BLOCK_HEADER - inside if 0 < inside < BLOCK_HEADER else 0))


def _read(source: Source, position: int, count: int) -> tuple[bytes, int]:
    """`count` bytes of chunks from `position`, the headers of blocks proved and left out; and where they end."""
    pieces = []
    wanted = count
    while True:
        if position % BLOCK == 0 and (count or position == 0):
            _check_block(source, position)
            position += BLOCK_HEADER
        step = min(count, BLOCK - position % BLOCK)
        if position + step > source.size:
            missing = position + count - source.size
            raise damaged(
                source.path,
                f"the file ends inside a chunk, {missing} bytes early,",
                source.size,
                expected=position + count,
                found=source.size,
                bytes_missing=missing,
                bytes=wanted,
            )
        pieces.append(source.pread(position, step))
        position += step
        count -= step
        if not count:
            return b"".join(pieces), position


def _check_block(source: Source, position: int) -> None:
    if position + BLOCK_HEADER > source.size:
        raise damaged(
            source.path,
            "the file ends inside a block header",
            source.size,
            expected=position + BLOCK_HEADER,
            found=source.size,
            bytes_missing=position + BLOCK_HEADER - source.size,
        )
    header = source.pread(position, BLOCK_HEADER)
    stored, found = int.from_bytes(header[:8], "little"), riegeli_hash(header[8:])
    if stored != found:
        raise damaged(
            source.path, "a block header that is not what its hash says", position, expected=stored, found=found
        )


def _simple(path: str, chunk: Chunk, data: bytes) -> list[bytes]:
    """The records of a simple chunk: their sizes, then their bytes, each compressed."""
    try:
        kind = data[:1]
        length, start = uvarint(data, 1)
        sizes_end = start + length
        if sizes_end > len(data):
            raise WireError("sizes that run off the end", start)
        sizes = _unpack(path, kind, data[start:sizes_end], 10 * chunk.records)
        values = _unpack(path, kind, data[sizes_end:], chunk.decoded)
        out, place, position = [], 0, 0
        for _ in range(chunk.records):
            size, place = uvarint(sizes, place)
            if size > len(values) - position:
                raise WireError("records longer than their chunk", place)
            out.append(values[position : position + size])
            position += size
    except WireError as error:
        raise damaged(path, f"a chunk whose records make no sense: {error.reason},", chunk.offset) from None
    if position != len(values) or place != len(sizes):
        raise damaged(path, "a chunk with more bytes than its records have", chunk.offset)
    return out


def _unpack(path: str, kind: bytes, packed: bytes, most: int) -> bytes:
    """Compressed bytes unpacked into at most `most`. Raises WireError for what can't be, Damaged for the unknown."""
    if kind == b"\0":
        return packed
    if kind not in (b"b", b"z"):
        raise unread(path, f"compression {kind!r}")
    import cramjam

    declared, start = uvarint(packed, 0)
    if declared > most:
        raise WireError(f"{declared} bytes announced, {most} at most can be", 0)
    out = bytearray(declared)
    codec = cramjam.brotli if kind == b"b" else cramjam.zstd
    try:
        count = codec.decompress_into(packed[start:], out)
    except cramjam.DecompressionError as error:
        raise WireError(f"compressed bytes that make no sense ({error})", start) from None
    if count != declared:
        raise WireError(f"{count} bytes unpacked, {declared} announced", start)
    return bytes(out)
