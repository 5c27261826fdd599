"""Data files that went through a text-mode or text-encoding copy, and whether taking it back makes checksums right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from crc32c import crc32c

from ckptui.engine.checked import Beat
from ckptui.engine.moved import Moved, lost_line_ends
from ckptui.engine.partners import Piece
from ckptui.readers import mangled
from ckptui.readers.source import Source

SAMPLE = 4 << 20
"""Bytes from the beginning that are counted."""
UNDO_LIMIT = 256 << 20
"""Bytes of the largest file that is taken back on the way past, to see whether checksums then hold."""
CHUNK = 1 << 20
ENOUGH = 64
"""Bytes of floating-point numbers, none of them zero, before missing eighth bits mean anything: 1 in 2**64."""

_LOW = bytes(range(0x80))
_CONTINUING = bytes(range(0x80, 0xC0))


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy did; `kind` is empty where it did nothing."""

    kind: str = ""
    reversible: bool = False
    proved: int = 0
    """Checksums that hold once it is taken back."""


def copied(
    source: Source,
    needed: int,
    pieces: Sequence[Piece],
    cut: int,
    floats: tuple[int, int],
    seen: Moved,
    beat: Beat,
) -> Copied:
    """What happened to a file whose tensors need `needed` bytes, told from its bytes and proved where possible.

    `cut`: tensors beyond its end; `floats`: bytes not zero, and those with the eighth bit set, among wrong
    floating-point numbers; `seen`: tensors that are whole elsewhere.
    """
    wrong = sum(piece.wrong for piece in pieces)
    if source.size > needed and wrong:
        return _longer(source, needed, pieces, beat)
    if source.size < needed and (wrong or cut):
        return _shorter(source, pieces, seen, beat)
    filled, high = floats
    if (
        wrong
        and filled >= ENOUGH
        and not high
        and not any(chunk.translate(None, _LOW) for _, chunk in _chunks(source, beat))
    ):
        return Copied("seven-bit")
    return Copied()


def _longer(source: Source, needed: int, pieces: Sequence[Piece], beat: Beat) -> Copied:
    sample = mangled.count(source.pread(0, min(SAMPLE, source.size)))
    grew = source.size - needed
    if sample.crlf and not sample.bare_lf:
        pairs = bare = 0
        for before, chunk in _chunks(source, beat):
            counts = mangled.count(chunk, before=before)
            pairs, bare = pairs + counts.crlf, bare + counts.bare_lf
        if not bare and pairs >= grew:
            proved = _proved(source, pieces, beat) if pairs == grew else 0
            if proved or pairs >= mangled.FEW:
                return Copied("crlf", pairs == grew, proved)
    kind = mangled.verdict(sample)
    if kind in ("utf-8", "utf-8-replaced"):
        undone = source.size
        for _, chunk in _chunks(source, beat):
            undone -= len(chunk) - len(chunk.translate(None, _CONTINUING))
        return Copied(kind, kind == "utf-8" and undone == needed)
    return Copied()


def _shorter(source: Source, pieces: Sequence[Piece], seen: Moved, beat: Beat) -> Copied:
    """CRLFs that lost their CR: none is left, and tensors behind the first of them have moved to the front."""
    sample = mangled.count(source.pread(0, min(SAMPLE, source.size)))
    if sample.crlf or not sample.bare_lf:
        kind = mangled.verdict(sample)
        return Copied("utf-8-replaced") if kind == "utf-8-replaced" else Copied()
    if any(counts.crlf for counts in (mangled.count(chunk, before=b) for b, chunk in _chunks(source, beat))):
        return Copied()
    # a file that is merely cut has few wrong tensors before its end
    many = sample.bare_lf >= mangled.MANY_LINE_FEEDS and 2 * sum(piece.wrong for piece in pieces) > len(pieces)
    if many or (seen.count and lost_line_ends(source, seen, beat)):
        return Copied("lf", False, seen.count)
    return Copied()


def _chunks(source: Source, beat: Beat) -> Iterator[tuple[bytes, bytes]]:
    """(the byte before, the next bytes) of the whole file."""
    before = b""
    for view in source.stream(0, source.size, CHUNK):
        chunk = bytes(view)
        yield before, chunk
        before = chunk[-1:]
        beat(0)


def _proved(source: Source, pieces: Sequence[Piece], beat: Beat) -> int:
    """Checksums of plain tensors that hold over the bytes with every CRLF turned back into LF."""
    if source.size > UNDO_LIMIT:
        return 0
    waiting = sorted((p for p in pieces if p.encoding == "plain"), key=lambda piece: -piece.offset)
    right, place, crc = 0, 0, 0
    for data in _undone(source, beat):
        start, end = place, place + len(data)
        while waiting and waiting[-1].offset < end:
            piece = waiting[-1]
            first, last = max(piece.offset, start), min(piece.offset + piece.bytes, end)
            crc = crc32c(data[first - start : last - start], crc if first > piece.offset else 0)
            if piece.offset + piece.bytes > end:
                break
            right += crc == piece.crc
            crc = 0
            waiting.pop()
        place = end
    return right


def _undone(source: Source, beat: Beat) -> Iterator[bytes]:
    """The file with every CRLF turned back, in pieces."""
    held = b""
    for _, chunk in _chunks(source, beat):
        data = held + chunk
        held = data[-1:] if data.endswith(b"\r") else b""
        yield mangled.undo_crlf(data[: len(data) - len(held)])
    if held:
        yield held
