"""The findings of a save, gravest first, and all about the one under the cursor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from ckptui.core.model import SEVERITY_RANK, Finding, jsonable
from ckptui.core.report import CERTAINTIES, SIGNS, worst_first
from ckptui.core.text import number_text, safe
from ckptui.ui.fitting import left, shown
from ckptui.ui.naming import without_tail
from ckptui.ui.widgets.reflow import Reflow, two_columns
from ckptui.ui.widgets.row_list import Piece, RowList

EVIDENCE_LIMIT = 400


class FindingsList(RowList):
    """One row per finding: sign, code, tensor."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.findings: list[Finding] = []

    def show(self, findings: Sequence[Finding]) -> None:
        """Show these; the cursor stays with its finding where it is still there."""
        before = self.finding
        self.findings = causes_first(findings)
        self.rows_changed(self.findings.index(before) if before in self.findings else 0)

    @property
    def finding(self) -> Finding | None:
        """The finding under the cursor."""
        return self.findings[self.cursor] if self.cursor < len(self.findings) else None

    def row_count(self) -> int:
        return len(self.findings)

    def row_pieces(self, index: int, width: int) -> Sequence[Piece]:
        finding = self.findings[index]
        style = finding.severity if finding.severity != "info" else "dim"
        code_width = min(max(len(f.code) for f in self.findings), 24, max(8, width - 20))
        name_room = max(0, width - code_width - 6)
        return [
            self.cursor_cell(index),
            (f"{SIGNS[finding.severity]} ", style),
            (left(finding.code, code_width) + "  ", style),
            (shown(without_tail(finding.tensor or finding.title), name_room), "strong" if index == self.cursor else ""),
        ]


def causes_first(findings: Iterable[Finding]) -> list[Finding]:
    """Worst first; among equals what is said of the whole save, which explains what is said of its tensors."""
    return sorted(
        worst_first(findings),
        key=lambda f: (-SEVERITY_RANK[f.severity], CERTAINTIES.index(f.certainty), f.tensor is not None),
    )


class FindingsPanel(Vertical):
    """The list above, the evidence below."""

    class Highlighted(Message):
        """The cursor is on another finding."""

    def compose(self) -> ComposeResult:
        yield Static("", id="findings-head", markup=False)
        yield Static("", id="findings-none", markup=False)
        yield FindingsList(id="findings-list")
        with VerticalScroll(id="finding-detail", can_focus=False):
            yield Reflow(lambda width: Content(), id="finding-text")

    @property
    def rows(self) -> FindingsList:
        """The list of findings."""
        return self.query_one("#findings-list", FindingsList)

    def show(self, findings: Sequence[Finding], nothing: str, head: Content | None = None) -> None:
        """Show findings, or the words `nothing`, which say what was looked at; `head` stands above either."""
        above = self.query_one("#findings-head", Static)
        above.display = head is not None
        above.update(head or "")
        self.rows.show(findings)
        self.rows.display = bool(findings)
        self.query_one("#finding-detail").display = bool(findings)
        none = self.query_one("#findings-none", Static)
        none.display = not findings
        none.update(Content.styled(nothing, "$dim"))
        self._detail()

    def on_row_list_moved(self, event: RowList.Moved) -> None:
        event.stop()
        self._detail()
        self.post_message(self.Highlighted())

    def _detail(self) -> None:
        finding = self.rows.finding
        text = self.query_one("#finding-text", Reflow)
        text.show(lambda width: detail(finding, width) if finding else Content())
        self.query_one("#finding-detail", VerticalScroll).scroll_home(animate=False)


def detail(finding: Finding, width: int) -> Content:
    """Everything a finding says, laid out for `width`: title, detail, evidence, advice."""
    style = f"bold ${finding.severity}" if finding.severity != "info" else "bold"
    sure = "" if finding.certainty == "confirmed" else f"  {finding.certainty}"
    parts: list[Content | str | tuple[str, str]] = [(safe(finding.title), style), (sure, "$dim"), "\n"]
    for line in (finding.tensor, finding.artifact):
        if line:
            parts += [(safe(line), "$dim"), "\n"]
    if finding.detail and finding.detail != finding.title:
        parts += ["\n", safe(finding.detail), "\n"]
    rows = evidence_rows(finding.evidence)
    if rows:
        parts.append("\n")
        parts += two_columns(rows, min(max(len(name) for name, _ in rows), 24) + 2, width, "$dim")
    if finding.advice:
        parts += ["\n", ("→ ", "$primary"), safe(finding.advice)]
    return Content.assemble(*parts)


def evidence_rows(evidence: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values of the evidence as text; long values end in an ellipsis."""
    rows = []
    for name, value in evidence.items():
        if value is None or value == "" or value == []:
            continue
        rows.append((safe(str(name).replace("_", " ")), safe(_value_text(value), EVIDENCE_LIMIT)))
    return rows


def _value_text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number_text(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(_value_text(v) for v in value[:60]) + (" …" if len(value) > 60 else "")
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_value_text(v)}" for k, v in value.items())
    return str(jsonable(value))


def as_text(finding: Finding) -> str:
    """The finding as plain lines, to copy."""
    lines = [f"{finding.code} ({finding.severity}, {finding.certainty})", finding.title, finding.detail]
    lines += [finding.artifact, finding.tensor or ""]
    lines += [f"{name}: {value}" for name, value in evidence_rows(finding.evidence)]
    lines.append(finding.advice)
    return "\n".join(dict.fromkeys(line for line in lines if line))
