"""Sniffing: the content decides what a file is, whatever its name, and no special file can stop it."""

from __future__ import annotations

import io
import os
import socket
import struct
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from ckptui.readers import magic
from ckptui.readers.sniff import promise, sniff
from tests.places import CORPUS, needs_corpus

LFS = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 872856\n"
)


def put(folder: Path, name: str, data: bytes) -> str:
    path = folder / name
    path.write_bytes(data)
    return str(path)


def zipped(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, b"x" * 40)
    return out.getvalue()


def table(first_value: bytes, key: bytes = b"") -> bytes:
    """A file that begins like a table whose first entry is `key` and ends in the table magic."""
    block = bytes([0, len(key), len(first_value)]) + key + first_value
    return block + struct.pack("<II", 0, 1) + b"\x00" * 5 + b"\x00" * 40 + magic.TABLE_MAGIC


HDF5 = magic.HDF5_SIGNATURE + b"\x00" * 600


@pytest.mark.parametrize(
    ("name", "data", "kind", "words"),
    [
        ("model.keras", HDF5 + b"model_config", "keras-h5", "HDF5"),
        ("notes.txt", HDF5 + b"layer_names", "keras-weights", "HDF5"),
        ("no_suffix", HDF5, "hdf5", "HDF5"),
        ("junk_before.h5", b"\x00" * 512 + HDF5, "hdf5", "HDF5"),
        ("far_block.h5", b"\x00" * 16384 + HDF5, "hdf5", "HDF5"),
        ("a.weights.h5", HDF5, "keras-weights", "HDF5"),
        ("three.bin", HDF5 + b"layers\x00\x00vars\x00", "keras-weights", "HDF5"),
        ("model.h5", zipped("metadata.json", "config.json", "model.weights.h5"), "keras-archive", ".keras"),
        ("model.keras", b"junk" * 20 + zipped("config.json"), "keras-archive", ".keras"),
        ("ckpt-1.index", table(b"\x08\x01\x1a\x02\x08\x01"), "tf-checkpoint", "index"),
        ("renamed", table(b"\x08\x01\x1a\x02\x08\x01"), "tf-checkpoint", "index"),
        ("model.ckpt-100", table(b"\x0a\x10" + b"x" * 16), "tf-checkpoint-v1", "V1"),
        ("saved_model.pb", b"\x08\x01\x12\x00", "saved-model", "SavedModel"),
    ],
)
def test_content_decides_the_kind(tmp_path: Path, name: str, data: bytes, kind: str, words: str) -> None:
    seen = sniff(put(tmp_path, name, data))
    assert (seen.kind, seen.code) == (kind, None)
    assert words in seen.looks_like
    assert seen.size == len(data)


def test_a_snappy_block_still_tells_the_two_tables_apart() -> None:
    literal = b"\x00\x00\x06\x08\x01\x1a\x02\x08\x01"
    short = bytes([len(literal) + 8, (len(literal) - 1) << 2]) + literal
    assert magic.table_first_key(short + b"rest") == b"\x08\x01\x1a\x02"
    long = b"\x00\x00\x80\x01\x0a" + b"m" * 95
    assert magic.table_first_key(b"\xf0\x01" + bytes([60 << 2, len(long) - 1]) + long) == b"\x0a" + b"m" * 3


def test_a_leveldb_table_of_somebody_else_is_no_checkpoint(tmp_path: Path) -> None:
    seen = sniff(put(tmp_path, "000005.ldb", table(b"v", key=b"user")))
    assert seen.kind is None
    assert seen.code is None


@pytest.mark.parametrize(
    ("name", "data", "code", "words"),
    [
        ("model.h5", b"", "empty-file", "0 bytes"),
        ("model.keras", b"", "empty-file", "0 bytes"),
        ("model.h5", LFS, "not-a-model", "git-lfs"),
        ("ckpt-3.index", LFS, "not-a-model", "git-lfs"),
        ("model.h5", b"<!DOCTYPE html><title>403</title>", "not-a-model", "web page"),
        ("model.keras", b'{"message": "Not Found"}', "not-a-model", "web page"),
        ("model.h5", b"\x1f\x8b\x08" + b"x" * 80, "not-a-model", "gzip"),
        ("model.h5", b"\x28\xb5\x2f\xfd" + b"x" * 80, "not-a-model", "zstd"),
        ("model.h5", HDF5[1:].replace(b"HDF\r\n\x1a\n", b"\x89HDF\r\r\n\x1a\r\n"), "not-a-model", "CRLF"),
        ("model.h5", b"\x89HDF\n\x1a\n" + b"x" * 80, "not-a-model", "text-mode"),
        ("model.h5", zipped("a.npy", "b.npy"), "not-a-model", "NumPy"),
        ("model.h5", zipped("archive/data.pkl"), "not-a-model", "PyTorch"),
        ("model.h5", b"\x00" * 5000, "zero-filled", "zeros"),
        ("model.h5", b"\x88HDF\r\n\x1a\n" + b"\x07" * 90 + b"TREE", "hdf5-damaged", "structures"),
        ("model.h5", b"\xfe" * 90, "not-a-model", "no known format"),
        ("model.keras", b"\x00" * 90, "zero-filled", "zeros"),
        ("model.keras", zipped("metadata.json", "config.json")[:120], "zip-damaged", "cut off"),
        ("model.zip.h5", zipped("other.txt")[:60], "zip-damaged", "cut off"),
        ("ckpt-1.index", table(b"\x08\x01")[:-1], "index-damaged", "does not end like an index"),
        ("ckpt-1.index", b"\x00" * 100, "index-damaged", "zeros"),
        ("book.index", b"apple 3\nbear 7\n", "not-a-model", "text"),
    ],
)
def test_a_broken_promise_is_named(tmp_path: Path, name: str, data: bytes, code: str, words: str) -> None:
    seen = sniff(put(tmp_path, name, data))
    assert seen.code == code
    assert seen.kind == promise(name)
    assert words in seen.reason
    assert seen.evidence["bytes"] == len(data)


def test_a_cut_off_archive_is_known_by_its_first_member_whatever_its_name(tmp_path: Path) -> None:
    seen = sniff(put(tmp_path, "download.bin", zipped("metadata.json", "config.json")[:100]))
    assert (seen.kind, seen.code) == ("keras-archive", "zip-damaged")


def test_an_archive_of_seventy_thousand_members_is_listed(tmp_path: Path) -> None:
    names = [f"assets/{number}" for number in range(70_000)] + ["config.json"]
    with zipfile.ZipFile(tmp_path / "many.keras", "w") as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), b"")
    seen = sniff(str(tmp_path / "many.keras"))
    assert (seen.kind, seen.code) == ("keras-archive", None)


def test_an_lfs_pointer_says_which_file_is_wanted(tmp_path: Path) -> None:
    evidence = sniff(put(tmp_path, "m.h5", LFS)).evidence
    assert evidence["size"] == 872856
    assert str(evidence["sha256"]).startswith("4d7a2146")


def safetensors() -> bytes:
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    return struct.pack("<Q", len(header)) + header + b"\x00" * 4


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("model.tflite", b"\x1c\x00\x00\x00TFL3" + b"\x00" * 40, "TensorFlow Lite"),
        ("model.safetensors", safetensors(), "safetensors"),
        ("model.gguf", b"GGUF\x03\x00\x00\x00" + b"\x00" * 40, "GGUF"),
        ("model.pt", zipped("archive/data.pkl", "archive/data/0"), "PyTorch"),
        ("old.pth", magic.PYTORCH_PICKLE + b"." * 20, "PyTorch"),
        ("net.onnx", b"\x08\x07\x12\x07pytorch:\x00", "ONNX"),
        ("model.json", b'{"format": "layers-model", "weightsManifest": []}', "TensorFlow.js"),
        ("frozen.pb", b"\x0a\x1c\x0a\x01X\x12\x0bPlaceholder" + b"*" * 20, "GraphDef"),
    ],
)
def test_other_frameworks_are_named(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    seen = sniff(put(tmp_path, name, data))
    assert (seen.kind, seen.code) == (None, "unsupported-format")
    assert words in seen.looks_like


def test_what_promises_nothing_and_holds_nothing_is_passed_silently(tmp_path: Path) -> None:
    tarred = io.BytesIO()
    with tarfile.open(fileobj=tarred, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("x"), io.BytesIO())
    for name, data in [
        ("readme.md", b"# hello\n"),
        ("empty", b""),
        ("page.html", b"<html></html>"),
        ("image.png", b"\x89PNG\r\n\x1a\n"),
        ("data.zip", zipped("a.txt")),
        ("weights.npz", zipped("a.npy")),
        ("x.tar", tarred.getvalue()),
        ("events.out.tfevents.1", b"\x18" + b"\x00" * 60),
        ("random.bin", bytes(range(256)) * 20),
    ]:
        seen = sniff(put(tmp_path, name, data))
        assert (seen.kind, seen.code) == (None, None), name


def test_special_files_never_block(tmp_path: Path) -> None:
    fifo = tmp_path / "model.h5"
    os.mkfifo(fifo)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(tmp_path / "s.h5"))
    start = time.monotonic()
    assert sniff(str(fifo)).looks_like == "FIFO"
    assert sniff("/dev/zero").looks_like == "device"
    assert sniff(str(tmp_path)).looks_like == "folder"
    assert sniff(str(tmp_path / "s.h5")).code == "unreadable"
    assert sniff(str(tmp_path / "nothing.h5")).code == "unreadable"
    assert sniff("bad\x00name.h5").code == "unreadable"
    assert time.monotonic() - start < 30
    sock.close()


def test_every_cut_of_an_archive_gets_an_answer(tmp_path: Path) -> None:
    whole = zipped("metadata.json", "config.json", "model.weights.h5")
    for cut in range(len(whole)):
        seen = sniff(put(tmp_path, "m.keras", whole[:cut]))
        assert seen.kind == "keras-archive"
        assert seen.code in ("zip-damaged", "empty-file", "not-a-model"), cut


def test_a_huge_sparse_file_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "big.h5"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert sniff(str(path)).code == "zero-filled"


@needs_corpus
def test_corpus_kinds() -> None:
    expected = {
        "fer2013-sequence/fer2013_mini_XCEPTION.05-0.56.hdf5": "keras-h5",
        "pypi-textgenrnn/textgenrnn/textgenrnn_weights.hdf5": "keras-weights",
        "jhdf/fletcher32_datasets_latest.hdf5": "hdf5",
        "hdf5-cve/cve-2018-17438": "hdf5",
        "mnist-cnn-keras/model.keras": "keras-archive",
        "sugyan-mnist/convolutional.ckpt.index": "tf-checkpoint",
        "tfx-taxi-savedmodel/variables/variables.index": "tf-checkpoint",
        "serving/bad_half_plus_two/00000123/export": "tf-checkpoint-v1",
        "serving-v1-bundle/00000123/export-00000-of-00001": "tf-checkpoint-v1",
        "tf-bert-graph/saved_model.pb": "saved-model",
        "hdf5-cve/README.md": None,
        "tf-profiler-ckpt/run_meta": None,
        "tf-proto-splitter/split-standard.cpb": None,
    }
    for name, kind in expected.items():
        assert sniff(str(CORPUS / name)).kind == kind, name
