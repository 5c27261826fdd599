"""Variables, assets and fingerprint of a SavedModel that are missing, damaged or another export's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ckptui.readers.farmhash import fingerprint64
from ckptui.readers.fingerprint import signature_hash
from ckptui.readers.saved_model import open_saved_model
from ckptui.session import Session
from tests.damaged.exported import DT_STRING, VALUE, Change, copied, nothing, only, pb, take_variables
from tests.readers.make_bundle import Node, graph_payload, strings, write_bundle
from tests.readers.protos import entry, function, graph, meta_graph, node, number, part, saved_model_proto, shape

# ---------------------------------------------------------------------- variables


def test_no_variables_at_all(exports: Path, tmp_path: Path) -> None:
    folder = copied(exports, "affine", tmp_path, lambda d: shutil.rmtree(d / "variables"))
    found = only(folder)
    assert found.code == "index-missing"
    assert found.evidence["expected"] == str(folder / "variables" / "variables.index")
    assert "Failed to find any matching files" in found.evidence["tensorflow_says"]


def test_no_graph_and_no_variables_are_both_told(exports: Path, tmp_path: Path) -> None:
    def apply(folder: Path) -> None:
        shutil.rmtree(folder / "variables")
        (folder / "saved_model.pb").unlink()

    codes = sorted(f.code for f in open_saved_model(copied(exports, "affine", tmp_path, apply)).listing().findings)
    assert codes == ["graph-missing", "index-missing"], "fingerprint.pb tells that there was an index"


def test_no_index(exports: Path, tmp_path: Path) -> None:
    folder = copied(exports, "affine", tmp_path, lambda d: (d / "variables" / "variables.index").unlink())
    found = only(folder)
    assert found.code == "index-missing"
    assert found.evidence["file"] == str(folder / "variables" / "variables.index")
    assert str(folder / "variables" / "variables") in found.evidence["tensorflow_says"]


def test_no_shard(exports: Path, tmp_path: Path) -> None:
    shard = "variables/variables.data-00000-of-00001"
    found = only(copied(exports, "affine", tmp_path, lambda d: (d / shard).unlink()))
    assert (found.code, found.evidence["tensors"]) == ("shard-missing", 3)
    assert found.evidence["file"].endswith(shard)
    assert "No such file or directory" in found.evidence["tensorflow_says"]


def test_a_flipped_bit_in_a_variable_is_named(exports: Path, tmp_path: Path, shared_session: Session) -> None:
    def flip(folder: Path) -> None:
        path = folder / "variables" / "variables.data-00000-of-00001"
        data = bytearray(path.read_bytes())
        data[2] ^= 4
        path.write_bytes(data)

    folder = copied(exports, "affine", tmp_path, flip)
    nothing(folder)
    listing = shared_session.open(str(folder))
    found = [f for item in shared_session.scan(listing, stats=False) for f in getattr(item, "findings", ())]
    assert [(f.code, f.tensor) for f in found] == [("checksum-mismatch", f"kernel{VALUE}")]
    assert "Checksum does not match: stored 2281034563" in found[0].evidence["tensorflow_says"]


@pytest.mark.parametrize("other", ["trained", "renamed"])
def test_variables_of_another_save_of_the_same_model(exports: Path, tmp_path: Path, other: str) -> None:
    folder = copied(exports, "affine", tmp_path, lambda d: take_variables(other)(d, exports))
    found = only(folder)
    assert (found.code, found.certainty, found.severity) == ("graph-variables-mismatch", "likely", "error")
    hashes = {
        name: fingerprint64((exports / name / "variables/variables.index").read_bytes()) for name in ("affine", other)
    }
    assert (found.evidence["expected"], found.evidence["found"]) == (str(hashes["affine"]), str(hashes[other]))
    assert found.evidence["files"]["index"] == str(folder / "variables" / "variables.index")
    assert "tensorflow_says" not in found.evidence, "it loads without a word"


def test_variables_of_another_shape(exports: Path, tmp_path: Path) -> None:
    found = only(copied(exports, "affine", tmp_path, lambda d: take_variables("wider")(d, exports)))
    assert (found.code, found.certainty) == ("graph-variables-mismatch", "confirmed")
    assert found.evidence["tensors"] == [
        {"tensor": f"kernel{VALUE}", "name": "kernel", "expected": "float32 [2, 3]", "found": "float32 [4, 3]"}
    ]
    assert found.evidence["tensorflow_says"] == (
        "Received incompatible tensor with shape (4, 3) when attempting to restore variable with shape (2, 3) and "
        "name kernel:0."
    )


@pytest.mark.parametrize(("name", "says"), [("affine", "Found 2 Python objects"), ("v1", "Key dense/kernel not found")])
def test_variables_of_another_model(exports: Path, tmp_path: Path, name: str, says: str) -> None:
    found = only(copied(exports, name, tmp_path, lambda d: take_variables("other")(d, exports)))
    assert (found.code, found.certainty) == ("graph-variables-mismatch", "confirmed")
    wanted = [f"kernel{VALUE}", f"bias{VALUE}"] if name == "affine" else ["dense/kernel", "table"]
    assert found.evidence["missing"] == wanted
    assert found.evidence["tensorflow_says"].startswith(says)


def test_a_damaged_index_is_its_own_cause(exports: Path, tmp_path: Path) -> None:
    def flip(folder: Path) -> None:
        path = folder / "variables" / "variables.index"
        data = bytearray(path.read_bytes())
        data[30] ^= 1
        path.write_bytes(data)

    codes = {f.code for f in open_saved_model(copied(exports, "affine", tmp_path, flip)).listing().findings}
    assert codes == {"index-damaged"}, "the fingerprint says no more than the index's own checksums"


@pytest.mark.parametrize("place", range(0, 90, 9))
def test_a_flipped_fingerprint_accuses_nobody(exports: Path, tmp_path: Path, place: int) -> None:
    for bit in range(8):
        folder = tmp_path / str(bit)
        shutil.copytree(exports / "affine", folder)
        data = bytearray((folder / "fingerprint.pb").read_bytes())
        data[place] ^= 1 << bit
        (folder / "fingerprint.pb").write_bytes(data)
        nothing(folder)


def test_a_flipped_bit_in_a_key_is_the_graphs_own_damage(exports: Path, tmp_path: Path) -> None:
    key = f"kernel{VALUE}".encode()
    folder = copied(exports, "affine", tmp_path, pb(lambda data: data.replace(key, b"kerjel" + key[6:])))
    found = only(folder)
    assert (found.code, found.title) == ("graph-damaged", "A name in the graph has a flipped bit")
    assert (found.evidence["found"], found.evidence["expected"]) == (f"kerjel{VALUE}", f"kernel{VALUE}")


def test_variables_without_a_value_were_never_saved(tmp_path: Path) -> None:
    keys = [f"gain{VALUE}", f"bias{VALUE}"]
    names = part(8, keys[0]) + part(8, keys[1]) + part(8, "_CHECKPOINTABLE_OBJECT_GRAPH")
    tensor = number(1, DT_STRING) + part(2, shape(3)) + names
    restore = node("RestoreV2/tensor_names", "Const", entry(5, "value", part(8, tensor)))
    objects = part(7, part(1, number(1, 0)))
    proto = saved_model_proto(
        meta_graph(graph(functions=(function("__inference__traced_restore_9", restore),)), rest=objects)
    )
    (tmp_path / "saved_model.pb").write_bytes(proto)
    (tmp_path / "variables").mkdir()
    nodes = [
        Node({"gain": 1, "bias": 2}),
        Node(attributes=[("VARIABLE_VALUE", "gain", keys[0])]),
        Node(attributes=[("VARIABLE_VALUE", "bias", keys[1])]),
    ]
    stored = {keys[0]: np.ones(3, np.float32), "_CHECKPOINTABLE_OBJECT_GRAPH": strings([graph_payload(nodes)], ())}
    write_bundle(tmp_path / "variables" / "variables", stored)
    found = only(tmp_path)
    assert (found.code, found.tensor) == ("weights-never-saved", keys[1])
    assert found.evidence["not_in_file"] == [keys[1]]
    assert found.evidence["tensorflow_says"] == f"Key {keys[1]} not found in checkpoint"


# ---------------------------------------------------------------------- assets


@pytest.mark.parametrize(
    "change", [lambda d: (d / "assets" / "vocab.txt").unlink(), lambda d: shutil.rmtree(d / "assets")]
)
def test_a_missing_asset_is_named(exports: Path, tmp_path: Path, change: Change) -> None:
    folder = copied(exports, "lookup", tmp_path, change)
    found = only(folder)
    assert (found.code, found.severity) == ("asset-missing", "error")
    assert found.evidence["expected"] == str(folder / "assets" / "vocab.txt")
    assert found.evidence["tensorflow_says"] == f"{folder}/assets/vocab.txt; No such file or directory"


def test_a_flipped_bit_in_an_assets_name_is_the_graphs_own_damage(exports: Path, tmp_path: Path) -> None:
    folder = copied(exports, "lookup", tmp_path, pb(lambda data: data.replace(b"vocab.txt", b"vocac.txt")))
    (folder / "assets" / "vocab.txt").rename(folder / "assets" / "vocaa.txt")
    found = only(folder)
    assert (found.code, found.evidence["found"], found.evidence["expected"]) == (
        "graph-damaged",
        "vocac.txt",
        "vocaa.txt",
    )


def test_empty_asset_folders_and_extra_files_are_normal(exports: Path, tmp_path: Path) -> None:
    def add(folder: Path) -> None:
        assert list((folder / "assets").iterdir()) == []
        (folder / "assets.extra").mkdir()
        (folder / "assets.extra" / "notes.txt").write_text("x")

    nothing(copied(exports, "affine", tmp_path, add))


# ---------------------------------------------------------------------- hashes


def test_farmhash_is_tensorflows_for_every_length(exports: Path) -> None:
    known = json.loads((exports / "farmhash.json").read_text())
    assert len(known) == 202
    for length, value in known.items():
        data = bytes(i * 7 % 251 for i in range(int(length)))
        assert f"{fingerprint64(data):016x}" == value, length


def test_fingerprints_of_real_exports_are_those_of_their_files(exports: Path) -> None:
    checked = 0
    for path in sorted(exports.glob("*/fingerprint.pb")):
        facts = open_saved_model(path.parent).fingerprint.facts
        assert facts["checkpoint_hash"] == fingerprint64((path.parent / "variables/variables.index").read_bytes())
        assert facts["signature_def_hash"] == signature_hash((path.parent / "saved_model.pb").read_bytes())
        checked += 1
    assert checked == 10
