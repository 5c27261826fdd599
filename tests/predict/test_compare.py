"""Rows and findings out of outputs: which differences count, and what they are called."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from ckptui.core.model import Finding, LayerSpread, Probe
from ckptui.predict import answers
from ckptui.predict.answers import Answer, largest_difference
from ckptui.predict.compare import (
    FLIP_LR,
    FLIP_UD,
    FRESH,
    ORIGINAL,
    RELOAD,
    REPEAT,
    TURNED,
    Facts,
    best,
    compared_run,
    failed_run,
    key_of,
    original_run,
    same_sequences,
    top_of,
)
from ckptui.predict.judging import findings_of
from ckptui.predict.words import verdict

BASE = np.array([[0.1, 0.7, 0.2]], np.float32)
OTHER = np.array([[0.6, 0.3, 0.1]], np.float32)
NEAR = np.array([[0.1000001, 0.7, 0.2]], np.float32)
WOBBLY = np.array([[0.1, 0.69, 0.21]], np.float32)


def said(values: Any, name: str = "out") -> Answer:
    return Answer(((name, np.asarray(values)),))


def facts(**outputs: Any) -> Facts:
    """Runs by row name (dashes as underscores), each an output, a list of outputs or an error's text."""
    made = Facts("x.png", outputs=3)
    base = said(outputs.pop("original", BASE))
    made.keep(original_run(base, 0.1, (), 5))
    made.finite, made.scale = base.finite, base.scale
    defaults = {
        "repeat": BASE,
        "reload": BASE,
        "fresh_process": BASE,
        "flip_left_right": OTHER,
        "flip_up_down": OTHER,
    }
    for key, value in {**defaults, **outputs}.items():
        name, _, detail = key.replace("_", "-").partition("@")
        if isinstance(value, str):
            made.keep(failed_run(name, value, detail))
            continue
        several = [said(each) for each in (value if isinstance(value, list) else [value])]
        run = compared_run(name, base, several, 0.1, (), 5, detail)
        made.keep(run)
        made.relative[key_of(run)] = max(base.relative(each) for each in several)
    probed(made, 0.5, 0.4)
    return made


def probed(made: Facts, *moved: float, identical: bool = False) -> None:
    """Noise, the negative, ... move the answer by so much, and by as much of its scale."""
    names = ("noise", "the negative", "zeros", "ones")
    made.probes = tuple(Probe(name, by, identical) for name, by in zip(names, moved, strict=False))
    made.probes_moved = tuple(by / made.scale for by in moved)


def codes(*images: Facts) -> list[str]:
    return [finding.code for finding in findings_of("m.keras", images)]


def only(*images: Facts) -> Finding:
    (finding,) = findings_of("m.keras", images)
    return finding


def test_a_healthy_model_has_nothing_but_the_facts_of_its_flips() -> None:
    assert codes(facts()) == ["flip-changes-prediction"]
    assert codes(facts(flip_left_right=WOBBLY, flip_up_down=WOBBLY)) == []
    assert verdict(facts()) == (
        "Loads the same way each time. The answer follows the image and is the same after reload and in a fresh "
        "process. It changes under a left-right flip and an up-down flip; one image is no proof."
    )


@pytest.mark.parametrize(
    ("flips", "words"),
    [
        ({"flip_left_right": WOBBLY}, "It changes under an up-down flip, not under a left-right flip;"),
        ({"flip_up_down": WOBBLY}, "It changes under a left-right flip, not under an up-down flip;"),
        ({"flip_left_right": WOBBLY, "flip_up_down": WOBBLY}, "It survives a left-right flip and an up-down flip;"),
        ({"flip_left_right": "it broke"}, "It changes under an up-down flip;"),
        ({"flip_left_right": "it broke", "flip_up_down": WOBBLY}, "It survives an up-down flip;"),
    ],
)
def test_the_verdict_names_the_flips_that_change_the_answer(flips: dict[str, Any], words: str) -> None:
    assert words in verdict(facts(**flips))


def test_an_image_that_is_its_own_mirror_image_says_nothing_about_flips() -> None:
    still = facts(flip_left_right=BASE, flip_up_down=BASE)
    still.mirrored = {FLIP_LR: True, FLIP_UD: True}
    assert "its own mirror image" in verdict(still)
    assert codes(still) == []


def test_any_bit_that_differs_between_repeats_is_nondeterministic_and_outshines_flips_and_reloads() -> None:
    random = facts(repeat=[BASE, NEAR], reload=OTHER, fresh_process=OTHER)
    finding = only(random)
    assert (finding.code, finding.severity, finding.certainty) == ("nondeterministic", "error", "confirmed")
    assert finding.evidence["max_abs"] == pytest.approx(1e-7, rel=0.3)
    assert finding.evidence["seeded"] is False
    assert verdict(random).startswith("Does not answer the same twice")
    random.seeded = True
    assert only(random).evidence["seeded"] is True
    assert "It is seeded" in verdict(random)


def test_state_that_calls_hand_on_is_told_as_such_and_not_as_random() -> None:
    stateful = facts(repeat=OTHER)
    stateful.carried = ("lstm/rnn_state",)
    finding = only(stateful)
    assert (finding.code, finding.evidence["carried_state"]) == ("nondeterministic", ["lstm/rnn_state"])
    assert "state is carried from call to call (lstm/rnn_state)" in finding.detail
    assert "stateful=False" in finding.advice
    assert "random" not in verdict(stateful)
    both = findings_of("m.keras", [stateful, facts(repeat=OTHER)])[0]
    assert "carried_state" not in both.evidence


def test_a_random_model_that_training_false_silences_is_told_so() -> None:
    random = facts(repeat=OTHER)
    random.silenced = True
    assert only(random).evidence["steady_with_training_false"] is True
    assert "With training=False" in verdict(random)
    assert "another top answer" in verdict(random)


def test_a_constant_beneath_what_is_random_is_found_by_the_probes_with_training_false() -> None:
    random = facts(repeat=OTHER, flip_left_right=OTHER)
    random.silenced = True
    random.silent_probes = (Probe("zeros", 0.0, True), Probe("noise", 0.0, True))
    random.silent_moved = (0.0, 0.0)
    assert codes(random) == ["nondeterministic", "constant-output"]
    constant = findings_of("m.keras", [random])[1]
    assert constant.evidence["inputs"] == ["image", "zeros", "noise"]
    assert constant.evidence["training_false"] is True
    assert constant.detail.startswith("with training=False")
    assert "the same for every input" in verdict(random)
    random.silent_probes = (Probe("zeros", 0.25, False), Probe("noise", 0.0, True))
    random.silent_moved = (0.25, 0.0)
    assert only(random).evidence["moved_with_training_false"] == {"zeros": 0.25, "noise": 0.0}
    random.silenced = False
    assert only(random).evidence["moved_with_training_false"] == {}


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        ({"reload": OTHER}, r"another output after reload \(by 0\.5\)\."),
        ({"fresh_process": OTHER}, r"another output in a fresh process \(by 0\.5\)\."),
        (
            {"reload": OTHER, "fresh_process": WOBBLY},
            r"after reload \(by 0\.5\) and in a fresh process \(by 0\.01\)\.",
        ),
    ],
)
def test_another_answer_after_loading_again_is_reload_differs(runs: dict[str, Any], words: str) -> None:
    differs = facts(**runs)
    assert "reload-differs" in codes(differs)
    with_words = verdict(differs)
    assert re.search(words, with_words), with_words
    assert "Loads the same way each time" not in with_words


def test_rounding_after_a_reload_is_told_and_no_fault() -> None:
    near = facts(fresh_process=NEAR)
    assert "reload-differs" not in codes(near)
    assert "Loads the same way each time, to 9." in verdict(near) or "Loads the same way each time, to 1" in verdict(
        near
    )


def test_a_restore_that_filled_only_part_of_the_model_is_not_called_clean() -> None:
    partly = facts()
    partly.partly = "38 of 40 weights bound"
    assert verdict(partly).startswith("Restores only in part: 38 of 40 weights bound")


def test_a_load_that_fails_is_a_row_with_its_reason() -> None:
    failed = facts(fresh_process="Prediction worker failed: it was killed by SIGKILL")
    assert "Could not be loaded again in a fresh process: Prediction worker failed" in verdict(failed)
    assert "is the same after reload." in verdict(failed)


def test_an_output_nothing_moves_is_constant_and_how_sure_depends_on_the_evidence() -> None:
    same = {"flip_left_right": BASE, "flip_up_down": BASE}
    constant = facts(**same)
    probed(constant, 0.0, 0.0, identical=True)
    finding = only(constant)
    assert (finding.code, finding.certainty) == ("constant-output", "confirmed")
    assert "does not follow the image" in verdict(constant)
    probed(constant, 1e-9, 0.0)
    assert only(constant).certainty == "likely"
    constant.outputs = 1
    probed(constant, 0.0, 0.0, identical=True)
    assert only(constant).certainty == "likely", "one saturated number may repeat by itself"


def test_flip_invariance_needs_noise_that_moves_the_output() -> None:
    still = facts(flip_left_right=BASE, flip_up_down=OTHER)
    assert codes(still) == ["flip-changes-prediction", "flip-invariant"]
    probed(still, 1e-9)
    assert "flip-invariant" not in codes(still)


def test_an_answer_of_nan_is_its_own_finding_and_not_random() -> None:
    broken = np.full((1, 3), np.nan, np.float32)
    image = facts(original=broken, repeat=broken, reload=broken, fresh_process=broken, flip_left_right=broken)
    image.scale = 1.0
    assert codes(image) == ["non-finite"]
    assert verdict(image).startswith("The answer is not finite")


def test_findings_over_many_images_are_one_a_code() -> None:
    a, b = facts(repeat=OTHER), facts(repeat=WOBBLY)
    b.path = "y.png"
    finding = only(a, b)
    assert finding.evidence["images"] == ["x.png", "y.png"]
    assert finding.evidence["max_abs"] == pytest.approx(0.5)


def test_an_image_without_an_answer_makes_no_finding() -> None:
    failed = Facts("x.png")
    failed.runs[ORIGINAL] = failed_run(ORIGINAL, "No image: x.png can't be decoded")
    assert codes(failed) == []
    assert verdict(failed) == "No answer: No image: x.png can't be decoded."


def test_differences_are_in_float64_and_survive_nan_and_inf() -> None:
    assert largest_difference(np.array([1, 2], np.float32), np.array([1, 2.5], np.float32)) == 0.5
    assert largest_difference(np.array([np.nan, 1], np.float32), np.array([np.nan, 1], np.float32)) == 0
    assert np.isnan(largest_difference(np.array([np.nan, 1], np.float32), np.array([0, 1], np.float32)))
    assert largest_difference(np.array([np.inf], np.float32), np.array([np.inf], np.float32)) == 0
    assert largest_difference(np.array([np.inf], np.float32), np.array([0], np.float32)) == np.inf
    assert largest_difference(np.zeros(2), np.zeros(3)) == np.inf
    assert largest_difference(np.zeros(0), np.zeros(0)) == 0
    assert largest_difference(np.array([0], np.uint8), np.array([255], np.uint8)) == 255


def test_a_repeat_shows_the_call_that_differs_most() -> None:
    run = compared_run(REPEAT, said(BASE), [said(WOBBLY), said(OTHER), said(BASE)], 0.1, (), 1)
    assert run.top[0][0] == 0
    assert run.max_abs_diff == pytest.approx(0.5)
    assert run.top1_changed
    assert run.identical is False


def test_the_top_names_labels_and_puts_nan_last() -> None:
    output = np.array([[np.nan, 0.2, 0.5, 0.3]], np.float32)
    top = top_of(output, ("a", "b", "c"), 4)
    assert [(i, name) for i, name, _ in top] == [(2, "c"), (3, "3"), (1, "b"), (0, "a")]
    assert best(output) == 2


def test_a_single_probability_changes_its_answer_at_one_half() -> None:
    assert best(np.array([0.49], np.float32)) != best(np.array([0.51], np.float32))
    assert best(np.array([-3.0], np.float32)) == best(np.array([7.0], np.float32))
    assert best(np.zeros(0, np.float32)) == 0


def test_sequences_compare_call_by_call() -> None:
    base, other = said(BASE), said(OTHER)
    assert same_sequences([base, other], [said(BASE.copy()), said(OTHER.copy())])
    assert not same_sequences([base, other], [other, base])
    assert not same_sequences([base], [base, other])
    assert not same_sequences([], [])


def test_a_huge_output_is_left_out_of_the_report_and_compared_in_full() -> None:
    huge = np.zeros((1, answers.MAX_OUTPUT + 10), np.float32)
    other = huge.copy()
    other[0, -1] = 1
    run = compared_run(FRESH, said(huge), [said(other)], 0.1, (), 5)
    assert run.output == ()
    assert run.max_abs_diff == 1
    assert compared_run(RELOAD, said(huge), [said(huge.copy())], 0.1, (), 5).identical


def test_differences_are_over_every_output_each_on_its_own_scale() -> None:
    small, large = np.array([[1e-3, 2e-3]], np.float32), np.array([[1000.0, 2000.0]], np.float32)
    one = Answer((("boxes", large), ("scores", small)))
    other = Answer((("boxes", large), ("scores", np.array([[1e-3, 3e-3]], np.float32))))
    assert one.apart(other) == pytest.approx(1e-3)
    assert one.relative(other) == pytest.approx(0.5)
    assert one.relative(other, alone=True) == 0
    run = compared_run(RELOAD, one, [other], 0.1, (), 2)
    assert run.identical is False
    assert [output.name for output in run.outputs] == ["boxes", "scores"]
    assert run.outputs[0].values == ()
    assert run.outputs[1].values == pytest.approx((1e-3, 3e-3))


def test_shown_is_the_wanted_output_else_one_of_floating_numbers() -> None:
    ids, words = np.array([[0, 1]]), np.array([b"cat", b"dog"], dtype=object)
    named = [("all_class_ids", ids), ("classes", words), ("scores", BASE)]
    assert Answer.of(named).main is BASE
    assert Answer.of(named, "all_class_ids").main is ids
    assert Answer.of(named[:2]).kind == "integer"
    only = Answer.of(named[1:2])
    assert (only.kind, only.finite, only.main.size) == ("text", True, 0), "text is not an answer of NaN"
    assert only.outputs()[0].texts == ("cat", "dog")


def test_an_answer_that_depends_on_the_batch_is_told_from_the_rounding_of_batched_kernels() -> None:
    image = facts(in_batch=OTHER)
    image.among_copies, image.among_others, image.among_others_by = 8e-7, 0.33, 0.23
    finding = next(f for f in findings_of("m", [image]) if f.code == "batch-dependent")
    assert (finding.severity, finding.evidence["max_abs"]) == ("error", 0.23)
    assert "it depends on the rest of the batch: among other images it moves by 0.23" in verdict(image)
    image.among_others = 9e-6
    assert "batch-dependent" not in codes(image)
    image.among_others, image.among_copies = 8e-5, 2e-5
    assert "batch-dependent" not in codes(image), "a model that rounds coarsely"
    random = facts(repeat=OTHER)
    random.among_copies, random.among_others = 0.0, 0.5
    assert codes(random) == ["nondeterministic"]


def test_another_tensorflow_differs_beyond_rounding_or_not_at_all() -> None:
    rounded = {"other_tensorflow@TensorFlow 2.15.1": NEAR}
    assert "versions-differ" not in codes(facts(**rounded))
    assert "TensorFlow 2.15.1 gives the same to" in verdict(facts(**rounded))
    both = facts(**rounded, **{"other_tensorflow@TensorFlow 2.4.1": WOBBLY})
    finding = next(f for f in findings_of("m", [both]) if f.code == "versions-differ")
    assert finding.severity == "warning"
    assert finding.evidence["versions"] == {"TensorFlow 2.4.1": pytest.approx(0.01, rel=1e-3)}
    assert finding.evidence["relative"] == pytest.approx(0.01 / 0.7, rel=1e-3)
    assert finding.evidence["tolerance"] == 1e-4
    assert "TensorFlow 2.4.1 answers otherwise, by 0.01" in verdict(both)


def test_training_mode_is_a_fact_and_another_save_is_named() -> None:
    image = facts(training_mode=OTHER, **{"against@ckpt-2": WOBBLY})
    found = {finding.code: finding for finding in findings_of("m", [image])}
    assert found["training-mode-differs"].severity == "info"
    assert found["training-mode-differs"].evidence["top1_changed"] == 1
    # a healthy BatchNormalization moves an answer by some millionths: no word of it
    assert "training-mode-differs" not in codes(facts(training_mode=NEAR))
    assert "training-mode-differs" in codes(facts(training_mode=WOBBLY))
    assert "ckpt-2 differs by 0.01, the top answer is the same." in verdict(image)
    assert "ckpt-2 gives the same bits." in verdict(facts(**{"against@ckpt-2": BASE}))


def test_a_constant_answer_names_the_layer_where_it_dies() -> None:
    image = facts(flip_left_right=BASE, flip_up_down=BASE)
    probed(image, 0.0, 0.0, identical=True)
    image.dies_at = "conv1 (Conv2D)"
    rows = [
        LayerSpread("image", "InputLayer", (None, 4), 1.0, 1.0, 0.0, True),
        LayerSpread("conv1", "Conv2D", (None, 4), 0.0, 0.0, 1.0, True, ("conv1/kernel",)),
    ]
    (finding,) = findings_of("m", [image], rows, "conv1")
    assert (finding.evidence["layer"], finding.evidence["class"]) == ("conv1", "Conv2D")
    assert finding.evidence["weights"] == ["conv1/kernel"]
    assert finding.evidence["spread"] == 0
    assert "conv1 (Conv2D), all zeros" in finding.detail
    assert "It dies at conv1 (Conv2D)." in verdict(image)


def test_a_class_index_that_stays_the_same_proves_little() -> None:
    image = facts(original=np.array([3]), repeat=np.array([3]), reload=np.array([3]), fresh_process=np.array([3]),
                  flip_left_right=np.array([3]), flip_up_down=np.array([3]))  # fmt: skip
    image.kind, image.outputs = "integer", 1
    probed(image, 0.0, 0.0, identical=True)
    assert only(image).certainty == "possible"


def test_an_image_that_was_turned_counts_as_flipped() -> None:
    image = facts(flip_left_right=WOBBLY, flip_up_down=WOBBLY, rotate_180=OTHER)
    finding = only(image)
    assert finding.evidence["flips"] == [TURNED]
    assert "It changes under a turn by 180 degrees, not under a left-right flip and an up-down flip" in verdict(image)
