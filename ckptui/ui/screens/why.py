"""Why does it predict so? The checks as they run, and the causes they come to."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace

from textual import events, work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import Static
from textual.worker import Worker, WorkerState

from ckptui.core.causes import SYMPTOMS, Cause, Symptom, WhyReport, WhyStep
from ckptui.core.model import Finding
from ckptui.core.text import safe
from ckptui.errors import Flagged
from ckptui.session import Session
from ckptui.ui import why_job
from ckptui.ui.access import say
from ckptui.ui.commands import bindings_for
from ckptui.ui.fitting import fit_middle, shown
from ckptui.ui.paths import short_path
from ckptui.ui.screens.flagged import FlaggedScreen
from ckptui.ui.screens.telling import TextScreen, as_error
from ckptui.ui.why_head import cut, step_line, symptom_line, title_line
from ckptui.ui.why_kept import ENOUGH_IMAGES, Asking, Kept
from ckptui.ui.why_rows import ORDER, as_text, causes_for
from ckptui.ui.widgets.cells import SPIN_SECONDS, drawing_of, spinner
from ckptui.ui.widgets.key_footer import KeyFooter
from ckptui.ui.widgets.row_list import RowList
from ckptui.ui.widgets.why_list import WhyList

LOW = 30
"""In fewer rows the steps stand in one line."""
ASKS_AGAIN = "r asks again"
LOW_LINES, MOST_LINES = 4, 8
"""Of the verdict, in a low terminal and in a higher one."""


class WhyScreen(Screen[str | None]):
    """Asks as soon as it opens; the answer to Enter is the layer or tensor of the cause under the cursor."""

    COMMAND_SCOPE = "why"
    BINDINGS = bindings_for("why")
    AUTO_FOCUS = "WhyList"
    DEFAULT_CSS = """
    WhyScreen {
        & #why-head { height: auto; background: $panel; padding: 0 1; }
        & #why-head > Static { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
        & #why-head > #why-steps, & #why-head > #why-verdict, & #why-head > #why-notes { height: auto; }
        & #why-head > #why-verdict, & #why-head > #why-notes { text-wrap: wrap; max-height: 8; }
        & #why-body {
            border: round $primary; border-title-color: $primary; border-subtitle-color: $dim; height: 1fr;
        }
        & #why-footer { height: 1; background: $panel; dock: bottom; }
    }
    .-ascii WhyScreen #why-body { border: ascii $primary; }
    """

    def __init__(
        self, session: Session, path: str, label: str, asking: Asking | None = None,
        answers: dict[str, Kept] | None = None,
    ) -> None:  # fmt: skip
        """`answers`: those kept, by the path of the save; this one joins them."""
        super().__init__()
        self.session = session
        self.path, self.label, self.asking = path, label, asking or Asking()
        self.answers = answers if answers is not None else {}
        self.images: tuple[str, ...] = (self.asking.image,) if self.asking.image else ()
        self.kept: Kept | None = None
        """The answer on show."""
        self.recalled = False
        """It was there before this screen was."""
        self.symptom: Symptom | None = None
        self.report: WhyReport | None = None
        self.running = False
        self._steps: dict[str, WhyStep] = {}
        self._begun: dict[str, float] = {}
        self._doing = ""
        self._problem = ""
        self._token = 0
        self._cancel = threading.Event()
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        with Vertical(id="why-head"):
            for part in ("title", "symptoms", "steps", "verdict", "notes"):
                yield Static(id=f"why-{part}", markup=False)
        with Vertical(id="why-body") as body:
            body.border_title = Content("Causes")
            yield WhyList(id="why-list")
        yield KeyFooter(id="why-footer")

    def on_mount(self) -> None:
        self._timer = self.set_interval(SPIN_SECONDS, self._draw_steps, pause=True)
        self.ask(recall=True)

    @property
    def list(self) -> WhyList:
        """The causes."""
        return self.query_one(WhyList)

    @property
    def focus_area(self) -> str:
        """For the footer: the keys of this screen first."""
        return "why"

    # ------------------------------------------------------------------ asking

    def ask(self, *, allow_flagged: bool = False, recall: bool = False) -> None:
        """Begin from the start; with `recall` an answer that was kept will do."""
        self._halt()
        kept = self.answers.get(self.path) if recall else None
        self.report, self._steps, self._begun, self._doing, self._problem = None, {}, {}, "", ""
        self.running = True
        if self._timer is not None:
            self._timer.resume()
        self.list.show(None, self.symptom)
        self._draw()
        self._ask(self._token, self._cancel, allow_flagged, kept)

    def _halt(self) -> None:
        """Nothing runs, and no late answer is shown."""
        self._cancel.set()
        self._cancel = threading.Event()
        self._token += 1
        self._rest()

    def _rest(self) -> None:
        self.running = False
        if self._timer is not None:
            self._timer.pause()

    @work(thread=True, exclusive=True, exit_on_error=False, group="why", description="why")
    def _ask(self, token: int, cancel: threading.Event, allow_flagged: bool, kept: Kept | None) -> None:
        why_job.ask_why(
            self.session, self.path, self.asking, self.post_message, cancel, token, kept=kept,
            allow_flagged=allow_flagged,
        )  # fmt: skip

    @work(thread=True, exclusive=True, exit_on_error=False, group="count")
    def _count(self, token: int, folder: str) -> None:
        why_job.count_images(folder, self.post_message, token)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """An error no one expected is shown, not swallowed."""
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            self._fail(str(as_error(event.worker.error)))

    def on_unmount(self) -> None:
        """Nothing goes on behind a closed screen."""
        self._cancel.set()

    def _mine(self, event: why_job.Asked) -> bool:
        event.stop()
        return event.token == self._token

    def on_stepped(self, event: why_job.Stepped) -> None:
        if self._mine(event):
            step = event.step
            self._steps[step.name] = step
            self._begun.setdefault(step.name, time.monotonic())
            self._doing = ""
            self._draw()

    def on_doing(self, event: why_job.Doing) -> None:
        if self._mine(event):
            self._doing = event.words
            self._draw_steps()

    def on_explained(self, event: why_job.Explained) -> None:
        if self._mine(event):
            self.answers[self.path] = kept = Kept(event.report, event.identity, self.asking, self.symptom)
            self._answer(kept)

    def on_recalled(self, event: why_job.Recalled) -> None:
        kept = self.answers.get(self.path)
        if self._mine(event) and kept is not None:
            self._answer(kept, recalled=True)

    def _answer(self, kept: Kept, *, recalled: bool = False) -> None:
        """An answer is there, new or kept."""
        self._rest()
        self.recalled = recalled
        self.kept, self.report, self.symptom = kept, kept.report, kept.symptom
        self._steps = {step.name: step for step in kept.report.steps} or self._steps
        self.images = kept.report.images or self.images
        self.list.show(self.report, self.symptom, kept.entry, kept.unfolded)
        self._draw()

    def _keep(self) -> None:
        """How one looks at the answer now is how it is found again."""
        if self.report is not None and self.kept is not None:
            entry = self.list.entry
            self.answers[self.path] = replace(self.kept, symptom=self.symptom, entry=entry, unfolded=self.list.unfolded)

    def on_counted(self, event: why_job.Counted) -> None:
        """The folder is asked where it holds enough images to tell anything."""
        if not self._mine(event):
            return
        if event.images < ENOUGH_IMAGES:
            there = f"only {event.images} image{'s' if event.images != 1 else ''}"
            say(self, f"{there} in {shown(short_path(event.folder), 40)}; {ENOUGH_IMAGES} or more tell", 4)
            return
        self.asking = replace(self.asking, folder=event.folder)
        self.ask()

    def on_refused(self, event: why_job.Refused) -> None:
        if not self._mine(event):
            return
        flagged = isinstance(event.error, Flagged)
        self._fail(f"{event.error.title}: {event.error.detail}; {ASKS_AGAIN}" if flagged else str(event.error))
        if isinstance(event.error, Flagged):
            self._question(event.error)

    def _question(self, error: Flagged) -> None:
        """The model waits for somebody to say that it may run."""
        findings = [finding for finding in error.findings if isinstance(finding, Finding)]
        self.app.push_screen(FlaggedScreen(self.label, error.detail, findings), self._answered)

    def _answered(self, run: bool | None) -> None:
        if run:
            self.ask(allow_flagged=True)

    def _fail(self, words: str) -> None:
        self._rest()
        self.list.give_up()
        self._problem = words
        self._draw()

    # ------------------------------------------------------------------ keys

    def action_close(self) -> None:
        """Take it back and leave."""
        self._keep()
        self._halt()
        self.dismiss(None)

    def action_again(self) -> None:
        self.ask()

    def action_folder(self) -> None:
        """Ask with all images of the folder in which the image lies."""
        image = next((path for path in (self.asking.image, *self.images) if os.path.dirname(path)), "")
        if image:
            self._count(self._token, os.path.dirname(os.path.abspath(image)))
        else:
            say(self, "no image is named: p names one", 4)

    def action_next_symptom(self) -> None:
        """The next of all, constant, flip, unstable."""
        self._choose(ORDER[(ORDER.index(self.symptom) + 1) % len(ORDER)])

    def action_symptom(self, name: str) -> None:
        """Only what explains this symptom; "" for all of them."""
        self._choose(next((symptom for symptom in SYMPTOMS if symptom == name), None))

    def _choose(self, symptom: Symptom | None) -> None:
        self.symptom = symptom
        self._show()

    def on_row_list_chosen(self, event: RowList.Chosen) -> None:
        """A second click does as Enter."""
        event.stop()
        self.action_enter()

    def action_enter(self) -> None:
        """Unfold, or go to the layer or tensor of a cause."""
        entry = self.list.entry
        if isinstance(entry, str):
            self.list.toggle(entry)
        elif isinstance(entry, Cause) and entry.where:
            self._keep()
            self._halt()
            self.dismiss(entry.where)
        elif isinstance(entry, Cause):
            say(self, self.why_not("enter"))

    def on_row_list_leave(self, event: RowList.Leave) -> None:
        """Left and right fold and unfold."""
        event.stop()
        if isinstance(self.list.entry, str):
            self.list.toggle(self.list.entry)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There is something to copy, and to go to, once there is an answer."""
        if action == "enter":
            return self.is_mounted and isinstance(self.list.entry, (str, Cause))
        return self.report is not None if action in ("copy", "show_text", "folder") else True

    def why_not(self, action: str) -> str:
        """Why Enter leads nowhere; empty if it does."""
        entry = self.list.entry
        placeless = action == "enter" and isinstance(entry, Cause) and not entry.where
        return "this cause lies in no single layer or tensor" if placeless else ""

    def label_of(self, action: str) -> str:
        """Enter on a fold opens or closes it."""
        entry = self.list.entry
        if action != "enter" or not isinstance(entry, str):
            return ""
        return "fold" if entry in self.list.unfolded else "unfold"

    def on_row_list_moved(self, event: RowList.Moved) -> None:
        """What Enter can do depends on where the cursor is."""
        self.refresh_bindings()

    def _text_here(self) -> str:
        report, entry = self.report, self.list.entry
        return "" if report is None else as_text(entry, report, self.symptom) if entry else report.verdict

    def action_copy(self) -> None:
        text = self._text_here()
        if text:
            self.app.copy_to_clipboard(text)
            first = shown(text.splitlines()[0], 60)
            say(self, f"Sent to the clipboard: {first}\nY shows it, to select it with the mouse", 4)

    def action_show_text(self) -> None:
        text = self._text_here()
        if text:
            report = self.report
            beside = [report.verdict, *(f"note: {note}" for note in report.notes)] if report is not None else []
            self.app.push_screen(TextScreen("\n".join([text, "", *(part for part in beside if part != text)])))

    # ------------------------------------------------------------------ drawing

    def _show(self) -> None:
        self.list.show(self.report, self.symptom)
        self._draw()

    def on_resize(self, event: events.Resize) -> None:
        self._draw()

    def _draw(self) -> None:
        self._draw_title()
        self.query_one("#why-symptoms", Static).update(symptom_line(self.symptom, self.report))
        self._draw_steps()
        report = self.report
        verdict = self.query_one("#why-verdict", Static)
        verdict.display = bool(self._problem or (report and report.verdict))
        if self._problem:
            verdict.update(Content.styled(self._cut(safe(self._problem)), "$error"))
        elif report is not None:
            verdict.update(Content.styled(self._cut(safe(report.verdict)), "bold"))
        notes = self.query_one("#why-notes", Static)
        told = [safe(note) for note in report.notes] if report is not None else []
        if self.kept is not None and report is not None and self.recalled:
            told.insert(0, safe(self.kept.words(self.asking)))
        notes.display = bool(told)
        words = "  ".join(told)
        # in a low terminal the first cause is what one came for; all of the notes stand in the text of `Y`
        low = self.size.height < LOW
        notes.update(Content.styled(fit_middle(words, max(self.size.width - 2, 20)) if low else words, "$dim"))
        body = self.query_one("#why-body")
        count = len(causes_for(report, self.symptom)) if report is not None else 0
        body.border_title = Content(f"Causes {count}" if report is not None else "Causes")
        body.border_subtitle = Content(SYMPTOMS[self.symptom] if self.symptom is not None else "")
        self.refresh_bindings()

    def _cut(self, words: str) -> str:
        """As many lines as leave room for the causes; `Y` shows the rest."""
        return cut(words, max(self.size.width - 2, 20), LOW_LINES if self.size.height < LOW else MOST_LINES)

    def _draw_title(self) -> None:
        nothing = "no image" if self.report is not None else "images beside it"
        line = title_line(self.label, self.images, nothing, self.asking.against, max(self.size.width - 8, 20))
        self.query_one("#why-title", Static).update(line)

    def _draw_steps(self) -> None:
        """What was done, what runs, and for how long."""
        steps = list(self._steps.values())
        room = max(self.size.width - 2, 20)
        low = self.size.height < LOW
        lines = [Content("  ").join(self._step(step, 0) for step in steps)] if low else []
        lines += [] if low else [self._step(step, room) for step in steps]
        if low and self.running and self._doing:
            lines.append(Content.styled(f"  {shown(self._doing, room - 4)}", "$dim"))
        if self.running and not steps:
            lines = [Content.assemble((self._turn(), "bold $primary"), (" beginning", "$dim"))]
        line = self.query_one("#why-steps", Static)
        line.display = bool(lines)
        line.update(Content("\n").join(lines))

    def _turn(self) -> str:
        return spinner(drawing_of(self.app))

    def _step(self, step: WhyStep, room: int) -> Content:
        busy = step.state == "running"
        seconds = time.monotonic() - self._begun.get(step.name, time.monotonic()) if busy else step.seconds
        return step_line(step, room, self._turn() if busy and self.running else "", self._doing, seconds)
