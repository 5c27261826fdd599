"""One tensor of one save in numbers, and how far it went since the save before; chunk by chunk, in float64.

Not finite values are counted and left out of norms. `changed` counts elements whose bits differ, so that the same NaN
is no change. Norms are carried on by `math.hypot`, which neither overflows nor underflows on the way.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
from crc32c import crc32c

from ckptui.core import dtypes
from ckptui.engine.stretch import Stretch, in_range

Array = np.ndarray[Any, Any]

BLOCK = 1 << 13
"""Elements widened at a time: the temporaries stay in the cache, and BLAS starts no threads for so few."""
_SMALL = 1e-280
_LARGE = 1e300
"""Between these a sum of squares has lost nothing."""


class PointAccumulator:
    """Takes the elements of a tensor in order, beside those of the save before where there are such."""

    def __init__(self, dtype: str) -> None:
        """`dtype` is TensorFlow's name."""
        self._numbers = dtypes.is_float(dtype) or dtypes.is_integer(dtype) or dtype == "bool"
        self._complex = dtypes.is_complex(dtype)
        self._count = self._nonfinite = self._changed = self._crc = self._bytes = 0
        self._norm = self._distance = 0.0
        self._compared = False
        self._first: Any = None

    def add(self, now: Array, before: Array | None = None) -> None:
        """The next elements: 1-D, native byte order; `before` of the same dtype and length, None for all or none.

        Raises ValueError when lengths or dtypes differ.
        """
        if before is not None:
            if before.shape != now.shape or before.dtype != now.dtype:
                raise ValueError(f"{now.shape} {now.dtype} against {before.shape} {before.dtype}")
            self._compared = True
        if self._count == 0 and now.size:
            self._first = now[0]
        self._count += int(now.size)
        if now.dtype.kind == "O":
            self._add_strings(now, before)
            return
        self._add_checksum(now)
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            for start in range(0, now.size, BLOCK):
                stop = start + BLOCK
                self._add_block(now[start:stop], None if before is None else before[start:stop])

    def result(self) -> Stretch:
        """The numbers over all that was added."""
        known = self._numbers or self._complex
        single = self._count == 1 and self._numbers and self._first is not None
        return Stretch(
            self._count,
            in_range(self._norm) if known else None,
            in_range(self._distance) if known and self._compared else None,
            self._changed if self._compared else None,
            self._nonfinite,
            self._crc,
            self._bytes,
            in_range(float(self._first)) if single else None,
        )

    def _add_checksum(self, now: Array) -> None:
        flat = np.ascontiguousarray(now)
        if sys.byteorder == "big":
            flat = flat.byteswap()
        raw: Any = flat.view(np.uint8)
        self._crc = crc32c(raw, self._crc)
        self._bytes += raw.size

    def _add_strings(self, now: Array, before: Array | None) -> None:
        """Each string counts with its length: moving a border between two of them is a change."""
        for item in now:
            raw = item if isinstance(item, bytes) else str(item).encode()
            head = len(raw).to_bytes(8, "little")
            self._crc = crc32c(raw, crc32c(head, self._crc))
            self._bytes += len(head) + len(raw)
        if before is not None:
            self._changed += int(np.count_nonzero(now != before))

    def _add_block(self, now: Array, before: Array | None) -> None:
        changed = 0
        if before is not None:
            changed = _differing(now, before)
            self._changed += changed
        if not (self._numbers or self._complex):
            return
        wide = _widen(now)
        norm, bad = _norm(wide)
        if bad:
            self._nonfinite += _elements(~np.isfinite(wide), self._complex)
        self._norm = math.hypot(self._norm, norm)
        if before is not None and changed:
            self._distance = math.hypot(self._distance, _norm(_apart(now, before, wide))[0])


def _differing(now: Array, before: Array) -> int:
    """Elements whose bits differ."""
    size = now.dtype.itemsize
    if size > 8:
        pair = (np.ascontiguousarray(side).view(np.uint64).reshape(-1, size // 8) for side in (now, before))
        one, other = pair
        return int(np.count_nonzero((one != other).any(axis=1)))
    kind = np.dtype(f"u{size}")
    one, other = np.ascontiguousarray(now).view(kind), np.ascontiguousarray(before).view(kind)
    return int(np.count_nonzero(one != other))


def _widen(values: Array) -> Array:
    """In float64; real and imaginary parts one after the other."""
    if values.dtype.kind == "c":
        flat: Array = np.ascontiguousarray(values.astype(np.complex128)).view(np.float64)
        return flat
    return values.astype(np.float64)


def _apart(now: Array, before: Array, wide: Array) -> Array:
    """now - before in float64, of 64-bit integers exact before it is rounded."""
    if now.dtype.kind in "iu" and now.dtype.itemsize == 8:
        exact = np.maximum(now, before).view(np.uint64) - np.minimum(now, before).view(np.uint64)
        return np.asarray(exact.astype(np.float64))
    return np.asarray(wide - _widen(before))


def _norm(values: Array) -> tuple[float, bool]:
    """l2 of the finite values, and whether there are others."""
    squares = float(np.dot(values, values))
    if _SMALL < squares < _LARGE:
        return math.sqrt(squares), False
    finite = values[np.isfinite(values)]
    largest = float(np.abs(finite).max()) if finite.size else 0.0
    if not largest:
        return 0.0, finite.size < values.size
    scaled = finite / largest
    return largest * math.sqrt(float(np.dot(scaled, scaled))), finite.size < values.size


def _elements(flags: Array, pairs: bool) -> int:
    return int(np.count_nonzero(flags.reshape(-1, 2).any(axis=1) if pairs else flags))
