"""Every bit and every length of a small checkpoint's data: each flip placed and named, no value silently wrong."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from ckptui.core.model import Segment, Tensor
from ckptui.core.names import OBJECT_GRAPH_KEY
from tests.damaged.asking import ask_tensorflow
from tests.damaged.bundles import SHARD, Checked, write_small
from tests.damaged.conftest import Oracle
from tests.places import SAMPLES, needs_samples
from tests.readers.make_bundle import Stored, strings, write_bundle


def segments(tensor: Tensor) -> list[Segment]:
    """Where a tensor's bytes lie."""
    if tensor.storage.slices:
        return [tile.segment for tile in tensor.storage.slices]
    return [tensor.storage.segment] if tensor.storage.segment is not None else []


def owner(save: Checked, offset: int) -> str:
    """The tensor a byte of the data belongs to."""
    for tensor in save.listing.tensors:
        if any(s.offset <= offset < s.offset + s.bytes for s in segments(tensor)):
            return tensor.name
    raise AssertionError(f"byte {offset} belongs to no tensor")


def flip(path: Path, offset: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1 << bit]))


def check_every_flip(prefix: str, kind: str, data: Path, bits: list[int]) -> Counter[str]:
    """Flip each bit in turn and look at everything the check tells; counts of what was told."""
    healthy = Checked(prefix, kind)
    assert healthy.findings(healthy.scan()) == list(healthy.listing.findings)
    right = {tensor.name: healthy.bytes_of(tensor) for tensor in healthy.listing.tensors}
    counts: Counter[str] = Counter()
    for number in bits:
        offset, bit = divmod(number, 8)
        name = owner(healthy, offset)
        flip(data, offset, bit)
        # the listing reads the object graph alone of all data
        save = Checked(prefix, kind) if name == OBJECT_GRAPH_KEY else healthy
        scans = save.scan()
        told = [f for f in save.findings(scans) if f not in healthy.listing.findings]
        assert [(f.code, f.tensor) for f in told] == [("checksum-mismatch", name)], (offset, bit, told)
        assert [s.name for s in scans if s.checksum != "ok"] == [name]
        where = told[0].evidence["flipped_bit"]
        assert (where["offset"], where["bit"]) == (offset, bit), (offset, bit, told)
        assert where["byte_found"] ^ where["byte_repaired"] == 1 << bit
        says = told[0].evidence["tensorflow_says"]
        assert ("length checksum" in says) == (where.get("part") == "lengths")
        if number % 16 == 0:
            counts["values compared"] += sum(
                save.bytes_of(t) == right[t.name] for t in save.listing.tensors if t.name != name
            )
            assert counts["values compared"] % (len(right) - 1) == 0
        flip(data, offset, bit)
        counts["flips"] += 1
        counts["in " + (where.get("part") or "numbers")] += 1
    return counts


def test_every_flipped_bit_of_the_data_is_found_placed_and_named(tmp_path: Path) -> None:
    prefix = write_small(tmp_path / "x")
    data = Path(prefix + SHARD)
    counts = check_every_flip(prefix, "tf-checkpoint", data, list(range(data.stat().st_size * 8)))
    print(f"\nflips of {data.stat().st_size} bytes of checkpoint data: {dict(counts)}")
    assert counts["flips"] == data.stat().st_size * 8
    assert counts["in lengths"] >= 8 * (2 + 4 + 3 + 4)


@needs_samples
def test_flipped_bits_of_the_variables_of_a_saved_model(tmp_path: Path) -> None:
    model = shutil.copytree(SAMPLES / "digits_saved_model", tmp_path / "m")
    (data,) = model.glob("variables/*.data*")
    draw = random.Random(7)
    bits = draw.sample(range(data.stat().st_size * 8), 400)
    counts = check_every_flip(str(model), "saved-model", data, bits)
    print(f"\nflips of {data.stat().st_size} bytes of a SavedModel's variables, a sample: {dict(counts)}")


def check_every_cut(prefix: str, kind: str, data: Path, lengths: list[int]) -> int:
    """Cut the data at each length, longest first; the tensors named must be those that lost bytes, with how many."""
    healthy = Checked(prefix, kind)
    right = {tensor.name: healthy.bytes_of(tensor) for tensor in healthy.listing.tensors}
    places = {tensor.name: segments(tensor) for tensor in healthy.listing.tensors}
    for length in sorted(lengths, reverse=True):
        with data.open("r+b") as file:
            file.truncate(length)
        save = Checked(prefix, kind)
        scans = save.scan()
        told = [f for f in save.findings(scans) if f not in healthy.listing.findings]
        lost = {
            name: sum(min(max(0, s.offset + s.bytes - length), s.bytes) for s in where)
            for name, where in places.items()
        }
        cut = {name: count for name, count in lost.items() if count}
        named: Counter[str] = Counter()
        for finding in told:
            assert finding.tensor is not None or length == 0, finding
            if finding.tensor is not None:
                assert finding.code == "shard-truncated", finding
                named[finding.tensor] += finding.evidence["bytes_missing"]
                assert finding.evidence["found"] == length
        if length:
            assert dict(named) == cut, length
        else:
            assert told
        for scan in scans:
            assert (scan.checksum == "unread") == (scan.name in cut), (length, scan)
        for tensor in save.listing.tensors:
            if tensor.name not in cut and length % 8 == 0:
                assert save.bytes_of(tensor) == right[tensor.name]
    return len(lengths)


def test_every_length_of_cut_data_names_the_tensors_that_lost_bytes(tmp_path: Path) -> None:
    prefix = write_small(tmp_path / "x")
    data = Path(prefix + SHARD)
    count = check_every_cut(prefix, "tf-checkpoint", data, list(range(data.stat().st_size)))
    print(f"\ntruncations of checkpoint data: {count}")


@needs_samples
def test_cut_variables_of_a_saved_model_name_the_tensors_that_lost_bytes(tmp_path: Path) -> None:
    model = shutil.copytree(SAMPLES / "digits_saved_model", tmp_path / "m")
    (data,) = model.glob("variables/*.data*")
    size = data.stat().st_size
    lengths = [*random.Random(3).sample(range(1, size), 60), size - 1]
    print(f"\ntruncations of a SavedModel's variables: {check_every_cut(str(model), 'saved-model', data, lengths)}")


def check_json(*paths: Path) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "ckptui", "check", "--json", *map(str, paths)], capture_output=True, check=False
    )
    assert done.returncode == 1, done.stderr
    document: dict[str, object] = json.loads(done.stdout)
    return document


def test_the_command_tells_the_same(tmp_path: Path) -> None:
    draw = random.Random(11)
    wanted: dict[str, tuple[str, int, int]] = {}
    for number in range(40):
        folder = tmp_path / f"{number:02}"
        folder.mkdir()
        prefix = write_small(folder / "x")
        data = Path(prefix + SHARD)
        offset, bit = draw.randrange(data.stat().st_size), draw.randrange(8)
        name = owner(Checked(prefix), offset)
        flip(data, offset, bit)
        wanted[prefix] = name, offset, bit
    document = check_json(tmp_path)
    findings = document["findings"]
    assert isinstance(findings, list)
    storage = [f for f in findings if f["severity"] == "error"]
    found = {
        f["artifact"]: (f["tensor"], f["evidence"]["flipped_bit"]["offset"], f["evidence"]["flipped_bit"]["bit"])
        for f in storage
    }
    assert len(storage) == len(wanted)
    assert found == wanted
    print(f"\nflips told by the command: {len(found)} of {len(wanted)}")


@pytest.mark.parametrize("bit", [0, 6])
def test_the_value_now_and_the_value_repaired_are_told(bit: int, tmp_path: Path) -> None:
    prefix = write_small(tmp_path / "x")
    healthy = Checked(prefix)
    name = "layer/kernel/.ATTRIBUTES/VARIABLE_VALUE"
    tensor = next(t for t in healthy.listing.tensors if t.name == name)
    before = healthy.reader.array(tensor).reshape(-1).tolist()
    flip(Path(prefix + SHARD), segments(tensor)[0].offset + 4 * 7 + 3, bit)
    save = Checked(prefix)
    (told,) = save.findings(save.scan())
    where = told.evidence["flipped_bit"]
    after = save.reader.array(tensor).reshape(-1).tolist()
    assert (where["element"], where["value_found"], where["value_repaired"]) == (7, after[7], before[7])
    assert f"element 7 is {after[7]}, was {before[7]}" in told.detail


def test_tensorflow_says_what_the_evidence_quotes(tensorflow: Oracle, tmp_path: Path) -> None:
    draw = random.Random(23)
    ours: dict[str, tuple[str, str]] = {}
    for number in range(60):
        prefix = write_small(tmp_path / f"{number:02}")
        data = Path(prefix + SHARD)
        healthy = Checked(prefix)
        offset = draw.randrange(data.stat().st_size)
        flip(data, offset, draw.randrange(8))
        save = Checked(prefix)
        (told,) = [f for f in save.findings(save.scan()) if f not in healthy.listing.findings]
        assert told.tensor is not None
        assert told.evidence.get("tensorflow_aborts", False) == (told.tensor == "parts")
        if told.tensor == "parts":
            # the same words, as the last ones of the process
            continue
        ours[prefix] = told.tensor, told.evidence["tensorflow_says"]
    # a stored checksum of few digits is padded
    prefix = write_small(tmp_path / "padded")
    small = strings([b"cat"])
    write_bundle(prefix, {"few": Stored("int8", (3,), b"abc", 12345), "words": small})
    ours[prefix] = "few", next(f.evidence["tensorflow_says"] for f in Checked(prefix).scan()[0].findings)
    said = ask_tensorflow(tensorflow, list(ours))
    quoted = 0
    for prefix, (name, saying) in ours.items():
        theirs = said[prefix][name]
        if "{stored}" in saying:
            # lengths that run off the tensor: what lies behind it decides about the numbers
            assert "The length checksum does not match" in theirs
            assert "The length checksum does not match" in saying
            continue
        assert saying in theirs, (prefix, name)
        quoted += 1
    assert all("sha256" in message for p in ours for t, message in said[p].items() if t and t != ours[p][0])
    print(f"\nmessages of TensorFlow quoted to the digit: {quoted} of {len(ours)}")
    assert quoted >= 50
