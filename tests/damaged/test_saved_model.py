"""Every way a SavedModel is damaged: code, file or name, evidence, and TensorFlow's own words beside ours."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui.core.model import Finding
from ckptui.readers.farmhash import fingerprint64
from ckptui.readers.fingerprint import signature_hash
from ckptui.readers.graph_causes import binary_cause, graph_finding
from ckptui.readers.graph_facts import Gatherer
from ckptui.readers.graph_wire import walk_wire
from ckptui.readers.saved_model import SavedModel, open_saved_model
from ckptui.readers.signatures import MetaGraph
from ckptui.readers.signatures import meta_graph as meta_graph_facts
from ckptui.readers.wire import fields
from ckptui.session import Session
from tests.places import ROOT
from tests.readers.make_bundle import Node, graph_payload, strings, write_bundle
from tests.readers.protos import entry, function, graph, meta_graph, node, number, part, saved_model_proto, shape

FLOAT, DT_STRING = 1, 7
VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 12992\n"

Change = Callable[[Path], object]


def copied(exports: Path, name: str, tmp_path: Path, change: Change) -> Path:
    """A copy of an export with one thing done to it."""
    folder = tmp_path / "export"
    shutil.copytree(exports / name, folder)
    change(folder)
    return folder


def pb(change: Callable[[bytes], bytes]) -> Change:
    """Do something to the bytes of the graph."""

    def apply(folder: Path) -> None:
        path = folder / "saved_model.pb"
        path.write_bytes(change(path.read_bytes()))

    return apply


def only(folder: Path, *, but: tuple[str, ...] = ("unsafe-op",)) -> Finding:
    """The one finding of a SavedModel, about that folder."""
    findings = [f for f in open_saved_model(folder).listing().findings if f.code not in but]
    assert len(findings) == 1, findings
    assert findings[0].artifact == str(folder)
    return findings[0]


def nothing(folder: Path) -> SavedModel:
    model = open_saved_model(folder)
    assert [f for f in model.listing().findings if f.code != "unsafe-op"] == []
    return model


# ---------------------------------------------------------------------- the graph's file


def test_healthy_exports_of_every_kind_are_healthy(exports: Path) -> None:
    names = [path.parent.name for path in sorted(exports.glob("*/saved_model.pb*"))]
    assert len(names) == 13
    fingerprints = {name: nothing(exports / name).writer.get("fingerprint") for name in names}
    assert fingerprints == {name: None if name.startswith("v1") else "matches" for name in names}


def test_an_empty_graph_is_told_and_tensorflow_speaks_of_tags(exports: Path, tmp_path: Path) -> None:
    folder = copied(exports, "affine", tmp_path, pb(lambda data: b""))
    found = only(folder)
    assert found.code == "empty-file"
    assert found.evidence["file"] == str(folder / "saved_model.pb")
    assert "`tags=`" in found.evidence["tensorflow_says"]


@pytest.mark.parametrize("missing", [1, 700, 6000, 12_900])
def test_a_cut_graph_tells_how_many_bytes_are_missing(exports: Path, tmp_path: Path, missing: int) -> None:
    folder = copied(exports, "affine", tmp_path, pb(lambda data: data[:-missing]))
    whole = (exports / "affine" / "saved_model.pb").stat().st_size
    found = only(folder)
    assert (found.code, found.title, found.certainty) == ("graph-damaged", "The graph is cut off", "confirmed")
    assert (found.evidence["expected"], found.evidence["found"]) == (whole, whole - missing)
    assert found.evidence["bytes_missing"] == missing
    assert found.evidence["offset"] == 2
    assert "Wire format was corrupt" in found.evidence["tensorflow_says"]


def test_what_stands_before_the_cut_is_read(exports: Path, tmp_path: Path) -> None:
    folder = copied(exports, "affine", tmp_path, pb(lambda data: data[:-700]))
    model = open_saved_model(folder)
    assert model.findings[0].evidence["nodes_read"] == 55
    assert model.findings[0].evidence["functions_read"] == 4
    assert [s.name for s in model.signatures] == ["serving_default"]
    assert model.listing().artifact.tensors == 3


def test_a_length_that_is_off_by_one_bit_is_only_likely_a_cut() -> None:
    healthy = saved_model_proto(meta_graph(graph(node("x", "Placeholder"))))
    assert healthy[2] == 0x12
    flipped = bytearray(healthy)
    flipped[3] ^= 0x40
    _, found = walked(bytes(flipped))
    assert found is not None
    assert (found.code, found.certainty, found.evidence["one_bit"]) == ("graph-damaged", "likely", True)


@pytest.mark.parametrize("what", ["all", "tail", "hole"])
def test_zeros_are_told_as_zeros(exports: Path, tmp_path: Path, what: str) -> None:
    size = (exports / "affine" / "saved_model.pb").stat().st_size
    start, end = {"all": (0, size), "tail": (8192, size), "hole": (4096, 8192)}[what]
    folder = copied(exports, "affine", tmp_path, pb(lambda data: data[:start] + bytes(end - start) + data[end:]))
    found = only(folder)
    assert found.code == "zero-filled"
    assert found.evidence["offset"] <= start
    assert start + found.evidence["bytes"] >= end - 8
    assert found.evidence["tail"] == (end == size)
    assert "Wire format was corrupt" in found.evidence["tensorflow_says"]


@pytest.mark.parametrize(
    ("content", "looks_like"),
    [
        (lambda data: LFS, "git-lfs pointer"),
        (lambda data: b"<!DOCTYPE html><html>Not found</html>", "web page or error message"),
        (gzip.compress, "gzip archive"),
        (lambda data: b"\x89HDF\r\n\x1a\n" + bytes(2000), "HDF5 file"),
        (lambda data: b"PK\x03\x04" + bytes(26) + b"x" * 100, "zip archive"),
    ],
)
def test_other_content_is_named(
    exports: Path, tmp_path: Path, content: Callable[[bytes], bytes], looks_like: str
) -> None:
    folder = copied(exports, "affine", tmp_path, pb(content))
    findings = [f for f in open_saved_model(folder).listing().findings if f.code != "unsafe-op"]
    assert len(findings) == 1
    if findings[0].evidence.get("looks_like") == "git-lfs pointer":
        assert findings[0].evidence["size"] == 12992
    assert findings[0].evidence["looks_like"] == looks_like
    assert findings[0].code == ("zip-damaged" if looks_like == "zip archive" else "not-a-model")
    assert "Wire format was corrupt" in findings[0].evidence["tensorflow_says"]


def test_a_text_mode_copy_is_recognised_and_read_as_it_was(exports: Path, tmp_path: Path) -> None:
    folder = copied(exports, "affine", tmp_path, pb(lambda data: data.replace(b"\n", b"\r\n")))
    size = (exports / "affine" / "saved_model.pb").stat().st_size
    found = only(folder)
    assert found.code == "not-a-model"
    assert found.evidence["text_mangled"] is True
    assert found.evidence["expected"] == size
    assert found.evidence["found"] == (folder / "saved_model.pb").stat().st_size
    model = open_saved_model(folder)
    assert model.meta_graphs == open_saved_model(exports / "affine").meta_graphs


@pytest.mark.parametrize(
    "mangle",
    [
        pytest.param(lambda data: bytes(byte & 0x7F for byte in data), id="eighth bits"),
        pytest.param(lambda data: data.decode("utf-8", "replace").encode(), id="utf-8"),
    ],
)
def test_copies_that_lost_bits_are_recognised(exports: Path, tmp_path: Path, mangle: Callable[[bytes], bytes]) -> None:
    found = only(copied(exports, "affine", tmp_path, pb(mangle)))
    assert (found.code, found.evidence["text_mangled"]) == ("not-a-model", True)


@pytest.mark.parametrize("tail", [bytes(512), b"\x00", b"<html>\n", b"\x07\x07\x07"])
def test_bytes_after_the_end_are_told_and_cost_nothing(exports: Path, tmp_path: Path, tail: bytes) -> None:
    size = (exports / "affine" / "saved_model.pb").stat().st_size
    folder = copied(exports, "affine", tmp_path, pb(lambda data: data + tail))
    found = only(folder)
    assert (found.code, found.title) == ("graph-damaged", "Bytes after the end of the graph")
    assert found.evidence["expected"] <= size + 1
    assert found.evidence["found"] == size + len(tail)
    assert open_saved_model(folder).meta_graphs == open_saved_model(exports / "affine").meta_graphs


def test_bad_utf8_has_another_text_in_tensorflow(exports: Path, tmp_path: Path) -> None:
    folder = copied(exports, "affine", tmp_path, pb(lambda data: data.replace(b"kernel", b"ker\xffel", 1)))
    found = only(folder)
    assert found.code == "graph-damaged"
    assert found.evidence["offset"] < (folder / "saved_model.pb").read_bytes().index(b"ker\xff")
    assert "bad UTF-8" in found.evidence["tensorflow_says"]


def test_a_graph_without_meta_graphs_is_damaged(exports: Path, tmp_path: Path) -> None:
    found = only(copied(exports, "affine", tmp_path, pb(lambda data: data[:2])))
    assert found.code == "graph-damaged"
    assert "0 MetaGraphs" in found.evidence["tensorflow_says"]


# ---------------------------------------------------------------------- text graphs, several graphs


@pytest.mark.parametrize(
    ("content", "offset", "title"),
    [
        (b'hello: "there"\n', 0, None),
        (b"meta_graphs { graph_def { node { name: }", 39, None),
        (b'meta_graphs { meta_info_def { tags: "serve" ', 44, "The graph is cut off"),
    ],
)
def test_a_bad_text_graph_tells_where(
    exports: Path, tmp_path: Path, content: bytes, offset: int, title: str | None
) -> None:
    folder = copied(exports, "v1_text", tmp_path, lambda d: (d / "saved_model.pbtxt").write_bytes(content))
    found = only(folder, but=("unsafe-op", "graph-variables-mismatch"))
    assert (found.code, found.evidence["offset"]) == ("graph-damaged", offset)
    assert title is None or found.title == title
    assert found.evidence["tensorflow_says"].startswith(f"Cannot parse file b'{folder}/saved_model.pbtxt'")


def test_the_binary_graph_wins_over_the_text_one_and_over_chunks(exports: Path, tmp_path: Path) -> None:
    def add(folder: Path) -> None:
        (folder / "saved_model.pbtxt").write_text("hello: 1")
        (folder / "saved_model.cpb").write_bytes(b"\x83\xafp\xd1\x0d\x88J?" + bytes(56))

    assert len(nothing(copied(exports, "affine", tmp_path, add)).meta_graphs) == 1


def test_several_meta_graphs_are_no_damage_and_share_their_variables(exports: Path) -> None:
    model = nothing(exports / "v1_two")
    assert [facts.tags for facts in model.meta_graphs] == [("train",), ("serve",)]
    assert {facts.restored for facts in model.meta_graphs} == {("dense/kernel", "table")}


# ---------------------------------------------------------------------- an export that did not end


@pytest.mark.parametrize(
    ("stage", "change"),
    [
        ("finished", lambda d: None),
        ("assets", lambda d: (d / "fingerprint.pb").unlink()),
        ("variables", lambda d: ((d / "fingerprint.pb").unlink(), (d / "assets").rmdir())),
        (
            "variables",
            lambda d: ((d / "fingerprint.pb").unlink(), (d / "variables" / "variables_temp").mkdir()),
        ),
    ],
)
def test_a_missing_graph_tells_how_far_the_export_came(
    exports: Path, tmp_path: Path, stage: str, change: Change
) -> None:
    def apply(folder: Path) -> None:
        (folder / "saved_model.pb").unlink()
        change(folder)

    folder = copied(exports, "affine", tmp_path, apply)
    found = only(folder)
    assert (found.code, found.evidence["stage"]) == ("graph-missing", stage)
    assert found.evidence["expected"] == str(folder / "saved_model.pb")
    assert found.evidence["tensorflow_says"] == (
        f"SavedModel file does not exist at: {folder}/{{saved_model.pbtxt|saved_model.pb}}"
    )
    assert open_saved_model(folder).listing().artifact.tensors == 3


@pytest.mark.parametrize("whole", [True, False])
def test_a_graph_under_its_temporary_name_is_found(exports: Path, tmp_path: Path, whole: bool) -> None:
    def apply(folder: Path) -> None:
        (folder / "fingerprint.pb").unlink()
        graph_bytes = (folder / "saved_model.pb").read_bytes()
        (folder / "saved_model.pb").unlink()
        (folder / f"saved_model.pb.tmp{'0f' * 16}").write_bytes(graph_bytes[: None if whole else 5000])

    folder = copied(exports, "affine", tmp_path, apply)
    found = only(folder)
    assert (found.code, found.evidence["stage"]) == ("graph-missing", "graph")
    assert found.evidence["draft_whole"] is whole
    assert found.evidence["drafts"] == [str(folder / f"saved_model.pb.tmp{'0f' * 16}")]


@pytest.mark.parametrize(
    ("change", "state"),
    [
        (lambda d: (d / "fingerprint.pb").unlink(), None),
        (lambda d: (d / "fingerprint.pb").write_bytes(b""), "unreadable"),
        (lambda d: (d / "fingerprint.pb").write_bytes(b"garbage"), "unreadable"),
        (lambda d: shutil.copy(d.parent / "other.pb", d / "fingerprint.pb"), "foreign"),
    ],
)
def test_a_fingerprint_that_is_gone_or_no_good_is_no_damage(
    exports: Path, tmp_path: Path, change: Change, state: str | None
) -> None:
    shutil.copy(exports / "keras" / "fingerprint.pb", tmp_path / "other.pb")
    model = nothing(copied(exports, "affine", tmp_path, change))
    assert model.writer.get("fingerprint") == state


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


def take_variables(other: str) -> Callable[[Path, Path], None]:
    def apply(folder: Path, exports: Path) -> None:
        shutil.rmtree(folder / "variables")
        shutil.copytree(exports / other / "variables", folder / "variables")

    return apply


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


# ---------------------------------------------------------------------- TensorFlow's own words


def test_tensorflow_says_what_the_findings_quote(exports: Path, tmp_path: Path) -> None:
    changes: dict[str, tuple[str, Change]] = {
        "empty": ("affine", pb(lambda data: b"")),
        "cut": ("affine", pb(lambda data: data[:-700])),
        "hole": ("affine", pb(lambda data: data[:4096] + bytes(4096) + data[8192:])),
        "crlf": ("affine", pb(lambda data: data.replace(b"\n", b"\r\n"))),
        "lfs": ("affine", pb(lambda data: LFS)),
        "utf8": ("affine", pb(lambda data: data.replace(b"kernel", b"ker\xffel", 1))),
        "tail": ("affine", pb(lambda data: data + bytes(64))),
        "no-graph": ("affine", lambda d: (d / "saved_model.pb").unlink()),
        "no-index": ("affine", lambda d: (d / "variables/variables.index").unlink()),
        "no-variables": ("affine", lambda d: shutil.rmtree(d / "variables")),
        "wider": ("affine", lambda d: take_variables("wider")(d, exports)),
        "other": ("affine", lambda d: take_variables("other")(d, exports)),
        "v1-other": ("v1", lambda d: take_variables("other")(d, exports)),
        "no-asset": ("lookup", lambda d: (d / "assets/vocab.txt").unlink()),
        "bad-text": ("v1_text", lambda d: (d / "saved_model.pbtxt").write_text('hello: "there"\n')),
    }
    folders = [copied(exports, base, tmp_path / name, change) for name, (base, change) in changes.items()]
    job = [sys.executable, "-m", "tests.damaged.tensorflow_exports", "load", *map(str, folders)]
    done = subprocess.run(job, cwd=ROOT, capture_output=True, text=True, timeout=120)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(folders), done.stderr[-2000:]
    for folder, answer in zip(folders, answers, strict=True):
        told = [f.evidence.get("tensorflow_says") for f in open_saved_model(folder).listing().findings]
        assert told, folder
        assert told[0], folder
        assert told[0] in answer["text"], (folder, told[0], answer["text"])


# ---------------------------------------------------------------------- every cut and flip


def smallest(exports: Path) -> bytes:
    """The graph of an export of nothing, without the list of ops it uses: 4 kB of TensorFlow's own plumbing."""
    whole = (exports / "bare" / "saved_model.pb").read_bytes()
    (meta,) = [bytes(value) for field, _, value in fields(whole) if field == 2 and not isinstance(value, int)]
    (info,) = [bytes(value) for field, _, value in fields(meta) if field == 1 and not isinstance(value, int)]
    (ops,) = [bytes(value) for field, _, value in fields(info) if field == 2 and not isinstance(value, int)]
    return saved_model_proto(meta.replace(part(1, info), part(1, info.replace(part(2, ops), b""))))


def listed(graphs: Sequence[MetaGraph]) -> list[Any]:
    """Facts as the child that asks protobuf gives them; upb drops a map entry whose key it does not know."""
    return [
        [
            list(facts.tags),
            facts.tensorflow,
            facts.nodes,
            facts.functions,
            facts.objects,
            sorted(s.name for s in facts.signatures if s.name and not s.name.startswith("__saved_model_")),
        ]
        for facts in graphs
    ]


def walked(data: bytes) -> tuple[list[Any] | None, Finding | None]:
    """What the walk makes of a graph's bytes: facts, or None and the finding."""
    gatherer = Gatherer()
    walk_wire(lambda at, count: data[at : at + count], len(data), gatherer, "SavedModel")
    graphs = [meta_graph_facts(message) for message in gatherer.root.get("meta_graphs", ())]
    if gatherer.damage is None:
        return listed(graphs) or None, None
    cause, _ = binary_cause(data, len(data), gatherer.damage, len(graphs))
    return None, graph_finding("f", "f/saved_model.pb", gatherer.damage, cause, graphs)


def told(folder: Path, data: bytes) -> list[Finding]:
    """The reader's findings about a folder that holds this graph."""
    (folder / "saved_model.pb").write_bytes(data)
    return [f for f in open_saved_model(folder).listing().findings if f.code not in ("unsafe-op", "index-missing")]


def asked(graphs: list[bytes]) -> list[Any]:
    """What protobuf says of each."""
    job = [sys.executable, "-m", "tests.damaged.tensorflow_exports", "parse"]
    lines = "\n".join(data.hex() or "-" for data in graphs)
    done = subprocess.run(job, input=lines, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    answers: list[Any] = json.loads(done.stdout)
    assert len(answers) == len(graphs)
    return answers


def test_every_cut_is_told_with_the_bytes_that_are_missing(exports: Path, tmp_path: Path) -> None:
    whole = smallest(exports)
    for end in range(len(whole)):
        facts, finding = walked(whole[:end])
        assert facts is None, end
        if end > 5:
            assert finding is not None
            assert (finding.code, finding.evidence["offset"]) == ("graph-damaged", 2), end
            assert finding.evidence["bytes_missing"] == len(whole) - end
        if end % 16 == 0:
            assert len(told(tmp_path, whole[:end])) == 1, end
    print(f"{len(whole)} cuts, all told")


def test_a_flip_in_every_byte_lists_what_protobuf_reads_or_is_told(exports: Path, tmp_path: Path) -> None:
    """No checksum covers a graph: a flip inside a name or a number leaves another legal graph, listed as it is."""
    whole = smallest(exports)
    rng = np.random.default_rng(20)
    flips = []
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(rng.integers(8))
        flips.append(bytes(flipped))
    noticed = 0
    for place, (data, answer) in enumerate(zip(flips, asked(flips), strict=True)):
        facts, finding = walked(data)
        assert facts == (answer or None), (place, facts, answer, finding)
        noticed += facts is None
        if place % 16 == 0:
            assert bool(told(tmp_path, data)) >= (facts is None), place
    print(f"{len(flips)} flips: {noticed} are no graph any more and told, {len(flips) - noticed} are another graph")
    assert noticed > len(flips) // 4


def test_every_bit_of_a_small_graph(tmp_path: Path) -> None:
    """All 8 bits of every byte: no exception, no slow one."""
    x = part(1, "x:0") + number(2, FLOAT) + part(3, shape(2))
    signature = entry(5, "serving_default", entry(1, "x", x) + entry(2, "y", x))
    whole = saved_model_proto(meta_graph(graph(node("x", "Placeholder"), node("y", "Identity")), rest=signature))
    slowest = 0.0
    count = noticed = 0
    for place in range(len(whole)):
        for bit in range(8):
            flipped = bytearray(whole)
            flipped[place] ^= 1 << bit
            start = time.monotonic()
            noticed += bool(told(tmp_path, bytes(flipped)))
            slowest = max(slowest, time.monotonic() - start)
            count += 1
    print(f"{count} flips, {noticed} noticed, the slowest {slowest * 1000:.0f} ms")
    assert slowest < 2
    assert noticed > count // 4


def test_a_sample_through_a_real_child(exports: Path, tmp_path: Path, shared_session: Session) -> None:
    whole = smallest(exports)
    rng = np.random.default_rng(21)
    for number_ in range(12):
        place = int(rng.integers(len(whole)))
        data = whole[:place] if number_ % 2 else whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :]
        folder = tmp_path / str(number_)
        shutil.copytree(exports / "bare", folder)
        (folder / "saved_model.pb").write_bytes(data)
        listing = shared_session.open(str(folder))
        ours = open_saved_model(folder).listing()
        assert [(f.code, dict(f.evidence)) for f in listing.findings if f.code != "name-hostile"] == [
            (f.code, dict(f.evidence)) for f in ours.findings
        ]
