"""Opening an HDF5 file for reading only: never locked, and as far as possible when it is cut off or was not closed.

Runs in the reader child only.
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
from ckptui.readers.source import Source
from ckptui.readers.window import Bytes, Window

CHUNK_CACHE_BYTES = 32 << 20
"""HDF5's cache for decompressed chunks, per dataset being read."""
ZERO_TAIL = 4096
"""Zeros at the end from which on metadata in them is taken for lost."""
MAX_TAIL_SEARCHED = 64 << 20
_MAX_END = 1 << 60
"""A declared end beyond this is damage, not truncation."""
_STEP = 1 << 20
_SECTOR = 512


@dataclass(slots=True)
class Opened:
    """An open file, or the findings that say why there is none."""

    file: Any = None
    """h5py.File; None where HDF5 refuses the bytes."""
    window: Window | None = None
    """What the file is read through where it is not read directly."""
    superblock: Superblock | None = None
    cut: bool = False
    """The file ends before the end it declares."""
    zeros_from: int | None = None
    """Set where a long run of zeros at the end is hidden from HDF5: fit for listing, not for values."""
    findings: list[Finding] = field(default_factory=list)

    def close(self) -> None:
        """Close HDF5's side; doing it twice is harmless."""
        file, self.file = self.file, None
        if file is not None and file.id.valid:
            file.close()


def open_hdf5(
    source: Bytes,
    start: int = 0,
    available: int | None = None,
    *,
    label: str = "",
    hide_zeros: bool = False,
) -> Opened:
    """Open `available` bytes of `source` from `start`; raises Damaged (`hdf5-damaged`) where no signature is found.

    A whole file is opened by its path, everything else through a bounded window. `label` names the part in
    findings (`model.weights.h5`). With `hide_zeros`, metadata in a zero-filled tail is refused instead of followed:
    HDF5 1.14 searches a zeroed heap for ever.
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
    opened = Opened(superblock=block)
    _judge(opened, block, source, available, label)
    exists = available
    if hide_zeros and not opened.cut and block.version < CHECKSUMMED:
        exists = zero_tail(source, start, available)
        opened.zeros_from = exists if exists < available else None
    end = max(available, block.end) if opened.cut else available
    clean = block.patches(flags=0) if block.version >= CHECKSUMMED and block.flags else {}
    direct = start == 0 and available == source.size and isinstance(source, Source)
    plain = direct and not opened.cut and not clean and opened.zeros_from is None
    first = None if plain else Window(source, start, exists, end, clean)
    error = _attempt(opened, source, first)
    if error is not None and not opened.cut and block.end >= 0 and block.end != available:
        # A wrong end of file in the superblock costs nothing but itself.
        mended = Window(source, start, exists, available, block.patches(flags=0, end=available))
        if _attempt(opened, source, mended) is None:
            detail = f"the superblock says the file ends at {block.end}, it has {available} bytes ({error})"
            facts = {"expected": block.end, "found": available, "file": source.path}
            opened.findings.append(note("hdf5-damaged", source.path, detail, evidence=facts))
            error = None
    if error is not None:
        what = f"{label}: {error}" if label else error
        facts = {"error": error}
        opened.findings.append(
            note("hdf5-damaged", source.path, f"HDF5 can't open it: {what}", evidence=facts)
        )
    return opened


def zero_tail(source: Bytes, start: int, available: int) -> int:
    """Where a run of at least ZERO_TAIL zeros up to the end begins, on a sector border; `available` without one."""
    low = max(0, available - MAX_TAIL_SEARCHED)
    at = available
    step = ZERO_TAIL
    while at > low:
        size = min(step, at - low)
        piece = source.pread(start + at - size, size).rstrip(b"\0")
        at -= size
        if piece:
            at += len(piece)
            break
        step = _STEP
    begin = -(-at // _SECTOR) * _SECTOR
    return begin if available - begin >= ZERO_TAIL else available


def _judge(opened: Opened, block: Superblock, source: Bytes, available: int, label: str) -> None:
    """What the superblock alone gives away: a writer that did not close, an end that is not there."""
    where = f"{label}: " if label else ""
    if block.flags & 1:
        detail = f"{where}its superblock says it is still open for writing (flags {block.flags})"
        facts = {"flags": block.flags, "version": block.version, "file": source.path}
        opened.findings.append(note("hdf5-not-closed", source.path, detail, evidence=facts))
    missing = block.end - available
    if missing > 0 and block.end < _MAX_END:
        opened.cut = True
        detail = (
            f"{where}cut off: {available} of {block.end} bytes are there, {human_bytes(missing)} missing; "
            "what lies before the cut is shown"
        )
        cut = {"expected": block.end, "found": available, "bytes_missing": missing, "file": source.path}
        title = "The HDF5 file is cut off"
        opened.findings.append(note("hdf5-damaged", source.path, detail, evidence=cut, title=title))


def _attempt(opened: Opened, source: Bytes, window: Window | None) -> str | None:
    """Open by path (no window) or through the window; the reason where HDF5 refuses."""
    import h5py

    try:
        if window is None:
            opened.file = h5py.File(source.path, "r", locking=False, rdcc_nbytes=CHUNK_CACHE_BYTES)
            source.fence()
        else:
            opened.file = h5py.File(window, "r", rdcc_nbytes=CHUNK_CACHE_BYTES)
            window.check()
    except HDF5_ERRORS as error:
        if window is not None:
            window.check()
        return reason(error)
    opened.window = window
    # A file still open through Python callbacks when the interpreter ends is a crash: close it before that.
    weakref.finalize(opened.file, _close_id, opened.file.id)
    return None


def _close_id(file_id: Any) -> None:
    if file_id.valid:
        file_id.close()
