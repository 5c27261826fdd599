"""Rows and findings out of outputs: which differences count, and what they are called."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from ckptui.core.model import Finding
from ckptui.predict import compare
from ckptui.predict.compare import (
    FLIP_LR,
    FLIP_UD,
    FRESH,
    ORIGINAL,
    RELOAD,
    REPEAT,
    Facts,
    Probe,
    best,
    compared_run,
    failed_run,
    findings_of,
    largest_difference,
    original_run,
    same_sequences,
    top_of,
)
from ckptui.predict.words import verdict

BASE = np.array([[0.1, 0.7, 0.2]], np.float32)
OTHER = np.array([[0.6, 0.3, 0.1]], np.float32)
NEAR = np.array([[0.1000001, 0.7, 0.2]], np.float32)
WOBBLY = np.array([[0.1, 0.69, 0.21]], np.float32)


def facts(**outputs: Any) -> Facts:
    """Runs by row name (dashes as underscores), each an output, a list of outputs or an error's text."""
    made = Facts("x.png", outputs=3)
    base = outputs.pop("original", BASE)
    made.runs[ORIGINAL] = original_run(base, 0.1, (), 5)
    made.finite = bool(np.isfinite(base).all())
    made.scale = float(np.abs(np.nan_to_num(base)).max()) or 1.0
    defaults = {
        "repeat": BASE,
        "reload": BASE,
        "fresh_process": BASE,
        "flip_left_right": OTHER,
        "flip_up_down": OTHER,
    }
    for key, value in {**defaults, **outputs}.items():
        name = key.replace("_", "-")
        if isinstance(value, str):
            made.runs[name] = failed_run(name, value)
        else:
            several = value if isinstance(value, list) else [value]
            made.runs[name] = compared_run(name, base, several, 0.1, (), 5)
    made.probes = (Probe("noise", 0.5, False), Probe("the negative", 0.4, False))
    return made


def codes(*images: Facts) -> list[str]:
    return [finding.code for finding in findings_of("m.keras", images)]


def only(*images: Facts) -> Finding:
    (finding,) = findings_of("m.keras", images)
    return finding


def test_a_healthy_model_has_nothing_but_the_facts_of_its_flips() -> None:
    assert codes(facts()) == ["flip-changes-prediction"]
    assert codes(facts(flip_left_right=WOBBLY, flip_up_down=WOBBLY)) == []
    assert verdict(facts()) == (
        "Restores cleanly. The answer follows the image and is the same after reload and in a fresh process. "
        "It changes under both flips; one image is no proof."
    )


@pytest.mark.parametrize(
    ("flips", "words"),
    [
        ({"flip_left_right": WOBBLY}, "It changes under an up-down flip, not under a left-right flip;"),
        ({"flip_up_down": WOBBLY}, "It changes under a left-right flip, not under an up-down flip;"),
        ({"flip_left_right": WOBBLY, "flip_up_down": WOBBLY}, "It survives both flips;"),
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


def test_a_random_model_that_training_false_silences_is_told_so() -> None:
    random = facts(repeat=OTHER)
    random.silenced = True
    assert only(random).evidence["steady_with_training_false"] is True
    assert "With training=False" in verdict(random)
    assert "another top answer" in verdict(random)


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
    assert "Restores cleanly" not in with_words


def test_rounding_after_a_reload_is_told_and_no_fault() -> None:
    near = facts(fresh_process=NEAR)
    assert "reload-differs" not in codes(near)
    assert "Restores cleanly, the same to 9." in verdict(near) or "Restores cleanly, the same to 1" in verdict(near)


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
    constant.probes = (Probe("noise", 0.0, True), Probe("the negative", 0.0, True))
    finding = only(constant)
    assert (finding.code, finding.certainty) == ("constant-output", "confirmed")
    assert "does not follow the image" in verdict(constant)
    constant.probes = (Probe("noise", 1e-9, False), Probe("the negative", 0.0, True))
    assert only(constant).certainty == "likely"
    constant.outputs = 1
    constant.probes = (Probe("noise", 0.0, True), Probe("the negative", 0.0, True))
    assert only(constant).certainty == "likely", "one saturated number may repeat by itself"


def test_flip_invariance_needs_noise_that_moves_the_output() -> None:
    still = facts(flip_left_right=BASE, flip_up_down=OTHER)
    assert codes(still) == ["flip-changes-prediction", "flip-invariant"]
    still.probes = (Probe("noise", 1e-9, False),)
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
    run = compared_run(REPEAT, BASE, [WOBBLY, OTHER, BASE], 0.1, (), 1)
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
    assert same_sequences([BASE, OTHER], [BASE.copy(), OTHER.copy()])
    assert not same_sequences([BASE, OTHER], [OTHER, BASE])
    assert not same_sequences([BASE], [BASE, OTHER])
    assert not same_sequences([], [])


def test_a_huge_output_is_kept_in_part_and_compared_in_full() -> None:
    huge = np.zeros((1, compare.MAX_OUTPUT + 10), np.float32)
    other = huge.copy()
    other[0, -1] = 1
    run = compared_run(FRESH, huge, [other], 0.1, (), 5)
    assert len(run.output) == compare.MAX_OUTPUT
    assert run.max_abs_diff == 1
    assert compared_run(RELOAD, huge, [huge.copy()], 0.1, (), 5).identical
