"""What the grid of filters draws from, and the filters of two saves beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from ckptui.core.colours import diverging, normalised, signed_rgb
from ckptui.core.filter_flags import Flag
from ckptui.core.layout import KernelLayout
from ckptui.core.pictures import FilterSet, Picture, gapped, layer_limit
from ckptui.core.text import number_text


class FilterPictures(Protocol):
    """What the grid of filters draws from."""

    @property
    def count(self) -> int:
        """How many filters."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of every picture in pixels."""

    @property
    def views(self) -> int:
        """How many views `[` and `]` step through; view 0 is the first shown."""

    @property
    def orders(self) -> tuple[str, ...]:
        """Names of the orders `s` steps through."""

    def order(self, name: str) -> Sequence[int]:
        """Filter indices in that order."""

    def flag(self, index: int) -> Flag | None:
        """Why filter `index` is framed; None where nothing is."""

    def picture(self, index: int, view: int, per_filter: bool) -> Picture:
        """Filter `index` in a view, on the layer's scale or its own."""

    def view_words(self, view: int) -> str:
        """What the view shows."""

    def scale_words(self, view: int, per_filter: bool) -> str:
        """The two ends of the scale."""

    def describe(self, index: int) -> Sequence[str]:
        """What there is to say about one filter, the most important first."""


class TripleSet:
    """The same kernel of two saves: A, B and B − A side by side, the difference on its own scale."""

    def __init__(self, first: KernelLayout, second: KernelLayout) -> None:
        """Take two kernels of one shape."""
        self.a, self.b = FilterSet(first, None), FilterSet(second, None)
        with np.errstate(invalid="ignore", over="ignore"):
            change = second.matrix.astype(np.float32) - first.matrix.astype(np.float32)
        self.change = FilterSet(replace(first, matrix=change), None)
        self.count = self.a.count
        height, width = self.a.size
        self.size = (height, 3 * width + 2)
        self.views = self.a.views
        self.orders: tuple[str, ...] = ("change", "index")

    def order(self, name: str) -> Sequence[int]:
        """Filter indices, most changed first or as they are."""
        return self.change.order("norm") if name == "change" else range(self.count)

    def flag(self, index: int) -> Flag | None:
        """Filters without any change are marked as such."""
        plane = self.change.weights[..., index]
        same = bool(np.all((plane == 0) | ~np.isfinite(plane))) and np.array_equal(
            self.a.weights[..., index], self.b.weights[..., index], equal_nan=True
        )
        return Flag("same", "muted", "did not change") if same else None

    def picture(self, index: int, view: int, per_filter: bool) -> Picture:
        """A | B | B − A of filter `index`; A and B share one scale."""
        limit = max(self.a.limit(view), self.b.limit(view))
        planes = [s.planes(view)[index] for s in (self.a, self.b, self.change)]
        if view == 0 and self.a.channels > 3 and float(np.nansum(planes[0] * planes[1])) < 0:
            planes[1] = -planes[1]
        if per_filter:
            limit = max(layer_limit(planes[0]), layer_limit(planes[1]))
        change_limit = layer_limit(planes[2]) if per_filter else self.change.limit(view)
        limits = (limit, limit, change_limit)
        levels = [gapped(normalised(plane, lim), self.a.depth) for plane, lim in zip(planes, limits, strict=True)]
        gap = np.full_like(levels[0][:, :1], np.inf)
        row = np.concatenate([levels[0], gap, levels[1], gap, levels[2]], axis=1)
        if row.ndim == 3:
            return Picture(row.mean(axis=-1), signed_rgb(row))
        return Picture(row, diverging(row))

    def view_words(self, view: int) -> str:
        """What the view shows."""
        return "A, B, B − A" if self.a.channels == 1 else f"A, B, B − A · {self.a.view_words(view)}"

    def scale_words(self, view: int, per_filter: bool) -> str:
        """The ends of both scales."""
        if per_filter:
            return "each on its own scale"
        limit = number_text(max(self.a.limit(view), self.b.limit(view)), 2)
        return f"±{limit}   B − A ±{number_text(self.change.limit(view), 2)}"

    def describe(self, index: int) -> Sequence[str]:
        """How far one filter moved."""
        before, moved = float(self.a.norms[index]), float(self.change.norms[index])
        share = f" ({moved / before:.1%})" if before > 0 else ""
        after = number_text(float(self.b.norms[index]), 3)
        return [
            f"{index} moved {number_text(moved, 3)}{share}",
            f"norm {number_text(before, 3)} → {after}",
        ]
