"""The same numbers by numkong and without it, for every dtype, whatever stands between the values."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ckptui.core import dtypes, passes
from ckptui.core.model import Stats
from ckptui.core.passes import NumkongPasses, NumpyPasses
from ckptui.core.peaks import PeakWatch, peaks_of
from ckptui.core.stats import BLOCK, StatsAccumulator, stats_of
from tests.core.plain_stats import REAL, assert_same, expected, in_pieces

Array = np.ndarray[Any, Any]

FLOATS = sorted(name for name in REAL if dtypes.is_float(name))
WATCHED = ("float16", "bfloat16", "float32", "float64")


def way(name: str) -> NumpyPasses:
    if name == "numpy":
        return NumpyPasses()
    import numkong

    return NumkongPasses(numkong)


BOTH = pytest.mark.parametrize("passes_name", ["numpy", "numkong"])


@pytest.fixture
def fresh() -> Iterator[None]:
    """`fastest` decides anew, in the test and after it."""
    passes.fastest.cache_clear()
    yield
    passes.fastest.cache_clear()


def test_numkong_is_what_is_used_where_it_is_installed(fresh: None) -> None:
    assert passes.fastest().name == "numkong"


def test_without_numkong_numpy_does_it(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numkong", None)
    assert passes.fastest().name == "numpy"
    array = np.linspace(-1, 2, 1001, dtype=np.float32)
    assert_same(stats_of(array, "float32"), expected(array))


@pytest.mark.parametrize("change", ["gone", "arguments", "order", "numbers", "widening"])
def test_a_numkong_that_answers_otherwise_is_not_used(
    fresh: None, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    import numkong

    real = {name: getattr(numkong, name) for name in ("minmax", "moments", "sum", "astype", "from_pointer")}
    if change == "gone":
        del real["astype"]
    elif change == "arguments":
        real["minmax"] = lambda block, axis: numkong.minmax(block)
    elif change == "order":
        real["moments"] = lambda block: numkong.moments(block)[::-1]
    elif change == "numbers":
        real["moments"] = lambda block: tuple(part + 1e-3 for part in numkong.moments(block))
    else:
        real["astype"] = lambda block, dtype, out: out.fill(1)
    monkeypatch.setitem(sys.modules, "numkong", SimpleNamespace(**real))
    assert passes.fastest().name == "numpy"


@BOTH
@pytest.mark.parametrize("name", REAL)
def test_any_bits_in_any_pieces(name: str, passes_name: str) -> None:
    dtype = dtypes.np_dtype(name)

    @settings(max_examples=25, deadline=None)
    @given(st.binary(min_size=dtype.itemsize, max_size=dtype.itemsize * 150), st.integers(1, 4), st.booleans())
    def check(data: bytes, pieces: int, swapped: bool) -> None:
        if name == "bool":
            data = bytes(b & 1 for b in data)
        array = np.frombuffer(data[: len(data) // dtype.itemsize * dtype.itemsize], dtype)
        with np.errstate(all="ignore"):
            wanted = expected(array)
        if swapped and dtype.itemsize > 1 and dtype.isbuiltin == 1:
            array = array.astype(dtype.newbyteorder(">"))
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            assert_same(in_pieces(array, name, pieces, way(passes_name)), wanted)

    check()


def with_exponents(dtype: Any, least: int, most: int) -> st.SearchStrategy[Array]:
    """Arrays whose values have magnitudes of their own, between two powers of two, NaN and infinity among them."""
    value = st.builds(
        lambda mantissa, exponent: math.ldexp(mantissa, exponent),
        st.floats(-2, 2, allow_nan=False),
        st.integers(least, most),
    )
    odd = st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf])
    return st.lists(st.one_of(value, value, value, odd), min_size=1, max_size=120).map(
        lambda values: np.array(values).astype(dtype)
    )


@BOTH
@pytest.mark.parametrize("name", WATCHED)
def test_mixed_magnitudes(name: str, passes_name: str) -> None:
    dtype = dtypes.np_dtype(name)
    least, most = {"float16": (-24, 14), "float64": (-1074, 1020)}.get(name, (-149, 126))

    @settings(max_examples=60, deadline=None)
    @given(with_exponents(dtype, least, most), st.integers(1, 5))
    def check(array: Array, pieces: int) -> None:
        with np.errstate(all="ignore"):
            wanted = expected(array)
        assert_same(in_pieces(array, name, pieces, way(passes_name)), wanted)

    check()


@BOTH
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    centre=st.floats(-8, 8),
    spread=st.floats(-6, 2),
    size=st.integers(1, 3 * BLOCK),
    name=st.sampled_from(("float32", "float64")),
)
def test_means_far_from_zero(passes_name: str, seed: int, centre: float, spread: float, size: int, name: str) -> None:
    rng = np.random.default_rng(seed)
    array = rng.normal(math.copysign(10 ** abs(centre), centre), 10.0**spread, size).astype(name)
    assert_same(in_pieces(array, name, 2, way(passes_name)), expected(array))


@BOTH
@pytest.mark.parametrize("name", WATCHED)
def test_parts_of_a_tensor_around_means_of_their_own(name: str, passes_name: str) -> None:
    rng = np.random.default_rng(11)
    parts = [rng.normal(centre, 0.01, BLOCK + 7) for centre in (1.0, 4000.0, -3.0)]
    array = np.concatenate(parts).astype(dtypes.np_dtype(name))
    assert_same(in_pieces(array, name, 4, way(passes_name)), expected(array))


@BOTH
@pytest.mark.parametrize("name", FLOATS)
def test_odd_values_anywhere_in_many_blocks(name: str, passes_name: str) -> None:
    rng = np.random.default_rng(12)
    with np.errstate(all="ignore"):
        array = rng.normal(0, 1, 2 * BLOCK + 301).astype(dtypes.np_dtype(name))
        for place in rng.integers(0, array.size, 40):
            array[place] = np.array([rng.choice([np.nan, np.inf, -np.inf, 0.0])]).astype(array.dtype)[0]
        wanted = expected(array)
    assert_same(in_pieces(array, name, 3, way(passes_name)), wanted)


@BOTH
@pytest.mark.parametrize("size", [*range(1, 40), 255, 256, 257, 2047, 2048, 2049, BLOCK - 1, BLOCK, BLOCK + 1])
def test_pieces_of_every_length(size: int, passes_name: str) -> None:
    rng = np.random.default_rng(size)
    for name in ("float32", "float16", "int32", "uint8"):
        array = rng.integers(-90 if name != "uint8" else 0, 90, size).astype(name)
        assert_same(in_pieces(array, name, 1, way(passes_name)), expected(array))


@BOTH
@pytest.mark.parametrize("name", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "qint32"])
def test_integers_at_the_ends_of_their_range(name: str, passes_name: str) -> None:
    dtype = dtypes.np_dtype(name)
    ends = np.iinfo(dtype)

    @settings(max_examples=25, deadline=None)
    @given(hnp.arrays(dtype, st.integers(1, 60)), st.integers(1, 3), st.sampled_from([ends.min, ends.max, 0]))
    def check(array: Array, pieces: int, end: int) -> None:
        array[-1] = end
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            assert_same(in_pieces(array, name, pieces, way(passes_name)), expected(array))

    check()
    # sums of squares that 64 bits can't hold
    full = np.full(BLOCK, ends.max, dtype)
    full[::2] = ends.min
    assert_same(in_pieces(full, name, 1, way(passes_name)), expected(full))
    # equal neighbours, which a product of pairs adds up in too few bits
    for end in (ends.min, ends.max, ends.max // 2 + 1):
        pairs = np.full(2003, end, dtype)
        pairs[-1] = 100
        assert_same(in_pieces(pairs, name, 1, way(passes_name)), expected(pairs))


@BOTH
@settings(max_examples=40, deadline=None)
@given(
    centre=st.integers(-(2**62), 2**62),
    spread=st.integers(0, 62),
    seed=st.integers(0, 10**6),
    size=st.integers(1, 400),
)
def test_64_bit_integers_of_any_magnitude(passes_name: str, centre: int, spread: int, seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    array = centre // 2 + rng.integers(-(1 << spread) // 2, (1 << spread) // 2 + 1, size, dtype=np.int64)
    assert_same(in_pieces(array, "int64", 3, way(passes_name)), expected(array))


@BOTH
@pytest.mark.parametrize("name", WATCHED)
def test_peaks_come_with_the_statistics(name: str, passes_name: str) -> None:
    rng = np.random.default_rng(13)
    array = rng.normal(0, 1, BLOCK + 5).astype(dtypes.np_dtype(name))
    array[BLOCK + 2] = -77.5
    for odd in (None, math.nan, -math.inf):
        if odd is not None:
            array[40_000] = odd
        watch = PeakWatch()
        accumulator = StatsAccumulator(name, watch, way(passes_name))
        for piece in np.array_split(array, 3):
            accumulator.add(piece)
        assert watch.result() == peaks_of(array)
        assert (watch.result().largest, watch.result().at) == (-77.5, BLOCK + 2)
        assert (watch.result().odd_at is None) == (odd is None)


def test_bytes_of_a_bool_other_than_0_are_true() -> None:
    array = np.array([0, 1, 7, 0, 255], np.uint8).view(bool)
    assert stats_of(array, "bool") == Stats(5, 5, 0, 0, 0, 2, 0, 1, 0, 1, 0.6, math.sqrt(0.24), math.sqrt(3))


OTHER_UNITS = """
import json, sys
import numkong
for unit in sys.argv[1].split(","):
    numkong.disable_capability(unit)
import numpy as np
from ckptui.core import passes
from ckptui.core.stats import BLOCK, stats_of
from tests.core.plain_stats import assert_same, expected
from ckptui.core import dtypes
done = 0
rng = np.random.default_rng(1)
for name in ("float32", "float64", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "int8", "int16", "int32",
             "uint32", "uint64"):
    dtype = dtypes.np_dtype(name)
    for size in (1, 7, 17, 63, 1000, BLOCK + 1):
        values = np.frombuffer(rng.bytes(size * dtype.itemsize), dtype)
        if dtypes.is_float(name):
            values = rng.normal(0.2, 1, size).astype(dtype)
        assert_same(stats_of(values, name), expected(values))
        done += 1
print(json.dumps([passes.fastest().name, done]))
"""


@pytest.mark.parametrize("units", ["sapphire,sapphireamx,genoa", "skylake,icelake,genoa,sapphire,sapphireamx", "all"])
def test_older_processors_give_the_same_numbers(units: str) -> None:
    import numkong

    capable = [name for name, there in numkong.get_capabilities().items() if there and name != "serial"]
    off = capable if units == "all" else [name for name in units.split(",") if name in capable]
    command = [sys.executable, "-c", OTHER_UNITS, ",".join(off) or "serial"]
    if not off:
        pytest.skip("this processor has none of them")
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    used, done = json.loads(answer.stdout)
    print(f"without {', '.join(off)}: {done} arrays by {used}, all right")
    assert used == "numkong"
    assert done == 66
