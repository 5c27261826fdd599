"""Every kind is opened by its own reader, and readers have one face."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from ckptui.core.model import Kind, Listing, Tensor
from ckptui.errors import NoSuchPath, NoSuchTensor, NotASave
from ckptui.readers.discover import resolve
from ckptui.readers.registry import open_reader
from tests.places import CORPUS, ESTIMATOR, needs_corpus, needs_estimator
from tests.readers.saves import V1


def test_v1_checkpoints_are_opened_by_their_pattern(tmp_path: Path) -> None:
    (tmp_path / "model.ckpt-7-00000-of-00001").write_bytes(V1)
    reader = open_reader(tmp_path / "model.ckpt-7-?????-of-00001", "tf-checkpoint-v1")
    listing = reader.listing()
    assert (listing.artifact.bytes, listing.artifact.status) == (len(V1), "unchecked")
    assert (listing.artifact.shards, listing.artifact.step, listing.artifact.tensors) == (1, 7, 1)
    assert reader.array(listing.tensors[0]).tolist() == [1, 2]
    with pytest.raises(NoSuchTensor):
        reader.array(Tensor("v", "float32", (1,), 4))
    reader.close()


@pytest.mark.parametrize(
    "kind", ["tf-checkpoint", "tf-checkpoint-v1", "saved-model", "keras-archive", "keras-h5", "hdf5"]
)
def test_a_missing_save_is_a_plain_error(tmp_path: Path, kind: Kind) -> None:
    with pytest.raises(NoSuchPath):
        open_reader(tmp_path / "nothing", kind)


def test_kinds_without_a_reader_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotASave):
        open_reader(tmp_path / "graph.meta", cast(Kind, "tflite"))


def test_checkpoints_and_saved_models_open_without_h5py_or_tensorflow() -> None:
    code = (
        "import sys\n"
        "from ckptui.readers.registry import open_reader\n"
        "from ckptui.errors import CkptuiError\n"
        "for kind in ('tf-checkpoint', 'saved-model', 'tf-checkpoint-v1'):\n"
        "    try: open_reader('/nowhere', kind)\n"
        "    except CkptuiError: pass\n"
        "print([m for m in ('h5py', 'tensorflow', 'numpy') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def values(listing: Listing) -> dict[str, tuple[int, ...]]:
    return {tensor.name: tensor.shape for tensor in listing.tensors}


@needs_corpus
def test_a_saved_model_gives_its_variables_as_the_checkpoint_does() -> None:
    folder = CORPUS / "mlperf-kws-savedmodel"
    model = open_reader(folder, "saved-model")
    bundle = open_reader(folder / "variables" / "variables", "tf-checkpoint")
    listing = model.listing()
    assert values(listing) == values(bundle.listing())
    assert listing.artifact.parameters == bundle.listing().artifact.parameters
    for tensor in listing.tensors:
        if tensor.storage.encoding == "plain":
            whole = model.array(tensor)
            joined = np.concatenate([chunk.copy() for chunk in model.chunks(tensor, 4096)])
            assert whole.shape == tensor.shape
            assert np.array_equal(whole.reshape(-1), joined)
    kernels = [t for t in listing.tensors if t.role == "kernel" and t.layer == "conv2d"]
    assert kernels[0].initializer == {"class_name": "GlorotUniform", "config": {"seed": None}}
    assert listing.architecture[0].output_shape == (None, 49, 10, 1)


@needs_estimator
def test_what_resolve_finds_the_registry_opens() -> None:
    for argument in (ESTIMATOR, ESTIMATOR / "export", ESTIMATOR / "model.ckpt-10.index"):
        found = resolve(str(argument))
        listing = open_reader(found.path, found.kind).listing()
        assert listing.artifact.path == found.path
        assert listing.artifact.step == found.step
        assert listing.artifact.tensors > 0
