"""Graphs after copies that took them for text, with bytes behind their end, and text graphs cut or zero-filled."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.damaged.exported import copied, only, pb
from tests.readers.protos import graph, meta_graph, node, saved_model_proto


@pytest.mark.parametrize(
    "junk",
    [b"junk" * 100, b"\x00" * 600, b"<html>" * 9, b"\x12\x7f"],
    ids=["words", "zeros", "page", "graph"],
)
def test_whatever_stands_behind_a_graph_its_end_is_named(exports: Path, tmp_path: Path, junk: bytes) -> None:
    """Junk may parse as unknown fields for a while, and the last of them run off the end."""
    folder = copied(exports, "affine", tmp_path, pb(lambda data: data + junk))
    size = (exports / "affine" / "saved_model.pb").stat().st_size
    found = only(folder)
    if junk == b"\x12\x7f":
        assert (found.code, found.evidence["bytes_missing"]) == ("graph-damaged", 127), "a second meta graph, cut off"
        return
    assert (found.code, found.title) == ("graph-damaged", "Bytes after the end of the graph")
    facts = found.evidence
    assert (facts["offset"], facts["expected"], facts["found"]) == (size, size, size + len(junk))
    assert facts["bytes_extra"] == len(junk)
    assert facts["signatures_read"] == 2


def test_a_copy_that_dropped_carriage_returns_is_no_cut_file(exports: Path, tmp_path: Path) -> None:
    name = "keras"
    size = (exports / name / "saved_model.pb").stat().st_size
    folder = copied(exports, name, tmp_path, pb(lambda data: data.replace(b"\r\n", b"\n")))
    found = only(folder)
    assert (found.code, found.certainty) == ("not-a-model", "likely")
    assert found.evidence["text_mangled"] is True
    assert (found.evidence["expected"], found.evidence["found"]) == (
        size,
        (folder / "saved_model.pb").stat().st_size,
    )
    for missing in (1, 3000, 20_000):
        shutil.rmtree(folder)
        cut = only(copied(exports, name, tmp_path, pb(lambda data, n=missing: data[:-n])))  # type: ignore[misc]
        assert cut.evidence["bytes_missing"] == missing


def test_a_graph_re_encoded_as_utf8_is_read_with_that_taken_back(exports: Path, tmp_path: Path) -> None:
    size = (exports / "keras" / "saved_model.pb").stat().st_size
    folder = copied(exports, "keras", tmp_path, pb(lambda data: data.decode("latin-1").encode("utf-8")))
    found = only(folder)
    assert (found.code, found.evidence["text_mangled"], found.evidence["expected"]) == ("not-a-model", True, size)
    assert found.evidence["signatures_read"] >= 1
    assert found.evidence["found"] == (folder / "saved_model.pb").stat().st_size


TEXT = b"""saved_model_schema_version: 1
meta_graphs {
  meta_info_def {
    tags: "serve"
  }
  graph_def {
    node {
      name: "x"
      op: "Placeholder"
    }
  }
}
"""
TEXTS: dict[str, tuple[Callable[[bytes], bytes], str, dict[str, object]]] = {
    "cut in a word": (lambda text: text[: text.index(b"Placeholder") + 4], "graph-damaged", {"cut": True}),
    "cut after a line": (lambda text: text[: text.index(b"  graph_def")], "graph-damaged", {"cut": True}),
    "cut in a name": (lambda text: text[: text.index(b"graph_def") + 5], "graph-damaged", {"cut": True}),
    "zeros": (lambda text: text[:90] + bytes(4096), "zero-filled", {"offset": 90, "bytes": 4096, "tail": True}),
    "another field": (lambda text: text.replace(b"meta_graphs", b"meta_graphz"), "graph-damaged", {"line": 2}),
}


@pytest.mark.parametrize("what", TEXTS)
def test_a_text_graph_tells_what_became_of_it(tmp_path: Path, what: str) -> None:
    change, code, facts = TEXTS[what]
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "saved_model.pbtxt").write_bytes(TEXT)
    (folder / "fingerprint.pb").write_bytes(b"")
    (folder / "saved_model.pbtxt").write_bytes(change(TEXT))
    found = only(folder)
    assert (found.code, {name: found.evidence.get(name) for name in facts}) == (code, facts)
    says = found.evidence["tensorflow_says"]
    assert says.startswith(f"Cannot parse file b'{folder}/saved_model.pbtxt': ")
    if "line" in facts:
        assert says.endswith('2:1 : Message type "tensorflow.SavedModel" has no field named "meta_graphz"..')


def test_small_graphs_without_carriage_returns_are_not_taken_for_text_copies(tmp_path: Path) -> None:
    nodes = [node(f"name{number}", "Placeholder") for number in range(300)]
    data = saved_model_proto(meta_graph(graph(*nodes)))
    assert (data.count(b"\r\n"), data.count(b"\n") > 200) == (0, True)
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "saved_model.pb").write_bytes(data[:-77])
    found = only(tmp_path / "m")
    assert (found.code, found.evidence["bytes_missing"]) == ("graph-damaged", 77)
