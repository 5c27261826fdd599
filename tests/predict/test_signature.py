"""A signature that can't be called is refused with the known names, and no worker starts for it."""

from __future__ import annotations

import pytest

from ckptui.core.model import Artifact, Kind, Listing, Signature
from ckptui.errors import UsageError
from ckptui.predict.predictor import Predictor
from ckptui.predict.signature import DEFAULT, check_signature
from ckptui.predict.wish import Wish
from ckptui.predict.worker import saved_model


def save(*names: str, kind: Kind = "saved-model", tags: tuple[str, ...] = ("serve",)) -> Listing:
    signatures = tuple(Signature(name, "predict", tags, (), ()) for name in names)
    return Listing(Artifact("/x/export", kind, "m", None, 0, 1, 0, 0, 0.0), (), (), signatures)


def test_an_unknown_signature_is_refused_with_the_known_ones_before_a_worker_starts() -> None:
    predictor = Predictor()
    with pytest.raises(UsageError, match=r"no signature called nope\. There are: serve, serving_default"):
        next(iter(predictor.predict(save("serving_default", "serve"), ["/x.png"], wish=Wish(signature="nope"))))
    assert not predictor._workers
    assert predictor._turn.acquire(blocking=False), "the next prediction has its turn"


def test_several_signatures_without_a_default_need_a_name_before_a_worker_starts() -> None:
    predictor = Predictor()
    with pytest.raises(UsageError, match=r"several signatures .* --signature: classify, regress"):
        next(iter(predictor.predict(save("regress", "classify"), ["/x.png"])))
    assert not predictor._workers


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (("serving_default", "serve"), None),
        (("serve",), None),
        (("regress", "classify"), "regress"),
        ((), "listed by TensorFlow only"),
        ((), None),
    ],
)
def test_what_may_be_callable_is_left_to_the_loader(names: tuple[str, ...], wanted: str | None) -> None:
    check_signature(save(*names), wanted)


def test_the_default_is_the_workers() -> None:
    assert DEFAULT == saved_model.DEFAULT


def test_of_several_meta_graphs_one_that_can_be_called_is_enough() -> None:
    training = save("a", "b", tags=("train",))
    serving = save("c")
    both = Listing(serving.artifact, (), (), training.signatures + serving.signatures)
    check_signature(both, None)
    check_signature(both, "b")
    with pytest.raises(UsageError, match="There are: a, b, c"):
        check_signature(both, "d")


def test_a_keras_model_has_no_signature_to_name() -> None:
    check_signature(save(kind="keras-archive"), None)
    with pytest.raises(UsageError, match=r"no SavedModel and has no signatures\. Leave out --signature"):
        check_signature(save(kind="keras-archive"), "serving_default")


def test_names_are_made_harmless_and_very_many_are_cut() -> None:
    with pytest.raises(UsageError, match="and 10 more") as caught:
        check_signature(save(*(f"s\x1b{n:02}" for n in range(30))), "no\x1b")
    assert "\x1b" not in str(caught.value)
