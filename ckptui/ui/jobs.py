"""What runs in threads: each takes the session, computes, and posts messages; none knows a widget."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from textual.message import Message

from ckptui.core.model import Finding, Found, Listing, Progress, RunFolder, TensorScan
from ckptui.errors import Cancelled, CkptuiError, UsageError
from ckptui.session import Session
from ckptui.ui import messages
from ckptui.ui.tensor_rows import prepare

Post = Callable[[Message], object]
"""`post_message` of the screen; safe to call from threads."""

POST_EVERY = 0.08
"""Seconds between two messages of a job: often enough to look live, seldom enough to leave the keyboard alone."""


def find_saves(session: Session, paths: Sequence[str], post: Post, cancel: threading.Event) -> None:
    """Walk the paths; what was met goes out in batches, the first at once."""
    batch: list[Found | RunFolder | Finding] = []
    posted = 0.0
    try:
        for item in session.find(paths, cancel=cancel):
            if cancel.is_set():
                return
            batch.append(item)
            if time.monotonic() - posted >= POST_EVERY:
                post(messages.SavesFound(batch, last=False))
                batch, posted = [], time.monotonic()
    finally:
        if not cancel.is_set():
            post(messages.SavesFound(batch, last=True))


def open_save(session: Session, found: Found, post: Post, cancel: threading.Event) -> None:
    """Read a save's directory and make it ready for the table."""
    try:
        listing = session.open(found.path, found=found)
        if not cancel.is_set():
            post(messages.Opened(found.path, prepare(listing), known=session.remembers(listing)))
    except Cancelled:
        return
    except CkptuiError as error:
        if not cancel.is_set():
            post(messages.OpenFailed(found.path, error))


def quick_check(session: Session, saves: Iterable[Found], post: Post, cancel: threading.Event) -> None:
    """Badge saves that are not on show, one after the other."""
    results: dict[str, Sequence[Finding] | CkptuiError] = {}
    posted = time.monotonic()
    for found in saves:
        if cancel.is_set():
            return
        try:
            results[found.path] = session.open(found.path, found=found).findings
        except Cancelled:
            return
        except CkptuiError as error:
            results[found.path] = error
        if time.monotonic() - posted >= POST_EVERY:
            post(messages.QuickChecked(results))
            results, posted = {}, time.monotonic()
    if results and not cancel.is_set():
        post(messages.QuickChecked(results))


def check_all(session: Session, saves: Sequence[Found], post: Post, cancel: threading.Event) -> None:
    """Check saves one after the other, each as one is checked alone."""
    for done, found in enumerate(saves):
        post(messages.Swept(done, len(saves), None))
        try:
            listing = session.open(found.path, found=found)
        except Cancelled:
            return
        except CkptuiError as error:
            post(messages.QuickChecked({found.path: error}))
            continue
        post(messages.QuickChecked({found.path: listing.findings}))
        tell = _Counting(post, done, len(saves))
        check_save(session, listing, tell, cancel, ())
        if cancel.is_set():
            return
    post(messages.SweepEnded(len(saves)))


def watch(session: Session, paths: Sequence[str], known: Sequence[Found], post: Post, cancel: threading.Event) -> None:
    """Tell what becomes of the saves below the paths, until it is taken back."""
    try:
        for told in session.watch(paths, cancel, known):
            if cancel.is_set():
                return
            post(messages.FoldersChanged(told, cancel))
    except (CkptuiError, OSError):
        # a path that went away, or a system that gives no more notices: what is on show stays true
        pass
    except RuntimeError:
        # the screen was taken down while it was told
        return
    if not cancel.is_set():
        post(messages.WatchEnded(cancel))


def check_news(session: Session, saves: Sequence[Found], post: Post, cancel: threading.Event) -> None:
    """Look at saves that have appeared: quick checks, and every byte of small ones.

    A save that is rotated away under the reading is no error: the watcher tells of it.
    """
    try:
        for found in saves:
            if cancel.is_set():
                return
            _check_new(session, found, post, cancel)
    except Cancelled:
        return
    finally:
        # however it ends: those that came meanwhile wait for it
        post(messages.NewsEnded(cancel))


def _check_new(session: Session, found: Found, post: Post, cancel: threading.Event) -> None:
    try:
        listing = session.open(found.path, found=found)
    except Cancelled:
        raise
    except CkptuiError as error:
        if _there(found):
            post(messages.QuickChecked({found.path: error}))
        return
    post(messages.QuickChecked({found.path: listing.findings}))
    if session.remembers(listing) or listing.artifact.bytes < session.settings.auto_scan_bytes:
        check_save(session, listing, _WhileThere(post, found), cancel, (), anew=False)


def _there(found: Found) -> bool:
    return os.path.exists(found.path) or os.path.exists(f"{found.path}.index")


class _WhileThere:
    """Hands messages on, but nothing about what failed or was found while the save went away."""

    def __init__(self, post: Post, found: Found) -> None:
        self._post, self._found = post, found

    def __call__(self, message: Message) -> object:
        told = isinstance(message, messages.ScanEnded) and message.error is not None
        told = told or (isinstance(message, messages.Scanned) and bool(message.findings))
        return None if told and not _there(self._found) else self._post(message)


class _Counting:
    """Hands messages on, and how far a save is as a part of how far all are."""

    def __init__(self, post: Post, done: int, total: int) -> None:
        self._post, self._done, self._total = post, done, total

    def __call__(self, message: Message) -> object:
        if isinstance(message, messages.Scanned) and message.progress is not None:
            self._post(messages.Swept(self._done, self._total, message.progress))
        return self._post(message)


def check_save(
    session: Session,
    listing: Listing,
    post: Post,
    cancel: threading.Event,
    first: Sequence[str],
    *,
    anew: bool = True,
) -> None:
    """Read every byte: checksums and statistics, `first` before the rest, then the filters of the kernels.

    Unless it is to be `anew`, what was kept of an earlier check of the same files is told in its place.
    """
    path = listing.artifact.path
    try:
        _scan(session, listing, post, cancel, first, anew)
        if not cancel.is_set():
            findings = session.verify(listing, anew=anew)
            post(messages.Scanned(path, findings=findings, step="filters"))
            _layers(session, listing, post, cancel, anew)
    except Cancelled:
        post(messages.ScanEnded(path, complete=False))
    except CkptuiError as error:
        post(messages.ScanEnded(path, complete=False, error=error))
    else:
        post(messages.ScanEnded(path, complete=not cancel.is_set(), kept_since=session.kept_since(listing)))


def _scan(
    session: Session, listing: Listing, post: Post, cancel: threading.Event, first: Sequence[str], anew: bool
) -> None:
    path = listing.artifact.path
    scans: list[TensorScan] = []
    together: list[Finding] = []
    progress: Progress | None = None
    posted = time.monotonic()
    for item in session.scan(listing, cancel=cancel, first=first, anew=anew):
        if isinstance(item, Progress):
            progress = item
        elif isinstance(item, Finding):
            together.append(item)
        else:
            scans.append(item)
        if time.monotonic() - posted >= POST_EVERY:
            post(_scanned(path, scans, progress))
            scans, posted = [], time.monotonic()
    post(_scanned(path, scans, progress))
    if together:
        post(messages.Scanned(path, findings=together, step="filters"))


def _scanned(path: str, scans: Sequence[TensorScan], progress: Progress | None) -> messages.Scanned:
    findings = [finding for scan in scans for finding in scan.findings]
    return messages.Scanned(path, scans=scans, findings=findings, progress=progress)


def _layers(session: Session, listing: Listing, post: Post, cancel: threading.Event, anew: bool) -> None:
    findings: list[Finding] = []
    posted = time.monotonic()
    for item in session.layers(listing, cancel=cancel, anew=anew):
        if isinstance(item, Finding):
            findings.append(item)
        if findings and time.monotonic() - posted >= POST_EVERY:
            post(messages.Scanned(listing.artifact.path, findings=findings, step="filters"))
            findings, posted = [], time.monotonic()
    if findings:
        post(messages.Scanned(listing.artifact.path, findings=findings, step="filters"))


def open_both(session: Session, a: Found, b: Found, post: Post) -> None:
    """Open both sides of a diff.

    Raises:
        CkptuiError: one of them can't be opened.
    """
    post(messages.ReadyToDiff(session.open(a.path, found=a), session.open(b.path, found=b)))


def find_images(session: Session, path: str, post: Post) -> None:
    """Look for images beside a save."""
    post(messages.ImagesFound(path, session.sibling_images(path)))


def export_tensors(
    session: Session,
    listing: Listing,
    names: Sequence[str] | None,
    target: str,
    post: Post,
    cancel: threading.Event,
) -> None:
    """Write the tensors that read and pass their checksum; `names` None means all.

    Raises:
        UsageError: nothing reads, or the target can't be written so.
    """
    from ckptui.export import check_target, write_tensors

    check_target(listing, len(listing.tensors) if names is None else len(names), target)
    found = session.scan(listing, names, stats=False, cancel=cancel, anew=True)
    scans = {s.name: s for s in found if isinstance(s, TensorScan)}
    good = {s.name for s in scans.values() if s.checksum not in ("mismatch", "unread")}
    tensors = [t for t in listing.tensors if t.name in good]
    if not tensors:
        raise UsageError("No tensor of these can be read", "The findings say why")
    written = write_tensors(session, listing, tensors, target)
    post(messages.Exported(target, written.tensors, len(scans) - len(good) + len(written.left_out)))
