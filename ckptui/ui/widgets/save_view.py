"""The middle of the screen: one save, in tabs; or why there is nothing to show."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import ContentSwitcher, Static

from ckptui.core.model import Artifact, Finding, Tensor
from ckptui.core.text import human_bytes, human_count, safe
from ckptui.errors import CkptuiError
from ckptui.ui.fitting import fit_middle
from ckptui.ui.ledger import SaveRecord
from ckptui.ui.tensor_rows import SORT_WORDS
from ckptui.ui.widgets.about_panel import AboutPanel, nothing_found
from ckptui.ui.widgets.architecture_panel import ArchitecturePanel
from ckptui.ui.widgets.filter_bar import FilterBar
from ckptui.ui.widgets.findings_panel import FindingsPanel
from ckptui.ui.widgets.tab_line import Tab, TabLine
from ckptui.ui.widgets.tensor_table import TensorTable
from ckptui.ui.widgets.timeline_view import TimelineView

TABS = ("tensors", "findings", "architecture", "timeline", "about")


class SaveView(Vertical):
    """Shows a record of the ledger; asks nobody anything."""

    tab: reactive[str] = reactive("tensors")

    class Switched(Message):
        """Something else is on show: another tab, or words."""

    def compose(self) -> ComposeResult:
        yield TabLine(id="view-tabs")
        yield FilterBar(id="filter-bar")
        with ContentSwitcher(initial="tensors", id="view-switch"):
            yield TensorTable(id="tensors")
            yield FindingsPanel(id="findings")
            yield ArchitecturePanel(id="architecture")
            yield TimelineView(id="timeline")
            with VerticalScroll(id="about"):
                yield AboutPanel(id="about-text")
            with VerticalScroll(id="message"):
                yield Static("", id="message-text", markup=False)

    def on_mount(self) -> None:
        self._title = ("", "")
        self.message(Content.styled("Looking for saves …", "$dim"))

    @property
    def table(self) -> TensorTable:
        """The tensors."""
        return self.query_one(TensorTable)

    @property
    def timeline(self) -> TimelineView:
        """The run over its saves."""
        return self.query_one(TimelineView)

    @property
    def findings(self) -> FindingsPanel:
        """The findings."""
        return self.query_one(FindingsPanel)

    @property
    def filter_bar(self) -> FilterBar:
        """The line of the filter."""
        return self.query_one(FilterBar)

    @property
    def focus_target(self) -> Widget:
        """What takes the keys of the tab on show."""
        current = self.showing
        if current == "timeline":
            return self.timeline.focus_target
        if current == "findings":
            return self.findings.rows if self.findings.rows.display else self
        return self.query_one(f"#{current}")

    @property
    def tensor_here(self) -> Tensor | None:
        """The tensor under the cursor, or the one the finding under the cursor is about."""
        finding = self.findings.rows.finding if self.tab == "findings" else None
        named = self.table.tensor_named(finding.tensor) if finding and finding.tensor else None
        return named or self.table.tensor

    # ------------------------------------------------------------------ content

    def show(self, record: SaveRecord, findings: Sequence[Finding], name: str) -> None:
        """Show a save that is open, under a name made harmless."""
        assert record.listing is not None
        self.filter_bar.clear()
        self._entitle(name, facts_of(record.listing.artifact))
        self.table.show(record.rows, record.scans, record.flags)
        self.query_one(ArchitecturePanel).show(record.listing)
        self.learn(record, findings, fresh=False)
        self._switch(self.tab)

    def gone(self) -> None:
        """The save on show was removed: what is known of it stays, greyed."""
        name, facts = self._title
        self._entitle(name, f"{facts}  removed")
        self.set_class(True, "-gone")

    def learn(self, record: SaveRecord, findings: Sequence[Finding], *, fresh: bool) -> None:
        """The check knows more of the save on show; `fresh` when there are new findings."""
        self.table.learn(fresh=fresh)
        self.findings.show(findings, nothing_found(record))
        self.query_one(AboutPanel).about(record)
        tensors = record.listing.artifact.tensors if record.listing else 0
        self._tabs(tensors, findings)

    def _tabs(self, tensors: int | None, findings: Sequence[Finding]) -> None:
        severities = {finding.severity for finding in findings}
        worst = next((s for s in ("error", "warning") if s in severities), "")
        self.query_one(TabLine).tabs = (
            Tab("tensors", "Tensors", tensors),
            Tab("findings", "Findings", len(findings), worst),
            Tab("architecture", "Architecture", short="Layers"),
            Tab("timeline", "Timeline"),
            Tab("about", "About"),
        )

    def message(self, words: Content, title: str = "") -> None:
        """Show words instead of a save."""
        self.filter_bar.clear()
        self._entitle(title)
        self.table.show(None, {}, {})
        self.query_one(TabLine).tabs = ()
        self.query_one("#message-text", Static).update(words)
        self._show("message")

    def _entitle(self, name: str, facts: str = "") -> None:
        self.set_class(False, "-gone")
        self._title = (name, facts)
        self.on_resize()

    def on_resize(self) -> None:
        """The facts stay, the name loses its middle where there is no room for it."""
        timeline = self.showing == "timeline" and self.timeline.course is not None
        name, facts = self.timeline.title() if timeline else self._title
        room = (self.size.width or 10_000) - cell_len(facts) - 4
        self.border_title = Content(fit_middle(name, max(room, 8)) + facts)
        self.border_subtitle = Content(self.timeline.subtitle() if timeline else self._order_words())

    def on_timeline_view_told(self) -> None:
        """The border goes with the timeline."""
        self.on_resize()

    def failure(self, error: CkptuiError, findings: Sequence[Finding], title: str) -> None:
        """Why a save can't be opened."""
        self.message(error_words(error), title)
        if findings:
            self.show_findings(findings, title)

    def show_findings(self, findings: Sequence[Finding], title: str, head: Content | None = None) -> None:
        """Show what is known of something that is no readable save, under the words `head`."""
        self.message(Content(), title)
        self.findings.show(findings, "" if head else "Nothing to report.", head)
        self._show("findings")

    def show_timeline_alone(self) -> None:
        """Show the timeline of a run where no save of it is open: under its own row, or beside a damaged save."""
        self._show("timeline")

    @property
    def showing(self) -> str | None:
        """What is on show: one of the tabs, or `message`."""
        return self.query_one("#view-switch", ContentSwitcher).current

    def _show(self, what: str) -> None:
        self.query_one("#view-switch", ContentSwitcher).current = what
        self.on_resize()
        self.post_message(self.Switched())

    @property
    def showing_save(self) -> bool:
        """Is a save on show, not a message?"""
        return bool(self.query_one(TabLine).tabs)

    # ------------------------------------------------------------------ tabs and filter

    def watch_tab(self, tab: str) -> None:
        """Show another tab."""
        if self.is_mounted and self.showing_save:
            self._switch(tab)

    def _switch(self, tab: str) -> None:
        self._show(tab)
        self.query_one(TabLine).active = tab
        self.filter_bar.shown(tab == "tensors" and bool(self.filter_bar.text))

    def on_tensor_table_rows_changed(self) -> None:
        """Say how many match, and in which order they stand."""
        rows = self.table.rows
        if rows is not None and rows.query.text:
            told = f"{human_count(len(rows))} of {human_count(len(rows.source))}"
            self.filter_bar.tell(told, "no such pattern" if rows.problem else "")
        self.on_resize()

    def _order_words(self) -> str:
        rows = self.table.rows
        return SORT_WORDS[rows.query.sort] if rows is not None and rows.query.sort != "worst" else ""


def facts_of(artifact: Artifact) -> str:
    """What stands behind the name: `  step 5000  2.1 MB`."""
    step = f"  step {artifact.step}" if artifact.step is not None else ""
    return f"{step}  {human_bytes(artifact.bytes)}"


def error_words(error: CkptuiError) -> Content:
    """Title, detail and hint of an error."""
    parts: list[Content | str | tuple[str, str]] = [(safe(error.title), "bold $error"), "\n\n", safe(error.detail)]
    if error.hint:
        parts += ["\n\n", ("→ ", "$primary"), safe(error.hint)]
    return Content.assemble(*parts)
