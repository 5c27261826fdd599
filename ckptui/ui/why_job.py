"""What asking why does in a thread: runs the checks, posts what they say; knows no widget."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from textual.message import Message

from ckptui.core.model import Predicted, Progress, Run, WhyReport, WhyStep
from ckptui.errors import Cancelled, CkptuiError
from ckptui.session import Session
from ckptui.ui.paths import IMAGE_SUFFIXES, candidates
from ckptui.ui.prediction_request import Identity, file_identity
from ckptui.ui.why_kept import Asking, Kept

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

    def __init__(self, token: int, report: WhyReport, identity: Identity) -> None:
        super().__init__(token)
        self.report = report
        self.identity = identity


class Recalled(Asked):
    """The save is as it was when it was asked about: that answer still holds."""


class Counted(Asked):
    """How many images there are in a folder."""

    def __init__(self, token: int, folder: str, images: int) -> None:
        super().__init__(token)
        self.folder = folder
        self.images = images


class Refused(Asked):
    """It could not be done; of a flagged model the error says what was found."""

    def __init__(self, token: int, error: CkptuiError) -> None:
        super().__init__(token)
        self.error = error


def ask_why(
    session: Session,
    path: str,
    asking: Asking,
    post: Post,
    cancel: threading.Event,
    token: int,
    *,
    kept: Kept | None = None,
    allow_flagged: bool = False,
) -> None:
    """Ask about the save at `path` with that image; without one those beside it are taken.

    Where its files are those an answer was `kept` of, that one holds.
    """
    identity = file_identity(path)
    if kept is not None and any(identity) and kept.identity == identity:
        post(Recalled(token))
        return
    options = {"against": asking.against, "images_dir": asking.folder}
    given: dict[str, Any] = {name: value for name, value in options.items() if value}
    try:
        images = (asking.image,) if asking.image else ()
        for told in session.why(path, images, cancel=cancel, allow_flagged=allow_flagged, **given):
            if cancel.is_set():
                return
            if isinstance(told, WhyStep):
                post(Stepped(token, told))
            elif isinstance(told, WhyReport):
                post(Explained(token, told, identity))
            else:
                words = doing_words(told)
                if words:
                    post(Doing(token, words))
    except Cancelled:
        return
    except CkptuiError as error:
        post(Refused(token, error))


def count_images(folder: str, post: Post, token: int) -> None:
    """How many images lie in a folder."""
    found = candidates(os.path.join(folder, ""), IMAGE_SUFFIXES)
    post(Counted(token, folder, sum(not path.endswith("/") for path in found)))


def doing_words(told: Progress | str | Run | Predicted) -> str:
    """What goes on, in a few words."""
    if isinstance(told, str):
        return told
    if isinstance(told, Run):
        return f"{told.name} done"
    if isinstance(told, Progress) and told.total_bytes:
        return f"{min(told.done_bytes / told.total_bytes, 1):.0%} read"
    return ""
