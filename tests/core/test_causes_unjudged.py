"""Answers that nothing can be held against rule nothing out; branches and inputs that lead nowhere. Facts alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ckptui.core.model import ArchitectureRow, Endpoint, Finding, LayerSpread, Signature
from ckptui.diagnosis import _noise_inputs
from ckptui.predict.dying import dead_branches, unreached
from tests.core.test_causes import CONSTANT, HEALTHY, codes, found, image, judged, reason, report, row

RESTS_ON_ANSWERS = (
    "output-disconnected", "dead-layer", "preprocessing-off", "layout-input", "batch-statistics", "unsaved-state",
)  # fmt: skip
TWO = [image("1.png"), image("2.png")]


def random(*paths: str, **evidence: object) -> Finding:
    return found("nondeterministic", detail="by 0.2", evidence={"images": list(paths), "seeded": False, **evidence})


def not_finite(*paths: str) -> Finding:
    return found("non-finite", detail="NaN", evidence={"images": list(paths)})


@pytest.mark.parametrize(
    ("finding", "word"), [(random("1.png", "2.png"), "random"), (not_finite("1.png", "2.png"), "not finite")]
)
def test_random_answers_and_nan_rule_nothing_out(finding: Finding, word: str) -> None:
    came = judged(report=report(finding, images=TWO))
    for code in RESTS_ON_ANSWERS:
        if (code, word) == ("dead-layer", "not finite"):
            continue
        assert reason(came, code) == (False, f"the answer is {word}: it can't be judged"), code
    if word == "not finite":
        assert reason(came, "live-dropout") == (False, "the answer is not finite: it can't be judged")
    assert reason(judged(report=report(images=TWO)), "unsaved-state")[0]


def test_nan_that_no_weight_holds_arises_in_a_layer() -> None:
    layers = (spread("conv", 1.0), replace(spread("log", 0.0), finite=False), replace(spread("out", 0.0), finite=False))
    told = report(not_finite("1.png"), images=[image("1.png")], layers=layers)
    came = judged(report=told)
    assert [(one.code, one.where, one.certainty) for one in came.causes] == [("dead-layer", "log", "confirmed")]
    assert reason(came, "weights-not-finite") == (True, "every value is finite, though the answer is not")
    served = judged(report=replace(told, layers=()))
    assert [(one.code, one.where, one.certainty) for one in served.causes] == [("dead-layer", None, "likely")]
    held = judged(found("non-finite", "conv/kernel", detail="1 NaN"), report=told)
    assert codes(held.causes) == ["weights-not-finite"]
    assert reason(held, "dead-layer") == (False, "the answer is not finite: it can't be judged")


def test_one_image_with_an_answer_that_can_be_judged_is_enough() -> None:
    came = judged(report=report(random("2.png"), images=TWO))
    assert reason(came, "output-disconnected") == (True, "the answer follows its input: zeros moves it by 0.4")
    assert reason(came, "unsaved-state")[0]
    both = judged(report=report(random("1.png"), not_finite("2.png"), images=TWO))
    assert reason(both, "unsaved-state") == (False, "the answer is random or not finite: it can't be judged")


def test_a_seeded_model_is_the_same_after_every_load() -> None:
    seeded = replace(random("1.png"), evidence={"images": ["1.png"], "seeded": True})
    asked, why = reason(judged(report=report(seeded, images=[image("1.png")])), "unsaved-state")
    assert asked
    assert "same sequence" in why


def test_a_random_model_that_follows_its_input_when_silenced() -> None:
    silenced = random("1.png", moved_with_training_false={"zeros": 0.25, "noise": 0.5})
    came = judged(report=report(silenced, images=[image("1.png")]))
    told = "the answer follows its input: noise moves it by 0.5 with training=False"
    assert reason(came, "output-disconnected") == (True, told)
    assert reason(came, "dead-layer") == (True, told)
    assert codes(came.causes) == ["live-dropout"]


def test_a_constant_beneath_a_live_dropout() -> None:
    silenced = random("1.png", moved_with_training_false={"zeros": 0.0, "noise": 0.0})
    constant = found("constant-output", detail="with training=False all the same", evidence={"training_false": True})
    rows = (ArchitectureRow("image", "InputLayer"), ArchitectureRow("d", "Dense", inbound=(("other",),)))
    told = report(silenced, constant, images=[image("1.png")])
    came = judged(report=told, architecture=rows)
    assert set(codes(came.causes)) == {"live-dropout", "output-disconnected"}
    assert came.shown == ("constant", "unstable")
    assert not reason(came, "preprocessing-off")[0]
    dead = judged(report=replace(told, dies_at="conv"), death=("dead", "it is dead"))
    assert ("dead-layer", "conv") in [(one.code, one.where) for one in dead.causes]


def test_other_versions_of_a_random_model_tell_nothing() -> None:
    other = image("1.png", runs=(*image().runs, row("other-tensorflow", 0.3, detail="TensorFlow 2.15.1")))
    assert not reason(judged(report=report(random("1.png"), images=[other])), "other-tensorflow")[0]
    assert reason(judged(report=report(images=[other])), "other-tensorflow")[0]


# ---------------------------------------------------------------------- branches and inputs


def test_a_branch_that_lost_the_input_is_a_suspicion_of_low_rank() -> None:
    came = judged(report=HEALTHY, branches=(("br1", "br1 is dead: every value it gives is 0"),), ending=("bias",))
    (one,) = came.causes
    assert (one.code, one.where, one.certainty) == ("dead-layer", "br1", "likely")
    assert one.score < 0.2
    assert one.evidence[:2] == ("br1 is dead: every value it gives is 0", "bias")
    assert "dead-layer" not in {each.code for each in came.ruled_out}


def test_an_input_that_leads_nowhere_is_told_above_untouched_weights() -> None:
    untouched = found("at-initializer", "d/kernel", detail="as drawn")
    told = report(model={"connected": {"image": False, "meta": True}})
    for facts in ({"report": told}, {"report": HEALTHY, "unreached": ("image",)}):
        came = judged(untouched, **facts)
        assert codes(came.causes) == ["output-disconnected", "weights-untouched"]
        first = came.causes[0]
        assert (first.certainty, first.where) == ("confirmed", "image")
        assert first.evidence == ("input image leads to no output", "another input does: zeros moves it by 0.4")
        assert reason(came, "dead-layer")[0]


def test_a_constant_answer_beside_an_input_that_leads_nowhere() -> None:
    rows = (
        ArchitectureRow("image", "InputLayer"),
        ArchitectureRow("extra", "InputLayer"),
        ArchitectureRow("dense", "Dense", inbound=(("extra",),)),
    )
    came = judged(report=replace(CONSTANT, dies_at="dense"), architecture=rows)
    assert codes(came.causes) == ["dead-layer", "output-disconnected"]


def spread(name: str, far: float, *sources: int, **more: object) -> LayerSpread:
    facts = {"zeros": 0.0, "weights": (f"{name}/kernel",), "class_name": "Conv2D", "outputs": (), **more}
    return LayerSpread(name, shape=(None, 4), spread=far, scale=1.0, finite=True, sources=sources, **facts)  # type: ignore[arg-type]


def test_dead_branches_are_layers_and_activations_and_each_is_told_once() -> None:
    rows = (
        spread("image", 1.0, class_name="InputLayer", weights=(), fed=False),
        spread("stem", 1.0, 0),
        spread("dead", 0.0, 1, zeros=1.0),
        spread("gated", 0.0, 1, 2, zeros=1.0, class_name="Multiply", weights=()),
        spread("shape", 0.0, 1, class_name="TFOpLambda", weights=()),
        spread("relu", 0.0, 1, zeros=1.0, class_name="ReLU", weights=(), activation="relu"),
        spread("aside", 0.0, 1, zeros=1.0),
        spread("sum", 1.0, 1, 3, 4, 5, outputs=("sum",), class_name="Add", weights=()),
    )
    assert [(death.layer, death.how) for death in dead_branches(rows)] == [("dead", "dead"), ("relu", "dead")]
    assert dead_branches(rows[:-1]) == ()


def test_inputs_off_every_way_to_an_output() -> None:
    rows = (
        spread("image", 1.0, class_name="InputLayer", fed=False),
        spread("meta", 1.0, class_name="InputLayer", fed=False),
        spread("head", 1.0, 1, outputs=("head",)),
    )
    assert unreached(rows) == ("image",)
    assert unreached((*rows[:2], replace(rows[2], outputs=()))) == ()
    assert unreached((*rows[:2], replace(rows[2], sources=(0, 1)))) == ()


def test_noise_is_given_to_every_input_by_its_name(tmp_path: Path) -> None:
    rows = (
        ArchitectureRow("image", "InputLayer", config={"batch_shape": [None, 16, 16, 1], "dtype": "float32"}),
        ArchitectureRow("ids", "InputLayer", config={"batch_shape": [None, 4], "dtype": "int32"}),
        ArchitectureRow("out", "Dense"),
    )
    given = dict(pair.split("=", 1) for pair in _noise_inputs((), rows, str(tmp_path)))
    shapes = {name: (np.load(path).shape, np.load(path).dtype.name) for name, path in given.items()}
    assert shapes == {"image": ((16, 16, 1), "float32"), "ids": ((4,), "int32")}
    _noise_inputs((), rows, str(tmp_path), 30.0)
    assert 20 < np.load(given["image"]).std() < 40
    served = Signature("serving_default", "", (), (Endpoint("x", "x:0", "float32", (None, 3)),), ())
    assert [pair.partition("=")[0] for pair in _noise_inputs((served,), rows, str(tmp_path))] == ["x"]
    text = Signature("serving_default", "", (), (Endpoint("x", "x:0", "string", (None,)),), ())
    assert _noise_inputs((text,), rows, str(tmp_path)) == ()
