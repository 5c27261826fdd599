"""The commands from outside: one JSON document, exit codes, plain errors."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.places import ROOT, SAMPLES, needs_samples

pytestmark = needs_samples


def call(
    *arguments: str, code: int | None = 0, cwd: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    """One call of the command line; checks the exit code and that no traceback shows."""
    done = subprocess.run(
        [sys.executable, "-m", "ckptui", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert code is None or done.returncode == code, (done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    return done


def document(*arguments: str, code: int | None = 0) -> dict[str, Any]:
    """The JSON document of a call."""
    loaded: dict[str, Any] = json.loads(call(*arguments, "--json", code=code).stdout)
    return loaded


def sample(name: str) -> str:
    return str(SAMPLES / name)


def codes(doc: dict[str, Any]) -> set[str]:
    return {f["code"] for f in doc["findings"]}


def test_ls_finds_every_sample_and_its_kind() -> None:
    doc = document("ls", str(SAMPLES), code=1)
    assert doc["schema"] == "ckptui/ls/1"
    kinds = {os.path.relpath(a["path"], SAMPLES): a["kind"] for a in doc["artifacts"]}
    assert kinds["digits.keras"] == "keras-archive"
    assert kinds["digits.h5"] == "keras-h5"
    assert kinds["digits.weights.h5"] == "keras-weights"
    assert kinds["digits_saved_model"] == "saved-model"
    assert [kinds[f"digits/ckpt-{n}"] for n in range(1, 6)] == ["tf-checkpoint"] * 5
    assert kinds["estimator/model.ckpt-300"] == "tf-checkpoint"
    assert {"broken/truncated.h5", "broken/truncated.keras", "suspicious/dead_filters.keras"} <= set(kinds)


@pytest.mark.parametrize(
    "name", ["digits", "digits.keras", "digits.h5", "digits.weights.h5", "digits_saved_model", "estimator"]
)
def test_healthy_samples_have_no_error(name: str) -> None:
    doc = document("check", sample(name))
    assert doc["summary"]["error"] == 0
    assert {a["status"] for a in doc["artifacts"]} <= {"ok", "warning"}
    assert not [f for f in doc["findings"] if f["severity"] != "info"]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("missing_index", "index-missing"),
        ("truncated_shard", "shard-truncated"),
        ("flipped_bit", "checksum-mismatch"),
        ("zero_filled_tail", "zero-filled"),
        ("dangling_state_file", "state-dangling"),
        ("truncated.h5", "hdf5-damaged"),
        ("truncated.keras", "zip-damaged"),
        ("implausible_value.h5", "implausible-values"),
    ],
)
def test_each_broken_sample_is_named(name: str, code: str) -> None:
    doc = document("check", sample(f"broken/{name}"), code=1)
    assert code in codes(doc), codes(doc)
    assert doc["summary"]["error"] >= 1


def test_a_stale_state_file_is_a_warning() -> None:
    doc = document("check", sample("broken/stale_state_file"), code=None)
    assert "state-stale" in codes(doc)
    call("check", sample("broken/stale_state_file"), "--fail-on", "warning", code=1)


def test_a_flipped_bit_names_its_tensor_and_both_checksums() -> None:
    doc = document("check", sample("broken/flipped_bit"), code=1)
    found = [f for f in doc["findings"] if f["code"] == "checksum-mismatch"]
    assert len(found) == 1
    assert found[0]["tensor"]
    assert found[0]["evidence"]["expected"] != found[0]["evidence"]["found"]


def test_quick_reads_no_tensor_bytes() -> None:
    doc = document("check", "--quick", sample("broken/flipped_bit"))
    assert doc["summary"]["bytes_read"] == 0


@pytest.mark.parametrize(
    "name", ["digits/ckpt-5", "digits/ckpt-5.index", "digits/ckpt-5.data-00000-of-00001", "digits"]
)
def test_an_artifact_is_what_a_user_has_at_hand(name: str) -> None:
    assert document("show", sample(name))["artifact"]["path"] == sample("digits/ckpt-5")


def test_show_of_one_tensor_has_stats_and_histogram() -> None:
    names = [t["name"] for t in document("show", sample("digits.h5"))["tensors"] if t["role"] == "kernel"]
    doc = document("show", sample("digits.h5"), names[0])
    assert len(doc["tensors"]) == 1
    assert doc["stats"]["count"] == sum(doc["histogram"]["counts"])


def test_show_of_an_unknown_tensor_suggests_the_nearest() -> None:
    done = call("show", sample("digits.h5"), "model_weights/conv1/conv1/kernal", "--json", code=2)
    error = json.loads(done.stdout)
    assert error["schema"] == "ckptui/error/1"
    assert "kernel" in error["hint"]


def test_stats_agree_with_numpy(tmp_path: Path) -> None:
    doc = document("stats", sample("digits/ckpt-5"))
    call("export", sample("digits/ckpt-5"), "-o", str(tmp_path / "all.npz"))
    arrays = np.load(tmp_path / "all.npz")
    checked = 0
    for tensor in doc["tensors"]:
        if tensor["dtype"] == "float32":
            values = arrays[tensor["name"]].astype("f8")
            assert tensor["stats"]["mean"] == pytest.approx(values.mean(), abs=1e-12 * max(1, np.abs(values).max()))
            assert tensor["stats"]["l2"] == pytest.approx(np.linalg.norm(values), rel=1e-10)
            assert tensor["stats"]["max"] == values.max()
            checked += 1
    assert checked > 10


def test_export_writes_the_three_formats_alike(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    save = sample("digits.keras")
    call("export", save, "-o", str(tmp_path / "a.npz"))
    call("export", save, "-o", str(tmp_path / "a.safetensors"))
    npz, safetensors = np.load(tmp_path / "a.npz"), load_file(str(tmp_path / "a.safetensors"))
    assert set(npz.files) == set(safetensors)
    for name in npz.files:
        assert np.array_equal(npz[name], safetensors[name])
    one = npz.files[0]
    call("export", save, "--match", f"^{one}$", "-o", str(tmp_path / "one.npy"))
    assert np.array_equal(np.load(tmp_path / "one.npy"), npz[one])


def test_export_never_replaces_a_file_unasked(tmp_path: Path) -> None:
    target = tmp_path / "a.npz"
    target.write_bytes(b"precious")
    call("export", sample("digits.h5"), "-o", str(target), code=2)
    assert target.read_bytes() == b"precious"
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_export_leaves_out_what_is_damaged(tmp_path: Path) -> None:
    bad = [
        f["tensor"] for f in document("check", sample("broken/flipped_bit/ckpt-2"), code=1)["findings"] if f["tensor"]
    ]
    call("export", sample("broken/flipped_bit/ckpt-2"), "-o", str(tmp_path / "a.npz"), code=1)
    assert not set(bad) & set(np.load(tmp_path / "a.npz").files)


def test_diff_of_a_save_with_itself_is_identical() -> None:
    doc = document("diff", sample("digits/ckpt-5"), sample("digits/ckpt-5"))
    assert doc["summary"]["changed"] == 0
    assert doc["relation"]["verdict"] == "identical"


def test_diff_of_two_steps_exits_1_and_counts() -> None:
    doc = document("diff", sample("digits/ckpt-4"), sample("digits/ckpt-5"), code=1)
    assert doc["summary"]["changed"] > 5
    assert sum(doc["summary"].values()) == len(doc["pairs"])
    assert doc["relation"]["verdict"] in ("same-run", "related")
    assert not [p for p in doc["pairs"] if p["role"] == "object-graph"]


def test_filters_frame_the_planted_ones() -> None:
    mirror = document("filters", sample("suspicious/mirror_symmetric.keras"), code=None)
    assert "symmetric-filters" in codes(mirror)
    dead = document("filters", sample("suspicious/dead_filters.keras"), code=None)
    assert "dead-filters" in codes(dead)
    untouched = document("filters", sample("suspicious/untouched_layer.keras"), code=None)
    assert "at-initializer" in codes(untouched)
    healthy = document("filters", sample("digits.keras"))
    assert not codes(healthy) & {"symmetric-filters", "dead-filters", "at-initializer", "duplicate-filters"}


@pytest.mark.parametrize(
    "arguments",
    [("ls", "no/such/place"), ("show", "no/such/place"), ("frobnicate",), ("ls",), ("stats", "README.md")],
)
def test_what_can_not_be_done_is_one_line_and_exit_2(arguments: tuple[str, ...]) -> None:
    done = call(*arguments, code=2)
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_an_empty_folder_is_no_save(tmp_path: Path) -> None:
    error = json.loads(call("ls", str(tmp_path), "--json", code=2).stdout)
    assert error["schema"] == "ckptui/error/1"


def test_of_several_paths_those_that_are_no_saves_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a save")
    done = call("check", "--quick", sample("digits.keras"), str(tmp_path / "notes.txt"), code=0)
    assert "passed over, no saves" in done.stderr
    assert "notes.txt" in done.stderr
    call("check", str(tmp_path / "notes.txt"), code=2)
    call("check", sample("digits.keras"), str(tmp_path / "gone"), code=2)


def test_fifo_device_and_directory_loop_end_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.h5")
    call("show", str(tmp_path / "pipe.h5"), code=2)
    call("show", "/dev/zero", code=2)
    (tmp_path / "loop").symlink_to(tmp_path)
    shutil.copy(sample("digits.h5"), tmp_path / "a.h5")
    doc = document("ls", str(tmp_path), code=1)
    status = {os.path.basename(a["path"]): a["status"] for a in doc["artifacts"]}
    assert status == {"a.h5": "ok", "pipe.h5": "error"}
    assert codes(doc) == {"not-a-model"}


def test_content_decides_not_the_suffix(tmp_path: Path) -> None:
    shutil.copy(sample("digits.h5"), tmp_path / "really_hdf5.keras")
    shutil.copy(sample("digits.keras"), tmp_path / "really_zip.h5")
    kinds = {os.path.basename(a["path"]): a["kind"] for a in document("ls", str(tmp_path))["artifacts"]}
    assert kinds == {"really_hdf5.keras": "keras-h5", "really_zip.h5": "keras-archive"}


def test_without_a_terminal_the_listing_is_printed() -> None:
    done = call(sample("digits"))
    assert "ckpt-5" in done.stdout
    assert "no terminal" in done.stderr


def test_a_closed_pipe_ends_quietly() -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m ckptui show {sample('digits/ckpt-5')} | head -1"],
        capture_output=True, text=True, cwd=ROOT, check=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == ""


def test_version_and_help() -> None:
    assert call("--version").stdout.startswith("ckptui 0.")
    assert "predict" in call("--help").stdout
    for name in ("ls", "show", "stats", "check", "export", "diff", "filters", "predict"):
        assert "Usage" in call(name, "--help").stdout
