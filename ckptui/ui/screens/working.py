"""The screen's long jobs: one thread of a group at a time, each with the event that takes it back."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from textual import work
from textual.message import Message
from textual.screen import Screen
from textual.worker import Worker, WorkerState

from ckptui.core.model import Found, Listing, RunFolder, TimelineReport, TimelineRow
from ckptui.errors import Cancelled
from ckptui.ui import jobs, timeline_job
from ckptui.ui.access import say, session_of
from ckptui.ui.timeline_rows import Course


class Working(Screen[None]):
    """Starts jobs and takes them back; what they find comes as messages."""

    def __init__(self) -> None:
        super().__init__()
        self._cancels: dict[str, threading.Event] = {}

    def say(self, words: str, seconds: float = 3) -> None:
        """Words for a moment, in the place of those before."""
        say(self, words, seconds)

    def begin(self, group: str) -> threading.Event:
        """Take back what runs in a group and return the event for what runs next."""
        self.stop(group)
        self._cancels[group] = threading.Event()
        return self._cancels[group]

    def stop(self, group: str) -> None:
        """Take back what runs in a group."""
        cancel = self._cancels.pop(group, None)
        if cancel is not None:
            cancel.set()

    async def _dispatch_message(self, message: Message) -> None:
        """What our own jobs and widgets still say while the screen is taken down finds no widgets: let it pass."""
        if self.app.is_running or not type(message).__module__.startswith("ckptui."):
            await super()._dispatch_message(message)

    def on_unmount(self) -> None:
        """Nothing goes on behind a closed screen."""
        for group in list(self._cancels):
            self.stop(group)

    @work(thread=True, exclusive=True, exit_on_error=False, group="find", description="looking for saves")
    def run_find(self, paths: Sequence[str], cancel: threading.Event) -> None:
        """Walk the paths."""
        jobs.find_saves(session_of(self), paths, self.post_message, cancel)

    @work(thread=True, exclusive=True, exit_on_error=False, group="open", description="opening")
    def run_open(self, found: Found, cancel: threading.Event) -> None:
        """Open the save under the cursor."""
        jobs.open_save(session_of(self), found, self.post_message, cancel)

    @work(thread=True, exclusive=True, exit_on_error=False, group="quick", description="quick checks")
    def run_quick(self, saves: Sequence[Found], cancel: threading.Event) -> None:
        """Badge the other saves."""
        jobs.quick_check(session_of(self), saves, self.post_message, cancel)

    @work(thread=True, exclusive=True, exit_on_error=False, group="check", description="check")
    def run_check(self, listing: Listing, first: Sequence[str], cancel: threading.Event, anew: bool) -> None:
        """Read every byte of a save."""
        jobs.check_save(session_of(self), listing, self.post_message, cancel, first, anew=anew)

    @work(thread=True, exclusive=True, exit_on_error=False, group="sweep", description="check of all saves")
    def run_check_all(self, saves: Sequence[Found], cancel: threading.Event) -> None:
        """Read every byte of every save."""
        jobs.check_all(session_of(self), saves, self.post_message, cancel)

    @work(thread=True, exclusive=True, exit_on_error=False, group="diff", description="opening both sides")
    def run_open_both(self, a: Found, b: Found) -> None:
        """Open both sides of a diff."""
        jobs.open_both(session_of(self), a, b, self.post_message)

    @work(thread=True, exclusive=True, exit_on_error=False, group="timeline", description="timeline")
    def run_timeline(self, run: RunFolder, known: TimelineReport | None, cancel: threading.Event) -> None:
        """Go through the saves of a run."""
        timeline_job.follow(session_of(self), run, known, self.post_message, cancel)

    @work(thread=True, exclusive=True, exit_on_error=False, group="curves", description="event files")
    def run_curves(self, run: RunFolder, cancel: threading.Event) -> None:
        """Read the loss beside a run."""
        timeline_job.read_curves(session_of(self), run, self.post_message, cancel)

    @work(thread=True, exclusive=True, exit_on_error=False, group="history", description="values over the saves")
    def run_history(self, course: Course, row: TimelineRow, cancel: threading.Event) -> None:
        """Read one tensor in every save of a run."""
        timeline_job.read_history(session_of(self), course, row, self.post_message, cancel)

    @work(thread=True, exclusive=True, exit_on_error=False, group="news", description="check of new saves")
    def run_news(self, saves: Sequence[Found], cancel: threading.Event) -> None:
        """Look at saves that have appeared."""
        jobs.check_news(session_of(self), saves, self.post_message, cancel)

    @work(thread=True, exclusive=True, exit_on_error=False, group="images", description="looking for images")
    def run_find_images(self, path: str) -> None:
        """Look for images beside a save."""
        jobs.find_images(session_of(self), path, self.post_message)

    @work(thread=True, exclusive=True, exit_on_error=False, group="export", description="export")
    def run_export(self, listing: Listing, names: Sequence[str] | None, target: str, cancel: threading.Event) -> None:
        """Write tensors to a file."""
        jobs.export_tensors(session_of(self), listing, names, target, self.post_message, cancel)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """The one place that hears of jobs that failed."""
        error = event.worker.error
        own = event.state is WorkerState.ERROR and event.worker.node is self
        if own and error is not None and not isinstance(error, Cancelled):
            self.failed(error)

    def failed(self, error: BaseException) -> None:
        """Tell what went wrong."""
        raise NotImplementedError
