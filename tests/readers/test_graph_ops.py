"""Ops that reach outside the graph are flagged wherever they stand, plumbing is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from ckptui.core.model import Finding
from ckptui.readers.saved_model import open_saved_model
from tests import warm_tensorflow
from tests.readers.protos import (
    entry,
    function,
    graph,
    meta_graph,
    node,
    part,
    saved_model_proto,
    signature,
    tensor_info,
)
from tests.test_contract import told

EXPORTS = """
import sys
import tensorflow as tf
v1, folder = tf.compat.v1, sys.argv[1]

def save(x, name):
    saved = tf.raw_ops.SaveV2(prefix=folder + "/" + name, tensor_names=["x"], shape_and_slices=[""], tensors=[x])
    with tf.control_dependencies([saved]):
        return tf.identity(x)

def serving(body):
    return tf.function(body, input_signature=[tf.TensorSpec([2], name="x")])

inner = tf.function(lambda x: save(x, "nested"))
outer = tf.function(lambda x: inner(x) * 2)
rows = tf.data.Dataset.from_tensors
BODIES = {
    "direct": lambda x: save(x, "direct"),
    "nested": lambda x: outer(x),
    "cond": lambda x: tf.cond(x[0] > 0, lambda: save(x, "cond"), lambda: x),
    "loop": lambda x: tf.while_loop(lambda n, y: n < 1, lambda n, y: (n + 1, save(y, "loop")), (0, x))[1],
    "mapped": lambda x: rows(x).map(lambda row: save(row, "mapped")).reduce(x, lambda total, row: total + row),
    "reading": lambda x: tf.raw_ops.RestoreV2(
        prefix=folder + "/direct", tensor_names=["x"], shape_and_slices=[""], dtypes=[tf.float32])[0] + x,
    "plain": lambda x: x * module.scale,
}
module = tf.Module()
module.scale = tf.Variable(2.0)
signatures = {name: serving(body) for name, body in BODIES.items()}
tf.saved_model.save(module, folder + "/tf2", signatures=signatures)
tf.saved_model.save(module, folder + "/healthy", signatures={"plain": signatures["plain"]})
for held in (False, True):
    with v1.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [2], "x")
        y = x * v1.get_variable("scale", [], use_resource=False)
        session.run(v1.global_variables_initializer())
        saver = v1.train.Saver()
        saving = session.graph.get_operation_by_name("save/SaveV2")
        with tf.control_dependencies([saving] if held else []):
            y = tf.identity(y, "y")
        builder = v1.saved_model.Builder(folder + ("/held" if held else "/tf1"))
        ends = v1.saved_model.predict_signature_def({"x": x}, {"y": y})
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": ends}, saver=saver)
        builder.save()
loaded = tf.saved_model.load(folder + "/tf2").signatures
for name in BODIES:
    loaded[name](x=tf.constant([1.0, 2.0]))
"""
"""Writes exports whose signatures save, and calls those of TensorFlow 2."""


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


def found(folder: Path) -> dict[str, Finding]:
    return {f.evidence["op"]: f for f in open_saved_model(folder).findings if f.code == "unsafe-op"}


@pytest.mark.tensorflow
def test_signatures_that_save_are_told_from_the_savers_own_nodes(tmp_path: Path) -> None:
    done = warm_tensorflow.run(["-c", EXPORTS, tmp_path], timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    flagged = found(tmp_path / "tf2")
    assert {op: f.severity for op, f in flagged.items()} == {"SaveV2": "error", "RestoreV2": "warning"}
    writing = flagged["SaveV2"].evidence["signatures"]
    # what TensorFlow wrote when they were called
    assert writing == sorted(path.stem for path in tmp_path.glob("*.index"))
    assert writing == ["cond", "direct", "loop", "mapped", "nested"]
    assert flagged["SaveV2"].evidence["count"] == 5
    assert "traced_save" not in str(flagged["SaveV2"].evidence["nodes"])
    assert "reached by signature cond, direct, loop, ..." in flagged["SaveV2"].detail
    assert flagged["RestoreV2"].evidence["signatures"] == ["reading"]
    assert found(tmp_path / "healthy") == found(tmp_path / "tf1") == {}
    (held,) = found(tmp_path / "held").values()
    assert (held.severity, held.evidence["nodes"]) == ("error", ["save/SaveV2"])
    Image.new("L", (2, 1)).save(tmp_path / "x.png")
    code, _, err = told("predict", str(tmp_path / "held"), str(tmp_path / "x.png"))
    assert code == 2
    assert "--allow-flagged" in err
    assert "unsafe-op (SaveV2)" in err


SAVER = part(3, part(1, "save/Const:0"))


def wired(name: str, op: str, *inputs: str) -> bytes:
    return node(name, op, *(part(3, one) for one in inputs))


def serving(tensor: str, name: str = "serving_default") -> bytes:
    return signature(name, {}, {"y": tensor_info(tensor, 1)})


def calls(function: str, key: str = "f") -> bytes:
    return entry(5, key, part(10, part(1, function)))


def test_the_savers_own_ops_are_flagged_where_a_signature_reaches_them(tmp_path: Path) -> None:
    nodes = wired("s", "SaveSlices"), wired("r", "Restore"), wired("x", "Placeholder"), wired("y", "Identity", "x:0")
    assert ops_of(tmp_path, *nodes, rest=SAVER + serving("y:0")) == {}
    loop = wired("y", "Merge", "x", "z"), wired("z", "NextIteration", "y", "^s")
    assert ops_of(tmp_path, *nodes[:3], *loop, rest=SAVER + serving("y:0")) == {"SaveSlices": "error"}
    assert ops_of(tmp_path, *nodes[:3], *loop, rest=SAVER + serving("y:0", "__saved_model_init_op")) == {}
    named = wired("n", "ShardedFilename"), wired("m", "MergeV2Checkpoints", "n"), wired("y", "Identity", "^m")
    assert ops_of(tmp_path, *named, rest=serving("y:0")) == {"MergeV2Checkpoints": "error"}
    assert ops_of(tmp_path, *named, rest=serving("n:0")) == {}


def test_every_way_into_a_function_is_followed(tmp_path: Path) -> None:
    saves, caller = function("saves", wired("s", "SaveV2")), function("caller", wired("c", "saves"))
    ways = {
        "by an attribute of any op": wired("y", "MadeUp") + calls("saves", "anything"),
        "by a list": wired("y", "Case") + entry(5, "branches", part(1, part(9, part(1, "saves")))),
        "by an argument of a function": wired("y", "If")
        + entry(5, "f", part(10, part(1, "other") + entry(2, "g", part(10, part(1, "saves"))))),
        "by what has its attributes first": calls("saves") + wired("y", "MadeUp"),
        "by its value first": wired("y", "MadeUp") + part(5, part(2, part(10, part(1, "saves"))) + part(1, "f")),
        "by a tag longer than it need be": wired("y", "MadeUp")
        + part(5, part(1, "f") + part(2, b"\xd2\x00" + part(10, part(1, "saves"))[1:])),
        "by an op of its name": wired("y", "saves"),
        "by an op in a function": wired("y", "PartitionedCall") + calls("caller"),
    }
    for way, one in ways.items():
        for library in ((saves, caller), (caller, saves)):
            assert ops_of(tmp_path, one, functions=library, rest=serving("y:0")) == {"SaveV2": "error"}, way
        aside = wired("x", "Placeholder")
        assert ops_of(tmp_path, one, aside, functions=(saves, caller), rest=serving("x:0")) == {}, way
    late = part(3, wired("s", "SaveV2")) + part(1, part(1, "late"))
    assert ops_of(tmp_path, wired("y", "late"), functions=(late,), rest=serving("y:0")) == {"SaveV2": "error"}


def test_graphs_written_as_text_are_followed_too(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pbtxt").write_text("""
      meta_graphs { graph_def {
        node { name: "y" op: "While" attr { key: "body" value { func { name: "saves" } } } }
        node { name: "z" op: "NoOp" input: "^y" }
        node { name: "w" op: "Identity" input: "z:0" }
        library { function { signature { name: "saves" } node_def { name: "s" op: "SaveV2" } } } }
        signature_def { key: "serving_default" value { outputs { key: "y" value { name: "w:0" } } } } }
    """)
    (flag,) = found(tmp_path).values()
    assert (flag.severity, flag.evidence["nodes"]) == ("error", ["s (in saves)"])
