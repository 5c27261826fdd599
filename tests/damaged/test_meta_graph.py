"""Damaged .meta files: told on the checkpoint beside them, and on themselves."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ckptui.readers.meta_graph import MetaGraphFile, check_beside
from ckptui.session import Session
from tests.damaged.conftest import Oracle
from tests.readers.make_bundle import write_bundle
from tests.readers.test_meta_graph import TENSORS, meta

CASES = {
    "cut": (meta()[:-30], "graph-damaged"),
    "zeros": (meta()[:100] + bytes(200), "zero-filled"),
    "page": (b"<!DOCTYPE html><html><title>404</title></html>", "not-a-model"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 7\n", "not-a-model"),
    "empty": (b"", "empty-file"),
}


@pytest.mark.parametrize("case", sorted(CASES))
def test_each_damage_has_its_name_on_the_checkpoint(tmp_path: Path, case: str) -> None:
    data, code = CASES[case]
    path = write_bundle(tmp_path / "m.ckpt-3", TENSORS)
    (tmp_path / "m.ckpt-3.meta").write_bytes(data)
    found = check_beside(path, "tf-checkpoint")
    assert [(f.code, f.artifact, f.evidence["file"]) for f in found] == [(code, path, f"{path}.meta")]
    assert [f.code for f in MetaGraphFile(f"{path}.meta").findings] == [code]


def test_a_cut_says_where_and_what_import_meta_graph_says(tmp_path: Path) -> None:
    data = meta()
    (tmp_path / "m.meta").write_bytes(data[:-30])
    (found,) = MetaGraphFile(str(tmp_path / "m.meta")).findings
    assert 0 < found.evidence["offset"] < len(data) - 30
    assert (found.evidence["expected"], found.evidence["found"]) == (len(data), len(data) - 30) or found.evidence[
        "expected"
    ] > found.evidence["found"]
    assert found.evidence["tensorflow_says"] == "'utf-8' codec can't decode byte"


def test_a_flipped_bit_in_a_name_is_no_other_graph(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "m", TENSORS)
    data = meta()
    place = data.rindex(b"dense/kernel") + 6
    broken = bytearray(data)
    broken[place] ^= 1
    (tmp_path / "m.meta").write_bytes(broken)
    (found,) = check_beside(path, "tf-checkpoint")
    assert found.code == "graph-damaged"
    assert (found.evidence["expected"], found.evidence["found"]) == ("dense/kernel", "dense/jernel")
    assert found.evidence["tensorflow_says"] == "Key dense/jernel not found in checkpoint"


def test_a_check_reads_it_and_a_listing_does_not(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "m.ckpt-3", TENSORS)
    (tmp_path / "m.ckpt-3.meta").write_bytes(meta()[:-30])
    with Session() as session:
        listing = session.open(path)
        assert (listing.findings, listing.artifact.status) == ((), "ok")
        assert [f.code for f in session.verify(listing)] == ["graph-damaged"]
        (tmp_path / "m.ckpt-3.meta").unlink()
        assert session.verify(listing) == []


def test_every_truncation_and_every_flip_ends_in_findings_or_in_a_graph(tmp_path: Path) -> None:
    data = meta()
    path = write_bundle(tmp_path / "m", TENSORS)
    target = tmp_path / "m.meta"
    cuts: Counter[str] = Counter()
    for length in range(len(data)):
        target.write_bytes(data[:length])
        found = check_beside(path, "tf-checkpoint")
        cuts["+".join(sorted({f.code for f in found})) or "nothing"] += 1
    flips: Counter[str] = Counter()
    for place in range(len(data)):
        for bit in range(8):
            broken = bytearray(data)
            broken[place] ^= 1 << bit
            target.write_bytes(broken)
            found = check_beside(path, "tf-checkpoint")
            flips["+".join(sorted({f.code for f in found})) or "nothing"] += 1
    print(f"{len(data)} truncations: {dict(cuts)}; {8 * len(data)} flipped bits: {dict(flips)}")
    # a cut between two fields leaves a smaller message, which nothing tells from a whole one
    assert cuts["nothing"] < 12
    assert set(cuts) <= {"nothing", "graph-damaged", "empty-file", "not-a-model"}
    assert set(flips) <= {"nothing", "graph-damaged", "graph-variables-mismatch", "not-a-model"}


@pytest.mark.tensorflow
def test_tensorflow_says_so(tensorflow: Oracle, tmp_path: Path) -> None:
    info = meta()
    # a first length above 127, as every real one has, is no text
    padded = b"\x0a\xab\x02" + info[2 : 2 + info[1]].ljust(0x12B, b"\0") + info[2 + info[1] : -30]
    (tmp_path / "m.meta").write_bytes(padded)
    (found,) = MetaGraphFile(str(tmp_path / "m.meta")).findings
    kind, _, words = tensorflow("import_meta_graph", str(tmp_path / "m.meta")).partition(" ")
    assert kind == "UnicodeDecodeError"
    assert found.evidence["tensorflow_says"] in words
