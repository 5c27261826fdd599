"""The window that shows what would come back from a damaged save, and writes it where the user says."""

from __future__ import annotations

import os
import tempfile
import threading
from typing import ClassVar

from textual import events, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Checkbox, Input, Static

from ckptui.core.model import Found, Progress
from ckptui.core.salvage import Method, SalvageItem, SalvagePlan, SalvageReport
from ckptui.core.text import human_bytes, human_count, safe
from ckptui.errors import CkptuiError
from ckptui.ui import salvage_jobs as jobs
from ckptui.ui.access import session_of
from ckptui.ui.fitting import shown
from ckptui.ui.widgets.header import duration
from ckptui.ui.widgets.path_input import PathInput
from ckptui.ui.widgets.row_list import RowList
from ckptui.ui.widgets.salvage_list import STYLES, SalvageList

METHODS: dict[Method, str] = {
    "index": "Names and places from its own index.",
    "walked-index": "Names and places from an index read block by block.",
    "repaired-index": "Names and places from its index, one flipped bit turned back.",
    "part-index": "Names and places from the index an interrupted save left.",
    "layout": "Its index is lost: names and places borrowed from",
    "directory": "Names and places from the file's own directory.",
}
TARGETS = {
    "checkpoint": "checkpoint (no suffix)",
    ".npz": ".npz",
    ".safetensors": ".safetensors",
    ".weights.h5": ".weights.h5",
}


SHORT = 34
"""Below this many lines the window takes the whole height."""


class Tick(Checkbox):
    """A box whose sign says by its shape whether it is ticked."""

    @property
    def _button(self) -> Content:
        return Content.styled("[x]", "$primary bold") if self.value else Content.styled("[ ]", "$dim")


class SalvageScreen(ModalScreen[None]):
    """Looks, shows, asks where to, writes, and says what was written; Esc takes back what runs."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "close"),
        Binding("tab", "next_field", "next field", show=False),
        Binding("shift+tab", "previous_field", "field before", show=False),
    ]

    def __init__(self, found: Found) -> None:
        super().__init__()
        self.found = found
        self.plan: SalvagePlan | None = None
        self.report: SalvageReport | None = None
        self._cancel = threading.Event()
        self._busy = ""

    def compose(self) -> ComposeResult:
        with Vertical(classes="window -tall", id="salvage") as window:
            window.border_title = Content(f"Salvage {safe(self.found.label, 60)}")
            yield Static("", id="salvage-summary", markup=False)
            yield SalvageList(id="salvage-list")
            yield Static("", id="salvage-reason", markup=False)
            yield Tick("", id="salvage-repair", compact=True)
            yield Static("Layout of this save, where the index is lost:", id="salvage-layout-words", markup=False)
            yield PathInput(id="salvage-layout")
            yield Static("", id="salvage-words", markup=False)
            yield PathInput(id="salvage-path")
            yield Static("", id="salvage-problem", markup=False)

    def on_mount(self) -> None:
        self.query_one("#salvage-path", PathInput).set_path(proposal(self.found))
        self._look(None)

    # ------------------------------------------------------------------ jobs

    def _look(self, layout: str | None) -> None:
        self.plan = None
        self._begin("Looking at every tensor")
        self._run_plan(layout, self._cancel)

    def _begin(self, words: str) -> None:
        self._cancel.set()
        self._cancel = threading.Event()
        self._busy = words
        self._summary(Content.styled(f"{words} …", "$dim"))
        self._arrange()

    @work(thread=True, exclusive=True, exit_on_error=False, group="salvage")
    def _run_plan(self, layout: str | None, cancel: threading.Event) -> None:
        jobs.plan(session_of(self), self.found.path, layout, self.post_message, cancel)

    @work(thread=True, exclusive=True, exit_on_error=False, group="salvage")
    def _run_write(self, plan: SalvagePlan, target: str, repair: bool, cancel: threading.Event) -> None:
        jobs.write(session_of(self), plan, target, repair, self.post_message, cancel)

    def on_unmount(self) -> None:
        """Nothing goes on behind a closed window."""
        self._cancel.set()

    # ------------------------------------------------------------------ what the jobs say

    def on_advanced(self, message: jobs.Advanced) -> None:
        """A bar while it lasts."""
        if self._busy:
            self._summary(progress_words(self._busy, message.progress))

    def on_planned(self, message: jobs.Planned) -> None:
        """The preview."""
        self._busy = ""
        self.plan = plan = message.plan
        self.query_one(SalvageList).show(plan.items)
        repairable = plan.summary["repairable"]
        tick = self.query_one("#salvage-repair", Tick)
        tick.label = Content(repair_words(plan))
        tick.value = False
        self.query_one("#salvage-layout", PathInput).set_path(plan.layout)
        self._preview()
        self._arrange()
        if plan.writable or repairable:
            self.query_one("#salvage-path", PathInput).focus()
        else:
            self.query_one(SalvageList).focus()

    def on_written(self, message: jobs.Written) -> None:
        """What was written, and how to go on."""
        self._busy = ""
        self.report = message.report
        self.query_one(SalvageList).show(message.report.plan.items)
        self._summary(report_words(message.report))
        self._arrange()
        self.query_one(SalvageList).focus()

    def on_refused(self, message: jobs.Refused) -> None:
        """Said inside the window; what was typed stays."""
        self._busy = ""
        if message.writing:
            self._preview()
        else:
            self._summary(Content.styled("Nothing can be salvaged so", "bold $error"))
        self._problem(message.error)
        self._arrange()

    # ------------------------------------------------------------------ what the user does

    def on_row_list_moved(self, event: RowList.Moved) -> None:
        """The whole reason of the tensor under the cursor, which its row may have no room for."""
        event.stop()
        self._reason()

    def _reason(self) -> None:
        item = self.query_one(SalvageList).item
        folder = os.path.dirname(self.found.path) + os.sep
        words = "" if item is None else safe(item.reason.replace(folder, "") or whole_words(item))
        self.query_one("#salvage-reason", Static).update(Content.styled(words, "$dim"))

    def on_checkbox_changed(self) -> None:
        """More comes back with the bits turned back."""
        if not self._busy and self.report is None:
            self._preview()

    def on_input_changed(self, event: Input.Changed) -> None:
        self.query_one("#salvage-problem", Static).update("")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if self._busy:
            return
        if event.input.id == "salvage-layout":
            self._look(self.query_one("#salvage-layout", PathInput).path or None)
        elif self.plan is not None and self.report is None:
            target = self.query_one("#salvage-path", PathInput).path
            plan, repair = self.plan, self.query_one("#salvage-repair", Tick).value
            self._begin("Writing")
            self._run_write(plan, target, repair, self._cancel)

    def action_leave(self) -> None:
        """Take back what runs, else close."""
        if self._busy == "Writing":
            self._cancel.set()
            self._busy = ""
            self._preview()
            self.query_one("#salvage-problem", Static).update(Content.styled("Stopped: nothing was written", "$dim"))
            self._arrange()
        else:
            self.dismiss(None)

    def action_next_field(self) -> None:
        self.focus_next()

    def action_previous_field(self) -> None:
        self.focus_previous()

    # ------------------------------------------------------------------ drawing

    def on_resize(self, event: events.Resize) -> None:
        """In a short terminal the lines stand close together, so that none is lost."""
        self.query_one("#salvage").set_class(event.size.height < SHORT, "-short")

    def _arrange(self) -> None:
        """Only the fields that mean something now."""
        plan, done = self.plan, self.report is not None
        ready = plan is not None and not self._busy and not done
        repairable = plan.summary["repairable"] if plan is not None else 0
        writable = ready and plan is not None and bool(plan.writable or repairable)
        layout = ready and plan is not None and (plan.method == "layout" or not plan.items)
        layout = layout or (plan is None and not self._busy)
        listed = (ready or done) and bool(self.query_one(SalvageList).items)
        self.query_one(SalvageList).display = self.query_one("#salvage-reason").display = listed
        self._reason()
        self.query_one("#salvage-repair").display = writable and bool(repairable)
        for name in ("#salvage-layout", "#salvage-layout-words"):
            self.query_one(name).display = layout
        for name in ("#salvage-words", "#salvage-path"):
            self.query_one(name).display = writable
        if plan is not None:
            formats = ", ".join(TARGETS[target] for target in plan.targets)
            words = Content.styled(f"Write outside its own folder, as {formats}:", "$dim")
            self.query_one("#salvage-words", Static).update(words)
        keys = ["Enter write", "Tab between fields"] if writable else []
        keys += ["Space tick"] if writable and repairable else []
        keys += ["Esc stop"] if self._busy else ["Esc close"]
        self.query_one("#salvage").border_subtitle = Content("  ".join(keys))

    def _summary(self, words: Content) -> None:
        self.query_one("#salvage-summary", Static).update(words)

    def _preview(self) -> None:
        """What would come back, with the box as it stands."""
        if self.plan is not None:
            self._summary(plan_words(self.plan, repair=self.query_one("#salvage-repair", Tick).value))

    def _problem(self, error: CkptuiError) -> None:
        words = [(safe(str(error)), "$error")]
        self.query_one("#salvage-problem", Static).update(Content.assemble(*words))


def proposal(found: Found) -> str:
    """A target outside the save's folder: in the current folder, else the user's home, else among temporary files."""
    stem = "".join(c if c.isalnum() or c in "-_." else "_" for c in found.label).strip(".") or "save"
    for suffix in (".weights.h5", ".keras", ".hdf5", ".h5"):
        stem = stem.removesuffix(suffix)
    own = os.path.realpath(found.path)
    for folder in (os.getcwd(), os.path.expanduser("~"), tempfile.gettempdir()):
        real = os.path.realpath(folder)
        inside = os.path.dirname(own) == real or (real + os.sep).startswith(own + os.sep)
        if not inside and os.access(folder, os.W_OK | os.X_OK):
            return os.path.join(folder, f"{stem}-salvaged")
    return f"{stem}-salvaged"


def progress_words(words: str, progress: Progress) -> Content:
    """`Writing  61%  3.1 GB/s  4 s`."""
    parts = [words]
    if progress.total_bytes:
        parts.append(f"{min(progress.done_bytes / progress.total_bytes, 1):4.0%}")
        parts.append(f"{human_bytes(progress.done_bytes)} of {human_bytes(progress.total_bytes)}")
    if progress.rate:
        parts.append(f"{human_bytes(progress.rate)}/s")
    if progress.seconds_left is not None and progress.seconds_left < 86_400:
        parts.append(duration(progress.seconds_left))
    return Content.styled("  ".join(parts), "$dim")


def whole_words(item: SalvageItem) -> str:
    """Why nothing need be said against a tensor."""
    if item.evidence.get("vouched") is False:
        return "it reads to its end; no checksum vouches for its values"
    return "its bytes are whole"


def counts(plan: SalvagePlan) -> Content:
    """`recovered 26   lost 1`, each in its colour; what does not occur is left out."""
    told = plan.summary
    parts = [
        Content.styled(f"{outcome} {human_count(told[outcome])}", "$success" if style == "ok" else f"${style}")
        for outcome, style in STYLES.items()
        if told[outcome]
    ]
    if plan.unnamed:
        parts.append(Content.styled(f"without a name {human_count(plan.unnamed)}", "$error"))
    return Content("   ").join(parts)


def plan_words(plan: SalvagePlan, *, repair: bool = False) -> Content:
    """What would come back, from where its names come, and what to know."""
    total = len(plan.items)
    back = [*plan.writable, *(item for item in plan.items if repair and item.outcome == "repairable")]
    size = human_bytes(sum(item.bytes for item in back))
    words = f"{human_count(len(back))} of {human_count(total)} tensors come back, {size}"
    if not total:
        words = "No tensor can be found"
    method = METHODS[plan.method] + (f" {safe(plan.layout)}" if plan.layout else "")
    parts: list[Content | str | tuple[str, str]] = [(words, "bold"), "\n", counts(plan), "\n", (method, "$dim")]
    if plan.unnamed is None:
        parts.append(("\nMore may have been in it: what lost its entry lost its name too.", "$warning"))
    for note in plan.notes:
        parts += ["\n", (safe(note), "$warning")]
    return Content.assemble(*parts)


def repair_words(plan: SalvagePlan) -> str:
    """What the box offers, with the chance that it is wrong."""
    offered = [item for item in plan.items if item.outcome == "repairable"]
    chance = max((float(item.evidence.get("coincidence", 0.0)) for item in offered), default=0.0)
    tensors = "1 tensor" if len(offered) == 1 else f"each of {human_count(len(offered))} tensors"
    doubt = f" (wrong in 1 of {human_count(max(1, round(1 / chance)))} cases)" if chance else ""
    return f"Turn a flipped bit back in {tensors}{doubt}"


def report_words(report: SalvageReport) -> Content:
    """What was written, and the next step."""
    name = safe(report.output)
    if report.target == "checkpoint":
        step = f"tf.train.load_checkpoint({name!r}) reads it"
    elif report.target == ".weights.h5":
        step = f"model.load_weights({name!r}, skip_mismatch=True) takes what is there"
    else:
        step = f"It opens with ckptui and with every reader of {report.target}"
    return Content.assemble(
        (f"Written: {human_bytes(report.bytes)} to {shown(report.output, 60)}", "bold $success"),
        "\n",
        counts(report.plan),
        "\n",
        (f"Every tensor's outcome is in {safe(os.path.basename(report.files[-1]))}", "$dim"),
        "\n\n",
        ("→ ", "$primary"),
        step,
    )
