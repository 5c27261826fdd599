"""Bundles TensorFlow reads give the same names, dtypes, shapes and bytes here; hostile ones give findings."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui.errors import Damaged
from ckptui.readers.bundle import Bundle, open_bundle
from ckptui.readers.state_file import read_state
from tests import warm_tensorflow
from tests.places import CORPUS, ESTIMATOR, HOSTILE, ROOT, needs_corpus, needs_hostile

CHILD = Path(__file__).with_name("tensorflow_bundles.py")
Answers = dict[str, dict[str, Any]]


@pytest.fixture(scope="session")
def answered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answers]:
    """The folder one TensorFlow child filled, and what it read from its own bundles and the third-party ones."""
    folder = tmp_path_factory.mktemp("tensorflow")
    others = sorted(str(path)[: -len(".index")] for place in (CORPUS, ESTIMATOR) for path in place.rglob("*.index"))
    warm_tensorflow.run([CHILD, folder, *others], cwd=ROOT, check=True, timeout=240)
    lines = (folder / "answers.jsonl").read_text().splitlines()
    answers = {answer["prefix"]: answer for answer in map(json.loads, lines)}
    assert set(others) <= set(answers)
    return folder, answers


def digest(array: np.ndarray[Any, Any]) -> str:
    """As the child makes it."""
    if array.dtype == object:
        items = array.reshape(-1).tolist()
        return hashlib.sha256(b"".join(len(item).to_bytes(8, "little") + item for item in items)).hexdigest()
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def compare(bundle: Bundle, wanted: dict[str, Any]) -> int:
    """Hold a bundle against TensorFlow's answer; tensors compared down to the bytes."""
    found = bundle.listing()
    assert {tensor.name: [tensor.dtype, list(tensor.shape)] for tensor in found.tensors} == {
        name: answer[:2] for name, answer in wanted.items()
    }
    exact = 0
    for tensor in found.tensors:
        answer = wanted[tensor.name][2]
        if "Error" in answer:
            assert tensor.problem
            with pytest.raises(Damaged):
                bundle.array(tensor)
            continue
        assert digest(bundle.array(tensor)) == answer, tensor.name
        parts = [part.copy() for part in bundle.chunks(tensor, 1000)]
        assert digest(np.concatenate(parts) if parts else bundle.array(tensor)) == answer, tensor.name
        assert tensor.problem == ""
        exact += 1
    return exact


@pytest.mark.tensorflow
def test_bundles_of_every_dtype_writer_and_layout_are_exact(answered: tuple[Path, Answers]) -> None:
    folder, answers = answered
    made = {prefix: answer["tensors"] for prefix, answer in answers.items() if prefix.startswith(str(folder))}
    assert {Path(prefix).name for prefix in made} == {
        "dtypes",
        "ckpt-1",
        "ckpt-2",
        "variables",
        "sharded",
        "model.ckpt-30",
    }
    exact = sum(compare(open_bundle(prefix), wanted) for prefix, wanted in made.items())
    print(f"\n{exact} tensors of {len(made)} bundles made by TensorFlow are exact")
    assert len(made[str(folder / "dtypes")]) == 3 * 31
    assert exact == sum(map(len, made.values()))


@needs_corpus
@pytest.mark.tensorflow
def test_third_party_bundles_are_exact(answered: tuple[Path, Answers]) -> None:
    folder, answers = answered
    exact = total = 0
    for prefix, answer in answers.items():
        if not prefix.startswith(str(folder)):
            exact += compare(open_bundle(prefix), answer["tensors"])
            total += len(answer["tensors"])
    print(f"\n{exact} of {total} tensors of {len(answers) - 6} third-party bundles are exact")
    assert total - exact == 8  # sugyan-mnist/convolutional.ckpt has no data file


@pytest.mark.tensorflow
def test_what_tensorflow_wrote_is_healthy_and_understood(answered: tuple[Path, Answers]) -> None:
    folder, _ = answered
    run = open_bundle(str(folder / "run/ckpt-2")).listing()
    assert run.findings == ()
    assert run.artifact.step == 2
    assert run.artifact.writer["generation"] == "TF2 Checkpoint.save or CheckpointManager, Keras 3 model"
    weights = {t.object_path.removeprefix("sequential/"): (t.role, t.layer) for t in run.tensors if t.role != "slot"}
    assert weights["conv1/kernel"] == ("kernel", "conv1")
    assert weights["bn1/moving_variance"] == ("moving-variance", "bn1")
    assert weights["adam/learning_rate"][0] == weights["save_counter"][0] == "counter"
    assert weights["step"][0] == "step"
    slots = [tensor.layer for tensor in run.tensors if tensor.role == "slot"]
    assert sorted(set(slots)) == ["bn1", "conv1", "logits"]
    assert len(slots) == 12
    assert run.artifact.parameters == 36 + 4 + 4 * 4 + 6 * 6 * 4 * 10 + 10

    exported = open_bundle(str(folder / "exported/variables/variables")).listing()
    assert exported.artifact.parameters == run.artifact.parameters
    assert "rng-state" in {tensor.role for tensor in exported.tensors}

    sharded = open_bundle(str(folder / "sharded")).listing()
    assert sharded.artifact.shards == 3
    assert any(len(tensor.storage.slices) > 1 for tensor in sharded.tensors)
    assert sharded.findings == ()

    state = read_state(folder / "run/checkpoint")
    assert state.all_paths == (str(folder / "run/ckpt-1"), str(folder / "run/ckpt-2"))
    assert len(state.timestamps) == 2


@needs_hostile
def test_hostile_bundles_give_findings_within_a_second(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "make_bundles.py", str(tmp_path)], cwd=HOSTILE, check=True, capture_output=True)
    clean = []
    indexes = sorted(tmp_path.glob("*.index"))
    assert len(indexes) >= 34
    for index in indexes:
        start = time.thread_time()
        bundle = open_bundle(str(index)[: -len(".index")])
        found = bundle.listing()
        for tensor in found.tensors:
            try:
                bundle.array(tensor)
            except Damaged:
                assert found.findings, index.name
        assert time.thread_time() - start < 1, index.name
        if not found.findings:
            clean.append(index.stem)
    print(f"\n{len(indexes)} hostile bundles, clean: {clean}")
    assert clean == ["endian", "good"]
