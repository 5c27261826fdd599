"""Two saves compared and kernels looked at in children: numbers as numpy gives them, damage as findings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui.core.model import DiffReport, Finding, Layer, Pair
from ckptui.engine.compare_saves import compare_saves
from ckptui.engine.items import Outcome, run_items
from ckptui.engine.kernels import look_at_layers
from ckptui.engine.pairs import aligned
from ckptui.engine.pool import Pool
from ckptui.engine.requests import open_listing
from ckptui.errors import CkptuiError, ReaderHung
from tests.places import HOSTILE, needs_hostile
from tests.readers.make_bundle import Tiled, write_bundle


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(size=2) as made:
        yield made


def compared(pool: Pool, a: str, b: str) -> tuple[dict[str, Pair], DiffReport]:
    sides = [open_listing(pool, path, "tf-checkpoint") for path in (a, b)]
    items = list(compare_saves(pool, sides[0], sides[1]))
    report = items[-1]
    assert isinstance(report, DiffReport)
    return {pair.a or pair.b or "": pair for pair in report.pairs}, report


def test_numbers_of_a_pair_are_numpys(pool: Pool, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    a = rng.normal(size=(600, 700)).astype(np.float32)
    b = a.copy()
    b[:300] += np.float32(0.25)
    one = write_bundle(tmp_path / "a", {"k": a, "same": a[:5], "words": [b"x", b"y"], "n": np.int64(1)})
    two = write_bundle(tmp_path / "b", {"k": b, "same": a[:5], "words": [b"x", b"z"], "n": np.int64(9)})
    pairs, report = compared(pool, one, two)
    found = pairs["k"]
    wide_a, wide_b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    assert (found.status, found.changed, found.count) == ("changed", int((a != b).sum()), a.size)
    assert found.max_abs == np.abs(wide_a - wide_b).max()
    assert found.relative_l2 == pytest.approx(np.linalg.norm(wide_a - wide_b) / np.linalg.norm(wide_a), rel=1e-12)
    assert pairs["same"].status == "identical"
    assert (pairs["words"].status, pairs["words"].changed) == ("changed", 1)
    assert report.findings == ()


@pytest.mark.parametrize("side", ["a", "b"])
def test_a_wrong_checksum_on_either_side_is_a_finding_of_that_side(side: str, pool: Pool, tmp_path: Path) -> None:
    values = np.arange(1000, dtype=np.float32)
    paths = {name: write_bundle(tmp_path / name, {"k": values}) for name in "ab"}
    shard = tmp_path / f"{side}.data-00000-of-00001"
    data = bytearray(shard.read_bytes())
    data[400] ^= 1
    shard.write_bytes(data)
    pairs, report = compared(pool, paths["a"], paths["b"])
    assert (pairs["k"].status, pairs["k"].changed) == ("changed", 1)
    assert [(f.code, f.artifact) for f in report.findings] == [("checksum-mismatch", paths[side])]


def test_tiles_and_another_byte_order_compare_by_value(pool: Pool, tmp_path: Path) -> None:
    values = np.arange(60, dtype=np.float32).reshape(10, 6)
    tiles = [[(0, 4), (0, -1)], [(4, 6), (0, 3)], [(4, 6), (3, 3)]]
    plain = write_bundle(tmp_path / "a", {"k": values})
    tiled = write_bundle(tmp_path / "b", {"k": Tiled(values, tiles)})
    swapped = write_bundle(tmp_path / "c", {"k": values}, big_endian=True)
    for other in (tiled, swapped):
        pairs, _ = compared(pool, plain, other)
        assert pairs["k"].status == "identical"


def test_a_short_shard_makes_its_pair_unreadable(pool: Pool, tmp_path: Path) -> None:
    values = np.arange(1000, dtype=np.float32)
    one = write_bundle(tmp_path / "a", {"k": values, "z": values})
    two = write_bundle(tmp_path / "b", {"k": values, "z": values})
    listings = [open_listing(pool, path, "tf-checkpoint") for path in (one, two)]
    shard = tmp_path / "b.data-00000-of-00001"
    shard.write_bytes(shard.read_bytes()[:-8])
    report = list(compare_saves(pool, listings[0], listings[1]))[-1]
    assert isinstance(report, DiffReport)
    pairs = {pair.a: pair for pair in report.pairs}
    assert (pairs["k"].status, pairs["z"].status) == ("identical", "unreadable")
    assert "cut off" in pairs["z"].detail or "ends at" in pairs["z"].detail
    assert [f.code for f in report.findings] == ["shard-truncated"]


def test_streams_are_cut_to_equal_pieces_and_both_run_to_their_ends() -> None:
    ended = []

    def stream(name: str, sizes: list[int]) -> Iterator[Any]:
        start = 0
        for size in sizes:
            yield np.arange(start, start + size)
            start += size
        ended.append(name)

    pieces = list(aligned(stream("a", [3, 0, 4, 2]), stream("b", [1, 8, 5])))
    assert all(np.array_equal(a, b) for a, b in pieces)
    assert sum(a.size for a, _ in pieces) == 9
    assert sorted(ended) == ["a", "b"]


def test_kernels_come_in_order_each_followed_by_its_findings(pool: Pool, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    limit = np.float32(np.sqrt(6 / (3 * 3 * 8 + 3 * 3 * 32)))
    grid = rng.integers(0, 1 << 23, (3, 3, 8, 32)).astype(np.float32) * np.float32(2**-23)
    fresh = grid * (limit + limit) - limit
    tensors = {
        "conv1/kernel": fresh.astype(np.float32),
        "conv1/bias": np.zeros(32, np.float32),
        "conv2/kernel": rng.normal(size=(3, 3, 4, 16)).astype(np.float32),
        "dense/kernel": np.zeros((8, 4), np.float32),
    }
    path = write_bundle(tmp_path / "m", tensors)
    listing = open_listing(pool, path, "tf-checkpoint")
    kernels = [t for t in listing.tensors if t.role == "kernel"]
    found = list(look_at_layers(pool, listing.artifact, kernels))
    assert [item.tensor for item in found if isinstance(item, Layer)] == [
        "conv1/kernel",
        "conv2/kernel",
        "dense/kernel",
    ]
    codes = {(item.tensor, item.code) for item in found if isinstance(item, Finding)}
    assert ("conv1/kernel", "at-initializer") in codes
    assert ("dense/kernel", "all-zero") in codes
    assert not [code for name, code in codes if name == "conv2/kernel"]


def test_a_name_that_is_not_there_is_an_error_of_its_item(pool: Pool, tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "m", {"a/kernel": np.ones((3, 3), np.float32)})
    args = {"path": path, "kind": "tf-checkpoint"}
    found = [o for o in run_items(pool, "layers", args, ["zz", "a/kernel"], [[0, 1]]) if isinstance(o, Outcome)]
    assert [(o.key, o.error is None) for o in sorted(found, key=lambda o: o.key)] == [(0, False), (1, True)]


@needs_hostile
@pytest.mark.parametrize(
    "name", ["h5crash_plain_2144_ff.h5", "h5crash_gzlatest_2192_bit.h5", "h5crash_plain_7975_ff.h5"]
)
def test_files_that_crash_or_hang_hdf5_are_survived(name: str, pool: Pool) -> None:
    path = str(HOSTILE / "crashers" / name)
    outcome = ""
    try:
        pool.call("open", {"path": path, "kind": "hdf5"}, idle_timeout=1)
    except ReaderHung as error:
        outcome = str(error)
    except CkptuiError:
        pass
    assert not outcome or name in outcome
    assert pool.call("absent", {"files": []}).doc == []
