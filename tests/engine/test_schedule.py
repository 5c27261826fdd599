"""Whole saves scanned and read in children: every tensor once, visible ones first, damage put where it is."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui.core.heatmaps import strongest
from ckptui.core.model import Listing, Progress, Tensor, TensorScan
from ckptui.core.stats import stats_of
from ckptui.engine.overviews import read_overview
from ckptui.engine.pool import Pool
from ckptui.engine.requests import array, histogram, open_listing, raw, strings
from ckptui.engine.schedule import TASK_TENSORS, plan, run_scan
from ckptui.errors import CkptuiError, NoSuchTensor, UsageError
from tests.places import CORPUS, SAMPLES, needs_corpus, needs_samples
from tests.readers.make_bundle import Tiled, write_bundle


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(size=2) as made:
        yield made


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> str:
    rng = np.random.default_rng(1)
    folder = tmp_path_factory.mktemp("save")
    return write_bundle(folder / "ckpt-7", contents(rng), shards=2)


def contents(rng: Any) -> dict[str, Any]:
    large = rng.normal(size=(700, 3000)).astype(np.float32)
    part = rng.normal(size=(40, 6)).astype(np.float32)
    return {
        "a/kernel": large,
        "b/bias": np.zeros(32, np.float32),
        "c/embedding": Tiled(part, [[(0, 10), (0, -1)], [(10, 30), (0, -1)]]),
        "step": np.int64(7),
        "words": [b"one", b"", b"three"],
        **{f"small/{n}": np.full((3,), n, np.float64) for n in range(40)},
    }


def scanned(pool: Pool, path: str, kind: Any, tensors: Any, **options: Any) -> dict[str, TensorScan]:
    found = {}
    for item in run_scan(pool, path, kind, tensors, **options):
        if isinstance(item, TensorScan):
            assert item.name not in found
            found[item.name] = item
    return found


def test_every_tensor_of_a_bundle_is_scanned_once_with_numpys_numbers(pool: Pool, prefix: str) -> None:
    listing = open_listing(pool, prefix, "tf-checkpoint")
    found = scanned(pool, prefix, "tf-checkpoint", listing.tensors)
    assert set(found) == {t.name for t in listing.tensors}
    assert {scan.checksum for scan in found.values()} == {"ok"}
    wanted = contents(np.random.default_rng(1))
    kernel, numbers = found["a/kernel"].stats, stats_of(wanted["a/kernel"], "float32")
    assert kernel is not None
    assert (kernel.min, kernel.max, kernel.argmin, kernel.argmax) == (
        numbers.min,
        numbers.max,
        numbers.argmin,
        numbers.argmax,
    )
    assert kernel.std == pytest.approx(numbers.std, rel=1e-12)
    assert found["small/7"].stats == stats_of(wanted["small/7"], "float64")
    assert found["words"].stats is not None
    assert found["words"].stats.count == 3


def test_progress_ends_at_the_total_and_never_goes_back(pool: Pool, prefix: str) -> None:
    tensors = list(open_listing(pool, prefix, "tf-checkpoint").tensors)
    steps = [item for item in run_scan(pool, prefix, "tf-checkpoint", tensors) if isinstance(item, Progress)]
    last = steps[-1]
    assert (last.done, last.total) == (len(tensors), len(tensors))
    assert last.done_bytes == last.total_bytes == sum(t.bytes for t in tensors)
    assert [s.done_bytes for s in steps] == sorted(s.done_bytes for s in steps)


def test_a_flipped_bit_and_a_short_shard_cost_their_tensors_only(pool: Pool, tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "x", {name: np.arange(100, dtype=np.float32) for name in "abc"})
    shard = tmp_path / "x.data-00000-of-00001"
    data = bytearray(shard.read_bytes())
    data[450] ^= 1
    shard.write_bytes(data[:-4])
    listing = open_listing(pool, path, "tf-checkpoint")
    found = scanned(pool, path, "tf-checkpoint", listing.tensors, stats=False)
    assert {name: scan.checksum for name, scan in found.items()} == {
        "a": "ok",
        "b": "mismatch",
        "c": "unread",
    }
    assert found["b"].findings[0].code == "checksum-mismatch"
    assert found["c"].findings == ()
    assert [f.code for f in listing.findings if f.tensor == "c" or f.tensor is None] == ["shard-truncated"]


def test_a_shard_that_was_cut_after_the_listing_is_a_finding_of_the_scan(pool: Pool, tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "x", {name: np.arange(100, dtype=np.float32) for name in "ab"})
    tensors = list(open_listing(pool, path, "tf-checkpoint").tensors)
    os.truncate(tmp_path / "x.data-00000-of-00001", 790)
    found = scanned(pool, path, "tf-checkpoint", tensors)
    assert (found["a"].checksum, found["b"].checksum) == ("ok", "unread")
    assert [f.code for f in found["b"].findings] == ["shard-truncated"]
    assert found["b"].findings[0].evidence["bytes_missing"] == 10


def test_a_save_that_is_gone_is_an_error(pool: Pool, tmp_path: Path) -> None:
    tensors = [Tensor("a", "float32", (1,), 4)]
    with pytest.raises(CkptuiError):
        list(run_scan(pool, str(tmp_path / "gone"), "tf-checkpoint", tensors))


def test_a_save_written_anew_is_opened_anew(pool: Pool, tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        path = write_bundle(tmp_path / "x", {"a": np.full(10, value, np.float32)})
        stamp = time.time() + value
        for file in tmp_path.iterdir():
            os.utime(file, (stamp, stamp))
        listing = open_listing(pool, path, "tf-checkpoint")
        stats = scanned(pool, path, "tf-checkpoint", listing.tensors)["a"].stats
        assert stats is not None
        assert stats.mean == value


def test_the_reader_children_of_a_screen_let_go_of_pages_they_brought(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "x", {"a": np.arange(1 << 18, dtype=np.float32)})
    with Pool(size=1, nice=10) as polite:
        listing = open_listing(polite, path, "tf-checkpoint")
        assert scanned(polite, path, "tf-checkpoint", listing.tensors)["a"].checksum == "ok"
        assert polite.limits["nice"]


def test_cancelling_a_scan_ends_it_without_a_word(pool: Pool, prefix: str) -> None:
    cancel = threading.Event()
    cancel.set()
    tensors = list(open_listing(pool, prefix, "tf-checkpoint").tensors)
    assert scanned(pool, prefix, "tf-checkpoint", tensors, cancel=cancel) == {}


# ---------------------------------------------------------------------- tasks


def sized(*sizes: int) -> list[Tensor]:
    return [Tensor(str(n), "uint8", (size,), size) for n, size in enumerate(sizes)]


def test_the_largest_come_first_and_small_ones_share_a_task() -> None:
    mb = 1 << 20
    assert plan(sized(1 * mb, 100 * mb, 2 * mb, 9 * mb)) == [[1], [3], [0, 2]]


def test_visible_rows_come_before_everything() -> None:
    mb = 1 << 20
    assert plan(sized(1, 100 * mb, 2, 9 * mb, 3), ["4", "3", "not there"])[0] == [4]
    assert plan(sized(1, 100 * mb, 2, 9 * mb, 3), ["4", "0"])[0] == [4, 0]
    assert sorted(n for task in plan(sized(1, 2, 3), ["1"]) for n in task) == [0, 1, 2]


def test_tasks_hold_few_enough_tensors_and_bytes() -> None:
    tasks = plan(sized(*[10] * 1234))
    assert max(map(len, tasks)) == TASK_TENSORS
    assert sum(map(len, tasks)) == 1234
    assert plan([]) == []


# ---------------------------------------------------------------------- one tensor


def test_arrays_bytes_strings_and_histograms_come_over_the_pipe(pool: Pool, prefix: str) -> None:
    wanted = contents(np.random.default_rng(1))
    kernel = array(pool, prefix, "tf-checkpoint", "a/kernel", 50_000_000)
    assert kernel.dtype == np.float32
    assert np.array_equal(kernel, wanted["a/kernel"])
    assert b"".join(bytes(b) for b in raw(pool, prefix, "tf-checkpoint", "a/kernel")) == wanted["a/kernel"].tobytes()
    found = histogram(pool, prefix, "tf-checkpoint", "a/kernel", 32)
    assert sum(found.counts) == kernel.size
    assert (found.low, found.high) == (float(kernel.min()), float(kernel.max()))
    assert (kernel <= found.quantiles[2]).mean() == pytest.approx(0.5, abs=0.02)
    assert 0 < found.sampled <= 65_536 < kernel.size
    values, limit = read_overview(pool, prefix, "tf-checkpoint", "a/kernel", (5, 7))
    assert values.tobytes() == strongest(kernel.reshape(-1, kernel.shape[-1]), 5, 7).tobytes()
    assert limit == pytest.approx(float(np.abs(kernel).max()))
    assert list(array(pool, prefix, "tf-checkpoint", "words", 1000)) == [b"one", b"", b"three"]
    data, offsets = strings(pool, prefix, "tf-checkpoint", "words", 1000)
    assert (bytes(data), list(np.frombuffer(offsets, np.int64))) == (b"onethree", [0, 3, 3, 8])
    assert array(pool, prefix, "tf-checkpoint", "step", 100) == 7


def test_what_can_not_be_had_is_an_error_of_its_kind(pool: Pool, prefix: str) -> None:
    with pytest.raises(UsageError):
        array(pool, prefix, "tf-checkpoint", "a/kernel", 1000)
    with pytest.raises(NoSuchTensor):
        array(pool, prefix, "tf-checkpoint", "z", 1000)
    with pytest.raises(UsageError):
        list(raw(pool, prefix, "tf-checkpoint", "words"))
    with pytest.raises(UsageError):
        read_overview(pool, prefix, "tf-checkpoint", "words", (5, 7))


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "int4", "complex64", "bool", "float16", "uint64"])
def test_arrays_of_rarer_dtypes_come_over_the_pipe(dtype: str, pool: Pool, tmp_path: Path) -> None:
    from ckptui.core.dtypes import np_dtype

    values = np.arange(6).astype(np_dtype(dtype)).reshape(2, 3)
    path = write_bundle(tmp_path / "x", {"a": values})
    found = array(pool, path, "tf-checkpoint", "a", 1000)
    assert (found.dtype, found.shape) == (values.dtype, (2, 3))
    assert found.tobytes() == values.tobytes()


# ---------------------------------------------------------------------- real files


def listing_of(pool: Pool, path: Path, kind: Any) -> Listing:
    return open_listing(pool, str(path), kind)


@needs_samples
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("digits/ckpt-5", "tf-checkpoint"),
        ("digits.keras", "keras-archive"),
        ("digits.h5", "keras-h5"),
        ("digits.weights.h5", "keras-weights"),
        ("digits_saved_model", "saved-model"),
        ("estimator/model.ckpt-300", "tf-checkpoint"),
    ],
)
def test_every_kind_of_sample_is_listed_scanned_and_whole(name: str, kind: Any, pool: Pool) -> None:
    listing = listing_of(pool, SAMPLES / name, kind)
    found = scanned(pool, str(SAMPLES / name), kind, listing.tensors)
    assert set(found) == {t.name for t in listing.tensors}
    expected = {"ok"} if kind in ("tf-checkpoint", "saved-model") else {"none"}
    assert {scan.checksum for scan in found.values()} == expected
    assert not [f for scan in found.values() for f in scan.findings if f.severity == "error"]
    for tensor in listing.tensors:
        stats = found[tensor.name].stats
        assert stats is not None
        assert stats.count == tensor.count


@needs_samples
@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("flipped_bit/ckpt-1", {"checksum-mismatch"}),
        ("zero_filled_tail/ckpt-1", {"zero-filled"}),
        ("truncated_shard/ckpt-1", {"shard-truncated"}),
    ],
)
def test_every_broken_sample_gets_its_finding(name: str, codes: set[str], pool: Pool) -> None:
    place = SAMPLES / "broken" / name
    saves = sorted(place.parent.glob("*.index"))
    found: set[str] = set()
    for save in saves:
        path = save.with_suffix("")
        listing = listing_of(pool, path, "tf-checkpoint")
        scans = scanned(pool, str(path), "tf-checkpoint", listing.tensors, stats=False)
        told = [*listing.findings, *(f for scan in scans.values() for f in scan.findings)]
        found |= {f.code for f in told if f.severity == "error"}
    assert found >= codes


@needs_corpus
def test_every_bundle_of_the_corpus_is_scanned_without_an_accident(pool: Pool) -> None:
    seen = 0
    for index in sorted(CORPUS.rglob("*.index")):
        path = str(index)[: -len(".index")]
        try:
            listing = open_listing(pool, path, "tf-checkpoint")
        except CkptuiError:
            continue
        found = scanned(pool, path, "tf-checkpoint", listing.tensors)
        assert len(found) == len(listing.tensors), path
        assert not [f for s in found.values() for f in s.findings if f.code == "reader-crashed"], path
        seen += 1
    assert seen
