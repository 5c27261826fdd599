"""Convolution kernels as pictures: which filters there are, how each looks, and why one is framed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ckptui.core.colours import Levels, Pixels, diverging, normalised, signed_rgb
from ckptui.core.layout import KernelLayout
from ckptui.core.model import Filter, Layer
from ckptui.core.text import number_text

Array = npt.NDArray[Any]
EXACT = 0.9999
"""A mirror correlation from here on is exact symmetry, which chance does not make."""
SYMMETRIC = 0.95
SAMPLE = 1 << 20
"""Values looked at together; what is common is judged by as many, evenly spread."""
CHANNEL_NAMES = ("red", "green", "blue")
OUTLIER = 4.0
"""A largest weight this many times the largest common one is clipped, or everything else would be grey."""
RARE = 0.005
"""Share of the values, and one at least, that may be outliers."""


LARGEST_KERNEL = 64
"""A tensor with a longer side is no convolution kernel."""


@dataclass(frozen=True, slots=True)
class Flag:
    """Why a filter is framed."""

    word: str
    """What stands in the frame: `init`, `dead`, `=5`."""
    tone: str
    """`error`, `warning`, `odd` or `muted`: the colour of frame and word."""
    meaning: str
    """The word in words."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One filter, ready to be drawn."""

    levels: Levels
    pixels: Pixels


def has_places(kernel: Sequence[int]) -> bool:
    """Do filters of this extent have places to be pictured by? 1x1 and dense kernels don't."""
    return bool(kernel) and 1 < max(kernel) <= LARGEST_KERNEL


def filters_of(layout: KernelLayout) -> Array:
    """A kernel as (height, width, input channels, filters) of float32; depth slices lie side by side."""
    matrix = layout.matrix.real if np.iscomplexobj(layout.matrix) else layout.matrix
    values = np.asarray(matrix).astype(np.float32).reshape(*layout.kernel, layout.channels, layout.filters)
    if len(layout.kernel) == 1:
        return values[np.newaxis]
    if len(layout.kernel) == 3:
        depth, height, width = layout.kernel
        return np.moveaxis(values, 0, 1).reshape(height, depth * width, *values.shape[-2:])
    return values


def first_component(weights: Array) -> tuple[Array, Array]:
    """The signed first spatial component of every filter of (h, w, c, n), and the share of its energy.

    A filter is a matrix (cells x channels) W = U S V'; drawn is S1 U1 / sqrt(c), on the scale of single
    weights, with the sign of the mean over channels. A cell with a value that is not finite is nan.
    """
    height, width, channels, count = weights.shape
    flat = np.ascontiguousarray(weights.reshape(height * width, channels, count).transpose(2, 0, 1))
    broken = ~np.isfinite(flat)
    has_broken = bool(broken.any())
    if has_broken:
        flat = np.where(broken, np.float32(0), flat)
    # Squares of damaged weights overflow: every filter is brought to a largest magnitude of 1 first.
    largest = np.abs(flat).max(axis=(1, 2), initial=0.0)
    flat = flat / np.where(largest > 0, largest, np.float32(1))[:, None, None]
    turned = flat.transpose(0, 2, 1)
    by_cells = height * width <= channels
    values, vectors = np.linalg.eigh(flat @ turned if by_cells else turned @ flat)
    energy, vector = np.maximum(values[:, -1], 0.0), vectors[:, :, -1]
    root = np.sqrt(energy)[:, None]
    component = vector * root if by_cells else np.einsum("npc,nc->np", flat, vector)
    component = component * (largest[:, None] / np.sqrt(np.float32(channels)))
    against = np.einsum("np,np->n", component, flat.mean(axis=2)) < 0
    component[against] *= -1
    if has_broken:
        component[broken.any(axis=2)] = np.nan
    total = np.maximum(values.clip(min=0).sum(axis=1), np.finfo(np.float32).tiny)
    return component.reshape(count, height, width), energy / total


def first_view(weights: Array) -> tuple[Array, Array | None]:
    """The first view of filters (h, w, c, n), as (n, h, w) or of 3 channels (n, h, w, 3), and each one's share.

    The share is that of the energy a first component stands for; None where the weights themselves are shown.

    Three channels as they are, one channel as it is, of others the signed first spatial component.
    """
    channels = weights.shape[2]
    if channels == 3:
        return weights.transpose(3, 0, 1, 2), None
    if channels == 1:
        return weights[:, :, 0, :].transpose(2, 0, 1), None
    return first_component(weights)


def layer_limit(planes: Array) -> float:
    """The magnitude that gets full colour: the largest, or the largest but for a few that dwarf the rest."""
    flat = planes.reshape(-1)
    largest = 0.0
    for start in range(0, flat.size, SAMPLE):
        piece = flat[start : start + SAMPLE]
        largest = max(largest, float(np.abs(piece[np.isfinite(piece)]).max(initial=0.0)))
    sample = flat[:: max(flat.size // SAMPLE, 1)]
    sample = np.abs(sample[np.isfinite(sample)])
    left_out = math.ceil(RARE * sample.size)
    common = float(np.partition(sample, -1 - left_out)[-1 - left_out]) if sample.size > left_out else 0.0
    return common if common > 0 and largest > OUTLIER * common else largest


def flag_of(found: Filter, layer: Layer) -> Flag | None:
    """The gravest thing about a filter, or None; symmetry counts where it is exact or chance can't explain it."""
    if found.nonfinite:
        return Flag("NaN", "error", "has values that are not finite")
    if found.zero:
        return Flag("zero", "warning", "all zero")
    if found.dead:
        return Flag("dead", "warning", "dead: its weights are negligible beside the layer's")
    if found.untouched:
        return Flag("init", "warning", "untouched since the initializer")
    if found.constant:
        return Flag("const", "warning", "one constant value")
    if found.duplicate_of is not None:
        return Flag(f"={found.duplicate_of}", "odd", f"a duplicate of filter {found.duplicate_of}")
    scores = mirror_scores(found)
    least = SYMMETRIC if layer.flagged_symmetric else EXACT
    if scores and max(scores) >= least:
        return Flag("sym", "warning", "equals its mirror image")
    if scores and min(scores) <= -EXACT:
        return Flag("anti", "muted", "equals its mirror image with the sign turned")
    return None


def mirror_scores(found: Filter) -> list[float]:
    """The mirror correlations that exist for a filter."""
    all_scores = (found.left_right, found.up_down, found.rotate_180, found.transpose)
    return [score for score in all_scores if score is not None and score == score]


class FilterSet:
    """The filters of one kernel, every view computed when it is first asked for."""

    def __init__(self, layout: KernelLayout, layer: Layer | None) -> None:
        """Take a kernel with places ([k], [h, w] or [d, h, w]), and its analysis where there is one."""
        self.weights = filters_of(layout)
        self.layer = layer
        self.details = {f.index: f for f in layer.detail} if layer else {}
        self.depth = layout.kernel[0] if len(layout.kernel) == 3 else 1
        height, width, self.channels, self.count = self.weights.shape
        self.size = (height, width + self.depth - 1)
        self.rgb = self.channels == 3
        self.views = 1 if self.channels == 1 else 1 + self.channels
        with np.errstate(invalid="ignore", over="ignore"):
            broken = ~np.isfinite(self.weights)
            finite = np.where(broken, 0, self.weights) if broken.any() else self.weights
            self.norms = np.sqrt(np.einsum("hwcn,hwcn->n", finite, finite, dtype=np.float64))
        self._planes: dict[int, Array] = {}
        self._limits: dict[int, float] = {}
        self.share = 1.0
        self.orders: tuple[str, ...] = ("index", "flagged first", "norm")
        if any(mirror_scores(found) for found in self.details.values()):
            self.orders = (*self.orders, "symmetry")
        self.planes(0)

    def planes(self, view: int) -> Array:
        """All filters in a view: (n, h, w), or (n, h, w, 3) for RGB."""
        if view not in self._planes:
            if view > 0:
                planes = self.weights[:, :, view - 1, :].transpose(2, 0, 1)
            else:
                planes, shares = first_view(self.weights)
                self.share = 1.0 if shares is None else float(np.median(shares))
            self._planes[view] = planes
            self._limits[view] = layer_limit(planes)
        return self._planes[view]

    def limit(self, view: int) -> float:
        """The magnitude that gets full colour in a view."""
        self.planes(view)
        return self._limits[view]

    def order(self, name: str) -> Sequence[int]:
        """Filter indices in the order of that name: largest norm first, most symmetric first."""
        if name == "norm":
            keys = -self.norms
        elif name == "flagged first":
            keys = np.array([self.flag(i) is None for i in range(self.count)], dtype=np.float64)
        elif name == "symmetry":
            scores = [mirror_scores(self.details[i]) if i in self.details else [] for i in range(self.count)]
            keys = np.array([-max(s) if s else 2.0 for s in scores])
        else:
            return range(self.count)
        found: list[int] = np.argsort(keys, kind="stable").tolist()
        return found

    def flag(self, index: int) -> Flag | None:
        """Why filter `index` is framed."""
        found = self.details.get(index)
        return flag_of(found, self.layer) if found is not None and self.layer is not None else None

    def picture(self, index: int, view: int, per_filter: bool) -> Picture:
        """Filter `index` in a view, on the layer's scale or its own."""
        plane = self.planes(view)[index]
        levels = normalised(plane, layer_limit(plane) if per_filter else self.limit(view))
        levels = self.with_gaps(levels)
        if self.rgb and view == 0:
            return Picture(levels.mean(axis=-1), signed_rgb(levels))
        return Picture(levels, diverging(levels))

    def with_gaps(self, levels: Levels) -> Levels:
        """Part the depth slices of a 3-D kernel by a column of nothing."""
        if self.depth == 1:
            return levels
        slices = np.split(levels, self.depth, axis=1)
        gap = np.full_like(slices[0][:, :1], np.inf)
        parts = [part for piece in slices for part in (gap, piece)][1:]
        result: Levels = np.concatenate(parts, axis=1)
        return result

    def view_words(self, view: int) -> str:
        """What the view shows, and how much of the filters it stands for."""
        if view > 0:
            name = f" ({CHANNEL_NAMES[view - 1]})" if self.rgb else ""
            return f"channel {view - 1} of {self.channels}{name}"
        if self.rgb:
            return "3 channels as RGB, grey is 0"
        if self.channels == 1:
            return "the weights themselves"
        return f"first component of {self.channels} channels ({self.share:.0%})"

    def scale_words(self, view: int, per_filter: bool) -> str:
        """The two ends of the scale, or that every filter has its own."""
        if per_filter:
            return "each on its own scale"
        limit = number_text(self.limit(view), 2)
        return f"−{limit} … {limit}"

    def describe(self, index: int) -> Sequence[str]:
        """Flag, norm and mirror correlations of one filter."""
        found, flag = self.details.get(index), self.flag(index)
        parts = [str(index)] if flag is None else [f"{index} {flag.meaning}"]
        parts.append(f"norm {number_text(float(self.norms[index]), 3)}")
        if found is not None and found.left_right is not None:
            parts.append(f"↔ {number_text(found.left_right, 2)}")
        if found is not None and found.up_down is not None:
            parts.append(f"↕ {number_text(found.up_down, 2)}")
        return parts
