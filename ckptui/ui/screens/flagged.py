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
                yield Static(Content("\n").join(self._lines()), id="flagged-words", markup=False)
            yield Static(
                Content.assemble(
                    "\n", (QUESTION, "bold"), ("  y", "$primary bold"), " yes  ", ("n", "$primary bold"), " no"
                ),
                id="flagged-question",
                markup=False,
            )

    def _lines(self) -> list[Content]:
        lines: list[Content] = []
        for finding in worst_first(self.findings):
            style = STYLES[finding.severity]
            sign, where = SIGNS[finding.severity], f"  {safe(finding.tensor)}" if finding.tensor else ""
            lines.append(
                Content.assemble((f"{sign} {safe(finding.title)}", f"bold {style}"), (where, "$foreground"),
                                 (f"  {finding.severity}", style))
            )  # fmt: skip
            if finding.detail:
                lines.append(Content(f"  {safe(finding.detail)}"))
        if not lines:
            lines.append(Content(safe(self.detail)))
        words = (
            "Nothing of it has run so far. The worker has no network and writes only to its own folder, "
            "as far as this machine can hold it to that."
        )
        return [*lines, Content(""), Content.styled(words, "$dim")]

    def action_answer(self, yes: bool) -> None:
        """Close with the answer."""
        self.dismiss(yes)
