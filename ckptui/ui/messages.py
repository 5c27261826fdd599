"""What the jobs tell the screen: frozen facts, posted from threads."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from textual.message import Message

from ckptui.core.model import Finding, Found, Listing, Progress, RunFolder, TensorScan, Watched
from ckptui.errors import CkptuiError
from ckptui.ui.tensor_rows import TensorRows


class SavesFound(Message):
    """More of what lies below the paths."""

    def __init__(self, items: Sequence[Found | RunFolder | Finding], *, last: bool) -> None:
        super().__init__()
        self.items = items
        self.last = last


class Opened(Message):
    """A save's listing, with its quick checks, made ready for the table."""

    def __init__(self, path: str, rows: TensorRows, *, known: bool = False) -> None:
        super().__init__()
        self.path = path
        self.rows = rows
        self.known = known
        """What a full check of these very files came to was kept."""


class OpenFailed(Message):
    """A save can't be opened at all."""

    def __init__(self, path: str, error: CkptuiError) -> None:
        super().__init__()
        self.path = path
        self.error = error


class QuickChecked(Message):
    """What the quick checks say of saves that are not on show, by path; an error where one can't be opened."""

    def __init__(self, results: Mapping[str, Sequence[Finding] | CkptuiError]) -> None:
        super().__init__()
        self.results = results


class Scanned(Message):
    """What the check of a save has found since the last of these."""

    def __init__(
        self,
        path: str,
        *,
        scans: Sequence[TensorScan] = (),
        findings: Sequence[Finding] = (),
        progress: Progress | None = None,
        step: str = "check",
    ) -> None:
        super().__init__()
        self.path = path
        self.scans = scans
        self.findings = findings
        self.progress = progress
        self.step = step
        """What is going on: `check`, then `filters`."""


class ScanEnded(Message):
    """The check of a save is over."""

    def __init__(
        self, path: str, *, complete: bool, error: CkptuiError | None = None, kept_since: float | None = None
    ) -> None:
        super().__init__()
        self.path = path
        self.complete = complete
        """Every byte was read; False when it was stopped or failed."""
        self.error = error
        self.kept_since = kept_since
        """When that was, where an earlier check of the same files is told."""


class Swept(Message):
    """The check of all saves is at one of them."""

    def __init__(self, done: int, total: int, progress: Progress | None) -> None:
        super().__init__()
        self.done = done
        self.total = total
        self.progress = progress
        """Of the save that is being read."""


class SweepEnded(Message):
    """The check of all saves is through."""

    def __init__(self, done: int) -> None:
        super().__init__()
        self.done = done


class FoldersChanged(Message):
    """Saves came, were written anew, or went."""

    def __init__(self, watched: Watched, cancel: threading.Event) -> None:
        super().__init__()
        self.watched = watched
        self.cancel = cancel
        """Set where other paths are on show by now."""


class WatchEnded(Message):
    """The folders can't be watched any more."""

    def __init__(self, cancel: threading.Event) -> None:
        super().__init__()
        self.cancel = cancel


class NewsEnded(Message):
    """The saves that had appeared were looked at."""

    def __init__(self, cancel: threading.Event) -> None:
        super().__init__()
        self.cancel = cancel


class ReadyToDiff(Message):
    """Both sides of a diff are open."""

    def __init__(self, a: Listing, b: Listing) -> None:
        super().__init__()
        self.a = a
        self.b = b


class ImagesFound(Message):
    """Images beside a save that is to predict."""

    def __init__(self, path: str, images: Sequence[str]) -> None:
        super().__init__()
        self.path = path
        self.images = images


class Exported(Message):
    """Tensors were written to a file."""

    def __init__(self, target: str, count: int, left_out: int) -> None:
        super().__init__()
        self.target = target
        self.count = count
        self.left_out = left_out
        """Tensors that do not read, fail their checksum, or that the format can't hold."""
