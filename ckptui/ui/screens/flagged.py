"""The question before a model runs that holds ops or layers which reach outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from ckptui.core.model import Finding
from ckptui.core.report import SIGNS, worst_first
from ckptui.core.text import safe
from ckptui.ui.prediction_words import STYLES

QUESTION = "Run it all the same?"


class FlaggedScreen(ModalScreen[bool]):
    """What was found, and whether to run it all the same; every key but `y` means no."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y,Y", "answer(True)", "yes"),
        Binding("n,N,escape,enter,q", "answer(False)", "no"),
    ]

    DEFAULT_CSS = """
    FlaggedScreen .-inset { padding-left: 2; }
    """

    def __init__(self, name: str, detail: str, findings: Sequence[Finding]) -> None:
        super().__init__()
        self.model_name = name
        self.detail = detail
        self.findings = findings

    def compose(self) -> ComposeResult:
        with Vertical(classes="window -error") as window:
            window.border_title = Content(f"{safe(self.model_name, 60)} is flagged")
            window.border_subtitle = Content("y yes  n no  Enter no  Esc no")
            with VerticalScroll():
                for line, inset in self._lines():
                    yield Static(line, classes="-inset" if inset else "", markup=False)
            yield Static(
                Content.assemble(
                    "\n", (QUESTION, "bold"), ("  y", "$primary bold"), " yes  ", ("n", "$primary bold"), " no"
                ),
                id="flagged-question",
                markup=False,
            )

    def _lines(self) -> list[tuple[Content, bool]]:
        """What was found, and whether it stands under what is before it."""
        lines: list[tuple[Content, bool]] = []
        for finding in worst_first(self.findings):
            style = STYLES[finding.severity]
            sign, where = SIGNS[finding.severity], f"  {safe(finding.tensor)}" if finding.tensor else ""
            head = Content.assemble((f"{sign} {safe(finding.title)}", f"bold {style}"), (where, "$foreground"),
                                    (f"  {finding.severity}", style))  # fmt: skip
            lines.append((head, False))
            if finding.detail:
                lines.append((Content(safe(finding.detail)), True))
        if not lines:
            lines.append((Content(safe(self.detail)), False))
        words = (
            "Nothing of it has run so far. The worker has no network and writes only to its own folder, "
            "as far as this machine can hold it to that."
        )
        return [*lines, (Content.assemble("\n", (words, "$dim")), False)]

    def action_answer(self, yes: bool) -> None:
        """Close with the answer."""
        self.dismiss(yes)
