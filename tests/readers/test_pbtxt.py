"""Text graphs end in the same facts as binary ones, and what is no text proto ends the walk, not the reader."""

from __future__ import annotations

import time

import pytest

from ckptui.readers.graph_facts import Gatherer, Message
from ckptui.readers.pbtxt import walk_text
from ckptui.readers.signatures import meta_graph

TEXT = rb"""
# a comment
saved_model_schema_version: 1
meta_graphs {
  meta_info_def {
    tags: "serve"
    tags: 'gpu'
    tensorflow_version: "1.1" ".0"
    unheard_of { deeper: [1, 2, 3]; more < x: -1.5e+3f > }
    [some.extension/name]: ENUM_VALUE
  }
  graph_def {
    node { name: "a" op: "VariableV2" attr { key: "s" value { s: "\001\"\\\303\251 }" } } }
    node { name: "b" op: "PyFunc" }
    library { function { signature { name: "f" } node_def { name: "c" op: "NoOp" } } }
    versions { producer: 0x18 }
  }
  signature_def {
    key: "b\303\251"
    value {
      inputs { key: "x" value { name: "x:0" dtype: DT_FLOAT tensor_shape { dim { size: -1 } dim { size: 3 } } } }
      inputs { key: "r" value { name: "r:0" dtype: DT_INT64_REF tensor_shape { unknown_rank: true } } }
      outputs { key: "y" value { name: "y:0", dtype: 9, tensor_shape: { } } }
      method_name: "tensorflow/serving/predict"
    }
  }
  asset_file_def { filename: "foo.txt" }
}
"""


def walk(data: bytes, message: str = "SavedModel") -> Gatherer:
    gatherer = Gatherer(frozenset({"PyFunc"}))
    walk_text(data, gatherer, message)
    return gatherer


def graphs(data: bytes) -> list[Message]:
    found: list[Message] = walk(data).root["meta_graphs"]
    return found


def test_facts_of_a_text_graph() -> None:
    gatherer = walk(TEXT)
    assert gatherer.damage is None
    facts = meta_graph(gatherer.root["meta_graphs"][0])
    assert facts.tags == ("serve", "gpu")
    assert facts.tensorflow == "1.1.0"
    assert facts.producer == 0x18
    assert (facts.nodes, facts.functions, facts.function_nodes) == (2, 1, 1)
    assert facts.ops == {"VariableV2": 1, "PyFunc": 1, "NoOp": 1}
    assert facts.watched["PyFunc"].places == ["b"]
    assert facts.assets == ("foo.txt",)
    (signature,) = facts.signatures
    assert signature.name == "b\u00e9"
    assert [(e.name, e.dtype, e.shape) for e in signature.inputs] == [
        ("r", "int64_ref", None),
        ("x", "float32", (None, 3)),
    ]
    assert [(e.name, e.tensor, e.dtype, e.shape) for e in signature.outputs] == [("y", "y:0", "int64", ())]


def test_crlf_text_reads_the_same() -> None:
    assert walk(TEXT.replace(b"\n", b"\r\n")).root == walk(TEXT).root


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"meta_graphs { meta_info_def { tags: 'serve' ", "ends inside"),
        (b"meta_graphs { } }", "no field name"),
        (b"meta_graphs", "neither"),
        (b"hello: 1", "no field hello"),
        (b"<html>", "no field name"),
        (b"saved_model_schema_version: ", "no value"),
        (b'meta_graphs { meta_info_def { tensorflow_version: "open\n } }', "no value"),
        (b"saved_model_schema_version: banana", "no number"),
        (b"meta_graphs { signature_def: [ { } ] }", "list of messages"),
    ],
)
def test_what_is_no_text_proto_is_told_with_its_place(data: bytes, words: str) -> None:
    damage = walk(data).damage
    assert damage is not None
    assert words in damage.reason
    assert 0 <= damage.offset <= len(data)


def test_what_was_read_before_the_damage_stands() -> None:
    cut = TEXT[: TEXT.index(b"asset_file_def")] + b"\x00\xff"
    gatherer = walk(cut)
    assert gatherer.damage is not None
    assert gatherer.damage.offset == len(cut) - 2
    assert meta_graph(gatherer.root["meta_graphs"][0]).signatures[0].name == "b\u00e9"


def test_every_cut_ends_in_facts_and_not_in_an_exception() -> None:
    for end in range(len(TEXT)):
        walk(TEXT[:end])


def test_deep_nesting_is_refused_without_recursion() -> None:
    damage = walk(b"meta_graphs {" + b"a {" * 100_000).damage
    assert damage is not None
    assert "nested deeper" in damage.reason


def test_a_large_text_is_walked_in_linear_time() -> None:
    many = b"meta_graphs { graph_def { " + b'node { name: "n" op: "Const" input: "a" } ' * 20_000 + b"} }"
    start = time.process_time()
    assert graphs(many)[0]["graph_def"]["nodes"] == 20_000
    assert time.process_time() - start < 3
    assert walk(b'meta_graphs { x: "' + b"\\a" * 500_000 + b'" }').damage is None
