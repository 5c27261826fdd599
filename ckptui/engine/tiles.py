"""A partitioned tensor put together row by row, with flipped bits turned back and lost tiles left open."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import Any

import numpy as np

from ckptui.core.dtypes import ITEMSIZE, is_complex, is_float, np_dtype
from ckptui.core.model import Slice, Tensor
from ckptui.errors import Damaged
from ckptui.readers.source import Source

Array = np.ndarray[Any, Any]


def little(raw: Array, tensor: Tensor) -> Array:
    """Stored bytes (uint8) with every number little-endian; the halves of complex numbers are swapped each alone."""
    width = ITEMSIZE[tensor.dtype]
    if not tensor.storage.big_endian or width == 1:
        return raw
    half = width // 2 if is_complex(tensor.dtype) else width
    swapped: Array = np.ascontiguousarray(raw).reshape(-1).view(f"u{half}").byteswap().view(np.uint8)
    return swapped


def nothing(dtype: str) -> Array | None:
    """The bytes of the NaN that marks a hole; None for a dtype that has none."""
    if not (is_float(dtype) or is_complex(dtype)):
        return None
    value = np.array([np.nan]).astype(np_dtype(dtype))
    return value.view(np.uint8) if np.isnan(value.astype(np.complex128)).all() else None


def bands(
    tensor: Tensor,
    repairs: Mapping[int, tuple[int, int]],
    holes: frozenset[int],
    chunk: int,
    beat: Callable[[int], None],
) -> Iterator[memoryview]:
    """The elements in C order, little-endian, about `chunk` bytes of rows at a time.

    `repairs`: tile number to the (byte, bit) to turn back; tiles in `holes` are not read, their values are NaN.

    Raises:
        Damaged: the tiles do not cover the tensor, or a hole is in a dtype without NaN.
        ChangedWhileReading: somebody writes one of the files.
    """
    width = ITEMSIZE[tensor.dtype]
    hole = nothing(tensor.dtype)
    if holes and hole is None:
        raise Damaged(f"{tensor.name}: {tensor.dtype} has no value for what is lost")
    shape = tensor.shape or (1,)
    tiles = [tile if tensor.shape else Slice((0,), (1,), tile.segment, tile.crc32c) for tile in tensor.storage.slices]
    step = max(1, chunk // max(1, prod(shape[1:]) * width))
    sources: dict[str, Source] = {}
    try:
        for number, tile in enumerate(tiles):
            if number not in holes and tile.segment.file not in sources:
                sources[tile.segment.file] = Source(tile.segment.file)
        for first in range(0, shape[0], step):
            last = min(first + step, shape[0])
            band = np.zeros((last - first, *shape[1:], width), np.uint8)
            open_ = np.ones(band.shape[:-1], bool)
            for number, tile in enumerate(tiles):
                where = _within(tile, first, last)
                if where is None:
                    continue
                open_[where] = False
                if number not in holes:
                    rows = _rows(tile, first, last, sources, width, repairs.get(number))
                    band[where] = little(rows, tensor).reshape(rows.shape)
                elif hole is not None:
                    band[where] = hole
            if open_.any():
                raise Damaged(f"{tensor.name}: its tiles do not cover rows {first} to {last}")
            flat: Any = band.reshape(-1)
            yield memoryview(flat)
            beat(band.nbytes)
        for source in sources.values():
            source.fence()
    finally:
        for source in sources.values():
            source.close()


def _within(tile: Slice, first: int, last: int) -> tuple[slice, ...] | None:
    """Where in rows `first` to `last` a tile goes; None where it has none of them."""
    low, high = max(first, tile.start[0]), min(last, tile.start[0] + tile.shape[0])
    if low >= high or not prod(tile.shape[1:]):
        return None
    rest = (slice(s, s + n) for s, n in zip(tile.start[1:], tile.shape[1:], strict=True))
    return (slice(low - first, high - first), *rest)


def _rows(
    tile: Slice, first: int, last: int, sources: Mapping[str, Source], width: int, flip: tuple[int, int] | None
) -> Array:
    """The bytes that a tile has of rows `first` to `last` of the whole, the elements' own along the last axis."""
    low, high = max(first, tile.start[0]), min(last, tile.start[0] + tile.shape[0])
    size = prod(tile.shape[1:]) * width
    start = (low - tile.start[0]) * size
    data = bytearray(sources[tile.segment.file].pread(tile.segment.offset + start, (high - low) * size))
    if flip is not None and start <= flip[0] < start + len(data):
        data[flip[0] - start] ^= 1 << flip[1]
    return np.frombuffer(data, np.uint8).reshape(high - low, *tile.shape[1:], width)
