"""V1 checkpoints whose file is something else by now: known by the meta graph beside it, by file and by folder."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui.cli import run
from tests.damaged.asking import ask_tensorflow
from tests.damaged.conftest import Oracle
from tests.readers import make_v1 as v1
from tests.readers.protos import graph, meta_graph, node

NAME = "model.ckpt-7"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"d" * 64 + b"\nsize 99\n"
VALUES = {f"w{n}": np.random.default_rng(n).normal(size=(40, 50)).astype("f4") for n in range(4)}
META = meta_graph(graph(*(node(f"w{n}", "VariableV2") for n in range(4))))
LOST: dict[str, tuple[Callable[[bytes], bytes], str, dict[str, Any]]] = {
    "empty": (lambda data: b"", "empty-file", {"found": 0}),
    "pointer": (lambda data: LFS, "not-a-model", {"looks_like": "git-lfs pointer", "size": 99, "sha256": "d" * 64}),
    "page": (lambda data: b"<html><p>404", "not-a-model", {"looks_like": "web page or error message"}),
    "gzip": (gzip.compress, "not-a-model", {"looks_like": "gzip archive"}),
    "crlf": (lambda data: data.replace(b"\n", b"\r\n"), "not-a-model", {"text_mangled": "crlf"}),
}


def asked(path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    code = run(["check", str(path), "--json"])
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert code == 1, document
    return document


@pytest.mark.parametrize("shards", [False, True], ids=["one", "sharded"])
@pytest.mark.parametrize("what", LOST)
def test_it_is_told_what_stands_in_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str, shards: bool
) -> None:
    change, code, facts = LOST[what]
    file = tmp_path / (f"{NAME}-00000-of-00001" if shards else NAME)
    file.write_bytes(change(v1.v1_file(VALUES)))
    (tmp_path / f"{NAME}.meta").write_bytes(META)
    for path in (file, tmp_path):
        document = asked(path, capsys)
        assert [artifact["kind"] for artifact in document["artifacts"]] == ["tf-checkpoint-v1"]
        (finding,) = document["findings"]
        assert (finding["code"], finding["evidence"]["file"]) == (code, str(file))
        assert {name: finding["evidence"].get(name) for name in facts} == facts


@pytest.mark.parametrize("what", ["empty", "pointer", "crlf"])
def test_tensorflow_says_what_we_quote(
    tensorflow: Oracle, tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    file = tmp_path / NAME
    file.write_bytes(LOST[what][0](v1.v1_file(VALUES)))
    (tmp_path / f"{NAME}.meta").write_bytes(META)
    (finding,) = asked(file, capsys)["findings"]
    answers = ask_tensorflow(tensorflow, [str(file)])[str(file)]
    assert any(finding["evidence"]["tensorflow_says"] in text for text in answers.values()), answers


def test_other_files_beside_a_meta_graph_are_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / f"{NAME}.meta").write_bytes(META)
    (tmp_path / "notes").write_text("hello")
    (tmp_path / "model.ckpt-8.bak").write_bytes(b"")
    assert run(["check", str(tmp_path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [artifact["kind"] for artifact in document["artifacts"]] == ["meta-graph"]
    assert document["findings"] == []
