"""Fresh, stepped and trained models held against the verdict on their initializer: the whole confusion table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ckptui.core.model import Layer
from ckptui.session import Session
from tests import warm_tensorflow
from tests.places import CORPUS, ROOT, needs_corpus, needs_tensorflow

KERNELS = {"InceptionV3": 95, "ResNet50": 54, "MobileNetV2": 53, "EfficientNetB0": 82}
"""Kernels a model has, its last dense one among them."""
SAVES = (
    "InceptionV3.weights.h5",
    "ResNet50.keras",
    "MobileNetV2-ckpt",
    "EfficientNetB0.keras",
    "EfficientNetB0.weights.h5",
)
TRAINED = ("fer2013-sequence", "mlperf-tiny", "mnist-cnn-keras", "face-classification", "magika-v1")
Row = dict[str, Any]


def run(*arguments: str, timeout: int = 300) -> str:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": "/nonexistent"}
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=timeout, cwd=ROOT, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def filters(path: Path) -> dict[str, Any]:
    out = run(sys.executable, "-m", "ckptui", "filters", "--json", "--fail-on", "never", str(path))
    document: dict[str, Any] = json.loads(out)
    return document


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Row]]:
    """The folder of the saves, and the verdicts from arrays."""
    folder = tmp_path_factory.mktemp("models")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": "/nonexistent"}
    out = warm_tensorflow.run(
        [Path(__file__).with_name("fresh_models.py"), folder], cwd=ROOT, env=env, check=True
    ).stdout
    return folder, [json.loads(line) for line in out.splitlines() if line.startswith("{")]


def table(rows: list[Row]) -> list[Row]:
    """Print counts of verdicts by model, and give the rows that are not at the initializer."""
    for model in KERNELS:
        for known in (True, False):
            chosen = [row for row in rows if row["model"] == model and row["known"] is known]
            counts = Counter(f"{row['verdict']} ({row['certainty']})" for row in chosen)
            said = ", ".join(f"{n} {word}" for word, n in sorted(counts.items()))
            print(f"{model}, {'config known' if known else 'by shape only'}: {said}")
    return [row for row in rows if row["verdict"] != "at-initializer"]


@pytest.mark.tensorflow
@needs_tensorflow
def test_every_kernel_of_a_fresh_model_is_confirmed_from_its_values(made: tuple[Path, list[Row]]) -> None:
    rows = [row for row in made[1] if row["kind"] == "fresh"]
    mistakes = table(rows)
    assert Counter(row["model"] for row in rows) == {model: 2 * count for model, count in KERNELS.items()}
    assert mistakes == []
    assert {row["certainty"] for row in rows} == {"confirmed"}


@pytest.mark.tensorflow
@needs_tensorflow
def test_after_one_step_no_kernel_is_at_its_initializer(made: tuple[Path, list[Row]]) -> None:
    rows = [row for row in made[1] if row["kind"] == "stepped" and row["changed"] > 0]
    mistakes = [row for row in rows if row["verdict"] == "at-initializer"]
    named = [row for row in rows if row["named"]]
    for row in named:
        print(f"named ({row['certainty']}): {row['named']} filters of {row['name']}; values moved: {row['wrong']}")
    table(rows)
    assert len(rows) > 550
    assert [row for row in named if row["wrong"] and row["certainty"] == "confirmed"] == []
    assert mistakes == []


@pytest.mark.tensorflow
@needs_tensorflow
@pytest.mark.parametrize("name", SAVES)
def test_every_kernel_of_a_fresh_model_is_confirmed_from_its_save(made: tuple[Path, list[Row]], name: str) -> None:
    said = filters(made[0] / name)
    model = name.replace("-", ".").partition(".")[0]
    counts = Counter(
        (layer["initializer"]["verdict"], layer["initializer"]["match"], layer["initializer"]["certainty"])
        for layer in said["layers"]
    )
    print(f"{name}: " + ", ".join(f"{n} {' '.join(map(str, key))}" for key, n in sorted(counts.items(), key=str)))
    mistakes = [
        (layer["tensor"], layer["initializer"])
        for layer in said["layers"]
        if (layer["initializer"]["verdict"], layer["initializer"]["certainty"]) != ("at-initializer", "confirmed")
        or layer["counts"]["untouched"] != layer["filters"]
    ]
    assert mistakes == []
    assert len(said["layers"]) == KERNELS[model]
    assert Counter(f["code"] for f in said["findings"])["at-initializer"] == KERNELS[model]


def trained() -> list[Path]:
    """Every model of those folders, one in three of the sequence."""
    found: list[Path] = []
    for folder in TRAINED:
        below = sorted((CORPUS / folder).rglob("*"))
        files = [path for path in below if path.suffix in (".hdf5", ".h5", ".keras")]
        found += files[:: 3 if "sequence" in folder else 1]
        found += [path.parent for path in below if path.name == "saved_model.pb"]
    return found


@needs_corpus
def test_no_kernel_of_a_trained_model_is_called_fresh_from_its_save() -> None:
    mistakes, kernels, saves = [], 0, 0
    verdicts: Counter[str] = Counter()
    with Session() as session:
        for path in trained():
            saves += 1
            for layer in session.layers(session.open(str(path))):
                if not isinstance(layer, Layer):
                    continue
                kernels += 1
                told = layer.initializer
                verdicts[f"{told['verdict']} ({told['certainty']})"] += 1
                fresh = told["verdict"] == "at-initializer" and told["certainty"] != "possible"
                if fresh or told["verdict"] == "partly":
                    mistakes.append((path.name, layer.tensor, layer.kernel, told))
    print(f"{kernels} kernels of {saves} trained saves: " + ", ".join(f"{n} {w}" for w, n in sorted(verdicts.items())))
    assert saves > 8
    assert kernels > 80
    assert mistakes == []
