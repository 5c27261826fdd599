"""TensorFlow's dtypes: their numbers, names, element sizes on disk, and the numpy dtype that shows them.

Numbers follow the `DataType` enum of TensorFlow's `types.proto`. Numpy is imported only when asked for one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

NAMES: dict[int, str] = {
    1: "float32",
    2: "float64",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    7: "string",
    8: "complex64",
    9: "int64",
    10: "bool",
    11: "qint8",
    12: "quint8",
    13: "qint32",
    14: "bfloat16",
    15: "qint16",
    16: "quint16",
    17: "uint16",
    18: "complex128",
    19: "float16",
    20: "resource",
    21: "variant",
    22: "uint32",
    23: "uint64",
    24: "float8_e5m2",
    25: "float8_e4m3fn",
    26: "float8_e4m3fnuz",
    27: "float8_e4m3b11fnuz",
    28: "float8_e5m2fnuz",
    29: "int4",
    30: "uint4",
    31: "int2",
    32: "uint2",
    33: "float4_e2m1fn",
}
"""Enum number to name."""

NUMBERS: dict[str, int] = {name: number for number, name in NAMES.items()}
"""Name to enum number."""

ITEMSIZE: dict[str, int] = {
    "float64": 8,
    "int64": 8,
    "uint64": 8,
    "complex64": 8,
    "complex128": 16,
    "float32": 4,
    "int32": 4,
    "uint32": 4,
    "qint32": 4,
    "float16": 2,
    "bfloat16": 2,
    "int16": 2,
    "uint16": 2,
    "qint16": 2,
    "quint16": 2,
    "uint8": 1,
    "int8": 1,
    "bool": 1,
    "qint8": 1,
    "quint8": 1,
    "float8_e5m2": 1,
    "float8_e4m3fn": 1,
    "float8_e4m3fnuz": 1,
    "float8_e4m3b11fnuz": 1,
    "float8_e5m2fnuz": 1,
    "int4": 1,
    "uint4": 1,
    "int2": 1,
    "uint2": 1,
    "float4_e2m1fn": 1,
}
"""Bytes of one stored element; sub-byte elements take one each. Strings, variants and resources have none."""

_QUANTISED = {"qint8": "int8", "quint8": "uint8", "qint16": "int16", "quint16": "uint16", "qint32": "int32"}
_COMPLEX = frozenset({"complex64", "complex128"})
_FLOATS = frozenset(name for name in ITEMSIZE if name.startswith(("float", "bfloat")))
_INTEGERS = frozenset(ITEMSIZE) - _FLOATS - _COMPLEX - {"bool"}


def dtype_name(number: int) -> str:
    """The name of an enum number; `#99` for one no one knows."""
    return NAMES.get(number) or f"#{number}"


def is_float(name: str) -> bool:
    """True for real floating point, the 4- and 8-bit ones too."""
    return name in _FLOATS


def is_complex(name: str) -> bool:
    """True for complex64 and complex128."""
    return name in _COMPLEX


def is_integer(name: str) -> bool:
    """True for signed, unsigned and quantised integers; not for bool."""
    return name in _INTEGERS


def np_dtype(name: str) -> np.dtype[Any]:
    """The numpy dtype, in native byte order, that shows stored elements of TensorFlow dtype `name`.

    Quantised integers show as plain ones. What the installed ml_dtypes lacks shows as unsigned integers of
    the same width: its raw bits. Raises KeyError for unknown dtypes and those without a fixed element size.
    """
    import numpy as np

    size = ITEMSIZE[name]
    plain = _QUANTISED.get(name, name)
    if hasattr(np, plain) or plain == "bool":
        return np.dtype(plain)
    import ml_dtypes

    scalar = getattr(ml_dtypes, plain, None)
    return np.dtype(f"u{size}") if scalar is None else np.dtype(scalar)


def native(values: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """1-D values side by side in memory and in this machine's byte order, as `dtype`; themselves where they are so."""
    if values.dtype is not dtype and values.dtype.byteorder == ">":
        values = values.astype(dtype)
    return values if values.flags.c_contiguous else values.copy()
