"""Meta graphs: variables, signatures, writer and flagged ops out of a .meta, beside its checkpoint or alone."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from ckptui.core.model import Found, RunFolder, Tensor
from ckptui.errors import NoSuchPath, NoSuchTensor, NotASave
from ckptui.readers.discover import resolve
from ckptui.readers.meta_graph import MetaGraphFile, check_beside
from ckptui.readers.registry import open_reader
from ckptui.readers.sniff import sniff
from ckptui.session import Session
from tests.places import CORPUS, ESTIMATOR, SAMPLES, needs_corpus, needs_estimator, needs_samples
from tests.readers.make_bundle import write_bundle
from tests.readers.make_v1 import v1_file
from tests.readers.protos import entry, graph, meta_graph, node, number, part, shape, tensor_info
from tests.readers.saves import Walk


def variable(name: str, dtype: int, *sizes: int) -> bytes:
    """A VariableV2 node."""
    attributes = entry(5, "dtype", number(6, dtype)) + entry(5, "shape", part(7, shape(*sizes)))
    return node(name, "VariableV2", attributes)


def restore(*keys: str) -> bytes:
    """The constant that tells the saver's restore op which keys to read."""
    tensor = number(1, 7) + part(2, shape(len(keys))) + b"".join(part(8, key) for key in keys)
    return node("save/RestoreV2/tensor_names", "Const", entry(5, "value", part(8, tensor)))


SAVER = part(3, part(1, "save/Const:0") + part(2, "save/control:0") + part(3, "save/restore_all"))
VARIABLES = (variable("dense/kernel", 1, 3, 2), variable("global_step", 9))
KEYS = ("dense/kernel", "global_step")
TENSORS = {"dense/kernel": np.zeros((3, 2), "f4"), "global_step": np.array(7, "i8")}


def meta(*nodes: bytes, keys: tuple[str, ...] = KEYS, rest: bytes = b"") -> bytes:
    """A MetaGraphDef of a Saver."""
    return meta_graph(graph(*(nodes or VARIABLES), restore(*keys)), tags=(), version="1.15.0", rest=SAVER + rest)


def test_a_listing_has_variables_and_no_tensors(tmp_path: Path) -> None:
    signature = part(1, entry(1, "x", tensor_info("x:0", 1, 4))) + part(3, "tensorflow/serving/predict")
    rest = entry(5, "serving_default", signature) + entry(4, "trainable_variables", part(2, part(1, b"...")))
    path = tmp_path / "model.ckpt-10.meta"
    path.write_bytes(meta(rest=rest))
    listing = open_reader(path, "meta-graph").listing()
    artifact = listing.artifact
    assert (artifact.kind, artifact.step, artifact.tensors, artifact.parameters) == ("meta-graph", 10, 0, 6)
    assert not listing.tensors
    assert not listing.findings
    rows = [(row.name, row.class_name, row.output_shape, row.parameters) for row in listing.architecture]
    assert rows == [
        ("dense/kernel", "float32 variable", (3, 2), 6),
        ("global_step", "int64 variable", (), 0),
    ]
    assert [s.name for s in listing.signatures] == ["serving_default"]
    assert artifact.writer == {
        "tensorflow": "1.15.0",
        "git": "v2.21.0-rc1",
        "producer": 2474,
        "nodes": 3,
        "variables": 2,
        "collections": ["trainable_variables"],
    }


def test_flagged_ops_are_told(tmp_path: Path) -> None:
    path = tmp_path / "g.meta"
    path.write_bytes(meta(node("call", "PyFunc")))
    assert [f.code for f in MetaGraphFile(str(path)).findings] == ["unsafe-op"]
    # what opening a graph would run is no damage of the checkpoint beside it
    write_bundle(tmp_path / "g", TENSORS)
    assert check_beside(str(tmp_path / "g"), "tf-checkpoint") == []


def test_it_has_no_values(tmp_path: Path) -> None:
    path = tmp_path / "g.meta"
    path.write_bytes(meta())
    reader = open_reader(path, "meta-graph")
    with pytest.raises(NoSuchTensor):
        reader.array(Tensor("dense/kernel", "float32", (3, 2), 24))
    with pytest.raises(NoSuchTensor):
        reader.chunks(Tensor("dense/kernel", "float32", (3, 2), 24))
    with pytest.raises(NoSuchPath):
        open_reader(tmp_path / "nothing.meta", "meta-graph")


def test_content_tells_a_meta_graph_under_any_name(tmp_path: Path) -> None:
    large = part(1, part(2, part(1, part(1, "Add") + part(5, "x" * 9000))) + part(5, "1.4.0")) + meta()[22:]
    assert large
    for name, data in (("x.meta", meta()), ("graph.bin", meta()), ("cut.meta", meta()[:120])):
        (tmp_path / name).write_bytes(data)
        assert (sniff(str(tmp_path / name)).kind, sniff(str(tmp_path / name)).code) == ("meta-graph", None), name
    for name, data in (
        ("unity.meta", b"fileFormatVersion: 2\nguid: 5\n"),
        ("lines.meta", b"\n\n\n\n\x12\x04\n\n\n\n" * 9),
        ("graph.pb", graph(*VARIABLES)),
        ("empty.meta", b""),
        ("zeros.meta", bytes(4000)),
    ):
        (tmp_path / name).write_bytes(data)
        assert sniff(str(tmp_path / name)).kind is None, name


def test_a_long_list_of_ops_before_the_graph_is_no_hindrance(tmp_path: Path) -> None:
    info = part(2, b"".join(part(1, part(1, f"Op{n}")) for n in range(2000))) + part(5, "1.4.0")
    data = part(1, info) + part(2, graph(*VARIABLES, restore(*KEYS))) + SAVER
    assert len(info) > 4104
    (tmp_path / "x.meta").write_bytes(data)
    assert sniff(str(tmp_path / "x.meta")).kind == "meta-graph"
    assert MetaGraphFile(str(tmp_path / "x.meta")).graph.restored == KEYS


def test_beside_its_checkpoint_it_is_no_second_save(tmp_path: Path) -> None:
    write_bundle(tmp_path / "v2.ckpt-1", TENSORS)
    (tmp_path / "v1.ckpt-1").write_bytes(v1_file(TENSORS))
    (tmp_path / "many-00000-of-00001").write_bytes(v1_file(TENSORS))
    for name in ("v2.ckpt-1", "v1.ckpt-1", "many", "alone"):
        (tmp_path / f"{name}.meta").write_bytes(meta())
    walk = Walk(tmp_path)
    kinds = {os.path.relpath(path, tmp_path): save.kind for path, save in walk.saves.items()}
    assert kinds == {
        "alone.meta": "meta-graph",
        "many-?????-of-00001": "tf-checkpoint-v1",
        "v1.ckpt-1": "tf-checkpoint-v1",
        "v2.ckpt-1": "tf-checkpoint",
    }
    for name in ("v2.ckpt-1.meta", "many.meta", "alone.meta"):
        found = resolve(str(tmp_path / name))
        assert (found.kind, found.path) == ("meta-graph", str(tmp_path / name))


def test_a_meta_that_is_none_any_more_is_still_opened_by_its_name(tmp_path: Path) -> None:
    write_bundle(tmp_path / "m", TENSORS)
    for name in ("m", "alone"):
        (tmp_path / f"{name}.meta").write_bytes(bytes(500))
    assert resolve(str(tmp_path / "m.meta")).kind == "meta-graph"
    with pytest.raises(NotASave):
        resolve(str(tmp_path / "alone.meta"))


@needs_estimator
def test_an_estimator_folder_is_a_run_of_its_saves_and_exports() -> None:
    with Session() as session:
        items = list(session.find([str(ESTIMATOR)]))
        saves = {os.path.relpath(f.path, ESTIMATOR): f.kind for f in items if isinstance(f, Found)}
        export = "export/exporter/1795295261"
        names = ("model.ckpt-10", "model.ckpt-20", "model.ckpt-30")
        assert saves == {**dict.fromkeys(names, "tf-checkpoint"), export: "saved-model"}
        runs = {os.path.relpath(r.path, ESTIMATOR): len(r.saves) for r in items if isinstance(r, RunFolder)}
        assert runs["."] == 3
        assert not [f for r in items if isinstance(r, RunFolder) for f in r.findings if f.severity != "info"]
        listing = session.open(str(ESTIMATOR / "model.ckpt-10.meta"))
        assert (listing.artifact.writer["tensorflow"], listing.artifact.writer["producer"]) == ("2.15.1", 1645)
        checkpoint = session.open(str(ESTIMATOR / "model.ckpt-10"))
        rows = {row.name: row.output_shape for row in listing.architecture}
        assert rows == {tensor.name: tensor.shape for tensor in checkpoint.tensors}
        assert listing.artifact.parameters == checkpoint.artifact.parameters == 1660
        assert session.verify(checkpoint) == []


@needs_samples
@needs_corpus
def test_real_meta_graphs_fit_their_checkpoints(tmp_path: Path) -> None:
    checked = 0
    for path in [*SAMPLES.rglob("*.meta"), *CORPUS.rglob("*.meta")]:
        if "broken" in path.parts or "suspicious" in path.parts:
            continue
        assert sniff(str(path)).kind == "meta-graph", path
        reader = MetaGraphFile(str(path))
        assert not reader.findings, path
        assert reader.graph.declared, path
        found = resolve(str(path).removesuffix(".meta")) if not path.name.startswith("none") else None
        if found is not None and found.kind.startswith("tf-checkpoint"):
            assert check_beside(found.path, found.kind) == [], path
            checked += 1
    print(f"{checked} checkpoints fit the .meta beside them")
    assert checked >= 9


def test_a_meta_of_another_graph_is_told_on_the_checkpoint(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "m", TENSORS)
    shutil.copy(write_meta(tmp_path, "m", *VARIABLES, keys=KEYS), tmp_path / "same.meta")
    assert check_beside(path, "tf-checkpoint") == []
    write_meta(tmp_path, "m", *VARIABLES, keys=(*KEYS, "dense/bias"))
    (found,) = check_beside(path, "tf-checkpoint")
    assert (found.code, found.severity, found.artifact) == ("graph-variables-mismatch", "warning", path)
    assert (found.evidence["missing"], found.evidence["file"]) == (["dense/bias"], f"{path}.meta")
    assert found.evidence["tensorflow_says"] == "Key dense/bias not found in checkpoint"
    write_meta(tmp_path, "m", variable("dense/kernel", 1, 3, 9), VARIABLES[1])
    (found,) = check_beside(path, "tf-checkpoint")
    assert found.evidence["tensors"] == [
        {"tensor": "dense/kernel", "expected": "float32 [3, 9]", "found": "float32 [3, 2]"}
    ]
    v1 = tmp_path / "old"
    v1.write_bytes(v1_file(TENSORS))
    write_meta(tmp_path, "old", keys=("dense/kernel", "gone"))
    (found,) = check_beside(str(v1), "tf-checkpoint-v1")
    assert (found.code, found.evidence["missing"]) == ("graph-variables-mismatch", ["gone"])


def write_meta(folder: Path, name: str, *nodes: bytes, keys: tuple[str, ...] = KEYS) -> Path:
    path = folder / f"{name}.meta"
    path.write_bytes(meta(*nodes, keys=keys))
    return path
