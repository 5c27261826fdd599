"""Groups whose links are lost although HDF5 opens them, and heaps it refuses for space that nobody needs."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.damaged.hdf5_faults import look, roots
from tests.readers.keras_files import legacy_model


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A root group with the groups `model` (three datasets) and `other` (one)."""
    path = tmp_path / "whole.h5"
    with h5py.File(path, "w") as file:
        for number in range(3):
            file[f"model/w{number}"] = np.arange(4, dtype="f4") + number
        file["other/b"] = np.ones(3, "f4")
    return path


def places(data: bytes, word: bytes) -> list[int]:
    found = [at for at in range(0, len(data) - 7, 8) if data[at : at + len(word)] == word]
    assert found
    return found


def node_of(data: bytes, links: int) -> int:
    """Where the symbol node with so many links begins."""
    (found,) = [at for at in places(data, b"SNOD\x01\0") if struct.unpack_from("<H", data, at + 6)[0] == links]
    return found


def damaged(path: Path, change: Callable[[bytearray], None]) -> Path:
    data = bytearray(path.read_bytes())
    change(data)
    other = path.with_name("damaged.h5")
    other.write_bytes(data)
    return other


def test_a_node_emptied_by_zeros_is_damage_that_hdf5_does_not_see(whole: Path) -> None:
    node = node_of(whole.read_bytes(), 3)

    def empty(data: bytearray) -> None:
        data[node + 6 : node + 8 + 3 * 40] = bytes(2 + 3 * 40)

    path = damaged(whole, empty)
    with h5py.File(path) as file:
        assert list(file["model"]) == [], "HDF5 takes the group for an empty one"
    listing, values = look(path)
    (finding,) = roots(listing)
    assert finding.code == "hdf5-damaged"
    facts = finding.evidence
    assert (facts["structure"], facts["object"], facts["offset"]) == ("symbol table node", "/model", node + 6)
    assert (facts["found"], facts["mended"], "tensorflow_says" in facts) == ("0000", False, False)
    assert values["other/b"].tolist() == [1, 1, 1]
    carved = sorted(values[name].tolist() for name in values if name != "other/b")
    assert carved == [[0 + n, 1 + n, 2 + n, 3 + n] for n in range(3)], "their headers are found without a link"


def test_a_group_emptied_on_purpose_is_no_damage(whole: Path) -> None:
    with h5py.File(whole, "a") as file:
        for number in range(3):
            del file[f"model/w{number}"]
    listing, values = look(whole)
    assert listing.findings == ()
    assert list(values) == ["other/b"]


@pytest.mark.parametrize(
    "head",
    [struct.pack("<Q", 1 << 20), struct.pack("<Q", 0), b"\xff" * 8],
    ids=["beyond", "zero", "ones"],
)
def test_a_damaged_list_of_free_space_is_told_and_read_past(whole: Path, head: bytes) -> None:
    heap = places(whole.read_bytes(), b"HEAP\0\0\0\0")[0]

    def lose(data: bytearray) -> None:
        data[heap + 16 : heap + 24] = head

    path = damaged(whole, lose)
    with h5py.File(path) as file, pytest.raises(RuntimeError, match=r"heap|free block"):
        list(file)
    listing, values = look(path)
    (finding,) = listing.findings
    facts = finding.evidence
    assert (finding.code, facts["structure"], facts["object"]) == ("hdf5-damaged", "local heap", "/")
    assert (facts["offset"], facts["found"], facts["mended"]) == (heap + 16, head.hex(), True)
    assert facts["tensorflow_says"] == "(bad heap free list)"
    assert sorted(values) == ["model/w0", "model/w1", "model/w2", "other/b"]


def test_a_lost_optimizer_weight_is_named(tmp_path: Path) -> None:
    path = legacy_model(tmp_path / "m.h5")
    with h5py.File(path, "a") as file:
        if "optimizer_weights" in file:
            del file["optimizer_weights"]
        group = file.create_group("optimizer_weights")
        group["adam/iteration"] = 3
        group.attrs["weight_names"] = ["adam/iteration", "adam/kernel_momentum"]
    listing, _ = look(path)
    (finding,) = listing.findings
    assert (finding.code, finding.evidence["names"]) == ("weights-missing", ["optimizer_weights/adam/kernel_momentum"])
    with h5py.File(path, "a") as file:
        file["optimizer_weights/adam/kernel_momentum"] = np.ones(3, "f4")
    assert look(path)[0].findings == ()


def test_names_shifted_by_lost_or_added_bytes_are_not_guessed(tmp_path: Path) -> None:
    """One bit from a link's place stands another dataset's name as soon as all have moved.

    By eights they may come to stand at each other's places: then that is what the file says.
    """
    path = tmp_path / "m.h5"
    slots = [f"sequential_dense_{layer}_{kind}_momentum" for layer in (75, 76) for kind in ("kernel", "bias")]
    names = [f"sgd/{name}" for name in ("iteration", "learning_rate", *slots)]
    with h5py.File(legacy_model(path), "a") as file:
        if "optimizer_weights" in file:
            del file["optimizer_weights"]
        group = file.create_group("optimizer_weights")
        group.attrs["weight_names"] = np.array(names, "S")
        for number, name in enumerate(names):
            group[name] = np.full(number + 2, number, "f4")
    _, right = look(path)
    data = path.read_bytes()
    heap = data.rindex(b"iteration\0")
    wrong = []
    for count in (number for number in range(1, 41) if number % 8):
        for changed in (data[:heap] + data[heap + count :], data[:heap] + b"x" * count + data[heap:]):
            listing, values = look(damaged(path, lambda content, new=changed: content.__setitem__(slice(None), new)))  # type: ignore[misc]
            assert any(f.severity == "error" for f in listing.findings)
            wrong += [name for name in values if name in right and values[name].tobytes() != right[name].tobytes()]
    assert wrong == []
