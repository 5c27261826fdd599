"""How a kernel's axes are meant: which cells a flip moves, which values feed one filter.

Everything after this works on one matrix: a row for each (cell, input channel), a column for each filter.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ckptui.core.names import clean

LAYER_LIMIT = 256 << 20
"""Largest tensor, in bytes, that is held as a whole and looked at filter by filter."""
BLOCK_VALUES = 1 << 21
"""Values widened to float64 at a time: 16 MB."""
MAX_CELLS = 1 << 16
"""Kernels with more cells are no convolutions."""
_WORDS = re.compile(r"[a-z0-9]+")
_PROJECTING = frozenset({"EinsumDense", "MultiHeadAttention", "GroupQueryAttention"})
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


Axes = Literal["plain", "depthwise", "transposed", "dense", "projection"]
"""How axes are meant: `plain` (..., in, out), `depthwise` (..., in, multiplier), `transposed` (..., out, in), `dense`
(inputs..., units), `projection` (inputs, units...): attention's queries, keys and values."""


def axes_of(
    shape: tuple[int, ...],
    *names: str,
    layer_class: str = "",
    bias: tuple[int, ...] | None = None,
    underscored: bool = False,
) -> Axes:
    """What a kernel's axes mean, by the best witness there is.

    `names`: tensor, layer, object path. `layer_class`: Keras' class where a config or group tells it. `bias`: the shape
    of the layer's bias, one value an output. `underscored`: the save keeps kernels of plain convolutions and dense
    layers as `_kernel`, as Keras 3 does in checkpoints: a `kernel` is then one of the other classes.
    """
    paths = [clean(name).lower() for name in names]
    words = {word for path in paths for word in (*path.split("/"), *_WORDS.findall(path))}
    if len(shape) == 2 or math.prod(shape[:-2]) > MAX_CELLS:
        return "dense"
    told = _by_class(shape, words, layer_class, bias)
    if told is not None:
        return told
    part = next((p for p in ("depthwise", "pointwise") if words & {f"{p}_kernel", f"{p}_weights"}), None)
    if part is not None:
        return "depthwise" if part == "depthwise" else "plain"
    guess = _by_words(shape, words)
    if bias is not None:
        guess = _by_bias(shape, guess, bias)
    own = clean(names[0]).rpartition("/")
    hidden = own[2] == "kernel" and own[0].rpartition("/")[2] != "cell"
    if guess == "plain" and underscored and hidden and (bias is None or shape[-1] == shape[-2]):
        return "depthwise" if shape[-1] == 1 < shape[-2] else "transposed"
    return guess


def _by_class(shape: tuple[int, ...], words: set[str], layer_class: str, bias: tuple[int, ...] | None) -> Axes | None:
    """What the class leaves no doubt of; None for one that is not known."""
    if layer_class in _PROJECTING:
        whole = "output" in words if bias is None else len(bias) == 1
        return "dense" if whole else "projection"
    if layer_class.startswith("SeparableConv"):
        first = "depthwise_kernel" in words or ("pointwise_kernel" not in words and math.prod(shape[:-2]) > 1)
        return "depthwise" if first else "plain"
    if layer_class.startswith("DepthwiseConv"):
        return "depthwise"
    if layer_class.startswith("Conv"):
        return "transposed" if layer_class.endswith("Transpose") else "plain"
    return "dense" if layer_class.startswith("LocallyConnected") else None


def _by_words(shape: tuple[int, ...], words: set[str]) -> Axes:
    """What names say; (k, in, out) and a projection of attention look alike."""
    line = len(shape) == 3 and not any(word.startswith("conv") for word in words)
    if line and (words & _SEQUENCE or any("attention" in word for word in words)):
        return "dense" if "output" in words else "projection"
    if "locally" in words:
        return "dense"
    places = math.prod(shape[:-2]) > 1
    if places and any("depthwise" in word or word == "dw" for word in words):
        return "depthwise"
    separable = any("separable" in word or word == "sepconv" for word in words)
    if separable and places:
        return "depthwise"
    if any("transpos" in word or word.startswith("deconv") for word in words):
        return "transposed"
    return "plain"


def _by_bias(shape: tuple[int, ...], guess: Axes, bias: tuple[int, ...]) -> Axes:
    """The reading whose outputs the bias has; the one names suggest where it is among them."""
    if len(bias) > 1:
        return "projection" if bias == shape[1:] else guess
    outputs: dict[Axes, int] = {
        "plain": shape[-1],
        "depthwise": shape[-2] * shape[-1],
        "transposed": shape[-2],
        "dense": shape[-1],
    }
    fitting = [axes for axes, count in outputs.items() if bias == (count,)]
    return guess if guess in fitting or not fitting else fitting[0]


def layout_of(array: NDArray[Any], role: str, *names: str, axes: str = "") -> KernelLayout | None:
    """Lay out a kernel or embedding; `axes` says how its axes are meant (see `axes_of`), else `names` do.

    None where there are no filters: other roles, fewer than two axes, nothing in it.
    """
    if role not in ("kernel", "embedding") or array.ndim < 2 or array.ndim > 6 or array.size == 0:
        return None
    if role == "embedding":
        # a table of positions has a leading axis of 1
        rows = array.reshape(array.shape[0] if array.shape[0] > 1 else array.shape[-2], -1)
        return KernelLayout(rows.T, (), int(rows.shape[1]), by_rows=True)
    meant = axes or axes_of(array.shape, *(names or ("",)))
    if meant in ("dense", "projection"):
        inputs = array.shape[0] if meant == "projection" else math.prod(array.shape[:-1])
        return KernelLayout(array.reshape(inputs, -1), (), inputs)
    if array.ndim > 5:
        return None
    kernel = array.shape[:-2]
    if meant == "depthwise":
        return KernelLayout(array.reshape(math.prod(kernel), -1), tuple(kernel), 1)
    if meant == "transposed":
        array = np.moveaxis(array, -1, -2)
    return KernelLayout(array.reshape(-1, array.shape[-1]), tuple(kernel), int(array.shape[-2]))
