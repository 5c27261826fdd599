"""Event files: records, scalars of every form, damage, and what is beside a run."""

from __future__ import annotations

import itertools
import json
import math
import os
import random
import struct
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from ckptui.core.curves import POINTS, Curve, aligned
from ckptui.core.model import RunFolder, Scalars
from ckptui.readers.event_files import curves_of, event_folders
from ckptui.readers.events import LARGEST, Scalar, Trouble, records, scalars
from ckptui.readers.run_of import run_at, saves_of
from ckptui.readers.source import Source
from tests import warm_tensorflow
from tests.places import ESTIMATOR, needs_estimator
from tests.readers.event_maker import event, framed, message, scalar_file, simple, tensor

NAME = "events.out.tfevents.1700000000.box"


def read(data: bytes, path: Path) -> tuple[list[Scalar], Trouble]:
    """All scalars of a file of these bytes, and what was wrong with it."""
    path.write_bytes(data)
    trouble = Trouble()
    with Source(path) as source:
        return [scalar for record in records(source, trouble) for scalar in scalars(record)], trouble


def run(folder: Path) -> RunFolder:
    """A run without saves."""
    return RunFolder(str(folder), folder.name, ())


# ---------------------------------------------------------------------- against TensorFlow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("events")
    child = Path(__file__).with_name("event_child.py")
    done = warm_tensorflow.run([child, folder], timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder, json.loads((folder / "oracle.json").read_text())


@pytest.mark.tensorflow
def test_tensorflow_reads_the_same_numbers(made: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, oracle = made
    compared = 0
    for name, wanted in oracle["scalars"].items():
        found, trouble = read((folder / name).read_bytes(), tmp_path / "copy")
        mine = [(s.tag, s.step, s.wall, repr(s.value)) for s in found]
        # tensors of other plugins are no curves, whatever their shape
        assert mine == [tuple(row) for row in wanted]
        assert trouble == Trouble()
        compared += len(mine)
    print(f"{compared} scalars in {len(oracle['scalars'])} files as TensorFlow reads them")
    assert compared > 60


@pytest.mark.tensorflow
def test_every_truncation_gives_the_records_before_it(made: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, oracle = made
    data = (folder / oracle["small"]).read_bytes()
    for size, wanted in enumerate(oracle["cuts"]):
        (tmp_path / "cut").write_bytes(data[:size])
        trouble = Trouble()
        with Source(tmp_path / "cut") as source:
            assert sum(1 for _ in records(source, trouble)) == wanted, size
        assert trouble == Trouble(), "a torn end is nothing wrong"
    print(f"{len(data)} truncations")


@pytest.mark.tensorflow
def test_a_flipped_bit_costs_one_record_at_most_unless_it_is_in_a_length(
    made: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, oracle = made
    data = (folder / oracle["small"]).read_bytes()
    total, skipped, stopped = 5, 0, 0
    for at, wanted in enumerate(oracle["flips"]):
        (tmp_path / "flip").write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
        trouble = Trouble()
        with Source(tmp_path / "flip") as source:
            count = sum(1 for _ in records(source, trouble))
        assert wanted < total, "TensorFlow notices every flip"
        if trouble.stopped is None:
            assert (trouble.bad, count) == (1, total - 1)
            skipped += 1
        else:
            assert (trouble.bad, count) == (0, wanted)
            stopped += 1
    print(f"{len(data)} flips: {skipped} cost one record, {stopped} what lies behind a length")
    assert stopped == 12 * total


@pytest.mark.tensorflow
def test_epochs_of_curves_and_of_files_meet(made: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = made
    epochs = run_at(folder / "keras" / "saves")
    assert [found.step for found in saves_of(epochs)] == [1, 2, 3, 4]
    curves = curves_of(epochs)
    assert [(c.tag, c.source) for c in curves.scalars[:3]] == [
        ("epoch_loss", "../logs/train"),
        ("epoch_loss", "../logs/validation"),
        ("epoch_learning_rate", "../logs/train"),
    ]
    loss = curves.scalars[0]
    assert loss.steps == (0, 1, 2, 3)
    assert aligned(loss, saves_of(epochs)) == loss.values, "epoch 0 of the curve is cp-0001"


@needs_estimator
def test_a_real_estimator(tmp_path: Path) -> None:
    curves = curves_of(run_at(ESTIMATOR))
    assert curves.findings == ()
    told = {(c.tag, c.source): c for c in curves.scalars}
    assert set(told) == {("loss", ""), ("my_loss", ""), ("loss", "eval"), ("acc", "eval")}
    assert [(c.tag, c.source) for c in curves.scalars[:2]] == [("loss", ""), ("loss", "eval")]
    assert told["loss", ""].steps == (1, 6, 11, 16, 21, 26)
    at_saves = aligned(told["loss", ""], saves_of(run_at(ESTIMATOR)))
    assert at_saves == tuple(told["loss", ""].values[i] for i in (2, 4, 5))


# ---------------------------------------------------------------------- values


def dims(*sizes: int) -> bytes:
    return message(2, b"".join(message(2, b"\x08" + bytes([size])) for size in sizes))


@pytest.mark.parametrize(
    ("proto", "value"),
    [
        (b"\x08\x01" + dims() + message(4, struct.pack("<f", 1.5)), 1.5),
        (b"\x08\x01" + dims() + message(5, struct.pack("<f", 2.5)), 2.5),
        (b"\x08\x01" + dims() + b"\x2d" + struct.pack("<f", 2.5), 2.5),
        (b"\x08\x02" + message(6, struct.pack("<d", 1e300)), 1e300),
        (b"\x08\x02" + b"\x31" + struct.pack("<d", -1e300), -1e300),
        (b"\x08\x03" + message(7, b"\xff" * 9 + b"\x01"), -1.0),
        (b"\x08\x03\x38\x07", 7.0),
        (b"\x08\x09" + message(10, b"\x07"), 7.0),
        (b"\x08\x13" + message(13, b"\x80\x78"), 1.0),
        (b"\x08\x0e" + message(13, b"\x80\x7f"), 1.0),
        (b"\x08\x0e" + message(4, b"\x80\x3f"), 1.0),
        (b"\x08\x0a" + message(11, b"\x01"), 1.0),
        (b"\x08\x17" + message(17, b"\xff" * 9 + b"\x01"), float(2**64 - 1)),
        (b"\x08\x01" + dims(), 0.0),
        (b"\x08\x01" + dims(1, 1) + message(4, struct.pack("<f", 1.5)), 1.5),
        (b"\x08\x01" + dims(2) + message(5, struct.pack("<ff", 1, 2)), None),
        (b"\x08\x01" + dims(2) + message(5, struct.pack("<f", 1)), None),
        (b"\x08\x01" + message(5, struct.pack("<ff", 1, 2)), None),
        (b"\x08\x01" + message(4, b"123"), None),
        (b"\x08\x07" + message(8, b"text"), None),
        (b"\x08\x63", None),
        (b"\x08\x01" + message(2, b"\x18\x01") + message(5, struct.pack("<f", 1)), None),
        (b"\x08\x03" + message(7, b"\x01\x02"), None),
    ],
)
def test_a_tensor_of_one_number(proto: bytes, value: float | None) -> None:
    for plugin in ("scalars", ""):
        found = scalars(event(3, wall=5.0, tail=tensor("x", proto, plugin)))
        assert found == ([] if value is None else [Scalar("x", 3, 5.0, value)])
    assert scalars(event(3, tail=tensor("x", proto, "histograms"))) == []


def test_values_that_are_not_finite_and_steps_below_zero_are_kept() -> None:
    (found,) = scalars(event(-2, tail=simple("loss", math.nan)))
    assert math.isnan(found.value)
    assert found.step == -2
    assert scalars(event(1, tail=simple("loss", math.inf)))[0].value == math.inf


def test_whatever_bytes_an_event_has_it_gives_scalars_or_none() -> None:
    whole = event(3, wall=5.0, tail=tensor("loss", b"\x08\x01" + dims(1) + message(5, struct.pack("<f", 1))))
    chance = random.Random(5)
    for _ in range(4000):
        data = bytearray(whole[: chance.randrange(len(whole) + 1)])
        for _ in range(chance.randrange(4)):
            if data:
                data[chance.randrange(len(data))] = chance.randrange(256)
        for scalar in scalars(bytes(data)):
            assert isinstance(scalar.value, float)


# ---------------------------------------------------------------------- damage and size


def test_a_bad_record_is_passed_over_and_told(tmp_path: Path) -> None:
    path = scalar_file(tmp_path / NAME, [(step, float(step), float(step)) for step in range(5)])
    data = bytearray(path.read_bytes())
    data[data.index(struct.pack("<f", 2.0))] ^= 1
    path.write_bytes(data)
    curves = curves_of(run(tmp_path))
    assert curves.scalars[0].steps == (0, 1, 3, 4)
    (finding,) = curves.findings
    assert (finding.code, finding.severity, finding.evidence["records"]) == ("checksum-mismatch", "info", 1)


def test_zeros_at_the_end_are_told_and_cost_nothing_before(tmp_path: Path) -> None:
    path = scalar_file(tmp_path / NAME, [(1, 1.0, 1.0), (2, 2.0, 2.0)])
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(b"\x00" * 4096)
    curves = curves_of(run(tmp_path))
    assert curves.scalars[0].steps == (1, 2)
    assert [finding.evidence["stopped"] for finding in curves.findings] == [size]


def test_lengths_that_no_file_has_are_a_torn_end(tmp_path: Path) -> None:
    good = framed(event(1, tail=simple("loss", 1.0)))
    import crc32c

    from ckptui.readers.sstable_block import mask

    for length in (2**63, 2**64 - 1, 2**40):
        raw = struct.pack("<Q", length)
        lie = raw + struct.pack("<I", mask(crc32c.crc32c(raw))) + b"x" * 100
        found, trouble = read(good + lie, tmp_path / "file")
        assert [scalar.value for scalar in found] == [1.0]
        assert trouble == Trouble()


def test_graphs_are_passed_over_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / NAME
    graph_bytes = LARGEST * 6
    head = b"\x09" + b"\x00" * 8 + b"\x22"
    with path.open("wb") as file:
        from ckptui.readers.wire import encode_uvarint

        inner = head + encode_uvarint(graph_bytes)
        length = struct.pack("<Q", len(inner) + graph_bytes)
        import crc32c

        from ckptui.readers.sstable_block import mask

        file.write(length + struct.pack("<I", mask(crc32c.crc32c(length))) + inner)
        file.seek(graph_bytes + 4, os.SEEK_CUR)
        file.write(framed(event(7, tail=simple("loss", 0.5))))
        file.write(framed(event(8, tail=message(4, b"g" * 200_000))))
        file.write(framed(event(9, tail=simple("loss", 0.25) + message(77, b"x" * 200_000))))
    asked: list[int] = []
    original = Source.pread

    def counting(self: Source, offset: int, count: int) -> bytes:
        asked.append(count)
        return original(self, offset, count)

    monkeypatch.setattr(Source, "pread", counting)
    curves = curves_of(run(tmp_path))
    assert curves.scalars[0].steps == (7, 9)
    assert curves.findings == ()
    assert sum(asked) < 4 << 20, f"{sum(asked)} bytes of {path.stat().st_size} read"


def test_many_points_are_thinned_evenly() -> None:
    count = 300_000
    curve, finite = Curve(), True
    for step in range(count):
        finite = not 111_111 <= step < 111_115
        curve.add(step, step / 10, float(step) if finite else math.nan)
    steps = [step for step, _, _ in curve]
    assert POINTS / 3 < len(steps) <= POINTS + 1
    assert (steps[0], steps[-1]) == (0, count - 1), "both ends are kept"
    assert 111_111 in steps, "where the loss stops being a number is kept"
    print(f"{count} points become {len(steps)}")
    assert max(b - a for a, b in itertools.pairwise(steps)) <= 2 * count / POINTS + 2


def test_a_loss_that_is_never_a_number_is_thinned_too() -> None:
    curve = Curve()
    for step in range(1000):
        curve.add(step, 0.0, math.nan if step % 2 else 1.0, cap=100)
    assert len(list(curve)) <= 101


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    peaks = []
    for count in (500, 4000):
        with (tmp_path / NAME).open("wb") as file:
            for step in range(count):
                file.write(framed(event(step, tail=simple("loss", 1.0) + message(3, b"x" * 200))))
        tracemalloc.start()
        (curve,) = curves_of(run(tmp_path)).scalars
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(curve.steps) == count
    print(f"peaks of {peaks[0] >> 10} and {peaks[1] >> 10} KiB")
    assert peaks[1] < 4 << 20


def test_as_many_tags_as_points_stay_small(tmp_path: Path) -> None:
    with (tmp_path / NAME).open("wb") as file:
        for step in range(1500):
            file.write(framed(event(step, tail=simple(f"tag{step}", 1.0))))
    assert len(curves_of(run(tmp_path)).scalars) == 1000


def test_reading_ends_when_it_is_cancelled(tmp_path: Path) -> None:
    scalar_file(tmp_path / NAME, [(1, 1.0, 1.0)])
    cancel = threading.Event()
    cancel.set()
    assert curves_of(run(tmp_path), cancel.is_set).scalars == ()


# ---------------------------------------------------------------------- several files and folders


def test_a_restart_takes_the_place_of_what_was_before(tmp_path: Path) -> None:
    scalar_file(tmp_path / f"{NAME}.0", [(step, 10.0 + step, 1.0) for step in range(8)])
    scalar_file(tmp_path / f"{NAME}.1", [(step, 100.0 + step, 2.0) for step in range(5, 12)])
    (curve,) = curves_of(run(tmp_path)).scalars
    assert curve.steps == tuple(range(12))
    assert curve.values == (1.0,) * 5 + (2.0,) * 7
    assert curve.walls[4:6] == (14.0, 105.0)


@pytest.fixture
def places(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path


def test_the_runs_own_folder_and_two_levels_below(places: Path) -> None:
    for inside in ("", "eval", "logs/fit/20240101-120000/train", "a/b", "a/b/c"):
        scalar_file(places / "run" / inside / NAME, [(1, 1.0, 1.0)])
    scalar_file(places / "logs" / NAME, [(1, 1.0, 1.0)])
    found = [source for source, _ in event_folders(run(places / "run"))]
    assert found == ["", "eval", "a/b", "logs/fit/20240101-120000/train"], "folders of logs don't count"


def test_beside_a_run_without_its_own(places: Path) -> None:
    scalar_file(places / "logs" / "train" / NAME, [(1, 1.0, 1.0)])
    scalar_file(places / "validation" / NAME, [(1, 1.0, 1.0)])
    scalar_file(places / "other" / NAME, [(1, 1.0, 1.0)])
    assert {source for source, _ in event_folders(run(places / "run"))} == {"../logs/train", "../validation"}
    scalar_file(places / "logs" / "run" / NAME, [(1, 1.0, 1.0)])
    found = {source for source, _ in event_folders(run(places / "run"))}
    assert found == {"../logs/run", "../validation"}, "the logs of other runs are not this one's"


def test_what_cannot_be_read_is_a_note(tmp_path: Path) -> None:
    scalar_file(tmp_path / NAME, [(1, 1.0, 1.0)])
    os.symlink("nowhere", tmp_path / f"{NAME}.9")
    os.mkfifo(tmp_path / f"{NAME}.8")
    curves = curves_of(run(tmp_path))
    assert [curve.steps for curve in curves.scalars] == [(1,)]
    assert {finding.code for finding in curves.findings} == {"unreadable"}
    assert len(curves.findings) == 2


def test_scalars_are_documents(tmp_path: Path) -> None:
    curve = Scalars("loss", "", (1, 2), (1.0, math.nan), (5.0, 6.0))
    assert json.loads(json.dumps(curve.to_json(), allow_nan=False))["steps"] == [1, 2]
