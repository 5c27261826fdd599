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
    assert word(*KIN, slots, counter("step", 2000, 0)) == "fine-tuned"


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
