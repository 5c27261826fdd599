"""What the salvage window runs in threads: the plan, and the writing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from textual.message import Message

from ckptui.core.model import Progress
from ckptui.core.salvage import SalvagePlan, SalvageReport
from ckptui.errors import Cancelled, CkptuiError
from ckptui.session import Session
from ckptui.ui.jobs import POST_EVERY

Post = Callable[[Message], object]


class Advanced(Message):
    """Planning or writing is so far."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.progress = progress


class Planned(Message):
    """What would come back is known."""

    def __init__(self, plan: SalvagePlan) -> None:
        super().__init__()
        self.plan = plan


class Written(Message):
    """The salvaged save is complete."""

    def __init__(self, report: SalvageReport) -> None:
        super().__init__()
        self.report = report


class Refused(Message):
    """It can't be planned, or not be written there."""

    def __init__(self, error: CkptuiError, *, writing: bool) -> None:
        super().__init__()
        self.error = error
        self.writing = writing


def plan(session: Session, path: str, layout: str | None, post: Post, cancel: threading.Event) -> None:
    """Look at everything and judge it; nothing is written."""
    tell = _Teller(post)
    try:
        for item in session.plan_salvage(path, layout=layout, cancel=cancel):
            if isinstance(item, Progress):
                tell.progress(item)
            elif not cancel.is_set():
                post(Planned(item))
    except Cancelled:
        return
    except CkptuiError as error:
        if not cancel.is_set():
            post(Refused(error, writing=False))


def write(
    session: Session, planned: SalvagePlan, target: str, repair_bits: bool, post: Post, cancel: threading.Event
) -> None:
    """Write what survives to `target`."""
    tell = _Teller(post)
    try:
        for item in session.salvage(planned, target, repair_bits=repair_bits, cancel=cancel):
            if isinstance(item, Progress):
                tell.progress(item)
            else:
                post(Written(item))
    except Cancelled:
        return
    except CkptuiError as error:
        if not cancel.is_set():
            post(Refused(error, writing=True))


class _Teller:
    """Posts progress no more often than a screen can show it."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._posted = 0.0

    def progress(self, progress: Progress) -> None:
        if time.monotonic() - self._posted >= POST_EVERY:
            self._post(Advanced(progress))
            self._posted = time.monotonic()
