"""Below the lines of a prediction: who answers, what the model is given, and where the names come from."""

from __future__ import annotations

import os

from textual.content import Content
from textual.widgets import Static

from ckptui.core.text import number_text, safe, shape_text
from ckptui.ui.fitting import shown
from ckptui.ui.paths import short_path
from ckptui.ui.prediction_request import AUTO, PredictRequest
from ckptui.ui.prediction_words import borrowed_words, keys_for, packed, place_words
from ckptui.ui.widgets.predict_lines import PredictLines
from ckptui.ui.widgets.predict_results import Told

LABEL = 8
"""Columns of the labels of the lines."""


class PredictFacts(Static):
    """As few lines as the facts fit; none where nothing is known."""

    DEFAULT_CSS = """
    PredictFacts { height: auto; color: $dim; padding-left: 8; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
        self.borrowed: str | None = None
        """Whose layers hold the weights; empty: nobody's; None: it has its own, or nobody knows yet."""
        self.place: tuple[str, int, int] | None = None
        """(image, its place, images in its folder)."""
        self.labels_near = ""
        """The labels that are taken where none are named."""

    def draw(self, told: Told, lines: PredictLines, asked: PredictRequest | None, width: int) -> None:
        """Everything that is known, for a pane of that width; `asked`: what the answers on show were asked with."""
        room = max(width - LABEL, 8)
        who = [borrowed_words(self.borrowed)] if self.borrowed is not None else []
        if told.report is not None:
            facts = told.report.model
            version = f"TF {facts['tensorflow']}" if facts.get("tensorflow") else ""
            who += [Content(safe(str(name))) for name in (facts.get("loader"), version, facts.get("bound")) if name]
        who += [Content(part) for part in self._given(told, lines)]
        labels = "" if lines.unfolded else self._labels(told, asked, room)
        who += [Content(labels)] if labels else []
        elsewhere = place_words(lines.path_line("image").path, lines.path_line("model").path, room)
        found = [*([Content(elsewhere)] if elsewhere else []), *packed(who, room)]
        self.display = bool(found)
        self.update(Content("\n").join(found))

    def _given(self, told: Told, lines: PredictLines) -> list[str]:
        """Shape, range and how the image was prepared, where that does not stand in its line."""
        predicted = told.predicted
        if predicted is None or not predicted.shape:
            return []
        parts = [shape_text(predicted.shape), f"{number_text(predicted.low, 3)} to {number_text(predicted.high, 3)}"]
        if not (lines.unfolded and lines.choice.value == AUTO and lines.choice.note_fits):
            parts.append(safe(keys_for(predicted.preprocess)))
        if self.place is not None and self.place[0] == os.path.abspath(predicted.path):
            parts.insert(0, f"image {self.place[1]} of {self.place[2]}")
        return parts

    def _labels(self, told: Told, asked: PredictRequest | None, room: int) -> str:
        """Where the names on show come from, where nobody named a file."""
        original = told.original
        if not self.labels_near or original is None or (asked is not None and asked.labels):
            return ""
        named = any(label != str(place) for place, label, _ in original.top)
        return f"labels {shown(short_path(self.labels_near), max(room - 7, 8))}" if named else ""
