"""Windows that say something: an error with what to do about it, a text to select."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from ckptui.core.text import safe
from ckptui.errors import CkptuiError


def as_error(error: BaseException) -> CkptuiError:
    """Any failure as one with title, detail and hint."""
    if isinstance(error, CkptuiError):
        return error
    return CkptuiError(
        f"{type(error).__name__}: {error}",
        "This is a fault of ckptui; what is shown otherwise stays true",
        title="Something went wrong inside ckptui",
    )


class ErrorScreen(ModalScreen[None]):
    """What, where, and what to do next; `y` copies it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,q", "dismiss", "close"),
        Binding("y", "copy", "copy"),
    ]

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = as_error(error)

    def compose(self) -> ComposeResult:
        with Vertical(classes="window -error") as window:
            window.border_title = Content(safe(self.error.title))
            window.border_subtitle = Content("Esc close  y copy")
            with VerticalScroll():
                parts: list[str | tuple[str, str]] = [safe(self.error.detail)]
                if self.error.hint:
                    parts += ["\n\n", ("→ ", "$primary"), safe(self.error.hint)]
                yield Static(Content.assemble(*parts), markup=False)

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(str(self.error))
        self.notify("Sent to the clipboard", timeout=2, markup=False)


class TextScreen(ModalScreen[None]):
    """A text alone on the screen, without borders beside it, for the terminal's own selection."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,enter,q", "dismiss", "close")]

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def compose(self) -> ComposeResult:
        hint = "Select with the mouse (hold Shift in most terminals), copy as your terminal does. Esc closes."
        yield Static(Content.styled(hint, "$dim"), id="select-hint", markup=False)
        with VerticalScroll():
            lines = "\n".join(safe(line) for line in self.text.splitlines())
            yield Static(Content(lines), id="select-text", markup=False)
