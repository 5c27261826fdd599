""".keras archives: whole, cut off, flipped, and made to hurt."""

from __future__ import annotations

import json
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ckptui.core.model import Listing
from ckptui.errors import Damaged, NoSuchPath
from ckptui.readers.keras_archive import KerasArchive, open_archive
from ckptui.readers.source import Source
from ckptui.readers.zip_directory import leaves_folder, read_directory, read_member
from tests.places import CORPUS, needs_corpus
from tests.readers.hdf5_outcomes import outcomes
from tests.readers.keras_files import archive, digits_config, digits_groups, digits_weights, layer, sequential


def listing_of(path: Path) -> Listing:
    with open_archive(path) as opened:
        return opened.listing()


def codes(listing: Listing) -> list[str]:
    return [f.code for f in listing.findings]


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("prefix", [b"", b"MZ" * 500])
def test_archive_lists_the_inner_datasets_with_layers_from_the_config(
    tmp_path: Path, compression: int, prefix: bytes
) -> None:
    path = archive(tmp_path / "digits-7.keras", compression=compression, prefix=prefix)
    data = path.read_bytes()
    with open_archive(path) as opened:
        listing = opened.listing()
        artifact = listing.artifact
        assert (artifact.kind, artifact.step, artifact.parameters) == ("keras-archive", 7, 1506)
        assert artifact.writer == {"keras": "3.15.1", "saved": "2026-01-01"}
        assert not listing.findings
        assert [r.output_shape for r in listing.architecture][-1] == (None, 10)
        assert [r.parameters for r in listing.architecture] == [0, 40, 16, 0, 1450]
        told = {t.name: t for t in listing.tensors}
        kernel = told["layers/conv2d/vars/0"]
        assert (kernel.layer, kernel.role, kernel.object_path) == ("conv1", "kernel", "conv1/kernel")
        assert kernel.initializer == {"class_name": "GlorotUniform", "config": {"seed": None}}
        wanted = digits_weights()["conv1"]["kernel"]
        assert np.array_equal(opened.array(kernel), wanted)
        assert np.array_equal(np.concatenate(list(opened.chunks(kernel, 32))), wanted.reshape(-1))
        if compression == zipfile.ZIP_STORED:
            segment = kernel.storage.segment
            assert segment is not None
            assert data[segment.offset : segment.offset + segment.bytes] == wanted.tobytes()
        else:
            assert kernel.storage.encoding == "hdf5"
        assert opened.verify() == []


def test_values_can_be_read_without_listing_first(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.keras", compression=zipfile.ZIP_DEFLATED)
    tensor = listing_of(path).tensors[0]
    with open_archive(path) as opened:
        assert opened.array(tensor).shape == tensor.shape


def test_groups_without_names_are_counted_by_class_as_keras_2_15_does(tmp_path: Path) -> None:
    config = sequential(
        layer("InputLayer", "in", batch_input_shape=[None, 3]),
        layer("Dense", "first", units=3),
        layer("Dropout", "drop"),
        layer("Dense", "second", units=2),
    )
    square, tall = np.ones((3, 3), "f4"), np.ones((3, 2), "f4")
    groups = {
        "layers/dense": ("", [square, np.ones(3, "f4")]),
        "layers/dense_1": ("", [tall, np.ones(2, "f4")]),
        "optimizer": ("", [np.int64(1), square]),
    }
    listing = listing_of(archive(tmp_path / "m.keras", groups, config))
    told = {t.name: (t.layer, t.object_path) for t in listing.tensors}
    assert told["layers/dense_1/vars/0"] == ("second", "second/kernel")
    assert told["layers/dense/vars/1"] == ("first", "first/bias")
    assert not listing.findings


def test_shared_names_in_two_models_get_different_object_paths(tmp_path: Path) -> None:
    def model(name: str) -> dict[str, object]:
        return sequential(layer("InputLayer", "in", batch_shape=[None, 2]), layer("Dense", "d", units=2), name=name)

    groups = {
        f"layers/sequential{end}/layers/dense": ("d", [np.ones((2, 2), "f4"), np.ones(2, "f4")]) for end in ("", "_1")
    }
    listing = listing_of(archive(tmp_path / "m.keras", groups, sequential(model("a"), model("b"))))
    assert len({t.object_path for t in listing.tensors}) == 4
    assert [r.parameters for r in listing.architecture if r.depth == 0] == [6, 6]


def test_missing_and_misshapen_weights_are_told(tmp_path: Path) -> None:
    groups = digits_groups()
    groups["layers/dense"] = ("logits", [np.ones((100, 10), "f4")])
    del groups["layers/batch_normalization"]
    found = {f.code: f for f in listing_of(archive(tmp_path / "m.keras", groups)).findings}
    assert set(found) == {"weights-missing", "shape-mismatch"} or set(found) == {"weights-missing"}
    names = found["weights-missing"].evidence["names"]
    assert names == ["bn1/gamma", "bn1/beta", "bn1/moving_mean", "bn1/moving_variance", "logits/bias"]


def test_models_that_were_never_built_lack_nothing(tmp_path: Path) -> None:
    config = sequential(layer("Dense", "d", units=2))
    listing = listing_of(archive(tmp_path / "m.keras", {"layers/dense": ("d", [])}, config))
    assert not listing.findings


def test_quantised_layers_keep_their_companions_out_of_the_roles(tmp_path: Path) -> None:
    policy = {"module": "keras", "class_name": "QuantizedDTypePolicy", "config": {"mode": "int8"}}
    config = sequential(layer("InputLayer", "in", batch_shape=[None, 8]), layer("Dense", "d", units=6, dtype=policy))
    values = [np.ones((8, 6), "i1"), np.ones(6, "f4"), np.ones((1, 6), "f4")]
    listing = listing_of(archive(tmp_path / "m.keras", {"layers/dense": ("d", values)}, config))
    assert [t.role for t in listing.tensors] == ["kernel", "bias", "other"]
    assert not listing.findings


def test_cut_off_archive_keeps_config_and_the_datasets_before_the_cut(tmp_path: Path) -> None:
    whole = archive(tmp_path / "whole.keras")
    data = whole.read_bytes()
    with open_archive(whole) as opened:
        assert isinstance(opened, KerasArchive)
        values = {t.name: opened.array(t) for t in opened.listing().tensors}
        inner = opened.directory.find("model.weights.h5")
        assert inner is not None
    end = data.find(b"PK\x01\x02")
    path = tmp_path / "cut.keras"
    for lost in (0, 1, 100, 3000, end // 2):
        path.write_bytes(data[: end - lost])
        with open_archive(path) as opened:
            listing = opened.listing()
            damage = listing.findings[0]
            assert damage.code == "zip-damaged"
            assert damage.evidence["bytes_missing"] == len(data) - (end - lost)
            assert damage.evidence["expected"] == len(data)
            if lost:
                told = damage.evidence["member_expected"] - damage.evidence["member_found"]
                assert (damage.evidence["member"], told) == ("model.weights.h5", lost)
            assert len(listing.architecture) == 5
            assert listing.artifact.status == "error"
            for tensor in listing.tensors:
                if not tensor.problem:
                    assert np.array_equal(opened.array(tensor), values[tensor.name])
            if lost <= 100:
                assert sum(not t.problem for t in listing.tensors) >= 8


@pytest.mark.parametrize("keep", [1, 4, 29, 30, 40, 200])
def test_the_very_beginning_of_an_archive_is_refused_or_told(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "cut.keras"
    path.write_bytes(archive(tmp_path / "whole.keras").read_bytes()[:keep])
    if keep < 45:
        with pytest.raises(Damaged) as refused:
            open_archive(path)
        assert refused.value.code == "zip-damaged"
    else:
        assert "zip-damaged" in codes(listing_of(path))


def test_killed_writer_left_sizes_of_zero(tmp_path: Path) -> None:
    data = bytearray(archive(tmp_path / "whole.keras").read_bytes())
    end = data.find(b"PK\x01\x02")
    header = data.rfind(b"PK\x03\x04")
    data[header + 14 : header + 26] = bytes(12)
    path = tmp_path / "killed.keras"
    path.write_bytes(data[:end])
    listing = listing_of(path)
    assert len(listing.tensors) == 12
    assert codes(listing) == ["zip-damaged"]


def test_flipped_weight_is_found_by_verify_and_only_there(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.keras")
    tensor = next(t for t in listing_of(path).tensors if t.object_path == "logits/kernel")
    assert tensor.storage.segment is not None
    data = bytearray(path.read_bytes())
    data[tensor.storage.segment.offset + 3] ^= 0x40
    path.write_bytes(data)
    with open_archive(path) as opened:
        assert not opened.listing().findings
        found = opened.verify()
        assert [(f.code, f.evidence["member"]) for f in found] == [("zip-damaged", "model.weights.h5")]
        assert len(str(found[0].evidence["expected"])) == len(str(found[0].evidence["found"])) == 8


def test_damaged_config_leaves_the_weights(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.keras", config=b'{"class_name": "Sequ')
    listing = listing_of(path)
    assert codes(listing) == ["zip-damaged"]
    assert "config.json" in listing.findings[0].detail
    assert listing.artifact.parameters == 1506
    path = archive(tmp_path / "n.keras", config=b"[" * 200_000)
    assert codes(listing_of(path)) == ["zip-damaged"]


def test_missing_members_are_told(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("config.json", json.dumps(digits_config()))
    listing = listing_of(path)
    assert [(f.code, f.severity) for f in listing.findings] == [("zip-damaged", "info"), ("weights-missing", "error")]
    assert [r.name for r in listing.architecture][-1] == "logits"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("model.weights.h5", b"not HDF5" * 100)
    errors = [f.code for f in listing_of(path).findings if f.severity == "error"]
    assert sorted(errors) == ["hdf5-damaged", "zip-damaged"]


def test_cut_off_inner_file_in_a_whole_archive_is_told_and_read(tmp_path: Path) -> None:
    whole = archive(tmp_path / "whole.keras")
    with zipfile.ZipFile(whole) as opened:
        inner = opened.read("model.weights.h5")
        config = opened.read("config.json")
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("metadata.json", "{}")
        made.writestr("config.json", config)
        made.writestr("model.weights.h5", inner[:-50])
    listing = listing_of(path)
    assert codes(listing)[0] == "hdf5-damaged"
    assert listing.findings[0].evidence["bytes_missing"] == 50
    assert sum(not t.problem for t in listing.tensors) >= 8


def test_pickled_weights_are_named_and_never_opened(tmp_path: Path) -> None:
    class Explosive:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    inner = tmp_path / "w.npz"
    np.savez(inner, allow_pickle=True, **{"layers/dense": np.array(Explosive(), dtype=object)})
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("metadata.json", "{}")
        made.writestr("config.json", json.dumps(digits_config()))
        made.write(inner, "model.weights.npz")
    listing = listing_of(path)
    assert codes(listing) == ["unsupported-format"]
    assert [(t.name, bool(t.problem)) for t in listing.tensors] == [("layers/dense", True)]
    assert not (tmp_path / "ran").exists()


def _patched(data: bytes, local: int, central: int, value: bytes) -> bytes:
    """The archive's first member with bytes changed in its local header and its directory entry."""
    changed = bytearray(data)
    at, entry = changed.find(b"PK\x03\x04"), changed.find(b"PK\x01\x02")
    changed[at + local : at + local + len(value)] = value
    changed[entry + central : entry + central + len(value)] = value
    return bytes(changed)


def test_bombs_lies_encryption_and_odd_methods_cost_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("config.json", bytes(200 << 20))
    bomb = path.read_bytes()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("config.json", bytes(1 << 20))
    small = path.read_bytes()
    cases = {
        "declares": bomb,
        "more than": _patched(small, 22, 24, struct.pack("<I", 10)),
        "encrypted": _patched(small, 6, 8, b"\x01\x00"),
        "method 99": _patched(small, 8, 10, b"\x63\x00"),
        "CRC-32": _patched(small, 14, 16, b"abcd"),
    }
    for words, data in cases.items():
        path.write_bytes(data)
        listing = listing_of(path)
        assert any(words in f.detail for f in listing.findings), (words, listing.findings)


def test_twice_the_same_name_and_names_that_leave_the_folder_are_told(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.keras")
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as made:
        warnings.simplefilter("ignore")
        made.writestr("config.json", json.dumps(digits_config()))
        made.writestr("../../evil", b"x")
    listing = listing_of(path)
    assert [(f.code, f.severity) for f in listing.findings] == [
        ("zip-damaged", "warning"),
        ("name-hostile", "warning"),
    ]
    assert listing.artifact.parameters == 1506
    assert [leaves_folder(n) for n in ("a/../b", "/etc", "c:\\x", "..\\w", "a..b/c", "assets/x.txt")] == [
        True,
        True,
        True,
        True,
        False,
        False,
    ]


def test_members_are_bounded_by_what_they_declare(tmp_path: Path) -> None:
    path = tmp_path / "m.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("a", b"hello" * 1000)
    with Source(path) as source:
        member = read_directory(source).members[0]
        assert read_member(source, member, 10_000) == (b"hello" * 1000, "")
        data, problem = read_member(source, member, 4999)
        assert (data, bool(problem)) == (b"", True)


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    for name, data, code in (
        ("e", b"", "empty-file"),
        ("z", bytes(5000), "zero-filled"),
        ("t", b"PK", "zip-damaged"),
    ):
        path = tmp_path / f"{name}.keras"
        path.write_bytes(data)
        with pytest.raises(Damaged) as refused:
            open_archive(path)
        assert refused.value.code == code
    with pytest.raises(NoSuchPath):
        open_archive(tmp_path / "nothing.keras")
    with pytest.raises(Damaged, match="without the parts"):
        open_archive(tmp_path)


def test_every_truncation_and_flip_gives_findings_or_a_plain_error(tmp_path: Path) -> None:
    config = sequential(layer("Dense", "d", units=1, batch_input_shape=[None, 1]))
    data = archive(tmp_path / "m.keras", {"layers/dense": ("d", [np.ones((1, 1), "f4")])}, config).read_bytes()
    start = data.rfind(b"PK\x03\x04")
    rng = np.random.default_rng(3)
    directory = range(data.find(b"PK\x01\x02"), len(data))
    places = [*range(0, start + 60, 7), *directory, *rng.integers(0, len(data), 100).tolist()]
    paths = []
    for number, at in enumerate(places):
        changed = bytearray(data)
        changed[at] ^= 1 << int(rng.integers(0, 8))
        path = tmp_path / f"m{number}.keras"
        path.write_bytes(changed if number % 3 else changed[:at])
        paths.append(path)
    found = outcomes(paths)
    assert {one.end for one in found} <= {"done", "crashed"}, [one for one in found if one.end != "done"]
    assert sum(one.end == "crashed" for one in found) <= 2


def test_crowded_archives_and_other_compressions_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "many.keras"
    with zipfile.ZipFile(path, "w") as made:
        for number in range(20_000):
            made.writestr(f"f{number}", b"")
    assert "weights-missing" in codes(listing_of(path))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as made:
        made.writestr("config.json", bytes(1 << 20))
    assert any("method 14" in f.detail for f in listing_of(path).findings)


@needs_corpus
def test_corpus_archives_read_as_h5py_reads_their_inner_file(tmp_path: Path) -> None:
    import h5py

    for path in sorted(CORPUS.rglob("*.keras")):
        with zipfile.ZipFile(path) as opened:
            (tmp_path / "inner.h5").write_bytes(opened.read("model.weights.h5"))
        with h5py.File(tmp_path / "inner.h5", "r") as file:
            names: list[str] = []
            file.visit(names.append)
            wanted = {name: file[name][()] for name in names if isinstance(file[name], h5py.Dataset)}
        with open_archive(path) as mine:
            assert isinstance(mine, KerasArchive)
            listing = mine.listing()
            assert [t.name for t in listing.tensors] == list(wanted)
            for tensor in listing.tensors:
                assert mine.array(tensor).tobytes() == np.asarray(wanted[tensor.name]).tobytes()
            assert {f.code for f in listing.findings} <= {"unsafe-layer"}
            assert mine.verify() == []
    assert {t.layer for t in listing.tensors}
