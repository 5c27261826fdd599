"""SavedModels other people made: read as TensorFlow reads them, refused where protobuf refuses."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from ckptui.core.model import Endpoint
from ckptui.readers.graph_facts import Gatherer
from ckptui.readers.graph_wire import walk_wire
from ckptui.readers.saved_model import open_saved_model
from ckptui.readers.signatures import MetaGraph
from tests import warm_tensorflow
from tests.places import CORPUS, ESTIMATOR, needs_corpus, needs_estimator

CHILD = r"""
import glob, json, os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf
from google.protobuf import text_format
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

def endpoint(info):
    kind = info.WhichOneof("encoding")
    shape = tf.TensorShape(info.tensor_shape)
    dims = None if shape.rank is None else shape.as_list()
    dtype = tf.dtypes.as_dtype(info.dtype).name if info.dtype else "#0"
    name = info.coo_sparse.values_tensor_name if kind == "coo_sparse" else info.name
    return [name, dtype, dims]

def assets(graph):
    names = {a.filename for a in graph.asset_file_def}
    for packed in graph.collection_def["saved_model_assets"].any_list.value:
        asset = meta_graph_pb2.AssetFileDef()
        packed.Unpack(asset)
        names.add(asset.filename)
    return sorted(names)

def facts(proto):
    return [
        {
            "tags": list(g.meta_info_def.tags),
            "version": g.meta_info_def.tensorflow_version,
            "git": g.meta_info_def.tensorflow_git_version,
            "producer": g.graph_def.versions.producer,
            "nodes": len(g.graph_def.node),
            "functions": len(g.graph_def.library.function),
            "function_nodes": sum(len(f.node_def) for f in g.graph_def.library.function),
            "objects": len(g.object_graph_def.nodes),
            "assets": assets(g),
            "signatures": {
                name: [
                    s.method_name,
                    {k: endpoint(v) for k, v in s.inputs.items()},
                    {k: endpoint(v) for k, v in s.outputs.items()},
                ]
                for name, s in g.signature_def.items()
            },
        }
        for g in proto.meta_graphs
    ]

job = json.load(sys.stdin)
out = {"facts": {}, "parses": []}
for path in job["graphs"]:
    proto = saved_model_pb2.SavedModel()
    data = open(path, "rb").read()
    if path.endswith("txt"):
        text_format.Parse(data.decode(), proto, allow_unknown_field=True)
    else:
        proto.ParseFromString(data)
    out["facts"][path] = facts(proto)
for text in job["mutants"]:
    try:
        saved_model_pb2.SavedModel.FromString(bytes.fromhex(text))
        out["parses"].append(True)
    except DecodeError:
        out["parses"].append(False)
print("ANSWER" + json.dumps(out))
"""


def mine(facts: MetaGraph) -> dict[str, Any]:
    def ends(endpoints: tuple[Endpoint, ...]) -> dict[str, list[Any]]:
        return {e.name: [e.tensor, e.dtype, None if e.shape is None else list(e.shape)] for e in endpoints}

    return {
        "tags": list(facts.tags),
        "version": facts.tensorflow,
        "git": facts.git,
        "producer": facts.producer or 0,
        "nodes": facts.nodes,
        "functions": facts.functions,
        "function_nodes": facts.function_nodes,
        "objects": facts.objects,
        "assets": list(facts.assets),
        "signatures": {s.name: [s.method, ends(s.inputs), ends(s.outputs)] for s in facts.signatures},
    }


def is_whole(proto: bytes) -> bool:
    gatherer = Gatherer()
    walk_wire(lambda offset, count: proto[offset : offset + count], len(proto), gatherer, "SavedModel")
    return gatherer.damage is None


def mutants(count: int = 1000) -> list[bytes]:
    """A small TF2 graph with one byte changed, at places spread evenly."""
    whole = (CORPUS / "tfjs-savedmodels" / "times_two_int" / "saved_model.pb").read_bytes()
    out = []
    for i in range(count):
        data = bytearray(whole)
        place = i * len(whole) // count
        data[place] = (data[place] + 1 + i * 37 % 255) & 0xFF
        out.append(bytes(data))
    return out


@needs_corpus
@pytest.mark.tensorflow
def test_every_third_party_graph_reads_as_tensorflow_reads_it() -> None:
    graphs = sorted(str(p) for p in CORPUS.rglob("saved_model.pb*"))
    changed = mutants()
    job = {"graphs": graphs, "mutants": [data.hex() for data in changed]}
    done = warm_tensorflow.run(["-c", CHILD], input=json.dumps(job), timeout=250)
    assert done.returncode == 0, done.stderr[-2000:]
    answer = json.loads(done.stdout.partition("ANSWER")[2])
    assert len(graphs) > 40
    for path, expected in answer["facts"].items():
        model = open_saved_model(os.path.dirname(path))
        assert [mine(facts) for facts in model.meta_graphs] == expected, path
        model.close()
    ours = [is_whole(data) for data in changed]
    assert ours == answer["parses"], "what protobuf refuses is damaged, and nothing else"


@needs_corpus
def test_third_party_exports_have_the_findings_they_deserve() -> None:
    told = {}
    for path in sorted(CORPUS.rglob("saved_model.pb*")):
        model = open_saved_model(path.parent)
        found = sorted({f.code for f in model.findings if f.severity != "info"})
        if found:
            told[str(path.parent.relative_to(CORPUS))] = found
        model.close()
    assert told == {
        "serving/saved_model_half_plus_two_cpu_with_empty_saved_model_config/00000123": ["asset-missing"],
        "tf-bert-graph": ["index-missing"],
        "tf-cc-savedmodels/AssetModule": ["unsafe-op"],
        "tf-fuzz/const_with_no_value": ["asset-missing", "graph-variables-mismatch"],
        "tf-fuzz/negative_shape": ["asset-missing", "graph-variables-mismatch"],
    }


@needs_estimator
def test_an_estimator_export_lists_its_weights() -> None:
    listing = open_saved_model(ESTIMATOR / "export" / "exporter" / "1795295261").listing()
    assert listing.artifact.tensors == 9
    assert {s.name for s in listing.signatures} == {"serving_default"}
