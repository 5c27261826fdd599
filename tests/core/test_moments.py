"""Second moments of real updates, in numpy: one run going on, and other trainings from the same initial weights."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptui.core.moments import Slot, judge
from ckptui.core.ratios import LogRatios
from ckptui.core.relation import relation
from tests.core.optimizers import F32, NAMES, Save, fresh, rows, train

STEPS = (1, 2, 4, 50, 150, 300, 301, 310)
FEWER = (2, 50, 150, 300, 301)
RATES = {"adamw": 1e-2}


@cache
def training(optimizer: str, seed: int, order: int, rate: float = 0.0) -> dict[int, Save]:
    return train(optimizer, fresh(seed), order, STEPS, rate=rate or RATES.get(optimizer, 1e-3))


def slots_of(a: dict[str, F32], b: dict[str, F32]) -> list[Slot]:
    out = []
    for name in a:
        gathered = LogRatios(a[name].size)
        gathered.add(a[name].ravel(), b[name].ravel())
        ratio = gathered.result()
        if ratio is not None:
            out.append(Slot(name, ratio))
    return out


def test_no_training_passes_for_the_going_on_of_another() -> None:
    """The confusion table: every pair of saves, three trainings an optimizer."""
    kinds = ("one run", "one initialisation", "two seeds")
    table: dict[str, dict[str, Counter[str]]] = {}
    for optimizer in NAMES:
        first, twin, other = (training(optimizer, *which) for which in ((0, 1), (0, 2), (7, 3)))
        counts = table[optimizer] = {kind: Counter[str]() for kind in kinds}
        for m, n in itertools.combinations_with_replacement(FEWER, 2):
            if m < n:
                counts["one run"][word(first[m], first[n])] += 1
            counts["one initialisation"][word(first[m], twin[n])] += 1
            counts["two seeds"][word(first[m], other[n])] += 1
        print(f"{optimizer}:", "; ".join(f"{kind}: {dict(found)}" for kind, found in counts.items()))
    for counts in table.values():
        assert set(counts["two seeds"]) == {"independent confirmed"}
        for kind in kinds[:2]:
            assert not any(found.startswith("independent") for found in counts[kind])
        assert not {"same-run likely", "same-run confirmed"} & set(counts["one initialisation"])
    assert table["adam"]["one run"]["same-run likely"] > 0
    assert table["adam"]["one initialisation"]["related confirmed"] > 8
    assert set(table["adam"]["one run"]) <= {"same-run likely", "same-run possible"}


def word(a: Save, b: Save) -> str:
    told = relation(rows(a, b))
    return f"{told['verdict']} {told['certainty']}"


@pytest.mark.parametrize("rate", [1.01e-3, 3e-3])
def test_the_same_batches_at_another_learning_rate_are_another_training(rate: float) -> None:
    first, twin = training("adam", 0, 1), training("adam", 0, 1, rate)
    for m, n in ((1, 2), (2, 4), (50, 150), (300, 301), (301, 310)):
        assert word(first[m], twin[n]) != "same-run likely", (m, n)


def test_two_ways_on_from_one_save_are_not_one_run() -> None:
    common = training("adam", 0, 1)[300]
    ways = [train("adam", common.weights, order, (1, 2, 50, 100), slots=common.slots) for order in (11, 12)]
    for a, b in itertools.product(ways[0].values(), ways[1].values()):
        told = relation(
            rows(Save("adam", 300 + a.step, a.weights, a.slots), Save("adam", 300 + b.step, b.weights, b.slots))
        )
        assert (told["verdict"], told["certainty"]) != ("same-run", "likely")


def test_one_step_on_is_certain_in_both_directions() -> None:
    run = training("adam", 0, 1)
    forward, back = relation(rows(run[300], run[301])), relation(rows(run[301], run[300]))
    assert (forward["verdict"], forward["certainty"]) == (back["verdict"], back["certainty"]) == ("same-run", "likely")
    assert "B continues A, 1 step later" in forward["evidence"]["reason"]
    assert "A continues B" in back["evidence"]["reason"]
    assert forward["evidence"]["moments"]["below"] == 0


def test_the_bound_holds_to_rounding_and_one_value_breaks_it() -> None:
    run = training("adam", 0, 1)
    a, b = run[300].slots, {name: value.copy() for name, value in run[310].slots.items()}
    assert judge(slots_of(a, b), 10).word in ("kept", "open")
    v = b["adam/first_kernel_velocity"]
    place = np.unravel_index(int(np.argmax(v)), v.shape)
    v[place] = a["adam/first_kernel_velocity"][place] * np.float32(0.5)
    assert judge(slots_of(a, b), 10).word == "broken"


def test_what_is_written_of_the_decay_goes_before_the_default() -> None:
    """beta_2 = 0.99: ten steps may cost ten percent, which 0.999 would not allow."""
    run = train("adam", fresh(0), 1, (300, 310), beta_2=0.99)
    slots = slots_of(run[300].slots, run[310].slots)
    assert judge(slots, 10, decay=0.99).word in ("kept", "open")
    assert judge(slots, 10, logarithm=10 * math.log(0.99)).word in ("kept", "open")
    assert judge(slots, 10, decay=0.99).assumed is False
    assert judge(slots, 10).assumed is True


@given(st.floats(-1e6, 1e6), st.dictionaries(st.sampled_from(["values", "min", "q50"]), st.floats()))
def test_hostile_numbers_are_no_evidence(steps: float, ratio: dict[str, float]) -> None:
    assert judge([Slot("adam/v", ratio)], steps).word == "none"


def test_untouched_and_unknown_slots_say_nothing() -> None:
    same = {"adam/k_velocity": np.zeros((64, 64), np.float32)}
    assert judge(slots_of(same, same), 100).word == "none"
    ones = {"mystery/k_velocity": np.ones((64, 64), np.float32)}
    assert judge(slots_of(ones, ones), 100).word == "none"
    halves = LogRatios(4096)
    halves.add(np.ones(4096, np.float16), np.ones(4096, np.float16))
    assert halves.result() is None
    sums = {"adagrad/k_accumulator": np.full((64, 64), 0.1, np.float32)}
    assert judge(slots_of(sums, sums), 100).word == "open"


def test_fine_tuning_is_told_by_layers_that_stand_still_or_are_new() -> None:
    base = training("adam", 0, 1)[300]
    whole = relation(rows(base, train("adam", base.weights, 9, (50,), rate=1e-4)[50]))
    frozen = relation(rows(base, train("adam", base.weights, 9, (50,), rate=1e-3, frozen=["first"])[50]))
    slow = relation(rows(base, train("adam", base.weights, 9, (50,), rate=3e-3, slow=["first"])[50]))
    head = {**base.weights, "third": fresh(9)["third"][:, :7].copy()}
    other = relation(rows(base, Save("adam", 50, head)))
    for name, told in (("all layers", whole), ("frozen", frozen), ("slow", slow), ("new head", other)):
        print(f"fine-tuned, {name}: {told['verdict']} {told['certainty']}: {told['evidence']['reason']}")
    assert (whole["verdict"], whole["certainty"]) in {("related", "confirmed"), ("fine-tuned", "possible")}
    assert (frozen["verdict"], frozen["evidence"]["frozen_layers"]) == ("fine-tuned", ["first"])
    assert (slow["verdict"], slow["evidence"]["near_frozen_layers"]) == ("fine-tuned", ["first"])
    assert (other["verdict"], other["evidence"]["replaced_layers"]) == ("fine-tuned", ["third"])
