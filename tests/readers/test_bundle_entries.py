"""Bundles whose records contradict themselves, each other or their shards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from crc32c import crc32c

from ckptui.core.model import Listing
from ckptui.errors import Damaged
from ckptui.readers.bundle import open_bundle
from tests.readers.make_bundle import (
    Tiled,
    entry,
    header,
    table,
    write_bundle,
)
from tests.readers.test_bundle import codes, listing

# -- entries that can't be right


def one(folder: Path, record: bytes, data: bytes = bytes(64), head: bytes | None = None, key: bytes = b"w") -> Listing:
    """A bundle of one hand-made record."""
    items = [(b"", header() if head is None else head), (key, record)]
    (folder / "x.index").write_bytes(table([item for item in items if item[1] != b"none"]))
    (folder / "x.data-00000-of-00001").write_bytes(data)
    return listing(str(folder / "x"))


INVALID: list[tuple[bytes, str]] = [
    (entry(1, (2, 2), size=8), "8 bytes stored, shape and dtype need 16"),
    (entry(1, (-1,), size=4), "negative dimension -1"),
    (entry(1, (1 << 32, 1 << 32), size=8), "more than 64 bits"),
    (entry(1, (1 << 62,), size=8), "need"),
    (entry(1, (1,) * 255, size=4), "rank 255"),
    (entry(1, (1,) * 2000, size=4), "more than 1024 dimensions"),
    (entry(99, (2,), size=8), "no dtype has the number 99"),
    (entry(101, (2,), size=8), "no dtype has the number 101"),
    (entry(20, (), size=8), "resources"),
    (entry(1, (2,), offset=-8, size=8), "offset -8"),
    (entry(1, (2,), size=-8), "size -8"),
    (entry(1, (2,), shard=1, size=8), "shard 1 of 1"),
    (entry(1, (2,), shard=-1, size=8), "shard -1 of 1"),
    (entry(7, (1 << 20,), size=8), "can't hold 1048576 string"),
    (entry(21, (9,), size=40), "can't hold 9 variant"),
    (entry(1, (2,), size=8, slices=[[(0, 2)]]), "is not in the index"),
    (entry(1, (2,), size=8, slices=[[(1, 2)]]), "does not lie inside"),
    (b"\x08\x01\x12\x02\x18\x01\x28\x04", "unknown rank"),
    (b"\x08\x01\x12\x7f", "record can't be read"),
    (b"\x00\x00", "record can't be read"),
    (b"\x0a\x01x", "record can't be read"),
    (b"", "no dtype has the number 0"),
]


@pytest.mark.parametrize(("record", "word"), INVALID)
def test_entries_that_contradict_themselves_are_named(tmp_path: Path, record: bytes, word: str) -> None:
    found = one(tmp_path, record)
    [tensor] = found.tensors
    assert word in tensor.problem
    finding = next(f for f in found.findings if f.code == "entry-invalid")
    assert (finding.tensor, finding.severity) == ("w", "error")
    assert word in finding.detail
    assert found.artifact.status == "error"
    with pytest.raises(Damaged):
        open_bundle(str(tmp_path / "x")).array(tensor)


def test_an_entry_beyond_its_shard_is_a_cut_shard(tmp_path: Path) -> None:
    found = one(tmp_path, entry(1, (2,), offset=10**9, size=8))
    [finding] = found.findings
    assert (finding.code, finding.evidence["bytes_missing"]) == ("shard-truncated", 8)


def test_tensors_that_share_bytes_are_both_named(tmp_path: Path) -> None:
    items = [(b"", header()), (b"a", entry(1, (4,), size=16)), (b"b", entry(1, (1,), offset=4, size=4))]
    items += [(b"c", entry(1, (1,), offset=12, size=4)), (b"d", entry(1, (1,), offset=16, size=4))]
    (tmp_path / "x.index").write_bytes(table(items))
    (tmp_path / "x.data-00000-of-00001").write_bytes(bytes(20))
    found = listing(str(tmp_path / "x"))
    assert [(t.name, t.problem) for t in found.tensors] == [
        ("a", "shares bytes with b"),
        ("b", "shares bytes with a"),
        ("c", "shares bytes with a"),
        ("d", ""),
    ]
    assert codes(found.findings) == ["entry-invalid"] * 3


def test_a_name_that_stands_twice_shows_once(tmp_path: Path) -> None:
    items = [(b"", header()), (b"w", entry(1, (2,), size=8)), (b"w", entry(1, (1,), offset=8, size=4))]
    (tmp_path / "x.index").write_bytes(table(items))
    (tmp_path / "x.data-00000-of-00001").write_bytes(bytes(12))
    found = listing(str(tmp_path / "x"))
    assert [tensor.shape for tensor in found.tensors] == [(2,)]
    assert [(f.code, f.tensor) for f in found.findings] == [("duplicate-key", "w")]


def test_tiles_without_their_tensor_are_told(tmp_path: Path) -> None:
    prefix = write_bundle(tmp_path / "x", {"a": Tiled(np.arange(4, dtype=np.int32), [[(0, 2)], [(2, 2)]])})
    bundle = open_bundle(prefix)
    keys, values = bundle.index.table.keys, bundle.index.table.values
    items = list(zip(keys, values, strict=True))
    Path(f"{prefix}.index").write_bytes(table(items[:-1]))
    found = listing(prefix)
    assert [(f.code, f.tensor) for f in found.findings] == [("entry-invalid", "a")]
    Path(f"{prefix}.index").write_bytes(table([items[0], *items[2:]]))
    [tensor] = listing(prefix).tensors
    assert tensor.problem == "its tile at (0,) is not in the index"


def test_tiles_that_overlap_or_leave_holes_are_told(tmp_path: Path) -> None:
    whole = np.arange(16, dtype=np.int32).reshape(4, 4)
    for tiles, word in (
        ([[(0, 2), (0, -1)], [(2, 2), (0, 3)]], "cover 14 of 16"),
        ([[(0, 3), (0, -1)], [(2, 1), (0, -1)]], "overlap"),
        ([[(0, 3), (0, -1)], [(2, 2), (0, -1)]], "overlap"),
    ):
        found = listing(write_bundle(tmp_path / "x", {"a": Tiled(whole, tiles)}))
        assert word in found.tensors[0].problem
        assert codes(found.findings) == ["entry-invalid"]


def test_a_lost_tile_of_a_missing_shard_is_the_tensors_problem(tmp_path: Path) -> None:
    prefix = write_bundle(tmp_path / "x", {"a": Tiled(np.arange(4, dtype=np.int32), [[(0, 2)], [(2, 2)]])}, shards=2)
    Path(f"{prefix}.data-00001-of-00002").unlink()
    found = listing(prefix)
    assert found.tensors[0].problem == "its tile at (2,): shard 1 is missing"
    assert codes(found.findings) == ["shard-missing"]


# -- headers


@pytest.mark.parametrize(
    ("head", "code", "word"),
    [
        (b"none", "index-damaged", "header record is gone"),
        (header(shards=0), "index-damaged", "0 shards"),
        (header(shards=-5), "index-damaged", "-5 shards"),
        (header(shards=2**31 - 1), "index-damaged", "2147483647 shards"),
        (b"\x08\x01\x10\x02", "index-damaged", "byte order 2"),
        (b"\x08\x01\x0b", "index-damaged", "wire type 3"),
        (header(min_consumer=5), "unsupported-format", "version 5"),
    ],
)
def test_headers_that_make_no_sense_are_told(tmp_path: Path, head: bytes, code: str, word: str) -> None:
    found = one(tmp_path, entry(1, (16,), size=64, crc=crc32c(bytes(64))), head=head)
    finding = found.findings[0]
    assert finding.code == code
    assert word in finding.detail
    assert len(found.tensors) == 1


def test_without_a_header_the_file_names_tell_the_shards(tmp_path: Path) -> None:
    (tmp_path / "x.index").write_bytes(table([(b"w", entry(1, (2,), shard=1, size=8))]))
    for number in range(2):
        (tmp_path / f"x.data-{number:05d}-of-00002").write_bytes(bytes(8))
    bundle = open_bundle(str(tmp_path / "x"))
    found = bundle.listing()
    assert codes(found.findings) == ["index-damaged", "shard-oversized"]
    assert bundle.array(found.tensors[0]).tolist() == [0, 0]


# -- names


def test_names_that_are_no_text_or_act_on_terminals_stay_apart(tmp_path: Path) -> None:
    items = [(b"\x00\x1b]52;c;x\x07", entry(1, (), size=4)), (b"\xff\xfe", entry(1, (), offset=4, size=4))]
    (tmp_path / "x.index").write_bytes(table([(b"", header()), *items]))
    (tmp_path / "x.data-00000-of-00001").write_bytes(bytes(8))
    found = listing(str(tmp_path / "x"))
    assert [tensor.name for tensor in found.tensors] == ["\x00\x1b]52;c;x\x07", "\\xff\\xfe"]
    assert found.findings == ()
