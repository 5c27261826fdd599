"""Windows that ask for a path: what to open, where to export to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, RadioButton, RadioSet, Static

from ckptui.core.text import human_count, safe
from ckptui.ui.fitting import shown
from ckptui.ui.widgets.path_input import PathInput

FORMATS = (".npz", ".safetensors", ".npy")


class OpenScreen(ModalScreen[str | None]):
    """Asks for a file or folder; the answer is its path."""

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

    def on_mount(self) -> None:
        line = self.query_one(PathInput)
        line.set_path(self.start)
        line.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(self.query_one(PathInput).path or None)


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
                    yield RadioButton(Content(words), value=index == 0)
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
        if problem:
            self.query_one("#export-problem", Static).update(Content.styled(problem, "$error"))
        else:
            self.dismiss((target, names))
