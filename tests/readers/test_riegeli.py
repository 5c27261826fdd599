"""Riegeli files and what is put together from their records: real ones as TensorFlow's texts say, made ones too."""

from __future__ import annotations

import os
import random
import struct
from collections import Counter
from pathlib import Path

import pytest

from ckptui.errors import Damaged
from ckptui.readers.riegeli import read_records
from ckptui.readers.riegeli_hash import riegeli_hash
from ckptui.readers.riegeli_merge import merged_saved_model
from ckptui.readers.saved_model import open_saved_model
from ckptui.readers.source import Source
from ckptui.session import Session
from tests import warm_tensorflow
from tests.places import CORPUS, ROOT, needs_corpus
from tests.readers.make_bundle import field_bytes, varint, write_bundle
from tests.readers.make_riegeli import Writer, chunk_data, chunked, plan, riegeli, step
from tests.readers.protos import entry, graph, meta_graph, node, part, saved_model_proto, tensor_info

TWINS = CORPUS / "tf-proto-splitter"


def put(folder: Path, data: bytes, name: str = "saved_model.cpb") -> str:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(data)
    return str(folder / name)


def records(path: str) -> list[bytes]:
    with Source(path) as source:
        return read_records(source)


def test_the_hash_is_the_one_every_file_begins_with() -> None:
    # the header of every first block, and that of every signature chunk
    assert riegeli_hash(struct.pack("<2Q", 0, 0x40)).to_bytes(8, "little").hex() == "83af70d10d884a3f"
    signature = struct.pack("<4Q", 0, riegeli_hash(b""), ord("s"), 0)
    assert signature.hex().startswith("0000000000000000e19f13c0e9b1c372")
    assert riegeli_hash(signature).to_bytes(8, "little").hex() == "91bac23c9287e1a9"


@needs_corpus
def test_every_hash_of_real_files_holds() -> None:
    compared = 0
    for path in sorted(TWINS.glob("*.cpb")):
        data = path.read_bytes()
        place = 24
        while place < len(data):
            stored, size, data_hash, _, _ = struct.unpack("<5Q", data[place : place + 40])
            assert riegeli_hash(data[place + 8 : place + 40]) == stored
            assert riegeli_hash(data[place + 40 : place + 40 + size]) == data_hash
            compared += 2
            place += 40 + size
    print(f"{compared} hashes of real chunks hold")
    assert compared == 28


COMPARE = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from tensorflow.core.framework import graph_pb2
from tensorflow.core.protobuf import saved_model_pb2
from ckptui.readers.riegeli_merge import merged_saved_model

file = descriptor_pb2.FileDescriptorProto(name="t.proto", package="t", syntax="proto3")
many = file.message_type.add(name="Many")
for name, number, label, kind, type_name in (
    ("field_one", 1, 1, 11, "Many"), ("repeated_field", 2, 3, 11, "Many"), ("string_field", 3, 1, 9, ""),
    ("repeated_string_field", 4, 3, 9, ""), ("map_field_uint32", 5, 3, 11, "Many.MapFieldUint32Entry"),
    ("map_field_int64", 6, 3, 11, "Many.MapFieldInt64Entry"), ("nested_map_bool", 7, 3, 11, "Many.NestedMapBoolEntry"),
):
    added = many.field.add(name=name, number=number, label=label, type=kind)
    if type_name:
        added.type_name = ".t." + type_name
for name, key, kind in (("MapFieldUint32Entry", 13, 9), ("MapFieldInt64Entry", 3, 9), ("NestedMapBoolEntry", 8, 11)):
    nested = many.nested_type.add(name=name)
    nested.options.map_entry = True
    nested.field.add(name="key", number=1, label=1, type=key)
    value = nested.field.add(name="value", number=2, label=1, type=kind)
    if kind == 11:
        value.type_name = ".t.Many"
tree = file.message_type.add(name="Tree")
tree.field.add(name="val", number=1, label=1, type=9)
tree.field.add(name="child_nodes", number=2, label=3, type=11, type_name=".t.Tree")
pool = descriptor_pool.DescriptorPool()
pool.Add(file)
made = lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName("t." + name))
kinds = {
    "split-standard": (saved_model_pb2.SavedModel, ""), "split-large-constant": (graph_pb2.GraphDef, ""),
    "split-large-nodes": (graph_pb2.GraphDef, ""), "split-lots-nodes": (graph_pb2.GraphDef, ""),
    "many-field": (made("Many"), ""), "bf-split-tree": (made("Tree"), "split-tree"),
    "df-split-tree": (made("Tree"), "split-tree"),
}
for name, (kind, text) in kinds.items():
    wanted = kind()
    text_format.Parse(open(f"{sys.argv[1]}/{text or name}.pbtxt").read(), wanted)
    found = kind.FromString(merged_saved_model(f"{sys.argv[1]}/{name}.cpb"))
    print(name, found == wanted)
"""


@needs_corpus
@pytest.mark.tensorflow
def test_real_chunked_files_come_out_as_their_text_twins() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = warm_tensorflow.run(["-c", COMPARE, TWINS], cwd=ROOT, env=environment, timeout=120)
    answers = dict(line.split() for line in done.stdout.splitlines())
    assert len(answers) == 7, done.stderr[-2000:]
    assert set(answers.values()) == {"True"}, answers


# ---------------------------------------------------------------------- records


@pytest.mark.parametrize("compression", ["", "b", "z"])
def test_simple_chunks_of_each_compression(tmp_path: Path, compression: str) -> None:
    chunks = [[b"one", b"", b"three" * 100], [b"x"], [bytes(range(256)) * 9]]
    path = put(tmp_path, riegeli(chunks, compression))
    assert records(path) == [record for chunk in chunks for record in chunk]


def test_chunks_run_on_over_block_headers(tmp_path: Path) -> None:
    rng = random.Random(4)
    chunks = [[rng.randbytes(size) for size in (40_000, 3)], [rng.randbytes(150_000)], [b"end"]]
    path = put(tmp_path, riegeli(chunks))
    assert os.path.getsize(path) > 2 * (1 << 16)
    assert records(path) == [record for chunk in chunks for record in chunk]


def test_a_chunk_is_as_long_as_it_has_records(tmp_path: Path) -> None:
    chunks = [[b""] * 500, [b"after"]]
    path = put(tmp_path, riegeli(chunks, "b"))
    assert records(path) == [b""] * 500 + [b"after"]


def test_padding_and_metadata_are_passed_over(tmp_path: Path) -> None:
    writer = Writer()
    writer.chunk(b"about", "m", 0, 5)
    writer.chunk(bytes(100), "p")
    writer.chunk(chunk_data([b"r"]), "r", 1, 1)
    assert records(put(tmp_path, bytes(writer.out))) == [b"r"]


def test_what_is_not_read_says_so(tmp_path: Path) -> None:
    for data, kind, words in ((b"anything", "t", "transposed"), (b"q" + varint(0), "r", "compression")):
        writer = Writer()
        writer.chunk(data, kind, 1, 4)
        with pytest.raises(Damaged) as caught:
            records(put(tmp_path, bytes(writer.out)))
        assert caught.value.code == "unsupported-format"
        assert words in caught.value.detail


def test_a_lying_size_allocates_nothing(tmp_path: Path) -> None:
    for data in (
        b"b" + varint(3) + varint(1 << 60) + b"x" + b"",
        b"z" + varint(1 << 40),
        b"\0" + varint(1) + varint(200) + b"short",
    ):
        writer = Writer()
        writer.chunk(data, "r", 1, 1 << 50)
        with pytest.raises(Damaged):
            records(put(tmp_path, bytes(writer.out)))


def test_damage_says_where_and_what_the_hash_should_be(tmp_path: Path) -> None:
    data = bytearray(riegeli([[b"one"], [b"two" * 10]]))
    second = len(data) - 40 - len(chunk_data([b"two" * 10]))
    broken = bytearray(data)
    broken[-4] ^= 1
    with pytest.raises(Damaged) as caught:
        records(put(tmp_path, bytes(broken)))
    evidence = caught.value.evidence
    assert (caught.value.code, evidence["offset"]) == ("graph-damaged", second)
    assert evidence["expected"] != evidence["found"]
    with pytest.raises(Damaged) as caught:
        records(put(tmp_path, bytes(data[:-7])))
    evidence = caught.value.evidence
    assert (evidence["bytes_missing"], evidence["expected"], evidence["found"]) == (7, len(data), len(data) - 7)


# ---------------------------------------------------------------------- merging


def test_chunks_go_where_their_paths_lead(tmp_path: Path) -> None:
    base = field_bytes(1, b"name") + field_bytes(2, field_bytes(1, b"a")) + field_bytes(2, b"")
    chunks = [base, b"content", field_bytes(3, 7), field_bytes(1, b"b"), b"value"]
    key = field_bytes(1, b"k")
    message = plan(
        0,
        (step(2) + step(index=1), plan(3)),
        (step(4) + step(5), plan(1)),
        (step(6) + step(key=key) + step(9), plan(4)),
        (b"", plan(2)),
    )
    merged = merged_saved_model(put(tmp_path, chunked(chunks, message, "b")))
    assert merged == b"".join(
        (
            field_bytes(1, b"name"),
            field_bytes(2, field_bytes(1, b"a")),
            field_bytes(2, field_bytes(1, b"b")),
            field_bytes(3, 7),
            field_bytes(4, field_bytes(5, b"content")),
            field_bytes(6, field_bytes(1, b"k") + field_bytes(2, field_bytes(9, b"value"))),
        )
    )


@pytest.mark.parametrize(
    "file",
    [
        riegeli([]),
        chunked([b"x"], plan(0), sizes=[9]),
        chunked([b"x"], plan(0), sizes=[1, 1]),
        chunked([b"x"], plan(5)),
        chunked([b"\xff"], plan(0, (step(1), plan(0)))),
        chunked([b""], plan(0, (step(1) + step(index=1 << 40), plan(0)))),
        chunked([b""], plan(0, (step(index=1), plan(0)))),
        riegeli([[b"\xff\xff"]]),
    ],
)
def test_plans_that_make_no_sense_are_damage(tmp_path: Path, file: bytes) -> None:
    with pytest.raises(Damaged) as caught:
        merged_saved_model(put(tmp_path, file))
    assert caught.value.code == "graph-damaged"


def test_a_plan_that_multiplies_a_chunk_ends(tmp_path: Path) -> None:
    """Eight levels that each use what is below them sixteen times would be four billion copies."""
    message = plan(0)
    for _ in range(8):
        message = plan(None, *((b"", message),) * 16) if len(message) < 1 << 20 else message
    path = put(tmp_path, chunked([b"\x0a\x00" * 400_000], plan(None, *((b"", plan(0)),) * 2000), "z"))
    with pytest.raises(Damaged):
        merged_saved_model(path)


# ---------------------------------------------------------------------- as a SavedModel


def model_bytes() -> tuple[bytes, list[bytes], bytes]:
    """A SavedModel whole, and cut into chunks with the plan to put them together."""
    signature = part(1, entry(1, "x", tensor_info("x:0", 1, 4))) + part(3, "tensorflow/serving/predict")
    rest = entry(5, "serving_default", signature)
    nodes = node("v", "VarHandleOp") + b""
    whole = saved_model_proto(meta_graph(graph(nodes, node("call", "PyFunc")), rest=rest))
    base = saved_model_proto(meta_graph(graph(nodes), rest=rest))
    more = part(1, node("call", "PyFunc"))
    return whole, [base, more], plan(0, (step(2) + step(index=0) + step(2), plan(1)))


def test_a_chunked_saved_model_is_read_like_any_other(tmp_path: Path) -> None:
    import numpy as np

    whole, chunks, message = model_bytes()
    put(tmp_path / "chunked", chunked(chunks, message, "b"))
    put(tmp_path / "plain", whole, "saved_model.pb")
    for name in ("chunked", "plain"):
        (tmp_path / name / "variables").mkdir()
        write_bundle(tmp_path / name / "variables" / "variables", {"v": np.zeros(3, "f4")})
    ours, plain = open_saved_model(tmp_path / "chunked"), open_saved_model(tmp_path / "plain")
    assert ours.meta_graphs[0].signatures == plain.meta_graphs[0].signatures
    assert ours.meta_graphs[0].ops == plain.meta_graphs[0].ops
    assert [f.code for f in plain.findings] == ["unsafe-op"]
    assert [f.code for f in ours.findings] == ["unsupported-format", "unsafe-op"]
    told = ours.findings[0]
    assert told.severity == "info"
    assert "SavedModel file does not exist at" in str(told.evidence["tensorflow_says"])
    with Session() as session:
        listing = session.open(str(tmp_path / "chunked"))
        assert [t.name for t in listing.tensors] == ["v"]
        assert [s.name for s in listing.signatures] == ["serving_default"]


def test_a_damaged_chunked_graph_leaves_the_variables(tmp_path: Path) -> None:
    import numpy as np

    _, chunks, message = model_bytes()
    data = bytearray(chunked(chunks, message, "b"))
    data[150] ^= 4
    put(tmp_path / "m", bytes(data))
    (tmp_path / "m" / "variables").mkdir()
    write_bundle(tmp_path / "m" / "variables" / "variables", {"v": np.zeros(3, "f4")})
    model = open_saved_model(tmp_path / "m")
    (found,) = model.findings
    assert (found.code, found.evidence["offset"]) == ("graph-damaged", 64)
    assert found.evidence["expected"] != found.evidence["found"]
    assert [t.name for t in model.listing().tensors] == ["v"]


def test_every_truncation_and_every_flipped_bit_is_told(tmp_path: Path) -> None:
    data = chunked([b"\x0a\x01a", b"b"], plan(0, (step(2), plan(1))))
    whole = merged_saved_model(put(tmp_path, data))
    cuts: Counter[str] = Counter()
    for length in range(len(data)):
        try:
            merged_saved_model(put(tmp_path, data[:length]))
            cuts["nothing"] += 1
        except Damaged as error:
            cuts[error.code] += 1
    flips: Counter[str] = Counter()
    for place in range(len(data)):
        for bit in range(8):
            broken = bytearray(data)
            broken[place] ^= 1 << bit
            try:
                assert merged_saved_model(put(tmp_path, bytes(broken))) == whole
                flips["nothing"] += 1
            except Damaged as error:
                flips[error.code] += 1
    print(f"{len(data)} truncations: {dict(cuts)}; {8 * len(data)} flipped bits: {dict(flips)}")
    assert set(cuts) == {"graph-damaged"}
    assert set(flips) == {"graph-damaged"}
