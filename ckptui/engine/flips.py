"""Where one flipped bit explains a checksum that does not match: in plain bytes, in strings and their table of lengths.

The checksum alone gives the place (see `core.bitflip`), but for bits that decide how the bytes are cut into lengths:
those are tried one by one, and held against the size of the tensor and the checksum of its length table.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from crc32c import crc32c

from ckptui.core.bitflip import Flip, coincidence, find_flips
from ckptui.core.model import Segment, Tensor
from ckptui.engine.checked import Mismatch, place_in
from ckptui.readers.source import Source
from ckptui.readers.sstable_block import mask, unmask
from ckptui.readers.wire import WireError, uvarint

TABLE_LIMIT = 1 << 18
"""Bytes of a length table that is searched."""
_TRIED = 4096
"""Lengths changed one by one, where one of them is beyond four bytes."""
_VARIANT_LIMIT = 1 << 24
"""Bytes of an element that is read again for each bit its length may have lost."""
_NARROW = 1 << 32
"""Lengths from this on enter the checksum as eight bytes instead of four."""


@dataclass(frozen=True, slots=True)
class Flipped:
    """One bit that, flipped back, makes the checksum right."""

    offset: int
    """Of its byte, from the start of the file."""
    bit: int
    byte_found: int
    coincidence: float
    """The chance that damage of another kind looks like this bit."""
    part: str = ""
    """`lengths` or `content`, where the tensor has both."""
    element: int | None = None
    """Flat index in the tensor, of numbers."""
    value_found: Any = None
    value_repaired: Any = None

    def to_json(self) -> dict[str, Any]:
        """As evidence: offset, bit, byte_found, byte_repaired, coincidence; part or element and values as known."""
        doc: dict[str, Any] = {
            "offset": self.offset,
            "bit": self.bit,
            "byte_found": self.byte_found,
            "byte_repaired": self.byte_found ^ 1 << self.bit,
            "coincidence": self.coincidence,
        }
        if self.part:
            doc["part"] = self.part
        if self.element is not None:
            doc |= {"element": self.element, "value_found": self.value_found, "value_repaired": self.value_repaired}
        return doc


def flipped_bits(source: Source, tensor: Tensor, wrong: Mismatch, dtype: np.dtype[Any] | None) -> list[Flipped]:
    """Every single bit that explains a mismatch; several only in a tensor beyond 256 MB.

    `dtype`: how one stored element is to be read, None where elements have no fixed size.
    """
    segment, encoding = wrong.segment, tensor.storage.encoding
    if encoding == "strings":
        place = _in_strings(source, tensor, wrong)
        return [] if place is None else [_at(source, segment, *place, segment.bytes)]
    if encoding == "variant":
        place = _in_variants(source, tensor, wrong)
        return [] if place is None else [_at(source, segment, *place, segment.bytes)]
    if encoding not in ("plain", "slices", "v1") or wrong.expected is None or wrong.found is None:
        return []
    flips = find_flips(wrong.expected, wrong.found, segment.bytes)
    return [_of_numbers(source, tensor, wrong, flip, dtype) for flip in flips]


def _at(source: Source, segment: Segment, flip: Flip, part: str, size: int) -> Flipped:
    offset = segment.offset + flip.byte
    return Flipped(offset, flip.bit, source.pread(offset, 1)[0], coincidence(size), part)


# ---------------------------------------------------------------------- numbers


def _of_numbers(source: Source, tensor: Tensor, wrong: Mismatch, flip: Flip, dtype: np.dtype[Any] | None) -> Flipped:
    segment = wrong.segment
    plain = _at(source, segment, flip, "", segment.bytes)
    if dtype is None or segment.bytes % dtype.itemsize or tensor.storage.encoding not in ("plain", "slices"):
        return plain
    number, within = divmod(flip.byte, dtype.itemsize)
    raw = bytearray(source.pread(segment.offset + number * dtype.itemsize, dtype.itemsize))
    found = _value(raw, dtype)
    raw[within] ^= flip.mask
    if wrong.part.startswith("tile "):
        number = place_in(tensor.storage.slices[int(wrong.part[5:])], tensor.shape)(number)
    return Flipped(plain.offset, plain.bit, plain.byte_found, plain.coincidence, "", number, found, _value(raw, dtype))


def _value(raw: bytearray, dtype: np.dtype[Any]) -> Any:
    """The one value in `raw` as a Python number; a complex one as its two parts."""
    if dtype.kind == "b":
        return bool(raw[0])
    with np.errstate(all="ignore"):
        value = np.frombuffer(bytes(raw), dtype)[0]
        if dtype.kind == "c":
            return [float(value.real), float(value.imag)]
        return int(value) if dtype.kind in "iu" or "int" in dtype.name else float(value)


# ---------------------------------------------------------------------- strings

_Place = tuple[Flip, str]


def _in_strings(source: Source, tensor: Tensor, wrong: Mismatch) -> _Place | None:
    """The flipped bit of a string tensor, by its place in the segment, and the part it lies in."""
    segment = wrong.segment
    head = source.pread(segment.offset, min(segment.bytes, TABLE_LIMIT))
    table = _Table(head, tensor.count, segment.bytes)
    if wrong.part != "lengths":
        if table.end is None or wrong.expected is None or wrong.found is None:
            return None
        start: int = table.end + 4
        flips = find_flips(wrong.expected, wrong.found, segment.bytes - start)
        return (Flip(start + flips[0].byte, flips[0].bit), "content") if len(flips) == 1 else None
    found = list(table.flips())
    return (found[0], "lengths") if len(found) == 1 else None


class _Table:
    """The lengths at the head of a string tensor, one number too many and all, and what one bit would make of them."""

    def __init__(self, head: bytes, count: int, size: int) -> None:
        """`size`: bytes of the whole tensor."""
        self._head = head
        self._count = count
        self._size = size
        self._values: list[int] = []
        self._ends: list[int] = []
        """First byte after each length."""
        self._sums = [0]
        self._read()

    @property
    def end(self) -> int | None:
        """First byte after the table, unless it runs off."""
        return self._end(self._count)

    def _end(self, count: int) -> int | None:
        if count > len(self._ends):
            return None
        return self._ends[count - 1] if count else 0

    def _read(self) -> None:
        """Lengths as they stand, one more than there should be: two may have been one."""
        value = shift = 0
        for place, byte in enumerate(self._head):
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                self._values.append(value)
                self._ends.append(place + 1)
                self._sums.append(self._sums[-1] + value)
                value = shift = 0
                if len(self._values) > self._count:
                    return
        if shift:
            # a last length that never ends may have been cut from what follows it by one bit
            self._values.append(value)
            self._ends.append(len(self._head))
            self._sums.append(self._sums[-1] + value)

    def flips(self) -> Iterator[Flip]:
        """Bits of the table and of its checksum whose flipping makes both the size and that checksum right."""
        for flip, values, after in self._candidates():
            if after + 4 <= len(self._head) and _checksum(values) == self._stored(after):
                yield flip
        end = self.end
        if end is not None and end + 4 <= len(self._head) and self._sums[self._count] + end + 4 == self._size:
            changed = mask(_checksum(self._values[: self._count])) ^ int.from_bytes(self._head[end : end + 4], "little")
            if changed.bit_count() == 1:
                byte, bit = divmod(changed.bit_length() - 1, 8)
                yield Flip(end + byte, bit)

    def _stored(self, end: int) -> int:
        return unmask(int.from_bytes(self._head[end : end + 4], "little"))

    def _candidates(self) -> Iterator[tuple[Flip, list[int], int]]:
        """(bit, the lengths with it flipped, the end of the table then) wherever the sum fits the size."""
        count, values, ends = self._count, self._values, self._ends
        end = self.end
        if end is not None:
            missing = self._size - 4 - end - self._sums[count]
            step = abs(missing).bit_length() - 1
            if missing and abs(missing) == 1 << step:
                yield from self._value_bits(step, missing > 0, end)
        begin = 0
        for n, (value, stop) in enumerate(zip(values, ends, strict=True)):
            if n >= count:
                break
            for place in range(begin, stop):
                changed = self._joined(n, begin, place) if place == stop - 1 else self._split(n, begin, place, value)
                if changed is not None:
                    yield Flip(place, 7), *changed
            begin = stop

    def _value_bits(self, bit: int, missing: bool, end: int) -> Iterator[tuple[Flip, list[int], int]]:
        """Bit `bit` of one of the lengths: set where bytes are missing, else to be cleared."""
        count = self._count
        places = range(count)
        if max(self._values[:count], default=0) < _NARROW and bit < 32 and end + 4 <= len(self._head):
            flips = find_flips(self._stored(end), _checksum(self._values[:count]), 4 * count)
            places = range(flips[0].byte // 4, flips[0].byte // 4 + 1) if flips else range(0)
        elif count > _TRIED:
            return
        for n in places:
            place = (self._ends[n - 1] if n else 0) + bit // 7
            if place >= self._ends[n] or bool(self._values[n] >> bit & 1) == missing:
                continue
            changed = self._values[:count]
            changed[n] ^= 1 << bit
            yield Flip(place, bit % 7), changed, end

    def _joined(self, n: int, start: int, place: int) -> tuple[list[int], int] | None:
        """Length `n` and the next as one: its last byte was not the last."""
        end = self._end(self._count + 1)
        if end is None or n + 1 >= len(self._values):
            return None
        joined = self._values[n] | self._values[n + 1] << 7 * (place + 1 - start)
        total = self._sums[self._count + 1] - self._values[n] - self._values[n + 1] + joined
        if total + end + 4 != self._size:
            return None
        return [*self._values[:n], joined, *self._values[n + 2 : self._count + 1]], end

    def _split(self, n: int, start: int, place: int, value: int) -> tuple[list[int], int] | None:
        """Length `n` as two: byte `place` was its last."""
        last = n == self._count - 1
        end = place + 1 if last else self._end(self._count - 1)
        if end is None:
            return None
        bits = 7 * (place + 1 - start)
        low, high = value & ((1 << bits) - 1), value >> bits
        if last:
            parts, total = [low], self._sums[n] + low
        else:
            parts, total = [low, high], self._sums[self._count - 1] - value + low + high
        if total + end + 4 != self._size:
            return None
        return [*self._values[:n], *parts, *self._values[n + 1 : self._count - 1]], end


def _checksum(lengths: list[int]) -> int:
    if max(lengths, default=0) < _NARROW:
        return crc32c(np.array(lengths, "<u4").tobytes())
    crc = 0
    for length in lengths:
        crc = crc32c(struct.pack("<I" if length < _NARROW else "<Q", length & (2**64 - 1)), crc)
    return crc


# ---------------------------------------------------------------------- variants


def _in_variants(source: Source, tensor: Tensor, wrong: Mismatch) -> _Place | None:
    """The flipped bit of a variant tensor: in the length or content of an element, or in the checksum behind it."""
    segment = wrong.segment
    if not wrong.part.startswith("element "):
        return None
    place, crc = 0, 0
    for _ in range(int(wrong.part[8:])):
        length, used = _varint(_peek(source, segment, place, 10))
        place += used + length + 4
        # the checksums so far are right: each says what the next begins with
        before = _peek(source, segment, place - 4, 4)
        crc = crc32c(before, unmask(int.from_bytes(before, "little")))
    length, used = _varint(_peek(source, segment, place, 10))
    if wrong.expected is not None and wrong.found is not None:
        start = place + used
        flips = find_flips(wrong.expected, wrong.found, length)
        if len(flips) == 1:
            return Flip(start + flips[0].byte, flips[0].bit), "content"
        changed = int.from_bytes(_peek(source, segment, start + length, 4), "little") ^ mask(wrong.found)
        if changed.bit_count() == 1:
            byte, bit = divmod(changed.bit_length() - 1, 8)
            return Flip(start + length + byte, bit), "content"
    flip = _in_variant_length(source, segment, place, crc)
    return None if flip is None else (flip, "lengths")


def _in_variant_length(source: Source, segment: Segment, place: int, crc: int) -> Flip | None:
    """The bit of the length at `place` that makes the checksum of this element right; `crc` is of all before."""
    head = _peek(source, segment, place, 10)
    for bit in range(len(head) * 8):
        changed = bytearray(head)
        changed[bit // 8] ^= 1 << bit % 8
        length, used = _varint(bytes(changed))
        start = place + used
        if bit // 8 >= used or length > min(segment.bytes - start - 4, _VARIANT_LIMIT):
            continue
        stored = unmask(int.from_bytes(_peek(source, segment, start + length, 4), "little"))
        content = _peek(source, segment, start, length)
        if crc32c(content, crc32c(struct.pack("<Q", length), crc)) == stored:
            return Flip(place + bit // 8, bit % 8)
    return None


def _peek(source: Source, segment: Segment, place: int, count: int) -> bytes:
    """`count` bytes of a segment, fewer at its end."""
    return source.pread(segment.offset + place, max(0, min(count, segment.bytes - place)))


def _varint(raw: bytes) -> tuple[int, int]:
    """A number and the bytes it takes; 0 bytes where it is none."""
    try:
        return uvarint(raw, 0)
    except WireError:
        return 0, 0
