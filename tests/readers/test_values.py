"""Values of every encoding, from files that are whole, cut, or lie about themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from ckptui.core.dtypes import ITEMSIZE, np_dtype
from ckptui.core.model import Segment, Slice, Storage, Tensor
from ckptui.errors import ChangedWhileReading, Damaged
from ckptui.readers.values import array_of, decode_strings, decode_variants, element_chunks, raw_chunks
from tests.readers.make_bundle import strings_payload, variants_payload

Array = np.ndarray[Any, Any]
Make = Callable[..., Tensor]


@pytest.fixture
def stored(tmp_path: Path) -> Make:
    """Writes bytes behind a little padding and says where they lie."""

    def make(raw: bytes, dtype: str, shape: tuple[int, ...], encoding: Any = "plain", big: bool = False) -> Tensor:
        path = tmp_path / "data"
        path.write_bytes(b"pad" + raw + b"tail")
        segment = Segment(str(path), 3, len(raw))
        return Tensor("t", dtype, shape, len(raw), storage=Storage(encoding, segment, crc32c(raw), big))

    return make


def same(found: Array, wanted: Array) -> bool:
    return found.dtype == wanted.dtype and found.shape == wanted.shape and found.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("name", sorted(ITEMSIZE))
def test_every_dtype_reads_in_both_byte_orders(stored: Make, name: str, big: bool) -> None:
    size = ITEMSIZE[name]
    limit = {"bool": 2, "int2": 2, "uint2": 4, "int4": 8, "uint4": 16, "float4_e2m1fn": 16}.get(name, 256)
    raw = bytes(i * 7 % limit for i in range(6 * size))
    half = size // 2 if name.startswith("complex") else size
    swapped = b"".join(raw[i : i + half][::-1] for i in range(0, len(raw), half))
    tensor = stored(swapped if big else raw, name, (2, 3), big=big)
    wanted = np.frombuffer(raw, np_dtype(name)).reshape(2, 3)
    assert same(array_of(tensor), wanted)
    for chunk in (1, 2 * size, 1 << 20):
        assert same(np.concatenate([part.copy() for part in element_chunks(tensor, chunk)]), wanted.reshape(-1))


def test_scalars_and_empty_tensors(stored: Make) -> None:
    assert same(array_of(stored(b"\0\0\x80\x3f", "float32", ())), np.array(1.0, np.float32))
    empty = stored(b"", "float32", (0, 1 << 40))
    assert array_of(empty).shape == (0, 1 << 40)
    assert list(element_chunks(empty)) == []
    assert list(raw_chunks(empty)) == []


def test_raw_bytes_are_those_of_the_file(stored: Make) -> None:
    tensor = stored(bytes(range(100)), "uint8", (100,))
    parts = [bytes(view) for view in raw_chunks(tensor, 40)]
    assert [len(part) for part in parts] == [40, 40, 20]
    assert b"".join(parts) == bytes(range(100))


@pytest.mark.parametrize(
    ("dtype", "shape", "word"),
    [
        ("float32", (3,), "need 12"),
        ("float32", (1 << 61,), "need"),
        ("float32", (1 << 32, 1 << 32), "need"),
        ("float32", (-2,), "negative"),
        ("resource", (), "can't be read"),
        ("#99", (2,), "can't be read"),
    ],
)
def test_shapes_that_lie_are_refused_before_anything_is_allocated(
    stored: Make, dtype: str, shape: tuple[int, ...], word: str
) -> None:
    tensor = stored(bytes(8), dtype, shape)
    with pytest.raises(Damaged, match=word):
        array_of(tensor)
    with pytest.raises(Damaged, match=word):
        list(element_chunks(tensor))


def test_more_dimensions_than_an_array_can_have_are_refused(stored: Make) -> None:
    with pytest.raises(Damaged, match="shape"):
        array_of(stored(bytes(4), "float32", (1,) * 200))


def test_missing_and_cut_files_say_which_bytes_are_gone(stored: Make, tmp_path: Path) -> None:
    tensor = stored(bytes(400), "float32", (100,))
    (tmp_path / "data").write_bytes(bytes(103))
    with pytest.raises(Damaged) as caught:
        array_of(tensor)
    assert caught.value.code == "shard-truncated"
    assert caught.value.evidence["bytes_missing"] == 300
    (tmp_path / "data").unlink()
    with pytest.raises(Damaged) as caught:
        list(raw_chunks(tensor))
    assert caught.value.code == "shard-missing"


def test_a_file_that_changes_meanwhile_is_not_called_damaged(stored: Make, tmp_path: Path) -> None:
    tensor = stored(bytes(range(200)) * 20, "uint8", (4000,))
    views = raw_chunks(tensor, 1000)
    next(views)
    (tmp_path / "other").write_bytes((tmp_path / "data").read_bytes())
    (tmp_path / "other").rename(tmp_path / "data")
    with pytest.raises(ChangedWhileReading):
        list(views)


# -- strings and variants


@given(st.lists(st.binary(max_size=300), max_size=30))
def test_strings_come_back_with_their_checksum(items: list[bytes]) -> None:
    raw, crc = strings_payload(items)
    assert decode_strings(raw, len(items)) == (items, crc, True)


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_variants_come_back(items: list[bytes]) -> None:
    raw, _ = variants_payload(items)
    assert decode_variants(raw, len(items)) == items


@given(st.binary(max_size=100), st.integers(0, 200))
def test_garbage_strings_and_variants_are_damage_and_nothing_else(raw: bytes, count: int) -> None:
    for decode in (decode_strings, decode_variants):
        try:
            decode(raw, count)
        except Damaged:
            continue


def test_a_damaged_length_table_is_told_from_damaged_content() -> None:
    raw, crc = strings_payload([b"alpha", b"beta"])
    content = raw[:-1] + b"?"
    assert decode_strings(content, 2)[2]
    assert decode_strings(content, 2)[1] != crc
    lengths = b"\x04\x05" + raw[2:]
    items, _, holds = decode_strings(lengths, 2)
    assert not holds
    assert items == [b"alph", b"abeta"]


def test_string_counts_that_can_not_be_true_allocate_nothing() -> None:
    with pytest.raises(Damaged):
        decode_strings(bytes(8), 1 << 40)
    with pytest.raises(Damaged):
        decode_strings(b"\xff\xff\xff\xff\x0f" + bytes(8), 1)
    assert decode_strings(b"", 0) == ([], 0, True)


def test_strings_are_arrays_of_bytes_in_shape(stored: Make) -> None:
    items = [b"a\0b", b"", "é".encode(), b"\xff"]
    found = array_of(stored(strings_payload(items)[0], "string", (2, 2), "strings"))
    assert found.shape == (2, 2)
    assert found.tolist() == [[b"a\0b", b""], ["é".encode(), b"\xff"]]
    scalar = array_of(stored(strings_payload([b"x"])[0], "string", (), "strings"))
    assert (scalar.shape, scalar.item()) == ((), b"x")
    variant = stored(variants_payload([b"proto"])[0], "variant", (1,), "variant")
    assert [part.tolist() for part in element_chunks(variant)] == [[b"proto"]]


# -- tiles


def tiled(folder: Path, whole: Array, cuts: Sequence[tuple[slice, ...]], big: bool = False) -> Tensor:
    """A partitioned tensor of these tiles, each in its own file."""
    slices = []
    for number, cut in enumerate(cuts):
        part = np.ascontiguousarray(whole[cut])
        start = tuple(axis.indices(size)[0] for axis, size in zip(cut, whole.shape, strict=True))
        path = folder / f"tile{number}"
        path.write_bytes(b"xy" + (part.byteswap() if big else part).tobytes())
        segment = Segment(str(path), 2, part.nbytes)
        slices.append(Slice(start, part.shape, segment, crc32c(part.tobytes())))
    storage = Storage("slices", big_endian=big, slices=tuple(slices))
    return Tensor("t", str(whole.dtype), whole.shape, whole.nbytes, storage=storage)


WHOLE = np.arange(7 * 5 * 2, dtype=np.float32).reshape(7, 5, 2)
ALL = slice(None)
QUARTERS = [
    (slice(0, 3), slice(0, 4), ALL),
    (slice(3, 7), slice(0, 2), ALL),
    (slice(0, 3), slice(4, 5), ALL),
    (slice(3, 7), slice(2, 5), ALL),
]


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("chunk", [1, 40, 100, 1 << 20])
def test_tiles_are_put_together_band_by_band(tmp_path: Path, chunk: int, big: bool) -> None:
    tensor = tiled(tmp_path, WHOLE, QUARTERS, big)
    assert same(array_of(tensor), WHOLE)
    assert same(np.concatenate([part.copy() for part in element_chunks(tensor, chunk)]), WHOLE.reshape(-1))
    wanted = WHOLE.byteswap() if big else WHOLE
    assert b"".join(bytes(view) for view in raw_chunks(tensor, chunk)) == wanted.tobytes()


def test_tiles_of_vectors_bfloat16_and_nothing(tmp_path: Path) -> None:
    vector = np.arange(9).astype(ml_dtypes.bfloat16)
    tensor = tiled(tmp_path, vector, [(slice(0, 4),), (slice(4, 4),), (slice(4, 9),)], big=True)
    assert same(array_of(tensor), vector)
    empty = np.zeros((0, 3), np.float32)
    assert array_of(tiled(tmp_path, empty, [(ALL, ALL)])).shape == (0, 3)
    scalar = replace(tensor, shape=(), storage=replace(tensor.storage, slices=(tensor.storage.slices[0],)))
    with pytest.raises(Damaged):
        array_of(scalar)


@given(st.data())
def test_any_cut_into_blocks_of_rows_and_columns_comes_back(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    rows, columns = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 6))
    whole = np.arange(rows * columns, dtype=np.int16).reshape(rows, columns)
    edges = sorted({0, columns, *data.draw(st.lists(st.integers(0, columns), max_size=3))})
    cuts: list[tuple[slice, ...]] = []
    for left, right in pairwise(edges):
        steps = sorted({0, rows, *data.draw(st.lists(st.integers(0, rows), max_size=3))})
        cuts += [(slice(a, b), slice(left, right)) for a, b in pairwise(steps)]
    tensor = tiled(tmp_path_factory.mktemp("cut"), whole, data.draw(st.permutations(cuts)))
    parts = list(element_chunks(tensor, data.draw(st.integers(1, 60))))
    assert same(np.concatenate(parts), whole.reshape(-1))


@pytest.mark.parametrize(
    ("cuts", "word"),
    [
        (QUARTERS[:3], "cover"),
        ([*QUARTERS[:3], QUARTERS[0]], "cover"),
        ([*QUARTERS, QUARTERS[0]], "exactly"),
        ([(slice(0, 6), ALL, ALL), (slice(0, 1), ALL, ALL)], "exactly"),
    ],
)
def test_tiles_with_holes_or_overlaps_are_refused(tmp_path: Path, cuts: list[tuple[slice, ...]], word: str) -> None:
    with pytest.raises(Damaged, match=word):
        array_of(tiled(tmp_path, WHOLE, cuts))


def test_tiles_that_leave_the_tensor_or_their_file_are_refused(tmp_path: Path) -> None:
    tensor = tiled(tmp_path, WHOLE, QUARTERS)
    first, *rest = tensor.storage.slices
    outside = (replace(first, start=(5, 0, 0)), replace(first, start=(-1, 0, 0)), replace(first, shape=(3, 4)))
    for wrong in outside:
        with pytest.raises(Damaged, match="tile"):
            array_of(replace(tensor, storage=replace(tensor.storage, slices=(wrong, *rest))))
    Path(first.segment.file).write_bytes(b"short")
    with pytest.raises(Damaged) as caught:
        array_of(tensor)
    assert caught.value.code == "shard-truncated"


def test_huge_claims_of_tiles_allocate_nothing(tmp_path: Path) -> None:
    tile = Slice((0, 0), (1, 1 << 50), Segment(str(tmp_path / "t"), 0, 1 << 52), None)
    (tmp_path / "t").write_bytes(bytes(8))
    tensor = Tensor("t", "float32", (1, 1 << 50), 0, storage=Storage("slices", slices=(tile,)))
    with pytest.raises(Damaged):
        array_of(tensor)
