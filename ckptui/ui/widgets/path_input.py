"""A line for a path: Tab completes, arrows bring back recent ones."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual import work
from textual.actions import SkipAction
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widgets import Input

from ckptui.core.text import safe
from ckptui.ui.fitting import fit_middle
from ckptui.ui.paths import candidates, completed, harmless, short_path


class PathInput(Input):
    """Shows a path in its shortest harmless form and gives it back as it is on disk."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "complete", "complete", show=False, tooltip="Complete the path"),
        Binding("up", "recent(1)", "older", show=False, tooltip="Bring back the path used before"),
        Binding("down", "recent(-1)", "newer", show=False, tooltip="Bring back the path used after"),
    ]
    DEFAULT_CSS = """
    PathInput {
        background: transparent;
        &:focus { background: $boost; background-tint: transparent; }
    }
    """

    @dataclass
    class Offered(Message):
        """Tab found several ways to go on."""

        input: PathInput
        found: tuple[str, ...]

        @property
        def control(self) -> PathInput:
            return self.input

    @dataclass
    class _Completed(Message):
        """The folder was looked at."""

        text: str
        found: tuple[str, ...]

    def __init__(self, *, suffixes: Sequence[str] = (), placeholder: str = "", id: str | None = None) -> None:
        super().__init__(placeholder=placeholder, id=id, compact=True, select_on_focus=False)
        self._words = placeholder
        self.suffixes = tuple(suffixes)
        self.recent: tuple[str, ...] = ()
        """Paths used before, the last one first."""
        self._place = -1
        self._meant: dict[str, str] = {}

    @property
    def path(self) -> str:
        """The path on disk; a name that can't be shown as it is is found again by how it is shown."""
        text = self.value.strip()
        return self._meant.get(text) or os.path.expanduser(text)

    def set_path(self, path: str) -> None:
        """Show a path."""
        text = safe(short_path(path))
        self._meant[text] = os.path.abspath(path) if path else ""
        self.value = text
        self.cursor_position = len(text)

    @property
    def words(self) -> str:
        """What stands in it while it is empty, as far as it fits."""
        return self._words

    @words.setter
    def words(self, words: str) -> None:
        self._words = words
        self._fit_words()

    def _fit_words(self) -> None:
        width = self.scrollable_content_region.width
        self.placeholder = fit_middle(self._words, width - 1) if width > 1 else self._words

    def on_resize(self) -> None:
        """Words that do not fit say so."""
        self._fit_words()

    def render_line(self, y: int) -> Strip:
        """Without the keys a path that does not fit loses its middle: its end is the file."""
        width = self.scrollable_content_region.width
        if self.has_focus or y or cell_len(self.value) <= width:
            return super().render_line(y)
        strip = Strip([Segment(fit_middle(self.value, width))])
        return strip.adjust_cell_length(width).apply_style(self.rich_style)

    def on_focus(self) -> None:
        """The end of the path comes into sight."""
        end = Region(cell_len(self.value), 0, 1, 1)
        self.call_after_refresh(self.scroll_to_region, end, animate=False, force=True)

    def action_complete(self) -> None:
        """Complete as far as it is clear; at the end of a complete path the key is the screen's."""
        if not self.value or not self.cursor_at_end or self.value in self._meant:
            raise SkipAction()
        self._complete(self.value)

    @work(thread=True, exclusive=True, exit_on_error=False, group="complete")
    def _complete(self, text: str) -> None:
        self.post_message(self._Completed(text, tuple(harmless(candidates(text, self.suffixes)))))

    def on_path_input__completed(self, event: _Completed) -> None:
        event.stop()
        if event.text != self.value:
            return
        longer = completed(event.text, event.found)
        if longer != event.text:
            self.value = longer
            self.cursor_position = len(longer)
        if len(event.found) == 1 and not longer.endswith("/"):
            self._meant[longer] = os.path.abspath(os.path.expanduser(longer))
        self.post_message(self.Offered(self, event.found if len(event.found) != 1 else ()))

    def action_recent(self, step: int) -> None:
        """Go back or forth among the paths used before."""
        if not self.recent:
            return
        self._place = min(max(self._place + step, 0), len(self.recent) - 1)
        self.set_path(self.recent[self._place])
