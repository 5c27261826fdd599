"""Data files that are missing, misnamed, empty, cut, padded, something else, or nobody's."""

from __future__ import annotations

import gzip
import os
import zipfile
from pathlib import Path
from typing import Any

import cramjam
import numpy as np
import pytest

from ckptui.core.model import Finding
from ckptui.errors import Damaged
from ckptui.readers.bundle import open_bundle
from tests.damaged.asking import ask_tensorflow, check_json
from tests.damaged.conftest import Oracle
from tests.places import CORPUS, ESTIMATOR, SAMPLES, needs_corpus
from tests.readers.make_bundle import Tiled, strings, write_bundle

SHARD = ".data-00000-of-00001"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"cd" * 32 + b"\nsize %d\n"
PAGE = b"<!doctype html><html><body>Not found</body></html>\n"
NEEDED = 400 + 40 + 4 + 4 + 3


def values() -> dict[str, Any]:
    draw = np.random.default_rng(1)
    return {
        "kernel": draw.normal(size=(10, 10)).astype(np.float32),
        "bias": draw.normal(size=10).astype(np.float32),
        "step": np.array(7, np.int32),
        "words": strings([b"a"]),
        "tail": np.array([True]),
    }


def save(folder: Path, shards: int = 1, name: str = "ckpt-1") -> str:
    return write_bundle(folder / name, values(), shards=shards)


def only(prefix: str) -> Finding:
    found = open_bundle(prefix).listing()
    assert len(found.findings) == 1, [(f.code, f.tensor, f.detail) for f in found.findings]
    return found.findings[0]


def zipped(raw: bytes, folder: Path) -> bytes:
    with zipfile.ZipFile(folder / "z", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data", raw)
    return (folder / "z").read_bytes()


# -- not there


def test_a_missing_shard_names_its_tensors(tmp_path: Path) -> None:
    prefix = save(tmp_path, shards=2)
    Path(f"{prefix}.data-00001-of-00002").unlink()
    found = only(prefix)
    assert (found.code, found.severity, found.tensor) == ("shard-missing", "error", None)
    assert found.evidence["file"] == f"{prefix}.data-00001-of-00002"
    assert (found.evidence["tensors"], found.evidence["names"]) == (2, ["bias", "words"])
    assert found.evidence["expected"] == 46


@pytest.mark.parametrize(("shards", "wrong"), [(1, 2), (2, 3), (3, 1)])
def test_wrong_counts_in_names_are_told_with_the_renaming_that_helps(tmp_path: Path, shards: int, wrong: int) -> None:
    prefix = save(tmp_path, shards)
    for number in range(shards):
        os.rename(f"{prefix}.data-{number:05d}-of-{shards:05d}", f"{prefix}.data-{number:05d}-of-{wrong:05d}")
    found = open_bundle(prefix).listing()
    assert [f.code for f in found.findings] == ["shard-missing"] * shards
    for number, finding in enumerate(found.findings):
        rename = finding.evidence["rename"]
        assert rename["from"] == f"{prefix}.data-{number:05d}-of-{wrong:05d}"
        assert rename["to"] == f"{prefix}.data-{number:05d}-of-{shards:05d}"
        assert finding.advice.startswith(f"Rename {rename['from']}")
        assert len(finding.evidence["other_files"]) == shards
    for finding in found.findings:
        os.rename(finding.evidence["rename"]["from"], finding.evidence["rename"]["to"])
    assert open_bundle(prefix).listing().findings == ()


def test_a_file_of_another_size_is_not_to_be_renamed(tmp_path: Path) -> None:
    prefix = save(tmp_path)
    os.rename(f"{prefix}{SHARD}", f"{prefix}.data-00000-of-00002")
    os.truncate(f"{prefix}.data-00000-of-00002", NEEDED - 1)
    found = only(prefix)
    assert found.evidence["other_files"] == [f"{prefix}.data-00000-of-00002"]
    assert "rename" not in found.evidence
    assert "Rename" not in found.advice


def test_an_unfinished_download_beside_a_missing_shard_is_shown(tmp_path: Path) -> None:
    prefix = save(tmp_path)
    os.rename(f"{prefix}{SHARD}", f"{prefix}{SHARD}.crdownload")
    assert only(prefix).evidence["beside"] == [f"{prefix}{SHARD}.crdownload"]


# -- cut and empty


def test_a_cut_shard_gives_the_numbers_of_each_tensor_it_costs(tmp_path: Path) -> None:
    prefix = save(tmp_path)
    os.truncate(f"{prefix}{SHARD}", 430)
    found = open_bundle(prefix).listing()
    told = {f.tensor: f.evidence for f in found.findings}
    assert {f.code for f in found.findings} == {"shard-truncated"}
    assert {name: told[name]["bytes_missing"] for name in told} == {"bias": 10, "step": 4, "words": 6, "tail": 1}
    assert (told["bias"]["offset"], told["bias"]["bytes"]) == (400, 40)
    assert {(e["expected"], e["found"]) for e in told.values()} == {(NEEDED, 430)}


def test_a_tile_that_is_cut_names_its_tensor(tmp_path: Path) -> None:
    whole = np.arange(40, dtype=np.float32).reshape(10, 4)
    prefix = write_bundle(tmp_path / "x", {"t": Tiled(whole, [[(0, 6), (0, -1)], [(6, 4), (0, -1)]])})
    os.truncate(f"{prefix}{SHARD}", 150)
    found = only(prefix)
    assert (found.code, found.tensor, found.evidence["bytes_missing"]) == ("shard-truncated", "t", 10)


def test_an_empty_shard_is_one_finding(tmp_path: Path) -> None:
    prefix = save(tmp_path)
    os.truncate(f"{prefix}{SHARD}", 0)
    found = only(prefix)
    assert (found.code, found.severity) == ("empty-file", "error")
    evidence = found.evidence
    assert (evidence["expected"], evidence["found"], evidence["bytes_missing"]) == (NEEDED, 0, NEEDED)
    assert (evidence["tensors"], evidence["names"]) == (5, ["kernel", "bias", "step", "words", "tail"])
    assert [f["code"] for f in check_json(prefix)["findings"]] == ["empty-file"]


def test_tensors_without_elements_need_a_file_but_no_bytes(tmp_path: Path) -> None:
    prefix = write_bundle(tmp_path / "x", {"e": np.zeros((0, 3), np.float32)})
    assert open_bundle(prefix).listing().findings == ()


# -- something else


ELSE: dict[str, tuple[Any, str]] = {
    "pointer": (lambda raw, at: LFS % len(raw), "git-lfs pointer"),
    "page": (lambda raw, at: PAGE, "web page or error message"),
    "long page": (lambda raw, at: PAGE * 40, "web page or error message"),
    "gzip": (lambda raw, at: gzip.compress(raw[:200]), "gzip archive"),
    "longer gzip": (lambda raw, at: gzip.compress(np.random.default_rng(3).bytes(2000)), "gzip archive"),
    "zstd": (lambda raw, at: bytes(cramjam.zstd.compress(raw)), "zstd archive"),
    "zip": (zipped, "zip archive"),
    "png": (lambda raw, at: b"\x89PNG\r\n\x1a\n" + raw[:100], "PNG image"),
    "hdf5": (lambda raw, at: b"\x89HDF\r\n\x1a\n" + raw[:300], "HDF5 file"),
}


@pytest.mark.parametrize("how", sorted(ELSE))
def test_another_file_in_its_place_is_one_finding_by_name(tmp_path: Path, how: str) -> None:
    make, name = ELSE[how]
    prefix = save(tmp_path)
    data = Path(f"{prefix}{SHARD}")
    other = make(data.read_bytes(), tmp_path)
    data.write_bytes(other)
    bundle = open_bundle(prefix)
    found = bundle.listing()
    [finding] = found.findings
    assert (finding.code, finding.tensor) == ("not-a-model", None)
    evidence = finding.evidence
    assert (evidence["looks_like"], evidence["file"]) == (name, str(data))
    assert (evidence["expected"], evidence["found"]) == (NEEDED, len(other))
    assert evidence["bytes_missing"] == max(0, NEEDED - len(other))
    assert evidence["tensors"] == 5
    for tensor in found.tensors:
        assert tensor.problem == f"its data file is no data: {name}"
        with pytest.raises(Damaged, match="no data"):
            bundle.array(tensor)
    if how == "pointer":
        assert (evidence["size"], evidence["sha256"]) == (NEEDED, "cd" * 32)
        assert "as many as the index needs" in finding.detail
        assert "git lfs pull" in finding.advice


def test_check_blames_no_tensor_for_a_pointer(tmp_path: Path) -> None:
    prefix = save(tmp_path)
    Path(f"{prefix}{SHARD}").write_bytes(LFS % NEEDED)
    document = check_json(prefix)
    assert [f["code"] for f in document["findings"]] == ["not-a-model"]
    assert document["summary"]["tensors_unreadable"] == 5


def test_an_index_in_the_place_of_data(tmp_path: Path) -> None:
    prefix = save(tmp_path)
    Path(f"{prefix}{SHARD}").write_bytes(Path(f"{prefix}.index").read_bytes())
    assert only(prefix).evidence["looks_like"] == "checkpoint index"


@pytest.mark.parametrize("start", [b"\x1f\x8b\x08\x00", b"\x89HDF\r\n\x1a\n", b"<html>", b"PK\x03\x04", b"BZh91AY&SY"])
def test_numbers_that_begin_like_another_format_are_numbers_where_the_size_fits(tmp_path: Path, start: bytes) -> None:
    raw = np.frombuffer(start.ljust(64, b"\1"), np.uint8)
    prefix = write_bundle(tmp_path / "x", {"a": raw, "b": np.ones(3, np.float32)})
    bundle = open_bundle(prefix)
    found = bundle.listing()
    assert found.findings == ()
    assert bundle.array(found.tensors[0]).tobytes() == raw.tobytes()


# -- too much


def test_bytes_after_the_end(tmp_path: Path) -> None:
    prefix = save(tmp_path)
    with open(f"{prefix}{SHARD}", "ab") as file:
        file.write(bytes(10))
    found = only(prefix)
    assert (found.code, found.severity) == ("shard-oversized", "warning")
    evidence = found.evidence
    assert (evidence["offset"], evidence["expected"], evidence["found"]) == (NEEDED, NEEDED, NEEDED + 10)


def test_shards_of_an_earlier_sharding_are_orphans(tmp_path: Path) -> None:
    save(tmp_path, shards=3)
    prefix = save(tmp_path, shards=2)
    found = only(prefix)
    assert (found.code, found.severity, found.evidence["file_count"]) == ("orphan-shard", "warning", 3)
    assert found.evidence["files"] == [f"{prefix}.data-{number:05d}-of-00003" for number in range(3)]
    assert found.evidence["shards"] == 2


def test_a_shard_number_beyond_the_count_is_an_orphan(tmp_path: Path) -> None:
    prefix = save(tmp_path, shards=2)
    Path(f"{prefix}.data-00002-of-00002").write_bytes(b"x")
    assert only(prefix).evidence["files"] == [f"{prefix}.data-00002-of-00002"]


def test_where_a_shard_is_missing_the_others_are_no_orphans_but_candidates(tmp_path: Path) -> None:
    save(tmp_path, shards=3)
    prefix = save(tmp_path, shards=2)
    Path(f"{prefix}.data-00001-of-00002").unlink()
    found = only(prefix)
    assert found.code == "shard-missing"
    assert len(found.evidence["other_files"]) == 3


def test_neighbours_are_no_orphans(tmp_path: Path) -> None:
    prefix = save(tmp_path)
    save(tmp_path, 2, "ckpt-10")
    save(tmp_path, 2, "ckpt")
    for rest in ".meta", f"{SHARD}.md5", ".data-of", ".data-00000-of-00001x":
        Path(prefix + rest).touch()
    assert open_bundle(prefix).listing().findings == ()


@pytest.mark.tensorflow
def test_tensorflow_says_what_the_evidence_quotes(tensorflow: Oracle, tmp_path: Path) -> None:
    prefixes = {how: save(tmp_path, 2 if how == "missing" else 1, how) for how in ("missing", "cut", "empty", "long")}
    Path(f"{prefixes['missing']}.data-00001-of-00002").unlink()
    os.truncate(prefixes["cut"] + SHARD, 430)
    os.truncate(prefixes["empty"] + SHARD, 0)
    os.truncate(prefixes["long"] + SHARD, NEEDED + 10)
    said = ask_tensorflow(tensorflow, list(prefixes.values()))
    for how, lost in ("missing", ["bias", "words"]), ("cut", ["bias", "step", "words", "tail"]), ("empty", [*values()]):
        prefix = prefixes[how]
        told = open_bundle(prefix).listing().findings[0].evidence["tensorflow_says"]
        for name, message in said[prefix].items():
            assert (told in message) == (name in lost), (how, name, message)
    assert all(message.startswith("sha256") or not message for message in said[prefixes["long"]].values())


@needs_corpus
def test_healthy_bundles_give_no_finding() -> None:
    known = {"sugyan-mnist/convolutional.ckpt": ["shard-missing"]}
    seen = 0
    for place in (CORPUS, ESTIMATOR, SAMPLES):
        for index in sorted(place.rglob("*.index")):
            if {"broken", "suspicious"} & set(index.parts):
                continue
            prefix = str(index)[: -len(".index")]
            told = open_bundle(prefix).listing().findings
            codes = [finding.code for finding in told if finding.code != "weights-never-saved"]
            wanted = next((expected for name, expected in known.items() if prefix.endswith(name)), [])
            assert codes == wanted, prefix
            seen += 1
    print(f"\n{seen} bundles, no false alarm")
    assert seen > 40
