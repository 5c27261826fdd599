"""The timeline tab: a run over its saves, or words where there is none."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from ckptui.core.text import human_count, safe, step_text
from ckptui.ui.access import say
from ckptui.ui.commands import bindings_for
from ckptui.ui.timeline_rows import MEASURE_WORDS, SORT_WORDS, Course
from ckptui.ui.widgets.timeline_table import TimelineTable

NO_RUN = Content.assemble(
    ("This save stands alone\n\n", "bold"),
    "A timeline goes through the saves of one training, a run: checkpoints of one folder (as CheckpointManager, Saver",
    " or an Estimator write them), exports in folders of time stamps, or files of successive epochs.\n\n",
    ("→ ", "$primary"),
    "Choose a save under a folder that holds several of a training, or ",
    ("o", "bold $primary"),
    " opens another path. To compare two saves, mark one with ",
    ("m", "bold $primary"),
    " and press ",
    ("d", "bold $primary"),
    " on the other.",
)


class TimelineView(Vertical):
    """Carries out the timeline's keys; what concerns other parts of the screen it only tells."""

    COMMAND_SCOPE = "timeline"
    BINDINGS = bindings_for("timeline")

    class Picked(Message):
        """The save under the axis cursor is to be A, or no longer."""

    class DiffWanted(Message):
        """A, or the save before, is to be compared with the one under the axis cursor."""

    class HistoryWanted(Message):
        """The keys are to go to the tensor's histograms over the saves."""

    class Told(Message):
        """What stands in the border has changed."""

    def compose(self) -> ComposeResult:
        yield TimelineTable(id="timeline-table")
        with VerticalScroll(id="timeline-none"):
            yield Static(NO_RUN, id="timeline-words", markup=False)

    def on_mount(self) -> None:
        self.problem = ""
        self.filling = False
        self._lay_out()

    @property
    def table(self) -> TimelineTable:
        """Axis and rows."""
        return self.query_one(TimelineTable)

    @property
    def course(self) -> Course | None:
        """The run on show."""
        return self.table.course

    @property
    def focus_target(self) -> Widget:
        """What takes the keys."""
        return self.table if self.course is not None else self.query_one("#timeline-none")

    # ------------------------------------------------------------------ content

    def show(self, course: Course, place: int, mark: int | None, *, filling: bool) -> None:
        """Show a run, the axis cursor on a save."""
        self.filling, self.problem = filling, ""
        self.table.show(course, place, mark)
        self._lay_out()

    def words(self, words: Content | None = None) -> None:
        """Show words in the place of a run; by default what a run is."""
        self.filling, self.problem = False, ""
        self.table.show(None)
        self.query_one("#timeline-words", Static).update(words or NO_RUN)
        self._lay_out()

    def grew(self, *, filling: bool, problem: str = "") -> None:
        """More of the run on show is told; `problem`: why there will be no more."""
        self.filling, self.problem = filling, problem
        self.table.grew()
        self.post_message(self.Told())

    def _lay_out(self) -> None:
        there = self.course is not None
        none = self.query_one("#timeline-none")
        # the keys go over before what has them is hidden: they would be lost
        focused = self.screen.focused
        shown, hidden = (self.table, none) if there else (none, self.table)
        shown.display = True
        if focused is hidden:
            self.screen.set_focus(shown)
        hidden.display = False
        self._tell()

    def _tell(self) -> None:
        self.post_message(self.Told())
        self.refresh_bindings()

    def title(self) -> tuple[str, str]:
        """The run's name, and what stands behind it: how many saves, how far the reading is."""
        course = self.course
        if course is None:
            return "", ""
        scale = self.table.fit(self.table.scrollable_content_region.width).scale
        facts = f"  {human_count(len(course))} saves"
        if scale.binned:
            facts += f" in {human_count(scale.width)} columns"
        if self.problem:
            facts += f"  stopped: {safe(self.problem, 60)}"
        elif self.filling:
            facts += f"  reading {human_count(min(course.done + 1, len(course)))} of {human_count(len(course))}"
        return safe(course.run.label), facts

    def subtitle(self) -> str:
        """The save under the axis cursor, what is drawn, and the order of the rows where they are not the usual."""
        course = self.course
        if course is None:
            return ""
        place = self.table.place
        step = course.step(place)
        name = course.label(place, 32)
        parts = [name + (f"  step {step_text(step)}" if step is not None and name != f"step {step}" else "")]
        if course.told[place] == 2:
            parts.append("can't be read")
        parts += [safe(finding.title, 60) for finding in course.events.get(place, ())[:1]]
        query = self.table.query_now
        if query.measure != "change":
            parts.append(MEASURE_WORDS[query.measure])
        if query.sort != "worst":
            parts.append(SORT_WORDS[query.sort])
        return " · ".join(parts)

    # ------------------------------------------------------------------ keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Without a run there is nothing to do."""
        if action in ("measure", "sort_rows", "pick", "compare", "step", "flagged", "history"):
            if self.course is None:
                return False
            return action != "compare" or self.table.place > 0 or self.table.mark is not None
        return True

    def action_sort_rows(self) -> None:
        self.table.next_sort()
        self._tell()

    def action_measure(self) -> None:
        self.table.next_measure()
        say(self, MEASURE_WORDS[self.table.query_now.measure])
        self._tell()

    def action_step(self, step: int) -> None:
        if step < 0:
            self.table.action_go_left()
        else:
            self.table.action_go_right()

    def action_flagged(self, step: int) -> None:
        if not self.table.next_flagged(step):
            say(self, "nothing flagged so far" if self.filling else "nothing flagged in this run")

    def action_pick(self) -> None:
        self.post_message(self.Picked())

    def action_compare(self) -> None:
        self.post_message(self.DiffWanted())

    def action_history(self) -> None:
        self.post_message(self.HistoryWanted())

    def on_timeline_table_axis_moved(self) -> None:
        """Another save is under the axis cursor."""
        self._tell()
