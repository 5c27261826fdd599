"""Arrays held against what a model's input states: dtype and shape made to fit, or an error that says both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ckptui.core.dtypes import np_dtype
from ckptui.core.text import shape_text
from ckptui.errors import UsageError

Array = np.ndarray[Any, Any]

TEXT = "OSU"


def described(entry: Mapping[str, Any]) -> str:
    """`float32 ?×28×28×1`: what an input takes."""
    shape = entry.get("shape")
    told = "of any shape" if shape is None else shape_text(shape) or "a single value"
    return f"{entry.get('dtype')} {told}"


def listed(inputs: Sequence[Mapping[str, Any]]) -> str:
    """Every input with what it takes."""
    return ", ".join(f"{entry['name']} {described(entry)}" for entry in inputs) or "none"


def fitted(values: Array, entry: Mapping[str, Any], what: str) -> tuple[Array, list[str]]:
    """The values in the dtype and shape of the input, and what was done to them.

    A missing batch axis is added. Raises UsageError saying what is there and what the model takes.
    """
    name, notes = str(entry["name"]), []
    cast = as_dtype(values, str(entry["dtype"]), f"{what}, for {name},")
    if cast.dtype != values.dtype and values.dtype.kind not in TEXT + "V":
        notes.append(f"{name}: {values.dtype.name} made {entry['dtype']}")
    wanted = entry.get("shape")
    if wanted is None or matches(cast.shape, wanted):
        return cast, notes
    if wanted and matches((1, *cast.shape), wanted):
        notes.append(f"{name}: a batch axis was added")
        return cast[None], notes
    if cast.size == 1 and all(extent in (None, 1) for extent in wanted):
        # TF1 exports may state a scalar where their graph takes a batch of single values
        return cast.reshape((1,) * len(wanted)), notes
    if wanted and wanted[-1] == 1 and cast.ndim and matches((*cast.shape, 1), wanted):
        notes.append(f"{name}: a last axis of 1 was added")
        return cast[..., None], notes
    held = f"the shape {shape_text(cast.shape)}" if cast.ndim else "a single value"
    raise UsageError(f"{what} holds {held}, {name} takes {described(entry)}")


def matches(shape: Sequence[int], wanted: Sequence[int | None]) -> bool:
    """Whether an array of that shape is one the model takes; None stands for any extent."""
    return len(shape) == len(wanted) and all(w is None or w == s for s, w in zip(shape, wanted, strict=True))


def as_dtype(values: Array, dtype: str, what: str) -> Array:
    """The values in TensorFlow's `dtype`; raises UsageError where they do not fit in there."""
    if dtype == "string":
        if values.dtype.kind not in TEXT:
            raise UsageError(f"{what} holds {values.dtype.name}, the model takes strings")
        return values
    try:
        wanted = np.dtype(np_dtype(dtype))
    except (KeyError, TypeError, ValueError):
        raise UsageError(f"the model takes {dtype}, which no file can give") from None
    if values.dtype.kind in TEXT:
        raise UsageError(f"{what} holds text, the model takes {dtype}")
    if values.dtype.kind == "V":
        if dtype != "bfloat16" or values.dtype.itemsize != 2:
            raise UsageError(f"{what} holds raw bytes, the model takes {dtype}")
        return np.ascontiguousarray(values).view(wanted)
    if values.dtype == wanted:
        return values
    if values.dtype.kind == "c" and wanted.kind != "c":
        raise UsageError(f"{what} holds complex numbers, the model takes {dtype}")
    if dtype == "bool" or dtype.startswith(("int", "uint")):
        return _whole(values, wanted, dtype, what)
    with np.errstate(over="ignore", invalid="ignore"):
        cast = values.astype(wanted)
    if wanted.kind != "c" and cast.size and values.dtype.kind != "b":
        lost = np.isfinite(values) & ~np.isfinite(cast.astype(np.float64))
        if lost.any():
            raise UsageError(f"{what} holds {values[lost].reshape(-1)[0]:g}, too large for the model's {dtype}")
    return cast


def _whole(values: Array, wanted: np.dtype[Any], dtype: str, what: str) -> Array:
    """Whole numbers within the range of the dtype."""
    if values.dtype.kind == "b" and dtype != "bool":
        return values.astype(wanted)
    low, high = (0, 1) if dtype == "bool" else (np.iinfo(wanted).min, np.iinfo(wanted).max)
    if values.dtype.kind == "f":
        # Not one comparison holds for NaN; 2**63 as a float is beyond int64, so the bound itself is left out.
        fits = (values >= low) & (values < high + 1) & (values == np.floor(values))
    else:
        fits = (values >= low) & (values <= high)
    if not fits.all():
        wrong = values[~fits].reshape(-1)[0]
        raise UsageError(f"{what} holds {wrong:g}, the model takes {dtype}")
    return values.astype(wanted)
