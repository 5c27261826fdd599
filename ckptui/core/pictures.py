"""Convolution kernels as pictures: which filters there are, how each looks, and why one is framed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ckptui.core.colours import Levels, Pixels, diverging, normalised, signed_rgb
from ckptui.core.filter_flags import HUGE, IMPLAUSIBLE, Flag, flag_of, mirror_scores, outsized, words_about
from ckptui.core.layout import KernelLayout
from ckptui.core.model import Filter, Layer
from ckptui.core.text import number_text

Array = npt.NDArray[Any]
SAMPLE = 1 << 20
"""Values looked at together; what is common is judged by as many, evenly spread."""
SMALL = 16
"""Up to this size matrices are decomposed by LAPACK."""
SQUARINGS = 11
"""Of larger ones: what is weaker than the strongest by a hundredth has shrunk to a billionth then."""
BLOCK = 32
"""Filters that are decomposed together, at most."""
WORK = 1 << 20
"""Cubes of the decomposed matrices' sizes that are worked on together: a few milliseconds."""
PROBES = 3
"""Blocks of filters, evenly spread, that the layer's scale is taken from before all are decomposed."""
FIRST = 24
"""Filters whose pictures are made before anything is drawn."""
CHANNEL_NAMES = ("red", "green", "blue")
OUTLIER = 4.0
"""A largest weight this many times the largest common one is clipped, or everything else would be grey."""
RARE = 0.005
"""Share of the values, and one at least, that may be outliers."""


LARGEST_KERNEL = 64
"""A tensor with a longer side is no convolution kernel."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One filter, ready to be drawn."""

    levels: Levels
    pixels: Pixels


def has_places(kernel: Sequence[int]) -> bool:
    """Do filters of this extent have places to be pictured by? 1x1 and dense kernels don't."""
    return bool(kernel) and 1 < max(kernel) <= LARGEST_KERNEL


def filters_of(layout: KernelLayout, start: int = 0, stop: int | None = None) -> Array:
    """Filters `start` to `stop` as (height, width, input channels, filters) of float32; depth slices side by side."""
    matrix = layout.matrix[:, start:stop]
    matrix = matrix.real if np.iscomplexobj(matrix) else matrix
    values = np.asarray(matrix).astype(np.float32).reshape(*layout.kernel, layout.channels, matrix.shape[1])
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
    gram = flat @ turned if by_cells else turned @ flat
    energy, vector = _strongest_axis(gram)
    root = np.sqrt(energy)[:, None]
    component = vector * root if by_cells else np.einsum("npc,nc->np", flat, vector)
    component = component * (largest[:, None] / np.sqrt(np.float32(channels)))
    against = np.einsum("np,np->n", component, flat.mean(axis=2)) < 0
    component[against] *= -1
    if has_broken:
        component[broken.any(axis=2)] = np.nan
    total = np.maximum(np.trace(gram, axis1=1, axis2=2), np.finfo(np.float32).tiny)
    return component.reshape(count, height, width), energy / total


def _strongest_axis(gram: Array) -> tuple[Array, Array]:
    """The largest eigenvalue (n) and its vector (n, m) of symmetric, positive matrices (n, m, m).

    Larger ones by squaring: LAPACK hands each to several threads, which takes a busy machine 30 ms a matrix.
    """
    if gram.shape[1] <= SMALL:
        values, vectors = np.linalg.eigh(gram)
        return np.maximum(values[:, -1], 0.0), vectors[:, :, -1]
    power = gram
    for _ in range(SQUARINGS):
        largest = np.abs(power).max(axis=(1, 2), keepdims=True)
        power = power / np.where(largest > 0, largest, np.float32(1))
        power = power @ power
    best = np.einsum("nij,nij->nj", power, power).argmax(axis=1)
    vector = np.take_along_axis(power, best[:, None, None], axis=2)[:, :, 0]
    norm = np.linalg.norm(vector, axis=1, keepdims=True)
    vector = vector / np.where(norm > 0, norm, np.float32(1))
    energy = np.einsum("ni,nij,nj->n", vector, gram, vector, optimize=True)
    return np.maximum(energy, 0.0), vector


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


def largest_of(planes: Array) -> float:
    """The largest finite magnitude."""
    flat, largest = planes.reshape(-1), 0.0
    for start in range(0, flat.size, SAMPLE):
        piece = flat[start : start + SAMPLE]
        largest = max(largest, float(np.abs(piece[np.isfinite(piece)]).max(initial=0.0)))
    return largest


def scale_ends(limit: float, largest: float) -> str:
    """The two ends of a scale; where larger values are clipped to it, how large the largest is."""
    ends = f"−{number_text(limit, 2)} … {number_text(limit, 2)}"
    return f"{ends}, largest {number_text(largest, 2)}" if largest > limit else ends


def layer_limit(planes: Array, spare: int = 0) -> float:
    """The magnitude that gets full colour: the largest, or the largest but for a few that dwarf the rest.

    `spare`: so many values may be outliers, though they are not rare: those of one damaged filter.
    """
    flat, largest = planes.reshape(-1), largest_of(planes)
    sample = flat[:: max(flat.size // SAMPLE, 1)]
    sample = np.abs(sample[np.isfinite(sample)])
    left_out = max(math.ceil(RARE * sample.size), spare)
    common = float(np.partition(sample, -1 - left_out)[-1 - left_out]) if sample.size > left_out else 0.0
    return common if common > 0 and largest > OUTLIER * common else largest


def layer_scale(planes: Array) -> float:
    """`layer_limit` of all filters of a layer, (n, h, w) or (n, h, w, 3): one damaged filter dims no other.

    With fewer than 16 there are too few others to tell a common magnitude by.
    """
    return layer_limit(planes, math.prod(planes.shape[1:]) if len(planes) >= 16 else 0)


def norms_of(layout: KernelLayout) -> npt.NDArray[np.float64]:
    """The l2 norm of every filter over its finite values, in float64."""
    found = np.zeros(layout.filters)
    for start, block in layout.blocks():
        wide = (np.abs(block) if np.iscomplexobj(block) else block).astype(np.float64)
        wide = np.where(np.isfinite(wide), wide, 0.0)
        with np.errstate(over="ignore"):
            found[start : start + block.shape[1]] = np.sqrt(np.einsum("vn,vn->n", wide, wide))
    return found


def gapped(levels: Levels, depth: int) -> Levels:
    """Part the depth slices of a 3-D kernel by a column of nothing."""
    if depth == 1:
        return levels
    slices = np.split(levels, depth, axis=1)
    gap = np.full_like(slices[0][:, :1], np.inf)
    parts = [part for piece in slices for part in (gap, piece)][1:]
    result: Levels = np.concatenate(parts, axis=1)
    return result


class FilterSet:
    """The filters of one kernel; a filter's picture is made when it is first asked for.

    The first view of many channels is a decomposition: that of all filters is made by `complete`, elsewhere than where
    keys are waited for. Until then the layer's scale is that of some filters, evenly spread.
    """

    def __init__(self, layout: KernelLayout, layer: Layer | None) -> None:
        """Take a kernel with places ([k], [h, w] or [d, h, w]), and its analysis where there is one."""
        self.layout = layout
        self.depth = layout.kernel[0] if len(layout.kernel) == 3 else 1
        height, width = layout.kernel[-2:] if len(layout.kernel) > 1 else (1, layout.kernel[0])
        self.size = (height, self.depth * width + self.depth - 1)
        self.channels, self.count = layout.channels, layout.filters
        self.rgb = self.channels == 3
        self.views = 1 if self.channels == 1 else 1 + self.channels
        self.decomposed = self.channels not in (1, 3)
        """The first view is a decomposition."""
        self._block = max(1, min(BLOCK, WORK // min(layout.cells, layout.channels) ** 3))
        self._limits: dict[int, float] = {}
        self._largest: dict[int, float] = {}
        self._outsized: frozenset[int] = frozenset()
        self._holder: int | None = None
        """The filter that holds the implausible value."""
        self._blocks: dict[int, tuple[Array, Array]] = {}
        self._share: float | None = None
        self._norms: npt.NDArray[np.float64] | None = None
        self.layer: Layer | None = None
        self.details: dict[int, Filter] = {}
        self.orders: tuple[str, ...] = ("index", "norm")
        self.learn(layer)

    def learn(self, layer: Layer | None) -> None:
        """Take the analysis, which comes after the first pictures."""
        if layer is None:
            return
        self.layer = layer
        self.details = {f.index: f for f in layer.detail}
        self._outsized = outsized(layer)
        self.orders = ("index", "flagged first", "norm")
        if any(mirror_scores(found) for found in self.details.values()):
            self.orders = (*self.orders, "symmetry")

    def hold_implausible(self, told: bool) -> bool:
        """Mark the filter with the largest value, of which the tensor's finding tells, or none; True if it is new."""
        if told == (self._holder is not None):
            return False
        self._holder = None
        if told:
            peaks = [np.nan_to_num(np.abs(b), nan=0, posinf=0).max(axis=0) for _, b in self.layout.blocks()]
            self._holder = int(np.concatenate(peaks).argmax())
        return True

    def prepare(self) -> None:
        """Make what the first pictures take."""
        self.limit(0)
        if self.decomposed:
            for start in range(0, min(self.count, FIRST), self._block):
                self._components(start)

    def complete(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Make what looking at all filters takes: every component, the layer's scale, norms; ends when `stopped`."""
        if self.decomposed:
            for start in range(0, self.count, self._block):
                if stopped():
                    return
                self._components(start)
            parts = [self._components(start) for start in range(0, self.count, self._block)]
            self._share = float(np.median(np.concatenate([shares for _, shares in parts])))
            together = np.concatenate([planes for planes, _ in parts])
            self._limits[0], self._largest[0] = layer_scale(together), largest_of(together)
        if not stopped():
            self._norms = norms_of(self.layout)

    @property
    def weights(self) -> Array:
        """All filters as (height, width, channels, filters) of float32."""
        return filters_of(self.layout)

    @property
    def norms(self) -> npt.NDArray[np.float64]:
        """The l2 norm of every filter over its finite values."""
        if self._norms is None:
            self._norms = norms_of(self.layout)
        return self._norms

    def _components(self, start: int) -> tuple[Array, Array]:
        """First components of the block of filters from `start`, and their shares of the energy."""
        if start not in self._blocks:
            self._blocks[start] = first_component(filters_of(self.layout, start, start + self._block))
        return self._blocks[start]

    def planes(self, view: int) -> Array:
        """All filters in a view: (n, h, w), or (n, h, w, 3) for RGB."""
        if view == 0 and self.decomposed:
            return np.concatenate([self._components(start)[0] for start in range(0, self.count, self._block)])
        planes: Array = self.weights.transpose(3, 0, 1, 2)
        return planes if view == 0 and self.rgb else planes[..., max(view - 1, 0)]

    def plane(self, index: int, view: int) -> Array:
        """One filter in a view: (h, w), or (h, w, 3) for RGB."""
        if view == 0 and self.decomposed:
            found: Array = self._components(index // self._block * self._block)[0][index % self._block]
            return found
        weights: Array = filters_of(self.layout, index, index + 1)[..., 0]
        return weights if view == 0 and self.rgb else weights[:, :, max(view - 1, 0)]

    def limit(self, view: int) -> float:
        """The magnitude that gets full colour in a view."""
        if view not in self._limits:
            planes = self._scaled_by(view)
            self._limits[view], self._largest[view] = layer_scale(planes), largest_of(planes)
        return self._limits[view]

    def _scaled_by(self, view: int) -> Array:
        """The values a view takes its scale from."""
        if view == 0 and self.decomposed:
            step = -(-self.count // (PROBES * self._block))
            probes = replace(self.layout, matrix=self.layout.matrix[:, ::step])
            planes, shares = first_component(filters_of(probes))
            self._share = self._share or float(np.median(shares))
            return planes
        values = self.layout.matrix
        if view > 0:
            values = values.reshape(self.layout.cells, self.channels, self.count)[:, view - 1]
        found: Array = np.asarray(values.real if np.iscomplexobj(values) else values).astype(np.float32).T
        return found

    @property
    def share(self) -> float:
        """The median share of a filter's energy that its first component has."""
        self.limit(0)
        return 1.0 if self._share is None else self._share

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
        flag = flag_of(found, self.layer) if found is not None and self.layer is not None else None
        return flag if flag is not None and flag.tone == "error" else self._size_flag(index) or flag

    def _size_flag(self, index: int) -> Flag | None:
        """What no filter shows by itself: that it dwarfs all others."""
        return IMPLAUSIBLE if index == self._holder else HUGE if index in self._outsized else None

    def picture(self, index: int, view: int, per_filter: bool) -> Picture:
        """Filter `index` in a view, on the layer's scale or its own."""
        plane = self.plane(index, view)
        levels = normalised(plane, layer_limit(plane) if per_filter else self.limit(view))
        levels = gapped(levels, self.depth)
        if self.rgb and view == 0:
            return Picture(levels.mean(axis=-1), signed_rgb(levels))
        return Picture(levels, diverging(levels))

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
        limit = self.limit(view)
        return scale_ends(limit, self._largest[view])

    def describe(self, index: int) -> Sequence[str]:
        """Every flag of one filter, its norm and mirror correlations."""
        found = self.details.get(index)
        norm = found.l2 if found is not None and self._norms is None else float(self.norms[index])
        return words_about(index, found, self.layer, norm, self._size_flag(index))
