"""Every row of the HDF5 part of the catalogue of damage: one cause named, survivors read, losses told."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from ckptui.core.model import Finding
from ckptui.errors import Damaged
from ckptui.readers.hdf5_chunks import fletcher32
from ckptui.readers.keras_h5 import open_h5
from tests.damaged.hdf5_faults import (
    check,
    end_of,
    flipped,
    h5py_says,
    look,
    patched,
    roots,
    same,
    small_files,
    written_by,
)
from tests.readers.keras_files import digits_config, digits_weights, legacy_model, sequential, write_layers


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


def only(findings: list[Finding]) -> Finding:
    (one,) = findings
    return one


# ---------------------------------------------------------------------- the end is missing


@pytest.mark.parametrize("share", [0, 25, 50, 75, 95])
@pytest.mark.parametrize("which", ["legacy", "objects", "latest"])
def test_a_cut_is_one_cause_and_what_lies_before_it_is_read(
    files: dict[str, Path], tmp_path: Path, which: str, share: int
) -> None:
    whole = files[which].read_bytes()
    _, values = look(files[which])
    keep = len(whole) * (100 - share) // 100 or len(whole)
    keep -= not share
    path = tmp_path / f"cut-{which}.h5"
    path.write_bytes(whole[:keep])
    listing, found = look(path)
    cause = only([f for f in listing.findings if f.severity == "error" and f.tensor is None])
    assert (cause.code, cause.title) == ("hdf5-damaged", "The HDF5 file is cut off")
    evidence = cause.evidence
    told = (evidence["expected"], evidence["found"], evidence["bytes_missing"])
    assert told == (len(whole), keep, len(whole) - keep)
    assert evidence["tensorflow_says"] == h5py_says(path)
    same(found, values)
    lost = [t for t in listing.tensors if t.problem]
    assert evidence.get("lost", {"count": 0})["count"] == len(lost)
    assert {f.tensor for f in listing.findings if f.tensor} == {t.name for t in lost}, "each lost row is named"
    for tensor in lost:
        assert tensor.problem
        with open_h5(path) as opened, pytest.raises(Damaged):
            opened.array(tensor)
    assert not {"weights-missing", "hdf5-not-closed", "zero-filled"} & {f.code for f in listing.findings}
    # every dataset whose header and bytes lie before the cut is among the survivors
    with h5py.File(files[which], "r") as file:
        for name in values:
            info = h5py.h5o.get_info(file[name].id)
            end = file[name].id.get_offset() + file[name].nbytes
            if which != "latest" and max(end, info.addr + 600) < keep:
                survivors = [tensor for tensor in found if tensor == name or "unnamed@" in tensor]
                assert any(found[one].tobytes() == values[name].tobytes() for one in survivors), name


def test_weights_that_are_only_known_by_name_are_counted(files: dict[str, Path], tmp_path: Path) -> None:
    whole = files["legacy"].read_bytes()
    path = tmp_path / "m.h5"
    path.write_bytes(whole[: len(whole) * 95 // 100])
    listing, _ = look(path)
    lost = only(roots(listing)).evidence["weights_lost"]
    assert lost == {"count": 1, "names": ["optimizer_weights/Adam/v/conv1/kernel:0"]}


@pytest.mark.parametrize("share", [10, 25, 50, 75])
@pytest.mark.parametrize("which", ["legacy", "objects"])
def test_zeros_at_the_end_are_one_cause_and_no_zero_is_taken_for_a_value(
    files: dict[str, Path], tmp_path: Path, which: str, share: int
) -> None:
    whole = files[which].read_bytes()
    _, values = look(files[which])
    keep = len(whole) * (100 - share) // 100
    path = tmp_path / "zeros.h5"
    path.write_bytes(whole[:keep] + bytes(len(whole) - keep))
    listing, found = look(path)
    cause = only([f for f in listing.findings if f.severity == "error" and f.tensor is None])
    assert cause.code == "zero-filled"
    assert cause.evidence["offset"] == len(whole[:keep].rstrip(b"\0"))
    assert cause.evidence["offset"] + cause.evidence["bytes"] == len(whole)
    assert cause.evidence["lost"]["count"] == sum(bool(t.problem) for t in listing.tensors)
    assert cause.evidence["tensorflow_says"]
    same(found, values)
    assert "weights-missing" not in {f.code for f in listing.findings}


def test_zeros_that_were_stored_are_not_taken_for_the_cause_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file["a"] = np.arange(5.0)
        file["slots"] = np.zeros(5000)
    broken = flipped(path, tmp_path / "b.h5", path.read_bytes().find(b"SNOD"))
    listing, found = look(broken)
    assert only(roots(listing)).title == "A symbol table node is damaged"
    assert found["a"].tolist() == [0, 1, 2, 3, 4]
    assert found["slots"].size == 5000


# ---------------------------------------------------------------------- never closed

KILLED = """
file = h5py.File(path, "w"{libver})
for n in range(40):
    file[f"layer_{{n}}/kernel"] = np.arange(n, n + 5000, dtype="f4").reshape(100, 50)
    if n == {flush}:
        file.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("libver", "version", "at"), [("", 0, 20), (', libver="latest"', 3, 11)])
@pytest.mark.parametrize("flush", [-1, 20])
def test_a_killed_writer_is_told_and_what_was_flushed_is_read(
    tmp_path: Path, libver: str, version: int, at: int, flush: int
) -> None:
    path = tmp_path / "killed.h5"
    written_by(KILLED.format(libver=libver, flush=flush), path)
    listing, found = look(path)
    cause = only([f for f in listing.findings if f.code.startswith("hdf5")])
    assert cause.code == "hdf5-not-closed"
    assert (cause.evidence["flags"] & 1, cause.evidence["version"], cause.evidence["offset"]) == (1, version, at)
    assert (cause.evidence["expected"], cause.evidence["found"]) == (end_of(path), path.stat().st_size)
    if version == 3:
        assert cause.evidence["tensorflow_says"] == h5py_says(path)
    elif flush < 0:
        assert cause.evidence["tensorflow_says"] == h5py_says(path)
        assert cause.evidence["expected"] == 2048
    assert cause.severity == ("error" if flush < 0 else "warning")
    assert len(found) == flush + 1
    for n in range(flush + 1):
        assert np.array_equal(found[f"layer_{n}/kernel"].reshape(-1), np.arange(n, n + 5000, dtype="f4"))


def test_a_full_disk_leaves_a_file_that_was_never_closed(tmp_path: Path) -> None:
    path = tmp_path / "full.h5"
    written_by(
        """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
file = h5py.File(path, "w")
try:
    for n in range(40):
        file[f"layer_{n}/kernel"] = np.ones((100, 100), "f4")
except Exception:
    pass
os._exit(1)
""",
        path,
    )
    listing, _ = look(path)
    assert path.stat().st_size <= 400_000
    assert only(roots(listing)).code == "hdf5-not-closed"


def test_a_small_whole_file_without_its_big_weights_lacks_weights(tmp_path: Path) -> None:
    path = legacy_model(tmp_path / "m.h5")
    with h5py.File(path, "r+") as file:
        del file["model_weights/logits/logits/kernel:0"]
        del file["model_weights/conv1/conv1/kernel:0"]
    listing, _ = look(path)
    cause = only(list(listing.findings))
    assert (cause.code, cause.severity) == ("weights-missing", "error")
    assert cause.evidence["names"] == ["conv1/conv1/kernel:0", "logits/logits/kernel:0"]


def test_a_missing_layer_group_is_named_by_its_weights(tmp_path: Path) -> None:
    path = legacy_model(tmp_path / "m.h5")
    with h5py.File(path, "r+") as file:
        del file["model_weights/logits"]
    listing, found = look(path)
    cause = only(list(listing.findings))
    assert cause.code == "weights-missing"
    assert cause.evidence["names"] == ["logits/kernel", "logits/bias"]
    assert "model_weights/conv1/conv1/kernel:0" in found


# ---------------------------------------------------------------------- one structure is damaged

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


# ---------------------------------------------------------------------- something else under its name


def test_what_is_no_hdf5_file_is_told_apart(files: dict[str, Path], tmp_path: Path) -> None:
    whole = files["legacy"].read_bytes()
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as made:
        made.writestr("a.txt", "hello")
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 32112\n"
    cases = {
        "empty": (b"", "empty-file", "empty file"),
        "zeros": (bytes(9000), "zero-filled", "zeros"),
        "page": (b"<!DOCTYPE html><html><title>404</title>", "not-a-model", "web page or error message"),
        "lfs": (pointer, "not-a-model", "git-lfs pointer"),
        "gzip": (gzip.compress(whole), "not-a-model", "gzip archive"),
        "text": (whole.replace(b"\n", b"\r\n"), "not-a-model", "CRLF"),
        "zip": ((tmp_path / "z.zip").read_bytes(), "not-a-model", "zip archive"),
    }
    paths = {name: tmp_path / f"{name}.h5" for name in cases}
    for name, (data, _, _) in cases.items():
        paths[name].write_bytes(data)
    document = check(*paths.values())
    for name, (data, code, looks_like) in cases.items():
        finding = [f for f in document["findings"] if f["artifact"] == str(paths[name])]
        assert [f["code"] for f in finding] == [code], name
        evidence = finding[0]["evidence"]
        assert looks_like in evidence["looks_like"], name
        assert evidence["bytes"] == len(data)
        assert evidence["tensorflow_says"].endswith("(file signature not found)")
        assert evidence.get("size") == (32112 if name == "lfs" else None)


def test_weights_where_a_model_is_expected_and_an_older_model_are_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "w.h5"
    with h5py.File(path, "w") as file:
        write_layers(file["/"], digits_weights())
    assert look(path)[0].artifact.kind == "keras-weights"
    assert not look(path)[0].findings
    listing, _ = look(legacy_model(tmp_path / "keras2.h5"))
    assert (listing.artifact.kind, listing.artifact.writer["keras"]) == ("keras-h5", "2.15.0")
    assert not listing.findings
    bare = legacy_model(tmp_path / "bare.h5", config=sequential(*digits_config()["config"]["layers"][:1]))
    assert "weights-missing" not in {f.code for f in look(bare)[0].findings}


def test_keras_attributes_survive_a_cut_behind_them(files: dict[str, Path], tmp_path: Path) -> None:
    whole = files["legacy"].read_bytes()
    path = tmp_path / "m.h5"
    path.write_bytes(whole[: len(whole) // 2])
    with open_h5(path) as opened:
        listing = opened.listing()
        assert listing.artifact.kind == "keras-h5"
        assert [row.name for row in listing.architecture][-1] == "logits"
        assert next(t for t in listing.tensors if not t.problem).layer == "bn1"


# ---------------------------------------------------------------------- checksums


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


def test_the_document_of_a_check_names_the_cause_once(files: dict[str, Path], tmp_path: Path) -> None:
    whole = files["legacy"].read_bytes()
    path = tmp_path / "m.h5"
    path.write_bytes(whole[: len(whole) // 2])
    document = check(path)
    causes = [f for f in document["findings"] if f["severity"] == "error" and f["tensor"] is None]
    assert [f["title"] for f in causes] == ["The HDF5 file is cut off"]
    assert json.dumps(document)
