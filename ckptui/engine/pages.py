"""Manners with the page cache: whether a file was there before we came."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

SAMPLES = 16


def resident(path: str) -> bool | None:
    """Is any of a few places of a file in the page cache? None where the system doesn't say.

    A file of which nothing was there may be dropped after reading: no one else loses pages. Asked by reads that
    refuse to wait for the disk (RWF_NOWAIT), since mincore(2) needs a mapping.
    """
    flag = getattr(os, "RWF_NOWAIT", None)
    if flag is None:
        return None
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or not info.st_size:
            return None
        return any(_there(fd, info.st_size * n // SAMPLES, flag) for n in range(SAMPLES))
    except OSError:
        return None
    finally:
        with contextlib.suppress(OSError):
            os.close(fd)


def _there(fd: int, offset: int, flag: int) -> bool:
    """Raises OSError where the file system can't tell."""
    try:
        return os.preadv(fd, [bytearray(1)], offset, flag) == 1
    except OSError as error:
        if error.errno == errno.EAGAIN:
            return False
        raise
