"""A value no training makes is found however its tensor is stored, with statistics and without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui.core import dtypes
from ckptui.core.model import Storage, Tensor, TensorScan
from ckptui.core.peaks import Peaks, peaks_of
from ckptui.engine.scan import ValueSink
from tests.engine.test_scan import Shard, codes, scan, shard, tiled

Array = np.ndarray[Any, Any]

__all__ = ["shard"]

CODE = "implausible-values"
BOTH = pytest.mark.parametrize("stats", [True, False])
WATCHED = ("float16", "bfloat16", "float32", "float64")


def weights(name: str = "float32", shape: tuple[int, ...] = (40, 50), at: int | None = 777) -> Array:
    array = np.random.default_rng(3).normal(0, 0.05, shape).astype(dtypes.np_dtype(name))
    if at is not None:
        array.reshape(-1)[at] = 900.0
    return array


def the_index(found: TensorScan) -> list[Any]:
    return [finding.evidence.get("index") for finding in found.findings if finding.code == CODE]


@BOTH
@pytest.mark.parametrize(
    ("name", "big"), [*((name, False) for name in WATCHED), *((name, True) for name in WATCHED if name != "bfloat16")]
)
def test_in_plain_bytes(name: str, big: bool, stats: bool, shard: Shard) -> None:
    array = weights(name)
    stored = array.astype(array.dtype.newbyteorder(">")) if big else array
    tensor = shard.plain("t", stored, name, big_endian=big, role="kernel")
    whole = shard.plain("u", weights(name, at=None), name, role="kernel")
    shard.write()
    found = scan(tensor, stats=stats)
    assert codes(found) == [CODE]
    assert the_index(found) == [[15, 27]]
    assert codes(scan(whole, stats=stats)) == []


@BOTH
@pytest.mark.parametrize("at", [0, 4, 30, 62])
def test_in_any_of_several_tiles(at: int, stats: bool, shard: Shard) -> None:
    tensor = tiled(shard, weights(shape=(7, 9), at=at))
    shard.write()
    found = scan(tensor, stats=stats)
    assert codes(found) == [CODE]
    assert the_index(found) == [[at // 9, at % 9]]


@BOTH
@pytest.mark.parametrize("pieces", [1, 3])
def test_in_pieces_that_only_the_reader_can_give(pieces: int, stats: bool, tmp_path: Path) -> None:
    array = weights()

    class Reader:
        def chunks(self, tensor: Tensor, chunk_bytes: int) -> Iterator[Array]:
            yield from np.array_split(array.reshape(-1), pieces)

    tensor = Tensor("t", "float32", array.shape, array.nbytes, role="kernel", storage=Storage("hdf5"))
    found = scan(tensor, stats=stats, reader=Reader())
    assert codes(found) == [CODE]
    assert the_index(found) == [[15, 27]]


@BOTH
@pytest.mark.parametrize("name", sorted(dtypes.ITEMSIZE))
def test_only_floats_of_two_bytes_and_more_have_peaks(name: str, stats: bool) -> None:
    array = np.ones(9, dtypes.np_dtype(name))
    sink = ValueSink(name, stats)
    sink.add(array)
    assert sink.peaks == (peaks_of(array) if name in WATCHED else None)
    if name in WATCHED:
        assert isinstance(sink.peaks, Peaks)
