"""Files that get their names only when all of them are complete, the one that makes a save of them last."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import weakref
from types import TracebackType
from typing import IO

from ckptui.errors import CkptuiError, UsageError

SHARD = ".data-00000-of-00001"
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)


class Pending:
    """Temporary files in one folder and the names they are to have. Use it in `with`: leaving takes them away.

    `force` lets them take the names of files that are there.
    """

    def __init__(self, folder: str, *, force: bool = False) -> None:
        self._folder, self._force = folder, force
        self._names: list[str] = []
        # an interrupt may come while leaving, too: what is left then goes with this object, at the latest at the end
        self._sweep = weakref.finalize(self, _take_away, self._names)
        self._files: list[tuple[IO[bytes], str, str]] = []

    def file(self, name: str) -> IO[bytes]:
        """A new file, open for writing, that will be called `name` (a path in the folder).

        Raises:
            UsageError: nothing can be written there.
        """
        path = os.path.join(self._folder, f".ckptui-{secrets.token_hex(8)}.part")
        # noted before it exists: an interrupt may come at any moment, and then it is taken away
        self._names.append(path)
        try:
            file = open(path, "x+b", opener=_private)  # noqa: SIM115 - closed on leaving
        except OSError as error:
            reason = error.strerror or str(error)
            raise UsageError(f"nothing can be written in {self._folder}: {reason}", "Choose another folder") from error
        self._files.append((file, path, name))
        return file

    def path(self, name: str) -> str:
        """Where the file that will be called `name` is now."""
        return next(path for _, path, final in self._files if final == name)

    def publish(self, order: list[str]) -> None:
        """Bring every file to the disk, then give them their names one after another.

        If one can't be given, those before it are taken back.

        Raises:
            UsageError: one of the names is taken by now.
            CkptuiError: the disk is full, or refuses.
        """
        mask = os.umask(0)
        os.umask(mask)
        done: list[str] = []
        try:
            for file, path, _ in self._files:
                file.flush()
                os.fsync(file.fileno())
                os.chmod(path, 0o666 & ~mask)
                file.close()
            for name in order:
                if self._force:
                    os.replace(self.path(name), name)
                else:
                    _name(self.path(name), name)
                done.append(name)
                _settle(self._folder)
        except BaseException as error:
            for name in reversed(done) if not self._force else ():
                with contextlib.suppress(OSError):
                    os.unlink(name)
            if isinstance(error, FileExistsError):
                raise UsageError(f"{error.filename2 or error.filename} exists", "Choose another name") from error
            if isinstance(error, OSError):
                raise refused(error, self._folder) from error
            raise

    def __enter__(self) -> Pending:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file, _, _ in self._files:
            with contextlib.suppress(OSError):
                file.close()
        _take_away(self._names)
        self._files = []


def _take_away(names: list[str]) -> None:
    while names:
        with contextlib.suppress(OSError):
            os.unlink(names[-1])
        names.pop()


def _private(path: str, flags: int) -> int:
    """Nobody else reads what is not complete."""
    return os.open(path, flags, 0o600)


def refused(error: OSError, folder: str) -> CkptuiError:
    """What a user is told when the disk does not take a file."""
    hint = "Nothing was written; choose a folder on another disk" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return CkptuiError(f"{folder}: {error.strerror or error}", hint or "Nothing was written", title="Can't be written")


def _name(path: str, name: str) -> None:
    """A link fails where a rename would replace a file that appeared meanwhile."""
    try:
        os.link(path, name)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(name):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name) from error
        os.rename(path, name)


def _settle(folder: str) -> None:
    """Bring the folder itself to the disk, so that names reach it in the order they were given."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
