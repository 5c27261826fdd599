"""Every row of the HDF5 part of the catalogue of damage: one cause named, survivors read, losses told."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from ckptui.errors import Damaged
from ckptui.readers.keras_h5 import open_h5
from tests.damaged.hdf5_faults import (
    check,
    end_of,
    flipped,
    h5py_says,
    look,
    only,
    roots,
    same,
    small_files,
    written_by,
)
from tests.readers.keras_files import digits_config, digits_weights, legacy_model, sequential, write_layers


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return small_files(tmp_path_factory.mktemp("small"))


# ---------------------------------------------------------------------- the end is missing


@pytest.mark.parametrize("share", [0, 25, 50, 75, 95])
@pytest.mark.parametrize("which", ["legacy", "objects", "latest"])
def test_a_cut_is_one_cause_and_what_lies_before_it_is_read(
    files: dict[str, Path], tmp_path: Path, which: str, share: int
) -> None:
    whole = files[which].read_bytes()
    _, values = look(files[which])
    keep = len(whole) * (100 - share) // 100 or len(whole)
    keep -= not share
    path = tmp_path / f"cut-{which}.h5"
    path.write_bytes(whole[:keep])
    listing, found = look(path)
    cause = only([f for f in listing.findings if f.severity == "error" and f.tensor is None])
    assert (cause.code, cause.title) == ("hdf5-damaged", "The HDF5 file is cut off")
    evidence = cause.evidence
    told = (evidence["expected"], evidence["found"], evidence["bytes_missing"])
    assert told == (len(whole), keep, len(whole) - keep)
    assert evidence["tensorflow_says"] == h5py_says(path)
    same(found, values)
    lost = [t for t in listing.tensors if t.problem]
    assert evidence.get("lost", {"count": 0})["count"] == len(lost)
    assert {f.tensor for f in listing.findings if f.tensor} == {t.name for t in lost}, "each lost row is named"
    for tensor in lost:
        assert tensor.problem
        with open_h5(path) as opened, pytest.raises(Damaged):
            opened.array(tensor)
    assert not {"weights-missing", "hdf5-not-closed", "zero-filled"} & {f.code for f in listing.findings}
    # every dataset whose header and bytes lie before the cut is among the survivors
    with h5py.File(files[which], "r") as file:
        for name in values:
            info = h5py.h5o.get_info(file[name].id)
            end = file[name].id.get_offset() + file[name].nbytes
            if which != "latest" and max(end, info.addr + 600) < keep:
                survivors = [tensor for tensor in found if tensor == name or "unnamed@" in tensor]
                assert any(found[one].tobytes() == values[name].tobytes() for one in survivors), name


def test_weights_that_are_only_known_by_name_are_counted(files: dict[str, Path], tmp_path: Path) -> None:
    whole = files["legacy"].read_bytes()
    path = tmp_path / "m.h5"
    path.write_bytes(whole[: len(whole) * 95 // 100])
    listing, _ = look(path)
    lost = only(roots(listing)).evidence["weights_lost"]
    assert lost == {"count": 1, "names": ["optimizer_weights/Adam/v/conv1/kernel:0"]}


@pytest.mark.parametrize("share", [10, 25, 50, 75])
@pytest.mark.parametrize("which", ["legacy", "objects"])
def test_zeros_at_the_end_are_one_cause_and_no_zero_is_taken_for_a_value(
    files: dict[str, Path], tmp_path: Path, which: str, share: int
) -> None:
    whole = files[which].read_bytes()
    _, values = look(files[which])
    keep = len(whole) * (100 - share) // 100
    path = tmp_path / "zeros.h5"
    path.write_bytes(whole[:keep] + bytes(len(whole) - keep))
    listing, found = look(path)
    cause = only([f for f in listing.findings if f.severity == "error" and f.tensor is None])
    assert cause.code == "zero-filled"
    assert cause.evidence["offset"] == len(whole[:keep].rstrip(b"\0"))
    assert cause.evidence["offset"] + cause.evidence["bytes"] == len(whole)
    assert cause.evidence["lost"]["count"] == sum(bool(t.problem) for t in listing.tensors)
    assert cause.evidence["tensorflow_says"]
    same(found, values)
    assert "weights-missing" not in {f.code for f in listing.findings}


def test_zeros_that_were_stored_are_not_taken_for_the_cause_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file["a"] = np.arange(5.0)
        file["slots"] = np.zeros(5000)
    broken = flipped(path, tmp_path / "b.h5", path.read_bytes().find(b"SNOD"))
    listing, found = look(broken)
    assert only(roots(listing)).title == "A symbol table node is damaged"
    assert found["a"].tolist() == [0, 1, 2, 3, 4]
    assert found["slots"].size == 5000


# ---------------------------------------------------------------------- never closed

KILLED = """
file = h5py.File(path, "w"{libver})
for n in range(40):
    file[f"layer_{{n}}/kernel"] = np.arange(n, n + 5000, dtype="f4").reshape(100, 50)
    if n == {flush}:
        file.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("libver", "version", "at"), [("", 0, 20), (', libver="latest"', 3, 11)])
@pytest.mark.parametrize("flush", [-1, 20])
def test_a_killed_writer_is_told_and_what_was_flushed_is_read(
    tmp_path: Path, libver: str, version: int, at: int, flush: int
) -> None:
    path = tmp_path / "killed.h5"
    written_by(KILLED.format(libver=libver, flush=flush), path)
    listing, found = look(path)
    cause = only([f for f in listing.findings if f.code.startswith("hdf5")])
    assert cause.code == "hdf5-not-closed"
    assert (cause.evidence["flags"] & 1, cause.evidence["version"], cause.evidence["offset"]) == (1, version, at)
    assert (cause.evidence["expected"], cause.evidence["found"]) == (end_of(path), path.stat().st_size)
    if version == 3:
        assert cause.evidence["tensorflow_says"] == h5py_says(path)
    elif flush < 0:
        assert cause.evidence["tensorflow_says"] == h5py_says(path)
        assert cause.evidence["expected"] == 2048
    assert cause.severity == ("error" if flush < 0 else "warning")
    assert len(found) == flush + 1
    for n in range(flush + 1):
        assert np.array_equal(found[f"layer_{n}/kernel"].reshape(-1), np.arange(n, n + 5000, dtype="f4"))


def test_a_full_disk_leaves_a_file_that_was_never_closed(tmp_path: Path) -> None:
    path = tmp_path / "full.h5"
    written_by(
        """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
file = h5py.File(path, "w")
try:
    for n in range(40):
        file[f"layer_{n}/kernel"] = np.ones((100, 100), "f4")
except Exception:
    pass
os._exit(1)
""",
        path,
    )
    listing, _ = look(path)
    assert path.stat().st_size <= 400_000
    assert only(roots(listing)).code == "hdf5-not-closed"


def test_a_small_whole_file_without_its_big_weights_lacks_weights(tmp_path: Path) -> None:
    path = legacy_model(tmp_path / "m.h5")
    with h5py.File(path, "r+") as file:
        del file["model_weights/logits/logits/kernel:0"]
        del file["model_weights/conv1/conv1/kernel:0"]
    listing, _ = look(path)
    cause = only(list(listing.findings))
    assert (cause.code, cause.severity) == ("weights-missing", "error")
    assert cause.evidence["names"] == ["conv1/conv1/kernel:0", "logits/logits/kernel:0"]


def test_a_missing_layer_group_is_named_by_its_weights(tmp_path: Path) -> None:
    path = legacy_model(tmp_path / "m.h5")
    with h5py.File(path, "r+") as file:
        del file["model_weights/logits"]
    listing, found = look(path)
    cause = only(list(listing.findings))
    assert cause.code == "weights-missing"
    assert cause.evidence["names"] == ["logits/kernel", "logits/bias"]
    assert "model_weights/conv1/conv1/kernel:0" in found


# ---------------------------------------------------------------------- something else under its name


def test_what_is_no_hdf5_file_is_told_apart(files: dict[str, Path], tmp_path: Path) -> None:
    whole = files["legacy"].read_bytes()
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as made:
        made.writestr("a.txt", "hello")
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 32112\n"
    cases = {
        "empty": (b"", "empty-file", "empty file"),
        "zeros": (bytes(9000), "zero-filled", "zeros"),
        "page": (b"<!DOCTYPE html><html><title>404</title>", "not-a-model", "web page or error message"),
        "lfs": (pointer, "not-a-model", "git-lfs pointer"),
        "gzip": (gzip.compress(whole), "not-a-model", "gzip archive"),
        "text": (whole.replace(b"\n", b"\r\n"), "not-a-model", "CRLF"),
        "zip": ((tmp_path / "z.zip").read_bytes(), "not-a-model", "zip archive"),
    }
    paths = {name: tmp_path / f"{name}.h5" for name in cases}
    for name, (data, _, _) in cases.items():
        paths[name].write_bytes(data)
    document = check(*paths.values())
    for name, (data, code, looks_like) in cases.items():
        finding = [f for f in document["findings"] if f["artifact"] == str(paths[name])]
        assert [f["code"] for f in finding] == [code], name
        evidence = finding[0]["evidence"]
        assert looks_like in evidence["looks_like"], name
        assert evidence["bytes"] == len(data)
        assert evidence["tensorflow_says"].endswith("(file signature not found)")
        assert evidence.get("size") == (32112 if name == "lfs" else None)


def test_weights_where_a_model_is_expected_and_an_older_model_are_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "w.h5"
    with h5py.File(path, "w") as file:
        write_layers(file["/"], digits_weights())
    assert look(path)[0].artifact.kind == "keras-weights"
    assert not look(path)[0].findings
    listing, _ = look(legacy_model(tmp_path / "keras2.h5"))
    assert (listing.artifact.kind, listing.artifact.writer["keras"]) == ("keras-h5", "2.15.0")
    assert not listing.findings
    bare = legacy_model(tmp_path / "bare.h5", config=sequential(*digits_config()["config"]["layers"][:1]))
    assert "weights-missing" not in {f.code for f in look(bare)[0].findings}


def test_keras_attributes_survive_a_cut_behind_them(files: dict[str, Path], tmp_path: Path) -> None:
    whole = files["legacy"].read_bytes()
    path = tmp_path / "m.h5"
    path.write_bytes(whole[: len(whole) // 2])
    with open_h5(path) as opened:
        listing = opened.listing()
        assert listing.artifact.kind == "keras-h5"
        assert [row.name for row in listing.architecture][-1] == "logits"
        assert next(t for t in listing.tensors if not t.problem).layer == "bn1"


def test_the_document_of_a_check_names_the_cause_once(files: dict[str, Path], tmp_path: Path) -> None:
    whole = files["legacy"].read_bytes()
    path = tmp_path / "m.h5"
    path.write_bytes(whole[: len(whole) // 2])
    document = check(path)
    causes = [f for f in document["findings"] if f["severity"] == "error" and f["tensor"] is None]
    assert [f["title"] for f in causes] == ["The HDF5 file is cut off"]
    assert json.dumps(document)
