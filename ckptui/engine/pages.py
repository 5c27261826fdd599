"""Manners with the page cache: whether a file was there before we came."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct

SAMPLES = 16
PAGE = 4096
CACHESTAT = 451
"""Number of cachestat(2) on x86_64 and aarch64 alike, since Linux 6.5."""


def resident(path: str) -> bool | None:
    """Is any of a file in the page cache? None where the system doesn't say.

    A file of which nothing was there may be dropped after reading: no one else loses pages. mincore(2) needs a
    mapping, so cachestat(2) is asked; an older kernel by reads that refuse to wait for the disk (RWF_NOWAIT) at a few
    places. Those start reading, and where the disk is faster than the answer a file counts as there: it is then left
    alone.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or not info.st_size:
            return None
        pages = cached_pages(fd)
        return bool(pages) if pages is not None else _by_reading(fd, info.st_size)
    except OSError:
        return None
    finally:
        with contextlib.suppress(OSError):
            os.close(fd)


def cached_pages(fd: int) -> int | None:
    """Pages of a file in the page cache, by cachestat(2); None where the kernel has no such call or refuses."""
    if os.uname().machine not in ("x86_64", "aarch64"):
        return None
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    extent = ctypes.create_string_buffer(struct.pack("=QQ", 0, 0), 16)
    answer = ctypes.create_string_buffer(40)
    if library.syscall(CACHESTAT, ctypes.c_uint(fd), extent, answer, ctypes.c_uint(0)):
        return None
    found: int = struct.unpack_from("=Q", answer.raw)[0]
    return found


def _by_reading(fd: int, size: int) -> bool | None:
    flag = getattr(os, "RWF_NOWAIT", None)
    if flag is None:
        return None
    # from the last to the first: a read at the start makes the kernel read on from there
    places = sorted({size * n // SAMPLES // PAGE * PAGE for n in range(SAMPLES)}, reverse=True)
    return any(_there(fd, place, flag) for place in places)


def _there(fd: int, offset: int, flag: int) -> bool:
    """Raises OSError where the file system can't tell."""
    try:
        return os.preadv(fd, [bytearray(1)], offset, flag) == 1
    except OSError as error:
        if error.errno == errno.EAGAIN:
            return False
        raise
