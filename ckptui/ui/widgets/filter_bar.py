"""The line in which the tensors' filter is typed; it works while one types."""

from __future__ import annotations

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from ckptui.ui.commands import bindings_for

AROUND = 6
"""Columns for the sign, the typing mark and the gaps."""


class FilterBar(Horizontal):
    """An empty line while there is no filter and nobody types one, so that nothing jumps when there is."""

    COMMAND_SCOPE = "filter"
    BINDINGS = bindings_for("filter")

    class Changed(Message):
        """The text of the filter."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Done(Message):
        """Back to the table, the filter stays."""

    class Cleared(Message):
        """Back to the table, without filter."""

    def compose(self) -> ComposeResult:
        yield Static(Content.styled("/", "bold $primary"), id="filter-sign")
        yield Input(placeholder="part of a name, or a regular expression", compact=True, id="filter-input")
        yield Static("", id="filter-count", markup=False)

    @property
    def input(self) -> Input:
        """Where one types."""
        return self.query_one("#filter-input", Input)

    @property
    def text(self) -> str:
        """The filter as typed."""
        return self.input.value

    def on_mount(self) -> None:
        self._told = ("", "")
        self.shown(False)

    def shown(self, visible: bool) -> None:
        """Show or hide what is in the line."""
        for child in self.children:
            child.display = visible

    def begin(self) -> None:
        """Show the line and take the keys."""
        self.shown(True)
        # at once: letters typed before the next refresh would be commands
        self.screen.set_focus(self.input)

    def clear(self) -> None:
        """No filter, nothing in the line."""
        self.shown(False)
        with self.input.prevent(Input.Changed):
            self.input.value = ""
        self.tell("")

    def tell(self, words: str, problem: str = "") -> None:
        """How many rows match, and that the expression is none, as far as what is typed leaves room."""
        self._told = (words, problem)
        self.on_resize()

    def on_resize(self) -> None:
        """What was typed stays whole: the words at the right make room."""
        words, problem = self._told
        room = (self.size.width or 10_000) - cell_len(self.text) - AROUND
        told = next((t for t in (f"{words}  {problem}", problem or words) if len(t.strip()) <= room), "")
        self.query_one("#filter-count", Static).update(Content.styled(told.strip(), "$dim"))

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(self.Changed(event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_keep()

    def action_keep(self) -> None:
        """Back to the rows that match."""
        self.post_message(self.Done())

    def action_clear(self) -> None:
        """Back to all rows."""
        self.post_message(self.Cleared())
