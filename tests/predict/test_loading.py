"""Every kind of save loaded by the real TensorFlow, filled and called: bit for bit what a plain call answers."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui.core.model import Listing, Tensor
from ckptui.errors import Damaged, ModelDoesNotLoad, UsageError, WorkerFailed
from ckptui.predict.answers import Feed
from ckptui.predict.borrow import Borrowed, borrowed_architecture
from ckptui.predict.client import Worker
from ckptui.predict.loading import Loaded, Order
from tests.places import CORPUS, SAMPLES, needs_corpus, needs_samples
from tests.predict.asking import TWO, listing

pytestmark = [pytest.mark.tensorflow, needs_samples]


def loaded(worker: Worker, path: Path, kind: str, **options: Any) -> Loaded:
    model = Loaded(worker, Order(str(path), kind, **options))
    model.ensure()
    return model


def batch() -> np.ndarray[Any, Any]:
    from PIL import Image

    with Image.open(TWO) as image:
        pixels = np.array(image, np.float32)
    pixels /= np.float32(255)
    return pixels[None, :, :, None]


@pytest.mark.parametrize(
    ("name", "kind", "wanted", "options"),
    [
        ("digits.h5", "keras-h5", "h5", {}),
        ("digits_saved_model", "saved-model", "saved", {}),
        ("digits_saved_model", "saved-model", "saved", {"signature": "serve"}),
        ("digits.weights.h5", "keras-weights", "keras", {"architecture": str(SAMPLES / "digits.h5")}),
    ],
)
def test_every_format_answers_like_a_plain_call(
    worker: Worker, direct: Any, name: str, kind: str, wanted: str, options: dict[str, Any]
) -> None:
    outputs, _ = loaded(worker, SAMPLES / name, kind, **options).call(Feed.of(batch()))
    assert outputs[0].main.tobytes() == direct[wanted].tobytes()


def test_a_model_is_loaded_by_content_whatever_its_suffix(worker: Worker, direct: Any, tmp_path: Path) -> None:
    for name, kind, odd in (("digits.h5", "keras-h5", "h5.keras"), ("digits.keras", "keras-archive", "zip.h5")):
        (tmp_path / odd).write_bytes((SAMPLES / name).read_bytes())
        outputs, _ = loaded(worker, tmp_path / odd, kind).call(Feed.of(batch()))
        assert outputs[0].main.tobytes() == direct["h5" if kind == "keras-h5" else "keras"].tobytes()


def test_a_model_whose_file_changed_is_loaded_again_and_one_that_did_not_is_not(worker: Worker, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes((SAMPLES / "digits.keras").read_bytes())
    model = loaded(worker, path, "keras-archive")
    before = model.facts
    model.ensure()
    assert model.facts is before
    path.write_bytes((SAMPLES / "suspicious" / "ignores_input.keras").read_bytes())
    model.ensure()
    assert model.facts is not before
    assert loaded(worker, SAMPLES / "digits.keras", "keras-archive").facts["weights"] == 10
    with pytest.raises(WorkerFailed, match="another model"):
        model.call(Feed.of(batch()))


def borrowed(direct: Any, leave_out: str = "") -> Borrowed:
    names = [name for name in direct.files if name.startswith("weight:") and name != f"weight:{leave_out}"]
    pairs = tuple((name.removeprefix("weight:"), name) for name in names)
    return Borrowed(str(SAMPLES / "digits.keras"), pairs, lambda name: direct[name])


def reading(weights: Borrowed) -> Callable[[str], np.ndarray[Any, Any]]:
    """Reads like `weights`, but one tensor is damaged."""

    def fetch(name: str) -> np.ndarray[Any, Any]:
        if name == "cut off":
            raise Damaged("cut off")
        return weights.fetch(name)

    return fetch


def test_a_checkpoint_borrows_a_siblings_layers_and_answers_like_a_restore(worker: Worker, direct: Any) -> None:
    prefix, architecture = SAMPLES / "digits" / "ckpt-1", str(SAMPLES / "digits.keras")
    options = {"architecture": architecture, "weights": borrowed(direct)}
    model = loaded(worker, prefix, "tf-checkpoint", **options)
    assert model.bound is not None
    assert model.bound.words == "10 of 10 weights bound"
    assert model.call(Feed.of(batch()))[0][0].main.tobytes() == direct["checkpoint"].tobytes()


def test_weights_a_checkpoint_lacks_and_values_without_a_place_are_named(worker: Worker, direct: Any) -> None:
    weights = borrowed(direct, leave_out="conv2/kernel")
    wrong = (("nowhere/kernel", "weight:dense/bias"), ("conv2/kernel", "weight:dense/bias"))
    partial = Borrowed(weights.architecture, weights.names + wrong, weights.fetch)
    options = {"architecture": weights.architecture, "weights": partial}
    bound = loaded(worker, SAMPLES / "digits" / "ckpt-1", "tf-checkpoint", **options).bound
    assert bound is not None
    assert (bound.bound, bound.total, bound.missing) == (9, 10, ("conv2/kernel",))
    assert "no weight of that name" in bound.refused[0]
    assert "shape [10], the model's is [3, 3, 32, 24]" in bound.refused[1]
    broken = Borrowed(weights.architecture, (*weights.names, ("conv2/kernel", "cut off")), reading(weights))
    again = loaded(worker, SAMPLES / "digits" / "ckpt-1", "tf-checkpoint", **{**options, "weights": broken}).bound
    assert again is not None
    assert again.refused == ("conv2/kernel: Damaged: cut off",)
    strangers = Borrowed(weights.architecture, wrong[:1], weights.fetch)
    with pytest.raises(ModelDoesNotLoad, match=r"only 0 of 10 weights bound: .*another model"):
        loaded(
            worker,
            SAMPLES / "digits" / "ckpt-1",
            "tf-checkpoint",
            architecture=weights.architecture,
            weights=strangers,
        )


def test_a_batch_of_the_wrong_shape_is_refused_in_words(worker: Worker) -> None:
    model = loaded(worker, SAMPLES / "digits.keras", "keras-archive")
    with pytest.raises(UsageError, match="the model refuses the image"):
        model.call(Feed.of(np.zeros((1, 3, 3, 7), np.float32)))
    assert model.call(Feed.of(batch()))[0][0].main.shape == (1, 10)


def test_an_unknown_signature_or_output_is_told_with_those_there_are(worker: Worker) -> None:
    with pytest.raises(UsageError, match=r"called train\. There are: serve, serving_default"):
        loaded(worker, SAMPLES / "digits_saved_model", "saved-model", signature="train")
    with pytest.raises(UsageError, match="no output is called logits"):
        loaded(worker, SAMPLES / "digits_saved_model", "saved-model", output="logits").call(Feed.of(batch()))


@needs_corpus
def test_an_export_of_another_keras_is_loaded_in_a_session_or_with_its_own_keras_there(worker: Worker) -> None:
    model = loaded(worker, CORPUS / "mlperf-kws-savedmodel", "saved-model")
    if importlib.util.find_spec("tf_keras") is None:
        assert model.facts["loader"] == "tf.compat.v1.saved_model.load"
        assert "add_slot" in model.facts["others"][0]
    else:
        assert (model.facts["loader"], model.facts["others"]) == ("tf.saved_model.load", [])
    output = model.call(Feed.of(np.zeros((1, 49, 10, 1), np.float32)))[0][0].main
    assert output.ravel()[:3].tolist() == pytest.approx([0.02484, 0.02942, 0.01517], abs=1e-5)


def test_a_warm_prediction_costs_little_more_than_the_plain_call(worker: Worker, direct: Any) -> None:
    model = loaded(worker, SAMPLES / "digits.keras", "keras-archive")
    x = Feed.of(batch())
    model.call(x)
    spent = []
    for _ in range(20):
        begin = time.perf_counter()
        model.call(x)
        spent.append(time.perf_counter() - begin)
    assert sorted(spent)[len(spent) // 2] < 3 * float(direct["seconds"]) + 0.05


class Reader:
    """Stands for the session: gives arrays by name."""

    def array(self, listing: Listing, name: str, limit: int = 0) -> np.ndarray[Any, Any]:
        return np.full(2, len(name))


def test_only_weights_are_borrowed_and_bound_under_their_own_names() -> None:
    suffix = "/.ATTRIBUTES/VARIABLE_VALUE"
    tensors = (
        Tensor("a" + suffix, "float32", (2,), 8, role="kernel", object_path="conv1/kernel"),
        Tensor("conv1/bias", "float32", (2,), 8, role="bias"),
        Tensor("step" + suffix, "int64", (), 8, role="step"),
        Tensor("m" + suffix, "float32", (2,), 8, role="slot", object_path="adam/conv1_kernel_momentum"),
        Tensor("_CHECKPOINTABLE_OBJECT_GRAPH", "string", (), 99, role="object-graph"),
        Tensor("hurt", "float32", (2,), 8, role="kernel", problem="cut off"),
        Tensor("words", "string", (2,), 8),
    )
    save = Listing(listing("ckpt-1", "tf-checkpoint").artifact, tensors)
    weights = borrowed_architecture(Reader(), save, "m.keras")
    assert weights is not None
    assert weights.names == (("conv1/kernel", "a" + suffix), ("conv1/bias", "conv1/bias"))
    assert weights.fetch("conv1/bias").tolist() == [10, 10]
    assert borrowed_architecture(Reader(), save, None) is None
    assert borrowed_architecture(Reader(), listing("m.h5", "keras-h5"), None) is None
