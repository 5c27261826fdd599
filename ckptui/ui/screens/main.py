"""The workbench: saves at the left, one save in the middle, one tensor or prediction at the right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from ckptui.core.text import safe
from ckptui.ui.commands import bindings_for
from ckptui.ui.fitting import shown
from ckptui.ui.screens.actions import Actions
from ckptui.ui.widgets.architecture_panel import ArchitecturePanel
from ckptui.ui.widgets.filter_bar import FilterBar
from ckptui.ui.widgets.findings_panel import FindingsList
from ckptui.ui.widgets.header import HeaderLine
from ckptui.ui.widgets.key_footer import KeyFooter
from ckptui.ui.widgets.row_list import RowList
from ckptui.ui.widgets.save_tree import SaveTree
from ckptui.ui.widgets.save_view import SaveView
from ckptui.ui.widgets.side_pane import SidePane
from ckptui.ui.widgets.tab_line import TabLine
from ckptui.ui.widgets.tensor_table import TensorTable

if TYPE_CHECKING:
    from ckptui.ui.widgets.heat_over_saves import HeatOverSaves

REGIONS = ("saves", "view", "pane")
WIDE = 110
"""From this many columns all three regions are shown, below it one at a time."""


class MainScreen(Actions):
    """Arranges the regions and hands the keys from one to the other."""

    COMMAND_SCOPE = "main"
    BINDINGS = bindings_for("main")
    AUTO_FOCUS = ""

    def compose(self) -> ComposeResult:
        yield HeaderLine(id="header")
        with Horizontal(id="regions"):
            with Vertical(id="saves", classes="region") as saves:
                saves.border_title = Content("Saves")
                yield SaveTree(id="tree")
                yield Static("", id="mark", markup=False)
            yield SaveView(id="view", classes="region")
            yield SidePane(id="pane", classes="region")
        yield KeyFooter(id="footer")

    def on_mount(self) -> None:
        self._region = "view"
        self._arranged: tuple[bool, str] | None = None
        self._arrange()
        self.show_mark()
        self.view.table.focus()
        self.look(self.paths)

    # ------------------------------------------------------------------ regions

    @property
    def wide(self) -> bool:
        """Is there room for all three regions?"""
        return self.size.width >= WIDE or not self.size.width

    @property
    def focus_region(self) -> str:
        """`saves`, `view` or `pane`."""
        return self._region

    @property
    def focus_area(self) -> str:
        """`saves`, `pane`, or the tab on show."""
        if self._region != "view":
            return self._region
        return "timeline" if self.view.showing == "timeline" else self.view.tab

    def _arrange(self) -> None:
        arrangement = (self.wide, self._region)
        if arrangement == self._arranged:
            return
        self._arranged = arrangement
        self.set_class(self.wide, "-wide")
        for name in REGIONS:
            region = self.query_one(f"#{name}")
            region.display = self.wide or name == self._region
            if region.has_class("-current") != (name == self._region):
                region.set_class(name == self._region, "-current", update=False)
                # only its own frame shows the class: what is in it need not look up its styles again
                self.app.stylesheet.update_nodes([region])

    def on_resize(self, event: events.Resize) -> None:
        """Three regions or one."""
        self._arrange()

    def show_region(self, region: str) -> None:
        """Bring a pane to the front and give it the keys."""
        self._region = region
        self._arranged = None
        self.query_one(f"#{region}").display = True
        target = self._targets(region)[0]
        # at once: keys already typed are meant for what is shown now
        self.set_focus(target)
        self._arrange()
        self.refresh_bindings()

    def _targets(self, region: str) -> list[Widget]:
        if region == "saves":
            return [self.save_tree]
        if region == "view":
            return [self.view.focus_target]
        return self.pane.focus_targets or [self.pane]

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """A click may have moved the keys to another region."""
        for node in event.widget.ancestors_with_self:
            if node.id in REGIONS and node.id != self._region:
                self._region = node.id
                self._arrange()
        self.refresh_bindings()

    def action_next_pane(self) -> None:
        self._step(1)

    def action_previous_pane(self) -> None:
        self._step(-1)

    def _step(self, step: int) -> None:
        """Within the pane's own fields first, then to the next region."""
        if self._region == "pane" and self.focused is not None:
            targets = self.pane.focus_targets
            place = targets.index(self.focused) + step if self.focused in targets else -1
            if 0 <= place < len(targets):
                targets[place].focus()
                return
        place = REGIONS.index(self._region) + step
        self.show_region(REGIONS[place % len(REGIONS)])

    def on_row_list_leave(self, message: RowList.Leave) -> None:
        """Left and right go to the neighbour."""
        place = REGIONS.index(self._region) + message.step
        if 0 <= place < len(REGIONS):
            self.show_region(REGIONS[place])

    def action_back(self) -> None:
        """Undo the last step inwards: prediction, pane, filter, table."""
        if self._region == "pane":
            predicted, self.pane.showing = self.pane.showing == "predict", self.pane_here
            self.show_region(self.came_from if predicted else "view")
        elif self.view.filter_bar.text:
            self.on_filter_bar_cleared()
        elif self._region == "view" and self.back_to_why():
            return
        elif self._region == "view" and (self.view.tab != "tensors" or self.timeline_alone):
            self.action_show_tab("tensors")
        else:
            self.show_region("saves")

    # ------------------------------------------------------------------ what the widgets say

    def on_heat_over_saves_walked(self, message: HeatOverSaves.Walked) -> None:
        """Left and right, up and down beside the timeline move its cursors."""
        self.walk_timeline(message.save, message.tensor)

    def on_heat_over_saves_left(self) -> None:
        """Back to the timeline."""
        self.action_back()

    def on_save_tree_entered(self, message: SaveTree.Entered) -> None:
        """Enter on a save: on to its tensors."""
        row = self.save_tree.row
        if row is not None and row.kind == "save":
            self.open_save(row.key)
        self.show_region("view")

    def on_tensor_table_entered(self, message: TensorTable.Entered) -> None:
        """Enter on a tensor: on to its details."""
        self.pane.showing = "inspector"
        self.show_region("pane")

    def on_architecture_panel_entered(self, message: ArchitecturePanel.Entered) -> None:
        """Enter on a layer: on to its first tensor."""
        self._jump(message.tensor)

    def on_row_list_chosen(self, message: RowList.Chosen) -> None:
        """Enter on a finding: on to its tensor."""
        if isinstance(message.rows, FindingsList) and message.rows.finding is not None:
            self._jump(message.rows.finding.tensor)

    def _jump(self, tensor: str | None) -> None:
        if tensor is not None and self.view.showing_save:
            self.view.filter_bar.clear()
            self.view.tab = "tensors"
            self.view.table.jump_to(tensor)
            self.show_region("view")

    def on_filter_bar_changed(self, message: FilterBar.Changed) -> None:
        """Every letter filters."""
        self.view.table.filter(message.text)

    def on_filter_bar_done(self, message: FilterBar.Done) -> None:
        """Back to the rows; an empty filter goes away."""
        if not self.view.filter_bar.text:
            self.view.filter_bar.clear()
        self.show_region("view")

    def on_filter_bar_cleared(self) -> None:
        """All rows again."""
        self.view.filter_bar.clear()
        self.view.table.filter("")
        self.show_region("view")

    def on_tab_line_picked(self, message: TabLine.Picked) -> None:
        """A tab was clicked."""
        self.action_show_tab(message.tab)

    def show_mark(self) -> None:
        """`A = ckpt-2 marked` below the tree."""
        self.sync_mark()
        line = self.query_one("#mark", Static)
        record = self.ledger.saves.get(self.ledger.mark or "")
        line.display = record is not None
        if record is not None:
            label = shown(safe(record.found.label), 14)
            line.update(Content.assemble((f" A = {label} ", "bold $background on $mark"), (" marked", "$dim")))
