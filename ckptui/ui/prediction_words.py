"""The rows of a prediction in words: names of runs, what a difference means, and in which colour. Pure."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from textual.content import Content

from ckptui.core.model import Finding, Run, Variant
from ckptui.core.report import SIGNS, worst_first
from ckptui.core.text import number_text, safe, telling
from ckptui.errors import CkptuiError
from ckptui.ui.fitting import fit_end, fit_middle, left, right, shown, wrap
from ckptui.ui.paths import short_path
from ckptui.ui.widgets.cells import Drawing, bar

STYLES = {"error": "$error", "warning": "$warning", "info": "$dim"}
ORIGINAL = "original"
RUN_NAMES: dict[str, str] = {
    ORIGINAL: "original",
    "flip-left-right": "flip ↔",
    "flip-up-down": "flip ↕",
    "rotate-180": "turned 180°",
    "repeat": "repeat",
    "in-batch": "in a batch",
    "reload": "reload",
    "fresh-process": "fresh process",
    "training-mode": "training mode",
    "against": "against",
    "other-tensorflow": "other TensorFlow",
}
ASCII_NAMES: dict[str, str] = {
    "flip-left-right": "flip l-r",
    "flip-up-down": "flip u-d",
    "rotate-180": "turned 180",
}
ORDER = tuple(RUN_NAMES)
WITH_DETAIL = frozenset({"against", "other-tensorflow"})
"""Runs of one name that only their detail tells apart."""
STEADY = frozenset({"repeat", "in-batch", "reload", "fresh-process"})
"""Runs in which the same image goes through the same weights: another answer is a fault."""
SAME_ANSWER = 1e-6
"""Of the output's scale: less is the same answer computed in another order."""
LEAST_BAR, MOST_BAR = 3, 14
DETAIL = 22
"""Columns of a name that says which save or which TensorFlow."""
LEAST_NAME = 9
MOST_REASON = 4
"""Lines of the reason why a run failed."""
SCORE_WIDTH = 6
SMALL = 0.005
"""A probability below it would be 0.00, and the best of a thousand classes may be: it has a third decimal."""
SHORT_WORDS = (("another answer", "changed"), ("bit-identical", "identical"), ("same to ", "to "))
SHORT_NAMES: dict[str, str] = {
    "fresh-process": "fresh",
    "training-mode": "training",
    "other-tensorflow": "other TF",
}
"""Where the column has to be narrow."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What a run's difference to the original means."""

    words: str
    style: str
    """Theme variable. An alarm only where the answer must not change; under a flip a change is a fact."""


def judged(run: Run, scale: float) -> Judged:
    """A run in words; `scale` is the largest magnitude of the original output."""
    if run.error:
        return Judged(safe(run.error), "$dim" if run.unasked else "$error")
    if run.max_abs_diff is None:
        return Judged("", "$dim")
    if run.identical:
        return Judged("bit-identical", "$success" if run.name in STEADY else "$foreground")
    apart = apart_text(run.max_abs_diff)
    within = run.max_abs_diff <= SAME_ANSWER * scale
    if run.top1_changed:
        return Judged(f"Δ {apart} another answer", "$error" if run.name in STEADY else "$accent")
    if within and run.name != "repeat":
        return Judged(f"same to {apart_text(float(f'{run.max_abs_diff:.0e}'))}", "$success")
    if run.name in STEADY:
        return Judged(f"Δ {apart} differs", "$error")
    return Judged(f"Δ {apart}", "$dim")


def apart_text(apart: float | None) -> str:
    """A difference in few columns."""
    return number_text(apart, 2).replace(".0e", "e")


def kept(runs: Sequence[Run], run: Run) -> list[Run]:
    """The runs with this one among them, in their order; it takes the place of an earlier one of its kind."""
    others = [each for each in runs if (each.name, each.detail) != (run.name, run.detail)]
    return sorted([*others, run], key=lambda each: ORDER.index(each.name) if each.name in ORDER else len(ORDER))


def scale_of(runs: Sequence[Run]) -> float:
    """The largest finite magnitude of the original output; 1 before there is one."""
    for run in runs:
        if run.name == ORIGINAL:
            finite = [abs(v) for v in run.output if v == v and abs(v) != float("inf")]
            return max(finite, default=0.0) or 1.0
    return 1.0


def run_name(name: str, drawing: Drawing, *, short: bool = False) -> str:
    """A run's name in the first column."""
    if drawing is Drawing.ASCII and name in ASCII_NAMES:
        return ASCII_NAMES[name]
    if short and name in SHORT_NAMES:
        return SHORT_NAMES[name]
    return RUN_NAMES.get(name) or safe(name)


def _name_of(run: Run, drawing: Drawing, *, short: bool = False) -> str:
    """The name in the first column, with which save or TensorFlow it was."""
    name = run_name(run.name, drawing, short=short)
    if run.name not in WITH_DETAIL or not run.detail:
        return name
    if run.name == "other-tensorflow":
        return shown(run.detail.replace("TensorFlow", "TF"), DETAIL)
    return f"{name} {shown(run.detail.rstrip('/').rpartition('/')[2], DETAIL - 8)}"


def score_text(score: float) -> str:
    """Two decimals for probabilities that show in them, few digits for anything else."""
    if SMALL / 10 <= score < SMALL:
        return f"{score:.3f}"
    return f"{score:.2f}" if 0 <= score <= 1 else number_text(score, 3)


def share_of(score: float, runs: Sequence[Run]) -> float:
    """How long a score's bar is: probabilities as they are, other scores against the largest of all rows."""
    scores = [entry[2] for run in runs for entry in run.top[:1]]
    if all(0 <= s <= 1 for s in scores):
        return score
    most = max((abs(s) for s in scores if s == s), default=0.0)
    return abs(score) / most if most > 0 else 0.0


@dataclass(frozen=True, slots=True)
class _Columns:
    """Widths of the columns of the runs."""

    short_names: bool
    short_words: bool
    name: int
    label: int
    bar: int


def _columns(runs: Sequence[Run], scale: float, width: int, drawing: Drawing) -> _Columns:
    """Whole words with a bar, then without one, then shorter words: the first that fits."""
    label = min(max((cell_len(safe(r.top[0][1])) for r in runs if r.top), default=1), 14)
    for short_names, short_words, least in (
        (False, False, LEAST_BAR + 1),
        (True, False, LEAST_BAR + 1),
        (True, False, 0),
        (True, True, 0),
    ):
        name = max((cell_len(_name_of(r, drawing, short=short_names)) for r in runs), default=8) + 1
        words = max((len(_words(judged(run, scale), short_words)) for run in runs if not run.error), default=0)
        room = width - name - label - SCORE_WIDTH - words - 2
        if room >= least:
            bar_width = min(room - 1, MOST_BAR) if room > LEAST_BAR else 0
            return _Columns(short_names, short_words, name, label, bar_width)
    least = max(label + room, min(label, 3))
    return _Columns(True, True, max(name + room + label - least, min(name, LEAST_NAME)), least, 0)


def _words(verdict: Judged, short: bool) -> str:
    if not short:
        return verdict.words
    for whole, part in SHORT_WORDS:
        if whole in verdict.words:
            return verdict.words.replace(whole, part)
    return verdict.words


def run_lines(runs: Sequence[Run], width: int, drawing: Drawing) -> list[Content]:
    """One line a run: name, best label, bar, score, and what the difference means."""
    scale = scale_of(runs)
    columns = _columns(runs, scale, width, drawing)
    lines: list[Content] = []
    for run in runs:
        failed = bool(run.error) or not run.top
        lines += _failed(run, columns, width, drawing) if failed else [_run_line(run, runs, scale, columns, drawing)]
    return lines


def _failed(run: Run, columns: _Columns, width: int, drawing: Drawing) -> list[Content]:
    """The reason beside the name, and on under itself."""
    said = wrap(safe(run.error) or "no answer", max(width - columns.name, 8))
    if len(said) > MOST_REASON:
        said = [*said[: MOST_REASON - 1], said[MOST_REASON - 1][: max(width - columns.name - 2, 6)] + " …"]
    style = "$error" if run.error and not run.unasked else "$dim"
    name = left(fit_middle(_name_of(run, drawing, short=columns.short_names), columns.name - 1), columns.name)
    return [
        Content.assemble((name if not place else " " * columns.name, "$foreground"), (part, style))
        for place, part in enumerate(said)
    ]


def _run_line(run: Run, runs: Sequence[Run], scale: float, columns: _Columns, drawing: Drawing) -> Content:
    verdict = judged(run, scale)
    style = "$mark" if run.name == ORIGINAL else verdict.style
    name = (
        left(fit_middle(_name_of(run, drawing, short=columns.short_names), columns.name - 1), columns.name),
        "$foreground",
    )
    _, label, score = run.top[0]
    label = label_text(label, runs, columns.label)
    drawn = f" {bar(share_of(score, runs), columns.bar, drawing)}" if columns.bar else ""
    return Content.assemble(
        name,
        (right(label, columns.label), f"{style} bold"),
        (drawn, style),
        (right(score_text(score), SCORE_WIDTH), "$foreground"),
        "  ",
        (_words(verdict, columns.short_words), verdict.style),
    )


def label_text(label: str, rows: Sequence[Run | Variant], width: int) -> str:
    """A label in `width` cells, told apart from the others among the best of `rows`."""
    others = {safe(each) for row in rows for _, each, _ in row.top}
    return telling(safe(label), others, width, fit_middle, cell_len)


def top_lines(original: Run, width: int, drawing: Drawing) -> list[Content]:
    """The best answers to the original image with their bars."""
    label_width = min(max((cell_len(safe(label)) for _, label, _ in original.top), default=1), 24)
    bar_width = min(max(width - label_width - 8, LEAST_BAR), 30)
    lines = []
    for place, (_, label, score) in enumerate(original.top):
        style = "$mark" if place == 0 else "$dim"
        words = right(label_text(label, [original], label_width), label_width)
        lines.append(
            Content.assemble(
                (words, f"{style} bold" if place == 0 else style),
                " ",
                (bar(share_of(score, [original]), bar_width, drawing), style),
                " ",
                (right(score_text(score), 5), "$foreground" if place == 0 else "$dim"),
            )
        )
    return lines


# ------------------------------------------------------------------ the lines around the runs


def last_used(recent: Sequence[str], image: str | None) -> str | None:
    """The last image used of the folder `image` is in, else `image`; where there is none, the last used of all."""
    if image is None:
        return recent[0] if recent else None
    folder = os.path.dirname(os.path.abspath(image))
    return next((path for path in recent if os.path.dirname(os.path.abspath(path)) == folder), image)


def stepped(found: Sequence[str], image: str, step: int) -> int | None:
    """The place of the image `step` further among those of its folder; beyond either end it goes round.

    `found` is sorted; None where there is no other image.
    """
    here = os.path.abspath(image)
    if all(path == here for path in found):
        return None
    if here in found:
        return list(found).index(here) + step
    return sum(path < here for path in found) - (step < 0)


def borrowed_words(model: str) -> Content:
    """Whose layers hold the weights of a save without a model; empty where nothing beside it fits."""
    if not model:
        return Content.styled("weights only: name a .keras or .h5 with their layers", "$warning")
    return Content.styled(f"architecture of {safe(model.rpartition('/')[2])}", "$dim")


def packed(parts: Sequence[Content], width: int) -> list[Content]:
    """Parts on as few lines as they fit, none of them broken."""
    lines: list[Content] = []
    for part in parts:
        longer = Content(" · ").join([lines[-1], part]) if lines else part
        if lines and longer.cell_length <= width:
            lines[-1] = longer
        else:
            lines.append(part)
    return lines


def keys_for(words: str) -> str:
    """Words of the engine for someone in front of a pane: an option of the command line is a key here."""
    return words.replace("--all-preprocessing", "v").replace("run it again", "Enter runs it again")


def error_hint(error: CkptuiError) -> str:
    """What to do, for someone in front of a pane: options of the command line are lines here, or name the command."""
    hint = error.hint
    if "--architecture" in hint:
        return "Name a .keras or .h5 with its layers in the line `layers`, then press Enter"
    begin, given, rest = hint.partition("--input ")
    if given:
        listed = begin.rpartition("; ")[0]
        here = "A .npy of that shape may stand in the line `image`; or on" if "has the shape" in error.detail else "On"
        return f"{listed}\n{here} the command line: ckptui predict … --input {rest}".strip()
    return "" if "--" in hint else hint


def place_words(image: str, model: str, width: int) -> str:
    """`image from ~/pictures` for an image that lies neither beside the model nor up to two folders above it."""
    folder = os.path.dirname(os.path.abspath(image))
    near = [os.path.dirname(os.path.abspath(model))]
    near += [os.path.dirname(near[0]), os.path.dirname(os.path.dirname(near[0]))]
    if not image or folder in (*near, *(os.path.join(each, "images") for each in near)):
        return ""
    return f"image from {shown(short_path(folder), max(width - 11, 1))}"


FAULTS = ("But ", "Does not", "Could not", "Restores only", "No answer", "The answer is not")
"""How the sentences of a verdict begin that name a fault."""


def verdict_lines(verdict: str) -> list[Content]:
    """The first sentence stands out, and so does any that names a fault; the rest is dim, on lines of their own."""
    lines: list[Content] = []
    rest: list[str] = []
    for place, sentence in enumerate(part for part in safe(verdict).split(". ") if part):
        words = sentence.rstrip(".") + "."
        if sentence.startswith(FAULTS):
            lines.append(
                Content.styled(words.removeprefix("But ")[:1].upper() + words.removeprefix("But ")[1:], "$error bold")
            )
        elif not place:
            lines.append(Content.styled(words, "bold"))
        else:
            rest.append(words)
    return [*lines, Content.styled(" ".join(rest), "$dim")] if rest else lines


def damage_lines(path: str, known: Sequence[Finding], told: Sequence[Finding], width: int) -> list[Content]:
    """One row: the gravest error of the save at `path` itself, where what the prediction `told` says nothing of it.

    `known` may be of its run, or of another save than the one that was named.
    """
    codes, here = {finding.code for finding in told}, os.path.abspath(path)
    own = [f for f in worst_first(known) if os.path.abspath(f.artifact) == here]
    errors = [f for f in own if f.severity == "error" and f.code not in codes]
    if not errors:
        return []
    where = f", {errors[0].tensor}" if errors[0].tensor else ""
    more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
    begin = f"{SIGNS['error']} But the save itself: "
    what = fit_end(safe(f"{errors[0].title}{where}"), max(width - cell_len(begin + more), 8))
    return [Content.styled(fit_end(begin + what + more, width), "$error")]


def finding_lines(findings: Sequence[Finding], width: int) -> list[Content]:
    """Gravest first; what is an alarm with its details and what to do."""
    lines = []
    for finding in worst_first(findings):
        style = STYLES[finding.severity]
        lines.append(Content.styled(f"{SIGNS[finding.severity]} {safe(finding.title)}", style))
        if finding.severity != "info":
            for text, tone in ((finding.detail, "$foreground"), (finding.advice, "$dim")):
                lines += [Content.styled(f"  {part}", tone) for part in wrap(safe(text), max(width - 2, 8)) if part]
    return lines
