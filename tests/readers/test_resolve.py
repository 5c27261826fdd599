"""What a user has at hand leads to one save, or to an error that says what to type."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ckptui.errors import NoSuchPath, NotASave
from ckptui.readers.discover import resolve
from tests.readers.saves import HDF5, KERAS_H5, V1, checkpoint, keras_zip, saved_model, state, table


@pytest.mark.parametrize("tail", ["", ".index", ".data-00001-of-00003"])
def test_any_file_of_a_checkpoint_is_the_checkpoint(tmp_path: Path, tail: str) -> None:
    prefix = checkpoint(tmp_path / "model.ckpt-30", 3)
    checkpoint(tmp_path / "model.ckpt-3")
    found = resolve(prefix + tail)
    assert (found.path, found.kind, found.step) == (prefix, "tf-checkpoint", 30)
    assert found.findings == ()


def test_a_shard_whose_index_is_gone_is_a_checkpoint_with_a_finding(tmp_path: Path) -> None:
    (tmp_path / "ckpt.data-00000-of-00001").write_bytes(b"x")
    for argument in ("ckpt", "ckpt.data-00000-of-00001"):
        found = resolve(str(tmp_path / argument))
        assert found.path == str(tmp_path / "ckpt")
        assert [f.code for f in found.findings] == ["index-missing"]


def test_a_damaged_index_is_still_its_checkpoint(tmp_path: Path) -> None:
    checkpoint(tmp_path / "ckpt", index=b"")
    assert [f.code for f in resolve(str(tmp_path / "ckpt")).findings] == ["empty-file"]


def test_the_empty_prefix_needs_its_slash_where_other_saves_lie_beside(tmp_path: Path) -> None:
    (tmp_path / ".index").write_bytes(table())
    (tmp_path / ".data-00000-of-00001").write_bytes(b"x")
    assert resolve(f"{tmp_path}/").path == f"{tmp_path}/"
    assert resolve(str(tmp_path)).path == f"{tmp_path}/"
    checkpoint(tmp_path / "other")
    assert resolve(f"{tmp_path}/").path == f"{tmp_path}/"
    assert resolve(str(tmp_path / ".index")).path == f"{tmp_path}/"
    with pytest.raises(NotASave):
        resolve(str(tmp_path))


@pytest.mark.parametrize(
    "inside",
    [
        "",
        "/",
        "/saved_model.pb",
        "/fingerprint.pb",
        "/variables",
        "/variables/",
        "/variables/variables",
        "/variables/variables.index",
        "/variables/variables.data-00000-of-00001",
    ],
)
def test_every_part_of_a_saved_model_is_the_saved_model(tmp_path: Path, inside: str) -> None:
    export = saved_model(tmp_path / "export" / "1700000000")
    (tmp_path / "export" / "1700000000" / "fingerprint.pb").write_bytes(b"\x08\x01")
    found = resolve(export + inside)
    assert (found.path, found.kind, found.step) == (export, "saved-model", 1700000000)


def test_variables_of_an_export_without_graph_are_that_export(tmp_path: Path) -> None:
    export = saved_model(tmp_path / "m", graph=False)
    found = resolve(export + "/variables/variables")
    assert (found.path, [f.code for f in found.findings]) == (export, ["graph-missing"])


def test_a_bundle_called_variables_elsewhere_is_a_checkpoint(tmp_path: Path) -> None:
    prefix = checkpoint(tmp_path / "variables")
    assert resolve(prefix).kind == "tf-checkpoint"


def test_keras_files_are_taken_by_content(tmp_path: Path) -> None:
    (tmp_path / "m.keras").write_bytes(KERAS_H5)
    (tmp_path / "odd name").write_bytes(HDF5)
    keras_zip(tmp_path / "z.h5")
    assert resolve(str(tmp_path / "m.keras")).kind == "keras-h5"
    assert resolve(str(tmp_path / "odd name")).kind == "hdf5"
    assert resolve(str(tmp_path / "z.h5")).kind == "keras-archive"


def test_a_broken_promise_is_a_save_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "m.h5").write_bytes(b"version https://git-lfs.github.com/spec/v1\nsize 9\n")
    found = resolve(str(tmp_path / "m.h5"))
    assert [f.code for f in found.findings] == ["not-a-model"]
    assert "git lfs pull" in found.findings[0].advice


@pytest.mark.parametrize("argument", ["", "/", "/checkpoint"])
def test_a_state_file_leads_to_the_latest_it_names(tmp_path: Path, argument: str) -> None:
    for step in (1, 2, 3):
        checkpoint(tmp_path / f"ckpt-{step}")
    state(tmp_path, "ckpt-2", ["ckpt-1", "ckpt-2"])
    found = resolve(str(tmp_path) + argument)
    assert (found.path, found.latest, found.run) == (str(tmp_path / "ckpt-2"), True, str(tmp_path))


def test_a_dangling_state_leads_to_the_newest_whole_save_and_says_so(tmp_path: Path) -> None:
    checkpoint(tmp_path / "ckpt-1")
    checkpoint(tmp_path / "ckpt-2")
    (tmp_path / "ckpt-3.data-00000-of-00001").write_bytes(b"x")
    for latest in ("ckpt-9", "ckpt-3"):
        state(tmp_path, latest)
        found = resolve(str(tmp_path))
        assert (found.path, found.latest) == (str(tmp_path / "ckpt-2"), False)
        assert "state-dangling" in [f.code for f in found.findings]


def test_a_moved_folder_leads_to_the_save_beside_its_state_file(tmp_path: Path) -> None:
    checkpoint(tmp_path / "model.ckpt-5")
    state(tmp_path, "/gone/model.ckpt-5")
    found = resolve(str(tmp_path))
    assert found.path == str(tmp_path / "model.ckpt-5")
    assert [f.code for f in found.findings] == ["state-elsewhere"]


def test_v1_checkpoints_are_found_by_pattern_prefix_and_shard(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"export-0000{number}-of-00002").write_bytes(V1)
    pattern = str(tmp_path / "export-?????-of-00002")
    for argument in ("export", "export-00001-of-00002", "export-?????-of-00002"):
        found = resolve(str(tmp_path / argument))
        assert (found.path, found.kind) == (pattern, "tf-checkpoint-v1"), argument
    (tmp_path / "single.ckpt").write_bytes(V1)
    assert resolve(str(tmp_path / "single.ckpt")).path == str(tmp_path / "single.ckpt")


def test_a_folder_with_one_save_anywhere_below_is_that_save(tmp_path: Path) -> None:
    prefix = checkpoint(tmp_path / "a" / "b" / "ckpt-1")
    assert resolve(str(tmp_path)).path == prefix


def test_a_folder_with_several_saves_says_which_to_name(tmp_path: Path) -> None:
    for name in ("x.h5", "y.h5"):
        (tmp_path / name).write_bytes(KERAS_H5)
    with pytest.raises(NotASave) as caught:
        resolve(str(tmp_path))
    assert "2 saves" in caught.value.detail
    assert "x.h5" in caught.value.hint


def test_what_is_no_save_is_an_error_with_a_hint(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.h5")
    (tmp_path / "a.tflite").write_bytes(b"\x1c\x00\x00\x00TFL3" + b"\x00" * 40)
    (tmp_path / "graph.meta").write_bytes(b"\x0a\x04meta")
    (tmp_path / "x.index.tempstate7").write_bytes(b"x")
    (tmp_path / "renamed").write_bytes(table())
    (tmp_path / "empty").mkdir()
    (tmp_path / "orbax").mkdir()
    (tmp_path / "orbax" / "_CHECKPOINT_METADATA").write_text("{}")
    words = {
        "model.h5": "FIFO",
        "a.tflite": "TensorFlow Lite",
        "graph.meta": "without a checkpoint",
        "x.index.tempstate7": "did not finish",
        "renamed": "another name",
        "empty": "empty",
        "orbax": "Orbax",
    }
    start = time.monotonic()
    for name, word in words.items():
        with pytest.raises(NotASave) as caught:
            resolve(str(tmp_path / name))
        assert word in str(caught.value), name
        assert caught.value.hint, name
    assert time.monotonic() - start < 30


def test_what_is_not_there_names_what_is_near(tmp_path: Path) -> None:
    checkpoint(tmp_path / "model.ckpt-3000")
    with pytest.raises(NoSuchPath) as caught:
        resolve(str(tmp_path / "model.ckpt-300"))
    assert "model.ckpt-3000" in caught.value.hint
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for argument in ("", str(tmp_path / "no" / "where"), str(tmp_path / "loop"), "x\x00y", "n" * 5000):
        with pytest.raises(NoSuchPath):
            resolve(argument)
