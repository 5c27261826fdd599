"""Two saves compared in children: damage on either side, huge pairs in pieces, order, manners, taken back at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import h5py
import ml_dtypes
import numpy as np
import pytest

from ckptui.core.matching import Match
from ckptui.core.model import DiffReport, Listing, Pair, Progress
from ckptui.engine import compare_saves as comparing
from ckptui.engine import pair_pieces
from ckptui.engine.compare_saves import compare_saves, tasks_of
from ckptui.engine.items import run_items
from ckptui.engine.pool import Pool
from ckptui.engine.requests import open_listing
from ckptui.errors import Cancelled
from tests.engine.test_manners import AT_ONCE, GB, sparse_bundle
from tests.readers.make_bundle import write_bundle

Save = dict[str, Any]
MB = 1 << 20


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(size=2) as made:
        yield made


def listed(pool: Pool, path: str) -> Listing:
    return open_listing(pool, path, "hdf5" if path.endswith(".h5") else "tf-checkpoint")


def report_of(pool: Pool, a: Listing, b: Listing) -> DiffReport:
    report = list(compare_saves(pool, a, b))[-1]
    assert isinstance(report, DiffReport)
    return report


def compared(pool: Pool, a: str, b: str) -> tuple[dict[str, Pair], DiffReport]:
    report = report_of(pool, listed(pool, a), listed(pool, b))
    return {pair.a or pair.b or "": pair for pair in report.pairs}, report


def flip(shard: Path, at: int) -> None:
    data = bytearray(shard.read_bytes())
    data[at] ^= 1
    shard.write_bytes(data)


def shard_of(prefix: str) -> Path:
    return Path(f"{prefix}.data-00000-of-00001")


def model() -> Save:
    draw = np.random.default_rng(0)
    return {
        "bias": draw.normal(size=100).astype(np.float32),
        "kernel": draw.normal(size=(100, 70)).astype(np.float32),
        "other": draw.normal(size=(5, 7)).astype(np.float32),
        "words": [b"one", b"two"],
    }


# ---------------------------------------------------------------------- damage


@pytest.mark.parametrize("side", "ab")
def test_a_bit_flipped_on_either_side_is_named_and_the_pair_still_compared(
    side: str, pool: Pool, tmp_path: Path
) -> None:
    paths = {name: write_bundle(tmp_path / name, model()) for name in "ab"}
    flip(shard_of(paths[side]), 450)
    pairs, report = compared(pool, paths["a"], paths["b"])
    assert (pairs["kernel"].status, pairs["kernel"].changed) == ("changed", 1)
    assert pairs["kernel"].detail == f"{side.upper()}'s checksum fails"
    assert [(f.code, f.artifact, f.tensor) for f in report.findings] == [("checksum-mismatch", paths[side], "kernel")]
    assert {p.status for name, p in pairs.items() if name != "kernel"} == {"identical"}


def test_both_sides_are_told_even_if_one_can_not_be_read(pool: Pool, tmp_path: Path) -> None:
    a, b = (write_bundle(tmp_path / name, {"k": model()["kernel"]}) for name in "ab")
    sides = listed(pool, a), listed(pool, b)
    flip(shard_of(a), 27_000)
    shard_of(b).write_bytes(shard_of(b).read_bytes()[:-8])
    report = report_of(pool, *sides)
    (pair,) = report.pairs
    assert pair.status == "unreadable"
    assert pair.detail.startswith("B: ")
    assert pair.detail.endswith("A's checksum fails")
    assert sorted((f.code, f.artifact) for f in report.findings) == [
        ("checksum-mismatch", a),
        ("shard-truncated", b),
    ]


@pytest.mark.parametrize("side", "ab")
def test_a_shard_that_is_gone_costs_its_own_pairs_only(side: str, pool: Pool, tmp_path: Path) -> None:
    content = {"x": np.ones(50, np.float32), "y": np.ones(60, np.float32)}
    paths = {name: write_bundle(tmp_path / name, content, shards=2) for name in "ab"}
    sides = [listed(pool, paths[name]) for name in "ab"]
    Path(f"{paths[side]}.data-00001-of-00002").unlink()
    report = report_of(pool, *sides)
    pairs = {pair.a: pair for pair in report.pairs}
    assert (pairs["x"].status, pairs["y"].status) == ("identical", "unreadable")
    assert pairs["y"].detail.startswith(f"{side.upper()}: ")
    # seen by the directory at once
    again = report_of(pool, *(listed(pool, paths[name]) for name in "ab"))
    assert {pair.a: pair.status for pair in again.pairs} == {"x": "identical", "y": "unreadable"}


def test_tensors_of_two_shapes_are_verified_too(pool: Pool, tmp_path: Path) -> None:
    a = write_bundle(tmp_path / "a", {"embeddings": np.zeros((1000, 8), np.float32), "k": np.ones((3, 5), np.float32)})
    b = write_bundle(tmp_path / "b", {"embeddings": np.zeros((1200, 8), np.float32), "k": np.ones((5, 3), np.float32)})
    flip(shard_of(b), 7)
    pairs, report = compared(pool, a, b)
    assert pairs["embeddings"].status == pairs["k"].status == "shape-changed"
    assert pairs["embeddings"].detail == "axis 0: 1000 against 1200, B's checksum fails"
    assert pairs["k"].detail == "axes 0 and 1 swapped: axis 0: 3 against 5, axis 1: 5 against 3"
    assert [(f.code, f.artifact, f.tensor) for f in report.findings] == [("checksum-mismatch", b, "embeddings")]


def test_a_damaged_chunk_of_hdf5_makes_its_pair_unreadable(pool: Pool, tmp_path: Path) -> None:
    values = np.arange(40_000, dtype=np.float32)
    paths = []
    for name in "ab":
        paths.append(str(tmp_path / f"{name}.h5"))
        with h5py.File(paths[-1], "w") as file:
            file.create_dataset("w", data=values, chunks=(10_000,), compression="gzip")
            file.create_dataset("v", data=values)
            place = file["w"].id.get_chunk_info(2)
    data = bytearray(Path(paths[1]).read_bytes())
    data[place.byte_offset : place.byte_offset + 64] = bytes(64)
    Path(paths[1]).write_bytes(data)
    pairs, report = compared(pool, *paths)
    assert (pairs["w"].status, pairs["v"].status) == ("unreadable", "identical")
    assert pairs["w"].detail.startswith("B: ")
    assert {f.artifact for f in report.findings} == {paths[1]}


def test_a_reader_that_dies_over_a_pair_is_put_down_to_the_side_that_kills_it(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = (write_bundle(tmp_path / name, model()) for name in "ab")
    call = Pool.call

    def deadly(self: Pool, op: str, args: Any, **more: Any) -> Any:
        from ckptui.errors import ReaderCrashed

        deadly_scan = op == "scan" and args["path"] == b
        if (op == "diff" and [item[0] for item in args["items"]] == ["kernel"]) or deadly_scan:
            raise ReaderCrashed("SIGSEGV", item="kernel")
        if op == "diff" and any(item[0] == "kernel" for item in args["items"]):
            raise ReaderCrashed("SIGSEGV", item="kernel")
        return call(self, op, args, **more)

    monkeypatch.setattr(Pool, "call", deadly)
    sides = open_listing(pool, a, "tf-checkpoint"), open_listing(pool, b, "tf-checkpoint")
    report = report_of(pool, *sides)
    assert {pair.a: pair.status for pair in report.pairs} == {
        "bias": "identical",
        "kernel": "unreadable",
        "other": "identical",
        "words": "identical",
    }
    assert [(f.code, f.artifact, f.tensor) for f in report.findings] == [("reader-crashed", b, "kernel")]


# ---------------------------------------------------------------------- another dtype


def test_a_save_in_bfloat16_is_told_to_be_the_other_one_rounded(pool: Pool, tmp_path: Path) -> None:
    values = model()["kernel"]
    a = write_bundle(tmp_path / "a", {"k": values})
    b = write_bundle(tmp_path / "b", {"k": values.astype(ml_dtypes.bfloat16)})
    (pair,) = compared(pool, a, b)[0].values()
    assert pair.status == "dtype-changed"
    assert pair.detail == "float32 against bfloat16, every value of B is A's, rounded to bfloat16"
    wide = values.astype(ml_dtypes.bfloat16).astype(np.float64)
    assert pair.max_abs == np.abs(values - wide).max()


# ---------------------------------------------------------------------- pieces


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_pieces, "SPLIT_BYTES", 200_000)
    monkeypatch.setattr(pair_pieces, "PIECE_BYTES", 70_000)
    monkeypatch.setattr(comparing, "TASK_BYTES", 100_000)
    monkeypatch.setattr(comparing, "FIRST_TASK_BYTES", 100_000)


def large() -> Save:
    draw = np.random.default_rng(1)
    slot = "kernel/.OPTIMIZER_SLOT/optimizer/v/.ATTRIBUTES/VARIABLE_VALUE"
    return {
        "kernel/.ATTRIBUTES/VARIABLE_VALUE": draw.normal(size=(300, 401)).astype(np.float32),
        slot: np.exp(draw.normal(size=(300, 401))).astype(np.float32),
    }


def moved(save: Save) -> Save:
    return {name: (values * np.float32(1.01)).astype(np.float32) for name, values in save.items()}


@pytest.mark.usefixtures("small_pieces")
def test_huge_pairs_in_pieces_give_what_whole_ones_give(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = write_bundle(tmp_path / "a", large())
    b = write_bundle(tmp_path / "b", moved(large()), big_endian=True)
    sides = listed(pool, a), listed(pool, b)
    asked: list[int] = []

    def counted(pool: Pool, op: str, args: Any, items: Any, *rest: Any, **more: Any) -> Any:
        asked.append(len(items))
        return run_items(pool, op, args, items, *rest, **more)

    monkeypatch.setattr(comparing, "run_items", counted)
    rows: list[Any] = []

    def noted(given: Any) -> dict[str, Any]:
        rows.append(list(given))
        return {}

    monkeypatch.setattr(comparing, "relation", noted)
    pieces = report_of(pool, *sides)
    assert asked == [14]
    monkeypatch.setattr(pair_pieces, "SPLIT_BYTES", 1 << 40)
    whole = report_of(pool, *sides)
    assert asked == [14, 2]
    for one, other in zip(pieces.pairs, whole.pairs, strict=True):
        assert (one.a, one.status, one.changed, one.max_abs, one.count) == (
            other.a,
            other.status,
            other.changed,
            other.max_abs,
            other.count,
        )
        for field in ("mean_abs", "rms", "relative_l2", "cosine"):
            assert getattr(one, field) == pytest.approx(getattr(other, field), rel=1e-12)
    told = [next(row.log_ratio for row in given if row.pair.role == "slot") for given in rows]
    assert told[0] == told[1]
    assert told[0] is not None
    assert told[0]["q50"] == pytest.approx(np.log(1.01), rel=1e-3)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("side", "ab")
def test_a_wrong_checksum_of_a_huge_tensor_is_told_as_of_any_other(side: str, pool: Pool, tmp_path: Path) -> None:
    paths = {name: write_bundle(tmp_path / name, large()) for name in "ab"}
    flip(shard_of(paths[side]), 400_000)
    pairs, report = compared(pool, paths["a"], paths["b"])
    (pair,) = (pair for pair in pairs.values() if pair.role == "kernel")
    assert (pair.status, pair.changed, pair.detail) == ("changed", 1, f"{side.upper()}'s checksum fails")
    assert [(f.code, f.artifact) for f in report.findings] == [("checksum-mismatch", paths[side])]


@pytest.mark.usefixtures("small_pieces")
def test_a_huge_tensor_cut_off_after_it_was_listed_is_unreadable(pool: Pool, tmp_path: Path) -> None:
    paths = [write_bundle(tmp_path / name, large()) for name in "ab"]
    sides = [listed(pool, path) for path in paths]
    shard_of(paths[1]).write_bytes(shard_of(paths[1]).read_bytes()[:700_000])
    report = report_of(pool, *sides)
    assert sorted(pair.status for pair in report.pairs) == ["identical", "unreadable"]
    assert [(f.code, f.artifact) for f in report.findings] == [("shard-truncated", paths[1])]


# ---------------------------------------------------------------------- order and manners


def test_a_few_small_pairs_come_first_then_the_largest() -> None:
    sizes = [10, 20, 600 * MB, 30, 100 * MB, *([MB] * 70), 900 * MB]
    tasks = tasks_of(sizes)
    assert sorted(place for task in tasks for place in task) == list(range(len(sizes)))
    assert tasks[0] == [0, 1]
    assert [task for task in tasks[1:4]] == [[75], [2], [4]] or tasks[1:3] == [[75], [2]]
    assert tasks_of([]) == []
    assert tasks_of([5]) == [[0]]
    many = tasks_of([16] * 3000)
    assert len(many[0]) == 100
    assert max(map(len, many)) == 500


def test_a_comparison_of_40_gigabytes_is_taken_back_at_once(pool: Pool, tmp_path: Path) -> None:
    paths = [sparse_bundle(tmp_path / name, {"one/kernel": 12 * GB, "two/kernel": 8 * GB}) for name in "ab"]
    sides = [listed(pool, path) for path in paths]
    cancel = threading.Event()
    seen: list[Progress] = []
    told = compare_saves(pool, sides[0], sides[1], cancel=cancel)
    while len(seen) < 3:
        item = next(told)
        seen += [item] if isinstance(item, Progress) else []
    cancel.set()
    taken = time.monotonic()
    with pytest.raises(Cancelled):
        list(told)
    spent = time.monotonic() - taken
    print(f"taken back after {spent * 1000:.0f} ms")
    assert spent < AT_ONCE
    assert [one.done_bytes for one in seen] == sorted(one.done_bytes for one in seen)
    assert seen[-1].total_bytes == 40 * GB
    for path in tmp_path.iterdir():
        path.unlink()


@pytest.mark.parametrize(("nice", "dropped"), [(0, False), (10, True)])
def test_pages_that_only_a_screen_brought_in_are_let_go(
    nice: int, dropped: bool, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [write_bundle(tmp_path / name, model()) for name in "ab"]
    asked: list[Any] = []
    call = Pool.call

    def told(self: Pool, op: str, args: Any, **more: Any) -> Any:
        if op == "absent":
            return type("Reply", (), {"doc": list(args["files"])[:1]})()
        if op == "diff":
            asked.append(args.get("drop"))
        return call(self, op, args, **more)

    sides = [listed(pool, path) for path in paths]
    monkeypatch.setattr(pool, "nice", nice)
    monkeypatch.setattr(Pool, "call", told)
    report_of(pool, *sides)
    assert asked
    assert all(drop == ([str(shard_of(paths[0]))] if dropped else None) for drop in asked)


@pytest.mark.parametrize("alike", [False, True])
def test_tensors_paired_by_bytes_that_differ_stand_alone(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alike: bool
) -> None:
    """Two checksums of 32 bits may be the same by chance."""
    values = np.arange(100, dtype=np.float32)
    write_bundle(tmp_path / "a", {"a/kernel": values, "c/kernel": values})
    write_bundle(tmp_path / "b", {"b/kernel": values if alike else values + 1, "c/kernel": values})
    a, b = (listed(pool, str(tmp_path / name)) for name in "ab")
    ours, theirs = a.tensors, b.tensors
    matched: list[Match] = [(ours[0], theirs[0], "content"), (ours[1], theirs[1], "name")]

    def told_so(*args: Any) -> Generator[Progress, None, list[Match]]:
        yield from ()
        return matched

    monkeypatch.setattr("ckptui.engine.pairing.pairing", told_so)
    came = [item for item in compare_saves(pool, a, b) if isinstance(item, Pair)]
    report = report_of(pool, a, b)
    assert sorted(map(str, came)) == sorted(map(str, report.pairs))
    told = [(p.a, p.b, p.status, p.matched_by) for p in report.pairs]
    if alike:
        assert told[0] == ("a/kernel", "b/kernel", "identical", "content")
    else:
        assert told[0] == ("a/kernel", None, "only-a", None)
        assert told[2] == (None, "b/kernel", "only-b", None)


def test_weights_alone_are_compared_where_that_is_asked_for(pool: Pool, tmp_path: Path) -> None:
    kernel = np.arange(100, dtype=np.float32)
    for name, step in (("a", 1), ("b", 2)):
        slot = {"dense/kernel/.OPTIMIZER_SLOT/optimizer/m/.ATTRIBUTES/VARIABLE_VALUE": kernel * step}
        write_bundle(
            tmp_path / name, {"dense/kernel/.ATTRIBUTES/VARIABLE_VALUE": kernel, "save_counter": np.int64(step), **slot}
        )
    a, b = (listed(pool, str(tmp_path / name)) for name in "ab")
    report = list(compare_saves(pool, a, b, weights=True))[-1]
    assert isinstance(report, DiffReport)
    assert [(p.role, p.status) for p in report.pairs] == [("kernel", "identical")]
    assert len(report_of(pool, a, b).pairs) == 3


def test_reading_what_is_paired_by_its_bytes_tells_how_far_it_is(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ckptui.engine.contents.PROGRESS_SECONDS", 0)
    values = np.random.default_rng(3).normal(size=(4, 50, 20))
    for name, order in (("a", (0, 1, 2, 3)), ("b", (2, 0, 3, 1))):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            for place, which in enumerate(order):
                file[f"{name}{place}/kernel"] = values[which]
    a, b = (listed(pool, str(tmp_path / f"{name}.h5")) for name in "ab")
    items = list(compare_saves(pool, a, b))
    first = next(place for place, item in enumerate(items) if isinstance(item, Pair))
    told = [item for item in items[:first] if isinstance(item, Progress)]
    assert {p.current for p in told} == {"a.h5", "b.h5"}
    assert max(p.done for p in told) == 4
    report = items[-1]
    assert isinstance(report, DiffReport)
    assert {(p.a, p.b, p.status, p.matched_by) for p in report.pairs} == {
        (f"a{which}/kernel", f"b{place}/kernel", "identical", "content") for place, which in enumerate((2, 0, 3, 1))
    }
    cancel = threading.Event()
    steps = compare_saves(pool, a, b, cancel=cancel)
    assert isinstance(next(steps), Progress)
    cancel.set()
    with pytest.raises(Cancelled):
        list(steps)
