"""V1 checkpoints come out as TensorFlow wrote and reads them, and as files made here say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui.core.model import Listing, Stats, Tensor, TensorScan
from ckptui.engine.checked import Files
from ckptui.engine.scan import Scanner
from ckptui.errors import ChangedWhileReading, Damaged, NoSuchPath, NoSuchTensor
from ckptui.readers.bundle_v1 import BundleV1, open_v1
from ckptui.readers.ordered_code import encode_slice_key, slice_key
from ckptui.readers.registry import open_reader
from ckptui.session import Session
from tests import warm_tensorflow
from tests.places import CORPUS, ROOT, needs_corpus
from tests.readers import make_bundle as mb
from tests.readers import make_v1 as v1
from tests.readers.test_bundle_tensorflow import digest

CHILD = Path(__file__).with_name("tensorflow_v1.py")
ROWS = np.arange(24, dtype="f4").reshape(6, 4)
HANDMADE: dict[str, dict[str, Any]] = {
    "plain": {"tensors": {"w": ROWS, "b": np.array([1.5]), "n": np.int64(-7)}},
    "snappy": {"tensors": {"w": ROWS, "texts": np.array([b"", b"ab"], object)}, "snappy": True},
    "blocks": {"tensors": {f"v{n}": ROWS + n for n in range(40)}, "block_size": 300},
    "restarts": {"tensors": {f"v{n}": ROWS[n % 6] for n in range(40)}, "interval": 3},
}
"""Files made by `make_v1` that TensorFlow reads too."""


def put(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def make(folder: Path, name: str, tensors: dict[Any, Any], **options: Any) -> Path:
    return put(folder, name, v1.v1_file(tensors, **options))


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What one TensorFlow child saved, and read from that, from files made here, and from third-party ones."""
    folder = tmp_path_factory.mktemp("v1")
    others = [str(make(folder, name, **how)) for name, how in HANDMADE.items()]
    others += THIRD_PARTY
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    warm_tensorflow.run([CHILD, folder, *others], cwd=ROOT, check=True, timeout=240, env=environment)
    return [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]


def third_party() -> list[str]:
    """Every V1 checkpoint of the corpus, by the name TensorFlow takes."""
    from ckptui.readers.sniff import sniff

    found = []
    for path in sorted(CORPUS.rglob("*")):
        if path.is_file() and sniff(str(path)).kind == "tf-checkpoint-v1":
            found.append(str(path).replace("-00000-of-", "-?????-of-"))
    return found


THIRD_PARTY = third_party() if CORPUS.is_dir() else []


def compare(path: str, wanted: dict[str, Any]) -> int:
    """Hold a checkpoint against an answer down to the bytes; the number of tensors."""
    bundle = open_v1(path)
    listing = bundle.listing()
    assert not listing.findings, path
    assert not bundle.verify()
    assert [t.problem for t in listing.tensors if t.problem] == []
    found = {t.name: [t.dtype, list(t.shape), digest(bundle.array(t))] for t in listing.tensors}
    bundle.close()
    assert found.keys() >= wanted.keys()
    assert {name: found[name] for name in wanted} == wanted, path
    return len(wanted)


@pytest.mark.tensorflow
def test_what_tensorflow_saved_and_reads_comes_out_the_same(answered: list[dict[str, Any]]) -> None:
    saved = read = 0
    for answer in answered:
        saved += compare(answer["path"], answer["saved"])
        read += compare(answer["path"], answer["read"])
    print(f"{saved} tensors as TensorFlow saved them, {read} as it reads them, in {len(answered)} V1 checkpoints")
    assert saved > 280
    assert read > 340


@needs_corpus
@pytest.mark.tensorflow
def test_third_party_files_come_out_as_tensorflow_reads_them(answered: list[dict[str, Any]]) -> None:
    answers = {a["path"]: a["read"] for a in answered if a["path"] in THIRD_PARTY}
    assert len(answers) >= 7
    count = sum(compare(path, read) for path, read in answers.items())
    print(f"{count} tensors of {len(answers)} third-party V1 checkpoints equal TensorFlow's")
    assert count >= 2 * len(answers)


@needs_corpus
def test_saved_models_of_2016_have_their_variables(tmp_path: Path) -> None:
    with Session() as session:
        folders = [p.parent for p in (CORPUS / "tf-v1ckpt-savedmodel-2016").rglob("saved_model.pb*")]
        assert len(folders) >= 4
        for folder in folders:
            listing = session.open(str(folder))
            assert {t.name for t in listing.tensors} == {"a", "b"}
            assert listing.artifact.parameters == 2
            scans = [s for s in session.scan(listing) if isinstance(s, TensorScan)]
            assert {(s.checksum, s.stats.max if s.stats else None) for s in scans} == {("ok", 0.5), ("ok", 2.0)}
            assert session.array(listing, "b") == 2.0


# ---------------------------------------------------------------------- files made here


def opened(path: Path | str) -> tuple[BundleV1, Listing, dict[str, Tensor]]:
    bundle = open_v1(str(path))
    listing = bundle.listing()
    return bundle, listing, {t.name: t for t in listing.tensors}


@pytest.mark.parametrize("snappy", [False, True])
@pytest.mark.parametrize(
    "dtype", sorted(v1.FLOATS) + sorted(v1.VARINTS) + ["int32", "int16", "int8", "uint8", "uint16"]
)
def test_every_dtype_in_every_layout(tmp_path: Path, dtype: str, snappy: bool) -> None:
    import ml_dtypes

    element = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    rng = np.random.default_rng(3)
    raw = rng.integers(0, 256, 6 * element.itemsize, np.uint8)
    value = (raw % 2).astype(bool) if dtype == "bool" else raw.view(element)
    value = value.reshape(2, 3)
    tensors = {
        "m": value,
        "s": value[0, 0],
        "e": value[:0],
        "cut": v1.Parts(value, [[(0, -1), (0, 2)], [(0, -1), (2, 1)]]),
    }
    path = make(tmp_path, "x", tensors, dtypes=dict.fromkeys(tensors, dtype), snappy=snappy)
    bundle, listing, found = opened(path)
    assert not listing.findings
    for name, wanted in (("m", value), ("s", value[0, 0]), ("e", value[:0]), ("cut", value)):
        assert bundle.array(found[name]).tobytes() == np.asarray(wanted).tobytes(), name
        assert found[name].dtype == dtype
        pieces = list(bundle.chunks(found[name], 7))
        assert b"".join(piece.tobytes() for piece in pieces) == np.asarray(wanted).tobytes(), name
        assert all(piece.ndim == 1 and piece.dtype.isnative for piece in pieces)


def test_a_listing_tells_where_and_what(tmp_path: Path) -> None:
    path = make(
        tmp_path, "model.ckpt-12", {"conv1/kernel": ROWS, "global_step": np.int64(12), "t": np.array([b"x"], object)}
    )
    _, listing, found = opened(path)
    artifact = listing.artifact
    assert (artifact.kind, artifact.step, artifact.tensors, artifact.shards) == ("tf-checkpoint-v1", 12, 3, 1)
    assert (artifact.parameters, artifact.bytes) == (24, path.stat().st_size)
    assert artifact.writer == {"format": "v1-table", "generation": "TF1 Saver, write_version V1", "producer": 1}
    kernel = found["conv1/kernel"]
    assert (kernel.layer, kernel.role, kernel.storage.encoding) == ("conv1", "kernel", "v1")
    segment = kernel.storage.segment
    assert segment is not None
    assert ROWS.tobytes() in path.read_bytes()[segment.offset : segment.offset + segment.bytes]
    assert found["global_step"].role == "step"


def test_loose_scalars_and_several_occurrences_are_values_too(tmp_path: Path) -> None:
    loose = v1.unpacked_floats([1, 2]) + mb.field_bytes(5, np.array([3], "f4").tobytes())
    ints = mb.field_bytes(7, mb.varint(-1) + mb.varint(5)) + mb.varint(7 << 3) + mb.varint(9)
    items = [
        (b"", v1.meta_record([v1.slice_meta("f", 1, [3], [v1.full(1)]), v1.slice_meta("i", 3, [3], [v1.full(1)])])),
        (v1.key("f", v1.full(1)), v1.data_record("f", v1.full(1), mb.field_bytes(99, b"unknown") + loose)),
        (v1.key("i", v1.full(1)), v1.data_record("i", v1.full(1), ints)),
    ]
    bundle, listing, found = opened(put(tmp_path, "x", mb.table(items)))
    assert not listing.findings
    assert sorted(bundle.array(found["f"]).tolist()) == [1, 2, 3]
    assert sorted(bundle.array(found["i"]).tolist()) == [-1, 5, 9]


def test_odd_names(tmp_path: Path) -> None:
    names = [b"a\x00b", b"\xff\xfe", "é".encode(), b"\x1b[31m", b"", b"x" * 5000]
    _, listing, found = opened(make(tmp_path, "x", {name: ROWS for name in names}))
    assert set(found) == {"a\x00b", "\\xff\\xfe", "é", "\x1b[31m", "", "x" * 5000}
    assert not listing.findings
    for name in names:
        extents = ((0, -1), (5, 2**40), (2**62, 1))
        assert slice_key(encode_slice_key(name, extents)) == (name, extents)
        assert encode_slice_key(name, extents) == v1.key(name, extents)


def test_parts_over_several_files_are_put_together(tmp_path: Path) -> None:
    cuts = [[(0, 2), (0, -1)], [(2, 4), (0, 3)], [(2, 4), (3, 1)]]
    for shard in range(3):
        left_out = [n for n in range(3) if n != shard]
        tensors = {"table": v1.Parts(ROWS, cuts, left_out), f"own{shard}": np.array([shard], "i4")}
        tensors["counts"] = v1.Parts(ROWS.astype("i8") - 9, cuts, left_out)
        make(tmp_path, f"m-0000{shard}-of-00003", tensors, snappy=shard == 1)
    bundle, listing, found = opened(tmp_path / "m-?????-of-00003")
    assert not listing.findings
    assert (listing.artifact.shards, listing.artifact.tensors) == (3, 5)
    assert np.array_equal(bundle.array(found["table"]), ROWS)
    assert np.array_equal(bundle.array(found["counts"]), ROWS.astype("i8") - 9)
    assert {len(found[name].storage.slices) for name in ("table", "counts")} == {3}
    parts = {part for _, _, _, part in bundle.checksums(found["table"], lambda _: None)}
    assert parts == {f"block 0 of m-0000{shard}-of-00003" for shard in range(3)}


def test_a_missing_checkpoint_and_a_missing_tensor_are_plain_errors(tmp_path: Path) -> None:
    for name in ("nothing", "nothing-?????-of-00002"):
        with pytest.raises(NoSuchPath):
            open_v1(str(tmp_path / name))
    with pytest.raises(NoSuchPath):
        open_v1(str(tmp_path))
    bundle, _, _ = opened(make(tmp_path, "x", {"w": ROWS}))
    with pytest.raises(NoSuchTensor):
        list(bundle.chunks(Tensor("v", "float32", (1,), 4)))


def test_a_file_that_changes_is_told(tmp_path: Path) -> None:
    path = make(tmp_path, "x", {"w": ROWS})
    bundle, _, found = opened(path)
    path.write_bytes(v1.v1_file({"w": ROWS, "more": ROWS}))
    with pytest.raises((ChangedWhileReading, Damaged)):
        list(bundle.chunks(found["w"]))


def test_the_registry_opens_them_and_a_scan_counts_their_checksums(tmp_path: Path) -> None:
    path = make(tmp_path, "x", {"w": ROWS, "texts": np.array([b"a", b"bc"], object), "c": np.array([1j, np.nan], "c8")})
    reader = open_reader(path, "tf-checkpoint-v1")
    files = Files()
    scanner = Scanner(str(path), reader, files, lambda _: None, stats=True, check=True)
    scans = {t.name: scanner.scan(t) for t in reader.listing().tensors}
    assert {s.checksum for s in scans.values()} == {"ok"}
    stats = scans["w"].stats
    assert stats is not None
    assert (stats.count, stats.max, stats.mean) == (24, 23.0, 11.5)
    assert [f.code for f in scans["c"].findings] == ["non-finite"]
    assert scans["texts"].stats == Stats(2)
    unchecked = Scanner(str(path), reader, files, lambda _: None, stats=True, check=False)
    assert unchecked.scan(reader.listing().tensors[0]).checksum == "none"
    files.close()
    reader.close()


def test_a_changed_sharded_checkpoint_is_listed_anew(tmp_path: Path) -> None:
    make(tmp_path, "m-00000-of-00001", {"w": ROWS})
    with Session() as session:
        path = str(tmp_path / "m-?????-of-00001")
        assert [t.name for t in session.open(path).tensors] == ["w"]
        make(tmp_path, "m-00000-of-00001", {"v": ROWS, "w": ROWS})
        assert [t.name for t in session.open(path).tensors] == ["v", "w"]


def test_a_large_file_is_listed_without_its_values_being_read(tmp_path: Path) -> None:
    """A sparse gigabyte between the records: the list comes at once and takes no memory."""
    path = tmp_path / "big"
    count = 1 << 28
    header = v1.data_record("big", v1.full(1), b"")
    assert header
    proto_size = 4 * count
    inner = mb.field_bytes(1, b"big") + mb.field_bytes(2, mb.slice_proto(v1.full(1)))
    packed = mb.varint(5 << 3 | 2) + mb.varint(proto_size)
    tensor = mb.varint(3 << 3 | 2) + mb.varint(len(packed) + proto_size) + packed
    saved = mb.varint(2 << 3 | 2) + mb.varint(len(inner) + len(tensor) + proto_size) + inner + tensor
    key = v1.key("big", v1.full(1))
    start = mb.varint(0) + mb.varint(len(key)) + mb.varint(len(saved) + proto_size) + key + saved
    first = mb.trailed(mb.block([(b"", v1.meta_record([v1.slice_meta("big", 1, [count], [v1.full(1)])]))]))
    size = len(start) + proto_size + 8
    with open(path, "wb") as out:
        out.write(first + start)
        out.seek(proto_size, os.SEEK_CUR)
        out.write(np.array([0, 1], "<u4").tobytes() + b"\0" + bytes(4))
        meta = mb.trailed(mb.block([]))
        handles = [(b"\0", mb.varint(0) + mb.varint(len(first) - 5)), (key, mb.varint(len(first)) + mb.varint(size))]
        index = mb.trailed(mb.block(handles, 1))
        at = len(first) + size + 5
        footer = mb.varint(at) + mb.varint(len(meta) - 5) + mb.varint(at + len(meta)) + mb.varint(len(index) - 5)
        out.write(meta + index + footer.ljust(40, b"\0") + mb.MAGIC)
    code = (
        "import resource, sys, time\n"
        "from ckptui.readers.bundle_v1 import open_v1\n"
        "start, base = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "bundle = open_v1(sys.argv[1])\n"
        "tensor = bundle.listing().tensors[0]\n"
        "assert tensor.shape == (1 << 28,) and not tensor.problem, tensor\n"
        "seconds = time.process_time() - start\n"
        "total = sum(chunk.size for chunk in bundle.chunks(tensor))\n"
        "assert total == 1 << 28\n"
        "grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base\n"
        "print(seconds, grown)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True, check=True)
    seconds, grown = map(float, done.stdout.split())
    print(f"1 GiB tensor listed in {seconds * 1000:.1f} ms; reading it all took {grown / 1024:.0f} MiB of memory")
    assert seconds < 0.5
    assert grown < 64 * 1024
