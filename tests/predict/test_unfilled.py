"""SavedModels whose variables TensorFlow can't read: values by ckptui's own reading, what is damaged is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui.errors import ModelDoesNotLoad
from ckptui.predict.answers import Feed
from ckptui.predict.borrow import borrowed_architecture
from ckptui.predict.client import Worker
from ckptui.predict.examples import example
from ckptui.predict.loading import Loaded, Order
from ckptui.predict.reporting import load_findings
from ckptui.session import Session
from tests.places import CORPUS, SAMPLES, needs_corpus, needs_samples

pytestmark = [pytest.mark.tensorflow, needs_samples]
OLD = CORPUS / "tf-v1ckpt-savedmodel-2016"
EXAMPLES = ["half_plus_two_pbtxt", "half_plus_two_sharded", "saved_model_half_plus_two"]


def loaded(worker: Worker, path: Path) -> Loaded:
    session = Session(cache=False)
    try:
        listing = session.open(str(path))
        model = Loaded(worker, Order(str(path), "saved-model", weights=borrowed_architecture(session, listing, None)))
        model.ensure()
        return model
    finally:
        session.close()


def damaged(source: Path, target: Path, *names: str) -> Path:
    """A copy in which one byte of each of these tensors is another."""
    shutil.copytree(source, target)
    session = Session(cache=False)
    places = {tensor.name: tensor.storage for tensor in session.open(str(source)).tensors}
    session.close()
    data = target / "variables" / "variables.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    for name in names:
        segment = places[name].segment
        assert segment is not None
        content[segment.offset + 2] ^= 1
    data.write_bytes(content)
    return target


def answer(model: Loaded, *values: Any) -> np.ndarray[Any, Any]:
    return model.call(Feed.of(np.asarray(*values)))[0][0].main


@needs_corpus
def test_saved_models_of_2016_answer_with_variables_read_by_ckptui(worker: Worker) -> None:
    spec = [{"key": "x", "dtype": "float32", "shape": [1], "kind": "dense", "required": True}]
    for name in EXAMPLES:
        model = loaded(worker, OLD / name)
        assert model.facts["loader"] == "tf.compat.v1 graph of the SavedModel, variables read by ckptui"
        assert [line.split(":")[0] for line in model.facts["others"]] == [
            "tf.saved_model.load",
            "tf.compat.v1.saved_model.load",
        ]
        assert model.bound is not None
        assert model.bound.told == "2 of 2 bound"
        messages = np.array([example({"x": [x]}, spec, "") for x in (1.0, 4.0)], object)
        assert answer(model, messages).tolist() == [[2.5], [4.0]]
        assert load_findings(model) == []
    plain = loaded(worker, OLD / "half_plus_two_sharded_20160927")
    assert answer(plain, np.array([1, 4], np.float32)).tolist() == [2.5, 4.0]
    print(f"{len(EXAMPLES) + 1} SavedModels with variables of the first format answer x / 2 + 2")


def test_what_a_damaged_export_still_has_is_bound_and_the_rest_is_named(
    worker: Worker, direct: Any, tmp_path: Path
) -> None:
    session = Session(cache=False)
    listing = session.open(str(SAMPLES / "digits_saved_model"))
    names = [t.name for t in listing.tensors if t.object_path == "dense/bias"]
    bias = session.array(listing, names[0]).astype(np.float64)
    session.close()
    model = loaded(worker, damaged(SAMPLES / "digits_saved_model", tmp_path / "model", *names))
    assert model.facts["loader"] == "tf.saved_model.load, variables read by ckptui"
    assert model.bound is not None
    assert model.bound.told == "9 of 10 bound; not bound: dense/bias"
    from PIL import Image

    with Image.open(SAMPLES / "images" / "2.png") as image:
        pixels = np.asarray(image.convert("L").resize((16, 16), Image.Resampling.BILINEAR), np.float32)
    found = answer(model, (pixels / 255)[None, :, :, None])
    # a softmax without its bias
    expected = direct["saved"].astype(np.float64) * np.exp(-bias)
    assert found == pytest.approx(expected / expected.sum(), rel=1e-4)
    (finding,) = load_findings(model)
    assert (finding.code, finding.severity) == ("weights-missing", "error")
    assert "the rest is zero (its own variables; " in finding.detail
    assert "checksum is wrong" in finding.detail
    assert json.dumps(finding.evidence["missing"]) == '["dense/bias"]'


def test_a_copy_that_nothing_needs_may_be_damaged(worker: Worker, direct: Any, tmp_path: Path) -> None:
    session = Session(cache=False)
    tensors = session.open(str(SAMPLES / "digits_saved_model")).tensors
    twice = [t.name for t in tensors if t.object_path == "conv1/kernel"]
    session.close()
    told = []
    for place, name in enumerate(twice):
        model = loaded(worker, damaged(SAMPLES / "digits_saved_model", tmp_path / str(place), name))
        assert model.bound is not None
        told.append(model.bound.bound)
    assert sorted(told) == [9, 10]


@needs_corpus
def test_a_session_takes_what_is_left_too_and_nothing_at_all_is_an_error(worker: Worker, tmp_path: Path) -> None:
    source = CORPUS / "serving" / "saved_model_half_plus_two_cpu" / "00000123"
    model = loaded(worker, damaged(source, tmp_path / "a", "a"))
    assert model.facts["loader"] == "tf.compat.v1 graph of the SavedModel, variables read by ckptui"
    assert model.bound is not None
    assert model.bound.missing == ("a",)
    assert answer(model, np.array([[1], [4]], np.float32)).tolist() == [[2.0], [2.0]]
    gone = tmp_path / "gone"
    shutil.copytree(source, gone)
    shutil.rmtree(gone / "variables")
    (gone / "variables").mkdir()
    with pytest.raises(ModelDoesNotLoad, match=r"not one of 2 variables can be read: tf\.saved_model\.load: "):
        loaded(worker, gone)
