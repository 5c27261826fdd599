"""Baseline A against candidate B: what they are to each other, tensor by tensor."""

from __future__ import annotations

import threading
from dataclasses import replace

from textual import events, work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import Static
from textual.worker import Worker, WorkerState

from ckptui.core.model import Listing, Pair, Progress
from ckptui.core.report import relation_words
from ckptui.core.text import safe
from ckptui.session import Session
from ckptui.ui import diff_job
from ckptui.ui.commands import bindings_for
from ckptui.ui.diff_rows import (
    HUGE,
    IDENTICAL,
    ORDER_WORDS,
    ORDERS,
    STATUS_WORDS,
    DiffRows,
    arrange,
    both_saves,
    config_words,
    summary_pieces,
)
from ckptui.ui.widgets.diff_table import DiffTable
from ckptui.ui.widgets.key_footer import KeyFooter
from ckptui.ui.widgets.pair_view import PairView
from ckptui.ui.widgets.row_list import RowList

WIDE = 110
"""From this many columns table and pictures stand side by side."""
SAVES_AROUND = 16
"""Cells of the first line that are no names: margins, both letters, the arrow."""
SETTLED = 0.08
"""Seconds the cursor must rest before a pair is looked at closely."""
STYLES = {
    "": "$foreground",
    "dim": "$dim",
    "error": "$error",
    "warning": "$warning",
    "mark": "$mark",
    "odd": "$odd",
}


class DiffScreen(Screen[None]):
    """Rows come as they are compared; Esc closes."""

    COMMAND_SCOPE = "diff"
    BINDINGS = bindings_for("diff")
    AUTO_FOCUS = "DiffTable"
    DEFAULT_CSS = """
    DiffScreen {
        & #diff-head { height: auto; background: $panel; padding: 0 1; }
        & #diff-head > Static { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
        & #diff-head > #diff-relation { height: auto; max-height: 3; text-wrap: wrap; }
        & #diff-body { height: 1fr; }
        & #diff-rows, & #diff-pair {
            border: round $border-blurred; border-title-color: $dim; height: 1fr; width: 1fr;
        }
        & #diff-rows:focus-within, & #diff-pair:focus-within {
            border: round $primary; border-title-color: $primary;
        }
        & #diff-pair { padding: 0 1; }
        &.-wide #diff-pair { max-width: 64; }
        & #diff-footer { height: 1; background: $panel; dock: bottom; }
    }
    """

    def __init__(self, session: Session, a: Listing, b: Listing) -> None:
        super().__init__()
        self.session = session
        self.a, self.b = a, b
        self.progress: Progress | None = None
        self._cancel = threading.Event()
        self._close_cancel = threading.Event()
        self._timer: Timer | None = None
        self._pair: Pair | None = None
        self._looking_at_pair = False
        self._relation = ""
        self._reason = "comparing"
        self._config = ""
        """What differs in the layers' configurations."""
        self._ended = False
        self._asked = DiffRows(())
        """Order, filter and folds as the user wants them; without pairs."""

    def compose(self) -> ComposeResult:
        with Vertical(id="diff-head"):
            yield Static(id="diff-saves", markup=False)
            yield Static(id="diff-relation", markup=False)
            yield Static(id="diff-config", markup=False)
            yield Static(id="diff-summary", markup=False)
        with Horizontal(id="diff-body"):
            with Vertical(id="diff-rows"):
                yield DiffTable(id="diff-table")
            with Vertical(id="diff-pair"):
                yield PairView(id="diff-view")
        yield KeyFooter(id="diff-footer")

    def on_mount(self) -> None:
        self._arrange_panes()
        self._show_head()
        self._compare()

    @property
    def table(self) -> DiffTable:
        """The rows."""
        return self.query_one(DiffTable)

    @property
    def view(self) -> PairView:
        """The pair under the cursor."""
        return self.query_one(PairView)

    @property
    def focus_area(self) -> str:
        """For the footer: the keys of the diff first."""
        return "diff"

    # ------------------------------------------------------------------ arranging

    @property
    def wide(self) -> bool:
        """Is there room for table and pictures?"""
        return self.size.width >= WIDE

    def _arrange_panes(self) -> None:
        self.set_class(self.wide, "-wide")
        self.query_one("#diff-rows").display = self.wide or not self._looking_at_pair
        self.query_one("#diff-pair").display = self.wide or self._looking_at_pair

    def on_resize(self, event: events.Resize) -> None:
        self._arrange_panes()
        self._show_head()

    def action_next_pane(self) -> None:
        """Keys to the pictures, or back to the table."""
        self._looking_at_pair = not self._looking_at_pair
        self._arrange_panes()
        self._focus_pane()

    def _focus_pane(self) -> None:
        if not self._looking_at_pair:
            self.table.focus()
        elif self.view.gallery.display:
            self.view.gallery.grid.focus()
        else:
            self.view.focus()
        self.refresh_bindings()

    def action_close(self) -> None:
        """Back to the table, then out."""
        if self._looking_at_pair:
            self.action_next_pane()
        else:
            self.dismiss()

    def on_unmount(self) -> None:
        self._cancel.set()
        self._close_cancel.set()

    # ------------------------------------------------------------------ rows

    def action_sort(self) -> None:
        """Sort by the next order."""
        self._ask(replace(self._asked, by=ORDERS[(ORDERS.index(self._asked.by) + 1) % len(ORDERS)]))

    def action_status(self) -> None:
        """Only the next status that exists; after the last, all."""
        steps = (None, *self.table.rows.present)
        at = steps.index(self._asked.status) if self._asked.status in steps else 0
        self._ask(replace(self._asked, status=steps[(at + 1) % len(steps)]))

    def action_identical(self) -> None:
        """Unfold or fold what is identical."""
        self._toggle(IDENTICAL)

    def _toggle(self, fold: int) -> None:
        self._ask(replace(self._asked, unfolded=self._asked.unfolded ^ {fold}))

    def _ask(self, asked: DiffRows) -> None:
        """Another order, filter or fold for the rows there are; many rows are sorted in a thread."""
        self._asked = asked
        self._arrange(self.table.rows)

    def _arrange(self, rows: DiffRows) -> None:
        wanted = replace(rows, by=self._asked.by, status=self._asked.status, unfolded=self._asked.unfolded)
        if len(rows.pairs) > HUGE:
            self._arrange_apart(wanted)
        else:
            self._show_rows(arrange(wanted))

    def _show_rows(self, rows: DiffRows) -> None:
        self.table.show(rows)
        self._follow()
        self._show_head()

    def on_row_list_moved(self, event: RowList.Moved) -> None:
        event.stop()
        self._follow()

    def on_row_list_chosen(self, event: RowList.Chosen) -> None:
        """Enter: unfold, or on to the pictures."""
        event.stop()
        if self.table.fold is not None:
            self._toggle(self.table.fold)
        elif not self._looking_at_pair:
            self.action_next_pane()

    def on_row_list_leave(self, event: RowList.Leave) -> None:
        """Right goes to the pictures."""
        event.stop()
        if event.step > 0 and not self._looking_at_pair:
            self.action_next_pane()

    def _follow(self) -> None:
        """Show the pair under the cursor, and look closely once it rests."""
        pair = self.table.pair
        if pair is self._pair:
            return
        self._pair = pair
        self._close_cancel.set()
        self._close_cancel = threading.Event()
        self.view.show_pair(pair)
        if self._timer is not None:
            self._timer.stop()
        if pair is not None:
            self._timer = self.set_timer(SETTLED, self._look_closely)

    # ------------------------------------------------------------------ threads

    @work(thread=True, exclusive=True, exit_on_error=False, group="compare", description="diff")
    def _compare(self) -> None:
        diff_job.compare(self.session, self.a, self.b, self.post_message, self._cancel)

    @work(thread=True, exclusive=True, exit_on_error=False, group="arrange", description="sorting")
    def _arrange_apart(self, rows: DiffRows) -> None:
        self.post_message(diff_job.Compared(arrange(rows), self.progress))

    def _look_closely(self) -> None:
        if self._pair is not None:
            self._look(self._pair, self._close_cancel)

    @work(thread=True, exclusive=True, exit_on_error=False, group="close", description="pair")
    def _look(self, pair: Pair, cancel: threading.Event) -> None:
        diff_job.look_closely(self.session, (self.a, self.b), pair, self.post_message, cancel)

    def on_compared(self, event: diff_job.Compared) -> None:
        """More rows, under the order and filter that are wanted by now."""
        event.stop()
        rows, asked = event.rows, self._asked
        if len(rows.pairs) < len(self.table.rows.pairs):
            return
        self.progress = event.progress
        if (rows.by, rows.status, rows.unfolded) == (asked.by, asked.status, asked.unfolded):
            self._show_rows(rows)
        else:
            self._arrange(rows)

    def on_ended(self, event: diff_job.Ended) -> None:
        event.stop()
        self._ended = True
        if event.report is not None:
            self._relation, self._reason = relation_words(event.report.relation)
            self._config = config_words(event.report.findings)
        elif event.error is not None:
            self._relation, self._reason = "The comparison failed", safe(str(event.error))
        self._show_head()

    def on_looked_closely(self, event: diff_job.LookedClosely) -> None:
        event.stop()
        if event.close.pair is self._pair:
            self.view.show(event.close)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """An error no one expected is shown, not swallowed."""
        if event.state is WorkerState.ERROR:
            error = event.worker.error
            self._relation, self._reason = type(error).__name__, safe(str(error))
            self._show_head()

    # ------------------------------------------------------------------ words

    def _show_head(self) -> None:
        a, b = both_saves(self.a.artifact, self.b.artifact, max(self.size.width - SAVES_AROUND, 8))
        saves = Content.assemble(
            (" A ", "bold $background on $mark"),
            f" {a}  ",
            ("→  ", "$dim"),
            (" B ", "bold $background on $secondary"),
            f" {b}",
        )
        self.query_one("#diff-saves", Static).update(saves)
        between = "  ·  " if self._relation and self._reason else ""
        relation = Content.assemble((self._relation, "bold"), (f"{between}{self._reason}", "$dim"))
        self.query_one("#diff-relation", Static).update(relation)
        config = self.query_one("#diff-config", Static)
        config.display = bool(self._config)
        config.update(Content.assemble(("configuration  ", "$warning"), self._config))
        self.query_one("#diff-summary", Static).update(self._summary())
        rows = self.table.rows
        only = f" · only {STATUS_WORDS[rows.status]}" if rows.status else ""
        self.query_one("#diff-rows").border_title = Content(f"{ORDER_WORDS[rows.by]}{only}")

    def _summary(self) -> Content:
        pieces = [Content.styled(text, STYLES[style]) for text, style in summary_pieces(self.table.rows.counts)]
        if not self._ended and self.progress is not None and self.progress.total_bytes:
            done = self.progress.done_bytes / self.progress.total_bytes
            pieces.append(Content.styled(f"{done:.0%} read", "$primary"))
        return Content("  ").join(pieces)
