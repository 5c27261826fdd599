"""Small tensors taken together in a timeline: the numbers are those each gives alone, what is odd is left alone."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptui.core import dtypes
from ckptui.core.model import Segment, Storage, Tensor
from ckptui.engine.checked import Files
from ckptui.engine.facts import TensorColumns, pack_tensors
from ckptui.engine.points import PointAccumulator
from ckptui.engine.timeline_batch import FEWEST, batched

Arrays = dict[str, Any]


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.sampled_from(["usual", "zero", "tiny", "huge", "nan", "same", "one"]), min_size=1, max_size=9),
    st.sampled_from(["float32", "float64", "float16", "bfloat16"]),
    st.integers(0, 2**32 - 1),
)
def test_many_at_a_time_give_what_each_gives_alone(kinds: list[str], dtype: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = [1 if kind == "one" else int(rng.integers(1, 40)) for kind in kinds]
    kept: Arrays = {}
    before: list[Any] = []
    with tempfile.TemporaryDirectory() as folder:
        for save in range(2):
            arrays = [small_array(rng, kind, size, dtype) for kind, size in zip(kinds, sizes, strict=True)]
            if save:
                arrays = [was if kind == "same" else now for kind, now, was in zip(kinds, arrays, before, strict=True)]
            columns = laid_down(Path(folder) / "data", arrays, dtype)
            items = [[f"{n}.0", n, 0, size, "kept" if save else None] for n, size in enumerate(sizes)]
            known, files = set(kept), Files()
            found = batched(items, columns, files, kept, lambda _: None)
            files.close()
            for number, numbers in found.items():
                alone = PointAccumulator(dtype)
                alone.add(arrays[number], before[number] if f"{number}.0" in known else None)
                wanted = alone.result()
                assert replace(numbers, norm=None, distance=None) == replace(wanted, norm=None, distance=None)
                assert numbers.norm == pytest.approx(wanted.norm, rel=1e-12)
                assert numbers.distance == pytest.approx(wanted.distance, rel=1e-12)
                assert np.array_equal(kept[f"{number}.0"], arrays[number])
            if not save and len(kinds) >= FEWEST:
                ordinary = {n for n, kind in enumerate(kinds) if kind in ("usual", "zero", "same", "one")}
                assert ordinary <= set(found)
            assert not {n for n, kind in enumerate(kinds) if kind == "nan"} & set(found)
            before = arrays


def small_array(rng: np.random.Generator, kind: str, size: int, dtype: str) -> Any:
    values = rng.normal(size=size) * {"zero": 0.0, "tiny": 1e-200, "huge": 1e200}.get(kind, 1.0)
    if kind == "nan":
        values[0] = np.nan
    with np.errstate(all="ignore"):
        return values.astype(dtypes.np_dtype(dtype))


def laid_down(path: Path, arrays: list[Any], dtype: str, wrong: int = -1) -> TensorColumns:
    """Arrays one after the other in a file, a gap after each; `wrong` gets a checksum that is not its own."""
    tensors, raw = [], b""
    for place, held in enumerate(arrays):
        segment = Segment(str(path), len(raw), held.nbytes)
        storage = Storage("plain", segment, crc32c(held.tobytes()) ^ (place == wrong))
        tensors.append(Tensor(f"t{place}", dtype, held.shape, held.nbytes, storage=storage))
        raw += held.tobytes() + bytes(place % 3)
    path.write_bytes(raw)
    return TensorColumns(pack_tensors(tensors, to_read=True))


def test_what_is_out_of_the_ordinary_is_left_to_be_read_alone(tmp_path: Path) -> None:
    path = tmp_path / "data"
    columns = laid_down(path, [np.full(4, float(n + 1), "f4") for n in range(6)], "float32", wrong=2)
    items = [[f"{n}.0", n, 0, 4, None] for n in range(6)]
    assert set(batched(items, columns, Files(), {}, lambda _: None)) == {0, 1, 3, 4, 5}
    path.write_bytes(path.read_bytes()[:-4])
    assert batched(items, columns, Files(), {}, lambda _: None) == {}
