"""Huge tensors split over the children: the same answer as one child gives, whatever lies in them."""

from __future__ import annotations

import itertools
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ckptui.core.dtypes import np_dtype
from ckptui.core.model import Listing, Segment, Stats, Storage, Tensor, TensorScan
from ckptui.engine import pieces, schedule
from ckptui.engine.pieces import pieces_of
from ckptui.engine.pool import Pool
from ckptui.engine.requests import open_listing
from ckptui.engine.schedule import run_scan
from ckptui.errors import ReaderCrashed
from tests.readers.make_bundle import write_bundle

DTYPES = (
    "float32", "float64", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2fnuz", "int8", "uint16", "int32",
    "int64", "uint64", "bool", "complex64", "complex128", "int4",
)  # fmt: skip


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(size=2) as made:
        yield made


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "SPLIT_BYTES", 40_000)
    monkeypatch.setattr(pieces, "PIECE_BYTES", 16_384)
    monkeypatch.setattr(schedule, "ALONE_BYTES", 40_000)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many pieces and how many whole tensors children were asked for."""
    counted: Counter[str] = Counter()
    call = Pool.call

    def counting(self: Pool, op: str, args: Any, **more: Any) -> Any:
        counted.update("whole" if isinstance(item, str) else "piece" for item in args.get("items", ()))
        return call(self, op, args, **more)

    monkeypatch.setattr(Pool, "call", counting)
    return counted


def listed(pool: Pool, path: str) -> Listing:
    return open_listing(pool, path, "hdf5" if path.endswith(".h5") else "tf-checkpoint")


def scans(pool: Pool, path: str, *, split: bool, stats: bool = True) -> dict[str, TensorScan]:
    listing = listed(pool, path)
    before = pieces.SPLIT_BYTES
    pieces.SPLIT_BYTES = before if split else 1 << 60
    try:
        found = run_scan(pool, path, listing.artifact.kind, listing.tensors, stats=stats)
        return {item.name: item for item in found if isinstance(item, TensorScan)}
    finally:
        pieces.SPLIT_BYTES = before


def same(a: TensorScan, b: TensorScan) -> None:
    """Exactly alike but for rounding: moments to 1e-12 of the largest magnitude, or relative."""
    assert (a.name, a.checksum, a.bytes) == (b.name, b.checksum, b.bytes)
    assert [f.to_json() for f in a.findings] == [f.to_json() for f in b.findings]
    assert (a.stats is None) == (b.stats is None)
    if a.stats is None or b.stats is None:
        return
    exact = ("count", "finite", "nan", "posinf", "neginf", "zeros", "min", "max", "argmin", "argmax")
    assert [getattr(a.stats, n) for n in exact] == [getattr(b.stats, n) for n in exact]
    assert [type(getattr(a.stats, n)) for n in exact] == [type(getattr(b.stats, n)) for n in exact]
    scale = max(abs(a.stats.min or 0), abs(a.stats.max or 0))
    for name in ("mean", "std", "l2"):
        one, two = getattr(a.stats, name), getattr(b.stats, name)
        assert (one is None) == (two is None)
        if one is not None and one != two:
            assert math.isclose(one, two, rel_tol=1e-12, abs_tol=1e-12 * scale), name


def varied(dtype: str, seed: int, size: int) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    kind = np_dtype(dtype)
    if dtype == "bool":
        return rng.random(size) < 0.3
    if kind.kind in "iu":
        info = np.iinfo(kind)
        return rng.integers(info.min, info.max, size, kind, endpoint=True)
    if kind.kind == "c":
        return (rng.normal(size=size) + 1j * rng.normal(size=size)).astype(kind)
    return rng.normal(size=size).astype(kind)


def size_for(dtype: str) -> int:
    return 100_001 // np_dtype(dtype).itemsize


@pytest.mark.parametrize("big_endian", [False, True])
def test_every_dtype_in_pieces_as_whole(big_endian: bool, pool: Pool, tmp_path: Path, asked: Counter[str]) -> None:
    dtypes = [d for d in DTYPES if d != "int4" or not big_endian]
    content: dict[str, Any] = {"0": [b"odd places"]}
    for number, dtype in enumerate(dtypes):
        content[f"{number}/{dtype}"] = varied(dtype, number, size_for(dtype))
    for dtype in ("float32", "float64", "bfloat16"):
        odd = varied(dtype, 99, size_for(dtype))
        odd[[7, 9000, -1]] = np.array([np.nan, np.inf, -np.inf]).astype(odd.dtype)
        content[f"odd/{dtype}"] = odd
        content[f"same/{dtype}"] = np.full(size_for(dtype), 0.1).astype(odd.dtype)
        content[f"nan/{dtype}"] = np.full(size_for(dtype), np.nan).astype(odd.dtype)
    content["peak/kernel"] = varied("float32", 5, 25_000)
    content["peak/kernel"][20_000] = 1e30
    content["two values/kernel"] = np.repeat(np.array([1.0, 2.0], np.float32), 12_500)
    content["huge"] = np.full(12_500, 1e308)
    path = write_bundle(tmp_path / "x", content, big_endian=big_endian)
    for stats in (True, False):
        whole = scans(pool, path, split=False, stats=stats)
        asked.clear()
        split = scans(pool, path, split=True, stats=stats)
        assert asked["whole"] == 1
        assert asked["piece"] > 5 * len(whole)
        assert split.keys() == whole.keys()
        for name, scan in split.items():
            same(scan, whole[name])
            assert scan.checksum == "ok"
    print(f"{len(content)} tensors in {asked['piece']} pieces")


def in_h5(folder: Path, content: dict[str, Any]) -> str:
    path = folder / "x.h5"
    with h5py.File(path, "w") as file:
        for name, values in content.items():
            file.create_dataset(name, data=values)
    return str(path)


def test_tensors_without_checksum_in_pieces_as_whole(pool: Pool, tmp_path: Path, asked: Counter[str]) -> None:
    content = {d: varied(d, n, size_for(d)) for n, d in enumerate(("float32", "float64", "float16", "int32"))}
    path = in_h5(tmp_path, {**content, "little": np.arange(3.0)})
    whole = scans(pool, path, split=False)
    asked.clear()
    split = scans(pool, path, split=True)
    assert (asked["whole"], asked["piece"] >= 4 * len(content)) == (1, True)
    for name, scan in split.items():
        same(scan, whole[name])
        assert scan.checksum == "none"


LOST = ["zeros within a piece", "zeros over a border", "repeated from another piece", "zeros to the end"]


@pytest.mark.parametrize("what", LOST)
def test_lost_and_doubled_sectors_are_found_in_pieces_as_whole(what: str, pool: Pool, tmp_path: Path) -> None:
    path = in_h5(tmp_path, {"dense/kernel": varied("float32", 1, 40_003)})
    segment = listed(pool, path).tensors[0].storage.segment
    assert segment is not None
    data = bytearray(Path(path).read_bytes())
    first = -(-segment.offset // 4096) * 4096
    if what == "zeros within a piece":
        data[first + 4096 : first + 8192] = bytes(4096)
    elif what == "zeros over a border":
        data[first + 12_288 : first + 20_480] = bytes(8192)
    elif what == "repeated from another piece":
        data[first + 61_440 : first + 65_536] = data[first + 4096 : first + 8192]
    else:
        last = segment.offset + segment.bytes
        data[last // 4096 * 4096 - 8192 :] = bytes(len(data) - (last // 4096 * 4096 - 8192))
    Path(path).write_bytes(data)
    whole = scans(pool, path, split=False)
    split = scans(pool, path, split=True)
    assert {f.code for f in whole["dense/kernel"].findings} & {"suspicious-blocks", "zero-filled"}
    for name, scan in split.items():
        same(scan, whole[name])


@pytest.mark.parametrize("what", ["flipped bit", "zeros", "noise"])
def test_a_wrong_checksum_is_explained_as_for_a_whole_tensor(
    what: str, pool: Pool, tmp_path: Path, asked: Counter[str]
) -> None:
    path = write_bundle(tmp_path / "x", {"a/kernel": varied("float32", 1, 40_000), "b": np.arange(9.0)})
    file = Path(path + ".data-00000-of-00001")
    data = bytearray(file.read_bytes())
    if what == "flipped bit":
        data[70_000] ^= 16
    else:
        data[70_000:90_000] = bytes(20_000) if what == "zeros" else os.urandom(20_000)
    file.write_bytes(data)
    whole = scans(pool, path, split=False)
    asked.clear()
    split = scans(pool, path, split=True)
    assert asked["whole"] == 2
    assert asked["piece"]
    same(split["a/kernel"], whole["a/kernel"])
    assert split["a/kernel"].checksum == "mismatch"
    if what == "flipped bit":
        assert split["a/kernel"].findings[0].evidence["flipped_bit"]


def test_a_cut_shard_is_told_as_for_a_whole_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_bundle(tmp_path / "x", {"a/kernel": varied("float32", 1, 40_000)})
    call, one = Pool.call, threading.Lock()

    def in_turn(self: Pool, *args: Any, **more: Any) -> Any:
        # a second child would open the file only after it was cut
        with one:
            return call(self, *args, **more)

    monkeypatch.setattr(Pool, "call", in_turn)
    found = []
    with Pool(size=2) as pool:
        listing = listed(pool, path)
        scans(pool, path, split=True)
        os.truncate(path + ".data-00000-of-00001", 100_000)
        for limit in (40_000, 1 << 60):
            monkeypatch.setattr(pieces, "SPLIT_BYTES", limit)
            found += [s for s in run_scan(pool, path, "tf-checkpoint", listing.tensors) if isinstance(s, TensorScan)]
    same(*found)
    assert found[0].findings[0].code == "shard-truncated"


def test_a_file_replaced_between_two_pieces_is_read_anew(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: Counter[str]
) -> None:
    path = in_h5(tmp_path, {"dense/kernel": varied("float32", 1, 40_000)})
    listing = listed(pool, path)
    call, changed = Pool.call, threading.Event()

    def between(self: Pool, op: str, args: Any, **more: Any) -> Any:
        reply = call(self, op, args, **more)
        if op == "scan" and not changed.is_set():
            changed.set()
            with open(path, "r+b") as file:
                file.seek(-100_000, 2)
                file.write(np.full(100, 1e20, np.float32).tobytes())
        return reply

    monkeypatch.setattr(Pool, "call", between)
    with Pool(size=2) as fresh:
        found = [s for s in run_scan(fresh, path, "hdf5", listing.tensors) if isinstance(s, TensorScan)]
    assert asked["whole"] == 1
    assert found[0].stats is not None
    assert found[0].stats.max == np.float32(1e20)


@pytest.mark.parametrize("answer", [None, [], {}, {"crc": "x"}, {"stats": ["Stats"]}, "again"])
def test_an_answer_that_is_no_piece_makes_one_child_read_the_whole(
    answer: Any, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_bundle(tmp_path / "x", {"a": varied("float32", 1, 40_000)})
    whole = scans(pool, path, split=False)
    inner = pieces._piece

    def spoilt(doc: Any) -> Any:
        return inner(answer if not isinstance(doc, dict) or answer is None else {**doc, **answer} if answer else answer)

    if answer != "again":
        monkeypatch.setattr(pieces, "_piece", spoilt if isinstance(answer, dict) else lambda doc: inner(answer))
    same(scans(pool, path, split=True)["a"], whole["a"])


def test_a_child_that_dies_over_a_piece_costs_nothing(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_bundle(tmp_path / "x", {"a": varied("float32", 1, 40_000)})
    whole = scans(pool, path, split=False)
    call, died = Pool.call, Counter[str]()

    def dying(self: Pool, op: str, args: Any, **more: Any) -> Any:
        if op == "scan" and not isinstance(args["items"][0], str) and args["items"][0][1]:
            died["times"] += 1
            raise ReaderCrashed("in a", item="a")
        return call(self, op, args, **more)

    monkeypatch.setattr(Pool, "call", dying)
    same(scans(pool, path, split=True)["a"], whole["a"])
    assert died["times"] > 2


# ---------------------------------------------------------------------- where it is cut


def tensor(offset: int, size: int, dtype: str = "float32", crc: int | None = None, **more: Any) -> Tensor:
    storage = Storage("plain", Segment("x", offset, size), crc, **more)
    return Tensor("t", dtype, (size // np_dtype(dtype).itemsize,), size, storage=storage)


@pytest.mark.parametrize("offset", [0, 8, 2048, 4096, 5000])
def test_pieces_cover_a_tensor_and_begin_on_pages_and_elements(offset: int) -> None:
    cut = pieces_of(tensor(offset, 100_000))
    assert len(cut) > 3
    assert cut[0][1] == 0
    assert sum(count for _, _, count in cut) == 100_000
    for (_, start, count), (_, following, _) in itertools.pairwise(cut):
        assert start + count == following
        assert following % 4 == 0
        assert (offset + following) % 4096 == 0


def test_what_is_not_cut() -> None:
    assert pieces_of(tensor(0, 39_996)) == []
    assert pieces_of(tensor(2, 100_000)) == [], "no page begins with an element, and sectors are watched"
    assert len(pieces_of(tensor(2, 100_000, crc=1))) > 3
    assert pieces_of(tensor(0, 100_000, npy_dtype="<f4")) == []
    assert pieces_of(Tensor("t", "string", (9,), 100_000, storage=Storage("strings", Segment("x", 0, 100_000)))) == []


def test_a_tensor_of_many_gigabytes_has_pieces_enough_and_not_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert pieces_of(tensor(0, (64 << 20) - 4)) == []
    assert len(pieces_of(tensor(0, 64 << 20))) == 2
    assert len(pieces_of(tensor(12, 20 << 30))) == pytest.approx(320, abs=2)
    assert len(pieces_of(tensor(0, 1 << 45))) <= pieces.MOST_PIECES + 1


def test_one_child_gets_it_whole(tmp_path: Path, asked: Counter[str]) -> None:
    path = write_bundle(tmp_path / "x", {"a": varied("float32", 1, 40_000)})
    with Pool(size=1) as alone:
        found = scans(alone, path, split=True)
    assert (asked["whole"], asked["piece"]) == (1, 0)
    assert isinstance(found["a"].stats, Stats)


def test_a_huge_tensor_is_read_by_several_children_at_once(pool: Pool, tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "x", {"a": varied("float32", 1, 400_000)})
    threads: set[str] = set()
    call = Pool.call

    def noted(self: Pool, op: str, args: Any, **more: Any) -> Any:
        threads.add(threading.current_thread().name)
        time.sleep(0.01)
        return call(self, op, args, **more)

    Pool.call = noted  # type: ignore[method-assign]
    try:
        scans(pool, path, split=True)
    finally:
        Pool.call = call  # type: ignore[method-assign]
    assert sum("crew" in name for name in threads) == 2
