"""What the predict pane asks of the session, in threads, and the messages by which it hears of the answers."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence

from textual import work
from textual.message import Message
from textual.widget import Widget

from ckptui.core.model import Listing, Predicted, PredictReport, Run, WorkerState
from ckptui.errors import Cancelled, CkptuiError
from ckptui.ui.access import session_of
from ckptui.ui.paths import IMAGE_SUFFIXES, candidates, remember
from ckptui.ui.prediction_request import Identity, PredictRequest

NO_MODEL_OF_ITS_OWN = frozenset({"tf-checkpoint", "tf-checkpoint-v1", "keras-weights"})
Told = str | Run | Predicted | PredictReport


class PredictThreads(Widget):
    """Everything that may take a while; nothing here draws."""

    class Answered(Message):
        """The worker told something, or ended."""

        def __init__(
            self,
            token: int,
            told: Told | None = None,
            error: CkptuiError | None = None,
            identity: tuple[Identity, ...] = (),
        ) -> None:
            super().__init__()
            self.token = token
            self.told = told
            self.error = error
            self.identity = identity
            """Of the files that were asked for, before anything was read of them."""

    class Refused(Message):
        """Nothing runs: files that are named are not there, or are no such files."""

        def __init__(self, token: int, wrong: Mapping[str, str]) -> None:
            super().__init__()
            self.token = token
            self.wrong = wrong

    class Begun(Message):
        """Everything that is named is there; the prediction goes on."""

        def __init__(self, token: int) -> None:
            super().__init__()
            self.token = token

    class LabelsFound(Message):
        """Where the names of the outputs come from while none are asked for."""

        def __init__(self, model: str, path: str) -> None:
            super().__init__()
            self.model = model
            self.path = path

    class Borrowed(Message):
        """Where a save without a model of its own finds one."""

        def __init__(self, path: str, model: str | None) -> None:
            super().__init__()
            self.path = path
            self.model = model

    class Watched(Message):
        """What the worker does at this moment."""

        def __init__(self, state: WorkerState) -> None:
            super().__init__()
            self.state = state

    class Stepped(Message):
        """The image after or before another one in its folder."""

        def __init__(self, image: str, found: Sequence[str], step: int) -> None:
            super().__init__()
            self.image = image
            self.found = found
            self.step = step

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.allowed: set[tuple[Identity, ...]] = set()
        """Files that may run though they are flagged, as they were when that was said."""

    @work(thread=True, exclusive=True, exit_on_error=False, group="sibling")
    def find_model(self, listing: Listing) -> None:
        """A checkpoint borrows the architecture of its sibling."""
        if listing.artifact.kind in NO_MODEL_OF_ITS_OWN:
            path = listing.artifact.path
            self.post_message(self.Borrowed(path, session_of(self).sibling_model(path)))

    @work(thread=True, exclusive=True, exit_on_error=False, group="warm-up")
    def begin_warm_up(self) -> None:
        session_of(self).warm_up()

    @work(thread=True, exclusive=True, exit_on_error=False, group="watch")
    def look_at_worker(self) -> None:
        self.post_message(self.Watched(session_of(self).worker_state()))

    @work(thread=True, exclusive=True, exit_on_error=False, group="labels")
    def find_labels(self, model: str, image: str) -> None:
        self.post_message(self.LabelsFound(model, session_of(self).labels_near(model, image) or ""))

    @work(thread=True, exclusive=True, exit_on_error=False, group="step")
    def find_next(self, image: str, step: int) -> None:
        folder = os.path.join(os.path.dirname(os.path.abspath(image)), "")
        found = [path for path in candidates(folder, IMAGE_SUFFIXES) if not path.endswith("/")]
        self.post_message(self.Stepped(image, found, step))

    @work(thread=True, exclusive=True, exit_on_error=False, group="predict")
    def predict(self, asked: PredictRequest, token: int, cancel: threading.Event) -> None:
        """Run the worker and hand on what it says."""
        wrong = session_of(self).unusable(asked.paths())
        if wrong:
            self.post_message(self.Refused(token, wrong))
            return
        self.post_message(self.Begun(token))
        for kind, path in (("images", asked.image), ("models", asked.against), ("models", asked.model)):
            if path:
                remember(kind, path)
        if asked.labels:
            remember("labels", asked.labels)
        options = asked.options()
        identity = asked.identity()
        if identity in self.allowed:
            options["allow_flagged"] = True
        try:
            for told in session_of(self).predict(asked.model, [asked.image], cancel=cancel, **options):
                if cancel.is_set():
                    return
                self.post_message(self.Answered(token, told))
        except Cancelled:
            return
        except CkptuiError as error:
            self.post_message(self.Answered(token, error=error, identity=identity))
        else:
            self.post_message(self.Answered(token))
