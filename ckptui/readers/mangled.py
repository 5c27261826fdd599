"""What copies that take binary files for text do to them: line ends rewritten, eighth bits lost, bytes re-encoded.

Counts over bytes or samples of them, no file is opened here. Where bytes are as good as random one LF in 256 follows
a CR, every second byte has its eighth bit set, and almost no run of such bytes is valid UTF-8; what departs from that
so far that chance does not explain it was made by a copy. A verdict is a likely cause of damage that something else
proves (a size, a checksum, a signature), never damage by itself: a file of small integers or of words looks alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Mangling = Literal["crlf", "lf", "seven-bit", "utf-8", "utf-8-replaced"]

WORDS: dict[Mangling, str] = {
    "crlf": "its line feeds turned into CRLF (a text-mode copy)",
    "lf": "its CRLFs turned into line feeds (a text-mode copy)",
    "seven-bit": "its eighth bits stripped (a seven-bit channel)",
    "utf-8": "its bytes re-encoded as UTF-8 text",
    "utf-8-replaced": "its bytes decoded as text: what was no text is now U+FFFD, and lost",
}
"""What happened, to be said after "a copy with"."""

FEW = 4
"""Line feeds that all follow a CR: by chance once in 256 ** FEW."""
MANY_LINE_FEEDS = 4096
"""Line feeds of which none follows a CR: by chance once in e ** 16."""
FEW_HIGH = 16
"""Bytes with the eighth bit, all of them valid UTF-8: by chance less than once in 10 ** 6."""
ENOUGH = 256
"""Bytes without a single eighth bit before its loss is thought of."""

_HIGH = bytes(range(0x80, 0x100))
_CONTROLS = bytes(code for code in range(0x20) if code not in b"\t\n\r\f\x1b")
_REPLACED = "\ufffd"


@dataclass(frozen=True, slots=True)
class Counts:
    """What a sample of a file's bytes holds."""

    size: int = 0
    bare_lf: int = 0
    """0a without 0d before it."""
    crlf: int = 0
    bare_cr: int = 0
    """0d without 0a after it."""
    high: int = 0
    """Bytes from 80 to ff."""
    controls: int = 0
    """Bytes that no text holds: 00 to 1f but for tab, line ends, form feed and escape."""
    letters: int = 0
    """Characters of several bytes, where the whole sample is valid UTF-8; else 0."""
    replaced: int = 0
    """U+FFFD among them."""
    wide: int = 0
    """Characters above U+00FF among them: none come from bytes taken for Latin-1."""
    valid_utf8: bool = True

    def to_json(self) -> dict[str, Any]:
        """The counts as evidence."""
        return {"bytes_sampled": self.size, "bare_lf": self.bare_lf, "crlf": self.crlf, "high_bytes": self.high}


def count(data: bytes, *, before: bytes = b"") -> Counts:
    """Count one stretch of bytes; `before` is the byte in front of it, where there is one."""
    line_feeds, pairs = data.count(b"\n"), data.count(b"\r\n")
    if before[-1:] == b"\r" and data[:1] == b"\n":
        pairs += 1
    high = len(data) - len(data.translate(None, _HIGH))
    controls = len(data) - len(data.translate(None, _CONTROLS))
    text = _decoded(data) if high else ""
    letters = [char for char in text if char > "\x7f"] if text else []
    return Counts(
        size=len(data),
        bare_lf=line_feeds - pairs,
        crlf=pairs,
        bare_cr=data.count(b"\r") - data.count(b"\r\n") - (data[-1:] == b"\r"),
        high=high,
        controls=controls,
        letters=len(letters),
        replaced=letters.count(_REPLACED),
        wide=sum(char > "\xff" for char in letters) - letters.count(_REPLACED),
        valid_utf8=text is not None,
    )


def verdict(counts: Counts) -> Mangling | None:
    """What a copy did to binary data with these counts; None where chance explains them, or where it is text."""
    if not counts.controls or counts.controls * 200 < counts.size:
        return None  # words, not numbers
    if counts.valid_utf8 and counts.high >= FEW_HIGH:
        if counts.replaced * 8 >= counts.letters:
            return "utf-8-replaced"
        return "utf-8" if not counts.wide else None
    if counts.crlf >= FEW and not counts.bare_lf:
        return "crlf"
    if counts.bare_lf >= MANY_LINE_FEEDS and not counts.crlf:
        return "lf"
    return None


def text_mode(data: bytes) -> Mangling | None:
    """The verdict on one sample."""
    return verdict(count(data))


def seven_bit(counts: Counts) -> bool:
    """Whether data that should hold floating-point numbers or other dense bytes has lost its eighth bits.

    Apart from `verdict`, for small integers hold none either: ask only about bytes whose checksum is wrong.
    """
    return counts.size >= ENOUGH and not counts.high and counts.controls * 200 >= counts.size


def all_crlf(data: bytes) -> int:
    """How many line feeds there are, if a CR stands before each of them; else 0."""
    pairs = data.count(b"\r\n")
    return pairs if pairs == data.count(b"\n") else 0


def undo_crlf(data: bytes) -> bytes:
    """The bytes with every CRLF turned back into LF: exact after a copy that put a CR before every LF."""
    return data.replace(b"\r\n", b"\n")


def undo_utf8(data: bytes) -> bytes | None:
    """The bytes that were taken for Latin-1 and written as UTF-8; None where they were not."""
    try:
        return data.decode("utf-8").encode("latin-1")
    except UnicodeError:
        return None


def undo(kind: Mangling, data: bytes) -> bytes | None:
    """The original of `data`; None where the copy can't be undone.

    A converter that left CRLFs of the original alone lost where they were: then it is not the original.
    """
    if kind == "crlf":
        return undo_crlf(data)
    return undo_utf8(data) if kind == "utf-8" else None


def _decoded(data: bytes) -> str | None:
    """The sample as UTF-8 text, whatever characters its two ends cut; None where it is no UTF-8."""
    start = 0
    while start < min(3, len(data)) and 0x80 <= data[start] < 0xC0:
        start += 1
    try:
        return data[start:].decode("utf-8")
    except UnicodeDecodeError as error:
        # a character cut by the end of the sample is "unexpected end of data"
        if error.reason == "unexpected end of data" and error.start + start >= len(data) - 3:
            return data[start : start + error.start].decode("utf-8")
        return None
