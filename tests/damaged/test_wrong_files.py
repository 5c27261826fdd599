"""Files whose name lies: empty, zeros, archives, pointers, pages, text copies; told alike by folder and by file."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui.checking import check
from tests.contract import problems
from tests.places import SAMPLES, needs_samples
from tests.readers.make_bundle import write_bundle
from tests.readers.saves import Walk, checkpoint, keras_zip

pytestmark = needs_samples

Change = Callable[[bytes, str], bytes]
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"ab" * 32 + b"\nsize 12345\n"
PAGE = b"<!DOCTYPE html><html><head><title>404 Not Found</title></head></html>\n"


def packed(data: bytes, name: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, data)
    return out.getvalue()


def tarred(data: bytes, name: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


CHANGES: dict[str, Change] = {
    "empty": lambda data, name: b"",
    "zeros": lambda data, name: bytes(len(data)),
    "gzip": lambda data, name: gzip.compress(data),
    "bzip2": lambda data, name: bz2.compress(data),
    "xz": lambda data, name: lzma.compress(data),
    "tar": tarred,
    "zip": packed,
    "page": lambda data, name: PAGE,
    "answer": lambda data, name: b'{"error": "the link has expired"}',
    "pointer": lambda data, name: POINTER,
    "words": lambda data, name: b"these are only words\n" * 40,
    "crlf": lambda data, name: data.replace(b"\n", b"\r\n"),
    "seven-bit": lambda data, name: bytes(byte & 0x7F for byte in data),
    "utf-8": lambda data, name: data.decode("latin-1").encode(),
    "replaced": lambda data, name: data.decode("utf-8", "replace").encode(),
}

LOOKS = {
    "gzip": "gzip archive",
    "bzip2": "bzip2 archive",
    "xz": "xz archive",
    "tar": "tar archive",
    "zip": "zip archive",
    "page": "web page or error message",
    "answer": "web page or error message",
    "pointer": "git-lfs pointer",
    "words": "text",
    "empty": "empty file",
}
HDF5_LOOKS = {
    "crlf": "CRLF",
    "seven-bit": "eighth bits",
    "utf-8": "UTF-8",
    "replaced": "UTF-8",
    "zeros": "zeros",
}
INDEX_LOOKS = {"seven-bit": "eighth bits", "utf-8": "text", "replaced": "decoded as text"}

SOURCES = {"m.h5": "digits.h5", "m.weights.h5": "digits.weights.h5", "m.keras": "digits.keras"}


def make(folder: Path, name: str, change: str) -> Path:
    """A folder with one save whose file `name` is something else; returns what a user would name."""
    place = folder / name / change
    place.mkdir(parents=True)
    if name in SOURCES:
        file = argument = place / name
        shutil.copy(SAMPLES / SOURCES[name], file)
    elif name == "saved_model.pb":
        argument = place / "export"
        shutil.copytree(SAMPLES / "digits_saved_model", argument)
        file = argument / name
    else:
        rng = np.random.default_rng(5)
        tensors = {f"w{n}/kernel": rng.normal(size=(64, 33)).astype("f4") for n in range(3)}
        argument = Path(write_bundle(place / "ckpt-1", tensors))
        file = place / name
    file.write_bytes(CHANGES[change](file.read_bytes(), file.name))
    return argument


def document(*paths: Path) -> dict[str, Any]:
    done: dict[str, Any] = json.loads(json.dumps(check([str(path) for path in paths], quick=True).document()))
    assert problems(done) == []
    return done


def rows() -> Iterator[tuple[str, str, str, str]]:
    """(file, change, code, word in looks_like) for every file that the first bytes decide about."""
    for name in SOURCES:
        for change in CHANGES:
            if name == "m.keras" and change not in LOOKS:
                continue  # members and headers decide
            code = "empty-file" if change == "empty" else "not-a-model"
            word = LOOKS.get(change) or HDF5_LOOKS[change]
            yield name, change, "zero-filled" if change == "zeros" else code, word
    for change in (*LOOKS, *INDEX_LOOKS):
        code = "empty-file" if change == "empty" else "not-a-model"
        yield "ckpt-1.index", change, code, LOOKS.get(change) or INDEX_LOOKS[change]
    for change in LOOKS:
        code = "empty-file" if change == "empty" else "not-a-model"
        yield "saved_model.pb", change, code, LOOKS[change]
    for change in ("empty", "gzip", "bzip2", "xz", "tar", "zip", "page", "answer", "pointer"):
        code = "empty-file" if change == "empty" else "not-a-model"
        yield "ckpt-1.data-00000-of-00001", change, code, LOOKS[change] if change != "empty" else ""


def test_every_file_that_is_something_else_is_told_once_by_folder_and_by_file(tmp_path: Path) -> None:
    cases = list(rows())
    arguments = [make(tmp_path, name, change) for name, change, *_ in cases]
    for paths in ([tmp_path], arguments):
        by_path: dict[str, list[dict[str, Any]]] = {}
        done = document(*paths)
        assert len(done["artifacts"]) == len(cases)
        assert {a["status"] for a in done["artifacts"]} == {"error"}
        for finding in done["findings"]:
            by_path.setdefault(finding["artifact"], []).append(finding)
        wrong = []
        for (name, change, code, word), argument in zip(cases, arguments, strict=True):
            found = by_path.get(str(argument), [])
            looks = [str(f["evidence"].get("looks_like", "")) for f in found]
            if [f["code"] for f in found] != [code] or word not in looks[0]:
                wrong.append((name, change, [(f["code"], look) for f, look in zip(found, looks, strict=True)]))
        print(f"{len(cases)} files that are something else: {len(cases) - len(wrong)} told with one finding")
        assert wrong == [], wrong


@pytest.mark.parametrize("name", ["m.h5", "ckpt-1.index", "saved_model.pb", "ckpt-1.data-00000-of-00001"])
def test_a_pointer_tells_the_size_of_the_real_file(tmp_path: Path, name: str) -> None:
    [finding] = document(make(tmp_path, name, "pointer"))["findings"]
    assert finding["evidence"]["size"] == 12345
    assert finding["evidence"]["sha256"] == "ab" * 32
    assert "git lfs pull" in finding["advice"]


def test_shards_that_no_index_names_are_told(tmp_path: Path) -> None:
    prefix = write_bundle(tmp_path / "ckpt-1", {"w": np.ones((4, 4), "f4")})
    (tmp_path / "ckpt-1.data-00001-of-00002").write_bytes(b"x" * 64)
    done = document(tmp_path)
    assert [(f["code"], f["severity"], f["artifact"]) for f in done["findings"]] == [
        ("orphan-shard", "warning", prefix)
    ]
    assert "ckpt-1.data-00001-of-00002" in str(done["findings"][0]["evidence"]["files"])
    assert document(Path(prefix))["findings"][0]["code"] == "orphan-shard"


def test_an_export_in_chunks_is_a_saved_model(tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "saved_model.cpb").write_bytes(b"\x81\x00\x00\x00" * 16)
    checkpoint(tmp_path / "export" / "variables" / "variables")
    walk = Walk(tmp_path)
    assert {path: found.kind for path, found in walk.saves.items()} == {str(tmp_path / "export"): "saved-model"}


def test_archives_inside_which_readers_find_the_save_are_still_archives(tmp_path: Path) -> None:
    for name in ("m.h5", "m.keras"):
        argument = make(tmp_path, name, "tar")
        done = document(argument)
        [finding] = done["findings"]
        assert (finding["code"], finding["evidence"]["looks_like"]) == ("not-a-model", "tar archive")
        assert "with the save inside" in finding["detail"]
        assert done["artifacts"][0]["tensors"] > 0


def test_healthy_files_of_every_kind_are_what_they_say(tmp_path: Path) -> None:
    for name, source in SOURCES.items():
        shutil.copy(SAMPLES / source, tmp_path / name)
    shutil.copytree(SAMPLES / "digits_saved_model", tmp_path / "export")
    write_bundle(tmp_path / "ckpt-1", {"w": np.ones((4, 4), "f4")})
    keras_zip(tmp_path / "hollow.keras")
    done = document(tmp_path)
    alarmed = {os.path.basename(f["artifact"]) for f in done["findings"]}
    assert alarmed == {"hollow.keras"}
    assert len(done["artifacts"]) == 6
