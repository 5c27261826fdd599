"""Layers of a Keras architecture and signatures of a SavedModel, as one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.message import Message

from ckptui.core.model import ArchitectureRow, Endpoint, Listing, Signature
from ckptui.core.text import human_count, safe, shape_text
from ckptui.ui.fitting import fit_middle, left, right
from ckptui.ui.widgets.row_list import Piece, RowList

NOTHING: dict[str, str] = {
    "tf-checkpoint": "A checkpoint holds weights only; its architecture is in a .keras or .h5 file or a SavedModel",
    "keras-weights": "A weights file holds no architecture; it is in a .keras or .h5 file, or a SavedModel",
}
LEAST_NAME, SHORTEST_NAME, LEAST_KIND = 16, 8, 8
"""Columns a layer's name gets before others go, the fewest it can do with, and those of its class."""


@dataclass(frozen=True, slots=True)
class _Row:
    left: str
    middle: str = ""
    shape: str = ""
    count: str = ""
    style: str = ""
    weights: tuple[str, ...] = ()


class ArchitecturePanel(RowList):
    """Enter on a layer goes to its first tensor."""

    HEAD_LINES: ClassVar[int] = 1

    class Entered(Message):
        """Enter on a layer with weights."""

        def __init__(self, tensor: str) -> None:
            super().__init__()
            self.tensor = tensor

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rows: list[_Row] = []
        self._heads = True

    def show(self, listing: Listing | None) -> None:
        """Show layers and signatures, or why there are none."""
        rows: list[_Row] = []
        if listing is not None:
            rows += [_layer_row(layer) for layer in listing.architecture]
            for signature in listing.signatures:
                rows += _signature_rows(signature)
            if not rows:
                words = NOTHING.get(listing.artifact.kind, "This save says nothing about layers or signatures")
                rows = [_Row(words, style="dim")]
        self._heads = bool(listing and listing.architecture)
        self._rows = rows
        self.rows_changed(0)

    def jump_to(self, layer: str) -> bool:
        """Put the cursor on the layer of that name; False if there is none."""
        names = [row.left.strip() for row in self._rows]
        if self._heads and safe(layer) in names:
            self.move_to(names.index(safe(layer)))
        return self._heads and safe(layer) in names

    def row_count(self) -> int:
        return len(self._rows)

    def _widths(self, width: int) -> tuple[int, int, int, int]:
        """Name, class, output shape, parameters; 0 for a column that does not fit: first the parameters go."""
        shape = max((len(r.shape) for r in self._rows), default=0)
        count = max((len(r.count) for r in self._rows), default=0)
        kind = min(max((len(r.middle) for r in self._rows), default=0), 24)
        kind = max(kind, 5) if kind else 0
        shape = max(shape, 12) if shape else 0
        count = max(count, 10) if count else 0
        room = width - 2 - sum(need + 2 for need in (kind, shape, count) if need)
        if room < LEAST_NAME and count:
            room, count = room + count + 2, 0
        if room < LEAST_NAME and kind:
            given = min(LEAST_NAME - room, max(kind - LEAST_KIND, 0))
            room, kind = room + given, kind - given
        if room < SHORTEST_NAME and shape:
            room, shape = room + shape + 2, 0
        return max(room, 1), kind, shape, count

    def head_pieces(self, line: int, width: int) -> Sequence[Piece]:
        if not self._heads:
            return ()
        return self._pieces(_Row("layer", "class", "output shape", "parameters", "head"), width, " ", "head")

    def row_pieces(self, index: int, width: int) -> Sequence[Piece]:
        row = self._rows[index]
        if not (row.middle or row.shape or row.count):
            return [self.cursor_cell(index), (fit_middle(row.left, width - 1), row.style)]
        return [self.cursor_cell(index), *self._pieces(row, width, "", "dim")]

    def _pieces(self, row: _Row, width: int, edge: str, side: str) -> list[Piece]:
        name, kind, shape, count = self._widths(width)
        pieces = [(edge, ""), (left(row.left, name), row.style)]
        if kind:
            pieces.append(("  " + left(row.middle, kind), side))
        if shape:
            pieces.append(("  " + right(row.shape, shape), side))
        if count:
            pieces.append(("  " + right(row.count, count), side))
        return pieces

    def action_choose(self) -> None:
        if self.cursor < len(self._rows) and self._rows[self.cursor].weights:
            self.post_message(self.Entered(self._rows[self.cursor].weights[0]))


def _layer_row(layer: ArchitectureRow) -> _Row:
    shape = "" if layer.output_shape is None else shape_text(layer.output_shape)
    count = human_count(layer.parameters) if layer.parameters else ""
    name = "  " * min(layer.depth, 8) + safe(layer.name)
    return _Row(name, safe(layer.class_name), shape, count, weights=layer.weights)


def _signature_rows(signature: Signature) -> list[_Row]:
    tags = " ".join(signature.tags) or "no tags"
    rows = [_Row(""), _Row(f"{safe(signature.name)}   {safe(signature.method)}   [{safe(tags)}]", style="strong")]
    for arrow, ends in (("in", signature.inputs), ("out", signature.outputs)):
        rows += [_endpoint_row(arrow, end) for end in ends]
    return rows


def _endpoint_row(arrow: str, end: Endpoint) -> _Row:
    return _Row(f"  {arrow:<4}{safe(end.name)}", safe(end.tensor), shape_text(end.shape), safe(end.dtype))
