"""How far one layer's output follows the input: the same layer's values for several probes, as numbers of one row."""

from __future__ import annotations

from typing import Any

PIECE = 1 << 18
"""Values widened to float64 at a time."""
EDGES = {
    "sigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "softsign": (-1.0, 1.0),
    "relu6": (0.0, 6.0),
}
"""Where an activation flattens out."""
NEAR = 1e-6
"""Distance from an edge that counts as on it."""


class Spread:
    """Collects the values of several probes, one tensor after another."""

    def __init__(self, activation: str = "") -> None:
        self.spread = 0.0
        self.scale = 0.0
        self.finite = True
        self.shape: list[Any] = []
        self._edges = EDGES.get(activation)
        self._count = 0
        self._zeros = 0
        self._flat = 0
        self._started = False

    def add(self, values: Any) -> None:
        """The same tensor of every probe, a list of arrays; shapes that differ count as a difference without end."""
        import numpy as np

        arrays = [np.asarray(value) for value in values]
        if not self._started:
            self.shape, self._started = list(arrays[0].shape), True
        if any(array.shape != arrays[0].shape or array.dtype != arrays[0].dtype for array in arrays):
            self.spread = float("inf")
            return
        if arrays[0].dtype.kind not in "biufc" and arrays[0].dtype.name not in ("bfloat16",):
            same = all(array.tolist() == arrays[0].tolist() for array in arrays)
            self.spread = max(self.spread, 0.0 if same else 1.0)
            self.scale = max(self.scale, 1.0)
            return
        flat = [array.reshape(-1) for array in arrays]
        for start in range(0, flat[0].size, PIECE):
            self._piece(np.stack([wide(array[start : start + PIECE]) for array in flat]))

    def _piece(self, block: Any) -> None:
        import numpy as np

        finite = np.isfinite(block)
        whole = bool(finite.all())
        self.finite = self.finite and whole
        self._count += block.size
        self._zeros += int((block == 0).sum())
        if self._edges is not None:
            on = (np.abs(block - self._edges[0]) <= NEAR) | (np.abs(block - self._edges[1]) <= NEAR)
            self._flat += int(on.sum())
        kept = block if whole else block[finite]
        if kept.size:
            self.scale = max(self.scale, float(np.abs(kept).max()))
        if whole:
            self.spread = max(self.spread, float((block.max(axis=0) - block.min(axis=0)).max(initial=0.0)))
            return
        # Where not all are numbers: the same NaN or infinity in every probe is no difference, any other is.
        with np.errstate(invalid="ignore"):
            same = ((block == block[0]) | (np.isnan(block) & np.isnan(block[0]))).all(axis=0)
        numbers = finite.all(axis=0)
        if bool((~same & ~numbers).any()):
            self.spread = float("inf")
        elif bool(numbers.any()):
            part = block[:, numbers]
            self.spread = max(self.spread, float((part.max(axis=0) - part.min(axis=0)).max()))

    def numbers(self) -> dict[str, Any]:
        """The row: `spread`, `scale`, `zeros` (share), `flat` (share on the activation's edges), `finite`, `shape`.

        An infinite spread is said as null: JSON has no infinity.
        """
        count = max(self._count, 1)
        return {
            "spread": self.spread if self.spread != float("inf") else None,
            "scale": self.scale,
            "zeros": self._zeros / count,
            "flat": self._flat / count,
            "finite": self.finite,
            "shape": [None] + self.shape[1:] if self.shape else [],
        }


def wide(values: Any) -> Any:
    """In float64; of a complex number the magnitude."""
    import numpy as np

    return np.abs(values).astype(np.float64) if values.dtype.kind == "c" else values.astype(np.float64)


def array_of(value: Any) -> Any:
    """A tensor of any kind as an array: ragged and sparse ones filled up."""
    import numpy as np

    if type(value).__name__ == "SparseTensor":
        import tensorflow

        value = tensorflow.sparse.to_dense(value)
    elif hasattr(value, "to_tensor"):
        value = value.to_tensor()
    return np.asarray(value.numpy() if hasattr(value, "numpy") else value)


def activation_of(layer: Any) -> str:
    """The name of the function a layer ends in: of its `activation`, else of the layer itself."""
    function = getattr(layer, "activation", None)
    name = getattr(function, "__name__", None) or (function if isinstance(function, str) else None)
    if name is None:
        name = type(layer).__name__
        name = {"HardSigmoid": "hard_sigmoid"}.get(name, name.lower())
    if name == "relu" and getattr(layer, "max_value", None) == 6:
        name = "relu6"
    return str(name)
