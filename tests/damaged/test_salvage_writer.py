"""The checkpoint writer by itself: the same bytes as TensorFlow's for the same entries."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from ckptui.core.names import OBJECT_GRAPH_KEY
from ckptui.readers.object_graph import parse
from ckptui.readers.sstable import parse_table, read_table
from ckptui.salvage.bundle_writer import HEADER, BundleWriter, entry
from ckptui.salvage.graph_edit import without
from ckptui.salvage.table_writer import table
from tests.places import CORPUS, SAMPLES, needs_corpus, needs_samples
from tests.readers.make_bundle import Node, graph_payload
from tests.readers.make_bundle import entry as expected_entry


def same(folder: Path) -> tuple[int, int]:
    """How many undamaged, uncompressed indexes there are below a folder, and how many are written byte for byte."""
    found = equal = 0
    for path in sorted(folder.rglob("*.index")):
        read = read_table(path)
        raw = path.read_bytes()
        written = b"".join(table(zip(read.keys, read.values, strict=True)))
        if not read.problems and len(written) <= len(raw):
            found += 1
            equal += written == raw
    return found, equal


@needs_samples
def test_sample_indexes_are_written_byte_for_byte() -> None:
    found, equal = same(SAMPLES)
    assert found == equal > 10


@needs_corpus
def test_indexes_of_every_writer_are_written_byte_for_byte() -> None:
    found, equal = same(CORPUS)
    print(found, equal)
    assert found == equal > 20


def test_a_table_of_many_blocks_reads_back() -> None:
    entries = [(b"", HEADER)] + [(f"name/{n:06d}".encode() * 5, bytes(100)) for n in range(9000)]
    read = parse_table(b"".join(table(entries)))
    assert not read.problems
    assert list(zip(read.keys, read.values, strict=True)) == entries


def test_keys_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="after"):
        list(table([(b"b", b""), (b"a", b"")]))


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 4), (300, 2)])
def test_entries_are_as_tensorflow_writes_them(shape: tuple[int, ...]) -> None:
    assert entry("float32", shape, 0, 24, 0x1234) == expected_entry(1, shape, 0, 0, 24, 0x1234)
    assert entry("int64", shape, 1 << 40, 0, 7) == expected_entry(9, shape, 0, 1 << 40, 0, 7)


def test_what_is_discarded_leaves_no_bytes() -> None:
    data = io.BytesIO()
    writer = BundleWriter(data)
    writer.write(b"abcd")
    writer.commit("a", "int8", (4,), 4, 0)
    writer.write(b"half of some")
    writer.discard()
    writer.write(b"xy")
    writer.commit("b", "int8", (2,), 2, 0)
    assert data.getvalue() == b"abcdxy"
    with pytest.raises(ValueError, match="taken"):
        writer.commit("a", "int8", (0,), 0, 0)
    with pytest.raises(ValueError, match="taken"):
        writer.commit("", "int8", (0,), 0, 0)
    assert len(parse_table(b"".join(writer.index())).keys) == 3


def test_lost_variables_leave_the_object_graph() -> None:
    nodes = [
        Node({"a": 1, "b": 2}),
        Node(attributes=[("VARIABLE_VALUE", "a", "a/key")], slots=[(2, "m", 1)]),
        Node(attributes=[("VARIABLE_VALUE", "b", "b/key"), ("OTHER", "", "b/other")]),
    ]
    whole = graph_payload(nodes)
    edited, dropped = without(whole, {"b/key", "nobody"})
    assert dropped == 1
    before, after = parse(whole), parse(edited)
    assert len(after.nodes) == len(before.nodes)
    assert [n.children for n in after.nodes] == [n.children for n in before.nodes]
    assert [attribute for n in after.nodes for attribute in n.attributes] == [
        ("VARIABLE_VALUE", "a", "a/key"), ("OTHER", "", "b/other"),
    ]  # fmt: skip
    assert without(whole, set()) == (whole, 0)
    assert OBJECT_GRAPH_KEY not in after.names
