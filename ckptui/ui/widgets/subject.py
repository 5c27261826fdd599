"""What a tensor's values are drawn as: filters, a heat map, bars or text. Pure; made in a thread."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ckptui.core.filter_flags import IMPLAUSIBLE, Flag, flag_of, words_about
from ckptui.core.heatmaps import reduced, unit_matrix
from ckptui.core.layout import KernelLayout, layout_of
from ckptui.core.model import Filter, Layer, Tensor, TensorScan
from ckptui.core.pictures import FilterSet, has_places
from ckptui.core.text import human_bytes, human_count, number_text, safe
from ckptui.ui.fitting import TIE, tied
from ckptui.ui.widgets.filter_images import FilterPictures

Array = npt.NDArray[Any]
Piece = tuple[str, str]
"""Text and the theme variable it is coloured with."""
Line = tuple[Piece, ...]
Plan = Literal["filters", "matrix", "bars", "values", "nothing"]

FEW = 16
"""As many values are written out instead of drawn."""
MATRIX_SIDE = 512
"""Larger heat maps are reduced once, in the thread, so that drawing stays quick."""
TEXT_VALUES = 100
TEXT_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Matrix:
    """A heat map."""

    values: Array
    limit: float
    """The magnitude that gets full colour."""
    shape: tuple[int, int]
    """Rows and columns before anything was reduced."""
    axes: tuple[str, str]
    """What runs down and what runs across."""
    largest: float = 0.0
    """The largest magnitude; beyond the limit it is clipped."""


class Slices:
    """The matrices of a tensor of three axes or more: its last two, at every place of the others; one scale for all."""

    def __init__(self, array: Array) -> None:
        """Take a tensor whose leading axes are not all of size 1."""
        self._array = array
        self._leading = array.shape[:-2]
        self.count = math.prod(self._leading)
        self._limit: float | None = None

    def at(self, place: int) -> Matrix:
        """One slice, by its place in C order."""
        if self._limit is None:
            self._limit = reduced(self._array.reshape(-1, self._array.shape[-1]), MATRIX_SIDE, MATRIX_SIDE)[1]
        values = self._array[np.unravel_index(place, self._leading)]
        small = reduced(values, MATRIX_SIDE, MATRIX_SIDE)[0]
        axes = (f"axis {len(self._leading)}", f"axis {len(self._leading) + 1}")
        return Matrix(small, self._limit, values.shape, axes)

    def words(self, place: int) -> str:
        """Which slice of how many, as numpy indexes it."""
        index = ",".join(str(int(n)) for n in np.unravel_index(place, self._leading))
        return f"[{index},:,:]  slice {human_count(place + 1)} of {human_count(self.count)}"


@dataclass(frozen=True, slots=True)
class Units:
    """What of a matrix is looked at one by one: the columns of a dense kernel, the rows of an embedding."""

    layer: Layer
    down: bool
    """They are rows."""
    flags: Mapping[int, Flag]
    """Why some are marked, by index, rising."""

    def describe(self, index: int) -> Sequence[str]:
        """What there is to say about one, the most important first."""
        found = self._found(index)
        kind = "entry" if self.down else "unit"
        first = IMPLAUSIBLE if self.flags.get(index) is IMPLAUSIBLE else None
        parts = words_about(index, found, self.layer, found.l2 if found else 0.0, first)
        return [f"{kind} {parts[0].replace('of filter', f'of {kind}')}", *parts[1:]]

    def holding(self, index: int | None) -> Units:
        """The same, with the unit marked that holds the tensor's implausible value."""
        if index is None:
            return self
        return replace(self, flags=dict(sorted({**self.flags, index: IMPLAUSIBLE}.items())))

    def _found(self, index: int) -> Filter | None:
        return next((f for f in self.layer.detail if f.index == index), None)


def units_of(layer: Layer | None, role: str) -> Units | None:
    """The units of a kernel without places, or the entries of an embedding."""
    if layer is None or has_places(layer.kernel):
        return None
    flags = {f.index: flag for f in layer.detail if (flag := flag_of(f, layer)) is not None}
    return Units(layer, role == "embedding", dict(sorted(flags.items())))


@dataclass(frozen=True, slots=True)
class Subject:
    """One tensor's values, ready to be drawn."""

    plan: Plan
    summary: tuple[Line, ...] = ()
    """What was found about its filters, in words."""
    pictures: FilterPictures | None = None
    matrix: Matrix | None = None
    """The heat map; of `slices` the first."""
    slices: Slices | None = None
    units: Units | None = None
    vector: Array | None = None
    values: int | None = None
    """How many a vector has, where it is a reduced one."""
    text: str = ""
    """The values themselves, or why there is nothing to see; harmless to a terminal."""


def kernel_layout(tensor: Tensor, array: Array, axes: str = "") -> KernelLayout | None:
    """The layout of a tensor that holds filters with places; None for anything else.

    Slots of a kernel have its shape: they are drawn like it where their rank leaves no doubt.
    """
    if tensor.role != "kernel" and (tensor.role != "slot" or array.ndim < 4):
        return None
    names = (tensor.name, tensor.layer, tensor.object_path)
    layout = layout_of(array, "kernel", *names, axes=axes if tensor.role == "kernel" else "")
    if layout is None or not has_places(layout.kernel):
        return None
    return layout


def subject_of(tensor: Tensor, array: Array, layer: Layer | None, axes: str = "") -> Subject:
    """Make a tensor's values ready to be drawn; `axes` says how those of a kernel are meant, see `core.layout`."""
    with np.errstate(all="ignore"):
        return _subject_of(tensor, array, layer, axes)


def _subject_of(tensor: Tensor, array: Array, layer: Layer | None, axes: str) -> Subject:
    summary = summary_of(layer) if layer is not None else ()
    if not array.size:
        return Subject("nothing", text="no values")
    if tensor.dtype in ("string", "variant", "resource") or array.size <= FEW:
        return Subject("values", summary, text=values_text(array))
    if np.iscomplexobj(array):
        array = array.real
    if array.ndim == 1:
        return Subject("bars", summary, vector=np.asarray(array).astype(np.float32))
    layout = kernel_layout(tensor, array, axes)
    if layout is not None:
        pictures = FilterSet(layout, layer)
        pictures.prepare()
        return Subject("filters", summary, pictures=pictures)
    units = units_of(layer, tensor.role)
    names = (tensor.name, tensor.layer, tensor.object_path)
    flat = layout_of(array, tensor.role, *names, axes=axes)
    if flat is not None:
        return Subject("matrix", summary, matrix=matrix_of(tensor, unit_matrix(flat)), units=units)
    if math.prod(array.shape[:-2]) > 1:
        slices = Slices(array)
        return Subject("matrix", summary, matrix=slices.at(0), slices=slices)
    return Subject("matrix", summary, matrix=matrix_of(tensor, array.reshape(array.shape[-2:])))


def with_layer(subject: Subject, tensor: Tensor, layer: Layer) -> Subject:
    """The same values, and what the analysis of the layer says about them."""
    if isinstance(subject.pictures, FilterSet):
        subject.pictures.learn(layer)
    return replace(subject, summary=summary_of(layer), units=units_of(layer, tensor.role) if subject.matrix else None)


def unit_at(tensor: Tensor, place: int) -> int | None:
    """Which column of a dense kernel or row of an embedding holds the value at a flat C-order index."""
    if len(tensor.shape) != 2:
        return None
    row, column = divmod(place, tensor.shape[1])
    return row if tensor.role == "embedding" else column


def overview_of(tensor: Tensor, values: Array, limit: float) -> Subject:
    """A tensor that was reduced before it came: its last axis across, all others down."""
    if len(tensor.shape) < 2:
        return Subject("bars", vector=values[0], values=tensor.count)
    rows = tensor.count // tensor.shape[-1]
    return Subject("matrix", matrix=Matrix(values, limit, (rows, tensor.shape[-1]), axes_of_matrix(tensor)))


def nothing_to_see(stored: bool, scan: TensorScan | None) -> Subject:
    """Why there is no picture of a tensor that is not there as it should be."""
    unread = not stored or scan is None or scan.checksum == "unread"
    return Subject("nothing", text="its bytes can't be read" if unread else "no picture: it contradicts its entry")


def too_large(tensor: Tensor, *, reading: bool) -> Subject:
    """Where a heat map of the strongest values will be, or why there is nothing to see."""
    words = "reading it for a picture of its strongest values …" if reading else "too large to be shown here"
    return Subject("nothing", text=f"{human_bytes(tensor.bytes)}: {words}")


def has_distribution(tensor: Tensor) -> bool:
    """Is there more than one number in it?"""
    return tensor.dtype not in ("string", "variant", "resource") and tensor.count > 1


def matrix_of(tensor: Tensor, matrix: Array) -> Matrix:
    """Reduce rows and columns to what can be shown."""
    values, limit, largest = reduced(matrix, MATRIX_SIDE, MATRIX_SIDE)
    return Matrix(values, limit, matrix.shape, axes_of_matrix(tensor), largest)


def axes_of_matrix(tensor: Tensor) -> tuple[str, str]:
    """What runs down and across a tensor that is drawn as one matrix."""
    if tensor.role == "kernel":
        return "inputs", "outputs"
    if tensor.role == "embedding":
        return "entries", "dimensions"
    last = len(tensor.shape) - 1
    return "axis 0" if last < 2 else f"axes 0 to {last - 1}", f"axis {last}"


def values_text(array: Array) -> str:
    """The first values, one a line for text, in brackets for a few numbers."""
    flat = array.reshape(-1)
    if array.dtype == object or array.dtype.kind in "SU":
        lines = [_text_value(value) for value in flat[:TEXT_VALUES].tolist()]
    elif not array.shape:
        return _number(flat[0])
    elif array.ndim == 1:
        lines = [f"[{i}]  {_number(value)}" for i, value in enumerate(flat[:TEXT_VALUES])]
    else:
        lines = ["  ".join(_number(v) for v in row) for row in array.reshape(-1, array.shape[-1])]
    if flat.size > TEXT_VALUES:
        lines.append(f"… {human_count(flat.size)} in all")
    return "\n".join(lines)


def _text_value(value: object) -> str:
    if isinstance(value, bytes):
        text = value[: TEXT_LENGTH * 2].decode("utf-8", "backslashreplace")
        return safe(text, TEXT_LENGTH)
    return safe(str(value), TEXT_LENGTH)


def _number(value: Any) -> str:
    """All digits that tell a value from its neighbours."""
    if isinstance(value, np.bool_):
        return str(bool(value))
    if isinstance(value, np.integer):
        return human_count(int(value)).replace("-", "−")
    if np.iscomplexobj(value):
        return str(complex(value))
    return number_text(float(value), 7)


# ------------------------------------------------------------------ what was found, in words

NONE = 0.01
"""Fewer filters than this, expected by chance, are none."""
NOTHING_ODD = "nothing odd"
TONE_STYLES = {"error": "$error", "warning": "$warning", "odd": "$odd", "muted": "$dim"}
COUNT_WORDS: tuple[tuple[str, str, str], ...] = (
    ("nonfinite", "not finite", "$error"),
    ("zero", "all zero", "$warning"),
    ("dead", "dead", "$warning"),
    ("untouched", "untouched", "$warning"),
    ("constant", "constant", "$warning"),
    ("duplicate", "duplicate", "$odd"),
)


def summary_of(layer: Layer) -> tuple[Line, ...]:
    """`5 untouched, 1 dead, 1 duplicate`, then what symmetry there is against what chance gives."""
    counted: list[Piece] = []
    counts = _counts(layer)
    for key, word, style in COUNT_WORDS:
        count = counts.get(key, 0)
        if count:
            counted += [(", ", "$dim")] * bool(counted) + [(tied(f"{count} {word}"), f"{style} bold")]
    unit = "filters" if layer.kernel else "units"
    if not counted and layer.initializer.get("verdict") == "partly":
        counted = [(_partly_words(layer, unit), "$warning")]
    if not counted and not layer.flagged_symmetric:
        counted = [(f"{NOTHING_ODD} among {human_count(layer.filters)} {unit}", "$dim")]
    return (*((tuple(counted),) if counted else ()), *_flagged_places(layer), *_symmetry(layer))


def _partly_words(layer: Layer, unit: str) -> str:
    """Values that never left what an initializer drew, where no filter as a whole can be named for it."""
    rows, share = layer.initializer.get("rows"), layer.initializer.get("on_grid")
    if isinstance(rows, int) and rows > 0:
        return f"{human_count(rows)} inputs untouched"
    some = f"{share:.0%}" if isinstance(share, float) else "some"
    return f"{some} of the values still as an initializer draws them; which {unit} can't be told"


def _counts(layer: Layer) -> Mapping[str, int]:
    """The layer's counts, but a dead filter that is all zero counts once."""
    both = sum(f.dead and f.zero for f in layer.detail)
    return {**layer.counts, "dead": max(layer.counts.get("dead", 0) - both, 0)}


def _flagged_places(layer: Layer) -> Sequence[Line]:
    """Which columns or rows are flagged, by the letter they are marked with, where there are no frames to say so."""
    units = units_of(layer, "")
    if units is None or len(units.flags) == layer.filters:
        return ()
    places: dict[str, list[int]] = {}
    tones = {flag.sign: flag.tone for flag in units.flags.values()}
    for index, flag in units.flags.items():
        places.setdefault(flag.sign, []).append(index)
    line: list[Piece] = []
    for sign, found in places.items():
        more = tied(f" … {human_count(len(found))} in all") if len(found) > 8 else ""
        told = f"{tied(' at')} {', '.join(map(str, found[:8]))}{more}".replace("at ", f"at{TIE}", 1)
        line += [("   ", "$dim")] * bool(line)
        line += [(sign, f"{TONE_STYLES[tones[sign]]} bold"), (told, "$dim")]
    return [tuple(line)]


def _symmetry(layer: Layer) -> Sequence[Line]:
    if layer.expected_symmetric is None:
        return ()
    count = layer.counts.get("symmetric", 0)
    if not layer.flagged_symmetric:
        # a constant filter equals its mirror image, and says nothing about the others
        count = max(count - sum(f.constant and not f.zero for f in layer.detail), 0)
        return [((f"symmetry: as chance gives {tied(f'({count} of {layer.filters})')}", "$dim"),)]
    expected, power = number_text(layer.expected_symmetric, 2), _power(layer.symmetry_p_value)
    chance = "chance gives none" if layer.expected_symmetric < NONE else f"by chance {expected} {tied(f'(p {power})')}"
    return [
        (
            (f"{tied(f'{count} of {layer.filters}')} symmetric", "$warning bold"),
            (f", {chance}", "$dim"),
        )
    ]


def _power(value: float | None) -> str:
    """One digit of a probability is enough."""
    if value is None:
        return "–"
    return f"{value:.0e}".replace("e-0", "e-").replace("-", "−") if value < 0.01 else number_text(value, 1)
