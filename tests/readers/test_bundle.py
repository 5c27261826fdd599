"""TensorBundles as TensorFlow lays them out, and what is said about those that contradict themselves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from crc32c import crc32c

from ckptui.core.model import Finding, Listing
from ckptui.readers import bundle_graph, bundle_index, bundle_tensors
from ckptui.readers.bundle import GRAPH_AT_ONCE, open_bundle
from ckptui.readers.bundle_entry import Entry, decode_entry
from tests.readers.make_bundle import (
    GRAPH_KEY,
    Content,
    Node,
    Stored,
    Tiled,
    graph,
    variants_payload,
    write_bundle,
)

KERNEL = np.arange(24, dtype=np.float32).reshape(2, 3, 1, 4)
TF1: dict[str, Content] = {
    "conv1/kernel": KERNEL,
    "conv1/bias": np.ones(4, np.float32),
    "conv1/kernel/Adam": KERNEL * 0,
    "global_step": np.array(3000, np.int64),
    "words": [b"alpha", b"", b"gamma"],
    "half": np.arange(3).astype(ml_dtypes.bfloat16),
}


def listing(prefix: str) -> Listing:
    return open_bundle(prefix).listing()


def codes(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.code for finding in findings]


# -- whole bundles


def test_every_entry_is_a_tensor_with_its_place_and_checksum(tmp_path: Path) -> None:
    prefix = write_bundle(tmp_path / "model.ckpt-30", TF1)
    bundle = open_bundle(prefix)
    found = bundle.listing()
    assert bundle.names == found.tensors.names == sorted(TF1)  # type: ignore[attr-defined]
    by_name = {tensor.name: tensor for tensor in found.tensors}
    kernel = by_name["conv1/kernel"]
    assert (kernel.dtype, kernel.shape, kernel.bytes) == ("float32", (2, 3, 1, 4), 96)
    assert (kernel.role, kernel.layer, kernel.problem) == ("kernel", "conv1", "")
    assert kernel.storage.encoding == "plain"
    assert kernel.storage.crc32c == crc32c(KERNEL.tobytes())
    segment = kernel.storage.segment
    assert segment is not None
    raw = Path(segment.file).read_bytes()
    assert raw[segment.offset : segment.offset + segment.bytes] == KERNEL.tobytes()
    assert by_name["conv1/kernel/Adam"].role == "slot"
    assert by_name["words"].storage.encoding == "strings"
    for name, value in TF1.items():
        assert bundle.array(by_name[name]).tolist() == np.asarray(value).tolist()


def test_the_artifact_says_what_a_bundle_can_say(tmp_path: Path) -> None:
    prefix = write_bundle(tmp_path / "model.ckpt-30", TF1, shards=2)
    os.utime(f"{prefix}.data-00001-of-00002", (2_000_000_000, 2_000_000_000))
    found = listing(prefix)
    artifact = found.artifact
    assert (artifact.path, artifact.kind, artifact.label, artifact.step) == (
        prefix,
        "tf-checkpoint",
        "model.ckpt-30",
        30,
    )
    assert artifact.bytes == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert (artifact.shards, artifact.tensors, artifact.modified) == (2, 6, 2e9)
    assert artifact.parameters == 24 + 4 + 3
    assert artifact.status == "unchecked"
    assert artifact.writer["format"] == "tf1-names"
    assert artifact.writer["generation"] == "TF1 Saver or Estimator"
    assert found.findings == ()


def test_the_empty_file_name_is_a_legal_prefix(tmp_path: Path) -> None:
    found = listing(write_bundle(f"{tmp_path}/", TF1))
    assert (tmp_path / ".index").exists()
    assert found.artifact.label == tmp_path.name
    assert (len(found.tensors), found.findings) == (6, ())


@pytest.mark.parametrize("snappy", [False, True])
def test_several_shards_blocks_and_compression(tmp_path: Path, snappy: bool) -> None:
    tensors = {f"layer_{i:03d}/kernel": np.full((3, 2), i, np.float32) for i in range(100)}
    bundle = open_bundle(write_bundle(tmp_path / "ckpt-1", tensors, shards=3, snappy=snappy, block_size=500))
    found = bundle.listing()
    assert found.findings == ()
    assert {bundle.array(tensor).mean() for tensor in found.tensors} == set(range(100))
    assert [tensor.name for tensor in found.tensors[2:4]] == ["layer_002/kernel", "layer_003/kernel"]


def test_big_endian_bundles_are_swapped(tmp_path: Path) -> None:
    values: dict[str, np.ndarray[Any, Any]] = {
        "c": np.array([1 + 2j], np.complex64),
        "f": KERNEL,
        "u": np.arange(5, dtype=np.uint8),
    }
    bundle = open_bundle(write_bundle(tmp_path / "be", values, big_endian=True))
    found = bundle.listing()
    assert found.artifact.writer["byte_order"] == "big"
    assert [tensor.storage.big_endian for tensor in found.tensors] == [True, True, False]
    for tensor in found.tensors:
        assert bundle.array(tensor).tolist() == values[tensor.name].tolist()
        parts = [part.copy() for part in bundle.chunks(tensor, 16)]
        assert np.concatenate(parts).tolist() == values[tensor.name].reshape(-1).tolist()


def test_variants_are_listed_with_their_serialized_elements(tmp_path: Path) -> None:
    raw, crc = variants_payload([b"state", b""])
    bundle = open_bundle(write_bundle(tmp_path / "v", {"iterator": Stored("variant", (2,), raw, crc)}))
    [tensor] = bundle.listing().tensors
    assert (tensor.storage.encoding, tensor.problem) == ("variant", "")
    assert bundle.array(tensor).tolist() == [b"state", b""]


TILES = [
    [(0, 1), (0, -1), (0, -1), (0, -1)],
    [(1, 1), (0, 2), (0, -1), (0, -1)],
    [(1, 1), (2, 1), (0, -1), (0, -1)],
]


def test_partitioned_tensors_are_one_tensor(tmp_path: Path) -> None:
    whole: dict[str, Content] = {"a/kernel": Tiled(KERNEL, TILES), "b": np.ones(3, np.float32)}
    bundle = open_bundle(write_bundle(tmp_path / "ps", whole, shards=2))
    found = bundle.listing()
    assert found.findings == ()
    kernel, other = found.tensors
    assert (kernel.name, kernel.shape, kernel.bytes, kernel.problem) == ("a/kernel", KERNEL.shape, 96, "")
    assert [tile.start for tile in kernel.storage.slices] == [(0, 0, 0, 0), (1, 0, 0, 0), (1, 2, 0, 0)]
    assert [tile.shape for tile in kernel.storage.slices] == [(1, 3, 1, 4), (1, 2, 1, 4), (1, 1, 1, 4)]
    assert kernel.storage.slices[0].crc32c == crc32c(KERNEL[:1].tobytes())
    assert np.array_equal(bundle.array(kernel), KERNEL)
    assert other.name == "b"


def test_finding_a_tensor_by_name(tmp_path: Path) -> None:
    tensors = listing(write_bundle(tmp_path / "x", TF1)).tensors
    assert isinstance(tensors, bundle_tensors.BundleTensors)
    found = tensors.find("words")
    assert found is not None
    assert found is tensors[tensors.names.index("words")]
    assert tensors.find("absent") is None
    assert tensors[-1] == tensors[5]
    with pytest.raises(IndexError):
        tensors[6]


# -- names first


def test_a_listing_in_a_hurry_decodes_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = write_bundle(tmp_path / "x", TF1)
    decoded: list[bytes] = []

    def decode(value: bytes, shapes: dict[bytes, tuple[int, ...]]) -> Entry:
        decoded.append(value)
        return decode_entry(value, shapes)

    monkeypatch.setattr(bundle_index, "decode_entry", decode)
    found = open_bundle(prefix).listing(count=False)
    assert found.tensors.names == sorted(TF1)  # type: ignore[attr-defined]
    assert (found.artifact.parameters, found.artifact.tensors) == (0, 6)
    assert decoded == []
    assert found.tensors[1].shape == KERNEL.shape
    assert len(set(decoded)) == 1


def test_a_tensor_looked_at_in_a_hurry_tells_its_own_problem(tmp_path: Path) -> None:
    prefix = write_bundle(tmp_path / "x", TF1)
    os.truncate(f"{prefix}.data-00000-of-00001", 10)
    tensors = open_bundle(prefix).listing(count=False).tensors
    assert tensors[1].problem == "its shard ends 86 bytes too early"


def test_a_large_object_graph_is_not_read_in_a_hurry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [Node({"v": 1}), Node(attributes=[("VARIABLE_VALUE", "dense/kernel", "v/.ATTRIBUTES/VARIABLE_VALUE")])]
    small = {GRAPH_KEY: graph(nodes), "v/.ATTRIBUTES/VARIABLE_VALUE": np.ones((2, 2), np.float32)}
    prefix = write_bundle(tmp_path / "small", small)
    assert open_bundle(prefix).listing(count=False).tensors[1].object_path == "dense/kernel"
    padded = [*nodes, Node(attributes=[("x", "y" * GRAPH_AT_ONCE, "z")])]
    prefix = write_bundle(tmp_path / "large", small | {GRAPH_KEY: graph(padded)})
    assert open_bundle(prefix).listing(count=False).tensors[1].object_path == ""
    assert listing(prefix).tensors[1].object_path == "dense/kernel"
    monkeypatch.setattr(bundle_graph, "CAP", 1000)
    found = listing(prefix)
    assert found.tensors[1].object_path == ""
    assert [(f.code, f.tensor) for f in found.findings] == [("entry-invalid", GRAPH_KEY)]


def test_listing_imports_no_numpy(tmp_path: Path) -> None:
    prefix = write_bundle(tmp_path / "x", TF1)
    script = (
        "import sys; from ckptui.readers.bundle import open_bundle;"
        f"found = open_bundle({prefix!r}).listing(); list(found.tensors);"
        "heavy = {'numpy', 'ml_dtypes', 'cramjam', 'h5py'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


# -- object graphs


def keras3() -> dict[str, Content]:
    tail = "/.ATTRIBUTES/VARIABLE_VALUE"
    own = {
        3: ("save_counter", "save_counter"),
        5: ("net/conv1/kernel", "optimizer/_trainable_variables/0"),
        6: ("adam/net_conv1_kernel_momentum", "optimizer/_variables/1"),
        7: ("adam/iteration", "optimizer/_iterations"),
    }
    links: dict[int, dict[str, int]] = {
        0: {"optimizer": 1, "save_counter": 3},
        1: {"_variables": 2, "_trainable_variables": 4, "_iterations": 7},
        2: {"0": 7, "1": 6},
        4: {"0": 5},
    }
    nodes = [
        Node(links.get(i, {}), [("VARIABLE_VALUE", own[i][0], own[i][1] + tail)] if i in own else []) for i in range(8)
    ]
    values = {3: np.array(2, np.int64), 5: KERNEL, 6: KERNEL, 7: np.array(9, np.int64)}
    return {GRAPH_KEY: graph(nodes)} | {own[i][1] + tail: value for i, value in values.items()}


def test_the_object_graph_names_weights_and_tells_slots(tmp_path: Path) -> None:
    found = listing(write_bundle(tmp_path / "ckpt-2", keras3()))
    facts = {
        t.name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE"): (t.role, t.layer, t.object_path) for t in found.tensors
    }
    assert facts == {
        GRAPH_KEY: ("object-graph", "", ""),
        "optimizer/_iterations": ("counter", "adam", "adam/iteration"),
        "optimizer/_trainable_variables/0": ("kernel", "conv1", "net/conv1/kernel"),
        "optimizer/_variables/1": ("slot", "conv1", "adam/net_conv1_kernel_momentum"),
        "save_counter": ("counter", "", "save_counter"),
    }
    assert found.artifact.parameters == 24
    assert found.artifact.writer["generation"] == "TF2 Checkpoint.save or CheckpointManager, Keras 3 model"
    assert found.findings == ()


def test_a_damaged_object_graph_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    prefix = write_bundle(tmp_path / "ckpt-2", keras3())
    shard = Path(f"{prefix}.data-00000-of-00001")
    raw = bytearray(shard.read_bytes())
    raw[raw.index(b"net/conv1/kernel")] ^= 1
    shard.write_bytes(raw)
    found = listing(prefix)
    [finding] = found.findings
    assert (finding.code, finding.tensor, finding.severity) == ("checksum-mismatch", GRAPH_KEY, "error")
    assert finding.evidence["expected"] != finding.evidence["found"]
    assert found.tensors[2].object_path == "oet/conv1/kernel"


def test_a_weight_exported_twice_counts_once(tmp_path: Path) -> None:
    tail = "/.ATTRIBUTES/VARIABLE_VALUE"
    own = {
        "variables/0": ("d/kernel", KERNEL),
        "variables/1": ("d/bias", KERNEL[0]),
        "_all_variables/0": ("d/bias", KERNEL[0]),
        "_all_variables/1": ("d/kernel", KERNEL),
        "_all_variables/2": ("d/kernel", KERNEL[:1]),
    }
    nodes = [Node()] + [Node(attributes=[("VARIABLE_VALUE", full, key + tail)]) for key, (full, _) in own.items()]
    values = {GRAPH_KEY: graph(nodes)} | {key + tail: value for key, (_, value) in own.items()}
    found = listing(write_bundle(tmp_path / "variables", values))
    assert found.artifact.writer["generation"] == "Keras 3 model.export"
    assert found.artifact.parameters == 24 + 12 + 12
