"""How a kernel's axes are meant: which cells a flip moves, which values feed one filter.

Everything after this works on one matrix: a row for each (cell, input channel), a column for each filter.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK_VALUES = 1 << 21
"""Values widened to float64 at a time: 16 MB."""
MAX_CELLS = 1 << 16
"""Kernels with more cells are no convolutions."""
_WORDS = re.compile(r"[a-z0-9]+")
_SEQUENCE = frozenset({"attention", "query", "key", "value", "einsum", "qkv", "mha"})


@dataclass(frozen=True, slots=True)
class KernelLayout:
    """A kernel as rows of inputs and columns of filters."""

    matrix: NDArray[Any]
    """[cells x channels, filters] in the tensor's own dtype, usually a view; cells vary slowest."""
    kernel: tuple[int, ...]
    """[k], [h, w] or [d, h, w]; empty for dense kernels and embeddings."""
    channels: int
    """Input channels a filter sees: 1 for depthwise kernels, the dimension for embeddings."""
    by_rows: bool = False
    """An embedding: its rows are the filters, there are no input channels to look at one by one."""

    @property
    def filters(self) -> int:
        """Columns."""
        return int(self.matrix.shape[1])

    @property
    def values(self) -> int:
        """Values a filter."""
        return int(self.matrix.shape[0])

    @property
    def cells(self) -> int:
        """Positions of the kernel; 1 for dense kernels and embeddings."""
        return math.prod(self.kernel)

    def blocks(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """(first filter, columns) pieces of bounded size, in the tensor's own dtype."""
        width = max(1, BLOCK_VALUES // max(1, self.values))
        for start in range(0, self.filters, width):
            yield start, self.matrix[:, start : start + width]


def layout_of(array: NDArray[Any], role: str, *names: str) -> KernelLayout | None:
    """Lay out a kernel or embedding; `names` (tensor, layer, object path) tell depthwise, transposed, attention.

    None where there are no filters: other roles, fewer than two axes, nothing in it. Keras' axis orders:
    (k, in, out), (h, w, in, out), (d, h, w, in, out), depthwise (..., in, multiplier), transposed (..., out, in).
    """
    if role not in ("kernel", "embedding") or array.ndim < 2 or array.ndim > 5 or array.size == 0:
        return None
    if role == "embedding":
        rows = array.reshape(array.shape[0], -1)
        return KernelLayout(rows.T, (), int(rows.shape[1]), by_rows=True)
    words = set(_WORDS.findall(" ".join(names).lower()))
    if array.ndim == 2 or _is_dense(array, words):
        return _dense(array, words)
    if _is_depthwise(array, words):
        kernel = array.shape[:-2]
        return KernelLayout(array.reshape(math.prod(kernel), -1), tuple(kernel), 1)
    if any(word.startswith(("transpos", "deconv")) or word.endswith("transpose") for word in words):
        array = np.moveaxis(array, -1, -2)
    kernel = array.shape[:-2]
    return KernelLayout(array.reshape(-1, array.shape[-1]), tuple(kernel), int(array.shape[-2]))


def _is_dense(array: NDArray[Any], words: set[str]) -> bool:
    """Projections of attention have three axes too, but none of them is a place."""
    if math.prod(array.shape[:-2]) > MAX_CELLS:
        return True
    return array.ndim == 3 and (bool(words & _SEQUENCE) or any("attention" in word for word in words))


def _dense(array: NDArray[Any], words: set[str]) -> KernelLayout:
    if array.ndim > 2:
        inputs = math.prod(array.shape[:-1]) if "output" in words else array.shape[0]
        array = array.reshape(inputs, -1)
    return KernelLayout(array, (), int(array.shape[0]))


def _is_depthwise(array: NDArray[Any], words: set[str]) -> bool:
    if any("depthwise" in word or word == "dw" for word in words):
        return True
    separable = any("separable" in word or word == "sepconv" for word in words)
    return separable and not words & {"pointwise"} and math.prod(array.shape[:-2]) > 1
