"""The frames on the pipes between ckptui and a reader child.

A frame is a little-endian u32 length, a JSON header of that length, then the blobs whose lengths the header's
`blobs` lists. Both ends check every length before they allocate; nothing is ever unpickled.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Blob = bytes | bytearray | memoryview

HEADER_LIMIT = 64 << 20
"""Longest header, in bytes."""
BLOBS_LIMIT = 1 << 30
"""All blobs of one frame together, in bytes."""
BLOB_COUNT_LIMIT = 64
_LENGTH = struct.Struct("<I")
_PART = 1 << 20
"""A blob that is still arriving grows by this much, so a length alone allocates nothing."""


class BadFrame(Exception):
    """Bytes that are no frame: a length beyond its bound, no JSON, no object."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message."""

    header: Mapping[str, Any]
    blobs: tuple[Blob, ...] = ()


def encode(header: Mapping[str, Any], blobs: Sequence[Blob] = ()) -> list[Blob]:
    """The pieces of a frame, in order, blobs uncopied. Raises BadFrame for one that the other end would refuse."""
    lengths = [memoryview(blob).nbytes for blob in blobs]
    text = json.dumps({**header, "blobs": lengths} if lengths else header, separators=(",", ":")).encode()
    if len(text) > HEADER_LIMIT or len(lengths) > BLOB_COUNT_LIMIT or sum(lengths) > BLOBS_LIMIT:
        raise BadFrame(f"{len(text)} bytes of header, {len(lengths)} blobs of {sum(lengths)} bytes are too many")
    return [_LENGTH.pack(len(text)) + text, *(memoryview(blob).cast("B") for blob in blobs if len(blob))]


def write_frame(fd: int, header: Mapping[str, Any], blobs: Sequence[Blob] = ()) -> None:
    """Write a whole frame to a blocking descriptor."""
    for piece in encode(header, blobs):
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(fd, rest) :]


def read_frame(fd: int) -> Frame | None:
    """Read one frame from a blocking descriptor; None at its end. Raises BadFrame."""
    decoder = Decoder()
    while True:
        data = os.read(fd, decoder.wanted)
        if not data:
            return None
        for frame in decoder.feed(data):
            return frame


@dataclass(slots=True)
class Decoder:
    """Puts frames together from whatever pieces a pipe delivers."""

    _buffer: bytearray = field(default_factory=bytearray)
    """The part under way: length, header or blob."""
    _need: int = _LENGTH.size
    """Bytes that complete it."""
    _header: Mapping[str, Any] | None = None
    _lengths: list[int] = field(default_factory=list)
    """Of the blobs still to come, the one under way first."""
    _blobs: list[Blob] = field(default_factory=list)
    _in_header: bool = False

    @property
    def wanted(self) -> int:
        """How many bytes to read next at most, so that nothing of a following frame is taken."""
        return min(self._need - len(self._buffer), _PART)

    @property
    def idle(self) -> bool:
        """True between frames."""
        return not self._buffer and not self._in_header and self._header is None

    def feed(self, data: Blob) -> list[Frame]:
        """Take bytes; the frames they complete. Raises BadFrame, after which the stream is lost."""
        frames = []
        rest = memoryview(data)
        while rest:
            take = rest[: self._need - len(self._buffer)]
            self._buffer += take
            rest = rest[len(take) :]
            if len(self._buffer) == self._need:
                frame = self._part_complete()
                if frame is not None:
                    frames.append(frame)
        return frames

    def _part_complete(self) -> Frame | None:
        part, self._buffer = self._buffer, bytearray()
        if self._header is not None:
            self._blobs.append(part)
            self._lengths.pop(0)
        elif self._in_header:
            self._in_header = False
            self._header, self._lengths = _parse_header(part)
        else:
            self._need = _LENGTH.unpack(part)[0]
            if not 2 <= self._need <= HEADER_LIMIT:
                raise BadFrame(f"a header of {self._need} bytes")
            self._in_header = True
            return None
        while self._lengths and not self._lengths[0]:
            self._blobs.append(b"")
            self._lengths.pop(0)
        if self._lengths:
            self._need = self._lengths[0]
            return None
        frame = Frame(self._header, tuple(self._blobs))
        self._header, self._blobs, self._need = None, [], _LENGTH.size
        return frame


def _parse_header(text: bytearray) -> tuple[Mapping[str, Any], list[int]]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadFrame(f"a header that is no JSON: {error}") from None
    if not isinstance(header, dict):
        raise BadFrame("a header that is no object")
    lengths = header.pop("blobs", [])
    if not isinstance(lengths, list) or len(lengths) > BLOB_COUNT_LIMIT:
        raise BadFrame("a list of blobs that is none, or too long")
    if any(type(n) is not int or n < 0 for n in lengths) or sum(lengths) > BLOBS_LIMIT:
        raise BadFrame("blobs of impossible lengths")
    return header, lengths
