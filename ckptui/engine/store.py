"""Files of results in the user's cache folder: one a save, compressed, written atomically, the oldest let go.

A file is gzip members of lines `tag TAB name TAB document`, the last two JSON; a later line takes the place of an
earlier one with the same tag and name. What is no such file, is not the user's own or unpacks to too much is ignored.
Nothing here raises for what the file system says: a cache that can't be used is as good as none.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import stat
import tempfile
import time
import zlib
from collections.abc import Mapping
from pathlib import Path

SUFFIX = ".results.gz"
MAX_PACKED = 64 << 20
"""Largest file read or written, in bytes."""
MAX_RAW = 96 << 20
"""Most bytes a file may unpack to."""
MAX_LINE = 16 << 20
MAX_MEMBERS = 32
"""Members a file has at most: with more it is packed anew."""
LEFTOVER_SECONDS = 3600.0
"""A temporary file of this age was left by a process that ended."""

Records = dict[tuple[str, str], bytes]
"""Documents by tag and name."""


class Store:
    """The files of one folder."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        """`most_bytes`: what all files together may take."""
        self.folder = folder
        self.most_bytes = most_bytes

    def version(self, key: str) -> tuple[int, int] | None:
        """What changes when the file of `key` is written: inode and size; None without one."""
        try:
            info = os.stat(self._path(key), follow_symlinks=False)
        except OSError:
            return None
        return info.st_ino, info.st_size

    def read(self, key: str) -> Records | None:
        """Everything kept under `key`; None where that is nothing, or nothing to be trusted."""
        packed = self._packed(key)
        members = _unpacked(packed) if packed is not None else None
        if members is None:
            return None
        found: Records = {}
        for raw in members:
            for line in raw.split(b"\n"):
                parts = line.split(b"\t")
                if len(parts) != 3 or len(line) > MAX_LINE:
                    if line:
                        return None
                    continue
                try:
                    tag, name = parts[0].decode("ascii"), json.loads(parts[1])
                except (ValueError, RecursionError):
                    return None
                if not isinstance(name, str):
                    return None
                found[tag, name] = parts[2]
        with contextlib.suppress(OSError):
            # the files used least lately go first
            os.utime(self._path(key))
        return found

    def write(self, key: str, records: Mapping[tuple[str, str], bytes], *, behind: bool = False) -> bool:
        """Keep these documents: in the place of what was there, or `behind` it. False where that can't be done."""
        lines = b"".join(
            tag.encode("ascii") + b"\t" + json.dumps(name).encode("ascii") + b"\t" + doc + b"\n"
            for (tag, name), doc in records.items()
            if len(doc) + len(name) * 6 < MAX_LINE - 64
        )
        if len(lines) > MAX_RAW:
            return False
        data = gzip.compress(lines, 1, mtime=0)
        if behind:
            before = self._packed(key)
            members = _unpacked(before) if before is not None else None
            if before is None or members is None or sum(map(len, members)) + len(lines) > MAX_RAW:
                return False
            data = before + data if len(members) < MAX_MEMBERS else gzip.compress(b"".join(members) + lines, 1, mtime=0)
        if len(data) > min(MAX_PACKED, self.most_bytes):
            return False
        try:
            self._prepare()
            self._put(self._path(key), data)
            self._trim(key)
        except OSError:
            return False
        return True

    def remove(self, key: str) -> None:
        """Forget what is kept under `key`."""
        with contextlib.suppress(OSError):
            os.unlink(self._path(key))

    # ------------------------------------------------------------------ files

    def _path(self, key: str) -> str:
        return str(self.folder / (key + SUFFIX))

    def _packed(self, key: str) -> bytes | None:
        """The bytes of a file that is regular, the user's own and not too large."""
        try:
            fd = os.open(self._path(key), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode) or not _own(info) or info.st_size > MAX_PACKED:
                return None
            with open(fd, "rb", closefd=False) as file:
                return file.read(MAX_PACKED + 1)
        except OSError:
            return None
        finally:
            os.close(fd)

    def _prepare(self) -> None:
        """Make the folder. Raises OSError where that can't be, or where what is there is not the user's own."""
        if not os.path.lexists(self.folder):
            there = next(place for place in self.folder.parents if place.exists())
            if not os.geteuid() and there.stat().st_uid:
                # under sudo with the home of another: a folder of root's would be in that user's way
                raise PermissionError(str(there))
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                self.folder.mkdir(0o700)
        info = os.stat(self.folder, follow_symlinks=False)
        if not stat.S_ISDIR(info.st_mode) or not _own(info):
            raise PermissionError(str(self.folder))

    def _put(self, path: str, data: bytes) -> None:
        fd, temporary = tempfile.mkstemp(prefix=".", suffix=".part", dir=self.folder)
        try:
            with open(fd, "wb") as file:
                file.write(data)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise

    def _trim(self, newest: str) -> None:
        """Remove the files used least lately until the rest fits, and what killed processes left."""
        files: list[tuple[int, int, str]] = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                # another process may be tidying up too
                with contextlib.suppress(OSError):
                    info = entry.stat(follow_symlinks=False)
                    if entry.name.endswith(".part") and info.st_mtime < time.time() - LEFTOVER_SECONDS:
                        os.unlink(entry.path)
                    elif entry.name.endswith(SUFFIX):
                        files.append((info.st_mtime_ns, info.st_size, entry.path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self.most_bytes:
                return
            if path != self._path(newest):
                with contextlib.suppress(OSError):
                    os.unlink(path)
                total -= size


def _own(info: os.stat_result) -> bool:
    """Whether only the user can have written it."""
    return info.st_uid == os.geteuid() and not info.st_mode & 0o022


def _unpacked(packed: bytes) -> list[bytes] | None:
    """The members of a file; None where it is damaged, or too much comes out of it."""
    members: list[bytes] = []
    room = MAX_RAW
    while packed:
        unpacker = zlib.decompressobj(31)
        try:
            raw = unpacker.decompress(packed, room + 1)
        except zlib.error:
            return None
        room -= len(raw)
        if room < 0 or not unpacker.eof or len(members) > MAX_MEMBERS:
            return None
        members.append(raw)
        packed = unpacker.unused_data
    return members
