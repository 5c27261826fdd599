"""Bundles whose files are missing, cut, padded or flipped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui.errors import Damaged, NoSuchPath
from ckptui.readers.bundle import open_bundle
from tests.readers.make_bundle import (
    GRAPH_KEY,
    Node,
    Tiled,
    graph,
    strings,
    write_bundle,
)
from tests.readers.test_bundle import KERNEL, TF1, codes, listing

# -- missing files


def test_nothing_there_is_no_such_path(tmp_path: Path) -> None:
    with pytest.raises(NoSuchPath):
        open_bundle(str(tmp_path / "ckpt-1"))


def test_data_without_an_index_is_told(tmp_path: Path) -> None:
    prefix = write_bundle(tmp_path / "ckpt-1", TF1)
    Path(f"{prefix}.index").unlink()
    found = listing(prefix)
    assert codes(found.findings) == ["index-missing"]
    assert found.findings[0].evidence["data_files"] == [f"{prefix}.data-00000-of-00001"]
    assert (len(found.tensors), found.artifact.status) == (0, "error")
    assert found.artifact.bytes > 0


@pytest.mark.parametrize("left", ["ckpt-1_temp/part-00000-of-00001.index", "ckpt-1.index.tempstate123"])
@pytest.mark.parametrize("final", ["absent", "empty"])
def test_the_index_of_an_interrupted_save_stands_in(tmp_path: Path, left: str, final: str) -> None:
    prefix = write_bundle(tmp_path / "ckpt-1", TF1)
    (tmp_path / left).parent.mkdir(exist_ok=True)
    Path(f"{prefix}.index").rename(tmp_path / left)
    if final == "empty":
        Path(f"{prefix}.index").touch()
    bundle = open_bundle(prefix)
    found = bundle.listing()
    assert codes(found.findings) == ["index-missing" if final == "absent" else "empty-file", "interrupted-save"]
    assert found.findings[1].evidence["rescue"] == str(tmp_path / left)
    assert np.array_equal(bundle.array(found.tensors[1]), KERNEL)


def test_pipes_and_folders_in_place_of_files_do_not_hang(tmp_path: Path) -> None:
    prefix = write_bundle(tmp_path / "ckpt-1", TF1)
    shard = Path(f"{prefix}.data-00000-of-00001")
    shard.unlink()
    os.mkfifo(shard)
    found = listing(prefix)
    assert codes(found.findings) == ["shard-missing"]
    assert found.findings[0].evidence["reason"] == "no regular file"
    Path(f"{prefix}.index").unlink()
    Path(f"{prefix}.index").mkdir()
    [finding] = listing(prefix).findings
    assert (finding.code, finding.evidence["looks_like"]) == ("not-a-model", "folder")


def test_a_missing_shard_is_one_finding_and_costs_its_own_tensors(tmp_path: Path) -> None:
    prefix = write_bundle(tmp_path / "x", TF1, shards=2)
    Path(f"{prefix}.data-00001-of-00002").rename(f"{prefix}.data-00001-of-00003")
    bundle = open_bundle(prefix)
    found = bundle.listing()
    [finding] = found.findings
    assert (finding.code, finding.evidence["tensors"]) == ("shard-missing", 3)
    assert finding.evidence["other_files"] == [f"{prefix}.data-00001-of-00003"]
    broken = [tensor for tensor in found.tensors if tensor.problem]
    assert {tensor.problem for tensor in broken} == {"shard 1 is missing"}
    assert len(broken) == 3
    with pytest.raises(Damaged) as caught:
        bundle.array(broken[0])
    assert caught.value.code == "shard-missing"
    for tensor in found.tensors:
        if not tensor.problem:
            bundle.array(tensor)


def test_a_bundle_of_empty_tensors_still_needs_its_shard(tmp_path: Path) -> None:
    prefix = write_bundle(tmp_path / "x", {"e": np.zeros((0, 3), np.float32)})
    assert listing(prefix).findings == ()
    Path(f"{prefix}.data-00000-of-00001").unlink()
    assert codes(listing(prefix).findings) == ["shard-missing"]


# -- cut and padded shards


def test_a_shard_cut_at_any_byte_names_exactly_the_tensors_it_costs(tmp_path: Path) -> None:
    prefix = write_bundle(tmp_path / "x", TF1)
    shard = Path(f"{prefix}.data-00000-of-00001")
    whole = shard.read_bytes()
    for length in range(1, len(whole)):
        shard.write_bytes(whole[:length])
        bundle = open_bundle(prefix)
        found = bundle.listing()
        cut = {}
        for tensor in found.tensors:
            segment = tensor.storage.segment
            assert segment is not None
            missing = segment.offset + segment.bytes - length
            if missing > 0:
                cut[tensor.name] = min(missing, segment.bytes)
            else:
                bundle.array(tensor)
            assert bool(tensor.problem) == (missing > 0)
        assert {f.tensor: f.evidence["bytes_missing"] for f in found.findings} == cut
        assert all(f.evidence["expected"] == len(whole) and f.evidence["found"] == length for f in found.findings)
    print(f"\n{len(whole) - 1} cuts")


def test_thousands_of_lost_tensors_are_counted_not_listed(tmp_path: Path) -> None:
    prefix = write_bundle(tmp_path / "x", {f"t{i:05d}": np.ones(1, np.float32) for i in range(3000)})
    os.truncate(f"{prefix}.data-00000-of-00001", 4000)
    found = listing(prefix)
    assert len(found.findings) == 201
    assert found.findings[-1].evidence == {"more": 1800, "count": 2000}
    Path(f"{prefix}.data-00000-of-00001").unlink()
    [finding] = listing(prefix).findings
    assert finding.evidence["tensors"] == 3000


def test_bytes_after_the_last_tensor_are_a_warning(tmp_path: Path) -> None:
    prefix = write_bundle(tmp_path / "x", TF1)
    with open(f"{prefix}.data-00000-of-00001", "ab") as file:
        file.write(b"more")
    found = listing(prefix)
    assert [(f.code, f.severity, f.evidence["bytes_extra"]) for f in found.findings] == [
        ("shard-oversized", "warning", 4)
    ]
    assert found.artifact.status == "warning"


# -- damage to the index


def test_every_flipped_bit_of_an_index_is_told_and_never_raises(tmp_path: Path) -> None:
    values: dict[str, Any] = {"a": Tiled(np.arange(4, dtype=np.int32), [[(0, 2)], [(2, 2)]]), "b/kernel": KERNEL}
    values |= {"w": strings([b"x"]), GRAPH_KEY: graph([Node({"a": 1}), Node()])}
    prefix = write_bundle(tmp_path / "x", values)
    index = Path(f"{prefix}.index")
    whole = index.read_bytes()
    readable = 0
    for bit in range(len(whole) * 8):
        raw = bytearray(whole)
        raw[bit // 8] ^= 1 << bit % 8
        index.write_bytes(raw)
        bundle = open_bundle(prefix)
        found = bundle.listing()
        assert found.findings, f"bit {bit} goes unnoticed"
        for tensor in found.tensors:
            try:
                readable += bundle.array(tensor).size > 0
            except Damaged:
                continue
    print(f"\n{len(whole) * 8} flipped bits, {readable} tensors read all the same")


def test_a_damaged_index_says_where_and_what_is_left(tmp_path: Path) -> None:
    prefix = write_bundle(tmp_path / "x", {f"t{i:03d}": np.ones(1, np.float32) for i in range(100)}, block_size=500)
    index = Path(f"{prefix}.index")
    raw = bytearray(index.read_bytes())
    raw[30] ^= 1
    index.write_bytes(raw)
    finding = listing(prefix).findings[0]
    assert (finding.code, finding.severity) == ("index-damaged", "error")
    assert finding.evidence["where"] == "data block"
    assert finding.evidence["offset"] == 0
    assert finding.evidence["expected"] != finding.evidence["found"]
    assert finding.evidence["entries_unproved"] < finding.evidence["entries_read"]
    index.write_bytes(index.read_bytes().replace(b"\xc0\xf2\xa1\xb0", b"\xc0\xf2\xa1\xb1"))


def test_cosmetic_damage_is_a_warning(tmp_path: Path) -> None:
    prefix = write_bundle(tmp_path / "x", TF1)
    index = Path(f"{prefix}.index")
    raw = bytearray(index.read_bytes())
    raw[-10] = 1
    index.write_bytes(raw)
    found = listing(prefix)
    [finding] = found.findings
    assert (finding.severity, finding.evidence["cosmetic"]) == ("warning", True)
    assert found.artifact.status == "warning"
