"""SavedModels: facts of the graph by walking it, the readable part of a damaged one, and its variables."""

from __future__ import annotations

import json
import os
import resource
import time
from pathlib import Path

import pytest

from ckptui.core.dtypes import NUMBERS
from ckptui.core.model import Endpoint
from ckptui.errors import NoSuchPath, NotASave
from ckptui.readers import graph_wire
from ckptui.readers.graph_facts import Gatherer
from ckptui.readers.graph_wire import walk_wire
from ckptui.readers.saved_model import SavedModel, open_saved_model
from tests.readers.protos import (
    entry,
    function,
    graph,
    meta_graph,
    node,
    number,
    part,
    saved_model_proto,
    shape,
    signature,
    tensor_info,
)
from tests.readers.saves import V1

FLOAT, STRING, INT64 = NUMBERS["float32"], NUMBERS["string"], NUMBERS["int64"]

SIGNATURE = signature("serving_default", {"x": tensor_info("x:0", FLOAT, -1, 28)}, {"y": tensor_info("y:0", INT64)})
HEALTHY = saved_model_proto(meta_graph(graph(node("x", "Placeholder"), node("y", "Identity")), rest=SIGNATURE))


def export(folder: Path, proto: bytes, name: str = "saved_model.pb") -> SavedModel:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(proto)
    return open_saved_model(folder)


def codes(model: SavedModel) -> list[tuple[str, str]]:
    return [(finding.code, finding.severity) for finding in model.findings]


def walked(proto: bytes) -> Gatherer:
    gatherer = Gatherer()
    walk_wire(lambda offset, count: proto[offset : offset + count], len(proto), gatherer, "SavedModel")
    return gatherer


# ---------------------------------------------------------------- facts


def test_a_healthy_graph_tells_signatures_writer_and_counts(tmp_path: Path) -> None:
    proto = saved_model_proto(
        meta_graph(
            graph(node("x", "Placeholder"), functions=(function("f", node("a", "MatMul"), node("b", "Relu")),)),
            rest=SIGNATURE,
        )
    )
    model = export(tmp_path, proto)
    assert codes(model) == []
    facts = model.meta_graphs[0]
    assert (facts.nodes, facts.functions, facts.function_nodes) == (1, 1, 2)
    assert facts.ops == {"Placeholder": 1, "MatMul": 1, "Relu": 1}
    assert model.writer == {"tensorflow": "2.21.0", "git": "v2.21.0-rc1", "producer": 2474}
    (serving,) = model.signatures
    assert (serving.name, serving.method, serving.tags) == ("serving_default", "predict", ("serve",))
    assert serving.inputs == (Endpoint("x", "x:0", "float32", (None, 28)),)
    assert serving.outputs == (Endpoint("y", "y:0", "int64", ()),)
    listing = model.listing()
    assert listing.artifact.kind == "saved-model"
    assert listing.artifact.bytes == len(proto)
    assert listing.artifact.tensors == 0
    assert listing.signatures == model.signatures


def test_several_meta_graphs_keep_their_tags_and_signatures_apart(tmp_path: Path) -> None:
    model = export(
        tmp_path,
        saved_model_proto(
            meta_graph(tags=("train",), rest=signature("train", {}, {})),
            meta_graph(tags=("serve", "gpu"), rest=SIGNATURE),
        ),
    )
    assert [(s.name, s.tags) for s in model.signatures] == [
        ("train", ("train",)),
        ("serving_default", ("serve", "gpu")),
    ]


def test_shapes_keep_unknown_zero_and_no_rank_apart(tmp_path: Path) -> None:
    unknown = part(1, "u:0") + number(2, FLOAT) + part(3, number(3, 1))
    without = part(1, "w:0") + number(2, FLOAT)
    inputs = {"z": tensor_info("z:0", FLOAT, 0, -1, 7), "u": unknown, "w": without}
    model = export(tmp_path, saved_model_proto(meta_graph(rest=signature("s", inputs, {}))))
    shapes = {e.name: e.shape for e in model.signatures[0].inputs}
    assert shapes == {"u": None, "w": (), "z": (0, None, 7)}


def test_sparse_and_composite_inputs_name_their_parts(tmp_path: Path) -> None:
    sparse = (
        number(2, INT64)
        + part(3, shape(-1, 5))
        + part(4, part(1, "values:0") + part(2, "indices:0") + part(3, "dense:0"))
    )
    ragged = part(5, part(2, tensor_info("flat:0", STRING, -1)) + part(2, tensor_info("splits:0", INT64, -1)))
    model = export(tmp_path, saved_model_proto(meta_graph(rest=signature("s", {"a": sparse, "b": ragged}, {}))))
    first, second = model.signatures[0].inputs
    assert (first.encoding, first.tensor, first.dtype, first.shape) == (
        "sparse",
        "values:0",
        "int64",
        (None, 5),
    )
    assert first.components == ("values:0", "indices:0", "dense:0")
    assert (second.encoding, second.components) == ("composite", ("flat:0", "splits:0"))
    assert first.to_json()["components"] == ["values:0", "indices:0", "dense:0"]


def test_internal_signatures_are_facts_but_not_listed(tmp_path: Path) -> None:
    rest = SIGNATURE + signature("__saved_model_init_op", {}, {"__saved_model_init_op": part(1, "NoOp")})
    model = export(tmp_path, saved_model_proto(meta_graph(rest=rest)))
    assert [s.name for s in model.signatures] == ["serving_default"]
    assert len(model.meta_graphs[0].signatures) == 2


def test_text_graphs_give_the_same_facts(tmp_path: Path) -> None:
    text = (
        b'meta_graphs { meta_info_def { tags: "serve" tensorflow_version: "1.1.0" } graph_def {'
        b' node { name: "x" op: "Placeholder" } } signature_def { key: "s" value { inputs { key: "x" value {'
        b' name: "x:0" dtype: DT_FLOAT tensor_shape { dim { size: -1 } dim { size: 28 } } } } } } }'
    )
    model = export(tmp_path, text, "saved_model.pbtxt")
    assert codes(model) == []
    assert model.signatures[0].inputs == (Endpoint("x", "x:0", "float32", (None, 28)),)
    (tmp_path / "saved_model.pb").write_bytes(HEALTHY)
    assert open_saved_model(tmp_path).writer["tensorflow"] == "2.21.0", "the binary graph goes first"


def test_keras_metadata_gives_version_and_architecture(tmp_path: Path) -> None:
    layer = {"class_name": "Dense", "config": {"name": "out", "units": 2}}
    batch = {"class_name": "__tuple__", "items": [None, 4]}
    first = {"class_name": "InputLayer", "config": {"name": "x", "batch_input_shape": batch}}
    config = {"class_name": "Sequential", "config": {"name": "net", "layers": [first, layer]}}
    root = {"class_name": "Sequential", "keras_version": "2.12.0", "model_config": config}
    nodes = part(1, part(3, "root.layer-0") + part(5, "{}")) + part(1, part(3, "root") + part(5, json.dumps(root)))
    export(tmp_path, HEALTHY)
    (tmp_path / "keras_metadata.pb").write_bytes(nodes)
    (tmp_path / "fingerprint.pb").write_bytes(number(1, 7) + part(6, number(1, 4)))
    model = open_saved_model(tmp_path)
    assert model.writer["keras"] == "2.12.0"
    assert model.writer["fingerprint_producer"] == 4
    rows = model.listing().architecture
    assert [(row.name, row.class_name, row.output_shape) for row in rows] == [
        ("x", "InputLayer", (None, 4)),
        ("out", "Dense", (None, 2)),
    ]


@pytest.mark.parametrize("text", ["{", "[]", "[" * 200_000, '{"model_config": 3, "config": []}', '{"config": {}}'])
def test_hostile_keras_metadata_costs_the_architecture_only(tmp_path: Path, text: str) -> None:
    export(tmp_path, HEALTHY)
    (tmp_path / "keras_metadata.pb").write_bytes(part(1, part(3, "root") + part(5, text)))
    listing = open_saved_model(tmp_path).listing()
    assert listing.architecture == ()
    assert len(listing.signatures) == 1


def test_keras_metadata_of_old_exports_lies_in_the_object_graph(tmp_path: Path) -> None:
    user = part(4, part(1, "_tf_keras_network") + part(3, json.dumps({"keras_version": "2.4.0"})))
    objects = part(7, part(1, user) + part(1, part(7, number(1, 1))) + part(1, part(7, number(1, 1))))
    model = export(tmp_path, saved_model_proto(meta_graph(rest=objects)))
    assert model.writer["keras"] == "2.4.0"
    assert (model.meta_graphs[0].objects, model.meta_graphs[0].variables) == (3, 2)


# ---------------------------------------------------------------- damage


def test_a_bad_field_costs_itself_and_its_offset_is_told(tmp_path: Path) -> None:
    good = node("x", "Placeholder")
    bad = part(1, "y") + b"\x07\x07"
    proto = saved_model_proto(meta_graph(graph(good, bad, good), rest=SIGNATURE))
    model = export(tmp_path, proto)
    assert codes(model) == [("graph-damaged", "error")]
    assert model.findings[0].evidence["offset"] == proto.index(b"\x07\x07")
    assert model.findings[0].evidence["where"] == "meta_graphs.graph_def.node"
    assert model.meta_graphs[0].nodes == 3
    assert model.signatures[0].name == "serving_default"


def test_text_that_is_no_utf8_does_not_cost_the_rest(tmp_path: Path) -> None:
    proto = saved_model_proto(meta_graph(graph(node("x", "Placeholder")), rest=SIGNATURE))
    model = export(tmp_path, proto.replace(b"Placeholder", b"Place\xff\xfelder"))
    assert codes(model) == [("graph-damaged", "error")]
    assert model.meta_graphs[0].ops == {"Place\\xff\\xfelder": 1}
    assert len(model.signatures) == 1


def test_every_cut_is_told_and_what_stands_before_it_is_read() -> None:
    for end in range(3, len(HEALTHY)):
        assert walked(HEALTHY[:end]).damage is not None, end
    cut = walked(HEALTHY[:-3]).root["meta_graphs"][0]
    assert cut["graph_def"]["nodes"] == 2
    assert cut["signature_def"][0]["key"] == "serving_default"


def test_every_flipped_bit_ends_in_facts_and_not_in_an_exception() -> None:
    for place in range(len(HEALTHY)):
        for bit in range(8):
            flipped = bytearray(HEALTHY)
            flipped[place] ^= 1 << bit
            walked(bytes(flipped))


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty-file"),
        (b"version https://git-lfs.github.com/spec/v1\nsize 7\n", "not-a-model"),
        (b"<!DOCTYPE html><html></html>", "not-a-model"),
        (b"\x1f\x8b\x08\x00" + b"x" * 50, "not-a-model"),
        (b"\x00" * 4096, "zero-filled"),
        (number(1, 1), "graph-damaged"),
    ],
)
def test_a_file_that_is_no_graph_is_told(tmp_path: Path, content: bytes, code: str) -> None:
    model = export(tmp_path, content)
    assert codes(model) == [(code, "error")]
    assert model.listing().artifact.status == "error"


def test_a_chunked_graph_that_is_none_is_damaged(tmp_path: Path) -> None:
    model = export(tmp_path, bytes.fromhex("83af70d10d884a3f") + b"\x00" * 56, "saved_model.cpb")
    assert codes(model) == [("graph-damaged", "error")]


def test_an_export_without_graph_is_told(tmp_path: Path) -> None:
    (tmp_path / "fingerprint.pb").write_bytes(number(1, 7))
    assert codes(open_saved_model(tmp_path)) == [("graph-missing", "error")]


def test_groups_of_unknown_fields_are_walked_over() -> None:
    group = b"\xa3\x06" + b"\x08\x01" + b"\xa4\x06"
    assert walked(HEALTHY + group).damage is None
    for broken in (b"\xa3\x06\x08\x01", b"\xa4\x06", b"\xa3\x06\xac\x06"):
        assert walked(HEALTHY + broken).damage is not None


def test_nesting_is_bounded_and_not_recursive() -> None:
    attribute = b""
    for _ in range(200):
        attribute = entry(2, "a", part(10, attribute))
    proto = saved_model_proto(meta_graph(graph(node("n", "X", entry(5, "a", part(10, attribute))))))
    gatherer = walked(proto)
    assert gatherer.damage is not None
    assert "nested deeper" in gatherer.damage.reason
    assert gatherer.root["meta_graphs"][0]["graph_def"]["nodes"] == 1


# ---------------------------------------------------------------- bombs


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\x0a\x00" * 5_000_000, id="empty nodes"),
        pytest.param(part(2, part(1, b"\x1a\x00" * 600_000)), id="empty nodes of a function"),
    ],
)
def test_megabytes_of_nothing_cost_no_memory_and_leave_the_signatures(body: bytes) -> None:
    proto = saved_model_proto(meta_graph(body, rest=SIGNATURE))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    gatherer = walked(proto)
    assert time.process_time() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000
    assert gatherer.root["meta_graphs"][0]["signature_def"][0]["key"] == "serving_default"


@pytest.mark.parametrize("field", [b"\x12\x00", b"\x2a\x00", b"\x22\x00", b"\x3a\x02\x0a\x00"])
def test_many_empty_fields_of_any_kind_are_bounded(field: bytes) -> None:
    proto = field * 100_000 if field == b"\x12\x00" else part(2, field * 100_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    walked(proto)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000


def test_a_sparse_terabyte_that_calls_itself_a_graph_is_no_trouble(tmp_path: Path) -> None:
    with (tmp_path / "saved_model.pb").open("wb") as file:
        file.write(b"\x08\x01\x12\x80\x80\x80\x80\x80\x20")
        file.truncate(1 << 40)
    model = open_saved_model(tmp_path)
    assert {code for code, _ in codes(model)} == {"graph-damaged"}
    assert "2 GiB" in model.findings[0].detail


def test_a_large_graph_says_that_it_was_not_looked_at_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_wire, "MAX_FIELDS", 1000)
    model = export(tmp_path, saved_model_proto(meta_graph(b"\x0a\x00" * 2000, rest=SIGNATURE)))
    assert ("unsupported-format", "info") in codes(model)
    assert len(model.signatures) == 1


# ---------------------------------------------------------------- the folder


def test_assets_of_old_exports_lie_in_a_collection(tmp_path: Path) -> None:
    packed = part(1, "type.googleapis.com/tensorflow.AssetFileDef") + part(2, part(2, "vocab.txt"))
    other = entry(4, "other", part(5, part(1, part(2, part(2, "not-mine.txt")))))
    rest = entry(4, "saved_model_assets", part(5, part(1, packed))) + other
    model = export(tmp_path, saved_model_proto(meta_graph(rest=rest)))
    assert model.meta_graphs[0].assets == ("vocab.txt",)


def test_missing_assets_are_told_and_paths_outside_are_not_followed(tmp_path: Path) -> None:
    names = ("vocab.txt", "there.txt", "../../etc/passwd")
    rest = b"".join(part(6, part(2, name)) for name in names)
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "there.txt").write_text("x")
    model = export(tmp_path, saved_model_proto(meta_graph(rest=rest)))
    assert codes(model) == [("asset-missing", "warning"), ("external-reference", "warning")]
    assert model.findings[0].evidence["asset"] == ["vocab.txt"]
    assert model.findings[1].evidence["asset"] == ["../../etc/passwd"]


@pytest.mark.parametrize(
    ("proto", "missing"),
    [
        (meta_graph(graph(node("x", "Placeholder"))), False),
        (meta_graph(graph(node("v", "VariableV2"))), True),
        (meta_graph(graph(node("v", "VarHandleOp"))), True),
        (meta_graph(rest=part(3, part(1, "saver_filename:0"))), True),
        (meta_graph(rest=part(7, part(1, part(7, number(1, 1))))), True),
    ],
)
def test_variables_are_missed_only_by_a_graph_that_has_some(tmp_path: Path, proto: bytes, missing: bool) -> None:
    model = export(tmp_path, saved_model_proto(proto))
    assert codes(model) == ([("index-missing", "error")] if missing else [])


def test_v1_variables_are_read(tmp_path: Path) -> None:
    (tmp_path / "variables").mkdir()
    (tmp_path / "variables" / "variables-00000-of-00001").write_bytes(V1)
    model = export(tmp_path, saved_model_proto(meta_graph(graph(node("v", "Variable")))))
    assert codes(model) == []
    assert [(t.name, model.array(t).tolist()) for t in model.listing().tensors] == [("w", [1.0, 2.0])]
    model.close()


def test_no_folder_and_no_saved_model_are_plain_errors(tmp_path: Path) -> None:
    with pytest.raises(NoSuchPath):
        open_saved_model(tmp_path / "nothing")
    with pytest.raises(NotASave):
        open_saved_model(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(NoSuchPath):
        open_saved_model(tmp_path / "file")


def test_a_fifo_in_place_of_the_graph_never_hangs(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "saved_model.pb")
    (tmp_path / "fingerprint.pb").write_bytes(b"")
    start = time.monotonic()
    assert codes(open_saved_model(tmp_path)) == [("graph-missing", "error")]
    assert time.monotonic() - start < 30
