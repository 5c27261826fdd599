"""How two saves are related: simulated trainings, one claim each."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from ckptui.core.diff import RelationRow, relation
from ckptui.core.model import Pair, PairStatus, Role


def kernel(
    name: str, cosine: float | None, count: int = 4608, status: PairStatus = "changed", role: Role = "kernel"
) -> RelationRow:
    there = status not in ("only-b",)
    return RelationRow(
        Pair(name if there else None, None if status == "only-a" else name, role, status, count=count), cosine
    )


def counter(name: str, a: float, b: float, role: Role = "step") -> RelationRow:
    return RelationRow(Pair(name, name, role, "changed", count=1), None, a, b)


def word(*rows: RelationRow) -> str:
    told = relation(rows)
    json.dumps(told)
    return str(told["verdict"])


LONE = [kernel("c1", 0.02), kernel("c2", -0.01), kernel("d", 0.001)]
KIN = [kernel("c1", 0.95), kernel("c2", 0.9), kernel("d", 0.99)]


def test_equal_weights_are_identical_whatever_the_optimizer_did() -> None:
    same = [kernel("c1", 1.0, status="identical"), kernel("c2", 1.0, status="identical")]
    assert word(*same) == "identical"
    assert word(*same, kernel("m", 0.1, role="slot"), counter("step", 1, 2)) == "identical"


def test_kernels_that_share_nothing_are_independent() -> None:
    assert word(*LONE) == "independent"
    assert relation(LONE)["certainty"] == "confirmed"
    assert relation(LONE[:1])["certainty"] == "likely"


def test_biases_and_gammas_that_agree_are_no_evidence() -> None:
    agreeing = [kernel("g", 0.99, 512, role="gamma"), kernel("v", 0.98, 512, role="moving-variance")]
    assert word(*LONE, *agreeing) == "independent"


def test_small_kernels_are_no_evidence() -> None:
    assert word(*LONE, kernel("tiny", 0.9, 63)) == "independent"
    told = relation([kernel("tiny", 0.9, 63)])
    assert told["certainty"] == "possible"


def test_a_common_past_alone_is_related() -> None:
    told = relation(KIN)
    assert (told["verdict"], told["certainty"]) == ("related", "confirmed")
    assert told["evidence"]["smallest_z"] == pytest.approx(0.9 * math.sqrt(4608))


def test_counters_that_went_on_with_slots_make_it_the_same_run() -> None:
    slots = [kernel("v", 0.6, role="slot"), kernel("m", 0.2, role="slot")]
    assert word(*KIN, *slots, counter("step", 1000, 2000)) == "same-run"
    assert word(*KIN, counter("step", 1000, 2000)) == "related"
    assert word(*KIN, *slots) == "related"
    unlike = [kernel("v", 0.001, role="slot"), kernel("m", 0.0, role="slot")]
    assert word(*KIN, *unlike, counter("step", 1000, 2000)) == "related"


def test_learning_rates_are_no_steps() -> None:
    slots = [kernel("v", 0.6, role="slot")]
    rates = [counter("optimizer/learning_rate", 0.001, 0.01, "counter"), counter("iterations", 5, 5, "counter")]
    assert word(*KIN, *slots, *rates) == "related"


def test_frozen_or_replaced_layers_make_it_fine_tuned() -> None:
    frozen = kernel("c1", 1.0, status="identical")
    assert word(frozen, *KIN[1:]) == "fine-tuned"
    assert word(frozen, kernel("c2", 0.01)) == "fine-tuned"
    assert word(*KIN, kernel("head", None, status="shape-changed")) == "fine-tuned"
    assert word(*KIN, kernel("head", None, status="only-b")) == "fine-tuned"
    assert word(*KIN, counter("step", 2000, 10)) == "fine-tuned"


def test_the_same_run_backwards_is_the_same_run() -> None:
    slot = kernel("slot", 0.9)
    slots = RelationRow(replace(slot.pair, role="slot"), slot.centred_cosine)
    assert word(*KIN, slots, counter("step", 100, 2000)) == "same-run"
    assert word(*KIN, slots, counter("step", 2000, 100)) == "same-run"
    # nobody has trained what counts no step
    assert word(*KIN, slots, counter("step", 2000, 0)) == "related"


def test_without_weights_nothing_is_said_against_a_relation() -> None:
    assert word() == "related"
    assert word(counter("step", 10, 20)) == "related"
    assert relation([counter("step", 10, 20)])["certainty"] == "possible"


def test_kernels_without_partners_are_another_architecture() -> None:
    strange = [kernel(f"x{i}", None, status="shape-changed") for i in range(4)]
    assert word(*strange) == "different-architecture"
    assert word(*strange, kernel("c", 0.01)) == "different-architecture"
    assert relation(strange)["certainty"] == "likely"
    renamed = [kernel("a", None, status="only-a"), kernel("b", None, status="only-b")]
    assert (relation(renamed)["verdict"], relation(renamed)["certainty"]) == ("different-architecture", "possible")


def test_a_constant_kernel_says_nothing() -> None:
    assert word(*LONE, kernel("ones", None)) == "independent"
    assert word(*LONE, kernel("ones", None, status="identical")) == "independent"


def test_independent_kernels_hardly_ever_reach_the_threshold() -> None:
    draw = np.random.default_rng(0)
    for _ in range(50):
        rows = []
        for i, count in enumerate((64, 576, 4608)):
            a, b = draw.normal(size=(2, count))
            rows.append(kernel(f"k{i}", float(np.corrcoef(a, b)[0, 1]), count))
        assert word(*rows) == "independent"


SLOTS = [kernel("m", 0.5, role="slot"), kernel("v", 0.6, role="slot")]


def row(name: str, status: PairStatus = "changed", relative: float | None = None, role: Role = "kernel") -> RelationRow:
    made = kernel(name, 1.0 if status == "identical" else 0.9, status=status, role=role)
    return replace(made, pair=replace(made.pair, relative_l2=relative), layer=name)


def test_two_saves_that_claim_one_step_are_not_one_run() -> None:
    told = relation([*KIN, *SLOTS, counter("optimizer/iterations", 300, 300)])
    assert (told["verdict"], told["certainty"]) == ("related", "confirmed")
    assert "the same step" in told["evidence"]["reason"]


def test_counters_and_slots_alone_are_never_more_than_possible() -> None:
    told = relation([*KIN, *SLOTS, counter("global_step", 1000, 2000)])
    assert (told["verdict"], told["certainty"]) == ("same-run", "possible")


def test_weights_count_where_an_optimizer_is_only_on_one_side() -> None:
    same = [kernel("c1", 1.0, status="identical"), kernel("c2", 1.0, status="identical")]
    left = [kernel("m", None, role="slot", status="only-a"), counter("x", 1, 1)]
    assert relation([*same, *left])["verdict"] == "identical"


def test_frozen_near_frozen_and_replaced_layers_are_named() -> None:
    told = relation(
        [row("base", "identical"), row("mid", relative=0.4), row("top", relative=0.3), row("x", relative=0.5)]
    )
    assert (told["verdict"], told["evidence"]["frozen_layers"]) == ("fine-tuned", ["base"])
    slow = [row("base", relative=1e-4), row("mid", relative=0.4), row("top", relative=0.3)]
    told = relation(slow)
    assert (told["verdict"], told["certainty"]) == ("fine-tuned", "possible")
    assert told["evidence"]["near_frozen_layers"] == ["base"]
    told = relation([row("base", relative=0.1), row("mid", relative=0.4), row("head", "shape-changed")])
    assert (told["verdict"], told["evidence"]["replaced_layers"]) == ("fine-tuned", ["head"])
    told = relation([row("base", "identical"), row("head", "only-b")])
    assert told["verdict"] == "fine-tuned"


def test_what_never_trains_is_no_sign_of_freezing() -> None:
    still = [row("b", "identical", role="bias"), row("bn", "identical", role="moving-mean")]
    told = relation([*KIN, *still])
    assert (told["verdict"], told["evidence"]["frozen_layers"]) == ("related", [])
    ones = kernel("ones", None, status="identical")
    assert relation([*KIN, ones])["verdict"] == "related"


def test_a_frozen_layer_without_slots_is_no_reason_against_one_run() -> None:
    rows = [row("base", "identical"), row("mid", relative=0.4), *SLOTS, counter("iterations", 100, 200)]
    told = relation(rows)
    assert (told["verdict"], told["certainty"]) == ("same-run", "possible")
    assert "base" in told["evidence"]["reason"]
    trained = RelationRow(Pair("adam/base_v", None, "slot", "only-a", count=4608), layer="base")
    assert relation([*rows, trained])["verdict"] == "fine-tuned"


def test_part_of_a_save_is_said_to_be_one() -> None:
    told = relation([row("base", "identical"), row("head", "only-a")])
    assert (told["verdict"], told["certainty"]) == ("related", "confirmed")
    assert "only in A: head" in told["evidence"]["reason"]
    assert told["evidence"]["missing_in_b"] == ["head"]


def test_what_is_missing_is_named_to_the_twentieth() -> None:
    told = relation([kernel(f"x{n}", None, status="only-a") for n in range(30)] + [row("y", "only-b")])
    evidence = told["evidence"]
    assert told["verdict"] == "different-architecture"
    assert (len(evidence["missing_in_b"]), evidence["missing_in_a"]) == (20, ["y"])
    assert evidence["missing"]["in_b"] == 30


def test_little_evidence_is_told_by_the_certainty() -> None:
    assert relation([kernel("c", 0.02, 64)])["certainty"] == "possible"
    assert relation([kernel("c", 0.02, 300)])["certainty"] == "likely"
    lost = kernel("lost", None, status="unreadable")
    assert relation([*LONE, lost])["certainty"] == "likely"
    assert "can't be read" in relation([*LONE, lost])["evidence"]["reason"]
    same = kernel("c1", 1.0, status="identical")
    told = relation([same, lost])
    assert (told["verdict"], told["certainty"]) == ("identical", "possible")
    constant = relation([kernel("c", None), kernel("d", None)])
    assert (constant["verdict"], constant["certainty"]) == ("related", "possible")
    assert "constant or not finite" in constant["evidence"]["reason"]


def test_among_many_kernels_chance_reaches_further() -> None:
    draw = np.random.default_rng(3)
    for _ in range(20):
        many = [kernel(f"k{n}", float(z) / math.sqrt(4608)) for n, z in enumerate(draw.normal(size=1000))]
        assert word(*many) == "independent"
    one = [kernel(f"k{n}", 0.0) for n in range(500)] + [kernel("odd", 4.3 / math.sqrt(4608))]
    assert word(*one) == "independent"


def test_the_same_values_in_another_dtype_are_identical() -> None:
    wide = [kernel(f"c{n}", 1.0, status="dtype-changed") for n in range(2)]
    equal = [replace(r, pair=replace(r.pair, changed=0, relative_l2=0.0)) for r in wide]
    assert (relation(equal)["verdict"], relation(equal)["certainty"]) == ("identical", "likely")
    rounded = [replace(r, pair=replace(r.pair, changed=4000, relative_l2=1e-3)) for r in wide]
    assert "narrower dtype" in relation(rounded)["evidence"]["reason"]


def test_a_second_copy_counts_once() -> None:
    same = kernel("c1", 1.0, status="identical")
    again = replace(same, pair=replace(same.pair, b="copy"))
    assert "(1 of 1)" in relation([same, again])["evidence"]["reason"]


def test_loss_scales_and_learning_rates_do_not_count_steps() -> None:
    odd = [counter("loss_scale_optimizer/good_steps", 5, 900, "counter"), counter("optimizer/learning_rate", 1, 2)]
    assert word(*KIN, *SLOTS, *odd) == "related"
    keras = counter("optimizer/vars/0", 100, 200, "counter")
    rate = counter("optimizer/vars/1", 0.001, 0.0005, "counter")
    assert word(*KIN, *SLOTS, keras, rate) == "same-run"


SIDES: tuple[tuple[str, PairStatus], ...] = (("a", "only-a"), ("b", "only-b"))


def test_what_could_not_be_paired_says_nothing_about_the_past() -> None:
    alone = [
        replace(kernel(f"{side}{n}", None, status=status), shape=(3, 3, 512))
        for n in range(4)
        for side, status in SIDES
    ]
    sure = relation([*KIN, kernel("head", None, status="only-b")])
    assert (sure["verdict"], sure["certainty"]) == ("fine-tuned", "likely")
    told = relation([*KIN, *alone])
    assert (told["verdict"], told["certainty"]) == ("related", "likely")
    assert told["evidence"]["weights_not_paired"] == 4
    assert "4 weights could not be paired" in told["evidence"]["reason"]
    doubted = relation([*KIN, *alone, replace(kernel("head", None, status="only-b"), shape=(9,))])
    assert (doubted["verdict"], doubted["certainty"]) == ("fine-tuned", "possible")
    # an export keeps every weight twice: the second copies are no other layers
    told = relation([*alone, replace(kernel("again", None, status="only-a"), shape=(3, 3, 512))])
    assert (told["verdict"], told["certainty"]) == ("related", "possible")
    assert relation([*LONE, *alone])["certainty"] == "likely"


def test_a_save_at_step_zero_is_nobodys_fine_tuning() -> None:
    frozen = kernel("c1", 1.0, status="identical")
    for rows in (KIN, [frozen, *KIN[1:]]):
        told = relation([*rows, counter("optimizer/iterations", 60, 0)])
        assert told["verdict"] == "related"
        assert "at 0" in told["evidence"]["reason"]
    assert word(*KIN, counter("optimizer/iterations", 60, 5)) == "fine-tuned"
    assert word(*KIN, counter("optimizer/iterations", 0, 0)) == "related"
