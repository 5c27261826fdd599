"""The timeline of the run on show: begun when its tab is opened, filled from a thread, extended as saves come."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.timer import Timer

from ckptui.core.model import Finding, Histogram, RunFolder
from ckptui.core.text import safe
from ckptui.ui.screens.sweeping import Sweeping
from ckptui.ui.timeline_job import CourseBegan, CourseEnded, CourseGrew, CurvesRead, HistoryRead
from ckptui.ui.timeline_rows import OF_COURSE, Course, Track
from ckptui.ui.widgets.save_view import SaveView
from ckptui.ui.widgets.timeline_table import TimelineTable
from ckptui.ui.widgets.timeline_view import TimelineView

REST = 0.2
"""Seconds the cursor stays on a row before its values are read in every save."""
HISTORIES_KEPT = 64


class Following(Sweeping):
    """Keeps one timeline going at most; those that are through stay at hand until other paths are opened."""

    def __init__(self, paths: Sequence[str]) -> None:
        super().__init__(paths)
        self._courses: dict[str, Course] = {}
        """By path of the run."""
        self._filling = ""
        """The run whose saves are being read."""
        self._stale: set[str] = set()
        """Runs with saves that came, went or changed since their timeline."""
        self._histories: dict[tuple[Course, str], Sequence[Histogram | None]] = {}
        self._history_timer: Timer | None = None

    # ------------------------------------------------------------------ which run

    @property
    def run_here(self) -> RunFolder | None:
        """The run of the save under the tree's cursor, or the run under it."""
        row = self.save_tree.row
        path = self.target
        if path is not None:
            return self.ledger.run_of(path)
        return self.ledger.runs.get(row.key) if row is not None and row.kind == "folder" else None

    @property
    def timeline(self) -> TimelineView:
        """The tab."""
        return self.view.timeline

    def look(self, paths: Sequence[str]) -> None:
        """Other paths: nothing that was told of the runs before holds."""
        self.stop("timeline")
        self.stop("history")
        self._courses, self._filling, self._stale, self._histories = {}, "", set(), {}
        super().look(paths)

    # ------------------------------------------------------------------ showing it

    def show_timeline(self) -> None:
        """Show the run of the save on show; its saves are read from now on if they were not yet."""
        run = self.run_here
        if run is None:
            self.timeline.words()
            return
        course = self._courses.get(run.path)
        if course is not None:
            self._put(course)
        elif self._filling != run.path or self.timeline.course is not None:
            words = f"Reading {len(run.saves)} saves of {safe(run.label)} …"
            self.timeline.words(Content.styled(words, "$dim"))
        if self._filling != run.path and (course is None or run.path in self._stale):
            self._follow(run)

    def _follow(self, run: RunFolder) -> None:
        """Read the saves of a run; those of another run no longer."""
        self._stale.discard(run.path)
        self._filling = run.path
        before = self._courses.get(run.path)
        cancel = self.begin("timeline")
        self.run_timeline(run, before.report if before is not None else None, cancel)
        if before is None:
            self.run_curves(run, cancel)

    def _put(self, course: Course) -> None:
        table = self.timeline.table
        same = table.course is not None and table.course.run.path == course.run.path
        path = self.current if self.current in course.places or not same else self._path_here
        place = course.places.get(path or "", len(course) - 1)
        if same and table.axis_moved:
            place = self._nearest_in(course, place)
        mark = course.places.get(self.ledger.mark or "")
        self.timeline.show(course, place, mark, filling=self._filling == course.run.path)
        self._follow_cursor()

    def _nearest_in(self, course: Course, otherwise: int) -> int:
        """The place of the save under the axis cursor; where that is gone, of the next one that is still there."""
        before, here = self.timeline.course, self.timeline.table.place
        saves = before.saves if before is not None else ()
        order = sorted(range(len(saves)), key=lambda place: (abs(place - here), place < here))
        return next((course.places[saves[p].path] for p in order if saves[p].path in course.places), otherwise)

    @property
    def _path_here(self) -> str:
        """The save under the axis cursor."""
        course = self.timeline.course
        return course.saves[self.timeline.table.place].path if course is not None and len(course) else ""

    def _shows(self, run: str) -> bool:
        here = self.run_here
        return self.view.showing == "timeline" and here is not None and here.path == run

    def on_save_view_switched(self, message: SaveView.Switched) -> None:
        """Another tab is on show: the pane at the right goes with it."""
        here = self.view.showing == "timeline"
        if self.has_class("-timeline") != here:
            self.set_class(here, "-timeline", update=False)
            # only the widths of these two hang on it: the rest need not look up its styles again
            self.app.stylesheet.update_nodes([self.view, self.pane])
        if here:
            self.show_timeline()
        if self.pane.showing != "predict":
            self.pane.showing = self.pane_here
        if here and self.focus_region == "view" and self.focused is not self.timeline.focus_target:
            # words stood there while the save was being opened, and had the keys
            self.set_focus(self.timeline.focus_target)
        self.refresh_bindings()

    @property
    def pane_here(self) -> str:
        """What the pane at the right shows beside the tab on show, but for a prediction."""
        return "history" if self.view.showing == "timeline" else "inspector"

    def sync_mark(self) -> None:
        """A is another save: the axis shows it too."""
        course = self.timeline.course
        if course is not None:
            self.timeline.table.pick(course.places.get(self.ledger.mark or ""))
            self._follow_cursor()

    # ------------------------------------------------------------------ what the thread tells

    def on_course_began(self, message: CourseBegan) -> None:
        """The saves are known; columns come."""
        course = message.course
        if course.run.path == self._filling:
            self._take(course)

    def _take(self, course: Course) -> None:
        before = self._courses.get(course.run.path)
        if before is not None and not course.scalars:
            course.scalars = before.scalars
        self._courses[course.run.path] = course
        if self._shows(course.run.path):
            self._put(course)

    def on_course_grew(self, message: CourseGrew) -> None:
        """More columns are there."""
        if message.course is self.timeline.course and self._shows(message.course.run.path):
            self.timeline.grew(filling=True)

    def on_course_ended(self, message: CourseEnded) -> None:
        """All saves are read, or it went wrong."""
        if message.run != self._filling:
            return
        self._filling = ""
        self._cancels.pop("timeline", None)
        if message.error is not None:
            self._courses.pop(message.run, None)
            if self._shows(message.run):
                words = safe(str(message.error))
                if self.timeline.course is None:
                    self.timeline.words(Content.assemble(("The timeline stopped\n\n", "bold $error"), words))
                else:
                    self.timeline.grew(filling=False, problem=words)
            return
        if message.course is None:
            self._courses.pop(message.run, None)
        else:
            known = self._courses.get(message.run) is message.course
            if not known:
                self._take(message.course)
            elif self._shows(message.run):
                self.timeline.grew(filling=False)
            self._follow_cursor()
            self._learn_course(message.course)
        run = self.ledger.runs.get(message.run)
        if run is not None and message.run in self._stale and self._shows(message.run):
            self._follow(run)

    def _learn_course(self, course: Course) -> None:
        """What the run came to stands among its findings, and what was wrong with a save among that save's."""
        self.ledger.over_time[course.run.path] = tuple(f for f in course.findings if f.code in OF_COURSE)
        told: dict[str, list[Finding]] = {}
        for finding in course.findings:
            if finding.tensor is not None and finding.code not in OF_COURSE:
                told.setdefault(finding.artifact, []).append(finding)
        for path, findings in told.items():
            record = self.ledger.saves.get(path)
            if record is not None and record.phase != "failed":
                record.learn(findings)
        self.count()
        self.save_tree.badges_changed()
        record = self.record
        if record is not None and self.view.showing_save and self.ledger.run_of(record.found.path) is not None:
            self.view.learn(record, self.findings_of(record), fresh=bool(told))

    def on_curves_read(self, message: CurvesRead) -> None:
        """The loss is known before the saves are read."""
        course = self._courses.get(message.run)
        if course is None:
            return
        course.scalars = course.scalars or message.scalars
        if course is self.timeline.course and self._shows(message.run):
            self.timeline.grew(filling=self._filling == message.run)

    def run_changed(self, run: str) -> None:
        """Saves of a run came, went or were written anew: its timeline goes on where it is open."""
        self._stale.add(run)
        here = self.ledger.runs.get(run)
        if here is not None and self._shows(run) and self._filling != run:
            self._follow(here)

    # ------------------------------------------------------------------ one tensor over the saves

    def on_timeline_table_highlighted(self, message: TimelineTable.Highlighted) -> None:
        """The pane follows the cursor; the values are read once it rests."""
        self._follow_cursor()

    def on_timeline_table_axis_moved(self, message: TimelineTable.AxisMoved) -> None:
        """The pane tells of the save under the axis cursor."""
        self._follow_cursor()
        self.refresh_bindings()

    def _follow_cursor(self) -> None:
        table = self.timeline.table
        course, track = table.course, table.track
        self.pane.show_track(course, track, table.place, table.mark)
        if self._history_timer is not None:
            self._history_timer.stop()
            self._history_timer = None
        if course is None or track is None:
            self.stop("history")
            return
        kept = self._histories.get((course, track.row.name))
        if kept is not None:
            self.pane.show_history(kept)
        elif self.focus_region != "pane" and self._filling == course.run.path:
            # the saves first: one tensor read in all of them would hold them up
            self.pane.show_history((), "Its values are drawn when all saves are read; f draws them now.")
        elif self.view.showing == "timeline" and (self.wide or self.focus_region == "pane"):
            self._history_timer = self.set_timer(REST, lambda: self._read_history(course, track))

    @property
    def wide(self) -> bool:
        """Is there room for all regions?"""
        raise NotImplementedError

    def _read_history(self, course: Course, track: Track) -> None:
        if self.timeline.table.track is track:
            self.pane.show_history((), "reading its values in every save …")
            self.run_history(course, track.row, self.begin("history"))

    def on_history_read(self, message: HistoryRead) -> None:
        """Histograms of one tensor over the saves."""
        course = message.course
        if not message.problem:
            while len(self._histories) >= HISTORIES_KEPT:
                self._histories.pop(next(iter(self._histories)))
            self._histories[course, message.row.name] = message.histograms
        track = self.timeline.table.track
        if course is self.timeline.course and track is not None and track.row.name == message.row.name:
            self.pane.show_history(message.histograms, message.problem)

    # ------------------------------------------------------------------ keys

    def on_timeline_table_save_entered(self, message: TimelineTable.SaveEntered) -> None:
        """Enter on a save of the axis: on to its tensors."""
        path = self._path_here
        if path not in self.ledger.saves:
            self.say("this save is no longer there")
            return
        self.save_tree.moved_by_user = True
        self.view.tab = "tensors"
        self.save_tree.select(path)
        self.open_save(path)
        self.show_region("view")

    def on_timeline_view_picked(self, message: TimelineView.Picked) -> None:
        """The save under the axis cursor becomes A, or is it no longer."""
        path = self._path_here
        if path in self.ledger.saves:
            self.ledger.mark = None if self.ledger.mark == path else path
            self.show_mark()
            self.refresh_bindings()

    def on_timeline_view_diff_wanted(self, message: TimelineView.DiffWanted) -> None:
        """A against the save under the axis cursor; without A the save before it."""
        course, place = self.timeline.course, self.timeline.table.place
        if course is None:
            return
        path, mark = self._path_here, self.ledger.mark
        baseline = mark if mark is not None and mark != path else course.saves[place - 1].path if place else None
        sides = [self.ledger.saves.get(side) for side in (baseline or "", path)]
        if sides[0] is None or sides[1] is None:
            self.say("mark a save as A first" if baseline is None else "this save is no longer there")
            return
        self.run_open_both(sides[0].found, sides[1].found)

    def on_timeline_view_history_wanted(self, message: TimelineView.HistoryWanted) -> None:
        """On to the tensor's values over the saves."""
        self.pane.showing = "history"
        self.show_region("pane")
        self._follow_cursor()

    def walk_timeline(self, save: int, tensor: str) -> None:
        """The cursors of the timeline, moved from the pane beside it."""
        if tensor:
            self.timeline.table.action_move(tensor)
        else:
            self.timeline.action_step(save)

    def show_region(self, region: str) -> None:
        """Bring a pane to the front and give it the keys."""
        raise NotImplementedError

    def show_mark(self) -> None:
        """Show which save is A."""
        raise NotImplementedError
