"""Random numbers that a served graph draws: named with their seeds, and never mixed up with first values."""

from __future__ import annotations

from ckptui.core.graph_layers import rows_of
from ckptui.readers.graph_facts import Gatherer
from ckptui.readers.pbtxt import walk_text
from ckptui.readers.signatures import MetaGraph, meta_graph

DRAWN = b"""
      node_def { name: "a/normal" op: "RandomStandardNormal" attr { key: "seed" value { i: 87654321 } }
        attr { key: "seed2" value { i: -5 } } }
      node_def { name: "b/uniform" op: "RandomUniform" attr { key: "seed" value { i: 0 } } }
      node_def { name: "dense/MatMul" op: "MatMul" }
"""
SERVED = b"""
graph_def {
  node { name: "Call" op: "StatefulPartitionedCall" attr { key: "f" value { func { name: "served" } } } }
  node { name: "w/Initializer/random_normal" op: "RandomStandardNormal" }
  library {
    function { signature { name: "served" } %s }
    function { signature { name: "train" } node_def { name: "c/shuffle" op: "RandomShuffle" } }
  }
}
signature_def { key: "serving_default" value { outputs { key: "o" value { name: "Call:0" } } } }
"""
FROZEN = b"""
graph_def {
  node { name: "w/random_normal" op: "RandomStandardNormal" }
  node { name: "dense/MatMul" op: "MatMul" }
}
signature_def { key: "serving_default" value { outputs { key: "o" value { name: "dense/MatMul:0" } } } }
"""


def graph(text: bytes) -> MetaGraph:
    gatherer = Gatherer()
    walk_text(text, gatherer, "MetaGraphDef")
    return meta_graph(gatherer.root)


def test_what_the_signature_draws_is_named_with_its_seeds() -> None:
    told = {one.name: (one.op, one.attributes) for one in graph(SERVED % DRAWN).operations}
    assert told["a/normal"] == ("RandomStandardNormal", {"seed": 87654321, "seed2": -5})
    assert told["b/uniform"][0] == "RandomUniform"
    assert not any(told["b/uniform"][1].values())
    assert set(told) == {"a/normal", "b/uniform", "dense/MatMul"}


def test_first_values_of_variables_are_no_random_answer() -> None:
    assert [one.name for one in graph(FROZEN).operations] == ["dense/MatMul"]


def test_random_ops_are_no_layers() -> None:
    with_them, without = (
        graph(SERVED % DRAWN).operations,
        graph(SERVED % DRAWN[DRAWN.rindex(b"node_def") - 6 :]).operations,
    )
    assert len(with_them) == len(without) + 2
    assert rows_of(with_them) == rows_of(without)
