"""Damaged superblocks, groups, names, headers and types of HDF5 files: named, and read where they can be."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.damaged.hdf5_faults import flipped, look, only, patched, roots, same, small_files


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return small_files(tmp_path_factory.mktemp("small"))


def node_of(path: Path, name: str) -> tuple[int, int]:
    """Where the symbol node with the entry of an object lies, and the object's header."""
    with h5py.File(path, "r") as file:
        header: int = h5py.h5o.get_info(file[name].id).addr
    whole, entry = path.read_bytes(), header.to_bytes(8, "little")
    at = whole.find(b"SNOD")
    while entry not in whole[at : at + 328]:
        at = whole.find(b"SNOD", at + 1)
    return at, header


STRUCTURES = {
    b"TREE": ("B-tree node", "(wrong B-tree signature)"),
    b"SNOD": ("symbol table node", "(bad symbol table node signature)"),
    b"HEAP": ("local heap", "(bad local heap signature)"),
}


@pytest.mark.parametrize("signature", STRUCTURES)
@pytest.mark.parametrize("which", ["legacy", "objects"])
def test_a_damaged_group_is_named_with_its_place_and_read_all_the_same(
    files: dict[str, Path], tmp_path: Path, which: str, signature: bytes
) -> None:
    whole = files[which].read_bytes()
    _, values = look(files[which])
    at, places = whole.find(signature), []
    while at >= 0:
        places.append(at)
        at = whole.find(signature, at + 1)
    assert len(places) > 9
    named = set()
    empty = 0
    for place in places:
        broken = flipped(files[which], tmp_path / "b.h5", place + 1)
        listing, found = look(broken)
        same(found, values)
        if not roots(listing):
            # an empty group has nothing that its B-tree and heap are needed for
            assert found.keys() == values.keys()
            empty += 1
            continue
        cause = only(roots(listing))
        word, says = STRUCTURES[signature]
        assert (cause.code, cause.evidence["structure"], cause.evidence["offset"]) == ("hdf5-damaged", word, place)
        if cause.evidence["mended"]:
            assert bytes.fromhex(cause.evidence["expected"]).startswith(signature)
            assert bytes.fromhex(cause.evidence["found"])[1] == signature[1] ^ 4
            assert found.keys() == values.keys(), "everything is read"
        assert cause.evidence["tensorflow_says"] == says
        named.add(cause.evidence["object"])
    assert empty <= 2
    assert {"/", "/model_weights/conv1"} <= named or {"/", "/layers/conv2d/vars"} <= named


def test_a_damaged_object_header_costs_that_dataset_and_no_other(files: dict[str, Path], tmp_path: Path) -> None:
    _, values = look(files["legacy"])
    name = "model_weights/logits/logits/kernel:0"
    with h5py.File(files["legacy"], "r") as file:
        at = h5py.h5o.get_info(file[name].id).addr
    listing, found = look(flipped(files["legacy"], tmp_path / "version.h5", at))
    cause = only(roots(listing))
    assert (cause.tensor, cause.evidence["offset"]) == (name, at)
    assert (cause.evidence["expected"], cause.evidence["found"]) == ("0100", "0500")
    assert found.keys() == values.keys(), "the version of a header is known"
    same(found, values)
    listing, found = look(patched(files["legacy"], tmp_path / "gone.h5", at, b"\xee" * 64))
    cause = only([f for f in listing.findings if f.severity == "error"])
    assert (cause.tensor, cause.evidence["offset"], cause.evidence["mended"]) == (name, at, False)
    assert values.keys() - found.keys() == {name}
    assert "bad object header version number" in cause.evidence["tensorflow_says"]
    same(found, values)


def test_a_group_that_nothing_leads_to_is_found_by_its_headers(files: dict[str, Path], tmp_path: Path) -> None:
    """The symbol node of a group is overwritten: its members have lost their names, not their shapes and values."""
    _, values = look(files["objects"])
    at, dataset = node_of(files["objects"], "layers/dense/vars/0")
    listing, found = look(patched(files["objects"], tmp_path / "b.h5", at, b"\xaa" * 328))
    cause = only(roots(listing))
    assert (cause.evidence["structure"], cause.evidence["offset"]) == ("symbol table node", at)
    aside = only([f for f in listing.findings if f.severity == "warning"])
    assert (aside.title, aside.certainty) == ("Datasets found without their names", "likely")
    lost = values.keys() - found.keys()
    unnamed = sorted(name for name in found if "unnamed@" in name)
    assert aside.evidence["names"] == unnamed
    assert len(unnamed) == len(lost) == 2
    assert f"unnamed@{dataset}" in {name.rpartition("/")[2] for name in unnamed}
    held = sorted(values[name].tobytes() for name in lost)
    assert sorted(found[name].tobytes() for name in unnamed) == held, "shapes from the headers, values from the file"


def test_a_group_of_a_layer_is_recognised_by_the_weights_in_it(files: dict[str, Path], tmp_path: Path) -> None:
    _, values = look(files["legacy"])
    at, _ = node_of(files["legacy"], "model_weights/conv1")
    listing, found = look(patched(files["legacy"], tmp_path / "b.h5", at + 8, b"\x00" * 320))
    assert roots(listing)
    same(found, values)
    kept = {name for name in found if name.startswith("model_weights/")}
    assert {name for name in values if name.startswith("model_weights/")} == kept


def test_pointers_one_bit_off_are_led_back(files: dict[str, Path], tmp_path: Path) -> None:
    _, values = look(files["legacy"])
    for at, name in ((64, "the root group"), (6144 + 16, "model_weights")):
        listing, found = look(flipped(files["legacy"], tmp_path / "b.h5", at + 1, 0x10))
        cause = only(roots(listing))
        assert cause.evidence["offset"] == at, name
        assert found.keys() == values.keys()
        same(found, values)


def test_a_name_one_bit_off_is_read_as_it_was_meant(files: dict[str, Path], tmp_path: Path) -> None:
    _, values = look(files["legacy"])
    at = files["legacy"].read_bytes().find(b"optimizer_weights\0")
    listing, found = look(flipped(files["legacy"], tmp_path / "b.h5", at + 5, 1))
    cause = only(roots(listing))
    assert (cause.code, cause.evidence["offset"]) == ("hdf5-damaged", at + 5)
    assert "optimizer_weights is meant" in cause.detail
    assert found.keys() == values.keys()


def test_a_type_one_bit_off_is_named_and_read_as_it_was_meant(files: dict[str, Path], tmp_path: Path) -> None:
    _, values = look(files["legacy"])
    name = "model_weights/conv1/conv1/kernel:0"
    with h5py.File(files["legacy"], "r") as file:
        header = h5py.h5o.get_info(file[name].id).addr
    bias = files["legacy"].read_bytes().find(bytes([127, 0, 0, 0]), header)
    broken = flipped(files["legacy"], tmp_path / "b.h5", bias)
    with h5py.File(broken, "r") as file:
        assert file[name][()].tobytes() != values[name].tobytes(), "HDF5 scales every value and says nothing"
    listing, found = look(broken)
    cause = only(list(listing.findings))
    assert (cause.code, cause.tensor, cause.title) == ("hdf5-damaged", name, "A dataset's type is damaged")
    same(found, values)
    assert found.keys() == values.keys()


def test_two_datasets_in_one_place_are_told(files: dict[str, Path], tmp_path: Path) -> None:
    first, second = "model_weights/conv1/conv1/kernel:0", "model_weights/conv1/conv1/bias:0"
    with h5py.File(files["legacy"], "r") as file:
        stored = file[second].id.get_offset().to_bytes(8, "little")
        wrong = (file[first].id.get_offset() + 8).to_bytes(8, "little")
    at = files["legacy"].read_bytes().find(stored)
    listing, _ = look(patched(files["legacy"], tmp_path / "b.h5", at, wrong))
    cause = only([f for f in listing.findings if f.severity == "error"])
    assert cause.code == "entry-invalid"
    assert {cause.tensor, cause.evidence["other"]} == {first, second}


# ---------------------------------------------------------------------- the superblock


def test_an_end_that_is_too_early_or_too_late_costs_nothing_else(files: dict[str, Path], tmp_path: Path) -> None:
    _, values = look(files["legacy"])
    size = files["legacy"].stat().st_size
    for bit in (0x40, 0x10, 1 << 20, 1 << 33, 1 << 61):
        wrong = size ^ bit
        listing, found = look(patched(files["legacy"], tmp_path / "b.h5", 40, wrong.to_bytes(8, "little")))
        same(found, values)
        assert found.keys() == values.keys()
        cause = only([f for f in listing.findings if f.severity == "error" or wrong < size])
        if wrong < size and cause.severity == "warning":
            # nothing but the unused end of a heap lies behind it: these may as well be bytes that were appended
            assert (cause.evidence["expected"], cause.evidence["found"]) == (wrong, size)
            continue
        assert cause.title == "The superblock's end of file is wrong"
        assert (cause.evidence["expected"], cause.evidence["found"], cause.evidence["offset"]) == (size, wrong, 40)
        assert "tensorflow_says" in cause.evidence


@pytest.mark.parametrize("which", ["legacy", "latest"])
def test_no_flip_in_a_superblock_costs_a_tensor(files: dict[str, Path], tmp_path: Path, which: str) -> None:
    """Every bit of it: what HDF5 refuses is mended in memory, and named."""
    _, values = look(files[which])
    size = 96 if which == "legacy" else 48
    silent = 0
    for at in range(size):
        for bit in range(8):
            broken = flipped(files[which], tmp_path / "b.h5", at, 1 << bit)
            listing, found = look(broken)
            assert found.keys() == values.keys(), (at, bit)
            same(found, values)
            assert len(roots(listing)) <= 1, (at, bit)
            if not listing.findings:
                silent += 1
    print(f"{silent} of {8 * size} flips in the superblock of {which} change nothing that is looked at")
    # without a checksum: unused bits, sizes that are only upper bounds, what is kept twice
    assert silent < (1 if which == "latest" else 8 * size // 2)


def test_a_lost_superblock_is_made_anew(files: dict[str, Path], tmp_path: Path) -> None:
    _, values = look(files["legacy"])
    listing, found = look(patched(files["legacy"], tmp_path / "b.h5", 0, bytes(96)))
    assert only(roots(listing)).evidence["structure"] == "superblock"
    assert found.keys() == values.keys()
    same(found, values)
    listing, found = look(patched(files["legacy"], tmp_path / "page.h5", 0, bytes(1056)))
    assert roots(listing)
    held = {values[name].tobytes() for name in values if name.startswith("model_weights")}
    assert held <= {one.tobytes() for one in found.values()}, "the root's first page is lost, its groups are not"


def test_a_user_block_is_no_damage_and_bytes_before_or_behind_are_told(files: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "user.h5"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["x"] = np.arange(4)
    assert not look(path)[0].findings
    whole = files["legacy"].read_bytes()
    _, values = look(files["legacy"])
    path.write_bytes(b"j" * 512 + whole)
    listing, found = look(path)
    warning = only(list(listing.findings))
    assert (warning.code, warning.severity, warning.evidence["bytes"]) == ("hdf5-damaged", "warning", 512)
    same(found, values)
    path.write_bytes(whole + b"j" * 700)
    listing, found = look(path)
    warning = only(list(listing.findings))
    assert (warning.code, warning.severity, warning.evidence["bytes_extra"]) == ("hdf5-damaged", "warning", 700)
    assert (warning.evidence["expected"], warning.evidence["found"]) == (len(whole), len(whole) + 700)
    same(found, values)
    assert found.keys() == values.keys()
