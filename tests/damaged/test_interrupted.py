"""Saves that did not finish, at every stage that a writer goes through, and what still reads."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from crc32c import crc32c

from ckptui.core.model import Finding
from ckptui.errors import NoSuchPath
from ckptui.readers.bundle import open_bundle
from ckptui.readers.bundle_layout import open_bundle_with_layout
from ckptui.readers.discover import discover
from tests import warm_tensorflow
from tests.damaged.half_saves import (
    age,
    in_parts,
    interrupted,
    low_level,
    merged_index,
    open_aged,
    part,
    reads,
    rename_data,
    stages,
    values,
)
from tests.places import ROOT
from tests.readers.make_bundle import entry, header, slice_key, table, write_bundle

WHOLE = [(0, 4), (4, 2)]
"""First row and rows of each tile of `rows`."""


# -- a single SaveV2


def test_data_being_written(tmp_path: Path) -> None:
    prefix = low_level(tmp_path)
    Path(f"{prefix}.index").unlink()
    data = Path(f"{prefix}.data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:40])
    data.rename(f"{data}.tempstate1234567890")
    _, found = open_aged(prefix)
    assert stages(found) == [("index-missing", None), ("interrupted-save", "data-being-written")]
    assert interrupted(found).evidence["files"] == [f"{data}.tempstate1234567890"]
    assert found.tensors == [] or len(found.tensors) == 0
    assert found.artifact.status == "error"


def test_data_being_written_reads_by_a_siblings_layout(tmp_path: Path) -> None:
    low_level(tmp_path, 1, "ckpt-1")
    prefix = low_level(tmp_path, 2, "ckpt-2")
    Path(f"{prefix}.index").unlink()
    data = Path(f"{prefix}.data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:100])
    data.rename(f"{data}.tempstate77")
    bundle = open_bundle_with_layout(prefix, str(tmp_path / "ckpt-1"))
    found = bundle.listing()
    problems = {t.name: bool(t.problem) for t in found.tensors}
    assert problems == {"a/kernel": False, "b/bias": False, "words": True, "z/kernel": True}
    assert bundle.array(found.tensors[0]).mean() == 2


def test_data_complete_and_no_index_begun(tmp_path: Path) -> None:
    low_level(tmp_path, 1, "ckpt-0")
    prefix = low_level(tmp_path)
    Path(f"{prefix}.index").unlink()
    _, found = open_aged(prefix)
    assert stages(found) == [("index-missing", None)]
    assert found.findings[0].evidence["siblings"] == [str(tmp_path / "ckpt-0")]


@pytest.mark.parametrize("kept", [0, 60])
def test_index_being_written(tmp_path: Path, kept: int) -> None:
    prefix = low_level(tmp_path)
    index = Path(f"{prefix}.index")
    index.write_bytes(index.read_bytes()[:kept])
    index.rename(f"{index}.tempstate99")
    _, found = open_aged(prefix)
    assert stages(found) == [("index-missing", None), ("interrupted-save", "index-being-written")]
    assert len(found.tensors) == (1 if kept else 0)
    assert found.findings[0].evidence["rescue"] == [f"{index}.tempstate99"]


def test_index_complete_but_not_renamed(tmp_path: Path) -> None:
    prefix = low_level(tmp_path)
    Path(f"{prefix}.index").rename(f"{prefix}.index.tempstate99")
    found = reads(prefix, values())
    assert stages(found) == [("index-missing", None), ("interrupted-save", "index-complete")]
    assert interrupted(found).evidence["rescue"] == f"{prefix}.index.tempstate99"
    assert found.artifact.bytes == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_of_several_temporary_indexes_the_newest_whole_one_counts(tmp_path: Path) -> None:
    prefix = low_level(tmp_path)
    whole = Path(f"{prefix}.index").read_bytes()
    Path(f"{prefix}.index").rename(f"{prefix}.index.tempstate1")
    for number, raw in (2, whole), (3, whole[:50]):
        Path(f"{prefix}.index.tempstate{number}").write_bytes(raw)
    for number in 1, 2, 3:
        os.utime(f"{prefix}.index.tempstate{number}", (1e9 + number, 1e9 + number))
    found = open_bundle(prefix).listing()
    assert interrupted(found).evidence["rescue"] == f"{prefix}.index.tempstate2"
    assert len(found.tensors) == 4


# -- parts


def test_parts_whose_data_is_being_written(tmp_path: Path) -> None:
    prefix, _ = in_parts(tmp_path)
    part(prefix, 1, 3, ".index").unlink()
    data = part(prefix, 1, 3, ".data-00000-of-00001")
    data.rename(f"{data}.tempstate5")
    bundle, found = open_aged(prefix)
    assert stages(found) == [("index-missing", None), ("interrupted-save", "data-being-written")]
    evidence = interrupted(found).evidence
    assert (evidence["parts"], evidence["of"], evidence["indexed"]) == (3, 3, 2)
    assert [t.name for t in found.tensors] == ["a/kernel", "words", "z/kernel"]
    assert [bundle.array(t).size for t in found.tensors] == [12, 2, 4]


def test_a_part_that_was_not_begun(tmp_path: Path) -> None:
    prefix, _ = in_parts(tmp_path)
    part(prefix, 2, 3, ".index").unlink()
    part(prefix, 2, 3, ".data-00000-of-00001").unlink()
    bundle, found = open_aged(prefix)
    assert interrupted(found).evidence["stage"] == "data-being-written"
    assert [bundle.array(t).size for t in found.tensors] == [12, 5, 4]


def test_parts_whose_data_is_complete(tmp_path: Path) -> None:
    prefix, _ = in_parts(tmp_path, 1)
    part(prefix, 0, 1, ".index").unlink()
    _, found = open_aged(prefix)
    assert stages(found) == [("index-missing", None), ("interrupted-save", "data-complete")]
    sibling = low_level(tmp_path, 7, "ckpt-7")
    bundle = open_bundle_with_layout(prefix, sibling)
    assert bundle.array(bundle.listing().tensors[0]).mean() == 1


def test_parts_whose_index_is_being_written(tmp_path: Path) -> None:
    prefix, _ = in_parts(tmp_path, 2)
    index = part(prefix, 1, 2, ".index")
    index.write_bytes(index.read_bytes()[:30])
    index.rename(f"{index}.tempstate4")
    _, found = open_aged(prefix)
    assert interrupted(found).evidence["stage"] == "index-being-written"
    assert "a/kernel" in [t.name for t in found.tensors]


def test_parts_whose_index_is_complete_but_not_renamed(tmp_path: Path) -> None:
    prefix, kept = in_parts(tmp_path, 2)
    index = part(prefix, 1, 2, ".index")
    index.rename(f"{index}.tempstate4")
    found = reads(prefix, kept)
    assert interrupted(found).evidence["stage"] == "index-complete"


def test_a_folder_tells_the_stage_of_a_save_that_another_save_lies_beside(tmp_path: Path) -> None:
    low_level(tmp_path, 1, "ckpt-0")
    prefix, _ = in_parts(tmp_path, 1)
    index = part(prefix, 0, 1, ".index")
    stages_told = []
    for name in (str(index), f"{index}.tempstate4", ""):
        if name:
            index = index.rename(name)
        else:
            index.unlink()
        [told] = [item for item in discover([str(tmp_path)]) if isinstance(item, Finding)]
        stages_told.append(told.evidence["stage"])
    assert stages_told == ["parts-not-merged", "index-complete", "data-complete"]


@pytest.mark.parametrize("count", [1, 3])
def test_parts_not_merged(tmp_path: Path, count: int) -> None:
    prefix, kept = in_parts(tmp_path, count)
    found = reads(prefix, kept)
    assert stages(found) == [("index-missing", None), ("interrupted-save", "parts-not-merged")]
    evidence = interrupted(found).evidence
    assert evidence["entries_read"] == len(kept) + 1
    assert evidence["index_files"] == [str(part(prefix, n, count, ".index")) for n in range(count)]
    assert found.artifact.shards == count
    assert "check its checksums" in interrupted(found).advice


def test_some_shards_renamed(tmp_path: Path) -> None:
    prefix, kept = in_parts(tmp_path)
    rename_data(prefix, 3, [2, 0])
    found = reads(prefix, kept)
    assert stages(found) == [("index-missing", None), ("interrupted-save", "shards-being-renamed")]
    assert interrupted(found).evidence["data_in_parts"] == 1


@pytest.mark.parametrize("count", [1, 3])
def test_all_shards_renamed(tmp_path: Path, count: int) -> None:
    prefix, kept = in_parts(tmp_path, count)
    rename_data(prefix, count)
    found = reads(prefix, kept)
    assert stages(found) == [("index-missing", None), ("interrupted-save", "shards-renamed")]
    assert found.findings[0].evidence["rescue"] == [str(part(prefix, n, count, ".index")) for n in range(count)]


@pytest.mark.parametrize("count", [1, 3])
def test_final_index_half_written_at_every_length(tmp_path: Path, count: int) -> None:
    prefix, kept, raw = merged_index(tmp_path, count)
    for length in range(0, len(raw), 7):
        Path(f"{prefix}.index").write_bytes(raw[:length])
        found = reads(prefix, kept)
        first = "index-damaged" if length else "empty-file"
        assert stages(found) == [(first, None), ("interrupted-save", "index-half-written")], length
        assert found.findings[0].severity == "error"


@pytest.mark.parametrize("count", [1, 3])
def test_parts_left_beside_a_whole_save(tmp_path: Path, count: int) -> None:
    prefix, kept, raw = merged_index(tmp_path, count)
    Path(f"{prefix}.index").write_bytes(raw)
    found = reads(prefix, kept)
    assert stages(found) == [("interrupted-save", "parts-left")]
    assert found.artifact.status == "warning"
    part(prefix, 0, count, ".index").unlink()
    assert [f.code for f in reads(prefix, kept).findings] == (["interrupted-save"] if count > 1 else [])
    shutil.rmtree(f"{prefix}_temp")
    assert reads(prefix, kept).findings == ()


def test_a_damaged_index_of_another_save_is_not_taken_for_a_half_written_one(tmp_path: Path) -> None:
    prefix = low_level(tmp_path, 3)
    in_parts(tmp_path, 1, 9)
    index = Path(f"{prefix}.index")
    index.write_bytes(index.read_bytes()[:-20])
    bundle, found = open_aged(prefix)
    assert sorted(f.code for f in found.findings) == ["index-damaged", "interrupted-save"]
    assert "rescue" not in interrupted(found).evidence
    assert bundle.array(found.tensors[0]).mean() == 3


# -- a save over an earlier one


def test_an_earlier_save_stays_whole_until_its_data_is_replaced(tmp_path: Path) -> None:
    prefix = low_level(tmp_path, 3)
    in_parts(tmp_path, 1, 9)
    found = reads(prefix, values(3))
    assert stages(found) == [("interrupted-save", "parts-not-merged")]
    assert interrupted(found).evidence["over_earlier"] is True


def test_new_data_under_the_old_index_is_read_by_the_parts_index(tmp_path: Path) -> None:
    prefix = low_level(tmp_path, 3)
    in_parts(tmp_path, 1, 9)
    rename_data(prefix, 1)
    found = reads(prefix, values(9))
    assert stages(found) == [("index-data-mismatch", None), ("interrupted-save", "shards-renamed")]
    mixed = found.findings[0]
    assert mixed.severity == "error"
    assert mixed.evidence["rescue"] == str(part(prefix, 0, 1, ".index"))
    assert mixed.evidence["compared"] == 3
    data = Path(f"{prefix}.data-00000-of-00001")
    evidence = mixed.evidence
    place = slice(evidence["offset"], evidence["offset"] + evidence["bytes"])
    assert (evidence["data"], evidence["found"]) == (str(data), crc32c(data.read_bytes()[place]))
    assert evidence["expected"] != evidence["found"]
    assert f"shard 0 ({evidence['bytes']} bytes): Checksum does not match" in evidence["tensorflow_says"]
    assert evidence["tensorflow_says"].endswith(f"restored bytes {evidence['found']}")


def test_old_data_under_the_old_index_stays_what_it_is(tmp_path: Path) -> None:
    prefix = low_level(tmp_path, 3)
    in_parts(tmp_path, 1, 9)
    part(prefix, 0, 1, ".data-00000-of-00001").unlink()
    found = reads(prefix, values(3))
    assert [f.code for f in found.findings] == ["interrupted-save"]


# -- odds and ends


def test_the_folder_of_an_older_writer_has_a_number_in_its_name(tmp_path: Path) -> None:
    prefix, kept = in_parts(tmp_path)
    Path(f"{prefix}_temp").rename(f"{prefix}_temp_{'ab' * 16}")
    assert stages(reads(prefix, kept))[1] == ("interrupted-save", "parts-not-merged")


def test_a_save_that_may_be_running_is_told_so(tmp_path: Path) -> None:
    prefix, _ = in_parts(tmp_path)
    fresh = interrupted(open_bundle(prefix).listing())
    assert "may be running" in fresh.detail
    assert (fresh.evidence["kind"], fresh.evidence["running"]) == ("save", True)
    age(tmp_path)
    assert "may be running" not in interrupted(open_bundle(prefix).listing()).detail


def test_other_prefixes_do_not_share_leftovers(tmp_path: Path) -> None:
    in_parts(tmp_path, name="ckpt-1")
    low_level(tmp_path, name="ckpt-10")
    Path(f"{tmp_path}/ckpt-11.index.tempstate1").touch()
    assert open_bundle(str(tmp_path / "ckpt-10")).listing().findings == ()
    with pytest.raises(NoSuchPath):
        open_bundle(str(tmp_path / "ckpt"))


def test_tiles_of_a_partitioned_tensor_are_gathered_from_all_parts(tmp_path: Path) -> None:
    prefix = str(tmp_path / "ckpt-1")
    Path(f"{prefix}_temp").mkdir()
    whole = np.arange(12, dtype=np.float32).reshape(6, 2)
    for number, (first, rows) in enumerate(WHOLE):
        raw = whole[first : first + rows].tobytes()
        spec = [(first, rows), (0, -1)]
        items = [
            (b"", header()),
            (slice_key("rows", spec), entry(1, (rows, 2), 0, 0, len(raw), crc32c(raw))),
            (b"rows", entry(1, (6, 2), slices=[spec])),
        ]
        part(prefix, number, 2, ".index").write_bytes(table(items))
        part(prefix, number, 2, ".data-00000-of-00001").write_bytes(raw)
    bundle, found = open_aged(prefix)
    [tensor] = found.tensors
    assert bundle.array(tensor).tolist() == whole.tolist()
    assert stages(found)[1] == ("interrupted-save", "parts-not-merged")
    part(prefix, 1, 2, ".index").unlink()
    _, found = open_aged(prefix)
    assert found.tensors[0].problem == "its tiles cover 8 of 12 elements"


def test_a_name_in_two_parts_is_told(tmp_path: Path) -> None:
    prefix = str(tmp_path / "ckpt-1")
    Path(f"{prefix}_temp").mkdir()
    for number in range(2):
        write_bundle(part(prefix, number, 2, ""), {"same": np.full(3, number, np.float32)})
    bundle, found = open_aged(prefix)
    assert "duplicate-key" in [f.code for f in found.findings]
    assert bundle.array(found.tensors[0]).tolist() == [0, 0, 0]


@pytest.mark.parametrize("seed", range(20))
def test_garbled_leftovers_never_raise(tmp_path: Path, seed: int) -> None:
    draw = np.random.default_rng(seed)
    prefix, _ = in_parts(tmp_path)
    for path in sorted(Path(f"{prefix}_temp").iterdir()):
        raw = bytearray(path.read_bytes())
        for place in draw.integers(0, len(raw), draw.integers(0, 6)):
            raw[place] = draw.integers(0, 256)
        path.write_bytes(raw[: draw.integers(0, len(raw) + 1)] if draw.random() < 0.3 else raw)
    assert open_bundle(prefix).listing().findings


@pytest.mark.tensorflow
def test_parts_are_merged_as_tensorflow_merges_them(tmp_path: Path) -> None:
    child = Path(__file__).with_name("tensorflow_parts.py")
    warm_tensorflow.run([child, tmp_path], cwd=ROOT, check=True, timeout=200)
    before, after = (open_bundle(str(tmp_path / name / "ckpt-4")) for name in ("before", "after"))
    ours, theirs = before.listing(), after.listing()
    assert theirs.findings == ()
    assert stages(ours) == [("index-missing", None), ("interrupted-save", "parts-not-merged")]
    assert [(t.name, t.dtype, t.shape, t.bytes) for t in ours.tensors] == [
        (t.name, t.dtype, t.shape, t.bytes) for t in theirs.tensors
    ]
    places = [
        [(entry.shard, entry.offset, entry.size, entry.crc) for entry in bundle.index.entries[1:]]
        for bundle in (before, after)
    ]
    assert places[0] == places[1]
    for one, other in zip(ours.tensors, theirs.tensors, strict=True):
        assert before.array(one).tolist() == after.array(other).tolist()
    assert ours.artifact.shards == theirs.artifact.shards == 3
