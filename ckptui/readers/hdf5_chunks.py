"""Chunks with a Fletcher-32 checksum held against it one by one, to say which of them is damaged.

HDF5 itself only says that a read failed. Runs in the reader child only.
HDF5 File Format Specification, IV.A.2.l (filter pipeline); the sums are Fletcher's over 16-bit big-endian words.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ckptui.core.text import safe
from ckptui.errors import Damaged
from ckptui.readers.hdf5_walk import HDF5_ERRORS
from ckptui.readers.window import Window

FLETCHER32, DEFLATE, SHUFFLE = 3, 1, 2
MAX_CHUNKS = 200_000
MAX_CHUNK_BYTES = 256 << 20
MAX_LISTED = 20
_STEP = 1 << 20


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk whose checksum does not match."""

    index: int
    first: tuple[int, ...]
    """Index of its first element along each axis."""
    at: int
    """Window offset of its stored bytes."""
    size: int
    expected: str
    found: str


def fletcher32(data: bytes | memoryview) -> int:
    """The checksum HDF5's filter of that name stores behind a chunk."""
    import numpy as np

    if len(data) % 2:
        data = bytes(data) + b"\0"
    words = np.frombuffer(data, ">u2")
    first = second = 0
    for at in range(0, len(words), _STEP):
        block = words[at : at + _STEP].astype(np.uint64)
        weights = np.arange(len(block), 0, -1, dtype=np.uint64)
        # A sum that is not zero is never folded to zero, but to 65535.
        second = _fold(second + first * len(block) + int((block * weights).sum()))
        first = _fold(first + int(block.sum()))
    return second << 16 | first


def _fold(total: int) -> int:
    return (total - 1) % 65535 + 1 if total else 0


def damaged_chunks(dataset: Any, window: Window) -> Iterator[Chunk]:
    """Every chunk of an open dataset whose stored Fletcher-32 is wrong; none where it has no such checksum."""
    import h5py

    plist = dataset.get_create_plist()
    if plist.get_layout() != h5py.h5d.CHUNKED:
        return
    filters = [plist.get_filter(index)[0] for index in range(plist.get_nfilters())]
    if FLETCHER32 not in filters:
        return
    place = filters.index(FLETCHER32)
    size = dataset.get_type().get_size()
    whole = math.prod(int(d) for d in plist.get_chunk()) * size
    for index in range(min(dataset.get_num_chunks(), MAX_CHUNKS)):
        info = dataset.get_chunk_info(index)
        if info.filter_mask >> place & 1 or info.byte_offset is None or info.size > MAX_CHUNK_BYTES:
            continue
        # A window shows filler behind a cut: such a chunk is lost, not wrong.
        raw = window.raw(info.byte_offset, info.size)
        later = [number for n, number in enumerate(filters) if n > place and not info.filter_mask >> n & 1]
        plain = _undone(raw, later, size, whole) if len(raw) == info.size else None
        if plain is None or len(plain) < 4:
            yield Chunk(index, tuple(info.chunk_offset), info.byte_offset, info.size, "", "")
            continue
        stored, counted = int.from_bytes(plain[-4:], "little"), fletcher32(plain[:-4])
        if stored != counted:
            words = f"{stored:08x}", f"{counted:08x}"
            yield Chunk(index, tuple(info.chunk_offset), info.byte_offset, info.size, *words)


def _undone(raw: bytes, filters: list[int], size: int, whole: int) -> bytes | None:
    """The bytes before `filters` were applied, the last of them undone first; None where one can't be."""
    for number in reversed(filters):
        if number == DEFLATE:
            try:
                raw = zlib.decompressobj().decompress(raw, whole + 64)
            except zlib.error:
                return None
        elif number == SHUFFLE:
            count = len(raw) // size
            body = b"".join(raw[n : count * size : count] for n in range(count)) if count else b""
            raw = body + raw[count * size :]
        else:
            return None
    return raw


def check_chunks(dataset: Any, name: str, path: str, window: Window, start: int, words: str) -> None:
    """Raise Damaged (`checksum-mismatch`) that names the damaged chunks; nothing where there are none to name.

    `start` is where the HDF5 file begins in the file at `path`, `words` what HDF5 said to reading the dataset.
    """
    import h5py

    if dataset is None:
        return
    try:
        found = list(damaged_chunks(dataset, window))
        count = dataset.get_num_chunks() if found else 0
        shape = h5py.Dataset(dataset).chunks
    except HDF5_ERRORS:
        return
    if not found:
        return
    one = found[0]
    detail = (
        f"{safe(name)}: the checksum (Fletcher-32) of chunk {one.index}, {one.size} bytes at {start + one.at}, is "
        f"{one.found or 'not to be had'}, {one.expected or 'another'} was stored"
    )
    if len(found) > 1:
        detail += f"; {len(found)} of {count} chunks are damaged"
    raise Damaged(
        detail,
        code="checksum-mismatch",
        evidence={
            "expected": one.expected,
            "found": one.found,
            "offset": start + one.at,
            "bytes": one.size,
            "file": path,
            "chunk": one.index,
            "chunk_start": list(one.first),
            "chunk_shape": list(shape or ()),
            "chunks": count,
            "chunks_damaged": [chunk.index for chunk in found[:MAX_LISTED]],
            "damaged": len(found),
            "tensorflow_says": words,
        },
    )
