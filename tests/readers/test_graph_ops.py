"""Ops that reach outside the graph are flagged wherever they stand, plumbing is not."""

from __future__ import annotations

from pathlib import Path

from ckptui.readers.saved_model import open_saved_model
from tests.readers.protos import entry, function, graph, meta_graph, node, part, saved_model_proto


def ops_of(tmp_path: Path, *nodes: bytes, functions: tuple[bytes, ...] = (), rest: bytes = b"") -> dict[str, str]:
    proto = saved_model_proto(meta_graph(graph(*nodes, functions=functions), rest=rest))
    (tmp_path / "saved_model.pb").write_bytes(proto)
    model = open_saved_model(tmp_path)
    return {f.evidence["op"]: f.severity for f in model.findings if f.code == "unsafe-op"}


def test_ops_that_reach_outside_are_flagged_in_functions_too(tmp_path: Path) -> None:
    flagged = ops_of(
        tmp_path,
        node("p", "PyFunc"),
        node("s", "SaveV2"),
        node("r", "RestoreV2"),
        functions=(function("inner", node("w", "WriteFile"), node("t", "TFRecordDataset")),),
    )
    assert flagged == {"PyFunc": "error", "WriteFile": "error", "TFRecordDataset": "warning"}


def test_printing_is_flagged_only_into_files(tmp_path: Path) -> None:
    def to(target: str) -> bytes:
        return entry(5, "output_stream", part(2, target))

    assert ops_of(tmp_path, node("p", "PrintV2", to("stderr"))) == {}
    many = [node(f"p{i}", "PrintV2", to("stderr")) for i in range(50)]
    assert ops_of(tmp_path, *many, node("q", "PrintV2", to("file:///tmp/x"))) == {"PrintV2": "error"}
    reordered = to("file:///tmp/x") + part(1, "q") + part(2, "PrintV2")
    assert ops_of(tmp_path, reordered) == {"PrintV2": "error"}


def test_the_op_that_counts_is_the_last_one_written(tmp_path: Path) -> None:
    assert ops_of(tmp_path, part(2, "NoOp") + part(1, "n") + part(2, "ReadFile")) == {"ReadFile": "error"}


def test_tables_from_assets_and_savers_are_expected(tmp_path: Path) -> None:
    table = node("t", "InitializeTableFromTextFileV2")
    assert ops_of(tmp_path, table) == {"InitializeTableFromTextFileV2": "warning"}
    assert ops_of(tmp_path, table, rest=part(6, part(2, "vocab.txt"))) == {}
    assert ops_of(tmp_path, node("s", "SaveSlices")) == {"SaveSlices": "error"}
    assert ops_of(tmp_path, node("s", "SaveSlices"), rest=part(3, part(1, "save/Const:0"))) == {}
