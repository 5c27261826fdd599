"""What asking why does in a thread: runs the checks, posts what they say; knows no widget."""

from __future__ import annotations

import threading
from collections.abc import Callable

from textual.message import Message

from ckptui.core.model import Predicted, Progress, Run, WhyReport, WhyStep
from ckptui.errors import Cancelled, CkptuiError
from ckptui.session import Session

Post = Callable[[Message], object]


class Asked(Message):
    """Something was told; `token` says by which question."""

    def __init__(self, token: int) -> None:
        super().__init__()
        self.token = token


class Stepped(Asked):
    """A group of checks began or ended."""

    def __init__(self, token: int, step: WhyStep) -> None:
        super().__init__(token)
        self.step = step


class Doing(Asked):
    """What goes on within a step."""

    def __init__(self, token: int, words: str) -> None:
        super().__init__(token)
        self.words = words


class Explained(Asked):
    """The whole answer."""

    def __init__(self, token: int, report: WhyReport) -> None:
        super().__init__(token)
        self.report = report


class Refused(Asked):
    """It could not be done; of a flagged model the error says what was found."""

    def __init__(self, token: int, error: CkptuiError) -> None:
        super().__init__(token)
        self.error = error


def ask_why(
    session: Session,
    path: str,
    image: str,
    post: Post,
    cancel: threading.Event,
    token: int,
    *,
    allow_flagged: bool = False,
) -> None:
    """Ask about the save at `path` with that image; without one those beside it are taken."""
    try:
        images = (image,) if image else ()
        for told in session.why(path, images, cancel=cancel, allow_flagged=allow_flagged):
            if cancel.is_set():
                return
            if isinstance(told, WhyStep):
                post(Stepped(token, told))
            elif isinstance(told, WhyReport):
                post(Explained(token, told))
            else:
                words = doing_words(told)
                if words:
                    post(Doing(token, words))
    except Cancelled:
        return
    except CkptuiError as error:
        post(Refused(token, error))


def doing_words(told: Progress | str | Run | Predicted) -> str:
    """What goes on, in a few words."""
    if isinstance(told, str):
        return told
    if isinstance(told, Run):
        return f"{told.name} done"
    if isinstance(told, Progress) and told.total_bytes:
        return f"{min(told.done_bytes / told.total_bytes, 1):.0%} read"
    return ""
