"""Sorted string tables: whole, cut anywhere, with any bit flipped, and made to hurt."""

from __future__ import annotations

import struct
import time
from collections import Counter
from pathlib import Path

import cramjam
import pytest
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptui.errors import NoSuchPath
from ckptui.readers import sstable_block
from ckptui.readers.sstable import FOOTER, Table, parse_table, read_table
from ckptui.readers.sstable_block import Budget, parse_block, unmask
from ckptui.readers.sstable_walk import METAINDEX
from tests.readers.make_bundle import MAGIC, block, entry, header, mask, table, trailed, varint

Items = list[tuple[bytes, bytes]]


def model(count: int = 40) -> Items:
    """Items like those of a real index."""
    keys = sorted(f"layer_{i // 2:03d}/{('bias', 'kernel')[i % 2]}".encode() for i in range(count))
    return [(b"", header()), *((key, entry(1, (3, i + 1), 0, 12 * i, 12, i)) for i, key in enumerate(keys))]


def items_of(found: Table) -> Items:
    return list(zip(found.keys, found.values, strict=True))


def proved_of(found: Table) -> Items:
    guessed = {position for span in found.unproved for position in span}
    return [item for position, item in enumerate(items_of(found)) if position not in guessed]


def damage(found: Table) -> list[str]:
    return [problem.where for problem in found.problems if not problem.cosmetic]


small_items = st.dictionaries(st.binary(min_size=1, max_size=20), st.binary(max_size=40), max_size=60)


@settings(max_examples=60)
@given(small_items, st.sampled_from([1, 50, 1 << 18]), st.sampled_from([1, 3, 16]), st.booleans())
def test_any_table_comes_back_whole(items: dict[bytes, bytes], block_size: int, interval: int, snappy: bool) -> None:
    wanted = [(b"", b"\x08\x01"), *sorted(items.items())]
    found = parse_table(table(wanted, block_size=block_size, interval=interval, snappy=snappy))
    assert items_of(found) == wanted
    assert found.problems == []
    assert found.unproved == []
    assert found.complete


def test_a_table_of_nothing_is_whole() -> None:
    found = parse_table(table([]))
    assert (found.keys, found.problems) == ([], [])


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.index"
    path.write_bytes(table(model()))
    assert items_of(read_table(path)) == model()
    with pytest.raises(NoSuchPath):
        read_table(tmp_path / "absent")
    refused = read_table(path, cap=100)
    assert damage(refused) == ["file"]
    assert not refused.complete


def test_masked_checksums() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert mask(0) == 0xA282EAD8
    assert all(unmask(mask(crc)) == crc for crc in (0, 1, 0xFFFFFFFF, 0xE3069283, 0x80000000))


@pytest.mark.parametrize("snappy", [False, True])
@pytest.mark.parametrize("block_size", [1 << 18, 300])
def test_every_truncation_ends_in_findings_and_true_entries(snappy: bool, block_size: int) -> None:
    whole = table(model(), snappy=snappy, block_size=block_size)
    wanted = dict(model())
    most = 0
    for length in range(len(whole)):
        found = parse_table(whole[:length])
        assert damage(found), length
        assert all(wanted.get(key) == value for key, value in items_of(found)), length
        most = max(most, len(found.keys))
    assert most == len(wanted)
    print(f"\n{len(whole)} truncations, each with a finding")


@pytest.mark.parametrize("snappy", [False, True])
def test_every_flipped_bit_is_noticed_and_costs_little(snappy: bool) -> None:
    wanted = model(12)
    whole = table(wanted, snappy=snappy, block_size=150)
    outcomes: Counter[str] = Counter()
    for bit in range(len(whole) * 8):
        raw = bytearray(whole)
        raw[bit // 8] ^= 1 << bit % 8
        found = parse_table(bytes(raw))
        assert found.problems, f"bit {bit} goes unnoticed"
        assert set(proved_of(found)) <= set(wanted), f"bit {bit} makes a false entry look proved"
        if not damage(found):
            assert items_of(found) == wanted
            outcomes["cosmetic"] += 1
        elif items_of(found) == wanted:
            outcomes["all entries"] += 1
        else:
            lost = len(set(wanted) - set(items_of(found)))
            outcomes[f"up to {max(4, lost)} of {len(wanted)} entries lost"] += 1
    print(f"\n{sum(outcomes.values())} flipped bits: {dict(outcomes)}")
    assert outcomes["cosmetic"] > 200
    assert outcomes["all entries"] > 200


def test_a_damaged_block_costs_nothing_of_the_others() -> None:
    wanted = model()
    raw = bytearray(table(wanted, block_size=300))
    raw[40] ^= 0x10
    found = parse_table(bytes(raw))
    [problem] = found.problems
    assert (problem.where, problem.offset) == ("data block", 0)
    assert problem.expected is not None
    assert problem.expected != problem.found
    assert len(found.unproved) == 1
    assert set(wanted) - set(proved_of(found)) == {wanted[i] for i in found.unproved[0]} | (
        set(wanted) - set(items_of(found))
    )
    assert len(proved_of(found)) > 20


def test_after_damage_inside_a_block_reading_takes_up_at_the_next_restart() -> None:
    wanted = model(200)
    body = bytearray(table(wanted))
    body[1500:1540] = b"\xff" * 40
    found = parse_table(bytes(body))
    assert not found.complete
    assert len(set(items_of(found)) & set(wanted)) >= len(wanted) - 17


def test_a_zeroed_page_costs_its_entries_only() -> None:
    wanted = model(600)
    body = bytearray(table(wanted))
    body[4096:8192] = bytes(4096)
    found = parse_table(bytes(body))
    true = set(items_of(found)) & set(wanted)
    assert len(true) > len(wanted) - 4096 // 20
    assert len(found.keys) - len(true) <= 2


FOOTERS = {
    "magic flipped": lambda raw: raw[:-1] + b"\0",
    "footer gone": lambda raw: raw[:-FOOTER],
    "index block gone": lambda raw: raw[: raw.index(METAINDEX) + len(METAINDEX)],
    "zeros at the end": lambda raw: raw[:-60] + bytes(60),
    "bytes appended": lambda raw: raw + b"\r\n",
    "handles garbled": lambda raw: raw[:-FOOTER] + b"\xff" * 40 + MAGIC,
    "index block flipped": lambda raw: raw[: -FOOTER - 8] + b"\xff" + raw[-FOOTER - 7 :],
}


@pytest.mark.parametrize("snappy", [False, True])
@pytest.mark.parametrize("how", sorted(FOOTERS))
def test_without_a_directory_all_entries_are_found_and_proved(how: str, snappy: bool) -> None:
    wanted = model(100)
    found = parse_table(FOOTERS[how](table(wanted, block_size=700, snappy=snappy)))
    assert damage(found)
    assert proved_of(found) == wanted
    assert found.complete


def test_what_tensorflow_never_reads_is_cosmetic() -> None:
    whole = table(model())
    meta = whole.index(METAINDEX)
    for position in (meta + 3, meta + 10, len(whole) - 10):
        raw = bytearray(whole)
        raw[position] ^= 1
        found = parse_table(bytes(raw))
        assert found.problems
        assert damage(found) == []
        assert items_of(found) == model()


def test_keys_that_stand_twice_or_out_of_order_are_told() -> None:
    found = parse_table(table([(b"", b"\x08\x01"), (b"a", b"1"), (b"a", b"2"), (b"c", b"3"), (b"b", b"4")]))
    assert [problem.duplicate for problem in found.problems if problem.duplicate] == [b"a"]
    assert any("out of order" in problem.reason for problem in found.problems)
    assert len(found.keys) == 5


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0" * 48,
        b"\0" * 5000,
        b"<!DOCTYPE html>" * 20,
        b"\x1f\x8b\x08" + b"x" * 100,
        MAGIC,
        b"\xff" * 40 + MAGIC,
    ],
)
def test_what_is_no_table_is_said_to_be_none(raw: bytes) -> None:
    found = parse_table(raw)
    assert found.keys == []
    assert damage(found)
    assert not found.complete


@settings(max_examples=300)
@given(st.binary(max_size=400), st.booleans())
def test_garbage_never_raises(raw: bytes, with_magic: bool) -> None:
    parse_table(raw + MAGIC if with_magic else raw)


@settings(max_examples=150)
@given(st.data())
def test_mutants_of_a_real_table_never_raise(data: st.DataObject) -> None:
    raw = bytearray(table(model(30), block_size=400, snappy=data.draw(st.booleans())))
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.integers(0, len(raw) - 1))
        patch = data.draw(st.binary(max_size=12))
        raw[start : start + data.draw(st.integers(0, 12))] = patch
    parse_table(bytes(raw))


# -- made to hurt


def crafted(data: bytes, kind: int = 0, handles: Items | None = None) -> bytes:
    """A table around one hand-made block body."""
    data += bytes([kind])
    raw = data + struct.pack("<I", mask(crc32c(data)))
    meta = trailed(block([]))
    index = trailed(block(handles or [(b"\xff", varint(0) + varint(len(data) - 1))], 1))
    footer = varint(len(raw)) + varint(len(meta) - 5) + varint(len(raw) + len(meta)) + varint(len(index) - 5)
    return raw + meta + index + footer.ljust(40, b"\0") + MAGIC


def quickly(raw: bytes, seconds: float = 1.0) -> Table:
    start = time.thread_time()
    found = parse_table(raw)
    assert time.thread_time() - start < seconds
    return found


def test_a_snappy_bomb_is_not_unpacked() -> None:
    found = quickly(crafted(varint(2**32 - 1) + b"\xfc" + bytes(64), kind=1))
    assert damage(found) == ["data block"]
    body = bytes(cramjam.snappy.compress_raw(bytes(1 << 20)))
    assert damage(quickly(crafted(body, kind=1)))


def test_unknown_compression_is_told_and_the_body_tried() -> None:
    found = parse_table(crafted(block(model()), kind=99))
    assert [problem.reason for problem in found.problems] == ["compression type 99"]
    assert items_of(found) == model()


def test_shared_prefixes_cannot_multiply_a_small_file() -> None:
    long = varint(0) + varint(60_000) + varint(0) + b"k" * 60_000
    body = long + (varint(60_000) + varint(1) + varint(0) + b"x") * 100_000
    found = quickly(crafted(body + struct.pack("<II", 0, 1)), 3.0)
    assert sum(map(len, found.keys)) <= 1 << 27
    assert damage(found)


def test_an_absurd_number_of_entries_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sstable_block.Budget, "__init__", lambda self: _small(self))
    found = parse_table(table(model(200)))
    assert 40 < len(found.keys) <= 50
    assert damage(found)


def _small(budget: Budget) -> None:
    budget.entries, budget.key_bytes, budget.unpacked = 50, 1 << 27, 1 << 29


@pytest.mark.parametrize(
    "restarts",
    [struct.pack("<I", 2**31), struct.pack("<4I", 2**31, 5, 2**32 - 1, 3), struct.pack("<I", 0)],
)
def test_restart_arrays_are_held_against_the_entries(restarts: bytes) -> None:
    entries = block(model(5))[:-8]
    found = quickly(crafted(entries + restarts))
    assert damage(found) == ["data block"]
    assert items_of(found) == model(5)


def test_handles_that_overlap_or_repeat_are_not_followed() -> None:
    body = block(model())
    handle = varint(0) + varint(len(body))
    handles = [(bytes([255, i // 256, i % 256]), handle) for i in range(20_000)]
    found = quickly(crafted(body, handles=handles))
    assert damage(found) == ["index block"]
    assert items_of(found) == model()
    leaving = [(b"\xff", varint(0) + varint(2**40))]
    assert items_of(quickly(crafted(body, handles=leaving))) == model()


def test_keys_outside_their_block_bounds_are_told() -> None:
    body = block(model())
    found = parse_table(crafted(body, handles=[(b"a", varint(0) + varint(len(body)))]))
    assert [problem.where for problem in found.problems] == ["data block"]
    assert items_of(found) == model()


def test_an_empty_block_has_one_restart() -> None:
    assert parse_block(block([]), Budget()).problem == ""


def test_names_of_a_hundred_thousand_tensors_take_a_moment() -> None:
    keys = [f"model/layer_{i // 4:05d}/block/{i % 4}/kernel".encode() for i in range(100_000)]
    raw = table([(b"", header()), *((key, entry(1, (3, 3), 0, 36 * i, 36, i)) for i, key in enumerate(keys))])
    parse_table(raw)
    start = time.process_time()
    found = parse_table(raw)
    seconds = time.process_time() - start
    print(f"\n100,001 entries, {len(raw)} bytes: {seconds:.3f} s")
    assert found.keys[1:] == keys
    assert seconds < 1.0
