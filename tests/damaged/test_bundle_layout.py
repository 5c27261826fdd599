"""Data files whose index is lost, read by the layout of a sibling's index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui.errors import Damaged, NoSuchPath
from ckptui.readers.bundle import open_bundle
from ckptui.readers.bundle_layout import open_bundle_with_layout
from tests.readers.make_bundle import GRAPH_KEY, Node, Stored, Tiled, graph, strings, variants_payload, write_bundle

Values = dict[str, Any]


def save(step: int) -> Values:
    """A step of a small model; the words and the iterator grow with it, the table is frozen."""
    raw, crc = variants_payload([b"element" * (step + 1), b""])
    return {
        "frozen": np.arange(6, dtype=np.int32),
        "kernel": np.full((3, 4), step, np.float32),
        "words": strings([b"w" * step, b"x"]),
        "bias": np.full(4, -step, np.float32),
        "iterator": Stored("variant", (2,), raw, crc),
        "rows": Tiled(np.full((6, 2), step, np.float32), [[(0, 4), (0, -1)], [(4, 2), (0, -1)]]),
        GRAPH_KEY: graph([Node({"child": 1}, [("VARIABLE_VALUE", f"own/name/{'n' * step}", "kernel")]), Node()]),
    }


def pair(folder: Path, shards: int = 1, values: Values | None = None) -> tuple[str, str]:
    sibling = write_bundle(folder / "ckpt-1", save(1), shards=shards)
    lost = write_bundle(folder / "ckpt-9", values or save(9), shards=shards)
    Path(f"{lost}.index").unlink()
    return lost, sibling


@pytest.mark.parametrize("shards", [1, 3])
def test_every_tensor_reads_from_its_own_place(tmp_path: Path, shards: int) -> None:
    lost, sibling = pair(tmp_path, shards)
    bundle = open_bundle_with_layout(lost, sibling)
    found = bundle.listing()
    by_name = {tensor.name: tensor for tensor in found.tensors}
    assert {tensor.problem for tensor in found.tensors} == {""}
    for name, value in save(9).items():
        if isinstance(value, np.ndarray):
            assert bundle.array(by_name[name]).tolist() == value.tolist(), name
    assert bundle.array(by_name["words"]).tolist() == [b"w" * 9, b"x"]
    assert bundle.array(by_name["rows"]).tolist() == np.full((6, 2), 9).tolist()
    assert bundle.array(by_name["iterator"]).tolist() == [b"element" * 10, b""]
    assert by_name["kernel"].object_path == "own/name/nnnnnnnnn"
    assert [(f.code, f.tensor) for f in found.findings] == [("index-missing", None)]
    assert found.findings[0].evidence["layout"] == f"{sibling}.index"
    assert all(fit.whole for fit in bundle.fits.values())
    moved = {name: by for fit in bundle.fits.values() for name, by in fit.moved.items()}
    assert moved["words"] == 8
    assert set(moved) == {"words", "iterator", GRAPH_KEY}
    assert found.artifact.bytes == sum(path.stat().st_size for path in tmp_path.glob("ckpt-9.data*"))


def test_no_checksum_is_claimed_and_the_siblings_are_kept_aside(tmp_path: Path) -> None:
    lost, sibling = pair(tmp_path)
    bundle = open_bundle_with_layout(lost, sibling)
    tensors = {tensor.name: tensor for tensor in bundle.listing().tensors}
    assert all(tensor.storage.crc32c is None for tensor in tensors.values())
    assert {tile.crc32c for tile in tensors["rows"].storage.slices} == {None}
    stored = {tensor.name: tensor.storage for tensor in open_bundle(sibling).listing().tensors}
    assert bundle.sibling_crcs == {name: of.crc32c for name, of in stored.items() if not of.slices}
    assert bundle.sibling_tile_crcs == {"rows": tuple(tile.crc32c for tile in stored["rows"].slices)}


def test_a_string_tensor_that_can_not_be_measured_puts_all_behind_it_in_doubt(tmp_path: Path) -> None:
    lost, sibling = pair(tmp_path)
    data = Path(f"{lost}.data-00000-of-00001")
    raw = bytearray(data.read_bytes())
    raw[24 + 48] ^= 1
    data.write_bytes(raw)
    bundle = open_bundle_with_layout(lost, sibling)
    found = bundle.listing()
    problems = {tensor.name: tensor.problem for tensor in found.tensors}
    assert problems["frozen"] == problems["kernel"] == ""
    assert problems["words"] == "its lengths are not where the layout puts it"
    assert problems["bias"] == "it lies behind words, whose length is not known"
    assert not bundle.fits[0].whole
    assert ("entry-invalid", "words") in [(f.code, f.tensor) for f in found.findings]
    assert bundle.array(next(t for t in found.tensors if t.name == "kernel")).mean() == 9


def test_a_cut_data_file_names_the_tensors_it_costs(tmp_path: Path) -> None:
    values = {name: np.full((10, 10), 3, np.float32) for name in "abc"}
    sibling = write_bundle(tmp_path / "ckpt-1", values)
    lost = write_bundle(tmp_path / "ckpt-2", values)
    Path(f"{lost}.index").unlink()
    data = Path(f"{lost}.data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:1000])
    found = open_bundle_with_layout(lost, sibling).listing()
    assert [(f.code, f.tensor) for f in found.findings] == [("index-missing", None), ("shard-truncated", "c")]
    assert found.findings[1].evidence["bytes_missing"] == 200
    assert "does not fit" in found.findings[0].detail


def test_what_can_not_be_used_is_refused(tmp_path: Path) -> None:
    lost, sibling = pair(tmp_path)
    other = write_bundle(tmp_path / "two", save(2), shards=2)
    with pytest.raises(Damaged, match="describes 2 data files"):
        open_bundle_with_layout(lost, other)
    with pytest.raises(NoSuchPath):
        open_bundle_with_layout(str(tmp_path / "absent"), sibling)
    with pytest.raises(NoSuchPath):
        open_bundle_with_layout(lost, str(tmp_path / "absent"))
    Path(f"{sibling}.index").write_bytes(b"<html>" * 20)
    with pytest.raises(Damaged, match="nothing can be read"):
        open_bundle_with_layout(lost, sibling)
