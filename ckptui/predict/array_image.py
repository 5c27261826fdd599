"""Images given as arrays: an `.npy` of bytes is an image like any other, one of other numbers the input itself.

Runs in the image child. Numbers are fitted to the model's size and channels as an image is, their values stay.
"""

from __future__ import annotations

import math
from typing import IO, Any

import numpy as np
from PIL import Image

from ckptui.core.text import shape_text
from ckptui.predict.worker.errors import Refused, brief

Array = np.ndarray[Any, Any]

MAX_PIXELS = 64_000_000
MAX_SIDE = 8192
"""Largest side asked of a resize."""
WIDE = ("float64", "int32", "uint32", "int64", "uint64")
"""Dtypes of whose values float32 may lose digits."""
LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in grey, ITU-R BT.601: those of Pillow's mode L."""


def too_large(width: int, height: int) -> None:
    """Refuse more pixels than the cap, before any is decoded."""
    if width * height > MAX_PIXELS:
        raise Refused("image", f"{width} x {height} pixels are more than {MAX_PIXELS:,}", "Scale it down first")


def sizable(size: tuple[int, int]) -> None:
    """Refuse a side no resize should be asked for."""
    if max(size) > MAX_SIDE:
        raise Refused("image", f"the model wants {size[0]} x {size[1]} pixels, more than {MAX_SIDE} a side")


def read_array(file: IO[bytes], path: str) -> Array:
    """The array of an `.npy`; Refused for anything that can be no image, before it is read."""
    try:
        version = np.lib.format.read_magic(file)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = reader(file)
        if dtype.hasobject or dtype.kind not in "biuf" or not 1 <= len(shape) <= 4:
            raise Refused("image", f"{path} holds {dtype} {list(shape)}: no image", "--input takes any array")
        too_large(int(np.prod(shape if len(shape) < 3 else shape[:-1], dtype=object)), 1)
        file.seek(0)
        array: Array = np.load(file, allow_pickle=False)
    except (ValueError, OSError, EOFError, TypeError) as error:
        raise Refused("image", f"{path} is no readable .npy: {brief(error)}") from error
    return array


def as_image(array: Array, path: str, in_a_row: tuple[int, int, int] | None = None) -> tuple[Array, list[str]]:
    """[h, w, c] from [h, w], [h, w, c], [c, h, w] or the first of a batch of these, and what had to be decided.

    `in_a_row` is the height, width and channels of a model that takes all values in one row: such a row is taken too.
    """
    if in_a_row is not None and array.size == math.prod(in_a_row) and array.size == max(array.shape):
        return array.reshape(in_a_row), []
    notes = []
    if array.ndim == 4:
        if len(array) > 1:
            notes.append(f"the first of {len(array)} arrays")
        array = array[:1].reshape(array.shape[1:]) if len(array) else array.reshape(array.shape[1:])
    if array.ndim == 3 and array.shape[2] not in (1, 3) and array.shape[0] in (1, 3):
        notes.append("channels moved from first to last")
        array = np.moveaxis(array, 0, -1)
    if array.ndim < 2:
        raise Refused("image", f"{path} holds {array.dtype} {list(array.shape)}: no image")
    return array[..., None] if array.ndim == 2 else array, notes


def fitted_numbers(values: Array, size: tuple[int, int] | None, channels: int) -> tuple[Array, list[str]]:
    """[h, w, c] in the size (width, height) and channels of the model, and what was done in words.

    Each channel is resized by itself with Pillow's BILINEAR in mode F, which gives float32. What fits stays untouched,
    to the bit, float32 unless that would lose digits; what is a single row or column of values is no image and stays
    as it is, too.
    """
    notes = not_finite(values)
    height, width, own = values.shape
    line = min(height, width) < 1 or (min(height, width) == 1 and size not in (None, (width, height)))
    fits = (channels, own) not in ((1, 3), (3, 1)) and (size in (None, (width, height)) or own not in (1, 3))
    if line or fits:
        dtype = values.dtype.newbyteorder("=") if values.dtype.name in WIDE else np.dtype(np.float32)
        return np.ascontiguousarray(values.astype(dtype)), notes
    values = np.ascontiguousarray(values.astype(np.float32))
    if channels == 1 and own == 3:
        values = (values.astype(np.float64) @ np.array(LUMA)).astype(np.float32)[..., None]
        notes.append("made grey by 0.299 red, 0.587 green, 0.114 blue")
    elif channels == 3 and own == 1:
        values = np.repeat(values, 3, axis=-1)
        notes.append("grey repeated in three channels")
    if size is not None and size != (width, height) and values.shape[-1] in (1, 3):
        sizable(size)
        planes = [Image.fromarray(np.ascontiguousarray(plane)) for plane in np.moveaxis(values, -1, 0)]
        values = np.stack([np.asarray(plane.resize(size, Image.Resampling.BILINEAR)) for plane in planes], axis=-1)
        was, now = shape_text((height, width)), shape_text((size[1], size[0]))
        notes.append(f"resized from {was} to {now} (height×width), values as they are")
    return values, notes


def not_finite(values: Array) -> list[str]:
    """How many values are no finite number."""
    if values.dtype.kind != "f":
        return []
    nan, infinite = int(np.isnan(values).sum()), int(np.isinf(values).sum())
    told = [f"{count:,} {name}" for count, name in ((nan, "NaN"), (infinite, "infinite")) if count]
    return [f"{' and '.join(told)} of {values.size:,} values, given as they are"] if told else []


def stretched(own: tuple[int, int], size: tuple[int, int]) -> list[str]:
    """Where a resize changes how wide an image is for its height, by more than rounding: (width, height) of both."""
    if abs(own[0] * size[1] - own[1] * size[0]) <= max(own):
        return []
    return [f"{own[0]}×{own[1]} resized to {size[0]}×{size[1]} (width×height), another aspect ratio"]
