"""Every way a SavedModel's graph is damaged or missing: code, evidence, and TensorFlow's own words beside ours."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ckptui.readers.saved_model import open_saved_model
from tests import warm_tensorflow
from tests.damaged.exported import LFS, Change, copied, nothing, only, pb, take_variables
from tests.places import ROOT
from tests.readers.protos import graph, meta_graph, node, saved_model_proto

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


def test_a_length_that_is_off_by_one_bit_is_only_likely_a_cut(tmp_path: Path) -> None:
    healthy = saved_model_proto(meta_graph(graph(node("x", "Placeholder"))))
    assert healthy[2] == 0x12
    flipped = bytearray(healthy)
    flipped[3] ^= 0x40
    (tmp_path / "saved_model.pb").write_bytes(flipped)
    found = only(tmp_path)
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
    job = ["-m", "tests.damaged.tensorflow_exports", "load", *folders]
    done = warm_tensorflow.run(job, cwd=ROOT, timeout=120)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(folders), done.stderr[-2000:]
    for folder, answer in zip(folders, answers, strict=True):
        told = [f.evidence.get("tensorflow_says") for f in open_saved_model(folder).listing().findings]
        assert told, folder
        assert told[0], folder
        assert told[0] in answer["text"], (folder, told[0], answer["text"])
