"""What is to be said of each variant of `keras_configured`: (kind, layer, field, A's value, B's)."""

from __future__ import annotations

from typing import Any

EXPECTED: dict[str, tuple[str, str, str, Any, Any]] = {
    "padding": ("pictures", "c2", "padding", "same", "valid"),
    "strides": ("pictures", "c1", "strides", 1, 2),
    "dilation": ("pictures", "c2", "dilation_rate", 1, 2),
    "activation": ("pictures", "c1", "activation", "relu", "tanh"),
    "pooling": ("pictures", "pool", "class", "MaxPooling2D", "AveragePooling2D"),
    "pool_size": ("pictures", "pool", "pool_size", 2, 4),
    "epsilon": ("pictures", "bn", "epsilon", 1e-3, 1e-5),
    "policy": ("pictures", "c2", "dtype policy", "float32", "mixed_bfloat16"),
    "sequences": ("words", "seq", "return_sequences", False, True),
    "residual": ("pictures", "sum", "inputs", ["c3", "c2"], ["c3", "pool"]),
}
SILENT = [("pictures", "training"), ("numbered", "names"), ("pictures", "base")]
