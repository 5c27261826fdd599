"""Checksums HDF5 files may have: Fletcher-32 of chunks, and those of newer headers."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from ckptui.errors import Damaged
from ckptui.readers.hdf5_chunks import fletcher32
from ckptui.readers.keras_h5 import open_h5
from tests.damaged.hdf5_faults import check, flipped, look, only, patched, roots, same, small_files


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return small_files(tmp_path_factory.mktemp("small"))


def test_fletcher32_is_the_sum_hdf5_stores(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    for count in (1, 2, 359, 360, 721, 100_000):
        path = tmp_path / "f.h5"
        values = rng.integers(0, 255, count).astype("u1")
        with h5py.File(path, "w") as file:
            made = file.create_dataset("x", data=values, chunks=(count,), fletcher32=True)
            info = made.id.get_chunk_info(0)
        raw = path.read_bytes()[info.byte_offset : info.byte_offset + info.size]
        assert fletcher32(raw[:-4]) == int.from_bytes(raw[-4:], "little"), count
    assert fletcher32(bytes(8)) == 0


@pytest.mark.parametrize("options", [{}, {"compression": "gzip"}, {"compression": "gzip", "shuffle": True}])
def test_a_chunk_with_a_wrong_checksum_is_named(tmp_path: Path, options: dict[str, object]) -> None:
    path = tmp_path / "f.h5"
    values = np.random.default_rng(4).normal(size=(60, 40)).astype("f4")
    with h5py.File(path, "w") as file:
        made = file.create_dataset("kernel", data=values, chunks=(20, 40), fletcher32=True, **options)
        file["other"] = values
        info = made.id.get_chunk_info(1)
    broken = flipped(path, tmp_path / "b.h5", info.byte_offset + info.size // 2)
    errors = [f for f in check(broken, path)["findings"] if f["severity"] == "error"]
    assert [(f["code"], f["artifact"]) for f in errors] == [("checksum-mismatch", str(broken))]
    finding = errors[0]
    evidence = finding["evidence"]
    assert (finding["tensor"], evidence["chunk"], evidence["chunks"]) == ("kernel", 1, 3)
    assert (evidence["offset"], evidence["bytes"]) == (info.byte_offset, info.size)
    assert evidence["chunk_start"] == [20, 0]
    assert evidence["chunk_shape"] == [20, 40]
    assert evidence["expected"] != evidence["found"]
    with h5py.File(broken, "r") as file, pytest.raises(OSError, match=r".") as error:
        file["kernel"][()]
    assert evidence["tensorflow_says"] in str(error.value)


def test_every_damaged_chunk_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "f.h5"
    with h5py.File(path, "w") as file:
        made = file.create_dataset("x", data=np.arange(1000, dtype="f8"), chunks=(100,), fletcher32=True)
        places = [made.id.get_chunk_info(n).byte_offset for n in (2, 7, 9)]
    data = bytearray(path.read_bytes())
    for place in places:
        data[place + 50] ^= 1
    path.write_bytes(data)
    with open_h5(path) as opened:
        tensor = opened.listing().tensors[0]
        with pytest.raises(Damaged) as error:
            opened.array(tensor)
    assert error.value.code == "checksum-mismatch"
    assert error.value.evidence["chunks_damaged"] == [2, 7, 9]
    assert (error.value.evidence["damaged"], error.value.evidence["chunks"]) == (3, 10)


def test_a_header_with_a_checksum_names_the_flipped_bit(files: dict[str, Path], tmp_path: Path) -> None:
    whole = files["latest"].read_bytes()
    _, values = look(files["latest"])
    with h5py.File(files["latest"], "r") as file:
        at = h5py.h5o.get_info(file["layers/dense/vars/0"].id).addr
    assert whole[at : at + 4] == b"OHDR"
    broken = flipped(files["latest"], tmp_path / "b.h5", at + 30, 0x20)
    listing, found = look(broken)
    cause = only(roots(listing))
    assert (cause.code, cause.evidence["structure"]) == ("hdf5-damaged", "object header")
    assert cause.evidence["offset"] == at + 30
    assert cause.evidence["object"] == "/layers/dense/vars/0"
    assert (cause.evidence["expected"], cause.evidence["found"]) == (
        f"{whole[at + 30]:02x}",
        f"{whole[at + 30] ^ 32:02x}",
    )
    assert found.keys() == values.keys()
    same(found, values)
    listing, found = look(patched(broken, tmp_path / "c.h5", at + 40, bytes([whole[at + 40] ^ 3])))
    cause = only([f for f in listing.findings if f.severity == "error"])
    assert (cause.tensor, cause.evidence["mended"]) == ("layers/dense/vars/0", False)
    assert int(cause.evidence["expected"], 16) != int(cause.evidence["found"], 16)
    assert values.keys() - found.keys() == {"layers/dense/vars/0"}
