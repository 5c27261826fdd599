"""Every model of the corpus and of the samples answers what plain TensorFlow answers, to the bit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui.errors import CkptuiError, ModelDoesNotLoad
from ckptui.predict.answers import Answer, Feed
from ckptui.predict.borrow import borrowed_architecture
from ckptui.predict.client import Worker
from ckptui.predict.image import ImageReader, form_of
from ckptui.predict.loading import Loaded, Order
from ckptui.predict.recipe import Recipe
from ckptui.session import Session
from tests import warm_tensorflow
from tests.places import CORPUS, ROOT, SAMPLES, needs_corpus, needs_samples
from tests.predict.corpus_feeds import arrays_for, takes_image

pytestmark = [pytest.mark.tensorflow, needs_corpus, needs_samples]

IMAGE = str(SAMPLES / "images" / "2.png")
DIGITS = str(SAMPLES / "digits.keras")

DO_NOT_LOAD: dict[str, str] = {}
"""Models that neither side loads, each with a word of why."""
REFUSE = {"serving/saved_model_counter/00000123 incr_counter_by"}
"""Models that load, and refuse every input on both sides."""


@dataclass(frozen=True)
class Case:
    """One model, called one way."""

    name: str
    path: str
    kind: str
    signature: str | None = None
    architecture: str | None = None
    training: bool | None = None
    """What the call says; False where a live dropout would answer otherwise each time."""


@dataclass
class Answered:
    """What a side said of one case."""

    loader: str = ""
    failed: str = ""
    said: str = ""
    others: list[str] = field(default_factory=list)
    outputs: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    """By `feed/output`."""


def hdf5_and_archives() -> list[Case]:
    """Keras files of the corpus and the samples."""
    found = []
    for folder in ("fer2013-sequence", "face-classification", "mlperf-tiny", "mnist-cnn-keras"):
        for path in sorted((CORPUS / folder).iterdir()):
            kind = "keras-archive" if path.suffix == ".keras" else "keras-h5"
            if path.suffix in (".h5", ".hdf5", ".keras"):
                found.append(Case(f"{folder}/{path.name}", str(path), kind))
    for path in [SAMPLES / "digits.keras", SAMPLES / "digits.h5", *sorted((SAMPLES / "suspicious").iterdir())]:
        kind = "keras-archive" if path.suffix == ".keras" else "keras-h5"
        found.append(Case(path.name, str(path), kind, training=False if path.name == "dropout_live.keras" else None))
    return found


def saved_models() -> list[Case]:
    """Every signature of every SavedModel."""
    places = [SAMPLES / "digits_saved_model", CORPUS / "mlperf-kws-savedmodel"]
    for folder in ("serving", "tfjs-savedmodels"):
        places += sorted(path.parent for path in (CORPUS / folder).rglob("saved_model.pb"))
    return [
        Case(f"{short(place)} {signature}".strip(), str(place), "saved-model", signature)
        for place in places
        for signature in SIGNATURES.get(short(place), ("serving_default",))
    ]


def short(place: Path) -> str:
    """Its path in the corpus, or its name."""
    return str(place.relative_to(CORPUS)) if place.is_relative_to(CORPUS) else place.name


HALF_PLUS_TWO = ("serving_default", "regress_x_to_y", "regress_x_to_y2", "classify_x_to_y")
SIGNATURES: dict[str, tuple[str, ...]] = {
    "serving/saved_model_counter/00000123": ("incr_counter_by", "get_counter"),
    "serving/saved_model_half_plus_three/00000123": ("serving_default", "tensorflow/serving/regress"),
    "serving/saved_model_half_plus_two_2_versions/00000123": HALF_PLUS_TWO,
    "tfjs-savedmodels/module_with_multiple_signatures": ("serving_default", "timestwo"),
}
"""What is called beside serving_default, for models that have more."""


CARRYING = ("keras-archive", "keras-h5", "saved-model")


def weights_alone() -> list[Case]:
    """Weights and checkpoints in an architecture, TensorFlow 1 checkpoints in their own graph."""
    found = [Case("digits.weights.h5", str(SAMPLES / "digits.weights.h5"), "keras-weights", architecture=DIGITS)]
    for step in (1, 5):
        path = str(SAMPLES / "digits" / f"ckpt-{step}")
        found.append(Case(f"digits/ckpt-{step}", path, "tf-checkpoint", architecture=DIGITS))
    for step in (100, 200, 300):
        path = str(SAMPLES / "estimator" / f"model.ckpt-{step}")
        found.append(Case(f"estimator/model.ckpt-{step}", path, "tf-checkpoint"))
    return found


def answers_of(model: Loaded, case: Case, reader: ImageReader) -> Answered:
    """What the worker says of one case: the first set of arrays it takes, and the image where it takes one."""
    found = Answered()
    try:
        model.ensure()
    except ModelDoesNotLoad as error:
        return Answered(failed="load", said=error.detail)
    ends = model.facts["inputs"]
    found.loader, found.others = model.facts["loader"], model.facts["others"]
    answers: dict[str, Answer] = {}
    for given in arrays_for(case.name, ends):
        try:
            answers["given"] = model.call(Feed(tuple(given.items())), training=case.training)[0][0]
        except CkptuiError as error:
            found.failed, found.said = "call", error.detail
            continue
        found.failed = found.said = ""
        break
    else:
        return found
    if takes_image(ends):
        form = form_of(ends)
        picture = reader.decode(IMAGE, form.size, form.channels)
        answers["image"] = model.call(Recipe(form, "0..1", "0..1").feed([picture]), training=case.training)[0][0]
    for feed, answer in answers.items():
        by_place = found.loader.startswith(("keras", "tf_keras"))
        named = [(str(place) if by_place else name, values) for place, (name, values) in enumerate(answer.named)]
        found.outputs.update({f"{feed}/{output}": values for output, values in named})
    return found


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, warm: Worker) -> Iterator[list[tuple[Case, Answered, Answered]]]:
    """Each case with what the worker and what plain TensorFlow answers; they work side by side."""
    folder = tmp_path_factory.mktemp("corpus")
    cases = [*hdf5_and_archives(), *saved_models(), *weights_alone()]
    (folder / "cases.json").write_text(json.dumps([asdict(case) for case in cases]))
    script = str(ROOT / "tests" / "predict" / "direct_corpus.py")
    noise = (folder / "stderr.txt").open("w+")
    command = [script, folder / "cases.json", IMAGE, folder / "plain.npz"]
    direct = warm_tensorflow.Running(command, noise.fileno(), noise.fileno(), noise.fileno())
    reader, session = ImageReader(), Session()
    try:
        mine = []
        for case in cases:
            weights = None
            if case.kind in ("keras-weights", "tf-checkpoint"):
                weights = borrowed_architecture(session, session.open(case.path), case.architecture)
            order = Order(case.path, case.kind, case.signature, case.architecture, weights)
            mine.append(answers_of(Loaded(warm, order), case, reader))
        assert direct.wait() == 0, (folder / "stderr.txt").read_text()[-3000:]
        yield [
            (case, own, plain)
            for case, own, plain in zip(cases, mine, plain_answers(folder / "plain.npz", len(cases)), strict=True)
        ]
    finally:
        direct.kill()
        for child in (noise, reader, session):
            child.close()


def plain_answers(path: Path, count: int) -> list[Answered]:
    """What the other process wrote."""
    with np.load(path, allow_pickle=False) as file:
        facts = json.loads(str(file["facts"]))
        found = [Answered(facts[str(n)].get("loader", ""), facts[str(n)].get("failed", "")) for n in range(count)]
        for key in file.files:
            if key != "facts":
                number, rest = key.split("/", 1)
                found[int(number)].outputs[rest] = file[key]
    return found


def equal(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    if one.dtype.kind == "O":
        return [bytes(item) for item in one.reshape(-1)] == [bytes(item) for item in other.reshape(-1)]
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def test_every_answer_is_that_of_plain_tensorflow_to_the_bit(both: list[tuple[Case, Answered, Answered]]) -> None:
    models, outputs, wrong = set(), 0, []
    for case, own, plain in both:
        if own.failed or plain.failed:
            continue
        if not own.loader.startswith(plain.loader):
            wrong.append(f"{case.name}: loaded by {own.loader}, plainly by {plain.loader}")
        if own.outputs.keys() != plain.outputs.keys():
            wrong.append(f"{case.name}: {sorted(own.outputs)} against {sorted(plain.outputs)}")
            continue
        models.add(case.path)
        for name, values in own.outputs.items():
            if not equal(values, plain.outputs[name]):
                wrong.append(
                    f"{case.name} {name}: {values.reshape(-1)[:3]} against {plain.outputs[name].reshape(-1)[:3]}"
                )
            outputs += 1
    print(f"{len(models)} models, {sum(not o.failed for _, o, _ in both)} ways to call them, {outputs} outputs equal")
    assert not wrong, "\n".join(wrong)
    assert len(models) >= 55


def test_no_loader_fails_by_a_fault_of_its_own(both: list[tuple[Case, Answered, Answered]]) -> None:
    """The next loader would hide it: all that carry their model and were saved by this TensorFlow take the first."""
    faults = [
        f"{case.name}: {line}" for case, own, _ in both for line in (*own.others, own.said) if "a fault of" in line
    ]
    assert not faults, "\n".join(faults)
    plain = [case for case, _, _ in both if case.path.startswith(str(SAMPLES)) and case.kind in CARRYING]
    others = {case.name: own.others for case, own, _ in both if case in plain and own.others}
    assert not others
    assert len(plain) >= 9
    print(f"{len(plain)} ways to load a sample, each by the first loader; no loader failed by its own fault")


def test_what_does_not_load_or_answer_is_the_same_on_both_sides(both: list[tuple[Case, Answered, Answered]]) -> None:
    differing = [f"{c.name}: {o.failed} {o.said} | {p.failed}" for c, o, p in both if bool(o.failed) != bool(p.failed)]
    assert not differing, "\n".join(differing)
    loads = {case.name: own.said for case, own, _ in both if own.failed == "load"}
    calls = {case.name: own.said for case, own, _ in both if own.failed == "call"}
    for name, said in {**loads, **calls}.items():
        print(f"{name}: {said[:150]}")
    assert set(loads) == set(DO_NOT_LOAD)
    assert set(calls) == REFUSE
