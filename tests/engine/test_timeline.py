"""A run over time, read in children: numbers as numpy gives them, each save read once, damage costs one save."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptui.core.model import (
    Found,
    Listing,
    SaveColumn,
    TensorPoint,
    TimelineReport,
    TimelineStart,
)
from ckptui.engine import timeline_rows
from ckptui.engine.points import PointAccumulator
from ckptui.engine.pool import Pool
from ckptui.engine.stretch import joined
from ckptui.engine.timeline import Followed, follow
from ckptui.engine.timeline_asking import Asking
from ckptui.errors import Cancelled
from ckptui.session import Session
from tests.places import CORPUS, needs_corpus
from tests.readers.make_bundle import Tiled, write_bundle

Arrays = dict[str, Any]


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Session(cache=False) as made:
        yield made


def made_run(folder: Path, count: int, change: Callable[[int, Arrays], None] | None = None) -> list[Arrays]:
    """Saves `model.ckpt-100`, `-200`, ...; returns what each holds."""
    rng = np.random.default_rng(7)
    values: Arrays = {
        "a/kernel": rng.normal(size=(30, 20)),
        "b/kernel": rng.normal(size=(20, 10)),
        "b/bias": np.zeros(9),
    }
    values = {name: array.astype(np.float32) for name, array in values.items()}
    out = []
    for number in range(count):
        for array in values.values():
            if array.ndim:
                array += rng.normal(scale=0.01, size=array.shape).astype(np.float32)
        values["global_step"] = np.int64(100 * (number + 1))
        held = {name: array.copy() if hasattr(array, "copy") else array for name, array in values.items()}
        if change is not None:
            change(number, held)
        write_bundle(folder / f"model.ckpt-{100 * (number + 1)}", held)
        out.append(held)
    return out


def told(session: Session, folder: Path, **options: Any) -> tuple[list[SaveColumn], TimelineReport]:
    items = list(session.timeline(session.run_at(folder), **options))
    assert isinstance(items[0], TimelineStart)
    report = items[-1]
    assert isinstance(report, TimelineReport)
    return [item for item in items if isinstance(item, SaveColumn)], report


def row(report: TimelineReport, name: str) -> tuple[TensorPoint | None, ...]:
    return report.points[[known.name for known in report.rows].index(name)]


def codes(report: TimelineReport) -> list[str]:
    return [finding.code for finding in report.findings]


# ---------------------------------------------------------------------- numbers


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["float32", "float64", "float16", "int64", "int8", "complex64"]))
def test_numbers_are_numpys(seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    count, cut = int(rng.integers(1, 20_000)), int(rng.integers(0, 20_000))
    scale = 10.0 ** rng.integers(-3, 4)
    now = (rng.normal(size=count) * scale).astype(dtype)
    before = np.where(rng.random(count) < 0.5, now, np.roll(now, 1)).astype(dtype)
    if now.dtype.kind == "f" and rng.random() < 0.5:
        now[rng.integers(0, count)] = np.nan
        before[rng.integers(0, count)] = np.inf
    parts = []
    for some in (slice(0, cut), slice(cut, None)):
        accumulator = PointAccumulator(dtype)
        accumulator.add(now[some], before[some])
        parts.append(accumulator.result())
    found = joined(parts) if cut < count else parts[0]
    wide = np.complex128 if now.dtype.kind == "c" else np.float64
    one, other = now.astype(wide), before.astype(wide)
    both = np.isfinite(one) & np.isfinite(other)
    assert found.norm == pytest.approx(np.linalg.norm(one[np.isfinite(one)]), rel=1e-12)
    assert found.distance == pytest.approx(np.linalg.norm(one[both] - other[both]), rel=1e-9, abs=1e-300)
    assert found.nonfinite == np.count_nonzero(~np.isfinite(one))
    bits = np.dtype(f"V{now.dtype.itemsize}")
    assert found.changed == np.count_nonzero(now.view(bits) != before.view(bits))
    assert (found.count, found.crc32c) == (count, crc32c(now.tobytes()))


@pytest.mark.parametrize("scale", [1e-200, 1e200, 0.0])
def test_norms_neither_overflow_nor_vanish(scale: float) -> None:
    values = np.array([3.0, 4.0]) * scale
    accumulator = PointAccumulator("float64")
    accumulator.add(values, np.zeros(2))
    assert accumulator.result().norm == pytest.approx(5 * scale, rel=1e-12)
    assert accumulator.result().distance == pytest.approx(5 * scale, rel=1e-12)


def test_a_run_in_numbers(session: Session, tmp_path: Path) -> None:
    saves = made_run(tmp_path, 5)
    columns, report = told(session, tmp_path)
    assert [(c.place, c.complete, len(c.new_rows)) for c in columns] == [
        (0, True, 4),
        *((n, True, 0) for n in range(1, 5)),
    ]
    for name in ("a/kernel", "b/kernel", "b/bias"):
        for place, point in enumerate(row(report, name)):
            wide = saves[place][name].astype(np.float64)
            assert point is not None
            assert point.l2 == pytest.approx(np.linalg.norm(wide), rel=1e-12)
            assert point.crc32c == crc32c(saves[place][name].tobytes())
            assert (point.delta_l2 is None, point.changed is None) == (place == 0, place == 0)
            if place:
                apart = wide - saves[place - 1][name].astype(np.float64)
                assert point.delta_l2 == pytest.approx(np.linalg.norm(apart), rel=1e-9)
                assert point.changed == np.count_nonzero(apart)
    assert [point.value for point in row(report, "global_step") if point] == [100, 200, 300, 400, 500]
    assert codes(report) == []


def test_pattern_tiles_strings_and_byte_order(session: Session, tmp_path: Path) -> None:
    values = np.arange(60, dtype=np.float32).reshape(10, 6)
    tiles = [[(0, 4), (0, -1)], [(4, 6), (0, 3)], [(4, 6), (3, 3)]]
    write_bundle(tmp_path / "m-1", {"k": Tiled(values, tiles), "words": [b"a", b"b"], "other": values})
    write_bundle(tmp_path / "m-2", {"k": values + 1, "words": [b"a", b"c"], "other": values}, big_endian=True)
    _, report = told(session, tmp_path)
    assert [(p.delta_l2, p.changed) for p in row(report, "k") if p] == [(None, None), (pytest.approx(60**0.5), 60)]
    assert [(p.l2, p.changed) for p in row(report, "words") if p] == [(None, None), (None, 1)]
    first, second = row(report, "other")
    assert first
    assert second
    assert first.crc32c == second.crc32c == crc32c(values.tobytes())
    _, report = told(session, tmp_path, pattern="^k$")
    assert [known.name for known in report.rows] == ["k"]


# ---------------------------------------------------------------------- large saves


def test_windows_and_stretches_give_the_same_and_read_once(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_run(tmp_path, 4)
    _, whole = told(session, tmp_path)
    monkeypatch.setattr(timeline_rows, "GROUP_BYTES", 900)
    monkeypatch.setattr(timeline_rows, "PART_BYTES", 500)
    columns, cut = told(session, tmp_path)
    assert len(columns) > 4
    assert [sum(c.complete for c in columns if c.place == n) for n in range(4)] == [1] * 4
    by_name = {known.name: points for known, points in zip(cut.rows, cut.points, strict=True)}
    for known, points in zip(whole.rows, whole.points, strict=True):
        for one, other in zip(points, by_name[known.name], strict=True):
            assert one
            assert other
            assert one.l2 == pytest.approx(other.l2, rel=1e-12)
            assert one.delta_l2 == pytest.approx(other.delta_l2, rel=1e-9)
            assert (one.changed, one.crc32c, one.value) == (other.changed, other.crc32c, other.value)
    read = bytes_read(session, tmp_path, monkeypatch)
    held = sum(
        point.count * (8 if known.dtype == "int64" else 4)
        for known, points in zip(whole.rows, whole.points, strict=True)
        for point in points
        if point
    )
    print(f"  {held} bytes of values in 4 saves, {read} read")
    assert read == held


def bytes_read(session: Session, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Of tensors, as the children count them."""
    done = []
    close = Asking.close

    def counted(asking: Asking, *, usable: bool) -> None:
        done.append(asking.bytes)
        close(asking, usable=usable)

    monkeypatch.setattr(Asking, "close", counted)
    told(session, folder)
    return sum(done)


# ---------------------------------------------------------------------- damage on the way


def test_a_cut_save_costs_what_it_lost_and_the_course_goes_on(session: Session, tmp_path: Path) -> None:
    saves = made_run(tmp_path, 4)
    shard = tmp_path / "model.ckpt-200.data-00000-of-00001"
    shard.write_bytes(shard.read_bytes()[:2600])
    _, report = told(session, tmp_path)
    points = row(report, "b/kernel")
    assert points[1] is not None
    assert points[1].problem
    assert points[1].l2 is None
    # held against the last save that could be read
    apart = saves[2]["b/kernel"].astype(np.float64) - saves[0]["b/kernel"]
    assert points[2] is not None
    assert points[2].delta_l2 == pytest.approx(np.linalg.norm(apart), rel=1e-9)
    cut = [f for f in report.findings if f.code == "shard-truncated"]
    assert len(cut) == 1
    lost = [r.name for r, points in zip(report.rows, report.points, strict=True) if points[1] and points[1].problem]
    assert cut[0].evidence["tensor_count"] == len(lost) > 1
    assert set(cut[0].evidence["tensors"]) == set(lost)


def test_a_flipped_bit_is_a_finding_of_its_save_and_no_word_about_training(session: Session, tmp_path: Path) -> None:
    saves = made_run(tmp_path, 4)
    shard = tmp_path / "model.ckpt-200.data-00000-of-00001"
    data = bytearray(shard.read_bytes())
    data[100] ^= 64
    shard.write_bytes(data)
    columns, report = told(session, tmp_path)
    assert [(f.code, f.artifact, f.tensor) for f in columns[1].findings] == [
        ("checksum-mismatch", str(tmp_path / "model.ckpt-200"), "a/kernel")
    ]
    points = row(report, "a/kernel")
    assert points[1] is not None
    assert "checksum" in points[1].problem
    apart = saves[2]["a/kernel"].astype(np.float64) - saves[0]["a/kernel"]
    assert points[2] is not None
    assert points[2].delta_l2 == pytest.approx(np.linalg.norm(apart), rel=1e-9)
    assert codes(report) == ["checksum-mismatch"]


def test_a_missing_shard_and_a_missing_save(session: Session, tmp_path: Path) -> None:
    made_run(tmp_path, 4)
    run = session.run_at(tmp_path)
    (tmp_path / "model.ckpt-300.data-00000-of-00001").unlink()
    items = []
    for item in session.timeline(run):
        items.append(item)
        if isinstance(item, TimelineStart):
            for file in tmp_path.glob("model.ckpt-200*"):
                file.unlink()
    report = items[-1]
    assert isinstance(report, TimelineReport)
    assert [artifact is None for artifact in report.artifacts] == [False, True, False, False]
    assert row(report, "a/kernel")[1] is None
    third = row(report, "a/kernel")[2]
    assert third is not None
    assert third.problem
    gone = next(f for f in report.findings if f.artifact.endswith("200"))
    assert (gone.code, gone.severity) == ("changed-while-reading", "info")
    assert "shard-missing" in codes(report)


def test_nan_from_the_third_save_on_is_one_finding(session: Session, tmp_path: Path) -> None:
    def spoil(number: int, held: Arrays) -> None:
        if number >= 2:
            held["a/kernel"][0, 0] = np.nan
            held["b/bias"][:] = np.inf

    made_run(tmp_path, 5, spoil)
    _, report = told(session, tmp_path)
    found = [f for f in report.findings if f.code == "non-finite"]
    assert len(found) == 1
    assert found[0].artifact == str(tmp_path / "model.ckpt-300")
    assert found[0].evidence["tensors"] == ["a/kernel", "b/bias"]
    assert (found[0].evidence["step"], found[0].evidence["saves"], found[0].evidence["last_finite"]) == (
        300, 3, "model.ckpt-200",
    )  # fmt: skip
    point = row(report, "a/kernel")[2]
    assert point is not None
    assert point.nonfinite == 1
    assert point.l2 is not None
    assert point.delta_l2 is not None


def test_a_reader_that_dies_or_hangs_costs_one_save(tmp_path: Path) -> None:
    saves = made_run(tmp_path, 5)
    with Session(cache=False) as session, Pool(size=2, ops_module="tests.engine.timeline_drill") as pool:
        found = session.saves_of(session.run_at(tmp_path))

        def opened(one: Found) -> Listing:
            return session.open(one.path, found=one)

        end = list(follow(pool, found, opened))[-1]
    assert isinstance(end, Followed)
    points = end.points[[known.name for known in end.rows].index("a/kernel")]
    assert [bool(point and point.problem) for point in points] == [False, False, True, False, False]
    apart = saves[3]["a/kernel"].astype(np.float64) - saves[1]["a/kernel"]
    assert points[3] is not None
    assert points[3].delta_l2 == pytest.approx(np.linalg.norm(apart), rel=1e-9)
    assert [(f.code, Path(f.artifact).name) for f in end.findings] == [("reader-crashed", "model.ckpt-300")]


def test_lies_of_a_child_are_not_taken(tmp_path: Path) -> None:
    made_run(tmp_path, 3)
    with Session(cache=False) as session, Pool(size=1, ops_module="tests.engine.timeline_drill") as pool:
        found = session.saves_of(session.run_at(tmp_path))

        def opened(one: Found) -> Listing:
            listing = session.open(one.path, found=one)
            return replace(listing, tensors=[t for t in listing.tensors if t.name != "b/bias"])

        end = list(follow(pool, found, opened))[-1]
    assert isinstance(end, Followed)
    assert all(point is not None and point.problem for points in end.points for point in points)


# ---------------------------------------------------------------------- rows


def test_rows_go_on_where_names_drift_and_tensors_come_and_go(session: Session, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    one, two = rng.normal(size=(8, 9)).astype(np.float32), rng.normal(size=9).astype(np.float32)
    write_bundle(tmp_path / "m-1", {"dense/kernel": one, "gone/kernel": two})
    write_bundle(tmp_path / "m-2", {"dense/kernel": one + 1})
    write_bundle(tmp_path / "m-3", {"dense/kernel": one + 2, "gone/kernel": two + 1, "new/kernel": two})
    columns, report = told(session, tmp_path)
    assert [[known.name for known in c.new_rows] for c in columns] == [
        ["dense/kernel", "gone/kernel"],
        [],
        ["new/kernel"],
    ]
    gone = row(report, "gone/kernel")
    assert gone[1] is None
    assert gone[2] is not None
    assert gone[2].delta_l2 == pytest.approx(3.0, rel=1e-6)
    assert row(report, "new/kernel")[:2] == (None, None)


def test_what_is_known_is_not_read_again(session: Session, tmp_path: Path) -> None:
    made_run(tmp_path, 5)
    _, whole = told(session, tmp_path)
    later = tmp_path / "later"
    later.mkdir()
    for file in tmp_path.glob("model.ckpt-*"):
        if "500" not in file.name:
            shutil.copy2(file, later)
    _, before = told(session, later)
    for file in tmp_path.glob("model.ckpt-500*"):
        shutil.copy2(file, later)
    # were one of them read once more, it would show
    for number in (100, 200, 300):
        shard = later / f"model.ckpt-{number}.data-00000-of-00001"
        stamp = shard.stat()
        shard.write_bytes(b"")
        os.utime(shard, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    columns, after = told(session, later, known=before)
    assert [c.place for c in columns] == [0, 1, 2, 3, 4]
    assert after.points == whole.points
    assert after.rows == whole.rows
    for file in later.glob("model.ckpt-100*"):
        file.unlink()
    columns, rotated = told(session, later, known=after)
    assert len(columns) == 4
    first = row(rotated, "a/kernel")[0]
    assert first == replace(row(whole, "a/kernel")[1] or TensorPoint(), delta_l2=None, changed=None)
    assert row(rotated, "a/kernel")[1:] == row(whole, "a/kernel")[2:]


# ---------------------------------------------------------------------- speed, cancelling, histories


def test_columns_stream_in(session: Session, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = {f"layer_{n}/kernel": rng.normal(size=50).astype(np.float32) for n in range(100)}
    for number in range(40):
        write_bundle(tmp_path / f"ckpt-{number + 1}", {name: array + number for name, array in values.items()})
    begun = time.monotonic()
    arrived = [
        time.monotonic() - begun for item in session.timeline(session.run_at(tmp_path)) if isinstance(item, SaveColumn)
    ]
    print(f"  40 saves of 100 tensors: first column after {arrived[0]:.2f} s, all after {arrived[-1]:.2f} s")
    assert len(arrived) == 40
    assert arrived[0] < arrived[-1] / 3


def stop_at_first_column(session: Session, folder: Path, cancel: threading.Event) -> None:
    for item in session.timeline(session.run_at(folder), cancel=cancel):
        if isinstance(item, SaveColumn):
            cancel.set()


def test_a_timeline_can_be_taken_back(session: Session, tmp_path: Path) -> None:
    made_run(tmp_path, 5)
    cancel = threading.Event()
    with pytest.raises(Cancelled):
        stop_at_first_column(session, tmp_path, cancel)
    _, report = told(session, tmp_path)
    assert len(report.artifacts) == 5


def test_histories_share_one_range(session: Session, tmp_path: Path) -> None:
    saves = made_run(tmp_path, 3)
    _, report = told(session, tmp_path)
    known = next(r for r in report.rows if r.name == "a/kernel")
    found = session.history(report.run, known, bins=20)
    every = np.concatenate([held["a/kernel"].ravel() for held in saves]).astype(np.float64)
    for histogram, held in zip(found, saves, strict=True):
        assert histogram is not None
        assert (histogram.low, histogram.high, histogram.sampled) == (every.min(), every.max(), 0)
        counts, _ = np.histogram(held["a/kernel"].astype(np.float64), 20, (every.min(), every.max()))
        assert np.abs(np.array(histogram.counts) - counts).sum() <= 2
    assert session.history(report.saves, replace(known, name="nowhere", own_name="nowhere")) == (None, None, None)


@needs_corpus
def test_sixteen_epochs_of_a_real_run(session: Session) -> None:
    begun = time.monotonic()
    _, report = told(session, CORPUS / "fer2013-sequence")
    seconds = time.monotonic() - begun
    print(f"  16 epochs, {len(report.rows)} tensors: {seconds:.1f} s")
    assert len(report.saves) == 16
    assert codes(report) == []
    assert all(point is not None and not point.problem for points in report.points for point in points)
