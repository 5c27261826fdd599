"""Causes told apart, from facts alone: no file is read and no model asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ckptui.core.catalogue import make
from ckptui.core.causes import SYMPTOMS, Cause, Symptom, WhyReport, WhyStep, standing
from ckptui.core.causes_constant import closed_layers, unreached_inputs
from ckptui.core.causes_cut import cut_off
from ckptui.core.causes_flip import same_scores
from ckptui.core.causes_judged import Judgement, judge
from ckptui.core.causes_kinds import KINDS, Gathered
from ckptui.core.model import (
    ArchitectureRow,
    Expectation,
    Finding,
    LayerSpread,
    ManyImages,
    Move,
    Operation,
    Predicted,
    PredictReport,
    Probe,
    Run,
    Variant,
)
from ckptui.readers.saved_model_checks import _differing
from ckptui.why_output import why_text

PATH = "m.keras"
ORIGINAL = Run("original", ((0, "a", 0.7), (1, "b", 0.3)), (0.7, 0.3), None, None, 0.01)
ROWS = ("flip-left-right", "flip-up-down", "rotate-180", "repeat", "in-batch", "reload", "fresh-process")


def row(name: str, far: float = 0.0, **more: Any) -> Run:
    return Run(name, ORIGINAL.top, ORIGINAL.output, far, False, 0.01, identical=far == 0, **more)


def image(path: str = "1.png", flips: float = 0.2, probe: float = 0.4, **more: Any) -> Predicted:
    rows = [row(name, flips if "-" in name and name not in ("in-batch", "fresh-process") else 0.0) for name in ROWS]
    probes = (Probe("zeros", probe, probe == 0), Probe("noise", probe, probe == 0))
    runs = more.pop("runs", (ORIGINAL, *rows))
    return Predicted(path, "0..1", (1, 16, 16, 1), 0.0, 1.0, runs, probes=probes, **more)


def report(*findings: Finding, images: Sequence[Predicted] = (), **more: Any) -> PredictReport:
    return PredictReport(more.pop("model", {"path": PATH}), tuple(images) or (image(),), findings, **more)


def judged(*findings: Finding, symptom: Symptom | None = None, **more: Any) -> Judgement:
    told = more.get("report")
    every = (*findings, *(told.findings if told is not None else ()))
    return judge(Gathered(PATH, more.pop("kind", "keras-archive"), every, symptom=symptom, **more), ["everything"])


def codes(causes: Sequence[Cause]) -> list[str]:
    return [one.code for one in causes]


def reason(judgement: Judgement, code: str) -> tuple[bool, str]:
    one = next(one for one in judgement.ruled_out if one.code == code)
    return one.asked, one.reason


def found(code: str, tensor: str | None = None, **more: Any) -> Finding:
    return make(code, PATH, tensor, **more)


HEALTHY = report()
CONSTANT = report(found("constant-output", detail="all the same"), images=[image(flips=0, probe=0)])


def test_every_cause_of_a_symptom_is_told_ruled_out_or_not_asked() -> None:
    for facts in ({}, {"report": HEALTHY}, {"report": CONSTANT}):
        for symptom in (None, *SYMPTOMS):
            came = judged(symptom=symptom, **facts)
            named = {*codes(came.causes), *(one.code for one in came.ruled_out)}
            wanted = {k.code for k in KINDS.values() if (symptom in k.symptoms if symptom else k.symptoms)}
            assert wanted <= named
            assert len(named) == len(came.causes) + len(came.ruled_out)


def test_nothing_found_says_what_was_checked() -> None:
    came = judged(report=HEALTHY)
    assert came.causes == ()
    assert came.shown == ()
    assert came.verdict == "Nothing found; checked: everything."


def test_without_a_prediction_behaviour_is_not_asked() -> None:
    came = judged(unpredicted="there is no TensorFlow here")
    assert came.causes == ()
    asked = {one.code: one.asked for one in came.ruled_out}
    for code in ("output-disconnected", "dead-layer", "live-dropout", "batch-statistics", "unsaved-state"):
        assert not asked[code]
        assert reason(came, code)[1] == "no prediction was made"
    assert asked["weights-zero"]
    assert "there is no TensorFlow here" in came.verdict


def test_how_a_cause_stands_to_what_was_seen() -> None:
    def stands(symptoms: tuple[Symptom, ...], asked: Symptom | None, shown: tuple[Symptom, ...], state: str) -> str:
        one = Cause("dead-layer", "", symptoms, "likely", 0.5, (), "")
        steps = (WhyStep("behaviour", "done" if state else "skipped"),)
        return standing(one, WhyReport({}, asked, shown, (one,), (), steps))

    assert stands(("constant",), None, ("constant",), "asked") == "explains what was seen"
    assert stands(("constant",), None, (), "asked") == "would explain it, not seen"
    assert stands(("constant",), None, (), "") == "would explain it, the model was not asked"
    assert stands(("constant",), "flip", ("constant",), "asked") == "explains another symptom"
    assert stands((), "flip", ("flip",), "asked") == "a fact beside"


def test_what_was_not_read_is_not_ruled_out() -> None:
    values = ("weights-not-finite", "weights-zero", "statistics-never-updated", "weights-untouched", "dead-filters")
    for code in (*values, "restore-partial"):
        asked, why = reason(judged(read=(6, 7)), code)
        assert not asked
        assert why.startswith("only 6 of 7 tensors could be read")
        assert reason(judged(read=(7, 7)), code)[0]
    cut = found("zip-damaged")
    assert "can't be told" in reason(judged(cut, read=(7, 7)), "weights-not-finite")[1]
    other = replace(cut, artifact="another.keras")
    assert reason(judged(other, read=(7, 7)), "weights-not-finite") == (True, "every value is finite")
    assert reason(judged(kernels=(2, 3)), "weights-untouched") == (
        False,
        "only 2 of 3 kernels could be looked at; of those that could be: no values on the grid of an initializer's "
        "draws",
    )


def test_facts_of_a_part_are_said_where_the_whole_is_ruled_out() -> None:
    part = found("untouched-filters", "dense/kernel", severity="info", detail="the weights of 103 of 384 inputs")
    asked, why = reason(judged(part), "weights-untouched")
    assert asked
    assert why == "no kernel as a whole; dense/kernel: the weights of 103 of 384 inputs"


@pytest.mark.parametrize(
    ("code", "kind", "evidence", "tensor", "cut"),
    [
        ("zip-damaged", "keras-archive", {"bytes_missing": 3}, None, True),
        ("zip-damaged", "keras-archive", {}, None, False),
        ("hdf5-damaged", "keras-weights", {"bytes_missing": 3}, None, True),
        ("hdf5-damaged", "keras-h5", {"bytes_missing": 3}, "conv/kernel", False),
        ("index-missing", "tf-checkpoint", {}, None, True),
        ("shard-truncated", "tf-checkpoint", {"bytes_missing": 3}, None, False),
    ],
)
def test_damage_that_no_loader_survives(
    code: str, kind: str, evidence: dict[str, int], tensor: str | None, cut: bool
) -> None:
    damage = found(code, tensor, evidence=evidence)
    assert bool(cut_off(PATH, kind, [damage])) == cut
    assert not cut_off("another", kind, [damage])


# ---------------------------------------------------------------------- constant


def test_the_layer_where_the_input_ends_is_named() -> None:
    layers = (
        LayerSpread("conv", "Conv2D", (None, 4), 2.0, 3.0, 0.1, True),
        LayerSpread("gate", "Rescaling", (None, 4), 0.0, 0.0, 1.0, True),
    )
    told = report(*CONSTANT.findings, images=CONSTANT.images, layers=layers, dies_at="gate")
    first = judged(report=told).causes[0]
    assert (first.code, first.where, first.score) == ("dead-layer", "gate", 1.0)
    assert first.findings == ("constant-output",)
    assert any("conv before it still varies by 2" in line for line in first.evidence)


def test_a_layer_that_multiplies_by_zero_is_found_without_its_activations() -> None:
    gate = ArchitectureRow("gate", "Rescaling", config={"scale": 0.0})
    assert judged(report=CONSTANT, architecture=(gate,)).causes[0].where == "gate"
    asleep = judged(architecture=(gate,)).causes[0]
    assert (asleep.code, asleep.score) == ("dead-layer", 0.42)
    assert closed_layers([ArchitectureRow("fine", "Rescaling", config={"scale": 0.5})]) == []


def test_an_output_without_a_path_from_the_input() -> None:
    told = report(*CONSTANT.findings, images=CONSTANT.images, model={"connected": {"image": False}})
    came = judged(report=told)
    assert codes(came.causes) == ["output-disconnected"]
    assert came.causes[0].where == "image"
    linked = report(*CONSTANT.findings, images=CONSTANT.images, model={"connected": {"image": True, "more": False}})
    assert codes(judged(report=linked).causes) == ["dead-layer"]
    lost = judged(report=CONSTANT, death=("disconnected", "no layer is given what varies"))
    assert codes(lost.causes) == ["output-disconnected"]
    assert came.shown == ("constant",)


def test_an_input_that_leads_nowhere() -> None:
    rows = (
        ArchitectureRow("image", "InputLayer"),
        ArchitectureRow("extra", "InputLayer"),
        ArchitectureRow("dense", "Dense", inbound=(("extra",),)),
    )
    assert [one.name for one in unreached_inputs(rows)] == ["image"]
    assert unreached_inputs(rows[:1]) == []
    first = judged(report=CONSTANT, architecture=rows).causes[0]
    assert (first.code, first.where) == ("output-disconnected", "image")


def test_weights_of_the_layer_where_it_ends_are_its_evidence() -> None:
    zero = found("all-zero", "vars/0", detail="all 36 values are 0")
    told = report(*CONSTANT.findings, images=CONSTANT.images, dies_at="conv")
    came = judged(zero, report=told, layers={"vars/0": "conv"}, names={"vars/0": "conv/kernel"})
    assert codes(came.causes) == ["dead-layer", "weights-zero"]
    assert came.causes[0].findings == ("constant-output", "all-zero")
    assert came.causes[1].where == "conv/kernel"
    assert came.causes[1].score == 0.9


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("non-finite", "weights-not-finite"),
        ("all-zero", "weights-zero"),
        ("constant", "weights-zero"),
        ("at-initializer", "weights-untouched"),
        ("untouched-filters", "weights-untouched"),
        ("statistics-at-initial", "statistics-never-updated"),
        ("normalization-unadapted", "preprocessing-off"),
        ("dead-filters", "dead-filters"),
        ("weights-missing", "restore-partial"),
        ("shape-mismatch", "restore-partial"),
    ],
)
def test_a_fault_of_the_weights_is_told_below_one_that_was_seen(code: str, cause: str) -> None:
    unseen = judged(found(code, "t"), report=HEALTHY).causes
    assert codes(unseen) == [cause]
    assert unseen[0].findings == (code,)
    seen = judged(found(code, "t"), report=CONSTANT).causes
    assert "dead-layer" in codes(seen)
    assert next(one for one in seen if one.code == cause).score > unseen[0].score
    random = report(found("nondeterministic", evidence={"seeded": False}))
    mixed = codes(judged(found(code, "t"), report=random).causes)
    assert mixed[0] == "live-dropout"
    assert cause in mixed


def test_an_info_is_no_cause() -> None:
    assert judged(found("untouched-filters", "t", severity="info"), report=HEALTHY).causes == ()
    assert judged(found("slots-at-zero"), found("generator-unused"), report=HEALTHY).causes == ()


def test_slots_are_in_no_answer() -> None:
    slot = judged(found("non-finite", "slot"), report=HEALTHY, spare=frozenset({"slot"})).causes[0]
    weight = judged(found("non-finite", "slot"), report=HEALTHY).causes[0]
    assert slot.score < weight.score


def test_another_range_that_moves_the_answer() -> None:
    variants = (
        Variant("0..1", 0, 1, (), 0.0, False, chosen=True),
        Variant("0..255", 0, 255, (), 0.8, True),
    )
    told = report(*CONSTANT.findings, images=[image(flips=0, probe=0, variants=variants)])
    off = next(one for one in judged(report=told).causes if one.code == "preprocessing-off")
    assert (off.certainty, off.score) == ("possible", 0.36)
    assert "under 0..255 (0 to 255) the answer is another, by 0.8" in off.evidence
    still = report(
        *CONSTANT.findings,
        images=[image(flips=0, probe=0, variants=(variants[0], Variant("caffe", 0, 1, (), 0.0, False)))],
    )
    assert reason(judged(report=still), "preprocessing-off") == (
        True,
        "1 other preprocessings give the same answer too",
    )


# ---------------------------------------------------------------------- flip


def many(turn: float = 0.6, left_right: float = 0.5, images: int = 40) -> ManyImages:
    def move(name: str, mean: float) -> Move:
        return Move(name, name in ("rotate-90", "noise"), mean, mean - 0.05, mean + 0.05, 0.4, 0.3, 0.5)

    moves = (move("flip-left-right", left_right), move("rotate-90", turn), move("noise", 0.1))
    return ManyImages("images", images, (), "total variation", moves, 0.9, (("a", images),), "A sentence.")


def test_flips_over_many_images_beside_a_turn() -> None:
    came = judged(report=report(many=many()), symptom="flip")
    assert codes(came.causes) == ["one-sided-training"]
    assert came.shown == ("flip",)
    assert "over 40 images flip-left-right moves the answer by 0.5" in came.causes[0].evidence[0]
    bears = judged(report=report(many=many(left_right=0.06)), symptom="flip")
    assert bears.causes == ()
    assert reason(bears, "one-sided-training")[0]
    few = judged(report=report(many=many(images=12)), symptom="flip")
    assert reason(few, "one-sided-training") == (False, "12 images are too few: 20 or more tell")
    asking = {one.code: one.ask for one in judged(report=HEALTHY).ruled_out if not one.asked}
    assert asking["one-sided-training"] == "--images DIR"


def test_a_flip_that_changes_one_image_is_a_fact_not_a_symptom() -> None:
    told = report(found("flip-changes-prediction"))
    assert judged(report=told).shown == ()
    asked = judged(report=told, symptom="flip")
    assert asked.shown == ()
    assert "was not seen here: a flip changes its answer, but one image is no proof." in asked.verdict
    others = replace(image("2.png"), runs=(replace(ORIGINAL, output=(0.4, 0.6)), *image().runs[1:]))
    several = judged(report=report(found("flip-changes-prediction"), images=[image(), others]), symptom="flip")
    assert several.shown == ()
    assert "2 images have different answers before any flip" in several.verdict
    same = judged(report=report(found("flip-changes-prediction"), images=[image(), image("2.png")]), symptom="flip")
    assert same.shown == ("flip",)
    assert asked.causes == ()


def test_a_coin_that_falls_alike_three_times_is_random_all_the_same() -> None:
    live = ArchitectureRow("augment", "RandomFlip", live=True)
    for code in ("reload-differs", "batch-dependent"):
        came = judged(report=report(found(code, detail="it moves")), architecture=(live,))
        assert codes(came.causes)[:1] == ["live-dropout"]
        assert came.causes[0].certainty == "confirmed"
        assert not {"batch-statistics", "unsaved-state"} & set(codes(came.causes))
        seeded = replace(live, config={"seed": 3})
        assert "live-dropout" not in codes(judged(report=report(found(code)), architecture=(seeded,)).causes)


def test_symmetric_filters_never_explain_a_flip() -> None:
    mirrored = found("symmetric-filters", "t", detail="32 of 32 filters mirror-symmetric")
    for told in (HEALTHY, report(found("flip-changes-prediction"))):
        asked = judged(mirrored, report=told, symptom="flip")
        assert asked.causes == ()
        assert "survive flips" in reason(asked, "symmetric-filters")[1]
    alone = judged(mirrored, report=HEALTHY)
    assert codes(alone.causes) == ["symmetric-filters"]
    assert alone.causes[0].symptoms == ()
    assert alone.verdict.startswith("Nothing found that explains a symptom; checked: everything.")


def test_layers_that_turn_images() -> None:
    live = ArchitectureRow("augment", "RandomFlip", live=True)
    assert judged(report=HEALTHY, architecture=(live,), symptom="flip").causes[0].where == "augment"
    swap = ArchitectureRow("swap", "Permute", config={"dims": [2, 1, 3]})
    came = judged(report=HEALTHY, architecture=(swap,), symptom="flip").causes
    assert [(one.code, one.where, one.certainty) for one in came] == [("preprocessing-flips", "swap", "possible")]
    other = ArchitectureRow("swap", "Permute", config={"dims": [1, 3, 2]})
    assert judged(report=HEALTHY, architecture=(other,), symptom="flip").causes == ()
    image = ArchitectureRow("image", "InputLayer", config={"batch_shape": [None, 16, 16, 3]})
    convolution = ArchitectureRow("conv", "Conv2D", parameters=9, inbound=(("image",),))
    for kind, config in (
        ("Transpose", {"axes": [0, 2, 1, 3]}), ("Flip", {"axis": 2}), ("Swapaxes", {"axis1": 1, "axis2": -2}),
        ("Rot90", {"k": 3}), ("TFOpLambda", {"function": "image.flip_left_right"}),
    ):  # fmt: skip
        first = ArchitectureRow("turn", kind, config=config, inbound=(("image",),))
        came = judged(report=HEALTHY, architecture=(image, first), symptom="flip").causes
        assert [(one.code, one.where) for one in came] == [("preprocessing-flips", "turn")], kind
        # of features, and of channels or whole turns, it says nothing
        later = replace(first, inbound=(("conv",),))
        assert judged(report=HEALTHY, architecture=(image, convolution, later), symptom="flip").causes == ()
    for config in ({"axis": 3}, {"axis": [0]}):
        channels = ArchitectureRow("turn", "Flip", config=config, inbound=(("image",),))
        assert judged(report=HEALTHY, architecture=(image, channels), symptom="flip").causes == ()
    series = ArchitectureRow("series", "InputLayer", config={"batch_shape": [None, 24, 3]})
    swapped = ArchitectureRow("swap", "Permute", config={"dims": [2, 1]}, inbound=(("series",),))
    assert judged(report=HEALTHY, architecture=(series, swapped), symptom="flip").causes == ()


def test_a_recorded_answer_that_belongs_to_the_flipped_image() -> None:
    flipped = Run("flip-left-right", ((1, "b", 0.9), (0, "a", 0.1)), (0.1, 0.9), 0.6, True, 0.01, identical=False)
    expected = Expectation("e.json", 0.6, True, False, False, ((1, "b", 0.9), (0, "a", 0.1)))
    told = report(
        found("expectation-differs"), images=[image(runs=(ORIGINAL, flipped, row("repeat")), expected=expected)]
    )
    first = judged(report=told).causes[0]
    assert (first.code, first.certainty) == ("preprocessing-flips", "likely")
    assert "flip-left-right" in first.evidence[0]


def test_images_that_differ_only_when_flipped() -> None:
    came = judged(report=report(images=[image("1.png"), image("2.png")]), symptom="flip")
    assert codes(came.causes) == ["layout-input"]
    other = Run("original", ORIGINAL.top, (0.6, 0.4), None, None, 0.01)
    apart = image("2.png", runs=(other, *image().runs[1:]))
    assert judged(report=report(images=[image("1.png"), apart]), symptom="flip").causes == ()


# ---------------------------------------------------------------------- unstable


@pytest.mark.parametrize("seeded", [True, False])
def test_the_live_random_layer_is_named(seeded: bool) -> None:
    told = report(found("nondeterministic", detail="they differ", evidence={"seeded": seeded}))
    rows = (ArchitectureRow("drop", "Dropout", live=True), ArchitectureRow("other", "Dropout"))
    came = judged(report=told, architecture=rows)
    assert came.shown == ("unstable",)
    first = came.causes[0]
    assert (first.code, first.where, first.certainty) == ("live-dropout", "drop", "confirmed")
    assert first.title.endswith("live, seeded" if seeded else "live, not seeded")
    op = Operation("model/drop/StatelessRandomUniformV2", "StatelessRandomUniformV2")
    assert judged(report=told, operations=(op,)).causes[0].where == op.name
    unnamed = judged(report=told).causes[0]
    assert unnamed.where is None
    assert any("custom layer" in line for line in unnamed.evidence)


def test_state_that_calls_hand_on_is_no_live_dropout() -> None:
    told = report(found("nondeterministic", evidence={"seeded": True, "carried_state": ["lstm/rnn_state"]}))
    came = judged(report=told)
    first = came.causes[0]
    assert (first.code, first.certainty, first.where) == ("unsaved-state", "confirmed", "lstm/rnn_state")
    assert first.title == "State is carried from call to call: lstm/rnn_state"
    assert "stateful=False" in first.next_step
    assert reason(came, "live-dropout")[0]


@pytest.mark.parametrize(
    ("op", "seeds", "certainty", "words"),
    [
        ("RandomUniform", {}, "likely", "not seeded"),
        ("RandomStandardNormal", {"seed": 87654321, "seed2": 5}, "likely", "seeded with 87654321 and 5"),
        ("StatelessRandomUniformV2", {}, "possible", "a seed that stays the same draws the same"),
        ("StatefulUniform", {}, "likely", "a generator that the model keeps"),
    ],
)
def test_random_ops_of_a_graph_without_a_prediction(op: str, seeds: dict[str, int], certainty: str, words: str) -> None:
    ops = (Operation("net/fixed/StatelessRandomNormalV2", "StatelessRandomNormalV2"), Operation("net/draw", op, seeds))
    first = judged(operations=ops if certainty == "likely" else ops[1:]).causes[0]
    assert (first.code, first.where, first.certainty) == ("live-dropout", "net/draw", certainty)
    assert words in first.evidence[0]
    assert judged(operations=ops, report=HEALTHY).causes == ()


def test_random_answers_explain_what_differs_in_a_batch_and_after_a_reload() -> None:
    drawn = found("nondeterministic", evidence={"seeded": False, "images": ["1.png"]})
    others = (found("batch-dependent", detail="by 0.2"), found("reload-differs", detail="by 0.3"))
    two = [image("1.png"), image("2.png")]
    augment = ArchitectureRow("augment", "RandomFlip", live=True)
    came = judged(report=report(drawn, *others, images=two), architecture=(augment,), symptom="unstable")
    assert codes(came.causes)[0] == "live-dropout"
    assert not {"batch-statistics", "unsaved-state"} & set(codes(came.causes))
    assert "at random" in reason(came, "batch-statistics")[1]
    bn = ArchitectureRow("bn", "BatchNormalization", live=True)
    both = judged(report=report(drawn, *others, images=two), architecture=(augment, bn))
    assert [(c.code, c.certainty) for c in both.causes if c.code == "batch-statistics"] == [
        ("batch-statistics", "likely")
    ]


def test_batch_statistics_seen_and_suspected() -> None:
    bn = ArchitectureRow("bn", "BatchNormalization", live=True)
    seen = judged(report=report(found("batch-dependent", detail="by 0.2")), architecture=(bn,)).causes[0]
    assert (seen.code, seen.where, seen.score) == ("batch-statistics", "bn", 1.0)
    suspected = judged(architecture=(bn,)).causes[0]
    assert (suspected.code, suspected.score) == ("batch-statistics", 0.42)
    op = Operation("m/bn/FusedBatchNormV3", "FusedBatchNormV3", {"is_training": True})
    assert judged(operations=(op,)).causes[0].where == op.name


@pytest.mark.parametrize("code", ["state-stale", "state-dangling", "state-elsewhere"])
def test_a_state_file_that_misleads(code: str) -> None:
    assert codes(judged(found(code), report=HEALTHY, kind="tf-checkpoint").causes) == ["wrong-checkpoint"]


@pytest.mark.parametrize("code", ["checksum-mismatch", "zip-damaged", "shard-truncated", "implausible-values"])
def test_damage_comes_first(code: str) -> None:
    came = judged(
        found(code, detail="at byte 12"), found("state-dangling"), found("weights-missing"), found("non-finite", "t"),
        report=HEALTHY,
    )  # fmt: skip
    assert came.causes[0].code == "damaged-save"
    assert came.causes[0].findings == (code,)
    assert "at byte 12" in came.causes[0].evidence


@pytest.mark.parametrize(
    ("verdict", "cause"),
    [
        ("independent", "other-training"),
        ("different-architecture", "other-training"),
        ("same-run", "wrong-checkpoint"),
        ("fine-tuned", "wrong-checkpoint"),
        ("identical", None),
    ],
)
def test_the_relation_to_another_save(verdict: str, cause: str | None) -> None:
    relation = {"verdict": verdict, "certainty": "confirmed", "evidence": {"reason": "because"}}
    came = judged(relation=relation, against="b.keras", report=HEALTHY)
    assert codes(came.causes) == ([cause] if cause else [])
    if cause is None:
        assert "b.keras" in reason(came, "wrong-checkpoint")[1]


def test_settings_that_prepare_an_input_are_a_skew() -> None:
    relation = {"verdict": "identical", "certainty": "confirmed", "evidence": {}}
    scale = found("config-changed", title="A Rescaling only in B", evidence={"class": "Rescaling"})
    pad = found("config-changed", title="conv1: padding", evidence={"class": "Conv2D"})
    assert codes(judged(scale, relation=relation, against="b").causes) == ["preprocessing-skew"]
    assert codes(judged(pad, relation=relation, against="b").causes) == ["configuration-changed"]


def test_neighbours_that_share_nothing() -> None:
    two = judged(strangers=(("a", "confirmed"), ("c", "confirmed"))).causes[0]
    assert (two.code, two.certainty) == ("other-training", "likely")
    assert judged(strangers=(("a", "confirmed"),), kin=("c",)).causes[0].certainty == "possible"
    assert reason(judged(kin=("c",)), "other-training")[0]


def test_a_recorded_answer_under_another_preprocessing() -> None:
    recorded = ((1, "b", 0.8), (0, "a", 0.2))
    variants = (Variant("0..255", 0, 255, ((1, "b", 0.80004), (0, "a", 0.2)), 0.5, True),)
    expected = Expectation("e.json", 0.5, True, False, False, recorded)
    told = report(found("expectation-differs"), images=[image(expected=expected, variants=variants)])
    first = judged(report=told).causes[0]
    assert (first.code, first.certainty) == ("preprocessing-skew", "likely")
    assert "under 0..255" in first.evidence[0]
    unknown = report(found("expectation-differs"), images=[image(expected=expected)])
    assert judged(report=unknown).causes[0].certainty == "possible"


def test_scores_as_recorded() -> None:
    one = ((0, "a", 0.7), (1, "b", 0.3))
    assert same_scores(one, ((0, "x", 0.7004), (1, "y", 0.2996)))
    assert not same_scores(one, ((1, "b", 0.7), (0, "a", 0.3)))
    assert not same_scores(one, ((0, "a", 0.71), (1, "b", 0.29)))
    assert not same_scores((), one)


def test_reload_versions_and_weights_drawn_anew() -> None:
    reload = report(found("reload-differs", detail="by 0.3"))
    assert codes(judged(report=reload).causes) == ["unsaved-state"]
    unbound = judged(found("weights-missing", "t"), report=reload).causes
    assert codes(unbound) == ["restore-partial", "unsaved-state"]
    assert codes(judged(report=report(found("versions-differ"))).causes) == ["other-tensorflow"]
    same = image(runs=(*image().runs, row("other-tensorflow", detail="TensorFlow 2.15.1")))
    assert "2.15.1" in reason(judged(report=report(images=[same])), "other-tensorflow")[1]


def test_one_symptom_asked_ranks_its_own_causes_first() -> None:
    told = report(found("nondeterministic", evidence={"seeded": False}))
    came = judged(found("dead-filters", "t"), report=told, symptom="constant")
    assert [one.code for one in came.causes] == ["live-dropout", "dead-filters"] or came.causes[
        0
    ].code == "dead-filters"
    assert came.verdict.startswith("The symptom (the same prediction for every input) was not seen here.")
    assert all("constant" in one.symptoms for one in came.ruled_out)


def scored(*values: float, expected: tuple[float, ...] = (), path: str = "1.png", **more: Any) -> Predicted:
    """An image with these scores, and those recorded for it."""
    ranked, recorded = (
        tuple(sorted(((n, str(n), v) for n, v in enumerate(of)), key=lambda one: -one[2])) for of in (values, expected)
    )
    original = Run("original", ranked, values, None, None, 0.01)
    held = Expectation("e.json", 0.5, True, False, False, recorded) if expected else None
    return image(path, runs=(original, *image().runs[1:]), expected=held, **more)


def test_recorded_answers_whose_classes_stand_in_another_order() -> None:
    differing = found("expectation-differs")
    one = scored(0.6, 0.3, 0.1, expected=(0.1, 0.6001, 0.3))
    first = judged(report=report(differing, images=[one])).causes[0]
    assert (first.code, first.certainty) == ("preprocessing-skew", "likely")
    assert first.title.startswith("The classes stand in another order")
    assert "0 here is 1 there, 1 here is 2 there, 2 here is 0 there" in first.evidence[0]
    contradicting = scored(0.6, 0.3, 0.1, expected=(0.6, 0.1, 0.3), path="2.png")
    assert "classes" not in judged(report=report(differing, images=[one, contradicting])).causes[0].title
    assert (
        "classes"
        not in judged(report=report(differing, images=[scored(0.6, 0.4, expected=(0.3, 0.7))])).causes[0].title
    )
    # answers that are certain look alike in any order: some images have to agree
    certain = [scored(1.0, 0.0, 0.0, expected=(0.0, 1.0, 0.0)), scored(0.0, 1.0, 0.0, expected=(0.0, 0.0, 1.0))]
    assert "classes" not in judged(report=report(differing, images=certain)).causes[0].title
    third = scored(0.0, 0.0, 1.0, expected=(1.0, 0.0, 0.0))
    assert judged(report=report(differing, images=[*certain, third])).causes[0].certainty == "possible"


def test_answers_that_hardly_follow_the_images() -> None:
    near = [scored(0.54, 0.46), scored(0.541, 0.459, path="2.png")]
    asked = judged(report=report(images=near), symptom="constant")
    assert asked.shown == ("constant",)
    assert [(one.code, one.certainty) for one in asked.causes] == [("preprocessing-off", "possible")]
    # images may be alike: somebody has to say that the answers always are
    assert judged(report=report(images=near)).causes == ()
    other = Variant("0..255", 0, 255, ((1, "b", 0.8), (0, "a", 0.2)), 0.5, True)
    same = replace(other, top=((0, "a", 0.8), (1, "b", 0.2)), top1_changed=False)
    moving = [replace(near[0], variants=(other,)), replace(near[1], variants=(same,))]
    assert judged(report=report(images=moving), symptom="constant").causes[0].certainty == "likely"
    for fine in ((0.54, 0.44), (0.46, 0.54), (0.999, 0.001)):
        first = scored(0.9991, 0.0009) if fine[0] > 0.9 else near[0]
        assert judged(report=report(images=[first, scored(*fine)]), symptom="constant").causes == ()


def test_an_input_that_is_scaled_twice() -> None:
    def called(second: float, *between: LayerSpread) -> Judgement:
        rescaling = LayerSpread("scale", "Rescaling", (None, 8), 1.0, 1.0, 0.0, True, (), True, ())
        count = len(between)
        rows = (rescaling, *between, replace(rescaling, layer="net/again", sources=(count,)))
        layers = tuple(
            ArchitectureRow(n, "Rescaling", config={"scale": by}) for n, by in (("scale", 1 / 255), ("again", second))
        )
        return judged(report=report(layers=rows), architecture=layers)

    first = called(1 / 255).causes[0]
    assert (first.code, first.where) == ("preprocessing-off", "net/again")
    assert called(2.0).causes == ()
    weights = LayerSpread("conv", "Conv2D", (None, 8), 1.0, 1.0, 0.0, True, ("conv/kernel",), True, (0,))
    assert called(1 / 255, weights).causes == ()


def test_batch_statistics_that_have_collapsed() -> None:
    first = judged(report=HEALTHY, collapsed=(("bn", "bn/moving_variance"),)).causes[0]
    assert (first.code, first.where, first.certainty) == ("weights-zero", "bn/moving_variance", "confirmed")


def test_a_bias_far_off_says_where_the_input_ends() -> None:
    told = report(found("constant-output"))
    first = judged(report=told, far_off=("d1", "d1/bias is -300 throughout")).causes[0]
    assert (first.code, first.where) == ("dead-layer", "d1")
    assert "d1/bias is -300 throughout" in first.evidence


def test_single_filters_that_never_moved_are_no_cause() -> None:
    few = found(
        "untouched-filters", "t", detail="1 of 24 units are exactly as drawn", evidence={"untouched": 1, "of": 24}
    )
    alone = judged(few, report=HEALTHY)
    assert alone.causes == ()
    assert "1 of 24" in reason(alone, "weights-untouched")[1]
    many = found("untouched-filters", "t", evidence={"untouched": 12, "of": 24})
    assert codes(judged(many, report=HEALTHY).causes) == ["weights-untouched"]


def test_weights_of_another_model_are_a_restore_that_binds_next_to_nothing() -> None:
    refused = found("model-does-not-load", detail="only 0 of 10 weights bound", evidence={"bound": [0, 10]})
    first = judged(refused, report=PredictReport({"path": PATH}, (), (refused,))).causes[0]
    assert (first.code, first.certainty) == ("restore-partial", "confirmed")
    assert "0 of 10" in first.evidence[0]
    one = found("checksum-mismatch", "conv/kernel")
    assert "restore-partial" in codes(judged(refused, one).causes)


def test_a_damaged_save_that_binds_next_to_nothing_is_not_another_model() -> None:
    refused = found("model-does-not-load", detail="only 0 of 10 weights bound", evidence={"bound": [0, 10]})
    nameless = (found("checksum-mismatch", "_CHECKPOINTABLE_OBJECT_GRAPH"),)
    many = [found("shard-truncated", f"layer{n}/kernel") for n in range(3)]
    slots = [found("shard-truncated", f"adam/{n}") for n in range(8)]
    for damage in (nameless, many):
        told = judged(refused, *damage)
        assert codes(told.causes) == ["damaged-save"]
        assert not reason(told, "restore-partial")[0]
    spare = judged(refused, *slots, spare=frozenset(f.tensor or "" for f in slots))
    assert "restore-partial" in codes(spare.causes)


def test_what_each_loader_said_has_a_line_of_its_own() -> None:
    said = ["keras: TypeError: no such layer", "tf_keras: ValueError: no such module"]
    refused = found("model-does-not-load", detail="; ".join(said), evidence={"loaders": said})
    step = WhyStep("behaviour", "failed", f"The model gave no answer: {'; '.join(said)}", 1.0, "--tf-python PYTHON")
    text = why_text(WhyReport({"path": PATH}, None, (), (), (), (step,), (refused,)), 100)
    lines = [line.strip() for line in text]
    assert [line for line in said if line not in lines] == []
    assert "behaviour  1.0 s  failed: The model gave no answer:" in lines
    assert "--tf-python PYTHON" in lines


def test_variables_of_one_name_are_not_told_apart_by_the_graph() -> None:
    stored: dict[str, set[tuple[str, str, int, tuple[int, ...]]]] = {}
    stored["Variable"] = {("n/.ATTRIBUTES/VARIABLE_VALUE", "Variable", 1, ())}
    for names, count in ((("Variable",), 1), (("Variable", "Variable_1"), 0)):
        graph = SimpleNamespace(restored=("n/.ATTRIBUTES/VARIABLE_VALUE",), declared={n: {(1, (5,))} for n in names})
        assert len(_differing(cast(Any, graph), stored, ())) == count
