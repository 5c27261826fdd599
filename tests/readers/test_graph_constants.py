"""The small constants that a graph's arithmetic works with, in graphs that protobuf itself wrote."""

from __future__ import annotations

import struct
import time
from typing import Any

import pytest

from ckptui.readers.graph_constants import MOST_VALUES, constant_of
from ckptui.readers.graph_facts import Gatherer
from ckptui.readers.graph_wire import walk_wire
from ckptui.readers.pbtxt import walk_text
from ckptui.readers.signatures import meta_graph

TEXT = b"""
graph_def {
  node { name: "mean" op: "Const" attr { key: "value" value { tensor { dtype: DT_FLOAT tensor_shape { dim { size: 2 } }
    tensor_content: "\\000\\000\\200?\\000\\000\\000@" } } } }
  node { name: "Call" op: "PartitionedCall" input: "x" input: "mean" attr { key: "f" value { func { name: "f" } } } }
  library {
    function {
      signature { name: "f" input_arg { name: "x" type: DT_FLOAT } input_arg { name: "m_y" type: DT_FLOAT } }
      node_def { name: "m/sub" op: "Sub" input: "x" input: "m_y" attr { key: "T" value { type: DT_FLOAT } } }
      node_def { name: "m/var" op: "Const" attr { key: "value" value { tensor { dtype: DT_FLOAT tensor_shape { }
        float_val: 4.0 } } } }
      node_def { name: "m/Sqrt" op: "Sqrt" input: "m/var:output:0" }
      node_def { name: "m/div" op: "RealDiv" input: "m/sub:z:0" input: "m/Sqrt:y:0"
        attr { key: "T" value { type: DT_FLOAT } } }
      node_def { name: "l/LeakyRelu" op: "LeakyRelu" input: "m/div:z:0" attr { key: "alpha" value { f: 0.25 } } }
      node_def { name: "d/LeakyRelu" op: "LeakyRelu" input: "m/div:z:0" }
    }
  }
}
signature_def { key: "serving_default" value { outputs { key: "o" value { name: "Call:0" } } } }
"""


def constant(dtype: int, sizes: list[int], **values: Any) -> dict[str, Any]:
    tensor = {"dtype": dtype, "tensor_shape": {"dim": [{"size": size} for size in sizes]}, **values}
    return {"attr": [{"key": "value", "value": {"tensor": tensor}}]}


def test_constants_reach_the_steps_that_work_with_them() -> None:
    gatherer = Gatherer()
    walk_text(TEXT, gatherer, "MetaGraphDef")
    told = {one.name: one.attributes for one in meta_graph(gatherer.root).operations}
    assert told["m/sub"] == {"T": "float32", "operand": [1.0, 2.0], "operand_first": False, "of": "x"}
    assert told["m/div"] == {"T": "float32", "operand": [2.0], "operand_first": False, "of": "m/sub"}
    assert told["l/LeakyRelu"] == {"alpha": 0.25}
    assert told["d/LeakyRelu"] == {"alpha": 0.2}


def field(number: int, payload: bytes) -> bytes:
    return bytes([number << 3 | 2, len(payload)]) + payload


def walk(data: bytes, gatherer: Gatherer) -> None:
    walk_wire(lambda at, count: data[at : at + count], len(data), gatherer, "MetaGraphDef")


def test_floats_are_read_from_bytes_packed_and_one_by_one() -> None:
    for values in (
        field(5, struct.pack("<2f", 1.5, -2.0)),
        b"\x2d" + struct.pack("<f", 1.5) + b"\x2d" + struct.pack("<f", -2),
    ):
        shape = field(2, field(2, b"\x08\x02"))
        attribute = field(5, field(1, b"value") + field(2, field(8, b"\x08\x01" + shape + values)))
        node = field(1, b"c") + field(2, b"Const") + attribute
        data = field(2, field(1, node))
        gatherer = Gatherer()
        walk(data, gatherer)
        assert gatherer.root["graph_def"]["constants"] == {"": {"c": (1.5, -2.0)}}
        for end in range(len(data)):
            walk(data[:end], Gatherer())


def test_constants_as_protobuf_shortens_them() -> None:
    assert constant_of(constant(1, [3], float_val=[2.5])) == (2.5, 2.5, 2.5)
    assert constant_of(constant(1, [2])) == (0.0, 0.0)
    assert constant_of(constant(2, [], double_val=[1e300])) == (1e300,)
    assert constant_of(constant(19, [], half_val=[0x3C00])) == (1.0,)
    assert constant_of(constant(1, [2], tensor_content=struct.pack("<2f", 3, 4))) == (3.0, 4.0)


@pytest.mark.parametrize(
    "node",
    [
        constant(1, [MOST_VALUES + 1], float_val=[1.0]),
        constant(1, [0]),
        constant(1, [1 << 63]),
        constant(1, [1] * 1000, float_val=[1.0]),
        constant(1, [2], tensor_content=b"abc"),
        constant(3, [], int_val=[1]),
        constant(14, [], half_val=[1]),
        {"attr": [{"key": "value", "value": {}}]},
        {},
    ],
)
def test_other_constants_are_not_kept(node: dict[str, Any]) -> None:
    assert constant_of(node) is None


def test_calls_that_hand_over_much_end_soon() -> None:
    names = [f"a{n}" for n in range(1000)]
    arguments = " ".join(f'input_arg {{ name: "{name}" }}' for name in names)
    inputs = "input: 'a0' " + " ".join(f'input: "{name}"' for name in names[1:])
    call = f"op: 'PartitionedCall' {inputs} attr {{ key: 'f' value {{ func {{ name: 'f' }} }} }}"
    constant = "node { name: 'a0' op: 'Const' attr { key: 'value' value { tensor { dtype: DT_FLOAT } } } }"
    body = f"node_def {{ name: 'c' {call} }}"
    library = f"library {{ function {{ signature {{ name: 'f' {arguments} }} {body} {body} }} }}"
    gatherer = Gatherer()
    text = f"graph_def {{ {constant} node {{ name: 'Call' {call} }} {library} }}"
    walk_text(text.encode(), gatherer, "MetaGraphDef")
    begun = time.thread_time()
    assert meta_graph(gatherer.root).operations == ()
    assert time.thread_time() - begun < 3
