"""Jumps among the saves of a run: none in healthy trainings, the planted ones found; content that comes back."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptui.core.timeline import Course, Jump, Return, falls, jumps, repeats, returns, told_otherwise
from tests.core.trainings import SCHEDULES, courses, train

EVERY = list(range(1, 15))
UNEVEN = [1, 4, 6, 11, 13, 16, 28, 33]


@pytest.mark.parametrize(("optimizer", "rate"), [("adam", 1e-3), ("adam", 1e-2), ("sgd", 0.1), ("sgd", 0.5)])
def test_healthy_trainings_have_no_jump(optimizer: str, rate: float) -> None:
    tried = 0
    # of each optimizer all schedules with one rate, some with the other
    for schedule in list(SCHEDULES.values())[:: 1 if rate in (1e-3, 0.1) else 3]:
        assert jumps(courses(train(3, optimizer, rate, EVERY, schedule)), EVERY) == []
        tried += 1
    assert jumps(courses(train(4, optimizer, rate, UNEVEN)), UNEVEN) == []
    print(f"  {optimizer} {rate}: {tried + 1} healthy runs, no jump")


@pytest.mark.parametrize("fault", ["restart", "layer", "scaled", "rate"])
@pytest.mark.parametrize(("optimizer", "rate"), [("adam", 1e-3), ("sgd", 0.1)])
def test_planted_faults_are_found_where_they_are(fault: str, optimizer: str, rate: float) -> None:
    for epoch in (4, 9) if optimizer == "sgd" else (9,):
        found = jumps(courses(train(5, optimizer, rate, EVERY, fault=(fault, epoch))), EVERY)
        assert [jump.place for jump in found][:1] == [epoch - 1]
        expected = {"restart": (0, 1, 2), "layer": (1,), "scaled": ()}.get(fault)
        assert expected is None or found[0].unrelated == expected


def test_a_rate_that_stays_too_high_is_a_lasting_jump() -> None:
    moved = [None, 2.0, 1.0, 1.0, 1.0, 50.0, 55.0, 52.0, 54.0]
    found = jumps([Course(1000, [500.0] * 9, moved)], list(range(9)))
    assert [(jump.place, jump.lasting) for jump in found] == [(5, True)]


def test_few_values_are_no_evidence() -> None:
    assert jumps([Course(63, [1.0] * 4, [None, 0.1, 0.1, 2.0])], [1, 2, 3, 4]) == []
    assert jumps([], [1, 2, 3]) == []
    found = jumps([Course(64, [1.0] * 4, [None, 0.1, 0.1, 2.0])], [1, 2, 3, 4])
    assert found == [Jump(3, found[0].factor, (0,), 1, False)]
    assert found[0].factor == pytest.approx(20.0)


def test_longer_intervals_may_move_more() -> None:
    course = Course(1000, [100.0] * 5, [None, 2.0, 1.0, 1.0, 9.0])
    assert jumps([course], [1, 2, 3, 4, 14]) == []
    assert [jump.place for jump in jumps([course], [1, 2, 3, 4, 5])] == [4]


@settings(max_examples=40)
@given(
    st.lists(st.sampled_from([None, math.inf, math.nan, 0.0, 1e-300, 1.0, 1e300]), min_size=3, max_size=9), st.data()
)
def test_any_numbers_are_taken(numbers: list[float | None], data: st.DataObject) -> None:
    norms = data.draw(st.permutations(numbers))
    jumps([Course(100, norms, numbers), Course(10**6, numbers, norms)], data.draw(st.permutations(numbers)))


def test_kernels_that_rested_are_left_out_while_they_begin_to_move() -> None:
    moves, rests = [None, 1.0, 1.0, 1.0, 1.0, 1.0], [None, 0.0, 0.0, 0.0, 2.0, 1.0]
    assert jumps([Course(1000, [100.0] * 6, moves), Course(1000, [100.0] * 6, rests)], range(6)) == []
    assert jumps([Course(1000, [100.0] * 6, rests)], range(6)) == []


def test_jumps_in_a_row_are_one() -> None:
    found = jumps([Course(1000, [500.0] * 12, [None, 1.0, 1.0, 1.0, 60.0, 40.0, *[1.0] * 6])], range(12))
    assert [(jump.place, jump.also) for jump in found] == [(4, (5,))]
    apart = jumps([Course(1000, [500.0] * 9, [None, 1.0, 1.0, 60.0, 1.0, 60.0, 1.0, 1.0, 1.0])], range(9))
    assert [(jump.place, jump.also) for jump in apart] == [(3, ()), (5, ())]


def test_returns() -> None:
    assert returns("abcb") == [Return(3, 1)]
    assert returns("abcabc") == [Return(3, 0), Return(4, 1), Return(5, 2)]
    assert returns("abbb") == []
    assert returns("abaa") == [Return(2, 0)]
    assert returns(["a", None, "a"]) == []
    assert returns(["a", "b", None, "a"]) == [Return(3, 0)]


def test_counters() -> None:
    assert falls([1, 2, None, 1, 5]) == [(3, 1)]
    assert falls([None, 3, 3]) == []
    assert told_otherwise([100, 200, 300, 400], [100, 200, 200, 400]) == [2]
    assert told_otherwise([1, 2, 3], [90, 180, 270]) == []
    assert told_otherwise([100, 200], [100, 150]) == []


def test_repeats() -> None:
    assert repeats("abab", lambda one, other: True) == [(0, 2), (1, 3)]
    assert repeats("aba", lambda one, other: False) == []
    assert repeats(["a", None, "a"], lambda one, other: True) == [(0, 2)]
