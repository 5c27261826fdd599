"""The answer to `why` as lines: causes as cards, what was ruled out and what could not be asked in folds. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len

from ckptui.core.causes import SYMPTOMS, Cause, RuledOut, Symptom, WhyReport
from ckptui.core.model import Listing
from ckptui.core.text import safe
from ckptui.ui.fitting import wrap

Piece = tuple[str, str]
OPTION = re.compile(r"--[a-z-]+(?: [A-Z]+)?")
Fold = Literal["ruled-out", "not-asked"]
FOLD_WORDS: dict[Fold, str] = {"ruled-out": "Ruled out", "not-asked": "Could not be asked"}
ORDER: tuple[Symptom | None, ...] = (None, *SYMPTOMS)
"""Symptoms in the order of their keys, from 0; None: all of them."""
SHORT: dict[Symptom | None, str] = {None: "all", "constant": "constant", "flip": "flip", "unstable": "unstable"}
CERTAINTY_STYLES = {"confirmed": "error", "likely": "warning", "possible": "info"}
INDENT = 5
LEAST = 20
"""Columns a text is wrapped to at least."""
Entry = Cause | RuledOut | Fold


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the list."""

    pieces: tuple[Piece, ...]
    entry: Entry | None = None
    """What it belongs to."""
    head: bool = False
    """The first line of its entry: where the cursor stands."""


def causes_for(report: WhyReport, symptom: Symptom | None) -> list[Cause]:
    """The causes that explain a symptom, ranked as they are."""
    return [cause for cause in report.causes if symptom is None or symptom in cause.symptoms]


def folded_for(report: WhyReport, symptom: Symptom | None, fold: Fold) -> list[RuledOut]:
    """What of a fold bears on a symptom."""
    asked = fold == "ruled-out"
    return [r for r in report.ruled_out if r.asked == asked and (symptom is None or symptom in r.symptoms)]


def lines_of(report: WhyReport, symptom: Symptom | None, unfolded: frozenset[Fold], width: int) -> list[Line]:
    """Every line of the list for a width in cells."""
    lines: list[Line] = []
    causes = causes_for(report, symptom)
    if not causes:
        words = "No cause was found" if symptom is None else f"No cause was found for: {SYMPTOMS[symptom]}"
        lines += [*(Line(((f"  {text}", "ok"),)) for text in wrap(words, max(width - 3, LEAST))), Line(())]
    for number, cause in enumerate(causes, 1):
        lines += [*card(number, cause, width), Line((), cause)]
    for fold in FOLD_WORDS:
        lines += folded(folded_for(report, symptom, fold), fold, fold in unfolded, width)
    return lines


def card(number: int, cause: Cause, width: int) -> Iterator[Line]:
    """A cause: number, title and certainty; its evidence; the next step; where it lies and what it rests on."""
    room = max(width - INDENT - 2, LEAST)
    sure = cause.certainty
    beside = room - len(sure) - 2 >= LEAST
    first, *rest = wrap(safe(cause.title), room - len(sure) - 2 if beside else room)
    gap = " " * max(room - cell_len(first) - len(sure), 2)
    style = CERTAINTY_STYLES[sure]
    told = ((gap, ""), (sure, style)) if beside else ()
    yield Line(((f"{number:>3}  ", style), (first, "strong"), *told), cause, head=True)
    for text in rest:
        yield Line(((" " * INDENT, ""), (text, "strong")), cause)
    if not beside:
        yield Line(((" " * INDENT, ""), (sure, style)), cause)
    for fact in cause.evidence:
        yield from _hanging(fact, "· ", cause, room, "")
    yield from _hanging(on_screen(cause.next_step), "→ ", cause, room, "accent")
    tail = "  ".join(part for part in (safe(cause.where or ""), ", ".join(map(safe, cause.findings))) if part)
    if tail:
        yield from _hanging(tail, "  ", cause, room, "dim", harmless=True)


def folded(entries: Sequence[RuledOut], fold: Fold, open_: bool, width: int) -> Iterator[Line]:
    """A fold with its count, and what is in it once it is open."""
    if not entries:
        return
    sign = "▾" if open_ else "▸"
    yield Line(((f" {sign} ", "accent"), (f"{FOLD_WORDS[fold]} ({len(entries)})", "dim")), fold, head=True)
    room = max(width - INDENT - 2, LEAST)
    for entry in entries if open_ else ():
        first, *rest = wrap(safe(entry.title), room) or [""]
        yield Line(((" " * INDENT, ""), (first, "")), entry, head=True)
        for text in rest:
            yield Line(((" " * INDENT, ""), (text, "")), entry)
        yield from _hanging(entry.reason, "  ", entry, room, "dim")
        yield from _hanging(asked_words(entry.ask), "→ ", entry, room, "accent", harmless=True)


def _hanging(words: str, sign: str, entry: Entry, room: int, style: str, *, harmless: bool = False) -> Iterator[Line]:
    """Text behind a sign, its further lines under the first."""
    if not words:
        return
    for place, text in enumerate(wrap(words if harmless else safe(words), max(room - len(sign), LEAST))):
        lead = sign if not place else " " * len(sign)
        yield Line(((" " * INDENT, ""), (lead, "accent" if sign == "→ " else "dim"), (text, style)), entry)


def as_text(entry: Entry, report: WhyReport, symptom: Symptom | None) -> str:
    """What `y` copies: the cause with its evidence, what was ruled out with its reason, or all of a fold."""
    if isinstance(entry, str):
        return "\n".join(as_text(item, report, symptom) for item in folded_for(report, symptom, entry))
    if isinstance(entry, RuledOut):
        return f"{entry.title}: {entry.reason}"
    lines = [f"{entry.title} ({entry.certainty})", *(f"  {fact}" for fact in entry.evidence)]
    if entry.next_step:
        lines.append(f"  -> {entry.next_step}")
    if entry.where:
        lines.append(f"  in {entry.where}")
    return "\n".join(lines)


ASKS = (
    ("--images", "i asks with all images of the folder"),
    ("--against", "m on that save marks it as A, then w here and r"),
    ("--architecture", "p asks for its layers"),
)
"""What the workbench can do for an option."""


def asked_words(ask: str) -> str:
    """How to ask for what an option of the command line asks, in front of the screen; other words stay."""
    if not ask.startswith("--"):
        return safe(ask)
    words = list(dict.fromkeys(words for option, words in ASKS if option in ask))
    rest = [part for part in OPTION.findall(ask) if not part.startswith(tuple(option for option, _ in ASKS))]
    words += [f"on the command line: ckptui why … {' '.join(rest)}"] if rest else []
    return "; or ".join(words)


IN_BRACKETS = re.compile(r" \(`ckptui [a-z]+`(?:, `ckptui [a-z]+`)*\)")


def on_screen(words: str) -> str:
    """A next step in front of the screen: commands in brackets go, as Enter leads to what they would show."""
    return IN_BRACKETS.sub("", words)


def tensor_of(listing: Listing, where: str) -> str | None:
    """The stored name of the tensor a cause lies in, or of the first one of its layer; None where nothing fits."""
    tensors = listing.tensors
    for names in ([t.name for t in tensors], [t.object_path for t in tensors], [t.layer for t in tensors]):
        if where in names:
            return tensors[names.index(where)].name
    # a loaded model calls a layer by its last name, a file by the whole path to it
    for tensor in tensors:
        if tensor.layer.rpartition("/")[2] == where or tensor.object_path.startswith(f"{where}/"):
            return tensor.name
    return None
