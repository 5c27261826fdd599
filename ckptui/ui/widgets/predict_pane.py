"""One image through one model: as it is, flipped, repeated, reloaded, in a fresh process."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from textual import work
from textual.actions import SkipAction
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Input, Static
from textual.worker import Worker, WorkerState

from ckptui.core.model import Listing, Predicted, PredictReport, Run
from ckptui.core.text import number_text, safe, shape_text
from ckptui.errors import Cancelled, CkptuiError
from ckptui.ui.access import session_of
from ckptui.ui.commands import bindings_for
from ckptui.ui.paths import harmless, load_recent, remember
from ckptui.ui.prediction_words import (
    ORIGINAL,
    borrowed_words,
    error_hint,
    finding_lines,
    last_used,
    packed,
    place_words,
    run_lines,
    run_name,
    top_lines,
    verdict_lines,
)
from ckptui.ui.widgets.cells import Drawing, drawing_of
from ckptui.ui.widgets.image_view import ImageStrip, image_of
from ckptui.ui.widgets.path_input import PathInput

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".npy")
NO_MODEL_OF_ITS_OWN = frozenset({"tf-checkpoint", "tf-checkpoint-v1", "keras-weights"})
LOW = 30
"""In fewer rows the verdict comes before the pictures."""
LABEL = 8
"""Columns of the labels of the two lines."""
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
ASCII_SPINNER = "|/-\\"
SPIN_SECONDS = 0.1
Told = str | Run | Predicted | PredictReport


class PredictPane(Widget):
    """Asks for a model and an image, runs them, and shows each run as it finishes."""

    COMMAND_SCOPE = "predict"
    BINDINGS = bindings_for("predict")
    DEFAULT_CSS = """
    PredictPane {
        height: 1fr;
        & .predict-line { height: 1; }
        & .predict-label { width: 8; color: $dim; }
        & PathInput { width: 1fr; }
        & #predict-facts { height: auto; color: $dim; padding-left: 8; }
        & #predict-offered { height: auto; max-height: 3; color: $dim; padding-left: 8; }
        & #predict-body { height: 1fr; margin-top: 1; scrollbar-size-vertical: 1; }
        & #predict-body > Static { height: auto; }
        & ImageStrip { margin-bottom: 1; }
        &.-low ImageStrip { margin: 1 0 0 0; }
        & #predict-state { margin-bottom: 1; }
        & #predict-top, & #predict-verdict, & #predict-findings { margin-top: 1; }
    }
    """
    running: reactive[bool] = reactive(False)

    class Answered(Message):
        """The worker told something, or ended."""

        def __init__(self, token: int, told: Told | None = None, error: CkptuiError | None = None) -> None:
            super().__init__()
            self.token = token
            self.told = told
            self.error = error

    class Borrowed(Message):
        """Where a save without a model of its own finds one."""

        def __init__(self, path: str, model: str | None) -> None:
            super().__init__()
            self.path = path
            self.model = model

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._token = 0
        self._cancel = threading.Event()
        self._timer: Timer | None = None
        self._state, self._since = "", 0.0
        self._runs: list[Run] = []
        self._images: dict[str, tuple[Predicted, ...]] = {}
        self._predicted: Predicted | None = None
        self._report: PredictReport | None = None
        self._listing: Listing | None = None
        self._borrowed: str | None = None
        self._needs_layers = False
        """Is the line for an architecture on show?"""

    def compose(self) -> ComposeResult:
        for name, suffixes, words in (
            ("model", (), "a .keras, .h5 or SavedModel"),
            ("layers", (".keras", ".h5", ".hdf5"), "a .keras or .h5 with the layers of these weights"),
            ("image", IMAGE_SUFFIXES, "path of an image; Tab completes, ↑ brings back recent ones"),
        ):
            with Horizontal(classes="predict-line", id=f"predict-line-{name}"):
                yield Static(name, classes="predict-label", markup=False)
                yield PathInput(suffixes=suffixes, placeholder=words, id=f"predict-{name}")
        yield Static(id="predict-offered", markup=False)
        yield Static(id="predict-facts", markup=False)
        with VerticalScroll(id="predict-body"):
            yield ImageStrip(id="predict-images")
            yield Static(id="predict-runs", markup=False)
            yield Static(id="predict-state", markup=False)
            yield Static(id="predict-verdict", markup=False)
            yield Static(id="predict-findings", markup=False)
            yield Static(id="predict-top", markup=False)

    def on_mount(self) -> None:
        self._timer = self.set_interval(SPIN_SECONDS, self._draw_state, pause=True)
        self._draw()

    # ------------------------------------------------------------------ what the screen calls

    def show_for(self, listing: Listing, image: str | None = None) -> None:
        """Offer this save and this image; the image used last goes before it."""
        if self._listing is None or self._listing.artifact.path != listing.artifact.path:
            self.halt()
            self._listing, self._borrowed, self._needs_layers = listing, None, False
            self._forget()
            self._input("layers").value = ""
            self._find_model(listing)
        model, picture = self._input("model"), self._input("image")
        model.set_path(listing.artifact.path)
        if not picture.value:
            recent = load_recent("images")
            picture.recent = tuple(harmless(recent))
            chosen = last_used(recent, image)
            if chosen:
                picture.set_path(chosen)
        model.recent = tuple(harmless(load_recent("models")))
        self._draw()

    def start(self) -> None:
        """Give the image line the keys: Enter there runs."""
        self._input("image").focus()

    def _input(self, name: str) -> PathInput:
        return self.query_one(f"#predict-{name}", PathInput)

    # ------------------------------------------------------------------ keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There is something to stop only while something runs."""
        return self.running if action == "stop" else True

    def action_run(self) -> None:
        """Predict with what the two lines say."""
        model, image = self._input("model").path, self._input("image").path
        if not model or not image:
            self._tell_error("Name a model and an image", "Tab completes a path")
            return
        self.halt()
        self._forget()
        self.running = True
        self._set_state("starting")
        self._draw()
        layers = self._input("layers").path if self._needs_layers else ""
        self._predict(model, image, layers or None, self._token, self._cancel)

    def action_stop(self) -> None:
        """Take the prediction back."""
        if not self.running:
            raise SkipAction()
        self.halt()
        self._set_state("")
        self.query_one("#predict-state", Static).update(Content.styled("stopped", "$warning"))

    def action_page(self, direction: int) -> None:
        """Scroll the results while a line has the keys."""
        body = self.query_one("#predict-body", VerticalScroll)
        body.scroll_relative(y=direction * max(body.size.height - 1, 1), animate=False)

    def halt(self) -> None:
        """Make sure that nothing runs and no late answer is shown."""
        self._cancel.set()
        self._cancel = threading.Event()
        self._token += 1
        self.running = False

    def watch_running(self, running: bool) -> None:
        """The spinner turns only while something runs."""
        if self._timer is not None:
            (self._timer.resume if running else self._timer.pause)()
        self.refresh_bindings()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in either line."""
        event.stop()
        self.action_run()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.query_one("#predict-offered").display = False
        self._draw_facts()

    def on_path_input_offered(self, event: PathInput.Offered) -> None:
        """Show how the path could go on."""
        event.stop()
        names = [path.rstrip("/").rpartition("/")[2] + "/" * path.endswith("/") for path in event.found]
        line = self.query_one("#predict-offered", Static)
        line.display = bool(names)
        line.update(Content("  ".join(safe(name) for name in names[:40])))

    # ------------------------------------------------------------------ threads

    @work(thread=True, exclusive=True, exit_on_error=False, group="sibling")
    def _find_model(self, listing: Listing) -> None:
        """A checkpoint borrows the architecture of its sibling."""
        if listing.artifact.kind in NO_MODEL_OF_ITS_OWN:
            path = listing.artifact.path
            self.post_message(self.Borrowed(path, session_of(self).sibling_model(path)))

    @work(thread=True, exclusive=True, exit_on_error=False, group="predict")
    def _predict(self, model: str, image: str, layers: str | None, token: int, cancel: threading.Event) -> None:
        """Run the worker and hand on what it says."""
        remember("images", image)
        remember("models", model)
        try:
            for told in session_of(self).predict(model, [image], cancel=cancel, architecture=layers):
                self.post_message(self.Answered(token, told))
        except Cancelled:
            return
        except CkptuiError as error:
            self.post_message(self.Answered(token, error=error))
        else:
            self.post_message(self.Answered(token))

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """An error no one expected is shown, not swallowed."""
        if event.state is WorkerState.ERROR and event.worker.group == "predict":
            self.halt()
            self._tell_error(f"{type(event.worker.error).__name__}: {event.worker.error}", "")

    def on_predict_pane_borrowed(self, event: Borrowed) -> None:
        event.stop()
        if self._listing is not None and event.path == self._listing.artifact.path:
            self._borrowed = event.model or ""
            self._needs_layers = not event.model
            self._draw_facts()

    def on_predict_pane_answered(self, event: Answered) -> None:
        """Answers of another request are refused."""
        event.stop()
        if event.token != self._token:
            return
        told = event.told
        if event.error is not None:
            self.running = False
            self._needs_layers = self._needs_layers or "--architecture" in event.error.hint
            self._draw_facts()
            self._tell_error(f"{event.error.title}: {event.error.detail}", error_hint(event.error.hint))
            return
        if isinstance(told, str):
            self._set_state(told)
        elif isinstance(told, Run):
            self._runs = [*(run for run in self._runs if run.name != told.name), told]
            self._draw()
        elif isinstance(told, Predicted):
            self._take(told)
        else:
            self._report = told or self._report
            self.running = told is not None and self.running
            self._set_state("" if told is None else self._state)
            self._draw()

    def _take(self, predicted: Predicted) -> None:
        """First the image as the model gets it, at the end all runs and what they mean."""
        self._predicted = predicted
        self._runs = list(predicted.runs) or self._runs
        image = image_of(predicted.preview, predicted.preview_size)
        if image is not None:
            drawing = drawing_of(self.app)
            names = [run_name(name, drawing) for name in (ORIGINAL, "flip-left-right", "flip-up-down")]
            self.query_one(ImageStrip).show(list(zip(names, (image, image[:, ::-1], image[::-1]), strict=True)))
        self._draw()

    # ------------------------------------------------------------------ drawing

    def _forget(self) -> None:
        self._runs, self._predicted, self._report = [], None, None
        self.query_one(ImageStrip).show(())
        self._draw()

    def _set_state(self, words: str) -> None:
        self._state, self._since = words, time.monotonic()
        self._draw_state()

    def _draw_state(self) -> None:
        """The spinner, what goes on, and for how long; before the first run how to begin."""
        line = self.query_one("#predict-state", Static)
        if self.running:
            spinner = ASCII_SPINNER if drawing_of(self.app) is Drawing.ASCII else SPINNER
            turn = spinner[int(time.monotonic() / SPIN_SECONDS) % len(spinner)]
            seconds = int(time.monotonic() - self._since)
            words = f" {safe(self._state)}" + (f"  {seconds} s" if seconds else "")
            line.update(Content.assemble((turn, "$primary bold"), (words, "$dim")))
        elif not self._runs:
            line.update(Content.assemble(("Enter", "$primary bold"), (" predicts", "$dim")))
        else:
            line.update("")
        line.display = self.running or not self._runs

    def on_resize(self) -> None:
        self._place_pictures()
        self._draw()

    def _place_pictures(self) -> None:
        """Above the runs; where there are few rows behind the verdict, which is what one came for."""
        low = self.size.height < LOW
        if low != self.has_class("-low"):
            self.set_class(low, "-low")
            below = self.query_one("#predict-top" if low else "#predict-runs")
            self.query_one("#predict-body").move_child(self.query_one(ImageStrip), before=below)

    def _draw(self) -> None:
        width, drawing = max(self.content_size.width - 1, 16), drawing_of(self.app)
        self._draw_facts()
        self._lines("runs", run_lines(self._runs, width, drawing))
        self._draw_state()
        self._lines("verdict", verdict_lines(self._predicted.verdict if self._predicted else ""))
        self._lines("findings", finding_lines(self._report.findings if self._report else ()))
        original = next((run for run in self._runs if run.name == ORIGINAL and run.top), None)
        top = top_lines(original, width, drawing) if original is not None and len(original.top) > 1 else []
        self._lines("top", [Content.styled("best answers to the original", "$dim"), *top] if top else [])

    def _lines(self, name: str, lines: Sequence[Content]) -> None:
        static = self.query_one(f"#predict-{name}", Static)
        static.display = bool(lines)
        static.update(Content("\n").join(lines))

    def _draw_facts(self) -> None:
        """Who answers, and what the model is given."""
        self.query_one("#predict-line-layers").display = self._needs_layers
        room = self.content_size.width - LABEL
        who = [borrowed_words(self._borrowed)] if self._borrowed is not None else []
        if self._report is not None:
            facts = self._report.model
            version = f"TF {facts['tensorflow']}" if facts.get("tensorflow") else ""
            who += [Content(safe(name)) for name in (str(facts.get("loader") or ""), version) if name]
        lines = packed(who, room)
        if self._predicted is not None:
            low, high = number_text(self._predicted.low, 3), number_text(self._predicted.high, 3)
            how = safe(self._predicted.preprocess)
            parts = [shape_text(self._predicted.shape), f"{low} to {high}", how]
            lines += packed([Content(part) for part in parts], room)
        elsewhere = place_words(self._input("image").path, self._input("model").path, room)
        self._lines("facts", [*([Content(elsewhere)] if elsewhere else []), *lines])

    def _tell_error(self, words: str, hint: str) -> None:
        """What went wrong, and what to do about it."""
        lines = [Content.styled(safe(words), "$error")]
        if hint:
            lines.append(Content.styled(safe(hint), "$foreground"))
        line = self.query_one("#predict-state", Static)
        line.update(Content("\n").join(lines))
        line.display = True

    def on_unmount(self) -> None:
        self._cancel.set()
