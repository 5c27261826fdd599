"""Opening an HDF5 file for reading only: never locked, and as far as possible when cut off or not closed.

HDF5 gets every file through a `Window`: it opens no path of its own, a file that shrinks is noticed instead of
read as zeros, and a damaged string heap gives an error instead of an endless loop. Runs in the reader child only.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from typing import Any

from ckptui.core.model import Finding
from ckptui.core.text import human_bytes
from ckptui.errors import Damaged
from ckptui.readers.hdf5_superblock import CHECKSUMMED, Superblock, find_superblock
from ckptui.readers.hdf5_walk import HDF5_ERRORS, reason
from ckptui.readers.keras_findings import note
from ckptui.readers.window import Bytes, Window

CHUNK_CACHE_BYTES = 32 << 20
"""HDF5's cache for decompressed chunks, per dataset being read."""
ZERO_TAIL = 4096
"""Zeros at the end from which on a damaged file is called zero-filled."""
MAX_TAIL_SEARCHED = 64 << 20
_MAX_END = 1 << 60
"""A declared end beyond this is damage, not truncation."""


@dataclass(slots=True)
class Opened:
    """An open file, or the findings that say why there is none."""

    superblock: Superblock
    window: Window
    """What the file is read through."""
    file: Any = None
    """h5py.File; None where HDF5 refuses the bytes."""
    cut: bool = False
    """The file ends before the end it declares."""
    findings: list[Finding] = field(default_factory=list)

    def reopen(self) -> None:
        """Let HDF5 forget what it has read: the window now shows something else."""
        self.close()
        _attempt(self)

    def close(self) -> None:
        """Close HDF5's side; doing it twice is harmless."""
        file, self.file = self.file, None
        if file is not None and file.id.valid:
            file.close()


def open_hdf5(source: Bytes, start: int = 0, available: int | None = None, *, label: str = "") -> Opened:
    """Open `available` bytes of `source` from `start`; raises Damaged (`hdf5-damaged`) where no signature is found.

    `label` names the part in findings (`model.weights.h5`).
    """
    room = max(0, source.size - start)
    available = room if available is None else min(available, room)
    block = find_superblock(source, start, available)
    if block is None:
        raise Damaged(
            f"{label or source.path} has no HDF5 signature",
            code="hdf5-damaged",
            evidence={"file": source.path, "bytes": available},
        )
    cut = available < block.end < _MAX_END
    open_flags = block.version >= CHECKSUMMED and block.flags != 0
    short = 0 <= block.end < available
    patches: dict[int, bytes] = {}
    if open_flags or short:
        # HDF5 refuses what it takes for still being written, and all that lies behind the end it is told.
        flags = 0 if open_flags else None
        patches = block.patches(flags=flags, end=available if short else None)
    base = block.at if block.width == block.lengths == 8 else None
    window = Window(source, start, available, block.end if cut else available, patches, base)
    opened = Opened(block, window, cut=cut)
    _judge(opened, source, available, label)
    error = _attempt(opened)
    if error is not None:
        what = f"{label}: {error}" if label else error
        told = f"HDF5 can't open it: {what}"
        opened.findings.append(note("hdf5-damaged", source.path, told, evidence={"error": error}))
    return opened


def zero_tail(source: Bytes, start: int, available: int) -> int:
    """How many zeros the part ends in, 0 for less than ZERO_TAIL; looks back over MAX_TAIL_SEARCHED bytes at most."""
    low = max(0, available - MAX_TAIL_SEARCHED)
    at, step = available, ZERO_TAIL
    while at > low:
        size = min(step, at - low)
        piece = source.pread(start + at - size, size).rstrip(b"\0")
        at -= size
        if piece:
            at += len(piece)
            break
        step = 1 << 20
    return available - at if available - at >= ZERO_TAIL else 0


def _judge(opened: Opened, source: Bytes, available: int, label: str) -> None:
    """What the superblock alone gives away: a writer that did not close, an end that is not there."""
    block = opened.superblock
    where = f"{label}: " if label else ""
    if block.flags & 1:
        detail = f"{where}its superblock says it is still open for writing (flags {block.flags})"
        facts = {"flags": block.flags, "version": block.version, "file": source.path}
        opened.findings.append(note("hdf5-not-closed", source.path, detail, evidence=facts))
    if 0 <= block.end < available:
        detail = f"{where}its superblock says it ends at {block.end}, it has {available} bytes"
        facts = {"expected": block.end, "found": available, "file": source.path}
        title = "The HDF5 file is longer than it says"
        opened.findings.append(
            note("hdf5-damaged", source.path, detail, evidence=facts, severity="warning", title=title)
        )
    if opened.cut:
        missing = block.end - available
        detail = (
            f"{where}cut off: {available} of {block.end} bytes are there, {human_bytes(missing)} missing; "
            "what lies before the cut is shown"
        )
        cut = {"expected": block.end, "found": available, "bytes_missing": missing, "file": source.path}
        title = "The HDF5 file is cut off"
        opened.findings.append(note("hdf5-damaged", source.path, detail, evidence=cut, title=title))


def _attempt(opened: Opened) -> str | None:
    """Open through the window; the reason where HDF5 refuses."""
    import h5py

    try:
        opened.file = h5py.File(opened.window, "r", rdcc_nbytes=CHUNK_CACHE_BYTES)
        opened.window.check()
    except HDF5_ERRORS as error:
        opened.window.check()
        return reason(error)
    # A file still open through Python callbacks when the interpreter ends is a crash: close it before that.
    weakref.finalize(opened.file, _close_id, opened.file.id)
    return None


def _close_id(file_id: Any) -> None:
    if file_id.valid:
        file_id.close()
