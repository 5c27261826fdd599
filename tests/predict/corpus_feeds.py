"""What every model of the corpus is fed, by its inputs alone: both sides of the comparison make the same."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np

ROWS = 2


def example(**features: float) -> bytes:
    """A serialized tf.train.Example of single floats, written by hand."""

    def field(number: int, data: bytes) -> bytes:
        return bytes([number << 3 | 2, len(data)]) + data

    entries = b""
    for name, value in features.items():
        floats = field(2, field(1, struct.pack("<f", value)))
        entries += field(1, field(1, name.encode()) + field(2, floats))
    return field(1, entries)


def arrays_for(case: str, ends: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sets of arrays by input name to try in turn, for inputs `{"name", "dtype", "shape"}`; drawn from the names.

    An open first extent becomes ROWS, an open other one 5. The second set gives [ROWS, 1] to every input of numbers:
    one old export says its input is a scalar and takes only that.
    """
    found = []
    for shape_of in (declared, lambda end: (ROWS, 1)):
        given = {}
        for end in sorted(ends, key=lambda end: str(end["name"])):
            # a single input is called otherwise by every Keras
            told = end["name"] if len(ends) > 1 else ""
            draw = np.random.default_rng(zlib.crc32((case + "/" + told).encode()))
            if end["dtype"] == "string":
                made = [example(x=float(draw.normal()), x2=float(draw.normal())) for _ in range(ROWS)]
                given[end["name"]] = np.array(made, dtype=object)
            elif end["dtype"].startswith(("int", "uint")):
                given[end["name"]] = draw.integers(0, 9, shape_of(end)).astype(end["dtype"])
            else:
                given[end["name"]] = draw.random(shape_of(end)).astype(end["dtype"])
        found.append(given)
    return found


def declared(end: dict[str, Any]) -> tuple[int, ...]:
    """The stated shape, its open extents filled."""
    shape = end["shape"] if end["shape"] is not None else [None, 1]
    return tuple((ROWS if not place else 5) if extent is None else extent for place, extent in enumerate(shape))


def takes_image(ends: list[dict[str, Any]]) -> bool:
    """One input [n, h, w, 1 or 3]."""
    shape = ends[0]["shape"] if len(ends) == 1 else None
    return shape is not None and len(shape) == 4 and shape[3] in (1, 3) and None not in shape[1:]
