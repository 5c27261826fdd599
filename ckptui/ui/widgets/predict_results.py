"""What a prediction said: the verdict, the picture, a row a run, and everything that bears on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from textual import events
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from ckptui.core.model import Finding, Predicted, PredictReport, Run
from ckptui.core.report import SIGNS
from ckptui.core.text import safe
from ckptui.ui.fitting import wrap
from ckptui.ui.prediction_details import (
    expected_lines,
    heading,
    layer_lines,
    loader_lines,
    loaders_said,
    many_lines,
    model_lines,
    probe_lines,
    variant_lines,
)
from ckptui.ui.prediction_words import (
    ORIGINAL,
    damage_lines,
    finding_lines,
    kept,
    keys_for,
    run_lines,
    run_name,
    top_lines,
    verdict_lines,
)
from ckptui.ui.widgets.cells import Drawing, drawing_of, spinner
from ckptui.ui.widgets.image_view import ImageStrip, image_of

LOW = 24
"""In fewer rows the picture comes after the rows: what they say is what one came for."""
PARTS = (
    "many",
    "verdict",
    "pictures",
    "runs",
    "findings",
    "dying",
    "variants",
    "expected",
    "probes",
    "top",
    "details",
)
"""In the order in which they are shown."""


@dataclass(slots=True)
class Told:
    """All that is known of one prediction."""

    runs: list[Run] = field(default_factory=list)
    predicted: Predicted | None = None
    report: PredictReport | None = None
    findings: Sequence[Finding] = ()
    """Of the save itself: a layer's own go beside it."""
    command: str = ""
    adding: bool = False
    """What comes now is added to what is known."""
    limits: Sequence[str] = ()
    """What could not be enforced on the worker."""

    @property
    def original(self) -> Run | None:
        """The run the others are held against."""
        return next((run for run in self.runs if run.name == ORIGINAL and run.top), None)


class PredictResults(VerticalScroll):
    """Draws what was told, for the width there is."""

    DEFAULT_CSS = """
    PredictResults {
        height: 1fr;
        margin-top: 1;
        scrollbar-size-vertical: 1;
        & > Static { height: auto; margin-bottom: 1; display: none; }
        & > ImageStrip { margin-bottom: 1; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.told = Told()

    def compose(self) -> ComposeResult:
        yield Static(id="predict-state", markup=False)
        for name in PARTS:
            yield ImageStrip(id="predict-images") if name == "pictures" else Static(id=f"predict-{name}", markup=False)

    def forget(self, findings: Sequence[Finding], command: str) -> None:
        """Begin anew."""
        self.told = Told(findings=findings, command=command)
        self.query_one(ImageStrip).show(())
        self.scroll_home(animate=False)
        self.draw()

    def take(self, told: Run | Predicted | PredictReport) -> None:
        """One more thing that is known; of what is only added to it what is new."""
        known = self.told
        told = self._added(told) if known.adding else told
        if isinstance(told, Run):
            known.runs = kept(known.runs, told)
        elif isinstance(told, Predicted):
            known.predicted = told
            known.runs = list(told.runs) or known.runs
            self._show_pictures(told)
        else:
            known.report = told
        self.draw()

    def _added(self, told: Run | Predicted | PredictReport) -> Run | Predicted | PredictReport:
        """The runs, verdict and probes on show stay: what adds to them was asked without."""
        known = self.told
        if isinstance(told, Run):
            return next((run for run in known.runs if (run.name, run.detail) == (told.name, told.detail)), told)
        if isinstance(told, Predicted) and known.predicted is not None:
            return replace(known.predicted, variants=told.variants or known.predicted.variants)
        if isinstance(told, PredictReport) and known.report is not None:
            before = known.report
            codes = {finding.code for finding in before.findings}
            more = tuple(finding for finding in told.findings if finding.code not in codes)
            notes = tuple(dict.fromkeys([*before.notes, *told.notes]))
            return replace(before, many=told.many or before.many, findings=before.findings + more, notes=notes)
        return told

    def reveal(self, name: str) -> None:
        """Bring a part to the top of what is seen."""
        part = self.query_one(f"#predict-{name}", Static)
        if part.display:
            self.call_after_refresh(self.scroll_to_widget, part, animate=False, top=True)

    def _show_pictures(self, predicted: Predicted) -> None:
        image = image_of(predicted.preview, predicted.preview_size)
        if image is not None:
            drawing = drawing_of(self.app)
            names = [run_name(name, drawing) for name in (ORIGINAL, "flip-left-right", "flip-up-down")]
            self.query_one(ImageStrip).show(list(zip(names, (image, image[:, ::-1], image[::-1]), strict=True)))

    def say(self, lines: Sequence[Content]) -> None:
        """What goes on, or went wrong, above everything else."""
        self._lines("state", lines)

    def say_busy(self, doing: str, seconds: int) -> None:
        """What goes on, and for how long."""
        turn = spinner(drawing_of(self.app))
        words = f" {safe(doing)}" + (f"  {seconds} s" if seconds else "")
        stops = (("  Esc", "$primary bold"), (" stops", "$dim"))
        self.say([Content.assemble((turn, "$primary bold"), (words, "$dim"), *stops)])

    def say_error(self, words: str, hint: str = "") -> None:
        """What went wrong, a thing a line, and what to do about it."""
        lines = [part for line in words.split("\n") for part in wrap(safe(line), self.width)]
        self.say([*(Content.styled(part, "$error") for part in lines), *self._hint(hint)])

    def say_loaders(self, title: str, said: str, hint: str) -> None:
        """What each loader said of a model that none of them takes."""
        head = Content.styled(f"{safe(title)}:", "bold $error")
        self.say([head, *loader_lines(loaders_said(said), self.width), *self._hint(hint)])

    def _hint(self, hint: str) -> list[Content]:
        return [Content(part) for line in hint.split("\n") for part in wrap(safe(line), self.width)] if hint else []

    # ------------------------------------------------------------------ drawing

    def on_resize(self, event: events.Resize) -> None:
        self.draw()

    @property
    def width(self) -> int:
        """Columns for words."""
        return max(self.content_size.width - 1, 16)

    def draw(self) -> None:
        """Everything that is known."""
        self._place_pictures()
        told, width, drawing = self.told, self.width, drawing_of(self.app)
        predicted, report = told.predicted, told.report
        verdict = verdict_lines(keys_for(predicted.verdict) if predicted else "")
        if report is not None and verdict:
            # what it was asked about before it ran is no news, and no damage
            asked = {entry.get("code") for entry in report.model.get("flagged") or ()}
            known = [finding for finding in told.findings if finding.code not in asked]
            verdict += damage_lines(str(report.model.get("path", "")), known, report.findings, width)
        self._lines("verdict", verdict)
        self._lines("runs", run_lines(told.runs, width, drawing))
        self._lines("findings", self._finding_lines(width))
        self._lines("probes", probe_lines(predicted.probes if predicted else (), width, drawing))
        self._lines("variants", variant_lines(predicted.variants if predicted else (), width, drawing))
        self._lines("expected", expected_lines(predicted.expected if predicted else None))
        self._lines("many", many_lines(report.many if report else None, width, drawing))
        layers = layer_lines(report.layers, report.dies_at, told.findings, width, drawing) if report else []
        self._lines("dying", layers)
        self._lines("top", self._top_lines(width, drawing))
        notes = dict.fromkeys([*(report.notes if report is not None else ()), *told.limits])
        model = report.model if report is not None else {}
        self._lines("details", model_lines(model, list(notes), told.command if report is not None else "", width))

    def _top_lines(self, width: int, drawing: Drawing) -> list[Content]:
        original = self.told.original
        if original is None or len(original.top) < 2:
            return []
        return [heading("best answers to the original"), *top_lines(original, width, drawing)]

    def _finding_lines(self, width: int) -> list[Content]:
        """What was found; where no loader took the model, what each said is on lines of its own."""
        findings = self.told.report.findings if self.told.report else ()
        lines: list[Content] = []
        for finding in findings:
            said = loaders_said(finding.detail) if finding.code == "model-does-not-load" else []
            if said:
                lines.append(Content.styled(f"{SIGNS['error']} {safe(finding.title)}", "bold $error"))
                lines += loader_lines(said, width)
                lines += [Content.styled(part, "$dim") for part in wrap(safe(finding.advice), width) if part]
        return [*lines, *finding_lines([f for f in findings if f.code != "model-does-not-load"], width)]

    def _place_pictures(self) -> None:
        low = self.size.height < LOW
        if low != self.has_class("-low"):
            self.set_class(low, "-low")
            self.move_child(
                self.query_one(ImageStrip), before=self.query_one("#predict-details" if low else "#predict-runs")
            )

    def _lines(self, name: str, lines: Sequence[Content]) -> None:
        static = self.query_one(f"#predict-{name}", Static)
        static.display = bool(lines)
        static.update(Content("\n").join(lines))

    def as_text(self) -> str:
        """All of it as plain lines, for the clipboard."""
        told = self.told
        head = [f"image  {told.predicted.path}"] if told.predicted else []
        if told.report is not None:
            head.insert(0, f"model  {told.report.model.get('path', '')}")
        if told.predicted is not None and told.predicted.shape:
            shape = "x".join(map(str, told.predicted.shape))
            head.append(
                f"given  {shape}, {told.predicted.low:g} to {told.predicted.high:g}, {told.predicted.preprocess}"
            )
        parts = ["\n".join(map(safe, head))]
        for name in ("state", *PARTS):
            static = self.query_one(f"#predict-{'images' if name == 'pictures' else name}")
            if static.display and isinstance(static, Static):
                parts.append(str(static.render()))
        return "\n\n".join(part for part in parts if part.strip())
