"""What a tensor's values are drawn as: filters, a heat map, bars or text. Pure; made in a thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ckptui.core.filter_flags import flag_of
from ckptui.core.heatmaps import strongest
from ckptui.core.layout import KernelLayout, layout_of
from ckptui.core.model import Layer, Tensor
from ckptui.core.pictures import FilterSet, has_places, layer_limit
from ckptui.core.text import human_count, number_text, safe
from ckptui.ui.fitting import tied
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


@dataclass(frozen=True, slots=True)
class Subject:
    """One tensor's values, ready to be drawn."""

    plan: Plan
    summary: tuple[Line, ...] = ()
    """What was found about its filters, in words."""
    pictures: FilterPictures | None = None
    matrix: Matrix | None = None
    vector: Array | None = None
    text: str = ""
    """The values themselves, or why there is nothing to see; harmless to a terminal."""


def kernel_layout(tensor: Tensor, array: Array) -> KernelLayout | None:
    """The layout of a tensor that holds filters with places; None for anything else.

    Slots of a kernel have its shape: they are drawn like it where their rank leaves no doubt.
    """
    if tensor.role != "kernel" and array.ndim < 4:
        return None
    layout = layout_of(array, "kernel", tensor.name, tensor.layer, tensor.object_path)
    if layout is None or not has_places(layout.kernel):
        return None
    return layout


def subject_of(tensor: Tensor, array: Array, layer: Layer | None) -> Subject:
    """Make a tensor's values ready to be drawn."""
    with np.errstate(all="ignore"):
        return _subject_of(tensor, array, layer)


def _subject_of(tensor: Tensor, array: Array, layer: Layer | None) -> Subject:
    summary = summary_of(layer) if layer is not None else ()
    if not array.size:
        return Subject("nothing", text="no values")
    if tensor.dtype in ("string", "variant", "resource") or array.size <= FEW:
        return Subject("values", summary, text=values_text(array))
    if np.iscomplexobj(array):
        array = array.real
    if array.ndim == 1:
        return Subject("bars", summary, vector=np.asarray(array).astype(np.float32))
    layout = kernel_layout(tensor, array)
    if layout is not None:
        return Subject("filters", summary, pictures=FilterSet(layout, layer))
    return Subject("matrix", summary, matrix=matrix_of(tensor, array))


def matrix_of(tensor: Tensor, array: Array) -> Matrix:
    """Lay a tensor out as rows and columns; leading axes of size 1 fall away, further ones run down together."""
    shape = tuple(s for s in array.shape[:-2] if s != 1) + array.shape[-2:]
    flat = np.asarray(array).reshape(-1, array.shape[-1]).astype(np.float32)
    down, across = "axis 0", f"axis {array.ndim - 1}"
    if len(shape) == 2 and tensor.role == "kernel":
        down, across = "inputs", "outputs"
    elif len(shape) == 2 and tensor.role == "embedding":
        down, across = "entries", "dimensions"
    elif len(shape) > 2:
        down = f"axes 0 to {array.ndim - 2}"
    return Matrix(strongest(flat, MATRIX_SIDE, MATRIX_SIDE), layer_limit(flat), flat.shape, (down, across))


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
            counted += [(", ", "$dim")] * bool(counted) + [(f"{count} {word}", f"{style} bold")]
    unit = "filters" if layer.kernel else "units"
    if not counted and layer.initializer.get("verdict") == "partly":
        counted = [(_partly_words(layer, unit), "$warning")]
    if not counted and not layer.flagged_symmetric:
        counted = [(f"nothing odd among {human_count(layer.filters)} {unit}", "$dim")]
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
    """Which columns or rows are flagged, where there are no frames to say so."""
    if layer.kernel and max(layer.kernel) > 1:
        return ()
    places = [str(f.index) for f in layer.detail if flag_of(f, layer) is not None]
    if not places or len(places) == layer.filters:
        return ()
    more = f" … {len(places)} in all" if len(places) > 8 else ""
    return [((f"at {', '.join(places[:8])}{more}", "$dim"),)]


def _symmetry(layer: Layer) -> Sequence[Line]:
    if layer.expected_symmetric is None:
        return ()
    count = layer.counts.get("symmetric", 0)
    if not layer.flagged_symmetric:
        return [((f"symmetry: as chance gives {tied(f'({count} of {layer.filters})')}", "$dim"),)]
    expected = number_text(layer.expected_symmetric, 2)
    return [
        (
            (f"{tied(f'{count} of {layer.filters}')} symmetric", "$warning bold"),
            (f", by chance {expected} {tied(f'(p {_power(layer.symmetry_p_value)})')}", "$dim"),
        )
    ]


def _power(value: float | None) -> str:
    """One digit of a probability is enough."""
    if value is None:
        return "–"
    return f"{value:.0e}".replace("e-0", "e-").replace("-", "−") if value < 0.01 else number_text(value, 1)
