"""Reading a file that someone else may be writing: positioned reads, no mmap, a fence against change."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from types import TracebackType

from ckptui.errors import ChangedWhileReading, Damaged, NoSuchPath, Unreadable

_HINT = "Wait until the save is finished, then read it again"


class Source:
    """An open regular file. Opening never blocks on a FIFO or a device, and never takes a lock."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open `path`; raises NoSuchPath for what is no regular file, Unreadable where the system refuses."""
        self.path = os.fspath(path)
        try:
            self._fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise NoSuchPath(self.path) from None
        except (OSError, ValueError) as error:
            raise _refused(self.path, error) from None
        try:
            self._stamp = os.fstat(self._fd)
            if not stat.S_ISREG(self._stamp.st_mode):
                raise NoSuchPath(f"{self.path} is no regular file")
        except BaseException:
            os.close(self._fd)
            raise
        self.size = self._stamp.st_size
        self._open = True

    @property
    def modified(self) -> float:
        """Seconds since the epoch, when the file was opened."""
        return self._stamp.st_mtime

    @property
    def stamp(self) -> tuple[int, int, int, int]:
        """Device, inode, size and time (ns) when the file was opened."""
        return _identity(self._stamp)[:4]

    def pread(self, offset: int, count: int) -> bytes:
        """Exactly `count` bytes from `offset`.

        Raises Damaged (`shard-truncated`) beyond the end the file had when it was opened, ChangedWhileReading
        where bytes that were there are gone, Unreadable for an I/O error.
        """
        self.check_bounds(offset, count)
        try:
            data = os.pread(self._fd, count, offset)
            while len(data) < count:
                more = os.pread(self._fd, count - len(data), offset + len(data))
                if not more:
                    raise ChangedWhileReading(f"{self.path} became shorter", _HINT)
                data += more
        except OSError as error:
            raise _refused(self.path, error) from None
        return data

    def stream(self, offset: int, count: int, chunk: int = 1 << 20) -> Iterator[memoryview]:
        """`count` bytes from `offset` as views of at most `chunk` bytes on one buffer, reused each step.

        Raises as `pread` does.
        """
        self.check_bounds(offset, count)
        buffer = memoryview(bytearray(min(chunk, count)))
        while count:
            want = buffer[: min(chunk, count)]
            self._fill(offset, want)
            yield want
            offset += len(want)
            count -= len(want)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill a writable buffer of bytes from `offset`; raises as `pread` does."""
        self.check_bounds(offset, len(buffer))
        self._fill(offset, buffer)

    def _fill(self, offset: int, buffer: memoryview) -> None:
        filled = 0
        while filled < len(buffer):
            try:
                got = os.preadv(self._fd, [buffer[filled:]], offset + filled)
            except OSError as error:
                raise _refused(self.path, error) from None
            if not got:
                raise ChangedWhileReading(f"{self.path} became shorter", _HINT)
            filled += got

    def fence(self) -> None:
        """Raise ChangedWhileReading unless the open file is still the one at its path, and unchanged."""
        try:
            now = os.fstat(self._fd)
            there = os.stat(self.path)
        except FileNotFoundError:
            raise ChangedWhileReading(f"{self.path} was removed", _HINT) from None
        except OSError as error:
            raise _refused(self.path, error) from None
        if _identity(now) != _identity(self._stamp) or _identity(there)[:2] != _identity(now)[:2]:
            raise ChangedWhileReading(f"{self.path} was replaced or written to", _HINT)

    def check_bounds(self, offset: int, count: int) -> None:
        """Raise Damaged unless the file had bytes `offset` to `offset + count` when it was opened."""
        if offset < 0 or count < 0:
            raise Damaged(f"{self.path}: offset {offset}, length {count}", evidence={"offset": offset, "bytes": count})
        missing = offset + count - self.size
        if missing > 0:
            raise Damaged(
                f"{self.path} ends at {self.size}, bytes {offset} to {offset + count} are wanted",
                code="shard-truncated",
                evidence={
                    "file": self.path,
                    "expected": offset + count,
                    "found": self.size,
                    "bytes_missing": min(missing, count),
                },
                hint="Copy the file again from where it was whole",
            )

    def holes(self, offset: int, count: int) -> Iterator[tuple[int, int]]:
        """(first byte, bytes) of every stretch from `offset` on that the file system keeps no data for.

        Stretches are cut at `offset + count` and at the end of the file. Where the system can't tell there are none:
        a file with as many blocks as its size needs is not even asked about (lseek(2), SEEK_HOLE).
        """
        end = min(offset + count, self.size)
        if self._stamp.st_blocks * 512 >= self.size:
            return
        place = offset
        try:
            while place < end:
                hole = os.lseek(self._fd, place, os.SEEK_HOLE)
                if hole >= end:
                    return
                try:
                    place = min(os.lseek(self._fd, hole, os.SEEK_DATA), end)
                except OSError as error:
                    if error.errno != errno.ENXIO:
                        return
                    place = end
                yield hole, place - hole
        except (OSError, ValueError, AttributeError):
            return

    def drop_cache(self) -> None:
        """Tell the kernel that this file's pages need not stay in its cache."""
        with contextlib.suppress(OSError):
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        """Close the file; doing it twice is harmless."""
        if self._open:
            self._open = False
            os.close(self._fd)

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_whole(path: str | os.PathLike[str], cap: int) -> bytes:
    """All bytes of a regular file of at most `cap` bytes, fence held; raises Damaged for a larger one."""
    with Source(path) as source:
        if source.size > cap:
            raise Damaged(f"{source.path} has {source.size} bytes, at most {cap} are read")
        data = source.pread(0, source.size)
        source.fence()
        return data


def _identity(status: os.stat_result) -> tuple[int, int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_nlink


def _refused(path: str, error: OSError | ValueError) -> ChangedWhileReading | Unreadable:
    number = getattr(error, "errno", None)
    if number == errno.ESTALE:
        return ChangedWhileReading(f"{path} was replaced on its server", _HINT)
    reason = os.strerror(number) if number else str(error)
    return Unreadable(f"{path}: {reason}", evidence={"file": path, "errno": number})
