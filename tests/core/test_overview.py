"""Small heat maps and quantiles from a stream, against numpy on the whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptui.core.heatmaps import strongest
from ckptui.core.histogram import SAMPLE, histogram
from ckptui.core.overview import Overview
from ckptui.core.pictures import layer_limit
from ckptui.core.results import QUANTILES

Array = npt.NDArray[Any]


def overview(matrix: Array, height: int, width: int, cuts: list[int]) -> tuple[Array, float]:
    """The matrix as a stream that is cut at these places."""
    rows, columns = matrix.shape
    small = Overview(rows, columns, height, width)
    for piece in np.split(matrix.reshape(-1), sorted(cut for cut in cuts if cut <= matrix.size)):
        small.add(piece)
    return small.result()


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_stream_is_reduced_as_the_whole_is_wherever_it_is_cut(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    pixels = data.draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    cuts = data.draw(st.lists(st.integers(0, shape[0] * shape[1]), max_size=6))
    matrix = np.random.default_rng(data.draw(st.integers(0, 99))).normal(size=shape).astype(np.float32)
    spoiled = data.draw(st.sampled_from([None, np.nan, np.inf, -np.inf]))
    if spoiled is not None:
        matrix.flat[data.draw(st.integers(0, matrix.size - 1))] = spoiled
    values, limit = overview(matrix, *pixels, cuts)
    np.testing.assert_array_equal(values, strongest(matrix, *pixels))
    assert limit == layer_limit(values)


def test_a_vector_runs_across_and_its_largest_value_is_never_lost() -> None:
    vector = np.random.default_rng(0).normal(size=(1, 300_000)).astype(np.float32)
    vector[0, 123_456] = 40
    values, limit = overview(vector, 64, 100, list(range(0, 300_000, 7_001)))
    assert values.shape == (1, 100)
    assert values[0, 41] == 40
    assert limit < 10, "one value far off does not turn the others grey"


@pytest.mark.parametrize("count", [1, 2, 1000, SAMPLE])
def test_quantiles_of_up_to_65536_values_are_those_of_numpy(count: int) -> None:
    values = np.random.default_rng(1).normal(size=count)
    found = histogram(values)
    assert found.sampled == 0
    np.testing.assert_allclose(found.quantiles, np.quantile(values, QUANTILES), rtol=1e-12, atol=1e-15)


def test_quantiles_of_more_values_are_of_an_even_sample_and_say_so() -> None:
    values = np.random.default_rng(2).normal(size=1_000_000)
    values[::97] = np.nan
    found = histogram(values)
    assert 0 < found.sampled <= SAMPLE
    wanted = np.nanquantile(values, QUANTILES)
    assert np.abs(np.array(found.quantiles) - wanted).max() < 0.05


@pytest.mark.parametrize("values", [np.full(5, np.nan), np.zeros(0)])
def test_where_nothing_is_finite_there_are_no_quantiles(values: Array) -> None:
    assert histogram(values).quantiles == ()


def test_quantiles_of_extremes_stay_finite() -> None:
    found = histogram(np.array([-1.7e308, 1.7e308]))
    assert all(np.isfinite(v) for v in found.quantiles)
