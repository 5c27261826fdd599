"""Windows that ask for a path: what to open, where to export to. They close only with an answer that will do."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Input, RadioButton, RadioSet, Static

from ckptui.core.text import human_count, safe
from ckptui.errors import CkptuiError
from ckptui.ui.access import session_of
from ckptui.ui.fitting import shown
from ckptui.ui.widgets.path_input import PathInput

FORMATS = (".npz", ".safetensors", ".npy")


class Choice(RadioButton):
    """A radio button whose sign says by its shape which one is chosen."""

    @property
    def _button(self) -> Content:
        return Content.styled("(•)", "$primary bold") if self.value else Content.styled("( )", "$dim")


class OpenScreen(ModalScreen[str | None]):
    """Asks for a file or folder; the answer is its path, which leads to something."""

    class Looked(Message):
        """What is at the path was looked at; `problem` is empty where it can be opened."""

        def __init__(self, path: str, problem: str) -> None:
            super().__init__()
            self.path = path
            self.problem = problem

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss", "close")]

    def __init__(self, start: str) -> None:
        super().__init__()
        self.start = start

    def compose(self) -> ComposeResult:
        with Vertical(classes="window") as window:
            window.border_title = Content("Open")
            window.border_subtitle = Content("Enter open  Tab complete  Esc close")
            yield Static(Content.styled("A folder to look through, or a save", "$dim"), markup=False)
            yield PathInput(id="open-path")
            yield Static("", id="open-problem", markup=False)

    def on_mount(self) -> None:
        line = self.query_one(PathInput)
        line.set_path(self.start)
        line.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self.query_one("#open-problem", Static).update("")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        path = self.query_one(PathInput).path
        if path:
            self._look_at(path)
        else:
            self.dismiss(None)

    @work(thread=True, exclusive=True, exit_on_error=False)
    def _look_at(self, path: str) -> None:
        """Folders are looked through once they are open; anything else must be a save."""
        problem = ""
        if not os.path.isdir(path):
            try:
                session_of(self).resolve(path)
            except CkptuiError as error:
                problem = str(error)
        self.post_message(self.Looked(path, problem))

    def on_open_screen_looked(self, event: Looked) -> None:
        event.stop()
        if event.path != self.query_one(PathInput).path:
            return
        if event.problem:
            self.query_one("#open-problem", Static).update(Content.styled(safe(event.problem), "$error"))
        else:
            self.dismiss(event.path)


class ExportScreen(ModalScreen[tuple[str, list[str] | None] | None]):
    """Asks which tensors, and for the target file; its suffix chooses the format."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss", "close")]

    def __init__(self, label: str, tensor: str | None, filtered: Sequence[str] | None) -> None:
        super().__init__()
        self.label = label
        self.choices: list[tuple[str, list[str] | None]] = [("all tensors that can be read", None)]
        if filtered:
            self.choices.insert(0, (f"the {human_count(len(filtered))} tensors of the filter", list(filtered)))
        if tensor is not None:
            self.choices.append((f"only {shown(tensor, 48)}", [tensor]))

    def compose(self) -> ComposeResult:
        with Vertical(classes="window") as window:
            window.border_title = Content(f"Export {safe(self.label, 60)}")
            window.border_subtitle = Content("Enter write  Tab between fields  Esc close")
            with RadioSet(id="export-what", compact=True):
                for index, (words, _) in enumerate(self.choices):
                    yield Choice(Content(words), value=index == 0)
            yield Static(Content.styled(f"File, ending in {', '.join(FORMATS)}", "$dim"), markup=False)
            yield PathInput(id="export-path")
            yield Static("", id="export-problem", markup=False)

    def _proposal(self) -> str:
        stem = "".join(c if c.isalnum() or c in "-_." else "_" for c in self.label)
        return os.path.join(os.getcwd(), f"{stem}.npz")

    def on_mount(self) -> None:
        line = self.query_one(PathInput)
        line.set_path(self._proposal())
        line.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        target = self.query_one(PathInput).path
        names = self.choices[max(self.query_one(RadioSet).pressed_index, 0)][1]
        problem = ""
        if not target.endswith(FORMATS):
            problem = f"The name ends in none of {', '.join(FORMATS)}"
        elif target.endswith(".npy") and (names is None or len(names) != 1):
            problem = "A .npy file holds one tensor: choose only that one"
        elif os.path.lexists(target):
            problem = f"{safe(target)} exists: choose another name"
        elif not os.path.isdir(os.path.dirname(target) or "."):
            problem = f"There is no folder {safe(os.path.dirname(target))}"
        if problem:
            self.query_one("#export-problem", Static).update(Content.styled(problem, "$error"))
        else:
            self.dismiss((target, names))
