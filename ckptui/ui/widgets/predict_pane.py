"""One image through one model: as it is, flipped, repeated, reloaded, in a fresh process, beside another save."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

from textual import events
from textual.actions import SkipAction
from textual.app import ComposeResult
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.timer import Timer
from textual.widgets import Input, Static
from textual.worker import Worker
from textual.worker import WorkerState as ThreadState

from ckptui.core.model import Finding, Listing, Predicted, WorkerState
from ckptui.core.text import number_text, safe, shape_text
from ckptui.errors import CkptuiError, Flagged, ModelDoesNotLoad
from ckptui.ui.access import say
from ckptui.ui.commands import bindings_for
from ckptui.ui.fitting import wrap
from ckptui.ui.paths import load_recent
from ckptui.ui.prediction_details import limits_of, loader_lines, loaders_said
from ckptui.ui.prediction_request import AUTO, Identity, PredictRequest
from ckptui.ui.prediction_words import borrowed_words, error_hint, keys_for, last_used, packed, place_words
from ckptui.ui.screens.flagged import FlaggedScreen
from ckptui.ui.widgets.cells import Drawing, drawing_of
from ckptui.ui.widgets.predict_lines import PredictLines
from ckptui.ui.widgets.predict_results import PredictResults
from ckptui.ui.widgets.predict_threads import PredictThreads

LABEL = 8
"""Columns of the labels of the lines."""
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
ASCII_SPINNER = "|/-\\"
SPIN_SECONDS = 0.1
LOOK_SECONDS = 1.0
"""Between two looks at the worker's memory and state."""


class PredictPane(PredictThreads):
    """Asks for a model and an image, runs them, and shows each run as it finishes."""

    COMMAND_SCOPE = "predict"
    BINDINGS = bindings_for("predict")
    DEFAULT_CSS = """
    PredictPane {
        height: 1fr;
        & #predict-facts { height: auto; color: $dim; padding-left: 8; }
    }
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
        self._findings: Sequence[Finding] = ()
        self._borrowed: str | None = None
        self._asked: PredictRequest | None = None
        """What runs, or ran last."""
        self._said_yes: set[str] = set()
        """Flagged models that were allowed to run."""
        self._worker: WorkerState | None = None
        self._place: tuple[str, int, int] | None = None
        """(image, its place, images in its folder)."""

    def compose(self) -> ComposeResult:
        yield PredictLines(id="predict-lines")
        yield Static(id="predict-facts", markup=False)
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
        self._findings = findings or listing.findings
        if self._listing is None or self._listing.artifact.path != path:
            self.halt()
            self._listing, self._borrowed = listing, None
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
        """Predict with every preprocessing."""
        self._run(all_preprocessing=True)

    def action_many(self) -> None:
        """Predict all images of the folder."""
        self._run(many=True)

    def _run(self, *, all_preprocessing: bool = False, many: bool = False) -> None:
        try:
            asked = self.lines.request()
        except ValueError as error:
            self.halt()
            self._tell_error(str(error), "")
            return
        folder = os.path.dirname(os.path.abspath(asked.image)) if many else ""
        self._begin(replace(asked, all_preprocessing=all_preprocessing, images_dir=folder))

    def _begin(self, asked: PredictRequest) -> None:
        self.halt()
        self._asked = asked
        self._forget(asked.command(allow_flagged=asked.model in self._said_yes))
        self.running = True
        self._set_state("starting")
        self.results.focus()
        self.predict(asked, self._token, self._cancel)

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
            self._tell_error(f"{type(event.worker.error).__name__}: {event.worker.error}", "")

    # ------------------------------------------------------------------ what the threads say

    def on_predict_threads_borrowed(self, event: PredictThreads.Borrowed) -> None:
        event.stop()
        if self._listing is not None and event.path == self._listing.artifact.path:
            self._borrowed = event.model or ""
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
        here, found = os.path.abspath(event.image), list(event.found)
        others = [path for path in found if path != here]
        if not others:
            say(self, "no other image in this folder")
            return
        if here in found:
            place = found.index(here) + event.step
        else:
            place = sum(path < here for path in found) - (event.step < 0)
        if not 0 <= place < len(found):
            say(self, "from the first image again" if event.step > 0 else "from the last image again")
        chosen = found[place % len(found)]
        self._place = (chosen, place % len(found) + 1, len(found))
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
        elif isinstance(told, str):
            self._set_state(told)
        else:
            self.results.take(told)
            if isinstance(told, Predicted) and told.preprocess:
                self.lines.choice.note = keys_for(told.preprocess)
        self._draw_facts()

    def _failed(self, error: CkptuiError, identity: tuple[Identity, ...]) -> None:
        if isinstance(error, Flagged):
            self._ask(error, identity)
            return
        self.lines.needs_layers = self.lines.needs_layers or "--architecture" in error.hint
        if isinstance(error, ModelDoesNotLoad):
            said = loader_lines(loaders_said(error.detail), self.results.width)
            title = Content.styled(f"{safe(error.title)}:", "bold $error")
            self.results.say([title, *said, *([Content(safe(error_hint(error.hint)))] if error.hint else [])])
        else:
            self._tell_error(f"{error.title}: {error.detail}", error_hint(error.hint))

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
                self.results.say([Content.styled("not run: the model is flagged", "$warning")])

        if asked is not None:
            name = asked.model.rstrip("/").rpartition("/")[2]
            self.app.push_screen(FlaggedScreen(name, error.detail, found), answered)

    # ------------------------------------------------------------------ drawing

    def _forget(self, command: str) -> None:
        self.results.forget(self._findings, command)
        self.lines.choice.note = ""
        self.results.told.limits = limits_of(self._worker)
        self._draw()

    def _set_state(self, words: str) -> None:
        self._state, self._since = words, time.monotonic()
        self._draw_state()

    def _draw_state(self) -> None:
        """The spinner, what goes on, and for how long; before the first run how to begin."""
        if self.running:
            spinner = ASCII_SPINNER if drawing_of(self.app) is Drawing.ASCII else SPINNER
            turn = spinner[int(time.monotonic() / SPIN_SECONDS) % len(spinner)]
            seconds = int(time.monotonic() - self._since)
            words = f" {safe(self._state)}" + (f"  {seconds} s" if seconds else "")
            self.results.say(
                [
                    Content.assemble(
                        (turn, "$primary bold"), (words, "$dim"), ("  Esc", "$primary bold"), (" stops", "$dim")
                    )
                ]
            )
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
        """Who answers, and what the model is given."""
        room = max(self.content_size.width - LABEL, 8)
        told = self.results.told
        who = [borrowed_words(self._borrowed)] if self._borrowed is not None else []
        if told.report is not None:
            facts = told.report.model
            version = f"TF {facts['tensorflow']}" if facts.get("tensorflow") else ""
            who += [Content(safe(str(name))) for name in (facts.get("loader"), version, facts.get("bound")) if name]
        predicted = told.predicted
        if predicted is not None and predicted.shape:
            low, high = number_text(predicted.low, 3), number_text(predicted.high, 3)
            parts = [shape_text(predicted.shape), f"{low} to {high}"]
            if not (self.lines.unfolded and self.lines.choice.value == AUTO):
                parts.append(safe(keys_for(predicted.preprocess)))
            if self._place is not None and self._place[0] == os.path.abspath(predicted.path):
                parts.insert(0, f"image {self._place[1]} of {self._place[2]}")
            who += [Content(part) for part in parts]
        image, model = (self.lines.path_line(name).path for name in ("image", "model"))
        elsewhere = place_words(image, model, room)
        lines = [*([Content(elsewhere)] if elsewhere else []), *packed(who, room)]
        static = self.query_one("#predict-facts", Static)
        static.display = bool(lines)
        static.update(Content("\n").join(lines))

    def _tell_error(self, words: str, hint: str) -> None:
        """What went wrong, and what to do about it."""
        lines = [Content.styled(part, "$error") for part in wrap(safe(words), self.results.width)]
        self.results.say([*lines, *([Content(safe(hint))] if hint else [])])

    def on_unmount(self) -> None:
        self._cancel.set()
