"""One image through one model: as it is, flipped, repeated, reloaded, in a fresh process, beside another save."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from textual import events
from textual.actions import SkipAction
from textual.app import ComposeResult
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.timer import Timer
from textual.widgets import Input
from textual.worker import Worker
from textual.worker import WorkerState as ThreadState

from ckptui.core.model import Finding, Listing, Predicted, WorkerState
from ckptui.core.text import safe
from ckptui.errors import CkptuiError, Flagged, ModelDoesNotLoad
from ckptui.ui.access import say
from ckptui.ui.commands import bindings_for
from ckptui.ui.paths import load_recent
from ckptui.ui.prediction_details import limits_of
from ckptui.ui.prediction_request import FieldProblem, Identity, PredictRequest
from ckptui.ui.prediction_words import error_hint, keys_for, last_used, stepped
from ckptui.ui.screens.flagged import FlaggedScreen
from ckptui.ui.widgets.cells import SPIN_SECONDS
from ckptui.ui.widgets.predict_facts import PredictFacts
from ckptui.ui.widgets.predict_lines import LINE_OF, PredictLines
from ckptui.ui.widgets.predict_results import PredictResults
from ckptui.ui.widgets.predict_threads import PredictThreads

LOOK_SECONDS = 1.0
"""Between two looks at the worker's memory and state."""


class PredictPane(PredictThreads):
    """Asks for a model and an image, runs them, and shows each run as it finishes."""

    COMMAND_SCOPE = "predict"
    BINDINGS = bindings_for("predict")
    DEFAULT_CSS = """
    PredictPane { height: 1fr; }
    """
    running: reactive[bool] = reactive(False)

    class WorkerTold(Message):
        """What the worker does at this moment, for whoever shows it."""

        def __init__(self, state: WorkerState) -> None:
            super().__init__()
            self.state = state

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._token = 0
        self._cancel = threading.Event()
        self._spin: Timer | None = None
        self._state, self._since = "", 0.0
        self._listing: Listing | None = None
        self.findings: Sequence[Finding] = ()
        self._asked: PredictRequest | None = None
        """What runs, or ran last."""
        self._answered_to: PredictRequest | None = None
        """What the answers on show were asked with."""
        self._from_line = False
        """It was asked for in one of the lines: where that is wrong it has the keys again."""
        self._said_yes: set[str] = set()
        """Flagged models that were allowed to run."""
        self._worker: WorkerState | None = None

    def compose(self) -> ComposeResult:
        yield PredictLines(id="predict-lines")
        yield PredictFacts(id="predict-facts")
        yield PredictResults(id="predict-body")

    def on_mount(self) -> None:
        self._spin = self.set_interval(SPIN_SECONDS, self._draw_state, pause=True)
        self.set_interval(LOOK_SECONDS, self._look)
        self._draw()

    # ------------------------------------------------------------------ what the screen calls

    @property
    def lines(self) -> PredictLines:
        """What is asked for."""
        return self.query_one(PredictLines)

    @property
    def facts(self) -> PredictFacts:
        """What stands between the two."""
        return self.query_one(PredictFacts)

    @property
    def results(self) -> PredictResults:
        """What came of it."""
        return self.query_one(PredictResults)

    def show_for(
        self, listing: Listing, image: str | None = None, findings: Sequence[Finding] = (), mark: str | None = None
    ) -> None:
        """Offer this save and this image; the image used last goes before it. The worker begins to start.

        `findings`: all that is known of the save. `mark`: the save marked as A.
        """
        path = listing.artifact.path
        self.findings = findings or listing.findings
        if self._listing is None or self._listing.artifact.path != path:
            self.halt()
            self._listing, self.facts.borrowed = listing, None
            self.lines.needs_layers = False
            self.lines.options_for(path)
            self._forget("")
            self.find_model(listing)
        self.lines.path_line("model").set_path(path)
        self.lines.bring_back(mark if mark != path else None)
        picture = self.lines.path_line("image")
        if not picture.value:
            chosen = last_used(load_recent("images"), image)
            if chosen:
                picture.set_path(chosen)
        self.begin_warm_up()
        self.find_labels(path, picture.path)
        self._draw()

    def start(self) -> None:
        """Give the image line the keys: Enter there runs."""
        self.lines.path_line("image").focus()

    # ------------------------------------------------------------------ keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There is something to stop only while something runs."""
        return self.running if action == "stop" else True

    def action_run(self) -> None:
        """Predict with what the lines say; the results get the keys."""
        self._run()

    def action_preprocessings(self) -> None:
        """Add the answers under every preprocessing."""
        self._run(all_preprocessing=True)

    def action_many(self) -> None:
        """Add what all images of the folder say to what is on show."""
        self._run(many=True)

    def _run(self, *, all_preprocessing: bool = False, many: bool = False) -> None:
        focused = self.screen.focused
        self._from_line = focused is not None and self.lines in focused.ancestors
        try:
            asked = self.lines.request()
        except FieldProblem as error:
            self.halt()
            self._blame(dict(error.problems))
            return
        folder = os.path.dirname(os.path.abspath(asked.image)) if many else ""
        adding = all_preprocessing or many
        self._begin(replace(asked, all_preprocessing=all_preprocessing, images_dir=folder, adding=adding))

    def _begin(self, asked: PredictRequest) -> None:
        self.halt()
        self._asked = asked
        self.running = True
        self._set_state("starting")
        self.lines.blame(())
        self.predict(asked, self._token, self._cancel)

    def _blame(self, wrong: Mapping[str, str]) -> None:
        """Say of every line that is wrong what is wrong, and give the keys to one of them."""
        self.results.say_error("\n".join(f"{LINE_OF.get(name, name)}: {words}" for name, words in wrong.items()))
        self.lines.blame(list(wrong))

    def on_predict_threads_refused(self, event: PredictThreads.Refused) -> None:
        """The keys never left the lines: what is typed next mends them."""
        event.stop()
        if event.token == self._token:
            self.running = False
            self._blame(event.wrong)

    def on_predict_threads_begun(self, event: PredictThreads.Begun) -> None:
        """What was on show goes, unless more is added to it; the results get the keys."""
        event.stop()
        asked = self._asked
        if event.token != self._token or asked is None:
            return
        before = self._answered_to if self.results.told.original is not None else None
        adding = asked.adding and before is not None and before.plain() == asked.plain()
        self._answered_to = before.with_added(asked) if adding and before is not None else replace(asked, adding=False)
        command = self._answered_to.command(allow_flagged=asked.model in self._said_yes)
        if adding:
            self.results.told.adding, self.results.told.command = True, command
            self.results.scroll_home(animate=False)
        else:
            self._forget(command)
        if self.screen.focused is None or self in self.screen.focused.ancestors:
            self.results.focus()
        self.find_labels(asked.model, asked.image)

    def on_predict_threads_labels_found(self, event: PredictThreads.LabelsFound) -> None:
        event.stop()
        if event.model == self.lines.path_line("model").path:
            self.facts.labels_near = event.path
            self.lines.offer_labels(event.path)
            self._draw_facts()

    def action_stop(self) -> None:
        """Take the prediction back."""
        if not self.running:
            raise SkipAction()
        self.halt()
        self.results.say([Content.styled("stopped", "$warning")])

    def action_options(self) -> None:
        """Show or fold away the options."""
        self.lines.fold()

    def action_step(self, step: int) -> None:
        """The next image of the folder, or the one before."""
        image = self.lines.path_line("image").path
        if image:
            self.find_next(image, step)

    def action_page(self, direction: int) -> None:
        """Scroll the results while a line has the keys."""
        self.action_scroll(direction * max(self.results.size.height - 1, 1))

    def action_scroll(self, rows: int) -> None:
        """Scroll the results by some rows."""
        self.results.scroll_relative(y=rows, animate=False)

    def halt(self) -> None:
        """Make sure that nothing runs and no late answer is shown."""
        self._cancel.set()
        self._cancel = threading.Event()
        self._token += 1
        self.running = False

    def watch_running(self, running: bool) -> None:
        """The spinner turns only while something runs."""
        if self._spin is not None:
            (self._spin.resume if running else self._spin.pause)()
        self.refresh_bindings()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in any line."""
        event.stop()
        self.action_run()

    def on_predict_lines_edited(self, event: PredictLines.Edited) -> None:
        event.stop()
        self._draw_facts()

    def on_show(self, event: events.Show) -> None:
        """What is shown of the worker is not older than the pane."""
        self.look_at_worker()

    def _look(self) -> None:
        """Look at the worker while one sees it."""
        if self.is_on_screen:
            self.look_at_worker()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """An error no one expected is shown, not swallowed."""
        if event.state is ThreadState.ERROR and event.worker.group == "predict":
            self.halt()
            self.results.say_error(f"{type(event.worker.error).__name__}: {event.worker.error}")

    def on_predict_threads_borrowed(self, event: PredictThreads.Borrowed) -> None:
        event.stop()
        if self._listing is not None and event.path == self._listing.artifact.path:
            self.facts.borrowed = event.model or ""
            self.lines.needs_layers = not event.model
            self._draw_facts()

    def on_predict_threads_watched(self, event: PredictThreads.Watched) -> None:
        event.stop()
        self._worker = event.state
        limits = limits_of(event.state)
        if self.results.told.limits != limits:
            self.results.told.limits = limits
            self.results.draw()
        self.post_message(self.WorkerTold(event.state))

    def on_predict_threads_stepped(self, event: PredictThreads.Stepped) -> None:
        """Run the neighbour of an image that is still the one in the line."""
        event.stop()
        line = self.lines.path_line("image")
        if line.path != event.image:
            return
        step = stepped(event.found, event.image, event.step)
        if step is None:
            say(self, "no other image in this folder")
            return
        if not 0 <= step < len(event.found):
            say(self, "from the first image again" if event.step > 0 else "from the last image again")
        place = step % len(event.found)
        chosen = event.found[place]
        self.facts.place = (chosen, place + 1, len(event.found))
        line.set_path(chosen)
        self._run()

    def on_predict_threads_answered(self, event: PredictThreads.Answered) -> None:
        """Answers of another request are refused."""
        event.stop()
        if event.token != self._token:
            return
        told = event.told
        if event.error is not None:
            self.running = False
            self._failed(event.error, event.identity)
        elif told is None:
            self.running = False
            self._set_state("")
            self._reveal_added()
        elif isinstance(told, str):
            self._set_state(told)
        else:
            self.results.take(told)
            if isinstance(told, Predicted) and told.preprocess:
                self.lines.choice.note = keys_for(told.preprocess)
        self._draw_facts()

    def _reveal_added(self) -> None:
        """What was asked for last is what one wants to see."""
        asked = self._asked
        if asked is not None and asked.adding:
            self.results.reveal("many" if asked.images_dir else "variants")

    def _failed(self, error: CkptuiError, identity: tuple[Identity, ...]) -> None:
        if isinstance(error, Flagged):
            self._ask(error, identity)
            return
        self.lines.needs_layers = self.lines.needs_layers or "--architecture" in error.hint
        if isinstance(error, ModelDoesNotLoad):
            self.results.say_loaders(error.title, error.detail, error_hint(error))
        else:
            named = self._asked.named_in(error.detail) if self._asked is not None else ""
            self.results.say_error(f"{named + ': ' * bool(named)}{error.title}: {error.detail}", error_hint(error))
            if named and self._from_line:
                # behind the focus that the results were given as it began
                self.app.call_later(lambda: self.lines.blame([named] if self.screen.focused is self.results else []))

    def _ask(self, error: Flagged, identity: tuple[Identity, ...]) -> None:
        """A flagged model runs only if somebody says so; that is remembered for the files as they are."""
        asked, token = self._asked, self._token
        found = [finding for finding in error.findings if isinstance(finding, Finding)]
        self.results.say([Content.styled(f"{safe(error.title)}: {safe(error.detail)}", "$warning")])

        def answered(yes: bool | None) -> None:
            if asked is None or token != self._token:
                return
            if yes:
                self.allowed.add(identity)
                self._said_yes.add(asked.model)
                self._begin(asked)
            else:
                self.results.say([Content.styled("not run: the model is flagged; Enter asks again", "$warning")])

        if asked is not None:
            name = asked.model.rstrip("/").rpartition("/")[2]
            self.app.push_screen(FlaggedScreen(name, error.detail, found), answered)

    def _forget(self, command: str) -> None:
        self.results.forget(self.findings, command)
        self.lines.choice.note = ""
        self.results.told.limits = limits_of(self._worker)
        self._draw()

    def _set_state(self, words: str) -> None:
        self._state, self._since = words, time.monotonic()
        self._draw_state()

    def _draw_state(self) -> None:
        """What goes on, and for how long; before the first run how to begin."""
        if self.running:
            self.results.say_busy(self._state, int(time.monotonic() - self._since))
        elif not self.results.told.runs and self.results.told.report is None:
            self.results.say([Content.assemble(("Enter", "$primary bold"), (" predicts", "$dim"))])
        else:
            self.results.say([])

    def on_resize(self, event: events.Resize) -> None:
        self._draw_facts()

    def _draw(self) -> None:
        self._draw_facts()
        self._draw_state()

    def _draw_facts(self) -> None:
        self.facts.draw(self.results.told, self.lines, self._answered_to, self.content_size.width)

    def on_unmount(self) -> None:
        self._cancel.set()
