"""The lines of a prediction: model and image, and folded away what is wanted less often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Input, Static

from ckptui.core.text import safe
from ckptui.ui.commands import bindings_for
from ckptui.ui.fitting import fit_middle
from ckptui.ui.paths import IMAGE_SUFFIXES, harmless, load_recent, remember, short_path
from ckptui.ui.prediction_request import AUTO, MEAN_STD, PREPROCESSINGS, FieldProblem, PredictRequest, numbers_of
from ckptui.ui.widgets.path_input import PathInput

MODEL_SUFFIXES = (".keras", ".h5", ".hdf5")
OPTIONS = ("scaling", "numbers", "against", "labels")
FOLD = "predict-options"
"""Under this name it is remembered whether the options are open."""
MOST_OFFERED = 40
NO_LABELS = "one label a line"
LINE_OF = {"architecture": "layers"}
"""Lines that are called otherwise than what they ask for."""
PATHS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("model", (), "a .keras, .h5 or SavedModel"),
    ("layers", MODEL_SUFFIXES, "a .keras or .h5 with these layers"),
    ("image", IMAGE_SUFFIXES, "an image; Tab completes, ↑ recent ones"),
    ("against", (), "a save or model, answered beside"),
    ("labels", (".txt",), NO_LABELS),
)


class ChoiceLine(Widget, can_focus=True):
    """One of several words, gone through by keys."""

    COMMAND_SCOPE = "predict-choice"
    BINDINGS = bindings_for("predict-choice")
    DEFAULT_CSS = """
    ChoiceLine {
        height: 1;
        width: 1fr;
        &:focus { background: $boost; }
    }
    """
    value: reactive[str] = reactive(AUTO)
    note: reactive[str] = reactive("")
    """What came of the choice."""

    class Changed(Message):
        """Another word was chosen."""

    def __init__(self, choices: Sequence[str], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.choices = tuple(choices)

    def action_turn(self, step: int) -> None:
        """The next or the word before, round and round."""
        self.note = ""
        self.value = self.choices[(self.choices.index(self.value) + step) % len(self.choices)]
        self.post_message(self.Changed())

    @property
    def note_fits(self) -> bool:
        """There is room for the whole note beside the choice."""
        return cell_len(safe(self.note)) <= self.size.width - cell_len(self.value) - 6

    def render(self) -> Content:
        arrow = "$primary bold" if self.has_focus else "$dim"
        note = f"  {safe(self.note)}" if self.note and self.note_fits else ""
        return Content.assemble(("← ", arrow), (self.value, "$foreground"), (" →", arrow), (note, "$dim"))


class PredictLines(Vertical):
    """Holds the lines, and says what they ask for."""

    DEFAULT_CSS = """
    PredictLines {
        height: auto;
        & .predict-line { height: 1; }
        & .predict-label { width: 8; color: $dim; }
        & .predict-line.-wrong > .predict-label { color: $error; text-style: bold; }
        & PathInput, & #predict-numbers { width: 1fr; }
        & #predict-numbers { background: transparent; &:focus { background: $boost; background-tint: transparent; } }
        & #predict-asked { height: auto; padding-left: 8; display: none; }
        & #predict-offered { height: auto; max-height: 3; color: $dim; padding-left: 8; display: none; }
    }
    """
    unfolded: reactive[bool] = reactive(False)
    """The options are on show."""
    needs_layers: reactive[bool] = reactive(False)
    """The line for an architecture is on show."""

    class Edited(Message):
        """One of the lines says something else."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._kept: dict[str, dict[str, str]] = {}
        """What the options said for each model that was here."""
        self._owner = ""
        self._blamed: frozenset[str] = frozenset()
        """Lines that were wrong when last asked."""

    def compose(self) -> ComposeResult:
        for name, suffixes, words in PATHS:
            if name == "against":
                yield from self._choice()
            with self._line(name):
                yield PathInput(suffixes=suffixes, placeholder=words, id=f"predict-{name}")
            if name == "image":
                yield Static(id="predict-offered", markup=False)
        yield Static(id="predict-asked", markup=False)

    def _choice(self) -> ComposeResult:
        with self._line("scaling"):
            yield ChoiceLine(PREPROCESSINGS, id="predict-scaling")
        with self._line("numbers", "numbers"):
            yield Input(
                placeholder="mean / std, for pixels 0 to 255", id="predict-numbers", compact=True,
                select_on_focus=False,
            )  # fmt: skip

    @staticmethod
    def _line(name: str, label: str = "") -> Horizontal:
        words = Static(label or name, classes="predict-label", markup=False)
        return Horizontal(words, classes="predict-line", id=f"predict-line-{name}")

    def on_mount(self) -> None:
        self.unfolded = load_recent(FOLD)[:1] == ["open"]
        self._arrange()

    # ------------------------------------------------------------------ what the pane calls

    def path_line(self, name: str) -> PathInput:
        """The line of a path."""
        return self.query_one(f"#predict-{name}", PathInput)

    @property
    def choice(self) -> ChoiceLine:
        """The preprocessing."""
        return self.query_one(ChoiceLine)

    def options_for(self, model: str) -> None:
        """Bring back what the options said for this model; for a new one they say nothing."""
        if self._owner:
            self._kept[self._owner] = self._said()
        self._owner = model
        said = self._kept.get(model, {})
        for name in ("layers", "against", "labels"):
            self.path_line(name).value = said.get(name, "")
        self.query_one("#predict-numbers", Input).value = said.get("numbers", "")
        self.choice.note, self.choice.value = "", said.get("scaling", AUTO)
        self._arrange()

    def bring_back(self, mark: str | None) -> None:
        """Offer the paths used before; A is the first to answer beside."""
        for name, kind in (("image", "images"), ("model", "models"), ("against", "models"), ("labels", "labels")):
            self.path_line(name).recent = tuple(harmless(load_recent(kind)))
        if mark is not None and harmless([mark]):
            line = self.path_line("against")
            line.recent = (mark, *(path for path in line.recent if path != mark))

    def fold(self) -> None:
        """Show or fold away the options, and remember it."""
        self.unfolded = not self.unfolded
        remember(FOLD, "open" if self.unfolded else "closed")

    def _said(self) -> dict[str, str]:
        paths = {name: self.path_line(name).value for name in ("layers", "against", "labels")}
        return {**paths, "numbers": self.query_one("#predict-numbers", Input).value, "scaling": self.choice.value}

    def request(self) -> PredictRequest:
        """What the lines ask for. Raises FieldProblem with what is wrong in which line, in words."""
        model, image = self.path_line("model").path, self.path_line("image").path
        if not model or not image:
            empty = [(name, "is empty; Tab completes a path") for name, path in (("model", model), ("image", image))
                     if not path]  # fmt: skip
            raise FieldProblem(*empty)
        how = self.choice.value
        asked = PredictRequest(
            model, image, how, against=self.path_line("against").path, labels=self.path_line("labels").path,
            architecture=self.path_line("layers").path if self.needs_layers else "",
        )  # fmt: skip
        if how == MEAN_STD:
            try:
                asked = replace(asked, numbers=numbers_of(self.query_one("#predict-numbers", Input).value))
            except ValueError as error:
                raise FieldProblem(("numbers", str(error))) from error
        return asked

    def blame(self, names: Sequence[str]) -> None:
        """Show which lines are wrong; one of them has the keys, that in which one types before any other."""
        lines = [LINE_OF.get(name, name) for name in names]
        self._blamed = frozenset(lines)
        if not self.unfolded and any(name in OPTIONS for name in lines):
            # only as long as it is wrong: what was chosen by key is remembered, this is not
            self.unfolded = True
        self.needs_layers = self.needs_layers or "layers" in lines
        self._draw_blame()
        fields = [self.query_one(f"#predict-{name}") for name in lines]
        if fields and self.screen.focused not in fields:
            fields[0].focus()

    def _draw_blame(self) -> None:
        for line in self.query(".predict-line"):
            line.set_class((line.id or "").removeprefix("predict-line-") in self._blamed, "-wrong")

    def offer_labels(self, path: str) -> None:
        """Say where the names come from that nobody named; empty: from nowhere."""
        self.path_line("labels").words = f"found near: {safe(short_path(path))}" if path else NO_LABELS

    # ------------------------------------------------------------------ drawing

    def watch_unfolded(self) -> None:
        self._arrange()

    def watch_needs_layers(self) -> None:
        self._arrange()

    def _arrange(self) -> None:
        if not self.is_mounted:
            return
        for name in OPTIONS:
            self.query_one(f"#predict-line-{name}").display = self.unfolded
        self.query_one("#predict-line-numbers").display = self.unfolded and self.choice.value == MEAN_STD
        self.query_one("#predict-line-layers").display = self.needs_layers
        self._sum_up()
        focused = self.screen.focused
        if (
            focused is not None
            and self in focused.ancestors
            and not all(n.display for n in focused.ancestors_with_self)
        ):
            self.path_line("image").focus()

    def _sum_up(self) -> None:
        """Folded away, options still count: what they say goes into one line."""
        said = self._said()
        parts = [f"scaling {said['scaling']} {said['numbers'] * (said['scaling'] == MEAN_STD)}".rstrip()]
        parts = [] if said["scaling"] == AUTO else parts
        parts += [f"{name} {said[name].rstrip('/').rpartition('/')[2]}" for name in ("against", "labels") if said[name]]
        line = self.query_one("#predict-asked", Static)
        line.display = bool(parts) and not self.unfolded
        line.update(Content.styled(safe(" · ".join(parts)), "$mark"))

    def on_choice_line_changed(self, event: ChoiceLine.Changed) -> None:
        """Numbers are asked for only where they count."""
        event.stop()
        self._arrange()
        self.post_message(self.Edited())

    def on_input_changed(self, event: Input.Changed) -> None:
        """Another path, and what was offered for the one before goes away."""
        event.stop()
        self.query_one("#predict-offered").display = False
        self._blamed -= {(event.input.id or "").removeprefix("predict-")}
        self._draw_blame()
        self._sum_up()
        self.post_message(self.Edited())

    def on_path_input_offered(self, event: PathInput.Offered) -> None:
        """Show how the path could go on."""
        event.stop()
        names = [path.rstrip("/").rpartition("/")[2] + "/" * path.endswith("/") for path in event.found[:MOST_OFFERED]]
        line = self.query_one("#predict-offered", Static)
        line.display = bool(names)
        width = max(self.content_size.width - 9, 8)
        line.update(Content(offered_words([safe(name) for name in names], len(event.found), width)))


def offered_words(names: Sequence[str], total: int, width: int, rows: int = 3) -> str:
    """Names on at most `rows` lines of `width` cells, none broken, and how many more there are."""
    lines: list[str] = [""]
    shown = 0
    for name in names:
        name = fit_middle(name, width)
        longer = f"{lines[-1]}  {name}" if lines[-1] else name
        more = f"  +{total - shown - 1}" if total > shown + 1 else ""
        last = len(lines) == rows
        if cell_len(longer) + (len(more) if last else 0) <= width:
            lines[-1] = longer
        elif not last:
            lines.append(name)
        else:
            break
        shown += 1
    if total > shown:
        lines[-1] = f"{lines[-1]}  +{total - shown}".lstrip()
    return "\n".join(lines)
