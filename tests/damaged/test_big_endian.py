"""Bundles of big-endian machines: numbers, halves of complex ones, strings and their checksums, held to TensorFlow."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from crc32c import crc32c

from ckptui.readers.bundle import open_bundle
from ckptui.readers.bundle_layout import open_bundle_with_layout
from ckptui.readers.values import decode_lengths
from tests.damaged.asking import ask_tensorflow, check_json, digest
from tests.damaged.bundles import Checked
from tests.damaged.conftest import Oracle
from tests.readers.make_bundle import (
    GRAPH_KEY,
    Node,
    Stored,
    Tiled,
    graph,
    mask,
    strings,
    variants_payload,
    varint,
    write_bundle,
)

DRAW = np.random.default_rng(11)
WORDS = [b"alpha", b"", b"x" * 300, b"\xff\x00"]
GRAPH = graph(
    [Node({"a": 1}), Node({}, [("VARIABLE_VALUE", "dense/kernel", "f64")])],
    ">",
)


def values() -> dict[str, Any]:
    return {
        "bf16": DRAW.normal(size=3).astype(ml_dtypes.bfloat16),
        "c128": (DRAW.normal(size=3) + 1j * DRAW.normal(size=3)).astype(np.complex128),
        "c64": (DRAW.normal(size=(2, 2)) + 1j * DRAW.normal(size=(2, 2))).astype(np.complex64),
        "f16": DRAW.normal(size=4).astype(np.float16),
        "f32": DRAW.normal(size=(3, 4)).astype(np.float32),
        "f64": DRAW.normal(size=5),
        "flag": np.array([True, False]),
        "i16": np.arange(-2, 3, dtype=np.int16),
        "i64": np.array(-7, np.int64),
        "u8": np.arange(5, dtype=np.uint8),
        "words": WORDS,
        GRAPH_KEY: GRAPH,
    }


def test_every_value_is_right_and_every_checksum_holds(tmp_path: Path) -> None:
    kept = values()
    parts = Tiled(np.arange(12, dtype=np.int32).reshape(6, 2), [[(0, 4), (0, -1)], [(4, 2), (0, -1)]])
    prefix = write_bundle(tmp_path / "be", {**kept, "parts": parts}, big_endian=True)
    checked = Checked(prefix)
    scans = {scan.name: scan for scan in checked.scan()}
    assert {scan.checksum for scan in scans.values()} == {"ok"}
    assert checked.findings(list(scans.values())) == []
    assert checked.listing.artifact.writer["byte_order"] == "big"
    for tensor in checked.listing.tensors:
        array = checked.reader.array(tensor)
        if tensor.name == "parts":
            assert array.tolist() == parts.array.tolist()
        elif tensor.name == "words":
            assert array.tolist() == WORDS
        elif tensor.name != GRAPH_KEY:
            assert array.tobytes() == kept[tensor.name].tobytes(), tensor.name
    assert next(t for t in checked.listing.tensors if t.name == "f64").object_path == "dense/kernel"


@pytest.mark.tensorflow
def test_tensorflow_reads_the_same(tensorflow: Oracle, tmp_path: Path) -> None:
    prefix = write_bundle(tmp_path / "be", values(), big_endian=True)
    said = ask_tensorflow(tensorflow, [prefix])[prefix]
    bundle = open_bundle(prefix)
    found = bundle.listing()
    assert len(found.tensors) == len(said) - 1 == len(values())
    for tensor in found.tensors:
        assert said[tensor.name] == digest(bundle.array(tensor)), (tensor.name, said[tensor.name])


@pytest.mark.tensorflow
def test_checksums_of_the_other_byte_order_are_wrong_for_both(tensorflow: Oracle, tmp_path: Path) -> None:
    stored = strings(WORDS, order="<")
    prefix = write_bundle(tmp_path / "be", {"words": stored}, big_endian=True)
    checked = Checked(prefix)
    [finding] = checked.findings(checked.scan())
    assert (finding.code, finding.tensor) == ("checksum-mismatch", "words")
    assert "length checksum" in ask_tensorflow(tensorflow, [prefix])[prefix]["words"]


def test_variants_are_verified_in_their_own_order(tmp_path: Path) -> None:
    raw, crc = variants_payload([b"one", b"", b"two" * 50], ">")
    prefix = write_bundle(tmp_path / "be", {"v": Stored("variant", (3,), raw, crc)}, big_endian=True)
    checked = Checked(prefix)
    assert [scan.checksum for scan in checked.scan()] == ["ok"]
    assert checked.reader.array(checked.listing.tensors[0]).tolist() == [b"one", b"", b"two" * 50]


def test_the_first_writers_counted_eight_bytes_a_length(tmp_path: Path) -> None:
    raw, crc = variants_payload([b"one", b"four" * 40])
    long = Stored("variant", (2,), raw + bytes(7 + 6), crc)
    checked = Checked(write_bundle(tmp_path / "old", {"v": long}))
    assert [scan.checksum for scan in checked.scan()] == ["ok"]
    longer = Stored("variant", (2,), raw + bytes(9), crc)
    checked = Checked(write_bundle(tmp_path / "bad", {"v": longer}))
    [finding] = checked.findings(checked.scan())
    assert (finding.code, finding.tensor) == ("entry-invalid", "v")


def test_lengths_beyond_four_bytes_are_checksummed_as_eight() -> None:
    lengths = [3, 1 << 32, (1 << 32) - 1]
    for order in "<>":
        crc = crc32c(b"".join(struct.pack(order + ("Q" if n >> 32 else "I"), n) for n in lengths))
        raw = b"".join(map(varint, lengths)) + struct.pack(order + "I", mask(crc))
        assert decode_lengths(raw, 3, order == ">") == (lengths, len(raw), crc, True)


def test_every_flipped_bit_of_the_strings_is_found(tmp_path: Path) -> None:
    prefix = write_bundle(tmp_path / "be", {"words": [b"abc", b"", b"d" * 20]}, big_endian=True)
    data = Path(f"{prefix}.data-00000-of-00001")
    whole = data.read_bytes()
    for bit in range(len(whole) * 8):
        raw = bytearray(whole)
        raw[bit // 8] ^= 1 << bit % 8
        data.write_bytes(raw)
        checked = Checked(prefix)
        told = checked.findings(checked.scan())
        assert told, bit
        assert {finding.tensor for finding in told} == {"words"}
    print(f"\n{len(whole) * 8} flipped bits")


def test_a_siblings_layout_measures_strings_of_a_big_endian_save(tmp_path: Path) -> None:
    sibling = write_bundle(tmp_path / "ckpt-1", {"w": [b"a"], "k": np.ones(3, np.float32)}, big_endian=True)
    lost = write_bundle(tmp_path / "ckpt-2", {"w": [b"abcdef"], "k": np.full(3, 2, np.float32)}, big_endian=True)
    Path(f"{lost}.index").unlink()
    bundle = open_bundle_with_layout(lost, sibling)
    tensors = bundle.listing().tensors
    assert [bundle.array(tensor).tolist() for tensor in tensors] == [[2, 2, 2], [b"abcdef"]]
    assert all(fit.whole for fit in bundle.fits.values())


def test_check_finds_it_healthy(tmp_path: Path) -> None:
    prefix = write_bundle(tmp_path / "be", values(), big_endian=True)
    document = check_json(prefix)
    assert document["findings"] == []
    assert document["artifacts"][0]["status"] == "ok"
