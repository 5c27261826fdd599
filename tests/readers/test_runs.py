"""Runs: successive saves belong together, and a state file that does not tell the truth is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ckptui.core.model import RunFolder
from tests.readers.saves import HDF5, KERAS_H5, Walk, checkpoint, saved_model, state


def test_a_state_file_makes_a_run_oldest_first(tmp_path: Path) -> None:
    names = ["model.ckpt-5", "model.ckpt-10", "model.ckpt-100"]
    for name in reversed(names):
        checkpoint(tmp_path / name)
    state(tmp_path, "model.ckpt-100", names)
    (tmp_path / "best.h5").write_bytes(KERAS_H5)
    walk = Walk(tmp_path)
    run = walk.runs[str(tmp_path)]
    assert run.saves == tuple(str(tmp_path / name) for name in names)
    assert run.latest == str(tmp_path / "model.ckpt-100")
    assert run.findings == ()
    latest = [save.label for save in walk.saves.values() if save.latest]
    assert latest == ["model.ckpt-100"]
    assert walk.saves[str(tmp_path / "model.ckpt-5")].run == str(tmp_path)
    assert walk.saves[str(tmp_path / "best.h5")].run == ""
    assert isinstance(walk.order[0], RunFolder), "a run comes before its saves"


def test_epoch_files_are_a_run(tmp_path: Path) -> None:
    names = ["net2013.00-0.47.hdf5", "net2013.05-0.56.hdf5", "net2013.102-0.66.hdf5"]
    for name in names:
        (tmp_path / name).write_bytes(KERAS_H5)
    run = Walk(tmp_path).runs[str(tmp_path)]
    assert [os.path.basename(path) for path in run.saves] == names


def test_two_series_in_a_folder_are_two_runs(tmp_path: Path) -> None:
    for name in ("a-1", "a-2", "b-1", "b-2"):
        checkpoint(tmp_path / name)
    walk = Walk(tmp_path)
    assert set(walk.runs) == {str(tmp_path / "a-*"), str(tmp_path / "b-*")}
    assert walk.saves[str(tmp_path / "b-2")].run == str(tmp_path / "b-*")


def test_unrelated_models_and_data_files_are_no_run(tmp_path: Path) -> None:
    for name in ("resnet.h5", "vgg.h5"):
        (tmp_path / name).write_bytes(KERAS_H5)
    for name in ("data-1.h5", "data-2.h5"):
        (tmp_path / name).write_bytes(HDF5)
    assert not Walk(tmp_path).runs


def test_shards_of_one_save_are_no_run(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"big_0000{number}.weights.h5").write_bytes(HDF5)
    assert len(Walk(tmp_path).runs) == 1
    (tmp_path / "big.weights.json").write_text('{"weight_map": {}}')
    assert not Walk(tmp_path).runs
    assert list(Walk(tmp_path).saves) == [str(tmp_path / "big.weights.json")], "one save of three files"


def test_version_folders_are_a_run_oldest_first(tmp_path: Path) -> None:
    for name in ("00000124", "00000123", "1700000000"):
        saved_model(tmp_path / "model" / name)
    (tmp_path / "model" / "7").mkdir()
    walk = Walk(tmp_path)
    run = walk.runs[str(tmp_path / "model")]
    assert [os.path.basename(path) for path in run.saves] == ["00000123", "00000124", "1700000000"]
    assert walk.saves[str(tmp_path / "model" / "00000123")].run == run.path
    assert walk.saves[str(tmp_path / "model" / "1700000000")].step == 1700000000


def test_a_dangling_state_is_an_error_that_names_the_newest_whole_save(tmp_path: Path) -> None:
    checkpoint(tmp_path / "ckpt-1")
    checkpoint(tmp_path / "ckpt-2")
    state(tmp_path, "ckpt-9")
    walk = Walk(tmp_path)
    assert walk.run_codes(tmp_path) == [("state-dangling", "error")]
    finding = walk.runs[str(tmp_path)].findings[0]
    assert finding.evidence["newest"] == str(tmp_path / "ckpt-2")
    assert "ckpt-9" in finding.detail
    assert walk.runs[str(tmp_path)].latest == ""


def test_a_state_that_names_a_save_without_index_dangles(tmp_path: Path) -> None:
    checkpoint(tmp_path / "ckpt-1")
    (tmp_path / "ckpt-2.data-00000-of-00001").write_bytes(b"x")
    state(tmp_path, "ckpt-2", ["ckpt-1", "ckpt-2"])
    walk = Walk(tmp_path)
    assert walk.run_codes(tmp_path) == [("state-dangling", "error")]
    assert "index" in walk.runs[str(tmp_path)].findings[0].detail


def test_a_stale_state_is_a_warning(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        checkpoint(tmp_path / f"ckpt-{step}")
    state(tmp_path, "ckpt-2", ["ckpt-1", "ckpt-2"])
    walk = Walk(tmp_path)
    assert walk.run_codes(tmp_path) == [("state-stale", "warning")]
    assert walk.runs[str(tmp_path)].findings[0].evidence["newer"] == [str(tmp_path / "ckpt-3")]


def test_a_half_written_newer_save_does_not_make_a_state_stale(tmp_path: Path) -> None:
    checkpoint(tmp_path / "ckpt-1")
    (tmp_path / "ckpt-2.data-00000-of-00001").write_bytes(b"x")
    state(tmp_path, "ckpt-1")
    assert Walk(tmp_path).run_codes(tmp_path) == []


def test_a_moved_folder_says_that_the_save_lies_beside(tmp_path: Path) -> None:
    checkpoint(tmp_path / "model.ckpt-10")
    state(tmp_path, "/gone/box/run/model.ckpt-10")
    walk = Walk(tmp_path)
    assert walk.run_codes(tmp_path) == [("state-elsewhere", "warning")]
    assert walk.runs[str(tmp_path)].latest == str(tmp_path / "model.ckpt-10")
    assert "beside" in walk.runs[str(tmp_path)].findings[0].detail


def test_an_absolute_path_into_its_own_folder_is_fine(tmp_path: Path) -> None:
    checkpoint(tmp_path / "model.ckpt-10")
    state(tmp_path, str(tmp_path / "model.ckpt-10"))
    assert Walk(tmp_path).run_codes(tmp_path) == []


def test_a_state_that_points_to_another_folder_is_told(tmp_path: Path) -> None:
    checkpoint(tmp_path / "old" / "model.ckpt-3")
    checkpoint(tmp_path / "new" / "other")
    state(tmp_path / "new", str(tmp_path / "old" / "model.ckpt-3"))
    walk = Walk(tmp_path / "new")
    assert walk.run_codes(tmp_path / "new") == [("state-elsewhere", "warning")]


def test_many_removed_saves_are_one_note(tmp_path: Path) -> None:
    checkpoint(tmp_path / "ckpt-50")
    state(tmp_path, "ckpt-50", [f"ckpt-{step}" for step in range(1, 51)])
    walk = Walk(tmp_path)
    assert walk.run_codes(tmp_path) == [("state-dangling", "info")]
    assert walk.runs[str(tmp_path)].findings[0].evidence["count"] == 49


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"\x00" * 64])
def test_a_garbage_state_beside_saves_is_an_error_and_alone_is_ignored(tmp_path: Path, content: bytes) -> None:
    checkpoint(tmp_path / "run" / "ckpt-1")
    (tmp_path / "run" / "checkpoint").write_bytes(content)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "checkpoint").write_bytes(content)
    walk = Walk(tmp_path)
    assert walk.run_codes(tmp_path / "run") == [("state-dangling", "error")]
    assert set(walk.runs) == {str(tmp_path / "run")}


def test_leftovers_in_a_run_are_findings_of_the_run(tmp_path: Path) -> None:
    checkpoint(tmp_path / "ckpt-1")
    state(tmp_path, "ckpt-1")
    (tmp_path / "ckpt-2_temp").mkdir()
    (tmp_path / "ckpt-2_temp" / "part-00000-of-00001.data-00000-of-00001.tempstate7").write_bytes(b"x")
    walk = Walk(tmp_path)
    assert walk.run_codes(tmp_path) == [("interrupted-save", "warning")]
    assert not walk.notices
