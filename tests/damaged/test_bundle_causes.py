"""One wrong checksum, many causes: each told apart from the others through the full check, with its evidence."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui.core.model import Finding, TensorScan
from ckptui.session import Session, checked_listing
from tests.damaged.bundles import SHARD
from tests.readers.make_bundle import strings, write_bundle

COUNTER = "save_counter/.ATTRIBUTES/VARIABLE_VALUE"
STEP = "step/.ATTRIBUTES/VARIABLE_VALUE"


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Session() as running:
        yield running


def told(session: Session, prefix: str) -> list[Finding]:
    """Everything a full check says in the end."""
    listing = session.open(prefix)
    found: list[Finding] = []
    scans: dict[str, TensorScan] = {}
    for item in session.scan(listing, stats=False):
        if isinstance(item, TensorScan):
            scans[item.name] = item
        elif isinstance(item, Finding):
            found.append(item)
    assert len(scans) == len(listing.tensors)
    findings = [*(finding for scan in scans.values() for finding in scan.findings), *found]
    return list(checked_listing(listing, findings).findings)


def pairs(findings: list[Finding]) -> set[tuple[str, str | None]]:
    return {(finding.code, finding.tensor) for finding in findings}


def weights(seed: int, counter: int, step: int, trained: bool = True, layers: int = 12) -> dict[str, Any]:
    """A save of a small model; untrained ones of different seeds differ in their counters alone."""
    draw = np.random.default_rng(seed if trained else 0)
    tensors: dict[str, Any] = {
        f"layer{n:02}/kernel": draw.normal(0, 0.1, (40, 16)).astype(np.float32) for n in range(layers)
    }
    tensors |= {f"layer{n:02}/rate": np.float32(0.001) for n in range(layers)}
    tensors["names"] = strings([b"cat", b"dog"])
    tensors[COUNTER] = np.array(counter, np.int64)
    tensors[STEP] = np.array(step, np.int64)
    return tensors


def data_of(prefix: str) -> Path:
    return Path(prefix + SHARD)


def segment(session: Session, prefix: str, name: str) -> tuple[int, int]:
    """(offset, bytes) of a tensor."""
    found = session.tensor(session.open(prefix), name).storage.segment
    assert found is not None
    return found.offset, found.bytes


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


# ---------------------------------------------------------------------- zeros and holes


def big(tmp_path: Path) -> str:
    """A tensor of pages, and a small one after it."""
    draw = np.random.default_rng(3)
    return write_bundle(
        tmp_path / "x", {"a": draw.normal(size=40_000).astype(np.float32), "b": np.arange(9, dtype=np.int32)}
    )


def test_a_zero_filled_tail_names_every_tensor_in_it(tmp_path: Path, session: Session) -> None:
    prefix = big(tmp_path)
    size = data_of(prefix).stat().st_size
    overwrite(data_of(prefix), 4096 * 30, bytes(size - 4096 * 30))
    found = told(session, prefix)
    assert pairs(found) == {("zero-filled", "a"), ("zero-filled", "b")}
    assert found[0].evidence["zero_run"] == {"offset": 4096 * 30, "bytes": 160_000 - 4096 * 30}
    assert "Checksum does not match" in found[0].evidence["tensorflow_says"]
    assert "sparse" not in found[0].evidence


def punched(path: Path, start: int, end: int) -> None:
    """Write the file anew with a hole."""
    data = path.read_bytes()
    path.unlink()
    with path.open("wb") as file:
        file.write(data[:start])
        file.seek(end)
        file.write(data[end:])
        file.truncate(len(data))


def test_a_hole_is_told_from_zeros_that_were_written(tmp_path: Path, session: Session) -> None:
    prefix = big(tmp_path)
    punched(data_of(prefix), 4096 * 8, 4096 * 16)
    [found] = told(session, prefix)
    assert (found.code, found.tensor, found.certainty) == ("zero-filled", "a", "confirmed")
    assert found.evidence["sparse"] is True
    assert found.evidence["holes"] == [{"offset": 4096 * 8, "bytes": 4096 * 8}]
    assert "never written, or lost" in found.detail


def test_a_sparse_copy_of_zero_weights_is_no_damage(tmp_path: Path, session: Session) -> None:
    prefix = write_bundle(tmp_path / "x", {"zero": np.zeros(100_000, np.float32), "b": np.ones(9, np.float32)})
    subprocess.run(["cp", "--sparse=always", str(data_of(prefix)), str(tmp_path / "copy")], check=True)
    os.replace(tmp_path / "copy", data_of(prefix))
    assert data_of(prefix).stat().st_blocks * 512 < data_of(prefix).stat().st_size
    assert [f for f in told(session, prefix) if f.severity == "error"] == []


def test_a_flipped_bit_in_a_sparse_copy_is_a_flipped_bit(tmp_path: Path, session: Session) -> None:
    zero = np.zeros(100_000, np.float32)
    zero[-5:] = 1
    prefix = write_bundle(tmp_path / "x", {"zero": zero})
    subprocess.run(["cp", "--sparse=always", str(data_of(prefix)), str(tmp_path / "copy")], check=True)
    os.replace(tmp_path / "copy", data_of(prefix))
    overwrite(data_of(prefix), 399_999, b"\x3e")
    [found] = told(session, prefix)
    assert (found.code, found.evidence["flipped_bit"]["offset"]) == ("checksum-mismatch", 399_999)


# ---------------------------------------------------------------------- two saves


def two_saves(tmp_path: Path, trained: bool, counters: tuple[int, int] = (2, 3)) -> tuple[str, str]:
    first = write_bundle(tmp_path / "ckpt-2", weights(2, counters[0], 100, trained))
    second = write_bundle(tmp_path / "ckpt-3", weights(3, counters[1], 100 if not trained else 200, trained))
    return first, second


def test_a_save_written_over_its_index_is_named_though_one_bit_would_explain_it(
    tmp_path: Path, session: Session
) -> None:
    first, second = two_saves(tmp_path, trained=False)
    shutil.copyfile(data_of(first), data_of(second))
    [found] = told(session, second)
    assert (found.code, found.tensor, found.certainty) == ("index-data-mismatch", COUNTER, "confirmed")
    evidence = found.evidence
    assert evidence["matches"] == {"index": f"{first}.index", "data": str(data_of(second)), "score": "27 of 27"}
    assert evidence["same_as"] == str(data_of(first))
    assert evidence["value_found"] == 2
    assert {"expected", "found", "file", "offset", "bytes", "tensorflow_says", "modified"} <= evidence.keys()
    assert "flipped_bit" not in evidence


def test_a_copied_index_is_named_by_the_data_it_belongs_to(tmp_path: Path, session: Session) -> None:
    first, second = two_saves(tmp_path, trained=True)
    Path(f"{first}.index").write_bytes(Path(f"{second}.index").read_bytes())
    found = told(session, first)
    assert pairs(found) == {("index-data-mismatch", f"layer{n:02}/kernel") for n in range(12)} | {
        ("index-data-mismatch", COUNTER),
        ("index-data-mismatch", STEP),
    }
    assert {f.certainty for f in found} == {"confirmed"}
    assert found[0].evidence["matches"] == {
        "index": f"{first}.index",
        "data": str(data_of(second)),
        "score": "27 of 27",
    }
    assert found[0].evidence["counters"] == {COUNTER: 2, STEP: 100}


def test_only_a_counter_differs_and_the_index_was_copied(tmp_path: Path, session: Session) -> None:
    first, second = two_saves(tmp_path, trained=False)
    Path(f"{first}.index").write_bytes(Path(f"{second}.index").read_bytes())
    [found] = told(session, first)
    assert (found.code, found.tensor) == ("index-data-mismatch", COUNTER)
    assert found.evidence["matches"]["data"] == str(data_of(second))


def test_a_leftover_index_of_an_interrupted_overwrite_matches(tmp_path: Path, session: Session) -> None:
    first, second = two_saves(tmp_path, trained=True)
    shutil.copyfile(data_of(second), data_of(first))
    folder = Path(f"{first}_temp")
    folder.mkdir()
    shutil.move(f"{second}.index", folder / "part-00000-of-00001.index")
    data_of(second).unlink()
    # the quick look takes the leftover for the index, so that every checksum holds
    found = [f for f in told(session, first) if f.severity == "error"]
    assert [(f.code, f.tensor) for f in found] == [("index-data-mismatch", None)]
    assert found[0].evidence["rescue"] == str(folder / "part-00000-of-00001.index")


def test_without_the_other_half_it_is_likely(tmp_path: Path, session: Session) -> None:
    first, second = two_saves(tmp_path, trained=True)
    shutil.move(data_of(second), data_of(first))
    Path(f"{second}.index").unlink()
    found = told(session, first)
    assert len(found) == 14
    assert {(f.code, f.certainty) for f in found} == {("index-data-mismatch", "likely")}
    assert "matches" not in found[0].evidence


def test_one_shard_of_two_from_another_save(tmp_path: Path, session: Session) -> None:
    first = write_bundle(tmp_path / "ckpt-1", weights(1, 1, 10), shards=2)
    second = write_bundle(tmp_path / "ckpt-2", weights(2, 2, 20), shards=2)
    shutil.copyfile(f"{second}.data-00001-of-00002", f"{first}.data-00001-of-00002")
    found = told(session, first)
    assert {f.code for f in found} == {"index-data-mismatch"}
    assert {f.evidence["file"] for f in found} == {f"{first}.data-00001-of-00002"}
    assert found[0].evidence["matches"]["index"] == f"{second}.index"


def test_a_flipped_counter_among_other_saves_stays_a_flipped_bit(tmp_path: Path, session: Session) -> None:
    first, _ = two_saves(tmp_path, trained=False)
    offset, _ = segment(session, first, COUNTER)
    overwrite(data_of(first), offset, b"\x06")
    [found] = told(session, first)
    assert (found.code, found.tensor) == ("checksum-mismatch", COUNTER)
    assert found.evidence["flipped_bit"]["value_repaired"] == 2


def test_damage_beside_a_whole_copy_of_the_same_save_stays_damage(tmp_path: Path, session: Session) -> None:
    first = write_bundle(tmp_path / "best", weights(1, 1, 10))
    second = write_bundle(tmp_path / "ckpt-1", weights(1, 1, 10))
    offset, size = segment(session, first, "layer03/kernel")
    overwrite(data_of(first), offset, random.Random(1).randbytes(size))
    [found] = [f for f in told(session, first) if f.code != "non-finite"]
    assert (found.code, found.tensor) == ("checksum-mismatch", "layer03/kernel")
    assert found.evidence["good_copy"] == str(data_of(second))


def test_a_flipped_counter_beside_a_whole_copy_of_the_same_save_stays_a_flipped_bit(
    tmp_path: Path, session: Session
) -> None:
    first = write_bundle(tmp_path / "best", weights(1, 2, 10))
    second = write_bundle(tmp_path / "ckpt-1", weights(1, 2, 10))
    offset, _ = segment(session, first, COUNTER)
    overwrite(data_of(second), offset, b"\x03")
    [found] = told(session, second)
    assert (found.code, found.tensor) == ("checksum-mismatch", COUNTER)
    assert found.evidence["good_copy"] == str(data_of(first))


def test_the_variables_of_another_export(tmp_path: Path, session: Session) -> None:
    from tests.places import SAMPLES

    first = shutil.copytree(SAMPLES / "digits_saved_model", tmp_path / "1")
    second = shutil.copytree(SAMPLES / "digits_saved_model", tmp_path / "2")
    write_bundle(first / "variables/variables", weights(1, 1, 10))
    write_bundle(second / "variables/variables", weights(2, 2, 20))
    shutil.copyfile(data_of(f"{second}/variables/variables"), data_of(f"{first}/variables/variables"))
    found = [f for f in told(session, str(first)) if f.evidence.get("matches")]
    assert len(found) == 14
    assert found[0].evidence["matches"]["index"] == str(second / "variables/variables.index")


# ---------------------------------------------------------------------- other files


def test_random_bytes_of_the_right_size_are_no_other_save(tmp_path: Path, session: Session) -> None:
    prefix = write_bundle(tmp_path / "x", weights(1, 1, 10))
    size = data_of(prefix).stat().st_size
    data_of(prefix).write_bytes(random.Random(4).randbytes(size))
    found = told(session, prefix)
    storage = [f for f in found if f.code == "checksum-mismatch"]
    assert len(storage) == 27
    assert not [f for f in found if f.code in ("index-data-mismatch", "not-a-model", "zero-filled")]
    assert all("not the file that this index was written for" in f.advice for f in storage)


@pytest.mark.parametrize("filler", ["random", "text", "repeated"])
def test_garbage_over_many_tensors_is_no_other_save(filler: str, tmp_path: Path, session: Session) -> None:
    prefix = write_bundle(tmp_path / "x", weights(1, 1, 10))
    start, _ = segment(session, prefix, "layer02/kernel")
    end, size = segment(session, prefix, "layer08/kernel")
    length = end + size - start
    fill = {
        "random": random.Random(4).randbytes(length),
        "text": (b"the quick brown fox " * length)[:length],
        "repeated": (np.float32(0.25).tobytes() * length)[:length],
    }[filler]
    overwrite(data_of(prefix), start, fill)
    storage = [f for f in told(session, prefix) if f.severity == "error" and f.code != "non-finite"]
    assert {f.code for f in storage} == {"checksum-mismatch"}
    assert {f.tensor for f in storage} >= {f"layer{n:02}/kernel" for n in range(2, 9)}
    assert not any("not the file" in f.advice for f in storage)


# ---------------------------------------------------------------------- text-mode copies


def mangled(tmp_path: Path, change: Any, layers: int = 12) -> tuple[str, int]:
    """A save whose data went through `change`; its prefix, and the size the data had."""
    prefix = write_bundle(tmp_path / "x", weights(1, 1, 10, layers=layers))
    data = data_of(prefix).read_bytes()
    data_of(prefix).write_bytes(change(data))
    return prefix, len(data)


def file_finding(found: list[Finding], prefix: str) -> Finding:
    """The one about the file; nothing else about it may blame another cause."""
    [about] = [f for f in found if f.tensor is None]
    assert (about.code, about.evidence["file"]) == ("not-a-model", str(data_of(prefix)))
    assert about.evidence["text_mangled"] is True
    assert {f.code for f in found if f.tensor is not None} <= {"checksum-mismatch", "shard-truncated", "non-finite"}
    return about


def test_line_feeds_that_became_crlf(tmp_path: Path, session: Session) -> None:
    prefix, size = mangled(tmp_path, lambda data: data.replace(b"\n", b"\r\n"))
    found = told(session, prefix)
    evidence = file_finding(found, prefix).evidence
    assert (evidence["mangling"], evidence["reversible"]) == ("crlf", True)
    assert (evidence["expected"], evidence["found"]) == (size, data_of(prefix).stat().st_size)
    assert (evidence["proved"], evidence["of"]) == (26, 27)
    assert sum(f.code == "checksum-mismatch" for f in found) >= 12
    assert evidence["tensorflow_says"]


def test_crlf_that_lost_its_cr(tmp_path: Path, session: Session) -> None:
    prefix, size = mangled(tmp_path, lambda data: data.replace(b"\r\n", b"\n"), layers=120)
    lost = size - data_of(prefix).stat().st_size
    assert lost
    found = told(session, prefix)
    evidence = file_finding(found, prefix).evidence
    assert (evidence["mangling"], evidence["reversible"]) == ("lf", False)
    assert evidence["expected"] - evidence["found"] == lost
    assert evidence["proved"] > 0


def test_stripped_eighth_bits(tmp_path: Path, session: Session) -> None:
    prefix, _ = mangled(tmp_path, lambda data: bytes(byte & 127 for byte in data))
    evidence = file_finding(told(session, prefix), prefix).evidence
    assert (evidence["mangling"], evidence["reversible"]) == ("seven-bit", False)


def test_bytes_written_as_utf8(tmp_path: Path, session: Session) -> None:
    prefix, size = mangled(tmp_path, lambda data: data.decode("latin-1").encode())
    evidence = file_finding(told(session, prefix), prefix).evidence
    assert (evidence["mangling"], evidence["reversible"], evidence["expected"]) == ("utf-8", True, size)


def test_bytes_decoded_as_text_and_lost(tmp_path: Path, session: Session) -> None:
    prefix, _ = mangled(tmp_path, lambda data: data.decode("utf-8", "replace").encode())
    evidence = file_finding(told(session, prefix), prefix).evidence
    assert (evidence["mangling"], evidence["reversible"]) == ("utf-8-replaced", False)


def test_a_file_that_is_merely_cut_or_longer_is_no_text_copy(tmp_path: Path, session: Session) -> None:
    prefix, size = mangled(tmp_path, lambda data: data[:-5000])
    assert {f.code for f in told(session, prefix)} == {"shard-truncated"}
    other, _ = mangled(tmp_path / "..", lambda data: data + b"\r\n")
    assert [f.code for f in told(session, other)] == ["shard-oversized"]
    overwrite(data_of(other), size // 2, b"\0")
    assert {f.code for f in told(session, other)} == {"shard-oversized", "checksum-mismatch"}


# ---------------------------------------------------------------------- one tensor alone


def test_a_single_tensor_asked_for_has_its_flipped_bit(tmp_path: Path, session: Session) -> None:
    prefix = write_bundle(tmp_path / "x", weights(1, 1, 10))
    offset, _ = segment(session, prefix, "layer01/kernel")
    byte = data_of(prefix).read_bytes()[offset + 4]
    overwrite(data_of(prefix), offset + 4, bytes([byte ^ 8]))
    [scan] = [s for s in session.scan(session.open(prefix), ["layer01/kernel"]) if isinstance(s, TensorScan)]
    [found] = scan.findings
    assert (found.evidence["flipped_bit"]["offset"], found.evidence["flipped_bit"]["element"]) == (offset + 4, 1)
