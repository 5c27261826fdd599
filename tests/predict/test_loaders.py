"""Every loader, and weights into every kind of architecture: equal to plain TensorFlow, bit for bit."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui.core.model import PredictReport
from ckptui.errors import CkptuiError, ModelDoesNotLoad, UsageError
from ckptui.predict.answers import Feed
from ckptui.predict.borrow import borrowed_architecture, meta_beside
from ckptui.predict.client import Worker
from ckptui.predict.config_file import config_listing, is_config
from ckptui.predict.loading import Loaded, Order, named_inputs
from ckptui.predict.predictor import Predictor
from ckptui.predict.preprocessing import choose
from ckptui.predict.reporting import switch_notes
from ckptui.predict.wish import Wish
from ckptui.session import Session
from tests import warm_tensorflow
from tests.places import CORPUS, ESTIMATOR, SAMPLES, SHARED, needs_corpus, needs_estimator, needs_samples

pytestmark = needs_samples
CHILD = Path(__file__).with_name("direct_loaders.py")
Arrays = dict[str, np.ndarray[Any, Any]]


def images(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(7).random(shape, np.float32)


class Lab:
    """Models, what TensorFlow answers with them, and a worker to ask."""

    def __init__(self, folder: Path, worker: Worker) -> None:
        self.folder = folder
        self.session, self.worker = Session(cache=False), worker
        self.direct = np.load(folder / "direct.npz")

    def load(self, path: Path | str, architecture: Path | str | None = None, **options: Any) -> Loaded:
        """A model of the folder, or at an absolute path."""
        found = self.session.resolve(str(self.folder / path))
        listing = self.session.open(found.path, found=found)
        layers = None if architecture is None else str(self.folder / architecture)
        weights = borrowed_architecture(self.session, listing, layers)
        model = Loaded(self.worker, Order(found.path, found.kind, architecture=layers, weights=weights, **options))
        model.ensure()
        return model

    def equal(self, values: np.ndarray[Any, Any], name: str) -> bool:
        """Same dtype, shape and bytes as TensorFlow's own."""
        direct = self.direct[name]
        return (
            bool((values.dtype, values.shape) == (direct.dtype, direct.shape)) and values.tobytes() == direct.tobytes()
        )


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, warm: Worker) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("models")
    shared = str(SHARED) if ESTIMATOR.is_dir() else ""
    warm_tensorflow.run([CHILD, folder, SAMPLES, shared], check=True)
    lab = Lab(folder, warm)
    yield lab
    lab.session.close()


def answers(model: Loaded, *parts: tuple[str | None, Any]) -> Arrays:
    return dict(model.call(Feed(tuple((name, np.asarray(values)) for name, values in parts)))[0][0].named)


# ------------------------------------------------------------------ checkpoints of TensorFlow 1


def test_a_checkpoint_with_its_meta_answers_like_a_restored_session(lab: Lab) -> None:
    model = lab.load(SAMPLES / "estimator" / "model.ckpt-300")
    assert model.facts["loader"] == "tf.compat.v1 graph of the .meta"
    assert model.facts["proposed"] == {"inputs": ["image"], "outputs": ["dense/add", "ArgMax"]}
    assert model.facts["connected"] == {"image": True}
    assert model.bound is not None
    assert model.bound.told == "6 of 6 bound"
    found = answers(model, (None, images(2, 16, 16, 1)))
    assert lab.equal(found["dense/add"], "estimator")
    assert lab.equal(found["ArgMax"], "estimator-class")


@needs_estimator
def test_a_graph_that_reads_from_an_iterator_is_fed_there(lab: Lab) -> None:
    model = lab.load(ESTIMATOR / "model.ckpt-30")
    assert [end["name"] for end in model.facts["inputs"]] == ["IteratorGetNext"]
    assert model.facts["outputs"][0] == "Softmax"
    assert lab.equal(answers(model, (None, images(2, 12, 12, 1)))["Softmax"], "iterator")


def test_switches_take_the_value_for_inference_and_keep_defaults_and_that_is_said(lab: Lab) -> None:
    model = lab.load("run/model.ckpt-20")
    said = {switch["name"]: (switch["value"], switch["why"]) for switch in model.facts["switches"]}
    assert said == {
        "is_training": (False, "inference"),
        "keep_prob": (1.0, "nothing is dropped"),
        "scale": (2.0, "the graph's default"),
    }
    assert model.facts["proposed"] == {"inputs": ["features"], "outputs": ["answer", "logits"]}
    found = answers(model, (None, images(3, 6)))
    assert lab.equal(found["answer"], "run")
    assert lab.equal(found["logits"], "run-logits")
    scaled = answers(model, (None, images(3, 6)), ("scale", np.float32(3)))
    assert lab.equal(scaled["answer"], "run-scaled")
    assert not lab.equal(scaled["answer"], "run")


def test_the_graph_of_another_save_of_the_run_serves_and_other_runs_do_not(lab: Lab) -> None:
    model = lab.load("run/model.ckpt-30")
    assert model.order.meta == str(lab.folder / "run" / "model.ckpt-20.meta")
    assert lab.equal(answers(model, (None, images(3, 6)))["answer"], "run")
    assert meta_beside(str(lab.folder / "run" / "other.ckpt-30")) is None
    assert meta_beside(str(lab.folder / "nowhere" / "model.ckpt-30")) is None


def test_inputs_and_outputs_are_chosen_by_name(lab: Lab) -> None:
    model = lab.load("run/model.ckpt-20", output="logits:0", inputs=("features", "keep_prob"))
    assert [end["name"] for end in model.facts["inputs"]] == ["features", "keep_prob"]
    found = answers(model, ("features", images(3, 6)), ("keep_prob", np.float32(1)))
    assert lab.equal(found["logits:0"], "run-logits")
    inner = lab.load("run/model.ckpt-20", inputs=("Relu",))
    assert inner.bound is not None
    assert inner.bound.told == "2 of 2 bound"
    assert answers(inner, (None, images(2, 5)))["answer"].shape == (2, 4)


def test_naming_the_image_asks_for_no_labels(lab: Lab) -> None:
    save = SAMPLES / "estimator" / "model.ckpt-300"
    pixels = np.random.default_rng(3).random((1, 16, 16, 1)).astype(np.float32)
    found = {}
    for inputs in ((), ("image",)):
        model = lab.load(save, inputs=inputs)
        assert [end["name"] for end in model.facts["inputs"]] == ["image"]
        assert model.facts["outputs"] == ["dense/add", "ArgMax"]
        found[inputs] = answers(model, ("image", pixels))
    assert np.array_equal(found[()]["dense/add"], found["image",]["dense/add"])
    loss = lab.load(save, inputs=("image",), output="Mean")
    assert [end["name"] for end in loss.facts["inputs"]] == ["image", "label"]
    assert "label" not in lab.load(save, inputs=("image",), output="dense/add").facts["connected"]


def test_what_has_to_be_fed_and_is_not_and_what_there_is_not_are_told(lab: Lab) -> None:
    model = lab.load("run/model.ckpt-20", output="sparse_softmax_cross_entropy_loss/value")
    with pytest.raises(UsageError, match="nothing is fed to labels") as caught:
        answers(model, ("features", images(3, 6)))
    assert caught.value.hint.endswith("--input labels=FILE")
    for options in ({"output": "nope"}, {"inputs": ("nope",)}):
        with pytest.raises(UsageError, match="nothing in the graph is called nope") as caught:
            lab.load("run/model.ckpt-20", **options)
        assert "features" in caught.value.hint
        assert "answer" in caught.value.hint
    with pytest.raises(UsageError, match="nothing in the graph is called label;drop"):
        answers(lab.load("run/model.ckpt-20"), ("label;drop", images(1)))


def test_a_damaged_checkpoint_binds_in_part_and_names_the_rest(lab: Lab, tmp_path: Path) -> None:
    for file in (SAMPLES / "estimator").glob("model.ckpt-300.*"):
        shutil.copy(file, tmp_path)
    data = tmp_path / "model.ckpt-300.data-00000-of-00001"
    found = lab.session.open(str(tmp_path / "model.ckpt-300"))
    segment = next(t.storage.segment for t in found.tensors if t.name == "dense/bias")
    assert segment is not None
    flipped = bytearray(data.read_bytes())
    flipped[segment.offset] ^= 1
    data.write_bytes(flipped)
    model = lab.load(tmp_path / "model.ckpt-300")
    assert model.bound is not None
    assert model.bound.told == "5 of 6 bound; not bound: dense/bias"
    assert model.bound.rest == "is zero"
    assert "checksum" in model.bound.refused[0]
    data.write_bytes(data.read_bytes()[: segment.offset])
    cut = lab.load(tmp_path / "model.ckpt-300")
    assert cut.bound is not None
    assert "dense/bias" in cut.bound.missing
    assert any(line.startswith("dense/bias: ") for line in cut.bound.refused)
    assert np.isfinite(answers(cut, (None, images(1, 16, 16, 1)))["dense/add"]).all()


def test_a_graph_with_operations_of_another_tensorflow_is_refused_by_their_names(lab: Lab, tmp_path: Path) -> None:
    for file in (lab.folder / "run").glob("model.ckpt-20.*"):
        shutil.copy(file, tmp_path)
    shutil.copy(lab.folder / "foreign.meta", tmp_path / "model.ckpt-20.meta")
    with pytest.raises(
        ModelDoesNotLoad, match="operations this TensorFlow lacks: SoftmaxOfAnotherTensorFlow"
    ) as caught:
        lab.load(tmp_path / "model.ckpt-20")
    assert "--tf-python" in caught.value.hint
    (tmp_path / "model.ckpt-20.meta").write_bytes(b"no graph at all")
    with pytest.raises(ModelDoesNotLoad, match="holds no meta graph"):
        lab.load(tmp_path / "model.ckpt-20")


@needs_corpus
@pytest.mark.parametrize(
    ("path", "output", "answer"),
    [
        ("serving/bad_half_plus_two/00000123/export", "Add", [2.5, 3.0, 3.5]),
        ("tf2onnx-models/regression/checkpoint/model", "pred", [1.2634871, 1.4774489, 1.6914108]),
    ],
)
def test_checkpoints_of_both_formats_found_in_the_wild(lab: Lab, path: str, output: str, answer: list[float]) -> None:
    model = lab.load(CORPUS / path)
    assert answers(model, (None, np.array([1, 2, 3], np.float32)))[output] == pytest.approx(answer)


@needs_corpus
@pytest.mark.parametrize("path", ["tf-v1ckpt-sessionbundle/00000123/export", "tf-v2ckpt-sessionbundle/00000123/export"])
def test_graphs_that_take_examples_say_what_is_in_them(lab: Lab, path: str) -> None:
    model = lab.load(CORPUS / path)
    spec = {"key": "x", "dtype": "float32", "shape": [1], "kind": "dense", "required": True}
    assert model.facts["parsing"] == {"tf_example": [spec]}


# ------------------------------------------------------------------ signatures


def test_a_signature_with_several_inputs_takes_each_by_its_name_scalars_too(lab: Lab) -> None:
    model = lab.load("signatures", signature="several")
    assert {end["name"]: end["shape"] for end in model.facts["inputs"]} == {"factor": [], "left": [None, 4]}
    for factor in (np.array([3.0]), np.float32(3)):
        found = answers(model, ("left", images(2, 4)), ("factor", factor))
        assert lab.equal(found["scaled"], "several-scaled")
        assert lab.equal(found["most"], "several-most")
    with pytest.raises(UsageError, match="nothing is fed to left"):
        answers(model, ("factor", np.float32(3)))
    with pytest.raises(UsageError, match="no input is called nope"):
        answers(model, ("nope", np.float32(3)))
    as_text = lab.load("as_text")
    assert lab.equal(answers(as_text, ("left", images(2, 4)), ("factor", np.float32(3)))["scaled"], "several-scaled")


def test_signatures_without_a_default_are_named(lab: Lab) -> None:
    with pytest.raises(UsageError, match="deaf, decoded, parsed, several, shout"):
        lab.load("signatures")


def test_an_input_of_which_only_the_shape_is_looked_at_reaches_no_output(lab: Lab) -> None:
    assert lab.load("signatures", signature="deaf").facts["connected"] == {"used": True, "unused": False}
    assert lab.load("signatures", signature="several").facts["connected"] == {"left": True, "factor": True}


def test_an_input_that_reaches_no_output_is_filled_where_nothing_is_given_for_it(lab: Lab) -> None:
    model = lab.load("signatures", signature="deaf")
    assert model.facts["idle"] == ["unused"]
    used = images(2, 4)
    whole = answers(model, ("used", used), ("unused", images(2, 4)))
    for feed in (("used", used), (None, used)):
        found = answers(model, feed)
        assert {name: value.tobytes() for name, value in found.items()} == {n: v.tobytes() for n, v in whole.items()}
    assert switch_notes(model.facts) == ("the input unused reaches no output: zeros, where nothing is given for it",)
    with pytest.raises(UsageError, match="nothing is fed to used"):
        answers(model, ("unused", used))
    assert lab.load("signatures", signature="several").facts["idle"] == []


def test_strings_go_in_and_come_out_as_bytes(lab: Lab) -> None:
    model = lab.load("signatures", signature="shout")
    found = answers(model, (None, np.array([b"ab", b"c\xff"], object)))
    assert found["loud"].tolist() == [b"AB", b"C\xff"]
    assert found["length"].tolist() == [2, 2]
    with pytest.raises(UsageError, match="words takes strings"):
        answers(model, (None, images(2)))


def test_what_a_string_input_is_decoded_or_parsed_as_is_told(lab: Lab) -> None:
    model = lab.load("signatures", signature="decoded")
    assert (model.facts["encoded"], model.facts["parsing"]) == ({"files": 3}, {})
    png = np.array([(lab.folder / "grey.png").read_bytes()], object)
    assert lab.equal(answers(model, (None, png))["mean"], "decoded")
    parsed = lab.load("signatures", signature="parsed").facts
    assert parsed["encoded"] == {}
    kinds = {spec["key"]: (spec["kind"], spec["dtype"], spec["required"]) for spec in parsed["parsing"]["examples"]}
    assert kinds == {
        "d": ("dense", "int64", False),
        "x": ("dense", "float32", True),
        "v": ("sparse", "string", False),
        "r": ("ragged", "float32", False),
    }


@needs_corpus
@pytest.mark.parametrize(
    ("path", "signature", "keys"),
    [
        ("tfx-keras", None, ["body_mass_g", "culmen_depth_mm", "culmen_length_mm", "flipper_length_mm"]),
        ("tf-v2-savedmodel-sharded-201610", None, ["x"]),
        ("serving/saved_model_half_plus_two_cpu/00000123", "regress_x_to_y", ["x"]),
    ],
)
def test_features_of_served_models(lab: Lab, path: str, signature: str | None, keys: list[str]) -> None:
    facts = lab.load(CORPUS / path, signature=signature).facts
    assert [[spec["key"] for spec in specs if spec["required"]] for specs in facts["parsing"].values()] == [keys]


@needs_corpus
def test_an_export_the_new_loader_refuses_is_run_in_a_session(lab: Lab) -> None:
    model = lab.load(CORPUS / "serving" / "saved_model_half_plus_three" / "00000123")
    assert model.facts["loader"] == "tf.compat.v1.saved_model.load"
    assert [line.split(":")[0] for line in model.facts["others"]] == ["tf.saved_model.load"]
    found = answers(model, (None, np.array([[1], [2]], np.float32)))
    assert found["y"].tolist() == [[3.5], [4.0]]


def test_an_output_that_fails_by_itself_is_told_and_the_others_answer(lab: Lab) -> None:
    model = lab.load("looked/model.ckpt-1")
    found = answers(model, (None, images(1, 6)))
    assert found["answer"].sum() == pytest.approx(1)
    assert "label" not in found
    told = next(note for note in switch_notes(model.facts) if note.startswith("the output label gave no answer"))
    assert "words.txt" in told
    asked = lab.load("looked/model.ckpt-1", output="label")
    assert {"answer", "label"} <= set(asked.facts["outputs"])
    for _ in range(2):
        with pytest.raises(UsageError, match=r"words\.txt"):
            answers(asked, (None, images(1, 6)))


# ------------------------------------------------------------------ Keras


@pytest.mark.parametrize("name", ["two.keras", "two.h5"])
def test_a_keras_model_takes_each_input_by_name_and_gives_every_output(lab: Lab, name: str) -> None:
    model = lab.load(name)
    feed = Feed((("right", np.array([[0, 1, 4], [3, 2, 1]])), ("left", images(2, 4))))
    named = model.call(feed)[0][0].named
    assert [lab.equal(values, f"two-{place}") for place, (_, values) in enumerate(named)] == [True, True]


def test_tf_keras_is_asked_when_keras_refuses_and_what_keras_said_is_kept(lab: Lab) -> None:
    model = lab.load("old.h5")
    assert model.facts["loader"].startswith("tf_keras ")
    assert [line.split(":")[0] for line in model.facts["others"]] == ["keras"]
    assert lab.equal(next(iter(answers(model, (None, images(1, 8, 8, 2))).values())), "old")


@pytest.mark.parametrize(("name", "how"), [("relu", "0..1"), ("scaled", "0..255"), ("caffe", "0..255")])
def test_functions_that_keras_2_wrapped_tell_what_pixels_they_take(lab: Lab, name: str, how: str) -> None:
    assert choose("auto", lab.load(f"old-{name}.h5").facts["first"], "float32")[0] == how


def test_state_that_calls_hand_on_is_put_back_before_each_call(lab: Lab) -> None:
    model = lab.load("stateful.keras")
    feed = Feed.of(images(1, 7, 5))
    apart, _ = model.call(feed, 3)
    assert not apart[0].same_bits(apart[1])
    held, names = model.held(feed, 3)
    assert names == ("lstm/rnn_state",)
    assert all(held[0].same_bits(answer) for answer in held)
    assert not held[0].same_bits(apart[2])


def test_what_carries_a_state_is_loaded_anew_for_the_next_prediction(
    lab: Lab, predictor: Predictor, two_processes: None, tmp_path: Path
) -> None:
    np.save(tmp_path / "sequence.npy", images(1, 7, 5))
    found = lab.session.open(str(lab.folder / "stateful"))
    wish = Wish(input=(str(tmp_path / "sequence.npy"),))
    told = [list(predictor.predict(found, (), wish=wish))[-1] for _ in range(2)]
    firsts = []
    for report in told:
        assert isinstance(report, PredictReport)
        [finding] = report.findings
        assert finding.code == "nondeterministic"
        assert [state.split("/")[-1].split(":")[0] for state in finding.evidence["carried_state"]] == ["rnn_state"]
        runs = {run.name: run for run in report.images[0].runs}
        assert runs["repeat"].identical is False
        firsts.append(runs["original"].output)
    assert firsts[0] == firsts[1]


def test_states_that_layers_hand_on_are_no_weights_left_at_zero(lab: Lab) -> None:
    listing = lab.session.open(str(lab.folder / "stateful"))
    states = [tensor for tensor in listing.tensors if tensor.object_path.endswith("rnn_state")]
    assert [tensor.role for tensor in states] == ["other", "other"]


def test_no_loader_runs_a_lambda_of_a_file(lab: Lab) -> None:
    with pytest.raises(ModelDoesNotLoad, match=r"keras: .*Lambda.*tf_keras: .*Lambda") as caught:
        lab.load("lambda.h5")
    assert "keras: it holds a Lambda layer with code; Keras' safe mode stays on: ckptui does not run it" in str(caught)
    assert not any(word in str(caught.value) for word in ("safe_mode", "enable_unsafe", "override", "TensorFlow"))


@needs_corpus
@pytest.mark.parametrize(
    ("path", "loader"), [("mlperf-tiny/str_ww_ref_model.h5", "tf_keras"), ("magika-v1/model.h5", "")]
)
def test_old_files_found_in_the_wild_load(lab: Lab, path: str, loader: str) -> None:
    model = lab.load(CORPUS / path)
    print(path, model.facts["loader"], model.facts["others"])
    assert model.facts["loader"].startswith(loader)


# ------------------------------------------------------------------ weights into an architecture


@pytest.mark.parametrize("architecture", ["ten.keras", "ten.json", "ten_export"])
@pytest.mark.parametrize("weights", ["ten.weights.h5", "ten.weights.json", "four.weights.h5", "four-ckpt"])
def test_weights_of_any_kind_go_into_any_architecture(lab: Lab, weights: str, architecture: str) -> None:
    model = lab.load(weights, architecture)
    assert model.bound is not None
    if weights.startswith("ten"):
        assert model.bound.told == "8 of 8 bound"
        assert lab.equal(next(iter(answers(model, (None, images(2, 8, 8, 1))).values())), "ten")
        return
    assert model.bound.told == "6 of 8 bound; not bound: head/kernel, head/bias"
    assert [line.split(":")[0] for line in model.bound.refused] == ["head/kernel", "head/bias"]
    refused = [line for line in model.facts["others"] if line.startswith("load_weights: ")]
    assert len(refused) == (weights == "four.weights.h5" and architecture != "ten_export")


@pytest.mark.parametrize(
    "weights", ["digits/ckpt-5", "digits.keras", "digits.h5", "digits.weights.h5", "digits_saved_model"]
)
def test_every_form_of_a_model_fills_its_export(lab: Lab, weights: str) -> None:
    model = lab.load(SAMPLES / weights, SAMPLES / "digits_saved_model")
    assert model.bound is not None
    assert (model.bound.told, model.bound.refused) == ("10 of 10 bound", ())


@needs_corpus
def test_a_checkpoint_without_a_graph_fills_a_keras_model(lab: Lab) -> None:
    model = lab.load(CORPUS / "sugyan-mnist" / "regression.ckpt", "dense.json")
    assert model.bound is not None
    assert model.bound.told == "2 of 2 bound"
    listing = lab.session.open(str(CORPUS / "sugyan-mnist" / "regression.ckpt"))
    kernel, bias = (lab.session.array(listing, t.name) for t in sorted(listing.tensors, key=lambda t: -t.count))
    logits = images(2, 784).astype(np.float64) @ kernel + bias
    expected = np.exp(logits - logits.max(1, keepdims=True))
    expected /= expected.sum(1, keepdims=True)
    found = next(iter(answers(model, (None, images(2, 784))).values()))
    assert np.abs(found - expected).max() < 1e-5


def test_another_model_is_told_from_a_part_of_the_same(lab: Lab) -> None:
    with pytest.raises(ModelDoesNotLoad, match="is another model than the checkpoint's"):
        lab.load(SAMPLES / "estimator" / "model.ckpt-300", SAMPLES / "digits.keras")


def test_a_config_is_looked_at_before_it_lends_its_layers(lab: Lab, tmp_path: Path) -> None:
    assert is_config(str(lab.folder / "ten.json"))
    assert not is_config(str(lab.folder / "ten.keras"))
    assert not is_config(str(lab.folder))
    listing = config_listing(str(lab.folder / "ten.json"))
    assert [row.name for row in listing.architecture][1:3] == ["conv", "norm"]
    assert listing.findings == ()
    risky = tmp_path / "risky.json"
    text = (lab.folder / "ten.json").read_text().replace('"class_name": "Conv2D"', '"class_name": "Lambda"')
    risky.write_text(text)
    assert {finding.code for finding in config_listing(str(risky)).findings} == {"unsafe-layer"}
    for text in ("{}", '{"a": [' * 50_000, '{"class_name": 1}', "{" + "\0" * 100):
        risky.write_text(text)
        with pytest.raises(CkptuiError):
            config_listing(str(risky))


def test_names_of_inputs_are_what_stands_before_a_file(tmp_path: Path) -> None:
    odd = tmp_path / "a=b.npy"
    odd.write_bytes(b"")
    assert named_inputs(Wish(input=("x=one.npy", "two.npy", str(odd), "y:0=a=b.npy"))) == ("x", "y:0")
