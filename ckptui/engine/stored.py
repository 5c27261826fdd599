"""Stored bytes for a salvage: proved part by part, and sent the way a checkpoint keeps them. Runs in a reader child.

Tensors come with the request, places and all, because the index of a damaged save may not be what describes it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from crc32c import crc32c

from ckptui.core.bitflip import Flip, coincidence, find_flip
from ckptui.core.dtypes import ITEMSIZE, is_float, np_dtype
from ckptui.core.model import Segment, Tensor
from ckptui.engine.checked import Files, Mismatch, Verdict, check_bytes
from ckptui.engine.tiles import bands, little
from ckptui.errors import CkptuiError, Damaged
from ckptui.readers import values

if TYPE_CHECKING:
    from ckptui.engine.checked import Beat

CHUNK = 1 << 20
STRING_LIMIT = 1 << 28
"""Bytes of the largest string or variant tensor; it is held whole."""
HEAD = 64
"""Bytes of a string tensor's length table up to which each bit is tried."""
PLAUSIBLE = (1e-12, 1e7)
"""Weights, statistics and optimizer slots lie between these magnitudes, or are zero."""
_NO_CHECKSUM = -1
"""Compared with in place of a stored checksum, so that the comparison yields the computed one."""

Repairs = Mapping[int, tuple[int, int]]
"""Part (-1 or the number of a tile) to (byte, bit)."""


# ---------------------------------------------------------------------- proving


def prove(tensor: Tensor, files: Files, beat: Beat) -> dict[str, Any]:
    """What the checksums of one tensor's parts say, and the flipped bit behind each that is wrong.

    {"parts": [{"part", "bytes", "expected", "found", "reason", "flip"}], "plausible"}: `expected` null where nothing is
    stored, `found` null and a `reason` where the bytes can't be had; `plausible` is the share of values that look like
    weights, null for what is no floating point.
    """
    storage = tensor.storage
    counts = _Magnitudes(tensor)
    if storage.encoding == "slices":
        parts = [
            _plain_part(number, tile.segment, tile.crc32c, files, beat, counts)
            for number, tile in enumerate(storage.slices)
        ]
    elif storage.encoding in ("strings", "variant"):
        parts = [_running_part(tensor, files, beat)]
    elif storage.segment is not None:
        parts = [_plain_part(-1, storage.segment, storage.crc32c, files, beat, counts)]
    else:
        parts = []
    for part in parts:
        if part["flip"] is not None and storage.encoding in ("plain", "slices"):
            part["flip"] |= _element_at(tensor, part, files)
    return {"parts": parts, "plausible": counts.share}


def _part(number: int, size: int, expected: int | None) -> dict[str, Any]:
    return {"part": number, "bytes": size, "expected": expected, "found": None, "reason": "", "flip": None}


def _plain_part(
    number: int, segment: Segment, expected: int | None, files: Files, beat: Beat, counts: _Magnitudes
) -> dict[str, Any]:
    part = _part(number, segment.bytes, expected)
    crc = 0
    try:
        source = files.get(segment.file)
        for view in source.stream(segment.offset, segment.bytes, CHUNK):
            crc = crc32c(view, crc)
            counts.add(view)
            beat(len(view))
        source.fence()
    except CkptuiError as error:
        return part | {"reason": error.detail}
    part["found"] = crc
    if expected is not None and crc != expected:
        flip = find_flip(expected, crc, segment.bytes)
        if flip is not None:
            part["flip"] = _flip(flip, segment)
    return part


def _flip(flip: Flip, segment: Segment) -> dict[str, Any]:
    return {
        "file": segment.file,
        "offset": segment.offset + flip.byte,
        "byte": flip.byte,
        "bit": flip.bit,
        "coincidence": coincidence(segment.bytes),
    }


def _element_at(tensor: Tensor, part: Mapping[str, Any], files: Files) -> dict[str, Any]:
    """The value that a flipped bit is in, as it stands and as it was."""
    tile = None if part["part"] < 0 else tensor.storage.slices[part["part"]]
    segment = tile.segment if tile is not None else tensor.storage.segment
    size = ITEMSIZE.get(tensor.dtype)
    if segment is None or size is None:
        return {}
    flip = part["flip"]
    element = flip["byte"] // size
    stored = bytearray(files.get(segment.file).pread(segment.offset + element * size, size))
    now = _value(stored, tensor)
    stored[flip["byte"] % size] ^= 1 << flip["bit"]
    then = _value(stored, tensor)
    shape = tile.shape if tile is not None else tensor.shape
    index = [int(i) for i in np.unravel_index(element, shape)] if shape else []
    if tile is not None:
        index = [i + start for i, start in zip(index, tile.start, strict=True)]
    return {"index": index, "now": now, "was": then}


def _value(stored: bytearray, tensor: Tensor) -> Any:
    """One stored element as a plain number; complex ones as text."""
    raw = little(np.frombuffer(bytes(stored), np.uint8), tensor)
    value = raw.view(np_dtype(tensor.dtype))[0]
    if isinstance(value, (np.complexfloating, np.bool_)):
        return str(value)
    return int(value) if isinstance(value, np.integer) else float(value)


def _running_part(tensor: Tensor, files: Files, beat: Beat) -> dict[str, Any]:
    """Strings and variants: the length table and the content, whose checksum runs over both."""
    segment, storage = tensor.storage.segment, tensor.storage
    assert segment is not None
    part = _part(-1, segment.bytes, storage.crc32c)
    try:
        verdict = Verdict()
        probe = _with_checksum(tensor, _NO_CHECKSUM if storage.crc32c is None else storage.crc32c)
        check_bytes(files, probe.storage, tensor.count, verdict, beat)
    except CkptuiError as error:
        part["reason"] = error.detail
        verdict = Verdict(mismatches=[Mismatch(_NO_CHECKSUM, 0, segment, "lengths")])
    whole = [wrong for wrong in verdict.mismatches if not wrong.part]
    inner = [wrong for wrong in verdict.mismatches if wrong.part]
    if inner:
        part["reason"] = part["reason"] or f"the checksum of its {inner[0].part} does not hold"
    elif whole:
        part["found"] = whole[0].found
    else:
        part["found"] = storage.crc32c
    if verdict.mismatches and storage.encoding == "strings" and storage.crc32c is not None:
        part["flip"] = _flip_in_strings(tensor, segment, whole, files)
    return part


def _with_checksum(tensor: Tensor, crc: int) -> Tensor:
    from dataclasses import replace

    return replace(tensor, storage=replace(tensor.storage, crc32c=crc))


def _flip_in_strings(
    tensor: Tensor, segment: Segment, whole: Sequence[Mismatch], files: Files
) -> dict[str, Any] | None:
    """The bit of a string tensor whose turning back makes both of its checksums hold."""
    source = files.get(segment.file)
    if whole:
        # the lengths hold, so everything behind them and their checksum is content
        head = source.pread(segment.offset, min(segment.bytes, STRING_LIMIT))
        table = values.decode_lengths(head, tensor.count, tensor.storage.big_endian)
        start = segment.bytes - sum(table[0])
        stored, found = whole[0].expected, whole[0].found
        flip = None if stored is None or found is None else find_flip(stored, found, segment.bytes - start)
        return None if flip is None else _flip(Flip(flip.byte + start, flip.bit), segment)
    if segment.bytes > STRING_LIMIT:
        return None
    raw = bytearray(source.pread(segment.offset, segment.bytes))
    for byte in range(min(len(raw), HEAD, 10 * tensor.count + 4)):
        for bit in range(8):
            raw[byte] ^= 1 << bit
            if _holds(bytes(raw), tensor):
                return _flip(Flip(byte, bit), segment)
            raw[byte] ^= 1 << bit
    return None


def _holds(raw: bytes, tensor: Tensor) -> bool:
    try:
        items, crc, lengths_hold = values.decode_strings(raw, tensor.count, tensor.storage.big_endian)
    except Damaged:
        return False
    return lengths_hold and crc == tensor.storage.crc32c and encoded(items)[0] == raw


class _Magnitudes:
    """Which share of the floating-point values passing by looks like weights."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor
        looked_at = is_float(tensor.dtype) and ITEMSIZE[tensor.dtype] > 1
        self._dtype = np_dtype(tensor.dtype) if looked_at else None
        self._seen = self._good = 0

    def add(self, view: memoryview) -> None:
        """Take stored bytes; a piece that does not end on an element is left out."""
        if self._dtype is None or len(view) % self._dtype.itemsize:
            return
        numbers = little(np.frombuffer(view, np.uint8), self._tensor).view(self._dtype)
        size = np.abs(numbers.astype(np.float64))
        self._seen += size.size
        self._good += int(np.count_nonzero((size == 0) | ((size >= PLAUSIBLE[0]) & (size <= PLAUSIBLE[1]))))

    @property
    def share(self) -> float | None:
        """None where nothing was looked at."""
        return self._good / self._seen if self._seen else None


# ---------------------------------------------------------------------- sending


def encoded(items: Sequence[bytes]) -> tuple[bytes, int]:
    """Strings as a checkpoint stores them, and the checksum of its entry, unmasked; see `values.decode_strings`."""
    lengths = bytearray()
    table = bytearray()
    for item in items:
        size = len(item)
        table += struct.pack("<I" if size <= 0xFFFFFFFF else "<Q", size)
        while size > 127:
            lengths.append(size & 127 | 128)
            size >>= 7
        lengths.append(size)
    crc = crc32c(bytes(table))
    check = struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
    body = b"".join(items)
    return bytes(lengths) + check + body, crc32c(body, crc32c(check, crc))


def elements(tensor: Tensor, repairs: Repairs, holes: frozenset[int], beat: Beat) -> Iterator[memoryview]:
    """The elements of a bundle's tensor of a fixed-size dtype: C order, little-endian, repaired, holes as NaN.

    Raises:
        Damaged: bytes are not there, or not those that their checksum was taken of.
        ChangedWhileReading: somebody writes the file.
    """
    storage = tensor.storage
    itemsize = ITEMSIZE[tensor.dtype]
    if storage.encoding == "slices":
        yield from bands(tensor, repairs, holes, CHUNK, beat)
        return
    flip = repairs.get(-1)
    crc, done = 0, 0
    whole = CHUNK // itemsize * itemsize
    for view in values.raw_chunks(tensor, whole):
        piece = bytearray(view)
        if flip is not None and done <= flip[0] < done + len(piece):
            piece[flip[0] - done] ^= 1 << flip[1]
        crc = crc32c(piece, crc)
        done += len(piece)
        swapped: Any = little(np.frombuffer(piece, np.uint8), tensor)
        yield memoryview(swapped)
        beat(len(piece))
    if storage.crc32c is not None and crc != storage.crc32c:
        raise Damaged(f"{tensor.name}: its bytes are no longer those of its checksum", code="changed-while-reading")


def stored_strings(tensor: Tensor, repairs: Repairs) -> tuple[bytes, ...]:
    """The elements of a bundle's string tensor; raises Damaged where a checksum does not hold."""
    segment = tensor.storage.segment
    if segment is None:
        return ()
    if segment.bytes > STRING_LIMIT:
        raise Damaged(f"{tensor.name}: {segment.bytes} bytes of strings, at most {STRING_LIMIT} are copied")
    flip = repairs.get(-1)
    if flip is None:
        return tuple(bytes(item) for item in values.array_of(tensor).reshape(-1))
    raw = bytearray(values.stored_bytes(tensor))
    raw[flip[0]] ^= 1 << flip[1]
    items, crc, holds = values.decode_strings(bytes(raw), tensor.count, tensor.storage.big_endian)
    if not holds or crc != tensor.storage.crc32c:
        raise Damaged(f"{tensor.name}: turning the bit back does not mend it")
    return tuple(items)


def stored_variants(tensor: Tensor, files: Files, beat: Beat) -> tuple[bytes, int]:
    """The bytes of a variant tensor as stored, and their running checksum; raises Damaged where one does not hold."""
    segment = tensor.storage.segment
    if segment is None or segment.bytes > STRING_LIMIT:
        raise Damaged(f"{tensor.name}: at most {STRING_LIMIT} bytes of variants are copied")
    verdict = Verdict()
    probe = _with_checksum(tensor, _NO_CHECKSUM)
    check_bytes(files, probe.storage, tensor.count, verdict, beat)
    found = None if len(verdict.mismatches) != 1 or verdict.mismatches[0].part else verdict.mismatches[0].found
    if found is None:
        raise Damaged(f"{tensor.name}: the checksums of its elements do not hold")
    if tensor.storage.crc32c not in (None, found):
        raise Damaged(f"{tensor.name}: its bytes are no longer those of its checksum", code="changed-while-reading")
    return values.stored_bytes(tensor), found
