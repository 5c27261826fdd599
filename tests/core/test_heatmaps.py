"""Reduced matrices against a plain loop over blocks, for every dtype a kernel may have."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptui.core import heatmaps
from ckptui.core.heatmaps import places, reduced, strongest, unit_matrix
from ckptui.core.layout import KernelLayout
from ckptui.core.pictures import layer_limit

Array = npt.NDArray[Any]


def by_blocks(values: Array, height: int, width: int) -> Array:
    """The value of largest magnitude of every block; nan where one is nan."""
    rows, columns = values.shape
    down = [*(i * rows // min(height, rows) for i in range(min(height, rows))), rows]
    right = [*(i * columns // min(width, columns) for i in range(min(width, columns))), columns]
    result = np.empty((len(down) - 1, len(right) - 1))
    for i in range(result.shape[0]):
        for j in range(result.shape[1]):
            block = values[down[i] : down[i + 1], right[j] : right[j + 1]].astype(np.float64).reshape(-1)
            result[i, j] = np.nan if np.isnan(block).any() else block[np.argmax(np.abs(block))]
    return result


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 45), st.integers(1, 45), st.integers(0, 9), st.data())
def test_reduced_is_the_strongest_of_each_block(
    rows: int, columns: int, height: int, width: int, seed: int, data: st.DataObject
) -> None:
    values = np.random.default_rng(seed).normal(0, 1, (rows, columns)).astype(np.float32)
    if data.draw(st.booleans()):
        values[data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))] = np.nan
    matrix = values.T.copy().T if data.draw(st.booleans()) else values
    wanted = by_blocks(values, height, width)
    result, limit, largest = reduced(matrix, height, width)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(np.abs(result), np.abs(wanted).astype(np.float32))
    np.testing.assert_array_equal(result, strongest(values, height, width))
    assert largest == np.nanmax(np.abs(values), initial=0.0)
    assert limit == layer_limit(values)


@pytest.mark.parametrize("name", ["bfloat16", "float16", "float64", "float8_e4m3fn"])
def test_other_dtypes_and_pieces(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dtype = np.dtype(getattr(ml_dtypes, name, None) or name)
    values = np.random.default_rng(1).normal(0, 1, (331, 57)).astype(dtype)
    whole = reduced(values, 50, 20)
    monkeypatch.setattr(heatmaps, "PIECE", 400)
    pieces = reduced(values, 50, 20)
    np.testing.assert_array_equal(whole[0], pieces[0])
    assert whole[1:] == pieces[1:]
    np.testing.assert_array_equal(whole[0], strongest(values.astype(np.float32), 50, 20))


def test_of_a_large_matrix_the_limit_is_sampled_and_the_largest_still_counts() -> None:
    values = np.random.default_rng(2).uniform(-1, 1, (3000, 1000)).astype(np.float32)
    values[1, 1] = 3.0
    _, limit, largest = reduced(values, 100, 100)
    assert (limit, largest) == (3.0, 3.0)
    values[1, 1] = 1e30
    _, limit, largest = reduced(values, 100, 100)
    assert 0.99 < limit <= 1.0
    assert largest == np.float32(1e30)


def test_every_value_has_a_place() -> None:
    for count in (1, 2, 7, 100):
        for most in (1, 3, 100, 200):
            first = places(count, most)
            assert first[0] == 0
            assert (np.diff(first) >= 1).all()
            assert first.size == min(count, most)


def test_entries_of_an_embedding_are_rows() -> None:
    values = np.arange(12.0).reshape(4, 3)
    assert unit_matrix(KernelLayout(values.T, (), 3, by_rows=True)).tolist() == values.tolist()
    assert unit_matrix(KernelLayout(values, (), 4)).tolist() == values.tolist()
