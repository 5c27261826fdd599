"""Damaged V1 checkpoints: each cause by its own name, every tensor it takes named, nothing else blamed."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui.core.model import Finding, Listing
from ckptui.engine.checked import Files
from ckptui.engine.scan import Scanner
from ckptui.readers.bundle_v1 import open_v1
from ckptui.readers.discover import resolve
from ckptui.readers.sniff import sniff
from ckptui.session import Session, checked_listing
from tests.damaged.asking import ask_tensorflow
from tests.damaged.conftest import Oracle
from tests.readers import make_bundle as mb
from tests.readers import make_v1 as v1

VALUES: dict[str, Any] = {f"w{n}": np.arange(60, dtype="f4").reshape(6, 10) + n for n in range(6)}
BLOCKS: dict[str, Any] = {"block_size": 420}
"""Two tensors a block."""


def put(folder: Path, data: bytes, name: str = "model.ckpt-7") -> str:
    (folder / name).write_bytes(data)
    return str(folder / name)


def checked(path: str) -> tuple[Listing, dict[str, Any]]:
    """The listing after a full check in this process, and the values of what passed it."""
    bundle = open_v1(path)
    files = Files()
    try:
        listing = bundle.listing()
        scanner = Scanner(path, bundle, files, lambda _: None, stats=False, check=True)
        scans = {t.name: scanner.scan(t) for t in listing.tensors}
        findings = [f for scan in scans.values() for f in scan.findings] + bundle.verify()
        good = {t.name: bundle.array(t) for t in listing.tensors if scans[t.name].checksum == "ok"}
        assert all(scan.checksum != "none" for scan in scans.values())
        return checked_listing(listing, findings), good
    finally:
        files.close()
        bundle.close()


def told(listing: Listing) -> list[tuple[str, str | None]]:
    return sorted(((f.code, f.tensor) for f in listing.findings), key=str)


def only(listing: Listing, code: str) -> Finding:
    found = [f for f in listing.findings if f.code == code]
    assert len(found) == 1, told(listing)
    return found[0]


def same(good: dict[str, Any], names: set[str], wanted: dict[str, Any] = VALUES) -> None:
    assert set(good) == names
    for name in names:
        assert np.array_equal(good[name], wanted[name])


# ---------------------------------------------------------------------- one row each


def test_a_cut_file_names_what_is_lost_and_how_much(tmp_path: Path) -> None:
    data = v1.v1_file(VALUES, **BLOCKS)
    start = data.index(VALUES["w3"].tobytes())
    path = put(tmp_path, data[: start + 100])
    listing, good = checked(path)
    # the list and w0 share a block; w1 and w2, w3 and w4 the next two
    same(good, {"w0", "w1", "w2"})
    assert told(listing) == [("shard-truncated", f"w{n}") for n in (3, 4, 5)]
    cut = next(f for f in listing.findings if f.tensor == "w3")
    assert cut.evidence["found"] == start + 100
    assert cut.evidence["expected"] == start + 240
    assert cut.evidence["bytes_missing"] == 140
    assert "not an sstable (bad magic number)" in cut.evidence["tensorflow_says"]
    assert path in cut.evidence["tensorflow_says"]
    gone = next(f for f in listing.findings if f.tensor == "w5")
    assert (gone.evidence["bytes_missing"], gone.evidence["at_least"]) == (240, True)


def test_bytes_without_the_checksum_that_vouched_for_them_are_no_values(tmp_path: Path) -> None:
    data = v1.v1_file(VALUES, **BLOCKS)
    start = data.index(VALUES["w3"].tobytes())
    listing, good = checked(put(tmp_path, data[: start + 250]))
    same(good, {"w0", "w1", "w2"})
    lost = next(f for f in listing.findings if f.tensor == "w3")
    assert (lost.code, lost.evidence["bytes_missing"]) == ("shard-truncated", 0)
    assert "checksum that vouched" in lost.detail


def test_a_cut_directory_costs_no_tensor(tmp_path: Path) -> None:
    data = v1.v1_file(VALUES, **BLOCKS)
    for missing in (1, 30, 48, 60):
        listing, good = checked(put(tmp_path, data[:-missing]))
        same(good, set(VALUES))
        found = only(listing, "shard-truncated")
        assert found.tensor is None
        assert (found.evidence["tensors_lost"], found.evidence["found"]) == (0, len(data) - missing)


def test_a_short_file_says_so_in_tensorflows_words(tmp_path: Path) -> None:
    data = v1.v1_file({"w": np.array([1], "f4")})
    listing, _ = checked(put(tmp_path, data[:40]))
    found = only(listing, "shard-truncated")
    assert found.tensor == "w"
    assert "file is too short to be an sstable" in found.evidence["tensorflow_says"]


def test_a_flipped_bit_takes_its_block_and_no_more(tmp_path: Path) -> None:
    data = bytearray(v1.v1_file(VALUES, **BLOCKS))
    place = data.index(VALUES["w2"].tobytes()) + 17
    data[place] ^= 8
    path = put(tmp_path, bytes(data))
    assert open_v1(path).listing().findings == ()
    listing, good = checked(path)
    same(good, {"w0", "w3", "w4", "w5"})
    assert told(listing) == [("checksum-mismatch", "w1"), ("checksum-mismatch", "w2")]
    evidence = listing.findings[0].evidence
    assert evidence["offset"] <= place < evidence["offset"] + evidence["bytes"]
    assert evidence["expected"] != evidence["found"]
    assert (evidence["file"], evidence["part"]) == (path, "block 1")
    assert evidence["tensorflow_says"] == "w1 not found in checkpoint file"
    assert (evidence["flipped_bit"]["offset"], evidence["flipped_bit"]["bit"]) == (place, 3)
    assert listing.findings[0].title == "One bit of the block it lies in is flipped"
    assert "--repair-bits" not in listing.findings[0].advice


def test_a_flip_in_a_records_head_is_told_before_any_value_is_read(tmp_path: Path) -> None:
    data = bytearray(v1.v1_file(VALUES, **BLOCKS))
    place = data.index(b"\x00w3\x00\x01") - 1
    data[place] ^= 0x40
    path = put(tmp_path, bytes(data))
    assert ("checksum-mismatch", "w3") in told(open_v1(path).listing())
    listing, good = checked(path)
    same(good, {"w0", "w1", "w2", "w5"})
    assert {code for code, _ in told(listing)} == {"checksum-mismatch"}
    assert {f.tensor for f in listing.findings} == {"w3", "w4"}


def test_a_flip_in_the_list_of_tensors(tmp_path: Path) -> None:
    data = bytearray(v1.v1_file(VALUES, **BLOCKS))
    data[20] ^= 1
    path = put(tmp_path, bytes(data))
    quick = open_v1(path).listing()
    found = only(quick, "index-damaged")
    assert (found.evidence["where"], found.evidence["offset"]) == ("data block", 0)
    assert found.evidence["expected"] != found.evidence["found"]
    assert "Unable to open table file" in found.evidence["tensorflow_says"]
    listing, good = checked(path)
    assert {code for code, _ in told(listing)} <= {"index-damaged", "checksum-mismatch"}
    assert not set(good) & {"w0"}


def test_a_wrong_magic_number_is_no_truncation(tmp_path: Path) -> None:
    data = bytearray(v1.v1_file(VALUES, **BLOCKS))
    data[-1] ^= 1
    listing, good = checked(put(tmp_path, bytes(data)))
    same(good, set(VALUES))
    found = only(listing, "index-damaged")
    assert (found.evidence["where"], found.evidence["offset"]) == ("footer", len(data) - 48)
    assert "bad magic number" in found.evidence["tensorflow_says"]


def test_appended_bytes(tmp_path: Path) -> None:
    data = v1.v1_file(VALUES, **BLOCKS)
    listing, good = checked(put(tmp_path, data + b"appended"))
    same(good, set(VALUES))
    assert "8 bytes follow the footer" in only(listing, "index-damaged").detail


def test_what_no_reader_looks_at_is_cosmetic(tmp_path: Path) -> None:
    data = v1.v1_file(VALUES, **BLOCKS)
    meta = data.index(mb.trailed(mb.block([])))
    for place in (meta, len(data) - 12):
        broken = bytearray(data)
        broken[place] ^= 1
        listing, good = checked(put(tmp_path, bytes(broken)))
        same(good, set(VALUES))
        found = only(listing, "index-damaged")
        assert (found.severity, found.evidence["cosmetic"]) == ("warning", True)


def test_a_zero_tail_is_told_from_a_cut(tmp_path: Path) -> None:
    data = v1.v1_file(VALUES, **BLOCKS)
    start = data.index(VALUES["w3"].tobytes()) + 41
    listing, good = checked(put(tmp_path, data[:start] + bytes(len(data) - start)))
    same(good, {"w0", "w1", "w2"})
    assert {code for code, _ in told(listing)} == {"zero-filled"}
    assert {f.tensor for f in listing.findings} == {"w3", "w4", "w5"}
    assert all(f.evidence["bytes"] and f.evidence["offset"] <= len(data) for f in listing.findings)


def test_a_missing_file_of_several(tmp_path: Path) -> None:
    cuts = [[(0, 2), (0, -1)], [(2, 4), (0, -1)]]
    for shard in (0, 2):
        left = [1] if shard == 0 else [0, 1]
        tensors = {f"w{shard}": VALUES["w0"], **({"cut": v1.Parts(VALUES["w1"], cuts, left)} if shard == 0 else {})}
        put(tmp_path, v1.v1_file(tensors), f"m-0000{shard}-of-00003")
    path = str(tmp_path / "m-?????-of-00003")
    listing, good = checked(path)
    assert set(good) == {"w0", "w2"}
    found = only(listing, "shard-missing")
    assert found.evidence["file"] == str(tmp_path / "m-00001-of-00003")
    assert (found.evidence["expected"], found.evidence["found"]) == (3, 2)
    assert "not found in checkpoint file" in found.evidence["tensorflow_says"]
    cut = next(t for t in listing.tensors if t.name == "cut")
    assert cut.problem == "its parts cover 20 of 60 elements (33 %)"
    assert len(listing.findings) == 1


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty-file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 7\n", "not-a-model"),
        (b"<!DOCTYPE html><title>404</title>", "not-a-model"),
    ],
)
def test_a_file_of_several_that_is_none(tmp_path: Path, data: bytes, code: str) -> None:
    put(tmp_path, v1.v1_file({"w": VALUES["w0"]}), "m-00000-of-00002")
    put(tmp_path, data, "m-00001-of-00002")
    listing, good = checked(str(tmp_path / "m-?????-of-00002"))
    assert set(good) == {"w"}
    found = only(listing, code)
    assert found.evidence["file"] == str(tmp_path / "m-00001-of-00002")
    assert "Unable to open table file" in found.evidence["tensorflow_says"]


def test_a_list_of_tensors_that_is_missing(tmp_path: Path) -> None:
    listing, good = checked(put(tmp_path, mb.table(v1.records(VALUES)[1:], **BLOCKS)))
    found = only(listing, "index-damaged")
    assert "list of tensors is missing" in found.detail
    assert found.evidence["tensorflow_says"].startswith("Failed to find the saved tensor slices")
    assert {t.name for t in listing.tensors} == set(VALUES)
    assert all(t.problem and t.dtype == "#0" for t in listing.tensors)
    assert not good


def test_a_listed_tensor_without_a_record(tmp_path: Path) -> None:
    records = [r for r in v1.records(VALUES) if b"w4" not in r[0]]
    listing, good = checked(put(tmp_path, mb.table(records, **BLOCKS)))
    same(good, set(VALUES) - {"w4"})
    found = only(listing, "entry-invalid")
    assert found.tensor == "w4"
    assert found.evidence["tensorflow_says"] == "w4 not found in checkpoint file"


def test_a_record_that_the_list_does_not_name(tmp_path: Path) -> None:
    whole = v1.records(VALUES)
    fewer = v1.records({k: v for k, v in VALUES.items() if k != "w4"})
    listing, good = checked(put(tmp_path, mb.table([fewer[0], *whole[1:]], **BLOCKS)))
    same(good, set(VALUES) - {"w4"})
    assert only(listing, "entry-invalid").tensor == "w4"


def test_parts_that_leave_a_hole_or_overlap(tmp_path: Path) -> None:
    halves = [[(0, 3), (0, -1)], [(3, 3), (0, -1)]]
    holes = v1.v1_file({"cut": v1.Parts(VALUES["w1"], halves, [1])})
    found = only(checked(put(tmp_path, holes))[0], "entry-invalid")
    assert (found.tensor, found.evidence["expected"], found.evidence["found"]) == ("cut", 60, 30)
    assert found.evidence["fraction"] == 0.5
    twice = v1.v1_file({"cut": v1.Parts(VALUES["w1"], [*halves, [(0, 6), (0, -1)]])})
    assert only(checked(put(tmp_path, twice))[0], "duplicate-key").tensor == "cut"


def test_two_files_that_give_a_tensor_twice_or_otherwise(tmp_path: Path) -> None:
    path = str(tmp_path / "m-?????-of-00002")
    put(tmp_path, v1.v1_file({"w": VALUES["w0"]}), "m-00000-of-00002")
    put(tmp_path, v1.v1_file({"w": VALUES["w0"]}), "m-00001-of-00002")
    assert only(checked(path)[0], "duplicate-key").tensor == "w"
    put(tmp_path, v1.v1_file({"w": VALUES["w0"][0]}), "m-00001-of-00002")
    found = only(checked(path)[0], "entry-invalid")
    assert (found.tensor, found.evidence["shape"]) == ("w", [10])


def test_values_that_are_fewer_than_the_shape(tmp_path: Path) -> None:
    for stored, code in ((30, "entry-invalid"), (61, "entry-invalid")):
        proto = v1.tensor_proto(np.zeros(stored, "f4"), "float32")
        items = [
            (b"", v1.meta_record([v1.slice_meta("w", 1, [6, 10], [v1.full(2)])])),
            (v1.key("w", v1.full(2)), v1.data_record("w", v1.full(2), proto)),
        ]
        listing, good = checked(put(tmp_path, mb.table(items)))
        found = only(listing, code)
        assert found.tensor == "w"
        assert not good


# ---------------------------------------------------------------------- finding and commands


def test_a_damaged_file_is_still_found_as_one(tmp_path: Path) -> None:
    data = v1.v1_file(VALUES)
    for broken in (data[:-9], data[:100], data + b"x", data[:-1] + b"\0"):
        path = put(tmp_path, broken)
        assert sniff(path).kind == "tf-checkpoint-v1"
        assert resolve(path).kind == "tf-checkpoint-v1"
    for foreign in (b"\0" * 500, b"\0\0\x05hello" * 30, data[1:], b"\0\0\x0a\x0a\x08\x0a\x06\x0a\x04w"):
        assert sniff(put(tmp_path, foreign, "other")).kind is None


def test_the_session_checks_them_in_children(tmp_path: Path) -> None:
    data = bytearray(v1.v1_file(VALUES, **BLOCKS))
    data[data.index(VALUES["w5"].tobytes())] ^= 1
    path = put(tmp_path, bytes(data))
    with Session() as session:
        listing = session.open(path)
        assert listing.artifact.status == "ok"
        findings = [f for scan in session.scan(listing, stats=False) for f in getattr(scan, "findings", ())]
        findings += session.verify(listing)
    assert {(f.code, f.tensor) for f in findings} == {("checksum-mismatch", "w5")}


# ---------------------------------------------------------------------- matrices


SMALL: dict[str, Any] = {
    "bias": np.array([1.5, -2], "f4"),
    "cut": np.arange(6, dtype="i4").reshape(3, 2) * 1000,
    "step": np.int64(12345678),
    "texts": np.array([b"one", b""], object),
}


def small() -> bytes:
    cut = v1.Parts(SMALL["cut"], [[(0, 1), (0, -1)], [(1, 2), (0, -1)]])
    return v1.v1_file({**SMALL, "cut": cut}, block_size=90)


def verdict(path: str) -> str:
    """How a broken file was told; fails where a value is wrong and nothing says so."""
    start = time.process_time()
    listing, good = checked(path)
    assert time.process_time() - start < 2
    named = {f.tensor for f in listing.findings if f.severity == "error"}
    shapes = {t.name: t for t in listing.tensors}
    for name, wanted in SMALL.items():
        if name in good:
            right = good[name].shape == wanted.shape and np.array_equal(good[name], wanted)
            assert right or None in named, (name, good[name], told(listing))
            assert shapes[name].dtype == v1.dtype_of(wanted) or None in named
        else:
            assert name in named or None in named, (name, told(listing))
    assert not (set(good) - set(SMALL)) or None in named
    codes = {f.code for f in listing.findings}
    return "+".join(sorted(codes)) or "nothing"


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the search for the flipped bit, which a single case has a test of its own for."""
    monkeypatch.setattr("ckptui.engine.mismatches.flipped_bits", lambda *_: [])


def matrix(tmp_path: Path, cases: list[tuple[str, bytes]], check: Callable[[str, str], None]) -> Counter[str]:
    counts: Counter[str] = Counter()
    path = tmp_path / "x"
    for label, data in cases:
        path.write_bytes(data)
        outcome = verdict(str(path))
        check(label, outcome)
        counts[outcome] += 1
    return counts


@pytest.mark.usefixtures("hasty")
def test_every_truncation_is_told(tmp_path: Path) -> None:
    data = small()
    counts = matrix(tmp_path, [(str(n), data[:n]) for n in range(len(data))], lambda label, told: None)
    print(f"{len(data)} truncations: {dict(counts)}")
    assert set(counts) == {"empty-file", "shard-truncated"}


@pytest.mark.usefixtures("hasty")
def test_every_flipped_bit_is_told(tmp_path: Path) -> None:
    data = small()
    cases = []
    for place in range(len(data)):
        for bit in range(8):
            broken = bytearray(data)
            broken[place] ^= 1 << bit
            cases.append((f"{place}.{bit}", bytes(broken)))

    def check(label: str, outcome: str) -> None:
        assert outcome != "nothing", label

    counts = matrix(tmp_path, cases, check)
    print(f"{len(cases)} flipped bits, all told: {dict(counts)}")
    # a flipped bit that makes a NaN is told as both
    codes = {code for outcome in counts for code in outcome.split("+")}
    assert codes == {"index-damaged", "checksum-mismatch", "non-finite"}


@pytest.mark.usefixtures("hasty")
def test_random_damage_never_escapes(tmp_path: Path) -> None:
    rng = random.Random(7)
    data = small()
    cases = []
    for number in range(600):
        broken = bytearray(data)
        for _ in range(rng.randrange(1, 9)):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        if number % 3 == 0:
            at = rng.randrange(len(broken))
            broken[at:at] = rng.randbytes(rng.randrange(40))
        cases.append((str(number), bytes(broken)))
    counts = matrix(tmp_path, cases, lambda label, told: None)
    print(f"600 files with random damage: {dict(counts)}")
    assert counts["nothing"] < 12


HOSTILE: dict[str, list[tuple[bytes, bytes]]] = {
    "huge": [(b"", v1.meta_record([v1.slice_meta("w", 1, [2**40, 2**20], [v1.full(2)])]))],
    "overflow": [(b"", v1.meta_record([v1.slice_meta("w", 1, [2**62, 2**62], [v1.full(2)])]))],
    "negative": [(b"", v1.meta_record([v1.slice_meta("w", 1, [-5, 3], [v1.full(2)])]))],
    "rank": [(b"", v1.meta_record([v1.slice_meta("w", 1, [1] * 300, [v1.full(300)])]))],
    "dtype": [(b"", v1.meta_record([v1.slice_meta("w", 999, [2], [v1.full(1)])]))],
    "reference": [(b"", v1.meta_record([v1.slice_meta("w", 101, [2], [v1.full(1)])]))],
    "resource": [(b"", v1.meta_record([v1.slice_meta("w", 20, [2], [v1.full(1)])]))],
    "outside": [(b"", v1.meta_record([v1.slice_meta("w", 1, [4], [[(2, 7)]])]))],
    "many empty": [(b"", v1.meta_record([v1.slice_meta(f"w{n}", 1, [0, 2**40], [v1.full(2)]) for n in range(500)]))],
}


@pytest.mark.parametrize("case", sorted(HOSTILE))
def test_hostile_lists_are_refused_before_anything_is_allocated(tmp_path: Path, case: str) -> None:
    items = HOSTILE[case]
    cuts = v1.full(1 if case in ("dtype", "reference", "resource") else 2)
    extra = (v1.key("w", cuts), v1.data_record("w", cuts, v1.tensor_proto(np.ones(4, "f4"), "float32")))
    start = time.process_time()
    listing, good = checked(put(tmp_path, mb.table([*items, extra])))
    assert time.process_time() - start < 1
    assert not good
    assert listing.artifact.status == "error"
    assert {f.code for f in listing.findings} <= {"entry-invalid"}


@pytest.mark.tensorflow
def test_tensorflow_says_what_the_evidence_says_it_does(tensorflow: Oracle, tmp_path: Path) -> None:
    data = v1.v1_file(VALUES, **BLOCKS)
    flipped = bytearray(data)
    flipped[data.index(VALUES["w2"].tobytes())] ^= 1
    unlisted = mb.table(v1.records(VALUES)[1:], **BLOCKS)
    cases = {
        "cut": (data[:900], "", "shard-truncated"),
        "short": (data[:30], "", "shard-truncated"),
        "magic": (data[:-1] + b"x", "", "index-damaged"),
        "zeros": (data[:900] + bytes(len(data) - 900), "", "zero-filled"),
        "flip": (bytes(flipped), "w2", "checksum-mismatch"),
        "listless": (unlisted, "", "index-damaged"),
        "dataless": (mb.table([r for r in v1.records(VALUES) if b"w4" not in r[0]]), "w4", "entry-invalid"),
    }
    paths = {name: put(tmp_path, content, name) for name, (content, _, _) in cases.items()}
    said = ask_tensorflow(tensorflow, list(paths.values()))
    for name, (_, tensor, code) in cases.items():
        listing, _ = checked(paths[name])
        found = [f for f in listing.findings if f.code == code and f.tensor in (tensor or f.tensor, None)]
        assert found, (name, told(listing))
        for finding in found:
            assert finding.evidence["tensorflow_says"] in said[paths[name]][tensor], (name, said[paths[name]])
