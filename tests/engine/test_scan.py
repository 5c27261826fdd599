"""One pass over stored bytes: what is whole is `ok`, what is not becomes a finding that says where."""

from __future__ import annotations

import ctypes
import mmap
import os
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crc32c import crc32c
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ckptui.core import dtypes
from ckptui.core.model import Segment, Slice, Stats, Storage, Tensor, TensorScan
from ckptui.core.stats import stats_of
from ckptui.engine import checked
from ckptui.engine.checked import Files, Verdict, check_bytes
from ckptui.engine.pages import cached_pages, resident
from ckptui.engine.scan import Scanner
from ckptui.engine.zeros import zero_run
from ckptui.errors import Damaged
from ckptui.readers.source import Source
from tests.core.plain_stats import KNOWN
from tests.readers.make_bundle import strings_payload, variants_payload

Array = np.ndarray[Any, Any]


class NoReader:
    """For formats whose bytes are found without asking the reader."""

    def chunks(self, tensor: Tensor, chunk_bytes: int) -> Iterator[Array]:
        raise AssertionError("asked for chunks")


class Shard:
    """A shard file that tensors are put into one after the other."""

    def __init__(self, path: Path, gap: int = 0) -> None:
        self.path = str(path)
        self.data = bytearray(os.urandom(gap))

    def put(self, raw: bytes) -> Segment:
        segment = Segment(self.path, len(self.data), len(raw))
        self.data += raw
        return segment

    def plain(self, name: str, array: Array, dtype: str = "", **more: Any) -> Tensor:
        raw = array.tobytes()
        role = more.pop("role", "other")
        storage = Storage("plain", self.put(raw), crc32c(raw), **more)
        return Tensor(name, dtype or array.dtype.name, array.shape, len(raw), role=role, storage=storage)

    def write(self) -> None:
        Path(self.path).write_bytes(self.data)


@pytest.fixture
def shard(tmp_path: Path) -> Shard:
    return Shard(tmp_path / "x.data-00000-of-00001", gap=77)


def scan(
    tensor: Tensor, *, stats: bool = True, check: bool = True, reader: Any = None, beats: Any = None
) -> TensorScan:
    files = Files()
    beat = (lambda n: None) if beats is None else beats.append
    try:
        return Scanner("/a", reader or NoReader(), files, beat, stats=stats, check=check).scan(tensor)
    finally:
        files.close()


def codes(found: TensorScan) -> list[str]:
    return [finding.code for finding in found.findings]


@pytest.mark.parametrize("name", KNOWN)
def test_whole_tensors_of_every_dtype_pass_and_are_counted(name: str, shard: Shard) -> None:
    values = (np.arange(300_000) % 2).astype(dtypes.np_dtype(name))
    tensor = shard.plain("t", values, name)
    shard.write()
    beats: list[int] = []
    found = scan(tensor, beats=beats)
    assert (found.checksum, found.findings, found.bytes) == ("ok", (), tensor.bytes)
    assert found.stats == stats_of(values, name)
    assert sum(beats) == tensor.bytes


@pytest.mark.parametrize("dtype", ["float32", "int16", "complex64"])
def test_big_endian_bytes_are_checked_as_stored_and_counted_as_meant(dtype: str, shard: Shard) -> None:
    values = np.arange(1000).astype(dtype)
    swapped = values.astype(values.dtype.newbyteorder(">"))
    tensor = shard.plain("t", swapped, dtype, big_endian=True)
    shard.write()
    found = scan(tensor)
    assert (found.checksum, found.stats) == ("ok", stats_of(values, dtype))


def test_another_stored_dtype_than_the_tensors_own_is_read_as_it_says(shard: Shard) -> None:
    values = np.arange(10, dtype=">f4")
    tensor = shard.plain("t", values, "float32", npy_dtype=">f4")
    shard.write()
    assert scan(tensor).stats == stats_of(values.astype("<f4"), "float32")


def test_a_flipped_bit_is_found_and_the_values_are_still_shown(shard: Shard) -> None:
    values = np.random.default_rng(1).normal(size=100_000).astype(np.float32)
    tensor = shard.plain("t", values)
    shard.data[77 + 4 * 99] ^= 16
    shard.write()
    found = scan(tensor)
    assert (found.checksum, codes(found)) == ("mismatch", ["checksum-mismatch"])
    assert found.stats is not None
    assert found.stats.count == 100_000
    evidence = found.findings[0].evidence
    assert evidence == {
        "expected": crc32c(values.tobytes()),
        "found": crc32c(bytes(shard.data[77:])),
        "file": shard.path,
        "offset": 77,
        "bytes": 400_000,
        "flipped_bit": {
            "offset": 77 + 4 * 99,
            "bit": 4,
            "byte_found": shard.data[77 + 4 * 99],
            "byte_repaired": shard.data[77 + 4 * 99] ^ 16,
            "coincidence": 3_200_000 / 2**32,
            "element": 99,
            "value_found": float(np.frombuffer(shard.data[77:], np.float32)[99]),
            "value_repaired": float(values[99]),
        },
        "tensorflow_says": (
            f"TensorBundle at {shard.path.removesuffix('.data-00000-of-00001')} shard 0 (400000 bytes): Checksum does"
            f" not match: stored {crc32c(values.tobytes()):08d} vs. calculated on the restored bytes"
            f" {crc32c(bytes(shard.data[77:]))}"
        ),
    }
    assert found.findings[0].tensor == "t"
    assert found.findings[0].artifact == "/a"


def test_every_single_bit_flip_is_found(shard: Shard) -> None:
    tensor = shard.plain("t", np.arange(7, dtype=np.int32))
    for bit in range(7 * 32):
        shard.data[77 + bit // 8] ^= 1 << bit % 8
        shard.write()
        assert scan(tensor, stats=False).checksum == "mismatch"
        shard.data[77 + bit // 8] ^= 1 << bit % 8


def test_without_check_no_checksum_is_taken(shard: Shard) -> None:
    tensor = shard.plain("t", np.arange(7, dtype=np.int32))
    shard.data[80] ^= 1
    shard.write()
    assert (scan(tensor, check=False).checksum, scan(tensor, check=False).findings) == ("none", ())


def test_a_tensor_without_a_stored_checksum_says_so(shard: Shard) -> None:
    segment = shard.put(np.ones(5, np.float32).tobytes())
    shard.write()
    found = scan(Tensor("t", "float32", (5,), 20, storage=Storage("plain", segment)))
    assert (found.checksum, found.stats and found.stats.count) == ("none", 5)


@pytest.mark.parametrize(("dtype", "shape"), [("float32", (0, 3)), ("string", (0,))])
def test_empty_tensors_pass(dtype: str, shape: tuple[int, ...], shard: Shard) -> None:
    if dtype == "string":
        raw, crc = strings_payload([])
        storage = Storage("strings", shard.put(raw), crc)
    else:
        storage = Storage("plain", shard.put(b""), 0)
    shard.write()
    found = scan(Tensor("t", dtype, shape, storage.segment.bytes if storage.segment else 0, storage=storage))
    assert (found.checksum, found.stats) == ("ok", Stats(0))


# ---------------------------------------------------------------------- zeros


def damaged_by_zeros(shard: Shard, count: int, start: int, end: int) -> TensorScan:
    tensor = shard.plain("t", np.random.default_rng(2).integers(1, 255, count, np.uint8))
    shard.data[start:end] = bytes(end - start)
    shard.write()
    return scan(tensor)


def test_a_zero_tail_from_a_page_border_on_is_named(shard: Shard) -> None:
    found = damaged_by_zeros(shard, 600_000, 4096 * 50, 600_077)
    assert codes(found) == ["zero-filled"]
    assert found.findings[0].evidence["zero_run"] == {"offset": 4096 * 50, "bytes": 600_077 - 4096 * 50}
    assert found.findings[0].certainty == "likely"
    assert found.checksum == "mismatch"


def test_a_lost_page_in_the_middle_is_named(shard: Shard) -> None:
    found = damaged_by_zeros(shard, 600_000, 4096 * 50, 4096 * 51)
    assert found.findings[0].evidence["zero_run"] == {"offset": 4096 * 50, "bytes": 4096}


def test_a_tensor_that_became_zero_as_a_whole_is_named_with_certainty(shard: Shard) -> None:
    found = damaged_by_zeros(shard, 40, 77, 117)
    assert (codes(found), found.findings[0].certainty) == (["zero-filled"], "confirmed")
    assert found.findings[0].evidence["zero_run"] == {"offset": 77, "bytes": 40}


def test_a_tail_that_goes_on_behind_the_tensor_is_lost_wherever_it_begins(shard: Shard) -> None:
    tensor = shard.plain("t", np.full(5000, 7, np.uint8))
    shard.plain("u", np.full(600, 7, np.uint8))
    shard.data[5000:] = bytes(len(shard.data) - 5000)
    shard.write()
    assert scan(tensor).findings[0].evidence["zero_run"] == {"offset": 5000, "bytes": 77}
    shard.data[5100] = 1
    shard.write()
    assert codes(scan(tensor)) == ["checksum-mismatch"]


@pytest.mark.parametrize(("start", "end"), [(1000, 9000), (4096, 4196), (4000, 8192), (5000, 600_000)])
def test_zeros_that_no_disk_made_are_a_plain_mismatch(start: int, end: int, shard: Shard) -> None:
    assert codes(damaged_by_zeros(shard, 600_000, start, end)) == ["checksum-mismatch"]


def test_a_run_that_crosses_pieces_is_one_run(tmp_path: Path) -> None:
    data = bytearray(b"\1" * (checked.CHUNK * 3 + 100))
    data[512 : checked.CHUNK * 2 + 1024] = bytes(checked.CHUNK * 2 + 512)
    path = tmp_path / "f"
    path.write_bytes(data)
    with Source(path) as source:
        found = zero_run(source, Segment(str(path), 3, len(data) - 3), lambda n: None)
    assert found == Segment(str(path), 512, checked.CHUNK * 2 + 512)


def test_zero_weights_with_a_right_checksum_are_no_damage(shard: Shard) -> None:
    tensor = shard.plain("t", np.zeros(10_000, np.float32))
    shard.write()
    assert (scan(tensor).checksum, scan(tensor).findings) == ("ok", ())


# ---------------------------------------------------------------------- strings and variants


def stored(shard: Shard, encoding: Any, payload: tuple[bytes, int], count: int) -> Tensor:
    raw, crc = payload
    dtype = "string" if encoding == "strings" else "variant"
    return Tensor("t", dtype, (count,), len(raw), storage=Storage(encoding, shard.put(raw), crc))


STRINGS = [b"", b"a\0b", "π".encode(), b"x" * 300, b"y" * 70_000]


def test_strings_pass_with_their_running_checksum(shard: Shard) -> None:
    tensor = stored(shard, "strings", strings_payload(STRINGS), len(STRINGS))
    shard.write()
    found = scan(tensor)
    assert (found.checksum, found.findings, found.stats, found.bytes) == ("ok", (), Stats(5), tensor.bytes)


def test_length_tables_longer_than_a_piece_pass(shard: Shard) -> None:
    rng = random.Random(3)
    items = [b"z" * rng.choice([0, 1, 5, 127, 128, 200]) for _ in range(40_000)]
    tensor = stored(shard, "strings", strings_payload(items), len(items))
    shard.write()
    assert scan(tensor).checksum == "ok"


def test_every_flipped_bit_of_a_string_tensor_is_found(shard: Shard) -> None:
    tensor = stored(shard, "strings", strings_payload([b"abc", b"", b"de"]), 3)
    parts = set()
    for bit in range(tensor.bytes * 8):
        shard.data[77 + bit // 8] ^= 1 << bit % 8
        shard.write()
        found = scan(tensor)
        assert (found.checksum, codes(found)) == ("mismatch", ["checksum-mismatch"])
        flip = found.findings[0].evidence["flipped_bit"]
        assert (flip["offset"], flip["bit"]) == (77 + bit // 8, bit % 8)
        assert flip["part"] == (found.findings[0].evidence.get("part") or "content")
        parts.add(found.findings[0].evidence.get("part"))
        shard.data[77 + bit // 8] ^= 1 << bit % 8
    assert {"lengths", None} <= parts


def test_variants_pass_and_their_flipped_bits_are_found(shard: Shard) -> None:
    tensor = stored(shard, "variant", variants_payload([b"one", b"", b"three" * 100_000]), 3)
    shard.write()
    found = scan(tensor)
    assert (found.checksum, found.findings, found.bytes) == ("ok", (), tensor.bytes)
    for place in [*range(77, 100), len(shard.data) - 1]:
        shard.data[place] ^= 4
        shard.write()
        found = scan(tensor)
        assert codes(found) == ["checksum-mismatch"]
        flip = found.findings[0].evidence["flipped_bit"]
        assert (flip["offset"], flip["bit"]) == (place, 2)
        shard.data[place] ^= 4


def test_a_variant_that_fails_names_its_element(shard: Shard) -> None:
    tensor = stored(shard, "variant", variants_payload([b"one", b"twotwo"]), 2)
    shard.data[77 + 1 + 3 + 4 + 2] ^= 1
    shard.write()
    assert scan(tensor).findings[0].evidence["part"] == "element 1"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=60), count=st.integers(0, 2**70), encoding=st.sampled_from(["strings", "variant"]))
def test_no_bytes_make_the_check_fail_otherwise_than_as_damage(
    raw: bytes, count: int, encoding: Any, tmp_path: Path
) -> None:
    path = tmp_path / "f"
    path.write_bytes(raw)
    files = Files()
    storage = Storage(encoding, Segment(str(path), 0, len(raw)), 5)
    try:
        check_bytes(files, storage, count, Verdict(), lambda n: None)
    except Damaged:
        pass
    finally:
        files.close()


def test_large_lengths_are_summed_as_eight_bytes(shard: Shard) -> None:
    crc = crc32c(struct.pack("<Q", 1 << 33))
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    raw = bytes([128, 128, 128, 128, 32]) + struct.pack("<I", masked) + b"short"
    tensor = stored(shard, "strings", (raw, 1), 1)
    shard.write()
    found = scan(tensor)
    assert codes(found) == ["entry-invalid"]
    assert str(1 << 33) in found.findings[0].detail


# ---------------------------------------------------------------------- slices


def tiled(shard: Shard, whole: Array) -> Tensor:
    tiles = []
    for start, shape in (((0, 0), (3, 4)), ((0, 4), (3, 5)), ((3, 0), (4, 9))):
        raw = whole[start[0] : start[0] + shape[0], start[1] : start[1] + shape[1]].tobytes()
        tiles.append(Slice(start, shape, shard.put(raw), crc32c(raw)))
    return Tensor("t", whole.dtype.name, whole.shape, whole.nbytes, storage=Storage("slices", slices=tuple(tiles)))


def test_tiles_are_checked_each_and_counted_together(shard: Shard) -> None:
    whole = np.random.default_rng(4).permutation(63).reshape(7, 9).astype(np.float32)
    tensor = tiled(shard, whole)
    shard.write()
    found = scan(tensor)
    wanted = stats_of(whole, "float32")
    assert (found.checksum, found.findings, found.bytes) == ("ok", (), whole.nbytes)
    assert found.stats is not None
    assert (found.stats.argmin, found.stats.argmax) == (wanted.argmin, wanted.argmax)
    assert found.stats.std == pytest.approx(wanted.std, rel=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "complex64", "int64"])
def test_tiles_are_checked_without_statistics_too(dtype: str, shard: Shard) -> None:
    whole = np.random.default_rng(4).permutation(63).reshape(7, 9).astype(dtype)
    tensor = tiled(shard, whole)
    shard.write()
    found = scan(tensor, stats=False)
    assert (found.checksum, found.findings, found.bytes) == ("ok", (), whole.nbytes)
    tile = tensor.storage.slices[2].segment
    shard.data[tile.offset + 4 : tile.offset + 8] = np.float32(np.nan).tobytes()
    shard.write()
    found = scan(tensor, stats=False)
    wanted = ["checksum-mismatch"] if dtype == "int64" else ["checksum-mismatch", "non-finite"]
    assert codes(found) == wanted


def test_the_one_value_that_a_flip_made_infinite_is_no_second_finding(shard: Shard) -> None:
    values = np.random.default_rng(1).normal(size=50).astype(np.float32)
    values[7] = 1.0
    tensor = shard.plain("t", values)
    shard.data[77 + 4 * 7 + 3] ^= 0x40
    shard.write()
    found = scan(tensor)
    assert codes(found) == ["checksum-mismatch"]
    assert found.findings[0].evidence["flipped_bit"]["value_found"] == np.inf
    assert found.findings[0].evidence["flipped_bit"]["value_repaired"] == 1.0


def test_a_damaged_tile_is_named(shard: Shard) -> None:
    tensor = tiled(shard, np.arange(63, dtype=np.float32).reshape(7, 9))
    tile = tensor.storage.slices[1].segment
    shard.data[tile.offset] ^= 1
    shard.write()
    found = scan(tensor)
    assert found.findings[0].evidence["part"] == "tile 1"
    assert found.findings[0].evidence["offset"] == tile.offset


# ---------------------------------------------------------------------- values


@pytest.mark.parametrize("stats", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "float8_e5m2", "complex64"])
def test_values_that_are_not_finite_are_found(dtype: str, stats: bool, shard: Shard) -> None:
    values = np.random.default_rng(5).normal(size=300_000).astype(dtypes.np_dtype(dtype))
    values[[7, 200_000]] = np.nan
    values[299_999] = -np.inf
    tensor = shard.plain("t", values, dtype)
    shard.write()
    found = scan(tensor, stats=stats)
    assert codes(found) == ["non-finite"]
    assert found.findings[0].evidence == {"nan": 2, "posinf": 0, "neginf": 1, "count": 300_000}
    complete = stats or dtype == "complex64"
    assert (found.stats is not None) == complete


def test_non_finite_values_are_found_beside_a_wrong_checksum(shard: Shard) -> None:
    values = np.ones(100, np.float32)
    values[3] = np.inf
    tensor = shard.plain("t", values, role="kernel")
    shard.data[77 + 200] ^= 1
    shard.write()
    assert codes(scan(tensor)) == ["checksum-mismatch", "non-finite"]


def test_check_alone_finds_constant_kernels_and_negative_variances(shard: Shard) -> None:
    zeros = shard.plain("z", np.zeros(300_000, np.float32), role="kernel")
    same = shard.plain("s", np.full(300_000, 0.5, np.float32), role="kernel")
    almost = shard.plain("a", np.append(np.zeros(299_999), 1).astype(np.float32), role="kernel")
    variance = shard.plain("v", np.array([1, -1], np.float32), role="moving-variance")
    shard.write()
    assert codes(scan(zeros, stats=False)) == ["all-zero"]
    assert codes(scan(same, stats=False)) == ["constant"]
    assert codes(scan(almost, stats=False)) == []
    assert codes(scan(variance, stats=False)) == ["statistics-implausible"]


def test_formats_only_their_reader_knows_are_read_through_it() -> None:
    class Reader:
        def chunks(self, tensor: Tensor, chunk_bytes: int) -> Iterator[Array]:
            yield np.array([1, 2], np.float32)
            yield np.array([np.nan], np.float32)

    tensor = Tensor("t", "float32", (3,), 12, storage=Storage("hdf5"))
    found = scan(tensor, reader=Reader())
    assert (found.checksum, codes(found), found.bytes) == ("none", ["non-finite"], 12)


def test_what_a_reader_refuses_is_a_finding() -> None:
    class Reader:
        def chunks(self, tensor: Tensor, chunk_bytes: int) -> Iterator[Array]:
            raise Damaged("chunk 3 does not inflate", code="hdf5-damaged", evidence={"chunk": 3})

    found = scan(Tensor("t", "float32", (3,), 12, storage=Storage("hdf5")), reader=Reader())
    assert (found.checksum, found.stats, codes(found)) == ("unread", None, ["hdf5-damaged"])
    assert found.findings[0].evidence == {"chunk": 3}


# ---------------------------------------------------------------------- files


def test_a_short_file_says_how_many_bytes_are_missing(shard: Shard) -> None:
    tensor = shard.plain("t", np.arange(100, dtype=np.float32))
    del shard.data[-30:]
    shard.write()
    found = scan(tensor)
    assert (found.checksum, found.stats, codes(found)) == ("unread", None, ["shard-truncated"])
    assert found.findings[0].evidence["bytes_missing"] == 30


def test_a_missing_file_is_a_finding(shard: Shard) -> None:
    tensor = shard.plain("t", np.arange(100, dtype=np.float32))
    found = scan(tensor)
    assert found.checksum == "unread"
    assert len(found.findings) == 1


@pytest.mark.parametrize("how", ["rewrite", "truncate", "replace", "remove"])
def test_a_file_that_changes_meanwhile_is_called_changed_not_damaged(how: str, shard: Shard) -> None:
    tensor = shard.plain("t", np.random.default_rng(6).normal(size=300_000))
    shard.write()
    done: list[int] = []

    def meddle(count: int) -> None:
        if done:
            return
        done.append(count)
        if how == "rewrite":
            Path(shard.path).write_bytes(bytes(len(shard.data)))
        elif how == "truncate":
            os.truncate(shard.path, 100_000)
        elif how == "replace":
            Path(shard.path + ".new").write_bytes(shard.data)
            os.replace(shard.path + ".new", shard.path)
        else:
            os.unlink(shard.path)

    files = Files()
    found = Scanner("/a", NoReader(), files, meddle, stats=True, check=True).scan(tensor)
    files.close()
    assert (found.checksum, found.stats, codes(found)) == ("unread", None, ["changed-while-reading"])


def test_files_are_opened_once_and_closed(shard: Shard) -> None:
    tensors = [shard.plain(str(n), np.arange(10, dtype=np.float32)) for n in range(5)]
    shard.write()
    before = len(os.listdir("/proc/self/fd"))
    files = Files(frozenset([shard.path]))
    scanner = Scanner("/a", NoReader(), files, lambda n: None, stats=True, check=True)
    for tensor in tensors:
        assert scanner.scan(tensor).checksum == "ok"
        assert len(os.listdir("/proc/self/fd")) == before + 1
    files.close()
    assert len(os.listdir("/proc/self/fd")) == before


def _mapped_pages_there(path: Path) -> bool:
    """What mincore(2) says of a file: an oracle that needs a mapping."""
    library = ctypes.CDLL(None, use_errno=True)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
        pages = (ctypes.c_ubyte * -(-len(mapped) // mmap.PAGESIZE))()
        first = ctypes.c_char.from_buffer(mapped)
        address = ctypes.c_void_p(ctypes.addressof(first))
        failed = library.mincore(address, ctypes.c_size_t(len(mapped)), pages)
        del first
        assert not failed, os.strerror(ctypes.get_errno())
        return any(page & 1 for page in pages)


def test_the_page_cache_is_asked_as_mincore_would_answer(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(os.urandom(1 << 20))
    path.read_bytes()
    if resident(str(path)) is None:
        pytest.skip("this file system does not tell")
    assert resident(str(path)) is True
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        # the advice is a hint: pages another core still has in hand stay, so what is left decides what is right
        there = _mapped_pages_there(path)
        asked = cached_pages(file.fileno())
        print(f"pages of a dropped file {'stayed' if there else 'went'}; the kernel counts {asked}")
    if there or asked is not None:
        assert resident(str(path)) is there


@pytest.mark.parametrize("what", ["missing", "folder", "fifo", "empty"])
def test_what_is_no_regular_file_is_unknown_to_the_page_cache(what: str, tmp_path: Path) -> None:
    path = tmp_path / what
    if what == "folder":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "empty":
        path.touch()
    assert resident(str(path)) is None
