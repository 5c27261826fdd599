"""Curves read off at saves: by step, by time, or not at all."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptui.core.curves import POINTS, Curve, aligned, importance
from ckptui.core.model import Found, Scalars

BEGAN = 1_700_000_000.0


def saves(steps: Sequence[int | None], times: Sequence[float] | float = 0.0) -> list[Found]:
    """Saves of these steps, written at these times."""
    at = times if isinstance(times, Sequence) else [times] * len(steps)
    return [
        Found(f"s{i}", "keras-h5", f"s{i}", ".", s, modified=t) for i, (s, t) in enumerate(zip(steps, at, strict=True))
    ]


def curve(steps: Sequence[int], *, pace: float = 1.0, tag: str = "loss", walls: bool = True) -> Scalars:
    """A curve whose value is ten times its step, a point every `pace` seconds a step."""
    times = tuple(BEGAN + pace * step for step in steps) if walls else ()
    return Scalars(tag, "", tuple(steps), tuple(10.0 * step for step in steps), times)


def test_steps_that_both_count() -> None:
    known = saves([100, 200, 300], [BEGAN + 101, BEGAN + 201, BEGAN + 301])
    assert aligned(curve(range(1, 320)), known) == (1000.0, 2000.0, 3000.0)


def test_saves_that_were_copied_still_have_their_steps() -> None:
    for walls in (True, False):
        made = curve(range(0, 320, 10), walls=walls)
        assert aligned(made, saves([100, 205, 300], BEGAN + 1e7)) == (1000.0, 2000.0, 3000.0)


def test_epochs_of_files_and_batches_of_a_curve_meet_by_time() -> None:
    batches = curve(range(0, 1000, 10), pace=0.5)
    known = saves([1, 2, 3, 4], [BEGAN + 125.0 * epoch for epoch in (1, 2, 3, 4)])
    assert aligned(batches, known) == (2500.0, 5000.0, 7500.0, 9900.0)


def test_epochs_and_batches_whose_times_are_lost_meet_nowhere() -> None:
    batches = curve(range(0, 1000, 10))
    assert aligned(batches, saves([1, 2, 3, 4], BEGAN + 1e7)) == (None,) * 4
    assert aligned(batches, saves([1, 2, 3, 4], BEGAN + 500)) == (None,) * 4, "one time for all tells nothing"


@pytest.mark.parametrize("first", [0, 1])
def test_epochs_are_counted_from_0_or_from_1(first: int) -> None:
    epochs = curve(range(10), pace=60, tag="epoch_loss")
    named = [first + epoch for epoch in (0, 4, 9)]
    timed = saves(named, [BEGAN + 60 * epoch + 1 for epoch in (0, 4, 9)])
    assert aligned(epochs, timed) == (0.0, 40.0, 90.0)
    assert aligned(epochs, saves(named, BEGAN + 1e7)) == (0.0, 40.0, 90.0), "by the tag, where times tell nothing"


def test_best_epochs_only() -> None:
    epochs = curve(range(50), pace=60, tag="epoch_val_loss")
    known = saves([1, 3, 8], [BEGAN + 60 * epoch + 1 for epoch in (0, 2, 7)])
    assert aligned(epochs, known) == (0.0, 20.0, 70.0)


def test_an_evaluation_with_few_points() -> None:
    evaluation = curve([100, 200])
    assert aligned(evaluation, saves([100, 150, 200], [BEGAN + s + 1 for s in (100, 150, 200)]))[::2] == (
        1000.0,
        2000.0,
    )
    assert aligned(curve([30]), saves([10, 20, 30], BEGAN + 1e7)) == (None, None, 300.0)


def test_saves_without_a_step() -> None:
    assert aligned(curve(range(100)), saves([None], BEGAN + 50.2)) == (500.0,)
    assert aligned(curve(range(100)), saves([None], BEGAN + 1e6)) == (None,)


def test_nothing_to_align() -> None:
    assert aligned(Scalars("loss", "", (), ()), saves([1, 2])) == (None, None)
    assert aligned(curve(range(5)), []) == ()


def test_values_that_are_no_numbers_are_given_as_they_are() -> None:
    (value,) = aligned(Scalars("loss", "", (5,), (math.nan,), (BEGAN,)), saves([5], BEGAN))
    assert value is not None
    assert math.isnan(value)


walls = st.floats(allow_nan=True, allow_infinity=True) | st.floats(BEGAN, BEGAN + 1000)
steps = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 100)


@given(st.lists(st.tuples(steps, walls), max_size=12), st.lists(st.tuples(st.none() | steps, walls), max_size=6))
def test_whatever_the_numbers_every_save_has_an_answer(
    points: list[tuple[int, float]], known: list[tuple[int | None, float]]
) -> None:
    by_step = dict(sorted(points))
    made = Scalars("loss", "", tuple(by_step), tuple(float(s) for s in by_step), tuple(by_step.values()))
    found = saves([step for step, _ in known], [wall for _, wall in known])
    answers = aligned(made, found)
    assert len(answers) == len(found)
    assert all(answer is None or answer in made.values for answer in answers)


def test_losses_come_first() -> None:
    tags = [
        ("accuracy", ""),
        ("lr", ""),
        ("loss", "validation"),
        ("reg_loss", ""),
        ("batch_loss", "logs/train"),
        ("epoch_loss", "logs/train"),
        ("loss", ""),
    ]
    order = sorted((Scalars(tag, source, (), ()) for tag, source in tags), key=importance)
    assert [(s.tag, s.source) for s in order] == [
        ("loss", ""),
        ("epoch_loss", "logs/train"),
        ("batch_loss", "logs/train"),
        ("loss", "validation"),
        ("lr", ""),
        ("reg_loss", ""),
        ("accuracy", ""),
    ]


@given(st.lists(st.sampled_from([1.0, math.nan, math.inf]), max_size=300), st.integers(4, 50))
def test_a_thinned_curve_keeps_its_ends_and_its_bound(values: list[float], cap: int) -> None:
    thin = Curve()
    for step, value in enumerate(values):
        thin.add(step, float(step), value, cap)
    kept = [step for step, _, _ in thin]
    assert kept == sorted(set(kept))
    assert len(kept) <= cap + 2 <= POINTS
    if values:
        assert (kept[0], kept[-1]) == (0, len(values) - 1)
