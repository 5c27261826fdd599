"""Opening an HDF5 file for reading only: never locked, and as far as possible when cut off or not closed.

HDF5 gets every file through a `Window`: it opens no path of its own, a file that shrinks is noticed instead of
read as zeros, and a damaged string heap gives an error instead of an endless loop. Runs in the reader child only.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from typing import Any

from ckptui.core.sayings import says
from ckptui.errors import Damaged
from ckptui.readers.hdf5_structures import Structures
from ckptui.readers.hdf5_superblock import CHECKSUMMED, SIGNATURE, Superblock, find_superblock, parse_superblock
from ckptui.readers.hdf5_superblock_mend import Flaw, holds, made, mended, near_superblock, node_sizes
from ckptui.readers.hdf5_walk import HDF5_ERRORS, reason
from ckptui.readers.window import Bytes, Window
from ckptui.readers.zeros import trailing_zeros

CHUNK_CACHE_BYTES = 32 << 20
"""HDF5's cache for decompressed chunks, per dataset being read."""
ZERO_TAIL = 512
"""Zeros at the end from which on a damaged file is called zero-filled."""
_MAX_END = 1 << 60
"""A declared end beyond this is damage, not truncation."""


@dataclass(slots=True)
class Opened:
    """An open file, or why there is none."""

    superblock: Superblock
    """As it is used: with its flaws mended."""
    window: Window
    """What the file is read through."""
    file: Any = None
    """h5py.File; None where HDF5 refuses the bytes."""
    cut: bool = False
    """The file ends before the end it declares."""
    error: str = ""
    """Why HDF5 refuses, in its words."""
    refusal: str = ""
    """What HDF5 said to the superblock as it stands, where that had to be mended."""
    flaws: list[Flaw] = field(default_factory=list)
    """What had to be mended in the superblock."""

    def reopen(self) -> None:
        """Let HDF5 forget what it has read: the window now shows something else."""
        self.close()
        self.error = _attempt(self)

    def mend_node_sizes(self) -> None:
        """Show the usual node sizes where the superblock's are one bit off; it must be opened again to count."""
        for flaw in node_sizes(self.superblock):
            if flaw not in self.flaws:
                self.flaws.append(flaw)
                self.window.patch(flaw.at, flaw.expected)

    def close(self) -> None:
        """Close HDF5's side; doing it twice is harmless."""
        file, self.file = self.file, None
        if file is not None and file.id.valid:
            file.close()


def open_hdf5(source: Bytes, start: int = 0, available: int | None = None, *, label: str = "") -> Opened:
    """Open `available` bytes of `source` from `start`; raises Damaged (`hdf5-damaged`) where no superblock is found.

    `label` names the part in what is told (`model.weights.h5`).
    """
    room = max(0, source.size - start)
    available = room if available is None else min(available, room)
    block = find_superblock(source, start, available)
    opened = None if block is None else _open_as(source, start, available, block)
    if opened is not None and not opened.error:
        return opened
    block = near_superblock(source, start, available) if block is None else block
    if block is None:
        opened = _open_without(source, start, available)
        if opened is not None:
            return opened
        raise Damaged(
            f"{label or source.path} has no HDF5 signature",
            code="hdf5-damaged",
            evidence={"file": source.path, "bytes": available, "tensorflow_says": says("no-signature")},
        )
    at = block.at
    fixed, flaws = mended(source.pread(start + at, min(256, available - at)), at)
    if flaws or opened is None:
        refusal = opened.error if opened is not None else says("no-signature")
        opened = _open_as(source, start, available, parse_superblock(fixed, at), fixed)
        opened.flaws, opened.refusal = flaws, refusal
    return opened


def _open_without(source: Bytes, start: int, available: int) -> Opened | None:
    """Open a file whose first bytes are lost: a superblock is made for the largest group that nothing leads to."""
    if source.pread(start, 4) == SIGNATURE[:4]:
        # The signature is made to show what a text-mode copy does; every address behind it is wrong then.
        return None
    structures = Structures(Window(source, start, available), 0)
    found = structures.scan()
    groups = {a for a in found.places["header"] if structures.symbol_table(a) is not None}
    below = {p.to for group in groups for p in structures.group_pointers(group) if p.what == "header"}
    tops = {group: sum(1 for _ in structures.group_pointers(group)) for group in groups - below}
    if not tops:
        return None
    fixed = made(max(tops, key=lambda group: (tops[group], -group)), available)
    opened = _open_as(source, start, available, parse_superblock(fixed, 0), fixed)
    stored = source.pread(start, 8)
    opened.flaws = [Flaw(0, fixed[:8], stored, "it is lost, with what stood next to it")]
    opened.refusal = says("no-signature")
    return opened


def _open_as(source: Bytes, start: int, available: int, block: Superblock, fixed: bytes = b"") -> Opened:
    """Open with this superblock, shown as `fixed` where that is given."""
    cut = available < block.end < _MAX_END
    open_flags = block.version >= CHECKSUMMED and block.flags != 0
    short = 0 <= block.end < available or block.end >= _MAX_END
    shown = bytearray(fixed)
    if (open_flags or short) and (fixed or block.version < CHECKSUMMED or holds(block.raw)):
        # HDF5 refuses what it takes for still being written, and all that lies behind the end it is told.
        patch = block.patches(flags=0 if open_flags else None, end=available if short else None)[block.at]
        shown[: len(patch)] = patch
    patches = {block.at: bytes(shown)} if shown else {}
    base = block.at if block.width == block.lengths == 8 else None
    window = Window(source, start, available, block.end if cut else available, patches, base)
    opened = Opened(block, window, cut=cut)
    opened.error = _attempt(opened)
    return opened


def zero_tail(source: Bytes, start: int, available: int) -> int:
    """How many zeros the part ends in, 0 for less than ZERO_TAIL."""
    zeros = trailing_zeros(source, start, start + available)
    return zeros if zeros >= ZERO_TAIL else 0


def _attempt(opened: Opened) -> str:
    """Open through the window; the reason where HDF5 refuses, empty where it does not."""
    import h5py

    try:
        opened.file = h5py.File(opened.window, "r", rdcc_nbytes=CHUNK_CACHE_BYTES)
        opened.window.check()
    except HDF5_ERRORS as error:
        opened.window.check()
        return reason(error)
    # A file still open through Python callbacks when the interpreter ends is a crash: close it before that.
    weakref.finalize(opened.file, _close_id, opened.file.id)
    return ""


def _close_id(file_id: Any) -> None:
    if file_id.valid:
        file_id.close()
