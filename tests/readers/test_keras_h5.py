"""Keras HDF5 files of every generation, other HDF5 files, and what hostile ones get."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import ml_dtypes
import numpy as np
import pytest

from ckptui.core.model import Listing, Tensor
from ckptui.errors import Damaged, NoSuchPath, UsageError
from ckptui.readers.keras_h5 import open_h5
from tests.places import CORPUS, HOSTILE, needs_corpus, needs_hostile
from tests.readers.hdf5_outcomes import Outcome, outcomes
from tests.readers.keras_files import (
    digits_config,
    digits_groups,
    digits_weights,
    layer,
    legacy_model,
    object_weights,
    sequential,
    write_layers,
)


def listing_of(path: Path) -> Listing:
    with open_h5(path) as opened:
        return opened.listing()


def by_name(listing: Listing) -> dict[str, Tensor]:
    return {t.name: t for t in listing.tensors}


def codes(listing: Listing) -> list[str]:
    return [f.code for f in listing.findings]


def test_keras_2_model_lists_layers_roles_and_initializers(tmp_path: Path) -> None:
    listing = listing_of(legacy_model(tmp_path / "weights.05-0.56.h5"))
    artifact = listing.artifact
    assert (artifact.kind, artifact.step, artifact.tensors) == ("keras-h5", 5, 11)
    assert artifact.writer == {"keras": "2.15.0", "backend": "tensorflow"}
    assert artifact.parameters == 3 * 3 * 4 + 4 + 4 * 4 + 144 * 10 + 10
    assert not listing.findings
    tensors = by_name(listing)
    kernel = tensors["model_weights/conv1/conv1/kernel:0"]
    assert (kernel.layer, kernel.role, kernel.object_path) == ("conv1", "kernel", "conv1/kernel")
    assert kernel.initializer == {"class_name": "GlorotUniform", "config": {"seed": None}}
    variance = tensors["model_weights/bn1/bn1/moving_variance:0"]
    assert (variance.role, variance.object_path) == ("moving-variance", "bn1/moving_variance")
    assert tensors["optimizer_weights/iteration:0"].role == "counter"
    slot = tensors["optimizer_weights/Adam/m/conv1/kernel:0"]
    assert (slot.role, slot.layer, slot.initializer) == ("slot", "conv1", None)


def test_values_are_those_written_and_plain_ones_lie_where_the_segment_says(tmp_path: Path) -> None:
    path = legacy_model(tmp_path / "m.h5")
    data = path.read_bytes()
    with open_h5(path) as opened:
        for tensor in opened.listing().tensors:
            if tensor.role in ("slot", "counter"):
                continue
            wanted = digits_weights()[tensor.layer][tensor.object_path.rpartition("/")[2]]
            assert np.array_equal(opened.array(tensor), wanted)
            pieces = list(opened.chunks(tensor, 64))
            assert all(piece.nbytes <= 64 and piece.ndim == 1 for piece in pieces)
            assert np.array_equal(np.concatenate(pieces).reshape(wanted.shape), wanted)
            segment = tensor.storage.segment
            assert tensor.storage.encoding == "plain"
            assert segment is not None
            assert data[segment.offset : segment.offset + segment.bytes] == wanted.tobytes()


def test_architecture_rows_carry_shapes_parameters_and_weights(tmp_path: Path) -> None:
    rows = listing_of(legacy_model(tmp_path / "m.h5")).architecture
    assert [(r.name, r.output_shape, r.parameters) for r in rows] == [
        ("input_1", (None, 8, 8, 1), 0),
        ("conv1", (None, 6, 6, 4), 40),
        ("bn1", (None, 6, 6, 4), 16),
        ("flat", (None, 144), 0),
        ("logits", (None, 10), 1450),
    ]
    assert rows[1].weights == ("model_weights/conv1/conv1/kernel:0", "model_weights/conv1/conv1/bias:0")


def test_keras_3_sequential_weight_names_lose_the_models_name(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "3.15.1"
        file.attrs["model_config"] = json.dumps(digits_config())
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = ["conv1"]
        made = group.create_group("conv1")
        made.attrs["weight_names"] = ["sequential/conv1/kernel", "sequential/conv1/bias"]
        made["sequential/conv1/kernel"] = np.ones((3, 3, 1, 4), "f4")
        made["sequential/conv1/bias"] = np.ones(4, "f4")
    tensor = by_name(listing_of(path))["model_weights/conv1/sequential/conv1/kernel"]
    assert (tensor.object_path, tensor.layer, tensor.role) == ("conv1/kernel", "conv1", "kernel")


def test_legacy_weights_at_the_root_are_keras_weights(tmp_path: Path) -> None:
    path = tmp_path / "w.h5"
    with h5py.File(path, "w") as file:
        write_layers(file["/"], digits_weights())
    listing = listing_of(path)
    assert listing.artifact.kind == "keras-weights"
    assert by_name(listing)["bn1/bn1/gamma:0"].role == "gamma"
    assert listing.artifact.parameters == 1506
    assert not listing.architecture


def test_split_attributes_are_put_together(tmp_path: Path) -> None:
    path = tmp_path / "w.h5"
    names = [f"a_rather_long_layer_name_{i:04d}" for i in range(40)]
    with h5py.File(path, "w") as file:
        file.attrs["layer_names0"] = np.array(names[:25], "S")
        file.attrs["layer_names1"] = np.array(names[25:], "S")
        for name in names:
            made = file.create_group(name)
            made.attrs["weight_names0"] = np.array([f"{name}/kernel:0"], "S")
            made.attrs["weight_names1"] = np.array([f"{name}/bias:0"], "S")
            made.create_dataset(f"{name}/kernel:0", data=np.ones((2, 2), "f4"))
            made.create_dataset(f"{name}/bias:0", data=np.ones(2, "f4"))
    listing = listing_of(path)
    assert listing.artifact.kind == "keras-weights"
    assert {t.layer for t in listing.tensors} == set(names)
    assert not listing.findings


@pytest.mark.parametrize("inside", ["", "model_weights/"])
def test_numbered_layers_of_the_first_keras(tmp_path: Path, inside: str) -> None:
    path = tmp_path / "w.h5"
    with h5py.File(path, "w") as file:
        file.attrs["nb_layers"] = 2
        for number in range(2):
            made = file.create_group(f"{inside}layer_{number}")
            made.attrs["nb_params"] = 2
            made["param_0"] = np.ones((3, 4), "f4")
            made["param_1"] = np.ones(4, "f4")
    listing = listing_of(path)
    assert listing.artifact.kind == "keras-weights"
    assert [t.layer for t in listing.tensors] == ["layer_0", "layer_0", "layer_1", "layer_1"]
    assert listing.artifact.parameters == 32


def test_keras_1_names_give_roles_and_initializers(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    first = layer("Dense", "dense_1", output_dim=4, init="glorot_uniform", batch_input_shape=[None, 3])
    config = {
        "class_name": "Sequential",
        "config": [first, layer("BatchNormalization", "batchnormalization_1")],
    }
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config).encode()
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [b"dense_1", b"batchnormalization_1"]
        dense = group.create_group("dense_1")
        dense.attrs["weight_names"] = [b"dense_1_W", b"dense_1_b"]
        dense["dense_1_W"] = np.ones((3, 4), "f4")
        dense["dense_1_b"] = np.ones(4, "f4")
        norm = group.create_group("batchnormalization_1")
        names = [f"batchnormalization_1_{n}" for n in ("gamma", "beta", "running_mean", "running_std")]
        norm.attrs["weight_names"] = [n.encode() for n in names]
        for name in names:
            norm[name] = np.ones(4, "f4")
    listing = listing_of(path)
    roles = [t.role for t in listing.tensors]
    assert sorted(roles) == ["beta", "bias", "gamma", "kernel", "moving-mean", "moving-variance"]
    kernel = by_name(listing)["model_weights/dense_1/dense_1_W"]
    assert kernel.initializer == {"class_name": "GlorotUniform", "config": {}}
    assert [r.output_shape for r in listing.architecture] == [(None, 4), (None, 4)]
    assert not listing.findings


def test_nested_models_name_the_innermost_layer(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    dense = layer("Dense", "dense_3", units=4, kernel_initializer=UNTRAINED, batch_input_shape=[None, 3])
    inner = {"class_name": "Sequential", "config": {"name": "inner", "layers": [dense]}}
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(sequential(inner))
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [b"inner"]
        made = group.create_group("inner")
        made.attrs["weight_names"] = [b"dense_3/kernel:0", b"dense_3/bias:0"]
        made["dense_3/kernel:0"] = np.ones((3, 4), "f4")
        made["dense_3/bias:0"] = np.ones(4, "f4")
    listing = listing_of(path)
    kernel = by_name(listing)["model_weights/inner/dense_3/kernel:0"]
    assert (kernel.layer, kernel.initializer) == ("dense_3", UNTRAINED)
    assert [(r.name, r.depth, r.parameters) for r in listing.architecture] == [
        ("inner", 0, 16),
        ("dense_3", 1, 16),
    ]
    assert not listing.findings


UNTRAINED = {"class_name": "HeNormal", "config": {"seed": 3}}


def test_keras_3_weight_files_tell_layers_by_name_and_roles_by_class(tmp_path: Path) -> None:
    path = tmp_path / "m.weights.h5"
    object_weights(path, digits_groups())
    listing = listing_of(path)
    assert listing.artifact.kind == "keras-weights"
    assert listing.artifact.writer == {"keras": "3"}
    told = {t.name: (t.layer, t.role, t.object_path) for t in listing.tensors}
    assert told["layers/conv2d/vars/0"] == ("conv1", "kernel", "conv1/kernel")
    assert told["layers/batch_normalization/vars/3"] == ("bn1", "moving-variance", "bn1/moving_variance")
    assert told["layers/dense/vars/1"] == ("logits", "bias", "logits/bias")
    assert told["optimizer/vars/0"][1] == "counter"
    assert told["optimizer/vars/2"][1] == "slot"
    assert listing.artifact.parameters == 1506


def test_keras_2_13_and_2_15_weight_files_have_no_names(tmp_path: Path) -> None:
    path = tmp_path / "m.weights.h5"
    weights = digits_weights()
    groups = {
        "_layer_checkpoint_dependencies/conv2d": ("", list(weights["conv1"].values())),
        "_layer_checkpoint_dependencies/batch_normalization_1": ("", list(weights["bn1"].values())[:3]),
        "metrics/mean": ("", [np.float32(0), np.float32(0)]),
        "optimizer": ("", [np.int64(1), np.zeros((3, 3, 1, 4), "f4")]),
    }
    object_weights(path, groups)
    listing = listing_of(path)
    told = {t.name: (t.layer, t.role) for t in listing.tensors}
    assert listing.artifact.kind == "keras-weights"
    assert told["_layer_checkpoint_dependencies/conv2d/vars/0"] == ("conv2d", "kernel")
    # Three of four possible variables can be read in two ways, which agree on the last two.
    group = "_layer_checkpoint_dependencies/batch_normalization_1/vars"
    assert [told[f"{group}/{n}"][1] for n in range(3)] == ["other", "moving-mean", "moving-variance"]
    assert told["metrics/mean/vars/0"][1] == "metric"
    assert told["optimizer/vars/1"][1] == "slot"


def test_recurrent_and_attention_groups_are_understood_without_a_config(tmp_path: Path) -> None:
    path = tmp_path / "m.weights.h5"
    cell = [np.ones((8, 24), "f4"), np.ones((6, 24), "f4"), np.ones(24, "f4")]
    object_weights(
        path,
        {
            "layers/bidirectional": ("bi", []),
            "layers/bidirectional/forward_layer": ("forward_lstm", []),
            "layers/bidirectional/forward_layer/cell": ("lstm_cell", cell),
            "layers/multi_head_attention": ("mha", []),
            "layers/multi_head_attention/query_dense": (
                "query",
                [np.ones((7, 2, 4), "f4"), np.ones((2, 4), "f4")],
            ),
            "layers/dropout/seed_generator": ("seed_generator", [np.ones(2, "u4")]),
        },
    )
    told = {t.name: (t.layer, t.role, t.object_path) for t in listing_of(path).tensors}
    group = "layers/bidirectional/forward_layer/cell/vars"
    assert told[f"{group}/1"] == ("bi", "kernel", "bi/forward_lstm/lstm_cell/recurrent_kernel")
    assert told[f"{group}/2"] == ("bi", "bias", "bi/forward_lstm/lstm_cell/bias")
    assert told["layers/multi_head_attention/query_dense/vars/1"] == ("mha", "bias", "mha/query/bias")
    assert told["layers/dropout/seed_generator/vars/0"][1] == "rng-state"


def test_subclassed_models_are_named_by_the_objects_in_them(tmp_path: Path) -> None:
    path = tmp_path / "m.weights.h5"
    object_weights(
        path,
        {
            "blocks/dense": ("first", [np.ones((3, 4), "f4"), np.ones(4, "f4")]),
            "blocks/container/dense": ("deep", [np.ones((3, 4), "f4")]),
            "head": ("dense_9", [np.ones((4, 2), "f4"), np.ones(2, "f4")]),
            "": ("net", [np.ones(5, "f4")]),
        },
    )
    told = {t.name: (t.layer, t.role) for t in listing_of(path).tensors}
    assert told["blocks/dense/vars/0"] == ("first", "kernel")
    assert told["blocks/container/dense/vars/0"] == ("deep", "kernel")
    assert told["head/vars/1"] == ("dense_9", "bias")
    assert told["vars/0"] == ("", "other")


def test_bfloat16_is_told_by_attribute_and_assumed_in_legacy_files(tmp_path: Path) -> None:
    values = np.arange(6).astype(ml_dtypes.bfloat16).reshape(2, 3)
    new, old, other = tmp_path / "n.weights.h5", tmp_path / "o.h5", tmp_path / "x.h5"
    with h5py.File(new, "w") as file:
        file.create_dataset("layers/dense/vars/0", data=values.view("V2")).attrs["dtype"] = "bfloat16"
    with h5py.File(old, "w") as file:
        write_layers(file["/"], {"d": {"kernel": values.view("V2")}})
    with h5py.File(other, "w") as file:
        file["x"] = values.view("V2")
    for path, dtype in ((new, "bfloat16"), (old, "bfloat16"), (other, "opaque")):
        with open_h5(path) as opened:
            tensor = opened.listing().tensors[0]
            assert tensor.dtype == dtype
            assert opened.array(tensor).tobytes() == values.tobytes()
            if dtype == "bfloat16":
                assert opened.array(tensor).dtype == ml_dtypes.bfloat16


STORED: dict[str, tuple[np.ndarray, dict[str, Any], str, str]] = {
    "big-endian": (np.arange(7, dtype=">f8"), {}, "float64", "plain"),
    "bool": (np.array([True, False, True]), {}, "bool", "plain"),
    "half": (np.array([1, 2, np.nan], "f2"), {}, "float16", "plain"),
    "complex": (np.array([1 + 2j, 3], ">c8"), {}, "complex64", "plain"),
    "scalar": (np.array(3, "i8"), {}, "int64", "plain"),
    "unsigned": (np.arange(5, dtype=">u2"), {}, "uint16", "plain"),
    "gzip": (np.arange(600).reshape(20, 30), {"chunks": (7, 11), "compression": "gzip"}, "int64", "hdf5"),
    "lzf": (np.arange(600.0).reshape(20, 30), {"chunks": (3, 30), "compression": "lzf"}, "float64", "hdf5"),
    "shuffle": (np.arange(64, dtype="i2"), {"chunks": (9,), "shuffle": True}, "int16", "hdf5"),
    "fletcher": (np.arange(64, dtype="f4"), {"chunks": (64,), "fletcher32": True}, "float32", "hdf5"),
    "cube": (np.arange(4000).reshape(10, 20, 20), {"chunks": (3, 7, 20)}, "int64", "hdf5"),
    "empty": (np.zeros((0, 4), "f4"), {}, "float32", "hdf5"),
    "record": (np.array([(1, b"ab")], dtype=[("a", "i4"), ("b", "S3")]), {}, "compound", "hdf5"),
}


@pytest.mark.parametrize("case", STORED)
@pytest.mark.parametrize("block", [0, 1024])
def test_every_kind_of_storage_reads_as_h5py_reads_it(tmp_path: Path, case: str, block: int) -> None:
    values, options, dtype, encoding = STORED[case]
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", userblock_size=block) as file:
        file.create_dataset("x", data=values, **options)
    with open_h5(path) as opened:
        tensor = opened.listing().tensors[0]
        assert (tensor.name, tensor.dtype, tensor.shape) == ("x", dtype, values.shape)
        assert tensor.storage.encoding == encoding
        native = values.astype(values.dtype.newbyteorder("="))
        assert opened.array(tensor).tobytes() == native.tobytes()
        for size in (16, 1000, 1 << 20):
            pieces = list(opened.chunks(tensor, size))
            assert b"".join(p.tobytes() for p in pieces) == native.tobytes()
            assert all(p.nbytes <= max(size, p.itemsize) for p in pieces)


def test_strings_come_as_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["fixed"] = np.array([b"ab", b"c"])
        file["free"] = np.array(["x", "zwölf", ""], dtype=object)
    with open_h5(path) as opened:
        for tensor in opened.listing().tensors:
            assert tensor.dtype == "string"
            wanted = {"fixed": [b"ab", b"c"], "free": [b"x", "zwölf".encode(), b""]}[tensor.name]
            assert opened.array(tensor).tolist() == wanted


def test_a_string_longer_than_the_file_is_refused_before_it_is_allocated(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["free"] = np.array(["first", "second"], dtype=object)
        at = file["free"].id.get_offset()
    data = bytearray(path.read_bytes())
    data[at + 16 : at + 20] = b"\xff\xff\xff\xfe"
    path.write_bytes(data)
    with open_h5(path) as opened, pytest.raises(Damaged, match="4278190079 bytes"):
        opened.array(opened.listing().tensors[0])


def test_array_types_add_their_axes(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    values = np.arange(30, dtype="f4").reshape(5, 2, 3)
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("x", (5,), dtype=np.dtype(("f4", (2, 3))))
        dataset[...] = values
    with open_h5(path) as opened:
        tensor = opened.listing().tensors[0]
        assert (tensor.shape, tensor.dtype) == ((5, 2, 3), "float32")
        assert np.array_equal(opened.array(tensor), values)


def test_never_written_datasets_give_their_fill_value(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_dataset("x", (4,), fillvalue=2.5)
    with open_h5(path) as opened:
        tensor = opened.listing().tensors[0]
        assert (tensor.bytes, tensor.storage.segment) == (0, None)
        assert opened.array(tensor).tolist() == [2.5] * 4


def test_other_hdf5_files_list_every_dataset_once(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["b/c"] = np.arange(3)
        file["b/again"] = file["b/c"]
        file["b/up"] = file["/"]
        file["soft"] = h5py.SoftLink("/b/c")
        file["b/a"] = h5py.Empty("f4")
    listing = listing_of(path)
    assert listing.artifact.kind == "hdf5"
    assert [(t.name, t.shape) for t in listing.tensors] == [("b/a", (0,)), ("b/again", (3,))]


def test_links_out_of_the_file_are_shown_and_never_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["w"] = np.full(8, 42.0)
    (tmp_path / "raw").write_bytes(b"S" * 64)
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["link"] = h5py.ExternalLink(str(secret), "/w")
        file.create_dataset("stored", (64,), "u1", external=[(str(tmp_path / "raw"), 0, 64)])
        layout = h5py.VirtualLayout((8,), "f8")
        layout[:] = h5py.VirtualSource(str(secret), "w", shape=(8,))
        file.create_virtual_dataset("virtual", layout)
        file["own"] = np.ones(2)
    with open_h5(path) as opened:
        listing = opened.listing()
        assert codes(listing) == ["external-reference"] * 3
        assert {f.tensor for f in listing.findings} == {"link", "stored", "virtual"}
        assert all(str(tmp_path) in str(f.evidence["target"]) for f in listing.findings)
        for tensor in listing.tensors:
            if tensor.name == "own":
                assert opened.array(tensor).tolist() == [1, 1]
            else:
                assert tensor.storage.encoding == "none"
                with pytest.raises(Damaged):
                    opened.array(tensor)


def test_a_listing_row_does_not_open_what_has_changed_into_a_link(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(b"S" * 64)
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (64,), "u1", external=[(str(tmp_path / "raw"), 0, 64)])
    with open_h5(path) as opened:
        tensor = opened.listing().tensors[0]
        forged = Tensor("x", "uint8", (64,), 64, storage=type(tensor.storage)("hdf5"))
        with pytest.raises(Exception, match="not what was listed"):
            opened.array(forged)


def test_declared_sizes_are_judged_before_anything_is_allocated(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("sparse", (1 << 40,), "f4", chunks=(1024,))
        file.create_dataset("square", (1 << 31, 1 << 31), "f4", chunks=(64, 64))
        file.create_dataset("text", (1,), "S20000000")
        file.create_dataset("chunk", (1 << 29,), "u1", chunks=(1 << 29,), compression="gzip")
        file.create_dataset("large", (1 << 29,), "f2", chunks=(1 << 20,), compression="gzip")[:8] = 1
    with open_h5(path) as opened:
        listing = opened.listing()
        problems = {t.name: t.problem for t in listing.tensors}
        assert all(problems[name] for name in ("sparse", "square", "text", "chunk"))
        assert not problems["large"]
        assert codes(listing) == ["entry-invalid"] * 4
        for tensor in listing.tensors:
            with pytest.raises((Damaged, UsageError)):
                opened.array(tensor)
        large = next(t for t in listing.tensors if t.name == "large")
        assert next(opened.chunks(large, 1 << 16)).nbytes == 1 << 16, "what streams is still readable"


def test_missing_filter_is_named_once_and_its_datasets_are_rows(tmp_path: Path) -> None:
    if not CORPUS.is_dir():
        pytest.skip("no file with a filter h5py lacks")
    listing = listing_of(CORPUS / "jhdf/lz4_datasets.hdf5")
    assert codes(listing) == ["unsupported-format"]
    assert listing.findings[0].severity == "info"
    assert "lz4" in listing.findings[0].detail
    assert listing.findings[0].evidence["count"] == len(listing.tensors) == 20
    assert all("lz4" in t.problem for t in listing.tensors)


def test_missing_layers_weights_and_wrong_shapes_are_told(tmp_path: Path) -> None:
    weights = digits_weights()
    del weights["logits"]["bias"]
    del weights["bn1"]
    weights["conv1"]["kernel"] = np.ones((3, 3, 3, 4), "f4")
    weights["stray"] = {"kernel": np.ones((2, 2), "f4")}
    listing = listing_of(legacy_model(tmp_path / "m.h5", weights=weights))
    found = {f.code: f for f in listing.findings}
    assert set(found) == {"weights-missing", "shape-mismatch", "weights-unexpected"}
    assert found["weights-missing"].evidence["names"] == [
        "bn1/gamma",
        "bn1/beta",
        "bn1/moving_mean",
        "bn1/moving_variance",
        "logits/bias",
    ]
    assert found["shape-mismatch"].evidence["expected"] == [3, 3, 1, 4]
    assert found["shape-mismatch"].evidence["found"] == [3, 3, 3, 4]
    assert found["shape-mismatch"].tensor == "model_weights/conv1/conv1/kernel:0"
    assert found["weights-unexpected"].severity == "warning"


def test_a_dataset_the_weight_names_promise_is_missed(tmp_path: Path) -> None:
    path = legacy_model(tmp_path / "m.h5")
    with h5py.File(path, "r+") as file:
        del file["model_weights/logits/logits/bias:0"]
    listing = listing_of(path)
    assert codes(listing) == ["weights-missing"]
    assert listing.findings[0].evidence == {"count": 1, "names": ["logits/logits/bias:0"]}


def test_unreadable_architecture_leaves_the_weights(tmp_path: Path) -> None:
    path = legacy_model(tmp_path / "m.h5")
    for text in ("[" * 200_000, '{"class_name": "Lambda"', "[]"):
        with h5py.File(path, "r+", libver="latest") as file:
            file.attrs["model_config"] = text
        listing = listing_of(path)
        assert codes(listing) == ["hdf5-damaged"]
        assert listing.findings[0].title == "The architecture can't be read"
        assert listing.artifact.kind == "keras-h5"
        assert listing.artifact.parameters == 1506


def test_names_come_through_whatever_they_hold(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    names = ["\x1b[2Jred", "a\u202egpj", "[/nope]", "line\nbreak", "x" * 10_000]
    with h5py.File(path, "w") as file:
        for name in names:
            file[name] = np.ones(1)
        h5py.h5g.create(file.id, b"\xff\xfebad")
        file[b"\xff\xfebad"]["inner"] = np.full(1, 5.0)
    with open_h5(path) as opened:
        tensors = by_name(opened.listing())
        assert set(names) < set(tensors)
        odd = next(name for name in tensors if name.endswith("inner"))
        assert odd.encode("utf-8", "surrogateescape") == b"\xff\xfebad/inner"
        assert opened.array(tensors[odd]).tolist() == [5.0]


def test_deep_wide_and_tangled_groups_are_walked_in_bounded_time(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        group = file.create_group("deep").id
        for _ in range(3000):
            group = h5py.h5g.create(group, b"g")
        wide = file.create_group("wide")
        for number in range(5000):
            h5py.h5g.create(wide.id, b"g%d" % number)
        file["n0"] = np.ones(1)
        previous: Any = file["n0"]
        for number in range(1, 41):
            made = file.create_group(f"n{number}")
            made["l"], made["r"] = previous, previous
            previous = made
        crowded = file.create_group("crowded")
        for number in range(3000):
            crowded.attrs.create(f"a{number}", number)
    ticks: list[int] = []
    with open_h5(path) as opened:
        listing = opened.listing(lambda: ticks.append(1))
    assert [t.name for t in listing.tensors] == ["n0"]
    assert ticks, "a long walk gives signs of life"


def test_paths_that_are_no_regular_files_are_refused(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "fifo.h5")
    for path in (tmp_path / "fifo.h5", tmp_path, tmp_path / "none.h5"):
        with pytest.raises(NoSuchPath):
            open_h5(path)


def _ends(found: list[Outcome]) -> dict[str, list[str]]:
    ends: dict[str, list[str]] = {}
    for one in found:
        ends.setdefault(one.end, []).append(f"{Path(one.path).name} {one.stage} {one.error}")
    return ends


@needs_corpus
def test_healthy_corpus_files_read_exactly_as_h5py_reads_them() -> None:
    paths = sorted(p for p in CORPUS.rglob("*") if p.suffix in (".h5", ".hdf5") and "hdf5-cve" not in p.parts)
    found = outcomes(paths)
    assert set(_ends(found)) == {"done"}, _ends(found)
    for one in found:
        differs = [d for d in one.facts["differs"] if "needs the HDF5 filter" not in d]
        assert not differs, one.path
    keras = [one for one in found if one.facts["kind"] != "hdf5"]
    assert len(keras) == 23
    assert all(not one.facts["codes"] for one in keras), "no false alarm on a healthy Keras file"


@needs_corpus
def test_malformed_corpus_files_end_in_a_listing_or_a_dead_child() -> None:
    paths = sorted(p for p in (CORPUS / "hdf5-cve").iterdir() if p.suffix == ".h5" or not p.suffix)
    paths = [p for p in paths if p.read_bytes()[:4] == b"\x89HDF"]
    found = outcomes(paths)
    assert len(found) == len(paths) > 60
    assert "failed" not in _ends(found), _ends(found)["failed"]
    ours = [one for one in found if one.end != "done" and one.stage == "start"]
    assert len(ours) <= 3, _ends(found)
    for one in found:
        # A damaged scale-offset chunk decodes to whatever memory held.
        differs = [d for d in one.facts.get("differs", []) if "Scale_offset" not in d]
        assert not differs, one.path


@needs_hostile
def test_files_that_hang_or_crash_h5py_do_not_hang_the_listing() -> None:
    names = ("h5crash_gzlatest_2072_ff.h5", "h5crash_plain_11975_ff.h5", "h5crash_plain_2216_ff.h5")
    code = Path(__file__).with_name("hdf5_child.py")
    import subprocess
    import sys

    for name in names:
        told = f"import runpy, sys; m = runpy.run_path({str(code)!r}); print(m['look'](sys.argv[1])['readable'])"
        done = subprocess.run(
            [sys.executable, "-c", told, str(HOSTILE / "crashers" / name)],
            capture_output=True,
            timeout=20,
            cwd=Path(__file__).resolve().parents[2],
        )
        assert done.returncode == 0, (name, done.stderr[-500:])
        assert int(done.stdout) >= 2


@pytest.mark.parametrize("make", [legacy_model])
def test_flipped_bytes_never_raise_anything_unexpected(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    data = make(tmp_path / "m.h5").read_bytes()
    rng = np.random.default_rng(5)
    paths = []
    for number in range(150):
        changed = bytearray(data)
        for at in rng.integers(0, len(data), size=rng.choice([1, 1, 2, 5])):
            changed[at] = rng.integers(0, 256)
        path = tmp_path / f"m{number}.bin"
        path.write_bytes(changed)
        paths.append(path)
    ends = _ends(outcomes(paths))
    assert "failed" not in ends, ends.get("failed")
    assert len(ends.get("done", [])) >= 148, ends
