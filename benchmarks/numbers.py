"""Bytes a second of the statistics of each dtype, against numpy in float64; one JSON list of rows.

Usage: `python -m benchmarks.numbers ROUNDS`. Values lie in memory, in pieces as large as a scan reads them.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from ckptui.core import dtypes
from ckptui.core.glance import Glance
from ckptui.core.stats import StatsAccumulator
from ckptui.engine.checked import CHUNK

NAMES = (
    "float32",
    "float64",
    "float16",
    "bfloat16",
    "float8_e4m3fn",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "int32",
    "int64",
    "uint8",
    "bool",
)
TOTAL = 16 << 20

Array = np.ndarray[Any, Any]


def values(name: str) -> Array:
    """TOTAL bytes of ordinary values."""
    dtype = dtypes.np_dtype(name)
    rng = np.random.default_rng(0)
    count = TOTAL // dtype.itemsize
    if dtypes.is_float(name):
        return rng.normal(0, 0.05, count).astype(dtype)
    if name == "bool":
        return rng.integers(0, 2, count).astype(bool)
    most = int(np.iinfo(dtype).max)
    return rng.integers(0, min(most, 1_000_000), count).astype(dtype)


def plain(array: Array) -> tuple[Any, ...]:
    """The same numbers, each by a call of numpy."""
    wide = array.astype(np.float64)
    finite = np.isfinite(wide)
    return (
        np.count_nonzero(finite), np.count_nonzero(np.isnan(wide)), np.count_nonzero(np.isposinf(wide)),
        np.count_nonzero(np.isneginf(wide)), np.count_nonzero(wide == 0), wide.min(), wide.max(), wide.argmin(),
        wide.argmax(), wide.mean(), wide.std(), np.sqrt(np.dot(wide, wide)),
    )  # fmt: skip


def in_pieces(taker: StatsAccumulator | Glance, array: Array) -> None:
    """Hand over the array as a scan would."""
    step = CHUNK // array.dtype.itemsize
    for start in range(0, array.size, step):
        taker.add(array[start : start + step])
    taker.result()


def rate(work: Callable[[], object], rounds: int) -> float:
    """GB/s, the best of some rounds after one that does not count."""
    taken = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return TOTAL / min(taken[1:]) / 1e9


def measured(name: str, rounds: int) -> tuple[str, float, float, float | None]:
    """(dtype, all statistics, numpy, what `check` asks), in GB/s; of integers `check` asks next to nothing."""
    array = values(name)
    return (
        name,
        rate(lambda: in_pieces(StatsAccumulator(name), array), rounds),
        rate(lambda: plain(array), rounds),
        rate(lambda: in_pieces(Glance(name), array), rounds) if dtypes.is_float(name) else None,
    )


if __name__ == "__main__":
    print(json.dumps([measured(name, int(sys.argv[1])) for name in NAMES]))
