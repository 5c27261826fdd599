"""Zeros where data should be: what a full disk, a crash or a preallocated copy leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ckptui.readers.window import Bytes

SECTOR = 512
"""Bytes; lost data begins and ends on sectors of the file, and pages of 4096 begin on sectors too."""
MAX_TAIL_SEARCHED = 64 << 20
"""Bytes looked back over for the beginning of zeros at the end."""
_FIRST_STEP = 4096
_STEP = 1 << 20


def trailing_zeros(source: Bytes, start: int = 0, end: int | None = None, most: int = MAX_TAIL_SEARCHED) -> int:
    """How many zero bytes stand before `end` (the end of the file), from `start` on; `most` are looked at.

    Raises what `source.pread` raises.
    """
    end = source.size if end is None else end
    at, low, step = end, max(start, end - most), _FIRST_STEP
    while at > low:
        size = min(step, at - low)
        filled = len(source.pread(at - size, size).rstrip(b"\0"))
        at -= size
        if filled:
            return end - at - filled
        step = _STEP
    return end - at
