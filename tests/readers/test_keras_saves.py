"""What the installed Keras saves, held against what it says of its own models."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui.core.model import Listing
from ckptui.readers.keras_archive import open_archive
from ckptui.readers.keras_h5 import open_h5
from tests import warm_tensorflow

pytestmark = pytest.mark.tensorflow

SAVER = Path(__file__).with_name("keras_saves.py")
MODELS = ("vision", "text", "nested", "plain", "half", "quantised", "scaled")
QUANTISED = ("quantised",)
KINDS = (".keras", ".h5", ".weights.h5")


@pytest.fixture(scope="module")
def saves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keras_saves")
    if find_spec("keras") is None:
        pytest.skip("Keras is not installed")
    done = warm_tensorflow.run([SAVER, folder], timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def facts(saves: Path, name: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((saves / "facts.json").read_text())["models"][name]
    return told


def read(path: Path) -> tuple[Listing, dict[str, np.ndarray]]:
    """The listing, and the values of the model's own weights by object path."""
    with open_archive(path) if path.suffix == ".keras" else open_h5(path) as opened:
        listing = opened.listing()
        weights = [t for t in listing.tensors if t.role not in ("slot", "counter", "rng-state")]
        return listing, {t.object_path or t.name: opened.array(t) for t in weights}


def flat(layers: list[dict[str, Any]], depth: int = 0) -> list[tuple[int, dict[str, Any]]]:
    found = []
    for one in layers:
        found.append((depth, one))
        found += flat(one["layers"], depth + 1)
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MODELS)
def test_all_weights_are_found_and_nothing_is_reported(saves: Path, name: str, kind: str) -> None:
    told = facts(saves, name)
    listing, values = read(saves / f"{name}{kind}")
    assert not listing.findings
    assert sorted(round(float(np.asarray(v, "f4").sum(dtype="f8")), 4) for v in values.values()) == sorted(
        round(total, 4) for total in told["sums"].values()
    )
    assert listing.artifact.parameters == told["parameters"] or name in QUANTISED


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [name for name in MODELS if name not in QUANTISED])
def test_object_paths_end_as_kerass_own_variable_paths(saves: Path, name: str, kind: str) -> None:
    told = facts(saves, name)
    listing, values = read(saves / f"{name}{kind}")
    known = {t.object_path for t in listing.tensors if t.object_path}
    for path, total in told["sums"].items():
        ours = [one for one in known if path == one or path.endswith("/" + one)]
        if not ours and kind == ".weights.h5":
            continue  # without a config some layers' variables have no name
        assert len(ours) == 1, (path, known)
        assert float(np.asarray(values[ours[0]], "f4").sum(dtype="f8")) == pytest.approx(total, abs=1e-4)


@pytest.mark.parametrize("kind", [".keras", ".h5"])
@pytest.mark.parametrize("name", MODELS)
def test_output_shapes_and_parameters_are_those_of_the_summary(saves: Path, name: str, kind: str) -> None:
    listing, _ = read(saves / f"{name}{kind}")
    rows = {(row.depth, row.name): row for row in listing.architecture}
    for depth, one in flat(facts(saves, name)["layers"]):
        row = rows[(depth, one["name"])]
        if one["shape"] is not None:
            assert row.output_shape == tuple(one["shape"]), one["name"]
        if name not in QUANTISED:
            assert row.parameters == one["parameters"], one["name"]
    top = sum(row.parameters for row in listing.architecture if row.depth == 0)
    assert top == listing.artifact.parameters


def test_initializers_come_from_the_config(saves: Path) -> None:
    for kind in (".keras", ".h5"):
        listing, _ = read(saves / f"vision{kind}")
        told = {t.object_path: t.initializer for t in listing.tensors}
        assert (told["conv2d/kernel"] or {})["class_name"] == "GlorotUniform"
        assert (told["batch_normalization/gamma"] or {})["class_name"] == "Ones"
        assert told["adam/conv2d_kernel_momentum" if kind == ".h5" else "adam/2"] is None


def test_bfloat16_layers_keep_their_dtype(saves: Path) -> None:
    for kind in KINDS:
        listing, values = read(saves / f"half{kind}")
        assert {t.dtype for t in listing.tensors} == {"bfloat16"}
        assert [float(v) for v in next(v for p, v in values.items() if "bias" in p)] == [0.5, -1.25, 3]


def test_nested_optimizers_are_no_weights(saves: Path) -> None:
    listing, _ = read(saves / "scaled.keras")
    assert listing.artifact.parameters == 15
    assert {t.role for t in listing.tensors} == {"kernel", "bias", "slot", "counter"}


def test_subclassed_models_list_their_layers_by_name(saves: Path) -> None:
    listing, _ = read(saves / "subclassed.keras")
    assert {t.role for t in listing.tensors} == {"kernel", "bias"}
    assert "deep" in {t.layer for t in listing.tensors}
    assert [f.evidence["rule"] for f in listing.findings] == ["custom-class"]


def test_models_saved_before_they_were_built_raise_no_alarm(saves: Path) -> None:
    listing, _ = read(saves / "unbuilt.keras")
    assert not listing.findings
    assert len(listing.architecture) == 2
