"""Keras weights in shards, held against Keras: whole, with a shard gone or damaged, with a damaged map."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ckptui.cli import run
from ckptui.core.model import Finding, Found
from ckptui.errors import Damaged, NoSuchPath
from ckptui.readers.discover import discover, resolve
from ckptui.readers.keras_h5 import open_h5
from ckptui.readers.keras_shards import MAX_OPEN, open_shards
from ckptui.session import Session
from tests.damaged.keras_made import keras_folder, keras_says

pytestmark = pytest.mark.tensorflow

NAMES = ["w_00000.weights.h5", "w_00001.weights.h5", "w_00002.weights.h5"]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A copy of real sharded weights; the map's path."""
    shutil.copytree(keras_folder() / "shards", tmp_path / "s")
    return tmp_path / "s" / "w.weights.json"


def listed(path: Path) -> tuple[dict[str, str], list[Finding]]:
    """Name to problem of each tensor, and the findings."""
    with open_shards(path) as opened:
        listing = opened.listing()
        return {t.name: t.problem for t in listing.tensors}, list(listing.findings)


def one(path: Path) -> Finding:
    (found,) = listed(path)[1]
    return found


def change_map(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    told = json.loads(path.read_text())
    change(told)
    path.write_text(json.dumps(told))


def test_all_tensors_of_all_shards_are_those_of_the_single_file(shards: Path) -> None:
    values: dict[str, np.ndarray] = {}
    with open_h5(keras_folder() / "whole.weights.h5") as single:
        values = {t.name: single.array(t) for t in single.listing().tensors}
        wanted = {t.name: (t.layer, t.role, t.object_path, t.shape, t.dtype) for t in single.listing().tensors}
    with open_shards(shards) as opened:
        listing = opened.listing()
        assert not listing.findings
        assert {t.name: (t.layer, t.role, t.object_path, t.shape, t.dtype) for t in listing.tensors} == wanted
        homes = set()
        for tensor in listing.tensors:
            assert np.array_equal(opened.array(tensor), values[tensor.name])
            assert np.array_equal(np.concatenate(list(opened.chunks(tensor, 8))), values[tensor.name].reshape(-1))
            segment = tensor.storage.segment
            assert segment is not None
            homes.add(Path(segment.file).name)
            raw = Path(segment.file).read_bytes()[segment.offset : segment.offset + segment.bytes]
            assert raw == values[tensor.name].tobytes()
    artifact = listing.artifact
    assert sorted(homes) == NAMES
    assert (artifact.kind, artifact.path, artifact.shards) == ("keras-weights", str(shards), 3)
    assert artifact.bytes == sum(path.stat().st_size for path in shards.parent.iterdir())


def test_one_save_however_it_is_named_and_no_run(shards: Path) -> None:
    found = [item for item in discover([str(shards.parent)])]
    assert [(type(item), getattr(item, "path", "")) for item in found] == [(Found, str(shards))]
    for name in (*NAMES, shards.name):
        assert resolve(str(shards.parent / name)).path == str(shards)
    other = shards.parent / "other_00000.weights.h5"
    shutil.copy(shards.parent / NAMES[0], other)
    assert resolve(str(other)).path == str(other)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"b" * 64 + b"\nsize 7\n"
SHARD_DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str, dict[str, Any]]] = {
    "cut": (lambda data: data[:-100], "hdf5-damaged", {"bytes_missing": 100}),
    "empty": (lambda data: b"", "empty-file", {}),
    "lfs": (lambda data: LFS, "not-a-model", {}),
    "zeros": (lambda data: data[:-3000] + bytes(3000), "zero-filled", {}),
}
CUTS = (0.2, 0.5, 0.9, 0.99)


def lose_layer(folder: Path) -> None:
    with h5py.File(folder / NAMES[0], "a") as file:
        del file["layers/dense"]


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Damaged copies that Keras is asked about, each in a folder of its own."""
    top = tmp_path_factory.mktemp("variants")
    text = (keras_folder() / "shards" / "w.weights.json").read_bytes()
    for name in ("missing", "layer", *SHARD_DAMAGE, *map(str, CUTS)):
        shutil.copytree(keras_folder() / "shards", top / name)
    (top / "missing" / NAMES[1]).unlink()
    lose_layer(top / "layer")
    for name, (damage, _, _) in SHARD_DAMAGE.items():
        path = top / name / NAMES[2]
        path.write_bytes(damage(path.read_bytes()))
    for keep in CUTS:
        (top / str(keep) / "w.weights.json").write_bytes(text[: int(len(text) * keep)])
    return top


@pytest.fixture(scope="module")
def heard(variants: Path) -> dict[str, dict[str, Any]]:
    answers = keras_says("weights", sorted(variants.glob("*/*.json")))
    return {Path(path).parent.name: answer for path, answer in answers.items()}


def test_a_missing_shard_is_named_with_what_lies_in_it(variants: Path, heard: dict[str, dict[str, Any]]) -> None:
    rows, findings = listed(variants / "missing" / "w.weights.json")
    (found,) = findings
    assert (found.code, found.evidence["shard"]) == ("shard-missing", NAMES[1])
    assert found.evidence["groups"] == ["layers/dense_1/vars", "optimizer/vars"]
    assert found.evidence["tensors"] == ["layers/dense_1/vars"]
    assert "missing" in rows["layers/dense_1/vars"]
    assert sum(not problem for problem in rows.values()) == 10
    assert found.evidence["tensorflow_says"] == heard["missing"]["text"]


def test_all_shards_missing(shards: Path) -> None:
    for name in NAMES:
        (shards.parent / name).unlink()
    assert [f.code for f in listed(shards)[1]] == ["shard-missing"] * 3


@pytest.mark.parametrize("name", SHARD_DAMAGE)
def test_a_damaged_shard_is_one_finding_that_names_it(
    variants: Path, heard: dict[str, dict[str, Any]], name: str
) -> None:
    _, code, facts = SHARD_DAMAGE[name]
    path = variants / name / NAMES[2]
    rows, findings = listed(variants / name / "w.weights.json")
    whole = [f for f in findings if f.tensor is None]
    assert [(f.code, f.evidence["file"]) for f in whole] == [(code, str(path))], findings
    assert facts.items() <= whole[0].evidence.items()
    assert all(f.evidence["file"] == str(path) for f in findings)
    assert all(not problem for row, problem in rows.items() if row.startswith("layers/"))
    if code != "zero-filled":
        assert str(whole[0].evidence["tensorflow_says"])[:40] in heard[name]["text"]


def test_variables_and_groups_that_are_in_no_shard(shards: Path) -> None:
    with h5py.File(shards.parent / NAMES[1], "a") as file:
        del file["optimizer/vars/2"]
    found = one(shards)
    assert (found.code, found.evidence["names"]) == ("weights-missing", ["optimizer/vars/2"])
    assert found.evidence["layers"] == [{"layer": "optimizer", "expected": 8, "found": 7}]
    lose_layer(shards.parent)
    found = next(f for f in listed(shards)[1] if f.evidence.get("shard") == NAMES[0])
    assert (found.code, found.evidence["names"]) == ("weights-missing", ["layers/dense/vars"])


def test_keras_says_the_same_of_a_layer_that_is_gone(variants: Path, heard: dict[str, dict[str, Any]]) -> None:
    assert one(variants / "layer" / "w.weights.json").code == "weights-missing"
    assert "expected 2 variables, but received 0 variables" in heard["layer"]["text"]


@pytest.mark.parametrize("keep", CUTS)
def test_a_cut_map_leaves_every_shard(variants: Path, heard: dict[str, dict[str, Any]], keep: float) -> None:
    path = variants / str(keep) / "w.weights.json"
    rows, findings = listed(path)
    (found,) = findings
    assert (found.code, found.evidence["cut"]) == ("index-damaged", True)
    assert found.evidence["tensorflow_says"] == heard[str(keep)]["text"]
    assert 0 <= found.evidence["offset"] <= path.stat().st_size
    assert len(rows) == 16
    assert not any(rows.values())


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda text: b"", "empty-file"),
        (lambda text: bytes(len(text)), "zero-filled"),
        (lambda text: text[:200] + bytes(len(text) - 200), "zero-filled"),
        (lambda text: b"<html>no</html>", "not-a-model"),
        (lambda text: text.replace(b":", b";", 1), "index-damaged"),
        (lambda text: b'{"metadata": {}}', "index-damaged"),
        (lambda text: b'{"weight_map": {"/a/vars": 7}}', "index-damaged"),
        (lambda text: b"[" * 100_000, "index-damaged"),
        (lambda text: b"\xff\xfe" + text, "index-damaged"),
    ],
)
def test_a_map_that_is_no_map(shards: Path, damage: Callable[[bytes], bytes], code: str) -> None:
    shards.write_bytes(damage(shards.read_bytes()))
    rows, findings = listed(shards)
    assert [f.code for f in findings] == [code]
    assert len(rows) == 16
    assert resolve(str(shards)).kind == "keras-weights"


def test_cuts_and_flips_of_a_map(shards: Path) -> None:
    text = shards.read_bytes()
    rng = np.random.default_rng(2)
    counts = {"error": 0, "warning": 0, "nothing": 0}
    for at in range(0, len(text), 5):
        for changed in (text[:at], text[:at] + bytes([text[at] ^ 1 << int(rng.integers(8))]) + text[at + 1 :]):
            shards.write_bytes(changed)
            try:
                rows, findings = listed(shards)
            except Damaged:
                counts["error"] += 1
                continue
            severities = {f.severity for f in findings}
            counts["error" if "error" in severities else "warning" if severities else "nothing"] += 1
            assert rows
            if not findings:
                assert json.loads(changed)["weight_map"] == json.loads(text)["weight_map"]
    print(f"\n{2 * len(range(0, len(text), 5))} damaged maps: {counts}")
    assert counts["nothing"] < len(text) // 15


def test_files_the_map_does_not_name_and_weights_it_does_not_know(shards: Path) -> None:
    orphan = shards.parent / "w_00007.weights.h5"
    shutil.copy(shards.parent / NAMES[2], orphan)
    found = one(shards)
    assert (found.code, found.severity, found.evidence["names"]) == ("orphan-shard", "warning", [orphan.name])
    orphan.unlink()
    with h5py.File(shards.parent / NAMES[0], "a") as file:
        file["layers/dense_9/vars/0"] = np.ones(2, "f4")
    found = next(f for f in listed(shards)[1] if f.code == "weights-unexpected")
    assert (found.severity, found.evidence["names"]) == ("warning", ["layers/dense_9/vars/0"])


def test_a_map_of_another_save(shards: Path) -> None:
    change_map(shards, lambda told: told["metadata"].update(total_size=500.0))
    found = one(shards)
    assert (found.code, found.certainty) == ("index-data-mismatch", "likely")
    assert (found.evidence["expected"], found.evidence["found"]) == (500.0, 476.0)
    change_map(shards, lambda told: told["metadata"].clear())
    assert listed(shards)[1] == []


def test_a_map_that_leads_out_of_its_folder_is_not_followed(shards: Path, tmp_path: Path) -> None:
    shutil.copy(shards.parent / NAMES[0], tmp_path / "secret.h5")
    change_map(shards, lambda told: told["weight_map"].update({"/layers/x/vars": "../secret.h5"}))
    found = next(f for f in listed(shards)[1] if f.code == "external-reference")
    assert (found.severity, found.evidence["names"]) == ("error", ["../secret.h5"])
    with open_shards(shards) as opened:
        files = {t.storage.segment.file for t in opened.listing().tensors if t.storage.segment is not None}
    assert not any("secret" in file for file in files)


def test_more_shards_than_are_kept_open(tmp_path: Path) -> None:
    count = MAX_OPEN + 8
    groups = {}
    for number in range(count):
        name = f"m_{number:05d}.weights.h5"
        with h5py.File(tmp_path / name, "w") as file:
            file[f"layers/dense_{number}/vars/0"] = np.full(3, number, "f4")
            file[f"layers/dense_{number}/vars/1"] = np.arange(4, dtype="f4").reshape(2, 2)[:, :1].repeat(2, 1)
        groups[f"/layers/dense_{number}/vars"] = name
    path = tmp_path / "m.weights.json"
    path.write_text(json.dumps({"metadata": {"total_size": count * 28.0}, "weight_map": groups}))
    with open_shards(path) as opened:
        listing = opened.listing()
        assert not listing.findings
        for tensor in listing.tensors:
            if tensor.shape == (3,):
                assert opened.array(tensor)[0] == int(tensor.name.split("/")[1].split("_")[1])


def test_it_is_no_map_without_shards(tmp_path: Path) -> None:
    path = tmp_path / "other.weights.json"
    path.write_text('{"a": 1}')
    assert not list(discover([str(tmp_path)]))
    with pytest.raises(NoSuchPath):
        open_shards(tmp_path / "nothing.weights.json")
    with pytest.raises(Damaged, match="weight_map"):
        open_shards(path)


def test_commands_take_it_as_any_save(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out.npz"
    for arguments, word in (
        (["ls", str(shards.parent)], "w.weights.json"),
        (["show", str(shards)], "16 tensors"),
        (["stats", str(shards)], "layers/dense/vars/0"),
        (["check", str(shards.parent)], "1 save"),
        (["export", str(shards), "-o", str(target)], "16 tensors"),
        (["diff", str(shards), str(keras_folder() / "whole.weights.h5")], "identical"),
    ):
        code = run(arguments)
        out = capsys.readouterr().out
        assert (code, word in out) == (0, True), (arguments, code, out)
    with np.load(target) as arrays:
        assert len(arrays.files) == 16


def test_a_shard_written_anew_is_seen(shards: Path) -> None:
    with Session() as session:
        assert not session.open(str(shards)).findings
        (shards.parent / NAMES[2]).unlink()
        assert [f.code for f in session.open(str(shards)).findings] == ["shard-missing"]


def test_a_model_saved_as_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(keras_folder() / "folder", folder)
    heard = keras_says("load", [folder])[str(folder)]
    for inside in ("", "config.json", "metadata.json", "model.weights.h5"):
        assert resolve(str(folder / inside)).path.rstrip("/") == str(folder)
    assert [(i.path, i.kind) for i in discover([str(tmp_path)]) if isinstance(i, Found)] == [
        (str(folder), "keras-archive")
    ]
    with Session() as session:
        listing = session.open(str(folder))
        assert not listing.findings
        assert (listing.artifact.path, listing.artifact.tensors, listing.artifact.parameters) == (str(folder), 16, 63)
        assert listing.artifact.writer["form"] == "folder"
        assert len(listing.architecture) == 4
        own = [t.name for t in listing.tensors if t.name.startswith("layers/")]
        sums = sorted(float(session.array(listing, name).sum(dtype="f8")) for name in own)
        assert sums == pytest.approx(sorted(heard["sums"][: len(own)]))
        assert session.verify(listing) == []
        (folder / "config.json").write_bytes(b'{"module": "ker')
        assert [f.code for f in session.open(str(folder)).findings] == ["zip-damaged"]
        weights = (folder / "model.weights.h5").read_bytes()
        (folder / "model.weights.h5").write_bytes(weights[:-50])
        found = [f for f in session.open(str(folder)).findings if f.code == "hdf5-damaged"]
        assert found[0].evidence["file"] == str(folder / "model.weights.h5")
        assert (found[0].artifact, found[0].evidence["bytes_missing"]) == (str(folder), 50)
        (folder / "model.weights.h5").unlink()
        (folder / "config.json").write_bytes((keras_folder() / "folder" / "config.json").read_bytes())


def test_a_folder_called_as_an_archive_without_its_parts(tmp_path: Path) -> None:
    folder = tmp_path / "gone.keras"
    folder.mkdir()
    (folder / "notes.txt").write_text("x")
    heard = keras_says("load", [folder])[str(folder)]
    found = resolve(str(folder))
    (finding,) = found.findings
    assert (finding.code, finding.evidence["tensorflow_says"]) == ("not-a-model", heard["text"])
    with pytest.raises(Damaged):
        Session().open(found.path, found=found)
