"""The superblock, the window HDF5 reads through, and files that are cut off, zero-filled or not closed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from ckptui.errors import ChangedWhileReading, Damaged, Unreadable
from ckptui.readers.hdf5_superblock import find_superblock, lookup3
from ckptui.readers.hdf5_symbols import fit, restore_names
from ckptui.readers.keras_h5 import open_h5
from ckptui.readers.source import Source
from ckptui.readers.window import FILLER, Memory, Window
from tests.readers.keras_files import legacy_model


@pytest.mark.parametrize(
    ("data", "hash32"),
    [
        (b"", 0xDEADBEEF),
        (b"Four score and seven years ago", 0x17770551),
        (b"123456789012", None),
    ],
)
def test_lookup3_gives_the_published_hashes(data: bytes, hash32: int | None) -> None:
    assert lookup3(data) == (hash32 if hash32 is not None else lookup3(bytes(data)))


@pytest.mark.parametrize("libver", ["earliest", "v108", "latest"])
@pytest.mark.parametrize("block", [0, 512, 2048])
def test_superblock_of_every_version_says_where_the_file_ends(tmp_path: Path, libver: str, block: int) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=libver, userblock_size=block) as file:
        file["x"] = np.arange(5)
    with Source(path) as source:
        found = find_superblock(source)
        assert found is not None
        assert (found.at, found.end, found.flags) == (block, source.size, 0)
        same = found.patches(end=found.end)
        assert same == {block: found.raw}, "the checksum written is the one that stood there"


def test_junk_before_the_signature_moves_every_address(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    values = np.arange(6, dtype="f4")
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["x"] = values
    path.write_bytes(b"j" * 1024 + (tmp_path / "plain.h5").read_bytes())
    with open_h5(path) as opened:
        tensor = opened.listing().tensors[0]
        (finding,) = opened.listing().findings
        assert (finding.code, finding.severity) == ("hdf5-damaged", "warning")
        assert (finding.evidence["offset"], finding.evidence["bytes"]) == (0, 1024)
        assert tensor.storage.segment is not None
        at = tensor.storage.segment.offset
        assert path.read_bytes()[at : at + 24] == values.tobytes()
        assert opened.array(tensor).tolist() == values.tolist()


def test_window_gives_filler_beyond_the_end_and_never_raises() -> None:
    window = Window(Memory("m", b"abcdef"), 1, 4, declared=10)
    assert window.read() == b"bcde" + FILLER * 6
    window.seek(-1000)
    assert window.tell() == 0
    window.seek(0, 2)
    assert window.tell() == 10
    buffer = bytearray(3)
    window.seek(1 << 60)
    assert window.readinto(buffer) == 3
    assert bytes(buffer) == FILLER * 3


def test_window_keeps_what_went_wrong_for_later() -> None:
    class Broken(Memory):
        def stream(self, offset: int, count: int, chunk: int = 0) -> Iterator[memoryview]:
            raise Unreadable("input/output error")

    window = Window(Broken("m", b"x" * 100))
    buffer = bytearray(10)
    assert window.readinto(buffer) == 10
    assert bytes(buffer) == FILLER * 10
    with pytest.raises(Unreadable):
        window.check()
    window.check()


def test_window_applies_patches_across_reads() -> None:
    window = Window(Memory("m", bytes(20)), patches={4: b"abcd"})
    assert window.read(6) == b"\0\0\0\0ab"
    assert window.read(6) == b"cd\0\0\0\0"


def test_window_left_open_does_not_crash_the_interpreter(tmp_path: Path) -> None:
    legacy_model(tmp_path / "m.h5")
    code = (
        "import sys; from ckptui.readers.keras_h5 import open_h5; f = open_h5(sys.argv[1]); "
        "l = f.listing(); it = f.chunks(l.tensors[0]); next(it); print(len(l.tensors))"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m.h5")], capture_output=True, timeout=60, cwd=root
    )
    assert (done.returncode, done.stdout) == (0, b"11\n"), done.stderr.decode()


def test_cut_off_file_shows_what_lies_before_the_cut(tmp_path: Path) -> None:
    whole = legacy_model(tmp_path / "whole.h5")
    with open_h5(whole) as opened:
        tensors = {t.name: t for t in opened.listing().tensors}
        values = {name: opened.array(t) for name, t in tensors.items()}
    data = whole.read_bytes()
    kernel = tensors["model_weights/logits/logits/kernel:0"].storage.segment
    assert kernel is not None
    path = tmp_path / "cut.h5"
    path.write_bytes(data[:-200])
    with open_h5(path) as opened:
        listing = opened.listing()
        cut = next(f for f in listing.findings if f.title == "The HDF5 file is cut off")
        assert cut.code == "hdf5-damaged"
        assert cut.evidence["expected"] == len(data)
        assert cut.evidence["found"] == len(data) - 200
        assert cut.evidence["bytes_missing"] == 200
        assert listing.artifact.kind == "keras-h5"
        assert listing.artifact.status == "error"
        readable = [t for t in listing.tensors if not t.problem]
        assert readable
        for tensor in readable:
            assert np.array_equal(opened.array(tensor), values[tensor.name])
        for tensor in listing.tensors:
            if tensor.problem:
                assert any(f.tensor == tensor.name for f in listing.findings), "each lost tensor is named"
                with pytest.raises(Damaged):
                    opened.array(tensor)


def test_a_single_missing_byte_is_told(tmp_path: Path) -> None:
    whole = legacy_model(tmp_path / "whole.h5").read_bytes()
    path = tmp_path / "cut.h5"
    path.write_bytes(whole[:-1])
    with open_h5(path) as opened:
        listing = opened.listing()
        assert [f.evidence.get("bytes_missing") for f in listing.findings][:1] == [1]
        assert len(listing.tensors) == 11


@pytest.mark.parametrize("share", [5, 20, 45, 60, 75, 90, 99])
@pytest.mark.parametrize("tail", ["cut", "zeros"])
def test_every_amount_of_lost_tail_gives_a_listing_and_a_finding(tmp_path: Path, share: int, tail: str) -> None:
    whole = legacy_model(tmp_path / "whole.h5").read_bytes()
    keep = len(whole) * share // 100
    path = tmp_path / "lost.h5"
    path.write_bytes(whole[:keep] + (b"" if tail == "cut" else bytes(len(whole) - keep)))
    with open_h5(path) as opened:
        listing = opened.listing()
        codes = {f.code for f in listing.findings}
        causes = [f for f in listing.findings if f.severity == "error" and f.tensor is None]
        if tail == "cut":
            assert [f.title for f in causes] == ["The HDF5 file is cut off"]
        elif share < 99:
            assert [f.code for f in causes] == ["zero-filled"]
        assert "weights-missing" not in codes
        for tensor in listing.tensors:
            if not tensor.problem:
                opened.array(tensor)


def test_zeroed_string_heap_costs_only_its_strings(tmp_path: Path) -> None:
    path = legacy_model(tmp_path / "m.h5")
    data = bytearray(path.read_bytes())
    with open_h5(path) as opened:
        names = [t.name for t in opened.listing().tensors]
    at = data.find(b"GCOL")
    assert at > 0
    data[at + 16 : at + 4096] = bytes(4080)
    path.write_bytes(data)
    with open_h5(path) as opened:
        listing = opened.listing()
        assert [t.name for t in listing.tensors] == names
        assert any("global heap" in f.detail for f in listing.findings)
        assert listing.artifact.kind == "keras-h5"


def test_wrong_end_of_file_in_the_superblock_costs_nothing_else(tmp_path: Path) -> None:
    path = legacy_model(tmp_path / "m.h5")
    data = bytearray(path.read_bytes())
    data[40:48] = (len(data) // 2).to_bytes(8, "little")
    path.write_bytes(data)
    with open_h5(path) as opened:
        listing = opened.listing()
        assert len(listing.tensors) == 11
        assert not any(t.problem for t in listing.tensors)
        assert [f.code for f in listing.findings] == ["hdf5-damaged"]
        assert (listing.findings[0].evidence["expected"], listing.findings[0].evidence["found"]) == (
            len(data),
            len(data) // 2,
        )


def test_file_still_marked_open_is_read_and_told(tmp_path: Path) -> None:
    for libver, at in (("earliest", 20), ("latest", 11)):
        path = tmp_path / f"{libver}.h5"
        with h5py.File(path, "w", libver=libver) as file:
            file["x"] = np.arange(5)
        with Source(path) as source:
            block = find_superblock(source)
        assert block is not None
        data = bytearray(path.read_bytes())
        for offset, patch in block.patches(flags=1).items():
            data[offset : offset + len(patch)] = patch
        assert data[at] == 1
        path.write_bytes(data)
        with open_h5(path) as opened:
            listing = opened.listing()
            assert [f.code for f in listing.findings] == ["hdf5-not-closed"]
            assert listing.artifact.status == "warning"
            assert opened.array(listing.tensors[0]).tolist() == [0, 1, 2, 3, 4]


def test_empty_and_foreign_files_are_refused_with_a_code(tmp_path: Path) -> None:
    (tmp_path / "e.h5").write_bytes(b"")
    (tmp_path / "f.h5").write_bytes(b"<html>" * 100)
    with pytest.raises(Damaged) as empty:
        open_h5(tmp_path / "e.h5")
    with pytest.raises(Damaged) as foreign:
        open_h5(tmp_path / "f.h5")
    assert (empty.value.code, foreign.value.code) == ("empty-file", "hdf5-damaged")


def test_a_file_written_to_while_open_is_noticed(tmp_path: Path) -> None:
    path = legacy_model(tmp_path / "m.h5")
    with open_h5(path) as opened:
        tensor = opened.listing().tensors[0]
        with path.open("r+b") as other:
            other.truncate(4000)
        with pytest.raises(ChangedWhileReading):
            opened.array(tensor)


def test_a_trainer_can_save_over_a_file_that_is_open_here(tmp_path: Path) -> None:
    path = legacy_model(tmp_path / "m.h5")
    with open_h5(path) as opened:
        opened.listing()
        code = "import h5py, sys; h5py.File(sys.argv[1], 'w').create_dataset('x', data=[1])"
        done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr.decode()


def many_layers(path: Path, names: list[str], *, in_order: bool) -> Path:
    """A legacy model with a layer group for each name, made in model order or sorted; names grow the group's heap."""
    with h5py.File(path, "w") as file:
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = names
        for number, name in enumerate(names if in_order else sorted(names)):
            made = group.create_group(name)
            made.attrs["weight_names"] = [f"{name}/kernel:0"]
            made.create_dataset(f"{name}/kernel:0", data=np.full((8, 8), number, "f4"))
        group.create_group("top_level_model_weights")
    return path


@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize("lost", ["cut", "zeros"])
def test_names_lost_behind_the_cut_follow_from_the_layer_list(tmp_path: Path, in_order: bool, lost: str) -> None:
    names = [f"{kind}_{number}" for number in range(6) for kind in ("conv2d", "batch_normalization", "activation")]
    whole = many_layers(tmp_path / "whole.h5", names, in_order=in_order)
    with open_h5(whole) as opened:
        wanted = {t.name: opened.array(t) for t in opened.listing().tensors}
    data = whole.read_bytes()
    keep = len(data) * 7 // 10 // 4096 * 4096
    path = tmp_path / "lost.h5"
    path.write_bytes(data[:keep] + (bytes(len(data) - keep) if lost == "zeros" else b""))
    with open_h5(path) as opened:
        listing = opened.listing()
        given_back = [f for f in listing.findings if f.title == "Lost names given back"]
        assert [f.certainty for f in given_back] == ["likely"]
        readable = [t for t in listing.tensors if not t.problem]
        assert len(readable) >= 6
        for tensor in readable:
            values = opened.array(tensor)
            assert np.array_equal(values, wanted[tensor.name]) or not values.any(), tensor.name


def test_names_are_not_given_back_when_two_orders_fit(tmp_path: Path) -> None:
    memory = Memory("m", bytes(4096))
    assert not restore_names(Window(memory), 0, 96, [b"a", b"b"]), "no symbol table, no names"
    nodes = [[8, 16]]
    assert fit(nodes, {8: b"a", 16: b"b"})
    assert not fit(nodes, {8: b"b", 16: b"a"}), "links of a node are sorted by name"
    assert not fit(nodes, {8: b"a"})


def test_a_damaged_free_list_does_not_cost_the_group(tmp_path: Path) -> None:
    path = legacy_model(tmp_path / "m.h5")
    data = bytearray(path.read_bytes())
    at = data.find(b"HEAP")
    while at >= 0:
        data[at + 16 : at + 24] = b"\x13" * 8
        at = data.find(b"HEAP", at + 1)
    path.write_bytes(data)
    with open_h5(path) as opened:
        assert len(opened.listing().tensors) == 11
