"""Waiting until something happens in folders: the system's notices where it gives them, looking again where not.

Network mounts tell nothing of what other machines write; a system may be out of notices too.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence

NETWORK = re.compile(
    r"nfs[0-9]*|cifs|smb[0-9]*|fuse(\..+)?|9p|lustre|beegfs|gpfs|ceph|afs|glusterfs|virtiofs|vboxsf|prl_fs|drvfs"
)
"""Kinds of file systems, as /proc/mounts names them."""
MOUNTS = "/proc/self/mounts"
GROUPED = 300
"""Milliseconds over which notices are put together."""
TRIES = 3
STEP = 100
"""Milliseconds between looks at whether to stop."""


class FolderEvents:
    """Notices about the entries of some folders, not of those below."""

    def __init__(self, folders: Sequence[str], cancel: threading.Event, *, polling: bool = False) -> None:
        """`polling`: don't ask the system. Folders that are gone are passed over."""
        self._cancel = cancel
        self._names = {os.path.abspath(folder): folder for folder in folders if os.path.isdir(folder)}
        remote = network_mounts()
        told = [] if polling else [path for path in self._names if not on_network(os.path.realpath(path), remote)]
        self._notices: Iterator[set[tuple[int, str]]] | None = None
        self._held: set[tuple[int, str]] = set()
        self.polled = [folder for path, folder in self._names.items() if path not in told]
        """Folders the system says nothing of: to be looked at again from time to time."""
        if told:
            self._ask(told)

    def wait(self, seconds: float) -> list[tuple[str, str]]:
        """(folder, name) of entries that changed; returns at the latest after `seconds`, and soon after a cancel."""
        until = time.monotonic() + seconds
        notices, self._held = self._held, set()
        while not notices and not self._cancel.is_set() and (left := until - time.monotonic()) > 0:
            if self._notices is None:
                self._cancel.wait(left)
                continue
            try:
                notices = next(self._notices)
            except StopIteration:
                # it ends by cancel only; anything else must make no busy loop
                self._lose()
            except (OSError, RuntimeError):
                self._lose()
        out = []
        for _, path in notices:
            parent, name = os.path.split(path)
            if parent in self._names:
                out.append((self._names[parent], name))
            if path in self._names:
                out.append((self._names[path], ""))
        return out

    def close(self) -> None:
        """End the notices."""
        notices, self._notices = self._notices, None
        if notices is not None and hasattr(notices, "close"):
            notices.close()

    def _ask(self, paths: list[str]) -> None:
        try:
            # costs 0.1 s, wanted by those only who watch
            import watchfiles
        except ImportError:
            self._lose()
            return
        for _ in range(TRIES):
            notices = watchfiles.watch(
                *paths,
                watch_filter=None,
                debounce=GROUPED,
                step=STEP,
                stop_event=self._cancel,
                rust_timeout=2 * STEP,
                yield_on_timeout=True,
                recursive=False,
                ignore_permission_denied=True,
            )
            try:
                # it begins when first asked
                self._held = {(int(change), path) for change, path in next(notices, set())}
            except FileNotFoundError:
                paths = [path for path in paths if os.path.isdir(path)]
                if paths:
                    continue
            except (OSError, RuntimeError):
                pass
            else:
                self._notices = notices  # type: ignore[assignment]
                return
            break
        self._lose()

    def _lose(self) -> None:
        """No notices any more: every folder is looked at again from time to time."""
        with contextlib.suppress(OSError, RuntimeError):
            self.close()
        self.polled = list(self._names.values())


def network_mounts() -> list[str]:
    """Where file systems are mounted, with a slash at the end, the longest first; `!` before those of this machine."""
    found = []
    with contextlib.suppress(OSError), open(MOUNTS, encoding="utf-8", errors="surrogateescape") as mounts:
        for line in mounts:
            words = line.split(" ")
            if len(words) > 2:
                point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), words[1])
                found.append((point.rstrip("/") + "/", NETWORK.fullmatch(words[2]) is not None))
    return [point if network else f"!{point}" for point, network in sorted(found, key=lambda pair: -len(pair[0]))]


def on_network(path: str, mounts: Sequence[str]) -> bool:
    """Whether a path lies on one of the file systems that `network_mounts` tells."""
    for mount in mounts:
        if f"{path}/".startswith(mount.removeprefix("!")):
            return not mount.startswith("!")
    return False
