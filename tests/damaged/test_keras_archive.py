"""Every way a `.keras` archive is known to break: one finding with the cause, and Keras' own words beside it."""

from __future__ import annotations

import gzip
import io
import json
import re
import struct
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ckptui.core.model import Finding, Listing
from ckptui.errors import Damaged
from ckptui.readers.discover import resolve
from ckptui.readers.keras_archive import KerasArchive, open_archive
from ckptui.readers.zip_directory import read_directory
from ckptui.session import Session, checked_listing
from ckptui.triage.merging import merged
from tests.damaged.keras_made import keras_folder, keras_says

pytestmark = pytest.mark.tensorflow

Change = Callable[[bytes], bytes]
WEIGHTS = "model.weights.h5"


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def packed(parts: Mapping[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, data in parts.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return made.getvalue()


def with_member(name: str, change: Change | None) -> Change:
    """The archive packed anew with one member changed, or left out."""

    def changed(data: bytes) -> bytes:
        parts = members(data)
        if change is None:
            del parts[name]
        else:
            parts[name] = change(parts[name])
        return packed(parts)

    return changed


def edited(edit: Callable[[h5py.File], None]) -> Change:
    """An HDF5 file after `edit`, written anew so that nothing of the old is left."""

    def change(data: bytes) -> bytes:
        old, new = io.BytesIO(data), io.BytesIO()
        with h5py.File(old, "r") as source, h5py.File(new, "w") as target:
            for name in source:
                source.copy(name, target)
            for name, value in source.attrs.items():
                target.attrs[name] = value
            edit(target)
        return new.getvalue()

    return change


def remove(path: str) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        del file[path]

    return edit


def replace_with(path: str, shape: tuple[int, ...]) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        if path in file:
            del file[path]
        file[path] = np.ones(shape, "f4")

    return edit


def flip(place: Callable[[bytes], int], bit: int = 6) -> Change:
    def change(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[place(data)] ^= 1 << bit
        return bytes(changed)

    return change


def in_header(name: str, offset: int, *, central: bool) -> Callable[[bytes], int]:
    """A byte of a member's header: of the directory's entry, or of the local one."""

    def place(data: bytes) -> int:
        signature, length = (b"PK\x01\x02", 46) if central else (b"PK\x03\x04", 30)
        at = data.find(signature)
        while data[at + length : at + length + len(name)] != name.encode():
            at = data.find(signature, at + 1)
        return at + offset

    return place


def of_kernel(data: bytes) -> int:
    """The last byte of the first value of hidden/kernel, in the file."""
    with h5py.File(io.BytesIO(members(data)[WEIGHTS]), "r") as file:
        inside = int(file["layers/dense/vars/0"].id.get_offset())
    return data.find(b"\x89HDF") + inside + 3


def both(local: int, central: int, value: bytes, name: str = "config.json") -> Change:
    def change(data: bytes) -> bytes:
        changed = bytearray(data)
        for offset, is_central in ((local, False), (central, True)):
            at = in_header(name, offset, central=is_central)(data)
            changed[at : at + len(value)] = value
        return bytes(changed)

    return change


def twice(data: bytes) -> bytes:
    made = io.BytesIO(data)
    with warnings.catch_warnings(), zipfile.ZipFile(made, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("config.json", members(data)["config.json"])
    return made.getvalue()


def crlf(*, directory: bool) -> Change:
    """A text-mode copy of an archive with, or without, a line feed among its directory's own numbers."""

    def change(data: bytes) -> bytes:
        while (b"\n" in data[data.find(b"PK\x01\x02") :]) != directory:
            data = with_member("config.json", lambda content: content + b" ")(data)
        return data.replace(b"\n", b"\r\n")

    return change


def killed(data: bytes) -> bytes:
    """What a killed writer leaves: no directory, and a header without checksum and stored size."""
    at = in_header(WEIGHTS, 14, central=False)(data)
    changed = bytearray(data[: data.find(b"PK\x01\x02") - 3000])
    changed[at : at + 8] = bytes(8)
    return bytes(changed)


def cut(part: float) -> Change:
    return lambda data: data[: int(len(data) * part)]


def zero_tail(data: bytes) -> bytes:
    return data[: len(data) - 6000] + bytes(6000)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 24731\n"
CASES: dict[str, tuple[Change, str, str]] = {
    # name: what is done, the root finding's code, the first words of what Keras says that we must tell
    "cut-25": (cut(0.25), "zip-damaged", "File not found"),
    "cut-50": (cut(0.5), "zip-damaged", "File not found"),
    "cut-75": (cut(0.75), "zip-damaged", "File not found"),
    "cut-95": (cut(0.95), "zip-damaged", "File not found"),
    "cut-one-byte": (lambda data: data[:-1], "zip-damaged", "File not found"),
    "killed": (killed, "zip-damaged", "File not found"),
    "zero-tail": (zero_tail, "zero-filled", "File not found"),
    "zeros": (lambda data: bytes(len(data)), "zero-filled", "File not found"),
    "empty": (lambda data: b"", "empty-file", "File not found"),
    "lfs": (lambda data: LFS, "not-a-model", "File not found"),
    "html": (lambda data: b"<!DOCTYPE html><html>404</html>", "not-a-model", "File not found"),
    "gzip": (lambda data: gzip.compress(data, mtime=0), "not-a-model", "File not found"),
    "hdf5": (lambda data: members(data)[WEIGHTS], "not-a-model", "File not found"),
    "crlf": (crlf(directory=False), "not-a-model", "Bad magic number for file header"),
    "crlf-in-directory": (crlf(directory=True), "not-a-model", "Bad magic number for central directory"),
    "flipped-weight": (flip(of_kernel), "zip-damaged", "Bad CRC-32 for file 'model.weights.h5'"),
    "flipped-config": (flip(lambda data: data.find(b'"units"') + 2, 0), "zip-damaged", "Bad CRC-32 for file 'config"),
    "no-config": (with_member("config.json", None), "zip-damaged", "\"There is no item named 'config.json'"),
    "no-weights": (with_member(WEIGHTS, None), "weights-missing", "Expected a model.weights.h5 or"),
    "encrypted": (both(6, 8, b"\x01\x00"), "zip-damaged", "File 'config.json' is encrypted"),
    "method-99": (both(8, 10, b"\x63\x00"), "zip-damaged", "That compression method is not supported"),
    "inner-cut": (
        with_member(WEIGHTS, lambda data: data[:-700]),
        "hdf5-damaged",
        "Unable to synchronously open file (tr",
    ),
    "inner-none": (with_member(WEIGHTS, lambda data: b"weights" * 99), "hdf5-damaged", "Unable to synchronously open"),
    "layer-missing": (
        with_member(WEIGHTS, edited(remove("layers/dense/vars/0"))),
        "weights-missing",
        "Layer 'hidden' expected 2 variables, but received 1 variables",
    ),
    "layer-gone": (
        with_member(WEIGHTS, edited(remove("layers/dense"))),
        "weights-missing",
        "Layer 'hidden' expected 2 variables, but received 0 variables",
    ),
    "shape": (
        with_member(WEIGHTS, edited(replace_with("layers/dense/vars/0", (4, 6)))),
        "shape-mismatch",
        "The shape of the target variable and the shape of the target value",
    ),
    "directory-magic": (flip(in_header("config.json", 1, central=True)), "zip-damaged", "Bad magic number for central"),
    "directory-name": (flip(in_header(WEIGHTS, 46, central=True), 1), "zip-damaged", "Expected a model.weights.h5"),
    "directory-crc": (
        flip(in_header(WEIGHTS, 16, central=True)),
        "zip-damaged",
        "Bad CRC-32 for file 'model.weights.h5'",
    ),
    "directory-offset": (
        flip(in_header("config.json", 42, central=True), 3),
        "zip-damaged",
        "Bad magic number for file",
    ),
    "local-name": (
        flip(in_header("config.json", 30, central=False), 1),
        "zip-damaged",
        "File name in directory 'config",
    ),
    "local-magic": (
        flip(in_header("config.json", 0, central=False)),
        "zip-damaged",
        "Bad magic number for file header",
    ),
}
QUIET: dict[str, tuple[Change, list[tuple[str, str]]]] = {
    # what Keras loads without a word: the findings we make
    "no-metadata": (with_member("metadata.json", None), [("zip-damaged", "info")]),
    "twice": (twice, [("zip-damaged", "warning")]),
    "extra": (
        with_member(WEIGHTS, edited(replace_with("layers/dense_7/vars/0", (2,)))),
        [("weights-unexpected", "warning")],
    ),
    "local-crc": (flip(in_header(WEIGHTS, 14, central=False)), [("zip-damaged", "warning")]),
    "local-size": (flip(in_header(WEIGHTS, 22, central=False), 1), [("zip-damaged", "warning")]),
    "local-method": (flip(in_header("config.json", 8, central=False), 3), [("zip-damaged", "warning")]),
    "prefix": (lambda data: b"MZ" * 300 + data, []),
    "same": (lambda data: data, []),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All damaged copies of tiny.keras."""
    folder = tmp_path_factory.mktemp("archives")
    data = (keras_folder() / "tiny.keras").read_bytes()
    for name, change in {**{n: c[0] for n, c in CASES.items()}, **{n: c[0] for n, c in QUIET.items()}}.items():
        (folder / f"{name}.keras").write_bytes(change(data))
    return folder


@pytest.fixture(scope="module")
def says(made: Path) -> dict[str, dict[str, Any]]:
    return keras_says("load", sorted(made.glob("*.keras")))


@pytest.fixture(scope="module")
def session() -> Any:
    with Session() as shared:
        yield shared


def looked(session: Session, path: Path, *, full: bool = True) -> tuple[Listing | None, list[Finding]]:
    """What discovery, the reader and the full check together say, as `check` puts it."""
    found = resolve(str(path))
    try:
        listing = session.open(found.path, found=found)
    except Damaged as error:
        return None, list(found.findings) or [made_of(error, str(path))]
    if full:
        listing = checked_listing(listing, session.verify(listing))
    return listing, list(listing.findings)


def made_of(error: Damaged, path: str) -> Finding:
    from ckptui.core.catalogue import make

    return make(error.code, path, detail=error.detail, evidence=error.evidence)


def roots(findings: list[Finding]) -> list[Finding]:
    """Findings that say a cause: those about single tensors that a cause of their own code names are left out."""
    whole = {f.code for f in findings if f.tensor is None}
    return [f for f in findings if f.tensor is None or f.code not in whole]


@pytest.mark.parametrize("name", CASES)
def test_each_damage_has_one_cause_and_keras_words(
    made: Path, says: dict[str, dict[str, Any]], session: Session, name: str
) -> None:
    path = made / f"{name}.keras"
    _, findings = looked(session, path)
    told = roots(findings)
    assert [f.code for f in told] == [CASES[name][1]], [(f.code, f.detail) for f in findings]
    heard, ours = says[str(path)], str(told[0].evidence["tensorflow_says"])
    assert CASES[name][2] in heard["text"]
    assert ours.startswith(CASES[name][2]) or CASES[name][2].startswith(ours), (ours, heard["text"])
    if ours.startswith("File not found"):
        assert ours == heard["text"]
    assert ours[:40] in heard["text"]


@pytest.mark.parametrize("name", QUIET)
def test_what_keras_loads_without_a_word_is_no_error(
    made: Path, says: dict[str, dict[str, Any]], session: Session, name: str
) -> None:
    path = made / f"{name}.keras"
    listing, findings = looked(session, path)
    assert says[str(path)]["error"] == "", says[str(path)]
    assert [(f.code, f.severity) for f in findings] == QUIET[name][1], [(f.code, f.detail) for f in findings]
    assert listing is not None
    assert listing.artifact.parameters == (65 if name == "extra" else 63)


@pytest.fixture(scope="module")
def whole() -> dict[str, np.ndarray]:
    """The values of every dataset of tiny.keras, by h5py."""
    data = members((keras_folder() / "tiny.keras").read_bytes())[WEIGHTS]
    values: dict[str, np.ndarray] = {}
    with h5py.File(io.BytesIO(data), "r") as file:
        file.visititems(lambda name, item: values.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return values


@pytest.mark.parametrize(
    ("name", "least"),
    [("cut-50", 0), ("cut-75", 6), ("cut-95", 12), ("cut-one-byte", 16), ("killed", 8), ("zero-tail", 6), ("crlf", 16)],
)
def test_everything_before_the_damage_is_listed_with_right_values(
    made: Path, whole: dict[str, np.ndarray], name: str, least: int
) -> None:
    good = 0
    with open_archive(made / f"{name}.keras") as opened:
        listing = opened.listing()
        assert [row.name for row in listing.architecture][1:] == ["hidden", "norm", "head"]
        assert listing.artifact.writer["keras"]
        for tensor in listing.tensors:
            if not tensor.problem:
                assert np.array_equal(opened.array(tensor), whole[tensor.name]), tensor.name
                good += 1
            else:
                assert [f.code for f in listing.findings if f.tensor == tensor.name], tensor.name
        root = listing.findings[0]
        if name.startswith("cut"):
            size = (keras_folder() / "tiny.keras").stat().st_size
            facts = root.evidence
            assert (facts["expected"], facts["found"]) == (size, (made / f"{name}.keras").stat().st_size)
            assert facts["bytes_missing"] == size - facts["found"]
            assert "it is there" in root.detail
    assert good >= least, good


def test_the_first_quarter_still_has_the_architecture(made: Path) -> None:
    with open_archive(made / "cut-25.keras") as opened:
        listing = opened.listing()
    assert len(listing.architecture) == 4
    facts = listing.findings[0].evidence
    assert facts["member"] == WEIGHTS
    assert facts["member_expected"] - facts["member_found"] < facts["bytes_missing"]


def test_zeros_at_the_end_name_where_they_begin_and_what_they_cost(made: Path, session: Session) -> None:
    path = made / "zero-tail.keras"
    listing, findings = looked(session, path)
    assert listing is not None
    facts = findings[0].evidence
    data = path.read_bytes()
    begins = len(data.rstrip(b"\0"))
    assert (facts["offset"], facts["bytes"], facts["member"]) == (begins, len(data) - begins, WEIGHTS)
    for tensor in listing.tensors:
        segment = tensor.storage.segment
        assert tensor.problem or (segment is not None and segment.offset + segment.bytes <= begins)


def test_a_flipped_weight_is_placed_to_the_bit_and_the_tensor(made: Path, session: Session) -> None:
    data = (keras_folder() / "tiny.keras").read_bytes()
    _, findings = looked(session, made / "flipped-weight.keras")
    (found,) = findings
    at = of_kernel(data)
    assert found.tensor == "layers/dense/vars/0"
    assert found.evidence["flipped_bit"] == {
        "member_offset": at - data.find(b"\x89HDF"),
        "file_offset": at,
        "bit": 6,
        "coincidence": pytest.approx(20_000 * 8 / 2**32, rel=0.2),
    }
    assert re.fullmatch("[0-9a-f]{8}", found.evidence["expected"])
    assert found.evidence["expected"] != found.evidence["found"]
    assert found.evidence["member"] == WEIGHTS
    assert looked(session, made / "flipped-weight.keras", full=False)[1] == []


def test_a_flipped_config_is_read_with_the_bit_taken_back(made: Path) -> None:
    with open_archive(made / "flipped-config.keras") as opened:
        listing = opened.listing()
        (found,) = listing.findings
        assert opened.verify() == [found]
    data = (keras_folder() / "tiny.keras").read_bytes()
    assert found.evidence["flipped_bit"]["file_offset"] == data.find(b'"units"') + 2
    assert found.evidence["flipped_bit"]["bit"] == 0
    assert (found.tensor, found.evidence["member"]) == (None, "config.json")
    assert [row.parameters for row in listing.architecture] == [0, 25, 20, 18]


def test_a_flip_in_the_inner_structure_is_the_archives_damage(tmp_path: Path, session: Session) -> None:
    data = (keras_folder() / "tiny.keras").read_bytes()
    at = data.find(b"TREE", data.find(b"\x89HDF"))
    path = tmp_path / "m.keras"
    path.write_bytes(flip(lambda _: at, 3)(data))
    _, findings = looked(session, path)
    assert {f.code for f in findings} == {"zip-damaged"}
    assert findings[0].evidence["flipped_bit"]["file_offset"] == at
    assert findings[0].tensor is None


def test_details_of_single_damages(made: Path, session: Session) -> None:
    def root(name: str) -> Finding:
        return roots(looked(session, made / f"{name}.keras")[1])[0]

    inner = root("inner-cut").evidence
    assert (inner["member"], inner["bytes_missing"]) == (WEIGHTS, 700)
    assert inner["expected"] - inner["found"] == 700
    assert "before it was archived" in root("inner-cut").detail
    assert root("layer-missing").evidence["layers"] == [{"layer": "hidden", "expected": 2, "found": 1}]
    assert root("layer-gone").evidence["layers"] == [{"layer": "hidden", "expected": 2, "found": 0}]
    shape = root("shape")
    assert (shape.tensor, shape.evidence["expected"], shape.evidence["found"]) == (
        "layers/dense/vars/0",
        [4, 5],
        [4, 6],
    )
    assert root("lfs").evidence["size"] == 24731
    assert root("no-config").evidence["member"] == "config.json"
    mangled = root("crlf").evidence
    assert (mangled["text_mangled"], mangled["undone"]) == ("crlf", True)
    assert mangled["expected"] == len((made / "crlf.keras").read_bytes().replace(b"\r\n", b"\n"))
    assert root("killed").evidence["interrupted"] is True
    for name, field in (("directory-crc", "crc32"), ("local-name", "name"), ("directory-offset", "header")):
        facts = root(name).evidence
        assert field in facts["differs"]
        assert facts["bytes_whole"] is True
    unexpected = looked(session, made / "extra.keras")[1][0]
    assert unexpected.evidence["names"] == ["layers/dense_7/vars/0"]
    double = looked(session, made / "twice.keras")[1][0]
    assert (double.evidence["names"], double.evidence["equal"]) == (["config.json"], True)


def test_line_ends_taken_away_are_named(tmp_path: Path) -> None:
    data = (keras_folder() / "tiny.keras").read_bytes().replace(b"\r\n", b"\n")
    path = tmp_path / "lf.keras"
    path.write_bytes(data)
    with open_archive(path) as opened:
        found = opened.listing().findings[0]
    assert (found.code, found.evidence["text_mangled"], found.evidence["undone"]) == ("not-a-model", "lf", False)


def test_two_damaged_members_are_two_findings(tmp_path: Path, session: Session) -> None:
    data = (keras_folder() / "tiny.keras").read_bytes()
    path = tmp_path / "m.keras"
    path.write_bytes(flip(lambda d: d.find(b'"units"') + 2)(flip(of_kernel)(data)))
    _, findings = looked(session, path)
    assert [(f.code, f.evidence["member"]) for f in findings] == [
        ("zip-damaged", "config.json"),
        ("zip-damaged", WEIGHTS),
    ]


def test_pickled_arrays_are_named_and_plain_ones_read(tmp_path: Path) -> None:
    with open_archive(keras_folder() / "npz.keras") as opened:
        listing = opened.listing()
    (found,) = listing.findings
    assert (found.code, found.severity) == ("unsupported-format", "warning")
    assert "layers/dense" in found.evidence["names"]
    assert all(t.problem for t in listing.tensors)
    arrays = {
        "a": np.arange(6, dtype="f4").reshape(2, 3),
        "b": np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)),
    }
    config = members((keras_folder() / "bare.keras").read_bytes())
    for save in (np.savez, np.savez_compressed):
        inner = io.BytesIO()
        save(inner, allow_pickle=True, **arrays)
        parts = {"metadata.json": b"{}", "config.json": config["config.json"], "model.weights.npz": inner.getvalue()}
        path = tmp_path / "plain.keras"
        path.write_bytes(packed(parts))
        with open_archive(path) as opened:
            listing = opened.listing()
            assert not listing.findings
            assert {t.name: (t.dtype, t.shape) for t in listing.tensors} == {
                "a": ("float32", (2, 3)),
                "b": ("int32", (2, 3)),
            }
            for tensor in listing.tensors:
                assert np.array_equal(opened.array(tensor), arrays[tensor.name])
                assert np.concatenate(list(opened.chunks(tensor, 8))).tolist() == arrays[tensor.name].ravel().tolist()


def test_vocabularies_that_are_not_there(tmp_path: Path) -> None:
    parts = members((keras_folder() / "lookup.keras").read_bytes())
    assets = sorted(name for name in parts if name.startswith("assets/"))
    with open_archive(keras_folder() / "lookup.keras") as opened:
        assert not opened.listing().findings
    some = {name: data for name, data in parts.items() if name != "assets/layers/integer_lookup/vocabulary.txt"}
    none = {name: data for name, data in parts.items() if name not in assets}
    paths = [tmp_path / "some.keras", tmp_path / "none.keras"]
    for path, kept in zip(paths, (some, none), strict=True):
        path.write_bytes(packed(kept))
    heard = keras_says("load", paths)
    with open_archive(paths[0]) as opened:
        (found,) = opened.listing().findings
    assert (found.code, found.evidence["layer"], found.evidence["member"]) == (
        "asset-missing",
        "ints",
        "assets/layers/integer_lookup/vocabulary.txt",
    )
    assert str(found.evidence["tensorflow_says"]) in heard[str(paths[0])]["text"]
    with open_archive(paths[1]) as opened:
        findings = opened.listing().findings
    assert sorted(f.evidence["layer"] for f in findings) == ["ints", "texts"]
    assert heard[str(paths[1])]["error"] == ""
    assert all("without a word" in f.detail and "tensorflow_says" not in f.evidence for f in findings)


def test_an_archive_of_keras_2_15_has_no_damage(tmp_path: Path) -> None:
    parts = members((keras_folder() / "tiny.keras").read_bytes())
    config = json.loads(parts["config.json"])
    config["module"] = "keras.src.engine.sequential"
    for one in config["config"]["layers"]:
        shape = one["config"].pop("batch_shape", None)
        if shape is not None:
            one["config"]["batch_input_shape"] = shape
        one["config"]["dtype"] = "float32"
    parts["config.json"] = json.dumps(config).encode()
    parts["metadata.json"] = b'{"keras_version": "2.15.0", "date_saved": "2026-11-21@21:12:23"}'

    def unnamed(file: h5py.File) -> None:
        file.visititems(lambda name, item: item.attrs.pop("name", None))

    parts[WEIGHTS] = edited(unnamed)(parts[WEIGHTS])
    path = tmp_path / "old.keras"
    path.write_bytes(packed(parts))
    with open_archive(path) as opened:
        listing = opened.listing()
        assert not listing.findings
        assert not opened.verify()
    assert listing.artifact.writer["keras"] == "2.15.0"
    assert {t.object_path for t in listing.tensors if t.layer == "hidden"} == {"hidden/kernel", "hidden/bias"}


def test_other_compressions_are_no_damage_and_damaged_deflate_is(tmp_path: Path) -> None:
    parts = members((keras_folder() / "tiny.keras").read_bytes())
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as made:
        for name, data in parts.items():
            made.writestr(name, data)
    with open_archive(path) as opened:
        assert {f.code for f in opened.listing().findings} == {"unsupported-format"}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in parts.items():
            made.writestr(name, data)
    with open_archive(path) as opened:
        assert not opened.listing().findings
        assert isinstance(opened, KerasArchive)
        inner = opened.directory.find(WEIGHTS)
        assert inner is not None
    path.write_bytes(flip(lambda _: inner.data + inner.stored // 2, 4)(path.read_bytes()))
    with open_archive(path) as opened:
        findings = opened.listing().findings
    assert [f.code for f in findings if f.tensor is None] == ["zip-damaged"]
    assert findings[0].evidence["member"] == WEIGHTS


def test_data_descriptors_and_zip64_headers_agree_with_the_directory(tmp_path: Path) -> None:
    class Pipe(io.RawIOBase):
        """Takes bytes and can't seek, so that sizes follow the data."""

        def __init__(self) -> None:
            self.data = b""

        def writable(self) -> bool:
            return True

        def write(self, piece: Any) -> int:
            self.data += bytes(piece)
            return len(piece)

    parts = members((keras_folder() / "tiny.keras").read_bytes())
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w") as made:
        for name, data in parts.items():
            with made.open(name, "w", force_zip64=True) as member:
                member.write(data)
    path = tmp_path / "m.keras"
    path.write_bytes(pipe.data)
    with open_archive(path) as opened:
        assert not opened.listing().findings
        assert not opened.verify()
    assert read_directory_flags(pipe.data) & 8


def read_directory_flags(data: bytes) -> int:
    return int(struct.unpack_from("<H", data, 6)[0])


def test_first_look_and_reader_make_one_finding(made: Path) -> None:
    found = resolve(str(made / "cut-75.keras"))
    with open_archive(found.path) as opened:
        listing = opened.listing()
    assert [f.code for f in found.findings] == ["zip-damaged"]
    assert roots(list(merged(found.findings, listing.findings)))[0].evidence["member"] == WEIGHTS
    with open(found.path, "rb") as file:
        assert read_directory(_Source(file.read(), found.path)).complete is False


class _Source:
    def __init__(self, data: bytes, path: str) -> None:
        from ckptui.readers.window import Memory

        memory = Memory(path, data)
        self.path, self.size = path, memory.size
        self.pread, self.stream, self.fence = memory.pread, memory.stream, memory.fence
